"""One slice of one run: pull pages, land them, hand them to the sink, save the cursor; all of a page or none of it.

A run is a row. Whoever claims it holds a token and a lease that each page renews; a page is saved only while the token
is still his, so that a worker that was taken for dead can write nothing any more.
"""

import contextlib
import logging
import time
import traceback
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any
from uuid import uuid4

import psycopg
from django.conf import settings
from django.db import DatabaseError, transaction
from django.db.models import F, Q
from django.db.models.functions import Least, Now
from django.utils import timezone

from aiqsync.accounts.models import Account

from . import arrivals, balances, chosen, landing, registry
from .clients import client_for
from .kit.card import Card
from .kit.errors import (
    BadCredentials,
    BadRow,
    Frozen,
    NoPermission,
    NotFound,
    TryLater,
    UnexpectedAnswer,
    VendorError,
)
from .kit.records import SaleRecord
from .kit.streams import Context, Page, Stream
from .models import Credential, CredentialState, RunStatus, StreamState, SyncRun
from .refusals import Refused
from .sink import sink
from .words import Words

log = logging.getLogger(__name__)

MAX_ATTEMPTS = 5  # deliveries in a row that saved nothing: then the run is given up, with a sentence
DETAILS_IN_A_PART = 60  # single calls between two commits, so that a lease never ends inside a part
RENEW_S = 5
# The vendor's pages are small (Cova: 100 customers); a transaction for each would cost more than its rows. So pages are
# gathered and landed with the cursor of the last: that is right for all of them, and a kill repeats a second's work.
ROWS_TOGETHER = 500
SECONDS_TOGETHER = 1.0
OWN_FAULT_BACK_OFF_S = 900
WITHOUT_PERMISSION_S = 3600


class LostLease(Exception):
    """Another delivery has this run: write nothing, return quietly."""


def claim(run_id: int) -> str | None:
    """Take the run, on the database's clock. None: somebody else has it, or it is over."""
    token = uuid4().hex
    free = Q(status=RunStatus.QUEUED) | Q(status=RunStatus.RUNNING, lease_until__lt=Now())
    won = (
        SyncRun.unscoped.filter(free, pk=run_id)
        .update(
            status=RunStatus.RUNNING,
            token=token,
            attempts=F("attempts") + 1,
            lease_until=Now() + timedelta(seconds=settings.SYNC_LEASE_S),
        )
    )  # fmt: skip
    return token if won else None


def _renew(run: SyncRun, token: str, **changes: Any) -> None:
    kept = SyncRun.unscoped.filter(pk=run.pk, token=token, status=RunStatus.RUNNING).update(
        lease_until=Now() + timedelta(seconds=settings.SYNC_LEASE_S), **changes
    )
    if not kept:
        raise LostLease


class Pull:
    """One claimed run being worked on."""

    def __init__(self, run: SyncRun, token: str, deadline: float, report: Callable[[SyncRun], None] | None) -> None:
        self.run = run
        self.token = token
        self.deadline = deadline
        self.report = report
        self.state: StreamState = run.stream
        self.credential: Credential = self.state.credential
        self.account: Account = run.account
        self.card: Card = registry.get(self.credential.connection.card)
        self.stream: type[Stream] = self.card.stream(self.state.stream)
        self.seconds: dict[str, float] = dict(run.seconds)
        self.renewed = time.monotonic()
        self.calls_before = run.calls
        origin = self.credential.origin
        self.spared_told = 0  # of the client's count
        self.spared: set[str] = set()  # sales whose details were not asked for because of a setting
        settled = chosen.settings_of(self.credential.connection)
        places = origin.locations(manager="unscoped").filter(active=True)
        if self.stream.record is SaleRecord and (only := settled.get("restrict_locations")):
            places = places.filter(external_id__in=only)
        self.context = Context(
            now=timezone.now(),
            identity=origin.identity,
            locations=tuple(places.values_list("external_id", flat=True)) if self.stream.per_location else (),
            settings=settled,
            markets=tuple(chosen.credential_settings(self.credential).get("relevant_market") or ()),
            history_days=settings.HISTORY_DAYS,
            region=self.account.country,
            currency=self.account.currency,
            singles=balances.asked(origin_id=origin.pk, now=timezone.now()) if self.stream.on_demand else None,
            words=Words(origin.pk),
        )

    def _keep_lease(self) -> None:
        """Before each call to the vendor: slow answers must not look like a dead worker."""
        if time.monotonic() - self.renewed > RENEW_S:
            _renew(self.run, self.token)
            self.renewed = time.monotonic()
        elif not SyncRun.unscoped.filter(pk=self.run.pk, token=self.token, status=RunStatus.RUNNING).exists():
            # Frozen, disconnected or stopped meanwhile: not one call more. A look by the key costs a hundredth of one.
            raise LostLease

    def _timed(self, what: str, started: float) -> None:
        self.seconds[what] = round(self.seconds.get(what, 0.0) + time.monotonic() - started, 3)

    def work(self) -> bool:
        """Pull until the stream is read or the slice is over. True: the stream is read."""
        with client_for(self.credential, self.card) as client, contextlib.ExitStack() as ending:
            self.client = client
            client.before_call = self._keep_lease
            cursor = self.state.cursor
            pages = self.stream.pages.walk(client, self.stream, self.context, cursor)
            ending.callback(pages.close)  # who reads in lanes ends them before the client closes
            gathered: list[Page] = []
            first = 0.0
            while True:
                started = time.monotonic()
                try:
                    page = next(pages, None)
                except VendorError:
                    # What was gathered before is good: another location's failure must not lose it.
                    if gathered:
                        self._page(_together(gathered), len(gathered))
                    raise
                self._timed("fetch", started)
                if page is not None:
                    first = first if gathered else started
                    gathered.append(page)
                    rows = sum(len(p.rows) for p in gathered)
                    if rows < ROWS_TOGETHER and time.monotonic() - first < SECONDS_TOGETHER:
                        continue
                if gathered:
                    self._page(_together(gathered), len(gathered))
                    gathered = []
                if page is None:
                    return True
                if time.monotonic() > self.deadline:
                    return False

    def _page(self, page: Page, count: int) -> None:
        started = time.monotonic()
        records, refused = self._parse(page.rows)
        self._bad = {external_id for _, external_id, *_ in refused}
        self._timed("parse", started)
        parts = self._in_parts(records)
        for number, part in enumerate(parts, 1):
            last = number == len(parts)
            started = time.monotonic()
            part, refused_details = self._with_details(part)
            self._timed("details", started)
            refused += refused_details
            self._save(part, refused if last else [], page if last else None, count)
            if not last and time.monotonic() > self.deadline + 10:
                raise OutOfTime

    def _parse(self, rows: list[Any]) -> tuple[list[Any], list[tuple[str, str, str, str]]]:
        records, refused = [], []
        for row in rows:
            try:
                records.append(self.stream.parse(row, self.context))
            except BadRow as bad:
                refused.append(self._refusal(row, bad.reason, bad.external_id))
        return records, refused

    def _refusal(self, row: Any, reason: str, external_id: str = "") -> arrivals.Refusal:
        external_id = external_id or self.stream.row_id(row)
        return arrivals.refusal(row, reason, external_id=external_id, redact=self.card.redact)

    def _in_parts(self, records: list[Any]) -> list[list[Any]]:
        """Parts with a bounded number of single calls each: what is landed is not asked for again after a stop."""
        self._wanted = self._details_wanted(records)
        if len(self._wanted) <= DETAILS_IN_A_PART:
            return [records]
        parts, part, calls = [], [], 0
        for record in records:
            part.append(record)
            calls += record.external_id in self._wanted
            if calls == DETAILS_IN_A_PART:
                parts.append(part)
                part, calls = [], 0
        if part:
            parts.append(part)
        return parts

    def _details_wanted(self, records: list[Any]) -> set[str]:
        if self.stream.record is not SaleRecord or not records or not self.stream.tells_details():
            return set()
        customers = {r.customer_id for r in records if r.customer_id}
        asked = sink().wants_details(
            origin_id=self.credential.origin_id, customers=customers, locations=self.context.locations, since=None
        )
        wanted = {
            r.external_id for r in records if r.customer_id in asked or self.stream.details_reason(r, self.context)
        }
        if self.context.settings.get("skip_payment_method"):
            full = replace(self.context, settings={**self.context.settings, "skip_payment_method": False})
            self.spared = {r.external_id for r in records if self.stream.details_reason(r, full)} - wanted
        stored = landing.sales_with_details(
            origin_id=self.credential.origin_id, external_ids=[r.external_id for r in records]
        )
        same = {r.external_id for r in records if stored.get(r.external_id) == r.total_cents}
        # A sale that was completed by its details and has changed is completed anew: the feed's row alone would wipe
        # what only they tell, and a discount that an edit took away would not be missed.
        return (wanted | stored.keys()) - same

    def _with_details(self, records: list[Any]) -> tuple[list[Any], list[tuple[str, str, str, str]]]:
        refused: list[tuple[str, str, str, str]] = []
        if not self._wanted:
            return records, refused
        complete = []
        for record in records:
            if record.external_id in self._wanted:
                try:
                    record = self.stream.fetch_details(self.client, record, self.context)
                except NotFound:
                    pass  # the feed's row stands: the details of this sale do not exist
                except BadRow as bad:
                    self._bad.add(record.external_id)
                    refused.append(
                        self._refusal({"Id": record.external_id}, f"Details: {bad.reason}", record.external_id)
                    )
            complete.append(record)
        return complete, refused

    def _save(self, records: list[Any], refused: list, page: Page | None, count: int) -> None:
        """A part of a page; a row that the database cannot hold is found and refused, the others land."""
        try:
            self._save_together(records, refused, page, count)
        except arrivals.UNFIT:
            for record in records:
                try:
                    self._save_together([record], [], None, 0)
                except arrivals.UNFIT:
                    self._bad.add(record.external_id)
                    row = {"Id": record.external_id}
                    refused = [*refused, self._refusal(row, arrivals.OUT_OF_BOUNDS, record.external_id)]
            self._save_together([], refused, page, count)

    def _save_together(self, records: list[Any], refused: list, page: Page | None, count: int) -> None:
        """One part of a page, in one transaction with the proof that the run is still ours."""

        def save() -> None:
            landed = arrivals.arrive(
                account_id=self.account.pk, origin_id=self.credential.origin_id, stream=self.stream.name,
                record=self.stream.record, records=records, refused=refused, now=timezone.now(),
                region=self.account.country, bad=self._bad, seconds=self.seconds,
            )  # fmt: skip
            self._save_progress(landed, len(records), len(refused), page, count)

        arrivals.in_one_go(save)
        self.renewed = time.monotonic()
        if self.report:
            self.report(self.run)

    def count_spared(self) -> None:
        """What the client was spared since the last time."""
        spared = getattr(self.client, "spared", 0)
        self.run.calls_spared += spared - self.spared_told
        self.spared_told = spared

    def _save_progress(self, landed: landing.Landed, read: int, refused: int, page: Page | None, count: int) -> None:
        run = self.run
        run.rows_read += read + refused
        run.rows_new += len(landed.new)
        run.rows_changed += len(landed.changed)
        run.rows_unchanged += landed.unchanged
        run.rows_refused += refused
        run.rows_outside += landed.outside
        if self.spared and landed.new:
            # Only sales that are new: those read again would not have been asked for a second time either.
            run.calls_spared += landing.of_these(sale_ids=landed.new, external_ids=self.spared)
        self.count_spared()
        run.calls = self.calls_before + self.client.calls
        run.seconds = self.seconds
        changes: dict[str, Any] = {
            "attempts": 0,
            "rows_read": run.rows_read, "rows_new": run.rows_new, "rows_changed": run.rows_changed,
            "rows_unchanged": run.rows_unchanged, "rows_refused": run.rows_refused,
            "rows_outside": run.rows_outside, "calls_spared": run.calls_spared, "calls": run.calls,
            "seconds": run.seconds,
        }  # fmt: skip
        if page is not None:
            run.pages += count
            run.progress_done, run.progress_total, run.progress_note = page.done, page.total, page.note[:200]
            changes |= {
                "pages": run.pages, "progress_done": page.done, "progress_total": page.total,
                "progress_note": run.progress_note,
            }  # fmt: skip
            self.state.cursor = page.cursor
            StreamState.unscoped.filter(pk=self.state.pk).update(cursor=page.cursor)
        _renew(run, self.token, **changes)


def _together(pages: list[Page]) -> Page:
    last = pages[-1]
    return last if len(pages) == 1 else last._replace(rows=[row for page in pages for row in page.rows])


class OutOfTime(Exception):
    """The slice is over inside a page: its parts are landed, its cursor is not moved, the next slice reads it again."""


def run_slice(run_id: int, *, slice_s: float | None = None, report: Callable[[SyncRun], None] | None = None) -> bool:
    """Work on a run for one slice. True: there is more to do, queue it again. Delivered twice, it runs once."""
    token = claim(run_id)
    if token is None:
        return False
    run = SyncRun.unscoped.select_related(
        "account", "stream__credential__connection", "stream__credential__origin"
    ).get(pk=run_id)
    now = timezone.now()
    if run.attempts > MAX_ATTEMPTS:
        _fail(run, token, "poison", "This run ended five times without saving anything; it was given up.", 1800, now)
        return False
    if run.started_at is None:
        run.started_at = now
        with transaction.atomic():
            ours = SyncRun.unscoped.filter(pk=run.pk, token=token).update(started_at=now)
            if run.full and ours:  # in the database: who takes this run over goes on from there
                run.stream.cursor = {}
                StreamState.unscoped.filter(pk=run.stream_id).update(cursor={})
    if run.stream.credential.state != CredentialState.CONNECTED:
        _finish(run, token, RunStatus.STOPPED, message="The credential is not connected.")
        return False
    if run.stream.credential.frozen_at or run.stream.credential.connection.frozen_at:
        _finish(run, token, RunStatus.STOPPED, message="Frozen.")
        return False
    deadline = time.monotonic() + (settings.SYNC_SLICE_S if slice_s is None else slice_s)
    pull = None
    try:
        pull = Pull(run, token, deadline, report)
        try:
            done = pull.work()
        except OutOfTime:
            done = False
        if not done:
            SyncRun.unscoped.filter(pk=run.pk, token=token).update(
                status=RunStatus.QUEUED, queued_at=Now(), token="", lease_until=None, attempts=0
            )
            return True
        _succeed(run, token, pull)
    except LostLease:
        log.info("run %s was taken over or stopped", run_id)
    except Frozen:
        _finish(run, token, RunStatus.STOPPED, message="Frozen.")
    except Refused as refused:  # what the source brought is being erased: nothing lands
        _finish(run, token, RunStatus.STOPPED, message=refused.message)
    except BadCredentials as error:
        if isinstance(error, NoPermission) and pull is not None and pull.stream.own_permission:
            # Granted apart from the rest: customers and sales go on, and this is asked again now and then.
            _fail(run, token, error.kind, error.message, WITHOUT_PERMISSION_S, now, error.detail)
        else:
            _pause(run, token, error)
    except TryLater as error:
        failures = run.stream.failures
        wait = error.after_s or back_off_s(failures)
        _fail(run, token, error.kind, error.message, wait, now, error.detail)
    except (UnexpectedAnswer, VendorError) as error:
        # Mostly a web page during the vendor's maintenance: tried again as soon as any other fault.
        wait = back_off_s(run.stream.failures)
        _fail(run, token, error.kind, error.message, wait, now, error.detail)
    except (DatabaseError, psycopg.Error):
        raise  # our own database: the lease ends and the run is taken over
    except Exception as error:  # a mistake of ours must not stop the queue or loop for ever
        log.error("run %s failed: %s", run_id, kind_of(error))
        _fail(
            # Not the error's text: it may hold a row.
            run,
            token,
            "internal",
            "An error on our side; it has been logged.",
            OWN_FAULT_BACK_OFF_S,
            now,
            kind_of(error),
        )
    return False


def back_off_s(failures: int) -> int:
    """Seconds to wait after so many failures before this one (0: it was the first in a row)."""
    steps = settings.SYNC_BACK_OFF_S
    return steps[min(failures, len(steps) - 1)]


def kind_of(error: Exception) -> str:
    """What went wrong and where in our code, without the values that were at hand."""
    frames = traceback.extract_tb(error.__traceback__)[-3:]
    return f"{type(error).__name__} at " + " < ".join(f"{f.name}:{f.lineno}" for f in reversed(frames))


def _finish(run: SyncRun, token: str, status: str, *, error: str = "", message: str = "", detail: str = "") -> bool:
    return bool(
        SyncRun.unscoped.filter(pk=run.pk, token=token, status=RunStatus.RUNNING).update(
            status=status, finished_at=Now(), lease_until=None, error=error, message=message, detail=detail[:2000]
        )
    )


def _succeed(run: SyncRun, token: str, pull: Pull) -> None:
    state = run.stream
    with transaction.atomic():
        if not _finish(run, token, RunStatus.DONE):
            return
        pull.count_spared()
        SyncRun.unscoped.filter(pk=run.pk).update(
            calls=pull.calls_before + pull.client.calls, calls_spared=run.calls_spared, seconds=pull.seconds
        )
        StreamState.unscoped.filter(pk=state.pk).update(
            read_until=pull.context.now,
            last_success_at=Now(),
            first_done_at=state.first_done_at or timezone.now(),
            failures=0,
            failing_since=None,
            message="",
            # An earlier failure had put the next look off; what works again is looked at in its own rhythm.
            next_due=Least(F("next_due"), Now() + timedelta(seconds=pull.stream.interval_s)),
        )


def _fail(run: SyncRun, token: str, kind: str, message: str, wait_s: float, now: datetime, detail: str = "") -> None:
    with transaction.atomic():
        if not _finish(run, token, RunStatus.FAILED, error=kind, message=message, detail=detail):
            return
        state = run.stream
        StreamState.unscoped.filter(pk=state.pk).update(
            failures=F("failures") + 1,
            failing_since=state.failing_since or now,
            message=message,
            next_due=Now() + timedelta(seconds=max(wait_s, 1)),
        )


def _pause(run: SyncRun, token: str, error: BadCredentials) -> None:
    """The vendor refuses us: no stream of this credential is tried until somebody has acted."""
    with transaction.atomic():
        if not _finish(run, token, RunStatus.FAILED, error=error.kind, message=error.message, detail=error.detail):
            return
        Credential.unscoped.filter(pk=run.stream.credential_id, state=CredentialState.CONNECTED).update(
            state=CredentialState.PAUSED, message=error.message, setting=error.setting
        )
        StreamState.unscoped.filter(pk=run.stream_id).update(
            failures=F("failures") + 1, failing_since=run.stream.failing_since or timezone.now(), message=error.message
        )
