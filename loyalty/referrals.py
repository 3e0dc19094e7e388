"""Referral codes, and who referred whom.

A code is not kept: it is the persona's number, masked, behind a keyed digest of it (`LINK_KEY`). So each persona has
exactly one, two never have the same, a read writes nothing, and a guess is right once in 10^12. Another key makes other
codes, as it makes other redemption addresses.
"""

import base64
import hmac
from datetime import datetime

from django.conf import settings
from django.db import connection

from .models import Persona, Referral

_BYTES = 5
LENGTH = 16


class NotReferred(Exception):
    """The code names nobody who can have referred this contact; the message is a sentence."""


def _keyed(*parts: object) -> bytes:
    text = "|".join(map(str, ("referral", *parts)))
    return hmac.new(settings.LINK_KEY.encode(), text.encode(), "sha256").digest()[:_BYTES]


def code_of(*, account_id: int, persona_id: int) -> str:
    """16 letters and digits (base 32)."""
    mark = _keyed(account_id, "mark", persona_id)
    mask = _keyed(account_id, "mask", mark.hex())
    hidden = bytes(a ^ b for a, b in zip(persona_id.to_bytes(_BYTES), mask, strict=True))
    return base64.b32encode(mark + hidden).decode()


def persona_of(*, account_id: int, code: str) -> int | None:
    """The root whose code it is, or that of a row merged into it. None: nobody's, or of somebody removed."""
    try:
        raw = base64.b32decode(code.strip().upper())
    except ValueError:
        return None
    if len(raw) != 2 * _BYTES:
        return None
    mark, hidden = raw[:_BYTES], raw[_BYTES:]
    mask = _keyed(account_id, "mask", mark.hex())
    persona_id = int.from_bytes(bytes(a ^ b for a, b in zip(hidden, mask, strict=True)))
    if not hmac.compare_digest(mark, _keyed(account_id, "mark", persona_id)):
        return None
    found = Persona.objects.filter(account_id=account_id, pk=persona_id, erased_at=None)
    row = found.values_list("pk", "merged_into_id").first()
    return (row[1] or row[0]) if row else None


def record(*, account_id: int, persona_id: int, code: str, now: datetime) -> bool:
    """This root was referred by the owner of the code: once for its whole group, the first holds. False: it was before.

    Raises NotReferred: no such code, or the contact's own.
    """
    referrer = persona_of(account_id=account_id, code=code)
    if referrer is None:
        raise NotReferred("This is nobody's referral code.")
    if referrer == persona_id:
        raise NotReferred("A contact cannot refer himself.")
    with connection.cursor() as cursor:
        cursor.execute(
            """INSERT INTO loyalty_referral (account_id, referrer_id, referred_id, at)
               SELECT %(account)s, %(referrer)s, %(referred)s, %(now)s
               WHERE NOT EXISTS (SELECT FROM loyalty_referral f JOIN loyalty_persona g ON g.id = f.referred_id
                                 WHERE g.id = %(referred)s OR g.merged_into_id = %(referred)s)
               ON CONFLICT (referred_id) DO NOTHING""",
            {"account": account_id, "referrer": referrer, "referred": persona_id, "now": now},
        )
        return bool(cursor.rowcount)


def referrer_of(*, account_id: int, persona_id: int) -> Persona | None:
    """Who referred this root, or a row merged into it: as the root he is by now."""
    row = (
        (Referral.objects.filter(account_id=account_id, referred=persona_id)
         | Referral.objects.filter(account_id=account_id, referred__merged_into=persona_id))
        .select_related("referrer__merged_into").order_by("pk").first()
    )  # fmt: skip
    return (row.referrer.merged_into or row.referrer) if row else None
