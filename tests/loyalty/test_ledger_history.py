"""Random histories against a small model of the same rules, compared after each step, lots included.

LEDGER_HISTORIES sets how many (2,000 by default, 20,000 with AIQSYNC_LONG), LEDGER_SEED the first.
"""

import os
import random
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from django.db import connection, transaction

from integrations.models import Customer, Origin, Sale
from loyalty import audits, ledger
from loyalty.models import Discount, Merge, Modifier, Shortfall, Source

from ..factories import make_account, make_discount, make_persona
from .ledger_model import Merge as MergeModel
from .ledger_model import Model, Use
from .ledger_sales import make_sales, target

HISTORIES = int(os.environ.get("LEDGER_HISTORIES", "20000" if os.environ.get("AIQSYNC_LONG") else "2000"))
SEED = int(os.environ.get("LEDGER_SEED", "1"))
STEPS = 14
START = datetime(2026, 1, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)

# One statement compares everything: per persona its balance, where it is merged into, its lots and its entries.
_STATE = """
SELECT p.id, p.merged_into_id, coalesce(w.balance, 0),
       (SELECT array_agg(remaining::int ORDER BY id) FROM loyalty_lot l WHERE l.persona_id = p.id),
       (SELECT array_agg(extract(epoch FROM expires_at)::bigint ORDER BY id) FROM loyalty_lot l
        WHERE l.persona_id = p.id AND l.open),
       (SELECT count(*) FROM loyalty_entry e WHERE e.persona_id = p.id),
       (SELECT coalesce(sum(points - netted - collected), 0) FROM loyalty_shortfall f
        WHERE f.persona_id = p.id AND f.state = 'open')
FROM loyalty_persona p LEFT JOIN loyalty_wallet w ON w.persona_id = p.id WHERE p.account_id = %s ORDER BY p.id
"""


class World:
    """Rows every history starts from; each history is rolled back."""

    def __init__(self) -> None:
        self.account = make_account()
        self.people = [make_persona(self.account).pk for _ in range(4)]
        self.discounts: list[Discount] = [
            make_discount(self.account, points=60),
            make_discount(self.account, points=25),
            make_discount(self.account, points=40, reusable=False),
        ]
        self.modifiers = [
            Modifier.unscoped.create(
                account=self.account, name=str(points), kind="boost", points=points, with_sale=True
            ).pk
            for points in (30, 55, -45)
        ]
        self.gifts = dict(zip(self.modifiers, (30, 55, -45), strict=True))
        origin, _ = Origin.unscoped.get_or_create(account=self.account, platform="push", identity="push")
        self.sales = make_sales(self.account, 6)
        self.home = {}
        self.sources = {}
        self.customers = []
        for place, sale in enumerate(self.sales):
            persona = self.people[place % 4]
            customer = Customer.unscoped.create(account=self.account, origin=origin, external_id=f"c{sale}")
            Sale.unscoped.filter(pk=sale).update(customer_id=f"c{sale}")
            self.sources[sale] = Source.unscoped.create(
                account=self.account, persona_id=persona, customer=customer, matched_by="new"
            ).pk
            self.home[sale] = persona
            self.customers.append((customer.pk, persona))
        self.records = {customer: sale for (customer, _), sale in zip(self.customers, self.sales, strict=True)}


class History:
    def __init__(self, world: World, seed: int) -> None:
        self.world, self.chance = world, random.Random(seed)
        self.account_id = world.account.pk
        self.model = Model(world.people)
        self.model.home, self.model.records = dict(world.home), world.records
        self.hour, self.keys = 0, 0
        self.public: dict[Use, object] = {}
        self.merge_rows: dict[MergeModel, int] = {}
        self.log: list[str] = []
        self.acts = [
            self.give, self.give, self.take, self.settle, self.settle, self.settle, self.redeem, self.redeem,
            self.redeem, self.revert, self.revert, self.sweep, self.merge, self.merge, self.split, self.mirror,
            self.boost, self.close_short, self.move_sale,
        ]  # fmt: skip

    @property
    def now(self) -> datetime:
        return START + self.hour * HOUR

    def at(self, hour: int | None) -> datetime | None:
        return None if hour is None else START + hour * HOUR

    def step(self) -> None:
        self.hour += self.chance.randrange(4)
        act = self.chance.choice(self.acts)
        self.log.append(f"hour {self.hour}: {act.__name__}")
        act()
        self.compare()

    def expires(self) -> int | None:
        return self.chance.choice([None, self.hour + self.chance.randrange(1, 12)])

    def roots(self) -> list[int]:
        return [one for one in self.world.people if not self.model.into[one]]

    # Acts

    def give(self) -> None:
        persona, points, expires = self.chance.choice(self.roots()), self.chance.randrange(1, 80), self.expires()
        kind = self.chance.choice(["adjust", "adjust", "import"])
        self.adjust(persona, points, expires, kind)
        self.model.expire(persona, self.hour)
        self.model.credit(persona, points, expires, kind)

    def take(self) -> None:
        persona, points = self.chance.choice(self.roots()), self.chance.randrange(1, 60)
        self.model.expire(persona, self.hour)
        balance = self.model.balance(persona)
        if points <= balance:
            self.adjust(persona, -points, None)
            self.model.debit(persona, points)
        else:
            with pytest.raises(ledger.NotEnoughPoints) as refused:
                self.adjust(persona, -points, None)
            assert (refused.value.balance, refused.value.asked) == (balance, points)

    def adjust(self, persona: int, points: int, expires: int | None, kind: str = "adjust") -> None:
        self.keys += 1
        ledger.adjust(
            account_id=self.account_id, persona_id=persona, points=Decimal(points), key=str(self.keys), now=self.now,
            expires_at=self.at(expires), kind=kind,
        )  # fmt: skip

    def settle(self) -> None:
        wanted = {}
        for sale in self.chance.sample(self.world.sales, self.chance.randrange(1, 4)):
            persona = self.model.root(self.model.home[sale])
            wanted[sale] = (persona, self.chance.choice([0, 10, 35, 70]), self.expires())
        self.bring(wanted)

    def bring(self, wanted: dict) -> None:
        page = [target(s, persona, points, expires_at=self.at(end)) for s, (persona, points, end) in wanted.items()]
        ledger.settle_sales(account_id=self.account_id, targets=page, now=self.now)
        touched = {p for s in wanted for p in (wanted[s][0], self.owner(s)) if p and self.moves(s, wanted[s])}
        for persona in touched:
            self.model.expire(persona, self.hour)
        # New sales worth something come first, the others in their order: that is the order of the lots.
        fresh = [sale for sale in sorted(wanted) if sale not in self.model.sales and wanted[sale][1] > 0]
        for sale in fresh + [sale for sale in sorted(wanted) if sale not in fresh]:
            self.model.bring(sale, *wanted[sale])

    def owner(self, sale: int) -> int | None:
        return self.model.sales.get(sale, (None, 0))[0]

    def moves(self, sale: int, wanted: tuple) -> bool:
        owner, posted = self.model.sales.get(sale, (None, 0))
        return posted != wanted[1] or (owner != wanted[0] and posted != 0)

    def move_sale(self) -> None:
        """A record goes to another persona, with its sale."""
        sale, persona = self.chance.choice(self.world.sales), self.chance.choice(self.world.people)
        Source.unscoped.filter(pk=self.world.sources[sale]).update(persona_id=persona)
        self.model.home[sale] = persona
        self.bring({sale: (self.model.root(persona), self.chance.choice([20, 50]), self.expires())})

    def redeem(self) -> None:
        persona, place = self.chance.choice(self.world.people), self.chance.randrange(3)
        discount = self.world.discounts[place]
        root = self.model.root(persona)
        group = self.model.group(root)
        before = [use for use in self.model.uses if use.owner in group and use.discount == place]
        known = [use.n for use in self.model.uses if use.discount == place and {use.owner, use.asked} & group]
        n = max(known, default=-1) + 1
        asked = self.chance.choice([n, n, self.chance.randrange(n + 1)])
        order = self.chance.choice(["", "A", "B", "C"])
        self.model.expire(root, self.hour)
        expected = self.answer(persona, root, place, before, n, asked, order, int(discount.points))
        self.log.append(f"  persona {persona} discount {place} n {asked} of {n} order {order!r}: {expected}")

        def ask():
            return ledger.redeem(
                account_id=self.account_id, persona_id=persona, discount_id=discount.pk, n=asked, transaction=order,
                channel="web", now=self.now,
            )  # fmt: skip

        if isinstance(expected, type):
            with pytest.raises(expected):
                ask()
            return
        made = ask()
        if expected is None:
            points = int(discount.points)
            expected = Use(root, place, n, order, points, self.model.debit(root, points), root)
            expected.asked = persona
            self.model.uses.append(expected)
            self.public[expected] = made.redemption_id
            assert made.created
        else:
            assert not made.created
            expected.order = expected.order or order
        assert made.redemption_id == self.public[expected]
        assert (made.n, made.transaction, made.balance) == (expected.n, expected.order, self.model.balance(root))

    def answer(self, persona, root, place, before, n, asked, order, price) -> Use | type | None:
        """The use that is the same request, the refusal, or None: a new use."""
        group = self.model.group(root)
        if order:
            for use in before:
                if use.live and use.order == order:
                    return use
            if n > asked and any(use.order == order and use.n >= asked for use in before):
                return ledger.AlreadyUsed
        mine = [use for use in self.model.uses if use.discount == place and use.asked == persona]
        same = next((use for use in mine if use.n == asked), None)
        if n > asked:
            if same is None:
                return ledger.NotAvailable
            if not same.live:
                return ledger.AlreadyUsed
            if order in ("", same.order):
                return same
        if order and any(
            u.live and u.order == order and u.discount != place and u.owner in group for u in self.model.uses
        ):
            return ledger.OneDiscountPerOrder
        if same and n > asked and not same.order:
            return same
        if place == 2 and any(use.live for use in before):
            return ledger.AlreadyUsed
        # No origin is mirrored any more in this world: what was mirrored is spent like other points.
        return ledger.NotEnoughPoints if self.model.balance(root) < price else None

    def revert(self) -> None:
        if not self.model.uses:
            return
        use, part = self.chance.choice(self.model.uses), self.chance.choice([None, None, 7, 20])
        for persona in self.homes(use):
            self.model.expire(persona, self.hour)

        def ask():
            return ledger.revert(
                account_id=self.account_id, redemption_public_id=self.public[use], now=self.now,
                points=part and Decimal(part),
            )  # fmt: skip

        again = part in use.parts or (part is None and not use.live)
        if not again and part and part > use.points - use.given:
            with pytest.raises(ledger.NothingToRevert):
                ask()
            return
        answer = ask()
        assert answer.created != again
        if not again:
            self.model.give_back(use, part or use.points - use.given, self.hour)
            use.parts.add(part)
        assert (answer.reverted_total, answer.balance) == (use.given, self.model.balance(self.model.root(use.owner)))

    def homes(self, use: Use) -> set[int]:
        found = {use.owner}
        for lot, _ in use.taken:
            while lot is not None:
                found |= {lot.owner, self.model.root(lot.owner)}
                lot = lot.parent
        return found

    def sweep(self) -> None:
        # The sweep is over all accounts; histories run one at a time, so it is this one's.
        assert ledger.expire_due(now=self.now) == sum(self.model.expire(p, self.hour) for p in self.world.people)

    def merge(self) -> None:
        roots = self.roots()
        if len(roots) < 2:
            return
        survivor, loser = self.chance.sample(roots, 2)
        self.hour += 1
        row = Merge.unscoped.create(
            account_id=self.account_id, survivor_id=survivor, loser_id=loser, why="manual", at=self.now,
            survivor_balance=0, loser_balance=0,
        )  # fmt: skip
        for persona in (survivor, loser):
            self.model.expire(persona, self.hour)
        points = self.model.balance(loser)
        self.log.append(f"  {loser} into {survivor}, {points} points")
        made = ledger.merge(account_id=self.account_id, merge_id=row.pk, now=self.now)
        assert (made.points, made.created) == (points, True)
        again = ledger.merge(account_id=self.account_id, merge_id=row.pk, now=self.now)
        assert not again.created
        merge = self.model.merge(survivor, loser)
        self.merge_rows[merge] = row.pk
        self.hour += 1

    def split(self) -> None:
        still = [merge for merge in self.merge_rows if merge.open]
        if not still:
            return
        merge = self.chance.choice(still)
        self.log.append(f"  {merge.loser} out of {self.model.into[merge.loser]}")
        for persona in (self.model.into[merge.loser], merge.loser):
            self.model.expire(persona, self.hour)
        assert ledger.split(account_id=self.account_id, merge_id=self.merge_rows[merge], now=self.now).created
        assert not ledger.split(account_id=self.account_id, merge_id=self.merge_rows[merge], now=self.now).created
        self.model.split(merge)

    def mirror(self) -> None:
        customer, home = self.chance.choice(self.world.customers)
        persona, value = self.model.root(home), self.chance.choice([0, 0, 15, 40])
        self.model.expire(persona, self.hour)
        ledger.mirror(
            account_id=self.account_id, persona_id=persona, customer_id=customer, balance=Decimal(value), now=self.now
        )
        self.model.mirror(customer, persona, value)

    def boost(self) -> None:
        modifier, sale = self.chance.choice(self.world.modifiers), self.chance.choice(self.world.sales)
        persona = self.model.root(self.model.home[sale])
        points, expires = self.chance.choice([self.world.gifts[modifier]] * 2 + [0]), self.expires()
        self.model.expire(persona, self.hour)
        gift = ledger.BoostTarget(modifier, persona, sale, Decimal(points), {}, self.at(expires), self.now)
        ledger.settle_sales(account_id=self.account_id, targets=[], boosts=[gift], now=self.now)
        self.model.boost(modifier, persona, sale, points, expires)

    def close_short(self) -> None:
        rows = list(Shortfall.unscoped.filter(account_id=self.account_id).order_by("id").values_list("id", flat=True))
        if not rows:
            return
        place, waive = self.chance.randrange(len(rows)), self.chance.random() < 0.4
        short = self.model.shorts[place]
        persona = self.model.root(short.persona)
        self.model.expire(persona, self.hour)
        act = {
            "account_id": self.account_id,
            "shortfall_id": rows[place],
            "user_id": None,
            "note": "x",
            "now": self.now,
        }
        if short.state != "open":
            assert not (ledger.waive if waive else ledger.collect)(**act).created
        elif waive:
            ledger.waive(**act)
            short.state = "waived"
        elif not self.model.balance(persona):
            with pytest.raises(ledger.NothingToCollect):
                ledger.collect(**act)
        else:
            points = min(self.model.balance(persona), short.missing)
            assert ledger.collect(**act).points == points
            self.model.debit(persona, points)
            short.collected += points
            if not short.missing:
                short.state = "collected"

    # Comparing

    def compare(self) -> None:
        with connection.cursor() as cursor:
            cursor.execute(_STATE, [self.account_id])
            rows = cursor.fetchall()
        model, start = self.model, int(START.timestamp())
        for persona, into, balance, lots, ends, entries, short in rows:
            mine = model.of(persona)
            assert (into, balance, lots or [], entries, short) == (
                model.into[persona],
                model.balance(persona),
                [lot.left for lot in mine],
                model.entries[persona],
                sum(one.missing for one in model.shorts if one.persona == persona and one.state == "open"),
            ), f"persona {persona}"
            assert (ends or []) == [
                None if lot.expires is None else start + lot.expires * 3600 for lot in mine if lot.left
            ]


@pytest.mark.django_db(transaction=True)
def test_histories():
    print(f"seeds {SEED} to {SEED + HISTORIES - 1}")
    world = World()
    for seed in range(SEED, SEED + HISTORIES):
        with transaction.atomic():
            history = History(world, seed)
            try:
                for _ in range(STEPS):
                    history.step()
                if seed % 20 == 0:
                    assert audits.violations(account_id=world.account.pk) == []
            except BaseException as error:
                error.add_note(f"history {seed}:\n" + "\n".join(history.log))
                raise
            transaction.set_rollback(True)
        if seed % 100 == 0:  # what was rolled back lies in the tables, and each statement passes by it
            with connection.cursor() as cursor:
                cursor.execute("VACUUM")
