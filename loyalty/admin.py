"""Redemptions: a list to look things up in. Personas have theirs in `persona_admin.py`."""

from django.contrib import admin
from django.db.models import Q
from django.urls import reverse
from unfold.decorators import display

from aiqsync.accounts.base_admin import ReadOnlyAdmin
from aiqsync.accounts.paging import CappedPaginator
from aiqsync.accounts.templatetags import iq
from integrations.models import Sale

from . import (  # noqa: F401  (register themselves)
    audience_admin,
    discount_admin,
    key_admin,
    message_admin,
    persona_admin,
    persona_filters,
)
from .models import Persona, Redemption, RedemptionState

# Whose a receipt is, only this floor knows; the list of sales belongs to the one below.
_SALES = admin.site.get_model_admin(Sale)
_SALES.list_filter = [*_SALES.list_filter, persona_filters.ReceiptFilter]

STATE_TONES = {RedemptionState.SETTLED: "good", RedemptionState.APPLIED: "info"}


@admin.register(Redemption)
class RedemptionAdmin(ReadOnlyAdmin):
    subject = "redemptions"
    paginator = CappedPaginator
    list_display = ["applied", "who", "discount", "points_shown", "state_shown", "channel", "store", "order"]
    list_display_links = None
    list_select_related = ["persona", "discount", "store", "sale"]
    list_filter = ["state", "channel"]
    search_fields = ["transaction"]
    search_help_text = "Order number of the till"
    ordering = ["-applied_at"]
    fields = [
        "public_id",
        "who",
        "discount",
        "points_shown",
        "back",
        "state_shown",
        "channel",
        "store",
        "order",
        "applied",
        "settled",
        "ended",
    ]
    readonly_fields = fields

    def get_queryset(self, request):
        tests = Persona.objects.filter(is_test=True).values_list("pk", flat=True)
        return super().get_queryset(request).exclude(persona__in=list(tests))

    def get_search_results(self, request, queryset, search_term):
        term = search_term.strip()
        return (queryset.filter(Q(transaction=term) | Q(sale__number=term)) if term else queryset), False

    @display(description="Applied", ordering="applied_at")
    def applied(self, redemption: Redemption) -> str:
        return iq.when(redemption.applied_at)

    @display(description="Settled")
    def settled(self, redemption: Redemption) -> str:
        return iq.when(redemption.settled_at, "–")

    @display(description="Given back")
    def ended(self, redemption: Redemption) -> str:
        return iq.when(redemption.ended_at, "–")

    @display(description="Persona")
    def who(self, redemption: Redemption) -> str:
        return iq.link(str(redemption.persona), reverse("admin:persona", args=[redemption.persona.contact_id]))

    @display(description="Points", ordering="points")
    def points_shown(self, redemption: Redemption) -> str:
        return iq.number(iq.points(redemption.points))

    @display(description="Points given back")
    def back(self, redemption: Redemption) -> str:
        return iq.points(redemption.reverted_points)

    @display(description="State", ordering="state")
    def state_shown(self, redemption: Redemption) -> str:
        return iq.pill(redemption.get_state_display(), STATE_TONES.get(redemption.state, ""))

    @display(description="Sale or order")
    def order(self, redemption: Redemption) -> str:
        return str(redemption.sale) if redemption.sale_id else redemption.transaction or "–"
