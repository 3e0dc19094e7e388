"""Settings > Integrations: the cards there are, and how each stands."""

from django.contrib import admin
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.http import require_safe

from aiqsync.accounts.roles import may
from integrations import registry

from .standing import Standing, moment, standings


def frame(request: HttpRequest, *, title: str, crumbs: tuple[tuple[str, str], ...] = (), **context) -> dict:
    """What every page of ours gives to the admin's frame."""
    return {
        **admin.site.each_context(request),
        "title": title,
        "crumbs": [("Integrations", reverse("admin:integrations")), *crumbs],
        "may_change": may(request.membership.role, "integrations.change"),
        **context,
    }


def card_frame(request: HttpRequest, standing: Standing, **context) -> dict:
    """The same to a page about one card, with the way back to it."""
    card = standing.card
    back = (card.title, reverse("admin:card", args=[card.slug]))
    return frame(request, title=card.title, crumbs=(back,), standing=standing, card=card, **context)


@require_safe
def index(request: HttpRequest) -> HttpResponse:
    now = timezone.now()
    tiles = [_tile(standing, now) for standing in standings(slugs=registry.CARDS, now=now).values()]
    return render(
        request,
        "aiqsync/integrations/list.html",
        frame(
            request,
            title="Integrations",
            tiles=tiles,
            connected=any(tile["standing"].in_use for tile in tiles),
        ),
    )


def _tile(standing: Standing, now) -> dict:
    newest = standing.newest
    return {
        "standing": standing,
        "card": standing.card,
        "pill": standing.pill,
        "newest_title": newest[0] if newest else "",
        "newest": moment(newest[1], now=now, empty="") if newest else "",
        "url": reverse("admin:card", args=[standing.card.slug]),
    }
