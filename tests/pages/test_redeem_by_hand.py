"""Redeeming on the shopper's page: what stands on a reward, one form, and what to type at the till."""

import re
from datetime import timedelta

import pytest
from django.urls import reverse
from django.utils import timezone

from aiqsync.accounts.roles import Role
from loyalty import ledger
from loyalty.models import Entry, Programme, Redemption
from tests.factories import make_account, make_discount, make_persona, make_user

pytestmark = pytest.mark.django_db


@pytest.fixture
def account():
    return make_account()


@pytest.fixture
def shopper(account):
    persona = make_persona(account, phone="+16045550142")
    ledger.adjust(account_id=account.pk, persona_id=persona.pk, points=500, key="k", now=timezone.now())
    return persona


def page(persona) -> str:
    return reverse("admin:persona", args=[persona.contact_id])


def forms(text: str) -> list[str]:
    """The addresses of the page's redeem forms."""
    return re.findall(r'<form method="post" action="([^"]*/redeem/\d+/\d+/)"', text)


def balance(persona):
    return ledger.spendable_points(persona.account_id, persona.pk, timezone.now())


@pytest.mark.parametrize("role", [Role.OWNER, Role.MANAGER, Role.STAFF])
@pytest.mark.parametrize("fields, typed", [
    ({"cents": 1050}, "$10.50 off the cart"), ({"percent": 15}, "15 % off the cart"),
    ({"hide_redeem": True}, "$10.00 off the cart"), ({"in_store_only": True}, "$10.00 off the cart"),
])  # fmt: skip
def test_fault_4_8_two_clicks_from_the_shoppers_page(client, account, shopper, role, fields, typed):
    """Open the page, press Redeem: one form, nothing to fill in, and the page says what to type."""
    make_discount(account, **fields)
    client.force_login(make_user(account, role))
    opened = client.get(page(shopper)).content.decode()
    [form] = forms(opened)
    answer = client.post(form, follow=True)
    assert answer.redirect_chain == [(page(shopper), 302)]
    after = answer.content.decode()
    assert f"Now type {typed}" in after and f"Type {typed}" in after, "at the moment, and for as long as it is open"
    assert balance(shopper) == 400 and Redemption.unscoped.get().channel == "staff"
    client.post(form)  # a double click
    assert balance(shopper) == 400


def test_fault_4_7_the_channel_is_printed_and_what_cannot_be_used_has_no_button(client, account, shopper):
    make_discount(account, name="Anywhere")
    make_discount(account, name="Here", in_store_only=True, ends_at=timezone.now() + timedelta(days=30))
    make_discount(account, name="Dear", points=501)
    make_discount(account, name="Later", starts_at=timezone.now() + timedelta(days=1))
    client.force_login(make_user(account, Role.STAFF))
    text = client.get(page(shopper)).content.decode()
    rows = {name: row for name in ("Anywhere", "Here", "Dear", "Later")
            for row in re.findall(r"<li>.*?</li>", text, re.DOTALL) if f">{name}<" in row}  # fmt: skip
    assert "In store and online" in rows["Anywhere"] and "In store only" in rows["Here"] and "ends " in rows["Here"]
    assert "501 points are needed, 500 are there" in rows["Dear"] and "It has not started" in rows["Later"]
    assert {name for name, row in rows.items() if forms(row)} == {"Anywhere", "Here"}
    for name in ("Dear", "Later"):
        assert f'class="iq-muted">{name}<' in rows[name], "greyed"


class TestAMinimumSpend:
    @pytest.fixture
    def form(self, client, account, shopper) -> str:
        make_discount(account, min_spend_cents=5000)
        client.force_login(make_user(account, Role.STAFF))
        text = client.get(page(shopper)).content.decode()
        assert "from $50.00" in text and 'name="spend"' in text
        [form] = forms(text)
        return form

    @pytest.mark.parametrize("spend", ["49.99", "0", "-60", "", "much", "1e400", "50.001", "NaN", "\x00", "9" * 40])
    def test_fault_4_2_is_refused_before_points_leave(self, client, shopper, form, spend):
        answer = client.post(form, {"spend": spend}, follow=True)
        assert answer.status_code == 200 and "$50.00" in answer.content.decode()
        assert balance(shopper) == 500 and not Redemption.unscoped.exists()
        assert not Entry.unscoped.filter(kind="redeem").exists()

    def test_an_order_that_is_large_enough(self, client, shopper, form):
        client.post(form, {"spend": "50"})
        assert balance(shopper) == 400

    def test_a_wrong_amount_costs_no_try_of_the_pin(self, client, account, shopper, form):
        Programme.unscoped.update(pin_to_redeem=True)
        for _ in range(20):
            assert "orders from $50.00" in client.post(form, {"pin": "0000"}, follow=True).content.decode()

    def test_what_needs_no_order_asks_for_none(self, client, account, shopper, form):
        make_discount(account, points=50)
        text = client.get(page(shopper)).content.decode()
        assert text.count('name="spend"') == 1 and len(forms(text)) == 2


def test_hidden_points_are_shown_to_staff(client, account, shopper):
    Programme.unscoped.update(hide_points=True)
    make_discount(account, points=501)
    client.force_login(make_user(account, Role.STAFF))
    text = client.get(page(shopper)).content.decode()
    assert "501 points are needed, 500 are there" in text
