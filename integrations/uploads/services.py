"""What may be asked of a file that came in: to choose its columns, to begin, stop and go on, and for its errors."""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import Any

from django.conf import settings
from django.db import transaction

from aiqsync.accounts import sheets
from aiqsync.accounts.models import Account, User
from integrations.files import cells, columns, tables
from integrations.models import ColumnMapping, Upload, UploadError, UploadState
from integrations.refusals import Problems, Refused

from . import bodies, intake, running
from .running import Enqueue

LIVE = (UploadState.QUEUED, UploadState.RUNNING)
PREVIEWED = 10
REASON = "Reason"


@dataclass
class Preview:
    """The first rows as they are written and as they are understood."""

    rows: list[dict[str, Any]] = field(default_factory=list)  # number, cells, understood [(label, text)], problem
    problem: str = ""


def preview(*, upload: Upload, now: datetime, rows: int = PREVIEWED) -> Preview:
    """How the first rows would be understood. Nothing is written."""
    account = Account.objects.get(pk=upload.account_id)
    shown = Preview()
    try:
        with bodies.opened(upload) as body:
            first = []
            for row in tables.rows(body, tables.Shape(**upload.shape)):
                first.append(row)
                if len(first) == rows:
                    break
    except (tables.NotATable, bodies.Gone) as error:
        shown.problem = str(error)
        return shown
    if upload.kind and not columns.problems(upload.shape["header"], columns.KINDS[upload.kind], upload.mapping):
        reading = running.reading_of(upload, account, now)
        for found in reading.found(first):
            shown.rows.append(
                {
                    "number": found.rows[0].number, "lines": len(found.rows), "cells": found.rows[0].cells,
                    "problem": found.problem, "understood": [] if found.problem else _understood(found, account),
                }
            )  # fmt: skip
    else:
        shown.rows = [
            {"number": row.number, "lines": 1, "cells": row.cells, "problem": "", "understood": []} for row in first
        ]
    return shown


def _understood(found: Any, account: Account) -> list[tuple[str, str]]:
    said: list[tuple[str, Any]] = []
    for sale in found.sales:
        said += [("Refund" if sale.kind == "refund" else "Sale", sale.external_id),
                 ("At", sale.sold_at.astimezone(running.ZoneInfo(account.timezone)).strftime("%-d %b %Y %H:%M")),
                 ("Lines", len(sale.lines)), ("Paid without tax", f"{sale.net_cents / 100:,.2f}"),
                 ("Total", f"{sale.total_cents / 100:,.2f}"), ("Shopper", sale.customer_id or "nobody named"),
                 ("Location", sale.location_id)]  # fmt: skip
    for one in [] if found.sales else [*found.customers, *(contact.customer for contact in found.contacts)]:
        said += [("Shopper", f"{one.first_name} {one.last_name}".strip()),
                 ("Phone", one.phone or (f"{one.phone_raw} (no valid number)" if one.phone_raw else "")),
                 ("E-mail", one.email or (one.email_raw and f"{one.email_raw} (not valid)")),
                 ("Born", one.birth_date), ("Place", f"{one.city} {one.state}".strip()),
                 ("Known by", "its columns" if one.external_id.startswith("row-") else one.external_id)]  # fmt: skip
    for one in found.contacts:
        said += [("Points", f"{one.points:,.2f}"), ("Member", "yes" if one.member else "no")]
    for one in found.products:
        said += [("Item", one.name), ("SKU", one.sku), ("Category", one.category), ("Brand", one.brand),
                 ("Price", f"{one.price_cents / 100:,.2f}" if one.price_cents is not None else "")]  # fmt: skip
    said += [("In stock", f"{one.quantity.normalize():f}" + (f" at {one.location_id}" if one.location_id else ""))
             for one in found.stock]  # fmt: skip
    return [(label, str(value)) for label, value in said if value not in ("", None)]


def choose(*, upload: Upload, kind: str, mapping: Mapping[str, str] | None, day_order: str, now: datetime) -> Upload:
    """Say what the file is and what its columns mean. A new kind without a mapping gets the likely one.

    Raises `Problems`: what is wrong with the choice; it is kept all the same, so that nothing is typed twice.
    """
    if kind not in columns.KINDS:
        raise Problems({"kind": "Choose what the file holds."})
    if not upload.shape:
        raise Refused("Nothing is known of this file's columns. Send it again.")
    declared, header = columns.KINDS[kind], tuple(upload.shape["header"])
    if kind != upload.kind or mapping is None:
        upload.kind = kind
        try:
            with bodies.opened(upload) as body:
                intake.propose(upload, intake.sample(body, tables.Shape(**upload.shape)))
        except bodies.Gone as error:
            raise Refused(str(error)) from None
    if mapping is not None and not declared.fixed:
        names = declared.names | {columns.IGNORE}
        upload.mapping = {one: said if (said := mapping.get(one, columns.IGNORE)) in names else "" for one in header}
    if day_order in cells.ORDERS:
        upload.day_order = day_order
    changed = {"kind": kind, "mapping": upload.mapping, "day_order": upload.day_order}
    _move(upload, (UploadState.CHOOSING,), "This file is being read, or was read already.", **changed)
    if wrong := columns.problems(header, declared, upload.mapping):
        raise Problems({"columns": " ".join(wrong)})
    return upload


_FRESH: dict[str, Any] = {
    "position": 0, "number": 0, "rows_read": 0, "rows_new": 0, "rows_changed": 0, "rows_unchanged": 0,
    "rows_refused": 0, "applied": {}, "started_at": None, "message": "",
}  # fmt: skip


def begin(*, upload: Upload, now: datetime, enqueue: Enqueue) -> Upload:
    """Read the file as it is mapped, and remember the mapping for the next one of this source. Begun twice is once."""
    upload.refresh_from_db()
    if upload.state in LIVE:
        return upload
    kind = columns.KINDS.get(upload.kind)
    if kind is None:
        raise Problems({"kind": "Choose what the file holds."})
    if wrong := columns.problems(upload.shape["header"], kind, upload.mapping):
        raise Problems({"columns": " ".join(wrong)})
    with transaction.atomic():
        _move(upload, (UploadState.CHOOSING,), "This file is not waiting to be read.", counting=kind.fixed, counted={},
              **_FRESH, **_queued(now))  # fmt: skip
        UploadError.unscoped.filter(upload=upload).delete()
        if not kind.fixed:
            ColumnMapping.unscoped.update_or_create(
                account_id=upload.account_id, origin_id=upload.origin_id, kind=upload.kind,
                defaults={"columns": upload.mapping, "day_order": upload.day_order, "at": now},
            )  # fmt: skip
        enqueue(upload.pk)
    return upload


def _queued(now: datetime) -> dict[str, Any]:
    later = now + timedelta(seconds=settings.SYNC_LEASE_S)  # the dispatcher takes it up when its task was lost
    return {"state": UploadState.QUEUED, "queued_at": later, "attempts": 0, "token": "", "lease_until": None,
            "finished_at": None}  # fmt: skip


def _move(upload: Upload, states: Collection[str], otherwise: str, **changes: Any) -> None:
    """Change a file that is in one of these states, or `Refused`: the condition and the change are one statement."""
    if not Upload.unscoped.filter(pk=upload.pk, state__in=states).update(**changes):
        raise Refused(otherwise)
    for name, value in changes.items():
        setattr(upload, name, value)


def confirm(*, upload: Upload, earn_from: date, seen: int, user: User, now: datetime, enqueue: Enqueue) -> Upload:
    """Take a counted contact export over. `seen`: how many rows the figures on the screen were of.

    Confirmed twice is confirmed once. Raises `Refused`, and `Problems` about the day.
    """
    upload.refresh_from_db()
    if upload.confirmed_at and not upload.counting:
        return upload
    if seen != upload.rows_read:
        raise Refused("It was counted again meanwhile. Look at the new figures, and confirm those.")
    if earn_from.year < 2000 or earn_from > now.date() + timedelta(days=1):
        raise Problems({"earn_from": "Choose today or a day that is over."})
    with transaction.atomic():
        _move(upload, (UploadState.COUNTED,), "This file is not waiting to be confirmed.", counting=False,
              earn_from=earn_from, confirmed_by=user, confirmed_at=now, **_FRESH, **_queued(now))  # fmt: skip
        enqueue(upload.pk)
    return upload


def stop(*, upload: Upload, now: datetime) -> bool:
    """Halt: what was read stays, the batch under way saves nothing. False: it was over."""
    return bool(
        Upload.unscoped.filter(pk=upload.pk, state__in=LIVE).update(
            state=UploadState.STOPPED, token="", lease_until=None, finished_at=now, message="Stopped."
        )
    )


def resume(*, upload: Upload, now: datetime, enqueue: Enqueue) -> bool:
    """Go on behind the last row that was saved. False: it is live, done, or no longer kept."""
    with transaction.atomic():
        again = Upload.unscoped.filter(
            pk=upload.pk, state__in=[UploadState.STOPPED, UploadState.FAILED], body_gone_at=None
        ).exclude(mapping={}).update(message="", **_queued(now))  # fmt: skip
        if again:
            enqueue(upload.pk)
    return bool(again)


def put_away(*, upload: Upload, now: datetime) -> Upload:
    """A file that is not to be read, or not to be taken over: its body goes at once."""
    with transaction.atomic():
        waiting = (UploadState.CHOOSING, UploadState.COUNTED, UploadState.RECEIVING, UploadState.FAILED,
                   UploadState.STOPPED)  # fmt: skip
        _move(upload, waiting, "It is being read, or was read. Stop it first.", state=UploadState.DISMISSED,
              finished_at=now, counted={})  # fmt: skip
        bodies.drop(upload_id=upload.pk, now=now)
    return upload


def again(*, upload: Upload) -> Upload:
    """Open a file that was read, to read it with other columns. Rows that stay the same change nothing."""
    upload.refresh_from_db()
    if upload.body_gone_at:
        raise Refused("The file is no longer kept here. Send it again.")
    if upload.kind in columns.KINDS and columns.KINDS[upload.kind].fixed and upload.confirmed_at:
        raise Refused("A contact export has one form: there is nothing to choose.")
    over = (UploadState.DONE, UploadState.FAILED, UploadState.STOPPED, UploadState.COUNTED)
    _move(upload, over, "It is being read.", state=UploadState.CHOOSING)
    return upload


def errors(upload: Upload) -> Iterator[str]:
    """The refused rows as CSV: the file's own columns, then why. Mended, it can be sent as it is."""
    header = list(upload.shape.get("header", ()))
    width = len(header)
    found = UploadError.unscoped.filter(upload=upload).order_by("number").iterator(chunk_size=500)
    rows = ([*row.cells[:width], *[""] * (width - len(row.cells)), row.reason] for row in found)
    yield from sheets.lines([*header, REASON if REASON not in header else f"{REASON} (aiqsync)"], rows)


# Somebody is removed on request


def forget(*, account_id: int, told: Collection[int], now: datetime) -> None:
    """Bodies of the account's files go, all of them: what a workbook says of one person cannot be taken out of it.

    `told`: errors that tell of the person. A file that was not read to its end must be sent again.
    """
    UploadError.unscoped.filter(account_id=account_id, pk__in=list(told)).delete()
    gone = "Its body was removed here, because somebody asked to be forgotten while it waited. Send it again."
    Upload.unscoped.filter(
        account_id=account_id,
        body_gone_at=None,
        state__in=[*LIVE, UploadState.RECEIVING, UploadState.CHOOSING, UploadState.COUNTED, UploadState.STOPPED],
    ).update(state=UploadState.FAILED, message=gone, token="", lease_until=None, finished_at=now)
    Upload.unscoped.filter(account_id=account_id).update(counted={})
    bodies.drop(account_id=account_id, now=now)


def prune(*, now: datetime) -> int:
    """Bodies and errors older than thirty days go; the files' figures stay."""
    before = now - timedelta(days=bodies.KEEP_DAYS)
    UploadError.unscoped.filter(upload__created_at__lt=before)._raw_delete("default")
    Upload.unscoped.filter(
        created_at__lt=before, state__in=[UploadState.RECEIVING, UploadState.CHOOSING, UploadState.COUNTED]
    ).update(state=UploadState.DISMISSED, message="It waited for thirty days and was put away.", finished_at=now)
    return bodies.drop_old(now=now)
