"""What a list can be asked: `filter`, `orderBy`, `expand`, `limit`, `offset`, `return_null_fields`.

Known: `filter=<field><op><value>`, repeated ones joined with AND, operators `= != > >= < <=` [D S4], `in ('A','B')`
[D S5], `IS NOT NULL` [I-rec S3, S23], a trailing `*` on text [I-field S24], raw or percent-encoded operators [I-rec
S23], a field that cannot be filtered is 400 [I-field S24]; `orderBy=field ASC`, several by comma [D S6]; `expand` by
comma [D S7] or repeated [D S22], unknown names ignored [I-field S24], one dotted level [D S7]; 100 rows a page unless
asked, 1,000 at most [D S3]; `return_null_fields=true` [D S8]; other parameters have no effect [I S31].

Inferred [I]: values are compared as text without regard to case, and as written (no phone is made alike); an absent
value meets no comparison; a comma is part of the value, so on a number it is refused as no number; the values of
`in` may lack their quotes; a limit over 1,000 counts as 1,000, one below 1 and a negative offset are 400; sorting
knows every field of the filter list that holds one value, leaves unknown ones out, and puts absent values lowest; a
dotted name opens its first part too; deeper dots are not looked at; of a parameter that may come once the last counts.
"""

import math
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote, unquote_plus

from integrations.sandbox.clover.errors import Fail

DEFAULT_LIMIT, MAX_LIMIT = 100, 1000
DAY_MS = 86_400_000
_CLAUSE = re.compile(
    r"""\s*(?P<field>[A-Za-z_][\w.]*?)\s*(?:
        (?P<op>>=|<=|!=|=|>|<)\s*(?P<value>.*?)
      | (?<=\s)in\s*\((?P<list>.*)\)
      | IS\s+(?P<not>NOT\s+)?NULL
    )\s*\Z""",
    re.VERBOSE | re.IGNORECASE | re.DOTALL,
)
_COMPARE: dict[str, Callable[[Any, Any], bool]] = {
    "=": lambda a, b: a == b,
    "!=": lambda a, b: a != b,
    ">": lambda a, b: a > b,
    ">=": lambda a, b: a >= b,
    "<": lambda a, b: a < b,
    "<=": lambda a, b: a <= b,
}


@dataclass(slots=True, frozen=True)
class Field:
    """A field that a list can be filtered by: `int`, `bool`, `text`; `many` when `read` gives a tuple of values.
    An unlisted one works but is not named in the header."""

    kind: str
    read: Callable[[Any], Any]
    many: bool = False
    unlisted: bool = False


@dataclass(slots=True, frozen=True)
class Clause:
    """`field op value`; `op` is a comparison, `in`, `null`, `not null` or `begins`."""

    name: str
    op: str
    value: Any

    def test(self) -> Callable[[Any], bool]:
        """Whether a value meets the condition, as a function; an absent one meets nothing but `null`."""
        op, value = self.op, self.value
        if op in ("null", "not null"):
            wanted = op == "null"
            return lambda found: (found is None) == wanted
        if op == "in":
            return lambda found: found is not None and _plain(found) in value
        if op == "begins":
            return lambda found: found is not None and found.lower().startswith(value)
        compare = _COMPARE[op]
        return lambda found: found is not None and compare(_plain(found), value)

    def span(self) -> tuple[float, float] | None:
        """The lowest and the highest whole number that meets the condition, when it is a range of numbers."""
        if type(self.value) is not int:
            return None
        return {
            ">=": (self.value, math.inf),
            ">": (self.value + 1, math.inf),
            "<=": (-math.inf, self.value),
            "<": (-math.inf, self.value - 1),
        }.get(self.op)


def _plain(found: Any) -> Any:
    return found.lower() if isinstance(found, str) else found


@dataclass(slots=True)
class Query:
    """The query as sent; what it means depends on the list it is put to."""

    filters: list[str] = field(default_factory=list)
    order: list[str] = field(default_factory=list)
    expand: list[str] = field(default_factory=list)
    nulls: bool = False
    limit_text: str | None = None
    offset_text: str | None = None

    @classmethod
    def read(cls, text: str) -> "Query":
        query = cls()
        for part in text.split("&") if text else ():
            name, _, value = part.partition("=")
            name, value = unquote_plus(name), unquote_plus(value)
            if name == "filter":
                query.filters.append(value)
            elif name == "orderBy":
                query.order += value.split(",")
            elif name == "expand":
                query.expand += value.split(",")
            elif name == "return_null_fields":
                query.nulls = value.lower() == "true"
            elif name == "limit":
                query.limit_text = value
            elif name == "offset":
                query.offset_text = value
        return query

    def limit(self) -> int:
        return DEFAULT_LIMIT if self.limit_text is None else min(MAX_LIMIT, _whole("limit", self.limit_text, 1))

    def offset(self) -> int:
        return 0 if self.offset_text is None else _whole("offset", self.offset_text, 0)

    def clauses(self, fields: dict[str, Field]) -> list[Clause]:
        return [parse(text, fields) for text in self.filters]

    def sorting(self, fields: dict[str, Field]) -> tuple[tuple[str, bool], ...]:
        """(field, descending) of each part of `orderBy` that can be sorted by."""
        wanted = []
        for part in self.order:
            name, _, way = part.strip().partition(" ")
            if way.strip().upper() not in ("", "ASC", "DESC"):
                raise Fail(400, "Bad Request", f"Invalid orderBy: {part.strip()}")
            if name in fields and not fields[name].many:
                wanted.append((name, way.strip().upper() == "DESC"))
        return tuple(wanted)

    def echo(self, added: list[str], *, limit: int) -> str:
        """The query as the collection's `href` repeats it."""
        parts = [f"filter={quote(text, safe='')}" for text in [*self.filters, *added]]
        parts.append(f"limit={limit}")
        if self.offset_text is not None:
            parts.append(f"offset={self.offset()}")
        return "&".join(parts)


def _whole(name: str, text: str, least: int) -> int:
    if not re.fullmatch(r"\d{1,18}", text, re.ASCII) or int(text) < least:
        raise Fail(400, "Bad Request", f"Invalid value for {name}: {text}")
    return int(text)


def parse(text: str, fields: dict[str, Field]) -> Clause:
    """One condition of a `filter`."""
    found = _CLAUSE.match(text)
    if found is None:
        raise Fail(400, "Bad Request", f"Invalid filter: {text}")
    name, op = found["field"], found["op"]
    known = fields.get(name)
    if known is None:
        raise Fail(400, "Bad Request", f"Invalid filter field: {name}")
    if op is None and found["list"] is None:
        return Clause(name, "not null" if found["not"] else "null", None)
    if op is None:
        parts = [part.strip() for part in found["list"].split(",")]
        values = [part[1:-1] if len(part) > 1 and part[0] == part[-1] == "'" else part for part in parts]
        return Clause(name, "in", frozenset(_typed(value, known.kind, name) for value in values))
    value = found["value"]
    if known.kind == "text" and op == "=" and value.endswith("*"):
        return Clause(name, "begins", value[:-1].lower())
    if known.kind == "bool" and op not in ("=", "!="):
        raise Fail(400, "Bad Request", f"Invalid operator for {name}: {op}")
    return Clause(name, op, _typed(value, known.kind, name))


def _typed(value: str, kind: str, name: str) -> Any:
    if kind == "text":
        return value.lower()
    if kind == "bool" and value.lower() in ("true", "false"):
        return value.lower() == "true"
    if kind == "int" and re.fullmatch(r"-?\d{1,18}", value, re.ASCII):
        return int(value)
    raise Fail(400, "Bad Request", f"Invalid value for {name}: {value}")


@dataclass(slots=True, frozen=True)
class Window:
    """The rule of 90 days for one list.

    `times` are the fields whose range is cut to the newest 90 days in it; a filter on one of `recent`, and a call
    with neither a time nor an id, sees only what was created in the last 90 days. Nothing is said about either. A
    range without an end ends with the present minute [I]: to the millisecond no page could use what the last one found.
    """

    times: tuple[str, ...]
    recent: frozenset[str]
    free: frozenset[str] = frozenset({"id"})

    def cut(self, clauses: list[Clause], *, now_ms: int, days: int) -> list[Clause]:
        """The conditions that the server adds without a word."""
        span, added, timed = days * DAY_MS, [], False
        now_ms = now_ms // 60_000 * 60_000
        for name in self.times:
            mine = [clause for clause in clauses if clause.name == name]
            ends = [_upper(clause) for clause in mine]
            if not mine:
                continue
            timed = True
            upper = min([end for end in ends if end is not None], default=now_ms)
            added.append(Clause(name, ">=", upper - span))
        names = {clause.name for clause in clauses}
        if names & self.recent or not (timed or names & self.free):
            added.append(Clause("createdTime", ">=", now_ms - span))
        return added


def _upper(clause: Clause) -> int | None:
    if clause.op == "in":
        return max(clause.value)
    return clause.value if clause.op in ("=", "<", "<=") else None
