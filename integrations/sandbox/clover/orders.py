"""Orders with their lines, discounts, payments, refunds and credits: the rows, and how an order adds up.

Known: fields, and what lists filter by and expand [D S14, S15, S27]; one line a unit, no quantity, `unitQty` in
thousandths [D S15]; discounts zero or negative in cents or positive in percent [D S15, I-field S24]; refunds are
objects of their own with a positive amount and no time of change [D S15]; the rule of the total [D S16]; the 90-day
rule and the fields that narrow it for orders [D S14, S20]; `employee` is not expanded in a list of payments [D S21].

Inferred [I]: several percentages come off one after the other; for the tax an order's discounts fall on all lines in
proportion; a fee or a gift card counts as a line like any other, untaxed; a preset's value stands on the discount as
the register writes it; `voids` are the payments that were voided, which stay among `payments` with result VOIDED; a
linked customer shows no contacts, a deleted one its id; what refunds and credits filter by; `payment.x` and
`payments.x` are the same expansion.
"""

from typing import Any, ClassVar

from integrations.sandbox.clover.customers import Customer
from integrations.sandbox.clover.query import Clause, Field, Window
from integrations.sandbox.clover.rows import WEB, Row, Tree, View, dump, elements

MONEY = ("SUCCESS", "AUTH_COMPLETED")
WHOLE = 10_000_000
PERCENT = 1_000_000


def half_up(amount: int, parts: int) -> int:
    """amount / parts, halves up; a negative amount mirrors the positive one."""
    if amount < 0:
        return -half_up(-amount, parts)
    return (2 * amount + parts) // (2 * parts)


class Plain(Row):
    """A row that has nothing to expand."""

    __slots__ = ()


class Discount(Row):
    __slots__ = ()

    def off(self, amount: int) -> int:
        """What it takes from an amount, as a positive number of cents, never more than there is."""
        fields = self.fields
        if "amount" in fields:
            return min(amount, -fields["amount"])
        parts = fields["percentage"] * 10_000 if "percentage" in fields else fields["percentageDecimal"]
        return half_up(amount * parts, PERCENT)


class Line(Row):
    """One unit sold. `rates` are (rate row, parts of 10,000,000)."""

    __slots__ = ("discounts", "modifications", "order", "rates")
    EXPAND: ClassVar[dict[str, type[Row] | None]] = {
        "discounts": None,
        "modifications": None,
        "taxRates": None,
        "employee": None,
        "orderType": None,
        "payments": None,
    }
    NEEDS: ClassVar[dict[str, str]] = {"employee": "EMPLOYEES_R", "payments": "PAYMENTS_R"}
    KNOWN = (
        *("id", "orderRef", "item", "name", "alternateName", "price", "unitQty", "unitName", "itemCode", "note"),
        *("printed", "binName", "userData", "createdTime", "orderClientCreatedTime", "exchanged", "refunded"),
        *("exchangedLineItem", "refund", "isRevenue", "isOrderFee", "percentage", "colorCode"),
    )

    def __init__(self, fields: dict[str, Any], order: "Order") -> None:
        super().__init__(fields, fields["createdTime"])
        self.order = order
        self.discounts: list[Discount] = []
        self.modifications: list[dict[str, Any]] = []
        self.rates: list[Row] = []

    @property
    def gross(self) -> int:
        """Price of what was taken with its modifiers, before any discount."""
        fields = self.fields
        extra = sum(row["amount"] for row in self.modifications)
        if "unitQty" in fields:
            return half_up(fields["price"] * fields["unitQty"], 1000) + extra
        return fields["price"] + extra

    @property
    def net(self) -> int:
        """After the line's own discounts."""
        return _discounted(self.gross, self.discounts)

    def expansion(self, name: str, tree: Tree, view: View) -> bytes | None:
        if name == "discounts":
            return elements(self.discounts, view) if self.discounts else None
        if name == "modifications":
            return dump({"elements": self.modifications[:100]}) if self.modifications else None
        if name == "taxRates":
            names = ("id", "name", "rate", "isDefault")
            return dump({"elements": [{name: row.fields.get(name) for name in names} for row in self.rates]})
        if name == "employee":
            return self.order.expansion("employee", tree, view)
        if name == "orderType":
            return self.order.expansion("orderType", tree, view)
        return None


def _discounted(amount: int, discounts: list[Discount]) -> int:
    """Percentages first, then amounts."""
    for discount in discounts:
        if "amount" not in discount.fields:
            amount -= discount.off(amount)
    for discount in discounts:
        if "amount" in discount.fields:
            amount -= discount.off(amount)
    return amount


class Payment(Row):
    __slots__ = ("card", "employee", "order", "refunds", "taxes", "tender")
    KNOWN = (
        *("id", "order", "device", "tender", "amount", "tipAmount", "taxAmount", "cashbackAmount", "cashTendered"),
        *("employee", "createdTime", "clientCreatedTime", "modifiedTime", "gatewayProcessingTime", "offline", "note"),
        *("externalPaymentId", "externalReferenceId", "result", "voidReason", "voidPaymentRef", "serviceCharge"),
    )
    EXPAND: ClassVar[dict[str, type[Row] | None]] = {
        **dict.fromkeys(("tender", "cardTransaction", "refunds", "taxRates", "order", "employee", "lineItemPayments")),
        **dict.fromkeys(("additionalCharges", "germanInfo", "dccInfo", "transactionInfo", "oceanGatewayInfo")),
        **dict.fromkeys(("externalReferenceId", "appTracking", "paymentAttributes")),
    }
    REFERENCES = frozenset({"tender", "order", "employee"})
    WITHHELD = frozenset({"employee"})
    NEEDS: ClassVar[dict[str, str]] = {"employee": "EMPLOYEES_R", "order": "ORDERS_R", "tender": "MERCHANT_R"}
    WINDOW = Window(("createdTime", "clientCreatedTime", "modifiedTime", "order.modifiedTime"), frozenset())

    def __init__(self, fields: dict[str, Any], order: "Order", tender: Row, employee: Row | None) -> None:
        super().__init__(fields, fields["createdTime"])
        self.order, self.tender, self.employee = order, tender, employee
        self.card: dict[str, Any] | None = None
        self.taxes: list[dict[str, Any]] = []
        self.refunds: list[Refund] = []

    @property
    def counts(self) -> bool:
        return self.fields["result"] in MONEY

    @property
    def left(self) -> int:
        """What can still be given back of it, without the tip."""
        given = sum(row.fields["amount"] - row.fields.get("tipAmount", 0) for row in self.refunds if row.counts)
        return self.fields["amount"] - given if self.counts else 0

    def expansion(self, name: str, tree: Tree, view: View) -> bytes | None:
        if name == "tender":
            return self.tender.render(view)
        if name == "order":
            return self.order.render(view)
        if name == "employee":
            return None if self.employee is None else self.employee.render(view)
        if name == "refunds":
            return elements(self.refunds, view) if self.refunds else None
        if name == "cardTransaction":
            return None if self.card is None else dump(self.card)
        if name == "taxRates":
            return dump({"elements": self.taxes}) if self.taxes else None
        return None


class Refund(Row):
    __slots__ = ("employee", "lines", "payment")
    KNOWN = (
        *("id", "orderRef", "device", "amount", "taxAmount", "tipAmount", "createdTime", "clientCreatedTime"),
        *("payment", "employee", "voided", "voidReason", "status", "reason", "deletedTime"),
    )
    EXPAND: ClassVar[dict[str, type[Row] | None]] = {
        **dict.fromkeys(("payment", "employee", "lineItems", "overrideMerchantTender", "serviceCharge")),
        **dict.fromkeys(("germanInfo", "appTracking")),
    }
    REFERENCES = frozenset({"payment", "employee"})
    NEEDS: ClassVar[dict[str, str]] = {"employee": "EMPLOYEES_R"}
    WINDOW = Window(("createdTime", "clientCreatedTime"), frozenset())

    def __init__(self, fields: dict[str, Any], payment: Payment, employee: Row | None, lines: list[Line]) -> None:
        super().__init__(fields, fields["createdTime"])
        self.payment, self.employee, self.lines = payment, employee, lines

    @property
    def counts(self) -> bool:
        return not self.fields["voided"]

    def expansion(self, name: str, tree: Tree, view: View) -> bytes | None:
        if name == "payment":
            return self.payment.render(view)
        if name == "employee":
            return None if self.employee is None else self.employee.render(view)
        if name == "lineItems":
            return dump({"elements": [{"id": line.id} for line in self.lines[:100]]}) if self.lines else None
        return None


class Credit(Row):
    """Money given back without a payment to give it back of."""

    __slots__ = ("customer", "employee", "order", "tender")
    KNOWN = (
        *("id", "orderRef", "device", "tender", "employee", "customers", "amount", "taxAmount", "createdTime"),
        *("clientCreatedTime", "voided", "voidReason", "result", "reason"),
    )
    EXPAND: ClassVar[dict[str, type[Row] | None]] = {
        **dict.fromkeys(("tender", "employee", "order", "cardTransaction", "taxRates")),
        **dict.fromkeys(("dccInfo", "germanInfo", "appTracking")),
    }
    REFERENCES = frozenset({"tender", "employee"})
    NEEDS: ClassVar[dict[str, str]] = {"employee": "EMPLOYEES_R", "order": "ORDERS_R", "tender": "MERCHANT_R"}
    WINDOW = Window(("createdTime", "clientCreatedTime"), frozenset())
    LISTED_FILTERS = False

    def __init__(self, fields: dict[str, Any], order: "Order", tender: Row, employee: Row | None) -> None:
        super().__init__(fields, fields["createdTime"])
        self.order, self.tender, self.employee = order, tender, employee

    def expansion(self, name: str, tree: Tree, view: View) -> bytes | None:
        row = {"tender": self.tender, "employee": self.employee, "order": self.order}.get(name)
        return None if row is None else row.render(view)


class VoidedLine(Row):
    """A line taken off an order; `fields` holds the line as it was."""

    __slots__ = ("line",)
    CREATED = "deletedTime"
    LISTED_FILTERS = False

    def __init__(self, fields: dict[str, Any], line: Line) -> None:
        super().__init__(fields, fields["deletedTime"])
        self.line = line

    @property
    def id(self) -> str:
        return self.line.id


_EXPAND_ORDER: dict[str, type[Row] | None] = {
    "customers": Customer,
    "employee": None,
    "orderType": None,
    "serviceCharge": None,
    "discounts": Discount,
    "lineItems": Line,
    "payments": Payment,
    "refunds": Refund,
    "credits": Credit,
    "voids": Payment,
    "orderFulfillmentEvent": None,
}


class Order(Row):
    __slots__ = (
        *("credits", "customer", "deleted", "discounts", "employee", "lines", "order_type"),
        *("payments", "refunds", "service_charge"),
    )
    KNOWN = (
        *("href", "id", "currency", "employee", "total", "unpaidBalance", "paymentState", "title", "note"),
        *("externalReferenceId", "orderType", "taxRemoved", "isVat", "state", "manualTransaction", "groupLineItems"),
        *("testMode", "payType", "createdTime", "clientCreatedTime", "modifiedTime", "deletedTimestamp", "device"),
    )
    EXPAND = _EXPAND_ORDER
    ALIASES: ClassVar[dict[str, str]] = {"payment": "payments"}
    REFERENCES = frozenset({"employee", "orderType"})
    NEEDS: ClassVar[dict[str, str]] = {
        "customers": "CUSTOMERS_R",
        "employee": "EMPLOYEES_R",
        **dict.fromkeys(("payments", "refunds", "credits", "voids"), "PAYMENTS_R"),
    }
    WINDOW = Window(
        ("createdTime", "clientCreatedTime", "modifiedTime"),
        frozenset(
            {"deletedTime", "externalReferenceId", "createdTime", "total", "payType", "title", "note", "state"}
            | {"manualTransaction", "cardTransaction.last4", "testMode", "touched"}
        ),
    )

    def __init__(self, merchant_id: str, fields: dict[str, Any]) -> None:
        href = {"href": f"{WEB}/v3/merchants/{merchant_id}/orders/{fields['id']}"}
        super().__init__(href | fields, fields["createdTime"])
        self.customer: Customer | None = None
        self.employee: Row | None = None
        self.order_type: Row | None = None
        self.service_charge: dict[str, Any] | None = None
        self.deleted: int | None = None
        self.lines: list[Line] = []
        self.discounts: list[Discount] = []
        self.payments: list[Payment] = []
        self.refunds: list[Refund] = []
        self.credits: list[Credit] = []

    def shown(self, clauses: list[Clause]) -> bool:
        if "state" not in self.fields:
            return False
        return self.deleted is None or any(clause.name == "deletedTime" for clause in clauses)

    def expansion(self, name: str, tree: Tree, view: View) -> bytes | None:
        if name == "lineItems":
            return elements(self.lines, view, tree) if self.lines else None
        if name == "customers":
            return None if self.customer is None else b'{"elements":[' + _linked(self.customer, view) + b"]}"
        if name in ("discounts", "payments", "refunds", "credits"):
            rows = getattr(self, name)
            return elements(rows, view, tree) if rows else None
        if name == "voids":
            rows = [row for row in self.payments if row.fields["result"] == "VOIDED"]
            return elements(rows, view, tree) if rows else None
        if name in ("employee", "orderType"):
            row = self.employee if name == "employee" else self.order_type
            return None if row is None else row.render(view)
        if name == "serviceCharge":
            return None if self.service_charge is None else dump(self.service_charge)
        return None

    # money

    def sums(self) -> "Sums":
        return Sums(self)

    @property
    def paid(self) -> int:
        return sum(row.fields["amount"] for row in self.payments if row.counts)

    @property
    def given_back(self) -> int:
        return sum(row.fields["amount"] - row.fields.get("tipAmount", 0) for row in self.refunds if row.counts)

    def settle(self, now_ms: int) -> None:
        """The payment state that follows from what was paid and given back, at the time of the change."""
        paid, back, total = self.paid, self.given_back, self.fields.get("total")
        state = "PAID"
        if self.credits:
            state = "CREDITED"
        elif not paid and total != 0:
            state = "OPEN"
        elif back:
            state = "REFUNDED" if back >= paid else "PARTIALLY_REFUNDED"
        elif total is not None and paid < total:
            state = "PARTIALLY_PAID"
        self.set(paymentState=state, modifiedTime=now_ms)


def _linked(customer: Customer, view: View) -> bytes:
    if customer.deleted is not None:
        return dump({"id": customer.id})
    return customer.render(view)


class Sums:
    """What an order comes to, in cents: `lines` after their own discounts, `net` after the order's, `tax`, `total`."""

    __slots__ = ("lines", "net", "service", "tax", "taxes", "total")

    def __init__(self, order: Order) -> None:
        self.lines = [line.net for line in order.lines]
        whole = sum(self.lines)
        self.net = _discounted(whole, order.discounts)
        charge = order.service_charge
        self.service = half_up(self.net * charge["percentageDecimal"], PERCENT) if charge else 0
        vat = order.fields["isVat"]
        rated: dict[str, tuple[Row, int]] = {}
        for line, net in zip(order.lines, self.lines, strict=True):
            for row in line.rates if not order.fields["taxRemoved"] else ():
                rated[row.id] = (row, rated.get(row.id, (row, 0))[1] + net)
        self.taxes: list[dict[str, Any]] = []
        self.tax = 0
        for row, base in rated.values():
            rate = row.fields["rate"]
            if not rate or not whole:
                continue
            amount = half_up(base * self.net * rate, whole * (WHOLE + rate if vat else WHOLE))
            self.tax += amount
            self.taxes.append(
                {
                    **{name: row.fields[name] for name in ("id", "name", "rate", "isDefault")},
                    "taxableAmount": half_up(base * self.net, whole),
                    "isVat": vat,
                    "taxAmount": amount,
                }
            )
        self.total = self.net + self.service + (0 if vat else self.tax)

    def shares(self, amount: int) -> list[int]:
        """An amount spread over the lines; the parts add up to it."""
        whole, run, done, parts = sum(self.lines), 0, 0, []
        for net in self.lines:
            run += net
            upto = amount * run // whole if whole else 0
            parts.append(upto - done)
            done = upto
        return parts


def _ref(row: Row | None) -> str | None:
    return None if row is None else row.id


Order.FILTERS = {
    "employee.id": Field("text", lambda row: _ref(row.employee)),
    "note": Field("text", lambda row: row.fields.get("note")),
    "modifiedTime": Field("int", lambda row: row.fields["modifiedTime"]),
    "orderType": Field("text", lambda row: _ref(row.order_type)),
    "touched": Field("bool", lambda row: None),
    "cardTransaction.last4": Field(
        "text", lambda row: tuple(one.card["last4"] for one in row.payments if one.card), many=True
    ),
    "manualTransaction": Field("bool", lambda row: row.fields["manualTransaction"]),
    "employee.name": Field("text", lambda row: row.employee and row.employee.fields["name"]),
    "title": Field("text", lambda row: row.fields.get("title")),
    "device.id": Field("text", lambda row: row.fields.get("device", {}).get("id")),
    "externalReferenceId": Field("text", lambda row: row.fields.get("externalReferenceId")),
    "clientCreatedTime": Field("int", lambda row: row.fields["clientCreatedTime"]),
    "total": Field("int", lambda row: row.fields.get("total")),
    "payType": Field("text", lambda row: row.fields.get("payType")),
    "testMode": Field("bool", lambda row: row.fields["testMode"]),
    "createdTime": Field("int", lambda row: row.created),
    "id": Field("text", lambda row: row.id),
    "state": Field("text", lambda row: row.fields.get("state")),
    "deletedTime": Field("int", lambda row: row.deleted),
}
Payment.FILTERS = {
    "modifiedTime": Field("int", lambda row: row.fields["modifiedTime"]),
    "device.id": Field("text", lambda row: row.fields.get("device", {}).get("id")),
    "externalReferenceId": Field("text", lambda row: row.fields.get("externalReferenceId")),
    "result": Field("text", lambda row: row.fields["result"]),
    "offline": Field("bool", lambda row: row.fields["offline"]),
    "createdTime": Field("int", lambda row: row.created),
    "externalPaymentId": Field("text", lambda row: row.fields.get("externalPaymentId")),
    "voided": Field("bool", lambda row: row.fields["result"] == "VOIDED"),
    "id": Field("text", lambda row: row.id),
    "tender.id": Field("text", lambda row: row.tender.id),
    "employee.id": Field("text", lambda row: _ref(row.employee)),
    "order.modifiedTime": Field("int", lambda row: row.order.fields["modifiedTime"]),
    "amount": Field("int", lambda row: row.fields["amount"]),
    "cardType": Field("text", lambda row: row.card and row.card["cardType"]),
    "clientCreatedTime": Field("int", lambda row: row.fields["clientCreatedTime"]),
}
Refund.FILTERS = {
    "id": Field("text", lambda row: row.id),
    "createdTime": Field("int", lambda row: row.created),
    "clientCreatedTime": Field("int", lambda row: row.fields["clientCreatedTime"]),
    "orderRef.id": Field("text", lambda row: row.payment.order.id),
    "payment.id": Field("text", lambda row: row.payment.id),
    "employee.id": Field("text", lambda row: _ref(row.employee)),
}
Credit.FILTERS = {name: Refund.FILTERS[name] for name in ("id", "createdTime", "clientCreatedTime")}
VoidedLine.FILTERS = {
    "reason": Field("text", lambda row: row.fields["reason"]),
    "orderId": Field("text", lambda row: row.line.order.id),
    "price": Field("int", lambda row: row.line.fields["price"]),
    "name": Field("text", lambda row: row.line.fields["name"]),
    "lineItemUuid": Field("text", lambda row: row.id),
    "id": Field("text", lambda row: row.id),
    "isRevenue": Field("bool", lambda row: row.line.fields["isRevenue"]),
    "printed": Field("bool", lambda row: row.line.fields["printed"]),
    "deletedTime": Field("int", lambda row: row.created),
}
