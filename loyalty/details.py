"""What a sign-up says beside name, phone and e-mail: address, birth date, favourite store, attributes."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from unicodedata import normalize

from django.db import connection, transaction

from stores.models import Store

from . import overrides
from .models import Attribute, Persona

MOST_ATTRIBUTES = 100  # of one contact


class TooMany(Exception):
    """The message is a sentence for the caller."""


@dataclass(frozen=True, slots=True)
class Said:
    """An attribute as a caller gave it."""

    key: str
    value: str = ""
    parent: str = ""
    at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Details:
    """Empty fields say nothing. A store is named by its number, else by its name; one we do not have is none."""

    address: str = ""
    birth_date: date | None = None
    store_number: int | None = None
    store_name: str = ""
    attributes: Sequence[Said] = field(default_factory=tuple)


def keep(*, persona: Persona, details: Details, now: datetime) -> None:
    """Write what was given; what is overridden stays. Raises TooMany."""
    given: dict[str, object] = {}
    if details.address:
        given["address"] = normalize("NFC", details.address)
    if details.birth_date:
        given["birth_date"] = details.birth_date
    if given:
        held = overrides.of(account_id=persona.account_id, persona_id=persona.pk)
        given = {name: value for name, value in given.items() if name not in held}
    if store := _store(persona.account_id, details):
        given["favourite_store"] = store
    with transaction.atomic():
        changed = {name: value for name, value in given.items() if getattr(persona, name) != value}
        if changed:
            Persona.unscoped.filter(account_id=persona.account_id, pk=persona.pk, erased_at=None).update(**changed)
        if details.attributes:
            set_attributes(account_id=persona.account_id, persona_id=persona.pk, attributes=details.attributes, now=now)


def _store(account_id: int, details: Details) -> Store | None:
    mine = Store.unscoped.filter(account_id=account_id)
    found = mine.filter(number=details.store_number).first() if details.store_number else None
    if found is None and details.store_name:
        found = mine.filter(name__iexact=details.store_name).order_by("number").first()
    return found


def attributes_of(*, account_id: int, persona_id: int) -> list[Attribute]:
    """Of the group, the latest of each key, in the order of parent and key."""
    with connection.cursor() as cursor:
        cursor.execute(
            """SELECT DISTINCT ON (a.parent, a.key) a.id FROM loyalty_attribute a
               JOIN loyalty_persona g ON g.id = a.persona_id
               WHERE a.account_id = %(account)s AND (g.id = %(root)s OR g.merged_into_id = %(root)s)
               ORDER BY a.parent, a.key, a.at DESC, a.id DESC""",
            {"account": account_id, "root": persona_id},
        )
        ids = [row[0] for row in cursor.fetchall()]
    return list(Attribute.unscoped.filter(pk__in=ids).order_by("parent", "key"))


def set_attributes(
    *, account_id: int, persona_id: int, attributes: Sequence[Said], now: datetime, instead: bool = False
) -> None:
    """Add these, or change those of the same parent and key; `instead`: all others go. Raises TooMany."""
    latest = {(one.parent, one.key): one for one in attributes}
    with transaction.atomic():
        group = Attribute.unscoped.filter(account_id=account_id)
        mine = group.filter(persona=persona_id)
        if instead:
            (group.filter(persona__merged_into=persona_id) | mine).delete()
        rows = [latest[known] for known in sorted(latest)]
        Attribute.unscoped.bulk_create(
            [
                Attribute(account_id=account_id, persona_id=persona_id, parent=one.parent, key=one.key,
                          value=one.value, said_at=one.at, at=now)
                for one in rows
            ],
            update_conflicts=True, unique_fields=["persona", "parent", "key"],
            update_fields=["value", "said_at", "at"],
        )  # fmt: skip
        if mine.count() > MOST_ATTRIBUTES:
            raise TooMany(f"A contact may have {MOST_ATTRIBUTES} attributes, not more. Nothing was written.")
