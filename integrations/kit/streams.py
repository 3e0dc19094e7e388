"""A stream: six declared attributes and one pure function. No loop, no HTTP, no database in the vendor folder.

The walk over pages is the stream's `pages` object (`kit/pages.py`): it yields `Page`s, each with the cursor that is
right once the page has been saved. Whoever pulls saves page and cursor in one transaction.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, Protocol

if TYPE_CHECKING:
    from .client import Client


@dataclass(frozen=True)
class Context:
    """What a pull may know besides the cursor. `now` is the moment this pull began, on our clock."""

    now: datetime
    identity: str  # the vendor's company
    locations: tuple[str, ...] = ()  # external ids to read, for streams that go by location
    settings: Mapping[str, Any] = field(default_factory=dict)
    history_days: int = 365
    region: str = "US"  # for phone numbers without a country code
    currency: str = ""
    markets: tuple[str, ...] = ()  # ISO 3166-2; empty: all
    singles: "Singles | None" = None  # for streams that ask for one record at a time; None: nothing is to be asked
    words: "Words | None" = None  # what is here of the vendor's goods and words, also of those it lists no longer


class Words(Protocol):
    """What a vendor's ids were called when we last heard of them. What a pull may read of our rows, in its own thread
    only."""

    def terms(self, kind: str) -> dict[str, str]:
        """Id -> name, of `TermRecord.kind`."""
        ...

    def goods(self) -> dict[str, tuple[str, str, int | None]]:
        """Id -> (sku, category, cost in cents)."""
        ...


class Singles(Protocol):
    """Who is to be asked about, one call each: (record, location) by external ids. What a pull may read of our rows."""

    def round_due(self, began: str) -> bool:
        """Whether all are to be asked again, when the last round began at `began` (ISO, "" for never)."""
        ...

    def total(self) -> int: ...

    def after(self, last: str, limit: int) -> list[tuple[str, str]]:
        """The next ones of a round, in the order of their ids."""
        ...

    def urgent(self, mark: int, limit: int) -> tuple[list[tuple[str, str]], int]:
        """Those with something new behind `mark`, and the mark behind them."""
        ...


class Page(NamedTuple):
    rows: list[Any]  # vendor rows, undecided whether good or bad
    cursor: dict[str, Any]  # valid once this page is saved
    done: int  # how far this pull is, in the units of `total`
    total: int | None  # None: unknown
    note: str = ""  # what is being read, for the progress line


class Pages(Protocol):
    def walk(
        self, client: "Client", stream: type["Stream"], context: Context, cursor: dict[str, Any]
    ) -> Iterator[Page]: ...


class Stream:
    """Base of all streams. Subclass, declare, and write `parse`."""

    name: ClassVar[str]
    title: ClassVar[str]
    record: ClassVar[type]
    path: ClassVar[str]  # format string: {identity}, {location}
    pages: ClassVar[Pages]
    interval_s: ClassVar[int] = 20  # shortest time between two pulls; grows with the number of locations
    per_location: ClassVar[bool] = False
    history: ClassVar[bool] = False  # its first pull reads the past, which takes a while
    service: ClassVar[str] = ""  # what a refusal is about, in the client's words; "": the path's first part
    if_empty: ClassVar[str] = ""  # what to check in the POS when it was read to the end and never brought a row
    on_demand: ClassVar[bool] = False  # read only while something asks for it (`integrations/balances.py`)
    own_permission: ClassVar[bool] = False  # the vendor grants it apart: without it the other streams go on
    after: ClassVar[tuple[str, ...]] = ()  # streams whose first pull must be done before this one starts

    @staticmethod
    def row_id(row: Any) -> str:
        """The vendor's id of a row as text, or "" when it has none."""
        found = row.get("Id") if isinstance(row, dict) else None
        return str(found) if found is not None else ""

    @staticmethod
    def belongs(row: Any, location: str, low: str, high: str) -> bool:
        """Whether a row can be an answer for this location and range (`2026-03-02T23:35:00Z`). True when in doubt."""
        return True

    @staticmethod
    def parse(row: Any, context: Context) -> Any:
        """Vendor row in, neutral record out; `BadRow` if it cannot be."""
        raise NotImplementedError

    # What a page needs before it is parsed. Walkers that read in lanes call these there: HTTP, and nothing else.

    @classmethod
    def prepare(cls, client: "Client", context: Context) -> Any:
        """What `complete` needs to know besides. Called once a pull, in the thread that pulls."""
        return None

    @classmethod
    def complete(cls, client: "Client", context: Context, rows: list[Any], about: Any) -> list[Any]:
        """The rows as `parse` takes them: nested lists made whole, a row split where it holds several records."""
        return rows

    @classmethod
    def missed(cls, client: "Client", context: Context, since: datetime, about: Any) -> list[Any]:
        """Rows that changed since then without their time of change telling, completed."""
        return []

    # Details: a second call for single rows. A stream without them leaves these alone.

    @classmethod
    def tells_details(cls) -> bool:
        """Whether there are any, whichever way the stream declares its `fetch_details` (class or static method)."""
        own = getattr(cls.fetch_details, "__func__", cls.fetch_details)
        return own is not Stream.fetch_details.__func__  # type: ignore[attr-defined]

    @classmethod
    def details_reason(cls, record: Any, context: Context) -> str:
        """Why this record's details are needed, or ""."""
        return ""

    @classmethod
    def fetch_details(cls, client: "Client", record: Any, context: Context) -> Any:
        """The record completed by the vendor's details. May raise what the client raises, or `BadRow`."""
        return record
