"""What every row of Clover's is checked for first, and the two shapes that come again and again."""

from datetime import UTC, datetime
from typing import Any

from ..kit.errors import BadRow
from ..kit.values import text


def obj(row: Any) -> dict[str, Any]:
    if type(row) is not dict:
        raise BadRow("The row is not an object.")
    return row


def row_id(row: dict[str, Any]) -> str:
    found = text(row.get("id"), 40)
    if not found:
        raise BadRow("The row has no id.")
    return found


def reference(raw: Any) -> str:
    """The id of `{"id": ...}`, "" when there is none."""
    return text(raw.get("id"), 40) if type(raw) is dict else ""


def elements(raw: Any, what: str) -> list[dict[str, Any]]:
    """The objects of a nested list. One that was not expanded is absent or a bare link, and empty."""
    if raw is None:
        return []
    found = raw.get("elements") if type(raw) is dict else raw
    if found is None:
        return []
    if type(found) is not list or any(type(one) is not dict for one in found):
        raise BadRow(f"{what} is not a list of objects.")
    return found


def moment(raw: Any, what: str) -> datetime:
    """Clover's times are Unix milliseconds, UTC, of whole seconds (reference 2.4)."""
    if type(raw) is not int:
        raise BadRow(f"{what} is missing." if raw is None else f"{what} is not a time.")
    try:
        return datetime.fromtimestamp(raw // 1000, UTC)
    except (OverflowError, OSError, ValueError):
        raise BadRow(f"{what} is not a time.") from None


def money(raw: Any, what: str) -> int:
    """Cents, a blank is 0 (reference 2.4)."""
    if raw is None:
        return 0
    if type(raw) is not int or abs(raw) > 1_000_000_000:
        raise BadRow(f"{what} is no amount in cents, or one beyond ten million.")
    return raw
