"""What a sale earns. A state, not an event: the target follows from the sale's net state and the programme.

`target` is pure. Everything that moves a sale's worth (an edit, a void, a late owner, an enrolment) ends in
`settle_sales`, which posts the difference between the target and what was posted before.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from decimal import ROUND_CEILING, ROUND_FLOOR, ROUND_HALF_UP, Decimal
from typing import Any
from zoneinfo import ZoneInfo

from django.db import connection

from . import ledger

SLICE = 2000  # sales read at a time
_CENT = Decimal("0.01")


@dataclass(frozen=True, slots=True)
class Rules:
    """The programme, as earning sees it."""

    enabled: bool
    points_per_100: Decimal
    accrual_start: date | None
    exclude_tax: bool
    rounding: str
    refunds: str
    expire_days: int | None
    zone: ZoneInfo


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

    def voided(self, zone: ZoneInfo) -> bool:
        """Refunded in full on the day of the sale."""
        if self.refunds_end is None:
            return False
        whole = self.refunded_net_cents + self.refunded_tax_cents >= self.net_cents + self.tax_cents
        return whole and self.refunds_end.astimezone(zone).date() == self.sold_at.astimezone(zone).date()


def rounded(points: Decimal, rounding: str) -> Decimal:
    """Points by the programme's rounding: once, after everything else, half away from zero."""
    match rounding:
        case "nearest":
            return points.quantize(Decimal(1), ROUND_HALF_UP)
        case "up":
            return points.quantize(Decimal(1), ROUND_CEILING)
        case "down":
            return points.quantize(Decimal(1), ROUND_FLOOR)
        case _:
            return points.quantize(_CENT, ROUND_HALF_UP)


def target(sale: SaleFacts, rules: Rules) -> tuple[Decimal, int, dict[str, Any]]:
    """What the sale is worth now: points, base in cents, and the explanation as data (see `sentence`)."""
    nothing = Decimal(0)
    if sale.kind != "sale":
        return nothing, 0, {"why": "refund"}
    if sale.persona_id is None:
        return nothing, 0, {"why": "no_customer"}
    if sale.member_from is None:
        return nothing, 0, {"why": "not_a_member"}
    day = sale.sold_at.astimezone(rules.zone).date()
    start = max(sale.member_from, rules.accrual_start or sale.member_from)
    if day < start:
        return nothing, 0, {"why": "before_start", "start": start.isoformat()}
    if sale.voided(rules.zone):
        return nothing, 0, {"why": "voided"}
    if not rules.enabled and not sale.posted:
        return nothing, 0, {"why": "programme_off"}
    base = sale.net_cents + (0 if rules.exclude_tax else sale.tax_cents)
    refunded = sale.refunded_net_cents + (0 if rules.exclude_tax else sale.refunded_tax_cents)
    taken = 0
    if rules.refunds == "reverse" or (rules.refunds == "reverse_full" and refunded >= base):
        taken = min(refunded, base)
    base = max(base - taken, 0)
    exact = base * rules.points_per_100 / 10_000
    points = rounded(exact, rules.rounding)
    why: dict[str, Any] = {"why": "earned", "base": base, "rate": str(rules.points_per_100.normalize())}
    if not rules.exclude_tax:
        why["tax"] = True
    if taken:
        why["refunded"] = taken
    if rules.rounding != "off" and points != exact:
        why["exact"] = f"{exact:.4f}"
        why["rounding"] = rules.rounding
    return points, base, why


_WHY = {
    "refund": "A refund earns nothing.",
    "no_customer": "No customer was on the sale.",
    "not_a_member": "The shopper is not a member.",
    "voided": "The sale was refunded in full the same day.",
    "programme_off": "The programme was switched off.",
}


def sentence(explanation: dict[str, Any]) -> str:
    """The explanation as a budtender can read it aloud."""
    why = explanation.get("why", "")
    if why == "before_start":
        return f"Sales before {explanation['start']} earn nothing."
    if why != "earned":
        return _WHY.get(why, "")
    rate = Decimal(explanation["rate"])
    tax = "with" if explanation.get("tax") else "before"
    text = f"${explanation['base'] / 100:,.2f} {tax} tax, {rate:f} points per $100"
    if explanation.get("refunded"):
        text += f", ${explanation['refunded'] / 100:,.2f} refunded left out"
    if explanation.get("rounding"):
        word = {"up": "rounded up", "down": "rounded down", "nearest": "rounded"}[explanation["rounding"]]
        text += f", {word} from {Decimal(explanation['exact']).normalize():f}"
    return text + "."


def rules_of(account_id: int) -> Rules | None:
    """The account's programme; None while it has none."""
    with connection.cursor() as cursor:
        cursor.execute(
            """SELECT p.enabled, p.points_per_100, p.accrual_start, p.exclude_tax, p.rounding, p.refunds, p.expire_days,
                      a.timezone
               FROM accounts_account a JOIN loyalty_programme p ON p.account_id = a.id WHERE a.id = %s""",
            [account_id],
        )
        row = cursor.fetchone()
    if row is None:
        return None
    enabled, per_100, start, exclude_tax, rounding, refunds, expire_days, zone = row
    return Rules(enabled, per_100, start, exclude_tax, rounding, refunds, expire_days, ZoneInfo(zone))


# Days are cut in Python, never in SQL: a database server may have other time zone data than we.
# A sale's owner is the persona of its customer; refunds count once their details named the original.
_FACTS = """
SELECT s.id, coalesce(p.merged_into_id, p.id), coalesce(heir.member_from, p.member_from), s.kind, s.sold_at,
       s.net_cents, s.tax_cents, coalesce(r.net, 0), coalesce(r.tax, 0),
       r.ended, coalesce(st.posted, 0)
FROM integrations_sale s
LEFT JOIN integrations_customer c ON c.origin_id = s.origin_id AND c.external_id = s.customer_id AND s.customer_id <> ''
LEFT JOIN loyalty_source src ON src.customer_id = c.id
LEFT JOIN loyalty_persona p ON p.id = src.persona_id
LEFT JOIN loyalty_persona heir ON heir.id = p.merged_into_id
LEFT JOIN loyalty_salestate st ON st.sale_id = s.id
LEFT JOIN LATERAL (
    SELECT -sum(f.net_cents)::bigint AS net, -sum(f.tax_cents)::bigint AS tax, max(f.sold_at) AS ended
    FROM integrations_sale f
    WHERE f.origin_id = s.origin_id AND f.original_id = s.external_id AND f.original_id <> '' AND f.kind = 'refund'
) r ON s.kind = 'sale'
WHERE s.account_id = %(account)s AND s.id = ANY(%(sales)s)
ORDER BY s.id
"""


def settle_sales(*, account_id: int, sale_ids: Sequence[int], now: datetime) -> int:
    """Bring these sales' points to their targets. Returns how many entries were posted."""
    rules = rules_of(account_id)
    if rules is None:
        return 0
    facts: list[SaleFacts] = []
    for part in _slices(sorted(set(sale_ids))):
        with connection.cursor() as cursor:
            cursor.execute(_FACTS, {"account": account_id, "sales": part})
            facts += [SaleFacts(*row) for row in cursor.fetchall()]
    if not facts:
        return 0
    # One call: the ledger locks in one order, which two calls in one transaction would break.
    targets = [_as_target(sale, rules) for sale in facts]
    return ledger.settle_sales(account_id=account_id, targets=targets, now=now).entries


def _as_target(sale: SaleFacts, rules: Rules) -> ledger.SaleTarget:
    points, base, why = target(sale, rules)
    expires = None
    if rules.expire_days and points > 0:
        day = sale.sold_at.astimezone(rules.zone).date() + timedelta(days=rules.expire_days + 1)
        expires = datetime.combine(day, time.min, rules.zone)
    return ledger.SaleTarget(
        sale_id=sale.sale_id,
        persona_id=sale.persona_id,
        target=points,
        base_cents=base,
        explanation=why,
        expires_at=expires,
        cause_at=sale.sold_at,
    )


def settle_personas(*, account_id: int, persona_ids: Sequence[int], now: datetime) -> int:
    """Bring all sales of these personas to their targets: after an enrolment, a new source, a recompute."""
    if not persona_ids:
        return 0
    with connection.cursor() as cursor:
        cursor.execute(
            """SELECT s.id FROM loyalty_source src
               JOIN integrations_customer c ON c.id = src.customer_id
               JOIN integrations_sale s ON s.origin_id = c.origin_id AND s.customer_id = c.external_id
               WHERE src.account_id = %s AND src.persona_id = ANY(%s) AND s.customer_id <> ''""",
            [account_id, list(persona_ids)],
        )
        sale_ids = [row[0] for row in cursor.fetchall()]
    return settle_sales(account_id=account_id, sale_ids=sale_ids, now=now)


def _slices(ids: Sequence[int]) -> Iterator[list[int]]:
    for start in range(0, len(ids), SLICE):
        yield list(ids[start : start + SLICE])


def out_of_date(*, account_id: int) -> int:
    """How many sales are posted at something else than what they are worth by today's programme."""
    rules = rules_of(account_id)
    if rules is None:
        return 0
    with connection.cursor() as cursor:
        cursor.execute("SELECT id FROM integrations_sale WHERE account_id = %s ORDER BY id", [account_id])
        ids = [row[0] for row in cursor.fetchall()]
    wrong = 0
    for part in _slices(ids):
        with connection.cursor() as cursor:
            cursor.execute(_FACTS, {"account": account_id, "sales": part})
            facts = [SaleFacts(*row) for row in cursor.fetchall()]
        wrong += sum(target(sale, rules)[0] != sale.posted for sale in facts)
    return wrong
