"""Giving back: whole, in part, by line, after merges and splits, and taken once more when the sale came late."""

from decimal import Decimal

import pytest

from integrations.models import SaleLine
from loyalty import audits, ledger
from loyalty.models import Entry, Lot, Shortfall

from ..factories import make_discount, make_persona
from .ledger_sales import make_sales
from .people_at_till import DAY, HOUR, NOW, Shop

pytestmark = pytest.mark.django_db


@pytest.fixture
def shop(db):
    shop = Shop()
    yield shop
    assert audits.violations() == []


def settled(shop, *cents: int, **options):
    """A redemption whose sale has lines of so many cents."""
    made = shop.redeem(order="T1", **options)
    [sale] = make_sales(shop.account, 1)
    for number, total in enumerate(cents, 1):
        SaleLine.unscoped.create(
            account=shop.account, sale_id=sale, number=number, quantity=1, list_price=0, unit_price=0, total_cents=total
        )
    assert ledger.settle_redemption(
        account_id=shop.account.pk, redemption_id=shop.row(made).pk, sale_id=sale, now=NOW, matched_by="name",
        after_tax=True,
    )  # fmt: skip
    return made


class TestWhy:
    def test_how_it_was_settled_stays(self, shop):
        row = shop.row(settled(shop))
        assert (row.state, row.matched_by, row.after_tax) == ("settled", "name", True)

    def test_why_is_kept_when_it_has_ended_not_before(self, shop):
        made = shop.redeem(order="T1")
        shop.revert(made, 40, why="refund")
        assert (shop.row(made).state, shop.row(made).why_ended) == ("applied", "")
        shop.revert(made, why="staff", now=NOW + HOUR)
        row = shop.row(made)
        assert (row.state, row.why_ended, row.ended_at) == ("reverted", "staff", NOW + HOUR)
        shop.revert(made, why="till", now=NOW + DAY)
        assert shop.row(made).why_ended == "staff", "a repetition changes nothing"

    def test_only_while_it_is_in_that_state(self, shop):
        made = settled(shop)
        answer = shop.revert(made, only="applied", to_state="released", why="no_sale")
        assert (answer.created, answer.points, answer.state) == (False, 0, "settled") and shop.points() == 400


class TestLines:
    def shares(self, shop, made, count) -> list[int]:
        return [
            int(100 * ledger.revert_line(
                account_id=shop.account.pk, redemption_public_id=made.redemption_id, line=line, now=NOW
            ).points)
            for line in range(1, count + 1)
        ]  # fmt: skip

    def test_all_lines_together_are_what_was_taken(self, shop):
        made = settled(shop, 1000, 1000, 1000)
        assert self.shares(shop, made, 3) == [3334, 3333, 3333]
        assert shop.points() == 500 and shop.row(made).state == "reverted" and shop.row(made).why_ended == "refund"

    def test_a_line_once(self, shop):
        made = settled(shop, 3000, 1000)
        assert self.shares(shop, made, 1) == self.shares(shop, made, 1) == [7500]
        assert shop.points() == 475
        assert Entry.unscoped.get(kind="reverse").key == f"revert:{shop.row(made).pk}:line:1"

    def test_never_more_than_is_left(self, shop):
        made = settled(shop, 3000, 1000)
        shop.revert(made, 90)
        assert self.shares(shop, made, 1) == [1000]
        with pytest.raises(ledger.NothingToRevert):
            self.shares(shop, made, 2)
        assert shop.points() == 500

    @pytest.mark.parametrize("line", [2, 3, 99])
    def test_lines_that_have_no_share(self, shop, line):
        made = settled(shop, 3000, 0, -500)
        with pytest.raises(ledger.NothingToRevert):
            ledger.revert_line(
                account_id=shop.account.pk, redemption_public_id=made.redemption_id, line=line, now=NOW
            )  # fmt: skip
        assert shop.points() == 400

    def test_without_a_sale_there_are_no_lines(self, shop):
        with pytest.raises(ledger.NothingToRevert):
            self.shares(shop, shop.redeem(order="T1"), 1)

    def test_a_redemption_of_another_account(self, shop):
        made = settled(shop, 1000)
        with pytest.raises(ledger.UnknownRedemption):
            ledger.revert_line(
                account_id=Shop().account.pk, redemption_public_id=made.redemption_id, line=1, now=NOW
            )  # fmt: skip

    def test_taken_once_more_its_lines_can_be_given_back_once_more(self, shop):
        made = settled(shop, 3000, 1000)
        assert self.shares(shop, made, 1) == [7500]
        sale = shop.row(made).sale_id
        shop.revert(made, to_state="released", why="voided")
        assert ledger.settle_again(account_id=shop.account.pk, redemption_id=shop.row(made).pk, sale_id=sale, now=NOW)
        assert self.shares(shop, made, 2) == [7500, 2500] and shop.points() == 500


class TestMoved:
    def test_points_follow_a_merge_at_once(self, shop):
        shop.give(300, shop.eve)
        made = shop.redeem(shop.eve)
        shop.merge()
        assert shop.revert(made, now=NOW + HOUR).balance == 800
        assert (shop.points(), shop.points(shop.eve)) == (800, 0)

    def test_points_follow_a_split_at_once(self, shop):
        shop.give(-500)
        shop.give(300, shop.eve)
        merge = shop.merge()
        made = shop.redeem()  # of eve's points, by ada's row
        shop.split(merge)
        assert (shop.points(), shop.points(shop.eve)) == (0, 200)
        shop.revert(made)
        assert (shop.points(), shop.points(shop.eve)) == (0, 300)

    def test_through_two_merges(self, shop):
        bob = make_persona(shop.account)
        shop.give(300, shop.eve)
        made = shop.redeem(shop.eve)
        shop.merge()
        shop.merge(bob, shop.ada)
        shop.revert(made, 30)
        shop.revert(made)
        assert (shop.points(bob), shop.points(), shop.points(shop.eve)) == (800, 0, 0)

    def test_past_their_day_they_go_at_once_wherever_they_lie(self, shop):
        shop.give(300, shop.eve, expires_at=NOW + DAY)
        made = shop.redeem(shop.eve)
        shop.merge()
        shop.give(70, expires_at=NOW + DAY)
        answer = shop.revert(made, now=NOW + DAY)
        assert answer.points == 100 and answer.balance == shop.points() == 500, "the root's own due points went too"
        assert Entry.unscoped.filter(kind="expire", points=-100, persona=shop.eve).count() == 1


class TestAgain:
    """Released, and its sale came after all."""

    def again(self, shop, made, **options) -> bool:
        [sale] = make_sales(shop.account, 1)
        return ledger.settle_again(
            **{"account_id": shop.account.pk, "redemption_id": shop.row(made).pk, "sale_id": sale, "now": NOW} | options
        )

    def release(self, shop, made):
        return shop.revert(made, to_state="released", why="no_sale")

    def test_taken_once_more_and_once_only(self, shop):
        made = shop.redeem(order="T1")
        assert not self.again(shop, made), "it waits for its sale as ever"
        self.release(shop, made)
        assert self.again(shop, made)
        row = shop.row(made)
        assert (row.state, row.ended_at, row.why_ended, row.reverted_points) == ("settled", None, "", 0)
        assert self.again(shop, made, sale_id=row.sale_id) and not self.again(shop, made)
        assert shop.points() == 400
        assert shop.lines(made) == [("redeem", -100), ("revert", 100), ("redeem", -100)]

    def test_what_is_not_there_is_owed_and_forgiven_with_it(self, shop):
        made = shop.redeem(order="T1")
        self.release(shop, made)
        shop.give(-470)
        assert self.again(shop, made) and shop.points() == 0
        short = Shortfall.unscoped.get()
        assert (short.points, short.key, short.state) == (70, f"shortfall:redeem:{shop.row(made).pk}:1", "open")
        assert shop.revert(made).points == 30 and shop.points() == 30
        short.refresh_from_db()
        assert (short.state, short.netted) == ("netted", 70)

    @pytest.mark.parametrize("rounds", [2, 3])
    def test_with_nothing_there_again_and_again(self, shop, rounds):
        made = shop.redeem(order="T1")
        self.release(shop, made)
        shop.give(-500)
        for _ in range(rounds):
            assert self.again(shop, made)
            assert shop.row(made).state == "settled"
            self.release(shop, made)
            assert shop.row(made).state == "released"
        assert shop.points() == 0
        assert set(Shortfall.unscoped.values_list("state", flat=True)) == {"netted"}
        shop.give(100)
        assert self.again(shop, made) and shop.points() == 0

    @pytest.mark.parametrize("asked", [70, 20])
    def test_what_was_collected_for_it_comes_back_too(self, shop, asked):
        made = shop.redeem(order="T1")
        self.release(shop, made)
        shop.give(-470)
        assert self.again(shop, made)
        shop.give(asked, expires_at=NOW + 9 * DAY)
        short = Shortfall.unscoped.get()
        collect = {"account_id": shop.account.pk, "shortfall_id": short.pk, "user_id": None, "note": "", "now": NOW}
        assert ledger.collect(**collect).points == asked and shop.points() == 0
        if asked == 20:
            shop.give(5)
            ledger.collect(**collect)
            ledger.waive(**collect)
        shop.revert(made)
        assert shop.points() == 30 + asked + (5 if asked == 20 else 0)
        assert Lot.unscoped.get(expires_at=NOW + 9 * DAY).remaining == asked, "to the lot it came from"
        short.refresh_from_db()
        assert (short.state, short.collected) == ("waived" if asked == 20 else "netted", 0)
        shop.revert(made)
        assert Entry.unscoped.filter(key__startswith="uncollect:").count() == 1

    def test_the_collected_points_follow_a_merge(self, shop):
        made = shop.redeem(order="T1")
        self.release(shop, made)
        shop.give(-500)
        self.again(shop, made)
        shop.give(60)
        ledger.collect(account_id=shop.account.pk, shortfall_id=Shortfall.unscoped.get().pk, user_id=None, note="",
                       now=NOW)  # fmt: skip
        shop.merge(shop.eve, shop.ada)
        shop.revert(made)
        assert (shop.points(), shop.points(shop.eve)) == (0, 60)

    def test_not_when_the_person_used_the_order_anew_under_the_other_name(self, shop):
        made = shop.redeem(shop.eve, order="T1") if shop.give(100, shop.eve) else None
        self.release(shop, made)
        shop.merge()
        assert shop.redeem(n=1, order="T1").created
        assert not self.again(shop, made) and shop.row(made).state == "released"

    def test_a_merged_persons_points_are_taken_from_the_root(self, shop):
        shop.give(100, shop.eve)
        made = shop.redeem(shop.eve, order="T1")
        self.release(shop, made)
        shop.merge()
        assert self.again(shop, made) and shop.points() == 500
        assert shop.revert(made).balance == 600


@pytest.mark.parametrize("points, weights", [
    (Decimal("100"), [1, 1, 1]), (Decimal("0.01"), [5, 5]), (Decimal("99.99"), [1, 2, 3, 5, 7, 11]),
    (Decimal(7), [10**9, 1]),
])  # fmt: skip
def test_shares_sum_up_and_repeat(points, weights):
    lines = dict(enumerate(weights, 1))
    shares = ledger.shares_of(points, lines)
    assert sum(shares.values()) == points and shares == ledger.shares_of(points, dict(reversed(lines.items())))
    assert all(abs(share - points * lines[n] / sum(weights)) < Decimal("0.01") for n, share in shares.items())
    assert ledger.shares_of(points, {}) == {}


def test_a_free_one_is_given_back_without_a_line(shop):
    made = shop.redeem(discount=make_discount(shop.account, points=0))
    assert shop.revert(made).state == "reverted" and shop.lines(made) == []
