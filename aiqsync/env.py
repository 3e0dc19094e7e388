"""The environment, read once. A name that is set wrongly stops the start with a sentence."""

import json
import os
import secrets
import sys
import zoneinfo
from pathlib import Path

import environ
from cryptography.fernet import Fernet
from django.core.exceptions import ImproperlyConfigured

BASE_DIR = Path(__file__).resolve().parent.parent
VAR = Path(os.environ.get("AIQSYNC_VAR") or BASE_DIR / "var")

env = environ.Env()

# Time zones from the pinned package on every machine: an old system's data put a province's midnight an hour off.
zoneinfo.reset_tzpath(to=())

# Production asks for everything by name; the demo and the tests make their own secrets below var/.
PRODUCTION = env.bool("AIQSYNC_PRODUCTION", default=False)


def _made_secrets() -> dict[str, str]:
    """Secrets of this checkout, made at the first start and kept, so that a second demo can read its own data."""
    path = VAR / "secrets.json"
    VAR.mkdir(parents=True, exist_ok=True)
    if not path.exists():
        made = {
            "SECRET_KEY": secrets.token_urlsafe(48),
            "SEAL_KEYS": Fernet.generate_key().decode(),
            "LINK_KEY": secrets.token_urlsafe(32),
        }
        draft = path.with_suffix(f".{os.getpid()}")
        draft.touch(mode=0o600)
        draft.write_text(json.dumps(made))
        try:
            os.link(draft, path)  # the first of several starting processes wins
        except FileExistsError:
            pass
        draft.unlink()
    return json.loads(path.read_text())


def secret(name: str) -> str:
    """A secret by name. In production it must be set."""
    if value := env.str(name, default=""):
        return value
    if PRODUCTION:
        raise ImproperlyConfigured(f"{name} is not set. In production every secret comes from the environment.")
    return _made_secrets()[name]


def running_demo() -> dict:
    """What `make demo` of this checkout wrote, while it runs; not in production, in tests, or for another database."""
    path = VAR / "demo.json"
    if PRODUCTION or "pytest" in sys.modules or env.str("DATABASE_URL", default="") or not path.exists():
        return {}
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
