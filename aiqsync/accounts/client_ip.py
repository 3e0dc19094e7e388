"""Where a call came from, behind as many proxies as we run."""

from collections.abc import Iterable
from ipaddress import ip_address, ip_network

from django.conf import settings
from django.http import HttpRequest

MOST_NETWORKS = 50


def client_ip(request: HttpRequest) -> str | None:
    """The caller's address, or None when nobody told it.

    Each of our proxies (`PROXY_HOPS`) writes down, behind what was there, whom it was called by. So the caller stands
    as many places from the end of `X-Forwarded-For` as there are proxies; what is ahead of it anybody may have written.
    """
    hops = settings.PROXY_HOPS
    if hops:
        told = [part.strip() for part in request.META.get("HTTP_X_FORWARDED_FOR", "").split(",") if part.strip()]
        found = told[-hops] if len(told) >= hops else ""
    else:
        found = request.META.get("REMOTE_ADDR", "")
    try:
        address = ip_address(found.rpartition("%")[0] or found)
    except ValueError:
        return None
    return str(getattr(address, "ipv4_mapped", None) or address)


def networks(text: str) -> list[str]:
    """Addresses and networks (CIDR) as typed, one a line or between commas. Raises ValueError with a sentence."""
    found = []
    for part in text.replace(",", "\n").split():
        try:
            network = ip_network(part, strict=False)
        except ValueError:
            raise ValueError(
                f"“{part[:60]}” is no address: write 203.0.113.7, or a network like 203.0.113.0/24."
            ) from None
        found.append(str(network.network_address) if network.num_addresses == 1 else str(network))
    if len(found) > MOST_NETWORKS:
        raise ValueError(f"At most {MOST_NETWORKS} addresses; use networks.")
    return list(dict.fromkeys(found))


def within(ip: str | None, allowed: Iterable[str]) -> bool:
    """Whether an address is in one of the networks. One that nobody told is in none."""
    return ip is not None and any(ip_address(ip) in ip_network(one) for one in allowed)
