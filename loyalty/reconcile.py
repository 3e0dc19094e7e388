"""What became of a redemption: met with its sale, undone with it, or released because no sale carried it.

Which sale is its sale: the one with its order's number, else the one of the same shopper, place, time and discount. Two
candidates are never guessed between. Nothing is released for want of a sale without evidence (`release_due`).
"""

import json
from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal
from itertools import product
from typing import Any
from uuid import UUID

from django.db import connection

from integrations.services import Evidence, read_past

from . import facts, ledger, rules
from .models import Programme, SpentOnRefund

BEFORE = timedelta(minutes=2)  # Cova's feed cuts the time of a sale to the minute
AFTER = timedelta(hours=12)
LATE = timedelta(days=8)  # so long after its release a redemption may still meet its sale
LEARNED = timedelta(days=90)  # so long a number that was found in the POS stands for the till's others
BATCH = 500

# Redemptions of these people (by their roots) that wait for their sale, or were released lately, each beside the sales
# it may belong to: those with its order's number, those of its time and place, and the one it had before.
_PAIRS = """
WITH g AS (
    SELECT id, coalesce(merged_into_id, id) AS root FROM loyalty_persona
    WHERE account_id = %(account)s AND erased_at IS NULL
      AND (id = ANY(%(roots)s) OR merged_into_id = ANY(%(roots)s))
), r AS (
    SELECT r.*, g.root FROM g JOIN loyalty_redemption r ON r.persona_id = g.id WHERE r.state = 'applied'
    UNION ALL
    SELECT r.*, g.root FROM g JOIN loyalty_redemption r ON r.persona_id = g.id
    WHERE r.state = 'released' AND r.ended_at > %(late)s
)
SELECT r.id, s.id, r.root, r.public_id, r.state, r.transaction, r.store_id,
       coalesce(r.sale_id = s.id OR r.transaction <> '' AND r.transaction IN (s.number, s.receipt), false),
       s.has_details, s.number, d.name, d.kind, d.amount_cents, d.percent, s.discounts, s.lines_cents, s.tax_cents,
       EXISTS (SELECT FROM loyalty_redemption x
               WHERE x.sale_id = s.id AND x.discount_id = r.discount_id AND x.state = 'settled'),
       EXISTS (SELECT FROM loyalty_redemption x WHERE x.persona_id IN (SELECT id FROM g) AND x.transaction <> ''
               AND x.state IN ('applied', 'settled') AND x.transaction IN (s.number, s.receipt) AND x.id <> r.id),
       (SELECT count(*) FROM loyalty_redemption x WHERE x.sale_id = s.id AND x.state = 'settled')
FROM r
JOIN loyalty_discount d ON d.id = r.discount_id
-- From the redemption to its person's sales, whatever the planner has heard: tables that were empty when it last looked
-- have one row for it, and every sale of everybody would be held beside every redemption.
JOIN LATERAL (SELECT sale_id FROM loyalty_salestate WHERE persona_id = r.root OFFSET 0) st ON true
JOIN LATERAL (SELECT * FROM integrations_sale WHERE id = st.sale_id AND kind = 'sale' OFFSET 0) s ON true
LEFT JOIN stores_storemapping m ON m.location_id = s.location_id
WHERE r.channel <> 'web' AND (
    r.sale_id = s.id
    OR r.sale_id IS NULL AND (
        r.transaction <> '' AND r.transaction IN (s.number, s.receipt) AND s.sold_at > r.applied_at - %(old)s
        OR s.sold_at BETWEEN r.applied_at - %(before)s AND r.applied_at + %(after)s
           AND (r.store_id IS NULL OR m.store_id IS NULL OR m.store_id = r.store_id)))
ORDER BY r.id, s.id
"""

# Redemptions that have met one of these sales: the sale may have lost the discount, or have been given back.
_MET = """
SELECT r.id, r.sale_id, coalesce(p.merged_into_id, p.id), r.public_id, s.has_details, s.discounts <> '[]'::jsonb
FROM loyalty_redemption r JOIN loyalty_persona p ON p.id = r.persona_id JOIN integrations_sale s ON s.id = r.sale_id
WHERE r.account_id = %(account)s AND r.sale_id = ANY(%(sales)s) AND r.state = 'settled' AND p.erased_at IS NULL
ORDER BY r.id
"""


@dataclass(frozen=True, slots=True)
class _Act:
    """What is to be done with one redemption; acts are done in the order of the wallets."""

    persona_id: int
    redemption_id: int
    public_id: UUID
    sale_id: int | None = None  # settle with it
    matched_by: str = ""
    after_tax: bool | None = None
    why: str = ""  # give back because of it
    only: str | None = None


@dataclass(frozen=True, slots=True)
class _Pair:
    """A redemption beside a sale it may belong to. `its_own`: the sale bears the order's number, or had it before."""

    redemption_id: int
    sale_id: int
    persona_id: int
    public_id: UUID
    state: str
    order: str
    store_id: int | None
    its_own: bool
    has_details: bool
    number: str
    name: str
    kind: str
    amount_cents: int
    percent: Decimal
    discounts: list[dict[str, Any]]
    lines_cents: int
    tax_cents: int
    taken: bool  # another use of the same discount has the sale
    spoken_for: bool  # another redemption's order is this sale
    settled: int  # redemptions that have the sale already

    @property
    def carried(self) -> tuple[str, bool | None] | None:
        """How the sale's cart discounts hold this one: by `name` or `amount`, whether after tax; None: they do not."""
        by_amount = None
        for discount in self.discounts:
            after_tax = discount.get("after_tax")
            if str(discount.get("name", "")).strip().casefold() == self.name.strip().casefold():
                return "name", after_tax
            if self._is_amount(int(discount.get("cents") or 0), after_tax):
                by_amount = by_amount or ("amount", after_tax)
        return by_amount

    def _is_amount(self, cents: int, after_tax: bool | None) -> bool:
        if cents <= 0:
            return False
        # Cova's lines stand after a cart discount before tax, and hold nothing of one after tax.
        before = [] if after_tax else [self.lines_cents + cents]
        if after_tax is not False:
            before += [self.lines_cents, self.lines_cents + self.tax_cents]
        if self.kind == "flat":
            # A cart that cost less than the discount is free, not more.
            return cents == self.amount_cents or (cents < self.amount_cents and cents in before)
        shares = [(base * self.percent / 100).quantize(Decimal(1), ROUND_HALF_UP) for base in before]
        return any(abs(cents - share) <= 1 for share in shares)

    @property
    def blind(self) -> bool:
        """Cart discounts are known from the details only, and those were not read."""
        return not self.has_details and not self.discounts

    def settle(self, how: tuple[str, bool | None]) -> _Act:
        return _Act(self.persona_id, self.redemption_id, self.public_id, self.sale_id, *how)

    def without_discount(self) -> _Act:
        return _Act(self.persona_id, self.redemption_id, self.public_id, why="without_discount", only="applied")


def meet(*, account_id: int, sale_ids: Sequence[int], now: datetime) -> int:
    """Settle, release and give back what these sales decide. Returns how many redemptions changed. Safe to repeat."""
    if not sale_ids:
        return 0
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT DISTINCT persona_id FROM loyalty_salestate WHERE sale_id = ANY(%s) AND persona_id IS NOT NULL",
            [list(sale_ids)],
        )
        roots = [row[0] for row in cursor.fetchall()]
    # All sales of these people, not only the page's: another may be the second candidate.
    pairs = _pairs(account_id, roots, now)
    gone = _given_back(account_id, {pair.sale_id for pair in pairs if pair.state == "released"})
    pairs = [pair for pair in pairs if pair.state == "applied" or pair.sale_id not in gone]
    done = _do_all(account_id, _settling(account_id, pairs, now), now)
    with connection.cursor() as cursor:
        # Asked after settling: a refund may have come before its sale.
        cursor.execute(_MET, {"account": account_id, "sales": list(sale_ids)})
        met = cursor.fetchall()
    return done + (_do_all(account_id, _undoing(account_id, met), now) if met else 0)


def _pairs(account_id: int, roots: Collection[int], now: datetime) -> list[_Pair]:
    if not roots:
        return []
    asked = {
        "account": account_id, "roots": sorted(roots), "before": BEFORE, "after": AFTER, "late": now - LATE,
        "old": LATE,
    }  # fmt: skip
    with connection.cursor() as cursor:
        cursor.execute(_PAIRS, asked)
        rows = cursor.fetchall()
    # A raw cursor hands JSON out as text.
    return [_Pair(*row[:14], json.loads(row[14]) if isinstance(row[14], str) else row[14], *row[15:]) for row in rows]


def _do_all(account_id: int, acts: list[_Act], now: datetime) -> int:
    return sum(_do(account_id, act, now) for act in sorted(acts, key=lambda one: (one.persona_id, one.redemption_id)))


def _do(account_id: int, act: _Act, now: datetime) -> bool:
    if act.sale_id is None:
        return ledger.revert(
            account_id=account_id, redemption_public_id=act.public_id, now=now, to_state="released", why=act.why,
            only=act.only,
        ).created  # fmt: skip
    found = {
        "account_id": account_id, "redemption_id": act.redemption_id, "sale_id": act.sale_id, "now": now,
        "matched_by": act.matched_by, "after_tax": act.after_tax,
    }  # fmt: skip
    # Released meanwhile, or before: its sale came late.
    return ledger.settle_redemption(**found) or ledger.settle_again(**found)


def _settling(account_id: int, pairs: list[_Pair], now: datetime) -> list[_Act]:
    """What the numbers of orders say; for what has no number, one redemption and one sale, or nothing."""
    sure = {act.redemption_id: act for act in _by_number(pairs)}
    told = {act.sale_id for act in sure.values()}
    claims = _claims(account_id, [pair for pair in pairs if pair.sale_id not in told], now)
    acts = list(sure.values())
    for redemption, found in claims.items():
        rivals = sum(found[0].sale_id == other.sale_id for many in claims.values() for other in many)
        if redemption not in sure and len(found) == rivals == 1 and not found[0].order:
            acts.append(found[0].settle(found[0].carried or ("", None)))
    return acts


def _by_number(pairs: list[_Pair]) -> Iterable[_Act]:
    """The order's number says which sale it is; how its discount is called there does not matter.

    An order with several redemptions: those go first whose name, then whose amount the sale carries; for the others
    there have to be as many discounts on it as there are redemptions. When they are fewer, nobody guesses.
    """
    own: dict[int, list[_Pair]] = defaultdict(list)
    for pair in pairs:
        if pair.its_own and not pair.taken:
            own[pair.redemption_id].append(pair)
    orders: dict[int, list[_Pair]] = defaultdict(list)
    for found in own.values():
        # Two sales may bear the number, one of them as its receipt's: then the one with a discount, if there is one.
        likely = [pair for pair in found if pair.carried] or [pair for pair in found if pair.discounts] or found
        if len(likely) == 1:
            orders[likely[0].sale_id].append(likely[0])
    for mine in orders.values():
        left = len(mine[0].discounts) - mine[0].settled
        for state, kind in product(("applied", "released"), ("name", "amount", "")):
            group = [pair for pair in mine if pair.state == state and (pair.carried or ("",))[0] == kind]
            if not kind:
                group = [pair for pair in group if pair.order]
            if len(group) <= left:
                for pair in group:
                    how, after_tax = pair.carried or ("", None)
                    yield pair.settle(("transaction" if pair.order else how, after_tax))
                left -= len(group)
            elif left <= 0:
                yield from (pair.without_discount() for pair in group if pair.has_details and state == "applied")
            else:
                break


def _claims(account_id: int, pairs: list[_Pair], now: datetime) -> dict[int, list[_Pair]]:
    """By redemption: the sales without its number that carry its discount. A till whose numbers are found in the POS
    has none: there the number decides."""
    claims: dict[int, list[_Pair]] = defaultdict(list)
    found_before: dict[int | None, bool] = {}
    for pair in pairs:
        if pair.its_own or pair.taken or pair.spoken_for or not pair.carried:
            continue
        if pair.order:
            if pair.store_id not in found_before:
                found_before[pair.store_id] = _numbers_are_found(account_id, pair.store_id, now)
            if found_before[pair.store_id]:
                continue
        claims[pair.redemption_id].append(pair)
    return claims


def _numbers_are_found(account_id: int, store_id: int | None, now: datetime) -> bool:
    """Whether a sale was lately known by the number that the till had given: then this till's numbers are the POS's."""
    with connection.cursor() as cursor:
        cursor.execute(
            """SELECT EXISTS (SELECT FROM loyalty_redemption WHERE account_id = %s AND matched_by = 'transaction'
                   AND applied_at > %s AND (store_id = %s OR store_id IS NULL OR %s::bigint IS NULL))""",
            [account_id, now - LEARNED, store_id, store_id],
        )
        return cursor.fetchone()[0]


def _given_back(account_id: int, sale_ids: Collection[int]) -> dict[int, str]:
    """Which of these sales were voided, or refunded in full where the programme gives spent points back then."""
    current = rules.of(account_id) if sale_ids else None
    if current is None:
        return {}
    spent = Programme.unscoped.filter(account_id=account_id).values_list("spent_on_refund", flat=True).first()
    found = {}
    for sale in facts.read(account_id, sale_ids, current):
        back = sale.refunded_net_cents + sale.refunded_tax_cents
        if sale.voided(current.zone):
            found[sale.sale_id] = "voided"
        elif sale.refunds_end and back >= sale.net_cents + sale.tax_cents and spent == SpentOnRefund.REVERSE:
            found[sale.sale_id] = "refund"
    return found


def _undoing(account_id: int, met: list[tuple]) -> list[_Act]:
    """Settled ones whose sale was voided, lost the discount by an edit, or was refunded where the programme says so."""
    gone = _given_back(account_id, {row[1] for row in met})
    acts = []
    for redemption, sale_id, persona, public_id, has_details, named in met:
        why = gone.get(sale_id) or ("without_discount" if has_details and not named else "")
        if why:
            acts.append(_Act(persona, redemption, public_id, why=why, only="settled"))
    return acts


# Releasing


_DUE = """
SELECT r.id, r.public_id, coalesce(p.merged_into_id, p.id), r.account_id, r.applied_at, r.store_id, g.release_after_h
FROM loyalty_redemption r
JOIN loyalty_programme g ON g.account_id = r.account_id
JOIN loyalty_persona p ON p.id = r.persona_id
WHERE r.state = 'applied' AND r.channel IN ('till', 'staff')
  AND r.applied_at + g.release_after_h * interval '1 hour' <= %(now)s AND r.id > %(after)s
ORDER BY r.id LIMIT %(size)s
"""


def release_due(*, now: datetime) -> int:
    """Give back the points of redemptions that no sale carried, where all the sales that could have are known.

    Returns how many. One whose order's number no sale bears meets the sale that carries its discount instead, where
    this till's numbers are never found; one that may belong to a sale stays for somebody to decide (`doubts`). Any
    number of sweeps may run: each is asked for its state when nobody else can change it.
    """
    released, after = 0, 0
    while True:
        with connection.cursor() as cursor:
            cursor.execute(_DUE, {"now": now, "after": after, "size": BATCH})
            rows = cursor.fetchall()
        if not rows:
            return released
        after = rows[-1][0]
        known: dict[tuple, bool] = {}
        due: dict[int, list[tuple]] = defaultdict(list)
        for row in sorted(rows, key=lambda one: (one[2], one[0])):
            _, _, _, account_id, applied_at, store_id, hours = row
            moment = applied_at + timedelta(hours=hours)
            # Sources are asked once for each place and hour: evidence for a later moment holds for an earlier one.
            asked = (account_id, store_id, moment.replace(minute=0, second=0, microsecond=0) + timedelta(hours=1))
            if asked not in known:
                known[asked] = evidence(account_id=account_id, store_id=store_id, moment=asked[2]).ok
            if known[asked]:
                due[account_id].append(row)
        for account_id, mine in due.items():
            released += _release(account_id, mine, now)


def _release(account_id: int, due: list[tuple], now: datetime) -> int:
    ids = [row[0] for row in due]
    met, doubted = _weigh(account_id, ids, {row[2] for row in due}, now)
    _do_all(account_id, met, now)
    settled = {act.redemption_id for act in met}
    return _do_all(
        account_id,
        [
            _Act(persona, redemption, public_id, why="no_sale", only="applied")
            for redemption, public_id, persona, *_ in due
            if redemption not in doubted and redemption not in settled
        ],
        now,
    )


def _weigh(
    account_id: int, redemption_ids: Collection[int], roots: Collection[int], now: datetime
) -> tuple[list[_Act], dict[int, str]]:
    """Of redemptions whose time is read: those that meet a sale after all, and those that somebody has to decide, with
    the reason as a sentence. The others have no sale."""
    pairs = [pair for pair in _pairs(account_id, roots, now) if pair.state == "applied"]
    asked = set(redemption_ids)
    mine: dict[int, list[_Pair]] = defaultdict(list)
    for pair in pairs:
        if pair.redemption_id in asked:
            mine[pair.redemption_id].append(pair)
    claims = _claims(account_id, pairs, now)
    known = _known(account_id, {pair.order for found in mine.values() for pair in found if pair.order})
    trusted: dict[int | None, bool] = {}
    met: list[_Act] = []
    doubted: dict[int, str] = {}
    for redemption, found in mine.items():
        own = [pair for pair in found if pair.its_own]
        claimed = claims.get(redemption, [])
        rivals = sum(pair.sale_id == other.sale_id for pair in claimed for many in claims.values() for other in many)
        blind = [pair for pair in (own or found) if pair.blind and (pair.its_own or not pair.spoken_for)]
        if own and any(not pair.taken and (pair.discounts or pair.blind) for pair in own):
            if blind:
                doubted[redemption] = (
                    f"The details of sale {blind[0].number}, which has its order's number, were not read."
                )
            else:
                doubted[redemption] = "Its order's sale carries fewer discounts than were redeemed for it."
        elif own or found[0].order in known:
            continue
        elif len(claimed) == 1 and rivals == 1 and not blind:
            met.append(claimed[0].settle(claimed[0].carried or ("", None)))
        elif len(claimed) == 1 and rivals > 1:
            doubted[redemption] = "Another redemption could belong to the same sale."
        elif claimed and not blind:
            doubted[redemption] = f"{len(claimed)} sales carry this discount; only a person can tell which was its own."
        elif blind:
            store = found[0].store_id
            if found[0].order and store not in trusted:
                trusted[store] = _numbers_are_found(account_id, store, now)
            if not found[0].order or not trusted[store]:
                doubted[redemption] = f"The details of sale {blind[0].number} of that time were not read."
    return met, doubted


def _known(account_id: int, orders: Collection[str]) -> set[str]:
    """Which of these numbers are on a sale, whoever bought."""
    if not orders:
        return set()
    with connection.cursor() as cursor:
        cursor.execute(
            """SELECT number FROM integrations_sale WHERE account_id = %(account)s AND number = ANY(%(orders)s) UNION
               SELECT receipt FROM integrations_sale WHERE account_id = %(account)s AND receipt = ANY(%(orders)s)
               AND receipt <> ''""",
            {"account": account_id, "orders": sorted(orders)},
        )
        return {row[0] for row in cursor.fetchall()}


def doubts(*, account_id: int, redemption_ids: Collection[int], now: datetime) -> dict[int, str]:
    """Why some of these would not be released although every sale of their time is known: for the page."""
    if not redemption_ids:
        return {}
    with connection.cursor() as cursor:
        cursor.execute(
            """SELECT DISTINCT coalesce(p.merged_into_id, p.id) FROM loyalty_redemption r
               JOIN loyalty_persona p ON p.id = r.persona_id WHERE r.account_id = %s AND r.id = ANY(%s)""",
            [account_id, list(redemption_ids)],
        )
        roots = [row[0] for row in cursor.fetchall()]
    return _weigh(account_id, redemption_ids, roots, now)[1]


def evidence(*, account_id: int, store_id: int | None, moment: datetime) -> Evidence:
    """Whether every sale up to the moment is known, of a store's locations, else of all."""
    locations = None
    if store_id is not None:
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT location_id FROM stores_storemapping WHERE account_id = %s AND store_id = %s",
                [account_id, store_id],
            )
            locations = [row[0] for row in cursor.fetchall()]
    return read_past(account_id=account_id, moment=moment, location_ids=locations)
