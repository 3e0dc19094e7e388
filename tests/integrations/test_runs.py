"""Runs against the sandbox: everything arrives once, whatever happens on the way."""

import json
import threading
from datetime import timedelta
from decimal import Decimal

import pytest
from django.core.management import call_command
from django.db import connections
from django.utils import timezone

from aiqsync.accounts.tenancy import acting_in
from integrations import arrivals, pulling, services
from integrations.clients import client_for
from integrations.models import (
    Credential,
    Customer,
    Location,
    Origin,
    PricingGroup,
    RefusedRow,
    Sale,
    SaleLine,
    StreamState,
    SyncRun,
)
from loyalty import personas
from loyalty.models import Persona, Wallet

from . import against

pytestmark = pytest.mark.django_db


def same_as_the_pos(shop) -> None:
    state = shop.control("state?rows=1")
    origin = shop.credential.origin_id
    assert against.customers(origin) == sorted(state["customers"]["rows"])
    assert against.sales(origin) == sorted(state["sales"]["rows"])


def test_a_first_sync_equals_the_pos(cova):
    cova.connect()
    ran = cova.sync()
    assert {run.status for run in ran.values()} == {"done"}, {n: r.message for n, r in ran.items()}
    assert not RefusedRow.unscoped.exists()
    assert Location.unscoped.count() == 3
    assert PricingGroup.unscoped.exists()
    same_as_the_pos(cova)
    assert SaleLine.unscoped.exclude(cost_cents=None).exists()


def test_a_second_sync_writes_nothing(cova):
    cova.connect()
    cova.sync()
    again = cova.sync()
    for run in again.values():
        assert (run.rows_new, run.rows_changed) == (0, 0), run.stream.stream
    full = cova.sync(full=True)
    assert (full["customers"].rows_new, full["customers"].rows_changed) == (0, 0)
    assert full["customers"].rows_unchanged >= Customer.unscoped.count()
    assert (full["sales"].rows_new, full["sales"].rows_changed) == (0, 0)


def test_details_are_fetched_once_and_not_when_skipped(cova):
    cova.connect()
    first = cova.sync()["sales"]

    def details() -> int:
        return sum("SalesInvoiceDetails" in call["path"] for call in cova.calls())

    asked = details()
    assert asked > 0
    assert Sale.unscoped.filter(has_details=True).count() == asked
    assert first.calls > asked
    # Refunds know their original; blank payments are filled in.
    assert not Sale.unscoped.filter(kind="refund", original_id="").exists()
    assert not Sale.unscoped.filter(kind="sale", payments="").exists()
    cova.sync("sales", full=True)
    assert details() == asked


def test_skip_importing_payment_method(cova):
    link = services.connection_of(account_id=cova.account.pk, slug="cova")
    services.save_settings(connection=link, given={"skip_payment_method": True}, now=timezone.now())
    cova.connect()
    cova.sync()
    blank = Sale.unscoped.filter(kind="sale", payments="")
    assert blank.exists() and not blank.filter(has_details=True).exists()
    # What was paid is then taken from the lines.
    for sale in blank:
        assert sale.net_cents == sale.total_cents - sale.tax_cents
    assert not Sale.unscoped.filter(kind="refund", original_id="").exists()  # refunds always


def test_trade_goes_on(cova):
    cova.connect()
    cova.sync()
    persona = Persona.unscoped.exclude(phone="").filter(sources__customer__phone__gt="").order_by("id").first()
    customer = persona.sources(manager="unscoped").first().customer
    with acting_in(cova.account.pk):
        today = timezone.localdate()
        personas.enrol(persona=persona, ground="staff", from_date=today - timedelta(days=1), now=timezone.now())
    sold = cova.control(
        "sell",
        customer_id=customer.external_id,
        lines=[{"sku": "X", "name": "X", "category": "Flower", "brand": "B", "price_cents": 5000, "quantity": 1}],
    )
    cova.control("edit", customer_id=customer.external_id, PrimaryName="Renamed")
    before = Wallet.unscoped.get(persona=persona).balance
    cova.sync()
    assert Sale.unscoped.get(external_id=sold["id"]).net_cents == 5000
    assert Wallet.unscoped.get(persona=persona).balance - before == Decimal(50)
    assert Persona.unscoped.get(pk=persona.pk).first_name == "Renamed"
    cova.control("refund", id=sold["id"])
    cova.sync()
    assert Wallet.unscoped.get(persona=persona).balance == before  # refunded in full the same day
    same_as_the_pos(cova)


def test_a_late_invoice_is_found(cova):
    cova.connect()
    cova.sync()
    at = (timezone.now() - timedelta(hours=20)).isoformat()
    sold = cova.control("sell", at=at)
    state = StreamState.unscoped.get(stream="sales")
    for place in state.cursor.values():
        place["hour"] = (timezone.now() - timedelta(hours=2)).strftime("%Y-%m-%dT%H:%M:%SZ")  # the hourly sweep is due
    state.save()
    cova.sync()
    assert Sale.unscoped.filter(external_id=sold["id"]).exists()


@pytest.mark.parametrize("kind", ["429", "500", "reset", "cut", "duplicate", "garbled", "html", "redirect", "huge"])
@pytest.mark.parametrize("stream", ["customers", "sales"])
def test_a_fault_loses_and_doubles_nothing(cova, kind, stream):
    cova.connect()
    match = {"customers": "/crm/", "sales": "/posreports/"}[stream]
    cova.fault(kind, match, times=4)
    ran = cova.sync()
    cursor_moved = ran[stream].pages
    if ran[stream].status != "done":
        state = StreamState.unscoped.get(stream=stream)
        assert state.message.endswith(".") and len(state.message) > 20  # a sentence
        assert state.failing_since and state.next_due > timezone.now()
        assert ran[stream].message == state.message
        assert cursor_moved or not state.cursor
    cova.control("faults", clear=True)
    assert cova.sync()[stream].status == "done"
    same_as_the_pos(cova)
    assert StreamState.unscoped.get(stream=stream).message == ""


def test_a_page_that_repeats_itself_stops(cova):
    cova.control("seed", customers=350, sales=10, locations=1, seed=7, days=5, rate=0)
    cova.connect()
    cova.sync()
    StreamState.unscoped.filter(stream="customers").update(cursor={})
    company = cova.credential.values["company_id"]
    with client_for(cova.credential, services.card("cova")) as client:
        client.get_json(
            f"/crm/v1/Companies({company})/CustomerFull",
            {"$filter": "LastModifiedDateUtc ge datetime'1970-01-01T00:00:00Z'", "$skip": 0, "$top": 100},
        )
        cova.fault("repeat", "/crm/", times=-1)
    run = cova.sync("customers")["customers"]
    assert (run.status, run.error) == ("failed", "unexpected_answer")
    cova.control("faults", clear=True)
    cova.sync()
    same_as_the_pos(cova)


@pytest.mark.parametrize(
    ("kind", "setting", "says"),
    [("bad_password", "password", "username and password"), ("temporary_password", "password", "temporary")],
)
def test_a_refused_log_in_pauses_the_credential(cova, kind, setting, says):
    cova.connect()
    Credential.unscoped.update(token=None)
    cova.fault(kind, "/v1/oauth2", times=-1)
    run = cova.sync("customers")["customers"]
    credential = Credential.unscoped.get()
    assert (run.status, run.error, credential.state) == ("failed", "bad_credentials", "paused")
    assert credential.setting == setting and says in credential.message
    assert services.dispatch_due(enqueue=lambda run_id: None)["started"] == 0  # nothing is tried
    cova.control("faults", clear=True)
    services.connect(credential=credential, now=timezone.now())
    assert cova.sync("customers")["customers"].status == "done"


def test_a_bad_row_is_kept_and_never_stops_the_others(cova):
    cova.connect()
    cova.sync("locations", "pricing_groups", "customers")
    line = {"sku": "X", "name": "X", "category": "Flower", "brand": "B", "price_cents": 2_000_000_000, "quantity": 1}
    absurd = cova.control("sell", lines=[line])
    run = cova.sync("sales")["sales"]
    assert (run.status, run.rows_refused) == ("done", 1)
    kept = RefusedRow.unscoped.get()
    assert kept.external_id == absurd["id"] and kept.reason.endswith(".")
    assert kept.row["Id"] == absurd["id"] and "DriverLicenseNumber" not in str(kept.row).replace(
        "'DriverLicenseNumber': '…'", ""
    )
    assert Sale.unscoped.count() == cova.control("state")["sales"]["count"] - 1


def test_only_one_delivery_runs(cova):
    cova.connect()
    run = services.enqueue_run(state=StreamState.unscoped.get(stream="locations"), enqueue=None)
    assert services.enqueue_run(state=StreamState.unscoped.get(stream="locations"), enqueue=None).pk == run.pk
    assert pulling.claim(run.pk)
    assert pulling.claim(run.pk) is None
    SyncRun.unscoped.update(lease_until=timezone.now() - timedelta(seconds=1))
    assert pulling.claim(run.pk)


def test_a_worker_taken_for_dead_writes_nothing(cova, monkeypatch):
    """The lease ends while a page is being fetched; another has the run when the page is to be saved."""
    cova.connect()
    cova.sync("locations")
    run = services.enqueue_run(state=StreamState.unscoped.get(stream="customers"), enqueue=None)
    arrive = arrivals.arrive

    def taken_over(**batch):
        SyncRun.unscoped.filter(pk=run.pk).update(token="somebody else")
        return arrive(**batch)

    monkeypatch.setattr(arrivals, "arrive", taken_over)
    assert services.run_slice(run.pk) is False
    assert not Customer.unscoped.exists()  # the page was rolled back with the lost lease
    assert StreamState.unscoped.get(stream="customers").cursor == {}
    run.refresh_from_db()
    assert run.status == "running"  # it is the other's


def test_a_run_that_kills_its_worker_is_given_up(cova):
    cova.connect()
    run = services.enqueue_run(state=StreamState.unscoped.get(stream="locations"), enqueue=None)
    for _ in range(5):
        assert pulling.claim(run.pk)
        SyncRun.unscoped.update(lease_until=timezone.now() - timedelta(seconds=1))
    assert services.run_slice(run.pk) is False
    run.refresh_from_db()
    assert (run.status, run.error) == ("failed", "poison")


def test_what_is_due_is_dispatched_once_in_order(cova):
    cova.connect()
    queued: list[int] = []
    assert services.dispatch_due(enqueue=queued.append)["started"] == 3  # sales wait for locations and customers
    assert services.dispatch_due(enqueue=queued.append) == {"started": 0, "taken_over": 0}
    for run_id in queued:
        while services.run_slice(run_id):
            pass
    StreamState.unscoped.update(next_due=timezone.now())
    queued.clear()
    services.dispatch_due(enqueue=queued.append)
    assert "sales" in SyncRun.unscoped.filter(pk__in=queued).values_list("stream__stream", flat=True)


def test_a_dead_workers_run_is_taken_over(cova):
    cova.connect()
    queued: list[int] = []
    services.dispatch_due(enqueue=queued.append)
    assert pulling.claim(queued[0])
    SyncRun.unscoped.filter(pk=queued[0]).update(lease_until=timezone.now() - timedelta(seconds=1))
    again: list[int] = []
    assert services.dispatch_due(enqueue=again.append)["taken_over"] == 1
    assert again == [queued[0]]
    assert SyncRun.unscoped.get(pk=queued[0]).takeovers == 1


@pytest.mark.django_db(transaction=True)
def test_many_dispatchers_do_not_overlap(cova):
    cova.connect()
    queued: list[int] = []

    def look():
        try:
            services.dispatch_due(enqueue=queued.append)
        finally:
            connections.close_all()

    threads = [threading.Thread(target=look) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert len(queued) == len(set(queued)) == 3


def test_fault_7_6_disconnect_keeps_everything_and_connecting_again_goes_on(cova):
    credential = cova.connect()
    cova.sync()
    count = Sale.unscoped.count()
    services.disconnect(credential=credential)
    credential.refresh_from_db()
    assert (credential.secrets, credential.token, credential.state) == (None, None, "disconnected")
    assert Sale.unscoped.count() == count
    origin = credential.origin_id
    again = cova.connect()
    assert again.origin_id == origin
    run = cova.sync()["sales"]
    assert run.rows_new == 0
    same_as_the_pos(cova)


def test_the_same_company_twice_is_refused(cova):
    cova.connect()
    link = services.connection_of(account_id=cova.account.pk, slug="cova")
    second = services.save_credential(connection=link, given=cova.given())
    with pytest.raises(services.Refused, match="already connected"):
        services.connect(credential=second, now=timezone.now())


def test_the_command_line(cova, capsys):
    args = [f"--set={name}={value}" for name, value in cova.given().items()]
    call_command("connect", "cova", "--account", cova.account.uid, "--map-stores", "auto", *args)
    told = json.loads(capsys.readouterr().out.strip().splitlines()[-1])
    assert told["mapped"] == 3
    call_command("sync", "--connection", str(told["connection"]))
    told = json.loads(capsys.readouterr().out.strip().splitlines()[-1])
    assert told["streams"]["customers"]["new"] == Customer.unscoped.count() > 0
    assert told["streams"]["sales"]["refused"] == 0
    call_command("check_ledger")
    assert capsys.readouterr().out.strip().splitlines()[-1] == "0 violations"


def test_a_slice_whose_source_is_being_erased_stops_and_says_so(cova):
    """Begun between the look at the credential and the landing: no fault of ours, and none of the POS."""
    cova.connect()
    Origin.unscoped.update(erasing_at=timezone.now())
    run = cova.sync("customers")["customers"]
    assert (run.status, run.error) == ("stopped", "") and "being erased" in run.message
    assert StreamState.unscoped.get(stream="customers").failures == 0 and not Customer.unscoped.exists()
