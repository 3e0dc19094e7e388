"""The README's pictures, taken from the running demo: `make pictures` beside `make demo`.

A second merchant is made for the connect flow, so that the pictures show what a new user sees.
"""

import json
import os
import re
import secrets
import subprocess
import sys
import time
import urllib.request
from datetime import date, timedelta
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

ROOT = Path(__file__).resolve().parent.parent
IMAGES = ROOT / "docs" / "img"
WIDTHS = {"": (1280, 900), "-820": (820, 1180)}


def main() -> None:
    demo = json.loads((Path(os.environ.get("AIQSYNC_VAR") or ROOT / "var") / "demo.json").read_text())
    IMAGES.mkdir(exist_ok=True)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path="/usr/bin/chromium", args=["--no-sandbox", "--disable-gpu"]
        )
        happen(demo)
        for suffix, (width, height) in WIDTHS.items():
            page = browser.new_context(viewport={"width": width, "height": height}, color_scheme="light").new_page()
            merchant(page, demo, suffix)
        cards(browser, demo)
        newcomer(browser, demo)
        browser.close()


def shoot(page: Page, name: str, *, full: bool = False) -> None:
    page.wait_for_load_state("networkidle")
    page.wait_for_timeout(500)  # charts draw themselves
    page.screenshot(path=IMAGES / f"{name}.png", full_page=full)


def log_in(page: Page, demo: dict, email: str, password: str) -> None:
    page.goto(f"{demo['url']}/admin/login/")
    page.fill("input[name=username]", email)
    page.fill("input[name=password]", password)
    page.keyboard.press("Enter")
    page.wait_for_url("**/admin/**")
    page.wait_for_load_state("networkidle")


def merchant(page: Page, demo: dict, suffix: str) -> None:
    page.goto(f"{demo['url']}/admin/login/")
    shoot(page, f"login{suffix}")
    log_in(page, demo, demo["owner"]["email"], demo["owner"]["password"])
    page.goto(f"{demo['url']}/admin/")
    shoot(page, f"home{suffix}")
    page.goto(f"{demo['url']}/admin/integrations/")
    shoot(page, f"integrations{suffix}")
    page.goto(f"{demo['url']}/admin/integrations/cova/")
    shoot(page, f"card{suffix}")
    loyalty(page, demo, suffix)


def happen(demo: dict) -> None:
    """A day at the till: discounts redeemed and used, one redeemed and not used, a receipt without a customer."""
    goods = [
        {
            "sku": "PR-1",
            "name": "Pre-roll",
            "category": "Pre-rolls",
            "brand": "Low Fog",
            "price_cents": 6400,
            "quantity": 1,
        }
    ]
    used = (
        ("$10 off", {"name": "$10 off", "cents": 1000}),
        ("$5 off", {"name": "$5 off", "cents": 500}),
        ("$5 off", None),
    )
    for n, (name, discount) in enumerate(used):
        phone, order = demo["members"][n % 2]["phone"], f"T-{secrets.token_hex(2).upper()}"
        wallet = ask(f"{demo['url']}/api/v2/wallet", {"phone": phone}, key=demo["api_key"])["data"]
        found = next(one for one in wallet["discountTemplates"] if one["name"] == name)
        ask(f"{found['redemptionURL']}/{order}", key=demo["api_key"], method="PUT")
        ask(
            f"{demo['sandboxes']['cova']}/_sandbox/sell",
            {"phone": phone, "transaction": order, "lines": goods} | ({"discount": discount} if discount else {}),
        )
    demo["nobodys"] = ask(f"{demo['sandboxes']['cova']}/_sandbox/sell", {"lines": goods})["receipt"]
    time.sleep(45)  # the next reading, and what follows from it


def ask(url: str, body: dict | None = None, *, key: str = "", method: str | None = None) -> dict:
    request = urllib.request.Request(url, method=method or "POST", data=json.dumps(body or {}).encode())
    request.add_header("Content-Type", "application/json")
    if key:
        request.add_header("X-APIKEY", key)
    return json.load(urllib.request.urlopen(request))


def loyalty(page: Page, demo: dict, suffix: str) -> None:
    for path, name in (
        (f"personas/{demo['members'][0]['contact_id']}/", "persona"),
        ("settings/loyalty/", "programme"),
        ("redemptions/", "look-at"),
        (f"why/?q={demo['nobodys']}", "why"),
        ("reports/liability/", "liability"),
    ):
        page.goto(f"{demo['url']}/admin/{path}")
        shoot(page, f"{name}{suffix}")
    page.goto(f"{demo['url']}/admin/loyalty/discount/add/")
    for label, text in (
        ("Internal name", "Autumn thanks"), ("What are you discounting?", "$15 off"),
        ("Short description", "Thank you for coming back: off your whole order."), ("Points required to redeem", "900"),
    ):  # fmt: skip
        page.get_by_label(label).fill(text)
    page.locator("[name=amount]").fill("15")
    page.locator("[name=min_spend]").fill("60")
    page.locator("[name=in_store_only]").check(force=True)
    page.evaluate("scrollTo(0, 0)")
    shoot(page, f"discount{suffix}")
    page.goto(f"{demo['url']}/admin/settings/modifiers/new/")
    page.get_by_label("Name").fill("Double Tuesday")
    page.get_by_label("Tuesday").check()
    page.locator("#id_brands_one").fill("Low Fog")
    page.keyboard.press("Enter")
    page.locator("#id_starts_on").fill("")
    page.evaluate("document.activeElement.blur(); scrollTo(0, 0)")
    shoot(page, f"modifier{suffix}")
    page.get_by_role("button", name="Save modifier").click()
    page.get_by_role("button", name=re.compile("^Confirm")).wait_for(timeout=120_000)
    shoot(page, f"dry-run{suffix}")
    page.get_by_role("button", name="Dismiss").click()
    page.wait_for_load_state("networkidle")


def cards(browser, demo: dict) -> None:
    """The card's settings, a dry run, a rehearsal, a file's columns, alerts and the grid; nothing is confirmed."""
    page = browser.new_context(viewport={"width": 1280, "height": 900}, color_scheme="light").new_page()
    log_in(page, demo, demo["owner"]["email"], demo["owner"]["password"])
    at = f"{demo['url']}/admin"
    for path, name in (("integrations/grid/", "grid"), ("settings/alerts/", "alerts")):
        page.goto(f"{at}/{path}")
        both(page, name)
    page.goto(f"{at}/integrations/cova/")
    both(page, "settings", top="#settings")
    page.get_by_role("button", name=re.compile("^Rehearse")).click()
    page.get_by_text("Everything worked").wait_for(timeout=120_000)
    both(page, "rehearsal", top="#rehearsal")
    page.goto(f"{at}/integrations/cova/")
    page.locator("[name=enrol_after]").fill((date.today() - timedelta(days=120)).isoformat())
    page.get_by_role("button", name="Save settings").click()
    page.get_by_role("link", name=re.compile("^See ")).first.click()
    page.get_by_role("button", name=re.compile("^Confirm")).wait_for(timeout=120_000)
    both(page, "switch")
    page.get_by_role("button", name="Dismiss").click()
    page.wait_for_load_state("networkidle")
    rows = "".join(
        f"{n},{first},Moss,604555{2000 + n},{first.lower()}@example.test,1990-02-{n:02}\n"
        for n, first in enumerate(("Ada", "Bo", "Cy", "Dee", "Eli", "Fay"), 1)
    )
    page.goto(f"{at}/integrations/files/")
    page.set_input_files("#file", {
        "name": "customers.csv", "mimeType": "text/csv",
        "buffer": f"Customer No,First,Last,Mobile,Mail,Birth date\n{rows}".encode(),
    })  # fmt: skip
    page.fill("#source", "Old till")
    page.get_by_role("button", name="Send").click()
    page.get_by_text("as they would be understood").wait_for(timeout=60_000)
    both(page, "file")
    page.get_by_role("button", name="Put away").click()
    page.wait_for_load_state("networkidle")


def newcomer(browser, demo: dict) -> None:
    """From the link that `account create` prints to the first sync."""
    told = subprocess.run(
        [sys.executable, "manage.py", "account", "create", "--name", "Cedar & Pine", "--owner-email",
         f"jo{secrets.token_hex(2)}@cedar.example", "--owner-name", "Jo Park", "--timezone", "America/Vancouver",
         "--country", "CA", "--currency", "CAD"],
        cwd=ROOT, env={**os.environ, "PUBLIC_URL": demo["url"]}, capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    link = re.search(r"log-in: (\S+)", told).group(1)
    email, password = json.loads(told.strip().splitlines()[-1])["owner"], secrets.token_urlsafe(12)
    given = json.load(urllib.request.urlopen(f"{demo['sandboxes']['cova']}/_sandbox/credentials"))
    page = browser.new_context(viewport={"width": 1280, "height": 900}, color_scheme="light").new_page()
    page.goto(link)
    page.fill("input[name=new_password1]", password)
    page.fill("input[name=new_password2]", password)
    page.keyboard.press("Enter")
    page.wait_for_load_state("networkidle")
    log_in(page, demo, email, password)
    page.goto(f"{demo['url']}/admin/integrations/cova/")
    both(page, "connect")
    for name in ("company_id", "client_id", "client_secret", "username", "password"):
        page.fill(f"input[name={name}]", str(given[name]))
    page.get_by_role("button", name="Connect", exact=True).first.click()
    page.wait_for_url("**/mapping/")
    both(page, "mapping")
    page.get_by_role("button", name="Map stores and start the first sync").click()
    page.wait_for_url("**/cova/**")
    end = time.monotonic() + 60
    while time.monotonic() < end:  # until there is something to see: the history of the sales being read
        if re.search(r"[1-9]\d? ?%", page.inner_text("main" if page.query_selector("main") else "body")):
            break
        page.wait_for_timeout(500)
    page.wait_for_timeout(2500)
    page.screenshot(path=IMAGES / "progress.png")
    page.set_viewport_size({"width": 820, "height": 1180})
    page.wait_for_timeout(800)
    page.screenshot(path=IMAGES / "progress-820.png")


def both(page: Page, name: str, *, top: str = "") -> None:
    """At both widths; with `top` at the upper edge."""
    for suffix, (width, height) in WIDTHS.items():
        page.set_viewport_size({"width": width, "height": height})
        if top:
            page.locator(top).evaluate("one => one.scrollIntoView()")
        shoot(page, f"{name}{suffix}")
    page.set_viewport_size({"width": 1280, "height": 900})


if __name__ == "__main__":
    main()
