"""Work in the background as rows: a token, a lease, a cursor; a slice at a time.

A handler does one bounded step: its effect, its cursor and the proof that the job is still ours are one transaction. So
a worker that was taken for dead, or a job that was stopped meanwhile, leaves nothing behind; whoever goes on begins
where the last saved step ended, and what was done is done once.
"""

import logging
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import uuid4

import psycopg
from django.conf import settings
from django.db import DatabaseError, IntegrityError, OperationalError, transaction
from django.db.models import F, Q
from django.db.models.functions import Now
from django.utils import timezone
from psycopg.errors import DeadlockDetected

from aiqsync.accounts.models import User
from aiqsync.accounts.tenancy import acting_in

from .models import Job, JobState

log = logging.getLogger(__name__)

MAX_ATTEMPTS = 5  # deliveries in a row that saved nothing: then the job is given up, with a sentence
KEEP_DAYS = 90
_SOON = timedelta(minutes=2)  # not worth telling anybody
LIVE = (JobState.QUEUED, JobState.RUNNING)
Enqueue = Callable[[int], None]


class GiveUp(Exception):
    """There is nothing sensible left to do; the message is for the merchant."""


class LostLease(Exception):
    """Another delivery has this job, or it was stopped: what this step did is undone."""


@dataclass
class Work:
    """What a step is given, and what it says. A handler sets `cursor`, adds to `done` and `result`, says `finished`.

    `budget_s` is what is left of the slice; a step that could take longer does less. One that has done what may be
    done for now says `wait_until`: the job is queued, and handed out again then.
    """

    job_id: int
    account_id: int
    args: dict[str, Any]
    user: User | None
    cursor: dict[str, Any]
    done: int
    total: int | None
    result: dict[str, Any]
    now: datetime
    budget_s: float
    finished: bool = False
    wait_until: datetime | None = None  # the next step is not before that


Handler = Callable[[Work], None]
Failed = Callable[[Job, str], None]
HANDLERS: dict[str, Handler] = {}
FAILED: dict[str, Failed] = {}


def handler(kind: str, *, failed: Failed | None = None) -> Callable[[Handler], Handler]:
    """Register the function that does one step of this kind of job.

    A kind may go on behind a colon ("switch:12"): one of each is live at a time, and the handler is that of its first
    word. `failed` is told with the sentence when the job is given up, in that transaction and before the job's row.
    """

    def register(function: Handler) -> Handler:
        HANDLERS[kind] = function
        if failed:
            FAILED[kind] = failed
        return function

    return register


def _family(kind: str) -> str:
    return kind.partition(":")[0]


def start(
    *,
    account_id: int,
    kind: str,
    args: dict[str, Any],
    user: User | None,
    now: datetime,
    enqueue: Enqueue | None = None,
) -> Job:
    """The account's live job of this kind: a new one, handed to the queue in the same transaction, or the one there is.

    Without `enqueue` the dispatcher finds it when a lease's time is over.
    """
    if _family(kind) not in HANDLERS:
        raise ValueError(f"no handler does jobs of kind {kind}")
    with transaction.atomic():
        for last_try in (False, True):
            try:
                with transaction.atomic():
                    job = Job.unscoped.create(account_id=account_id, kind=kind, args=args, user=user, queued_at=now)
                break
            except IntegrityError:
                live = Job.unscoped.filter(account_id=account_id, kind=kind, state__in=LIVE).first()
                if live is not None:
                    return live
                if last_try:  # it ended between our insert and our look, twice
                    raise
        if enqueue:
            enqueue(job.pk)
    return job


def stop(*, job_id: int, now: datetime) -> bool:
    """End a job: what its steps saved stays, the step under way saves nothing. False: it was over."""
    return bool(
        Job.unscoped.filter(pk=job_id, state__in=LIVE).update(
            state=JobState.STOPPED, finished_at=now, lease_until=None, token="", message="Stopped."
        )
    )


def resume(*, job_id: int, now: datetime, enqueue: Enqueue | None = None) -> bool:
    """Go on behind the last saved step of a job that was stopped or given up. False: it is live, or done."""
    with transaction.atomic():
        try:
            with transaction.atomic():
                again = Job.unscoped.filter(pk=job_id, state__in=(JobState.STOPPED, JobState.FAILED)).update(
                    state=JobState.QUEUED, queued_at=now, finished_at=None, attempts=0, message=""
                )
        except IntegrityError:  # another of its kind is live
            return False
        if again and enqueue:
            enqueue(job_id)
    return bool(again)


def waits_until(job: Job, *, now: datetime) -> datetime | None:
    """When a job that said `wait_until` goes on; None when it does not wait."""
    moment = job.queued_at + timedelta(seconds=settings.SYNC_LEASE_S)
    return moment if job.state == JobState.QUEUED and job.started_at and moment > now + _SOON else None


def dispatch_due(*, enqueue: Enqueue, limit: int = 200) -> int:
    """Hand out again what a dead worker left, and what was queued and never claimed. Delivered twice, it runs once."""
    with transaction.atomic():
        lost = list(
            Job.unscoped.select_for_update(skip_locked=True, of=("self",))
            .filter(
                Q(state=JobState.RUNNING, lease_until__lt=Now())
                | Q(state=JobState.QUEUED, queued_at__lt=Now() - timedelta(seconds=settings.SYNC_LEASE_S))
            )
            .order_by("id")[:limit]
        )
        for job in lost:
            job.state, job.token, job.lease_until = JobState.QUEUED, "", None
            job.queued_at = timezone.now()
            enqueue(job.pk)
        Job.unscoped.bulk_update(lost, ["state", "token", "lease_until", "queued_at"])
    return len(lost)


def prune(*, now: datetime) -> int:
    """Jobs that ended long ago go; what they did is in the rows they wrote."""
    old = Job.unscoped.filter(finished_at__lt=now - timedelta(days=KEEP_DAYS)).exclude(state__in=LIVE)
    return old.delete()[0]


def claim(job_id: int) -> str | None:
    """Take the job, on the database's clock. None: somebody else has it, or it is over."""
    token = uuid4().hex
    free = Q(state=JobState.QUEUED) | Q(state=JobState.RUNNING, lease_until__lt=Now())
    won = Job.unscoped.filter(free, pk=job_id).update(
        state=JobState.RUNNING,
        token=token,
        attempts=F("attempts") + 1,
        lease_until=Now() + timedelta(seconds=settings.SYNC_LEASE_S),
    )
    return token if won else None


def run_slice(job_id: int, *, slice_s: float | None = None) -> bool:
    """Work on a job for one slice. True: there is more to do, queue it again. Delivered twice, it runs once."""
    token = claim(job_id)
    if token is None:
        return False
    job = Job.unscoped.select_related("user").get(pk=job_id)
    if job.attempts > MAX_ATTEMPTS:
        _end(job, token, JobState.FAILED, "It was tried five times and saved nothing; it was given up.")
        return False
    if job.started_at is None:
        job.started_at = timezone.now()
        Job.unscoped.filter(pk=job.pk, token=token).update(started_at=job.started_at)
    deadline = time.monotonic() + (settings.SYNC_SLICE_S if slice_s is None else slice_s)
    try:
        with acting_in(job.account_id):
            while not (rests := _step(job, token, deadline)) and time.monotonic() < deadline:
                pass
        if rests:
            return False
        Job.unscoped.filter(pk=job.pk, token=token, state=JobState.RUNNING).update(
            state=JobState.QUEUED, queued_at=Now(), token="", lease_until=None, attempts=0
        )
        return True
    except LostLease:
        log.info("job %s was taken over or stopped", job_id)
    except GiveUp as given_up:
        _end(job, token, JobState.FAILED, str(given_up))
    except (DatabaseError, psycopg.Error):
        raise  # our own database: the lease ends and the job is taken over
    except Exception as error:  # a mistake of ours: tried again a few times, never for ever
        log.error("job %s (%s) failed: %s", job_id, job.kind, _kind(error))
        if job.attempts >= MAX_ATTEMPTS:
            _end(job, token, JobState.FAILED, "An error on our side; it has been logged. What was done stays.")
        else:
            Job.unscoped.filter(pk=job.pk, token=token, state=JobState.RUNNING).update(
                state=JobState.QUEUED, queued_at=Now(), token="", lease_until=None
            )
    return False


def _step(job: Job, token: str, deadline: float) -> bool:
    """One step, its cursor and the proof that the job is still ours: all of it or none. True: done, or it waits."""
    for attempt in range(4):
        work = Work(
            job_id=job.pk, account_id=job.account_id, args=dict(job.args), user=job.user, cursor=dict(job.cursor),
            done=job.done, total=job.total, result=dict(job.result), now=timezone.now(),
            budget_s=max(0.0, deadline - time.monotonic()),
        )  # fmt: skip
        try:
            with transaction.atomic():
                HANDLERS[_family(job.kind)](work)
                _keep(work, token)
            break
        except OperationalError as error:
            # Two transactions waited for each other; the one that was ended does its step again.
            if attempt == 3 or not isinstance(error.__cause__, DeadlockDetected):
                raise
    job.cursor, job.done, job.total, job.result, job.attempts = work.cursor, work.done, work.total, work.result, 0
    return work.finished or work.wait_until is not None


def _keep(work: Work, token: str) -> None:
    changes: dict[str, Any] = {"lease_until": Now() + timedelta(seconds=settings.SYNC_LEASE_S)}
    if work.finished:
        changes = {"state": JobState.DONE, "finished_at": Now(), "lease_until": None, "token": ""}
    elif work.wait_until:  # the dispatcher hands out what was queued a lease ago
        queued_at = work.wait_until - timedelta(seconds=settings.SYNC_LEASE_S)
        changes = {"state": JobState.QUEUED, "queued_at": queued_at, "lease_until": None, "token": ""}
    ours = Job.unscoped.filter(pk=work.job_id, token=token, state=JobState.RUNNING).update(
        cursor=work.cursor, done=work.done, total=work.total, result=work.result, attempts=0, **changes
    )
    if not ours:
        raise LostLease


def _end(job: Job, token: str, state: str, message: str) -> None:
    """Nothing when it is somebody else's by now, or was stopped.

    What the job is for comes before the job's row, as in a step and with who stops it (docs/decisions/locks.md).
    """
    try:
        with transaction.atomic():
            if state == JobState.FAILED and (failed := FAILED.get(_family(job.kind))):
                failed(job, message)
            if not Job.unscoped.filter(pk=job.pk, token=token, state=JobState.RUNNING).update(
                state=state, finished_at=Now(), lease_until=None, token="", message=message
            ):
                raise LostLease
    except LostLease:
        log.info("job %s was taken over or stopped", job.pk)


def _kind(error: Exception) -> str:
    """What went wrong and where in our code, without the values that were at hand."""
    frames = traceback.extract_tb(error.__traceback__)[-3:]
    return f"{type(error).__name__} at " + " < ".join(f"{f.name}:{f.lineno}" for f in reversed(frames))
