"""The admin's own pages: one line each, with what the role table asks for reading and for acting."""

from collections.abc import Callable
from functools import wraps

from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.urls import URLPattern, path, register_converter

from aiqsync.accounts.roles import may
from integrations import registry

from . import (
    card,
    card_settings,
    connect,
    erase_source,
    files,
    integrations,
    routes,
    switches,
    till,
    writes,
)


class CardSlug:
    """Only cards there are: other paths below `integrations/` belong to the admin's own lists (sales, runs)."""

    regex = "[a-z][a-z0-9-]*"

    def to_python(self, value: str) -> str:
        if value not in registry.CARDS:
            raise ValueError(value)
        return value

    def to_url(self, value: str) -> str:
        return value


register_converter(CardSlug, "card")


def guarded(view: Callable[..., HttpResponse], read: str, write: str) -> Callable[..., HttpResponse]:
    """403 unless the member's role may do `read` (GET, HEAD) or `write` (everything else)."""

    @wraps(view)
    def inner(request: HttpRequest, **path_values) -> HttpResponse:
        membership = getattr(request, "membership", None)
        act = read if request.method in ("GET", "HEAD") else write
        if membership is None or not may(membership.role, act):
            raise PermissionDenied
        return view(request, **path_values)

    return inner


def patterns(site) -> list[URLPattern]:
    view, change = "integrations.view", "integrations.change"

    def page(route: str, does: Callable[..., HttpResponse], name: str, read: str, write: str) -> URLPattern:
        return path(route, site.admin_view(guarded(does, read, write)), name=name)

    one = "integrations/<card:slug>/"
    return [
        page("integrations/", integrations.index, "integrations", view, change),
        # Before the cards: this one has a page of its own.
        page("integrations/files/", files.index, "files", view, change),
        page("integrations/files/uploads/<int:pk>/", files.show, "file", change, change),
        page("integrations/files/uploads/<int:pk>/errors.csv", files.errors, "file-errors", change, change),
        page("integrations/files/uploads/<int:pk>/differences/", files.differences, "file-differences", change, change),
        page("integrations/files/uploads/<int:pk>/<slug:verb>/", files.act, "file-act", change, change),
        page(
            "integrations/files/sources/<int:pk>/erase/",
            erase_source.erase_files,
            "files-erase",
            "integrations.erase",
            "integrations.erase",
        ),
        page("integrations/grid/", till.grid, "feature-grid", view, change),
        page(one, card.page, "card", view, change),
        page(one + "progress", card.progress, "card-progress", view, change),
        page(one + "sync", card.sync_now, "card-sync", change, change),
        page(one + "writes/<slug:verb>/", writes.act, "card-writes", change, change),
        page(one + "settings", card_settings.save, "card-settings", change, change),
        page(one + "accrual/", card_settings.accrual, "card-accrual", change, "programme.change"),
        page(one + "freeze/", card_settings.freeze, "card-freeze", change, change),
        page(one + "rehearsal/", till.rehearsal, "card-rehearsal", view, change),
        page(one + "rehearsal/begin/", till.rehearse, "card-rehearse", change, change),
        page(one + "rehearsal/<int:pk>/archive/", till.archive, "card-rehearsal-archive", change, change),
        page(one + "mapping/", connect.mapping, "card-mapping", change, change),
        page(one + "credentials/new/", connect.credential, "card-credential-new", change, change),
        page(one + "credentials/<int:pk>/", connect.credential, "card-credential", change, change),
        page(one + "credentials/<int:pk>/freeze/", card_settings.freeze, "card-credential-freeze", change, change),
        page(one + "credentials/<int:pk>/disconnect/", connect.disconnect, "card-disconnect", change, change),
        page(one + "changes/<int:pk>/", switches.show, "card-change", view, change),
        page(one + "changes/<int:pk>/<slug:verb>/", switches.act, "card-change-act", change, change),
        page(
            one + "credentials/<int:pk>/erase/",
            erase_source.erase,
            "card-erase",
            "integrations.erase",
            "integrations.erase",
        ),
        *routes.patterns(site, page),
    ]
