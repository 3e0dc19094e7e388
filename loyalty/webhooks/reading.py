"""Events are read from the books afterwards: what happens pays nothing for being told.

Entries, redemptions, changes of redemptions, enrolments and sales are only ever added, so a reader with a cursor finds
them all. Ids are handed out in order and committed in any order; so all above the cursor is read again and again (an
event is there once for its cause), and the cursor moves only to where nothing can come any more: to the last id there
was, once every transaction that ran then has ended. Written in one transaction with the deliveries and the cursor.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db import connection, transaction

from ..models import WebhookCursor, WebhookEndpoint
from . import kinds

BATCH = 1000
ROUNDS = 20  # batches of a source before the others have their turn
SURE_AFTER = timedelta(seconds=2)  # an id is handed out moments before its transaction gets a number
HISTORY = timedelta(days=3)  # a sale that is older when it comes in is history, and not told
MOST_WAITING = 5000
KEPT = timedelta(days=30)
_LOCK = 0x77686B73  # of the cursors: one reader at a time, and nobody begins to be told beside it
_A_GO = 5000

_PERSON = "p.erased_at IS NULL AND NOT p.is_test"


@dataclass(frozen=True, slots=True)
class Source:
    """A table and the events that its rows are. `sql` gives id, account, kind, key, persona, at, payload."""

    table: str
    kinds: tuple[str, ...]
    sql: str


SOURCES = {
    "entry": Source(
        "loyalty_entry",
        (kinds.POINTS,),
        f"""SELECT x.id, x.account_id, '{kinds.POINTS}' AS kind, 'entry:' || x.id AS key, x.persona_id, x.at,
               jsonb_strip_nulls(jsonb_build_object(
                   'entryID', x.id, 'contactID', p.contact_id, 'points', trim_scale(x.points),
                   'balance', trim_scale(x.balance_after), 'why', x.kind, 'redemptionID', r.public_id,
                   'saleID', s.external_id, 'platform', o.platform)) AS payload
            FROM loyalty_entry x JOIN loyalty_persona p ON p.id = x.persona_id AND {_PERSON}
            LEFT JOIN loyalty_redemption r ON r.id = x.redemption_id
            LEFT JOIN integrations_sale s ON s.id = x.sale_id LEFT JOIN integrations_origin o ON o.id = s.origin_id
            WHERE x.id > %(upto)s""",
    ),
    "redemption": Source(
        "loyalty_redemption",
        (kinds.REDEEMED,),
        f"""SELECT x.id, x.account_id, '{kinds.REDEEMED}' AS kind, 'redemption:' || x.id AS key, x.persona_id,
               x.applied_at AS at, jsonb_strip_nulls(jsonb_build_object(
                   'redemptionID', x.public_id, 'contactID', p.contact_id, 'discountID', d.number::text,
                   'posDiscountID', nullif(d.pos_discount_id, ''), 'points', trim_scale(x.points),
                   'channel', x.channel, 'transactionID', nullif(x.transaction, ''), 'storeID', t.number)) AS payload
            FROM loyalty_redemption x JOIN loyalty_persona p ON p.id = x.persona_id AND {_PERSON}
            JOIN loyalty_discount d ON d.id = x.discount_id LEFT JOIN stores_store t ON t.id = x.store_id
            WHERE x.id > %(upto)s""",
    ),
    "change": Source(
        "loyalty_redemptionchange",
        (kinds.SETTLED, kinds.REVERTED, kinds.RELEASED),
        f"""SELECT x.id, x.account_id, 'redemption.' || x.state AS kind, 'change:' || x.id AS key, r.persona_id, x.at,
               jsonb_strip_nulls(jsonb_build_object(
                   'redemptionID', r.public_id, 'contactID', p.contact_id, 'discountID', d.number::text,
                   'points', trim_scale(r.points), 'channel', r.channel,
                   'transactionID', nullif(r.transaction, ''), 'storeID', t.number,
                   'saleID', CASE x.state WHEN 'settled' THEN s.external_id END,
                   'why', CASE WHEN x.state = r.state THEN nullif(r.why_ended, '') END)) AS payload
            FROM loyalty_redemptionchange x JOIN loyalty_redemption r ON r.id = x.redemption_id
            JOIN loyalty_persona p ON p.id = r.persona_id AND {_PERSON}
            JOIN loyalty_discount d ON d.id = r.discount_id LEFT JOIN stores_store t ON t.id = r.store_id
            LEFT JOIN integrations_sale s ON s.id = r.sale_id
            WHERE x.id > %(upto)s AND x.state <> 'applied'""",
    ),
    "enrolment": Source(
        "loyalty_enrolment",
        (kinds.ENROLLED,),
        f"""SELECT x.id, x.account_id, '{kinds.ENROLLED}' AS kind, 'enrolment:' || x.id AS key, x.persona_id, x.at,
               jsonb_strip_nulls(jsonb_build_object(
                   'contactID', p.contact_id, 'ground', x.ground, 'earnsFrom', x.from_date,
                   'storeID', t.number)) AS payload
            FROM loyalty_enrolment x JOIN loyalty_persona p ON p.id = x.persona_id AND {_PERSON}
            LEFT JOIN stores_store t ON t.id = x.store_id
            WHERE x.id > %(upto)s""",
    ),
    "sale": Source(
        "integrations_sale",
        (kinds.SALE,),
        f"""SELECT x.id, x.account_id, '{kinds.SALE}' AS kind, 'sale:' || x.id AS key, y.persona_id, x.sold_at AS at,
               jsonb_strip_nulls(jsonb_build_object(
                   'saleID', x.external_id, 'platform', o.platform, 'number', nullif(x.number, ''),
                   'contactID', p.contact_id, 'kind', x.kind, 'total', trim_scale(x.total_cents / 100.0),
                   'tax', trim_scale(x.tax_cents / 100.0), 'discount', trim_scale(x.discount_cents / 100.0),
                   'currency', nullif(x.currency, ''), 'soldAt', floor(extract(epoch FROM x.sold_at))::bigint,
                   'originalSaleID', nullif(x.original_id, ''), 'storeID', t.number)) AS payload
            FROM integrations_sale x JOIN integrations_origin o ON o.id = x.origin_id
            JOIN loyalty_salestate y ON y.sale_id = x.id JOIN loyalty_persona p ON p.id = y.persona_id AND {_PERSON}
            LEFT JOIN stores_storemapping m ON m.location_id = x.location_id
            LEFT JOIN stores_store t ON t.id = m.store_id
            WHERE (x.id > %(upto)s OR x.id = ANY(%(waiting)s)) AND x.erased_at IS NULL AND x.sold_at > %(history)s""",
    ),
}

# Alerts are few and change in place: those of the last two days are looked at each time.
_ALERTS = f"""
SELECT x.id, x.account_id, e.kind, 'alert:' || x.id || ':' || e.kind AS key, NULL::bigint AS persona_id, e.at,
       jsonb_build_object('alertID', x.id, 'problem', x.kind, 'title', x.title, 'subject', x.subject,
                          'since', floor(extract(epoch FROM x.since))::bigint) AS payload
FROM accounts_alert x
CROSS JOIN LATERAL (VALUES ('{kinds.SYNC_FAILED}', x.opened_at), ('{kinds.SYNC_RECOVERED}',
                    CASE WHEN x.opened_at IS NOT NULL THEN x.closed_at END)) e (kind, at)
WHERE x.kind IN ('failing_credential', 'stale_stream') AND e.at > %(lately)s
  AND e.at >= (SELECT min(w.created_at) FROM loyalty_webhookendpoint w
               WHERE w.account_id = x.account_id AND w.state <> 'off' AND w.events ? e.kind)
"""

# What is new of a source, each for the endpoints that want it.
_WRITE = """
WITH told AS (
    INSERT INTO loyalty_webhookevent (public_id, account_id, key, kind, payload, persona_id, at, created_at)
    SELECT gen_random_uuid(), n.account_id, n.key, n.kind, n.payload, n.persona_id, n.at, %(now)s FROM ({sql}) n
    WHERE n.account_id = ANY(%(accounts)s)
      AND EXISTS (SELECT FROM loyalty_webhookendpoint w
                  WHERE w.account_id = n.account_id AND w.state <> 'off' AND w.events ? n.kind)
      AND NOT EXISTS (SELECT FROM loyalty_webhookevent b WHERE b.account_id = n.account_id AND b.key = n.key)
    ORDER BY n.id LIMIT %(batch)s
    ON CONFLICT (account_id, key) DO NOTHING
    RETURNING id, account_id, kind, key
), sent AS (
    INSERT INTO loyalty_webhookdelivery
        (account_id, event_id, endpoint_id, state, tries, next_at, token, created_at)
    SELECT told.account_id, told.id, w.id, 'waiting', 0, %(now)s, '', %(now)s
    FROM told JOIN loyalty_webhookendpoint w
      ON w.account_id = told.account_id AND w.state <> 'off' AND w.events ? told.kind
    ORDER BY told.id
)
SELECT key FROM told
"""


def begin() -> None:
    """Whoever makes an endpoint is told from here on. In the transaction that makes it."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s)", [_LOCK])
        _ensure(cursor)


def read(*, now: datetime) -> int:
    """Write what is new as events with their deliveries; how many events. Any number of readers may run."""
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_xact_lock(%s)", [_LOCK])
        if not cursor.fetchone()[0]:
            return 0
        accounts = _wanting()
        if not accounts:
            # Nobody is told: whoever begins, begins at what is new then.
            cursor.execute("DELETE FROM loyalty_webhookcursor")
            return 0
        _ensure(cursor)
        count = sum(_read_source(cursor, name, accounts, now) for name in SOURCES)
        return count + len(_write(cursor, _ALERTS, accounts, now, lately=now - timedelta(days=2)))


def _wanting() -> list[int]:
    endpoints = WebhookEndpoint.unscoped.exclude(state="off")
    return sorted(set(endpoints.values_list("account", flat=True)))


def _ensure(cursor: Any) -> None:
    """Cursors that are not there begin at the end."""
    for name, source in SOURCES.items():
        cursor.execute(
            f"""INSERT INTO loyalty_webhookcursor (source, upto, waiting) SELECT %s, {_last(source.table)}, '[]'
                ON CONFLICT (source) DO NOTHING""",
            [name],
        )


def _last(table: str) -> str:
    """The last id of a table that was handed out, committed or not."""
    return f"coalesce(pg_sequence_last_value(pg_get_serial_sequence('{table}', 'id')::regclass), 0)"


def _read_source(cursor: Any, name: str, accounts: list[int], now: datetime) -> int:
    row = WebhookCursor.objects.get(pk=name)
    source = SOURCES[name]
    sure = _sure(cursor, row)
    count = 0
    for _ in range(ROUNDS):
        told = _write(cursor, source.sql, accounts, now, upto=row.upto, waiting=row.waiting, history=now - HISTORY)
        count += len(told)
        if name == "sale" and row.waiting:
            row.waiting = sorted(set(row.waiting) - {int(key.partition(":")[2]) for key in told})
        if len(told) < BATCH:
            break
    else:
        sure = False  # there is more below
    if sure:
        if name == "sale":
            row.waiting = _still_waiting(cursor, row, accounts, now)
        row.upto, row.mark = max(row.upto, row.mark or 0), None
    if row.mark is None:
        cursor.execute(f"SELECT {_last(source.table)}, pg_snapshot_xmax(pg_current_snapshot())::text::bigint, "
                       "clock_timestamp()")  # fmt: skip
        row.mark, row.mark_xid, row.mark_at = cursor.fetchone()
    row.save()
    return count


def _sure(cursor: Any, row: WebhookCursor) -> bool:
    """Whether all who might still write an id up to the mark have ended."""
    if row.mark is None:
        return False
    cursor.execute(
        """SELECT pg_snapshot_xmin(s)::text::bigint, pg_snapshot_xmax(s)::text::bigint, clock_timestamp()
           FROM pg_current_snapshot() s"""
    )
    oldest, following, clock = cursor.fetchone()
    if following < row.mark_xid:  # the database was restored into a cluster that counts from another number
        row.mark = None
        return False
    return oldest >= row.mark_xid and clock - row.mark_at >= SURE_AFTER


def _write(cursor: Any, sql: str, accounts: list[int], now: datetime, **values: Any) -> list[str]:
    cursor.execute(_WRITE.format(sql=sql), {"accounts": accounts, "now": now, "batch": BATCH, **values})
    return [row[0] for row in cursor.fetchall()]


def _still_waiting(cursor: Any, row: WebhookCursor, accounts: list[int], now: datetime) -> list[int]:
    """Sales up to the mark that name a shopper who is not known yet: told when he is, within three days."""
    cursor.execute(
        """SELECT x.id FROM integrations_sale x LEFT JOIN loyalty_salestate y ON y.sale_id = x.id
           WHERE (x.id > %(upto)s AND x.id <= %(mark)s OR x.id = ANY(%(waiting)s)) AND x.account_id = ANY(%(accounts)s)
             AND x.customer_id <> '' AND x.sold_at > %(history)s AND x.erased_at IS NULL AND y.persona_id IS NULL
           ORDER BY x.id DESC LIMIT %(most)s""",
        {"upto": row.upto, "mark": row.mark, "waiting": row.waiting, "accounts": accounts, "history": now - HISTORY,
         "most": MOST_WAITING},
    )  # fmt: skip
    return sorted(one[0] for one in cursor.fetchall())


def scrub(*, now: datetime) -> int:
    """Take removed people out of what was read beside their removal; the removal itself takes out the rest."""
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(
            """SELECT DISTINCT p.id FROM loyalty_webhookevent e JOIN loyalty_persona p ON p.id = e.persona_id
               WHERE e.persona_id IS NOT NULL AND p.erased_at IS NOT NULL"""
        )
        rows = [row[0] for row in cursor.fetchall()]
        if rows:
            for statement in FORGET:
                cursor.execute(statement, {"rows": rows, "now": now})
    return len(rows)


# For `erasure`: nobody is told any more, nothing kept says who it was. A receiver may have answered with what he knows.
FORGET = (
    """UPDATE loyalty_webhookdelivery d SET state = 'dropped', token = '', done_at = %(now)s
       FROM loyalty_webhookevent e WHERE e.id = d.event_id AND e.persona_id = ANY(%(rows)s)
         AND d.state IN ('waiting', 'sending', 'failed')""",
    """UPDATE loyalty_webhookattempt a SET response = '' FROM loyalty_webhookdelivery d, loyalty_webhookevent e
       WHERE d.id = a.delivery_id AND e.id = d.event_id AND e.persona_id = ANY(%(rows)s) AND a.response <> ''""",
    "UPDATE loyalty_webhookevent SET persona_id = NULL, payload = '{}' WHERE persona_id = ANY(%(rows)s)",
)


def prune(*, now: datetime) -> int:
    """Events older than 30 days go with their deliveries and tries; so do changes that were read long ago."""
    gone = 0
    with connection.cursor() as cursor:
        for statement in _OLD:
            while True:
                cursor.execute(statement, {"before": now - KEPT, "most": _A_GO})
                gone += cursor.rowcount
                if cursor.rowcount < _A_GO:
                    break
    return gone


def _by_event(table: str, path: str) -> str:
    return f"""DELETE FROM {table} WHERE id IN (SELECT x.id FROM {path}
               WHERE e.created_at < %(before)s LIMIT %(most)s)"""


_OLD: Iterable[str] = (
    _by_event("loyalty_webhookattempt", "loyalty_webhookevent e JOIN loyalty_webhookdelivery d ON d.event_id = e.id"
              " JOIN loyalty_webhookattempt x ON x.delivery_id = d.id"),
    _by_event("loyalty_webhookdelivery", "loyalty_webhookevent e JOIN loyalty_webhookdelivery x ON x.event_id = e.id"),
    "DELETE FROM loyalty_webhookevent WHERE id IN (SELECT id FROM loyalty_webhookevent WHERE created_at < %(before)s"
    " LIMIT %(most)s)",
    "DELETE FROM loyalty_redemptionchange WHERE id IN (SELECT id FROM loyalty_redemptionchange"
    " WHERE at < %(before)s LIMIT %(most)s)",
)  # fmt: skip
