"""What is read from Clover, and from where (reference, sections 1 and 3)."""

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from ..kit.errors import BadRow, NotFound
from ..kit.pages import iso, rows_in
from ..kit.records import CustomerRecord, LocationRecord, ProductRecord, SaleRecord, StockRecord, TermRecord
from ..kit.slices import ChangedSlices, Pairs, ms
from ..kit.streams import Context, Page, Stream
from ..kit.whole import WholeList
from . import mapping, orders
from .names import Names, names_of
from .rows import elements, reference

if TYPE_CHECKING:
    from ..kit.client import Client

NESTED = 100  # a nested list holds no more and cannot be paged (reference 2.6)
_PROBES = 20
_ALL_OF_FIRST = 200  # orders of a merchant: lists that show no customer until then are those of a shop that names none
_IDS = 50  # of at most about 100 that a filter should name (reference 2.7)
# What a merchant's record and properties are read for. Bank numbers stand beside them: nothing else is kept in hand.
_PROPERTIES = ("timezone", "defaultCurrency", "supportPhone", "trackStock", "updateStock", "vat")
_MERCHANT = ("id", "name", "address")
BASE = "/v3/merchants/{identity}"


def merchant(client: "Client", identity: str) -> dict[str, Any]:
    """The merchant's record with address and properties beside it, without what nobody needs."""
    base = BASE.format(identity=quote(identity, safe=""))
    record = client.get_json(base, [("expand", "address")], service="merchant")
    properties = client.get_json(f"{base}/properties", service="merchant")
    record, properties = (one if isinstance(one, dict) else {} for one in (record, properties))
    found = {name: record[name] for name in _MERCHANT if name in record}
    return found | {"properties": {name: properties[name] for name in _PROPERTIES if name in properties}}


class _OneMerchant:
    """The merchant alone, as a list of one."""

    def walk(self, client: "Client", stream: type[Stream], context: Context, cursor: dict[str, Any]) -> Iterator[Page]:
        yield Page([merchant(client, context.identity)], {"at": iso(context.now)}, 1, 1)


class _Clover(Stream):
    @staticmethod
    def row_id(row: Any) -> str:
        found = row.get("id") if isinstance(row, dict) else None
        return str(found) if found is not None else ""


class Locations(_Clover):
    name, title, record, service = "locations", "Merchant", LocationRecord, "merchant"
    path = BASE
    if_empty = "Compare the Merchant ID with the one in Clover's dashboard."
    pages = _OneMerchant()
    interval_s = 3600
    parse = staticmethod(mapping.location)


class Customers(_Clover):
    name, title, record, service = "customers", "Customers", CustomerRecord, "customers"
    path = BASE + "/customers"
    if_empty = (
        "If Clover shows customers, the token may not read them: make a new one with every Read box ticked, and "
        "compare the Merchant ID."
    )
    # Clover tells no time of change that could be asked for (reference 3.4): new ones by `customerSince`, edits by
    # walking the list again.
    pages = WholeList(
        params=[("expand", "emailAddresses,phoneNumbers,addresses,metadata")], order="customerSince", top=500
    )
    parse = staticmethod(mapping.customer)


class Sales(_Clover):
    name, title, record, service = "sales", "Sales", SaleRecord, "orders"
    path = BASE + "/orders"
    if_empty = (
        "If Clover shows orders of the last year, the token may not read them: make a new one with every Read box "
        "ticked, and compare the Merchant ID."
    )
    history = True
    after = ("locations", "customers")
    pages = ChangedSlices(
        "modifiedTime",
        params=[
            ("expand", "lineItems,lineItems.discounts,lineItems.modifications"),
            ("expand", "discounts,payments,refunds,refunds.lineItems,credits,customers"),
        ],
        top=100,
        deleted="deletedTime",
    )
    parse = staticmethod(orders.sale)

    @classmethod
    def prepare(cls, client: "Client", context: Context) -> Names:
        skipped = bool(context.settings.get("skip_payment_method"))
        return names_of(client, context.identity, tenders=not skipped, words=context.words)

    @classmethod
    def complete(cls, client: "Client", context: Context, rows: list[Any], about: Names) -> list[Any]:
        for order in rows:
            _whole_lists(client, context, order)
        _whose(client, context, rows, about)
        about.put_on(client, rows)
        return [one for order in rows for one in orders.split(order)]

    @classmethod
    def missed(cls, client: "Client", context: Context, since: datetime, about: Names) -> list[Any]:
        """The orders of recent refunds: whether a refund moves its order's time is not documented (reference 3.7)."""
        asked: Pairs = [("filter", f"createdTime>={ms(since)}"), ("filter", f"createdTime<={ms(context.now)}")]
        path = BASE.format(identity=context.identity) + "/refunds"
        refunds = _all(client, path, asked, "payments")
        ids = sorted({reference(one.get("orderRef")) for one in refunds if isinstance(one, dict)} - {""})
        found: list[Any] = []
        for start in range(0, len(ids), _IDS):
            named = ",".join(f"'{one}'" for one in ids[start : start + _IDS])
            more: Pairs = [("filter", f"id in ({named})"), *cls.pages.params]
            found += _all(client, cls.path.format(identity=context.identity), more, cls.service)
        return cls.complete(client, context, found, about) if found else []


def _all(client: "Client", path: str, asked: Pairs, service: str) -> list[Any]:
    found: list[Any] = []
    for _ in range(1000):
        rows = rows_in(
            client.get_json(path, [*asked, ("limit", NESTED), ("offset", len(found))], service=service), path
        )
        found += rows
        if len(rows) < NESTED:
            break
    return found


def _whole_lists(client: "Client", context: Context, order: Any) -> None:
    """Fetch the rest of what was cut at 100."""
    if not isinstance(order, dict):
        return
    base = f"{BASE.format(identity=context.identity)}/orders/{quote(str(order.get('id')), safe='')}"
    for name, path, service, expand in (
        ("lineItems", "line_items", "orders", "discounts,modifications"),
        ("discounts", "discounts", "orders", ""),
        ("payments", "payments", "payments", ""),
    ):
        try:
            if len(elements(order.get(name), name)) < NESTED:
                continue
            more: Pairs = [("expand", expand)] if expand else []
            rows = _all(client, f"{base}/{path}", more, service)
        except (BadRow, NotFound):
            continue  # garbled: its parse refuses it; gone meanwhile: what was told before stands
        # newest first there, oldest first here (recorded, reference 3.8)
        order[name] = {"elements": list({_Clover.row_id(one) or id(one): one for one in reversed(rows)}.values())}


def _whose(client: "Client", context: Context, rows: list[Any], about: Names) -> None:
    """Customers of orders whose list leaves them out, one by one.

    A notice of 2017 withdrew this expansion from lists, the present reference names it again (2.6). As long as no list
    has shown a customer, orders are asked for singly: all of the first `_ALL_OF_FIRST`, some of each page afterwards (a
    shop may never name a customer). When one of them has one, all are. Other lanes learn it as well, at any moment.
    """
    orders_here = [one for one in rows if isinstance(one, dict)]
    if any(_expanded(one.get("customers")) for one in orders_here):
        about.lists_customers = True
    if about.lists_customers or not orders_here:
        return
    asked = 0
    while asked < len(orders_here) and about.lists_customers is not True:
        if about.lists_customers is None and asked >= _PROBES and about.orders_probed >= _ALL_OF_FIRST:
            break
        found = _buyers(client, context, orders_here[asked : asked + _PROBES])
        asked += _PROBES
        about.orders_probed += _PROBES
        if found and about.lists_customers is None:
            about.lists_customers = False


def _buyers(client: "Client", context: Context, some: list[dict[str, Any]]) -> bool:
    found = False
    for order in some:
        path = f"{BASE.format(identity=context.identity)}/orders/{quote(str(order.get('id')), safe='')}"
        try:
            whole = client.get_json(path, [("expand", "customers")], service="orders")
        except NotFound:
            continue
        if isinstance(whole, dict) and _expanded(whole.get("customers")) and _any(whole["customers"]):
            order["customers"] = whole["customers"]
            found = True
    return found


def _expanded(customers: Any) -> bool:
    """Whether this is the list itself: what was not expanded is absent, or a bare link (reference 2.5)."""
    return isinstance(customers, list) or (isinstance(customers, dict) and "elements" in customers)


def _any(customers: Any) -> bool:
    try:
        return bool(elements(customers, "customers"))
    except BadRow:
        return True  # its parse refuses it


class Products(_Clover):
    name, title, record, service = "products", "Items", ProductRecord, "inventory"
    path = BASE + "/items"
    if_empty = "Items are made in Clover under Inventory; without them sales have lines without a category."
    # Deleted items leave the list and can be asked for (reference 3.13, inferred).
    pages = WholeList(params=[("expand", "categories")], top=500, also=[("filter", "deleted=true")])
    interval_s = 300
    parse = staticmethod(mapping.product)


class Stock(_Clover):
    name, title, record, service = "stock", "Stock", StockRecord, "inventory"
    path = BASE + "/item_stocks"
    if_empty = (
        "Turn on “Track stock” in Clover (Inventory, Setup) and count an item: without it Clover keeps no levels, "
        "and no stock comes in."
    )
    # A level has no id that could be asked for; a change of stock does not move its item's time (reference 3.13).
    pages = WholeList(top=500, every=timedelta(seconds=20), cost_s=1.5)
    after = ("locations", "products")
    parse = staticmethod(mapping.stock)

    @staticmethod
    def row_id(row: Any) -> str:
        return reference(row.get("item")) if isinstance(row, dict) else ""

    @classmethod
    def complete(cls, client: "Client", context: Context, rows: list[Any], about: Any) -> list[Any]:
        """Levels that were counted. An item that never was shows no quantity (reference 3.14): unknown, not none."""
        if not about:
            return []
        return [row for row in rows if not isinstance(row, dict) or "quantity" in row]

    @classmethod
    def prepare(cls, client: "Client", context: Context) -> bool:
        """Whether Clover tracks stock; it keeps old levels in the list while it does not."""
        base = BASE.format(identity=context.identity)
        found = client.get_json(f"{base}/properties", service="merchant")
        return not isinstance(found, dict) or found.get("trackStock") is not False


class _Terms(_Clover):
    record = TermRecord
    kind = ""
    interval_s = 3600
    pages = WholeList(top=500)


class Categories(_Terms):
    name, title, service, path = "categories", "Categories", "inventory", BASE + "/categories"
    pages = WholeList(top=500, also=[("filter", "deleted=true")])
    parse = staticmethod(mapping.category)


class Employees(_Terms):
    name, title, service, path = "employees", "Employees", "employees", BASE + "/employees"
    parse = staticmethod(mapping.employee)


class _UnlessSkipped(WholeList):
    """Not asked for while the merchant has payment methods skipped; what is known of them stays."""

    def walk(self, client: "Client", stream: type[Stream], context: Context, cursor: dict[str, Any]) -> Iterator[Page]:
        if context.settings.get("skip_payment_method"):
            client.spare()
        else:
            yield from super().walk(client, stream, context, cursor)


class Tenders(_Terms):
    name, title, service, path = "tenders", "Tenders", "merchant", BASE + "/tenders"
    pages = _UnlessSkipped(top=500)
    parse = staticmethod(mapping.tender)


class OrderTypes(_Terms):
    name, title, service, path = "order_types", "Order types", "merchant", BASE + "/order_types"
    parse = staticmethod(mapping.order_type)
