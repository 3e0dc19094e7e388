"""The ledger's SQL functions, and the migration step that loads them.

A migration reads the files as they are now: a changed function needs a new migration that loads its file again, and a
changed signature one that drops the old function first.
"""

import re
from pathlib import Path

from django.db import migrations

FOLDER = Path(__file__).parent
LEDGER = (
    "wallet",
    "mirror",
    "adjust",
    "import",
    "moves",
    "redeem",
    "revert",
    "settle_sales",
    "expire_due",
    "reexpire",
    "erase",
)


def text(name: str) -> str:
    return (FOLDER / f"{name}.sql").read_text()


def load(*names: str) -> migrations.RunSQL:
    """Create the functions of these files; backwards they go."""
    made = [found for name in names for found in re.findall(r"CREATE OR REPLACE FUNCTION (\w+)", text(name))]
    return migrations.RunSQL(
        [text(name) for name in names], [f"DROP FUNCTION IF EXISTS {name} CASCADE" for name in made]
    )


def reload(*names: str) -> migrations.RunSQL:
    """Replace functions of an earlier migration; backwards they stay, since no older text is kept."""
    return migrations.RunSQL([text(name) for name in names], migrations.RunSQL.noop)
