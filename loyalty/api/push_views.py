"""Calls in which a POS tells us: sales, members, inventory (reference: 3.1 to 3.5). Connected by the Push API card."""

from collections.abc import Mapping
from typing import Any

from django.utils import timezone
from drf_spectacular.utils import OpenApiTypes, extend_schema, extend_schema_view
from rest_framework.request import Request
from rest_framework.response import Response

from aiqsync.accounts.models import Scope
from integrations import services
from loyalty import personas

from .base import TillView
from .envelope import Refused, Unreadable, answer, failure, failures

RETRY_AFTER_S = 900  # while frozen: somebody has to turn it off again
MOST_REASONS = 100  # of an array that was refused whole
_WRAPPED = ("data", "sales", "visits", "members", "items", "inventory", "products")


def _rows(body: Any) -> list[Any]:
    """The array of a bulk call: bare, under a usual name, or a single object."""
    if isinstance(body, list):
        return body
    if not isinstance(body, dict) or not body:
        raise Unreadable("The body must be a JSON array.")
    for name in _WRAPPED:
        if isinstance(body.get(name), list):
            return body[name]
    return [body]


class _Pushed(TillView):
    """`kind` is the stream; `alone`: the body is one object and so is the answer. A class is named as its call."""

    scopes = {"POST": Scope.POS}
    kind = ""
    alone = False

    def post(self, request: Request, uid: str) -> Response:
        body = request.data
        if self.alone:
            if not isinstance(body, dict) or not body:
                raise Unreadable("The body must be a JSON object.")
            rows = [body]
        else:
            rows = _rows(body)
        caller = self.caller
        try:
            received = services.receive(
                sender=services.Sender(caller.account_id, caller.region, caller.currency),
                call=f"createUpdate{type(self).__name__}",
                kind=self.kind,
                rows=rows,
                now=timezone.now(),
            )
        except services.TooMany as error:
            raise Refused(str(error)) from None
        except services.NotListening as error:
            if not error.later:
                raise Refused(error.message) from None
            return failure(error.message, 503, headers={"Retry-After": str(RETRY_AFTER_S)})
        except services.TryLater as error:
            return failure(error.message, 503, headers={"Retry-After": "5"})
        if self.alone and received.refused:
            raise Refused(received.refused[0].reason)
        if rows and len(received.refused) == len(rows):
            return failures([(f"{one.number}: {one.reason}", {"index": one.number}) for one in
                             received.refused[:MOST_REASONS]], 400)  # fmt: skip
        contacts: Mapping[str, Any] = {}
        if self.kind != "inventory":
            contacts = personas.contacts_of_customers(
                account_id=caller.account_id,
                origin_id=received.origin_id,
                external_ids={one.customer for one in received.outcomes if one.customer and not one.reason},
            )
        if self.alone:
            return answer(_told(received.outcomes[0], contacts, self.kind))
        taken = [one for one in received.outcomes if not one.reason]
        return answer(
            {
                "received": len(rows),
                "accepted": len(taken),
                "results": [{"index": one.number, **_told(one, contacts, self.kind)} for one in taken] or None,
                "refused": [
                    {"index": one.number, "id": one.external_id or None, "message": one.reason}
                    for one in received.refused
                ]
                or None,
            }
        )


def _told(one: Any, contacts: Mapping[str, Any], kind: str) -> dict[str, Any]:
    if kind == "inventory":
        return {"productID": one.external_id}
    told = {"contactID": contacts.get(one.customer), "srcID": one.customer or None}
    return {"posID": one.external_id, **told} if kind == "sales" else told


_OBJECTS = {"application/json": {"type": "array", "items": {"type": "object", "additionalProperties": {}}}}


def _documented(summary: str, *, many: bool = False):
    """How a call stands in the schema; the body is the POS's own, so it is any object, or an array of them."""
    body = _OBJECTS if many else OpenApiTypes.OBJECT
    return extend_schema_view(
        post=extend_schema(summary=summary, tags=["push"], request=body, responses=OpenApiTypes.OBJECT)
    )


@_documented("Add or update a sale or refund")
class Sale(_Pushed):
    """Add a sale or refund, or update the one with its `pos_id`. Points are there when the answer is."""

    kind, alone = "sales", True


@_documented("Add or update sales", many=True)
class Sales(_Pushed):
    """The same for at most 1,000; one that cannot be taken is told by its index, the others are taken."""

    kind = "sales"


@_documented("Add or update a customer of the POS")
class Member(_Pushed):
    """Add or update a customer of the POS. What is left out stays; an invalid phone never replaces a good one."""

    kind, alone = "customers", True


@_documented("Add or update customers of the POS", many=True)
class Members(_Pushed):
    """The same for at most 1,000."""

    kind = "customers"


@_documented("Add or update stock", many=True)
class Inventory(_Pushed):
    """Products and their levels, at most 100 a call. A quantity is what is there now, not what moved."""

    kind = "inventory"
