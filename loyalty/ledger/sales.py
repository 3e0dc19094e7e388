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
class Settled:
    """`points` is the sum of the `entries` written; `shortfalls` counts what could not be taken back in full."""

    entries: int
    points: Decimal
    shortfalls: int


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
            (t.sale_id, t.persona_id, str(exact(t.target)), t.base_cents, t.explanation, t.expires_at, t.cause_at)
            for t in page
        ]
        answer = call(_SETTLE, account_id, now, orjson.dumps(rows, default=str).decode())
        entries += answer["entries"]
        points += as_points(answer["points"])
        shortfalls += answer["shortfalls"]
    return Settled(entries=entries, points=points, shortfalls=shortfalls)
