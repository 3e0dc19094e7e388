"""What the programme lets staff do with other people's points, and how much of it in a day.

A limit is checked and the points are posted in one transaction that holds the member's own row: two tabs of one person
cannot pass it together (docs/decisions/locks.md).
"""

from datetime import datetime, time
from decimal import Decimal
from zoneinfo import ZoneInfo

from django.db.models import Sum

from aiqsync.accounts.models import Account, Membership
from aiqsync.accounts.roles import Role, may

from .models import Channel, Entry, EntryKind, Programme, Redemption
from .wallet import plain_points


class LimitReached(Exception):
    """It would be more than this person may do today; the message says how much is left."""


def may_adjust(role: str | None, programme: Programme) -> bool:
    """Budtenders only when the programme lets them."""
    return may(role, "points.adjust") or (role == Role.STAFF and programme.staff_may_adjust)


def may_redeem(role: str | None, programme: Programme) -> bool:
    """Budtenders unless the programme forbids it."""
    return may(role, "redemptions.redeem") and (role != Role.STAFF or programme.staff_may_redeem)


def check_limits(*, account_id: int, user_id: int, role: str, points: Decimal, now: datetime, key: str = "") -> None:
    """Before points are posted by hand, in the same transaction. Raises LimitReached.

    Only what is added counts; what is taken gives nothing back. An entry of this `key` is there already: sent again,
    it is no second one.
    """
    limit = _points_limit(account_id, role)
    if limit is None or points <= 0:
        return
    _hold(account_id, user_id)
    if key and Entry.objects.filter(account_id=account_id, key=key).exists():
        return
    added = Entry.objects.filter(
        account_id=account_id, user_id=user_id, kind=EntryKind.ADJUST, points__gt=0, at__gte=day_of(account_id, now)
    ).aggregate(sum=Sum("points"))["sum"] or Decimal(0)
    if added + points > limit:
        left = max(limit - added, Decimal(0))
        raise LimitReached(
            f"You may add {plain_points(limit)} points a day. {plain_points(added)} were added today, so "
            f"{plain_points(left)} are left. Somebody with more rights can add the rest."
        )


def check_redemption(
    *, account_id: int, user_id: int, role: str, now: datetime, again: tuple[int, int, int] | None = None
) -> None:
    """Before a redemption by hand, in the same transaction. Raises LimitReached.

    All that were made today count, also those given back: who redeems, types the discount and gives back has used one.
    `again` (persona, discount, n): that redemption, when it is there already, is no second one.
    """
    if role != Role.STAFF:
        return
    limit = Programme.objects.filter(account_id=account_id).values_list("staff_redemptions_a_day", flat=True).first()
    if limit is None:
        return
    _hold(account_id, user_id)
    if again:
        persona_id, discount_id, n = again
        mine = Redemption.objects.filter(persona_id=persona_id, discount_id=discount_id, n=n, user_id=user_id)
        if mine.exists():
            return
    made = Redemption.objects.filter(
        account_id=account_id, user_id=user_id, channel=Channel.STAFF, applied_at__gte=day_of(account_id, now)
    ).count()
    if made >= limit:
        raise LimitReached(
            f"You may redeem {limit} time{'' if limit == 1 else 's'} a day by hand, and that was used today. Nothing "
            "was taken; somebody with more rights can redeem it."
        )


def _points_limit(account_id: int, role: str) -> Decimal | None:
    name = {Role.STAFF: "staff_points_a_day", Role.MANAGER: "manager_points_a_day"}.get(Role(role))
    if name is None:
        return None
    return Programme.objects.filter(account_id=account_id).values_list(name, flat=True).first()


def _hold(account_id: int, user_id: int) -> None:
    """One at a time for each person. Somebody without a row (the installation's operator) has no limit either."""
    list(
        Membership.objects.select_for_update(no_key=True)
        .filter(account_id=account_id, user_id=user_id)
        .values_list("pk", flat=True)
    )


def day_of(account_id: int, now: datetime) -> datetime:
    """When today began, in the account's time zone."""
    zone = ZoneInfo(Account.objects.values_list("timezone", flat=True).get(pk=account_id))
    return datetime.combine(now.astimezone(zone).date(), time.min, zone)
