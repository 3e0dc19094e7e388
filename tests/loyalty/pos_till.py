"""A shop with Cova's stand-in whose points are read, for the tests of import and mirror."""

from datetime import date, datetime, timedelta
from decimal import Decimal

from django.db.models import Count
from django.utils import timezone

from aiqsync.accounts.tenancy import acting_in
from integrations import services
from integrations.models import (
    ChangeState,
    Customer,
    SettingChange,
    StreamState,
)
from loyalty import (
    audits,
    jobs,
    personas,
)
from loyalty.models import Entry, Job, Persona, Programme, Source, Wallet

from ..factories import make_user
from ..integrations.conftest import Shop

SUMMARY = "/iqloyalty/"


class Till:
    """A shop with Cova's stand-in, synced; members by the hand of an operator; settings confirmed and carried out."""

    def __init__(self, shop: Shop) -> None:
        self.shop, self.account = shop, shop.account
        self.user = make_user(self.account)
        Programme.unscoped.filter(account=self.account).update(engine="legacy", accrual_start=date(2026, 1, 1))
        shop.connect()
        shop.sync("locations", "pricing_groups", "customers", "sales")
        self.link = shop.credential.connection
        self.origin_id = shop.credential.origin_id
        self.asked()  # connecting tried the permission

    # the POS

    def say(self, customer: Customer, points: int) -> None:
        self.shop.control("edit", customer_id=customer.external_id, points=points)

    def customers(self, count: int) -> list[Customer]:
        """Customers who are one record of one person each."""
        several = Source.unscoped.values("persona").annotate(n=Count("id")).filter(n__gt=1).values("persona")
        found = Customer.unscoped.filter(origin=self.origin_id, merged_into="", sources__persona__merged_into=None)
        alone = found.exclude(sources__persona__in=several).exclude(sources__persona__merged__isnull=False)
        return list(alone.order_by("external_id")[:count])

    def asked(self) -> list[str]:
        """The customers whose points were asked for since the last look."""
        seen = [c for c in self.shop.calls() if c["path"].startswith(SUMMARY)]
        self.shop.since = max([self.shop.since, *(c["seq"] for c in self.shop.calls())])
        return [c["path"].split("customers(")[1].split(")")[0] for c in seen]

    # us

    def persona(self, customer: Customer) -> Persona:
        found = Source.unscoped.get(customer=customer).persona
        return found.merged_into or found

    def enrol(self, *customers: Customer, day: date = date(2026, 1, 1)) -> None:
        with acting_in(self.account.pk):
            personas.enrol_many(
                account_id=self.account.pk, persona_ids=[self.persona(c).pk for c in customers], ground="staff",
                from_date=day, now=timezone.now(),
            )  # fmt: skip

    def balance(self, customer: Customer) -> Decimal:
        return Wallet.unscoped.filter(persona=self.persona(customer)).values_list("balance", flat=True).first() or 0

    def ask(self, **given) -> SettingChange:
        saved = services.save_settings(connection=self.link, given=given, now=timezone.now(), user=self.user)
        return SettingChange.unscoped.get(pk=next(iter(saved.proposed.values())))

    def work(self, change: SettingChange) -> SettingChange:
        """Workers and syncs until the change rests."""
        for _ in range(20):
            for job in Job.unscoped.filter(account_id=self.account.pk, state__in=jobs.LIVE).order_by("id"):
                jobs.run_slice(job.pk)
            change.refresh_from_db()
            if change.state not in (ChangeState.COUNTING, ChangeState.APPLYING):
                break
            self.read()
        return change

    def read(self) -> None:
        if StreamState.unscoped.filter(credential=self.shop.credential, stream="points", enabled=True).exists():
            self.shop.sync("points")

    def round(self) -> None:
        """The next round of mirroring, as if a quarter of an hour had gone by."""
        for state in StreamState.unscoped.filter(credential=self.shop.credential, stream="points"):
            if "last" in state.cursor and state.cursor["last"]:
                state.cursor["last"]["began"] = "2026-01-01T00:00:00Z"
                state.save(update_fields=["cursor"])
        self.read()

    def turn_on(self, **given) -> SettingChange:
        change = self.work(self.ask(**given))
        assert change.state == ChangeState.COUNTED, (change.state, change.message)
        services.confirm(change=change, user=self.user, now=timezone.now())
        return self.work(change)

    def turn_off(self, **given) -> None:
        services.save_settings(connection=self.link, given=given, now=timezone.now(), user=self.user)
        for job in Job.unscoped.filter(account_id=self.account.pk, state__in=jobs.LIVE):
            while jobs.run_slice(job.pk):
                pass

    def books(self) -> list:
        return [(v.rule.name, v.examples) for v in audits.violations(account_id=self.account.pk)]


def today(account) -> str:
    from zoneinfo import ZoneInfo

    return datetime.now(ZoneInfo(account.timezone)).date().isoformat()


LINES = [{"sku": "S1", "name": "Flower", "category": "Flower", "brand": "Harbour", "price_cents": 5000, "quantity": 1}]


def minutes_ago(minutes: int) -> str:
    return (timezone.now() - timedelta(minutes=minutes)).strftime("%Y-%m-%dT%H:%M:%SZ")


def earned_of(till: Till, customer: Customer) -> Decimal:
    rows = Entry.unscoped.filter(persona=till.persona(customer)).exclude(kind__in=("import", "mirror"))
    return sum((e.points for e in rows), Decimal(0))
