"""A shop with members and strangers, and a card whose settings act on people."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

from aiqsync.accounts.models import AuditLine
from integrations import registry, services
from integrations.kit import settings as kit
from integrations.models import Connection, Credential, SettingChange
from loyalty import earning, jobs
from loyalty.models import Enrolment, Job, Persona, Wallet
from tests.records import customer

from .changing import World

STRANGERS = ("ned", "ora", "pia", "quy")
PHONES = {name: f"+1604555017{place}" for place, name in enumerate(STRANGERS)}


class Shop(World):
    """`ada` to `hal` are members but for `gil`; the strangers have a phone each. One card reads `origin`."""

    def __init__(self, monkeypatch, **programme: Any) -> None:
        super().__init__(**programme)
        self.connection = self.card(monkeypatch, "shop", self.origin)
        self.meet(*[customer(name, first_name=name.title(), phone=PHONES[name]) for name in STRANGERS])
        for one in Persona.unscoped.filter(account=self.account, first_name__in=[n.title() for n in STRANGERS]):
            self.people[one.first_name.lower()] = one

    def card(self, monkeypatch, slug: str, *origins) -> Connection:
        declared = (kit.enrol_after(slug), kit.sms_after(slug))
        card = replace(registry.get("cova"), slug=slug, title=slug.title(), settings=declared)
        monkeypatch.setitem(registry.CARDS, slug, card)
        connection = Connection.unscoped.create(account=self.account, card=slug)
        for origin in origins:
            Credential.unscoped.create(account=self.account, connection=connection, origin=origin, state="connected")
        return connection

    def propose(self, setting: str, value: str, *, of: Connection | None = None) -> SettingChange:
        saved = services.save_settings(
            connection=of or self.connection, given={setting: value}, now=self.now, user=self.user
        )
        return SettingChange.unscoped.get(pk=saved.proposed[setting])

    def counted(self, setting: str, value: str, **given: Any) -> SettingChange:
        change = self.propose(setting, value, **given)
        self.work()
        change.refresh_from_db()
        return change

    def confirm(self, change: SettingChange) -> SettingChange:
        services.confirm(change=change, user=self.user, now=self.now)
        self.work()
        change.refresh_from_db()
        return change

    def put_on(self, setting: str, value: str, **given: Any) -> SettingChange:
        return self.confirm(self.counted(setting, value, **given))

    def work(self, kind: str = "") -> None:
        """All jobs that are queued, to their end or until they wait."""
        for job in Job.unscoped.filter(account=self.account, state="queued", kind__startswith=kind).order_by("id"):
            while jobs.run_slice(job.pk):
                pass

    def lose_the_lease(self) -> None:
        Job.unscoped.update(lease_until=self.now - timedelta(hours=1))

    def persona(self, name: str) -> Persona:
        self.people[name].refresh_from_db()
        return self.people[name]

    def points(self, name: str):
        return Wallet.unscoped.get(persona=self.people[name]).balance

    def grounds(self, name: str) -> list[str]:
        return list(
            Enrolment.unscoped.filter(persona=self.people[name]).order_by("id").values_list("ground", flat=True)
        )

    @property
    def stale(self) -> int:
        return earning.out_of_date(account_id=self.account.pk)

    def acts(self) -> list[tuple[str, Any]]:
        lines = AuditLine.unscoped.filter(account=self.account, act__startswith="setting.").order_by("id")
        return list(lines.values_list("act", "user"))


def with_buyers(monkeypatch) -> Shop:
    """$100 each: ned before the day, ora on it, pia twice since, ada (a member) since; quy bought nothing."""
    shop = Shop(monkeypatch)
    for name, number, day in (
        ("ned", "n1", -40), ("ora", "o1", -30), ("pia", "p0", -60), ("pia", "p1", -20), ("pia", "p2", -10),
        ("ada", "a1", -20),
    ):  # fmt: skip
        shop.buy(name, number, day)
    return shop
