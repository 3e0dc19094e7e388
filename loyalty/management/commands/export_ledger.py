"""`manage.py export_ledger --account UID --out DIR`: the whole ledger as CSV files of one moment."""

import json
from pathlib import Path

from django.core.management.base import BaseCommand, CommandError

from aiqsync.accounts import audit
from aiqsync.accounts.models import Account
from aiqsync.accounts.tenancy import acting_in
from loyalty import exports


class Command(BaseCommand):
    help = "Write an account's whole ledger as CSV files into a folder. The last line is a JSON object with the counts."

    def add_arguments(self, parser) -> None:
        parser.add_argument("--account", required=True, metavar="UID")
        parser.add_argument(
            "--out", required=True, metavar="DIR", help="a folder of its own; made when it is not there"
        )

    def handle(self, *args, **options) -> None:
        account = Account.objects.filter(uid=options["account"]).first()
        if account is None:
            raise CommandError(f"There is no account {options['account']}.")
        try:
            made = exports.write(account=account, folder=Path(options["out"]))
        except (exports.CannotExport, OSError) as error:
            raise CommandError(str(error)) from None
        rows = {name: one["rows"] for name, one in made["files"].items()}
        with acting_in(account.pk):
            audit.record(act="ledger.exported", target="manage.py export_ledger", detail={"count": sum(rows.values())})
        self.stdout.write(json.dumps({"folder": options["out"], "points": made["points"], "rows": rows}))
