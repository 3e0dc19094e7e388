"""Points: the only writer of wallets, entries, lots, draws and of what a redemption or a sale has posted.

Each verb is one call of an SQL function (`loyalty/sql/`) in a transaction of its own: it locks the wallet, posts what
is due to expire, looks, checks and writes. Locks are taken in one order by everybody: sale states, then wallets by
persona, then redemptions. So in a page's transaction `settle_sales` comes after the rows, is called once, and
`settle_redemption` comes after it.
"""

import uuid
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any, Literal

import orjson
from django.db import connection, transaction
from django.db.models import DecimalField, F, OuterRef, Subquery, Sum, Value
from django.db.models.expressions import Combinable
from django.db.models.functions import Coalesce

from .models import Lot

CENT = Decimal("0.01")
ADJUSTMENTS = frozenset({"adjust", "boost", "import", "mirror"})
SALES_A_CALL = 1000  # wallets locked at a time: some 30 ms during which a till may wait
WALLETS_A_BATCH = 500


class NotEnoughPoints(Exception):
    """The balance does not cover what was asked; nothing was taken."""

    def __init__(self, *, balance: Decimal, asked: Decimal) -> None:
        super().__init__(f"{balance} points are there, {asked} were asked for")
        self.balance, self.asked = balance, asked


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


class KeyTaken(Exception):
    """The key stands for an entry of another persona or another redemption."""


@dataclass(frozen=True, slots=True)
class Posted:
    entry_id: int
    points: Decimal
    balance: Decimal
    created: bool


@dataclass(frozen=True, slots=True)
class SaleTarget:
    """What a sale is worth, and to whom. Nobody's sale (`persona_id` None) is worth 0."""

    sale_id: int
    persona_id: int | None
    target: Decimal
    base_cents: int
    explanation: dict[str, Any]
    expires_at: datetime | None
    cause_at: datetime


@dataclass(frozen=True, slots=True)
class Settled:
    """`points` is the sum of the `entries` written; `shortfalls` counts what could not be taken back in full."""

    entries: int
    points: Decimal
    shortfalls: int


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


def adjust(
    *,
    account_id: int,
    persona_id: int,
    points: Decimal,
    key: str,
    now: datetime,
    kind: str = "adjust",
    user_id: int | None = None,
    note: str = "",
    expires_at: datetime | None = None,
    explanation: dict[str, Any] | None = None,
    cause_at: datetime | None = None,
) -> Posted:
    """Add points, or take them (oldest expiry first), once for each key.

    The same key again answers the first entry with today's balance. Raises NotEnoughPoints (the caller may ask again
    for no more than the balance, under a key of its own) and KeyTaken.
    """
    if kind not in ADJUSTMENTS:
        raise ValueError(f"{kind} entries are not posted by hand")
    if not points:
        raise ValueError("no points to post")
    answer = _call(
        "loyalty_adjust(%s, %s, %s, %s, %s, %s, %s, %s, %s, %s::jsonb, %s)::text",
        account_id,
        persona_id,
        _exact(points),
        key,
        kind,
        now,
        user_id,
        note,
        expires_at,
        _json(explanation or {}),
        cause_at,
    )
    if answer.get("refused") == "key":
        raise KeyTaken(key)
    if "refused" in answer:
        raise NotEnoughPoints(balance=_points(answer["balance"]), asked=-points)
    return Posted(
        entry_id=answer["entry"],
        points=_points(answer["points"]),
        balance=_points(answer["balance"]),
        created=answer["created"],
    )


# The page travels as one JSON text: quoting seven arrays on the client took longer than half the posting.
_SETTLE = """
loyalty_settle_sales(
    %s, %s, array_agg((t->>0)::bigint), array_agg((t->>1)::bigint), array_agg((t->>2)::numeric),
    array_agg((t->>3)::bigint), array_agg(t->4), array_agg((t->>5)::timestamptz), array_agg((t->>6)::timestamptz)
)::text FROM jsonb_array_elements(%s::jsonb) AS t"""


def settle_sales(*, account_id: int, targets: Sequence[SaleTarget], now: datetime) -> Settled:
    """Post what is missing between what each sale is worth and what was posted for it; 0 writes nothing.

    A sale may appear once. The caller computes its targets from rows it holds (landed or locked in the same
    transaction), otherwise an older target may win. Outside a transaction, calls are cut at `SALES_A_CALL`; inside
    one all is one call, because locks taken slice by slice could meet another page's in the other order.
    """
    if len({target.sale_id for target in targets}) < len(targets):
        raise ValueError("a sale has two targets")
    if any(target.persona_id is None and target.target for target in targets):
        raise ValueError("points for nobody")
    size = len(targets) if connection.in_atomic_block else SALES_A_CALL
    entries, points, shortfalls = 0, Decimal(0), 0
    for start in range(0, len(targets), size or 1):
        page = targets[start : start + size]
        rows = [
            (t.sale_id, t.persona_id, str(_exact(t.target)), t.base_cents, t.explanation, t.expires_at, t.cause_at)
            for t in page
        ]
        answer = _call(_SETTLE, account_id, now, orjson.dumps(rows, default=str).decode())
        entries += answer["entries"]
        points += _points(answer["points"])
        shortfalls += answer["shortfalls"]
    return Settled(entries=entries, points=points, shortfalls=shortfalls)


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
    answer = _call(
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
                points=_points(answer["points"]),
                balance=_points(answer["balance"]),
                state=answer["state"],
                n=answer["n"],
                transaction=answer["transaction"],
                created=answer["created"],
                applied_at=datetime.fromisoformat(answer["applied_at"]),
            )
        case "points":
            raise NotEnoughPoints(balance=_points(answer["balance"]), asked=_points(answer["price"]))
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
    answer = _call(
        "loyalty_revert(%s, %s, %s, %s, %s, %s, %s, %s)::text",
        account_id,
        redemption_public_id,
        None if points is None else _exact(points),
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
                points=_points(answer["points"]),
                reverted_total=_points(answer["reverted"]),
                balance=_points(answer["balance"]),
                state=answer["state"],
                created=answer["created"],
            )
        case "unknown":
            raise UnknownRedemption(redemption_public_id)
        case "key":
            raise KeyTaken(key)
        case _:
            raise NothingToRevert(left=_points(answer["left"]), asked=points or Decimal(0))


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


def expire_due(*, now: datetime, wallets: int = WALLETS_A_BATCH) -> int:
    """The sweep over all accounts: how many lots expired. Each batch is its own transaction; busy wallets wait."""
    lots, last, more = 0, 0, True
    while more:
        answer = _call("loyalty_expire_due(%s, %s, %s)::text", last, wallets, now)
        lots, last, more = lots + answer["lots"], answer["last"], answer["wallets"] > 0
    return lots


def spendable(now: datetime) -> Combinable:
    """For querysets of Wallet: the balance without lots past their expiry, nothing written."""
    due = (
        Lot.unscoped.filter(persona_id=OuterRef("persona_id"), open=True, expires_at__lte=now)
        .order_by()
        .values("persona_id")
        .annotate(points=Sum("remaining"))
        .values("points")
    )
    kind: DecimalField = DecimalField(max_digits=14, decimal_places=2)
    return F("balance") - Coalesce(Subquery(due), Value(Decimal(0)), output_field=kind)


def spendable_points(account_id: int, persona_id: int, now: datetime) -> Decimal:
    """What the persona can spend at `now`; without a wallet 0."""
    with connection.cursor() as cursor:
        cursor.execute(
            """SELECT balance - coalesce((SELECT sum(remaining) FROM loyalty_lot l WHERE l.persona_id = w.persona_id
                                          AND l.open AND l.expires_at <= %s), 0)
               FROM loyalty_wallet w WHERE persona_id = %s AND account_id = %s""",
            [now, persona_id, account_id],
        )
        row = cursor.fetchone()
    return row[0] if row else Decimal(0)


def next_to_expire(account_id: int, persona_id: int, now: datetime) -> tuple[Decimal, datetime] | None:
    """Points and moment of the next expiry after `now`."""
    with connection.cursor() as cursor:
        cursor.execute(
            """SELECT sum(remaining), expires_at FROM loyalty_lot
               WHERE persona_id = %s AND account_id = %s AND open AND expires_at > %s
               GROUP BY expires_at ORDER BY expires_at LIMIT 1""",
            [persona_id, account_id, now],
        )
        return cursor.fetchone()


def _call(function: str, *values: Any) -> dict[str, Any]:
    """One function in one transaction. What a refusal leaves behind (expiry lines) is committed with it.

    A statement by itself is a transaction by itself: BEGIN and COMMIT would be two more round trips for the till.
    """
    own = transaction.atomic() if connection.in_atomic_block else nullcontext()
    with own, connection.cursor() as cursor:
        cursor.execute(f"SELECT {function}", values)
        return orjson.loads(cursor.fetchone()[0])


def _exact(points: Decimal) -> Decimal:
    """Points have two places; more would be rounded by the database without a word."""
    rounded = Decimal(points).quantize(CENT)
    if rounded != points:
        raise ValueError(f"{points} has more than two decimals")
    return rounded


def _points(number: Any) -> Decimal:
    return Decimal(str(number)).quantize(CENT)


def _json(value: dict[str, Any]) -> str:
    return orjson.dumps(value, default=str).decode()
