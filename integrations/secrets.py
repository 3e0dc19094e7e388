"""Secrets sealed at rest: a JSON object per credential, encrypted with the newest key that the installation has.

The keys come from the environment, newest first, never SECRET_KEY. A key that does not fit raises: showing the sealed
text as if it were the secret, and sealing it again, would lose it.
"""

import json
from functools import lru_cache
from typing import Any

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from django.conf import settings
from django.core.exceptions import FieldError
from django.db import models


class CannotUnseal(RuntimeError):
    """None of the installation's keys opens this value."""


@lru_cache(maxsize=4)
def _box(keys: tuple[str, ...]) -> MultiFernet:
    return MultiFernet([Fernet(key) for key in keys])


def box() -> MultiFernet:
    return _box(tuple(settings.SEAL_KEYS))


class SealedField(models.TextField):
    """A JSON value that the database only ever sees encrypted. It cannot be searched."""

    def get_prep_value(self, value: Any) -> str | None:
        if value is None:
            return None
        return box().encrypt(json.dumps(value, separators=(",", ":")).encode()).decode()

    def from_db_value(self, value: str | None, expression, connection) -> Any:
        if value is None or value == "":
            return value
        try:
            return json.loads(box().decrypt(value.encode()))
        except InvalidToken as error:
            raise CannotUnseal("The stored secret does not open with this installation's SEAL_KEYS.") from error

    def get_lookup(self, name: str):
        if name == "isnull":
            return super().get_lookup(name)
        raise FieldError("A sealed value cannot be searched.")

    def deconstruct(self):
        name, _, args, kwargs = super().deconstruct()
        return name, "django.db.models.TextField", args, kwargs
