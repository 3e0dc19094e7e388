"""Settings, Loyalty: the programme of the account, one row."""

from django import forms
from django.contrib import admin, messages
from django.db import transaction
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import reverse
from unfold.widgets import UnfoldBooleanSwitchWidget

from aiqsync.accounts import audit
from aiqsync.accounts.roles import may
from loyalty.models import Programme

# What each setting acts on, beside its own help text.
ACTS_ON = {
    "enabled": "Acts at once, on everybody.",
    "points_per_100": "Acts on sales read from now on, and on an earlier sale when it changes.",
    "accrual_start": "Acts on sales read from now on, and on an earlier sale when it changes. Memberships stay.",
    "exclude_tax": "On: points on the amount before tax. Acts on sales read from now on, and on an earlier one when it "
    "changes.",
    "rounding": "Once for each sale, after everything else. Off keeps two decimals.",
    "refunds": "What happens to a sale's points when it is refunded later. A sale voided the same day never earns.",
    "expire_days": "Acts on points posted from now on; those already there keep their date.",
}


class ProgrammeForm(forms.ModelForm):
    class Meta:
        model = Programme
        fields = list(ACTS_ON)
        widgets = {
            "enabled": UnfoldBooleanSwitchWidget,
            "exclude_tax": UnfoldBooleanSwitchWidget,
            "points_per_100": forms.NumberInput(attrs={"class": "iq-input", "step": "0.01", "min": "0"}),
            "accrual_start": forms.DateInput(attrs={"class": "iq-input", "type": "date"}, format="%Y-%m-%d"),
            "rounding": forms.Select(attrs={"class": "iq-input"}),
            "refunds": forms.Select(attrs={"class": "iq-input"}),
            "expire_days": forms.NumberInput(attrs={"class": "iq-input", "min": "1", "placeholder": "never"}),
        }

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        for name, field in self.fields.items():
            field.acts_on = ACTS_ON[name]


def edit(request: HttpRequest) -> HttpResponse:
    programme = Programme.objects.first() or Programme()
    may_change = may(request.membership.role, "programme.change")
    form = ProgrammeForm(request.POST or None, instance=programme)
    if not may_change:
        for field in form.fields.values():
            field.disabled = True
    if request.method == "POST" and form.is_valid():
        with transaction.atomic():
            saved = form.save()
            audit.record(
                act="programme.changed",
                target=str(saved),
                user=request.user,
                detail={name: str(form.cleaned_data[name]) for name in form.changed_data},
            )
        messages.success(request, "Settings saved.")
        return HttpResponseRedirect(reverse("admin:programme"))
    context = {
        **admin.site.each_context(request),
        "title": "Loyalty",
        "form": form,
        "may_change": may_change,
        "example": programme.points_per_100,
    }
    return TemplateResponse(request, "aiqsync/home/programme.html", context, status=422 if form.errors else 200)
