"""Walkers over a vendor's pages: the whole list, what changed since. By windows of time: `windows.py`.

All promise the same: every row comes at least once, whatever is edited meanwhile and wherever the pull is
killed. A walk started with the cursor of any page it yielded goes on behind that page.
"""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, urlsplit

from .errors import BadRow, UnexpectedAnswer
from .streams import Context, Page, Stream
from .values import moment

if TYPE_CHECKING:
    from .client import Client

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def rows_in(answer: Any, title: str) -> list[Any]:
    """The rows of a bare array, of `elements`, or of HAL (`_embedded.self`, left out when there are none)."""
    if isinstance(answer, dict) and "elements" in answer:
        answer = answer["elements"]
    elif isinstance(answer, dict):
        embedded = answer.get("_embedded")
        answer = embedded.get("self", []) if isinstance(embedded, dict) else None
    if not isinstance(answer, list):
        raise UnexpectedAnswer(f"{title}: the answer is not a list, so nothing of it is taken.")
    return answer


def asked_for(client: "Client", path: str, asked: Sequence[tuple[str, Any]], stream: type[Stream]) -> list[Any]:
    """The rows of a list that repeats what it was asked in its `href`, each row once.

    An answer that belongs to another question is asked for once more; what is then repeated wrongly is believed,
    for how exactly a vendor repeats is no promise of his.
    """
    for last in (False, True):
        answer = client.get_json(path, asked, service=stream.service)
        if last or _repeats(answer, dict(asked)):
            break
    return distinct(rows_in(answer, stream.title), stream)


def _repeats(answer: Any, asked: Mapping[str, Any]) -> bool:
    href = answer.get("href") if isinstance(answer, dict) else None
    told = dict(parse_qsl(urlsplit(href).query)) if isinstance(href, str) else {}
    return all(told.get(name, str(asked[name])) == str(asked[name]) for name in ("limit", "offset"))


def distinct(rows: list[Any], stream: type[Stream]) -> list[Any]:
    """Without the repetitions of a row, the first of each. Those without an id stay."""
    found = {stream.row_id(row) or f"#{place}": row for place, row in reversed(list(enumerate(rows)))}
    return rows if len(found) == len(rows) else list(found.values())[::-1]


def fingerprint(rows: list[Any], stream: type[Stream]) -> str:
    """Equal for a page that came twice. Rows count by id and version, garbled ones by their text."""
    seen = hashlib.blake2b(digest_size=8)
    for row in rows:
        found = stream.row_id(row)
        mark = f"{found}|{row.get('Version')}" if found else repr(row)[:2000]
        seen.update(mark.encode("utf-8", "replace") + b"\n")
    return seen.hexdigest()


def size_of(rows: list[Any], stream: type[Stream], top: int) -> int:
    """How far a page reaches. One with more rows than were asked for is counted without its repetitions."""
    if len(rows) <= top:
        return len(rows)
    return len({stream.row_id(row) or repr(row)[:2000] for row in rows})


def iso(at: datetime) -> str:
    """`2026-03-02T23:35:00Z`, whole seconds, as filters and cursors have it."""
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def began_at(client: "Client", context: Context) -> datetime:
    """When this pull began, by the vendor's clock if it was seen, and never later than by ours."""
    theirs = getattr(client, "server_time", None)
    return min(theirs, context.now) if theirs else context.now


class FullList:
    """One call, all rows. Cursor: `{"at"}`."""

    def walk(self, client: "Client", stream: type[Stream], context: Context, cursor: dict[str, Any]) -> Iterator[Page]:
        answer = client.get_json(stream.path.format(identity=context.identity))
        yield Page(rows_in(answer, stream.title), {"at": iso(context.now)}, 1, 1)


@dataclass
class _Walk:
    """Where a pull is. Kept in the cursor while the pull is under way."""

    start: str  # the pull's first filter time
    low: str  # the present one
    began: str
    skip: int = 0
    tail: list[str] = field(default_factory=list)  # the last rows, to be found again by the next page
    first: str = ""  # time of the last page's first row
    steps: int = 0  # how often a row was newer than the one before, in pages without a counterexample
    ordered: bool = True  # no counterexample so far
    high: str = ""  # newest time seen
    rows: int = 0  # distinct rows so far, for progress and for the proof at the end
    pages: int = 0
    back: int = 0  # pages to step back while the tail cannot be found
    lost: int = 0  # times the tail could not be found
    proving: bool = False
    theirs: bool = False  # `began` is by the vendor's clock
    mark: str = ""  # fingerprint of the last page
    repeated: bool = False


class ChangedSince:
    """Rows changed at or after a time, by offset. Cursor: `{"since", "began"}`, plus `walk` during a pull.

    Offsets move while people edit. So each page begins with the last rows of the page before it; when they
    are not there, the walk steps back until they are. A feed that proves to be ascending by `field`
    (`evidence` rising steps and no counterexample) is walked by time instead of by offset, which no edit can
    disturb and which large lists are quicker at; a counterexample, or rows left over at the end, and it
    starts again by offset.

    The final cursor is the newest time the vendor named, never later than the moment the pull began; without
    rows it stays. The next pull goes `overlap` further back, less by what has gone by since.
    """

    def __init__(
        self,
        field: str = "LastModifiedDateUtc",
        *,
        top: int = 100,
        overlap: timedelta = timedelta(minutes=2),
        evidence: int = 12,
        max_pages: int = 50_000,
        max_lost: int = 20,
    ) -> None:
        self.field = field
        self.top = top
        self.overlap = overlap
        self.evidence = evidence
        self.max_pages = max_pages
        self.max_lost = max_lost
        self.reread = max(1, top // 20)

    def walk(self, client: "Client", stream: type[Stream], context: Context, cursor: dict[str, Any]) -> Iterator[Page]:
        kept = cursor.get("walk")
        state = _Walk(**kept) if kept else None
        path = stream.path.format(identity=context.identity)
        while True:
            if state is None:
                start = iso(self._start(cursor))
                state = _Walk(start=start, low=start, began="")
            rows = rows_in(client.get_json(path, self._params(state)), stream.title)
            if not state.began:
                state.began = iso(began_at(client, context))
                state.theirs = getattr(client, "server_time", None) is not None
            done = self._advance(state, rows, stream, cursor)
            if done is not None:
                yield Page(rows, done, state.rows, state.rows)
                return
            if state.pages > self.max_pages:
                raise UnexpectedAnswer(f"{stream.title}: the list does not end after {state.pages} pages.")
            yield Page(rows, {**cursor, "walk": asdict(state)}, state.rows, None)

    def _start(self, cursor: dict[str, Any]) -> datetime:
        if not cursor.get("since"):
            return _EPOCH
        since = moment(cursor["since"], "cursor")
        # what was written before the last pull began, less the overlap, was visible to it
        settled = moment(cursor["began"], "cursor") - self.overlap if cursor.get("began") else since
        return max(since - self.overlap, min(since, settled))

    def _params(self, state: _Walk) -> dict[str, Any]:
        low, skip = (state.start, state.rows) if state.proving else (state.low, state.skip)
        return {"$filter": f"{self.field} ge datetime'{low}'", "$skip": skip, "$top": self.top}

    def _marks(self, rows: list[Any], stream: type[Stream]) -> list[str]:
        """What a row is recognised by: id and time, for an edited row has moved and proves nothing. "" without id."""
        return [f"{found}|{row.get(self.field)}" if (found := stream.row_id(row)) else "" for row in rows]

    def _times(self, rows: list[Any]) -> list[datetime]:
        times = []
        for row in rows:
            try:
                times.append(moment(row.get(self.field), self.field))
            except (BadRow, AttributeError):
                continue  # such a row is delivered like any other and refused by its parse
        return times

    def _advance(
        self, state: _Walk, rows: list[Any], stream: type[Stream], cursor: dict[str, Any]
    ) -> dict[str, Any] | None:
        """Move `state` behind this page. Returns the final cursor when the pull is complete."""
        state.pages += 1
        ids = self._marks(rows, stream)
        times = self._times(rows)
        if times:
            state.high = max(state.high, iso(max(times)))
        if state.proving:
            return self._proved(state, rows, ids, times, cursor)
        mark = fingerprint(rows, stream)
        size = size_of(rows, stream, self.top)
        if mark == state.mark and size >= self.top and not state.back:
            if state.repeated:
                raise UnexpectedAnswer(
                    f"{stream.title}: the same page comes again and again, so the list cannot be read to its end."
                )
            state.repeated = True  # once may be a hiccup on the way: the same question again
            return None
        state.mark, state.repeated = mark, False

        overlap = set(state.tail).intersection(ids) if state.tail else set()
        if state.tail and not overlap and state.skip and state.lost < self.max_lost:
            self._step_back(state)
            return None
        state.back = 0
        self._judge_order(state, times)
        if state.low != state.start and not state.ordered:
            self._restart(state)
            return None
        state.rows += len(set(ids).difference(state.tail)) if state.tail else len(rows)
        if size < self.top:
            if state.low == state.start:
                return self._final(state, cursor)
            state.proving, state.tail = True, ids
            return None
        low = iso(times[-self.reread - 1]) if len(times) > self.reread else state.low
        # within one second the offset goes on: asking from that second again would bring the same page
        if state.ordered and state.steps >= self.evidence and low > max(state.low, iso(times[0])):
            # not the last row's time: one edited row at a page's end must not carry us past all others
            state.low, state.skip, state.tail = low, 0, [i for i in ids if i]
        else:
            state.skip += size - self.reread
            state.tail = [i for i in ids[-self.reread :] if i]
        return None

    def _step_back(self, state: _Walk) -> None:
        """The rows we stood at have moved: look for them further to the front, twice as far each time."""
        state.lost += state.back == 0
        state.mark = ""
        state.back = max(1, state.back * 2)
        state.skip = max(0, state.skip - self.top * state.back)
        if state.skip == 0:
            state.tail, state.back = [], 0

    def _judge_order(self, state: _Walk, times: list[datetime]) -> None:
        rising = all(a <= b for a, b in zip(times, times[1:], strict=False))
        first = iso(times[0]) if times else state.first
        if not rising or first < state.first:
            state.ordered = False
        else:
            state.steps += len({iso(t) for t in times}) - 1 if times else 0
        state.first = first

    def _restart(self, state: _Walk) -> None:
        """Not ordered by time after all: everything again, by offset."""
        state.low, state.skip, state.tail, state.rows, state.proving = state.start, 0, [], 0, False
        state.ordered, state.first, state.mark = False, "", ""

    def _proved(
        self, state: _Walk, rows: list[Any], ids: list[str], times: list[datetime], cursor: dict[str, Any]
    ) -> dict[str, Any] | None:
        """The walk by time has ended: by offset, nothing older than the pull may lie behind as many rows."""
        older = [t for t in times if iso(t) < state.began]
        if older and set(ids).difference(state.tail):
            self._restart(state)
            return None
        return self._final(state, cursor)

    def _final(self, state: _Walk, cursor: dict[str, Any]) -> dict[str, Any]:
        if state.lost >= self.max_lost:
            # the list moved too much to be sure of all rows: the next pull starts where this one did
            return {key: cursor[key] for key in ("since", "began") if key in cursor}
        found = {"since": min(state.high, state.began)} if state.high else {}
        kept = {"since": cursor["since"]} if cursor.get("since") else {}
        clock = {"began": state.began} if state.theirs else {}
        # a feed without rows leaves its time alone, and never does it go back
        return max(found, kept, key=lambda c: c.get("since", "")) | clock
