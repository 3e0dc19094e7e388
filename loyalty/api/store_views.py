"""Stores (reference: 7.1, 7.2)."""

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from drf_spectacular.utils import OpenApiParameter, OpenApiTypes, extend_schema, inline_serializer
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from aiqsync.accounts.models import Scope
from stores import services
from stores.models import REVIEW_SITES, Store

from .base import TillView
from .envelope import NotThere, Refused, answer
from .shapes import Body

UNKNOWN = "Store not found"
_ADDRESS = {"street": "street", "city": "city", "state": "state", "zipCode": "postal_code", "country": "country"}
_PLAIN = {"name": "name", "nickname": "nickname", "phone": "phone", "avatar": "avatar",
          "onlineShopURL": "online_shop_url"}  # fmt: skip
_PLACE = {"lat": "latitude", "long": "longitude"}
_WIRE = {field: name for name, field in _PLAIN.items()} | {field: f"addr.{name}" for name, field in _ADDRESS.items()}
_WIRE |= {field: f"addr.{name}" for name, field in _PLACE.items()} | {"review_links": "reviewLinks"}
_COUNTRIES = {"USA": "US", "UNITED STATES": "US", "UNITED STATES OF AMERICA": "US", "CAN": "CA", "CANADA": "CA"}


def _shape(name: str, *, whole: bool) -> serializers.Serializer:
    text = {"required": whole, "allow_blank": True}
    number = {"required": whole, "allow_null": True}
    fields: dict[str, Any] = {wire: serializers.CharField(**text) for wire in _PLAIN}
    fields["addr"] = inline_serializer(
        f"{name}Address",
        {wire: serializers.CharField(**text) for wire in _ADDRESS}
        | {wire: serializers.FloatField(**number) for wire in _PLACE},
        required=whole,
    )
    fields["reviewLinks"] = inline_serializer(
        f"{name}ReviewLinks", {site: serializers.CharField(**text) for site in REVIEW_SITES}, required=whole
    )
    if whole:
        fields |= {
            "id": serializers.IntegerField(),
            "userID": serializers.CharField(),
            "sourceMapping": serializers.DictField(child=serializers.CharField()),
        }
    return inline_serializer(name, fields)


_STORE = _shape("Store", whole=True)


class Stores(TillView):
    @extend_schema(
        summary="The account's stores",
        tags=["stores"],
        responses=inline_serializer("StoreList", {"stores": serializers.ListField(child=_STORE, allow_null=True)}),
    )
    def get(self, request: Request, uid: str) -> Response:
        names = services.pos_names(account_id=self.caller.account_id)
        return answer({"stores": [_store(s, uid, names.get(s.pk, {})) for s in Store.objects.all()] or None})


class OneStore(TillView):
    """Changes what is given; what is left out stays. The object, or the list as `GET` answers it."""

    scopes = {"PUT": Scope.ADMIN}

    @extend_schema(
        summary="Change a store",
        tags=["stores"],
        request=_shape("StoreChange", whole=False),
        responses=_STORE,
        parameters=[OpenApiParameter("store", OpenApiTypes.STR, OpenApiParameter.PATH, description="The store's id.")],
    )
    def put(self, request: Request, uid: str, store: str) -> Response:
        number = int(store) if store.isascii() and store.isdigit() and len(store) < 10 else 0
        fields = _fields(_meant(request.data, number))
        try:
            changed = services.change(
                account_id=self.caller.account_id, number=number, fields=fields, by="API"
            )  # fmt: skip
        except services.Wrong as error:
            raise Refused(f"{_WIRE.get(error.field, error.field)}: {error}") from None
        if changed is None:
            raise NotThere(UNKNOWN)
        names = services.pos_names(account_id=self.caller.account_id)
        return answer(_store(changed, uid, names.get(changed.pk, {})))


def _meant(body: Any, number: int) -> dict[str, Any]:
    """The object about this store: alone, in an array, or in what `GET` answers."""
    for name in ("data", "stores"):
        if isinstance(body, dict) and isinstance(body.get(name), dict | list):
            body = body[name]
    if isinstance(body, list):
        rows = [row for row in body if isinstance(row, dict)]
        if len(rows) != len(body) or not rows:
            raise Refused("The body must be a JSON object.")
        mine = [row for row in rows if _is_number(row.get("id"), number)]
        if not mine and len(rows) == 1 and rows[0].get("id") is None:
            mine = rows
        if not mine:
            raise NotThere(UNKNOWN)
        return mine[0]
    if not isinstance(body, dict):
        raise Refused("The body must be a JSON object.")
    if body.get("id") is not None and not _is_number(body["id"], number):
        raise NotThere(UNKNOWN)
    return body


def _is_number(said: Any, number: int) -> bool:
    return not isinstance(said, bool) and isinstance(said, int | str) and str(said).strip() == str(number)


def _fields(given: dict[str, Any]) -> dict[str, Any]:
    """What of the wire's object is there, by the model's names. An empty text empties; null leaves as it is."""
    fields = _texts(given, _PLAIN, "")
    if fields.get("name") == "":
        raise Refused("name: a store needs one.")
    if (address := _inner(given, "addr")) is not None:
        fields |= _texts(address, _ADDRESS, "addr.")
        if country := fields.get("country", "").upper():
            fields["country"] = _COUNTRIES.get(country, country)
        if any(address.get(name) is not None for name in _PLACE):
            fields |= {field: _degrees(address, name) for name, field in _PLACE.items()}
    if (links := _inner(given, "reviewLinks")) is not None:
        fields["review_links"] = _texts(links, {site: site for site in REVIEW_SITES}, "reviewLinks.")
    return fields


def _inner(given: dict[str, Any], name: str) -> dict[str, Any] | None:
    value = given.get(name)
    if value is not None and not isinstance(value, dict):
        raise Refused(f"{name}: must be a JSON object.")
    return value


def _texts(given: dict[str, Any], names: Mapping[str, str], where: str) -> dict[str, str]:
    found = {}
    for wire, field in names.items():
        if given.get(wire) is None:
            continue
        try:
            found[field] = Body.of(given).text(wire, longest=500)
        except Refused as error:
            raise Refused(where + str(error.detail)) from None
    return found


def _degrees(address: dict[str, Any], name: str) -> Decimal | None:
    try:
        value = Body.of(address).number(name)
    except Refused as error:
        raise Refused(f"addr.{error.detail}") from None
    if value is not None and abs(value) > 180:
        raise Refused(f"addr.{name}: must be degrees.")
    return None if value is None else round(Decimal(str(value)), 6)


def _store(store: Store, uid: str, names: dict[str, str]) -> dict[str, Any]:
    def degrees(value: Decimal | None) -> float | None:
        return None if value is None else float(value)

    return {
        "id": store.number,
        "name": store.name,
        "nickname": store.nickname,
        "avatar": store.avatar,
        "addr": {wire: getattr(store, field) for wire, field in _ADDRESS.items()}
        | {wire: degrees(getattr(store, field)) for wire, field in _PLACE.items()},
        "userID": uid,
        "reviewLinks": {site: store.review_links.get(site, "") for site in REVIEW_SITES},
        "sourceMapping": names,
        "onlineShopURL": store.online_shop_url,
        "phone": store.phone,
    }
