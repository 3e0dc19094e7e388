"""A persona's page: what is known of one shopper. Two tabs, each with a number of queries that no history changes."""

import uuid
from datetime import date, datetime, timedelta
from typing import Any

from django.contrib import admin, messages
from django.core.paginator import Paginator
from django.db import connection
from django.db.models import OuterRef, Q, Subquery, Sum
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import get_object_or_404
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.http import require_GET

from aiqsync.accounts.paging import CappedPaginator
from aiqsync.accounts.roles import may
from aiqsync.accounts.templatetags import iq
from integrations.models import PricingGroup, Sale
from loyalty import earning, freshness, ledger, pins, programme, search, staff, wallet, worth
from loyalty.models import (
    Audience,
    AudienceMember,
    ConsentChannel,
    ConsentLine,
    ConsentState,
    CouponCode,
    Enrolment,
    Entry,
    EntryKind,
    Identifier,
    IdentifierKind,
    Investigation,
    Merge,
    NumberDecision,
    Persona,
    Redemption,
    RedemptionState,
    Shortfall,
    Source,
    SourceMove,
    SuspectNumber,
)
from loyalty.persona_admin import parse_day
from stores.models import Store

from . import persona_removal
from .persona import AdjustForm, EnrolForm, to_type, today, turnable

TABS = (("points", "Points"), ("profile", "Profile"))
ENTRIES_A_PAGE = 25
SALES_A_PAGE = 15
REDEMPTIONS_A_PAGE = 15
SHOWN = 20  # sources, merges, consent lines, audiences
MERGED_SHOWN = 10  # rows whose history before the merge is told, with this many lines each


@require_GET
def show(request: HttpRequest, contact_id: uuid.UUID) -> HttpResponse:
    people = Persona.objects.select_related("merged_into", "favourite_store", "usual_store")
    persona = get_object_or_404(people, contact_id=contact_id)
    if persona.erased_at:
        return persona_removal.removed(request, persona.merged_into or persona)
    if persona.merged_into:
        messages.info(request, _merged(persona))
        return HttpResponseRedirect(reverse("admin:persona", args=[persona.merged_into.contact_id]))
    return page(request, persona)


def _merged(persona: Persona) -> str:
    """Why the address leads to another record."""
    merge = Merge.objects.filter(loser=persona, split_at=None).first()
    if merge is None:
        return f"{persona} was merged: you see the record it became part of."
    why = f" {search.WHY_MERGED[merge.why]}" if merge.why in search.WHY_MERGED else ""
    when = iq.exact(merge.at).split(",")[0]
    return f"{persona} was merged on {when}{why}: you see the record it became part of."


def page(request: HttpRequest, persona: Persona, **sheets: Any) -> HttpResponse:
    """`sheets`: forms that were sent and refused (`adjusting`, `enrolling`); they stand open, with what is wrong."""
    adjusting, enrolling = sheets.get("adjusting"), sheets.get("enrolling")
    tab = request.GET.get("tab", "points")
    tab = tab if tab in dict(TABS) else "points"
    now, role = timezone.now(), request.membership.role
    # Another row's timeline of the group may be asked for: what it was before the merge.
    merged = list(Persona.objects.filter(merged_into=persona).order_by("-id")[: SHOWN + 1])
    settings = programme.of(persona.account_id)
    context = {
        **admin.site.each_context(request),
        "title": str(persona),
        "persona": persona,
        "tab": tab,
        "tabs": TABS,
        "currency": request.membership.account.currency,
        "now": now,
        "may_adjust": staff.may_adjust(role, settings),
        "may_change": may(role, "personas.change"),
        "may_redeem": staff.may_redeem(role, settings),
        "pin_needed": settings.pin_to_redeem,
        "shown_pin": pins.shown(account_id=persona.account_id, persona_id=persona.pk, now=now)
        if settings.show_pin and may(role, "points.adjust")
        else "",
        "may_give_back": may(role, "redemptions.revert"),
        "may_see_sales": may(role, "sales.view"),
        "turnable": turnable(role),
        "may_export": may(role, "personas.export"),
        "may_erase": may(role, "personas.erase"),
        **_header(persona, now),
    }
    if tab == "points":
        context |= _points(request, persona, merged, now, adjusting, enrolling)
    else:
        context |= _profile(request, persona, merged)
    status = 422 if adjusting or enrolling else 200
    return TemplateResponse(request, "aiqsync/persona/page.html", context, status=status)


def _header(persona: Persona, now: datetime) -> dict[str, Any]:
    """Who it is, the balance with its time and its source, what stands open."""
    account_id = persona.account_id
    # Asked for by its rows: "this persona or merged into it" across a join reads both tables from end to end.
    group = Persona.objects.filter(Q(pk=persona.pk) | Q(merged_into=persona)).values("pk")
    chosen = persona.favourite_store
    suspect = SuspectNumber.objects.filter(phone=persona.phone).first() if persona.phone else None
    return {
        "balance": ledger.spendable_points(account_id, persona.pk, now),
        "expiring": ledger.next_to_expire(account_id, persona.pk, now),
        "read": freshness.read("sales"),
        "platforms": Source.objects.filter(persona__in=group)
        .order_by("customer__origin__platform")
        .values_list("customer__origin__platform", flat=True)
        .distinct(),
        "enrolment": Enrolment.objects.filter(persona__in=group)
        .select_related("user")
        .order_by("from_date", "id")
        .first(),
        "favourite": chosen or persona.usual_store,
        "favourite_by_hand": chosen is not None,
        "stores": Store.objects.order_by("name")[:200],
        "investigation": Investigation.objects.filter(persona=persona, closed_at=None).select_related("user").first(),
        "suspect": suspect if suspect and suspect.decision != NumberDecision.ONE else None,
        "linked": Source.objects.filter(persona__in=group).exists(),
    }


# The points' tab


def _points(
    request: HttpRequest,
    persona: Persona,
    merged: list[Persona],
    now: datetime,
    adjusting: AdjustForm | None,
    enrolling: EnrolForm | None,
) -> dict[str, Any]:
    rows = [persona.pk, *(row.pk for row in merged)]
    of = next((row for row in merged if str(row.contact_id) == request.GET.get("of")), persona)
    entries = CappedPaginator(
        Entry.objects.filter(persona=of)
        .select_related("sale", "user", "redemption__discount", "merge__survivor", "merge__loser")
        .order_by("-id"),
        ENTRIES_A_PAGE,
    ).get_page(request.GET.get("page"))
    redemptions = CappedPaginator(
        Redemption.objects.filter(persona__in=rows)
        .select_related("discount", "store", "sale", "user", "persona")
        .annotate(own_code=Subquery(CouponCode.objects.filter(redemption=OuterRef("pk")).values("code")[:1]))
        .order_by("-applied_at", "-id"),
        REDEMPTIONS_A_PAGE,
    ).get_page(request.GET.get("redemptions"))
    shown = wallet.show(account_id=persona.account_id, persona_id=persona.pk, now=now)
    return {
        "wallet": shown,
        "of": of if of.pk != persona.pk else None,
        "entries": entries,
        "timeline": [line(entry) for entry in entries],
        "before": _before_the_merge(merged),
        "sales": _sales(request, persona),
        "redemptions": [_redemption(one) for one in redemptions],
        "redemption_pages": redemptions,
        "open_redemption": any(one.state == RedemptionState.APPLIED for one in redemptions),
        "part_token": uuid.uuid4(),
        "shortfall": Shortfall.objects.filter(persona__in=rows, state="open").aggregate(
            points=Sum("points"), netted=Sum("netted"), collected=Sum("collected")
        ),
        "adjust_form": adjusting or AdjustForm(initial={"token": uuid.uuid4()}),
        "enrol_form": enrolling or EnrolForm(initial={"from_date": _asked_day(request)}),
        "adjust_open": adjusting is not None,
        **_waiting(request, persona, now),
    }


def _asked_day(request: HttpRequest) -> date:
    return parse_day(request.GET.get("from", "")) or today()


def _waiting(request: HttpRequest, persona: Persona, now: datetime) -> dict[str, Any]:
    """What enrolling would credit, before anybody enrols: from the day asked for, and from the first purchase on."""
    if persona.is_member:
        return {}
    day = _asked_day(request)
    return {
        "waiting": worth.waiting(account_id=persona.account_id, persona_id=persona.pk, now=now),
        "preview": worth.waiting(account_id=persona.account_id, persona_id=persona.pk, now=now, from_date=day),
        "preview_day": day,
    }


def line(entry: Entry) -> dict[str, Any]:
    """An entry with its reason as a sentence."""
    why = earning.sentence(entry.explanation) if entry.explanation else ""
    if entry.redemption_id and entry.redemption:
        why = why or str(entry.redemption.discount)
    said = earning.points_said(entry.explanation or {})
    if entry.kind == EntryKind.EARN and not entry.note and "owner" not in (entry.explanation or {}):
        if said is not None and said != entry.points:
            why = f"Correction: the sale is worth {iq.points(said)} points now. {why}"
        elif entry.points < 0:
            why = f"Correction: the sale is worth nothing now. {why}"
    if entry.merge_id and entry.merge:
        merge = entry.merge
        why = (
            f"{merge.loser} became part of {merge.survivor}: {iq.points(merge.survivor_balance)} and "
            f"{iq.points(merge.loser_balance)} points before it."
        )
    late = entry.cause_at is not None and entry.at - entry.cause_at > timedelta(days=1)
    return {"entry": entry, "why": why, "late": late}


def _before_the_merge(merged: list[Persona]) -> list[dict[str, Any]]:
    """The last lines of each row that was merged into this one, with its own running balance."""
    if not merged:
        return []
    with connection.cursor() as cursor:
        cursor.execute(
            """SELECT e.id FROM unnest(%s::bigint[]) p (id) CROSS JOIN LATERAL (
                   SELECT id FROM loyalty_entry WHERE persona_id = p.id ORDER BY id DESC LIMIT %s) e""",
            [[row.pk for row in merged[:MERGED_SHOWN]], MERGED_SHOWN],
        )
        ids = [row[0] for row in cursor.fetchall()]
    lines: dict[int, list[dict[str, Any]]] = {}
    found = Entry.objects.filter(pk__in=ids).select_related(
        "sale", "user", "redemption__discount", "merge__survivor", "merge__loser"
    )
    for entry in found.order_by("-id"):
        lines.setdefault(entry.persona_id, []).append(line(entry))
    return [{"persona": row, "lines": lines[row.pk]} for row in merged if row.pk in lines]


def _redemption(one: Redemption) -> Redemption:
    one.left = one.points - one.reverted_points
    one.to_type = to_type(one.discount)
    one.code = one.own_code or one.discount.static_code
    return one


def _sales(request: HttpRequest, persona: Persona):
    """A page of the persona's sales, each with its store by today's mapping, its worth now and what was posted."""
    found: Paginator = CappedPaginator(
        Sale.objects.filter(state__persona=persona)
        .select_related("state", "location")
        .prefetch_related("location__mappings__store")
        .order_by("-sold_at", "-id"),
        SALES_A_PAGE,
    )
    sales = found.get_page(request.GET.get("sales"))
    rows = list(sales)
    now = {
        one.sale_id: one for one in worth.of_sales(account_id=persona.account_id, sale_ids=[sale.pk for sale in rows])
    }
    for sale in rows:
        mappings = sale.location.mappings.all() if sale.location else ()
        sale.store = next((mapping.store for mapping in mappings), None)
        sale.points = sale.state.posted
        sale.why = earning.sentence(sale.state.explanation)
        sale.worth = now.get(sale.pk)
    sales.object_list = rows
    sales.differ = any(sale.worth and sale.worth.differs for sale in rows)
    return sales


# The profile's tab

_PAPERS = (IdentifierKind.GOVERNMENT_ID, IdentifierKind.MEDICAL_ID)
_SHOWN_VALUES = (IdentifierKind.PHONE, IdentifierKind.EMAIL, "one_person")
_MATCHED = {
    "new": "first record",
    "phone": "matched by phone",
    "email": "matched by e-mail",
    "name_birth": "matched by name and birth date",
    "government_id": "matched by government id",
    "medical_id": "matched by medical id",
    "merged_in_pos": "merged in the POS",
    "phone_changed": "came here with its new phone",
    "split": "split off from another",
    "guard": "set apart: its number identifies nobody",
    "one_person": "its number is one person's",
}
_MOVED = {
    "split": "split off by hand",
    "phone_changed": "its phone is the other's now",
    "guard": "the number they shared identifies nobody",
    "one_person": "the number is one person's",
    "pos": "by the POS",
}


def _profile(request: HttpRequest, persona: Persona, merged: list[Persona]) -> dict[str, Any]:
    rows = [persona.pk, *(row.pk for row in merged)]
    names = {row.pk: row for row in [persona, *merged]}
    sources = list(
        Source.objects.filter(persona__in=rows).select_related("customer__origin").order_by("id")[: SHOWN + 1]
    )
    for source in sources:
        customer = source.customer
        source.bad_phone = customer.phone_raw if customer.phone_raw and not customer.phone else ""
        source.bad_email = customer.email_raw if customer.email_raw and not customer.email else ""
        source.row = names[source.persona_id] if source.persona_id != persona.pk else None
    identifiers = list(Identifier.objects.filter(persona__in=rows).order_by("-kind", "id")[: SHOWN + 1])
    merges = list(
        Merge.objects.filter(Q(survivor__in=rows) | Q(loser__in=rows))
        .select_related("survivor", "loser", "user", "split_by")
        .order_by("-id")[:SHOWN]
    )
    moves = list(
        SourceMove.objects.filter(Q(from_persona__in=rows) | Q(to_persona__in=rows))
        .select_related("source__customer", "from_persona", "to_persona", "user")
        .order_by("-id")[:SHOWN]
    )
    # Two rows of a group may be in one audience by hand: said once.
    members = AudienceMember.objects.filter(persona__in=rows, left_at=None).select_related("audience")
    stays = {one.audience_id: one for one in members.order_by("audience__name", "-joined_at")[: SHOWN * 5]}
    for source in sources:
        source.said = _MATCHED.get(source.matched_by, f"matched by {source.matched_by.replace('_', ' ')}")
    for merge in merges:
        merge.said = search.WHY_MERGED.get(merge.why, merge.why.replace("_", " "))
        merge.shown_value = merge.value if merge.why in _SHOWN_VALUES else ""
    for move in moves:
        move.said = _MOVED.get(move.why, move.why.replace("_", " "))
        move.shown_value = "" if len(move.value) == 64 else move.value  # a digest says nothing to anybody
    return {
        "merged": merged,
        "sources": sources[:SHOWN],
        "more_sources": len(sources) > SHOWN,
        "splittable": len(sources) > 1,
        "traits": _traits(sources),
        "identifiers": [
            one
            for one in identifiers
            if one.kind in ("phone", "email") and one.value not in (persona.phone, persona.email)
        ],
        "papers": sorted({one.get_kind_display().lower() for one in identifiers if one.kind in _PAPERS}),
        "merges": merges,
        "moves": moves,
        "consents": _consents(persona),
        "consent_lines": ConsentLine.objects.filter(persona__in=rows)
        .select_related("user", "store")
        .order_by("-id")[:SHOWN],
        "stays": stays.values(),
        "audiences": Audience.objects.filter(archived_at=None)
        .exclude(stays__in=AudienceMember.objects.filter(persona__in=rows, left_at=None))
        .order_by("name")[:200],
        "investigations": Investigation.objects.filter(persona__in=rows)
        .exclude(closed_at=None)
        .select_related("user", "closed_by")
        .order_by("-id")[:SHOWN],
        "enrolments": Enrolment.objects.filter(persona__in=rows)
        .select_related("user", "store")
        .order_by("-id")[:SHOWN],
    }


def _traits(sources: list[Source]) -> list[tuple[str, str]]:
    """What a POS says of its customer that is no field here, under its own name: its pricing groups, by id and name."""
    told = {
        (source.customer.origin.platform, source.customer.origin_id, source.customer.pricing_group): None
        for source in sources
        if source.customer.pricing_group
    }
    if not told:
        return []
    groups = PricingGroup.objects.filter(
        origin__in={origin for _, origin, _ in told}, external_id__in={group for *_, group in told}
    ).values_list("origin", "external_id", "name")
    names = {(origin, group): name for origin, group, name in groups}
    return [
        (f"{platform.capitalize()}PricingGroup", " ".join(filter(None, (group, names.get((origin, group))))))
        for platform, origin, group in told
    ]


def _consents(persona: Persona) -> list[dict[str, Any]]:
    """What holds for each address: consent belongs to it, whoever bears it."""
    addresses = [(ConsentChannel.SMS, persona.phone), (ConsentChannel.EMAIL, persona.email)]
    wanted = Q(pk=None)
    for channel, address in addresses:
        if address:
            wanted |= Q(channel=channel, address=address)
    states = {(one.channel, one.address): one for one in ConsentState.objects.filter(wanted)}
    return [
        {"channel": channel, "address": address, "state": states.get((channel, address))}
        for channel, address in addresses
        if address
    ]
