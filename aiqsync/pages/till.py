"""The card's till panel and its rehearsal; the feature grid."""

from datetime import datetime

from django.contrib import messages
from django.db.models import Exists, F, OuterRef
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_POST, require_safe

from aiqsync import rehearsing, tasks
from aiqsync.accounts.models import ApiKey, Scope
from aiqsync.accounts.roles import may
from integrations import grid as feature_grid
from integrations import registry
from loyalty import rehearsal as rehearsals
from loyalty.models import Rehearsal, RehearsalState
from stores.models import StoreMapping

from .integrations import frame
from .standing import Standing, standing_of


def panel(request: HttpRequest, standing: Standing) -> dict:
    """What the card's template shows of the till: the mode, the proof, what to copy, and the rehearsal."""
    heard, nobodys = _heard(standing) if standing.card.till.can_call else (None, None)
    return {
        "till": standing.card.till,
        "till_heard": heard,
        "till_nobodys": nobodys,
        "till_address": rehearsing.address(request.build_absolute_uri("/")) + "/api/",
        "till_uid": request.membership.account.uid,
        **_rehearsal(request, standing, timezone.now()),
    }


def _heard(standing: Standing) -> tuple[dict | None, ApiKey | None]:
    """The first and the last wallet call of this POS's tills, None as long as there was none; and a key that called
    and belongs to no store, which proves nothing of any till.

    A till is known by the store of its key, and the store by the locations of the POS that are mapped to it.
    """
    origins = [c.origin_id for c in standing.in_use if c.origin_id]
    here = StoreMapping.objects.filter(store=OuterRef("store_keys__store"), location__origin__in=origins)
    called = list(
        ApiKey.objects.filter(revoked_at=None, rehearsals=None)
        .exclude(wallet_first_at=None)
        .exclude(scope=Scope.READ)
        .annotate(store=F("store_keys__store__name"), here=Exists(here))
        .order_by("wallet_first_at", "id")
    )
    nobodys = next((key for key in called if key.store is None), None)
    tills = [key for key in called if key.here]
    if not tills:
        return None, nobodys
    last = max(tills, key=lambda key: key.wallet_last_at)
    return {
        "first": tills[0].wallet_first_at, "first_store": tills[0].store,
        "last": last.wallet_last_at, "last_store": last.store,
    }, nobodys  # fmt: skip


def _rehearsal(request: HttpRequest, standing: Standing, now: datetime) -> dict:
    run = None
    if standing.connection:
        run = rehearsals.latest(account_id=standing.connection.account_id, connection_id=standing.connection.pk)
    stuck = bool(run) and rehearsals.is_stuck(run, now)
    live = bool(run) and run.state in (RehearsalState.WAITING, RehearsalState.RUNNING) and not stuck
    told = {step["name"]: step for step in run.steps} if run else {}
    steps, running = [], live
    for name, title in rehearsing.STEPS.items():
        step = told.get(name)
        state = ("good" if step["ok"] else "bad") if step else ("running" if running else "")
        running = running and step is not None  # the first that is not over is the one that runs
        steps.append({"title": title, "state": state, "said": step["said"] if step else "", "ms": step and step["ms"]})
    return {
        "rehearsal": run,
        "rehearsal_steps": steps if run else [],
        "rehearsal_live": live,
        "rehearsal_stuck": stuck,
        "card": standing.card,
        "may_change": may(request.membership.role, "integrations.change"),
    }


@require_safe
@never_cache
def rehearsal(request: HttpRequest, slug: str) -> HttpResponse:
    """The rehearsal's part of the card's page, asked for while it runs."""
    standing = standing_of(slug, now=timezone.now())
    return render(request, "aiqsync/integrations/rehearsal.html", _rehearsal(request, standing, standing.now))


@require_POST
def rehearse(request: HttpRequest, slug: str) -> HttpResponse:
    """Make a test shopper and let it walk."""
    standing = standing_of(slug, now=timezone.now())
    if standing.connection is None:
        raise Http404
    try:
        run = rehearsals.begin(
            connection=standing.connection,
            address=rehearsing.address(request.build_absolute_uri("/")),
            user=request.user,
            now=standing.now,
        )
    except rehearsals.AlreadyRunning:
        messages.info(request, "A rehearsal is running already: here it is.")
    else:
        tasks.enqueue_rehearsal(run.pk)
    return _back(slug)


@require_POST
def archive(request: HttpRequest, slug: str, pk: int) -> HttpResponse:
    run = get_object_or_404(Rehearsal.objects.filter(connection__card=slug), pk=pk)
    if rehearsals.archive(rehearsal=run, user=request.user, now=timezone.now()):
        messages.success(request, "The test shopper is archived: its points are 0 and it shows nowhere.")
    return _back(slug)


def _back(slug: str) -> HttpResponse:
    return redirect(reverse("admin:card", args=[slug]) + "#till")


@require_safe
def grid(request: HttpRequest) -> HttpResponse:
    """Which POS supports what."""
    cards = list(registry.CARDS.values())
    return render(
        request,
        "aiqsync/integrations/grid.html",
        frame(
            request,
            title="Feature grid",
            cards=[(card, reverse("admin:card", args=[card.slug])) for card in cards],
            parts=[part for part in feature_grid.parts(cards) if part.rows],
        ),
    )
