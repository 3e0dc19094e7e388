"""Who bought after the day on a card: found a slice at a time, and at landing, where they become members in the page.

The day is the account's, from 00:00, inclusive. A purchase counts for the cards that bring its origin. Left out is
whoever an automatic act must not touch: removed on request, archived, or on the employee blocklist.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, time
from typing import Any
from zoneinfo import ZoneInfo

from django.db import connection

from integrations.services import lock_origins

from . import earning, mirror, rules
from .models import Ground


@dataclass(frozen=True, slots=True)
class Day:
    """From which day on purchases of an origin count."""

    origin_id: int
    day: date
    zone: ZoneInfo

    @property
    def moment(self) -> datetime:
        return datetime.combine(self.day, time.min, self.zone)


@dataclass(frozen=True, slots=True)
class Buyer:
    """A root persona who bought since; `purchases` since, `day` the earliest that holds for him."""

    persona_id: int
    day: date
    purchases: int
    is_member: bool


@dataclass(frozen=True, slots=True)
class Days:
    """The days that hold for the origins of an account; both empty while no card has the settings on."""

    enrol: tuple[Day, ...] = ()
    ask: tuple[Day, ...] = ()


# Rows (origin, enrol after, ask after, zone) of the account's cards in use: none while the settings are off. Joined to
# another statement by UNION ALL, so that asking costs none of its own.
ON = """
SELECT c.origin_id, min(nullif(n.settings ->> 'enrol_after', '')), min(nullif(n.settings ->> 'sms_optin_after', '')),
       a.timezone
FROM integrations_credential c JOIN integrations_connection n ON n.id = c.connection_id
JOIN accounts_account a ON a.id = c.account_id
WHERE c.account_id = %(account)s AND c.state IN ('connected', 'paused') AND c.origin_id IS NOT NULL
  AND (n.settings ->> 'enrol_after' <> '' OR n.settings ->> 'sms_optin_after' <> '')
GROUP BY c.origin_id, a.timezone
"""


def days(rows: Sequence[tuple[int, str | None, str | None, str]]) -> Days:
    """What `ON` said."""
    enrol, ask = [], []
    for origin_id, enrol_after, ask_after, zone in rows:
        for said, into in ((enrol_after, enrol), (ask_after, ask)):
            if said:
                into.append(Day(origin_id, date.fromisoformat(said), ZoneInfo(zone)))
    return Days(tuple(enrol), tuple(ask))


def days_of(account_id: int) -> Days:
    with connection.cursor() as cursor:
        cursor.execute(ON, {"account": account_id})
        return days(cursor.fetchall())


# The purchases of a persona's group since the day: by its records, and by receipts attached to it.
_SINCE = """
JOIN LATERAL (
    SELECT min(d.day) AS day, count(*) AS purchases FROM (
        SELECT s.origin_id, s.sold_at FROM (
            SELECT p.id UNION ALL SELECT m.id FROM loyalty_persona m WHERE m.merged_into_id = p.id) g (id)
        JOIN loyalty_source src ON src.persona_id = g.id
        JOIN integrations_customer c ON c.id = src.customer_id
        JOIN integrations_sale s ON s.origin_id = c.origin_id AND s.customer_id = c.external_id
        WHERE s.customer_id <> '' AND s.kind = 'sale'
        UNION ALL
        SELECT s.origin_id, s.sold_at FROM (
            SELECT p.id UNION ALL SELECT m.id FROM loyalty_persona m WHERE m.merged_into_id = p.id) g (id)
        JOIN loyalty_attachment att ON att.persona_id = g.id
        JOIN integrations_sale s ON s.id = att.sale_id
        WHERE s.customer_id = '' AND s.kind = 'sale'
    ) s JOIN unnest(%(origins)s::bigint[], %(moments)s::timestamptz[], %(days)s::date[]) d (origin, moment, day)
        ON d.origin = s.origin_id AND s.sold_at >= d.moment
) b ON b.purchases > 0
"""
_OF_SALES = """
AND p.id IN (
    SELECT coalesce(g.merged_into_id, g.id) FROM integrations_sale s
    JOIN integrations_customer c ON c.origin_id = s.origin_id AND c.external_id = s.customer_id
    JOIN loyalty_source src ON src.customer_id = c.id JOIN loyalty_persona g ON g.id = src.persona_id
    WHERE s.id = ANY(%(sales)s) AND s.customer_id <> ''
    UNION
    SELECT coalesce(g.merged_into_id, g.id) FROM loyalty_attachment att JOIN loyalty_persona g ON g.id = att.persona_id
    JOIN integrations_sale s ON s.id = att.sale_id WHERE att.sale_id = ANY(%(sales)s) AND s.customer_id = '')
"""
_LISTED = """
EXISTS (SELECT FROM loyalty_blockedphone x WHERE x.account_id = p.account_id AND (x.phone = p.phone OR EXISTS (
    SELECT FROM loyalty_identifier i JOIN loyalty_persona g ON g.id = i.persona_id
    WHERE i.account_id = p.account_id AND i.kind = 'phone' AND i.value = x.phone
      AND (g.id = p.id OR g.merged_into_id = p.id))))
"""
# Not a member yet; or one only because he bought, from a later day than the one that holds now: he gets the difference.
_NOT_YET = """
(p.member_from IS NULL OR p.member_from > b.day AND NOT EXISTS (
    SELECT FROM loyalty_enrolment e JOIN loyalty_persona g ON g.id = e.persona_id
    WHERE (g.id = p.id OR g.merged_into_id = p.id) AND e.ground <> 'bought'))
"""
NOBODY_ELSE = "p.account_id = %(account)s AND p.merged_into_id IS NULL AND p.erased_at IS NULL"


def asked(
    account_id: int,
    since: Sequence[Day],
    *,
    after: int = 0,
    limit: int | None = None,
    persona_ids: Sequence[int] | None = None,
    sale_ids: Sequence[int] | None = None,
) -> tuple[str, dict[str, Any]]:
    """The condition on `p` and its parameters, for the statements here and those of `ask_after`."""
    where = f" AND p.id > %(after)s{_OF_SALES if sale_ids is not None else ''}"
    if persona_ids is not None:
        where += " AND p.id = ANY(%(personas)s)"
    return where, {
        "account": account_id,
        "origins": [one.origin_id for one in since],
        "moments": [one.moment for one in since],
        "days": [one.day for one in since],
        "after": after,
        "limit": limit,
        "sales": list(sale_ids or ()),
        "personas": list(persona_ids or ()),
    }


def since_join() -> str:
    return _SINCE


def not_listed() -> str:
    return f"p.archived_at IS NULL AND NOT {_LISTED}"


def to_enrol(account_id: int, since: Sequence[Day], **which: Any) -> list[Buyer]:
    """Those who are to become members, by id; `which` as in `asked`."""
    where, values = asked(account_id, since, **which)
    with connection.cursor() as cursor:
        cursor.execute(
            f"""SELECT p.id, b.day, b.purchases, p.member_from IS NOT NULL FROM loyalty_persona p {_SINCE}
                WHERE {NOBODY_ELSE} AND {not_listed()} AND {_NOT_YET} {where} ORDER BY p.id LIMIT %(limit)s""",
            values,
        )
        return [Buyer(*row) for row in cursor.fetchall()]


def how_many(account_id: int, since: Sequence[Day]) -> tuple[int, int]:
    """(To be enrolled, left out because they are archived or on the employee blocklist)."""
    where, values = asked(account_id, since)
    with connection.cursor() as cursor:
        cursor.execute(
            f"""SELECT count(*) FILTER (WHERE {not_listed()}), count(*) FILTER (WHERE NOT ({not_listed()}))
                FROM loyalty_persona p {_SINCE} WHERE {NOBODY_ELSE} AND {_NOT_YET} {where}""",
            values,
        )
        return cursor.fetchone()


# Within a page


@dataclass(frozen=True, slots=True)
class Joined:
    """Who became a member in a page, and all their sales: the page settles those with its own, then calls `follow`."""

    persona_ids: Sequence[int] = ()
    sale_ids: Sequence[int] = ()


NOBODY = Joined()


def enrol(account_id: int, since: Sequence[Day], *, now: datetime, **which: Any) -> Joined:
    """Make members of the buyers among those of a page, and say which of their sales are to be settled with it.

    Nothing is settled here: the page makes one call to the ledger, which locks in one order. Raises `LandAgain` when
    another page of the account is open: it may bring a sale that this enrolment would not see, nor it the enrolment.
    """
    if not since or not to_enrol(account_id, since, **which):
        return NOBODY
    lock_origins(account_id=account_id, inside_a_page=True)
    buyers = to_enrol(account_id, since, **which)  # who was enrolled or removed until we had the lock is none of ours
    with connection.cursor() as cursor:
        cursor.execute(
            """WITH fresh AS (
                   UPDATE loyalty_persona p SET member_from = f.day FROM (
                       SELECT * FROM unnest(%(ids)s::bigint[], %(days)s::date[]) f (id, day) ORDER BY id
                   ) f WHERE p.id = f.id RETURNING p.id, f.day)
               INSERT INTO loyalty_enrolment (account_id, persona_id, ground, from_date, note, at)
               SELECT %(account)s, id, %(ground)s, day, %(note)s, %(now)s FROM fresh ORDER BY id""",
            {
                "account": account_id,
                "ids": [one.persona_id for one in buyers],
                "days": [one.day for one in buyers],
                "ground": Ground.BOUGHT,
                "note": "",
                "now": now,
            },
        )
    ids = [one.persona_id for one in buyers]
    return Joined(ids, earning.sales_of(account_id, ids))


def follow(account_id: int, joined: Joined, *, now: datetime) -> None:
    """What a POS said of those who joined is theirs now: the balance that waited, or that is mirrored.

    After the page's sales were settled; no other page is open, so nobody waits for these wallets in a circle.
    """
    if joined.persona_ids and (current := rules.of(account_id)):
        mirror.follow(account_id=account_id, persona_ids=joined.persona_ids, current=current, now=now)
