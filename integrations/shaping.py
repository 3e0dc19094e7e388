"""Which customers come in, and which edits: the market of a credential and “Sync Personas”, for a batch at a time.

Pulled, pushed and uploaded rows are shaped alike, just before they are landed (docs/decisions/settings.md):

- Market alone: a new customer of another state stays outside, as a row without personal data; one without a state comes
  in. Who is here stays, and edits flow on.
- “Sync to relevant market”: only those known to live there. Others who are here already stay, without further edits.
- “Sync Personas” off: who is here keeps the profile he has. On: edits the POS dates before that moment stay out too.

Everything that is not profile (merged, blocked, do not contact, pricing group, papers) flows always.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db.models import Q
from django.db.models.functions import Now

from .chosen import Effective, effective
from .digests import contact_digest
from .kit.records import CustomerRecord
from .kit.regions import WRITINGS, region_of
from .models import Origin, OutsideMarket, RunStatus, StreamState, SyncRun
from .suppression import PSEUDONYM

PROFILE = (
    "first_name", "last_name", "phone", "phone_raw", "email", "email_raw", "birth_date", "street", "city", "state",
    "postal_code", "country",
)  # fmt: skip
_KNOWN = f"""
SELECT k.id, c.id IS NOT NULL, o.id IS NOT NULL, o.state, o.phone_digest, o.email_digest,
       {", ".join(f"c.{name}" for name in PROFILE)}
FROM unnest(%(ids)s::text[]) k (id)
LEFT JOIN integrations_customer c ON c.origin_id = %(origin)s AND c.external_id = k.id
LEFT JOIN integrations_outsidemarket o ON o.origin_id = %(origin)s AND o.external_id = k.id
WHERE c.id IS NOT NULL OR o.id IS NOT NULL
"""
_OUTSIDE = """
WITH came AS (DELETE FROM integrations_outsidemarket WHERE origin_id = %(origin)s AND external_id = ANY(%(came)s))
INSERT INTO integrations_outsidemarket AS t
    (account_id, origin_id, external_id, state, phone_digest, email_digest, seen_at)
SELECT %(account)s, %(origin)s, k.*, now()
FROM unnest(%(ids)s::text[], %(states)s::text[], %(phones)s::text[], %(emails)s::text[]) k
ORDER BY 3
ON CONFLICT (origin_id, external_id) DO UPDATE
SET state = excluded.state, phone_digest = excluded.phone_digest, email_digest = excluded.email_digest, seen_at = now()
WHERE (t.state, t.phone_digest, t.email_digest)
      IS DISTINCT FROM (excluded.state, excluded.phone_digest, excluded.email_digest)
"""


@dataclass(frozen=True)
class _Row:
    """What is here of a customer: in the table (`profile`), or outside (`told`: state and digests)."""

    profile: tuple | None
    told: tuple[str, str, str] | None


def customers(
    cursor: Any, *, account_id: int, origin_id: int, records: Sequence[CustomerRecord]
) -> tuple[list[CustomerRecord], int]:
    """(the records to land, how many stay outside). One statement where nothing is chosen, else two; a third only
    when somebody went outside or came in.
    """
    rules = effective(origin_id=origin_id)
    since = _since(rules)
    undated = rules.sync_personas and not any(since and r.modified_at and r.modified_at < since for r in records)
    if not rules.markets and undated:
        return list(records), 0
    here = _known(cursor, origin_id, records)
    landed: list[CustomerRecord] = []
    outside: dict[str, tuple[str, str, str]] = {}
    for record in records:
        row = here.get(record.external_id)
        known = row is not None and row.profile is not None
        if record.external_id.startswith(PSEUDONYM):
            landed.append(record)
        elif not known:
            if _belongs(rules, record):
                landed.append(record)
            else:
                outside[record.external_id] = (
                    record.state[:20],
                    contact_digest(record.phone, kind="phone", account_id=account_id),
                    contact_digest(record.email, kind="email", account_id=account_id),
                )
        elif _edits_flow(rules, record):
            landed.append(record)
        else:
            assert row is not None and row.profile is not None
            landed.append(record._replace(**dict(zip(PROFILE, row.profile, strict=True))))
    came = [r.external_id for r in landed if (row := here.get(r.external_id)) and row.told]
    news = {one: told for one, told in outside.items() if not (row := here.get(one)) or row.told != told}
    if came or news:
        states, phones, emails = ([told[n] for told in news.values()] for n in range(3))
        cursor.execute(
            _OUTSIDE,
            {"account": account_id, "origin": origin_id, "came": came, "ids": list(news), "states": states,
             "phones": phones, "emails": emails},
        )  # fmt: skip
    return landed, len(outside)


def _known(cursor: Any, origin_id: int, records: Sequence[CustomerRecord]) -> dict[str, _Row]:
    cursor.execute(_KNOWN, {"ids": [r.external_id for r in records], "origin": origin_id})
    return {
        row[0]: _Row(tuple(row[6:]) if row[1] else None, tuple(row[3:6]) if row[2] else None)
        for row in cursor.fetchall()
    }


def _belongs(rules: Effective, record: CustomerRecord) -> bool:
    """Whether a customer who is not here yet comes in."""
    if not rules.markets:
        return True
    region = region_of(record.state, record.country)
    return region in rules.markets if region else not rules.sync_to_market


def _since(rules: Effective) -> datetime | None:
    """From when edits count; to the second, as some POS date them."""
    return rules.sync_personas_since and rules.sync_personas_since.replace(microsecond=0)


def _edits_flow(rules: Effective, record: CustomerRecord) -> bool:
    if not rules.sync_personas:
        return False
    since = _since(rules)
    if since and record.modified_at and record.modified_at < since:
        return False
    return not (rules.markets and rules.sync_to_market) or region_of(record.state, record.country) in rules.markets


# When the choice changes


def stop_reading(*, origin_ids: Sequence[int], stream: str, why: str) -> None:
    """End the runs of a stream of these origins, in the caller's transaction, which may then set its cursor.

    The origins' locks first: a page that is just being landed must not put its cursor back, nor wait for ours.
    """
    list(Origin.unscoped.select_for_update(no_key=True).filter(pk__in=list(origin_ids)).order_by("pk"))
    SyncRun.unscoped.filter(
        stream__credential__origin__in=list(origin_ids), stream__stream=stream,
        status__in=[RunStatus.QUEUED, RunStatus.RUNNING],
    ).update(status=RunStatus.STOPPED, finished_at=Now(), lease_until=None, message=why)  # fmt: skip


def read_again(*, origin_ids: Sequence[int], now: datetime) -> int:
    """Read all customers again from the beginning, where somebody stayed outside. How many origins."""
    outside = OutsideMarket.unscoped.filter(origin__in=list(origin_ids))
    again = list(outside.order_by().values_list("origin", flat=True).distinct())
    if again:
        stop_reading(
            origin_ids=again, stream="customers",
            why="The market was changed: the customers are read again from the beginning.",
        )  # fmt: skip
        StreamState.unscoped.filter(credential__origin__in=again, stream="customers").update(cursor={}, next_due=now)
    return len(again)


def forget_outside(*, origin_ids: Sequence[int]) -> None:
    """No market is chosen any more: nobody is outside. The customers are being read again."""
    OutsideMarket.unscoped.filter(origin__in=list(origin_ids)).delete()


@dataclass(frozen=True)
class Counts:
    """Of an origin: who stayed outside, with and without a state; who came in without one."""

    outside: int = 0
    stateless_outside: int = 0
    stateless: int = 0


_COUNTS = """
SELECT o.id, coalesce(m.outside, 0), coalesce(m.stateless, 0), coalesce(c.stateless, 0)
FROM unnest(%(origins)s::bigint[]) AS o (id)
LEFT JOIN (SELECT origin_id, count(*) AS outside,
                  count(*) FILTER (WHERE NOT lower(replace(state, '.', '')) = ANY(%(known)s)) AS stateless
           FROM integrations_outsidemarket WHERE origin_id = ANY(%(origins)s) GROUP BY 1) m ON m.origin_id = o.id
LEFT JOIN (SELECT origin_id, count(*) AS stateless FROM integrations_customer
           WHERE origin_id = ANY(%(origins)s) AND erased_at IS NULL
             AND NOT lower(replace(state, '.', '')) = ANY(%(known)s) AND country IN ('', 'CA', 'US')
           GROUP BY 1) c ON c.origin_id = o.id
"""


def counts(cursor: Any, *, origin_ids: Sequence[int]) -> dict[int, Counts]:
    """Of each origin, in one statement."""
    cursor.execute(_COUNTS, {"origins": list(origin_ids), "known": list(WRITINGS)})
    return {origin: Counts(*figures) for origin, *figures in cursor.fetchall()}


def outside_market(*, account_id: int, phone: str = "", email: str = "") -> OutsideMarket | None:
    """A customer of this phone (E.164) or e-mail who stayed outside a market."""
    asked = Q()
    if phone:
        asked |= Q(phone_digest=contact_digest(phone, kind="phone", account_id=account_id))
    if email:
        asked |= Q(email_digest=contact_digest(email, kind="email", account_id=account_id))
    if not asked:
        return None
    found = OutsideMarket.unscoped.filter(asked, account_id=account_id)
    return found.select_related("origin").order_by("-seen_at").first()
