"""Pacing before the vendor says 429.

The budget is this process's alone: two workers with a limiter each may together ask for twice the rate. The
vendor's "remaining" header, which counts everybody, corrects that within a call or two; sharing a budget is
out of scope.
"""

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from .errors import TryLater


@dataclass
class _Bucket:
    tokens: float
    filled_at: float
    rate_s: float  # tokens a second
    closed_until: float = 0.0


class Limiter:
    """A token bucket for each service of a vendor. Safe to share between threads.

    `rate_per_minute` is the vendor's limit (0: no pacing at all, though a wait the vendor asks for is kept);
    `share` of it is used. `burst` calls may go out at once after a rest. A wait longer than `max_wait_s` is
    not slept but raised as `TryLater`, because a slice of a sync is 20 seconds and others want the worker.
    """

    def __init__(
        self,
        rate_per_minute: float = 1000,
        *,
        share: float = 0.8,
        burst: float | None = None,
        max_wait_s: float = 5.0,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.rate_s = rate_per_minute * share / 60
        # Three limiters in a row, one for each 20 s slice, stay under the vendor's limit with their bursts.
        self.burst = max(1.0, burst if burst is not None else rate_per_minute * (1 - share) / 6)
        self.share = share
        self.max_wait_s = max_wait_s
        self._clock = clock
        self._sleep = sleep
        self._buckets: dict[str, _Bucket] = {}
        self._lock = threading.Lock()

    def wait(self, service: str) -> float:
        """Take one call, sleeping if need be. Returns the seconds slept; `TryLater` when it is too long."""
        slept = 0.0
        while True:
            with self._lock:
                now = self._clock()
                bucket = self._bucket(service, now)
                need = max(0.0, bucket.closed_until - now)
                if self.rate_s and bucket.tokens < 1:
                    need = max(need, (1 - bucket.tokens) / bucket.rate_s)
                if need <= 1e-6:
                    bucket.tokens -= 1
                    return slept
            if slept + need > self.max_wait_s:
                raise TryLater("The pace the vendor allows is used up; it goes on shortly.", after_s=round(need, 1))
            self._sleep(need)
            slept += need

    def learn(
        self,
        service: str,
        *,
        limit: float | None = None,
        remaining: float | None = None,
        reset_s: float | None = None,
    ) -> None:
        """Take over what the vendor's headers say about its window of `reset_s` seconds."""
        if not self.rate_s:
            return
        with self._lock:
            now = self._clock()
            bucket = self._bucket(service, now)
            if limit and limit > 0:
                bucket.rate_s = min(self.rate_s, limit * self.share / 60)
            if remaining is not None:
                bucket.tokens = min(bucket.tokens, max(0.0, remaining))
                if remaining <= 0 and reset_s:
                    bucket.closed_until = max(bucket.closed_until, now + min(reset_s, 300))

    def close(self, service: str, after_s: float) -> None:
        """The vendor refused (429): no call before `after_s` seconds have passed."""
        with self._lock:
            now = self._clock()
            bucket = self._bucket(service, now)
            bucket.closed_until = max(bucket.closed_until, now + min(after_s, 300))

    def _bucket(self, service: str, now: float) -> _Bucket:
        bucket = self._buckets.get(service)
        if bucket is None:
            bucket = self._buckets[service] = _Bucket(self.burst, now, self.rate_s)
        elif now > bucket.filled_at:
            bucket.tokens = min(self.burst, bucket.tokens + (now - bucket.filled_at) * bucket.rate_s)
            bucket.filled_at = now
        return bucket


def window_of(headers: Mapping[str, str]) -> dict[str, float]:
    """`limit`, `remaining`, `reset_s` out of the headers, whatever the vendor's prefix is."""
    # Cova sends COVA-APIM-RateLimit-*, older services X-RateLimit-* (portal 2024, 2019).
    found: dict[str, float] = {}
    for name, value in headers.items():
        ending = name.lower().rpartition("ratelimit-")
        key = {"limit": "limit", "remaining": "remaining", "resetseconds": "reset_s"}.get(ending[2])
        if ending[1] and key:
            try:
                amount = float(value)
            except ValueError:
                continue
            if 0 <= amount < 1e7:  # two families at once: the narrower one counts
                found[key] = amount if key not in found else min(found[key], amount)
    return found
