"""What is sold, with its stock (reference: 7.13)."""

from decimal import Decimal
from typing import Any

from drf_spectacular.utils import extend_schema, inline_serializer
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from integrations import catalog
from stores import services as stores

from . import reading
from .base import TillView
from .envelope import answer
from .marketing_views import WINDOW
from .reading import dollars


class Products(TillView):
    """Products that are still sold, of every connected POS. `results` is null past the end."""

    @extend_schema(
        summary="Products with their stock",
        tags=["products"],
        parameters=WINDOW,
        responses=inline_serializer(
            "Products",
            {
                "results": inline_serializer(
                    "Product",
                    {
                        "id": serializers.CharField(help_text="The POS, three colons, its own id."),
                        "platform": serializers.CharField(),
                        "productID": serializers.CharField(help_text="The POS's id."),
                        "sku": serializers.CharField(),
                        "name": serializers.CharField(),
                        "brand": serializers.CharField(),
                        "category": serializers.CharField(),
                        "unit": serializers.CharField(help_text="Empty: pieces."),
                        "price": serializers.FloatField(allow_null=True, help_text="Dollars."),
                        "quantity": serializers.FloatField(allow_null=True, help_text="Of all places; null: not told."),
                        "stock": inline_serializer(
                            "Level",
                            {
                                "storeID": serializers.IntegerField(allow_null=True),
                                "location": serializers.CharField(),
                                "quantity": serializers.FloatField(),
                            },
                            many=True,
                            allow_null=True,
                        ),
                    },
                    many=True,
                    allow_null=True,
                ),
                "start": serializers.IntegerField(),
                "limit": serializers.IntegerField(),
                "size": serializers.IntegerField(help_text="Rows of this page."),
            },
        ),
    )
    def get(self, request: Request) -> Response:
        start, limit = reading.paging(request)
        found = catalog.listed(account_id=self.caller.account_id, start=start, limit=limit)
        numbers = stores.numbers_of_locations(account_id=self.caller.account_id) if found else {}
        return answer(
            {
                "results": [_row(one, numbers) for one in found] or None,
                "start": start,
                "limit": limit,
                "size": len(found),
            }
        )


def _row(one: catalog.Listed, numbers: dict[int, int]) -> dict[str, Any]:
    product = one.product
    platform = product.origin.platform
    return {
        "id": f"{platform}:::{product.external_id}",
        "platform": platform,
        "productID": product.external_id,
        "sku": product.sku,
        "name": product.name,
        "brand": product.brand,
        "category": product.category,
        "unit": product.unit,
        "price": None if product.price_cents is None else dollars(product.price_cents),
        "quantity": None if one.quantity is None else _plain(one.quantity),
        "stock": [
            {
                "storeID": numbers.get(level.location_id) if level.location_id else None,
                "location": level.location,
                "quantity": _plain(level.quantity),
            }
            for level in one.levels
        ]
        or None,
    }


def _plain(value: Decimal) -> int | float:
    """Weights have four decimals; what is whole is a whole number."""
    return int(value) if value == value.to_integral_value() else float(value)
