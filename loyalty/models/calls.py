"""Calls of the till's API: what they answered once, and those we could not place."""

from django.db import models

from aiqsync.accounts.models import ApiKey
from aiqsync.accounts.tenancy import TenantKey, TenantModel


class IdempotentCall(TenantModel):
    """What a call with an `Idempotency-Key` answered. Written with its effect, in one transaction; kept for 30 days.

    One table and not a partition a day: that a key is there once is the database's to hold, over all days.
    """

    key = models.CharField(max_length=255)
    fingerprint = models.CharField(max_length=64, help_text="SHA-256 of method, path with query, and body.")
    status = models.PositiveSmallIntegerField()
    body = models.TextField(help_text="The bytes that were answered: JSON.")
    at = models.DateTimeField()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["account", "key"], name="idempotent_call_once")]
        indexes = [models.Index(fields=["at"], name="idempotent_call_at")]


class UnmatchedCall(TenantModel):
    """A call with a good key that no route took, or that could not be read: 30 days, without what tells of people."""

    key = TenantKey(ApiKey, on_delete=models.CASCADE, related_name="unmatched_calls")
    at = models.DateTimeField()
    method = models.CharField(max_length=10)
    path = models.CharField(max_length=500)
    status = models.PositiveSmallIntegerField()
    reason = models.CharField(max_length=300)
    body = models.TextField(blank=True)

    class Meta:
        indexes = [
            models.Index(fields=["key", "-at"], name="unmatched_call_key_at"),
            models.Index(fields=["account", "-at"], name="unmatched_call_latest"),
            models.Index(fields=["at"], name="unmatched_call_at"),
        ]
