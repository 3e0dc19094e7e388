"""The till: plays a POS's till against our own API, with the address, UID and key a merchant would type there.

What a till of this vendor sends is not public. The calls follow AIQ's public guide for POS vendors [DOC]: wallet by
phone with the key in `X-APIKEY`, then PUT on the discount's `redemptionURL` with the transaction number appended.
From AIQ's article on this POS [DOC]: one discount a cart, points go when the discount is applied, taking the
discount off sends nothing, the correction is sent when the shopper is taken off the cart and added again.
Inferred [INF]: the slash before the transaction number, the path of the correction (`POST
/api/v2/redemptions/{id}/revert`, our own), and that it is sent at the moment of adding again.

Actions (`POST /_sandbox/till`), all with `phone` except `setup`; every one may bring `lines` for the cart:

| action | sends | then |
|---|---|---|
| setup | nothing | keeps url, uid, key, and `after_tax` (default false: the discount comes off before tax) |
| wallet | wallet | opens the cart |
| apply (`discount_id`, `transaction`?) | wallet, redeem | the discount is on the cart |
| remove | nothing | the discount is off, its points are still spent |
| readd | revert if a redemption is open, wallet | the shopper is on the cart again |
| cancel | nothing | the cart is gone |
| complete (`location`?, `at`?) | nothing | a finished sale with the discount, number = receipt number |

Answer: `{"status": our API's last status or 0, "body": its last body, "sent": [{method, url, status}], "cart": {...},
"sale": {...} or null}`. Our API's refusals are reported, not raised; a till used wrongly answers 400, 404 or 409.
"""

import json
import secrets
import urllib.error
import urllib.request
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

from integrations.sandbox.wire import Refused

TIMEOUT_S = 30


class Till:
    """One till; one open cart a phone. `sell(body)` finishes a sale in the vendor's books."""

    def __init__(self, sell: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
        self._sell = sell
        self._given: dict[str, Any] = {}
        self._carts: dict[str, dict[str, Any]] = {}

    def act(self, body: dict[str, Any]) -> dict[str, Any]:
        action = body.get("action")
        if action == "setup":
            for name in ("url", "key"):
                if not body.get(name):
                    raise Refused(400, f"setup needs {name}")
            self._given = {**body, "url": str(body["url"]).rstrip("/")}
            return {"ok": True}
        if action not in ("wallet", "apply", "remove", "readd", "cancel", "complete"):
            raise Refused(400, f"No till action {action!r}")
        if not self._given:
            raise Refused(409, "The till was not given our API yet: action setup with url, uid, key")
        phone = str(body.get("phone") or "")
        if not phone:
            raise Refused(400, "phone is missing")
        cart = self._carts.setdefault(
            phone,
            {"phone": phone, "transaction": None, "discount": None, "redemption_id": None, "lines": None},
        )
        if body.get("lines"):
            cart["lines"] = body["lines"]
        report = {"status": 0, "body": None, "sent": [], "cart": cart, "sale": None}
        getattr(self, f"_{action}")(cart, body, report)
        return report

    def _wallet(self, cart: dict[str, Any], body: dict[str, Any], report: dict[str, Any]) -> None:
        self._call("POST", self._given["url"] + "/api/v2/wallet", {"phone": cart["phone"]}, report)

    def _apply(self, cart: dict[str, Any], body: dict[str, Any], report: dict[str, Any]) -> None:
        if cart["discount"] is not None:
            raise Refused(409, "At most one discount a cart")
        self._wallet(cart, body, report)
        if report["status"] != 200:
            return
        offered = (report["body"].get("data") or {}).get("discountTemplates") or []
        wanted = [row for row in offered if str(row.get("id")) == str(body.get("discount_id"))]
        if not wanted:
            raise Refused(404, f"The wallet shows no discount {body.get('discount_id')!r}")
        if body.get("transaction"):
            cart["transaction"] = str(body["transaction"])
        elif not cart["transaction"]:
            cart["transaction"] = "T" + secrets.token_hex(5).upper()
        url = f"{wanted[0]['redemptionURL']}/{quote(cart['transaction'], safe='')}"
        self._call("PUT", url, None, report)
        if 200 <= report["status"] < 300:
            cart["discount"] = wanted[0]
            data = report["body"].get("data") if isinstance(report["body"], dict) else None
            cart["redemption_id"] = (data or {}).get("redemptionID")

    def _remove(self, cart: dict[str, Any], body: dict[str, Any], report: dict[str, Any]) -> None:
        if cart["discount"] is None:
            raise Refused(409, "No discount on the cart")
        cart["discount"] = None

    def _readd(self, cart: dict[str, Any], body: dict[str, Any], report: dict[str, Any]) -> None:
        cart["discount"] = None
        if cart["redemption_id"] is not None:
            path = f"/api/v2/redemptions/{quote(str(cart['redemption_id']), safe='')}/revert"
            self._call("POST", self._given["url"] + path, {}, report)
            if 200 <= report["status"] < 300:
                # A later discount on this cart is a new redemption, so it needs a new transaction number.
                cart["redemption_id"] = cart["transaction"] = None
        self._wallet(cart, body, report)

    def _cancel(self, cart: dict[str, Any], body: dict[str, Any], report: dict[str, Any]) -> None:
        del self._carts[cart["phone"]]

    def _complete(self, cart: dict[str, Any], body: dict[str, Any], report: dict[str, Any]) -> None:
        sale: dict[str, Any] = {"phone": cart["phone"], "transaction": cart["transaction"]}
        sale.update({name: body[name] for name in ("location", "at") if body.get(name) is not None})
        if cart["lines"]:
            sale["lines"] = cart["lines"]
        if cart["discount"] is not None:
            discount: dict[str, Any] = {"name": cart["discount"].get("name") or "Discount"}
            discount["after_tax"] = bool(self._given.get("after_tax"))
            if float(cart["discount"].get("percentageValue") or 0) > 0:
                discount["percent"] = float(cart["discount"]["percentageValue"])
            else:
                discount["cents"] = round(float(cart["discount"].get("dollarValue") or 0) * 100)
            if discount.get("percent") or discount.get("cents"):
                sale["discount"] = discount
        report["sale"] = self._sell(sale)
        del self._carts[cart["phone"]]

    def _call(self, method: str, url: str, body: Any, report: dict[str, Any]) -> None:
        data = None if body is None else json.dumps(body).encode()
        headers = {"X-APIKEY": str(self._given["key"]), "Accept": "application/json"}
        if data is not None:
            headers["Content-Type"] = "application/json"
        call = urllib.request.Request(url, data=data, method=method, headers=headers)
        try:
            with urllib.request.urlopen(call, timeout=TIMEOUT_S) as answer:
                status, text = answer.status, answer.read()
        except urllib.error.HTTPError as refusal:
            status, text = refusal.code, refusal.read()
        except (urllib.error.URLError, OSError) as failure:
            status, text = 0, json.dumps({"message": str(failure)}).encode()
        try:
            report["body"] = json.loads(text) if text else {}
        except ValueError:
            report["body"] = {"message": text[:500].decode("utf-8", "replace")}
        report["status"] = status
        report["sent"].append({"method": method, "url": url, "status": status})
