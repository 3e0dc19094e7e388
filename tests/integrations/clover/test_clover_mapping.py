"""Samples in, records out."""

import copy
import json
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path

import pytest

from integrations.clover import mapping, orders, streams
from integrations.clover.names import Names
from integrations.kit.errors import BadRow
from integrations.kit.streams import Context

SAMPLES = Path(orders.__file__).parent / "samples"
CONTEXT = Context(now=datetime(2026, 3, 2, tzinfo=UTC), identity="M7Q2X9K4B1TZ6", currency="USD")


def sample(name):
    return json.loads((SAMPLES / f"{name}.json").read_text())


@pytest.fixture
def order():
    found = sample("order__plain")
    found["_employee"], found["_type"] = "Ines", "Pickup TAKE-OUT-TYPE"
    found["_tenders"] = {"T4V7X0Z3B6D9G": "Cash"}
    found["_items"] = {"K8M1P4R7T0W3Y": ("GB-01", "Glass", Decimal(1400))}
    return found


def records(order):
    return [orders.sale(row, CONTEXT) for row in orders.split(order)]


def test_an_order(order):
    (sale,) = records(order)
    assert (sale.external_id, sale.number, sale.receipt) == ("R9T3V6X0Z2B5D", "118", "R9T3V6X0Z2B5D")
    assert (sale.location_id, sale.customer_id, sale.employee_name) == ("M7Q2X9K4B1TZ6", "C4N8R2W6Y0HJ3", "Ines")
    assert sale.sold_at == datetime.fromtimestamp(1770512690, UTC), "when it was paid, not when it was opened"
    assert (sale.total_cents, sale.tax_cents, sale.net_cents, sale.lines_cents) == (9234, 684, 8550, 8550)
    assert json.loads(sale.discounts) == [{"name": "Loyalty 10%", "cents": 950, "after_tax": False}]
    assert (sale.payments, sale.fulfilment, sale.currency) == ("Cash", "pickup", "USD")
    assert [(x.name, x.quantity, x.unit, x.total_cents, x.discount_cents) for x in sale.lines] == [
        ("Glass Bottle", 1, "", 3150, 350), ("Glass Bottle", 1, "", 2700, 800),
        ("Loose Tea", Decimal("2.5"), "oz", 2700, 300),
    ]  # fmt: skip
    assert (sale.lines[0].sku, sale.lines[0].category, sale.lines[0].cost_cents) == ("GB-01", "Glass", 1400)
    assert sale.lines[2].unit_price == Decimal("10.8000") and sale.lines[2].list_price == Decimal("12.0000")


REFUND = {"id": "F7H0K3M6P9S2V", "orderRef": {"id": "R9T3V6X0Z2B5D"}, "amount": 3402, "taxAmount": 252,
          "createdTime": 1770598800000, "payment": {"id": "H3K6N9Q2T5W8Z"}, "voided": False}  # fmt: skip


@pytest.mark.parametrize(
    ("change", "cents"),
    [({}, -3402), ({"voided": True}, 0), ({"status": "FAIL"}, 0), ({"status": "SUCCESS"}, -3402),
     ({"amount": 3602, "tipAmount": 200}, -3402), ({"deletedTime": 1770598900000}, 0)],
)  # fmt: skip
def test_a_refund(order, change, cents):
    order["refunds"] = {"elements": [REFUND | change]}
    order["lineItems"]["elements"][0]["refunded"] = True
    sale, refund = records(order)
    assert (sale.net_cents, sale.total_cents) == (8550, 9234), "the sale keeps what was paid"
    assert (refund.kind, refund.original_id, refund.total_cents) == ("refund", "R9T3V6X0Z2B5D", cents)
    assert refund.net_cents == (cents + 252 if cents else 0)
    assert [x.total_cents for x in refund.lines] == ([-3150] if cents else [])


def test_money_back_without_goods_names_no_line(order):
    order["refunds"] = {"elements": [REFUND | {"amount": 500, "taxAmount": 37}]}
    assert records(order)[1].lines == ()
    order["lineItems"]["elements"][0]["refunded"] = True
    assert records(order)[1].lines == (), "less than the line's price: the customer kept it"


@pytest.mark.parametrize(
    ("change", "kinds"),
    [
        ({"testMode": True}, []),
        ({"paymentState": "OPEN", "payments": None}, []),
        ({"paymentState": "PAID", "payments": None, "total": 0}, ["sale"]),
        ({"paymentState": "CREDITED", "payments": None, "lineItems": None,
          "credits": {"elements": [{"id": "CR", "amount": 700, "createdTime": 1770512690000}]}}, ["refund"]),
    ],
)  # fmt: skip
def test_what_is_a_sale(order, change, kinds):
    found = records({name: value for name, value in (order | change).items() if value is not None})
    assert [one.kind for one in found] == kinds


def test_a_cent_off_is_no_matter(order):
    order["payments"]["elements"][0]["amount"] = 9233
    order["paymentState"] = "PARTIALLY_PAID"
    (sale,) = records(order)
    assert (sale.total_cents, sale.net_cents, sale.lines_cents) == (9233, 8549, 8550)


def test_a_declined_payment_does_not_count_and_a_voided_one_undoes_the_sale(order):
    paid = order["payments"]["elements"][0]
    order["payments"]["elements"] = [paid | {"id": "X", "result": "FAIL"}, paid]
    assert records(order)[0].total_cents == 9234
    order["payments"]["elements"] = [paid | {"result": "VOIDED"}]
    order["paymentState"] = "OPEN"
    (sale,) = records(order)
    assert (sale.total_cents, sale.net_cents, sale.lines, sale.discounts) == (0, 0, (), "[]")
    assert sale.sold_at == datetime.fromtimestamp(1770512400, UTC)


@pytest.mark.parametrize(
    ("discounts", "taken"),
    [
        ([{"name": "a", "amount": -500}, {"name": "b", "percentage": 10}], [("a", 500), ("b", 1000)]),
        ([{"name": "b", "percentageDecimal": 125000}], [("b", 1250)]),
        ([{"name": "a", "amount": -20000}], [("a", 10000)]),
        ([{"name": "b", "percentage": 50}, {"name": "c", "percentage": 50}], [("b", 5000), ("c", 2500)]),
    ],
)
def test_percentages_come_off_first_then_amounts(discounts, taken):
    assert orders.discounts({"discounts": {"elements": discounts}}, 10000) == taken


@pytest.mark.parametrize(
    ("label", "is_"),
    [(None, ""), ("Delivery DELIVERY-TYPE", "delivery"), ("Curbside", "pickup"), ("In Store DINE-IN-TYPE", "in_store"),
     ("Catering", "")],
)  # fmt: skip
def test_how_it_reached_the_shopper(order, label, is_):
    order["_type"] = label
    assert orders.fulfilment(order) == is_
    assert orders.fulfilment({"id": "x"}) == "in_store"


@pytest.mark.parametrize(
    "change",
    [{"createdTime": "yesterday", "payments": None}, {"payments": {"elements": [1]}}, {"lineItems": {"elements": {}}},
     {"lineItems": {"elements": [{"price": "12"}]}}, {"id": None}, {"payments": {"elements": [{"result": "SUCCESS"}]}},
     {"lineItems": {"elements": [{"price": 10**12}]}}],
)  # fmt: skip
def test_a_garbled_order_is_refused_with_a_sentence(order, change):
    bad = order | change
    if bad["payments"] is None:
        bad |= {"payments": {"elements": []}, "paymentState": "PAID", "modifiedTime": "no"}
    with pytest.raises(BadRow) as refused:
        records(copy.deepcopy(bad))
    assert refused.value.reason.endswith(".")


def test_customers():
    plain, bare = (mapping.customer(sample(f"customer__{name}"), CONTEXT) for name in ("plain", "bare"))
    assert (plain.first_name, plain.phone, plain.email) == ("Mara", "+13035550142", "mara@example.com")
    assert plain.birth_date is None, "a birthday without its year"
    assert plain.do_not_contact is None and plain.modified_at == datetime.fromtimestamp(1769904000, UTC)
    assert (bare.external_id, bare.first_name, bare.phone, bare.modified_at) == ("C5P9S3X7Z1KA4", "", "", None)
    row = sample("customer__plain")
    row["metadata"] |= {"dobYear": 1991}
    row["phoneNumbers"]["elements"].insert(0, {"id": "p", "phoneNumber": "call first"})
    row["emailAddresses"]["elements"].insert(0, {"id": "e", "emailAddress": "old@example.com"})
    found = mapping.customer(row, CONTEXT)
    assert found.birth_date == date(1991, 6, 14) and (found.phone_raw, found.email) == (
        "3035550142",
        "mara@example.com",
    )


def test_words_and_goods():
    assert mapping.employee({"id": "E", "name": "Ines", "pin": "1470"}, CONTEXT) == (
        "employee:E",
        "employee",
        "Ines",
        True,
    )
    assert mapping.tender({"id": "T", "labelKey": "com.clover.tender.gift_card"}, CONTEXT).name == "Gift Card"
    goods = {
        "id": "I",
        "name": "Tea",
        "price": 1200,
        "priceType": "PER_UNIT",
        "unitName": "oz",
        "cost": 300,
        "sku": "T1",
    }
    product = mapping.product(goods, CONTEXT)
    assert (product.price_cents, product.cost_cents, product.unit, product.active) == (1200, 300, "oz", True)
    assert mapping.product(goods | {"priceType": "VARIABLE", "price": 0}, CONTEXT).price_cents is None
    assert not mapping.product(goods | {"deleted": True}, CONTEXT).active
    level = mapping.stock({"item": {"id": "I"}, "quantity": Decimal("17.5"), "stockCount": 18}, CONTEXT)
    assert (level.external_id, level.quantity) == ("I|M7Q2X9K4B1TZ6", Decimal("17.5"))


@pytest.mark.parametrize("learned_at", [1, 20, 21, None])
def test_whose_orders_when_another_lane_learns_it_meanwhile(learned_at):
    """A page of 60 whose first 20 name nobody; another lane finds at some call that lists leave customers out."""
    about, asked = Names("M", tenders=False), []

    class Till:
        def get_json(self, path, params, service):
            asked.append(int(path.rsplit("/", 1)[1]))
            if len(asked) == learned_at:
                about.lists_customers = False
            return {"customers": {"elements": [{"id": "C"}]}} if asked[-1] >= 20 else {}

    rows = [{"id": str(n)} for n in range(60)]
    context = Context(now=datetime(2026, 3, 3, tzinfo=UTC), identity="M")
    streams._whose(Till(), context, rows, about)
    assert [int(one["id"]) for one in rows if "customers" in one] == list(range(20, 60))
    assert asked == list(range(60)) and about.lists_customers is False


BARE = {"href": "https://sandbox.dev.clover.com/v3/merchants/M/orders/0/customers"}


def test_a_bare_link_is_no_customer_and_lists_that_show_it_leave_them_out():
    about, asked = Names("M", tenders=False), []

    class Till:
        def get_json(self, path, params, service):
            asked.append(int(path.rsplit("/", 1)[1]))
            return {"customers": {"elements": [{"id": "C"}]} if asked[-1] % 2 else BARE}

    rows = [{"id": str(n), "customers": BARE} for n in range(30)]
    context = Context(now=datetime(2026, 3, 3, tzinfo=UTC), identity="M")
    streams._whose(Till(), context, rows, about)
    assert about.lists_customers is False and asked == list(range(30))
    assert [int(one["id"]) for one in rows if one["customers"] is not BARE] == list(range(1, 30, 2))

    empty, about = [{"id": "1", "customers": {"elements": []}}], Names("M", tenders=False)
    streams._whose(Till(), context, empty, about)
    assert about.lists_customers is True and len(asked) == 30, "a list that is there and empty was expanded"


def test_a_shop_that_names_no_customers_costs_some_calls_a_page():
    about, asked = Names("M", tenders=False), []

    class Till:
        def get_json(self, path, params, service):
            asked.append(path)
            return {}

    context = Context(now=datetime(2026, 3, 3, tzinfo=UTC), identity="M")
    costs = []
    for _ in range(4):
        before = len(asked)
        streams._whose(Till(), context, [{"id": str(n)} for n in range(100)], about)
        costs.append(len(asked) - before)
    assert costs == [100, 100, 20, 20] and about.lists_customers is None
