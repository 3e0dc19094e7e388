"""A stand-in for a partner: a small POS that offers its customers, sales and inventory by time range.

Nobody's real API: it is built from the page a POS's maker builds against (docs/cards/partner.md), and shares no code
with the connector. Strict and stateful:

| what | how |
|---|---|
| `GET /v1/customers`, `/v1/sales`, `/v1/inventory` | `start` (inclusive) and `end` (exclusive) in Unix seconds of the last change, both needed; `offset` from 0, `limit` 1 to 500; anything else is 400 |
| key | `X-APIKEY`; none or a wrong one is 401, one that may not read the endpoint 403 |
| order | by the last change, then id: a row that changes moves to the end while somebody pages |
| answer | `{"account": id, "data": [...]}`, `data` null when there is nothing |
| method | GET, else 405; an unknown path is 404 |

Switches of the seed: customers, sales, locations, seed, days, rate (ignored), `names` ("ours": the documented names;
"theirs": names of its own, for which a field mapping is needed), `bare` (true: the answer is the array alone).
The checksums of `state` are over `id|updated_at|...` of the fields in `_lines`.
"""  # noqa: E501

import json
from contextlib import AbstractContextManager, nullcontext
from datetime import UTC, datetime
from random import Random
from typing import Any, ClassVar
from urllib.parse import parse_qsl

from integrations.sandbox.faults import Fault
from integrations.sandbox.sums import summed
from integrations.sandbox.wire import Refused, Request, Response

KEY = "partner-key-51f2"
ACCOUNT = "shop-77"
BASE = "/v1"
ENDPOINTS = ("customers", "sales", "inventory")
_PEOPLE = ("Ana", "Ben", "Cleo", "Dan", "Eva", "Finn", "Gia", "Hugo"), ("Moss", "Reed", "Stone", "Vale", "Wong", "Yu")
_GOODS = (
    ("FL-35", "Green flower 3.5 g", "FLOWER", 4500), ("PR-1G", "Blue pre-roll", "PRE-ROLL", 1250),
    ("ED-10", "Mint chews", "EDIBLE", 1800), ("VP-05", "Vape pen", "VAPE", 5200), ("PA-01", "Papers", "GEAR", 300),
)  # fmt: skip


def _digits(text: str) -> str:
    found = "".join(sign for sign in text if sign in "0123456789")
    return found[1:] if len(found) == 11 and found[0] == "1" else found


class Partner:
    """The vendor: one shop company with its books, rows under the documented names; renaming is for the answer."""

    switches: ClassVar[frozenset[str]] = frozenset({"customers", "sales", "locations", "seed", "days"})
    by_hand = None

    def __init__(self) -> None:
        self.rows: dict[str, dict[str, dict[str, Any]]] = {name: {} for name in ENDPOINTS}
        self.places: list[str] = []
        self.key, self.readable = KEY, set(ENDPOINTS)
        self.theirs = self.bare = False
        self.random = Random(0)
        self.serial = 0

    # its API

    def hold(self, request: Request) -> AbstractContextManager[Response | None]:
        return nullcontext(None)

    def shift(self, request: Request) -> None:
        """A row before the page changes, and moves behind it."""
        name = request.path.rpartition("/")[2]
        rows = self._sorted(name) if name in ENDPOINTS else []
        if rows:
            self._touch(rows[0])

    def answer(self, request: Request) -> Response:
        name = request.path.removeprefix(BASE + "/")
        if not request.path.startswith(BASE + "/") or name not in ENDPOINTS:
            return _json({"message": "no such endpoint"}, 404)
        if request.headers.get("x-apikey") != self.key:
            return _json({"message": "who are you?"}, 401)
        if request.method != "GET":
            return _json({"message": "GET only"}, 405)
        if name not in self.readable:
            return _json({"message": f"this key may not read {name}"}, 403)
        try:
            asked = self._asked(request.query)
        except ValueError as error:
            return _json({"message": str(error)}, 400)
        found = [row for row in self._sorted(name) if asked["start"] <= row["updated_at"] < asked["end"]]
        page = [self._shown(name, row) for row in found[asked["offset"] : asked["offset"] + asked["limit"]]]
        return _json(page if self.bare else {"account": ACCOUNT, "data": page or None})

    def _asked(self, query: str) -> dict[str, int]:
        pairs = parse_qsl(query, keep_blank_values=True, strict_parsing=bool(query))
        asked = {name: int(value) for name, value in pairs}
        if set(asked) != {"start", "end", "offset", "limit"} or len(pairs) != 4:
            raise ValueError("the parameters are start, end, offset, limit, each once")
        if not (asked["start"] >= 0 and asked["offset"] >= 0 and 1 <= asked["limit"] <= 500):
            raise ValueError("start and offset from 0, limit from 1 to 500")
        return asked

    def _sorted(self, name: str) -> list[dict[str, Any]]:
        return sorted(self.rows[name].values(), key=lambda row: (row["updated_at"], str(_id(name, row))))

    def _shown(self, name: str, row: dict[str, Any]) -> dict[str, Any]:
        if not self.theirs:
            return row
        if name == "customers":
            return {"id": row["pos_user"], "changed": row["updated_at"], "name": {"first": row["firstName"],
                    "last": row["lastName"]}, "contact": {"cell": row["mobilePhone"], "mail": row["email"]},
                    "province": row["state"]}  # fmt: skip
        if name == "sales":
            lines = [{"code": one["sku"], "title": one["name"], "amount": one["price"], "pieces": one["quantity"],
                      "off": one["discount"]} for one in row["lines"]]  # fmt: skip
            receipt = {"number": row["pos_id"], "of": row.get("original_pos_id")}
            return {"receipt": receipt, "changed": row["updated_at"], "buyer": row["pos_user"],
                    "closed": row["transaction_date"], "due": row["transaction_total"],
                    "gst": row["tax_total"], "shop": {"name": row["location"]}, "positions": lines}  # fmt: skip
        return {"code": row["sku"], "title": row["name"], "changed": row["updated_at"], "left": row["quantity"],
                "shop": {"name": row["location"]}, "retail": row["price"]}  # fmt: skip

    # faults

    def applies(self, fault: Fault, request: Request) -> bool:
        return fault.kind == "bad_password" or request.path.lower().startswith(fault.match)

    def refuse(self, kind: str, request: Request, *, seconds: float | None = None) -> Response:
        if kind == "429":
            return Response(429, b'{"message": "slow down"}', headers=[("Retry-After", str(int(seconds or 1)))])
        status = {"bad_password": 401, "temporary_password": 401, "no_permission": 403}.get(kind)
        status = status or (int(kind) if kind.isdigit() else 500)
        return _json({"message": kind}, status)

    def installed(self, fault: Fault) -> None:
        return None

    def expire(self) -> None:
        """A key does not expire by itself."""

    # its books

    def seed(
        self, *, customers: int = 200, sales: int = 1000, locations: int = 2, seed: int = 1, days: int = 180,
        rate: float | None = None, blank_payments: float = 0, names: str = "ours", bare: bool = False,
    ) -> dict[str, Any]:  # fmt: skip
        if names not in ("ours", "theirs"):
            raise Refused(400, "names is ours or theirs")
        self.random, self.theirs, self.bare, self.serial = Random(seed), names == "theirs", bool(bare), 0
        self.places = [f"Harbour {n}" if n else "Main St" for n in range(max(1, locations))]
        self.rows = {name: {} for name in ENDPOINTS}
        now = int(datetime.now(UTC).timestamp())
        for place in self.places:
            for sku, name, category, cents in _GOODS:
                row = {"sku": sku, "name": name, "category": category, "price": cents / 100, "cost": cents / 250,
                       "quantity": self.random.randint(5, 60), "location": place, "updated_at": now - 3600}  # fmt: skip
                self.rows["inventory"][f"{sku}|{place}"] = row
        for n in range(customers):
            at = now - self.random.randint(3600, days * 86400)
            self._customer(f"p{n + 1:05}", f"604555{n:04}"[:10], at)
        keys = list(self.rows["customers"])
        for _ in range(sales):
            at = now - self.random.randint(600, days * 86400)
            who = self.random.choice(keys) if keys and self.random.random() < 0.8 else ""
            self._sale(who, at, place=self.random.choice(self.places))
        return {name: len(rows) for name, rows in self.rows.items()}

    def wipe(self) -> dict[str, Any]:
        self.rows = {**self.rows, "customers": {}, "sales": {}}
        return {name: len(rows) for name, rows in self.rows.items()}

    def _customer(self, key: str, phone: str, at: int) -> dict[str, Any]:
        first, last = (self.random.choice(names) for names in _PEOPLE)
        row = {"pos_user": key, "firstName": first, "lastName": last, "mobilePhone": phone,
               "email": f"{first}.{key}@example.com".lower(), "state": self.random.choice(("BC", "BC", "AB")),
               "updated_at": at}  # fmt: skip
        self.rows["customers"][key] = row
        return row

    def _sale(self, who: str, at: int, *, place: str, lines: list[dict[str, Any]] | None = None,
              discount_cents: int = 0, key: str = "") -> dict[str, Any]:  # fmt: skip
        self.serial += 1
        if lines is None:
            goods = self.random.sample(_GOODS, self.random.randint(1, 3))
            lines = [{"sku": sku, "name": name, "category": category, "price": cents / 100, "discount": 0,
                      "quantity": self.random.randint(1, 3)} for sku, name, category, cents in goods]  # fmt: skip
        if discount_cents:
            lines[0] = {**lines[0], "discount": discount_cents / 100}
        net = round(sum(one["price"] * one["quantity"] - one["discount"] for one in lines), 2)
        tax = round(net * 0.12, 2)
        row = {
            "pos_id": key or f"S{self.serial:06}", "pos_user": who, "location": place, "pos_type": "in-store",
            "transaction_date": datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M:%S +0000"),
            "transaction_total": round(net + tax, 2), "tax_total": tax, "budtenderName": "Lee", "budtenderID": "E12",
            "lines": lines, "updated_at": at,
        }  # fmt: skip
        self.rows["sales"][row["pos_id"]] = row
        return row

    def _touch(self, row: dict[str, Any]) -> None:
        row["updated_at"] = int(datetime.now(UTC).timestamp())

    # control routes

    def sell(self, body: dict[str, Any]) -> dict[str, Any]:
        who = str(body.get("customer_id") or "")
        if body.get("phone"):
            digits = _digits(str(body["phone"]))
            found = [k for k, row in self.rows["customers"].items() if _digits(row["mobilePhone"]) == digits]
            who = found[0] if found else self._customer(f"p{len(self.rows['customers']) + 1:05}", digits, _now())[
                "pos_user"
            ]  # fmt: skip
        elif who and who not in self.rows["customers"]:
            raise Refused(404, f"No customer {who!r}")
        place = str(body.get("location") or self.places[0])
        if place not in self.places:
            raise Refused(404, f"No location {place!r}")
        lines = [
            {"sku": one["sku"], "name": one.get("name", one["sku"]), "category": one.get("category", ""),
             "price": one["price_cents"] / 100, "discount": 0, "quantity": one.get("quantity", 1)}
            for one in body["lines"]
        ] if body.get("lines") else None  # fmt: skip
        at = datetime.fromisoformat(str(body["at"])).timestamp() if body.get("at") else _now()
        off = int(body.get("discount_cents") or (body.get("discount") or {}).get("cents") or 0)
        row = self._sale(who, int(at), place=place, lines=lines, discount_cents=off,
                         key=str(body.get("transaction") or ""))  # fmt: skip
        self._touch(row)
        for line in row["lines"]:
            if level := self.rows["inventory"].get(f"{line['sku']}|{place}"):
                level["quantity"] -= line["quantity"]
                self._touch(level)
        return {"id": row["pos_id"], "number": row["pos_id"], "total_cents": round(row["transaction_total"] * 100),
                "at": row["transaction_date"], "customer_id": who}  # fmt: skip

    def refund(self, body: dict[str, Any]) -> dict[str, Any]:
        """A refund of its own, naming its sale; `lines` of `{"line": n, "quantity": q}`, absent: all of it."""
        sold = self.rows["sales"].get(str(body.get("id")))
        if sold is None:
            raise Refused(404, f"No sale {body.get('id')!r}")
        asked = body.get("lines") or [{"line": n} for n in range(1, len(sold["lines"]) + 1)]
        lines = []
        for one in asked:
            line = sold["lines"][int(one["line"]) - 1]
            lines.append({**line, "quantity": -abs(one.get("quantity", line["quantity"]))})
        row = self._sale(sold["pos_user"], _now(), place=sold["location"], lines=lines)
        row["original_pos_id"] = sold["pos_id"]
        net = sum(one["price"] * one["quantity"] + one["discount"] for one in lines)
        row["tax_total"] = round(abs(net) * 0.12, 2)
        row["transaction_total"] = round(net - row["tax_total"], 2)
        return {"id": row["pos_id"], "total_cents": round(row["transaction_total"] * 100)}

    def edit(self, body: dict[str, Any]) -> dict[str, Any]:
        """An edit made in the POS; without `customer_id` a new customer, of no state unless one is named."""
        if "customer_id" in body:
            row = self.rows["customers"].get(str(body["customer_id"]))
        else:
            key = f"p{len(self.rows['customers']) + 1:05}"
            row = self._customer(key, "", _now())
            row.update(email="", state="")
        if row is None:
            raise Refused(404, f"No customer {body.get('customer_id')!r}")
        names = {"first_name": "firstName", "last_name": "lastName", "phone": "mobilePhone", "email": "email",
                 "state": "state"}  # fmt: skip
        for name, value in body.items():
            if name != "customer_id":
                if name not in names:
                    raise Refused(400, f"No field {name!r}")
                row[names[name]] = value
        self._touch(row)
        return row | {"customer_id": row["pos_user"]}

    def trade(self, count: int) -> list[dict[str, Any]]:
        keys = list(self.rows["customers"])
        return [self.sell({"customer_id": self.random.choice(keys)} if keys else {}) for _ in range(count)]

    def state(self, *, rows: bool) -> dict[str, Any]:
        return summed({name: [_line(name, row) for row in self.rows[name].values()] for name in ENDPOINTS}, rows=rows)

    def credentials(self) -> dict[str, Any]:
        """What a merchant types, but for the address, which the sandbox does not know of itself."""
        return {"base_url": BASE, "api_key": self.key, "fields": FIELD_MAPPING if self.theirs else ""}


FIELD_MAPPING = """\
customers.pos_user = id
customers.updated_at = changed
customers.firstName = name.first
customers.lastName = name.last
customers.mobilePhone = contact.cell
customers.email = contact.mail
customers.state = province
sales.pos_id = receipt.number
sales.original_pos_id = receipt.of
sales.updated_at = changed
sales.pos_user = buyer
sales.transaction_date = closed
sales.transaction_total = due
sales.tax_total = gst
sales.location = shop.name
sales.lines = positions
sales.lines.sku = code
sales.lines.name = title
sales.lines.price = amount
sales.lines.quantity = pieces
sales.lines.discount = off
inventory.sku = code
inventory.name = title
inventory.updated_at = changed
inventory.quantity = left
inventory.location = shop.name
inventory.price = retail"""


def _id(name: str, row: dict[str, Any]) -> Any:
    return {"customers": row.get("pos_user"), "sales": row.get("pos_id")}.get(name) or row.get("sku")


def _line(name: str, row: dict[str, Any]) -> str:
    if name == "customers":
        return f"{row['pos_user']}|{row['firstName']}|{row['lastName']}|{_digits(row['mobilePhone'])}|{row['email']}"
    if name == "sales":
        cents = round(row["transaction_total"] * 100)
        return f"{row['pos_id']}|{row['pos_user']}|{row['location']}|{cents}|{len(row['lines'])}"
    return f"{row['sku']}|{row['location']}|{row['quantity']}"


def _now() -> int:
    return int(datetime.now(UTC).timestamp())


def _json(document: Any, status: int = 200) -> Response:
    return Response(status, json.dumps(document, separators=(",", ":")).encode())
