"""What the floors above may ask of integrations: connect, sync, stop, and the seam through which rows come up."""

from collections.abc import Callable, Collection, Mapping
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.db import IntegrityError, OperationalError, transaction
from django.db import connection as db
from django.db.models import Count, Exists, OuterRef, Q
from django.db.models.functions import Now
from django.utils import timezone
from psycopg.errors import LockNotAvailable

from . import balances, landing, registry
from .arrivals import arrive
from .card_settings import (
    Effective,
    Saved,
    confirm,
    credential_settings,
    dismiss,
    effective,
    facts_of,
    freeze,
    go_on,
    halt,
    judged,
    mirroring,
    note_applied,
    note_counted,
    note_failed,
    origins_of,
    read_settings,
    recount,
    save_all,
    save_credential_settings,
    save_settings,
    settings_of,
    unfreeze,
)
from .chosen import LIVE
from .clients import client_for
from .erasing import OriginFigures, begin_erasing, erase_people, erase_rest, erase_sales, origin_figures, people_left
from .evidence import Evidence, never_brought, read_past
from .kit.addresses import NAMED, told_id
from .kit.card import Card, Verified
from .kit.errors import BadCredentials, TryLater, VendorError
from .kit.phones import e164, is_placeholder
from .kit.phones import email as email_of
from .kit.regions import region_of
from .models import (
    Connection,
    Credential,
    CredentialState,
    Location,
    Origin,
    RunStatus,
    StreamState,
    SyncRun,
)
from .outbox import (
    Writes,
    creating,
    dispatch_writes,
    enqueue_writes,
    forget_writes,
    give_up_writes,
    nudge_writes,
    retry_writes,
    run_writes,
)
from .outbox import standing as writes_of
from .pulling import run_slice
from .pushing import NotListening, Received, Sender, TooMany, latest_calls, receive, traffic
from .pushing import prune as prune_pushed
from .refusals import Problems, Refused
from .shaping import outside_market
from .sink import Batch, LandAgain, ProgrammeFacts, Sink, Wanted
from .sink import install as install_sink

__all__ = [
    "BadCredentials", "Batch", "Card", "Effective", "Evidence", "LIVE", "LandAgain", "NotListening",
    "OriginFigures", "Problems", "ProgrammeFacts", "Received", "Refused", "Saved", "Sender", "Sink", "TooMany",
    "TryLater", "VendorError", "Verified", "Wanted", "Writes", "arrive", "begin_erasing",
    "cards_in_use", "confirm", "connect", "creating", "credential_settings", "disconnect",
    "dismiss", "dispatch_due", "dispatch_writes", "e164", "effective", "email_of", "enqueue_run",
    "enqueue_writes", "erase_people", "erase_rest", "erase_sales", "facts_of", "forget_writes",
    "freeze", "give_up_writes", "go_on", "halt", "install_sink", "is_frozen", "is_placeholder", "judged",
    "lock_origins", "mirroring", "never_brought", "note_applied", "note_counted", "note_failed", "nudge_writes",
    "origin_figures", "origins_of", "outside_market", "people_left", "read_past", "read_settings",
    "receive", "reconnect", "recount", "region_of", "retry_writes", "run_slice", "run_writes", "save_all",
    "latest_calls", "save_credential", "save_credential_settings", "save_settings", "settings_of", "sync_now",
    "traffic", "unfreeze", "writes_of",
]  # fmt: skip

Enqueue = Callable[[int], None]
NOT_FROZEN = {"credential__frozen_at": None, "credential__connection__frozen_at": None}


# Cards and credentials


def card(slug: str) -> Card:
    """The card of that slug, or `Refused`."""
    try:
        return registry.get(slug)
    except KeyError:
        raise Refused(f"There is no card named {slug}. Cards: {', '.join(sorted(registry.CARDS))}.") from None


def cards_in_use(*, account_id: int, location_ids: Collection[int] | None = None) -> list[Card]:
    """The cards of the account that are connected; with `location_ids` only those that read one of these places."""
    live = Credential.unscoped.filter(
        account_id=account_id, state__in=[CredentialState.CONNECTED, CredentialState.PAUSED]
    )
    if location_ids is not None:
        live = live.filter(origin__locations__in=list(location_ids))
    slugs = set(live.values_list("connection__card", flat=True))
    return [registry.get(slug) for slug in sorted(slugs) if slug in registry.CARDS]


def connection_of(*, account_id: int, slug: str) -> Connection:
    """The account's use of a card, made when it is first asked for."""
    card(slug)
    made, _ = Connection.unscoped.get_or_create(account_id=account_id, card=slug)
    return made


def save_credential(
    *, connection: Connection, given: Mapping[str, str], credential: Credential | None = None
) -> Credential:
    """Store what was entered, sealed where it is secret. An empty secret keeps the stored one. Raises `Problems`."""
    values, stored = _read(connection, given, credential)
    if credential is None:
        credential = Credential(account_id=connection.account_id, connection=connection)
    if credential.secrets != stored:
        credential.secrets_at = timezone.now()
    credential.values, credential.secrets = values, stored
    credential.token = None
    _save_entered(credential)
    return credential


_ENTERED = ("values", "secrets", "secrets_at", "token")


def _save_entered(credential: Credential, *others: str) -> None:
    """Of one that is there only what was entered: it may have been frozen or set otherwise since it was loaded."""
    credential.save(update_fields=None if credential._state.adding else [*_ENTERED, *others])


def _read(
    connection: Connection, given: Mapping[str, str], credential: Credential | None
) -> tuple[dict[str, str], dict[str, str]]:
    """What was entered as (shown values, secrets), each field checked; an empty secret is the stored one."""
    shown = registry.get(connection.card)
    stored = dict(credential.secrets or {}) if credential else {}
    values: dict[str, str] = {}
    problems: dict[str, str] = {}
    for name in given:
        if name not in {f.name for f in shown.credentials}:
            problems[name] = f"{shown.title} has no field named {name}."
    for declared in shown.credentials:
        value = declared.clean(str(given.get(declared.name, "") or ""))
        if declared.secret and not value:
            value = stored.get(declared.name, "")
        if problem := declared.problem(value):
            problems[declared.name] = problem
        elif "\x00" in value:
            problems[declared.name] = f"{declared.label} has a character that cannot be stored."
        if declared.secret:
            stored[declared.name] = value
        else:
            values[declared.name] = value
    if problems:
        raise Problems(problems)
    return values, stored


def connect(*, credential: Credential, now: datetime) -> Verified:
    """Check the credential against the vendor, find its origin and locations, and start its streams.

    Raises `BadCredentials`, `TryLater` or `UnexpectedAnswer` with a sentence (kept on the credential too), and
    `Refused` when another live credential already reads the same company.
    """
    shown = registry.get(credential.connection.card)
    try:
        with client_for(credential, shown, fresh=True) as client:
            verified = shown.connect(client)
    except VendorError as error:
        # Only a refusal pauses what works: a POS that is down for a minute says nothing about the values.
        refused = isinstance(error, BadCredentials) and credential.state == CredentialState.CONNECTED
        Credential.unscoped.filter(pk=credential.pk).update(
            message=error.message,
            setting=getattr(error, "setting", ""),
            checked_at=now,
            state=CredentialState.PAUSED if refused else credential.state,
        )
        raise
    return _accept(credential, shown, verified, now)


def reconnect(*, credential: Credential, given: Mapping[str, str], now: datetime) -> Verified:
    """Try other values for a credential in use; only when the vendor accepts them do they replace the ones it has.

    Raises `Problems` by field, and what `connect` raises; then nothing has changed.
    """
    shown = registry.get(credential.connection.card)
    values, stored = _read(credential.connection, given, credential)
    if stored != credential.secrets:
        credential.secrets_at = timezone.now()
    credential.values, credential.secrets = values, stored
    with client_for(credential, shown, fresh=True) as client:
        verified = shown.connect(client)
    return _accept(credential, shown, verified, now)


def _accept(credential: Credential, shown: Card, verified: Verified, now: datetime) -> Verified:
    try:
        with transaction.atomic():
            return _connected(credential, shown, verified, now)
    except IntegrityError as error:
        if "live_credential_once" not in str(error):
            raise
        raise Refused(
            f"{verified.title} is already connected by another credential of this account.",
            field=next((f.name for f in shown.credentials if not f.secret), ""),
        ) from None


def _connected(credential: Credential, shown: Card, verified: Verified, now: datetime) -> Verified:
    origin = _origin(credential, shown, verified)
    landing.lock_origin(origin.pk)
    if origin.erased_at:
        Origin.unscoped.filter(pk=origin.pk).update(erased_at=None)
    landing.locations(account_id=credential.account_id, origin_id=origin.pk, records=verified.locations)
    if credential.origin_id not in (None, origin.pk):
        # Another company: its cursors say nothing about this one.
        _stop_runs(credential, "Another company was connected.")
        StreamState.unscoped.filter(credential=credential).update(cursor={}, first_done_at=None, read_until=None)
    credential.origin = origin
    credential.state = CredentialState.CONNECTED
    credential.message = credential.setting = ""
    credential.checked_at = now
    credential.connected_at = credential.connected_at or now
    _save_entered(credential, "origin", "state", "message", "setting", "checked_at", "connected_at")
    for stream in shown.streams:
        if stream.on_demand:
            if settings_of(credential.connection).get("mirror_points"):
                balances.ask(connection_id=credential.connection_id, continuous=True)
            balances.wake(credential)
            continue
        state, made = StreamState.unscoped.get_or_create(
            account_id=credential.account_id, credential=credential, stream=stream.name, defaults={"next_due": now}
        )
        if not made:
            StreamState.unscoped.filter(pk=state.pk).update(
                next_due=now, enabled=True, failures=0, failing_since=None, message=""
            )
    return verified


def _origin(credential: Credential, shown: Card, verified: Verified) -> Origin:
    """The origin of the company that answered, made when it is new. Raises `Refused` where an address was changed and
    nothing says that it is the same company: its customers and sales would be other ones, and be paid again."""
    known = Origin.unscoped.filter(account_id=credential.account_id, platform=shown.slug)
    kept = credential.origin
    if verified.before and not known.filter(identity=verified.identity).exists():
        # It tells its id since, at the address by which it was known: the same one.
        known.filter(identity=verified.before).update(identity=verified.identity)
        if kept:
            kept.refresh_from_db()
    if shown.address and kept and kept.identity != verified.identity:
        both_told = told_id(kept.identity) and told_id(verified.identity)
        if not both_told:
            raise Refused(
                f"This credential has read {kept.identity.removeprefix(NAMED)} until now, and what answers there does "
                f"not tell by an id of its own that it is the same company: its customers and sales would come as new "
                "ones and earn again. Ask your POS's maker to send “account” with each answer, connect once with the "
                "old address, then change it. For another company add a credential.",
                field=shown.address,
            )
    origin, _ = known.get_or_create(
        account_id=credential.account_id, platform=shown.slug, identity=verified.identity,
        defaults={"title": verified.title},
    )  # fmt: skip
    return origin


def disconnect(*, credential: Credential) -> None:
    """Stop reading and forget the secrets. Every row stays, and so do the cursors: entering them again goes on.

    Its own freeze ends with it, or nothing could connect it again; one of the whole card stays.
    """
    with transaction.atomic():
        Credential.unscoped.filter(pk=credential.pk).update(
            state=CredentialState.DISCONNECTED, secrets=None, token=None, message="", setting="", frozen_at=None
        )
        _stop_runs(credential, "Disconnected.")


def is_frozen(credential: Credential) -> bool:
    """No call is made with it, in either direction: it, or its whole card, is frozen."""
    return bool(credential.frozen_at or credential.connection.frozen_at)


def _stop_runs(credential: Credential, why: str) -> None:
    """End what is being read with this credential: a worker in the middle of a page can save nothing any more."""
    SyncRun.unscoped.filter(stream__credential=credential, status__in=[RunStatus.QUEUED, RunStatus.RUNNING]).update(
        status=RunStatus.STOPPED, finished_at=Now(), lease_until=None, message=why
    )


# Runs


def enqueue_run(*, state: StreamState, enqueue: Enqueue | None, full: bool = False, manual: bool = False) -> SyncRun:
    """The live run of a stream: a new one, handed to the queue in the same transaction, or the one there is."""
    with transaction.atomic():
        try:
            with transaction.atomic():
                run = SyncRun.unscoped.create(account_id=state.account_id, stream=state, full=full, manual=manual)
        except IntegrityError:
            return SyncRun.unscoped.get(stream=state, status__in=[RunStatus.QUEUED, RunStatus.RUNNING])
        if enqueue:
            enqueue(run.pk)
    return run


def sync_now(*, connection: Connection, enqueue: Enqueue) -> int:
    """Queue every stream of the connection's live credentials at once. Returns how many."""
    states = StreamState.unscoped.filter(
        credential__connection=connection, credential__state=CredentialState.CONNECTED, enabled=True, **NOT_FROZEN
    )
    started = 0
    for state in states:
        if _ready(state):
            enqueue_run(state=state, enqueue=enqueue, manual=True)
            started += 1
    return started


def _ready(state: StreamState) -> bool:
    """A stream waits for the first pull of those it builds on."""
    needed = registry.get(state.credential.connection.card).stream(state.stream).after
    if not needed:
        return True
    done = StreamState.unscoped.filter(
        credential_id=state.credential_id, stream__in=needed, first_done_at__isnull=False
    ).count()
    return done == len(needed)


def interval_s(stream: type, locations: int) -> int:
    """Seconds between two pulls: a service answers 1,000 calls a minute, and each location costs one."""
    if stream.interval_s > 60:
        return stream.interval_s
    return max(stream.interval_s, round(60 * locations / 800))


def dispatch_due(*, enqueue: Enqueue, limit: int = 200) -> dict[str, int]:
    """Queue what is due, and hand out again what a dead worker left. Safe to run any number of times at once."""
    with transaction.atomic():
        due = list(
            StreamState.unscoped.select_for_update(skip_locked=True, of=("self",))
            .select_related("credential__connection")
            .filter(enabled=True, next_due__lte=Now(), credential__state=CredentialState.CONNECTED, **NOT_FROZEN)
            .exclude(Exists(_live_run()))
            .order_by("next_due")[:limit]
        )
        started = 0
        places = dict(
            Location.unscoped.filter(origin__in={s.credential.origin_id for s in due}, active=True)
            .values_list("origin").annotate(Count("id"))
        )  # fmt: skip
        now = timezone.now()
        for state in due:
            stream = registry.get(state.credential.connection.card).stream(state.stream)
            wait = interval_s(stream, places.get(state.credential.origin_id, 0))
            if _ready(state):
                enqueue_run(state=state, enqueue=enqueue)
                started += 1
            else:
                wait = 2
            state.next_due = now + timedelta(seconds=wait)
        StreamState.unscoped.bulk_update(due, ["next_due"])
    with transaction.atomic():
        lost = list(
            SyncRun.unscoped.select_for_update(skip_locked=True)
            .filter(
                Q(status=RunStatus.RUNNING, lease_until__lt=Now())
                # Queued and never claimed: its task was lost, or the queue is long. Delivered twice, it runs once.
                | Q(status=RunStatus.QUEUED, queued_at__lt=Now() - timedelta(seconds=settings.SYNC_LEASE_S))
            )
            .order_by("id")[:limit]
        )
        for run in lost:
            if run.status == RunStatus.RUNNING:
                run.status, run.token, run.lease_until = RunStatus.QUEUED, "", None
                run.takeovers += 1
            run.queued_at = timezone.now()
            enqueue(run.pk)
        SyncRun.unscoped.bulk_update(lost, ["status", "token", "lease_until", "takeovers", "queued_at"])
    return {"started": started, "taken_over": len(lost)}


def _live_run():
    return SyncRun.unscoped.filter(stream=OuterRef("pk"), status__in=[RunStatus.QUEUED, RunStatus.RUNNING])


def prune(*, now: datetime, keep_days: int = 14) -> int:
    """Old runs go; the last twenty of each stream stay whatever their age."""
    with db.cursor() as cursor:
        cursor.execute(
            """DELETE FROM integrations_syncrun r WHERE r.finished_at < %s AND r.id NOT IN (
                   SELECT x.id FROM integrations_syncrun x WHERE x.stream_id = r.stream_id
                   ORDER BY x.id DESC LIMIT 20)""",
            [now - timedelta(days=keep_days)],
        )
        runs = cursor.rowcount
        cursor.execute("DELETE FROM integrations_refusedrow WHERE last_at < %s", [now - timedelta(days=90)])
    prune_pushed(now=now)
    return runs


def lock_origins(*, account_id: int, inside_a_page: bool = False) -> None:
    """Let no page of the account land before this transaction ends.

    Who becomes a member while a page is open would otherwise be paid neither by the page, which saw no member, nor by
    the enrolment, which saw no sale. `inside_a_page`: one origin is held already, so nobody is waited for; when another
    page is open, `LandAgain` (two that waited for each other's would never end).
    """
    wait = "NOWAIT" if inside_a_page else ""
    try:
        with transaction.atomic(), db.cursor() as cursor:
            cursor.execute(
                f"SELECT 1 FROM integrations_origin WHERE account_id = %s ORDER BY id FOR NO KEY UPDATE {wait}",
                [account_id],
            )
    except OperationalError as error:
        if inside_a_page and isinstance(error.__cause__, LockNotAvailable):
            raise LandAgain(account_id=account_id) from error
        raise


def stop_run(*, run_id: int) -> None:
    """End a run; what it saved stays, and the next one goes on behind it."""
    SyncRun.unscoped.filter(pk=run_id, status__in=[RunStatus.QUEUED, RunStatus.RUNNING]).update(
        status=RunStatus.STOPPED, finished_at=Now(), lease_until=None, message="Stopped."
    )


def same_credential(*, connection: Connection, given: Mapping[str, Any]) -> Credential | None:
    """The credential that these values mean when they are entered again: same company, or the only draft."""
    fields = registry.get(connection.card).credentials
    for credential in Credential.unscoped.filter(connection=connection).order_by("-id"):
        # Without a field there is nothing to tell two apart by: there is one.
        if not fields or credential.values.get(fields[0].name) == fields[0].clean(str(given.get(fields[0].name) or "")):
            return credential
    return None


def keep_draft(
    *, connection: Connection, given: Mapping[str, Any], credential: Credential | None = None
) -> Credential | None:
    """Keep what was typed although some of it is wrong, sealed where it is secret: nobody types a secret twice.

    What a connected credential works with is not touched.
    """
    if credential and credential.state in (CredentialState.CONNECTED, CredentialState.PAUSED):
        return credential
    typed = {
        declared: value
        for declared in registry.get(connection.card).credentials
        if (value := str(given.get(declared.name, "") or "").strip())
        and "\x00" not in value
        and len(value) <= getattr(declared, "longest", 500)
    }
    if credential is None and not typed:
        return None
    credential = credential or Credential(account_id=connection.account_id, connection=connection)
    credential.values = {f.name: value for f, value in typed.items() if not f.secret}
    fresh = {f.name: value for f, value in typed.items() if f.secret}
    credential.secrets = {**(credential.secrets or {}), **fresh}
    if fresh:
        credential.secrets_at = timezone.now()
    credential.token = None
    _save_entered(credential)
    return credential
