"""Customers, Personas: the list. A persona's own page is `aiqsync/pages/persona_page.py`."""

from typing import Any

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db import OperationalError, connection, transaction
from django.db.models import Exists, F, OuterRef
from django.http import HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils import timezone
from django.utils.dateparse import parse_date
from django.utils.functional import cached_property
from django.utils.html import format_html
from unfold.decorators import display
from unfold.views import ChangeList

from aiqsync.accounts import audit
from aiqsync.accounts.base_admin import ReadOnlyAdmin
from aiqsync.accounts.models import Account
from aiqsync.accounts.paging import COUNTED, CappedPaginator
from aiqsync.accounts.templatetags import iq
from aiqsync.accounts.tenancy import current_account_id
from aiqsync.accounts.typed import whole_number

from . import persona_filters, personas, search
from .models import Ground, Investigation, Persona

LONGEST_S = 8  # a filter over a million rows that finds nothing soon is given up, with a sentence
FILTERED = 1000  # rows that a filtered list pages through; further ones are found by narrowing it
WALKED = 300  # the same where each persona has to be looked at
ENROL_AT_ONCE = 5000


class PersonaPaginator(CappedPaginator):
    """Counts in the list's own order, so that counting walks the same index as reading."""

    @cached_property
    def count(self) -> int:
        return self.object_list[: getattr(self.object_list, "counted", COUNTED)].count()


class PersonaList(ChangeList):
    """Sorted by an index only, and never longer at work than a person waits."""

    def get_ordering(self, request, queryset):
        ordering = super().get_ordering(request, queryset)
        seen = ordering[0]
        if hasattr(seen, "descending"):
            # The index's own second column in the same direction: nothing is left to sort.
            return [seen, F("id").desc() if seen.descending else F("id").asc()]
        return ordering

    def get_queryset(self, request, exclude_parameters=None):
        found = super().get_queryset(request, exclude_parameters)
        if any(getattr(spec, "walks", False) and spec.chosen() for spec in self.filter_specs):
            found.counted = WALKED
        elif self.has_active_filters or self.query:
            found.counted = FILTERED
        return found

    def get_results(self, request):
        try:
            with transaction.atomic(), connection.cursor() as cursor:
                cursor.execute(f"SET LOCAL statement_timeout = '{LONGEST_S}s'")
                super().get_results(request)
                self.result_list = list(self.result_list)
                cursor.execute("SET LOCAL statement_timeout = DEFAULT")
        except OperationalError as error:
            if getattr(error.__cause__, "sqlstate", "") != "57014":  # query_canceled
                raise
            self.result_count, self.result_list, self.full_result_count = 0, [], None
            self.can_show_all = self.multi_page = self.show_full_result_count = False
            self.show_admin_actions = False
            self.paginator = PersonaPaginator([], self.list_per_page)
            messages.warning(
                request,
                "So many personas were looked through without finding a page of them that the search was ended. "
                "Narrow it by another filter, or search by phone, e-mail or name.",
            )


@admin.register(Persona)
class PersonaAdmin(ReadOnlyAdmin):
    subject = "personas"
    paginator = PersonaPaginator
    list_display = ["who", "phone_shown", "email", "sourced", "loyalty", "balance", "seen"]
    list_display_links = None
    sortable_by = ["seen"]
    list_filter = persona_filters.ALL
    list_filter_sheet = True
    list_select_related = ["wallet"]
    list_before_template = "aiqsync/persona/list_before.html"
    ordering = ["-id"]
    search_fields = ["phone"]
    search_help_text = "Phone in any format, e-mail, name, contact ID, POS customer id or receipt number"
    actions = ["enrol"]

    def get_changelist(self, request, **kwargs):
        return PersonaList

    def get_queryset(self, request):
        found = super().get_queryset(request).filter(merged_into=None, erased_at=None)
        investigated = Investigation.objects.filter(persona=OuterRef("pk"), closed_at=None)
        return found.annotate(investigated=Exists(investigated)).prefetch_related(
            "sources__customer__origin", "merged__sources__customer__origin"
        )

    def get_search_results(self, request, queryset, search_term):
        """Whole values by their index, else the beginning of a name; `request.found` keeps what was said beside."""
        term = search.clean(search_term)
        if not term:
            return queryset, False
        account = Account.objects.get(pk=current_account_id())
        found = search.find(account_id=account.pk, region=account.country, term=term)
        request.found = notes(found)
        if found.condition is not None:
            return queryset.filter(found.condition), False
        return queryset.filter(pk__in=found.roots), False

    def change_view(self, request, object_id, form_url="", extra_context=None):
        """The row's page is the persona page."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        persona = Persona.objects.filter(pk=whole_number(object_id)).first()
        if persona is None:
            return self._get_obj_does_not_exist_redirect(request, self.opts, object_id)
        return HttpResponseRedirect(reverse("admin:persona", args=[persona.contact_id]))

    @display(description="Name")
    def who(self, persona: Persona) -> str:
        return iq.link(str(persona), reverse("admin:persona", args=[persona.contact_id]))

    @display(description="Phone")
    def phone_shown(self, persona: Persona) -> str:
        return iq.number(iq.phone(persona.phone)) if persona.phone else "–"

    @display(description="Sourced from")
    def sourced(self, persona: Persona) -> str:
        rows = [persona, *persona.merged.all()]
        platforms = {s.customer.origin.platform.capitalize() for row in rows for s in row.sources.all()}
        return ", ".join(sorted(platforms)) or "Here or the API"

    @display(description="Loyalty")
    def loyalty(self, persona: Persona) -> str:
        pill = iq.pill("Member", "good") if persona.is_member else iq.pill("Not enrolled")
        if persona.archived_at:
            pill = iq.pill("Archived", "warn")
        if persona.is_test:
            pill = iq.pill("Test", "info")
        return format_html("{} {}", pill, iq.pill("Investigated", "info")) if persona.investigated else pill

    @display(description="Points")
    def balance(self, persona: Persona) -> str:
        return iq.number(iq.points(persona.wallet.balance if hasattr(persona, "wallet") else 0))

    @display(description="Last seen", ordering=F("last_seen_at").desc(nulls_last=True))
    def seen(self, persona: Persona) -> str:
        return iq.when(persona.last_seen_at)

    def has_enrol_permission(self, request) -> bool:
        return self._may(request, "change")

    @admin.action(description="Enrol in loyalty", permissions=["enrol"])
    def enrol(self, request, queryset):
        """First the day from which it earns, then the deed: slices of 500, and no more of them than a page can wait."""
        people = queryset.order_by("pk").filter(member_from=None)
        from_date = parse_day(request.POST.get("from_date", "")) if "confirmed" in request.POST else None
        if from_date is None:
            count = people[: ENROL_AT_ONCE + 1].count()
            context = {
                **self.admin_site.each_context(request),
                "title": "Enrol in loyalty",
                "count": min(count, ENROL_AT_ONCE),
                "more": count > ENROL_AT_ONCE,
                "members": queryset.exclude(member_from=None).order_by("pk")[:ENROL_AT_ONCE].count(),
                "ids": request.POST.getlist("_selected_action"),
                "everybody": request.POST.get("select_across", "0"),
                "today": timezone.localdate(),
                "wrong": "confirmed" in request.POST,
            }
            return TemplateResponse(request, "aiqsync/persona/enrol_many.html", context)
        ids = list(people.values_list("pk", flat=True)[: ENROL_AT_ONCE + 1])
        new = personas.enrol_many(
            account_id=current_account_id(),
            persona_ids=ids[:ENROL_AT_ONCE],
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
        if len(ids) > ENROL_AT_ONCE:
            messages.warning(request, "There are more: choose all and enrol again until none is left.")
        return None


def parse_day(text: str):
    """A day as the browser sends it, None when it is none."""
    try:
        return parse_date(text)
    except ValueError:
        return None


def notes(found: search.Found) -> list[dict[str, Any]]:
    """What a search says beside its list: nobody just disappears."""
    said = []
    for hit in found.gone[:5]:
        name = hit.name or "A record"
        if hit.erased_at:
            said.append({"text": "This person was removed on request; nothing but the points' history is kept."})
        elif hit.root_id:
            when = f" on {iq.exact(hit.merged_at).split(',')[0]}" if hit.merged_at else ""
            why = f" {search.WHY_MERGED[hit.merged_why]}" if hit.merged_why in search.WHY_MERGED else ""
            said.append(
                {
                    "text": f"{name} was merged into",
                    "name": hit.root_name or "another record",
                    "url": reverse("admin:persona", args=[hit.root_contact_id]),
                    "after": f"{when}{why}.",
                }
            )
        else:
            said.append(
                {
                    "text": "",
                    "name": name,
                    "url": reverse("admin:persona", args=[hit.contact_id]),
                    "after": f" was archived on {iq.exact(hit.archived_at).split(',')[0]}: the lists leave it out.",
                }
            )
    if found.suppressed:
        said.append({"text": "Somebody of this phone, e-mail or number was removed on request: nothing is kept."})
    for hit in found.hits:
        if hit.by == "sale" and hit.persona_id is None:
            url = reverse("admin:why") + f"?q={found.term}"
            said.append({"text": "This receipt is no persona's.", "name": "Why?", "url": url, "after": ""})
            break
    return said
