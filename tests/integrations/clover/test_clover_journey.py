"""A reward with Clover: redeemed with us, typed in by hand at the till, found on the order or not."""

from datetime import timedelta

import pytest
from django.utils import timezone

from aiqsync.accounts.tenancy import acting_in
from integrations.models import StreamState
from loyalty import ledger, personas, reconcile
from loyalty.models import Persona, Redemption
from tests.factories import make_discount

pytestmark = pytest.mark.django_db
TEA = [{"sku": "T1", "name": "Tea", "category": "Tea", "price_cents": 4000}]
PHONE = "3035550990"


@pytest.fixture
def member(clover):
    """A member with 500 points, and the shop."""
    clover.control("edit", first_name="Mara", last_name="Okafor", phone=PHONE)
    clover.connect()
    clover.sync()
    now = timezone.now()
    persona = Persona.unscoped.get(phone=f"+1{PHONE}")
    with acting_in(clover.account.pk):
        personas.enrol_many(
            account_id=clover.account.pk,
            persona_ids=[persona.pk],
            ground="queue",
            now=now,
            from_date=now.date() - timedelta(days=1),  # it may still be yesterday in the account's zone
        )
    ledger.adjust(account_id=clover.account.pk, persona_id=persona.pk, points=500, key="start", now=now)
    return clover, persona


def redeem(shop, persona):
    discount = make_discount(shop.account, points=100, cents=1000, name="$10 off")
    ledger.redeem(
        account_id=shop.account.pk, persona_id=persona.pk, discount_id=discount.pk, n=0, transaction="",
        channel="staff", now=timezone.now(),
    )  # fmt: skip
    return discount


def points(shop, persona):
    return ledger.spendable_points(shop.account.pk, persona.pk, timezone.now())


@pytest.mark.parametrize("typed", [{"name": "$10 off", "cents": 1000}, {"name": "Manager discount", "cents": 1000}])
def test_typed_in_it_is_settled_with_its_order(member, typed):
    shop, persona = member
    shop.control("till", action="open", phone=PHONE, lines=TEA)
    redeem(shop, persona)
    assert points(shop, persona) == 400
    shop.control("till", action="apply", phone=PHONE, **typed)
    shop.sync("sales")
    assert Redemption.unscoped.get().state == "applied", "an order that stands open is no sale yet"
    sold = shop.control("till", action="complete", phone=PHONE)["sale"]
    shop.sync("sales")
    found = Redemption.unscoped.get()
    assert (found.state, found.sale.external_id) == ("settled", sold["id"])
    assert points(shop, persona) == 400 + 30, "a point a dollar on what was paid, net of the discount and without tax"


def test_left_out_the_points_come_back(member):
    shop, persona = member
    redeem(shop, persona)
    shop.control("sell", phone=PHONE, lines=TEA)
    shop.sync("sales")
    later = timezone.now() + timedelta(days=2)
    StreamState.unscoped.filter(stream="sales").update(read_until=later)
    reconcile.release_due(now=later)
    assert Redemption.unscoped.get().state == "released"
    assert points(shop, persona) == 500 + 40


def test_a_refund_is_a_matter_of_the_programme(member):
    """An edited order means the same as another POS's refund: kept by default, taken with `reverse`."""
    from loyalty.models import Programme

    shop, persona = member
    sold = shop.control("sell", phone=PHONE, lines=TEA)
    shop.sync("sales")
    assert points(shop, persona) == 540
    shop.control("refund", id=sold["id"])
    shop.sync("sales")
    kept = points(shop, persona)
    Programme.unscoped.filter(account=shop.account).update(refunds="reverse")
    again = shop.control("sell", phone=PHONE, lines=TEA)
    shop.control("refund", id=again["id"])
    shop.sync("sales")
    assert points(shop, persona) == kept
