"""Signatures as Standard Webhooks asks for them (github.com/standard-webhooks/standard-webhooks, spec, "v1").

HMAC-SHA256 over `id.timestamp.body` with the bytes behind `whsec_`, in base64, after `v1,`; several are separated by
blanks, so that a secret can be changed without a call being refused.
"""

import hmac
import secrets
from base64 import b64decode, b64encode
from collections.abc import Iterable
from datetime import datetime

PREFIX = "whsec_"
_BYTES = 32


def new_secret() -> str:
    return PREFIX + b64encode(secrets.token_bytes(_BYTES)).decode()


def signature(secret: str, *, message_id: str, timestamp: int, body: bytes) -> str:
    said = f"{message_id}.{timestamp}.".encode() + body
    return "v1," + b64encode(hmac.digest(b64decode(secret.removeprefix(PREFIX)), said, "sha256")).decode()


def headers(given: Iterable[str], *, message_id: str, body: bytes, now: datetime) -> dict[str, str]:
    """What goes with a body, signed with each of the secrets at this moment."""
    at = int(now.timestamp())
    return {
        "Content-Type": "application/json",
        "User-Agent": "aiqsync-webhooks/1",
        "webhook-id": message_id,
        "webhook-timestamp": str(at),
        "webhook-signature": " ".join(signature(one, message_id=message_id, timestamp=at, body=body) for one in given),
    }
