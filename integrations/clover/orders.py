"""Clover's orders to sale records, and what is given back of them to refund records.

An order is edited for ever: lines, discounts, payments, refunds. So its sale is what it is now. What was given back is
a record of its own that names the order, so that a refund means the same here as with every other POS: the sale keeps
what was paid for it, and the programme says what becomes of its points.
"""

import json
from datetime import datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal
from typing import Any

from ..kit.errors import BadRow
from ..kit.records import LineRecord, SaleRecord
from ..kit.streams import Context
from ..kit.values import flag, number, plausible, text
from .rows import elements, moment, money, obj, reference, row_id

MONEY = ("SUCCESS", "AUTH_COMPLETED")  # the results of a payment that count (reference 3.10)
_AHEAD = timedelta(days=2)
_FOUR_PLACES = Decimal("0.0001")
_PERCENT = 10_000  # `percentageDecimal` is percent x 10,000 (reference 2.4)


def split(row: Any) -> list[Any]:
    """An order as the rows that `sale` reads: itself, where it is a sale, and each thing given back.

    No sale is: what stands open and was never paid, and orders in test mode, which never move money (reference 3.7).
    """
    try:
        order = obj(row)
        payments = elements(order.get("payments"), "payments")
        found: list[Any] = []
        if order.get("testMode") is True:
            return []
        given = [("refund", one) for one in elements(order.get("refunds"), "refunds")]
        given += [("credit", one) for one in elements(order.get("credits"), "credits")]
        # A voided payment stays among the payments: that order was a sale, and is worth nothing now.
        closed = order.get("paymentState") not in (None, "OPEN") and not elements(order.get("credits"), "credits")
        if closed or any(one.get("result") in (*MONEY, "VOIDED") for one in payments):
            found.append(order)
        found += [{"id": one.get("id"), "kind": kind, "given": one, "order": order} for kind, one in given]
        return found
    except BadRow:
        return [row]  # it is refused with its reason, by whoever parses it


def sale(row: Any, context: Context) -> SaleRecord:
    """A row of `split`."""
    row = obj(row)
    return _given_back(row, context) if "given" in row else _sale(row, context)


def _sale(order: dict[str, Any], context: Context) -> SaleRecord:
    found = row_id(order)
    payments = [one for one in elements(order.get("payments"), "payments") if one.get("result") in MONEY]
    sold_at = _sold_at(order, payments, context.now)
    if order.get("deletedTimestamp") is not None:
        payments = []
    paid = sum(money(one.get("amount"), "amount") for one in payments)  # the tip is not in it (reference 3.10)
    tax = sum(money(one.get("taxAmount"), "taxAmount") for one in payments)
    # Nothing was paid and something was due: voided or deleted, so nothing was sold either.
    void = not payments and (order.get("paymentState") in (None, "OPEN") or order.get("deletedTimestamp") is not None)
    goods = [] if void else _Goods.of(order)
    before = sum(one.cents for one in goods)
    named = [] if void else discounts(order, before)
    _take_off(goods, sum(cents for _, cents in named))
    lines = _folded(goods, order)
    return SaleRecord(
        external_id=found,
        kind="sale",
        number=text(order.get("title"), 60),
        receipt=found,
        location_id=context.identity,
        customer_id=_buyer(order),
        employee_id=reference(order.get("employee")),
        employee_name=text(order.get("_employee"), 200),
        sold_at=sold_at,
        fulfilment=fulfilment(order),
        lines_cents=sum(line.total_cents for line in lines),
        discount_cents=sum(cents for _, cents in named),
        tax_cents=tax,
        total_cents=paid,
        net_cents=paid - tax,
        payments=_methods(order, payments),
        discounts=json.dumps([{"name": name, "cents": cents, "after_tax": False} for name, cents in named]),
        has_details=True,
        currency=text(order.get("currency"), 3).upper() or context.currency,
        lines=tuple(lines),
    )


def _given_back(row: dict[str, Any], context: Context) -> SaleRecord:
    """A refund of an order, or a credit: money back without a sale (reference 3.11, 3.12). Amounts come positive."""
    given, order = obj(row.get("given")), obj(row.get("order"))
    found = row_id(given)
    void = (
        flag(given.get("voided")) is True
        or given.get("status") in ("FAIL", "VOIDED", "PENDING")
        or given.get("deletedTime") is not None
        or order.get("deletedTimestamp") is not None
        or given.get("result") not in (None, *MONEY)
    )
    amount = 0 if void else money(given.get("amount"), "amount") - money(given.get("tipAmount"), "tipAmount")
    tax = 0 if void else money(given.get("taxAmount"), "taxAmount")
    is_refund = row.get("kind") == "refund"
    lines = _returned(given, order, amount - tax) if amount and is_refund else []
    at = moment(given.get("createdTime"), "createdTime")
    return SaleRecord(
        external_id=found,
        kind="refund",
        number=text(order.get("title"), 60),
        receipt=found,
        original_id=row_id(order) if is_refund else "",
        location_id=context.identity,
        customer_id=_buyer(order) or reference(given.get("customers")),
        employee_id=reference(given.get("employee")),
        employee_name=text(order.get("_employee"), 200)
        if reference(given.get("employee")) == reference(order.get("employee"))
        else "",
        sold_at=plausible(at, "createdTime", context.now + _AHEAD),
        fulfilment=fulfilment(order),
        lines_cents=tax - amount,
        tax_cents=-tax,
        total_cents=-amount,
        net_cents=tax - amount,
        has_details=True,
        currency=text(order.get("currency"), 3).upper() or context.currency,
        lines=tuple(lines),
    )


def _sold_at(order: dict[str, Any], payments: list[dict[str, Any]], now: datetime) -> datetime:
    """When it was paid first. An order may stand open for hours before, with a discount redeemed meanwhile."""
    times = [
        # taken offline, the server saw it later than the shop did
        moment(one.get("clientCreatedTime" if one.get("offline") is True else "createdTime"), "createdTime")
        for one in payments
    ]
    if not times:
        paid_once = any(one.get("result") == "VOIDED" for one in elements(order.get("payments"), "payments"))
        what = "createdTime" if paid_once or order.get("deletedTimestamp") is not None else "modifiedTime"
        times = [moment(order.get(what), what)]
    return plausible(min(times), "createdTime", now + _AHEAD)


def _buyer(order: dict[str, Any]) -> str:
    found = elements(order.get("customers"), "customers")
    return reference(found[0]) if found else ""


def _methods(order: dict[str, Any], payments: list[dict[str, Any]]) -> str:
    raw = order.get("_tenders")
    names = raw if type(raw) is dict else {}
    found = (text(names.get(reference(one.get("tender"))), 60) for one in payments)
    return ", ".join(dict.fromkeys(name for name in found if name))


_WORDS = (("deliver", "delivery"), ("pickup", "pickup"), ("pick up", "pickup"), ("pick-up", "pickup"),
          ("take-out", "pickup"), ("takeout", "pickup"), ("to go", "pickup"), ("curb", "pickup"),
          ("dine", "in_store"), ("in store", "in_store"), ("for here", "in_store"))  # fmt: skip


def fulfilment(order: dict[str, Any]) -> str:
    """The order has no such field; the merchant names order types as he likes (reference 3.19). None: in store."""
    said = order.get("_type")
    if said is None:
        return "" if reference(order.get("orderType")) else "in_store"
    label = text(said, 200).lower()
    return next((kind for word, kind in _WORDS if word in label), "")


# Lines and discounts


def half_up(amount: int, parts: int) -> int:
    """amount / parts in whole cents, halves up."""
    return (2 * amount + parts) // (2 * parts)


def discounts(owner: dict[str, Any], amount: int) -> list[tuple[str, int]]:
    """(name, cents) of each discount on an order or a line that comes to `amount`, positive, never more than there is.

    Percentages come off first, then amounts, each rounded half up (reference 3.7).
    """
    found = elements(owner.get("discounts"), "discounts")
    taken: dict[int, int] = {}
    for by_amount in (False, True):
        for place, one in enumerate(found):
            if (one.get("amount") is not None) is not by_amount:
                continue
            if by_amount:
                off = -money(one.get("amount"), "amount")  # zero or negative (reference 3.9)
            else:
                parts = one.get("percentageDecimal")
                share = number(parts, "percentageDecimal") if parts else number(one.get("percentage"), "percentage")
                off = half_up(amount * int(share if parts else share * _PERCENT), 100 * _PERCENT)
            taken[place] = max(0, min(off, amount))
            amount -= taken[place]
    return [(text(one.get("name"), 100) or "Discount", taken[place]) for place, one in enumerate(found)]


class _Goods:
    """One line of Clover's, which is one unit (reference 3.8): what it cost, and what was taken for it."""

    __slots__ = ("cents", "key", "list_cents", "quantity", "row")

    def __init__(self, row: dict[str, Any]) -> None:
        self.row = row
        extras = elements(row.get("modifications"), "modifications")
        units = row.get("unitQty")
        self.quantity = number(units, "unitQty") / 1000 if units is not None else Decimal(1)
        price = money(row.get("price"), "price")
        gross = int((price * self.quantity).quantize(Decimal(1), ROUND_HALF_UP))
        self.list_cents = gross + sum(money(one.get("amount"), "amount") for one in extras)
        off = discounts(row, self.list_cents)
        self.cents = self.list_cents - sum(cents for _, cents in off)
        self.key = (
            reference(row.get("item")), text(row.get("name"), 300), price, units,
            tuple((text(one.get("name"), 100), one.get("amount")) for one in extras), tuple(off),
        )  # fmt: skip

    @classmethod
    def of(cls, order: dict[str, Any]) -> "list[_Goods]":
        return [cls(row) for row in elements(order.get("lineItems"), "lineItems")]


def _take_off(goods: list[_Goods], cents: int) -> None:
    """Spread a discount of the whole order over its lines, in proportion; the parts add up to it."""
    whole, run, done = sum(one.cents for one in goods), 0, 0
    for one in goods:
        run += one.cents
        upto = cents * run // whole if whole else 0
        one.cents -= upto - done
        done = upto


def _folded(goods: list[_Goods], order: dict[str, Any], sign: int = 1) -> list[LineRecord]:
    """Lines with quantities: the same item at the same price with the same extras and discounts is one line."""
    together: dict[Any, list[_Goods]] = {}
    for one in goods:
        together.setdefault(one.key, []).append(one)
    raw = order.get("_items")
    known = raw if type(raw) is dict else {}
    lines = []
    for place, same in enumerate(together.values(), 1):
        row = same[0].row
        item = reference(row.get("item"))
        sku, category, cost = known.get(item, ("", "", None))
        quantity = sum((one.quantity for one in same), Decimal(0))
        total, listing = sum(one.cents for one in same), sum(one.list_cents for one in same)
        each = quantity or Decimal(1)
        lines.append(
            LineRecord(
                number=place,
                product_id=item,
                sku=text(sku, 100) or text(row.get("itemCode"), 100),
                name=text(row.get("name"), 300),
                category=text(category, 200),
                quantity=sign * quantity,
                unit=text(row.get("unitName"), 10) if row.get("unitQty") is not None else "",
                list_price=(Decimal(listing) / 100 / each).quantize(_FOUR_PLACES, ROUND_HALF_UP),
                unit_price=(Decimal(total) / 100 / each).quantize(_FOUR_PLACES, ROUND_HALF_UP),
                total_cents=sign * total,
                discount_cents=sign * (listing - total),
                cost_cents=None if cost is None else sign * int((cost * quantity).quantize(Decimal(1), ROUND_HALF_UP)),
            )
        )
    return lines


def _returned(given: dict[str, Any], order: dict[str, Any], net: int) -> list[LineRecord]:
    """The lines that came back, with what was taken for them, negative. None: only money was given back.

    A refund names its lines where it is asked for them; of an order with a single refund they are those marked so.
    """
    named = {reference(one) for one in elements(given.get("lineItems"), "lineItems")}
    goods = _Goods.of(order)
    before = sum(one.cents for one in goods)
    _take_off(goods, sum(cents for _, cents in discounts(order, before)))
    if not named and len(elements(order.get("refunds"), "refunds")) == 1:
        named = {text(one.row.get("id"), 40) for one in goods if one.row.get("refunded") is True}
    back = [one for one in goods if text(one.row.get("id"), 40) in named]
    # Lines are no more than was given for them: a part of the price back leaves the goods with the customer.
    return _folded(back, order, -1) if back and sum(one.cents for one in back) <= net + len(back) + 1 else []
