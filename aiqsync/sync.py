"""Joins the floors: what `integrations` lands is handed to `loyalty`."""

from collections.abc import Collection
from datetime import datetime

from integrations import services
from integrations.kit.records import CustomerRecord, SaleRecord
from loyalty import ingest, matching


class LoyaltySink:
    """The one sink there is."""

    def landed(self, batch: services.Batch) -> None:
        touched = [*batch.new, *batch.changed]
        try:
            if batch.record is CustomerRecord:
                ingest.customers_landed(account_id=batch.account_id, customer_ids=touched, now=batch.now)
            elif batch.record is SaleRecord:
                ingest.sales_landed(account_id=batch.account_id, sale_ids=touched, now=batch.now)
        except matching.IdentityRace as race:
            raise services.LandAgain from race

    def wants_details(
        self, *, origin_id: int, customers: Collection[str], locations: Collection[str], since: datetime | None
    ) -> set[str]:
        if not customers:
            return set()
        return ingest.customers_with_open_redemptions(origin_id=origin_id, customers=sorted(customers))


def install() -> None:
    """Give integrations its sink. Called once, at start-up."""
    services.install_sink(LoyaltySink())
