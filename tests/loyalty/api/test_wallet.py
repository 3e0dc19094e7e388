"""What a wallet shows, field by field, and what it costs."""

import uuid
from datetime import timedelta
from decimal import Decimal

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from aiqsync.accounts.tenancy import acting_in
from loyalty import merging
from loyalty.models import ContactAlias, Identifier, Persona, Programme
from tests.factories import make_account, make_discount, make_persona
from tests.records import make_origin

from .till import PHONE, Till

FORMS = [
    "6045550142",
    "16045550142",
    "+16045550142",
    "(604) 555-0142",
    "604.555.0142",
    " 604-555-0142 ",
    "+1 604 555 0142",
]


@pytest.mark.parametrize("phone", FORMS)
def test_phones_as_clients_write_them(till, phone):
    contact = str(till.persona.contact_id)
    assert till.data("POST", "/api/v2/wallet", {"phone": phone})["contactID"] == contact
    assert till.data("GET", f"/api/v2/wallet/{phone}/")["contactID"] == contact
    assert till.data("GET", f"/api/v2/lookup/{phone}") == {"contactID": contact}


def test_a_phone_as_a_number(till):
    assert till.data("POST", "/api/v2/wallet", {"phone": 6045550142})["loyaltyPoints"] == 1000


def test_by_email_and_the_phone_first(till):
    other = make_persona(till.account, phone="+16045550188", email="bo@example.test")
    assert till.data("POST", "/api/v2/wallet/", {"email": " ADA@example.test"})["contactID"] == str(
        till.persona.contact_id
    )
    both = {"phone": "6045550188", "email": "ada@example.test"}
    assert till.data("POST", "/api/v2/wallet", both)["contactID"] == str(other.contact_id)
    both["phone"] = "6045550111"  # nobody's: the e-mail decides
    assert till.data("POST", "/api/v2/wallet", both)["contactID"] == str(till.persona.contact_id)


def test_field_by_field(till, settings):
    settings.PUBLIC_URL = ""
    ends = timezone.now() + timedelta(days=2)
    flat = make_discount(till.account, points=400, cents=1050, name="$10.50 off", description="Any order",
                         pos_discount_id="88f1", in_store_only=True, ends_at=ends, reusable=False)  # fmt: skip
    make_discount(till.account, points=2000, percent=Decimal("12.5"), name="Much")
    before, told, after = timezone.now(), till.wallet(), timezone.now()
    assert set(told) == {"contactID", "loyaltyPoints", "hidePointsInWallet", "audiences", "discountTemplates",
                         "loyalty", "pinRequired", "asOf", "salesReadUntil", "nextToExpire",
                         "openRedemptions"}  # fmt: skip
    assert told["contactID"] == str(till.persona.contact_id)
    assert (told["loyaltyPoints"], told["hidePointsInWallet"], told["audiences"]) == (1000, False, None)
    assert told["loyalty"] is True and told["pinRequired"] is False and told["openRedemptions"] is None
    assert int(before.timestamp()) <= told["asOf"] <= after.timestamp()
    first, second = told["discountTemplates"]
    url = first.pop("redemptionURL")
    assert first == {
        "id": str(flat.number), "posDiscountID": "88f1", "avatar": "http://testserver/static/aiqsync/reward.png",
        "cover": None, "name": "$10.50 off", "pageTitle": "Any order", "minimumSpend": 0,
        "inStoreRedemption": True, "dollarValue": 10.5, "percentageValue": 0, "pointsDeduction": 400,
        "tierDiscount": False, "reusable": False, "available": True, "expiration": int(ends.timestamp()),
    }  # fmt: skip
    assert url.startswith(f"http://testserver/api/v1.1/discount/redeem/{till.account.uid}/{flat.number}/")
    assert (second["dollarValue"], second["percentageValue"], second["available"]) == (0, 12.5, False)
    assert second["expiration"] == 0


def test_public_url_is_the_addresses_host(till, settings):
    settings.PUBLIC_URL = "https://points.example.test"
    assert till.url(make_discount(till.account)).startswith("https://points.example.test/api/v1.1/discount/redeem/")


def test_badges_are_accepted(till):
    assert till.data("POST", "/api/v2/wallet?badges=true", {"phone": PHONE})["audiences"] is None


def test_nobody(till):
    for phone in ("6045550100", "5555550100", "12", "not a phone"):
        assert till.refused(404, "GET", f"/api/v2/wallet/{phone}") == "Contact not found"
        assert till.refused(404, "POST", "/api/v2/wallet", {"phone": phone}) == "Contact not found"
        assert till.refused(404, "GET", f"/api/v2/lookup/{phone}") == "Contact not found"
        assert till.refused(404, "GET", f"/api/v2/loyalty/lookup/{phone}") == "Contact not found"
    assert till.refused(404, "GET", "/api/v2/lookup/email/no@example.test") == "Contact not found"
    for body in ({}, None, {"phone": ""}, {"phone": None, "email": "  "}):
        assert till.refused(400, "POST", "/api/v2/wallet", body).startswith("phone")


def test_known_but_not_a_member(till):
    make_discount(till.account)
    make_persona(till.account, phone="+16045550188", member=False)
    told = till.data("GET", "/api/v2/wallet/6045550188")
    assert (told["loyaltyPoints"], told["discountTemplates"], told["loyalty"]) == (0, None, False)
    assert till.data("GET", "/api/v2/loyalty/lookup/6045550188")["loyalty"] is False


OLD = "3f0c1b7a9d2e4c55a1f09b8e7d6c5a43"  # as AIQ's documentation writes them; live ones have dashes as well


@pytest.mark.parametrize("alias", ["9001", "AIQ-77", OLD, str(uuid.UUID(OLD))])
def test_a_contact_id_ours_or_the_one_before_is_accepted(till, alias):
    """Where a phone or e-mail is, in the same statement; merged away, the root answers; another account's is nobody."""
    origin = make_origin(till.account)
    ada = make_persona(till.account, phone="+16045550177", first_name="Ada")
    of = {"account": till.account, "origin": origin, "points": 0}
    ContactAlias.unscoped.create(**of, persona=ada, alias=alias)
    said = [alias, str(ada.contact_id), ada.contact_id.hex]
    said += [OLD, OLD.upper(), str(uuid.UUID(OLD))] if uuid.UUID(OLD).hex in alias.replace("-", "") else []
    elsewhere = Till(account=make_account("Another Co"))

    def names(root):
        contact = str(root.contact_id)
        for one in said:
            for body in ({"contactID": one}, {"phone": one}, {"contactID": one, "phone": "12"}):
                assert till.data("POST", "/api/v2/wallet", body)["contactID"] == contact
            assert till.data("GET", f"/api/v2/wallet/{one}")["contactID"] == contact
            assert till.data("GET", f"/api/v2/lookup/{one}") == {"contactID": contact}
            assert till.data("GET", f"/api/v2/loyalty/lookup/{one}")["contactID"] == contact
            assert elsewhere.refused(404, "GET", f"/api/v2/wallet/{one}") == "Contact not found"
            assert elsewhere.refused(404, "GET", f"/api/v2/lookup/{one}") == "Contact not found"

    names(ada)
    with CaptureQueriesContext(connection) as by_alias:
        till.data("GET", f"/api/v2/wallet/{alias}")
    with CaptureQueriesContext(connection) as by_phone:
        till.data("GET", "/api/v2/wallet/6045550177")
    assert len(by_alias) == len(by_phone)
    with acting_in(till.account.pk):
        merging.merge(account_id=till.account.pk, one_id=till.persona.pk, other_id=ada.pk, now=timezone.now())
    names(till.persona)


def test_an_old_contact_id_that_could_be_a_phone_is_a_phone(till):
    """Who types a new shopper's number must not see somebody's wallet."""
    of = {"account": till.account, "origin": make_origin(till.account), "points": 0}
    ContactAlias.unscoped.create(**of, persona=till.persona, alias="6045550177")
    till.refused(404, "GET", "/api/v2/wallet/6045550177")
    assert till.data("POST", "/api/v2/wallet", {"contactID": "6045550177"})["contactID"] == str(till.persona.contact_id)


def test_lookups(till):
    contact = str(till.persona.contact_id)
    expected = {"contactID": contact, "loyalty": True, "smsOptIn": False, "emailOptIn": False}
    assert till.data("GET", f"/api/v2/loyalty/lookup/{PHONE}") == expected
    assert till.data("POST", "/api/v2/loyalty/lookup/ada@example.test", {}) == expected
    assert till.data("GET", "/api/v2/lookup/email/Ada%40example.test") == {"contactID": contact}


def test_programme_off_hides_points(till):
    make_discount(till.account)
    Programme.unscoped.update(enabled=False)
    told = till.wallet()
    assert (told["loyaltyPoints"], told["hidePointsInWallet"], told["discountTemplates"]) == (0, True, None)


def test_points_past_their_expiry_are_not_there(till):
    now, hour = timezone.now(), timedelta(hours=1)
    till.give(50, expires_at=now - hour, at=now - 9 * hour)
    till.give(7, expires_at=now + hour, at=now - 9 * hour)
    assert till.balance == 1057  # nothing swept, nothing written
    assert till.wallet()["loyaltyPoints"] == 1007


def test_fault_6_2_what_goes_next_is_told_before_it_goes(till):
    """Points and moment of the next expiry, those of one moment together; none where points are hidden."""
    assert till.wallet()["nextToExpire"] is None
    soon, later = timezone.now() + timedelta(days=3), timezone.now() + timedelta(days=9)
    till.give(12, expires_at=later)
    till.give(30, expires_at=soon)
    till.give(5, expires_at=soon)
    till.give(99, at=timezone.now() - timedelta(days=2), expires_at=timezone.now() - timedelta(days=1))
    assert till.wallet()["nextToExpire"] == {"points": 35, "at": int(soon.timestamp())}
    Programme.unscoped.update(hide_points=True)
    assert till.wallet()["nextToExpire"] is None


def test_fractions_have_two_decimals(till):
    till.give(Decimal("0.50"))
    assert b'"loyaltyPoints":1000.50,' in till.call("GET", f"/api/v2/wallet/{PHONE}").content


def test_available(till):
    now, day = timezone.now(), timedelta(days=1)
    shown = {
        "enough": make_discount(till.account, points=1000),
        "dear": make_discount(till.account, points=1001),
        "later": make_discount(till.account, points=1, starts_at=now + day),
        "over": make_discount(till.account, points=1, ends_at=now - day),
        "once": make_discount(till.account, points=1, reusable=False),
        "again": make_discount(till.account, points=1),
    }
    make_discount(till.account, points=1, archived_at=now)
    make_discount(till.account, points=1, ends_at=now - 40 * day)
    till.data("PUT", till.url(shown["again"]))
    till.data("PUT", till.url(shown["once"]))
    till.give(2)
    said = {t["id"]: t["available"] for t in till.wallet()["discountTemplates"]}
    assert {name: said.pop(str(d.number)) for name, d in shown.items()} == {
        "enough": True, "dear": False, "later": False, "over": False, "once": False, "again": True,
    }  # fmt: skip
    assert not said


def test_open_redemptions(till):
    discount = make_discount(till.account, points=100)
    url, before = till.url(discount), timezone.now()
    done, after = till.data("PUT", url + "/INV-7"), timezone.now()
    (shown,) = till.wallet()["openRedemptions"]
    applied_at = shown.pop("appliedAt")
    assert int(before.timestamp()) <= applied_at <= after.timestamp()
    assert shown == {"redemptionID": done["redemptionID"], "name": discount.name, "pointsDeduction": 100,
                     "transactionID": "INV-7", "code": None}  # fmt: skip
    till.data("POST", f"/api/v2/redemptions/{done['redemptionID']}/revert")
    assert till.wallet()["openRedemptions"] is None


def test_a_merged_persona_answers_with_its_survivor(till):
    old = make_persona(till.account, phone="+16045550188")
    Persona.unscoped.filter(pk=old.pk).update(merged_into=till.persona)
    assert till.data("GET", "/api/v2/wallet/6045550188")["contactID"] == str(till.persona.contact_id)


def test_a_shared_phone_answers_with_who_bought_last(till):
    now = timezone.now()
    Identifier.unscoped.filter(value=PHONE).update(shared=True)
    Persona.unscoped.filter(pk=till.persona.pk).update(last_seen_at=now - timedelta(days=3))
    for days in (2, 1, 5):
        make_persona(till.account, email=f"{days}@example.test", last_seen_at=now - timedelta(days=days))
    Persona.unscoped.exclude(pk=till.persona.pk).update(phone=PHONE)
    latest = Persona.unscoped.get(email="1@example.test")
    assert till.wallet()["contactID"] == str(latest.contact_id)


@pytest.mark.parametrize("discounts", [1, 40])
def test_four_statements_whatever_is_in_it(till, discounts):
    for _ in range(discounts):
        make_discount(till.account)
    till.data("PUT", till.wallet()["discountTemplates"][0]["redemptionURL"] + "/T1")
    with CaptureQueriesContext(
        connection,
    ) as seen:
        assert len(till.wallet()["discountTemplates"]) == discounts
    assert len(seen) <= 4, [q["sql"] for q in seen]
    assert not [q for q in seen if not q["sql"].lstrip().upper().startswith("SELECT")]


def test_unknown_phone_costs_two_statements(till, django_assert_max_num_queries):
    till.wallet()
    with django_assert_max_num_queries(2):
        till.refused(404, "GET", "/api/v2/wallet/6045550100")


def test_an_account_without_a_programme(db):
    till = Till()
    Programme.unscoped.all().delete()
    assert till.wallet()["loyaltyPoints"] == 0
