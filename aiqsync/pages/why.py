"""Why? One box, one sentence, one button; and a receipt without a customer that is given to somebody."""

from typing import Any

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import get_object_or_404
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils import timezone
from django.utils.http import urlencode

from aiqsync import tasks
from aiqsync.accounts import audit
from aiqsync.accounts.roles import may
from aiqsync.accounts.templatetags import iq
from aiqsync.accounts.typed import whole_number
from integrations import services
from integrations.models import Connection, CredentialState, Sale, SaleKind
from loyalty import erasure, personas, profile, receipts, search, why
from loyalty.models import Attachment, Ground, Persona
from loyalty.persona_admin import parse_day

from .persona import _living, _record, today
from .persona_people import recompute_now


def ask(request: HttpRequest) -> HttpResponse:
    term = request.GET.get("q", "")
    if request.method == "POST":
        term = request.POST.get("q", "")
        _do(request)
        return HttpResponseRedirect(f"{reverse('admin:why')}?{urlencode({'q': search.clean(term)})}")
    now = timezone.now()
    answer = why.answer(account=request.membership.account, term=term, now=now)
    remedy = answer.remedy if answer else None
    context = {
        **admin.site.each_context(request),
        "title": "Why?",
        "term": search.clean(term),
        "answer": answer,
        "remedy": remedy,
        "may_remedy": bool(remedy) and may(request.membership.role, remedy.right),
        "may_see_sales": may(request.membership.role, "sales.view"),
        "now": now,
    }
    return TemplateResponse(request, "aiqsync/persona/why.html", context)


def _do(request: HttpRequest) -> None:
    """What the button says, if this person may; then the question is asked again."""
    act = request.POST.get("act", "")
    does, right = ACTS.get(act, (None, ""))
    if does is None:
        messages.error(request, "Ask again: the form was incomplete.")
        return
    if not may(request.membership.role, right):
        raise PermissionDenied
    does(request)


def _persona(request: HttpRequest) -> Persona:
    contact = search.contact_of(request.POST.get("contact", ""))
    if contact is None:
        raise Http404("No such persona")
    return _living(contact)


def _sync(request: HttpRequest) -> None:
    """Every source that is connected is read at once."""
    started = 0
    with transaction.atomic():
        live = list(Connection.objects.filter(credentials__state=CredentialState.CONNECTED).distinct().order_by("id"))
        for connection in live:
            started += services.sync_now(connection=connection, enqueue=tasks.enqueue)
        if started:
            audit.record(act="integration.sync_now", target="Why?", user=request.user, detail={"runs": started})
    if started:
        messages.success(request, "The POS is being read now; ask again in a few seconds.")
    elif live:
        messages.info(request, "The POS is being read for the first time; ask again in a minute.")
    else:
        messages.warning(request, "Nothing can be read: no point of sale is connected.")


def _enrol(request: HttpRequest) -> None:
    persona, day = _persona(request), parse_day(request.POST.get("from_date", ""))
    if day is None:
        messages.error(request, "Choose a day from which purchases earn.")
        return
    with transaction.atomic():
        new = personas.enrol(persona=persona, ground=Ground.STAFF, from_date=day, now=timezone.now(), user=request.user)
        if new:
            _record(request, "persona.enrolled", persona, {"from": day.isoformat()})
    said = f"{persona} earns from {day:%-d %b %Y} on." if new else f"{persona} earns from an earlier day already."
    messages.success(request, said) if new else messages.info(request, said)


def _recompute(request: HttpRequest) -> None:
    entries = recompute_now(request, _persona(request))
    said = f"Recomputed: {entries} correction{'' if entries == 1 else 's'} posted." if entries else "Nothing differs."
    messages.success(request, said)


def _unarchive(request: HttpRequest) -> None:
    persona = _persona(request)
    with transaction.atomic():
        if profile.unarchive(account_id=persona.account_id, persona_id=persona.pk):
            _record(request, "persona.unarchived", persona, {})
    messages.success(request, f"{persona} is in the lists again.")


def _allow_again(request: HttpRequest) -> None:
    """The shopper who was removed came back, or the number is somebody else's by now."""
    term = search.clean(request.POST.get("term", ""))
    try:
        with transaction.atomic():
            what = erasure.allow_again(account_id=request.membership.account_id, term=term, now=timezone.now())
            audit.record(act="removed.allowed_again", user=request.user, detail={"kind": what})
    except erasure.CannotErase as refused:
        messages.error(request, refused.message)
    else:
        messages.success(request, "It can be signed up again. What was said about messages stays said.")


def _attach(request: HttpRequest) -> None:
    attach_to(request, get_object_or_404(Sale, pk=whole_number(request.POST.get("sale", ""))))


ACTS = {
    "sync": (_sync, "integrations.change"),
    "enrol": (_enrol, "personas.change"),
    "recompute": (_recompute, "personas.change"),
    "unarchive": (_unarchive, "personas.change"),
    "attach": (_attach, "points.adjust"),
    "allow_again": (_allow_again, "personas.erase"),
}


# A receipt


def attach(request: HttpRequest, sale_id: int) -> HttpResponse:
    """The receipt's page: whose it shall be, and why. Afterwards it says whose it is, for ever."""
    sale = get_object_or_404(Sale.objects.select_related("location"), pk=min(sale_id, 2**63 - 1))
    given = Attachment.objects.filter(sale=sale).select_related("persona__merged_into", "user").first()
    if request.method == "POST":
        if persona := attach_to(request, sale):
            return HttpResponseRedirect(reverse("admin:persona", args=[persona.contact_id]))
        return HttpResponseRedirect(request.get_full_path())
    context: dict[str, Any] = {
        **admin.site.each_context(request),
        "title": f"Attach receipt {sale}",
        "sale": sale,
        "given": given,
        "owner": given and (given.persona.merged_into or given.persona),
        "anonymous": not sale.customer_id and sale.kind == SaleKind.SALE,
        "currency": sale.currency or request.membership.account.currency,
        "who": request.GET.get("who", ""),
        "today": today(),
    }
    return TemplateResponse(request, "aiqsync/persona/attach.html", context)


def attach_to(request: HttpRequest, sale: Sale) -> Persona | None:
    """Find the one who was typed, attach, and say what came of it. None: nothing was done, and the reason is said."""
    account, who = request.membership.account, search.clean(request.POST.get("who", ""))
    found = search.find(account_id=account.pk, region=account.country, term=who)
    people = list(Persona.objects.filter(pk__in=found.roots[:2], erased_at=None))
    if found.condition is not None:
        people = list(Persona.objects.filter(found.condition, merged_into=None, erased_at=None)[:2])
    if len(people) != 1:
        messages.error(
            request,
            "Whose is it? Type the phone, the e-mail or the contact ID."
            if not who
            else f"{'Nobody is' if not people else 'More than one persona is'} known by {who}. Nothing was attached.",
        )
        return None
    persona = people[0]
    note = " ".join(request.POST.get("note", "").replace("\x00", "").split())[:200]
    if not note:
        messages.error(request, "Say why: the note is kept with the receipt for ever. Nothing was attached.")
        return None
    try:
        with transaction.atomic():
            done = receipts.attach(
                account_id=account.pk,
                sale_id=sale.pk,
                persona_id=persona.pk,
                user=request.user,
                note=note,
                now=timezone.now(),
            )
            _record(request, "receipt.attached", persona, {"receipt": str(sale), "note": note})
    except receipts.CannotAttach as refused:
        messages.error(request, refused.message)
        return None
    messages.success(request, f"Receipt {sale} is {persona}'s now: {iq.points(done.points)} points.")
    return persona
