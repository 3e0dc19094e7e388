"""One shopper: balance, timeline, sales, sources, redemptions, and what staff may do about them."""

import uuid
from datetime import date, timedelta
from decimal import Decimal

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.core.paginator import Paginator
from django.db import transaction
from django.db.models import Q
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import get_object_or_404
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.http import require_GET, require_POST

from aiqsync.accounts import audit
from aiqsync.accounts.roles import Role, may
from aiqsync.accounts.templatetags import iq
from aiqsync.accounts.tenancy import current_account_id
from integrations.models import Sale
from loyalty import earning, ledger, personas, wallet
from loyalty.models import Discount, Enrolment, Entry, EntryKind, Ground, Persona, Redemption, RedemptionState, Source

ENTRIES_A_PAGE = 25
SALES_SHOWN = 15
REDEMPTIONS_SHOWN = 15


def turnable(role: str) -> tuple[str, ...]:
    """The states of redemptions that this role may give back: staff at the counter only until the sale is seen."""
    open_ones = (RedemptionState.APPLIED,)
    return open_ones if role == Role.STAFF else (*open_ones, RedemptionState.SETTLED)


class AdjustForm(forms.Form):
    """`token` makes one sheet one entry, however often it is sent."""

    points = forms.DecimalField(
        label="Points",
        max_digits=12,
        decimal_places=2,
        error_messages={"max_decimal_places": "At most two decimals.", "required": "How many points?"},
        widget=forms.NumberInput(attrs={"class": "iq-input", "step": "0.01", "placeholder": "50 or -50"}),
    )
    note = forms.CharField(
        label="Note",
        max_length=300,
        error_messages={"required": "Say why: it is shown in the timeline."},
        widget=forms.TextInput(attrs={"class": "iq-input", "placeholder": "Birthday, wrong sale, ..."}),
    )
    token = forms.UUIDField(widget=forms.HiddenInput)

    def clean_points(self) -> Decimal:
        points = self.cleaned_data["points"]
        if not points:
            raise forms.ValidationError("Zero points change nothing.")
        return points


class EnrolForm(forms.Form):
    from_date = forms.DateField(
        label="Earns from",
        widget=forms.DateInput(attrs={"class": "iq-input", "type": "date"}, format="%Y-%m-%d"),
        error_messages={"invalid": "A day as 2026-11-21.", "required": "Choose a day."},
    )


def today() -> date:
    """Today in the account's time zone, which the admin has activated."""
    return timezone.localdate()


@require_GET
def show(request: HttpRequest, contact_id: uuid.UUID) -> HttpResponse:
    persona = get_object_or_404(Persona.objects.select_related("merged_into"), contact_id=contact_id)
    if persona.merged_into:
        messages.info(request, "This record was merged: you see the one it became part of.")
        return _to(persona.merged_into)
    return _page(request, persona)


@require_POST
def adjust(request: HttpRequest, contact_id: uuid.UUID) -> HttpResponse:
    persona = _living(contact_id)
    form = AdjustForm(request.POST)
    if not form.is_valid():
        return _page(request, persona, adjusting=form)
    points, note = form.cleaned_data["points"], form.cleaned_data["note"]
    try:
        with transaction.atomic():
            posted = ledger.adjust(
                account_id=persona.account_id,
                persona_id=persona.pk,
                points=points,
                key=f"adjust:{persona.pk}:{form.cleaned_data['token']}",
                now=timezone.now(),
                user_id=request.user.pk,
                note=note,
            )
            if posted.created:
                detail = {"points": str(points), "note": note, "balance": str(posted.balance)}
                _record(request, "points.adjusted", persona, detail)
    except ledger.NotEnoughPoints as error:
        form.add_error("points", f"The balance is {iq.points(error.balance)}: no more than that can be taken.")
        return _page(request, persona, adjusting=form)
    if posted.created:
        messages.success(request, f"{iq.signed(posted.points)} points. The balance is {iq.points(posted.balance)}.")
    else:
        messages.warning(
            request,
            f"This sheet was saved before, with {iq.signed(posted.points)} points; nothing was added. "
            "Open it again for another change.",
        )
    return _to(persona)


@require_POST
def enrol(request: HttpRequest, contact_id: uuid.UUID) -> HttpResponse:
    persona = _living(contact_id)
    form = EnrolForm(request.POST)
    if not form.is_valid():
        return _page(request, persona, enrolling=form)
    from_date = form.cleaned_data["from_date"]
    with transaction.atomic():
        new = personas.enrol(
            persona=persona, ground=Ground.STAFF, from_date=from_date, now=timezone.now(), user=request.user
        )
        if new:
            _record(request, "persona.enrolled", persona, {"from": from_date.isoformat()})
    if new:
        messages.success(request, f"{persona} is a member. Sales from {from_date:%-d %b %Y} on earn points.")
    else:
        messages.info(request, f"{persona} was a member already; nothing changed.")
    return _to(persona)


@require_POST
def redeem(request: HttpRequest, contact_id: uuid.UUID, discount_id: int, n: int) -> HttpResponse:
    """Redeem by hand. `n`: how often it had been redeemed when the page was shown, so a double click is one."""
    persona = _living(contact_id)
    if max(discount_id, n) > 2**31 - 1:
        raise Http404("No such redemption")
    discount = get_object_or_404(Discount, pk=discount_id)
    try:
        with transaction.atomic():
            done = ledger.redeem(
                account_id=persona.account_id,
                persona_id=persona.pk,
                discount_id=discount.pk,
                n=n,
                transaction="",
                channel="staff",
                now=timezone.now(),
                user_id=request.user.pk,
            )
            if done.created:
                detail = {"discount": discount.name, "points": str(done.points), "redemption": str(done.redemption_id)}
                _record(request, "redemption.by_hand", persona, detail)
    except ledger.NotEnoughPoints as error:
        messages.error(
            request,
            f"{iq.points(error.asked)} points are needed, {iq.points(error.balance)} are there. Nothing was taken.",
        )
    except (ledger.AlreadyUsed, ledger.NotAvailable, ledger.OneDiscountPerOrder):
        messages.error(request, f"{discount} cannot be used any more; nothing was taken.")
    else:
        messages.success(
            request,
            f"{discount} is redeemed for {iq.points(done.points)} points. Now type {to_type(discount)} at the till. "
            "If the sale does not happen, give it back below.",
        )
    return _to(persona)


def to_type(discount: Discount) -> str:
    """What staff enter in the POS: "10.00 off the cart"."""
    if discount.kind == Discount.Kind.FLAT:
        return f"{discount.amount_cents / 100:.2f} off the cart"
    return f"{discount.percent.normalize():f} % off the cart"


@require_POST
def give_back(request: HttpRequest, contact_id: uuid.UUID, public_id: uuid.UUID) -> HttpResponse:
    persona = _living(contact_id)
    redemption = get_object_or_404(Redemption.objects.select_related("discount"), public_id=public_id, persona=persona)
    if redemption.state == RedemptionState.SETTLED and redemption.state not in turnable(request.membership.role):
        raise PermissionDenied
    with transaction.atomic():
        back = ledger.revert(
            account_id=persona.account_id,
            redemption_public_id=public_id,
            now=timezone.now(),
            user_id=request.user.pk,
            note="Given back on the persona page",
        )
        if back.created:
            detail = {"points": str(back.points), "redemption": str(public_id)}
            _record(request, "redemption.given_back", persona, detail)
    if back.created:
        messages.success(
            request,
            f"{redemption.discount}: {iq.points(back.points)} points are back. "
            f"The balance is {iq.points(back.balance)}. If the till still shows the discount, remove it there.",
        )
    else:
        messages.info(request, "These points had been given back before; nothing changed.")
    return _to(persona)


def _living(contact_id: uuid.UUID) -> Persona:
    return get_object_or_404(Persona, contact_id=contact_id, merged_into=None)


def _to(persona: Persona) -> HttpResponse:
    return HttpResponseRedirect(reverse("admin:persona", args=[persona.contact_id]))


def _record(request: HttpRequest, act: str, persona: Persona, detail: dict) -> None:
    audit.record(
        act=act, target=str(persona), user=request.user, detail=detail | {"contact_id": str(persona.contact_id)}
    )


def _page(
    request: HttpRequest,
    persona: Persona,
    adjusting: AdjustForm | None = None,
    enrolling: EnrolForm | None = None,
) -> HttpResponse:
    now, account_id, role = timezone.now(), current_account_id(), request.membership.role
    sources = list(Source.objects.filter(persona=persona).select_related("customer__origin").order_by("id")[:20])
    shown = wallet.show(account_id=account_id, persona_id=persona.pk, now=now)
    entries = Paginator(
        Entry.objects.filter(persona=persona).select_related("sale", "user", "redemption__discount").order_by("-id"),
        ENTRIES_A_PAGE,
    ).get_page(request.GET.get("page"))
    redemptions = list(
        Redemption.objects.filter(persona=persona)
        .select_related("discount", "store", "sale", "user")
        .order_by("-applied_at")[:REDEMPTIONS_SHOWN]
    )
    context = {
        **admin.site.each_context(request),
        "title": str(persona),
        "persona": persona,
        "currency": request.membership.account.currency,
        "now": now,
        "balance": ledger.spendable_points(account_id, persona.pk, now),
        "expiring": ledger.next_to_expire(account_id, persona.pk, now),
        "wallet": shown,
        "enrolment": Enrolment.objects.filter(persona=persona).select_related("user").order_by("id").first(),
        "entries": entries,
        "timeline": [_line(entry) for entry in entries],
        "sources": sources,
        "sales": _sales(sources),
        "open_redemption": any(r.state == RedemptionState.APPLIED for r in redemptions),
        "redemptions": redemptions,
        "turnable": turnable(role),
        "may_redeem": may(role, "redemptions.redeem"),
        "may_adjust": may(role, "points.adjust"),
        "may_enrol": may(role, "personas.change"),
        "may_give_back": may(role, "redemptions.revert"),
        "may_see_sales": may(role, "sales.view"),
        "adjust_form": adjusting or AdjustForm(initial={"token": uuid.uuid4()}),
        "enrol_form": enrolling or EnrolForm(initial={"from_date": today()}),
        "adjust_open": adjusting is not None,
        "enrol_open": enrolling is not None,
    }
    status = 422 if adjusting or enrolling else 200
    return TemplateResponse(request, "aiqsync/persona/page.html", context, status=status)


def _line(entry: Entry) -> dict:
    """An entry with its reason as a sentence."""
    why = earning.sentence(entry.explanation) if entry.explanation else ""
    if entry.redemption_id and entry.redemption:
        why = why or str(entry.redemption.discount)
    if entry.kind == EntryKind.EARN and entry.points < 0 and not entry.note:
        why = f"Correction of the sale's points. {why}"
    late = entry.cause_at is not None and entry.at - entry.cause_at > timedelta(days=1)
    return {"entry": entry, "why": why, "late": late}


def _sales(sources: list[Source]) -> list[Sale]:
    """The latest sales of these sources' customers, each with its store by today's mapping."""
    if not sources:
        return []
    whose = Q()
    for source in sources:
        whose |= Q(origin_id=source.customer.origin_id, customer_id=source.customer.external_id)
    sales = list(
        Sale.objects.filter(whose)
        .select_related("state", "location")
        .prefetch_related("location__mappings__store")
        .order_by("-sold_at")[:SALES_SHOWN]
    )
    for sale in sales:
        mappings = sale.location.mappings.all() if sale.location else ()
        sale.store = next((mapping.store for mapping in mappings), None)
        sale.points = sale.state.posted if hasattr(sale, "state") else None
        sale.why = earning.sentence(sale.state.explanation) if hasattr(sale, "state") else ""
    return sales
