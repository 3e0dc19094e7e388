"""What the programme offers, whoever asks: discounts as defined, and its settings (reference: 7.8, 7.9, 7.12)."""

from decimal import Decimal
from typing import Any

from django.conf import settings
from drf_spectacular.utils import extend_schema, inline_serializer
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from loyalty import discounts, pictures
from loyalty.models import Discount, Reward

from .authentication import epoch
from .base import TillView
from .envelope import answer
from .reading import dollars

_DISCOUNT = inline_serializer(
    "DiscountDefinition",
    {
        "id": serializers.CharField(),
        "posDiscountID": serializers.CharField(),
        "internalName": serializers.CharField(),
        "name": serializers.CharField(),
        "pageTitle": serializers.CharField(),
        "avatar": serializers.CharField(),
        "cover": serializers.CharField(allow_null=True),
        "inStoreRedemption": serializers.BooleanField(),
        "dollarValue": serializers.FloatField(),
        "percentageValue": serializers.FloatField(),
        "minimumSpend": serializers.FloatField(),
        "pointsDeduction": serializers.FloatField(),
        "pointsRequired": serializers.FloatField(help_text="Ours: a tier reward needs points and takes none."),
        "tierDiscount": serializers.BooleanField(),
        "reusable": serializers.BooleanField(),
        "stackable": serializers.BooleanField(help_text="Ours."),
        "start": serializers.IntegerField(help_text="Ours: epoch seconds; 0: always was."),
        "expiration": serializers.IntegerField(help_text="Epoch seconds; 0: none."),
        "storeIDs": serializers.ListField(child=serializers.IntegerField(), allow_null=True),
        "audienceIDs": serializers.ListField(child=serializers.CharField(), allow_null=True),
    },
    many=True,
    allow_null=True,
)


class Discounts(TillView):
    """Every discount that is not archived, in the wallet's order. The wallet says who may have it."""

    @extend_schema(summary="Discounts as they are defined", tags=["discounts"], responses=_DISCOUNT)
    def get(self, request: Request, uid: str) -> Response:
        host = settings.PUBLIC_URL or f"{request.scheme}://{request.get_host()}"
        found = discounts.defined(account_id=self.caller.account_id)
        return answer([_definition(one, host) for one in found] or None)


class DiscountGroups(TillView):
    """There are no groups of discounts: `data` is null."""

    @extend_schema(
        summary="Groups of discounts (none)",
        tags=["discounts"],
        responses=inline_serializer("DiscountGroups", {}, allow_null=True),
    )
    def get(self, request: Request) -> Response:
        return answer(None)


class Programme(TillView):
    """How points are earned, and what the tiers give."""

    @extend_schema(
        summary="The loyalty programme",
        tags=["discounts"],
        responses=inline_serializer(
            "LoyaltyProgramme",
            {
                "id": serializers.CharField(),
                "name": serializers.CharField(),
                "userID": serializers.CharField(),
                "tiers": inline_serializer(
                    "Tier",
                    {
                        "points": serializers.FloatField(),
                        "discount": serializers.FloatField(),
                        "max": serializers.FloatField(),
                        "kind": serializers.ChoiceField(Discount.Kind.values, help_text="Ours: what `discount` is in."),
                        "discountID": serializers.CharField(help_text="Ours."),
                    },
                    many=True,
                    allow_null=True,
                ),
                "accrual": serializers.FloatField(help_text="Points for a dollar."),
                "expiration": serializers.IntegerField(help_text="Days until points expire; 0: they do not."),
                "pointsPerOrder": serializers.FloatField(help_text="Ours."),
                "enabled": serializers.BooleanField(help_text="Ours."),
                "hidePointsInWallet": serializers.BooleanField(help_text="Ours."),
            },
        ),
    )
    def get(self, request: Request, uid: str) -> Response:
        offer = discounts.offer(account_id=self.caller.account_id)
        programme = offer.programme
        return answer(
            {
                "id": uid,
                "name": offer.name,
                "userID": uid,
                "tiers": [_tier(one) for one in offer.tiers] or None,
                "accrual": _plain(programme.points_per_100 / 100),
                "expiration": programme.expire_days or 0,
                "pointsPerOrder": programme.points_per_order,
                "enabled": programme.enabled,
                "hidePointsInWallet": programme.hide_points or not programme.enabled,
            }
        )


def _definition(discount: Discount, host: str) -> dict[str, Any]:
    pictures_of = {one.kind: one.digest for one in discount.images.all()}
    return {
        "id": str(discount.number),
        "posDiscountID": discount.pos_discount_id,
        "internalName": discount.internal_name,
        "name": discount.name,
        "pageTitle": discount.description,
        "avatar": host + pictures.address(pictures_of.get("logo", "")),
        "cover": host + pictures.address(pictures_of["cover"]) if "cover" in pictures_of else None,
        "inStoreRedemption": discount.in_store_only,
        "dollarValue": dollars(discount.amount_cents),
        "percentageValue": discount.percent,
        "minimumSpend": dollars(discount.min_spend_cents),
        "pointsDeduction": discount.price,
        "pointsRequired": discount.points,
        "tierDiscount": discount.reward == Reward.TIER,
        "reusable": discount.reusable,
        "stackable": discount.stackable,
        "start": epoch(discount.starts_at) if discount.starts_at else 0,
        "expiration": epoch(discount.ends_at) if discount.ends_at else 0,
        "storeIDs": sorted(one.store.number for one in discount.stores.all()) or None,
        "audienceIDs": sorted(str(one.audience.public_id) for one in discount.audiences.all()) or None,
    }


def _tier(discount: Discount) -> dict[str, Any]:
    flat = discount.kind == Discount.Kind.FLAT
    return {
        "points": discount.points,
        "discount": dollars(discount.amount_cents) if flat else discount.percent,
        "max": 0,
        "kind": discount.kind,
        "discountID": str(discount.number),
    }


def _plain(value: Decimal) -> int | float:
    return int(value) if value == value.to_integral_value() else float(value)
