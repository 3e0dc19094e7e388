"""The content policy: everything from our own host.

Eval is Alpine's (Unfold's menus need it); inline script is nobody's.
"""

from collections.abc import Callable

from django.http import HttpRequest, HttpResponse

ADMIN = (
    "default-src 'self'; script-src 'self' 'unsafe-eval'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
    "frame-ancestors 'none'; base-uri 'self'; form-action 'self'"
)
STRICT = "default-src 'none'; frame-ancestors 'none'"


class ContentPolicyMiddleware:
    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        response = self.get_response(request)
        policy = STRICT if request.path.startswith("/api/v") else ADMIN
        response.headers.setdefault("Content-Security-Policy", policy)
        return response
