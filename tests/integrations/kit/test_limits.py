import threading

import pytest

from integrations.kit.errors import TryLater
from integrations.kit.limits import Limiter, window_of


class Clock:
    """Time that passes by sleeping only."""

    def __init__(self):
        self.now = 1000.0
        self.slept = 0.0

    def __call__(self):
        return self.now

    def sleep(self, seconds):
        self.now += seconds
        self.slept += seconds


def limiter(rate=1000, **kwargs):
    clock = Clock()
    return Limiter(rate, clock=clock, sleep=clock.sleep, **kwargs), clock


@pytest.mark.parametrize("rate", [60, 300, 1000])
def test_never_more_than_the_limit_in_any_minute(rate):
    paced, clock = limiter(rate)
    at = []
    for _ in range(rate * 3):
        paced.wait("crm")
        at.append(clock.now)
    for first in range(len(at) - rate):
        assert at[first + rate] - at[first] >= 60


def test_uses_most_of_the_limit():
    paced, clock = limiter(600)
    for _ in range(4800):
        paced.wait("crm")
    assert clock.slept < 4800 / 480 * 60


def test_services_do_not_share():
    paced, clock = limiter(60, burst=1)
    paced.wait("crm")
    paced.wait("pricing")
    assert clock.slept == 0


def test_off():
    paced, clock = limiter(0)
    for _ in range(10_000):
        paced.wait("crm")
    assert clock.slept == 0


def test_long_waits_are_raised_not_slept():
    paced, clock = limiter(60)
    paced.close("crm", 37)
    with pytest.raises(TryLater) as raised:
        paced.wait("crm")
    assert raised.value.after_s == 37
    assert clock.slept == 0
    clock.now += 37
    paced.wait("crm")


def test_short_waits_are_slept():
    paced, clock = limiter(1000)
    paced.close("crm", 3)
    paced.wait("crm")
    assert clock.slept == pytest.approx(3)


def test_learns_from_the_vendor():
    paced, clock = limiter(1000)
    paced.wait("crm")
    paced.learn("crm", limit=1000, remaining=0, reset_s=4)
    paced.wait("crm")
    assert clock.slept >= 4
    paced.learn("crm", limit=60, remaining=0)
    before = clock.slept
    paced.wait("crm")
    paced.wait("crm")
    assert clock.slept - before >= 1.25  # 48 a minute


def test_threads_together_stay_under_it():
    paced = Limiter(6000, burst=10, max_wait_s=60)  # 80 a second
    import time

    started = time.monotonic()
    threads = [threading.Thread(target=lambda: [paced.wait("crm") for _ in range(10)]) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert time.monotonic() - started >= 40 / 80 * 0.9


def test_headers_of_either_family():
    headers = {
        "COVA-APIM-RateLimit-Limit": "1000",
        "COVA-APIM-RateLimit-Remaining": "998",
        "X-RateLimit-Remaining": "12",
        "X-RateLimit-ResetSeconds": "37",
        "X-RateLimit-Reset": "1777777777",
        "Content-Length": "nonsense",
    }
    assert window_of(headers) == {"limit": 1000, "remaining": 12, "reset_s": 37}
    assert window_of({"X-RateLimit-Limit": "soon"}) == {}
