"""Balances that are the POS's own: mirrored again and again, so that a wallet shows what the POS says and nothing else.

Whose: members with a record in an origin that is mirrored (`Mirroring`). A wallet's points are the sum of what the POS
says of the person's records. Sales of such people do not earn, rewards that cost points are not redeemed here, points
by hand are refused. A state, not an event: every verb here brings wallets to what was read last (`CustomerBalance`),
under the locks of the account's origins, and writes nothing where that is there already.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal

from django.db import connection, transaction

from integrations import services
from integrations.models import Origin

from . import imports, ledger
from .ledger import Overridden
from .models import Mirroring, Persona, Programme, Wallet
from .rules import Rules

WALLETS_A_CALL = 500

# A record that was merged away in the POS, or removed here, has nothing any more: its points are its survivor's.
_OF_RECORDS = """
SELECT r.id, c.id, CASE WHEN c.merged_into <> '' OR c.erased_at IS NOT NULL THEN 0 ELSE greatest(b.points, 0) END
FROM loyalty_persona r
JOIN loyalty_persona g ON g.id = r.id OR g.merged_into_id = r.id
JOIN loyalty_source s ON s.persona_id = g.id
JOIN integrations_customer c ON c.id = s.customer_id
JOIN loyalty_mirroring m ON m.origin_id = c.origin_id AND m.ended_at IS NULL
JOIN integrations_customerbalance b ON b.origin_id = c.origin_id AND b.external_id = c.external_id
WHERE r.account_id = %(account)s AND r.erased_at IS NULL AND r.merged_into_id IS NULL
  AND r.id IN (SELECT coalesce(x.merged_into_id, x.id) FROM loyalty_persona x WHERE x.id = ANY(%(ids)s))
"""
_BALANCES = f"""
{_OF_RECORDS} AND r.member_from IS NOT NULL
UNION ALL  -- a record that went to somebody who is no member: its points are nobody's until he joins
SELECT o.id, t.customer_id, 0 FROM loyalty_mirrorstate t
JOIN loyalty_persona h ON h.id = t.persona_id JOIN loyalty_persona o ON o.id = coalesce(h.merged_into_id, h.id)
JOIN integrations_customer c ON c.id = t.customer_id
JOIN loyalty_mirroring m ON m.origin_id = c.origin_id AND m.ended_at IS NULL
JOIN loyalty_source s ON s.customer_id = t.customer_id JOIN loyalty_persona p ON p.id = s.persona_id
JOIN loyalty_persona n ON n.id = coalesce(p.merged_into_id, p.id)
WHERE t.account_id = %(account)s AND t.posted <> 0 AND o.id <> n.id AND n.member_from IS NULL
  AND o.id IN (SELECT coalesce(x.merged_into_id, x.id) FROM loyalty_persona x WHERE x.id = ANY(%(ids)s))
ORDER BY 1, 2
"""
NOTHING = Overridden(0, Decimal(0), 0)


def settle(*, account_id: int, persona_ids: Sequence[int], now: datetime) -> Overridden:
    """Bring the wallets of these people to what the POS said of them last. Who is not mirrored is left alone."""
    if not persona_ids:
        return NOTHING
    with connection.cursor() as cursor:
        cursor.execute(_BALANCES, {"account": account_id, "ids": list(persona_ids)})
        found = cursor.fetchall()
    return ledger.mirror_wallets(account_id=account_id, balances=found, now=now) if found else NOTHING


def follow(*, account_id: int, persona_ids: Sequence[int], current: Rules, now: datetime) -> int:
    """Somebody became a member, or a record changed hands: what the POS said of it follows. Returns lines posted."""
    posted = settle(account_id=account_id, persona_ids=persona_ids, now=now).entries if current.mirrored else 0
    return posted + imports.pay_waiting(account_id=account_id, persona_ids=persona_ids, rules=current, now=now)


@dataclass(frozen=True, slots=True)
class Told:
    """What `follow` would post if these were members, by person: what waits, and what mirroring would change."""

    waiting: dict[int, Decimal]
    mirrored: dict[int, Decimal]

    def of(self, persona_id: int) -> Decimal:
        return self.waiting.get(persona_id, Decimal(0)) + self.mirrored.get(persona_id, Decimal(0))


def told_of(*, account_id: int, persona_ids: Sequence[int], current: Rules, now: datetime) -> Told:
    """Of roots who are about to join. Nothing is posted."""
    waiting: dict[int, Decimal] = defaultdict(Decimal)
    mirrored: dict[int, Decimal] = defaultdict(Decimal)
    theirs: set[int] = set()
    if current.mirrored:
        with connection.cursor() as cursor:
            cursor.execute(_OF_RECORDS, {"account": account_id, "ids": list(persona_ids)})
            for root, _, points in cursor.fetchall():
                mirrored[root] += points
            cursor.execute(
                """SELECT r.id FROM unnest(%s::bigint[]) r (id) WHERE loyalty_is_mirrored(
                       %s, ARRAY(SELECT id FROM loyalty_persona WHERE merged_into_id = r.id) || r.id)""",
                [list(persona_ids), account_id],
            )
            theirs = {row[0] for row in cursor.fetchall()}
        there = Wallet.unscoped.filter(account_id=account_id, persona_id__in=list(mirrored))
        for root, points in there.annotate(left=ledger.spendable(now)).values_list("persona_id", "left"):
            mirrored[root] -= points
    if current.imports:
        for one in imports.waiting(account_id=account_id, persona_ids=persona_ids):
            if not one.done and one.persona_id not in theirs:
                waiting[one.persona_id] += one.points
    return Told(waiting, mirrored)


def balances_landed(*, account_id: int, origin_id: int, balance_ids: Sequence[int], now: datetime) -> Overridden:
    """The POS's balances of these rows are new or have changed, in the page's transaction."""
    if not is_mirrored(origin_id=origin_id):
        if not services.effective(origin_id=origin_id).mirror:
            return NOTHING
        begin(account_id=account_id, origin_ids=[origin_id], now=now)  # a company that was connected later
    with connection.cursor() as cursor:
        cursor.execute(
            """SELECT DISTINCT s.persona_id FROM integrations_customerbalance b
               JOIN integrations_customer c ON c.origin_id = b.origin_id AND c.external_id = b.external_id
               JOIN loyalty_source s ON s.customer_id = c.id
               WHERE b.account_id = %s AND b.id = ANY(%s)""",
            [account_id, list(balance_ids)],
        )
        people = [row[0] for row in cursor.fetchall()]
    return settle(account_id=account_id, persona_ids=people, now=now)


def customers_landed(*, account_id: int, customer_ids: Sequence[int], now: datetime) -> None:
    """Records came, or were merged in the POS: whose they are shows what the POS said of them, if it is mirrored."""
    if not Mirroring.unscoped.filter(account_id=account_id, ended_at=None).exists():
        return
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT DISTINCT persona_id FROM loyalty_source WHERE customer_id = ANY(%s)", [list(customer_ids)]
        )
        people = [row[0] for row in cursor.fetchall()]
    settle(account_id=account_id, persona_ids=people, now=now)


# On and off


def is_mirrored(*, origin_id: int) -> bool:
    return Mirroring.unscoped.filter(origin=origin_id, ended_at=None).exists()


def begin(*, account_id: int, origin_ids: Sequence[int], now: datetime) -> None:
    """From now on these origins' balances are the POS's. Their wallets follow as they are read, or are already."""
    for origin_id in origin_ids:
        Mirroring.unscoped.get_or_create(account_id=account_id, origin_id=origin_id, defaults={"since": now})
        Mirroring.unscoped.filter(origin=origin_id).exclude(ended_at=None).update(since=now, ended_at=None)


def end(*, account_id: int, now: datetime, platform: str = "", origin_ids: Sequence[int] = ()) -> list[int]:
    """Mirroring ends for every origin of a platform, read by a live credential or not, or for these origins only.

    Balances stay as they are. Points are earned for what is sold from this moment on; what was sold before is in the
    balance. Returns the origins whose mirroring this ended or, by platform, all of them.
    """
    with transaction.atomic():
        services.lock_origins(account_id=account_id)
        found = Origin.unscoped.filter(account_id=account_id)
        found = found.filter(platform=platform) if platform else found.filter(pk__in=list(origin_ids))
        origins = list(found.order_by("pk").values_list("pk", flat=True))
        live = Mirroring.unscoped.filter(origin__in=origins, ended_at=None)
        ended = list(live.order_by("origin").values_list("origin", flat=True))
        live.update(ended_at=now)
    return origins if platform else ended


def people_of(*, account_id: int, origin_ids: Sequence[int], after: int, limit: int) -> list[int]:
    """Roots with a record in these origins, in the order of their ids."""
    with connection.cursor() as cursor:
        cursor.execute(
            """SELECT DISTINCT coalesce(p.merged_into_id, p.id) AS root FROM integrations_customer c
               JOIN loyalty_source s ON s.customer_id = c.id JOIN loyalty_persona p ON p.id = s.persona_id
               WHERE c.account_id = %s AND c.origin_id = ANY(%s) AND coalesce(p.merged_into_id, p.id) > %s
               ORDER BY 1 LIMIT %s""",
            [account_id, list(origin_ids), after, limit],
        )
        return [row[0] for row in cursor.fetchall()]


# What others ask


def refusal(*, account_id: int) -> str:
    """Why FIFO cannot be chosen now, or "": the cards whose balances are mirrored are named."""
    cards = services.mirroring(account_id=account_id)
    live = Mirroring.unscoped.filter(account_id=account_id, ended_at=None).exists()
    if not cards and not live:
        return ""
    pos = " and ".join(card.title for card in cards) or "the POS"
    return (
        f"Balances are mirrored from {pos}, which does not go with FIFO: turn off “Mirror integration loyalty point "
        "values?” on its card first."
    )


def holds(*, persona: Persona) -> bool:
    """Whether this person's points are the POS's: the pages say so and offer no adjustment."""
    with connection.cursor() as cursor:
        cursor.execute(
            """SELECT loyalty_is_mirrored(%s, ARRAY(SELECT id FROM loyalty_persona
                                                    WHERE id = %s OR merged_into_id = %s))""",
            [persona.account_id, persona.pk, persona.pk],
        )
        return cursor.fetchone()[0]


OWN_POINTS_COUNT = timedelta(days=3)


def own_programmes(*, account_id: int, now: datetime) -> list[tuple[int, datetime, str]]:
    """Origins whose POS gives points of its own beside ours, unmirrored: (origin, last seen, sentence for an alert).

    Told by the details of sales, so only of those that were fetched: an empty answer is no proof.
    """
    if not Programme.unscoped.filter(account_id=account_id, enabled=True).exists():
        return []
    live = Mirroring.unscoped.filter(account_id=account_id, ended_at=None).values("origin")
    found = Origin.unscoped.filter(account_id=account_id, own_points_at__gt=now - OWN_POINTS_COUNT).exclude(pk__in=live)
    return [
        (
            origin.pk,
            origin.own_points_at,
            f"{services.card(origin.platform).title} still gives points of its own: shoppers earn twice, and its till "
            "may not take our rewards. Switch its programme off there, or mirror its points.",
        )
        for origin in found.order_by("pk")
    ]
