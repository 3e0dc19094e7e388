"""The pace of a vendor that counts by token: so many calls a second and so many at once, whatever they ask for.

A token may be used by several processes at the same time (a worker each for customers and sales, a web process that
connects). Their allowance is shared out by `lease`, in slots: of a vendor's five calls at once a process holds some
slots, each with its share of the calls a second, for some seconds; the sum over all processes is never more than
there is. A process that dies loses its slots when their time is over.
"""

import math
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from .errors import TryLater
from .lanes import in_lane, stopping

RENEW_S = 1.0
# A window of the vendor's second, longer by what a call may be late on its way: calls that left in 1.06 s arrive in
# more than one second even when the first of them took 60 ms longer than the last.
WINDOW_S = 1.06
_LONGEST_CLOSED_S = 300.0
_POLL_S = 0.01


class Share(NamedTuple):
    """What a process holds of a token: `slots`, valid for `valid_s`; what is new of it may be used after `wait_s`."""

    slots: int
    valid_s: float
    wait_s: float = 0.0


Lease = Callable[[int, int], Share]  # (slots wanted, calls under way) -> share


class Pace:
    """Stands where a `Limiter` stands; calls of all services count together. Safe to share between threads.

    `rate_per_minute` 0: no pacing at all. `lease` None: this process has the token to itself. It is asked in the
    thread that uses the client, never in a lane (`kit/lanes.py`), because whoever answers it may be a database.
    """

    def __init__(
        self,
        rate_per_minute: float,
        *,
        at_once: int,
        lease: Lease | None = None,
        max_wait_s: float = 5.0,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.per_second = rate_per_minute / 60
        self.at_once = at_once
        self.max_wait_s = max_wait_s
        self._lease = lease if rate_per_minute else None
        self._clock = clock
        self._sleep = sleep
        self._lock = threading.Lock()
        self._slots, self._until = (at_once, math.inf) if self._lease is None else (0, 0.0)
        self._before, self._grown_at = self._slots, 0.0  # the share before it grew counts until then
        self._asked_at = -math.inf
        self._sent: deque[float] = deque()
        self._closed_until = 0.0
        self._refusals = 0
        self._busy = 0
        self._users = 0

    # A client's side

    def wait(self, service: str) -> float:
        """Take one call, sleeping if need be; `done` gives it back. Returns the seconds slept, or `TryLater`."""
        most = 60.0 if in_lane() else self.max_wait_s
        slept = 0.0
        while True:
            if stopping():  # whoever pulls was told to stop: frozen, disconnected, taken over. Not one call more.
                raise TryLater("The reading was stopped.")
            self.keep()
            with self._lock:
                now = self._clock()
                need = self._need(now)
                if need <= 0:
                    self._busy += 1
                    self._sent.append(now)
                    return slept
                closed = self._closed_until - now
            if slept + max(need, closed) > most:
                raise TryLater(
                    "The pace the vendor allows is used up; it goes on shortly.", after_s=round(max(need, 1.0), 1)
                )
            self._sleep(min(need, 0.25))
            slept += min(need, 0.25)

    def done(self, service: str) -> None:
        """The call was answered, or failed."""
        with self._lock:
            self._busy -= 1

    def learn(self, service: str, **window: float) -> None:
        """Such a vendor says nothing about its window before it is full."""

    def close(self, service: str, after_s: float | None) -> float:
        """The vendor refused (429): nobody calls before `after_s` seconds; without it a second, then twice as long.

        Returns how long. While a vendor's wait runs each call makes it longer, so the whole token is closed.
        """
        with self._lock:
            now = self._clock()
            if now > self._closed_until + 60:
                self._refusals = 0
            wait = after_s + 0.25 if after_s is not None else float(2 ** min(self._refusals, 6))
            self._refusals += 1
            self._closed_until = max(self._closed_until, now + min(wait, _LONGEST_CLOSED_S))
            return wait

    # Sharing

    def enter(self) -> None:
        """A client begins."""
        with self._lock:
            self._users += 1

    def leave(self) -> None:
        """A client has ended; the last one gives the slots back at once."""
        with self._lock:
            self._users = max(0, self._users - 1)
            over = not self._users and self._lease is not None and self._slots > 0
            if over:
                self._slots, self._until, self._asked_at = 0, 0.0, -math.inf
        if over and self._lease is not None and not in_lane():
            self._lease(0, 0)

    def keep(self) -> None:
        """Renew what is held, about once a second. Does nothing in a lane."""
        if self._lease is None or in_lane():
            return
        with self._lock:
            now = self._clock()
            if now - self._asked_at < (RENEW_S if self._slots else 0.1):
                return
            self._asked_at = now
            busy = self._busy
        share = self._lease(self.at_once, busy)
        with self._lock:
            now = self._clock()
            if share.slots > self._slots:
                self._before, self._grown_at = self._slots, now + share.wait_s
            self._slots, self._until = share.slots, now + share.valid_s

    def _need(self, now: float) -> float:
        """Seconds until a call may go, 0 when it may go now. A moment when that depends on others."""
        slots = self._slots if now >= self._grown_at else min(self._before, self._slots)
        if now >= self._until or not slots or self._busy >= slots:
            return _POLL_S
        if now < self._closed_until:
            return self._closed_until - now
        if not self.per_second:
            return 0.0
        while self._sent and self._sent[0] <= now - WINDOW_S:
            self._sent.popleft()
        most = max(1, int(self.per_second * slots / self.at_once + 1e-9))
        return self._sent[-most] + WINDOW_S - now if len(self._sent) >= most else 0.0


def fair_slots(*, members: int, place: int, slots: int) -> int:
    """The slots of the `place`-th of so many who share: equal parts, what is left over goes to the first."""
    each, over = divmod(slots, max(members, 1))
    return each + (place < over)


# Sharing out: what a lease answers, as a pure function over what is written down for everybody to see.

LEASE_S = 10.0  # longer than landing a page takes; a process that dies keeps its slots so long
_FREED_FOR_S = 60.0


def share_out(
    holders: Mapping[str, Mapping[str, Any]],
    *,
    me: str,
    token: str,
    wanted: int,
    busy: int,
    at_once: int,
    app_at_once: int,
    now: float,
) -> tuple[dict[str, dict[str, Any]], Share]:
    """The holders of one card's tokens after `me` has asked, and what `me` holds. `now` in the clock they all share.

    Each holder: `token`, `slots`, `until`, `since`, `freed` (when it last gave some up). Equal parts for all who use
    the token, and for all who use any; nobody gets what another still holds, and nobody gives up what is under way.
    """
    kept = {name: dict(one) for name, one in holders.items() if max(one["until"], one["freed"]) > now - _FREED_FOR_S}
    mine = kept.pop(me, None)
    if mine is None or mine["token"] != token or mine["until"] <= now:
        mine = {"token": token, "slots": 0, "until": now, "since": now, "freed": mine["freed"] if mine else 0.0}
    for one in kept.values():
        if one["until"] <= now and one["slots"]:  # died with it
            one["freed"], one["slots"] = max(one["freed"], one["until"]), 0
    if not wanted:
        if mine["slots"]:
            mine["freed"] = now
        kept[me] = mine | {"slots": 0, "until": now}
        return kept, Share(0, 0.0)
    alive = {name: one for name, one in kept.items() if one["until"] > now} | {me: mine}
    order = sorted(alive, key=lambda name: (alive[name]["since"], name))
    same = [name for name in order if alive[name]["token"] == token]
    fair = fair_slots(members=len(same), place=same.index(me), slots=at_once)
    free = at_once - sum(alive[name]["slots"] for name in same if name != me)
    others = [one for name, one in kept.items() if one["token"] == token]
    if app_at_once:
        fair = min(fair, max(1, fair_slots(members=len(order), place=order.index(me), slots=app_at_once)))
        free = min(free, app_at_once - sum(alive[name]["slots"] for name in order if name != me))
        others = list(kept.values())
    slots = max(0, min(max(min(wanted, fair), min(busy, mine["slots"])), free))
    freed = max((one["freed"] for one in others), default=-math.inf)
    wait = max(0.0, freed + WINDOW_S - now) if slots > mine["slots"] else 0.0
    if slots < mine["slots"]:
        mine["freed"] = now
    kept[me] = mine | {"slots": slots, "until": now + LEASE_S}
    return kept, Share(slots, LEASE_S - 1.0, wait)
