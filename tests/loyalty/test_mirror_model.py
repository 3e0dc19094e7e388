"""Mirroring against a model: whatever happens in whatever order, a mirrored wallet is what the POS said last."""

import random
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import pytest
from django.db import transaction
from django.utils import timezone

from aiqsync.accounts.tenancy import acting_in
from integrations import services
from integrations.kit.records import BalanceRecord, CustomerRecord, SaleRecord
from integrations.models import Connection, Credential, Customer
from loyalty import audits, earning, ledger, merging, mirror, personas
from loyalty.models import Merge, Persona, Programme, Source, Wallet

from ..factories import make_account, make_discount
from ..records import arrive, customer, make_origin, sale

pytestmark = pytest.mark.django_db
START = datetime(2026, 3, 2, 20, 0, tzinfo=UTC)
PEOPLE = 5


class World:
    """Shoppers of a POS, one of them with two records from the beginning. `said` is all the model there is."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)
        self.account = make_account()
        Programme.unscoped.filter(account=self.account).update(engine="legacy")
        self.origin = make_origin(self.account)
        with acting_in(self.account.pk):
            link = Connection.objects.create(card="cova", settings={"mirror_points": False})
            Credential.objects.create(connection=link, origin=self.origin, state="connected")
        self.reward = make_discount(self.account, points=20)
        self.now, self.sales, self.moments = START, 0, 0
        self.said: dict[str, int] = {}
        self.merged_there: set[str] = set()
        self.on = False
        self.kept: dict[int, Decimal] = {}  # after mirroring: nothing below what stood
        self.arrive(CustomerRecord, [customer(f"c{n}", phone=f"+1604555010{n}") for n in range(PEOPLE)])
        self.arrive(CustomerRecord, [customer("c9", phone="+16045550100")])

    def arrive(self, record, rows) -> None:
        with acting_in(self.account.pk):
            arrive(self.origin, record, rows, stream="x", now=self.tick())

    def tick(self) -> datetime:
        self.now += timedelta(minutes=7)
        return self.now

    def any(self) -> str:
        return self.chance.choice([f"c{n}" for n in range(PEOPLE)] + ["c9"])

    def root(self, external: str) -> Persona:
        found = Source.unscoped.get(customer__external_id=external, customer__account=self.account).persona
        return found.merged_into or found

    # steps

    def say(self) -> None:
        rows = {self.any(): self.chance.choice([0, 0, 10, 35, 80, -5]) for _ in range(self.chance.randint(1, 3))}
        self.said |= rows
        self.arrive(BalanceRecord, [BalanceRecord(one, Decimal(points)) for one, points in rows.items()])

    def sell(self) -> None:
        self.sales += 1
        at = self.now - timedelta(minutes=self.chance.choice([0, 0, 300]))
        self.arrive(SaleRecord, [sale(f"s{self.sales}", customer_id=self.any(), net=1000, sold_at=at)])

    def change_hands(self) -> None:
        if self.sales:
            number = self.chance.randint(1, self.sales)
            self.arrive(SaleRecord, [sale(f"s{number}", customer_id=self.any(), net=1000, sold_at=self.now)])

    def enrol(self) -> None:
        with acting_in(self.account.pk):
            personas.enrol_many(
                account_id=self.account.pk, persona_ids=[self.root(self.any()).pk], ground="staff",
                from_date=date(2026, 1, 1), now=self.tick(),
            )  # fmt: skip

    def merge(self) -> None:
        one, other = self.root(self.any()), self.root(self.any())
        if one.pk != other.pk:
            with acting_in(self.account.pk):
                merging.merge(account_id=self.account.pk, one_id=one.pk, other_id=other.pk, now=self.tick())

    def split(self) -> None:
        if merges := list(Merge.unscoped.filter(account=self.account, split_at=None).order_by("pk")):
            found = self.chance.choice(merges)
            with acting_in(self.account.pk):
                merging.split(account_id=self.account.pk, merge_id=found.pk, user=None, now=self.tick())

    def give(self) -> None:
        persona = self.root(self.any())
        with acting_in(self.account.pk):
            try:
                ledger.adjust(
                    account_id=self.account.pk, persona_id=persona.pk, points=Decimal(15), key=f"g{self.now}",
                    now=self.tick(),
                )  # fmt: skip
                assert not self.on
            except ledger.HeldByPos:
                assert self.on

    def redeem(self) -> None:
        persona = self.root(self.any())
        with acting_in(self.account.pk):
            n = ledger.next_n(account_id=self.account.pk, persona_id=persona.pk, discount_id=self.reward.pk)
            try:
                ledger.redeem(
                    account_id=self.account.pk, persona_id=persona.pk, discount_id=self.reward.pk, n=n,
                    transaction=f"t{self.now.timestamp()}", channel="till", now=self.tick(),
                )  # fmt: skip
                assert not self.on
            except (ledger.NotAvailable, ledger.NotEnoughPoints):
                pass

    def revert(self) -> None:
        from loyalty.models import Redemption

        if applied := list(Redemption.unscoped.filter(account=self.account, state="applied").order_by("pk")):
            used = self.chance.choice(applied)
            with acting_in(self.account.pk):
                ledger.revert(
                    account_id=self.account.pk, redemption_public_id=used.public_id, points=None, now=self.tick()
                )

    def recompute(self) -> None:
        with acting_in(self.account.pk):
            ids = list(Persona.objects.filter(merged_into=None).values_list("pk", flat=True))
            earning.settle_personas(account_id=self.account.pk, persona_ids=ids, now=self.tick(), gifts=True)

    def merge_there(self) -> None:
        if len(self.merged_there) < 1:
            self.merged_there.add("c9")
            self.arrive(CustomerRecord, [customer("c9", phone="+16045550100", merged_into="c0", version=2)])

    def switch(self) -> None:
        self.on = not self.on
        Connection.unscoped.filter(account=self.account).update(settings={"mirror_points": self.on})
        if self.on:
            mirror.begin(account_id=self.account.pk, origin_ids=[self.origin.pk], now=self.tick())
            with acting_in(self.account.pk), transaction.atomic():
                services.lock_origins(account_id=self.account.pk)
                ids = mirror.people_of(account_id=self.account.pk, origin_ids=[self.origin.pk], after=0, limit=100)
                mirror.settle(account_id=self.account.pk, persona_ids=ids, now=self.tick())
        else:
            before = self.balances()
            mirror.end(account_id=self.account.pk, platform="cova", now=self.tick())
            assert self.balances() == before

    # what must hold

    def balances(self) -> dict[int, Decimal]:
        return dict(Wallet.unscoped.filter(account=self.account, balance__gt=0).values_list("persona", "balance"))

    def expected(self) -> dict[int, int]:
        sums: dict[int, int] = {}
        for external, points in self.said.items():
            root = self.root(external)
            if root.member_from is not None and external not in self.merged_there:
                sums[root.pk] = sums.get(root.pk, 0) + max(points, 0)
        return {root: points for root, points in sums.items() if points}

    def check(self, step: str) -> None:
        if self.on:
            read = {self.root(external).pk for external in self.said}
            found = {root: points for root, points in self.balances().items() if root in read}
            members = set(Persona.unscoped.filter(pk__in=found).exclude(member_from=None).values_list("pk", flat=True))
            assert {r: p for r, p in found.items() if r in members} == self.expected(), step
        assert [(v.rule.name, v.examples) for v in audits.violations(account_id=self.account.pk)] == [], step


STEPS = (
    ("say", 6), ("sell", 5), ("change_hands", 2), ("enrol", 3), ("merge", 2), ("split", 2), ("give", 2), ("redeem", 2),
    ("revert", 1), ("recompute", 2), ("merge_there", 1), ("switch", 2),
)  # fmt: skip


@pytest.mark.parametrize("seed", (0, 1, 2, 3, 109, 119))
def test_a_mirrored_wallet_is_what_the_pos_said(seed, monkeypatch):
    world = World(seed)
    names = [name for name, weight in STEPS for _ in range(weight)]
    world.enrol(), world.enrol(), world.sell(), world.say(), world.switch()
    for step in range(45):
        name = world.chance.choice(names)
        getattr(world, name)()
        world.check(f"seed {seed}, step {step}: {name}")
    world.recompute()
    before = world.balances()
    world.recompute()
    assert world.balances() == before
    world.check("end")
    assert Customer.unscoped.filter(account=world.account).count() == PEOPLE + 1 and timezone.now()
