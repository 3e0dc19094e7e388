"""Single persons: find one, sign one up, enrol. `matching.py` does it for pages of landed customers, by the same rules.

Callers work in the account (`acting_in`, the key, the session). `now` and days are passed in.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from unicodedata import normalize
from uuid import UUID

from django.db import IntegrityError, connection, transaction
from django.db.models import Q

from aiqsync.accounts.models import User
from integrations import suppression
from integrations.services import e164, email_of, is_placeholder, lock_origins

from . import outbound
from .models import Enrolment, Ground, Identifier, IdentifierKind, Override, Persona, Wallet
from .people import contact_of, spellings

SLICE = 500  # personas enrolled in one transaction
_TRIES = 5


class InvalidContact(Exception):
    """Nothing usable to know the person by. `field` is `phone` or `email`, the message a sentence."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(message)
        self.field = field
        self.message = message


class RemovedOnRequest(InvalidContact):
    """Somebody of this phone or e-mail was removed; an owner can let it be used again (`erasure.allow_again`)."""


@dataclass(frozen=True, slots=True)
class SignedUp:
    persona: Persona
    created: bool
    enrolled: bool  # by this call


def phone_of(raw: str, region: str) -> str:
    """The phone as an identifier, E.164; "" when it is no number, or one that cashiers type to get past the field."""
    phone = e164(raw, region)
    return "" if phone and is_placeholder(phone) else phone


# Who holds the phone; else who holds the e-mail; else, for a phone that is shared and identifies nobody, the persona
# who bought last (docs/decisions: a shared phone answers with the persona of the latest sale). Only the branches that
# are asked for are sent: planning them costs more than running them.
_BY_IDENTIFIER = """
SELECT coalesce(p.merged_into_id, p.id) AS id, {rank} AS rank, NULL::timestamptz AS seen
FROM loyalty_identifier i JOIN loyalty_persona p ON p.id = i.persona_id
WHERE i.account_id = %(account)s AND NOT i.shared AND i.kind = '{kind}' AND i.value = %({kind})s
"""
_BY_PHONE = _BY_IDENTIFIER.format(kind="phone", rank=1)
_BY_EMAIL = _BY_IDENTIFIER.format(kind="email", rank=2)
_BY_SHARED_PHONE = """
SELECT coalesce(p.merged_into_id, p.id) AS id, 3 AS rank, p.last_seen_at AS seen
FROM loyalty_persona p WHERE p.account_id = %(account)s AND p.phone = %(phone)s
"""
# Ours first: another service's ids may look like them.
_BY_CONTACT = """
SELECT coalesce(p.merged_into_id, p.id) AS id, 4 AS rank, NULL::timestamptz AS seen
FROM loyalty_persona p WHERE p.account_id = %(account)s AND p.contact_id = %(ours)s AND p.erased_at IS NULL
"""
_BY_ALIAS = """
SELECT coalesce(p.merged_into_id, p.id) AS id, 5 AS rank, NULL::timestamptz AS seen
FROM loyalty_contactalias a JOIN loyalty_persona p ON p.id = a.persona_id
WHERE a.account_id = %(account)s AND a.alias = ANY(%(aliases)s) AND p.erased_at IS NULL
"""
_FIRST = "SELECT id FROM ({}) found ORDER BY rank, seen DESC NULLS LAST, id DESC LIMIT 1"


def find_id(*, account_id: int, phone: str = "", email: str = "", contact: str = "") -> int | None:
    """The persona of a phone (E.164), else of an e-mail (lower case), else of a contact id. One statement, or none.

    A contact id is ours, or the one another loyalty service used before. Merges are followed: the root answers.
    """
    branches = [_BY_EMAIL] if email else []
    if phone:
        branches += [_BY_PHONE, _BY_SHARED_PHONE]
    ours = contact_of(contact)
    if contact:
        branches += [_BY_CONTACT, _BY_ALIAS] if ours else [_BY_ALIAS]
    if not branches:
        return None
    with connection.cursor() as cursor:
        cursor.execute(
            _FIRST.format(" UNION ALL ".join(branches)),
            {
                "account": account_id, "phone": phone, "email": email, "ours": ours,
                "aliases": spellings(contact) if contact else [],
            },
        )  # fmt: skip
        row = cursor.fetchone()
    return row[0] if row else None


def find(*, account_id: int, phone: str = "", email: str = "", contact_id: UUID | str | None = None) -> Persona | None:
    """The same as a row; by contact id when that is given: ours, or the one another loyalty service used before.

    An id that was merged away answers with its survivor.
    Somebody who was removed on request is nobody.
    """
    said = {"phone": phone, "email": email} if contact_id is None else {"contact": str(contact_id)}
    found = find_id(account_id=account_id, **said)
    return Persona.objects.get(account_id=account_id, pk=found) if found else None


def asked_by(said: str, *, region: str) -> dict[str, str]:
    """What a caller means by a text, for `find_id`: an e-mail, a phone, or else a contact id.

    What is a phone is never an id: who types a new shopper's number must not see somebody's wallet.
    """
    if "@" in said:
        return {"email": email_of(said)}
    phone = "" if contact_of(said) else phone_of(said, region)
    if phone:
        return {"phone": phone}
    return {"contact": said.strip()[:100] if said.isprintable() else ""}


def contacts_of_customers(*, account_id: int, origin_id: int, external_ids: Collection[str]) -> dict[str, UUID]:
    """Contact ids by the customers' ids in their POS; those nobody was made of are left out."""
    if not external_ids:
        return {}
    with connection.cursor() as cursor:
        cursor.execute(
            """SELECT c.external_id, root.contact_id FROM integrations_customer c
               JOIN loyalty_source s ON s.customer_id = c.id JOIN loyalty_persona p ON p.id = s.persona_id
               JOIN loyalty_persona root ON root.id = coalesce(p.merged_into_id, p.id)
               WHERE c.account_id = %s AND c.origin_id = %s AND c.external_id = ANY(%s)""",
            [account_id, origin_id, sorted(external_ids)],
        )
        return dict(cursor.fetchall())


def sign_up(
    *,
    account_id: int,
    region: str,
    from_date: date,
    now: datetime,
    phone: str = "",
    email: str = "",
    first_name: str = "",
    last_name: str = "",
    enrol_as: str | None = Ground.API,
    user: User | None = None,
    note: str = "",
) -> SignedUp:
    """Find the person by phone, then e-mail, or create him; take over what was given; enrol unless `enrol_as` is None.

    Phone and e-mail come as typed. One that is not valid is left out, and never blanks a good one; when nothing valid
    is left, InvalidContact names the field. Two callers with the same new phone get one persona. RemovedOnRequest: it
    is somebody's who asked to be forgotten; nothing was written.
    """
    good_phone, good_email = phone_of(phone, region), email_of(email)
    if not good_phone and not good_email:
        if phone:
            raise InvalidContact("phone", "This is not a valid phone number.")
        if email:
            raise InvalidContact("email", "This is not a valid e-mail address.")
        raise InvalidContact("phone", "A phone number or an e-mail address is needed.")
    names = normalize("NFC", first_name.strip()), normalize("NFC", last_name.strip())
    for last_try in (*[False] * (_TRIES - 1), True):
        try:
            with transaction.atomic():
                if enrol_as:
                    lock_origins(account_id=account_id)
                seen = _look(account_id, {"phone": good_phone, "email": good_email})
                persona, created = _found_or_new(account_id, seen, names, now)
                _take_over(persona, seen, names)
                refuse_removed(account_id, {one.kind: one.value for one in seen.values()})
                if phone:
                    _keep_raw(persona, "" if good_phone else phone)
                enrolled = bool(enrol_as) and _enrol(account_id, [persona], str(enrol_as), from_date, now, user, note)
                return SignedUp(persona, created, bool(enrolled))
        except _LookAgain:
            continue
        except IntegrityError:
            # Somebody else took the phone or e-mail between our look and our insert: look again.
            if last_try:
                raise
    raise AssertionError("unreachable")


def enrol(
    *, persona: Persona, ground: str, from_date: date, now: datetime, user: User | None = None, note: str = ""
) -> bool:
    """Make a member, whose sales from that day on earn. False when he was one already from that day or earlier."""
    return bool(
        enrol_many(
            account_id=persona.account_id,
            persona_ids=[persona.pk],
            ground=ground,
            from_date=from_date,
            now=now,
            user=user,
            note=note,
        )
    )


def enrol_many(
    *,
    account_id: int,
    persona_ids: Iterable[int],
    ground: str,
    from_date: date,
    now: datetime,
    user: User | None = None,
    note: str = "",
) -> int:
    """Enrol these, a slice of 500 in a transaction, with the points of their sales. Returns how many were new.

    Started again after a failure it goes on where it stopped: who is a member already gets no second row.
    """
    ids = sorted(set(persona_ids))
    enrolled = 0
    for start in range(0, len(ids), SLICE):
        with transaction.atomic():
            lock_origins(account_id=account_id)
            people = list(
                Persona.objects.select_for_update(no_key=True)
                .filter(account_id=account_id, pk__in=ids[start : start + SLICE], merged_into=None, erased_at=None)
                .filter(Q(member_from=None) | Q(member_from__gt=from_date))
                .order_by("pk")
            )
            enrolled += _enrol(account_id, people, ground, from_date, now, user, note)
    return enrolled


def _enrol(
    account_id: int,
    locked: Sequence[Persona],
    ground: str,
    from_date: date,
    now: datetime,
    user: User | None,
    note: str,
) -> int:
    """Enrolment rows and points, for personas whose rows are locked."""
    fresh = [p for p in locked if p.member_from is None or p.member_from > from_date]
    if not fresh:
        return 0
    joined = [p for p in fresh if p.member_from is None]
    Enrolment.objects.bulk_create(
        Enrolment(
            account_id=account_id,
            persona=persona,
            ground=ground,
            from_date=from_date,
            user=user,
            note=note[:200],
            at=now,
        )
        for persona in fresh
    )
    Persona.objects.filter(pk__in=[p.pk for p in fresh]).update(member_from=from_date)
    for persona in fresh:
        persona.member_from = from_date
    outbound.signed_up(account_id=account_id, people=joined, ground=ground, now=now)
    # Wallets are locked last, in persona order; earning does so (docs/decisions: lock order).
    from . import earning

    earning.settle_personas(account_id=account_id, persona_ids=[p.pk for p in fresh], now=now)
    return len(fresh)


@dataclass(frozen=True, slots=True)
class _Seen:
    """An identifier as it was when we looked: `owner` None and not `shared` means that it is free to be claimed."""

    kind: str
    value: str
    owner: int | None
    shared: bool


def _look(account_id: int, given: dict[str, str]) -> dict[str, _Seen]:
    """Who holds what was given, looked at once: what changes after this look, the unique constraint finds."""
    seen = {}
    for kind, value in given.items():
        if not value:
            continue
        rows = Identifier.objects.filter(account_id=account_id, kind=kind, value=value)
        held = rows.filter(shared=False).values_list("persona_id", "persona__merged_into_id").first()
        owner = (held[1] or held[0]) if held else None
        seen[kind] = _Seen(kind, value, owner, owner is None and rows.filter(shared=True).exists())
    return seen


def _found_or_new(
    account_id: int, seen: dict[str, _Seen], names: tuple[str, str], now: datetime
) -> tuple[Persona, bool]:
    """The persona, its row locked, and whether it is new."""
    phone, email = seen.get("phone"), seen.get("email")
    found = phone.owner if phone else None
    if phone and phone.shared:
        found = _sharer(account_id, phone.value, names)
    if found is None and email and email.owner:
        # Two different phones never meet through an e-mail (docs/decisions: identity).
        phones = Identifier.objects.filter(account_id=account_id, persona_id=email.owner, kind=IdentifierKind.PHONE)
        if not phone or not phones.exclude(value=phone.value).exists():
            found = email.owner
    if found is not None:
        persona = Persona.objects.select_for_update(no_key=True).get(account_id=account_id, pk=found)
        if persona.erased_at:
            raise _LookAgain  # removed while we waited for the row
        return persona, False
    persona = Persona.objects.create(account_id=account_id, created_at=now)
    Wallet.objects.create(account_id=account_id, persona=persona)
    return persona, True


class _LookAgain(Exception):
    """Whoever was found is nobody any more."""


def refuse_removed(account_id: int, given: Mapping[str, str]) -> None:
    """Asked after the identifiers were written: an erasure that takes them out was before us, and is seen, or waits."""
    for _, kind, value in sorted((kind != "phone", kind, value) for kind, value in given.items()):
        if suppression.is_listed(account_id=account_id, kind=kind, value=value):
            what = "phone" if kind == "phone" else "e-mail"
            raise RemovedOnRequest(kind, f"Somebody of this {what} was removed on request and cannot be signed up.")


def _sharer(account_id: int, phone: str, names: tuple[str, str]) -> int | None:
    """Of those who share a phone the one of this name; without a name the one who bought last."""
    if not any(names):
        return find_id(account_id=account_id, phone=phone)
    return (
        Persona.objects.filter(
            account_id=account_id,
            phone=phone,
            merged_into=None,
            first_name__iexact=names[0],
            last_name__iexact=names[1],
        )
        .order_by("pk")
        .values_list("pk", flat=True)
        .first()
    )


def _keep_raw(persona: Persona, raw: str) -> None:
    """A phone that is none is kept as it was given, beside the field, until a good one comes. It blanks nothing."""
    raw = raw.strip()[:100]
    if raw != persona.phone_raw:
        persona.phone_raw = raw
        persona.save(update_fields=["phone_raw"])


def _overridden(persona: Persona) -> set[str]:
    rows = Override.objects.filter(account_id=persona.account_id)
    mine = rows.filter(persona=persona) | rows.filter(persona__merged_into=persona)
    return set(mine.values_list("field", flat=True))


def _take_over(persona: Persona, seen: dict[str, _Seen], names: tuple[str, str]) -> None:
    """Write what was given and is not there. Raises IntegrityError when an identifier was taken since the look."""
    before = (persona.first_name, persona.last_name, persona.phone, persona.email)
    # What a caller set for good stays; a new phone or e-mail is claimed all the same.
    held = _overridden(persona)
    # By kind: one order for everybody (matching sorts the same way), so that two sign-ups never wait in a ring.
    for _, one in sorted(seen.items()):
        if one.owner not in (None, persona.pk):
            continue  # another's e-mail stays the other's; the two are likely duplicates, not one person
        if one.owner is None and not one.shared:
            Identifier.objects.create(account_id=persona.account_id, persona=persona, kind=one.kind, value=one.value)
        if one.kind not in held:
            setattr(persona, one.kind, one.value)
    for name, given in zip(("first_name", "last_name"), names, strict=True):
        if given and name not in held:
            setattr(persona, name, given)
    if before != (persona.first_name, persona.last_name, persona.phone, persona.email):
        persona.save(update_fields=["first_name", "last_name", "phone", "email"])
        if persona.is_member and not before[2] and not before[3]:
            outbound.reachable(persona)
