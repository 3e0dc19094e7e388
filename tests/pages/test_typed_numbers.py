"""Whatever stands in an address or a form where a number is meant: it finds nothing, and never is a fault."""

import re

import pytest
from django.test import Client
from django.urls import reverse

from aiqsync.accounts.tenancy import acting_in
from aiqsync.accounts.typed import whole_number
from integrations.models import Connection, Credential, Upload
from tests.accounts.test_isolation import ROUTES, address
from tests.accounts.world import make_world
from tests.factories import make_account, make_user

pytestmark = pytest.mark.django_db
# A superscript and another script's digits are `isdigit`; then longer than any id, and longer than `int` reads at all.
ODD = ["²", "٣٣٣٣٣٣٣٣", "9" * 30, "9" * 5000]


@pytest.fixture
def world():
    account = make_account()
    made = make_world(account, "Zanzibar")
    made["client"] = Client()
    made["client"].force_login(make_user(account))
    return made


@pytest.mark.parametrize(
    ("text", "number"), [("7", 7), ("007", 7), ("9" * 18, 10**18 - 1), *[(odd, None) for odd in ODD],
                         *[(odd, None) for odd in ("", " ", "1²", "-1", "1.5", "0x1", "9" * 19)]],
)  # fmt: skip
def test_a_whole_number(text, number):
    assert whole_number(text) == number


def with_number(text: str, pattern, world: dict, odd: str) -> str:
    """The route's address with `odd` where it has a row's number."""
    numbers = re.compile(r"<(?:int:\w+|(?:\w+:)?object_id)>")
    return address(numbers.sub("NUMBER", text), pattern, world).replace("NUMBER", odd)


NUMBERED = [(text, pattern) for text, pattern in ROUTES if re.search(r"<(int:\w+|(\w+:)?object_id)>", text)]


@pytest.mark.parametrize("odd", ODD, ids=lambda odd: odd[:6])
def test_in_an_address(world, odd):
    assert len(NUMBERED) > 40
    for text, pattern in NUMBERED:
        url = with_number(text, pattern, world, odd)
        for ask in (world["client"].get, world["client"].post):
            assert ask(url).status_code in (302, 403, 404, 405), (ask, url)


@pytest.mark.parametrize("odd", ODD, ids=lambda odd: odd[:6])
def test_in_a_query(world, odd):
    upload = world["Upload"]
    Upload.unscoped.filter(pk=upload.pk).update(kind="contacts")
    for url, name in (
        (reverse("admin:integrations_sale_changelist"), "location"),
        (reverse("admin:file-differences", args=[upload.pk]), "page"),
        (reverse("admin:files"), "page"),
        (reverse("admin:persona", args=[world["Persona"].contact_id]), "sales"),
    ):
        answer = world["client"].get(url, {name: odd})
        assert answer.status_code in (200, 302, 404), (url, odd)


@pytest.mark.parametrize("odd", ODD, ids=lambda odd: odd[:6])
def test_in_a_form(world, odd):
    account, persona = world["Persona"].account, world["Persona"]
    with acting_in(account.pk):
        connection, _ = Connection.objects.get_or_create(card="cova")
        Credential.objects.filter(connection=connection).update(state="connected")
    case = dict.fromkeys(("redemption", "sale", "shortfall", "discount"), odd)
    forms = [
        (reverse("admin:file-act", args=[world["Upload"].pk, "confirm"]), {"seen": odd, "earn_from": "2026-01-01"}),
        (reverse("admin:pair-decide"), {"one": odd, "other": odd}),
        (reverse("admin:pair-decide"), {"one": odd, "other": odd, "same": "1"}),
        (reverse("admin:store-mapping", args=[world["Store"].pk]), {"place-1": odd}),
        (reverse("admin:card-writes", args=["cova", "retry"]), {"write": odd}),
        (reverse("admin:card-writes", args=["cova", "give-up"]), {"write": odd}),
        (reverse("admin:why"), {"act": "attach", "sale": odd, "q": "x"}),
        (reverse("admin:card-mapping", args=["cova"]), {f"location-{world['Location'].pk}": odd}),
        *[(reverse("admin:looking-act", args=[verb]), case)
          for verb in ("dismiss", "give-back", "settle", "take-again", "take", "take-back", "collect", "waive")],
        *[(reverse(f"admin:{name}", args=[persona.contact_id]), {"store": odd, "audience": odd})
          for name in ("persona-store", "persona-audience")],
    ]  # fmt: skip
    for url, given in forms:
        assert world["client"].post(url, given).status_code in (302, 404, 409, 422), (url, odd)


def test_a_buttons_address_opened_as_a_page_leads_to_its_page(world):
    """Reloaded after a refusal, or asked for again by the log-in: no empty 405, and nothing is done."""
    upload, store, change = world["Upload"], world["Store"], world["SettingChange"]
    for button, page in (
        (reverse("admin:file-act", args=[upload.pk, "begin"]), reverse("admin:file", args=[upload.pk])),
        (reverse("admin:card-change-act", args=["cova", change.pk, "confirm"]),
         reverse("admin:card-change", args=["cova", change.pk])),
        (reverse("admin:store-mapping", args=[store.pk]), reverse("admin:stores_store_change", args=[store.pk])),
        (reverse("admin:card-writes", args=["cova", "retry"]), reverse("admin:card", args=["cova"])),
        (reverse("admin:card-rehearse", args=["cova"]), reverse("admin:card", args=["cova"])),
        (reverse("admin:alerts-retry"), reverse("admin:alerts")),
    ):  # fmt: skip
        answer = world["client"].get(button, follow=True)
        assert answer.redirect_chain == [(page, 302)] and answer.status_code == 200, button
        assert "Nothing was done" in answer.content.decode()
