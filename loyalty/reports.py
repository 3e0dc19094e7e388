"""Figures for people: what staff did by hand, what is owed in points, what sales left over, where data is missing.

Each is one or two statements for an account; moments are given, days were cut by the caller.
"""

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from uuid import UUID

from django.db import connection

from .testers import NOT_TEST, not_test


def _rows(sql: str, values: dict) -> list[tuple]:
    with connection.cursor() as cursor:
        cursor.execute(sql, values)
        return cursor.fetchall()


# Staff


@dataclass(frozen=True, slots=True)
class StaffLine:
    """What one person did by hand. Points as counted: `added` and `taken` are both positive."""

    user_id: int | None
    name: str
    role: str
    adjustments: int
    added: Decimal
    taken: Decimal
    redemptions: int
    redeemed: Decimal
    given_back: int
    enrolments: int
    merges: int
    receipts: int
    usual: Decimal | None  # the median of what others added, for whoever added anything

    @property
    def stands_out(self) -> bool:
        """Added far more than others do: worth a look, not a verdict."""
        return bool(self.usual) and self.added > 5 * (self.usual or 0) and self.adjustments >= 5


_STAFF = f"""
WITH did AS (
    SELECT user_id, count(*) FILTER (WHERE kind = 'adjust') AS adjustments,
           coalesce(sum(points) FILTER (WHERE kind = 'adjust' AND points > 0), 0) AS added,
           coalesce(-sum(points) FILTER (WHERE kind = 'adjust' AND points < 0), 0) AS taken,
           count(*) FILTER (WHERE kind = 'reverse') AS given_back
    FROM loyalty_entry
    WHERE account_id = %(account)s AND at >= %(start)s AND at < %(end)s AND user_id IS NOT NULL
      AND {NOT_TEST} GROUP BY user_id
), used AS (
    SELECT user_id, count(*) AS redemptions, sum(points) AS redeemed FROM loyalty_redemption
    WHERE account_id = %(account)s AND applied_at >= %(start)s AND applied_at < %(end)s AND user_id IS NOT NULL
      AND {NOT_TEST}
    GROUP BY user_id
), others AS (
    SELECT user_id, sum(enrolled) AS enrolled, sum(merged) AS merged, sum(attached) AS attached FROM (
        SELECT user_id, 1 AS enrolled, 0 AS merged, 0 AS attached FROM loyalty_enrolment
        WHERE account_id = %(account)s AND at >= %(start)s AND at < %(end)s AND user_id IS NOT NULL
        UNION ALL
        SELECT user_id, 0, 1, 0 FROM loyalty_merge
        WHERE account_id = %(account)s AND at >= %(start)s AND at < %(end)s AND user_id IS NOT NULL
        UNION ALL
        SELECT user_id, 0, 0, 1 FROM loyalty_attachment
        WHERE account_id = %(account)s AND at >= %(start)s AND at < %(end)s AND user_id IS NOT NULL
    ) x GROUP BY user_id
)
SELECT u.id, coalesce(nullif(u.name, ''), u.email), coalesce(m.role, ''), coalesce(did.adjustments, 0),
       coalesce(did.added, 0), coalesce(did.taken, 0), coalesce(used.redemptions, 0), coalesce(used.redeemed, 0),
       coalesce(did.given_back, 0), coalesce(others.enrolled, 0), coalesce(others.merged, 0),
       coalesce(others.attached, 0),
       (SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY added) FROM did d WHERE d.added > 0 AND d.user_id <> u.id)
FROM accounts_user u
LEFT JOIN did ON did.user_id = u.id LEFT JOIN used ON used.user_id = u.id LEFT JOIN others ON others.user_id = u.id
LEFT JOIN accounts_membership m ON m.user_id = u.id AND m.account_id = %(account)s
WHERE did.user_id IS NOT NULL OR used.user_id IS NOT NULL OR others.user_id IS NOT NULL OR m.id IS NOT NULL
ORDER BY coalesce(did.added, 0) DESC, coalesce(used.redeemed, 0) DESC, 2
"""


def staff(*, account_id: int, start: datetime, end: datetime) -> list[StaffLine]:
    """Everybody of the account, and whoever did something in it, those who added most first."""
    return [
        StaffLine(*row[:12], usual=Decimal(str(row[12])) if row[12] is not None else None)
        for row in _rows(_STAFF, {"account": account_id, "start": start, "end": end})
    ]


# Liability


@dataclass(frozen=True, slots=True)
class Liability:
    """Points that may still be used. `cents_a_point` is what redemptions of the last 90 days took off for a point."""

    points: Decimal
    shoppers: int
    by_store: list[tuple[str, Decimal]]
    by_expiry: list[tuple[str, Decimal]]
    by_kind: list[tuple[str, Decimal]]
    shortfalls: Decimal
    cents_a_point: Decimal | None

    def cents(self, points: Decimal) -> int | None:
        return None if self.cents_a_point is None else int(points * self.cents_a_point)


# By the place of the sale that gave them, when they end, and kind. Lots that moved in a merge are traced to where they
# began; they are few, and asked for by themselves, so that the many are joined by several processes at once. OFFSET 0
# has them looked up one by one: the planner thinks there are many, and would read four whole tables.
_OWED = f"""
SELECT s.location_id, CASE WHEN l.expires_at IS NULL THEN 4 WHEN l.expires_at <= %(in30)s THEN 1
                           WHEN l.expires_at <= %(in90)s THEN 2 ELSE 3 END, l.kind, sum(l.remaining)
FROM loyalty_lot l
JOIN loyalty_entry e ON e.id = l.entry_id
LEFT JOIN integrations_sale s ON s.id = e.sale_id
WHERE l.account_id = %(account)s AND l.open AND l.from_lot_id IS NULL AND {not_test("l.persona_id")}
  AND (l.expires_at IS NULL OR l.expires_at > %(now)s)
GROUP BY 1, 2, 3
"""
_OWED_AFTER_MERGES = """
WITH RECURSIVE up AS (
    SELECT id AS lot, from_lot_id AS above FROM loyalty_lot
    WHERE account_id = %(account)s AND open AND from_lot_id IS NOT NULL
      AND (expires_at IS NULL OR expires_at > %(now)s)
    UNION ALL
    SELECT up.lot, l.from_lot_id FROM up JOIN loyalty_lot l ON l.id = up.above WHERE l.from_lot_id IS NOT NULL
)
SELECT s.location_id, CASE WHEN l.expires_at IS NULL THEN 4 WHEN l.expires_at <= %(in30)s THEN 1
                           WHEN l.expires_at <= %(in90)s THEN 2 ELSE 3 END, l.kind, sum(l.remaining)
FROM up
CROSS JOIN LATERAL (SELECT entry_id FROM loyalty_lot WHERE id = up.above AND from_lot_id IS NULL OFFSET 0) f
CROSS JOIN LATERAL (SELECT expires_at, kind, remaining FROM loyalty_lot WHERE id = up.lot OFFSET 0) l
CROSS JOIN LATERAL (SELECT sale_id FROM loyalty_entry WHERE id = f.entry_id OFFSET 0) e
LEFT JOIN LATERAL (SELECT location_id FROM integrations_sale WHERE id = e.sale_id OFFSET 0) s ON true
GROUP BY 1, 2, 3
"""
_PLACES = """
SELECT m.location_id, st.name FROM stores_storemapping m JOIN stores_store st ON st.id = m.store_id
WHERE m.account_id = %(account)s
"""
_EXPIRY = {1: "Within 30 days", 2: "In 31 to 90 days", 3: "Later", 4: "Never"}
_KIND = {
    "earn": "Earned", "adjust": "Given by hand", "boost": "Boosts", "import": "Imported", "mirror": "Mirrored",
    "merge": "Moved by a merge",
}  # fmt: skip
_VALUE = f"""
SELECT sum(d.amount_cents), sum(r.points) FROM loyalty_redemption r JOIN loyalty_discount d ON d.id = r.discount_id
WHERE r.account_id = %(account)s AND r.applied_at >= %(since)s AND r.state IN ('applied', 'settled')
  AND d.kind = 'flat' AND r.points > 0 AND {not_test("r.persona_id")}
"""


def liability(*, account_id: int, now: datetime) -> Liability:
    """What is owed now, three ways. Points past their expiry are not owed, whether or not the sweep was there."""
    ask = {"account": account_id, "now": now, "in30": now + timedelta(days=30), "in90": now + timedelta(days=90)}
    stores: dict[str, Decimal] = {}
    expiry: dict[int, Decimal] = {}
    kinds: dict[str, Decimal] = {}
    places = dict(_rows(_PLACES, ask))
    for place, bucket, kind, points in (*_rows(_OWED, ask), *_rows(_OWED_AFTER_MERGES, ask)):
        store = places.get(place, "")
        stores[store] = stores.get(store, Decimal(0)) + points
        expiry[bucket] = expiry.get(bucket, Decimal(0)) + points
        kinds[kind] = kinds.get(kind, Decimal(0)) + points
    [(shoppers, missing)] = _rows(
        f"""SELECT (SELECT count(DISTINCT persona_id) FROM loyalty_lot
                   WHERE account_id = %(account)s AND {NOT_TEST} AND open
                     AND (expires_at IS NULL OR expires_at > %(now)s)),
                  (SELECT coalesce(sum(points - netted - collected), 0) FROM loyalty_shortfall
                   WHERE account_id = %(account)s AND state = 'open' AND {NOT_TEST})""",
        ask,
    )
    [(cents, spent)] = _rows(_VALUE, {"account": account_id, "since": now - timedelta(days=90)})
    named = sorted(((name, points) for name, points in stores.items() if name), key=lambda pair: -pair[1])
    if "" in stores:
        named.append(("No store (given by hand, boosts, imports, unmapped places)", stores[""]))
    return Liability(
        points=sum(stores.values(), Decimal(0)),
        shoppers=shoppers,
        by_store=named,
        by_expiry=[(_EXPIRY[bucket], expiry[bucket]) for bucket in sorted(expiry)],
        by_kind=sorted(((_KIND.get(kind, kind), points) for kind, points in kinds.items()), key=lambda pair: -pair[1]),
        shortfalls=missing,
        cents_a_point=Decimal(cents) / spent if spent else None,
    )


@dataclass(frozen=True, slots=True)
class Expiring:
    """A shopper who loses points soon: how many in all, and when the first of them go."""

    contact_id: UUID
    name: str
    points: Decimal
    first_at: datetime


def expiring(*, account_id: int, now: datetime, days: int = 30, limit: int | None = None) -> list[Expiring]:
    """Who loses points within so many days, the most points first."""
    rows = _rows(
        """SELECT p.contact_id, trim(p.first_name || ' ' || p.last_name), sum(l.remaining), min(l.expires_at)
           FROM loyalty_lot l JOIN loyalty_persona p ON p.id = l.persona_id
           WHERE l.account_id = %(account)s AND l.open AND l.expires_at > %(now)s AND l.expires_at <= %(until)s
             AND NOT p.is_test
           GROUP BY p.id ORDER BY 3 DESC, p.id LIMIT %(limit)s""",
        {"account": account_id, "now": now, "until": now + timedelta(days=days), "limit": limit},
    )
    return [Expiring(*row) for row in rows]


# Margin


@dataclass(frozen=True, slots=True)
class MarginLine:
    """One store's sales with a known cost. Money in cents, before tax."""

    store: str
    sales: int
    revenue: int
    known: int  # of the revenue: lines whose cost the POS told
    cost: int
    discounts: int
    points: Decimal

    @property
    def margin(self) -> int:
        return self.known - self.cost

    @property
    def share(self) -> float | None:
        return self.margin / self.known if self.known else None

    @property
    def covered(self) -> float | None:
        """How much of the revenue has a cost."""
        return self.known / self.revenue if self.revenue else None


# Lines and sales are summed by place each by itself: line by line for each sale took four times as long for a year.
_MARGIN = """
SELECT coalesce(st.name, ''), coalesce(sum(s.sales), 0)::bigint, coalesce(sum(n.revenue), 0)::bigint,
       coalesce(sum(n.known), 0)::bigint, coalesce(sum(n.cost), 0)::bigint, coalesce(sum(s.discounts), 0)::bigint,
       coalesce(sum(s.points), 0)
FROM (
    SELECT s.location_id, count(*) FILTER (WHERE s.kind = 'sale') AS sales, sum(s.discount_cents) AS discounts,
           sum(ss.posted) AS points
    FROM integrations_sale s LEFT JOIN loyalty_salestate ss ON ss.sale_id = s.id
    WHERE s.account_id = %(account)s AND s.sold_at >= %(start)s AND s.sold_at < %(end)s GROUP BY 1
) s
LEFT JOIN (
    SELECT s.location_id, sum(l.total_cents) AS revenue, sum(l.cost_cents) AS cost,
           sum(l.total_cents) FILTER (WHERE l.cost_cents IS NOT NULL) AS known
    FROM integrations_sale s JOIN integrations_saleline l ON l.sale_id = s.id
    WHERE s.account_id = %(account)s AND s.sold_at >= %(start)s AND s.sold_at < %(end)s GROUP BY 1
) n ON n.location_id IS NOT DISTINCT FROM s.location_id
LEFT JOIN stores_storemapping m ON m.location_id = s.location_id
LEFT JOIN stores_store st ON st.id = m.store_id
GROUP BY coalesce(st.name, '') ORDER BY (coalesce(st.name, '') = ''), 1
"""


def margin(*, account_id: int, start: datetime, end: datetime) -> list[MarginLine]:
    """By store; refunds are subtracted. Lines without a cost count in the revenue and not in the margin."""
    return [MarginLine(*row) for row in _rows(_MARGIN, {"account": account_id, "start": start, "end": end})]


# Data quality


@dataclass(frozen=True, slots=True)
class Gap:
    """One kind of missing or doubtful data: how many of how many, and why it matters."""

    name: str
    title: str
    count: int
    of: int
    why: str
    examples: list[tuple[str, str]] = field(default_factory=list)  # text, contact id or ""

    @property
    def share(self) -> float:
        return self.count / self.of if self.of else 0.0


_PEOPLE = """
SELECT count(*), count(*) FILTER (WHERE phone = ''), count(*) FILTER (WHERE email = ''),
       count(*) FILTER (WHERE phone = '' AND email = ''), count(*) FILTER (WHERE birth_date IS NULL),
       count(*) FILTER (WHERE first_name = '' OR last_name = '')
FROM loyalty_persona WHERE account_id = %(account)s AND merged_into_id IS NULL AND erased_at IS NULL
  AND NOT is_test
"""
_CUSTOMERS = """
SELECT count(*), count(*) FILTER (WHERE phone_raw <> '' AND phone = ''),
       count(*) FILTER (WHERE email_raw <> '' AND email = '')
FROM integrations_customer WHERE account_id = %(account)s AND erased_at IS NULL
"""
_SALES = """
SELECT count(*), count(*) FILTER (WHERE s.location_id IS NULL OR m.id IS NULL),
       count(*) FILTER (WHERE s.customer_id = '' AND s.kind = 'sale')
FROM integrations_sale s LEFT JOIN stores_storemapping m ON m.location_id = s.location_id
WHERE s.account_id = %(account)s AND s.sold_at >= %(since)s
"""
_LINES = """
SELECT count(*), count(*) FILTER (WHERE l.category = ''), count(*) FILTER (WHERE l.brand = ''),
       count(*) FILTER (WHERE l.cost_cents IS NULL)
FROM integrations_saleline l JOIN integrations_sale s ON s.id = l.sale_id
WHERE s.account_id = %(account)s AND s.sold_at >= %(since)s
"""
_SUSPECTS = """
SELECT count(*), coalesce(sum(customers), 0) FROM loyalty_suspectnumber
WHERE account_id = %(account)s AND decision = 'open'
"""
QUALITY_DAYS = 90


def quality(*, account_id: int, now: datetime) -> list[Gap]:
    """What is missing, worst share first; sales and lines of the last 90 days."""
    ask = {"account": account_id, "since": now - timedelta(days=QUALITY_DAYS)}
    [(people, no_phone, no_email, no_contact, no_birth, no_name)] = _rows(_PEOPLE, ask)
    [(customers, bad_phone, bad_email)] = _rows(_CUSTOMERS, ask)
    [(sales, no_store, anonymous)] = _rows(_SALES, ask)
    [(lines, no_category, no_brand, no_cost)] = _rows(_LINES, ask)
    [(numbers, bearers)] = _rows(_SUSPECTS, ask)
    found = [
        Gap("no_contact", "Neither phone nor e-mail", no_contact, people,
            "Nobody can be reached or recognised again by these records."),
        Gap("no_phone", "No phone", no_phone, people, "The till finds a wallet by the phone first."),
        Gap("no_email", "No e-mail", no_email, people, "The second way to recognise somebody."),
        Gap("no_name", "Name not complete", no_name, people, "Staff cannot tell two people apart."),
        Gap("no_birth_date", "No birth date", no_birth, people, "Needed for birthday audiences and merging by name."),
        Gap("bad_phone", "Phone in the POS is not valid", bad_phone, customers,
            "Kept as typed and left out: correct it in the POS."),
        Gap("bad_email", "E-mail in the POS is not valid", bad_email, customers,
            "Kept as typed and left out: correct it in the POS."),
        Gap("placeholder", f"Numbers borne by different people{f' ({numbers})' if numbers else ''}", bearers, customers,
            "They join nobody until somebody decides what they are."),
        Gap("no_store", "Sale without a store", no_store, sales,
            "Earns points and counts for no store: map its location."),
        Gap("anonymous", "Sale without a customer", anonymous, sales,
            "Earns nothing until the receipt is attached to a shopper."),
        Gap("no_category", "Line without a category", no_category, lines, "Rules by category cannot see it."),
        Gap("no_brand", "Line without a brand", no_brand, lines, "Rules by brand cannot see it."),
        Gap("no_cost", "Line without a cost", no_cost, lines, "Left out of the margin."),
    ]  # fmt: skip
    return sorted((gap for gap in found), key=lambda gap: -gap.share)
