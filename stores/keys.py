"""Keys of the till's API: made, replaced with an overlap, ended. Each act is written down beside it."""

from collections.abc import Sequence
from datetime import datetime, timedelta

from django.db import transaction

from aiqsync.accounts import audit
from aiqsync.accounts.models import Account, ApiKey, User

from .models import Store, StoreKey

OVERLAPS = {0: "at once", 1: "in an hour", 24: "in a day", 24 * 7: "in a week"}  # hours


class CannotRotate(Exception):
    """The message is a sentence for the person who asked."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


@transaction.atomic
def make(
    *,
    account: Account,
    name: str,
    scope: str,
    store: Store | None,
    addresses: Sequence[str],
    expires_at: datetime | None,
    user: User | None,
    replaces: ApiKey | None = None,
) -> tuple[ApiKey, str]:
    """A new key and its text, which nobody can read again."""
    made, text = ApiKey.make(
        account=account, name=name, scope=scope, addresses=list(addresses), expires_at=expires_at, replaces=replaces
    )
    if store:
        StoreKey.unscoped.create(account_id=account.pk, key=made, store=store)
    said = {"scope": made.scope, "store": str(store or ""), "addresses": ", ".join(addresses),
            "ends": expires_at.isoformat() if expires_at else "", "replaces": str(replaces or "")}  # fmt: skip
    detail = {name: one for name, one in said.items() if one}
    audit.record(act="key.created", target=str(made), user=user, detail=detail)
    return made, text


@transaction.atomic
def rotate(*, key: ApiKey, overlap: timedelta, user: User | None, now: datetime) -> tuple[ApiKey, str]:
    """A new key of the same rights; the old one goes on for `overlap`. Raises CannotRotate.

    The old key's row is held: asked twice at once, one is made.
    """
    old = ApiKey.unscoped.select_for_update(no_key=True).get(account_id=key.account_id, pk=key.pk)
    if old.ended_at(now):
        raise CannotRotate(f"{old.name} has ended: make a new key.")
    if ApiKey.unscoped.filter(account_id=old.account_id, replaces=old).exists():
        raise CannotRotate(f"{old.name} has been replaced already: replace the newer key.")
    store = Store.unscoped.filter(account_id=old.account_id, keys__key=old).first()
    made, text = make(
        account=old.account, name=old.name, scope=old.scope, store=store, addresses=old.addresses,
        expires_at=old.expires_at, user=user, replaces=old,
    )  # fmt: skip
    old.expires_at = min(now + overlap, old.expires_at or now + overlap)
    old.save(update_fields=["expires_at"])
    audit.record(act="key.replaced", target=str(old), user=user, detail={"ends": old.expires_at.isoformat()})
    return made, text


@transaction.atomic
def revoke(*, key: ApiKey, user: User | None, now: datetime) -> bool:
    """End a key at once. False: it was revoked before."""
    done = ApiKey.unscoped.filter(account_id=key.account_id, pk=key.pk, revoked_at=None).update(revoked_at=now)
    if done:
        audit.record(act="key.revoked", target=str(key), user=user)
    return bool(done)


@transaction.atomic
def limit(*, account: Account, per_minute: int | None, user: User | None) -> None:
    """How many calls a minute each key of the account may make; None: what the installation allows."""
    Account.objects.filter(pk=account.pk).update(api_per_minute=per_minute)
    audit.record(act="key.limit", target=account.name, user=user, detail={"calls_per_minute": str(per_minute or "")})
