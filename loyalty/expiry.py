"""When points expire, by the programme's engine: for open lots as they are, and as another programme would have it."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from decimal import Decimal

from django.db import connection

from . import ledger
from .rules import Rules


@dataclass(frozen=True, slots=True)
class OpenLot:
    """Points that are there, with the day their expiry is counted from; `would_expire` by the rules asked about."""

    lot_id: int
    persona_id: int  # the root's, whoever of its group holds the lot
    source: str  # what opened it at first: `sale:<id>`, or its entry's key
    remaining: Decimal
    expires_at: datetime | None
    would_expire: datetime | None


@dataclass(frozen=True, slots=True)
class Preview:
    """Open lots of each persona, oldest expiry first, and what a lot that a sale opens now would get."""

    rules: Rules
    lots: dict[int, list[OpenLot]]
    last_days: dict[int, date]

    def of_new(self, persona_id: int, sold_at: datetime) -> datetime | None:
        day = sold_at.astimezone(self.rules.zone).date()
        return expires_at(self.rules, kind="earn", day=day, last_day=self.last_days.get(persona_id))


def expires_at(rules: Rules, *, kind: str, day: date, last_day: date | None) -> datetime | None:
    """The end of the last day of points that came in on `day`; `last_day` is that of the latest purchase."""
    if not rules.expire_days or kind == "mirror":
        return None
    if rules.engine == "legacy":
        if kind != "earn" and not rules.expire_all:
            return None
        if rules.expire_start and day < rules.expire_start:
            return None
        # A gift that came after the last purchase counts from the day it came.
        day = max(filter(None, (day, last_day, rules.expire_start)))
    return datetime.combine(day + timedelta(days=rules.expire_days + 1), time.min, rules.zone)


# A lot that came by a merge counts from the day of the lot it descends from. Lots that were used up by a redemption or
# taken by hand have a day too: their points may be given back.
_LOTS = """
WITH RECURSIVE g AS (
    SELECT id, coalesce(merged_into_id, id) AS root FROM loyalty_persona
    WHERE account_id = %(account)s AND (id = ANY(%(personas)s) OR merged_into_id = ANY(%(personas)s))
), line AS (
    SELECT l.id AS lot_id, l.id AS at, l.from_lot_id, g.root FROM g JOIN loyalty_lot l ON l.persona_id = g.id AND l.open
    UNION
    SELECT l.id, l.id, l.from_lot_id, g.root FROM g
    JOIN loyalty_entry e ON e.persona_id = g.id AND e.kind IN ('redeem', 'adjust') AND e.points < 0
    JOIN loyalty_draw d ON d.entry_id = e.id JOIN loyalty_lot l ON l.id = d.lot_id AND NOT l.open
    WHERE %(used)s
    UNION ALL
    SELECT line.lot_id, l.id, l.from_lot_id, line.root FROM line JOIN loyalty_lot l ON l.id = line.from_lot_id
)
SELECT l.id, line.root, CASE WHEN e.kind = 'earn' THEN 'sale:' || e.sale_id ELSE e.key END, e.kind, l.remaining,
       l.expires_at, CASE WHEN e.kind = 'earn' THEN coalesce(e.cause_at, first.created_at) ELSE first.created_at END
FROM line JOIN loyalty_lot first ON first.id = line.at JOIN loyalty_entry e ON e.id = first.entry_id
JOIN loyalty_lot l ON l.id = line.lot_id
WHERE line.from_lot_id IS NULL
ORDER BY line.root, l.expires_at, l.id
"""


def preview(*, account_id: int, persona_ids: Sequence[int], rules: Rules, now: datetime, used: bool = False) -> Preview:
    """What these rules would make of the personas' open lots, and of those used up (`used`).

    Open lots that are due already are left out: nobody can spend them any more.
    """
    ids = list(persona_ids)
    last_days = _last_days(account_id, ids, rules) if rules.engine == "legacy" else {}
    lots: dict[int, list[OpenLot]] = defaultdict(list)
    with connection.cursor() as cursor:
        cursor.execute(_LOTS, {"account": account_id, "personas": ids, "used": used})
        for lot_id, root, source, kind, remaining, expires, began in cursor.fetchall():
            if remaining and expires is not None and expires <= now:
                continue
            day = began.astimezone(rules.zone).date()
            would = expires_at(rules, kind=kind, day=day, last_day=last_days.get(root))
            lots[root].append(OpenLot(lot_id, root, source, remaining, expires, would))
    return Preview(rules, lots, last_days)


def _last_days(account_id: int, persona_ids: list[int], rules: Rules) -> dict[int, date]:
    with connection.cursor() as cursor:
        cursor.execute(
            """SELECT st.persona_id, max(s.sold_at) FROM loyalty_salestate st
               JOIN integrations_sale s ON s.id = st.sale_id AND s.kind = 'sale'
               WHERE st.account_id = %s AND st.persona_id = ANY(%s) GROUP BY 1""",
            [account_id, persona_ids],
        )
        return {persona: at.astimezone(rules.zone).date() for persona, at in cursor.fetchall()}


def rewrite(*, account_id: int, persona_ids: Sequence[int], rules: Rules, now: datetime) -> tuple[int, Decimal]:
    """Give the lots of these personas and of those merged into them the expiry of these rules; entries never change.

    Lots that are used up follow as well: what is given back to them is worth what the programme says now. Returns how
    many lots changed, and the points among them that are due at once. Locks their wallets.
    """
    _lock_wallets(account_id, persona_ids)
    found = preview(account_id=account_id, persona_ids=persona_ids, rules=rules, now=now, used=True)
    ends = [
        (lot.lot_id, lot.would_expire)
        for lots in found.lots.values()
        for lot in lots
        if lot.would_expire != lot.expires_at
    ]
    return ledger.reexpire(account_id=account_id, ends=ends, now=now) if ends else (0, Decimal(0))


def for_posting(*, account_id: int, kind: str, now: datetime) -> datetime | None:
    """When points that are posted now, by hand, import or boost, expire by the account's rules."""
    from . import rules

    current = rules.of(account_id)
    if current is None or not current.expire_days:
        return None
    return expires_at(current, kind=kind, day=now.astimezone(current.zone).date(), last_day=None)


def post_due(account_id: int, persona_ids: Sequence[int], now: datetime) -> int:
    """Post what is due in these wallets. Returns how many lots expired."""
    _lock_wallets(account_id, persona_ids)
    with connection.cursor() as cursor:
        cursor.execute("SELECT loyalty_expire(%s::bigint[], %s)", [list(persona_ids), now])
        return cursor.fetchone()[0]


def due_lots(account_id: int, persona_ids: Sequence[int], now: datetime) -> list[int]:
    """Open lots of these personas whose day is over, and that no sweep has come by yet."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT id FROM loyalty_lot WHERE account_id = %s AND persona_id = ANY(%s) AND open AND expires_at <= %s",
            [account_id, list(persona_ids), now],
        )
        return [row[0] for row in cursor.fetchall()]


def _lock_wallets(account_id: int, persona_ids: Sequence[int]) -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            """SELECT 1 FROM loyalty_wallet WHERE account_id = %s AND persona_id IN (
                   SELECT id FROM loyalty_persona WHERE id = ANY(%s) OR merged_into_id = ANY(%s))
               ORDER BY persona_id FOR UPDATE""",
            [account_id, list(persona_ids), list(persona_ids)],
        )


def upcoming(account_id: int, now: datetime, days: Sequence[int] = (7, 30, 90)) -> list[tuple[int, Decimal, int]]:
    """Points and shoppers that lose some within so many days: (days, points, shoppers)."""
    ends = [now + timedelta(days=count) for count in days]
    with connection.cursor() as cursor:
        cursor.execute(
            """SELECT n.place, coalesce(sum(l.remaining), 0), count(DISTINCT l.persona_id)
               FROM unnest(%(ends)s::timestamptz[]) WITH ORDINALITY n (at, place)
               LEFT JOIN loyalty_lot l ON l.account_id = %(account)s AND l.open AND l.expires_at > %(now)s
                    AND l.expires_at <= n.at
               GROUP BY 1 ORDER BY 1""",
            {"ends": ends, "account": account_id, "now": now},
        )
        return [(days[place - 1], points, people) for place, points, people in cursor.fetchall()]
