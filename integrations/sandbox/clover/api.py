"""The routes: what each path answers. See the modules of the rows for what is known of them.

Known: paths and permissions as the reference's table lists them [S14, S24, S28, S29]; the server adds `state IS NOT
NULL` to a list of orders that is not filtered by state, writes it without the space before IS, and says so in `href`
[I-rec S23]; hidden orders can be had by id only [D S15]; DELETE is 200 [I-rec S25]. Inferred [I]: DELETE answers `{}`;
exports are 401 for a dashboard token; a deleted order is 404 by id; the columns of the CSV; writing stock is not
offered here (405), the product does not need it.
"""

import csv
import io
from collections.abc import Callable
from typing import Any

from integrations.sandbox.clover.customers import CONTACTS, Customer, Part, Values, Writing, change, find, part
from integrations.sandbox.clover.errors import FRAME, Fail, invalid_id, not_found
from integrations.sandbox.clover.inventory import Category, Item, Tag
from integrations.sandbox.clover.orders import Discount, Line, Order, Payment
from integrations.sandbox.clover.query import Clause
from integrations.sandbox.clover.routes import Call, Handler, Router
from integrations.sandbox.clover.rows import PLAIN, Row, Store, listing, one, page, plain, sublist
from integrations.sandbox.wire import Response

STATE = "stateIS NOT NULL"


class Api:
    """All handlers; `writing` and `withdrawn` hold the switches of the seed."""

    def __init__(self) -> None:
        self.writing = Writing(None, nested_updates=False, marketing_honoured=False)
        self.withdrawn = False
        self.router = Router()
        self._merchant()
        self._customers()
        self._orders()
        self._inventory()

    def _merchant(self) -> None:
        add = self.router.add
        add("GET", "", lambda call: one(call.merchant.record, call.query, call.view), "MERCHANT_R")
        add("GET", "/properties", lambda call: one(call.merchant.properties, call.query, call.view), "MERCHANT_R")
        add("GET", "/address", lambda call: one(call.merchant.address, call.query, call.view), "MERCHANT_R")
        add("GET", "/default_service_charge", lambda call: plain(call.merchant.service_charge), "MERCHANT_R")
        self._both("tenders", "MERCHANT_R", "Tender")
        self._both("order_types", "MERCHANT_R", "Order type")
        add("GET", "/system_order_types", _list("system_types"), "MERCHANT_R")
        self._both("employees", "EMPLOYEES_R", "Employee")
        for path in ("/exports", "/exports/{}"):
            add("GET", path, None, "")
            add("POST", path, None, "")

    def _both(self, path: str, permission: str, word: str | None) -> None:
        """A list and its single objects; without a word a missing one is an inventory's `invalid ID`."""
        self.router.add("GET", f"/{path}", _list(path), permission)
        self.router.add("GET", f"/{path}/{{}}", _one(path, word), permission)

    def _customers(self) -> None:
        add = self.router.add
        add("GET", "/customers", self._list_customers, "CUSTOMERS_R")
        add("POST", "/customers", self._create, "CUSTOMERS_W")
        add("GET", "/customers/{}", lambda call: one(_customer(call), call.query, call.view), "CUSTOMERS_R")
        add("POST", "/customers/{}", self._update, "CUSTOMERS_W")
        add("DELETE", "/customers/{}", self._delete, "CUSTOMERS_W")
        add("GET", "/customers.csv", _csv, "CUSTOMERS_R")
        add("POST", "/customers/{}/metadata", self._metadata, "CUSTOMERS_W")
        for path, kind in CONTACTS.items():
            add("POST", f"/customers/{{}}/{path}", self._add_contact(kind), "CUSTOMERS_W")
            add("POST", f"/customers/{{}}/{path}/{{}}", self._change_contact(kind), "CUSTOMERS_W")
            add("DELETE", f"/customers/{{}}/{path}/{{}}", self._remove_contact(kind), "CUSTOMERS_W")

    def _orders(self) -> None:
        add = self.router.add
        add("GET", "/orders", self._list_orders, "ORDERS_R")
        add("GET", "/orders/{}", lambda call: one(_order(call), call.query, call.view), "ORDERS_R")
        add("GET", "/orders/{}/line_items", _of_order("lines", Line), "ORDERS_R")
        add("GET", "/orders/{}/line_items/{}", _line, "ORDERS_R")
        add("GET", "/orders/{}/discounts", _of_order("discounts", Discount), "ORDERS_R")
        add("GET", "/orders/{}/payments", _of_order("payments", Payment), "PAYMENTS_R")
        add("", "/orders/{}/voided_line_items", None, "ORDERS_R")
        add("GET", "/voided_line_items", _list("voided_lines"), "ORDERS_R")
        self._both("payments", "PAYMENTS_R", "Payment")
        self._both("refunds", "PAYMENTS_R", "Refund")
        self._both("credits", "PAYMENTS_R", "Credit")
        self._both("credit_refunds", "PAYMENTS_R", "Credit refund")

    def _inventory(self) -> None:
        add = self.router.add
        self._both("items", "INVENTORY_R", None)
        add("GET", "/items/{}/tags", _tags, "INVENTORY_R")
        add("GET", "/item_stocks", _stocks, "INVENTORY_R")
        add("GET", "/item_stocks/{}", _stock, "INVENTORY_R")
        self._both("categories", "INVENTORY_R", None)
        add("GET", "/categories/{}/items", _category_items, "INVENTORY_R")
        add("GET", "/tags", _list("tags"), "INVENTORY_R")
        add("GET", "/tax_rates", _list("rates"), "INVENTORY_R")
        add("GET", "/discounts", _list("presets"), "INVENTORY_R")

    # customers

    def _list_customers(self, call: Call) -> Response:
        return listing(call.merchant.customers, call.query, call.view, call.frame)

    def _create(self, call: Call) -> Response:
        customer = self.writing.create(call.merchant.id, call.body(), call.now_ms)
        call.merchant.customers.add(customer)
        return one(customer, call.query, call.view)

    def _update(self, call: Call) -> Response:
        customer = _customer(call)
        self.writing.update(customer, call.body(), call.now_ms)
        return one(customer, call.query, call.view)

    def _delete(self, call: Call) -> Response:
        customer = _customer(call)
        customer.deleted = call.now_ms
        customer.touched(call.now_ms)
        return plain({})

    def _metadata(self, call: Call) -> Response:
        customer = _customer(call)
        customer.merge_metadata(Values(call.body()).metadata(), call.now_ms)
        customer.touched(call.now_ms)
        return plain(customer.shown_metadata(call.view))

    def _add_contact(self, kind: str) -> Handler:
        def handler(call: Call) -> Response:
            customer = _customer(call)
            found = Values(call.body()).contact(kind)
            row = part(kind, self.writing.new_id(), customer, found)
            customer.touched(call.now_ms)
            return _contact(row, call)

        return handler

    def _change_contact(self, kind: str) -> Handler:
        def handler(call: Call) -> Response:
            customer = _customer(call)
            row = find(customer, kind, call.ids[2])
            change(customer, kind, row, Values(call.body()).contact(kind, partial=True))
            customer.touched(call.now_ms)
            return _contact(row, call)

        return handler

    def _remove_contact(self, kind: str) -> Handler:
        def handler(call: Call) -> Response:
            customer = _customer(call)
            getattr(customer, kind).remove(find(customer, kind, call.ids[2]))
            customer.touched(call.now_ms)
            return plain({})

        return handler

    # orders

    def _list_orders(self, call: Call) -> Response:
        query = call.query
        if self.withdrawn:  # the notice of 2017 took these from lists [D S21]
            query.expand = [name for name in query.expand if name.partition(".")[0] not in ("customers", "employee")]
        clauses = query.clauses(Order.FILTERS)
        added = [] if any(clause.name == "state" for clause in clauses) else [STATE]
        return listing(call.merchant.orders, query, call.view, call.frame, added=added)


def _list(store: str) -> Handler:
    return lambda call: listing(getattr(call.merchant, store), call.query, call.view, call.frame)


def _one(store: str, word: str | None) -> Handler:
    def handler(call: Call) -> Response:
        return one(_row(getattr(call.merchant, store), call.ids[1], word), call.query, call.view)

    return handler


def _row(store: Store, identity: str, word: str | None) -> Row:
    row = store.by_id.get(identity)
    if row is None or getattr(row, "gone", False):
        raise invalid_id() if word is None else not_found(word)
    return row


def _customer(call: Call) -> Customer:
    customer = call.merchant.customers.by_id.get(call.ids[1])
    if not isinstance(customer, Customer) or customer.deleted is not None:
        raise not_found("Customer")
    return customer


def _contact(row: Part, call: Call) -> Response:
    return Response(200, row.render(call.view, PLAIN), headers=[FRAME])


def _order(call: Call) -> Order:
    order = call.merchant.orders.by_id.get(call.ids[1])
    if not isinstance(order, Order) or order.deleted is not None:
        raise not_found("Order")
    return order


def _of_order(name: str, kind: type[Row]) -> Handler:
    return lambda call: sublist(getattr(_order(call), name), kind, call.query, call.view, call.frame)


def _line(call: Call) -> Response:
    for line in _order(call).lines:
        if line.id == call.ids[2]:
            return one(line, call.query, call.view)
    raise not_found("Line item")


def _item(call: Call) -> Item:
    row = _row(call.merchant.items, call.ids[1], None)
    if not isinstance(row, Item):
        raise invalid_id()
    return row


def _tags(call: Call) -> Response:
    return sublist(list(_item(call).tags), Tag, call.query, call.view, call.frame)


def _stock(call: Call) -> Response:
    return plain(_item(call).stock())


def _stocks(call: Call) -> Response:
    """All levels, newest item first; the list takes no filter."""
    call.query.clauses({})
    rows: list[Any] = [row for row in reversed(call.merchant.items.rows) if row.shown([])]
    offset, limit = call.query.offset(), call.query.limit()
    shown = [plain(row.stock()).body for row in rows[offset : offset + limit]]
    return page(shown, call.query, call.frame, [], Row)


def _category_items(call: Call) -> Response:
    row = _row(call.merchant.categories, call.ids[1], None)
    items: list[Row] = [item for item in row.items if not item.gone] if isinstance(row, Category) else []
    return sublist(items, Item, call.query, call.view, call.frame)


_COLUMNS: tuple[tuple[str, Callable[[Customer], Any]], ...] = (
    ("Customer ID", lambda row: row.id),
    ("First Name", lambda row: row.fields.get("firstName", "")),
    ("Last Name", lambda row: row.fields.get("lastName", "")),
    ("Email Addresses", lambda row: "; ".join(one.fields["emailAddress"] for one in row.emails)),
    ("Phone Numbers", lambda row: "; ".join(one.fields["phoneNumber"] for one in row.phones)),
    ("Marketing Allowed", lambda row: str(row.fields["marketingAllowed"]).lower()),
    ("Customer Since", lambda row: row.fields["customerSince"]),
)


def _csv(call: Call) -> Response:
    if call.view.european:
        raise Fail(401, "401 Unauthorized")
    clauses: list[Clause] = call.query.clauses(Customer.FILTERS)
    rows: list[Any] = call.merchant.customers.select(clauses, ())
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(name for name, _ in _COLUMNS)
    writer.writerows([read(row) for _, read in _COLUMNS] for row in rows)
    return Response(200, text.getvalue().encode(), "text/csv; charset=utf-8", [FRAME])
