"""A stand-in for the Clover point of sale: stateful, strict, deterministic, over real HTTP.

Built from the project's reference alone. Marks, as there: [D] documented by Clover, [I-rec] seen in recorded real
answers, [I-field] in a third party's audit of Clover's own sandbox, [I-client] what public clients send or read, [I]
inferred by us because something had to be chosen; (S7) and the like are the reference's sources. Nothing here was
checked against the real service.

Where to find what, each with its own list of what is known and what is inferred:

- `access`: tokens, permissions, rate limits         - `merchant`, `shop`: the merchant, staff, goods, tenders
- `routes`, `api`: paths, methods, bodies            - `people`, `seed`, `trading`: what is invented and how
- `query`: filter, orderBy, expand, paging, 90 days  - `control`, `hand`: control routes, the till by hand
- `rows`: envelope, expansion, absent fields         - `state`: the checksums and their fields
- `customers`, `orders`, `inventory`: the rows       - `errors`: answers other than success

A missing permission is 401 like every other refusal; Clover never answers 403 [D S9]. Clover has no till integration:
what our till panel would call, staff do by hand (`hand`).

Not here: webhooks (they belong to apps, a token gets none [D S18]), exports (by arrangement; 401), writing stock or
orders, modifier groups, shifts, cash events.

A call's limits are looked at first, then path, token, method, permission, query, body. The plain list of orders,
payments and refunds covers 90 days. Everything a Clover merchant's token may do is one merchant's; `locations` of the
seed are merchants, each with a token.

Switches of the seed: customers, sales (orders), locations, seed, days, vat (false: tax on top), permissions (of all
tokens; absent: every Read and CUSTOMERS_W), region (`us`; `eu`: customer fields need their own permissions), rate
(absent: the vendor's own limits; 0: none; n: so many calls a second per token), limits (any of token_rate,
token_concurrent, app_rate, app_concurrent), latency (seconds that each answer takes, 0), window (90 days, 0: none),
query_token (false: `?access_token=` is 401), marketing_honoured (false), nested_updates (false), withdrawn_expansions
(false: a list of orders shows `customers` and `employee`).
"""

import gc
import threading
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from random import Random
from typing import Any, ClassVar

from integrations.sandbox.clover.access import (
    LIMITS,
    USUAL,
    Gate,
    Tokens,
    known_permissions,
    sent_token,
    too_many,
)
from integrations.sandbox.clover.api import Api
from integrations.sandbox.clover.control import Control
from integrations.sandbox.clover.errors import Fail, no_route, unauthorized
from integrations.sandbox.clover.merchant import Merchant
from integrations.sandbox.clover.query import Query
from integrations.sandbox.clover.routes import Call, frame
from integrations.sandbox.clover.rows import View
from integrations.sandbox.clover.seed import Plan, grow
from integrations.sandbox.clover.state import state
from integrations.sandbox.faults import Fault
from integrations.sandbox.wire import Request, Response

_gc_lock = threading.Lock()


class Clover:
    """The vendor: its merchants, their tokens and their books."""

    switches: ClassVar[frozenset[str]] = frozenset({"customers", "sales", "locations", "seed", "days", "rate"})

    def __init__(self) -> None:
        self.gate, self.tokens, self.api = Gate(), Tokens(), Api()
        self.merchants: dict[str, Merchant] = {}
        self.plan = Plan()
        self.region, self.window, self.latency, self.query_token = "us", 90, 0.0, False
        self.permissions = USUAL
        self.control = Control(lambda: list(self.merchants.values()))
        self.api.writing.new_id = lambda: next(iter(self.merchants.values())).new_id()
        self.by_hand = self.control.hand.act

    # the vendor's own API

    def hold(self, request: Request) -> AbstractContextManager[Response | None]:
        """Counts the call against its token's and the app's limits until it is answered."""
        token = sent_token(request, in_query=self.query_token)
        return self.gate.hold(token, known=token in self.tokens.by_text)

    def answer(self, request: Request) -> Response:
        """One call of a client."""
        try:
            response = self._answer(request)
        except Fail as fail:
            response = fail.response()
        response.delay = self.latency
        return response

    def _answer(self, request: Request) -> Response:
        found = self.api.router.find(request.path)
        if found is None:
            return no_route()
        route, ids = found
        token = self.tokens.by_text.get(sent_token(request, in_query=self.query_token))
        if token is None or token.merchant_id != ids[0]:
            raise unauthorized()
        if request.method not in route.methods:
            raise Fail(405, "405 Method Not Allowed")
        handler, permission = route.methods[request.method]
        if handler is None or not token.may(permission):
            raise unauthorized()
        query = Query.read(request.query)
        view = View(token, nulls=query.nulls, european=self.region == "eu")
        merchant = self.merchants[token.merchant_id]
        return handler(Call(request, merchant, token, ids, query, view, frame(request, self.window)))

    # faults

    def applies(self, fault: Fault, request: Request) -> bool:
        """A token that is no longer valid meets every call, a missing permission the calls under its path."""
        if fault.kind in ("bad_password", "temporary_password"):
            return True
        return request.path.lower().startswith(fault.match)

    def installed(self, fault: Fault) -> None:
        """Nothing more to do: there is no log-in that could end."""

    def refuse(self, kind: str, request: Request, *, seconds: float | None = None) -> Response:
        """The vendor's words for a fault; every kind of refused log-in or permission is the same 401."""
        if kind.startswith("429"):
            limit = {
                "429": "token_rate",
                "429_concurrent": "token_concurrent",
                "429_app": "app_rate",
                "429_app_concurrent": "app_concurrent",
            }[kind]
            wait = max(1, int(seconds or 1)) if "concurrent" in limit else None
            return too_many(limit, self.gate.limits[limit], wait)
        if kind == "500":
            return Fail(500, "500 Internal Server Error").response()
        if kind == "503":
            return Fail(503, "503 Service Unavailable").response()
        return unauthorized().response()

    def shift(self, request: Request) -> None:
        """A row comes in before those of the list that was just read."""
        self.control.shift(request.path)

    # control

    def seed(self, **asked: Any) -> dict[str, Any]:
        """Replaces all data; see the head for the switches."""
        asked = {name: value for name, value in asked.items() if value is not None}
        rate, limits = asked.pop("rate", None), dict(asked.pop("limits", {}))
        if rate is not None and (type(rate) is not int or rate < 0):
            raise ValueError("rate is a whole number from 0")
        if set(limits) - set(LIMITS) or any(type(value) is not int or value < 1 for value in limits.values()):
            raise ValueError(f"limits are whole numbers from 1 of {', '.join(LIMITS)}")
        region, window = asked.pop("region", "us"), int(asked.pop("window", 90))
        if region not in ("us", "eu") or window < 0:
            raise ValueError("region is us or eu, window a number of days from 0")
        latency = float(asked.pop("latency", 0))
        permissions = asked.pop("permissions", None)
        permissions = USUAL if permissions is None else known_permissions(permissions)
        query_token = bool(asked.pop("query_token", False))
        marketing, nested = bool(asked.pop("marketing_honoured", False)), bool(asked.pop("nested_updates", False))
        withdrawn = bool(asked.pop("withdrawn_expansions", False))
        plan = Plan(**asked)
        with _gc_lock:  # hundreds of thousands of new objects, none of them garbage: collecting costs a third
            was = gc.isenabled()
            gc.disable()
            try:
                made = grow(plan, datetime.now(UTC))
            finally:
                if was:
                    gc.enable()
        self.plan, self.region, self.window, self.latency = plan, region, window, latency
        self.query_token, self.permissions = query_token, permissions
        self.api.writing.nested_updates, self.api.writing.marketing_honoured = nested, marketing
        self.api.withdrawn = withdrawn
        self.control.hand.open.clear()
        self.merchants = {merchant.id: merchant for merchant in made}
        self._hand_out(Random(f"clover:tokens:{plan.seed}"))
        for merchant in made:
            # Ids of what is made from now on never repeat: a stand-in that is started again has forgotten what it sold,
            # and a second sale under an id that is known already would be an edit of the first.
            merchant.rng = Random()
        self.gate.on = rate != 0
        self.gate.limits = {**LIMITS, **({"token_rate": rate} if rate else {}), **limits}
        self.gate.reset()
        return self._counts()

    def _hand_out(self, rng: Random) -> None:
        self.tokens.by_text.clear()
        for identity in self.merchants:
            self.tokens.issue(rng, identity, self.permissions)

    def wipe(self) -> dict[str, Any]:
        """No customers and no orders; merchants, staff, goods and tokens stay."""
        self.control.hand.open.clear()
        for merchant in self.merchants.values():
            merchant.clear()
        return self._counts()

    def _counts(self) -> dict[str, Any]:
        merchants = self.merchants.values()
        return {
            "customers": sum(len(one.customers.rows) for one in merchants),
            "sales": sum(len(one.orders.rows) for one in merchants),
            "locations": len(self.merchants),
            "location_ids": list(self.merchants),
        }

    def sell(self, body: dict[str, Any]) -> dict[str, Any]:
        return self.control.sell(body)

    def refund(self, body: dict[str, Any]) -> dict[str, Any]:
        return self.control.refund(body)

    def edit(self, body: dict[str, Any]) -> dict[str, Any]:
        """As `Control.edit`, and `permissions`: the boxes ticked for the tokens."""
        if "permissions" in body:
            wanted = known_permissions(body["permissions"])
            for token in self.tokens.by_text.values():
                token.permissions = wanted
            return {"permissions": sorted(wanted)}
        return self.control.edit(body)

    def trade(self, count: int) -> list[dict[str, Any]]:
        return self.control.trade(count)

    def expire(self) -> None:
        """All tokens are revoked in the dashboard, and new ones made."""
        self._hand_out(Random())

    def state(self, *, rows: bool) -> dict[str, Any]:
        return state(self.merchants.values(), rows=rows)

    def credentials(self) -> dict[str, Any]:
        """The first merchant's, and all of them under `merchants`."""
        all_of_them = [
            {"merchant_id": merchant.id, "api_token": self.tokens.text_of(merchant.id), "name": merchant.name}
            for merchant in self.merchants.values()
        ]
        first = all_of_them[0]
        return {"merchant_id": first["merchant_id"], "api_token": first["api_token"], "merchants": all_of_them}
