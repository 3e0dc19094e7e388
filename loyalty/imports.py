"""The POS's balances taken over once: a shopper's points from the POS's own programme become points here.

Who is a member gets his at once; who is not finds his when he becomes one. Each POS customer brings his balance once,
for ever (`import:<origin>:<customer>`); a customer who appears after the import brings none. Below zero is nothing.
Whose source was erased and is connected again has a new record, and brings no second balance either.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from django.db import connection

from . import expiry, ledger
from .models import PointsImport
from .rules import Rules

# By record; `taken`: only what stood when it was taken over, which a later reading no longer tells.
_RECORDS = """
SELECT r.id, r.contact_id::text, r.member_from IS NOT NULL, c.id, c.origin_id, b.points,
       EXISTS (SELECT FROM loyalty_entry e WHERE e.account_id = c.account_id
               AND e.key = 'import:' || c.origin_id || ':' || c.id)
       OR EXISTS (SELECT FROM loyalty_persona x JOIN loyalty_entry e ON e.persona_id = x.id AND e.kind = 'import'
                       AND e.key LIKE 'import:' || c.origin_id || ':%%'
                  JOIN integrations_customer was ON was.origin_id = c.origin_id AND was.erased_at IS NOT NULL
                       AND was.id = substring(e.key from '^import:[0-9]+:([0-9]{1,18})$')::bigint
                  WHERE x.id = r.id OR x.merged_into_id = r.id) AS done
FROM loyalty_persona r
JOIN loyalty_persona g ON g.id = r.id OR g.merged_into_id = r.id
JOIN loyalty_source s ON s.persona_id = g.id
JOIN integrations_customer c ON c.id = s.customer_id AND c.merged_into = '' AND c.erased_at IS NULL
JOIN integrations_customerbalance b ON b.origin_id = c.origin_id AND b.external_id = c.external_id
LEFT JOIN loyalty_pointsimport i ON i.origin_id = c.origin_id
WHERE r.account_id = %(account)s AND r.erased_at IS NULL AND r.merged_into_id IS NULL
  AND r.id IN (SELECT coalesce(x.merged_into_id, x.id) FROM loyalty_persona x WHERE x.id = ANY(%(ids)s))
  AND (%(origins)s::bigint[] IS NULL OR c.origin_id = ANY(%(origins)s))
  AND (NOT %(taken)s OR b.changed_at <= i.taken_at)
ORDER BY r.id, c.id
"""


@dataclass(frozen=True, slots=True)
class Record:
    """What the POS said of one record: its person's root, and whether it was imported already."""

    persona_id: int
    contact_id: str
    is_member: bool
    customer_id: int
    origin_id: int
    points: Decimal
    done: bool


def records(
    *, account_id: int, persona_ids: Sequence[int], origin_ids: Sequence[int] | None = None, taken: bool = False
) -> list[Record]:
    """Of these people, the records with a balance, by person."""
    with connection.cursor() as cursor:
        cursor.execute(
            _RECORDS,
            {
                "account": account_id, "ids": list(persona_ids), "taken": taken,
                "origins": None if origin_ids is None else list(origin_ids),
            },
        )  # fmt: skip
        return [Record(*row) for row in cursor.fetchall()]


def take(*, account_id: int, origin_ids: Sequence[int], now: datetime) -> None:
    """What was read up to this moment is taken over; `pay_waiting` posts it, to whom it is owed."""
    for origin_id in origin_ids:
        PointsImport.unscoped.update_or_create(account_id=account_id, origin_id=origin_id, defaults={"taken_at": now})


@dataclass(slots=True)
class Paid:
    shoppers: int = 0
    entries: int = 0
    points: Decimal = Decimal(0)


def pay(*, account_id: int, persona_ids: Sequence[int], now: datetime) -> Paid:
    """Post what these members are owed of the balances that were taken over. A second time finds nothing to post."""
    owed = [
        one
        for one in records(account_id=account_id, persona_ids=persona_ids, taken=True)
        if one.is_member and not one.done and one.points > 0
    ]
    paid, people = Paid(), set()
    ends = expiry.for_posting(account_id=account_id, kind="import", now=now) if owed else None
    for one in owed:
        try:
            posted = ledger.adjust(
                account_id=account_id, persona_id=one.persona_id, points=one.points, kind="import", now=now,
                key=f"import:{one.origin_id}:{one.customer_id}", expires_at=ends,
                explanation={"why": "imported", "pos": str(one.points)},
            )  # fmt: skip
        except ledger.HeldByPos:
            continue  # another POS's balance is mirrored into this wallet: it waits until that has ended
        paid.entries += posted.created
        paid.points += posted.points if posted.created else Decimal(0)
        people.add(one.persona_id)
    paid.shoppers = len(people)
    return paid


def pay_waiting(*, account_id: int, persona_ids: Sequence[int], rules: Rules, now: datetime) -> int:
    """The same for people who may have become members just now. Returns lines posted."""
    return pay(account_id=account_id, persona_ids=persona_ids, now=now).entries if rules.imports else 0
