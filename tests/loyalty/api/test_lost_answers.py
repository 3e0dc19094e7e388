"""A till that hears nothing asks again: over real sockets, the answer lost before or after the commit."""

import http.client
import json
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlsplit

import pytest

from loyalty.api import throttling
from loyalty.models import Redemption
from tests.factories import make_discount
from tests.loyalty.api.till import Till

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def till(live_server):
    throttling.forget()
    till = Till()
    till.host = urlsplit(live_server.url).netloc
    till.discount = make_discount(till.account, points=100)
    return till


def path(till, order: str = "T1") -> str:
    address = urlsplit(till.url(till.discount)).path
    return f"{address}/{order}" if order else address


def ask(till, method: str, address: str, body: bytes = b"", **headers) -> tuple[int, bytes]:
    """One call that waits for its answer."""
    link = http.client.HTTPConnection(till.host, timeout=30)
    try:
        link.request(method, address, body, {"X-APIKEY": till.key, "Content-Type": "application/json"} | headers)
        answer = link.getresponse()
        return answer.status, answer.read()
    finally:
        link.close()


def ask_and_leave(till, method: str, address: str, body: bytes = b"", **headers) -> None:
    """The whole request goes out, and whoever asked is gone before the answer comes."""
    host, port = till.host.split(":")
    lines = {"Host": till.host, "X-APIKEY": till.key, "Content-Type": "application/json",
             "Content-Length": str(len(body)), "Connection": "close"} | headers  # fmt: skip
    head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    with socket.create_connection((host, int(port)), timeout=30) as link:
        link.sendall(f"{method} {address} HTTP/1.1\r\n{head}\r\n".encode() + body)
        link.setsockopt(
            socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00"
        )  # a reset, no farewell


def committed(condition) -> None:
    end = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < end, "the request that was left never came to anything"
        time.sleep(0.02)


@pytest.mark.parametrize("order", ["T1", ""])
def test_a_lost_answer_asked_again_is_the_same(till, order):
    address = path(till, order)
    ask_and_leave(till, "PUT", address)
    committed(Redemption.unscoped.exists)
    status, first = ask(till, "PUT", address)
    assert status == 200 and ask(till, "PUT", address) == (status, first)
    made = Redemption.unscoped.get()
    assert json.loads(first)["data"]["redemptionID"] == str(made.public_id)
    assert till.balance == 900 and till.redeem_entries == 1


def test_a_double_click_and_a_retry_at_once(till):
    """Six requests of one order, of which three are left; then once more."""
    address = path(till)
    with ThreadPoolExecutor(6) as pool:
        left = [pool.submit(ask_and_leave, till, "PUT", address) for _ in range(3)]
        kept = [pool.submit(ask, till, "PUT", address) for _ in range(3)]
        answers = {one.result() for one in kept}
        [one.result() for one in left]
    assert len(answers) == 1 and answers == {ask(till, "PUT", address)}
    assert till.balance == 900 and Redemption.unscoped.count() == 1


def test_a_lost_revert_gives_back_once(till):
    made = json.loads(ask(till, "PUT", path(till))[1])["data"]["redemptionID"]
    address = f"/api/v2/redemptions/{made}/revert"
    ask_and_leave(till, "POST", address, b"{}")
    committed(lambda: till.balance == 1000)
    first = ask(till, "POST", address, b"{}")
    assert first[0] == 200 and first == ask(till, "POST", address, b"{}") and till.balance == 1000
    one = Redemption.unscoped.get()
    assert (one.state, one.why_ended) == ("reverted", "till")


def test_a_part_that_was_lost_comes_back_once_by_its_key(till):
    made = json.loads(ask(till, "PUT", path(till))[1])["data"]["redemptionID"]
    address, body = f"/api/v2/redemptions/{made}/revert", b'{"points": 40}'
    for _ in range(2):
        ask_and_leave(till, "POST", address, body, **{"Idempotency-Key": "k1"})
    committed(lambda: till.balance == 940)
    assert ask(till, "POST", address, body, **{"Idempotency-Key": "k1"})[0] == 200 and till.balance == 940
    assert ask(till, "POST", address, body, **{"Idempotency-Key": "k2"})[0] == 200 and till.balance == 980


def test_half_a_request_takes_nothing(till):
    """The line broke while the till was speaking: asked again it is a first request."""
    address = path(till)
    host, port = till.host.split(":")
    with socket.create_connection((host, int(port)), timeout=30) as link:
        link.sendall(f"PUT {address} HTTP/1.1\r\nHost: {till.host}\r\nX-APIKEY: {till.key[:9]}".encode())
    assert ask(till, "PUT", address)[0] == 200 and till.balance == 900 and till.redeem_entries == 1


@pytest.mark.parametrize("body", [
    b'{"points": 1}', b'{"pointsDeducted": 0, "loyaltyPoints": 99999}', b'{"price": -100, "points": -500}',
    b'{"discount": {"points": 0}}', b"points=0&price=0", b"not json at all",
])  # fmt: skip
def test_points_and_prices_that_a_client_sends_are_not_believed(till, body):
    status, answer = ask(till, "PUT", path(till), body)
    assert status == 200 and json.loads(answer)["data"]["pointsDeducted"] == 100 and till.balance == 900
