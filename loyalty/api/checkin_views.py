"""The waiting room: check-ins and the queue (ours; the vendor reads the POS's queue instead)."""

from uuid import UUID

from django.utils import timezone
from drf_spectacular.utils import OpenApiParameter, extend_schema, inline_serializer
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from aiqsync.accounts.models import Scope
from loyalty import checkins, personas
from loyalty.models import CheckInState
from stores.models import Store

from .authentication import Caller, epoch
from .base import TillView
from .envelope import NotThere, Refused, Unreadable, answer
from .shapes import Body

_NAMES = {"phone": "phone", "email": "email"}
MOST = 200
_STATES = CheckInState.values

CheckInBody = inline_serializer(
    "CheckInBody",
    {
        "storeID": serializers.IntegerField(required=False, help_text="The key's store when it has one."),
        "phone": serializers.CharField(required=False, max_length=200),
        "email": serializers.CharField(required=False, max_length=254),
        "contactID": serializers.CharField(required=False, max_length=100),
        "firstName": serializers.CharField(required=False, max_length=60),
        "lastName": serializers.CharField(required=False, max_length=200, help_text="Its initial is kept."),
        "reason": serializers.CharField(required=False, max_length=60),
        "order": serializers.CharField(required=False, max_length=500),
    },
)
CheckInAnswer = inline_serializer(
    "CheckInAnswer",
    {
        "data": inline_serializer(
            "CheckInMade", {"checkinID": serializers.UUIDField(), "state": serializers.ChoiceField(_STATES)}
        ),
        "code": serializers.IntegerField(),
        "success": serializers.BooleanField(),
    },
)
QueueAnswer = inline_serializer(
    "QueueAnswer",
    {
        "data": inline_serializer(
            "Queue",
            {
                "results": inline_serializer(
                    "QueueLine",
                    {
                        "checkinID": serializers.UUIDField(),
                        "storeID": serializers.IntegerField(),
                        "state": serializers.ChoiceField(_STATES),
                        "name": serializers.CharField(help_text="First name and initial; empty when nobody said it."),
                        "reason": serializers.CharField(),
                        "order": serializers.CharField(),
                        "at": serializers.IntegerField(help_text="Epoch seconds."),
                        "waited": serializers.IntegerField(help_text="Seconds, until now or until it ended."),
                        "member": serializers.BooleanField(required=False, help_text="Keys of scope pos or admin."),
                        "contactID": serializers.UUIDField(required=False, allow_null=True),
                    },
                    many=True,
                    allow_null=True,
                )
            },
        ),
        "code": serializers.IntegerField(),
        "success": serializers.BooleanField(),
    },
)


class CheckIns(TillView):
    scopes = {"POST": Scope.POS}

    @extend_schema(
        summary="Who waits in a store, the oldest first",
        tags=["waiting room"],
        parameters=[
            OpenApiParameter("storeID", int, description="The key's store when it has one."),
            OpenApiParameter("state", str, enum=_STATES, description="Left out: those who wait or are being served."),
            OpenApiParameter("start", int),
            OpenApiParameter("limit", int, description=f"At most {MOST}."),
        ],
        responses=QueueAnswer,
    )
    def get(self, request: Request) -> Response:
        given = request.query_params
        state = given.get("state", "")
        if state and state not in _STATES:
            raise Unreadable(f"state: one of {', '.join(_STATES)}.")
        store = _store(self.caller, given.get("storeID", ""))
        start, limit = _count(given.get("start"), "start", 0), _count(given.get("limit"), "limit", 100)
        now = timezone.now()
        staff = self.caller.scope != Scope.READ
        found = checkins.queue(
            account_id=self.caller.account_id, store_id=store.pk, states=[state] if state else checkins.OPEN,
            start=min(start, 10**6), limit=min(max(limit, 1), MOST),
        )  # fmt: skip
        return answer({"results": [_line(one, store, now, staff=staff) for one in found] or None})

    @extend_schema(summary="Somebody came in", tags=["waiting room"], request=CheckInBody, responses=CheckInAnswer)
    def post(self, request: Request) -> Response:
        body = Body(request)
        store = _store(self.caller, body.text("storeID", longest=12))
        try:
            row = checkins.check_in(
                account_id=self.caller.account_id, store_id=store.pk, region=self.caller.region, now=timezone.now(),
                phone=body.text("phone", "mobilePhone"), email=body.text("email", longest=254),
                contact=body.text("contactID", longest=100), first_name=body.text("firstName", "name", longest=60),
                last_name=body.text("lastName"), reason=body.text("reason", longest=60),
                order=body.text("order", longest=500), key_id=self.caller.key_id,
            )  # fmt: skip
        except personas.InvalidContact as error:
            raise Refused(f"{_NAMES[error.field]}: {error.message}") from None
        return answer({"checkinID": row.public_id, "state": row.state})


class OneCheckIn(TillView):
    scopes = {"PUT": Scope.POS}

    @extend_schema(
        summary="Served, skipped, did not show",
        tags=["waiting room"],
        request=inline_serializer("CheckInMove", {"state": serializers.ChoiceField(_STATES)}),
        responses=CheckInAnswer,
    )
    def put(self, request: Request, checkin: str) -> Response:
        state = Body(request).text("state", longest=20)
        if state not in _STATES:
            raise Unreadable(f"state: one of {', '.join(_STATES)}.")
        try:
            public_id = UUID(checkin)
        except ValueError:
            raise NotThere from None
        try:
            row = checkins.move(
                account_id=self.caller.account_id, public_id=public_id, state=state, store_id=self.caller.store_id,
                now=timezone.now(),
            )  # fmt: skip
        except checkins.NotOpen:
            raise Refused("This visit has ended: check in again.") from None
        if row is None:
            raise NotThere
        return answer({"checkinID": row.public_id, "state": row.state})


def _store(caller: Caller, said: str) -> Store:
    """The store that is named, the key's own, or the only one. A key that belongs to a store speaks of no other."""
    said = said.strip()
    if said and not (said.isascii() and said.isdigit() and len(said) < 10):
        raise Unreadable("storeID: must be the number of a store.")
    if said:
        found = Store.objects.filter(number=int(said)).first()
    elif caller.store_id is not None:
        found = Store.objects.get(pk=caller.store_id)
    else:
        stores = list(Store.objects.order_by("pk")[:2])
        if len(stores) != 1:
            raise Unreadable("storeID: needed, because this key belongs to no store.")
        found = stores[0]
    if found is None:
        raise Refused("storeID: there is no such store.")
    if caller.store_id is not None and found.pk != caller.store_id:
        raise Refused("storeID: this key belongs to another store.")
    return found


def _count(said: str | None, name: str, default: int) -> int:
    if not said:
        return default
    if not (said.isascii() and said.isdigit() and len(said) < 12):
        raise Unreadable(f"{name}: must be a whole number, 0 or more.")
    return int(said)


def _line(one: checkins.Waiting, store: Store, now, *, staff: bool) -> dict:
    row = one.row
    first, last = row.first_name, row.initial
    if not first and staff:
        first, last = one.first_name, one.last_name[:1]
    until = now if row.state in checkins.OPEN else row.changed_at
    told = {
        "checkinID": row.public_id, "storeID": store.number, "state": row.state,
        "name": f"{first} {last}." if first and last else first, "reason": row.reason, "order": row.order,
        "at": epoch(row.at), "waited": max(0, int((until - row.at).total_seconds())),
    }  # fmt: skip
    return told | ({"member": one.member, "contactID": one.contact_id} if staff else {})
