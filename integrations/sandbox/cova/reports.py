"""The sales routes: the feed (S1), summaries (S3) and details (S4), and the points routes (Y1, Y4).

Known: paths, fields, `DateRange` with both ends, blank or `T` between day and time, newest first and 50 rows by
default in the summaries. Inferred [INF]: `Date` is the time of creation, both ends count by the minute, a range over
31 days answers 500 (switch `long_ranges`), all rows without `$top`, order by minute then id; the summaries take the
four documented filters, `$skip`, and `$top` up to 100; a location of nobody's is a 400.
"""

import json
import re
from typing import TYPE_CHECKING, Any

from integrations.sandbox.cova.customers import dump
from integrations.sandbox.cova.invoices import TICKS, Invoice, Line, summary, tick_text
from integrations.sandbox.cova.odata import BadFilter, moment, parse
from integrations.sandbox.cova.routes import NOT_FOUND, Call, Fail, Router
from integrations.sandbox.cova.shop import COMPANY_ID, METHODS, REWARDS, TAX_IDS, TAX_NAMES, TAX_PERCENT
from integrations.sandbox.wire import Response

if TYPE_CHECKING:
    from integrations.sandbox.cova import Cova

LONGEST_MINUTES = 31 * 24 * 60
_RANGE = re.compile(
    r"\s*Date\s+ge\s+datetime'([^']*)'\s+and\s+Date\s+le\s+datetime'([^']*)'\s*\Z",
    re.IGNORECASE,
)
_SUMMARY_KINDS = {"CustomerId": "guid", "LocationId": "int", "PrintableId": "text", "ReceiptNumber": "text"}


class Reports:
    """Handlers over the vendor's book."""

    def __init__(self, vendor: "Cova") -> None:
        self.vendor = vendor

    def routes(self, router: Router) -> None:
        company, entity = "/v1/Companies({})", "/v1/Companies({})/Entities({})"
        feed = ("DateRange", "$top", "$skip")
        router.add("GET", "posreports", entity + "/ByInvoiceWithProducts", self.feed, *feed)
        page = ("$filter", "$top", "$skip")
        router.add("GET", "pointofsale", "/Companies({})/SalesInvoiceSummaries", self.summaries, *page)
        router.add("GET", "pointofsale", "/Companies({})/SalesInvoiceDetails({id})", self.details)
        router.add("GET", "iqloyalty", entity + "/customers({id})/summary", self.points)
        router.add("GET", "iqloyalty", entity + "/Rewards", self.rewards)
        router.add("GET", "paymentmethods", company + "/MappedPayments", self.methods, *page)

    def feed(self, call: Call) -> Response:
        location_id = int(call.ids[1])
        if location_id not in self.vendor.shop.locations:
            raise Fail(400, "Entity is not related to company")
        wanted = _RANGE.match(call.query.get("DateRange", ""))
        if wanted is None:
            raise Fail(400, "DateRange is required: Date ge datetime'..' and Date le datetime'..'")
        try:
            first, last = (int(moment(text).timestamp()) // 60 for text in wanted.groups())
        except BadFilter as refusal:
            raise Fail(400, str(refusal)) from None
        if last - first > LONGEST_MINUTES and self.vendor.long_ranges:
            raise Fail(500, "An error has occurred.")
        skip = call.whole("$skip", 0)
        top = call.whole("$top", 0) if "$top" in call.query else None
        more = top is not None
        rows = self.vendor.book.between(location_id, first, last, skip, top + 1 if top is not None else None)
        if top is not None:
            more = len(rows) > top
            rows = rows[:top]
        return call.rows([invoice.row for invoice in rows], skip=skip, top=top, more=more)

    def summaries(self, call: Call) -> Response:
        try:
            clauses = parse(call.query["$filter"], _SUMMARY_KINDS) if "$filter" in call.query else []
        except BadFilter as refusal:
            raise Fail(400, f"Error while extracting the request query. {refusal}") from None
        skip, top = call.whole("$skip", 0), call.clamped_top(50, 100)
        book = self.vendor.book
        found = None
        for clause in clauses:
            if clause.op == "eq" and clause.prop == "CustomerId":
                found = sorted(
                    book.by_customer.get(clause.value, ()), key=lambda row: (row.ticks, row.id), reverse=True
                )
        for clause in clauses:
            found = (
                [row for row in book.newest_first() if clause.holds(_field(row, clause.prop))]
                if (found is None)
                else [row for row in found if clause.holds(_field(row, clause.prop))]
            )
        if found is None:
            found = book.newest_first()
        page = found[skip : skip + top]
        return call.rows([dump(summary(row)) for row in page], skip=skip, top=top, more=len(found) > skip + top)

    def details(self, call: Call) -> Response:
        invoice = self.vendor.book.by_id.get(call.ids[1].lower())
        if invoice is None:
            raise Fail(404, NOT_FOUND)
        return call.one(dump(details(invoice)))

    def points(self, call: Call) -> Response:
        # The portal's own example puts the company where the location belongs, so both are taken [D].
        if int(call.ids[1]) != COMPANY_ID and int(call.ids[1]) not in self.vendor.shop.locations:
            raise Fail(400, "Entity is not related to company")
        customer = self.vendor.register.by_id.get(call.ids[2].lower())
        points = 0 if customer is None else customer.points
        return Response(200, json.dumps({"PointsBalance": points, "LifetimePointsBalance": points * 3}).encode())

    def rewards(self, call: Call) -> Response:
        return call.rows(map(dump, REWARDS))

    def methods(self, call: Call) -> Response:
        wanted = re.fullmatch(r"\s*EntityId eq (\d+)\s*", call.query.get("$filter", ""))
        place = self.vendor.shop.locations.get(int(wanted[1])) if wanted else None
        if place is None:
            raise Fail(400, "Error while extracting the request query: EntityId eq {location} is required")
        skip, top = call.whole("$skip", 0), call.clamped_top(100, 100)
        rows = [
            {
                "Id": place.method_id(method),
                "CompanyId": COMPANY_ID,
                "EntityId": place.id,
                "CustomName": name,
                "Enabled": True,
                "PaymentAssociationGroupId": None,
                "PaymentMethodId": method + 1,
                "PaymentMethod": {
                    "Id": method + 1,
                    "PaymentName": name,
                    "IsPrivate": False,
                    "PaymentMethodType": name,
                    "DefaultCanOverpay": name == "Cash",
                },
                "EnableRounding": False,
                "MaxPositiveTransaction": None,
                "MaxNegativeTransaction": None,
                "CanOverpay": name == "Cash",
            }
            for method, name in enumerate(METHODS)
        ]
        return call.rows(map(dump, rows[skip : skip + top]))


def _field(invoice: Invoice, prop: str) -> Any:
    if prop == "CustomerId":
        return invoice.customer and invoice.customer.id
    if prop == "LocationId":
        return invoice.location.id
    return invoice.number if prop == "PrintableId" else invoice.receipt


def details(invoice: Invoice) -> dict[str, Any]:
    """The invoice as `SalesInvoiceDetails` shows it: grams, payments in full, the link of a refund."""
    original, customer = invoice.original, invoice.customer
    returned = invoice.change
    items = []
    for method, cents in reversed(invoice.payments):  # the change comes off the cash, which is paid last
        kept = cents - returned
        returned = 0
        items.insert(
            0,
            {
                "TimeTakenUtc": tick_text(invoice.ticks - 5 * TICKS)[:19] + "Z",
                "Amount": cents / 100,
                "RetainedAmount": kept / 100,
                "MethodName": METHODS[method],
                "MappedMethodId": invoice.location.method_id(method),
                "DrawerId": None,
                "IntegratedTransactionId": None,
                "ReferenceId": None,
                "Last4Digits": None,
                "CustomerAccountId": None,
            },
        )
    return {
        "Id": invoice.id,
        "OriginalInvoiceId": original and original.id,
        "LocationId": invoice.location.id,
        "LocationName": invoice.location.name,
        "UserId": invoice.employee.id,
        "CreatedByUser": invoice.employee.name,
        "CreatedDateUtc": tick_text(invoice.ticks),
        "PrintableId": invoice.number,
        "ReceiptNumber": invoice.receipt,
        "OriginalPrintableId": original and original.number,
        "OriginalReceiptNumber": original and original.receipt,
        "Notes": None,
        "Annotation": None,
        "SaleOverrides": None,
        "InvoiceType": invoice.kind,
        "InStock": [_stock_line(at, line) for at, line in enumerate(invoice.lines, 1)],
        "Dropship": [],
        "Payments": {"Items": items, "ChangeDue": invoice.change / 100, "CashBack": invoice.cash_back / 100},
        "Discounts": _discounts(invoice),
        "Customer": customer
        and {
            "Id": customer.id,
            "Number": customer.light["UniqueIdentifier"],
            "FullName": customer.name,
            "ShippingAddressId": None,
            "ShippingAddress": None,
            "BillingAddressId": None,
            "BillingAddress": None,
            "AddressId": None,
            "MedicalInformation": None,
        },
        "TaxCalculation": {
            "TaxCalculcationId": invoice.id[:24] + invoice.id[:12].replace("-", "0"),
            "Lines": [_tax_line(at, line) for at, line in enumerate(invoice.lines, 1)],
        },
        "Loyalty": None
        if invoice.earned is None or customer is None
        else {"PointsEarned": invoice.earned, "PointsBalance": customer.points},
    }


def _stock_line(at: int, line: Line) -> dict[str, Any]:
    product, quantity = line.product, line.quantity
    attributes = {}
    if product.grams is not None:
        weight = {
            "StringId": f"Net Weight {COMPANY_ID}",
            "Type": "Float",
            "Unit": "g",
            "Value": f"{product.grams:g}",
        }
        attributes["Net Weight"] = json.dumps(weight, separators=(",", ":"))
    return {
        "No": at,
        "CatalogId": product.id,
        "Name": product.name,
        "SKU": product.sku,
        "SoldAtPrice": round(line.net / quantity / 100 * (1000 if product.mass else 1), 8),
        "ListPrice": line.list_price / 100,
        "SalePrice": None if line.sale_price is None else line.sale_price / 100,
        "Quantity": quantity / 1000 if product.mass else quantity,
        "UnitId": 103 if product.mass else 0,
        "UnitAbbreviation": "g" if product.mass else "",
        "MeasurementType": "Mass" if product.mass else "SingleUnit",
        "PackageNumber": product.batch.replace("BATCH", "PKG") or None,
        "Batch": product.batch or None,
        "SerialNumbers": [],
        "Attributes": attributes,
    }


def _discounts(invoice: Invoice) -> dict[str, Any] | None:
    off = [(at, line.line_off) for at, line in enumerate(invoice.lines, 1) if line.line_off]
    if not off and invoice.cart is None:
        return None
    cart = []
    if invoice.cart is not None:
        identity, name, cents = invoice.cart
        shares = [(at, line.cart_off) for at, line in enumerate(invoice.lines, 1) if line.cart_off]
        cart.append(_discount(identity, name, cents, shares))
    each = [_discount(f"{invoice.id[:-4]}{at:04x}", invoice.line_name, cents, [(at, cents)]) for at, cents in off]
    total = sum(cents for _, cents in off) + (invoice.cart[2] if invoice.cart else 0)
    return {"Id": invoice.id[:-4] + "0000", "InvoiceLevel": cart, "LineLevel": each, "Total": -total / 100}


def _discount(identity: str, name: str, cents: int, shares: list[tuple[int, int]]) -> dict[str, Any]:
    breakdown = [{"LineNumber": at, "Amount": -share / 100} for at, share in shares]
    return {"Id": identity, "Name": name, "Amount": -cents / 100, "LineLevelBreakdown": breakdown}


def _tax_line(at: int, line: Line) -> dict[str, Any]:
    return {
        "Tax": (line.gst + line.pst) / 100,
        "ExemptAmount": 0,
        "LineNumber": str(at),
        "TaxDetails": [
            {
                "TaxId": TAX_IDS[which],
                "Rate": TAX_PERCENT[which] / 100,
                "TaxName": TAX_NAMES[which],
                "Tax": cents / 100,
                "Exemptions": [],
                "TaxAuthorityType": None,
                "TaxType": "Percentage",
                "Layer": 0,
            }
            for which, cents in enumerate((line.gst, line.pst))
        ],
    }
