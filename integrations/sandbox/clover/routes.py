"""Paths to handlers, and the call on its way.

Known: a path that does not exist is 404 in plain text [I-rec S23]; the method decides, PUT and PATCH on a customer and
GET of an order's `voided_line_items` are 405 [I-field S24]; a trailing slash on a collection, a body or a content type
with GET and DELETE, and `Application/JSON` are sent by published clients [I-client]. Inferred [I]: the path is looked
at before the token, the token before the method, the method before the permission; a slash after an element is
accepted too; a body must come as JSON, else 415, and be an object, else 400.
"""

import json
import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote

from integrations.sandbox.clover.access import Token
from integrations.sandbox.clover.errors import Fail
from integrations.sandbox.clover.merchant import Merchant
from integrations.sandbox.clover.query import Query
from integrations.sandbox.clover.rows import Frame, View
from integrations.sandbox.wire import Request, Response

API_HOST = "apisandbox.dev.clover.com"


@dataclass(slots=True)
class Call:
    """One call: whose, for which ids, asked how."""

    request: Request
    merchant: Merchant
    token: Token
    ids: tuple[str, ...]
    query: Query
    view: View
    frame: Frame

    @property
    def now_ms(self) -> int:
        """Now, as a time of change is stored: cut to the second."""
        return self.frame.now_ms // 1000 * 1000

    def body(self) -> dict[str, Any]:
        kind = self.request.headers.get("content-type", "")
        if "json" not in kind.lower():
            raise Fail(415, "415 Unsupported Media Type")
        try:
            document = json.loads(self.request.body)
        except ValueError:
            raise Fail(400, "Bad Request", "The body is not JSON") from None
        if not isinstance(document, dict):
            raise Fail(400, "Bad Request", "The body must not be null")
        return document


Handler = Callable[[Call], Response]


@dataclass(slots=True)
class Route:
    pattern: re.Pattern[str]
    methods: dict[str, tuple[Handler | None, str]] = field(default_factory=dict)


class Router:
    """Paths below `/v3/merchants/{mId}`; `{}` is an id."""

    def __init__(self) -> None:
        self._routes: dict[str, Route] = {}

    def add(self, method: str, path: str, handler: Handler | None, permission: str) -> None:
        """Adds a handler; None answers 401 whatever the token."""
        if path not in self._routes:
            text = re.escape("/v3/merchants/{}" + path).replace(r"\{\}", "([^/]+)")
            self._routes[path] = Route(re.compile(text + r"/?\Z"))
        if method:
            self._routes[path].methods[method] = (handler, permission)

    def find(self, path: str) -> tuple[Route, tuple[str, ...]] | None:
        path = unquote(path)
        for route in self._routes.values():
            found = route.pattern.match(path)
            if found is not None:
                return route, found.groups()
        return None


def frame(request: Request, days: int) -> Frame:
    host = request.headers.get("host", API_HOST)
    return Frame(host, request.path.rstrip("/"), int(time.time() * 1000), days)
