"""The migrated database that test databases are copied from.

Running the migrations takes longer than any test and makes the same tables every time, so they run once for each state
of what makes tables; each run and each worker copies the result. Django migrates its copy and finds nothing to do.
"""

import fcntl
import hashlib
import tempfile
from pathlib import Path

from django.conf import settings
from django.db import connection

ROOT = Path(__file__).parents[1]
MAKES_TABLES = (
    "requirements.txt", "*/migrations/*.py", "aiqsync/accounts/migrations/*.py", "loyalty/sql/*",
    "aiqsync/accounts/tenancy.py", "aiqsync/accounts/migrating.py", "aiqsync/accounts/models.py",
)  # fmt: skip
PREFIX = "aiqsync_template_"


def name() -> str:
    """Named by a digest of all that a migration runs."""
    digest = hashlib.sha256()
    for pattern in MAKES_TABLES:
        for path in sorted(path for path in ROOT.glob(pattern) if path.is_file()):
            digest.update(str(path.relative_to(ROOT)).encode() + path.read_bytes())
    return PREFIX + digest.hexdigest()[:16]


def ensure() -> str:
    """Make the template if it is missing, and drop those of earlier states. Returns its name."""
    wanted = name()
    with open(Path(tempfile.gettempdir()) / f"{wanted}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with connection._nodb_cursor() as cursor:
            cursor.execute("SELECT datname FROM pg_database WHERE starts_with(datname, %s)", [PREFIX])
            found = {row[0] for row in cursor.fetchall()}
            for old in found - {wanted}:
                cursor.execute(f"DROP DATABASE IF EXISTS {connection.ops.quote_name(old)}")
            if wanted not in found:
                _build(wanted + "_new")  # renamed when it is whole: a killed run leaves none that is half made
                cursor.execute(f"ALTER DATABASE {wanted}_new RENAME TO {wanted}")
    return wanted


def _build(building: str) -> None:
    test = settings.DATABASES["default"]["TEST"]
    own, test_name = connection.settings_dict["NAME"], test["NAME"]
    test["NAME"] = connection.settings_dict["TEST"]["NAME"] = building
    try:
        connection.creation.create_test_db(verbosity=0, autoclobber=True, serialize=False)
    finally:
        connection.close()
        settings.DATABASES["default"]["NAME"] = connection.settings_dict["NAME"] = own
        test["NAME"] = connection.settings_dict["TEST"]["NAME"] = test_name
