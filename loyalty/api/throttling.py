"""How many calls a key may make: a token bucket for each key in each process.

Approximate on purpose (docs/api/decisions.md): with two web processes a key gets up to twice the limit. A shared row
would cost every call a write.
"""

import threading
from time import monotonic

from django.conf import settings
from rest_framework.request import Request
from rest_framework.throttling import BaseThrottle

DEFAULT_PER_MINUTE = 6000

_buckets: dict[int, tuple[float, float]] = {}  # key -> tokens left, at
_lock = threading.Lock()


def per_minute() -> int:
    """Calls a key may make a minute in this process; 0: no limit."""
    return getattr(settings, "API_RATE_PER_MINUTE", DEFAULT_PER_MINUTE)


def take(key_id: int, *, limit: int, at: float) -> float:
    """Take a token. Returns 0, or the seconds until there is one."""
    per_second = limit / 60
    with _lock:
        tokens, before = _buckets.get(key_id, (float(limit), at))
        tokens = min(float(limit), tokens + (at - before) * per_second)
        if tokens < 1:
            _buckets[key_id] = tokens, at
            return (1 - tokens) / per_second
        _buckets[key_id] = tokens - 1, at
        return 0.0


def forget() -> None:
    """Fill all buckets again; for tests."""
    with _lock:
        _buckets.clear()


class KeyThrottle(BaseThrottle):
    def allow_request(self, request: Request, view) -> bool:
        limit = per_minute()
        if limit <= 0:
            return True
        view.rate_limit = limit
        self.seconds = take(request.auth.key_id, limit=limit, at=monotonic())
        return not self.seconds

    def wait(self) -> float:
        return self.seconds
