"""A counted change is confirmed once, by what is on the screen; applied in slices, stopped, resumed, taken over."""

from datetime import timedelta
from decimal import Decimal

import pytest
from django.utils import timezone

from aiqsync.accounts.models import AuditLine
from aiqsync.accounts.tenancy import acting_in
from loyalty import changes, jobs
from loyalty.models import ChangeState, Job, Modifier, Programme, ProgrammeChange
from tests.factories import make_account, make_user

from .changing import World, agree, some_audience

pytestmark = pytest.mark.django_db


@pytest.fixture
def world():
    return World()


class TestInTheBackground:
    @pytest.fixture
    def world(self, monkeypatch):
        monkeypatch.setattr(changes.counting, "PERSONAS", 2)
        return World().full()

    def total(self, world, change):
        job = changes.job_of(change)
        return job.done, job.total

    def test_in_slices_with_progress(self, world):
        with acting_in(world.account.pk):
            change = world.propose(programme={"points_per_100": "200"})
            seen = []
            while world.work(slice_s=0, slices=1):
                seen.append(self.total(world, change))
            assert seen == [(2, 8), (4, 8), (6, 8), (8, 8), (8, 8)] or seen == [(2, 8), (4, 8), (6, 8), (8, 8)]
            before = world.balances()
            change.refresh_from_db()
            world.confirm(change)
            halves = []
            while world.work(slice_s=0, slices=1):
                halves.append(len([pk for pk, points in world.balances().items() if points != before.get(pk)]))
            assert halves == sorted(halves) and 0 < halves[0] < halves[-1]
            change.refresh_from_db()
            agree(world, change, before)

    def test_stopped_half_way_and_resumed(self, world):
        with acting_in(world.account.pk):
            change = world.counted(programme={"points_per_100": "200"})
            before = world.balances()
            world.confirm(change)
            world.work(slice_s=0, slices=1)
            assert changes.stop(change=change, user=world.user, now=timezone.now())
            assert not changes.stop(change=change, user=world.user, now=timezone.now())
            half = world.balances()
            assert half != before and world.work() == 0 and world.balances() == half
            with pytest.raises(changes.Refused, match="cannot be dismissed"):
                changes.dismiss(change=change, user=world.user, now=timezone.now())
            with pytest.raises(changes.AlreadyOpen, match="being applied"):
                world.propose(programme={"rounding": "up"})
            assert changes.resume(change=change, user=world.user, now=timezone.now())
            assert not changes.resume(change=change, user=world.user, now=timezone.now())
            world.work()
            change.refresh_from_db()
            agree(world, change, before)
            acts = list(AuditLine.objects.order_by("pk").values_list("act", flat=True))
            assert acts[-4:] == [
                "programme.changed", "programme.change_stopped", "programme.change_resumed", "programme.change_applied",
            ]  # fmt: skip

    @pytest.mark.parametrize("at", range(4))
    def test_a_worker_that_dies_is_taken_over_and_nothing_is_posted_twice(self, world, monkeypatch, at):
        class Killed(BaseException):
            pass

        with acting_in(world.account.pk):
            change = world.counted(programme={"points_per_100": "200", "expire_days": "100"})
            before = world.balances()
            change = world.confirm(change)
            real, steps = jobs.HANDLERS["recompute"], []

            def dies(work):
                real(work)
                steps.append(work.done)
                if len(steps) == at + 1:
                    raise Killed

            monkeypatch.setitem(jobs.HANDLERS, "recompute", dies)
            job = changes.job_of(change)
            with pytest.raises(Killed):
                jobs.run_slice(job.pk)
            assert jobs.run_slice(job.pk) is False  # its lease holds
            Job.unscoped.filter(pk=job.pk).update(lease_until=timezone.now() - timedelta(seconds=1))
            queued = []
            assert jobs.dispatch_due(enqueue=queued.append) == 1 and queued == [job.pk]
            world.work()
            change.refresh_from_db()
            agree(world, change, before)
            assert world.sound() == []


class TestConfirming:
    def test_counted_against_older_settings(self, world):
        world.full()
        change = world.counted(programme={"points_per_100": "200"})
        world.save(programme={"enabled": False})
        with acting_in(world.account.pk):
            assert changes.stale(change)
        with pytest.raises(changes.Refused, match="older settings; count again"):
            world.confirm(change)
        with acting_in(world.account.pk):
            change = changes.recount(change=change, user=world.user, now=timezone.now())
        world.work()
        change.refresh_from_db()
        world.confirm(change)
        world.work()
        assert world.sound() == []

    def test_sales_that_came_since_are_a_question_first(self, world):
        world.full()
        change = world.counted(programme={"points_per_100": "200"})
        world.buy("ada", "new", -1)
        world.buy("gil", "nobody's points", -1)
        with acting_in(world.account.pk):
            assert changes.since(change) == changes.Since(sales=2, shoppers=1)
        with pytest.raises(changes.Refused, match="2 sales came and the points of 1 shopper moved.*Count again"):
            world.confirm(change)
        change.refresh_from_db()
        assert change.state == ChangeState.COUNTED and Programme.unscoped.get().points_per_100 == 100
        before = world.balances()
        with acting_in(world.account.pk):
            changes.recount(change=change, user=world.user, now=timezone.now())
        world.work()
        change.refresh_from_db()
        world.confirm(change)
        world.work()
        change.refresh_from_db()
        agree(world, change, before)

    def test_all_the_same_brings_what_came_to_the_new_settings_too(self, world):
        world.full()
        change = world.counted(programme={"points_per_100": "200"})
        world.buy("ben", "new", -1)
        world.confirm(change, anyway=True)
        world.work()
        assert world.sound() == []

    def test_a_redemption_since_is_a_question_too(self, world):
        world.full()
        change = world.counted(programme={"points_per_100": "200"})
        world.give("ada", -5)
        with pytest.raises(changes.Refused, match="the points of 1 shopper moved"):
            world.confirm(change)

    def test_other_figures_than_those_on_the_screen(self, world):
        world.full()
        change = world.counted(programme={"points_per_100": "200"})
        shown = change.counted["at"]
        with acting_in(world.account.pk):
            changes.recount(change=change, user=world.user, now=timezone.now())
        world.work()
        change.refresh_from_db()
        with pytest.raises(changes.Refused, match="counted again meanwhile"):
            world.confirm(change, seen=shown)
        world.confirm(change, seen=change.counted["at"])

    def test_not_while_it_is_counted_nor_after_it_was_dismissed(self, world):
        world.full()
        change = world.propose(programme={"points_per_100": "200"})
        with pytest.raises(changes.Refused, match="still being counted"):
            world.confirm(change)
        changes.dismiss(change=change, user=world.user, now=timezone.now())
        assert changes.dismiss(change=change, user=world.user, now=timezone.now()).state == ChangeState.DISMISSED
        with pytest.raises(changes.Refused, match="dismissed"):
            world.confirm(change)
        assert Programme.unscoped.get().points_per_100 == 100
        assert world.work() == 0  # its counting ended with it
        assert world.counted(programme={"points_per_100": "300"}).counted["shoppers"]

    def test_the_same_again_is_the_one_there_is_another_is_not_taken(self, world):
        world.full()
        change = world.propose(programme={"points_per_100": "200"})
        assert world.propose(programme={"points_per_100": "200.00"}) == change
        with pytest.raises(changes.AlreadyOpen, match="Yours was not taken") as refused:
            world.save(programme={"rounding": "up", "hide_points": True})
        assert refused.value.saved and Programme.unscoped.get().hide_points
        with pytest.raises(changes.NothingChanges):
            world.propose(programme={"points_per_100": "100"})

    def test_a_failed_count_can_be_made_again(self, world, monkeypatch):
        world.full()
        with acting_in(world.account.pk):
            change = world.propose(programme={"points_per_100": "200"})
            Job.unscoped.update(state="failed", finished_at=timezone.now())
            changes.recount(change=change, user=world.user, now=timezone.now())
            world.work()
            change.refresh_from_db()
            assert change.state == ChangeState.COUNTED

    def test_nothing_is_asked_where_nothing_moves(self, world):
        saved = world.save(programme={"points_per_100": "200"})
        assert saved.change is None and Programme.unscoped.get().points_per_100 == 200

    def test_fault_7_2_a_gift_to_an_audience_is_asked_even_in_a_shop_without_sales(self, world):
        gift = {"name": "Gift", "kind": "boost", "points": "500", "audience": some_audience(world)}
        saved = world.save(modifiers=[gift])
        assert saved.change is not None
        world.work()
        saved.change.refresh_from_db()
        counted = saved.change.counted
        assert (counted["shoppers"], Decimal(counted["after"])) == (2, 1000)  # gil is no member
        assert not Modifier.unscoped.exists()

    @pytest.mark.parametrize("values, name, says", [
        ({"programme": {"points_per_100": "-1"}}, "points_per_100", "greater than or equal"),
        ({"programme": {"points_per_100": "x"}}, "points_per_100", "decimal number"),
        ({"programme": {"expire_days": "0"}}, "expire_days", "greater than or equal"),
        ({"programme": {"expire_days": "99999999999999"}}, "expire_days", ""),
        ({"programme": {"rounding": "sideways"}}, "rounding", "not a valid choice"),
        ({"programme": {"accrual_start": "yesterday"}}, "accrual_start", "invalid date"),
        ({"programme": {"version": "7"}}, "version", "no such setting"),
        ({"programme": {"master_pin": "x"}}, "master_pin", "no such setting"),
        ({"elsewhere": {}}, "elsewhere", "no such part"),
        ({"starts": {"999999": "2026-01-01"}}, "start_999999", "not one of yours"),
        ({"blocked": {"add": [{"phone": "123"}]}}, "blocked", "not a valid phone"),
        ({"blocked": {"add": [{"phone": "604 555 0143", "note": "x" * 121}]}}, "blocked", "120 letters"),
    ])  # fmt: skip
    def test_what_cannot_be_is_said_by_name(self, world, values, name, says):
        with pytest.raises(changes.Problems) as refused:
            world.save(**values)
        assert says in refused.value.fields[name]

    def test_another_accounts_change_and_source(self, world):
        world.full()
        change = world.counted(programme={"points_per_100": "200"})
        other = make_account("Other")
        with acting_in(other.pk):
            with pytest.raises(changes.Problems, match="not one of yours"):
                changes.propose(
                    account_id=other.pk, values={"starts": {str(world.origin.pk): "2026-01-01"}},
                    user=make_user(other), now=timezone.now(),
                )  # fmt: skip
            assert changes.open_change(other.pk) is None
            assert not ProgrammeChange.objects.filter(pk=change.pk).exists()
