"""The walker for feeds that are asked by location and a range of time, such as a POS's sales reports."""

import copy
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from .client import ServerFault, TooLarge
from .errors import NotFound, UnexpectedAnswer, VendorError
from .pages import began_at, fingerprint, iso, rows_in, size_of
from .streams import Context, Page, Stream

if TYPE_CHECKING:
    from .client import Client

_DAY = timedelta(days=1)
_HOUR = timedelta(hours=1)


def _at(text: str) -> datetime:
    return datetime.strptime(text, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)


@dataclass
class _Walking:
    """One walk: what does not change while it lasts."""

    client: "Client"
    stream: type[Stream]
    context: Context
    cursor: dict[str, Any]


class DateWindows:
    """New sales first, then the past, newest day first, the locations by turns.

    Cursor, by location: `newest` (everything up to here was read), `oldest` and `floor` (the past is read
    from `oldest` down to `floor`), `done` (it is), `days` (present width of a window of the past), `hour` and
    `night` (last sweeps), `gap` ([from, to] still to be read again between the past and now), `at` (position
    inside a window, by kind).

    Late rows: each reading goes `overlap` back, once an hour `hourly`, once a day `nightly`, for a till that
    was off line sends its sales late. A window that the vendor cannot serve (5xx, time-out, too large) is
    asked again as one day. A location that fails does not stop the others: its error is raised at the end.
    """

    def __init__(
        self,
        param: str = "DateRange",
        field: str = "Date",
        *,
        top: int = 500,
        widest_days: int = 7,
        few: int = 200,
        many: int = 1000,
        overlap: timedelta = timedelta(minutes=10),
        hourly: timedelta = timedelta(hours=26),
        nightly: timedelta = timedelta(days=8),
        fresh: timedelta = timedelta(seconds=60),
        max_pages: int = 2000,
    ) -> None:
        self.param = param
        self.field = field
        self.top = top
        self.widest_days = widest_days
        self.few = few
        self.many = many
        self.overlap = overlap
        self.hourly = hourly
        self.nightly = nightly
        self.fresh = fresh
        self.max_pages = max_pages

    def walk(self, client: "Client", stream: type[Stream], context: Context, cursor: dict[str, Any]) -> Iterator[Page]:
        walk = _Walking(client, stream, context, copy.deepcopy(cursor))
        failed: dict[str, VendorError] = {}
        for location in context.locations:
            self._open(walk, location)
        reading_past = any(self._unread(walk, location) for location in context.locations)
        # least recently read first, so that a walk that is cut short every time still gets round
        for location in sorted(context.locations, key=lambda x: walk.cursor[x]["newest"]):
            yield from self._guarded(failed, location, self._recent(walk, location, reading_past))
        while waiting := [x for x in context.locations if x not in failed and self._unread(walk, x)]:
            # the one that has come least far into the past is next: they advance together, also across pulls
            location = max(waiting, key=lambda x: self._front(walk.cursor[x]))
            yield from self._guarded(failed, location, self._past(walk, location))
        if failed:
            raise next(iter(failed.values()))

    def _guarded(self, failed: dict[str, VendorError], location: str, pages: Iterator[Page]) -> Iterator[Page]:
        try:
            yield from pages
        except (ServerFault, UnexpectedAnswer, NotFound) as error:
            if failed:
                raise  # two of them: it is not the location
            if isinstance(error, NotFound):
                error = UnexpectedAnswer(f"Location {location} is not known there any more.", detail=error.detail)
            failed[location] = error

    # What is to be read

    def _open(self, walk: _Walking, location: str) -> None:
        """A location that is new, or whose history shall now go further back."""
        now = walk.context.now
        # whole days, so that a time cut to the minute does not fall below
        floor = (now - walk.context.history_days * _DAY).replace(hour=0, minute=0, second=0, microsecond=0)
        state = walk.cursor.setdefault(location, {})
        if "newest" not in state:
            edge = max(floor, now - _DAY)
            state.update(newest=iso(edge), oldest=iso(edge), floor=iso(floor), done=edge <= floor, days=1)
            state.update(hour=iso(now), night=iso(now), at={})
        elif floor < _at(state["floor"]) - _DAY:
            state.update(floor=iso(floor), done=False)

    def _unread(self, walk: _Walking, location: str) -> bool:
        state = walk.cursor[location]
        return not state["done"] or bool(state.get("gap"))

    def _front(self, state: dict[str, Any]) -> str:
        return state["gap"][1] if state.get("gap") else state["oldest"]

    def _recent(self, walk: _Walking, location: str, reading_past: bool) -> Iterator[Page]:
        """From a little before what was read last until now."""
        state, now = walk.cursor[location], walk.context.now
        if "recent" in state["at"]:
            yield from self._window(walk, location, "recent")
        newest = _at(state["newest"])
        if reading_past and now - newest < self.fresh:
            return  # slices follow each other closely: the past gets its turn
        low = newest - self.overlap
        # The sweeps reach back from the one before, so that a pause between them hides nothing.
        hour, night = _at(state["hour"]), _at(state["night"])
        if now - hour >= _HOUR:
            state["hour"] = iso(now)
            low = min(low, hour + _HOUR - self.hourly)
        if now - night >= _DAY:
            state["night"] = iso(now)
            self._add_gap(state, night + _DAY - self.nightly, low)
        if now - low > max(self.hourly, _DAY) + 2 * _HOUR:
            # after a long freeze: today first, then what lies between
            self._add_gap(state, low, now - _DAY)
            low = now - _DAY
        # to a little after now: the vendor's clock may be ahead of ours
        state["at"]["recent"] = {
            "low": iso(low),
            "high": iso(now + self.overlap),
            "skip": 0,
            "mark": "",
            "rows": 0,
        }
        yield from self._window(walk, location, "recent")

    def _add_gap(self, state: dict[str, Any], low: datetime, high: datetime) -> None:
        if low >= high:
            return
        old = state.get("gap") or [iso(low), iso(high)]
        state["gap"] = [min(old[0], iso(low)), max(old[1], iso(high))]
        state["at"].pop("gap", None)
        state.pop("last", None)  # the same days are read again

    def _past(self, walk: _Walking, location: str) -> Iterator[Page]:
        """One window of the gap, or else of the history."""
        state = walk.cursor[location]
        kind = "gap" if state.get("gap") else "history"
        if kind not in state["at"]:
            if kind == "gap":
                bottom, high = (_at(x) for x in state["gap"])
            else:
                bottom, high = _at(state["floor"]), _at(state["oldest"])
            low = max(bottom, high - state["days"] * _DAY)
            state["at"][kind] = {"low": iso(low), "high": iso(high), "skip": 0, "mark": "", "rows": 0}
        yield from self._window(walk, location, kind)

    # Reading it

    def _window(self, walk: _Walking, location: str, kind: str) -> Iterator[Page]:
        """The rest of the window at `at[kind]`, page by page."""
        state = walk.cursor[location]
        for _ in range(self.max_pages):
            at = state["at"][kind]
            try:
                rows = self._fetch(walk, location, at)
            except (ServerFault, TooLarge):
                if not self._narrow(state, kind):
                    raise
                continue
            mark = fingerprint(rows, walk.stream)
            if self._is_repetition(state, kind, at, rows, mark):
                if at.get("again"):
                    raise UnexpectedAnswer(
                        f"{walk.stream.title}, location {location}: the same page came again, "
                        "so the list cannot be read to its end."
                    )
                at["again"] = True  # once may be a hiccup on the way: the same question again
                continue
            at.pop("again", None)
            size = size_of(rows, walk.stream, self.top)
            at["rows"] += size
            if kind != "recent":
                state["last"] = [kind, mark]
            if size == self.top:
                at["skip"] += size
                at["mark"] = mark
                yield self._page(walk, location, rows, at)
                continue
            # shorter: the last page; longer: the vendor does not page and sent everything
            del state["at"][kind]
            self._finish(walk, state, kind, at)
            yield self._page(walk, location, rows, at)
            return
        raise UnexpectedAnswer(
            f"{walk.stream.title}, location {location}: the list of some days does not end, so it cannot be read."
        )

    def _is_repetition(self, state: dict[str, Any], kind: str, at: dict[str, Any], rows: list[Any], mark: str) -> bool:
        """The same rows as the page before, in this window or in the one before it."""
        if not rows:
            return False
        if at["skip"]:
            return mark == at["mark"]
        # A few rows may lie in the very minute that two windows share; recent windows overlap on purpose.
        shared = at.get("again") and len(rows) <= 5
        return kind != "recent" and [kind, mark] == state.get("last") and not shared

    def _fetch(self, walk: _Walking, location: str, at: dict[str, Any]) -> list[Any]:
        path = walk.stream.path.format(identity=walk.context.identity, location=location)
        span = f"{self.field} ge datetime'{at['low']}' and {self.field} le datetime'{at['high']}'"
        answer = walk.client.get_json(path, {self.param: span, "$top": self.top, "$skip": at["skip"]})
        if "began" not in at:
            # what was sold after this moment belongs to the next reading, whichever clock is behind
            at["began"] = iso(began_at(walk.client, walk.context))
        rows = rows_in(answer, walk.stream.title)
        if rows and not any(walk.stream.belongs(row, location, at["low"], at["high"]) for row in rows):
            raise UnexpectedAnswer(
                f"{walk.stream.title}, location {location}: the answer is of other days or places, "
                "so nothing of it is taken."
            )
        return rows

    def _narrow(self, state: dict[str, Any], kind: str) -> bool:
        """Ask for the newest day of the window only. False when it is no wider than that."""
        at = state["at"][kind]
        low, high = _at(at["low"]), _at(at["high"])
        if kind == "recent" or high - low <= _DAY:
            return False
        state["days"] = 1
        at.update(low=iso(high - _DAY), skip=0, mark="", rows=0)
        return True

    def _finish(self, walk: _Walking, state: dict[str, Any], kind: str, at: dict[str, Any]) -> None:
        if kind == "recent":
            state["newest"] = max(state["newest"], min(at["began"], at["high"]))
            return
        if kind == "gap":
            bottom = state["gap"][0]
            state["gap"] = [bottom, at["low"]] if at["low"] > bottom else None
        else:
            state["oldest"] = min(state["oldest"], at["low"])
            state["done"] = state["oldest"] <= state["floor"]
        if at["rows"] > self.many:
            state["days"] = 1
        elif state["days"] == 1 and at["rows"] < self.few and _at(at["high"]) - _at(at["low"]) >= _DAY:
            state["days"] = self.widest_days

    def _page(self, walk: _Walking, location: str, rows: list[Any], at: dict[str, Any]) -> Page:
        read = whole = 0
        for known in walk.context.locations:
            state = walk.cursor[known]
            days = max(0, (walk.context.now - _at(state["floor"])).days)
            whole += days
            read += days if state["done"] else max(0, days - (_at(state["oldest"]) - _at(state["floor"])).days)
        # the middle of nowhere is of no use to the reader: the day being read is its newest
        day = min(_at(at["high"]), walk.context.now)
        note = f"location {location}, {day.day} {day:%b %Y}"
        return Page(rows, copy.deepcopy(walk.cursor), read, whole, note)
