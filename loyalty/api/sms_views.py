"""Texts about an order (reference: 6.4). Opt-outs win."""

from django.utils import timezone
from drf_spectacular.utils import extend_schema, inline_serializer
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from aiqsync.accounts.models import Scope
from loyalty import personas, transactional

from .base import TillView
from .envelope import Refused, answer, failure
from .shapes import Body


class Sms(TillView):
    """Sends a text about an order, at once. Refused after an opt-out."""

    scopes = {"POST": Scope.POS}

    @extend_schema(
        summary="Send a text about an order",
        tags=["consent"],
        request=inline_serializer(
            "SmsRequest",
            {
                "phone": serializers.CharField(max_length=200),
                "body": serializers.CharField(max_length=transactional.MOST_LETTERS),
                "campaignID": serializers.CharField(required=False, help_text="Accepted and not read."),
            },
        ),
        responses=inline_serializer(
            "SmsAnswer",
            {
                "messageID": serializers.UUIDField(),
                "state": serializers.ChoiceField(["queued"]),
                "segments": serializers.IntegerField(help_text="Parts a carrier bills."),
            },
        ),
    )
    def post(self, request: Request) -> Response:
        body = Body(request)
        typed = body.text("phone", "mobilePhone")
        if not typed:
            raise Refused("phone: is needed.")
        words = body.words("body", longest=transactional.MOST_LETTERS)
        if not words.strip():
            raise Refused("body: is needed.")
        phone = personas.phone_of(typed, self.caller.region)
        if not phone:
            raise Refused("phone: This is not a valid phone number.")
        try:
            queued = transactional.send(
                account_id=self.caller.account_id, phone=phone, body=words, now=timezone.now()
            )  # fmt: skip
        except transactional.TooOften as error:
            return failure(str(error), 429, headers={"Retry-After": str(error.wait_s)})
        except transactional.NotSent as error:
            raise Refused(str(error)) from None
        return answer({"messageID": queued.message_id, "state": "queued", "segments": queued.parts})
