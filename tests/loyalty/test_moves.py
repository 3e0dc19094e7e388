"""Points that move: merges and splits by lots, mirrors, imports, boosts, shortfalls, another end. The books stay whole.

Each test ends with all of `check_ledger`: nothing may be violated.
"""

from datetime import timedelta
from decimal import Decimal

import pytest

from integrations.models import Sale
from loyalty import audits, ledger
from loyalty.models import (
    BoostState,
    Entry,
    Lot,
    Merge,
    Mirroring,
    MirrorState,
    Modifier,
    Persona,
    Shortfall,
    Source,
    Wallet,
)
from tests.records import customer, land_customers, make_origin, the_customer

from ..factories import make_account, make_discount, make_persona
from .ledger_sales import make_sales, target
from .people_at_till import DAY, HOUR, NOW, Shop

pytestmark = pytest.mark.django_db
SOON, LATER = NOW + DAY, NOW + 30 * DAY


@pytest.fixture
def shop():
    """Ada and Eve with no points yet; whatever a test does, the books must be whole after it."""
    shop = Shop(0)
    yield shop
    assert audits.violations() == []


def lots(persona: Persona) -> list[tuple]:
    """What is open of a persona: points, end, kind, and whose lot it came from."""
    rows = Lot.unscoped.filter(persona=persona, open=True).select_related("from_lot").order_by("expires_at", "id")
    return [
        (int(lot.remaining), lot.expires_at, lot.kind, lot.from_lot.persona_id if lot.from_lot else None)
        for lot in rows
    ]  # fmt: skip


def lines(persona: Persona, kind: str) -> list[int]:
    rows = Entry.unscoped.filter(persona=persona, kind=kind).order_by("id")
    return [int(points) for points in rows.values_list("points", flat=True)]


def entries(shop: Shop) -> int:
    return Entry.unscoped.filter(account=shop.account).count()


def sale_of(shop: Shop, persona: Persona) -> int:
    """A sale of the persona's own POS record."""
    origin = make_origin(shop.account, f"of {persona.pk}")
    land_customers(origin, customer("c"))
    Source.unscoped.create(
        account=shop.account, persona=persona, customer=the_customer(origin, "c"), matched_by="phone"
    )
    return Sale.unscoped.create(
        account=shop.account, origin=origin, external_id="s", customer_id="c", sold_at=NOW
    ).pk  # fmt: skip


def settle(shop: Shop, *targets, boosts=()):
    return ledger.settle_sales(account_id=shop.account.pk, targets=targets, boosts=boosts, now=NOW)


class TestMerge:
    def test_lots_keep_their_end_and_kind_and_know_where_they_came_from(self, shop):
        shop.give(50)
        shop.give(30, shop.eve, expires_at=SOON)
        shop.give(20, shop.eve)
        merge = shop.merge()
        eve = shop.eve.pk
        assert lots(shop.ada) == [(30, SOON, "adjust", eve), (50, None, "adjust", None), (20, None, "adjust", eve)]
        assert lots(shop.eve) == [] and shop.points() == 100 and shop.points(shop.eve) == 0
        merge.refresh_from_db()
        assert (merge.survivor_balance, merge.loser_balance) == (50, 50)
        pair = Entry.unscoped.filter(merge=merge).order_by("id")
        assert [(line.persona_id, line.points, line.explanation["side"]) for line in pair] == [
            (eve, -50, "out"), (shop.ada.pk, 50, "in"),
        ]  # fmt: skip
        assert all((line.explanation["survivor"], line.explanation["loser"]) == (50, 50) for line in pair)

    def test_what_was_due_goes_before_it_moves(self, shop):
        shop.give(30, shop.eve, expires_at=NOW)
        shop.give(20, shop.eve)
        shop.merge(now=NOW + HOUR)
        assert lines(shop.eve, "expire") == [-30] and shop.points() == 20
        assert Merge.unscoped.get().loser_balance == 20

    def test_of_two_without_points_no_line_is_written(self, shop):
        shop.merge()
        assert entries(shop) == 0 and Persona.unscoped.get(pk=shop.eve.pk).merged_into_id == shop.ada.pk

    def test_carried_out_twice_is_once(self, shop):
        shop.give(50, shop.eve)
        merge = shop.merge()
        again = ledger.merge(account_id=shop.account.pk, merge_id=merge.pk, now=NOW)
        assert (again.created, again.points, shop.points()) == (False, 50, 50)

    def test_only_roots_of_one_account(self, shop):
        third = make_persona(shop.account)
        merge = shop.merge()
        with pytest.raises(ledger.CannotMerge, match="not_roots"):
            shop.merge(shop.eve, third)
        Merge.unscoped.exclude(pk=merge.pk).delete()
        with pytest.raises(ledger.CannotMerge, match="unknown"):
            ledger.merge(account_id=make_account("Other").pk, merge_id=merge.pk, now=NOW)

    def test_a_root_goes_with_its_followers_and_their_points(self, shop):
        third = make_persona(shop.account)
        shop.give(10, shop.eve, expires_at=SOON)
        shop.give(5)
        shop.merge()
        shop.merge(third, shop.ada)
        roots = Persona.unscoped.filter(account=shop.account).values_list("pk", "merged_into_id")
        assert dict(roots) == {shop.ada.pk: third.pk, shop.eve.pk: third.pk, third.pk: None}
        assert lots(third) == [(10, SOON, "adjust", shop.ada.pk), (5, None, "adjust", shop.ada.pk)]
        # Whoever asks by any of the three spends from the one wallet.
        shop.give(90, shop.eve)
        shop.redeem(shop.eve)
        assert shop.points(third) == 5


class TestSplit:
    def test_what_is_left_returns_to_the_lots_it_came_from(self, shop):
        shop.give(30, shop.eve, expires_at=SOON)
        shop.give(20, shop.eve)
        before = set(Lot.unscoped.filter(persona=shop.eve).values_list("pk", flat=True))
        shop.split(shop.merge())
        assert lots(shop.eve) == [(30, SOON, "adjust", None), (20, None, "adjust", None)] and shop.points() == 0
        assert set(Lot.unscoped.filter(persona=shop.eve).values_list("pk", flat=True)) == before
        assert lines(shop.eve, "merge") == [-50, 50] and lines(shop.ada, "merge") == [50, -50]

    def test_what_was_spent_stays_spent(self, shop):
        """Ada's go first, since they end first; then some of Eve's."""
        shop.give(60, expires_at=SOON)
        shop.give(70, shop.eve, expires_at=LATER)
        merge = shop.merge()
        shop.redeem()
        shop.split(merge)
        assert (shop.points(), shop.points(shop.eve)) == (0, 30)
        assert lots(shop.eve) == [(30, LATER, "adjust", None)]

    def test_everything_spent_nothing_returns(self, shop):
        shop.give(100, shop.eve)
        merge = shop.merge()
        shop.redeem()
        shop.split(merge)
        assert (shop.points(), shop.points(shop.eve)) == (0, 0)
        merge.refresh_from_db()
        assert merge.split_points == 0 and merge.split_at == NOW

    def test_what_expired_meanwhile_stays_expired(self, shop):
        shop.give(30, shop.eve, expires_at=SOON)
        merge = shop.merge()
        shop.split(merge, now=SOON + HOUR)
        assert (shop.points(), shop.points(shop.eve)) == (0, 0) and lines(shop.ada, "expire") == [-30]

    def test_another_end_given_meanwhile_goes_home(self, shop):
        shop.give(30, shop.eve)
        merge = shop.merge()
        child = Lot.unscoped.get(persona=shop.ada)
        assert ledger.reexpire(account_id=shop.account.pk, ends=[(child.pk, LATER)], now=NOW) == (1, 0)
        shop.split(merge)
        assert lots(shop.eve) == [(30, LATER, "adjust", None)]

    def test_what_its_own_sales_earned_since_goes_with_it(self, shop):
        sale = sale_of(shop, shop.eve)
        merge = shop.merge()
        settle(shop, target(sale, shop.ada.pk, 40, expires_at=SOON))
        shop.give(5)
        shop.split(merge)
        assert (shop.points(), shop.points(shop.eve)) == (5, 40)
        assert lots(shop.eve) == [(40, SOON, "earn", shop.ada.pk)]
        # And a void of that sale finds them there.
        settle(shop, target(sale, shop.eve.pk, 0))
        assert (shop.points(), shop.points(shop.eve)) == (5, 0) and not Shortfall.unscoped.exists()

    def test_taken_back_twice_is_once(self, shop):
        shop.give(50, shop.eve)
        merge = shop.merge()
        shop.split(merge)
        again = ledger.split(account_id=shop.account.pk, merge_id=merge.pk, now=NOW)
        assert (again.created, again.points, shop.points(shop.eve)) == (False, 50, 50)

    def test_a_merge_of_another_account(self, shop):
        merge = shop.merge()
        with pytest.raises(ledger.CannotMerge, match="unknown"):
            ledger.split(account_id=make_account("Other").pk, merge_id=merge.pk, now=NOW)

    def test_there_and_back_again(self, shop):
        shop.give(50, shop.eve)
        for round_ in range(3):
            shop.split(shop.merge(now=NOW + round_ * HOUR), now=NOW + round_ * HOUR)
        assert (shop.points(), shop.points(shop.eve)) == (0, 50)
        assert Lot.unscoped.filter(persona=shop.eve, open=True).count() == 1


class TestThree:
    @pytest.fixture
    def three(self, shop):
        """Eve into Ada, then Ada into Cleo; each brought points that end on a day of its own."""
        cleo = make_persona(shop.account)
        shop.give(10, shop.eve, expires_at=NOW + DAY)
        shop.give(20, shop.ada, expires_at=NOW + 2 * DAY)
        shop.give(30, cleo, expires_at=NOW + 3 * DAY)
        inner = shop.merge()
        return cleo, inner, shop.merge(cleo, shop.ada)

    def roots(self, shop, cleo):
        found = {p.pk: p.merged_into_id for p in Persona.unscoped.filter(account=shop.account)}
        return found[shop.ada.pk], found[shop.eve.pk], found[cleo.pk]

    def test_the_middle_one_leaves_with_who_had_come_to_it(self, shop, three):
        cleo, inner, outer = three
        shop.split(outer)
        assert self.roots(shop, cleo) == (None, shop.ada.pk, None)
        assert (shop.points(), shop.points(shop.eve), shop.points(cleo)) == (30, 0, 30)
        shop.split(inner)
        assert self.roots(shop, cleo) == (None, None, None)
        assert lots(shop.eve) == [(10, NOW + DAY, "adjust", None)]
        assert lots(shop.ada) == [(20, NOW + 2 * DAY, "adjust", None)]

    def test_the_first_one_leaves_and_the_others_stay(self, shop, three):
        """Hers went through two wallets, and come straight back."""
        cleo, inner, outer = three
        shop.split(inner)
        assert self.roots(shop, cleo) == (cleo.pk, None, None)
        assert lots(shop.eve) == [(10, NOW + DAY, "adjust", None)] and shop.points(cleo) == 50
        shop.split(outer)
        assert (shop.points(), shop.points(cleo)) == (20, 30)

    def test_spent_in_the_order_of_their_ends(self, shop, three):
        cleo, inner, outer = three
        ledger.adjust(account_id=shop.account.pk, persona_id=cleo.pk, points=Decimal(-25), key="k", now=NOW)
        shop.split(outer)
        shop.split(inner)
        assert (shop.points(shop.eve), shop.points(), shop.points(cleo)) == (0, 5, 30)


class TestGivenBack:
    """A redemption's points go back to whom they belong by then."""

    def test_taken_before_a_merge(self, shop):
        shop.give(100, shop.eve, expires_at=SOON)
        made = shop.redeem(shop.eve)
        shop.merge()
        assert shop.revert(made).balance == 100
        assert lots(shop.ada) == [(100, SOON, "adjust", shop.eve.pk)] and shop.points(shop.eve) == 0

    def test_taken_before_a_merge_and_given_back_after_the_split(self, shop):
        shop.give(100, shop.eve, expires_at=SOON)
        made = shop.redeem(shop.eve)
        shop.split(shop.merge())
        shop.revert(made)
        assert lots(shop.eve) == [(100, SOON, "adjust", None)] and shop.points() == 0

    def test_taken_while_they_were_one(self, shop):
        """What was each one's goes back to each: Ada's 60 and 40 of Eve's."""
        shop.give(60, expires_at=SOON)
        shop.give(70, shop.eve, expires_at=LATER)
        merge = shop.merge()
        made = shop.redeem()
        shop.split(merge)
        shop.revert(made)
        assert lots(shop.ada) == [(60, SOON, "adjust", None)] and lots(shop.eve) == [(70, LATER, "adjust", None)]

    def test_in_parts_before_and_after_the_split(self, shop):
        """The last taken comes back first: 40 of Eve's, then Ada's."""
        shop.give(60, expires_at=SOON)
        shop.give(70, shop.eve, expires_at=LATER)
        merge = shop.merge()
        made = shop.redeem()
        shop.revert(made, 30)
        shop.split(merge)
        shop.revert(made, 20)
        assert (shop.points(), shop.points(shop.eve)) == (10, 70)
        shop.revert(made)
        assert (shop.points(), shop.points(shop.eve)) == (60, 70)

    def test_taken_by_the_middle_of_three(self, shop):
        cleo = make_persona(shop.account)
        shop.give(100, shop.eve, expires_at=SOON)
        inner = shop.merge()
        made = shop.redeem()
        outer = shop.merge(cleo, shop.ada)
        shop.revert(made, 40)
        assert shop.points(cleo) == 40
        shop.split(inner)
        assert (shop.points(shop.eve), shop.points(cleo)) == (40, 0)
        shop.split(outer)
        shop.revert(made)
        assert shop.points(shop.eve) == 100 and shop.points() == 0


class TestMirror:
    @pytest.fixture
    def pos(self, shop):
        origin = make_origin(shop.account, "mirror")
        land_customers(origin, customer("c"), customer("d"))
        return origin

    def say(self, shop, pos, balance, persona=None, who="c", now=NOW):
        return ledger.mirror(
            account_id=shop.account.pk, persona_id=(persona or shop.ada).pk, customer_id=the_customer(pos, who).pk,
            balance=Decimal(balance), now=now,
        )  # fmt: skip

    def test_it_follows_what_the_pos_says(self, shop, pos):
        for value in (50, "70.25", 20, 0, 90):
            said = self.say(shop, pos, value)
            assert said.balance == shop.points() == Decimal(value) and said.short == 0
        assert Lot.unscoped.filter(open=True, kind="mirror", expires_at=None).count() == 1

    def test_the_same_value_writes_nothing(self, shop, pos):
        self.say(shop, pos, 50)
        before = entries(shop), MirrorState.unscoped.values().get()
        assert self.say(shop, pos, 50, now=NOW + DAY).entry_id is None
        assert (entries(shop), MirrorState.unscoped.values().get()) == before
        assert self.say(shop, pos, 0, who="d").points == 0 and entries(shop) == before[0]

    def test_a_fall_takes_mirrored_points_first(self, shop, pos):
        shop.give(30, expires_at=SOON)
        self.say(shop, pos, 50)
        self.say(shop, pos, 10)
        assert lots(shop.ada) == [(30, SOON, "adjust", None), (10, None, "mirror", None)]
        self.say(shop, pos, 0)
        assert lots(shop.ada) == [(30, SOON, "adjust", None)]

    def test_what_was_spent_here_is_owed_when_the_pos_takes_it(self, shop, pos):
        self.say(shop, pos, 50)
        ledger.adjust(account_id=shop.account.pk, persona_id=shop.ada.pk, points=Decimal(-45), key="k", now=NOW)
        said = self.say(shop, pos, 0)
        assert (said.points, said.short, said.balance) == (-5, 45, 0) and Shortfall.unscoped.get().points == 45
        assert self.say(shop, pos, 20).points == 20

    def test_two_customers_of_one_persona_are_both(self, shop, pos):
        self.say(shop, pos, 50)
        self.say(shop, pos, 30, who="d")
        assert shop.points() == 80
        self.say(shop, pos, 0)
        assert shop.points() == 30

    def test_it_goes_on_through_a_merge_and_a_split(self, shop, pos):
        self.say(shop, pos, 50, shop.eve)
        merge = shop.merge()
        assert lots(shop.ada) == [(50, None, "mirror", shop.eve.pk)]
        before = entries(shop)
        assert self.say(shop, pos, 50, shop.eve).points == 0 and entries(shop) == before
        self.say(shop, pos, 60, shop.eve)
        assert shop.points() == 60
        shop.split(merge)
        self.say(shop, pos, 40, shop.eve)
        # 10 were posted while the two were one, for no record of hers that is known here: they stay. The fall is hers.
        assert (shop.points(), shop.points(shop.eve)) == (10, 30)

    def test_less_than_nothing_is_no_balance(self, shop, pos):
        with pytest.raises(ValueError):
            self.say(shop, pos, -1)

    def test_a_reward_is_not_redeemed_here_while_the_pos_keeps_the_points(self, shop, pos):
        """Also of a record that went to somebody else: until the POS's points of it have left her wallet."""
        Mirroring.unscoped.create(account=shop.account, origin=pos, since=NOW)
        record = Source.unscoped.create(
            account=shop.account, persona=shop.ada, customer=the_customer(pos, "c"), matched_by="new"
        )
        self.say(shop, pos, 500)
        with pytest.raises(ledger.NotAvailable, match="mirror"):
            shop.redeem()
        Source.unscoped.filter(pk=record.pk).update(persona=shop.eve)
        with pytest.raises(ledger.NotAvailable, match="mirror"):
            shop.redeem()
        self.say(shop, pos, 0)
        shop.give(100)
        assert shop.redeem().balance == 0


class TestImport:
    def bring(self, shop, persona, key="import:1:c1", points=75):
        return ledger.adjust(
            account_id=shop.account.pk, persona_id=persona.pk, points=Decimal(points), key=key, now=NOW, kind="import"
        )  # fmt: skip

    def test_once_for_each_shopper(self, shop):
        assert self.bring(shop, shop.ada).created
        assert not self.bring(shop, shop.ada, points=90).created
        assert shop.points() == 75 and lines(shop.ada, "import") == [75]

    def test_two_records_of_one_shopper_bring_both(self, shop):
        self.bring(shop, shop.ada)
        self.bring(shop, shop.ada, "import:1:c2", 25)
        assert shop.points() == 100

    def test_once_also_after_a_merge(self, shop):
        self.bring(shop, shop.eve)
        shop.merge()
        assert not self.bring(shop, shop.eve).created
        with pytest.raises(ledger.KeyTaken):  # asked for the survivor: it is another's, and posted already
            self.bring(shop, shop.ada)
        assert shop.points() == 75


class TestBoost:
    @pytest.fixture
    def hello(self, shop):
        return Modifier.unscoped.create(account=shop.account, name="Hello", kind="boost", points=50)

    def give(self, shop, boost, persona=None, sale=None, points=50):
        gift = ledger.BoostTarget(boost.pk, (persona or shop.ada).pk, sale, Decimal(points), {}, LATER, NOW)
        return settle(shop, boosts=[gift])

    def test_once_and_taken_back_with_its_purchase(self, shop, hello):
        one, other = make_sales(shop.account, 2)
        assert self.give(shop, hello, sale=one).points == 50
        assert self.give(shop, hello, sale=other).entries == 0
        assert lots(shop.ada) == [(50, LATER, "boost", None)]
        assert self.give(shop, hello, sale=other, points=0).entries == 0  # it came with another purchase
        assert self.give(shop, hello, sale=one, points=0).points == -50
        assert shop.points() == 0 and self.give(shop, hello, sale=other).points == 50
        assert lines(shop.ada, "boost") == [50, -50, 50]

    def test_taken_back_from_its_own_lot(self, shop, hello):
        (sale,) = make_sales(shop.account, 1)
        shop.give(20, expires_at=SOON)
        self.give(shop, hello, sale=sale)
        self.give(shop, hello, sale=sale, points=0)
        assert lots(shop.ada) == [(20, SOON, "adjust", None)]

    def test_spent_meanwhile_it_is_owed(self, shop, hello):
        (sale,) = make_sales(shop.account, 1)
        self.give(shop, hello, sale=sale)
        ledger.adjust(account_id=shop.account.pk, persona_id=shop.ada.pk, points=Decimal(-40), key="k", now=NOW)
        assert self.give(shop, hello, sale=sale, points=0).shortfalls == 1
        assert Shortfall.unscoped.get().points == 40 and shop.points() == 0

    def test_once_for_those_who_are_one(self, shop, hello):
        (sale,) = make_sales(shop.account, 1)
        self.give(shop, hello, shop.eve, sale)
        shop.merge()
        assert self.give(shop, hello).entries == 0
        assert self.give(shop, hello, sale=sale, points=0).points == -50 and shop.points() == 0

    def test_one_that_takes_is_capped_at_what_is_there(self, shop):
        fine = Modifier.unscoped.create(account=shop.account, name="Fine", kind="boost", points=-50)
        shop.give(30)
        assert self.give(shop, fine, points=-50).points == -30
        line = Entry.unscoped.get(kind="boost")
        assert line.explanation["refused"] == 20 and shop.points() == 0 and not Shortfall.unscoped.exists()
        assert BoostState.unscoped.get().posted == -30


class TestShortfalls:
    @pytest.fixture
    def owed(self, shop):
        """Ada owes 60 of a sale that was taken back."""
        (sale,) = make_sales(shop.account, 1)
        settle(shop, target(sale, shop.ada.pk, 60))
        ledger.adjust(account_id=shop.account.pk, persona_id=shop.ada.pk, points=Decimal(-60), key="spent", now=NOW)
        settle(shop, target(sale, shop.ada.pk, 0))
        return sale, Shortfall.unscoped.get()

    def close(self, verb, short, account_id=None):
        return verb(
            account_id=account_id or short.account_id, shortfall_id=short.pk, user_id=None, note="asked", now=NOW
        )

    def test_collected_piece_by_piece_and_never_more_than_is_owed(self, shop, owed):
        _, short = owed
        with pytest.raises(ledger.NothingToCollect):
            self.close(ledger.collect, short)
        for given, taken, missing, state in ((25, 25, 35, "open"), (10, 10, 25, "open"), (90, 25, 0, "collected")):
            shop.give(given)
            done = self.close(ledger.collect, short)
            assert (done.points, done.missing, done.state) == (taken, missing, state)
        assert shop.points() == 65
        again = self.close(ledger.collect, short)
        assert (again.created, again.points, shop.points()) == (False, 0, 65)
        assert self.close(ledger.waive, short).state == "collected"

    def test_waived_after_a_part(self, shop, owed):
        _, short = owed
        shop.give(25)
        self.close(ledger.collect, short)
        done = self.close(ledger.waive, short)
        assert (done.points, done.missing, done.state) == (0, 35, "waived")
        shop.give(10)
        assert not self.close(ledger.collect, short).created and shop.points() == 10
        short.refresh_from_db()
        assert (short.collected, short.note, short.closed_at) == (25, "asked", NOW)

    def test_never_taken_silently_from_later_points(self, shop, owed):
        settle(shop, target(make_sales(shop.account, 1)[0], shop.ada.pk, 40))
        assert shop.points() == 40

    def test_its_own_sale_makes_good_what_is_still_missing_only(self, shop, owed):
        sale, short = owed
        shop.give(25)
        self.close(ledger.collect, short)
        settle(shop, target(sale, shop.ada.pk, 60))
        short.refresh_from_db()
        assert (short.netted, short.state, shop.points()) == (35, "netted", 25)

    def test_collected_from_the_wallet_of_who_they_are_by_then(self, shop, owed):
        _, short = owed
        shop.give(80, shop.eve)
        shop.merge(shop.eve, shop.ada)
        assert self.close(ledger.collect, short).points == 60 and shop.points(shop.eve) == 20

    def test_of_another_account(self, shop, owed):
        for verb in (ledger.collect, ledger.waive):
            with pytest.raises(LookupError):
                self.close(verb, owed[1], make_account("Other").pk)


class TestAnotherEnd:
    def test_only_what_is_open_and_only_what_changes(self, shop):
        shop.give(30, expires_at=SOON)
        shop.give(20)
        one, other = Lot.unscoped.filter(persona=shop.ada).order_by("id")
        ends = [(one.pk, LATER), (other.pk, None)]
        assert ledger.reexpire(account_id=shop.account.pk, ends=ends, now=NOW) == (1, 0)
        assert ledger.reexpire(account_id=shop.account.pk, ends=ends, now=NOW) == (0, 0)
        assert lots(shop.ada) == [(30, LATER, "adjust", None), (20, None, "adjust", None)]
        assert ledger.reexpire(account_id=shop.account.pk, ends=[(one.pk, None)], now=NOW) == (1, 0)

    def test_what_is_past_by_the_new_end_goes_with_the_next_call(self, shop):
        shop.give(30)
        lot = Lot.unscoped.get(persona=shop.ada)
        assert ledger.reexpire(account_id=shop.account.pk, ends=[(lot.pk, NOW)], now=NOW) == (1, 30)
        assert shop.points() == 30 and ledger.expire_due(now=NOW) == 1 and shop.points() == 0

    def test_lots_of_another_account_stay_as_they_are(self, shop):
        shop.give(30)
        lot = Lot.unscoped.get(persona=shop.ada)
        other = make_account("Other").pk
        assert ledger.reexpire(account_id=other, ends=[(lot.pk, NOW)], now=NOW) == (0, 0)
        assert ledger.reexpire(account_id=other, ends=[], now=NOW) == (0, 0)

    def test_no_entry_is_changed_by_it(self, shop):
        shop.give(30)
        before = list(Entry.unscoped.values())
        ends = [(lot, SOON + timedelta(days=n)) for n, lot in enumerate(Lot.unscoped.values_list("pk", flat=True))]
        ledger.reexpire(account_id=shop.account.pk, ends=ends, now=NOW)
        assert list(Entry.unscoped.values()) == before


def test_points_are_neither_made_nor_lost_by_moving(shop):
    """Whatever is merged and split: what all have together is what they were given less what they spent."""
    cleo = make_persona(shop.account)
    people = [shop.ada, shop.eve, cleo]
    for n, persona in enumerate(people):
        shop.give(100, persona, expires_at=NOW + (n + 1) * DAY)
    small = make_discount(shop.account, points=30)
    first = shop.merge()
    shop.redeem(shop.eve, discount=small)
    second = shop.merge(cleo, shop.ada)
    shop.redeem(shop.ada, discount=small, n=1)
    shop.split(first)
    shop.redeem(cleo, discount=small, n=2)
    shop.split(second)
    left = sum(Wallet.unscoped.filter(account=shop.account).values_list("balance", flat=True))
    assert left == 300 - 90
