"""Cova's invoices to sale records: the feed's row, and the details that complete it."""

import json
from collections.abc import Sequence
from datetime import timedelta
from decimal import ROUND_HALF_UP, Decimal
from typing import Any

from ..kit.errors import BadRow
from ..kit.records import LineRecord, SaleRecord
from ..kit.streams import Context
from ..kit.values import cents, flag, listed, moment, number, plausible, text
from .rows import obj, reference, row_id

_ZERO = Decimal(0)
_THOUSAND = Decimal(1000)
_FOUR_PLACES = Decimal("0.0001")
_AHEAD = timedelta(days=2)
_MOST_CENTS = 1_000_000_000


def sale(row: Any, context: Context) -> SaleRecord:
    """A row of the sales feed. Its totals are computed: Cova does not send them."""
    row = obj(row)
    found = row_id(row)
    what = "CreatedDateUtc"
    # Cova cuts these times to the minute (portal 2019).
    sold_at = plausible(moment(row.get(what), what), what, context.now + _AHEAD)
    lines = _lines(row.get("Products"))
    kind = _kind(text(row.get("Type")), lines)

    goods = sum([line.total_cents for line in lines])
    if not -_MOST_CENTS < goods < _MOST_CENTS:
        raise BadRow("The lines add up to more than ten million.")
    tax = cents(_sum(row.get("Taxes"), "Amount", "Taxes"))
    payments = listed(row.get("Payments"), "Payments")
    tendered = _sum(payments, "Amount", "Payments")
    back = abs(number(row.get("ChangeDue"), "ChangeDue")) + abs(number(row.get("CashBack"), "CashBack"))
    named = _named(row.get("PostTaxDiscounts"), 1)
    if kind == "refund":
        # The signs of a refund are undocumented: whatever comes, what is given back is negative here.
        if goods > 0 or any(line.quantity > 0 for line in lines):
            lines = _negative(lines)
        paid = cents(back - abs(tendered))
        goods, tax = -abs(goods), -abs(tax)
        named = [(name, -amount) for name, amount in named]
    else:
        paid = cents(tendered - back)
    taken = sum(amount for _, amount in named)
    methods = _methods([payment.get("Name") for payment in payments])

    unpaid = not payments or any(p.get("Amount") is None or not text(p.get("Name")) for p in payments)
    known = bool(payments) and all(p.get("Amount") is not None for p in payments)
    due = goods - taken
    if known:
        net, total = paid - tax, paid
        # At tax-inclusive locations prices hold the tax: then the lines are what was paid.
        differs = abs(net - due) > 1 and abs(paid - due) > 1
    else:
        net, total, differs = due, due + tax, False
    if kind == "refund":
        needs = "refund"  # only the details name the sale it belongs to
    elif differs:
        needs = "mismatch"
    else:
        needs = "blank_payment" if unpaid and (total or payments) else ""
    return SaleRecord(
        external_id=found,
        kind=kind,
        number=text(row.get("PrintableId"), 60),
        receipt=text(row.get("ReceiptNumber"), 60),
        location_id=text(row.get("SoldAtEntityId"), 40),
        customer_id=reference(row.get("CustomerId")),
        employee_id=text(row.get("SoldByEmployeeId"), 40),
        employee_name=text(row.get("SoldByEmployeeName"), 200),
        sold_at=sold_at,
        # "No" is a walk-in or a pickup: only the order knows
        fulfilment="delivery" if flag(row.get("Delivery")) else "",
        lines_cents=goods,
        discount_cents=taken,
        tax_cents=tax,
        total_cents=total,
        net_cents=net,
        payments=methods,
        discounts=_discounts(named),
        currency=context.currency,
        lines=tuple(lines),
        # "-" is a sale without a customer; what `Yes` and `No` say of him stands in no other list of Cova's.
        customer_type={"yes": "medical", "no": "recreational"}.get(text(row.get("Medical"), 10).lower(), ""),
        government_id=text(row.get("DriverLicenseNumber"), 100),
        medical_id=text(row.get("MedicalRecommendationNumber"), 100),
        needs_details=needs,
    )


def sale_details(record: SaleRecord, payload: Any) -> SaleRecord:
    """`record`, as `sale` made it, completed by SalesInvoiceDetails: payments, discounts, original."""
    payload = obj(payload)
    if row_id(payload) != record.external_id:
        raise BadRow("The details are of another invoice.", external_id=record.external_id)
    sign = -1 if record.kind == "refund" else 1
    block: dict[str, Any]
    block = payload.get("Payments") if type(payload.get("Payments")) is dict else {}
    items = listed(block.get("Items"), "Payments")
    paid = _ZERO
    for item in items:
        # RetainedAmount is the amount less the change given on it
        retained = item.get("RetainedAmount")
        paid += number(item.get("Amount") if retained is None else retained, "RetainedAmount")
    back = abs(number(block.get("CashBack"), "CashBack"))
    if items and all(item.get("RetainedAmount") is None for item in items):
        back += abs(number(block.get("ChangeDue"), "ChangeDue"))
    paid = back - abs(paid) if sign < 0 else paid - back

    taxes = payload.get("TaxCalculation")
    tax = record.tax_cents
    if type(taxes) is dict and taxes.get("Lines"):
        tax = cents(_sum(taxes["Lines"], "Tax", "TaxCalculation"))
        tax = -abs(tax) if sign < 0 else tax

    found = payload.get("Discounts")
    block = found if type(found) is dict else {}
    named = _named(block.get("InvoiceLevel"), sign)
    after_tax = _named(block.get("PostTax") or block.get("PostTaxDiscounts") or payload.get("PostTaxDiscounts"), sign)
    if not after_tax and not record.has_details:  # else the feed's row has them
        after_tax = [(one["name"], one["cents"]) for one in json.loads(record.discounts)]
    before_tax = list(named)
    named += after_tax
    taken = sum(amount for _, amount in named)

    lines = record.lines or tuple(_detail_lines(payload.get("InStock"), sign))
    goods = sum(line.total_cents for line in lines)
    due = goods - taken
    total = cents(paid) if items else due + tax
    return record._replace(
        original_id=reference(payload.get("OriginalInvoiceId")),
        lines=lines,
        lines_cents=goods,
        discount_cents=taken,
        discounts=_discounts(before_tax, after_tax),
        tax_cents=tax,
        total_cents=total,
        net_cents=total - tax,
        payments=_methods([item.get("MethodName") for item in items]) or record.payments,
        has_details=True,
        # The reference, S4: `Loyalty` holds points of Cova's own programme; null while that is off.
        own_points=type(payload.get("Loyalty")) is dict and bool(payload["Loyalty"].get("PointsEarned")),
        needs_details="",
    )


# Parts of a sale


def _kind(word: str, lines: list[LineRecord]) -> str:
    match word.lower():
        case "refund":
            return "refund"
        case "sale" | "":
            given_back = bool(lines) and all(line.quantity <= 0 for line in lines)
            return "refund" if given_back and any(line.quantity < 0 for line in lines) else "sale"
    raise BadRow(f"The Type is {word[:40]!r}: only Sale and Refund are known.")


def _lines(products: Any) -> list[LineRecord]:
    lines = []
    for position, row in enumerate(listed(products, "Products"), 1):
        quantity = number(row.get("Quantity"), "Quantity")
        price = number(row.get("SoldAtPrice"), "SoldAtPrice")
        listing = row.get("ListPrice")
        list_price = price if listing is None else number(listing, "ListPrice")
        cost = row.get("UnitCost")
        total = cents(quantity * price)
        saved = 0 if listing is None else cents(quantity * list_price) - total
        cost_cents = None if cost is None else cents(quantity * number(cost, "UnitCost"))
        unit = ""
        if row.get("UnitOfMeasureType") == "Mass":
            # The feed counts weight goods in milligrams and prices them by the milligram (portal 2019).
            quantity, price, list_price, unit = (
                quantity / _THOUSAND,
                price * _THOUSAND,
                list_price * _THOUSAND,
                "g",
            )
        lines.append(
            LineRecord(
                position,
                reference(row.get("CatalogItemId")),
                text(row.get("Sku"), 100),
                text(row.get("ProductName")),
                text(row.get("DisplayedCategoryPath")) or text(row.get("Classification")),
                text(row.get("Brand"), 200),
                quantity,
                unit,
                list_price.quantize(_FOUR_PLACES, ROUND_HALF_UP),
                price.quantize(_FOUR_PLACES, ROUND_HALF_UP),
                total,
                saved,
                cost_cents,
            )
        )
    return lines


def _detail_lines(rows: Any, sign: int) -> list[LineRecord]:
    """Lines of the details. They give weight goods in grams and name the unit; the feed has more fields."""
    lines = []
    for position, row in enumerate(listed(rows, "InStock"), 1):
        quantity = sign * abs(number(row.get("Quantity"), "Quantity"))
        price = number(row.get("SoldAtPrice"), "SoldAtPrice")
        listing = row.get("ListPrice")
        list_price = price if listing is None else number(listing, "ListPrice")
        total = cents(quantity * price)
        saved = cents(quantity * list_price) - total
        mass = row.get("MeasurementType") == "Mass"
        if mass and (text(row.get("UnitAbbreviation")).lower() == "mg" or row.get("UnitId") == 110):
            quantity, price, list_price = quantity / _THOUSAND, price * _THOUSAND, list_price * _THOUSAND
        lines.append(
            LineRecord(
                number=position,
                product_id=reference(row.get("CatalogId")),
                sku=text(row.get("SKU"), 100),
                name=text(row.get("Name")),
                quantity=quantity,
                unit="g" if mass else "",
                list_price=list_price.quantize(_FOUR_PLACES, ROUND_HALF_UP),
                unit_price=price.quantize(_FOUR_PLACES, ROUND_HALF_UP),
                total_cents=total,
                discount_cents=saved,
            )
        )
    return lines


def _negative(lines: list[LineRecord]) -> list[LineRecord]:
    return [
        line._replace(
            quantity=-abs(line.quantity),
            total_cents=-abs(line.total_cents),
            discount_cents=-line.discount_cents if line.quantity > 0 else line.discount_cents,
            cost_cents=None if line.cost_cents is None else -abs(line.cost_cents),
        )
        for line in lines
    ]


def _sum(rows: Any, key: str, what: str) -> Decimal:
    return sum((number(row.get(key), what) for row in listed(rows, what)), _ZERO)


def _named(rows: Any, sign: int) -> list[tuple[str, int]]:
    """Discounts as (name, cents). Cova writes them negative; here positive is a discount."""
    found = listed(rows, "Discounts")
    return [(text(x.get("Name")), sign * cents(abs(number(x.get("Amount"), "Discounts")))) for x in found]


def _discounts(before_tax: list[tuple[str, int]], after_tax: Sequence[tuple[str, int]] | None = None) -> str:
    """As JSON; whether each came off after tax is said where the details tell (`after_tax` given)."""
    if after_tax is None:
        named = [{"name": name, "cents": amount} for name, amount in before_tax]
    else:
        named = [{"name": name, "cents": amount, "after_tax": False} for name, amount in before_tax]
        named += [{"name": name, "cents": amount, "after_tax": True} for name, amount in after_tax]
    return json.dumps(named)


def _methods(names: list[Any]) -> str:
    return ", ".join(dict.fromkeys(name for raw in names if (name := text(raw, 60))))
