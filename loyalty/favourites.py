"""Favourite stores: the choice by hand wins; else the mapped store with most purchases, ties to the latest.

The choice is `Persona.favourite_store`; what the sales say is kept beside it as `usual_store`, brought up to date where
sales land or change hands, and for everybody after locations were mapped anew.
"""

from collections.abc import Collection, Sequence
from datetime import datetime
from uuid import uuid4

from django.db import connection

from aiqsync.accounts.models import User

from . import jobs
from .jobs import Enqueue, Work
from .models import Job

PERSONAS = 1000  # a step
KIND = "favourites"

# A state names the root of a group, so a root has the sales of all its rows and the others have none.
_BY_SALES = """
    SELECT m.store_id FROM loyalty_salestate st
    JOIN integrations_sale s ON s.id = st.sale_id AND s.kind = 'sale'
    JOIN stores_storemapping m ON m.location_id = s.location_id AND m.store_id IS NOT NULL
    WHERE st.persona_id = a.id
    GROUP BY m.store_id ORDER BY count(*) DESC, max(s.sold_at) DESC, m.store_id LIMIT 1
"""
_FOLLOW = f"""
UPDATE loyalty_persona p SET usual_store_id = f.store_id FROM (
    SELECT a.id, v.store_id FROM unnest(%(ids)s::bigint[]) a (id) LEFT JOIN LATERAL ({_BY_SALES}) v ON true
    ORDER BY a.id
) f
WHERE p.id = f.id AND p.account_id = %(account)s AND p.erased_at IS NULL
  AND p.usual_store_id IS DISTINCT FROM f.store_id
"""


def follow(*, account_id: int, persona_ids: Collection[int]) -> int:
    """Bring these personas' usual stores in line with their sales, in one statement. Returns how many changed."""
    if not persona_ids:
        return 0
    with connection.cursor() as cursor:
        cursor.execute(_FOLLOW, {"account": account_id, "ids": sorted(persona_ids)})
        return cursor.rowcount


def owners(*, account_id: int, sale_ids: Sequence[int]) -> set[int]:
    """Whose these sales are at the moment."""
    with connection.cursor() as cursor:
        cursor.execute(
            """SELECT DISTINCT persona_id FROM loyalty_salestate
               WHERE account_id = %s AND sale_id = ANY(%s) AND persona_id IS NOT NULL""",
            [account_id, list(sale_ids)],
        )
        return {row[0] for row in cursor.fetchall()}


def mapping_changed(*, account_id: int, user: User | None, now: datetime, enqueue: Enqueue | None = None) -> None:
    """Locations were mapped anew: everybody's usual store follows in the background. In the mapping's transaction.

    A walk that is under way has passed some people already: it is told to begin again.
    """
    args = {"again": uuid4().hex}
    # The update waits for a walk's last step, and that step for us: it ends before, or sees what we say.
    under_way = Job.unscoped.filter(account_id=account_id, kind=KIND, state__in=jobs.LIVE)
    if not under_way.update(args=args):
        job = jobs.start(account_id=account_id, kind=KIND, args=args, user=user, now=now, enqueue=enqueue)
        if job.args != args:  # begun by another mapping this very moment
            under_way.update(args=args)


@jobs.handler(KIND)
def _walk(work: Work) -> None:
    again = Job.unscoped.values_list("args__again", flat=True).get(pk=work.job_id)
    if work.cursor.get("again") != again:
        work.cursor = {"after": 0, "again": again}
    with connection.cursor() as cursor:
        cursor.execute(
            """SELECT p.id FROM loyalty_persona p WHERE p.account_id = %s AND p.id > %s
                   AND (p.usual_store_id IS NOT NULL
                   OR EXISTS (SELECT FROM loyalty_salestate st WHERE st.persona_id = p.id))
               ORDER BY p.id LIMIT %s""",
            [work.account_id, work.cursor["after"], PERSONAS],
        )
        ids = [row[0] for row in cursor.fetchall()]
    changed = follow(account_id=work.account_id, persona_ids=ids)
    work.done += len(ids)
    work.result = {"changed": work.result.get("changed", 0) + changed}
    work.cursor |= {"after": ids[-1] if ids else work.cursor["after"]}
    if len(ids) < PERSONAS:
        work.finished = bool(Job.unscoped.filter(pk=work.job_id, args__again=again).update(done=work.done))


# What a mapping would touch


def touched(*, account_id: int, location_ids: Collection[int]) -> dict[int, tuple[int, int]]:
    """Location to how many sales and how many shoppers it has: whose attribution moves with its mapping."""
    with connection.cursor() as cursor:
        cursor.execute(
            """SELECT s.location_id, count(*), count(DISTINCT st.persona_id) FROM integrations_sale s
               LEFT JOIN loyalty_salestate st ON st.sale_id = s.id
               WHERE s.account_id = %s AND s.location_id = ANY(%s) GROUP BY 1""",
            [account_id, list(location_ids)],
        )
        return {place: (sales, people) for place, sales, people in cursor.fetchall()}
