"""What a shopper takes along: the address of his page (ours), and wallet passes (reference: 4.9)."""

from django.urls import reverse
from django.utils import timezone
from drf_spectacular.utils import extend_schema, inline_serializer
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from aiqsync.accounts.models import Scope
from loyalty import personas, pins, wallet_links
from loyalty.models import Persona

from .authentication import Caller, epoch
from .base import TillView
from .envelope import NotThere, Refused, answer
from .wallet_views import UNKNOWN, host_of

PASSES = inline_serializer(
    "WalletPasses",
    {
        "data": inline_serializer(
            "WalletPassesData",
            {
                "apple": serializers.CharField(allow_blank=True, help_text="Empty: there are no passes."),
                "google": serializers.CharField(allow_blank=True, help_text="Empty: there are no passes."),
            },
        ),
        "code": serializers.IntegerField(),
        "success": serializers.BooleanField(),
    },
)
LINK = inline_serializer(
    "WalletLink",
    {
        "data": inline_serializer(
            "WalletLinkData",
            {
                "contactID": serializers.UUIDField(),
                "url": serializers.URLField(),
                "expiresAt": serializers.IntegerField(help_text="Epoch seconds."),
            },
        ),
        "code": serializers.IntegerField(),
        "success": serializers.BooleanField(),
    },
)
ENDED = inline_serializer(
    "WalletLinksEnded",
    {
        "data": inline_serializer("WalletLinksEndedData", {"contactID": serializers.UUIDField()}),
        "code": serializers.IntegerField(),
        "success": serializers.BooleanField(),
    },
)


class WalletPasses(TillView):
    @extend_schema(summary="Apple and Google pass links", tags=["wallet"], responses=PASSES)
    def get(self, request: Request, cid: str) -> Response:
        _contact(self.caller, cid)
        return answer({"apple": "", "google": ""})


class WalletLink(TillView):
    """The shopper's page, for 30 days: whoever has the address sees this wallet, and can change nothing."""

    scopes = {"DELETE": Scope.POS}

    @extend_schema(operation_id="wallet_link", summary="Address of the shopper's page", tags=["wallet"], responses=LINK)
    def get(self, request: Request, cid: str) -> Response:
        now = timezone.now()
        persona = _contact(self.caller, cid)
        # The page may show the code that this store asks for: who has not shown that the shopper is there gets none.
        asked = {"account_id": self.caller.account_id, "persona_id": persona.pk, "key_id": self.caller.key_id}
        if self.caller.pin_required and not pins.proved_since(**asked, since=now - pins.PROVED_FOR, now=now):
            raise Refused("This store asks for the shopper's code first: send one and enter it.")
        return answer(
            {
                "contactID": persona.contact_id,
                "url": host_of(request) + reverse("wallet-page", args=[wallet_links.make(persona=persona, now=now)]),
                "expiresAt": epoch(now + wallet_links.VALID_FOR),
            }
        )

    @extend_schema(
        operation_id="end_wallet_links",
        summary="End the addresses of the shopper's page that are out",
        tags=["wallet"],
        responses=ENDED,
    )
    def delete(self, request: Request, cid: str) -> Response:
        persona = _contact(self.caller, cid)
        wallet_links.revoke(persona=persona, key_id=self.caller.key_id)
        return answer({"contactID": persona.contact_id})


def _contact(caller: Caller, cid: str) -> Persona:
    """By contact id, in any of its spellings; after a merge the one who is left."""
    found = personas.find_id(account_id=caller.account_id, contact=cid.strip()[:100])
    persona = Persona.objects.filter(account_id=caller.account_id, pk=found, erased_at=None).first() if found else None
    if persona is None:
        raise NotThere(UNKNOWN)
    return persona
