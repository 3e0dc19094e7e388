"""`manage.py dispatch`: every second, hand what is due to the queue. Any number of them may run.

Housekeeping goes on beside it: a sweep that takes long (points of a whole year expire) holds up no sync, and one that
fails holds up no other. So do webhooks: a receiver that is slow holds up nothing.
"""

import logging
import signal
import threading
import time
from collections.abc import Callable
from datetime import datetime
from functools import partial

from django.core.management.base import BaseCommand
from django.db import close_old_connections, connection
from django.utils import timezone
from django_q.tasks import async_task

from aiqsync import tasks, watching
from aiqsync.accounts import alerts
from aiqsync.accounts.models import Account
from integrations import services
from integrations.uploads import running as uploads
from integrations.uploads import services as upload_services
from loyalty import (
    audiences,
    checkins,
    checks,
    closes,
    discounts,
    earning,
    idempotency,
    jobs,
    ledger,
    messages,
    pins,
    reconcile,
    rehearsal,
    seals,
    unmatched,
)
from loyalty.webhooks import reading as webhook_events
from loyalty.webhooks import sending as webhook_calls

log = logging.getLogger("aiqsync.dispatch")

HOUSEKEEPING_S = 60
LAST_SWEEP_S = 10  # how long a sweep that is under way is waited for at the end


class Command(BaseCommand):
    help = "Queue syncs that are due, and take over the syncs and jobs that a dead worker left."

    def add_arguments(self, parser):
        parser.add_argument("--interval", type=float, default=1.0, help="seconds between two looks")

    def handle(self, *args, **options):
        stop = threading.Event()
        for name in (signal.SIGTERM, signal.SIGINT):
            signal.signal(name, lambda *_: stop.set())
        house = threading.Thread(target=_keep_house, args=(stop,), name="housekeeping", daemon=True)
        house.start()
        post = threading.Thread(target=_tell, args=(stop, options["interval"]), name="webhooks", daemon=True)
        post.start()
        while not stop.is_set():
            _do("syncs that are due", lambda: services.dispatch_due(enqueue=tasks.enqueue))
            _do("files that wait", lambda: uploads.dispatch_due(enqueue=tasks.enqueue_upload))
            _do("writes that are due", lambda: services.dispatch_writes(enqueue=tasks.enqueue_writes))
            _do("messages that are due", lambda: messages.deliver_due(now=timezone.now()))
            _do("jobs that were left", lambda: jobs.dispatch_due(enqueue=tasks.enqueue_job))
            stop.wait(options["interval"])
        house.join(LAST_SWEEP_S)
        post.join(LAST_SWEEP_S)


def _tell(stop: threading.Event, interval: float) -> None:
    """Read what happened and send it; calls that are under way at the end are waited for."""
    with webhook_calls.Courier() as courier:
        while not stop.is_set():
            began = time.monotonic()
            _do("events for webhooks", lambda: webhook_events.read(now=timezone.now()))
            pause = max(interval, 4 * (time.monotonic() - began))  # reading takes a fifth of the time at most
            while not stop.is_set() and (left := began + pause - time.monotonic()) > 0:
                _do("webhooks that are due", courier.turn)
                if courier.busy:
                    courier.rest(min(left, 0.2))
                else:
                    stop.wait(min(left, interval))
        courier.rest_of_it(LAST_SWEEP_S)
    connection.close()


def _do(what: str, act: Callable[[], object]) -> None:
    """The database may be away, or one merchant's rows be wrong: the next look tries again, nothing was taken."""
    try:
        act()
    except Exception:
        log.exception("%s: failed, and is tried again", what)
        close_old_connections()


def _keep_house(stop: threading.Event) -> None:
    while not stop.is_set():
        keep_books(stop)
        stop.wait(HOUSEKEEPING_S)
    connection.close()


def keep_books(stop: threading.Event | None = None) -> None:
    """Expire, release, seal, close months, refresh audiences, give boosts; look at discounts and ledgers daily."""

    def now() -> datetime:
        return timezone.now()

    chores: list[tuple[str, Callable[[], object]]] = [
        ("old runs", lambda: services.prune(now=now())),
        ("old files", lambda: upload_services.prune(now=now())),
        ("expiry", lambda: ledger.expire_due(now=now())),
        ("redemptions without a sale", lambda: reconcile.release_due(now=now())),
        ("seals", lambda: seals.seal_due(now=now())),
        ("months", lambda: closes.close_due(now=now())),
        ("audiences", lambda: audiences.refresh_due(now=now())),
        ("members", lambda: audiences.count_members_due(now=now())),
        ("boosts", partial(_give_boosts, now)),
        ("discounts", lambda: discounts.check_due(now=now())),
        ("the ledger's check", lambda: checks.is_due(now=now()) and async_task("aiqsync.tasks.check_ledgers")),
        ("old answers", lambda: idempotency.prune(now=now())),
        ("old uses of codes", lambda: pins.prune(now=now())),
        ("old calls that matched nothing", lambda: unmatched.prune(now=now())),
        ("webhooks about removed people", lambda: webhook_events.scrub(now=now())),
        ("old webhooks", lambda: webhook_events.prune(now=now())),
        ("the waiting rooms", lambda: checkins.tidy(now=now())),
        ("old jobs", lambda: jobs.prune(now=now())),
        ("keys of rehearsals", lambda: rehearsal.revoke_left(now=now())),
        ("old alerts", lambda: alerts.prune(now=now())),
        ("alerts", lambda: watching.look(now=now())),
        ("e-mails of alerts", lambda: alerts.deliver_due(now=now())),
    ]
    for what, chore in chores:
        if stop is not None and stop.is_set():
            return
        _do(what, chore)


def _give_boosts(now: Callable[[], datetime]) -> None:
    for account_id in Account.objects.values_list("pk", flat=True):
        _do(
            f"boosts of account {account_id}",
            partial(earning.settle_audience_boosts, account_id=account_id, now=now()),
        )
