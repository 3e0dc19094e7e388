"""Saying which location is which store: first what that touches, then the mapping, then what follows from it."""

from collections.abc import Mapping
from dataclasses import dataclass

from django.contrib import admin, messages
from django.db import transaction
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.http import require_POST

from aiqsync import tasks
from aiqsync.accounts import audit
from aiqsync.accounts.roles import may
from aiqsync.accounts.tenancy import current_account_id
from aiqsync.accounts.typed import whole_number
from integrations.models import Location
from loyalty import changes, favourites
from stores import services as stores
from stores.models import Store, StoreMapping

NEW, NONE, OPEN = "create", "none", "open"  # beside a store's id: a new store, none of ours, not decided again


@dataclass(frozen=True, slots=True)
class Move:
    """One location that would be another store than today. `sales` and `shoppers`: whose attribution moves with it."""

    location: Location
    before: str  # a choice: a store's id, NONE or OPEN
    after: str
    before_said: str
    after_said: str
    sales: int
    shoppers: int

    @property
    def asks(self) -> bool:
        """Somebody had said which store it is, and sales have counted for it: that is asked before it is done."""
        return self.before != OPEN and self.sales > 0


def moves(asked: Mapping[int, str]) -> list[Move]:
    """What these choices (location to choice) would change. Foreign locations and stores are a 404."""
    places = Location.objects.select_related("origin").in_bulk(list(asked))
    shops = {str(shop.pk): shop for shop in Store.objects.all()}
    if len(places) < len(asked) or not set(asked.values()) <= {*shops, NEW, NONE, OPEN}:
        raise Http404("No such location or store")
    now = {
        place: str(shop) if shop else NONE
        for place, shop in StoreMapping.objects.filter(location__in=places).values_list("location", "store")
    }
    differing = {pk: choice for pk, choice in asked.items() if choice != now.get(pk, OPEN)}
    sums = favourites.touched(account_id=current_account_id(), location_ids=differing) if differing else {}

    def said(choice: str, place: Location) -> str:
        if choice in shops:
            return str(shops[choice])
        return {NEW: f"a new store, {place}", NONE: "no store of yours", OPEN: "not mapped"}[choice]

    return [
        Move(
            places[pk], now.get(pk, OPEN), choice, said(now.get(pk, OPEN), places[pk]), said(choice, places[pk]),
            *sums.get(pk, (0, 0)),
        )
        for pk, choice in differing.items()
    ]  # fmt: skip


def seen(planned: list[Move]) -> str:
    """What the question was about: when a mapping changes while it is open, it is asked again."""
    return ",".join(f"{one.location.pk}:{one.before}:{one.after}" for one in planned)


def question(request: HttpRequest, planned: list[Move], *, back: str) -> HttpResponse | None:
    """The page that says what it touches and asks; None when there is nothing to ask or it was answered."""
    if not any(one.asks for one in planned) or request.POST.get("seen") == seen(planned):
        return None
    if "seen" in request.POST:
        messages.warning(request, "A mapping was changed meanwhile: look again at what this would do.")
    kept = [(name, value) for name, value in request.POST.items() if name not in ("csrfmiddlewaretoken", "seen")]
    return render(
        request,
        "aiqsync/stores/question.html",
        {
            **admin.site.each_context(request),
            "title": "Map stores",
            "planned": planned,
            "sales": sum(one.sales for one in planned),
            "kept": kept,
            "seen": seen(planned),
            "back": back,
            "may_recompute": may(request.membership.role, "programme.change"),
        },
    )


def carry_out(request: HttpRequest, planned: list[Move], *, target: str) -> int:
    """Map, note who did it with what it touched, and let favourite stores follow. Returns how many stores were made."""
    account_id, made = request.membership.account_id, 0
    with transaction.atomic():
        for one in planned:
            if one.after == OPEN:
                stores.unmap_location(location=one.location)
                continue
            if one.after == NEW:
                store = stores.create_from(account_id=account_id, location=one.location)
                made += 1
            else:
                store = None if one.after == NONE else Store.objects.get(pk=int(one.after))
            stores.map_location(location=one.location, store=store)
        if planned:
            audit.record(
                act="integration.mapped", target=target, user=request.user,
                detail={
                    "changed": len(planned), "stores_created": made, "sales": sum(one.sales for one in planned),
                    "moves": [f"{one.location}: {one.before_said} to {one.after_said}" for one in planned[:50]],
                },
            )  # fmt: skip
            favourites.mapping_changed(
                account_id=account_id, user=request.user, now=timezone.now(), enqueue=tasks.enqueue_job
            )
    return made


def told(request: HttpRequest, planned: list[Move]) -> None:
    """What came of it, and what else follows."""
    if not planned:
        messages.success(request, "Nothing was changed.")
        return
    sales = sum(one.sales for one in planned)
    text = "Store mapping saved."
    if sales:
        gone = all(one.after in (NONE, OPEN) for one in planned)
        counts = "sale now counts" if sales == 1 else "sales now count"
        text += f" {sales:,} {counts} {'for no store' if gone else 'there'}; no points moved."
    messages.success(request, text)


def recompute(request: HttpRequest) -> HttpResponse | None:
    """Count what settling every sale by the new mapping would do; the page of the dry run, or None when it cannot."""
    if not may(request.membership.role, "programme.change"):
        return None
    try:
        changes.propose_recompute(
            account_id=request.membership.account_id, note="Stores were mapped anew.", user=request.user,
            now=timezone.now(), enqueue=tasks.enqueue_job,
        )  # fmt: skip
    except changes.Refused as error:
        messages.error(request, f"The mapping is saved; the recompute was not counted. {error}")
        return None
    return redirect("admin:programme-change")


@require_POST
def of_store(request: HttpRequest, pk: int) -> HttpResponse:
    """The store page's mappings: the places chosen are this store, those it had before and are gone are not mapped."""
    store = get_object_or_404(Store.objects, pk=pk)
    chosen = {value for name, value in request.POST.items() if name.startswith("place-") and value}
    if any(whole_number(value) is None for value in chosen):
        raise Http404("No such location")
    had = set(StoreMapping.objects.filter(store=store).values_list("location", flat=True))
    asked = {place: OPEN for place in had} | {int(value): str(store.pk) for value in chosen}
    planned = moves(asked)
    back = reverse("admin:stores_store_change", args=[store.pk]) + "#mappings"
    if page := question(request, planned, back=back):
        return page
    carry_out(request, planned, target=str(store))
    told(request, planned)
    return (recompute(request) if request.POST.get("then") == "recompute" else None) or redirect(back)
