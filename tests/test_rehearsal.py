"""The rehearsal: a test shopper over real HTTP, each step ticked; and every figure without it."""

from datetime import timedelta

import pytest
from django.db import IntegrityError, transaction
from django.utils import timezone

from aiqsync import rehearsing
from aiqsync.accounts.models import ApiKey, AuditLine
from aiqsync.accounts.tenancy import acting_in
from aiqsync.pages import home
from integrations.models import Connection
from loyalty import audiences, audits, closes, counting, ledger, looking, merging, messages, reports, usage
from loyalty import rehearsal as rehearsals
from loyalty.models import Audience, MonthFigure, Persona, Redemption, Rehearsal
from tests.factories import make_account, make_discount, make_persona, make_user

NOW = timezone.now()
WALKED = pytest.mark.django_db(transaction=True)


class Shop:
    def __init__(self, address: str) -> None:
        self.account = make_account()
        self.owner = make_user(self.account)
        self.connection = Connection.unscoped.create(account=self.account, card="cova")
        self.address = address

    def begin(self, now=None) -> Rehearsal:
        return rehearsals.begin(
            connection=self.connection, address=self.address, user=self.owner, now=now or timezone.now()
        )

    def walked(self) -> Rehearsal:
        run = self.begin()
        rehearsing.walk(run.pk)
        return Rehearsal.unscoped.select_related("persona", "key").get(pk=run.pk)


@pytest.fixture
def shop(live_server, settings):
    settings.PUBLIC_URL = live_server.url
    return Shop(live_server.url)


def said(run) -> list[tuple[str, bool]]:
    return [(step["name"], step["ok"]) for step in run.steps]


@WALKED
def test_the_whole_way_and_archived_with_one_click(shop):
    discount = make_discount(shop.account, points=150)
    run = shop.walked()
    assert said(run) == [(name, True) for name in rehearsing.STEPS] and run.state == "passed", run.steps
    assert run.key.revoked_at and ApiKey.unscoped.count() == 1
    [redemption] = Redemption.unscoped.all()
    assert redemption.discount_id == discount.pk and redemption.state == "reverted"
    assert rehearsals.archive(rehearsal=run, user=shop.owner, now=timezone.now())
    assert not rehearsals.archive(rehearsal=run, user=shop.owner, now=timezone.now())
    persona = Persona.unscoped.get(pk=run.persona_id)
    assert persona.archived_at and persona.is_test
    assert ledger.spendable_points(shop.account.pk, persona.pk, timezone.now()) == 0
    assert audits.violations(account_id=shop.account.pk) == []
    acts = AuditLine.unscoped.filter(act__startswith="rehearsal.").values_list("act", flat=True)
    assert sorted(acts) == ["rehearsal.archived", "rehearsal.begun"]


@WALKED
def test_it_stops_at_the_step_that_fails_and_says_why(shop, settings):
    assert said(run := shop.walked()) == [("reach", True), ("wallet", True), ("redeem", False)]
    assert run.state == "failed" and "Look at Discounts" in run.steps[-1]["said"]
    assert run.key.revoked_at
    make_discount(shop.account, points=150)
    settings.PUBLIC_URL = "https://elsewhere.example.test"
    assert "PUBLIC_URL" in shop.walked().steps[-1]["said"]  # the wallet's addresses lead away: no key goes there
    shop.address = "http://127.0.0.1:9"
    assert "cannot be reached" in shop.walked().steps[0]["said"]
    assert Persona.unscoped.filter(is_test=True, archived_at=None).count() == 1  # those before were archived
    assert not ApiKey.unscoped.filter(revoked_at=None).exists()


@WALKED
def test_delivered_twice_it_runs_once_and_one_at_a_time(shop):
    make_discount(shop.account, points=150)
    run = shop.begin()
    with pytest.raises(rehearsals.AlreadyRunning):
        shop.begin()
    rehearsing.walk(run.pk)
    rehearsing.walk(run.pk)
    assert Redemption.unscoped.count() == 1 and ApiKey.unscoped.count() == 1


@pytest.mark.django_db
def test_a_worker_that_died_in_the_middle():
    shop = Shop("http://127.0.0.1:9")
    run = shop.begin(now=NOW - timedelta(minutes=5))
    claimed, _ = rehearsals.claim(rehearsal_id=run.pk, now=NOW - timedelta(minutes=5))
    assert rehearsals.is_stuck(claimed, NOW) and not ApiKey.unscoped.get().revoked_at
    assert rehearsals.revoke_left(now=NOW) == 1
    assert shop.begin(now=NOW).pk != run.pk
    assert Rehearsal.unscoped.get(pk=run.pk).archived_at


@pytest.fixture
def tested(db):
    """An account in which only a test shopper has points and a redemption; everything must say nothing."""
    shop = Shop("http://127.0.0.1:9")
    account = shop.account
    long_ago = NOW - timedelta(days=70)
    with acting_in(account.pk):
        run = shop.begin(now=long_ago)
        run.persona.refresh_from_db()
        discount = make_discount(account, points=30)
        shop.discount, shop.persona = discount, run.persona
        ledger.redeem(
            account_id=account.pk, persona_id=run.persona_id, discount_id=discount.pk, n=0, transaction="t",
            channel="till", now=long_ago, store_id=None, per_order=1,
        )  # fmt: skip
        yield shop


def test_every_figure_leaves_it_out(tested, rf):
    account = tested.account
    owed = reports.liability(account_id=account.pk, now=NOW)
    assert (owed.points, owed.shoppers, owed.by_kind, owed.cents_a_point) == (0, 0, [], None)
    assert reports.expiring(account_id=account.pk, now=NOW, days=4000) == []
    assert {gap.of for gap in reports.quality(account_id=account.pk, now=NOW)} == {0}
    assert not any(line.redemptions or line.added for line in reports.staff(
        account_id=account.pk, start=NOW - timedelta(days=99), end=NOW
    ))  # fmt: skip
    assert counting.nothing_to_move(account.pk) and counting.next_personas(account.pk, 0, gifts=True) == []
    assert not counting.since(account.pk, counting.Edge(0, 0))
    assert not any(section.cases for section in looking.sections(account_id=account.pk, now=NOW))
    used = usage.of(discount=tested.discount, now=NOW, zone=closes.ZoneInfo("UTC"))
    assert (used.redemptions, used.shoppers) == (0, 0) and list(usage.lines(discount=tested.discount)) == []
    figures = home._heavy(account.pk) | home._figures(account.pk, NOW - timedelta(days=99))
    assert (figures["members"], figures["outstanding"], figures["redemptions"]) == (0, 0, 0)
    day = (NOW - timedelta(days=99)).date()
    assert home._points(account.pk, [day], [NOW - timedelta(days=99)]) == {}
    group = Audience.objects.create(account_id=account.pk, name="All", by_rules=True)
    audiences.refresh(audience=group, now=NOW)
    assert not group.stays.exists()


def test_a_real_shopper_beside_it_is_counted(tested):
    """The control: what is left out above is not left out for another reason."""
    account = tested.account
    real = make_persona(account)
    ledger.adjust(account_id=account.pk, persona_id=real.pk, points=70, key="k", now=NOW - timedelta(days=70))
    owed = reports.liability(account_id=account.pk, now=NOW)
    assert (owed.points, owed.shoppers) == (70, 1)
    assert counting.next_personas(account.pk, 0, gifts=False) == [real.pk]
    assert not counting.nothing_to_move(account.pk)
    assert home._heavy(account.pk) == {"members": 1, "outstanding": 70}


def test_a_closed_month_stands_without_it(tested):
    account = tested.account
    real = make_persona(account)
    ledger.adjust(account_id=account.pk, persona_id=real.pk, points=70, key="k", now=NOW - timedelta(days=70))
    made = closes.close(account_id=account.pk, now=NOW)
    found = dict(MonthFigure.unscoped.filter(close=made).values_list("kind", "points"))
    assert (found["adjust"], found["closing"], found["owed"]) == (70, 70, 70) and "redeem" not in found
    assert audits.violations(account_id=account.pk) == []


def test_it_is_told_nothing_and_never_becomes_anybody(tested):
    account, tester = tested.account, tested.persona
    made = messages.queue(
        account_id=account.pk, key="k", channel="email", address=tester.email, persona_id=tester.pk, purpose="notice",
        body="x", now=NOW,
    )  # fmt: skip
    assert made.state == "cancelled"
    real = make_persona(account)
    with pytest.raises(merging.CannotMerge, match="test shopper"):
        merging.merge(account_id=account.pk, one_id=real.pk, other_id=tester.pk, now=NOW)
    with pytest.raises(IntegrityError, match="persona_test_alone"), transaction.atomic():
        Persona.unscoped.filter(pk=tester.pk).update(merged_into=real)
    with pytest.raises(IntegrityError, match="rehearsal_one_open"), transaction.atomic():
        Rehearsal.objects.create(connection=tested.connection, persona=tester, address="x", at=NOW)


def test_the_lists_leave_it_out(tested, client):
    client.force_login(tested.owner)
    for page in ("/admin/loyalty/persona/", "/admin/loyalty/redemption/", "/admin/"):
        assert "Test Shopper" not in client.get(page).content.decode()
    assert "Test shopper" in client.get(f"/admin/personas/{tested.persona.contact_id}/").content.decode()
