"""Erase what a disconnected source brought: a dry run, its number typed, then progress with stop and resume."""

from django.contrib import messages
from django.db import transaction
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils import timezone
from django.views.decorators.http import require_http_methods

from aiqsync import tasks
from aiqsync.accounts import audit
from integrations import services
from integrations.models import Credential, Origin
from integrations.uploads.intake import PLATFORM as FILES
from loyalty import jobs, origin_erasure

from .integrations import card_frame
from .standing import standing_of


@require_http_methods(["GET", "HEAD", "POST"])
def erase(request: HttpRequest, slug: str, pk: int) -> HttpResponse:
    found = get_object_or_404(
        Credential.objects.filter(connection__card=slug).select_related("origin").defer("secrets", "token"), pk=pk
    )
    if found.origin is None:
        raise Http404
    return _erase(request, slug, found.origin, redirect("admin:card-erase", slug, pk))


@require_http_methods(["GET", "HEAD", "POST"])
def erase_files(request: HttpRequest, pk: int) -> HttpResponse:
    """The same for a source of files, which may have come by hand alone: then no credential tells of it."""
    origin = get_object_or_404(Origin.objects.filter(platform=FILES), pk=pk)
    return _erase(request, FILES, origin, redirect("admin:files-erase", pk))


def _erase(request: HttpRequest, slug: str, origin: Origin, here: HttpResponse) -> HttpResponse:
    job = origin_erasure.job_of(origin.pk)
    problem = ""
    if request.method == "POST":
        now = timezone.now()
        match request.POST.get("act"):
            case "stop" if job:
                if jobs.stop(job_id=job.pk, now=now):
                    audit.record(act="integration.erase_stopped", target=str(origin), user=request.user)
                return here
            case "resume" if job:
                if jobs.resume(job_id=job.pk, now=now, enqueue=tasks.enqueue_job):
                    audit.record(act="integration.erase_resumed", target=str(origin), user=request.user)
                return here
        take_back = request.POST.get("balances") == "take_back"
        if request.POST.get("typed", "").strip() != origin.identity:
            problem = f"Type {origin.identity} exactly, so that the right source is erased."
        else:
            try:
                with transaction.atomic():
                    audit.record(
                        act="integration.erased", target=str(origin), user=request.user, detail={"take_back": take_back}
                    )
                    services.begin_erasing(origin_id=origin.pk, take_back=take_back, user=request.user, now=now)
            except services.Refused as error:
                messages.error(request, str(error))
                return redirect("admin:card", slug)
            return here
    standing = standing_of(slug, now=timezone.now())
    live = Credential.objects.filter(origin=origin, state__in=services.LIVE).exists()
    return render(
        request,
        "aiqsync/integrations/erase.html",
        card_frame(
            request,
            standing,
            origin=origin,
            connected=live,
            problem=problem,
            take_back=request.POST.get("balances") == "take_back",
            job=job if origin.erasing_at else None,
            running=bool(job and job.state in jobs.LIVE),
            share=min(100, round(100 * job.done / job.total)) if job and job.total else 0,
            figures=None
            if origin.erasing_at or live
            else origin_erasure.figures(account_id=origin.account_id, origin_id=origin.pk, now=timezone.now()),
        ),
        status=422 if problem else 200,
    )
