"""Routes of the persona page, the programme page and the account switch; `page` is the guard of `urls.py`."""

from collections.abc import Callable

from django.urls import URLPattern

from . import persona, programme, switching


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
        *switching.patterns(site),
    ]
