"""Retail Stores: add, edit, see which POS locations each one is."""

from django import forms
from django.contrib import admin
from django.db import transaction
from django.db.models import Count
from unfold.decorators import display

from aiqsync.accounts import audit
from aiqsync.accounts.base_admin import TenantAdmin
from aiqsync.accounts.models import zones
from aiqsync.accounts.templatetags.iq import pill
from aiqsync.accounts.tenancy import current_account_id

from . import services
from .models import Store


class StoreForm(forms.ModelForm):
    def clean_country(self) -> str:
        return self.cleaned_data["country"].strip().upper()

    def clean_timezone(self) -> str:
        zone = self.cleaned_data["timezone"]
        if zone and zone not in dict(zones()):
            raise forms.ValidationError("Choose a time zone from the list.")
        return zone


@admin.register(Store)
class StoreAdmin(TenantAdmin):
    subject = "stores"
    form = StoreForm
    list_display = ["name", "number_shown", "place", "mapped", "phone"]
    list_display_links = ["name"]
    ordering = ["name", "number"]
    search_fields = ["name", "nickname", "city"]
    search_help_text = "Name, nickname or city"
    readonly_fields = ["number_shown", "mapping_shown"]
    fieldsets = [
        (None, {"fields": ["name", "nickname", "phone", "email", "timezone"]}),
        ("Address", {"fields": ["street", "city", "state", "postal_code", "country"]}),
        ("Store mapping", {"fields": ["number_shown", "mapping_shown"]}),
    ]

    def get_queryset(self, request):
        return super().get_queryset(request).annotate(places=Count("mappings"))

    def save_model(self, request, obj, form, change):
        with transaction.atomic():
            if change:
                super().save_model(request, obj, form, change)
            else:
                obj.account_id = current_account_id()
                obj.number = services.next_number(obj.account_id)
                obj.save()
            audit.record(
                act="store.changed" if change else "store.created",
                target=str(obj),
                user=request.user,
                detail={name: str(form.cleaned_data.get(name, "")) for name in form.changed_data},
            )

    @display(description="Store id", ordering="number")
    def number_shown(self, store: Store) -> str:
        return str(store.number) if store.pk else "Assigned on saving; some POS ask for it."

    @display(description="Address")
    def place(self, store: Store) -> str:
        return ", ".join(part for part in (store.street, store.city, store.state) if part) or "–"

    @display(description="POS locations", ordering="places")
    def mapped(self, store: Store) -> str:
        if not store.places:
            return pill("Not mapped", "warn")
        return pill(f"{store.places} mapped", "good")

    @display(description="POS locations")
    def mapping_shown(self, store: Store) -> str:
        names = (
            [
                f"{mapping.location} ({mapping.location.origin})"
                for mapping in store.mappings.select_related("location__origin").order_by("location__name")
            ]
            if store.pk
            else []
        )
        return "; ".join(names) or "None yet. Locations are mapped on the integration's own page, under Store mappings."
