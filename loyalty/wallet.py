"""What a wallet shows. One verb for the API, the staff pages and the shopper's page. Reading writes nothing."""

from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from decimal import Decimal
from uuid import UUID

from django.db import connection

# An ended discount is greyed, not gone, for this long: staff can see why it stopped working.
SHOWN_AFTER_END = timedelta(days=30)
OPEN_SHOWN = 50  # the latest; a till needs those of the order before it


@dataclass(frozen=True, slots=True)
class Reward:
    """One discount as one persona sees it. `why_not` is a sentence, empty when it can be redeemed now."""

    discount_id: int
    number: int
    pos_discount_id: str
    name: str
    description: str
    kind: str
    amount_cents: int
    percent: Decimal
    points: Decimal
    reusable: bool
    in_store_only: bool
    ends_at: datetime | None
    n: int
    why_not: str

    @property
    def available(self) -> bool:
        return not self.why_not


@dataclass(frozen=True, slots=True)
class OpenRedemption:
    """Taken at a till; its sale has not been seen."""

    redemption_id: UUID
    name: str
    points: Decimal
    transaction: str
    applied_at: datetime


@dataclass(frozen=True, slots=True)
class WalletView:
    """`points` are spendable: what has expired is subtracted, whether or not the sweep has been there."""

    persona_id: int
    contact_id: UUID
    member_from: date | None
    enabled: bool
    points: Decimal
    as_of: datetime
    rewards: list[Reward] = field(default_factory=list)
    open_redemptions: list[OpenRedemption] = field(default_factory=list)

    @property
    def is_member(self) -> bool:
        return self.member_from is not None


_STATE = """
SELECT p.contact_id, p.member_from, coalesce(g.enabled, false),
       coalesce(w.balance, 0) - coalesce((
           SELECT sum(l.remaining) FROM loyalty_lot l
           WHERE l.persona_id = p.id AND l.open AND l.expires_at <= %(now)s), 0),
       (SELECT json_agg(json_build_array(r.public_id, d.name, (r.points - r.reverted_points)::text, r.transaction,
                                         extract(epoch FROM r.applied_at)) ORDER BY r.id)
        FROM (SELECT * FROM loyalty_redemption o WHERE o.persona_id = p.id AND o.state = 'applied'
              ORDER BY o.id DESC LIMIT %(open_shown)s) r
        JOIN loyalty_discount d ON d.id = r.discount_id)
FROM loyalty_persona p
LEFT JOIN loyalty_wallet w ON w.persona_id = p.id
LEFT JOIN loyalty_programme g ON g.account_id = p.account_id
WHERE p.account_id = %(account)s AND p.id = %(persona)s
"""

_REWARDS = """
SELECT d.id, d.number, d.pos_discount_id, d.name, d.description, d.kind, d.amount_cents, d.percent, d.points,
       d.reusable, d.in_store_only, d.starts_at, d.ends_at,
       coalesce((SELECT max(r.n) + 1 FROM loyalty_redemption r
                 WHERE r.persona_id = %(persona)s AND r.discount_id = d.id), 0),
       NOT d.reusable AND EXISTS (
           SELECT FROM loyalty_redemption r
           WHERE r.persona_id = %(persona)s AND r.discount_id = d.id AND r.state IN ('applied', 'settled'))
FROM loyalty_discount d
WHERE d.account_id = %(account)s AND d.archived_at IS NULL AND (d.ends_at IS NULL OR d.ends_at > %(shown_from)s)
ORDER BY d.points, d.number
"""


def show(*, account_id: int, persona_id: int, now: datetime) -> WalletView:
    """The persona's wallet, in two statements. LookupError when the account has no such persona.

    Points are 0 and there are no rewards for somebody who is not a member, or while the programme is off.
    """
    asked = {
        "account": account_id,
        "persona": persona_id,
        "now": now,
        "shown_from": now - SHOWN_AFTER_END,
        "open_shown": OPEN_SHOWN,
    }
    with connection.cursor() as cursor:
        cursor.execute(_STATE, asked)
        state = cursor.fetchone()
        if state is None:
            raise LookupError(persona_id)
        contact_id, member_from, enabled, spendable, open_rows = state
        live = enabled and member_from is not None
        points = spendable if live else Decimal(0)
        rewards = []
        if live:
            cursor.execute(_REWARDS, asked)
            rewards = [_reward(row, points, now) for row in cursor.fetchall()]
    return WalletView(
        persona_id=persona_id,
        contact_id=contact_id,
        member_from=member_from,
        enabled=enabled,
        points=points,
        as_of=now,
        rewards=rewards,
        open_redemptions=[_open(row, now) for row in open_rows or ()],
    )


def _reward(row: tuple, balance: Decimal, now: datetime) -> Reward:
    (*plain, starts_at, ends_at, n, used) = row
    points = plain[8]
    why_not = ""
    if starts_at and now < starts_at:
        why_not = "It has not started."
    elif ends_at and now >= ends_at:
        why_not = "It has ended."
    elif used:
        why_not = "It has been used; it can be used once."
    elif points > balance:
        why_not = f"{plain_points(points)} points are needed, {plain_points(balance)} are there."
    return Reward(*plain, ends_at=ends_at, n=n, why_not=why_not)


def _open(row: list, now: datetime) -> OpenRedemption:
    public_id, name, points, transaction, applied_at = row
    return OpenRedemption(
        UUID(public_id), name, Decimal(points), transaction, datetime.fromtimestamp(applied_at, tz=now.tzinfo)
    )


def plain_points(points: Decimal) -> str:
    """Points as people read them: 400, or 12.50."""
    return f"{points:.0f}" if points == points.to_integral_value() else f"{points:.2f}"
