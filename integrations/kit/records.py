"""Neutral records: what every vendor's rows become.

Named tuples, because a page of them goes into COPY as it stands: the field order is the column order of
`integrations/landing.py`. Money is integer cents, times are aware UTC, text is never None.
"""

from datetime import date, datetime
from decimal import Decimal
from typing import NamedTuple


class LocationRecord(NamedTuple):
    external_id: str
    name: str
    street: str = ""
    city: str = ""
    state: str = ""  # ISO 3166-2 part, "BC"
    postal_code: str = ""
    country: str = ""  # ISO alpha-2
    phone: str = ""
    time_zone: str = ""  # IANA name; empty: unknown
    active: bool = True


class PricingGroupRecord(NamedTuple):
    external_id: str
    name: str
    description: str = ""
    deleted: bool = False


class CustomerRecord(NamedTuple):
    external_id: str
    first_name: str = ""
    last_name: str = ""
    phone: str = ""  # E.164, or empty when the number is not valid
    phone_raw: str = ""  # as the vendor has it
    email: str = ""  # lower case, or empty when it is not an address
    email_raw: str = ""
    birth_date: date | None = None
    street: str = ""
    city: str = ""
    state: str = ""
    postal_code: str = ""
    country: str = ""
    pricing_group: str = ""  # external id
    do_not_contact: bool | None = None
    disabled: bool = False
    merged_into: str = ""  # external id of the surviving customer
    version: int = 0
    modified_at: datetime | None = None
    # Of papers, as they are written there: landing keeps a digest of them, nobody keeps the numbers. "" is unknown.
    customer_type: str = ""  # "medical", "recreational"
    government_id: str = ""
    medical_id: str = ""


class LineRecord(NamedTuple):
    number: int  # 1, 2, ... within the sale
    product_id: str = ""
    sku: str = ""
    name: str = ""
    category: str = ""
    brand: str = ""
    quantity: Decimal = Decimal(1)  # negative on a refund; grams for weight goods
    unit: str = ""  # "" for pieces, "g" for weight goods
    list_price: Decimal = Decimal(0)  # per unit, in the currency's main unit, four places
    unit_price: Decimal = Decimal(0)  # per unit, as sold, before tax
    total_cents: int = 0  # as sold, before tax; negative on a refund
    discount_cents: int = 0  # list minus sold, positive is a discount
    cost_cents: int | None = None  # of the whole line


class SaleRecord(NamedTuple):
    external_id: str
    kind: str = "sale"  # "sale" or "refund"
    number: str = ""  # printed on the back office's invoice
    receipt: str = ""  # printed on the customer's receipt
    original_id: str = ""  # external id of the sale a refund belongs to; "" while unknown
    location_id: str = ""  # external id
    customer_id: str = ""  # external id; "" is an anonymous sale
    employee_id: str = ""
    employee_name: str = ""
    sold_at: datetime | None = None
    fulfilment: str = ""  # "in_store", "delivery", "pickup" or "" unknown
    lines_cents: int = 0  # sum of the lines as sold, before tax
    discount_cents: int = 0  # cart discounts, before and after tax, positive is a discount
    tax_cents: int = 0
    total_cents: int = 0  # to pay, with tax; negative on a refund
    net_cents: int = 0  # paid without tax, net of every discount: what points are earned on
    payments: str = ""  # method names, comma-separated; "" is unknown
    discounts: str = "[]"  # JSON [{"name", "cents"}] of cart discounts; known from details only
    has_details: bool = False  # the vendor's per-sale details went into this record
    currency: str = ""  # ISO 4217; "" is the account's
    lines: tuple[LineRecord, ...] = ()
    # What some vendors tell of the customer with a sale only; landing writes it to the customer, as above.
    customer_type: str = ""
    government_id: str = ""
    medical_id: str = ""
    location_name: str = ""  # where the vendor has no list of its places
    own_points: bool = False  # the POS's own points programme counted it (told by details)
    needs_details: str = ""  # why the feed's row alone does not do: "blank_payment", "mismatch", "refund" or ""


class ProductRecord(NamedTuple):
    external_id: str
    sku: str = ""
    name: str = ""
    category: str = ""
    brand: str = ""
    unit: str = ""  # "" for pieces, "g" for weight goods
    price_cents: int | None = None
    cost_cents: int | None = None
    tracks_stock: bool | None = None  # None: the vendor does not say
    active: bool = True


class StockRecord(NamedTuple):
    """How much of a product is at a place: a level, not a movement."""

    external_id: str  # `stock_id(product_id, location_id)`
    product_id: str
    location_id: str  # external id; "" where the vendor knows no places
    quantity: Decimal


def stock_id(product_id: str, location_id: str) -> str:
    return f"{product_id}|{location_id}"


class TermRecord(NamedTuple):
    """A word of the POS: an employee's, a tender's, an order type's or a category's name."""

    external_id: str  # "kind:id": a vendor's ids are unique within a kind only
    kind: str  # "employee", "tender", "order_type", "category"
    name: str = ""
    active: bool = True


class BalanceRecord(NamedTuple):
    """The POS's own loyalty balance of a customer, at the moment it was read."""

    external_id: str  # the customer's
    points: Decimal
    location_id: str = ""  # the place it was asked at


class FilePiece(NamedTuple):
    """A piece of a file that was found in a drop place. `problem`: why it is not taken, a sentence."""

    external_id: str  # path and version
    path: str
    start: int
    data: bytes
    size: int  # of the whole file
    last: bool
    came: str  # "folder", "bucket"
    problem: str = ""


class ContactRecord(NamedTuple):
    """A row of AIQ's contact export. Nothing in it is a permission to send messages, so none is read from it."""

    customer: CustomerRecord  # its external id is the contact id
    points: Decimal
    member: bool
    since: date | None
    sources: tuple[tuple[str, str], ...] = ()  # (platform, id in that POS)

    @property
    def external_id(self) -> str:
        return self.customer.external_id
