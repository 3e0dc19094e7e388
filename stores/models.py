"""The merchant's shops, and which of the POS's locations is which shop."""

from typing import Any

from django.core.exceptions import ValidationError
from django.core.validators import MaxValueValidator, MinValueValidator, URLValidator
from django.db import models
from django.db.models import Q
from django.utils.timezone import now

from aiqsync.accounts.models import ApiKey, Membership, zones
from aiqsync.accounts.tenancy import TenantKey, TenantModel, tenant_parent
from integrations.models import Location

REVIEW_SITES = ("google", "facebook", "leafly", "weedmaps", "instagram", "twitter", "yelp")
_WEB = URLValidator(["http", "https"])


def check_review_links(links: Any) -> None:
    """A site's name to an address of the web, for the sites there are."""
    if not isinstance(links, dict) or any(site not in REVIEW_SITES for site in links):
        raise ValidationError("Addresses by site; the sites are " + ", ".join(REVIEW_SITES) + ".")
    for site, address in links.items():
        if not isinstance(address, str) or len(address) > 500:
            raise ValidationError(f"{site}: an address of at most 500 characters.")
        try:
            _WEB(address)
        except ValidationError:
            raise ValidationError(f"{site}: an address as https://… is needed.") from None


def _web_address(label: str, help_text: str) -> models.CharField:
    return models.CharField(label, max_length=500, blank=True, validators=[_WEB], help_text=help_text)


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
    latitude = models.DecimalField(
        max_digits=8, decimal_places=6, null=True, blank=True,
        validators=[MinValueValidator(-90), MaxValueValidator(90)], help_text="Degrees north, as 49.282729.",
    )  # fmt: skip
    longitude = models.DecimalField(
        max_digits=9, decimal_places=6, null=True, blank=True,
        validators=[MinValueValidator(-180), MaxValueValidator(180)], help_text="Degrees east, as -123.120738.",
    )  # fmt: skip
    avatar = _web_address("picture", "The address of a square picture of the store.")
    online_shop_url = _web_address("online shop", "Where shoppers order from this store.")
    review_links = models.JSONField(default=dict, blank=True, validators=[check_review_links])
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
            models.CheckConstraint(
                condition=Q(latitude=None, longitude=None)
                | Q(latitude__isnull=False, longitude__isnull=False)
                & Q(latitude__gte=-90, latitude__lte=90, longitude__gte=-180, longitude__lte=180),
                name="store_place",
            ),
        ]

    def __str__(self) -> str:
        return self.name

    def clean(self) -> None:
        if (self.latitude is None) != (self.longitude is None):
            missing = "latitude" if self.latitude is None else "longitude"
            raise ValidationError({missing: "Both, or neither: one alone is no place."})


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
