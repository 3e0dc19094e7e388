"""The wallets of somebody who was removed on request: emptied by a line that says so, and closed."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from .calls import as_points, call


@dataclass(frozen=True, slots=True)
class Closure:
    """What was there: forfeited points, redemptions that were open, shortfalls that nobody owes any more."""

    points: Decimal
    redemptions: int
    shortfalls: int


def erase(*, account_id: int, root_id: int, persona_ids: Sequence[int], user_id: int | None, now: datetime) -> Closure:
    """Bring a group's balance to 0, end what is open, and close its wallets for ever. A second time finds nothing.

    The personas' rows are locked by the caller, so the group stays what it is.
    """
    answer = call("loyalty_erase(%s, %s, %s, %s, %s)::text", account_id, root_id, sorted(persona_ids), user_id, now)
    return Closure(as_points(answer["points"]), answer["redemptions"], answer["shortfalls"])
