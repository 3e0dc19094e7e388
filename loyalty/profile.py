"""What staff decide about one persona: whether he is listed, his favourite store, and that somebody looks into him."""

from datetime import datetime

from django.db import IntegrityError, transaction

from aiqsync.accounts.models import User
from stores.models import Store

from .models import Investigation, Persona


class UnderInvestigation(Exception):
    """Somebody is looking into this persona already."""


def archive(*, account_id: int, persona_id: int, now: datetime) -> bool:
    """Take the persona out of the lists. The wallet works on, and search says that he is archived. False: he was."""
    return bool(
        Persona.objects.filter(
            account_id=account_id, pk=persona_id, merged_into=None, erased_at=None, archived_at=None
        ).update(archived_at=now)
    )


def unarchive(*, account_id: int, persona_id: int) -> bool:
    return bool(
        Persona.objects.filter(account_id=account_id, pk=persona_id, erased_at=None)
        .exclude(archived_at=None)
        .update(archived_at=None)
    )


def choose_store(*, account_id: int, persona_id: int, store: Store | None) -> bool:
    """The favourite store by hand; None leaves it to the sales again. True when that changed something."""
    assert store is None or store.account_id == account_id
    people = Persona.objects.filter(account_id=account_id, pk=persona_id)
    return bool(people.exclude(favourite_store=store).update(favourite_store=store))


def investigate(*, account_id: int, persona_id: int, note: str, user: User | None, now: datetime) -> Investigation:
    """Mark that somebody is looking into this persona's points. One at a time: the database refuses a second."""
    try:
        with transaction.atomic():
            return Investigation.objects.create(
                account_id=account_id, persona_id=persona_id, note=note[:300], user=user, at=now
            )
    except IntegrityError as error:
        if "investigation_one_open" not in str(error):
            raise
        raise UnderInvestigation from None


def close_investigation(
    *, account_id: int, persona_id: int, outcome: str, user: User | None, now: datetime
) -> Investigation | None:
    """Close the open one with what came of it. None when there is none (any more)."""
    with transaction.atomic():
        found = (
            Investigation.objects.select_for_update()
            .filter(account_id=account_id, persona_id=persona_id, closed_at=None)
            .first()
        )
        if found is None:
            return None
        found.closed_at, found.closed_by, found.outcome = now, user, outcome[:300]
        found.save(update_fields=["closed_at", "closed_by", "outcome"])
        return found
