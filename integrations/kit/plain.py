"""The plain shape: how a POS that has no connector of its own tells sales, customers and stock.

It is the body of the loyalty vendor's push calls (docs/api/decisions.md): `visit`, `member` and inventory objects.
What the vendor's public documentation leaves open is decided here and nowhere else. Pushed calls and the Partner REST
card read it alike. Every function takes one object as it came, tolerates what does no harm, and raises `BadRow` with a
sentence for what cannot be taken. Fields nobody knows are ignored; null and empty text are the same as absent.
"""

import json
import re
from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any, NamedTuple

from . import phones
from .errors import BadRow
from .records import CustomerRecord, LineRecord, ProductRecord, SaleRecord, StockRecord, stock_id
from .values import birth_date, cents, flag, number, plausible, text

LONGEST_ID = 100
MOST_LINES = 500
_AHEAD = timedelta(days=1)  # a till whose clock is wrong by hours is common, by days it is a typing mistake
_CENT = 1
_SPACE = re.compile(r"\s+")

# Where the vendor's name is unknown, several are read; the first is ours to document.
SALE_KEYS = ("pos_id",)
CUSTOMER_KEYS = ("pos_user", "srcID", "src_id", "customer_id", "customerID")
PRODUCT_KEYS = ("product_id", "productID", "productId", "pos_id", "id", "sku")
PLACE_KEYS = ("location_id", "locationID", "storeID", "store_id")
PLACE_NAMES = ("location", "store", "location_name")
_PHONES = ("mobilePhone", "mobile_phone", "phone", "homePhone", "home_phone")
_FIRST, _LAST, _MAIL = ("firstName", "first_name"), ("lastName", "last_name"), ("email",)
_BORN = ("birthdate", "birthday", "birth_date", "dateOfBirth", "dob")
_QUANTITIES = ("quantity", "qty", "stock", "stockLevel", "stock_level", "onHand", "on_hand", "inventory")

_IN_STORE = {"in-store", "instore", "in_store", "in store", "store", "pos", "retail", "walk-in", "walkin"}
_PICKUP = {"pickup", "pick-up", "pick up", "curbside", "in-store pickup"}


class Told(NamedTuple):
    """A customer as far as he was told: `given` names the fields that came; the others say nothing."""

    record: CustomerRecord
    given: frozenset[str]


class Goods(NamedTuple):
    """A product as far as it was told, and its level at a place if that came too."""

    record: ProductRecord
    given: frozenset[str]
    stock: StockRecord | None
    place: str  # the name of the place, as it came


def first(row: Mapping[str, Any], names: tuple[str, ...]) -> Any:
    """The first of these that is there and not empty."""
    for name in names:
        value = row.get(name)
        if value is not None and value != "":
            return value
    return None


def key_of(raw: Any, what: str) -> str:
    """An id as text; "" when there is none. `BadRow` when it is no text or number, or too long."""
    if raw is None or raw == "":
        return ""
    if isinstance(raw, bool | dict | list) or (isinstance(raw, float) and not raw.is_integer()):
        raise BadRow(f"{what} must be text.")
    found = text(str(int(raw)) if isinstance(raw, float) else raw, 1000)
    if len(found) > LONGEST_ID:
        raise BadRow(f"{what} is longer than {LONGEST_ID} characters.")
    return found


def place_of(row: Mapping[str, Any]) -> tuple[str, str]:
    """(external id, name) of the place a row names, ("", "") when it names none.

    A place that is told by name only is known by its name, whatever its capitals and spaces.
    """
    name = _SPACE.sub(" ", _words(first(row, PLACE_NAMES), "location", 200))
    found = key_of(first(row, PLACE_KEYS), "location_id")
    return (found or name.casefold()[:LONGEST_ID].strip(), name or found)


def _words(raw: Any, what: str, limit: int) -> str:
    if isinstance(raw, bool | dict | list):
        raise BadRow(f"{what} must be text.")
    return text(raw, limit)


def time_of(raw: Any, what: str, now: datetime) -> datetime:
    """A moment: `2026-04-12 17:31:04 +0000`, ISO 8601, or Unix seconds; without a zone it is UTC."""
    if raw is None or raw == "":
        raise BadRow(f"{what} is missing.")
    return plausible(read_time(raw, what), what, now + _AHEAD)


def read_time(raw: Any, what: str) -> datetime:
    """The same, whenever it may be."""
    try:
        if isinstance(raw, int | float | Decimal) and not isinstance(raw, bool):
            return datetime.fromtimestamp(float(raw), UTC)
        if isinstance(raw, str) and len(raw) <= 40:
            said = raw.strip()
            if said.isascii() and said.isdigit():
                return datetime.fromtimestamp(int(said), UTC)
            said = re.sub(r"\s+(?=[+-]\d\d:?\d\d$)|\s+UTC$", lambda m: "" if m[0].strip() == "" else "Z", said)
            found = datetime.fromisoformat(said)
            return found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)
    except (ValueError, OverflowError, OSError):
        pass
    raise BadRow(f"{what} is not a time like 2026-04-12 17:31:04 +0000.")


# Customers


def member(row: Any, *, region: str, today: date, key: str = "") -> Told:
    """A customer. `key`: his id in the POS, when what surrounds the object has told it."""
    if not isinstance(row, dict):
        raise BadRow("A member must be an object.")
    phone, phone_raw = _phone(row, region)
    mail_raw = _words(first(row, _MAIL), "email", 254)
    mail = phones.email(mail_raw)
    found = key or key_of(first(row, CUSTOMER_KEYS), "pos_user")
    # A person that the POS gave no id is known by what he is matched by.
    found = found or (f"phone:{phone}" if phone else f"email:{mail}"[:LONGEST_ID] if mail else "")
    if not found:
        raise BadRow("pos_user is missing: the customer's id in the POS.")
    told: dict[str, Any] = {
        "first_name": _words(first(row, _FIRST), "firstName", 200),
        "last_name": _words(first(row, _LAST), "lastName", 200),
        "phone": phone,
        "phone_raw": phone_raw,
        "email": mail,
        "email_raw": mail_raw,
        "birth_date": birth_date(first(row, _BORN), today),
        **_address(row),
    }
    if (said := flag(first(row, ("do_not_contact", "doNotContact")))) is not None:
        told["do_not_contact"] = said
    if told_type := _words(first(row, ("customer_type", "customerType")), "customer_type", 20).lower():
        told["customer_type"] = told_type if told_type in ("medical", "recreational") else ""
    given = frozenset(name for name, value in told.items() if value not in ("", None))
    return Told(CustomerRecord(found, **told), given)


def _phone(row: Mapping[str, Any], region: str) -> tuple[str, str]:
    """(E.164 or "", as it came): the first of the numbers that is valid, else the first one's text."""
    raw = ""
    for name in _PHONES:
        said = _words(row.get(name), name, 100)
        if said and (good := phones.e164(said, region)):
            return good, said
        raw = raw or said
    return "", raw


_PARTS = {
    "street": ("street", "street1", "address1", "line1"), "city": ("city",), "state": ("state", "province"),
    "postal_code": ("zipCode", "zip", "postalCode", "postal_code"), "country": ("country",),
}  # fmt: skip
_WIDE = {"street": 200, "city": 100, "state": 20, "postal_code": 20, "country": 2}


def _address(row: Mapping[str, Any]) -> dict[str, str]:
    where = row.get("address")
    if isinstance(where, str):
        where = {"street": where}
    parts = {**row, **where} if isinstance(where, dict) else row
    found = {
        part: said
        for part, names in _PARTS.items()
        if isinstance(value := first(parts, names), str) and (said := text(value, _WIDE[part]))
    }
    for part in ("state", "country"):
        if part in found:
            found[part] = found[part].upper()
    return found


def updated(told: Told, known: Mapping[str, Any] | None) -> CustomerRecord:
    """The record after an update: what was not told stays, and what is invalid never replaces what is good."""
    if known is None:
        return told.record
    values = {name: getattr(told.record, name) if name in told.given else known[name] for name in CHANGEABLE}
    for good, raw in (("phone", "phone_raw"), ("email", "email_raw")):
        if good not in told.given and known[good]:
            values[raw] = known[raw]
    return CustomerRecord(told.record.external_id, **values)


# Of a customer, what an update may leave alone. Papers and the rest are kept by landing itself.
CHANGEABLE = (
    "first_name", "last_name", "phone", "phone_raw", "email", "email_raw", "birth_date", "street", "city", "state",
    "postal_code", "country", "pricing_group", "do_not_contact", "disabled", "merged_into", "version", "modified_at",
    "customer_type",
)  # fmt: skip


# Sales


class Line(NamedTuple):
    """A line as it came: the vendor does not say whether `price` is the unit's or the line's, net or not."""

    row: Mapping[str, Any]
    quantity: Decimal
    price: Decimal
    discount: Decimal

    @property
    def sign(self) -> int:
        return -1 if self.quantity < 0 else 1


# How price and discount may be meant; the first that adds up to the sale's total is taken, else the first.
_READINGS = (
    lambda line: line.price * line.quantity - line.discount * line.sign,  # of the unit, before the discount
    lambda line: line.price * line.quantity,  # of the unit, the discount is off already
    lambda line: (line.price - line.discount) * line.sign,  # of the whole line, before the discount
    lambda line: line.price * line.sign,  # of the whole line, the discount is off already
)


def sale(row: Any, *, region: str, now: datetime, currency: str = "") -> tuple[SaleRecord, Told | None]:
    """A sale or refund, and the member told with it. `row`: `visit` and perhaps `member`, or the visit itself.

    `currency` is the account's: a sale in another is refused.
    """
    if not isinstance(row, dict):
        raise BadRow("A sale must be an object.")
    visit = row.get("visit", row)
    if not isinstance(visit, dict):
        raise BadRow("visit must be an object.")
    pos_id = key_of(first(visit, SALE_KEYS), "pos_id")
    if not pos_id:
        raise BadRow("pos_id is missing: the sale's id in the POS.")
    try:
        record, told = _sale(row, visit, pos_id, region, now)
        if record.currency and currency and record.currency != currency:
            raise BadRow(f"The sale is in {record.currency}, the account in {currency}.")
        return record, told
    except BadRow as bad:
        raise BadRow(bad.reason, external_id=pos_id) from None


def _sale(
    row: Mapping[str, Any], visit: Mapping[str, Any], pos_id: str, region: str, now: datetime
) -> tuple[SaleRecord, Told | None]:
    sold_at = time_of(first(visit, ("transaction_date", "transactionDate")), "transaction_date", now)
    who = key_of(first(visit, CUSTOMER_KEYS), "pos_user")
    told = _member_of(row, who, region, now)
    lines = [_line(one) for one in _lines_of(visit)]
    total_raw = first(visit, ("transaction_total", "transactionTotal", "total"))
    if total_raw is None and not lines:
        raise BadRow("transaction_total is missing, and there are no lines to add up.")
    counted = [line for line in lines if line.quantity]
    total = number(total_raw, "transaction_total")
    refund = all(line.quantity < 0 for line in counted) if counted else total < 0
    tax = abs(number(first(visit, ("tax_total", "taxTotal", "tax")), "tax_total"))
    sign = -1 if refund else 1
    # Clients send a refund's total with and without the minus.
    paid = sign * abs(total) if refund else total
    if total_raw is None:
        paid = sum((_READINGS[0](line) for line in lines), Decimal(0)) + sign * tax
    amounts = _amounts(lines, cents(paid - sign * tax))
    records = tuple(
        _line_record(n, line, amount) for n, (line, amount) in enumerate(zip(lines, amounts, strict=True), 1)
    )
    discounts, known = _discounts(visit, lines)
    place, name = place_of(visit)
    lines_cents = sum(amounts)
    net = cents(paid - sign * tax)
    record = SaleRecord(
        external_id=pos_id,
        kind="refund" if refund else "sale",
        number=pos_id,
        original_id=_original(visit, pos_id) if refund else "",
        location_id=place,
        customer_id=told.record.external_id if told else who,
        employee_id=_words(first(visit, ("budtenderID", "budtender_id")), "budtenderID", 60),
        employee_name=_words(first(visit, ("budtenderName", "budtender_name")), "budtenderName", 200),
        sold_at=sold_at,
        fulfilment=_fulfilment(_words(visit.get("pos_type"), "pos_type", 60)),
        lines_cents=lines_cents,
        discount_cents=max(0, lines_cents - net) if lines and not refund else 0,
        tax_cents=sign * cents(tax),
        total_cents=cents(paid),
        net_cents=net,
        payments=_words(first(visit, ("payment_method", "paymentMethod")), "payment_method", 200),
        discounts=json.dumps(discounts),
        has_details=known,
        currency=_words(visit.get("currency"), "currency", 3).upper(),
        lines=records,
        location_name=name,
    )
    return record, told


def _member_of(row: Mapping[str, Any], who: str, region: str, now: datetime) -> Told | None:
    raw = row.get("member")
    if raw is None or raw == {}:
        return None
    told = None
    try:
        told = member(raw, region=region, today=now.date(), key=who)
    except BadRow as bad:
        # An empty member block of an anonymous sale says nothing; a garbled one is told.
        if who or not isinstance(raw, dict) or any(value not in (None, "") for value in raw.values()):
            raise BadRow(f"member: {bad.reason}") from None
    return told


def _lines_of(visit: Mapping[str, Any]) -> list[Any]:
    raw = first(visit, ("visit_details_attributes", "lines", "items"))
    if raw is None:
        return []
    if not isinstance(raw, list):
        raise BadRow("visit_details_attributes must be an array.")
    if len(raw) > MOST_LINES:
        raise BadRow(f"A sale has at most {MOST_LINES} lines.")
    return raw


def _line(row: Any) -> Line:
    if not isinstance(row, dict):
        raise BadRow("visit_details_attributes: a line must be an object.")
    quantity = row.get("quantity")
    return Line(
        row,
        Decimal(1) if quantity in (None, "") else number(quantity, "quantity"),
        abs(number(row.get("price"), "price")),
        abs(number(row.get("discount"), "discount")),
    )


def _amounts(lines: list[Line], net: int) -> list[int]:
    """Cents of each line as sold, by the reading that adds up to what was paid."""
    readings = [[cents(reading(line)) for line in lines] for reading in _READINGS]
    return next((found for found in readings if abs(abs(sum(found)) - abs(net)) <= _CENT), readings[0])


def _line_record(n: int, line: Line, amount: int) -> LineRecord:
    row = line.row
    sold = Decimal(amount) / 100
    unit = (sold / line.quantity).quantize(Decimal("0.0001")) if line.quantity else Decimal(0)
    off = (line.discount / abs(line.quantity)).quantize(Decimal("0.0001")) if line.quantity else Decimal(0)
    cost = first(row, ("cost", "unit_cost", "unitCost"))
    return LineRecord(
        n,
        product_id=key_of(first(row, ("product_id", "productID", "productId")), "product_id"),
        sku=_words(row.get("sku"), "sku", 100),
        name=_words(row.get("name"), "name", 300),
        category=_words(row.get("category"), "category", 200),
        brand=_words(row.get("brand"), "brand", 200),
        quantity=line.quantity,
        unit=_words(row.get("unit"), "unit", 10),
        list_price=unit + off,
        unit_price=unit,
        total_cents=amount,
        discount_cents=line.sign * cents(line.discount),
        cost_cents=None if cost is None else cents(number(cost, "cost") * line.quantity),
    )


def _discounts(visit: Mapping[str, Any], lines: list[Line]) -> tuple[list[dict[str, Any]], bool]:
    """Discounts on the order for settling redemptions, and whether the caller tells discounts at all."""
    raw = visit.get("discounts")
    found = []
    if isinstance(raw, list):
        for one in raw[:50]:
            if isinstance(one, dict):
                amount = cents(abs(number(first(one, ("amount", "value")), "discounts: amount")))
                found.append({"name": _words(one.get("name"), "discounts: name", 200), "cents": amount})
    off = cents(sum((line.discount for line in lines), Decimal(0)))
    if off and not found:
        found.append({"name": "", "cents": off})
    known = isinstance(raw, list) or any(line.row.get("discount") is not None for line in lines)
    return found, known


def _original(visit: Mapping[str, Any], pos_id: str) -> str:
    """The sale that a refund of its own id belongs to; a refund that bears its sale's id has replaced it."""
    found = key_of(first(visit, ("original_pos_id", "originalPosID")), "original_pos_id")
    return "" if found == pos_id else found


def _fulfilment(said: str) -> str:
    word = said.lower()
    if word in _IN_STORE:
        return "in_store"
    return "pickup" if word in _PICKUP else "delivery" if word == "delivery" else ""


# Stock


def item(row: Any) -> Goods:
    """A product, and its level when a quantity came. The level is absolute: what is there, not what moved."""
    if not isinstance(row, dict):
        raise BadRow("An item must be an object.")
    found = key_of(first(row, PRODUCT_KEYS), "sku")
    if not found:
        raise BadRow("sku is missing, and there is no product id either.")
    told: dict[str, Any] = {
        "sku": key_of(row.get("sku"), "sku"),
        "name": _words(first(row, ("name", "productName", "product_name")), "name", 300),
        "category": _words(row.get("category"), "category", 200),
        "brand": _words(row.get("brand"), "brand", 200),
        "unit": _words(row.get("unit"), "unit", 10),
        "price_cents": _money(first(row, ("price", "unit_price", "unitPrice")), "price"),
        "cost_cents": _money(first(row, ("cost", "unit_cost", "unitCost")), "cost"),
    }
    if (active := flag(row.get("active"))) is not None:
        told["active"] = active
    place, name = place_of(row)
    amount = first(row, _QUANTITIES)
    stock = None
    if amount is not None:
        told["tracks_stock"] = True
        stock = StockRecord(stock_id(found, place), found, place, number(amount, "quantity"))
    given = frozenset(name for name, value in told.items() if value not in ("", None))
    return Goods(ProductRecord(found, **told), given, stock, name)


def _money(raw: Any, what: str) -> int | None:
    return None if raw is None else cents(number(raw, what))


def restocked(goods: Goods, known: Mapping[str, Any] | None) -> ProductRecord:
    """The product after an update: what was not told stays."""
    if known is None:
        return goods.record
    fields = ProductRecord._fields[1:]
    return ProductRecord(
        goods.record.external_id,
        **{name: getattr(goods.record, name) if name in goods.given else known[name] for name in fields},
    )
