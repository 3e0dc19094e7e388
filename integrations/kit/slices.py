"""The walker for lists with a time of change, read by closed slices of it: what is new first, then the past.

For vendors that cut long ranges silently and answer one list for a whole company. Within a slice the next page begins
at the time of the last row, never at an offset that edits could move: a row edited meanwhile leaves its slice and is
met by the reading of what is new.
"""

import copy
import threading
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, NamedTuple

from .client import ServerFault, TooLarge
from .errors import UnexpectedAnswer
from .lanes import merged
from .pages import asked_for, began_at, fingerprint
from .streams import Context, Page, Stream

if TYPE_CHECKING:
    from .client import Client

_HOUR = timedelta(hours=1)
_DAY = timedelta(days=1)
_TAIL = 5
Pairs = list[tuple[str, Any]]


def ms(at: datetime) -> int:
    """Unix milliseconds, whole seconds."""
    return int(at.timestamp()) * 1000


def at_ms(value: int) -> datetime:
    return datetime.fromtimestamp(value / 1000, UTC)


@dataclass
class Part:
    """One slice: from `at` up to `high` is still to be read. `skip` rows at that time were read already."""

    low: int
    high: int
    at: int
    skip: int = 0
    tail: list[str] = field(default_factory=list)  # of a list that does not come sorted
    unsorted: bool = False
    again: bool = False  # the page did not fit and is asked for once more


class Step(NamedTuple):
    """What one call brought: the rows, ready for parsing, and where the slice stands after them."""

    number: int
    rows: list[Any]
    part: Part
    over: bool


class ChangedSlices:
    """Cursor: `newest` (everything up to here was read), `todo` (slices of the past, newest first), `floor` (the past
    is read down to here), `hour`, `night` and `gone` (last sweeps), `recent` while a reading of what is new is under
    way (`parts` still to be read, `at` and `began` when it began by our clock and by theirs).

    Each reading of what is new goes `overlap` back, for the vendor's times are whole seconds; once a day the last
    `nightly` days are read again, once an hour the stream is asked for rows whose change did not show
    (`Stream.missed`). The past is read by `lanes` readers at once. `deleted` names the field by which removed rows
    can be asked for.
    """

    def __init__(
        self,
        field: str = "modifiedTime",
        *,
        params: Pairs,
        top: int = 100,
        deleted: str = "",
        days: int = 14,
        lanes: int = 5,
        overlap: timedelta = timedelta(minutes=2),
        nightly: timedelta = timedelta(days=8),
        fresh: timedelta = timedelta(seconds=60),
    ) -> None:
        self.field = field
        self.params = params
        self.top = top
        self.deleted = deleted
        self.days = days
        self.lanes = lanes
        self.overlap = overlap
        self.nightly = nightly
        self.fresh = fresh

    def walk(self, client: "Client", stream: type[Stream], context: Context, cursor: dict[str, Any]) -> Iterator[Page]:
        state = copy.deepcopy(cursor)
        now = context.now
        floor = ms((now - context.history_days * _DAY).replace(hour=0, minute=0, second=0, microsecond=0))
        if "newest" not in state:
            edge = max(floor, ms(now - _DAY))
            state.update(newest=edge, floor=edge, todo=[], hour=ms(now), night=ms(now), gone=ms(now - _HOUR))
        if floor < state["floor"]:
            state["todo"] += self._cut(floor, state["floor"])
            state["floor"] = floor
        about = stream.prepare(client, context)
        yield from self._recent(client, stream, context, state, about)
        yield from self._past(client, stream, context, state, about)

    def _cut(self, low: int, high: int) -> list[dict[str, Any]]:
        """Slices from `high` down to `low`, newest first."""
        width = self.days * 86_400_000
        edges = [*range(high, low, -width), low]
        return [vars(Part(b, a, b)) for a, b in zip(edges, edges[1:], strict=False) if a > b]

    # What is new

    def _recent(
        self, client: "Client", stream: type[Stream], context: Context, state: dict[str, Any], about: Any
    ) -> Iterator[Page]:
        if "recent" not in state and not self._plan(context, state):
            return
        recent = state["recent"]
        # A reading may take several runs (a busy day, customers asked for singly): it goes on where it was, or each
        # run would begin where the one before did.
        while True:
            name, kept = recent["parts"][0]
            for step in self._read(client, stream, context, about, Part(**kept), 0, name):
                recent["began"] = recent["began"] or ms(began_at(client, context))
                if step.over:
                    break
                recent["parts"][0] = [name, vars(step.part)]
                yield self._page(context, state, step.rows)
            rows = step.rows
            if name == self.field:
                # what changed after this moment belongs to the next reading, whichever clock is behind
                state["newest"] = max(state["newest"], min(recent["began"], recent["at"]))
            else:
                state["gone"] = recent["at"]
            recent["parts"].pop(0)
            if not recent["parts"]:
                break
            yield self._page(context, state, rows)
        del state["recent"]
        now = ms(context.now)
        if now - state["hour"] >= ms_of(_HOUR):
            rows = [*rows, *stream.missed(client, context, at_ms(state["hour"]) - _DAY, about)]
            state["hour"] = now
        yield self._page(context, state, rows)

    def _plan(self, context: Context, state: dict[str, Any]) -> bool:
        """Begin a reading of what is new: what of it is to be read, in `recent`. False: it is too early for one."""
        now = ms(context.now)
        if state["todo"] and now - state["newest"] < self.fresh.total_seconds() * 1000:
            return False  # slices of a run follow each other closely: the past gets its turn
        low = state["newest"] - ms_of(self.overlap)
        if now - state["night"] >= ms_of(_DAY):
            state["todo"] = self._cut(state["night"] + ms_of(_DAY - self.nightly), low) + state["todo"]
            state["night"] = now
        if now - low > ms_of(2 * _DAY):
            # after a long freeze: today first, then what lies between
            state["todo"] = self._cut(low, now - ms_of(_DAY)) + state["todo"]
            low = now - ms_of(_DAY)
        fields = {self.field: low}
        if self.deleted and now - state["gone"] >= 60_000:
            fields[self.deleted] = min(low, state["gone"] - ms_of(self.overlap))
        high = now + ms_of(self.overlap)
        parts = [[name, vars(Part(start, high, start))] for name, start in fields.items()]
        state["recent"] = {"at": now, "began": 0, "parts": parts}
        return True

    # The past

    def _past(
        self, client: "Client", stream: type[Stream], context: Context, state: dict[str, Any], about: Any
    ) -> Iterator[Page]:
        if not state["todo"]:
            return
        parts = [Part(**kept) for kept in state["todo"]]
        waiting = deque(enumerate(copy.deepcopy(parts)))
        lock = threading.Lock()

        def reader() -> Iterator[Step]:
            while True:
                with lock:
                    if not waiting:
                        return
                    number, part = waiting.popleft()
                yield from self._read(client, stream, context, about, part, number, self.field)

        left: dict[int, Part] = dict(enumerate(parts))
        readers = [reader() for _ in range(min(self.lanes, len(parts)))]
        for step in merged(readers, keep=client.keep, waiting=self.lanes):
            if step.over:
                del left[step.number]
            else:
                left[step.number] = step.part
            state["todo"] = [vars(part) for part in left.values()]
            yield self._page(context, state, step.rows, step.part)

    # Reading a slice

    def _read(
        self, client: "Client", stream: type[Stream], context: Context, about: Any, part: Part, number: int, name: str
    ) -> Iterator[Step]:
        """The rest of a slice, a call a step; it ends with the step that is `over`. `part` is changed on the way."""
        path = stream.path.format(identity=context.identity)
        top = self.top
        for _ in range(20_000):
            asked: Pairs = [
                ("filter", f"{name}>={part.at}"), ("filter", f"{name}<={part.high}"), *self.params,
                ("orderBy", f"{name} ASC"), ("limit", top), ("offset", part.skip),
            ]  # fmt: skip
            try:
                rows = asked_for(client, path, asked, stream)
            except (ServerFault, TooLarge):
                if top <= 20:
                    raise
                top = 20
                continue
            if not self._fits(rows, part, name, stream):
                if part.again:
                    raise UnexpectedAnswer(
                        f"{stream.title}: the same page came twice, or one of other days, so nothing of it is taken."
                    )
                part.again = True  # once may be a hiccup on the way: the same question again
                continue
            part.again = False
            over = len(rows) < top
            if not self._advance(part, rows, name, stream):
                continue
            yield Step(number, stream.complete(client, context, rows, about), copy.deepcopy(part), over)
            if over:
                return
        raise UnexpectedAnswer(f"{stream.title}: the list of some days does not end, so it cannot be read.")

    def _times(self, rows: list[Any], name: str) -> list[int]:
        return [row[name] for row in rows if isinstance(row, dict) and type(row.get(name)) is int]

    def _fits(self, rows: list[Any], part: Part, name: str, stream: type[Stream]) -> bool:
        """Whether this can be the answer: of these days, and another page than the one before."""
        times = self._times(rows, name)
        if times and not any(part.at <= time <= part.high for time in times):
            return False
        return not (rows and part.skip and not part.unsorted and part.tail == [fingerprint(rows, stream)])

    def _advance(self, part: Part, rows: list[Any], name: str, stream: type[Stream]) -> bool:
        """Move `part` behind this page. False: the rows it stood at were not found, it begins again."""
        times = self._times(rows, name)
        if not part.unsorted and any(a > b for a, b in zip(times, times[1:], strict=False)):
            if part.at != part.low or part.skip:
                # Sorted so far and now not: from the front, by offset.
                part.at, part.skip = part.low, 0
                part.unsorted, part.tail = True, []
                return False
            part.unsorted = True
        ids = [found for row in rows if (found := stream.row_id(row))]
        if part.unsorted:
            if part.tail and not set(part.tail).intersection(ids):
                part.skip, part.tail = 0, []  # rows have left the slice: the place is lost
                return False
            part.skip += max(1, len(rows) - _TAIL)
            part.tail = ids[-_TAIL:]
        elif times and times[-1] > part.at:
            part.at, part.skip, part.tail = times[-1], 0, []
        else:  # a page of one second
            part.skip += len(rows)
            part.tail = [fingerprint(rows, stream)]
        return True

    def _page(self, context: Context, state: dict[str, Any], rows: list[Any], part: Part | None = None) -> Page:
        days = max(1, (context.now - at_ms(state["floor"])).days)
        left = sum(kept["high"] - kept["at"] for kept in state["todo"]) // 86_400_000
        day = at_ms(part.at) if part else context.now
        return Page(rows, copy.deepcopy(state), max(0, days - left), days, f"{day.day} {day:%b %Y}")


def ms_of(span: timedelta) -> int:
    return int(span.total_seconds() * 1000)
