"""An applied redemption meets its sale: by its order's number, else by shopper, time and discount; never guessed."""

from datetime import timedelta

import pytest

from integrations.kit.records import SaleRecord
from integrations.sink import Batch, sink
from loyalty import ledger
from loyalty.models import Persona, Redemption
from tests.factories import make_account, make_discount
from tests.records import NOON, customer, land_customers, land_sales, make_origin, sale

pytestmark = pytest.mark.django_db
TEN = '[{"name": "$10 off", "cents": 1000}]'


@pytest.fixture
def shop():
    """(origin, persona with 1,000 points)"""
    origin = make_origin(make_account())
    landed = land_customers(origin, customer("c", phone="+16045550142"))
    sink().landed(Batch(origin.account_id, origin.pk, type(customer("c")), landed.new, [], NOON))
    persona = Persona.unscoped.get()
    Persona.unscoped.update(member_from=NOON.date())
    ledger.adjust(account_id=origin.account_id, persona_id=persona.pk, points=1000, key="start", now=NOON)
    return origin, persona


def redeem(persona, discount, *, transaction="", n=0, at=NOON):
    return ledger.redeem(
        account_id=persona.account_id, persona_id=persona.pk, discount_id=discount.pk, n=n, transaction=transaction,
        channel="till" if transaction else "staff", now=at,
    )  # fmt: skip


def arrive(origin, *records):
    landed = land_sales(origin, *records)
    sink().landed(Batch(origin.account_id, origin.pk, SaleRecord, landed.new, landed.changed, NOON))


def with_discount(external_id, discounts=TEN, **fields):
    return sale(external_id, customer_id="c", discounts=discounts, has_details=True, **fields)


def states() -> list[tuple[str, str | None]]:
    rows = Redemption.unscoped.order_by("id").values_list("state", "sale__external_id")
    return list(rows)


@pytest.mark.parametrize("field", ["number", "receipt"])
def test_by_the_orders_number(shop, field):
    origin, persona = shop
    redeem(persona, make_discount(origin.account), transaction="TX-1")
    arrive(origin, with_discount("s", **{field: "TX-1"}))
    assert states() == [("settled", "s")]


def test_another_orders_number_is_not_it(shop):
    origin, persona = shop
    redeem(persona, make_discount(origin.account), transaction="TX-1")
    arrive(origin, with_discount("s", number="TX-2"))
    assert states() == [("applied", None)]


@pytest.mark.parametrize(
    ("fields", "discounts", "settled"),
    [
        ({}, TEN, True),
        ({}, '[{"name": "something", "cents": 1000}]', True),  # staff typed the amount
        ({}, '[{"name": " $10 OFF ", "cents": 900}]', True),  # or chose it by its name
        ({}, '[{"name": "something", "cents": 900}]', False),
        ({}, "[]", False),
        ({"sold_at": NOON - timedelta(minutes=5)}, TEN, False),  # sold before it was redeemed
        ({"sold_at": NOON - timedelta(minutes=1)}, TEN, True),  # the feed cuts to the minute
        ({"sold_at": NOON + timedelta(hours=13)}, TEN, False),
        ({"customer_id": ""}, TEN, False),
    ],
)
def test_by_hand(shop, fields, discounts, settled):
    origin, persona = shop
    redeem(persona, make_discount(origin.account, cents=1000))
    arrive(origin, with_discount("s", discounts)._replace(**fields))
    assert states() == [("settled", "s") if settled else ("applied", None)]


def test_a_percentage_is_known_by_its_amount(shop):
    origin, persona = shop
    redeem(persona, make_discount(origin.account, percent=15, name="Fifteen"))
    arrive(origin, with_discount("s", '[{"name": "x", "cents": 1500}]', net=8500, tax=0))
    assert states() == [("settled", "s")]


def test_two_sales_are_never_guessed_between(shop):
    origin, persona = shop
    redeem(persona, make_discount(origin.account))
    arrive(origin, with_discount("s"), with_discount("t"))
    assert states() == [("applied", None)]


def test_two_redemptions_do_not_share_a_sale(shop):
    origin, persona = shop
    discount = make_discount(origin.account)
    redeem(persona, discount)
    redeem(persona, discount, n=1)
    arrive(origin, with_discount("s"))
    assert states() == [("applied", None), ("applied", None)]


def test_arriving_twice_changes_nothing(shop):
    origin, persona = shop
    redeem(persona, make_discount(origin.account))
    arrive(origin, with_discount("s"))
    arrive(origin, with_discount("s", net=9000))
    assert states() == [("settled", "s")]


def test_a_sale_that_came_before_its_customer(shop):
    origin, persona = shop
    redeem(persona, make_discount(origin.account), transaction="TX-1")
    arrive(origin, with_discount("s", number="TX-1")._replace(customer_id="late"))
    assert states() == [("applied", None)]
    landed = land_customers(origin, customer("late", phone="+16045550142"))
    sink().landed(Batch(origin.account_id, origin.pk, type(customer("c")), landed.new, [], NOON))
    assert states() == [("settled", "s")]


def test_a_settled_redemption_is_not_given_to_another_order(shop):
    origin, persona = shop
    discount = make_discount(origin.account)
    redeem(persona, discount)
    arrive(origin, with_discount("s"))
    with pytest.raises(ledger.NotAvailable):
        redeem(persona, discount, transaction="ORDER-2")  # the address of a wallet that was read before
    redeem(persona, discount, transaction="ORDER-2", n=1)
    assert states() == [("settled", "s"), ("applied", None)]
