"""The waiting room: who came into a store and has not been served."""

import uuid

from django.db import models
from django.db.models import Q

from aiqsync.accounts.models import ApiKey
from aiqsync.accounts.tenancy import TenantKey, TenantModel
from stores.models import Store

from .people import Persona


class CheckInState(models.TextChoices):
    WAITING = "waiting", "Waiting"
    SERVING = "serving", "Being served"
    SERVED = "served", "Served"
    SKIPPED = "skipped", "Skipped"
    NO_SHOW = "no-show", "No-show"


_OPEN = Q(state__in=["waiting", "serving"])
_PHONED, _MAILED = _OPEN & ~Q(phone=""), _OPEN & ~Q(email="")


class CheckIn(TenantModel):
    """A visit, from the door to the counter. While it is open there is one for a person in a store.

    Phone and e-mail stay only as long as it is open: by them a second check-in is known to be the same visit.
    """

    public_id = models.UUIDField(default=uuid.uuid4, unique=True, editable=False)
    store = TenantKey(Store, on_delete=models.CASCADE, db_index=False, related_name="checkins")
    persona = TenantKey(Persona, null=True, db_index=False, related_name="+")
    first_name = models.CharField(max_length=60, blank=True)
    initial = models.CharField(max_length=1, blank=True, help_text="Of the last name.")
    phone = models.CharField(max_length=20, blank=True)
    email = models.CharField(max_length=254, blank=True)
    reason = models.CharField(max_length=60, blank=True, help_text="Why they came: pick-up, recreational, medical.")
    order = models.CharField(max_length=500, blank=True, help_text="What they want, in their words.")
    state = models.CharField(max_length=8, choices=CheckInState, default=CheckInState.WAITING)
    key = TenantKey(ApiKey, null=True, related_name="+", help_text="What took it.")
    at = models.DateTimeField()
    changed_at = models.DateTimeField()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["store", "persona"], condition=_OPEN, name="checkin_one_open"),
            models.UniqueConstraint(fields=["store", "phone"], condition=_PHONED, name="checkin_one_phone"),
            models.UniqueConstraint(fields=["store", "email"], condition=_MAILED, name="checkin_one_email"),
            models.CheckConstraint(condition=_OPEN | Q(phone="", email=""), name="checkin_ended_nameless"),
        ]
        indexes = [
            models.Index(fields=["store", "state", "at", "id"], name="checkin_queue"),
            models.Index(fields=["persona"], name="checkin_persona", condition=Q(persona__isnull=False)),
            models.Index(fields=["at"], name="checkin_age"),
        ]
