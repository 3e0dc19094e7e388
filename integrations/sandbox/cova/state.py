"""What a correct client ends up with: counts and checksums of neutral lines.

Each stream's lines are sorted, joined by newlines and hashed (SHA-256, UTF-8). Fields, divided by `|`:

- customers: id, first name, last name, digits of the default phone value (all of them, a leading 1 too; empty when
  none), e-mail in lower case, birth date `1991-05-17`, pricing group id, disabled 0/1, merged into id, version
- sales: id, number, `sale` or `refund`, location id, customer id, sold at to the minute `2026-03-02T23:35:00Z`,
  total cents, tax cents, cents of the lines, number of lines, `delivery` or `in_store`, employee id;
  refunds in negative cents
- locations: id, name, `Active` or `Inactive`, Windows time zone name
"""

from typing import Any

from integrations.sandbox.cova.customers import Customer, Register
from integrations.sandbox.cova.invoices import Book, Invoice, minute_text
from integrations.sandbox.cova.shop import Shop
from integrations.sandbox.sums import summed


def customer_line(customer: Customer) -> str:
    light = customer.light
    phone = "".join(sign for sign in customer.default(1) or "" if "0" <= sign <= "9")
    email = (customer.default(2) or "").lower()
    return (
        f"{customer.id}|{light['PrimaryName'] or ''}|{light['FamilyName'] or ''}|{phone}|{email}|"
        f"{(light['DateOfBirth'] or '')[:10]}|{light['PricingGroupId'] or ''}|{int(light['Disabled'])}|"
        f"{light['MergedIntoCustomerId'] or ''}|{light['Version']}"
    )


def sale_line(invoice: Invoice) -> str:
    return (
        f"{invoice.id}|{invoice.number}|{invoice.kind.lower()}|{invoice.location.id}|"
        f"{invoice.customer.id if invoice.customer else ''}|{minute_text(invoice.minute)}Z|{invoice.total}|"
        f"{invoice.gst + invoice.pst}|{invoice.net}|{len(invoice.lines)}|"
        f"{'delivery' if invoice.delivery else 'in_store'}|{invoice.employee.id}"
    )


def state(shop: Shop, register: Register, book: Book, *, rows: bool) -> dict[str, Any]:
    """`{"customers": {"count", "sha256", "rows"?}, "sales": ..., "locations": ...}`."""
    streams = {
        "customers": [customer_line(customer) for customer in register.by_id.values()],
        "sales": [sale_line(invoice) for invoice in book.by_id.values()],
        "locations": [
            f"{place.id}|{place.name}|{'Active' if place.active else 'Inactive'}|{place.windows_zone}"
            for place in shop.locations.values()
        ],
    }
    return summed(streams, rows=rows)
