"""`/v2/loyaltyContact/override`: what a caller sets holds until the POS says something new."""

from datetime import timedelta

import pytest
from django.utils import timezone

from aiqsync.accounts.tenancy import acting_in
from loyalty import erasure, merging, personas
from loyalty.models import Attribute, Identifier, Override, Persona, Referral
from tests.factories import make_account, make_persona
from tests.records import NOON, arrive, customer, make_origin

from .till import Till

PHONE = "+16045550142"


class Shop:
    """A POS with one customer, and a till."""

    def __init__(self):
        self.origin = make_origin(make_account())
        self.till = Till(points=None, account=self.origin.account)
        self.n = 0
        self.lands("c1", first_name="Ana", last_name="Diaz", phone=PHONE, email="ana@example.test")
        self.persona = Persona.unscoped.get()

    def lands(self, key, **fields):
        self.n += 1
        record = customer(key, version=self.n, modified_at=NOON + timedelta(minutes=self.n), **fields)
        with acting_in(self.origin.account_id):
            arrive(self.origin, type(record), [record], stream="customers", now=NOON)

    def again(self, **fields):
        """The POS edits something else, or these."""
        given = {"first_name": "Ana", "last_name": "Diaz", "phone": PHONE, "email": "ana@example.test"}
        self.lands("c1", **given | {"city": f"town {self.n}"} | fields)

    def where(self, persona=None):
        return f"/api/v2/loyaltyContact/override/{self.till.account.uid}/{(persona or self.persona).contact_id}"

    def put(self, persona=None, **body):
        return self.till.data("POST", self.where(persona), body)

    def now(self):
        self.persona.refresh_from_db()
        return self.persona


@pytest.fixture
def shop(db):
    return Shop()


def test_it_holds_until_the_pos_says_something_new(shop):
    assert shop.put(firstName="Anna") == {"contactID": str(shop.persona.contact_id), "overridden": ["firstName"]}
    assert (shop.now().first_name, shop.now().last_name) == ("Anna", "Diaz")
    shop.again()
    assert shop.now().first_name == "Anna"
    shop.again(first_name="", last_name="Dias")  # an empty field says nothing; the other field is the POS's
    assert (shop.now().first_name, shop.now().last_name) == ("Anna", "Dias")
    shop.again(first_name="Anne")
    assert shop.now().first_name == "Anne" and not Override.unscoped.exists()
    shop.again(first_name="Ana")
    assert shop.now().first_name == "Ana"


def test_reading(shop):
    assert shop.till.data("GET", shop.where()) == {"contactID": str(shop.persona.contact_id), "setAt": {}}
    shop.put(mobilePhone="604 555 0199", birthdate="1990-04-20", address="1 Main St")
    told = shop.till.data("GET", shop.where())
    assert told["mobilePhone"] == "6045550199" and told["birthdate"] == "1990-04-20" and told["address"] == "1 Main St"
    assert set(told["setAt"]) == {"mobilePhone", "birthdate", "address"}
    shop.again()
    one = shop.now()
    assert (one.phone, str(one.birth_date), one.address) == ("+16045550199", "1990-04-20", "1 Main St")


def test_omitted_fields_are_untouched(shop):
    shop.put(firstName="Anna", email=None, lastName="")
    shop.put(lastName="Dee")
    assert (shop.now().first_name, shop.now().last_name, shop.now().email) == ("Anna", "Dee", "ana@example.test")
    assert Override.unscoped.count() == 2


def test_an_invalid_phone_never_replaces_a_good_one(shop):
    assert shop.put(firstName="Anna", mobilePhone="12")["overridden"] == ["firstName"]
    assert shop.now().phone == PHONE
    for bad in ("12", "5555555555"):
        assert shop.till.refused(400, "POST", shop.where(), {"mobilePhone": bad}).startswith("mobilePhone")
    assert shop.till.refused(400, "POST", shop.where(), {"birthdate": "1.1.90"}).startswith("birthdate")
    assert shop.till.refused(400, "POST", shop.where(), {"email": "x"}).startswith("email")
    shop.till.refused(400, "POST", shop.where(), {})
    assert shop.now().phone == PHONE and Override.unscoped.count() == 1


def test_a_phone_makes_known_and_is_nobody_elses(shop):
    shop.put(mobilePhone="6045550199")
    assert shop.till.data("GET", "/api/v2/lookup/6045550199")["contactID"] == str(shop.persona.contact_id)
    assert shop.till.data("GET", "/api/v2/lookup/6045550142")["contactID"] == str(shop.persona.contact_id)
    other = make_persona(shop.till.account, phone="+16045550188", email="bo@example.test")
    for body in ({"mobilePhone": "6045550188"}, {"email": "bo@example.test", "firstName": "X"}):
        assert "Another contact" in shop.till.refused(400, "POST", shop.where(), body)
    assert shop.now().first_name == "Ana" and Identifier.unscoped.filter(persona=other).count() == 2
    # The POS's next record of the overridden phone is his.
    shop.lands("c2", first_name="Ana", last_name="Diaz", phone="+16045550199")
    assert Persona.unscoped.count() == 2


def test_a_sign_up_leaves_what_is_overridden(shop):
    shop.put(firstName="Anna", address="1 Main St")
    body = {"mobilePhone": PHONE, "firstName": "Ann", "lastName": "Dee", "address": "2 Main St"}
    shop.till.data("POST", "/api/v2/loyalty", body)
    assert (shop.now().first_name, shop.now().last_name, shop.now().address) == ("Anna", "Dee", "1 Main St")


def test_it_moves_with_a_merge_and_comes_back_with_a_split(shop):
    shop.lands("c2", first_name="Ben", last_name="Diaz", phone="+16045550188")
    ben = Persona.unscoped.get(first_name="Ben")
    shop.put(ben, lastName="Moss")
    with acting_in(shop.till.account.pk):
        made = merging.merge(account_id=shop.till.account.pk, one_id=shop.persona.pk, other_id=ben.pk, now=NOON)
    assert shop.now().last_name == "Moss"
    shop.again()
    shop.lands("c2", first_name="Ben", last_name="Diaz", phone="+16045550188", city="x")
    assert shop.now().last_name == "Moss"
    assert shop.till.data("GET", shop.where(ben))["lastName"] == "Moss"
    with acting_in(shop.till.account.pk):
        merging.split(account_id=shop.till.account.pk, merge_id=made.pk, user=None, now=NOON)
    ben.refresh_from_db()
    assert (shop.now().last_name, ben.last_name) == ("Diaz", "Moss")


def test_it_goes_with_the_person(shop):
    shop.put(firstName="Anna", address="1 Main St", customAttributes=[{"key": "a", "value": "b"}])
    new = shop.till.data("POST", "/api/v2/loyalty", {"mobilePhone": "6045550177"})
    other = Persona.unscoped.get(contact_id=new["contactID"])
    Referral.unscoped.create(account=shop.till.account, referrer=shop.persona, referred=other)
    with acting_in(shop.till.account.pk):
        erasure.erase(account_id=shop.till.account.pk, persona_id=shop.persona.pk, user=None, now=timezone.now())
    assert not Override.unscoped.exists() and not Attribute.unscoped.exists() and not Referral.unscoped.exists()
    assert shop.now().address == "" and shop.now().first_name == ""
    shop.till.refused(404, "POST", shop.where(), {"firstName": "Anna"})
    assert "removed" in shop.till.refused(400, "POST", shop.where(other), {"mobilePhone": PHONE})
    with acting_in(shop.till.account.pk):
        assert personas.find(account_id=shop.till.account.pk, phone=PHONE) is None


def test_store_and_attributes_need_no_override(shop):
    told = shop.put(customAttributes=[{"key": "a", "value": "b"}])
    assert told["overridden"] is None and Attribute.unscoped.get().value == "b" and not Override.unscoped.exists()


@pytest.mark.parametrize("raw", [b"[]", b"[[[[]]]]", b'"x"', b'{"firstName": []}', b'{"firstName": "a\\u0000"}'])
def test_bodies_that_cannot_be_read(shop, raw):
    shop.till.refused(400, "POST", shop.where(), raw=raw)
