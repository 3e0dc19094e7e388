"""`manage.py connect CARD --account UID --set name=value ... [--map-stores auto]`: the connect flow of the admin."""

import json
import os
import time
from pathlib import Path

from django.core.management.base import BaseCommand, CommandError
from django.utils import timezone

from aiqsync import tasks
from aiqsync.accounts.models import Account
from aiqsync.accounts.tenancy import acting_in
from aiqsync.pages.card_settings import record
from integrations import services
from integrations.models import ChangeState, CredentialState, Location, SettingChange, StreamState
from loyalty import favourites, jobs
from loyalty.models import Job
from stores import services as stores

WAIT_S = 300


class Command(BaseCommand):
    help = "Connect a card: the same steps as in the admin. The last line is a JSON object with `connection`."

    def add_arguments(self, parser):
        parser.add_argument("card")
        parser.add_argument("--account", required=True, metavar="UID")
        parser.add_argument(
            "--set", action="append", default=[], metavar="NAME=VALUE",
            help="a field or setting of the card; a secret by name=@file or name=env:VAR; several ids by commas",
        )  # fmt: skip
        parser.add_argument(
            "--yes", action="store_true", help="confirm settings that act on people once their figures are counted"
        )
        parser.add_argument("--as-of-now", action="store_true", help="import points as of now although the day is past")
        parser.add_argument("--map-stores", choices=["auto", "none"], default="none")
        parser.add_argument("--start", action="store_true", help="queue the first sync for a running worker")

    def handle(self, *args, **options):
        account = Account.objects.filter(uid=options["account"]).first()
        if account is None:
            raise CommandError(f"There is no account {options['account']}.")
        given = dict(_pair(text) for text in options["set"])
        with acting_in(account.pk):
            try:
                self._connect(account, options, given)
            except (services.Refused, services.Problems, services.VendorError) as error:
                raise CommandError(str(error)) from None

    def _connect(self, account, options, given):
        card = services.card(options["card"])
        connection = services.connection_of(account_id=account.pk, slug=card.slug)
        chosen = {n: v for n, v in given.items() if n in {s.name for s in card.settings_on("card")}}
        theirs = {n: v for n, v in given.items() if n in {s.name for s in card.settings_on("credential")}}
        values = {n: v for n, v in given.items() if n not in chosen and n not in theirs}
        read = services.read_settings(card, chosen)  # before anything is asked of the POS
        services.read_settings(card, theirs, on="credential")
        if read.get("frozen") is False and connection.frozen_at:  # else connecting would be refused
            services.unfreeze(connection=connection, now=timezone.now())
            connection.refresh_from_db()
        credential = services.same_credential(connection=connection, given=values)
        credential, verified = self._credential(connection, credential, values)
        mapped = stores.map_all(origin_id=credential.origin_id) if options["map_stores"] == "auto" else 0
        if mapped:
            favourites.mapping_changed(account_id=account.pk, user=None, now=timezone.now(), enqueue=tasks.enqueue_job)
        saved = services.save_all(
            connection=connection, given=chosen, of_credentials={credential.pk: theirs} if theirs else {},
            now=timezone.now(), as_of_now=options["as_of_now"],
            mapped=list(
                Location.objects.filter(origin=credential.origin_id, mappings__store__isnull=False)
                .values_list("external_id", flat=True)
            ),
        )  # fmt: skip
        record(card.title, saved, None)
        started = services.sync_now(connection=connection, enqueue=tasks.enqueue) if options["start"] else 0
        for note in [*verified.notes, *saved.notes, *saved.warned.values()]:
            self.stdout.write(f"note: {note}")
        changes = {name: self._people(pk, options["yes"]) for name, pk in saved.proposed.items()}
        self.stdout.write(
            json.dumps(
                {
                    "connection": connection.pk,
                    "credential": credential.pk,
                    "identity": verified.identity,
                    "locations": Location.objects.filter(origin=credential.origin_id).count(),
                    "mapped": mapped,
                    "streams": list(
                        StreamState.objects.filter(credential=credential)
                        .order_by("id")
                        .values_list("stream", flat=True)
                    ),
                    "started": started,
                    "settings": saved.changed,
                    "changes": changes,
                }
            )
        )

    def _credential(self, connection, credential, values):
        if credential and credential.state in (CredentialState.CONNECTED, CredentialState.PAUSED):
            # What works is replaced only by what works.
            return credential, services.reconnect(credential=credential, given=values, now=timezone.now())
        credential = services.save_credential(connection=connection, given=values, credential=credential)
        return credential, services.connect(credential=credential, now=timezone.now())

    def _people(self, pk: int, confirmed: bool) -> dict:
        """Print what a setting that acts on people would do; with --yes wait for the figures and confirm it."""
        change = SettingChange.objects.get(pk=pk)
        until = time.monotonic() + WAIT_S
        while confirmed and change.state == ChangeState.COUNTING and time.monotonic() < until:
            for job in Job.objects.filter(state__in=jobs.LIVE).order_by("pk"):
                while jobs.run_slice(job.pk):  # nobody may be there to do it
                    pass
            change.refresh_from_db()
            if change.state == ChangeState.COUNTING:
                time.sleep(0.5)
        self.stdout.write(f"{change.setting}: {json.dumps(change.counted)}")
        if confirmed and change.state == ChangeState.COUNTED:
            change = services.confirm(change=change, user=None, now=timezone.now())  # writes its own line in the log
        elif change.state in (ChangeState.COUNTING, ChangeState.COUNTED):
            self.stdout.write(f"note: {change.setting} is proposed and waits for a word: --yes, or on the card's page.")
        return {"change": change.pk, "state": change.state}


def _pair(text: str) -> tuple[str, str]:
    name, sign, value = text.partition("=")
    if not sign:
        raise CommandError(f"--set takes name=value; got {text!r}.")
    if value.startswith("@"):
        try:
            value = Path(value[1:]).read_text().strip()
        except OSError as error:
            raise CommandError(f"{name}: {error.strerror}: {value[1:]}") from None
    elif value.startswith("env:"):
        if value[4:] not in os.environ:
            raise CommandError(f"{name}: the environment has no {value[4:]}.")
        value = os.environ[value[4:]]
    return name, value
