"""What a test does to the books: sales, refunds, edits in the POS, trade. Bodies in their methods."""

import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from integrations.sandbox.clover import shop, trading
from integrations.sandbox.clover.customers import Customer, Part, part
from integrations.sandbox.clover.hand import Hand
from integrations.sandbox.clover.inventory import Employee, Item, OrderType
from integrations.sandbox.clover.merchant import Merchant
from integrations.sandbox.clover.orders import Order, Payment
from integrations.sandbox.clover.seed import Trade
from integrations.sandbox.clover.state import instant
from integrations.sandbox.wire import Refused

_TENDERS = {"credit": shop.CREDIT, "debit": shop.DEBIT, "cash": shop.CASH, "external": shop.EXTERNAL}
_SALE = (
    *("phone", "customer_id", "location", "lines", "discount", "discount_cents", "transaction", "at", "employee_id"),
    *("tender", "tip_cents", "order_type", "state", "test", "manual", "untaxed", "mismatch_cents", "note"),
)
_CUSTOMER = {"first_name": "firstName", "last_name": "lastName", "marketing_allowed": "marketingAllowed"}
_METADATA = {"note": "note", "business_name": "businessName"}


def digits(text: str) -> str:
    """A phone as its digits, without a leading 1 of eleven."""
    found = "".join(sign for sign in text if sign in "0123456789")
    return found[1:] if len(found) == 11 and found[0] == "1" else found


class Control:
    """Acts on the merchants that `merchants()` gives; the first is meant when none is named."""

    def __init__(self, merchants: Callable[[], list[Merchant]]) -> None:
        self._merchants = merchants
        self.hand = Hand(self._start, self._reduce, self._delete_order, self._finish)

    # sales

    def sell(self, body: dict[str, Any]) -> dict[str, Any]:
        """A sale. `phone` or `customer_id` (neither: anonymous), `location` (merchant id or name), `lines` of `sku,
        name, category, price_cents, quantity, unit_qty, modifiers [{name, cents}], discount, custom`, `discount {name,
        cents or percent}`, `transaction` (the order's number), `at`, `employee_id`, `tender` (credit, debit, cash,
        external or a label), `tip_cents`, `order_type` (label), `state` (paid, open, hidden), `test`, `manual`,
        `untaxed`, `mismatch_cents` (paid so much more or less than the total), `note`."""
        order = self._start(body)
        return self._sale(order)

    def _start(self, body: dict[str, Any]) -> Order:
        strange = set(body) - set(_SALE)
        if strange:
            raise Refused(400, f"Unknown fields: {', '.join(sorted(strange))}")
        state = body.get("state", "paid")
        if state not in ("paid", "open", "hidden"):
            raise Refused(400, "state is paid, open or hidden")
        merchant = self._place(body.get("location"))
        created, changed = self._times(body.get("at"))
        customer = self._buyer(merchant, body)
        merchant.serial += 1
        order = trading.new_order(
            merchant,
            created=created,
            modified=changed,
            customer=customer,
            employee=self._employee(merchant, body.get("employee_id")),
            order_type=self._order_type(merchant, body.get("order_type")),
            title=str(body["transaction"]) if body.get("transaction") else str(merchant.serial),
            note=body.get("note"),
            state=None if state == "hidden" else "open",
            test=bool(body.get("test")),
            manual=bool(body.get("manual")),
            untaxed=bool(body.get("untaxed")),
        )
        if body.get("lines"):
            for row in body["lines"]:
                self._line(merchant, order, row, created)
        else:
            Trade(merchant.rng, merchant, created, live=True).fill(order, created)
        self._discount(merchant, order, body.get("discount"), body.get("discount_cents"))
        trading.total_up(order)
        if state == "paid":
            self._pay(merchant, order, body, changed)
        trading.book(merchant, order, stock=state == "paid")
        return order

    def _line(self, merchant: Merchant, order: Order, row: dict[str, Any], at: int) -> None:
        quantity = int(row.get("quantity", 1))
        if quantity < 1 or quantity != row.get("quantity", 1):
            raise ValueError("quantity is a whole number above 0; goods by weight bear unit_qty, in thousandths")
        price = None if row.get("price_cents") is None else int(row["price_cents"])
        modifiers = tuple((str(one["name"]), int(one["cents"])) for one in row.get("modifiers") or ())
        item = None if row.get("custom") else merchant.item_of(row, at)
        for _ in range(quantity):
            line = trading.add_line(
                merchant,
                order,
                item,
                at=at,
                price=price,
                name=row.get("name"),
                unit_qty=None if row.get("unit_qty") is None else int(row["unit_qty"]),
                modifiers=modifiers,
            )
            self._discount(merchant, line, row.get("discount"), None)

    def _discount(self, merchant: Merchant, owner: Any, asked: Any, cents: Any) -> None:
        if asked and asked.get("after_tax"):
            raise Refused(400, "Clover takes discounts off before tax")
        if asked:
            amount = None if asked.get("cents") is None else int(asked["cents"])
            name = str(asked.get("name") or "Discount")
            trading.discount(merchant, owner, name=name, cents=amount, percent=asked.get("percent"))
        elif cents:
            trading.discount(merchant, owner, name="Discount", cents=int(cents))

    def _pay(self, merchant: Merchant, order: Order, body: dict[str, Any], at: int) -> None:
        tender = str(body.get("tender", "credit"))
        tender = _TENDERS.get(tender, tender)
        if tender not in merchant.tender:
            raise Refused(404, f"No tender {tender!r}")
        tip, off_by = int(body.get("tip_cents") or 0), int(body.get("mismatch_cents") or 0)
        trading.pay_all(merchant, order, at=at, tender=tender, tip=tip, off_by=off_by, rng=merchant.rng)

    def _finish(self, order: Order, body: dict[str, Any]) -> dict[str, Any]:
        """Pays an order that stands open."""
        merchant = self._of(order)
        self._pay(merchant, order, body, self._times(body.get("at"))[1])
        for payment in order.payments:
            if payment.store is None:
                merchant.payments.add(payment)
        trading.move_stock(merchant, order.lines, -1, order.fields["modifiedTime"])
        return self._sale(order)

    def _reduce(self, order: Order, asked: dict[str, Any] | None) -> None:
        """Types a discount onto an open order, or takes it off."""
        if asked is None:
            order.discounts.clear()
        else:
            if not asked.get("cents") and not asked.get("percent"):
                raise Refused(400, "apply needs cents or percent, and the name as typed")
            self._discount(self._of(order), order, asked, None)
        trading.total_up(order)
        order.settle(self._times(None)[1])

    def _delete_order(self, order: Order) -> None:
        now = self._times(None)[1]
        order.deleted = now
        order.set(deletedTimestamp=now, modifiedTime=now)

    def _sale(self, order: Order) -> dict[str, Any]:
        return {
            "id": order.id,
            "number": order.fields.get("title", ""),
            "customer_id": order.customer and order.customer.id,
            "location_id": self._of(order).id,
            "total_cents": order.fields.get("total"),
            "tax_cents": order.sums().tax,
            "lines_cents": order.sums().net,
            "paid_cents": order.paid,
            "payment_ids": [row.id for row in order.payments],
            "state": order.fields["paymentState"],
            "at": instant(order.created),
        }

    def refund(self, body: dict[str, Any]) -> dict[str, Any]:
        """Gives back `id`: all that is left of it with its tips, or `lines` of number (each is one unit), or
        `amount_cents`."""
        order = self._order(body.get("id"))
        merchant, now = self._of(order), self._times(body.get("at"))[1]
        if now < order.created - 1000:
            raise Refused(400, "A refund cannot come before its sale")
        left = order.paid - order.given_back
        lines, amount = [line for line in order.lines if not line.fields["refunded"]], left
        if body.get("amount_cents") is not None:
            lines, amount = [], int(body["amount_cents"])
        elif body.get("lines"):
            lines = [self._refundable(order, row) for row in body["lines"]]
            if len(set(lines)) != len(lines):
                raise Refused(409, "A line comes twice")
            shares = dict(zip((line.id for line in order.lines), order.sums().shares(order.paid), strict=True))
            amount = sum(shares[line.id] for line in lines)
            if len(lines) == len([line for line in order.lines if not line.fields["refunded"]]):
                amount = left  # the last of it: cents that rounding left over go too
        if not 0 < amount <= left:
            raise Refused(409, f"Of the sale only {left} cents are left to give back")
        whole = amount == left and not order.given_back
        made = trading.take_back(
            merchant,
            order,
            lines,
            amount=amount,
            at=now,
            tips=whole and not body.get("lines"),
            reason=body.get("reason"),
        )
        if merchant.properties.fields["updateStock"] and merchant.tracks_stock:
            trading.move_stock(merchant, lines, 1, now)
        return {
            "id": made[0].id,
            "ids": [row.id for row in made],
            "total_cents": -sum(row.fields["amount"] for row in made),
            "tax_cents": -sum(row.fields["taxAmount"] for row in made),
            "state": order.fields["paymentState"],
            "at": instant(now),
        }

    def _refundable(self, order: Order, row: dict[str, Any]) -> Any:
        number = int(row["line"])
        if not 1 <= number <= len(order.lines):
            raise Refused(404, f"The sale has no line {number}")
        if row.get("quantity", 1) != 1:
            raise Refused(400, "A line is one unit")
        line = order.lines[number - 1]
        if line.fields["refunded"]:
            raise Refused(409, f"Line {number} was given back already")
        return line

    def trade(self, count: int) -> list[dict[str, Any]]:
        """`count` random orders, now: most of them sales."""
        made = []
        for _ in range(count):
            merchants = self._merchants()
            merchant = merchants[int(len(merchants) * merchants[0].rng.random())]
            rng, now = merchant.rng, self._times(None)[1]
            buyers: list[Any] = [row for row in merchant.customers.rows if row.shown([])]
            known = buyers and rng.random() >= 0.15
            customer = buyers[int(len(buyers) * rng.random())] if known else None
            order = Trade(rng, merchant, now, live=True).order(now, customer, stock=True)
            made.append(self._sale(order))
        return made

    # edits

    def edit(self, body: dict[str, Any]) -> dict[str, Any]:
        """An edit made in the POS. One of: `customer_id` (none of these keys: a new customer) with first_name,
        last_name, phone, email (None takes it away), state, birth_date, note, business_name, marketing_allowed,
        deleted; `order_id` with title, note, deleted; `payment_id` with void; `item_id` with name, price, hidden,
        quantity, deleted; `employee_id` with name, deleted; `properties` with their fields."""
        body = dict(body)
        merchant = self._place(body.pop("location", None))
        if "properties" in body:
            merchant.properties.set(**body["properties"])
            merchant.vat = bool(merchant.properties.fields["vat"])
            return dict(merchant.properties.fields)
        for name, act in (
            ("order_id", self._edit_order),
            ("payment_id", self._edit_payment),
            ("item_id", self._edit_item),
            ("employee_id", self._edit_employee),
        ):
            if name in body:
                return act(str(body.pop(name)), body)
        return self._edit_customer(merchant, body)

    def _edit_order(self, identity: str, body: dict[str, Any]) -> dict[str, Any]:
        order = self._order(identity)
        self._only(body, "title", "note", "deleted")
        if body.pop("deleted", False):
            self._delete_order(order)
        order.set(**body, modifiedTime=self._times(None)[1])
        return {"order_id": order.id}

    def _edit_payment(self, identity: str, body: dict[str, Any]) -> dict[str, Any]:
        self._only(body, "void")
        for merchant in self._merchants():
            payment = merchant.payments.by_id.get(identity)
            if isinstance(payment, Payment):
                if not payment.counts or payment.refunds:
                    raise Refused(409, "Only a payment that counts and was not given back can be voided")
                trading.void(payment.order, payment, at=self._times(None)[1])
                return {"payment_id": payment.id, "state": payment.order.fields["paymentState"]}
        raise Refused(404, f"No payment {identity!r}")

    def _edit_item(self, identity: str, body: dict[str, Any]) -> dict[str, Any]:
        self._only(body, "name", "price", "hidden", "quantity", "deleted", "available")
        now = self._times(None)[1]
        for merchant in self._merchants():
            item = merchant.items.by_id.get(identity)
            if isinstance(item, Item):
                if "quantity" in body:
                    item.count(body.pop("quantity"), now, sells_out=True)
                if body.get("deleted"):
                    body["deletedTime"] = now
                if body:
                    item.set(**body, modifiedTime=now)
                return {"item_id": item.id}
        raise Refused(404, f"No item {identity!r}")

    def _edit_employee(self, identity: str, body: dict[str, Any]) -> dict[str, Any]:
        self._only(body, "name", "deleted")
        for merchant in self._merchants():
            row = merchant.employees.by_id.get(identity)
            if row is not None:
                if body.pop("deleted", False):
                    body["deletedTime"] = self._times(None)[1]
                row.set(**body)
                return {"employee_id": row.id}
        raise Refused(404, f"No employee {identity!r}")

    def _edit_customer(self, merchant: Merchant, body: dict[str, Any]) -> dict[str, Any]:
        identity = body.pop("customer_id", None)
        named = (*_CUSTOMER, *_METADATA, "phone", "email", "state", "birth_date", "deleted")
        self._only(body, *named)
        created, now = self._times(None)
        if identity is None:
            customer = Customer(merchant.id, merchant.new_id(), created, None, None)
        else:
            merchant, customer = self._known(str(identity))
        names = {_CUSTOMER[name]: body[name] for name in _CUSTOMER if name in body}
        customer.set(**names)
        metadata = {_METADATA[name]: body[name] for name in _METADATA if name in body}
        if body.get("birth_date"):
            year, month, day = str(body["birth_date"])[:10].split("-")
            metadata |= {"dobYear": int(year), "dobMonth": int(month), "dobDay": int(day)}
        if metadata or identity is None:
            customer.merge_metadata(metadata, now)
        self._contact(merchant, customer, customer.phones, "phones", "phoneNumber", body.get("phone", ...))
        self._contact(merchant, customer, customer.emails, "emails", "emailAddress", body.get("email", ...))
        if body.get("state"):
            place = {"address1": "1 Harbour Rd", "city": merchant.place.city, "zip": merchant.place.zip}
            customer.addresses.clear()
            part("addresses", merchant.new_id(), customer, {**place, "state": str(body["state"]), "country": "US"})
        if body.get("deleted"):
            customer.deleted = now
        customer.touched(now)
        if identity is None:
            merchant.customers.add(customer)
        return {"customer_id": customer.id, "location_id": merchant.id}

    def _contact(
        self, merchant: Merchant, customer: Customer, rows: list[Part], kind: str, name: str, value: Any
    ) -> None:
        if value is ...:
            return
        if value is None:
            rows.clear()
        elif rows:
            rows[0].set(**{name: str(value)})
        else:
            part(kind, merchant.new_id(), customer, {name: str(value)})

    def shift(self, path: str) -> None:
        """Puts a row before those of a list: a customer where customers are read, else an order."""
        merchant = next((one for one in self._merchants() if one.id in path), self._merchants()[0])
        if "/customers" in path:
            self.edit({"location": merchant.id, "first_name": "Late", "last_name": "Comer"})
        else:
            self.sell({"location": merchant.id})

    # finding

    def _only(self, body: dict[str, Any], *names: str) -> None:
        strange = set(body) - set(names)
        if strange:
            raise Refused(400, f"Unknown fields: {', '.join(sorted(strange))}")

    def _place(self, wanted: Any) -> Merchant:
        merchants = self._merchants()
        if wanted is None:
            return merchants[0]
        for merchant in merchants:
            if str(wanted) in (merchant.id, merchant.name):
                return merchant
        raise Refused(404, f"No location {wanted!r}")

    def _of(self, order: Order) -> Merchant:
        """The merchant of an order, which may not be in its books yet."""
        return next(one for one in self._merchants() if one.id in order.fields["href"])

    def _order(self, identity: Any) -> Order:
        for merchant in self._merchants():
            order = merchant.orders.by_id.get(str(identity))
            if isinstance(order, Order) and order.deleted is None:
                return order
        raise Refused(404, f"No sale {identity!r}")

    def _known(self, identity: str) -> tuple[Merchant, Customer]:
        for merchant in self._merchants():
            customer = merchant.customers.by_id.get(identity)
            if isinstance(customer, Customer) and customer.deleted is None:
                return merchant, customer
        raise Refused(404, f"No customer {identity!r}")

    def _buyer(self, merchant: Merchant, body: dict[str, Any]) -> Customer | None:
        if body.get("customer_id"):
            owner, customer = self._known(str(body["customer_id"]))
            if owner is not merchant:
                raise Refused(404, f"No customer {body['customer_id']!r} at {merchant.name}")
            return customer
        if not body.get("phone"):
            return None
        wanted = digits(str(body["phone"]))
        rows: list[Any] = merchant.customers.rows
        for customer in rows:
            if customer.deleted is None and any(digits(row.fields["phoneNumber"]) == wanted for row in customer.phones):
                return customer
        raise Refused(404, f"No customer with phone {body['phone']!r}")

    def _employee(self, merchant: Merchant, identity: Any) -> Employee:
        row = merchant.employees.rows[0] if identity is None else merchant.employees.by_id.get(str(identity))
        if not isinstance(row, Employee) or row.gone:
            raise Refused(404, f"No employee {identity!r} at {merchant.name}")
        return row

    def _order_type(self, merchant: Merchant, label: Any) -> OrderType | None:
        if label is None:
            return None
        for row in merchant.order_types.rows:
            if isinstance(row, OrderType) and row.fields.get("label") == label and not row.retired:
                return row
        raise Refused(404, f"No order type {label!r}")

    def _times(self, at: Any) -> tuple[int, int]:
        """(creation, change) in ms of whole seconds: now, the first rounded, the second cut; or a time asked for."""
        now = int(time.time() * 1000)
        if at is None:
            return (now + 500) // 1000 * 1000, now // 1000 * 1000
        moment = datetime.fromisoformat(str(at))
        asked = int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()) * 1000
        if asked > now + 60_000:
            raise Refused(400, "at lies in the future")
        return asked, asked
