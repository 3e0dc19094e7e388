"""The walker over changed rows, against a list that is edited between pages and pulls that are killed."""

import json
import random
import re
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from integrations.kit.errors import UnexpectedAnswer
from integrations.kit.pages import ChangedSince, FullList, rows_in
from integrations.kit.streams import Context, Stream

START = datetime(2026, 3, 1, 12, tzinfo=UTC)


class People(Stream):
    name, title, path = "people", "People", "/crm/{identity}/people"


class Crm:
    """A vendor's list: rows by id, an order, a clock that runs, and edits between the pages."""

    def __init__(self, rng, count=40, order="time", spread_s=100_000, edits=0, inserts=0, shows_clock=True):
        self.rng = rng
        self.now = START
        self.rows = {}
        self.order, self.edits, self.inserts, self.shows_clock = order, edits, inserts, shows_clock
        self.calls = 0
        for _ in range(count):
            self.insert(START - timedelta(seconds=rng.randrange(1, spread_s + 1), microseconds=rng.randrange(10**6)))

    @property
    def server_time(self):
        return self.now if self.shows_clock and self.calls else None

    def insert(self, at):
        born = len(self.rows)
        found = f"{self.rng.getrandbits(64):016x}"
        self.rows[found] = {"Id": found, "Version": 1, "at": at, "born": born}

    def edit(self):
        if not self.rows:
            return
        row = self.rng.choice(list(self.rows.values()))
        row["at"], row["Version"] = self.now, row["Version"] + 1

    def sorted(self):
        keys = {
            "time": lambda r: (r["at"], r["Id"]),
            "newest": lambda r: (-r["at"].timestamp(), r["Id"]),
            "id": lambda r: r["Id"],
            "born": lambda r: r["born"],
        }
        return sorted(self.rows.values(), key=keys[self.order])

    def get_json(self, path, params):
        self.calls += 1
        self.now += timedelta(seconds=self.rng.choice([0, 0.3, 2, 40]))
        since = datetime.fromisoformat(re.fullmatch(r"Changed ge datetime'(.+)'", params["$filter"])[1])
        found = [row for row in self.sorted() if row["at"] >= since]
        page = found[params["$skip"] : params["$skip"] + params["$top"]]
        answer = [
            {"Id": r["Id"], "Version": r["Version"], "Changed": r["at"].replace(tzinfo=None).isoformat()} for r in page
        ]
        for _ in range(self.edits and self.rng.randrange(self.edits + 1)):
            self.edit()
        for _ in range(self.inserts and self.rng.randrange(self.inserts + 1)):
            self.insert(self.now)
        return answer

    def state(self):
        return {(r["Id"], r["Version"]) for r in self.rows.values()}


def pull(crm, cursor, seen, *, top, kill=0.0, most=5000):
    """One pull, killed and taken up again from its last cursor with probability `kill` at each page."""
    pages = ChangedSince("Changed", top=top)
    context = Context(now=crm.now, identity="7")
    count = 0
    while True:
        for page in pages.walk(crm, People, context, json.loads(json.dumps(cursor))):
            count += 1
            assert count < most, "does not end"
            if crm.rng.random() < kill:
                break  # killed before this page was saved
            seen.update((row["Id"], row["Version"]) for row in page.rows)
            cursor = page.cursor
            if "walk" not in cursor:
                return cursor
            if crm.rng.random() < kill:
                break


ORDERS = ["time", "newest", "id", "born"]


@settings(max_examples=400, deadline=None)
@given(
    seed=st.integers(0, 10**9),
    order=st.sampled_from(ORDERS),
    count=st.integers(0, 160),
    top=st.sampled_from([10, 20, 100]),
    spread=st.sampled_from([1, 30, 1000, 10**7]),
    edits=st.integers(0, 3),
    inserts=st.integers(0, 2),
    kill=st.sampled_from([0.0, 0.1, 0.3]),
    clock=st.booleans(),
)
def test_every_version_that_stays_is_delivered(seed, order, count, top, spread, edits, inserts, kill, clock):
    rng = random.Random(seed)
    crm = Crm(rng, count, order, spread, edits, inserts, clock)
    seen, cursor = set(), {}
    for _ in range(3):
        cursor = pull(crm, cursor, seen, top=top, kill=kill)
        crm.now += timedelta(minutes=rng.choice([0, 1, 30]))
        for _ in range(rng.randrange(3)):
            crm.edit()
    crm.edits = crm.inserts = 0
    cursor = pull(crm, cursor, seen, top=top, kill=kill)
    assert crm.state() <= seen
    assert "walk" not in cursor


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10**9), count=st.integers(200, 600))
def test_the_order_of_creation_is_not_taken_for_the_order_of_change(seed, count):
    """Nearly ascending by time, with a few late edits: the case that loses rows when taken for sorted."""
    rng = random.Random(seed)
    crm = Crm(rng, 0, "born")
    for i in range(count):
        crm.insert(START - timedelta(days=30) + timedelta(minutes=i))
    for row in rng.sample(list(crm.rows.values()), k=max(1, count // 50)):
        row["at"] = START - timedelta(seconds=rng.randrange(100))
    seen = set()
    pull(crm, {}, seen, top=20)
    assert crm.state() <= seen


def test_a_sorted_list_is_walked_by_time():
    crm = Crm(random.Random(1), 1000, "time")
    seen = set()
    skips = []
    ask = crm.get_json
    crm.get_json = lambda path, params: skips.append(params["$skip"]) or ask(path, params)
    cursor = pull(crm, {}, seen, top=100)
    assert crm.state() == seen
    assert set(skips[:-1]) == {0}, "each page by its time"
    assert skips[-1] == 1000, "and one look behind the end"
    assert crm.calls <= 13
    assert datetime.fromisoformat(cursor["since"]) == max(r["at"] for r in crm.rows.values()).replace(microsecond=0)


@pytest.mark.parametrize("order", ORDERS)
def test_many_rows_in_one_second(order):
    crm = Crm(random.Random(2), 450, order, spread_s=1)
    seen = set()
    pull(crm, {}, seen, top=100)
    assert crm.state() == seen


def test_nothing_new_costs_one_call_and_leaves_the_time():
    crm = Crm(random.Random(3), 30)
    first = pull(crm, {}, set(), top=100)
    crm.now += timedelta(hours=1)
    crm.calls = 0
    seen = set()
    second = pull(crm, first, seen, top=100)
    assert crm.calls == 1
    assert second["since"] == first["since"]
    crm.now += timedelta(hours=1)
    seen = set()
    pull(crm, second, seen, top=100)
    assert len(seen) <= 1, "what was settled long ago is not read again and again"


def test_an_empty_list_is_asked_again_from_the_beginning():
    crm = Crm(random.Random(4), 0)
    cursor = pull(crm, {}, set(), top=100)
    crm.insert(START - timedelta(days=4000))
    seen = set()
    pull(crm, cursor, seen, top=100)
    assert len(seen) == 1


def test_our_clock_never_moves_the_cursor():
    """Ours is a day ahead: the cursor stays with the times the vendor named."""
    crm = Crm(random.Random(5), 30, shows_clock=False)
    newest = max(r["at"] for r in crm.rows.values())
    context = Context(now=START + timedelta(days=1), identity="7")
    *_, last = ChangedSince("Changed").walk(crm, People, context, {})
    assert datetime.fromisoformat(last.cursor["since"]) <= newest


def test_a_time_far_ahead_does_not_carry_the_cursor_away():
    crm = Crm(random.Random(6), 30)
    crm.insert(START + timedelta(days=4000))
    cursor = pull(crm, {}, set(), top=100)
    assert datetime.fromisoformat(cursor["since"]) <= crm.now


class Scripted:
    def __init__(self, *answers):
        self.answers = list(answers)

    def get_json(self, path, params=None):
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]


CONTEXT = Context(now=START, identity="7")


def test_a_page_that_repeats_itself_stops():
    same = [{"Id": str(i), "Version": 1, "Changed": f"2026-02-01T00:00:{i:02}"} for i in range(20)]
    with pytest.raises(UnexpectedAnswer, match="again and again"):
        list(ChangedSince("Changed", top=20).walk(Scripted(same), People, CONTEXT, {}))


def test_a_page_that_comes_twice_once_loses_nothing():
    crm = Crm(random.Random(7), 400, "id")
    ask, last = crm.get_json, []

    def stutter(path, params):
        if crm.calls == 2 and last:
            return last.pop()
        last[:] = [ask(path, params)]
        return last[0]

    crm.get_json = stutter
    seen = set()
    pull(crm, {}, seen, top=100)
    assert crm.state() == seen


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("count", [30, 50, 99, 100, 101, 430])
def test_a_page_with_each_row_twice_loses_nothing(order, count):
    crm = Crm(random.Random(8), count, order)
    ask = crm.get_json
    crm.get_json = lambda path, params: ask(path, params) * 2
    seen = set()
    pull(crm, {}, seen, top=100)
    assert crm.state() == seen


def test_garbled_rows_are_delivered_and_do_not_stop_it():
    rows = [None, 7, "x", {"Id": 1}, {"Id": 2, "Changed": "soon"}, {"Id": 3, "Changed": "2026-02-01T00:00:00"}]
    page, *more = ChangedSince("Changed").walk(Scripted(rows), People, CONTEXT, {})
    assert page.rows == rows
    assert not more
    assert page.cursor["since"] == "2026-02-01T00:00:00Z"


def test_full_list():
    (page,) = FullList().walk(Scripted([1, 2]), People, CONTEXT, {})
    assert page == ([1, 2], {"at": "2026-03-01T12:00:00Z"}, 1, 1, "")


@pytest.mark.parametrize(
    "answer", [None, {}, {"Message": "x"}, "rows", 7, {"_embedded": {"self": {}}}, {"_embedded": []}]
)
def test_what_is_not_a_list(answer):
    with pytest.raises(UnexpectedAnswer, match="People: the answer is not a list"):
        rows_in(answer, "People")


def test_hal():
    assert rows_in({"_links": {}, "_embedded": {"self": [1]}}, "People") == [1]
    assert rows_in({"_links": {}, "_embedded": {}}, "People") == []


@pytest.mark.parametrize("declared", [staticmethod, classmethod])
def test_a_stream_tells_details_however_it_declares_them(declared):
    class Told(People):
        fetch_details = declared(lambda *given: given[-2])

    class Inherits(Told):
        pass

    assert (People.tells_details(), Told.tells_details(), Inherits.tells_details()) == (False, True, True)
