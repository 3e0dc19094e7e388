"""The door in a real browser: by mouse and keyboard, without a complaint in its console."""

import os
import shutil

import pytest

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]


@pytest.fixture
def browser():
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        sync_playwright = None
    if not chromium or sync_playwright is None:
        message = "No Chromium or no Playwright here: pages were not tried in a browser."
        if os.environ.get("AIQSYNC_BROWSER") == "required":
            pytest.fail(message)
        pytest.skip(message)
    # Playwright's loop runs in this thread; Django would take its own database calls for asynchronous ones.
    before = os.environ.get("DJANGO_ALLOW_ASYNC_UNSAFE")
    os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"] = "1"
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield opened
        opened.close()
    if before is None:
        del os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"]


@pytest.fixture
def page(browser):
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    page.complaints = []
    page.on("console", lambda said: page.complaints.append(said.text) if said.type == "error" else None)
    page.on("pageerror", lambda error: page.complaints.append(str(error)))
    return page


@pytest.fixture
def owner():
    from tests.factories import make_account, make_persona, make_user

    account = make_account()
    user = make_user(account, email="owner@harbour.test", name="Mara")
    user.persona = make_persona(account, phone="+16045550142")
    return user


def test_in_by_keyboard_adjust_points_and_out(page, owner, live_server):
    page.goto(live_server.url)
    page.keyboard.type("owner@harbour.test")  # the field has the focus
    page.keyboard.press("Tab")
    page.keyboard.type("wrong")
    page.keyboard.press("Enter")
    page.get_by_role("alert").get_by_text("do not belong together").wait_for()

    page.get_by_label("E-mail").fill("owner@harbour.test")
    page.get_by_label("Password").fill("correct horse")
    page.keyboard.press("Enter")
    page.get_by_text("Connect your point of sale").wait_for()

    page.get_by_role("link", name="Personas").click()
    page.locator("#searchbar").fill("(604) 555-0142")
    page.keyboard.press("Enter")
    page.get_by_role("link", name="Ada Moss").click()
    page.get_by_text("Adjust points").click()
    page.get_by_label("Points to add").fill("12.5")
    page.get_by_label("Note").fill("birthday")
    page.get_by_role("button", name="Submit change").dblclick()
    page.locator("#balance", has_text="12.50").wait_for()
    assert page.locator(".iq-timeline tbody tr").count() == 1

    page.get_by_text("owner@harbour.test").click()
    page.get_by_role("button", name="Log out").click()
    page.get_by_text("You are logged out").wait_for()
    assert page.complaints == []


@pytest.mark.parametrize("width", [390, 820, 1280])
def test_nothing_is_wider_than_the_screen(page, owner, live_server, width):
    page.set_viewport_size({"width": width, "height": 900})
    page.goto(live_server.url)
    page.get_by_label("E-mail").fill("owner@harbour.test")
    page.get_by_label("Password").fill("correct horse")
    page.get_by_role("button", name="Log in").click()
    page.get_by_text("Connect your point of sale").wait_for()
    for path in (
        "/admin/",
        "/admin/loyalty/persona/",
        f"/admin/personas/{owner.persona.contact_id}/",
        "/admin/settings/loyalty/",
        "/admin/accounts/apikey/",
        "/admin/loyalty/discount/add/",
        "/admin/stores/store/add/",
    ):
        page.goto(live_server.url + path)
        page.wait_for_load_state("load")
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth + 1"), path
    assert page.complaints == []
