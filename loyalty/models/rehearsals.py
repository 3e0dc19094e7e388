"""Rehearsals: a test shopper walks the till's way once, against our own address."""

from django.db import models
from django.db.models import Q

from aiqsync.accounts.models import ApiKey
from aiqsync.accounts.tenancy import TenantKey, TenantModel
from integrations.models import Connection

from .fields import by_user
from .people import Persona


class RehearsalState(models.TextChoices):
    WAITING = "waiting", "Waiting"
    RUNNING = "running", "Running"
    PASSED = "passed", "Everything worked"
    FAILED = "failed", "Failed"


class Rehearsal(TenantModel):
    """One run. `steps` are those that are over: [{"name", "ok", "said", "ms"}]; the next one is running."""

    connection = TenantKey(Connection, related_name="+")
    persona = TenantKey(Persona, related_name="rehearsals")
    key = TenantKey(ApiKey, null=True, related_name="rehearsals")
    address = models.CharField(max_length=200, help_text="Where tills reach us: scheme, host, port.")
    state = models.CharField(max_length=8, choices=RehearsalState, default=RehearsalState.WAITING)
    steps = models.JSONField(default=list)
    user = by_user()
    at = models.DateTimeField()
    started_at = models.DateTimeField(null=True)
    ended_at = models.DateTimeField(null=True)
    archived_at = models.DateTimeField(null=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["account"], condition=Q(archived_at=None), name="rehearsal_one_open")
        ]
