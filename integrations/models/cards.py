"""What a card's settings set in motion: changes on their way, writes to the POS, who stayed outside, balances there."""

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.utils import timezone

from aiqsync.accounts.tenancy import TenantKey, TenantModel, tenant_parent

from .rows import Connection, Location, Origin


class ChangeState(models.TextChoices):
    COUNTING = "counting", "Being counted"
    COUNTED = "counted", "Waiting for your word"
    APPLYING = "applying", "Being applied"
    APPLIED = "applied", "Applied"
    STOPPED = "stopped", "Stopped"
    FAILED = "failed", "Failed"
    DISMISSED = "dismissed", "Dismissed"


OPEN_CHANGE = ("counting", "counted", "applying", "stopped", "failed")


class SettingChange(TenantModel):
    """A setting that acts on people, on its way: counted first, confirmed by somebody, then applied.

    `counted` and `applied` hold figures (shoppers, points, texts), `sample` contact ids of personas with theirs: no
    names, so that a person's removal need not look here.
    """

    connection = TenantKey(Connection, related_name="changes")
    setting = models.CharField(max_length=40)
    before = models.JSONField(null=True)
    after = models.JSONField(null=True)
    state = models.CharField(max_length=9, choices=ChangeState, default=ChangeState.COUNTING)
    counted = models.JSONField(default=dict)
    sample = models.JSONField(default=list)
    applied = models.JSONField(default=dict)
    message = models.TextField(blank=True)
    made_by = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL, related_name="+")
    made_at = models.DateTimeField(default=timezone.now)
    confirmed_by = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL, related_name="+")
    confirmed_at = models.DateTimeField(null=True)
    applied_at = models.DateTimeField(null=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["connection", "setting"], condition=Q(state__in=OPEN_CHANGE), name="one_open_change"
            ),
            tenant_parent("settingchange"),
        ]

    def __str__(self) -> str:
        return f"{self.connection} {self.setting}"


class WriteState(models.TextChoices):
    WAITING = "waiting", "Waiting"
    SENDING = "sending", "Being sent"
    SENT = "sent", "Created"
    FOUND = "found", "Was there already"
    FAILED = "failed", "Failed"
    GIVEN_UP = "given_up", "Given up"
    NOT_NEEDED = "not_needed", "Not needed any more"


class OutboundWrite(TenantModel):
    """Something to be written to the POS, saved beside the change that caused it and sent afterwards.

    `subject` is what it is about (a persona's contact id): writes of one subject go out in the order they were saved.
    What to write is asked for when it goes out; `payload` keeps it from then until its answer is saved, for an answer
    that was lost is looked for by what was sent. It is personal data and is emptied when the write has ended.
    """

    origin = TenantKey(Origin, related_name="writes")
    writer = models.CharField(max_length=40)
    key = models.CharField(max_length=120, help_text="Its cause: the same cause twice is one write.")
    subject = models.CharField(max_length=60)
    payload = models.JSONField(default=dict)
    state = models.CharField(max_length=10, choices=WriteState, default=WriteState.WAITING)
    attempts = models.PositiveIntegerField(default=0)
    next_try_at = models.DateTimeField(default=timezone.now)
    token = models.CharField(max_length=32, blank=True)
    lease_until = models.DateTimeField(null=True)
    asked_at = models.DateTimeField(
        null=True, help_text="When a create went out whose answer was not saved: it may be there."
    )
    external_id = models.CharField(max_length=100, blank=True)
    message = models.TextField(blank=True)
    created_at = models.DateTimeField(default=timezone.now)
    ended_at = models.DateTimeField(null=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["origin", "key"], name="write_once"),
            tenant_parent("outboundwrite"),
        ]
        indexes = [
            # While it is being sent `next_try_at` is its lease's end: one look finds what is due and what was left.
            models.Index(
                fields=["origin", "next_try_at"], name="write_next", condition=Q(state__in=["waiting", "sending"])
            ),
            models.Index(
                fields=["origin", "subject", "id"],
                name="write_order",
                condition=Q(state__in=["waiting", "sending", "failed"]),
            ),
            models.Index(fields=["account", "subject"], name="write_subject"),
        ]

    def __str__(self) -> str:
        return f"{self.writer} {self.state}"


class OutsideMarket(TenantModel):
    """A customer of the POS who was not imported because his state is outside the credential's market.

    No personal data: HMACs answer whether a number or an address that somebody asks about is one of these.
    """

    origin = TenantKey(Origin, related_name="outside_market")
    external_id = models.CharField(max_length=100)
    state = models.CharField(max_length=20, blank=True)
    phone_digest = models.CharField(max_length=64, blank=True)
    email_digest = models.CharField(max_length=64, blank=True)
    seen_at = models.DateTimeField(default=timezone.now)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["origin", "external_id"], name="outside_market_once")]
        indexes = [
            models.Index(fields=["account", "phone_digest"], name="outside_phone", condition=~Q(phone_digest="")),
            models.Index(fields=["account", "email_digest"], name="outside_email", condition=~Q(email_digest="")),
        ]

    def __str__(self) -> str:
        return self.external_id


class CustomerBalance(TenantModel):
    """The POS's own loyalty balance of a customer, as last read."""

    origin = TenantKey(Origin, related_name="balances")
    external_id = models.CharField(max_length=100, help_text="The customer's id in the POS.")
    points = models.DecimalField(max_digits=14, decimal_places=2)
    location = TenantKey(Location, null=True, related_name="+")
    # Not written when the value is the same: how fresh a round of reading is, its stream says.
    changed_at = models.DateTimeField(default=timezone.now)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["origin", "external_id"], name="customer_balance_once")]

    def __str__(self) -> str:
        return f"{self.external_id} {self.points}"


class CallAllowance(models.Model):
    """Who may call a vendor how often at once, by token (`integrations/pace.py`). An installation's, not a tenant's."""

    card = models.CharField(max_length=40, primary_key=True)
    version = models.BigIntegerField(default=0)
    holders = models.JSONField(default=dict, help_text="By process and token: slots, until, since, freed.")

    def __str__(self) -> str:
        return self.card


class BalanceReading(TenantModel):
    """That the POS's balances of an origin are to be read: again and again, or one round begun not before a moment.

    How far it is, the stream's cursor says.
    """

    origin = TenantKey(Origin, related_name="balance_readings")
    continuous = models.BooleanField(default=False, help_text="They are mirrored.")
    asked_at = models.DateTimeField(null=True, help_text="Somebody waits for a round that began at or after this.")

    class Meta:
        constraints = [models.UniqueConstraint(fields=["origin"], name="balance_reading_once")]

    def __str__(self) -> str:
        return f"{self.origin_id}"
