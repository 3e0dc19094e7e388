"""The POS's own points, over real HTTP against Cova's stand-in: taken over once, or mirrored. Effects, not forms."""

from datetime import date, datetime, timedelta
from decimal import Decimal

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from aiqsync.accounts.tenancy import acting_in
from integrations import services
from integrations.models import (
    ChangeState,
    Credential,
    Customer,
)
from loyalty import (
    changes,
    earning,
    imports,
    jobs,
    ledger,
    merging,
    mirror,
    refusals,
    wallet,
)
from loyalty.models import Entry, Job, Lot, Mirroring, Persona, Programme, Source, WaitingBalance
from loyalty.rules import of as rules_of

from ..factories import make_discount
from ..integrations.conftest import cova, running_sandbox  # noqa: F401  (fixtures)
from .pos_till import LINES, Till, earned_of, minutes_ago, today

pytestmark = pytest.mark.django_db


@pytest.fixture
def till(cova):  # noqa: F811
    return Till(cova)


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

    def test_what_waits_is_what_was_taken_over_whatever_is_read_later(self, till):
        one, other, gone = till.customers(3)
        till.say(one, 75), till.say(other, 60), till.say(gone, 30)
        till.turn_on(points_import_on=today(till.account))
        waits = WaitingBalance.unscoped.filter(origin=till.origin_id)
        assert dict(waits.filter(customer__in=[one, other, gone]).values_list("customer", "points")) == {
            one.pk: 75, other.pk: 60, gone.pk: 30,
        }  # fmt: skip
        till.turn_off(points_import_on="")
        till.say(one, 0), till.say(other, 9), till.say(gone, 0)
        again = till.work(till.ask(points_import_on=today(till.account)))  # reads, and takes nothing over
        later = timezone.localdate() + timedelta(days=1)
        till.enrol(one, day=later)
        assert till.balance(one) == 75
        line = Entry.unscoped.get(persona=till.persona(one), kind="import")
        assert (line.key, line.balance_after) == (f"import:{till.origin_id}:{one.pk}", 75)
        assert not waits.filter(customer=one).exists()
        # Another import takes today's balances in place of those that wait.
        services.confirm(change=again, user=till.user, now=timezone.now())
        till.work(again)
        till.enrol(one, other, gone, day=later)
        assert (till.balance(one), till.balance(other), till.balance(gone)) == (75, 9, 0)
        assert till.books() == []

    def test_merged_in_the_pos_after_it_was_taken_over_both_are_paid(self, till):
        one, other = till.customers(2)
        till.say(one, 75), till.say(other, 20)
        till.turn_on(points_import_on=today(till.account))
        till.shop.control("edit", customer_id=other.external_id, merged_into=one.external_id)
        till.shop.sync("customers")
        till.enrol(one, day=timezone.localdate() + timedelta(days=1))
        assert till.balance(one) == 95 and till.books() == []

    def test_a_hundred_are_paid_with_as_many_statements_as_one(self, till):
        everybody = till.customers(40)
        for number, one in enumerate(everybody, start=1):
            till.say(one, number)
        till.turn_on(points_import_on=today(till.account))
        ids = [till.persona(one).pk for one in everybody]
        Persona.unscoped.filter(pk__in=ids).update(member_from=timezone.localdate() + timedelta(days=1))
        asked = []
        for some in (ids[:1], ids[1:]):
            with acting_in(till.account.pk), CaptureQueriesContext(connection) as seen:
                paid = imports.pay(account_id=till.account.pk, persona_ids=some, now=timezone.now())
            assert paid.shoppers == paid.entries == len(some)
            asked.append([one["sql"].split()[0] for one in seen.captured_queries])
        assert asked[0] == asked[1] and len(asked[0]) < 9, asked
        assert [till.balance(one) for one in everybody] == list(range(1, 41)) and till.books() == []

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
        zone = rules_of(till.account.pk).zone
        day = lot.entry.at.astimezone(zone).date()
        assert lot.expires_at == datetime.combine(day + timedelta(days=31), datetime.min.time(), zone)

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
