"""A stand-in for the Cova point of sale: stateful, strict, deterministic, over real HTTP.

Built from public facts alone, gathered with their marks in the project's reference: [D] the vendor's present portal,
[D19] its portal of 2018 and 2019, [IQ] iQmetrix' documentation of the same services, [OBS] seen in public clients,
[INF] inferred by us because something had to be chosen. Nothing here was checked against the real service.

Where to find what, each with its own list of what is known and what is inferred:

- `access`: log-in, tokens, rate limits            - `shop`: stores, staff, products, credentials
- `routes`: paths, strict queries, JSON or HAL     - `people`, `seed`, `trading`: what is invented and how
- `crm`, `crm_fields`: customers                   - `state`: the checksums and their fields
- `company`: locations, groups, taxes, users       - `odata`: filters
- `reports`, `invoices`: sales, points

Chosen here [INF]: 401 and 403 bodies; the company of somebody else is 403, an unknown one 404 in the entity manager and
403 elsewhere; calls count against the limit before the token is looked at; the vendor's own points programme is off,
so details show `Loyalty` null (switch `own_points` of the seed turns it on: one point a dollar before tax), while the
points summary always tells what a customer has left from it.

Switches of the seed: customers, sales (invoices, refunds included), locations, seed, days, blank_payments, rate
(absent: as it was, at first the vendor's own; 0 off), own_points (false), long_ranges (true: a range over 31 days
answers 500), search_lag_s (0: for so many seconds both searches do not know a customer that was created [INF]; lists,
the feed of changes and single records do).
"""

import gc
import threading
import time
from contextlib import AbstractContextManager, nullcontext
from datetime import UTC, datetime
from random import Random
from typing import Any, ClassVar

from integrations.sandbox.cova import people, shop, trading
from integrations.sandbox.cova.access import EXPIRED_PASSWORD, Limiter, Tokens, oauth_error, too_many
from integrations.sandbox.cova.company import Company
from integrations.sandbox.cova.crm import Crm
from integrations.sandbox.cova.customers import Customer, Register, digits
from integrations.sandbox.cova.invoices import TICKS, Book, Invoice, tick_text
from integrations.sandbox.cova.reports import Reports
from integrations.sandbox.cova.routes import Fail, Router, read_query, split
from integrations.sandbox.cova.seed import Plan, grow
from integrations.sandbox.cova.state import state
from integrations.sandbox.faults import Fault
from integrations.sandbox.wire import Refused, Request, Response

_DENIED = Fail(401, "Authorization has been denied for this request.")
_FORBIDDEN = Fail(403, "The user does not have permission for this request.")
_EDITS = {
    "first_name": "PrimaryName",
    "last_name": "FamilyName",
    "birth_date": "DateOfBirth",
    "pricing_group_id": "PricingGroupId",
    "disabled": "Disabled",
    "do_not_contact": "DoNotContact",
    "merged_into": "MergedIntoCustomerId",
    "notes": "Notes",
    "unique_identifier": "UniqueIdentifier",
}
_gc_lock = threading.Lock()


class Cova:
    """The vendor: one company, its customers and its invoices."""

    switches: ClassVar[frozenset[str]] = frozenset(
        {"customers", "sales", "locations", "seed", "days", "rate", "blank_payments"}
    )
    by_hand = None  # its till talks to us

    def __init__(self) -> None:
        self.tokens, self.limiter = Tokens(), Limiter()
        self.shop, self.register, self.book = shop.Shop(2), Register(), Book()
        self.rng = Random(0)
        self.plan = Plan()
        self.own_points, self.long_ranges = False, True
        self.search_lag_s = 0.0
        self.router = Router()
        for part in (Company(self), Crm(self), Reports(self)):
            part.routes(self.router)

    # the vendor's own API

    def hold(self, request: Request) -> AbstractContextManager[Response | None]:
        """Nothing is known of a limit on calls at once."""
        return nullcontext()

    def answer(self, request: Request) -> Response:
        """One call of a client."""
        service, path = split(request.path)
        if service == "accounts":
            return self._log_in(request, path)
        if not self.router.knows(service):
            return Fail(404, "Resource not found").response()
        known = self.tokens.valid(request.headers.get("authorization", ""))
        headers, refusal = self.limiter.count(service, known)
        if refusal is not None:
            return refusal
        try:
            if not known:
                raise _DENIED
            handler, call, allowed = self.router.find(request, service, path)
            self._check_company(service, int(call.ids[0]))
            call.query = read_query(request.query, allowed)
            response = handler(call)
        except Fail as fail:
            response = fail.response()
        response.headers = [*response.headers, *headers]
        return response

    def _log_in(self, request: Request, path: str) -> Response:
        if path.lower().rstrip("/") != "/v1/oauth2/token":
            return Fail(404, "Resource not found").response()
        headers, refusal = self.limiter.count("accounts", False)
        if refusal is not None:
            return refusal
        if request.method != "POST":
            return Fail(405, "The requested resource supports POST only.").response()
        if request.query:
            return oauth_error("invalid_request", "The parameters belong into the body.")
        response = self.tokens.grant(request)
        response.headers += headers
        return response

    def _check_company(self, service: str, company: int) -> None:
        if company == shop.COMPANY_ID or (service == "usermanager" and company in self.shop.locations):
            return
        if service == "entitymanager" and company != shop.OTHER_COMPANY_ID:
            raise Fail(404, "Entity Not Found")
        raise _FORBIDDEN

    # faults

    def applies(self, fault: Fault, request: Request) -> bool:
        """The password faults meet token calls wherever they match; a missing permission all other calls."""
        log_in = split(request.path)[0] == "accounts"
        if fault.kind in ("bad_password", "temporary_password"):
            return log_in
        return not log_in and request.path.lower().startswith(fault.match)

    def installed(self, fault: Fault) -> None:
        """A password that is changed ends the tokens that were got with it [INF]."""
        if fault.kind in ("bad_password", "temporary_password"):
            self.tokens.revoke_all()

    def refuse(self, kind: str, request: Request, *, seconds: float | None = None) -> Response:
        """The vendor's words for a fault."""
        if kind.startswith("429"):
            return too_many(int(1 if seconds is None else seconds), [])
        if kind == "500":
            return Fail(500, "An error has occurred.").response()
        if kind == "503":
            return Fail(503, "The service is unavailable.").response()
        if kind == "no_permission":
            return _FORBIDDEN.response()
        if kind == "temporary_password":
            return oauth_error("invalid_grant", EXPIRED_PASSWORD)
        return oauth_error("invalid_grant", "The user name or password is wrong.")

    def shift(self, request: Request) -> None:
        """A sale comes in while a list is read."""
        self.trade(1)

    # control

    def seed(self, **asked: Any) -> dict[str, Any]:
        """Replaces all data; see the head for the switches."""
        asked = {name: value for name, value in asked.items() if value is not None}
        rate = asked.pop("rate", self.limiter.rate)
        if rate is not None and (not isinstance(rate, int) or rate < 0):
            raise ValueError("rate is a whole number from 0")
        own_points = bool(asked.pop("own_points", False))
        long_ranges = bool(asked.pop("long_ranges", True))
        self.search_lag_s = float(asked.pop("search_lag_s", 0))
        plan = Plan(**asked)
        with _gc_lock:  # hundreds of thousands of new objects, none of them garbage: collecting costs a third
            was = gc.isenabled()
            gc.disable()
            try:
                self.shop, self.register, self.book = grow(plan, datetime.now(UTC))
            finally:
                if was:
                    gc.enable()
        self.plan, self.own_points, self.long_ranges = plan, own_points, long_ranges
        # Ids of what is sold from now on never repeat: a stand-in that is started again has forgotten what it sold, and
        # a second sale under an id that is known already would be an edit of the first.
        self.rng = Random()
        self.limiter.rate = rate
        self.limiter.reset()
        return self._counts()

    def wipe(self) -> dict[str, Any]:
        """No customers and no invoices; stores, staff and numbers go on."""
        serial = self.book.serial
        self.register, self.book = Register(), Book()
        self.book.serial = serial
        return self._counts()

    def _counts(self) -> dict[str, Any]:
        return {
            "customers": len(self.register.by_id),
            "sales": len(self.book.by_id),
            "locations": len(self.shop.locations),
            "location_ids": list(self.shop.locations),
        }

    def sell(self, body: dict[str, Any]) -> dict[str, Any]:
        """A finished sale. Takes phone or customer_id, location (id or name), lines, discount or discount_cents,
        transaction, at, delivery, employee_id, tender (`debit`, `cash`), blank_payments."""
        known = {
            "phone",
            "customer_id",
            "location",
            "lines",
            "discount",
            "discount_cents",
            "transaction",
            "at",
        }
        strange = set(body) - known - {"delivery", "employee_id", "tender", "blank_payments"}
        if strange:
            raise Refused(400, f"Unknown fields: {', '.join(sorted(strange))}")
        customer, place = self._customer(body), self._place(body.get("location"))
        staff = {employee.id: employee for employee in place.staff}
        if body.get("employee_id") not in (None, *staff):
            raise Refused(404, f"No employee {body['employee_id']} at {place.name}")
        if body.get("lines"):
            lines = trading.asked_lines(self.shop, body["lines"])
        else:
            lines = trading.basket(self.rng, customer)
        invoice = Invoice(
            id=trading.guid(self.rng),
            number=self.book.number(),
            receipt=str(body["transaction"]) if body.get("transaction") else trading.receipt_code(self.rng),
            location=place,
            employee=staff.get(body.get("employee_id"), place.staff[0]),
            customer=customer,
            ticks=self._ticks(body.get("at")),
            lines=lines,
            delivery=bool(body.get("delivery")),
            blank=bool(body.get("blank_payments")),
        )
        trading.finish(self.rng, invoice, trading.asked_discount(body))
        trading.pay(self.rng, invoice, body.get("tender", "debit"))
        return self._book(invoice)

    def refund(self, body: dict[str, Any]) -> dict[str, Any]:
        """A refund of `id`: all that is left of it, or `lines` of number and quantity (grams by weight)."""
        sale = self.book.by_id.get(str(body.get("id", "")).lower())
        if sale is None or sale.original is not None:
            raise Refused(404, f"No sale {body.get('id')!r}")
        rest = trading.left(sale)
        wanted = rest if not body.get("lines") else []
        for row in body.get("lines") or ():
            number = int(row["line"])
            if not 1 <= number <= len(sale.lines):
                raise Refused(404, f"The sale has no line {number}")
            line = sale.lines[number - 1]
            available = line.quantity - line.returned
            quantity = available
            if row.get("quantity") is not None:
                quantity = round(float(row["quantity"]) * (1000 if line.product.mass else 1))
            if not 1 <= quantity <= available or any(line is other for other, _ in wanted):
                raise Refused(409, f"Of line {number} only {available} is left")
            wanted.append((line, quantity))
        if not wanted:
            raise Refused(409, "Nothing is left to refund")
        ticks = self._ticks(body.get("at"))
        if ticks < sale.ticks:
            raise Refused(400, "A refund cannot come before its sale")
        refund = trading.take_back(
            self.rng,
            sale,
            wanted,
            number=self.book.number(),
            receipt=trading.receipt_code(self.rng),
            ticks=ticks,
        )
        return self._book(refund)

    def _book(self, invoice: Invoice) -> dict[str, Any]:
        if self.own_points and invoice.customer is not None:
            invoice.earned = invoice.net // 100
            invoice.customer.points = max(0, invoice.customer.points + invoice.earned)
        self.book.add(invoice)
        return {
            "id": invoice.id,
            "number": invoice.number,
            "receipt": invoice.receipt,
            "customer_id": invoice.customer and invoice.customer.id,
            "location_id": invoice.location.id,
            "total_cents": invoice.total,
            "tax_cents": invoice.gst + invoice.pst,
            "lines_cents": invoice.net,
            "at": tick_text(invoice.ticks)[:19] + "Z",
        }

    def edit(self, body: dict[str, Any]) -> dict[str, Any]:
        """An edit made in the POS; without `customer_id` a new customer. Fields: the light record's names, or
        first_name, last_name, birth_date, phone, email, state, pricing_group_id, disabled, do_not_contact,
        merged_into, notes, unique_identifier, points."""
        fields = {_EDITS.get(name, name): value for name, value in body.items() if name != "customer_id"}
        identity = body.get("customer_id")
        blank = people.blank_light(trading.guid(self.rng))
        special = {"phone", "email", "state", "points"}
        strange = set(fields) - special - (set(blank) - {"Id", "Version"})
        if strange:
            raise Refused(400, f"Unknown fields: {', '.join(sorted(strange))}")
        if fields.get("DateOfBirth"):
            fields["DateOfBirth"] = f"{str(fields['DateOfBirth'])[:10]}T00:00:00"
        winner = fields.get("MergedIntoCustomerId")
        if winner is not None and winner not in self.register.by_id:
            raise Refused(404, f"No customer {winner!r}")
        now = int(time.time() * 1000)
        if identity is None:
            customer = Customer(blank, now)
            customer.light["UniqueIdentifier"] = f"{self.rng.getrandbits(40):010x}"
            customer.light["DoNotContact"] = False
            self._set(customer, fields)
            self.register.add(customer)
        else:
            customer = self._by_id(identity)
            self.register.change(customer, now, lambda: self._set(customer, fields))
        if winner is not None:
            keeper = self.register.by_id[winner]
            self.register.change(keeper, now, lambda: keeper.merged.append(customer.id))
        return {"customer_id": customer.id, "version": customer.light["Version"]}

    def _set(self, customer: Customer, fields: dict[str, Any]) -> None:
        for name, value in fields.items():
            if name == "phone":
                self._set_contact(customer, 1, 3, value)
            elif name == "email":
                self._set_contact(customer, 2, 9, value)
            elif name == "points":
                customer.points = int(value)
            elif name == "state":
                customer.addresses = [row for row in customer.addresses if not row["Default"]]
                if value:
                    customer.addresses.append(people.address(self.rng, customer.id, str(value), "1 Harbour Rd"))
            else:
                customer.light[name] = value

    def _set_contact(self, customer: Customer, category: int, kind: int, value: str | None) -> None:
        mine = [row for row in customer.contacts if row["ContactMethodCategoryId"] == category]
        chosen = next((row for row in mine if row["Default"]), mine[0] if mine else None)
        if value is None:
            if chosen is not None:
                customer.contacts.remove(chosen)
        elif chosen is not None:
            chosen["Value"] = value
            chosen["Version"] += 1
        else:
            quiet = bool(customer.light["DoNotContact"])
            row = people.contact(self.rng, customer.id, category, kind, value, category == 1, quiet)
            customer.contacts.append(row)

    def trade(self, count: int) -> list[dict[str, Any]]:
        """`count` random sales, now, in open stores."""
        made = []
        buyers = [
            identity
            for _, identity in self.register.by_modified
            if not (self.register.by_id[identity].light["Disabled"])
            and self.register.by_id[identity].light["MergedIntoCustomerId"] is None
        ]
        buyers.sort()  # the order of changes depends on the clock; the order of ids does not
        for _ in range(count):
            known = buyers and self.rng.random() >= 0.15
            customer = self.register.by_id[buyers[int(len(buyers) * self.rng.random())]] if known else None
            invoice = trading.random_sale(
                self.rng,
                number=self.book.number(),
                place=self.shop.open[int(len(self.shop.open) * self.rng.random())],
                customer=customer,
                ticks=self._ticks(None),
                blank_payments=self.plan.blank_payments,
            )
            made.append(self._book(invoice))
        return made

    def expire(self) -> None:
        self.tokens.expire()

    def state(self, *, rows: bool) -> dict[str, Any]:
        return state(self.shop, self.register, self.book, rows=rows)

    def credentials(self) -> dict[str, Any]:
        return {
            "company_id": shop.COMPANY_ID,
            "client_id": shop.CLIENT_ID,
            "client_secret": shop.CLIENT_SECRET,
            "username": shop.USERNAME,
            "password": shop.PASSWORD,
        }

    def _customer(self, body: dict[str, Any]) -> Customer | None:
        if body.get("customer_id"):
            return self._by_id(body["customer_id"])
        if not body.get("phone"):
            return None
        found = [
            customer
            for customer in self.register.find("p:" + digits(str(body["phone"])))
            if not customer.light["Disabled"] and customer.light["MergedIntoCustomerId"] is None
        ]
        if not found:
            raise Refused(404, f"No customer with phone {body['phone']!r}")
        return found[0]

    def _by_id(self, identity: Any) -> Customer:
        customer = self.register.by_id.get(str(identity).lower())
        if customer is None:
            raise Refused(404, f"No customer {identity!r}")
        return customer

    def _place(self, wanted: Any) -> shop.Location:
        if wanted is None:
            return self.shop.open[0]
        for place in self.shop.locations.values():
            if str(wanted) in (str(place.id), place.name):
                return place
        raise Refused(404, f"No location {wanted!r}")

    def _ticks(self, at: Any) -> int:
        now = time.time_ns() // 100
        if at is None:
            return now
        moment = datetime.fromisoformat(str(at))
        ticks = trading.ticks_of(moment if moment.tzinfo else moment.replace(tzinfo=UTC))
        if ticks > now + 60 * TICKS:
            raise Refused(400, "at lies in the future")
        return ticks
