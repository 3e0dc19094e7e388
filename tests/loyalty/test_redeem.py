"""What a redemption asks before it takes: places, people, times, codes, orders, and the whole of a merged person."""

from datetime import timedelta
from decimal import Decimal

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from integrations.models import Customer, Origin
from loyalty import audits, ledger, refusals
from loyalty.models import (
    Audience,
    AudienceMember,
    BlockedPhone,
    CouponCode,
    DiscountAudience,
    DiscountStore,
    Enrolment,
    Identifier,
    Mirroring,
    MirrorState,
    Persona,
    Redemption,
    Source,
)

from ..factories import make_account, make_discount, make_persona, make_store
from .people_at_till import DAY, HOUR, NOW, Shop

pytestmark = pytest.mark.django_db


@pytest.fixture
def shop(db):
    shop = Shop()
    yield shop
    assert audits.violations() == []


def refused(shop, reason, *args, **options) -> Exception:
    """Refused for that reason, with a sentence, and nothing taken."""
    before = shop.points(), Redemption.unscoped.count()
    with pytest.raises(refusals.Refusal) as caught:
        shop.redeem(*args, **options)
    assert (shop.points(), Redemption.unscoped.count()) == before
    error = caught.value
    assert getattr(error, "reason", type(error).__name__) == reason
    said = refusals.sentence(error)
    assert said.endswith(".") and said != "This discount is not available."
    return error


def limit_to_audience(shop, **discount):
    limited = make_discount(shop.account, points=100, limited_audiences=True, **discount)
    audience = Audience.unscoped.create(account=shop.account, name="VIP")
    DiscountAudience.unscoped.create(account=shop.account, discount=limited, audience=audience)

    def join(persona, *, joined_at=NOW, left_at=None):
        AudienceMember.unscoped.create(
            account=shop.account, audience=audience, persona=persona, joined_at=joined_at, left_at=left_at
        )

    return limited, join


class TestLimits:
    def test_stores(self, shop):
        here, there = make_store(shop.account, "Here"), make_store(shop.account, "There")
        limited = make_discount(shop.account, limited_stores=True)
        DiscountStore.unscoped.create(account=shop.account, discount=limited, store=here)
        refused(shop, "store", discount=limited, store_id=there.pk)
        assert shop.redeem(discount=limited, store_id=here.pk).created
        # Where it happens is not known: reconciliation lists a breach, the till is not stopped.
        assert shop.redeem(discount=limited, n=1).created

    def test_audiences(self, shop):
        limited, join = limit_to_audience(shop)
        refused(shop, "audience", discount=limited)
        join(shop.ada, joined_at=NOW - DAY, left_at=NOW)
        refused(shop, "audience", discount=limited)
        join(shop.ada)
        assert shop.redeem(discount=limited).created

    def test_an_audience_of_somebody_merged_in(self, shop):
        limited, join = limit_to_audience(shop)
        join(shop.eve)
        refused(shop, "audience", discount=limited)
        shop.merge()
        assert shop.redeem(discount=limited).created

    def test_hours_from_joining_the_audience(self, shop):
        limited, join = limit_to_audience(shop, valid_for_h=24)
        Enrolment.unscoped.create(
            account=shop.account, persona=shop.ada, ground="form", from_date=NOW.date(), at=NOW - 99 * DAY
        )
        join(shop.ada, joined_at=NOW)
        assert shop.redeem(discount=limited, now=NOW + 23 * HOUR).created
        refused(shop, "expired_for_you", discount=limited, n=1, now=NOW + 24 * HOUR)

    @pytest.mark.parametrize("enrolled, starts, ends", [
        (NOW - 9 * DAY, NOW - 2 * DAY, NOW - DAY), (NOW - 2 * DAY, NOW - 9 * DAY, NOW - DAY),
    ])  # fmt: skip
    def test_hours_from_becoming_a_member_or_from_its_start(self, shop, enrolled, starts, ends):
        for at in (enrolled, NOW - DAY / 2):  # the first enrolment counts
            Enrolment.unscoped.create(
                account=shop.account, persona=shop.ada, ground="form", from_date=at.date(), at=at
            )  # fmt: skip
        limited = make_discount(shop.account, points=100, valid_for_h=24, starts_at=starts)
        assert shop.redeem(discount=limited, now=ends - timedelta(seconds=1)).created
        refused(shop, "expired_for_you", discount=limited, n=1, now=ends)

    def test_a_cooldown_says_when_it_is_free_again(self, shop):
        cooled = make_discount(shop.account, points=100, cooldown_h=48)
        first = shop.redeem(discount=cooled)
        error = refused(shop, "cooldown", discount=cooled, n=1, now=NOW + 47 * HOUR)
        assert error.free_at == NOW + 48 * HOUR and "23 Nov 2026" in refusals.sentence(error)
        assert shop.redeem(discount=cooled, n=1, now=NOW + 48 * HOUR).created
        other = make_discount(shop.account, points=100, cooldown_h=48)
        again = shop.redeem(discount=other)
        shop.revert(again)
        assert shop.redeem(discount=other, n=1).created, "what was given back cools nothing down"
        assert not shop.redeem(discount=cooled).created and first.created, "a repetition comes before every check"

    @pytest.mark.parametrize("whose", ["identifier", "field", "merged"])
    def test_the_employee_blocklist(self, shop, whose):
        BlockedPhone.unscoped.create(account=shop.account, phone="+16045550142")
        assert shop.redeem().created, "somebody else's"
        if whose == "field":
            Persona.unscoped.filter(pk=shop.ada.pk).update(phone="+16045550142")
        else:
            Identifier.unscoped.create(
                account=shop.account, persona=shop.ada if whose == "identifier" else shop.eve, kind="phone",
                value="+16045550142",
            )  # fmt: skip
        if whose == "merged":
            shop.merge()
        refused(shop, "blocked", n=1)

    def test_somebody_elses_blocklist(self, shop):
        BlockedPhone.unscoped.create(account=make_account("Other"), phone="+16045550142")
        Persona.unscoped.filter(pk=shop.ada.pk).update(phone="+16045550142")
        assert shop.redeem().created

    def test_no_member(self, shop):
        Persona.unscoped.filter(pk=shop.ada.pk).update(member_from=None)
        refused(shop, "not_a_member")

    def test_points_of_the_poss_own_programme(self, shop):
        origin = Origin.unscoped.create(account=shop.account, platform="push", identity="push")
        customer = Customer.unscoped.create(account=shop.account, origin=origin, external_id="c")
        Source.unscoped.create(account=shop.account, persona=shop.ada, customer=customer, matched_by="new")
        state = MirrorState.unscoped.create(
            account=shop.account, customer=customer, persona=shop.ada, posted=0, posts=0, at=NOW
        )
        assert shop.redeem().created, "a customer who has none there"
        state.delete()
        ledger.mirror(
            account_id=shop.account.pk, persona_id=shop.ada.pk, customer_id=customer.pk, balance=Decimal(80), now=NOW
        )
        mirroring = Mirroring.unscoped.create(account=shop.account, origin=origin, since=NOW)
        refused(shop, "mirror", n=1)
        # A reward that costs nothing takes nothing from the POS's own balance.
        for free in ({"points": 0}, {"points": 80, "reward": "tier"}):
            reward = make_discount(shop.account, **free)
            assert shop.redeem(discount=reward).points == 0
        Mirroring.unscoped.filter(pk=mirroring.pk).update(ended_at=NOW)
        assert shop.redeem(n=1).created, "the balance is ours again"

    def test_minimum_spend_where_the_order_is_known(self, shop):
        dear = make_discount(shop.account, points=100, min_spend_cents=5000)
        error = refused(shop, "spend", discount=dear, spend_cents=4999)
        assert "$50.00" in refusals.sentence(error)
        assert shop.redeem(discount=dear, spend_cents=5000).created
        assert shop.redeem(discount=dear, n=1).created

    def test_hidden_from_shoppers_is_for_staff_and_tills(self, shop):
        hidden = make_discount(shop.account, points=100, hide_redeem=True)
        refused(shop, "staff_only", discount=hidden)
        assert shop.redeem(discount=hidden, order="T1").created
        assert shop.redeem(discount=hidden, n=1, channel="staff").created

    def test_all_the_limits_cost_one_round_trip(self, shop):
        limited, join = limit_to_audience(
            shop, valid_for_h=24, cooldown_h=1, min_spend_cents=100, limited_stores=True, code_kind="unique"
        )
        store = make_store(shop.account)
        DiscountStore.unscoped.create(account=shop.account, discount=limited, store=store)
        CouponCode.unscoped.create(account=shop.account, discount=limited, code="ONE")
        BlockedPhone.unscoped.create(account=shop.account, phone="+16045550199")
        join(shop.ada)
        with CaptureQueriesContext(connection) as queries:
            assert shop.redeem(discount=limited, store_id=store.pk, spend_cents=100, order="T1").code == "ONE"
        assert len([query for query in queries if "SAVEPOINT" not in query["sql"]]) == 1


class TestOrders:
    @pytest.mark.parametrize("first, second, card_takes_one, combined", [
        (True, True, True, False), (True, True, False, True), (False, True, False, False), (True, False, False, False),
    ])  # fmt: skip
    def test_two_discounts_on_one_order(self, shop, first, second, card_takes_one, combined):
        one, two = (make_discount(shop.account, points=100, stackable=stack) for stack in (first, second))
        assert shop.redeem(discount=one, order="T1").created
        asked = {"discount": two, "order": "T1", "per_order": 1 if card_takes_one else 9}
        if combined:
            assert shop.redeem(**asked).created
        else:
            refused(shop, "OneDiscountPerOrder", **asked)
        assert shop.redeem(discount=two, n=int(combined), order="T2").created

    def test_two_rows_of_one_person_and_one_order(self, shop):
        shop.give(500, shop.eve)
        other = make_discount(shop.account, points=100)
        first = shop.redeem(shop.eve, order="T1")
        shop.merge()
        refused(shop, "OneDiscountPerOrder", discount=other, order="T1")
        assert shop.redeem(order="T1").redemption_id == first.redemption_id


class TestGroups:
    """Fault 7.4: a merge between reading a wallet and redeeming."""

    def test_an_address_of_before_the_merge_finds_its_own_use(self, shop):
        shop.give(500, shop.eve)
        mine, hers = shop.redeem(), shop.redeem(shop.eve)
        shop.merge()
        assert shop.redeem().redemption_id == mine.redemption_id
        assert shop.redeem(shop.eve).redemption_id == hers.redemption_id
        assert shop.points() == 800

    @pytest.mark.parametrize("before", [True, False])
    def test_an_unused_address_is_never_answered_with_anothers_use(self, shop, before):
        if before:
            shop.redeem()
        shop.merge()
        if not before:
            shop.redeem()
        refused(shop, "stale", shop.eve)

    def test_first_used_after_the_merge_it_is_a_use_of_the_root(self, shop):
        shop.merge()
        made = shop.redeem(shop.eve, order="T1")
        row = shop.row(made)
        assert (made.created, row.persona, row.asked_as) == (True, shop.ada, shop.eve) and shop.points() == 400
        again = shop.redeem(shop.eve, order="T1")
        assert again.redemption_id == made.redemption_id and not again.created
        refused(shop, "stale")  # ada's own address of that number: another paper, never used
        assert shop.redeem(n=1).created

    def test_without_an_order_too(self, shop):
        shop.merge()
        made = shop.redeem(shop.eve)
        assert shop.redeem(shop.eve).redemption_id == made.redemption_id and shop.points() == 400

    def test_a_use_of_somebody_who_was_another_person_then(self, shop):
        """eve becomes ada; bob redeems; ada becomes bob. eve's old address is not bob's use."""
        bob = make_persona(shop.account)
        shop.merge(now=NOW)
        shop.give(500, bob)
        shop.redeem(bob, now=NOW + HOUR)
        shop.merge(bob, shop.ada, now=NOW + 2 * HOUR)
        with pytest.raises(ledger.NotAvailable, match="stale"):
            shop.redeem(shop.eve, now=NOW + 3 * HOUR)
        assert shop.points(bob) == 900

    def test_after_a_split_an_address_keeps_its_use_and_the_next_one_is_new(self, shop):
        shop.give(500, shop.eve)
        merge = shop.merge()
        made = shop.redeem(shop.eve, order="T1")
        shop.split(merge)
        assert shop.redeem(shop.eve, order="T1").redemption_id == made.redemption_id
        following = ledger.next_n(account_id=shop.account.pk, persona_id=shop.eve.pk, discount_id=shop.discount.pk)
        assert following == 1 and shop.redeem(shop.eve, n=following).created

    def test_once_for_each_person_not_for_each_row(self, shop):
        once = make_discount(shop.account, points=100, reusable=False)
        shop.give(500, shop.eve)
        shop.redeem(shop.eve, discount=once)
        shop.merge()
        refused(shop, "used", discount=once, n=1)

    def test_the_cooldown_is_the_persons(self, shop):
        cooled = make_discount(shop.account, points=100, cooldown_h=48)
        shop.give(500, shop.eve)
        shop.redeem(shop.eve, discount=cooled)
        shop.merge()
        assert refused(shop, "cooldown", discount=cooled, n=1).free_at == NOW + 48 * HOUR

    def test_numbers_go_on_over_the_group(self, shop):
        shop.give(500, shop.eve)
        shop.redeem(shop.eve), shop.redeem(shop.eve, n=1)
        shop.merge()
        refused(shop, "stale")
        assert shop.redeem(n=2).n == 2

    def test_a_persona_of_another_account(self, shop):
        from django.db import DatabaseError, transaction

        stranger = make_persona(make_account("Other"))
        with pytest.raises(DatabaseError, match="not of account"), transaction.atomic():
            shop.redeem(stranger)


class TestCodes:
    def test_one_for_everybody(self, shop):
        ten = make_discount(shop.account, points=100, code_kind="static", static_code="TEN")
        assert [shop.redeem(discount=ten, n=n).code for n in (0, 0, 1)] == ["TEN", "TEN", "TEN"]
        assert shop.redeem().code == ""

    def test_a_code_stays_with_its_use_for_ever(self, shop):
        discount = make_discount(shop.account, points=100, code_kind="unique")
        for code in ("A", "B"):
            CouponCode.unscoped.create(account=shop.account, discount=discount, code=code)
        made = shop.redeem(discount=discount, order="T1")
        assert made.code == "A" and shop.redeem(discount=discount, order="T1").code == "A"
        shop.revert(made)
        assert shop.redeem(discount=discount, n=1, order="T1").code == "B", "the shopper may have written A down"
        refused(shop, "no_code", discount=discount, n=2, order="T2")
        assert CouponCode.unscoped.get(code="A").redemption == shop.row(made)

    def test_a_refusal_uses_no_code(self, shop):
        discount = make_discount(shop.account, points=900, code_kind="unique")
        CouponCode.unscoped.create(account=shop.account, discount=discount, code="A")
        refused(shop, "NotEnoughPoints", discount=discount)
        assert CouponCode.unscoped.get().redemption is None

    def test_codes_of_another_discount_are_not_touched(self, shop):
        one, two = (make_discount(shop.account, points=100, code_kind="unique") for _ in range(2))
        CouponCode.unscoped.create(account=shop.account, discount=one, code="A")
        refused(shop, "no_code", discount=two)


class TestTiers:
    def test_needs_its_points_and_takes_none(self, shop):
        tier = make_discount(shop.account, points=500, reward="tier")
        for n in range(2):
            made = shop.redeem(discount=tier, n=n)
            assert (made.points, made.balance) == (0, 500)
        assert shop.revert(made).state == "reverted" and shop.points() == 500
        shop.give(-1)
        refused(shop, "NotEnoughPoints", discount=tier, n=2)
