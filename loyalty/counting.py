"""What other rules would make of everybody's points, without posting: the figures of a dry run.

The ledger's own steps are played over rows that were only read: sales are brought to their targets (a fall takes its
own points first, what expired of them included, then those that expire first; what is not there is a shortfall), boosts
are given and taken back, expiry is rewritten, what is due then expires at once. So what is counted is what confirming
posts. What is due before anybody asks is left out on both sides.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any, NamedTuple

from django.db import connection

from . import earning, expiry
from .earning import Rules
from .testers import NOT_TEST

PERSONAS = 500  # looked at in one step
SAMPLE = 10
_NEVER = datetime.max.replace(tzinfo=UTC)


def next_personas(account_id: int, after: int, *, gifts: bool = False) -> list[int]:
    """The next ones with sales or open lots, by id; with `gifts` also who is in an audience.

    Merged ones are counted with their survivor.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            f"SELECT p.id {_WITH_POINTS} AND p.id > %s ORDER BY p.id LIMIT %s", [account_id, gifts, after, PERSONAS]
        )
        return [row[0] for row in cursor.fetchall()]


def how_many(account_id: int, *, gifts: bool = False) -> int:
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT count(*) {_WITH_POINTS}", [account_id, gifts])
        return cursor.fetchone()[0]


def nothing_to_move(account_id: int, *, gifts: bool = False) -> bool:
    """No member has bought anything and no points are there: settings may change without a question.

    With `gifts` (boosts of audiences) nobody may be in an audience either.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            """SELECT NOT EXISTS (
                   SELECT FROM loyalty_persona p WHERE p.account_id = %s AND NOT p.is_test AND (
                       EXISTS (SELECT FROM loyalty_lot l WHERE l.persona_id = p.id AND l.open)
                       OR p.member_from IS NOT NULL AND EXISTS (
                           SELECT FROM loyalty_salestate s WHERE s.persona_id = coalesce(p.merged_into_id, p.id))
                       OR %s AND EXISTS (
                           SELECT FROM loyalty_audiencemember a WHERE a.persona_id = p.id AND a.left_at IS NULL)))""",
            [account_id, gifts],
        )
        return cursor.fetchone()[0]


_WITH_POINTS = """
FROM loyalty_persona p WHERE p.account_id = %s AND p.merged_into_id IS NULL AND NOT p.is_test
AND (EXISTS (SELECT FROM loyalty_salestate s WHERE s.persona_id = p.id)
     OR EXISTS (SELECT FROM loyalty_lot l WHERE l.persona_id = p.id AND l.open)
     OR %s AND EXISTS (SELECT FROM loyalty_audiencemember a WHERE a.persona_id = p.id AND a.left_at IS NULL))
"""


class Edge(NamedTuple):
    """The last sale and the last entry there are: what comes behind them was not counted."""

    sale: int
    entry: int


@dataclass(frozen=True, slots=True)
class Since:
    """What came behind an edge, up to `MOST` of each: sales, and shoppers whose points moved."""

    sales: int
    shoppers: int

    def __bool__(self) -> bool:
        return bool(self.sales or self.shoppers)

    @property
    def words(self) -> str:
        """For the middle of a sentence: 3 sales came and the points of 2 shoppers moved."""
        parts = []
        if self.sales:
            parts.append(f"{_some(self.sales, 'sale')} came")
        if self.shoppers:
            parts.append(f"the points of {_some(self.shoppers, 'shopper')} moved")
        return " and ".join(parts)


def _some(number: int, what: str) -> str:
    least = "at least " if number >= MOST_SINCE else ""
    return f"{least}{number:,} {what}{'' if number == 1 else 's'}"


MOST_SINCE = 1000


def edge() -> Edge:
    """Ask while no page is open (under the origins' locks): numbers are given out before their rows are seen."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT (SELECT coalesce(max(id), 0) FROM integrations_sale),"
            " (SELECT coalesce(max(id), 0) FROM loyalty_entry)"
        )
        return Edge(*cursor.fetchone())


def since(account_id: int, behind: Edge) -> Since:
    with connection.cursor() as cursor:
        cursor.execute(
            f"""SELECT (SELECT count(*) FROM (SELECT FROM integrations_sale
                       WHERE id > %(sale)s AND account_id = %(account)s LIMIT %(most)s) s),
                      (SELECT count(DISTINCT persona_id) FROM (SELECT persona_id FROM loyalty_entry
                       WHERE id > %(entry)s AND account_id = %(account)s AND {NOT_TEST} LIMIT %(most)s) e)""",
            {"account": account_id, "sale": behind.sale, "entry": behind.entry, "most": MOST_SINCE},
        )
        return Since(*cursor.fetchone())


@dataclass
class _Lot:
    """`place`: the order in which lots are taken. `source`: what opened it at first."""

    place: tuple[datetime, int]
    source: str
    left: Decimal
    expires_at: datetime | None


@dataclass(frozen=True, slots=True)
class _Move:
    """Points that come in or go. `own`: lots of this source are taken first; `owed`: made good before any come in."""

    points: Decimal
    source: str
    own: str
    posted_end: datetime | None = None
    expires_at: datetime | None = None
    owed: Decimal = Decimal(0)
    forgiving: bool = False  # what is not there is let go


@dataclass
class Outcome:
    """One persona before and after."""

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
    edge: Edge | None = None  # what there was when the counting began

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
    *,
    account_id: int,
    persona_ids: Sequence[int],
    rules: Rules,
    rewrites_expiry: bool,
    now: datetime,
    into: Counted,
    joining: Mapping[int, date] | None = None,
    besides: Mapping[int, Decimal] | None = None,
) -> None:
    """Add what these rules would make of these personas. Nothing is written.

    `joining`: what enrolling them from that day would post, which brings no gifts of audiences by itself. `besides`:
    points that come or go with that and are no sale's, by persona.
    """
    rewrites_expiry = rewrites_expiry or rules.engine == "legacy"
    lots = expiry.preview(account_id=account_id, persona_ids=persona_ids, rules=rules, now=now)
    missing = _missing(account_id, persona_ids)
    moves: dict[int, list[tuple[datetime, int, _Move]]] = defaultdict(list)
    worths = earning.targets_of_personas(account_id=account_id, persona_ids=persona_ids, rules=rules, joining=joining)
    into.sales += len(worths)
    for sale, goal, _ in worths:
        difference = goal.target - sale.posted
        if not difference or goal.persona_id is None:
            continue
        into.sales_changed += 1
        source = f"sale:{goal.sale_id}"
        ends = lots.of_new(goal.persona_id, goal.cause_at) if rewrites_expiry else goal.expires_at
        owed = missing.get(goal.sale_id, Decimal(0))
        move = _Move(difference, source, source, goal.expires_at, ends, owed)
        moves[goal.persona_id].append((goal.cause_at, goal.sale_id, move))
    asked = earning.boosts_of(account_id=account_id, worths=worths, current=rules, now=now)
    if joining is None:
        asked += earning.gifts_of(account_id=account_id, current=rules, now=now, persona_ids=persona_ids)
    boosts = _boosts(account_id, asked, persona_ids)
    falls = [move for many in moves.values() for _, _, move in many] + [
        move for many in boosts.values() for move in many
    ]
    lapsed = _lapsed(account_id, persona_ids, {move.own for move in falls if move.points < 0 and move.own}, now)
    for persona_id in persona_ids:
        mine = [
            _Lot(
                place=(lot.expires_at or _NEVER, lot.lot_id),
                source=lot.source,
                left=lot.remaining,
                expires_at=lot.would_expire if rewrites_expiry else lot.expires_at,
            )
            for lot in lots.lots.get(persona_id, ())
        ]
        by_time = sorted(moves.get(persona_id, ()), key=lambda one: one[:2])
        played = [*(move for _, _, move in by_time), *boosts.get(persona_id, ())]
        outcome = _play(mine, played, lapsed.get(persona_id, {}), now)
        outcome.after += (besides or {}).get(persona_id, Decimal(0))
        into.add(persona_id, outcome)
    into.trim()


def _play(lots: list[_Lot], moves: Sequence[_Move], lapsed: dict[str, Decimal], now: datetime) -> Outcome:
    one = Outcome(before=sum((lot.left for lot in lots), Decimal(0)))
    newest = max((lot.place[1] for lot in lots), default=0)
    for move in moves:
        if move.points > 0:
            comes = move.points - min(move.owed, move.points)
            if comes:
                newest += 1
                lots.append(_Lot((move.posted_end or _NEVER, newest), move.source, comes, move.expires_at))
            continue
        wanted = -move.points
        gone = lapsed.get(move.own, Decimal(0))
        for lot in sorted(lots, key=lambda lot: (lot.source != move.own, lot.place)):
            if lot.source != move.own:
                wanted, gone = wanted - min(gone, wanted), Decimal(0)
            taken = min(lot.left, wanted)
            lot.left -= taken
            wanted -= taken
            if not wanted:
                break
        wanted -= min(gone, wanted)
        if wanted and not move.forgiving:
            one.short += wanted
            one.shortfalls += 1
    one.expiring = sum((lot.left for lot in lots if lot.expires_at and lot.expires_at <= now), Decimal(0))
    one.after = sum((lot.left for lot in lots), Decimal(0)) - one.expiring
    return one


def _lapsed(
    account_id: int, persona_ids: Sequence[int], sources: set[str], now: datetime
) -> dict[int, dict[str, Decimal]]:
    """What expired of the points of these sources, by persona; what is due counts as expired."""
    found: dict[int, dict[str, Decimal]] = defaultdict(dict)
    if not sources:
        return found
    sales = [int(source.removeprefix("sale:")) for source in sources if source.startswith("sale:")]
    with connection.cursor() as cursor:
        cursor.execute(
            """WITH RECURSIVE own AS (
                   SELECT f.source, l.id FROM (
                       SELECT 'sale:' || sale_id AS source, id FROM loyalty_entry
                       WHERE account_id = %(account)s AND kind = 'earn' AND sale_id = ANY(%(sales)s)
                       UNION ALL
                       SELECT key, id FROM loyalty_entry WHERE account_id = %(account)s AND key = ANY(%(keys)s)
                   ) f JOIN loyalty_lot l ON l.entry_id = f.id
                   UNION ALL
                   SELECT own.source, c.id FROM own JOIN loyalty_lot c ON c.from_lot_id = own.id
               )
               SELECT l.persona_id, own.source,
                      sum(CASE WHEN l.open AND l.expires_at <= %(now)s THEN l.remaining ELSE 0 END
                          + coalesce((
                              SELECT -sum(d.points) FROM loyalty_draw d JOIN loyalty_entry e ON e.id = d.entry_id
                              WHERE d.lot_id = l.id AND e.kind = 'expire'), 0))
               FROM own JOIN loyalty_lot l ON l.id = own.id WHERE l.persona_id = ANY(%(people)s) GROUP BY 1, 2""",
            {
                "account": account_id,
                "sales": sales,
                "keys": [source for source in sources if not source.startswith("sale:")],
                "people": list(persona_ids),
                "now": now,
            },
        )
        for persona_id, source, points in cursor.fetchall():
            found[persona_id][source] = points
    return found


def _missing(account_id: int, persona_ids: Sequence[int]) -> dict[int, Decimal]:
    """What earlier falls of a sale could not take, by sale; a boost's shortfall is not made good by its sale."""
    with connection.cursor() as cursor:
        cursor.execute(
            """SELECT f.sale_id, sum(f.points - f.netted - f.collected) FROM loyalty_shortfall f
               JOIN loyalty_persona p ON p.id = f.persona_id
               WHERE f.account_id = %s AND (p.id = ANY(%s) OR p.merged_into_id = ANY(%s))
                 AND f.sale_id IS NOT NULL AND f.redemption_id IS NULL AND f.key LIKE 'shortfall:' || f.sale_id || ':%%'
                 AND f.state IN ('open', 'waived')
               GROUP BY 1""",
            [account_id, list(persona_ids), list(persona_ids)],
        )
        return dict(cursor.fetchall())


@dataclass
class _Held:
    sale_id: int | None
    posted: Decimal
    key: str


def _boosts(account_id: int, asked: Sequence[Any], persona_ids: Sequence[int]) -> dict[int, list[_Move]]:
    """What the boosts come to, by persona, in the ledger's order: once each, taken back before given again."""
    if not asked:
        return {}
    held: dict[tuple[int, int], list[_Held]] = defaultdict(list)
    with connection.cursor() as cursor:
        cursor.execute(
            """SELECT b.modifier_id, coalesce(p.merged_into_id, p.id), b.sale_id, b.posted,
                      'boost:' || b.modifier_id || ':' || b.persona_id || ':' || b.posts - 1
               FROM loyalty_booststate b JOIN loyalty_persona p ON p.id = b.persona_id
               WHERE b.account_id = %s AND b.posts %% 2 = 1 AND (p.id = ANY(%s) OR p.merged_into_id = ANY(%s))
               ORDER BY b.id""",
            [account_id, list(persona_ids), list(persona_ids)],
        )
        for modifier, persona, *rest in cursor.fetchall():
            held[modifier, persona].append(_Held(*rest))
    moves: dict[int, list[_Move]] = defaultdict(list)
    for one in sorted(asked, key=lambda b: (b.persona_id, b.modifier_id, b.points != 0, b.cause_at)):
        mine = held[one.modifier_id, one.persona_id]
        if one.points:
            if not mine:
                mine.append(_Held(one.sale_id, one.points, "new"))
                moves[one.persona_id].append(
                    _Move(one.points, "new", "", one.expires_at, one.expires_at, forgiving=True)
                )
        elif found := next((state for state in mine if state.sale_id == one.sale_id), None):
            mine.remove(found)
            moves[one.persona_id].append(
                _Move(-found.posted, found.key, found.key if found.posted > 0 else "", one.expires_at, one.expires_at)
            )
    return moves
