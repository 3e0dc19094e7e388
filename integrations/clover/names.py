"""What orders refer to by id only: the names of employees, tenders and order types, the goods' codes and categories.

Kept in the process by merchant, and read again after ten minutes; an id that is not known there has them read again at
once, at most once a minute. Clover's lists leave out what was deleted (reference 3.13, 3.17), and orders of before name
it for ever: a word once known stays, and a process that begins learns from our own rows what was known before it.
"""

import threading
import time
from collections import OrderedDict
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from ..kit.errors import BadRow
from ..kit.pages import rows_in
from ..kit.values import number, text
from .mapping import first_category, tender_name
from .rows import elements, reference

if TYPE_CHECKING:
    from ..kit.client import Client
    from ..kit.streams import Words

GOOD_FOR_S, AT_MOST_EVERY_S = 600.0, 60.0
_KEPT = 200
_known: "OrderedDict[tuple[str, str, bool], Names]" = OrderedDict()
_lock = threading.Lock()


class Names:
    """The words of one merchant. Safe to use from several lanes."""

    def __init__(self, identity: str, *, tenders: bool) -> None:
        self.identity = identity
        self.with_tenders = tenders
        self.employees: dict[str, str] = {}
        self.tenders: dict[str, str] = {}
        self.types: dict[str, str] = {}
        self.items: dict[str, tuple[str, str, Decimal | None]] = {}
        self.lists_customers: bool | None = None  # whether a list of orders shows its customers; None: unknown yet
        self.orders_probed = 0  # how many orders were asked for singly to learn it, about
        self.learnt = False  # from our own rows
        self.read_at = float("-inf")
        self._reading = threading.Lock()

    def learn(self, words: "Words") -> None:
        """What was known before this process. The vendor's lists have the last word of whatever stands in them."""
        self.employees = words.terms("employee") | self.employees
        if self.with_tenders:
            self.tenders = words.terms("tender") | self.tenders
        self.types = words.terms("order_type") | self.types
        goods = {
            one: (sku, category, None if cost is None else Decimal(cost))
            for one, (sku, category, cost) in words.goods().items()
        }
        self.items = goods | self.items

    def read(self, client: "Client", *, older_than_s: float) -> None:
        """Read everything again if what is known is older."""
        with self._reading:
            if time.monotonic() - self.read_at < older_than_s:
                return
            # Whole new ones take the old one's place, for other lanes read them meanwhile.
            self.employees = self.employees | {
                reference(one): text(one.get("name"), 200) for one in self._all(client, "employees", "employees")
            }
            if self.with_tenders:
                self.tenders = self.tenders | {
                    reference(one): tender_name(one) for one in self._all(client, "tenders", "merchant")
                }
            else:
                client.spare()
            self.types = self.types | {
                reference(one): f"{text(one.get('label'), 100)} {text(one.get('systemOrderTypeId'), 60)}".strip()
                for one in self._all(client, "order_types", "merchant")
            }
            items = dict(self.items)
            for one in self._all(client, "items", "inventory", ("expand", "categories")):
                try:
                    cost = None if one.get("cost") is None else number(one["cost"], "cost")
                    sku = text(one.get("sku"), 100) or text(one.get("code"), 100)
                    items[reference(one)] = (sku, first_category(one), cost)
                except BadRow:
                    continue  # its own stream refuses it, with the reason
            self.items = items
            self.read_at = time.monotonic()

    def _all(self, client: "Client", what: str, service: str, *more: tuple[str, str]) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        for _ in range(1000):
            asked = [*more, ("limit", 1000), ("offset", len(found))]
            rows = rows_in(client.get_json(f"/v3/merchants/{self.identity}/{what}", asked, service=service), what)
            found += [row for row in rows if isinstance(row, dict)]
            if len(rows) < 1000:
                break
        return found

    def put_on(self, client: "Client", orders: list[Any]) -> None:
        """Write the names beside the ids, on orders as they came."""
        if any(self._is_strange(order) for order in orders):
            self.read(client, older_than_s=AT_MOST_EVERY_S)
        for order in orders:
            if not isinstance(order, dict):
                continue
            order["_employee"] = self.employees.get(reference(order.get("employee")), "")
            kind = reference(order.get("orderType"))
            if kind:
                order["_type"] = self.types.get(kind, "")
            used = self._used(order)
            order["_tenders"] = {one: self.tenders[one] for one in used[0] if one in self.tenders}
            order["_items"] = {one: self.items[one] for one in used[1] if one in self.items}

    def _is_strange(self, order: Any) -> bool:
        if not isinstance(order, dict):
            return False
        who, kind = reference(order.get("employee")), reference(order.get("orderType"))
        tenders = self._used(order)[0] if self.with_tenders else set()
        return bool(
            (who and who not in self.employees) or (kind and kind not in self.types) or tenders - {*self.tenders}
        )

    def _used(self, order: dict[str, Any]) -> tuple[set[str], set[str]]:
        try:
            tenders = {reference(one.get("tender")) for one in elements(order.get("payments"), "payments")}
            items = {reference(one.get("item")) for one in elements(order.get("lineItems"), "lineItems")}
        except BadRow:
            return set(), set()
        return tenders - {""}, items - {""}


def names_of(client: "Client", identity: str, *, tenders: bool, words: "Words | None" = None) -> Names:
    """The merchant's, read if they are not or no longer known. `tenders` False: payment methods are left out."""
    key = (client.base_url, identity, tenders)
    with _lock:
        found = _known.setdefault(key, Names(identity, tenders=tenders))
        _known.move_to_end(key)
        while len(_known) > _KEPT:
            _known.popitem(last=False)
    if words is not None and not found.learnt:
        found.learn(words)
        found.learnt = True
    found.read(client, older_than_s=GOOD_FOR_S)
    return found


def forget() -> None:
    """Know nothing: for tests, whose merchants change under the same address."""
    with _lock:
        _known.clear()
