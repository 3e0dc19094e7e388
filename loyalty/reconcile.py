"""What became of a redemption: met with its sale, undone with it, or released because no sale carried it.

Which sale is its sale: the one with its order's number, else the one of the same shopper, place, time and discount. Two
candidates are never guessed between. Nothing is released for want of a sale without evidence (`release_due`).
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal
from uuid import UUID

from django.db import connection

from integrations.services import Evidence, read_past

from . import facts, ledger, rules
from .models import Programme, SpentOnRefund

BEFORE = timedelta(minutes=2)  # Cova's feed cuts the time of a sale to the minute
AFTER = timedelta(hours=12)
LATE = timedelta(days=8)  # so long after its release a redemption may still meet its sale
BATCH = 500

# Redemptions that wait for their sale, or were released lately, beside the sales of their shopper's group in this page.
_CANDIDATES = """
SELECT r.id, s.id, coalesce(p.merged_into_id, p.id), r.public_id, r.state, r.transaction,
       r.transaction <> '' AND r.transaction IN (s.number, s.receipt), s.has_details,
       d.name, d.kind, d.amount_cents, d.percent, s.discounts, s.lines_cents,
       EXISTS (SELECT FROM loyalty_redemption x WHERE x.sale_id = s.id AND x.discount_id = r.discount_id)
FROM loyalty_redemption r
JOIN loyalty_discount d ON d.id = r.discount_id
JOIN loyalty_persona p ON p.id = r.persona_id
JOIN loyalty_salestate st ON st.persona_id = coalesce(p.merged_into_id, p.id) AND st.sale_id = ANY(%(sales)s)
JOIN integrations_sale s ON s.id = st.sale_id AND s.kind = 'sale'
LEFT JOIN stores_storemapping m ON m.location_id = s.location_id
WHERE r.account_id = %(account)s AND r.sale_id IS NULL AND r.channel <> 'web' AND p.erased_at IS NULL
  AND (r.state = 'applied' OR r.state = 'released' AND r.ended_at > %(late)s
       AND r.why_ended IN ('no_sale', 'without_discount'))
  AND (r.transaction <> '' AND r.transaction IN (s.number, s.receipt)
       OR s.sold_at BETWEEN r.applied_at - %(before)s AND r.applied_at + %(after)s)
  AND (r.store_id IS NULL OR m.store_id = r.store_id)
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
    to_state: str = "released"
    only: str | None = None


def meet(*, account_id: int, sale_ids: Sequence[int], now: datetime) -> int:
    """Settle, release and give back what these sales decide. Returns how many redemptions changed. Safe to repeat."""
    if not sale_ids:
        return 0
    asked = {
        "account": account_id, "sales": list(sale_ids), "before": BEFORE, "after": AFTER, "late": now - LATE,
    }  # fmt: skip
    with connection.cursor() as cursor:
        cursor.execute(_CANDIDATES, asked)
        waiting = cursor.fetchall()
    done = _do_all(account_id, _settling(waiting), now)
    with connection.cursor() as cursor:
        # Asked after settling: a refund may have come before its sale.
        cursor.execute(_MET, asked)
        met = cursor.fetchall()
    return done + (_do_all(account_id, _undoing(account_id, met), now) if met else 0)


def _do_all(account_id: int, acts: list[_Act], now: datetime) -> int:
    return sum(_do(account_id, act, now) for act in sorted(acts, key=lambda one: (one.persona_id, one.redemption_id)))


def _do(account_id: int, act: _Act, now: datetime) -> bool:
    if act.sale_id is None:
        return ledger.revert(
            account_id=account_id, redemption_public_id=act.public_id, now=now, to_state=act.to_state, why=act.why,
            only=act.only,
        ).created  # fmt: skip
    settled = ledger.settle_redemption(
        account_id=account_id, redemption_id=act.redemption_id, sale_id=act.sale_id, now=now,
        matched_by=act.matched_by, after_tax=act.after_tax,
    )  # fmt: skip
    # Released meanwhile, or before: its sale came late.
    return settled or ledger.settle_again(
        account_id=account_id, redemption_id=act.redemption_id, sale_id=act.sale_id, now=now
    )


def _settling(rows: list[tuple]) -> list[_Act]:
    by_name: dict[int, list[_Act]] = {}
    sure: dict[int, _Act] = {}
    for redemption, sale, persona, public_id, state, order, same_order, has_details, *rest in rows:
        *about, taken = rest
        name, _, _, _, discounts, _ = about
        carried = _carried(*about)
        named = json.loads(discounts) if isinstance(discounts, str) else discounts
        if same_order:
            if named and not taken:
                # The order's number says which sale it is; how its discount is called there does not matter.
                how = carried or ("transaction", None)
                sure[redemption] = _Act(persona, redemption, public_id, sale, "transaction", how[1])
            elif not named and has_details and state == "applied":
                sure[redemption] = _Act(persona, redemption, public_id, why="without_discount", only="applied")
        elif not order and carried and not taken:
            act = _Act(persona, redemption, public_id, sale, *carried)
            by_name.setdefault(redemption, []).append(act)
    # Without an order's number: one redemption and one sale, or nothing.
    claimed = [act.sale_id for found in by_name.values() for act in found]
    spoken_for = {act.sale_id for act in sure.values()}
    for redemption, found in by_name.items():
        if len(found) == 1 and claimed.count(found[0].sale_id) == 1 and found[0].sale_id not in spoken_for:
            sure.setdefault(redemption, found[0])
    return list(sure.values())


def _undoing(account_id: int, met: list[tuple]) -> list[_Act]:
    """Settled ones whose sale was voided, lost the discount by an edit, or was refunded where the programme says so."""
    current = rules.of(account_id)
    if current is None:
        return []
    spent = Programme.unscoped.filter(account_id=account_id).values_list("spent_on_refund", flat=True).first()
    sales = {sale.sale_id: sale for sale in facts.read(account_id, {row[1] for row in met}, current)}
    acts = []
    for redemption, sale_id, persona, public_id, has_details, named in met:
        if (sale := sales.get(sale_id)) is None:
            continue  # it rests: whose it was, was removed on request
        back = sale.refunded_net_cents + sale.refunded_tax_cents
        whole = sale.refunds_end is not None and back >= sale.net_cents + sale.tax_cents
        if sale.voided(current.zone):
            acts.append(_Act(persona, redemption, public_id, why="voided", only="settled"))
        elif has_details and not named:
            acts.append(_Act(persona, redemption, public_id, why="without_discount", only="settled"))
        elif whole and spent == SpentOnRefund.REVERSE:
            acts.append(_Act(persona, redemption, public_id, why="refund", to_state="reverted", only="settled"))
    return acts


def _carried(
    name: str, kind: str, amount_cents: int, percent: Decimal, discounts: list[dict] | str, lines_cents: int
) -> tuple[str, bool | None] | None:
    """How a sale's cart discounts hold this one: by `name` or by `amount`, and whether after tax; None: they do not."""
    if isinstance(discounts, str):  # a raw cursor hands JSON out as text
        discounts = json.loads(discounts)
    for discount in discounts:
        after_tax = discount.get("after_tax")
        cents = int(discount.get("cents") or 0)
        if str(discount.get("name", "")).strip().casefold() == name.strip().casefold():
            return "name", after_tax
        if kind == "flat" and cents == amount_cents:
            return "amount", after_tax
        before = lines_cents + cents  # Cova's lines stand after a cart discount
        share = (before * percent / 100).quantize(Decimal(1), ROUND_HALF_UP)
        if kind == "percent" and cents and abs(cents - share) <= 1:
            return "amount", after_tax
    return None


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

    Returns how many. Any number of sweeps may run: each is asked for its state when nobody else can change it.
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
        for _, public_id, _, account_id, applied_at, store_id, hours in sorted(rows, key=lambda row: (row[2], row[0])):
            moment = applied_at + timedelta(hours=hours)
            # Sources are asked once for each place and hour: evidence for a later moment holds for an earlier one.
            asked = (account_id, store_id, moment.replace(minute=0, second=0, microsecond=0) + timedelta(hours=1))
            if asked not in known:
                known[asked] = evidence(account_id=account_id, store_id=store_id, moment=asked[2]).ok
            if known[asked]:
                released += ledger.revert(
                    account_id=account_id, redemption_public_id=public_id, now=now, to_state="released",
                    why="no_sale", only="applied",
                ).created  # fmt: skip


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
