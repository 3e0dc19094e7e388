"""Refunds, voids and what people would make of them: nobody is richer by buying, redeeming and giving back."""

import random
from datetime import timedelta
from decimal import Decimal

import pytest
from django.urls import reverse

from integrations.kit.records import SaleRecord
from integrations.models import Origin
from integrations.sink import Batch, sink
from loyalty import earning, ledger, looking, refusals
from loyalty.models import Entry, Modifier, Persona, Programme, Redemption, SaleState, Shortfall
from tests.factories import make_discount, make_user
from tests.loyalty.api.till import Till
from tests.loyalty.test_release import DAY, HOUR, Shop, sold
from tests.records import NOON, land_sales, line, make_origin, refund, sale, the_sale

pytestmark = pytest.mark.django_db


@pytest.fixture
def shop():
    shop = Shop()
    yield shop
    assert shop.sound() == []


def policy(shop, refunds="keep", spent="keep"):
    Programme.unscoped.filter(account=shop.account).update(refunds=refunds, spent_on_refund=spent)


def bought(external_id="s", *lines, tax=0, number=None, discounts="[]", off=0, at=NOON, **fields):
    """A sale of these (sku, cents) with its details; `off` came off after tax, over all of it."""
    rows = tuple(line(n, cents, sku=sku) for n, (sku, cents) in enumerate(lines or (("A", 10000),), 1))
    net = sum(row.total_cents for row in rows) - off
    return sale(external_id, net=net, tax=tax, lines=rows, customer_id="c", has_details=True, discounts=discounts,
                number=number or external_id, sold_at=at, **fields)  # fmt: skip


def back(external_id, of, *lines, tax=0, off=0, at=NOON + 2 * DAY, **fields):
    rows = tuple(line(n, -cents, sku=sku) for n, (sku, cents) in enumerate(lines or (("A", 10000),), 1))
    net = -sum(row.total_cents for row in rows) - off
    return refund(external_id, of=of, net=net, tax=tax, lines=rows, customer_id="c", sold_at=at, **fields)


def earned(shop) -> Decimal:
    return sum(SaleState.unscoped.filter(account=shop.account).values_list("posted", flat=True), Decimal(0))


def listed(shop, kind, now):
    found = looking.sections(account_id=shop.account.pk, now=now)
    return next(section.cases for section in found if section.kind == kind)


class TestFarming:
    def round(self, shop, n, *, same_day=False):
        """Buy for 100.00, redeem 10.00 of it, and take all of it back."""
        day = NOON + 3 * n * DAY
        shop.redeem(f"T{n}", n=n, at=day)
        ten = '[{"name": "$10 off", "cents": 1000, "after_tax": true}]'
        shop.arrive(bought(f"s{n}", ("A", 10000), number=f"T{n}", discounts=ten, off=1000, at=day), now=day)
        at = day + (HOUR if same_day else DAY)
        shop.arrive(back(f"r{n}", f"s{n}", ("A", 10000), off=1000, at=at), now=at)

    @pytest.mark.parametrize("refunds", ["reverse", "reverse_full"])
    @pytest.mark.parametrize("same_day", [True, False])
    def test_fault_3_1_nobody_is_richer(self, shop, refunds, same_day):
        policy(shop, refunds, "reverse")
        for n in range(8):
            self.round(shop, n, same_day=same_day)
            assert (shop.points, earned(shop)) == (1000, 0)
        assert not Shortfall.unscoped.exists()

    def test_fault_3_1_spent_points_that_stay_spent_make_nobody_richer(self, shop):
        policy(shop, "reverse", "keep")
        for n in range(4):
            self.round(shop, n)
        assert shop.points == 1000 - 4 * 100 and len(listed(shop, "spent_refunded", NOON + 20 * DAY)) == 4

    def test_fault_3_1_a_voided_sale_never_earns_whatever_is_chosen(self, shop):
        for n in range(4):
            self.round(shop, n, same_day=True)
        assert (shop.points, earned(shop)) == (1000, 0)

    def test_fault_3_1_under_keep_each_time_is_listed_and_can_be_taken_back(self, shop):
        for n in range(5):
            self.round(shop, n)
            now = NOON + 3 * n * DAY + 2 * DAY
            assert len(listed(shop, "refund", now)) == n + 1
        user = make_user(shop.account)
        for case in listed(shop, "refund", now):
            assert looking.take_back(account_id=shop.account.pk, sale_id=case.sale_id, user=user, now=now).points == 90
        assert listed(shop, "refund", now) == [] and shop.points == 1000 - 5 * 100

    def test_fault_3_1_points_spent_before_the_refund_are_a_shortfall_each_time(self, shop):
        """Earned, spent elsewhere, then refunded: nothing is hidden in a balance, each round is listed."""
        policy(shop, "reverse", "reverse")
        shop.give(-1000, "empty")
        for n in range(3):
            day = NOON + 3 * n * DAY
            shop.arrive(bought(f"s{n}", at=day), now=day)
            shop.redeem(n=n, at=day + HOUR)
            shop.arrive(back(f"r{n}", f"s{n}", at=day + DAY), now=day + DAY)
            assert shop.points == 0 and len(listed(shop, "shortfall", day + DAY)) == n + 1


class TestPreset:
    """Fault 3.8: as Springbig does with Buddi."""

    def start(self, shop):
        policy(shop, "reverse_full", "reverse")
        shop.redeem("T1")
        ten = '[{"name": "$10 off", "cents": 1000, "after_tax": true}]'
        shop.arrive(bought("s", ("A", 6000), ("B", 4000), number="T1", discounts=ten, off=1000))
        assert shop.points == 990

    def test_fault_3_8_a_full_refund_gives_rewards_back_and_takes_earned(self, shop):
        self.start(shop)
        shop.arrive(back("r", "s", ("A", 6000), ("B", 4000), off=1000))
        assert shop.points == 1000 and Redemption.unscoped.get().why_ended == "refund"

    def test_fault_3_8_a_partial_one_leaves_both(self, shop):
        self.start(shop)
        shop.arrive(back("r", "s", ("A", 6000), off=600))
        assert shop.points == 990 and Redemption.unscoped.get().state == "settled"
        shop.arrive(back("q", "s", ("B", 4000), off=400))
        assert shop.points == 1000, "in two parts it is a full one"

    def test_fault_3_8_it_is_offered_and_saved(self, shop, client):
        client.force_login(make_user(shop.account))
        url = reverse("admin:programme")
        page = client.get(url).content.decode()
        assert "As Springbig does with Buddi" in page and page.count(">Chosen<") == 1
        form = client.get(f"{url}?refunds=full").context["form"]
        assert (form["refunds"].value(), form["spent_on_refund"].value()) == ("reverse_full", "reverse")
        saved = Programme.unscoped.get(account=shop.account)
        assert (saved.refunds, saved.spent_on_refund) == ("keep", "keep"), "only filled in"
        given = {
            name: "" if (value := field.value()) is None else value
            for name, field in ((name, form[name]) for name in form.fields)
        }
        given = {name: "on" if value is True else value for name, value in given.items() if value is not False}
        # Saved from the very page it was filled in on. It moves no balance here: no sale, nothing to count.
        assert client.post(f"{url}?refunds=full", given).status_code == 302
        open_change = client.get(reverse("admin:programme-change")).content.decode()
        saved.refresh_from_db()
        assert saved.spent_on_refund == "reverse"
        assert saved.refunds == "reverse_full" or "full refunds only" in open_change

    def test_nobody_without_the_right_is_offered_it(self, shop, client):
        client.force_login(make_user(shop.account, "analyst"))
        answer = client.get(f"{reverse('admin:programme')}?refunds=full")
        assert answer.status_code == 403 or "Fill in" not in answer.content.decode()


class TestLines:
    """A refund takes the lines it is about, not a share of all of them."""

    def modifier(self, shop, kind, sku, factor="1", **fields):
        return Modifier.unscoped.create(
            account=shop.account, name=kind, kind=kind, factor=Decimal(factor), skus=[sku], **fields
        )

    @pytest.mark.parametrize("which, points", [(("A", 6000), 40), (("B", 4000), 180)])
    def test_of_a_multiplied_line(self, shop, which, points):
        policy(shop, "reverse")
        self.modifier(shop, "multiplier", "A", "3")
        shop.arrive(bought("s", ("A", 6000), ("B", 4000)))
        assert earned(shop) == 220
        shop.arrive(back("r", "s", which))
        assert earned(shop) == points

    @pytest.mark.parametrize("which, points", [(("A", 6000), 40), (("B", 4000), 0)])
    def test_of_a_line_without_points(self, shop, which, points):
        policy(shop, "reverse")
        self.modifier(shop, "zero", "A")
        shop.arrive(bought("s", ("A", 6000), ("B", 4000)))
        shop.arrive(back("r", "s", which))
        assert earned(shop) == points

    def test_with_a_discount_over_the_sale(self, shop):
        """10.00 off 100.00 after tax: 60.00 of A cost 54.00, B 36.00. A comes back with its part of the discount."""
        policy(shop, "reverse")
        self.modifier(shop, "multiplier", "A", "2")
        shop.arrive(bought("s", ("A", 6000), ("B", 4000), off=1000))
        assert earned(shop) == 54 * 2 + 36
        shop.arrive(back("r", "s", ("A", 6000), off=600))
        assert earned(shop) == 36

    def test_in_parts_down_to_nothing_and_back(self, shop):
        policy(shop, "reverse")
        self.modifier(shop, "multiplier", "A", "3")
        shop.arrive(bought("s", ("A", 3000), ("A", 3000), ("B", 4000)))
        worth = [earned(shop)]
        for n, part in enumerate([("A", 3000), ("B", 4000), ("A", 3000)]):
            shop.arrive(back(f"r{n}", "s", part))
            worth.append(earned(shop))
        shop.arrive(bought("u", ("A", 3000), at=NOON + 3 * DAY, original_id="r0"))
        assert [*worth, earned(shop)] == [220, 130, 90, 0, 90]

    def test_money_back_for_goods_that_stay(self, shop):
        """A refund whose lines are none of the sale's: its part lies on all of them."""
        policy(shop, "reverse")
        self.modifier(shop, "multiplier", "A", "2")
        shop.arrive(bought("s", ("A", 5000), ("B", 5000)))
        shop.arrive(back("r", "s", ("GOODWILL", 2000)))
        assert earned(shop) == 40 * 2 + 40

    def test_under_keep_every_line_counts_in_full(self, shop):
        self.modifier(shop, "multiplier", "A", "3")
        shop.arrive(bought("s", ("A", 6000), ("B", 4000)))
        shop.arrive(back("r", "s", ("A", 6000)))
        assert earned(shop) == 220

    def test_a_boost_goes_with_the_line_it_was_given_for(self, shop):
        policy(shop, "reverse")
        self.modifier(shop, "boost", "A", points=50, with_sale=True)
        shop.arrive(bought("s", ("A", 6000), ("B", 4000)))
        assert shop.points == 1150
        shop.arrive(back("r", "s", ("A", 3000)))
        assert shop.points == 1120, "half of it is still there"
        shop.arrive(back("q", "s", ("A", 3000)))
        assert shop.points == 1040

    def test_fault_3_6_a_voided_line_earns_nothing(self, shop):
        """Taken off before or after the sale was read, or returned on the same receipt."""
        self.modifier(shop, "multiplier", "A", "2")
        shop.arrive(bought("s", ("A", 6000), ("B", 4000)))
        shop.arrive(bought("s", ("B", 4000)))
        assert earned(shop) == 40
        shop.arrive(bought("t", ("A", 6000), ("B", 4000), ("A", -6000)))
        assert earned(shop) == 40 + 40, "what was paid is B's"

    def test_fault_3_6_nor_is_it_worth_a_boost(self, shop):
        self.modifier(shop, "boost", "A", points=50, with_sale=True)
        shop.arrive(bought("s", ("A", 6000), ("B", 4000), ("A", -6000)))
        assert shop.points == 1040
        shop.arrive(bought("t", ("A", 0), ("B", 4000)))
        assert shop.points == 1000 + 80 + 50, "a free one is one"


class TestVoids:
    @pytest.mark.parametrize("how", ["refunded the same day", "edited to nothing", "without its customer"])
    def test_fault_3_5_a_sale_that_is_none_any_more_leaves_no_points(self, shop, how):
        Modifier.unscoped.create(account=shop.account, name="b", kind="boost", points=50, with_sale=True)
        shop.redeem("T1")
        first = bought("s", number="T1", discounts='[{"name": "$10 off", "cents": 1000}]')
        shop.arrive(first)
        assert shop.points == 1000 - 100 + 100 + 50
        shop.arrive(
            back("r", "s", at=NOON + HOUR) if how == "refunded the same day"
            else bought("s", ("A", 0), number="T1") if how == "edited to nothing"
            else first._replace(customer_id="")
        )  # fmt: skip
        assert earned(shop) == 0
        # Without its customer it is still the sale that carried the discount.
        assert Redemption.unscoped.get().state == ("settled" if "customer" in how else "released")
        assert shop.points == (900 if "customer" in how else 1000)


class TestRefundsOfEverything:
    @pytest.mark.parametrize("refunds, worth", [("keep", 100), ("reverse", 100), ("reverse_full", 100)])
    def test_of_a_refund(self, shop, refunds, worth):
        policy(shop, refunds, "reverse")
        shop.arrive(bought("s"))
        shop.arrive(back("r", "s"))
        shop.arrive(bought("u", at=NOON + 3 * DAY, original_id="r"))
        assert earned(shop) == worth, "neither the refund nor what takes it back earns anything"

    @pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 2, 0), (1, 0, 2)])
    def test_in_any_order(self, shop, order):
        policy(shop, "reverse")
        records = [bought("s", ("A", 6000), ("B", 4000)), back("r", "s", ("A", 6000)), back("q", "s", ("B", 1000))]
        for n in order:
            shop.arrive(records[n])
        assert earned(shop) == 30

    def test_larger_than_the_sale(self, shop):
        policy(shop, "reverse", "reverse")
        shop.arrive(bought("s", ("A", 5000)))
        shop.arrive(back("r", "s", ("A", 9000)))
        assert (earned(shop), shop.points) == (0, 1000) and not Shortfall.unscoped.exists()

    def test_of_somebody_elses_sale_number(self, shop):
        """A refund that names no sale we know moves nobody's points."""
        shop.arrive(bought("s"))
        shop.arrive(back("r", "unknown"))
        assert earned(shop) == 100


def test_a_month_read_again_writes_nothing(shop):
    """Shuffled, doubled, in pages of another size: not one entry, state or redemption changes."""
    policy(shop, "reverse", "reverse")
    Modifier.unscoped.create(account=shop.account, name="x2", kind="multiplier", factor=2, skus=["A"])
    Modifier.unscoped.create(account=shop.account, name="b", kind="boost", points=50, with_sale=True)
    Programme.unscoped.update(points_per_order=5, max_visits_per_day=2)
    shop.give(1000, "more")
    chance, month = random.Random(20), []
    for n in range(60):
        day = NOON + timedelta(hours=12 * n)
        ten = '[{"name": "$10 off", "cents": 1000, "after_tax": true}]'
        with_it = n % 5 == 0
        if with_it:
            shop.redeem(f"T{n}", n=n // 5, at=day)
        month.append(bought(f"s{n}", ("A", 3000 + 10 * n), ("B", 2000), number=f"T{n}", at=day,
                            **({"discounts": ten, "off": 1000} if with_it else {})))  # fmt: skip
        if n % 4 == 1:
            month.append(back(f"r{n}", f"s{n}", ("B", 2000), at=day + DAY))
        if n % 10 == 5:
            month.append(back(f"r{n}x", f"s{n}", ("A", 3000 + 10 * n), ("B", 0 if n % 4 == 1 else 2000), off=1000,
                              at=day + 2 * HOUR))  # fmt: skip
    chance.shuffle(month)
    shop.arrive(*month)

    def everything():
        return [
            list(Entry.unscoped.order_by("id").values_list("id", "key", "points")),
            list(SaleState.unscoped.order_by("sale_id").values_list("sale_id", "posted", "posts", "persona_id")),
            list(Redemption.unscoped.order_by("id").values()),
        ]

    before = everything()
    assert len(before[0]) > 70 and Redemption.unscoped.filter(state="settled").count() > 3
    for seed in range(6):
        again = random.Random(seed).sample(month, len(month)) + random.Random(seed).sample(month, 30)
        for start in range(0, len(again), 7 + 10 * seed):
            part = again[start : start + 7 + 10 * seed]
            landed = land_sales(shop.origin, *part)
            assert (landed.new, landed.changed) == ([], [])
            # And as though they had changed: the sink is told of every one of them.
            ids = list(SaleState.unscoped.filter(sale__external_id__in=[one.external_id for one in part])
                       .values_list("sale_id", flat=True))  # fmt: skip
            later = NOON + 40 * DAY
            sink().landed(Batch(shop.account.pk, shop.origin.pk, SaleRecord, [], ids, later))
    assert everything() == before
    assert earning.out_of_date(account_id=shop.account.pk) == 0


WAYS = ("till", "web shop", "staff's page", "look at")


@pytest.mark.parametrize("second", WAYS)
@pytest.mark.parametrize("first", WAYS)
def test_fault_4_4_one_balance_whatever_the_points_are_spent_by(client, first, second):
    """100 points, two documents: the second finds nothing left, and each took by the one way there is."""
    till = Till(points=100)
    discounts = {way: make_discount(till.account, name=way, points=100) for way in WAYS}
    user = make_user(till.account)
    client.force_login(user)

    def spend(way):
        discount = discounts[way]
        if way == "staff's page":
            url = reverse("admin:persona-redeem", args=[till.persona.contact_id, discount.pk, n[way]])
            return client.post(url)
        if way == "look at":
            return spend_by_hand(till, discount, user)
        return till.call("PUT", urls[way] + ("/T1" if way == "till" else ""))

    n = dict.fromkeys(WAYS, 0)
    urls = {way: till.url(discount) for way, discount in discounts.items()}
    spend(first)
    assert till.balance == 0
    if first == second:
        n[second] = 1
        till.give(0)
    spend(second)
    assert till.balance == 0
    assert list(Entry.unscoped.filter(points__lt=0).values_list("kind", "points")) == [("redeem", -100)]
    assert Redemption.unscoped.count() == 1


def spend_by_hand(till, discount, user):
    """A discount that the till gave without us, taken by staff afterwards."""
    origin = Origin.unscoped.filter(account=till.account).first() or make_origin(till.account)
    land_sales(origin, sale("s", discounts=f'[{{"name": "{discount.name}", "cents": 1000}}]', has_details=True))
    state, _ = SaleState.unscoped.get_or_create(
        account=till.account, sale=the_sale(origin, "s"), defaults={"persona": Persona.unscoped.get(pk=till.persona.pk)}
    )
    try:
        return looking.take_for_sale(
            account_id=till.account.pk, sale_id=state.sale_id, discount_id=discount.pk, user=user, now=NOON + DAY
        )
    except refusals.Refusal as refused:
        return refused


@pytest.mark.parametrize("after_tax", [True, False])
def test_fault_4_10_points_are_earned_on_what_was_paid(shop, after_tax):
    """A reward of 10.00 on 100.00: points on 90.00, whether the till takes it off before or after tax."""
    shop.redeem("T1")
    ten = f'[{{"name": "$10 off", "cents": 1000, "after_tax": {str(after_tax).lower()}}}]'
    one = bought("s", ("A", 10000), number="T1", discounts=ten, off=1000) if after_tax else (
        bought("s", ("A", 9000), number="T1", discounts=ten))  # fmt: skip
    shop.arrive(one)
    assert earned(shop) == 90 and shop.points == 1000 - 100 + 90
    assert "$90.00" in earning.sentence(SaleState.unscoped.get().explanation)


def test_fault_4_10_a_sale_that_a_reward_paid_in_full(shop):
    shop.redeem("T1")
    shop.arrive(sold(net=0, tax=0, lines=(line(1, 0),)))
    assert earned(shop) == 0 and shop.points == 900
    assert ledger.spendable_points(shop.account.pk, shop.persona.pk, NOON) == 900
