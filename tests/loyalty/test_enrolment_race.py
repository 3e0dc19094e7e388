"""Becoming a member while sales land: nobody is paid twice, and nobody not at all."""

from datetime import date, timedelta

import pytest
from django.db import transaction

from integrations import landing
from integrations.kit.records import SaleRecord
from integrations.sink import Batch, sink
from loyalty import audits, earning, ledger, personas
from loyalty.models import Persona, Wallet
from tests.factories import make_account, make_discount
from tests.records import NOON, customer, land_customers, make_origin, sale

from .race import Acting

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def shop():
    origin = make_origin(make_account())
    landed = land_customers(origin, customer("c", phone="+16045550142"))
    with transaction.atomic():
        sink().landed(Batch(origin.account_id, origin.pk, type(customer("c")), landed.new, [], NOON))
    # Seen later already, so that the page does not touch (and lock) the persona's row.
    Persona.unscoped.update(last_seen_at=NOON + timedelta(days=1))
    return origin, Persona.unscoped.get()


def page_while(origin, record, meanwhile, *, locked=True):
    """A page that is open while `meanwhile` runs elsewhere: rows and points first; when that waits or is through, the
    commit."""
    with transaction.atomic():
        if locked:
            landing.lock_origin(origin.pk)
        landed = landing.sales(account_id=origin.account_id, origin_id=origin.pk, records=[record])
        sink().landed(Batch(origin.account_id, origin.pk, SaleRecord, landed.new, landed.changed, NOON))
        acting = Acting(meanwhile).settle()  # held up by the lock, or through without it
    assert not isinstance(acting.answer(), Exception), acting.answer()


def enrol(origin, persona):
    from aiqsync.accounts.tenancy import acting_in

    def step():
        with acting_in(origin.account_id):
            personas.enrol_many(
                account_id=origin.account_id,
                persona_ids=[persona.pk],
                ground="staff",
                from_date=date(2026, 1, 1),
                now=NOON,
            )

    return step


@pytest.mark.parametrize("locked", [True, False], ids=["locked", "control: the page without the lock"])
def test_enrolled_while_a_page_is_open(shop, locked):
    origin, persona = shop
    page_while(origin, sale("s", customer_id="c"), enrol(origin, persona), locked=locked)
    assert Wallet.unscoped.get(persona=persona).balance == (100 if locked else 0)
    assert earning.out_of_date(account_id=origin.account_id) == (0 if locked else 1)
    assert audits.violations() == []


def test_enrolled_while_a_sale_is_being_edited(shop):
    origin, persona = shop
    page_while(origin, sale("s", customer_id="c"), lambda: None)
    page_while(origin, sale("s", customer_id="c", net=1000), enrol(origin, persona))
    assert Wallet.unscoped.get(persona=persona).balance == 10
    assert earning.out_of_date(account_id=origin.account_id) == 0


def test_enrolling_and_redeeming_do_not_wait_for_each_other(shop):
    origin, persona = shop
    enrol(origin, persona)()
    ledger.adjust(account_id=origin.account_id, persona_id=persona.pk, points=1000, key="start", now=NOON)
    discount = make_discount(origin.account, points=100)

    def redeem():
        ledger.redeem(
            account_id=origin.account_id, persona_id=persona.pk, discount_id=discount.pk, n=0, transaction="T",
            channel="till", now=NOON,
        )  # fmt: skip

    with transaction.atomic():
        # What an enrolment holds while it settles the sales.
        list(Persona.unscoped.select_for_update(no_key=True).filter(pk=persona.pk))
        acting = Acting(redeem).settle()
        assert acting.over, "the till waited for an enrolment"
    assert not isinstance(acting.answer(), Exception), acting.answer()
