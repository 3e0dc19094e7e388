"""A merchant connects Cova in a real browser: search, credential, a wrong password, stores, first sync, connected."""

import os
import shutil

import pytest
import requests
from django.utils import timezone

from aiqsync.accounts.roles import Role
from aiqsync.accounts.tenancy import acting_in
from integrations import registry, services
from integrations.models import StreamState
from integrations.sandbox.server import start
from tests.factories import make_account, make_user

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]

PASSWORD = "correct horse"


@pytest.fixture(scope="module")
def chromium():
    """A browser for the module, or a plain word on why there is none."""
    required = os.environ.get("AIQSYNC_BROWSER") == "required"
    found = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        sync_playwright = None
    if not (found and sync_playwright):
        say = "No Chromium or no Playwright on this machine: the browser's test of the connect flow is left out."
        pytest.fail(say) if required else pytest.skip(say)
    # Playwright's loop runs in this thread; the rows this test makes itself are asked for between its steps.
    before = os.environ.get("DJANGO_ALLOW_ASYNC_UNSAFE")
    os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"] = "1"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=["--no-sandbox"])
        yield browser
        browser.close()
    if before is None:
        del os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"]


@pytest.fixture(scope="module")
def sandbox():
    with start("cova", customers=60, sales=200, locations=3, seed=7, days=10, rate=0) as running:
        yield running


@pytest.fixture
def account():
    return make_account()


@pytest.fixture
def page(chromium, live_server, account, sandbox, settings):
    """Logged in as the owner; anything the browser complains about, the content policy included, fails the test."""
    settings.CARD_BASE_URLS = {"cova": sandbox.url}
    settings.CARD_RATES = {"cova": 0}
    owner = make_user(account, Role.OWNER, PASSWORD)
    context = chromium.new_context(base_url=live_server.url, viewport={"width": 1280, "height": 900})
    page = context.new_page()
    complaints = []
    page.on("console", lambda said: complaints.append(said.text) if said.type == "error" else None)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.goto("/admin/login/")
    page.fill("[name=username]", owner.email)
    page.fill("[name=password]", PASSWORD)
    page.keyboard.press("Enter")
    page.wait_for_url(lambda url: "/login" not in url)
    page.set_default_timeout(15_000)
    yield page
    context.close()
    # A form that is refused answers 422, which the browser prints as an error.
    assert not [said for said in complaints if "422" not in said]


def pull(account) -> None:
    """What a worker would do."""
    with acting_in(account.pk):
        for state in StreamState.objects.order_by("id"):
            run = services.enqueue_run(state=state, enqueue=None)
            while services.run_slice(run.pk):
                pass


def fits(page) -> None:
    for width in (1280, 820, 390):
        page.set_viewport_size({"width": width, "height": 900})
        assert page.evaluate("document.documentElement.scrollWidth") <= width, (page.url, width)
    page.set_viewport_size({"width": 1280, "height": 900})


def test_from_the_list_to_connected(page, account, sandbox):
    told = requests.get(f"{sandbox.url}/_sandbox/credentials", timeout=10).json()
    page.goto("/admin/integrations/")
    fits(page)
    page.keyboard.press("/")
    page.keyboard.type("nobody's pos")
    page.get_by_text("No card by that name.").wait_for()
    page.keyboard.press("Escape")
    page.keyboard.type("cov")
    page.keyboard.press("Enter")
    page.wait_for_url("**/integrations/cova/")
    fits(page)

    for field in registry.get("cova").credentials:
        page.get_by_label(field.label, exact=True).fill(str(told[field.name]))
    page.get_by_label("Password", exact=True).fill("not the password")
    page.keyboard.press("Enter")
    page.get_by_text("Cova does not accept the username and password").wait_for()
    password = page.get_by_label("Password", exact=True)
    page.locator("#credential_password:focus").wait_for()
    assert password.input_value() == ""
    assert password.get_attribute("aria-invalid") == "true"
    assert page.get_by_label("Username", exact=True).input_value() == told["username"]
    fits(page)

    password.fill(told["password"])  # client_secret is stored already and stays empty
    page.locator("header").get_by_role("button", name="Connect").click()
    page.wait_for_url("**/mapping/")
    page.get_by_text("named 3 locations").wait_for()
    fits(page)
    page.get_by_role("button", name="Map stores and start the first sync").click()
    page.wait_for_url("**/integrations/cova/")
    page.locator("[data-pill]", has_text="Syncing").wait_for()
    page.locator("[data-flow]", has_text="Sales").get_by_text("After Locations and Customers").wait_for()

    pull(account)
    # No reload: the page finds out by itself.
    page.locator("[data-pill]", has_text="Connected").wait_for()
    page.locator("#sums").get_by_text("3 of 3").wait_for()
    page.locator("#runs").get_by_text("Customers").first.wait_for()
    page.wait_for_function("""document.querySelectorAll('[data-flow][data-status="ready"]').length === 4""")
    fits(page)


def test_a_lost_connection_is_said_and_survived(page, account, sandbox):
    with acting_in(account.pk):
        told = requests.get(f"{sandbox.url}/_sandbox/credentials", timeout=10).json()
        link = services.connection_of(account_id=account.pk, slug="cova")
        given = {field.name: str(told[field.name]) for field in registry.get("cova").credentials}
        credential = services.save_credential(connection=link, given=given)
        services.connect(credential=credential, now=timezone.now())
    page.goto("/admin/integrations/cova/")
    gone = {"yes": True}
    page.route(
        "**/progress", lambda route: route.fulfill(status=200, body="<html>") if gone["yes"] else route.continue_()
    )
    page.get_by_text("No answer from the server").wait_for()
    gone["yes"] = False
    page.get_by_text("No answer from the server").wait_for(state="hidden")
    page.context.clear_cookies(name="sessionid")
    page.get_by_role("link", name="Log in again").wait_for()
