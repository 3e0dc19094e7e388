"""Contacts: sign-up and look-ups (reference: 5.1, 5.3 to 5.5)."""

from django.utils import timezone
from drf_spectacular.utils import OpenApiTypes, extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from aiqsync.accounts.models import Scope
from loyalty import consent, personas
from loyalty.models import ConsentAct, ConsentChannel, ConsentNow, ConsentSource, Ground, Persona

from .authentication import Caller
from .base import TillView
from .envelope import NotThere, Refused, answer
from .shapes import Body
from .wallet_views import UNKNOWN

_OUR_NAMES = {"phone": "mobilePhone", "email": "email"}


class Loyalty(TillView):
    """Creates or updates a contact, and enrols it unless `loyalty` is false."""

    scopes = {"POST": Scope.POS}

    @extend_schema(
        summary="Sign up a shopper, or update one",
        tags=["contacts"],
        request=OpenApiTypes.OBJECT,
        responses=OpenApiTypes.OBJECT,
    )
    def post(self, request: Request) -> Response:
        body = Body(request)
        wants = body.flag("loyalty")
        said_sms, said_email = body.flag("smsoptin"), body.flag("emailOptIn")
        now = timezone.now()
        try:
            done = personas.sign_up(
                account_id=self.caller.account_id,
                region=self.caller.region,
                phone=body.text("mobilePhone", "phone"),
                email=body.text("email", longest=254),
                first_name=body.text("firstName"),
                last_name=body.text("lastName"),
                enrol_as=None if wants is False else Ground.API,
                from_date=self.caller.today(now),
                now=now,
            )
        except personas.InvalidContact as error:
            raise Refused(f"{_OUR_NAMES[error.field]}: {error.message}") from None
        for channel, yes in (("sms", said_sms), ("email", said_email)):
            if yes and (address := done.persona.phone if channel == "sms" else done.persona.email):
                # A bare flag, without what the shopper read: it never turns a no into a yes, and STOP stands.
                consent.record(
                    account_id=self.caller.account_id, channel=channel, address=address, act=ConsentAct.IMPORT_IN,
                    source=ConsentSource.API, now=now, persona_id=done.persona.pk,
                    wording="Said by the caller of the API",
                )  # fmt: skip
        return answer({"contactID": done.persona.contact_id, "srcID": None})


class LoyaltyLookup(TillView):
    """Is this phone, e-mail or contact id a member's? POST too: a client calls it so (reference: 5.3)."""

    reads = ("POST",)

    @extend_schema(summary="Is this phone or e-mail a member?", tags=["contacts"], responses=OpenApiTypes.OBJECT)
    def get(self, request: Request, pii: str) -> Response:
        persona = _contact(self.caller, pii)
        asked = personas.asked_by(pii, region=self.caller.region)
        # Consent belongs to the address: the one that was asked for, else the one the persona bears.
        sms = (ConsentChannel.SMS.value, asked.get("phone") or persona.phone)
        email = (ConsentChannel.EMAIL.value, asked.get("email") or persona.email)
        held = consent.states_of(account_id=self.caller.account_id, addresses=[sms, email])
        return answer(
            {
                "contactID": persona.contact_id,
                "loyalty": persona.is_member,
                "smsOptIn": sms in held and held[sms].state == ConsentNow.IN,
                "emailOptIn": email in held and held[email].state == ConsentNow.IN,
            }
        )

    @extend_schema(exclude=True)
    def post(self, request: Request, pii: str) -> Response:
        Body(request)
        return self.get(request, pii)


class LookupPhone(TillView):
    @extend_schema(summary="Contact id by phone", tags=["contacts"], responses=OpenApiTypes.OBJECT)
    def get(self, request: Request, phone: str) -> Response:
        return answer({"contactID": _contact(self.caller, phone).contact_id})


class LookupEmail(TillView):
    @extend_schema(summary="Contact id by e-mail", tags=["contacts"], responses=OpenApiTypes.OBJECT)
    def get(self, request: Request, email: str) -> Response:
        return answer({"contactID": _contact(self.caller, email).contact_id})


def _contact(caller: Caller, pii: str) -> Persona:
    """By phone, by e-mail, or by contact id: ours, or the one another loyalty service used before."""
    found = personas.find_id(account_id=caller.account_id, **personas.asked_by(pii, region=caller.region))
    if found is None:
        raise NotThere(UNKNOWN)
    return Persona.objects.get(account_id=caller.account_id, pk=found)
