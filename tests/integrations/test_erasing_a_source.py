"""A source is erased: what goes, what stays, and that it may be stopped, repeated and connected again."""

from datetime import date
from decimal import Decimal

import pytest
from django.utils import timezone

from aiqsync import tasks
from aiqsync.accounts.tenancy import acting_in
from integrations import erasing, services
from integrations.models import (
    BalanceReading,
    ColumnMapping,
    Credential,
    Customer,
    CustomerBalance,
    Origin,
    OutboundWrite,
    OutsideMarket,
    Product,
    PushedCall,
    RefusedRow,
    Sale,
    SaleLine,
    Stock,
    StreamState,
    Suppression,
    Term,
    Upload,
    UploadChunk,
    UploadError,
)
from loyalty import checks, earning, jobs, ledger, mirror, origin_erasure, personas
from loyalty.models import (
    ContactAlias,
    Entry,
    Job,
    Mirroring,
    MirrorState,
    Persona,
    PointsImport,
    SaleState,
    Source,
    SourceHint,
    WaitingBalance,
)
from tests.factories import make_account
from tests.loyalty.pos_till import Till, today

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


def plant(origin, persona, customer) -> None:
    """One row of everything that a source may have brought."""
    now, of = timezone.now(), {"account_id": origin.account_id, "origin": origin}
    CustomerBalance.unscoped.create(**of, external_id=customer.external_id, points=7)
    BalanceReading.unscoped.create(**of, continuous=True)
    OutboundWrite.unscoped.create(**of, writer="customer", key="k", subject="s", payload={"phone": "2505550142"})
    OutsideMarket.unscoped.create(**of, external_id="far")
    PushedCall.unscoped.create(**of, call="createUpdateSale", at=now, items=1, body=[{"name": "Ada"}], mentions=["x"])
    RefusedRow.unscoped.create(**of, stream="sales", key="1", reason="r", row={"name": "Ada"})
    upload = Upload.unscoped.create(**of, name="ada.csv", place=f"/{origin.pk}/ada.csv")
    UploadChunk.unscoped.create(account_id=origin.account_id, upload=upload, start=0, data=b"Ada")
    UploadError.unscoped.create(account_id=origin.account_id, upload=upload, number=2, reason="r", cells=["Ada"])
    ColumnMapping.unscoped.create(**of, kind="customers", columns={"Ada": "name"})
    product = Product.unscoped.create(**of, external_id="p", name="Tee")
    Stock.unscoped.create(**of, external_id="p|1", product_id=product.external_id, quantity=1)
    Term.unscoped.create(**of, kind="employee", external_id="e", name="Lee")
    PointsImport.unscoped.create(**of, taken_at=now)
    WaitingBalance.unscoped.create(**of, customer=customer, points=7)
    ContactAlias.unscoped.create(**of, persona=persona, alias=f"aiq-{origin.pk}", points=7)
    for platform, record in ((origin.platform, customer.external_id), ("elsewhere", f"rec-{origin.pk}")):
        SourceHint.unscoped.create(
            account_id=origin.account_id, persona=persona, platform=platform, external_id=record
        )  # fmt: skip


GONE = (
    BalanceReading, ColumnMapping, CustomerBalance, OutboundWrite, OutsideMarket, Product, PushedCall, RefusedRow,
    Stock, Term, Upload, WaitingBalance,
)  # fmt: skip
PARTS = (SourceHint, UploadChunk, UploadError)


def test_everything_a_source_brought_goes_and_nothing_of_another(shop):
    other = make_account("Other Co")
    elsewhere = Origin.unscoped.create(account=other, platform="cova", identity="9", title="Other")
    stranger = Persona.unscoped.create(account=other, first_name="Ada")
    plant(elsewhere, stranger, Customer.unscoped.create(account=other, origin=elsewhere, external_id="c"))
    customer = Customer.unscoped.get(external_id=shop.ids["Ada"])
    before = {model: model.unscoped.exclude(account=shop.account).count() for model in (*GONE, *PARTS)}
    Origin.unscoped.filter(pk=shop.origin.pk).update(own_points_at=timezone.now())
    for model in (RefusedRow, Product, Stock, Term, OutboundWrite, OutsideMarket):  # what the sync brought itself
        model.unscoped.filter(account=shop.account).delete()
    plant(shop.origin, shop.member, customer)
    for model in (*GONE, *PARTS):
        assert model.unscoped.filter(account=shop.account).exists(), model
    erase(shop)
    for model in (*GONE, *PARTS):
        assert not model.unscoped.filter(account=shop.account).exists(), model
        assert model.unscoped.exclude(account=shop.account).count() == before[model] > 0, model
    # That it was imported from stays, so that nothing is imported again; the ids that tills hold of a member too.
    assert PointsImport.unscoped.filter(origin=shop.origin).exists()
    assert ContactAlias.unscoped.get(origin=shop.origin).persona_id == shop.member.pk
    assert Origin.unscoped.get(pk=shop.origin.pk).own_points_at is None


class TestPosPoints:
    """Of a source whose balances were mirrored or taken over."""

    @pytest.fixture
    def till(self, cova, monkeypatch):
        monkeypatch.setattr(tasks, "enqueue_job", lambda pk: None)
        return Till(cova)

    @staticmethod
    def away(till, *, take_back=False) -> None:
        till.origin = Origin.unscoped.get(pk=till.origin_id)
        services.disconnect(credential=Credential.unscoped.get(pk=till.shop.credential.pk))
        erase(till, take_back=take_back)

    @staticmethod
    def back(till) -> None:
        till.shop.connect()
        till.shop.sync("locations", "pricing_groups", "customers", "sales")

    @pytest.fixture
    def mirrored(self, till):
        (member,) = till.customers(1)
        till.enrol(member)
        till.say(member, 100)
        till.turn_on(mirror_points=True)
        assert till.balance(member) == 100
        till.member = till.persona(member)
        till.record = member.external_id
        return till

    @staticmethod
    def holds(till) -> Decimal:
        return ledger.spendable_points(till.account.pk, till.member.pk, timezone.now())

    def test_mirroring_ends_for_this_source_only_and_balances_stay(self, mirrored):
        second = Origin.unscoped.create(account=mirrored.account, platform="cova", identity="9", title="Second")
        mirror.begin(account_id=mirrored.account.pk, origin_ids=[second.pk], now=timezone.now())
        self.away(mirrored)
        assert not mirror.is_mirrored(origin_id=mirrored.origin_id) and mirror.is_mirrored(origin_id=second.pk)
        assert self.holds(mirrored) == 100 and not mirror.holds(persona=mirrored.member)
        assert MirrorState.unscoped.get(persona=mirrored.member).posted == 100
        assert mirrored.books() == []
        # It is an ordinary wallet again.
        ledger.adjust(account_id=mirrored.account.pk, persona_id=mirrored.member.pk, points=Decimal(-30), key="hand",
                      now=timezone.now())  # fmt: skip
        assert self.holds(mirrored) == 70

    def test_connected_again_it_is_mirrored_again_and_nothing_counts_twice(self, mirrored):
        self.away(mirrored)
        began = Mirroring.unscoped.get(origin=mirrored.origin_id).since
        self.back(mirrored)
        assert self.holds(mirrored) == 100, "sales that were in the POS's balance earn nothing when they come again"
        customer = Customer.unscoped.get(origin=mirrored.origin_id, external_id=mirrored.record)
        mirrored.say(customer, 130)
        mirrored.shop.sync("points")
        assert mirrored.balance(customer) == 130 and mirror.holds(persona=mirrored.member)
        assert Mirroring.unscoped.get(origin=mirrored.origin_id).since > began
        assert mirrored.books() == []

    def test_what_was_mirrored_is_taken_back_if_that_was_chosen(self, mirrored):
        found = origin_erasure.figures(
            account_id=mirrored.account.pk, origin_id=mirrored.origin_id, now=timezone.now()
        )  # fmt: skip
        assert found.taken == sum(MirrorState.unscoped.values_list("posted", flat=True))
        self.away(mirrored, take_back=True)
        assert self.holds(mirrored) == 0 and mirrored.books() == []
        self.back(mirrored)
        assert self.holds(mirrored) == 0

    def test_a_wallet_that_another_source_fills_too_shows_that_one_alone(self, mirrored):
        second = Origin.unscoped.create(account=mirrored.account, platform="cova", identity="9", title="Second")
        other = Customer.unscoped.create(account=mirrored.account, origin=second, external_id="c9")
        Source.unscoped.create(account=mirrored.account, customer=other, persona=mirrored.member, matched_by="phone")
        CustomerBalance.unscoped.create(account=mirrored.account, origin=second, external_id="c9", points=25)
        mirror.begin(account_id=mirrored.account.pk, origin_ids=[second.pk], now=timezone.now())
        mirror.settle(account_id=mirrored.account.pk, persona_ids=[mirrored.member.pk], now=timezone.now())
        assert self.holds(mirrored) == 125
        self.away(mirrored, take_back=True)
        assert self.holds(mirrored) == 25 and mirrored.books() == []

    @pytest.mark.parametrize("take_back", [False, True])
    def test_imported_points_are_not_imported_a_second_time(self, till, take_back):
        member, late = till.customers(2)
        till.enrol(member)
        till.say(member, 100), till.say(late, 40)
        till.turn_on(points_import_on=today(till.account))
        till.member, records = till.persona(member), (member.external_id, late.external_id)
        before = self.holds(till)
        self.away(till, take_back=take_back)
        assert self.holds(till) == (0 if take_back else before)
        self.back(till)
        till.turn_off(points_import_on="")
        till.turn_on(points_import_on=today(till.account))
        assert self.holds(till) == (0 if take_back else before)
        assert Entry.unscoped.filter(persona=till.member, kind="import").count() == 1
        # Who had got nothing yet finds what the new import read.
        found = Customer.unscoped.get(origin=till.origin_id, external_id=records[1])
        till.enrol(found)
        assert Entry.unscoped.get(persona=till.persona(found), kind="import").points == 40


def test_a_connected_source_is_not_erased(shop):
    shop.connect()
    with pytest.raises(services.Refused, match="disconnect it first"), acting_in(shop.account.pk):
        services.begin_erasing(origin_id=shop.origin.pk, take_back=False, user=None, now=timezone.now())
