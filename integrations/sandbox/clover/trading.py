"""Making orders: lines, discounts, payments; giving back, voiding; stock that goes with them.

Times are stored to the second; the creation time is rounded, the time of change cut, so that on a fresh order the
second may be a second before the first [I-rec S23, how: I]. A refund moves the order's time [I]. A payment that is a
cent off the total happens, and one below it leaves the order partly paid [I-rec forum S31].
"""

from random import Random
from typing import Any

from integrations.sandbox.clover import shop
from integrations.sandbox.clover.customers import Customer
from integrations.sandbox.clover.inventory import Employee, Item, OrderType
from integrations.sandbox.clover.merchant import Merchant
from integrations.sandbox.clover.orders import Credit, Discount, Line, Order, Payment, Refund, VoidedLine
from integrations.sandbox.clover.rows import Row

_CARDS = (("VISA", "4111"), ("MC", "5500"), ("AMEX", "3700"), ("DISCOVER", "6011"))


def new_order(
    merchant: Merchant,
    *,
    created: int,
    modified: int | None = None,
    customer: Customer | None = None,
    employee: Employee | None = None,
    order_type: OrderType | None = None,
    title: str | None = None,
    note: str | None = None,
    state: str | None = "open",
    test: bool = False,
    manual: bool = False,
    untaxed: bool = False,
    external: str | None = None,
) -> Order:
    """An order without lines yet, in no list yet; times in ms. `employee` None: made over the API, without a device."""
    fields: dict[str, Any] = {"id": merchant.new_id(), "currency": "USD"}
    if employee is not None:
        fields["employee"] = {"id": employee.id}
    fields |= {"total": 0, "paymentState": "OPEN"}
    for name, value in (("title", title), ("note", note), ("externalReferenceId", external)):
        if value is not None:
            fields[name] = value
    if order_type is not None:
        fields["orderType"] = {"id": order_type.id}
    fields |= {"taxRemoved": untaxed, "isVat": merchant.vat}
    if state is not None:
        fields["state"] = state
    fields |= {
        "manualTransaction": manual,
        "groupLineItems": True,
        "testMode": test,
        "createdTime": created,
        "clientCreatedTime": created - 1000,
        "modifiedTime": created if modified is None else modified,
    }
    if employee is not None:
        fields["device"] = {"id": merchant.device}
    order = Order(merchant.id, fields)
    order.customer, order.employee, order.order_type = customer, employee, order_type
    return order


def add_line(
    merchant: Merchant,
    order: Order,
    item: Item | None,
    *,
    at: int,
    price: int | None = None,
    name: str | None = None,
    unit_qty: int | None = None,
    modifiers: tuple[tuple[str, int], ...] = (),
    fee: bool = False,
) -> Line:
    """One unit on an order; without an item a line that was keyed in by hand."""
    fields: dict[str, Any] = {"id": merchant.new_id(), "orderRef": {"id": order.id}}
    if item is not None:
        fields["item"] = {"id": item.id}
        price = item.fields["price"] if price is None else price
        name = item.fields["name"] if name is None else name
    fields |= {"name": name or "Custom Item", "price": price or 0}
    if unit_qty is not None:
        fields["unitQty"] = unit_qty
        if item is not None and item.fields["unitName"]:
            fields["unitName"] = item.fields["unitName"]
    coded = item and (item.fields.get("sku") or item.fields.get("code"))
    if coded:
        fields["itemCode"] = coded
    fields |= {
        "printed": False,
        "createdTime": at,
        "orderClientCreatedTime": order.fields["clientCreatedTime"],
        "exchanged": False,
        "refunded": False,
        "isRevenue": not fee and (item is None or item.fields["isRevenue"]),
    }
    if fee:
        fields["isOrderFee"] = True
    line = Line(fields, order)
    for label, cents in modifiers:
        modifier = {"id": shop.ident("modifier", label)}
        line.modifications.append({"id": merchant.new_id(), "name": label, "amount": cents, "modifier": modifier})
    if item is not None:
        line.rates = list(item.rates)
    elif not fee:
        line.rates = [merchant.default_rate]
    order.lines.append(line)
    return line


def discount(
    merchant: Merchant,
    owner: Order | Line,
    *,
    name: str,
    cents: int | None = None,
    percent: float | None = None,
    preset: Row | None = None,
) -> Discount | None:
    """A discount on an order or a line; None when it takes nothing."""
    back = "orderRef" if isinstance(owner, Order) else "lineItemRef"
    fields: dict[str, Any] = {"id": merchant.new_id(), back: {"id": owner.id}}
    if preset is not None:
        fields["discount"] = {"id": preset.id}
    fields["name"] = name[:64] or "Discount"
    if percent:
        if not 0 < percent <= 100:
            raise ValueError("percent lies above 0 and up to 100")
        parts = round(percent * 10_000)
        if parts % 10_000:
            fields["percentageDecimal"] = parts
        else:
            fields["percentage"] = parts // 10_000
    elif cents:
        if cents < 0:
            raise ValueError("cents of a discount are given as what comes off, above 0")
        fields["amount"] = -cents
    else:
        return None
    made = Discount(fields)
    owner.discounts.append(made)
    return made


def pay(
    merchant: Merchant,
    order: Order,
    *,
    at: int,
    amount: int,
    tax: int,
    tender: str = shop.CREDIT,
    tip: int = 0,
    result: str = "SUCCESS",
    rng: Random | None = None,
    external: str | None = None,
) -> Payment:
    """A payment on an order, in no list yet."""
    row = merchant.tender[tender]
    fields: dict[str, Any] = {"id": merchant.new_id(), "order": {"id": order.id}}
    if "device" in order.fields:
        fields["device"] = order.fields["device"]
    fields["tender"] = {"href": row.fields["href"], "id": row.id}
    fields["amount"] = amount
    if tip:
        fields["tipAmount"] = tip
    fields |= {"taxAmount": tax, "cashbackAmount": 0}
    if tender == shop.CASH:
        fields["cashTendered"] = -(-amount // 500) * 500
    if order.employee is not None:
        fields["employee"] = {"id": order.employee.id}
    fields |= {"createdTime": at, "clientCreatedTime": at, "modifiedTime": at, "offline": False}
    if external:
        fields["externalPaymentId"] = external
    fields["result"] = result
    payment = Payment(fields, order, row, order.employee)
    if tender in (shop.CREDIT, shop.DEBIT):
        chance = 0.0 if rng is None else rng.random()
        brand, first = _CARDS[int(len(_CARDS) * chance)]
        payment.card = {
            "cardType": brand,
            "entryType": "EMV_CONTACT",
            "type": "AUTH",
            "authCode": f"OK{int(1e4 * chance):04d}",
            "state": "CLOSED",
            "first6": first + "11",
            "last4": f"{int(1e8 * chance) % 10_000:04d}",
            "cardholderName": order.customer.full_name.upper() if order.customer else "CARDHOLDER",
            "referenceId": payment.id,
            "transactionNo": f"{int(1e9 * chance) % 1_000_000:06d}",
        }
    order.payments.append(payment)
    return payment


def total_up(order: Order) -> int:
    """The app that edits the order writes its total."""
    total = order.sums().total
    order.set(total=total)
    return total


def pay_all(
    merchant: Merchant,
    order: Order,
    *,
    at: int,
    tender: str = shop.CREDIT,
    tip: int = 0,
    off_by: int = 0,
    split: tuple[int, str] | None = None,
    rng: Random | None = None,
    external: str | None = None,
) -> None:
    """Pays the whole order and locks it. `off_by` cents are paid too much or too little, `split` is the amount and
    tender of a second payment."""
    sums = order.sums()
    due = order.fields.get("total", sums.total) + off_by
    parts = [(due, tender)]
    if split is not None and 0 < split[0] < due:
        parts = [(due - split[0], tender), split]
    taxed = 0
    for number, (amount, by) in enumerate(parts):
        tax = sums.tax - taxed if number == len(parts) - 1 else sums.tax * amount // due
        taxed += tax
        if due > 0:
            payment = pay(
                merchant, order, at=at, amount=amount, tax=tax, tender=by,
                tip=tip if not number else 0, rng=rng, external=external,
            )  # fmt: skip
            payment.taxes = sums.taxes if len(parts) == 1 else []
    order.set(state="locked", payType="FULL" if len(parts) == 1 else "SPLIT_CUSTOM")
    order.settle(at)


def book(merchant: Merchant, order: Order, *, stock: bool) -> None:
    """Puts an order with its payments into the lists, and takes its goods off the stock."""
    merchant.orders.add(order)
    for payment in order.payments:
        if payment.store is None:
            merchant.payments.add(payment)
    if stock and merchant.tracks_stock and merchant.properties.fields["updateStock"]:
        move_stock(merchant, order.lines, -1, order.fields["modifiedTime"])


def move_stock(merchant: Merchant, lines: list[Line], sign: int, at: int) -> None:
    for line in lines:
        item = merchant.items.by_id.get(line.fields.get("item", {}).get("id", ""))
        if isinstance(item, Item) and item.quantity is not None:
            taken = line.fields.get("unitQty", 1000) / 1000
            item.count(round(item.quantity + sign * taken, 3), at, sells_out=True)


def take_back(
    merchant: Merchant,
    order: Order,
    lines: list[Line],
    *,
    amount: int,
    at: int,
    tips: bool = False,
    reason: str | None = None,
) -> list[Refund]:
    """Gives `amount` back, of one payment after the other; `lines` are what came back for it."""
    made = []
    for payment in order.payments:
        part = min(amount, payment.left)
        if part <= 0:
            continue
        whole, left = payment.fields["amount"], payment.left
        tax = payment.fields["taxAmount"] * (whole - left + part) // whole
        tax -= payment.fields["taxAmount"] * (whole - left) // whole
        tip = payment.fields.get("tipAmount", 0) if tips else 0
        fields: dict[str, Any] = {"id": merchant.new_id(), "orderRef": {"id": order.id}}
        if "device" in order.fields:
            fields["device"] = order.fields["device"]
        fields |= {"amount": part + tip, "taxAmount": tax}
        if tip:
            fields["tipAmount"] = tip
        fields |= {"createdTime": at, "clientCreatedTime": at, "payment": {"id": payment.id}}
        if order.employee is not None:
            fields["employee"] = {"id": order.employee.id}
        fields |= {"voided": False, "status": "SUCCESS"}
        if reason:
            fields["reason"] = reason
        refund = Refund(fields, payment, order.employee, lines)
        payment.refunds.append(refund)
        order.refunds.append(refund)
        merchant.refunds.add(refund)
        made.append(refund)
        amount -= part
    for line in lines:
        line.set(refunded=True)
    order.settle(max(at, order.fields["modifiedTime"]))
    return made


def void(order: Order, payment: Payment, *, at: int, reason: str = "USER_CANCEL") -> None:
    """A payment that is taken back before it settled; the order is open again."""
    payment.set(result="VOIDED", voidReason=reason, modifiedTime=at)
    order.set(state="open")
    order.settle(at)


def remove_line(
    merchant: Merchant, order: Order, line: Line, *, at: int, reason: str = "Customer changed mind"
) -> None:
    """Takes a line off an order that is not paid yet."""
    order.lines.remove(line)
    fields: dict[str, Any] = {"lineItem": line.fields, "reason": reason}
    if order.employee is not None:
        staff = {"id": order.employee.id}
        fields |= {"removedBy": staff, "approvedBy": staff, "createdBy": staff}
    merchant.voided_lines.add(VoidedLine(fields | {"deletedTime": at}, line))


def credit(
    merchant: Merchant, *, amount: int, tax: int, at: int, customer: Customer | None, employee: Employee
) -> Credit:
    """Money back without a sale: a credit on an order of its own, which has no lines."""
    order = new_order(merchant, created=at, customer=customer, employee=employee, manual=True, state="locked")
    row = merchant.tender[shop.CASH]
    fields: dict[str, Any] = {
        "id": merchant.new_id(),
        "orderRef": {"id": order.id},
        "device": {"id": merchant.device},
        "tender": {"href": row.fields["href"], "id": row.id},
        "employee": {"id": employee.id},
        "amount": amount,
        "taxAmount": tax,
        "createdTime": at,
        "clientCreatedTime": at,
        "voided": False,
        "result": "SUCCESS",
    }
    if customer is not None:
        fields["customers"] = {"id": customer.id}
    made = Credit(fields, order, row, employee)
    order.credits.append(made)
    order.settle(at)
    merchant.orders.add(order)
    merchant.credits.add(made)
    return made
