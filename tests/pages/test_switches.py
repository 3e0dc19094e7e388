"""The page of a setting that acts on people: by the buttons that it shows itself."""

import re
from html import unescape

import pytest
from django.test import Client
from django.urls import reverse

from aiqsync.accounts.models import AuditLine
from aiqsync.accounts.roles import Role
from aiqsync.accounts.tenancy import acting_in
from integrations import services
from integrations.models import SettingChange
from loyalty import erasure, jobs, messages, switches
from loyalty.models import Enrolment, Job
from tests.factories import make_user
from tests.loyalty.switching import Shop

pytestmark = pytest.mark.django_db
FORM = re.compile(r'<form method="post" action="([^"]+)"[^>]*>(.*?)</form>', re.DOTALL)
HIDDEN = re.compile(r'<input type="hidden" name="(\w+)" value="([^"]*)"')


class Page(Shop):
    def __init__(self, client, monkeypatch) -> None:
        super().__init__(monkeypatch)
        self.client = client
        client.force_login(self.user)
        for name, purchases in (("ora", 1), ("pia", 2)):
            for n in range(purchases):
                self.buy(name, f"{name}{n}", -5 - n)

    def html(self, change: SettingChange, client=None, **query) -> str:
        address = reverse("admin:card-change", args=["shop", change.pk])
        return unescape((client or self.client).get(address, query).content.decode())

    def buttons(self, change: SettingChange) -> list[str]:
        return [
            re.sub(r"<[^>]+>", "", form).strip()
            for action, form in FORM.findall(self.html(change))
            if "/changes/" in action
        ]

    def press(self, change: SettingChange, label: str) -> str:
        for action, form in FORM.findall(self.html(change)):
            if re.search(rf"<button[^>]*>{re.escape(label)}", form):
                return unescape(self.client.post(action, dict(HIDDEN.findall(form)), follow=True).content.decode())
        raise AssertionError(f"no button {label!r}")


@pytest.fixture
def page(client, monkeypatch):
    return Page(client, monkeypatch)


def test_figures_names_and_the_word_of_somebody(page):
    change = page.propose("enrol_after", page.date(-30))
    html = page.html(change)
    assert "Counting what this would do" in html and "data-live" in html
    assert page.buttons(change) == ["Dismiss"]
    page.work()
    html = page.html(change)
    assert "What this would do" in html and "data-live" not in html
    for words in ("300", "Pia Moss", "Ora Moss", str(page.user), "Purchases since", "Points at once"):
        assert words in html
    assert page.buttons(change) == ["Confirm for 2 shoppers", "Count again", "Dismiss"]
    html = page.press(change, "Confirm")
    assert "Being applied" in html and page.buttons(change) == ["Stop"]
    page.work()
    html = page.html(change)
    assert "2 shoppers were enrolled, 300.00 points were posted." in html
    assert f"Confirmed by {page.user}" in html and page.buttons(change) == []
    assert Enrolment.unscoped.filter(ground="bought").count() == 2


def test_stop_resume_and_dismiss(page):
    change = page.counted("enrol_after", page.date(-30))
    page.press(change, "Confirm")
    assert "Stopped half way" in page.press(change, "Stop")
    assert page.buttons(change) == ["Resume", "Dismiss"]
    assert "Being applied" in page.press(change, "Resume")
    page.press(change, "Stop")
    page.press(change, "Dismiss")
    change.refresh_from_db()
    assert change.state == "dismissed" and "What was done stays" in page.html(change)
    acts = list(AuditLine.unscoped.filter(act__startswith="setting.").order_by("id").values_list("act", flat=True))
    assert acts == [
        "setting.proposed", "setting.confirmed", "setting.stop", "setting.resume", "setting.stop", "setting.dismiss",
    ]  # fmt: skip
    # An old tab: each act says that it is over, and does nothing.
    for verb in ("confirm", "stop", "resume", "dismiss", "recount", "dance"):
        answer = page.client.post(reverse("admin:card-change-act", args=["shop", change.pk, verb]), follow=True)
        assert answer.status_code == 200
    change.refresh_from_db()
    assert change.state == "dismissed"


def test_confirmed_by_old_figures(page):
    change = page.counted("enrol_after", page.date(-30))
    address = reverse("admin:card-change-act", args=["shop", change.pk, "confirm"])
    html = page.client.post(address, {"seen": "2026-01-01"}, follow=True).content.decode()
    assert "counted again meanwhile" in html
    change.refresh_from_db()
    assert change.state == "counted"


def test_what_failed_says_why(page, monkeypatch):
    def broken(work, change):
        raise jobs.GiveUp("The sky fell.")

    monkeypatch.setattr(switches.SWITCHES["enrol_after"], "count", broken, raising=False)
    change = page.counted("enrol_after", page.date(-30))
    assert "The sky fell." in page.html(change) and page.buttons(change) == ["Count again", "Dismiss"]
    monkeypatch.delattr(switches.SWITCHES["enrol_after"], "count")
    page.press(change, "Count again")
    page.work()
    assert page.buttons(change)[0] == "Confirm for 2 shoppers"


def test_texts_without_a_carrier_are_said_to_reach_nobody(page, monkeypatch):
    monkeypatch.setattr(messages, "next_allowed", lambda now, zone: now)
    change = page.counted("sms_optin_after", page.date(-30))
    html = page.html(change)
    assert "No SMS carrier is connected" in html and "reach nobody" in html
    page.press(change, "Confirm")
    page.work()
    assert "They reach nobody" in page.html(change)


def test_in_production_without_a_carrier_it_is_not_confirmed(page, settings):
    change = page.counted("sms_optin_after", page.date(-30))
    settings.PRODUCTION, settings.SECURE_SSL_REDIRECT = True, False
    assert "No SMS carrier is connected" in page.press(change, "Confirm")
    change.refresh_from_db()
    assert change.state == "counted" and not Job.unscoped.filter(kind__startswith="switch").exists()


def test_who_may(page, client):
    change = page.counted("enrol_after", page.date(-30))
    analyst, staff = Client(), Client()
    analyst.force_login(make_user(page.account, Role.ANALYST))
    staff.force_login(make_user(page.account, Role.STAFF))
    html = page.html(change, analyst)
    assert "300" in html and "Confirm for" not in html
    address = reverse("admin:card-change-act", args=["shop", change.pk, "confirm"])
    assert analyst.post(address).status_code == 403
    assert staff.get(reverse("admin:card-change", args=["shop", change.pk])).status_code == 403


def test_somebody_removed_since_has_no_name(page):
    change = page.counted("enrol_after", page.date(-30))
    with acting_in(page.account.pk):
        erasure.erase(account_id=page.account.pk, persona_id=page.people["pia"].pk, user=page.user, now=page.now)
    html = page.html(change)
    assert "Removed on request" in html and "Pia" not in html


def test_past_changes_of_the_card(page):
    first = page.put_on("enrol_after", page.date(-30))
    second = page.counted("enrol_after", page.date(-40))
    services.dismiss(change=second, now=page.now)
    html = page.html(second)
    assert "Other changes of this card" in html
    assert reverse("admin:card-change", args=["shop", first.pk]) in html
    part = page.html(first, part="")
    assert "Other changes" not in part and "<html" not in part
    assert page.client.get(reverse("admin:card-change", args=["cova", first.pk])).status_code == 404
