"""The view all calls share: JSON in, JSON out, one envelope, one way to refuse."""

import re
from collections.abc import Collection
from decimal import Decimal

from django.urls import URLPattern, path
from django.utils import timezone
from rest_framework.exceptions import MethodNotAllowed
from rest_framework.negotiation import BaseContentNegotiation
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from loyalty import unmatched

from . import once
from .authentication import Caller
from .envelope import Unreadable
from .throttling import KeyThrottle, Rate

LONGEST_SEGMENT = 500
# What no name, number or id contains and PostgreSQL's text refuses in part.
CONTROL = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]")


class AlwaysJSON(BaseContentNegotiation):
    """A till that asks for text/html, or for nothing, still gets the envelope."""

    def select_parser(self, request, parsers):
        return parsers[0]

    def select_renderer(self, request, renderers, format_suffix=None):
        return renderers[0], renderers[0].media_type


class TillView(APIView):
    """`scopes` names the scope a method needs; a method that is not named needs `read`.

    `reads` names the methods that change nothing besides GET: they know no `Idempotency-Key`.
    """

    scopes: dict[str, str] = {}
    reads: Collection[str] = ()
    content_negotiation_class = AlwaysJSON
    throttle_classes = (KeyThrottle,)
    rate: Rate | None = None
    metadata_class = None  # OPTIONS is a 405 like any method we do not have

    def initial(self, request: Request, *args, **kwargs) -> None:
        super().initial(request, *args, **kwargs)
        for name, value in kwargs.items():
            if value and (len(value) > LONGEST_SEGMENT or CONTROL.search(value)):
                raise Unreadable(f"{name}: too long, or with characters that cannot be there.")
        if request.method in ("GET", "HEAD"):
            return
        request._request.body  # noqa: B018  whole, before the parser takes the stream: it is compared and kept
        act = getattr(self, request.method.lower(), None)
        if act and request.method not in self.reads and (key := once.key_of(request)) is not None:
            # The framework looks the handler up after this.
            setattr(self, request.method.lower(), once.once(self, act, key))

    def finalize_response(self, request: Request, response, *args, **kwargs):
        response = super().finalize_response(request, response, *args, **kwargs)
        for name, value in (self.rate.headers if self.rate else {}).items():
            response[name] = value
        return response

    def handle_exception(self, exc: Exception) -> Response:
        """An envelope; a call that is not what the documentation says is kept for whoever looks into it."""
        response = super().handle_exception(exc)
        if isinstance(exc, Unreadable | MethodNotAllowed) and isinstance(self.request.auth, Caller):
            keep_unmatched(self.request, self.caller, response)
        return response

    @property
    def caller(self) -> Caller:
        return self.request.auth

    def told(self, balance: Decimal) -> Decimal | int:
        """A balance as an answer may tell it: 0 where the programme hides points, as the vendor does."""
        return 0 if self.caller.points_hidden else balance


def keep_unmatched(request: Request, caller: Caller, response: Response) -> None:
    """Write a call down that matched nothing, or could not be read."""
    try:
        body = request._request.body
    except Exception:  # the caller broke off, or sent too much: its address and the sentence are what there is
        body = b""
    unmatched.keep(
        account_id=caller.account_id, key_id=caller.key_id, method=request.method or "", path=request.get_full_path(),
        status=response.status_code, reason=response.data["errors"][0]["message"], body=body, now=timezone.now(),
    )  # fmt: skip


def route(pattern: str, view: type[APIView]) -> list[URLPattern]:
    """A path with and without trailing slash; the schema lists it once."""
    pattern = re.sub(r"<(\w+)>", r"<str:\1>", pattern)
    return [path(pattern + "/", view.as_view(schema=None)), path(pattern, view.as_view())]
