"""Referral codes (reference: 5.17; the vendor's bodies are not public)."""

from django.utils import timezone
from drf_spectacular.utils import extend_schema, inline_serializer
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from aiqsync.accounts.models import Scope
from integrations.services import email_of
from loyalty import personas, referrals
from loyalty.models import Persona

from . import answers
from .base import TillView
from .contact_shapes import refer_link
from .envelope import NotThere, Refused, answer
from .reading import CID, UID, UNKNOWN, contact
from .shapes import Body


class Refer(TillView):
    """The code of a contact; it writes nothing, for each contact has one."""

    scopes = {"POST": Scope.READ}
    reads = ("POST",)

    @extend_schema(
        summary="The referral code of a contact",
        tags=["contacts"],
        parameters=[UID],
        request=inline_serializer(
            "ReferralOf",
            {
                "contactID": serializers.CharField(required=False, allow_null=True, max_length=100),
                "phone": serializers.CharField(required=False, allow_null=True, max_length=200),
                "email": serializers.CharField(required=False, allow_null=True, max_length=254),
            },
        ),
        responses=answers.enveloped("ReferralAnswer", answers.Referred()),
    )
    def post(self, request: Request, uid: str) -> Response:
        body = Body(request)
        contact_id = body.text("contactID", "cid", longest=100)
        phone, email = body.text("phone", "mobilePhone"), body.text("email", longest=254)
        if not contact_id and not phone and not email:
            raise Refused("contactID: a contactID, a phone or an email is needed.")
        asked = {"contact": contact_id} if contact_id else {}
        if phone and not contact_id:
            asked["phone"] = personas.phone_of(phone, self.caller.region)
        if email and not contact_id:
            asked["email"] = email_of(email)
        found = personas.find_id(account_id=self.caller.account_id, **asked)
        if found is None:
            raise NotThere(UNKNOWN)
        return _told(self, found)


class Referred(TillView):
    """`referCode`: who referred this contact, once; without it, the contact's own code."""

    scopes = {"PUT": Scope.POS}

    @extend_schema(
        summary="Record who referred a contact",
        tags=["contacts"],
        parameters=[UID, CID],
        request=inline_serializer(
            "ReferredBy", {"referCode": serializers.CharField(required=False, allow_null=True, max_length=100)}
        ),
        responses=answers.enveloped("ReferredAnswer", answers.Referred()),
    )
    def put(self, request: Request, uid: str, cid: str) -> Response:
        code = Body(request).text("referCode", "refCode", "code", longest=100)
        persona_id = contact(self.caller, cid)
        if code:
            try:
                referrals.record(
                    account_id=self.caller.account_id, persona_id=persona_id, code=code, now=timezone.now()
                )
            except referrals.NotReferred as error:
                raise Refused(f"referCode: {error}") from None
        return _told(self, persona_id)


def _told(view: TillView, persona_id: int) -> Response:
    account_id = view.caller.account_id
    persona = Persona.objects.filter(account_id=account_id, pk=persona_id, erased_at=None).first()
    if persona is None:
        raise NotThere(UNKNOWN)
    referrer = referrals.referrer_of(account_id=account_id, persona_id=persona_id)
    return answer(
        {
            "contactID": persona.contact_id,
            "referCode": referrals.code_of(account_id=account_id, persona_id=persona_id),
            "referLink": refer_link(),
            "referredBy": referrer.contact_id if referrer else None,
        }
    )
