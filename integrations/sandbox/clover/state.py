"""What a correct client ends up with: counts and checksums of neutral lines.

Each stream's lines are sorted, joined by newlines and hashed (SHA-256, UTF-8). Fields, divided by `|`:

- customers (the deleted are gone): id, merchant id, first name, last name, digits of the phones in order of arrival
  divided by `,`, e-mails in lower case likewise (the primary one first), birth date `1991-05-17` or `--05-17`, state of
  the first address, marketing 0/1, business name
- sales (orders a list can show: neither hidden nor deleted): id, merchant id, customer id (empty for a deleted one),
  employee id, created at `2026-03-02T23:35:27Z`, total cents (empty when the order tells none), cents paid and tax
  cents of the payments that count (without tips), cents given back (without tips), number of lines, payment state,
  label of the order type, test 0/1
- lines of those orders: id, order id, item id, name, cents before and after the line's own discounts, `unitQty` or
  empty, refunded 0/1
- refunds: id, order id, payment id, cents with tip, tax cents, tip cents, created at
- credits: id, order id, cents, created at
- items (the deleted are gone): id, merchant id, name, sku, cents, quantity or empty, categories in order divided by `,`
- employees (the deleted are gone): id, merchant id, name, role
- locations: merchant id, name, time zone
"""

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

from integrations.sandbox.clover.merchant import Merchant
from integrations.sandbox.sums import summed


def instant(ms: int) -> str:
    return datetime.fromtimestamp(ms // 1000, UTC).isoformat()[:19] + "Z"


def customer_line(merchant: Merchant, row: Any) -> str:
    fields, metadata = row.fields, row.metadata or {}
    phones = ",".join("".join(sign for sign in one.fields["phoneNumber"] if sign in "0123456789") for one in row.phones)
    ordered = sorted(row.emails, key=lambda one: not one.fields.get("primaryEmail"))
    emails = ",".join(one.fields["emailAddress"].lower() for one in ordered)
    born = ""
    if "dobMonth" in metadata and "dobDay" in metadata:
        born = f"{metadata.get('dobYear', '-')}-{metadata['dobMonth']:02d}-{metadata['dobDay']:02d}"
    state = row.addresses[0].fields["state"] if row.addresses else ""
    return (
        f"{row.id}|{merchant.id}|{fields.get('firstName', '')}|{fields.get('lastName', '')}|{phones}|{emails}|{born}|"
        f"{state}|{int(fields['marketingAllowed'])}|{metadata.get('businessName', '')}"
    )


def sale_line(merchant: Merchant, row: Any) -> str:
    fields = row.fields
    customer = "" if row.customer is None or row.customer.deleted is not None else row.customer.id
    tax = sum(one.fields["taxAmount"] for one in row.payments if one.counts)
    label = row.order_type.fields.get("label", "") if row.order_type else ""
    return (
        f"{row.id}|{merchant.id}|{customer}|{row.employee.id if row.employee else ''}|{instant(row.created)}|"
        f"{fields.get('total', '')}|{row.paid}|{tax}|{row.given_back}|{len(row.lines)}|{fields['paymentState']}|"
        f"{label}|{int(fields['testMode'])}"
    )


def line_line(row: Any) -> str:
    fields = row.fields
    return (
        f"{row.id}|{row.order.id}|{fields.get('item', {}).get('id', '')}|{fields['name']}|{row.gross}|{row.net}|"
        f"{fields.get('unitQty', '')}|{int(fields['refunded'])}"
    )


def refund_line(row: Any) -> str:
    fields = row.fields
    return (
        f"{row.id}|{row.payment.order.id}|{row.payment.id}|{fields['amount']}|{fields['taxAmount']}|"
        f"{fields.get('tipAmount', 0)}|{instant(row.created)}"
    )


def item_line(merchant: Merchant, row: Any) -> str:
    quantity = row.stock().get("quantity", "")
    categories = ",".join(one.fields["name"] for one in row.categories)
    return (
        f"{row.id}|{merchant.id}|{row.fields['name']}|{row.fields.get('sku', '')}|{row.fields['price']}|{quantity}|"
        f"{categories}"
    )


def state(merchants: Iterable[Merchant], *, rows: bool) -> dict[str, Any]:
    """`{"customers": {"count", "sha256", "rows"?}, "sales": ..., ...}`."""
    names = ("customers", "sales", "lines", "refunds", "credits", "items", "employees", "locations")
    streams: dict[str, list[str]] = {name: [] for name in names}
    for one in merchants:
        shown: list[Any] = [row for row in one.orders.rows if row.shown([])]
        visible = {row.id for row in shown}
        gone: list[Any] = one.employees.rows
        streams["customers"] += [customer_line(one, row) for row in one.customers.rows if row.shown([])]
        streams["sales"] += [sale_line(one, row) for row in shown]
        streams["lines"] += [line_line(line) for row in shown for line in row.lines]
        refunds: list[Any] = one.refunds.rows
        streams["refunds"] += [refund_line(row) for row in refunds if row.payment.order.id in visible]
        streams["credits"] += [
            f"{row.id}|{row.order.id}|{row.fields['amount']}|{instant(row.created)}" for row in one.credits.rows
        ]
        streams["items"] += [item_line(one, row) for row in one.items.rows if row.shown([])]
        streams["employees"] += [
            f"{row.id}|{one.id}|{row.fields['name']}|{row.fields['role']}" for row in gone if not row.gone
        ]
        streams["locations"].append(f"{one.id}|{one.name}|{one.properties.fields['timezone']}")
    return summed(streams, rows=rows)
