"""What makes two names one: without case, accents and doubled spaces. The database folds the same way (`name_key`).

And what makes two contact ids one.
"""

import unicodedata
from typing import Protocol
from uuid import UUID


class Named(Protocol):
    first_name: str
    last_name: str


def fold(text: str) -> str:
    plain = unicodedata.normalize("NFKD", text.casefold())
    return " ".join("".join(c for c in plain if not unicodedata.combining(c)).split())


def folded_name(person: Named) -> str:
    """The full name, folded; "" when there is none."""
    return fold(f"{person.first_name} {person.last_name}")


def contact_of(text: str) -> UUID | None:
    """The contact id that this text is; None when it is none of ours."""
    try:
        return UUID(text)
    except ValueError:
        return None


def spellings(contact: str) -> list[str]:
    """How another loyalty service may have written the id: as it stands; AIQ's also with and without dashes."""
    ours = contact_of(contact)
    return sorted({contact, *([str(ours), ours.hex] if ours else [])})
