"""Shoppers who sign up with us, and the POS that is to know them: what is put into the outbox, and what it asks.

Put in beside the enrolment, once for each origin. What is written is asked for at the moment of sending, so that it is
the shopper as he is then; whether it is still wanted too.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db import connection
from django.db.models import F, Q

from aiqsync.accounts.models import Account
from integrations import services
from integrations.models import Customer, OutboundWrite, WriteState

from . import consent
from .models import ConsentChannel, ConsentNow, Ground, Identifier, IdentifierKind, Persona, Source

WRITER = "customer"
CREATED = "created"  # `Source.matched_by` of a record that we made
# Who came in with a list or with what he bought at a POS did not sign up with us.
NOT_SIGNED_UP = frozenset({Ground.IMPORT, Ground.BOUGHT})

NO_ADDRESS = "They have no phone number and no e-mail yet, so nobody could tell whether they are there already."
NO_STATE = "Their state or province is not known, and only shoppers of the relevant market are created."
OUTSIDE = "They live outside the relevant market."
REMOVED = "They were removed on request."
ARCHIVED = "They were archived."
TEST = "They are the test shopper of a rehearsal."
MERGED = "They were merged into another shopper, who is created instead."


def key_of(contact_id: UUID) -> str:
    return f"{WRITER}:{contact_id}"


# Putting in


def signed_up(*, account_id: int, people: Sequence[Persona], ground: str, now: datetime) -> None:
    """These became members in this transaction: a POS that is to know them and has no record of them gets one."""
    people = [p for p in people if not p.is_test]
    if ground in NOT_SIGNED_UP or not people:
        return
    for origin_id, completes in services.creating(account_id=account_id, now=now).items():
        known = _known_in(origin_id, [p.pk for p in people], lacking_nothing=completes)
        services.enqueue_writes(
            account_id=account_id, origin_id=origin_id, writer=WRITER, now=now,
            subjects={key_of(p.contact_id): str(p.contact_id) for p in people if p.pk not in known},
        )  # fmt: skip


def reachable(persona: Persona) -> None:
    """A member got his first phone or e-mail: what waited for that need not wait any longer."""
    services.nudge_writes(account_id=persona.account_id, subjects=[str(persona.contact_id)])


# Of who has one record in the origin: whether that lacks nothing that could be added to it.
_WHOLE = """
    AND (r.phone IN ('', c.phone)) AND (r.email IN ('', c.email))
    AND (r.birth_date IS NULL OR c.birth_date IS NOT NULL)
    AND (c.first_name || c.last_name <> '' OR r.first_name || r.last_name = '')
    AND (c.state <> '' OR NOT EXISTS (
        SELECT 1 FROM loyalty_persona q JOIN loyalty_source t ON t.persona_id = q.id
        JOIN integrations_customer d ON d.id = t.customer_id
        WHERE (q.id = r.id OR q.merged_into_id = r.id) AND d.state <> '' AND d.erased_at IS NULL))
"""


def _known_in(origin_id: int, roots: Sequence[int], *, lacking_nothing: bool = False) -> set[int]:
    """Which of these have a record in the origin, themselves or by a row merged into them.

    `lacking_nothing`: only those whose record lacks nothing, as far as we know it, or who have several.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            f"""SELECT r.id FROM loyalty_persona r JOIN loyalty_persona p ON p.id = r.id OR p.merged_into_id = r.id
                JOIN loyalty_source s ON s.persona_id = p.id JOIN integrations_customer c ON c.id = s.customer_id
                WHERE r.id = ANY(%(roots)s) AND c.origin_id = %(origin)s AND c.erased_at IS NULL
                GROUP BY r.id {f"HAVING count(*) > 1 OR bool_and(true {_WHOLE})" if lacking_nothing else ""}""",
            {"roots": list(roots), "origin": origin_id},
        )
        return {row[0] for row in cursor.fetchall()}


# What the outbox asks


def wanted(*, write_id: int, now: datetime) -> services.Wanted:
    """Just before it goes out: as what the shopper is to be written, or why not."""
    write = OutboundWrite.unscoped.get(pk=write_id)
    root = _root(write)
    if root is None or root.erased_at:
        return services.Wanted(unneeded=REMOVED)
    if root.is_test:
        return services.Wanted(unneeded=TEST)
    if root.archived_at:
        return services.Wanted(unneeded=ARCHIVED)
    records = _records(root)
    here = [c for c in records if c.origin_id == write.origin_id]
    if here:
        return services.Wanted(found=here[0].external_id, payload=_to_add(write, root, records, here))
    if write.key != key_of(root.contact_id) and _written(write, root):
        return services.Wanted(unneeded=MERGED)
    if not root.phone and not root.email:
        return services.Wanted(held=NO_ADDRESS)
    place = _place(records)
    if held := _outside(write, place):
        return services.Wanted(held=held)
    return services.Wanted(payload=_payload(root, place))


def _to_add(
    write: OutboundWrite, root: Persona, records: Sequence[Customer], here: Sequence[Customer]
) -> dict[str, Any] | None:
    """What may be added to his record there: nothing where he has several, for one may have what another lacks."""
    place = _place(records)
    if len(here) > 1 or _outside(write, place):
        return None
    return _payload(root, place)


def _root(write: OutboundWrite) -> Persona | None:
    found = (
        Persona.unscoped.filter(account_id=write.account_id, contact_id=write.subject)
        .select_related("merged_into")
        .first()
    )
    return found and (found.merged_into or found)


def _written(write: OutboundWrite, root: Persona) -> bool:
    return (
        OutboundWrite.unscoped.filter(origin=write.origin_id, key=key_of(root.contact_id))
        .exclude(state__in=[WriteState.NOT_NEEDED, WriteState.GIVEN_UP])
        .exists()
    )


def _records(root: Persona) -> list[Customer]:
    """The person's records in all POS: those in use first, the latest edited first."""
    found = (
        Customer.unscoped.filter(account_id=root.account_id, erased_at=None)
        .filter(Q(sources__persona=root) | Q(sources__persona__merged_into=root))
        .order_by(F("modified_at").desc(nulls_last=True), "-pk")
    )
    return sorted(found, key=lambda c: (bool(c.merged_into), c.disabled))


@dataclass(frozen=True, slots=True)
class _Place:
    street: str = ""
    city: str = ""
    state: str = ""
    postal_code: str = ""
    country: str = ""


def _place(records: Sequence[Customer]) -> _Place:
    """Where the shopper lives, as far as another POS tells."""
    for c in records:
        if c.state:
            return _Place(c.street, c.city, c.state, c.postal_code, c.country)
    return _Place()


def _outside(write: OutboundWrite, place: _Place) -> str:
    """Why “Sync to relevant market” keeps the shopper here; "" when it does not."""
    rules = services.effective(origin_id=write.origin_id)
    if not rules.sync_to_market:
        return ""
    if not place.state:
        return NO_STATE
    country = place.country or Account.objects.values_list("country", flat=True).get(pk=write.account_id)
    return "" if services.region_of(place.state, country) in rules.markets else OUTSIDE


def _payload(root: Persona, place: _Place) -> dict[str, Any]:
    sms, mail = (ConsentChannel.SMS.value, root.phone), (ConsentChannel.EMAIL.value, root.email)
    held = consent.states_of(account_id=root.account_id, addresses=[one for one in (sms, mail) if one[1]])
    by_sms, by_mail = (one in held and held[one].state == ConsentNow.IN for one in (sms, mail))
    return {
        "first_name": root.first_name, "last_name": root.last_name, "phone": root.phone, "email": root.email,
        "birth_date": root.birth_date.isoformat() if root.birth_date else "",
        "street": place.street, "city": place.city, "state": place.state, "postal_code": place.postal_code,
        "country": place.country,
        "sms": by_sms, "email_consent": by_mail, "do_not_contact": not (by_sms or by_mail),
        "shared": sorted(_shared(root)),
    }  # fmt: skip


def _shared(root: Persona) -> Collection[str]:
    """Of phone and e-mail those that identify nobody: several people bear them."""
    borne = [(kind, value) for kind, value in (("phone", root.phone), ("email", root.email)) if value]
    own = set(
        Identifier.unscoped.filter(account_id=root.account_id, shared=False)
        .filter(kind__in=[IdentifierKind.PHONE, IdentifierKind.EMAIL], value__in=[value for _, value in borne])
        .filter(Q(persona=root) | Q(persona__merged_into=root))
        .values_list("kind", "value")
    )
    return {kind for kind, value in borne if (kind, value) not in own}


def delivered(*, write_id: int, customer_id: int, now: datetime) -> None:
    """The record that we made is the shopper's, whatever number it bears and whoever bears that too.

    Inside the transaction that lands it, its origin locked. A page that met the record before us may have made
    somebody of it: it comes over from him.
    """
    from . import merging

    write = OutboundWrite.unscoped.get(pk=write_id)
    root = _root(write)
    if root is None or root.erased_at:
        return
    source = Source.unscoped.filter(customer=customer_id).select_related("persona", "customer").first()
    if source is None:
        Source.unscoped.create(
            account_id=write.account_id, persona=root, customer_id=customer_id, matched_by=CREATED, linked_at=now
        )
    elif (source.persona.merged_into_id or source.persona_id) != root.pk:
        services.lock_origins(account_id=write.account_id, inside_a_page=True)
        merging.move_source(
            account_id=write.account_id, source=source, to_id=root.pk, why=CREATED, value="", user=None, now=now
        )
