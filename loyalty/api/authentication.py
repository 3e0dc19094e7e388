"""Who calls: one header, one statement, the key's account becomes the current one."""

import hashlib
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

from django.db import connection
from django.utils import timezone
from drf_spectacular.extensions import OpenApiAuthenticationExtension
from rest_framework.authentication import BaseAuthentication
from rest_framework.exceptions import AuthenticationFailed, PermissionDenied
from rest_framework.permissions import BasePermission
from rest_framework.request import Request

from aiqsync.accounts.client_ip import client_ip, within
from aiqsync.accounts.models import Scope
from aiqsync.accounts.tenancy import set_current_account

# Missing, wrong, revoked, or of another account than the address names: the same words and the same 403
# (reference: 2.2, from a client that tried eleven variants).
BAD_KEY = "Please provide a valid API key"
RANK = {Scope.READ: 0, Scope.POS: 1, Scope.ADMIN: 2}
NOTED_EVERY = timedelta(minutes=1)


@dataclass(frozen=True, slots=True)
class Caller:
    """A key, its account with what its programme hides, and the store it belongs to (None: the whole account).

    `addresses`: the networks it may call from (empty: any). `api_per_minute` None: the installation's limit.
    """

    key_id: int
    account_id: int
    scope: str
    last_used_at: datetime | None
    uid: str
    zone: str
    region: str
    store_id: int | None
    currency: str
    wallet_last_at: datetime | None
    points_hidden: bool  # the programme hides points, or is off: no answer tells a balance
    addresses: list[str]
    api_per_minute: int | None
    pin_required: bool  # its store asks for the shopper's code before anything is redeemed

    # The framework asks every user this.
    is_authenticated = True

    def today(self, now: datetime) -> date:
        """The account's day."""
        return now.astimezone(ZoneInfo(self.zone)).date()


_LOOK_UP = """
SELECT k.id, k.account_id, k.scope, k.last_used_at, a.uid, a.timezone, a.country, s.store_id, a.currency,
       k.wallet_last_at,
       coalesce(g.hide_points OR NOT g.enabled, true), k.addresses, a.api_per_minute, coalesce(t.require_pin, false)
FROM accounts_apikey k
JOIN accounts_account a ON a.id = k.account_id
LEFT JOIN stores_storekey s ON s.key_id = k.id
LEFT JOIN stores_store t ON t.id = s.store_id
LEFT JOIN loyalty_programme g ON g.account_id = k.account_id
WHERE k.hash = %s AND k.revoked_at IS NULL AND (k.expires_at IS NULL OR k.expires_at > %s)
"""

# Skips a row that another call is just writing: the time is for people, nobody waits for it.
_NOTE_USE = """
UPDATE accounts_apikey SET last_used_at = %(now)s, last_used_from = %(ip)s,
    wallet_first_at = CASE WHEN %(wallet)s THEN coalesce(wallet_first_at, %(now)s) ELSE wallet_first_at END,
    wallet_last_at = CASE WHEN %(wallet)s THEN %(now)s ELSE wallet_last_at END
WHERE id = (
    SELECT id FROM accounts_apikey
    WHERE id = %(key)s AND (last_used_at IS NULL OR last_used_at < %(before)s
                            OR %(wallet)s AND (wallet_last_at IS NULL OR wallet_last_at < %(before)s))
    FOR UPDATE SKIP LOCKED)
"""


# Where a right key was refused for its address, for the owner to see: also at most once a minute.
_NOTE_REFUSAL = """
UPDATE accounts_apikey SET refused_at = %(now)s, refused_from = %(ip)s
WHERE id = (SELECT id FROM accounts_apikey WHERE id = %(key)s AND (refused_at IS NULL OR refused_at < %(before)s)
            FOR UPDATE SKIP LOCKED)
"""


def caller_of(key: str, *, now: datetime, ip: str | None = None, wallet: bool = False) -> Caller | None:
    """The caller behind a key's text, or None: unknown, ended, or from an address that is not on its list.

    Notes the use at most once a minute; `wallet`: it reads a wallet.
    """
    if not key or len(key) > 200:
        return None
    with connection.cursor() as cursor:
        cursor.execute(_LOOK_UP, [hashlib.sha256(key.encode(errors="replace")).hexdigest(), now])
        row = cursor.fetchone()
        if row is None:
            return None
        caller = Caller(*row)
        told = {"now": now, "key": caller.key_id, "before": now - NOTED_EVERY, "wallet": wallet, "ip": ip}
        if caller.addresses and not within(ip, caller.addresses):
            cursor.execute(_NOTE_REFUSAL, told)
            return None
        noted = [caller.last_used_at, caller.wallet_last_at] if wallet else [caller.last_used_at]
        if any(at is None or at < now - NOTED_EVERY for at in noted):
            cursor.execute(_NOTE_USE, told)
    return caller


class KeyAuthentication(BaseAuthentication):
    """`X-APIKEY`. Sets the current account; the middleware clears it when the request ends."""

    def authenticate(self, request: Request) -> tuple[Caller, Caller]:
        key = request.META.get("HTTP_X_APIKEY", "").strip()
        caller = caller_of(key, now=timezone.now(), ip=client_ip(request), wallet="/wallet" in request.path)
        if caller is None:
            raise AuthenticationFailed(BAD_KEY)
        set_current_account(caller.account_id)
        return caller, caller


class HasScope(BasePermission):
    """The key's scope suffices for the method, and an account id in the path is the key's own."""

    def has_permission(self, request: Request, view) -> bool:
        caller: Caller | None = request.auth
        if caller is None or view.kwargs.get("uid", caller.uid) != caller.uid:
            raise PermissionDenied(BAD_KEY)
        needed = view.scopes.get(request.method, Scope.READ)
        if RANK.get(caller.scope, -1) < RANK[needed]:
            raise PermissionDenied(f"This key may only read; the call needs the scope '{needed}'.")
        return True


class KeyScheme(OpenApiAuthenticationExtension):
    """How the schema names our header."""

    target_class = KeyAuthentication
    name = "key"

    def get_security_definition(self, auto_schema) -> dict[str, str]:
        return {"type": "apiKey", "in": "header", "name": "X-APIKEY"}


def epoch(moment: datetime) -> int:
    return int(moment.astimezone(UTC).timestamp())
