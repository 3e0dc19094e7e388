"""Closed months: figures that do not move afterwards, because entries are dated when they are posted.

Late sales, edits and merges are posted in the month they are noticed in; a trigger refuses an entry dated into a month
that is closed. A store's share is by the mapping of the day of closing and is kept as it was.
"""

from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from zoneinfo import ZoneInfo

from django.db import connection, transaction

from aiqsync.accounts.models import Account

from .models import MonthClose
from .testers import NOT_TEST, not_test

RIPE_AFTER = timedelta(hours=2)  # every transaction of the month has ended by then
BY_ITSELF_AFTER = timedelta(days=1)


class NotYet(Exception):
    """The month cannot be closed now; the message says why."""


@dataclass(frozen=True, slots=True)
class Month:
    first: date
    starts_at: datetime
    ends_at: datetime


def month_of(day: date, zone: ZoneInfo) -> Month:
    """The month of a day, cut in the account's time zone."""
    first = day.replace(day=1)
    following = (first + timedelta(days=32)).replace(day=1)
    return Month(first, datetime.combine(first, time.min, zone), datetime.combine(following, time.min, zone))


def next_month(*, account_id: int) -> Month | None:
    """The month that is closed next: after the last closed one, else that of the first entry. None: no entry yet."""
    zone = ZoneInfo(Account.objects.values_list("timezone", flat=True).get(pk=account_id))
    last = MonthClose.unscoped.filter(account_id=account_id).order_by("-month").values_list("month", flat=True).first()
    if last is not None:
        return month_of(last + timedelta(days=32), zone)
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT at FROM loyalty_entry WHERE account_id = %s ORDER BY account_id, at LIMIT 1", [account_id]
        )
        row = cursor.fetchone()
    return month_of(row[0].astimezone(zone).date(), zone) if row else None


# The store of a figure: of the sale, else of the redemption; what was given by hand belongs to none.
_FIGURES = f"""
INSERT INTO loyalty_monthfigure (account_id, close_id, store_id, kind, points, entries)
SELECT %(account)s, %(close)s, coalesce(m.store_id, r.store_id), e.kind, sum(e.points), count(*)
FROM loyalty_entry e
LEFT JOIN integrations_sale s ON s.id = e.sale_id
LEFT JOIN stores_storemapping m ON m.location_id = s.location_id
LEFT JOIN loyalty_redemption r ON r.id = e.redemption_id
WHERE e.account_id = %(account)s AND e.at >= %(starts)s AND e.at < %(ends)s AND {not_test("e.persona_id")}
GROUP BY 3, 4
"""
_TOTALS = f"""
INSERT INTO loyalty_monthfigure (account_id, close_id, store_id, kind, points, entries)
SELECT %(account)s, %(close)s, NULL, kind, points, entries FROM (
    SELECT 'opening' AS kind, coalesce(sum(points), 0) AS points, count(*) AS entries
    FROM loyalty_entry WHERE account_id = %(account)s AND at < %(starts)s AND {NOT_TEST}
    UNION ALL
    SELECT 'closing', coalesce(sum(points), 0), count(*)
    FROM loyalty_entry WHERE account_id = %(account)s AND at < %(ends)s AND {NOT_TEST}
) t
"""
# Points that moved in a merge belong to the store that gave them at first: a moved lot is traced to where it began.
FIRST_LOTS = """
WITH RECURSIVE up AS (
    SELECT id, from_lot_id AS above FROM loyalty_lot WHERE account_id = %(account)s AND from_lot_id IS NOT NULL
    UNION ALL
    SELECT up.id, l.from_lot_id FROM up JOIN loyalty_lot l ON l.id = up.above WHERE l.from_lot_id IS NOT NULL
), first_lot AS (
    SELECT up.id, l.entry_id FROM up JOIN loyalty_lot l ON l.id = up.above WHERE l.from_lot_id IS NULL
)
"""
# What was outstanding at the end, by the store that gave it: what is left of each lot now, less what moved since.
# Little has moved when a month is closed; adding up what moved before would read every draw there ever was.
_OUTSTANDING = (
    FIRST_LOTS
    + f""", since AS (
    SELECT d.lot_id, sum(d.points) AS points FROM loyalty_entry x JOIN loyalty_draw d ON d.entry_id = x.id
    WHERE x.account_id = %(account)s AND x.at >= %(ends)s GROUP BY d.lot_id
)
INSERT INTO loyalty_monthfigure (account_id, close_id, store_id, kind, points, entries)
SELECT %(account)s, %(close)s, store_id, 'owed', sum(left_), count(*) FROM (
    SELECT m.store_id, l.remaining - coalesce(since.points, 0) AS left_
    FROM loyalty_lot l
    LEFT JOIN since ON since.lot_id = l.id
    LEFT JOIN first_lot ON first_lot.id = l.id
    JOIN loyalty_entry e ON e.id = coalesce(first_lot.entry_id, l.entry_id)
    LEFT JOIN integrations_sale s ON s.id = e.sale_id
    LEFT JOIN stores_storemapping m ON m.location_id = s.location_id
    WHERE l.account_id = %(account)s AND l.created_at < %(ends)s AND {not_test("l.persona_id")}
) o WHERE left_ > 0 GROUP BY store_id
"""
)


def close(*, account_id: int, now: datetime, user=None) -> MonthClose:
    """Close the next month of the account. Raises NotYet; two at once close it once."""
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SELECT 1 FROM accounts_account WHERE id = %s FOR NO KEY UPDATE", [account_id])
        month = next_month(account_id=account_id)
        if month is None:
            raise NotYet("There are no points yet.")
        if now < month.ends_at + RIPE_AFTER:
            raise NotYet(f"{month.first:%B %Y} can be closed two hours after it has ended.")
        cursor.execute(
            "SELECT max(id) FROM loyalty_entry WHERE account_id = %s AND at < %s", [account_id, month.ends_at]
        )
        last = cursor.fetchone()[0] or 0
        made = MonthClose.unscoped.create(
            account_id=account_id, month=month.first, starts_at=month.starts_at, ends_at=month.ends_at,
            last_entry=last, user=user, closed_at=now,
        )  # fmt: skip
        values = {"account": account_id, "close": made.pk, "starts": month.starts_at, "ends": month.ends_at}
        for statement in (_FIGURES, _TOTALS, _OUTSTANDING):
            cursor.execute(statement, values)
    return made


def close_due(*, now: datetime) -> int:
    """Close, in every account, the months that ended a day ago or more. Returns how many."""
    made = 0
    for account_id in Account.objects.order_by("pk").values_list("pk", flat=True):
        while (month := next_month(account_id=account_id)) and now >= month.ends_at + BY_ITSELF_AFTER:
            close(account_id=account_id, now=now)
            made += 1
    return made


@dataclass(frozen=True, slots=True)
class Closed:
    """A closed month as the report shows it. `kinds` is the month's movement by kind of entry."""

    close: MonthClose
    opening: Decimal
    closing: Decimal
    kinds: dict[str, Decimal]
    stores: list[tuple[str, dict[str, Decimal]]]

    @property
    def given(self) -> Decimal:
        """What neither sales nor redemptions nor expiry moved."""
        return sum(
            (self.kinds.get(kind, Decimal(0)) for kind in ("adjust", "boost", "import", "mirror", "merge")), Decimal(0)
        )


def closed(*, account_id: int, months: int = 24) -> list[Closed]:
    """The latest closed months, newest first, in two statements."""
    found = list(MonthClose.unscoped.filter(account_id=account_id).select_related("user").order_by("-month")[:months])
    with connection.cursor() as cursor:
        cursor.execute(
            """SELECT f.close_id, coalesce(s.name, ''), f.kind, f.points FROM loyalty_monthfigure f
               LEFT JOIN stores_store s ON s.id = f.store_id
               WHERE f.account_id = %s AND f.close_id = ANY(%s) ORDER BY s.name""",
            [account_id, [one.pk for one in found]],
        )
        rows = cursor.fetchall()
    by_close: dict[int, dict[str, dict[str, Decimal]]] = {}
    for close_id, store, kind, points in rows:
        by_close.setdefault(close_id, {}).setdefault(store, {})[kind] = points
    return [_closed(one, by_close.get(one.pk, {})) for one in found]


def _closed(one: MonthClose, stores: dict[str, dict[str, Decimal]]) -> Closed:
    kinds: dict[str, Decimal] = {}
    for figures in stores.values():
        for kind, points in figures.items():
            kinds[kind] = kinds.get(kind, Decimal(0)) + points
    opening, closing = kinds.pop("opening", Decimal(0)), kinds.pop("closing", Decimal(0))
    parts = {
        name: {kind: points for kind, points in figures.items() if kind not in ("opening", "closing")}
        for name, figures in stores.items()
    }
    return Closed(one, opening, closing, kinds, sorted(parts.items(), key=lambda part: (not part[0], part[0])))


_NOT_TEST_OF_CLOSE = not_test("persona_id", "c.account_id")
RULES = (
    (
        "close-stands",
        "the figures of a closed month are those of its entries",
        f"""SELECT c.account_id, format('%s, %s: closed with %s, entries say %s', to_char(c.month, 'YYYY-MM'), x.kind,
                                       x.closed, x.found) AS what
           FROM loyalty_monthclose c
           CROSS JOIN LATERAL (
               SELECT coalesce(f.kind, e.kind) AS kind, coalesce(f.points, 0) AS closed, coalesce(e.points, 0) AS found
               FROM (SELECT kind, sum(points) AS points FROM loyalty_monthfigure
                     WHERE close_id = c.id AND kind NOT IN ('opening', 'closing', 'owed') GROUP BY kind) f
               FULL JOIN (SELECT kind, sum(points) AS points FROM loyalty_entry
                          WHERE account_id = c.account_id AND at >= c.starts_at AND at < c.ends_at
                            AND {_NOT_TEST_OF_CLOSE} GROUP BY kind) e
               ON e.kind = f.kind
           ) x
           WHERE x.closed <> x.found""",
    ),
    (
        "close-adds-up",
        "a closed month ends with what it began with and its movement, and with what is owed",
        """SELECT account_id,
                  format('%s: opening %s and movement %s, closing %s, owed %s', month, opening, moved,
                         closing, owed) AS what
           FROM (SELECT c.account_id, to_char(c.month, 'YYYY-MM') AS month,
                        coalesce(sum(f.points) FILTER (WHERE f.kind = 'opening'), 0) AS opening,
                        coalesce(sum(f.points) FILTER (WHERE f.kind NOT IN ('opening', 'closing', 'owed')), 0) AS moved,
                        coalesce(sum(f.points) FILTER (WHERE f.kind = 'closing'), 0) AS closing,
                        coalesce(sum(f.points) FILTER (WHERE f.kind = 'owed'), 0) AS owed
                 FROM loyalty_monthclose c LEFT JOIN loyalty_monthfigure f ON f.close_id = c.id
                 GROUP BY c.id) t
           WHERE opening + moved <> closing OR closing <> owed""",
    ),
)
