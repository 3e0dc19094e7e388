"""Stores (reference: 7.1)."""

from drf_spectacular.utils import OpenApiTypes, extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from stores.models import Store, StoreMapping

from .base import TillView
from .envelope import answer


class Stores(TillView):
    @extend_schema(summary="The account's stores", tags=["stores"], responses=OpenApiTypes.OBJECT)
    def get(self, request: Request, uid: str) -> Response:
        names: dict[int, dict[str, str]] = {}
        for mapping in (
            StoreMapping.objects.filter(store__isnull=False).select_related("location__origin").order_by("pk")
        ):
            location = mapping.location
            names.setdefault(mapping.store_id, {})[location.origin.platform] = location.name or location.external_id
        return answer({"stores": [_store(s, uid, names.get(s.pk, {})) for s in Store.objects.all()] or None})


def _store(store: Store, uid: str, names: dict[str, str]) -> dict:
    return {
        "id": store.number,
        "name": store.name,
        "nickname": store.nickname,
        "avatar": "",
        "addr": {
            "street": store.street,
            "city": store.city,
            "state": store.state,
            "zipCode": store.postal_code,
            "country": store.country,
            "lat": None,
            "long": None,
        },
        "userID": uid,
        "reviewLinks": {},
        "sourceMapping": names,
        "onlineShopURL": "",
        "phone": store.phone,
    }
