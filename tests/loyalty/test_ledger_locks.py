"""Each lock of the ledger's functions by itself: two calls give the right answer, and without that line they do not.

Nothing is left to chance: one call is done and not yet committed while the other begins. The table of all locks is in
docs/decisions/locks.md; `test_each_lock_of_the_ledger_has_its_case` keeps it whole.
"""

import threading
from decimal import Decimal

import pytest
from django.db import OperationalError, transaction

from loyalty import expiry, ledger
from loyalty.models import (
    CouponCode,
    Entry,
    Lot,
    Merge,
    MirrorState,
    Modifier,
    Persona,
    Redemption,
    Shortfall,
)
from tests.records import customer, land_customers, make_origin, the_customer

from ..factories import make_persona
from .ledger_sales import make_sales, target
from .people_at_till import DAY, HOUR, NOW, Shop
from .race import (
    Acting,
    functions_unlocked,
    functions_without,
    held_up_behind,
    lock_lines,
    not_written_down,
    overlap,
    wrong,
)

pytestmark = pytest.mark.django_db(transaction=True)


def merging(shop: Shop, survivor: Persona, loser: Persona) -> Merge:
    """The row of a merge that is not carried out yet."""
    return Merge.unscoped.create(account=shop.account, survivor=survivor, loser=loser, why="manual", at=NOW,
                                 survivor_balance=0, loser_balance=0)  # fmt: skip


def carry_out(shop: Shop, merge: Merge):
    return ledger.merge(account_id=shop.account.pk, merge_id=merge.pk, now=NOW)


def settle(shop: Shop, *targets, now=NOW, boosts=()):
    return ledger.settle_sales(account_id=shop.account.pk, targets=targets, boosts=boosts, now=now)


CONTROL = "right without it as well: this race proves nothing"


def once(race, *locks):
    """Right as it is, and the control: without these locks the same race is lost."""
    assert race("public") == []
    with functions_unlocked(*locks) as schema:
        assert race(schema), CONTROL


def kind(answer) -> str:
    return type(answer).__name__


# The wallet


def two_tills(schema):
    """100 points, two tills, two orders: the second is told that there are not enough (fault 4.6)."""
    shop = Shop(100)
    second = overlap(lambda: shop.redeem(order="A"), lambda: shop.redeem(order="B", n=1), schema=schema)
    used = Redemption.unscoped.filter(account=shop.account).count()
    return wrong([second.answer()], refusals=(ledger.NotEnoughPoints,), balance=(shop.points(), 0), used=(used, 1),
                 answer=(kind(second.answer()), "NotEnoughPoints"))  # fmt: skip


def merged_while_a_till_redeems(schema):
    """What the till took is gone from what moves."""
    shop = Shop(0)
    shop.give(500, shop.eve)
    merge = merging(shop, shop.ada, shop.eve)
    moved = overlap(lambda: shop.redeem(shop.eve), lambda: carry_out(shop, merge), schema=schema)
    return wrong([moved.answer()], balance=(shop.points(), 400), waited=(moved.waited, True))


# Merges and splits


def each_into_the_other(schema):
    shop = Shop(50)
    there, back = merging(shop, shop.ada, shop.eve), merging(shop, shop.eve, shop.ada)
    second = overlap(lambda: carry_out(shop, there), lambda: carry_out(shop, back), schema=schema)
    Merge.unscoped.filter(pk=back.pk).delete() if kind(second.answer()) == "CannotMerge" else None
    return wrong([second.answer()], refusals=(ledger.CannotMerge,), answer=(kind(second.answer()), "CannotMerge"))


def _among_three(move, shop: Shop, sale: int, lot: Lot, schema) -> list:
    """`move` is held up behind its wallets by a lot; a page settles the sale; then the lot is free. Their answers."""
    with transaction.atomic():
        list(Lot.unscoped.select_for_update().filter(pk=lot.pk))
        mover = Acting(move, schema=schema).settle()
        page = Acting(lambda: settle(shop, target(sale, shop.eve.pk, 40))).settle()
    return [mover.answer(), page.answer()]


def _refused_as_merged(answer) -> bool:
    return isinstance(answer, OperationalError) and getattr(answer.__cause__, "sqlstate", "") == "40001"


def a_page_while_it_is_merged(schema):
    """A page with the loser's sale waits for the merge, and is told that somebody was merged: never in a circle."""
    shop = Shop(0)
    (sale,) = make_sales(shop.account, 1)
    settle(shop, target(sale, shop.eve.pk, 60))
    merge = merging(shop, shop.ada, shop.eve)
    answers = _among_three(lambda: carry_out(shop, merge), shop, sale, Lot.unscoped.get(persona=shop.eve), schema)
    return wrong(answers[:1], told=(_refused_as_merged(answers[1]), True), balance=(shop.points(), 60))


def a_page_while_it_is_split(schema):
    """The same when the record becomes its own again: its sale is settled with it."""
    shop = Shop(0)
    origin = make_origin(shop.account, "77")
    land_customers(origin, customer("e"))
    shop.eve.sources(manager="unscoped").create(
        account=shop.account, customer=the_customer(origin, "e"), matched_by="phone"
    )
    sale = make_sale_of(origin, "e")
    settle(shop, target(sale, shop.eve.pk, 60))
    merge = shop.merge()
    child = Lot.unscoped.get(persona=shop.ada)
    answers = _among_three(
        lambda: ledger.split(account_id=shop.account.pk, merge_id=merge.pk, now=NOW), shop, sale, child, schema
    )
    return wrong(answers, balance=(shop.points(shop.eve), 40), left=(shop.points(), 0))


def make_sale_of(origin, customer_id: str) -> int:
    from integrations.models import Sale

    return Sale.unscoped.create(
        account_id=origin.account_id,
        origin=origin,
        external_id=f"of {customer_id}",
        customer_id=customer_id,
        sold_at=NOW,
    ).pk


def split_twice(schema):
    """Asked twice, it is taken back once; the second is told so, and not that there is nothing to split."""
    shop = Shop(50)
    merge = shop.merge()

    def split():
        return ledger.split(account_id=shop.account.pk, merge_id=merge.pk, now=NOW)

    second = overlap(split, split, schema=schema)
    return wrong([second.answer()], made=(getattr(second.answer(), "created", None), False))


def split_while_its_own_part_is_split(schema):
    """While the last of three rows leaves the middle one, that one leaves the first. Then each is its own."""
    shop = Shop(0)
    third = make_persona(shop.account)
    shop.give(30, third)
    inner = shop.merge(shop.eve, third)
    outer = shop.merge(shop.ada, shop.eve)
    second = overlap(lambda: shop.split(inner), lambda: shop.split(outer), schema=schema)
    third.refresh_from_db()
    return wrong([second.answer()], into=(third.merged_into_id, None), balance=(shop.points(third), 30))


def split_while_its_root_is_merged(schema):
    """The points went on to a third row: they come back from there."""
    shop = Shop(0)
    shop.give(30, shop.eve)
    third = make_persona(shop.account)
    first = shop.merge()
    on = merging(shop, third, shop.ada)
    second = overlap(lambda: carry_out(shop, on), lambda: shop.split(first), schema=schema)
    return wrong([second.answer()], balance=(shop.points(shop.eve), 30))


# Redemptions


def two_codes(schema):
    """Two tills and two codes: each has one, and neither waits for the other."""
    shop = Shop(100, code_kind="unique")
    shop.give(100, shop.eve)
    for code in "AB":
        CouponCode.unscoped.create(account=shop.account, discount=shop.discount, code=code)
    got = []
    second = overlap(lambda: got.append(shop.redeem().code), lambda: shop.redeem(shop.eve), schema=schema)
    got.append(getattr(second.answer(), "code", None))
    return wrong([second.answer()], codes=(got, ["A", "B"]), waited=(second.waited, False))


def released_while_its_sale_is_seen(schema):
    """The sweep finds no sale; a page that has just seen it is not committed yet: it stays settled, with its points."""
    shop = Shop(100)
    made = shop.redeem(order="A", channel="till")
    (sale,) = make_sales(shop.account, 1)
    seen = {"account_id": shop.account.pk, "redemption_id": shop.row(made).pk, "sale_id": sale, "now": NOW}
    sweep = overlap(
        lambda: ledger.settle_redemption(**seen),
        lambda: shop.revert(made, to_state="released", why="no_sale", only="applied"), schema=schema,
    )  # fmt: skip
    return wrong([sweep.answer()], state=(shop.row(made).state, "settled"), balance=(shop.points(), 0))


def _owed_elsewhere() -> tuple[Shop, object, Shortfall]:
    """A redemption of eve's whose missing points ada owes: it was taken anew while the two were one."""
    shop = Shop(0)
    shop.give(100, shop.eve)
    made = shop.redeem(shop.eve, order="A", channel="till")
    shop.revert(made, to_state="released", why="no_sale")
    ledger.adjust(account_id=shop.account.pk, persona_id=shop.eve.pk, points=Decimal(-100), key="spent", now=NOW)
    merge = shop.merge()
    (sale,) = make_sales(shop.account, 1)
    assert ledger.settle_again(account_id=shop.account.pk, redemption_id=shop.row(made).pk, sale_id=sale, now=NOW)
    shop.split(merge)
    shop.give(100)
    return shop, made, Shortfall.unscoped.get(account=shop.account)


def _collect(short: Shortfall):
    return ledger.collect(account_id=short.account_id, shortfall_id=short.pk, user_id=None, note="", now=NOW)


def given_back_while_it_is_collected(schema):
    """Both hold another wallet. What was collected for a use that did not happen comes back."""
    shop, made, short = _owed_elsewhere()
    second = overlap(lambda: _collect(short), lambda: shop.revert(made), schema=schema)
    return wrong([second.answer()], balance=(shop.points(), 100))


def collected_while_it_is_given_back(schema):
    """The other way round: nothing is owed any more, and nothing is taken."""
    shop, made, short = _owed_elsewhere()
    second = overlap(lambda: shop.revert(made), lambda: _collect(short), schema=schema)
    short.refresh_from_db()
    return wrong([second.answer()], balance=(shop.points(), 100), state=(short.state, "netted"))


# Sales, mirrors, expiry


def nobodys_sale_finds_two_owners(schema):
    """Two pages, each with another owner for a sale that was nobody's: it is the second's, and paid once."""
    shop = Shop(0)
    (sale,) = make_sales(shop.account, 1)
    settle(shop, target(sale, None, 0))
    answers = held_up_behind(
        shop.eve, lambda: settle(shop, target(sale, shop.eve.pk, 50)),
        lambda: settle(shop, target(sale, shop.ada.pk, 50)), schema=schema,
    )  # fmt: skip
    return wrong(answers, ada=(shop.points(), 50), eve=(shop.points(shop.eve), 0))


def a_page_while_a_till_redeems(schema):
    """The line of the sale says the balance that there was."""
    shop = Shop(100)
    (sale,) = make_sales(shop.account, 1)
    second = overlap(lambda: shop.redeem(), lambda: settle(shop, target(sale, shop.ada.pk, 50)), schema=schema)
    return wrong([second.answer()], balance=(shop.points(), 50))


def one_customer_two_personas(schema):
    """A POS customer moved to another persona: what the POS says of him is posted once, to one of the two."""
    shop = Shop(0)
    origin = make_origin(shop.account, "88")
    land_customers(origin, customer("m"))
    moved = the_customer(origin, "m")
    MirrorState.unscoped.create(account=shop.account, customer=moved, persona=shop.ada, at=NOW)

    def mirror(persona):
        return ledger.mirror(account_id=shop.account.pk, persona_id=persona.pk, customer_id=moved.pk,
                             balance=Decimal(50), now=NOW)  # fmt: skip

    answers = held_up_behind(shop.eve, lambda: mirror(shop.eve), lambda: mirror(shop.ada), schema=schema)
    return wrong(answers, both=(shop.points() + shop.points(shop.eve), 50))


def a_sweep_while_a_till_redeems(schema):
    """The till posts what is due itself; the sweep passes by without waiting."""
    shop = Shop(0)
    shop.give(100, expires_at=NOW + HOUR)
    shop.give(100)
    sweep = overlap(
        lambda: shop.redeem(now=NOW + DAY), lambda: ledger.expire_due(now=NOW + DAY), schema=schema
    )  # fmt: skip
    return wrong([sweep.answer()], waited=(sweep.waited, False), swept=(sweep.answer(), 0), balance=(shop.points(), 0))


def another_end_while_a_till_redeems(schema):
    """Who gives lots another end holds the wallet before the lots, as the till does: neither waits in a circle."""
    shop = Shop(100)
    lot = Lot.unscoped.get(persona=shop.ada)
    inside, go_on = threading.Event(), threading.Event()

    def rewrite():
        with transaction.atomic():
            ledger.reexpire(account_id=shop.account.pk, ends=[(lot.pk, NOW)], now=NOW + HOUR)
            inside.set()
            assert go_on.wait(30)
            return expiry.post_due(shop.account.pk, [shop.ada.pk], NOW + HOUR)

    rewriting = Acting(rewrite, schema=schema)
    assert inside.wait(30)
    till = Acting(lambda: shop.redeem(now=NOW + HOUR)).settle()
    go_on.set()
    answers = [rewriting.answer(), till.answer()]
    return wrong(answers, refusals=(ledger.NotEnoughPoints,), expired=(answers[0], 1), balance=(shop.points(), 0))


LOCKS = {
    "loyalty_open_wallet#1": [two_tills],
    "loyalty_open_wallets#1": [merged_while_a_till_redeems],
    "loyalty_merge#1": [each_into_the_other],
    "loyalty_merge#2": [a_page_while_it_is_merged],
    "loyalty_split#1": [split_twice],
    "loyalty_split#2": [split_while_its_own_part_is_split, split_while_its_root_is_merged],
    "loyalty_split#3": [a_page_while_it_is_split],
    "loyalty_mirror#1": [one_customer_two_personas],
    "loyalty_close_shortfall#1": [collected_while_it_is_given_back],
    "loyalty_forgive#1": [given_back_while_it_is_collected],
    "loyalty_redeem#1": [two_codes],
    "loyalty_revert#1": [released_while_its_sale_is_seen],
    "loyalty_settle_sales#1": [nobodys_sale_finds_two_owners],
    "loyalty_settle_sales#2": [a_page_while_a_till_redeems],
    "loyalty_expire_due#1": [a_sweep_while_a_till_redeems],
    "loyalty_reexpire#1": [another_end_while_a_till_redeems],
}
each = pytest.mark.parametrize(
    "lock, race", [(lock, race) for lock, races in LOCKS.items() for race in races],
    ids=[f"{lock}-{race.__name__}" for lock, races in LOCKS.items() for race in races],
)  # fmt: skip


@each
def test_right_with_its_lock_and_lost_without_it_alone(lock, race):
    once(race, lock)


def test_each_lock_of_the_ledger_has_its_case():
    assert set(LOCKS) == set(lock_lines())
    assert not_written_down([*LOCKS, *(race.__name__ for races in LOCKS.values() for race in races)]) == []


# Not locks, but what is looked at again behind one: the text, and the text without that care.


def merged_again_while_it_is_split(schema):
    """The call that carries out a merge is repeated while somebody takes it back: it stays taken back."""
    shop = Shop(0)
    merge = shop.merge()
    second = overlap(lambda: shop.split(merge), lambda: carry_out(shop, merge), schema=schema)
    shop.eve.refresh_from_db()
    return wrong([second.answer()], into=(shop.eve.merged_into_id, None))


def a_page_after_a_merge(schema):
    """The page was worked out for a persona that is part of another by now: it is refused, landed again, and right."""
    shop = Shop(0)
    (sale,) = make_sales(shop.account, 1)
    merge = merging(shop, shop.ada, shop.eve)
    page = overlap(
        lambda: carry_out(shop, merge), lambda: settle(shop, target(sale, shop.eve.pk, 50)), schema=schema
    )  # fmt: skip
    told = _refused_as_merged(page.answer())
    if told:
        settle(shop, target(sale, shop.ada.pk, 50))
    return wrong([], told=(told, True), balance=(shop.points(), 50))


def an_order_for_a_use_that_met_its_sale(schema):
    """A page has just given the use its sale: the till's order is another use, from a wallet read anew."""
    shop = Shop(100)
    made = shop.redeem()
    (sale,) = make_sales(shop.account, 1)
    till = overlap(
        lambda: ledger.settle_redemption(
            account_id=shop.account.pk, redemption_id=shop.row(made).pk, sale_id=sale, now=NOW
        ),
        lambda: shop.redeem(order="A"), schema=schema,
    )  # fmt: skip
    reason = getattr(till.answer(), "reason", "")
    return wrong([till.answer()], refusals=(ledger.NotAvailable,), reason=(reason, "stale"),
                 order=(shop.row(made).transaction, ""))  # fmt: skip


HELD = ("        v_held := v_root || v_rows;", "        EXIT;")
WAITED = "    SELECT * INTO v_merge FROM loyalty_merge WHERE id = p_merge;  -- it may have been split while we waited\n"
MERGED = ("JOIN loyalty_persona p ON p.id = t.id\n                   WHERE p.merged_into_id IS NOT NULL",
          "JOIN loyalty_persona p ON p.id = t.id WHERE false AND p.merged_into_id IS NOT NULL")  # fmt: skip
CARE = {
    merged_again_while_it_is_split: (WAITED, ""),
    split_while_its_own_part_is_split: HELD,
    split_while_its_root_is_merged: HELD,
    a_page_after_a_merge: MERGED,
    an_order_for_a_use_that_met_its_sale: (" AND sale_id IS NULL RETURNING", " RETURNING"),
}  # fmt: skip
careful = pytest.mark.parametrize("race", CARE, ids=lambda race: race.__name__)


@careful
def test_right_by_looking_again_and_lost_without(race):
    assert race("public") == []
    with functions_without(*CARE[race]) as schema:
        assert race(schema), CONTROL


# What people do twice


def test_fault_4_6_two_redemptions_at_once_and_points_for_one():
    once(two_tills, "loyalty_open_wallet#1")


def test_fault_2_5_a_boost_in_two_tabs_is_given_once():
    """And without the wallet's lock it is credited twice in one second, as reported."""

    def race(schema):
        shop = Shop(0)
        boost = Modifier.unscoped.create(account=shop.account, name="Hello", kind="boost", points=50)
        gift = ledger.BoostTarget(boost.pk, shop.ada.pk, None, Decimal(50), {}, None, NOW)
        second = overlap(lambda: settle(shop, boosts=[gift]), lambda: settle(shop, boosts=[gift]), schema=schema)
        given = Entry.unscoped.filter(account=shop.account, kind="boost").count()
        return wrong([second.answer()], given=(given, 1), balance=(shop.points(), 50))

    once(race, "loyalty_settle_sales#2")


def test_an_adjustment_by_one_key_is_posted_once():
    def race(schema):
        shop = Shop(0)

        def give():
            return ledger.adjust(
                account_id=shop.account.pk, persona_id=shop.ada.pk, points=Decimal(10), key="k", now=NOW
            )

        second = overlap(give, give, schema=schema)
        made = getattr(second.answer(), "created", None)
        return wrong([second.answer()], made=(made, False), balance=(shop.points(), 10))

    once(race, "loyalty_open_wallet#1")


def _owing() -> tuple[Shop, Shortfall]:
    """Ada owes 60 and has 100."""
    shop = Shop(0)
    (sale,) = make_sales(shop.account, 1)
    settle(shop, target(sale, shop.ada.pk, 60))
    ledger.adjust(account_id=shop.account.pk, persona_id=shop.ada.pk, points=Decimal(-60), key="spent", now=NOW)
    settle(shop, target(sale, shop.ada.pk, 0))
    shop.give(100)
    return shop, Shortfall.unscoped.get(account=shop.account)


@pytest.mark.parametrize("first", ["collect", "waive"])
def test_a_shortfall_is_collected_once_or_waived(first):
    """Two people on the page at once: what the first did stands."""

    def race(schema):
        shop, short = _owing()
        act = {"collect": ledger.collect, "waive": ledger.waive}[first]
        before = {"account_id": shop.account.pk, "shortfall_id": short.pk, "user_id": None, "note": "", "now": NOW}
        second = overlap(lambda: act(**before), lambda: _collect(short), schema=schema)
        short.refresh_from_db()
        return wrong([second.answer()], made=(getattr(second.answer(), "created", None), False),
                     state=(short.state, {"collect": "collected", "waive": "waived"}[first]),
                     balance=(shop.points(), {"collect": 40, "waive": 100}[first]))  # fmt: skip

    once(race, "loyalty_open_wallet#1", "loyalty_close_shortfall#1")
