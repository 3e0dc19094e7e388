"""File drop: send a file, say what its columns mean, look at its first rows, have it read; where files are dropped."""

from datetime import date
from decimal import Decimal
from typing import Any

from django.conf import settings
from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.utils import timezone
from django.utils.dateparse import parse_date
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from aiqsync import tasks
from aiqsync.accounts import audit, sheets
from aiqsync.accounts.paging import CappedPaginator
from aiqsync.accounts.roles import may
from aiqsync.accounts.tenancy import current_account_id
from aiqsync.accounts.typed import whole_number
from integrations.files import card as declared
from integrations.files import cells, columns
from integrations.models import CredentialState, Origin, Upload, UploadError, UploadState
from integrations.refusals import Problems, Refused
from integrations.uploads import intake, services
from loyalty import contact_import

from .integrations import frame
from .progress import activity, trouble
from .standing import IN_USE, Standing, day, moment, standing_of

SLUG = declared.CARD.slug
A_PAGE = 20
ERRORS_SHOWN = 10
DIFFERENCES_A_PAGE = 50
OVER = (UploadState.DONE, UploadState.FAILED, UploadState.STOPPED)
TONES = {"done": "good", "failed": "bad", "running": "info", "queued": "info", "receiving": "info",
         "choosing": "warn", "counted": "warn", "stopped": "warn"}  # fmt: skip


@require_http_methods(["GET", "HEAD", "POST"])
def index(request: HttpRequest) -> HttpResponse:
    """The card's page: send a file, those that came, and the places they are fetched from."""
    if request.method == "POST":
        return _accept(request)
    return _index(request)


def _index(request: HttpRequest, problems: dict[str, str] | None = None) -> HttpResponse:
    now = timezone.now()
    standing = standing_of(SLUG, now=now)
    found = CappedPaginator(Upload.objects.select_related("origin").order_by("-id"), A_PAGE)
    page = found.get_page(request.GET.get("page"))
    context = frame(
        request,
        title=standing.card.title,
        standing=standing,
        card=standing.card,
        uploads=[_row(upload, now) for upload in page],
        page=page,
        sources=[_source(origin, standing) for origin in Origin.objects.filter(platform=SLUG).order_by("title")],
        may_erase=may(request.membership.role, "integrations.erase"),
        freeze=_freeze(standing),
        kinds=[(kind.name, kind.title, kind.what) for kind in columns.KINDS.values()],
        most=settings.FILES_MAX_MB,
        keep=services.bodies.KEEP_DAYS,
        places=[_place(credential, now) for credential in standing.credentials],
        activity=activity(standing),
        trouble=trouble(standing),
        problems=problems or {},
        typed=request.POST if problems else {"source": request.GET.get("source", "")},
    )
    return render(request, "aiqsync/files/index.html", context, status=422 if problems else 200)


def _accept(request: HttpRequest) -> HttpResponse:
    sent = request.FILES.get("file")
    if sent is None:
        large = f"The file is larger than {settings.FILES_MAX_MB} MB. Send it in parts."
        return _index(request, {"file": large if getattr(request, "too_large", False) else "Choose a file."})
    kind = request.POST.get("kind", "")
    try:
        origin = intake.source(account_id=current_account_id(), name=request.POST.get("source", ""))
        upload = intake.accept(
            account_id=current_account_id(), origin=origin, name=sent.name, pieces=sent.chunks(services.bodies.PIECE),
            user=request.user, now=timezone.now(), kind=kind if kind in columns.KINDS else "",
        )  # fmt: skip
    except Refused as error:
        return _index(request, {error.field or "file": error.message})
    audit.record(act="file.sent", target=upload.name, user=request.user, detail={"upload": upload.pk})
    if upload.state == UploadState.QUEUED:
        tasks.enqueue_upload(upload.pk)
    return redirect("admin:file", upload.pk)


def _row(upload: Upload, now) -> dict[str, Any]:
    return {
        "upload": upload,
        "kind": columns.KINDS[upload.kind].title if upload.kind in columns.KINDS else "",
        "tone": TONES.get(upload.state, ""),
        "at": moment(upload.created_at, now=now),
        "url": reverse("admin:file", args=[upload.pk]),
    }


def _place(credential: Any, now) -> dict[str, Any]:
    values = credential.values
    where = f"{values['bucket']}/{values.get('prefix', '')}" if values.get("bucket") else values.get("folder", "")
    return {
        "credential": credential,
        "name": credential.origin.title if credential.origin else values.get("source") or "Not connected yet",
        "where": f"{'Bucket' if values.get('bucket') else 'Folder'} {where}",
        "tone": {"connected": "good", "paused": "warn"}.get(credential.state, ""),
        "in_use": credential.state in IN_USE,
        "over": credential.state == CredentialState.DISCONNECTED,
        "frozen": day(credential.frozen_at) if credential.frozen_at else "",
        "since": day(credential.connected_at) if credential.connected_at else "",
        "checked": moment(credential.checked_at, now=now) if credential.checked_at else "",
    }


def _source(origin: Origin, standing: Standing) -> dict[str, Any]:
    """What files came under one name, by hand or fetched: both are one source, and are erased together."""
    return {
        "origin": origin,
        "erasing": bool(origin.erasing_at),
        "erased": day(origin.erased_at) if origin.erased_at else "",
        "in_use": any(c.origin_id == origin.pk for c in standing.in_use),
    }


def _freeze(standing: Standing) -> dict[str, Any] | None:
    """“Use last backup” for all places; with none in use there is nothing to freeze."""
    link = standing.connection
    if link is None or not (standing.in_use or link.frozen_at):
        return None
    setting = next(one for one in declared.CARD.settings if one.name == "frozen")
    return {"setting": setting, "on": bool(link.frozen_at)}


# One file


@require_safe
def show(request: HttpRequest, pk: int) -> HttpResponse:
    """The page of one file, or with `?part` only what changes by itself."""
    upload = get_object_or_404(Upload.objects.select_related("origin", "made_by", "confirmed_by"), pk=pk)
    return _show(request, upload)


def _show(request: HttpRequest, upload: Upload, problems: dict[str, str] | None = None) -> HttpResponse:
    now = timezone.now()
    context = _about(request, upload, now) | {"problems": problems or {}}
    if "part" in request.GET:
        return render(request, "aiqsync/files/part.html", context)
    whole = frame(
        request, title=upload.name, crumbs=((declared.CARD.title, reverse("admin:card", args=[SLUG])),), **context
    )
    return render(request, "aiqsync/files/file.html", whole, status=422 if problems else 200)


def _about(request: HttpRequest, upload: Upload, now) -> dict[str, Any]:
    kind = columns.KINDS.get(upload.kind)
    live = upload.state in services.LIVE
    choosing = upload.state == UploadState.CHOOSING
    previewed = services.preview(upload=upload, now=now) if choosing and not upload.body_gone_at else None
    samples = _samples(upload, previewed) if previewed else {}
    wrong = columns.problems(upload.shape["header"], kind, upload.mapping) if choosing and kind else []
    errors = [] if live else list(UploadError.objects.filter(upload=upload).order_by("number")[:ERRORS_SHOWN])
    share = min(99, 100 * upload.position // upload.size) if upload.size and upload.shape.get("form") == "csv" else None
    same = (
        Upload.objects.filter(origin=upload.origin_id, sha256=upload.sha256, state=UploadState.DONE)
        .exclude(pk=upload.pk).order_by("-id").first()
        if choosing and upload.sha256 else None
    )  # fmt: skip
    return {
        "upload": upload,
        "kind": kind,
        "tone": TONES.get(upload.state, ""),
        "live": live,
        "share": 100 if upload.state == UploadState.DONE else share,
        "at": moment(upload.created_at, now=now),
        "finished": moment(upload.finished_at, now=now) if upload.finished_at else "",
        "kinds": [(one.name, one.title, one.what) for one in columns.KINDS.values()],
        "orders": cells.ORDERS.items(),
        "has_days": bool(kind and set(kind.days) & set(upload.mapping.values())),
        "headers": [
            {"name": one, "chosen": upload.mapping.get(one, ""), "samples": samples.get(one, [])}
            for one in upload.shape.get("header", ())
        ]
        if choosing
        else [],
        "meanings": [(column.name, column.label + (" (needed)" if column.needed else "")) for column in kind.columns]
        if kind
        else [],
        "previewed": previewed,
        "wrong": wrong,
        "same": same,
        "errors": errors,
        "may_change": may(request.membership.role, "integrations.change"),
        "resumable": upload.state in (UploadState.STOPPED, UploadState.FAILED) and upload.shape
        and not upload.body_gone_at and upload.mapping,
        "reopenable": upload.state in OVER and not upload.body_gone_at and upload.shape
        and not (kind and kind.fixed),
        "gone": upload.body_gone_at,
        **(_contacts(upload, now) if kind and kind.fixed else {}),
    }  # fmt: skip


def _samples(upload: Upload, previewed: services.Preview) -> dict[str, list[str]]:
    header = upload.shape["header"]
    return {
        one: [row["cells"][at] for row in previewed.rows if at < len(row["cells"]) and row["cells"][at]][:2]
        for at, one in enumerate(header)
    }


def _contacts(upload: Upload, now) -> dict[str, Any]:
    """What a contact export would do, or did."""
    counted, applied = upload.counted, upload.applied
    return {
        "counted": {
            **counted,
            **{name: Decimal(counted.get(name) or 0) for name in ("points", "negative_points", "outsiders_points")},
            "platforms": sorted(counted.get("platforms", {}).items()),
            "sample": [
                (alias, Decimal(points), contact, Decimal(balance), Decimal(points) + Decimal(balance))
                for alias, points, contact, balance in counted.get("sample", [])
            ],
        }
        if counted
        else None,
        "applied": {**applied, "points": Decimal(applied.get("points") or 0)} if applied else None,
        "today": timezone.localdate(now),
    }


@require_POST
def act(request: HttpRequest, pk: int, verb: str) -> HttpResponse:
    """choose, begin, confirm, stop, resume, again, put-away: each may be sent twice."""
    upload = get_object_or_404(Upload.objects.select_related("origin"), pk=pk)
    now = timezone.now()
    try:
        match verb:
            case "choose" | "begin":
                _choose(request, upload, now)
                if verb == "begin":
                    services.begin(upload=upload, now=now, enqueue=tasks.enqueue_upload)
                    _log(request, "file.read", upload)
            case "confirm":
                if not may(request.membership.role, "programme.change"):
                    raise PermissionDenied
                services.confirm(
                    upload=upload, earn_from=_day(request.POST.get("earn_from", "")), user=request.user,
                    seen=whole_number(request.POST.get("seen", "")) or 0,
                    now=now, enqueue=tasks.enqueue_upload,
                )  # fmt: skip
                _log(request, "contacts.import_confirmed", upload, points=upload.counted.get("points"))
            case "stop":
                if services.stop(upload=upload, now=now):
                    _log(request, "file.stopped", upload)
            case "resume":
                if services.resume(upload=upload, now=now, enqueue=tasks.enqueue_upload):
                    _log(request, "file.resumed", upload)
            case "again":
                services.again(upload=upload)
            case "put-away":
                services.put_away(upload=upload, now=now)
                _log(request, "file.put_away", upload)
                messages.info(request, f"{upload.name} was put away. What it had brought is still here.")
                return redirect("admin:card", SLUG)
            case _:
                messages.error(request, "There is no such act.")
    except Problems as error:
        return _show(request, upload, error.fields)
    except Refused as error:
        messages.warning(request, error.message)
    return redirect("admin:file", upload.pk)


def _choose(request: HttpRequest, upload: Upload, now) -> None:
    """What the form says; a page that shows no columns (another kind was chosen) sends none."""
    kind = request.POST.get("kind", upload.kind)
    header = upload.shape.get("header", ())
    given = {one: request.POST[f"column-{at}"] for at, one in enumerate(header) if f"column-{at}" in request.POST}
    services.choose(
        upload=upload, kind=kind, mapping=given if given and kind == upload.kind else None,
        day_order=request.POST.get("day_order", ""), now=now,
    )  # fmt: skip


def _day(text: str) -> date:
    try:
        found = parse_date(text)
    except ValueError:
        found = None
    if found is None:
        raise Problems({"earn_from": "Choose a day."})
    return found


def _log(request: HttpRequest, what: str, upload: Upload, **detail: Any) -> None:
    audit.record(act=what, target=upload.name, user=request.user, detail={"upload": upload.pk, **detail})


@require_safe
def errors(request: HttpRequest, pk: int) -> StreamingHttpResponse:
    """The refused rows with the file's own columns and why."""
    upload = get_object_or_404(Upload.objects, pk=pk)
    return _table(services.errors(upload), f"{upload.name.rpartition('.')[0] or upload.name}-refused.csv")


def _table(lines, name: str) -> StreamingHttpResponse:
    answer = StreamingHttpResponse(("\ufeff" if at == 0 else "") + line for at, line in enumerate(lines))
    answer["Content-Type"] = "text/csv; charset=utf-8"
    safe = "".join(c if c.isalnum() or c in "-_. " else "-" for c in name if c.isascii())
    answer["Content-Disposition"] = f'attachment; filename="{safe}"'
    return answer


@require_safe
def differences(request: HttpRequest, pk: int) -> HttpResponse:
    """Balances of the file against the ledger's of today, largest difference first; with `?csv` all of them."""
    upload = get_object_or_404(Upload.objects.select_related("origin"), pk=pk, kind=columns.CONTACTS.name)
    about = {"account_id": current_account_id(), "origin_id": upload.origin_id}
    if "csv" in request.GET:
        if not may(request.membership.role, "reports.export"):
            raise PermissionDenied
        rows = contact_import.differences(**about, size=None)
        head = ("contact_id", "name", "aiq_contact_ids", "in_file", "imported", "since", "here", "difference", "why")
        table = (
            (r.contact_id, r.name, " ".join(r.aliases), r.file, r.imported, r.since, r.here, r.difference, r.why)
            for r in rows
        )
        return _table(sheets.lines(head, table), "differences.csv")
    page = whole_number(request.GET.get("page", "")) or 1
    at = page if page < 1_000_000 else 1
    found = contact_import.differences(**about, start=(at - 1) * DIFFERENCES_A_PAGE, size=DIFFERENCES_A_PAGE + 1)
    context = frame(
        request,
        title="Differences",
        crumbs=(
            (declared.CARD.title, reverse("admin:card", args=[SLUG])),
            (upload.name, reverse("admin:file", args=[upload.pk])),
        ),
        upload=upload,
        rows=found[:DIFFERENCES_A_PAGE],
        tally=contact_import.tally(**about),
        at=at,
        more=len(found) > DIFFERENCES_A_PAGE,
        may_export=may(request.membership.role, "reports.export"),
    )
    return render(request, "aiqsync/files/differences.html", context)
