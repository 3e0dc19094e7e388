"""`manage.py sync --connection ID [--stream S] [--full]`: one run in the foreground, with progress."""

import json
import sys
import time

from django.core.management.base import BaseCommand, CommandError

from aiqsync.accounts.tenancy import acting_in
from integrations import services
from integrations.models import Connection, RunStatus, StreamState, SyncRun


class Command(BaseCommand):
    help = "Sync a connection now. The last line is JSON: counts per stream, and seconds."

    def add_arguments(self, parser):
        parser.add_argument("--connection", required=True, type=int)
        parser.add_argument("--stream")
        parser.add_argument("--full", action="store_true", help="read everything again, from an empty cursor")

    def handle(self, *args, **options):
        connection = Connection.unscoped.filter(pk=options["connection"]).first()
        if connection is None:
            raise CommandError(f"There is no connection {options['connection']}.")
        with acting_in(connection.account_id):
            states = StreamState.objects.filter(credential__connection=connection, enabled=True).order_by("id")
            if options["stream"]:
                states = states.filter(stream=options["stream"])
            if not states:
                raise CommandError("There is nothing to sync: connect first, or name another stream.")
            counts, failed, began = {}, [], time.monotonic()
            for state in states:
                run = self._run(state, options["full"])
                counts[state.stream] = {
                    "read": run.rows_read,
                    "new": run.rows_new,
                    "changed": run.rows_changed,
                    "unchanged": run.rows_unchanged,
                    "refused": run.rows_refused,
                    "calls": run.calls,
                    "seconds": run.seconds,
                }
                if run.status != RunStatus.DONE:
                    failed.append(f"{state.stream}: {run.message or run.get_status_display()}")
        self.stdout.write(json.dumps({"streams": counts, "seconds": round(time.monotonic() - began, 2)}))
        if failed:
            raise CommandError(" ".join(failed))

    def _run(self, state: StreamState, full: bool) -> SyncRun:
        run = services.enqueue_run(state=state, enqueue=None, full=full, manual=True)
        while full and not run.full:  # another run is being worked on: a full one begins after it
            self._wait(run)
            run = services.enqueue_run(state=state, enqueue=None, full=True, manual=True)
        last = 0.0

        def report(at: SyncRun) -> None:
            nonlocal last
            if time.monotonic() - last > 1 and sys.stderr.isatty():
                last = time.monotonic()
                of = f" of {at.progress_total}" if at.progress_total else ""
                self.stderr.write(f"{state.stream}: {at.rows_read} rows, {at.progress_done}{of} {at.progress_note}")

        try:
            while services.run_slice(run.pk, report=report):
                pass
        except KeyboardInterrupt:
            services.stop_run(run_id=run.pk)
            raise
        return self._wait(run)

    def _wait(self, run: SyncRun) -> SyncRun:
        """Until the run is over. A worker may have it; one that nobody has is worked on here."""
        while True:
            run.refresh_from_db()
            if run.status not in (RunStatus.QUEUED, RunStatus.RUNNING):
                return run
            if not services.run_slice(run.pk):
                time.sleep(0.5)
