"""The till of a shop on Clover: staff and their hands.

Clover has no till integration that an outside loyalty service could plug into with a merchant's token: nothing at the
till calls us. Staff redeem in our app, then type the discount onto the order; we learn of it from the order when it is
synced. So these actions (`POST /_sandbox/till`, all with `phone`, none of them calls our API) only write orders:

| action | body | then |
|---|---|---|
| open | phone, lines | an open order stands in the books, unpaid |
| apply | phone, name and cents or percent, lines if not opened yet | the discount is on the order, as staff typed it |
| remove | phone | the discount is off |
| cancel | phone | the order is deleted |
| complete | phone, tender, lines if not opened yet | the order is paid and locked |

`setup`, `wallet` and `readd` are refused with a sentence: they are acts of a till that talks to us.
"""

from collections.abc import Callable
from typing import Any

from integrations.sandbox.clover.orders import Order
from integrations.sandbox.wire import Refused

NO_TILL = (
    "Clover has no till integration: redeem in our staff app or the wallet, then type the discount onto the order "
    "(actions open, apply, remove, cancel, complete)"
)


class Hand:
    """Open orders by phone. `start(body)` opens one, the others change it."""

    def __init__(
        self,
        start: Callable[[dict[str, Any]], Order],
        reduce: Callable[[Order, dict[str, Any] | None], None],
        delete: Callable[[Order], None],
        finish: Callable[[Order, dict[str, Any]], dict[str, Any]],
    ) -> None:
        self._start, self._reduce, self._delete, self._finish = start, reduce, delete, finish
        self.open: dict[str, Order] = {}

    def act(self, body: dict[str, Any]) -> dict[str, Any]:
        action, phone = body.get("action"), str(body.get("phone") or "")
        if action in ("setup", "wallet", "readd"):
            raise Refused(409, NO_TILL)
        if action not in ("open", "apply", "remove", "cancel", "complete"):
            raise Refused(400, f"No till action {action!r}")
        if not phone:
            raise Refused(400, "phone is missing")
        order, sale = self.open.get(phone), None
        if action == "open" and order is not None:
            raise Refused(409, f"{phone} has an open order already")
        if order is None:
            if action in ("remove", "cancel"):
                raise Refused(404, f"No open order of {phone}")
            wanted = {name: body[name] for name in ("phone", "lines", "location", "employee_id") if body.get(name)}
            order = self.open[phone] = self._start({**wanted, "state": "open"})
        if action == "apply":
            if order.discounts:
                raise Refused(409, "The order bears a discount already")
            self._reduce(order, body)
        elif action == "remove":
            self._reduce(order, None)
        elif action == "cancel":
            self._delete(order)
        elif action == "complete":
            sale = self._finish(order, body)
        if action in ("cancel", "complete"):
            del self.open[phone]
        shown = [row.fields for row in order.discounts]
        cart = {"phone": phone, "order_id": order.id, "total_cents": order.fields["total"], "discounts": shown}
        return {"status": 0, "body": None, "sent": [], "cart": cart, "sale": sale}
