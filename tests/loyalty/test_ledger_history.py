"""Random histories against a small model of the same rules, compared after each step, lots included.

LEDGER_HISTORIES sets how many (200 by default; `make test-long` runs 20,000).
"""

import os
import random
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from django.db import connection, transaction

from loyalty import audits, ledger
from loyalty.models import Discount

from ..factories import make_account, make_discount, make_persona
from .ledger_sales import make_sales, target

HISTORIES = int(os.environ.get("LEDGER_HISTORIES", "200"))
SEED = int(os.environ.get("LEDGER_SEED", "1"))
STEPS = 25
START = datetime(2026, 1, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)


@dataclass
class Lot:
    number: int
    left: int
    expires: int | None
    sale: int | None = None


@dataclass
class Use:
    discount: int
    n: int
    order: str
    taken: list[tuple[Lot, int]]
    points: int
    given: int = 0
    live: bool = True
    parts: set[int] = field(default_factory=set)


@dataclass
class Purse:
    """What the ledger promises for one persona, with plain numbers and hours since START."""

    lots: list[Lot] = field(default_factory=list)
    uses: list[Use] = field(default_factory=list)
    entries: int = 0

    @property
    def balance(self) -> int:
        return sum(lot.left for lot in self.lots)

    def expire(self, hour: int) -> int:
        due = [lot for lot in self.lots if lot.left and lot.expires is not None and lot.expires <= hour]
        for lot in due:
            lot.left = 0
        self.entries += len(due)
        return len(due)

    def credit(self, points: int, expires: int | None, sale: int | None = None) -> None:
        self.lots.append(Lot(len(self.lots), points, expires, sale))
        self.entries += 1

    def debit(self, points: int, sale: int | None = None) -> list[tuple[Lot, int]]:
        def order(lot: Lot) -> tuple:
            own = sale is None or lot.sale != sale
            return own, lot.expires is None, lot.expires or 0, lot.number

        taken = []
        for lot in sorted(self.lots, key=order):
            part = min(lot.left, points)
            if part:
                lot.left, points = lot.left - part, points - part
                taken.append((lot, part))
        assert points == 0
        self.entries += 1
        return taken

    def give_back(self, use: Use, points: int) -> None:
        skip, want = use.given, points
        for lot, part in reversed(use.taken):
            over = min(skip, part)
            skip, part = skip - over, part - over
            back = min(part, want)
            lot.left, want = lot.left + back, want - back
        use.given += points
        self.entries += points > 0
        if use.given == use.points:
            use.live = False


class History:
    """One account, two personas, some sales and discounts; each step acts on both sides and compares."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)
        self.account = make_account()
        self.people = [make_persona(self.account).pk for _ in range(2)]
        self.purses = {persona: Purse() for persona in self.people}
        self.sales = {sale: (None, 0) for sale in make_sales(self.account, 4)}
        self.seen: set[int] = set()
        self.short = 0
        self.discounts: list[Discount] = [
            make_discount(self.account, points=60),
            make_discount(self.account, points=25),
            make_discount(self.account, points=40, reusable=False),
        ]
        self.public: dict[int, object] = {}
        self.hour, self.keys = 0, 0
        self.log: list[str] = []

    @property
    def now(self) -> datetime:
        return START + self.hour * HOUR

    def at(self, hour: int | None) -> datetime | None:
        return None if hour is None else START + hour * HOUR

    def step(self) -> None:
        self.hour += self.chance.randrange(4)
        acts = [
            self.give,
            self.take,
            self.settle,
            self.settle,
            self.redeem,
            self.redeem,
            self.redeem,
            self.revert,
            self.sweep,
        ]
        act = self.chance.choice(acts)
        self.log.append(f"hour {self.hour}: {act.__name__}")
        act()
        self.compare()

    def expires(self) -> int | None:
        return self.chance.choice([None, self.hour + self.chance.randrange(1, 12)])

    def give(self) -> None:
        persona, points, expires = self.chance.choice(self.people), self.chance.randrange(1, 80), self.expires()
        self.adjust(persona, points, expires)
        self.purses[persona].expire(self.hour)
        self.purses[persona].credit(points, expires)

    def take(self) -> None:
        persona, points = self.chance.choice(self.people), self.chance.randrange(1, 60)
        purse = self.purses[persona]
        purse.expire(self.hour)
        if points <= purse.balance:
            self.adjust(persona, -points, None)
            purse.debit(points)
        else:
            with pytest.raises(ledger.NotEnoughPoints) as refused:
                self.adjust(persona, -points, None)
            assert (refused.value.balance, refused.value.asked) == (purse.balance, points)

    def adjust(self, persona: int, points: int, expires: int | None) -> None:
        self.keys += 1
        ledger.adjust(
            account_id=self.account.pk,
            persona_id=persona,
            points=Decimal(points),
            key=str(self.keys),
            now=self.now,
            expires_at=self.at(expires),
        )

    def settle(self) -> None:
        page, wanted = [], {}
        for sale in self.chance.sample(sorted(self.sales), self.chance.randrange(1, 4)):
            persona = self.chance.choice([*self.people, self.people[0], None])
            points = self.chance.choice([0, 10, 35, 70, -20]) if persona else 0
            wanted[sale] = (persona, points, self.expires())
            page.append(target(sale, persona, points, expires_at=self.at(wanted[sale][2])))
        fresh = [sale for sale in wanted if self.sales[sale][0] is None and sale not in self.seen]
        self.seen.update(wanted)
        ledger.settle_sales(account_id=self.account.pk, targets=page, now=self.now)
        # New sales worth something come first, the others in their order: that is the order of the lots.
        first = [sale for sale in sorted(wanted) if sale in fresh and wanted[sale][1] > 0]
        rest = [sale for sale in sorted(wanted) if sale not in first]
        touched = {p for s in wanted for p in (wanted[s][0], self.sales[s][0]) if p and self.moves(s, wanted[s])}
        for persona in touched:
            self.purses[persona].expire(self.hour)
        for sale in first + rest:
            self.bring(sale, *wanted[sale])

    def moves(self, sale: int, wanted: tuple) -> bool:
        owner, posted = self.sales[sale]
        return posted != wanted[1] or (owner != wanted[0] and posted != 0)

    def bring(self, sale: int, persona: int | None, points: int, expires: int | None) -> None:
        owner, posted = self.sales[sale]
        if owner != persona:
            if posted:
                self.post(owner, sale, -posted, expires)
            posted = 0
        if points != posted:
            self.post(persona, sale, points - posted, expires)
        self.sales[sale] = (persona, points)

    def post(self, persona: int, sale: int, points: int, expires: int | None) -> None:
        purse = self.purses[persona]
        if points > 0:
            purse.credit(points, expires, sale)
            return
        there = min(purse.balance, -points)
        if there:
            purse.debit(there, sale)
        self.short += -points - there

    def redeem(self) -> None:
        persona, place = self.chance.choice(self.people), self.chance.randrange(3)
        purse, discount = self.purses[persona], self.discounts[place]
        before = [use for use in purse.uses if use.discount == place]
        n = self.chance.choice([len(before), self.chance.randrange(len(before) + 1)])
        order = self.chance.choice(["", "A", "B", "C"])
        purse.expire(self.hour)
        expected = self.answer(purse, place, before, n, order, int(discount.points))

        def ask():
            return ledger.redeem(
                account_id=self.account.pk,
                persona_id=persona,
                discount_id=discount.pk,
                n=n,
                transaction=order,
                channel="web",
                now=self.now,
            )

        self.log.append(f"  persona {persona} discount {place} n {n} order {order!r}: {expected}")
        if isinstance(expected, type):
            with pytest.raises(expected):
                ask()
            return
        made = ask()
        if expected is None:
            points = int(discount.points)
            expected = Use(place, len(before), order, purse.debit(points), points)
            purse.uses.append(expected)
            self.public[id(expected)] = made.redemption_id
            assert made.created
        else:
            assert not made.created
            expected.order = expected.order or order
        assert made.redemption_id == self.public[id(expected)]
        assert (made.n, made.transaction, made.balance) == (expected.n, expected.order, purse.balance)

    def answer(self, purse, place, before, n, order, price) -> Use | type | None:
        """The use that is the same request, the refusal, or None: a new use."""
        live = [use for use in before if use.live]
        if order:
            for use in live:
                if use.order == order:
                    return use
            if any(use.order == order and use.n >= n for use in before):
                return ledger.AlreadyUsed
        same = before[n] if n < len(before) else None
        if same and not same.live:
            return ledger.AlreadyUsed
        if same and not order:
            return same
        if order and any(use.live and use.order == order and use.discount != place for use in purse.uses):
            return ledger.OneDiscountPerOrder
        if same and not same.order:
            return same
        if place == 2 and live:
            return ledger.AlreadyUsed
        return ledger.NotEnoughPoints if purse.balance < price else None

    def revert(self) -> None:
        persona = self.chance.choice(self.people)
        purse = self.purses[persona]
        if not purse.uses:
            return
        use, part = self.chance.choice(purse.uses), self.chance.choice([None, None, 7, 20])
        purse.expire(self.hour)

        def ask():
            return ledger.revert(
                account_id=self.account.pk,
                redemption_public_id=self.public[id(use)],
                now=self.now,
                points=part and Decimal(part),
            )

        again = part in use.parts or (part is None and not use.live)
        if not again and part and part > use.points - use.given:
            with pytest.raises(ledger.NothingToRevert):
                ask()
            return
        answer = ask()
        assert answer.created != again
        if not again:
            purse.give_back(use, part or use.points - use.given)
            purse.expire(self.hour)
            use.parts.add(part)
        assert (answer.reverted_total, answer.balance) == (use.given, purse.balance)

    def sweep(self) -> None:
        # The sweep is over all accounts; histories run one at a time, so it is this one's.
        assert ledger.expire_due(now=self.now) == sum(p.expire(self.hour) for p in self.purses.values())

    def compare(self) -> None:
        with connection.cursor() as cursor:
            for persona, purse in self.purses.items():
                cursor.execute(
                    """SELECT (SELECT balance FROM loyalty_wallet WHERE persona_id = %s),
                              (SELECT array_agg(remaining ORDER BY id) FROM loyalty_lot WHERE persona_id = %s),
                              (SELECT count(*) FROM loyalty_entry WHERE persona_id = %s)""",
                    [persona] * 3,
                )
                balance, lots, entries = cursor.fetchone()
                assert (balance, lots or [], entries) == (
                    purse.balance,
                    [lot.left for lot in purse.lots],
                    purse.entries,
                )
            cursor.execute(
                "SELECT coalesce(sum(points), 0) FROM loyalty_shortfall WHERE account_id = %s", [self.account.pk]
            )
            assert cursor.fetchone()[0] == self.short


@pytest.mark.django_db
def test_histories():
    for seed in range(SEED, SEED + HISTORIES):
        with transaction.atomic():
            history = History(seed)
            try:
                for _ in range(STEPS):
                    history.step()
                if seed % 20 == 0:
                    assert audits.violations(account_id=history.account.pk) == []
            except BaseException as error:
                error.add_note(f"history {seed}:\n" + "\n".join(history.log))
                raise
            transaction.set_rollback(True)
