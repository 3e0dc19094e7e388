"""What happened with contacts, as lists for callers of the API: lines bought, points, adjustments, redemptions."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

from django.db import connection

MOST_LINES = 2000
MOST_ROWS = 10_000


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a sale or a refund (then negative); cents of the line, after its discounts."""

    sale_id: str
    kind: str
    name: str
    brand: str
    category: str
    sku: str
    quantity: Decimal
    total_cents: int
    sold_at: datetime
    store: str


def orders(*, account_id: int, persona_id: int, start: int = 0, limit: int = MOST_LINES) -> list[Line]:
    """Lines of a root's sales, the latest sale first, the lines of a sale together."""
    with connection.cursor() as cursor:
        cursor.execute(
            """SELECT coalesce(nullif(s.number, ''), s.external_id), s.kind, l.name, l.brand, l.category, l.sku,
                      l.quantity, l.total_cents, s.sold_at, coalesce(t.name, place.name, '')
               FROM loyalty_salestate st JOIN integrations_sale s ON s.id = st.sale_id
               JOIN integrations_saleline l ON l.sale_id = s.id
               LEFT JOIN integrations_location place ON place.id = s.location_id
               LEFT JOIN stores_storemapping m ON m.location_id = s.location_id
               LEFT JOIN stores_store t ON t.id = m.store_id
               WHERE st.account_id = %s AND st.persona_id = %s
               ORDER BY s.sold_at DESC, s.id DESC, l.number OFFSET %s LIMIT %s""",
            [account_id, persona_id, start, limit],
        )
        return [Line(*row) for row in cursor.fetchall()]


@dataclass(frozen=True, slots=True)
class Event:
    """A line of the points history. `name` is the discount's, or the sale's number."""

    entry_id: int
    kind: str
    points: Decimal
    at: datetime
    happened_at: datetime
    note: str
    name: str


def timeline(
    *, account_id: int, persona_id: int, since: datetime | None, until: datetime | None, limit: int = MOST_LINES
) -> list[Event]:
    """Entries of a root and the rows merged into it, the latest first. A merge inside the group is no event of it."""
    with connection.cursor() as cursor:
        cursor.execute(
            """WITH rows AS (SELECT id FROM loyalty_persona
                             WHERE account_id = %(account)s AND (id = %(root)s OR merged_into_id = %(root)s))
               SELECT e.id, e.kind, e.points, e.at, coalesce(e.cause_at, e.at), e.note,
                      coalesce(d.name, nullif(s.number, ''), '')
               FROM loyalty_entry e
               LEFT JOIN loyalty_redemption r ON r.id = e.redemption_id
               LEFT JOIN loyalty_discount d ON d.id = r.discount_id
               LEFT JOIN integrations_sale s ON s.id = e.sale_id
               WHERE e.account_id = %(account)s AND e.persona_id IN (SELECT id FROM rows)
                 AND (%(since)s::timestamptz IS NULL OR e.at >= %(since)s)
                 AND (%(until)s::timestamptz IS NULL OR e.at <= %(until)s)
                 AND (e.merge_id IS NULL OR NOT EXISTS (
                     SELECT FROM loyalty_merge m WHERE m.id = e.merge_id AND m.survivor_id IN (SELECT id FROM rows)
                     AND m.loser_id IN (SELECT id FROM rows)))
               ORDER BY e.at DESC, e.id DESC LIMIT %(limit)s""",
            {"account": account_id, "root": persona_id, "since": since, "until": until, "limit": limit},
        )
        return [Event(*row) for row in cursor.fetchall()]


# A contact as a row of a list names it: the root, who is neither removed nor a rehearsal's.
_WHO = "root.contact_id, root.first_name, root.last_name, root.phone, root.email"
_ROOT = """
JOIN loyalty_persona o ON o.id = {0}.persona_id
JOIN loyalty_persona root ON root.id = coalesce(o.merged_into_id, o.id) AND root.erased_at IS NULL AND NOT root.is_test
"""


@dataclass(frozen=True, slots=True)
class Adjustment:
    contact_id: UUID
    first_name: str
    last_name: str
    phone: str
    email: str
    entry_id: int
    points: Decimal
    note: str
    at: datetime
    by: str  # a member's name, or the key's; "" when nobody's


def adjustments(
    *, account_id: int, since: datetime, until: datetime, start: int = 0, limit: int = MOST_ROWS
) -> list[Adjustment]:
    """Points given or taken by hand from `since` to `until`, the oldest first."""
    return [
        Adjustment(*row)
        for row in _rows(
            f"""SELECT {_WHO}, e.id, e.points, e.note, e.at,
                       coalesce(nullif(u.name, ''), e.explanation ->> 'key', '')
                FROM loyalty_entry e {_ROOT.format("e")} LEFT JOIN accounts_user u ON u.id = e.user_id
                WHERE e.account_id = %(account)s AND e.kind = 'adjust' AND e.at >= %(since)s AND e.at <= %(until)s
                ORDER BY e.at, e.id OFFSET %(start)s LIMIT %(limit)s""",
            account=account_id, since=since, until=until, start=start, limit=limit,
        )
    ]  # fmt: skip


@dataclass(frozen=True, slots=True)
class Redeemed:
    contact_id: UUID
    first_name: str
    last_name: str
    phone: str
    email: str
    redemption_id: UUID
    discount_number: int
    discount: str
    points: Decimal
    returned: Decimal
    state: str
    channel: str
    transaction: str
    store: str
    at: datetime


def redemptions(
    *, account_id: int, since: datetime, until: datetime, start: int = 0, limit: int = MOST_ROWS
) -> list[Redeemed]:
    """Uses of discounts from `since` to `until`, given back ones too, the oldest first."""
    return [
        Redeemed(*row)
        for row in _rows(
            f"""SELECT {_WHO}, r.public_id, d.number, d.name, r.points, r.reverted_points, r.state, r.channel,
                       r.transaction, coalesce(t.name, ''), r.applied_at
                FROM loyalty_redemption r {_ROOT.format("r")} JOIN loyalty_discount d ON d.id = r.discount_id
                LEFT JOIN stores_store t ON t.id = r.store_id
                WHERE r.account_id = %(account)s AND r.applied_at >= %(since)s AND r.applied_at <= %(until)s
                ORDER BY r.applied_at, r.id OFFSET %(start)s LIMIT %(limit)s""",
            account=account_id, since=since, until=until, start=start, limit=limit,
        )
    ]  # fmt: skip


def _rows(sql: str, **values: Any) -> Sequence[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(sql, values)
        return cursor.fetchall()
