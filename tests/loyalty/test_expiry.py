"""Points that end: each on its own day, told before, never below zero; and what a till does on that very day."""

from dataclasses import replace
from datetime import timedelta
from decimal import Decimal

import pytest
from django.urls import reverse
from django.utils import timezone

from aiqsync.accounts.roles import Role
from aiqsync.accounts.tenancy import acting_in
from integrations import registry
from loyalty import audits, ledger, merging, reports, wallet
from loyalty.models import DiscountStore, Entry, EntryKind, Lot, Merge, Programme, Shortfall
from tests.factories import make_account, make_discount, make_store, make_user

from .changing import World
from .ledger_sales import make_sales, target
from .people_at_till import DAY, HOUR, NOW, Shop
from .race import at_once

pytestmark = pytest.mark.django_db


def sound(account) -> list[str]:
    return [f"{v.rule.name}: {v.examples}" for v in audits.violations(account_id=account.pk)]


def lines(persona) -> list[tuple[str, Decimal]]:
    return list(Entry.unscoped.filter(persona=persona).order_by("id").values_list("kind", "points"))


class TestAtTheTill:
    @pytest.fixture
    def shop(self):
        shop = Shop(points=0)
        shop.give(100, expires_at=NOW + HOUR)
        return shop

    def show(self, shop, at):
        return wallet.show(account_id=shop.account.pk, persona_id=shop.ada.pk, now=at)

    def test_it_ends_between_the_wallet_and_the_redemption(self, shop):
        [reward] = self.show(shop, NOW).rewards
        assert reward.available
        with pytest.raises(ledger.NotEnoughPoints) as refused:
            shop.redeem(n=reward.n, order="T", now=NOW + HOUR)
        assert refused.value.balance == 0  # the till is told what there is
        assert lines(shop.ada) == [("adjust", 100), ("expire", -100)]  # and the timeline why
        assert self.show(shop, NOW + HOUR).points == 0 and sound(shop.account) == []

    def test_a_second_before_it_is_taken(self, shop):
        shop.redeem(order="T", now=NOW + HOUR - timedelta(seconds=1))
        assert ledger.expire_due(now=NOW + 2 * HOUR) == 0 and sound(shop.account) == []

    def test_part_of_it_ends_and_the_rest_is_enough(self, shop):
        shop.give(100)
        shop.redeem(order="T", now=NOW + HOUR)
        assert lines(shop.ada) == [("adjust", 100), ("adjust", 100), ("expire", -100), ("redeem", -100)]
        assert sound(shop.account) == []

    @pytest.mark.parametrize("part", [None, 30])
    def test_given_back_past_its_end_it_goes_at_once_and_visibly(self, shop, part):
        taken = shop.redeem(order="T", now=NOW)
        back = shop.revert(taken, part, now=NOW + 2 * HOUR)
        came = part or 100
        assert (back.points, back.balance) == (came, 0)
        assert lines(shop.ada)[-2:] == [("reverse", came), ("expire", -came)]
        assert shop.row(taken).reverted_points == came and sound(shop.account) == []

    def test_given_back_in_parts_past_its_end_each_goes(self, shop):
        taken = shop.redeem(order="T", now=NOW)
        for n in range(4):
            shop.revert(taken, 25, now=NOW + 2 * HOUR, key=f"part{n}")
        assert lines(shop.ada)[-8:] == [("reverse", 25), ("expire", -25)] * 4
        assert shop.row(taken).state == "reverted" and sound(shop.account) == []

    def test_only_what_has_ended_goes(self, shop):
        shop.give(100, expires_at=NOW + 3 * DAY)
        dear = make_discount(shop.account, points=150)
        taken = shop.redeem(discount=dear, order="T", now=NOW)
        back = shop.revert(taken, now=NOW + 2 * HOUR)
        assert (back.points, back.balance) == (150, 100)
        assert lines(shop.ada)[-2:] == [("reverse", 150), ("expire", -100)]
        assert sound(shop.account) == []

    def test_the_page_shows_the_pair(self, client):
        shop = Shop(points=0)
        now = timezone.now()
        shop.give(100, now=now - 3 * HOUR, expires_at=now - HOUR)
        taken = shop.redeem(order="T", now=now - 2 * HOUR)
        client.force_login(make_user(shop.account))
        with acting_in(shop.account.pk):
            client.post(reverse("admin:persona-give-back", args=[shop.ada.contact_id, taken.redemption_id]))
        page = client.get(reverse("admin:persona", args=[shop.ada.contact_id])).content.decode()
        assert "Given back" in page and "Expired" in page and "The balance is 0." in page

    @pytest.mark.django_db(transaction=True)
    def test_the_sweep_and_eight_tills_at_the_same_moment(self):
        """Points that end now are spent or expire, never both; the sweep does not hold a till up."""
        shop = Shop(points=0)
        for _ in range(8):
            shop.give(100, expires_at=NOW + HOUR)
        discounts = [make_discount(shop.account, points=100) for _ in range(8)]
        calls = [
            lambda d=d, n=n: shop.redeem(discount=d, order=f"T{n}", now=NOW + HOUR - timedelta(microseconds=1))
            for n, d in enumerate(discounts)
        ]
        answers = at_once([*calls, lambda: ledger.expire_due(now=NOW + HOUR)])
        taken = sum(isinstance(one, ledger.Redeemed) for one in answers)
        strange = [a for a in answers[:8] if not isinstance(a, ledger.Redeemed | ledger.NotEnoughPoints)]
        ledger.expire_due(now=NOW + HOUR)
        gone = -sum(points for kind, points in lines(shop.ada) if kind == "expire")
        assert strange == [] and taken * 100 + gone == 800
        assert shop.points() == 0 and sound(shop.account) == []


def test_fault_6_1_each_earning_ends_on_its_own_day_not_the_whole_balance():
    """A new account's engine; the oldest are spent first, and what goes next is known."""
    assert Programme(account=make_account()).engine == "fifo"
    world = World(expire_days=60)
    world.buy("ada", "old", -50, net=10000)
    world.buy("ada", "new", -10, net=15000)
    ends = [at for _, at in Lot.unscoped.order_by("expires_at").values_list("id", "expires_at")]
    account, ada = world.account.pk, world.people["ada"]
    assert ledger.next_to_expire(account, ada.pk, timezone.now()) == (100, ends[0])
    discount = make_discount(world.account, points=120)
    ledger.redeem(account_id=account, persona_id=ada.pk, discount_id=discount.pk, n=0, transaction="T", channel="till",
                  now=timezone.now())  # fmt: skip
    assert ledger.next_to_expire(account, ada.pk, timezone.now()) == (130, ends[1])  # AIQ's own example
    assert ledger.expire_due(now=ends[0]) == 0 and ledger.expire_due(now=ends[1]) == 1
    assert world.expired() == 130


def test_fault_6_2_who_loses_points_soon_is_known_before(client):
    world = World(expire_days=60)
    world.buy("ada", "a1", -50, net=10000)
    world.buy("ada", "a2", -45, net=5000)
    world.buy("ben", "b1", -55, net=2000)
    world.buy("cyd", "c1", -2, net=7000)  # not within thirty days
    client.force_login(make_user(world.account))
    report = client.get(reverse("admin:report-liability")).content.decode()
    part = report.split('id="expiring"')[1].split("</section>")[0]
    assert "Ada Moss" in part and "Ben Moss" in part and "Cyd" not in part
    assert part.index("Ada") < part.index("Ben")  # who loses most comes first
    assert "20</span> points of 1 shopper within 7 days" in part and "170</span> points of 2 shoppers within 30" in part
    sheet = client.get(reverse("admin:report-liability"), {"as": "expiring"}).content.decode().splitlines()
    assert len(sheet) == 3 and sheet[1].split(",")[1:3] == ["Ada Moss", "150.00"]
    page = client.get(reverse("admin:persona", args=[world.people["ada"].contact_id])).content.decode()
    assert "100 expire " in page
    told = wallet.show(account_id=world.account.pk, persona_id=world.people["ada"].pk, now=timezone.now())
    assert told.next_to_expire == (100, world.day(11, hour=0))
    with acting_in(world.account.pk):
        assert [one.points for one in reports.expiring(account_id=world.account.pk, now=timezone.now())] == [150, 20]


def test_who_loses_points_soon_is_for_those_who_read_reports(client):
    world = World(expire_days=60)
    client.force_login(make_user(world.account, Role.STAFF))
    assert client.get(reverse("admin:report-liability"), {"as": "expiring"}).status_code == 403


def test_fault_6_4_corrections_and_expiry_do_not_chase_each_other():
    """Spent, taken down, raised again, expired, changed back: never below zero, each step a line, nothing circles."""
    world = World(expire_days=60)
    world.buy("ada", "s1", -70, net=10000)  # over already
    world.buy("ada", "s2", -10, net=10000)
    world.give("ada", -90)
    for rate in ("10", "100", "5", "100", "300", "1"):
        world.set(points_per_100=rate)
        world.set(expire_days="5")
        world.set(expire_days="60")
        entries = Entry.unscoped.count()
        for _ in range(3):
            ledger.expire_due(now=timezone.now())  # the sweep finds nothing to chase
        assert Entry.unscoped.count() == entries
    rows = Entry.unscoped.filter(persona=world.people["ada"])
    assert min(rows.values_list("balance_after", flat=True)) == 0
    assert rows.count() < 30 and world.sound() == []
    missing = [one.points - one.netted - one.collected for one in Shortfall.unscoped.filter(account=world.account)]
    assert missing and min(missing) >= 0


def test_fault_6_5_new_accounts_count_before_tax_and_see_what_they_owe(client):
    assert Programme._meta.get_field("exclude_tax").default is True
    world = World()
    assert Programme.unscoped.get(account=world.account).exclude_tax
    world.buy("ada", "s", -5, net=10000)  # and $12 of tax
    client.force_login(make_user(world.account))
    page = client.get(reverse("admin:report-liability")).content.decode()
    assert reports.liability(account_id=world.account.pk, now=timezone.now()).points == 100
    assert "Owed now" in page and ">100<" in page and "Never" in page  # nothing of it ever ends: said
    settings = client.get(reverse("admin:programme")).content.decode()
    assert "Empty: points do not expire." in settings


@pytest.mark.parametrize("kind", ["earn", "adjust", "boost", "import", "merge"])
def test_fault_6_6_whatever_brought_them_points_end_by_their_date(kind):
    shop = Shop(points=0)
    end = NOW + DAY
    if kind == "earn":
        [sale_id] = make_sales(shop.account, 1)
        ledger.settle_sales(
            account_id=shop.account.pk, now=NOW, targets=[target(sale_id, shop.ada.pk, 40, expires_at=end)]
        )
    elif kind == "merge":
        shop.give(40, shop.eve, expires_at=end)
        shop.merge()
    else:
        ledger.adjust(
            account_id=shop.account.pk, persona_id=shop.ada.pk, points=Decimal(40), key="k", now=NOW, kind=kind,
            expires_at=end,
        )  # fmt: skip
    assert shop.points() == 40
    assert ledger.spendable_points(shop.account.pk, shop.ada.pk, end) == 0
    assert ledger.expire_due(now=end) == 1 and shop.points() == 0
    assert set(EntryKind.values) - {"redeem", "reverse", "expire", "mirror"} == {
        "earn", "adjust", "boost", "import", "merge",
    }, "a new kind of points: does it end?"  # fmt: skip
    assert sound(shop.account) == []


def test_fault_6_7_one_place_of_truth_and_the_rule_that_held_for_each_sale(client):
    """Tax, expiry and who earns are set on one page; each sale says by which of it it was counted."""
    rules, speaking = {field.name for field in Programme._meta.get_fields()}, set()
    for flag in (flag for card in registry.CARDS.values() for flag in card.settings):
        assert flag.name not in rules
        named, text = f"{flag.name} {flag.label}".casefold(), flag.help.casefold()
        assert not any(word in named for word in ("tax dollars", "expire", "earn")), flag.name
        assert not any(word in text for word in ("tax dollars", "expire")), flag.name
        speaking |= {flag.name} if "earn" in text else set()
    # Who becomes a member, and whose balances are the POS's: neither says how much is earned, of what or until when.
    assert speaking == {"enrol_after", "mirror_points"}
    world = World(exclude_tax_from=None)
    world.buy("ada", "before", -9, net=10000)
    world.buy("ada", "after", -2, net=10000)
    world.buy("dee", "hers", -2, net=10000)
    world.set(exclude_tax_from=world.date(-5), rounding="up")
    world.apply(blocked={"add": [{"phone": world.people["dee"].phone, "note": ""}]})
    client.force_login(make_user(world.account))
    page = client.get(reverse("admin:persona", args=[world.people["ada"].contact_id])).content.decode()
    assert "$112.00 with tax, 100 points per $100" in page
    why = client.get(reverse("admin:why"), {"q": "IN-hers"}).content.decode()
    assert "employee points blocklist" in why
    why = client.get(reverse("admin:why"), {"q": "IN-after"}).content.decode()
    assert "$100.00 before tax, 100 points per $100" in why


def test_fault_7_8_one_wallet_in_every_store_and_where_a_reward_counts_is_said():
    shop = Shop(points=500)
    here, there = make_store(shop.account, "Main St"), make_store(shop.account, "Harbour")
    only_there = make_discount(shop.account, points=50, limited_stores=True, name="Harbour only")
    DiscountStore.unscoped.create(account=shop.account, discount=only_there, store=there)
    seen = {
        store.name: wallet.show(account_id=shop.account.pk, persona_id=shop.ada.pk, now=NOW, store_id=store.pk)
        for store in (here, there)
    }
    assert {view.points for view in seen.values()} == {500}  # the same person with the same points
    why = {name: {one.name: one.why_not for one in view.rewards} for name, view in seen.items()}
    assert why["Main St"] == {"Harbour only": "It is not for this store.", "$10 off": ""}
    assert why["Harbour"] == {"Harbour only": "", "$10 off": ""}
    with pytest.raises(ledger.NotAvailable) as refused:
        shop.redeem(discount=only_there, order="T1", store_id=here.pk)
    assert refused.value.reason == "store"
    shop.redeem(order="T2", store_id=here.pk)
    shop.redeem(discount=only_there, order="T3", store_id=there.pk)
    assert shop.points() == 350


def test_lots_of_a_merged_shopper_follow_a_changed_expiry_also_after_a_split():
    """Spent by her, merged, the programme changed, split again, given back: the end is today's."""
    world = World(expire_days=30)
    world.buy("ada", "a", -20)
    world.buy("dee", "d", -20)
    discount = make_discount(world.account, points=100)
    account = world.account.pk
    taken = ledger.redeem(account_id=account, persona_id=world.people["dee"].pk, discount_id=discount.pk, n=0,
                          transaction="T", channel="till", now=timezone.now())  # fmt: skip
    with acting_in(account):
        made = merging.merge(account_id=account, one_id=world.people["ada"].pk, other_id=world.people["dee"].pk,
                             now=timezone.now())  # fmt: skip
    world.set(expire_days="")
    with acting_in(account):
        merging.split(account_id=account, merge_id=made.pk, user=world.user, now=timezone.now())
    assert Merge.unscoped.get().split_at
    ledger.revert(account_id=account, redemption_public_id=taken.redemption_id, now=timezone.now())
    assert (world.points("dee"), world.ends("dee")) == (100, [""]) and world.sound() == []


class TestWorthLessAfterItsPointsExpired:
    """Points that ended on their day are not taken a second time, out of somebody's other points."""

    def test_fault_6_4_a_sale_falls_and_rises_again(self):
        shop = Shop(points=0)
        ids = {"account_id": shop.account.pk}
        [sold] = make_sales(shop.account, 1)

        def settle(points, at):
            goal = target(sold, shop.ada.pk, points)
            ledger.settle_sales(**ids, targets=[replace(goal, expires_at=NOW + HOUR)], now=at)

        settle(100, NOW)
        shop.give(50)
        assert ledger.expire_due(now=NOW + HOUR) == 1
        settle(40, NOW + 2 * HOUR)
        assert lines(shop.ada)[2:] == [("expire", -100), ("expire", 60), ("earn", -60)]
        settle(0, NOW + 2 * HOUR)
        assert lines(shop.ada)[5:] == [("expire", 40), ("earn", -40)]
        settle(100, NOW + 3 * HOUR)  # and what it earns again ended long ago
        ledger.expire_due(now=NOW + 3 * HOUR)
        settle(30, NOW + 4 * HOUR)
        assert shop.points() == 50 and not Shortfall.unscoped.exists() and sound(shop.account) == []

    def test_what_was_spent_before_is_not_there_still(self):
        shop = Shop(points=0)
        [sold] = make_sales(shop.account, 1)
        goal = replace(target(sold, shop.ada.pk, 150), expires_at=NOW + 2 * HOUR)
        ledger.settle_sales(account_id=shop.account.pk, targets=[goal], now=NOW)
        shop.redeem(order="T", now=NOW + HOUR)  # 100 of it; 50 expire
        ledger.settle_sales(account_id=shop.account.pk, targets=[replace(goal, target=Decimal(0))], now=NOW + 3 * HOUR)
        assert Shortfall.unscoped.get().points == 100 and shop.points() == 0 and sound(shop.account) == []
