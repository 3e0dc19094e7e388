"""What a POS's ids of goods, employees and payment methods were called, also of those that it lists no longer."""

from .models import Product, Term


class Words:
    """Of one origin; `kit/streams.py` says what a pull may ask."""

    def __init__(self, origin_id: int) -> None:
        self.origin_id = origin_id

    def terms(self, kind: str) -> dict[str, str]:
        found = Term.unscoped.filter(origin=self.origin_id, kind=kind).exclude(name="")
        return {one.partition(":")[2]: name for one, name in found.values_list("external_id", "name")}

    def goods(self) -> dict[str, tuple[str, str, int | None]]:
        found = Product.unscoped.filter(origin=self.origin_id)
        return {
            one: (sku, category, cost)
            for one, sku, category, cost in found.values_list("external_id", "sku", "category", "cost_cents")
        }
