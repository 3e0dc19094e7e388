"""Seals: a digest over each account's entries, chained to the one before, made off the write path.

A trigger keeps entries as they were written; a seal shows it when somebody went around the trigger. Notes are not
covered: an erasure may take them out.
"""

from datetime import datetime, timedelta

from django.db import connection, transaction

OLDER_THAN = timedelta(hours=1)  # a transaction that is still open may yet commit an entry with a smaller id
ENTRIES_A_SEAL = 20_000

# One line an entry. `epoch` is exact to the microsecond and the same text on every server.
_LINE = """concat_ws('|', e.id, e.persona_id, e.kind, e.points, e.balance_after, e.key, e.sale_id, e.redemption_id,
                     e.merge_id, e.user_id, extract(epoch FROM e.cause_at), extract(epoch FROM e.at), e.explanation)"""
_DIGEST = f"encode(sha256(convert_to(%s || coalesce(string_agg({_LINE}, E'\\n' ORDER BY e.id), ''), 'UTF8')), 'hex')"

_LAST = """
SELECT number, last_entry, digest FROM loyalty_seal WHERE account_id = %(account)s ORDER BY number DESC LIMIT 1
"""
# Up to the entry before the first young one; at most ENTRIES_A_SEAL of them.
_RANGE = """
SELECT max(id) FROM (
    SELECT id FROM loyalty_entry
    WHERE account_id = %(account)s AND id > %(after)s AND id < coalesce(
        (SELECT min(id) FROM loyalty_entry WHERE account_id = %(account)s AND at >= %(cutoff)s), 9223372036854775807)
    ORDER BY id LIMIT %(size)s
) e
"""
_SEAL = f"""
INSERT INTO loyalty_seal (account_id, number, first_entry, last_entry, entries, points, digest, at)
SELECT %(account)s, %(number)s, %(first)s, %(last)s, count(*), coalesce(sum(points), 0),
       {_DIGEST.replace("%s", "%(previous)s")}, %(now)s
FROM loyalty_entry e WHERE account_id = %(account)s AND id BETWEEN %(first)s AND %(last)s
"""


def seal_due(*, now: datetime) -> int:
    """Seal what is older than an hour, in every account. Returns how many seals were made. Safe to run at once."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT id FROM accounts_account ORDER BY id")
        accounts = [row[0] for row in cursor.fetchall()]
    return sum(seal(account_id=account_id, now=now) for account_id in accounts)


def seal(*, account_id: int, now: datetime) -> int:
    """Seal one account's entries that are older than an hour."""
    made = 0
    while True:
        with transaction.atomic(), connection.cursor() as cursor:
            # One sealer an account; entries refer to personas, not to this row, so no till waits.
            cursor.execute("SELECT 1 FROM accounts_account WHERE id = %s FOR NO KEY UPDATE", [account_id])
            cursor.execute(_LAST, {"account": account_id})
            number, after, previous = cursor.fetchone() or (0, 0, "")
            wanted = {"account": account_id, "after": after, "cutoff": now - OLDER_THAN, "size": ENTRIES_A_SEAL}
            cursor.execute(_RANGE, wanted)
            last = cursor.fetchone()[0]
            if last is None:
                return made
            values = {"number": number + 1, "first": after + 1, "last": last, "previous": previous, "now": now}
            cursor.execute(_SEAL, values | {"account": account_id})
            made += 1


# For `audits`: (name, promise, query of violations). Ranges follow each other without a gap, so an entry written into
# one, taken out of it or changed shows as its seal.
RULES = (
    (
        "seal-holds",
        "sealed entries are as they were sealed",
        f"""SELECT s.account_id, format('seal %s: entries %s to %s touched (sealed %s of %s points, found %s of %s)',
                                        s.number, s.first_entry, s.last_entry, s.entries, s.points,
                                        f.entries, f.points) AS what
            FROM (SELECT *, coalesce(lag(digest) OVER (PARTITION BY account_id ORDER BY number), '') AS previous
                  FROM loyalty_seal) s
            CROSS JOIN LATERAL (
                SELECT count(*) AS entries, coalesce(sum(points), 0) AS points,
                       {_DIGEST.replace("%s", "s.previous")} AS digest
                FROM loyalty_entry e WHERE e.account_id = s.account_id AND e.id BETWEEN s.first_entry AND s.last_entry
            ) f
            WHERE f.digest <> s.digest""",
    ),
    (
        "seal-chain",
        "seals are numbered and follow each other without a gap",
        """SELECT account_id, format('seal %s begins at %s after %s', number, first_entry, before) AS what
           FROM (SELECT account_id, number, first_entry,
                        row_number() OVER chain AS place,
                        coalesce(lag(last_entry) OVER chain, 0) AS before
                 FROM loyalty_seal WINDOW chain AS (PARTITION BY account_id ORDER BY number)) s
           WHERE first_entry <> before + 1 OR number <> place""",
    ),
)
