"""The home page: what it says, to whom, and at what cost."""

from datetime import datetime, time, timedelta
from decimal import Decimal
from zoneinfo import ZoneInfo

import pytest
from django.core.cache import cache
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from aiqsync.accounts.models import AuditLine
from aiqsync.accounts.roles import Role
from aiqsync.accounts.tenancy import acting_in
from integrations.models import Connection, Credential, Location, Origin, RefusedRow, Sale, StreamState
from loyalty.models import Entry, Programme, Redemption
from stores.models import StoreMapping
from tests.factories import make_account, make_discount, make_persona, make_store, make_user

pytestmark = pytest.mark.django_db
AT_MOST = 16  # one of them is the menu's count of open alerts


@pytest.fixture
def account():
    cache.clear()
    return make_account()


@pytest.fixture
def owner(account, client):
    user = make_user(account)
    client.force_login(user)
    return client


def connect(account, locations=1, mapped=1):
    with acting_in(account.pk):
        origin = Origin.objects.create(platform="cova", identity="20571")
        used = Connection.objects.create(card="cova")
        credential = Credential.objects.create(connection=used, origin=origin, state="connected")
        StreamState.objects.create(
            credential=credential,
            stream="sales",
            read_until=timezone.now(),
            next_due=timezone.now() + timedelta(days=1),
        )
        places = [
            Location.objects.create(origin=origin, external_id=str(n), name=f"Place {n}") for n in range(locations)
        ]
        for place in places[:mapped]:
            StoreMapping.objects.create(location=place, store=make_store(account, place.name))
    return origin, credential, places


def sell(account, origin, place, count=1, cents=1000, days=0):
    """Now, or at noon of that many days ago where the account is: a day before has not always twenty-four hours."""
    now = timezone.now()
    if days:
        zone = ZoneInfo(account.timezone)
        now = datetime.combine(now.astimezone(zone).date() - timedelta(days=days), time(12), zone)
    with acting_in(account.pk):
        Sale.objects.bulk_create(
            Sale(
                account=account, origin=origin, external_id=f"s{days}-{cents}-{n}", location=place, sold_at=now,
                total_cents=cents, currency="CAD",
            )
            for n in range(count)
        )  # fmt: skip


def fill(account, origin, place, people, sales):
    sell(account, origin, place, count=sales)
    with acting_in(account.pk):
        discount = make_discount(account)
        now = timezone.now()
        for n in range(people):
            persona = make_persona(account, first_name=f"P{n}")
            Entry.objects.create(
                persona=persona, kind="earn", points=5, balance_after=5, key=f"k{n}", at=now, cause_at=now
            )
            Redemption.objects.create(
                persona=persona, discount=discount, n=0, channel="till", state="applied", points=5, applied_at=now
            )
        RefusedRow.objects.bulk_create(
            RefusedRow(account=account, origin=origin, stream="sales", key=str(n), reason="x") for n in range(people)
        )


def test_a_new_account_sees_three_steps_and_no_empty_charts(owner):
    page = owner.get("/admin/").content.decode()
    assert "Connect your point of sale" in page and "Map your stores" in page and "Set the programme" in page
    assert "(done)" not in page
    assert "<canvas" not in page and "Sales today" not in page


def test_steps_are_ticked_and_go_away(owner, account):
    connect(account, locations=2, mapped=0)
    page = owner.get("/admin/").content.decode()
    assert page.count("(done)") == 1
    with acting_in(account.pk):
        for place in Location.objects.all():
            StoreMapping.objects.create(location=place, store=make_store(account, place.name))
    assert owner.get("/admin/").content.decode().count("(done)") == 2
    with acting_in(account.pk):
        AuditLine.objects.create(act="programme.changed")
    assert "Three steps" not in owner.get("/admin/").content.decode()


def test_figures_and_charts(owner, account):
    origin, _, [place] = connect(account)
    sell(account, origin, place, count=2, cents=123456)
    sell(account, origin, place, count=1, cents=99, days=13)
    sell(account, origin, place, count=1, cents=7_777_777, days=15)
    make_persona(account)
    make_persona(account, member=False)
    page = owner.get("/admin/").content.decode()
    assert "$2,469.12" in page and "2 sales" in page
    assert "2469.12" in page and "0.99" in page and "77777" not in page
    assert 'id="home"' in page and "<canvas" in page


def test_today_is_the_accounts_day(owner, account, monkeypatch):
    """23:30 in Vancouver is the next day in UTC; the sale of 22:00 belongs to today."""
    moment = timezone.datetime(2026, 11, 21, 6, 30, tzinfo=timezone.get_fixed_timezone(0))
    monkeypatch.setattr("django.utils.timezone.now", lambda: moment)
    origin, _, [place] = connect(account)
    with acting_in(account.pk):
        Sale.objects.create(
            origin=origin, external_id="a", location=place, sold_at=moment - timedelta(minutes=90), total_cents=4242
        )
        Sale.objects.create(
            origin=origin, external_id="b", location=place, sold_at=moment - timedelta(days=1), total_cents=1
        )
    owner.force_login(make_user(account))  # the session began before
    page = owner.get("/admin/").content.decode()
    assert "$42.42" in page and "20 Nov" in page


def test_what_is_wrong_is_said_with_a_way_to_mend_it(owner, account):
    origin, credential, _ = connect(account, locations=3, mapped=1)
    make_persona(account)
    with acting_in(account.pk):
        Credential.objects.filter(pk=credential.pk).update(state="paused", message="Cova refuses the password.")
        RefusedRow.objects.create(origin=origin, stream="sales", key="1", reason="x")
    page = owner.get("/admin/").content.decode()
    assert "Cova refuses the password." in page and "Needs attention" in page
    assert "2 locations" in page and reverse("admin:integrations") in page
    assert "1 row of your POS" in page


def test_points_are_counted_on_the_day_of_the_sale(owner, account):
    origin, _, [place] = connect(account)
    persona = make_persona(account)
    now = timezone.now()
    with acting_in(account.pk):
        Entry.objects.create(
            persona=persona, kind="earn", points=Decimal("77.50"), balance_after=78, key="a", at=now,
            cause_at=now - timedelta(days=3),
        )  # fmt: skip
        Entry.objects.create(
            persona=persona, kind="earn", points=987654, balance_after=987654, key="b", at=now,
            cause_at=now - timedelta(days=40),
        )  # fmt: skip
    page = owner.get("/admin/").content.decode()
    assert "77.5" in page and "987654" not in page.replace(",", "")


@pytest.mark.parametrize(("people", "sales"), [(1, 1), (40, 400)])
def test_few_queries_whatever_the_data(owner, account, people, sales):
    origin, _, [place, *_] = connect(account, locations=3, mapped=2)
    fill(account, origin, place, people, sales)
    owner.get("/admin/")
    cache.clear()
    with CaptureQueriesContext(
        connection,
    ) as asked:
        assert owner.get("/admin/").status_code == 200
    assert len(asked) <= AT_MOST, [q["sql"][:90] for q in asked]


def test_staff_go_to_the_personas(account, client):
    client.force_login(make_user(account, Role.STAFF))
    assert client.get("/admin/").url == reverse("admin:loyalty_persona_changelist")


class TestProgramme:
    url = "/admin/settings/loyalty/"
    given = {
        "enabled": "on", "points_per_100": "150", "accrual_start": "2026-01-01", "exclude_tax": "on",
        "rounding": "up", "refunds": "reverse", "expire_days": "",
        "points_per_order": "0",
        "max_visits_per_day": "",
        "exclude_tax_from": "",
        "earning_types": "all",
        "opt_in_needed": "none",
        "spent_on_refund": "keep",
        "engine": "fifo",
        "expire_start": "",
        "release_after_h": "24",
        "staff_may_redeem": "on",
        "staff_points_a_day": "",
        "manager_points_a_day": "",
        "staff_redemptions_a_day": "",
    }  # fmt: skip

    def test_saving_is_written_down(self, owner, account):
        assert owner.post(self.url, self.given).status_code == 302
        with acting_in(account.pk):
            programme = Programme.objects.get()
            assert (programme.points_per_100, programme.rounding) == (150, "up")
            line = AuditLine.objects.get(act="programme.changed")
            assert line.detail["points_per_100"] == "100 → 150" and line.user is not None

    def test_a_missing_row_is_made(self, owner, account):
        with acting_in(account.pk):
            Programme.objects.all().delete()
        assert owner.get(self.url).status_code == 200
        owner.post(self.url, self.given)
        with acting_in(account.pk):
            assert Programme.objects.get().points_per_100 == 150

    def test_nonsense_is_refused(self, owner, account):
        answer = owner.post(self.url, self.given | {"points_per_100": "-5"})
        assert answer.status_code == 422 and "Nothing was saved" in answer.content.decode()

    @pytest.mark.parametrize(("role", "reads", "writes"), [
        (Role.OPERATOR, 200, 302), (Role.MARKETING, 200, 403), (Role.STAFF, 403, 403),
    ])  # fmt: skip
    def test_who_may(self, account, client, role, reads, writes):
        client.force_login(make_user(account, role))
        assert client.get(self.url).status_code == reads
        assert client.post(self.url, self.given).status_code == writes
