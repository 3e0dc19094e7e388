"""What a merchant chooses on a card: judged together, saved; and freezing. What holds is read in `chosen.py`.

Plain settings take effect with the next sync. Those that act on people become a `SettingChange`: counted, shown,
confirmed by somebody and recorded, and only then applied (`loyalty` does both, behind the sink).
"""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from django.db import transaction
from django.db.models.functions import Now

from aiqsync.accounts.models import User

from . import registry, shaping
from .chosen import LIVE, Effective, credential_settings, effective, facts_of, mirroring, settings_of
from .kit.card import Card
from .kit.interplay import Verdict, judge
from .kit.settings import Setting
from .models import (
    OPEN_CHANGE,
    ChangeState,
    Connection,
    Credential,
    RunStatus,
    SettingChange,
    StreamState,
    SyncRun,
)
from .refusals import Problems, Refused
from .sink import sink

READ_AGAIN = "All customers are read again from the beginning, for those who stayed outside until now."
WAITING_CHANGE = (ChangeState.COUNTING, ChangeState.COUNTED)

__all__ = [
    "Effective", "Saved", "confirm", "credential_settings", "dismiss", "effective", "facts_of", "freeze", "go_on",
    "halt", "judged", "mirroring", "read_settings", "save_all", "save_credential_settings",
    "save_settings", "settings_of", "unfreeze", "write_settings",
]  # fmt: skip


@dataclass
class Saved:
    """What came of saving: settings that hold now, what to know about them, and changes that wait for a word."""

    changed: dict[str, Any] = field(default_factory=dict)
    warned: dict[str, str] = field(default_factory=dict)
    offers: dict[str, str] = field(default_factory=dict)
    proposed: dict[str, int] = field(default_factory=dict)  # setting -> SettingChange id
    before: dict[str, Any] = field(default_factory=dict)  # what those settings were
    notes: list[str] = field(default_factory=list)  # what else the saving set in motion, as sentences


def read_settings(card: Card, given: Mapping[str, Any], *, on: str = "card") -> dict[str, Any]:
    """What was entered, typed. Raises `Problems` by name; unknown names are refused."""
    declared = {s.name: s for s in card.settings_on(on)}
    problems: dict[str, str] = {}
    values: dict[str, Any] = {}
    for name, raw in given.items():
        if name not in declared:
            problems[name] = f"There is no setting named {name}."
            continue
        try:
            values[name] = declared[name].read(raw)
        except ValueError as error:
            problems[name] = str(error)
    if problems:
        raise Problems(problems)
    return values


def judged(
    connection: Connection, given: Mapping[str, Any], *, as_of_now: bool = False, mapped: Collection[str] = ()
) -> tuple[dict[str, Any], dict[str, Any], Verdict]:
    """(settings before, settings as they would be, what speaks against or about them)."""
    before = settings_of(connection)
    after = before | dict(given)
    verdict = judge(
        before, after, facts_of(connection, as_of_now=as_of_now, mapped=mapped), registry.get(connection.card)
    )
    return before, after, verdict


def save_settings(
    *,
    connection: Connection,
    given: Mapping[str, Any],
    now: datetime,
    user: User | None = None,
    as_of_now: bool = False,
    mapped: Collection[str] = (),
) -> Saved:
    """Store the card's settings. Raises `Problems` by name when one cannot be, or two do not go together.

    A setting that acts on people is not stored but proposed: a `SettingChange` that is counted and waits for a word.
    Turning one off acts on nobody and holds at once; but clearing a day that made members is proposed too, and says how
    many have no other ground.
    """
    card = registry.get(connection.card)
    values = read_settings(card, given)
    with transaction.atomic():
        connection = Connection.unscoped.select_for_update().get(pk=connection.pk)
        before, _, verdict = judged(connection, values, as_of_now=as_of_now, mapped=mapped)
        if refused := {name: why for name, why in verdict.refused.items() if name in values}:
            raise Problems(refused)
        saved = Saved(warned=verdict.warned, offers=verdict.offers)
        declared = {s.name: s for s in card.settings}
        asked = {name: value for name, value in values.items() if value != before[name]}
        dropped = [n for n, v in asked.items() if declared[n].people and not (v or declared[n].asks_before_clearing)]
        # First of all: this may hold the sources, and a step that applies a change holds them when it comes to the
        # rows of the change and of its job (docs/decisions/locks.md).
        for name in dropped:
            sink().dropped(connection_id=connection.pk, setting=name, now=now)
        for name, value in asked.items():
            saved.before[name] = before[name]
            if name == "frozen":
                _set_frozen(connection=connection, credential=None, on=value, now=now)
                saved.changed[name] = value
            elif declared[name].people and (value or declared[name].asks_before_clearing):
                saved.proposed[name] = _propose(connection, declared[name], before[name], value, now, user).pk
            else:
                saved.changed[name] = value
        connection.refresh_from_db(fields=["settings", "since"])  # a change that was put away may have taken one back
        write_settings(connection, {n: v for n, v in saved.changed.items() if n != "frozen"}, now)
        _follow(connection, before, saved, now)
        for change in SettingChange.unscoped.filter(
            connection=connection, setting__in=dropped, state__in=OPEN_CHANGE
        ).order_by("id"):
            # Nobody is reached by a setting that does not hold: what runs ends, what stood still cannot be resumed.
            halt(change=change, now=now)
            dismiss(change=change, now=now)
    return saved


def _follow(connection: Connection, before: Mapping[str, Any], saved: Saved, now: datetime) -> None:
    """What must be read again because of what was chosen; in the saving's transaction."""
    origins = list(
        connection.credentials(manager="unscoped").exclude(origin=None).values_list("origin", flat=True).distinct()
    )
    if saved.changed.get("sync_to_market") is False and shaping.read_again(origin_ids=origins, now=now):
        saved.notes.append(READ_AGAIN)
    if "restrict_locations" in saved.changed:
        was, only = before["restrict_locations"], saved.changed["restrict_locations"]
        # A run that began with the old choice ends; the next one begins with the new.
        shaping.stop_reading(origin_ids=origins, stream="sales", why="The choice of locations was changed.")
        states = StreamState.unscoped.filter(credential__connection=connection, stream="sales")
        states.update(next_due=now)
        if was and not (only and set(only) <= set(was)):
            # What was left out so far says nothing until it has been read: no evidence for releasing anything.
            states.filter(first_done_at__isnull=False).update(read_until=None)
            saved.notes.append("The sales of the locations that were added are being read, the past as well.")


def save_all(
    *,
    connection: Connection,
    given: Mapping[str, Any],
    of_credentials: Mapping[int, Mapping[str, Any]],
    now: datetime,
    user: User | None = None,
    as_of_now: bool = False,
    mapped: Collection[str] = (),
) -> Saved:
    """The whole settings form: the card's settings and each credential's, all of it or nothing.

    Raises `Problems`; a credential's setting is named `<setting>-<credential id>` in it, in `changed` and in `warned`.
    """
    from .services import lock_origins  # it stands above this module

    with transaction.atomic():
        connection = Connection.unscoped.select_for_update().get(pk=connection.pk)
        whole, problems = Saved(), {}
        credentials = {
            c.pk: c for c in connection.credentials(manager="unscoped").defer("secrets", "token").order_by("pk")
        }
        if _hold_sources(connection, credentials, given, of_credentials):
            # All at once and in order: a market holds its own source, and a mirror that ends then holds all.
            lock_origins(account_id=connection.account_id)

        def theirs() -> None:
            for pk, values in of_credentials.items():
                if pk not in credentials:
                    raise Refused("This credential is not there any more. Load the page again.")
                try:
                    with transaction.atomic():
                        saved = save_credential_settings(credential=credentials[pk], given=values, now=now)
                except Problems as error:
                    problems.update({f"{name}-{pk}": why for name, why in error.fields.items()})
                    continue
                whole.changed |= {f"{name}-{pk}": value for name, value in saved.changed.items()}
                whole.before |= {f"{name}-{pk}": value for name, value in saved.before.items()}
                whole.notes += [note for note in saved.notes if note not in whole.notes]

        def cards() -> None:
            try:
                with transaction.atomic():
                    saved = save_settings(
                        connection=connection, given=given, now=now, user=user, as_of_now=as_of_now, mapped=mapped
                    )
            except Problems as error:
                problems.update(error.fields)
                return
            whole.changed |= saved.changed
            whole.before |= saved.before
            whole.warned, whole.offers, whole.proposed = saved.warned, saved.offers, saved.proposed
            whole.notes += [note for note in saved.notes if note not in whole.notes]

        # What is needed is there before what needs it, and goes after it.
        first, second = (theirs, cards) if given.get("sync_to_market") else (cards, theirs)
        first()
        second()
        if problems:
            raise Problems(problems)
    return whole


def _hold_sources(
    connection: Connection,
    credentials: Mapping[int, Credential],
    given: Mapping[str, Any],
    of_credentials: Mapping[int, Mapping[str, Any]],
) -> bool:
    """Whether anything that is changed by the form holds sources: what is read again, what stops acting on people."""
    card = registry.get(connection.card)
    people = {s.name for s in card.settings if s.people and not s.asks_before_clearing}
    for name, value in _changed(card, given, settings_of(connection), on="card"):
        if name == "restrict_locations" or (not value and (name == "sync_to_market" or name in people)):
            return True
    return any(
        name == "relevant_market"
        for pk, values in of_credentials.items()
        if pk in credentials
        for name, _ in _changed(card, values, credential_settings(credentials[pk]), on="credential")
    )


def _changed(card: Card, given: Mapping[str, Any], before: Mapping[str, Any], *, on: str) -> Iterator[tuple[str, Any]]:
    """What differs, typed; what cannot be read is refused elsewhere."""
    declared = {s.name: s for s in card.settings_on(on)}
    for name, raw in given.items():
        try:
            value = declared[name].read(raw)
        except (KeyError, ValueError):
            continue
        if value != before[name]:
            yield name, value


def write_settings(connection: Connection, values: Mapping[str, Any], now: datetime) -> None:
    """Put values in force, in the caller's transaction with the connection locked. `since`: when each was turned on."""
    if not values:
        return
    connection.settings = connection.settings | dict(values)
    for name, value in values.items():
        if value:
            connection.since[name] = now.isoformat()
    connection.save(update_fields=["settings", "since"])


def save_credential_settings(*, credential: Credential, given: Mapping[str, Any], now: datetime) -> Saved:
    """Store one credential's settings (its market). Raises `Problems`."""
    card = registry.get(credential.connection.card)
    values = read_settings(card, given, on="credential")
    saved = Saved()
    with transaction.atomic():
        credential = Credential.unscoped.select_for_update().select_related("connection").get(pk=credential.pk)
        before = credential_settings(credential)
        saved.changed = {name: value for name, value in values.items() if value != before[name]}
        saved.before = {name: before[name] for name in saved.changed}
        if not saved.changed:
            return saved
        if "relevant_market" in saved.changed:
            _check_market(credential, saved.changed["relevant_market"])
        credential.settings = credential.settings | saved.changed
        credential.save(update_fields=["settings"])
        if "relevant_market" in saved.changed and credential.origin_id:
            was, will = set(before["relevant_market"]), set(saved.changed["relevant_market"])
            if was and not (will and will <= was) and shaping.read_again(origin_ids=[credential.origin_id], now=now):
                saved.notes.append(READ_AGAIN)
            if not will:
                shaping.forget_outside(origin_ids=[credential.origin_id])
    return saved


def _check_market(credential: Credential, market: Collection[str]) -> None:
    if market or not settings_of(credential.connection).get("sync_to_market"):
        return
    others = credential.connection.credentials(manager="unscoped").filter(state__in=LIVE).exclude(pk=credential.pk)
    if not any(c.settings.get("relevant_market") for c in others.defer("secrets", "token")):
        raise Problems({"relevant_market": "“Sync to relevant market” is on and needs a market: turn it off first."})


# Settings that act on people


def _propose(
    connection: Connection, setting: Setting, before: Any, after: Any, now: datetime, user: User | None
) -> SettingChange:
    """The open change of this setting: a new one that is being counted, in place of one that waited."""
    for old in SettingChange.unscoped.select_for_update().filter(
        connection=connection, setting=setting.name, state__in=(*WAITING_CHANGE, "applying", "stopped", "failed")
    ):
        if old.state == ChangeState.APPLYING:
            raise Problems({setting.name: "The change before is still being applied. Stop it first, or wait."})
        dismiss(change=old, now=now)
    change = SettingChange.unscoped.create(
        account_id=connection.account_id, connection=connection, setting=setting.name, before=before, after=after,
        made_by=user, made_at=now,
    )  # fmt: skip
    sink().preview(change_id=change.pk, now=now)
    return change


def confirm(*, change: SettingChange, user: User | None, now: datetime) -> SettingChange:
    """Somebody has seen the figures: the setting holds from now on and is applied. Raises `Refused`.

    Judged again: the programme may have changed since it was counted.
    """
    with transaction.atomic():
        connection = Connection.unscoped.select_for_update().get(pk=change.connection_id)
        change = SettingChange.unscoped.select_for_update().get(pk=change.pk)
        if change.state in (ChangeState.APPLYING, ChangeState.APPLIED):
            return change
        if change.state != ChangeState.COUNTED:
            raise Refused("It is not counted yet, or was dismissed: count it again.", field=change.setting)
        # What was accepted with the proposal (a past import day) was accepted then.
        _, _, verdict = judged(connection, {change.setting: change.after}, as_of_now=True)
        if why := verdict.refused.get(change.setting):
            raise Refused(why, field=change.setting)
        write_settings(connection, {change.setting: change.after}, now)
        change.state, change.confirmed_by, change.confirmed_at = ChangeState.APPLYING, user, now
        change.save(update_fields=["state", "confirmed_by", "confirmed_at"])
        sink().apply(change_id=change.pk, now=now)
    return change


def dismiss(*, change: SettingChange, now: datetime) -> bool:
    """Put a change away that is not being applied: nothing was touched, or what was done stays. False: too late.

    What acts once and was stopped before it had is taken back: the card must not promise it any more.
    """
    with transaction.atomic():
        connection = Connection.unscoped.select_for_update().get(pk=change.connection_id)
        gone = SettingChange.unscoped.filter(
            pk=change.pk, state__in=(*WAITING_CHANGE, ChangeState.STOPPED, ChangeState.FAILED)
        ).update(state=ChangeState.DISMISSED)
        if gone:
            change.refresh_from_db(fields=["confirmed_at"])
            declared = next((s for s in registry.get(connection.card).settings if s.name == change.setting), None)
            held = connection.settings.get(change.setting)
            if declared and declared.once and change.confirmed_at and held == change.after:
                write_settings(connection, {change.setting: change.before}, now)
            sink().stop(change_id=change.pk, now=now)
    return bool(gone)


def halt(*, change: SettingChange, now: datetime) -> bool:
    """Stop the applying; the setting holds, who was not reached yet waits until it is resumed."""
    with transaction.atomic():
        stopped = SettingChange.unscoped.filter(pk=change.pk, state=ChangeState.APPLYING).update(
            state=ChangeState.STOPPED
        )
        if stopped:
            sink().stop(change_id=change.pk, now=now)
    return bool(stopped)


def go_on(*, change: SettingChange, now: datetime) -> bool:
    """Resume what was stopped or failed: the applying, or the counting of what nobody has confirmed yet."""
    with transaction.atomic():
        rows = SettingChange.unscoped.filter(pk=change.pk, state__in=(ChangeState.STOPPED, ChangeState.FAILED))
        again = rows.filter(confirmed_at__isnull=False).update(state=ChangeState.APPLYING, message="")
        again = again or rows.filter(confirmed_at=None).update(state=ChangeState.COUNTING, message="")
        if again:
            sink().resume(change_id=change.pk, now=now)
    return bool(again)


def recount(*, change: SettingChange, now: datetime) -> bool:
    """Count again what waits for a word, or what could not be counted. False: it is being counted, or is over."""
    with transaction.atomic():
        again = SettingChange.unscoped.filter(
            pk=change.pk, confirmed_at=None, state__in=(ChangeState.COUNTED, ChangeState.FAILED)
        ).update(state=ChangeState.COUNTING, counted={}, sample=[], message="")
        if again:
            sink().preview(change_id=change.pk, now=now)
    return bool(again)


# What whoever counts and applies notes down


def note_counted(*, change_id: int, counted: dict[str, Any], sample: list[Any]) -> bool:
    """The figures are there: it waits for a word. False: it was dismissed meanwhile."""
    return bool(
        SettingChange.unscoped.filter(pk=change_id, state=ChangeState.COUNTING).update(
            state=ChangeState.COUNTED, counted=counted, sample=sample
        )
    )


def note_applied(*, change_id: int, applied: dict[str, Any], now: datetime) -> bool:
    """Everybody was reached. False: it was stopped meanwhile."""
    return bool(
        SettingChange.unscoped.filter(pk=change_id, state=ChangeState.APPLYING).update(
            state=ChangeState.APPLIED, applied=applied, applied_at=now
        )
    )


def note_failed(*, change_id: int, message: str) -> bool:
    """It was given up, with a sentence; it can be resumed or dismissed."""
    return bool(
        SettingChange.unscoped.filter(pk=change_id, state__in=(ChangeState.COUNTING, ChangeState.APPLYING)).update(
            state=ChangeState.FAILED, message=message
        )
    )


def origins_of(*, connection_id: int) -> list[int]:
    """The origins that a card reads now: those of its credentials in use, in the order of their ids."""
    found = Credential.unscoped.filter(connection=connection_id, state__in=LIVE).exclude(origin=None)
    return sorted(set(found.values_list("origin", flat=True)))


# Freezing


def freeze(*, connection: Connection | None = None, credential: Credential | None = None, now: datetime) -> None:
    """No call to the POS in either direction any more; everything stays. The whole card, or one credential."""
    with transaction.atomic():
        _set_frozen(connection=connection, credential=credential, on=True, now=now)


def unfreeze(*, connection: Connection | None = None, credential: Credential | None = None, now: datetime) -> None:
    """Go on behind what was read last."""
    with transaction.atomic():
        _set_frozen(connection=connection, credential=credential, on=False, now=now)


def _set_frozen(*, connection: Connection | None, credential: Credential | None, on: bool, now: datetime) -> None:
    at = now if on else None
    if credential is not None:
        Credential.unscoped.filter(pk=credential.pk, frozen_at__isnull=on).update(frozen_at=at)
        of_these = {"stream__credential": credential}
        due = StreamState.unscoped.filter(credential=credential)
    else:
        assert connection is not None
        if Connection.unscoped.filter(pk=connection.pk, frozen_at__isnull=on).update(frozen_at=at):
            connection.frozen_at = at
        of_these = {"stream__credential__connection": connection}
        due = StreamState.unscoped.filter(credential__connection=connection)
    if on:
        SyncRun.unscoped.filter(status__in=[RunStatus.QUEUED, RunStatus.RUNNING], **of_these).update(
            status=RunStatus.STOPPED, finished_at=Now(), lease_until=None, message="Frozen."
        )
    else:
        due.update(next_due=now)
