"""Contacts: list and search, one contact, overrides, attributes (reference: 5.6 to 5.11)."""

from typing import Any

from django.utils import timezone
from drf_spectacular.utils import OpenApiParameter, OpenApiTypes, extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from aiqsync.accounts.models import Scope
from loyalty import contacts, details, overrides, personas
from loyalty.models import Persona

from . import answers
from .authentication import epoch
from .base import TillView
from .contact_shapes import FIELDS, WIRE, attributes_of, attributes_told, store_number, told, told_whole
from .envelope import NotThere, Refused, answer
from .reading import CID, START, UID, UNKNOWN, contact, limit_parameter, paging, phone_told
from .shapes import Body


class Contacts(TillView):
    """List and search. `results` is null when nothing matches; `total` counts all that do."""

    @extend_schema(
        summary="List and search contacts",
        tags=["contacts"],
        parameters=[
            UID,
            START,
            limit_parameter(100, contacts.MOST),
            OpenApiParameter("sort", OpenApiTypes.STR, enum=list(contacts.SORTS), default="name"),
            OpenApiParameter("dir", OpenApiTypes.STR, enum=["asc", "desc"], default="asc"),
            OpenApiParameter(
                "search", OpenApiTypes.STR,
                description="has:phone, has:mobile, has:home, has:email, has:name, is:member, not:member, has:points, "
                "has:usedpoints, a quoted full name, email:, or a bare name, e-mail, phone or id. Blank is all.",
            ),
        ],
        responses=answers.enveloped("ContactsAnswer", answers.Listed()),
    )  # fmt: skip
    def get(self, request: Request, uid: str) -> Response:
        start, limit = paging(request, default=100, most=contacts.MOST)
        sort, way = request.query_params.get("sort", "").strip(), request.query_params.get("dir", "").strip().lower()
        if sort and sort not in contacts.SORTS:
            raise Refused(f"sort: must be one of {', '.join(contacts.SORTS)}.")
        if way not in ("", "asc", "desc"):
            raise Refused("dir: must be asc or desc.")
        page = contacts.listed(
            account_id=self.caller.account_id, region=self.caller.region, term=request.query_params.get("search", ""),
            sort=sort or "name", descending=way == "desc", start=start, limit=limit,
        )  # fmt: skip
        found = contacts.told(account_id=self.caller.account_id, ids=page.ids, now=timezone.now())
        return answer(
            {
                "results": [told(self.caller, one) for one in found] or None,
                "start": start,
                "limit": limit,
                "size": len(found),
                "total": page.total,
            }
        )


class ContactDetail(TillView):
    @extend_schema(
        summary="One contact",
        tags=["contacts"],
        parameters=[UID, CID],
        responses=answers.enveloped("ContactAnswer", answers.WholeContact()),
    )
    def get(self, request: Request, uid: str, cid: str) -> Response:
        return _whole(self, contact(self.caller, cid))


class ContactBySource(TillView):
    """Ours: the vendor has such a call under a path that is not public."""

    @extend_schema(
        summary="One contact by its id in a POS",
        tags=["contacts"],
        parameters=[
            OpenApiParameter(
                "platform", OpenApiTypes.STR, OpenApiParameter.PATH, description="cova, clover, push, ..."
            ),
            OpenApiParameter("source", OpenApiTypes.STR, OpenApiParameter.PATH, description="The customer's id there."),
        ],
        responses=answers.enveloped("ContactBySourceAnswer", answers.WholeContact()),
    )
    def get(self, request: Request, platform: str, source: str) -> Response:
        found = contacts.of_source(
            account_id=self.caller.account_id, platform=platform.strip(), external_id=source.strip()
        )
        if found is None:
            raise NotThere(UNKNOWN)
        return _whole(self, found)


def _whole(view: TillView, persona_id: int) -> Response:
    data = told_whole(view.caller, persona_id, timezone.now())
    if data is None:
        raise NotThere(UNKNOWN)
    return answer(data)


class Override(TillView):
    """Fields that hold whatever the POS repeats, until it says something new."""

    scopes = {"POST": Scope.POS}

    @extend_schema(
        summary="The overrides of a contact",
        tags=["contacts"],
        parameters=[UID, CID],
        responses=answers.enveloped("OverridesAnswer", answers.Overrides()),
    )
    def get(self, request: Request, uid: str, cid: str) -> Response:
        persona = _persona(self, contact(self.caller, cid))
        held = overrides.of(account_id=self.caller.account_id, persona_id=persona.pk)
        data: dict[str, Any] = {"contactID": persona.contact_id}
        for field, one in sorted(held.items()):
            data[WIRE[field]] = phone_told(one.value) if field == "phone" else one.value
        return answer(data | {"setAt": {WIRE[field]: epoch(one.at) for field, one in sorted(held.items())}})

    @extend_schema(
        summary="Override fields of a contact",
        tags=["contacts"],
        parameters=[UID, CID],
        request=answers.SignUp,
        responses=answers.enveloped("OverriddenAnswer", answers.Overridden()),
    )
    def post(self, request: Request, uid: str, cid: str) -> Response:
        body = Body(request)
        given = {
            "first_name": body.text("firstName"),
            "last_name": body.text("lastName"),
            "phone": body.text("mobilePhone", "phone"),
            "email": body.text("email", longest=254),
            "birth_date": body.text("birthdate", "birthDate", "birthday", "dob", longest=40),
            "address": body.text("address", longest=300),
        }
        # These no POS writes: to set them is to keep them.
        kept = details.Details(
            store_number=store_number(body),
            store_name=body.text("favoriteStore"),
            attributes=attributes_of(body.fields.get("customAttributes")),
        )
        now, persona_id = timezone.now(), contact(self.caller, cid)
        persona = _persona(self, persona_id)
        done: list[str] = []
        try:
            if any(given.values()) or not (kept.store_number or kept.store_name or kept.attributes):
                done = overrides.put(
                    account_id=self.caller.account_id, persona_id=persona_id, region=self.caller.region, given=given,
                    now=now,
                )  # fmt: skip
            details.keep(persona=persona, details=kept, now=now)
        except personas.InvalidContact as error:
            raise Refused(f"{WIRE[error.field]}: {error.message}") from None
        except details.TooMany as error:
            raise Refused(f"customAttributes: {error}") from None
        except LookupError:
            raise NotThere(UNKNOWN) from None
        wire = [theirs for theirs, ours in FIELDS.items() if ours in done]
        return answer({"contactID": persona.contact_id, "overridden": wire or None})


class Attributes(TillView):
    """Keys and values of the caller's own on a contact. POST adds or changes, PUT replaces all."""

    scopes = {"POST": Scope.POS, "PUT": Scope.POS}

    @extend_schema(
        summary="The custom attributes of a contact",
        tags=["contacts"],
        parameters=[CID],
        responses=answers.enveloped("AttributesAnswer", answers.Attribute(many=True, allow_null=True)),
    )
    def get(self, request: Request, cid: str) -> Response:
        return self._told(contact(self.caller, cid))

    @extend_schema(
        summary="Add or change custom attributes of a contact",
        tags=["contacts"],
        parameters=[CID],
        request=answers.Attribute(many=True),
        responses=answers.enveloped("AttributesSetAnswer", serializers.ListField(allow_null=True)),
    )
    def post(self, request: Request, cid: str) -> Response:
        return self._set(request, cid, instead=False)

    @extend_schema(
        summary="Replace all custom attributes of a contact",
        tags=["contacts"],
        parameters=[CID],
        request=answers.Attribute(many=True),
        responses=answers.enveloped("AttributesReplacedAnswer", serializers.ListField(allow_null=True)),
    )
    def put(self, request: Request, cid: str) -> Response:
        return self._set(request, cid, instead=True)

    def _set(self, request: Request, cid: str, *, instead: bool) -> Response:
        # A bare array, or under the name it has in a sign-up.
        items = request.data if isinstance(request.data, list) else Body(request).fields.get("customAttributes")
        if items is None:
            raise Refused("customAttributes: an array of attributes is needed.")
        said = attributes_of(items)
        persona_id = contact(self.caller, cid)
        try:
            details.set_attributes(
                account_id=self.caller.account_id, persona_id=persona_id, attributes=said, now=timezone.now(),
                instead=instead,
            )  # fmt: skip
        except details.TooMany as error:
            raise Refused(f"customAttributes: {error}") from None
        return self._told(persona_id)

    def _told(self, persona_id: int) -> Response:
        found = details.attributes_of(account_id=self.caller.account_id, persona_id=persona_id)
        return answer(attributes_told([(one.parent, one.key, one.value, one.said_at) for one in found]))


def _persona(view: TillView, persona_id: int) -> Persona:
    found = Persona.objects.filter(account_id=view.caller.account_id, pk=persona_id, erased_at=None).first()
    if found is None:
        raise NotThere(UNKNOWN)
    return found
