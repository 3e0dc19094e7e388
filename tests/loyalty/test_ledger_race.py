"""Many at once on the same wallets. Each race has its control: without the lock lines the same race must fail.

LEDGER_RACE_ROUNDS sets how often each race is run (3 by default).
"""

import os
import random
import threading
import time
import uuid
from contextlib import nullcontext
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from django.db import connection, transaction

from loyalty import ledger
from loyalty.models import CouponCode, Merge, Redemption, Wallet

from ..factories import make_account, make_discount, make_persona
from .ledger_sales import make_sales, target
from .race import at_once, functions_without, unlocked_functions, waiting, wrong

pytestmark = pytest.mark.django_db(transaction=True)
NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
DAY = timedelta(days=1)
ROUNDS = int(os.environ.get("LEDGER_RACE_ROUNDS", "3"))
CONTROL_ROUNDS = 40  # a race that is not lost in so many rounds is no race

REFUSALS = (
    ledger.NotEnoughPoints,
    ledger.AlreadyUsed,
    ledger.NotAvailable,
    ledger.OneDiscountPerOrder,
    ledger.NothingToRevert,
)


class Shopper:
    def __init__(self, points=0, *, account=None, discount=None, **options) -> None:
        self.account = account or make_account()
        self.persona = make_persona(self.account)
        self.discount = discount or make_discount(self.account, points=100)
        self.ids = {"account_id": self.account.pk, "persona_id": self.persona.pk}
        if points:
            self.give(points, **options)

    def give(self, points, **options):
        return ledger.adjust(**self.ids, points=Decimal(points), **{"key": str(uuid.uuid4()), "now": NOW} | options)

    def redeem(self, order, n=0, now=NOW):
        return ledger.redeem(**self.ids, discount_id=self.discount.pk, n=n, transaction=order, channel="web", now=now)

    def revert(self, public_id, points=None, now=NOW):
        return ledger.revert(account_id=self.account.pk, redemption_public_id=public_id, points=points, now=now)

    @property
    def balance(self):
        return Wallet.unscoped.get(persona=self.persona).balance


def _wrong(answers, **expected) -> list[str]:
    return wrong(answers, refusals=REFUSALS, **expected)


def _made(answers):
    return sum(getattr(answer, "created", False) for answer in answers)


def two_tills_one_balance(schema):
    """Sixteen orders at once, points for five."""
    shopper = Shopper(520)
    answers = at_once([lambda n=n: shopper.redeem(f"T{n}") for n in range(16)], schema=schema)
    return _wrong(answers, made=(_made(answers), 5), balance=(shopper.balance, 20))


def retry_storm(schema):
    """One order, asked two hundred times."""
    shopper = Shopper(1000)

    def storm():
        return [shopper.redeem("T1") for _ in range(13)]

    answers = at_once([storm] * 16, schema=schema)
    same = {one.redemption_id for many in answers if isinstance(many, list) for one in many}
    return _wrong(answers, redemptions=(len(same), 1), balance=(shopper.balance, 900))


def one_address(schema):
    """The same redemption address from a double click, some with an order, some without."""
    shopper = Shopper(1000)
    answers = at_once([lambda n=n: shopper.redeem("T1" if n % 2 else "") for n in range(12)], schema=schema)
    return _wrong(answers, made=(_made(answers), 1), balance=(shopper.balance, 900))


def one_key(schema):
    """The same posting by key."""
    shopper = Shopper()
    answers = at_once([lambda: shopper.give(10, key="k")] * 12, schema=schema)
    return _wrong(answers, made=(_made(answers), 1), balance=(shopper.balance, 10))


def giving_back(schema):
    """The whole of it by eight, parts of it by eight."""
    shopper = Shopper(60, expires_at=NOW + DAY)
    shopper.give(60)
    made = shopper.redeem("T1")
    parts = [None] * 8 + [Decimal(30)] * 4 + [Decimal(40)] * 4
    answers = at_once([lambda p=p: shopper.revert(made.redemption_id, p) for p in parts], schema=schema)
    return _wrong(answers, balance=(shopper.balance, 120))


def expiry(schema):
    """Three sweeps and ten calls meet the same due lots."""
    shopper = Shopper()
    for _ in range(5):
        shopper.give(10, expires_at=NOW + DAY)
    shopper.give(7)
    calls = [lambda: ledger.expire_due(now=NOW + DAY)] * 3 + [
        lambda n=n: shopper.give(1, key=f"{n}:{uuid.uuid4()}", now=NOW + DAY) for n in range(10)
    ]
    answers = at_once(calls, schema=schema)
    return _wrong(answers, balance=(shopper.balance, 17))


def melee(schema):
    """Redeem, give back, settle, earn, adjust and expire, all on one member."""
    shopper = Shopper(400)
    sales = make_sales(shopper.account, 6)
    for n in range(4):
        shopper.give(60, expires_at=NOW + (n + 1) * DAY)
    started = [shopper.redeem(f"S{n}").redemption_id for n in range(3)]
    rows = dict(Redemption.unscoped.filter(account=shopper.account).values_list("public_id", "pk"))

    def fight(seed):
        chance, done = random.Random(seed), []
        for _ in range(12):
            now = NOW + chance.randrange(6) * DAY
            redemption, sale = chance.choice(started), chance.choice(sales)
            acts = [
                lambda now=now: shopper.redeem(f"T{chance.randrange(4)}", n=chance.randrange(6), now=now),
                lambda now=now, r=redemption: shopper.revert(r, chance.choice([None, Decimal(30)]), now=now),
                lambda now=now, r=redemption, s=sale: ledger.settle_redemption(
                    account_id=shopper.account.pk, redemption_id=rows[r], sale_id=s, now=now
                ),
                lambda now=now, s=sale: ledger.settle_sales(
                    account_id=shopper.account.pk,
                    targets=[target(s, shopper.persona.pk, chance.randrange(100), expires_at=now + DAY)],
                    now=now,
                ),
                lambda now=now: ledger.expire_due(now=now),
                lambda now=now: shopper.give(chance.choice([-50, 20]), now=now),
            ]
            try:
                done.append(chance.choice(acts)())
            except REFUSALS as refusal:
                done.append(refusal)
        return done

    return _wrong(at_once([lambda seed=seed: fight(seed) for seed in range(10)], schema=schema))


def overlapping_pages(schema):
    """Pages of the same sales in any order, of many members, with targets and owners that differ."""
    account = make_account()
    people = [make_persona(account).pk for _ in range(12)]
    sales = make_sales(account, 60)

    def page(seed):
        chance = random.Random(seed)
        part = chance.sample(sales, 40)
        return ledger.settle_sales(
            account_id=account.pk,
            targets=[
                target(sale, chance.choice(people[:3] + [people[sale % 12]] * 9), chance.randrange(1, 50))
                for sale in part
            ],
            now=NOW,
        )

    return _wrong(at_once([lambda seed=seed: [page(seed), page(seed + 99)] for seed in range(8)], schema=schema))


def codes_run_out(schema):
    """Eight shoppers at eight tills, three codes left: each code is one shopper's."""
    account = make_account()
    discount = make_discount(account, code_kind="unique")
    for code in "ABC":
        CouponCode.unscoped.create(account=account, discount=discount, code=f"{code}{discount.pk}")
    shoppers = [Shopper(100, account=account, discount=discount) for _ in range(8)]
    answers = at_once([lambda one=one: one.redeem("T1") for one in shoppers], schema=schema)
    got = [answer.code for answer in answers if not isinstance(answer, Exception)]
    refused = [answer for answer in answers if isinstance(answer, ledger.NotAvailable) and answer.reason == "no_code"]
    kept = CouponCode.unscoped.filter(discount=discount, redemption__isnull=False).values("redemption").distinct()
    return _wrong(answers, codes=(len(set(got)), 3), shoppers=(len(got), 3), refused=(len(refused), 5),
                  kept=(kept.count(), 3))  # fmt: skip


def merged_meanwhile(schema):
    """A shopper redeems at ten tills, by the addresses of two rows, while the two become one. Nothing is refused."""
    shopper = Shopper(500)
    other = Shopper(500, account=shopper.account, discount=shopper.discount)
    merge = Merge.unscoped.create(account=shopper.account, survivor=shopper.persona, loser=other.persona, why="manual",
                                  at=NOW, survivor_balance=0, loser_balance=0)  # fmt: skip
    orders = [lambda n=n, who=who: who.redeem(f"T{n}{who.persona.pk}") for n in range(5) for who in (shopper, other)]
    moved = [lambda: ledger.merge(account_id=shopper.account.pk, merge_id=merge.pk, now=NOW)]
    answers = at_once(orders[:5] + moved + orders[5:], schema=schema)
    # An address that was never used before the merge is out of date after it: both rows had the number 0.
    stale = [one for one in answers if isinstance(one, ledger.NotAvailable) and one.reason == "stale"]
    other_refusals = [one for one in answers if isinstance(one, REFUSALS) and one not in stale]
    left = 1000 - 100 * (_made(answers) - 1)  # the merge says `created` too
    return _wrong(answers, refused=(other_refusals, []), left=(shopper.balance + other.balance, left),
                  loser=(other.balance, 0))  # fmt: skip


RACES = [
    codes_run_out,
    merged_meanwhile,
    two_tills_one_balance,
    retry_storm,
    one_address,
    one_key,
    giving_back,
    expiry,
    melee,
    overlapping_pages,
]
by_name = pytest.mark.parametrize("race", RACES, ids=lambda race: race.__name__)


@by_name
def test_race(race):
    for _ in range(ROUNDS):
        assert race("public") == []


@by_name
def test_control_without_locks_the_race_is_lost(race):
    with unlocked_functions() as schema:
        for round_ in range(CONTROL_ROUNDS):
            if wrong := race(schema):
                print(f"{race.__name__}: lost in round {round_ + 1}: {wrong[0][:200]}")
                return
    pytest.fail("never lost without locks: this race proves nothing")


def _waiting(act, meanwhile, schema: str):
    """`act` begins, waits for what `meanwhile` holds, and goes on when that is committed. Its answer, or exception."""
    held, answers = threading.Event(), []

    def late():
        held.wait(60)
        return act()

    def first():
        with transaction.atomic():
            meanwhile()
            held.set()
            with connection.cursor() as cursor:  # until the other one waits for us
                for _ in range(3000):
                    if waiting(cursor):
                        break
                    time.sleep(0.01)
                else:
                    raise AssertionError("nobody waited")

    answers = at_once([late, first], schema=schema)
    assert answers[1] is None, answers[1]
    return answers[0]


# What is looked at again once a wallet is held: (verb, the text of the precaution, the text without it).
AGAIN = {
    "redeem": ("        EXIT WHEN v_again = o_root;", "        EXIT;"),
    "revert": ("        EXIT WHEN v_wallets <@ v_opened;", "        EXIT WHEN v_opened <> '{}';"),
}


@pytest.mark.parametrize("careful", [True, False], ids=["careful", "control"])
@pytest.mark.parametrize("verb", AGAIN)
def test_merged_while_waiting_for_the_wallet(verb, careful):
    """The points are at the root when the wallet is free; a root's own due points go before its balance is told."""
    shopper = Shopper(500)
    root = Shopper(60, account=shopper.account, discount=shopper.discount, expires_at=NOW + DAY)
    made = shopper.redeem("T1")
    merge = Merge.unscoped.create(account=shopper.account, survivor=root.persona, loser=shopper.persona, why="manual",
                                  at=NOW, survivor_balance=0, loser_balance=0)  # fmt: skip

    def act():
        if verb == "redeem":
            return shopper.redeem("T2", n=1)
        return shopper.revert(made.redemption_id, now=NOW + DAY)

    def meanwhile():
        ledger.merge(account_id=shopper.account.pk, merge_id=merge.pk, now=NOW)

    with nullcontext("public") if careful else functions_without(*AGAIN[verb]) as schema:
        answer = _waiting(act, meanwhile, schema)
    right = not isinstance(answer, Exception) and answer.balance == {"redeem": 360, "revert": 500}[verb]
    assert right is careful, answer
    if careful:
        assert _wrong([answer]) == [] and root.balance == answer.balance
