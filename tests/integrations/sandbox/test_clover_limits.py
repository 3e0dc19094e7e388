"""The stand-in for Clover under load: its limits, calls at the same time, faults, and how it is started."""

import http.client
import json
import signal
import subprocess
import sys
import threading
import time

import pytest

from integrations.sandbox import server
from integrations.sandbox.clover.access import HEADERS

from .clover_client import DAY_MS, Client, now_ms

WAIT_S = 30


class Clock:
    """A clock that only moves when it is told to."""

    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


@pytest.fixture
def limited():
    """Four merchants with a token each, the vendor's own limits, and a clock in our hands."""
    with server.start("clover", customers=8, sales=8, locations=4, days=5) as one:
        one.vendor.gate.clock = one.clock = Clock()
        one.clients = [Client(one.url, merchant) for merchant in range(4)]
        yield one


def sent_limits(client):
    return {name: client.headers[name] for name in (*HEADERS.values(), "Retry-After") if client.headers[name]}


def test_16_calls_a_second_and_token(limited):
    first, second = limited.clients[:2]
    assert [first.call("GET", "", "limit=1")[0] for _ in range(18)] == [200] * 16 + [429] * 2
    assert first.call("GET", "") == (429, {"message": "429 Too Many Requests"})
    assert sent_limits(first) == {"X-RateLimit-tokenLimit": "16"}, "no time to wait is told for calls a second"
    assert second.call("GET", "")[0] == 200
    limited.clock.now += 0.999
    assert first.call("GET", "")[0] == 429
    limited.clock.now += 0.002
    assert [first.call("GET", "")[0] for _ in range(17)] == [200] * 16 + [429]


def test_50_calls_a_second_and_app(limited):
    answers = [client.call("GET", "")[0] for client in limited.clients for _ in range(13)]
    assert answers == [200] * 50 + [429] * 2
    assert sent_limits(limited.clients[3]) == {"X-RateLimit-crossTokenLimit": "50"}
    limited.clock.now += 1.001
    assert limited.clients[3].call("GET", "")[0] == 200


def test_refused_calls_and_strangers_count_like_others(limited):
    client = limited.clients[0]
    assert [client.call("GET", "/orders/NOBODY0000000")[0] for _ in range(17)] == [404] * 16 + [429]
    client.token = "nobody"
    assert [client.call("GET", "")[0] for _ in range(17)] == [401] * 16 + [429]
    assert limited.clients[1].call("GET", "")[0] == 200, "strangers do not use up the app's allowance"


@pytest.mark.parametrize("kind, holders, header, figure", [
    ("token", ((0, 5),), "X-RateLimit-tokenConcurrentLimit", "5"),
    ("app", ((1, 5), (2, 5)), "X-RateLimit-crossTokenConcurrentLimit", "10"),
])  # fmt: skip
def test_calls_at_once(limited, kind, holders, header, figure):
    client, gate = limited.clients[0], limited.vendor.gate
    held = []
    for merchant, count in holders:
        for _ in range(count):
            held.append(gate.hold(limited.clients[merchant].token, known=True))
            assert held[-1].__enter__() is None
    assert client.call("GET", "")[0] == 429
    assert sent_limits(client) == {header: figure, "Retry-After": "1"}
    for one in held:
        one.__exit__(None, None, None)
    waits = []
    for _ in range(3):  # earlier than told: the wait grows
        assert client.call("GET", "")[0] == 429
        waits.append(client.headers["retry-after"])
    assert waits == ["2", "3", "4"]
    limited.clock.now += 4.001
    assert client.call("GET", "")[0] == 200 and sent_limits(client) == {}


def test_the_wait_is_never_longer_than_a_minute(limited):
    client, gate = limited.clients[0], limited.vendor.gate
    held = [gate.hold(client.token, known=True) for _ in range(5)]
    assert [one.__enter__() for one in held] == [None] * 5
    for _ in range(80):
        limited.clock.now += 0.1
        client.call("GET", "")
    assert client.headers["retry-after"] == "60"


def test_five_slow_calls_leave_no_room_for_a_sixth(limited):
    """The same over real connections: five answers are held back, the sixth call is refused, then all five come."""
    client, gate = limited.clients[0], limited.vendor.gate
    client.control("faults", match="/v3", kind="slow", times=5, seconds=WAIT_S)
    answers = []

    def ask():
        answers.append(Client(limited.url, 0).call("GET", "")[0])

    threads = [threading.Thread(target=ask) for _ in range(5)]
    for thread in threads:
        thread.start()
    deadline = time.monotonic() + WAIT_S
    while gate.inside(client.token) < 5 and time.monotonic() < deadline:
        threading.Event().wait(0.005)
    assert gate.inside(client.token) == 5
    assert client.call("GET", "")[0] == 429
    assert limited.clients[1].call("GET", "")[0] == 200, "another token's calls do not wait behind them"
    limited.sandbox.stopping.set()  # ends the holding back
    for thread in threads:
        thread.join(WAIT_S)
    assert answers == [200] * 5 and gate.inside(client.token) == 0


def test_limits_can_be_changed_and_switched_off(limited):
    client = limited.clients[0]
    client.control("seed", customers=2, sales=0, rate=3, limits={"app_rate": 4}, locations=2)
    first, second = Client(limited.url, 0), Client(limited.url, 1)
    assert [first.call("GET", "")[0] for _ in range(4)] == [200] * 3 + [429]
    assert [second.call("GET", "")[0] for _ in range(2)] == [200, 429]
    client.control("seed", customers=2, sales=0, rate=0)
    first = Client(limited.url, 0)
    assert [first.call("GET", "")[0] for _ in range(40)] == [200] * 40
    client.control("seed", customers=2, sales=0)
    first = Client(limited.url, 0)
    assert [first.call("GET", "")[0] for _ in range(17)][-1] == 429, "absent: the vendor's own again"


def test_a_paced_client_reads_everything_without_one_429():
    """At most 15 calls a second, one after the other, real clock: every page comes, no answer is 429."""
    with server.start("clover", customers=300, sales=1500, seed=7, days=80) as one:
        client = Client(one.url)
        pace, pages, offset = 1 / 15, 0, 0
        while True:
            # From each answer, not from a timetable: whoever was held up would catch up with it, too fast.
            time.sleep(pace)
            query = ("limit=100", f"offset={offset}", "orderBy=modifiedTime ASC")
            rows = client.rows("/orders", *query, "expand=lineItems,discounts,payments")
            pages, offset = pages + 1, offset + len(rows)
            if len(rows) < 100:
                break
        calls = client.raw("GET", "/_sandbox/calls")[1]
        assert offset == len(client.state("sales")) and {call["status"] for call in calls} == {200}
        assert len(calls) == pages


def test_paging_finds_its_rows_once():
    """What makes a page cheap: the sorted list is kept until something changes."""
    with server.start("clover", customers=10, sales=100, days=5, rate=0) as one:
        client = Client(one.url)
        orders = one.vendor.merchants[client.mid].orders
        found = []
        kept = orders.select
        orders.select = lambda *asked: found.append(kept(*asked)) or found[-1]
        times = (f"filter=modifiedTime>={now_ms() - 80 * DAY_MS}", f"filter=modifiedTime<={now_ms() + DAY_MS}")
        bounds = (*times, "orderBy=modifiedTime ASC")
        client.rows("/orders", *bounds, "limit=10")
        client.rows("/orders", *bounds, "limit=10", "offset=10")
        assert found[0] is found[1]
        sale = client.control("sell")
        last = client.rows("/orders", *bounds, "limit=1000")[-1]
        assert found[2] is not found[0] and last["id"] == sale["id"]


def test_writers_at_the_same_time_lose_nothing():
    with server.start("clover", customers=0, sales=0, days=5, rate=0) as one:
        start, made = threading.Barrier(5), []

        def write(number):
            client = Client(one.url)
            start.wait(WAIT_S)
            for at in range(20):
                row = client.post("/customers", {"firstName": f"{number}-{at}"})
                client.post(f"/customers/{row['id']}/phone_numbers", {"phoneNumber": f"{number}{at}"})
                client.control("sell", customer_id=row["id"], lines=[{"sku": "DC-51"}])
                made.append(row["id"])

        threads = [threading.Thread(target=write, args=(number,)) for number in range(5)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(WAIT_S)
        client = Client(one.url)
        rows = client.all("/customers", "expand=phoneNumbers", limit=33)
        assert len(set(made)) == 100 and {row["id"] for row in rows} == set(made)
        assert all(len(row["phoneNumbers"]["elements"]) == 1 for row in rows)
        assert len({row["id"] for row in client.all("/orders")}) == len(client.all("/payments")) == 100
        chocolate = next(row for row in client.rows("/items") if row.get("sku") == "DC-51")
        assert client.get(f"/item_stocks/{chocolate['id']}")["quantity"] == 20


# faults


@pytest.fixture(scope="module")
def running():
    with server.start("clover", customers=40, sales=60, days=10, rate=0) as one:
        yield one


@pytest.fixture
def client(running):
    one = Client(running.url)
    one.control("faults", clear=True)
    return one


@pytest.mark.parametrize("kind, header, waits", [
    ("429", "X-RateLimit-tokenLimit", None),
    ("429_concurrent", "X-RateLimit-tokenConcurrentLimit", "7"),
    ("429_app", "X-RateLimit-crossTokenLimit", None),
    ("429_app_concurrent", "X-RateLimit-crossTokenConcurrentLimit", "7"),
])  # fmt: skip
def test_each_429_on_demand(client, kind, header, waits):
    client.control("faults", match="/v3/", kind=kind, times=2, seconds=7)
    for _ in range(2):
        assert client.call("GET", "/customers")[0] == 429
        assert client.headers[header] and client.headers["retry-after"] == waits
    assert client.call("GET", "/customers")[0] == 200


@pytest.mark.parametrize("kind, status", [
    ("500", 500), ("503", 503), ("bad_password", 401), ("temporary_password", 401), ("no_permission", 401),
])  # fmt: skip
def test_refusals_on_demand(client, kind, status):
    client.control("faults", match="/v3/", kind=kind)
    assert client.call("GET", "/customers")[0] == status
    assert client.call("GET", "/customers")[0] == 200


def test_a_missing_permission_under_a_path(client):
    path = f"/v3/merchants/{client.mid}/orders".lower()
    client.control("faults", match=path, kind="no_permission", times=-1)
    assert client.call("GET", "/customers")[0] == 200
    assert client.call("GET", "/orders") == (401, {"message": "401 Unauthorized"})


def test_faults_on_the_wire(client):
    first = client.rows("/customers", "limit=5")
    client.control("faults", match="/v3/", kind="duplicate")
    assert client.rows("/customers", "limit=5") == first + first
    client.rows("/customers", "limit=5")
    client.control("faults", match="/v3/", kind="repeat")
    assert client.rows("/customers", "limit=5", "offset=5") == first
    for kind, failure in (
        ("cut", http.client.IncompleteRead),
        ("reset", ConnectionResetError),
        ("lost", http.client.RemoteDisconnected),
    ):
        client.control("faults", match="/v3/", kind=kind)
        with pytest.raises(failure):
            client.call("GET", "/customers")
        client.connection.close()
    client.control("faults", match="/v3/", kind="timeout", seconds=0.1)
    with pytest.raises(http.client.RemoteDisconnected):
        client.call("GET", "/customers")
    client.connection.close()
    for kind in ("garbled", "html"):
        client.control("faults", match="/v3/", kind=kind)
        try:
            document = client.call("GET", "/customers")[1]
        except UnicodeDecodeError:
            document = ""
        assert isinstance(document, str)
    client.control("faults", match="/v3/", kind="slow", seconds=0.01)
    assert client.call("GET", "/customers")[0] == 200


def test_a_lost_answer_acted_and_a_reset_call_did_not(client):
    for kind, made in (("lost", 1), ("reset", 0), ("cut", 1)):
        email = f"{kind}@example.com"
        client.control("faults", match="/v3/", kind=kind)
        with pytest.raises((http.client.HTTPException, OSError)):
            client.call("POST", "/customers", body={"emailAddresses": [{"emailAddress": email}]})
        client.connection.close()
        assert len(client.rows("/customers", f"filter=emailAddress={email}")) == made


def test_a_row_that_comes_in_between_two_pages_of_orders(client):
    client.control("faults", match=f"/v3/merchants/{client.mid}/orders".lower(), kind="shift")
    first = client.rows("/orders", "limit=10")
    assert client.rows("/orders", "limit=10", "offset=10")[0] == first[-1]


def test_calls_are_logged_with_their_answers(client):
    client.get("/customers", "limit=1")
    client.call("GET", "/orders/NOBODY0000000")
    calls = client.raw("GET", "/_sandbox/calls")[1][-2:]
    assert [(call["method"], call["status"]) for call in calls] == [("GET", 200), ("GET", 404)]
    assert calls[0]["path"].endswith("/customers") and calls[0]["query"] == "limit=1"
    assert client.raw("GET", f"/_sandbox/calls?since={calls[0]['seq']}")[1] == calls[1:]


def test_it_starts_like_the_others():
    """`python -m integrations.sandbox clover` listens, answers, ends on SIGTERM; switches of others are left out."""
    words = ["clover", "--customers", "5", "--sales", "10", "--days", "5", "--rate", "0", "--blank-payments", "0.5"]
    process = subprocess.Popen(
        [sys.executable, "-m", "integrations.sandbox", *words], stdout=subprocess.PIPE, text=True
    )
    try:
        client = Client(json.loads(process.stdout.readline())["clover"])
        assert len(client.rows("/customers")) <= 5 and client.get("")["id"] == client.mid
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(WAIT_S) == 0
        process.stdout.close()
