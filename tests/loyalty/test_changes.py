"""Every setting of the programme acts; what moves balances is counted first, to the hundredth of a point."""

from datetime import timedelta
from decimal import Decimal

import pytest
from django.utils import timezone

from aiqsync.accounts.tenancy import acting_in
from loyalty import changes, jobs, ledger, programme, wallet
from loyalty.models import (
    BlockedPhone,
    ChangeState,
    Entry,
    Job,
    Persona,
    ProgrammeChange,
    SourceStart,
)
from tests.factories import make_discount
from tests.records import customer, refund

from . import test_release, test_staff
from .changing import PHONES, World, agree, some_audience

pytestmark = pytest.mark.django_db


@pytest.fixture
def world():
    return World()


class TestActs:
    """One shopper, one sale: what a setting makes of them. Proposed, counted, confirmed, applied."""

    @pytest.mark.parametrize("values, points", [
        ({"points_per_100": "150"}, "75.83"), ({"points_per_100": "0"}, "0"), ({"points_per_100": "2.5"}, "1.26"),
        ({"points_per_order": "5"}, "55.55"), ({"points_per_order": "0.5"}, "51.05"),
        ({"exclude_tax": False}, "56.61"),
        ({"rounding": "up"}, "51"), ({"rounding": "down"}, "50"), ({"rounding": "nearest"}, "51"),
        ({"earning_types": "recreational"}, "50.55"), ({"earning_types": "medical"}, "0"),
        ({"opt_in_needed": "sms"}, "0"), ({"opt_in_needed": "email"}, "0"), ({"opt_in_needed": "any"}, "0"),
    ])  # fmt: skip
    def test_on_a_sale(self, world, values, points):
        world.buy("ada", "s", -2, net=5055)
        assert world.points("ada") == Decimal("50.55")
        world.set(**values)
        assert world.points("ada") == Decimal(points)
        world.buy("ben", "later", -1, net=5055)  # and on sales that come afterwards
        assert world.points("ben") == Decimal(points) and world.sound() == []

    def test_accrual_start(self, world):
        for ahead in (-3, -2, -1):
            world.buy("ada", f"s{ahead}", ahead)
        world.set(accrual_start=world.date(-2))
        assert world.points("ada") == 200
        world.set(accrual_start="")
        assert world.points("ada") == 300

    def test_a_sources_own_start_replaces_it(self, world):
        world.full().set(accrual_start=world.date(-160))
        before = world.points("hal")
        world.apply(starts={str(world.other.pk): world.date(-100)})
        assert (before, world.points("hal")) == (120, 60)
        world.apply(starts={str(world.other.pk): world.date(-2)})
        assert SourceStart.unscoped.get().starts_on.isoformat() == world.date(-2)
        world.apply(starts={str(world.other.pk): ""})
        assert world.points("hal") == 120 and not SourceStart.unscoped.exists()

    def test_max_visits_per_day(self, world):
        world.full().set(points_per_order="10")
        three = world.points("fay")
        world.set(max_visits_per_day="2")
        assert world.points("fay") == three - 10
        world.set(max_visits_per_day="1")
        assert world.points("fay") == three - 20
        world.set(max_visits_per_day="")
        assert world.points("fay") == three

    def test_dated_tax(self, world):
        world.save(programme={"exclude_tax_from": world.date(-2)})  # nothing to move yet: at once
        for ahead in (-3, -2):
            world.buy("ada", f"s{ahead}", ahead)
        assert world.points("ada") == 112 + 100  # sales before the day still earn on the tax
        world.set(exclude_tax_from=world.date(-1))
        assert world.points("ada") == 224
        world.set(exclude_tax_from="")
        assert world.points("ada") == 200

    def test_by_customer_type(self, world):
        world.full().set(earning_types="medical")
        assert world.points("dee") == Decimal("77.77")
        assert world.points("ada") == 0  # of unknown type: recreational
        world.set(earning_types="recreational")
        assert world.points("dee") == 0 and world.points("ada") > 0

    def test_by_opt_in_on_the_day_of_the_sale(self, world):
        world.full().set(opt_in_needed="sms")
        assert world.points("eve") == 40  # the second purchase; she said yes after the first
        world.set(opt_in_needed="email")
        assert world.points("eve") == 0
        world.set(opt_in_needed="any")
        assert world.points("eve") == 40

    def test_refund_policy(self, world):
        world.buy("ben", "b", -9)
        world.arrive(refund("r", of="b", customer_id="ben", net=3000, tax=360, sold_at=world.day(-8)))
        assert world.points("ben") == 100  # kept
        world.set(refunds="reverse")
        assert world.points("ben") == 70
        world.set(refunds="reverse_full")
        assert world.points("ben") == 100
        world.arrive(refund("r2", of="b", customer_id="ben", net=7000, tax=840, sold_at=world.day(-7)))
        assert world.points("ben") == 0

    def test_expiry_days(self, world):
        for ahead in (-40, -20):
            world.buy("ada", f"s{ahead}", ahead)
        world.give("ada", 7)
        world.set(expire_days="30")
        assert world.points("ada") == 107 and world.expired() == 100
        assert world.ends("ada") == [world.date(11), world.date(31)]  # the end of the thirtieth day
        world.set(expire_days="")
        assert world.ends("ada") == ["", ""] and world.points("ada") == 107  # what has expired does not come back

    def test_expiry_by_the_legacy_engine(self, world):
        """Earned points go together, so long after the latest purchase; what was given by hand stays."""
        for ahead in (-40, -20):
            world.buy("ada", f"s{ahead}", ahead)
        world.give("ada", 7)
        world.set(engine="legacy", expire_days="30")
        assert world.points("ada") == 207 and world.ends("ada") == [world.date(11)] * 2 + [""]
        world.set(expire_all=True)
        assert world.ends("ada") == [world.date(11)] * 2 + [world.date(31)]  # a gift counts from its day
        world.buy("ada", "again", -1, net=0)  # a purchase that earns nothing is a purchase
        assert world.ends("ada") == [world.date(30)] * 2 + [world.date(31)]
        world.set(expire_all=False, expire_start=world.date(-30))
        assert world.ends("ada") == [world.date(30), "", ""]  # earned before the start: safe
        world.set(expire_start=world.date(5))
        assert world.ends("ada") == ["", "", ""]
        world.set(engine="fifo")
        assert world.ends("ada") == [world.date(11), world.date(31)] and world.points("ada") == 107

    def test_late_sales_by_the_legacy_engine_end_with_the_others(self, world):
        """A sale of long ago that arrives today is no reason to lose its points at once: she bought yesterday."""
        world.set(engine="legacy", expire_days="30")
        world.buy("ada", "yesterday", -1)
        world.buy("ada", "late", -90)
        assert world.points("ada") == 200 and world.ends("ada") == [world.date(30)] * 2

    def test_enabled(self, world):
        discount = make_discount(world.account, points=10)
        world.buy("ada", "before", -3)
        world.save(programme={"enabled": False})  # off acts at once and takes nothing
        world.buy("ada", "pause", -2)
        assert world.points("ada") == 100
        shown = wallet.show(account_id=world.account.pk, persona_id=world.people["ada"].pk, now=timezone.now())
        assert (shown.points, shown.rewards, shown.enabled) == (0, [], False)
        with pytest.raises(ledger.NotAvailable) as refused:
            ledger.redeem(
                account_id=world.account.pk, persona_id=world.people["ada"].pk, discount_id=discount.pk, n=0,
                transaction="T", channel="till", now=timezone.now(),
            )  # fmt: skip
        assert refused.value.reason == "disabled"
        change = world.set(enabled=True)  # on is counted: the pause's sales earn now
        assert change.counted["after"] == "200.00" and world.points("ada") == 200

    def test_blocklist(self, world):
        world.full()
        change = world.apply(blocked={"add": [{"phone": "604 555 0143", "note": "Dee, staff"}]})
        assert world.points("dee") == 0 and change.counted["shoppers"] == 1
        assert BlockedPhone.unscoped.get().user == world.user
        world.apply(blocked={"remove": [PHONES["dee"]]})
        assert world.points("dee") == Decimal("77.77") and not BlockedPhone.unscoped.exists()

    def test_multiplier(self, world):
        world.full()
        before = world.points("ada")
        world.apply(modifiers=[{"name": "Twice", "kind": "multiplier", "factor": "2"}])
        assert world.points("ada") == 2 * before

    def test_hide_points(self, world):
        world.buy("ada", "s", -2)
        assert world.save(programme={"hide_points": True}).change is None  # moves nothing: at once
        shown = wallet.show(account_id=world.account.pk, persona_id=world.people["ada"].pk, now=timezone.now())
        assert shown.hidden and shown.points == 100  # the API tells tills 0: tests/loyalty/api

    def test_merge_by_name(self, world):
        born = timezone.now().date() - timedelta(days=9000)
        people = [customer(f"new{n}", first_name="Ivy", last_name="Lee", birth_date=born) for n in range(4)]

        def roots():
            return Persona.unscoped.filter(account=world.account, merged_into=None).count()

        known = roots()
        world.meet(*people[:2])
        assert roots() == known + 2
        world.save(programme={"merge_by_name": True})
        world.meet(people[2])
        world.meet(people[3])
        assert roots() == known + 3  # records that arrive from now on: the second of them joined the first


# A change of each of these is shown before it is done. What is counted is what happens.


def paused(world) -> dict:
    world.save(programme={"enabled": False})
    for place, name in enumerate(("ada", "cyd", "gil")):
        world.buy(name, f"pause{place}", -1)
    return {"programme": {"enabled": True}}


def blocked_from_a_gift(world) -> dict:
    world.apply(blocked={"add": [{"phone": PHONES["ada"], "note": ""}]})
    world.apply(modifiers=[{"name": "Gift", "kind": "boost", "points": "500", "audience": some_audience(world)}])
    return {"blocked": {"remove": [PHONES["ada"]]}}


def swept(world, asked: dict) -> dict:
    """What is due has expired, before anybody asks."""
    world.apply(programme={"expire_days": "95"})
    ledger.expire_due(now=timezone.now())
    assert world.expired() > 100
    return asked


MOVES = {
    "enabled": ({}, lambda w: paused(w)),
    "points_per_100": ({}, lambda w: {"programme": {"points_per_100": "133.33"}}),
    "points_per_100, down": ({}, lambda w: {"programme": {"points_per_100": "1"}}),
    "points_per_100, down, with points that have expired": (
        {}, lambda w: swept(w, {"programme": {"points_per_100": "40"}}),
    ),
    "blocked, with points that have expired": (
        {}, lambda w: swept(w, {"blocked": {"add": [{"phone": PHONES["ada"], "note": ""}]}}),
    ),
    "points_per_order": ({}, lambda w: {"programme": {"points_per_order": "12.5"}}),
    "max_visits_per_day": ({"points_per_order": 10}, lambda w: {"programme": {"max_visits_per_day": "1"}}),
    "accrual_start": ({}, lambda w: {"programme": {"accrual_start": w.date(-65)}}),
    "exclude_tax": ({}, lambda w: {"programme": {"exclude_tax": False}}),
    "exclude_tax_from": ({}, lambda w: {"programme": {"exclude_tax_from": w.date(-90)}}),
    "rounding": ({}, lambda w: {"programme": {"rounding": "up"}}),
    "earning_types": ({}, lambda w: {"programme": {"earning_types": "medical"}}),
    "opt_in_needed": ({}, lambda w: {"programme": {"opt_in_needed": "any"}}),
    "refunds": ({}, lambda w: {"programme": {"refunds": "reverse"}}),
    "refunds, full": ({}, lambda w: {"programme": {"refunds": "reverse_full"}}),
    "expire_days": ({}, lambda w: {"programme": {"expire_days": "95"}}),
    "expire_days, longer": ({"expire_days": 720}, lambda w: {"programme": {"expire_days": "3000"}}),
    "engine": ({"expire_days": 720}, lambda w: {"programme": {"engine": "legacy", "expire_days": "25"}}),
    "engine, back": ({"engine": "legacy", "expire_days": 350}, lambda w: {"programme": {"engine": "fifo"}}),
    "expire_start": (
        {"engine": "legacy", "expire_days": 350},
        lambda w: {"programme": {"expire_start": w.date(-120), "expire_days": "8"}},
    ),
    "expire_all": ({"engine": "legacy", "expire_days": 350}, lambda w: {"programme": {"expire_all": True}}),
    "legacy and a rate": (
        {"engine": "legacy", "expire_days": 350},
        lambda w: {"programme": {"points_per_100": "222", "expire_days": "30"}},
    ),
    "rate by the legacy engine": (
        {"engine": "legacy", "expire_days": 350}, lambda w: {"programme": {"points_per_100": "222"}},
    ),
    "rate and expiry": ({}, lambda w: {"programme": {"points_per_100": "250", "expire_days": "45"}}),
    "starts": ({}, lambda w: {"starts": {str(w.other.pk): w.date(-3)}}),
    "blocked": ({}, lambda w: {"blocked": {"add": [{"phone": PHONES["ada"], "note": ""}]}}),
    "modifiers": ({}, lambda w: {"modifiers": [{"name": "Twice", "kind": "multiplier", "factor": "2"}]}),
    "modifiers, zero": ({}, lambda w: {"modifiers": [{"name": "None", "kind": "zero", "skus": ["SKU"]}]}),
    "modifiers, boost": (
        {}, lambda w: {"modifiers": [{"name": "Hello", "kind": "boost", "points": "25", "with_sale": True}]},
    ),
    "modifiers, taking": (
        {}, lambda w: {"modifiers": [{"name": "Fee", "kind": "boost", "points": "-60", "with_sale": True}]},
    ),
    "modifiers, gift": (
        {"expire_days": 720},
        lambda w: {
            "modifiers": [{"name": "Gift", "kind": "boost", "points": "500", "audience": some_audience(w)}]
        },
    ),
    "blocked, with a gift for those who are not": (
        {},
        lambda w: {
            "blocked": {"add": [{"phone": PHONES["ada"], "note": ""}]},
            "modifiers": [{"name": "Gift", "kind": "boost", "points": "500", "audience": some_audience(w)}],
        },
    ),
    "blocked, taken off when a gift waits": ({}, lambda w: blocked_from_a_gift(w)),
}  # fmt: skip


@pytest.mark.parametrize("name", MOVES)
def test_fault_6_3_what_is_counted_is_what_happens(name):
    start, values = MOVES[name]
    world = World(**start).full()
    asked = values(world)
    before, expired, short = world.balances(), world.expired(), world.short()
    entries = Entry.unscoped.count()
    change = world.counted(**asked)
    assert (Entry.unscoped.count(), world.balances()) == (entries, before)  # only counted
    world.confirm(change)
    world.work()
    change.refresh_from_db()
    assert change.state == ChangeState.APPLIED
    agree(world, change, before)
    assert world.expired() - expired == Decimal(change.counted["expiring"])
    assert world.short() - short == Decimal(change.counted["short"])
    assert before != world.balances() or name in ("expire_days, longer", "engine, back", "expire_all", "expire_start")
    assert world.sound() == []
    # Everybody is where the programme says: the same once more is nothing.
    with acting_in(world.account.pk):
        Job.unscoped.all().delete()
        ProgrammeChange.unscoped.filter(pk=change.pk).update(state=ChangeState.APPLYING)
        jobs.start(account_id=world.account.pk, kind="recompute", args={"change": change.pk}, user=world.user,
                   now=timezone.now())  # fmt: skip
    balances, entries = world.balances(), Entry.unscoped.count()
    world.work()
    assert (world.balances(), Entry.unscoped.count()) == (balances, entries)


def test_every_kind_of_change_is_counted_and_compared():
    """A new setting that moves balances needs a line above."""
    assert {name.split(",")[0] for name in MOVES} >= programme.MOVING | {"enabled", "starts", "blocked", "modifiers"}


def test_there_and_back_leaves_everybody_where_he_was():
    """Shortfalls that a change made are made good by the change back; nobody is richer or poorer for it."""
    world = World().full()
    before = world.balances()
    world.set(points_per_100="10")
    assert world.short() > 0
    world.set(points_per_100="100")
    assert world.balances() == before and world.sound() == []


def test_points_that_were_due_before_are_no_figure_of_the_change(world):
    world.buy("ada", "s", -2)
    world.give("ada", 30, ends=world.now - timedelta(minutes=1), now=world.now - timedelta(days=1))
    change = world.set(points_per_100="200")
    assert (change.counted["before"], change.counted["expiring"]) == ("100.00", "0")
    assert (change.applied["points"], change.applied["expired"]) == ("100.00", "0")
    assert world.points("ada") == 200 and world.expired() == 30


def test_taking_everybodys_points_is_counted_too(world):
    world.full()
    before = world.balances()
    change = changes.propose_wipe(account_id=world.account.pk, note="New owner", user=world.user, now=timezone.now())
    world.work()
    change.refresh_from_db()
    world.confirm(change)
    world.work()
    change.refresh_from_db()
    agree(world, change, before)
    assert world.balances() == {}
    assert set(Entry.unscoped.filter(key__startswith="wipe:").values_list("note", flat=True)) == {"New owner"}


class TestGivenBack:
    """Points that a redemption holds while the expiry changes follow the programme when they come back."""

    @pytest.fixture
    def shop(self):
        world = World(expire_days=30)
        world.buy("ada", "s", -20)
        discount = make_discount(world.account, points=100)
        world.used = ledger.redeem(
            account_id=world.account.pk, persona_id=world.people["ada"].pk, discount_id=discount.pk, n=0,
            transaction="T", channel="till", now=timezone.now(),
        )  # fmt: skip
        world.back = lambda: ledger.revert(
            account_id=world.account.pk, redemption_public_id=world.used.redemption_id, now=timezone.now()
        )
        return world

    def test_no_longer_expiring(self, shop):
        shop.buy("ben", "other", -1)
        shop.set(expire_days="")
        shop.back()
        assert shop.points("ada") == 100 and shop.ends("ada") == [""]

    def test_expiring_earlier_they_go_at_once_and_visibly(self, shop):
        shop.set(expire_days="10")
        shop.back()
        assert shop.points("ada") == 0
        lines = Entry.unscoped.filter(persona=shop.people["ada"]).order_by("id").values_list("kind", "points")
        assert list(lines)[-2:] == [("reverse", 100), ("expire", -100)]
        assert shop.sound() == []


# What proves that a setting acts. A setting without a line here fails the test below.
PROOFS = {
    **dict.fromkeys(("points_per_100", "points_per_order", "exclude_tax", "rounding"), TestActs.test_on_a_sale),
    "enabled": TestActs.test_enabled,
    "max_visits_per_day": TestActs.test_max_visits_per_day,
    "accrual_start": TestActs.test_accrual_start,
    "exclude_tax_from": TestActs.test_dated_tax,
    "earning_types": TestActs.test_by_customer_type,
    "opt_in_needed": TestActs.test_by_opt_in_on_the_day_of_the_sale,
    "refunds": TestActs.test_refund_policy,
    "spent_on_refund": test_release.TestWithItsSale.test_fault_3_3_a_later_refund_follows_the_setting_once,
    "engine": TestActs.test_expiry_by_the_legacy_engine,
    "expire_days": TestActs.test_expiry_days,
    "expire_start": TestActs.test_expiry_by_the_legacy_engine,
    "expire_all": TestActs.test_expiry_by_the_legacy_engine,
    "release_after_h": test_release.TestWithoutASale.test_the_merchants_hours_count,
    "hide_points": TestActs.test_hide_points,
    "merge_by_name": TestActs.test_merge_by_name,
    "show_pin": test_staff.TestPin.test_shown_in_the_wallet,
    "pin_to_redeem": test_staff.TestPin.test_needed_to_redeem,
    "staff_may_adjust": test_staff.test_a_budtender_adds_points_only_when_the_programme_lets_him,
    "staff_may_redeem": test_staff.test_a_budtender_redeems_unless_the_programme_forbids_it,
    "staff_points_a_day": test_staff.TestLimits.test_points_a_day,
    "manager_points_a_day": test_staff.TestLimits.test_points_a_day,
    "staff_redemptions_a_day": test_staff.TestLimits.test_redemptions_a_day,
    "master pin": test_staff.TestPin.test_needed_to_redeem,
    "starts": TestActs.test_a_sources_own_start_replaces_it,
    "blocked": TestActs.test_blocklist,
}


def test_every_setting_of_the_page_has_its_proof():
    from aiqsync.pages.programme import ProgrammeForm

    assert set(ProgrammeForm().fields) | {"master pin", "starts", "blocked"} == set(PROOFS)
    assert set(programme.SETTINGS) - set(ProgrammeForm().fields) == {"staff_sees_queue"}  # comes with the queue's page
