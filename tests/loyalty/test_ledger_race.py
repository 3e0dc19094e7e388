"""Many at once on the same wallets. Each race has its control: without the lock lines the same race must fail.

LEDGER_RACE_ROUNDS sets how often each race is run (3 by default).
"""

import os
import random
import uuid
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from loyalty import audits, ledger
from loyalty.models import Redemption, Wallet

from ..factories import make_account, make_discount, make_persona
from .ledger_sales import make_sales, target
from .race import at_once, unlocked_functions

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
    def __init__(self, points=0, **options) -> None:
        self.account = make_account()
        self.persona = make_persona(self.account)
        self.discount = make_discount(self.account, points=100)
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
    """What should not have happened: an answer that is no refusal, a figure that differs, a broken invariant."""
    flat = [one for answer in answers for one in (answer if isinstance(answer, list) else [answer])]
    errors = [repr(one) for one in flat if isinstance(one, Exception) and not isinstance(one, REFUSALS)]
    figures = [f"{name}: {got} instead of {want}" for name, (got, want) in expected.items() if got != want]
    return errors + figures + [f"{v.rule.name}: {v.examples}" for v in audits.violations()]


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


RACES = [
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
