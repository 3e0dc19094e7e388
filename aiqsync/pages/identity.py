"""Customers: numbers that somebody has to decide about, and people who may be one."""

from django.contrib import admin, messages
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.http import require_POST, require_safe

from aiqsync.accounts import audit
from aiqsync.accounts.roles import may
from aiqsync.accounts.tenancy import current_account_id
from aiqsync.accounts.typed import whole_number
from loyalty import guard, merging
from loyalty.models import NumberDecision, Persona, SuspectNumber

SHOWN = 50


@require_safe
def show(request: HttpRequest) -> HttpResponse:
    account_id, now = current_account_id(), timezone.now()
    decided = request.GET.get("decided") == "1"
    numbers = SuspectNumber.objects.select_related("user").order_by("-customers", "phone")
    numbers = numbers.exclude(decision="open") if decided else numbers.filter(decision="open")
    count, customers = guard.open_numbers(account_id=account_id)
    shown = list(numbers[:SHOWN])
    bearers = guard.bearers_of_each(account_id=account_id, phones=[one.phone for one in shown], limit=8)
    pairs = merging.duplicates(account_id=account_id, limit=SHOWN)
    people = Persona.objects.select_related("wallet").in_bulk(
        [pk for pair in pairs for pk in (pair.one_id, pair.other_id)]
    )
    context = {
        **admin.site.each_context(request),
        "title": "Same person?",
        "count": count,
        "customers": customers,
        "decided": decided,
        "numbers": [(one, bearers.get(one.phone, [])) for one in shown],
        "pairs": [(pair, people[pair.one_id], people[pair.other_id]) for pair in pairs],
        "decisions": NumberDecision.choices[1:],
        "may_change": may(request.membership.role, "personas.change"),
        "now": now,
    }
    return TemplateResponse(request, "aiqsync/identity/page.html", context)


@require_POST
def decide(request: HttpRequest, pk: int) -> HttpResponse:
    try:
        found = guard.decide(
            account_id=current_account_id(), suspect_id=min(pk, 2**63 - 1), user=request.user, now=timezone.now(),
            decision=request.POST.get("decision", ""),
        )  # fmt: skip
    except (guard.CannotDecide, merging.CannotMerge) as error:
        messages.error(request, str(error))
    else:
        audit.record(act="number.decided", target=found.phone, user=request.user, detail={"decision": found.decision})
        messages.success(request, f"{found.phone}: {found.get_decision_display().lower()}.")
    return HttpResponseRedirect(reverse("admin:same-person"))


@require_POST
def pair(request: HttpRequest) -> HttpResponse:
    """Two people of the list: one person, or two."""
    ids = [whole_number(request.POST.get(name, "")) or 0 for name in ("one", "other")]
    asked = {"account_id": current_account_id(), "user": request.user, "now": timezone.now()}
    try:
        if request.POST.get("same"):
            made = merging.merge(**asked, one_id=ids[0], other_id=ids[1])
            audit.record(act="persona.merged", target=str(made.survivor), user=request.user, detail={"merge": made.pk})
            messages.success(request, f"One person now: {made.survivor}. It can be taken back on the persona's page.")
        else:
            merging.not_the_same(**asked, one_id=ids[0], other_id=ids[1])
            messages.success(request, "Noted: two people. They are not listed again.")
    except merging.CannotMerge as error:
        messages.error(request, str(error))
    return HttpResponseRedirect(reverse("admin:same-person") + "#pairs")
