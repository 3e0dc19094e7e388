"""Making invoices: random baskets, priced and paid; sales and refunds that a test asks for.

`cents` are whole cents before tax. A percentage after tax is taken of lines plus taxes [INF].
"""

from datetime import UTC, datetime
from random import Random
from typing import Any

from integrations.sandbox.cova.customers import Customer
from integrations.sandbox.cova.invoices import TICKS, Invoice, Line, gross, spread, taxed
from integrations.sandbox.cova.shop import CASH, DEBIT, MASTERCARD, PRODUCTS, VISA, Location, Product

LOOSE = tuple(product for product in PRODUCTS if product.mass)
PIECES = tuple(product for product in PRODUCTS if not product.mass)
_CART_NAMES = (("Neighbour 10%", 10, 0), ("5 dollars off", 0, 500), ("Happy hour 15%", 15, 0))
_BASE36 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"


def guid(rng: Random) -> str:
    text = f"{rng.getrandbits(128):032x}"
    return f"{text[:8]}-{text[8:12]}-4{text[13:16]}-a{text[17:20]}-{text[20:]}"


def receipt_code(rng: Random) -> str:
    """A receipt code such as `IN5RQ2-55Z1LX`."""
    number = rng.getrandbits(52)
    signs = []
    for _ in range(10):
        number, sign = divmod(number, 36)
        signs.append(_BASE36[sign])
    return f"IN{''.join(signs[:4])}-{''.join(signs[4:])}"


def priced(product: Product, quantity: int, *, price: int | None = None, percent_off: int = 0) -> Line:
    """A line at list or sale price, less a line discount; `quantity` in pieces or milligrams."""
    listed = product.price if price is None else price
    sale = product.sale if price is None else None
    full = gross(product, quantity, listed if sale is None else sale)
    off = full * percent_off // 100
    return Line(product, quantity, listed, sale, full - off, line_off=off)


def basket(rng: Random, customer: Customer | None) -> list[Line]:
    """What somebody buys: one to six lines, 15 % of them by weight; members save 5 % on some of their lines."""
    r = rng.random
    count = 1 + int(6 * r() ** 2.6)
    group = None if customer is None else customer.light["PricingGroupId"]
    lines = []
    for _ in range(count):
        off = 0
        if group is not None and r() < 0.3:
            off = 20 if group == 42 else 5
        elif r() < 0.03:
            off = 10
        if r() < 0.15:
            quantity = (1000, 1000, 2000, 3500, 1750, 7000, 1230)[int(7 * r())]
            lines.append(priced(LOOSE[int(len(LOOSE) * r())], quantity, percent_off=off))
        else:
            quantity = 1 if r() < 0.75 else 2 + int(3 * r() ** 2)
            lines.append(priced(PIECES[int(len(PIECES) * r() ** 1.3)], quantity, percent_off=off))
    return lines


def random_discount(rng: Random) -> dict[str, Any] | None:
    """A cart discount on 5.5 % of sales, a quarter of them after tax."""
    chance = rng.random()
    if chance >= 0.055:
        return None
    name, percent, cents = _CART_NAMES[int(len(_CART_NAMES) * rng.random())]
    return {"name": name, "percent": percent, "cents": cents, "after_tax": chance < 0.014}


def finish(rng: Random, invoice: Invoice, discount: dict[str, Any] | None = None) -> Invoice:
    """Takes the cart discount, computes the taxes, adds up. Payments come afterwards, with `pay`."""
    if discount and not discount.get("after_tax"):
        base = sum(line.net for line in invoice.lines)
        cut = min(base, _cut(discount, base))
        if cut > 0:
            for line, share in zip(invoice.lines, spread(cut, [line.net for line in invoice.lines]), strict=True):
                line.cart_off = share
                line.net -= share
            invoice.cart = (guid(rng), str(discount.get("name") or "Discount"), cut)
    for line in invoice.lines:
        taxed(line)
    invoice.add_up()
    if discount and discount.get("after_tax"):
        cut = min(invoice.total, _cut(discount, invoice.total))
        if cut > 0:
            invoice.post = [(guid(rng), str(discount.get("name") or "Discount"), -cut)]
            invoice.add_up()
    return invoice


def _cut(discount: dict[str, Any], base: int) -> int:
    if discount.get("percent"):
        return round(base * float(discount["percent"]) / 100)
    return int(discount.get("cents") or 0)


def pay(rng: Random, invoice: Invoice, tender: str | None = None) -> None:
    """Debit and cards exact, cash with change, now and then two tenders or cash back."""
    due = invoice.total
    if due <= 0:  # a discount took it all: nothing is paid
        return
    chance = {"debit": 0.5, "cash": 0.9, None: rng.random()}[tender]
    if chance < 0.05 and due > 1000:
        card = 500 * (1 + int((due // 500 - 1) * rng.random()))
        invoice.payments = [(DEBIT, card), _cash(invoice, due - card)]
    elif chance < 0.06:
        invoice.cash_back = 2000
        invoice.payments = [(DEBIT, due + 2000)]
    elif chance < 0.6:
        invoice.payments = [(DEBIT, due)]
    elif chance < 0.7:
        invoice.payments = [(VISA if chance < 0.66 else MASTERCARD, due)]
    else:
        invoice.payments = [_cash(invoice, due)]


def _cash(invoice: Invoice, due: int) -> tuple[int, int]:
    tendered = -(-due // 500) * 500
    invoice.change = tendered - due
    return (CASH, tendered)


def left(invoice: Invoice) -> list[tuple[Line, int]]:
    """What has not come back yet of a sale."""
    return [(line, line.quantity - line.returned) for line in invoice.lines if line.quantity > line.returned]


def take_back(
    rng: Random,
    sale: Invoice,
    wanted: list[tuple[Line, int]],
    *,
    number: str,
    receipt: str | None,
    ticks: int,
) -> Invoice:
    """The refund of `wanted` quantities of a sale; parts add up to the sale's own cents once all came back."""
    whole = sale.net + sale.gst + sale.pst
    lines = []
    for line, quantity in wanted:
        before, after = line.returned, line.returned + quantity
        line.returned = after
        back = [_part(cents, line.quantity, before, after) for cents in (line.net, line.gst, line.pst)]
        lines.append(
            Line(line.product, -quantity, line.list_price, line.sale_price, -back[0], 0, 0, -back[1], -back[2])
        )
    refund = Invoice(
        id=guid(rng),
        number=number,
        receipt=receipt,
        location=sale.location,
        employee=sale.employee,
        customer=sale.customer,
        ticks=ticks,
        lines=lines,
        delivery=sale.delivery,
        original=sale,
    )
    refund.add_up()
    before = sale.returned_gross
    sale.returned_gross -= refund.total
    if whole:
        for _, name, cents in sale.post:
            back_post = _part(-cents, whole, before, sale.returned_gross)
            if back_post:
                refund.post.append((guid(rng), name, back_post))
    refund.add_up()
    if refund.total:
        method = sale.payments[0][0] if sale.payments else CASH
        refund.payments = [(method, refund.total)]
    return refund


def _part(cents: int, whole: int, before: int, after: int) -> int:
    return cents * after // whole - cents * before // whole


def asked_lines(shop: Any, wanted: list[dict[str, Any]]) -> list[Line]:
    """Lines of a control call: sku, name, category, brand, price_cents, quantity (grams by weight)."""
    lines = []
    for row in wanted:
        product = shop.product(row)
        quantity = round(float(row.get("quantity", 1)) * (1000 if product.mass else 1))
        if quantity < 1:
            raise ValueError("quantity must be above 0")
        price = row.get("price_cents")
        lines.append(priced(product, quantity, price=None if price is None else int(price)))
    return lines


def asked_discount(body: dict[str, Any]) -> dict[str, Any] | None:
    if body.get("discount"):
        return dict(body["discount"])
    if body.get("discount_cents"):
        return {"name": "Discount", "cents": int(body["discount_cents"])}
    return None


def ticks_of(at: datetime) -> int:
    """100 ns since 1970, exact to the microsecond."""
    span = at.astimezone(UTC) - datetime(1970, 1, 1, tzinfo=UTC)
    return (span.days * 86400 + span.seconds) * TICKS + span.microseconds * 10


def random_sale(
    rng: Random, *, number: str, place: Location, customer: Customer | None, ticks: int, blank_payments: float
) -> Invoice:
    """One sale of ordinary trade."""
    r = rng.random
    invoice = Invoice(
        id=guid(rng),
        number=number,
        receipt=receipt_code(rng) if r() < 0.9 else None,
        location=place,
        employee=place.staff[int(len(place.staff) * r())],
        customer=customer,
        ticks=ticks,
        lines=basket(rng, customer),
        delivery=r() < 0.08,
    )
    group = None if customer is None else customer.light["PricingGroupId"]
    if group is not None:
        invoice.line_name = "Staff price" if group == 42 else "Members price"
    finish(rng, invoice, random_discount(rng))
    pay(rng, invoice)
    invoice.blank = r() < blank_payments
    return invoice
