"""Closed months: their figures do not move, whatever happens afterwards."""

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import pytest
from django.db import connection, transaction
from django.db.utils import DatabaseError

from integrations.models import Sale
from loyalty import audits, closes, ledger
from loyalty.models import MonthClose, MonthFigure
from stores.models import StoreMapping

from ..factories import make_account, make_discount, make_persona, make_store
from ..records import land_sales, make_origin, sale, the_sale
from .ledger_sales import target
from .race import at_once

# The account is in Vancouver: October ends at 07:00 UTC on the first of November.
OCTOBER = datetime(2026, 10, 20, 12, tzinfo=UTC)
LAST_MOMENT = datetime(2026, 11, 1, 6, 59, 59, tzinfo=UTC)
NOVEMBER = datetime(2026, 11, 1, 7, 0, tzinfo=UTC)
DECEMBER = datetime(2026, 12, 1, 8, 0, tzinfo=UTC)
RIPE = NOVEMBER + timedelta(hours=2)


@pytest.fixture
def shop(db):
    account = make_account()
    account.persona = make_persona(account)
    account.store = make_store(account)
    account.origin = make_origin(account)
    StoreMapping.unscoped.create(
        account=account, location=account.origin.locations(manager="unscoped").get(), store=account.store
    )
    return account


def give(account, points, at, key):
    return ledger.adjust(account_id=account.pk, persona_id=account.persona.pk, points=Decimal(points), key=key, now=at)


def earn(account, external_id, points, at):
    land_sales(account.origin, sale(external_id))
    ledger.settle_sales(
        account_id=account.pk, now=at,
        targets=[target(the_sale(account.origin, external_id).pk, account.persona.pk, points)],
    )  # fmt: skip


def figures(account, month):
    return {
        (kind, store): points
        for kind, store, points in MonthFigure.unscoped.filter(account=account, close__month=month).values_list(
            "kind", "store__name", "points"
        )
    }


def test_figures_by_store_and_kind(shop):
    earn(shop, "a", 500, OCTOBER)
    give(shop, 40, LAST_MOMENT, "k1")
    discount = make_discount(shop, points=100)
    ledger.redeem(account_id=shop.pk, persona_id=shop.persona.pk, discount_id=discount.pk, n=0, transaction="T",
                  channel="till", now=OCTOBER, store_id=shop.store.pk)  # fmt: skip
    give(shop, 7, NOVEMBER, "k2")
    assert closes.close(account_id=shop.pk, now=RIPE).month == date(2026, 10, 1)
    assert figures(shop, date(2026, 10, 1)) == {
        ("opening", None): 0, ("closing", None): 440, ("earn", "Main St"): 500, ("redeem", "Main St"): -100,
        ("adjust", None): 40, ("owed", "Main St"): 400, ("owed", None): 40,
    }  # fmt: skip
    [month] = closes.closed(account_id=shop.pk)
    assert (month.opening, month.closing, month.given) == (0, 440, 40)
    assert audits.violations(account_id=shop.pk) == []


def test_fault_7_7_past_figures_do_not_move(shop):
    """Late sales, edits, a changed mapping and a moved store leave a closed month as it was."""
    earn(shop, "a", 500, OCTOBER)
    closes.close(account_id=shop.pk, now=RIPE)
    before = figures(shop, date(2026, 10, 1))
    sold = the_sale(shop.origin, "a")
    ledger.settle_sales(account_id=shop.pk, now=RIPE, targets=[target(sold.pk, shop.persona.pk, 200)])
    earn(shop, "late", 30, RIPE)
    Sale.unscoped.filter(pk=sold.pk).update(sold_at=OCTOBER - timedelta(days=40))
    StoreMapping.unscoped.filter(account=shop).update(store=make_store(shop, "Elsewhere"))
    assert figures(shop, date(2026, 10, 1)) == before
    closes.close(account_id=shop.pk, now=DECEMBER + timedelta(hours=2))
    after = figures(shop, date(2026, 11, 1))
    assert (after["opening", None], after["earn", "Elsewhere"], after["closing", None]) == (500, -270, 230)
    assert audits.violations(account_id=shop.pk) == []


def test_nothing_is_dated_into_a_closed_month(shop):
    give(shop, 10, OCTOBER, "k1")
    closes.close(account_id=shop.pk, now=RIPE)
    with pytest.raises(DatabaseError, match="closed month"), transaction.atomic():
        give(shop, 10, LAST_MOMENT, "k2")
    give(shop, 10, NOVEMBER, "k3")


def test_control_without_the_trigger_the_figures_no_longer_hold(shop):
    give(shop, 10, OCTOBER, "k1")
    closes.close(account_id=shop.pk, now=RIPE)
    with connection.cursor() as cursor:
        cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")
        cursor.execute("ALTER TABLE loyalty_entry DISABLE TRIGGER loyalty_entry_open_month")
    give(shop, 10, LAST_MOMENT, "k2")
    assert [v.rule.name for v in audits.violations(account_id=shop.pk)] == ["close-stands"]


def test_not_before_it_is_over(shop):
    with pytest.raises(closes.NotYet, match="no points"):
        closes.close(account_id=shop.pk, now=RIPE)
    give(shop, 10, OCTOBER, "k1")
    with pytest.raises(closes.NotYet, match="October 2026 can be closed two hours"):
        closes.close(account_id=shop.pk, now=RIPE - timedelta(seconds=1))


def test_by_itself_month_after_month(shop):
    give(shop, 10, datetime(2026, 8, 5, tzinfo=UTC), "k1")
    assert closes.close_due(now=NOVEMBER + timedelta(hours=23)) == 2
    assert closes.close_due(now=NOVEMBER + timedelta(days=1)) == 1
    assert closes.close_due(now=NOVEMBER + timedelta(days=1)) == 0
    months = MonthClose.unscoped.filter(account=shop).order_by("month").values_list("month", flat=True)
    assert list(months) == [date(2026, 8, 1), date(2026, 9, 1), date(2026, 10, 1)]


@pytest.mark.django_db(transaction=True)
def test_two_at_once_close_one_month():
    account = make_account()
    account.persona = make_persona(account)
    give(account, 10, OCTOBER, "k1")
    answers = at_once([lambda: closes.close(account_id=account.pk, now=RIPE)] * 4)
    assert sum(isinstance(one, MonthClose) for one in answers) == 1
    assert sum(isinstance(one, closes.NotYet) for one in answers) == 3
