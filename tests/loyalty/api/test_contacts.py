"""`/v1.1/piis`: list, search, sorts, paging, one contact; and the sign-up's details."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from django.utils import timezone

from aiqsync.accounts.tenancy import acting_in
from integrations.models import Customer, Location, Origin, Sale
from loyalty import consent, contacts, merging
from loyalty.models import (
    Attribute,
    BlockedPhone,
    ContactAlias,
    Identifier,
    Message,
    Persona,
    Programme,
    Referral,
    SaleState,
    Source,
)
from tests.factories import make_account, make_discount, make_persona, make_store

from .till import PHONE, Till


def address(till, query=""):
    return f"/api/v1.1/piis/{till.account.uid}{query}"


def names(till, query=""):
    found = till.data("GET", address(till, query))["results"]
    return [one["firstName"] for one in found] if found else None


@pytest.fixture
def people(till):
    bo = make_persona(till.account, phone="+16045550177", first_name="Bo", last_name="Lund", member=False)
    cy = make_persona(till.account, email="cy@example.test", first_name="Çy", last_name="Ådams")
    return [till.persona, bo, cy]


def source(till, persona, external_id="cust-8841", platform="cova"):
    origin, _ = Origin.unscoped.get_or_create(account=till.account, platform=platform, identity="1")
    customer = Customer.unscoped.create(account=till.account, origin=origin, external_id=external_id)
    return Source.unscoped.create(account=till.account, persona=persona, customer=customer, matched_by="phone")


def test_the_shape_of_a_row(till):
    store = make_store(till.account, number=16)
    Persona.unscoped.update(favourite_store=store)
    source(till, till.persona)
    now = datetime(2026, 4, 12, tzinfo=UTC)
    said = {"account_id": till.account.pk, "channel": "sms", "address": PHONE, "source": "form"}
    with acting_in(till.account.pk):
        consent.record(**said, act="requested", now=now)
        consent.record(**said, act="opt_in", now=now + timedelta(minutes=1))
    told = till.data("GET", address(till))
    assert told | {"results": None} == {"results": None, "start": 0, "limit": 100, "size": 1, "total": 1}
    (row,) = told["results"]
    assert row.pop("inserted") == int(till.persona.created_at.timestamp())
    assert row == {
        "contactID": str(till.persona.contact_id), "srcID": "cust-8841", "platform": "cova", "firstName": "Ada",
        "lastName": "Moss", "email": "ada@example.test", "mobilePhone": "6045550142", "homePhone": "",
        "favoriteStoreID": 16, "loyalty": True, "loyaltyPoints": 1000, "loyaltySignupTS": 1577865600,
        "optinTime": 1775952060, "optoutTime": None, "optreqTime": 1775952000, "hasRequested": False,
        "emailOptInTime": None, "smsconsent": True, "leakyBucket": None,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("search", "found"),
    [("", ["Ada", "Bo", "Çy"]), ("%20", ["Ada", "Bo", "Çy"]), ("has:phone", ["Ada", "Bo"]),
     ("has:mobile", ["Ada", "Bo"]),
     ("has:home", None), ("has:email", ["Ada", "Çy"]), ("has:name", ["Ada", "Bo", "Çy"]), ("is:member", ["Ada", "Çy"]),
     ("not:member", ["Bo"]), ("has:points", ["Ada"]), ("has:usedpoints", None), ("%22Bo%20Lund%22", ["Bo"]),
     ("%22bo%22", None), ("%22cy%20adams%22", ["Çy"]), ("bo", ["Bo"]), ("lund", ["Bo"]), ("ad", ["Ada", "Çy"]),
     ("6045550177", ["Bo"]), ("16045550177", ["Bo"]), ("%2B1%20604-555-0177", ["Bo"]), ("cy@example.test", ["Çy"]),
     ("email:CY@example.test", ["Çy"]), ("email:nobody@example.test", None), ("is:member%20has:phone", ["Ada"]),
     ("is:member%20ad", ["Ada", "Çy"]), ("not:member%20ada", None), ("cust-8841", ["Bo"]), ("6045550100", None),
     ("zzz", None), ("%00", ["Ada", "Bo", "Çy"]), ("%22", ["Ada", "Bo", "Çy"]), ("email:", ["Ada", "Bo", "Çy"])],
)  # fmt: skip
def test_search(till, people, search, found):
    source(till, people[1])
    assert names(till, f"?search={search}") == found


def test_search_by_contact_id(till, people):
    bo = people[1]
    assert names(till, f"?search={bo.contact_id}") == names(till, f"?search={bo.contact_id.hex}") == ["Bo"]


def test_a_receipt_is_no_contact(till, people):
    origin = Origin.unscoped.create(account=till.account, platform="cova", identity="1")
    sale = Sale.unscoped.create(
        account=till.account, origin=origin, external_id="1", number="1234", sold_at=timezone.now()
    )
    SaleState.unscoped.create(account=till.account, sale=sale, persona=till.persona)
    assert names(till, "?search=1234") is None


@pytest.mark.parametrize(
    ("sort", "found"),
    [("name", ["Ada", "Bo", "Çy"]), ("email", ["Bo", "Ada", "Çy"]), ("mobilePhone", ["Çy", "Ada", "Bo"]),
     ("homePhone", ["Ada", "Bo", "Çy"]), ("source", ["Ada", "Çy", "Bo"]), ("id", ["Ada", "Bo", "Çy"]),
     ("inserted", ["Ada", "Bo", "Çy"]), ("points", ["Bo", "Çy", "Ada"]), ("usedpoints", ["Bo", "Çy", "Ada"])],
)  # fmt: skip
def test_sorts(till, people, sort, found):
    source(till, people[1])
    discount = make_discount(till.account, points=100)
    till.data("PUT", till.url(discount))
    assert names(till, f"?sort={sort}&dir=asc") == found
    assert names(till, f"?sort={sort}&dir=desc") == found[::-1]


def test_sorted_by_signup(till, people):
    Persona.unscoped.filter(first_name="Çy").update(member_from="2019-01-01")
    assert names(till, "?sort=signup") == ["Çy", "Ada", "Bo"]


def test_pages_end(till, people):
    found, start = [], 0
    while rows := till.data("GET", address(till, f"?limit=2&start={start}"))["results"]:
        found += [one["contactID"] for one in rows]
        start += 2
    assert found == [str(one.contact_id) for one in people]
    told = till.data("GET", address(till, "?limit=1&start=1"))
    assert (told["size"], told["total"]) == (1, 3)
    assert till.data("GET", address(till, "?start=999999999999"))["total"] == 3
    for figure in ("99999", "9" * 40):
        assert till.data("GET", address(till, f"?limit={figure}"))["limit"] == 2000
    assert till.data("GET", address(till, "?limit=0&start=-5"))["limit"] == 1


@pytest.mark.parametrize(
    ("query", "field"),
    [("?limit=x", "limit"), ("?start=1e3", "start"), ("?sort=phone", "sort"), ("?dir=up", "dir"),
     ("?start=%C2%B2", "start")],
)  # fmt: skip
def test_what_cannot_be_read(till, query, field):
    assert till.refused(400, "GET", address(till, query)).startswith(field)


def test_who_is_left_out(till, people):
    ada, bo, cy = people
    BlockedPhone.unscoped.create(account=till.account, phone=PHONE)
    assert names(till) == ["Bo", "Çy"]
    Persona.unscoped.filter(pk=bo.pk).update(archived_at=timezone.now())
    Persona.unscoped.create(account=till.account, first_name="Test", is_test=True)
    make_persona(make_account("Other Co"), first_name="Theirs")
    assert names(till) == ["Çy"]
    Persona.unscoped.filter(pk=cy.pk).update(erased_at=timezone.now())
    assert names(till) is None


def test_a_merged_one_is_its_survivor(till, people):
    ada, bo, _ = people
    with acting_in(till.account.pk):
        merging.merge(account_id=till.account.pk, one_id=ada.pk, other_id=bo.pk, now=timezone.now())
    assert names(till) == ["Ada", "Çy"]
    assert names(till, f"?search={bo.contact_id}") == names(till, "?search=6045550177") == ["Ada"]
    assert till.data("GET", address(till, f"/{bo.contact_id}"))["contactID"] == str(ada.contact_id)


def test_a_large_answer_is_counted_once(till, people, monkeypatch, django_assert_num_queries):
    monkeypatch.setattr(contacts, "REMEMBERED_FROM", 1)
    monkeypatch.setattr(contacts, "_remembered", {})
    assert till.data("GET", address(till, "?limit=1"))["total"] == 3
    make_persona(till.account, first_name="Dee")
    assert till.data("GET", address(till, "?limit=1&start=1"))["total"] == 3  # a moment old
    told = till.data("GET", address(till, "?limit=4"))
    assert told["total"] == 4 and told["size"] == 4  # never less than was told


def test_statements_do_not_grow(till, django_assert_max_num_queries):
    for n in range(40):
        source(till, make_persona(till.account, phone=f"+1604555{n:04}"), f"c{n}")
    with django_assert_max_num_queries(6):
        assert till.data("GET", address(till))["size"] == 41


def test_hidden_points(till):
    Programme.unscoped.update(hide_points=True)
    assert till.data("GET", address(till))["results"][0]["loyaltyPoints"] == 0
    assert till.data("GET", address(till, f"/{till.persona.contact_id}"))["loyaltyPoints"] == 0


def test_one_contact(till):
    origin = Origin.unscoped.create(account=till.account, platform="cova", identity="1")
    place = Location.unscoped.create(account=till.account, origin=origin, external_id="1")
    for n, (kind, cents) in enumerate((("sale", 5250), ("refund", -1000))):
        sale = Sale.unscoped.create(account=till.account, origin=origin, external_id=str(n), kind=kind, location=place,
                                    sold_at=timezone.now(), total_cents=cents)  # fmt: skip
        SaleState.unscoped.create(account=till.account, sale=sale, persona=till.persona)
    told = till.data("GET", address(till, f"/{till.persona.contact_id.hex}"))
    assert told["spent"] == 42.5 and len(told["referCode"]) == 16 and told["referLink"] is None
    assert told["customAttributes"] is None and told["birthdate"] is None and told["lastTouch"] is None


def test_a_contact_by_what_the_service_before_called_him(till):
    origin = Origin.unscoped.create(account=till.account, platform="file", identity="1")
    old = "b1c7e5d0-a94f-4c0e-9a0e-5f3d2c1b0a99"
    ContactAlias.unscoped.create(account=till.account, persona=till.persona, alias=old, origin=origin, points=0)
    assert till.data("GET", address(till, f"/{old.replace('-', '')}"))["firstName"] == "Ada"


@pytest.mark.parametrize("cid", ["nobody", "6045550142", "0" * 32, "%C3%A9", "9" * 400])
def test_nobody(till, cid):
    assert till.refused(404, "GET", address(till, f"/{cid}")) == "Contact not found"


def test_somebody_removed(till):
    Persona.unscoped.update(erased_at=timezone.now())
    till.refused(404, "GET", address(till, f"/{till.persona.contact_id}"))


def test_by_source(till):
    source(till, till.persona, "cust-8841")
    assert till.data("GET", "/api/v2/contact/source/cova/cust-8841")["contactID"] == str(till.persona.contact_id)
    till.refused(404, "GET", "/api/v2/contact/source/clover/cust-8841")
    till.refused(404, "GET", "/api/v2/contact/source/cova/cust-1")
    other = Till(points=None, account=make_account("Other Co"))
    other.refused(404, "GET", "/api/v2/contact/source/cova/cust-8841")


# Sign-up

WHOLE = {
    "firstName": "Bo", "lastName": "Lund", "mobilePhone": "16045550177", "email": "bo@example.test",
    "address": "1 Main St, Vancouver", "favoriteStore": "main st", "favoriteStoreID": 16, "birthdate": "1990-04-20",
    "loyalty": True, "smsoptin": True, "disableSMS": True, "emailOptIn": True, "uid": "4321",
    "customAttributes": [{"parent": "", "key": "size", "value": "M", "ts": None}, {"key": "club", "value": True}],
}  # fmt: skip


def test_what_a_sign_up_says_is_kept(till):
    """C-TERP's body, and C-GF's attributes without parent."""
    make_store(till.account, name="Main St", number=16)
    told = till.data("POST", "/api/v2/loyalty", WHOLE)
    assert till.call("POST", "/api/v2/loyalty", WHOLE).json()["data"] == told
    one = till.data("GET", address(till, f"/{told['contactID']}"))
    assert (one["address"], one["birthdate"], one["favoriteStoreID"]) == ("1 Main St, Vancouver", "1990-04-20", 16)
    assert one["customAttributes"] == [
        {"parent": "", "key": "club", "value": "true", "ts": None},
        {"parent": "", "key": "size", "value": "M", "ts": None},
    ]  # fmt: skip
    assert one["optinTime"] and one["emailOptInTime"]


def test_a_store_by_name_and_one_nobody_knows(till):
    make_store(till.account, name="Main St", number=16)
    for body in ({"favoriteStore": "MAIN ST"}, {"favoriteStoreID": 99}, {"favoriteStoreID": "7" * 18}):
        till.data("POST", "/api/v2/loyalty", {"mobilePhone": PHONE} | body)
        assert till.data("GET", address(till))["results"][0]["favoriteStoreID"] == 16


@pytest.mark.parametrize(
    ("body", "field"),
    [({"favoriteStoreID": "x"}, "favoriteStoreID"), ({"favoriteStoreID": -3}, "favoriteStoreID"),
     ({"customAttributes": {}}, "customAttributes"), ({"customAttributes": [1]}, "customAttributes[0]"),
     ({"customAttributes": [{"value": "a"}]}, "customAttributes[0].key"),
     ({"customAttributes": [{"key": "a", "value": []}]}, "customAttributes[0].value"),
     ({"customAttributes": [{"key": "a", "ts": 10**30}]}, "customAttributes[0].ts"),
     ({"customAttributes": [{"key": "a", "ts": "nan"}]}, "customAttributes[0].ts"),
     ({"customAttributes": [{"key": "a\x00"}]}, "customAttributes[0].key"),
     ({"customAttributes": [{"key": str(n)} for n in range(101)]}, "customAttributes"),
     ({"birthdate": "yesterday"}, "birthdate"), ({"address": "a" * 301}, "address")],
)  # fmt: skip
def test_details_that_cannot_be_read(till, body, field):
    assert till.refused(400, "POST", "/api/v2/loyalty", {"mobilePhone": "6045550199"} | body).startswith(field)
    assert Persona.unscoped.count() == 1


def test_attributes(till):
    where = f"/api/v2/contact/attributes/{till.persona.contact_id}"
    assert till.data("GET", where) is None
    told = till.data("POST", where, [{"key": "a", "value": 1, "ts": 1712900000}, {"key": "b", "value": "x"}])
    assert told[0] == {"parent": "", "key": "a", "value": "1", "ts": 1712900000} and len(told) == 2
    assert len(till.data("POST", where, {"customAttributes": [{"key": "a", "value": "2"}]})) == 2
    assert till.data("PUT", where, [{"key": "c", "parent": "p", "value": "y"}]) == till.data("GET", where)
    assert [one["key"] for one in till.data("GET", where)] == ["c"]
    till.data("POST", where, [{"key": f"k{n}"} for n in range(99)])
    assert "100" in till.refused(400, "POST", where, [{"key": "one more"}])
    assert Attribute.unscoped.count() == 100
    assert till.refused(400, "POST", where, {}).startswith("customAttributes")
    assert till.data("PUT", where, []) is None


def test_the_older_sign_up_asks_for_the_opt_in_once(till):
    """C-HYPER still calls it."""
    where = f"/api/v1.1/loyaltyContact/{till.account.uid}"
    body = {"firstName": "Bo", "lastName": "Lund", "mobilePhone": "6045550177", "email": "", "favoriteStoreID": 3}
    told = till.data("POST", where, body)
    assert till.data("POST", where, body) == told
    message = Message.unscoped.get()
    assert (message.purpose, message.address) == ("opt_in", "+16045550177")
    row = till.data("GET", address(till, f"/{told['contactID']}"))
    assert row["hasRequested"] is True and row["optinTime"] is None and row["loyalty"] is True
    with acting_in(till.account.pk):
        consent.incoming(account_id=till.account.pk, channel="sms", address="+16045550177", text="STOP",
                         now=timezone.now(), key="1")  # fmt: skip
    till.data("POST", where, body)
    assert Message.unscoped.filter(purpose="opt_in").count() == 1
    assert till.data("GET", address(till, f"/{told['contactID']}"))["optoutTime"]


# Referrals


def test_a_referral(till):
    where = f"/api/v1.1/contact/referral/{till.account.uid}"
    told = till.data("POST", where, {"phone": "604-555-0142"})
    assert told["referredBy"] is None and told["contactID"] == str(till.persona.contact_id)
    assert till.data("POST", where, {"contactID": told["contactID"]})["referCode"] == told["referCode"]
    new = till.data("POST", "/api/v2/loyalty", {"mobilePhone": "6045550177", "referCode": told["referCode"].lower()})
    mine = f"{where}/{new['contactID']}"
    assert till.data("PUT", mine, None)["referredBy"] == str(till.persona.contact_id)
    third = till.data("POST", "/api/v2/loyalty", {"mobilePhone": "6045550178"})
    code = till.data("PUT", f"{where}/{third['contactID']}")["referCode"]
    assert till.data("PUT", mine, {"referCode": code})["referredBy"] == str(till.persona.contact_id)  # the first holds
    assert "himself" in till.refused(400, "PUT", f"{where}/{told['contactID']}", {"referCode": told["referCode"]})
    # Who is a member already was not referred by signing up again; a code that is none refuses nobody.
    till.data("POST", "/api/v2/loyalty", {"mobilePhone": "6045550178", "referCode": told["referCode"]})
    till.data("POST", "/api/v2/loyalty", {"mobilePhone": "6045550179", "referCode": "x'y"})
    assert Referral.unscoped.count() == 1 and till.balance == 1000


def test_codes_of_others_are_nobodys(till):
    where = f"/api/v1.1/contact/referral/{till.account.uid}"
    other = Till(account=make_account("Other Co"))
    theirs = other.data("POST", f"/api/v1.1/contact/referral/{other.account.uid}", {"phone": PHONE})["referCode"]
    for code in (theirs, "A" * 16, "A" * 8, "é", "=" * 16, "0" * 100):
        till.refused(400, "PUT", f"{where}/{till.persona.contact_id}", {"referCode": code})
    assert till.refused(400, "POST", where, {}).startswith("contactID")
    till.refused(404, "POST", where, {"email": "nobody@example.test"})


def test_codes_differ(till):
    people = [make_persona(till.account) for _ in range(30)]
    where = f"/api/v1.1/contact/referral/{till.account.uid}"
    assert len({till.data("POST", where, {"contactID": str(p.contact_id)})["referCode"] for p in people}) == 30
    assert Identifier.unscoped.count() == 2 and Decimal(till.balance) == 1000
