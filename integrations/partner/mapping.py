"""What the partner calls things: the merchant's field mapping, and rows under the names of the plain shape."""

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from ..kit import plain
from ..kit.errors import BadRow
from ..kit.records import CustomerRecord, ProductRecord, SaleRecord, StockRecord
from ..kit.streams import Context

# What may be renamed, by endpoint. These are the names of the documented shape (docs/cards/partner.md).
FIELDS: Mapping[str, tuple[str, ...]] = {
    "customers": (
        "pos_user", "updated_at", "firstName", "lastName", "mobilePhone", "homePhone", "email", "birthdate", "street",
        "city", "state", "zipCode", "country", "do_not_contact", "customer_type",
    ),
    "sales": (
        "pos_id", "updated_at", "pos_user", "transaction_date", "transaction_total", "tax_total", "location",
        "location_id", "pos_type", "budtenderID", "budtenderName", "payment_method", "original_pos_id", "currency",
        "discounts", "lines",
    ),
    "sales.lines": (
        "product_id", "sku", "name", "category", "brand", "price", "discount", "quantity", "unit", "cost",
    ),
    "inventory": (
        "product_id", "updated_at", "sku", "name", "category", "brand", "unit", "price", "cost", "quantity",
        "location", "location_id", "active",
    ),
}  # fmt: skip
MOST_RENAMES = 100
_LONGEST_PATH = 200

Renames = Mapping[str, Mapping[str, tuple[str, ...]]]


@lru_cache(maxsize=64)
def read(text: str) -> Renames:
    """Endpoint -> our name -> path in the partner's row. `ValueError` with a sentence that names the line."""
    found: dict[str, dict[str, tuple[str, ...]]] = {}
    lines = [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    if len(lines) > MOST_RENAMES:
        raise ValueError(f"The field mapping has more than {MOST_RENAMES} lines.")
    for line in lines:
        left, sign, right = (part.strip() for part in line.partition("="))
        where, _, name = left.rpartition(".")
        path = tuple(part.strip() for part in right.split("."))
        if not sign or not where or not all(path) or len(right) > _LONGEST_PATH:
            raise ValueError(f"“{line.strip()[:60]}” is no line like: sales.pos_id = receipt.number")
        if where not in FIELDS:
            raise ValueError(f"“{left[:60]}”: there is {', '.join(FIELDS)}; “{where[:40]}” is none of them.")
        if name not in FIELDS[where]:
            raise ValueError(f"“{left[:60]}”: {where} has no field “{name[:40]}”. It has {', '.join(FIELDS[where])}.")
        if name in found.setdefault(where, {}):
            raise ValueError(f"“{left[:60]}” comes twice.")
        found[where][name] = path
    return found


def problem(text: str) -> str:
    """What is wrong with a field mapping, or ""."""
    try:
        read(text)
    except ValueError as error:
        return str(error)
    return ""


def renamed(row: Any, where: str, renames: Renames) -> Any:
    """The row under our names; what is not mapped stays as it came."""
    if not isinstance(row, dict):
        return row
    out = dict(row)
    for name, path in renames.get(where, {}).items():
        out[name] = _at(row, path)
    if where == "sales":
        lines = out.get("lines", out.get("visit_details_attributes"))
        if isinstance(lines, list):
            out["lines"] = [renamed(line, "sales.lines", renames) for line in lines]
    return out


def _at(row: Any, path: tuple[str, ...]) -> Any:
    for part in path:
        if isinstance(row, dict):
            row = row.get(part)
        elif isinstance(row, list) and part.isdecimal() and int(part) < len(row):
            row = row[int(part)]
        else:
            return None
    return row


def customer(row: Any, context: Context) -> CustomerRecord:
    """A customer; his row is whole, so what it leaves out is empty."""
    record = plain.member(row, region=context.region, today=context.now.date()).record
    return record._replace(modified_at=_changed(row, context))


def sale(row: Any, context: Context) -> SaleRecord:
    return plain.sale(row, region=context.region, now=context.now, currency=context.currency)[0]


def product(row: Any, context: Context) -> ProductRecord:
    return plain.item(row).record


def stock(row: Any, context: Context) -> StockRecord:
    found = plain.item(row)
    if found.stock is None:
        raise BadRow("quantity is missing: the level of this item is not known.", external_id=found.record.external_id)
    return found.stock


def _changed(row: Mapping[str, Any], context: Context) -> Any:
    try:
        return plain.time_of(row.get("updated_at"), "updated_at", context.now)
    except BadRow:
        return None  # it is for people to look at; the range that was asked for decides
