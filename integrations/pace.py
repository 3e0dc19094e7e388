"""The allowance of a vendor's token, shared by every process that uses it, on however many machines.

One row a card says who holds how many calls at once, until when. It is read and written back on the condition that
nobody wrote it meanwhile (`version`): no lock, and who comes second looks again. A process that works asks once a
second.
"""

import hashlib
import os
import socket
from uuid import uuid4

from django.db import connection

from .kit.card import Card
from .kit.errors import TryLater
from .kit.pace import Lease, Share, share_out
from .models import CallAllowance

_TRIES = 20
_me: tuple[int, str] = (0, "")


def holder() -> str:
    """This process's name; another one after a fork."""
    global _me
    if _me[0] != os.getpid():
        _me = (os.getpid(), f"{socket.gethostname()[:40]}:{os.getpid()}:{uuid4().hex[:8]}")
    return _me[1]


def lease_for(card: Card, secret: str) -> Lease:
    """How `Pace` asks for slots of this token. The token itself is nowhere written down, a digest of it is."""
    token = hashlib.sha256(f"{card.slug}|{secret}".encode()).hexdigest()[:16]

    def lease(wanted: int, busy: int) -> Share:
        return ask(card=card, token=token, me=f"{holder()}:{token}", wanted=wanted, busy=busy)

    return lease


def ask(*, card: Card, token: str, me: str, wanted: int, busy: int) -> Share:
    """Hold, renew (`wanted` > 0) or give back (0) slots of a token. Safe to repeat."""
    CallAllowance.objects.bulk_create([CallAllowance(card=card.slug)], ignore_conflicts=True)
    for _ in range(_TRIES):
        with connection.cursor() as cursor:
            cursor.execute("SELECT extract(epoch FROM clock_timestamp())::float8")
            now = cursor.fetchone()[0]
        row = CallAllowance.objects.get(card=card.slug)
        holders, share = share_out(
            row.holders, me=me, token=token, wanted=wanted, busy=busy, at_once=card.at_once,
            app_at_once=card.app_at_once, now=now,
        )  # fmt: skip
        if CallAllowance.objects.filter(card=card.slug, version=row.version).update(
            holders=holders, version=row.version + 1
        ):
            return share
    raise TryLater("Too many others were asking for calls at the same moment.", after_s=1)
