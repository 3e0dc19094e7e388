"""Consent to be written to (reference: 6.1 to 6.3). The journal decides; the answer says what holds."""

from django.utils import timezone
from drf_spectacular.utils import OpenApiParameter, OpenApiTypes, extend_schema, inline_serializer
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from aiqsync.accounts.models import Scope
from integrations.services import email_of
from loyalty import consent, personas
from loyalty.models import ConsentChannel, ConsentNow

from . import reading
from .base import TillView
from .envelope import Refused, answer

_WORDS = {"true": True, "false": False}
_LOOKS = {
    "responses": inline_serializer(
        "OptIn",
        {
            "contactID": serializers.UUIDField(allow_null=True, help_text="Who bears it; null: nobody we know."),
            "optIn": serializers.BooleanField(help_text="Whether it may be written to now."),
            "state": serializers.ChoiceField(ConsentNow.values),
            "message": serializers.CharField(help_text="Why it is not what was asked for; empty when it is."),
        },
    ),
    "request": None,
    "tags": ["consent"],
    "parameters": [
        OpenApiParameter("state", OpenApiTypes.STR, OpenApiParameter.PATH, enum=["true", "false"]),
        OpenApiParameter("doubleOpt", OpenApiTypes.BOOL, description="Ask by message first; a YES then holds."),
        OpenApiParameter("loyalty", OpenApiTypes.BOOL, description="false: the question is skipped."),
    ],
}


class OptInText(TillView):
    """Sets the opt-in of a phone. Makes no contact, and the number need not be known."""

    scopes = {"PUT": Scope.POS}

    @extend_schema(summary="Opt a phone in or out of texts", **_LOOKS)
    def put(self, request: Request, phone: str, state: str, uid: str = "") -> Response:
        return _set(self, request, ConsentChannel.SMS, "phone", phone, state)


class OptInEmail(TillView):
    """Sets the opt-in of an e-mail. Makes no contact, and the address need not be known."""

    scopes = {"PUT": Scope.POS}

    @extend_schema(summary="Opt an e-mail in or out", **_LOOKS)
    def put(self, request: Request, email: str, state: str) -> Response:
        return _set(self, request, ConsentChannel.EMAIL, "email", email, state)


def _set(view: TillView, request: Request, channel: str, name: str, said: str, word: str) -> Response:
    yes = _WORDS.get(word.strip().lower())
    if yes is None:
        raise Refused("state: must be true or false, as the last part of the path.")
    asks, loyalty = reading.flag(request, "doubleOpt"), reading.flag(request, "loyalty")
    caller = view.caller
    sms = channel == ConsentChannel.SMS
    address = personas.phone_of(said, caller.region) if sms else email_of(said)
    if not address:
        raise Refused(f"{name}: This is not a valid {'phone number' if sms else 'e-mail address'}.")
    try:
        told = consent.set_by_caller(
            account_id=caller.account_id, channel=channel, address=address, yes=yes, now=timezone.now(),
            asks=bool(asks) and loyalty is not False, store_id=caller.store_id,
        )  # fmt: skip
    except consent.CannotAsk as error:
        raise Refused(str(error)) from None
    return answer(
        {
            "contactID": told.contact_id,
            "optIn": told.state == ConsentNow.IN,
            "state": told.state,
            "message": told.why_not,
        }
    )
