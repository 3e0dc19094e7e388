"""Objects and lists as the API shows them: rendered once, put together for every answer.

Known: `elements` first, then `href`, no counts; the list's `href` in `http` on the host that was called, an element's
in `https` on the web host; absent fields left out; nested lists `{"elements": [...]}`, at most 100 [I-rec S23][D S3];
newest creation first [D S6]. Inferred [I]: with `return_null_fields` what could be expanded is null too; what is
expanded needs its own area's permission, else the whole call is 401; nested lists are oldest first.

An object keeps its own fields as JSON; what hangs on it is added for each answer, so a change never leaves a stale
copy behind.
"""

import bisect
import json
import math
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, ClassVar

from integrations.sandbox.clover.access import Token
from integrations.sandbox.clover.errors import FRAME, unauthorized
from integrations.sandbox.clover.query import Clause, Field, Query, Window
from integrations.sandbox.wire import Response

WEB = "https://sandbox.dev.clover.com"
NESTED = 100
_KEPT_SELECTIONS = 32


def dump(document: Any) -> bytes:
    return json.dumps(document, separators=(",", ":")).encode()


@dataclass(slots=True)
class Tree:
    """What to expand on one kind of row: its names, what to expand on those, and the references they replace."""

    names: dict[str, "Tree"] = field(default_factory=dict)
    replaced: frozenset[str] = frozenset()


PLAIN = Tree()


@dataclass(slots=True)
class View:
    """How one answer shows things."""

    token: Token
    nulls: bool = False
    european: bool = False


class Row:
    """One object. `fields` holds its own values in the vendor's order, references included.

    `KNOWN` are all field names, `EXPAND` what can be expanded with the class of it, `REFERENCES` those of them that
    are a bare reference otherwise, `NEEDS` the permission of an expansion, `FILTERS` the fields a list filters by,
    `WITHHELD` what is not expanded in lists, `WINDOW` the 90-day rule, `LISTED_FILTERS` whether the header names the
    fields, `CREATED` the one that is the row's own `created`.
    """

    __slots__ = ("created", "fields", "heads", "store")
    KNOWN: ClassVar[tuple[str, ...]] = ()
    EXPAND: ClassVar[dict[str, "type[Row] | None"]] = {}
    ALIASES: ClassVar[dict[str, str]] = {}
    REFERENCES: ClassVar[frozenset[str]] = frozenset()
    NEEDS: ClassVar[dict[str, str]] = {}
    FILTERS: ClassVar[dict[str, Field]] = {}
    WITHHELD: ClassVar[frozenset[str]] = frozenset()
    WINDOW: ClassVar[Window | None] = None
    LISTED_FILTERS: ClassVar[bool] = True
    CREATED: ClassVar[str] = "createdTime"

    def __init__(self, fields: dict[str, Any], created: int = 0) -> None:
        self.fields = fields
        self.created = created
        self.heads: dict[frozenset[str], bytes] = {}
        self.store: Store | None = None

    @property
    def id(self) -> str:
        return self.fields["id"]

    def set(self, **changes: Any) -> None:
        """Changes own fields; None takes one away. What is new goes to its place in the vendor's order."""
        new = changes.keys() - self.fields.keys()
        for name, value in changes.items():
            if value is None:
                self.fields.pop(name, None)
            else:
                self.fields[name] = value
        if new:
            known = {name: self.fields.pop(name) for name in self.KNOWN if name in self.fields}
            self.fields = known | self.fields
        self.heads.clear()
        if self.store is not None:
            self.store.changed()

    def shown(self, clauses: list[Clause]) -> bool:
        """Whether a list with these conditions may show the row."""
        return True

    def expansion(self, name: str, tree: Tree, view: View) -> bytes | None:
        """The JSON of what is expanded, None when there is nothing."""
        return None

    def visible(self, view: View) -> dict[str, Any]:
        return self.fields

    def render(self, view: View, tree: Tree = PLAIN) -> bytes:
        parts = [self._head(view, tree)]
        for name, inner in tree.names.items():
            piece = self.expansion(name, inner, view)
            if piece is None and view.nulls:
                piece = b"null"
            if piece is not None:
                parts += (b',"', name.encode(), b'":', piece)
        parts.append(b"}")
        return b"".join(parts)

    def warm(self) -> None:
        """Renders the row's own fields ahead of the first call."""
        self.heads[PLAIN.replaced] = dump(self.fields)[:-1]

    def _head(self, view: View, tree: Tree) -> bytes:
        """Own fields without the closing brace; references that are expanded are left to the expansion."""
        if view.nulls or view.european:
            shown = self.visible(view)
            if view.nulls:
                names = dict.fromkeys((*self.KNOWN, *shown, *self.EXPAND))
                shown = {name: shown.get(name) for name in names}
            return dump({name: value for name, value in shown.items() if name not in tree.names})[:-1]
        head = self.heads.get(tree.replaced)
        if head is None:
            shown = {name: value for name, value in self.fields.items() if name not in tree.replaced}
            head = self.heads[tree.replaced] = dump(shown)[:-1]
        return head


def expand(kind: type[Row], wanted: list[str], *, token: Token, single: bool) -> Tree:
    """The tree of an `expand` for a kind of row. Unknown names are left out, as if they were not there."""
    tree = Tree()
    for text in wanted:
        first, _, rest = text.strip().partition(".")
        first = kind.ALIASES.get(first, first)
        if first not in kind.EXPAND or (not single and first in kind.WITHHELD):
            continue
        _may(kind, first, token)
        inner = tree.names.setdefault(first, Tree())
        second, below = rest.partition(".")[0], kind.EXPAND[first]
        if second and below is not None and second in below.EXPAND and second not in below.WITHHELD:
            _may(below, second, token)
            inner.names.setdefault(second, Tree())
            inner.replaced = below.REFERENCES.intersection(inner.names)
    tree.replaced = kind.REFERENCES.intersection(tree.names)
    return tree


def _may(kind: type[Row], name: str, token: Token) -> None:
    permission = kind.NEEDS.get(name)
    if permission is not None and not token.may(permission):
        raise unauthorized()


def elements(rows: Iterable[Row], view: View, tree: Tree = PLAIN) -> bytes:
    """A nested list; more than 100 are cut without a word."""
    shown = [row.render(view, tree) for row in list(rows)[:NESTED]]
    return b'{"elements":[' + b",".join(shown) + b"]}"


class Changes:
    """Counts the changes of a merchant's data, so that a kept selection knows when it is old."""

    __slots__ = ("count",)

    def __init__(self) -> None:
        self.count = 0


class Store:
    """All rows of a kind, oldest creation first; equal times in order of arrival."""

    def __init__(self, kind: type[Row], changes: Changes) -> None:
        self.kind = kind
        self.rows: list[Any] = []  # of `kind`
        self.by_id: dict[str, Any] = {}
        self._changes = changes
        self._selections: OrderedDict[Any, list[Row]] = OrderedDict()
        self._by_value: dict[str, list[tuple[int, int]]] = {}  # field -> (value, place in `rows`), sorted
        self._as_of = 0

    def add(self, row: Row) -> None:
        row.store = self
        self.by_id[row.id] = row
        if not self.rows or row.created >= self.rows[-1].created:
            self.rows.append(row)
        else:
            bisect.insort_right(self.rows, row, key=_created)
        self.changed()

    def changed(self) -> None:
        self._changes.count += 1

    def select(self, clauses: list[Clause], sorting: tuple[tuple[str, bool], ...]) -> list[Row]:
        """The rows that meet all conditions, in order. Kept until something changes: a client pages through it."""
        if self._as_of != self._changes.count:
            self._selections.clear()
            self._by_value.clear()
            self._as_of = self._changes.count
        key = (tuple(clauses), sorting)
        found = self._selections.get(key)
        if found is None:
            found = self._selections[key] = self._ordered(self._filtered(clauses), sorting)
            if len(self._selections) > _KEPT_SELECTIONS:
                self._selections.popitem(last=False)
        return found

    def _filtered(self, clauses: list[Clause]) -> list[Row]:
        spans: dict[str, tuple[float, float]] = {}
        others = []
        for clause in clauses:
            span = clause.span()
            if span is None:
                others.append(clause)
            else:
                low, high = spans.get(clause.name, span)
                spans[clause.name] = (max(low, span[0]), min(high, span[1]))
        low, high = spans.pop(self.kind.CREATED, (-math.inf, math.inf))
        first = next(iter(spans), "")
        if low == -math.inf and high == math.inf and first and not self.kind.FILTERS[first].many:
            rows = self._within(first, *spans.pop(first))
        else:
            rows = self.rows[
                bisect.bisect_left(self.rows, low, key=_created) : bisect.bisect_right(self.rows, high, key=_created)
            ]
        for name, (low, high) in spans.items():
            read = self.kind.FILTERS[name].read
            rows = [row for row in rows if (found := read(row)) is not None and low <= found <= high]
        for clause in others:
            known, holds = self.kind.FILTERS[clause.name], clause.test()
            read = known.read
            if known.many:
                rows = [row for row in rows if any(map(holds, read(row)))]
            else:
                rows = [row for row in rows if holds(read(row))]
        return [row for row in rows if row.shown(clauses)]

    def _within(self, name: str, low: float, high: float) -> list[Row]:
        """The rows whose number lies between the two, oldest creation first."""
        found = self._by_value.get(name)
        if found is None:
            read = self.kind.FILTERS[name].read
            values = ((read(row), place) for place, row in enumerate(self.rows))
            found = self._by_value[name] = sorted(pair for pair in values if pair[0] is not None)
        part = found[bisect.bisect_left(found, (low, -1)) : bisect.bisect_right(found, (high, len(self.rows)))]
        return [self.rows[place] for place in sorted(place for _, place in part)]

    def _ordered(self, rows: list[Row], sorting: tuple[tuple[str, bool], ...]) -> list[Row]:
        rows = rows[::-1]
        for name, descending in reversed(sorting):
            read = self.kind.FILTERS[name].read
            found = {read(row) for row in rows}
            if all(type(value) is int for value in found):
                rows.sort(key=read, reverse=descending)
            else:
                rows.sort(key=lambda row: _comparable(read(row)), reverse=descending)  # noqa: B023
        return rows


def _created(row: Row) -> int:
    return row.created


def _comparable(value: Any) -> tuple[bool, Any]:
    return (value is not None, 0 if value is None else value.lower() if isinstance(value, str) else value)


@dataclass(slots=True)
class Frame:
    """What a list needs to know of its call."""

    host: str
    path: str
    now_ms: int
    days: int


def listing(store: Store, query: Query, view: View, frame: Frame, *, added: list[str] | None = None) -> Response:
    """The answer of a list; `added` are filters that the server puts in by itself and echoes."""
    kind = store.kind
    clauses = query.clauses(kind.FILTERS)
    sorting = query.sorting(kind.FILTERS)
    if kind.WINDOW is not None and frame.days:
        clauses += kind.WINDOW.cut(clauses, now_ms=frame.now_ms, days=frame.days)
    tree = expand(kind, query.expand, token=view.token, single=False)
    limit, offset = query.limit(), query.offset()
    rows = store.select(clauses, sorting)[offset : offset + limit]
    return page([row.render(view, tree) for row in rows], query, frame, added or [], kind)


def page(shown: list[bytes], query: Query, frame: Frame, added: list[str], kind: type[Row]) -> Response:
    """Elements, then href, and the header that names the fields to filter by."""
    href = f"http://{frame.host}{frame.path}?{query.echo(added, limit=query.limit())}"
    headers = [FRAME]
    listed = [name for name, known in kind.FILTERS.items() if not known.unlisted]
    if listed and kind.LISTED_FILTERS:
        headers.append(("X-Clover-Allowed-Filter-Fields", ", ".join(listed)))
    body = b'{"elements":[' + b",".join(shown) + b'],"href":' + dump(href) + b"}"
    return Response(200, body, headers=headers)


def sublist(rows: list[Row], kind: type[Row], query: Query, view: View, frame: Frame) -> Response:
    """A list that belongs to one object: paged, never filtered, newest first [I-rec S23]."""
    query.clauses({})
    tree = expand(kind, query.expand, token=view.token, single=False)
    limit, offset = query.limit(), query.offset()
    rows = rows[::-1][offset : offset + limit]
    href = f"http://{frame.host}{frame.path}?{query.echo([], limit=limit)}"
    shown = b",".join(row.render(view, tree) for row in rows)
    return Response(200, b'{"elements":[' + shown + b'],"href":' + dump(href) + b"}", headers=[FRAME])


def one(row: Row, query: Query, view: View) -> Response:
    tree = expand(row.__class__, query.expand, token=view.token, single=True)
    return Response(200, row.render(view, tree), headers=[FRAME])


def plain(document: Any) -> Response:
    return Response(200, dump(document), headers=[FRAME])
