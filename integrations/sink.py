"""The seam to the floor above: what landed is handed to a sink that somebody installed.

`integrations` never names who listens. The sink's calls run inside the page's transaction, after the rows: a page and
what came of it are saved together.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol


class LandAgain(Exception):
    """The page met another transaction on the way: roll back and land it again."""


@dataclass(frozen=True)
class Batch:
    """Rows of one page, by our own ids. `record` is the neutral record type they came as."""

    account_id: int
    origin_id: int
    record: type
    new: Sequence[int]
    changed: Sequence[int]
    now: datetime


class Sink(Protocol):
    def landed(self, batch: Batch) -> None:
        """Rows have been written. May raise `LandAgain`."""

    def wants_details(
        self, *, origin_id: int, customers: Collection[str], locations: Collection[str], since: datetime | None
    ) -> set[str]:
        """Of these customers (external ids), those whose sales' details are wanted whatever the settings say."""


class _Nobody:
    def landed(self, batch: Batch) -> None:
        return None

    def wants_details(self, *, origin_id, customers, locations, since) -> set[str]:
        return set()


_installed: Sink = _Nobody()


def install(sink: Sink) -> None:
    """Once, at start-up."""
    global _installed
    _installed = sink


def sink() -> Sink:
    return _installed
