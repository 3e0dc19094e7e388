"""Discounts taken, settled and given back."""

import uuid
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Literal

from django.db import connection, transaction

from .calls import KeyTaken, NotEnoughPoints, as_points, call, exact


class AlreadyUsed(Exception):
    """`used`: once for each shopper, and it was. `given_back`: this address is spent; read the wallet again."""

    def __init__(self, reason: Literal["used", "given_back"]) -> None:
        super().__init__(reason)
        self.reason = reason


class OneDiscountPerOrder(Exception):
    """The order carries another discount already; nothing was taken."""


class NotAvailable(Exception):
    """The discount cannot be used now.

    `reason`: unknown, stale (read the wallet again), disabled (the programme), archived, not_started, ended.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


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
    one_per_order: bool = True,
) -> Redeemed:
    """Use a discount; the same request again answers the same redemption (`created` False).

    `n` is how many redemptions of this discount the persona had when the wallet was read. Raises NotEnoughPoints,
    AlreadyUsed, OneDiscountPerOrder and NotAvailable, each with nothing taken.
    """
    answer = call(
        "loyalty_redeem(%s, %s, %s, %s, %s, %s, %s, %s, %s, %s)::text",
        account_id,
        persona_id,
        discount_id,
        n,
        transaction,
        channel,
        now,
        store_id,
        user_id,
        one_per_order,
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
            )
        case "points":
            raise NotEnoughPoints(balance=as_points(answer["balance"]), asked=as_points(answer["price"]))
        case "used" | "given_back" as reason:
            raise AlreadyUsed(reason)
        case "order":
            raise OneDiscountPerOrder(transaction)
        case reason:
            raise NotAvailable(reason)


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
) -> Reverted:
    """Give back what a redemption took, whole (the rest of it) or a part, into the lots it came from.

    A whole revert may be repeated; the same part twice is the same revert unless each has a key of its own. Points
    whose expiry has passed meanwhile go again at once, in an entry of their own. Raises UnknownRedemption,
    NothingToRevert (a part larger than what is left) and KeyTaken.
    """
    if points is not None and points <= 0:
        raise ValueError("a part to give back is more than 0")
    if to_state not in ("reverted", "released"):
        raise ValueError(f"a redemption does not end as {to_state}")
    answer = call(
        "loyalty_revert(%s, %s, %s, %s, %s, %s, %s, %s)::text",
        account_id,
        redemption_public_id,
        None if points is None else exact(points),
        key,
        to_state,
        now,
        user_id,
        note,
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


def settle_redemption(*, account_id: int, redemption_id: int, sale_id: int, now: datetime) -> bool:
    """The sale of a redemption was seen: settled, with it. True when that is so now, by this call or before.

    A web redemption, settled from the start, only gets its sale. False: given back, or it has another sale.
    """
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(
            """UPDATE loyalty_redemption
               SET state = 'settled', sale_id = %s, settled_at = coalesce(settled_at, %s)
               WHERE id = %s AND account_id = %s AND state IN ('applied', 'settled')
                     AND (sale_id IS NULL OR sale_id = %s)""",
            [sale_id, now, redemption_id, account_id, sale_id],
        )
        return cursor.rowcount == 1
