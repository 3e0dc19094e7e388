"""How many calls a key may make: a token bucket for each key in each process, and headers that say what is left.

Approximate on purpose (docs/api/decisions.md): each process gives its share of the limit. A shared row would cost every
call a write.
"""

import math
import threading
from dataclasses import dataclass
from time import monotonic

from django.conf import settings
from rest_framework.request import Request
from rest_framework.throttling import BaseThrottle

DEFAULT_PER_MINUTE = 6000

_buckets: dict[int, tuple[float, float]] = {}  # key -> tokens left, at
_lock = threading.Lock()


@dataclass(frozen=True, slots=True)
class Rate:
    """What one key may still do in this process: calls a minute, calls at once, seconds until all are there again."""

    limit: int
    left: int
    full_in_s: float
    wait_s: float  # 0, or until there is one

    @property
    def headers(self) -> dict[str, str]:
        until = self.wait_s or self.full_in_s
        return {
            "X-RateLimit-Limit": str(self.limit),
            "X-RateLimit-Remaining": str(self.left),
            "X-RateLimit-Reset": str(math.ceil(until)),
        }


def per_minute(of_account: int | None = None) -> int:
    """Calls a key may make a minute in this process: its share of the account's limit, else of the installation's.

    0: no limit.
    """
    whole = getattr(settings, "API_RATE_PER_MINUTE", DEFAULT_PER_MINUTE) if of_account is None else of_account
    return math.ceil(whole / settings.WEB_WORKERS) if whole > 0 else 0


def take(key_id: int, *, limit: int, at: float) -> Rate:
    """Take a token, if there is one."""
    per_second = limit / 60
    with _lock:
        tokens, before = _buckets.get(key_id, (float(limit), at))
        tokens = min(float(limit), tokens + (at - before) * per_second)
        wait_s = (1 - tokens) / per_second if tokens < 1 else 0.0
        tokens -= 0 if wait_s else 1
        _buckets[key_id] = tokens, at
    return Rate(limit, int(tokens), (limit - tokens) / per_second, wait_s)


def forget() -> None:
    """Fill all buckets again; for tests."""
    with _lock:
        _buckets.clear()


class KeyThrottle(BaseThrottle):
    """Leaves what it found with the view, which tells it with every answer."""

    def allow_request(self, request: Request, view) -> bool:
        limit = per_minute(request.auth.api_per_minute)
        if limit <= 0:
            return True
        view.rate = self.rate = take(request.auth.key_id, limit=limit, at=monotonic())
        return not self.rate.wait_s

    def wait(self) -> float:
        return self.rate.wait_s
