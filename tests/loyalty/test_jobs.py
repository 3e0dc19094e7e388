"""Jobs: one live one of a kind, slices, takeovers, and effects that happen once whatever dies in between."""

import threading
from datetime import timedelta

import pytest
from django.db import connections
from django.utils import timezone

from aiqsync.accounts.models import AuditLine
from loyalty import jobs
from loyalty.models import Job
from tests.factories import make_account

from .race import at_once

pytestmark = pytest.mark.django_db
STEPS = 6


class Killed(BaseException):
    """What a SIGKILL looks like from the inside: nothing catches it."""


@pytest.fixture
def account():
    return make_account()


@pytest.fixture
def kind(monkeypatch):
    """A job of six steps; each writes a line. `before(work)` may do harm after the line was written."""

    def step(work):
        AuditLine.unscoped.create(account_id=work.account_id, act=f"step.{work.done}")
        step.before(work)
        work.cursor, work.done, work.total = {"at": work.done + 1}, work.done + 1, STEPS
        work.finished = work.done == STEPS

    step.before = lambda work: None
    monkeypatch.setitem(jobs.HANDLERS, "steps", step)
    monkeypatch.setitem(jobs.HANDLERS, "others", step)
    return step


def start(account, kind="steps", **given):
    return jobs.start(account_id=account.pk, kind=kind, args={}, user=None, now=timezone.now(), **given)


def lines():
    return sorted(AuditLine.unscoped.filter(act__startswith="step.").values_list("act", flat=True))


ALL = [f"step.{n}" for n in range(STEPS)]


def lose_the_lease():
    Job.unscoped.update(lease_until=timezone.now() - timedelta(seconds=1))


def test_runs_in_slices_to_its_end(account, kind):
    queued = []
    job = start(account, enqueue=queued.append)
    assert queued == [job.pk]
    assert jobs.run_slice(job.pk, slice_s=0)  # one step
    job.refresh_from_db()
    assert (job.state, job.done, job.total, job.cursor, job.token) == ("queued", 1, STEPS, {"at": 1}, "")
    assert jobs.run_slice(job.pk) is False
    job.refresh_from_db()
    assert (job.state, job.done) == ("done", STEPS) and job.finished_at and job.started_at
    assert lines() == ALL
    assert jobs.run_slice(job.pk) is False and lines() == ALL  # delivered again


def test_one_live_job_of_a_kind_and_account(account, kind):
    first = start(account)
    assert start(account).pk == first.pk
    assert start(account, "others").pk != first.pk and start(make_account("Other")).pk != first.pk
    while jobs.run_slice(first.pk):
        pass
    assert start(account).pk != first.pk
    with pytest.raises(ValueError, match="no handler"):
        start(account, "unknown")


@pytest.mark.parametrize("at", range(STEPS))
def test_killed_in_any_step_another_goes_on_and_effects_are_once(account, kind, at):
    def die(work):
        if work.done == at and not kind.died:
            kind.died = True
            raise Killed

    kind.died, kind.before = False, die
    job = start(account)
    with pytest.raises(Killed):
        jobs.run_slice(job.pk)
    assert lines() == ALL[:at]  # the step that died left nothing
    assert jobs.run_slice(job.pk) is False  # the lease still holds
    queued = []
    assert jobs.dispatch_due(enqueue=queued.append) == 0
    lose_the_lease()
    assert jobs.dispatch_due(enqueue=queued.append) == 1 and queued == [job.pk]
    while jobs.run_slice(job.pk):
        pass
    assert lines() == ALL


def test_taken_for_dead_it_writes_nothing_more(account, kind):
    """The lease ends inside a step and another delivery takes the job: the step of the first is undone."""

    def taken(work):
        if work.done == 2:
            Job.unscoped.update(token="somebody else")

    kind.before = taken
    job = start(account)
    assert jobs.run_slice(job.pk) is False
    job.refresh_from_db()
    assert lines() == ALL[:2] and job.done == 2 and job.state == "running"


def test_stopped_and_resumed(account, kind):
    job = start(account)
    jobs.run_slice(job.pk, slice_s=0)
    assert jobs.stop(job_id=job.pk, now=timezone.now())
    assert not jobs.stop(job_id=job.pk, now=timezone.now())
    assert jobs.run_slice(job.pk) is False
    job.refresh_from_db()
    assert (job.state, job.done) == ("stopped", 1) and lines() == ALL[:1]
    queued = []
    assert jobs.resume(job_id=job.pk, now=timezone.now(), enqueue=queued.append) and queued == [job.pk]
    assert not jobs.resume(job_id=job.pk, now=timezone.now())
    jobs.run_slice(job.pk)
    assert lines() == ALL
    assert not jobs.stop(job_id=job.pk, now=timezone.now())


def test_not_resumed_while_another_is_live(account, kind):
    first = start(account)
    jobs.stop(job_id=first.pk, now=timezone.now())
    start(account)
    assert not jobs.resume(job_id=first.pk, now=timezone.now())


def test_a_job_that_kills_its_worker_is_given_up(account, kind):
    job = start(account)
    for _ in range(jobs.MAX_ATTEMPTS):
        assert jobs.claim(job.pk)
        lose_the_lease()
    assert jobs.run_slice(job.pk) is False
    job.refresh_from_db()
    assert job.state == "failed" and job.message.endswith(".") and lines() == []


def test_a_mistake_of_ours_is_tried_again_and_given_up(account, kind):
    def wrong(work):
        raise KeyError("Ada Moss")

    kind.before = wrong
    job = start(account)
    tries = 0
    while job.state not in ("failed", "done"):
        assert jobs.run_slice(job.pk) is False  # not at once again: the dispatcher waits a lease's time
        job.refresh_from_db()
        tries += 1
    assert tries == jobs.MAX_ATTEMPTS and "Ada" not in job.message and lines() == []


def test_a_handler_gives_up_with_a_sentence(account, kind):
    def gone(work):
        raise jobs.GiveUp("The change was dismissed.")

    kind.before = gone
    job = start(account)
    jobs.run_slice(job.pk)
    job.refresh_from_db()
    assert (job.state, job.message) == ("failed", "The change was dismissed.")


def test_what_was_never_claimed_is_handed_out_again(account, kind):
    job = start(account)
    queued = []
    assert jobs.dispatch_due(enqueue=queued.append) == 0
    Job.unscoped.update(queued_at=timezone.now() - timedelta(minutes=2))
    assert jobs.dispatch_due(enqueue=queued.append) == 1
    assert jobs.dispatch_due(enqueue=queued.append) == 0 and queued == [job.pk]


def test_old_jobs_go_live_ones_stay(account, kind):
    old = start(account)
    jobs.run_slice(old.pk)
    Job.unscoped.update(finished_at=timezone.now() - timedelta(days=jobs.KEEP_DAYS + 1))
    live = start(account)
    assert jobs.prune(now=timezone.now()) == 1
    assert list(Job.unscoped.values_list("pk", flat=True)) == [live.pk]


@pytest.mark.django_db(transaction=True)
class TestAtOnce:
    def test_eight_deliveries_one_works(self, account, kind):
        for _ in range(3):
            AuditLine.unscoped.all().delete()
            job = start(account)
            at_once([lambda pk=job.pk: jobs.run_slice(pk)] * 8)
            assert lines() == ALL

    def test_control_without_the_claim_steps_are_done_twice(self, account, kind, monkeypatch):
        """Claim and proof let everybody in: the same race must now be lost."""
        monkeypatch.setattr(jobs, "claim", lambda job_id: "")
        monkeypatch.setattr(jobs, "_keep", lambda work, token: None)
        both = threading.Barrier(2)
        kind.before = lambda work: work.done or both.wait(60)  # each is at the first step before one goes on
        job = start(account)
        at_once([lambda: jobs.run_slice(job.pk)] * 2)
        assert len(lines()) > STEPS

    def test_eight_starts_one_job(self, account, kind):
        found = at_once([lambda: start(account).pk] * 8)
        assert len(set(found)) == 1 and Job.unscoped.count() == 1

    def test_the_lease_is_lost_while_a_step_hangs(self, account, kind):
        """A worker that hangs past its lease; the other does everything; then the first wakes up."""
        inside, go_on = threading.Event(), threading.Event()

        def hang(work):
            if work.done == 2 and not inside.is_set():
                inside.set()
                go_on.wait(20)

        kind.before = hang
        job = start(account)

        def first():
            try:
                jobs.run_slice(job.pk)
            finally:
                connections.close_all()

        thread = threading.Thread(target=first)
        thread.start()
        assert inside.wait(20)
        lose_the_lease()
        jobs.run_slice(job.pk)
        go_on.set()
        thread.join(20)
        job.refresh_from_db()
        assert lines() == ALL and job.state == "done" and job.done == STEPS
