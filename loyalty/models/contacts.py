"""What callers of the API say of a contact beside its fields: overrides, attributes of their own, who referred whom."""

from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import F, Q
from django.utils import timezone

from aiqsync.accounts.tenancy import TenantKey, TenantModel

from .people import Persona


class OverrideField(models.TextChoices):
    """The columns of a persona that an override may hold."""

    FIRST_NAME = "first_name", "First name"
    LAST_NAME = "last_name", "Last name"
    PHONE = "phone", "Phone"
    EMAIL = "email", "E-mail"
    BIRTH_DATE = "birth_date", "Birth date"
    ADDRESS = "address", "Address"


class Override(TenantModel):
    """A field that says what a caller wrote, whatever the POS repeats.

    It holds until the POS says something that is not in `seen`: what its records said when it was set. It stays with
    the row it was made for when that one is merged, and the latest of a group counts.
    """

    persona = TenantKey(Persona, on_delete=models.CASCADE, db_index=False, related_name="overrides")
    field = models.CharField(max_length=10, choices=OverrideField)
    value = models.CharField(max_length=300)
    seen = ArrayField(models.CharField(max_length=254), default=list)
    at = models.DateTimeField(default=timezone.now)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["persona", "field"], name="override_once")]


class Attribute(TenantModel):
    """A key and a value that a caller attached to a contact; `parent` groups keys, and may be empty."""

    persona = TenantKey(Persona, on_delete=models.CASCADE, db_index=False, related_name="attributes")
    parent = models.CharField(max_length=100, blank=True)
    key = models.CharField(max_length=100)
    value = models.CharField(max_length=1000, blank=True)
    said_at = models.DateTimeField(null=True, help_text="As the caller told it.")
    at = models.DateTimeField(default=timezone.now)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["persona", "parent", "key"], name="attribute_once")]


class Referral(TenantModel):
    """Who referred whom: once for each who was referred. It brings no points by itself."""

    referrer = TenantKey(Persona, on_delete=models.CASCADE, related_name="referrals")
    referred = TenantKey(Persona, on_delete=models.CASCADE, db_index=False, related_name="referred_by")
    at = models.DateTimeField(default=timezone.now)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["referred"], name="referral_once"),
            models.CheckConstraint(condition=~Q(referrer=F("referred")), name="referral_two_people"),
        ]
