"""Addresses that a merchant typed: where our server may go, and nowhere else.

Such an address is a way to make our server call things that only it can reach: its own machine, the network it
stands in, the cloud's metadata. So it is https, of a public host on a usual port, looked up once, and the connection
goes to the very address that was checked; a name that answers differently a moment later moves nothing. TLS goes on
verifying the name. Redirects are refused by the client, as everywhere.
"""

import ipaddress
import re
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import urllib3
from requests.adapters import HTTPAdapter
from urllib3.util.connection import create_connection

from .errors import BadCredentials, TryLater
from .fields import Field

PORTS = (443, 8443)
_LONGEST = 300
_HOST = re.compile(r"(?!-)[a-z0-9_-]{1,63}(?<!-)(\.(?!-)[a-z0-9_-]{1,63}(?<!-))*\.?")
# What a browser or a C library reads as an IPv4 address besides four decimal parts: 2130706433, 0x7f.1, 0177.0.0.1.
_NUMERIC = re.compile(r"(0x[0-9a-f]*|[0-9]+)(\.(0x[0-9a-f]*|[0-9]+)){0,3}\.?")
# Names that never mean a host of the public internet.
_INSIDE = ("localhost", "local", "internal", "intranet", "lan", "home", "corp", "private", "home.arpa", "onion", "test",
           "invalid", "example")  # fmt: skip
# What the standard library of some Python versions still calls global: protocol assignments, the 6to4 relay.
_SPECIAL = tuple(ipaddress.ip_network(n) for n in ("192.0.0.0/24", "192.88.99.0/24", "100.64.0.0/10", "198.18.0.0/15"))
_UNICAST = ipaddress.ip_network("2000::/3")  # all that IPv6 has handed out
_NAT64 = ipaddress.ip_network("64:ff9b::/96")
_COMPATIBLE = ipaddress.ip_network("::/96")
_LOOPBACK_NAMES = ("localhost",)

NAMED = "#"  # how the identity of a company begins that told its own id


def told_id(identity: str) -> bool:
    """Whether this identity is the company's own id. Else it is the address, and another one when that changes."""
    return identity.startswith(NAMED)


Resolve = Callable[[str, int], Sequence[str]]


@dataclass(frozen=True)
class Pinned:
    """An address that was checked: `url` without a slash at its end, and the one IP that its host stands for."""

    url: str
    host: str
    ip: str
    port: int


@dataclass(frozen=True)
class Address(Field):
    """The base URL of an API that the merchant names. Whether we may go there is asked when we go (`guard`)."""

    def clean(self, value: str) -> str:
        return value.strip().rstrip("/")

    def problem(self, value: Any) -> str:
        if problem := super().problem(value):
            return problem
        try:
            _parts(str(value))
        except BadCredentials as refusal:
            return refusal.message
        return ""


def guard(
    url: str,
    allow_loopback: bool = False,
    *,
    setting: str = "base_url",
    resolve: Resolve | None = None,
) -> Pinned:
    """The address as it may be called, or `BadCredentials` with a sentence; `TryLater` when the name does not resolve.

    `allow_loopback` (the installation's switch, for tests and stand-ins) lets plain http and any port through, to this
    machine alone.
    """
    try:
        scheme, host, port, path = _parts(url)
        here = _is_here(host)
        if here and allow_loopback:
            ip = "::1" if ":" in host else "127.0.0.1" if host in _LOOPBACK_NAMES else host
            return Pinned(f"{scheme}://{_bracketed(host)}:{port}{path}", host, ip, port)
        if scheme != "https":
            raise BadCredentials("The address must begin with https://: your key would travel readable otherwise.")
        if port not in PORTS:
            raise BadCredentials(f"Port {port} is not one an API is called on: {PORTS[0]} or {PORTS[1]}.")
        ip = _public(host, port, resolve or _look_up)
    except BadCredentials as refusal:
        refusal.setting = setting
        raise
    shown = "" if port == 443 else f":{port}"
    return Pinned(f"https://{_bracketed(host)}{shown}{path}", host, ip, port)


def _parts(url: str) -> tuple[str, str, int, str]:
    """Scheme, host in lower case, port, path; `BadCredentials` for what no base URL has."""
    url = url.strip()
    if len(url) > _LONGEST:
        raise BadCredentials(f"The address is too long: at most {_LONGEST} characters.")
    # Parsers differ about these, and a difference is how a check is passed and something else is called.
    if not url.isascii() or re.search(r"[\s\\\x00-\x1f\x7f]", url):
        raise BadCredentials("The address has characters that no address of an API has.")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise BadCredentials("That is not an address: it looks like https://api.your-pos.com/v1.") from None
    if parts.scheme not in ("https", "http") or not parts.hostname:
        raise BadCredentials("That is not an address: it looks like https://api.your-pos.com/v1.")
    if "@" in parts.netloc:
        raise BadCredentials("The address holds a user name or password: enter the key in its own field.")
    if parts.query or parts.fragment or "?" in url or "#" in url:
        raise BadCredentials("The address ends before any ? or #: we add what we ask for.")
    if re.search(r"(^|/)\.{1,2}(/|$)|%2e|%2f|%5c|//", parts.path, re.IGNORECASE):
        raise BadCredentials("The path of the address has .., // or an escaped slash in it.")
    host = parts.hostname.lower()
    if ":" not in host and not _HOST.fullmatch(host):
        raise BadCredentials("The address names no host that could exist.")
    if ":" in host:
        _literal(host)
    usual = 443 if parts.scheme == "https" else 80
    return parts.scheme, host, usual if port is None else port, parts.path.rstrip("/")


def _literal(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    if "%" in host:
        raise BadCredentials("The address names an interface of this machine.")
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        raise BadCredentials("The address names no host that could exist.") from None


def _is_here(host: str) -> bool:
    """This machine, written plainly."""
    if host in _LOOPBACK_NAMES:
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _public(host: str, port: int, resolve: Resolve) -> str:
    """The one address that the host stands for; every address it has must be public."""
    if _NUMERIC.fullmatch(host):
        try:
            return _checked(str(ipaddress.IPv4Address(host)))
        except ValueError:
            raise BadCredentials("The address writes its host as a number: use the host's name.") from None
    if ":" in host:
        return _checked(host)
    name = host.rstrip(".")
    if "." not in name or any(name == one or name.endswith("." + one) for one in _INSIDE):
        raise BadCredentials("The address names a host of an inner network; it must be reachable from the internet.")
    try:
        found = list(dict.fromkeys(resolve(host, port)))
    except (OSError, UnicodeError):
        found = []
    if not found:
        raise TryLater(f"The name {host} is not known. Check the address; if it is right, we try again later.")
    # One inner address among outer ones is how a name is made to point inside: none of them is used.
    checked = [_checked(ip) for ip in found]
    return next((ip for ip in checked if ":" not in ip), checked[0])


def _look_up(host: str, port: int) -> list[str]:
    return [str(info[4][0]) for info in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)]


def _checked(text: str) -> str:
    """The address as text when it is one of the public internet, else `BadCredentials`."""
    ip = _literal(text)
    inside = [ip]
    if isinstance(ip, ipaddress.IPv6Address):
        # An IPv4 address in IPv6's clothes: what counts is where it leads.
        low = ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
        if ip.ipv4_mapped or ip in _NAT64 or ip in _COMPATIBLE:
            raise BadCredentials("The address hides an IPv4 address in an IPv6 one.")
        if ip.sixtofour:
            inside.append(ip.sixtofour)
        if ip.teredo:
            inside += [*ip.teredo, low]
        if ip.is_site_local or not (ip in _UNICAST or ip.is_loopback or ip.is_unspecified):
            raise BadCredentials("The address leads into an inner network; it must be reachable from the internet.")
    if any(one.is_loopback or one.is_unspecified for one in inside):
        raise BadCredentials("The address leads to this machine itself; it must be your POS's.")
    if any(
        not one.is_global
        or one.is_private
        or one.is_link_local
        or one.is_multicast
        or one.is_reserved
        or any(one in net for net in _SPECIAL)
        for one in inside
    ):
        raise BadCredentials("The address leads into an inner network; it must be reachable from the internet.")
    return str(ip)


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host


class PinnedAdapter(HTTPAdapter):
    """Connects to the pinned IP whatever the name says by now. Name and certificate stay those of the host."""

    def __init__(self, pinned: Pinned) -> None:
        self._pinned = pinned
        super().__init__()

    def init_poolmanager(self, connections: int, maxsize: int, block: bool = False, **options: Any) -> None:
        super().init_poolmanager(connections, maxsize, block=block, **options)
        self.poolmanager.pool_classes_by_scheme = _pools(self._pinned.ip)

    def send(self, request: Any, *rest: Any, **options: Any) -> Any:
        parts = urlsplit(request.url)
        port = parts.port or (443 if parts.scheme == "https" else 80)
        if ((parts.hostname or "").lower(), port) != (self._pinned.host, self._pinned.port):
            raise ValueError("This connection was made for another address.")
        options["proxies"] = {}  # a proxy would look the name up again by itself
        return super().send(request, *rest, **options)


def _pools(ip: str) -> dict[str, Any]:
    class Pin:
        """Only the dialling differs: urllib3 goes on with the host's name for TLS and for the Host header."""

        host: str
        port: int
        timeout: Any
        source_address: Any
        socket_options: Any

        def _new_conn(self) -> socket.socket:
            try:
                return create_connection(
                    (ip, self.port), self.timeout, self.source_address, socket_options=self.socket_options
                )
            except TimeoutError as error:
                raise urllib3.exceptions.ConnectTimeoutError(self, "timed out") from error
            except OSError as error:
                raise urllib3.exceptions.NewConnectionError(self, "no connection") from error  # type: ignore[arg-type]

    class PlainConnection(Pin, urllib3.connection.HTTPConnection):
        pass

    class TlsConnection(Pin, urllib3.connection.HTTPSConnection):
        pass

    class PlainPool(urllib3.HTTPConnectionPool):
        ConnectionCls = PlainConnection

    class TlsPool(urllib3.HTTPSConnectionPool):
        ConnectionCls = TlsConnection

    return {"http": PlainPool, "https": TlsPool}
