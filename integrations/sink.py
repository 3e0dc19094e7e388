"""The seam to the floor above: what landed is handed to a sink that somebody installed.

`integrations` never names who listens. The sink's calls run inside the caller's transaction: a page and what came of
it, a setting and what it starts, a sent write and what it means are saved together.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, Protocol

from aiqsync.accounts.models import User


class LandAgain(Exception):
    """The page met another transaction on the way: roll back and land it again.

    `account_id`: it needs all origins of the account. The next try waits for them before it begins, so that two pages
    that need each other's do not turn each other away for ever.
    """

    def __init__(self, *said: object, account_id: int | None = None) -> None:
        super().__init__(*said)
        self.account_id = account_id


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


@dataclass(frozen=True)
class Wanted:
    """What is to become of an outbound write that is about to go out: one of these."""

    payload: Mapping[str, Any] | None = None  # written, with this
    found: str = ""  # there already, as this record (external id); with `payload`, what it lacks of that may be added
    held: str = ""  # not now, and why; asked again in a day, or when somebody says so
    unneeded: str = ""  # never any more, and why


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

    def wanted_in_pos(self, *, write_id: int, now: datetime) -> Wanted:
        """Asked just before an outbound write goes out: what is to be written, if it is still to be."""

    def delivered(self, *, write_id: int, customer_id: int, now: datetime) -> None:
        """What an outbound write created has been landed as this customer; whose it is has not been decided yet."""

    def count_contacts(
        self, *, account_id: int, origin_id: int, contacts: Sequence[Any], so_far: dict[str, Any], now: datetime
    ) -> dict[str, Any]:
        """What taking these rows of a contact export over would do, added to the figures so far. Nothing is written."""

    def take_contacts(
        self,
        *,
        account_id: int,
        origin_id: int,
        contacts: Sequence[Any],
        so_far: dict[str, Any],
        user_id: int | None,
        earn_from: date | None,
        now: datetime,
    ) -> dict[str, Any]:
        """Take them over: the customers have landed. Figures so far and of these. May raise `LandAgain`."""

    def erase_origin(self, *, origin_id: int, take_back: bool, user: User | None, now: datetime) -> None:
        """An origin is marked for erasing: do it in the background, by `services.erase_people`, `erase_sales` and
        `erase_rest`; take back what came of its rows, or keep the balances. May raise `Refused`.
        """


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

    def wanted_in_pos(self, *, write_id, now) -> Wanted:
        return Wanted(unneeded="Nobody knows what to write.")

    def delivered(self, *, write_id, customer_id, now) -> None:
        return None

    def count_contacts(self, *, account_id, origin_id, contacts, so_far, now) -> dict[str, Any]:
        return so_far

    def take_contacts(self, *, account_id, origin_id, contacts, so_far, user_id, earn_from, now) -> dict[str, Any]:
        return so_far

    def erase_origin(self, *, origin_id, take_back, user, now) -> None:
        return None


_installed: Sink = _Nobody()


def install(sink: Sink) -> None:
    """Once, at start-up."""
    global _installed
    _installed = sink


def sink() -> Sink:
    return _installed
