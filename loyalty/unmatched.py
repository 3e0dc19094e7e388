"""Calls with a good key that we could not place: kept 30 days, so that the first real till shows what it asks for.

What tells of people is taken out before anything is written: names and addresses by the name of their field, phones and
e-mails wherever they stand. The shape of the call stays.
"""

import logging
import re
from datetime import datetime, timedelta
from typing import Any

import orjson
from django.db import DatabaseError, connection, transaction

from .models import UnmatchedCall

logger = logging.getLogger("loyalty.api")

KEPT = timedelta(days=30)
MOST_A_DAY = 1000  # of one key
LONGEST_BODY = 8000
DEEPEST = 20
HIDDEN = "…"
_A_GO = 5000

# Fields that tell who somebody is, however they are spelled: compared without case, dashes and underscores.
_PERSONAL = re.compile(
    r"name|phone|mobile|mail|birth|dob|address|street|city|zip|postal|contact|persona|patient|customer|licen|passport"
    r"|note|message|body|text|signature|code|pin|secret|token|password|key|card|iban|account"
)
_PHONE = re.compile(r"\+?\(?\d(?:[\s().-]{0,3}\d){6,}")
_EMAIL = re.compile(r"[^\s\"'/,;<>()]+(?:@|%40)[^\s\"'/,;<>()]+")
_ID = re.compile(r"(?i)\b[0-9a-f]{8}-?(?:[0-9a-f]{4}-?){3}[0-9a-f]{12}\b")
_CONTROL = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]")


def keep(
    *, account_id: int, key_id: int, method: str, path: str, status: int, reason: str, body: bytes, now: datetime
) -> bool:
    """Write the call down without what tells of people; False when the key has had its thousand of the day.

    It never stands in the way of the answer: what goes wrong here is logged.
    """
    values = [
        account_id, key_id, now, method[:10], masked(path)[:500], status, masked(reason)[:300], readable(body),
        key_id, now - timedelta(days=1), MOST_A_DAY - 1,
    ]  # fmt: skip
    try:
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(
                """INSERT INTO loyalty_unmatchedcall (account_id, key_id, at, method, path, status, reason, body)
                   SELECT %s, %s, %s, %s, %s, %s, %s, %s
                   WHERE NOT EXISTS (SELECT FROM loyalty_unmatchedcall WHERE key_id = %s AND at > %s OFFSET %s)""",
                values,
            )
            return bool(cursor.rowcount)
    except DatabaseError:
        logger.exception("A call that matched nothing could not be kept")
        return False


def masked(text: str) -> str:
    """A text without phones, e-mails, contact ids and what no column holds."""
    text = _CONTROL.sub(" ", text)
    return _PHONE.sub(HIDDEN, _ID.sub(HIDDEN, _EMAIL.sub(HIDDEN, text)))


def readable(body: bytes) -> str:
    """A body as it may be kept: JSON with personal values hidden; of anything else its length."""
    if not body.strip():
        return ""
    try:
        said = orjson.loads(body)
    except orjson.JSONDecodeError:
        return f"({len(body)} bytes that are not JSON)"
    return orjson.dumps(_shape(said, 0)).decode()[:LONGEST_BODY]


def _shape(value: Any, depth: int) -> Any:
    if depth > DEEPEST:
        return HIDDEN
    match value:
        case dict():
            return {
                masked(name)[:100]: _hidden(one, depth) if _PERSONAL.search(_plain(name)) else _shape(one, depth + 1)
                for name, one in list(value.items())[:200]
            }
        case list():
            return [_shape(one, depth + 1) for one in value[:20]]
        case str():
            return masked(value)[:200]
        case int() | float() if not isinstance(value, bool) and abs(value) >= 10**6:
            return HIDDEN  # a phone may be sent as a number
    return value


def _hidden(value: Any, depth: int) -> Any:
    """What stands under a personal name: objects and arrays keep their shape, a value does not."""
    match value:
        case dict():
            return (
                {masked(name)[:100]: _hidden(one, depth + 1) for name, one in list(value.items())[:200]}
                if (depth < DEEPEST)
                else HIDDEN
            )
        case list():
            return [_hidden(one, depth + 1) for one in value[:20]] if depth < DEEPEST else HIDDEN
        case None | bool():
            return value
        case str() if not value:
            return value
    return HIDDEN


def _plain(name: str) -> str:
    return re.sub(r"[^a-z]", "", name.lower())


def prune(*, now: datetime) -> int:
    """Calls older than 30 days go."""
    gone = 0
    while True:
        old = UnmatchedCall.unscoped.filter(at__lt=now - KEPT).order_by("at").values("pk")[:_A_GO]
        removed = UnmatchedCall.unscoped.filter(pk__in=old).delete()[0]
        gone += removed
        if removed < _A_GO:
            return gone
