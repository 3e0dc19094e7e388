"""Changes of the programme that move balances: counted, confirmed, applied to everybody a slice at a time.

A change is written under the locks of all the account's origins: a page of a sync began before it and is finished, or
reads the new rules. Everybody's sales are settled again afterwards, in the background; a sale that lands meanwhile is
settled by the new rules at once. Running a slice twice posts nothing twice: what is posted is the difference.
"""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Any

from django.core.exceptions import ValidationError
from django.db import IntegrityError, connection, transaction

from aiqsync.accounts import audit
from aiqsync.accounts.models import User
from aiqsync.accounts.tenancy import acting_in
from integrations.services import lock_origins

from . import counting, earning, expiry, jobs, ledger, programme, rules
from .counting import Counted, Edge, Since
from .earning import Rules
from .jobs import Enqueue, GiveUp, Work
from .models import ChangeState, Job, JobState, ModifierKind, ProgrammeChange, Wallet
from .programme import Problems

__all__ = [
    "AlreadyOpen", "CameSince", "NothingChanges", "Problems", "Refused", "confirm", "dismiss", "follow", "job_of",
    "open_change", "propose", "propose_recompute", "propose_wipe", "recount", "resume", "save", "since", "stale",
    "stop",
]  # fmt: skip

OPEN = (ChangeState.COUNTING, ChangeState.COUNTED, ChangeState.APPLYING)
NOTE_LONGEST = 200


class Refused(Exception):
    """It cannot be done now; the message is for the merchant."""


class CameSince(Refused):
    """Sales came, or points moved, since it was counted: a question, not a no."""


class NothingChanges(Refused):
    """The values are those that are saved."""

    def __init__(self) -> None:
        super().__init__("These are the settings already; nothing changes.")


class AlreadyOpen(Refused):
    """Another change is counted, confirmed or applied: one at a time. `saved`: what moved nothing was kept."""

    saved = False

    def __init__(self, change: ProgrammeChange) -> None:
        super().__init__(
            "Another change is being applied; wait until it is through."
            if change.state == ChangeState.APPLYING
            else "Another change is waiting: confirm or dismiss it first. Yours was not taken."
        )
        self.change = change


@dataclass
class Saved:
    """What was saved at once (cleaned values), and the change that waits to be confirmed."""

    at_once: dict[str, Any] = field(default_factory=dict)
    change: ProgrammeChange | None = None


# Asking


def open_change(account_id: int) -> ProgrammeChange | None:
    return ProgrammeChange.objects.filter(account_id=account_id, state__in=OPEN).first()


def job_of(change: ProgrammeChange) -> Job | None:
    """The job that counts or applies it: the latest."""
    kinds = ("recompute", "wipe") if change.confirmed_at else ("count",)
    return (
        Job.objects.filter(account_id=change.account_id, kind__in=kinds, args__change=change.pk).order_by("-id").first()
    )


def stale(change: ProgrammeChange) -> bool:
    """Counted against older settings than those of today."""
    return programme.of(change.account_id).version != change.version


def since(change: ProgrammeChange) -> Since:
    """What has come since the counting began, and is not in its figures."""
    edge = change.counted.get("edge")
    return counting.since(change.account_id, Edge(*edge)) if edge else Since(0, 0)


# Verbs


def save(
    *, account_id: int, values: dict[str, Any], user: User, now: datetime, enqueue: Enqueue | None = None
) -> Saved:
    """Save what moves no balance at once; propose the rest. Raises Problems, and AlreadyOpen after the first part.

    While there is nothing to move (no sales, no points) everything is saved at once.
    """
    with acting_in(account_id):
        with transaction.atomic():
            at_once, moving = programme.split(programme.clean(account_id=account_id, values=values))
            gifts = _brings_gifts(values)
            if moving and counting.nothing_to_move(account_id, gifts=gifts):
                lock_origins(account_id=account_id)
                if counting.nothing_to_move(account_id, gifts=gifts):
                    at_once, moving = programme.clean(account_id=account_id, values=values), {}
            if at_once:
                moved = bool(set(at_once) - {"programme", "was"}) or bool(
                    (programme.MOVING | {"enabled"}) & set(at_once.get("programme", {}))
                )
                programme.write(account_id=account_id, values=at_once, user=user, moved=moved)
                audit.record(
                    act="programme.changed", target="Loyalty programme", user=user, detail=programme.for_log(at_once)
                )
        change = None
        if moving:
            try:
                change = propose(account_id=account_id, values=moving, user=user, now=now, enqueue=enqueue)
            except AlreadyOpen as other:
                other.saved = bool(at_once)
                raise
        return Saved(at_once, change)


def propose(
    *, account_id: int, values: dict[str, Any], user: User, now: datetime, enqueue: Enqueue | None = None
) -> ProgrammeChange:
    """Count what these values would do. The same change again is the one there is; another one is AlreadyOpen.

    Raises Problems by setting, and NothingChanges.
    """
    with acting_in(account_id), transaction.atomic():
        cleaned = programme.clean(account_id=account_id, values=values)
        if not cleaned:
            raise NothingChanges
        return _open(account_id, cleaned, user, now, enqueue)


def propose_wipe(
    *, account_id: int, note: str, user: User, now: datetime, enqueue: Enqueue | None = None
) -> ProgrammeChange:
    """Count what taking everybody's points would do. The note stands in each shopper's timeline."""
    note = note.strip()
    if not note or len(note) > NOTE_LONGEST or "\x00" in note:
        raise Problems({"note": f"Say why, in up to {NOTE_LONGEST} letters: each shopper's timeline shows it."})
    with acting_in(account_id), transaction.atomic():
        return _open(account_id, {"wipe": {"note": note}}, user, now, enqueue)


def propose_recompute(
    *, account_id: int, note: str, user: User, now: datetime, enqueue: Enqueue | None = None
) -> ProgrammeChange:
    """Count what settling every sale anew would do, by the settings there are: after stores were mapped anew."""
    with acting_in(account_id), transaction.atomic():
        return _open(account_id, {"recompute": {"note": note[:NOTE_LONGEST]}}, user, now, enqueue)


def _open(
    account_id: int, values: dict[str, Any], user: User, now: datetime, enqueue: Enqueue | None
) -> ProgrammeChange:
    version = programme.locked(account_id).version
    try:
        with transaction.atomic():
            change = ProgrammeChange.objects.create(
                account_id=account_id, values=values, version=version, user=user, created_at=now
            )
    except IntegrityError:
        other = open_change(account_id)
        if other is None:  # it ended this very moment
            raise Refused("Another change has just ended. Try again.") from None
        if other.values == values and other.state != ChangeState.APPLYING:
            return other
        raise AlreadyOpen(other) from None
    audit.record(act="programme.change_proposed", target=_title(change), user=user, detail=_detail(change))
    _start("count", change, user, now, enqueue)
    return change


def recount(*, change: ProgrammeChange, user: User, now: datetime, enqueue: Enqueue | None = None) -> ProgrammeChange:
    """Count again, against today's settings."""
    with acting_in(change.account_id), transaction.atomic():
        version = programme.locked(change.account_id).version
        change = _held(change)
        if change.state not in (ChangeState.COUNTING, ChangeState.COUNTED):
            raise Refused("This change is not waiting to be confirmed any more.")
        job = job_of(change)
        if job is not None and job.state in jobs.LIVE:
            return change
        change.state, change.counted, change.version = ChangeState.COUNTING, {}, version
        change.save(update_fields=["state", "counted", "version"])
        _start("count", change, user, now, enqueue)
        return change


def confirm(
    *, change: ProgrammeChange, user: User, now: datetime, seen: str = "", anyway: bool = False,
    enqueue: Enqueue | None = None,
) -> ProgrammeChange:  # fmt: skip
    """Write the settings and start bringing everybody's points to them. Confirmed twice is confirmed once.

    `seen`: of which count the figures were on the screen (`counted["at"]`). Sales that came since are a question
    first; `anyway` answers it, since in a shop that sells there is always one more.
    """
    with acting_in(change.account_id), transaction.atomic():
        lock_origins(account_id=change.account_id)
        version = programme.locked(change.account_id).version
        change = _held(change)
        if change.state in (ChangeState.APPLYING, ChangeState.APPLIED):
            return change
        if change.state != ChangeState.COUNTED:
            raise Refused(
                "This change was dismissed."
                if change.state == ChangeState.DISMISSED
                else "It is still being counted: confirm when the figures are there."
            )
        if version != change.version:
            raise Refused("It was counted against older settings; count again.")
        if seen and seen != change.counted.get("at"):
            raise Refused("It was counted again meanwhile. Look at the new figures, and confirm those.")
        if not anyway and (found := since(change)):
            raise CameSince(
                f"Since this was counted, {found.words}: the figures are a little old. Count again, or confirm all the "
                "same; what came since is brought to the new settings too."
            )
        wipe = "wipe" in change.values
        if not wipe:
            try:
                programme.write(account_id=change.account_id, values=change.values, user=user, moved=True)
            except ValidationError as error:  # what it speaks of has gone meanwhile
                raise Refused(f"It cannot be done any more: {' '.join(error.messages)} Dismiss it.") from None
        change.state, change.confirmed_by, change.confirmed_at = ChangeState.APPLYING, user, now
        change.save(update_fields=["state", "confirmed_by", "confirmed_at"])
        audit.record(
            act="points.wipe_confirmed" if wipe else "programme.changed",
            target=_title(change), user=user, detail=_detail(change) | _figures(change.counted),
        )  # fmt: skip
        _start("wipe" if wipe else "recompute", change, user, now, enqueue)
        return change


def dismiss(*, change: ProgrammeChange, user: User, now: datetime) -> ProgrammeChange:
    """Put a change away that was not confirmed: no setting and no balance was touched."""
    with acting_in(change.account_id), transaction.atomic():
        change = _held(change)
        if change.state == ChangeState.DISMISSED:
            return change
        if change.state not in (ChangeState.COUNTING, ChangeState.COUNTED):
            raise Refused("It is confirmed already, so it cannot be dismissed. Change the settings back instead.")
        change.state = ChangeState.DISMISSED
        change.save(update_fields=["state"])
        if job := job_of(change):
            jobs.stop(job_id=job.pk, now=now)
        audit.record(act="programme.change_dismissed", target=_title(change), user=user, detail=_detail(change))
        return change


def stop(*, change: ProgrammeChange, user: User, now: datetime) -> bool:
    """Halt the applying. The settings hold; who was not reached yet keeps his balance until it is resumed."""
    return _steer(change, user, "stopped", lambda job: jobs.stop(job_id=job.pk, now=now))


def resume(*, change: ProgrammeChange, user: User, now: datetime, enqueue: Enqueue | None = None) -> bool:
    """Go on where it stopped."""
    return _steer(change, user, "resumed", lambda job: jobs.resume(job_id=job.pk, now=now, enqueue=enqueue))


def _steer(change: ProgrammeChange, user: User, word: str, act: Any) -> bool:
    with acting_in(change.account_id), transaction.atomic():
        change = _held(change)
        job = job_of(change)
        if change.state != ChangeState.APPLYING or job is None or not act(job):
            return False
        audit.record(
            act=f"programme.change_{word}", target=_title(change), user=user,
            detail={"shoppers done": job.done, "of": job.total},
        )  # fmt: skip
        return True


def _held(change: ProgrammeChange) -> ProgrammeChange:
    return ProgrammeChange.objects.select_for_update().get(account_id=change.account_id, pk=change.pk)


def _start(kind: str, change: ProgrammeChange, user: User, now: datetime, enqueue: Enqueue | None) -> None:
    job = jobs.start(
        account_id=change.account_id, kind=kind, args={"change": change.pk}, user=user, now=now, enqueue=enqueue
    )
    if job.args != {"change": change.pk}:
        raise Refused("The change before is still being cleared away. Try again in a moment.")


def _title(change: ProgrammeChange) -> str:
    return "All balances" if {"wipe", "recompute"} & set(change.values) else "Loyalty programme"


def _detail(change: ProgrammeChange) -> dict[str, Any]:
    if plain := change.values.get("wipe") or change.values.get("recompute"):
        return {"change": change.pk, "note": plain["note"]}
    return {"change": change.pk} | programme.for_log(change.values)


def _figures(counted: dict[str, Any]) -> dict[str, Any]:
    return {name: counted[name] for name in ("shoppers", "before", "after", "expiring", "shortfalls")}


# Jobs


def _brings_gifts(values: dict[str, Any]) -> bool:
    """A boost of an audience: it reaches people who never bought anything."""
    return any(
        item.get("kind") == ModifierKind.BOOST and item.get("audience") and not item.get("with_sale")
        for item in values.get("modifiers", ())
    )


def _next(work: Work, change: ProgrammeChange) -> list[int]:
    """The personas of this step, and the cursor behind them; none are left: finished."""
    gifts = _brings_gifts(change.values)
    if work.total is None:
        work.total = counting.how_many(work.account_id, gifts=gifts)
    ids = counting.next_personas(work.account_id, work.cursor.get("after", 0), gifts=gifts)
    if ids:
        work.cursor = {"after": ids[-1]}
        work.done += len(ids)
    work.finished = len(ids) < counting.PERSONAS
    return ids


def _of(work: Work, state: str) -> ProgrammeChange:
    change = ProgrammeChange.objects.filter(account_id=work.account_id, pk=work.args["change"], state=state).first()
    if change is None:
        raise GiveUp("The change it was for is not waiting for it any more.")
    return change


@jobs.handler("count")
def _count(work: Work) -> None:
    if not work.result:
        lock_origins(account_id=work.account_id)  # between two pages: what comes behind the edge was not counted
    change = _of(work, ChangeState.COUNTING)
    ids = _next(work, change)
    counted = Counted.from_json(work.result) if work.result else Counted(edge=counting.edge())
    if "wipe" in change.values:
        _count_wipe(work, ids, counted)
    elif ids and (new_rules := _rules_after(change, work.user)):
        counting.count(
            account_id=work.account_id,
            persona_ids=ids,
            rules=new_rules,
            rewrites_expiry=programme.touches_expiry(change.values),
            now=work.now,
            into=counted,
        )
    work.result = counted.as_json()
    if work.finished:
        change.state, change.counted = ChangeState.COUNTED, work.result | {"at": work.now.isoformat()}
        change.save(update_fields=["state", "counted"])


def _rules_after(change: ProgrammeChange, user: User | None) -> Rules | None:
    """The rules as the change would make them: written, read, and taken back."""
    try:
        with transaction.atomic():
            programme.write(account_id=change.account_id, values=change.values, user=user, moved=False)
            raise _Enough(rules.of(change.account_id))
    except _Enough as read:
        return read.rules
    except ValidationError as error:
        raise GiveUp(" ".join(error.messages)) from None


class _Enough(Exception):
    def __init__(self, read: Rules | None) -> None:
        self.rules = read


def _count_wipe(work: Work, ids: list[int], counted: Counted) -> None:
    held = dict(
        Wallet.objects.filter(persona_id__in=ids)
        .annotate(can_spend=ledger.spendable(work.now))
        .values_list("persona_id", "can_spend")
    )
    for persona_id in ids:
        counted.add(persona_id, counting.Outcome(before=held.get(persona_id, Decimal(0))))


@jobs.handler("recompute")
def _recompute(work: Work) -> None:
    lock_origins(account_id=work.account_id)
    change = _of(work, ChangeState.APPLYING)
    ids = _next(work, change)
    new_rules = rules.of(work.account_id)
    due = expiry.due_lots(work.account_id, ids, work.now)
    if ids and new_rules:
        earning.settle_personas(account_id=work.account_id, persona_ids=ids, now=work.now, gifts=True)
        if programme.touches_expiry(change.values) or new_rules.engine == "legacy":
            expiry.rewrite(account_id=work.account_id, persona_ids=ids, rules=new_rules, now=work.now)
        expiry.post_due(work.account_id, ids, work.now)
    _applied(work, change, due)


def follow(*, account_id: int, persona_ids: Sequence[int], now: datetime) -> None:
    """Points that changed hands while an expiry is being rewritten: who has them may have been passed already."""
    with acting_in(account_id):
        change = ProgrammeChange.objects.filter(account_id=account_id, state=ChangeState.APPLYING).first()
    if change is not None and programme.touches_expiry(change.values) and (new_rules := rules.of(account_id)):
        expiry.rewrite(account_id=account_id, persona_ids=persona_ids, rules=new_rules, now=now)


@jobs.handler("wipe")
def _wipe(work: Work) -> None:
    change = _of(work, ChangeState.APPLYING)
    ids = _next(work, change)
    due = expiry.due_lots(work.account_id, ids, work.now)
    # Locked before it is read: a till must not take in between what is to be taken here.
    wallets = Wallet.objects.filter(persona_id__in=ids).order_by("persona_id")
    list(wallets.select_for_update().values_list("pk", flat=True))
    held = wallets.annotate(can_spend=ledger.spendable(work.now)).values_list("persona_id", "can_spend")
    for persona_id, points in held:
        if points > 0:
            with suppress(ledger.HeldByPos):  # the POS's own points: they would be back with the next reading
                ledger.adjust(
                    account_id=work.account_id, persona_id=persona_id, points=-points,
                    key=f"wipe:{change.pk}:{persona_id}", now=work.now, user_id=change.confirmed_by_id,
                    note=change.values["wipe"]["note"],
                )  # fmt: skip
    _applied(work, change, due)


def _applied(work: Work, change: ProgrammeChange, due: Sequence[int]) -> None:
    """Add what this step posted to the job's figures; after the last one the change is applied, and says so."""
    figures = _posted(work.account_id, work.now, due)
    before = work.result or {}
    work.result = {
        name: str(Decimal(before.get(name, "0")) + value) if isinstance(value, Decimal) else before.get(name, 0) + value
        for name, value in figures.items()
    }
    if work.finished:
        change.state, change.applied, change.applied_at = ChangeState.APPLIED, work.result, work.now
        change.save(update_fields=["state", "applied", "applied_at"])
        audit.record(
            act="points.wiped" if "wipe" in change.values else "programme.change_applied",
            target=_title(change), user=work.user, detail={"change": change.pk} | work.result,
        )  # fmt: skip


def _posted(account_id: int, now: datetime, due: Sequence[int]) -> dict[str, Any]:
    """What was posted at this moment: a step has a moment of its own, to the microsecond.

    Lots that were `due` before expired by themselves; that is no doing of the change.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            """SELECT count(*), coalesce(sum(points), 0),
                      coalesce(-sum(points) FILTER (WHERE kind = 'expire' AND points < 0), 0)
               FROM loyalty_entry e WHERE account_id = %s AND at = %s
                 AND NOT (kind = 'expire' AND points < 0 AND EXISTS (
                     SELECT FROM loyalty_draw d WHERE d.entry_id = e.id AND d.lot_id = ANY(%s)))""",
            [account_id, now, list(due)],
        )
        entries, points, expired = cursor.fetchone()
        cursor.execute(
            "SELECT count(*), coalesce(sum(points), 0) FROM loyalty_shortfall WHERE account_id = %s AND at = %s",
            [account_id, now],
        )
        shortfalls, short = cursor.fetchone()
    return {"entries": entries, "points": points, "expired": expired, "shortfalls": shortfalls, "short": short}


def is_stopped(job: Job | None) -> bool:
    return job is None or job.state in (JobState.STOPPED, JobState.FAILED)
