"""Tokens, permissions and rate limits.

Known: a token belongs to one merchant; every refusal is 401 with the same body, a missing permission too, never 403
[D S9]; in Europe customer fields have permissions of their own and are left out without them [D S11]; 16 calls a second
and 5 at once per token, 50 and 10 per app, 429 with the header of the limit that was hit, `retry-after` only when it
was the calls at once, and calling earlier lengthens the wait [D S2].

Inferred [I]: the limit per second is a fixed window that begins with its first call; the header's value is the limit;
only one header comes, the token's before the app's and the rate's before the calls at once; the wait begins at 1 s
and grows by 1 s for every early call, to 60 at most; while it runs all calls of that token (or app) are refused;
refused calls count nowhere; calls with a token that nobody gave out share one allowance and do not touch the app's.
A call is "at once" from its arrival until its answer is ready to be sent.
"""

import json
import threading
import time
import uuid
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from random import Random

from integrations.sandbox.wire import Request, Response

AREAS = ("MERCHANT", "CUSTOMERS", "ORDERS", "PAYMENTS", "INVENTORY", "EMPLOYEES")
PERMISSIONS = frozenset(f"{area}_{kind}" for area in AREAS for kind in "RW")
EUROPEAN = ("EMAIL", "PHONE", "ADDRESS", "CARDS", "MARKETING", "BUSINESSNAME", "BIRTHDATE", "NOTE")
EUROPEAN_FIELDS = frozenset(f"CUSTOMERS_{field}_{kind}" for field in EUROPEAN for kind in "RW")
# What the vendor's help asks a merchant to tick: every Read box, and Write on Customers [D S12].
USUAL = frozenset({f"{area}_R" for area in AREAS} | {"CUSTOMERS_W"} | EUROPEAN_FIELDS)
LIMITS = {"token_rate": 16, "token_concurrent": 5, "app_rate": 50, "app_concurrent": 10}
HEADERS = {
    "app_rate": "X-RateLimit-crossTokenLimit",
    "token_rate": "X-RateLimit-tokenLimit",
    "app_concurrent": "X-RateLimit-crossTokenConcurrentLimit",
    "token_concurrent": "X-RateLimit-tokenConcurrentLimit",
}
LONGEST_WAIT_S = 60
_APP, _STRANGER = "(app)", "(stranger)"


@dataclass(slots=True)
class Token:
    """A merchant's token with the boxes that were ticked for it."""

    merchant_id: str
    permissions: frozenset[str]

    def may(self, permission: str) -> bool:
        return permission in self.permissions


class Tokens:
    """The tokens in force. Their texts look like a UUID."""

    def __init__(self) -> None:
        self.by_text: dict[str, Token] = {}

    def issue(self, rng: Random, merchant_id: str, permissions: frozenset[str] = USUAL) -> str:
        text = str(uuid.UUID(int=rng.getrandbits(128), version=4))
        self.by_text[text] = Token(merchant_id, permissions)
        return text

    def text_of(self, merchant_id: str) -> str:
        return next(text for text, token in self.by_text.items() if token.merchant_id == merchant_id)


def sent_token(request: Request, *, in_query: bool) -> str:
    """The token a call came with; `in_query` also reads the old `?access_token=`."""
    scheme, _, text = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        return text.strip()
    if in_query:
        for part in request.query.split("&"):
            name, _, value = part.partition("=")
            if name == "access_token":
                return value
    return ""


def known_permissions(names: object) -> frozenset[str]:
    """The permissions of a control call."""
    if not isinstance(names, list | tuple | set | frozenset):
        raise ValueError("permissions is a list of names")
    strange = {str(name) for name in names} - PERMISSIONS - EUROPEAN_FIELDS
    if strange:
        raise ValueError(f"Unknown permissions: {', '.join(sorted(strange))}")
    return frozenset(names)


def too_many(limit: str, value: int, wait: int | None = None) -> Response:
    """The 429 of one of `LIMITS`."""
    headers = [(HEADERS[limit], str(value))]
    if wait is not None:
        headers.append(("retry-after", str(wait)))
    return Response(429, json.dumps({"message": "429 Too Many Requests"}).encode(), headers=headers)


class Gate:
    """Counts calls by token and in all. It has a lock of its own: a refused call waits for nobody."""

    def __init__(self) -> None:
        self.limits = dict(LIMITS)
        self.on = True
        self.clock = time.monotonic
        self._lock = threading.Lock()
        self.reset()

    def reset(self) -> None:
        with self._lock:
            self._windows: dict[str, tuple[float, int]] = {}
            self._waits: dict[str, tuple[float, int]] = {}
            self._inside: Counter[str] = Counter()

    def inside(self, token: str) -> int:
        """How many calls of a token are being answered now."""
        with self._lock:
            return self._inside[token]

    @contextmanager
    def hold(self, token: str, *, known: bool) -> Iterator[Response | None]:
        """Lets a call in and counts it until the end of the block, or yields its refusal."""
        keys = [(token, "token"), (_APP, "app")] if known else [(_STRANGER, "token")]
        refusal = self._enter(keys) if self.on else None
        entered = self.on and refusal is None
        try:
            yield refusal
        finally:
            if entered:
                with self._lock:
                    for key, _ in keys:
                        self._inside[key] -= 1

    def _enter(self, keys: list[tuple[str, str]]) -> Response | None:
        with self._lock:
            now = self.clock()
            for key, level in keys:
                began, count = self._windows.get(key, (now, 0))
                if now >= began + 1:
                    began, count = now, 0
                self._windows[key] = (began, count)
                if count >= self.limits[f"{level}_rate"]:
                    return too_many(f"{level}_rate", self.limits[f"{level}_rate"])
            for key, level in keys:
                limit = f"{level}_concurrent"
                until, wait = self._waits.get(key, (0.0, 0))
                if now < until:
                    wait = min(LONGEST_WAIT_S, wait + 1)
                elif self._inside[key] >= self.limits[limit]:
                    wait = 1
                else:
                    self._waits.pop(key, None)
                    continue
                self._waits[key] = (now + wait, wait)
                return too_many(limit, self.limits[limit], wait)
            for key, _ in keys:
                began, count = self._windows[key]
                self._windows[key] = (began, count + 1)
                self._inside[key] += 1
            return None
