"""Earning: the target of a sale as a table, and settling through landing."""

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from zoneinfo import ZoneInfo

import pytest

from aiqsync.accounts.tenancy import acting_in
from integrations.kit.records import CustomerRecord, SaleRecord
from integrations.sink import Batch, sink
from loyalty import earning
from loyalty.earning import Rules, SaleFacts, sentence, target
from loyalty.models import Entry, Persona, Programme, SaleState
from tests.factories import make_account
from tests.records import NOON, customer, land_customers, land_sales, make_origin, refund, sale, the_sale

RULES = Rules(
    enabled=True, points_per_100=Decimal(100), accrual_start=None, exclude_tax=True, rounding="off", refunds="keep",
    expire_days=None, zone=ZoneInfo("America/Vancouver"),
)  # fmt: skip
SALE = SaleFacts(
    sale_id=1, persona_id=1, member_from=date(2026, 1, 1), kind="sale", sold_at=NOON, net_cents=5055, tax_cents=607,
    refunded_net_cents=0, refunded_tax_cents=0, refunds_end=None, posted=Decimal(0),
)  # fmt: skip
LATE = datetime(2026, 3, 3, 7, 30, tzinfo=UTC)  # still 2 March in Vancouver


@pytest.mark.parametrize(
    ("sale_changes", "rule_changes", "points", "says"),
    [
        ({}, {}, "50.55", "$50.55 before tax, 100 points per $100."),
        ({}, {"exclude_tax": False}, "56.62", "$56.62 with tax"),
        ({}, {"points_per_100": Decimal("2.5")}, "1.26", "2.5 points per $100"),
        ({}, {"rounding": "nearest"}, "51", "rounded from 50.55"),
        ({}, {"rounding": "up"}, "51", "rounded up"),
        ({}, {"rounding": "down"}, "50", "rounded down"),
        ({"net_cents": 50}, {"rounding": "nearest"}, "1", "rounded from 0.5"),  # half away from zero
        ({"net_cents": -100}, {}, "0", ""),
        ({"kind": "refund", "net_cents": -5055}, {}, "0", "A refund earns nothing."),
        ({"persona_id": None}, {}, "0", "No customer"),
        ({"member_from": None}, {}, "0", "not a member"),
        ({"member_from": date(2026, 3, 3)}, {}, "0", "Sales before 3 Mar 2026 earn nothing."),
        ({"member_from": date(2026, 3, 2), "sold_at": LATE}, {}, "50.55", ""),  # the account's day, not UTC's
        ({}, {"accrual_start": date(2026, 3, 3)}, "0", "before 3 Mar 2026"),
        ({"refunded_net_cents": 5055, "refunded_tax_cents": 607, "refunds_end": LATE}, {}, "0", "in full the same day"),
        ({"refunded_net_cents": 5055, "refunded_tax_cents": 606, "refunds_end": LATE}, {}, "50.55", ""),  # not in full
        (
            {"refunded_net_cents": 5055, "refunded_tax_cents": 607, "refunds_end": LATE + timedelta(hours=1)},
            {},
            "50.55",
            "",
        ),  # the next day
        ({"refunded_net_cents": 2000}, {}, "50.55", ""),  # keep: AIQ's way
        ({"refunded_net_cents": 2000}, {"refunds": "reverse"}, "30.55", "$20.00 refunded left out"),
        ({"refunded_net_cents": 2000}, {"refunds": "reverse_full"}, "50.55", ""),
        ({"refunded_net_cents": 5055}, {"refunds": "reverse_full"}, "0", ""),
        ({"refunded_net_cents": 9999}, {"refunds": "reverse"}, "0", ""),
        ({}, {"enabled": False}, "0", "switched off"),
        ({"posted": Decimal(50)}, {"enabled": False}, "50.55", ""),  # what was earned before the pause stays
    ],
)  # fmt: skip
def test_target(sale_changes, rule_changes, points, says):
    found, _, why = target(replace(SALE, **sale_changes), replace(RULES, **rule_changes))
    assert found == Decimal(points)
    assert says in sentence(why)


@pytest.fixture
def origin(db):
    return make_origin(make_account())


def land(origin, *records):
    """Rows and what comes of them, as a page does it."""
    kind = type(records[0])
    landed = (land_customers if kind is CustomerRecord else land_sales)(origin, *records)
    if landed.touched:
        sink().landed(Batch(origin.account_id, origin.pk, kind, landed.new, landed.changed, NOON))
    return landed


def member(origin, external_id="c", **fields) -> Persona:
    land(origin, customer(external_id, **{"phone": "+16045550142"} | fields))
    persona = Persona.unscoped.get(sources__customer__external_id=external_id, sources__customer__origin=origin)
    Persona.unscoped.filter(pk=persona.pk).update(member_from=date(2026, 1, 1))
    return persona


def balance(persona) -> Decimal:
    return Persona.unscoped.get(pk=persona.pk).wallet.balance


def entries(persona) -> list[Decimal]:
    return list(Entry.unscoped.filter(persona=persona).order_by("id").values_list("points", flat=True))


def test_a_sale_becomes_points_once(origin):
    persona = member(origin)
    land(origin, sale("s", customer_id="c"))
    land(origin, sale("s", customer_id="c"))
    earning.settle_sales(account_id=origin.account_id, sale_ids=[the_sale(origin, "s").pk], now=NOON)
    assert entries(persona) == [Decimal(100)]


def test_a_sale_edited_there_and_back(origin):
    persona = member(origin)
    for net in (10000, 6000, 10000):
        land(origin, sale("s", customer_id="c", net=net))
    assert entries(persona) == [100, -40, 40]
    assert balance(persona) == 100


def test_a_sale_that_precedes_its_customer_waits(origin):
    land(origin, sale("s", customer_id="c"))
    assert SaleState.unscoped.get().persona is None
    land(origin, customer("c", phone="+16045550142"))
    persona = Persona.unscoped.get()
    assert SaleState.unscoped.get().persona == persona  # joined; no member, no points
    Persona.unscoped.update(member_from=date(2026, 1, 1))
    earning.settle_personas(account_id=origin.account_id, persona_ids=[persona.pk], now=NOON)
    assert balance(persona) == 100


def test_a_void_always_settles(origin):
    persona = member(origin)
    land(origin, sale("s", customer_id="c"))
    land(origin, refund("r", of="s", customer_id="c", sold_at=NOON + timedelta(hours=1)))
    assert entries(persona) == [100, -100]


def test_a_refund_another_day_follows_the_setting(origin):
    persona = member(origin)
    land(origin, sale("s", customer_id="c"))
    land(origin, refund("r", of="s", customer_id="c", sold_at=NOON + timedelta(days=2)))
    assert balance(persona) == 100  # keep
    Programme.unscoped.update(refunds="reverse")
    earning.settle_sales(account_id=origin.account_id, sale_ids=[the_sale(origin, "s").pk], now=NOON)
    assert balance(persona) == 0


def test_a_refund_may_arrive_before_its_sale(origin):
    persona = member(origin)
    land(origin, refund("r", of="s", customer_id="c", sold_at=NOON + timedelta(hours=1)))
    land(origin, sale("s", customer_id="c"))
    assert balance(persona) == 0


def test_a_late_owner_moves_the_points(origin):
    first, second = member(origin), member(origin, "d", phone="+16045550143", first_name="Bea")
    land(origin, sale("s", customer_id="c"))
    land(origin, sale("s", customer_id="d"))
    assert (balance(first), balance(second)) == (0, 100)


def test_points_expire_at_the_end_of_a_day(origin):
    persona = member(origin)
    Programme.unscoped.update(expire_days=30)
    land(origin, sale("s", customer_id="c"))
    with acting_in(origin.account_id):
        lot = persona.lots.get()
    # The sale's day is 2 March; thirty days later is 1 April, whose end is midnight in Vancouver (summer time).
    assert lot.expires_at == datetime(2026, 4, 2, 7, 0, tzinfo=UTC)


def test_many_sales_cost_the_same_number_of_statements(origin, django_assert_max_num_queries):
    member(origin)
    records = [sale(f"s{n}", customer_id="c", net=100 + n) for n in range(300)]
    landed = land_sales(origin, *records)
    with django_assert_max_num_queries(13):  # ANALYZE now and then while tables grow
        sink().landed(Batch(origin.account_id, origin.pk, SaleRecord, landed.new, [], NOON))
    assert Entry.unscoped.count() == 300
