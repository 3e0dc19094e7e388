"""Faults on demand: the next n calls under a path (of one method, if that is named) fail in a named way.

A time-out after the call acted is `slow` with more seconds than the caller waits.

Kinds that every vendor has are made here; kinds about log-in and permissions (`bad_password`,
`temporary_password`, `no_permission`) and the words of a 429 or 500 are the vendor's own.

| kind | what the caller sees |
|---|---|
| 429, 500, 503 | the vendor's own answer; 429 with Retry-After `seconds` (default 1) where the vendor sends one |
| 429_concurrent, 429_app, 429_app_concurrent | the same, for the limit on calls at once, of the app, of both |
| timeout | the connection is held `seconds` (default 40), then closed; the call does not act |
| reset | the connection is reset; the call does not act |
| lost | the call acts, then the connection closes without an answer |
| slow | the call acts; the answer takes `seconds` (default 2) |
| shift | the call acts; then a row comes in before those it read, so that the next page repeats one |
| cut | the call acts; half of the body comes, then the connection closes |
| duplicate | a list comes with each of its rows twice |
| repeat | the answer given last on the same path comes again (a page that repeats itself) |
| html | 200 with a log-in page |
| redirect | 302 to `location` |
| garbled | 200, `application/json`, no JSON |
| huge | 200 with 12 MB of valid JSON |
"""

import json
from collections import OrderedDict
from dataclasses import dataclass
from typing import Any

from integrations.sandbox.wire import Broken, Request, Response

REFUSALS = {"429", "429_concurrent", "429_app", "429_app_concurrent", "500", "503"}
BEFORE = REFUSALS | {"timeout", "reset", "html", "redirect", "garbled", "huge"}
AFTER = {"lost", "cut", "duplicate", "repeat", "slow", "shift"}
VENDOR = {"bad_password", "temporary_password", "no_permission"}
KINDS = BEFORE | AFTER | VENDOR
ELSEWHERE = "http://evil.example.invalid/"
_HTML = b"<!DOCTYPE html><html><head><title>Sign in</title></head><body><h1>Sign in to continue</h1></body></html>"


class BadFault(ValueError):
    """A fault that was asked for in a way that cannot act."""


@dataclass(slots=True)
class Fault:
    """One fault under a path prefix; `times` counts down, -1 lasts until cleared."""

    match: str
    kind: str
    times: int = 1
    seconds: float | None = None
    location: str = ELSEWHERE
    method: str = ""  # only calls of this one; "" is all

    def row(self) -> dict[str, Any]:
        return {"match": self.match, "kind": self.kind, "times": self.times}


class Faults:
    """The faults in force, in the order they were set."""

    def __init__(self) -> None:
        self.active: list[Fault] = []
        self._last: OrderedDict[str, Response] = OrderedDict()  # for `repeat`; 64 paths, newest last

    def set(self, asked: dict[str, Any]) -> Fault | None:
        """Adds one fault, or clears all with `{"clear": true}`."""
        if asked.get("clear"):
            self.active.clear()
            return None
        kind = str(asked.get("kind"))
        if kind not in KINDS:
            raise BadFault(f"Unknown kind {kind!r}; one of {', '.join(sorted(KINDS))}")
        times = asked.get("times", 1)
        if not isinstance(times, int) or isinstance(times, bool) or (times < 1 and times != -1):
            raise BadFault("times is a whole number above 0, or -1")
        seconds = asked.get("seconds")
        fault = Fault(
            match=str(asked.get("match", "/")).lower(),
            kind=kind,
            times=times,
            seconds=None if seconds is None else float(seconds),
            location=str(asked.get("location", ELSEWHERE)),
            method=str(asked.get("method", "")).upper(),
        )
        self.active.append(fault)
        return fault

    def find(self, request: Request, applies: Any) -> Fault | None:
        """The first fault for this call, one use of it spent. `applies(kind, request)` is the vendor's word."""
        if not self.active:
            return None
        path = request.path.lower()
        for fault in self.active:
            ours = fault.kind not in VENDOR
            if fault.method not in ("", request.method):
                continue
            if (path.startswith(fault.match) if ours else applies(fault, request)) and fault.times != 0:
                if fault.times > 0:
                    fault.times -= 1
                    if fault.times == 0:
                        self.active.remove(fault)
                return fault
        return None

    def before(self, fault: Fault, vendor: Any, request: Request) -> Response | Broken | None:
        """The answer of a fault that keeps the call from acting; None when the call must act first."""
        kind = fault.kind
        if kind in VENDOR or kind in REFUSALS:
            return vendor.refuse(kind, request, seconds=fault.seconds)
        if kind == "timeout":
            return Broken("hang", seconds=40.0 if fault.seconds is None else fault.seconds)
        if kind == "reset":
            return Broken("reset")
        if kind == "html":
            return Response(200, _HTML, "text/html; charset=utf-8")
        if kind == "redirect":
            return Response(302, b"", "text/plain", [("Location", fault.location)])
        if kind == "garbled":
            return Response(200, b'[{"Id": "3f0d7a52", "Name": "\xff\xfe\x00 \x1b[2J', "application/json")
        if kind == "huge":
            row = {"Id": "00000000-0000-4000-8000-000000000000", "Notes": "x" * (12 * 1024 * 1024)}
            return Response(200, json.dumps([row]).encode())
        return None

    def after(self, fault: Fault | None, vendor: Any, request: Request, response: Response) -> Response | Broken:
        """What becomes of a real answer."""
        if fault is None or fault.kind not in AFTER:
            return self._remember(request, response)
        if fault.kind == "lost":
            return Broken("lost")
        if fault.kind == "cut":
            return Broken("cut", response)
        if fault.kind == "repeat":
            return self._last.get(request.path.lower(), response)
        if fault.kind == "slow":
            response.delay = 2.0 if fault.seconds is None else fault.seconds
            return response
        if fault.kind == "shift":
            vendor.shift(request)
            return self._remember(request, response)
        return Response(response.status, _twice(response.body), response.content_type, response.headers)

    def _remember(self, request: Request, response: Response) -> Response:
        if request.method == "GET" and response.status == 200:
            path = request.path.lower()
            self._last[path] = response
            self._last.move_to_end(path)
            if len(self._last) > 64:
                self._last.popitem(last=False)
        return response


def _twice(body: bytes) -> bytes:
    """The same document with every row of its list (plain, HAL, `elements` or `data`) twice, the repeats at the end."""
    try:
        document = json.loads(body)
    except ValueError:
        return body
    if isinstance(document, list):
        document = document + document
    elif isinstance(document, dict) and isinstance(document.get("_embedded", {}).get("self"), list):
        document["_embedded"]["self"] *= 2
    elif isinstance(document, dict) and isinstance(document.get("elements"), list):
        document["elements"] *= 2
    elif isinstance(document, dict) and isinstance(document.get("data"), list):
        document["data"] *= 2
    return json.dumps(document, separators=(",", ":")).encode()
