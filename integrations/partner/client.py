"""HTTP to a partner: the key in one header, the connection to the address that was checked."""

from collections.abc import Callable, Mapping
from typing import Any

from ..kit.addresses import Pinned, PinnedAdapter
from ..kit.client import Answer, Client
from ..kit.errors import BadCredentials
from ..kit.limits import Limiter
from . import mapping


class Key:
    """`X-APIKEY`, the header our own API asks for: one documented shape in both directions."""

    def __init__(self, key: str) -> None:
        self._key = key

    def headers(self, send: Callable[..., Answer]) -> dict[str, str]:
        return {"X-APIKEY": self._key}

    def refused(self) -> bool:
        return False  # there is no other to ask for


def no_permission(service: str) -> tuple[str, str]:
    return (
        f"The partner's API does not let this key read {service}: ask its maker for a key that may read customers, "
        "sales and inventory.",
        "api_key",
    )


class PartnerClient(Client):
    """A client that knows the merchant's field mapping."""

    renames: mapping.Renames = {}

    def _meaning(self, answer: Answer, service: str) -> Any:
        if answer.status == 401:
            raise BadCredentials(
                "The partner's API refuses the key: copy it again.", setting="api_key", detail=f"{service}: HTTP 401"
            )
        return super()._meaning(answer, service)


def make_client(
    *,
    values: Mapping[str, Any],
    pinned: Pinned,
    base_url: str = "",
    token: Mapping[str, Any] | None = None,
    save_token: Callable[[dict[str, Any]], None] = lambda token: None,
    limiter: Limiter | None = None,
) -> PartnerClient:
    """A client for one pull, to the pinned address and nowhere else."""
    where = pinned.url.partition("://")[2]
    client = PartnerClient(
        pinned.url,
        Key(str(values.get("api_key", ""))),
        identity=where,
        vendor="The partner's API",
        limiter=limiter,
        no_permission=no_permission,
        transport=PinnedAdapter(pinned),
    )
    client.renames = mapping.read(str(values.get("fields", "")))
    return client
