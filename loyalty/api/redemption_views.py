"""Redeem and give back (reference: 4.7, 4.8). Who is meant stands in the address the wallet gave out, signed."""

import hashlib
import uuid
from datetime import datetime
from decimal import Decimal

from django.db import connection
from django.utils import timezone
from drf_spectacular.utils import OpenApiTypes, extend_schema
from rest_framework import status
from rest_framework.request import Request
from rest_framework.response import Response

from aiqsync.accounts.models import Scope
from loyalty import discounts, ledger, links, pins, refusals
from loyalty.models import Channel, RedemptionState
from loyalty.wallet import plain_points

from .authentication import Caller
from .base import TillView
from .envelope import NotThere, Refused, Unreadable, answer
from .once import REPLAYED
from .shapes import Body

LONGEST_TRANSACTION = 100
ORDER = {
    "application/json": {
        "type": "object",
        "properties": {
            "orderSubtotal": {
                "type": "number",
                "description": "Optional: the order in dollars, after discounts, before tax. It can only refuse.",
            }
        },
    }
}


class Mismatch(Refused):
    status_code = status.HTTP_422_UNPROCESSABLE_ENTITY


class Redeem(TillView):
    """PUT the wallet's `redemptionURL` as it is (web shops). Repeating it is safe.

    What a discount costs and takes off is never the caller's to say. The one thing that is read of a body is
    `orderSubtotal`, in dollars: with it a discount with a minimum spend is refused for a smaller order.
    """

    scopes = {"PUT": Scope.POS}

    @extend_schema(
        operation_id="redeem",
        summary="Redeem one discount",
        tags=["redemptions"],
        request=ORDER,
        responses=OpenApiTypes.OBJECT,
    )
    def put(self, request: Request, uid: str, discount: str, token: str) -> Response:
        return self.redeem(discount, token, "")

    def redeem(self, discount: str, token: str, order: str) -> Response:
        now = timezone.now()
        if len(order) > LONGEST_TRANSACTION:
            raise Refused(f"transactionID: at most {LONGEST_TRANSACTION} characters.")
        link = _link(self.caller.account_id, discount, token, now)
        if self.caller.pin_required:
            _need_proof(self.caller, link, order, links.issued_at(token), now)
        try:
            done = discounts.redeem(
                account_id=self.caller.account_id,
                persona_id=link.persona_id,
                discount_id=link.discount_id,
                n=link.n,
                transaction=order,
                channel=Channel.TILL if order else Channel.WEB,
                now=now,
                store_id=self.caller.store_id,
                spend_cents=_order_cents(self.request),
            )
        except refusals.Refusal as error:
            raise Refused(refusals.sentence(error, hidden=self.caller.points_hidden)) from None
        return answer(
            {
                "redemptionID": done.redemption_id,
                "pointsDeducted": done.points,
                "loyaltyPoints": self.told(done.balance if done.created else _balance_then(done)),
                "transactionID": order or None,
                "code": done.code or None,
                # What this call made of it. Nothing that may have changed since: a repeat answers the same bytes.
                "state": RedemptionState.APPLIED if order else RedemptionState.SETTLED,
            },
            headers=None if done.created else REPLAYED,
        )


class RedeemForOrder(Redeem):
    """PUT the wallet's `redemptionURL` with the till's transaction id appended; once for each transaction."""

    @extend_schema(
        operation_id="redeem_for_order",
        summary="Redeem one discount for a till's transaction",
        tags=["redemptions"],
        request=ORDER,
        responses=OpenApiTypes.OBJECT,
    )
    def put(self, request: Request, uid: str, discount: str, token: str, transaction: str) -> Response:
        if not transaction.strip():
            raise Refused("transactionID: it is empty. Leave it and its slash away, or name the order.")
        return self.redeem(discount, token, transaction.strip())


class Revert(TillView):
    """Our own path, because the vendor's is not known (reference: 4.8, 10.1). The whole, or `points` of it.

    Repeated without `points` it gives back once. Two equal parts of one redemption each need an `Idempotency-Key`.
    """

    scopes = {"POST": Scope.POS}

    @extend_schema(
        summary="Give back the points of a redemption",
        tags=["redemptions"],
        request=OpenApiTypes.OBJECT,
        responses=OpenApiTypes.OBJECT,
    )
    def post(self, request: Request, redemption: str) -> Response:
        points = Body(request).points("points")
        try:
            public_id = uuid.UUID(redemption)
        except ValueError:
            raise NotThere("Redemption not found") from None
        key = request.META.get("HTTP_IDEMPOTENCY_KEY", "").strip()
        try:
            done = ledger.revert(
                account_id=self.caller.account_id,
                redemption_public_id=public_id,
                points=points,
                key=f"revert:{public_id}:{hashlib.sha256(key.encode()).hexdigest()[:32]}" if key else None,
                now=timezone.now(),
                why="till",
            )
        except ledger.UnknownRedemption:
            raise NotThere("Redemption not found") from None
        except ledger.NothingToRevert as error:
            raise Refused(
                f"points: {plain_points(error.left)} can be given back, {plain_points(error.asked)} were asked for."
            ) from None
        if key and points is not None and points != done.points:
            raise Mismatch("This Idempotency-Key was used for another number of points.")
        return answer(
            {
                "redemptionID": done.redemption_id,
                "pointsReturned": done.points,
                "pointsReturnedTotal": done.reverted_total,
                "loyaltyPoints": self.told(done.balance),
                "state": done.state,
            },
            headers=None if done.created else REPLAYED,
        )


def _order_cents(request: Request) -> int | None:
    """What the order comes to, when the caller says so. A body that is not an object says nothing, as ever."""
    try:
        if not isinstance(request.data, dict):
            return None
    except Unreadable:
        return None
    return Body(request).cents("orderSubtotal")


def _link(account_id: int, discount: str, token: str, now: datetime) -> links.Link:
    if not (discount.isascii() and discount.isdigit() and len(discount) <= 9):
        raise NotThere("This redemption address is not valid.")
    try:
        return links.read(token, account_id=account_id, discount_number=int(discount), now=now)
    except links.BadLink:
        raise NotThere("This redemption address is not valid.") from None
    except links.ExpiredLink:
        raise Refused("This address is over 24 hours old; read the wallet again.") from None


def _need_proof(caller: Caller, link: links.Link, order: str, issued_at: datetime, now: datetime) -> None:
    """The key's store asks for the shopper's code: it was entered before the wallet was read, or since.

    A call that was carried out already is answered again, however long ago that was. An address that has paid for one
    order pays for another only right after the code: otherwise one code would be good for a whole day of orders.
    """
    asked = {"account_id": caller.account_id, "persona_id": link.persona_id}
    use = discounts.use_of(**asked, discount_id=link.discount_id, n=link.n, transaction=order)
    if use == "same":
        return
    since = (now if use else issued_at) - pins.PROVED_FOR
    if not pins.proved_since(**asked, key_id=caller.key_id, since=since, now=now):
        raise Refused("This store asks for the shopper's code first: send one, enter it, and read the wallet again.")


def _balance_then(done: ledger.Redeemed) -> Decimal:
    """The balance right after an earlier redemption: of its own entry or, when it cost nothing, of the last before.

    Of its first entry: one that was released and settled again has another since.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            """SELECT coalesce(
                   (SELECT e.balance_after FROM loyalty_entry e WHERE e.redemption_id = r.id AND e.kind = 'redeem'
                    ORDER BY e.id LIMIT 1),
                   (SELECT e.balance_after FROM loyalty_entry e
                    WHERE e.persona_id = r.persona_id AND e.at <= r.applied_at ORDER BY e.id DESC LIMIT 1))
               FROM loyalty_redemption r WHERE r.public_id = %s""",
            [done.redemption_id],
        )
        row = cursor.fetchone()
    return done.balance if row is None or row[0] is None else row[0]
