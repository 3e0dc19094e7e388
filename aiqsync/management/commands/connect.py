"""`manage.py connect CARD --account UID --set name=value ... [--map-stores auto]`: the connect flow of the admin."""

import json
import os
from pathlib import Path

from django.core.management.base import BaseCommand, CommandError
from django.utils import timezone

from aiqsync import tasks
from aiqsync.accounts.models import Account
from aiqsync.accounts.tenancy import acting_in
from integrations import services
from integrations.models import CredentialState, Location, StreamState
from loyalty import favourites
from stores import services as stores


class Command(BaseCommand):
    help = "Connect a card: the same steps as in the admin. The last line is a JSON object with `connection`."

    def add_arguments(self, parser):
        parser.add_argument("card")
        parser.add_argument("--account", required=True, metavar="UID")
        parser.add_argument(
            "--set", action="append", default=[], metavar="NAME=VALUE",
            help="a field or switch of the card; a secret by name=@file or name=env:VAR",
        )  # fmt: skip
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
        switches = {setting.name for setting in card.settings_on("card")}
        services.save_settings(
            connection=connection, given={n: v for n, v in given.items() if n in switches}, now=timezone.now()
        )
        values = {n: v for n, v in given.items() if n not in switches}
        credential = services.same_credential(connection=connection, given=values)
        if credential and credential.state in (CredentialState.CONNECTED, CredentialState.PAUSED):
            # What works is replaced only by what works.
            verified = services.reconnect(credential=credential, given=values, now=timezone.now())
        else:
            credential = services.save_credential(connection=connection, given=values, credential=credential)
            verified = services.connect(credential=credential, now=timezone.now())
        mapped = stores.map_all(origin_id=credential.origin_id) if options["map_stores"] == "auto" else 0
        if mapped:
            favourites.mapping_changed(account_id=account.pk, user=None, now=timezone.now(), enqueue=tasks.enqueue_job)
        started = services.sync_now(connection=connection, enqueue=tasks.enqueue) if options["start"] else 0
        for note in verified.notes:
            self.stdout.write(f"note: {note}")
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
                }
            )
        )


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
