"""What a wallet holds, without writing."""

from datetime import datetime
from decimal import Decimal

from django.db import connection
from django.db.models import DecimalField, F, OuterRef, Subquery, Sum, Value
from django.db.models.expressions import Combinable
from django.db.models.functions import Coalesce

from ..models import Lot


def spendable(now: datetime) -> Combinable:
    """For querysets of Wallet: the balance without lots past their expiry, nothing written."""
    due = (
        Lot.unscoped.filter(persona_id=OuterRef("persona_id"), open=True, expires_at__lte=now)
        .order_by()
        .values("persona_id")
        .annotate(points=Sum("remaining"))
        .values("points")
    )
    kind: DecimalField = DecimalField(max_digits=14, decimal_places=2)
    return F("balance") - Coalesce(Subquery(due), Value(Decimal(0)), output_field=kind)


def spendable_points(account_id: int, persona_id: int, now: datetime) -> Decimal:
    """What the persona can spend at `now`; without a wallet 0."""
    with connection.cursor() as cursor:
        cursor.execute(
            """SELECT balance - coalesce((SELECT sum(remaining) FROM loyalty_lot l WHERE l.persona_id = w.persona_id
                                          AND l.open AND l.expires_at <= %s), 0)
               FROM loyalty_wallet w WHERE persona_id = %s AND account_id = %s""",
            [now, persona_id, account_id],
        )
        row = cursor.fetchone()
    return row[0] if row else Decimal(0)


def next_to_expire(account_id: int, persona_id: int, now: datetime) -> tuple[Decimal, datetime] | None:
    """Points and moment of the next expiry after `now`."""
    with connection.cursor() as cursor:
        cursor.execute(
            """SELECT sum(remaining), expires_at FROM loyalty_lot
               WHERE persona_id = %s AND account_id = %s AND open AND expires_at > %s
               GROUP BY expires_at ORDER BY expires_at LIMIT 1""",
            [persona_id, account_id, now],
        )
        return cursor.fetchone()


def next_n(*, account_id: int, persona_id: int, discount_id: int) -> int:
    """The number of the next use of a discount by a root and those merged into it; a wallet's address carries it."""
    with connection.cursor() as cursor:
        cursor.execute(
            """SELECT loyalty_next_n(array_agg(id), %s) FROM loyalty_persona
               WHERE account_id = %s AND (id = %s OR merged_into_id = %s)""",
            [discount_id, account_id, persona_id, persona_id],
        )
        return cursor.fetchone()[0]
