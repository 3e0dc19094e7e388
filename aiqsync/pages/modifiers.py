"""Settings, Points modifiers: double points, boosts, nothing on some goods. Saving one is counted first."""

from django import forms
from django.contrib import admin, messages
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import get_object_or_404
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.http import require_POST, require_safe

from aiqsync import tasks
from aiqsync.accounts.roles import may
from aiqsync.accounts.tenancy import current_account_id
from loyalty import changes
from loyalty.models import Audience, Modifier, ModifierKind
from stores.models import Store

WEEKDAYS = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"]
WORDS = ("brands", "categories", "skus")
LONGEST, MOST = 200, 500


class ModifierForm(forms.ModelForm):
    audience = forms.ModelChoiceField(queryset=None, required=False)
    stores = forms.MultipleChoiceField(required=False, widget=forms.CheckboxSelectMultiple)
    weekdays = forms.MultipleChoiceField(
        required=False, widget=forms.CheckboxSelectMultiple, choices=[(str(n), day) for n, day in enumerate(WEEKDAYS)]
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
        "stores": "None chosen: everywhere.",
        "brands": "One a line. Empty: every brand.",
        "categories": "One a line. Empty: every category.",
        "skus": "One a line. Empty: every product.",
        "weekdays": "In the store's time zone. None chosen: every day.",
        "from_hour": "In the store's time zone, as 14:00.",
        "to_hour": "This minute no longer counts. A span over midnight works.",
    }

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.fields["audience"].queryset = Audience.objects.filter(archived_at=None)
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
            if not isinstance(field.widget, forms.CheckboxInput | forms.CheckboxSelectMultiple):
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
        data = super().clean()
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


def in_words(one: Modifier, stores: dict[int, str]) -> str:
    """What it does, in a line."""
    match one.kind:
        case ModifierKind.MULTIPLIER:
            text = f"{one.factor.normalize():f} times the points"
        case ModifierKind.ZERO:
            text = "No points"
        case _:
            whom = "with a purchase" if one.with_sale else "to the audience"
            text = f"{one.points.normalize():f} points once, {whom}"
    for words in (one.brands, one.categories, one.skus):
        if words:
            text += f", on {', '.join(words[:3])}{' …' if len(words) > 3 else ''}"
    if one.stores:
        text += f", in {', '.join(stores.get(pk, '?') for pk in one.stores)}"
    if one.weekdays:
        text += f", {', '.join(WEEKDAYS[day][:3] for day in one.weekdays)}"
    if one.from_hour or one.to_hour:
        text += f", {one.from_hour:%H:%M}" if one.from_hour else ", "
        text += f" to {one.to_hour:%H:%M}" if one.to_hour else " on"
    if one.starts_on or one.ends_on:
        text += f", {one.starts_on or ''} to {one.ends_on or ''}"
    return text


@require_safe
def index(request: HttpRequest) -> HttpResponse:
    stores = dict(Store.objects.values_list("pk", "name"))
    rows = Modifier.objects.filter(archived_at=None).select_related("audience").order_by("-active", "name")
    context = {
        **admin.site.each_context(request),
        "title": "Points modifiers",
        "modifiers": [(one, in_words(one, stores)) for one in rows],
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
