"""The shopper's own page: an address that shows one wallet to whoever has it, for 30 days, and nothing else.

A token is 33 bytes in URL-safe base64, 44 characters, every one of which counts: version (1), persona (8), the
persona's link version (4), expiry in epoch seconds (4), signature (16). Nothing is kept: raising the version ends all
addresses that are out.
"""

import hmac
import re
import struct
from base64 import urlsafe_b64decode, urlsafe_b64encode
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.conf import settings
from django.db.models import F, Q

from aiqsync.accounts import audit
from aiqsync.accounts.models import User

from .models import Persona

VALID_FOR = timedelta(days=30)

_VERSION = 1
_SIGNATURE_BYTES = 16
_SAID = struct.Struct(">BQII")
_FORM = re.compile(r"[A-Za-z0-9_-]{44}")  # 33 bytes fill them exactly: two different tokens never read the same


class NoWallet(Exception):
    """The address was not made by us, was ended, or is of somebody who was removed."""


class Expired(NoWallet):
    """It was ours; its time is over."""


@dataclass(frozen=True, slots=True)
class Shopper:
    account_id: int
    persona_id: int  # the one who is left after a merge


def make(*, persona: Persona, now: datetime) -> str:
    """The token of a persona's page."""
    said = _SAID.pack(_VERSION, persona.pk, persona.link_version, int((now + VALID_FOR).timestamp()))
    return urlsafe_b64encode(said + _sign(said)).decode()


def read(token: str, *, now: datetime) -> Shopper:
    """Whose page it is. Raises NoWallet or Expired."""
    if not _FORM.fullmatch(token):
        raise NoWallet
    packed = urlsafe_b64decode(token)
    said, signature = packed[:-_SIGNATURE_BYTES], packed[-_SIGNATURE_BYTES:]
    if not hmac.compare_digest(signature, _sign(said)):
        raise NoWallet
    version, persona_id, link_version, expires_at = _SAID.unpack(said)
    if version != _VERSION:
        raise NoWallet
    found = Persona.unscoped.filter(pk=persona_id, link_version=link_version, erased_at=None)
    row = found.values_list("account_id", "merged_into_id").first()
    if row is None:
        raise NoWallet
    if now.timestamp() >= expires_at:
        raise Expired
    return Shopper(row[0], row[1] or persona_id)


def revoke(*, persona: Persona, user: User | None = None, key_id: int | None = None) -> None:
    """End every address that was given out for this person, those of rows merged with his too."""
    group = Q(pk=persona.pk) | Q(merged_into=persona)
    Persona.unscoped.filter(group, account_id=persona.account_id).update(link_version=F("link_version") + 1)
    said = {"contact_id": str(persona.contact_id)}
    audit.record(act="wallet.links_ended", target=str(persona.contact_id), user=user, key_id=key_id, detail=said)


def _sign(said: bytes) -> bytes:
    return hmac.digest(settings.LINK_KEY.encode(), b"wallet page" + said, "sha256")[:_SIGNATURE_BYTES]
