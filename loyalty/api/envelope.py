"""Every answer's envelope, in and out (reference: section 2.4, from the vendor's own HTTP library).

Success `{"data": ..., "code": 200, "success": true}`; failure
`{"errors": [{"message": ...}], "code": 4xx, "success": false}`. Both `code` and `success` are always there: clients
refuse an answer without them. Success is 200, also for something created.
"""

import logging
import math
from collections.abc import Sequence
from decimal import Decimal
from typing import Any
from uuid import UUID

import orjson
from django.conf import settings
from django.core.exceptions import PermissionDenied, RequestDataTooBig, SuspiciousOperation
from django.db import OperationalError
from django.http import Http404
from django.http.request import UnreadablePostError
from rest_framework import status
from rest_framework.exceptions import APIException, Throttled
from rest_framework.parsers import BaseParser
from rest_framework.renderers import BaseRenderer
from rest_framework.response import Response

logger = logging.getLogger("loyalty.api")

OURS = "Something went wrong on our side. It was noted; please try again."
BUSY = "The service is busy or restarting. Please try again in a moment."


class Refused(APIException):
    """A call we understand and do not carry out. The sentence goes to the caller."""

    status_code = status.HTTP_400_BAD_REQUEST


class Unreadable(Refused):
    """A call that is not what the documentation says: a field of another kind, a body that is not JSON. It is kept."""


class NotThere(APIException):
    """What the call is about does not exist in the key's account."""

    status_code = status.HTTP_404_NOT_FOUND
    default_detail = "Not Found"


def answer(data: Any, *, headers: dict[str, str] | None = None) -> Response:
    """A success. `data` may hold Decimals (points) and UUIDs; say None, not [], for an empty list."""
    return Response({"data": data, "code": 200, "success": True}, headers=headers)


def failure(message: str, code: int, *, headers: dict[str, str] | None = None) -> Response:
    return Response({"errors": [{"message": message}], "code": code, "success": False}, status=code, headers=headers)


def failures(told: Sequence[tuple[str, dict[str, Any]]], code: int) -> Response:
    """Several refusals of one call, each a sentence and what else its entry says."""
    return Response(
        {"errors": [{"message": message, **more} for message, more in told], "code": code, "success": False},
        status=code,
    )


class EnvelopeRenderer(BaseRenderer):
    """JSON bytes; points are integers when integral, else numbers with two decimals."""

    media_type = "application/json"
    format = "json"
    charset = None

    def render(self, data, accepted_media_type=None, renderer_context=None) -> bytes:
        return orjson.dumps(data, default=_more) if data is not None else b""


def _more(value: Any) -> Any:
    if isinstance(value, Decimal):
        return int(value) if value == value.to_integral_value() else orjson.Fragment(f"{value:.2f}")
    if isinstance(value, UUID):
        return str(value)
    raise TypeError(type(value).__name__)


class TolerantJSONParser(BaseParser):
    """JSON whatever the content type says: tills send it as form data, as text, or without a type.

    Numbers too large for the format, broken UTF-8, lone surrogates and nesting past 1,024 are refused by the decoder.
    """

    media_type = "*/*"

    def parse(self, stream, media_type=None, parser_context=None) -> Any:
        limit = settings.DATA_UPLOAD_MAX_MEMORY_SIZE
        body = stream.read(limit + 1)
        if len(body) > limit:
            raise RequestDataTooBig
        body = body.removeprefix(b"\xef\xbb\xbf").strip()
        if not body:
            return {}
        try:
            return orjson.loads(body)
        except orjson.JSONDecodeError as error:
            raise Unreadable(f"The body is not JSON: {error}.") from None


def exception_handler(error: Exception, context: dict[str, Any]) -> Response:
    """An envelope for whatever was raised. What we did not foresee is logged, and told without details."""
    match error:
        case Throttled():
            wait = str(max(1, math.ceil(error.wait or 1)))
            said = getattr(error, "sentence", f"Too many calls. Try again in {wait} s.")
            return failure(said, 429, headers={"Retry-After": wait})
        case APIException():
            wait_s = getattr(error, "retry_after_s", None)
            headers = {"Retry-After": str(wait_s)} if wait_s else None
            return failure(_sentence(error.detail), error.status_code, headers=headers)
        case Http404():
            return failure("Not Found", 404)
        case PermissionDenied():
            return failure("This key may not do that.", 403)
        case RequestDataTooBig():
            return failure("The body is too large.", 413)
        case SuspiciousOperation() | UnreadablePostError():
            return failure("The request could not be read.", 400)
        case OperationalError():
            logger.exception("Database not available")
            return failure(BUSY, 503, headers={"Retry-After": "2"})
    # The route, not the path: a path may hold a phone number.
    match_ = getattr(context.get("request"), "resolver_match", None)
    logger.error("Unforeseen in %s", match_.route if match_ else "?", exc_info=error)
    return failure(OURS, 500)


def _sentence(detail: Any) -> str:
    """The first sentence of whatever shape the framework's detail has."""
    while isinstance(detail, dict | list) and detail:
        detail = next(iter(detail.values())) if isinstance(detail, dict) else detail[0]
    return str(detail)
