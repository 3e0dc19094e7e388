"""Redemption addresses: who may have which discount, signed, so that reading a wallet writes nothing.

A token is 42 bytes in URL-safe base64, 56 characters, every one of which counts:
version (2), persona (8), discount row (8), n (4), expiry in epoch seconds (4), signature (16).
The signature also covers what stands beside the token in the address: the account and the discount's number.
"""

import hmac
import re
import struct
from base64 import urlsafe_b64decode, urlsafe_b64encode
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from django.conf import settings

VALID_FOR = timedelta(hours=24)

_VERSION = 1
_SIGNATURE_BYTES = 16
_SAID = struct.Struct(">HQQII")
_BESIDE = struct.Struct(">QQ")
# 42 bytes fill 56 characters exactly: no spare bits, so two different tokens never read the same.
_FORM = re.compile(r"[A-Za-z0-9_-]{56}")


class BadLink(Exception):
    """The token was not made by us for this account and discount."""


class ExpiredLink(Exception):
    """The token was ours; its time is over."""


@dataclass(frozen=True, slots=True)
class Link:
    """`n`: how many redemptions of this discount the persona had when the wallet was read."""

    persona_id: int
    discount_id: int
    n: int


def make(*, account_id: int, discount_number: int, link: Link, expires_at: int) -> str:
    """The token of one discount for one persona. `expires_at` in epoch seconds."""
    said = _SAID.pack(_VERSION, link.persona_id, link.discount_id, link.n, expires_at)
    return urlsafe_b64encode(said + _sign(said, account_id, discount_number)).decode()


def read(token: str, *, account_id: int, discount_number: int, now: datetime) -> Link:
    """What the token allows. Raises BadLink or ExpiredLink."""
    if not _FORM.fullmatch(token):
        raise BadLink
    packed = urlsafe_b64decode(token)
    said, signature = packed[:-_SIGNATURE_BYTES], packed[-_SIGNATURE_BYTES:]
    if not hmac.compare_digest(signature, _sign(said, account_id, discount_number)):
        raise BadLink
    version, persona_id, discount_id, n, expires_at = _SAID.unpack(said)
    if version != _VERSION:
        raise BadLink
    if now.timestamp() >= expires_at:
        raise ExpiredLink
    return Link(persona_id=persona_id, discount_id=discount_id, n=n)


def issued_at(token: str) -> datetime:
    """When a token that was read was made."""
    expires_at = _SAID.unpack(urlsafe_b64decode(token)[: _SAID.size])[-1]
    return datetime.fromtimestamp(expires_at, UTC) - VALID_FOR


def _sign(said: bytes, account_id: int, discount_number: int) -> bytes:
    message = b"redemption address" + _BESIDE.pack(account_id, discount_number) + said
    return hmac.digest(settings.LINK_KEY.encode(), message, "sha256")[:_SIGNATURE_BYTES]
