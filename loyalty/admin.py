"""Personas and redemptions: lists to find things in. A persona's own page is `aiqsync/pages/persona.py`."""

import uuid

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db.models import Exists, OuterRef, Q
from django.http import HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils import timezone
from django.utils.dateparse import parse_date
from unfold.decorators import display

from aiqsync.accounts import audit
from aiqsync.accounts.base_admin import ReadOnlyAdmin
from aiqsync.accounts.models import Account
from aiqsync.accounts.paging import CappedPaginator
from aiqsync.accounts.templatetags import iq
from aiqsync.accounts.tenancy import current_account_id
from integrations.models import Origin
from integrations.services import e164

from . import discount_admin, message_admin  # noqa: F401  (register themselves)
from .models import Ground, Persona, Redemption, RedemptionState, Source

STATE_TONES = {RedemptionState.SETTLED: "good", RedemptionState.APPLIED: "info"}


class MemberFilter(admin.SimpleListFilter):
    title = "loyalty"
    parameter_name = "member"

    def lookups(self, request, model_admin):
        return [("yes", "Members"), ("no", "Not enrolled")]

    def queryset(self, request, queryset):
        if self.value() in ("yes", "no"):
            return queryset.filter(member_from__isnull=self.value() == "no")
        return queryset


class PlatformFilter(admin.SimpleListFilter):
    title = "sourced from"
    parameter_name = "source"

    def lookups(self, request, model_admin):
        platforms = Origin.objects.order_by("platform").values_list("platform", flat=True).distinct()
        return [(name, name.capitalize()) for name in platforms] + [("none", "Here or the API")]

    def queryset(self, request, queryset):
        if not self.value():
            return queryset
        found = Source.objects.filter(persona=OuterRef("pk"))
        if self.value() == "none":
            return queryset.filter(~Exists(found))
        return queryset.filter(Exists(found.filter(customer__origin__platform=self.value())))


@admin.register(Persona)
class PersonaAdmin(ReadOnlyAdmin):
    subject = "personas"
    paginator = CappedPaginator
    list_display = ["who", "phone_shown", "email", "sourced", "loyalty", "balance", "seen"]
    list_display_links = None
    list_filter = [MemberFilter, PlatformFilter]
    list_select_related = ["wallet"]
    ordering = ["-id"]
    search_fields = ["phone"]
    search_help_text = "Phone in any format, e-mail, name or contact ID"
    actions = ["enrol"]

    def get_queryset(self, request):
        found = super().get_queryset(request).filter(merged_into=None)
        return found.prefetch_related("sources__customer__origin")

    def get_search_results(self, request, queryset, search_term):
        """Whole phone, e-mail or contact ID by its index; else the beginning of a name. No search in the middle."""
        term = search_term.strip()
        if not term:
            return queryset, False
        try:
            return queryset.filter(contact_id=uuid.UUID(term)), False
        except ValueError:
            pass
        if "@" in term:
            email = term.lower()
            return queryset.filter(Q(email=email) | Q(identifiers__kind="email", identifiers__value=email)), True
        account = Account.objects.get(pk=current_account_id())
        if phone := e164(term, account.country):
            return queryset.filter(Q(phone=phone) | Q(identifiers__kind="phone", identifiers__value=phone)), True
        first, _, last = term.partition(" ")
        if last.strip():
            return queryset.filter(
                Q(first_name__istartswith=first, last_name__istartswith=last.strip())
                | Q(first_name__istartswith=last.strip(), last_name__istartswith=first.rstrip(","))
                | Q(first_name__istartswith=term)
            ), False
        return queryset.filter(Q(first_name__istartswith=term) | Q(last_name__istartswith=term)), False

    def change_view(self, request, object_id, form_url="", extra_context=None):
        """The row's page is the persona page."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        persona = Persona.objects.filter(pk=object_id).first() if object_id.isdigit() else None
        if persona is None:
            return self._get_obj_does_not_exist_redirect(request, self.opts, object_id)
        return HttpResponseRedirect(reverse("admin:persona", args=[persona.contact_id]))

    @display(description="Name", ordering="last_name")
    def who(self, persona: Persona) -> str:
        return iq.link(str(persona), reverse("admin:persona", args=[persona.contact_id]))

    @display(description="Phone", ordering="phone")
    def phone_shown(self, persona: Persona) -> str:
        return iq.number(iq.phone(persona.phone)) if persona.phone else "–"

    @display(description="Sourced from")
    def sourced(self, persona: Persona) -> str:
        platforms = {source.customer.origin.platform.capitalize() for source in persona.sources.all()}
        return ", ".join(sorted(platforms)) or "Here or the API"

    @display(description="Loyalty", ordering="member_from")
    def loyalty(self, persona: Persona) -> str:
        return iq.pill("Member", "good") if persona.is_member else iq.pill("Not enrolled")

    @display(description="Points", ordering="wallet__balance")
    def balance(self, persona: Persona) -> str:
        return iq.number(iq.points(persona.wallet.balance if hasattr(persona, "wallet") else 0))

    @display(description="Last seen", ordering="last_seen_at")
    def seen(self, persona: Persona) -> str:
        return iq.when(persona.last_seen_at)

    def has_enrol_permission(self, request) -> bool:
        return self._may(request, "change")

    @admin.action(description="Enrol in loyalty", permissions=["enrol"])
    def enrol(self, request, queryset):
        """First the day from which it earns, then the deed."""
        from . import personas

        people = queryset.filter(member_from=None)
        from_date = parse_date(request.POST.get("from_date", "")) if "confirmed" in request.POST else None
        if from_date is None:
            context = {
                **self.admin_site.each_context(request),
                "title": "Enrol in loyalty",
                "count": people.count(),
                "members": queryset.count() - people.count(),
                "ids": request.POST.getlist("_selected_action"),
                "everybody": request.POST.get("select_across", "0"),
                "today": timezone.localdate(),
                "wrong": "confirmed" in request.POST,
            }
            return TemplateResponse(request, "aiqsync/persona/enrol_many.html", context)
        new = personas.enrol_many(
            account_id=current_account_id(),
            persona_ids=list(people.values_list("pk", flat=True)),
            ground=Ground.STAFF,
            from_date=from_date,
            now=timezone.now(),
            user=request.user,
        )
        audit.record(
            act="persona.enrolled_many",
            target=f"{new} personas",
            user=request.user,
            detail={"from": from_date.isoformat(), "count": new},
        )
        messages.success(request, f"{new} enrolled. Their sales from {from_date:%-d %b %Y} on earn points.")
        return None


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
