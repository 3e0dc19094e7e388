"""What is known of sales when they are settled: read set-based, and only what the rules ask for."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from zoneinfo import ZoneInfo

from django.db import connection

from .rules import Rules

SLICE = 2000  # sales read at a time


@dataclass(frozen=True, slots=True)
class Line:
    """`refunded` is what refunds took of this very line."""

    cents: int
    brand: str
    category: str
    sku: str
    refunded: int = 0


@dataclass(frozen=True, slots=True)
class SaleFacts:
    """A sale, as earning sees it. Refunds are those whose original it is; cents are positive there."""

    sale_id: int
    persona_id: int | None
    member_from: date | None
    kind: str
    sold_at: datetime
    net_cents: int
    tax_cents: int
    refunded_net_cents: int
    refunded_tax_cents: int
    refunds_end: datetime | None  # when the last of its refunds was made
    posted: Decimal
    origin_id: int = 0
    undoes_refund: bool = False  # its original is itself a refund: it gives the goods back to the first sale
    before: int | None = None  # whose it was when it was settled last
    customer_type: str = ""
    refunds_count: bool = False  # somebody decided so for this sale, whatever the programme says
    lines: tuple[Line, ...] = ()
    store_id: int | None = None
    visit: int = 1  # its place among the paid visits of the persona's day
    stays: frozenset[int] = frozenset()  # audiences the persona was in then
    opted_in: frozenset[str] = frozenset()  # channels that had a yes then
    is_blocked: bool = False
    is_mirrored: bool = False  # the POS's own programme counts it

    def voided(self, zone: ZoneInfo) -> bool:
        """Refunded in full on the day of the sale."""
        if self.refunds_end is None:
            return False
        whole = self.refunded_net_cents + self.refunded_tax_cents >= self.net_cents + self.tax_cents
        return whole and self.refunds_end.astimezone(zone).date() == self.sold_at.astimezone(zone).date()


# Days are cut in Python, never in SQL: a database server may have other time zone data than we.
# A sale's owner is the persona of its customer, else the one its receipt was attached to, at its root; refunds count
# once their details named the original, less what was taken back of them in turn. What was settled for somebody who was
# removed on request rests for ever: it is not read, so nothing recomputes it. So does a stub of an erased source, until
# it is read anew.
_FACTS = """
SELECT s.id, coalesce(p.merged_into_id, p.id), coalesce(heir.member_from, p.member_from), s.kind, s.sold_at,
       s.net_cents, s.tax_cents, coalesce(r.net, 0), coalesce(r.tax, 0),
       r.ended, coalesce(st.posted, 0), s.origin_id, coalesce(o.kind = 'refund', false), st.persona_id,
       coalesce(nullif(heir.customer_type, ''), p.customer_type, ''),
       r.ended IS NOT NULL AND EXISTS (SELECT FROM loyalty_review v WHERE v.sale_id = s.id AND v.kind = 'refund'
                                       AND v.outcome = 'taken' AND v.account_id = s.account_id)
FROM integrations_sale s
LEFT JOIN integrations_customer c ON c.origin_id = s.origin_id AND c.external_id = s.customer_id AND s.customer_id <> ''
LEFT JOIN loyalty_source src ON src.customer_id = c.id
LEFT JOIN loyalty_attachment att ON att.sale_id = s.id AND s.customer_id = ''
LEFT JOIN loyalty_persona p ON p.id = coalesce(src.persona_id, att.persona_id)
LEFT JOIN loyalty_persona heir ON heir.id = p.merged_into_id
LEFT JOIN loyalty_salestate st ON st.sale_id = s.id
LEFT JOIN loyalty_persona gone ON gone.id = st.persona_id AND gone.erased_at IS NOT NULL
LEFT JOIN integrations_sale o ON s.original_id <> '' AND o.origin_id = s.origin_id AND o.external_id = s.original_id
LEFT JOIN LATERAL (
    SELECT -sum(f.net_cents + coalesce(b.net, 0))::bigint AS net, -sum(f.tax_cents + coalesce(b.tax, 0))::bigint AS tax,
           max(f.sold_at) AS ended
    FROM integrations_sale f
    LEFT JOIN LATERAL (
        SELECT sum(x.net_cents) AS net, sum(x.tax_cents) AS tax FROM integrations_sale x
        WHERE x.origin_id = f.origin_id AND x.original_id = f.external_id AND x.original_id <> ''
    ) b ON true
    WHERE f.origin_id = s.origin_id AND f.original_id = s.external_id AND f.original_id <> '' AND f.kind = 'refund'
) r ON s.kind = 'sale'
WHERE s.account_id = %(account)s AND s.id = ANY(%(sales)s) AND gone.id IS NULL AND s.erased_at IS NULL
ORDER BY s.id
"""


def read(account_id: int, sale_ids: Iterable[int], rules: Rules) -> list[SaleFacts]:
    """The facts of these sales, in the order of their ids; where orders earn, with their siblings of the day.

    Sales of somebody who was removed on request, and stubs of an erased source, are left out.
    """
    wanted = sorted(set(sale_ids))
    found = {sale.sale_id: sale for sale in _plain(account_id, wanted)}
    if rules.counts_visits and found:
        more = _siblings(account_id, found.values(), rules) - found.keys()
        found |= {sale.sale_id: sale for sale in _plain(account_id, sorted(more))}
    facts = [found[pk] for pk in sorted(found)]
    if rules.needs_lines:
        facts = _with_lines(facts)
    if rules.needs_place:
        facts = _with_stores(facts)
    if rules.audiences:
        facts = _with_stays(account_id, facts, rules.audiences)
    if rules.opt_in_needed != "none":
        facts = _with_consent(account_id, facts)
    if rules.blocked:
        facts = _with_blocked(account_id, facts, rules.blocked)
    if rules.mirrored:
        facts = _with_mirrored(account_id, facts)
    return facts


def number_visits(facts: list[SaleFacts], zone: ZoneInfo, paid: set[int]) -> list[SaleFacts]:
    """Each paid sale's place among those of its persona's day, by time; `paid` names the sales that are visits."""
    places: dict[tuple[int | None, date], int] = defaultdict(int)
    numbered = {}
    for sale in sorted(facts, key=lambda one: (one.sold_at, one.sale_id)):
        if sale.sale_id in paid:
            day = (sale.persona_id, sale.sold_at.astimezone(zone).date())
            places[day] += 1
            numbered[sale.sale_id] = places[day]
    return [replace(sale, visit=numbered.get(sale.sale_id, 0)) for sale in facts]


def _plain(account_id: int, sale_ids: Sequence[int]) -> Iterator[SaleFacts]:
    for start in range(0, len(sale_ids), SLICE):
        with connection.cursor() as cursor:
            cursor.execute(_FACTS, {"account": account_id, "sales": list(sale_ids[start : start + SLICE])})
            yield from (SaleFacts(*row) for row in cursor.fetchall())


def _siblings(account_id: int, facts: Iterable[SaleFacts], rules: Rules) -> set[int]:
    """Other sales of the same persons (as they are and as they were settled) on the same days of the account."""
    days: set[tuple[int, date]] = set()
    for sale in facts:
        day = sale.sold_at.astimezone(rules.zone).date()
        days |= {(persona, day) for persona in (sale.persona_id, sale.before) if persona}
    if not days:
        return set()
    rows = sorted(days)
    with connection.cursor() as cursor:
        cursor.execute(
            """SELECT st.sale_id FROM unnest(%s::bigint[], %s::timestamptz[], %s::timestamptz[]) AS d (persona, a, b)
               JOIN loyalty_salestate st ON st.persona_id = d.persona
               JOIN integrations_sale s ON s.id = st.sale_id AND s.sold_at >= d.a AND s.sold_at < d.b
               WHERE s.account_id = %s""",
            [
                [persona for persona, _ in rows],
                [datetime.combine(day, time.min, rules.zone) for _, day in rows],
                [datetime.combine(day + timedelta(days=1), time.min, rules.zone) for _, day in rows],
                account_id,
            ],
        )
        return {row[0] for row in cursor.fetchall()}


# The lines of what gave a sale back, and of what took that back in turn (positive there).
_REFUNDED = """
SELECT s.id, coalesce(nullif(l.product_id, ''), l.sku), -l.total_cents
FROM integrations_sale s
JOIN integrations_sale f ON f.origin_id = s.origin_id AND f.original_id = s.external_id AND f.original_id <> ''
     AND f.kind = 'refund'
JOIN integrations_sale x ON x.id = f.id
     OR x.origin_id = f.origin_id AND x.original_id = f.external_id AND x.original_id <> ''
JOIN integrations_saleline l ON l.sale_id = x.id
WHERE s.id = ANY(%s) AND s.kind = 'sale'
ORDER BY s.id, x.sold_at, x.id, l.number
"""


def _with_lines(facts: list[SaleFacts]) -> list[SaleFacts]:
    rows: dict[int, list[tuple[str, Line]]] = defaultdict(list)
    back: dict[int, dict[str, int]] = defaultdict(lambda: defaultdict(int))
    refunded = [sale.sale_id for sale in facts if sale.refunds_end is not None]
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT sale_id, coalesce(nullif(product_id, ''), sku), total_cents, brand, category, sku"
            " FROM integrations_saleline WHERE sale_id = ANY(%s) ORDER BY sale_id, number",
            [[sale.sale_id for sale in facts]],
        )
        for sale_id, product, cents, brand, category, sku in cursor.fetchall():
            words = (word.strip().casefold() for word in (brand, category, sku))
            rows[sale_id].append((product, Line(cents, *words)))
        if refunded:
            cursor.execute(_REFUNDED, [refunded])
            for sale_id, product, cents in cursor.fetchall():
                back[sale_id][product] += cents
    return [replace(sale, lines=tuple(_less(rows.get(sale.sale_id, []), back.get(sale.sale_id, {})))) for sale in facts]


def _less(rows: list[tuple[str, Line]], back: dict[str, int]) -> Iterator[Line]:
    """The lines with what came back of each: of the same product, first lines first, no more than a line cost.

    What was taken off again on the same receipt is no line at all; what a refund took is kept beside it, because the
    programme may let it count.
    """
    off: dict[str, int] = defaultdict(int)
    for product, line in rows:
        off[product] += max(-line.cents, 0)
    left = dict(back)
    for product, line in rows:
        voided = min(off[product], max(line.cents, 0))
        off[product] -= voided
        there = line.cents - voided
        if there < 0 or (voided and not there):
            continue
        taken = min(max(left.get(product, 0), 0), there)
        left[product] = left.get(product, 0) - taken
        yield replace(line, cents=there, refunded=taken) if voided or taken else line


def _with_stores(facts: list[SaleFacts]) -> list[SaleFacts]:
    with connection.cursor() as cursor:
        cursor.execute(
            """SELECT s.id, m.store_id FROM integrations_sale s
               JOIN stores_storemapping m ON m.location_id = s.location_id WHERE s.id = ANY(%s)""",
            [[sale.sale_id for sale in facts]],
        )
        stores = dict(cursor.fetchall())
    return [replace(sale, store_id=stores.get(sale.sale_id)) for sale in facts]


def _personas(facts: list[SaleFacts]) -> list[int]:
    return sorted({sale.persona_id for sale in facts if sale.persona_id})


def _with_stays(account_id: int, facts: list[SaleFacts], audiences: frozenset[int]) -> list[SaleFacts]:
    """The audiences that held the persona (or a row merged into it) at the moment of the sale."""
    stays: dict[int, list[tuple[int, datetime, datetime | None]]] = defaultdict(list)
    with connection.cursor() as cursor:
        cursor.execute(
            """SELECT coalesce(p.merged_into_id, p.id), a.audience_id, a.joined_at, a.left_at
               FROM loyalty_audiencemember a JOIN loyalty_persona p ON p.id = a.persona_id
               WHERE a.account_id = %s AND a.audience_id = ANY(%s)
                 AND (p.id = ANY(%s) OR p.merged_into_id = ANY(%s))""",
            [account_id, sorted(audiences), *[_personas(facts)] * 2],
        )
        for persona, audience, joined, left in cursor.fetchall():
            stays[persona].append((audience, joined, left))
    return [
        replace(
            sale,
            stays=frozenset(
                audience
                for audience, joined, left in stays.get(sale.persona_id or 0, ())
                if joined <= sale.sold_at and (left is None or sale.sold_at < left)
            ),
        )
        for sale in facts
    ]


_YES = {"opt_in": True, "import_in": True, "unstop": True, "opt_out": False, "import_out": False, "stop": False}


def _with_consent(account_id: int, facts: list[SaleFacts]) -> list[SaleFacts]:
    """The channels of which an address of the persona's had said yes, by what had been said until the sale."""
    said: dict[int, dict[tuple[str, str], list[tuple[datetime, bool]]]] = defaultdict(lambda: defaultdict(list))
    with connection.cursor() as cursor:
        cursor.execute(
            """SELECT DISTINCT l.id, coalesce(p.merged_into_id, p.id), l.channel, l.address, l.act, l.at
               FROM loyalty_persona p
               CROSS JOIN LATERAL (  -- a number that identifies nobody is his address all the same
                   SELECT i.kind, i.value FROM loyalty_identifier i
                   WHERE i.persona_id = p.id AND i.kind IN ('phone', 'email')
                   UNION SELECT 'phone', p.phone WHERE p.phone <> '' UNION SELECT 'email', p.email WHERE p.email <> ''
               ) i
               JOIN loyalty_consentline l ON l.account_id = %s AND l.address = i.value
                    AND l.channel = CASE i.kind WHEN 'phone' THEN 'sms' ELSE 'email' END
               WHERE p.account_id = %s AND (p.id = ANY(%s) OR p.merged_into_id = ANY(%s)) AND l.act = ANY(%s)
               ORDER BY l.id""",
            [account_id, account_id, *[_personas(facts)] * 2, list(_YES)],
        )
        for _, persona, channel, address, act, at in cursor.fetchall():
            said[persona][channel, address].append((at, _YES[act]))
    return [
        replace(
            sale,
            opted_in=frozenset(
                channel
                for (channel, _), lines in said.get(sale.persona_id or 0, {}).items()
                if next((yes for at, yes in reversed(lines) if at <= sale.sold_at), False)
            ),
        )
        for sale in facts
    ]


def _with_blocked(account_id: int, facts: list[SaleFacts], phones: frozenset[str]) -> list[SaleFacts]:
    with connection.cursor() as cursor:
        cursor.execute(
            """SELECT DISTINCT coalesce(p.merged_into_id, p.id) FROM loyalty_persona p
               LEFT JOIN loyalty_identifier i ON i.persona_id = p.id AND i.kind = 'phone'
               WHERE p.account_id = %s AND (p.phone = ANY(%s) OR i.value = ANY(%s))""",
            [account_id, *[sorted(phones)] * 2],
        )
        blocked = {row[0] for row in cursor.fetchall()}
    return [replace(sale, is_blocked=sale.persona_id in blocked) for sale in facts]


def _with_mirrored(account_id: int, facts: list[SaleFacts]) -> list[SaleFacts]:
    """Sales of people whose points are the POS's, of any origin; and those made while they were.

    A record that was never read before mirroring ended brought no points: its sales earn after all. The record of a
    source that was erased since has no person any more, but its points are in the balance all the same.
    """
    until: dict[int, datetime | None] = {}
    with connection.cursor() as cursor:
        cursor.execute(
            """SELECT coalesce(p.merged_into_id, p.id),
                      CASE WHEN bool_or(s.here AND g.ended_at IS NULL) THEN NULL
                           ELSE max(CASE WHEN s.here THEN g.ended_at ELSE least(g.ended_at, c.erased_at) END) END
               FROM loyalty_persona p
               JOIN LATERAL (
                   SELECT o.customer_id, true AS here FROM loyalty_source o WHERE o.persona_id = p.id
                   UNION ALL
                   SELECT m.customer_id, false FROM loyalty_mirrorstate m WHERE m.persona_id = p.id
                   AND NOT EXISTS (SELECT FROM loyalty_source o WHERE o.customer_id = m.customer_id)
               ) s ON true
               JOIN integrations_customer c ON c.id = s.customer_id
               JOIN loyalty_mirroring g ON g.origin_id = c.origin_id
               WHERE p.account_id = %s AND (p.id = ANY(%s) OR p.merged_into_id = ANY(%s))
                 AND (s.here AND g.ended_at IS NULL
                      OR EXISTS (SELECT FROM loyalty_mirrorstate m WHERE m.customer_id = c.id))
               GROUP BY 1""",
            [account_id, *[_personas(facts)] * 2],
        )
        until = dict(cursor.fetchall())
    return [
        replace(sale, is_mirrored=True)
        if sale.persona_id in until and ((end := until[sale.persona_id]) is None or sale.sold_at < end)
        else sale
        for sale in facts
    ]
