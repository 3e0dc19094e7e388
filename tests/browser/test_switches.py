"""The page of a setting that acts on people, in a real browser: each state at three widths, confirmed by keyboard."""

import pytest
from django.urls import reverse

from integrations import services
from loyalty import ask_after, jobs, messages, switches
from tests.loyalty.switching import Shop

from . import test_login
from .test_loyalty_pages import Visit, enter

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]
browser, page = test_login.browser, test_login.page


@pytest.fixture
def shop(monkeypatch):
    shop = Shop(monkeypatch)
    for n, name in enumerate(("ora", "pia", "ned", "quy", "ada")):
        shop.buy(name, f"{name}1", -5 - n)
    return shop


def test_from_figures_to_the_end_by_keyboard(page, live_server, shop, monkeypatch):
    monkeypatch.setattr(messages, "next_allowed", lambda now, zone: now)
    monkeypatch.setattr(ask_after, "BATCH", 2)
    enter(page, live_server, shop.user)
    visit = Visit(page, live_server)
    change = shop.counted("enrol_after", shop.date(-30))
    address = reverse("admin:card-change", args=["shop", change.pk])
    visit.pages([address])
    page.goto(live_server.url + address)
    page.get_by_role("button", name="Confirm for 4 shoppers").focus()
    page.keyboard.press("Enter")
    page.get_by_role("heading", name="Being applied").wait_for()
    shop.work("switch:")
    page.get_by_text("4 shoppers were enrolled").wait_for()  # by itself
    asked = shop.counted("sms_optin_after", shop.date(-30))
    services.confirm(change=asked, user=shop.user, now=shop.now)
    shop.work("switch:")
    address = reverse("admin:card-change", args=["shop", asked.pk])
    stop = page.get_by_role("button", name="Stop")
    page.goto(live_server.url + address)
    stop.focus()
    with page.expect_response(lambda got: "part" in got.url):
        pass
    page.wait_for_function("document.activeElement.textContent === 'Stop'")
    page.route("**/*part", lambda route: None)  # never answered: what Tab has reached stays what it is
    visit.pages([address])
    page.unroute("**/*part")
    services.halt(change=asked, now=shop.now)
    visit.pages([address])

    def broken(work, change):
        raise jobs.GiveUp("The sky fell.")

    monkeypatch.setattr(switches.SWITCHES["sms_optin_after"], "apply", broken, raising=False)
    services.go_on(change=asked, now=shop.now)
    shop.work("switch:")
    visit.pages([address])
    assert not visit.wrong, "\n".join(visit.wrong)
