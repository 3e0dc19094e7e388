"""Wallet: points and discounts of one contact (reference: 4.1, 4.2)."""

from datetime import datetime
from typing import Any

from django.conf import settings
from django.utils import timezone
from drf_spectacular.utils import OpenApiParameter, OpenApiTypes, extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from integrations.services import email_of
from loyalty import links, personas, pictures, wallet

from .authentication import Caller, epoch
from .base import TillView
from .envelope import NotThere, Refused, answer
from .reading import dollars
from .shapes import Body

UNKNOWN = "Contact not found"
WALLET_ANSWER = OpenApiTypes.OBJECT


class WalletBody(TillView):
    """POST: by phone, e-mail, or both (the phone first), or by contact id."""

    reads = ("POST",)

    @extend_schema(
        summary="Points and discounts by phone or e-mail",
        tags=["wallet"],
        request=OpenApiTypes.OBJECT,
        responses=OpenApiTypes.OBJECT,
        parameters=[OpenApiParameter("badges", OpenApiTypes.BOOL, description="Accepted.")],
    )
    def post(self, request: Request) -> Response:
        body = Body(request)
        phone = body.text("phone", "mobilePhone")
        email = body.text("email", longest=254)
        contact = body.text("contactID", longest=100)
        if not phone and not email and not contact:
            raise Refused("phone: a phone or an email is needed.")
        return _wallet(request, self.caller, phone, email, contact)


class WalletByPhone(TillView):
    @extend_schema(summary="Points and discounts by phone", tags=["wallet"], responses=OpenApiTypes.OBJECT)
    def get(self, request: Request, phone: str) -> Response:
        return _wallet(request, self.caller, phone)


def _wallet(request: Request, caller: Caller, phone: str, email: str = "", contact: str = "") -> Response:
    """`phone` may be a contact id: ours, or the one another loyalty service used before."""
    persona_id = found_id(caller, asked_for(caller, phone, email, contact))
    return wallet_answer(request, caller, persona_id, now=timezone.now())


def asked_for(caller: Caller, phone: str = "", email: str = "", contact: str = "") -> dict[str, str]:
    """What a body means, for `personas.find_id`: phone and e-mail as they are kept."""
    asked = personas.asked_by(phone, region=caller.region) if phone else {}
    asked |= {"email": email_of(email)} if email else {}
    return asked | ({"contact": contact} if contact else {})


def found_id(caller: Caller, asked: dict[str, str]) -> int:
    persona_id = personas.find_id(account_id=caller.account_id, **asked)
    if persona_id is None:
        raise NotThere(UNKNOWN)
    return persona_id


def wallet_answer(request: Request, caller: Caller, persona_id: int, *, now: datetime) -> Response:
    """The wallet of 4.1. A key whose store requires the shopper's code gets redemption addresses after it only."""
    try:
        shown = wallet.show(
            account_id=caller.account_id, persona_id=persona_id, now=now, store_id=caller.store_id,
            proof_by=caller.key_id if caller.pin_required else None,
        )  # fmt: skip
    except LookupError:  # removed on request since it was found
        raise NotThere(UNKNOWN) from None
    return answer(wallet_data(shown, caller=caller, host=host_of(request)))


def host_of(request: Request) -> str:
    """What absolute addresses begin with."""
    return settings.PUBLIC_URL or f"{request.scheme}://{request.get_host()}"


def wallet_data(shown: wallet.WalletView, *, caller: Caller, host: str) -> dict[str, Any]:
    """The wallet as the wire has it. Ours, beside the vendor's: `loyalty`, `asOf`, `salesReadUntil`, `nextToExpire`,
    `openRedemptions`, `pinRequired`; `cover` and `minimumSpend` of a discount.
    """
    now = epoch(shown.as_of)
    locked = caller.pin_required and not shown.proved
    signer = (locked, caller, host, shown.persona_id, now + int(links.VALID_FOR.total_seconds()))
    return {
        "contactID": shown.contact_id,
        "loyaltyPoints": 0 if shown.hidden else shown.points,
        "hidePointsInWallet": shown.hidden or not shown.enabled,
        "audiences": None,
        "discountTemplates": [_template(reward, *signer) for reward in shown.rewards] or None,
        "loyalty": shown.is_member,
        "pinRequired": locked,
        "asOf": now,
        "salesReadUntil": [
            {"source": one.source, "until": epoch(one.until) if one.until else None, "live": one.live}
            for one in shown.read
        ]
        or None,
        "nextToExpire": None
        if shown.hidden or shown.next_to_expire is None
        else {"points": shown.next_to_expire[0], "at": epoch(shown.next_to_expire[1])},
        "openRedemptions": [
            {
                "redemptionID": one.redemption_id,
                "name": one.name,
                "pointsDeduction": one.points,
                "transactionID": one.transaction or None,
                "appliedAt": epoch(one.applied_at),
                "code": one.code or None,
            }
            for one in shown.open_redemptions
        ]
        or None,
    }


def _template(
    reward: wallet.Reward, locked: bool, caller: Caller, host: str, persona_id: int, expires_at: int
) -> dict[str, Any]:
    """`locked`: without the address to redeem it by."""
    token = (
        ""
        if locked
        else links.make(
            account_id=caller.account_id,
            discount_number=reward.number,
            link=links.Link(persona_id=persona_id, discount_id=reward.discount_id, n=reward.n),
            expires_at=expires_at,
        )
    )
    return {
        "id": str(reward.number),
        "posDiscountID": reward.pos_discount_id,
        "avatar": host + pictures.address(reward.logo),
        "cover": host + pictures.address(reward.cover) if reward.cover else None,
        "name": reward.name,
        "pageTitle": reward.description,
        "inStoreRedemption": reward.in_store_only,
        "dollarValue": dollars(reward.amount_cents),
        "percentageValue": reward.percent,
        "minimumSpend": dollars(reward.min_spend_cents),
        "pointsDeduction": reward.price,
        "tierDiscount": reward.tier,
        "reusable": reward.reusable,
        "available": reward.available,
        "expiration": epoch(reward.ends_at) if reward.ends_at else 0,
        "redemptionURL": f"{host}/api/v1.1/discount/redeem/{caller.uid}/{reward.number}/{token}" if token else None,
    }
