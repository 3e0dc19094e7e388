"""The POS's balances taken over once: a shopper's points from the POS's own programme become points here.

What was read is kept as it stood when it was taken over (`WaitingBalance`), until it is posted: what the POS says later
is nobody's business. Who is a member gets his at once; who is not finds his when he becomes one. Each POS customer
brings his balance once, for ever (`import:<origin>:<customer>`); a customer who appears after the import brings none.
Below zero is nothing. Whose source was erased and is connected again has a new record, and brings no second balance.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from django.db import connection

from . import expiry, ledger
from .models import PointsImport, WaitingBalance
from .rules import Rules

_RECORDS = """
SELECT r.id, r.contact_id::text, r.member_from IS NOT NULL, c.id, c.origin_id, b.points,
       EXISTS (SELECT FROM loyalty_entry e WHERE e.account_id = c.account_id
               AND e.key = 'import:' || c.origin_id || ':' || c.id)
       OR EXISTS (SELECT FROM loyalty_persona x JOIN loyalty_entry e ON e.persona_id = x.id AND e.kind = 'import'
                       AND e.key LIKE 'import:' || c.origin_id || ':%%'
                  JOIN integrations_customer was ON was.origin_id = c.origin_id AND was.erased_at IS NOT NULL
                       AND was.id = substring(e.key from '^import:[0-9]+:([0-9]{{1,18}})$')::bigint
                  WHERE x.id = r.id OR x.merged_into_id = r.id) AS done
FROM loyalty_persona r
JOIN loyalty_persona g ON g.id = r.id OR g.merged_into_id = r.id
JOIN loyalty_source s ON s.persona_id = g.id
JOIN integrations_customer c ON c.id = s.customer_id AND c.erased_at IS NULL
JOIN {balance}
WHERE r.account_id = %(account)s AND r.erased_at IS NULL AND r.merged_into_id IS NULL
  AND r.id IN (SELECT coalesce(x.merged_into_id, x.id) FROM loyalty_persona x WHERE x.id = ANY(%(ids)s))
  AND (%(origins)s::bigint[] IS NULL OR c.origin_id = ANY(%(origins)s))
ORDER BY r.id, c.id
"""
# A record that the POS has merged away has nothing any more. What was taken over before that is in no other's balance.
_READ = """integrations_customerbalance b
    ON b.origin_id = c.origin_id AND b.external_id = c.external_id AND c.merged_into = ''"""
_TAKEN = "loyalty_waitingbalance b ON b.customer_id = c.id"


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


def records(*, account_id: int, persona_ids: Sequence[int], origin_ids: Sequence[int] | None = None) -> list[Record]:
    """Of these people, the records with a balance as it was read last, by person."""
    return _records(_READ, account_id, persona_ids, origin_ids)


def waiting(*, account_id: int, persona_ids: Sequence[int]) -> list[Record]:
    """Of these people, the records whose balance was taken over and is not posted yet, by person."""
    return _records(_TAKEN, account_id, persona_ids)


def _records(
    balance: str, account_id: int, persona_ids: Sequence[int], origin_ids: Sequence[int] | None = None
) -> list[Record]:
    with connection.cursor() as cursor:
        cursor.execute(
            _RECORDS.format(balance=balance),
            {
                "account": account_id, "ids": list(persona_ids),
                "origins": None if origin_ids is None else list(origin_ids),
            },
        )  # fmt: skip
        return [Record(*row) for row in cursor.fetchall()]


def take(*, account_id: int, origin_ids: Sequence[int], now: datetime) -> None:
    """What was read up to this moment is taken over; `pay` posts it, to whom it is owed.

    What still waits of an earlier import is replaced: the balance of today has it in it.
    """
    for origin_id in origin_ids:
        PointsImport.unscoped.update_or_create(account_id=account_id, origin_id=origin_id, defaults={"taken_at": now})
    with connection.cursor() as cursor:
        asked = {"account": account_id, "origins": list(origin_ids)}
        cursor.execute(
            "DELETE FROM loyalty_waitingbalance WHERE account_id = %(account)s AND origin_id = ANY(%(origins)s)", asked
        )
        cursor.execute(
            """INSERT INTO loyalty_waitingbalance (account_id, origin_id, customer_id, points)
               SELECT c.account_id, c.origin_id, c.id, b.points FROM integrations_customerbalance b
               JOIN integrations_customer c ON c.origin_id = b.origin_id AND c.external_id = b.external_id
               WHERE b.account_id = %(account)s AND b.origin_id = ANY(%(origins)s) AND b.points > 0
                 AND c.merged_into = '' AND c.erased_at IS NULL
                 AND NOT EXISTS (SELECT FROM loyalty_entry e WHERE e.account_id = c.account_id
                                 AND e.key = 'import:' || c.origin_id || ':' || c.id)
               ORDER BY c.id""",
            asked,
        )


@dataclass(slots=True)
class Paid:
    shoppers: int = 0
    entries: int = 0
    points: Decimal = Decimal(0)


def pay(*, account_id: int, persona_ids: Sequence[int], now: datetime) -> Paid:
    """Post what these members are owed of the balances that were taken over, in one call for all of them.

    A second time finds nothing to post. Whose wallet shows what another POS says waits until that has ended.
    """
    theirs = [one for one in waiting(account_id=account_id, persona_ids=persona_ids) if one.is_member]
    owed = [one for one in theirs if not one.done]
    ends = expiry.for_posting(account_id=account_id, kind="import", now=now) if owed else None
    came = ledger.import_balances(
        account_id=account_id, expires_at=ends, now=now,
        balances=[
            ledger.TakenOver(
                one.persona_id, one.points, f"import:{one.origin_id}:{one.customer_id}",
                {"why": "imported", "pos": str(one.points)},
            )
            for one in owed
        ],
    )  # fmt: skip
    posted = [one for one, outcome in zip(owed, came, strict=True) if outcome == "posted"]
    held = {one.customer_id for one, outcome in zip(owed, came, strict=True) if outcome == "mirror"}
    if over := [one.customer_id for one in theirs if one.customer_id not in held]:
        WaitingBalance.unscoped.filter(account_id=account_id, customer__in=over).delete()
    return Paid(len({one.persona_id for one in posted}), len(posted), sum((one.points for one in posted), Decimal(0)))


def pay_waiting(*, account_id: int, persona_ids: Sequence[int], rules: Rules, now: datetime) -> int:
    """The same for people who may have become members just now. Returns lines posted."""
    return pay(account_id=account_id, persona_ids=persona_ids, now=now).entries if rules.imports else 0
