"""`manage.py demo`: a running shop with a stand-in POS, until Ctrl-C."""

import os

from django.core.management.base import BaseCommand

from aiqsync import demo


class Command(BaseCommand):
    help = "Run the demo: database, stand-in POS, web, worker; seeded, connected and synced."

    def add_arguments(self, parser):
        parser.add_argument("--reset", action="store_true", help="start over")
        parser.add_argument("--port", type=int, default=int(os.environ.get("PORT") or 8000))

    def handle(self, *args, **options):
        if options["reset"]:
            demo.reset()
        demo.Demo(options["port"]).run()
