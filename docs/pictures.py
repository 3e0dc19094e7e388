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
        for suffix, (width, height) in WIDTHS.items():
            page = browser.new_context(viewport={"width": width, "height": height}, color_scheme="light").new_page()
            merchant(page, demo, suffix)
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
    page.goto(f"{demo['url']}/admin/personas/{demo['members'][0]['contact_id']}/")
    shoot(page, f"persona{suffix}")


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


def both(page: Page, name: str) -> None:
    for suffix, (width, height) in WIDTHS.items():
        page.set_viewport_size({"width": width, "height": height})
        shoot(page, f"{name}{suffix}")
    page.set_viewport_size({"width": 1280, "height": 900})


if __name__ == "__main__":
    main()
