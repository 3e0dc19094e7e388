"""The sweep, the sale, the till and a second sweep at the same moment: what is done is done once, and the sale wins.

Each race has its control: without the line that guards it the same meeting must end wrong.
"""

import threading
import time
from contextlib import nullcontext

import pytest
from django.db import connection, transaction

from loyalty import ledger, reconcile
from loyalty.models import Entry, Redemption
from tests.loyalty.race import at_once, functions_without, unlocked_functions, waiting
from tests.loyalty.test_release import HOUR, Shop, sold
from tests.records import NOON, land_sales

pytestmark = pytest.mark.django_db(transaction=True)
READ = NOON + 30 * HOUR
CONTROL_ROUNDS = 40  # a race that is not lost in so many rounds is no race
# Settling takes no wallet: who gives back holds the redemption's row.
HELD = (
    """WHERE id = v_found.id
        FOR UPDATE -- lock
    ;""",
    "WHERE id = v_found.id;",
)


class Meeting:
    """One redemption, applied, and its sale landed but not met yet; every sale of its time is known."""

    def __init__(self, *, met=False, evidence=True) -> None:
        self.shop = Shop()
        self.made = self.shop.redeem("T1")
        self.row = Redemption.unscoped.get(account=self.shop.account)
        if met:
            self.shop.arrive(sold())
        if evidence:
            self.shop.read(READ)

    def arrive(self):
        with transaction.atomic():
            self.shop.arrive(sold(), now=READ)

    def release(self):
        return reconcile.release_due(now=READ)

    def revert(self):
        return ledger.revert(
            account_id=self.shop.account.pk, redemption_public_id=self.made.redemption_id, now=READ, why="till"
        )

    def wrong(self, answers, *states) -> list[str]:
        """Errors, broken invariants, an end that is none of these (state, points of the shopper), entries too many."""
        self.row.refresh_from_db()
        errors = [repr(one) for one in answers if isinstance(one, Exception)]
        end = (self.row.state, int(self.shop.points))
        entries = list(Entry.unscoped.filter(redemption=self.row).order_by("id").values_list("kind", flat=True))
        if entries not in (["redeem"], ["redeem", "reverse"], ["redeem", "reverse", "redeem"]):
            errors.append(f"entries {entries}")
        return errors + ([] if end in states else [f"ended as {end}"]) + self.shop.sound()


def while_waiting(act, meanwhile, schema: str) -> list[object]:
    """`act` begins once `meanwhile` has been done and not committed, and goes on when it waits for that, or is over."""
    held, over = threading.Event(), threading.Event()

    def late():
        held.wait(60)
        try:
            return act()
        finally:
            over.set()

    def first():
        with transaction.atomic():
            done = meanwhile()
            held.set()
            with connection.cursor() as cursor:
                for _ in range(3000):
                    if waiting(cursor) or over.is_set():
                        return done
                    time.sleep(0.01)
        raise AssertionError("nobody waited, nobody was ready")

    return at_once([first, late], schema=schema)


# Who comes, what is under way, and how it has to end: (state, the shopper's points; 1,000 and 100 of the sale).
ENDS = {
    "the sweep, while the sale is met": ("release", "arrive", ("settled", 1000)),
    "the till's revert, while the sale is met": ("revert", "arrive", ("reverted", 1100)),
    "the sale, while the sweep releases": ("arrive", "release", ("settled", 1000)),
    "the sale, while the till gives back": ("arrive", "revert", ("reverted", 1100)),
    "the till's revert, while the sweep releases": ("revert", "release", ("released", 1000)),
    "a second sweep": ("release", "release", ("released", 1000)),
}


@pytest.mark.parametrize("act, meanwhile, end", ENDS.values(), ids=ENDS)
def test_one_comes_while_another_is_at_it(act, meanwhile, end):
    meeting = Meeting()
    answers = while_waiting(getattr(meeting, act), getattr(meeting, meanwhile), "public")
    assert meeting.wrong(answers, end) == []


@pytest.mark.parametrize("careful", [True, False], ids=["careful", "control"])
def test_a_redemption_settled_this_moment_is_not_released(careful):
    """Without the row's lock the sweep reads `applied`, waits with its last word, and overwrites what was settled."""
    meeting = Meeting()
    land_quietly(meeting)

    def settle():
        return ledger.settle_redemption(
            account_id=meeting.shop.account.pk, redemption_id=meeting.row.pk, sale_id=sale_of(meeting), now=READ,
            matched_by="transaction",
        )  # fmt: skip

    with nullcontext("public") if careful else functions_without(*HELD) as schema:
        answers = while_waiting(meeting.release, settle, schema)
    wrong = meeting.wrong(answers, ("settled", 900))
    assert (wrong == []) is careful, wrong


def land_quietly(meeting) -> None:
    """The sale is there and nobody has been told: without points, without its redemption."""
    land_sales(meeting.shop.origin, sold())


def sale_of(meeting) -> int:
    return meeting.shop.origin.sales(manager="unscoped").get().pk


def everybody(schema):
    """Four sweeps, the sale twice, and the till, at once."""
    meeting = Meeting()
    answers = at_once([meeting.release] * 4 + [meeting.arrive, meeting.revert], schema=schema)
    return meeting.wrong(answers, ("settled", 1000), ("reverted", 1100))


def settled_and_given_back(schema):
    """A settled one that the till gives back eight times while two sweeps pass by."""
    meeting = Meeting(met=True)
    answers = at_once([meeting.revert] * 8 + [meeting.release] * 2, schema=schema)
    return meeting.wrong(answers, ("reverted", 1100))


def sweeps(schema):
    """Six sweeps over ten redemptions of one shopper."""
    meeting = Meeting()
    for n in range(1, 10):
        meeting.shop.redeem(f"X{n}", n=n)
    answers = at_once([meeting.release] * 6, schema=schema)
    wrong = meeting.wrong(answers, ("released", 1000))
    counted = sum(one for one in answers if isinstance(one, int))
    return wrong + ([] if counted == 10 else [f"{counted} were counted as released, 10 are there"])


RACES = [everybody, settled_and_given_back, sweeps]
by_name = pytest.mark.parametrize("race", RACES, ids=lambda race: race.__name__)


@by_name
def test_race(race):
    for _ in range(3):
        assert race("public") == []


@by_name
def test_control_without_locks_the_race_is_lost(race):
    with unlocked_functions() as schema:
        for _ in range(CONTROL_ROUNDS):
            if race(schema):
                return
    pytest.fail("never lost without locks: this race proves nothing")


@pytest.mark.parametrize("careful", [True, False], ids=["careful", "control"])
def test_two_redemptions_and_one_sale(careful):
    """Staff name the sale of one while the other is settled with it: the sale is one's alone."""
    meeting = Meeting(evidence=False)
    meeting.shop.redeem("T2", n=1)
    land_quietly(meeting)
    rows = list(Redemption.unscoped.order_by("id").values_list("pk", flat=True))
    asked = {"account_id": meeting.shop.account.pk, "sale_id": sale_of(meeting), "now": READ}
    if not careful:
        with connection.cursor() as cursor:
            cursor.execute("DROP INDEX redemption_sale_once")
    try:
        answers = while_waiting(
            lambda: ledger.settle_redemption(**asked, redemption_id=rows[1]),
            lambda: ledger.settle_redemption(**asked, redemption_id=rows[0]), "public",
        )  # fmt: skip
        assert answers == ([True, False] if careful else [True, True])
    finally:
        if not careful:
            Redemption.unscoped.filter(pk=rows[1]).update(sale=None)
            with connection.cursor() as cursor:
                cursor.execute(
                    "CREATE UNIQUE INDEX redemption_sale_once ON loyalty_redemption (sale_id, discount_id)"
                    " WHERE sale_id IS NOT NULL AND state = 'settled'"
                )
