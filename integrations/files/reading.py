"""Rows of a file to neutral records. Pure: cells in, records out, `BadRow` when they cannot be one."""

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal
from typing import Any
from zoneinfo import ZoneInfo

from ..kit import phones, values
from ..kit.errors import BadRow
from ..kit.records import (
    ContactRecord,
    CustomerRecord,
    LineRecord,
    LocationRecord,
    ProductRecord,
    SaleRecord,
    StockRecord,
    stock_id,
)
from . import cells
from .columns import CONTACTS, CUSTOMERS, IGNORE, INVENTORY, SALES, Kind
from .tables import Row

# Which fields of a record a column tells, where the two are not called the same.
_TELLS = {
    "name": ("first_name", "last_name"), "phone": ("phone", "phone_raw"), "mobile_phone": ("phone", "phone_raw"),
    "home_phone": ("phone", "phone_raw"), "email": ("email", "email_raw"), "product": ("name",),
    "price": ("price_cents",), "cost": ("cost_cents",), "quantity": ("tracks_stock",),
}  # fmt: skip
_FULFILMENT = {"delivery": "delivery", "pickup": "pickup", "instore": "in_store", "walkin": "in_store",
               "retail": "in_store", "curbside": "pickup", "online": "pickup"}  # fmt: skip
MOST_LINES = 500


@dataclass
class Found:
    """What one or several rows were understood as."""

    rows: list[Row]
    external_id: str = ""
    problem: str = ""
    customers: list[CustomerRecord] = field(default_factory=list)
    sales: list[SaleRecord] = field(default_factory=list)
    locations: list[LocationRecord] = field(default_factory=list)
    products: list[ProductRecord] = field(default_factory=list)
    stock: list[StockRecord] = field(default_factory=list)
    contacts: list[ContactRecord] = field(default_factory=list)


@dataclass(frozen=True)
class Reading:
    """How the rows of one file are understood."""

    kind: Kind
    header: tuple[str, ...]
    mapping: Mapping[str, str]  # header -> meaning
    order: str  # of day and month
    zone: ZoneInfo
    region: str
    currency: str
    now: datetime

    @property
    def tells(self) -> frozenset[str]:
        """Fields of customers and products that this file has a column for. Of the others it says nothing at all."""
        used = {name for one in self.header if (name := self.mapping.get(one, IGNORE)) != IGNORE}
        return frozenset(field for name in used for field in _TELLS.get(name, (name,)))

    def cells(self, row: Row) -> dict[str, str]:
        """Meaning -> text. A row longer than the header has shifted, so it is no row."""
        if row.problem:
            raise BadRow(row.problem)
        if len(row.cells) > len(self.header) and any(cell for cell in row.cells[len(self.header) :]):
            raise BadRow("This row has more cells than there are columns: a separator stands in a text.")
        return {
            name: values.text(cell, 10_000)
            for one, cell in zip(self.header, row.cells, strict=False)
            if (name := self.mapping.get(one, IGNORE)) != IGNORE
        }

    def found(self, rows: Iterable[Row]) -> Iterator[Found]:
        """Blank rows are nothing. Rows of one sale that follow each other are one."""
        if self.kind is SALES:
            yield from self._sales(rows)
            return
        reads = {CUSTOMERS.name: self._customer, INVENTORY.name: self._item, CONTACTS.name: self._contact}
        for row in rows:
            if not row.problem and not any(row.cells):
                continue
            made = Found([row])
            try:
                reads[self.kind.name](made, self.cells(row))
            except BadRow as bad:
                made = Found([row], bad.external_id or made.external_id, bad.reason)
            yield made

    # Customers

    def _customer(self, made: Found, said: dict[str, str]) -> None:
        person = self.person(said)
        made.external_id = cells.digits(said.get("external_id", ""))[:100] or _own_id(person)
        if not made.external_id:
            raise BadRow("Nothing tells who this is: no id, no phone, no e-mail, no name.")
        made.customers.append(person._replace(external_id=made.external_id))

    def person(self, said: Mapping[str, str]) -> CustomerRecord:
        first, last = said.get("first_name", ""), said.get("last_name", "")
        if not first and not last:
            first, last = _split(said.get("name", ""))
        raw_phone, raw_email = cells.digits(said.get("phone", "")), said.get("email", "")
        kind = said.get("customer_type", "").lower()
        return CustomerRecord(
            external_id="", first_name=first, last_name=last,
            phone=phones.e164(raw_phone, self.region), phone_raw=raw_phone,
            email=phones.email(raw_email), email_raw=raw_email,
            birth_date=self._birth(said.get("birth_date", "")),
            street=said.get("street", ""), city=said.get("city", ""), state=said.get("state", "")[:20],
            postal_code=said.get("postal_code", ""), country=said.get("country", "")[:2].upper(),
            do_not_contact=cells.flag(said["do_not_contact"]) if said.get("do_not_contact") else None,
            customer_type="medical" if kind.startswith("med") else "recreational" if kind.startswith("rec") else "",
            government_id=said.get("government_id", ""), medical_id=said.get("medical_id", ""),
        )  # fmt: skip

    def _birth(self, raw: str) -> date | None:
        """A birth date that is none is left out, like a phone that is none: the shopper comes in all the same."""
        try:
            born = cells.day(raw, "Birth date", self.order)
        except BadRow:
            return None
        return values.birth_date(born.isoformat(), self.now.date()) if born else None

    # Sales

    def _sales(self, rows: Iterable[Row]) -> Iterator[Found]:
        group: list[tuple[Row, dict[str, str]]] = []
        at = ""
        for row in rows:
            if not row.problem and not any(row.cells):
                continue
            try:
                said = self.cells(row)
                external_id = cells.digits(said.get("external_id", ""))[:100]
                if not external_id:
                    raise BadRow("The transaction id is missing.")
            except BadRow as bad:
                if group:
                    yield self._sale(at, group)
                    group = []
                yield Found([row], bad.external_id, bad.reason)
                continue
            if group and external_id != at:
                yield self._sale(at, group)
                group = []
            at = external_id
            group.append((row, said))
        if group:
            yield self._sale(at, group)

    def _sale(self, external_id: str, group: list[tuple[Row, dict[str, str]]]) -> Found:
        made = Found([row for row, _ in group], external_id)
        try:
            if len(group) > MOST_LINES:
                raise BadRow(f"More than {MOST_LINES} rows bear this transaction id.")
            self._fill_sale(made, [said for _, said in group])
        except BadRow as bad:
            return Found(made.rows, external_id, bad.reason)
        return made

    def _fill_sale(self, made: Found, rows: list[dict[str, str]]) -> None:
        def one(name: str) -> str:
            """What the rows of a sale say of the whole; they must not contradict each other."""
            told = {said[name] for said in rows if said.get(name)}
            if len(told) > 1:
                raise BadRow(f"{SALES.column(name).label}: the rows of this sale say different things.")
            return told.pop() if told else ""

        external_id = made.external_id
        first_at = next((said["sold_at"] for said in rows if said.get("sold_at")), "")
        sold_at = cells.moment(
            first_at, next((said["clock"] for said in rows if said.get("clock")), ""), "The day of the sale",
            self.order, self.zone,
        )  # fmt: skip
        if sold_at is None:
            raise BadRow("The day of the sale is missing.")
        values.plausible(sold_at, "The day of the sale", self.now + timedelta(days=1))
        lines = tuple(self._line(at, said) for at, said in enumerate(rows, 1))
        lines_cents = sum(line.total_cents for line in lines)
        discount = values.cents(abs(cells.number(one("discount"), "The discount")))
        tax = self._tax(one("tax"), rows)
        told_total = one("total")
        if told_total:
            total = values.cents(cells.number(told_total, "The total"))
            net = total - tax
            if not self._has_amounts():
                lines, lines_cents = _shared(lines, net + discount), net + discount
        else:
            net = lines_cents - (discount if lines_cents >= 0 else -discount)
            total = net + tax
        original = cells.digits(one("original_id"))[:100]
        refund = bool(original and original != external_id) or total < 0 or (total == 0 and lines_cents < 0)
        if refund and total > 0:  # a refund written without signs
            total, net, tax = -total, -net, -tax
            lines, lines_cents = tuple(_negative(line) for line in lines), -lines_cents
        currency = one("currency").upper()[:3]
        if currency and self.currency and currency != self.currency:
            raise BadRow(f"The currency is {currency}, this account's is {self.currency}.")
        location = cells.digits(one("location_id"))[:100] or one("location_name")[:100]
        if location:
            made.locations.append(LocationRecord(location, one("location_name") or location))
        customer = self._buyer(made, rows[0])
        employee = one("employee")
        made.sales.append(
            SaleRecord(
                external_id=external_id, kind="refund" if refund else "sale", number=external_id,
                receipt=one("receipt"), original_id=original if original != external_id else "",
                location_id=location, customer_id=customer, employee_id=employee[:60], employee_name=employee,
                sold_at=sold_at.astimezone(UTC),
                fulfilment=_FULFILMENT.get("".join(c for c in one("fulfilment").lower() if c.isalpha()), ""),
                lines_cents=lines_cents, discount_cents=discount, tax_cents=tax, total_cents=total, net_cents=net,
                payments=one("payments"), has_details=True, currency="", lines=lines,
            )
        )  # fmt: skip

    def _has_amounts(self) -> bool:
        return bool({"line_total", "unit_price", "line_list"} & set(self.mapping.values()))

    def _tax(self, told: str, rows: list[dict[str, str]]) -> int:
        if told:
            return values.cents(cells.number(told, "The tax"))
        return sum(values.cents(cells.number(said.get("line_tax", ""), "A line's tax")) for said in rows)

    def _line(self, at: int, said: dict[str, str]) -> LineRecord:
        quantity = cells.number(said["quantity"], "The quantity") if said.get("quantity") else Decimal(1)
        off = abs(cells.number(said.get("line_discount", ""), "A line's discount"))
        if said.get("line_total"):
            total = cells.number(said["line_total"], "A line's amount")
        elif said.get("unit_price"):
            total = cells.number(said["unit_price"], "The price of one") * quantity
        elif said.get("line_list"):
            listed = cells.number(said["line_list"], "A line's amount before discounts")
            total = listed - (off if listed >= 0 else -off)
        else:
            total = Decimal(0)
        each = abs(total / quantity) if quantity else abs(total)
        listed_each = abs((abs(total) + off) / quantity) if quantity else abs(total) + off
        cost = values.cents(cells.number(said["line_cost"], "A line's cost")) if said.get("line_cost") else None
        return LineRecord(
            number=at, product_id=cells.digits(said.get("product_id", ""))[:100],
            sku=cells.digits(said.get("sku", ""))[:100], name=said.get("product", "")[:300],
            category=said.get("category", "")[:200], brand=said.get("brand", "")[:200], quantity=quantity,
            list_price=_four(listed_each), unit_price=_four(each), total_cents=values.cents(total),
            discount_cents=values.cents(off), cost_cents=cost,
        )  # fmt: skip

    def _buyer(self, made: Found, said: dict[str, str]) -> str:
        person = self.person(said)
        customer = cells.digits(said.get("customer_id", ""))[:100] or (
            _own_id(person) if person.phone or person.email else ""
        )
        if customer and (person.phone or person.email or person.first_name or person.last_name):
            made.customers.append(person._replace(external_id=customer))
        return customer

    # Inventory

    def _item(self, made: Found, said: dict[str, str]) -> None:
        name, sku = said.get("product", ""), cells.digits(said.get("sku", ""))
        made.external_id = cells.digits(said.get("external_id", ""))[:100] or sku[:100]
        if not made.external_id:
            if not name:
                raise BadRow("Nothing tells what this is: no id, no SKU, no name.")
            made.external_id = _digest("item", name.lower(), said.get("brand", "").lower())
        price = values.cents(cells.number(said["price"], "The price")) if said.get("price") else None
        cost = values.cents(cells.number(said["cost"], "The cost")) if said.get("cost") else None
        active = cells.flag(said["active"]) if said.get("active") else None
        told = said.get("quantity", "")
        made.products.append(
            ProductRecord(
                external_id=made.external_id, sku=sku[:100], name=name[:300], category=said.get("category", ""),
                brand=said.get("brand", ""), unit=said.get("unit", "")[:10], price_cents=price, cost_cents=cost,
                tracks_stock=True if told else None, active=True if active is None else active,
            )
        )  # fmt: skip
        if told:
            location = cells.digits(said.get("location_id", ""))[:100]
            if location:
                made.locations.append(LocationRecord(location, location))
            quantity = _four(cells.number(told, "The quantity"))
            key = stock_id(made.external_id, location)
            made.stock.append(StockRecord(key, made.external_id, location, quantity))

    # AIQ's contacts

    def _contact(self, made: Found, said: dict[str, str]) -> None:
        made.external_id = cells.digits(said.get("contact_id", ""))[:100]
        if not made.external_id:
            raise BadRow("The contact id is missing.")
        mobile, home = (cells.digits(said.get(name, "")) for name in ("mobile_phone", "home_phone"))
        good = phones.e164(mobile, self.region) or phones.e164(home, self.region)
        raw_email = said.get("email", "")
        points = cells.number(said.get("loyalty_points", ""), "The points").quantize(Decimal("0.01"), ROUND_HALF_UP)
        customer = CustomerRecord(
            external_id=made.external_id, first_name=said.get("first_name", ""), last_name=said.get("last_name", ""),
            phone=good, phone_raw=mobile or home, email=phones.email(raw_email), email_raw=raw_email,
        )  # fmt: skip
        made.contacts.append(
            ContactRecord(
                customer, points, bool(cells.flag(said.get("loyalty", ""))), self._since(said), _sources(said)
            )
        )

    def _since(self, said: dict[str, str]) -> date | None:
        try:
            at = cells.moment(said.get("loyalty_signup_time", ""), "", "Member since", self.order, self.zone)
        except (BadRow, OSError, OverflowError):
            return None  # it is shown, and decides nothing
        return at.astimezone(self.zone).date() if at else None


def _sources(said: dict[str, str]) -> tuple[tuple[str, str], ...]:
    """`cova:::123` each; how several are separated is not known, so commas, bars, blanks and brackets all do."""
    text = said.get("src_ids", "")
    for mark in "[]{}()\"'|;,":
        text = text.replace(mark, " ")
    found = []
    for word in text.split():
        platform, colons, external_id = word.partition(":::")
        if colons and platform and external_id:
            found.append((platform.lower()[:40], external_id[:100]))
    return tuple(dict.fromkeys(found))


def _four(number: Decimal) -> Decimal:
    return number.quantize(Decimal("0.0001"), ROUND_HALF_UP)


def _negative(line: LineRecord) -> LineRecord:
    return line._replace(quantity=-abs(line.quantity), total_cents=-abs(line.total_cents))


def _shared(lines: Sequence[LineRecord], cents: int) -> tuple[LineRecord, ...]:
    """A sale that tells its total only: the money stands on its lines evenly, to the cent."""
    each, rest = divmod(cents, len(lines))
    return tuple(line._replace(total_cents=each + (at < rest)) for at, line in enumerate(lines))


def _split(name: str) -> tuple[str, str]:
    if "," in name:
        last, _, first = name.partition(",")
        return first.strip(), last.strip()
    first, _, last = name.rpartition(" ")
    return (first, last) if first else (last, "")


def _own_id(person: CustomerRecord) -> str:
    """What a shopper without an id is known by in this source: the same row is the same id, whenever it comes."""
    if person.phone:
        return _digest("phone", person.phone)
    if person.email:
        return _digest("email", person.email)
    name = f"{person.first_name} {person.last_name}".strip().lower()
    return _digest("name", name, str(person.birth_date or "")) if name else ""


def _digest(*parts: Any) -> str:
    return "row-" + hashlib.sha256("|".join(map(str, parts)).encode()).hexdigest()[:32]
