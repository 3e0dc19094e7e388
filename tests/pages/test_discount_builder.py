"""The discount builder: every field acts, what a POS will not do is said, codes are refused one by one."""

import pytest
from django.urls import reverse
from django.utils import timezone

from aiqsync.accounts.tenancy import acting_in
from integrations.models import Connection, Credential, Origin
from loyalty import audiences, ledger, wallet
from loyalty.models import Audience, CouponCode, Discount
from tests.factories import make_account, make_discount, make_persona, make_store, make_user

pytestmark = pytest.mark.django_db
ADD = "/admin/loyalty/discount/add/"
GIVEN = {"internal_name": "Ten", "name": "$10 off", "kind": "flat", "amount": "10", "points": "100"}


@pytest.fixture
def account(client):
    account = make_account()
    client.force_login(make_user(account))
    return account


def made() -> Discount:
    return Discount.unscoped.latest("pk")


def test_every_field_is_kept(client, account):
    store = make_store(account)
    with acting_in(account.pk):
        group = Audience.objects.create(name="VIP")
    given = GIVEN | {
        "tags": "spring", "reward": "tier", "min_spend": "50.50", "stackable": "on", "reusable": "on",
        "cooldown": "2 days", "hide_redeem": "on", "valid_for": "12 hours", "code_kind": "static", "static_code": "TEN",
        "rank": "7", "for_stores": [store.pk], "for_audiences": [group.pk],
    }  # fmt: skip
    assert client.post(ADD, given).status_code == 302
    one = made()
    assert (one.tags, one.reward, one.min_spend_cents, one.stackable, one.hide_redeem) == (
        "spring",
        "tier",
        5050,
        True,
        True,
    )
    assert (one.cooldown_h, one.valid_for_h, one.static_code, one.rank) == (48, 12, "TEN", 7)
    assert one.limited_stores and one.limited_audiences
    page = client.get(reverse("admin:loyalty_discount_change", args=[one.pk])).content.decode()
    assert 'value="2 days"' in page and 'value="12 hours"' in page
    plain = GIVEN | {"reusable": "on", "code_kind": "none"}
    assert client.post(reverse("admin:loyalty_discount_change", args=[one.pk]), plain).status_code == 302
    one.refresh_from_db()
    assert not one.limited_stores and not one.limited_audiences and one.cooldown_h == 0


@pytest.mark.parametrize("fields, said", [
    ({"cooldown": "2 days"}, "used more than one time"), ({"valid_for": "soon"}, "7 days, or 12 hours"),
    ({"valid_for": "0 days"}, "7 days, or 12 hours"), ({"code_kind": "static"}, "Which code"),
    ({"min_spend": "-1"}, "greater than or equal"), ({"for_stores": ["999999"]}, "not one of the available"),
])  # fmt: skip
def test_what_cannot_be_is_said(client, account, fields, said):
    answer = client.post(ADD, GIVEN | fields)
    assert answer.status_code == 200 and said in answer.content.decode() and not Discount.unscoped.exists()


def test_another_accounts_store_is_not_there(client, account):
    theirs = make_store(make_account("Other"), "Theirs")
    answer = client.post(ADD, GIVEN | {"for_stores": [theirs.pk]})
    assert answer.status_code == 200 and not Discount.unscoped.exists()


def test_codes_are_taken_or_refused_one_by_one(client, account):
    taken = make_discount(account)
    CouponCode.unscoped.create(account=account, discount=taken, code="OLD")
    given = GIVEN | {"code_kind": "unique", "new_codes": "A1\nA1\n\nOLD\n" + "x" * 61, "make_codes": "5"}
    page = client.post(ADD, given, follow=True).content.decode()
    assert "1 code added" in page and "is in the list twice" in page and "is a code of yours already" in page
    assert CouponCode.unscoped.filter(discount=made()).count() == 6


def test_fault_4_1_what_the_pos_will_not_do_is_said(client, account):
    with acting_in(account.pk):
        Credential.objects.create(
            connection=Connection.objects.create(card="cova"), state="connected",
            origin=Origin.objects.create(platform="cova", identity="1"),
        )  # fmt: skip
    page = client.post(
        ADD, GIVEN | {"min_spend": "50", "pos_discount_id": "9", "stackable": "on"}, follow=True
    ).content.decode()
    assert "does not check a minimum spend" in page and "by an id" in page and "one discount an order" in page


class TestWallet:
    def shown(self, persona, discount, **fields):
        view = wallet.show(account_id=persona.account_id, persona_id=persona.pk, now=timezone.now(), **fields)
        return next((one for one in view.rewards if one.discount_id == discount.pk), None)

    @pytest.fixture
    def persona(self, account):
        persona = make_persona(account, phone="+16045550142")
        ledger.adjust(account_id=account.pk, persona_id=persona.pk, points=500, key="k", now=timezone.now())
        return persona

    def test_an_audiences_discount_is_shown_to_its_members(self, account, persona):
        discount = make_discount(account, limited_audiences=True)
        with acting_in(account.pk):
            group = Audience.objects.create(name="VIP", by_rules=False)
            discount.audiences.create(account=account, audience=group)
        assert self.shown(persona, discount) is None
        audiences.add(account_id=account.pk, audience_id=group.pk, persona_ids=[persona.pk], now=timezone.now())
        assert self.shown(persona, discount).available
        audiences.remove(account_id=account.pk, audience_id=group.pk, persona_ids=[persona.pk], now=timezone.now())
        assert self.shown(persona, discount) is None

    @pytest.mark.parametrize("reason", ["store", "no_code", "blocked", "cooldown", "expired"])
    def test_fault_4_7_the_wallet_and_the_till_refuse_alike(self, account, persona, reason):
        here, there = make_store(account, "Here"), make_store(account, "There")
        fields = {
            "store": {"limited_stores": True}, "no_code": {"code_kind": "unique"}, "cooldown": {"cooldown_h": 24},
            "expired": {"valid_for_h": 1, "starts_at": timezone.now() - timezone.timedelta(days=2)},
        }.get(reason, {})  # fmt: skip
        discount = make_discount(account, **fields)
        if reason == "store":
            discount.stores.model.unscoped.create(account=account, discount=discount, store=there)
        if reason == "blocked":
            with acting_in(account.pk):
                from loyalty.models import BlockedPhone

                BlockedPhone.objects.create(phone="+16045550142")

        def redeem(n=0):
            return ledger.redeem(
                account_id=account.pk, persona_id=persona.pk, discount_id=discount.pk, n=n, transaction="",
                channel="web", now=timezone.now(), store_id=here.pk,
            )  # fmt: skip

        if reason == "cooldown":
            redeem()
        shown = self.shown(persona, discount, store_id=here.pk)
        assert not shown.available and shown.why_not
        with pytest.raises(ledger.NotAvailable):
            redeem(shown.n)

    def test_a_tier_reward_needs_its_points_and_leaves_them(self, account, persona):
        discount = make_discount(account, points=400, reward="tier")
        assert self.shown(persona, discount).price == 0
        for n in range(3):
            ledger.redeem(account_id=account.pk, persona_id=persona.pk, discount_id=discount.pk, n=n, transaction="",
                          channel="web", now=timezone.now())  # fmt: skip
        assert ledger.spendable_points(account.pk, persona.pk, timezone.now()) == 500
        dear = make_discount(account, points=600, reward="tier")
        with pytest.raises(ledger.NotEnoughPoints):
            ledger.redeem(account_id=account.pk, persona_id=persona.pk, discount_id=dear.pk, n=0, transaction="",
                          channel="web", now=timezone.now())  # fmt: skip

    def test_a_unique_code_is_handed_out_once(self, account, persona):
        discount = make_discount(account, code_kind="unique")
        CouponCode.unscoped.create(account=account, discount=discount, code="ONE")
        asked = {"account_id": account.pk, "persona_id": persona.pk, "discount_id": discount.pk, "transaction": "",
                 "channel": "web", "now": timezone.now()}  # fmt: skip
        assert ledger.redeem(**asked, n=0).code == "ONE" and ledger.redeem(**asked, n=0).code == "ONE"
        with pytest.raises(ledger.NotAvailable) as refused:
            ledger.redeem(**asked, n=1)
        assert refused.value.reason == "no_code"
