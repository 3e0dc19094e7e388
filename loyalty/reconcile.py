"""Which sale is an applied redemption's sale (design: its transaction id, else shopper, place, time and discount).

Two candidates are never guessed between: such a redemption stays applied.
"""

import json
from collections.abc import Sequence
from datetime import datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal

from django.db import connection

from . import ledger

BEFORE = timedelta(minutes=2)  # Cova's feed cuts the time of a sale to the minute
AFTER = timedelta(hours=12)

# Open redemptions of the shoppers of these sales, beside the sales that may be theirs.
_CANDIDATES = """
SELECT r.id, s.id, r.transaction <> '' AND r.transaction IN (s.number, s.receipt), r.transaction,
       d.name, d.kind, d.amount_cents, d.percent, s.discounts, s.lines_cents
FROM loyalty_salestate st
JOIN integrations_sale s ON s.id = st.sale_id AND s.kind = 'sale' AND s.discounts <> '[]'::jsonb
JOIN loyalty_redemption r ON r.persona_id = st.persona_id AND r.state = 'applied' AND r.sale_id IS NULL
JOIN loyalty_discount d ON d.id = r.discount_id
LEFT JOIN stores_storemapping m ON m.location_id = s.location_id
WHERE st.account_id = %(account)s AND st.sale_id = ANY(%(sales)s)
  AND s.sold_at BETWEEN r.applied_at - %(before)s AND r.applied_at + %(after)s
  AND (r.store_id IS NULL OR m.store_id = r.store_id)
  AND NOT EXISTS (SELECT FROM loyalty_redemption x WHERE x.sale_id = s.id AND x.discount_id = r.discount_id)
ORDER BY r.id, s.id
"""


def meet(*, account_id: int, sale_ids: Sequence[int], now: datetime) -> int:
    """Settle the open redemptions whose sale is among these. Returns how many."""
    with connection.cursor() as cursor:
        cursor.execute(_CANDIDATES, {"account": account_id, "sales": list(sale_ids), "before": BEFORE, "after": AFTER})
        rows = cursor.fetchall()
    by_name: dict[int, list[int]] = {}  # redemption -> sales
    sure: dict[int, int] = {}
    for redemption, sale, same_order, transaction, *rest in rows:
        if same_order:
            sure[redemption] = sale
        elif not transaction and _carries(*rest):
            by_name.setdefault(redemption, []).append(sale)
    # Without an order's number: one redemption and one sale, or nothing.
    claimed = [sale for sales in by_name.values() for sale in sales]
    for redemption, sales in by_name.items():
        if len(sales) == 1 and claimed.count(sales[0]) == 1 and sales[0] not in sure.values():
            sure[redemption] = sales[0]
    return sum(
        ledger.settle_redemption(account_id=account_id, redemption_id=redemption, sale_id=sale, now=now)
        for redemption, sale in sorted(sure.items())
    )


def _carries(
    name: str, kind: str, amount_cents: int, percent: Decimal, discounts: list[dict] | str, lines_cents: int
) -> bool:
    """Whether a sale's cart discounts hold this one, by its name or by its amount."""
    if isinstance(discounts, str):  # a raw cursor hands JSON out as text
        discounts = json.loads(discounts)
    for discount in discounts:
        cents = int(discount.get("cents") or 0)
        if str(discount.get("name", "")).strip().casefold() == name.strip().casefold():
            return True
        if kind == "flat" and cents == amount_cents:
            return True
        before = lines_cents + cents  # Cova's lines stand after a cart discount
        share = (before * percent / 100).quantize(Decimal(1), ROUND_HALF_UP)
        if kind == "percent" and cents and abs(cents - share) <= 1:
            return True
    return False
