"""The wallet by PIN: a code is sent, and opens the wallet (reference: 4.3 to 4.6).

`verify/wallet` and `view/wallet` know the phone, `verify/contact/wallet` and `view/contact/wallet` phone or e-mail.
"""

from datetime import datetime
from typing import Any

from django.utils import timezone
from drf_spectacular.utils import extend_schema, inline_serializer
from rest_framework import serializers
from rest_framework.exceptions import Throttled
from rest_framework.request import Request
from rest_framework.response import Response

from aiqsync.accounts.models import Scope
from loyalty import pins
from loyalty.models import ConsentChannel, Persona

from .authentication import Caller, epoch
from .base import TillView
from .envelope import NotThere, Refused, answer
from .shapes import Body
from .wallet_views import UNKNOWN, WALLET_ANSWER, asked_for, found_id, wallet_answer

CODE = serializers.CharField(max_length=20, help_text="The four digits, or the master PIN.")
PHONE = {"phone": serializers.CharField(max_length=200, help_text="Any usual spelling. A contact id is taken as well.")}
EITHER = {
    "phone": serializers.CharField(max_length=200, required=False),
    "email": serializers.CharField(max_length=254, required=False),
    "contactID": serializers.CharField(max_length=100, required=False),
}
SENT = inline_serializer(
    "CodeSent",
    {
        "data": inline_serializer(
            "CodeSentData",
            {
                "contactID": serializers.UUIDField(),
                "sent": serializers.BooleanField(help_text="False: the code before is half a minute old at most."),
                "channel": serializers.ChoiceField(["sms", "email"]),
                "to": serializers.CharField(help_text="The address, shortened."),
                "expiresAt": serializers.IntegerField(help_text="Epoch seconds."),
                "resendIn": serializers.IntegerField(min_value=1, help_text="Seconds until another may be sent."),
                "message": serializers.CharField(),
            },
        ),
        "code": serializers.IntegerField(),
        "success": serializers.BooleanField(),
    },
)
WAYS = {ConsentChannel.SMS: "text", ConsentChannel.EMAIL: "e-mail"}


class TooManyCodes(Throttled):
    """In our own words, and with `Retry-After`."""

    def __init__(self, error: pins.TooMany) -> None:
        super().__init__(wait=error.wait_s)
        self.sentence = str(error)


class VerifyWallet(TillView):
    """Send a code to the shopper. Asked again within half a minute it sends nothing and says how long to wait."""

    scopes = {"POST": Scope.POS}
    by_email = False

    @extend_schema(
        operation_id="verify_wallet",
        summary="Send a PIN to a phone",
        tags=["wallet"],
        request=inline_serializer("VerifyWallet", PHONE),
        responses=SENT,
    )
    def post(self, request: Request) -> Response:
        now = timezone.now()
        asked = _asked(Body(request), self.caller, self.by_email)
        persona = _persona(self.caller, found_id(self.caller, asked))
        sent, wait_s, made = _send(persona, asked.get("phone") or asked.get("email", ""), now)
        return answer(
            {
                "contactID": persona.contact_id,
                "sent": made,
                "channel": sent.channel,
                "to": sent.to,
                "expiresAt": epoch(sent.expires_at),
                "resendIn": wait_s,
                "message": _sentence(sent, wait_s, made),
            }
        )


class VerifyContactWallet(VerifyWallet):
    by_email = True

    @extend_schema(
        operation_id="verify_contact_wallet",
        summary="Send a PIN to a phone or an e-mail",
        tags=["wallet"],
        request=inline_serializer("VerifyContactWallet", EITHER),
        responses=SENT,
    )
    def post(self, request: Request) -> Response:
        return super().post(request)


class ViewWallet(TillView):
    """The wallet, after the code. A read with proof: it knows no `Idempotency-Key`, and a sent code is good once."""

    reads = ("POST",)
    by_email = False

    @extend_schema(
        operation_id="view_wallet",
        summary="Wallet after the PIN",
        tags=["wallet"],
        request=inline_serializer("ViewWallet", PHONE | {"code": CODE}),
        responses=WALLET_ANSWER,
    )
    def post(self, request: Request) -> Response:
        now = timezone.now()
        body = Body(request)
        asked = _asked(body, self.caller, self.by_email)
        code = _code(body)
        persona = _persona(self.caller, found_id(self.caller, asked))
        try:
            pins.prove(persona=persona, code=code, key_id=self.caller.key_id, store_id=self.caller.store_id, now=now)
        except pins.Gone:
            raise NotThere(UNKNOWN) from None
        except pins.WrongPin as error:
            raise Refused(str(error)) from None
        return wallet_answer(request, self.caller, persona.pk, now=now)


class ViewContactWallet(ViewWallet):
    by_email = True

    @extend_schema(
        operation_id="view_contact_wallet",
        summary="Wallet after the PIN, by phone or e-mail",
        tags=["wallet"],
        request=inline_serializer("ViewContactWallet", EITHER | {"code": CODE}),
        responses=WALLET_ANSWER,
    )
    def post(self, request: Request) -> Response:
        return super().post(request)


def _asked(body: Body, caller: Caller, by_email: bool) -> dict[str, str]:
    phone = body.text("phone", "mobilePhone")
    email = body.text("email", longest=254) if by_email else ""
    contact = body.text("contactID", longest=100) if by_email else ""
    if not phone and not email and not contact:
        raise Refused("phone: a phone or an email is needed." if by_email else "phone: it is needed.")
    return asked_for(caller, phone, email, contact)


def _code(body: Body) -> str:
    """As text; a client that sends it as a number has lost its leading zeros."""
    code = body.text("code", "pin", longest=20)
    if not code:
        raise Refused("code: the four digits are needed.")
    return code.zfill(4) if isinstance(body.fields.get("code", body.fields.get("pin")), int) else code


def _persona(caller: Caller, persona_id: int) -> Persona:
    persona = Persona.objects.filter(account_id=caller.account_id, pk=persona_id, erased_at=None).first()
    if persona is None:  # removed on request since it was found
        raise NotThere(UNKNOWN)
    return persona


def _send(persona: Persona, asked: str, now: datetime) -> tuple[pins.Sent, int, bool]:
    """What was sent, how many seconds until another may be, and whether it was sent now."""
    try:
        sent = pins.send(persona=persona, now=now, asked=asked)
    except pins.SentJustNow as error:
        return error.sent, error.wait_s, False
    except pins.TooMany as error:
        raise TooManyCodes(error) from None
    except pins.NotSent as error:
        raise Refused(str(error)) from None
    return sent, int(pins.RESEND_AFTER.total_seconds()), True


def _sentence(sent: pins.Sent, wait_s: int, made: bool) -> str:
    if not made:
        return f"A code was sent to {sent.to} just now. Another can be sent in {wait_s} seconds."
    said: dict[Any, str] = WAYS
    way = f"A code was sent to {sent.to} by {said[sent.channel]}. It is good for 5 minutes."
    if sent.instead_of:
        way += f" It did not go by {said[sent.instead_of]}, because that address sent STOP."
    return way
