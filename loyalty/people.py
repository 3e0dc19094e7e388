"""What makes two names one: without case, accents and doubled spaces. The database folds the same way (`name_key`)."""

import unicodedata
from typing import Protocol


class Named(Protocol):
    first_name: str
    last_name: str


def fold(text: str) -> str:
    plain = unicodedata.normalize("NFKD", text.casefold())
    return " ".join("".join(c for c in plain if not unicodedata.combining(c)).split())


def folded_name(person: Named) -> str:
    """The full name, folded; "" when there is none."""
    return fold(f"{person.first_name} {person.last_name}")
