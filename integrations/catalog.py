"""What the account's POS sell, with what is there of it."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from decimal import Decimal

from .models import Product, Stock


@dataclass(frozen=True, slots=True)
class Level:
    """How much is at a place; `location_id` None: the vendor names no place."""

    location_id: int | None
    location: str
    quantity: Decimal


@dataclass(frozen=True, slots=True)
class Listed:
    product: Product
    levels: Sequence[Level] = field(default_factory=list)

    @property
    def quantity(self) -> Decimal | None:
        """Of all places; None when no level was ever told."""
        return sum((one.quantity for one in self.levels), Decimal(0)) if self.levels else None


def listed(*, account_id: int, start: int, limit: int) -> list[Listed]:
    """Products that are still sold, the oldest first, with their stock. Two statements, whatever the number."""
    products = list(
        Product.unscoped.filter(account_id=account_id, active=True)
        .select_related("origin")
        .order_by("pk")[start : start + limit]
    )
    levels: dict[tuple[int, str], list[Level]] = {(one.origin_id, one.external_id): [] for one in products}
    stock = Stock.unscoped.filter(
        account_id=account_id,
        origin_id__in={origin for origin, _ in levels},
        product_id__in={product for _, product in levels},
    ).select_related("location")
    for one in stock.order_by("pk"):
        if (mine := levels.get((one.origin_id, one.product_id))) is not None:
            place = one.location
            mine.append(Level(one.location_id, (place.name or place.external_id) if place else "", one.quantity))
    return [Listed(one, levels[one.origin_id, one.external_id]) for one in products]
