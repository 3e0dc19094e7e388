"""Clover's rows to neutral records; orders are in `orders.py`. A row that cannot be one raises `BadRow`.

Nothing else of a row is looked at: bank numbers of the properties, PINs of employees, cards and notes never get past
here. Sources are the sections of the vendor reference; marks stand in `samples/README.md`.
"""

from datetime import date
from typing import Any

from ..kit.errors import BadRow
from ..kit.phones import e164, email
from ..kit.records import CustomerRecord, LocationRecord, ProductRecord, StockRecord, TermRecord, stock_id
from ..kit.streams import Context
from ..kit.values import flag, number, text
from .rows import elements, moment, money, obj, reference, row_id


def location(row: Any, context: Context) -> LocationRecord:
    """The merchant is the location: its record with `address` and `properties` beside it (reference 3.1 to 3.3)."""
    row = obj(row)
    found = row_id(row)
    raw_address, raw_properties = row.get("address"), row.get("properties")
    address = raw_address if type(raw_address) is dict else {}
    properties = raw_properties if type(raw_properties) is dict else {}
    street = ", ".join(part for key in ("address1", "address2", "address3") if (part := text(address.get(key))))
    country = text(address.get("country"), 2).upper()
    phone = text(address.get("phoneNumber"), 40) or text(properties.get("supportPhone"), 40)
    return LocationRecord(
        external_id=found,
        name=text(row.get("name"), 200) or f"Merchant {found}",
        street=street,
        city=text(address.get("city")),
        state=text(address.get("state"), 20).upper(),
        postal_code=text(address.get("zip"), 20),
        country=country,
        phone=e164(phone, country or context.region) if phone else "",
        time_zone=text(properties.get("timezone"), 64),
        active=True,
    )


def customer(row: Any, context: Context) -> CustomerRecord:
    row = obj(row)
    found = row_id(row)
    phone, phone_raw = "", ""
    for one in elements(row.get("phoneNumbers"), "phoneNumbers"):
        said = text(one.get("phoneNumber"), 100)
        phone_raw = phone_raw or said
        if said and (valid := e164(said, context.region)):
            phone, phone_raw = valid, said  # the first one that can be called
            break
    mail, mail_raw = "", ""
    mails = elements(row.get("emailAddresses"), "emailAddresses")
    for one in sorted(mails, key=lambda one: one.get("primaryEmail") is not True):
        said = text(one.get("emailAddress"), 254)
        mail_raw = mail_raw or said
        if said and (good := email(said)):
            mail, mail_raw = good, said
            break
    addresses = elements(row.get("addresses"), "addresses")
    address = addresses[0] if addresses else {}
    street = ", ".join(part for key in ("address1", "address2", "address3") if (part := text(address.get(key))))
    raw_about = row.get("metadata")
    about = raw_about if type(raw_about) is dict else {}
    changed = about.get("modifiedTime")
    return CustomerRecord(
        external_id=found,
        first_name=text(row.get("firstName"), 200),
        last_name=text(row.get("lastName"), 200),
        phone=phone,
        phone_raw=phone_raw,
        email=mail,
        email_raw=mail_raw,
        birth_date=_birth_date(about, context.now.date()),
        street=street,
        city=text(address.get("city"), 100),
        state=text(address.get("state"), 20).upper(),
        postal_code=text(address.get("zip"), 20),
        country=text(address.get("country"), 2).upper(),
        # `marketingAllowed` is false unless somebody ticked it (reference 3.4): it forbids nothing and allows nothing.
        do_not_contact=None,
        # The only stamp of change; a customer without metadata has none, so it is never compared (reference 3.4).
        modified_at=moment(changed, "metadata.modifiedTime") if changed is not None else None,
    )


def _birth_date(about: dict[str, Any], today: date) -> date | None:
    """The year may be missing while month and day are set (reference 3.4): then the date is unknown."""
    parts = [about.get(name) for name in ("dobYear", "dobMonth", "dobDay")]
    if any(type(part) is not int for part in parts):
        return None
    try:
        found = date(*parts)  # type: ignore[arg-type]
    except (ValueError, OverflowError):
        return None
    return found if found <= today and today.year - found.year <= 120 else None


def product(row: Any, context: Context) -> ProductRecord:
    row = obj(row)
    gone = flag(row.get("deleted")) is True or row.get("deletedTime") is not None
    per_unit = row.get("priceType") == "PER_UNIT"
    cost = row.get("cost")
    price = row.get("price")
    return ProductRecord(
        external_id=row_id(row),
        sku=text(row.get("sku"), 100) or text(row.get("code"), 100),
        name=text(row.get("name"), 300),
        category=first_category(row),
        unit=text(row.get("unitName"), 10) if per_unit else "",
        # an open price stands at 0 (reference 3.13)
        price_cents=None if price is None or row.get("priceType") == "VARIABLE" else money(price, "price"),
        cost_cents=None if cost is None else money(cost, "cost"),
        active=not gone and flag(row.get("hidden")) is not True,
    )


def first_category(row: dict[str, Any]) -> str:
    """An item may be in several categories (reference 3.15): the one that Clover names first."""
    found = elements(row.get("categories"), "categories")
    return text(found[0].get("name"), 200) if found else ""


def stock(row: Any, context: Context) -> StockRecord:
    row = obj(row)
    item = reference(row.get("item"))
    if not item:
        raise BadRow("The stock level names no item.")
    # `stockCount` is the same as a whole number and deprecated (reference 3.14)
    quantity = number(row.get("quantity"), "quantity")
    return StockRecord(stock_id(item, context.identity), item, context.identity, quantity)


def category(row: Any, context: Context) -> TermRecord:
    row = obj(row)
    return _term("category", row, row.get("name"), active=flag(row.get("deleted")) is not True)


def employee(row: Any, context: Context) -> TermRecord:
    """The name, and nothing else: PINs have come in clear (reference 3.17)."""
    row = obj(row)
    return _term("employee", row, row.get("name"), active=row.get("deletedTime") is None)


def tender(row: Any, context: Context) -> TermRecord:
    row = obj(row)
    return _term("tender", row, tender_name(row), active=flag(row.get("enabled")) is not False)


def tender_name(row: dict[str, Any]) -> str:
    return text(row.get("label"), 60) or _of_key(row.get("labelKey"))


def order_type(row: Any, context: Context) -> TermRecord:
    row = obj(row)
    gone = flag(row.get("isDeleted")) is True
    return _term("order_type", row, row.get("label") or _of_key(row.get("labelKey")), active=not gone)


def _of_key(raw: Any) -> str:
    """`Gift Card` for `com.clover.tender.gift_card`, for a label may be missing (reference 3.18, 3.19)."""
    return text(raw, 100).rpartition(".")[2].replace("_", " ").title()


def _term(kind: str, row: dict[str, Any], name: Any, *, active: bool) -> TermRecord:
    return TermRecord(f"{kind}:{row_id(row)}", kind, text(name, 200), active)
