"""What a call with an `Idempotency-Key` answered: kept with its effect, given again to whoever repeats it.

One mechanism for every call that changes something, in the caller's transaction: the key is held by an advisory lock
from the first statement on, the row is written with the last. A call that is killed, or that fails on our side, leaves
neither.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db import OperationalError, connection
from psycopg.errors import LockNotAvailable

from .models import IdempotentCall

KEPT = timedelta(days=30)
LONGEST_KEY = 255
_A_GO = 5000  # rows that one statement of the housekeeping removes


class InFlight(Exception):
    """The same key is with a call that has not answered yet, for two seconds now."""


@dataclass(frozen=True, slots=True)
class Kept:
    """`fingerprint` is of the call that was answered, `body` its JSON."""

    fingerprint: str
    status: int
    body: str


def hold(*, account_id: int, key: str, now: datetime) -> Kept | None:
    """Take the key until the transaction ends. What it answered before, or None. Raises `InFlight`."""
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT fingerprint, status, body FROM loyalty_once(%s, %s, %s)",
                           [account_id, key, now - KEPT])  # fmt: skip
            found = cursor.fetchone()
    except OperationalError as error:
        if isinstance(error.__cause__, LockNotAvailable):
            raise InFlight from error
        raise
    return None if found is None or found[0] is None else Kept(*found)


def keep(*, account_id: int, key: str, kept: Kept, now: datetime) -> None:
    """Write the answer beside its effect. A row that is there is one whose time was over."""
    with connection.cursor() as cursor:
        cursor.execute(
            """INSERT INTO loyalty_idempotentcall (account_id, key, fingerprint, status, body, at)
               VALUES (%s, %s, %s, %s, %s, %s)
               ON CONFLICT (account_id, key) DO UPDATE SET fingerprint = excluded.fingerprint,
                   status = excluded.status, body = excluded.body, at = excluded.at""",
            [account_id, key, kept.fingerprint, kept.status, kept.body, now],
        )


def prune(*, now: datetime) -> int:
    """Answers older than 30 days go, so many at a time that nobody waits."""
    gone = 0
    while True:
        old = IdempotentCall.unscoped.filter(at__lt=now - KEPT).order_by("at").values("pk")[:_A_GO]
        removed = IdempotentCall.unscoped.filter(pk__in=old).delete()[0]
        gone += removed
        if removed < _A_GO:
            return gone
