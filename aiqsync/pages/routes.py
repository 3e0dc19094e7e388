"""Routes of the persona page, the programme page and the account switch; `page` is the guard of `urls.py`."""

from collections.abc import Callable

from django.urls import URLPattern

from . import (
    alerts,
    change,
    identity,
    looking,
    modifiers,
    persona,
    persona_page,
    persona_people,
    persona_removal,
    programme,
    remapping,
    reports,
    switching,
    webhooks,
    why,
)


def patterns(site, page: Callable[..., URLPattern]) -> list[URLPattern]:
    one = "personas/<uuid:contact_id>/"
    view, edit = "personas.view", "programme.change"
    return [
        page("settings/alerts/", alerts.show, "alerts", "alerts.view", "alerts.change"),
        page("settings/alerts/recipients/", alerts.recipients, "alerts-recipients", "alerts.change", "alerts.change"),
        page("settings/alerts/retry/", alerts.retry, "alerts-retry", "alerts.change", "alerts.change"),
        page("stores/<int:pk>/mapping/", remapping.of_store, "store-mapping", "stores.view", "integrations.change"),
        page("settings/loyalty/", programme.edit, "programme", "programme.view", "programme.change"),
        page("settings/modifiers/", modifiers.index, "modifiers", "programme.view", edit),
        page("settings/modifiers/new/", modifiers.edit, "modifier-new", edit, edit),
        page("settings/modifiers/<int:pk>/", modifiers.edit, "modifier", edit, edit),
        page("settings/modifiers/<int:pk>/archive/", modifiers.archive, "modifier-archive", edit, edit),
        page("settings/loyalty/blocklist/", programme.blocklist, "programme-blocklist", edit, edit),
        page("settings/loyalty/pin/", programme.master_pin, "programme-pin", edit, edit),
        page("settings/loyalty/wipe/", change.wipe, "programme-wipe", edit, edit),
        page("settings/loyalty/change/", change.show, "programme-change", "programme.view", edit),
        page("settings/loyalty/change/<slug:verb>/", change.act, "programme-act", edit, edit),
        page(one, persona_page.show, "persona", view, view),
        page(one + "adjust/", persona.adjust, "persona-adjust", view, view),  # the programme decides about budtenders
        page(one + "enrol/", persona.enrol, "persona-enrol", "personas.change", "personas.change"),
        page(
            one + "redeem/<int:discount_id>/<int:n>/",
            persona.redeem,
            "persona-redeem",
            "redemptions.redeem",
            "redemptions.redeem",
        ),
        page(
            one + "redemptions/<uuid:public_id>/give-back/",
            persona.give_back,
            "persona-give-back",
            "redemptions.revert",
            "redemptions.revert",
        ),
        page("reports/staff/", reports.staff, "report-staff", "reports.staff", "reports.staff"),
        page("reports/liability/", reports.liability, "report-liability", "reports.view", "reports.close"),
        page("reports/liability/close/", reports.close_month, "report-close", "reports.close", "reports.close"),
        page("reports/margin/", reports.margin, "report-margin", "reports.view", "reports.view"),
        page("reports/quality/", reports.quality, "report-quality", "reports.view", "reports.view"),
        page("reports/ledger/", reports.ledger, "report-ledger", "reports.view", "reports.view"),
        page("reports/ledger/check/", reports.check_ledger, "report-check", "reports.close", "reports.close"),
        page(one + "pin/", persona.send_pin, "persona-pin", "redemptions.redeem", "redemptions.redeem"),
        page("redemptions/", looking.show, "redemptions-to-look-at", "redemptions.look", "redemptions.look"),
        page("redemptions/<slug:verb>/", looking.act, "looking-act", "redemptions.look", "redemptions.look"),
        page("same-person/", identity.show, "same-person", "personas.change", "personas.change"),
        page("same-person/numbers/<int:pk>/", identity.decide, "number-decide", "personas.change", "personas.change"),
        page("same-person/pairs/", identity.pair, "pair-decide", "personas.change", "personas.change"),
        *_people(page, one),
        page(one + "remove/", persona_removal.erase, "persona-erase", "personas.erase", "personas.erase"),
        page(one + "export/", persona_removal.export, "persona-export", "personas.export", "personas.export"),
        page("reports/ledger/<slug:name>.csv", reports.export, "report-export", "reports.export", "reports.export"),
        page("why/", why.ask, "why", view, view),  # what its buttons do has rights of its own
        page("receipts/<int:sale_id>/attach/", why.attach, "receipt-attach", "points.adjust", "points.adjust"),
        *_webhooks(page),
        *switching.patterns(site),
    ]


def _webhooks(page: Callable[..., URLPattern]) -> list[URLPattern]:
    view, change, one = "webhooks.view", "webhooks.change", "settings/webhooks/<int:pk>/"
    return [
        page("settings/webhooks/", webhooks.index, "webhooks", view, change),
        page("settings/webhooks/new/", webhooks.new, "webhook-new", change, change),
        page("settings/webhooks/calls/<int:pk>/", webhooks.delivery, "webhook-delivery", view, change),
        page("settings/webhooks/calls/<int:pk>/again/", webhooks.again, "webhook-again", change, change),
        page(one, webhooks.show, "webhook", view, change),
        page(one + "edit/", webhooks.edit, "webhook-edit", change, change),
        page(one + "<slug:verb>/", webhooks.act, "webhook-act", change, change),
    ]


def _people(page: Callable[..., URLPattern], one: str) -> list[URLPattern]:
    """Who a persona is: all of it asks for the same right."""
    change = "personas.change"
    routes = [
        ("recompute/", persona_people.recompute, "persona-recompute"),
        ("store/", persona_people.favourite_store, "persona-store"),
        ("archive/", persona_people.archive, "persona-archive"),
        ("investigate/", persona_people.investigate, "persona-investigate"),
        ("merges/<int:merge_id>/split/", persona_people.split, "persona-split"),
        ("sources/<int:source_id>/detach/", persona_people.detach, "persona-detach"),
        ("shared/", persona_people.mark_shared, "persona-shared"),
        ("audience/", persona_people.audience, "persona-audience"),
        ("consent/", persona_people.consent, "persona-consent"),
    ]
    return [page(one + route, does, name, change, change) for route, does, name in routes]
