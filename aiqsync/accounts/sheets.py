"""Tables as CSV: in pieces, and with nothing in them that a spreadsheet would run."""

import csv
import re
from collections.abc import Iterable, Iterator
from typing import Any


class _Echo:
    def write(self, text: str) -> str:
        return text


def lines(head: Iterable[str], rows: Iterable[Iterable[Any]]) -> Iterator[str]:
    """The table, line by line as the rows come."""
    out = csv.writer(_Echo())
    yield out.writerow(head)
    for row in rows:
        yield out.writerow([plain(value) for value in row])


_PHONE = re.compile(r"\+[1-9]\d{7,14}")  # E.164, as addresses are kept


def plain(value: Any) -> Any:
    """A text that begins like a formula is written as text: spreadsheets would run it. A phone keeps its plus."""
    if not isinstance(value, str) or _PHONE.fullmatch(value):
        return value
    return f"'{value}" if value[:1] in ("=", "+", "-", "@", "\t", "\r", "\n") else value
