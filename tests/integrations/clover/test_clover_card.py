"""Connecting, and writing customers, against the stand-in over HTTP."""

from datetime import UTC, datetime

import pytest

from integrations.clover import card, writers
from integrations.kit.errors import BadCredentials, BadRow, TryLater
from integrations.kit.writers import WriteContext
from integrations.sandbox.server import start
from tests.integrations.sandbox.clover_client import Client as Raw

READ = ["MERCHANT_R", "CUSTOMERS_R", "ORDERS_R", "PAYMENTS_R", "INVENTORY_R", "EMPLOYEES_R", "CUSTOMERS_W"]
EXPAND = "expand=emailAddresses,phoneNumbers,addresses,metadata"


@pytest.fixture(scope="module")
def running():
    with start("clover", customers=25, sales=20, seed=4, days=10, rate=0) as one:
        yield one


@pytest.fixture
def raw(running):
    client = Raw(running.url)
    client.control("faults", clear=True)
    client.control("edit", permissions=READ)
    return client


@pytest.fixture
def client(raw, running):
    values = {"merchant_id": raw.mid, "api_token": raw.token}
    with card.make_client(values=values, base_url=running.url) as made:
        yield made


def context(raw, key="k1"):
    return WriteContext(now=datetime.now(UTC), identity=raw.mid, key=key)


def test_the_merchant_is_the_location(client, raw):
    told = card.CARD.connect(client)
    assert (told.identity, told.title, told.notes) == (raw.mid, "Clover Harbour Street Store", ())
    assert [place.external_id for place in told.locations] == [raw.mid]


@pytest.mark.parametrize("box", ["Customers", "Orders", "Payments", "Inventory", "Employees"])
def test_each_missing_box_has_its_sentence(client, raw, box):
    raw.control("edit", permissions=[one for one in READ if one != f"{box.upper()}_R"])
    with pytest.raises(BadCredentials) as refused:
        card.CARD.connect(client)
    said = refused.value.message
    assert refused.value.setting == "api_token" and said.endswith(".")
    assert f"“{box}: Read” is not ticked" in said and said.count("is not ticked") == 1


def test_all_missing_boxes_are_named_at_once(client, raw):
    raw.control("edit", permissions=["MERCHANT_R"])
    with pytest.raises(BadCredentials) as refused:
        card.CARD.connect(client)
    assert refused.value.message.count("is not ticked") == 5


def test_a_missing_write_box_is_a_note(client, raw):
    raw.control("edit", permissions=[one for one in READ if one != "CUSTOMERS_W"])
    (note,) = card.CARD.connect(client).notes
    assert "“Customers: Write” is not ticked" in note
    with pytest.raises(BadCredentials, match="Customers: Write"):
        writers.PushCustomer.create(client, {"first_name": "No", "phone": "+13035550100"}, context(raw))


@pytest.mark.parametrize(
    ("values", "setting"),
    [({"api_token": "11111111-2222-4333-8444-555555555555"}, "api_token"), ({"merchant_id": "A" * 13}, "api_token"),
     ({"merchant_id": "m7q2"}, "merchant_id"), ({"api_token": "tök en"}, "api_token")],
)  # fmt: skip
def test_what_does_not_fit_names_its_field(raw, running, values, setting):
    given = {"merchant_id": raw.mid, "api_token": raw.token} | values
    with card.make_client(values=given, base_url=running.url) as made, pytest.raises(BadCredentials) as refused:
        card.CARD.connect(made)
    assert refused.value.setting == setting and refused.value.message.endswith(".")
    assert given["api_token"] not in refused.value.message + refused.value.detail


# Writing customers


SHOPPER = {
    "first_name": "Tomas", "last_name": "Reyes", "phone": "+13035559901", "email": "tomas@example.com",
    "birth_date": "1990-04-05", "street": "1 Harbour Rd", "city": "Denver", "state": "CO", "postal_code": "80205",
    "country": "US",
}  # fmt: skip


def people(raw, phone):
    return [
        row for row in raw.all("/customers", EXPAND)
        if phone in [one["phoneNumber"] for one in row["phoneNumbers"]["elements"]]
    ]  # fmt: skip


def test_created_with_all_there_is_and_found_again(client, raw):
    assert writers.PushCustomer.find(client, SHOPPER, context(raw)) == ""
    made = writers.PushCustomer.create(client, SHOPPER, context(raw))
    assert (made.first_name, made.phone, made.email, made.state) == ("Tomas", "+13035559901", "tomas@example.com", "CO")
    assert str(made.birth_date) == "1990-04-05"
    (row,) = people(raw, "3035559901")
    assert row["marketingAllowed"] is False
    assert writers.PushCustomer.find(client, SHOPPER, context(raw)) == made.external_id
    assert writers.PushCustomer.find(client, SHOPPER | {"phone": ""}, context(raw)) == made.external_id
    assert writers.PushCustomer.find(client, SHOPPER | {"phone": "+13035559902", "email": ""}, context(raw)) == ""


@pytest.mark.parametrize("number", range(6))
def test_found_however_the_phone_was_typed(client, raw, number):
    last = f"77{number:02d}"
    typed = writers.phone_forms(f"+1303555{last}")[number]
    made = raw.post("/customers", {"firstName": "Typed", "phoneNumbers": [{"phoneNumber": typed}]})["id"]
    assert writers.PushCustomer.find(client, {"phone": f"+1303555{last}"}, context(raw)) == made


def test_an_answer_that_is_lost_is_looked_for_before_creating_again(client, raw):
    shopper = SHOPPER | {"phone": "+13035558801", "email": "lost@example.com"}
    raw.control("faults", kind="lost", match=f"/v3/merchants/{raw.mid}/customers", times=1)
    with pytest.raises(TryLater):
        writers.PushCustomer.create(client, shopper, context(raw))
    assert len(people(raw, "3035558801")) == 1, "it acted, and was not tried again in place"
    assert writers.PushCustomer.find(client, shopper, context(raw))


def test_who_could_not_be_found_again_is_not_created(client, raw):
    with pytest.raises(BadRow, match="twice"):
        writers.PushCustomer.create(client, {"first_name": "Nobody"}, context(raw))


def test_the_card_declares_what_it_serves():
    served = {one.name for one in card.CARD.settings}
    assert served == {"relevant_market", "frozen", "skip_payment_method", "sync_personas", "sync_to_market",
                      "sms_optin_after", "enrol_after"}  # fmt: skip
    assert set(card.CARD.unserved) == {"pricing_group", "restrict_locations", "points_import_on", "mirror_points"}
    assert all(reason.endswith(".") for reason in card.CARD.unserved.values())
