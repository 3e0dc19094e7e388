"""Consent by channel and address, as a journal; and the messages that wait to be sent.

STOP wins: a row of `ConsentState` that is stopped is left only by the shopper himself (a trigger of the database).
"""

from django.db import models
from django.db.models import F, Q
from django.utils import timezone

from aiqsync.accounts.models import ApiKey
from aiqsync.accounts.tenancy import TenantKey, TenantModel, tenant_parent
from stores.models import Store

from .fields import by_user
from .people import Persona


class ConsentChannel(models.TextChoices):
    SMS = "sms", "Texts"
    EMAIL = "email", "E-mail"


class ConsentAct(models.TextChoices):
    REQUESTED = "requested", "Asked"
    OPT_IN = "opt_in", "Said yes"
    OPT_OUT = "opt_out", "Said no"
    STOP = "stop", "Sent STOP"
    UNSTOP = "unstop", "Sent START"
    IMPORT_IN = "import_in", "Imported as yes"
    IMPORT_OUT = "import_out", "Imported as no"
    IGNORED = "ignored", "Not followed: STOP stands"


class ConsentSource(models.TextChoices):
    FORM = "form", "Sign-up form"
    QUEUE = "queue", "Opt-in queue"
    TILL = "till", "Till"
    API = "api", "API"
    IMPORT = "import", "Import"
    STAFF = "staff", "Staff"
    SHOPPER = "shopper", "The shopper's own message"
    POS = "pos", "POS"


class ConsentLine(TenantModel):
    """One thing that was said about consent. Lines are added, never changed (a trigger refuses it)."""

    channel = models.CharField(max_length=6, choices=ConsentChannel)
    address = models.CharField(max_length=254, help_text="E.164, or the e-mail in lower case.")
    persona = TenantKey(Persona, null=True, related_name="consent_lines")
    act = models.CharField(max_length=10, choices=ConsentAct)
    source = models.CharField(max_length=8, choices=ConsentSource)
    wording = models.TextField(blank=True, help_text="What the shopper read when he said it.")
    store = TenantKey(Store, null=True, related_name="+")
    user = by_user()
    at = models.DateTimeField()
    noted_at = models.DateTimeField(default=timezone.now)

    class Meta:
        constraints = [tenant_parent("consentline")]
        indexes = [
            models.Index(fields=["account", "channel", "address", "-id"], name="consent_address"),
            models.Index(fields=["persona", "-id"], name="consent_persona", condition=Q(persona__isnull=False)),
        ]


class ConsentNow(models.TextChoices):
    UNKNOWN = "unknown", "Never asked"
    REQUESTED = "requested", "Asked, no answer"
    IN = "in", "Opted in"
    OUT = "out", "Opted out"
    STOPPED = "stopped", "STOP"


class ConsentState(TenantModel):
    """What holds now for an address: the journal's sum, kept beside it. `requests` counts unanswered questions."""

    channel = models.CharField(max_length=6, choices=ConsentChannel)
    address = models.CharField(max_length=254)
    state = models.CharField(max_length=10, choices=ConsentNow, default=ConsentNow.UNKNOWN)
    requests = models.PositiveSmallIntegerField(default=0)
    asked_at = models.DateTimeField(null=True)
    since = models.DateTimeField()
    line = TenantKey(ConsentLine, null=True, related_name="+")

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["account", "channel", "address"], name="consent_state_once"),
            models.CheckConstraint(condition=Q(requests__lte=10), name="consent_requests"),
        ]


class MessageState(models.TextChoices):
    QUEUED = "queued", "Waiting"
    SENDING = "sending", "Being sent"
    SENT = "sent", "Sent"
    FAILED = "failed", "Failed"
    CANCELLED = "cancelled", "Cancelled"


class Message(TenantModel):
    """A message to one address: written beside what caused it, sent afterwards, once for each key."""

    key = models.CharField(max_length=120)
    channel = models.CharField(max_length=6, choices=ConsentChannel)
    address = models.CharField(max_length=254)
    persona = TenantKey(Persona, null=True, related_name="messages")
    purpose = models.CharField(max_length=16, help_text="opt_in, confirm, pin, stopped, notice, transactional")
    subject = models.CharField(max_length=200, blank=True)
    body = models.TextField()
    state = models.CharField(max_length=10, choices=MessageState, default=MessageState.QUEUED)
    backend = models.CharField(max_length=20, blank=True)
    external_id = models.CharField(max_length=100, blank=True)
    attempts = models.PositiveSmallIntegerField(default=0)
    error = models.CharField(max_length=300, blank=True)
    not_before = models.DateTimeField()
    created_at = models.DateTimeField(default=timezone.now)
    sent_at = models.DateTimeField(null=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["account", "key"], name="message_key_once"),
            models.CheckConstraint(condition=~Q(state="sent") | Q(sent_at__isnull=False), name="message_sent_at"),
        ]
        indexes = [
            models.Index(fields=["not_before"], name="message_due", condition=Q(state__in=["queued", "sending"])),
            models.Index(fields=["account", "-id"], name="message_latest"),
            models.Index(fields=["account", "address", "-id"], name="message_address"),
        ]


class Pin(TenantModel):
    """A four-digit code a shopper was given: an HMAC, five minutes, five tries; one is live for each persona."""

    persona = TenantKey(Persona, on_delete=models.CASCADE, related_name="pins")
    digest = models.CharField(max_length=64)
    tries = models.PositiveSmallIntegerField(default=0)
    channel = models.CharField(max_length=6, choices=ConsentChannel, blank=True)
    user = by_user()
    created_at = models.DateTimeField()
    expires_at = models.DateTimeField()
    used_at = models.DateTimeField(null=True)
    closed_at = models.DateTimeField(null=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["persona"], condition=Q(closed_at=None), name="pin_one_live"),
            models.CheckConstraint(condition=Q(tries__lte=5), name="pin_tries"),
            models.CheckConstraint(condition=Q(expires_at__gt=F("created_at")), name="pin_expires"),
        ]


class PinUseKind(models.TextChoices):
    """What came as a code."""

    PIN = "pin", "a code that was sent"
    SHOWN = "shown", "the code of the shopper's page"
    MASTER = "master", "the master PIN"
    WRONG = "wrong", "a wrong code"


class PinUse(TenantModel):
    """A code that came by a key of the API: what it was, never its digits. Kept for two days."""

    persona = TenantKey(Persona, on_delete=models.CASCADE, related_name="pin_uses")
    key = TenantKey(ApiKey, on_delete=models.CASCADE, db_index=False, related_name="pin_uses")
    store = TenantKey(Store, on_delete=models.CASCADE, null=True, related_name="+")
    kind = models.CharField(max_length=6, choices=PinUseKind)
    at = models.DateTimeField()

    class Meta:
        indexes = [
            models.Index(fields=["key", "persona", "-at"], name="pin_use_proof"),
            models.Index(fields=["key", "-at"], condition=Q(kind="wrong"), name="pin_use_wrong"),
            models.Index(fields=["at"], name="pin_use_at"),
        ]
