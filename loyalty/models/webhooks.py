"""Outgoing webhooks: who is told, what happened, each telling and each try, and how far the books were read for it."""

import uuid

from django.db import models
from django.db.models import Q

from aiqsync.accounts.tenancy import TenantKey, TenantModel, tenant_parent
from integrations.models import SealedField

from .people import Persona
from .rewards import Redemption


class EndpointState(models.TextChoices):
    ON = "on", "On"
    FAILING = "failing", "Failing"  # it has refused everything for three days; tried on
    PAUSED = "paused", "Paused"  # what happens meanwhile waits
    OFF = "off", "Off"  # its receiver said that it is gone: nothing is kept for it


class WebhookEndpoint(TenantModel):
    """An address of the merchant's choice that is told what happens.

    `secrets` is sealed: {"now": "whsec_...", "before": "whsec_..." or null}; the one before signs too until
    `before_until`. `hold_until`: nothing is sent before, whatever is due.
    """

    url = models.CharField(max_length=500)
    description = models.CharField(max_length=200, blank=True)
    events = models.JSONField(default=list)
    secrets = SealedField()
    before_until = models.DateTimeField(null=True)
    state = models.CharField(max_length=8, choices=EndpointState, default=EndpointState.ON)
    why = models.CharField(max_length=200, blank=True, help_text="Why it is paused or off, when nobody did it here.")
    failures = models.PositiveIntegerField(default=0, help_text="In a row.")
    failing_since = models.DateTimeField(null=True)
    last_ok_at = models.DateTimeField(null=True)
    hold_until = models.DateTimeField(null=True)
    served_at = models.DateTimeField(null=True, help_text="When it last had its turn.")
    created_at = models.DateTimeField()

    class Meta:
        constraints = [tenant_parent("webhookendpoint")]

    def __str__(self) -> str:
        return self.description or self.url


class WebhookEvent(TenantModel):
    """Something that happened and is told: once for its cause (`key`), under one `public_id` for ever."""

    public_id = models.UUIDField(default=uuid.uuid4, unique=True, editable=False)
    key = models.CharField(max_length=80, help_text="Made of its cause: entry:12.")
    kind = models.CharField(max_length=40)
    payload = models.JSONField(help_text="Ids and figures; nothing that tells who somebody is.")
    persona = TenantKey(Persona, null=True, db_index=False, related_name="+")
    at = models.DateTimeField(help_text="When it happened.")
    created_at = models.DateTimeField()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["account", "key"], name="webhook_event_once"),
            tenant_parent("webhookevent"),
        ]
        indexes = [
            models.Index(fields=["created_at"], name="webhook_event_age"),
            models.Index(fields=["persona"], name="webhook_event_persona", condition=Q(persona__isnull=False)),
        ]


class DeliveryState(models.TextChoices):
    WAITING = "waiting", "Waiting"
    SENDING = "sending", "Being sent"
    DELIVERED = "delivered", "Delivered"
    FAILED = "failed", "Failed"
    DROPPED = "dropped", "Not told"


class WebhookDelivery(TenantModel):
    """One event for one endpoint. `next_at`: when it is tried next, or when a try that is under way counts as lost."""

    event = TenantKey(WebhookEvent, on_delete=models.CASCADE, db_index=False, related_name="deliveries")
    endpoint = TenantKey(WebhookEndpoint, on_delete=models.CASCADE, db_index=False, related_name="deliveries")
    state = models.CharField(max_length=9, choices=DeliveryState, default=DeliveryState.WAITING)
    tries = models.PositiveIntegerField(default=0, help_text="Since it was made, or since somebody had it sent again.")
    next_at = models.DateTimeField()
    token = models.CharField(max_length=32, blank=True)
    status = models.PositiveSmallIntegerField(null=True, help_text="Of the last answer.")
    created_at = models.DateTimeField()
    done_at = models.DateTimeField(null=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["event", "endpoint"], name="webhook_delivery_once"),
            tenant_parent("webhookdelivery"),
        ]
        indexes = [
            models.Index(
                fields=["endpoint", "next_at", "id"], name="webhook_delivery_due",
                condition=Q(state__in=["waiting", "sending"]),
            ),
            models.Index(fields=["endpoint", "-id"], name="webhook_delivery_log"),
            models.Index(fields=["endpoint", "state", "-id"], name="webhook_delivery_state"),
        ]  # fmt: skip


class WebhookAttempt(TenantModel):
    """One try: what was answered, how long it took, or why there was no answer."""

    delivery = TenantKey(WebhookDelivery, on_delete=models.CASCADE, related_name="attempts")
    at = models.DateTimeField()
    ms = models.PositiveIntegerField()
    status = models.PositiveSmallIntegerField(null=True)
    response = models.CharField(max_length=1000, blank=True, help_text="How the answer's body begins.")
    error = models.CharField(max_length=300, blank=True)


class RedemptionChange(TenantModel):
    """A redemption's state changed. Written by a trigger, of accounts that have a webhook; read by its reader."""

    redemption = TenantKey(Redemption, db_index=False, related_name="changes")
    state = models.CharField(max_length=10)
    at = models.DateTimeField()

    class Meta:
        indexes = [models.Index(fields=["at"], name="redemption_change_age")]


class WebhookCursor(models.Model):
    """How far a table has been read for events, over all accounts.

    Up to `upto` no row can come any more. `mark` was the last id handed out when transaction `mark_xid` was the next:
    when all before that one have ended, `upto` may go there. `waiting`: sales whose shopper is not known yet.
    """

    source = models.CharField(max_length=20, primary_key=True)
    upto = models.BigIntegerField()
    mark = models.BigIntegerField(null=True)
    mark_xid = models.BigIntegerField(null=True)
    mark_at = models.DateTimeField(null=True)
    waiting = models.JSONField(default=list)
