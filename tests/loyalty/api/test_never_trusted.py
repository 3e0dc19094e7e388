"""What a caller says about prices and points counts for nothing; what he says about his order can only refuse."""

import json
import re
from decimal import Decimal

import pytest

from loyalty.models import Entry, Programme, Redemption
from tests.factories import make_discount

from .till import PHONE, Till

# What a till, a web shop, or somebody who is up to no good might send along.
LIES = {
    "points": 1, "pointsDeduction": 1, "pointsDeducted": 0, "price": 0, "cost": 0, "loyaltyPoints": 99_999,
    "balance": 99_999, "amount": 5000, "amountOff": 5000, "dollarValue": 5000, "percentageValue": 100,
    "discount": 5000, "discountAmount": 5000, "discountID": "1", "discountTemplateID": "1", "persona": 1,
    "contactID": "3f0c0000-0000-4000-8000-000000000000", "uid": "1", "n": 7, "channel": "staff", "state": "settled",
    "store": 1, "store_id": 1, "transactionID": "OTHER", "transaction": "OTHER", "code": "FREE", "reusable": True,
    "tierDiscount": True, "per_order": 9, "minimumSpend": 0, "spend": 1, "spend_cents": 1, "subtotal": 0.01,
    "total": 0.01, "applied_at": "2020-01-01", "items": [{"price": 0, "quantity": 1}],
}  # fmt: skip


@pytest.fixture
def discount(till):
    return make_discount(till.account, points=400, cents=1000, min_spend_cents=5000)


def same(answer: dict) -> dict:
    """An answer without what differs from one redemption to the next by itself."""
    return {name: value for name, value in answer.items() if name != "redemptionID"}


@pytest.mark.parametrize("order", ["", "/T1"])
@pytest.mark.parametrize("place", ["body", "query", "form", "headers", "each alone"])
def test_prices_and_points_of_a_caller_count_for_nothing(till, discount, order, place):
    honest = Till(account=None)
    twin = make_discount(honest.account, points=400, cents=1000, min_spend_cents=5000)
    expected = same(honest.data("PUT", honest.url(twin) + order))
    url = till.url(discount) + order
    query = "&".join(f"{name}={value}" for name, value in LIES.items() if not isinstance(value, list))
    match place:
        case "body":
            told = till.data("PUT", url, LIES)
        case "query":
            told = till.data("PUT", f"{url}?{query}")
        case "form":
            told = till.data("PUT", url, raw=query.encode(), content_type="application/x-www-form-urlencoded")
        case "headers":
            told = till.data("PUT", url, headers={f"X-{name}": json.dumps(value) for name, value in LIES.items()})
        case _:
            for name, value in LIES.items():
                told = till.data("PUT", f"{url}?{name}=1", {name: value})
    assert same(told) == expected and told["pointsDeducted"] == 400
    assert till.balance == 600 and till.redeem_entries == 1
    row = Redemption.unscoped.get(discount=discount)
    assert (row.points, row.transaction, row.channel, row.n, row.store_id, row.user_id, row.persona) == (
        400, order[1:], "till" if order else "web", 0, None, None, till.persona,
    )  # fmt: skip
    assert Entry.unscoped.get(redemption=row).points == -400


def test_nor_when_it_is_refused(till):
    dear = make_discount(till.account, points=1001)
    url = till.url(dear) + "/T1"
    assert till.refused(400, "PUT", url, LIES) == "1001 points are needed, 1000 are there."
    assert till.balance == 1000 and not Redemption.unscoped.exists()


def test_giving_back_is_never_more_than_was_taken(till, discount):
    done = till.data("PUT", till.url(discount) + "/T1")
    address = f"/api/v2/redemptions/{done['redemptionID']}/revert"
    assert "400 can be given back" in till.refused(400, "POST", address, LIES | {"points": 401})
    assert till.data("POST", address, {k: v for k, v in LIES.items() if k != "points"})["pointsReturned"] == 400
    assert till.balance == 1000


class TestTheOrder:
    """Fault 4.2: `orderSubtotal` is the one thing read. It refuses, before points leave; it never allows."""

    @pytest.mark.parametrize("subtotal, taken", [
        (50, True), (50.0, True), ("50.00", True), (49.99, False), ("49.99", False), (0, False), (49.999, False),
        (1e6, True), (None, True),
    ])  # fmt: skip
    @pytest.mark.parametrize("order", ["", "/T1"])
    def test_fault_4_2_a_minimum_spend(self, till, discount, subtotal, taken, order):
        url = till.url(discount) + order
        if taken:
            assert till.data("PUT", url, {"orderSubtotal": subtotal})["pointsDeducted"] == 400
        else:
            said = till.refused(400, "PUT", url, {"orderSubtotal": subtotal})
            assert said == "The order has to come to $50.00 at least."
            assert till.balance == 1000 and till.redeem_entries == 0
            assert till.data("PUT", url, {"orderSubtotal": 50})["pointsDeducted"] == 400, "the address is still good"

    @pytest.mark.parametrize("bad", [-1, "much", True, [50], {"a": 1}, 1e12, ""])
    def test_what_is_no_amount_is_refused_by_its_name(self, till, discount, bad):
        assert till.refused(400, "PUT", till.url(discount) + "/T1", {"orderSubtotal": bad}).startswith("orderSubtotal:")
        assert till.balance == 1000

    @pytest.mark.parametrize("fields", [{"points": 1001}, {"hide_redeem": True}, {"in_store_only": True}])
    def test_a_large_order_allows_nothing_else(self, till, fields):
        url = till.url(make_discount(till.account, **fields))
        assert till.refused(400, "PUT", url, {"orderSubtotal": 10**6}) and till.balance == 1000

    def test_a_repeat_answers_alike_whatever_it_says_of_the_order(self, till, discount):
        url = till.url(discount) + "/T1"
        first = till.call("PUT", url, {"orderSubtotal": 60})
        assert till.call("PUT", url, {"orderSubtotal": 1}).content == first.content and till.balance == 600

    def test_the_wallet_tells_the_minimum(self, till, discount):
        make_discount(till.account, min_spend_cents=2550)
        make_discount(till.account)
        told = {one["minimumSpend"] for one in till.wallet()["discountTemplates"]}
        assert told == {50, 25.5, 0}


def test_fault_4_7_in_store_only_is_refused_without_an_order(till):
    """A web shop that overlooks `inStoreRedemption` is stopped before points leave; the till is not."""
    discount = make_discount(till.account, points=400, in_store_only=True)
    url = till.url(discount)
    assert till.wallet()["discountTemplates"][0]["inStoreRedemption"] is True
    assert till.refused(400, "PUT", url) == "This discount is for the store only: name the order of its till."
    assert till.balance == 1000
    assert till.data("PUT", url + "/T1")["pointsDeducted"] == 400


class TestHiddenPoints:
    """The programme hides points in wallets: no answer of the API tells a balance. What a discount costs stays."""

    @pytest.fixture
    def hiding(self, till):
        Programme.unscoped.update(hide_points=True)
        return till

    def test_wallet_redeem_and_revert(self, hiding):
        discount = make_discount(hiding.account, points=400)
        told = hiding.wallet()
        assert (told["loyaltyPoints"], told["hidePointsInWallet"]) == (0, True)
        assert told["discountTemplates"][0]["pointsDeduction"] == 400 and told["discountTemplates"][0]["available"]
        url = hiding.url(discount) + "/T1"
        first = hiding.call("PUT", url)
        done = first.json()["data"]
        assert (done["pointsDeducted"], done["loyaltyPoints"]) == (400, 0)
        assert hiding.call("PUT", url).content == first.content
        back = hiding.data("POST", f"/api/v2/redemptions/{done['redemptionID']}/revert")
        assert (back["pointsReturned"], back["loyaltyPoints"]) == (400, 0) and hiding.balance == 1000

    def test_a_refusal_does_not_tell_it_either(self, hiding):
        url = hiding.url(make_discount(hiding.account, points=1001))
        assert hiding.refused(400, "PUT", url + "/T1") == "There are not enough points for it."

    def test_nowhere_in_any_answer(self, hiding):
        hiding.give(Decimal("234.56"))
        url = hiding.url(make_discount(hiding.account, points=5000)) + "/T1"
        free = hiding.url(make_discount(hiding.account, points=0)) + "/T2"
        answers = [
            hiding.call("POST", "/api/v2/wallet", {"phone": PHONE}), hiding.call("GET", f"/api/v2/wallet/{PHONE}"),
            hiding.call("PUT", url), hiding.call("PUT", free), hiding.call("GET", f"/api/v2/loyalty/lookup/{PHONE}"),
            hiding.call("POST", "/api/v2/loyalty", {"mobilePhone": PHONE}),
        ]  # fmt: skip
        for answer in answers:
            # Without what is drawn or counted: ids, addresses of redemptions, the moment. Each may hold these digits.
            told = re.sub(rb'"(contactID|redemptionID|redemptionURL|asOf)":[^,}]+', b"", answer.content)
            assert answer.status_code in (200, 400) and b"1234" not in told, answer.content
        Programme.unscoped.update(hide_points=False)  # the control: the same calls tell it
        assert b"1234.56" in hiding.call("GET", f"/api/v2/wallet/{PHONE}").content
        assert b"1234.56" in hiding.call("PUT", url).content and b"1234.56" in hiding.call("PUT", free).content

    def test_while_the_programme_is_off_as_well(self, till):
        done = till.data("PUT", till.url(make_discount(till.account, points=400)) + "/T1")
        Programme.unscoped.update(enabled=False)
        assert till.data("POST", f"/api/v2/redemptions/{done['redemptionID']}/revert")["loyaltyPoints"] == 0
