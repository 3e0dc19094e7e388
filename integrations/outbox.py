"""Outbound writes: rows saved beside what caused them, sent afterwards, each made once.

The dispatcher claims what is due with SKIP LOCKED, under a token and a lease, and hands it out; a worker sends it, one
write after the other. At every try it looks before it creates. That a create is about to go out is saved before
(`asked_at`); when its answer was not, the next try waits until the vendor has certainly ended it, looks, and only when
nothing is there asks again. What came of a create is saved in one transaction with the customer it made.

Where the vendor's writer completes, who is found gets what he lacks, in the same order of work: saved before it goes
out, and read again at every try, so that nothing is added twice.
"""

import logging
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import uuid4

import psycopg
from django.conf import settings
from django.db import DatabaseError, transaction
from django.db.models import Count, Exists, F, OuterRef, Q
from django.db.models.functions import Least, Now
from django.utils import timezone

from . import arrivals, card_settings, landing, registry
from .clients import client_for
from .kit.card import Card
from .kit.client import Client
from .kit.errors import BadCredentials, BadRow, Frozen, NotFound, TryLater, VendorError
from .kit.records import CustomerRecord
from .kit.writers import WriteContext, Writer
from .models import (
    Connection,
    Credential,
    CredentialState,
    Customer,
    OutboundWrite,
    PricingGroup,
    StreamState,
    WriteState,
)
from .pulling import OWN_FAULT_BACK_OFF_S, RENEW_S, back_off_s, kind_of
from .refusals import Refused
from .sink import sink

log = logging.getLogger(__name__)

BATCH = 20  # of one origin, handed out together; more are handed out when these are through
MAX_TRIES = 12  # some four hours of back-off: then somebody is asked
HELD_S = 86_400  # how long what the shopper lacks is waited for before it is looked at again
CLOSED_S = 60  # the same for what the card lacks
OPEN = (WriteState.WAITING, WriteState.SENDING, WriteState.FAILED)  # a later write of the same subject waits for these
DUE = (WriteState.WAITING, WriteState.SENDING)
STREAM = "customers"

HandOut = Callable[[int, str], None]  # origin, token


class LostLease(Exception):
    """The write is somebody else's by now, or was taken back: save nothing."""


# Putting in


def creating(*, account_id: int, now: datetime) -> dict[int, bool]:
    """The origins in which shoppers who sign up at this moment are to be created, in order.

    True: who is there already gets what he lacks, so he is put in as well.
    """
    found = Credential.unscoped.filter(
        account_id=account_id, state__in=card_settings.LIVE, connection__settings__sync_personas=True
    ).values_list("origin_id", "connection__card", "connection__since")
    return {
        origin: writer.completes
        for origin, slug, since in sorted(found, key=lambda one: one[0] or 0)
        if origin
        and slug in registry.CARDS
        and (writer := next((w for w in registry.get(slug).writers if w.name == "customer"), None))
        and (not since.get("sync_personas") or datetime.fromisoformat(since["sync_personas"]) <= now)
    }


def enqueue_writes(*, account_id: int, origin_id: int, writer: str, subjects: Mapping[str, str], now: datetime) -> None:
    """Put writes in, in the caller's transaction: `subjects` by their key. A key that is known is not put in again."""
    OutboundWrite.unscoped.bulk_create(
        (
            OutboundWrite(
                account_id=account_id, origin_id=origin_id, writer=writer, key=key, subject=subject,
                next_try_at=now, created_at=now,
            )
            for key, subject in subjects.items()
        ),
        ignore_conflicts=True,
    )  # fmt: skip


def nudge_writes(*, account_id: int, subjects: Collection[str]) -> int:
    """What these lacked may be there now: look at what waits for them at once."""
    return OutboundWrite.unscoped.filter(
        account_id=account_id, subject__in=list(subjects), state=WriteState.WAITING, asked_at=None, attempts=0
    ).update(next_try_at=Least(F("next_try_at"), Now()))


def forget_writes(*, account_id: int, subjects: Collection[str]) -> None:
    """The subjects are removed: what waits is not sent, and nothing tells any more who it was about."""
    mine = OutboundWrite.unscoped.filter(account_id=account_id, subject__in=list(subjects))
    mine.filter(state__in=OPEN).update(state=WriteState.NOT_NEEDED, ended_at=Now())
    mine.update(payload={}, message="", external_id="", token="", lease_until=None)


# Handing out


def dispatch_writes(*, enqueue: HandOut) -> int:
    """Claim what is due and hand it out, a batch an origin. Safe to run any number of times at once."""
    handed = 0
    for credential in _ready():
        with transaction.atomic():
            token = uuid4().hex
            if _claim(credential.origin_id, _writers(credential), token):
                enqueue(credential.origin_id, token)
                handed += 1
    return handed


def _ready() -> list[Credential]:
    """Connected, not frozen, not backing off, nothing in flight, something due that its settings allow."""
    mine = OutboundWrite.unscoped.filter(origin=OuterRef("origin"))
    found = (
        Credential.unscoped.select_related("connection", "account")
        .filter(state=CredentialState.CONNECTED, frozen_at=None, connection__frozen_at=None)
        .filter(Q(writes_after=None) | Q(writes_after__lte=Now()))
        .filter(Exists(mine.filter(state__in=DUE, next_try_at__lte=Now())))
        .exclude(Exists(mine.filter(state=WriteState.SENDING, lease_until__gt=Now())))
        .order_by("pk")
    )
    return [credential for credential in found if _writers(credential) and not _closed(credential)]


def _writers(credential: Credential) -> list[str]:
    """The card's writers whose switch is on."""
    card = registry.get(credential.connection.card)
    chosen = card_settings.settings_of(credential.connection)
    return [writer.name for writer in card.writers if not writer.setting or chosen.get(writer.setting)]


def _closed(credential: Credential) -> bool:
    """Whether something must come first; the card says what."""
    if why := _must_come_first(credential):
        _rest(credential, CLOSED_S, why)
    return bool(why)


def _must_come_first(credential: Credential) -> str:
    card = registry.get(credential.connection.card)
    streams = {name for writer in card.writers for name in writer.after}
    done = StreamState.unscoped.filter(
        credential=credential, stream__in=streams, first_done_at__isnull=False
    ).values_list("stream", flat=True)
    if missing := streams - set(done):
        titles = ", ".join(sorted(card.stream(name).title.lower() for name in missing))
        return f"The first sync is not finished: {titles} must be read once, so that nobody is created twice."
    if group := card_settings.settings_of(credential.connection).get("pricing_group"):
        gone = PricingGroup.unscoped.filter(origin=credential.origin_id, external_id=group, deleted=True).first()
        if gone:
            return (
                f"The pricing group {gone.name or group} was removed in {card.title}. Choose another under Settings; "
                "until then nobody is created."
            )
    return ""


def _rest(credential: Credential, seconds: float, why: str, *, failed: bool = False) -> None:
    """Nothing goes out to this vendor for a while."""
    Credential.unscoped.filter(pk=credential.pk).update(
        writes_after=Now() + timedelta(seconds=seconds), writes_message=why,
        writes_failed=F("writes_failed") + 1 if failed else F("writes_failed"),
    )  # fmt: skip


def _claim(origin_id: int, writers: Sequence[str], token: str) -> int:
    """Take what is due, on the database's clock, the first of each subject. Returns how many."""
    earlier = OutboundWrite.unscoped.filter(
        origin=OuterRef("origin"), subject=OuterRef("subject"), pk__lt=OuterRef("pk"), state__in=OPEN
    )
    with transaction.atomic():
        due = list(
            OutboundWrite.unscoped.select_for_update(skip_locked=True)
            .filter(origin=origin_id, writer__in=writers, state__in=DUE, next_try_at__lte=Now())
            .exclude(Exists(earlier))
            .order_by("next_try_at", "pk")
            .values_list("pk", flat=True)[:BATCH]
        )
        return OutboundWrite.unscoped.filter(pk__in=due).update(state=WriteState.SENDING, token=token, **_lease())


def _lease() -> dict[str, Any]:
    until = Now() + timedelta(seconds=settings.SYNC_LEASE_S)
    return {"lease_until": until, "next_try_at": until}


# Sending


def run_writes(*, origin_id: int, token: str, slice_s: float | None = None) -> int:
    """Send a batch that was handed out, for one slice. Delivered twice, it runs once. Returns how many were ended."""
    own = uuid4().hex
    if not OutboundWrite.unscoped.filter(origin=origin_id, token=token, state=WriteState.SENDING).update(
        token=own, **_lease()
    ):
        return 0
    batch = Batch(origin_id, own, settings.SYNC_SLICE_S if slice_s is None else slice_s)
    batch.work()
    return batch.ended


class _Failed(Exception):
    """The vendor is at fault: the batch ends here."""

    def __init__(self, error: VendorError) -> None:
        super().__init__(error.message)
        self.error = error


class Batch:
    """Writes of one origin that were claimed together."""

    def __init__(self, origin_id: int, token: str, slice_s: float) -> None:
        self.origin_id = origin_id
        self.token = token
        self.deadline = time.monotonic() + slice_s
        self.ended = 0
        self.renewed = time.monotonic()
        self.careful: int | None = (
            None  # the write whose create is about to go out: its lease is asked before each call
        )

    def work(self) -> None:
        credential = (
            Credential.unscoped.select_related("connection", "account", "origin")
            .filter(origin=self.origin_id, state=CredentialState.CONNECTED)
            .first()
        )
        if credential is None:
            self._release()
            return
        self.credential = credential
        if not credential.writes_failed:
            self._answered()  # what had to come first is there
        self.card: Card = registry.get(credential.connection.card)
        self.chosen = self._chosen(credential)
        self.settings = self.chosen[0]
        mine = self._mine().order_by("pk")
        try:
            with client_for(credential, self.card) as client:
                self.client: Client = client
                client.before_call = self._before_call
                for write in list(mine):
                    if time.monotonic() > self.deadline:
                        break
                    self._one(write)
        except Frozen:
            pass  # said on the card; nothing was tried
        except LostLease:
            log.info("a batch of writes to origin %s was taken over", self.origin_id)
        except _Failed as failed:
            self._back_off(failed.error)
        self._release()

    def _mine(self):
        return OutboundWrite.unscoped.filter(origin=self.origin_id, token=self.token, state=WriteState.SENDING)

    def _release(self) -> None:
        """What was not reached waits for the next batch."""
        self._mine().update(state=WriteState.WAITING, token="", lease_until=None, next_try_at=Now())

    def _before_call(self) -> None:
        """The lease is kept, and a card that was frozen, disconnected or switched off meanwhile is asked nothing."""
        if self.careful is None and time.monotonic() - self.renewed <= RENEW_S:
            self._look_at_card()
            return
        kept = self._mine().update(**_lease())
        self.renewed = time.monotonic()
        if not kept or (self.careful and not self._mine().filter(pk=self.careful).exists()):
            raise LostLease
        self._look_at_card()

    def _look_at_card(self) -> None:
        """As it stands now, in one statement: a batch in the middle follows no choice that does not hold any more."""
        live = (
            Credential.unscoped.filter(
                pk=self.credential.pk, state=CredentialState.CONNECTED, frozen_at=None, connection__frozen_at=None
            )
            .select_related("connection")
            .defer("secrets", "token")
            .first()
        )
        if live is None:
            raise Frozen(f"{self.card.title} was frozen or disconnected.")
        if self._chosen(live) != self.chosen:
            raise Frozen(f"The settings of {self.card.title} were changed.")

    @staticmethod
    def _chosen(credential: Credential) -> tuple[dict[str, Any], dict[str, Any]]:
        """What the writes of this batch are judged and made by."""
        return card_settings.settings_of(credential.connection), card_settings.credential_settings(credential)

    def _one(self, write: OutboundWrite) -> None:
        now = timezone.now()
        writer = self.card.writer(write.writer)
        try:
            wanted = sink().wanted_in_pos(write_id=write.pk, now=now)
            if wanted.unneeded:
                self._end(write, WriteState.NOT_NEEDED, message=wanted.unneeded)
            elif wanted.found and wanted.payload and writer.completes and _was_completing(write) is not False:
                self._complete(write, writer, wanted.found, wanted.payload, now, ours=True)
            elif wanted.found:
                self._end(write, WriteState.FOUND, external_id=wanted.found)
            elif wanted.held:
                self._wait(write, HELD_S, wanted.held)
            elif _was_completing(write):
                self._complete(write, writer, write.external_id, dict(wanted.payload or {}), now)
            else:
                # What was asked for is looked for as it was asked for.
                self._make(write, writer, write.payload if write.asked_at else dict(wanted.payload or {}), now)
        except (LostLease, Frozen, _Failed, DatabaseError, psycopg.Error):
            raise
        except Refused as refused:  # what the source brought is being erased: nothing can be saved, so nothing is sent
            self._wait(write, CLOSED_S, refused.message)
            raise Frozen(refused.message) from refused
        except BadRow as bad:
            self._give_back(write, WriteState.FAILED, message=bad.reason, asked_at=None, payload={}, external_id="")
        except BadCredentials as error:
            # What it means for the credential the next pull finds out; here nothing was tried.
            self._wait(write, back_off_s(2), error.message)
            raise _Failed(error) from error
        except VendorError as error:
            self._try_again(write, error)
            raise _Failed(error) from error
        except Exception as error:  # a mistake of ours must not stop the others
            log.error("write %s failed: %s", write.pk, kind_of(error))
            self._try_again(write, None)

    def _make(self, write: OutboundWrite, writer: type[Writer], payload: Mapping[str, Any], now: datetime) -> None:
        if self._too_early(write, now):
            return
        asked, context = write.asked_at, self._context(write, now)
        if asked and (own := writer.find_own(self.client, payload, context)):
            self._created(write, own, writer.read(self.client, own, context), now)
        elif found := writer.find(self.client, payload, context):
            if writer.completes and not asked:
                self._complete(write, writer, found, payload, now)
            else:
                self._end(write, WriteState.SENT if asked else WriteState.FOUND, external_id=found)
        else:
            record = self._create(write, writer, payload, context)
            self._created(write, record.external_id, record, now)
        self._answered()

    def _too_early(self, write: OutboundWrite, now: datetime) -> bool:
        """Whether the vendor may still be at work on what an earlier try asked for: then it waits."""
        asked = write.asked_at
        left = (asked - now).total_seconds() + settings.WRITE_GRACE_S if asked else 0
        if left > 0:
            self._wait(
                write, left, "The answer to the last try was lost; it is looked for before anything is sent again."
            )
        return left > 0

    def _context(self, write: OutboundWrite, now: datetime) -> WriteContext:
        return WriteContext(
            now=now, identity=self.credential.origin.identity, key=write.key, settings=self.settings,
            region=self.credential.account.country, asked_at=write.asked_at,
        )  # fmt: skip

    def _complete(
        self, write: OutboundWrite, writer: type[Writer], external_id: str, payload: Mapping[str, Any], now: datetime,
        *, ours: bool = False,
    ) -> None:  # fmt: skip
        """Add what the record lacks. That something goes out, and to whom, is saved before: the next try waits as
        after a create, reads again and adds only what is still missing, as the shopper is then. `ours`: we have the
        record, so it is not looked for when it is gone."""
        if self._too_early(write, now):
            return
        context = self._context(write, now)
        if (
            not self._mine()
            .filter(pk=write.pk)
            .update(asked_at=timezone.now(), external_id=external_id, payload={}, **_lease())
        ):
            raise LostLease
        calls, self.careful = self.client.calls, write.pk
        record, gone = None, False
        try:
            record = writer.complete(self.client, external_id, payload, context)
        except NotFound:
            gone = True
        except Exception as error:
            # What was answered before it is read again; only what was not heard is waited for.
            if self.client.calls == calls or _never_acted(error):
                write.asked_at, write.external_id = None, ""
                self._mine().filter(pk=write.pk).update(asked_at=None, external_id="")
            raise
        finally:
            self.careful = None
        if gone and not ours:
            self._mine().filter(pk=write.pk).update(asked_at=None, external_id="")
            self._wait(
                write, CLOSED_S, f"Who was found in {self.card.title} is not there any more; he is looked for again."
            )
        elif record is None:
            self._end(write, WriteState.FOUND, external_id=external_id)
        else:
            self._created(write, external_id, record, now, found=True)
        self._answered()

    def _create(
        self, write: OutboundWrite, writer: type[Writer], payload: Mapping[str, Any], context: WriteContext
    ) -> CustomerRecord:
        """The create itself; that it goes out is saved before it does."""
        now = timezone.now()
        if not self._mine().filter(pk=write.pk).update(asked_at=now, payload=payload, **_lease()):
            raise LostLease
        write.asked_at = now
        calls, self.careful = self.client.calls, write.pk
        try:
            return writer.create(self.client, payload, context)
        except Exception as error:
            if self.client.calls == calls or _never_acted(error):
                write.asked_at = None
                self._mine().filter(pk=write.pk).update(asked_at=None, payload={})
            raise
        finally:
            self.careful = None

    def _created(
        self, write: OutboundWrite, external_id: str, record: CustomerRecord | None, now: datetime, *,
        found: bool = False,
    ) -> None:  # fmt: skip
        """Sent, landed and whose it is: together, or not at all. `found`: it was there and is completed, so it comes in
        as any record does; whose it is matching says, and the market whether it is wanted here."""
        state = WriteState.FOUND if found else WriteState.SENT

        def save(record: CustomerRecord | None) -> None:
            landing.lock_origin(self.origin_id)  # before the write's row: erasures come this way round
            self._close(write, state, external_id=external_id)
            if record is not None:
                arrivals.arrive(
                    account_id=write.account_id, origin_id=self.origin_id, stream=STREAM, record=CustomerRecord,
                    records=[record], refused=[], now=now, region=self.credential.account.country,
                    first=None if found else lambda: self._delivered(write, external_id, now), shaped=found,
                )  # fmt: skip

        try:
            arrivals.in_one_go(lambda: save(record))
        except arrivals.UNFIT:
            arrivals.in_one_go(lambda: save(None))  # the next sync brings it, and refuses what cannot be kept
        self.ended += 1

    def _delivered(self, write: OutboundWrite, external_id: str, now: datetime) -> None:
        mine = Customer.unscoped.filter(origin=self.origin_id, external_id=external_id, erased_at=None)
        if customer_id := mine.values_list("pk", flat=True).first():
            sink().delivered(write_id=write.pk, customer_id=customer_id, now=now)

    def _answered(self) -> None:
        if self.credential.writes_failed or self.credential.writes_message:
            self.credential.writes_failed, self.credential.writes_message = 0, ""
            Credential.unscoped.filter(pk=self.credential.pk).update(
                writes_failed=0, writes_message="", writes_after=None
            )

    # What becomes of a write

    def _close(self, write: OutboundWrite, state: str, **changes: Any) -> None:
        ours = self._mine().filter(pk=write.pk).update(
            state=state, ended_at=Now(), payload={}, token="", lease_until=None, asked_at=None,
            **{"message": ""} | changes,
        )  # fmt: skip
        if not ours:
            raise LostLease

    def _end(self, write: OutboundWrite, state: str, **changes: Any) -> None:
        self._close(write, state, **changes)
        self.ended += 1

    def _give_back(self, write: OutboundWrite, state: str, **changes: Any) -> None:
        """Out of this batch: it waits, or it failed."""
        if not self._mine().filter(pk=write.pk).update(state=state, token="", lease_until=None, **changes):
            raise LostLease

    def _wait(self, write: OutboundWrite, seconds: float, message: str) -> None:
        """Not now; no try is counted."""
        self._give_back(
            write, WriteState.WAITING, message=message, next_try_at=Now() + timedelta(seconds=max(seconds, 1))
        )

    def _try_again(self, write: OutboundWrite, error: VendorError | None) -> None:
        """Once more, later. A try that the vendor only put off is not counted."""
        message = error.message if error else "An error on our side; it has been logged."
        put_off = error.after_s if isinstance(error, TryLater) else None
        tries = write.attempts + (put_off is None)
        wait = put_off if put_off is not None else back_off_s(tries - 1)
        if error is None:
            wait = OWN_FAULT_BACK_OFF_S
        if tries >= MAX_TRIES:
            self._give_back(write, WriteState.FAILED, attempts=tries, message=f"{message} Tried {tries} times.")
            return
        self._give_back(
            write, WriteState.WAITING, attempts=tries, message=message,
            next_try_at=Now() + timedelta(seconds=max(wait, 1)),
        )  # fmt: skip

    def _back_off(self, error: VendorError) -> None:
        wait = error.after_s if isinstance(error, TryLater) else None
        if wait is None:
            wait = back_off_s(self.credential.writes_failed)
        _rest(self.credential, max(wait, 1), error.message, failed=True)


def _was_completing(write: OutboundWrite) -> bool | None:
    """What an earlier try was at whose answer was not heard: adding to a record (True), or creating one (False)."""
    return bool(write.external_id) if write.asked_at else None


def _never_acted(error: Exception) -> bool:
    """Answers after which nothing was created for certain; after all others it may have been."""
    return isinstance(error, BadRow | BadCredentials | NotFound | Frozen | LostLease) or (
        isinstance(error, TryLater) and error.detail.endswith("HTTP 429")
    )


# By hand


def retry_writes(*, connection: Connection, ids: Collection[int] | None = None) -> int:
    """Try failed writes of the connection's origins again, some or all. Returns how many."""
    return _failed_of(connection, ids).update(
        state=WriteState.WAITING, attempts=0, message="", next_try_at=Now(), ended_at=None
    )


def give_up_writes(*, connection: Connection, ids: Collection[int] | None = None) -> int:
    """Put failed writes away for good, some or all; why they failed stays. Returns how many."""
    return _failed_of(connection, ids).update(state=WriteState.GIVEN_UP, payload={}, ended_at=Now())


def _failed_of(connection: Connection, ids: Collection[int] | None):
    origins = Credential.unscoped.filter(connection=connection, origin__isnull=False).values("origin")
    failed = OutboundWrite.unscoped.filter(
        account_id=connection.account_id, origin__in=origins, state=WriteState.FAILED
    )
    return failed if ids is None else failed.filter(pk__in=list(ids))


@dataclass(frozen=True)
class Writes:
    """How the writes of a connection stand. `reasons`: why some wait, and how many; `closed`: why all do."""

    counts: Mapping[str, int]
    reasons: Sequence[tuple[str, int]]
    closed: str
    last: OutboundWrite | None  # created last


def standing(*, connection: Connection) -> Writes:
    """For the card."""
    credentials = list(
        Credential.unscoped.select_related("connection").filter(connection=connection, origin__isnull=False)
    )
    mine = OutboundWrite.unscoped.filter(origin__in={c.origin_id for c in credentials})
    counts = dict(mine.order_by().values_list("state").annotate(Count("pk")))
    waiting = mine.filter(state=WriteState.WAITING).exclude(message="")
    reasons = list(waiting.order_by().values_list("message").annotate(number=Count("pk")).order_by("-number")[:5])
    return Writes(
        counts=counts,
        reasons=reasons,
        closed=_why_closed(connection, credentials),
        last=mine.filter(state=WriteState.SENT).order_by("-ended_at", "-pk").first() if counts.get("sent") else None,
    )


def _why_closed(connection: Connection, credentials: Sequence[Credential]) -> str:
    title = registry.get(connection.card).title
    live = [c for c in credentials if c.state in card_settings.LIVE]
    if not live:
        return f"{title} is not connected. Nothing is sent, and nothing that waits is lost."
    if connection.frozen_at or all(c.frozen_at for c in live):
        return f"{title} is frozen (“Use last backup”). Nothing is sent until that is turned off."
    if all(c.state == CredentialState.PAUSED for c in live):
        return f"{title} refuses the log-in. Nothing is sent until its credential works again."
    if not any(_writers(c) for c in live):
        return "“Sync Personas” is off. Nothing is sent, and nobody new is put here."
    for c in live:
        if c.writes_message:
            return c.writes_message + (" It is tried again by itself; nothing is lost." if c.writes_failed else "")
    return ""
