"""Customers, Audiences: groups by rules and by hand, with how many fit now."""

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.http import HttpResponseRedirect
from django.urls import path, reverse
from django.utils import timezone
from django.views.decorators.http import require_POST
from unfold.decorators import display

from aiqsync.accounts import audit
from aiqsync.accounts.base_admin import TenantAdmin
from aiqsync.accounts.templatetags import iq
from aiqsync.accounts.tenancy import current_account_id
from stores.models import Store

from . import audiences
from .models import Audience


@admin.register(Audience)
class AudienceAdmin(TenantAdmin):
    subject = "audiences"
    list_display = ["name", "size", "how", "refreshed"]
    list_display_links = ["name"]
    search_fields = ["name"]
    actions = None
    change_form_outer_after_template = "aiqsync/home/archive_audience.html"
    fieldsets = [
        (None, {"fields": ["name", "description", "by_rules"]}),
        (
            "Who fits",
            {
                "fields": [
                    "members_only",
                    "min_points",
                    "min_spend_cents",
                    "min_orders",
                    "seen_within_days",
                    "away_for_days",
                    "birthday_within_days",
                    "customer_type",
                    "store",
                    "pricing_group",
                    "texts",
                ],  # fmt: skip
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

    def formfield_for_dbfield(self, db_field, request, **kwargs):
        field = super().formfield_for_dbfield(db_field, request, **kwargs)
        if db_field.name == "min_spend_cents" and field:
            field.help_text = "In cents, with tax: 10000 is $100.00."
        return field

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
