"""Finished invoices: their figures, the book that holds them, and the three forms in which the vendor shows them.

Money is in whole cents inside, quantities are pieces or milligrams. For every invoice, to the cent:
payments - change - cash back = lines + taxes + post-tax discounts (those are negative on a sale).

Known [D][D19]: the fields; times cut to the minute in the feed and with seven digits elsewhere; milligrams in the
feed, grams in the details; the link of a refund only in the details.
Inferred [INF]: a cart discount before tax is already inside `SoldAtPrice`, spread pro rata to the cent with the
remainder on the last line, and shows by name only in the details (`Discounts.InvoiceLevel`); a discount after tax
shows only in `PostTaxDiscounts` of the feed; tax is rounded half up for each line and each tax; refunds are negative
in quantity, taxes and payments, at a positive unit price, and carry no discounts but the returned post-tax part.
"""

import bisect
import json
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from integrations.sandbox.cova.customers import Customer
from integrations.sandbox.cova.shop import (
    COMPANY_ID,
    METHODS,
    TAX_IDS,
    TAX_NAMES,
    TAX_PERCENT,
    Employee,
    Location,
    Product,
)

TICKS = 10_000_000  # a second in the vendor's seven digits


@dataclass(slots=True)
class Line:
    """`quantity` is pieces, or milligrams by weight; `list_price` and `sale_price` are for one piece or one gram.

    `line_off` and `cart_off` are what a line discount and the cart discount took from it; `net` is what is left.
    `returned` is the quantity that refunds brought back so far.
    """

    product: Product
    quantity: int
    list_price: int
    sale_price: int | None
    net: int
    line_off: int = 0
    cart_off: int = 0
    gst: int = 0
    pst: int = 0
    returned: int = 0


@dataclass(slots=True)
class Invoice:
    """One finished invoice. `ticks` are 100 ns since 1970; `post` are (id, name, cents) of post-tax discounts."""

    id: str
    number: str
    receipt: str | None
    location: Location
    employee: Employee
    customer: Customer | None
    ticks: int
    lines: list[Line]
    delivery: bool = False
    payments: list[tuple[int, int]] = field(default_factory=list)
    change: int = 0
    cash_back: int = 0
    cart: tuple[str, str, int] | None = None
    line_name: str = "Manual price"
    post: list[tuple[str, str, int]] = field(default_factory=list)
    original: "Invoice | None" = None
    blank: bool = False
    earned: int | None = None
    returned_gross: int = 0
    net: int = 0
    gst: int = 0
    pst: int = 0
    total: int = 0
    row: bytes = b""

    @property
    def minute(self) -> int:
        return self.ticks // (60 * TICKS)

    @property
    def kind(self) -> str:
        return "Sale" if self.original is None else "Refund"

    def add_up(self) -> None:
        self.net = sum(line.net for line in self.lines)
        self.gst = sum(line.gst for line in self.lines)
        self.pst = sum(line.pst for line in self.lines)
        self.total = self.net + self.gst + self.pst + sum(cents for _, _, cents in self.post)


def gross(product: Product, quantity: int, price: int) -> int:
    """Cents for a quantity, rounded half up to the cent by weight."""
    return (quantity * price + 500) // 1000 if product.mass else quantity * price


def tax(net: int, percent: int) -> int:
    """Cents of tax, rounded half up; `net` is not negative."""
    return (net * percent + 50) // 100


def spread(cut: int, nets: list[int]) -> list[int]:
    """A cart discount over its lines: pro rata to the cent, the remainder on the last line, none below zero."""
    base = sum(nets)
    shares = [cut * net // base for net in nets[:-1]]
    shares.append(cut - sum(shares))
    for at in range(len(nets) - 1, 0, -1):  # a last line cheaper than the remainder hands it on
        excess = shares[at] - nets[at]
        if excess > 0:
            shares[at] -= excess
            shares[at - 1] += excess
    return shares


def taxed(line: Line) -> Line:
    line.gst = tax(line.net, TAX_PERCENT[0])
    line.pst = tax(line.net, TAX_PERCENT[1])
    return line


def minute_text(minute: int) -> str:
    """`2026-03-02T23:35:00`, as the feed shows it: UTC without a zone."""
    return datetime.fromtimestamp(minute * 60, UTC).isoformat()[:19]


def tick_text(ticks: int, zone: str = "Z") -> str:
    """`2026-03-02T23:35:27.1182304Z`."""
    return f"{datetime.fromtimestamp(ticks // TICKS, UTC).isoformat()[:19]}.{ticks % TICKS:07d}{zone}"


def _unit_price(line: Line) -> float:
    """Dollars for one piece or one milligram, exact enough that price x quantity rounds to the line's cents."""
    return round(line.net / line.quantity / 100, 10)


def _line_row(line: Line) -> str:
    product = line.product
    unit = 100_000 if product.mass else 100
    sale = "null" if line.sale_price is None else line.sale_price / unit
    return (
        f'{product.head},"Quantity":{line.quantity},"ListPrice":{line.list_price / unit},"SalePrice":{sale},'
        f'"SoldAtPrice":{_unit_price(line)},"UnitCost":{product.cost / unit},{product.tail}'
    )


_ANONYMOUS = (
    '"CustomerId":null,"CustomerName":null,"Medical":"-","MedicalRecommendationNumber":null,'
    '"DriverLicenseNumber":null,"CustomerState":null,"CustomerDateOfBirth":null,"CustomerMobileNumber":null'
)


def render_row(invoice: Invoice) -> bytes:
    """The invoice as one row of `ByInvoiceWithProducts`."""
    place = invoice.location
    receipt = "null" if invoice.receipt is None else json.dumps(invoice.receipt)
    taxes = ",".join(
        f'{{"TaxId":"{TAX_IDS[at]}","TaxAuthorityType":null,"Amount":{amount / 100},"Name":"{TAX_NAMES[at]}"}}'
        for at, amount in enumerate((invoice.gst, invoice.pst))
        if amount
    )
    paid = () if invoice.blank else invoice.payments
    payments = ",".join(
        f'{{"Id":{place.method_id(method)},"Amount":{cents / 100},"Name":"{METHODS[method]}"}}'
        for method, cents in paid
    )
    post = ",".join(
        f'{{"Id":"{identity}","Name":{json.dumps(name)},"Amount":{cents / 100}}}'
        for identity, name, cents in invoice.post
    )
    return (
        f'{{"Id":"{invoice.id}","CompanyId":{COMPANY_ID},"SoldAtEntityId":{place.id},'
        f'"SoldAtEntityName":"{place.name}","PrintableId":"{invoice.number}","ReceiptNumber":{receipt},'
        f'"SoldByEmployeeId":{invoice.employee.id},"SoldByEmployeeName":"{invoice.employee.name}",'
        f"{_ANONYMOUS if invoice.customer is None else invoice.customer.report()},"
        f'"CreatedDateUtc":"{minute_text(invoice.minute)}","Type":"{invoice.kind}",'
        f'"Delivery":"{"Yes" if invoice.delivery else "No"}","ChangeDue":{invoice.change / 100},'
        f'"CashBack":{invoice.cash_back / 100},"Taxes":[{taxes}],"Payments":[{payments}],'
        f'"PostTaxDiscounts":[{post}],"Products":[{",".join(map(_line_row, invoice.lines))}]}}'
    ).encode()


def summary(invoice: Invoice) -> dict[str, Any]:
    """The invoice as a row of `SalesInvoiceSummaries`."""
    customer = invoice.customer
    return {
        "Id": invoice.id,
        "PrintableId": invoice.number,
        "ReceiptNumber": invoice.receipt,
        "InvoiceTotal": invoice.total / 100,
        "InvoiceType": invoice.kind,
        "PaymentTypes": ", ".join(METHODS[method] for method, _ in invoice.payments),
        "CustomerId": customer and customer.id,
        "CustomerName": customer and customer.name,
        "LocationId": invoice.location.id,
        "LocationName": invoice.location.name,
        "UserId": invoice.employee.id,
        "CreatedByUser": invoice.employee.name,
        "CreatedDateUtc": tick_text(invoice.ticks),
    }


class Book:
    """All invoices, found by id and, for each store, in order of minute and id."""

    def __init__(self) -> None:
        self.by_id: dict[str, Invoice] = {}
        self._by_location: dict[int, list[tuple[int, str]]] = {}
        self._newest: list[tuple[int, str]] = []  # (ticks, id) of all, oldest first
        self.by_customer: dict[str, list[Invoice]] = {}
        self.serial = 0

    def number(self) -> str:
        self.serial += 1
        return f"IN4B2K-{self.serial}"

    def add(self, invoice: Invoice) -> None:
        invoice.row = render_row(invoice)
        self.by_id[invoice.id] = invoice
        bisect.insort(self._by_location.setdefault(invoice.location.id, []), (invoice.minute, invoice.id))
        bisect.insort(self._newest, (invoice.ticks, invoice.id))
        if invoice.customer is not None:
            self.by_customer.setdefault(invoice.customer.id, []).append(invoice)

    def between(self, location_id: int, first: int, last: int, skip: int, top: int | None) -> list[Invoice]:
        """Invoices of a store from minute `first` to minute `last`, both included. Ties are in order of id, so
        seconds may run backwards inside a minute."""
        rows = self._by_location.get(location_id, [])
        start = bisect.bisect_left(rows, (first, "")) + skip
        stop = bisect.bisect_left(rows, (last + 1, ""))
        if top is not None:
            stop = min(stop, start + top)
        return [self.by_id[identity] for _, identity in rows[start:stop]]

    def newest_first(self) -> list[Invoice]:
        return [self.by_id[identity] for _, identity in reversed(self._newest)]
