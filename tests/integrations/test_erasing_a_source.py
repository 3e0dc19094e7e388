"""A source is erased: what goes, what stays, and that it may be stopped, repeated and connected again."""

from datetime import date
from decimal import Decimal

import pytest
from django.utils import timezone

from aiqsync import tasks
from aiqsync.accounts.tenancy import acting_in
from integrations import erasing, services
from integrations.models import (
    Credential,
    Customer,
    Origin,
    OutsideMarket,
    RefusedRow,
    Sale,
    SaleLine,
    StreamState,
    Suppression,
)
from loyalty import checks, earning, jobs, ledger, origin_erasure, personas
from loyalty.models import Job, Persona, SaleState, Source

pytestmark = pytest.mark.django_db


@pytest.fixture
def shop(cova, monkeypatch):
    """A member with points, somebody who never took part, and a sale of each; disconnected."""
    monkeypatch.setattr(tasks, "enqueue_job", lambda pk: None)
    cova.control("wipe", yes=True)
    cova.connect()
    ids = {}
    for name, phone in (("Ada", "2505550142"), ("Ben", "2505550143")):
        edited = cova.control("edit", first_name=name, last_name="Moss", phone=phone)
        ids[name] = edited["customer_id"]
        cova.control("sell", customer_id=edited["customer_id"], lines=[{"name": "House Tee", "price_cents": 4000}])
    cova.sync()
    with acting_in(cova.account.pk):
        member = Persona.objects.get(first_name="Ada")
        personas.enrol(persona=member, ground="staff", from_date=date(2020, 1, 1), now=timezone.now())
    cova.member, cova.ids = member, ids
    cova.origin = Origin.unscoped.get()
    services.disconnect(credential=cova.credential)
    return cova


def points(shop) -> Decimal:
    return ledger.spendable_points(shop.account.pk, shop.member.pk, timezone.now())


def erase(shop, *, take_back=False) -> Job:
    with acting_in(shop.account.pk):
        services.begin_erasing(origin_id=shop.origin.pk, take_back=take_back, user=None, now=timezone.now())
        job = origin_erasure.job_of(shop.origin.pk)
    while jobs.run_slice(job.pk):
        pass
    job.refresh_from_db()
    assert job.state == "done", job.message
    return job


def test_the_dry_run_counts_and_writes_nothing(shop):
    found = origin_erasure.figures(account_id=shop.account.pk, origin_id=shop.origin.pk, now=timezone.now())
    assert (found.customers, found.sales, found.personas, found.only_source) == (2, 2, 2, 2)
    assert (found.members, found.emptied) == (1, 1) and found.lines == SaleLine.unscoped.count()
    assert found.posted == found.taken == points(shop) > 0
    assert Source.unscoped.count() == 2


def test_people_lines_and_employees_go_and_balances_stay(shop):
    before = points(shop)
    totals = sorted(Sale.unscoped.values_list("total_cents", "location_id", "sold_at"))
    job = erase(shop)
    assert points(shop) == before and job.done == job.total
    assert not Customer.unscoped.filter(erased_at=None).exists() and not SaleLine.unscoped.exists()
    assert not Source.unscoped.exists() and not Suppression.unscoped.exists()
    assert sorted(Sale.unscoped.values_list("total_cents", "location_id", "sold_at")) == totals
    assert not Sale.unscoped.exclude(employee_id="", employee_name="", customer_id=erasing.NOBODY).exists()
    told = str([*Customer.unscoped.values(), *Sale.unscoped.values()])
    assert "Ada" not in told and "2505550142" not in told and shop.ids["Ada"] not in told
    member = Persona.unscoped.get(pk=shop.member.pk)
    assert member.first_name == "Ada" and member.phone == "+12505550142"  # a member is known with us
    other = Persona.unscoped.exclude(pk=shop.member.pk).get()
    assert (other.first_name, other.phone) == ("", "") and other.archived_at and not other.erased_at
    origin = Origin.unscoped.get()
    assert origin.erased_at and not origin.erasing_at
    assert StreamState.unscoped.filter(credential__origin=origin).exclude(cursor={}).count() == 0
    assert not RefusedRow.unscoped.exists() and not OutsideMarket.unscoped.exists()
    # At rest: a recompute takes nothing from anybody, and the books are in order.
    earning.settle_personas(account_id=shop.account.pk, persona_ids=[member.pk], now=timezone.now())
    assert points(shop) == before
    with acting_in(shop.account.pk):
        assert not checks.check(account_id=shop.account.pk, now=timezone.now()).violations


def test_taken_back_never_below_nothing_and_only_once(shop):
    given = points(shop)
    ledger.adjust(
        account_id=shop.account.pk, persona_id=shop.member.pk, points=-given + 1, key="spent", now=timezone.now()
    )
    job = erase(shop, take_back=True)
    assert points(shop) == 0 and job.result["points"] == "1.00"


def test_connected_again_the_same_people_come_in_and_nothing_is_paid_twice(shop):
    before = points(shop)
    erase(shop)
    shop.connect()
    shop.sync()
    assert Customer.unscoped.filter(erased_at=None).count() == 2 and SaleLine.unscoped.exists()
    assert not Sale.unscoped.exclude(erased_at=None).exists()
    assert points(shop) == before
    with acting_in(shop.account.pk):
        back = Source.objects.get(customer__external_id=shop.ids["Ada"])
    assert back.persona_id == shop.member.pk
    assert SaleState.unscoped.filter(persona=shop.member).count() == 1
    assert Origin.unscoped.get().erased_at is None


def test_stopped_it_goes_on_where_it_was_and_nobody_connects_meanwhile(shop, monkeypatch):
    monkeypatch.setattr(origin_erasure, "BATCH", 1)
    with acting_in(shop.account.pk):
        services.begin_erasing(origin_id=shop.origin.pk, take_back=False, user=None, now=timezone.now())
        job = origin_erasure.job_of(shop.origin.pk)
        with pytest.raises(services.Refused, match="already"):
            services.begin_erasing(origin_id=shop.origin.pk, take_back=False, user=None, now=timezone.now())
    assert jobs.run_slice(job.pk, slice_s=0) and jobs.run_slice(job.pk, slice_s=0)
    assert Customer.unscoped.filter(erased_at=None).count() == 1
    assert jobs.stop(job_id=job.pk, now=timezone.now()) and jobs.run_slice(job.pk) is False
    credential = Credential.unscoped.get(pk=shop.credential.pk)
    with pytest.raises(services.Refused, match="is being erased"), acting_in(shop.account.pk):
        services.save_credential(connection=credential.connection, given=shop.given(), credential=credential)
        services.connect(credential=credential, now=timezone.now())
    assert jobs.resume(job_id=job.pk, now=timezone.now())
    while jobs.run_slice(job.pk):
        pass
    assert not Customer.unscoped.filter(erased_at=None).exists() and not Sale.unscoped.filter(erased_at=None).exists()


def test_a_connected_source_is_not_erased(shop):
    shop.connect()
    with pytest.raises(services.Refused, match="disconnect it first"), acting_in(shop.account.pk):
        services.begin_erasing(origin_id=shop.origin.pk, take_back=False, user=None, now=timezone.now())
