"""`Idempotency-Key`: a call that changes something has its effect once and answers the same bytes for ever after.

After draft-ietf-httpapi-idempotency-key-header: another body under the same key is 422, the same call still under way
is 409. What is kept is what the call answered when it was done or refused (2xx, 4xx). A failure of ours (5xx), "too
many calls" and "under way" are not kept: nothing happened, and the same key may be tried again.
"""

import hashlib
import re
from collections.abc import Callable

from django.db import OperationalError, connection, transaction
from django.http import Http404, HttpResponse
from django.utils import timezone
from psycopg.errors import DeadlockDetected
from rest_framework import status
from rest_framework.exceptions import APIException
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from loyalty import idempotency

from .envelope import Refused, Unreadable

HEADER = "Idempotency-Key"
TRIES = 3
REPLAYED = {"Idempotent-Replayed": "true"}
_KEY = re.compile(rf"[\x21-\x7e](?:[\x20-\x7e]{{0,{idempotency.LONGEST_KEY - 2}}}[\x21-\x7e])?")


class StillUnderWay(APIException):
    status_code = status.HTTP_409_CONFLICT
    default_detail = f"The call with this {HEADER} is still under way. Send it again in a moment."
    retry_after_s = 2


class AnotherCall(Refused):
    status_code = status.HTTP_422_UNPROCESSABLE_ENTITY
    default_detail = f"{HEADER}: it was used for another call (method, address or body). Use a new key for a new call."


def key_of(request: Request) -> str | None:
    """The key the caller gave, or None. One that cannot be kept is refused by name."""
    given = request.META.get("HTTP_IDEMPOTENCY_KEY")
    if given is None:
        return None
    given = given.strip()
    if not _KEY.fullmatch(given):
        raise Unreadable(f"{HEADER}: 1 to {idempotency.LONGEST_KEY} plain ASCII characters.")
    return given


def fingerprint(request: Request) -> str:
    """SHA-256 of method, path with query, and the body's bytes."""
    said = f"{request.method}\n{request.get_full_path()}\n".encode(errors="surrogateescape")
    return hashlib.sha256(said + request._request.body).hexdigest()


def once(view: APIView, act: Callable[..., Response], key: str) -> Callable[..., HttpResponse]:
    """The handler `act`, carried out once for this key.

    What commits in two steps without a key is one transaction with it, so it may hold more locks than the house's order
    knows. When PostgreSQL ends it because two waited for each other, nothing has happened, and it is done again.
    """

    def handler(request: Request, *args, **kwargs) -> HttpResponse:
        for left in reversed(range(TRIES)):
            try:
                return whole(request, *args, **kwargs)
            except OperationalError as error:
                if not left or not isinstance(error.__cause__, DeadlockDetected):
                    raise
        raise AssertionError("unreachable")

    def whole(request: Request, *args, **kwargs) -> HttpResponse:
        now = timezone.now()
        mark = fingerprint(request)
        account_id = request.auth.account_id
        with transaction.atomic():
            try:
                before = idempotency.hold(account_id=account_id, key=key, now=now)
            except idempotency.InFlight:
                raise StillUnderWay from None
            if before is not None:
                if before.fingerprint != mark:
                    raise AnotherCall
                return _answer(before.body.encode(), before.status, REPLAYED)
            with transaction.atomic():  # a refusal in which the database took part leaves the rest usable
                response = _acted(view, act, request, *args, **kwargs)
            headers = {name: value for name, value in response.items() if name != "Content-Type"}
            body = view.finalize_response(request, response, *args, **kwargs).render().content
            if response.status_code >= 500 or response.status_code in (409, 429):
                transaction.set_rollback(True)
            else:
                kept = idempotency.Kept(mark, response.status_code, body.decode())
                idempotency.keep(account_id=account_id, key=key, kept=kept, now=now)
        return _answer(body, response.status_code, headers)

    return handler


def _acted(view: APIView, act: Callable[..., Response], request: Request, *args, **kwargs) -> Response:
    """A refusal is an answer like another; whatever was not foreseen goes on, and takes the effect with it."""
    try:
        return act(request, *args, **kwargs)
    except (APIException, Http404) as refusal:
        if connection.needs_rollback:
            raise
        return view.handle_exception(refusal)


def _answer(body: bytes, code: int, headers: dict[str, str]) -> HttpResponse:
    return HttpResponse(body, status=code, content_type="application/json", headers=headers)
