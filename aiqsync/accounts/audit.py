"""The activity log's verbs: a line is written beside its change, and forgets a shopper who was removed."""

from collections.abc import Collection, Mapping
from typing import Any

from django.db import connection

from .models import AuditLine, User
from .tenancy import current_account_id


def record(
    *,
    act: str,
    target: str = "",
    user: User | None = None,
    key_id: int | None = None,
    detail: dict[str, Any] | None = None,
) -> AuditLine:
    """Write one line for the current account, in the caller's transaction. `key_id`: an API key did it."""
    return AuditLine.unscoped.create(
        account_id=current_account_id(),
        act=act,
        target=target[:200],
        user=user,
        key_id=key_id,
        detail=detail or {},
    )


# What an entry of the log may still say of a shopper who was removed on request: which act, what it moved, not whose.
KEPT = (
    "contact_id", "points", "balance", "redemption", "sale", "shortfall", "merge", "kind", "from", "channel", "said",
    "state", "count", "store", "shown", "discount",
)  # fmt: skip


def forget(*, account_id: int, about: Mapping[str, Collection[str]], words: Collection[str]) -> int:
    """Take names, numbers and notes out of the lines about somebody; who did what, and when, stays. Returns how many.

    `about`: values in a line's detail by which it is theirs (contact_id, merge, redemption, ...). `words` (phones,
    e-mails, names as they were shown) find the lines that name them without such a value.
    """
    keys = [(key, value) for key, values in about.items() for value in values]
    with connection.cursor() as cursor:
        cursor.execute(
            """UPDATE accounts_auditline a
               SET target = CASE WHEN target = '' THEN '' ELSE 'removed on request' END,
                   detail = coalesce((SELECT jsonb_object_agg(d.key, d.value) FROM jsonb_each(a.detail) d
                                      WHERE d.key = ANY(%(kept)s)), '{}')
               WHERE a.account_id = %(account)s AND (
                   EXISTS (SELECT FROM unnest(%(keys)s::text[], %(values)s::text[]) k (key, value)
                           WHERE a.detail ->> k.key = k.value)
                   OR NOT a.detail ? 'contact_id' AND EXISTS (
                       SELECT FROM unnest(%(words)s::text[]) w
                       WHERE strpos(lower(concat(a.target, ' ', a.detail)), w) > 0))""",
            {
                "account": account_id,
                "kept": list(KEPT),
                "keys": [key for key, _ in keys],
                "values": [value for _, value in keys],
                "words": sorted({word.lower() for word in words if word}),
            },
        )
        return cursor.rowcount
