"""File drop's pages in a real browser at three widths, by keyboard: one file in every state."""

import os
from datetime import date

import pytest
from django.urls import reverse
from django.utils import timezone

from integrations import services
from integrations.models import Upload
from integrations.uploads import services as uploads
from tests.browser.test_loyalty_pages import WIDTHS, Visit, enter
from tests.factories import make_account, make_persona, make_user
from tests.integrations.files.sheets import CUSTOMERS, NOBODY, read, send, sent_and_read
from tests.integrations.files.test_contacts import EXPORT
from tests.integrations.files.test_uploads import SALES

from . import test_login

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]
browser, page = test_login.browser, test_login.page


@pytest.fixture
def shop(settings, tmp_path):
    account, now = make_account(), timezone.now()
    account.user = make_user(account, name="Mara Owner")
    make_persona(account, phone="+16045550142")
    sent_and_read(account, CUSTOMERS, name="customers-2026-11-01.csv")
    bad = "TransactionID,TransactionDate,total\n" + "".join(
        f"{n},{'never' if n % 3 else '2026-03-02'},5\n" for n in range(40)
    )
    sent_and_read(account, bad, name="transactions with a rather long name, as some tills write them 2026-11-02.csv")
    read(send(account, EXPORT, name="personas.csv", source="AIQ"))
    taken = read(send(account, EXPORT, name="personas-2026-11-30.csv", source="AIQ"))
    uploads.confirm(upload=taken, earn_from=date(2026, 11, 1), seen=taken.rows_read, user=account.user, now=now,
                    enqueue=NOBODY)  # fmt: skip
    read(taken)
    send(account, SALES, name="sales.csv")
    running = send(account, CUSTOMERS, name="customers-running.csv")
    uploads.begin(upload=running, now=now, enqueue=NOBODY)
    stopped = send(account, CUSTOMERS, name="customers-stopped.csv")
    uploads.begin(upload=stopped, now=now, enqueue=NOBODY)
    uploads.stop(upload=stopped, now=now)
    send(account, "a,b\n1,2\n", name="unknown.csv")
    account.taken, account.live = taken, running
    settings.FILES_ROOT = str(tmp_path)
    (tmp_path / account.uid / "daily").mkdir(parents=True)
    link = services.connection_of(account_id=account.pk, slug="files")
    place = services.save_credential(connection=link, given={"source": "Old till", "folder": "daily"})
    services.connect(credential=place, now=now)
    account.place = place
    return account


def addresses(shop) -> list[str]:
    files = [reverse("admin:file", args=[pk]) for pk in Upload.unscoped.order_by("pk").values_list("pk", flat=True)]
    return [
        reverse("admin:files"), *files, reverse("admin:file-differences", args=[shop.taken.pk]),
        reverse("admin:card-credential-new", args=["files"]), reverse("admin:integrations"),
    ]  # fmt: skip


def test_every_page(page, live_server, shop):
    enter(page, live_server, shop.user)
    visit = Visit(page, live_server)
    # One that is being read draws itself anew while Tab goes through it.
    live = reverse("admin:file", args=[shop.live.pk])
    visit.pages([path for path in addresses(shop) if path != live])
    if folder := os.environ.get("PICTURES"):
        for at, path in enumerate(addresses(shop)):
            for width in WIDTHS:
                page.set_viewport_size({"width": width, "height": 900})
                page.goto(live_server.url + path)
                page.wait_for_load_state("load")
                page.screenshot(path=f"{folder}/{at:02}-{width}.png", full_page=True)
    assert not visit.wrong, "\n".join(visit.wrong)


def test_a_file_is_sent_and_begun_by_mouse(page, live_server, shop, tmp_path):
    enter(page, live_server, shop.user)
    (tmp_path / "new.csv").write_text(CUSTOMERS.replace("C-", "N-"))
    page.goto(live_server.url + reverse("admin:files"))
    page.set_input_files("#file", tmp_path / "new.csv")
    page.fill("#source", "Old till")
    page.get_by_role("button", name="Send").click()
    page.get_by_text("as they would be understood").wait_for()
    page.get_by_role("button", name="Read the file").click()
    page.get_by_role("button", name="Stop").wait_for()
    read(Upload.unscoped.order_by("-pk").first())
    page.get_by_text("Rows read").wait_for()  # the page follows by itself
    assert page.complaints == []
