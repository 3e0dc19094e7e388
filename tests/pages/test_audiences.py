"""Customers, Audiences: the form fills the group when it is saved, money is in dollars, archiving is refused in use."""

import pytest

from aiqsync.accounts.models import AuditLine
from aiqsync.accounts.roles import Role
from aiqsync.accounts.tenancy import acting_in
from loyalty.models import Audience, AudienceMember, Modifier
from tests.factories import make_account, make_persona, make_user

pytestmark = pytest.mark.django_db
AUDIENCES = "/admin/loyalty/audience/"
RULES = {"name": "Regulars", "by_rules": "on", "members_only": "on"}


@pytest.fixture
def account():
    return make_account()


@pytest.fixture
def owner(account, client):
    client.force_login(make_user(account))
    return client


def the_audience(account) -> Audience:
    with acting_in(account.pk):
        return Audience.objects.get()


def test_saved_and_filled_at_once(owner, account):
    make_persona(account, first_name="Ada")
    make_persona(account, first_name="Ben", member=False)
    html = owner.post(AUDIENCES + "add/", RULES, follow=True).content.decode()
    assert "1 are in it now: 1 came, 0 left." in html
    group = the_audience(account)
    html = owner.get(f"{AUDIENCES}{group.pk}/change/").content.decode()
    assert "1 fit" in html and "Ada Moss" in html and "Ben" not in html
    html = owner.post(f"{AUDIENCES}{group.pk}/change/", RULES | {"min_orders": "1"}, follow=True).content.decode()
    assert "0 are in it now: 0 came, 1 left." in html
    with acting_in(account.pk):
        assert AudienceMember.objects.get().left_at is not None
        assert AuditLine.objects.filter(act__startswith="audience.").count() == 2


@pytest.mark.parametrize(("typed", "cents"), [("100", 10000), ("99.95", 9995), ("0", 0), ("", None)])
def test_money_is_typed_in_dollars(owner, account, typed, cents):
    owner.post(AUDIENCES + "add/", RULES | {"min_spend": typed})
    group = the_audience(account)
    assert group.min_spend_cents == cents
    html = owner.get(f"{AUDIENCES}{group.pk}/change/").content.decode()
    assert "in dollars" in html and ('value="9995"' not in html)
    owner.post(f"{AUDIENCES}{group.pk}/change/", RULES | {"min_spend": ""})
    assert the_audience(account).min_spend_cents is None


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"name": ""}, "This field is required"),
        ({"min_spend": "-1"}, "greater than or equal to 0"),
        ({"min_spend": "1.234"}, "2 decimal places"),
        ({"seen_within_days": "5", "away_for_days": "30"}, "Nobody bought within 5 days and has not bought for 30."),
        ({"min_points": "many"}, "Enter a number"),
    ],
)
def test_what_cannot_be_is_said(owner, account, fields, said):
    answer = owner.post(AUDIENCES + "add/", RULES | fields)
    assert answer.status_code == 200 and said in answer.content.decode().replace("&gt;", ">")
    with acting_in(account.pk):
        assert not Audience.objects.exists()


def test_a_name_is_there_once_and_never_an_error_500(owner, account):
    owner.post(AUDIENCES + "add/", RULES)
    answer = owner.post(AUDIENCES + "add/", RULES)
    assert answer.status_code == 200 and "Another audience has this name already" in answer.content.decode()
    group = the_audience(account)
    assert owner.post(f"{AUDIENCES}{group.pk}/change/", RULES).status_code == 302  # its own name is no other's
    owner.post(f"{AUDIENCES}{group.pk}/archive/")
    answer = owner.post(AUDIENCES + "add/", RULES)
    assert answer.status_code == 200 and "An archived audience has this name already" in answer.content.decode()


def test_archiving(owner, account):
    make_persona(account)
    owner.post(AUDIENCES + "add/", RULES)
    group = the_audience(account)
    with acting_in(account.pk):
        modifier = Modifier.objects.create(name="Double for regulars", audience=group)
    html = owner.post(f"{AUDIENCES}{group.pk}/archive/", follow=True).content.decode()
    assert "It is used by Double for regulars" in html
    Modifier.unscoped.filter(pk=modifier.pk).delete()
    html = owner.post(f"{AUDIENCES}{group.pk}/archive/", follow=True).content.decode()
    assert "Regulars is archived." in html
    assert owner.get(f"{AUDIENCES}{group.pk}/change/").status_code in (302, 404)


@pytest.mark.parametrize(("role", "status"), [(Role.MARKETING, 302), (Role.MANAGER, 403), (Role.STAFF, 403)])
def test_who_may(account, client, role, status):
    client.force_login(make_user(account, role))
    assert client.post(AUDIENCES + "add/", RULES).status_code == status
