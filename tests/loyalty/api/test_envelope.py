"""Every answer is an envelope, whatever is sent."""

import json

import pytest
from django.db import OperationalError

from tests.factories import make_discount

from .till import PHONE, Till, sentence

DEEP = b"[" * 5000 + b"]" * 5000
BODIES = {
    "no json": b"phone=6045550142",
    "half": b'{"phone": "604',
    "list": b"[]",
    "number": b"5",
    "text": b'"6045550142"',
    "true": b"true",
    "bad utf-8": b'{"phone": "\xff\xfe"}',
    "nul byte": b'{"phone": "\x00"}',
    "lone surrogate": b'{"phone": "\\ud800"}',
    "deep": DEEP,
    "deep in a field": b'{"phone": ' + DEEP + b"}",
    "huge number": b'{"phone": 1e999}',
    "nan": b'{"phone": NaN}',
}
POSTS = ["/api/v2/wallet", "/api/v2/loyalty", f"/api/v2/loyalty/lookup/{PHONE}", "/api/v2/redemptions/x/revert"]


@pytest.mark.parametrize("address", POSTS)
@pytest.mark.parametrize("raw", BODIES.values(), ids=BODIES)
def test_unreadable_bodies(till, address, raw):
    assert "body" in till.refused(400, "POST", address, raw=raw)


VALUES = [[], {}, [1], True, 1.5, "\0", "a\nb", "x" * 5000, 10**40, -1, 0, {"a": {"b": 1}}, "☃" * 300]


@pytest.mark.parametrize("field", ["phone", "email"])
@pytest.mark.parametrize("value", VALUES, ids=repr)
def test_wrong_values_in_a_wallet_call(till, field, value):
    response = till.call("POST", "/api/v2/wallet", {field: value})
    assert response.status_code in (400, 404)
    if response.status_code == 400:
        assert sentence(response, 400).startswith(field)


@pytest.mark.parametrize("field", ["mobilePhone", "email", "firstName", "lastName", "loyalty"])
@pytest.mark.parametrize("value", VALUES, ids=repr)
def test_wrong_values_in_a_sign_up(till, field, value):
    response = till.call("POST", "/api/v2/loyalty", {"mobilePhone": "6045550177"} | {field: value})
    assert response.status_code in (200, 400)
    if response.status_code == 400:
        assert sentence(response, 400).startswith(field)


@pytest.mark.parametrize("value", [v for v in VALUES if v != 1.5], ids=repr)
def test_wrong_points_in_a_revert(till, value):
    discount = make_discount(till.account)
    done = till.data("PUT", till.url(discount) + "/T1")
    response = till.call("POST", f"/api/v2/redemptions/{done['redemptionID']}/revert", {"points": value})
    assert sentence(response, 400).startswith("points")
    assert till.balance == 900


SEGMENTS = ["%00", "%0a", "x" * 3000, "%FF%FE", "%F0%9F%98%80", "..", "%2e%2e%2f", "'", "1e999", "-1", "9" * 400, "%20"]
PATHS = [
    ("GET", "/api/v2/wallet/{}"),
    ("GET", "/api/v2/lookup/{}"),
    ("GET", "/api/v2/lookup/email/{}"),
    ("GET", "/api/v2/loyalty/lookup/{}"),
    ("GET", "/api/v1.1/stores/{}"),
    ("POST", "/api/v2/redemptions/{}/revert"),
    ("PUT", "/api/v1.1/discount/redeem/UID/{}/token"),
    ("PUT", "/api/v1.1/discount/redeem/UID/1/{}"),
    ("PUT", "/api/v1.1/discount/redeem/UID/1/token/{}"),
    ("PUT", "/api/v1.1/discount/redeem/{}/1/token"),
]


@pytest.mark.parametrize(("method", "address"), PATHS)
@pytest.mark.parametrize("segment", SEGMENTS)
def test_odd_paths(till, method, address, segment):
    response = till.call(method, address.replace("UID", till.account.uid).format(segment))
    assert response.status_code in (400, 403, 404)
    sentence(response, response.status_code)


def test_a_transaction_id_that_cannot_be(till):
    url = till.url(make_discount(till.account))
    for transaction in ("%00", "x" * 101, "a%0ab"):
        assert till.call("PUT", f"{url}/{transaction}").status_code in (400, 404)
    assert till.balance == 1000


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS"])
@pytest.mark.parametrize(
    "address", ["/api/v2", "/api/v2/", "/api/v2/nothing", "/api/v1.1/tiers/1", "/api/v2/wallet/a/b", "/api/v2/a%0Ab"]
)
@pytest.mark.parametrize("key", ["", None])
def test_unknown_paths(till, method, address, key):
    assert till.refused(404, method, address, key=key) == "Not Found"


@pytest.mark.parametrize(
    ("method", "address"),
    [("GET", "/api/v2/wallet"), ("DELETE", "/api/v2/loyalty"), ("OPTIONS", "/api/v2/wallet"),
     ("PATCH", f"/api/v2/wallet/{PHONE}"), ("POST", "/api/v1.1/discount/redeem/UID/1/t")],
)  # fmt: skip
def test_wrong_method(till, method, address):
    assert "not allowed" in till.refused(405, method, address.replace("UID", till.account.uid))


@pytest.mark.parametrize("content_type", ["", "text/plain", "application/x-www-form-urlencoded", "multipart/form-data",
                                          "application/json; charset=utf-8", "nonsense"])  # fmt: skip
def test_any_content_type(till, content_type):
    body = json.dumps({"phone": PHONE}).encode()
    assert till.data("POST", "/api/v2/wallet", raw=body, content_type=content_type)["loyaltyPoints"] == 1000


def test_byte_order_mark_and_unknown_fields(till):
    raw = b'\xef\xbb\xbf {"phone": "6045550142", "nested": {"a": [1]}, "uid": 5}'
    assert till.data("POST", "/api/v2/wallet", raw=raw)["loyaltyPoints"] == 1000


def test_whatever_it_accepts_it_gets_json(till):
    for accept in ("text/html", "image/png", "*/*", ""):
        assert till.data("GET", f"/api/v2/wallet/{PHONE}", headers={"Accept": accept})


def test_a_body_too_large(till, settings):
    settings.DATA_UPLOAD_MAX_MEMORY_SIZE = 1000
    assert till.refused(413, "POST", "/api/v2/wallet", {"phone": PHONE, "x": "y" * 2000})


def test_an_unforeseen_error_tells_nothing(till, monkeypatch, caplog):
    def burst(**_):
        raise ZeroDivisionError("secret detail")

    monkeypatch.setattr("loyalty.wallet.show", burst)
    message = till.refused(500, "GET", f"/api/v2/wallet/{PHONE}")
    assert "secret" not in message
    assert "secret detail" in caplog.text


def test_a_restarting_database_asks_for_patience(till, monkeypatch):
    def gone(**_):
        raise OperationalError("the connection is closed")

    monkeypatch.setattr("loyalty.wallet.show", gone)
    response = till.call("GET", f"/api/v2/wallet/{PHONE}")
    assert sentence(response, 503) and response["Retry-After"]


def test_numbers(db):
    till = Till(points=None)
    from decimal import Decimal

    from loyalty.api.envelope import EnvelopeRenderer

    told = EnvelopeRenderer().render({"a": Decimal("640.00"), "b": Decimal("12.50"), "c": Decimal("-0.05")})
    assert told == b'{"a":640,"b":12.50,"c":-0.05}'
    assert till


def test_the_current_account_ends_with_the_request(till):
    from aiqsync.accounts.tenancy import current_account_id

    till.wallet()
    assert current_account_id() is None


def test_schema_and_docs_are_open(client, db):
    schema = client.get("/api/schema/")
    assert schema.status_code == 200 and b"/api/v2/wallet" in schema.content
    page = client.get("/api/docs/")
    assert page.status_code == 200 and b"Give back the points" in page.content
    assert b"http" not in page.content.replace(b"<!doctype html>", b"")
