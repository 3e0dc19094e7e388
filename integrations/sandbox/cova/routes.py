"""Routing: service prefixes and old host names, case-insensitive paths, strict queries, JSON or HAL.

A handler takes a `Call` and returns a `Response` or raises `Fail`. Known [D][IQ]: HAL for crm, pricing, availability,
taxes and pointofsale, relative links without `/v1`, no `self` in `_embedded` when there are no rows. Inferred [INF]:
HAL when the Accept header is missing or `*/*` for those services, and for posreports only when asked for; an unknown
query parameter is refused with 400 so that a misspelt one cannot pass unseen.
"""

import json
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote, unquote, unquote_plus

from integrations.sandbox.wire import Request, Response

HAL_SERVICES = {"crm", "pricing", "availability", "taxes", "pointofsale"}
_HOST = re.compile(r"(?P<service>[a-z]+?)(demo|rc)?\.iqmetrix\.net\Z", re.IGNORECASE)
_ALIASES = {"iqtaxprovider": "taxes", "usermanagement": "usermanager"}


class Fail(Exception):
    """An answer other than success; `message` goes into the vendor's `{"Message": ...}`."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message

    def response(self) -> Response:
        return Response(self.status, json.dumps({"Message": self.message}).encode())


NOT_FOUND = "Resource cannot be found"


@dataclass(slots=True)
class Call:
    """One call on its way to a handler; `ids` are the path's keys after the company."""

    request: Request
    service: str
    ids: tuple[str, ...]
    query: dict[str, str]
    hal: bool
    link: str

    def body(self) -> dict[str, Any]:
        kind = self.request.headers.get("content-type", "")
        if "json" not in kind.lower():
            raise Fail(415, f"The request entity's media type '{kind}' is not supported for this resource.")
        try:
            document = json.loads(self.request.body)
        except ValueError:
            raise Fail(400, "The request is invalid.") from None
        if not isinstance(document, dict):
            raise Fail(400, "The request is invalid.")
        return document

    def whole(self, name: str, default: int) -> int:
        """A `$skip`-like number that must be a whole one from 0."""
        text = self.query.get(name, "")
        if not text:
            return default
        if not text.isdigit():
            raise Fail(400, f"The query specified in the URI is not valid: {name}")
        return int(text)

    def clamped_top(self, default: int, most: int) -> int:
        """`$top`, with larger and invalid values clamped to the most [IQ]."""
        text = self.query.get("$top")
        if text is None:
            return default
        return min(int(text), most) if text.isdigit() and int(text) > 0 else most

    def rows(self, rows: Iterable[bytes], *, skip: int = 0, top: int | None = None, more: bool = False) -> Response:
        """A list of rendered objects, plain or HAL; `more` tells whether another page follows."""
        rows = list(rows)
        if not self.hal:
            return Response(200, b"[" + b",".join(rows) + b"]")
        links: dict[str, Any] = {"self": self._page(skip, top), "prev": None, "next": None}
        if top is not None:
            links["prev"] = self._page(max(0, skip - top), top) if skip else None
            links["next"] = self._page(skip + top, top) if more else None
        embedded = b'{"self":[' + b",".join(map(self.hal_row, rows)) + b"]}" if rows else b"{}"
        body = b'{"_links":' + json.dumps(links).encode() + b',"_embedded":' + embedded + b"}"
        return Response(200, body, "application/hal+json; charset=utf-8")

    def one(self, row: bytes, *, status: int = 200, headers: list[tuple[str, str]] | None = None) -> Response:
        """One rendered object."""
        if not self.hal:
            return Response(status, row, headers=headers or [])
        return Response(status, self.hal_row(row), "application/hal+json; charset=utf-8", headers or [])

    def hal_row(self, row: bytes) -> bytes:
        found = _ID.search(row[:200])
        key = f"({found[1].decode()})" if found and "(" + found[1].decode() not in self.link else ""
        link = json.dumps({"self": {"href": self.link + key, "templated": False}})
        return b'{"_links":' + link.encode() + b',"_embedded":{},' + row[1:]

    def _page(self, skip: int, top: int | None) -> dict[str, Any]:
        wanted = {name: value for name, value in self.query.items() if name not in ("$skip", "$top")}
        parts = [f"{name}={quote(value)}" for name, value in wanted.items()]
        if top is not None:
            parts += [f"$skip={skip}", f"$top={top}"]
        return {"href": self.link + ("?" + "&".join(parts) if parts else ""), "templated": False}


_ID = re.compile(rb'"Id":"?([0-9a-f-]+)')
Handler = Callable[[Call], Response]


@dataclass(slots=True)
class _Route:
    service: str
    pattern: re.Pattern[str]
    methods: dict[str, tuple[Handler, frozenset[str]]] = field(default_factory=dict)


class Router:
    """Paths to handlers. In a path `{}` is a number and `{id}` any key in parentheses."""

    def __init__(self) -> None:
        self._services: dict[str, list[_Route]] = {}

    def add(self, method: str, service: str, path: str, handler: Handler, *query: str) -> None:
        """Adds a handler; `query` names the parameters it takes."""
        text = re.escape(path).replace(r"\{\}", r"(\d+)").replace(r"\{id\}", "([^()/]+)")
        pattern = re.compile(text + r"/?\Z", re.IGNORECASE)
        routes = self._services.setdefault(service, [])
        for route in routes:
            if route.pattern.pattern == pattern.pattern:
                break
        else:
            route = _Route(service, pattern)
            routes.append(route)
        route.methods[method] = (handler, frozenset(query))

    def knows(self, service: str) -> bool:
        return service in self._services

    def find(self, request: Request, service: str, path: str) -> tuple[Handler, Call, frozenset[str]]:
        """The handler with its call (query not read yet); 404 or 405 as `Fail`."""
        for route in self._services.get(service, ()):
            found = route.pattern.match(path)
            if found is None:
                continue
            if request.method not in route.methods:
                raise Fail(405, f"The requested resource does not support http method '{request.method}'.")
            handler, query = route.methods[request.method]
            accept = request.headers.get("accept", "*/*").lower()
            hal = "application/hal+json" in accept
            if service in HAL_SERVICES:
                hal = hal or "application/json" not in accept
            elif service != "posreports":
                hal = False  # entity manager, users and loyalty always give plain JSON
            link = re.sub(r"^/v\d+/", "", path).lstrip("/")
            return handler, Call(request, service, found.groups(), {}, hal, link), query
        raise Fail(404, "No HTTP resource was found that matches the request URI")


def split(path: str) -> tuple[str, str]:
    """Service and rest of a path: `/crm/v1/...`, `/crm.iqmetrix.net/v1/...` or a bare `/v1/oauth2/token`."""
    path = unquote(path)
    first, slash, rest = path.lstrip("/").partition("/")
    host = _HOST.match(first)
    if host:
        service = host["service"].lower()
        return _ALIASES.get(service, service), slash + rest
    if path.lower().rstrip("/") == "/v1/oauth2/token":
        return "accounts", path
    return first.lower(), slash + rest


def read_query(text: str, allowed: frozenset[str]) -> dict[str, str]:
    """The parameters of a query; unknown or repeated ones are refused."""
    query: dict[str, str] = {}
    for part in text.split("&") if text else ():
        name, _, value = part.partition("=")
        name = unquote_plus(name)
        if name not in allowed:
            raise Fail(400, f"The query parameter '{name}' is not known here.")
        if name in query:
            raise Fail(400, f"The query parameter '{name}' comes twice.")
        query[name] = unquote_plus(value)
    return query
