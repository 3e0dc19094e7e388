"""The connect flow: enter, check against the POS at once, say which location is which store."""

from collections.abc import Mapping

from django.contrib import messages
from django.db import transaction
from django.db.models import F
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.http import require_http_methods

from aiqsync import tasks
from aiqsync.accounts import audit
from integrations import services
from integrations.forms import CredentialForm
from integrations.kit.card import Card
from integrations.models import Credential, CredentialState, Customer, Location, Sale
from loyalty import discounts
from stores import services as stores
from stores.models import Store

from . import remapping
from .integrations import card_frame, frame
from .remapping import NEW, NONE
from .standing import IN_USE, Standing, day, moment, standing_of

# Entering a credential, and checking it


@require_http_methods(["GET", "HEAD", "POST"])
def credential(request: HttpRequest, slug: str, pk: int | None = None) -> HttpResponse:
    """The form of one credential. "Add Credential" stores it, "Connect" stores it and asks the POS at once."""
    found = get_object_or_404(Credential.objects.filter(connection__card=slug), pk=pk) if pk else None
    if request.method != "POST":
        return form_page(request, standing_of(slug, now=timezone.now()), found)
    card = services.card(slug)
    form = CredentialForm(card, request.POST)
    given = form.given()
    if found and found.state in IN_USE:
        return _change(request, card, found, given)
    with transaction.atomic():
        connection = services.connection_of(account_id=request.membership.account_id, slug=slug)
        same = services.same_credential(connection=connection, given=given)
        problems: Mapping[str, str] = {}
        if found is None and same and same.state in IN_USE:
            first = next(iter(card.credentials), None)
            name, whose = (first.name, f"{first.label} {given[first.name]}") if first else ("", card.title)
            problems = {name: f"{whose} is connected already: edit that credential."}
        else:
            found = found or same
            try:
                found = _saved(connection, card, found, given)
            except services.Problems as error:
                problems = error.fields
                found = services.keep_draft(connection=connection, given=given, credential=found)
        if found and not problems:
            audit.record(act="integration.credential_saved", target=card.title, user=request.user)
    if problems:
        return form_page(request, standing_of(slug, now=timezone.now()), found, typed=request.POST, problems=problems)
    if request.POST.get("act") == "connect":
        return _connect(request, card, found)
    messages.success(request, f"Stored. Press Connect to check it with {card.title}.")
    return redirect("admin:card-credential", slug, found.pk)


def _saved(connection, card: Card, found: Credential | None, given: Mapping[str, str]) -> Credential:
    """Stored as entered; left as it is when nothing was changed, so that "set on" stays true."""
    if found and set(found.secrets or {}) >= card.secret_names:
        typed = {name: str(value).strip() for name, value in given.items()}
        if not any(typed[name] for name in card.secret_names) and found.values == {
            name: value for name, value in typed.items() if name not in card.secret_names
        }:
            return found
    return services.save_credential(connection=connection, given=given, credential=found)


def _change(request: HttpRequest, card: Card, found: Credential, given: Mapping[str, str]) -> HttpResponse:
    """Other values for a credential in use: they replace the ones that work only when the POS accepts them."""
    pk = found.pk
    try:
        verified = services.reconnect(credential=found, given=given, now=timezone.now())
    except services.Problems as error:
        problems = error.fields
    except services.VendorError as error:
        problems = {getattr(error, "setting", ""): error.message}
    except services.Refused as error:
        problems = {error.field: error.message}
    else:
        audit.record(act="integration.credential_saved", target=card.title, user=request.user)
        return _connected(request, card, found, verified)
    audit.record(act="integration.connect_failed", target=card.title, user=request.user, detail={"kept": True})
    stored = Credential.objects.get(pk=pk)  # not what was tried
    standing = standing_of(card.slug, now=timezone.now())
    return form_page(request, standing, stored, typed=request.POST, problems=problems)


def _connect(request: HttpRequest, card: Card, found: Credential) -> HttpResponse:
    here = redirect("admin:card-credential", card.slug, found.pk)
    try:
        verified = services.connect(credential=found, now=timezone.now())
    except services.VendorError as error:
        # The sentence is kept with the credential: the page shows it beside the field, now and after a reload.
        audit.record(
            act="integration.connect_failed",
            target=card.title,
            user=request.user,
            detail={"error": error.kind, "setting": getattr(error, "setting", "")},
        )
        return here
    except services.Refused as error:
        standing = standing_of(card.slug, now=timezone.now())
        return form_page(request, standing, found, problems={error.field: error.message})
    return _connected(request, card, found, verified)


def _connected(request: HttpRequest, card: Card, found: Credential, verified: services.Verified) -> HttpResponse:
    audit.record(act="integration.connected", target=verified.title, user=request.user)
    discounts.check(account_id=found.account_id, now=timezone.now())  # another till, other things it cannot do
    count = len(verified.locations)
    if card.arrivals:
        told = "Connected: what your POS sends is taken from now on."
    elif count:
        told = f"Connected: {verified.title} answered and named {count} location{'' if count == 1 else 's'}."
    else:
        told = f"Connected: {verified.title} answered."
    messages.success(request, told)
    for note in verified.notes:
        messages.warning(request, note)
    if stores.unmapped(account_id=found.account_id).filter(origin=found.origin_id).exists():
        return redirect("admin:card-mapping", card.slug)
    return redirect("admin:card", card.slug)


def form_page(
    request: HttpRequest,
    standing: Standing,
    found: Credential | None,
    *,
    typed: Mapping[str, str] | None = None,
    problems: Mapping[str, str] | None = None,
) -> HttpResponse:
    """The credential's form with the guide beside it; also the card's page as long as nothing is connected."""
    card = standing.card
    stored = {name for name, value in ((found and found.secrets) or {}).items() if value}
    form = CredentialForm(
        card,
        typed,
        initial=found.values if found else None,
        stored=stored,
        when=f"set {day(found.secrets_at)}" if found and found.secrets_at else "stored",
    )
    trouble = ""
    if problems is None and found and found.message:
        problems = {found.setting: found.message}
    beside = {}
    for name, sentence in (problems or {}).items():
        if name in form.fields:
            beside[name] = sentence
        else:
            trouble = sentence
    form.mark(beside)
    # A pull that is refused later pauses the credential without checking it anew: its time is not that of the check.
    tried = found and found.checked_at and found.state != CredentialState.PAUSED
    named = bool(found and found.state != CredentialState.DRAFT) or standing.ever_connected
    return render(
        request,
        "aiqsync/integrations/credential.html",
        frame(
            request,
            title=card.title,
            crumbs=((card.title, reverse("admin:card", args=[card.slug])),) if named else (),
            standing=standing,
            card=card,
            credential=found,
            fields=[(form[name], beside.get(name, "")) for name in form.fields],
            beside=[(form[name], sentence) for name, sentence in beside.items()],
            trouble=trouble,
            checked=moment(found.checked_at, now=standing.now) if tried else "",
            live=bool(found and found.state in IN_USE),
            drafts=[
                c for c in standing.credentials if c.state == CredentialState.DRAFT and (not found or c.pk != found.pk)
            ],
            heading="Credential" if named else "",
            action=reverse("admin:card-credential", args=[card.slug, found.pk])
            if found
            else reverse("admin:card-credential-new", args=[card.slug]),
        ),
        status=422 if typed is not None else 200,
    )


# Which location is which store


@require_http_methods(["GET", "HEAD", "POST"])
def mapping(request: HttpRequest, slug: str) -> HttpResponse:
    """Every location with a store, a new one, or none."""
    standing = standing_of(slug, now=timezone.now())
    places = list(places_of(standing))
    if request.method == "POST":
        return _map(request, standing, places)
    return render(
        request,
        "aiqsync/integrations/mapping.html",
        card_frame(
            request,
            standing,
            rows=mapping_rows(places, suggest=True),
            first=standing.first_sync,
        ),
    )


def places_of(standing: Standing):
    """The connection's locations, each with the id of its `store`; `said` when somebody has said which it is."""
    origins = [c.origin_id for c in standing.credentials if c.origin_id]
    return (
        Location.objects.filter(origin__in=origins)
        .annotate(store=F("mappings__store"), said=F("mappings__id"))
        .order_by("name", "id")
    )


def mapping_rows(places: list[Location], *, suggest: bool) -> list[dict]:
    """One row a location with its choices. As long as none is mapped, each is offered its namesake or a new store."""
    shops = list(Store.objects.order_by("name"))
    names = {shop.pk: shop.name for shop in shops}
    choices = [(str(shop.pk), shop.name) for shop in shops]
    by_name = {shop.name.casefold(): str(shop.pk) for shop in shops}
    suggest = suggest and not any(place.said for place in places)
    rows = []
    for place in places:
        if not place.active and not place.store:
            continue
        if place.store:
            chosen = str(place.store)
        elif suggest:
            chosen = by_name.get(place.name.casefold(), NEW)
        else:
            chosen = NONE if place.said else ""
        rows.append(
            {
                "place": place,
                "address": ", ".join(filter(None, (place.street, place.city, place.state))),
                "mapped": bool(place.store),
                "open": not place.said and not suggest,
                "chosen": chosen,
                "store": names.get(place.store, ""),
                "choices": choices,
                "new": NEW,
                "none": NONE,
            }
        )
    return rows


def _map(request: HttpRequest, standing: Standing, places: list[Location]) -> HttpResponse:
    card = standing.card
    ours = {f"location-{place.pk}": place.pk for place in places}
    asked = {name: value for name, value in request.POST.items() if name.startswith("location-")}
    if not set(asked) <= set(ours):
        raise Http404("No such location")
    planned = remapping.moves({ours[name]: choice for name, choice in asked.items() if choice})  # "": not decided yet
    back = reverse("admin:card", args=[card.slug])
    if page := remapping.question(request, planned, back=back + "#stores"):
        return page
    remapping.carry_out(request, planned, target=card.title)
    if standing.first_sync and request.POST.get("act") == "start":
        services.sync_now(connection=standing.connection, enqueue=tasks.enqueue)
        messages.success(request, "Stores are mapped. The first sync is on its way; you may leave this page.")
    else:
        remapping.told(request, planned)
    if request.POST.get("then") == "recompute" and (counting := remapping.recompute(request)):
        return counting
    return redirect(back + ("" if standing.first_sync else "#stores"))


# Ending it


@require_http_methods(["GET", "HEAD", "POST"])
def disconnect(request: HttpRequest, slug: str, pk: int) -> HttpResponse:
    """Asks first, with what stays; then stops reading and forgets the secrets."""
    found = get_object_or_404(
        Credential.objects.filter(connection__card=slug, state__in=IN_USE).defer("secrets", "token"), pk=pk
    )
    standing = standing_of(slug, now=timezone.now())
    if request.method == "POST":
        with transaction.atomic():
            services.disconnect(credential=found)
            discounts.check(account_id=found.account_id, now=timezone.now())
            audit.record(
                act="integration.disconnected", target=str(found.origin or standing.card.title), user=request.user
            )
        messages.success(request, f"{standing.card.title} is disconnected. Everything it brought is still here.")
        return redirect("admin:card", slug)
    some = 10_000  # a sum to reassure, not a report: counting stops there
    return render(
        request,
        "aiqsync/integrations/disconnect.html",
        card_frame(
            request,
            standing,
            credential=found,
            kept=[
                (title, f"{count:,}" + (" or more" if count == some else ""))
                for title, count in (
                    (what, model.objects.filter(origin=found.origin_id)[:some].count())
                    for what, model in (("customers", Customer), ("sales", Sale), ("locations", Location))
                )
                if count
            ],
        ),
    )
