"""Reading a file, a slice at a time: rows, errors and the place of the next row are saved together or not at all.

Whoever claims a file holds a token and a lease; a batch is saved only while the token is still his. A worker killed
anywhere leaves the file where the last batch ended, and what was read twice changes nothing.
"""

import hashlib
import json
import logging
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import uuid4
from zoneinfo import ZoneInfo

import psycopg
from django.conf import settings
from django.db import DatabaseError, connection, transaction
from django.db.models import F, Q
from django.db.models.functions import Now
from django.utils import timezone

from aiqsync.accounts.models import Account
from aiqsync.accounts.tenancy import acting_in
from integrations import arrivals, chosen, landing
from integrations.files import cells, columns, tables
from integrations.files.reading import Found, Reading
from integrations.kit.errors import Frozen, TryLater
from integrations.kit.records import CustomerRecord, LocationRecord, ProductRecord, SaleRecord, StockRecord
from integrations.landing import Landed
from integrations.models import Customer, Location, Product, Upload, UploadError, UploadFrom, UploadState
from integrations.refusals import Refused
from integrations.sink import sink

from . import bodies

log = logging.getLogger(__name__)

ROWS_TOGETHER = 400
CONTACTS_TOGETHER = 200  # each may post points of its own
SECONDS_TOGETHER = 2.0
RENEW_S = 5
LONGEST_SLICE_S = 45  # whoever takes longer than a minute is ended by the queue
MAX_ATTEMPTS = 5
ERRORS_KEPT = 10_000
LOOK_AGAIN_S = 60  # at a file that waits for somebody
FROZEN = "Frozen (“Use last backup”). It is read on when that is turned off."
GIVEN_UP = "Reading it was tried five times and saved nothing; it was given up. What came in stays."
PAPERS = ("government_id", "medical_id")  # never kept as they are, not even in a row that was refused

Enqueue = Callable[[int], None]
Entry = tuple[str, str, str, str]


class LostLease(Exception):
    """Another delivery has this file, or it was stopped."""


class _TakenBack(Exception):
    """Ends a trial: nothing of it stays."""


def claim(upload_id: int) -> str | None:
    """Take the file, on the database's clock. None: somebody else has it, or it is over."""
    token = uuid4().hex
    free = Q(state=UploadState.QUEUED) | Q(state=UploadState.RUNNING, lease_until__lt=Now())
    won = Upload.unscoped.filter(free, pk=upload_id).update(
        state=UploadState.RUNNING,
        token=token,
        attempts=F("attempts") + 1,
        lease_until=Now() + timedelta(seconds=settings.SYNC_LEASE_S),
    )
    return token if won else None


# Two dispatchers: the second waits for the row, finds the condition false, and leaves it.
_DUE = """
UPDATE integrations_upload u SET state = 'queued', token = '', lease_until = NULL,
       queued_at = clock_timestamp() + %(lease)s * interval '1 second'
WHERE u.id IN (SELECT id FROM integrations_upload
               WHERE state = 'running' AND lease_until < clock_timestamp()
                  OR state = 'queued' AND queued_at <= clock_timestamp()
               ORDER BY id LIMIT %(limit)s)
  AND (u.state = 'running' AND u.lease_until < clock_timestamp()
       OR u.state = 'queued' AND u.queued_at <= clock_timestamp())
RETURNING u.id
"""


def dispatch_due(*, enqueue: Enqueue, limit: int = 50) -> int:
    """Hand out files that wait to be read, and those that a dead worker left. Delivered twice, a file is read once."""
    with transaction.atomic():
        with connection.cursor() as cursor:
            cursor.execute(_DUE, {"lease": settings.SYNC_LEASE_S, "limit": limit})
            due = [row[0] for row in cursor.fetchall()]
        for upload_id in due:
            enqueue(upload_id)
    return len(due)


def run_slice(upload_id: int, *, slice_s: float | None = None) -> bool:
    """Read on for one slice. True: there is more, queue it again."""
    token = claim(upload_id)
    if token is None:
        return False
    upload = Upload.unscoped.select_related("account", "origin").get(pk=upload_id)
    if upload.attempts > MAX_ATTEMPTS:
        _end(upload, token, UploadState.FAILED, GIVEN_UP)
        return False
    if upload.started_at is None:
        Upload.unscoped.filter(pk=upload.pk, token=token).update(started_at=Now())
    try:
        with acting_in(upload.account_id):
            read = _Run(upload, token, settings.SYNC_SLICE_S if slice_s is None else slice_s).work()
        if read:
            return False
        Upload.unscoped.filter(pk=upload.pk, token=token, state=UploadState.RUNNING).update(
            state=UploadState.QUEUED, queued_at=Now() + timedelta(seconds=settings.SYNC_LEASE_S), token="",
            lease_until=None, attempts=0,
        )  # fmt: skip
        return True
    except LostLease:
        log.info("upload %s was taken over or stopped", upload_id)
    except (tables.NotATable, bodies.Gone) as error:
        _end(upload, token, UploadState.FAILED, str(error))
    except TryLater as error:
        _later(upload, token, error.message)
    except (Frozen, Refused) as error:  # somebody's will, not a fault: it waits as long as that lasts
        _wait(upload, token, error.message)
    except (DatabaseError, psycopg.Error):
        raise  # our own database: the lease ends and the file is taken over
    except Exception as error:  # a mistake of ours: tried again a few times, never for ever
        log.error("upload %s failed: %s", upload_id, type(error).__name__, exc_info=settings.DEBUG)
        _later(upload, token, "An error on our side; it has been logged. It is tried again.")
    return False


def _later(upload: Upload, token: str, message: str) -> None:
    if upload.attempts >= MAX_ATTEMPTS:
        _end(upload, token, UploadState.FAILED, GIVEN_UP)
        return
    Upload.unscoped.filter(pk=upload.pk, token=token, state=UploadState.RUNNING).update(
        state=UploadState.QUEUED, queued_at=Now() + timedelta(seconds=10), token="", lease_until=None, message=message
    )


def _wait(upload: Upload, token: str, message: str) -> None:
    """Look again in a minute; no try is counted."""
    Upload.unscoped.filter(pk=upload.pk, token=token, state=UploadState.RUNNING).update(
        state=UploadState.QUEUED, queued_at=Now() + timedelta(seconds=LOOK_AGAIN_S), token="", lease_until=None,
        attempts=0, message=message,
    )  # fmt: skip


def _end(upload: Upload, token: str, state: str, message: str = "") -> bool:
    return bool(
        Upload.unscoped.filter(pk=upload.pk, token=token, state=UploadState.RUNNING).update(
            state=state, finished_at=Now(), lease_until=None, token="", message=message
        )
    )


def reading_of(upload: Upload, account: Account, now: datetime) -> Reading:
    """How its rows are understood; also for the preview."""
    return Reading(
        kind=columns.KINDS[upload.kind], header=tuple(upload.shape["header"]), mapping=upload.mapping,
        order=upload.day_order or "mdy", zone=ZoneInfo(account.timezone), region=account.country,
        currency=account.currency, now=now,
    )  # fmt: skip


class _Run:
    """One claimed file being read."""

    def __init__(self, upload: Upload, token: str, slice_s: float) -> None:
        self.upload, self.token, self.slice_s = upload, token, slice_s
        self.began = time.monotonic()
        self.deadline = self.began + slice_s
        self.account: Account = upload.account
        self.kind = columns.KINDS[upload.kind]
        self.shape = tables.Shape(**upload.shape)
        self.now = timezone.now()
        self.reading = reading_of(upload, self.account, self.now)
        self.renewed = time.monotonic()
        self._contacts_landed = Landed()

    def work(self) -> bool:
        """True: the file is read."""
        with bodies.opened(self.upload) as body:
            if self.kind is columns.SALES and self.upload.position == 0:
                self._together(body)
            together = CONTACTS_TOGETHER if self.kind is columns.CONTACTS else ROWS_TOGETHER
            batch: list[Found] = []
            rows = 0
            began = time.monotonic()
            for found in self.reading.found(self._rows(body)):
                batch.append(found)
                rows += len(found.rows)
                if rows >= together or time.monotonic() - began > SECONDS_TOGETHER:
                    self._save(batch)
                    batch, rows, began = [], 0, time.monotonic()
                    if began > self.deadline:
                        return False
            if batch:
                self._save(batch)
        if self.upload.counting:
            _end(self.upload, self.token, UploadState.COUNTED)
        else:
            _end(self.upload, self.token, UploadState.DONE)
        return True

    def _rows(self, body: Any) -> Iterator[tables.Row]:
        found = tables.rows(
            body, self.shape, position=self.upload.position, number=self.upload.number or 1, skipping=self._keep_lease
        )
        for at, row in enumerate(found):
            if at == 0:
                # The beginning of a workbook that had to be read again is no progress: the slice counts from here, or
                # every restart would bring fewer rows than the one before.
                begins = min(time.monotonic() + self.slice_s, self.began + LONGEST_SLICE_S)
                self.deadline = max(self.deadline, begins)
            self._keep_lease()
            yield row

    def _keep_lease(self) -> None:
        if time.monotonic() - self.renewed > RENEW_S:
            self._update()
            self.renewed = time.monotonic()

    def _together(self, body: Any) -> None:
        """The rows of a sale must follow each other: torn apart, the later ones would replace the earlier ones."""
        at = next((n for n, one in enumerate(self.shape.header) if self.upload.mapping.get(one) == "external_id"), None)
        if at is None:
            return
        seen: dict[bytes, int] = {}
        before = ""
        for row in self._rows(body):
            external_id = cells.digits(row.cells[at]) if not row.problem and at < len(row.cells) else ""
            if not external_id or external_id == before:
                continue
            before = external_id
            known = hashlib.blake2b(external_id.encode("utf-8", "replace"), digest_size=8).digest()
            if known in seen:
                raise tables.NotATable(
                    f"The rows of transaction {external_id} are not together: rows {seen[known]} and {row.number}. "
                    "Sort the file by the transaction id and send it again. Nothing of it was read."
                )
            seen[known] = row.number

    # Saving

    def _save(self, batch: Sequence[Found]) -> None:
        try:
            self._save_together(batch)
        except arrivals.UNFIT:
            # Some row that no column holds: each is tried alone and taken back, then those that fit land together.
            for found in batch:
                if not found.problem and not self._fits(found):
                    found.problem = arrivals.OUT_OF_BOUNDS
            self._save_together(batch)

    def _fits(self, found: Found) -> bool:
        def attempt() -> None:
            self._land([found])
            raise _TakenBack

        try:
            arrivals.in_one_go(attempt)
        except _TakenBack:
            return True
        except arrivals.UNFIT:
            return False
        raise AssertionError("unreachable")

    def _save_together(self, batch: Sequence[Found]) -> None:
        # What was fetched from a place that is frozen since does not come in; what somebody sends by hand does.
        if self.upload.came != UploadFrom.PAGE and chosen.effective(origin_id=self.upload.origin_id).frozen:
            raise Frozen(FROZEN)
        if self.kind is columns.CONTACTS and not self.upload.counting:
            # Who they are comes first, in a transaction of its own: what comes of it locks more than one source.
            self._contacts_landed = arrivals.in_one_go(lambda: self._land(batch))
        changes = arrivals.in_one_go(lambda: self._batch(batch))
        for name, value in changes.items():
            setattr(self.upload, name, value)
        self.renewed = time.monotonic()

    def _batch(self, batch: Sequence[Found]) -> dict[str, Any]:
        changes: dict[str, Any] = {"attempts": 0, "message": ""}
        contacts = [one for found in batch if not found.problem for one in found.contacts]
        if self.kind is columns.CONTACTS and self.upload.counting:
            landed = Landed(unchanged=len(contacts))
            changes["counted"] = sink().count_contacts(
                account_id=self.account.pk, origin_id=self.upload.origin_id, contacts=contacts,
                so_far=dict(self.upload.counted), now=self.now,
            )  # fmt: skip
        elif self.kind is columns.CONTACTS:
            changes["applied"] = sink().take_contacts(
                account_id=self.account.pk, origin_id=self.upload.origin_id, contacts=contacts,
                so_far=dict(self.upload.applied), user_id=self.upload.confirmed_by_id,
                earn_from=self.upload.earn_from, now=timezone.now(),
            )  # fmt: skip
            landed = self._contacts_landed
        else:
            landed = self._land(batch)
        refused = [found for found in batch if found.problem]
        bad_rows = sum(len(found.rows) for found in refused)
        if not self.upload.counting:
            self._keep_errors(refused)
        last = batch[-1].rows[-1]
        changes |= {
            "position": last.after, "number": last.number,
            "rows_read": self.upload.rows_read + sum(len(found.rows) for found in batch),
            "rows_new": self.upload.rows_new + len(landed.new),
            "rows_changed": self.upload.rows_changed + len(landed.changed),
            "rows_unchanged": self.upload.rows_unchanged + landed.unchanged,
            "rows_refused": self.upload.rows_refused + bad_rows,
        }  # fmt: skip
        self._update(**changes)
        return changes

    def _update(self, **changes: Any) -> None:
        kept = Upload.unscoped.filter(pk=self.upload.pk, token=self.token, state=UploadState.RUNNING).update(
            lease_until=Now() + timedelta(seconds=settings.SYNC_LEASE_S), **changes
        )
        if not kept:
            raise LostLease

    def _land(self, batch: Sequence[Found]) -> Landed:
        """The batch into the tables, in the caller's transaction. What is counted are the kind's own rows."""
        good = [found for found in batch if not found.problem]
        refused = [self._refusal(found) for found in batch if found.problem]
        self._land_locations([one for found in good for one in found.locations])
        if self.kind is columns.SALES:
            self._land_buyers([one for found in good for one in found.customers])
            return self._arrive("sales", SaleRecord, [one for found in good for one in found.sales], refused)
        if self.kind is columns.INVENTORY:
            goods = self._with_stored(Product, [one for f in good for one in f.products])
            landed = self._arrive("products", ProductRecord, goods, refused)
            levels = self._arrive("stock", StockRecord, [one for f in good for one in f.stock], [])
            # A row is a product and a level of it: changed when either is.
            moved = max(0, len(levels.new) + len(levels.changed) - len(landed.new) - len(landed.changed))
            landed.changed += [0] * min(moved, landed.unchanged)
            landed.unchanged -= min(moved, landed.unchanged)
            return landed
        people = [one for f in good for one in f.customers] + [one.customer for f in good for one in f.contacts]
        return self._arrive("customers", CustomerRecord, self._with_stored(Customer, people), refused)

    def _with_stored(self, model: type[Customer] | type[Product], records: Sequence[Any]) -> Sequence[Any]:
        """Of those who are known, what no column of this file tells stays: a list of phones forgets no name."""
        if not records:
            return records
        landing.lock_origin(self.upload.origin_id)  # nobody else changes them between this look and the landing
        columns_of = {one.name for one in model._meta.fields}
        told = {*self.reading.tells, *PAPERS}  # of papers only digests are stored, and landing keeps those itself
        untold = [one for one in records[0]._fields[1:] if one in columns_of and one not in told]
        known = model.unscoped.filter(origin_id=self.upload.origin_id, external_id__in=[r.external_id for r in records])
        if model is Customer:
            known = known.filter(erased_at=None)
        stored = {row.pop("external_id"): row for row in known.values("external_id", *untold)}
        return [one._replace(**stored.get(one.external_id, {})) for one in records]

    def _arrive(self, stream: str, record: type, records: Sequence[Any], refused: Sequence[Entry]) -> Landed:
        return arrivals.arrive(
            account_id=self.account.pk, origin_id=self.upload.origin_id, stream=stream, record=record,
            records=records, refused=refused, now=self.now, region=self.account.country,
            bad={external_id for _, external_id, *_ in refused},
        )  # fmt: skip

    def _land_locations(self, places: Sequence[LocationRecord]) -> None:
        """Places that were not known; a file of sales does not rename one that is."""
        if fresh := self._unknown(Location, places):
            self._arrive("locations", LocationRecord, fresh, [])

    def _land_buyers(self, buyers: Sequence[CustomerRecord]) -> None:
        """Shoppers that only the sales name. What a file of customers told of one is not overwritten by a sale."""
        if fresh := self._unknown(Customer, buyers):
            self._arrive("customers", CustomerRecord, fresh, [])

    def _unknown(self, model: type[Customer] | type[Location], records: Sequence[Any]) -> list[Any]:
        """Those that the source has not brought before, each once, by id."""
        named = {one.external_id: one for one in records}
        if not named:
            return []
        known = model.unscoped.filter(origin_id=self.upload.origin_id, external_id__in=list(named))
        return [named[one] for one in sorted(set(named) - set(known.values_list("external_id", flat=True)))]

    # Rows that could not be read

    def _shown(self, row: tables.Row) -> list[str]:
        """The row as it stood in the file, without the numbers of papers."""
        names = [self.upload.mapping.get(one, "") for one in self.shape.header]
        return [
            "…" if cell and at < len(names) and names[at] in PAPERS else cell[:2000].encode("utf-8", "replace").decode()
            for at, cell in enumerate(row.cells)
        ]

    def _refusal(self, found: Found) -> Entry:
        row = dict(zip(self.shape.header, self._shown(found.rows[0]), strict=False))
        text = json.dumps({"file": self.upload.name, "row": found.rows[0].number, **row}, ensure_ascii=False)[:20_000]
        if len(text) == 20_000:
            text = json.dumps({"cut": text})
        body = json.dumps(row, ensure_ascii=False).encode()
        key = found.external_id or hashlib.sha256(body).hexdigest()
        return key, found.external_id, found.problem[:1000], text

    def _keep_errors(self, refused: Sequence[Found]) -> None:
        left = ERRORS_KEPT - self.upload.rows_refused
        rows = [(row, found.problem) for found in refused for row in found.rows][: max(0, left)]
        UploadError.unscoped.bulk_create(
            [
                UploadError(account_id=self.account.pk, upload_id=self.upload.pk, number=row.number,
                            reason=reason[:1000], cells=self._shown(row))
                for row, reason in rows
            ],
            ignore_conflicts=True,
        )  # fmt: skip
