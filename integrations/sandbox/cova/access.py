"""Log-in tokens and rate limits.

Known: password and refresh grant in a form body, 12 hours, older tokens stay valid, a refresh revokes the access
token it came with and gives a new refresh token, the three error codes with 400 [D][IQ]; 1,000 calls a minute and
service, 1,500 for the entity manager [D19]. Inferred [INF]: the wording of errors, refresh tokens being for one use,
the window starting with its first call, names of the headers but the first, Retry-After.
"""

import json
import secrets
import time
from dataclasses import dataclass
from urllib.parse import parse_qsl

from integrations.sandbox.cova import shop
from integrations.sandbox.wire import Request, Response

LIFETIME_S = 43_200
REFRESH_S = 7 * 86_400
WINDOW_S = 60
DEFAULT_RATE = 1000
RATES = {"entitymanager": 1500}
EXPIRED_PASSWORD = "The password has expired and must be changed."


def oauth_error(error: str, description: str) -> Response:
    return Response(400, json.dumps({"error": error, "error_description": description}).encode())


class Tokens:
    """Access tokens and refresh tokens of the one API user."""

    def __init__(self) -> None:
        self._access: dict[str, float] = {}
        self._refresh: dict[str, tuple[str, float]] = {}

    def valid(self, authorization: str) -> bool:
        scheme, _, token = authorization.partition(" ")
        return scheme.lower() == "bearer" and self._access.get(token.strip(), 0.0) > time.time()

    def revoke_all(self) -> None:
        """As if twelve hours had passed, or the password had been changed; refresh tokens go too."""
        self._access.clear()
        self._refresh.clear()

    def expire(self) -> None:
        """As if twelve hours had passed: refresh tokens live on."""
        self._access.clear()

    def grant(self, request: Request) -> Response:
        """The token call."""
        if not request.headers.get("content-type", "").startswith("application/x-www-form-urlencoded"):
            return oauth_error("invalid_request", "The parameters belong into a form body.")
        form = dict(parse_qsl(request.body.decode("utf-8", "replace"), keep_blank_values=True))
        kind = form.get("grant_type")
        if kind not in ("password", "refresh_token"):
            return oauth_error("unsupported_grant_type", "Use password or refresh_token.")
        if form.get("client_id") != shop.CLIENT_ID or form.get("client_secret") != shop.CLIENT_SECRET:
            return oauth_error("invalid_client", "The client id or secret is wrong.")
        if kind == "password":
            if form.get("username") != shop.USERNAME or form.get("password") != shop.PASSWORD:
                return oauth_error("invalid_grant", "The user name or password is wrong.")
        else:
            access, until = self._refresh.pop(form.get("refresh_token", ""), ("", 0.0))
            if until < time.time():
                return oauth_error("invalid_grant", "The refresh token is not valid.")
            self._access.pop(access, None)
        return self._issue()

    def _issue(self) -> Response:
        access, refresh = secrets.token_urlsafe(24), secrets.token_urlsafe(18)
        now = time.time()
        if len(self._access) > 10_000:
            self._access = {token: until for token, until in self._access.items() if until > now}
        self._access[access] = now + LIFETIME_S
        self._refresh[refresh] = (access, now + REFRESH_S)
        document = {"access_token": access, "expires_in": LIFETIME_S, "refresh_token": refresh}
        return Response(200, json.dumps(document).encode(), headers=[("Cache-Control", "no-store")])


@dataclass(slots=True)
class _Window:
    began: float
    count: int = 0


class Limiter:
    """Counts calls by service, and apart from each other with and without a log-in. `rate` None is the vendor's own
    limit, 0 switches counting and its headers off."""

    def __init__(self) -> None:
        self.rate: int | None = None
        self._windows: dict[tuple[str, bool], _Window] = {}

    def reset(self) -> None:
        self._windows.clear()

    def count(self, service: str, known: bool) -> tuple[list[tuple[str, str]], Response | None]:
        """Headers for the answer, and the refusal if this call is one too many."""
        limit = RATES.get(service, DEFAULT_RATE) if self.rate is None else self.rate
        if limit == 0:
            return [], None
        now = time.time()
        window = self._windows.get((service, known))
        if window is None or now >= window.began + WINDOW_S:
            window = self._windows[service, known] = _Window(now)
        window.count += 1
        wait = max(1, int(window.began + WINDOW_S - now + 0.999))
        figures = (
            ("Limit", limit),
            ("Remaining", max(0, limit - window.count)),
            ("Reset", int(window.began + WINDOW_S)),
            ("ResetSeconds", wait),
        )
        headers = [
            (f"{family}-RateLimit-{name}", str(value)) for name, value in figures for family in ("COVA-APIM", "X")
        ]
        return headers, too_many(wait, headers) if window.count > limit else None


def too_many(wait: int, headers: list[tuple[str, str]]) -> Response:
    message = f"Rate limit is exceeded. Try again in {wait} seconds."
    body = json.dumps({"statusCode": 429, "message": message}).encode()
    return Response(429, body, headers=[*headers, ("Retry-After", str(wait))])
