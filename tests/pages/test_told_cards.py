"""The pages of cards that are told, not asked, and of the one whose address a merchant types."""

import re
from html import unescape

import pytest
from django.test import Client
from django.utils import timezone

from aiqsync.accounts.tenancy import acting_in
from integrations import services
from integrations.models import Credential
from tests.factories import make_account, make_user
from tests.loyalty.api.pos import SALES, Pos, visit


@pytest.fixture
def browser(db):
    account = make_account()
    client = Client()
    client.force_login(make_user(account))
    client.account = account
    return client


def text(response) -> str:
    assert response.status_code == 200
    return response.content.decode()


def test_push_is_connected_with_one_press_and_shows_what_the_pos_needs(browser):
    page = text(browser.get("/admin/integrations/push/"))
    assert "There is nothing to enter" in page and "Add Credential" not in page
    done = browser.post("/admin/integrations/push/credentials/new/", {"act": "connect"}, follow=True)
    page = text(done)
    assert "taken from now on" in page
    page = text(browser.get("/admin/integrations/push/"))
    assert "/api/v1.1/" in page and browser.account.uid in page and "API &amp; Tracking" in page
    assert "No call has arrived yet" in page
    assert "Sync now" not in page and "Last syncs" not in page
    again = browser.post("/admin/integrations/push/credentials/new/", {"act": "connect"})
    assert again.status_code == 422 and "connected already" in again.content.decode()
    assert Credential.unscoped.count() == 1


def test_push_shows_the_calls_and_the_refused_rows(browser):
    pos = Pos(account=browser.account)
    pos.push(SALES, [visit("R1"), visit("R2", transaction_date="yesterday")])
    page = text(browser.get("/admin/integrations/push/"))
    assert "createUpdateSales" in page and "transaction_date is not a time" in page
    assert "Main St" in page  # the place that the sale named
    listed = text(browser.get("/admin/integrations/"))
    assert "Taking what is sent" in listed and "Partner REST" in listed
    assert text(browser.get("/admin/")) and text(browser.get("/admin/integrations/push/mapping/"))
    assert browser.get("/admin/integrations/push/progress").json()["streams"] == []


def test_the_open_page_learns_of_each_call(browser):
    """Its script asks, and reads the page again when the stamp is another."""
    pos = Pos(account=browser.account)
    at = "/admin/integrations/push/"

    def shown() -> str:
        page = text(browser.get(at))
        return unescape(re.search(r'data-progress="/admin/integrations/push/progress" data-stamp="([^"]*)"', page)[1])

    def asked() -> str:
        return browser.get(f"{at}progress").json()["stamp"]

    stamps = [shown()]
    assert asked() == stamps[0]
    for key in ("R1", "R2", "R3"):
        pos.push(SALES, [visit(key)])
        stamps.append(asked())
        assert shown() == stamps[-1]
    assert len(set(stamps)) == 4
    page = text(browser.get(at))
    for part in ("activity", "runs", "refused", "stores", "sums"):
        assert f'data-swap="{part}"' in page


def test_push_is_disconnected_and_connected_again(browser):
    pos = Pos(account=browser.account)
    pos.push(SALES, [visit("R1")])
    at = f"/admin/integrations/push/credentials/{pos.credential.pk}"
    assert "What is sent is refused from then on" in text(browser.get(f"{at}/disconnect/"))
    assert "Everything it brought is still here" in text(browser.post(f"{at}/disconnect/", follow=True))
    assert "not connected, so calls are refused" in text(browser.get("/admin/integrations/push/"))
    assert "not connected" in pos.fails(400, SALES, [visit("R2")])
    assert "taken from now on" in text(browser.post(f"{at}/", {"act": "connect"}, follow=True))
    pos.push(SALES, [visit("R2")])


def test_partner_says_beside_the_field_what_is_wrong(browser):
    page = text(browser.get("/admin/integrations/partner/"))
    assert "<textarea" in page and 'name="fields"' in page
    given = {"base_url": "https://me:pw@api.pos.com", "api_key": "secret-one", "fields": "nonsense", "act": "connect"}
    answer = browser.post("/admin/integrations/partner/credentials/new/", given)
    page = answer.content.decode()
    assert answer.status_code == 422
    assert "user name or password" in page and "is no line like" in page and "secret-one" not in page
    given |= {"base_url": "https://10.0.0.1", "fields": ""}
    page = text(browser.post("/admin/integrations/partner/credentials/new/", given, follow=True))
    assert "inner network" in page and "secret-one" not in page


def test_evidence_does_not_come_from_pushed_sales(browser):
    Pos(account=browser.account)
    with acting_in(browser.account.pk):
        told = services.read_past(account_id=browser.account.pk, moment=timezone.now())
    assert not told.ok and told.waiting == ("Push API: nothing tells that the POS has sent every sale.",)
