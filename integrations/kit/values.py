"""What a vendor's JSON values become: clean text, aware times, exact numbers, cents.

Each function takes the value and the vendor's name for it, and raises `BadRow` with a sentence when it is
garbage.
"""

import unicodedata
from datetime import UTC, date, datetime
from decimal import ROUND_HALF_UP, Decimal, InvalidOperation
from typing import Any

from .errors import BadRow

_ZERO = Decimal(0)
_HUNDRED = Decimal(100)
_ONE = Decimal(1)
_LIMIT = Decimal(10_000_000)  # above ten million a number in a shop's till is a fault, not a sale
_OLDEST = datetime(2000, 1, 1, tzinfo=UTC)


def text(raw: Any, limit: int = 500) -> str:
    """Trimmed text, never None. What PostgreSQL cannot store (NUL, lone surrogates) is removed."""
    if raw is None or raw == "":
        return ""
    if not isinstance(raw, str):
        if isinstance(raw, bool | dict | list):
            return ""
        raw = str(raw)
    if not raw.isascii():
        # Letters and accents apart are the same letters, and nobody searches for them apart.
        raw = unicodedata.normalize("NFC", raw.encode("utf-8", "ignore").decode("utf-8"))
    if "\x00" in raw:
        raw = raw.replace("\x00", "")
    return raw[:limit].strip()


def number(raw: Any, what: str) -> Decimal:
    """An exact number; a blank is 0. Numbers as text are read; words, NaN and absurd sizes are refused."""
    if raw is None or raw == "":
        return _ZERO
    kind = type(raw)
    if kind is int:
        found = Decimal(raw)
    elif kind is Decimal:
        found = raw
    elif kind is float:
        found = Decimal(repr(raw))
    elif kind is str and len(raw) <= 40:
        try:
            found = Decimal(raw.strip())
        except InvalidOperation:
            raise BadRow(f"{what} is not a number.") from None
    else:
        raise BadRow(f"{what} is not a number.")
    if not found.is_finite():
        raise BadRow(f"{what} is not a number.")
    if found > _LIMIT or found < -_LIMIT:
        raise BadRow(f"{what} is beyond ten million.")
    return found


def cents(amount: Decimal) -> int:
    """Whole cents, half away from zero."""
    return int((amount * _HUNDRED).quantize(_ONE, ROUND_HALF_UP))


def moment(raw: Any, what: str) -> datetime:
    """An aware UTC time; a time without a zone is UTC. Raises `BadRow` when it is missing or unreadable."""
    if type(raw) is not str or not raw:
        raise BadRow(f"{what} is missing." if raw in (None, "") else f"{what} is not a time.")
    try:
        found = datetime.fromisoformat(raw)
        if found.tzinfo is None:
            return found.replace(tzinfo=UTC)
        return found.astimezone(UTC)
    except (ValueError, OverflowError):
        raise BadRow(f"{what} is not a time.") from None


def plausible(at: datetime, what: str, latest: datetime) -> datetime:
    """`at`, or `BadRow` when it is before 2000 or after `latest`."""
    if at < _OLDEST:
        raise BadRow(f"{what} is before the year 2000.")
    if at > latest:
        raise BadRow(f"{what} is in the future.")
    return at


def birth_date(raw: Any, today: date) -> date | None:
    """The day a person was born, or None when it is blank, unreadable or no living person's."""
    if type(raw) is not str or len(raw) < 10:
        return None
    try:
        found = date.fromisoformat(raw[:10])
    except ValueError:
        return None
    return found if 0 <= today.year - found.year <= 120 and found <= today else None


def flag(raw: Any) -> bool | None:
    """A truth value however it is written (true, "Yes", "1"), or None when it is blank or another word."""
    if raw is None or isinstance(raw, bool):
        return raw
    word = str(raw).strip().lower()
    if word in ("yes", "true", "1", "y"):
        return True
    if word in ("no", "false", "0", "n", "-"):
        return False
    return None


def listed(raw: Any, what: str) -> list[Any]:
    """A list of objects; a blank is empty."""
    if raw is None:
        return []
    if type(raw) is not list:
        raise BadRow(f"{what} is not a list.")
    for item in raw:
        if type(item) is not dict:
            raise BadRow(f"{what} holds something that is not an object.")
    return raw
