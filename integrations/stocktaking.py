"""Levels of stock that the POS told once, and what was sold since: kept by movement, for sources that push."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime
from decimal import Decimal

from django.db import connection

from .kit.records import SaleRecord

# What a sale took: (sku or product id, location's external id) -> quantity. A refund's is negative.
Taken = Mapping[tuple[str, str], Decimal]


def told(*, origin_id: int, external_ids: Collection[str], now: datetime) -> None:
    """These levels were told now: what was sold before is in them already."""
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE integrations_stock SET told_at = %s WHERE origin_id = %s AND external_id = ANY(%s)",
            [now, origin_id, list(external_ids)],
        )


def before(*, origin_id: int, records: Sequence[SaleRecord]) -> dict[str, dict[tuple[str, str], Decimal]]:
    """What the stored sales of these ids took, by sale. The caller holds the origin's lock, and lands afterwards.

    What has neither sku nor product id (a bag, a fee) took nothing that is counted, and stands in nobody's way. A sale
    of which nothing tells what was bought, not even a name, is one of somebody removed: "" is its product.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            """SELECT s.external_id, coalesce(nullif(n.sku, ''), n.product_id), coalesce(l.external_id, ''),
                      sum(n.quantity), bool_and(n.name = '')
               FROM integrations_sale s LEFT JOIN integrations_location l ON l.id = s.location_id
               JOIN integrations_saleline n ON n.sale_id = s.id
               WHERE s.origin_id = %s AND s.external_id = ANY(%s) GROUP BY 1, 2, 3""",
            [origin_id, [record.external_id for record in records]],
        )
        taken: dict[str, dict[tuple[str, str], Decimal]] = defaultdict(dict)
        nameless = []
        for sale, product, place, quantity, unnamed in cursor.fetchall():
            if product:
                taken[sale][product, place] = quantity
            elif unnamed:
                nameless.append((sale, place, quantity))
        for sale, place, quantity in nameless:
            if not taken.get(sale):
                taken[sale]["", place] = quantity
    return taken


def sold(
    *, account_id: int, origin_id: int, records: Iterable[SaleRecord], stored: Mapping[str, Taken], now: datetime
) -> int:
    """Lower the levels by what these sales took beyond what was taken for them before. Returns how many levels moved.

    The state of the sale decides, not the call: pushed twice it moves nothing, edited it moves the difference. Levels
    that were told after the sale hold it already; products without a told level are none of our business.
    """
    moves: dict[tuple[str, str, datetime], Decimal] = defaultdict(Decimal)
    for record in {one.external_id: one for one in records}.values():
        earlier = stored.get(record.external_id, {})
        if any(product == "" for product, _ in earlier):
            continue  # what was bought is not known any more: somebody was removed
        assert record.sold_at is not None
        taken, back = _taken(record), sum(earlier.values()) < 0
        if earlier and back != (record.kind == "refund"):
            # A refund that bears its sale's own id: the goods are where they were before the sale.
            earlier, taken = ({}, taken) if back else (earlier, {})
        for key, quantity in taken.items():
            moves[*key, record.sold_at] -= quantity
        for key, quantity in earlier.items():
            moves[*key, record.sold_at] += quantity
    changed = [(*key, quantity) for key, quantity in sorted(moves.items()) if quantity]
    if not changed:
        return 0
    products, places, times, quantities = (list(column) for column in zip(*changed, strict=True))
    with connection.cursor() as cursor:
        # By the product's own id or by its sku; at the sale's place, else where no place is told.
        cursor.execute(
            """WITH m AS (SELECT * FROM unnest(%s::text[], %s::text[], %s::timestamptz[], %s::numeric[])
                          m (product, place, at, quantity)),
                 k AS (SELECT m.place, m.at, m.quantity, coalesce(
                           (SELECT p.external_id FROM integrations_product p
                            WHERE p.origin_id = %s AND p.external_id = m.product),
                           (SELECT min(p.external_id) FROM integrations_product p
                            WHERE p.origin_id = %s AND p.sku = m.product AND p.sku <> '')) AS product FROM m),
                 hit AS (SELECT coalesce(
                           (SELECT s.id FROM integrations_stock s
                            WHERE s.origin_id = %s AND s.external_id = k.product || '|' || k.place),
                           (SELECT s.id FROM integrations_stock s
                            WHERE s.origin_id = %s AND s.external_id = k.product || '|')) AS id, k.at, k.quantity
                         FROM k WHERE k.product IS NOT NULL),
                 by_level AS (SELECT hit.id, sum(hit.quantity) AS quantity FROM hit
                              JOIN integrations_stock s ON s.id = hit.id AND s.told_at < hit.at GROUP BY hit.id)
               UPDATE integrations_stock s SET quantity = s.quantity + by_level.quantity, changed_at = %s
               FROM by_level WHERE s.id = by_level.id AND s.account_id = %s AND by_level.quantity <> 0""",
            [products, places, times, quantities, origin_id, origin_id, origin_id, origin_id, now, account_id],
        )
        return cursor.rowcount


def _taken(record: SaleRecord) -> dict[tuple[str, str], Decimal]:
    taken: dict[tuple[str, str], Decimal] = defaultdict(Decimal)
    for line in record.lines:
        if product := line.sku or line.product_id:
            taken[product, record.location_id] += line.quantity
    return taken
