"""The life of a redemption: every turn it can take, every turn the database refuses, and which sale is its own."""

from datetime import timedelta

import pytest
from django.db import IntegrityError, connection, transaction

from integrations.kit.records import SaleRecord
from integrations.models import Credential, Location, Sale
from integrations.sink import Batch, sink
from loyalty import ledger, reconcile
from loyalty.models import Persona, Programme, Redemption, Shortfall
from stores.models import StoreMapping
from tests.factories import make_discount, make_store
from tests.loyalty.test_release import DAY, HOUR, Shop, sold
from tests.records import NOON, customer, land_customers, land_sales, line, refund, sale

READ = NOON + 30 * HOUR  # every sale up to here is known


@pytest.fixture
def shop(db):
    shop = Shop()
    yield shop
    assert shop.sound() == []


def row(n=0) -> Redemption:
    return Redemption.unscoped.order_by("id")[n]


def state(n=0) -> tuple[str, str, str]:
    one = row(n)
    return one.state, one.matched_by, one.why_ended


def lines(n=0) -> list[int]:
    return [
        int(points) for points in row(n).entries(manager="unscoped").order_by("id").values_list("points", flat=True)
    ]


def ten(name="$10 off", cents=1000, after_tax=False) -> str:
    return f'[{{"name": "{name}", "cents": {cents}, "after_tax": {str(after_tax).lower()}}}]'


def released(shop, now=READ):
    shop.read(now)
    return reconcile.release_due(now=now)


class TestTurns:
    def test_the_straight_way(self, shop):
        shop.redeem("T1")
        assert state() == ("applied", "", "") and lines() == [-100]
        shop.arrive(sold())
        assert state() == ("settled", "transaction", "") and row().settled_at == NOON and lines() == [-100]

    def test_no_sale_then_it_comes_late_and_some_is_spent(self, shop):
        shop.redeem("T1")
        assert released(shop) == 1 and state() == ("released", "", "no_sale") and lines() == [-100, 100]
        shop.give(-960, "elsewhere")
        shop.arrive(sold(net=0, tax=0, lines=()), now=READ + HOUR)
        assert state() == ("settled", "transaction", "") and lines() == [-100, 100, -40]
        short = Shortfall.unscoped.get()
        assert (short.points, short.state, short.redemption_id) == (60, "open", row().pk) and shop.points == 0

    def test_later_than_eight_days_it_stays_released(self, shop):
        shop.redeem("T1")
        released(shop)
        shop.arrive(sold(), now=READ + 9 * DAY)
        assert state()[0] == "released"

    def test_a_void_and_a_void_taken_back(self, shop):
        shop.redeem("T1")
        shop.arrive(sold())
        shop.arrive(refund("r", of="s", customer_id="c", sold_at=NOON + HOUR))
        assert state()[2] == "voided" and shop.points == 1000
        for _ in range(2):
            shop.arrive(refund("r", of="s", customer_id="c", sold_at=NOON + HOUR, employee_name="Sam"))
            assert state()[2] == "voided" and lines() == [-100, 100]
        shop.arrive(sold("u", "[]", "T9", original_id="r", sold_at=NOON + 2 * HOUR))
        assert state()[0] == "settled" and lines() == [-100, 100, -100] and shop.points == 1000

    def test_a_refund_under_reverse_and_the_refund_taken_back(self, shop):
        Programme.unscoped.filter(account=shop.account).update(refunds="reverse", spent_on_refund="reverse")
        shop.redeem("T1")
        shop.arrive(sold())
        shop.arrive(refund("r", of="s", customer_id="c", sold_at=NOON + 2 * DAY))
        assert state()[::2] == ("released", "refund") and shop.points == 1000
        shop.arrive(sold("u", "[]", "T9", original_id="r", sold_at=NOON + 2 * DAY + HOUR))
        assert state()[0] == "settled" and shop.points == 1000, "the goods are out again: earned 100, spent 100"

    def test_an_edit_takes_the_discount_away_and_brings_it_back(self, shop):
        shop.redeem("T1")
        for n in range(3):
            shop.arrive(sold(employee_name=f"a{n}"))
            assert state()[0] == "settled"
            shop.arrive(sold(discounts="[]", employee_name=f"b{n}"))
            assert state()[::2] == ("released", "without_discount")
        assert lines() == [-100, 100] * 3

    def test_by_hand_too_an_edit_counts(self, shop):
        shop.redeem()
        shop.arrive(sold())
        shop.arrive(sold(discounts="[]"))
        shop.arrive(sold(discounts=ten("Something else", 300)))
        assert state()[0] == "released", "another discount is not its own"
        shop.arrive(sold(net=9000))
        assert state() == ("settled", "name", "")

    def test_the_tills_revert_is_the_end(self, shop):
        made = shop.redeem("T1")
        ledger.revert(account_id=shop.account.pk, redemption_public_id=made.redemption_id, now=NOON, why="till")
        shop.arrive(sold())
        assert state() == ("reverted", "", "till") and shop.points == 1100, "given back, and earned on the sale"

    def test_taken_off_and_added_again_is_a_new_use(self, shop):
        made = shop.redeem("T1")
        ledger.revert(account_id=shop.account.pk, redemption_public_id=made.redemption_id, now=NOON, why="till")
        shop.redeem("T1", n=1)
        shop.arrive(sold())
        assert [state(0)[0], state(1)[0]] == ["reverted", "settled"] and shop.points == 1000

    def test_a_web_use_waits_when_a_till_names_the_order(self, shop):
        one = {"account_id": shop.account.pk, "persona_id": shop.persona.pk, "discount_id": shop.discount.pk, "n": 0,
               "channel": "web", "now": NOON}  # fmt: skip
        ledger.redeem(**one, transaction="")
        assert state()[0] == "settled"
        ledger.redeem(**one, transaction="T1")
        assert state()[0] == "applied" and row().settled_at is None
        shop.arrive(sold())
        assert state()[0] == "settled" and lines() == [-100]


class TestRefusedByTheDatabase:
    """Whatever the code asks for: states and what they say of sale, times and points."""

    LIVE = {"ended_at": None, "why_ended": ""}
    ENDED = {"ended_at": READ, "reverted_points": 100, "why_ended": "till"}
    WAYS = {
        "applied": {"sale": None, "settled_at": None, "reverted_points": 0} | LIVE,
        "settled": {"settled_at": NOON, "reverted_points": 0} | LIVE, "released": ENDED, "reverted": ENDED,
    }  # fmt: skip
    MAY = {("applied", "settled"), ("applied", "released"), ("applied", "reverted"), ("settled", "released"),
           ("settled", "reverted"), ("released", "settled")}  # fmt: skip

    def put(self, **fields):
        """Past every verb, undone at once: whether the database allows it."""
        try:
            with transaction.atomic():
                Redemption.unscoped.filter(pk=row().pk).update(**fields)
                transaction.set_rollback(True)
        except IntegrityError as error:
            return str(error)
        return ""

    def bring(self, shop, to):
        made = shop.redeem("T1")
        if to == "settled":
            shop.arrive(sold())
        elif to != "applied":
            ledger.revert(account_id=shop.account.pk, redemption_public_id=made.redemption_id, now=NOON, to_state=to)

    @pytest.mark.parametrize("before", WAYS)
    @pytest.mark.parametrize("after", WAYS)
    def test_turns(self, shop, before, after):
        self.bring(shop, before)
        said = self.put(state=after, **self.WAYS[after])
        if before == after or (before, after) in self.MAY:
            assert said == ""
        else:
            assert f"cannot go from {before} to {after}" in said

    @pytest.mark.parametrize("at, fields, rule", [
        ("applied", {"sale": "s"}, "redemption_applied"), ("applied", {"settled_at": NOON}, "redemption_applied"),
        ("applied", {"ended_at": NOON}, "redemption_ended"), ("applied", {"why_ended": "till"}, "redemption_ended"),
        ("settled", {"settled_at": None}, "redemption_settled"), ("settled", {"ended_at": NOON}, "redemption_ended"),
        ("released", {"ended_at": None}, "redemption_ended"), ("reverted", {"reverted_points": 99}, "redemption_ended"),
        ("applied", {"reverted_points": 101}, "redemption_reverted"), ("applied", {"points": 99}, "never changes"),
        ("applied", {"n": 7}, "never changes"), ("settled", {"applied_at": READ}, "never changes"),
    ])  # fmt: skip
    def test_what_a_state_says(self, shop, at, fields, rule):
        self.bring(shop, at)
        if "sale" in fields:
            land_sales(shop.origin, sale("s"))
            fields = {"sale": Sale.unscoped.get()}
        assert rule in self.put(**fields)

    def test_one_sale_for_one_use_of_a_discount(self, shop):
        shop.redeem("T1")
        shop.redeem("T2", n=1)
        shop.arrive(sold())
        first, second = row(0), row(1)
        asked = {"account_id": shop.account.pk, "redemption_id": second.pk, "sale_id": first.sale_id, "now": NOON}
        assert not ledger.settle_redemption(**asked) and not ledger.settle_again(**asked)
        with pytest.raises(IntegrityError, match="redemption_sale_once"), transaction.atomic():
            Redemption.unscoped.filter(pk=second.pk).update(state="settled", settled_at=NOON, sale_id=first.sale_id)

    def test_control_without_the_trigger_it_would_pass(self, shop):
        self.bring(shop, "reverted")
        with connection.cursor() as cursor:
            cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")
            cursor.execute("ALTER TABLE loyalty_redemption DISABLE TRIGGER loyalty_redemption_life")
        assert self.put(state="settled", **self.WAYS["settled"]) == ""


class TestWhichSale:
    def test_another_shoppers_sale_with_the_same_number(self, shop):
        landed = land_customers(shop.origin, customer("d", first_name="Eve", phone="+16045550199"))
        sink().landed(Batch(shop.account.pk, shop.origin.pk, type(customer("d")), landed.new, [], NOON))
        shop.redeem("T1")
        shop.arrive(sold("other")._replace(customer_id="d"))
        assert state()[0] == "applied"
        shop.arrive(sold("mine", number="IN-7", receipt="T1", sold_at=NOON + HOUR))
        assert state()[:2] == ("settled", "transaction") and row().sale.external_id == "mine"

    def test_an_old_sale_with_the_same_number(self, shop):
        shop.redeem("T1")
        shop.arrive(sold("old", sold_at=NOON - 40 * DAY))
        assert state()[0] == "applied"

    def test_a_number_decides_whatever_the_discount_is_called_and_wherever(self, shop):
        place = Location.unscoped.get(origin=shop.origin)
        elsewhere = make_store(shop.account, "Elsewhere")
        StoreMapping.unscoped.create(account=shop.account, location=place, store=make_store(shop.account, "Here"))
        shop.redeem("T1", store_id=elsewhere.pk)
        shop.arrive(sold(discounts=ten("typed", 777), sold_at=NOON + 20 * HOUR))
        assert state()[:2] == ("settled", "transaction")

    def test_a_place_that_is_not_mapped_fits_every_store(self, shop):
        shop.redeem(store_id=make_store(shop.account).pk)
        shop.arrive(sold())
        assert state()[:2] == ("settled", "name")

    def test_without_a_number_another_store_is_not_it(self, shop):
        place = Location.unscoped.get(origin=shop.origin)
        StoreMapping.unscoped.create(account=shop.account, location=place, store=make_store(shop.account, "Here"))
        shop.redeem(store_id=make_store(shop.account, "There").pk)
        shop.arrive(sold())
        assert state()[0] == "applied"

    def test_two_candidates_in_two_pages_are_never_guessed(self, shop):
        """A page that brings one of them again does not make it the only one."""
        shop.redeem()
        shop.arrive(sold("s"), sold("t", number="T2"))
        shop.arrive(sold("t", number="T2", employee_name="Sam"))
        assert state()[0] == "applied"
        assert released(shop) == 0 and state()[0] == "applied", "nor is it released: one of them was its own"
        told = reconcile.doubts(account_id=shop.account.pk, redemption_ids=[row().pk], now=READ)
        assert "2 sales carry this discount" in told[row().pk]

    def test_two_redemptions_of_one_sale_wait_until_one_is_given_back(self, shop):
        made = shop.redeem()
        shop.redeem(n=1)
        shop.arrive(sold())
        assert released(shop) == 0 and [state(0)[0], state(1)[0]] == ["applied", "applied"]
        ledger.revert(account_id=shop.account.pk, redemption_public_id=made.redemption_id, now=READ, why="staff")
        assert released(shop) == 0 and state(1)[:2] == ("settled", "name")

    @pytest.mark.parametrize("names, states", [
        ("Ten,Five", ["settled", "settled"]), ("Ten", ["settled", "released"]), ("Five", ["released", "settled"]),
        ("typed,typed", ["settled", "settled"]), ("typed", ["applied", "applied"]), ("", ["released", "released"]),
    ])  # fmt: skip
    def test_two_redemptions_on_one_order(self, shop, names, states):
        """As many discounts as the sale carries, by their names; fewer without a name: nobody guesses."""
        for name, cents in (("Ten", 1000), ("Five", 500)):
            shop.discount = make_discount(shop.account, name=name, cents=cents, stackable=True)
            shop.redeem("T1", per_order=9)
        rows = ", ".join(f'{{"name": "{name}", "cents": 123}}' for name in names.split(",") if name)
        shop.arrive(sold(discounts=f"[{rows}]"))
        assert [state(0)[0], state(1)[0]] == states
        if states[0] == "applied":
            assert released(shop) == 0
            told = reconcile.doubts(account_id=shop.account.pk, redemption_ids=[row().pk], now=READ)
            assert "fewer discounts" in told[row().pk]

    @pytest.mark.parametrize("after_tax", [True, False])
    def test_before_or_after_tax_is_as_the_till_decides(self, shop, after_tax):
        shop.redeem("T1")
        shop.arrive(sold(discounts=ten("typed", 1000, after_tax)))
        assert row().after_tax is after_tax

    @pytest.mark.parametrize("cents, after_tax, known", [
        (1765, False, True), (1500, True, True), (1680, True, True), (1500, False, False), (1501, True, True),
        (1700, True, False),
    ])  # fmt: skip
    def test_a_percentage_before_and_after_tax(self, shop, cents, after_tax, known):
        """The lines come to 100.00 and 12.00 tax; before tax they stand after the discount."""
        shop.discount = make_discount(shop.account, percent=15, name="Fifteen")
        shop.redeem()
        shop.arrive(sold(discounts=ten("typed", cents, after_tax)))
        assert state()[:2] == (("settled", "amount") if known else ("applied", ""))

    def test_a_discount_larger_than_the_cart(self, shop):
        shop.redeem()
        shop.arrive(sold(discounts=ten("typed", 800), net=0, tax=0, lines=(line(1, 0),)))
        assert state()[:2] == ("settled", "amount")

    def test_a_sale_whose_details_were_not_read_is_no_evidence(self, shop):
        shop.redeem("T1")
        shop.arrive(sale("s", customer_id="c", number="T1"))
        assert released(shop) == 0 and state()[0] == "applied"
        told = reconcile.doubts(account_id=shop.account.pk, redemption_ids=[row().pk], now=READ)
        assert "T1, which has its order's number, were not read" in told[row().pk]
        shop.arrive(sold())
        assert state()[0] == "settled"

    def test_by_hand_neither(self, shop):
        shop.redeem()
        shop.arrive(sale("s", customer_id="c", number="IN-5"))
        assert released(shop) == 0
        told = reconcile.doubts(account_id=shop.account.pk, redemption_ids=[row().pk], now=READ)
        assert "IN-5 of that time" in told[row().pk]


class TestUnknownNumber:
    """The till's number is on no sale: its number in the POS may be another, or the order never became a sale."""

    def test_a_till_whose_numbers_are_never_found_meets_by_the_discount(self, shop):
        shop.redeem("9f3c-11")
        shop.arrive(sold(number="IN-1"))
        assert state()[0] == "applied", "not before every sale of the time is known: its own may be on the way"
        assert released(shop) == 0 and state() == ("settled", "name", "") and shop.points == 1000

    def test_where_numbers_are_found_the_number_decides(self, shop):
        shop.redeem("T1")
        shop.arrive(sold())
        shop.redeem("T2", n=1, at=NOON + HOUR)
        shop.arrive(sold("t", number="T3", sold_at=NOON + HOUR))
        assert released(shop) == 1
        assert [state(0)[0], state(1)[::2]] == ["settled", ("released", "no_sale")]

    def test_a_number_on_somebody_elses_sale_is_found_too(self, shop):
        shop.redeem("T1")
        shop.arrive(sold("theirs")._replace(customer_id=""), sold("mine", number="T2"))
        assert released(shop) == 1 and state()[2] == "no_sale"

    def test_another_orders_sale_is_not_taken(self, shop):
        """T2's sale is T2's, also by amount: the shopper's first order was cancelled."""
        shop.redeem("T1")
        shop.discount = make_discount(shop.account, name="Other", cents=1000)
        shop.redeem("T2", at=NOON + HOUR)
        shop.arrive(sold("t", ten("Other"), number="T2", sold_at=NOON + HOUR))
        assert state(1)[0] == "settled" and released(shop) == 1 and state(0)[2] == "no_sale"

    @pytest.mark.parametrize("blind", [True, False])
    def test_two_candidates_or_one_unread_wait(self, shop, blind):
        shop.redeem("9f3c-11")
        other = sale("t", customer_id="c", number="IN-2") if blind else sold("t", number="IN-2")
        shop.arrive(sold(number="IN-1"), other)
        assert released(shop) == 0 and state()[0] == "applied"


def test_details_are_asked_for_who_has_an_open_or_lately_released_one(shop):
    def wanted():
        return sink().wants_details(origin_id=shop.origin.pk, customers=["c"], locations=[], since=None)

    assert wanted() == set()
    made = shop.redeem("T1")
    assert wanted() == {"c"}
    ledger.revert(account_id=shop.account.pk, redemption_public_id=made.redemption_id, now=NOON, why="till")
    assert wanted() == set()


class TestEvidence:
    def test_frozen_is_none(self, shop):
        shop.redeem("T1")
        shop.read(READ)
        Credential.unscoped.update(state="disconnected")
        assert reconcile.release_due(now=READ) == 0 and state()[0] == "applied"

    def test_a_store_without_a_mapped_place_is_none(self, shop):
        shop.redeem("T1", store_id=make_store(shop.account).pk)
        assert released(shop) == 0
        seen = reconcile.evidence(account_id=shop.account.pk, store_id=row().store_id, moment=NOON)
        assert not seen.ok and seen.waiting

    def test_read_again_nothing_is_written(self, shop):
        """The same sales landed again, whole and in parts, by any number of readings."""
        shop.redeem("T1")
        shop.redeem(n=1, at=NOON + 2 * HOUR)
        batch = [sold(), sold("t", "[]", "T2"), refund("r", of="t", customer_id="c", sold_at=NOON + HOUR)]
        shop.arrive(*batch)
        before = list(Redemption.unscoped.order_by("id").values())
        for part in (batch, batch[::-1], batch[1:], batch[:1]):
            ids = [one.pk for one in Sale.unscoped.filter(external_id__in=[record.external_id for record in part])]
            sink().landed(Batch(shop.account.pk, shop.origin.pk, SaleRecord, [], ids, NOON + timedelta(minutes=9)))
        assert list(Redemption.unscoped.order_by("id").values()) == before


def test_a_customer_who_comes_after_the_sale(shop):
    shop.redeem("T1")
    shop.arrive(sold()._replace(customer_id="late"))
    landed = land_customers(shop.origin, customer("late", phone="+16045550142"))
    sink().landed(Batch(shop.account.pk, shop.origin.pk, type(customer("c")), landed.new, [], NOON))
    assert state()[0] == "settled" and Persona.unscoped.filter(merged_into=None).count() == 1
