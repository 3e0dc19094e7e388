"""What sales are worth now beside what was posted for them, and what a membership would credit. Reads only."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime
from decimal import Decimal
from typing import Any

from . import earning, facts
from .models import SaleState

MOST = 1000  # sales of one persona that are counted before he is enrolled; more are said to be more


@dataclass(frozen=True, slots=True)
class Worth:
    """One sale: `points` by today's rules, `posted` what the ledger has for it."""

    sale_id: int
    persona_id: int | None
    sold_at: datetime
    points: Decimal
    base_cents: int
    posted: Decimal
    why: dict[str, Any]
    expires_at: datetime | None = None

    @property
    def differs(self) -> bool:
        return self.points != self.posted

    @property
    def sentence(self) -> str:
        return earning.sentence(self.why)


@dataclass(frozen=True, slots=True)
class Waiting:
    """Purchases that earn nothing as long as their owner is no member. `since`: the day of the first of them.

    `over`: how many of the points are past their own day already; they would come and go at once.
    """

    count: int = 0
    points: Decimal = Decimal(0)
    since: date | None = None
    more: bool = False
    over: Decimal = Decimal(0)
    worths: list[Worth] = field(default_factory=list)


def kept_on_refund(*, account_id: int, sale_ids: Sequence[int]) -> dict[int, Decimal]:
    """What stays posted for these sales only because the programme keeps the points of what was refunded, by sale."""
    rules = earning.rules_of(account_id)
    if rules is None or not sale_ids:
        return {}
    asked, strict = set(sale_ids), replace(rules, refunds="reverse")
    return {
        sale.sale_id: max(sale.posted - goal.target, Decimal(0))
        for sale, goal, _ in earning.targets(account_id=account_id, sale_ids=sale_ids, rules=strict)
        if sale.sale_id in asked
    }


def of_sales(*, account_id: int, sale_ids: Sequence[int], member_from: date | None = None) -> list[Worth]:
    """In the order of the ids. With `member_from` as if their owner were a member from that day. Two statements."""
    rules = earning.rules_of(account_id)
    if rules is None or not sale_ids:
        return []
    read = facts.read(account_id, sale_ids, rules)
    if member_from is not None:
        read = [replace(sale, member_from=member_from) for sale in read]
    asked = set(sale_ids)
    found = [
        Worth(
            sale.sale_id,
            sale.persona_id,
            sale.sold_at,
            goal.target,
            goal.base_cents,
            sale.posted,
            goal.explanation,
            goal.expires_at,
        )  # fmt: skip
        for sale, goal, _ in earning.judge(read, rules)
        if sale.sale_id in asked
    ]
    return found


def waiting(*, account_id: int, persona_id: int, now: datetime, from_date: date | None = None) -> Waiting:
    """What enrolling from that day would credit at once; without a day, what every purchase there is would.

    The newest `MOST` are counted. Enrolling itself counts them all.
    """
    ids = list(
        SaleState.objects.filter(account_id=account_id, persona_id=persona_id, sale__kind="sale")
        .order_by("-sale__sold_at")
        .values_list("sale_id", flat=True)[: MOST + 1]
    )
    worths = of_sales(account_id=account_id, sale_ids=ids[:MOST], member_from=from_date or date.min)
    rules = earning.rules_of(account_id)
    gains = [one for one in worths if one.points > one.posted]
    if rules is None or not gains:
        return Waiting(more=len(ids) > MOST)
    first = min(one.sold_at for one in gains)
    return Waiting(
        count=len(gains),
        points=sum((one.points - one.posted for one in gains), Decimal(0)),
        since=first.astimezone(rules.zone).date(),
        more=len(ids) > MOST,
        over=sum((one.points - one.posted for one in gains if one.expires_at and one.expires_at <= now), Decimal(0)),
        worths=gains,
    )
