"""Coupon codes of a discount: made here or typed in, each for one use, for ever."""

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from django.db import connection

ALPHABET = "ABCDEFGHJKMNPQRSTUVWXYZ23456789"  # nothing that is read as something else
LENGTH = 9
LONGEST = 60
MOST = 20_000


@dataclass(frozen=True, slots=True)
class Entered:
    added: int
    refused: list[tuple[str, str]]  # code, why


def enter(*, account_id: int, discount_id: int, codes: Sequence[str], now: datetime) -> Entered:
    """Add codes. Each is taken or refused by itself; a code of the account is never there twice."""
    refused: list[tuple[str, str]] = []
    good: dict[str, str] = {}
    for raw in codes[:MOST]:
        code = raw.strip()
        if not code:
            continue
        if len(code) > LONGEST:
            refused.append((code[:20] + "…", f"longer than {LONGEST} characters"))
        elif not code.isprintable():
            refused.append(("…", "has characters that cannot be shown"))
        elif code in good:
            refused.append((code, "is in the list twice"))
        else:
            good[code] = code
    with connection.cursor() as cursor:
        cursor.execute(
            """INSERT INTO loyalty_couponcode (account_id, discount_id, code, created_at)
               SELECT %s, %s, code, %s FROM unnest(%s::text[]) AS t (code) ON CONFLICT (account_id, code) DO NOTHING
               RETURNING code""",
            [account_id, discount_id, now, list(good)],
        )
        added = {row[0] for row in cursor.fetchall()}
    refused += [(code, "is a code of yours already") for code in good if code not in added]
    if len(codes) > MOST:
        refused.append(("…", f"more than {MOST:,} at once"))
    return Entered(len(added), refused)


def generate(*, account_id: int, discount_id: int, count: int, now: datetime, prefix: str = "") -> int:
    """Make so many new codes nobody can guess. Returns how many there are more. ValueError: the prefix is too long."""
    if len(prefix) > LONGEST - LENGTH:
        raise ValueError(f"a prefix has at most {LONGEST - LENGTH} characters")
    made = 0
    for _ in range(5):
        wanted = min(count, MOST) - made
        if wanted <= 0:
            break
        codes = [prefix + "".join(secrets.choice(ALPHABET) for _ in range(LENGTH)) for _ in range(wanted)]
        made += enter(account_id=account_id, discount_id=discount_id, codes=codes, now=now).added
    return made


def left(*, account_id: int, discount_id: int) -> tuple[int, int]:
    """How many codes are free, and how many were handed out."""
    with connection.cursor() as cursor:
        cursor.execute(
            """SELECT count(*) FILTER (WHERE redemption_id IS NULL), count(redemption_id) FROM loyalty_couponcode
               WHERE account_id = %s AND discount_id = %s""",
            [account_id, discount_id],
        )
        return cursor.fetchone()
