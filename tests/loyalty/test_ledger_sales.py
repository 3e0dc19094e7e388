"""Earning is a state: what is posted for a sale follows its target."""

import uuid
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from django.db import DatabaseError, connection
from django.test.utils import CaptureQueriesContext

from loyalty import audits, ledger
from loyalty.models import Entry, Lot, Persona, Redemption, SaleState, Shortfall, Wallet

from ..factories import make_account, make_discount, make_persona
from .ledger_sales import SOLD, make_sales, target

pytestmark = pytest.mark.django_db
NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
DAY = timedelta(days=1)


class Shop:
    def __init__(self) -> None:
        self.account = make_account()
        self.ada, self.ben = make_persona(self.account), make_persona(self.account)
        self.sale, self.other = make_sales(self.account, 2)

    def settle(self, *targets, now=NOW):
        return ledger.settle_sales(account_id=self.account.pk, targets=targets, now=now)

    def spend(self, points, persona=None):
        return ledger.adjust(
            account_id=self.account.pk,
            persona_id=(persona or self.ada).pk,
            points=-Decimal(points),
            key=f"spend:{uuid.uuid4()}",
            now=NOW,
        )

    def earned(self, sale=None):
        rows = Entry.unscoped.filter(sale_id=sale or self.sale).order_by("id")
        return [(row.persona_id, int(row.points), row.key) for row in rows]

    def balances(self):
        return [int(Wallet.unscoped.get(persona=one).balance) for one in (self.ada, self.ben)]


@pytest.fixture
def shop(db):
    shop = Shop()
    yield shop
    assert audits.violations() == []


def test_a_sale_earns(shop):
    why = {"why": "earned", "base": 1000}
    settled = shop.settle(target(shop.sale, shop.ada.pk, 10, explanation=why, expires_at=NOW + DAY))
    assert settled == ledger.Settled(entries=1, points=Decimal(10), shortfalls=0)
    entry = Entry.unscoped.get()
    assert (entry.kind, entry.key, entry.explanation) == ("earn", f"earn:{shop.sale}:0", why)
    assert (entry.cause_at, entry.at, entry.balance_after) == (SOLD, NOW, 10)
    lot = Lot.unscoped.get()
    assert (lot.kind, lot.points, lot.remaining, lot.expires_at) == ("earn", 10, 10, NOW + DAY)
    state = SaleState.unscoped.get(sale=shop.sale)
    assert (state.persona_id, state.posted, state.posts, state.base_cents) == (shop.ada.pk, 10, 1, 1000)


def test_the_same_target_writes_nothing(shop):
    shop.settle(target(shop.sale, shop.ada.pk, 10), target(shop.other, None, 0))
    with connection.cursor() as cursor:
        cursor.execute("SELECT sale_id, xmin, ctid::text FROM loyalty_salestate ORDER BY 1")
        before = cursor.fetchall()
        settled = shop.settle(target(shop.sale, shop.ada.pk, 10), target(shop.other, None, 0), now=NOW + DAY)
        cursor.execute("SELECT sale_id, xmin, ctid::text FROM loyalty_salestate ORDER BY 1")
        assert cursor.fetchall() == before
    assert settled == ledger.Settled(entries=0, points=Decimal(0), shortfalls=0)


def test_worth_nothing_is_remembered_with_its_reason(shop):
    shop.settle(target(shop.sale, shop.ada.pk, 0, explanation={"why": "before_start"}))
    state = SaleState.unscoped.get()
    assert (state.posted, state.posts, state.explanation) == (0, 0, {"why": "before_start"})
    assert not Entry.unscoped.exists()


@pytest.mark.parametrize("change", [{"base_cents": 5}, {"explanation": {"rate": "2"}}])
def test_a_changed_reason_changes_the_state_and_posts_nothing(shop, change):
    shop.settle(target(shop.sale, shop.ada.pk, 10))
    settled = shop.settle(target(shop.sale, shop.ada.pk, 10, **change), now=NOW + DAY)
    state = SaleState.unscoped.get()
    assert {name: getattr(state, name) for name in change} == change
    assert (state.settled_at, state.posts, settled.entries) == (NOW + DAY, 1, 0)


def test_an_edit_there_and_back_posts_each_time(shop):
    for points in (10, 4, 10, 0, 10):
        shop.settle(target(shop.sale, shop.ada.pk, points))
    ada = shop.ada.pk
    assert shop.earned() == [
        (ada, 10, f"earn:{shop.sale}:0"),
        (ada, -6, f"earn:{shop.sale}:1"),
        (ada, 6, f"earn:{shop.sale}:2"),
        (ada, -10, f"earn:{shop.sale}:3"),
        (ada, 10, f"earn:{shop.sale}:4"),
    ]


def test_taken_back_from_the_sales_own_lots_first(shop):
    shop.settle(target(shop.sale, shop.ada.pk, 10, expires_at=NOW + DAY))
    shop.settle(target(shop.other, shop.ada.pk, 10))
    shop.settle(target(shop.other, shop.ada.pk, 3))
    assert [int(lot.remaining) for lot in Lot.unscoped.order_by("id")] == [10, 3]
    shop.spend(11)
    shop.settle(target(shop.sale, shop.ada.pk, 8))
    assert shop.balances() == [0, 0]


def test_what_is_spent_becomes_a_shortfall(shop):
    shop.settle(target(shop.sale, shop.ada.pk, 100))
    shop.spend(40)
    settled = shop.settle(target(shop.sale, shop.ada.pk, 0))
    assert settled == ledger.Settled(entries=1, points=Decimal(-60), shortfalls=1)
    short = Shortfall.unscoped.get()
    assert (short.points, short.state, short.key) == (40, "open", f"shortfall:{shop.sale}:1")
    assert (short.persona_id, short.sale_id, short.at) == (shop.ada.pk, shop.sale, NOW)
    assert shop.settle(target(shop.sale, shop.ada.pk, 0)).shortfalls == 0
    shop.settle(target(shop.other, shop.ada.pk, 50))
    assert shop.balances() == [50, 0], "later points are not taken silently"


def test_a_shortfall_of_everything_has_no_entry(shop):
    shop.settle(target(shop.sale, shop.ada.pk, 100))
    shop.spend(100)
    settled = shop.settle(target(shop.sale, shop.ada.pk, 30))
    assert settled == ledger.Settled(entries=0, points=Decimal(0), shortfalls=1)
    assert Shortfall.unscoped.get().points == 70
    shop.settle(target(shop.sale, shop.ada.pk, 20))
    assert [int(s.points) for s in Shortfall.unscoped.order_by("id")] == [70, 10]


def test_a_new_owner(shop):
    shop.settle(target(shop.sale, shop.ada.pk, 10))
    settled = shop.settle(target(shop.sale, shop.ben.pk, 12))
    assert settled == ledger.Settled(entries=2, points=Decimal(2), shortfalls=0)
    assert shop.earned()[1:] == [
        (shop.ada.pk, -10, f"earn:{shop.sale}:1"),
        (shop.ben.pk, 12, f"earn:{shop.sale}:2"),
    ]
    assert shop.balances() == [0, 12]
    assert SaleState.unscoped.get().persona_id == shop.ben.pk


def test_a_new_owner_of_points_already_spent(shop):
    shop.settle(target(shop.sale, shop.ada.pk, 10))
    shop.spend(7)
    shop.settle(target(shop.sale, shop.ben.pk, 10))
    assert shop.balances() == [0, 10]
    short = Shortfall.unscoped.get()
    assert (short.persona_id, short.points) == (shop.ada.pk, 7)


def test_an_owner_found_later_and_lost_again(shop):
    shop.settle(target(shop.sale, None, 0))
    shop.settle(target(shop.sale, shop.ada.pk, 10))
    assert shop.balances() == [10, 0]
    shop.settle(target(shop.sale, None, 0))
    assert shop.balances() == [0, 0]
    assert SaleState.unscoped.get().persona_id is None


def test_an_owner_of_nothing_changes_quietly(shop):
    shop.settle(target(shop.sale, shop.ada.pk, 0))
    shop.settle(target(shop.sale, shop.ben.pk, 0))
    assert SaleState.unscoped.get().persona_id == shop.ben.pk
    assert not Entry.unscoped.exists()


def test_a_refund_row_may_be_worth_less_than_nothing(shop):
    shop.settle(target(shop.sale, shop.ada.pk, 100))
    shop.settle(target(shop.other, shop.ada.pk, -30))
    assert shop.balances() == [70, 0]
    shop.settle(target(shop.other, shop.ada.pk, 0))
    assert shop.balances() == [100, 0]


def test_two_sales_of_one_persona_in_one_page(shop):
    sales = make_sales(shop.account, 6)
    people = [shop.ada.pk, shop.ben.pk]
    shop.settle(target(sales[0], shop.ada.pk, 5))
    settled = shop.settle(*(target(sale, people[i % 2], i + 1) for i, sale in enumerate(sales)))
    assert settled == ledger.Settled(entries=6, points=Decimal(2 + 3 + 4 + 5 + 6 - 4), shortfalls=0)
    assert shop.balances() == [9, 12]


def test_due_points_expire_first(shop):
    shop.settle(target(shop.sale, shop.ada.pk, 10, expires_at=NOW + DAY))
    shop.settle(target(shop.other, shop.ada.pk, 5), now=NOW + DAY)
    assert [row.kind for row in Entry.unscoped.order_by("id")] == ["earn", "expire", "earn"]
    assert shop.balances() == [5, 0]


def test_a_wallet_is_made(shop):
    persona = Persona.unscoped.create(account=shop.account)
    shop.settle(target(shop.sale, persona.pk, 5))
    assert Wallet.unscoped.get(persona=persona).balance == 5


@pytest.mark.parametrize("wrong", ["twice", "nobody", "decimals"])
def test_targets_that_make_no_sense(shop, wrong):
    one = target(shop.sale, shop.ada.pk, 5)
    targets = {
        "twice": [one, one],
        "nobody": [target(shop.sale, None, 5)],
        "decimals": [target(shop.sale, shop.ada.pk, "0.005")],
    }[wrong]
    with pytest.raises(ValueError):
        shop.settle(*targets)


def test_nothing_to_settle(shop):
    assert shop.settle() == ledger.Settled(entries=0, points=Decimal(0), shortfalls=0)


def test_a_page_is_one_query(shop):
    targets = [target(sale, shop.ada.pk, 1) for sale in make_sales(shop.account, 30)]
    with CaptureQueriesContext(connection) as queries:
        shop.settle(*targets)
    assert len([q for q in queries if "loyalty_settle_sales" in q["sql"]]) == 1
    assert len([q for q in queries if "SAVEPOINT" not in q["sql"]]) == 1


def test_a_sale_of_another_account_is_refused(shop):
    theirs = Shop()
    theirs.settle(target(theirs.sale, theirs.ada.pk, 5))
    for one in [
        target(theirs.sale, theirs.ada.pk, 5),
        target(theirs.sale, shop.ada.pk, 1),
        target(theirs.other, shop.ada.pk, 1),
        target(shop.sale, theirs.ada.pk, 1),
    ]:
        with pytest.raises(DatabaseError, match="account|tenant"):
            shop.settle(one)


# --- the sale of a redemption


def test_a_redemption_meets_its_sale(shop):
    shop.settle(target(shop.sale, shop.ada.pk, 500))
    ids = {"account_id": shop.account.pk}
    for order, state in [("T1", "applied"), ("", "settled")]:
        discount = make_discount(shop.account)
        ledger.redeem(
            **ids, persona_id=shop.ada.pk, discount_id=discount.pk, n=0, transaction=order, channel="web", now=NOW
        )
        row = Redemption.unscoped.get(discount=discount)
        assert row.state == state
        settle = {"redemption_id": row.pk, "now": NOW + DAY} | ids
        assert ledger.settle_redemption(**settle, sale_id=shop.other)
        assert ledger.settle_redemption(**settle, sale_id=shop.other), "again is the same"
        assert not ledger.settle_redemption(**settle, sale_id=shop.sale), "it has its sale"
        row.refresh_from_db()
        assert (row.state, row.sale_id) == ("settled", shop.other)
        assert row.settled_at == (NOW + DAY if order else NOW)


def test_a_redemption_given_back_meets_no_sale(shop):
    shop.settle(target(shop.sale, shop.ada.pk, 500))
    redeemed = ledger.redeem(
        account_id=shop.account.pk,
        persona_id=shop.ada.pk,
        discount_id=make_discount(shop.account).pk,
        n=0,
        transaction="T1",
        channel="till",
        now=NOW,
    )
    ledger.revert(account_id=shop.account.pk, redemption_public_id=redeemed.redemption_id, now=NOW)
    row = Redemption.unscoped.get()
    settle = {"redemption_id": row.pk, "sale_id": shop.sale, "now": NOW}
    assert not ledger.settle_redemption(account_id=shop.account.pk, **settle)
    assert not ledger.settle_redemption(account_id=make_account("Other Co").pk, **settle)
