"""The view all calls share: JSON in, JSON out, one envelope, one way to refuse."""

import re
from decimal import Decimal

from django.urls import URLPattern, path
from rest_framework.negotiation import BaseContentNegotiation
from rest_framework.request import Request
from rest_framework.views import APIView

from .authentication import Caller
from .envelope import Refused
from .throttling import KeyThrottle

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
    """`scopes` names the scope a method needs; a method that is not named needs `read`."""

    scopes: dict[str, str] = {}
    content_negotiation_class = AlwaysJSON
    throttle_classes = (KeyThrottle,)
    metadata_class = None  # OPTIONS is a 405 like any method we do not have

    def initial(self, request: Request, *args, **kwargs) -> None:
        super().initial(request, *args, **kwargs)
        for name, value in kwargs.items():
            if value and (len(value) > LONGEST_SEGMENT or CONTROL.search(value)):
                raise Refused(f"{name}: too long, or with characters that cannot be there.")

    @property
    def caller(self) -> Caller:
        return self.request.auth

    def told(self, balance: Decimal) -> Decimal | int:
        """A balance as an answer may tell it: 0 where the programme hides points, as the vendor does."""
        return 0 if self.caller.points_hidden else balance


def route(pattern: str, view: type[APIView]) -> list[URLPattern]:
    """A path with and without trailing slash; the schema lists it once."""
    pattern = re.sub(r"<(\w+)>", r"<str:\1>", pattern)
    return [path(pattern + "/", view.as_view(schema=None)), path(pattern, view.as_view())]
