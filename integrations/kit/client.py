"""HTTP to a vendor: one `Client` for one pull, and what each way of failing is called.

The vendor's token goes to the vendor's host only: redirects are refused, never followed. Neither tokens nor
bodies get into exception texts or logs.
"""

import json
import random
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from email.utils import parsedate_to_datetime
from typing import Any, NamedTuple, Protocol
from urllib.parse import quote, urlencode, urlsplit

import requests

from .errors import BadCredentials, NoPermission, NotFound, Rejected, TryLater, UnexpectedAnswer
from .lanes import hold, in_lane, stopping
from .limits import Limiter, window_of
from .pace import Pace

TIMEOUTS_S = (5, 25)  # connect, read: shorter than a task's 60 s
WHOLE_CALL_S = 25  # a body that trickles is cut off here: a call must end within a run's lease
BIGGEST_BODY = 10 * 1024 * 1024
Params = Mapping[str, Any] | Sequence[tuple[str, Any]]  # pairs where a name comes more than once
_IN_PLACE_S = 10  # no second try in place once this much time has gone


class ServerFault(TryLater):
    """The vendor failed (5xx or no answer in time): asking for less may help."""


class TooLarge(UnexpectedAnswer):
    """The answer is larger than we read: ask for less."""


class Answer(NamedTuple):
    status: int
    headers: Mapping[str, str]
    body: bytes


class Auth(Protocol):
    """How calls are signed. `headers` may call the vendor through `send`."""

    def headers(self, send: Callable[..., Answer]) -> dict[str, str]: ...

    def refused(self) -> bool:
        """After a 401: forget the token. True when it is worth asking for another."""
        ...


class _Signature(requests.auth.AuthBase):
    """Puts our headers on; being an auth object it keeps requests from reading ~/.netrc instead."""

    def __init__(self, headers: Mapping[str, str]) -> None:
        self._headers = headers

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        request.headers.update(self._headers)
        return request


def _refused_permission(service: str) -> tuple[str, str]:
    return f"The user of this connection has no permission for {service}.", ""


class Bearer:
    """A token that the merchant copied: it is not renewed, and a refused one stays refused."""

    def __init__(self, token: str) -> None:
        self._token = token

    def headers(self, send: Callable[..., Answer]) -> dict[str, str]:
        if not self._token.isascii() or not self._token.isprintable():
            raise BadCredentials("The token has characters that no token has: copy it again.", detail="token")
        return {"Authorization": f"Bearer {self._token}"}

    def refused(self) -> bool:
        return False


class Client:
    """One pull's connection to a vendor.

    `identity` is the vendor's company. `vendor` is its name in sentences. `no_permission(service)` gives the
    sentence and the setting for a 403, `unauthorized(service)` those for a 401 that no new token mends (None: one
    sentence for all). A client may be used from several lanes (`kit/lanes.py`) at once; `before_call` is never called
    in one. `get_json`, `post_json` and `put_json` return decoded JSON with
    numbers as int or `Decimal`; they raise `BadCredentials`, `TryLater`, `NotFound` or `UnexpectedAnswer`.
    `calls` and `seconds` count what was asked; `server_time` is the vendor's clock as of the last answer.
    """

    def __init__(
        self,
        base_url: str,
        auth: Auth,
        *,
        identity: str = "",
        vendor: str = "The vendor",
        limiter: Limiter | Pace | None = None,
        no_permission: Callable[[str], tuple[str, str]] = _refused_permission,
        unauthorized: Callable[[str], tuple[str, str]] | None = None,
        tries: int = 3,
        sleep: Callable[[float], None] = time.sleep,
        transport: requests.adapters.BaseAdapter | None = None,
    ) -> None:
        self.base_url = base_url.rstrip("/")
        self.identity = identity
        self.vendor = vendor
        self.limiter = limiter
        self.calls = self.spared = 0
        self.seconds = 0.0
        self.server_time: datetime | None = None
        self.before_call: Callable[[], None] | None = None  # who pulls keeps his lease here
        self._auth = auth
        self._no_permission = no_permission
        self._unauthorized = unauthorized
        self._counting = threading.Lock()
        self._tries = tries
        self._sleep = sleep
        self._session = requests.Session()
        self._session.headers.update({"Accept": "application/json", "User-Agent": "aiqsync"})
        if isinstance(limiter, Pace):
            limiter.enter()
        if transport is not None:  # how connections are made, for instance to a pinned address only
            self._session.mount("https://", transport)
            self._session.mount("http://", transport)

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._session.close()
        if isinstance(self.limiter, Pace):
            self.limiter.leave()

    def spare(self, calls: int = 1) -> None:
        """Calls that a setting of the merchant's made unnecessary: `spared` counts them."""
        with self._counting:
            self.spared += calls

    def keep(self) -> None:
        """What is to be done from time to time in the thread that pulls, while lanes read."""
        if isinstance(self.limiter, Pace):
            self.limiter.keep()
        if self.before_call:
            self.before_call()

    def get_json(self, path: str, params: Params | None = None, *, service: str = "") -> Any:
        """The decoded answer of a GET. Connection faults and 502 to 504 are tried again in place, twice."""
        return self._json("GET", path, params, None, service)

    def post_json(self, path: str, body: Any, params: Params | None = None, *, service: str = "") -> Any:
        """The decoded answer of a POST, None when it is empty. Never tried again in place."""
        return self._json("POST", path, params, body, service)

    def put_json(self, path: str, body: Any, params: Params | None = None, *, service: str = "") -> Any:
        """The decoded answer of a PUT, None when it is empty. Never tried again in place."""
        return self._json("PUT", path, params, body, service)

    def authorize(self) -> None:
        """Get a token now if there is none: what connecting checks first."""
        self._auth.headers(self.send)

    # One exchange

    def send(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        form: Mapping[str, str] | None = None,
        body: bytes | None = None,
    ) -> Answer:
        """One HTTP exchange, whatever its status. `TryLater` without a whole answer, `TooLarge` if huge."""
        if stopping():
            raise TryLater("The reading was stopped.")
        if self.before_call and not in_lane():
            self.before_call()
        started = time.monotonic()
        with self._counting:
            self.calls += 1
        try:
            with self._session.request(
                method,
                url,
                data=form if body is None else body,
                auth=_Signature(headers or {}),
                timeout=TIMEOUTS_S,
                allow_redirects=False,
                stream=True,
            ) as response:
                read = self._read(response, started)
                self._see_clock(response.headers.get("Date"))
                return Answer(response.status_code, response.headers, read)
        except requests.Timeout as error:
            raise ServerFault(f"{self.vendor} did not answer in time.", detail=type(error).__name__) from None
        except requests.RequestException as error:
            # the text of these errors may hold the address with its query: only the type is told
            raise TryLater(
                f"The connection to {self.vendor} broke off or could not be made.",
                detail=type(error).__name__,
            ) from None
        finally:
            with self._counting:
                self.seconds += time.monotonic() - started

    def _read(self, response: requests.Response, started: float) -> bytes:
        parts, size = [], 0
        for part in response.iter_content(65536):
            parts.append(part)
            size += len(part)
            if size > BIGGEST_BODY:
                raise TooLarge(f"{self.vendor} sent more than 10 MB in one answer.")
            if time.monotonic() - started > WHOLE_CALL_S:
                raise ServerFault(f"{self.vendor} sends its answer too slowly.")
        return b"".join(parts)

    def _see_clock(self, date: str | None) -> None:
        try:
            if date:
                self.server_time = parsedate_to_datetime(date).astimezone(UTC)
        except (ValueError, TypeError, OverflowError):
            pass  # a wrong Date header only means that we do not know their clock

    # What an answer means

    def _json(self, method: str, path: str, params: Params | None, body: Any, service: str) -> Any:
        service = service or path.strip("/").partition("/")[0]
        url = self.base_url + path
        if params:
            url += "?" + urlencode(params, quote_via=quote, safe="$")
        data = None if body is None else json.dumps(body, default=str).encode()
        asked_again = False
        while True:
            answer = self._answer(method, url, data, service)
            if answer.status == 401 and not asked_again and self._auth.refused():
                asked_again = True
                continue
            return self._meaning(answer, service)

    def _answer(self, method: str, url: str, data: bytes | None, service: str) -> Answer:
        """The answer, after in-place retries of a GET."""
        started = time.monotonic()
        tries = self._tries if method == "GET" else 1
        for attempt in range(1, tries + 1):
            last = attempt == tries
            hold()
            if self.limiter:
                self.limiter.wait(service)
            try:
                headers = self._auth.headers(self.send)
                if data is not None:
                    headers["Content-Type"] = "application/json"
                answer = self.send(method, url, headers=headers, body=data)
            except TryLater:
                if last or time.monotonic() - started > _IN_PLACE_S:
                    raise
            else:
                if answer.status == 429 and isinstance(self.limiter, Pace) and not last:
                    # Others of this token wait as well: in place it costs a second, as a failed run half a minute.
                    self.limiter.close(service, retry_after_s(answer.headers))
                    continue
                if self.limiter and (window := window_of(answer.headers)):
                    self.limiter.learn(service, **window)
                if answer.status not in (502, 503, 504) or last or "Retry-After" in answer.headers:
                    return answer
                if time.monotonic() - started > _IN_PLACE_S:
                    return answer
            finally:
                if isinstance(self.limiter, Pace):
                    self.limiter.done(service)
            self._sleep(random.uniform(0.1, 0.4) * attempt)
        raise AssertionError("unreachable")

    def _meaning(self, answer: Answer, service: str) -> Any:
        """The decoded body of a success, else the exception the status stands for."""
        status = answer.status
        if 200 <= status < 300:
            return self._decode(answer)
        detail = f"{service}: HTTP {status}"
        if 300 <= status < 400:
            where = urlsplit(answer.headers.get("Location", "")).netloc[:100] or "another address"
            raise UnexpectedAnswer(
                f"{self.vendor} sent us on to another address ({where}) instead of answering. We do not follow, "
                f"for your log-in is meant for {self.vendor} alone.",
                detail=detail,
            )
        if status == 401:
            sentence, setting = f"{self.vendor} refuses the log-in, with a new token too.", ""
            if self._unauthorized:
                sentence, setting = self._unauthorized(service)
            raise BadCredentials(sentence, setting=setting, detail=detail)
        if status == 403:
            sentence, setting = self._no_permission(service)
            raise NoPermission(sentence, setting=setting, detail=detail)
        if status == 404:
            raise NotFound(f"{self.vendor} knows no such record.", detail=detail)
        if status == 429:
            after = retry_after_s(answer.headers)
            if isinstance(self.limiter, Pace):
                after = self.limiter.close(service, after)
            elif self.limiter:
                self.limiter.close(service, after or 10)
            raise TryLater(f"{self.vendor} asks us to slow down.", after_s=after, detail=detail)
        if status >= 500 or status == 408:
            raise ServerFault(
                f"{self.vendor} has a fault on its side (HTTP {status}).",
                after_s=retry_after_s(answer.headers),
                detail=detail,
            )
        sentence = f"{self.vendor} did not accept our question (HTTP {status})."
        if status in (400, 409, 422):
            raise Rejected(sentence, status=status, said=_said(answer.body), detail=detail)
        raise UnexpectedAnswer(sentence, detail=detail)

    def _decode(self, answer: Answer) -> Any:
        body = answer.body.strip()
        if not body:
            return None
        if body[:1] == b"<":
            raise UnexpectedAnswer(
                f"{self.vendor} answered with a web page instead of data, as it does during maintenance."
            )
        try:
            return json.loads(body, parse_float=Decimal, parse_constant=_refuse)
        except (ValueError, RecursionError):
            raise UnexpectedAnswer(f"{self.vendor} sent an answer that cannot be read.") from None


def _said(body: bytes) -> str:
    """The vendor's sentence in a refusal's body: `message`, `Message` or `error.message`; "" when there is none."""
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        return ""
    if not isinstance(document, dict):
        return ""
    inner = document.get("error")
    found = (
        document.get("message") or document.get("Message") or (inner.get("message") if isinstance(inner, dict) else "")
    )
    return " ".join(found.split())[:200] if isinstance(found, str) else ""


def _refuse(word: str) -> Any:
    raise ValueError(f"{word} is not a number")


def retry_after_s(headers: Mapping[str, str]) -> float | None:
    """Seconds the vendor asks us to wait (Retry-After, else ...ResetSeconds), at most an hour."""
    raw = headers.get("Retry-After", "")
    seconds: float | None = None
    try:
        seconds = float(raw)
    except ValueError:
        try:
            seconds = (parsedate_to_datetime(raw) - datetime.now(UTC)).total_seconds() if raw else None
        except (ValueError, TypeError):
            seconds = None
    if seconds is None:
        seconds = window_of(headers).get("reset_s")
    if seconds is None or seconds != seconds:
        return None
    return min(max(seconds, 0.0), 3600.0)
