"""A card's pages in a real browser at three widths, by keyboard: connected, refused, frozen, disconnected, erased."""

import pytest
import requests
from django.urls import reverse
from django.utils import timezone

from aiqsync.accounts.roles import Role
from aiqsync.accounts.tenancy import acting_in
from integrations import registry, services
from integrations.models import Location
from integrations.sandbox.server import start
from stores import services as stores
from stores.models import Store
from tests.factories import make_account, make_user
from tests.loyalty.api.pos import SALES, Pos, visit

from . import test_login
from .test_connect import pull
from .test_loyalty_pages import Visit, enter

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]
browser, page = test_login.browser, test_login.page


@pytest.fixture(scope="module")
def sandbox():
    with start("cova", customers=30, sales=60, locations=3, seed=7, days=10, rate=0) as running:
        yield running


@pytest.fixture
def shop(sandbox, settings):
    """Connected and read once; one of three locations is not mapped."""
    settings.CARD_BASE_URLS = {"cova": sandbox.url}
    settings.CARD_RATES = {"cova": 0}
    account = make_account()
    account.user = make_user(account, Role.OWNER, name="Mara Owner")
    told = requests.get(f"{sandbox.url}/_sandbox/credentials", timeout=10).json()
    with acting_in(account.pk):
        link = services.connection_of(account_id=account.pk, slug="cova")
        given = {field.name: str(told[field.name]) for field in registry.get("cova").credentials}
        account.credential = services.save_credential(connection=link, given=given)
        services.connect(credential=account.credential, now=timezone.now())
        stores.map_all(origin_id=account.credential.origin_id)
        pull(account)
        stores.unmap_location(location=Location.objects.order_by("pk").last())
        account.store = Store.objects.order_by("pk").first()
    return account


def test_every_page_of_a_card(page, live_server, shop):
    enter(page, live_server, shop.user)
    visit = Visit(page, live_server)
    card, one = reverse("admin:card", args=["cova"]), ["cova", shop.credential.pk]
    freeze = reverse("admin:card-freeze", args=["cova"])
    visit.pages([
        reverse("admin:integrations"), reverse("admin:feature-grid"), card, f"{card}?runs=all", freeze,
        reverse("admin:card-mapping", args=["cova"]), reverse("admin:card-credential", args=one),
        reverse("admin:card-credential-new", args=["cova"]), reverse("admin:card-credential-freeze", args=one),
        reverse("admin:card-disconnect", args=one), reverse("admin:card-erase", args=one),
        reverse("admin:stores_store_change", args=[shop.store.pk]), reverse("admin:alerts"),
        *[reverse("admin:card", args=[slug]) for slug in sorted(set(registry.CARDS) - {"cova", "files"})],
    ])  # fmt: skip

    page.goto(live_server.url + freeze)
    page.get_by_role("button", name="Use last backup").focus()
    page.keyboard.press("Enter")
    page.locator("[data-pill]", has_text="Frozen").wait_for()
    visit.pages([card, freeze])

    page.goto(live_server.url + reverse("admin:card-disconnect", args=one))
    page.get_by_role("button", name="Disconnect").focus()
    page.keyboard.press("Enter")
    page.wait_for_url("**/cova/")
    visit.pages([card, reverse("admin:card-erase", args=one)])
    assert not visit.wrong, "\n".join(visit.wrong)


def test_a_refused_save_keeps_what_was_typed_and_says_why(page, live_server, shop):
    enter(page, live_server, shop.user)
    page.goto(live_server.url + reverse("admin:card", args=["cova"]))
    page.get_by_label("Sync to relevant market").check()
    page.get_by_role("button", name="Save settings").focus()
    page.keyboard.press("Enter")
    page.get_by_text("Nothing was saved: one setting needs another look").wait_for()
    assert page.get_by_label("Sync to relevant market").is_checked()
    wrong = page.locator("#row-sync_to_market [role=alert]")
    assert "market" in wrong.inner_text().lower()
    for width in (1280, 820, 390):
        page.set_viewport_size({"width": width, "height": 900})
        assert page.evaluate("document.documentElement.scrollWidth") <= width
    # A label that is longer than a phone is wide.
    page.locator("[name=enrol_after]").evaluate("one => { one.type = 'text'; one.value = 'spring'; }")
    page.get_by_role("button", name="Save settings").click()
    page.get_by_role("link", name="Enroll Personas in loyalty program who purchased after").wait_for()
    for width in (1280, 820, 390):
        page.set_viewport_size({"width": width, "height": 900})
        assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_moving_past_sales_asks_first(page, live_server, shop):
    enter(page, live_server, shop.user)
    page.goto(live_server.url + reverse("admin:card-mapping", args=["cova"]))
    first = page.locator("select[name^=location-]").first
    first.select_option(label="Not a store of ours")
    page.get_by_role("button", name="Save", exact=True).click()
    page.get_by_role("heading", name="This moves past sales to another store").wait_for()
    for width in (1280, 820, 390):
        page.set_viewport_size({"width": width, "height": 900})
        assert page.evaluate("document.documentElement.scrollWidth") <= width
    page.get_by_role("link", name="Leave it").focus()
    page.keyboard.press("Enter")
    page.wait_for_url("**/cova/**")
    with acting_in(shop.pk):
        assert Store.objects.filter(pk=shop.store.pk, mappings__isnull=False).exists()


def test_a_pushing_pos_is_told_where_to_call(page, live_server, shop):
    with acting_in(shop.pk):
        link = services.connection_of(account_id=shop.pk, slug="push")
        services.connect(credential=services.save_credential(connection=link, given={}), now=timezone.now())
    enter(page, live_server, shop.user)
    visit = Visit(page, live_server)
    visit.pages([reverse("admin:card", args=["push"])])
    assert page.locator("#push-address").inner_text() == f"{live_server.url}/api/v1.1/"
    assert page.locator("#push-uid").inner_text() == shop.uid
    assert page.get_by_text(f"createUpdateSale/{shop.uid}").is_visible()
    assert not visit.wrong, "\n".join(visit.wrong)


def test_a_call_that_arrives_shows_by_itself_and_no_choice_is_lost(page, live_server):
    pos = Pos()
    user = make_user(pos.account, Role.OWNER)
    enter(page, live_server, user)
    page.goto(live_server.url + reverse("admin:card", args=["push"]))
    page.get_by_text("No call has arrived yet").wait_for()
    assert not page.get_by_role("heading", name="Latest calls").is_visible()
    pos.push(SALES, [visit("R1")])
    page.get_by_role("heading", name="Latest calls").wait_for(timeout=15_000)
    page.get_by_label("Store of Main St").select_option(label="Not a store of ours")
    page.evaluate("document.activeElement.blur()")
    pos.push(SALES, [visit("R2")])
    page.locator("#runs tbody tr").nth(1).wait_for(timeout=15_000)
    assert page.get_by_label("Store of Main St").evaluate("one => one.selectedOptions[0].text") == "Not a store of ours"
    page.goto("about:blank")  # an open page asks on
