"""The reports' pages: who may open them, what they say, and that a spreadsheet cannot be tricked."""

from datetime import timedelta
from decimal import Decimal

import pytest
from django.urls import reverse
from django.utils import timezone

from aiqsync.accounts.models import AuditLine
from loyalty import ledger
from loyalty.models import LedgerCheck, MonthClose, Wallet
from tests.factories import make_account, make_persona, make_user

pytestmark = pytest.mark.django_db
PAGES = ["report-staff", "report-liability", "report-margin", "report-quality", "report-ledger"]


@pytest.fixture
def account():
    account = make_account()
    account.persona = make_persona(account)
    return account


def enter(client, account, role):
    user = make_user(account, role, name=f"A {role}")
    client.force_login(user)
    return user


def give(account, points, user=None, at=None):
    at = at or timezone.now()
    return ledger.adjust(account_id=account.pk, persona_id=account.persona.pk, points=Decimal(points),
                         key=f"{at}{points}", now=at, user_id=user and user.pk)  # fmt: skip


@pytest.mark.parametrize("role, opened", [
    ("owner", PAGES), ("operator", PAGES), ("manager", PAGES), ("finance", PAGES[1:]), ("analyst", PAGES[1:]),
    ("marketing", []), ("staff", []),
])  # fmt: skip
def test_who_may_open_what(client, account, role, opened):
    enter(client, account, role)
    assert [name for name in PAGES if client.get(reverse(f"admin:{name}")).status_code == 200] == opened


@pytest.mark.parametrize("role, status", [("owner", 302), ("finance", 302), ("manager", 403), ("analyst", 403)])
def test_who_may_close_and_check(client, account, role, status):
    enter(client, account, role)
    assert client.post(reverse("admin:report-close")).status_code == status
    assert client.post(reverse("admin:report-check")).status_code == status


@pytest.mark.parametrize(
    "query", ["?from=x&to=y", "?from=2026-02-31", "?from=9999-01-01&to=0001-01-01", "?to=", "?as=zip"]
)
@pytest.mark.parametrize("name", ["report-staff", "report-margin"])
def test_days_that_are_no_days(client, account, name, query):
    enter(client, account, "owner")
    assert client.get(reverse(f"admin:{name}") + query).status_code == 200


def test_staff_names_people_and_days(client, account):
    user = enter(client, account, "owner")
    give(account, 40, user)
    html = client.get(reverse("admin:report-staff")).content.decode()
    assert "A owner" in html and "1 adjustment" in html
    assert (
        "Nobody adjusted"
        in client.get(reverse("admin:report-staff") + "?from=2020-01-01&to=2020-02-01").content.decode()
    )


def test_a_name_like_a_formula_is_text_in_the_sheet(client, account):
    user = enter(client, account, "owner")
    user.name = "=HYPERLINK(1)"
    user.save()
    give(account, 40, user)
    answer = client.get(reverse("admin:report-staff") + "?as=csv")
    assert answer["Content-Type"].startswith("text/csv") and "'=HYPERLINK(1)" in answer.content.decode()


def test_a_month_is_closed_by_hand_and_written_down(client, account):
    enter(client, account, "finance")
    give(account, 40, at=timezone.now() - timedelta(days=45))
    assert "Close " in client.get(reverse("admin:report-liability")).content.decode()
    client.post(reverse("admin:report-close"))
    assert MonthClose.unscoped.filter(account=account).count() == 1
    assert AuditLine.unscoped.filter(account=account, act="month.closed").count() == 1
    page = client.get(reverse("admin:report-liability")).content.decode()
    assert "by A finance" in page
    assert "opening" in client.get(reverse("admin:report-liability") + "?as=csv").content.decode()


def test_too_early_is_said(client, account):
    enter(client, account, "owner")
    give(account, 40)
    page = client.post(reverse("admin:report-close"), follow=True).content.decode()
    assert "can be closed two hours after it has ended" in page


def test_the_check_says_what_does_not_agree_and_home_repeats_it(client, account):
    enter(client, account, "owner")
    give(account, 40)
    page = client.post(reverse("admin:report-check"), follow=True).content.decode()
    assert "everything agrees" in page
    Wallet.unscoped.filter(persona=account.persona).update(balance=41)
    page = client.post(reverse("admin:report-check"), follow=True).content.decode()
    assert "balance 41.00, entries 40.00" in page
    assert "2 lines do not agree" in client.get(reverse("admin:index")).content.decode()
    assert LedgerCheck.unscoped.filter(account=account).count() == 2
