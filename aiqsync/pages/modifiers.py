"""Settings, Points modifiers: double points, boosts, nothing on some goods. Saving one is counted first."""

from decimal import Decimal

from django import forms
from django.contrib import admin, messages
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import get_object_or_404
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.http import require_POST, require_safe
from unfold.widgets import UnfoldBooleanSwitchWidget

from aiqsync import tasks
from aiqsync.accounts.roles import may
from aiqsync.accounts.tenancy import current_account_id
from loyalty import changes, modifiers
from loyalty.models import Audience, Modifier, ModifierKind
from stores.models import Store

WORDS = ("brands", "categories", "skus")
# What each kind asks for. A gift to an audience is given at once: it knows no purchase, so no goods, no store, no hour.
ONLY_FOR = {
    "factor": "kind=multiplier", "points": "kind=boost", "with_sale": "kind=boost",
    **dict.fromkeys(
        (*WORDS, "stores", "weekdays", "from_hour", "to_hour"), "kind=multiplier or kind=zero or with_sale=on"
    ),
}  # fmt: skip
NEUTRAL = {"points": Decimal(0), "with_sale": False, "from_hour": None, "to_hour": None}
LONGEST, MOST = 200, 500


class ModifierForm(forms.ModelForm):
    audience = forms.ModelChoiceField(queryset=None, required=False)
    stores = forms.MultipleChoiceField(required=False, widget=forms.CheckboxSelectMultiple)
    weekdays = forms.MultipleChoiceField(
        required=False,
        widget=forms.CheckboxSelectMultiple,
        choices=[(str(n), day) for n, day in enumerate(modifiers.WEEKDAYS)],
    )
    brands = forms.CharField(required=False, widget=forms.Textarea(attrs={"rows": 2}))
    categories = forms.CharField(required=False, widget=forms.Textarea(attrs={"rows": 2}))
    skus = forms.CharField(required=False, label="SKUs", widget=forms.Textarea(attrs={"rows": 2}))

    class Meta:
        model = Modifier
        fields = [
            "name", "kind", "factor", "points", "with_sale", "audience", "stores", "brands", "categories", "skus",
            "weekdays", "from_hour", "to_hour", "starts_on", "ends_on", "active",
        ]  # fmt: skip

    HELP = {
        "factor": "A multiplier: 2 is double points.",
        "kind": "A multiplier or zero points on what is bought; a boost is a number of points, once for each shopper.",
        "audience": "Only for its members.",
        "stores": "None chosen: everywhere.",
        "brands": "One a line. Empty: every brand. Capitals do not matter.",
        "categories": "One a line. Empty: every category. Those below it count too.",
        "skus": "One a line. Empty: every product.",
        "weekdays": "In the store's time zone. None chosen: every day.",
        "starts_on": "Empty: what was bought earlier counts too, and its points are brought to it.",
        "ends_on": "This day still counts. Empty: until you switch it off.",
        "active": "Off: it counts for no sale, earlier ones included.",
        "from_hour": "In the store's time zone, as 14:00.",
        "to_hour": "This minute no longer counts. A span over midnight works.",
    }

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        if not self.instance.pk:
            # A new one begins today: what was bought before earned by what was promised then.
            self.initial["starts_on"] = timezone.localdate()
        self.fields["audience"].queryset = Audience.objects.filter(archived_at=None)
        self.fields["audience"].empty_label = "Every member"
        self.fields["stores"].choices = [(str(pk), name) for pk, name in Store.objects.values_list("pk", "name")]
        for name in WORDS:
            self.initial[name] = "\n".join(getattr(self.instance, name))
        for name in ("stores", "weekdays"):
            self.initial[name] = [str(one) for one in getattr(self.instance, name)]
        for name in ("factor", "points"):
            self.fields[name].required = False
        for name, field in self.fields.items():
            field.help_text = self.HELP.get(name, field.help_text)
            if isinstance(field, forms.DateField):
                field.widget = forms.DateInput(attrs={"type": "date"}, format="%Y-%m-%d")
            if isinstance(field, forms.TimeField):
                field.widget = forms.TimeInput(attrs={"type": "time"}, format="%H:%M")
            field.only_for = ONLY_FOR.get(name, "")
            if isinstance(field.widget, forms.CheckboxInput):
                field.widget = UnfoldBooleanSwitchWidget()
            elif not isinstance(field.widget, forms.CheckboxSelectMultiple):
                field.widget.attrs["class"] = "iq-input"

    def _words(self, name: str) -> list[str]:
        found = [word.strip() for word in self.cleaned_data[name].splitlines() if word.strip()]
        if any(len(word) > LONGEST for word in found) or len(found) > MOST:
            raise forms.ValidationError(f"Up to {MOST} lines of up to {LONGEST} letters.")
        return list(dict.fromkeys(found))

    def clean_brands(self):
        return self._words("brands")

    def clean_categories(self):
        return self._words("categories")

    def clean_skus(self):
        return self._words("skus")

    def clean_stores(self):
        return sorted(int(pk) for pk in self.cleaned_data["stores"])

    def clean_weekdays(self):
        return sorted(int(day) for day in self.cleaned_data["weekdays"])

    def clean_factor(self):
        return self.cleaned_data.get("factor") or self.instance.factor

    def clean_points(self):
        return self.cleaned_data.get("points") or 0

    def clean(self):
        """What does not belong to the kind is not kept: a condition that is shown nowhere would act, or mislead."""
        data = super().clean()
        gift = data.get("kind") == ModifierKind.BOOST and not data.get("with_sale")
        for name in ONLY_FOR:
            kept = not gift if "with_sale=on" in ONLY_FOR[name] else ONLY_FOR[name] == f"kind={data.get('kind')}"
            if not kept:
                data[name] = self.instance.factor if name == "factor" else NEUTRAL.get(name, [])
                self._errors.pop(name, None)
        if data.get("kind") == ModifierKind.BOOST and not data.get("with_sale") and not data.get("audience"):
            self.add_error("audience", "A boost is given with a purchase, or to an audience: choose one of the two.")
        return data

    def values(self) -> dict:
        """As `changes` takes it: plain JSON."""
        said = {name: self.cleaned_data[name] for name in self.fields}
        said["audience"] = said["audience"].pk if said["audience"] else None
        for name in ("factor", "points"):
            said[name] = str(said[name])
        for name in ("from_hour", "to_hour", "starts_on", "ends_on"):
            said[name] = said[name].isoformat() if said[name] else None
        return said | {"id": self.instance.pk}


@require_safe
def index(request: HttpRequest) -> HttpResponse:
    stores = dict(Store.objects.values_list("pk", "name"))
    rows = Modifier.objects.filter(archived_at=None).select_related("audience").order_by("-active", "name")
    context = {
        **admin.site.each_context(request),
        "title": "Points modifiers",
        "modifiers": [(one, modifiers.in_words(one, stores)) for one in rows],
        "may_change": may(request.membership.role, "programme.change"),
    }
    return TemplateResponse(request, "aiqsync/home/modifiers.html", context)


def edit(request: HttpRequest, pk: int = 0) -> HttpResponse:
    one = get_object_or_404(Modifier, pk=min(pk, 2**63 - 1), archived_at=None) if pk else Modifier()
    form = ModifierForm(request.POST or None, instance=one)
    if request.method == "POST" and form.is_valid():
        return _propose(request, form.values(), "modifier")
    context = {
        **admin.site.each_context(request),
        "title": one.name if pk else "New points modifier",
        "form": form,
        "modifier": one if pk else None,
        "sold": modifiers.sold(account_id=current_account_id()),
    }
    return TemplateResponse(request, "aiqsync/home/modifier.html", context, status=422 if form.errors else 200)


@require_POST
def archive(request: HttpRequest, pk: int) -> HttpResponse:
    one = get_object_or_404(Modifier, pk=min(pk, 2**63 - 1), archived_at=None)
    return _propose(request, {"id": one.pk, "name": one.name, "archived_at": timezone.now().isoformat()}, "archive")


def _propose(request: HttpRequest, item: dict, what: str) -> HttpResponse:
    try:
        done = changes.save(
            account_id=current_account_id(), values={"modifiers": [item]}, user=request.user, now=timezone.now(),
            enqueue=tasks.enqueue_job,
        )  # fmt: skip
    except changes.AlreadyOpen as error:
        messages.warning(request, str(error))
        return HttpResponseRedirect(reverse("admin:programme-change"))
    except changes.Refused as error:
        messages.warning(request, str(error))
        return HttpResponseRedirect(reverse("admin:modifiers"))
    if done.change is not None:
        return HttpResponseRedirect(reverse("admin:programme-change"))
    messages.success(request, "Archived." if what == "archive" else "Saved.")
    return HttpResponseRedirect(reverse("admin:modifiers"))
