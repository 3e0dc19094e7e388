"""What other rules would make of everybody's points, without posting: the figures of a dry run.

The ledger's own steps are played over rows that were only read: what is due expires, sales are brought to their targets
(a fall takes its own lot first, then those that expire first; what is not there is a shortfall), expiry is rewritten,
what is due then expires at once. So what is counted is what confirming posts.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from django.db import connection

from . import earning, expiry
from .earning import Rules

PERSONAS = 500  # looked at in one step
SAMPLE = 10
_NEVER = datetime.max.replace(tzinfo=UTC)


def next_personas(account_id: int, after: int, limit: int = PERSONAS) -> list[int]:
    """The next ones with sales or open lots, by id. Merged ones are counted with their survivor."""
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT p.id {_WITH_POINTS} AND p.id > %s ORDER BY p.id LIMIT %s", [account_id, after, limit])
        return [row[0] for row in cursor.fetchall()]


def how_many(account_id: int) -> int:
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT count(*) {_WITH_POINTS}", [account_id])
        return cursor.fetchone()[0]


def nothing_to_move(account_id: int) -> bool:
    """No member has bought anything and no points are there: settings may change without a question."""
    with connection.cursor() as cursor:
        cursor.execute(
            """SELECT NOT EXISTS (
                   SELECT FROM loyalty_persona p WHERE p.account_id = %s AND (
                       EXISTS (SELECT FROM loyalty_lot l WHERE l.persona_id = p.id AND l.open)
                       OR p.member_from IS NOT NULL AND EXISTS (
                           SELECT FROM loyalty_salestate s WHERE s.persona_id = coalesce(p.merged_into_id, p.id))))""",
            [account_id],
        )
        return cursor.fetchone()[0]


_WITH_POINTS = """
FROM loyalty_persona p WHERE p.account_id = %s AND p.merged_into_id IS NULL
AND (EXISTS (SELECT FROM loyalty_salestate s WHERE s.persona_id = p.id)
     OR EXISTS (SELECT FROM loyalty_lot l WHERE l.persona_id = p.id AND l.open))
"""


@dataclass
class _Lot:
    order: tuple[datetime, int]
    sale_id: int | None
    left: Decimal
    expires_at: datetime | None  # after the rewrite, when there is one


@dataclass
class Outcome:
    """One persona: spendable points before and after, and why."""

    before: Decimal = Decimal(0)
    after: Decimal = Decimal(0)
    expiring: Decimal = Decimal(0)
    short: Decimal = Decimal(0)
    shortfalls: int = 0


@dataclass
class Counted:
    """Sums over personas; `merge` adds another slice's. What the page shows, as JSON."""

    personas: int = 0
    sales: int = 0
    sales_changed: int = 0
    shoppers: int = 0
    before: Decimal = Decimal(0)
    after: Decimal = Decimal(0)
    expiring: Decimal = Decimal(0)
    expiring_shoppers: int = 0
    shortfalls: int = 0
    short: Decimal = Decimal(0)
    sample: list[list[Any]] = field(default_factory=list)

    def add(self, persona_id: int, one: Outcome) -> None:
        self.personas += 1
        self.before += one.before
        self.after += one.after
        self.expiring += one.expiring
        self.expiring_shoppers += one.expiring > 0
        self.shortfalls += one.shortfalls
        self.short += one.short
        if one.before != one.after:
            self.shoppers += 1
            self.sample.append([persona_id, str(one.before), str(one.after)])

    def trim(self) -> None:
        """Keep the ten whose balance changes most."""
        self.sample.sort(key=lambda s: (-abs(Decimal(s[2]) - Decimal(s[1])), s[0]))
        del self.sample[SAMPLE:]

    def as_json(self) -> dict[str, Any]:
        self.trim()
        return {name: str(value) if isinstance(value, Decimal) else value for name, value in vars(self).items()}

    @classmethod
    def from_json(cls, said: dict[str, Any]) -> "Counted":
        kinds = {name: Decimal for name in ("before", "after", "expiring", "short")}
        return cls(**{name: kinds.get(name, lambda v: v)(value) for name, value in said.items()})


def count(
    *, account_id: int, persona_ids: Sequence[int], rules: Rules, rewrites_expiry: bool, now: datetime, into: Counted
) -> None:
    """Add what these rules would make of these personas. Nothing is written."""
    lots = expiry.preview(account_id=account_id, persona_ids=persona_ids, rules=rules, now=now)
    missing = _missing(account_id, persona_ids)
    moves: dict[int, list[tuple[datetime, int, Decimal, datetime | None]]] = defaultdict(list)
    pairs = earning.targets_of_personas(account_id=account_id, persona_ids=persona_ids, rules=rules)
    into.sales += len(pairs)
    for sale, goal, _ in pairs:
        difference = goal.target - sale.posted
        if not difference or goal.persona_id is None:
            continue
        into.sales_changed += 1
        expires = lots.of_new(goal.persona_id, goal.cause_at) if rewrites_expiry else goal.expires_at
        moves[goal.persona_id].append((goal.cause_at, goal.sale_id, difference, expires))
    for persona_id in persona_ids:
        mine = [
            _Lot(
                order=(lot.expires_at or _NEVER, lot.lot_id),
                sale_id=lot.sale_id,
                left=lot.remaining,
                expires_at=lot.would_expire if rewrites_expiry else lot.expires_at,
            )
            for lot in lots.lots.get(persona_id, ())
        ]
        into.add(persona_id, _play(mine, sorted(moves.get(persona_id, ()), key=lambda m: m[:2]), missing, now))
    into.trim()


def _play(lots: list[_Lot], moves: list, missing: dict[int, Decimal], now: datetime) -> Outcome:
    one = Outcome(before=sum((lot.left for lot in lots), Decimal(0)))
    newest = max((lot.order[1] for lot in lots), default=0)
    for _, sale_id, difference, expires in moves:
        if difference > 0:
            # A rise first makes good what its own sale's earlier falls could not take (docs/decisions: shortfalls).
            owed = min(missing.get(sale_id, Decimal(0)), difference)
            if difference > owed:
                newest += 1
                lots.append(_Lot((expires or _NEVER, newest), sale_id, difference - owed, expires))
            continue
        wanted = -difference
        for lot in sorted(lots, key=lambda lot: (lot.sale_id != sale_id, lot.order)):
            taken = min(lot.left, wanted)
            lot.left -= taken
            wanted -= taken
            if not wanted:
                break
        if wanted:
            one.short += wanted
            one.shortfalls += 1
    one.expiring = sum((lot.left for lot in lots if lot.expires_at and lot.expires_at <= now), Decimal(0))
    one.after = sum((lot.left for lot in lots), Decimal(0)) - one.expiring
    return one


def _missing(account_id: int, persona_ids: Sequence[int]) -> dict[int, Decimal]:
    """What earlier falls of a sale could not take, by sale."""
    with connection.cursor() as cursor:
        cursor.execute(
            """SELECT sale_id, sum(points - netted - collected) FROM loyalty_shortfall
               WHERE account_id = %s AND persona_id = ANY(%s) AND sale_id IS NOT NULL AND state IN ('open', 'waived')
               GROUP BY sale_id""",
            [account_id, list(persona_ids)],
        )
        return dict(cursor.fetchall())
