"""What landed rows mean for loyalty: the sink's work, inside the page's transaction.

Wallets are locked last, in the ledger, in persona order (docs/decisions/locks.md).
"""

from collections.abc import Sequence
from datetime import datetime

from django.db import connection

from . import ask_after, bought, contact_import, earning, favourites, matching, reconcile
from .models import SourceHint


def customers_landed(*, account_id: int, customer_ids: Sequence[int], now: datetime) -> None:
    """New and changed customers get their personas; sales that waited for them are joined and settled."""
    matched = matching.match(account_id=account_id, customer_ids=customer_ids, now=now)
    if SourceHint.unscoped.filter(account_id=account_id).exists():
        contact_import.meet(account_id=account_id, customer_ids=customer_ids, now=now, inside_a_page=True)
    if matched.retyped and (rules := earning.rules_of(account_id)) and rules.earning_types != "all":
        earning.settle_personas(account_id=account_id, persona_ids=sorted(matched.retyped), now=now)
    with connection.cursor() as cursor:
        # Only sales without their owner: the others are settled already.
        cursor.execute(
            f"""SELECT s.id, NULL, NULL, NULL FROM integrations_customer c
                JOIN integrations_sale s ON s.origin_id = c.origin_id AND s.customer_id = c.external_id
                LEFT JOIN loyalty_salestate st ON st.sale_id = s.id
                WHERE c.account_id = %(account)s AND c.id = ANY(%(customers)s) AND s.customer_id <> ''
                  AND st.persona_id IS NULL
                UNION ALL {bought.ON}""",
            {"account": account_id, "customers": list(customer_ids)},
        )
        waiting, days = _told(cursor.fetchall())
    roots = {"persona_ids": sorted(matched.roots)}
    joined = bought.enrol(account_id, days.enrol, now=now, **roots)
    before = favourites.owners(account_id=account_id, sale_ids=waiting) if waiting else set()
    if waiting or joined.sale_ids:
        earning.settle_sales(account_id=account_id, sale_ids=[*waiting, *joined.sale_ids], now=now)
    bought.follow(account_id, joined, now=now)
    if waiting:
        _seen(account_id, waiting, before)
        reconcile.meet(account_id=account_id, sale_ids=waiting, now=now)
    if days.ask:
        ask_after.landed(account_id, days.ask, now=now, first=True, **roots)


def sales_landed(*, account_id: int, sale_ids: Sequence[int], now: datetime) -> None:
    """New and changed sales earn; a refund settles its original as well; open redemptions meet their sale."""
    with connection.cursor() as cursor:
        # A refund of a refund concerns the first sale too.
        cursor.execute(
            f"""WITH o AS (
                    SELECT o.id, o.origin_id, o.original_id FROM integrations_sale r
                    JOIN integrations_sale o ON o.origin_id = r.origin_id AND o.external_id = r.original_id
                    WHERE r.account_id = %(account)s AND r.id = ANY(%(sales)s) AND r.original_id <> '')
                SELECT id, NULL, NULL, NULL FROM o UNION
                SELECT first.id, NULL, NULL, NULL FROM o JOIN integrations_sale first
                ON first.origin_id = o.origin_id AND first.external_id = o.original_id WHERE o.original_id <> ''
                UNION ALL {bought.ON}""",
            {"account": account_id, "sales": list(sale_ids)},
        )
        originals, days = _told(cursor.fetchall())
    # Before anything is settled: the ledger is called once, for the page and for what its new members bought before.
    joined = bought.enrol(account_id, days.enrol, now=now, sale_ids=sale_ids) if sale_ids else bought.NOBODY
    before = favourites.owners(account_id=account_id, sale_ids=sale_ids)
    earning.settle_sales(account_id=account_id, sale_ids=[*sale_ids, *originals, *joined.sale_ids], now=now)
    bought.follow(account_id, joined, now=now)
    _seen(account_id, sale_ids, before)
    reconcile.meet(account_id=account_id, sale_ids=[*sale_ids, *originals], now=now)
    if days.ask and sale_ids:
        ask_after.landed(account_id, days.ask, now=now, sale_ids=sale_ids)


def _told(rows: Sequence[tuple[int, str | None, str | None, str | None]]) -> tuple[list[int], bought.Days]:
    """Ids of sales, and behind them the days that `bought.ON` found (those rows bear a time zone)."""
    return [row[0] for row in rows if row[3] is None], bought.days([row for row in rows if row[3] is not None])


def _seen(account_id: int, sale_ids: Sequence[int], before: set[int]) -> None:
    """Who bought was seen then, and may have another usual store now; so may who these sales were `before`."""
    with connection.cursor() as cursor:
        cursor.execute(
            """UPDATE loyalty_persona p SET last_seen_at = f.at FROM (
                   SELECT st.persona_id, max(s.sold_at) AS at FROM loyalty_salestate st
                   JOIN integrations_sale s ON s.id = st.sale_id
                   WHERE st.account_id = %s AND st.sale_id = ANY(%s) AND st.persona_id IS NOT NULL
                   GROUP BY st.persona_id ORDER BY st.persona_id
               ) f WHERE p.id = f.persona_id AND p.erased_at IS NULL
                   AND (p.last_seen_at IS NULL OR p.last_seen_at < f.at)""",
            [account_id, list(sale_ids)],
        )
    owners = favourites.owners(account_id=account_id, sale_ids=sale_ids)
    favourites.follow(account_id=account_id, persona_ids=before | owners)


def customers_with_open_redemptions(*, origin_id: int, customers: Sequence[str]) -> set[str]:
    """Which of these customers (external ids) have a redemption that their sales could still settle or undo.

    Their sales' details are wanted: the feed's row names no cart discount. The group counts, and so do redemptions
    released lately, since their sale may come late.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            """SELECT DISTINCT c.external_id FROM integrations_customer c
               JOIN loyalty_source src ON src.customer_id = c.id
               JOIN loyalty_persona p ON p.id = src.persona_id
               JOIN loyalty_persona g ON g.id = coalesce(p.merged_into_id, p.id) OR g.merged_into_id = p.merged_into_id
                                      OR g.merged_into_id = p.id
               JOIN loyalty_redemption r ON r.persona_id = g.id
               WHERE c.origin_id = %s AND c.external_id = ANY(%s)
                 AND (r.state = 'applied' OR r.state = 'released' AND r.ended_at > now() - interval '8 days')""",
            [origin_id, list(customers)],
        )
        return {row[0] for row in cursor.fetchall()}
