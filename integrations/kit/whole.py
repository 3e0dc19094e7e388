"""The walker for lists that cannot be asked for what changed: the whole list again, in a bounded rhythm.

A page that is byte for byte what it was on the walk before is not parsed and not landed again, so that a walk without
changes costs its calls and nothing else.
"""

import hashlib
import json
from collections.abc import Iterator
from datetime import timedelta
from typing import TYPE_CHECKING, Any, NamedTuple

from .client import ServerFault, TooLarge
from .errors import UnexpectedAnswer
from .lanes import merged
from .pages import asked_for
from .slices import Pairs, ms, ms_of
from .streams import Context, Page, Stream

if TYPE_CHECKING:
    from .client import Client

_DAY_MS = 86_400_000
_MOST_PAGES = 20_000


class _Read(NamedTuple):
    number: int
    rows: list[Any]


class WholeList:
    """Cursor: `marks` (a digest for each page of the last walk), `walked` (when it began), `proved` (when one began
    that landed everything), `walk` while one is under way, `new` (the newest time of creation seen).

    The list is asked for sorted by `order`, oldest first, so that a new row is on the last page. Between two walks
    those who came since are asked for by that field. `every` is the shortest time between two walks, `cost_s` the time
    that each of its calls adds to it: one walk of many pages does not take the calls of everything else. A row that a
    deletion moves to an earlier page while a walk is there comes with the next one.
    """

    def __init__(
        self,
        *,
        params: Pairs = (),  # type: ignore[assignment]
        order: str = "",
        top: int = 500,
        also: Pairs | None = None,
        every: timedelta = timedelta(seconds=60),
        cost_s: float = 1.5,
        lanes: int = 4,
        overlap: timedelta = timedelta(minutes=10),
    ) -> None:
        self.params = list(params)
        self.order = order
        self.top = top
        self.also = also  # conditions of a second, short list: rows that the first one leaves out
        self.every = every
        self.cost_s = cost_s
        self.lanes = lanes
        self.overlap = overlap

    def walk(self, client: "Client", stream: type[Stream], context: Context, cursor: dict[str, Any]) -> Iterator[Page]:
        now = ms(context.now)
        state = json.loads(json.dumps(cursor))
        wait = max(ms_of(self.every), int(len(state.get("marks", ())) * self.cost_s * 1000))
        if "walk" in state or now - state.get("walked", 0) >= wait:
            yield from self._whole(client, stream, context, state)
        elif self.order:
            yield from self._new(client, stream, context, state)

    def _ask(
        self, client: "Client", stream: type[Stream], context: Context, more: Pairs, top: int, offset: int
    ) -> list[Any]:
        path = stream.path.format(identity=context.identity)
        asked: Pairs = [*more, *self.params, ("limit", top), ("offset", offset)]
        if self.order:
            asked.insert(len(asked) - 2, ("orderBy", f"{self.order} ASC"))
        return asked_for(client, path, asked, stream)

    def _whole(self, client: "Client", stream: type[Stream], context: Context, state: dict[str, Any]) -> Iterator[Page]:
        now = ms(context.now)
        about = stream.prepare(client, context)
        walk = state.setdefault("walk", {"page": 0, "began": now, "marks": [], "rows": 0, "top": self.top})
        prove = walk["began"] - state.get("proved", 0) >= _DAY_MS
        old: list[str] = [] if prove else state.get("marks", [])
        asked = f"{sorted(context.settings.items())}{context.region}{context.markets}{walk['top']}{about}"
        try:
            for number, rows in self._in_order(client, stream, context, walk):
                if number >= _MOST_PAGES:
                    raise UnexpectedAnswer(f"{stream.title}: the list does not end after {number} pages.")
                mark = _mark(rows, asked)
                if rows and mark in walk["marks"]:  # once may be a hiccup on the way: the same question again
                    rows = self._ask(client, stream, context, [], walk["top"], number * walk["top"])
                    mark = _mark(rows, asked)
                    if rows and mark in walk["marks"]:
                        raise UnexpectedAnswer(
                            f"{stream.title}: the same page came twice, so the list cannot be read to its end."
                        )
                same = number < len(old) and old[number] == mark
                walk["page"] = number + 1
                walk["marks"].append(mark)
                walk["rows"] += len(rows)
                self._see(state, rows)
                last = len(rows) < walk["top"]
                more: list[Any] = []
                if last:
                    if self.also is not None:
                        more = self._all(client, stream, context, self.also)
                    state["marks"], state["walked"] = walk["marks"], walk["began"]
                    if prove:
                        state["proved"] = walk["began"]
                    del state["walk"]
                out = [] if same else stream.complete(client, context, rows, about)
                yield Page([*out, *more], json.loads(json.dumps(state)), walk["rows"], None)
                if last:
                    return
        except (ServerFault, TooLarge):
            if walk["top"] <= 100:
                raise
            # asked for less at a time, from the front: pages are counted by their size
            state["walk"] = {"page": 0, "began": walk["began"], "marks": [], "rows": 0, "top": 100}
            yield Page([], json.loads(json.dumps(state)), 0, None)
            yield from self._whole(client, stream, context, state)

    def _in_order(
        self, client: "Client", stream: type[Stream], context: Context, walk: dict[str, Any]
    ) -> Iterator[_Read]:
        """The pages from `walk["page"]` on. The first alone: most lists have no other."""
        first, top = walk["page"], walk["top"]
        rows = self._ask(client, stream, context, [], top, first * top)
        yield _Read(first, rows)
        if len(rows) < top:
            return

        def reader(number: int) -> Iterator[_Read]:
            while True:
                found = self._ask(client, stream, context, [], top, number * top)
                yield _Read(number, found)
                if len(found) < top:
                    return
                number += self.lanes

        early: dict[int, _Read] = {}
        number = first + 1
        for read in merged([reader(number + n) for n in range(self.lanes)], keep=client.keep, waiting=self.lanes):
            early[read.number] = read
            while number in early:
                found = early.pop(number)
                yield found
                if len(found.rows) < top:
                    return
                number += 1

    def _new(self, client: "Client", stream: type[Stream], context: Context, state: dict[str, Any]) -> Iterator[Page]:
        """Those who came since the last walk or the last look."""
        low = state.get("new", 0) - ms_of(self.overlap)
        rows = self._all(client, stream, context, [("filter", f"{self.order}>={max(low, 0)}")])
        self._see(state, rows)
        out = stream.complete(client, context, rows, stream.prepare(client, context))
        yield Page(out, state, len(rows), len(rows))

    def _all(self, client: "Client", stream: type[Stream], context: Context, more: Pairs) -> list[Any]:
        found: list[Any] = []
        while True:
            rows = self._ask(client, stream, context, more, self.top, len(found))
            found += rows
            if len(rows) < self.top:
                return found
            if len(found) > 100_000:
                raise UnexpectedAnswer(f"{stream.title}: the list does not end, so it cannot be read.")

    def _see(self, state: dict[str, Any], rows: list[Any]) -> None:
        times = [row[self.order] for row in rows if isinstance(row, dict) and type(row.get(self.order)) is int]
        if self.order and times:
            state["new"] = max(state.get("new", 0), *times)


def _mark(rows: list[Any], asked: str) -> str:
    text = json.dumps(rows, sort_keys=True, default=str) + asked
    return hashlib.blake2b(text.encode("utf-8", "replace"), digest_size=8).hexdigest()
