"""The discount builder in a real browser: the preview follows what is typed, ticked and chosen before it is saved."""

import pytest
from django.test import Client

from aiqsync.accounts.roles import Role
from tests.factories import make_account, make_user
from tests.loyalty import images

from . import test_login

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]
browser, page = test_login.browser, test_login.page


@pytest.fixture
def builder(page, live_server):
    client = Client()
    client.force_login(make_user(make_account(), Role.MARKETING))
    page.context.add_cookies(
        [{"name": "sessionid", "value": client.cookies["sessionid"].value, "url": live_server.url}]
    )
    page.goto(f"{live_server.url}/admin/loyalty/discount/add/")
    return page


def test_the_preview_is_live(builder, tmp_path):
    seen = builder.locator("[data-preview]")
    logo, cover = (seen.locator(f"[data-preview-{name}]") for name in ("logo", "cover"))
    assert "reward.png" in logo.get_attribute("src") and cover.is_hidden()
    builder.get_by_label("Internal name").fill("Ten")
    builder.get_by_label("What are you discounting?").fill("$10 off <b>")
    builder.get_by_label("Short description").fill("Thanks for coming back")
    builder.get_by_label("Points required to redeem").fill("1250")
    builder.locator("[name=amount]").fill("10")
    builder.locator("[name=min_spend]").fill("50")
    builder.locator("[name=ends_at_0]").fill("2026-12-31")
    builder.locator("[name=ends_at_1]").fill("18:00:00")
    builder.locator("[name=in_store_only]").check(force=True)
    text = seen.inner_text()
    for said in ("$10 off <b>", "Thanks for coming back", "1,250 points", "In store only", "From $50.00", "Redeem",
                 "Ends on 31 Dec 2026, 18:00"):  # fmt: skip
        assert said in text, said
    builder.locator("[name=hide_redeem]").check(force=True)
    assert "Ask our staff" in seen.inner_text() and seen.get_by_text("Redeem", exact=True).is_hidden()

    for name, raw in (("logo.png", images.file_of()), ("cover.png", images.halves()), ("no.png", images.SVG)):
        (tmp_path / name).write_bytes(raw)
    builder.set_input_files("[name=logo]", tmp_path / "logo.png")
    builder.set_input_files("[name=cover]", tmp_path / "cover.png")
    builder.wait_for_function("document.querySelector('[data-preview-cover]').src.startsWith('data:image/png')")
    builder.wait_for_function("document.querySelector('[data-preview-logo]').naturalWidth === 400")
    assert cover.is_visible()

    builder.get_by_role("button", name="Save and continue editing").click()
    builder.wait_for_url("**/change/**")
    builder.wait_for_function("document.querySelector('[data-preview-logo]').naturalWidth === 300")
    assert "/discount/image/" in cover.get_attribute("src")
    builder.get_by_label("Remove it").last.check()
    assert cover.is_hidden(), "as it will be"
    builder.get_by_label("Remove it").last.uncheck()
    assert cover.is_visible()
    builder.set_input_files("[name=logo]", tmp_path / "no.png")
    builder.wait_for_function("document.querySelector('[data-preview-logo]').src.includes('reward.png')")
    builder.get_by_role("button", name="Save and continue editing").click()
    builder.get_by_text("no picture that can be read").wait_for()
    assert builder.complaints == []


@pytest.mark.parametrize("width", [1280, 820, 390])
def test_nothing_runs_over_the_edge(builder, width):
    builder.set_viewport_size({"width": width, "height": 900})
    builder.get_by_label("What are you discounting?").fill("Supercalifragilistic" * 6)
    builder.get_by_label("Short description").fill("W" * 300)
    box, card = (builder.locator(part).bounding_box() for part in (".iq-wallet", "[data-preview]"))
    assert box["x"] >= card["x"] and box["x"] + box["width"] <= card["x"] + card["width"]
    assert builder.evaluate(
        "document.querySelector('.iq-wallet').scrollWidth <= document.querySelector('.iq-wallet').clientWidth"
    )
    assert builder.evaluate("document.documentElement.scrollWidth") <= width
