"""The rehearsal: a test shopper who walks the till's way once. Its rows; the walk itself is `aiqsync/rehearsing.py`.

A test shopper is marked for ever. It has no phone, so no customer of a POS can meet it and no text can reach it; every
figure, list and dry run leaves it out by `NOT_TEST`. Archiving brings its points to 0; its entries stay.
"""

from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import uuid4

from django.db import IntegrityError, transaction

from aiqsync.accounts import audit
from aiqsync.accounts.models import ApiKey, Scope, User
from aiqsync.accounts.tenancy import acting_in
from integrations.models import Connection

from . import ledger, profile
from .models import CodeKind, Discount, Identifier, IdentifierKind, Persona, Rehearsal, RehearsalState, Wallet
from .testers import NOT_TEST

__all__ = ["NOT_TEST", "AlreadyRunning", "archive", "begin", "claim", "finish", "is_stuck", "latest", "note_step"]

LONGEST = timedelta(seconds=90)
PLENTY = Decimal(100)
KEY_NAME = "Rehearsal"


class AlreadyRunning(Exception):
    """One at a time."""


def latest(*, account_id: int, connection_id: int) -> Rehearsal | None:
    found = Rehearsal.unscoped.filter(account_id=account_id, connection_id=connection_id)
    return found.select_related("persona", "user").order_by("-id").first()


def is_stuck(rehearsal: Rehearsal, now: datetime) -> bool:
    """It was begun and nobody works on it any more: the worker is down, or was killed in the middle."""
    live = rehearsal.state in (RehearsalState.WAITING, RehearsalState.RUNNING)
    return live and now - (rehearsal.started_at or rehearsal.at) > LONGEST


def begin(*, connection: Connection, address: str, user: User | None, now: datetime) -> Rehearsal:
    """A test shopper with points for the cheapest reward, and a run that waits. What was there before is archived.

    Raises AlreadyRunning.
    """
    account_id = connection.account_id
    with acting_in(account_id), transaction.atomic():
        before = Rehearsal.objects.filter(archived_at=None).first()
        if before:
            if before.state in (RehearsalState.WAITING, RehearsalState.RUNNING) and not is_stuck(before, now):
                raise AlreadyRunning
            archive(rehearsal=before, user=user, now=now)
        persona = Persona.objects.create(
            account_id=account_id, first_name="Test", last_name="Shopper", is_test=True, created_at=now,
            email=f"rehearsal-{uuid4().hex[:12]}@rehearsal.invalid", member_from=(now - timedelta(days=2)).date(),
        )  # fmt: skip
        Identifier.objects.create(
            account_id=account_id, persona=persona, kind=IdentifierKind.EMAIL, value=persona.email
        )
        Wallet.objects.create(account_id=account_id, persona=persona)
        try:
            with transaction.atomic():
                made = Rehearsal.objects.create(
                    account_id=account_id, connection=connection, persona=persona, address=address, user=user, at=now
                )
        except IntegrityError as error:
            if "rehearsal_one_open" not in str(error):
                raise
            raise AlreadyRunning from None
        ledger.adjust(
            account_id=account_id, persona_id=persona.pk, points=_enough(account_id), now=now,
            key=f"rehearsal:{made.pk}:give", note="Rehearsal: points of a test shopper",
        )  # fmt: skip
        audit.record(act="rehearsal.begun", target=connection.card, user=user, detail={"rehearsal": made.pk})
        return made


def _enough(account_id: int) -> Decimal:
    """Points for the dearest of the few cheapest rewards: the first of them may not be for everybody."""
    prices = (
        Discount.unscoped.filter(account_id=account_id, archived_at=None, points__gt=0)
        .exclude(code_kind=CodeKind.UNIQUE)
        .order_by("points")
        .values_list("points", flat=True)[:5]
    )
    return max([PLENTY, *prices])


def claim(*, rehearsal_id: int, now: datetime) -> tuple[Rehearsal, str] | None:
    """Take the run, with a key that works until it ends. None: somebody else has it, or it is over."""
    won = Rehearsal.unscoped.filter(pk=rehearsal_id, state=RehearsalState.WAITING, archived_at=None).update(
        state=RehearsalState.RUNNING, started_at=now
    )
    if not won:
        return None
    rehearsal = Rehearsal.unscoped.select_related("account", "persona", "connection").get(pk=rehearsal_id)
    made, text = ApiKey.make(account=rehearsal.account, name=KEY_NAME, scope=Scope.POS)
    rehearsal.key = made
    rehearsal.save(update_fields=["key"])
    return rehearsal, text


def note_step(*, rehearsal: Rehearsal, name: str, ok: bool, said: str, ms: int) -> None:
    """One step is over; the page shows it at once."""
    step: dict[str, Any] = {"name": name, "ok": ok, "said": said, "ms": ms}
    rehearsal.steps = [*rehearsal.steps, step]
    rehearsal.save(update_fields=["steps"])


def finish(*, rehearsal: Rehearsal, now: datetime) -> None:
    """The run is over, whatever came of it: its key works no more."""
    good = bool(rehearsal.steps) and all(step["ok"] for step in rehearsal.steps)
    with transaction.atomic():
        _revoke(rehearsal, now)
        Rehearsal.unscoped.filter(pk=rehearsal.pk, state=RehearsalState.RUNNING).update(
            state=RehearsalState.PASSED if good else RehearsalState.FAILED, ended_at=now
        )


def _revoke(rehearsal: Rehearsal, now: datetime) -> None:
    if rehearsal.key_id:
        ApiKey.unscoped.filter(pk=rehearsal.key_id, revoked_at=None).update(revoked_at=now)


def revoke_left(*, now: datetime) -> int:
    """Keys of runs whose worker died in the middle work no more."""
    left = Rehearsal.unscoped.filter(started_at__lt=now - LONGEST, key__revoked_at=None).values("key")
    return ApiKey.unscoped.filter(pk__in=left, revoked_at=None).update(revoked_at=now)


def archive(*, rehearsal: Rehearsal, user: User | None, now: datetime) -> bool:
    """Put the test shopper away: what is open is given back, the points go to 0, the entries stay. False: it was."""
    with acting_in(rehearsal.account_id), transaction.atomic():
        # The update is the lock: of two who archive it, one does.
        if not Rehearsal.objects.filter(pk=rehearsal.pk, archived_at=None).update(archived_at=now):
            return False
        Rehearsal.objects.filter(pk=rehearsal.pk, state__in=(RehearsalState.WAITING, RehearsalState.RUNNING)).update(
            state=RehearsalState.FAILED, ended_at=now
        )
        rehearsal.refresh_from_db()
        persona = rehearsal.persona
        _revoke(rehearsal, now)
        for public_id in persona.redemptions.filter(state="applied").values_list("public_id", flat=True):
            ledger.revert(account_id=persona.account_id, redemption_public_id=public_id, now=now, why="staff")
        left = ledger.spendable_points(persona.account_id, persona.pk, now)
        if left > 0:
            ledger.adjust(
                account_id=persona.account_id, persona_id=persona.pk, points=-left, now=now,
                key=f"rehearsal:{rehearsal.pk}:take", note="Rehearsal: the test shopper is archived",
            )  # fmt: skip
        profile.archive(account_id=persona.account_id, persona_id=persona.pk, now=now)
        audit.record(act="rehearsal.archived", target=str(persona), user=user, detail={"rehearsal": rehearsal.pk})
        return True
