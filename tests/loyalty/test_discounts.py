"""Discounts and the POS: what it takes, how many for one order, what the nightly look finds; and copies."""

import io
import threading
from datetime import timedelta
from decimal import Decimal

import pytest
from django.db import IntegrityError
from django.utils import timezone

from aiqsync.accounts.tenancy import acting_in
from aiqsync.management.commands import dispatch
from integrations import docs, registry
from loyalty import discounts, ledger, pictures
from loyalty.models import Audience, CouponCode, Discount, Redemption
from tests.factories import make_account, make_discount, make_key, make_persona, make_store

from . import images, race
from .api.till import Till
from .cards import connect, make_card
from .ledger_sales import make_sales

pytestmark = pytest.mark.django_db
NOW = timezone.now()
DAY = timedelta(days=1)


@pytest.fixture
def account(db):
    return make_account()


class TestHowManyAnOrderCarries:
    """Read from the card, with two capabilities: Cova's one, and two."""

    @pytest.fixture
    def till(self):
        return Till(points=1000)

    def three(self, till) -> list[str]:
        return [till.url(make_discount(till.account, points=100, stackable=True)) + "/T1" for _ in range(3)]

    def test_one(self, till):
        connect(till.account)
        first, second, _ = self.three(till)
        till.data("PUT", first)
        assert "another discount" in till.refused(400, "PUT", second) and till.balance == 900

    def test_two_and_not_three(self, till, monkeypatch):
        make_card(monkeypatch, "double", per_order=2)
        connect(till.account, "double")
        first, second, third = self.three(till)
        till.data("PUT", first)
        till.data("PUT", second)
        assert "another discount" in till.refused(400, "PUT", third)
        assert till.balance == 800 and till.data("PUT", second)["loyaltyPoints"] == 800, "a repetition is no third"

    def test_two_only_if_both_may_be_combined(self, till, monkeypatch):
        make_card(monkeypatch, "double", per_order=2)
        connect(till.account, "double")
        urls = self.three(till)
        alone = till.url(make_discount(till.account, points=100)) + "/T1"
        till.data("PUT", urls[0])
        assert till.refused(400, "PUT", alone)
        till.data("POST", f"/api/v2/redemptions/{Redemption.unscoped.get().public_id}/revert")
        alone = till.url(Discount.unscoped.get(stackable=False)) + "/T2"
        till.data("PUT", alone)
        assert till.refused(400, "PUT", urls[1].replace("/T1", "/T2"))

    @pytest.mark.parametrize("here, carried", [("cova", 1), ("double", 2), ("nothing", 1), (None, 1)])
    def test_by_the_store_of_the_key(self, till, monkeypatch, here, carried):
        make_card(monkeypatch, "double", per_order=2)
        stores = {slug: make_store(till.account, slug) for slug in ("cova", "double", "nothing")}
        for slug in ("cova", "double"):
            connect(till.account, slug, store=stores[slug])
        if here:
            till.key = make_key(till.account)
            with acting_in(till.account.pk):
                from aiqsync.accounts.models import ApiKey

                stores[here].keys.create(key=ApiKey.objects.latest("pk"))
        urls = self.three(till)
        assert sum(till.call("PUT", url).status_code == 200 for url in urls) == carried

    @pytest.mark.parametrize("state, carried", [("connected", 2), ("paused", 2), ("disconnected", 1), ("draft", 1)])
    def test_a_card_that_is_not_in_use_decides_nothing(self, till, monkeypatch, state, carried):
        make_card(monkeypatch, "double", per_order=2)
        connect(till.account, "double", state=state)
        assert sum(till.call("PUT", url).status_code == 200 for url in self.three(till)) == carried

    def test_another_accounts_card_decides_nothing(self, till, monkeypatch):
        make_card(monkeypatch, "double", per_order=2)
        connect(make_account("Other"), "double")
        connect(till.account)
        assert sum(till.call("PUT", url).status_code == 200 for url in self.three(till)) == 1

    def test_the_card_is_asked_for_a_second_discount_only(self, till, django_assert_num_queries):
        connect(till.account)
        asked = {"account_id": till.account.pk, "persona_id": till.persona.pk, "n": 0, "channel": "till", "now": NOW}
        one, two = make_discount(till.account), make_discount(till.account)
        with django_assert_num_queries(3):  # with the savepoint that stands for BEGIN and COMMIT in a test
            discounts.redeem(store_id=None, discount_id=one.pk, transaction="T1", **asked)
        with django_assert_num_queries(4), pytest.raises(ledger.OneDiscountPerOrder):
            discounts.redeem(store_id=None, discount_id=two.pk, transaction="T1", **asked)


# Field of the discount, and the capability a card needs for it.
MATRIX = [
    ({}, "discount_flat"), ({"percent": Decimal(10)}, "discount_percent"),
    ({"min_spend_cents": 5000}, "discount_min_spend"), ({"pos_discount_id": "9"}, "discount_by_id"),
    ({"reward": "tier"}, "discount_tier"),
]  # fmt: skip


class TestWhatThePosTakes:
    @pytest.mark.parametrize("fields, capability", MATRIX)
    @pytest.mark.parametrize("slug", registry.CARDS)
    def test_fault_4_9_a_matrix_of_each_card(self, account, monkeypatch, slug, fields, capability):
        """What a card cannot is said on saving, in its own words; what it can is not; both are documented."""
        said = registry.get(slug).capabilities[capability]
        connect(account, slug)
        told = discounts.remarks(make_discount(account, **fields))
        assert (said == "yes") is not any(said in remark for remark in told)
        assert docs.in_words(capability) in docs.page(registry.get(slug))
        make_card(monkeypatch, slug, can={capability: "yes"})
        assert said not in discounts.remarks(make_discount(account, **fields)), "the control: the card could"

    def test_combining_is_said_by_the_number(self, account, monkeypatch):
        connect(account)
        one = make_discount(account, stackable=True)
        assert any("one discount an order" in remark for remark in discounts.remarks(one))
        make_card(monkeypatch, "cova", per_order=2)
        assert not discounts.remarks(one)

    def test_without_a_pos_there_is_nothing_to_say(self, account):
        assert discounts.remarks(make_discount(account, pos_discount_id="9", stackable=True)) == []


class TestTheNightlyLook:
    """Fault 4.1: points leave and no money comes off."""

    def problem(self, discount, *, now=NOW) -> str:
        discounts.check(account_id=discount.account_id, now=now)
        discount.refresh_from_db()
        assert discount.checked_at == now
        return discount.problem

    def test_fault_4_1_what_fits_is_no_problem(self, account):
        connect(account)
        for fields in ({}, {"percent": Decimal(10)}, {"reward": "tier"}, {"min_spend_cents": 5000}):
            assert self.problem(make_discount(account, **fields)) == ""

    def test_fault_4_1_an_id_that_no_till_knows(self, account, monkeypatch):
        discount = make_discount(account, pos_discount_id="88f1")
        assert self.problem(discount) == "", "no POS is connected: nothing contradicts it"
        connect(account)
        assert "88f1 leads nowhere" in self.problem(discount)
        make_card(monkeypatch, "byid", can={"discount_by_id": "yes"})
        connect(account, "byid")
        assert self.problem(discount) == "", "one till of several knows it"

    def test_fault_4_1_unmapped(self, account, monkeypatch):
        no = "Byid applies only discounts of its own."
        make_card(monkeypatch, "byid", can={"discount_flat": no, "discount_by_id": "yes"})
        connect(account, "byid")
        discount = make_discount(account)
        assert self.problem(discount) == f"{no} Name the POS Discount ID of the one that Byid applies."
        Discount.unscoped.filter(pk=discount.pk).update(pos_discount_id="9")
        assert self.problem(discount) == ""
        make_card(monkeypatch, "byid", can={"discount_flat": no})
        Discount.unscoped.filter(pk=discount.pk).update(pos_discount_id="")
        assert self.problem(discount) == f"Nothing comes off at the till. {no}"

    def test_fault_4_1_all_codes_used(self, account):
        discount = make_discount(account, code_kind="unique")
        assert "codes are used" in self.problem(discount)
        CouponCode.unscoped.create(account=account, discount=discount, code="A")
        assert self.problem(discount) == ""

    @pytest.mark.parametrize("outcomes, told", [
        ("wwws", False), ("www", True), ("ww", False), ("wwwwwss", True), ("swwww", False), ("ssss", False),
        ("wwwrn", True),
    ])  # fmt: skip
    def test_fault_4_1_redemptions_without_money_off(self, account, outcomes, told):
        """The latest first. w: its sale came without the discount; s: with it; r: given back by staff; n: no sale."""
        discount = make_discount(account)
        persona = make_persona(account)
        sales = make_sales(account, len(outcomes))
        ends = {"w": ("released", "without_discount"), "r": ("reverted", "staff"), "n": ("released", "no_sale")}
        for age, outcome in enumerate(outcomes):
            state, why = ends.get(outcome, ("settled", ""))
            Redemption.unscoped.create(
                account=account, persona=persona, discount=discount, n=age, channel="till", state=state, why_ended=why,
                points=100, applied_at=NOW - age * DAY, sale_id=sales[age] if outcome == "s" else None,
                **{"reverted_points": 100, "ended_at": NOW} if why else {"settled_at": NOW},
            )  # fmt: skip
        assert ("no money came off at the till" in self.problem(discount)) is told
        other = make_discount(account)
        assert self.problem(other) == ""
        assert self.problem(discount, now=NOW + 70 * DAY) == "", "long ago"

    def test_ended_and_archived_ones_are_left_alone(self, account):
        ended = make_discount(account, code_kind="unique", ends_at=NOW - DAY)
        archived = make_discount(account, code_kind="unique", archived_at=NOW)
        assert self.problem(ended) == "" and discounts.check(account_id=account.pk, now=NOW) == 0
        archived.refresh_from_db()
        assert archived.checked_at is None

    def test_every_night_each_account_once(self, account):
        other = make_discount(make_account("Other"), code_kind="unique")
        mine = make_discount(account, code_kind="unique")
        assert discounts.check_due(now=NOW) == 2
        assert discounts.check_due(now=NOW + timedelta(hours=23)) == 0
        Discount.unscoped.filter(pk=mine.pk).update(code_kind="none")
        assert discounts.check_due(now=NOW + timedelta(hours=24)) == 1
        for one in (mine, other):
            one.refresh_from_db()
        assert mine.problem == "" and other.problem

    def test_the_dispatcher_keeps_this_book_too(self, account):
        discount = make_discount(account, code_kind="unique")
        dispatch.keep_books()
        discount.refresh_from_db()
        assert discount.problem and discount.checked_at

    def test_one_account_is_looked_at_in_few_queries(self, account, django_assert_num_queries):
        connect(account)
        for _ in range(4):
            make_discount(account)
        with django_assert_num_queries(3 + 4):  # discounts, cards, evidence; and one UPDATE each
            discounts.check(account_id=account.pk, now=NOW)

    def test_saving_does_not_touch_when_it_was_changed(self, account):
        discount = make_discount(account)
        before = Discount.unscoped.get().updated_at
        discounts.check(account_id=account.pk, now=NOW + DAY)
        discount.refresh_from_db()
        assert discount.updated_at == before


class TestCopies:
    def test_everything_but_what_is_its_own(self, account):
        store = make_store(account)
        with acting_in(account.pk):
            group = Audience.objects.create(name="VIP")
        original = make_discount(
            account, points=250, cents=1500, name="n" * 120, internal_name="Spring", tags="a,b", description="d",
            min_spend_cents=5000, stackable=True, cooldown_h=48, hide_redeem=True, starts_at=NOW, ends_at=NOW + 9 * DAY,
            valid_for_h=12, code_kind="unique", pos_discount_id="9", in_store_only=True, rank=7, archived_at=NOW,
        )  # fmt: skip
        discounts.limit(discount=original, stores=[store], audiences=[group])
        original.refresh_from_db()
        CouponCode.unscoped.create(account=account, discount=original, code="A")
        picture = pictures.read(io.BytesIO(images.file_of()), kind="cover")
        pictures.put(discount=original, kind="cover", picture=picture, now=NOW)
        made = discounts.duplicate(discount=original, now=NOW + DAY)
        made.refresh_from_db()
        own = {
            "id",
            "number",
            "name",
            "internal_name",
            "archived_at",
            "created_at",
            "updated_at",
            "problem",
            "checked_at",
        }
        for field in Discount._meta.concrete_fields:
            if field.name not in own:
                assert getattr(made, field.attname) == getattr(original, field.attname), field.name
        assert (made.name, made.internal_name) == ("Copy of " + "n" * 112, "Copy of Spring")
        assert made.number == original.number + 1 and made.archived_at is None and made.created_at == NOW + DAY
        assert [one.store_id for one in made.stores.model.unscoped.filter(discount=made)] == [store.pk]
        assert [one.audience_id for one in made.audiences.model.unscoped.filter(discount=made)] == [group.pk]
        assert not CouponCode.unscoped.filter(discount=made).exists() and "codes" in made.problem
        assert pictures.digests(discount=made)["cover"] != pictures.digests(discount=original)["cover"]

    @pytest.mark.django_db(transaction=True)
    @pytest.mark.parametrize("locked", [True, False])
    def test_copies_made_at_once_have_numbers_of_their_own(self, monkeypatch, locked):
        original = make_discount(make_account(), number=7)
        if not locked:
            read, barrier = discounts.next_number, threading.Barrier(4)

            def careless(account_id: int) -> int:
                """The control: read without the account's lock, by all of them before one writes."""
                found = Discount.unscoped.filter(account_id=account_id).order_by("-number").first().number + 1
                barrier.wait(timeout=30)
                return found

            assert read is not careless
            monkeypatch.setattr(discounts, "next_number", careless)
        answers = race.at_once([lambda: discounts.duplicate(discount=original, now=NOW)] * 4)
        refused = [one for one in answers if isinstance(one, IntegrityError)]
        if locked:
            assert sorted(one.number for one in answers) == [8, 9, 10, 11]
        else:
            assert len(refused) == 3, "the database keeps numbers apart, whoever forgets the lock"
