"""Retail Stores: add, edit, see which POS locations each one is."""

from dataclasses import dataclass

from django import forms
from django.contrib import admin
from django.db import transaction
from django.db.models import Count
from unfold.decorators import display
from unfold.widgets import UnfoldAdminURLInputWidget

from aiqsync.accounts import audit
from aiqsync.accounts.base_admin import TenantAdmin
from aiqsync.accounts.models import zones
from aiqsync.accounts.roles import may
from aiqsync.accounts.templatetags.iq import pill
from aiqsync.accounts.tenancy import current_account_id
from aiqsync.accounts.typed import whole_number
from integrations import registry
from integrations.models import Location

from . import services
from .models import REVIEW_SITES, Store, StoreMapping


def _site(label: str) -> forms.URLField:
    widget = UnfoldAdminURLInputWidget(attrs={"placeholder": "https://"})
    return forms.URLField(label=label, required=False, max_length=500, assume_scheme="https", widget=widget)


class StoreForm(forms.ModelForm):
    """Review links are kept together and typed one by one."""

    google = _site("Google reviews")
    facebook = _site("Facebook")
    leafly = _site("Leafly")
    weedmaps = _site("Weedmaps")
    instagram = _site("Instagram")
    twitter = _site("Twitter")
    yelp = _site("Yelp")

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        for site in REVIEW_SITES:
            if site in self.fields:
                self.initial[site] = self.instance.review_links.get(site, "")

    def clean(self):
        data = super().clean()
        typed = {site: data[site] for site in REVIEW_SITES if site in data}
        self.instance.review_links = {
            site: address for site, address in (self.instance.review_links | typed).items() if address
        }
        return data

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
    readonly_fields = ["number_shown"]
    change_form_outer_after_template = "aiqsync/stores/mappings.html"
    fieldsets = [
        (None, {"fields": ["number_shown", "name", "nickname", "phone", "email", "timezone"]}),
        ("At the till", {"fields": ["require_pin"]}),
        (
            "Address",
            {"fields": ["street", "city", "state", "postal_code", "country", ("latitude", "longitude")]},
        ),
        (
            "On the web",
            {
                "fields": ["avatar", "online_shop_url", *REVIEW_SITES],
                "description": "What the API tells of the store to apps and web shops. Empty: none.",
            },
        ),
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

    def change_view(self, request, object_id, form_url="", extra_context=None):
        """Below the store's own fields: one line for each connected POS, with the places seen in it."""
        store = self.get_queryset(request).filter(pk=whole_number(object_id)).first()
        lines = mapping_lines(store) if store else []
        more = {"mapping_lines": lines, "may_map": may(request.membership.role, "integrations.change"), "store": store}
        return super().change_view(request, object_id, form_url, (extra_context or {}) | more)


@dataclass(frozen=True, slots=True)
class MappingLine:
    """One dropdown of a store's mappings: a POS's places, of which one may be this store."""

    name: str  # of the field
    pos: str
    chosen: int | None
    choices: list[tuple[int, str]]


def mapping_lines(store: Store) -> list[MappingLine]:
    """For each POS its places that are this store, each in a line, and one empty line while there are others."""
    origins: dict[int, list[Location]] = {}
    for location in Location.objects.select_related("origin").order_by("origin", "name", "id"):
        origins.setdefault(location.origin_id, []).append(location)
    of = {
        place: (shop, name)
        for place, shop, name in StoreMapping.objects.values_list("location", "store", "store__name")
    }
    lines = []
    for origin_id, places in origins.items():
        origin = places[0].origin
        pos = registry.CARDS[origin.platform].title if origin.platform in registry.CARDS else origin.platform
        several = sum(1 for other in origins.values() if other[0].origin.platform == origin.platform) > 1
        title = f"{pos} ({origin.title or origin.identity})" if several else pos
        choices = [(place.pk, _as_choice(place, of.get(place.pk), store)) for place in places]
        mine = [place.pk for place in places if of.get(place.pk, (None,))[0] == store.pk]
        for number, chosen in enumerate([*mine, None] if len(mine) < len(places) else mine):
            lines.append(MappingLine(f"place-{origin_id}-{number}", title if not number else "", chosen, choices))
    return lines


def _as_choice(place: Location, mapped: tuple[int | None, str | None] | None, store: Store) -> str:
    name = f"{place}{'' if place.active else ' (closed)'}"
    if mapped is None:
        return f"{name} – not mapped yet"
    if mapped[0] == store.pk:
        return name
    return f"{name} – now {mapped[1] or 'no store of ours'}"
