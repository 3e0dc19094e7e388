"""`POST /api/v2/loyalty` and the verbs behind it."""

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from django.utils import timezone

from aiqsync.accounts.tenancy import acting_in
from integrations.models import Customer, Location, Origin, Sale
from loyalty import personas
from loyalty.models import Enrolment, Entry, Ground, Identifier, Persona, SaleState, Source, Wallet
from tests.factories import make_account, make_persona

from .till import PHONE, Till, at_once

ADDRESS = "/api/v2/loyalty"
NEW = {"firstName": "Bo", "lastName": "Lund", "mobilePhone": "(604) 555-0177", "email": "BO@example.test"}


def sign_up(till, **body):
    told = till.data("POST", ADDRESS, body)
    assert set(told) == {"contactID", "srcID"} and told["srcID"] is None
    return Persona.unscoped.get(contact_id=told["contactID"])


def test_a_new_shopper(till):
    persona = sign_up(till, **NEW, loyalty=True, favoriteStoreID=3, smsoptin=True, customAttributes=[{"key": "a"}])
    today = timezone.now().astimezone(ZoneInfo(till.account.timezone)).date()
    assert (persona.first_name, persona.last_name) == ("Bo", "Lund")
    assert (persona.phone, persona.email, persona.member_from) == ("+16045550177", "bo@example.test", today)
    assert Wallet.unscoped.get(persona=persona).balance == 0
    held = set(Identifier.unscoped.filter(persona=persona).values_list("kind", "value"))
    assert held == {("phone", "+16045550177"), ("email", "bo@example.test")}
    enrolment = Enrolment.unscoped.get(persona=persona)
    assert (enrolment.ground, enrolment.from_date) == ("api", today)
    assert till.data("GET", "/api/v2/wallet/6045550177")["loyalty"] is True


def test_again_is_the_same_person(till):
    first = till.call("POST", ADDRESS, NEW)
    again = till.call("POST", ADDRESS + "/", NEW)
    assert first.content == again.content
    assert Persona.unscoped.count() == 2 and Enrolment.unscoped.count() == 1


@pytest.mark.parametrize(
    ("said", "member"),
    [({}, True), ({"loyalty": None}, True), ({"loyalty": True}, True), ({"loyalty": "true"}, True),
     ({"loyalty": 1}, True), ({"loyalty": False}, False), ({"loyalty": "false"}, False), ({"loyalty": 0}, False)],
)  # fmt: skip
def test_enrols_unless_told_not_to(till, said, member):
    assert sign_up(till, mobilePhone="6045550177", **said).is_member is member
    assert Enrolment.unscoped.count() == member


def test_a_contact_becomes_a_member_and_stays_one(till):
    assert not sign_up(till, mobilePhone="6045550177", loyalty=False).is_member
    assert sign_up(till, mobilePhone="6045550177").is_member
    assert sign_up(till, mobilePhone="6045550177", loyalty=False).is_member


def test_only_what_was_given_is_changed(till):
    persona = sign_up(till, mobilePhone="6045550142", firstName="Adele", lastName="", email=None)
    assert persona == till.persona
    assert (persona.first_name, persona.last_name, persona.email) == ("Adele", "Moss", "ada@example.test")
    assert persona.member_from == date(2020, 1, 1) and not Enrolment.unscoped.exists()


def test_an_invalid_phone_never_blanks_a_good_one(till):
    persona = sign_up(till, mobilePhone="12", email="ada@example.test")
    assert persona == till.persona and persona.phone == PHONE


@pytest.mark.parametrize(
    ("body", "field"),
    [({"mobilePhone": "12"}, "mobilePhone"), ({"mobilePhone": "5555555555"}, "mobilePhone"), ({}, "mobilePhone"),
     ({"email": "nobody"}, "email"), ({"mobilePhone": "12", "email": "nobody"}, "mobilePhone"),
     ({"firstName": "Bo"}, "mobilePhone")],
)  # fmt: skip
def test_nothing_to_know_the_person_by(till, body, field):
    assert till.refused(400, "POST", ADDRESS, body).startswith(field)
    assert Persona.unscoped.count() == 1


def test_an_email_gets_its_phone(till):
    known = make_persona(till.account, email="bo@example.test", member=False)
    assert sign_up(till, **NEW) == known
    assert till.data("GET", "/api/v2/lookup/6045550177") == {"contactID": str(known.contact_id)}


def test_two_phones_never_meet_through_an_email(till):
    persona = sign_up(till, mobilePhone="6045550177", email="ada@example.test")
    assert persona != till.persona and persona.email == ""
    assert till.data("GET", "/api/v2/lookup/email/ada@example.test") == {"contactID": str(till.persona.contact_id)}


def test_a_shared_phone_makes_no_end_of_persons(till):
    Identifier.unscoped.filter(value=PHONE).update(shared=True)
    assert sign_up(till, mobilePhone=PHONE, firstName="ADA", lastName="Moss") == till.persona
    sister = sign_up(till, mobilePhone=PHONE, firstName="Eve", lastName="Moss")
    assert sister != till.persona
    assert sign_up(till, mobilePhone=PHONE, firstName="Eve", lastName="Moss") == sister
    assert not Identifier.unscoped.filter(persona=sister).exists()


def test_the_days_sales_count(till):
    """Of the day of enrolment, in the account's zone; not the day before."""
    zone = ZoneInfo(till.account.timezone)
    origin = Origin.unscoped.create(account=till.account, platform="cova", identity="1")
    place = Location.unscoped.create(account=till.account, origin=origin, external_id="1")
    customer = Customer.unscoped.create(account=till.account, origin=origin, external_id="c1", phone="+16045550177")
    persona = make_persona(till.account, phone="+16045550177", member=False)
    Source.unscoped.create(account=till.account, persona=persona, customer=customer, matched_by="phone")
    midnight = datetime.combine(timezone.now().astimezone(zone).date(), datetime.min.time(), zone)
    for n, at in enumerate((midnight - timedelta(seconds=1), midnight)):
        Sale.unscoped.create(account=till.account, origin=origin, external_id=str(n), location=place, customer_id="c1",
                             sold_at=at, net_cents=2500, total_cents=2500)  # fmt: skip
    assert sign_up(till, mobilePhone="6045550177") == persona
    assert till.data("GET", "/api/v2/wallet/6045550177")["loyaltyPoints"] == 25
    assert SaleState.unscoped.filter(persona=persona).count() == 2
    sign_up(till, mobilePhone="6045550177")
    assert Entry.unscoped.filter(persona=persona).count() == 1


def test_enrolling_many(till):
    account = till.account
    people = [make_persona(account, member=False) for _ in range(7)]
    merged = make_persona(account, member=False)
    Persona.unscoped.filter(pk=merged.pk).update(merged_into=people[0])
    theirs = make_persona(make_account("Other Co"), member=False)
    ids = [p.pk for p in (*people, merged, theirs, till.persona)]
    now = datetime(2026, 11, 21, tzinfo=UTC)
    asked = {"account_id": account.pk, "persona_ids": ids, "ground": Ground.STAFF, "from_date": date(2026, 11, 1)}
    with acting_in(account.pk):
        assert personas.enrol_many(**asked, now=now) == 7
        assert personas.enrol_many(**asked, now=now) == 0
        earlier = asked | {"from_date": date(2026, 10, 1), "persona_ids": [people[0].pk]}
        assert personas.enrol_many(**earlier, now=now) == 1
        later = {"persona": people[1], "ground": Ground.STAFF, "from_date": date(2026, 12, 1), "now": now}
        assert not personas.enrol(**later)
    people[0].refresh_from_db()
    assert people[0].member_from == date(2026, 10, 1)
    assert Enrolment.unscoped.count() == 8
    theirs.refresh_from_db()
    assert theirs.member_from is None


def test_finding_by_contact_id(till):
    old = make_persona(till.account)
    Persona.unscoped.filter(pk=old.pk).update(merged_into=till.persona)
    with acting_in(till.account.pk):
        for contact_id in (old.contact_id, till.persona.contact_id):
            assert personas.find(account_id=till.account.pk, contact_id=contact_id) == till.persona
        assert personas.find(account_id=till.account.pk) is None


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(
    "bodies",
    [
        [NEW],
        [{"mobilePhone": "6045550177"}, NEW, {"email": "bo@example.test", "mobilePhone": "+16045550177"}],
        [{"email": "bo@example.test"}],
    ],
    ids=["both", "phone or both", "e-mail"],
)
def test_many_at_once_make_one_persona(bodies):
    till = Till(points=None)
    answers = at_once([lambda b=b: till.call("POST", ADDRESS, b) for b in bodies * (20 // len(bodies))])
    assert {a.status_code for a in answers} == {200}
    assert len({a.content for a in answers}) == 1
    persona = Persona.unscoped.get()
    assert Enrolment.unscoped.filter(persona=persona).count() == 1 and Wallet.unscoped.count() == 1
