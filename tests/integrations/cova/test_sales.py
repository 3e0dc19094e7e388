"""Sales: sample in, record out."""

import copy
import json
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pytest

import integrations.cova
from integrations.cova import mapping
from integrations.cova.streams import Sales
from integrations.kit.errors import BadRow
from integrations.kit.records import LineRecord
from integrations.kit.streams import Context

SAMPLES = Path(integrations.cova.__file__).parent / "samples"
NOW = datetime(2026, 3, 3, 12, tzinfo=UTC)
CONTEXT = Context(now=NOW, identity="501200", currency="CAD")
ADA = "6d2f0b6e-53a4-4a5c-9f0e-3c1c9f7a1b20"
SALE = "3f0d7a52-8b61-4f7b-9a34-6f0a4d8c1e11"


def sample(name):
    found = json.loads((SAMPLES / f"{name}.json").read_text(), parse_float=Decimal)
    return found[0] if isinstance(found, list) else found


PLAIN_LINE = LineRecord(
    number=1,
    product_id="b2e8c0b4-0f5e-4c3a-8a7d-2f9d7f1a6c55",
    sku="7QK2MB4T",
    name="Cedar Peak - Dusk 3.5g",
    category="Flower > Sativa",
    brand="Cedar Peak",
    quantity=Decimal(1),
    list_price=Decimal(21),
    unit_price=Decimal(19),
    total_cents=1900,
    discount_cents=200,
    cost_cents=1140,
)
PLAIN_SALE = mapping.sale(sample("sale__plain"), CONTEXT)


def test_a_plain_sale():
    assert PLAIN_SALE._asdict() == {
        "external_id": SALE,
        "kind": "sale",
        "number": "IN4B2K-519",
        "receipt": "IN5RQ2-55Z1LX",
        "original_id": "",
        "location_id": "501210",
        "location_name": "",
        "customer_id": ADA,
        "employee_id": "902111",
        "employee_name": "Kim Vale",
        "sold_at": datetime(2026, 3, 2, 23, 35, tzinfo=UTC),
        "fulfilment": "",
        "lines_cents": 1900,
        "discount_cents": 0,
        "tax_cents": 228,
        "total_cents": 2128,
        "net_cents": 1900,
        "payments": "Cash",
        "discounts": "[]",
        "has_details": False,
        "own_points": False,
        "currency": "CAD",
        "lines": (PLAIN_LINE,),
        "customer_type": "",
        "government_id": "DL-0000",
        "medical_id": "",
        "needs_details": "",
    }


# name -> what differs from the plain sale
SALES = {
    "weight": {
        "customer_id": "",
        "fulfilment": "delivery",
        "lines_cents": 2500,
        "tax_cents": 0,
        "total_cents": 2500,
        "net_cents": 2500,
        "payments": "Cash, Debit",
        "lines": (
            PLAIN_LINE._replace(
                name="Loose leaf", quantity=Decimal("2.5"), unit="g", list_price=Decimal(12), unit_price=Decimal(10),
                total_cents=2500, discount_cents=500, cost_cents=1250,
            ),
        ),
    },
    "refund": {
        "external_id": "8e5b1f0c-2d0c-4b57-a9f1-5a7b1f3f2c90",
        "kind": "refund",
        "number": "IN4B2K-520",
        "receipt": "",
        "sold_at": datetime(2026, 3, 3, 1, 12, tzinfo=UTC),
        "lines_cents": -1900,
        "tax_cents": -228,
        "total_cents": -2128,
        "net_cents": -1900,
        "lines": (
            PLAIN_LINE._replace(quantity=Decimal(-1), total_cents=-1900, discount_cents=-200, cost_cents=-1140),
        ),
        "needs_details": "refund",
    },
    "blank_payments": {"payments": "", "needs_details": "blank_payment"},
    "post_tax_discount": {
        "discount_cents": 500,
        "total_cents": 1628,
        "net_cents": 1400,
        "payments": "Debit",
        "discounts": '[{"name": "5 off", "cents": 500}]',
    },
    "cart_discount": {
        "tax_cents": 168, "total_cents": 1568, "net_cents": 1400, "payments": "Debit", "needs_details": "mismatch"
    },
    "tax_inclusive": {"tax_cents": 204, "total_cents": 1900, "net_cents": 1696, "payments": "Debit"},
}  # fmt: skip


@pytest.mark.parametrize("name", SALES)
def test_sales(name):
    assert mapping.sale(sample(f"sale__{name}"), CONTEXT) == PLAIN_SALE._replace(**SALES[name])


def flipped(row):
    """The same refund as a vendor would send it that writes refunds with positive numbers."""
    row = copy.deepcopy(row)
    for key, where in (("Payments", "Amount"), ("Taxes", "Amount"), ("Products", "Quantity")):
        for part in row[key]:
            part[where] = -part[where]
    return row


def test_the_signs_of_a_refund_do_not_matter():
    row = sample("sale__refund")
    expected = mapping.sale(row, CONTEXT)
    assert mapping.sale(flipped(row), CONTEXT) == expected
    assert mapping.sale({**row, "Payments": flipped(row)["Payments"]}, CONTEXT) == expected
    assert mapping.sale({**row, "Taxes": flipped(row)["Taxes"]}, CONTEXT) == expected
    assert mapping.sale({**row, "Type": "Sale"}, CONTEXT) == expected


DETAILS = {
    "plain": ("blank_payments", {"payments": "Cash"}),
    "cart_discount": (
        "cart_discount",
        {
            "tax_cents": 168,
            "total_cents": 1568,
            "net_cents": 1400,
            "discount_cents": 500,
            "discounts": '[{"name": "Loyalty 5.00 off", "cents": 500, "after_tax": false}]',
            "payments": "Debit",
        },
    ),
    "refund": ("refund", {**SALES["refund"], "original_id": SALE}),
}


@pytest.mark.parametrize("name", DETAILS)
def test_details(name):
    row, changes = DETAILS[name]
    record = mapping.sale(sample(f"sale__{row}"), CONTEXT)
    expected = PLAIN_SALE._replace(**changes)._replace(has_details=True, needs_details="", own_points=True)
    assert mapping.sale_details(record, sample(f"sale_details__{name}")) == expected


@pytest.mark.parametrize("told", [None, {}, {"PointsEarned": 0}, {"PointsEarned": None, "PointsBalance": 339}, [19]])
def test_details_without_points_of_the_poss_own_programme(told):
    record = mapping.sale(sample("sale__blank_payments"), CONTEXT)
    assert mapping.sale_details(record, {**sample("sale_details__plain"), "Loyalty": told}).own_points is False


def test_details_keep_the_discounts_of_the_row():
    record = mapping.sale(sample("sale__post_tax_discount"), CONTEXT)
    payload = sample("sale_details__plain")
    payload["Payments"]["Items"][0].update(Amount=Decimal("16.28"), RetainedAmount=Decimal("16.28"))
    found = mapping.sale_details(record, payload)
    assert (found.net_cents, found.discount_cents) == (1400, 500)
    assert found.discounts == record.discounts.replace("500}", '500, "after_tax": true}')


def test_details_of_a_sale_that_cost_nothing():
    record = mapping.sale(sample("sale__blank_payments"), CONTEXT)
    payload = sample("sale_details__cart_discount")
    payload["Payments"] = {"Items": [], "ChangeDue": 0, "CashBack": 0}
    payload["Discounts"]["InvoiceLevel"][0]["Amount"] = -19
    payload["TaxCalculation"] = {"Lines": [{"Tax": 0}]}
    found = mapping.sale_details(record, payload)
    assert (found.net_cents, found.total_cents, found.discount_cents, found.payments) == (0, 0, 1900, "")


def test_weight_lines_of_details_are_grams_already():
    record = mapping.sale({**sample("sale__blank_payments"), "Products": []}, CONTEXT)
    (line,) = mapping.sale_details(record, sample("sale_details__weight")).lines
    assert (line.quantity, line.unit, line.unit_price, line.total_cents) == (Decimal("2.5"), "g", Decimal(10), 2500)


def test_details_of_another_invoice_are_refused():
    with pytest.raises(BadRow, match="another invoice"):
        mapping.sale_details(PLAIN_SALE, sample("sale_details__refund"))


@pytest.mark.parametrize(
    ("needs", "skip", "reason"),
    [
        ("", False, ""),
        ("blank_payment", False, "blank_payment"),
        ("blank_payment", True, ""),
        ("mismatch", True, "mismatch"),
        ("refund", True, "refund"),
    ],
)
def test_when_details_are_fetched(needs, skip, reason):
    context = Context(now=NOW, identity="501200", settings={"skip_payment_method": skip})
    assert Sales.details_reason(PLAIN_SALE._replace(needs_details=needs), context) == reason


def test_split_tender_with_change_and_cash_back():
    row = sample("sale__plain")
    row["Payments"] = [{"Id": 1, "Amount": 10, "Name": "Cash"}, {"Id": 2, "Amount": Decimal("32.00"), "Name": "Debit"}]
    row["CashBack"] = 20
    found = mapping.sale(row, CONTEXT)
    assert (found.net_cents, found.total_cents, found.payments, found.needs_details) == (1900, 2128, "Cash, Debit", "")


def test_a_payment_without_a_name_is_blank_but_its_amount_counts():
    row = sample("sale__plain")
    row["Payments"][0]["Name"] = ""
    found = mapping.sale(row, CONTEXT)
    assert (found.net_cents, found.needs_details) == (1900, "blank_payment")


def test_one_cent_is_rounding_two_are_a_mismatch():
    row = sample("sale__plain")
    row["Payments"][0]["Amount"] = Decimal("22.01")
    assert mapping.sale(row, CONTEXT).needs_details == ""
    row["Payments"][0]["Amount"] = Decimal("22.02")
    assert mapping.sale(row, CONTEXT).needs_details == "mismatch"


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"Id": None}, "no Id"),
        ({"Id": "  "}, "no Id"),
        ({"Id": {"a": 1}}, "no Id"),
        ({"CreatedDateUtc": None}, "CreatedDateUtc is missing"),
        ({"CreatedDateUtc": "soon"}, "CreatedDateUtc is not a time"),
        ({"CreatedDateUtc": "1999-01-01T00:00:00"}, "before the year 2000"),
        ({"CreatedDateUtc": "2026-03-06T00:00:00"}, "in the future"),
        ({"Type": "Exchange"}, "only Sale and Refund"),
        ({"Products": {}}, "Products is not a list"),
        ({"Products": [7]}, "not an object"),
        ({"Products": [{"Quantity": "a lot", "SoldAtPrice": 1}]}, "Quantity is not a number"),
        ({"Products": [{"Quantity": 1, "SoldAtPrice": 10**8}]}, "beyond ten million"),
        ({"Products": [{"Quantity": 9_000_000, "SoldAtPrice": 9_000_000}]}, "more than ten million"),
        ({"Payments": "Cash"}, "Payments is not a list"),
        ({"Payments": [{"Amount": "NaN", "Name": "Cash"}]}, "Payments is not a number"),
        ({"Taxes": [{"Amount": True}]}, "Taxes is not a number"),
        ({"ChangeDue": []}, "ChangeDue is not a number"),
    ],
)
def test_garbled_sales_are_refused_with_a_sentence(change, reason):
    mapping.sale(sample("sale__plain"), CONTEXT)  # without the change it is read
    with pytest.raises(BadRow, match=reason):
        mapping.sale({**sample("sale__plain"), **change}, CONTEXT)
