"""What happened: order lines, points history, adjustments, redemptions; and what is recommended of it."""

from typing import Any

from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from loyalty import history, recommending

from . import answers
from .authentication import epoch
from .base import TillView
from .envelope import answer
from .reading import (
    CID,
    START,
    TIMES,
    UID,
    asked_moment,
    contact,
    dollars,
    limit_parameter,
    moment,
    paging,
    phone_told,
    plain,
)


class Orders(TillView):
    """A flat list of lines: those of one sale share its `timestamp` (reference: 5.12)."""

    @extend_schema(
        summary="Order lines of a contact",
        tags=["contacts"],
        parameters=[UID, CID, START, limit_parameter(history.MOST_LINES, history.MOST_LINES)],
        responses=answers.enveloped("OrdersAnswer", answers.OrderLine(many=True, allow_null=True)),
    )
    def get(self, request: Request, uid: str, cid: str) -> Response:
        start, limit = paging(request, default=history.MOST_LINES, most=history.MOST_LINES)
        found = history.orders(
            account_id=self.caller.account_id, persona_id=contact(self.caller, cid), start=start, limit=limit
        )
        return answer(
            [
                {
                    "name": one.name,
                    "brand": one.brand,
                    "category": one.category,
                    "sku": one.sku,
                    "quantity": plain(one.quantity),
                    "totalPrice": dollars(one.total_cents),
                    "timestamp": epoch(one.sold_at),
                    "storeName": one.store,
                    "orderID": one.sale_id,
                    "type": one.kind,
                }
                for one in found
            ]
            or None
        )


class Timeline(TillView):
    """Points history, the latest first; without events where points are hidden (reference: 5.13)."""

    @extend_schema(
        summary="Points history of a contact",
        tags=["points"],
        parameters=[
            UID,
            CID,
            OpenApiParameter("start", {"type": "integer"}, description="From, Unix seconds."),
            OpenApiParameter("end", {"type": "integer"}, description="Until, Unix seconds."),
            limit_parameter(history.MOST_LINES, history.MOST_LINES),
        ],
        responses=answers.enveloped("TimelineAnswer", answers.Timeline()),
    )
    def get(self, request: Request, uid: str, cid: str) -> Response:
        since, until = asked_moment(request, "start"), asked_moment(request, "end")
        persona_id = contact(self.caller, cid)
        if self.caller.points_hidden:
            return answer({"events": None})
        found = history.timeline(account_id=self.caller.account_id, persona_id=persona_id, since=since, until=until)
        return answer(
            {
                "events": [
                    {
                        "id": str(one.entry_id),
                        "type": one.kind,
                        "points": one.points,
                        "timestamp": epoch(one.at),
                        "happenedAt": epoch(one.happened_at),
                        "name": one.name,
                        "note": one.note,
                    }
                    for one in found
                ]
                or None
            }
        )


class Adjustments(TillView):
    """Points given or taken by hand, by whoever, the oldest first (reference: 5.15)."""

    @extend_schema(
        summary="List point adjustments",
        tags=["points"],
        parameters=[UID, *TIMES, limit_parameter(history.MOST_ROWS, history.MOST_ROWS)],
        responses=answers.enveloped("AdjustmentsAnswer", answers.AdjustmentRow(many=True, allow_null=True)),
    )
    def get(self, request: Request, uid: str, start: str, end: str) -> Response:
        since, until = moment("start", start.strip()), moment("end", end.strip())
        skip, limit = paging(request, default=history.MOST_ROWS, most=history.MOST_ROWS)
        found = history.adjustments(
            account_id=self.caller.account_id, since=since, until=until, start=skip, limit=limit
        )
        return answer(
            [
                _who(one)
                | {
                    "id": str(one.entry_id),
                    "value": one.points,
                    "note": one.note,
                    "addedBy": one.by,
                    "timestamp": epoch(one.at),
                    "ts": epoch(one.at),
                }
                for one in found
            ]
            or None
        )


class Redemptions(TillView):
    """Uses of discounts, those that were given back too, the oldest first (reference: 7.10)."""

    @extend_schema(
        summary="List redemptions",
        tags=["redemptions"],
        parameters=[UID, *TIMES, limit_parameter(history.MOST_ROWS, history.MOST_ROWS)],
        responses=answers.enveloped("RedemptionsAnswer", answers.RedemptionRow(many=True, allow_null=True)),
    )
    def get(self, request: Request, uid: str, start: str, end: str) -> Response:
        since, until = moment("start", start.strip()), moment("end", end.strip())
        skip, limit = paging(request, default=history.MOST_ROWS, most=history.MOST_ROWS)
        found = history.redemptions(
            account_id=self.caller.account_id, since=since, until=until, start=skip, limit=limit
        )
        return answer(
            [
                _who(one)
                | {
                    "redemptionID": one.redemption_id,
                    "discountID": str(one.discount_number),
                    "discountName": one.discount,
                    "pointsDeducted": one.points,
                    "pointsReturned": one.returned,
                    "state": one.state,
                    "channel": one.channel,
                    "transactionID": one.transaction or None,
                    "storeName": one.store,
                    "timestamp": epoch(one.at),
                }
                for one in found
            ]
            or None
        )


def _who(one: history.Adjustment | history.Redeemed) -> dict[str, Any]:
    phone = phone_told(one.phone)
    return {
        "contactID": one.contact_id,
        "firstName": one.first_name,
        "lastName": one.last_name,
        "name": f"{one.first_name} {one.last_name}".strip(),
        "phone": phone,
        "mobilePhone": phone,
        "email": one.email,
    }


class Recommendations(TillView):
    """What he bought most, then what others buy with it (reference: 5.16)."""

    @extend_schema(
        summary="Products a contact will most likely want",
        tags=["contacts"],
        parameters=[CID, limit_parameter(recommending.MOST, recommending.MOST)],
        responses=answers.enveloped("RecommendationsAnswer", answers.Recommendation(many=True, allow_null=True)),
    )
    def get(self, request: Request, cid: str) -> Response:
        _, limit = paging(request, default=recommending.MOST, most=recommending.MOST)
        found = recommending.recommended(
            account_id=self.caller.account_id, persona_id=contact(self.caller, cid), limit=limit
        )
        return answer(
            [
                {
                    "rank": place,
                    "name": one.name,
                    "brand": one.brand,
                    "category": one.category,
                    "sku": one.sku,
                    "productID": one.product_id,
                    "reason": one.why,
                    "score": one.score,
                }
                for place, one in enumerate(found, start=1)
            ]
            or None
        )
