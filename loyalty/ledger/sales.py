"""What sales are worth: a state that is brought to its target."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

import orjson
from django.db import connection

from .calls import as_points, call, exact

SALES_A_CALL = 1000  # wallets locked at a time: some 30 ms during which a till may wait


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
class BoostTarget:
    """A boost somebody should have (`points` not 0), or no longer has with this purchase (`points` 0)."""

    modifier_id: int
    persona_id: int
    sale_id: int | None
    points: Decimal
    explanation: dict[str, Any]
    expires_at: datetime | None
    cause_at: datetime


@dataclass(frozen=True, slots=True)
class Settled:
    """`points` is the sum of the `entries` written; `shortfalls` counts what could not be taken back in full."""

    entries: int
    points: Decimal
    shortfalls: int


# The page travels as one JSON text: quoting seven arrays on the client took longer than half the posting.
_SETTLE = """
loyalty_settle_sales(
    %s, %s, array_agg((t->>0)::bigint), array_agg((t->>1)::bigint), array_agg((t->>2)::numeric),
    array_agg((t->>3)::bigint), array_agg(t->4), array_agg((t->>5)::timestamptz), array_agg((t->>6)::timestamptz),
    %s::jsonb
)::text FROM jsonb_array_elements(%s::jsonb) AS t"""


def settle_sales(
    *, account_id: int, targets: Sequence[SaleTarget], now: datetime, boosts: Sequence[BoostTarget] = ()
) -> Settled:
    """Post what is missing between what each sale is worth and what was posted for it; 0 writes nothing.

    A sale may appear once. The caller computes its targets from rows it holds (landed or locked in the same
    transaction), otherwise an older target may win. Outside a transaction, calls are cut at `SALES_A_CALL`; inside
    one all is one call, because locks taken slice by slice could meet another page's in the other order. Boosts go with
    the last call, under the same locks; a boost is given once, whoever asks.
    """
    if len({target.sale_id for target in targets}) < len(targets):
        raise ValueError("a sale has two targets")
    if any(target.persona_id is None and target.target for target in targets):
        raise ValueError("points for nobody")
    size = len(targets) if connection.in_atomic_block else SALES_A_CALL
    entries, points, shortfalls = 0, Decimal(0), 0
    starts = range(0, len(targets), size or 1) if targets else range(1 if boosts else 0)
    for start in starts:
        page = targets[start : start + size]
        rows = [
            (t.sale_id, t.persona_id, str(exact(t.target)), t.base_cents, t.explanation, t.expires_at, t.cause_at)
            for t in page
        ]
        gifts = [
            (b.modifier_id, b.persona_id, b.sale_id, str(exact(b.points)), b.explanation, b.expires_at, b.cause_at)
            for b in (boosts if start == starts[-1] else ())
        ]
        answer = call(_SETTLE, account_id, now, _text(gifts), _text(rows))
        entries += answer["entries"]
        points += as_points(answer["points"])
        shortfalls += answer["shortfalls"]
    return Settled(entries=entries, points=points, shortfalls=shortfalls)


def _text(rows: list[tuple]) -> str:
    return orjson.dumps(rows, default=str).decode()
