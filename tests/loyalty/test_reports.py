"""Figures for people: what they count, and what they leave out."""

import uuid
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from integrations.models import Customer, Location, Sale, SaleLine
from loyalty import checks, ledger, reports
from loyalty.models import Attachment, Enrolment, LedgerCheck, Redemption, Shortfall, SuspectNumber, Wallet
from stores.models import StoreMapping

from ..factories import make_account, make_discount, make_persona, make_store, make_user
from ..records import land_sales, line, make_origin, refund, sale, the_sale
from .ledger_sales import target

NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
DAY = timedelta(days=1)
SPAN = {"start": NOW - 7 * DAY, "end": NOW + DAY}


@pytest.fixture
def shop(db):
    account = make_account()
    account.persona = make_persona(account)
    account.store = make_store(account)
    account.origin = make_origin(account)
    StoreMapping.unscoped.create(
        account=account, location=Location.unscoped.get(origin=account.origin), store=account.store
    )
    return account


def give(account, points, user=None, at=NOW, persona=None, **fields):
    return ledger.adjust(
        account_id=account.pk, persona_id=(persona or account.persona).pk, points=Decimal(points),
        key=uuid.uuid4().hex, now=at, user_id=user and user.pk, **fields,
    )  # fmt: skip


def earn(account, external_id, points, **fields):
    land_sales(account.origin, sale(external_id))
    ledger.settle_sales(
        account_id=account.pk,
        now=NOW,
        targets=[target(the_sale(account.origin, external_id).pk, account.persona.pk, points, **fields)],
    )


class TestStaff:
    def test_counts_what_each_did_by_hand(self, shop):
        sam, kim = make_user(shop, "staff", name="Sam"), make_user(shop, "manager", name="Kim")
        give(shop, 500)  # by nobody: not staff's
        give(shop, 100, sam), give(shop, -30, sam), give(shop, 20, kim)
        give(shop, 999, sam, at=NOW - 9 * DAY)  # before the days asked for
        discount = make_discount(shop, points=50)
        for n, (user, channel) in enumerate([(sam, "staff"), (None, "till")]):
            ledger.redeem(account_id=shop.pk, persona_id=shop.persona.pk, discount_id=discount.pk, n=n,
                          transaction=f"T{n}", channel=channel, now=NOW, user_id=user and user.pk)  # fmt: skip
        public = Redemption.unscoped.get(user=sam).public_id
        ledger.revert(account_id=shop.pk, redemption_public_id=public, now=NOW, user_id=kim.pk)
        Enrolment.unscoped.create(
            account=shop, persona=shop.persona, ground="staff", from_date=NOW.date(), user=kim, at=NOW
        )
        land_sales(shop.origin, sale("r"))
        Attachment.unscoped.create(
            account=shop, sale=the_sale(shop.origin, "r"), persona=shop.persona, user=kim, at=NOW
        )
        lines = {one.name: one for one in reports.staff(account_id=shop.pk, **SPAN)}
        assert (lines["Sam"].added, lines["Sam"].taken, lines["Sam"].adjustments) == (100, 30, 2)
        assert (lines["Sam"].redemptions, lines["Sam"].redeemed) == (1, 50)
        assert (lines["Kim"].given_back, lines["Kim"].enrolments, lines["Kim"].receipts) == (1, 1, 1)

    def test_fault_8_2_who_adds_far_more_than_others_stands_out(self, shop):
        people = [make_user(shop, "staff", name=name) for name in ("A", "B", "C")]
        for user in people:
            give(shop, 10, user)
        for _ in range(5):
            give(shop, 100, people[2])
        out = {one.name: one.stands_out for one in reports.staff(account_id=shop.pk, **SPAN)}
        assert out == {"A": False, "B": False, "C": True}

    def test_somebody_who_left_is_still_named(self, shop):
        gone = make_user(shop, "staff", name="Gone")
        give(shop, 10, gone)
        gone.memberships(manager="unscoped").all().delete()
        [one] = [one for one in reports.staff(account_id=shop.pk, **SPAN) if one.name == "Gone"]
        assert (one.role, one.added) == ("", 10)

    def test_another_accounts_deeds_are_not_counted(self, shop):
        other = make_account("Other")
        user = make_user(shop, "staff", name="Both")
        give(other, 77, user, persona=make_persona(other))
        assert all(one.added == 0 for one in reports.staff(account_id=shop.pk, **SPAN))


class TestLiability:
    def test_is_the_sum_of_what_can_be_spent_three_ways(self, shop):
        earn(shop, "a", 100)
        earn(shop, "b", 40, expires_at=NOW + 10 * DAY)
        earn(shop, "c", 7, expires_at=NOW - DAY)  # due; no sweep has been there
        give(shop, 5, expires_at=NOW + 60 * DAY)
        give(shop, 9, persona=make_persona(shop), at=NOW - 9 * DAY, expires_at=NOW - DAY)  # has nothing left to spend
        owed = reports.liability(account_id=shop.pk, now=NOW)
        assert owed.points == 145 and owed.shoppers == 1
        assert owed.by_store == [
            ("Main St", 140), ("No store (given by hand, boosts, imports, unmapped places)", 5),
        ]  # fmt: skip
        assert owed.by_expiry == [("Within 30 days", 40), ("In 31 to 90 days", 5), ("Never", 100)]
        assert dict(owed.by_kind) == {"Earned": 140, "Given by hand": 5}

    def test_money_by_what_redemptions_took_off(self, shop):
        give(shop, 1000)
        assert reports.liability(account_id=shop.pk, now=NOW).cents_a_point is None
        discount = make_discount(shop, points=200, cents=500)
        ledger.redeem(account_id=shop.pk, persona_id=shop.persona.pk, discount_id=discount.pk, n=0, transaction="T",
                      channel="till", now=NOW)  # fmt: skip
        owed = reports.liability(account_id=shop.pk, now=NOW)
        assert owed.cents(owed.points) == 2000  # 800 points at $5 for 200

    def test_open_shortfalls_are_told_apart(self, shop):
        for n, state in enumerate(["open", "waived"]):
            Shortfall.unscoped.create(
                account=shop, persona=shop.persona, key=f"s{n}", points=30, netted=10, state=state, at=NOW,
                closed_at=None if state == "open" else NOW,
            )  # fmt: skip
        assert reports.liability(account_id=shop.pk, now=NOW).shortfalls == 20

    def test_agrees_with_the_wallets(self, shop):
        for n in range(20):
            earn(shop, f"s{n}", n + 1)
        wallets = sum(Wallet.unscoped.filter(account=shop).values_list("balance", flat=True))
        assert reports.liability(account_id=shop.pk, now=NOW).points == wallets


class TestMargin:
    def test_only_lines_with_a_cost_and_refunds_subtracted(self, shop):
        land_sales(
            shop.origin,
            sale("a", net=10000, sold_at=NOW, lines=(line(1, 6000, cost_cents=2000), line(2, 4000))),
            refund("b", of="a", net=6000, sold_at=NOW, lines=(line(1, -6000, cost_cents=-2000),)),
            sale("c", net=3000, sold_at=NOW, lines=(line(1, 3000, cost_cents=1000),)),
            sale("old", net=3000, sold_at=NOW - 30 * DAY, lines=(line(1, 3000, cost_cents=1000),)),
        )
        [one] = reports.margin(account_id=shop.pk, **SPAN)
        assert (one.store, one.sales, one.revenue, one.known, one.cost, one.margin) == (
            "Main St",
            2,
            7000,
            3000,
            1000,
            2000,
        )
        assert (round(one.share, 3), round(one.covered, 3)) == (0.667, 0.429)

    def test_a_sale_without_lines_is_a_sale(self, shop):
        land_sales(shop.origin, sale("a", net=0, tax=0, lines=(), sold_at=NOW))
        [one] = reports.margin(account_id=shop.pk, **SPAN)
        assert (one.sales, one.share, one.covered) == (1, None, None)


class TestQuality:
    def test_fault_7_9_what_is_missing_is_counted(self, shop):
        make_persona(shop, first_name="", phone="+16045550142")
        Customer.unscoped.create(account=shop, origin=shop.origin, external_id="1", phone_raw="12", email_raw="x")
        SuspectNumber.unscoped.create(account=shop, phone="+16045550100", customers=41, people=5)
        SuspectNumber.unscoped.create(account=shop, phone="+16045550101", customers=9, people=5, decision="fake")
        land_sales(
            shop.origin, sale("a", sold_at=NOW), sale("b", sold_at=NOW, location_id="elsewhere", customer_id="9")
        )
        found = {gap.name: (gap.count, gap.of) for gap in reports.quality(account_id=shop.pk, now=NOW)}
        assert found["no_phone"] == (1, 2) and found["no_email"] == (2, 2) and found["no_contact"] == (1, 2)
        assert found["no_name"] == (1, 2)
        assert found["bad_phone"] == (1, 1) and found["bad_email"] == (1, 1)
        assert found["placeholder"] == (41, 1)
        assert found["no_store"] == (1, 2) and found["anonymous"] == (1, 2)
        assert found["no_category"] == (2, 2) and found["no_cost"] == (2, 2)

    def test_an_empty_account_has_no_gaps(self, db):
        assert all(gap.share == 0 for gap in reports.quality(account_id=make_account().pk, now=NOW))


class TestChecks:
    def test_finds_and_keeps_what_is_wrong_by_account(self, shop):
        other = make_account("Other")
        give(shop, 10)
        Wallet.unscoped.filter(persona=shop.persona).update(balance=11)
        assert checks.check_all(now=NOW) == 2  # against its entries and against its lots
        ours, theirs = checks.last(account_id=shop.pk), checks.last(account_id=other.pk)
        assert (ours.violations, theirs.violations, ours.entries) == (2, 0, 1)
        assert {one["rule"] for one in ours.found} == {"balance-entries", "balance-lots"}

    def test_once_a_day(self, shop):
        assert checks.is_due(now=NOW)
        checks.check_all(now=NOW)
        assert not checks.is_due(now=NOW + timedelta(hours=23))
        assert checks.is_due(now=NOW + DAY)

    def test_an_empty_ledger_is_looked_at_again_once_it_holds_something(self, shop):
        checks.check_all(now=NOW)
        assert not checks.is_due(now=NOW + timedelta(minutes=5))
        give(shop, 10)
        assert not checks.is_due(now=NOW + timedelta(minutes=1))
        assert checks.is_due(now=NOW + timedelta(minutes=5))
        checks.check_all(now=NOW + timedelta(minutes=5))
        assert checks.last(account_id=shop.pk).entries == 1
        assert not checks.is_due(now=NOW + timedelta(hours=23))

    def test_thirty_looks_are_kept(self, shop):
        for n in range(33):
            checks.check(account_id=shop.pk, now=NOW + n * DAY)
        assert LedgerCheck.unscoped.filter(account=shop).count() == 30


@pytest.mark.parametrize("size", [2, 40])
def test_reports_cost_the_same_however_much_there_is(shop, size):
    for n in range(size):
        earn(shop, f"s{n}", 5)
        give(shop, 1, make_user(shop, "staff"))
    with CaptureQueriesContext(connection) as asked:
        reports.staff(account_id=shop.pk, **SPAN)
        reports.liability(account_id=shop.pk, now=NOW)
        reports.margin(account_id=shop.pk, **SPAN)
        reports.quality(account_id=shop.pk, now=NOW)
    assert len(asked) == 12
    assert Sale.unscoped.count() == size and SaleLine.unscoped.count() == size
