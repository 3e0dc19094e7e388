"""Giving back: whole, in part, once."""

import pytest

from tests.factories import make_account, make_discount

from .till import Till, at_once


@pytest.fixture
def done(till):
    return till.data("PUT", till.url(make_discount(till.account, points=400)) + "/T1")


def address(done) -> str:
    return f"/api/v2/redemptions/{done['redemptionID']}/revert"


@pytest.mark.parametrize("body", [None, {}, {"points": None}, {"reason": "order declined"}])
def test_whole(till, done, body):
    assert till.data("POST", address(done), body) == {
        "redemptionID": done["redemptionID"],
        "pointsReturned": 400,
        "pointsReturnedTotal": 400,
        "loyaltyPoints": 1000,
        "state": "reverted",
    }


def test_repeated_it_gives_back_once(till, done):
    first = till.call("POST", address(done))
    again = till.call("POST", address(done) + "/")
    assert again.content == first.content and again["Idempotent-Replayed"] == "true"
    assert till.balance == 1000


def test_in_parts(till, done):
    first = till.data("POST", address(done), {"points": 100.5})
    assert (first["pointsReturned"], first["loyaltyPoints"], first["state"]) == (100.5, 700.5, "applied")
    till.data("POST", address(done), {"points": 100.5})  # the same part again is a repeat
    assert till.balance == 700.5
    rest = till.data("POST", address(done))
    assert (rest["pointsReturned"], rest["pointsReturnedTotal"], rest["state"]) == (299.5, 400, "reverted")
    assert till.balance == 1000


def test_equal_parts_need_a_key_each(till, done):
    for key in ("a", "b", "b"):
        till.data("POST", address(done), {"points": "150"}, headers={"Idempotency-Key": key})
    assert till.balance == 900
    assert till.refused(422, "POST", address(done), {"points": 20}, headers={"Idempotency-Key": "a"})
    assert till.balance == 900


def test_more_than_was_taken(till, done):
    message = till.refused(400, "POST", address(done), {"points": 401})
    assert message == "points: 400 can be given back, 401 were asked for."
    assert till.refused(400, "POST", address(done), {"points": 0.001}) == "points: at most two decimals."
    assert till.balance == 600


@pytest.mark.parametrize("redemption", ["6f0c2a52-6a8e-4c55-9b0a-0d3c64a9e7aa", "r-9f31", "0", "null"])
def test_unknown(till, redemption):
    assert till.refused(404, "POST", f"/api/v2/redemptions/{redemption}/revert") == "Redemption not found"


def test_without_dashes(till, done):
    assert till.data("POST", address(done).replace("-", ""))["state"] == "reverted"


def test_another_accounts_redemption_does_not_exist(till, done):
    other = Till(points=None, account=make_account("Other Co"), scope="admin")
    assert other.refused(404, "POST", address(done)) == "Redemption not found"
    assert till.balance == 600


@pytest.mark.django_db(transaction=True)
def test_twenty_at_once():
    till = Till()
    done = till.data("PUT", till.url(make_discount(till.account, points=400)) + "/T1")
    answers = at_once([lambda: till.call("POST", address(done))] * 20)
    assert {a.status_code for a in answers} == {200} and len({a.content for a in answers}) == 1
    assert till.balance == 1000
