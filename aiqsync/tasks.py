"""What django-q2 runs. Tasks load and call; they are given ids, never objects or secrets."""

from django.utils import timezone
from django_q.tasks import async_task

from aiqsync import rehearsing
from integrations import services
from integrations.uploads import running as uploads
from loyalty import checks, jobs


def enqueue(run_id: int) -> None:
    """Hand a run to the queue. Same database: the task commits with whatever queued it, or not at all."""
    async_task("aiqsync.tasks.sync_run", run_id)


def sync_run(run_id: int) -> None:
    """One slice of a run; the next slice is queued when there is more."""
    if services.run_slice(run_id):
        enqueue(run_id)


def enqueue_writes(origin_id: int, token: str) -> None:
    """The same for a batch of writes to a POS; the token says which."""
    async_task("aiqsync.tasks.send_writes", origin_id, token)


def send_writes(origin_id: int, token: str) -> None:
    """One batch; what is left of it the dispatcher hands out again."""
    services.run_writes(origin_id=origin_id, token=token)


def check_ledgers() -> None:
    """The nightly look at every ledger; asked twice, the second finds it done."""
    now = timezone.now()
    if checks.is_due(now=now):
        checks.check_all(now=now)


def enqueue_job(job_id: int) -> None:
    """The same for a job of the loyalty engine."""
    async_task("aiqsync.tasks.run_job", job_id)


def run_job(job_id: int) -> None:
    """One slice of a job; the next slice is queued when there is more."""
    if jobs.run_slice(job_id):
        enqueue_job(job_id)


def enqueue_upload(upload_id: int) -> None:
    """The same for a file that was sent."""
    async_task("aiqsync.tasks.read_upload", upload_id)


def read_upload(upload_id: int) -> None:
    """One slice of a file; the next slice is queued when there is more."""
    if uploads.run_slice(upload_id):
        enqueue_upload(upload_id)


def enqueue_rehearsal(rehearsal_id: int) -> None:
    async_task("aiqsync.tasks.rehearse", rehearsal_id)


def rehearse(rehearsal_id: int) -> None:
    """The whole walk of a test shopper: a few calls of our own API. Delivered twice, it runs once."""
    rehearsing.walk(rehearsal_id)


def heartbeat() -> None:
    """Nothing: that it was run, acknowledged and signalled is the message."""
