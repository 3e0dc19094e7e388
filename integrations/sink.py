"""The seam to the floor above: what landed is handed to a sink that somebody installed.

`integrations` never names who listens. The sink's calls run inside the caller's transaction: a page and what came of
it, a setting and what it starts, a sent write and what it means are saved together.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import date, datetime
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


@dataclass(frozen=True)
class ProgrammeFacts:
    """What the programme says that a card's settings must go together with."""

    engine: str = ""  # "fifo", "legacy"; "" is no programme
    accrual_start: date | None = None
    on: bool = False


class Sink(Protocol):
    def landed(self, batch: Batch) -> None:
        """Rows have been written. May raise `LandAgain`."""

    def wants_details(
        self, *, origin_id: int, customers: Collection[str], locations: Collection[str], since: datetime | None
    ) -> set[str]:
        """Of these customers (external ids), those whose sales' details are wanted whatever the settings say."""

    def programme(self, *, account_id: int) -> ProgrammeFacts:
        """What settings are judged with."""

    def preview(self, *, change_id: int, now: datetime) -> None:
        """A setting that acts on people is to be counted (a `SettingChange` in state counting)."""

    def apply(self, *, change_id: int, now: datetime) -> None:
        """A counted change was confirmed (state applying): begin."""

    def stop(self, *, change_id: int, now: datetime) -> None:
        """Halt the counting or the applying of a change; what was done stays."""

    def resume(self, *, change_id: int, now: datetime) -> None:
        """Go on where it stopped."""

    def dropped(self, *, connection_id: int, setting: str, now: datetime) -> None:
        """A setting that acts on people was turned off or cleared; that holds already."""

    def wanted_in_pos(self, *, write_id: int) -> bool:
        """Asked just before an outbound write goes out: is it still to be made?"""

    def delivered(self, *, write_id: int, customer_id: int, now: datetime) -> None:
        """An outbound write is in the POS as this customer of ours (just landed)."""

    def erase_origin(self, *, origin_id: int, take_back: bool, now: datetime) -> None:
        """An origin's rows are about to be erased: take back what came of them, or keep the balances."""


class _Nobody:
    def landed(self, batch: Batch) -> None:
        return None

    def wants_details(self, *, origin_id, customers, locations, since) -> set[str]:
        return set()

    def programme(self, *, account_id) -> ProgrammeFacts:
        return ProgrammeFacts()

    def preview(self, *, change_id, now) -> None:
        return None

    apply = stop = resume = preview

    def dropped(self, *, connection_id, setting, now) -> None:
        return None

    def wanted_in_pos(self, *, write_id) -> bool:
        return True

    def delivered(self, *, write_id, customer_id, now) -> None:
        return None

    def erase_origin(self, *, origin_id, take_back, now) -> None:
        return None


_installed: Sink = _Nobody()


def install(sink: Sink) -> None:
    """Once, at start-up."""
    global _installed
    _installed = sink


def sink() -> Sink:
    return _installed
