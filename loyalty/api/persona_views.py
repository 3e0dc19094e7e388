"""Contacts: sign-up and look-ups (reference: 5.1 to 5.5)."""

from contextlib import suppress
from datetime import datetime

from django.db import transaction
from django.utils import timezone
from drf_spectacular.utils import OpenApiTypes, extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from aiqsync.accounts.models import Scope
from loyalty import consent, details, messages, personas, referrals
from loyalty.models import ConsentAct, ConsentChannel, ConsentNow, ConsentSource, Ground, Persona

from . import answers
from .authentication import Caller
from .base import TillView
from .contact_shapes import details_of
from .envelope import NotThere, Refused, answer
from .reading import UID
from .shapes import Body
from .wallet_views import UNKNOWN

_OUR_NAMES = {"phone": "mobilePhone", "email": "email"}


class Loyalty(TillView):
    """Creates or updates a contact, and enrols it unless `loyalty` is false."""

    scopes = {"POST": Scope.POS}

    @extend_schema(
        summary="Sign up a shopper, or update one",
        tags=["contacts"],
        request=answers.SignUp,
        responses=answers.enveloped("SignedUpAnswer", answers.SignedUp()),
    )
    def post(self, request: Request) -> Response:
        body = Body(request)
        said_sms, said_email = body.flag("smsoptin"), body.flag("emailOptIn")
        now = timezone.now()
        persona = _sign_up(self.caller, body, now)
        for channel, yes in (("sms", said_sms), ("email", said_email)):
            if yes and (address := persona.phone if channel == "sms" else persona.email):
                # A bare flag, without what the shopper read: it never turns a no into a yes, and STOP stands.
                consent.record(
                    account_id=self.caller.account_id, channel=channel, address=address, act=ConsentAct.IMPORT_IN,
                    source=ConsentSource.API, now=now, persona_id=persona.pk,
                    wording="Said by the caller of the API",
                )  # fmt: skip
        return answer({"contactID": persona.contact_id, "srcID": None})


class LoyaltyContact(TillView):
    """The older sign-up: the same, and the shopper is asked by text whether he wants texts (reference: 5.2)."""

    scopes = {"POST": Scope.POS}

    @extend_schema(
        summary="Sign up a shopper, and ask for the SMS opt-in",
        tags=["contacts"],
        parameters=[UID],
        request=answers.SignUp,
        responses=answers.enveloped("OlderSignedUpAnswer", answers.SignedUp()),
        deprecated=True,
    )
    def post(self, request: Request, uid: str) -> Response:
        now = timezone.now()
        persona = _sign_up(self.caller, Body(request), now)
        if persona.phone and messages.can_ask(ConsentChannel.SMS):
            # Asked lately, or answered: then there is nothing to ask, and the sign-up is done all the same.
            with suppress(consent.NotAsked):
                consent.ask(
                    account_id=self.caller.account_id, channel=ConsentChannel.SMS, address=persona.phone, now=now,
                    source=ConsentSource.API, persona_id=persona.pk, store_id=self.caller.store_id,
                )  # fmt: skip
        return answer({"contactID": persona.contact_id, "srcID": None})


def _sign_up(caller: Caller, body: Body, now: datetime) -> Persona:
    """Read the body, and do all of it or nothing."""
    wants = body.flag("loyalty")
    more, code = details_of(body), body.text("referCode", "refCode", longest=100)
    try:
        with transaction.atomic():
            done = personas.sign_up(
                account_id=caller.account_id,
                region=caller.region,
                phone=body.text("mobilePhone", "phone"),
                email=body.text("email", longest=254),
                first_name=body.text("firstName"),
                last_name=body.text("lastName"),
                enrol_as=None if wants is False else Ground.API,
                from_date=caller.today(now),
                now=now,
            )
            details.keep(persona=done.persona, details=more, now=now)
            # Who is a member already was not referred now; a mistyped code is no reason to refuse a shopper.
            if code and (done.created or done.enrolled):
                with suppress(referrals.NotReferred):
                    referrals.record(account_id=caller.account_id, persona_id=done.persona.pk, code=code, now=now)
    except personas.InvalidContact as error:
        raise Refused(f"{_OUR_NAMES[error.field]}: {error.message}") from None
    except details.TooMany as error:
        raise Refused(f"customAttributes: {error}") from None
    return done.persona


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
