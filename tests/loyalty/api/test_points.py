"""Adjusting points, and what happened: orders, timeline, adjustments, redemptions, recommendations."""

from datetime import UTC, datetime, timedelta

import pytest
from django.utils import timezone

from aiqsync.accounts.models import ApiKey
from aiqsync.accounts.tenancy import acting_in
from integrations.models import Location, Origin, Sale, SaleLine
from loyalty import erasure, merging
from loyalty.models import Entry, Persona, Programme, SaleState
from stores.models import StoreMapping
from tests.factories import make_account, make_discount, make_key, make_persona, make_store

from .till import Till


def adjust(till, cid=None):
    return f"/api/v1.1/adjust/loyaltyPoints/{till.account.uid}/{cid or till.persona.contact_id}"


def between(till, what, start=0, end=4000000000):
    return till.data("GET", f"/api/v1.1/{what}/{till.account.uid}/{start}/{end}")


def sell(till, persona, *lines, at=None, kind="sale", sign=1):
    origin, _ = Origin.unscoped.get_or_create(account=till.account, platform="cova", identity="1")
    place, new = Location.unscoped.get_or_create(account=till.account, origin=origin, external_id="1", name="POS place")
    if new:
        store = make_store(till.account, name="Main St")
        StoreMapping.unscoped.create(account=till.account, location=place, store=store)
    number = Sale.unscoped.count()
    sale = Sale.unscoped.create(account=till.account, origin=origin, external_id=f"s{number}", number=f"IN-{number}",
                                kind=kind, location=place, sold_at=at or timezone.now())  # fmt: skip
    for n, name in enumerate(lines, start=1):
        SaleLine.unscoped.create(account=till.account, sale=sale, number=n, name=name, brand="Acme", sku=name.upper(),
                                 quantity=sign, list_price=1, unit_price=1, total_cents=1250 * sign)  # fmt: skip
    if persona:
        SaleState.unscoped.create(account=till.account, sale=sale, persona=persona)
    return sale


def test_adjusting(till):
    """C-FLORA: points for an order, and the negated amount when it is voided; C-HYPER: value and note alone."""
    told = till.data("PUT", adjust(till), {"value": 50, "note": "Order", "cmpID": "1001", "ts": 1712900000})
    entry = Entry.unscoped.latest("id")
    assert told == {"contactID": str(till.persona.contact_id), "id": str(entry.pk), "value": 50, "loyaltyPoints": 1050}
    assert (entry.kind, entry.note, entry.explanation["key"]) == ("adjust", "Order (1001)", "till")
    assert entry.cause_at == datetime.fromtimestamp(1712900000, UTC)
    assert till.data("PUT", adjust(till), {"value": -50, "note": "Void", "cmpID": "1001"})["loyaltyPoints"] == 1000
    assert till.data("PUT", adjust(till), {"value": "12.5"})["loyaltyPoints"] == 1012.5


def test_a_repeat_adjusts_again(till):
    for _ in range(2):
        till.data("PUT", adjust(till), {"value": 5})
    assert till.balance == 1010


def test_more_than_there_is(till):
    told = till.refused(400, "PUT", adjust(till), {"value": -1000.01})
    assert told.startswith("value") and "1000" in told and till.balance == 1000
    till.data("PUT", adjust(till), {"value": -1000})
    Programme.unscoped.update(hide_points=True)
    assert till.data("PUT", adjust(till), {"value": 7})["loyaltyPoints"] == 0
    assert "7" not in till.refused(400, "PUT", adjust(till), {"value": -9})


@pytest.mark.parametrize(
    "body",
    [None, {}, {"value": 0}, {"value": "x"}, {"value": True}, {"value": 10**30}, {"value": -(10**12)}, {"value": 0.001},
     {"value": "nan"}, {"value": "inf"}, {"value": []}, {"value": 1, "note": "n" * 221}, {"value": 1, "note": "\x00"},
     {"value": 1, "ts": 10**12}, {"value": 1, "ts": "soon"}, {"value": 1, "ts": -5}, {"value": 1, "ts": []}, []],
)  # fmt: skip
def test_what_cannot_be_read(till, body):
    till.refused(400, "PUT", adjust(till), body)
    assert till.balance == 1000


def test_the_limit_of_a_day(till):
    Programme.unscoped.update(manager_points_a_day=100)
    till.data("PUT", adjust(till), {"value": 60})
    till.data("PUT", adjust(till), {"value": -60})  # gives nothing back
    assert "40 are left" in till.refused(400, "PUT", adjust(till), {"value": 41})
    till.data("PUT", adjust(till), {"value": 40})
    till.refused(400, "PUT", adjust(till), {"value": 1})
    till.data("PUT", adjust(till), {"value": 1}, key=make_key(till.account, "admin"))
    ApiKey.unscoped.filter(scope="pos").update(name="other")
    till.data("PUT", adjust(till), {"value": 1}, key=make_key(till.account))  # a key of its own
    assert till.balance == 1042


def test_a_merged_one_and_nobody(till):
    bo = make_persona(till.account)
    with acting_in(till.account.pk):
        merging.merge(account_id=till.account.pk, one_id=till.persona.pk, other_id=bo.pk, now=timezone.now())
    assert till.data("PUT", adjust(till, bo.contact_id), {"value": 5})["contactID"] == str(till.persona.contact_id)
    assert till.refused(404, "PUT", adjust(till, "6045550142"), {"value": 5}) == "Contact not found"
    other = make_persona(make_account("Other Co"))
    till.refused(404, "PUT", adjust(till, other.contact_id), {"value": 5})
    assert till.balance == 1005


def test_adjustments(till):
    """C-KBC and C-HYPER: null when there is none; phone, name and e-mail beside each."""
    assert between(till, "adjustments", 0, 10) is None
    till.data("PUT", adjust(till), {"value": -50, "note": "Void"})
    make_discount(till.account)
    first, second = between(till, "adjustments")
    assert first["value"] == 1000 and first["addedBy"] == ""
    assert second.pop("timestamp") == second.pop("ts") and second.pop("id")
    assert second == {
        "contactID": str(till.persona.contact_id), "firstName": "Ada", "lastName": "Moss", "name": "Ada Moss",
        "phone": "6045550142", "mobilePhone": "6045550142", "email": "ada@example.test", "value": -50, "note": "Void",
        "addedBy": "till",
    }  # fmt: skip
    assert len(till.data("GET", f"/api/v1.1/adjustments/{till.account.uid}/0/4000000000?limit=1&start=1")) == 1
    with acting_in(till.account.pk):
        erasure.erase(account_id=till.account.pk, persona_id=till.persona.pk, user=None, now=timezone.now())
    assert between(till, "adjustments") is None and between(till, "redemptions") is None


@pytest.mark.parametrize("what", ["adjustments", "redemptions"])
@pytest.mark.parametrize(("start", "end"), [("x", "1"), ("0", "9" * 30), ("-1", "1"), ("nan", "1"), ("0", "1e99")])
def test_times_that_are_none(till, what, start, end):
    till.refused(400, "GET", f"/api/v1.1/{what}/{till.account.uid}/{start}/{end}")
    till.refused(403, "GET", f"/api/v1.1/{what}/{make_account('Other Co').uid}/0/1")


def test_redemptions(till, django_assert_max_num_queries):
    assert between(till, "redemptions") is None
    discount = make_discount(till.account, points=100, name="$10 off")
    done = till.data("PUT", till.url(discount) + "/T1")
    till.data("PUT", till.url(discount))
    with django_assert_max_num_queries(4):
        first, second = between(till, "redemptions")
    assert (
        first["redemptionID"] == done["redemptionID"] and first["phone"] == "6045550142" and first["name"] == "Ada Moss"
    )
    assert (first["discountID"], first["discountName"], first["pointsDeducted"]) == (
        str(discount.number),
        "$10 off",
        100,
    )
    assert (first["state"], first["transactionID"], second["transactionID"]) == ("applied", "T1", None)
    till.data("POST", f"/api/v2/redemptions/{done['redemptionID']}/revert")
    assert between(till, "redemptions")[0]["pointsReturned"] == 100
    assert between(till, "redemptions", end=1000) is None


def orders(till, query=""):
    return f"/api/v1.1/contact/orders/{till.account.uid}/{till.persona.contact_id}{query}"


def test_orders_are_flat_lines(till, django_assert_max_num_queries):
    """C-WALLET groups by `timestamp`; C-FLORA adds start and limit."""
    assert till.data("GET", orders(till)) is None
    at = datetime(2026, 4, 12, 17, 31, 4, tzinfo=UTC)
    sell(till, till.persona, "Flower", "Pre-roll", at=at)
    sell(till, till.persona, "Flower", at=at + timedelta(days=1), kind="refund", sign=-1)
    sell(till, make_persona(till.account), "Vape")
    with django_assert_max_num_queries(5):
        found = till.data("GET", orders(till))
    assert [(one["name"], one["quantity"], one["totalPrice"], one["timestamp"]) for one in found] == [
        ("Flower", -1, -12.5, 1776101464), ("Flower", 1, 12.5, 1776015064), ("Pre-roll", 1, 12.5, 1776015064)
    ]  # fmt: skip
    assert found[1]["storeName"] == "Main St" and found[1]["brand"] == "Acme" and found[1]["orderID"] == "IN-0"
    assert [one["name"] for one in till.data("GET", orders(till, "?start=2&limit=5"))] == ["Pre-roll"]
    assert till.data("GET", orders(till, "?start=3")) is None


def timeline(till, query=""):
    where = f"/api/v1.1/contact/loyaltyPoints/timeline/{till.account.uid}/{till.persona.contact_id}{query}"
    return till.data("GET", where)["events"]


def test_the_timeline(till):
    """C-KBC: `events` inside an object; start and end in seconds."""
    discount = make_discount(till.account, points=100, name="$10 off")
    till.data("PUT", till.url(discount))
    bo = make_persona(till.account)
    till.data("PUT", adjust(till, bo.contact_id), {"value": 7, "note": "Hello"})
    with acting_in(till.account.pk):
        merging.merge(account_id=till.account.pk, one_id=till.persona.pk, other_id=bo.pk, now=timezone.now())
    found = timeline(till, "?start=1712900000&end=4000000000")
    assert [(one["type"], one["points"], one["name"], one["note"]) for one in found] == [
        ("adjust", 7, "", "Hello"), ("redeem", -100, "$10 off", ""), ("adjust", 1000, "", "")
    ]  # fmt: skip
    assert sum(one["points"] for one in found) == till.balance == 907
    assert timeline(till, "?end=1712900000") is None
    till.refused(400, "GET", orders(till).replace("orders", "loyaltyPoints/timeline") + "?start=x")
    Programme.unscoped.update(hide_points=True)
    assert timeline(till) is None


def test_recommendations(till, django_assert_max_num_queries):
    where = f"/api/v2/contact/recommendations/{till.persona.contact_id}"
    assert till.data("GET", where) is None
    for lines in (["Flower", "Papers"], ["Flower"]):
        sell(till, till.persona, *lines)
    for lines in (["Flower", "Grinder"], ["Flower", "Grinder", "Vape"], ["Chocolate", "Soda"]):
        sell(till, None, *lines)
    with django_assert_max_num_queries(4):
        found = till.data("GET", where)
    assert [(one["rank"], one["name"], one["reason"], one["score"]) for one in found] == [
        (1, "Flower", "again", 2), (2, "Papers", "again", 1), (3, "Grinder", "together", 2), (4, "Vape", "together", 1)
    ]  # fmt: skip
    assert len(till.data("GET", where + "?limit=2")) == 2
    assert till.refused(404, "GET", "/api/v2/contact/recommendations/nobody") == "Contact not found"


def test_another_accounts_key_sees_nothing(till):
    sell(till, till.persona, "Flower")
    other = Till(points=None, account=make_account("Other Co"))
    cid = till.persona.contact_id
    for path in ("contact/orders", "contact/loyaltyPoints/timeline", "piis"):
        other.refused(404, "GET", f"/api/v1.1/{path}/{other.account.uid}/{cid}")
        other.refused(403, "GET", f"/api/v1.1/{path}/{till.account.uid}/{cid}")
    other.refused(404, "GET", f"/api/v2/contact/recommendations/{cid}")
    other.refused(404, "PUT", f"/api/v1.1/contact/referral/{other.account.uid}/{cid}")
    assert Persona.unscoped.filter(account=other.account).count() == 0
