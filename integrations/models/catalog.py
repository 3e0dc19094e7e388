"""What a POS sells and the words it uses: products, stock, employees, tenders, order types, categories."""

from django.db import models
from django.db.models import Q
from django.utils import timezone

from aiqsync.accounts.tenancy import TenantKey, TenantModel

from .rows import Location, Origin


class Product(TenantModel):
    origin = TenantKey(Origin, related_name="products")
    external_id = models.CharField(max_length=100)
    sku = models.CharField(max_length=100, blank=True)
    name = models.CharField(max_length=300, blank=True)
    category = models.CharField(max_length=200, blank=True)
    brand = models.CharField(max_length=200, blank=True)
    unit = models.CharField(max_length=10, blank=True, help_text="Empty for pieces, g for weight goods.")
    price_cents = models.BigIntegerField(null=True)
    cost_cents = models.BigIntegerField(null=True)
    tracks_stock = models.BooleanField(null=True, help_text="Whether the POS counts it; empty: it does not say.")
    active = models.BooleanField(default=True)
    changed_at = models.DateTimeField(default=timezone.now)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["origin", "external_id"], name="product_once")]
        indexes = [models.Index(fields=["origin", "sku"], name="product_sku", condition=~Q(sku=""))]

    def __str__(self) -> str:
        return self.name or self.external_id


class Stock(TenantModel):
    """How much of a product is at a place. A vendor without places has the empty one."""

    origin = TenantKey(Origin, related_name="stock")
    external_id = models.CharField(max_length=201, help_text="product|location, by the vendor's ids")
    product_id = models.CharField(max_length=100, help_text="The vendor's id: stock may come before its product.")
    location = TenantKey(Location, null=True, related_name="stock")
    quantity = models.DecimalField(max_digits=14, decimal_places=4)
    told_at = models.DateTimeField(null=True, help_text="When a level was last told, where later sales lower it.")
    changed_at = models.DateTimeField(default=timezone.now)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["origin", "external_id"], name="stock_once")]
        indexes = [models.Index(fields=["origin", "product_id"], name="stock_product")]
        verbose_name_plural = "stock"

    def __str__(self) -> str:
        return f"{self.product_id} {self.quantity}"


class TermKind(models.TextChoices):
    EMPLOYEE = "employee", "Employee"
    TENDER = "tender", "Tender"
    ORDER_TYPE = "order_type", "Order type"
    CATEGORY = "category", "Category"


class Term(TenantModel):
    """A word of the POS: what its ids of employees, tenders, order types and categories mean."""

    origin = TenantKey(Origin, related_name="terms")
    external_id = models.CharField(max_length=120, help_text="kind:id; the vendor's ids are unique within a kind only.")
    kind = models.CharField(max_length=12, choices=TermKind)
    name = models.CharField(max_length=200, blank=True)
    active = models.BooleanField(default=True)
    changed_at = models.DateTimeField(default=timezone.now)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["origin", "external_id"], name="term_once")]

    def __str__(self) -> str:
        return self.name or self.external_id
