"""`manage.py worker`: the task queue's cluster under its watchdog."""

import signal

from django.core.management.base import BaseCommand

from aiqsync.watchdog import Watchdog


class Command(BaseCommand):
    help = "Run background work, and replace the worker processes when they jam."

    def add_arguments(self, parser):
        parser.add_argument("--name", default="", help="of this worker among others (default: host and pid)")
        parser.add_argument("--limit", type=float, default=None, help="seconds without a finished task")
        parser.add_argument("--grace", type=float, default=30, help="seconds for running work at the end")

    def handle(self, *args, **options):
        dog = Watchdog(name=options["name"], limit_s=options["limit"], grace_s=options["grace"])
        for name in (signal.SIGTERM, signal.SIGINT):
            signal.signal(name, lambda *_: dog.stop.set())
        dog.run()
