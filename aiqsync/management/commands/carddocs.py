"""`manage.py carddocs [--check]`: docs/cards/<slug>.md and the feature grid, made from the cards."""

from pathlib import Path

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from integrations import docs, grid, registry

GRID = "docs/cards/README.md"


class Command(BaseCommand):
    help = "Write the cards' pages of documentation; with --check, only say whether they are up to date."

    def add_arguments(self, parser):
        parser.add_argument("--check", action="store_true")

    def handle(self, *args, **options):
        stale = []
        pages = {card.guide: docs.page(card) for card in registry.CARDS.values()}
        pages[GRID] = grid.page(registry.CARDS.values())
        for name, text in pages.items():
            path = Path(settings.BASE_DIR) / name
            if not path.exists() or path.read_text() != text:
                stale.append(name)
                if not options["check"]:
                    path.write_text(text)
        if stale and options["check"]:
            raise CommandError(f"Out of date: {', '.join(stale)}. Run `manage.py carddocs`.")
        self.stdout.write(f"{len(registry.CARDS)} cards, {len(stale)} pages written")
