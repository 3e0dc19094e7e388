#!/usr/bin/env python
"""Django's command line. Starts the embedded database when its socket does not answer, and then stops it again."""

import atexit
import os
import sys


def main() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "aiqsync.settings")
    from django.conf import settings
    from django.core.management import execute_from_command_line

    needs_database = sys.argv[1:2] not in ([], ["help"], ["--help"], ["--version"], ["sandbox"])
    if settings.EMBEDDED and needs_database and settings.EMBEDDED.ensure():
        atexit.register(settings.EMBEDDED.stop)
    execute_from_command_line(sys.argv)


if __name__ == "__main__":
    main()
