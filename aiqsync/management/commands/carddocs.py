"""`manage.py carddocs [--check]`: docs/cards/<slug>.md, made from the cards."""

from pathlib import Path

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from integrations import docs, registry


class Command(BaseCommand):
    help = "Write the cards' pages of documentation; with --check, only say whether they are up to date."

    def add_arguments(self, parser):
        parser.add_argument("--check", action="store_true")

    def handle(self, *args, **options):
        stale = []
        for card in registry.CARDS.values():
            path = Path(settings.BASE_DIR) / card.guide
            text = docs.page(card)
            if not path.exists() or path.read_text() != text:
                stale.append(card.guide)
                if not options["check"]:
                    path.write_text(text)
        if stale and options["check"]:
            raise CommandError(f"Out of date: {', '.join(stale)}. Run `manage.py carddocs`.")
        self.stdout.write(f"{len(registry.CARDS)} cards, {len(stale)} pages written")
