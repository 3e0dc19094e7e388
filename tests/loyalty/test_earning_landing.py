"""Earning from landed rows: what moves a sale's worth is posted as the difference, whenever it comes."""

import random
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import pytest
from django.db import IntegrityError, transaction

from aiqsync.accounts.tenancy import acting_in
from integrations.kit.records import CustomerRecord
from integrations.sink import Batch, sink
from loyalty import audiences, audits, consent, earning, guard, merging, personas
from loyalty.models import (
    Audience,
    BlockedPhone,
    BoostState,
    Entry,
    Modifier,
    Persona,
    Programme,
    SaleState,
    Shortfall,
    Source,
)
from stores.models import StoreMapping
from tests.factories import make_account, make_persona, make_store
from tests.records import NOON, customer, land_customers, land_sales, line, make_origin, refund, sale, the_sale

PHONE = "+16045550142"
HOUR, DAY = timedelta(hours=1), timedelta(days=1)


@pytest.fixture
def origin(db):
    found = make_origin(make_account())
    with acting_in(found.account_id):
        yield found


def land(origin, *records, now=NOON):
    """Rows and what comes of them, as a page does it."""
    kind = type(records[0])
    with transaction.atomic():
        landed = (land_customers if kind is CustomerRecord else land_sales)(origin, *records)
        if landed.people:
            sink().landed(Batch(origin.account_id, origin.pk, CustomerRecord, [], landed.people, now))
        if landed.touched:
            sink().landed(Batch(origin.account_id, origin.pk, kind, landed.new, landed.changed, now))
    return landed


def member(origin, external_id="c", phone=PHONE, day=date(2026, 1, 1), **fields) -> Persona:
    land(origin, customer(external_id, phone=phone, **fields))
    persona = Source.objects.get(customer__external_id=external_id, customer__origin=origin).persona
    personas.enrol(persona=persona, ground="staff", from_date=day, now=NOON)
    return Persona.objects.get(pk=persona.pk)


def posted(persona) -> list[tuple[str, Decimal]]:
    return list(Entry.objects.filter(persona=persona).order_by("id").values_list("kind", "points"))


def earned(persona) -> list[Decimal]:
    return [points for kind, points in posted(persona) if kind == "earn"]


def modifier(origin, **fields):
    return Modifier.objects.create(account_id=origin.account_id, **{"name": "Double day"} | fields)


def settle(origin, now=NOON):
    ids = [state for state in SaleState.objects.values_list("sale_id", flat=True)]
    return earning.settle_sales(account_id=origin.account_id, sale_ids=ids, now=now)


def sound(origin):
    return [f"{v.rule.name}: {v.examples}" for v in audits.violations(account_id=origin.account_id)]


class TestFaults:
    def test_fault_1_6_a_late_owner_moves_the_sale_and_adds_no_second_one(self, origin):
        ada = member(origin)
        for _ in range(2):
            land(origin, sale("s"))  # nobody's yet
        assert earned(ada) == [] and SaleState.objects.get().persona is None
        for _ in range(2):
            land(origin, sale("s", customer_id="c"))
        assert earned(ada) == [100]
        bea = member(origin, "d", phone="+16045550143", first_name="Bea")
        land(origin, sale("s", customer_id="d"))
        assert (earned(ada), earned(bea)) == ([100, -100], [100])
        assert SaleState.objects.count() == 1 and sound(origin) == []
        moved = Entry.objects.get(persona=ada, points=-100)
        assert "another customer's" in earning.sentence(moved.explanation)

    def test_fault_2_1_the_key_of_source_and_sale_is_unique_in_the_database(self, origin):
        ada = member(origin)
        land(origin, sale("s", customer_id="c"))
        land(origin, sale("s", customer_id="c"))  # the till sends it again after it was offline
        assert earned(ada) == [100]
        entry = Entry.objects.get(kind="earn")
        assert entry.key == f"earn:{the_sale(origin, 's').pk}:0"
        with pytest.raises(IntegrityError, match="sale_once"), transaction.atomic():
            row = the_sale(origin, "s")
            row.pk = None
            row.save(force_insert=True)
        entry.pk = None
        with pytest.raises(IntegrityError, match="entry_key_once"), transaction.atomic():
            entry.save(force_insert=True)
        # The same number of another company of the account is another sale.
        other = make_origin(origin.account, "777")
        land(other, customer("c", phone=PHONE))
        land(other, sale("s", customer_id="c"))
        assert earned(ada) == [100, 100]

    def test_fault_2_2_the_same_page_again_is_answered_alike_and_writes_nothing(self, origin):
        ada = member(origin)
        page = [sale(f"s{n}", customer_id="c", net=1000 * n, sold_at=NOON + n * HOUR) for n in range(1, 6)]
        land(origin, *page)
        before = list(Entry.objects.values()), list(SaleState.objects.order_by("pk").values())
        for again in (page, page[::-1], page[2:4]):
            assert land(origin, *again).touched == []
            assert settle(origin) == 0
        assert (list(Entry.objects.values()), list(SaleState.objects.order_by("pk").values())) == before
        assert sum(earned(ada)) == 150

    @pytest.mark.parametrize(
        "status",
        [
            {"fulfilment": "pickup"}, {"payments": "Debit"}, {"has_details": True}, {"employee_name": "Kim"},
            {"number": "IN-99"}, {"receipt": "R-1"}, {"lines": (line(1, 10000, name="Renamed"),)},
        ],
    )  # fmt: skip
    def test_fault_2_3_a_new_status_is_no_new_sale(self, origin, status):
        ada = member(origin)
        for _ in range(2):  # "completed", and again
            land(origin, sale("s", customer_id="c"))
            land(origin, sale("s", customer_id="c", **status))
        assert earned(ada) == [100]

    def test_fault_2_4_one_trip_of_many_lines_and_batches_earns_once(self, origin):
        ada = member(origin)
        Programme.objects.update(points_per_order=10, max_visits_per_day=1)
        lines = tuple(line(n, 1000, sku=f"k{n}") for n in range(1, 11))
        batches = [sale("s", customer_id="c", lines=lines[:n]) for n in (3, 7, 10)]
        land(origin, *batches)  # three records of one order in one page, then each by itself
        for batch in batches:
            land(origin, batch)
        assert sum(earned(ada)) == 110 and len(earned(ada)) == 1

    def test_fault_8_3_a_blocklisted_phone_earns_nothing_until_it_is_taken_off(self, origin):
        ada = member(origin)
        blocked = BlockedPhone.objects.create(phone=PHONE, note="Kim")
        land(origin, sale("s", customer_id="c"))
        staff = Audience.objects.create(name="Friends")
        audiences.add(account_id=origin.account_id, audience_id=staff.pk, persona_ids=[ada.pk], now=NOON)
        modifier(origin, name="Gift", kind="boost", points=50, audience=staff)
        assert earning.settle_audience_boosts(account_id=origin.account_id, now=NOON) == 0
        assert posted(ada) == []
        # An old number of his counts as well; off the list he earns for what he bought meanwhile.
        blocked.phone = "+16045550100"
        blocked.save()
        ada.identifiers.create(account=origin.account, kind="phone", value=blocked.phone)
        assert settle(origin) == 0
        blocked.delete()
        settle(origin)
        assert earning.settle_audience_boosts(account_id=origin.account_id, now=NOON) == 1
        assert posted(ada) == [("earn", 100), ("boost", 50)]


class TestSettlesToTheDifference:
    def test_edited_voided_and_returned(self, origin):
        ada = member(origin)
        Programme.objects.update(refunds="reverse")
        land(origin, sale("s", customer_id="c"))
        land(origin, sale("s", customer_id="c", net=8000, lines=(line(1, 8000),)))
        land(origin, refund("r1", of="s", net=3000, tax=0, customer_id="c", sold_at=NOON + 2 * DAY))
        land(origin, refund("r2", of="s", net=5000, tax=960, customer_id="c", sold_at=NOON + 3 * DAY))
        assert earned(ada) == [100, -20, -30, -50]
        # The second return is taken back: an invoice that refunds the refund.
        land(origin, sale("r3", net=5000, tax=960, customer_id="c", original_id="r2", has_details=True,
                          sold_at=NOON + 4 * DAY))  # fmt: skip
        assert earned(ada) == [100, -20, -30, -50, 50]
        assert sound(origin) == []

    def test_a_void_takes_back_with_the_keeping_setting_too(self, origin):
        ada = member(origin)
        land(origin, sale("s", customer_id="c"), sale("t", customer_id="c", net=5000))
        land(origin, refund("r", of="s", customer_id="c", sold_at=NOON + HOUR))
        land(origin, refund("q", of="t", net=5000, customer_id="c", sold_at=NOON + DAY))
        assert sum(earned(ada)) == 50  # the void went; the refund of another day stays (AIQ's way)

    def test_what_was_spent_meanwhile_is_a_shortfall_and_nothing_is_negative(self, origin):
        from loyalty import ledger

        ada = member(origin)
        land(origin, sale("s", customer_id="c"))
        ledger.adjust(account_id=origin.account_id, persona_id=ada.pk, points=Decimal(-70), key="spent", now=NOON)
        land(origin, refund("r", of="s", customer_id="c", sold_at=NOON + HOUR))
        assert ledger.spendable_points(origin.account_id, ada.pk, NOON) == 0
        assert Shortfall.objects.get().points == 70
        assert sound(origin) == []

    def test_each_posted_figure_is_what_its_explanation_adds_up_to(self, origin):
        """Random sales, edits and refunds under random rules: the state's figures are the points posted."""
        ada = member(origin)
        dice = random.Random(20260302)
        store = make_store(origin.account)
        StoreMapping.objects.create(location=origin.locations.get(), store=store)
        modifier(origin, name="Double Monday", weekdays=[0], stores=[store.pk])
        modifier(origin, name="Flower", factor="1.5", categories=["Flower"])
        modifier(origin, name="No gift cards", kind="zero", skus=["GIFT"])
        skus, kinds = ["GIFT", "A1", "B2"], ["Flower", "Edibles"]
        for step in range(60):
            Programme.objects.update(
                rounding=dice.choice(["off", "up", "down", "nearest"]), refunds=dice.choice(["keep", "reverse"]),
                points_per_100=dice.choice([100, Decimal("2.5"), Decimal("33.33")]),
                points_per_order=dice.choice([0, 5]),
            )  # fmt: skip
            which, at = f"s{dice.randrange(12)}", NOON + dice.randrange(72) * HOUR
            if dice.random() < 0.2:
                land(
                    origin,
                    refund(f"r{step}", of=which, net=dice.randrange(1, 4000), tax=0, customer_id="c", sold_at=at),
                )
            else:
                cents = [dice.randrange(1, 9000) for _ in range(dice.randrange(1, 4))]
                lines = tuple(
                    line(n, c, sku=dice.choice(skus), category=dice.choice(kinds)) for n, c in enumerate(cents, 1)
                )
                land(origin, sale(which, customer_id="c", net=sum(cents), lines=lines, sold_at=at))
            for state in SaleState.objects.all():
                said = earning.points_said(state.explanation)
                assert state.posted == (said if said is not None else 0), state.explanation
                assert state.posted == sum(
                    Entry.objects.filter(sale=state.sale_id).values_list("points", flat=True)
                ) + sum(-s.points + s.netted for s in Shortfall.objects.filter(sale=state.sale_id))
        assert sound(origin) == [] and ada.entries.exists()


class TestWhatRulesAskOfTheData:
    def test_stores_by_todays_mapping(self, origin):
        store = make_store(origin.account)
        ada = member(origin)
        modifier(origin, stores=[store.pk])
        land(origin, sale("s", customer_id="c"))
        assert earned(ada) == [100]
        StoreMapping.objects.create(location=origin.locations.get(), store=store)
        settle(origin)
        assert earned(ada) == [100, 100]

    def test_words_without_case(self, origin):
        ada = member(origin)
        modifier(origin, brands=["Cedar PEAK"])
        land(origin, sale("s", customer_id="c", lines=(line(1, 10000, brand=" cedar Peak "),)))
        assert earned(ada) == [200]

    def test_an_audience_counts_at_the_moment_of_the_sale(self, origin):
        ada = member(origin)
        group = Audience.objects.create(name="Locals")
        modifier(origin, audience=group)
        whom = {"account_id": origin.account_id, "audience_id": group.pk, "persona_ids": [ada.pk]}
        audiences.add(**whom, now=NOON)
        audiences.remove(**whom, now=NOON + 2 * HOUR)
        land(
            origin,
            *[sale(f"s{n}", customer_id="c", sold_at=NOON + n * HOUR) for n in (-1, 0, 1, 2)],
        )
        assert [state.posted for state in SaleState.objects.order_by("sale__sold_at")] == [100, 200, 200, 100]

    def test_an_audience_of_a_row_that_was_merged_counts_for_the_survivor(self, origin):
        ada, bea = member(origin), member(origin, "d", phone="+16045550143", first_name="Bea")
        group = Audience.objects.create(name="Locals")
        modifier(origin, audience=group)
        audiences.add(account_id=origin.account_id, audience_id=group.pk, persona_ids=[bea.pk], now=NOON)
        merging.merge(account_id=origin.account_id, one_id=ada.pk, other_id=bea.pk, now=NOON)
        land(origin, sale("s", customer_id="c", sold_at=NOON + HOUR))
        assert earned(ada) == [200]

    def test_consent_at_the_moment_of_the_sale(self, origin):
        ada = member(origin)
        Programme.objects.update(opt_in_needed="sms")
        said = {"account_id": origin.account_id, "channel": "sms", "address": PHONE, "source": "staff"}
        consent.record(**said, act="opt_in", now=NOON)
        consent.record(**said | {"source": "shopper"}, act="stop", now=NOON + 2 * HOUR)
        consent.record(**said, act="import_in", now=NOON + 3 * HOUR)  # STOP stands
        land(origin, *[sale(f"s{n}", customer_id="c", sold_at=NOON + n * HOUR) for n in (-1, 0, 1, 2, 4)])
        assert [state.posted for state in SaleState.objects.order_by("sale__sold_at")] == [0, 100, 100, 0, 0]
        assert sum(earned(ada)) == 200  # opting out takes nothing back

    def test_consent_of_a_number_that_identifies_nobody(self, origin):
        """A phone borne by three people is still the address of each of them."""
        for n, name in enumerate(("Ada", "Bea", "Cleo")):
            land(origin, customer(f"c{n}", phone=PHONE, first_name=name))
        assert guard.open_numbers(account_id=origin.account_id) == (1, 3)
        Programme.objects.update(opt_in_needed="sms")
        cleo = Persona.objects.get(first_name="Cleo")
        assert not cleo.identifiers.filter(shared=False).exists()
        personas.enrol(persona=cleo, ground="staff", from_date=date(2026, 1, 1), now=NOON)
        consent.record(
            account_id=origin.account_id, channel="sms", address=PHONE, act="opt_in", source="staff", now=NOON - HOUR
        )
        land(origin, sale("s", customer_id="c2"))
        assert earned(cleo) == [100]

    def test_points_per_order_follow_the_visits_of_the_day(self, origin):
        ada = member(origin)
        Programme.objects.update(points_per_order=10, max_visits_per_day=2)
        for n in (3, 2, 1):  # the latest comes first
            land(origin, sale(f"s{n}", customer_id="c", sold_at=NOON + n * HOUR))
        assert [s.posted for s in SaleState.objects.order_by("sale__sold_at")] == [110, 110, 100]
        land(origin, refund("r", of="s1", customer_id="c", sold_at=NOON + 4 * HOUR))  # a void: the third moves up
        assert [s.posted for s in SaleState.objects.filter(sale__kind="sale").order_by("sale__sold_at")] == [
            0,
            110,
            110,
        ]
        assert sum(earned(ada)) == 220 and sound(origin) == []

    def test_who_becomes_a_patient_is_settled_at_once(self, origin):
        ada = member(origin)
        Programme.objects.update(earning_types="medical")
        land(origin, sale("s", customer_id="c"))
        assert earned(ada) == []
        land(origin, customer("c", phone=PHONE, customer_type="medical", version=2))
        assert earned(ada) == [100]
        land(origin, customer("c", phone=PHONE, customer_type="recreational", version=3))
        assert earned(ada) == [100, -100]


class TestBoosts:
    def test_with_a_purchase_once_for_each_persona_and_group(self, origin):
        ada, bea = member(origin), member(origin, "d", phone="+16045550143", first_name="Bea")
        modifier(origin, name="Try it", kind="boost", points=50, with_sale=True, skus=["NEW"])
        new = (line(1, 10000, sku="new"),)
        land(origin, sale("s1", customer_id="c"))
        land(origin, sale("s2", customer_id="c", lines=new, sold_at=NOON + HOUR))
        land(origin, sale("s3", customer_id="c", lines=new, sold_at=NOON + 2 * HOUR))
        land(origin, sale("s4", customer_id="d", lines=new, sold_at=NOON + 3 * HOUR))
        assert [p for k, p in posted(ada) if k == "boost"] == [50]
        assert [p for k, p in posted(bea) if k == "boost"] == [50]
        merging.merge(account_id=origin.account_id, one_id=ada.pk, other_id=bea.pk, now=NOON + DAY)
        land(origin, sale("s5", customer_id="d", lines=new, sold_at=NOON + 2 * DAY))
        assert [p for k, p in posted(ada) if k == "boost"] == [50]  # Bea's own came with the merge
        assert sound(origin) == []

    def test_goes_with_its_purchase_and_another_purchase_gives_it(self, origin):
        ada = member(origin)
        modifier(origin, name="Try it", kind="boost", points=50, with_sale=True)
        land(origin, sale("s1", customer_id="c"), sale("s2", customer_id="c", sold_at=NOON + HOUR))
        assert BoostState.objects.get().sale == the_sale(origin, "s1")
        land(origin, refund("r", of="s1", customer_id="c", sold_at=NOON + 2 * HOUR))  # a void
        assert [p for k, p in posted(ada) if k == "boost"] == [50, -50, 50]
        assert BoostState.objects.get().sale == the_sale(origin, "s2")
        back = Entry.objects.get(kind="boost", points=-50)
        assert "taken back" in earning.sentence(back.explanation)
        land(origin, refund("q", of="s2", customer_id="c", sold_at=NOON + 3 * HOUR))
        assert sum(p for k, p in posted(ada) if k == "boost") == 0 and sound(origin) == []

    def test_moves_with_a_late_owner(self, origin):
        ada, bea = member(origin), member(origin, "d", phone="+16045550143", first_name="Bea")
        modifier(origin, name="Try it", kind="boost", points=50, with_sale=True)
        land(origin, sale("s", customer_id="c"))
        land(origin, sale("s", customer_id="d"))
        assert sum(p for k, p in posted(ada) if k == "boost") == 0
        assert [p for k, p in posted(bea) if k == "boost"] == [50]

    def test_of_an_audience_once_without_a_purchase(self, origin):
        ada = member(origin)
        outsider = make_persona(origin.account, phone="+16045550143", member=False)
        group = Audience.objects.create(name="Locals", by_rules=False)
        whom = [ada.pk, outsider.pk]
        audiences.add(account_id=origin.account_id, audience_id=group.pk, persona_ids=whom, now=NOON)
        modifier(origin, name="Thank you", kind="boost", points="12.50", audience=group)
        modifier(origin, name="Later", kind="boost", points=5, audience=group, starts_on=date(2026, 3, 3))
        give = {"account_id": origin.account_id}
        assert [earning.settle_audience_boosts(**give, now=NOON) for _ in range(2)] == [1, 0]
        assert earning.settle_audience_boosts(**give, now=NOON + DAY) == 1
        audiences.remove(account_id=origin.account_id, audience_id=group.pk, persona_ids=whom, now=NOON + DAY)
        audiences.add(account_id=origin.account_id, audience_id=group.pk, persona_ids=whom, now=NOON + 2 * DAY)
        assert earning.settle_audience_boosts(**give, now=NOON + 2 * DAY) == 0  # coming back is no second time
        assert posted(ada) == [("boost", Decimal("12.50")), ("boost", 5)]
        assert posted(outsider) == []

    def test_one_that_takes_stops_at_nothing(self, origin):
        ada = member(origin)
        group = Audience.objects.create(name="Locals")
        audiences.add(account_id=origin.account_id, audience_id=group.pk, persona_ids=[ada.pk], now=NOON)
        land(origin, sale("s", customer_id="c", net=3000, lines=(line(1, 3000),)))
        modifier(origin, name="Correction", kind="boost", points=-50, audience=group)
        earning.settle_audience_boosts(account_id=origin.account_id, now=NOON)
        entry = Entry.objects.get(kind="boost")
        assert (entry.points, earning.sentence(entry.explanation)) == (-30, "Correction. 20 more were not there.")


def test_dated_tax_by_the_accounts_day(origin):
    ada = member(origin)
    Programme.objects.update(exclude_tax_from=date(2026, 3, 2))
    midnight = datetime(2026, 3, 2, 8, 0, tzinfo=UTC)  # in Vancouver
    land(origin, sale("before", customer_id="c", sold_at=midnight - timedelta(minutes=1)))
    land(origin, sale("after", customer_id="c", sold_at=midnight))
    assert earned(ada) == [112, 100]
