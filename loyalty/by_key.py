"""Points that a caller of the API gives or takes, and how many of them in a day.

A key of the scope `pos` may add as many points a day as the programme lets a manager add; one of the scope `admin` any
number. The entry names the key, and the note the caller gave.
"""

import uuid
from datetime import datetime
from decimal import Decimal

from django.db import transaction
from django.db.models import Sum

from aiqsync.accounts.models import ApiKey, Scope

from . import expiry, ledger, staff
from .models import Entry, EntryKind, Programme
from .wallet import plain_points


def adjust(
    *, account_id: int, key_id: int, persona_id: int, points: Decimal, note: str, cause_at: datetime | None,
    now: datetime,
) -> ledger.Posted:  # fmt: skip
    """Each call is a new entry. Raises staff.LimitReached, and what `ledger.adjust` raises; nothing is posted then."""
    with transaction.atomic():
        key = _checked(account_id, key_id, points, now)
        return ledger.adjust(
            account_id=account_id, persona_id=persona_id, points=points, key=f"api:{uuid.uuid4()}", now=now, note=note,
            expires_at=expiry.for_posting(account_id=account_id, kind="adjust", now=now),
            explanation={"key": key.name, "key_id": key.pk}, cause_at=cause_at,
        )  # fmt: skip


def _checked(account_id: int, key_id: int, points: Decimal, now: datetime) -> ApiKey:
    keys = ApiKey.objects.filter(account_id=account_id, pk=key_id)
    key = keys.get()
    if points <= 0 or key.scope == Scope.ADMIN:
        return key
    limit = Programme.objects.filter(account_id=account_id).values_list("manager_points_a_day", flat=True).first()
    if limit is None:
        return key
    list(keys.select_for_update(no_key=True).values_list("pk", flat=True))  # two calls of one key are no way past it
    added = Entry.objects.filter(
        account_id=account_id, kind=EntryKind.ADJUST, points__gt=0, at__gte=staff.day_of(account_id, now),
        explanation__key_id=key_id,
    ).aggregate(sum=Sum("points"))["sum"] or Decimal(0)  # fmt: skip
    if added + points > limit:
        left = max(limit - added, Decimal(0))
        raise staff.LimitReached(
            f"This key may add {plain_points(limit)} points a day, and {plain_points(left)} are left. Nothing added."
        )
    return key
