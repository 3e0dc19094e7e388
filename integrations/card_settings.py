"""What a merchant chose on a card: read with its defaults, judged together, saved; and freezing.

Plain settings take effect with the next sync. Those that act on people become a `SettingChange`: counted, shown,
confirmed by somebody and recorded, and only then applied (`loyalty` does both, behind the sink).
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any
from zoneinfo import ZoneInfo

from django.db import transaction
from django.db.models.functions import Now

from aiqsync.accounts.models import User

from . import registry
from .kit.card import Card
from .kit.interplay import Facts, Verdict, judge
from .kit.settings import Setting
from .models import (
    OPEN_CHANGE,
    ChangeState,
    Connection,
    Credential,
    CredentialState,
    Location,
    Origin,
    PricingGroup,
    RunStatus,
    SettingChange,
    StreamState,
    SyncRun,
)
from .refusals import Problems, Refused
from .sink import sink

LIVE = (CredentialState.CONNECTED, CredentialState.PAUSED)
WAITING_CHANGE = (ChangeState.COUNTING, ChangeState.COUNTED)


@dataclass
class Saved:
    """What came of saving: settings that hold now, what to know about them, and changes that wait for a word."""

    changed: dict[str, Any] = field(default_factory=dict)
    warned: dict[str, str] = field(default_factory=dict)
    offers: dict[str, str] = field(default_factory=dict)
    proposed: dict[str, int] = field(default_factory=dict)  # setting -> SettingChange id


@dataclass(frozen=True)
class Effective:
    """What the live connections of an origin say, for whoever lands or writes. Several live cards of one company add
    up: a market or a restriction counts only where all of them have one."""

    origin_id: int
    markets: frozenset[str] = frozenset()  # empty: all
    sync_personas: bool = True
    sync_personas_since: datetime | None = None
    creates: bool = False  # sign-ups are created in the POS
    sync_to_market: bool = False
    pricing_group: str = ""
    enrol_after: date | None = None
    sms_after: date | None = None
    points_import_on: date | None = None
    mirror: bool = False
    frozen: bool = False
    connected: bool = False


def settings_of(connection: Connection) -> dict[str, Any]:
    """Every setting of the card, with its default where nothing was chosen. `frozen` is the connection's own column."""
    card = registry.get(connection.card)
    values = {s.name: connection.settings.get(s.name, _default(s)) for s in card.settings_on("card")}
    if "frozen" in values:
        values["frozen"] = connection.frozen_at is not None
    return values


def credential_settings(credential: Credential) -> dict[str, Any]:
    """The same for one credential."""
    card = registry.get(credential.connection.card)
    return {s.name: credential.settings.get(s.name, _default(s)) for s in card.settings_on("credential")}


def _default(setting: Setting) -> Any:
    return list(setting.default) if isinstance(setting.default, tuple) else setting.default


def effective(*, origin_id: int) -> Effective:
    """What counts for rows of this origin, and for writes to it. Reads three rows or so; ask once a batch."""
    credentials = list(
        Credential.unscoped.filter(origin_id=origin_id, state__in=LIVE).select_related("connection").order_by("id")
    )
    if not credentials:
        return Effective(origin_id)
    cards = [settings_of(c.connection) for c in credentials]
    served = [registry.get(c.connection.card) for c in credentials]
    markets = [frozenset(credential_settings(c).get("relevant_market") or ()) for c in credentials]
    syncing = [c for c, values in zip(credentials, cards, strict=True) if values.get("sync_personas")]
    since = [datetime.fromisoformat(s) for c in syncing if (s := c.connection.since.get("sync_personas"))]
    return Effective(
        origin_id=origin_id,
        markets=frozenset().union(*markets) if all(markets) else frozenset(),
        # A card without the switch (push, files) always brings edits.
        sync_personas=bool(syncing) or not all(card.serves("sync_personas") for card in served),
        sync_personas_since=min(since, default=None),
        creates=bool(syncing),
        sync_to_market=any(values.get("sync_to_market") for values in cards),
        pricing_group=next((g for values in cards if (g := values.get("pricing_group"))), ""),
        enrol_after=_earliest(values.get("enrol_after") for values in cards),
        sms_after=_earliest(values.get("sms_optin_after") for values in cards),
        points_import_on=_earliest(values.get("points_import_on") for values in cards),
        mirror=any(values.get("mirror_points") for values in cards),
        frozen=all(c.frozen_at or c.connection.frozen_at for c in credentials),
        connected=any(c.state == CredentialState.CONNECTED for c in credentials),
    )


def _earliest(days: Iterable[str | None]) -> date | None:
    return min((date.fromisoformat(day) for day in days if day), default=None)


def mirroring(*, account_id: int) -> list[Card]:
    """The cards whose balances are mirrored: the programme asks before it takes up FIFO or redeems."""
    found = Connection.unscoped.filter(account_id=account_id, settings__mirror_points=True).order_by("id")
    waiting = SettingChange.unscoped.filter(
        account_id=account_id, setting="mirror_points", after=True, state=ChangeState.APPLYING
    ).values_list("connection__card", flat=True)
    slugs = {one.card for one in found} | set(waiting)
    return [registry.get(slug) for slug in sorted(slugs) if slug in registry.CARDS]


def facts_of(
    connection: Connection, *, today: date | None = None, as_of_now: bool = False, mapped: Collection[str] = ()
) -> Facts:
    """What besides the card decides whether its settings go together. `mapped`: locations (external ids) that are
    tied to a store, which the floor above knows.
    """
    account_id = connection.account_id
    origins = list(connection.credentials(manager="unscoped").exclude(origin=None).values_list("origin", flat=True))
    places = Location.unscoped.filter(origin__in=origins).order_by("name", "external_id")
    groups = PricingGroup.unscoped.filter(origin__in=origins, deleted=False).order_by("name")
    programme = sink().programme(account_id=account_id)
    zone = ZoneInfo(connection.account.timezone)
    return Facts(
        today=today or datetime.now(zone).date(),
        engine=programme.engine,
        accrual_start=programme.accrual_start,
        locations={p.external_id: p.name or p.external_id for p in places},
        mapped=mapped,
        pricing_groups={g.external_id: g.name for g in groups},
        markets={
            m
            for c in connection.credentials(manager="unscoped").filter(state__in=LIVE)
            for m in c.settings.get("relevant_market") or ()
        },
        ever_asked="sms_optin_after" in connection.since,
        as_of_now=as_of_now,
    )


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
    Turning one off or clearing it acts on nobody and holds at once.
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
        for name, value in values.items():
            if value == before[name]:
                continue
            if name == "frozen":
                _set_frozen(connection=connection, credential=None, on=value, now=now)
                saved.changed[name] = value
            elif declared[name].people and value:
                saved.proposed[name] = _propose(connection, declared[name], before[name], value, now, user).pk
            else:
                saved.changed[name] = value
        write_settings(connection, {n: v for n, v in saved.changed.items() if n != "frozen"}, now)
        dropped = [n for n, v in saved.changed.items() if n != "frozen" and declared[n].people]
        for change in SettingChange.unscoped.filter(
            connection=connection, setting__in=dropped, state__in=OPEN_CHANGE
        ).order_by("id"):
            # Nobody is reached by a setting that does not hold: what runs ends, what stood still cannot be resumed.
            halt(change=change, now=now)
            dismiss(change=change, now=now)
        for name in dropped:
            sink().dropped(connection_id=connection.pk, setting=name, now=now)
    return saved


def write_settings(connection: Connection, values: Mapping[str, Any], now: datetime) -> None:
    """Put values in force, in the caller's transaction with the connection locked. `since`: when each was turned on."""
    if not values:
        return
    connection.settings = connection.settings | dict(values)
    for name, value in values.items():
        if value:
            connection.since[name] = now.isoformat()
    connection.save(update_fields=["settings", "since"])


def save_credential_settings(
    *, credential: Credential, given: Mapping[str, Any], now: datetime
) -> tuple[dict[str, Any], dict[str, str]]:
    """Store one credential's settings (its market). Returns (what changed, what to know). Raises `Problems`."""
    card = registry.get(credential.connection.card)
    values = read_settings(card, given, on="credential")
    with transaction.atomic():
        credential = Credential.unscoped.select_for_update().select_related("connection").get(pk=credential.pk)
        before = credential_settings(credential)
        changed = {name: value for name, value in values.items() if value != before[name]}
        if "relevant_market" in changed and not changed["relevant_market"]:
            others = credential.connection.credentials(manager="unscoped").filter(state__in=LIVE)
            if settings_of(credential.connection).get("sync_to_market") and not any(
                c.settings.get("relevant_market") for c in others.exclude(pk=credential.pk)
            ):
                raise Problems(
                    {"relevant_market": "“Sync to relevant market” is on and needs a market: turn it off first."}
                )
        if changed:
            credential.settings = credential.settings | changed
            credential.save(update_fields=["settings"])
    return changed, {}


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
    """Put a change away that is not being applied: nothing was touched, or what was done stays. False: too late."""
    with transaction.atomic():
        gone = SettingChange.unscoped.filter(
            pk=change.pk, state__in=(*WAITING_CHANGE, ChangeState.STOPPED, ChangeState.FAILED)
        ).update(state=ChangeState.DISMISSED)
        if gone:
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
        Connection.unscoped.filter(pk=connection.pk, frozen_at__isnull=on).update(frozen_at=at)
        connection.frozen_at = at
        of_these = {"stream__credential__connection": connection}
        due = StreamState.unscoped.filter(credential__connection=connection)
    if on:
        SyncRun.unscoped.filter(status__in=[RunStatus.QUEUED, RunStatus.RUNNING], **of_these).update(
            status=RunStatus.STOPPED, finished_at=Now(), lease_until=None, message="Frozen."
        )
    else:
        due.update(next_due=now)


def origin_of(*, account_id: int, platform: str, identity: str, title: str) -> Origin:
    """The origin of what is not asked for by a vendor's client: pushed calls, uploaded files."""
    found, _ = Origin.unscoped.get_or_create(
        account_id=account_id, platform=platform, identity=identity, defaults={"title": title}
    )
    return found
