"""Fields of a contact that a caller of the API set for good: what the POS repeats does not change them back.

An override holds until the POS says something that none of the group's records said when it was set (decision 27).
`merging.refresh` is where it acts; it stays with the row it was made for, so a split finds it again.
"""

from collections.abc import Mapping, Sequence
from datetime import date, datetime
from unicodedata import normalize

from django.db import IntegrityError, connection, transaction

from integrations.services import email_of, lock_origins

from . import personas
from .models import Identifier, Override, Persona

TRIES = 5
REACH = ("phone", "email")


class Taken(personas.InvalidContact):
    """Another contact is known by it: two people never become one by an override."""


def of(*, account_id: int, persona_id: int) -> dict[str, Override]:
    """By field; the latest of the group where several of its rows bear one."""
    rows = Override.unscoped.filter(account_id=account_id, persona_id__in=_rows(account_id, persona_id))
    return {one.field: one for one in rows.order_by("at", "pk")}


def put(*, account_id: int, persona_id: int, region: str, given: Mapping[str, str], now: datetime) -> list[str]:
    """Override these fields (names of `OverrideField`, values as typed); returns which were. What is empty is left.

    An invalid phone, e-mail or birth date beside good fields is left out; alone it raises InvalidContact by its field.
    Taken: another contact bears the phone or e-mail. RemovedOnRequest: its owner was removed. LookupError: so was this
    contact. Then nothing is written.
    """
    good = _good(given, region)
    for last_try in (*[False] * (TRIES - 1), True):
        try:
            with transaction.atomic():
                lock_origins(account_id=account_id)  # a page has read what holds, or reads this
                return _put(account_id, persona_id, good, now)
        except IntegrityError:  # somebody took the phone or e-mail since we looked
            if last_try:
                raise
    raise AssertionError("unreachable")


def _good(given: Mapping[str, str], region: str) -> dict[str, str]:
    good, wrong = {}, ""
    for field, raw in given.items():
        value = normalize("NFC", raw.strip())
        if not value:
            continue
        if field == "phone":
            value = personas.phone_of(value, region)
        elif field == "email":
            value = email_of(value)
        elif field == "birth_date":
            value = day_of(value)
        if value:
            good[field] = value
        else:
            wrong = wrong or field
    if not good:
        field = wrong or "phone"
        said = {"phone": "a valid phone number", "email": "a valid e-mail address", "birth_date": "a day as 1990-04-20"}
        raise personas.InvalidContact(
            field, f"This is not {said[field]}." if wrong else "Nothing to override was given."
        )
    return good


def day_of(text: str) -> str:
    """An ISO day, also out of an ISO time; "" when it is none, or no day somebody alive was born."""
    try:
        day = date.fromisoformat(text[:10])
    except ValueError:
        return ""
    return day.isoformat() if day.year >= 1900 and day <= date.today() else ""


def _put(account_id: int, persona_id: int, good: Mapping[str, str], now: datetime) -> list[str]:
    persona = Persona.unscoped.select_related("merged_into").get(account_id=account_id, pk=persona_id)
    root = persona.merged_into or persona
    if root.erased_at:
        raise LookupError
    rows = _rows(account_id, root.pk)
    for kind in sorted(set(REACH) & set(good)):
        _claim(root, rows, kind, good[kind])
    seen = _seen(account_id, rows)
    for field, value in sorted(good.items()):
        Override.unscoped.update_or_create(
            persona=root, field=field,
            defaults={"account_id": account_id, "value": value, "seen": seen.get(field, []), "at": now},
        )  # fmt: skip
    columns = {field: date.fromisoformat(value) if field == "birth_date" else value for field, value in good.items()}
    # Asked again in the statement: an erasure that was quicker leaves nothing to write to.
    if not Persona.unscoped.filter(account_id=account_id, pk=root.pk, erased_at=None).update(**columns):
        raise LookupError
    return sorted(good)


def _claim(root: Persona, rows: Sequence[int], kind: str, value: str) -> None:
    """The contact is known by it from now on, unless it is shared and identifies nobody."""
    held = Identifier.unscoped.filter(account_id=root.account_id, kind=kind, value=value)
    owner = held.filter(shared=False).values_list("persona_id", flat=True).first()
    if owner is not None and owner not in rows:
        raise Taken(
            kind, f"Another contact has this {'phone' if kind == 'phone' else 'e-mail'}. Merge the two instead."
        )
    if owner is None and not held.exists():
        Identifier.unscoped.create(account_id=root.account_id, persona=root, kind=kind, value=value)
        personas.refuse_removed(root.account_id, {kind: value})


def _seen(account_id: int, rows: Sequence[int]) -> dict[str, list[str]]:
    """What the records of these rows say, by field."""
    with connection.cursor() as cursor:
        cursor.execute(
            """SELECT v.field, array_agg(DISTINCT v.value) FROM loyalty_source s
               JOIN integrations_customer c ON c.id = s.customer_id
               CROSS JOIN LATERAL (VALUES ('first_name', c.first_name), ('last_name', c.last_name), ('phone', c.phone),
                   ('email', c.email), ('birth_date', c.birth_date::text)) v (field, value)
               WHERE s.account_id = %s AND s.persona_id = ANY(%s) AND v.value <> '' GROUP BY v.field""",
            [account_id, list(rows)],
        )
        return dict(cursor.fetchall())


def follow(*, account_id: int, root_ids: Sequence[int]) -> None:
    """Groups were joined or taken apart: what all their records say by now is seen, and what holds is shown.

    In the merge's transaction, the sources locked.
    """
    for root_id in root_ids:
        held = of(account_id=account_id, persona_id=root_id)
        if not held:
            continue
        rows = _rows(account_id, root_id)
        said = _seen(account_id, rows)
        for one in Override.unscoped.filter(account_id=account_id, persona_id__in=rows):
            one.seen = sorted({*one.seen, *said.get(one.field, [])})
            one.save(update_fields=["seen"])
        Persona.unscoped.filter(pk=root_id, erased_at=None).update(
            **{
                field: date.fromisoformat(one.value) if field == "birth_date" else one.value
                for field, one in held.items()
            }
        )


def _rows(account_id: int, persona_id: int) -> list[int]:
    """The root and the rows merged into it."""
    with connection.cursor() as cursor:
        cursor.execute(
            """SELECT g.id FROM loyalty_persona p JOIN loyalty_persona g
               ON g.id = coalesce(p.merged_into_id, p.id) OR g.merged_into_id = coalesce(p.merged_into_id, p.id)
               WHERE p.account_id = %s AND p.id = %s ORDER BY g.id""",
            [account_id, persona_id],
        )
        return [row[0] for row in cursor.fetchall()]
