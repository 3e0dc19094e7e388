"""Sales to post points for: rows of integrations with the fewest words."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import count

from aiqsync.accounts.models import Account
from integrations.models import Origin, Sale
from loyalty.ledger import SaleTarget

SOLD = datetime(2026, 11, 1, tzinfo=UTC)
_n = count(1)


def make_sales(account: Account, size: int) -> list[int]:
    origin, _ = Origin.unscoped.get_or_create(account=account, platform="push", identity="push")
    rows = [
        Sale(account=account, origin=origin, external_id=str(next(_n)), sold_at=SOLD + timedelta(seconds=i))
        for i in range(size)
    ]
    return [sale.pk for sale in Sale.unscoped.bulk_create(rows)]


def target(sale_id: int, persona_id: int | None, points, **fields) -> SaleTarget:
    return SaleTarget(
        **{
            "sale_id": sale_id,
            "persona_id": persona_id,
            "target": Decimal(points),
            "base_cents": int(Decimal(points) * 100),
            "explanation": {"why": "earned"},
            "expires_at": None,
            "cause_at": SOLD,
        }
        | fields
    )
