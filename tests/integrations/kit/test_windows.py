"""The walker over windows of time by location: late sales, long freezes, kills, big stores."""

import random
from datetime import datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from integrations.kit.windows import DateWindows
from tests.integrations.kit.reports import DAY, NOW, Reports, Sales, context, pull


@settings(max_examples=150, deadline=None)
@given(
    seed=st.integers(0, 10**9),
    locations=st.integers(1, 4),
    count=st.integers(0, 300),
    top=st.sampled_from([3, 10, 50]),
    days=st.sampled_from([1, 3, 40, 365]),
    kill=st.sampled_from([0.0, 0.1, 0.3]),
    clock=st.booleans(),
)
def test_every_sale_is_delivered(seed, locations, count, top, days, kill, clock):
    rng = random.Random(seed)
    reports = Reports([str(n) for n in range(locations)], clock)
    for _ in range(count):
        reports.sell(
            str(rng.randrange(locations) and rng.randrange(locations)),
            NOW - timedelta(seconds=rng.randrange(days * 86400)),
        )
    windows = DateWindows(top=top, few=20, many=60)
    seen, cursor = [], {}
    for _ in range(4):
        cursor = pull(reports, cursor, seen, rng=rng, kill=kill, windows=windows, history_days=days)
        reports.now += timedelta(seconds=rng.choice([20, 20, 3700, 90_000, 40 * 86400]))
        for _ in range(rng.randrange(4)):
            # half a minute on the till, some hours on a till that was off line
            ago = timedelta(seconds=rng.choice([0, 30, 500, 20_000]))
            reports.sell(str(rng.randrange(locations)), max(NOW, reports.now - ago))
    reports.now += timedelta(hours=2)
    cursor = pull(reports, cursor, seen, rng=rng, kill=kill, windows=windows, history_days=days)
    assert reports.ids() <= set(seen)
    assert all(state["done"] and not state.get("gap") and not state["at"] for state in cursor.values())


def test_new_sales_come_first_and_history_backwards():
    reports = Reports()
    for days in range(30):
        reports.sell("1", NOW - days * DAY - timedelta(hours=1), f"day{days}")
    seen = []
    pull(reports, {}, seen, history_days=29)
    first = list(dict.fromkeys(seen))
    assert first[0] == "day0"
    tops = [high for _, _, high, _ in reports.asked]
    assert tops == sorted(tops, reverse=True)


def test_windows_grow_when_little_is_sold():
    reports = Reports()
    pull(reports, {}, [], history_days=365)
    assert 52 <= len(reports.asked) <= 56


def test_windows_shrink_when_much_is_sold():
    reports = Reports()
    for minute in range(8 * 1440):
        reports.sell("1", NOW - 20 * DAY + timedelta(minutes=minute))
    seen = []
    pull(reports, {}, seen, history_days=40)
    widths = [high - low for _, low, high, _ in reports.asked[1:]]
    assert {timedelta(days=1), timedelta(days=7)} <= set(widths)
    assert reports.ids() <= set(seen)


def test_between_histories_new_sales_are_seen():
    reports = Reports()
    walk = DateWindows().walk(reports, Sales, context(reports), {})
    pages = [next(walk) for _ in range(5)]
    reports.now += timedelta(minutes=2)
    new = reports.sell("1", reports.now - timedelta(seconds=30))
    page = next(DateWindows().walk(reports, Sales, context(reports), pages[-1].cursor))
    assert [row["Id"] for row in page.rows] == [new]


def test_while_history_is_read_each_slice_makes_headway():
    reports = Reports([str(n) for n in range(8)])
    cursor = {}
    for _ in range(400):
        for page, _ in zip(DateWindows().walk(reports, Sales, context(reports), cursor), range(3), strict=False):
            cursor = page.cursor
        reports.now += timedelta(seconds=1)
        if all(state["done"] for state in cursor.values()):
            break
    assert all(state["done"] for state in cursor.values())


def test_locations_advance_together():
    reports = Reports(["big", "small"])
    rng = random.Random(1)
    for _ in range(20_000):
        reports.sell("big", NOW - timedelta(seconds=rng.randrange(30 * 86400)))
    cursor, gaps = {}, []
    for page in DateWindows().walk(reports, Sales, context(reports, history_days=30), cursor):
        front = [datetime.fromisoformat(state["oldest"]) for state in page.cursor.values()]
        if len(front) == 2:
            gaps.append(abs(front[0] - front[1]))
    assert max(gaps) <= timedelta(days=8)
    assert page.done == page.total == 60


def test_a_location_that_comes_later_gets_its_history():
    reports = Reports(["1"])
    cursor = pull(reports, {}, [], history_days=30)
    reports.sales["2"] = []
    old = reports.sell("2", NOW - 20 * DAY)
    seen = []
    pull(reports, cursor, seen, history_days=30)
    assert old in seen


def test_a_longer_history_goes_on_where_it_ended():
    reports = Reports()
    old = reports.sell("1", NOW - 100 * DAY)
    cursor = pull(reports, {}, [], history_days=30)
    reports.asked.clear()
    seen = []
    pull(reports, cursor, seen, history_days=200)
    assert old in seen
    assert max(high for _, _, high, _ in reports.asked[1:]) <= NOW - 29 * DAY


def test_settled_locations_cost_one_call_each():
    reports = Reports(["1", "2"])
    cursor = pull(reports, {}, [])
    reports.asked.clear()
    reports.now += timedelta(seconds=20)
    pull(reports, cursor, [])
    assert [(location, high - low < timedelta(minutes=25)) for location, low, high, _ in reports.asked] == [
        ("1", True),
        ("2", True),
    ]


@pytest.mark.parametrize(
    ("late", "after", "found"),
    [
        (timedelta(minutes=8), timedelta(seconds=20), True),
        (timedelta(hours=20), timedelta(seconds=20), False),
        (timedelta(hours=20), timedelta(minutes=61), True),
        (timedelta(days=6), timedelta(minutes=61), False),
        (timedelta(days=6), timedelta(hours=25), True),
    ],
)
def test_late_sales_are_found_by_the_sweeps(late, after, found):
    reports = Reports()
    cursor = pull(reports, {}, [])
    sold = reports.sell("1", NOW - late)
    reports.now += after
    seen = []
    pull(reports, cursor, seen)
    assert (sold in seen) is found


def test_after_a_long_freeze_today_comes_first():
    reports = Reports()
    cursor = pull(reports, {}, [])
    reports.now += 90 * DAY
    middle = reports.sell("1", NOW + 40 * DAY)
    today = reports.sell("1", reports.now - timedelta(minutes=5))
    seen = []
    reports.asked.clear()
    pull(reports, cursor, seen)
    assert {middle, today} <= set(seen)
    assert seen[0] == today
    assert max(high - low for _, low, high, _ in reports.asked) <= 8 * DAY
