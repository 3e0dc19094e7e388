"""Points given or taken by a caller (reference: 5.14)."""

from django.utils import timezone
from drf_spectacular.utils import extend_schema, inline_serializer
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from aiqsync.accounts.models import Scope
from loyalty import by_key, ledger, staff
from loyalty.models import Persona
from loyalty.wallet import plain_points

from . import answers
from .base import TillView
from .envelope import NotThere, Refused, answer
from .reading import CID, UID, UNKNOWN, contact, moment
from .shapes import Body

_BODY = inline_serializer(
    "Adjustment",
    {
        "value": serializers.FloatField(help_text="Above 0 adds, below 0 takes; at most two decimals"),
        "note": serializers.CharField(required=False, allow_null=True, max_length=220),
        "cmpID": serializers.CharField(required=False, allow_null=True, max_length=60),
        "ts": serializers.IntegerField(required=False, allow_null=True, help_text="Unix seconds"),
    },
)


class Adjust(TillView):
    """Each call adjusts once more, as with the vendor: send an `Idempotency-Key` to make repeating safe."""

    scopes = {"PUT": Scope.POS}

    @extend_schema(
        summary="Add or remove points",
        tags=["points"],
        parameters=[UID, CID],
        request=_BODY,
        responses=answers.enveloped("AdjustedAnswer", answers.Adjusted()),
    )
    def put(self, request: Request, uid: str, cid: str) -> Response:
        body = Body(request)
        points = body.change("value")
        note, campaign = body.text("note", longest=220), body.text("cmpID", longest=60)
        if campaign:
            note = f"{note} ({campaign})".strip()
        said_at = body.fields.get("ts")
        persona_id, now = contact(self.caller, cid), timezone.now()
        try:
            done = by_key.adjust(
                account_id=self.caller.account_id, key_id=self.caller.key_id, persona_id=persona_id, points=points,
                note=note, cause_at=moment("ts", said_at) if said_at not in (None, "", 0) else None, now=now,
            )  # fmt: skip
        except ledger.Removed:
            raise NotThere(UNKNOWN) from None
        except ledger.HeldByPos:
            raise Refused("The points are those of the POS's own programme: give or take them there.") from None
        except ledger.NotEnoughPoints as error:
            there = "" if self.caller.points_hidden else f": {plain_points(error.balance)} are there"
            raise Refused(f"value: not enough points{there}. Nothing was taken.") from None
        except staff.LimitReached as error:
            raise Refused(f"value: {error}") from None
        return answer(
            {
                "contactID": Persona.objects.values_list("contact_id", flat=True).get(pk=persona_id),
                "id": str(done.entry_id),
                "value": done.points,
                "loyaltyPoints": self.told(done.balance),
            }
        )
