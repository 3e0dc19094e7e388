"""`manage.py read_file FILE --account UID --source NAME`: read a file here, with progress; last line: JSON."""

import json
from pathlib import Path

from django.core.management.base import BaseCommand, CommandError
from django.utils import timezone

from aiqsync.accounts.models import Account
from aiqsync.accounts.tenancy import acting_in
from integrations.files import columns
from integrations.models import UploadState
from integrations.refusals import Problems, Refused
from integrations.uploads import bodies, intake, running, services


class Command(BaseCommand):
    help = "Read a CSV or XLSX file of customers, sales or inventory. A contact export is counted only."

    def add_arguments(self, parser):
        parser.add_argument("file", type=Path)
        parser.add_argument("--account", required=True, metavar="UID")
        parser.add_argument("--source", required=True, help="what the file comes from")
        parser.add_argument("--kind", choices=sorted(columns.KINDS), default="")
        parser.add_argument(
            "--map", action="append", default=[], metavar="COLUMN=MEANING", help="an empty meaning: ignore"
        )
        parser.add_argument("--days", choices=["mdy", "dmy", "ymd"], default="", help="how days are written")

    def handle(self, *args, **options):
        account = Account.objects.filter(uid=options["account"]).first()
        if account is None:
            raise CommandError(f"There is no account with the UID {options['account']}.")
        path: Path = options["file"]
        if not path.is_file():
            raise CommandError(f"There is no file {path}.")
        try:
            with acting_in(account.pk):
                upload = self._read(account, path, options)
        except (Problems, Refused) as error:
            raise CommandError(str(error)) from None
        if upload.state == UploadState.FAILED:
            raise CommandError(upload.message)
        names = ("rows_read", "rows_new", "rows_changed", "rows_unchanged", "rows_refused")
        found = {name.removeprefix("rows_"): getattr(upload, name) for name in names}
        self.stdout.write(json.dumps({"upload": upload.pk, "kind": upload.kind, "state": upload.state, **found}))

    def _read(self, account, path, options):
        now = timezone.now()
        origin = intake.source(account_id=account.pk, name=options["source"])
        with path.open("rb") as opened:
            upload = intake.accept(
                account_id=account.pk, origin=origin, name=path.name, user=None,
                pieces=iter(lambda: opened.read(bodies.PIECE), b""), now=now, kind=options["kind"],
            )  # fmt: skip
        if upload.state == UploadState.CHOOSING:
            given = dict(one.rpartition("=")[::2] for one in options["map"])
            services.choose(
                upload=upload, kind=upload.kind, mapping={**upload.mapping, **given}, day_order=options["days"], now=now
            )
            services.begin(upload=upload, now=now, enqueue=lambda upload_id: None)
        while running.run_slice(upload.pk, slice_s=2):
            upload.refresh_from_db()
            self.stdout.write(f"{upload.rows_read:,} rows")
        upload.refresh_from_db()
        return upload
