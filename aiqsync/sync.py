"""Joins the floors: what `integrations` lands is handed to `loyalty`."""

from collections.abc import Collection, Sequence
from datetime import date, datetime
from typing import Any

from aiqsync.accounts.models import User
from integrations import services
from integrations.kit.records import BalanceRecord, CustomerRecord, SaleRecord
from integrations.models import Connection, Origin
from loyalty import contact_import, ingest, matching, mirror, origin_erasure, outbound, pos_points, rules, switches
from loyalty.models import Programme

from . import tasks


class LoyaltySink:
    """The one sink there is."""

    def landed(self, batch: services.Batch) -> None:
        touched = [*batch.new, *batch.changed]
        try:
            if batch.record is CustomerRecord:
                ingest.customers_landed(account_id=batch.account_id, customer_ids=touched, now=batch.now)
                mirror.customers_landed(account_id=batch.account_id, customer_ids=touched, now=batch.now)
            elif batch.record is BalanceRecord:
                mirror.balances_landed(
                    account_id=batch.account_id, origin_id=batch.origin_id, balance_ids=touched, now=batch.now
                )
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

    def programme(self, *, account_id: int) -> services.ProgrammeFacts:
        found = rules.of(account_id)
        if found is None:  # a programme that is made later begins with this engine
            return services.ProgrammeFacts(engine=Programme._meta.get_field("engine").default)
        return services.ProgrammeFacts(engine=found.engine, accrual_start=found.accrual_start, on=found.enabled)

    def preview(self, *, change_id: int, now: datetime) -> None:
        switches.preview(change_id=change_id, now=now, enqueue=tasks.enqueue_job)

    def apply(self, *, change_id: int, now: datetime) -> None:
        switches.apply(change_id=change_id, now=now, enqueue=tasks.enqueue_job)

    def stop(self, *, change_id: int, now: datetime) -> None:
        switches.stop(change_id=change_id, now=now)

    def resume(self, *, change_id: int, now: datetime) -> None:
        switches.resume(change_id=change_id, now=now, enqueue=tasks.enqueue_job)

    def dropped(self, *, connection_id: int, setting: str, now: datetime) -> None:
        link = Connection.unscoped.get(pk=connection_id)
        pos_points.dropped(
            account_id=link.account_id, platform=link.card, setting=setting, now=now, enqueue=tasks.enqueue_job
        )

    def wanted_in_pos(self, *, write_id: int, now: datetime) -> services.Wanted:
        return outbound.wanted(write_id=write_id, now=now)

    def delivered(self, *, write_id: int, customer_id: int, now: datetime) -> None:
        outbound.delivered(write_id=write_id, customer_id=customer_id, now=now)

    def count_contacts(
        self, *, account_id: int, origin_id: int, contacts: Sequence[Any], so_far: dict[str, Any], now: datetime
    ) -> dict[str, Any]:
        return contact_import.count(
            account_id=account_id, origin_id=origin_id, contacts=contacts, so_far=so_far, now=now
        )

    def take_contacts(
        self,
        *,
        account_id: int,
        origin_id: int,
        contacts: Sequence[Any],
        so_far: dict[str, Any],
        user_id: int | None,
        earn_from: date | None,
        now: datetime,
    ) -> dict[str, Any]:
        return contact_import.take(
            account_id=account_id, origin_id=origin_id, contacts=contacts, so_far=so_far, user_id=user_id,
            earn_from=earn_from, now=now,
        )  # fmt: skip

    def erase_origin(self, *, origin_id: int, take_back: bool, user: User | None, now: datetime) -> None:
        origin = Origin.unscoped.get(pk=origin_id)
        origin_erasure.start(
            account_id=origin.account_id, origin_id=origin_id, take_back=take_back, user=user, now=now,
            enqueue=tasks.enqueue_job,
        )  # fmt: skip


def install() -> None:
    """Give integrations its sink. Called once, at start-up."""
    services.install_sink(LoyaltySink())
