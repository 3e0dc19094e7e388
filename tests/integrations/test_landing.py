"""Landing: set-based, the last of a key wins, an unchanged row writes nothing."""

from decimal import Decimal

import pytest
from django.db import connection

from integrations import landing
from integrations.kit.records import ProductRecord, TermRecord
from integrations.models import Customer, Location, Product, RefusedRow, Sale, SaleLine, Term
from tests.factories import make_account
from tests.records import NOON, customer, land_customers, land_sales, line, make_origin, sale, the_customer, the_sale

pytestmark = pytest.mark.django_db


@pytest.fixture
def origin():
    return make_origin(make_account())


def versions(table: str) -> set[tuple]:
    """The physical versions of a table's rows: a rewritten row has another."""
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT id, xmin::text, ctid::text FROM {table}")
        return set(cursor.fetchall())


def test_customers_new_changed_unchanged(origin):
    first = land_customers(origin, customer("a"), customer("b"))
    assert (len(first.new), len(first.changed), first.unchanged) == (2, 0, 0)
    before = versions("integrations_customer")
    again = land_customers(origin, customer("a"), customer("b"))
    assert (again.touched, again.unchanged) == ([], 2)
    assert versions("integrations_customer") == before  # not one row was written
    edited = land_customers(origin, customer("a"), customer("b", first_name="Bea", version=2))
    assert (len(edited.new), len(edited.changed), edited.unchanged) == (0, 1, 1)
    assert the_customer(origin, "b").first_name == "Bea"


def test_the_same_key_twice_in_a_page(origin):
    landed = land_customers(origin, customer("a", first_name="Old"), customer("a", first_name="New", version=2))
    assert (landed.read, len(landed.new), landed.unchanged) == (2, 1, 1)
    assert the_customer(origin, "a").first_name == "New"


def test_an_older_version_changes_nothing(origin):
    land_customers(origin, customer("a", first_name="New", version=5))
    late = land_customers(origin, customer("a", first_name="Old", version=4))
    assert not late.touched
    assert the_customer(origin, "a").first_name == "New"


def test_text_longer_than_its_column_is_cut(origin):
    land_customers(origin, customer("a", first_name="x" * 500))
    assert len(the_customer(origin, "a").first_name) == 200


def test_of_which_is_gone_what_it_was_stays(origin):
    """A vendor may say of what was deleted its id and nothing else."""
    asked = {"account_id": origin.account_id, "origin_id": origin.pk}
    tea = ProductRecord("p", "T-1", "Tea", "Drinks", "Acme", "g", 500, 200)
    landing.products(**asked, records=[tea])
    landed = landing.products(**asked, records=[ProductRecord("p", active=False)])
    assert len(landed.changed) == 1
    kept = Product.unscoped.values_list("sku", "name", "category", "brand", "unit", "price_cents", "cost_cents")
    assert kept.get() == ("T-1", "Tea", "Drinks", "Acme", "g", 500, 200)
    assert not landing.products(**asked, records=[ProductRecord("p", active=False)]).touched
    landing.products(
        **asked, records=[tea._replace(category="", cost_cents=None)]
    )  # on sale again, out of its category
    assert kept.get() == ("T-1", "Tea", "", "Acme", "g", 500, None)
    landing.terms(**asked, records=[TermRecord("employee:e", "employee", "Lee")])
    landing.terms(**asked, records=[TermRecord("employee:e", "employee", "", active=False)])
    assert Term.unscoped.values_list("name", "active").get() == ("Lee", False)


def test_sales_with_lines(origin):
    land_sales(origin, sale("s", lines=(line(1, 6000), line(2, 4000, quantity=Decimal("1.5"), unit="g"))))
    row = the_sale(origin, "s")
    assert (row.line_count, row.location.external_id) == (2, "loc1")
    assert list(SaleLine.unscoped.filter(sale=row).order_by("number").values_list("total_cents", flat=True)) == [
        6000,
        4000,
    ]
    before = versions("integrations_sale") | versions("integrations_saleline")
    assert (
        land_sales(
            origin, sale("s", lines=(line(1, 6000), line(2, 4000, quantity=Decimal("1.500"), unit="g")))
        ).unchanged
        == 1
    )
    assert versions("integrations_sale") | versions("integrations_saleline") == before


def test_a_line_that_changed_replaces_the_lines(origin):
    land_sales(origin, sale("s", lines=(line(1, 6000), line(2, 4000))))
    landed = land_sales(origin, sale("s", lines=(line(1, 6000, category="Flower"),)))
    assert len(landed.changed) == 1
    assert list(SaleLine.unscoped.values_list("category", flat=True)) == ["Flower"]


def test_the_feeds_row_does_not_wipe_what_details_told(origin):
    feed = sale("s", payments="", needs_details="blank_payment")
    land_sales(
        origin, feed._replace(has_details=True, payments="Debit", discounts='[{"name": "$5 off", "cents": 500}]')
    )
    assert landing.sales_with_details(origin_id=origin.pk, external_ids=["s", "t"]) == {"s": feed.total_cents}
    assert not land_sales(origin, feed).touched
    row = the_sale(origin, "s")
    assert (row.payments, row.has_details, row.discounts[0]["name"]) == ("Debit", True, "$5 off")
    # Edited in the POS, and landed without new details: the old ones are not kept.
    land_sales(origin, sale("s", net=5000, payments=""))
    assert (the_sale(origin, "s").has_details, the_sale(origin, "s").net_cents) == (False, 5000)


def test_a_location_that_was_not_listed_is_kept(origin):
    land_sales(origin, sale("s", location_id="new place"))
    assert the_sale(origin, "s").location == Location.unscoped.get(external_id="new place")


def test_origins_do_not_meet(origin):
    other = make_origin(make_account("Other"), "999")
    land_customers(origin, customer("a"))
    land_customers(other, customer("a", first_name="Zoe"))
    assert Customer.unscoped.count() == 2
    land_sales(origin, sale("s"))
    land_sales(other, sale("s"))
    assert Sale.unscoped.count() == 2


def test_refused_rows_are_kept_once_and_solved(origin):
    row = ("x", "x", "No date.", '{"Id": "x"}')
    for _ in range(2):
        landing.refuse(account_id=origin.account_id, origin_id=origin.pk, stream="sales", rows=[row], now=NOON)
    kept = RefusedRow.unscoped.get()
    assert (kept.times, kept.reason, kept.row) == (2, "No date.", {"Id": "x"})
    landing.solve(origin_id=origin.pk, stream="sales", external_ids=["x"], now=NOON)
    kept.refresh_from_db()
    assert (kept.solved_at, kept.row) == (NOON, None)
