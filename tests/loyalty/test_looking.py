"""Redemptions to look at: each case is listed, its remedy acts once, and it is gone."""

from datetime import timedelta
from decimal import Decimal

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from loyalty import earning, ledger, looking
from loyalty.models import Discount, DiscountStore, Programme, Redemption, Review
from stores.models import StoreMapping, StoreStaff
from tests.factories import make_discount, make_store, make_user
from tests.loyalty.test_release import HOUR, Shop, reconcile, refund, sold
from tests.records import NOON

pytestmark = pytest.mark.django_db


@pytest.fixture
def shop():
    shop = Shop()
    shop.user = make_user(shop.account, name="Mara")
    return shop


def cases(shop, now=NOON + 30 * HOUR, stores=None):
    found = looking.sections(account_id=shop.account.pk, now=now, stores=stores)
    return {section.kind: section.cases for section in found if section.cases}


def by(shop, now=NOON + 30 * HOUR):
    return {"account_id": shop.account.pk, "user": shop.user, "now": now}


def test_fault_4_3_applied_without_a_sale_says_what_it_waits_for_and_whose_it_may_be(shop):
    shop.redeem()
    shop.arrive(sold("other", discounts="[]", number="IN-9", sold_at=NOON + HOUR))
    [case] = cases(shop)["waiting"]
    assert "not read so far" in case.waits_for[0] and [number for _, number, _ in case.sales] == ["IN-9"]
    looking.settle(**by(shop), redemption_id=case.redemption_id, sale_id=case.sales[0][0])
    one = Redemption.unscoped.get()
    assert (one.state, one.matched_by) == ("settled", "staff") and cases(shop) == {}


def test_given_back_once(shop):
    shop.redeem("T1")
    [case] = cases(shop)["waiting"]
    asked = {"kind": "waiting", "redemption_id": case.redemption_id, "sale_id": None}
    assert looking.give_back(**by(shop), **asked) == 100
    assert looking.give_back(**by(shop), **asked) == 0
    assert shop.points == 1000 and cases(shop) == {} and Review.unscoped.count() == 1


def test_a_sale_without_the_discount_can_be_charged_all_the_same(shop):
    shop.redeem("T1")
    shop.arrive(sold(discounts="[]"))
    [case] = cases(shop, NOON + 3 * HOUR)["no_discount"]
    looking.take_again(**by(shop), redemption_id=case.redemption_id)
    assert shop.state[0] == "settled" and shop.points == 1000 and shop.sound() == []


def test_fault_4_3_a_discount_that_nobody_redeemed(shop):
    shop.arrive(sold())
    [case] = cases(shop)["no_redemption"]
    assert (case.discount, case.points) == ("$10 off", 100)
    taken = looking.take_for_sale(**by(shop), sale_id=case.sale_id, discount_id=case.discount_id)
    assert taken == 100 and shop.points == 1000 and cases(shop) == {}
    assert looking.take_for_sale(**by(shop), sale_id=case.sale_id, discount_id=case.discount_id) == 0
    assert shop.points == 1000 and shop.sound() == []


def test_two_discounts_of_one_sale_are_both_taken_though_neither_is_combined(shop):
    """The till gave both: what may be combined was its own to ask."""
    other = make_discount(shop.account, name="$5 off", points=50)
    assert not other.stackable
    shop.arrive(sold(discounts='[{"name": "$10 off", "cents": 1000}, {"name": "$5 off", "cents": 500}]'))
    found = cases(shop)["no_redemption"]
    assert {case.discount for case in found} == {"$10 off", "$5 off"}
    taken = [looking.take_for_sale(**by(shop), sale_id=one.sale_id, discount_id=one.discount_id) for one in found]
    assert sorted(taken) == [50, 100] and cases(shop) == {} and shop.sound() == []


def test_fault_3_2_a_refund_whose_points_were_kept(shop):
    shop.arrive(sold(discounts="[]"))
    shop.arrive(refund("r", of="s", customer_id="c", sold_at=NOON + timedelta(days=2)))
    [case] = cases(shop, NOON + timedelta(days=3))["refund"]
    assert case.points == 100
    assert looking.take_back(**by(shop, NOON + timedelta(days=3)), sale_id=case.sale_id).points == 100
    assert looking.take_back(**by(shop, NOON + timedelta(days=3)), sale_id=case.sale_id).points == 0
    assert shop.points == 1000 and cases(shop, NOON + timedelta(days=3)) == {}


def test_of_a_sale_refunded_in_part_only_that_part_is_taken_back(shop):
    shop.arrive(sold(discounts="[]"))
    shop.arrive(refund("r", of="s", customer_id="c", net=2500, tax=300, sold_at=NOON + timedelta(days=2)))
    [case] = cases(shop, NOON + timedelta(days=3))["refund"]
    assert case.points == 25
    assert looking.take_back(**by(shop, NOON + timedelta(days=3)), sale_id=case.sale_id).points == 25
    assert shop.points == 1075 and shop.sound() == []


def test_what_was_taken_back_is_not_taken_again_by_a_recompute_and_a_later_refund_counts_too(shop):
    shop.arrive(sold(discounts="[]"))
    day = timedelta(days=1)
    shop.arrive(refund("r", of="s", customer_id="c", net=2500, tax=300, sold_at=NOON + 2 * day))
    [case] = cases(shop, NOON + 3 * day)["refund"]
    assert looking.take_back(**by(shop, NOON + 3 * day), sale_id=case.sale_id).points == 25
    looking.dismiss(**by(shop, NOON + 3 * day), kind="refund", redemption_id=None, sale_id=case.sale_id, note="")
    for policy in ("reverse", "keep"):
        Programme.unscoped.filter(account=shop.account).update(refunds=policy)
        earning.settle_sales(account_id=shop.account.pk, sale_ids=[case.sale_id], now=NOON + 4 * day)
        assert shop.points == 1075
    shop.arrive(refund("r2", of="s", customer_id="c", net=2500, tax=300, sold_at=NOON + 4 * day))
    assert shop.points == 1050 and "refund" not in cases(shop, NOON + 5 * day) and shop.sound() == []


def test_a_case_closed_as_it_is_opens_again_with_another_refund(shop):
    shop.arrive(sold(discounts="[]"))
    day = timedelta(days=1)
    for n, cents in enumerate((2500, 5000)):
        shop.arrive(refund(f"r{n}", of="s", customer_id="c", net=2500, tax=300, sold_at=NOON + (2 + n) * day))
        [case] = cases(shop, NOON + 5 * day)["refund"]
        assert case.points == cents / 100
        looking.dismiss(**by(shop, NOON + 5 * day), kind="refund", redemption_id=None, sale_id=case.sale_id, note="")
        assert "refund" not in cases(shop, NOON + 5 * day)


def test_what_is_not_there_to_be_taken_back_is_a_shortfall(shop):
    shop.arrive(sold(discounts="[]"))
    shop.arrive(refund("r", of="s", customer_id="c", sold_at=NOON + timedelta(days=2)))
    shop.give(-1040, "spent")
    [case] = cases(shop, NOON + timedelta(days=3))["refund"]
    done = looking.take_back(**by(shop, NOON + timedelta(days=3)), sale_id=case.sale_id)
    assert (done.points, done.missing, shop.points) == (60, 40, 0) and shop.sound() == []
    assert len(cases(shop, NOON + timedelta(days=3))["shortfall"]) == 1


def test_a_refund_of_a_sale_with_a_reward(shop):
    shop.redeem("T1")
    shop.arrive(sold())
    shop.arrive(refund("r", of="s", customer_id="c", sold_at=NOON + timedelta(days=2)))
    [case] = cases(shop, NOON + timedelta(days=3))["spent_refunded"]
    looking.give_back(**by(shop), kind="spent_refunded", redemption_id=case.redemption_id, sale_id=case.sale_id)
    assert shop.state[0] == "reverted" and "spent_refunded" not in cases(shop, NOON + timedelta(days=3))


def test_used_where_it_is_not_for(shop):
    here, there = make_store(shop.account, "Here"), make_store(shop.account, "There")
    place = shop.origin.locations(manager="unscoped").get()
    StoreMapping.unscoped.create(account=shop.account, location=place, store=here)
    DiscountStore.unscoped.create(account=shop.account, discount=shop.discount, store=there)
    Discount.unscoped.update(limited_stores=True)
    shop.redeem("T1")
    shop.arrive(sold())
    [case] = cases(shop)["place"]
    assert case.store == "Here"
    looking.dismiss(**by(shop), kind="place", redemption_id=case.redemption_id, sale_id=case.sale_id, note="fine")
    assert cases(shop) == {}
    assert cases(shop, stores=[there.pk]) == {}


def test_shortfalls_are_collected_or_waived(shop):
    shop.arrive(sold(discounts="[]"))
    ledger.adjust(account_id=shop.account.pk, persona_id=shop.persona.pk, points=Decimal(-1070), key="k", now=NOON)
    shop.arrive(sold(discounts="[]", net=0, tax=0, lines=()))
    [case] = cases(shop)["shortfall"]
    assert case.points == 70
    with pytest.raises(ledger.NothingToCollect):
        ledger.collect(account_id=shop.account.pk, shortfall_id=case.shortfall_id, user_id=None, note="", now=NOON)
    ledger.waive(account_id=shop.account.pk, shortfall_id=case.shortfall_id, user_id=None, note="ok", now=NOON)
    assert cases(shop) == {} and shop.sound() == []


@pytest.mark.parametrize("size", [1, 25])
def test_the_lists_cost_the_same_however_long(shop, size):
    for n in range(size):
        shop.give(100, f"g{n}")
        shop.redeem(f"T{n}", n=n)
    with CaptureQueriesContext(connection) as asked:
        assert len(cases(shop)["waiting"]) == size
    # Two are for sources that are told and read nothing, by calls and by files: what they were not told, nobody knows.
    assert len(asked) == 14


class TestPage:
    def act(self, client, verb, **data):
        return client.post(reverse("admin:looking-act", args=[verb]), data, follow=True).content.decode()

    def test_lists_and_acts(self, client, shop):
        client.force_login(shop.user)
        shop.redeem("T1", at=NOON - 5 * HOUR)
        page = client.get(reverse("admin:redemptions-to-look-at")).content.decode()
        assert "Applied without a sale" in page and "$10 off" in page
        one = Redemption.unscoped.get()
        assert "100 points back with the shopper" in self.act(client, "give-back", kind="waiting", redemption=one.pk)
        assert "That was done before" in self.act(client, "give-back", kind="waiting", redemption=one.pk)

    @pytest.mark.parametrize("verb", ["dismiss", "give-back", "settle", "take-again", "take", "take-back", "collect",
                                      "waive", "nonsense"])  # fmt: skip
    @pytest.mark.parametrize("number", ["", "0", "x", "99999999", "9" * 30])
    def test_nothing_is_a_server_error(self, client, shop, verb, number):
        client.force_login(shop.user)
        data = dict.fromkeys(("redemption", "sale", "discount", "shortfall"), number) | {"kind": "waiting"}
        assert "Redemptions to look at" in self.act(client, verb, **data)
        assert not Review.unscoped.exists()

    def test_staff_see_their_stores_only(self, client, shop):
        store = make_store(shop.account)
        staff = make_user(shop.account, "staff")
        client.force_login(staff)
        shop.redeem("T1", at=NOON - 5 * HOUR, store_id=store.pk)
        page = reverse("admin:redemptions-to-look-at")
        assert "$10 off" not in client.get(page).content.decode()
        StoreStaff.unscoped.create(
            account=shop.account, membership=staff.memberships(manager="unscoped").get(), store=store
        )
        assert "$10 off" in client.get(page).content.decode()

    @pytest.mark.parametrize("role, status", [("owner", 200), ("manager", 200), ("analyst", 403), ("marketing", 403)])
    def test_who_may(self, client, shop, role, status):
        client.force_login(make_user(shop.account, role))
        assert client.get(reverse("admin:redemptions-to-look-at")).status_code == status


def test_evidence_is_asked_once_a_place(shop):
    assert not reconcile.evidence(account_id=shop.account.pk, store_id=None, moment=NOON + HOUR).ok
