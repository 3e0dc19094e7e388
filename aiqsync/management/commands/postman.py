"""`manage.py postman`: the till's API as a Postman collection."""

import json
from pathlib import Path

from django.core.management.base import BaseCommand

from loyalty.api import postman


class Command(BaseCommand):
    help = "Write the API as a Postman collection, each call with its example."

    def add_arguments(self, parser):
        parser.add_argument("--out", type=Path, help="a file; without it the collection is printed")

    def handle(self, *args, **options):
        text = json.dumps(postman.collection(), indent=2, ensure_ascii=False)
        if options["out"] is None:
            self.stdout.write(text)
            return
        options["out"].write_text(text + "\n")
        self.stdout.write(f"Wrote {options['out']}: import it into Postman, then set base, uid and key.")
