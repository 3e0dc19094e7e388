"""The walker over windows of time: a vendor that fails, repeats itself, or has another clock."""

import random
from datetime import timedelta

import pytest

from integrations.kit.client import ServerFault
from integrations.kit.errors import BadCredentials, NotFound, TryLater, UnexpectedAnswer
from integrations.kit.streams import Context
from integrations.kit.windows import DateWindows
from tests.integrations.kit.reports import DAY, NOW, Reports, Sales, context, pull


def test_a_window_too_large_is_asked_as_a_day():
    reports = Reports()
    wanted = [reports.sell("1", NOW - days * DAY) for days in range(60)]
    reports.refuse = lambda location, low, high: ServerFault("too much") if high - low > 2 * DAY else None
    seen = []
    pull(reports, {}, seen, history_days=60)
    assert set(wanted) <= set(seen)


def test_one_failing_location_does_not_stop_the_others():
    reports = Reports(["1", "2", "3"])
    sold = reports.sell("3", NOW - 30 * DAY)
    reports.refuse = lambda location, low, high: NotFound("unknown") if location == "2" else None
    seen, cursor = [], {}
    with pytest.raises(UnexpectedAnswer, match="Location 2"):
        for page in DateWindows().walk(reports, Sales, context(reports), cursor):
            seen += [row["Id"] for row in page.rows]
            cursor = page.cursor
    assert sold in seen
    reports.refuse = lambda *_: None
    pull(reports, cursor, seen)
    assert reports.ids() <= set(seen)


@pytest.mark.parametrize("error", [TryLater("slow down"), BadCredentials("no")])
def test_what_concerns_everything_stops_at_once(error):
    reports = Reports(["1", "2", "3"])
    reports.refuse = lambda *_: error
    with pytest.raises(type(error)):
        list(DateWindows().walk(reports, Sales, context(reports), {}))
    assert len(reports.asked) == 1


def test_a_dead_vendor_is_not_asked_for_every_location():
    reports = Reports([str(n) for n in range(50)])
    reports.refuse = lambda *_: ServerFault("down")
    with pytest.raises(ServerFault):
        list(DateWindows().walk(reports, Sales, context(reports), {}))
    assert len(reports.asked) == 2


def test_a_page_that_repeats_itself_stops():
    reports = Reports()
    reports.get_json = lambda path, params: [{"Id": str(n)} for n in range(500)]
    with pytest.raises(UnexpectedAnswer, match="same page"):
        list(DateWindows().walk(reports, Sales, context(reports), {}))


def doubled(rows):
    return rows + rows


@pytest.mark.parametrize("every", [1, 2])
def test_pages_with_each_row_twice_lose_nothing(every):
    reports = Reports()
    rng = random.Random(1)
    for _ in range(400):
        reports.sell("1", NOW - timedelta(seconds=rng.randrange(20 * 86400)))
    ask = reports.get_json
    reports.get_json = lambda path, params: (doubled if len(reports.asked) % every == 0 else list)(ask(path, params))
    seen = []
    pull(reports, {}, seen, windows=DateWindows(top=10), history_days=20)
    assert reports.ids() <= set(seen)


def test_an_answer_that_comes_again_loses_nothing():
    reports = Reports()
    rng = random.Random(1)
    for _ in range(400):
        reports.sell("1", NOW - timedelta(seconds=rng.randrange(20 * 86400)))
    ask, last = reports.get_json, []

    def stutter(path, params):
        if last and rng.random() < 0.2:
            return last.pop()
        last[:] = [ask(path, params)]
        return last[0]

    reports.get_json = stutter
    seen = []
    pull(reports, {}, seen, windows=DateWindows(top=10), history_days=20)
    assert reports.ids() <= set(seen)


def test_a_sale_in_the_minute_two_windows_share_stops_nothing():
    reports = Reports()
    sold = reports.sell("1", (NOW - DAY).replace(second=0))
    reports.sales["1"][0]["at"] = (NOW - DAY).replace(second=33)
    reports.sell("1", NOW - DAY - DAY)
    reports.sales["1"][1]["at"] = NOW - DAY - DAY
    seen = []
    pull(reports, {}, seen, history_days=20)
    assert sold in seen and reports.ids() <= set(seen)


def test_a_vendor_that_does_not_page_is_taken_at_its_word():
    reports = Reports()
    ask = reports.get_json
    for n in range(30):
        reports.sell("1", NOW - timedelta(minutes=n))
    reports.get_json = lambda path, params: ask(path, {**params, "$top": 10_000, "$skip": 0})
    seen = []
    pull(reports, {}, seen, windows=DateWindows(top=10), history_days=2)
    assert reports.ids() <= set(seen)


def test_our_clock_ahead_of_theirs_loses_nothing():
    reports = Reports()
    ahead = timedelta(hours=3)
    cursor = {}
    for page in DateWindows().walk(reports, Sales, Context(now=NOW + ahead, identity="7", locations=("1",)), cursor):
        cursor = page.cursor
    reports.now += timedelta(minutes=1)
    sold = reports.sell("1", reports.now)
    reports.now += timedelta(minutes=1)
    page = next(
        DateWindows().walk(reports, Sales, Context(now=reports.now + ahead, identity="7", locations=("1",)), cursor)
    )
    assert [row["Id"] for row in page.rows] == [sold]
    assert page.note == "location 1, 2 Mar 2026"
