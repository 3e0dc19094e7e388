"""A shop with shoppers of every kind, whose programme is changed: proposed, counted, confirmed, applied."""

from datetime import datetime, time, timedelta
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

from django.utils import timezone

from aiqsync.accounts.tenancy import acting_in
from integrations.kit.records import CustomerRecord, SaleRecord
from integrations.sink import Batch, sink
from loyalty import audiences, audits, changes, consent, earning, jobs, ledger, personas
from loyalty.models import (
    Audience,
    ChangeState,
    Entry,
    Job,
    Lot,
    Persona,
    Programme,
    ProgrammeChange,
    Shortfall,
    Wallet,
)
from tests.factories import make_account, make_user
from tests.records import customer, land_customers, land_sales, make_origin, refund, sale

DAY, HOUR = timedelta(days=1), timedelta(hours=1)
NAMES = ("ada", "ben", "cyd", "dee", "eve", "fay", "gil", "hal")
PHONES = {name: f"+1604555014{place}" for place, name in enumerate(NAMES)}


class World:
    """`day(-3)` is noon, three days ago, where the shop is. All but `gil` are members."""

    def __init__(self, **programme: Any) -> None:
        self.now = timezone.now()
        self.account = make_account()
        self.user = make_user(self.account)
        self.zone = ZoneInfo(self.account.timezone)
        Programme.unscoped.filter(account=self.account).update(**programme)
        self.origin, self.other = make_origin(self.account), make_origin(self.account, "other")
        people = [customer(name, first_name=name.title(), phone=PHONES[name]) for name in NAMES]
        self.meet(*people)
        self.people = {one.first_name.lower(): one for one in Persona.unscoped.filter(account=self.account)}
        members = [one.pk for name, one in self.people.items() if name != "gil"]
        with acting_in(self.account.pk):
            personas.enrol_many(
                account_id=self.account.pk, persona_ids=members, ground="staff", from_date=self.day(-800).date(),
                now=self.now,
            )  # fmt: skip

    def day(self, ahead: int, hour: int = 12) -> datetime:
        there = self.now.astimezone(self.zone).date() + timedelta(days=ahead)
        return datetime.combine(there, time(hour), self.zone)

    def date(self, ahead: int) -> str:
        return self.day(ahead).date().isoformat()

    def meet(self, *records: CustomerRecord, origin=None) -> None:
        origin = origin or self.origin
        landed = land_customers(origin, *records)
        sink().landed(Batch(self.account.pk, origin.pk, CustomerRecord, landed.new, landed.changed, self.now))

    def arrive(self, *records: SaleRecord, origin=None, now: datetime | None = None) -> None:
        origin = origin or self.origin
        landed = land_sales(origin, *records)
        sink().landed(Batch(self.account.pk, origin.pk, SaleRecord, landed.new, landed.changed, now or self.now))

    def buy(self, who: str, external_id: str, ahead: int, *, net: int = 10000, **fields: Any) -> None:
        at = fields.pop("sold_at", None) or self.day(ahead)
        self.arrive(sale(external_id, customer_id=who, net=net, tax=net * 12 // 100, sold_at=at, **fields))

    def give(self, who: str, points: Any, *, key: str = "", now: datetime | None = None, ends: datetime | None = None):
        return ledger.adjust(
            account_id=self.account.pk, persona_id=self.people[who].pk, points=Decimal(points),
            key=key or f"give:{who}:{points}", now=now or self.now, expires_at=ends,
        )  # fmt: skip

    def full(self) -> "World":
        """Purchases of all ages with every peculiarity a setting could act on, and points that are spent already."""
        for ahead in (-700, -400, -200, -100, -40, -3):
            self.buy("ada", f"a{-ahead}", ahead, net=5000 - ahead)
        self.buy("ben", "b1", -90, net=8000)
        self.arrive(refund("b1r", of="b1", customer_id="ben", net=3000, tax=360, sold_at=self.day(-80)))
        self.buy("ben", "b2", -60, net=2050)
        self.arrive(refund("b2r", of="b2", customer_id="ben", net=2050, tax=246, sold_at=self.day(-50)))
        self.buy("cyd", "c1", -300, net=20000)
        self.buy("cyd", "c2", -30, net=1999)
        self.give("cyd", -215)  # spent: what falls now is a shortfall
        self.buy("dee", "d1", -20, net=7777)
        Persona.unscoped.filter(pk=self.people["dee"].pk).update(customer_type="medical")
        consent.record(
            account_id=self.account.pk, channel="sms", address=PHONES["eve"], act="opt_in", source="staff",
            now=self.day(-50),
        )  # fmt: skip
        self.buy("eve", "e1", -70, net=4000)
        self.buy("eve", "e2", -10, net=4000)
        for n in range(3):
            self.buy("fay", f"f{n}", -15, sold_at=self.day(-15, hour=9 + n), net=1001 + n)
        self.give("fay", 50)
        self.buy("gil", "g1", -5)
        self.meet(customer("hal", first_name="Hal", phone=PHONES["hal"]), origin=self.other)
        self.arrive(
            sale("h2", customer_id="hal", net=6000, tax=720, sold_at=self.day(-150)), origin=self.other
        )  # fmt: skip
        self.buy("hal", "h1", -150, net=6000)
        return self

    # What there is

    def points(self, who: str) -> Decimal:
        return ledger.spendable_points(self.account.pk, self.people[who].pk, timezone.now())

    def balances(self) -> dict[int, Decimal]:
        wallets = Wallet.unscoped.filter(account=self.account).annotate(can=ledger.spendable(timezone.now()))
        return {pk: points for pk, points in wallets.values_list("persona_id", "can") if points}

    def ends(self, who: str) -> list[str]:
        """The days on whose eve open lots end, earliest first; "" for never."""
        lots = Lot.unscoped.filter(persona=self.people[who], open=True).order_by("expires_at", "id")
        return [lot.expires_at.astimezone(self.zone).date().isoformat() if lot.expires_at else "" for lot in lots]

    def expired(self) -> Decimal:
        ended = Entry.unscoped.filter(account=self.account, kind="expire", points__lt=0)  # above 0: counted back
        return -sum(ended.values_list("points", flat=True))

    def short(self) -> Decimal:
        rows = Shortfall.unscoped.filter(account=self.account)
        return sum(rows.values_list("points", flat=True), Decimal(0))

    def sound(self) -> list[str]:
        found = [f"{v.rule.name}: {v.examples}" for v in audits.violations(account_id=self.account.pk)]
        with acting_in(self.account.pk):
            late = earning.out_of_date(account_id=self.account.pk)
        return found + ([f"{late} sales are posted at something else than they are worth"] if late else [])

    # What is done

    def save(self, **values: Any) -> changes.Saved:
        return changes.save(account_id=self.account.pk, values=values, user=self.user, now=timezone.now())

    def propose(self, **values: Any) -> ProgrammeChange:
        return changes.propose(account_id=self.account.pk, values=values, user=self.user, now=timezone.now())

    def work(self, *, slice_s: float | None = None, slices: int = 10_000) -> int:
        """Work off what is queued; how many slices it took."""
        done = 0
        while done < slices and (job := Job.unscoped.filter(account=self.account, state="queued").first()):
            jobs.run_slice(job.pk, slice_s=slice_s)
            done += 1
        return done

    def counted(self, **values: Any) -> ProgrammeChange:
        change = self.propose(**values)
        self.work()
        change.refresh_from_db()
        assert change.state == ChangeState.COUNTED
        return change

    def confirm(self, change: ProgrammeChange, **fields: Any) -> ProgrammeChange:
        return changes.confirm(change=change, user=self.user, now=timezone.now(), **fields)

    def apply(self, **values: Any) -> ProgrammeChange:
        """From the wish to everybody's points; the change with both sets of figures."""
        change = self.counted(**values)
        self.confirm(change)
        self.work()
        change.refresh_from_db()
        assert change.state == ChangeState.APPLIED
        return change

    def set(self, **fields: Any) -> ProgrammeChange:
        return self.apply(programme=fields)


def some_audience(world) -> int:
    made = Audience.unscoped.create(account=world.account, name="Chosen", by_rules=False)
    chosen = [world.people[name].pk for name in ("ada", "gil", "hal")]
    audiences.add(account_id=world.account.pk, audience_id=made.pk, persona_ids=chosen, now=world.now)
    return made.pk


def agree(world, change, before):
    """The figures on the screen beside the balances before and after."""
    after, counted = world.balances(), change.counted
    moved = {pk for pk in before.keys() | after if before.get(pk, 0) != after.get(pk, 0)}
    assert Decimal(counted["before"]) == sum(before.values())
    assert Decimal(counted["after"]) == sum(after.values())
    assert counted["shoppers"] == len(moved)
    largest = sorted(moved, key=lambda pk: (-abs(after.get(pk, 0) - before.get(pk, 0)), pk))[:10]
    assert [(pk, Decimal(b), Decimal(a)) for pk, b, a in counted["sample"]] == [
        (pk, before.get(pk, 0), after.get(pk, 0)) for pk in largest
    ]
    applied = change.applied
    assert Decimal(counted["after"]) - Decimal(counted["before"]) == Decimal(applied["points"])
    assert Decimal(counted["expiring"]) == Decimal(applied["expired"])
    assert (counted["shortfalls"], Decimal(counted["short"])) == (applied["shortfalls"], Decimal(applied["short"]))
