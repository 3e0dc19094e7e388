"""The POS's own points, over real HTTP against Cova's stand-in: taken over once, or mirrored. Effects, not forms."""

import threading
from datetime import date, datetime, timedelta
from decimal import Decimal

import pytest
from django.db import connections, transaction
from django.db.models import Count
from django.utils import timezone

from aiqsync.accounts.tenancy import acting_in
from integrations import balances, pulling, services
from integrations.models import (
    BalanceReading,
    ChangeState,
    Credential,
    CredentialState,
    Customer,
    CustomerBalance,
    SettingChange,
    StreamState,
)
from loyalty import (
    audits,
    changes,
    earning,
    imports,
    jobs,
    ledger,
    merging,
    mirror,
    personas,
    programme,
    refusals,
    wallet,
)
from loyalty.models import Entry, Job, Lot, Mirroring, MirrorState, Persona, Programme, Source, Wallet
from loyalty.rules import of as rules_of

from ..factories import make_discount, make_user
from ..integrations.conftest import Shop, cova, running_sandbox  # noqa: F401  (fixtures)

pytestmark = pytest.mark.django_db

TODAY = "points_import_on"
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


@pytest.fixture
def till(cova):  # noqa: F811
    return Till(cova)


def today(account) -> str:
    from zoneinfo import ZoneInfo

    return datetime.now(ZoneInfo(account.timezone)).date().isoformat()


class TestImport:
    def test_points_import_on_acts(self, till):
        member, stranger, poor, broke = till.customers(4)
        till.enrol(member, poor, broke)
        for one, points in ((member, 320), (stranger, 75), (poor, 0), (broke, -20)):
            till.say(one, points)
        earned = till.balance(member)
        assert till.asked() == [], "nothing is read before somebody asks for it"

        change = till.work(till.ask(points_import_on=today(till.account)))
        everybody = Customer.unscoped.filter(origin=till.origin_id, merged_into="").values_list(
            "external_id", flat=True
        )
        assert sorted(till.asked()) == sorted(everybody), "each is asked once"
        assert change.state == ChangeState.COUNTED
        assert (change.counted["shoppers"], Decimal(change.counted["points"])) == (1, 320)
        assert change.counted["waiting"] > 50 and "wait for them" in " ".join(change.counted["notes"])
        assert change.counted["below"] == 1
        assert change.sample == [
            [str(till.persona(member).contact_id),
             {"before": str(earned), "change": "320.00", "after": str(earned + 320)}]
        ]  # fmt: skip
        assert till.balance(member) == earned, "counting moves nothing"

        till.say(member, 350)  # sold in the POS between the figures and the word
        services.confirm(change=change, user=till.user, now=timezone.now())
        change = till.work(change)
        assert change.state == ChangeState.APPLIED and change.confirmed_by == till.user
        assert till.balance(member) == earned + 350, "the balance as it was when it was taken"
        line = Entry.unscoped.get(persona=till.persona(member), kind="import")
        assert line.key == f"import:{till.origin_id}:{member.pk}"
        assert (till.balance(poor), till.balance(broke)) == (earned_of(till, poor), earned_of(till, broke))
        assert not Entry.unscoped.filter(persona=till.persona(stranger)).exists()

        # Who joins later finds what was there on the day, once; what the POS says afterwards is nobody's business.
        till.say(stranger, 9999)
        till.enrol(stranger, day=timezone.localdate() + timedelta(days=1))
        assert till.balance(stranger) == 75
        till.enrol(stranger)
        assert Entry.unscoped.filter(persona=till.persona(stranger), kind="import").count() == 1
        till.asked()
        till.shop.sync("points")
        assert till.asked() == [], "and nothing is read any more"
        assert till.books() == []

    def test_a_second_import_takes_nobody_twice(self, till):
        one, other = till.customers(2)
        till.enrol(one, other)
        till.say(one, 100), till.say(other, 0)
        till.turn_on(points_import_on=today(till.account))
        before = till.balance(one)
        till.turn_off(points_import_on="")
        assert till.balance(one) == before, "clearing it takes nothing back"
        till.say(one, 500), till.say(other, 40)
        change = till.turn_on(points_import_on=today(till.account))
        assert change.applied["shoppers"] == 1 and till.balance(one) == before
        assert Entry.unscoped.filter(kind="import").count() == 2
        assert till.books() == []

    def test_two_records_of_one_person_bring_both(self, till):
        one, other = till.customers(2)
        till.enrol(one)
        Source.unscoped.filter(customer=other).update(persona=till.persona(one))
        till.say(one, 100), till.say(other, 30)
        before = till.balance(one)
        change = till.turn_on(points_import_on=today(till.account))
        assert till.balance(one) == before + 130 and change.applied["shoppers"] == 1

    def test_imported_points_expire_as_the_programme_says(self, till):
        (one,) = till.customers(1)
        till.enrol(one)
        till.say(one, 100)
        Programme.unscoped.filter(account=till.account).update(engine="fifo", expire_days=30)
        till.turn_on(points_import_on=today(till.account))
        lot = Lot.unscoped.get(kind="import")
        assert 30 < (lot.expires_at - timezone.now()).days + 1 <= 32

    def test_a_future_day_waits_for_its_end_and_survives_its_midnight(self, till, monkeypatch):
        (one,) = till.customers(1)
        till.enrol(one)
        till.say(one, 100)
        day = date.fromisoformat(today(till.account)) + timedelta(days=2)
        change = till.work(till.ask(points_import_on=day.isoformat()))
        services.confirm(change=change, user=till.user, now=timezone.now())
        job = Job.unscoped.filter(account_id=till.account.pk, state=jobs.JobState.QUEUED).get()
        jobs.run_slice(job.pk)
        job.refresh_from_db()
        midnight = datetime.combine(day + timedelta(days=1), datetime.min.time(), rules_of(till.account.pk).zone)
        assert job.state == "queued" and not Entry.unscoped.filter(kind="import").exists()
        assert abs(job.queued_at + timedelta(seconds=30) - midnight) < timedelta(seconds=60), "no worker is held"
        till.asked()
        till.shop.sync("points")
        assert till.asked() == [], "nothing is read while it waits"
        # The day passes; nobody was there at midnight.
        real = timezone.now
        monkeypatch.setattr(timezone, "now", lambda: real() + timedelta(days=5))
        till.say(one, 140)
        change = till.work(change)
        assert change.state == ChangeState.APPLIED
        assert Entry.unscoped.get(kind="import").points == 140

    def test_clearing_a_day_that_has_not_come_stops_it(self, till):
        day = date.fromisoformat(today(till.account)) + timedelta(days=2)
        change = till.work(till.ask(points_import_on=day.isoformat()))
        services.confirm(change=change, user=till.user, now=timezone.now())
        till.turn_off(points_import_on="")
        change.refresh_from_db()
        assert change.state == ChangeState.DISMISSED
        assert not Job.unscoped.filter(account_id=till.account.pk, state__in=jobs.LIVE).exists()

    def test_a_past_day_needs_a_word(self, till):
        with pytest.raises(services.Problems, match="as of now"):
            till.ask(points_import_on="2026-01-05")
        saved = services.save_settings(
            connection=till.link, given={"points_import_on": "2026-01-05"}, now=timezone.now(), as_of_now=True
        )
        assert saved.proposed and "accrual_start" in saved.offers

    def test_a_word_given_twice_and_workers_that_die(self, till):
        one, other = till.customers(2)
        till.enrol(one, other)
        till.say(one, 100), till.say(other, 60)
        change = till.work(till.ask(points_import_on=today(till.account)))
        for _ in range(2):
            services.confirm(change=change, user=till.user, now=timezone.now())
        till.work(change)
        points = till.balance(one), till.balance(other)
        for _ in range(2):
            imports.take(account_id=till.account.pk, origin_ids=[till.origin_id], now=timezone.now())
            with acting_in(till.account.pk):
                ids = [till.persona(c).pk for c in (one, other)]
                assert imports.pay(account_id=till.account.pk, persona_ids=ids, now=timezone.now()).entries == 0
        assert (till.balance(one), till.balance(other)) == points


def minutes_ago(minutes: int) -> str:
    return (timezone.now() - timedelta(minutes=minutes)).strftime("%Y-%m-%dT%H:%M:%SZ")


def earned_of(till: Till, customer: Customer) -> Decimal:
    rows = Entry.unscoped.filter(persona=till.persona(customer)).exclude(kind__in=("import", "mirror"))
    return sum((e.points for e in rows), Decimal(0))


class TestMirror:
    def test_mirror_points_acts(self, till):
        member, stranger = till.customers(2)
        till.enrol(member)
        till.say(member, 500), till.say(stranger, 40)
        with acting_in(till.account.pk):
            ledger.adjust(
                account_id=till.account.pk, persona_id=till.persona(member).pk, points=Decimal(33), key="k",
                now=timezone.now(),
            )  # fmt: skip
        before = till.balance(member)
        change = till.work(till.ask(mirror_points=True))
        assert change.counted["shoppers"] == 1 and Decimal(change.counted["points"]) == 500
        assert Decimal(change.counted["points_before"]) == before and change.counted["no_members"] > 50
        assert till.balance(member) == before
        services.confirm(change=change, user=till.user, now=timezone.now())
        change = till.work(change)
        assert change.state == ChangeState.APPLIED and till.balance(member) == 500

        # Unchanged writes nothing; a change is taken; who joins shows what the POS says at once.
        lines = Entry.unscoped.count()
        till.round()
        assert Entry.unscoped.count() == lines
        till.say(member, 420)
        till.round()
        assert till.balance(member) == 420
        till.enrol(stranger)
        assert till.balance(stranger) == 40
        assert till.books() == []

    def test_shoppers_with_new_sales_are_read_first_and_sales_earn_nothing(self, till):
        (member,) = till.customers(1)
        till.enrol(member)
        till.say(member, 100)
        till.turn_on(mirror_points=True)
        till.asked()
        till.shop.control("sell", customer_id=member.external_id, lines=LINES)
        till.say(member, 150)
        till.shop.sync("sales")
        till.shop.sync("points")
        assert till.asked() == [member.external_id], "he alone, between two rounds"
        assert till.balance(member) == 150
        with acting_in(till.account.pk):
            view = wallet.show(account_id=till.account.pk, persona_id=till.persona(member).pk, now=timezone.now())
        assert view.points == 150

    def test_rewards_are_shown_and_free_ones_stay(self, till):
        (member,) = till.customers(1)
        till.enrol(member)
        till.say(member, 900)
        dear, free = make_discount(till.account, points=100), make_discount(till.account, points=0)
        till.turn_on(mirror_points=True)
        who = {"account_id": till.account.pk, "persona_id": till.persona(member).pk}
        with acting_in(till.account.pk):
            shown = {r.discount_id: r.why_not for r in wallet.show(**who, now=timezone.now()).rewards}
            assert "POS's own programme" in shown[dear.pk] and shown[free.pk] == ""
            ask = {**who, "n": 0, "transaction": "", "channel": "web", "now": timezone.now()}
            with pytest.raises(ledger.NotAvailable) as refused:
                ledger.redeem(discount_id=dear.pk, **ask)
            assert refused.value.reason == "mirror" and "redeem there" in refusals.sentence(refused.value)
            assert ledger.redeem(discount_id=free.pk, **ask).created
            with pytest.raises(ledger.HeldByPos):
                ledger.adjust(**who, points=Decimal(10), key="hand", now=timezone.now())
        assert till.balance(member) == 900

    def test_off_again_keeps_balances_and_earns_from_then_on(self, till):
        (member,) = till.customers(1)
        till.enrol(member)
        till.say(member, 100)
        till.turn_on(mirror_points=True)
        sell = {"customer_id": member.external_id, "lines": LINES}
        till.shop.control("sell", **sell, at=minutes_ago(30))
        till.shop.sync("sales")
        reward = make_discount(till.account, points=50)
        till.turn_off(mirror_points=False)
        Mirroring.unscoped.update(ended_at=timezone.now() - timedelta(minutes=10))
        with acting_in(till.account.pk):
            view = wallet.show(account_id=till.account.pk, persona_id=till.persona(member).pk, now=timezone.now())
        assert [(r.discount_id, r.why_not) for r in view.rewards] == [(reward.pk, "")], "and can be spent here"
        assert till.balance(member) == 100, "balances stay"
        with acting_in(till.account.pk):
            earning.settle_personas(
                account_id=till.account.pk, persona_ids=[till.persona(member).pk], now=timezone.now()
            )
        assert till.balance(member) == 100, "what was sold while it was mirrored is in it already"
        assert till.books() == []
        till.say(member, 7777)
        till.asked()
        till.shop.sync("points")
        assert till.asked() == [] and till.balance(member) == 100
        till.shop.control("sell", **sell)
        till.shop.sync("sales")
        assert till.balance(member) > 100, "and from then on sales earn"
        with acting_in(till.account.pk):
            assert ledger.adjust(
                account_id=till.account.pk, persona_id=till.persona(member).pk, points=Decimal(1), key="x",
                now=timezone.now(),
            ).created  # fmt: skip
        assert till.books() == []

    def test_the_last_values_stand_through_freeze_and_disconnect(self, till):
        (member,) = till.customers(1)
        till.enrol(member)
        till.say(member, 300)
        till.turn_on(mirror_points=True)
        services.freeze(connection=till.link, now=timezone.now())
        till.say(member, 1)
        till.asked()
        till.round()
        assert till.asked() == [] and till.balance(member) == 300
        with acting_in(till.account.pk), pytest.raises(ledger.HeldByPos):
            ledger.adjust(
                account_id=till.account.pk, persona_id=till.persona(member).pk, points=Decimal(5), key="y",
                now=timezone.now(),
            )  # fmt: skip
        services.disconnect(credential=Credential.unscoped.get(pk=till.shop.credential.pk))
        assert till.balance(member) == 300 and mirror.is_mirrored(origin_id=till.origin_id)
        assert mirror.refusal(account_id=till.account.pk), "and FIFO is still refused"
        till.turn_off(mirror_points=False)
        assert till.balance(member) == 300 and not mirror.is_mirrored(origin_id=till.origin_id)
        assert mirror.refusal(account_id=till.account.pk) == ""
        assert till.books() == []

    def test_merged_and_split_people_show_the_sum_and_their_own(self, till):
        one, other = till.customers(2)
        till.enrol(one, other)
        till.say(one, 100), till.say(other, 30)
        till.turn_on(mirror_points=True)
        first, second = till.persona(one), till.persona(other)
        with acting_in(till.account.pk):
            made = merging.merge(account_id=till.account.pk, one_id=first.pk, other_id=second.pk, now=timezone.now())
        assert till.balance(one) == 130 and till.books() == []
        till.say(other, 80)
        till.round()
        assert till.balance(one) == 180
        with acting_in(till.account.pk):
            merging.split(account_id=till.account.pk, merge_id=made.pk, user=None, now=timezone.now())
        assert (till.balance(one), till.balance(other)) == (100, 80)
        assert till.books() == []

    def test_merged_in_the_pos_the_losers_points_are_not_counted_twice(self, till):
        one, other = till.customers(2)
        till.enrol(one, other)
        till.say(one, 100), till.say(other, 30)
        till.turn_on(mirror_points=True)
        till.shop.control("edit", customer_id=other.external_id, merged_into=one.external_id)
        till.say(one, 130)
        till.shop.sync("customers")
        till.round()
        assert till.balance(one) == 130 and till.books() == []

    def test_points_given_back_do_not_add_up(self, till):
        (member,) = till.customers(1)
        till.enrol(member)
        till.say(member, 200)
        who = {"account_id": till.account.pk, "persona_id": till.persona(member).pk}
        reward = make_discount(till.account, points=50)
        with acting_in(till.account.pk):
            ledger.adjust(**who, points=Decimal(60), key="g", now=timezone.now())
            used = ledger.redeem(**who, discount_id=reward.pk, n=0, transaction="", channel="web", now=timezone.now())
        till.turn_on(mirror_points=True)
        with acting_in(till.account.pk):
            ledger.revert(
                account_id=till.account.pk, redemption_public_id=used.redemption_id, points=None, now=timezone.now()
            )
        assert till.balance(member) == 200 and till.books() == []

    def test_a_recompute_and_a_changed_rate_move_nothing(self, till):
        members = till.customers(8)
        till.enrol(*members)
        for number, one in enumerate(members):
            till.say(one, number * 10)
        till.turn_on(mirror_points=True)
        with acting_in(till.account.pk):
            saved = changes.save(
                account_id=till.account.pk, values={"programme": {"points_per_100": "900"}}, user=till.user,
                now=timezone.now(),
            )  # fmt: skip
            while jobs.run_slice(changes.job_of(saved.change).pk):
                pass
            change = saved.change
            change.refresh_from_db()
            changes.confirm(change=change, user=till.user, now=timezone.now(), anyway=True)
            while jobs.run_slice(changes.job_of(change).pk):
                pass
        assert [till.balance(one) for one in members] == [number * 10 for number in range(8)]
        assert till.books() == []


LINES = [{"sku": "S1", "name": "Flower", "category": "Flower", "brand": "Harbour", "price_cents": 5000, "quantity": 1}]


class TestFifo:
    def test_the_card_refuses_while_the_programme_is_fifo(self, till):
        Programme.unscoped.filter(account=till.account).update(engine="fifo")
        with pytest.raises(services.Problems, match="FIFO"):
            till.ask(mirror_points=True)

    def test_the_word_is_refused_when_the_engine_changed_meanwhile(self, till):
        change = till.work(till.ask(mirror_points=True))
        Programme.unscoped.filter(account=till.account).update(engine="fifo")
        with pytest.raises(services.Refused, match="FIFO"):
            services.confirm(change=change, user=till.user, now=timezone.now())
        assert not Mirroring.unscoped.exists()

    def test_an_account_without_a_programme_begins_with_fifo(self, till):
        Programme.unscoped.filter(account=till.account).delete()
        with pytest.raises(services.Problems, match="FIFO"):
            till.ask(mirror_points=True)

    def test_the_programme_refuses_while_a_card_mirrors(self, till):
        till.turn_on(mirror_points=True)
        with acting_in(till.account.pk), pytest.raises(programme.Problems, match="Cova") as refused:
            changes.save(
                account_id=till.account.pk, values={"programme": {"engine": "fifo"}}, user=till.user, now=timezone.now()
            )
        assert list(refused.value.fields) == ["engine"]
        till.turn_off(mirror_points=False)
        with acting_in(till.account.pk):
            changes.save(
                account_id=till.account.pk, values={"programme": {"engine": "fifo"}}, user=till.user, now=timezone.now()
            )

    def test_a_change_to_fifo_that_waited_is_refused_at_its_word(self, till):
        (member,) = till.customers(1)
        till.enrol(member)
        with acting_in(till.account.pk):
            saved = changes.save(
                account_id=till.account.pk, values={"programme": {"engine": "fifo"}}, user=till.user, now=timezone.now()
            )
            while jobs.run_slice(changes.job_of(saved.change).pk):
                pass
        change = till.turn_on(mirror_points=True)
        assert change.state == ChangeState.APPLIED
        saved.change.refresh_from_db()
        with acting_in(till.account.pk), pytest.raises(changes.Refused, match="mirrored from Cova"):
            changes.confirm(change=saved.change, user=till.user, now=timezone.now(), anyway=True)
        assert Programme.unscoped.get(account=till.account).engine == "legacy"

    def test_mirror_and_import_exclude_each_other(self, till):
        till.turn_on(points_import_on=today(till.account))
        with pytest.raises(services.Problems, match="exclude"):
            till.ask(mirror_points=True)


class TestReading:
    def test_a_missing_permission_stops_this_stream_alone(self, till):
        till.shop.fault("no_permission", match=SUMMARY, times=3)
        change = till.work(till.ask(mirror_points=True))
        assert change.state == ChangeState.FAILED and "View Loyalty Program" in change.message
        assert Credential.unscoped.get(pk=till.shop.credential.pk).state == CredentialState.CONNECTED
        assert till.shop.sync("customers")["customers"].status == "done"
        till.shop.control("faults", clear=True)
        services.go_on(change=change, now=timezone.now())
        till.read()
        assert till.work(change).state == ChangeState.COUNTED

    def test_frozen_says_so_and_asks_nothing(self, till):
        services.freeze(connection=till.link, now=timezone.now())
        till.asked()
        change = till.work(till.ask(mirror_points=True))
        assert change.state == ChangeState.FAILED and "frozen" in change.message and till.asked() == []

    def test_a_round_that_is_killed_goes_on_behind_what_it_saved(self, till, monkeypatch):
        monkeypatch.setattr(pulling, "ROWS_TOGETHER", 20)
        till.ask(mirror_points=True)
        for job in Job.unscoped.filter(account_id=till.account.pk, state__in=jobs.LIVE):
            jobs.run_slice(job.pk)
        state = StreamState.unscoped.get(credential=till.shop.credential, stream="points")
        run = services.enqueue_run(state=state, enqueue=None)
        slices = 0
        while services.run_slice(run.pk, slice_s=0):
            slices += 1
        asked = till.asked()
        assert slices >= 3 and len(asked) == len(set(asked)) == balances.standing(connection_id=till.link.pk).shoppers

    def test_faults_lose_nobody_and_a_garbled_answer_is_listed(self, till):
        (member,) = till.customers(1)
        till.enrol(member)
        till.say(member, 90)
        for kind in ("500", "reset", "garbled"):
            till.shop.fault(kind, match=SUMMARY, times=2)
        change = till.work(till.ask(mirror_points=True))
        assert change.state == ChangeState.COUNTED and Decimal(change.counted["points"]) == 90

    def test_what_the_card_says(self, till, settings):
        settings.CARD_RATES = {"cova": 1000}
        standing = balances.standing(connection_id=till.link.pk)
        assert standing.words == f"One round over {standing.shoppers:,} shoppers takes about 7 s."
        assert balances.span(100_000 / 1000 * 60) == "1.7 h"
        settings.CARD_RATES = {"cova": 0}
        till.turn_on(mirror_points=True)
        standing = balances.standing(connection_id=till.link.pk)
        assert "the last one took" in standing.words and not standing.reading

    def test_a_balance_that_is_dismissed_is_read_no_further(self, till):
        change = till.ask(mirror_points=True)
        for job in Job.unscoped.filter(account_id=till.account.pk, state__in=jobs.LIVE):
            jobs.run_slice(job.pk)
        services.dismiss(change=change, now=timezone.now())
        till.asked()
        till.shop.sync("points")
        assert till.asked() == []
        assert not StreamState.unscoped.get(credential=till.shop.credential, stream="points").enabled
        assert not CustomerBalance.unscoped.filter(origin=till.origin_id).exists()
        assert not BalanceReading.unscoped.exclude(asked_at=None).exists()

    def test_statements_of_a_page(self, till, django_assert_num_queries):
        members = till.customers(40)
        till.enrol(*members)
        till.turn_on(mirror_points=True)
        for one in members:
            till.say(one, 5)
        ids = list(CustomerBalance.unscoped.filter(origin=till.origin_id).values_list("pk", flat=True))
        CustomerBalance.unscoped.update(points=5)
        with django_assert_num_queries(6):  # for one or for five hundred
            mirror.balances_landed(
                account_id=till.account.pk, origin_id=till.origin_id, balance_ids=ids, now=timezone.now()
            )
        assert MirrorState.unscoped.filter(posted=5).count() >= 40


class TestAtOnce:
    """A card's word and the programme's, in the same moment: one of the two is refused, whoever comes first."""

    pytestmark = pytest.mark.django_db(transaction=True)

    @pytest.mark.parametrize("first", ["card", "programme"])
    def test_mirroring_and_fifo_never_both(self, till, first):
        change = till.work(till.ask(mirror_points=True))
        (member,) = till.customers(1)
        till.enrol(member)
        with acting_in(till.account.pk):
            saved = changes.save(
                account_id=till.account.pk, values={"programme": {"engine": "fifo"}}, user=till.user, now=timezone.now()
            )
            while jobs.run_slice(changes.job_of(saved.change).pk):
                pass
            saved.change.refresh_from_db()
        refused = []

        def card():
            try:
                services.confirm(change=change, user=till.user, now=timezone.now())
            except services.Refused as no:
                refused.append(f"card: {no}")

        def fifo():
            try:
                with acting_in(till.account.pk):
                    changes.confirm(change=saved.change, user=till.user, now=timezone.now(), anyway=True)
            except changes.Refused as no:
                refused.append(f"programme: {no}")

        one, other = (card, fifo) if first == "card" else (fifo, card)

        def late():
            try:
                other()
            finally:
                connections.close_all()

        with transaction.atomic():
            one()  # done, not committed
            thread = threading.Thread(target=late)
            thread.start()
            thread.join(1.5)
            assert thread.is_alive(), "the other waits for the word to be through"
        thread.join(30)
        assert len(refused) == 1 and refused[0].startswith("programme" if first == "card" else "card"), refused
        engine = Programme.unscoped.get(account=till.account).engine
        assert mirror.is_mirrored(origin_id=till.origin_id) == (engine == "legacy") == (first == "card")

    def test_the_control_without_the_lock_lets_both_pass(self, till, monkeypatch):
        """The same two, the programme's row not held: both pass, so it is that lock which keeps them apart."""
        change = till.work(till.ask(mirror_points=True))
        monkeypatch.setattr(programme, "locked", lambda account_id: programme.of(account_id))
        passed = []

        def fifo():
            with acting_in(till.account.pk), transaction.atomic():
                programme.write(
                    account_id=till.account.pk, values={"programme": {"engine": "fifo"}}, user=None, moved=True
                )
                passed.append("fifo")
            connections.close_all()

        with acting_in(till.account.pk), transaction.atomic():
            services.confirm(change=change, user=till.user, now=timezone.now())
            thread = threading.Thread(target=fifo)
            thread.start()
            thread.join(30)
        assert passed == ["fifo"] and mirror.is_mirrored(origin_id=till.origin_id)
        assert Programme.unscoped.get(account=till.account).engine == "fifo"


class TestOwnProgramme:
    def test_points_of_the_poss_own_programme_are_noticed_beside_ours(self, till):
        (member,) = till.customers(1)
        assert mirror.own_programmes(account_id=till.account.pk, now=timezone.now()) == []
        till.shop.control("seed", customers=120, sales=500, locations=3, seed=7, days=20, rate=0, own_points=True)
        # Only the details tell, and those are fetched where the list leaves the payment blank.
        till.shop.control("sell", customer_id=member.external_id, lines=LINES, blank_payments=True)
        till.shop.sync("sales")
        ((origin, seen, sentence),) = mirror.own_programmes(account_id=till.account.pk, now=timezone.now())
        assert origin == till.origin_id and seen > timezone.now() - timedelta(days=3) and "earn twice" in sentence
        mirror.begin(account_id=till.account.pk, origin_ids=[origin], now=timezone.now())
        assert mirror.own_programmes(account_id=till.account.pk, now=timezone.now()) == []
