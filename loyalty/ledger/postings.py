"""Points by hand, by import, by boost or mirror; and the sweep of what has expired."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from django.db import connection

from .calls import HeldByPos, KeyTaken, NotEnoughPoints, Removed, as_json, as_points, call, exact

ADJUSTMENTS = frozenset({"adjust", "boost", "import", "mirror"})
WALLETS_A_BATCH = 500


@dataclass(frozen=True, slots=True)
class Posted:
    entry_id: int
    points: Decimal
    balance: Decimal
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
    for no more than the balance, under a key of its own), HeldByPos, Removed and KeyTaken.
    """
    if kind not in ADJUSTMENTS:
        raise ValueError(f"{kind} entries are not posted by hand")
    if not points:
        raise ValueError("no points to post")
    answer = call(
        "loyalty_adjust(%s, %s, %s, %s, %s, %s, %s, %s, %s, %s::jsonb, %s)::text",
        account_id,
        persona_id,
        exact(points),
        key,
        kind,
        now,
        user_id,
        note,
        expires_at,
        as_json(explanation or {}),
        cause_at,
    )
    if answer.get("refused") == "key":
        raise KeyTaken(key)
    if answer.get("refused") == "mirror":
        raise HeldByPos(balance=as_points(answer["balance"]), asked=-points)
    if answer.get("refused") == "removed":
        raise Removed(balance=Decimal(0), asked=-points)
    if "refused" in answer:
        raise NotEnoughPoints(balance=as_points(answer["balance"]), asked=-points)
    return Posted(
        entry_id=answer["entry"],
        points=as_points(answer["points"]),
        balance=as_points(answer["balance"]),
        created=answer["created"],
    )


@dataclass(frozen=True, slots=True)
class TakenOver:
    """A balance from elsewhere that becomes points here, once for its key."""

    persona_id: int
    points: Decimal  # above 0
    key: str
    explanation: dict[str, Any]


def import_balances(
    *,
    account_id: int,
    balances: Sequence[TakenOver],
    expires_at: datetime | None,
    now: datetime,
    user_id: int | None = None,
) -> list[str]:
    """Post these, each key once here and once at all, in one statement however many there are.

    Answers what became of each, in the same order: `posted`, `already`, `removed` (on request) or `mirror` (the wallet
    shows what a POS says).
    """
    if not balances:
        return []
    if any(one.points <= 0 for one in balances):
        raise ValueError("a balance that is taken over is above 0")
    return call(
        "loyalty_import(%s, %s::bigint[], %s::numeric[], %s::text[], %s::text[], %s, %s, %s)::text",
        account_id,
        [one.persona_id for one in balances],
        [exact(one.points) for one in balances],
        [one.key for one in balances],
        [as_json(one.explanation) for one in balances],
        expires_at,
        user_id,
        now,
    )


def expire_due(*, now: datetime, wallets: int = WALLETS_A_BATCH) -> int:
    """The sweep over all accounts: how many lots expired. Each batch is its own transaction; busy wallets wait.

    Who has something due is asked once: asked for each batch, the last batches would look through all that the first
    ones have emptied.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT DISTINCT persona_id FROM loyalty_lot WHERE open AND expires_at <= %s ORDER BY persona_id", [now]
        )
        due = [row[0] for row in cursor.fetchall()]
    return sum(
        call("loyalty_expire_due(%s::bigint[], %s)::text", due[start : start + wallets], now)
        for start in range(0, len(due), wallets)
    )
