"""What goes with what: mirroring and FIFO, import and mirror; how balances are read; two words in one moment."""

import threading
from datetime import timedelta
from decimal import Decimal

import pytest
from django.db import OperationalError, connections, transaction
from django.utils import timezone

from aiqsync.accounts.tenancy import acting_in
from integrations import balances, pulling, services
from integrations.models import (
    BalanceReading,
    ChangeState,
    Credential,
    CredentialState,
    CustomerBalance,
    StreamState,
)
from integrations.sink import sink
from loyalty import (
    changes,
    jobs,
    mirror,
    pos_points,
    programme,
)
from loyalty.models import Job, Mirroring, MirrorState, PointsImport, Programme

from ..integrations.conftest import cova, running_sandbox  # noqa: F401  (fixtures)
from .pos_till import LINES, SUMMARY, Till, today
from .race import Acting, overlap

pytestmark = pytest.mark.django_db


@pytest.fixture
def till(cova):  # noqa: F811
    return Till(cova)


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

    @pytest.mark.parametrize("first", ["points_import_on", "mirror_points"])
    def test_mirror_and_import_exclude_each_other(self, till, first):
        """Whichever holds, the other is refused by its name, asked for alone or with a form that repeats the first."""
        given = {"points_import_on": today(till.account), "mirror_points": True}
        off = {"points_import_on": "", "mirror_points": False}
        (second,) = given.keys() - {first}
        till.turn_on(**{first: given[first]})
        for asked in ({second: given[second]}, given):
            with pytest.raises(services.Problems, match="exclude") as refused:
                till.ask(**asked)
            assert list(refused.value.fields) == [second]
        # What has nothing to do with them is saved all the same, and the two change places in one form.
        services.save_settings(connection=till.link, given=given | {second: off[second]}, now=timezone.now())
        assert till.ask(**{first: off[first], second: given[second]}).state == ChangeState.COUNTING

    def test_of_two_that_wait_the_second_word_is_refused(self, till):
        given = {"points_import_on": today(till.account), "mirror_points": True}
        with pytest.raises(services.Problems) as refused:
            till.ask(**given)
        assert set(refused.value.fields) == set(given)
        mirror_it = till.work(till.ask(mirror_points=True))
        take_it = till.work(till.ask(points_import_on=given["points_import_on"]))
        services.confirm(change=mirror_it, user=till.user, now=timezone.now())
        with pytest.raises(services.Refused, match="exclude"):
            services.confirm(change=take_it, user=till.user, now=timezone.now())
        till.work(mirror_it)
        assert mirror.is_mirrored(origin_id=till.origin_id) and not PointsImport.unscoped.exists()


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

    def test_an_import_that_is_put_away_before_its_day_is_promised_no_more(self, till):
        later = (timezone.localdate() + timedelta(days=9)).isoformat()
        change = till.work(till.ask(points_import_on=later))
        services.confirm(change=change, user=till.user, now=timezone.now())
        assert services.settings_of(till.link.__class__.unscoped.get(pk=till.link.pk))["points_import_on"] == later
        assert services.halt(change=change, now=timezone.now()) and services.dismiss(change=change, now=timezone.now())
        till.link.refresh_from_db()
        assert services.settings_of(till.link)["points_import_on"] == ""

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

        # Done, not committed: the other waits for the word to be through.
        assert overlap(one, other).waited
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

    @pytest.mark.parametrize("first", ["sources", "rows"], ids=["the sources first", "control: the change's row first"])
    def test_turned_off_while_turning_on_is_applied(self, till, monkeypatch, first):
        """The step holds the sources and comes to the rows of its change and job; who turns it off does as well."""
        one, other = till.customers(2)
        till.enrol(one, other)
        till.say(one, 70), till.say(other, 80)
        change = till.work(till.ask(mirror_points=True))
        services.confirm(change=change, user=till.user, now=timezone.now())
        real, really, steps, off = pos_points.MirrorPoints.apply, type(sink()).dropped, [], []

        def turn_off():
            return services.save_settings(connection=till.link, given={"mirror_points": False}, now=timezone.now())

        def apply(switch, work, change):
            steps.append(work.cursor.get("after", 0))
            real(switch, work, change)
            if not off:
                off.append(Acting(turn_off).settle())
                assert off[0].waited, "it waits for the step"

        def rows_first(it, **given):
            services.halt(change=change, now=timezone.now())
            really(it, **given)

        monkeypatch.setattr(pos_points, "PEOPLE", 1)
        monkeypatch.setattr(pos_points.MirrorPoints, "apply", apply)
        if first == "rows":
            monkeypatch.setattr(type(sink()), "dropped", rows_first)
        job = Job.unscoped.get(kind=f"switch:{change.pk}")
        jobs.run_slice(job.pk)
        in_a_circle = isinstance(off[0].answer(), OperationalError) or len(steps) > len(set(steps))
        assert in_a_circle is (first == "rows"), (steps, off[0].answer())
        if first == "sources":
            change.refresh_from_db(), job.refresh_from_db(), till.link.refresh_from_db()
            assert (change.state, job.state) == (ChangeState.DISMISSED, "stopped")
            assert not till.link.settings["mirror_points"] and not mirror.is_mirrored(origin_id=till.origin_id)
            assert till.books() == []


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
