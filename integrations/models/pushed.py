"""Calls that a POS made to us: what came, how much of it was taken, and the bodies for thirty days."""

from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.utils import timezone

from aiqsync.accounts.tenancy import TenantKey, TenantModel

from .rows import Origin

# A ring of partitions, one a day: a day that has grown old is emptied by TRUNCATE, which costs nothing whatever lay in
# it, and no table is made or dropped while the service runs. 30 days kept, the day being written, the next one for a
# clock that is ahead, and two to spare.
RING = 34
KEEP_DAYS = 30


class PushedCall(TenantModel):
    """One pushed call. `body` holds the items as they came, without what the card redacts.

    They are personal data: `mentions` holds digests of whom they tell (`suppression.digest`), so that a removal finds
    them; the items of somebody removed are taken out, or never kept.
    """

    origin = TenantKey(Origin, related_name="pushed_calls")
    slot = models.SmallIntegerField(editable=False, help_text="The day's place in the ring of partitions.")
    call = models.CharField(max_length=40)
    at = models.DateTimeField(default=timezone.now)
    items = models.PositiveIntegerField(default=0)
    landed = models.PositiveIntegerField(default=0)
    refused = models.PositiveIntegerField(default=0)
    body = models.JSONField(default=list)
    mentions = ArrayField(models.CharField(max_length=64), default=list)

    class Meta:
        indexes = [models.Index(fields=["origin", "-at"], name="pushed_origin_at")]

    def __str__(self) -> str:
        return f"{self.call} {self.at:%Y-%m-%d %H:%M}"

    def save(self, *args, **options):
        self.slot = slot_of(self.at)
        super().save(*args, **options)


def slot_of(at) -> int:
    """The place of a moment's day (UTC) in the ring."""
    return int(at.timestamp()) // 86_400 % RING
