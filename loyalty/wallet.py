"""What a wallet shows. One verb for the API, the staff pages and the shopper's page. Reading writes nothing."""

from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta
from decimal import Decimal
from uuid import UUID

from django.db import connection
from django.utils import timezone

from . import freshness, pictures, pins

# Why not, in words for staff; a page for the shopper has its own for these.
BLOCKED = "The phone is on the employee points blocklist."
MIRRORED = "The points are those of the POS's own programme; redeem there."
NO_CODE = "All its coupon codes are used."
# An ended discount is greyed, not gone, for this long: staff can see why it stopped working.
SHOWN_AFTER_END = timedelta(days=30)
OPEN_SHOWN = 50  # the latest; a till needs those of the order before it


@dataclass(frozen=True, slots=True)
class Reward:
    """One discount as one persona sees it. `why_not` is a sentence, empty when it can be redeemed now.

    `points` are needed, `price` is taken: a tier reward needs its points and takes none.
    """

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
    tier: bool
    hide_redeem: bool
    min_spend_cents: int
    logo: str  # the picture's digest, or empty
    cover: str
    ends_at: datetime | None
    n: int
    why_not: str

    @property
    def available(self) -> bool:
        return not self.why_not

    @property
    def price(self) -> Decimal:
        return Decimal(0) if self.tier else self.points

    @property
    def picture(self) -> str:
        """The address of its logo, or of the default."""
        return pictures.address(self.logo)

    def points_short(self, balance: Decimal) -> str:
        """The sentence that says that points are missing."""
        return f"{plain_points(self.points)} points are needed, {plain_points(balance)} are there."

    @property
    def place(self) -> str:
        """Where it can be used, as it stands on the reward."""
        return "In store only" if self.in_store_only else "In store and online"


@dataclass(frozen=True, slots=True)
class OpenRedemption:
    """Taken at a till; its sale has not been seen."""

    redemption_id: UUID
    name: str
    points: Decimal
    transaction: str
    applied_at: datetime
    code: str


@dataclass(frozen=True, slots=True)
class WalletView:
    """`points` are spendable: what has expired is subtracted, whether or not the sweep has been there."""

    persona_id: int
    contact_id: UUID
    member_from: date | None
    enabled: bool
    hidden: bool  # the programme hides points in wallets: `points` are true all the same
    points: Decimal
    as_of: datetime
    rewards: list[Reward] = field(default_factory=list)
    open_redemptions: list[OpenRedemption] = field(default_factory=list)
    read: list[freshness.Read] = field(default_factory=list)  # how far the POS's sales are in `points`
    next_to_expire: tuple[Decimal, datetime] | None = None  # so that nobody learns of it when they are gone
    proved: bool = False  # the key that was named has shown within a quarter of an hour that the shopper is there

    @property
    def is_member(self) -> bool:
        return self.member_from is not None


# The group of a root: what the rows merged into it used counts for it.
_STATE = f"""
SELECT p.contact_id, p.member_from, coalesce(g.enabled, false), coalesce(g.hide_points, false),
       coalesce(w.balance, 0) - coalesce((
           SELECT sum(l.remaining) FROM loyalty_lot l
           WHERE l.persona_id = p.id AND l.open AND l.expires_at <= %(now)s), 0),
       (SELECT json_agg(json_build_array(r.public_id, d.name, (r.points - r.reverted_points)::text, r.transaction,
                                         extract(epoch FROM r.applied_at),
                                         CASE d.code_kind WHEN 'unique' THEN (
                                             SELECT c.code FROM loyalty_couponcode c WHERE c.redemption_id = r.id)
                                         ELSE d.static_code END) ORDER BY r.id)
        FROM (SELECT * FROM loyalty_redemption o WHERE o.persona_id = ANY(k.ids) AND o.state = 'applied'
              ORDER BY o.id DESC LIMIT %(open_shown)s) r
        JOIN loyalty_discount d ON d.id = r.discount_id),
       k.ids,
       loyalty_is_blocked(p.account_id, k.ids),
       loyalty_is_mirrored(p.account_id, k.ids),
       {freshness.OF_SALES},
       (SELECT json_build_array(sum(l.remaining)::text, extract(epoch FROM l.expires_at)) FROM loyalty_lot l
        WHERE l.persona_id = p.id AND l.open AND l.expires_at > %(now)s
        GROUP BY l.expires_at ORDER BY l.expires_at LIMIT 1),
       %(proof_by)s::bigint IS NOT NULL AND EXISTS (
           SELECT FROM loyalty_pinuse u
           WHERE u.key_id = %(proof_by)s AND u.persona_id = ANY(k.ids) AND u.kind <> 'wrong'
                 AND u.at > %(proved_from)s AND u.at <= %(proved_until)s)
FROM loyalty_persona p
CROSS JOIN LATERAL (SELECT ARRAY(SELECT id FROM loyalty_persona x WHERE x.merged_into_id = p.id) || p.id AS ids) k
LEFT JOIN loyalty_wallet w ON w.persona_id = p.id
LEFT JOIN loyalty_programme g ON g.account_id = p.account_id
WHERE p.account_id = %(account)s AND p.id = %(persona)s AND p.erased_at IS NULL
"""

# Who is not in the audience of a discount does not see it; one for other stores is shown with the reason.
_REWARDS = """
SELECT d.id, d.number, d.pos_discount_id, d.name, d.description, d.kind, d.amount_cents, d.percent, d.points,
       d.reusable, d.in_store_only, d.reward = 'tier', d.hide_redeem, d.min_spend_cents,
       coalesce(pictures.logo, ''), coalesce(pictures.cover, ''),
       d.starts_at, d.ends_at,
       CASE WHEN d.valid_for_h IS NOT NULL
            THEN loyalty_received(d, %(group)s) + d.valid_for_h * interval '1 hour' END,
       loyalty_next_n(%(group)s, d.id), NOT d.reusable AND coalesce(used.live, 0) > 0,
       CASE WHEN d.cooldown_h > 0 THEN used.last + d.cooldown_h * interval '1 hour' END,
       d.code_kind = 'unique' AND NOT EXISTS (
           SELECT FROM loyalty_couponcode c WHERE c.discount_id = d.id AND c.redemption_id IS NULL),
       d.limited_stores AND %(store)s::bigint IS NOT NULL AND NOT EXISTS (
           SELECT FROM loyalty_discountstore s WHERE s.discount_id = d.id AND s.store_id = %(store)s)
FROM loyalty_discount d
LEFT JOIN LATERAL (
    SELECT count(*) FILTER (WHERE r.state IN ('applied', 'settled')) AS live,
           max(r.applied_at) FILTER (WHERE r.state IN ('applied', 'settled')) AS last
    FROM loyalty_redemption r WHERE r.persona_id = ANY(%(group)s) AND r.discount_id = d.id
) used ON true
LEFT JOIN LATERAL (
    SELECT max(i.digest) FILTER (WHERE i.kind = 'logo') AS logo, max(i.digest) FILTER (WHERE i.kind = 'cover') AS cover
    FROM loyalty_discountimage i WHERE i.discount_id = d.id
) pictures ON true
WHERE d.account_id = %(account)s AND d.archived_at IS NULL AND (d.ends_at IS NULL OR d.ends_at > %(shown_from)s)
  AND (NOT d.limited_audiences OR EXISTS (
      SELECT FROM loyalty_audiencemember a JOIN loyalty_discountaudience x ON x.audience_id = a.audience_id
      WHERE x.discount_id = d.id AND a.persona_id = ANY(%(group)s) AND a.left_at IS NULL))
ORDER BY d.rank, d.points, d.number
"""


def show(
    *, account_id: int, persona_id: int, now: datetime, store_id: int | None = None, proof_by: int | None = None
) -> WalletView:
    """The persona's wallet, in two statements. LookupError when the account has no such persona (any more).

    Points are 0 and there are no rewards for somebody who is not a member, or while the programme is off. `store_id`
    is where it is shown, where that is known; `proof_by` the API key that must have shown that the shopper is there.
    """
    asked = {
        "account": account_id,
        "persona": persona_id,
        "now": now,
        "shown_from": now - SHOWN_AFTER_END,
        "open_shown": OPEN_SHOWN,
        "store": store_id,
        "proof_by": proof_by,
        "proved_from": now - pins.PROVED_FOR,
        "proved_until": now + pins.AHEAD,
    }
    with connection.cursor() as cursor:
        cursor.execute(_STATE, asked)
        state = cursor.fetchone()
        if state is None:
            raise LookupError(persona_id)
        contact_id, member_from, enabled, hidden, spendable, open_rows, group, *rest = state
        blocked, mirrored, read, ends, proved = rest
        live = enabled and member_from is not None
        points = spendable if live else Decimal(0)
        rewards = []
        if live:
            cursor.execute(_REWARDS, asked | {"group": group})
            rewards = [_reward(row, points, now, blocked, mirrored) for row in cursor.fetchall()]
    return WalletView(
        persona_id=persona_id,
        contact_id=contact_id,
        member_from=member_from,
        enabled=enabled,
        hidden=hidden,
        points=points,
        as_of=now,
        rewards=rewards,
        open_redemptions=[_open(row, now) for row in open_rows or ()],
        read=freshness.from_column(read),
        next_to_expire=(Decimal(ends[0]), datetime.fromtimestamp(ends[1], tz=now.tzinfo)) if ends and live else None,
        proved=proved,
    )


def _reward(row: tuple, balance: Decimal, now: datetime, blocked: bool, mirrored: bool) -> Reward:
    *plain, starts_at, ends_at, expires, n, used, free_at, no_code, elsewhere = row
    points, takes_none = plain[8], plain[11]
    why_not = ""
    if starts_at and now < starts_at:
        why_not = "It has not started."
    elif ends_at and now >= ends_at:
        why_not = "It has ended."
    elif expires and now >= expires:
        why_not = "Its time is over for this shopper."
    elif used:
        why_not = "It has been used; it can be used once."
    elif free_at and free_at > now:
        why_not = f"It can be used again from {timezone.localtime(free_at):%-d %b %Y, %H:%M} on."
    elif elsewhere:
        why_not = "It is not for this store."
    elif blocked:
        why_not = BLOCKED
    elif mirrored and points and not takes_none:  # what costs nothing takes nothing from the POS's own balance
        why_not = MIRRORED
    elif no_code:
        why_not = NO_CODE
    ends = min((moment for moment in (ends_at, expires) if moment), default=None)
    reward = Reward(*plain, ends_at=ends, n=n, why_not=why_not)
    return replace(reward, why_not=reward.points_short(balance)) if not why_not and points > balance else reward


def _open(row: list, now: datetime) -> OpenRedemption:
    public_id, name, points, transaction, applied_at, code = row
    when = datetime.fromtimestamp(applied_at, tz=now.tzinfo)
    return OpenRedemption(UUID(public_id), name, Decimal(points), transaction, when, code or "")


def plain_points(points: Decimal) -> str:
    """Points as people read them: 400, or 12.50."""
    return f"{points:.0f}" if points == points.to_integral_value() else f"{points:.2f}"
