"""The home page: is everything connected, what happened today, what needs a hand. Few queries, whatever the data."""

import json
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

from django.core.cache import cache
from django.db import connection
from django.http import HttpRequest
from django.utils import timezone

from aiqsync.accounts.roles import may
from integrations import registry
from loyalty import checks
from loyalty.models import Redemption
from loyalty.testers import NOT_TEST

from .standing import Standing, standings

DAYS = 14
RECENT = 6
HEAVY_S = 30  # members and points outstanding read every member: not for each reload


def dashboard(request: HttpRequest, context: dict[str, Any]) -> dict[str, Any]:
    account = request.membership.account
    zone = ZoneInfo(account.timezone)
    now = timezone.now()
    days = [now.astimezone(zone).date() - timedelta(days=back) for back in range(DAYS - 1, -1, -1)]
    edges = [datetime.combine(day, time.min, zone) for day in days]
    start = edges[0]

    cards = [s for s in standings(slugs=registry.CARDS, now=now).values() if s.connection and s.ever_connected]
    sales = _sales(account.pk, days, edges)
    points = _points(account.pk, days, edges)
    figures = _figures(account.pk, start) | _heavy(account.pk)
    role = request.membership.role
    today = sales.get(days[-1], (0, 0))
    steps = _steps(cards, figures)
    return context | {
        "title": "Home",
        "currency": account.currency,
        "today": days[-1],
        "cards": [_card(standing) for standing in cards],
        "unmapped": sum(standing.unmapped for standing in cards),
        "figures": figures,
        "sales_today": {"cents": today[0], "count": today[1]},
        "sales_chart": _sales_chart(days, sales) if any(count for _, count in sales.values()) else "",
        "points_chart": _points_chart(days, points) if points else "",
        "recent": Redemption.objects.filter(persona__is_test=False)
        .select_related("persona", "discount", "store")
        .order_by("-applied_at")[:RECENT],
        "steps": steps,
        "is_new": not steps[0][0] or not any(s.mapped for s in cards) or not (steps[2][0] or figures["members"]),
        "ledger": checks.last(account_id=account.pk),
        "may_see_reports": may(role, "reports.view"),
        "may_see_sales": may(role, "sales.view"),
        "may_see_redemptions": may(role, "redemptions.view"),
        "may_see_discounts": may(role, "discounts.view"),
        "may_see_integrations": may(role, "integrations.view"),
    }


def _card(standing: Standing) -> dict[str, Any]:
    """What is shown of one integration: a pill, each stream's freshness, and the sentence about what is wrong."""
    titles = standing.card.titles
    messages = [credential.message for credential in standing.in_use if credential.message]
    messages += [s.message for s in standing.states if s.message and s.failures]
    return {
        "title": standing.card.title,
        "slug": standing.card.slug,
        "pill": standing.pill,
        "tone": {"good": "good", "warn": "warn", "busy": "info"}.get(standing.pill.tone, ""),
        "message": messages[0] if messages else "",
        "streams": [
            {"title": titles.get(s.stream, s.stream), "read_until": s.read_until, "failing": bool(s.failures)}
            for s in standing.states
        ],
    }


def _steps(cards: list[Standing], figures: dict[str, Any]) -> list[tuple[bool, str, str, str, str]]:
    """Done, title, sentence, route, button."""
    connected = any(standing.in_use for standing in cards)
    mapped = connected and any(s.mapped for s in cards) and not any(s.unmapped for s in cards)
    return [
        (
            connected,
            "Connect your point of sale",
            "Enter the log-in your POS gave you. It is checked at once, and the first sync starts by itself.",
            "admin:integrations",
            "Connect",
        ),
        (
            mapped,
            "Map your stores",
            "Say which location of the POS is which of your stores, so that sales count for the right one.",
            "admin:integrations" if connected else "admin:stores_store_changelist",
            "Map stores",
        ),
        (
            figures["programme_saved"],
            "Set the programme",
            "How many points a dollar earns, from which day, and what happens on a refund.",
            "admin:programme",
            "Set up",
        ),
    ]


def _rows(sql: str, values: dict[str, Any]) -> list[tuple]:
    with connection.cursor() as cursor:
        cursor.execute(sql, values)
        return cursor.fetchall()


# Days are cut by Python's time zone data alone: the database has its own copy, and the two need not agree.
def _sales(account_id: int, days: list[date], edges: list[datetime]) -> dict[date, tuple[int, int]]:
    """Day to cents and number of sales; refunds are subtracted."""
    found = _rows(
        """SELECT width_bucket(sold_at, %(edges)s::timestamptz[]), sum(total_cents)::bigint,
                  count(*) FILTER (WHERE kind = 'sale')
           FROM integrations_sale WHERE account_id = %(account)s AND sold_at >= %(start)s GROUP BY 1""",
        {"account": account_id, "start": edges[0], "edges": edges},
    )
    return {days[bucket - 1]: (cents, count) for bucket, cents, count in found}


def _points(account_id: int, days: list[date], edges: list[datetime]) -> dict[date, tuple[Decimal, Decimal]]:
    """Day to points earned and redeemed. A sale's points show on the sale's day, whenever it was read."""
    found = _rows(
        f"""SELECT width_bucket(coalesce(cause_at, at), %(edges)s::timestamptz[]),
                  coalesce(sum(points) FILTER (WHERE kind = 'earn'), 0),
                  coalesce(-sum(points) FILTER (WHERE kind IN ('redeem', 'reverse')), 0)
           FROM loyalty_entry
           WHERE account_id = %(account)s AND at >= %(start)s AND coalesce(cause_at, at) >= %(start)s
             AND kind IN ('earn', 'redeem', 'reverse') AND {NOT_TEST}
           GROUP BY 1""",
        {"account": account_id, "start": edges[0], "edges": edges},
    )
    return {days[bucket - 1]: (earned, used) for bucket, earned, used in found}


def _figures(account_id: int, start: datetime) -> dict[str, Any]:
    [row] = _rows(
        f"""SELECT r.count, r.points,
                  (SELECT count(*) FROM integrations_refusedrow WHERE account_id = %(account)s AND solved_at IS NULL),
                  EXISTS (SELECT 1 FROM accounts_auditline
                          WHERE account_id = %(account)s AND act = 'programme.changed'),
                  (SELECT count(*) FROM loyalty_discount
                   WHERE account_id = %(account)s AND archived_at IS NULL AND problem <> '')
           FROM (SELECT count(*), coalesce(sum(points - reverted_points), 0) AS points FROM loyalty_redemption
                 WHERE account_id = %(account)s AND applied_at >= %(start)s
                   AND state IN ('applied', 'settled') AND {NOT_TEST}) r""",
        {"account": account_id, "start": start},
    )
    names = ("redemptions", "redeemed", "refused", "programme_saved", "discounts_wrong")
    return dict(zip(names, row, strict=True))


def _heavy(account_id: int) -> dict[str, Any]:
    def read() -> dict[str, Any]:
        [row] = _rows(
            f"""SELECT (SELECT count(*) FROM loyalty_persona
                       WHERE account_id = %(account)s AND member_from IS NOT NULL AND merged_into_id IS NULL
                         AND NOT is_test),
                      (SELECT coalesce(sum(balance), 0) FROM loyalty_wallet
                       WHERE account_id = %(account)s AND {NOT_TEST})""",
            {"account": account_id},
        )
        return {"members": row[0], "outstanding": row[1]}

    return cache.get_or_set(f"home-heavy:{account_id}", read, HEAVY_S)


def _labels(days: list[date]) -> list[str]:
    return [f"{day:%a} {day.day} {day:%b}" for day in days]


def _sales_chart(days: list[date], sales: dict[date, tuple[int, int]]) -> str:
    return json.dumps(
        {
            "labels": _labels(days),
            "datasets": [
                {
                    "label": "Sales",
                    "data": [sales.get(day, (0, 0))[0] / 100 for day in days],
                    "backgroundColor": "var(--color-primary-500)",
                    "borderRadius": 4,
                    "maxBarThickness": 28,
                    "displayYAxis": True,
                    "maxTicksXLimit": 7,
                }
            ],
        }
    )


def _points_chart(days: list[date], points: dict[date, tuple[Decimal, Decimal]]) -> str:
    def bars(label: str, place: int, colour: str) -> dict[str, Any]:
        return {
            "label": label,
            "data": [float(points.get(day, (0, 0))[place]) for day in days],
            "backgroundColor": colour,
            "borderRadius": 4,
            "maxBarThickness": 14,
            "grouped": True,
            "displayYAxis": True,
            "maxTicksXLimit": 7,
        }

    datasets = [bars("Earned", 0, "#2c9c76"), bars("Redeemed", 1, "#d9973b")]
    return json.dumps({"labels": _labels(days), "datasets": datasets})
