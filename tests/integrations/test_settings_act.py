"""Cova's settings act: proved with data in its sandbox. Those of the other cards: test_settings_act_elsewhere.py."""

from datetime import timedelta

import pytest
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from integrations import landing, pulling, services, shaping
from integrations.clients import client_for
from integrations.kit.errors import Frozen
from integrations.kit.records import CustomerRecord
from integrations.models import Credential, Customer, Location, OutsideMarket, RunStatus, Sale, StreamState, SyncRun
from loyalty.models import SaleState

from . import against
from .proving import proves

pytestmark = pytest.mark.django_db


# What is fetched, and what comes in


def calls(shop, part: str) -> list[str]:
    return [call["path"] for call in shop.calls() if part in call["path"]]


def from_now(shop) -> None:
    shop.since = max((call["seq"] for call in shop.calls()), default=shop.since)


def person(shop, first: str, state: str | None, phone: str = "", **more) -> str:
    fields = {"first_name": first, "last_name": "Moss", **more}
    if state:
        fields["state"] = state
    if phone:
        fields["phone"] = phone
    return shop.control("edit", **fields)["customer_id"]


def here(identity: str) -> Customer | None:
    return Customer.unscoped.filter(external_id=identity).first()


@pytest.fixture
def empty(cova):
    """A connected Cova without customers or sales: each test brings its own."""
    cova.control("wipe", yes=True)
    cova.connect()
    return cova


@proves("relevant_market")
def test_only_the_market_comes_in_and_the_rest_is_counted_without_personal_data(empty):
    near, far = person(empty, "Ada", "BC", "2505550142"), person(empty, "Ben", "ON", "6135550143", email="ben@x.test")
    nowhere = person(empty, "Cara", None, "2505550144")
    empty.set(relevant_market=["British Columbia"])
    ran = empty.sync("customers")["customers"]
    assert here(near) and here(nowhere) and not here(far)
    assert (ran.rows_read, ran.rows_new, ran.rows_outside, ran.rows_unchanged) == (3, 2, 1, 0)
    left = OutsideMarket.unscoped.get()
    assert (left.external_id, left.state) == (far, "ON") and len(left.phone_digest) == len(left.email_digest) == 64
    told = " ".join(str(value) for value in vars(left).values())
    assert "6135550143" not in told and "ben@" not in told and "Ben" not in told
    with connection.cursor() as cursor:
        found = shaping.counts(cursor, origin_ids=[empty.credential.origin_id])[empty.credential.origin_id]
    assert (found.outside, found.stateless_outside, found.stateless) == (1, 0, 1)


@proves("relevant_market")
def test_the_sales_of_who_is_outside_wait_and_are_joined_when_the_market_grows(empty):
    far = person(empty, "Ben", "AB", "4035550143")
    sold = empty.control("sell", customer_id=far)
    empty.set(relevant_market=["CA-BC"])
    empty.sync()
    sale = Sale.unscoped.get(external_id=sold["id"])
    assert sale.customer_id == far and sale.total_cents == sold["total_cents"]
    assert not SaleState.unscoped.filter(sale=sale).exclude(persona=None).exists()
    saved = empty.set(relevant_market=["CA-BC", "CA-AB"])
    assert saved.notes == ["All customers are read again from the beginning, for those who stayed outside until now."]
    assert StreamState.unscoped.get(credential=empty.credential, stream="customers").cursor == {}
    empty.sync("customers")
    assert here(far) and SaleState.unscoped.get(sale=sale).persona_id
    assert not OutsideMarket.unscoped.exists()


@proves("relevant_market")
def test_who_moves_in_comes_in_and_who_moves_away_stays(empty):
    one, other = person(empty, "Ada", "BC", "2505550142"), person(empty, "Ben", "ON", "6135550143")
    empty.set(relevant_market=["CA-BC"])
    empty.sync("customers")
    empty.control("edit", customer_id=one, state="ON", first_name="Adele")
    empty.control("edit", customer_id=other, state="BC")
    empty.sync("customers")
    assert here(one).first_name == "Adele" and here(one).state == "ON"  # market alone: edits flow on
    assert here(other) and not OutsideMarket.unscoped.exists()


@proves("relevant_market")
def test_a_run_that_began_with_the_smaller_market_saves_no_cursor_any_more(empty):
    person(empty, "Ben", "ON", "6135550143")
    empty.set(relevant_market=["CA-BC"])
    empty.sync("customers")
    state = StreamState.unscoped.get(credential=empty.credential, stream="customers")
    run = services.enqueue_run(state=state, enqueue=None)
    empty.set(relevant_market=[])
    run.refresh_from_db()
    assert run.status == RunStatus.STOPPED and "market" in run.message
    assert not OutsideMarket.unscoped.exists()  # nobody is outside any more, and all are read again
    empty.sync("customers")
    assert Customer.unscoped.filter(first_name="Ben").exists()


@proves("relevant_market")
def test_a_batch_costs_one_statement_more_and_two_with_a_choice_and_writes_nothing_twice(empty):
    """Counted beside the same batch without shaping: the card's choice, who is here or outside, and a write if any."""
    records = [
        CustomerRecord(f"c{n}", f"Ada{n}", state=("BC", "ON", "")[n % 3], version=1, modified_at=timezone.now())
        for n in range(300)
    ]
    asked = {"account_id": empty.account.pk, "origin_id": empty.credential.origin_id}

    def statements(**more) -> tuple[int, list[str]]:
        with transaction.atomic(), CaptureQueriesContext(connection) as seen:
            landing.customers(**asked, records=records, **more)
        return len(seen), [q["sql"] for q in seen]

    empty.set(relevant_market=["CA-BC"])
    assert statements()[0] > 0
    assert (Customer.unscoped.count(), OutsideMarket.unscoped.count()) == (200, 100)
    OutsideMarket.unscoped.all().delete()
    with_write = statements()[0]
    again, sql = statements()
    assert with_write == again + 1
    empty.set(relevant_market=[])
    assert not OutsideMarket.unscoped.exists()
    nothing_chosen, _ = statements()
    without, _ = statements(shaped=False)
    assert (again - 1, nothing_chosen - 1) == (nothing_chosen, without)
    landing_writes = [q for q in sql if q.lstrip().startswith(("INSERT", "WITH")) and "outsidemarket" in q]
    assert not landing_writes


@proves("sync_to_market")
def test_only_those_known_to_live_there_and_no_edits_of_the_others(empty):
    stateless_before = person(empty, "Dev", None, "2505550145")
    empty.sync("customers")
    with pytest.raises(services.Problems, match="needs a market"):
        empty.set(sync_to_market=True)
    near, far = person(empty, "Ada", "BC", "2505550142"), person(empty, "Ben", "ON", "6135550143")
    nowhere = person(empty, "Cara", None, "2505550144")
    empty.set(relevant_market=["CA-BC"], sync_to_market=True)
    empty.control("edit", customer_id=stateless_before, first_name="Devin")
    empty.sync("customers")
    assert here(near) and not here(far) and not here(nowhere)
    assert here(stateless_before).first_name == "Dev"  # stays, without further edits
    with connection.cursor() as cursor:
        found = shaping.counts(cursor, origin_ids=[empty.credential.origin_id])[empty.credential.origin_id]
    assert (found.outside, found.stateless_outside, found.stateless) == (2, 1, 1)
    with pytest.raises(services.Problems, match="turn it off first"):
        empty.set(relevant_market=[])
    empty.set(sync_to_market=False)
    empty.sync("customers")
    assert here(nowhere) and not here(far)


@proves("restrict_locations")
def test_sales_of_other_locations_are_not_fetched_at_all(cova):
    cova.connect()
    places = list(Location.unscoped.order_by("external_id").values_list("external_id", flat=True))
    cova.set(restrict_locations=[places[0]])
    cova.sync()
    asked = {path.split("Entities(")[1].split(")")[0] for path in calls(cova, "ByInvoiceWithProducts")}
    # Connecting tries the permission with a single row of one location; nothing else asks for another.
    tried = [path for path in calls(cova, "ByInvoiceWithProducts") if f"Entities({places[0]})" not in path]
    assert places[0] in asked and len(tried) <= 1
    assert set(Sale.unscoped.values_list("location__external_id", flat=True)) == {places[0]}
    assert Customer.unscoped.count() == len(cova.control("state?rows=1")["customers"]["rows"])  # not affected
    one = Location.unscoped.get(external_id=places[0])
    other = Location.unscoped.get(external_id=places[1])
    an_hour_ago = timezone.now() - timedelta(hours=1)
    known = {"account_id": cova.account.pk, "moment": an_hour_ago}
    assert services.read_past(**known, location_ids=[one.pk]).ok
    blind = services.read_past(**known, location_ids=[other.pk])
    assert not blind.ok and "not imported" in blind.waiting[0] and other.name in blind.waiting[0]
    assert not services.read_past(**known).ok

    # What is added is read with its past, and says nothing until then.
    cova.set(restrict_locations=places[:2])
    assert not services.read_past(**known, location_ids=[other.pk]).ok
    cova.sync("sales")
    assert services.read_past(**known, location_ids=[other.pk]).ok
    state = cova.control("state?rows=1")["sales"]["rows"]
    expected = {row.split("|")[0] for row in state if row.split("|")[3] in places[:2]}
    assert set(Sale.unscoped.values_list("external_id", flat=True)) == expected
    with pytest.raises(services.Problems, match="names no location 999"):
        cova.set(restrict_locations=["999"])


@proves("skip_payment_method")
def test_payment_methods_are_not_fetched_and_the_spared_calls_are_counted(cova):
    cova.control("seed", customers=40, sales=200, locations=2, seed=7, days=5, blank_payments=0.3, rate=0)
    cova.connect()
    cova.set(skip_payment_method=True)
    ran = cova.sync()["sales"]
    blank = Sale.unscoped.filter(kind="sale", payments="").count()
    assert blank > 20 and ran.calls_spared == blank
    asked = {path.rsplit("(", 1)[1].rstrip(")") for path in calls(cova, "SalesInvoiceDetails")}
    assert not Sale.unscoped.filter(external_id__in=asked, payments="").exists()
    assert Sale.unscoped.filter(kind="sale", payments="", net_cents__gt=0).count() >= blank - 1
    assert cova.sync("sales", full=True)["sales"].calls_spared == 0  # they would not have been asked for again


PROFILE = {"first_name": "Adele", "phone": "2505550199"}


@proves("sync_personas")
def test_off_new_customers_arrive_and_edits_of_the_profile_do_not(empty):
    empty.set(sync_personas=False)
    one = person(empty, "Ada", "BC", "2505550142")
    empty.sync("customers")
    new = person(empty, "Ben", "BC", "2505550143")
    empty.control("edit", customer_id=one, **PROFILE, do_not_contact=True)
    winner = person(empty, "Cara", "BC", "2505550144")
    empty.sync("customers")
    assert here(new).first_name == "Ben" and here(new).phone == "+12505550143"
    kept = here(one)
    assert (kept.first_name, kept.phone, kept.do_not_contact) == ("Ada", "+12505550142", True)
    empty.control("edit", customer_id=one, merged_into=winner, disabled=True)
    empty.sync("customers")
    assert here(one).merged_into == winner and here(one).disabled and here(one).first_name == "Ada"
    again = empty.sync("customers", full=True)["customers"]
    assert (again.rows_new, again.rows_changed) == (0, 0)


@proves("sync_personas")
def test_on_edits_flow_from_that_moment_and_older_ones_do_not(empty):
    empty.set(sync_personas=False)
    one, other = person(empty, "Ada", "BC", "2505550142"), person(empty, "Ben", "BC", "2505550143")
    empty.sync("customers")
    empty.control("edit", customer_id=one, first_name="Adele")
    empty.sync("customers")
    StreamState.unscoped.update(next_due=timezone.now())
    # Turned on a while after that edit.
    services.save_settings(
        connection=empty.credential.connection, given={"sync_personas": True},
        now=timezone.now() + timedelta(seconds=2),
    )  # fmt: skip
    empty.sync("customers", full=True)
    assert here(one).first_name == "Ada"
    services.save_settings(connection=empty.credential.connection, given={"sync_personas": False}, now=timezone.now())
    services.save_settings(connection=empty.credential.connection, given={"sync_personas": True}, now=timezone.now())
    empty.control("edit", customer_id=other, **PROFILE)
    empty.sync("customers")
    assert (here(other).first_name, here(other).phone) == ("Adele", "+12505550199")


@proves("frozen")
def test_frozen_no_call_goes_to_the_pos_by_any_way(cova, monkeypatch):
    """Card and credential alike: dispatcher, a slice in mid-page, sync now, connecting, details, and any client."""
    cova.connect()
    cova.sync("locations", "pricing_groups", "customers")
    link = cova.credential.connection
    original = pulling.Pull._keep_lease
    for target in ({"connection": link}, {"credential": cova.credential}):
        state = StreamState.unscoped.get(credential=cova.credential, stream="sales")
        run = services.enqueue_run(state=state, enqueue=None)
        seen = []

        def stop_after_three(pull, seen=seen, target=target):
            seen.append(1)
            if len(seen) == 3:
                services.freeze(**target, now=timezone.now())
                from_now(cova)
            original(pull)

        monkeypatch.setattr(pulling.Pull, "_keep_lease", stop_after_three)
        assert services.run_slice(run.pk) is False
        monkeypatch.setattr(pulling.Pull, "_keep_lease", original)
        run.refresh_from_db()
        assert (run.status, run.message) == (RunStatus.STOPPED, "Frozen.") and len(seen) == 3

        StreamState.unscoped.update(next_due=timezone.now() - timedelta(hours=1))
        assert services.dispatch_due(enqueue=lambda pk: None)["started"] == 0
        assert services.sync_now(connection=link, enqueue=lambda pk: None) == 0
        queued = SyncRun.unscoped.create(account=cova.account, stream=state)
        assert services.run_slice(queued.pk) is False
        credential = Credential.unscoped.select_related("connection").get(pk=cova.credential.pk)
        with pytest.raises(Frozen):
            services.connect(credential=credential, now=timezone.now())
        with pytest.raises(Frozen), client_for(credential, services.card("cova")) as client:
            client.get_json("/anything")
        assert services.effective(origin_id=credential.origin_id).frozen
        assert cova.calls() == []
        where = services.read_past(account_id=cova.account.pk, moment=timezone.now() - timedelta(days=1))
        assert not where.ok and "frozen" in where.waiting[0]

        credential.refresh_from_db()
        assert credential.state == "connected" and credential.secrets  # all of it stays
        services.unfreeze(**target, now=timezone.now())
        assert cova.sync("sales")["sales"].status == "done"  # goes on and catches up
    state = cova.control("state?rows=1")
    assert against.sales(cova.credential.origin_id) == sorted(state["sales"]["rows"])


@proves("frozen")
def test_a_client_made_before_the_freezing_makes_no_call_after_it(cova):
    cova.connect()
    credential = Credential.unscoped.select_related("connection").get(pk=cova.credential.pk)
    with client_for(credential, services.card("cova")) as client:
        services.freeze(connection=credential.connection, now=timezone.now())
        from_now(cova)
        with pytest.raises(Frozen, match="asked nothing and told nothing"):
            client.get_json("/pricing/v1/Companies(501200)/PricingGroups")
    assert cova.calls() == []
