"""A token's allowance: kept in any second, shared by all who use it, closed for all when the vendor refuses."""

import itertools
import random
import threading
import time

import pytest

from integrations.kit import lanes
from integrations.kit.errors import TryLater
from integrations.kit.lanes import merged
from integrations.kit.pace import LEASE_S, WINDOW_S, Pace, Share, fair_slots, share_out


class Clock:
    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now

    def sleep(self, seconds):
        self.now += seconds


def pace(clock, **kwargs):
    return Pace(960, at_once=5, clock=clock, sleep=clock.sleep, **kwargs)


def test_never_more_than_16_in_any_second_and_nearly_as_many():
    clock = Clock()
    one, times = pace(clock), []
    for _ in range(320):
        one.wait("x")
        times.append(clock.now)
        one.done("x")
    assert all(sum(t <= other < t + 1.0 for other in times) <= 16 for t in times)
    assert 319 / (times[-1] - times[0]) > 16 * 0.9


def test_five_at_once_and_no_sixth():
    clock = Clock()
    one = pace(clock, max_wait_s=1)
    for _ in range(5):
        one.wait("x")
    with pytest.raises(TryLater):
        one.wait("another service of the same token")
    one.done("x")
    one.wait("x")


def test_a_refusal_closes_the_token_and_a_second_one_for_longer():
    clock = Clock()
    one = pace(clock, max_wait_s=60)
    assert [one.close("x", None) for _ in range(3)] == [1, 2, 4]
    assert one.close("x", 7) > 7
    began = clock.now
    one.wait("y")
    assert clock.now - began >= 7


def test_without_a_rate_nothing_is_paced():
    clock = Clock()
    one = Pace(0, at_once=5, lease=lambda wanted, busy: 1 / 0, clock=clock, sleep=clock.sleep)
    for _ in range(1000):
        one.wait("x")
        one.done("x")
    assert clock.now == 1000.0


def test_a_share_of_the_slots_is_a_share_of_the_rate():
    clock = Clock()
    one = pace(clock, lease=lambda wanted, busy: Share(2, 9.0))
    began = clock.now
    for _ in range(60):
        one.wait("x")
        one.done("x")
    assert 60 / (clock.now - began) <= 16 * 2 / 5 + 0.2


def test_what_is_new_of_a_share_waits_for_the_others_last_second():
    clock = Clock()
    one = pace(clock, lease=lambda wanted, busy: Share(3, 9.0, 1.06))
    one.wait("x")
    assert clock.now >= 1001.06


def test_slots_whose_time_is_over_are_not_used():
    clock, answers = Clock(), itertools.chain([Share(5, 0.5)], itertools.repeat(Share(0, 0.0)))
    one = pace(clock, lease=lambda wanted, busy: next(answers), max_wait_s=2)
    one.wait("x")
    one.done("x")
    clock.now += 1
    with pytest.raises(TryLater):
        one.wait("x")


@pytest.mark.parametrize(("members", "parts"), [(1, [5]), (2, [3, 2]), (3, [2, 2, 1]), (6, [1, 1, 1, 1, 1, 0])])
def test_equal_parts(members, parts):
    assert [fair_slots(members=members, place=n, slots=5) for n in range(members)] == parts


def test_sharing_out_never_gives_more_than_there_is():
    """Processes come, renew, leave and die at random: of a token never more than 5, of all never more than 10."""
    for seed in range(60):
        rng, now, holders = random.Random(seed), 0.0, {}
        held: dict[tuple, tuple[int, float]] = {}
        for _ in range(300):
            now += rng.random() * 2
            me = rng.choice("abcdefg")
            token = "t1" if me in "abc" else "t2" if me in "de" else "t3"
            slots = held.get(me, (0, 0.0))[0] if held.get(me, (0, 0.0))[1] > now else 0
            busy, wanted = rng.randint(0, slots), rng.choice([5, 5, 5, 0])
            if not wanted and busy:
                continue
            holders, share = share_out(
                holders, me=me, token=token, wanted=wanted, busy=busy, at_once=5, app_at_once=10, now=now
            )
            assert share.slots >= min(busy, slots)
            held[me] = (share.slots, now + share.valid_s)
            alive = {name: slots for name, (slots, until) in held.items() if until > now}
            assert sum(alive.values()) <= 10
            assert sum(n for name, n in alive.items() if name in "abc") <= 5
            assert sum(n for name, n in alive.items() if name in "de") <= 5


def test_two_come_to_equal_parts_and_the_last_one_has_all():
    holders, now = {}, 100.0

    def ask(me, wanted=5):
        nonlocal holders
        holders, share = share_out(holders, me=me, token="t", wanted=wanted, busy=0, at_once=5, app_at_once=10, now=now)
        return share

    assert ask("a") == Share(5, LEASE_S - 1)
    assert ask("b").slots == 0
    now += 1
    assert ask("a").slots == 3
    share = ask("b")
    assert share.slots == 2 and share.wait_s == pytest.approx(WINDOW_S)
    ask("b", wanted=0)
    now += 0.5
    share = ask("a")
    assert share.slots == 5 and share.wait_s == pytest.approx(WINDOW_S - 0.5)


def test_lanes_hand_over_everything_in_their_own_order():
    def lane(n):
        for m in range(50):
            yield n, m

    found = list(merged([lane(n) for n in range(5)], waiting=3))
    assert len(found) == 250
    for n in range(5):
        assert [m for lane_, m in found if lane_ == n] == list(range(50))


def test_a_lanes_error_comes_out_and_ends_the_others():
    def endless():
        while True:
            yield 1

    def failing():
        yield 2
        raise ValueError("here")

    with pytest.raises(ValueError, match="here"):
        for _ in merged([endless(), failing()]):
            pass


def test_a_lane_that_shall_end_takes_no_call_though_one_is_free():
    """Who pulls is told to stop while a lane is between two calls."""
    one, taken, over = Pace(0, at_once=5), [], []

    def lane():
        yield 1
        end = time.monotonic() + 60
        while not lanes.stopping() and time.monotonic() < end:
            time.sleep(0.005)
        try:
            one.wait("x")
            taken.append(1)
        except TryLater:
            over.append(1)

    def keep():
        if frozen:
            raise ValueError("frozen")

    frozen = False
    pages = merged([lane(), lane()], keep=keep)
    next(pages)
    frozen = True
    with pytest.raises(ValueError, match="frozen"):
        next(pages)
    assert (taken, over) == ([], [1, 1])


def test_a_lane_calls_no_more_when_nobody_has_looked_for_a_while(monkeypatch):
    """Whoever pulls lands a page, or waits for the database: whether there may be more calls he does not know."""
    calls, go = [], threading.Event()

    def lane():
        yield "first"
        go.wait(60)
        for n in range(5):
            lanes.hold()
            calls.append(n)
            yield n

    pages = merged([lane()], waiting=10)
    next(pages)
    monkeypatch.setattr(lanes, "LOOKED_S", -1.0)
    go.set()
    time.sleep(0.2)
    assert calls == []
    monkeypatch.setattr(lanes, "LOOKED_S", 60.0)
    assert list(pages) == calls == list(range(5))


def test_closing_ends_the_lanes():
    ended = []

    def lane():
        try:
            while True:
                yield 1
        finally:
            ended.append(True)

    pages = merged([lane(), lane()])
    next(pages)
    pages.close()
    import gc

    gc.collect()
    assert len(ended) == 2
