"""The filters of the personas list. Each narrows by something with an index, or is bounded by the list's own limit.

A filter that has to look at each persona (where it is from, its favourite store) is a condition the planner can only
guess at: it is written so that the guess is "every second one", and the list is then walked in its own order until
there is enough of it. A better looking condition is joined, sorted and counted over a million rows for thirty of them.
"""

from datetime import timedelta

from django.contrib import admin
from django.db.models import BooleanField, Exists, OuterRef, Q
from django.db.models.expressions import RawSQL
from django.db.models.functions import Coalesce
from django.utils import timezone

from integrations.models import Origin, SaleKind
from stores.models import Store

from .models import (
    Attachment,
    Audience,
    AudienceMember,
    Investigation,
    Redemption,
    RedemptionState,
    Source,
)

AT_LEAST = (1, 100, 500, 1000, 5000)
WITHIN = (7, 30, 90, 365)
CHOICES = 200  # stores or audiences offered
FEW = 2000  # records of a source, visits of a store: so many are gone through from their side


def holds(sql: str, *values) -> RawSQL:
    """A condition about each persona by itself, walked and never joined."""
    return RawSQL(sql, values, output_field=BooleanField())


class Filter(admin.SimpleListFilter):
    """One choice of a few; what is not among them filters nothing."""

    walks = False  # looks at each persona: the list counts less of what it finds

    def chosen(self) -> str:
        value = self.value() or ""
        return value if value in {str(key) for key, _ in self.lookup_choices} else ""


class MemberFilter(Filter):
    """Archived ones are left out unless they are asked for, and so are test shoppers."""

    title = "loyalty"
    parameter_name = "member"

    def lookups(self, request, model_admin):
        return [("yes", "Members"), ("no", "Not enrolled"), ("archived", "Archived")]

    def queryset(self, request, queryset):
        if self.chosen() == "archived":
            return queryset.exclude(archived_at=None)
        queryset = queryset.filter(archived_at=None, is_test=False)
        if self.chosen():
            queryset = queryset.filter(member_from__isnull=self.chosen() == "no")
        return queryset


# Sources stay with the row they were matched to: those merged into this one count as this one's. OFFSET 0 keeps the
# planner from reading all sources first.
_SOURCED = """
(EXISTS (SELECT FROM loyalty_source c WHERE c.persona_id = loyalty_persona.id {only} OFFSET 0)
 OR EXISTS (SELECT FROM loyalty_persona g JOIN loyalty_source c ON c.persona_id = g.id {only}
            WHERE g.merged_into_id = loyalty_persona.id OFFSET 0))
"""
_OF_ORIGINS = "AND (SELECT x.origin_id FROM integrations_customer x WHERE x.id = c.customer_id) = ANY(%s)"


class PlatformFilter(Filter):
    walks = True
    title = "sourced from"
    parameter_name = "source"

    def lookups(self, request, model_admin):
        platforms = Origin.objects.order_by("platform").values_list("platform", flat=True).distinct()
        return [(name, name.capitalize()) for name in platforms] + [("none", "Here or the API")]

    def queryset(self, request, queryset):
        if not self.chosen():
            return queryset
        if self.chosen() == "none":
            return queryset.filter(holds(f"NOT {_SOURCED.format(only='')}"))
        origins = dict(Origin.objects.values_list("pk", "platform"))
        mine = [pk for pk, platform in origins.items() if platform == self.chosen()]
        if len(mine) == len(origins):
            return queryset.filter(holds(_SOURCED.format(only="")))
        found = Source.objects.filter(customer__origin__in=mine)
        if found[: FEW + 1].count() <= FEW:
            return queryset.filter(pk__in=found.values(root=Coalesce("persona__merged_into", "persona")))
        return queryset.filter(holds(_SOURCED.format(only=_OF_ORIGINS), mine, mine))


class StoreFilter(Filter):
    title = "favourite store"
    parameter_name = "store"

    def lookups(self, request, model_admin):
        return [(str(pk), name) for pk, name in Store.objects.values_list("pk", "name")[:CHOICES]]

    def queryset(self, request, queryset):
        if not self.chosen():
            return queryset
        store = int(self.chosen())
        return queryset.filter(Q(favourite_store=store) | Q(favourite_store=None, usual_store=store))


class SeenFilter(Filter):
    title = "last seen"
    parameter_name = "seen"

    def lookups(self, request, model_admin):
        within = [(str(days), "Within a year" if days == 365 else f"Within {days} days") for days in WITHIN]
        return [*within, ("never", "Never")]

    def queryset(self, request, queryset):
        if self.chosen() == "never":
            return queryset.filter(last_seen_at=None)
        if self.chosen():
            return queryset.filter(last_seen_at__gte=timezone.now() - timedelta(days=int(self.chosen())))
        return queryset


class PointsFilter(Filter):
    title = "points"
    parameter_name = "points"

    def lookups(self, request, model_admin):
        return [(str(points), f"At least {points:,}") for points in AT_LEAST]

    def queryset(self, request, queryset):
        return queryset.filter(wallet__balance__gte=int(self.chosen())) if self.chosen() else queryset


class AudienceFilter(Filter):
    title = "audience"
    parameter_name = "audience"

    def lookups(self, request, model_admin):
        audiences = Audience.objects.filter(archived_at=None).values_list("pk", "name")
        return [(str(pk), name) for pk, name in audiences[:CHOICES]]

    def queryset(self, request, queryset):
        if not self.chosen():
            return queryset
        # A stay by hand is with the row it was made for, also when that was merged.
        stays = AudienceMember.objects.filter(audience=int(self.chosen()), left_at=None)
        return queryset.filter(pk__in=stays.values(root=Coalesce("persona__merged_into", "persona")))


class OpenFilter(Filter):
    title = "to look at"
    parameter_name = "open"

    def lookups(self, request, model_admin):
        return [
            ("redemption", "Open redemption"),
            ("investigation", "Under investigation"),
            ("no_phone", "No phone"),
            ("no_email", "No e-mail"),
            ("neither", "Neither phone nor e-mail"),
        ]

    def queryset(self, request, queryset):
        match self.chosen():
            case "redemption":
                applied = Redemption.objects.filter(state=RedemptionState.APPLIED)
                return queryset.filter(pk__in=applied.values(root=Coalesce("persona__merged_into", "persona")))
            case "investigation":
                return queryset.filter(pk__in=Investigation.objects.filter(closed_at=None).values("persona"))
            case "no_phone":
                return queryset.filter(phone="")
            case "no_email":
                return queryset.filter(email="")
            case "neither":
                return queryset.filter(phone="", email="")
        return queryset


class ReceiptFilter(Filter):
    """Of the list of sales: receipts that are still nobody's, and those that were given to somebody."""

    title = "whose receipt"
    parameter_name = "receipt"

    def lookups(self, request, model_admin):
        return [("nobody", "Nobody's yet"), ("attached", "Attached later")]

    def queryset(self, request, queryset):
        attached = Exists(Attachment.objects.filter(sale=OuterRef("pk")))
        if self.chosen() == "nobody":
            return queryset.filter(~attached, customer_id="", kind=SaleKind.SALE)
        return queryset.filter(attached) if self.chosen() == "attached" else queryset


ALL = [MemberFilter, PlatformFilter, StoreFilter, SeenFilter, PointsFilter, AudienceFilter, OpenFilter]
