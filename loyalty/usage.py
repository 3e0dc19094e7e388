"""What became of one discount: how often it was used, by whom, where, when, and each of its uses as a line."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

from django.db import connection

from . import codes
from .models import CodeKind, Discount, RedemptionState

MONTHS = 12
BATCH = 1000


@dataclass(frozen=True, slots=True)
class Part:
    """`share` is of all redemptions, in hundredths, for a bar."""

    title: str
    redemptions: int
    points: Decimal  # spent: what came back is not in it
    share: int = 0


@dataclass(frozen=True, slots=True)
class Usage:
    redemptions: int = 0
    points: Decimal = Decimal(0)
    shoppers: int = 0
    by_state: list[Part] = field(default_factory=list)
    by_store: list[Part] = field(default_factory=list)
    by_month: list[Part] = field(default_factory=list)  # the latest first; older ones in one line
    codes_free: int | None = None  # None: it has no codes of its own
    codes_used: int | None = None


# All at once: whatever the discount's history, one statement. A shopper counts once, also under two merged rows.
_FIGURES = """
SELECT grouping(r.state, r.store_id, r.month), r.state, r.store_id, max(s.name), r.month, count(*),
       coalesce(sum(r.spent), 0), count(DISTINCT r.who)
FROM (SELECT r.state, r.store_id, width_bucket(r.applied_at, %(edges)s::timestamptz[]) AS month,
             r.points - r.reverted_points AS spent, coalesce(p.merged_into_id, p.id) AS who
      FROM loyalty_redemption r JOIN loyalty_persona p ON p.id = r.persona_id
      WHERE r.account_id = %(account)s AND r.discount_id = %(discount)s AND NOT p.is_test) r
LEFT JOIN stores_store s ON s.id = r.store_id
GROUP BY GROUPING SETS ((r.state), (r.store_id), (r.month), ())
ORDER BY 1, 6 DESC
"""
_STATE, _STORE, _MONTH, _ALL = 0b011, 0b101, 0b110, 0b111  # which columns a line is not grouped by


def of(*, discount: Discount, now: datetime, zone: ZoneInfo) -> Usage:
    """The figures of a discount, months by the account's calendar: one statement, and one more for its codes."""
    firsts = _months(now.astimezone(zone).date())
    edges = [datetime.combine(first, time.min, zone) for first in firsts]
    with connection.cursor() as cursor:
        cursor.execute(
            _FIGURES, {"account": discount.account_id, "discount": discount.pk, "edges": edges}
        )  # fmt: skip
        rows = cursor.fetchall()
    found: dict[int, list[tuple]] = {}
    for kind, *row in rows:
        found.setdefault(kind, []).append(tuple(row))
    _, _, _, _, total, points, shoppers = found[_ALL][0]
    states = dict(RedemptionState.choices)

    def part(title: str, row: tuple) -> Part:
        return Part(title, row[4], row[5], round(100 * row[4] / total) if total else 0)

    months = sorted(found.get(_MONTH, []), key=lambda row: row[3], reverse=True)
    own = discount.code_kind == CodeKind.UNIQUE
    free, used = codes.left(account_id=discount.account_id, discount_id=discount.pk) if own else (None, None)
    return Usage(
        redemptions=total,
        points=points,
        shoppers=shoppers,
        by_state=[part(str(states.get(row[0], row[0])), row) for row in found.get(_STATE, [])],
        by_store=[part(row[2] or "Store not known", row) for row in found.get(_STORE, [])],
        by_month=[part(f"{firsts[row[3] - 1]:%B %Y}" if row[3] else "Before that", row) for row in months],
        codes_free=free,
        codes_used=used,
    )


def _months(today: date) -> list[date]:
    """The first days of this month and those before it, the oldest first."""
    found = [today.replace(day=1)]
    while len(found) < MONTHS:
        found.append((found[-1] - timedelta(days=1)).replace(day=1))
    return found[::-1]


# Column to what it holds: the head of the export, and the table in docs/export.md.
COLUMNS = {
    "redemption": "The redemption's id, as the API answers it.",
    "applied at (UTC)": "When the discount was redeemed.",
    "state": "applied (its sale was not seen yet), settled, released (no sale carried it) or reverted (given back).",
    "channel": "till, web or staff.",
    "points": "What was taken.",
    "points given back": "What came back of it so far.",
    "store": "Where, when that is known.",
    "order": "The till's transaction, when it named one.",
    "sale": "The number of the sale it was settled with.",
    "after tax": "yes, no, or empty while the sale does not tell.",
    "contact": "The shopper's contactID: the one to look up. No name, no phone.",
    "code": "The coupon code that was handed out.",
    "why it ended": "no_sale, without_discount, voided, refund, till or staff; empty while it stands.",
    "ended at (UTC)": "When the last of its points came back.",
}  # fmt: skip

_LINES = """
SELECT r.id, r.public_id, r.applied_at, r.state, r.channel, r.points, r.reverted_points, coalesce(s.name, ''),
       r.transaction, coalesce(i.number, ''), r.after_tax, coalesce(root.contact_id, p.contact_id),
       coalesce((SELECT c.code FROM loyalty_couponcode c WHERE c.redemption_id = r.id), %(static)s), r.why_ended,
       r.ended_at
FROM loyalty_redemption r
JOIN loyalty_persona p ON p.id = r.persona_id
LEFT JOIN loyalty_persona root ON root.id = p.merged_into_id
LEFT JOIN stores_store s ON s.id = r.store_id
LEFT JOIN integrations_sale i ON i.id = r.sale_id
WHERE r.account_id = %(account)s AND r.discount_id = %(discount)s AND r.id > %(after)s
  AND NOT p.is_test
ORDER BY r.id LIMIT %(size)s
"""


def lines(*, discount: Discount) -> Iterator[tuple[Any, ...]]:
    """Every redemption of a discount, the oldest first, by the columns above. Read in batches, so that a year fits."""
    asked = {"account": discount.account_id, "discount": discount.pk, "static": discount.static_code, "size": BATCH}
    after = 0
    while True:
        with connection.cursor() as cursor:
            cursor.execute(_LINES, asked | {"after": after})
            rows = cursor.fetchall()
        for pk, public_id, applied_at, *middle, after_tax, contact, code, why, ended_at in rows:
            after = pk
            taxed = {True: "yes", False: "no", None: ""}[after_tax]
            yield (str(public_id), _utc(applied_at), *middle, taxed, str(contact), code, why, _utc(ended_at))
        if len(rows) < BATCH:
            return


def _utc(moment: datetime | None) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S") if moment else ""
