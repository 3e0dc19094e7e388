"""Settings, Loyalty: the programme of the account. What moves balances is counted first (`change.py`)."""

from dataclasses import dataclass
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.http import require_POST
from unfold.widgets import UnfoldBooleanSwitchWidget

from aiqsync import tasks
from aiqsync.accounts import audit
from aiqsync.accounts.roles import may
from aiqsync.accounts.tenancy import current_account_id
from integrations.models import Origin
from loyalty import changes, double_counting, expiry, programme
from loyalty.models import BlockedPhone, Engine, Programme, Refunds, SourceStart, SpentOnRefund

MOVES = "Moves balances: you see what it would do before it is done."


@dataclass(frozen=True, slots=True)
class Section:
    anchor: str
    title: str
    text: str
    fields: tuple[str, ...]


SECTIONS = (
    Section("accrual", "General accrual", "How members earn points, in every store of the company.", (
        "enabled", "points_per_100", "points_per_order", "max_visits_per_day", "accrual_start", "exclude_tax",
        "exclude_tax_from", "rounding")),
    Section("who", "Who earns", "Membership comes first; these narrow it further.", ("earning_types", "opt_in_needed")),
    Section("refunds", "Refunds", "A sale voided on its own day never earns, whatever is chosen here.",
            ("refunds", "spent_on_refund")),
    Section("expiry", "Expiry", "Empty days: points do not expire.", (
        "engine", "expire_days", "expire_start", "expire_all")),
    Section("redemptions", "Redemptions", "A discount that was taken off at the till never costs points.",
            ("release_after_h",)),
    Section("wallet", "Wallet and PIN", "What shoppers see, and how staff know that it is the shopper.",
            ("hide_points", "show_pin", "pin_to_redeem")),
    Section("budtenders", "Budtenders", "What the Staff role may do with other people's points. Everything is logged.",
            ("staff_may_adjust", "staff_may_redeem", "staff_points_a_day", "manager_points_a_day",
             "staff_redemptions_a_day")),
    Section("merging", "Merging", "Phone and e-mail always count.", ("merge_by_name",)),
)  # fmt: skip

# What each setting acts on, beside its own help text.
ACTS_ON = {
    "enabled": "Acts at once, on everybody. Switched on again, sales of the pause are counted first.",
    "rounding": "Once for each sale, after everything else. Off keeps two decimals.",
    "exclude_tax": "On: points on the amount before tax.",
    "refunds": "What happens to a sale's points when it is refunded on a later day.",
    "spent_on_refund": "What happens to the points a shopper spent on a sale that is refunded in full later.",
    "engine": "FIFO: each earning ends on its own day. Legacy: earned points end after a time without a purchase.",
    "merge_by_name": "Acts on records that arrive from now on.",
}


@dataclass(frozen=True, slots=True)
class Preset:
    """Both settings about refunds at once, as people know them from elsewhere."""

    name: str
    title: str
    text: str
    values: dict[str, str]


REFUND_PRESETS = (
    Preset("keep", "Keep, and list", "As AIQ does: earned and spent points stay; every refund is listed to be handled.",
           {"refunds": Refunds.KEEP, "spent_on_refund": SpentOnRefund.KEEP}),
    Preset("full", "Full refunds only", "As Springbig does with Buddi: a full refund gives reward points back and "
           "takes earned points; a partial one leaves both.",
           {"refunds": Refunds.REVERSE_FULL, "spent_on_refund": SpentOnRefund.REVERSE}),
    Preset("exact", "To the cent", "Earned points go with the refunded part; a full refund gives reward points back.",
           {"refunds": Refunds.REVERSE, "spent_on_refund": SpentOnRefund.REVERSE}),
)  # fmt: skip


class ProgrammeForm(forms.ModelForm):
    class Meta:
        model = Programme
        fields = [name for section in SECTIONS for name in section.fields]

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.fields["engine"].choices = [(Engine.FIFO, "FIFO"), (Engine.LEGACY, "Legacy")]  # told apart beside it
        for name, field in self.fields.items():
            # What the person saw travels along: a page that was open for an hour changes only what was changed on it.
            field.show_hidden_initial = True
            field.acts_on = ACTS_ON.get(name, "")
            field.moves = name in programme.MOVING
            if isinstance(field, forms.BooleanField):
                field.widget = UnfoldBooleanSwitchWidget()
                continue
            field.widget.attrs["class"] = "iq-input"
            if isinstance(field, forms.DateField):
                field.widget = forms.DateInput(attrs={"class": "iq-input", "type": "date"}, format="%Y-%m-%d")
            if not field.required:
                field.widget.attrs["placeholder"] = "none"


def edit(request: HttpRequest) -> HttpResponse:
    may_change = may(request.membership.role, "programme.change")
    asked = request.GET.get("refunds") if may_change and request.method != "POST" else None
    preset = next((one for one in REFUND_PRESETS if one.name == asked), None)
    form = ProgrammeForm(
        request.POST or None, instance=programme.of(current_account_id()), initial=preset.values if preset else None
    )
    problems: dict[str, str] = {}
    if request.method == "POST" and form.is_valid():
        values: dict[str, Any] = {"programme": {name: form.cleaned_data[name] for name in form.changed_data}}
        if starts := _starts(request):
            values["starts"] = starts
        try:
            return _save(request, values)
        except changes.Problems as error:
            problems = error.fields
            for name, text in problems.items():
                if name in form.fields:
                    form.add_error(name, text)
    return _page(request, form, problems, preset)


def _starts(request: HttpRequest) -> dict[str, str]:
    """Start dates of sources that were changed on the page."""
    given = {key.removeprefix("start_"): value for key, value in request.POST.items() if key.startswith("start_")}
    return {pk: value for pk, value in given.items() if request.POST.get(f"initial-start_{pk}") != value}


def _page(
    request: HttpRequest, form: ProgrammeForm, problems: dict[str, str], preset: Preset | None = None
) -> HttpResponse:
    """The page, with each problem beside what it is about."""
    account_id = current_account_id()
    saved = programme.of(account_id)
    may_change = may(request.membership.role, "programme.change")
    if not may_change:
        for field in form.fields.values():
            field.disabled = True
    starts_by_origin = dict(SourceStart.objects.values_list("origin_id", "starts_on"))
    origins = [
        {
            "origin": origin,
            "saved": starts_by_origin.get(origin.pk),
            "typed": request.POST.get(f"start_{origin.pk}"),
            "problem": problems.get(f"start_{origin.pk}", ""),
        }
        for origin in Origin.objects.order_by("pk")
    ]
    context = {
        **admin.site.each_context(request),
        "title": "Loyalty",
        "form": form,
        "sections": [(section, [form[name] for name in section.fields]) for section in SECTIONS],
        "origins": origins,
        "blocked": BlockedPhone.objects.select_related("user").order_by("note", "phone"),
        "has_master_pin": bool(saved.master_pin),
        "legacy": (form["engine"].value() or saved.engine) == Engine.LEGACY,
        "upcoming": expiry.upcoming(account_id, timezone.now()) if saved.expire_days else [],
        "change": changes.open_change(account_id),
        "overlaps": double_counting.overlaps(account_id=account_id),
        "may_change": may_change,
        "moves": MOVES,
        "presets": [(one, all(form[name].value() == value for name, value in one.values.items()))
                    for one in REFUND_PRESETS],
        "preset": preset,
        "problems": problems,
        "typed": {name: request.POST.get(name, "") for name in ("phone", "note")},
        "wrong": bool(form.errors or any(name.startswith("start_") for name in problems)),
        # About a source that is not on the page: there is no field to say it at.
        "elsewhere": [
            text for name, text in problems.items()
            if name.startswith("start_") and not any(name == f"start_{one['origin'].pk}" for one in origins)
        ],
    }  # fmt: skip
    status = 422 if form.errors or problems else 200
    return TemplateResponse(request, "aiqsync/home/programme.html", context, status=status)


def refused(request: HttpRequest, problems: dict[str, str]) -> HttpResponse:
    """The page after one of its smaller forms was refused; the settings stand as they are saved."""
    return _page(request, ProgrammeForm(instance=programme.of(current_account_id())), problems)


def _save(request: HttpRequest, values: dict[str, Any], back: str = "") -> HttpResponse:
    """Raises Problems."""
    here = HttpResponseRedirect(reverse("admin:programme") + back)
    if not programme.clean(account_id=current_account_id(), values=values):
        messages.info(request, "Nothing was changed.")
        return here
    try:
        done = changes.save(
            account_id=current_account_id(), values=values, user=request.user, now=timezone.now(),
            enqueue=tasks.enqueue_job,
        )  # fmt: skip
    except changes.AlreadyOpen as error:
        if error.saved:
            messages.success(request, "What moves no balance is saved.")
        messages.warning(request, str(error))
        return HttpResponseRedirect(reverse("admin:programme-change"))
    except changes.Refused as error:
        messages.warning(request, str(error))
        return here
    if done.change is not None:
        if done.at_once:
            messages.success(request, "What moves no balance is saved.")
        return HttpResponseRedirect(reverse("admin:programme-change"))
    messages.success(request, "Settings saved.")
    return here


@require_POST
def blocklist(request: HttpRequest) -> HttpResponse:
    """Put a phone on the employee points blocklist, or take it off: both are counted first."""
    phone, note = request.POST.get("phone", ""), request.POST.get("note", "")
    part = {"remove": [phone]} if request.POST.get("remove") else {"add": [{"phone": phone, "note": note}]}
    try:
        return _save(request, {"blocked": part}, "#blocklist")
    except changes.Problems as error:
        return refused(request, error.fields)


@require_POST
def master_pin(request: HttpRequest) -> HttpResponse:
    digits = "" if request.POST.get("clear") else request.POST.get("digits", "").strip()
    try:
        if not digits and not request.POST.get("clear"):
            raise changes.Problems({"master_pin": "4 to 8 digits."})
        programme.set_master_pin(account_id=current_account_id(), digits=digits)
    except changes.Problems as error:
        return refused(request, error.fields)
    audit.record(act="master_pin.cleared" if not digits else "master_pin.set", user=request.user)
    messages.success(request, "The master PIN is set." if digits else "The master PIN is cleared.")
    return HttpResponseRedirect(reverse("admin:programme") + "#master-pin")
