"""Points that move between personas of one account, what the POS's own programme says, and what is still owed."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from .calls import as_points, call, exact

LOTS_A_CALL = 5000


class CannotMerge(Exception):
    """`not_roots`: one of the two is part of another already. `not_merged`: nothing to split. `unknown`: no merge."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class NothingToCollect(Exception):
    """The shopper has no points; nothing was taken."""


@dataclass(frozen=True, slots=True)
class Moved:
    points: Decimal
    created: bool


@dataclass(frozen=True, slots=True)
class Mirrored:
    """`short`: what the POS took away and was no longer here."""

    entry_id: int | None
    points: Decimal
    balance: Decimal
    short: Decimal


@dataclass(frozen=True, slots=True)
class Overridden:
    """What bringing wallets to the POS's balances posted, and how many wallets changed."""

    entries: int
    points: Decimal
    shoppers: int


@dataclass(frozen=True, slots=True)
class Closed:
    """`points` were taken by this call; `missing` is still owed."""

    points: Decimal
    missing: Decimal
    state: str
    created: bool


def merge(*, account_id: int, merge_id: int, now: datetime) -> Moved:
    """Carry out a merge whose row is there: the loser's points, followers and sales go to the survivor.

    Raises CannotMerge. The survivor's member day and what newly earns are the caller's next steps.
    """
    return _moved(call("loyalty_merge(%s, %s, %s)::text", account_id, merge_id, now))


def split(*, account_id: int, merge_id: int, now: datetime) -> Moved:
    """Take a merge back: what is left of the loser's points returns, in the lots they came from. Raises CannotMerge."""
    return _moved(call("loyalty_split(%s, %s, %s)::text", account_id, merge_id, now))


def _moved(answer: dict) -> Moved:
    if "refused" in answer:
        raise CannotMerge(answer["refused"])
    return Moved(as_points(answer["points"] or 0), answer["created"])


def mirror(*, account_id: int, persona_id: int, customer_id: int, balance: Decimal, now: datetime) -> Mirrored:
    """Bring what the POS says this customer has into the wallet: the difference to what was posted for him.

    The same value again writes nothing. A fall takes mirrored points first; what is not there is a shortfall.
    """
    if balance < 0:
        raise ValueError("a POS balance below zero is 0 here")
    answer = call("loyalty_mirror(%s, %s, %s, %s, %s)::text", account_id, persona_id, customer_id, exact(balance), now)
    return Mirrored(
        answer["entry"], as_points(answer["points"]), as_points(answer["balance"]), as_points(answer["short"])
    )


def mirror_wallets(*, account_id: int, balances: Sequence[tuple[int, int, Decimal]], now: datetime) -> Overridden:
    """Bring wallets to what the POS says: (root, customer, balance), each customer once; a root's points are their sum.

    All wallets are locked first, in persona order. What is there already writes nothing.
    """
    answer = call(
        "loyalty_mirror_wallets(%s, %s::bigint[], %s::bigint[], %s::numeric[], %s)::text",
        account_id, [root for root, _, _ in balances], [customer for _, customer, _ in balances],
        [exact(max(points, Decimal(0))) for _, _, points in balances], now,
    )  # fmt: skip
    return Overridden(answer["entries"], as_points(answer["points"]), answer["shoppers"])


def collect(*, account_id: int, shortfall_id: int, user_id: int | None, note: str, now: datetime) -> Closed:
    """Take what is there towards a shortfall, as an adjustment. Raises NothingToCollect and LookupError."""
    return _closed(account_id, shortfall_id, True, user_id, note, now)


def waive(*, account_id: int, shortfall_id: int, user_id: int | None, note: str, now: datetime) -> Closed:
    """Let a shortfall go. Asked twice, the second changes nothing. Raises LookupError."""
    return _closed(account_id, shortfall_id, False, user_id, note, now)


def _closed(account_id: int, shortfall_id: int, take: bool, user_id: int | None, note: str, now: datetime) -> Closed:
    answer = call(
        "loyalty_close_shortfall(%s, %s, %s, %s, %s, %s)::text",
        account_id, shortfall_id, take, user_id, note[:300], now,
    )  # fmt: skip
    match answer.get("refused"):
        case None:
            return Closed(as_points(answer["points"]), as_points(answer["missing"]), answer["state"], answer["created"])
        case "points":
            raise NothingToCollect
        case _:
            raise LookupError(shortfall_id)


def reexpire(*, account_id: int, ends: Sequence[tuple[int, datetime | None]], now: datetime) -> tuple[int, Decimal]:
    """Give lots another end, by lot id. Answers how many changed and the points among them that are due now."""
    changed, due = 0, Decimal(0)
    for start in range(0, len(ends), LOTS_A_CALL):
        part = ends[start : start + LOTS_A_CALL]
        answer = call(
            "loyalty_reexpire(%s, %s, %s::timestamptz[], %s)::text",
            account_id, [lot for lot, _ in part], [end for _, end in part], now,
        )  # fmt: skip
        changed, due = changed + answer["lots"], due + as_points(answer["due"])
    return changed, due
