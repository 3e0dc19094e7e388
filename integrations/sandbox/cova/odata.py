"""The OData subset: `eq gt lt ge le`, `and`, `substringof('x', Prop)`, `tolower(Prop)`; anything else is refused.

Literals: whole numbers, `true`, `false`, `null`, text in single quotes (a quote is doubled), `guid'..'`,
`datetime'..'` with the prefix in any case. Known [D][IQ]: operators, functions and literals. Inferred [INF]:
`null`, `true` and `false` as words; that a literal of the wrong type is refused like a bad filter.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

_CLAUSE = re.compile(
    r"""\s*(?:
        substringof\(\s*'(?P<part>(?:[^']|'')*)'\s*,\s*(?P<inside>tolower\(\s*\w+\s*\)|\w+)\s*\)(?:\s+eq\s+true)?
      | (?P<prop>tolower\(\s*\w+\s*\)|\w+)\s+(?P<op>eq|gt|lt|ge|le)\s+
        (?:guid'(?P<guid>[^']*)'|datetime'(?P<date>[^']*)'|'(?P<text>(?:[^']|'')*)'|(?P<word>-?\w+))
    )\s*""",
    re.VERBOSE | re.IGNORECASE,
)
_GUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\Z", re.IGNORECASE)
_TOLOWER = re.compile(r"tolower\(\s*(\w+)\s*\)\Z", re.IGNORECASE)
_COMPARE: dict[str, Callable[[Any, Any], bool]] = {
    "eq": lambda a, b: a == b,
    "gt": lambda a, b: a is not None and a > b,
    "lt": lambda a, b: a is not None and a < b,
    "ge": lambda a, b: a is not None and a >= b,
    "le": lambda a, b: a is not None and a <= b,
}


class BadFilter(ValueError):
    """A filter that is not understood."""


@dataclass(slots=True, frozen=True)
class Clause:
    """`prop op value`; `op` may be `in` for substringof. `lower` compares in lower case."""

    prop: str
    op: str
    value: Any
    lower: bool = False

    def holds(self, value: Any) -> bool:
        if self.lower and isinstance(value, str):
            value = value.lower()
        if self.op == "in":
            return isinstance(value, str) and self.value in value
        return _COMPARE[self.op](value, self.value)


def moment(text: str) -> datetime:
    """A time of a filter, aware: UTC when no zone is given; `T` or a blank between day and time [OBS]."""
    cut = re.sub(r"(\.\d{6})\d+", r"\1", text.strip())  # seven digits come from the vendor's own answers
    try:
        at = datetime.fromisoformat(cut)
    except ValueError:
        raise BadFilter(f"Not a time: {text}") from None
    return at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)


def parse(text: str, kinds: dict[str, str]) -> list[Clause]:
    """The clauses of a filter. `kinds` names each property's type: int, text, guid, date, bool."""
    clauses: list[Clause] = []
    at = 0
    while True:
        found = _CLAUSE.match(text, at)
        if found is None:
            raise BadFilter(f"Error while extracting the request query at {at}")
        clauses.append(_clause(found, kinds))
        at = found.end()
        if at == len(text):
            return clauses
        # The clause ate the blanks before `and`; a word that merely begins with "and" is no `and`.
        if not (text[at : at + 4].lower() == "and " and text[at - 1].isspace()):
            raise BadFilter(f"Error while extracting the request query at {at}")
        at += 4


def _clause(found: re.Match[str], kinds: dict[str, str]) -> Clause:
    named = found["inside"] or found["prop"]
    inner = _TOLOWER.match(named)
    prop = inner[1] if inner else named
    if prop not in kinds:
        raise BadFilter(f"Unknown property {prop}")
    kind = kinds[prop]
    if found["inside"]:
        if kind != "text":
            raise BadFilter(f"substringof needs a text, {prop} is none")
        return Clause(prop, "in", found["part"].replace("''", "'"), bool(inner))
    return Clause(prop, found["op"].lower(), _literal(found, kind, prop), bool(inner))


def _literal(found: re.Match[str], kind: str, prop: str) -> Any:
    word = (found["word"] or "").lower()
    if word == "null" and found["op"].lower() == "eq":
        return None
    if kind == "text" and found["text"] is not None:
        return found["text"].replace("''", "'")
    if kind == "guid" and found["guid"] is not None and _GUID.match(found["guid"]):
        return found["guid"].lower()
    if kind == "date" and found["date"] is not None:
        return moment(found["date"])
    if kind == "int" and re.fullmatch(r"-?\d+", word):
        return int(word)
    if kind == "bool" and word in ("true", "false"):
        return word == "true"
    raise BadFilter(f"{prop} cannot be compared with that value")
