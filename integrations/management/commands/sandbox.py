"""`manage.py sandbox`: stand-in vendors in the foreground, for demos and tests."""

import argparse
from typing import Any

from django.core.management.base import BaseCommand

from integrations.sandbox.__main__ import arguments, run


class Command(BaseCommand):
    help = "Starts stand-in vendors and prints their addresses as one line of JSON."
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        arguments(parser)

    def handle(self, *args: Any, **options: Any) -> None:
        run(options)
