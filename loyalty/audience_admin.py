"""Customers, Audiences: groups by rules and by hand, with how many fit now."""

from decimal import Decimal

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.http import HttpResponseRedirect
from django.urls import path, reverse
from django.utils import timezone
from django.views.decorators.http import require_POST
from unfold.decorators import display
from unfold.widgets import UnfoldAdminDecimalFieldWidget

from aiqsync.accounts import audit
from aiqsync.accounts.base_admin import TenantAdmin
from aiqsync.accounts.templatetags import iq
from aiqsync.accounts.tenancy import current_account_id
from stores.models import Store

from . import audiences
from .models import Audience

RULES = (
    "members_only", "min_points", "min_spend", "min_orders", "seen_within_days", "away_for_days",
    "birthday_within_days", "customer_type", "store", "pricing_group", "texts",
)  # fmt: skip


class AudienceForm(forms.ModelForm):
    min_spend = forms.DecimalField(
        label="Spent at least, all time, in dollars", required=False, min_value=Decimal(0),
        max_value=Decimal(10_000_000), max_digits=10, decimal_places=2, widget=UnfoldAdminDecimalFieldWidget,
        help_text="With tax; what was returned is not spent. Empty: whatever was spent.",
    )  # fmt: skip

    class Meta:
        model = Audience
        fields = ["name"]  # the admin adds those of its field sets

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        if self.instance.min_spend_cents is not None:
            self.initial["min_spend"] = Decimal(self.instance.min_spend_cents) / 100

    def clean_name(self):
        name = self.cleaned_data["name"]
        if other := Audience.objects.filter(name=name).exclude(pk=self.instance.pk).first():
            state = "An archived audience" if other.archived_at else "Another audience"
            raise forms.ValidationError(f"{state} has this name already: choose another.")
        return name

    def clean(self):
        data = super().clean()
        seen, away = data.get("seen_within_days"), data.get("away_for_days")
        if seen is not None and away is not None and seen < away:
            self.add_error("away_for_days", f"Nobody bought within {seen} days and has not bought for {away}.")
        return data

    def save(self, commit=True):
        spend = self.cleaned_data["min_spend"]
        self.instance.min_spend_cents = None if spend is None else int(spend * 100)
        return super().save(commit)


@admin.register(Audience)
class AudienceAdmin(TenantAdmin):
    subject = "audiences"
    form = AudienceForm
    list_display = ["name", "size", "how", "refreshed"]
    list_display_links = ["name"]
    search_fields = ["name"]
    actions = None
    change_form_outer_after_template = "aiqsync/home/archive_audience.html"
    conditional_fields = dict.fromkeys(RULES, "by_rules == true")
    fieldsets = [
        (None, {"fields": ["name", "description", "by_rules"]}),
        (
            "Who fits",
            {
                "fields": RULES,
                "description": "All that are filled in must hold. Looked at every ten minutes, and when you save.",
            },
        ),
    ]

    def get_queryset(self, request):
        return super().get_queryset(request).filter(archived_at=None)

    def formfield_for_foreignkey(self, db_field, request, **kwargs):
        if db_field.name == "store":
            kwargs["queryset"] = Store.objects.order_by("name")
        return super().formfield_for_foreignkey(db_field, request, **kwargs)

    def changelist_view(self, request, extra_context=None):
        self.sizes = audiences.sizes(account_id=current_account_id())
        return super().changelist_view(request, extra_context)

    def change_view(self, request, object_id, form_url="", extra_context=None):
        extra = {"may_archive": self._may(request, "change")}
        audience = self.get_object(request, object_id)
        if audience is not None:
            extra["forecast"] = audiences.forecast(audience=audience, now=timezone.now())
        return super().change_view(request, object_id, form_url, (extra_context or {}) | extra)

    def save_model(self, request, obj, form, change):
        with transaction.atomic():
            super().save_model(request, obj, form, change)
            audit.record(act="audience.changed" if change else "audience.created", target=obj.name, user=request.user)
        came, went = audiences.refresh(audience=obj, now=timezone.now())
        size = audiences.sizes(account_id=obj.account_id).get(obj.pk, 0)
        messages.info(request, f"{size:,} are in it now: {came:,} came, {went:,} left.")

    def get_urls(self):
        archive = path("<int:pk>/archive/", self.admin_site.admin_view(self.archive), name="loyalty_audience_archive")
        return [archive, *super().get_urls()]

    def archive(self, request, pk: int):
        return require_POST(self._archive)(request, pk)

    def _archive(self, request, pk: int):
        if not self._may(request, "change"):
            raise PermissionDenied
        audience = self.get_object(request, str(pk))
        if audience is None:
            return self._get_obj_does_not_exist_redirect(request, self.opts, str(pk))
        try:
            with transaction.atomic():
                audiences.archive(audience=audience, now=timezone.now())
                audit.record(act="audience.archived", target=audience.name, user=request.user)
        except audiences.InUse as error:
            messages.error(request, str(error))
            return HttpResponseRedirect(reverse("admin:loyalty_audience_change", args=[pk]))
        messages.success(request, f"{audience.name} is archived.")
        return HttpResponseRedirect(reverse("admin:loyalty_audience_changelist"))

    @display(description="Members now")
    def size(self, audience: Audience) -> str:
        return iq.number(f"{self.sizes.get(audience.pk, 0):,}")

    @display(description="Filled")
    def how(self, audience: Audience) -> str:
        return "By rules and by hand" if audience.by_rules else "By hand"

    @display(description="Looked at")
    def refreshed(self, audience: Audience) -> str:
        return iq.when(audience.refreshed_at)
