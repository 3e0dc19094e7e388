"""What staff do about one shopper's points: adjust, enrol, redeem by hand, give back. The page is `persona_page.py`."""

import uuid
from datetime import date
from decimal import Decimal

from django import forms
from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.db.models import Q
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import get_object_or_404
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.http import require_POST

from aiqsync.accounts import audit
from aiqsync.accounts.roles import Role
from aiqsync.accounts.templatetags import iq
from loyalty import expiry, ledger, personas, pins, profile, programme, refusals, staff
from loyalty.models import Discount, Ground, Persona, Redemption, RedemptionState
from stores.models import StoreStaff


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
    investigate = forms.BooleanField(label="Somebody is still looking into it", required=False)
    token = forms.UUIDField(widget=forms.HiddenInput)

    def clean_points(self) -> Decimal:
        points = self.cleaned_data["points"]
        if not points:
            raise forms.ValidationError("Zero points change nothing.")
        return points


class PartForm(forms.Form):
    """How much of a redemption comes back; empty: all of it. `token` makes one sheet one entry."""

    points = forms.DecimalField(max_digits=12, decimal_places=2, min_value=Decimal("0.01"), required=False)
    token = forms.UUIDField(required=False)

    def asked(self, public_id: uuid.UUID) -> dict:
        points = self.cleaned_data["points"]
        if points is None:
            return {}
        token = self.cleaned_data["token"]
        return {"points": points, "key": f"revert:{public_id}:{token}" if token else None}


class OrderForm(forms.Form):
    """What the order comes to, for a discount with a minimum spend."""

    spend = forms.DecimalField(max_digits=10, decimal_places=2, min_value=Decimal(0))

    def cents(self) -> int:
        return int(self.cleaned_data["spend"] * 100)


class EnrolForm(forms.Form):
    from_date = forms.DateField(
        label="Earns from",
        widget=forms.DateInput(attrs={"class": "iq-input", "type": "date"}, format="%Y-%m-%d"),
        error_messages={"invalid": "A day as 2026-11-21.", "required": "Choose a day."},
    )


def today() -> date:
    """Today in the account's time zone, which the admin has activated."""
    return timezone.localdate()


@require_POST
def adjust(request: HttpRequest, contact_id: uuid.UUID) -> HttpResponse:
    persona, role, now = _living(contact_id), request.membership.role, timezone.now()
    if not staff.may_adjust(role, programme.of(persona.account_id)):
        raise PermissionDenied
    form = AdjustForm(request.POST)
    if not form.is_valid():
        return _page(request, persona, adjusting=form)
    points, note = form.cleaned_data["points"], form.cleaned_data["note"]
    key = f"adjust:{persona.pk}:{form.cleaned_data['token']}"
    try:
        with transaction.atomic():
            staff.check_limits(
                account_id=persona.account_id, user_id=request.user.pk, role=role, points=points, now=now, key=key
            )
            posted = ledger.adjust(
                account_id=persona.account_id,
                persona_id=persona.pk,
                points=points,
                key=key,
                now=now,
                user_id=request.user.pk,
                note=note,
                expires_at=expiry.for_posting(account_id=persona.account_id, kind="adjust", now=now),
            )
            if posted.created:
                detail = {"points": str(points), "note": note, "balance": str(posted.balance)}
                _record(request, "points.adjusted", persona, detail)
                if form.cleaned_data["investigate"]:
                    _investigated(request, persona, note)
    except ledger.Removed:
        messages.error(request, "This person was removed on request meanwhile. Nothing was posted.")
        return _to(persona)
    except ledger.HeldByPos:
        form.add_error(
            "points",
            "The points are those of the POS's own programme, mirrored from there: give or take them in the POS.",
        )
        return _page(request, persona, adjusting=form)
    except ledger.NotEnoughPoints as error:
        form.add_error("points", f"The balance is {iq.points(error.balance)}: no more than that can be taken.")
        return _page(request, persona, adjusting=form)
    except staff.LimitReached as error:
        form.add_error("points", str(error))
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
    if "preview" in request.POST:  # what that day would credit, before anybody enrols
        return HttpResponseRedirect(f"{_to(persona).url}?from={from_date.isoformat()}#enrol")
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
    persona, role, now = _living(contact_id), request.membership.role, timezone.now()
    if max(discount_id, n) > 2**31 - 1:
        raise Http404("No such redemption")
    settings = programme.of(persona.account_id)
    if not staff.may_redeem(role, settings):
        raise PermissionDenied
    discount = get_object_or_404(Discount, pk=discount_id)
    order = OrderForm(request.POST) if discount.min_spend_cents else None
    if order and not order.is_valid():
        least = iq.money(discount.min_spend_cents, request.membership.account.currency)
        messages.error(
            request,
            f"{discount} is for orders from {least} on: type what the order comes to, as 54.50. Nothing was redeemed.",
        )
        return _to(persona)
    proof = ""
    if settings.pin_to_redeem:
        try:
            proof = pins.check(persona=persona, code=request.POST.get("pin", ""), now=now)
        except pins.WrongPin as error:
            _record(request, "pin.wrong", persona, {})
            messages.error(request, f"{error} Nothing was redeemed.")
            return _to(persona)
    try:
        with transaction.atomic():
            staff.check_redemption(
                account_id=persona.account_id, user_id=request.user.pk, role=role, now=now,
                again=(persona.pk, discount.pk, n),
            )  # fmt: skip
            done = ledger.redeem(
                account_id=persona.account_id,
                persona_id=persona.pk,
                discount_id=discount.pk,
                n=n,
                transaction="",
                channel="staff",
                now=now,
                user_id=request.user.pk,
                store_id=_store_of(request),
                spend_cents=order.cents() if order else None,
            )
            if done.created:
                detail = {"discount": discount.name, "points": str(done.points), "redemption": str(done.redemption_id)}
                detail |= {"shown": proof} if proof else {}
                _record(request, "redemption.by_hand", persona, detail)
    except refusals.Refusal as error:
        messages.error(request, f"{discount}: {refusals.sentence(error)} The balance is as it was.")
    except staff.LimitReached as error:
        messages.error(request, str(error))
    else:
        messages.success(
            request,
            f"{discount} is redeemed for {iq.points(done.points)} points. Now type {to_type(discount)} at the till. "
            f"{f'The code is {done.code}. ' if done.code else ''}"
            "If the sale does not happen, give it back below.",
        )
    return _to(persona)


@require_POST
def send_pin(request: HttpRequest, contact_id: uuid.UUID) -> HttpResponse:
    """Send the shopper a code, which he tells staff before they redeem."""
    persona = _living(contact_id)
    try:
        sent = pins.send(persona=persona, now=timezone.now(), user=request.user)
    except pins.NotSent as error:
        messages.error(request, str(error))
    else:
        _record(request, "pin.sent", persona, {"to": sent.to})
        messages.success(request, f"A code is on its way to {sent.to}. It is good for five minutes.")
    return _to(persona)


def _store_of(request: HttpRequest) -> int | None:
    """Where it happens, when the person works in one store only."""
    stores = list(StoreStaff.objects.filter(membership=request.membership).values_list("store_id", flat=True)[:2])
    return stores[0] if len(stores) == 1 else None


def to_type(discount: Discount) -> str:
    """What staff enter in the POS: "$10.00 off the cart"."""
    if discount.kind == Discount.Kind.FLAT:
        return f"{iq.money(discount.amount_cents)} off the cart"
    return f"{discount.percent.normalize():f} % off the cart"


@require_POST
def give_back(request: HttpRequest, contact_id: uuid.UUID, public_id: uuid.UUID) -> HttpResponse:
    persona = _living(contact_id)
    redemption = get_object_or_404(
        Redemption.objects.select_related("discount").filter(Q(persona=persona) | Q(persona__merged_into=persona)),
        public_id=public_id,
    )
    if redemption.state == RedemptionState.SETTLED and redemption.state not in turnable(request.membership.role):
        raise PermissionDenied
    part = PartForm(request.POST)
    if not part.is_valid():
        messages.error(request, "Say how many points to give back, as 50 or 12.50; nothing was given back.")
        return _to(persona)
    try:
        with transaction.atomic():
            back = ledger.revert(
                account_id=persona.account_id,
                redemption_public_id=public_id,
                now=timezone.now(),
                user_id=request.user.pk,
                note="Given back on the persona page",
                why="staff",
                **part.asked(public_id),
            )
            if back.created:
                detail = {"points": str(back.points), "redemption": str(public_id)}
                _record(request, "redemption.given_back", persona, detail)
    except ledger.NothingToRevert as error:
        messages.error(request, f"{iq.points(error.left)} points can be given back, no more. Nothing was given back.")
        return _to(persona)
    except ledger.UnknownRedemption:
        messages.error(request, "This person was removed on request meanwhile. Nothing was given back.")
        return _to(persona)
    if back.created:
        messages.success(
            request,
            f"{redemption.discount}: {iq.points(back.points)} points are back. "
            f"The balance is {iq.points(back.balance)}. If the till still shows the discount, remove it there.",
        )
    else:
        messages.info(request, "These points had been given back before; nothing changed.")
    return _to(persona)


def _investigated(request: HttpRequest, persona: Persona, note: str) -> None:
    try:
        profile.investigate(
            account_id=persona.account_id, persona_id=persona.pk, note=note, user=request.user, now=timezone.now()
        )
    except profile.UnderInvestigation:
        return  # the open one goes on; the adjustment's note stands in the timeline
    _record(request, "investigation.opened", persona, {"note": note})


def _living(contact_id: uuid.UUID) -> Persona:
    return get_object_or_404(Persona, contact_id=contact_id, merged_into=None, erased_at=None)


def _page(request: HttpRequest, persona: Persona, **sheets) -> HttpResponse:
    from . import persona_page  # it shows this module's forms

    return persona_page.page(request, persona, **sheets)


def _to(persona: Persona) -> HttpResponse:
    return HttpResponseRedirect(reverse("admin:persona", args=[persona.contact_id]))


def _record(request: HttpRequest, act: str, persona: Persona, detail: dict) -> None:
    audit.record(
        act=act, target=str(persona), user=request.user, detail=detail | {"contact_id": str(persona.contact_id)}
    )
