"""What comes of erasing a POS's data for loyalty: counted first, then done in the background, batch by batch.

Balances stay, or what was posted for the source's sales is taken back, down to 0. Members, and whoever has points, a
journal or another source, stay as they are known here. Who was known by this source alone and never took part is
emptied and archived. Sales stay as stubs with what was posted for them, at rest: nothing recomputes them
(docs/decisions/erasing-a-source.md).
"""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from django.db import connection

from aiqsync.accounts.models import User
from integrations import services

from . import earning, jobs, ledger, mirror
from .models import Job

KIND = "erase_origin"
BATCH = 200


@dataclass(frozen=True, slots=True)
class Figures:
    """What erasing would touch. `taken`: points that would be taken back, if that is chosen."""

    customers: int
    sales: int
    lines: int
    personas: int
    only_source: int
    members: int  # of those
    emptied: int  # of those
    posted: Decimal
    taken: Decimal


_ROOTS = """
SELECT DISTINCT coalesce(p.merged_into_id, p.id) AS root FROM integrations_customer c
JOIN loyalty_source s ON s.customer_id = c.id JOIN loyalty_persona p ON p.id = s.persona_id
WHERE c.origin_id = %(origin)s
"""
# By persona (its root): what was posted for this origin's sales, imported or mirrored from it, less what was taken back
# before. What had been posted when its balances were mirrored was overwritten then (docs/decisions/pos-points.md).
_POSTED = """
SELECT g.root, sum(x.points) AS points FROM (
    SELECT id, coalesce(merged_into_id, id) AS root FROM loyalty_persona
    WHERE account_id = %(account)s AND (%(roots)s::bigint[] IS NULL OR coalesce(merged_into_id, id) = ANY(%(roots)s))
) g LEFT JOIN (
    SELECT coalesce(h.merged_into_id, h.id) AS root, max(m.since) AS since,
           max(coalesce(m.ended_at, 'infinity')) AS until
    FROM loyalty_mirroring m JOIN integrations_customer c ON c.origin_id = m.origin_id
    JOIN loyalty_mirrorstate t ON t.customer_id = c.id JOIN loyalty_persona h ON h.id = t.persona_id
    WHERE m.origin_id = %(origin)s AND h.account_id = %(account)s
      AND (%(roots)s::bigint[] IS NULL OR coalesce(h.merged_into_id, h.id) = ANY(%(roots)s)) GROUP BY 1
) m ON m.root = g.root JOIN LATERAL (
    SELECT st.posted AS points FROM loyalty_salestate st JOIN integrations_sale s ON s.id = st.sale_id
    WHERE st.persona_id = g.id AND st.posted <> 0 AND s.origin_id = %(origin)s
      AND (m.root IS NULL OR s.sold_at >= m.until)
    UNION ALL
    SELECT e.points FROM loyalty_entry e WHERE e.persona_id = g.id AND (m.root IS NULL OR e.at >= m.since) AND (
        e.kind = 'import' AND e.key LIKE 'import:' || %(origin)s::text || ':%%'
        OR e.kind = 'adjust' AND e.key LIKE 'erase:' || %(origin)s::text || ':%%')
    UNION ALL
    SELECT t.posted FROM loyalty_mirrorstate t JOIN integrations_customer c ON c.id = t.customer_id
    WHERE t.persona_id = g.id AND t.posted <> 0 AND c.origin_id = %(origin)s
      AND (c.erased_at IS NULL OR c.erased_at >= m.since)
) x ON true
GROUP BY g.root HAVING sum(x.points) > 0
"""
# A root whose whole group has nothing but sources of this origin.
_ALONE = """NOT EXISTS (SELECT FROM loyalty_persona g JOIN loyalty_source o ON o.persona_id = g.id
    JOIN integrations_customer oc ON oc.id = o.customer_id AND oc.origin_id <> %(origin)s
    WHERE g.id = r.root OR g.merged_into_id = r.root)"""
# Who never took part: no membership, no entry, nothing said about messages, no redemption.
_IDLE = """NOT EXISTS (SELECT FROM loyalty_persona g WHERE (g.id = r.root OR g.merged_into_id = r.root) AND (
    g.member_from IS NOT NULL OR EXISTS (SELECT FROM loyalty_entry e WHERE e.persona_id = g.id)
    OR EXISTS (SELECT FROM loyalty_enrolment n WHERE n.persona_id = g.id)
    OR EXISTS (SELECT FROM loyalty_consentline l WHERE l.persona_id = g.id)
    OR EXISTS (SELECT FROM loyalty_redemption d WHERE d.persona_id = g.id)))"""


def figures(*, account_id: int, origin_id: int, now: datetime) -> Figures:
    """The dry run; nothing is written."""
    held = services.origin_figures(origin_id=origin_id)
    asked = {"origin": origin_id, "account": account_id, "now": now, "roots": None}
    with connection.cursor() as cursor:
        cursor.execute(
            f"""WITH r AS ({_ROOTS}), a AS (SELECT root FROM r WHERE {_ALONE})
                SELECT (SELECT count(*) FROM r), (SELECT count(*) FROM a),
                       (SELECT count(*) FROM a JOIN loyalty_persona p ON p.id = a.root AND p.member_from IS NOT NULL),
                       (SELECT count(*) FROM a r WHERE {_IDLE})""",
            asked,
        )
        personas, only, members, emptied = cursor.fetchone()
        cursor.execute(
            f"""WITH x AS ({_POSTED})
                SELECT coalesce(sum(x.points), 0), coalesce(sum(least(x.points, coalesce(l.points, 0))), 0)
                FROM x LEFT JOIN (SELECT persona_id, sum(remaining) AS points FROM loyalty_lot
                                  WHERE account_id = %(account)s AND open
                                    AND (expires_at IS NULL OR expires_at > %(now)s) GROUP BY persona_id) l
                ON l.persona_id = x.root""",
            asked,
        )
        posted, taken = cursor.fetchone()
    return Figures(held.customers, held.sales, held.lines, personas, only, members, emptied, posted, taken)


def job_of(origin_id: int) -> Job | None:
    """The job that erases it, or did: the latest."""
    return Job.objects.filter(kind=KIND, args__origin=origin_id).order_by("-id").first()


def start(
    *, account_id: int, origin_id: int, take_back: bool, user: User | None, now: datetime,
    enqueue: jobs.Enqueue | None = None,
) -> Job:  # fmt: skip
    """Begin; asked again, the one there is. Raises `services.Refused` while another source is being erased."""
    job = jobs.start(
        account_id=account_id, kind=KIND, args={"origin": origin_id, "take_back": take_back}, user=user, now=now,
        enqueue=enqueue,
    )  # fmt: skip
    if job.args.get("origin") != origin_id:
        raise services.Refused("Another source is being erased at the moment. Wait until that is done.")
    return job


@jobs.handler(KIND)
def _erase(work: jobs.Work) -> None:
    """One step: mirroring, then points, then people, then sales, then the rest; each a batch with its cursor."""
    origin = int(work.args["origin"])
    if work.total is None:
        held = services.origin_figures(origin_id=origin)
        work.total = held.customers + held.sales + 1
        was_mirrored = mirror.end(account_id=work.account_id, origin_ids=[origin], now=work.now)
        work.cursor = {"part": "mirror", "after": 0} if was_mirrored else _after_mirror(work)
        return
    services.lock_origins(account_id=work.account_id)
    match work.cursor["part"]:
        case "mirror":
            _end_mirror(work, origin)
        case "points":
            _take_back(work, origin)
        case "people":
            ids = services.people_left(origin_id=origin, limit=BATCH)
            if ids:
                _forget(work, origin, ids)
                work.done += services.erase_people(origin_id=origin, customer_ids=ids, now=work.now)
                _add(work, "customers", len(ids))
            else:
                work.cursor = {"part": "sales"}
        case "sales":
            gone = services.erase_sales(origin_id=origin, limit=5 * BATCH, now=work.now)
            work.done += gone
            _add(work, "sales", gone)
            if not gone:
                _forget_told(work.account_id, origin)
                services.erase_rest(origin_id=origin, now=work.now)
                work.done += 1
                work.finished = True


def _add(work: jobs.Work, name: str, count: int) -> None:
    work.result[name] = work.result.get(name, 0) + count


def _after_mirror(work: jobs.Work) -> dict[str, Any]:
    return {"part": "points", "after": 0} if work.args.get("take_back") else {"part": "people"}


def _end_mirror(work: jobs.Work, origin: int) -> None:
    """Who was never read earns for what he bought meanwhile; a wallet that another source fills too shows that one."""
    ids = mirror.people_of(
        account_id=work.account_id, origin_ids=[origin], after=work.cursor["after"], limit=BATCH
    )  # fmt: skip
    earning.settle_personas(account_id=work.account_id, persona_ids=ids, now=work.now)
    mirror.settle(account_id=work.account_id, persona_ids=ids, now=work.now)
    work.cursor = {"part": "mirror", "after": ids[-1]} if ids else _after_mirror(work)


def _take_back(work: jobs.Work, origin: int) -> None:
    """From each what this source gave, down to 0: a key a persona and job, so that a step done twice takes once."""
    with connection.cursor() as cursor:
        cursor.execute(
            """SELECT id FROM loyalty_persona WHERE account_id = %s AND merged_into_id IS NULL AND id > %s
               ORDER BY id LIMIT %s""",
            [work.account_id, work.cursor["after"], BATCH],
        )
        roots = [row[0] for row in cursor.fetchall()]
        cursor.execute(
            f"SELECT root, points FROM ({_POSTED}) p ORDER BY root",
            {"origin": origin, "account": work.account_id, "roots": roots},
        )
        due = cursor.fetchall()
    for persona_id, given in due:
        points = min(given, ledger.spendable_points(work.account_id, persona_id, work.now))
        if points > 0:
            taken = _adjust(work, origin, persona_id, points)
            work.result["points"] = str(Decimal(work.result.get("points", "0")) + taken)
    work.cursor = {"part": "points", "after": roots[-1]} if roots else {"part": "people"}


def _adjust(work: jobs.Work, origin: int, persona_id: int, points: Decimal) -> Decimal:
    key = f"erase:{origin}:{work.job_id}:{persona_id}"
    try:
        posted = ledger.adjust(
            account_id=work.account_id, persona_id=persona_id, points=-points, key=key, now=work.now,
            user_id=work.user.pk if work.user else None, note="The data of its point of sale was erased.",
        )  # fmt: skip
    except ledger.NotEnoughPoints:
        # Redeemed at this very moment: what is not there is not taken. Or mirrored from another source: that is its.
        return Decimal(0)
    return -posted.points if posted.created else Decimal(0)


def _forget(work: jobs.Work, origin: int, customer_ids: list[int]) -> None:
    """Take the records off their personas; who was known by them alone and never took part is emptied."""
    asked: dict[str, Any] = {"ids": customer_ids, "origin": origin, "now": work.now, "account": work.account_id}
    with connection.cursor() as cursor:
        cursor.execute(
            """DELETE FROM loyalty_sourcehint h USING integrations_customer c, integrations_origin o
               WHERE c.id = ANY(%(ids)s) AND o.id = c.origin_id AND h.account_id = %(account)s
                 AND h.platform = o.platform AND h.external_id = c.external_id""",
            asked,
        )
        cursor.execute(
            """SELECT DISTINCT coalesce(p.merged_into_id, p.id) FROM loyalty_source s
               JOIN loyalty_persona p ON p.id = s.persona_id WHERE s.customer_id = ANY(%(ids)s)""",
            asked,
        )
        asked["roots"] = [row[0] for row in cursor.fetchall()]
        cursor.execute(
            """DELETE FROM loyalty_sourcemove m USING loyalty_source s
               WHERE s.id = m.source_id AND s.customer_id = ANY(%(ids)s)""",
            asked,
        )
        cursor.execute("DELETE FROM loyalty_source WHERE customer_id = ANY(%(ids)s)", asked)
        cursor.execute("DELETE FROM loyalty_waitingbalance WHERE customer_id = ANY(%(ids)s)", asked)
        cursor.execute(
            f"""SELECT g.id FROM unnest(%(roots)s::bigint[]) r (root)
                JOIN loyalty_persona g ON g.id = r.root OR g.merged_into_id = r.root
                WHERE {_IDLE} AND NOT EXISTS (SELECT FROM loyalty_source s JOIN loyalty_persona h ON h.id = s.persona_id
                                              WHERE h.id = r.root OR h.merged_into_id = r.root)
                ORDER BY g.id""",
            asked,
        )
        asked["rows"] = [row[0] for row in cursor.fetchall()]
        for statement in _EMPTIED:
            cursor.execute(statement, asked)
    _add(work, "emptied", len(asked["rows"]))


def _forget_told(account_id: int, origin: int) -> None:
    """Records in other POS that this source (a contact export) named. The ids it gave stay: tills hold them."""
    with connection.cursor() as cursor:
        cursor.execute(
            """DELETE FROM loyalty_sourcehint h USING loyalty_contactalias a
               WHERE a.account_id = %s AND a.origin_id = %s AND h.persona_id = a.persona_id""",
            [account_id, origin],
        )


_EMPTIED = (
    "DELETE FROM loyalty_sourcehint WHERE persona_id = ANY(%(rows)s)",
    "DELETE FROM loyalty_contactalias WHERE persona_id = ANY(%(rows)s)",
    "DELETE FROM loyalty_override WHERE persona_id = ANY(%(rows)s)",
    "DELETE FROM loyalty_attribute WHERE persona_id = ANY(%(rows)s)",
    "DELETE FROM loyalty_referral WHERE referrer_id = ANY(%(rows)s) OR referred_id = ANY(%(rows)s)",
    "DELETE FROM loyalty_identifier WHERE persona_id = ANY(%(rows)s)",
    "DELETE FROM loyalty_audiencemember WHERE persona_id = ANY(%(rows)s)",
    "DELETE FROM loyalty_pin WHERE persona_id = ANY(%(rows)s)",
    "DELETE FROM loyalty_message WHERE persona_id = ANY(%(rows)s)",
    "DELETE FROM loyalty_notthesame WHERE one_id = ANY(%(rows)s) OR other_id = ANY(%(rows)s)",
    "UPDATE loyalty_merge SET value = '' WHERE survivor_id = ANY(%(rows)s) OR loser_id = ANY(%(rows)s)",
    """UPDATE loyalty_persona SET first_name = '', last_name = '', phone = '', phone_raw = '', email = '',
           address = '', birth_date = NULL, customer_type = '', favourite_store_id = NULL, archived_at = %(now)s
       WHERE account_id = %(account)s AND id = ANY(%(rows)s)""",
)
