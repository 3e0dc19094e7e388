"""`manage.py dispatch`: every second, hand what is due to the queue. Any number of them may run."""

import logging
import signal
import threading
import time

from django.core.management.base import BaseCommand
from django.db import DatabaseError, close_old_connections
from django.utils import timezone
from django_q.tasks import async_task

from aiqsync import tasks
from aiqsync.accounts.models import Account
from integrations import services
from loyalty import audiences, checks, closes, discounts, earning, jobs, ledger, messages, reconcile, seals

log = logging.getLogger("aiqsync.dispatch")

HOUSEKEEPING_S = 60


class Command(BaseCommand):
    help = "Queue syncs that are due, and take over the syncs and jobs that a dead worker left."

    def add_arguments(self, parser):
        parser.add_argument("--interval", type=float, default=1.0, help="seconds between two looks")

    def handle(self, *args, **options):
        stop = threading.Event()
        for name in (signal.SIGTERM, signal.SIGINT):
            signal.signal(name, lambda *_: stop.set())
        kept_house = 0.0
        while not stop.is_set():
            try:
                services.dispatch_due(enqueue=tasks.enqueue)
                messages.deliver_due(now=timezone.now())
                jobs.dispatch_due(enqueue=tasks.enqueue_job)
                if time.monotonic() - kept_house > HOUSEKEEPING_S:
                    kept_house = time.monotonic()
                    services.prune(now=timezone.now())
                    ledger.expire_due(now=timezone.now())
                    reconcile.release_due(now=timezone.now())
                    keep_books()
                    jobs.prune(now=timezone.now())
            except DatabaseError:
                # The database is away: the next look finds it again, nothing was taken.
                log.exception("the database did not answer")
                close_old_connections()
            stop.wait(options["interval"])


def keep_books() -> None:
    """Seal, close months, refresh audiences and give their boosts; look at discounts and ledgers once a day."""
    now = timezone.now()
    seals.seal_due(now=now)
    closes.close_due(now=now)
    audiences.refresh_due(now=now)
    for account_id in Account.objects.values_list("pk", flat=True):
        earning.settle_audience_boosts(account_id=account_id, now=now)
    discounts.check_due(now=now)
    if checks.is_due(now=now):
        async_task("aiqsync.tasks.check_ledgers")
