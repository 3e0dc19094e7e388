"""The merchant's shops, and which of the POS's locations is which shop."""

from django.core.validators import MinValueValidator
from django.db import models
from django.utils.timezone import now

from aiqsync.accounts.models import ApiKey, Membership, zones
from aiqsync.accounts.tenancy import TenantKey, TenantModel, tenant_parent
from integrations.models import Location


class Store(TenantModel):
    """A retail store. `number` is its public id: a small integer, counted within the account."""

    number = models.PositiveIntegerField("store id", validators=[MinValueValidator(1)], editable=False)
    name = models.CharField(max_length=200)
    nickname = models.CharField(max_length=100, blank=True, help_text="Short name used in messages.")
    phone = models.CharField(max_length=40, blank=True)
    email = models.EmailField("e-mail", blank=True)
    street = models.CharField(max_length=200, blank=True)
    city = models.CharField(max_length=100, blank=True)
    state = models.CharField("state or province", max_length=10, blank=True)
    postal_code = models.CharField("postal code", max_length=20, blank=True)
    country = models.CharField(max_length=2, blank=True)
    timezone = models.CharField(
        max_length=64,
        choices=zones,
        blank=True,
        help_text="Empty: the company's. Quiet hours and opening hours use it.",
    )
    require_pin = models.BooleanField(
        "require PIN",
        default=False,
        db_default=False,
        help_text="A till with a key of this store sees points and discounts, and can redeem only after the shopper's "
        "code, or the master PIN, was entered there: for 15 minutes. Keys without a store are not asked.",
    )
    created_at = models.DateTimeField(default=now, editable=False)

    class Meta:
        ordering = ["name"]
        constraints = [
            models.UniqueConstraint(fields=["account", "number"], name="store_number_once"),
            tenant_parent("store"),
        ]

    def __str__(self) -> str:
        return self.name


class StoreMapping(TenantModel):
    """A POS location is this store, or none of ours. Joined wherever a sale's store is asked for, never copied."""

    location = TenantKey(Location, related_name="mappings")
    store = TenantKey(Store, on_delete=models.CASCADE, related_name="mappings", null=True)
    mapped_at = models.DateTimeField(default=now, editable=False)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["location"], name="location_mapped_once")]

    def __str__(self) -> str:
        return f"{self.location} is {self.store or 'no store of ours'}"


class StoreStaff(TenantModel):
    """A member of the Staff role works in these stores."""

    membership = TenantKey(Membership, on_delete=models.CASCADE, related_name="stores")
    store = TenantKey(Store, on_delete=models.CASCADE, related_name="staff")

    class Meta:
        constraints = [models.UniqueConstraint(fields=["membership", "store"], name="store_staff_once")]


class StoreKey(TenantModel):
    """An API key that belongs to one store's tills; what it redeems happened there."""

    key = TenantKey(ApiKey, on_delete=models.CASCADE, related_name="store_keys")
    store = TenantKey(Store, on_delete=models.CASCADE, related_name="keys")

    class Meta:
        constraints = [models.UniqueConstraint(fields=["key"], name="store_key_once")]
