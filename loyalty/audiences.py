"""Groups of shoppers: filled by their rules, and by hand. A stay has a beginning and an end, so the past stays true.

Stays by rules are of roots. One by hand stays with the row it was made for, also when that is merged, so that a split
finds it; whoever asks who is in it asks for the group. Set-based; days are cut here, not in the database.
"""

from calendar import isleap
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from django.db import connection, transaction
from django.db.models import Q

from aiqsync.accounts.models import Account

from .models import Audience, Discount, Modifier, Persona, Programme

EVERY = timedelta(minutes=10)


class InUse(Exception):
    """The audience cannot go: the message names what uses it."""


# A root and its group: points of its wallet, orders of its sales' states (which name the root).
_FITS = """
SELECT p.id FROM loyalty_persona p
LEFT JOIN loyalty_wallet w ON w.persona_id = p.id
LEFT JOIN LATERAL (
    SELECT count(*) FILTER (WHERE s.kind = 'sale') AS orders, coalesce(sum(s.total_cents), 0) AS spent
    FROM loyalty_salestate st JOIN integrations_sale s ON s.id = st.sale_id WHERE st.persona_id = p.id
) b ON %(buys)s
WHERE p.account_id = %(account)s AND p.merged_into_id IS NULL AND p.archived_at IS NULL AND p.erased_at IS NULL
  AND NOT p.is_test
  AND (NOT %(members)s OR p.member_from IS NOT NULL)
  AND (%(points)s::numeric IS NULL OR coalesce(w.balance, 0) >= %(points)s)
  AND (%(spend)s::bigint IS NULL OR b.spent >= %(spend)s)
  AND (%(orders)s::bigint IS NULL OR b.orders >= %(orders)s)
  AND (%(seen)s::timestamptz IS NULL OR p.last_seen_at >= %(seen)s)
  AND (%(away)s::timestamptz IS NULL OR p.last_seen_at < %(away)s)
  AND (%(birthdays)s::text[] IS NULL OR to_char(p.birth_date, 'MM-DD') = ANY(%(birthdays)s))
  AND (%(type)s = '' OR coalesce(nullif(p.customer_type, ''), 'recreational') = %(type)s)
  AND (%(store)s::bigint IS NULL OR coalesce(p.favourite_store_id, p.usual_store_id) = %(store)s)
  AND (%(group)s = '' OR EXISTS (
        SELECT FROM loyalty_persona g JOIN loyalty_source src ON src.persona_id = g.id
        JOIN integrations_customer c ON c.id = src.customer_id
        LEFT JOIN integrations_pricinggroup pg ON pg.origin_id = c.origin_id AND pg.external_id = c.pricing_group
        WHERE (g.id = p.id OR g.merged_into_id = p.id)
          AND lower(%(group)s) IN (lower(c.pricing_group), lower(pg.name))))
  AND (NOT %(texts)s OR EXISTS (
        SELECT FROM loyalty_consentstate cs WHERE cs.account_id = p.account_id AND cs.channel = 'sms'
        AND cs.address = p.phone AND cs.state = 'in'))
"""


def _asked(audience: Audience, now: datetime) -> dict[str, Any]:
    zone = ZoneInfo(Account.objects.values_list("timezone", flat=True).get(pk=audience.account_id))
    today = now.astimezone(zone).date()
    birthdays = None
    if audience.birthday_within_days is not None:
        days = [today + timedelta(days=ahead) for ahead in range(min(audience.birthday_within_days, 365) + 1)]
        birthdays = sorted({day.strftime("%m-%d") for day in days})
        if any((day.month, day.day) == (2, 28) and not isleap(day.year) for day in days) and "02-29" not in birthdays:
            birthdays.append("02-29")  # in a year without it, it is kept the day before
    return {
        "account": audience.account_id,
        "members": audience.members_only,
        "points": audience.min_points,
        "spend": audience.min_spend_cents,
        "orders": audience.min_orders,
        "buys": audience.min_spend_cents is not None or audience.min_orders is not None,
        "seen": now - timedelta(days=audience.seen_within_days) if audience.seen_within_days is not None else None,
        "away": now - timedelta(days=audience.away_for_days) if audience.away_for_days is not None else None,
        "birthdays": birthdays,
        "type": audience.customer_type,
        "store": audience.store_id,
        "group": audience.pricing_group,
        "texts": audience.texts,
    }


# Persons, not rows: who was merged meanwhile is one.
_SIZE = """SELECT count(DISTINCT coalesce(p.merged_into_id, p.id)) FROM loyalty_audiencemember a
            JOIN loyalty_persona p ON p.id = a.persona_id
            WHERE a.account_id = %(account)s AND a.left_at IS NULL AND a.audience_id = %(audience)s"""


@dataclass(frozen=True, slots=True)
class Forecast:
    count: int
    sample: list[Persona]


def forecast(*, audience: Audience, now: datetime, sample: int = 10) -> Forecast:
    """How many fit now by the rules, saved or not, and some of them."""
    if not audience.by_rules:
        return Forecast(0, [])
    with connection.cursor() as cursor:
        cursor.execute(
            f"SELECT count(*), (array_agg(id ORDER BY id DESC))[1:{sample:d}] FROM ({_FITS}) f", _asked(audience, now)
        )
        count, ids = cursor.fetchone()
    people = Persona.unscoped.filter(account_id=audience.account_id).in_bulk(ids or [])
    return Forecast(count, [people[pk] for pk in ids or []])


def refresh(*, audience: Audience, now: datetime) -> tuple[int, int]:
    """Let in who fits and end the stay of who does not, those by hand aside. Returns how many came and went."""
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(
            "SELECT archived_at IS NULL FROM loyalty_audience WHERE id = %s AND account_id = %s FOR UPDATE",
            [audience.pk, audience.account_id],
        )
        [in_use] = cursor.fetchone() or (False,)  # as it is now that the row is held: it may have been put away
        asked = _asked(audience, now) | {"audience": audience.pk, "now": now}
        fits = _FITS if audience.by_rules and in_use else "SELECT NULL::bigint AS id WHERE false"
        cursor.execute(
            f"""UPDATE loyalty_audiencemember a SET left_at = greatest(%(now)s, a.joined_at)
                WHERE a.audience_id = %(audience)s AND a.left_at IS NULL
                  AND (NOT a.by_hand AND NOT EXISTS (SELECT FROM ({fits}) f WHERE f.id = a.persona_id)
                       OR EXISTS (SELECT FROM loyalty_persona g WHERE g.id = a.persona_id
                                  AND g.erased_at IS NOT NULL))""",
            asked,
        )
        went = cursor.rowcount
        cursor.execute(
            f"""INSERT INTO loyalty_audiencemember (account_id, audience_id, persona_id, by_hand, joined_at)
                SELECT %(account)s, %(audience)s, f.id, false, %(now)s FROM ({fits}) f
                WHERE NOT EXISTS (SELECT FROM loyalty_audiencemember a WHERE a.audience_id = %(audience)s
                                  AND a.persona_id = f.id AND a.left_at IS NULL)
                ON CONFLICT (audience_id, persona_id) WHERE left_at IS NULL DO NOTHING""",
            asked,
        )
        came = cursor.rowcount
        cursor.execute(
            f"UPDATE loyalty_audience SET refreshed_at = %(now)s, size = ({_SIZE}) WHERE id = %(audience)s", asked
        )
    return came, went


def count_members_due(*, now: datetime) -> int:
    """How many are members, counted for each account every ten minutes. Returns how many accounts were counted."""
    due = Q(members_at=None) | Q(members_at__lte=now - EVERY)
    done = 0
    for account_id in Programme.unscoped.filter(due).order_by("pk").values_list("account_id", flat=True):
        members = count_members(account_id=account_id)
        done += Programme.unscoped.filter(due, account_id=account_id).update(members=members, members_at=now)
    return done


def count_members(*, account_id: int) -> int:
    """How many people are members now: roots, without test shoppers and who was archived or removed."""
    people = Persona.unscoped.filter(account_id=account_id, member_from__isnull=False, merged_into=None, is_test=False)
    return people.filter(archived_at=None, erased_at=None).count()


def refresh_due(*, now: datetime) -> int:
    """Every audience, every ten minutes, whoever comes first. Returns how many were refreshed."""
    due = Q(refreshed_at=None) | Q(refreshed_at__lte=now - EVERY)
    done = 0
    for audience in Audience.unscoped.filter(due, archived_at=None).order_by("pk"):
        won = Audience.unscoped.filter(due, pk=audience.pk).update(refreshed_at=now)
        if won:
            refresh(audience=audience, now=now)
            done += 1
    return done


# These people and whoever is of one group with them.
_GROUP = """SELECT coalesce(p.merged_into_id, p.id) FROM loyalty_persona p
            WHERE p.account_id = %(account)s AND p.id = ANY(%(people)s)
            UNION SELECT g.id FROM loyalty_persona p
            JOIN loyalty_persona g ON g.merged_into_id = coalesce(p.merged_into_id, p.id)
            WHERE p.account_id = %(account)s AND p.id = ANY(%(people)s)"""


def add(*, account_id: int, audience_id: int, persona_ids: Sequence[int], now: datetime) -> int:
    """Let these in by hand; a stay by rules becomes one by hand. Returns how many are new."""
    asked = {"account": account_id, "audience": audience_id, "people": list(persona_ids), "now": now}
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(
            f"""UPDATE loyalty_audiencemember SET by_hand = true
               WHERE account_id = %(account)s AND audience_id = %(audience)s AND left_at IS NULL
                 AND persona_id IN ({_GROUP})""",
            asked,
        )
        cursor.execute(
            """INSERT INTO loyalty_audiencemember (account_id, audience_id, persona_id, by_hand, joined_at)
               SELECT DISTINCT %(account)s::bigint, %(audience)s::bigint, r.id, true, %(now)s::timestamptz
               FROM loyalty_persona p JOIN loyalty_persona r ON r.id = coalesce(p.merged_into_id, p.id)
               WHERE p.account_id = %(account)s AND p.id = ANY(%(people)s) AND r.erased_at IS NULL
                 AND NOT EXISTS (
                     SELECT FROM loyalty_audiencemember a JOIN loyalty_persona g ON g.id = a.persona_id
                     WHERE a.audience_id = %(audience)s AND a.left_at IS NULL
                       AND (g.id = r.id OR g.merged_into_id = r.id))
               ON CONFLICT (audience_id, persona_id) WHERE left_at IS NULL DO NOTHING""",
            asked,
        )
        return cursor.rowcount


def remove(*, account_id: int, audience_id: int, persona_ids: Sequence[int], now: datetime) -> int:
    """End the stay of these. Who fits the rules comes back with the next refresh."""
    with connection.cursor() as cursor:
        cursor.execute(
            f"""UPDATE loyalty_audiencemember SET left_at = greatest(%(now)s, joined_at)
               WHERE account_id = %(account)s AND audience_id = %(audience)s AND left_at IS NULL
                 AND persona_id IN ({_GROUP})""",
            {"account": account_id, "audience": audience_id, "people": list(persona_ids), "now": now},
        )
        return cursor.rowcount


def archive(*, audience: Audience, now: datetime) -> None:
    """Put it away; its stays end. Raises InUse while a live discount or modifier asks for it."""
    discounts = Discount.unscoped.filter(account_id=audience.account_id, archived_at=None, audiences__audience=audience)
    modifiers = Modifier.unscoped.filter(
        account_id=audience.account_id, archived_at=None, active=True, audience=audience
    )
    names = [str(one) for one in (*discounts[:3], *modifiers[:3])]
    if names:
        raise InUse(f"It is used by {', '.join(names)}. Change or archive that first.")
    Audience.unscoped.filter(pk=audience.pk).update(archived_at=now)
    audience.archived_at = now
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE loyalty_audiencemember SET left_at = greatest(%s, joined_at)"
            " WHERE audience_id = %s AND left_at IS NULL",
            [now, audience.pk],
        )


def sizes(*, account_id: int) -> dict[int, int]:
    """How many are in each audience now."""
    with connection.cursor() as cursor:
        cursor.execute(
            """SELECT a.audience_id, count(DISTINCT coalesce(p.merged_into_id, p.id)) FROM loyalty_audiencemember a
               JOIN loyalty_persona p ON p.id = a.persona_id
               WHERE a.account_id = %s AND a.left_at IS NULL GROUP BY 1""",
            [account_id],
        )
        return dict(cursor.fetchall())


SIGNED_UP, SIGNED_UP_ID = "Signed Up", "signed-up"


@dataclass(frozen=True, slots=True)
class Listed:
    """An audience as others are told of it. `traits`: what its rules ask for, by name; empty when it is by hand."""

    public_id: str
    name: str
    size: int
    traits: dict[str, Any]


def listed(*, account_id: int, start: int, limit: int) -> list[Listed]:
    """The members as one of its own, then the account's by name. Sizes are those of the last refresh."""
    found = []
    if start == 0:
        counted = Programme.unscoped.filter(account_id=account_id).values_list("members", flat=True).first()
        members = count_members(account_id=account_id) if counted is None else counted
        found.append(Listed(SIGNED_UP_ID, SIGNED_UP, members, {"loyaltyMember": True}))
    first, end = max(start - 1, 0), start + limit - 1
    rows = Audience.unscoped.filter(account_id=account_id, archived_at=None).select_related("store")
    for one in rows.order_by("name", "pk")[first:end]:
        found.append(Listed(str(one.public_id), one.name, one.size, _traits(one) if one.by_rules else {}))
    return found


def _traits(audience: Audience) -> dict[str, Any]:
    spend = audience.min_spend_cents
    asked = {
        "loyaltyMember": audience.members_only or None,
        "minPoints": audience.min_points,
        "minSpend": None if spend is None else spend / 100,
        "minOrders": audience.min_orders,
        "boughtWithinDays": audience.seen_within_days,
        "notBoughtForDays": audience.away_for_days,
        "birthdayWithinDays": audience.birthday_within_days,
        "customerType": audience.customer_type or None,
        "favoriteStoreID": audience.store.number if audience.store else None,
        "pricingGroup": audience.pricing_group or None,
        "smsOptIn": audience.texts or None,
    }
    return {name: value for name, value in asked.items() if value is not None}
