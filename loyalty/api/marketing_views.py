"""Audiences, and what there is none of: campaigns and their conversions (reference: 7.3 to 7.6, 7.11).

We send no campaigns. A client that asks for them is told that there are none, and goes on.
"""

from drf_spectacular.utils import OpenApiParameter, OpenApiTypes, extend_schema, inline_serializer
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from loyalty import audiences

from . import reading
from .base import TillView
from .envelope import NotThere, answer

WINDOW = [
    OpenApiParameter("start", OpenApiTypes.INT, description="How many to pass over; 0."),
    OpenApiParameter("limit", OpenApiTypes.INT, description="How many at most; 100, up to 2,000."),
]
_NONE = {"tags": ["marketing"], "responses": inline_serializer("Nothing", {}, allow_null=True)}


class Audiences(TillView):
    """The members first, as "Signed Up". Sizes are at most ten minutes old."""

    @extend_schema(
        summary="Audiences, with how many are in them",
        tags=["marketing"],
        parameters=WINDOW,
        responses=inline_serializer(
            "Audience",
            {
                "id": serializers.CharField(),
                "name": serializers.CharField(),
                "audienceSize": serializers.IntegerField(),
                "traits": serializers.ListField(child=serializers.DictField(), allow_null=True),
            },
            many=True,
            allow_null=True,
        ),
    )
    def get(self, request: Request, uid: str) -> Response:
        start, limit = reading.paging(request)
        found = audiences.listed(account_id=self.caller.account_id, start=start, limit=limit)
        return answer(
            [
                {
                    "id": one.public_id,
                    "name": one.name,
                    "audienceSize": one.size,
                    "traits": [{"type": name, "value": value} for name, value in one.traits.items()] or None,
                }
                for one in found
            ]
            or None
        )


class Campaigns(TillView):
    """There are none: `data` is null."""

    @extend_schema(
        summary="Campaigns (none)",
        parameters=[OpenApiParameter("full", OpenApiTypes.BOOL, description="Accepted.")],
        **_NONE,
    )
    def get(self, request: Request) -> Response:
        return answer(None)


class CampaignsOfAccount(TillView):
    """There are none: `data` is null."""

    @extend_schema(summary="Campaigns, the older call (none)", **_NONE)
    def get(self, request: Request, uid: str) -> Response:
        return answer(None)


class CampaignStats(TillView):
    """There are no campaigns, so there is no such one: 404."""

    @extend_schema(summary="Figures of a campaign (none)", **_NONE)
    def get(self, request: Request, campaign: str) -> Response:
        raise NotThere("Campaign not found")


class Conversions(TillView):
    """There are no campaigns, so nothing came of them: `data` is null."""

    @extend_schema(
        summary="What came of campaigns (nothing)",
        parameters=[
            OpenApiParameter("start", OpenApiTypes.STR, description="Accepted."),
            OpenApiParameter("end", OpenApiTypes.STR, description="Accepted."),
        ],
        **_NONE,
    )
    def get(self, request: Request, uid: str) -> Response:
        return answer(None)
