"""Discounts taken, settled and given back."""

import uuid
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Literal

import orjson
from django.db import IntegrityError, connection, transaction
from psycopg.errors import UniqueViolation

from .calls import KeyTaken, NotEnoughPoints, as_points, call, exact


class AlreadyUsed(Exception):
    """`used`: once for each shopper, and it was. `given_back`: this address is spent; read the wallet again."""

    def __init__(self, reason: Literal["used", "given_back"]) -> None:
        super().__init__(reason)
        self.reason = reason


class OneDiscountPerOrder(Exception):
    """The order carries another discount already; nothing was taken."""


class NotAvailable(Exception):
    """The discount cannot be used now; `loyalty.refusals.sentence` says why.

    `reason`: unknown, stale (read the wallet again), disabled (the programme), not_a_member, archived, not_started,
    ended, staff_only, in_store, store, audience, expired_for_you, blocked (employee), mirror, spend, cooldown (until
    `free_at`), no_code.
    """

    def __init__(self, reason: str, *, free_at: datetime | None = None, min_spend_cents: int = 0) -> None:
        super().__init__(reason)
        self.reason = reason
        self.free_at = free_at
        self.min_spend_cents = min_spend_cents


class UnknownRedemption(Exception):
    """No such redemption in this account."""


class NothingToRevert(Exception):
    """A part was asked back, and no more than `left` is there to give."""

    def __init__(self, *, left: Decimal, asked: Decimal) -> None:
        super().__init__(f"{left} points can be given back, {asked} were asked for")
        self.left, self.asked = left, asked


@dataclass(frozen=True, slots=True)
class Redeemed:
    redemption_id: uuid.UUID
    discount_number: int
    points: Decimal
    balance: Decimal
    state: str
    n: int
    transaction: str
    created: bool
    applied_at: datetime
    code: str = ""


@dataclass(frozen=True, slots=True)
class Reverted:
    """`points` came back by this call, `reverted_total` so far. In `balance` those past their expiry are gone again."""

    redemption_id: uuid.UUID
    points: Decimal
    reverted_total: Decimal
    balance: Decimal
    state: str
    created: bool


def redeem(
    *,
    account_id: int,
    persona_id: int,
    discount_id: int,
    n: int,
    transaction: str,
    channel: str,
    now: datetime,
    store_id: int | None = None,
    user_id: int | None = None,
    per_order: int | None = 1,
    spend_cents: int | None = None,
) -> Redeemed:
    """Use a discount; the same request again answers the same redemption (`created` False).

    `n` is how many redemptions of this discount the persona had when the wallet was read. `per_order` is how many
    discounts one order may carry where it happens (`discounts.redeem` asks the card; None: the till has given it
    already, whatever else the order carries), `spend_cents` the order's subtotal, where it is known. A persona that was
    merged redeems from its root's wallet. Raises NotEnoughPoints, AlreadyUsed, OneDiscountPerOrder and NotAvailable,
    each with nothing taken.
    """
    answer = call(
        "loyalty_redeem(%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)::text",
        account_id,
        persona_id,
        discount_id,
        n,
        transaction,
        channel,
        now,
        store_id,
        user_id,
        per_order,
        spend_cents,
    )
    match answer.get("refused"):
        case None:
            return Redeemed(
                redemption_id=uuid.UUID(answer["redemption"]),
                discount_number=answer["discount"],
                points=as_points(answer["points"]),
                balance=as_points(answer["balance"]),
                state=answer["state"],
                n=answer["n"],
                transaction=answer["transaction"],
                created=answer["created"],
                applied_at=datetime.fromisoformat(answer["applied_at"]),
                code=answer["code"] or "",
            )
        case "points":
            raise NotEnoughPoints(balance=as_points(answer["balance"]), asked=as_points(answer["price"]))
        case "used" | "given_back" as reason:
            raise AlreadyUsed(reason)
        case "order":
            raise OneDiscountPerOrder(transaction)
        case reason:
            free_at = answer.get("free_at")
            raise NotAvailable(
                reason,
                free_at=datetime.fromisoformat(free_at) if free_at else None,
                min_spend_cents=answer.get("min_spend") or 0,
            )


def revert(
    *,
    account_id: int,
    redemption_public_id: uuid.UUID,
    now: datetime,
    points: Decimal | None = None,
    key: str | None = None,
    to_state: str = "reverted",
    user_id: int | None = None,
    note: str = "",
    why: str = "",
    only: str | None = None,
) -> Reverted:
    """Give back what a redemption took, whole (the rest of it) or a part, into the lots it came from.

    A whole revert may be repeated; the same part twice is the same revert unless each has a key of its own. Points
    whose expiry has passed meanwhile go again at once, in an entry of their own; those of a lot that moved on by a
    merge or a split move on too. `why` (till, staff, no_sale, ...) stays with a redemption that has ended by it.
    With `only` nothing happens unless it is still in that state, asked when nobody else can change it.
    Raises UnknownRedemption, NothingToRevert (a part larger than what is left) and KeyTaken.
    """
    if points is not None and points <= 0:
        raise ValueError("a part to give back is more than 0")
    if to_state not in ("reverted", "released"):
        raise ValueError(f"a redemption does not end as {to_state}")
    answer = call(
        "loyalty_revert(%s, %s, %s, %s, %s, %s, %s, %s, %s, %s)::text",
        account_id,
        redemption_public_id,
        None if points is None else exact(points),
        key,
        to_state,
        now,
        user_id,
        note,
        why,
        only,
    )
    match answer.get("refused"):
        case None:
            return Reverted(
                redemption_id=uuid.UUID(answer["redemption"]),
                points=as_points(answer["points"]),
                reverted_total=as_points(answer["reverted"]),
                balance=as_points(answer["balance"]),
                state=answer["state"],
                created=answer["created"],
            )
        case "unknown":
            raise UnknownRedemption(redemption_public_id)
        case "key":
            raise KeyTaken(key)
        case _:
            raise NothingToRevert(left=as_points(answer["left"]), asked=points or Decimal(0))


def revert_line(
    *,
    account_id: int,
    redemption_public_id: uuid.UUID,
    line: int,
    now: datetime,
    user_id: int | None = None,
    note: str = "",
) -> Reverted:
    """Give back a line's share of a settled redemption, once. Raises UnknownRedemption and NothingToRevert.

    The points are laid over the lines of its sale by what they cost, the largest remainders first, so that all lines
    together give back exactly what was taken. Never more than is left comes back.
    """
    for _ in range(5):
        with connection.cursor() as cursor:
            cursor.execute(
                """SELECT r.id, r.points, r.points - r.reverted_points, loyalty_times_taken(r.id),
                          (SELECT json_object_agg(l.number, l.total_cents)::text FROM integrations_saleline l
                           WHERE l.sale_id = r.sale_id AND l.total_cents > 0)
                   FROM loyalty_redemption r WHERE r.public_id = %s AND r.account_id = %s""",
                [redemption_public_id, account_id],
            )
            row = cursor.fetchone()
            if row is None:
                raise UnknownRedemption(redemption_public_id)
            pk, taken, left, times, lines = row
            weights = {int(number): cents for number, cents in orjson.loads(lines or "{}").items()}
            whole = shares_of(taken, weights).get(line, Decimal(0))
            key = f"revert:{pk}:line:{line}" + (f":again{times}" if times > 1 else "")
            cursor.execute("SELECT points FROM loyalty_entry WHERE account_id = %s AND key = %s", [account_id, key])
            before = cursor.fetchone()
        share = before[0] if before else min(whole, left)
        if share <= 0:
            raise NothingToRevert(left=left, asked=whole)
        try:
            return revert(
                account_id=account_id, redemption_public_id=redemption_public_id, now=now, points=share, key=key,
                user_id=user_id, note=note or f"Line {line} of the sale", why="refund",
            )  # fmt: skip
        except NothingToRevert as error:
            refused = error  # another gave back meanwhile: what is left now is this line's, if anything is
    raise refused


def shares_of(points: Decimal, weights: dict[int, int]) -> dict[int, Decimal]:
    """Points laid over lines by weight, to the hundredth, summing up exactly: largest remainders first."""
    total = sum(weights.values())
    if not total:
        return {}
    hundredths = int(points * 100)
    exact_shares = {line: Decimal(hundredths * weight) / total for line, weight in weights.items()}
    shares = {line: int(share) for line, share in exact_shares.items()}
    by_remainder = sorted(weights, key=lambda line: (shares[line] - exact_shares[line], line))
    for line in by_remainder[: hundredths - sum(shares.values())]:
        shares[line] += 1
    return {line: Decimal(share) / 100 for line, share in shares.items()}


_SETTLE = """
UPDATE loyalty_redemption r
SET state = 'settled', sale_id = %(sale)s, settled_at = coalesce(settled_at, %(now)s),
    matched_by = CASE WHEN %(by)s <> '' THEN %(by)s ELSE matched_by END, after_tax = coalesce(%(tax)s, after_tax)
WHERE id = %(id)s AND account_id = %(account)s AND state IN ('applied', 'settled')
  AND (sale_id IS NULL OR sale_id = %(sale)s)
  AND NOT EXISTS (SELECT FROM loyalty_redemption x WHERE x.sale_id = %(sale)s AND x.discount_id = r.discount_id
                  AND x.state = 'settled' AND x.id <> r.id)
"""


def settle_redemption(
    *,
    account_id: int,
    redemption_id: int,
    sale_id: int,
    now: datetime,
    matched_by: str = "",
    after_tax: bool | None = None,
) -> bool:
    """The sale of a redemption was seen: settled, with it. True when that is so now, by this call or before.

    A web redemption, settled from the start, only gets its sale. False: given back, it has another sale, or the sale
    has another use of this discount.
    """
    asked = {
        "id": redemption_id, "account": account_id, "sale": sale_id, "now": now, "by": matched_by, "tax": after_tax,
    }  # fmt: skip
    try:
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(_SETTLE, asked)
            return cursor.rowcount == 1
    except IntegrityError as error:
        if not isinstance(error.__cause__, UniqueViolation):
            raise
        return False  # another use of the discount got the sale this very moment


def settle_again(
    *,
    account_id: int,
    redemption_id: int,
    sale_id: int,
    now: datetime,
    matched_by: str = "",
    after_tax: bool | None = None,
) -> bool:
    """A released redemption met its sale after all: the points are taken once more; what is missing is a shortfall.

    False when it was not released (and has not this sale), when the sale has another use of this discount, or when the
    till used the same order anew meanwhile.
    """
    asked = [account_id, redemption_id, sale_id, now]
    try:
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute("SELECT loyalty_settle_again(%s, %s, %s, %s)", asked)
            again = cursor.fetchone()[0]
            if again and (matched_by or after_tax is not None):
                cursor.execute(
                    """UPDATE loyalty_redemption SET after_tax = coalesce(%s, after_tax),
                       matched_by = CASE WHEN %s <> '' THEN %s ELSE matched_by END WHERE id = %s AND account_id = %s""",
                    [after_tax, matched_by, matched_by, redemption_id, account_id],
                )
            return again
    except IntegrityError as error:
        if not isinstance(error.__cause__, UniqueViolation):
            raise
        return False
