"""An origin is erased: people, lines, employees and catalogue gone; the headers of sales stay as stubs.

What it brought goes in batches, each in the caller's transaction with the account's origins locked; the floor above
does its own part of each (docs/decisions/erasing-a-source.md). The list of those who were removed on request is not
filled: who comes again, comes as somebody new.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from django.db import connection, transaction

from aiqsync.accounts.models import User

from . import balances
from .chosen import LIVE
from .models import (
    BalanceReading,
    ColumnMapping,
    Credential,
    Customer,
    CustomerBalance,
    Origin,
    OutboundWrite,
    OutsideMarket,
    PricingGroup,
    Product,
    PushedCall,
    RefusedRow,
    Stock,
    StreamState,
    Term,
    Upload,
    UploadChunk,
    UploadError,
)
from .refusals import Refused
from .sink import sink

NOBODY = "erased:source"  # the customer of a stub


@dataclass(frozen=True)
class OriginFigures:
    """What an origin holds here now."""

    customers: int
    sales: int
    lines: int
    refused: int


def origin_figures(*, origin_id: int) -> OriginFigures:
    with connection.cursor() as cursor:
        cursor.execute(
            """SELECT (SELECT count(*) FROM integrations_customer WHERE origin_id = %(o)s AND erased_at IS NULL),
                      (SELECT count(*) FROM integrations_sale WHERE origin_id = %(o)s AND erased_at IS NULL),
                      (SELECT coalesce(sum(line_count), 0) FROM integrations_sale WHERE origin_id = %(o)s),
                      (SELECT count(*) FROM integrations_refusedrow WHERE origin_id = %(o)s AND solved_at IS NULL)""",
            {"o": origin_id},
        )
        return OriginFigures(*cursor.fetchone())


def begin_erasing(*, origin_id: int, take_back: bool, user: User | None, now: datetime) -> None:
    """Mark the origin and hand it to the floor above, which does the rest in the background. Raises `Refused`."""
    with transaction.atomic():
        origin = Origin.unscoped.select_for_update().get(pk=origin_id)
        if Credential.unscoped.filter(origin=origin, state__in=LIVE).exists():
            raise Refused("It is connected: disconnect it first, then erase.")
        if origin.erasing_at:
            raise Refused("It is being erased already.")
        origin.erasing_at = now
        origin.save(update_fields=["erasing_at"])
        sink().erase_origin(origin_id=origin_id, take_back=take_back, user=user, now=now)


def erase_people(*, origin_id: int, customer_ids: Sequence[int], now: datetime) -> int:
    """These customers become stubs that tell nothing. How many."""
    with connection.cursor() as cursor:
        cursor.execute(
            """UPDATE integrations_customer SET external_id = 'erased:' || id, first_name = '', last_name = '',
                   phone = '', phone_raw = '', email = '', email_raw = '', birth_date = NULL, street = '', city = '',
                   state = '', postal_code = '', country = '', pricing_group = '', do_not_contact = NULL,
                   disabled = false, merged_into = '', customer_type = '', government_id = '', medical_id = '',
                   version = 0, modified_at = NULL, erased_at = %s, changed_at = %s
               WHERE origin_id = %s AND id = ANY(%s) AND erased_at IS NULL""",
            [now, now, origin_id, list(customer_ids)],
        )
        return cursor.rowcount


def erase_sales(*, origin_id: int, limit: int, now: datetime) -> int:
    """The next sales become stubs: money, place and time stay; lines, customer and employee go. How many; 0: done."""
    with connection.cursor() as cursor:
        cursor.execute(
            """UPDATE integrations_sale s SET customer_id = CASE WHEN customer_id = '' THEN '' ELSE %s END,
                   employee_id = '', employee_name = '', payments = '', lines_digest = '', line_count = 0,
                   erased_at = %s, changed_at = %s
               FROM (SELECT id FROM integrations_sale WHERE origin_id = %s AND erased_at IS NULL
                     ORDER BY id LIMIT %s) n
               WHERE s.id = n.id RETURNING s.id""",
            [NOBODY, now, now, origin_id, limit],
        )
        ids = [row[0] for row in cursor.fetchall()]
        cursor.execute("DELETE FROM integrations_saleline WHERE sale_id = ANY(%s)", [ids])
    return len(ids)


def erase_rest(*, origin_id: int, now: datetime) -> None:
    """Everything else of the origin, and the mark: it may be connected again, and is then read from the beginning."""
    balances.end(origin_ids=[origin_id], continuous=True)
    for part in (UploadChunk, UploadError):  # whoever reads the file finds it gone, and saves nothing
        part.unscoped.filter(upload__origin=origin_id)._raw_delete("default")
    for model in (
        Upload, ColumnMapping, PushedCall, RefusedRow, OutsideMarket, CustomerBalance, BalanceReading, OutboundWrite,
        Stock, Product, Term, PricingGroup,
    ):  # fmt: skip
        model.unscoped.filter(origin=origin_id).delete()
    StreamState.unscoped.filter(credential__origin=origin_id).update(
        cursor={}, read_until=None, first_done_at=None, last_success_at=None, failures=0, failing_since=None, message=""
    )
    Origin.unscoped.filter(pk=origin_id).update(erasing_at=None, erased_at=now, own_points_at=None)


def people_left(*, origin_id: int, limit: int) -> list[int]:
    """The next customers that are still somebody."""
    left = Customer.unscoped.filter(origin=origin_id, erased_at=None).order_by("pk")
    return list(left.values_list("pk", flat=True)[:limit])
