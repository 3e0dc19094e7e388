"""A change of the programme that moves balances: what it would do, confirmed or dismissed, then how far it is."""

from decimal import Decimal

from django.contrib import admin, messages
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import render
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.http import require_POST, require_safe

from aiqsync import tasks
from aiqsync.accounts.roles import Role, may
from aiqsync.accounts.tenancy import current_account_id
from loyalty import changes, jobs, programme
from loyalty.models import ChangeState, Persona, ProgrammeChange

from . import programme as programme_page


def _latest() -> ProgrammeChange | None:
    found = ProgrammeChange.objects.select_related("user", "confirmed_by")
    return found.filter(state__in=changes.OPEN).first() or found.order_by("-id").first()


@require_safe
def show(request: HttpRequest) -> HttpResponse:
    """The page, or with `?part` only what changes by itself."""
    change = _latest()
    context = _context(request, change)
    if "part" in request.GET:
        return render(request, "aiqsync/home/change_part.html", context)
    return TemplateResponse(
        request, "aiqsync/home/change.html", {**admin.site.each_context(request), "title": "Change", **context}
    )


def _context(request: HttpRequest, change: ProgrammeChange | None) -> dict:
    if change is None:
        return {"change": None}
    job = changes.job_of(change)
    counted = change.counted or (job.result if job and change.state == ChangeState.COUNTING else {})
    people = Persona.objects.in_bulk([row[0] for row in counted.get("sample", [])])
    return {
        "change": change,
        "lines": programme.in_words(change.values),
        "wipe": change.values.get("wipe"),
        "recompute": change.values.get("recompute"),
        "job": job,
        "live": bool(job and job.state in jobs.LIVE),
        "stopped": change.state == ChangeState.APPLYING and changes.is_stopped(job),
        "share": round(100 * job.done / job.total) if job and job.total else 0,
        "counted": {
            name: Decimal(value) if name in ("before", "after", "expiring", "short") else value
            for name, value in counted.items()
        },
        "difference": Decimal(counted.get("after", 0)) - Decimal(counted.get("before", 0)),
        "sample": [
            (people.get(pk), Decimal(before), Decimal(after), Decimal(after) - Decimal(before))
            for pk, before, after in counted.get("sample", [])
        ],
        "stale": change.state == ChangeState.COUNTED and changes.stale(change),
        "since": changes.since(change) if change.state == ChangeState.COUNTED else None,
        "failed": change.state == ChangeState.COUNTING and (job is None or job.state not in jobs.LIVE),
        "may_change": may(request.membership.role, "programme.change"),
    }


@require_POST
def act(request: HttpRequest, verb: str) -> HttpResponse:
    """confirm, dismiss, recount, stop, resume: each may be sent twice."""
    change = _latest()
    if change is None or str(change.pk) != request.POST.get("change"):
        messages.error(request, "This change is over. Here is how things stand.")
        return HttpResponseRedirect(reverse("admin:programme-change"))
    asked = {"change": change, "user": request.user, "now": timezone.now()}
    try:
        match verb:
            case "confirm":
                changes.confirm(
                    **asked, seen=request.POST.get("seen", ""), anyway="anyway" in request.POST,
                    enqueue=tasks.enqueue_job,
                )  # fmt: skip
            case "dismiss":
                changes.dismiss(**asked)
                messages.info(request, "Dismissed: no setting and no balance was touched.")
                return HttpResponseRedirect(reverse("admin:programme"))
            case "recount":
                changes.recount(**asked, enqueue=tasks.enqueue_job)
            case "stop":
                changes.stop(**asked)
            case "resume":
                changes.resume(**asked, enqueue=tasks.enqueue_job)
            case _:
                messages.error(request, "There is no such act.")
    except changes.CameSince:
        pass  # the page says it, with both ways on
    except changes.Refused as error:
        messages.error(request, str(error))
    return HttpResponseRedirect(reverse("admin:programme-change"))


@require_POST
def wipe(request: HttpRequest) -> HttpResponse:
    """Take everybody's points: the owner's act, counted and confirmed like any other."""
    if request.membership.role != Role.OWNER:
        messages.error(request, "Only the owner takes everybody's points.")
        return HttpResponseRedirect(reverse("admin:programme"))
    try:
        changes.propose_wipe(
            account_id=current_account_id(), note=request.POST.get("note", ""), user=request.user,
            now=timezone.now(), enqueue=tasks.enqueue_job,
        )  # fmt: skip
    except changes.Problems as error:
        return programme_page.refused(request, {"wipe": error.fields["note"]})
    except changes.Refused as error:
        messages.error(request, str(error))
        return HttpResponseRedirect(reverse("admin:programme") + "#wipe")
    return HttpResponseRedirect(reverse("admin:programme-change"))
