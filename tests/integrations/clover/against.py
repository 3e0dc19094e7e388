"""Our tables as Clover's stand-in states them (`GET /_sandbox/state?rows=1`), as far as both tell it.

What we make of an order is less than an order: those that were never paid and those of test mode are no sales, and an
order that was only a credit is a refund.
"""

from decimal import Decimal

from integrations.models import Customer, Location, Product, Sale, Stock, Term


def customers(origin_id):
    return sorted(
        f"{c.external_id}|{c.first_name}|{c.last_name}|{digits(c.phone_raw)}|{c.email_raw.lower()}|{c.state}"
        for c in Customer.unscoped.filter(origin=origin_id)
    )


def digits(text):
    return "".join(sign for sign in text if sign in "0123456789")


def theirs_customers(rows):
    """The stand-in tells all phones and mails: ours is one of them, so only the sets are compared by the caller."""
    for row in rows:
        found, _, first, last, phones, mails, _, state, _, _ = row.split("|")
        yield found, first, last, set(phones.split(",")), set(mails.split(",")), state


def sales(origin_id):
    """id, customer, employee, paid, tax, given back"""
    given = {}
    for one in Sale.unscoped.filter(origin=origin_id, kind="refund"):
        given[one.original_id] = given.get(one.original_id, 0) - one.total_cents
    return sorted(
        f"{s.external_id}|{s.customer_id}|{s.employee_id}|{s.total_cents}|{s.tax_cents}|{given.get(s.external_id, 0)}"
        for s in Sale.unscoped.filter(origin=origin_id, kind="sale")
    )


def theirs_sales(rows, customers):
    """The orders that are sales. A deleted customer's id is kept here, and left out there."""
    for row in rows:
        found, _, customer, employee, _, total, paid, tax, back, _, state, _, test = row.split("|")
        if test == "1" or state in ("OPEN", "CREDITED"):
            continue
        yield found, customer, employee, int(paid), int(tax), int(back)


def items(origin_id):
    levels = {s.product_id: s.quantity for s in Stock.unscoped.filter(origin=origin_id)}
    return sorted(
        f"{p.external_id}|{p.name}|{quantity(levels.get(p.external_id))}"
        for p in Product.unscoped.filter(origin=origin_id)
    )


def quantity(value):
    return "" if value is None else f"{Decimal(value).normalize():f}"


__all__ = ["Location", "Term", "customers", "digits", "items", "quantity", "sales", "theirs_customers", "theirs_sales"]
