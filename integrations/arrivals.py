"""Records that arrive, from wherever: landed, refused rows kept, earlier refusals solved, the sink told.

Pulled pages, pushed calls and uploaded files all come through here, so that they mean the same.
"""

import hashlib
import json
import math
import time
from collections.abc import Callable, Collection, Sequence
from datetime import datetime
from typing import Any

import psycopg
from django.db import DataError, OperationalError, transaction
from psycopg.errors import DeadlockDetected, SerializationFailure

from . import landing
from .kit.errors import TryLater
from .kit.records import CustomerRecord
from .sink import Batch, LandAgain, sink

# A value that no column holds. COPY raises psycopg's own errors, statements raise Django's.
UNFIT = (DataError, psycopg.DataError, UnicodeError)
TRIES = 4
OUT_OF_BOUNDS = "A number or a text in this row is out of bounds."

Refusal = tuple[str, str, str, str]  # key, external id, reason, the redacted row as JSON text

LONGEST_ROW = 20_000
DEEPEST = 20


def refusal(row: Any, reason: str, *, external_id: str, redact: Collection[str]) -> Refusal:
    """A row that cannot be taken over, as it is kept. Without an id of its own a hash of what is kept is its key."""
    text = json.dumps(redacted(row, redact), default=str, ensure_ascii=False)
    if len(text) > LONGEST_ROW:
        text = json.dumps({"cut": text[:LONGEST_ROW]}, ensure_ascii=False)
    external_id = _storable(external_id)
    return external_id or hashlib.sha256(text.encode()).hexdigest(), external_id, _storable(reason)[:1000], text


def redacted(value: Any, redact: Collection[str]) -> Any:
    """A row without what the card redacts (names, in any case), and without what no JSON column holds.

    That is looked for in the values, never in JSON text: there `\\u0000` may be a backslash and the text "u0000".
    """
    return _without(value, frozenset(name.lower() for name in redact), 0)


def _without(value: Any, names: frozenset[str], depth: int) -> Any:
    if depth > DEEPEST:
        return "…"
    match value:
        case str():
            return _storable(value)
        case dict():
            return {
                _storable(str(k)): "…" if str(k).lower() in names else _without(v, names, depth + 1)
                for k, v in value.items()
            }
        case list() | tuple():
            return [_without(one, names, depth + 1) for one in value]
        case float() if not math.isfinite(value):
            return str(value)
    return value


def _storable(text: str) -> str:
    """Without NULs and lone halves of surrogate pairs: PostgreSQL has no place for either."""
    return text.replace("\x00", "").encode("utf-8", "replace").decode()


def arrive(
    *,
    account_id: int,
    origin_id: int,
    stream: str,
    record: type,
    records: Sequence[Any],
    refused: Sequence[Refusal],
    now: datetime,
    region: str = "",
    bad: Collection[str] = (),
    seconds: dict[str, float] | None = None,
    first: Callable[[], None] | None = None,
    shaped: bool = True,
) -> landing.Landed:
    """One batch, in the caller's transaction. May raise `LandAgain`.

    `bad`: external ids whose earlier refusals this batch does not solve. `seconds` collects what land and points took.
    `first` is called when the rows are in the tables and before anybody is told of them. `shaped` False: a customer
    whom we created in the POS comes in whatever the market says.
    """
    # Pages of one origin land one after the other: a sale and its customer, landed at the same moment, would each
    # not see the other, and nobody would join them.
    landing.lock_origin(origin_id)
    started = time.monotonic()
    more = {} if shaped or record is not CustomerRecord else {"shaped": False}
    landed = landing.LAND[record](account_id=account_id, origin_id=origin_id, records=records, **more)
    if refused:
        landing.refuse(account_id=account_id, origin_id=origin_id, stream=stream, rows=refused, now=now, region=region)
    if good := [r.external_id for r in records if r.external_id not in bad]:
        landing.solve(origin_id=origin_id, stream=stream, now=now, external_ids=good)
    if first:
        first()
    middle = time.monotonic()
    if landed.people:  # who they are comes before what they bought
        sink().landed(Batch(account_id, origin_id, CustomerRecord, [], landed.people, now))
    if landed.touched:
        sink().landed(Batch(account_id, origin_id, record, landed.new, landed.changed, now))
    if seconds is not None:
        seconds["land"] = round(seconds.get("land", 0.0) + middle - started, 3)
        seconds["points"] = round(seconds.get("points", 0.0) + time.monotonic() - middle, 3)
    return landed


def in_one_go(work):
    """Run `work` in a transaction, again when two waited for each other or people were merged meanwhile."""
    from .services import lock_origins  # it stands above this module

    of_account: int | None = None
    for attempt in range(TRIES):
        try:
            with transaction.atomic():
                if of_account is not None:
                    lock_origins(account_id=of_account)
                return work()
        except LandAgain as again:
            of_account = again.account_id or of_account
            if attempt == TRIES - 1:
                raise TryLater("Too many others were writing at the same moment.", after_s=5) from again
        except (OperationalError, DeadlockDetected, SerializationFailure) as error:
            if attempt == TRIES - 1 or not isinstance(
                error.__cause__ or error, (DeadlockDetected, SerializationFailure)
            ):
                raise
    raise AssertionError("unreachable")
