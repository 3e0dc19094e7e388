"""What paths and queries say: moments, paging, contacts; and how phones and dollars are written."""

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from drf_spectacular.utils import OpenApiParameter, OpenApiTypes
from rest_framework.request import Request

from loyalty import personas

from .authentication import Caller
from .envelope import NotThere, Unreadable

UNKNOWN = "Contact not found"
EARLIEST, LATEST = 0, 4_102_444_800  # 1970 to 2100, in seconds
FARTHEST = 10**9  # rows
_YES, _NO = frozenset({"true", "1", "yes"}), frozenset({"false", "0", "no"})

START = OpenApiParameter("start", {"type": "integer", "minimum": 0, "default": 0}, description="Rows to skip.")
UID = OpenApiParameter("uid", OpenApiTypes.STR, OpenApiParameter.PATH, description="The account's id.")
CID = OpenApiParameter(
    "cid", OpenApiTypes.STR, OpenApiParameter.PATH,
    description="A contact id: ours, with or without dashes, or the one the service before gave.",
)  # fmt: skip
_SECONDS: dict[str, Any] = {"type": "integer", "minimum": EARLIEST, "maximum": LATEST}
TIMES = [
    OpenApiParameter("start", _SECONDS, OpenApiParameter.PATH, description="From, Unix seconds, included."),
    OpenApiParameter("end", _SECONDS, OpenApiParameter.PATH, description="Until, Unix seconds, included."),
]


def limit_parameter(default: int, most: int) -> OpenApiParameter:
    shape = {"type": "integer", "minimum": 1, "default": default}
    return OpenApiParameter("limit", shape, description=f"Rows at most; above {most:,} it is {most:,}.")


def moment(name: str, text: object) -> datetime:
    """Unix seconds, whole or not, as text or number."""
    if isinstance(text, bool) or not isinstance(text, int | float | str) or len(str(text)) > 24:
        raise Unreadable(f"{name}: must be Unix seconds.")
    try:
        seconds = float(text)
    except (ValueError, OverflowError):
        raise Unreadable(f"{name}: must be Unix seconds.") from None
    if not EARLIEST <= seconds <= LATEST:  # neither does "not a number"
        raise Unreadable(f"{name}: must be Unix seconds between 1970 and 2100.")
    return datetime.fromtimestamp(seconds, UTC)


def asked_moment(request: Request, name: str) -> datetime | None:
    text = request.query_params.get(name, "").strip()
    return moment(name, text) if text else None


def flag(request: Request, name: str) -> bool | None:
    """True, False, or None when it is not there."""
    word = request.query_params.get(name, "").strip().lower()
    if not word:
        return None
    if word not in _YES | _NO:
        raise Unreadable(f"{name}: must be true or false.")
    return word in _YES


def paging(request: Request, *, default: int = 100, most: int = 2000) -> tuple[int, int]:
    """`start` and `limit`, brought into their bounds."""
    start = _whole(request, "start", 0)
    limit = _whole(request, "limit", default)
    return min(max(start, 0), FARTHEST), min(max(limit, 1), most)


def _whole(request: Request, name: str, default: int) -> int:
    text = request.query_params.get(name, "").strip()
    if not text:
        return default
    digits = text.removeprefix("-")
    if not (digits.isascii() and digits.isdigit()):
        raise Unreadable(f"{name}: must be a whole number.")
    if text.startswith("-"):
        return -1
    return int(digits) if len(digits) <= 12 else FARTHEST


def contact(caller: Caller, cid: str) -> int:
    """The root of a contact id, in any of its spellings. A phone is none: a call that changes something names one."""
    found = personas.find_id(account_id=caller.account_id, contact=cid.strip()[:100])
    if found is None:
        raise NotThere(UNKNOWN)
    return found


def phone_told(e164: str) -> str:
    """Ten digits, as the vendor's clients expect, for a North American number; else with its country code."""
    return e164[2:] if e164.startswith("+1") and len(e164) == 12 else e164


def dollars(cents: int) -> int | float:
    whole, rest = divmod(cents, 100)
    return cents / 100 if rest else whole


def plain(number: Decimal) -> int | float:
    return int(number) if number == number.to_integral_value() else float(number)
