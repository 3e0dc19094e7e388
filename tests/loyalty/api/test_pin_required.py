"""A store that asks for the shopper's code: what its keys see before it and after, and that there is no way around."""

from datetime import timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from aiqsync.accounts.models import ApiKey
from aiqsync.accounts.roles import Role
from aiqsync.accounts.tenancy import acting_in
from loyalty import links, merging, pins
from loyalty.models import PinUse, Redemption
from stores.models import Store, StoreKey
from tests.factories import make_discount, make_persona, make_store, make_user

from .test_wallet_by_pin import VERIFY, VIEW, code_of, set_master, verify, view
from .till import PHONE, Till, sentence

MASTER = "24681357"


@pytest.fixture
def strict(till):
    """A till of a store that asks; its discount and its shopper."""
    till.store = make_store(till.account, "Main St")
    till.api_key = ApiKey.unscoped.get(account=till.account)
    StoreKey.unscoped.create(account=till.account, key=till.api_key, store=till.store)
    Store.unscoped.update(require_pin=True)
    till.discount = make_discount(till.account, points=100)
    return till


@pytest.fixture
def shop(strict):
    """A web shop's key of the same account: it belongs to no store."""
    other = Till(account=strict.account, points=None)
    other.persona = strict.persona
    return other


def urls(told) -> list:
    return [template["redemptionURL"] for template in told["discountTemplates"]]


def proved(strict) -> dict:
    verify(strict)
    return strict.data("POST", VIEW, {"phone": PHONE, "code": code_of(strict.persona)})


def later(**by) -> None:
    for use in PinUse.unscoped.all():
        PinUse.unscoped.filter(pk=use.pk).update(at=use.at - timedelta(**by))


class TestWallet:
    def test_before_the_code(self, strict):
        for told in (strict.wallet(), strict.data("GET", f"/api/v2/wallet/{PHONE}")):
            assert (told["pinRequired"], told["loyaltyPoints"], urls(told)) == (True, 1000, [None])
            assert told["discountTemplates"][0]["available"] is True

    def test_after_it_for_a_quarter_of_an_hour(self, strict):
        told = proved(strict)
        assert told["pinRequired"] is False and all(urls(told))
        later(minutes=14, seconds=55)
        told = strict.wallet()
        assert told["pinRequired"] is False and all(urls(told))
        later(seconds=6)
        assert strict.wallet()["pinRequired"] is True and urls(strict.wallet()) == [None]

    def test_a_wrong_code_opens_nothing(self, strict):
        verify(strict)
        sentence(view(strict, "wrong"), 400)
        assert strict.wallet()["pinRequired"] is True

    def test_the_master_pin_opens_it(self, strict):
        set_master(strict)
        assert view(strict, MASTER).json()["data"]["pinRequired"] is False
        assert strict.wallet()["pinRequired"] is False

    def test_for_this_shopper_by_this_key(self, strict, shop):
        make_persona(strict.account, phone="+16045550188")
        proved(strict)
        assert strict.data("GET", "/api/v2/wallet/6045550188")["pinRequired"] is True
        second = Till(account=strict.account, points=None)
        key = ApiKey.unscoped.exclude(pk=strict.api_key.pk).latest("pk")
        StoreKey.unscoped.create(account=strict.account, key=key, store=strict.store)
        assert second.wallet()["pinRequired"] is True

    def test_of_a_merged_row_is_his(self, strict):
        old = make_persona(strict.account, phone="+16045550188")
        strict.data("POST", VERIFY, {"phone": old.phone})
        strict.data("POST", VIEW, {"phone": old.phone, "code": code_of(old)})
        assert strict.wallet()["pinRequired"] is True
        with acting_in(strict.account.pk):
            merging.merge(account_id=strict.account.pk, one_id=strict.persona.pk, other_id=old.pk, now=timezone.now())
        assert strict.wallet()["pinRequired"] is False

    def test_other_stores_and_keys_without_one_are_not_asked(self, strict, shop):
        assert shop.wallet()["pinRequired"] is False and all(urls(shop.wallet()))
        StoreKey.unscoped.update(store=make_store(strict.account, "Side St"))
        assert strict.wallet()["pinRequired"] is False and all(urls(strict.wallet()))

    @pytest.mark.parametrize("after", [False, True])
    def test_four_statements(self, strict, after):
        if after:
            proved(strict)
        strict.wallet()
        with CaptureQueriesContext(connection) as seen:
            assert strict.wallet()["pinRequired"] is not after
        assert len(seen) <= 4


class TestRedeem:
    def test_an_address_of_another_key_is_refused(self, strict, shop):
        for address in (shop.url(strict.discount), shop.url(strict.discount) + "/T1"):
            said = strict.refused(400, "PUT", address)
            assert (
                said == "This store asks for the shopper's code first: send one, enter it, and read the wallet again."
            )
        assert strict.balance == 1000 and not Redemption.unscoped.exists()
        proved(strict)
        assert strict.data("PUT", shop.url(strict.discount) + "/T1")["loyaltyPoints"] == 900

    def test_an_address_got_after_the_code_outlives_the_quarter(self, strict, monkeypatch):
        """The till puts it after the checkout is over: points that were promised there are not refused then."""
        (url,) = urls(proved(strict))
        later(minutes=14)
        assert strict.data("PUT", url + "/T1")["loyaltyPoints"] == 900

    def test_an_old_proof_is_none_for_a_new_address(self, strict, shop):
        proved(strict)
        later(minutes=16)
        assert "shopper's code" in strict.refused(400, "PUT", shop.url(strict.discount) + "/T1")

    def test_what_was_redeemed_is_answered_again_whenever(self, strict):
        (url,) = urls(proved(strict))
        first = strict.call("PUT", url + "/T1")
        PinUse.unscoped.all().delete()
        again = strict.call("PUT", url + "/T1")
        assert again.content == first.content and again["Idempotent-Replayed"] == "true"
        assert strict.balance == 900

    def test_what_another_store_used_pays_for_no_order_here(self, strict, shop):
        """An address knows who it is for, not who entered a code: used elsewhere, it is still none that was proved."""
        [url] = urls(shop.wallet())
        shop.data("PUT", url + "/T1")
        assert "code first" in strict.refused(400, "PUT", url + "/T2")
        assert strict.balance == 900 and Redemption.unscoped.count() == 1
        assert strict.data("PUT", url + "/T1")["transactionID"] == "T1"  # the same order is answered again

    def test_one_code_is_not_good_for_a_day_of_orders(self, strict):
        [url] = urls(proved(strict))
        strict.data("PUT", url + "/T1")
        later(minutes=16)
        assert "code first" in strict.refused(400, "PUT", url + "/T2")
        strict.data("PUT", url + "/T1")
        assert strict.balance == 900

    def test_first_without_an_order_then_with_it_is_one_use(self, strict, shop):
        [url] = urls(shop.wallet())
        shop.data("PUT", url)
        strict.data("PUT", url + "/T1")
        assert strict.balance == 900 and Redemption.unscoped.get().transaction == "T1"

    def test_given_back_it_is_spent(self, strict):
        (url,) = urls(proved(strict))
        done = strict.data("PUT", url + "/T1")
        strict.data("POST", f"/api/v2/redemptions/{done['redemptionID']}/revert")
        PinUse.unscoped.all().delete()
        strict.refused(400, "PUT", url + "/T2")
        assert strict.balance == 1000

    def test_the_switch_acts_on_addresses_that_are_out(self, strict):
        Store.unscoped.update(require_pin=False)
        url = strict.url(strict.discount)
        Store.unscoped.update(require_pin=True)
        strict.refused(400, "PUT", url)
        assert strict.balance == 1000

    def test_another_keys_code_is_no_proof(self, strict, shop):
        verify(shop)
        shop.data("POST", VIEW, {"phone": PHONE, "code": code_of(strict.persona)})
        strict.refused(400, "PUT", shop.url(strict.discount))

    def test_no_statement_more_where_nobody_asks(self, strict):
        url = urls(proved(strict))[0]
        with CaptureQueriesContext(connection) as asked:
            strict.data("PUT", url + "/T1")
        told = [sum("loyalty_pinuse" in one["sql"] for one in asked)]
        Store.unscoped.update(require_pin=False)
        url = strict.url(strict.discount)
        with CaptureQueriesContext(connection) as plain:
            strict.data("PUT", url + "/T2")
        told.append(sum("loyalty_pinuse" in one["sql"] for one in plain))
        assert told == [1, 0]

    def test_when_an_address_was_made(self):
        link = links.Link(persona_id=1, discount_id=2, n=3)
        now = timezone.now().replace(microsecond=0)
        token = links.make(
            account_id=1, discount_number=4, link=link, expires_at=int((now + links.VALID_FOR).timestamp())
        )
        assert links.issued_at(token) == now


def test_the_page_has_the_switch(strict, client):
    """Set where the owner sets it; it acts on the next call."""
    Store.unscoped.update(require_pin=False)
    client.force_login(make_user(strict.account, Role.OWNER))
    page = f"/admin/stores/store/{strict.store.pk}/change/"
    shown = client.get(page).content.decode()
    assert "Require PIN" in shown and "for 15 minutes" in shown
    assert strict.wallet()["pinRequired"] is False
    done = client.post(page, {"name": "Main St", "require_pin": "on"})
    assert done.status_code == 302
    assert Store.unscoped.get(pk=strict.store.pk).require_pin
    assert strict.wallet()["pinRequired"] is True


def test_the_quarter_is_the_documented_one():
    assert timedelta(minutes=15) == pins.PROVED_FOR
