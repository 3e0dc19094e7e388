"""Routes of the persona page, the programme page and the account switch; `page` is the guard of `urls.py`."""

from collections.abc import Callable

from django.urls import URLPattern

from . import persona, programme, reports, switching


def patterns(site, page: Callable[..., URLPattern]) -> list[URLPattern]:
    one = "personas/<uuid:contact_id>/"
    view = "personas.view"
    return [
        page("settings/loyalty/", programme.edit, "programme", "programme.view", "programme.change"),
        page(one, persona.show, "persona", view, view),
        page(one + "adjust/", persona.adjust, "persona-adjust", "points.adjust", "points.adjust"),
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
        *switching.patterns(site),
    ]
