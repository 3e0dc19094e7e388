"""Neutral records with few words, for tests that land rows without a vendor."""

from collections.abc import Sequence
from datetime import UTC, datetime
from decimal import Decimal
from itertools import count
from typing import Any

from django.db import transaction

from aiqsync.accounts.models import Account
from integrations import arrivals, landing
from integrations.kit.records import CustomerRecord, LineRecord, LocationRecord, SaleRecord
from integrations.models import Customer, Origin, Sale

NOON = datetime(2026, 3, 2, 20, 0, tzinfo=UTC)  # noon in Vancouver
_n = count(1)


def make_origin(account: Account, identity: str = "501200") -> Origin:
    origin = Origin.unscoped.create(account=account, platform="cova", identity=identity)
    place = LocationRecord("loc1", "Main St", state="BC", country="CA", time_zone="America/Vancouver")
    with transaction.atomic():
        landing.locations(account_id=account.pk, origin_id=origin.pk, records=[place])
    return origin


def customer(external_id: str, **fields) -> CustomerRecord:
    return CustomerRecord(external_id, **{"first_name": "Ada", "last_name": "Moss", "modified_at": NOON} | fields)


def line(number: int = 1, cents: int = 10000, **fields) -> LineRecord:
    return LineRecord(
        number, **{"sku": "SKU", "name": "Thing", "unit_price": Decimal(cents) / 100, "total_cents": cents} | fields
    )


def sale(external_id: str, *, net: int = 10000, tax: int = 1200, **fields) -> SaleRecord:
    return SaleRecord(
        external_id,
        **{
            "number": f"IN-{external_id}",
            "location_id": "loc1",
            "sold_at": NOON,
            "lines_cents": net,
            "tax_cents": tax,
            "total_cents": net + tax,
            "net_cents": net,
            "payments": "Cash",
            "lines": (line(1, net),),
        }
        | fields,
    )


def refund(external_id: str, *, of: str, net: int = 10000, tax: int = 1200, **fields) -> SaleRecord:
    return sale(external_id, net=-net, tax=-tax, kind="refund", original_id=of, has_details=True, **fields)


def arrive(origin: Origin, record: type, records: Sequence[Any], *, stream: str, now: datetime) -> landing.Landed:
    """A page of these in a transaction of its own, as a sync brings it: again when it met another."""
    return arrivals.in_one_go(
        lambda: arrivals.arrive(
            account_id=origin.account_id, origin_id=origin.pk, stream=stream, record=record, records=records,
            refused=[], now=now,
        )
    )  # fmt: skip


def land_customers(origin: Origin, *records: CustomerRecord) -> landing.Landed:
    with transaction.atomic():  # landing's temporary tables live as long as a transaction
        return landing.customers(account_id=origin.account_id, origin_id=origin.pk, records=records)


def land_sales(origin: Origin, *records: SaleRecord) -> landing.Landed:
    with transaction.atomic():
        return landing.sales(account_id=origin.account_id, origin_id=origin.pk, records=records)


def the_customer(origin: Origin, external_id: str) -> Customer:
    return Customer.unscoped.get(origin=origin, external_id=external_id)


def the_sale(origin: Origin, external_id: str) -> Sale:
    return Sale.unscoped.get(origin=origin, external_id=external_id)
