"""One POST to an address that a merchant chose: guarded, pinned, bounded in time and size. Knows no database.

The name is looked up once; what it stands for is checked and is what we connect to (integrations/kit/addresses.py).
Redirects are not followed, proxies and ~/.netrc not asked, and ten seconds end the call however slowly it trickles.
"""

import http.client
import os
import re
import socket
import ssl
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from urllib.parse import urlsplit

from django.conf import settings
from requests.certs import where

from integrations.kit.addresses import Pinned, Resolve, guard
from integrations.kit.errors import BadCredentials, TryLater

WHOLE_CALL_S = 10.0
CONNECT_S = 5.0
LONGEST_RESPONSE = 1000
LONGEST_WAIT = timedelta(hours=24)  # of what a receiver may ask for by Retry-After
_CONTROL = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]+")
# The guard speaks of a POS and of keys; here it is a receiver, and what is sent.
_WORDS = (
    ("your key would travel readable otherwise", "what is sent would travel readable otherwise"),
    ("it must be your POS's", "it must be reachable from the internet"),
    ("it looks like https://api.your-pos.com/v1", "it looks like https://example.com/webhooks"),
    ("holds a user name or password: enter the key in its own field", "holds a user name or password: every call is "
     "signed, a receiver needs none"),
    ("an API is called on", "webhooks are sent to"),
    ("no address of an API has", "no address has"),
)  # fmt: skip


class BadAddress(Exception):
    """The message is a sentence for whoever typed it."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


@dataclass(frozen=True, slots=True)
class Outcome:
    """`status` None: there was no answer, `error` says why. `retry_after`: what the receiver asked for."""

    status: int | None
    ms: int
    response: str = ""
    error: str = ""
    retry_after: timedelta | None = None

    @property
    def taken(self) -> bool:
        return self.status is not None and 200 <= self.status < 300


def checked(url: str, *, resolve: Resolve | None = None) -> tuple[Pinned, str]:
    """The address as it may be called, and path with query. Raises BadAddress; TryLater when the name is not known."""
    base, mark, query = url.strip().partition("?")
    try:
        if re.search(r"[^\x21-\x7e]|[#\\]", query) or len(url) > 500:
            raise BadCredentials("The address has characters that no address has, or more than 500 of them.")
        pinned = guard(base, settings.ALLOW_LOOPBACK_ADDRESSES, setting="url", resolve=resolve)
    except BadCredentials as refusal:
        message = refusal.message
        for ours, theirs in _WORDS:
            message = message.replace(ours, theirs)
        raise BadAddress(message) from None
    return pinned, (urlsplit(base).path or "/") + mark + query


def post(url: str, headers: dict[str, str], body: bytes, *, resolve: Resolve | None = None) -> Outcome:
    """Send it once. Never raises."""
    began = time.monotonic()

    def outcome(status: int | None = None, **values) -> Outcome:
        return Outcome(status, int((time.monotonic() - began) * 1000), **values)

    try:
        pinned, path = checked(url, resolve=resolve)
    except BadAddress as refusal:
        return outcome(error=f"Not sent: {refusal.message}"[:300])
    except TryLater as refusal:
        return outcome(error=f"Not sent: {refusal.message}"[:300])
    clock = _Clock(WHOLE_CALL_S)
    try:
        with clock, socket.create_connection((pinned.ip, pinned.port), timeout=CONNECT_S) as plain:
            clock.holds(plain)
            status, answered, text = _ask(plain, pinned, path, headers, body)
    except Exception as error:  # whatever a receiver does, and whatever the library makes of it, is no answer
        return outcome(error=_why(error, over=clock.over))
    return outcome(status, response=text, retry_after=_retry_after(status, answered))


def _ask(
    plain: socket.socket, pinned: Pinned, path: str, headers: dict[str, str], body: bytes
) -> tuple[int, str | None, str]:
    plain.settimeout(WHOLE_CALL_S)
    connection = http.client.HTTPConnection(pinned.host, pinned.port)
    tls = pinned.url.startswith("https:")
    connection.sock = _context().wrap_socket(plain, server_hostname=pinned.host) if tls else plain
    host = f"[{pinned.host}]" if ":" in pinned.host else pinned.host
    usual = pinned.port == (443 if tls else 80)
    try:
        connection.request("POST", path, body=body, headers={
            "Host": host if usual else f"{host}:{pinned.port}", "Connection": "close", **headers,
        })  # fmt: skip
        answer = connection.getresponse()
        try:
            said = answer.read(LONGEST_RESPONSE)
        except (OSError, http.client.HTTPException):  # the status is what counts
            said = b""
        text = _CONTROL.sub(" ", said.decode(errors="replace")).strip()[:LONGEST_RESPONSE]
        return answer.status, answer.headers.get("Retry-After"), text
    finally:
        connection.close()


def _context() -> ssl.SSLContext:
    return ssl.create_default_context(cafile=where())


class _Clock:
    """Breaks a connection when its time is up, whatever it is waiting for."""

    def __init__(self, seconds: float) -> None:
        self.over = False
        self._twin: socket.socket | None = None
        self._lock = threading.Lock()
        self._timer = threading.Timer(seconds, self._strike)
        self._timer.daemon = True

    def __enter__(self) -> "_Clock":
        self._timer.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._timer.cancel()
        with self._lock:
            if self._twin:
                self._twin.close()
                self._twin = None

    def holds(self, plain: socket.socket) -> None:
        """A second handle on the same connection: TLS takes the first one over."""
        with self._lock:
            self._twin = socket.socket(fileno=os.dup(plain.fileno()))
        if self.over:
            self._strike()

    def _strike(self) -> None:
        with self._lock:
            self.over = True
            if self._twin:
                try:
                    self._twin.shutdown(socket.SHUT_RDWR)
                except OSError:
                    pass


def _why(error: Exception, *, over: bool) -> str:
    if over or isinstance(error, TimeoutError):
        return f"No answer within {WHOLE_CALL_S:.0f} seconds."
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"The receiver's certificate is not good: {error.verify_message}."[:300]
    if isinstance(error, ssl.SSLError):
        return "No secure connection could be made (TLS)."
    if isinstance(error, ConnectionRefusedError):
        return "Nobody listens there: the connection was refused."
    if isinstance(error, OSError | http.client.HTTPException):
        return "The connection broke before there was an answer."
    return "What came back is no answer we can read."


def _retry_after(status: int, value: str | None) -> timedelta | None:
    """What the receiver asked for with 429 or 503: seconds, or a date."""
    if status not in (429, 503) or not value:
        return None
    try:
        if value.strip().isdigit():
            wait = timedelta(seconds=min(int(value.strip()[:9]), LONGEST_WAIT.total_seconds()))
        else:
            until = parsedate_to_datetime(value)
            wait = (until if until.tzinfo else until.replace(tzinfo=UTC)) - datetime.now(UTC)
    except (ValueError, TypeError, OverflowError):
        return None
    return min(max(wait, timedelta(0)), LONGEST_WAIT)


Post = Callable[[str, dict[str, str], bytes], Outcome]
