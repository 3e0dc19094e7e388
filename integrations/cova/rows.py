"""What every row of Cova's is checked for first."""

from typing import Any

from ..kit.errors import BadRow
from ..kit.values import text


def obj(row: Any) -> dict[str, Any]:
    if type(row) is not dict:
        raise BadRow("The row is not an object.")
    return row


def row_id(row: dict[str, Any]) -> str:
    found = row.get("Id")
    if type(found) is str:
        # GUIDs come in lower case, but nothing promises it
        found = text(found, 100).lower()
    elif type(found) is int:
        found = str(found)
    else:
        found = ""
    if not found:
        raise BadRow("The row has no Id.")
    return found


def reference(raw: Any) -> str:
    """The id of another record, "" when there is none."""
    found = text(raw, 100).lower()
    return "" if found in ("0", "00000000-0000-0000-0000-000000000000") else found
