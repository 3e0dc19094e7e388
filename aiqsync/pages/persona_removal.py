"""What a shopper may ask for: a copy of everything that is held about him, and to be removed."""

import tempfile
import uuid
from typing import Any

from django.contrib import admin, messages
from django.db import transaction
from django.http import FileResponse, HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import get_object_or_404
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.http import require_POST

from aiqsync.accounts import audit
from aiqsync.accounts.paging import CappedPaginator
from aiqsync.accounts.templatetags import iq
from loyalty import access, erasure
from loyalty.models import Entry, Persona, Redemption, SaleState
from loyalty.search import fold

from .persona import _living, _record

IN_MEMORY = 1_000_000  # bytes of an export; a longer one is put together on disk
ENTRIES_A_PAGE = 25


def word_for(persona: Persona) -> str:
    """What is typed to confirm: the name as the page shows it, so that nobody removes the wrong person."""
    return persona.full_name or "REMOVE"


def erase(request: HttpRequest, contact_id: uuid.UUID) -> HttpResponse:
    """First what will happen, in figures; then, with the name typed, the deed."""
    found = get_object_or_404(Persona.objects.select_related("merged_into"), contact_id=contact_id)
    persona = found.merged_into or found
    address = reverse("admin:persona", args=[persona.contact_id])
    if persona.erased_at:  # sent twice: the page says when it was
        return HttpResponseRedirect(address)
    now = timezone.now()
    try:
        shown = erasure.preview(account_id=persona.account_id, persona_id=persona.pk, now=now)
        wrong = ""
        if request.method == "POST":
            if fold(request.POST.get("typed", "")) != fold(word_for(persona)):
                wrong = f"Type {word_for(persona)} exactly as it stands here. Nothing was removed."
            elif request.POST.get("points") != str(shown.points):
                wrong = "The points have changed since this page was opened: look again. Nothing was removed."
            else:
                return _removed_now(request, persona, address)
    except erasure.CannotErase as refused:
        messages.error(request, refused.message)
        return HttpResponseRedirect(address)
    context = {
        **admin.site.each_context(request),
        "title": f"Remove {persona}",
        "persona": persona,
        "preview": shown,
        "word": word_for(persona),
        "wrong": wrong,
        "typed": request.POST.get("typed", ""),
    }
    return TemplateResponse(request, "aiqsync/persona/remove.html", context, status=422 if wrong else 200)


def _removed_now(request: HttpRequest, persona: Persona, address: str) -> HttpResponse:
    with transaction.atomic():
        done = erasure.erase(
            account_id=persona.account_id, persona_id=persona.pk, user=request.user, now=timezone.now()
        )
        if done.created:  # without the name: the log is kept
            audit.record(
                act="persona.erased", target=str(done.contact_id), user=request.user,
                detail={"contact_id": str(done.contact_id), "points": str(done.points), "records": done.records,
                        "customers": done.customers, "sales": done.sales, "redemptions": done.redemptions},
            )  # fmt: skip
    if done.created:
        forfeited = f" {iq.points(done.points)} points were forfeited." if done.points else ""
        messages.success(request, f"Done: this person is removed.{forfeited}")
    return HttpResponseRedirect(address)


def removed(request: HttpRequest, persona: Persona) -> HttpResponse:
    """What an address of somebody who was removed answers: the day, and what the books keep under no name."""
    entries = CappedPaginator(Entry.objects.filter(persona=persona).order_by("-id"), ENTRIES_A_PAGE).get_page(
        request.GET.get("page")
    )
    from .persona_page import line

    context: dict[str, Any] = {
        **admin.site.each_context(request),
        "title": "Removed person",
        "persona": persona,
        "entries": entries,
        "timeline": [line(entry) for entry in entries],
        "sales": SaleState.objects.filter(persona=persona).count(),
        "redemptions": Redemption.objects.filter(persona=persona).count(),
    }
    return TemplateResponse(request, "aiqsync/persona/removed.html", context)


@require_POST
def export(request: HttpRequest, contact_id: uuid.UUID) -> HttpResponse:
    """One JSON file with everything. Put together first, so that a fault gives no half a file."""
    persona = _living(contact_id)
    now = timezone.now()
    kept = tempfile.SpooledTemporaryFile(max_size=IN_MEMORY)  # noqa: SIM115 (the answer closes it)
    try:
        for piece in access.pieces(account_id=persona.account_id, persona_id=persona.pk, now=now):
            kept.write(piece.encode())
    except erasure.CannotErase as refused:  # removed meanwhile
        messages.error(request, refused.message)
        return HttpResponseRedirect(reverse("admin:persona", args=[contact_id]))
    _record(request, "persona.exported", persona, {"bytes": kept.tell()})
    kept.seek(0)
    day = timezone.localtime(now).strftime("%Y-%m-%d")
    return FileResponse(
        kept, as_attachment=True, filename=f"person-{persona.contact_id}-{day}.json", content_type="application/json"
    )
