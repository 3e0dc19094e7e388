"""The waiting room's verbs: somebody came in, who waits, who is served."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django.db import connection
from django.db.models import Q

from integrations.services import email_of

from . import personas
from .models import CheckIn, CheckInState

OPEN = (CheckInState.WAITING.value, CheckInState.SERVING.value)
GONE_AFTER = timedelta(hours=18)  # still open then: nobody looked after the queue
KEPT = timedelta(days=30)
_TRIES = 3


class NotOpen(Exception):
    """It has ended and does not begin again."""


@dataclass(frozen=True, slots=True)
class Waiting:
    """One of the queue. `first_name` and `last_name` are the persona's, where there is one."""

    row: CheckIn
    contact_id: UUID | None
    member: bool
    first_name: str
    last_name: str


def check_in(
    *, account_id: int, store_id: int, region: str, now: datetime, phone: str = "", email: str = "", contact: str = "",
    first_name: str = "", last_name: str = "", reason: str = "", order: str = "", key_id: int | None = None,
) -> CheckIn:  # fmt: skip
    """Put somebody into the queue; the same person again is the same visit, with what is said anew.

    Whether he is known makes no difference to the caller. Raises personas.InvalidContact.
    """
    good_phone, good_email = personas.phone_of(phone, region) if phone else "", email_of(email) if email else ""
    if phone and not good_phone and not good_email:
        raise personas.InvalidContact("phone", "This is not a valid phone number.")
    if email and not good_phone and not good_email:
        raise personas.InvalidContact("email", "This is not a valid e-mail address.")
    known = None
    if good_phone or good_email or contact:
        known = personas.find_id(account_id=account_id, phone=good_phone, email=good_email, contact=contact)
    if not (good_phone or good_email or known or first_name):
        raise personas.InvalidContact("phone", "A phone number, an e-mail address or a first name is needed.")
    said = {name: value for name, value in (("reason", reason), ("order", order)) if value}
    for _ in range(_TRIES):
        if found := _open_visit(account_id, store_id, known, good_phone, good_email):
            if said:
                CheckIn.unscoped.filter(pk=found.pk).update(**said, changed_at=now)
            return found
        made = CheckIn(
            account_id=account_id, store_id=store_id, persona_id=known, first_name=first_name[:60],
            initial=last_name[:1].upper(), phone=good_phone, email=good_email, key_id=key_id, at=now, changed_at=now,
            **said,
        )  # fmt: skip
        if _insert(made):
            return made
    raise RuntimeError("A visit was opened and ended by others three times meanwhile.")


def _open_visit(account_id: int, store_id: int, known: int | None, phone: str, email: str) -> CheckIn | None:
    who = Q(pk=None)
    if known:
        who |= Q(persona_id=known) | Q(persona__merged_into_id=known)
    if phone:
        who |= Q(phone=phone)
    if email:
        who |= Q(email=email)
    open_here = CheckIn.unscoped.filter(account_id=account_id, store_id=store_id, state__in=OPEN)
    return open_here.filter(who).order_by("id").first()


def _insert(made: CheckIn) -> bool:
    """False when somebody else was quicker: the database allows one open visit of a person."""
    CheckIn.unscoped.bulk_create([made], ignore_conflicts=True)
    kept = CheckIn.unscoped.filter(public_id=made.public_id).values_list("pk", flat=True).first()
    made.pk = kept
    return kept is not None


def queue(*, account_id: int, store_id: int, states: Collection[str], start: int, limit: int) -> list[Waiting]:
    """Of one store, the oldest first."""
    rows = (
        CheckIn.unscoped.filter(account_id=account_id, store_id=store_id, state__in=states)
        .select_related("persona__merged_into").order_by("at", "id")[start : start + limit]
    )  # fmt: skip
    return [_waiting(row) for row in rows]


def _waiting(row: CheckIn) -> Waiting:
    person = row.persona and (row.persona.merged_into or row.persona)
    if person is None:
        return Waiting(row, None, False, "", "")
    return Waiting(row, person.contact_id, person.is_member, person.first_name, person.last_name)


def move(*, account_id: int, public_id: UUID, state: str, store_id: int | None, now: datetime) -> CheckIn | None:
    """Served, skipped, ...; None when there is no such check-in (of the store, if one is named). Raises NotOpen."""
    found = CheckIn.unscoped.filter(account_id=account_id, public_id=public_id)
    if store_id is not None:
        found = found.filter(store_id=store_id)
    ended: dict[str, Any] = {} if state in OPEN else {"phone": "", "email": ""}
    moved = found.filter(state__in=OPEN).update(state=state, changed_at=now, **ended)
    row = found.first()
    if row is not None and not moved and row.state != state:
        raise NotOpen
    return row


def tidy(*, now: datetime) -> int:
    """Visits that nobody ended are no-shows by the next day; after 30 days they are gone."""
    CheckIn.unscoped.filter(at__lt=now - GONE_AFTER, state__in=OPEN).update(
        state=CheckInState.NO_SHOW, phone="", email="", changed_at=now
    )
    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM loyalty_checkin WHERE at < %s", [now - KEPT])
        return cursor.rowcount


# For `erasure`.
FORGET = """DELETE FROM loyalty_checkin WHERE account_id = %(account)s
            AND (persona_id = ANY(%(rows)s) OR phone = ANY(%(phone)s) OR email = ANY(%(email)s))"""
