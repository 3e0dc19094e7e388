"""Audiences: each rule, stays with a beginning and an end, by hand, merged and archived and erased people, cost."""

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from aiqsync.accounts.tenancy import acting_in
from integrations.models import Customer, PricingGroup
from loyalty import audiences, consent, earning, ingest, ledger, merging
from loyalty.models import Audience, AudienceMember, Modifier, Persona, Source
from stores.models import StoreMapping
from tests.factories import make_account, make_discount, make_persona, make_store, make_user
from tests.records import land_sales, make_origin, refund, sale

NOW = datetime(2026, 3, 2, 20, 0, tzinfo=UTC)
DAY = timedelta(days=1)


@pytest.fixture
def origin(db):
    found = make_origin(make_account())
    with acting_in(found.account_id):
        yield found


def shopper(origin, name, *, n=0, member=True, **fields) -> Persona:
    persona = make_persona(origin.account, first_name=name, member=member, **fields)
    customer = Customer.objects.create(origin=origin, external_id=f"c-{name}", first_name=name)
    Source.objects.create(persona=persona, customer=customer, matched_by="new")
    return persona


def sell(origin, *records):
    landed = land_sales(origin, *records)
    ingest.sales_landed(account_id=origin.account_id, sale_ids=landed.touched, now=NOW)


def audience(origin, name="Locals", **fields) -> Audience:
    return Audience.objects.create(account_id=origin.account_id, name=name, **fields)


def who(group) -> set[str]:
    rows = AudienceMember.objects.filter(audience=group, left_at=None)
    return set(rows.values_list("persona__first_name", flat=True))


def refresh(group, now=NOW):
    return audiences.refresh(audience=group, now=now)


class TestRules:
    @pytest.fixture
    def people(self, origin):
        """Ada bought twice (300), Bea once (100) and returned it, Cleo never; Dan is no member."""
        main, side = make_store(origin.account, "Main"), make_store(origin.account, "Side")
        StoreMapping.objects.create(location=origin.locations.get(), store=main)
        found = {
            "Ada": shopper(origin, "Ada", phone="+16045550101", birth_date=date(1990, 3, 4)),
            "Bea": shopper(origin, "Bea", phone="+16045550102", customer_type="medical"),
            "Cleo": shopper(origin, "Cleo", phone="+16045550103", birth_date=date(1988, 2, 29), favourite_store=side),
            "Dan": shopper(origin, "Dan", phone="+16045550104", member=False, birth_date=date(1970, 3, 2)),
        }
        group = PricingGroup.objects.create(origin=origin, external_id="41", name="Veterans")
        Customer.objects.filter(external_id="c-Bea").update(pricing_group=group.external_id)
        sell(
            origin,
            sale("a1", customer_id="c-Ada", net=10000, tax=0, sold_at=NOW - 40 * DAY),
            sale("a2", customer_id="c-Ada", net=20000, tax=0, sold_at=NOW - 5 * DAY),
            sale("b1", customer_id="c-Bea", net=10000, tax=0, sold_at=NOW - 90 * DAY),
            refund("b2", of="b1", net=10000, tax=0, customer_id="c-Bea", sold_at=NOW - 80 * DAY),
            sale("d1", customer_id="c-Dan", net=10000, tax=0, sold_at=NOW - 5 * DAY),
        )
        said = {"account_id": origin.account_id, "channel": "sms", "source": "staff", "now": NOW}
        consent.record(**said, address="+16045550101", act="opt_in")
        consent.record(**said, address="+16045550102", act="opt_in")
        consent.record(**said | {"source": "shopper"}, address="+16045550102", act="stop")
        found["stores"] = main, side
        return found

    @pytest.mark.parametrize(
        ("rules", "expected"),
        [
            ({}, {"Ada", "Bea", "Cleo"}),
            ({"members_only": False}, {"Ada", "Bea", "Cleo", "Dan"}),
            ({"min_points": Decimal("300")}, {"Ada"}),
            ({"min_points": Decimal("300.01")}, set()),
            ({"min_spend_cents": 30000}, {"Ada"}),
            ({"min_spend_cents": 1}, {"Ada"}),  # what was returned was not spent
            ({"min_spend_cents": 10000, "members_only": False}, {"Ada", "Dan"}),
            ({"min_orders": 1}, {"Ada", "Bea"}),
            ({"min_orders": 2}, {"Ada"}),
            ({"seen_within_days": 5}, {"Ada"}),
            ({"seen_within_days": 4}, set()),
            ({"away_for_days": 30}, {"Bea"}),  # who never bought is not away
            ({"birthday_within_days": 2}, {"Ada"}),
            ({"birthday_within_days": 1}, set()),
            ({"birthday_within_days": 0, "members_only": False}, {"Dan"}),
            ({"customer_type": "medical"}, {"Bea"}),
            ({"customer_type": "recreational"}, {"Ada", "Cleo"}),
            ({"store": "Main"}, {"Ada", "Bea"}),  # by purchases
            ({"store": "Side"}, {"Cleo"}),  # chosen by hand
            ({"pricing_group": "veterans"}, {"Bea"}),
            ({"pricing_group": "41"}, {"Bea"}),
            ({"pricing_group": "Vet"}, set()),
            ({"texts": True}, {"Ada"}),  # STOP wins
            ({"min_orders": 1, "customer_type": "medical", "away_for_days": 30}, {"Bea"}),  # all that are set
            ({"by_rules": False}, set()),
        ],
    )
    def test_each(self, origin, people, rules, expected):
        if "store" in rules:
            rules = rules | {"store": people["stores"][rules["store"] == "Side"]}
        group = audience(origin, **rules)
        forecast = audiences.forecast(audience=group, now=NOW)
        assert refresh(group) == (len(expected), 0)
        assert who(group) == expected
        assert (forecast.count, {p.first_name for p in forecast.sample}) == (len(expected), expected)

    @pytest.mark.parametrize(("today", "fits"), [((2026, 2, 28), True), ((2026, 3, 1), False), ((2028, 2, 29), True),
                                                 ((2028, 2, 28), False)])  # fmt: skip
    def test_a_birthday_of_29_february_is_kept_the_day_before(self, origin, people, today, fits):
        group = audience(origin, birthday_within_days=0)
        refresh(group, now=datetime(*today, 20, tzinfo=UTC))
        assert ("Cleo" in who(group)) is fits

    def test_a_favourite_ties_to_the_latest(self, origin):
        """One purchase here, one there: where he was last."""
        main, side = make_store(origin.account, "Main"), make_store(origin.account, "Side")
        first = origin.locations.get()
        second = origin.locations.create(account=origin.account, external_id="loc2", name="Side St")
        StoreMapping.objects.create(location=first, store=main)
        StoreMapping.objects.create(location=second, store=side)
        shopper(origin, "Ada")
        sell(
            origin,
            sale("s1", customer_id="c-Ada", sold_at=NOW - 2 * DAY, location_id="loc2"),
            sale("s2", customer_id="c-Ada", sold_at=NOW - DAY),
        )
        groups = {store: audience(origin, name=store.name, store=store) for store in (main, side)}
        assert [refresh(group) for group in groups.values()] == [(1, 0), (0, 0)]
        sell(origin, sale("s3", customer_id="c-Ada", sold_at=NOW, location_id="loc2"))
        assert [refresh(group) for group in groups.values()] == [(0, 1), (1, 0)]


class TestStays:
    def test_have_a_beginning_and_an_end(self, origin):
        ada = shopper(origin, "Ada")
        group = audience(origin, min_points=Decimal(100))
        give = {"account_id": origin.account_id, "persona_id": ada.pk}
        ledger.adjust(**give, points=Decimal(100), key="a", now=NOW)
        refresh(group, NOW)
        ledger.adjust(**give, points=Decimal(-1), key="b", now=NOW)
        refresh(group, NOW + DAY)
        ledger.adjust(**give, points=Decimal(1), key="c", now=NOW)
        refresh(group, NOW + 2 * DAY)
        stays = list(AudienceMember.objects.order_by("id").values_list("joined_at", "left_at"))
        assert stays == [(NOW, NOW + DAY), (NOW + 2 * DAY, None)]

    def test_refreshed_twice_writes_nothing(self, origin):
        for name in ("Ada", "Bea"):
            shopper(origin, name)
        group = audience(origin)
        assert refresh(group) == (2, 0)
        rows = set(AudienceMember.objects.values_list("pk", "joined_at", "left_at"))
        assert refresh(group, NOW + DAY) == (0, 0)
        assert set(AudienceMember.objects.values_list("pk", "joined_at", "left_at")) == rows

    def test_only_the_due_ones_and_each_once(self, origin):
        groups = [audience(origin, name=name) for name in ("A", "B")]
        audience(origin, name="Gone", archived_at=NOW)
        assert audiences.refresh_due(now=NOW) == 2
        assert audiences.refresh_due(now=NOW + timedelta(minutes=9)) == 0
        Audience.objects.filter(pk=groups[0].pk).update(refreshed_at=None)
        assert audiences.refresh_due(now=NOW + timedelta(minutes=9)) == 1

    @pytest.mark.parametrize("people", [5, 60])
    def test_three_statements_whatever_its_size(self, origin, people):
        for n in range(people):
            shopper(origin, f"P{n}")
        group = audience(origin, min_orders=0, min_points=Decimal(0))
        with CaptureQueriesContext(connection) as asked:
            assert refresh(group) == (people, 0)
        told = [q for q in asked if "SAVEPOINT" not in q["sql"]]
        assert len(told) == 5, [q["sql"][:80] for q in told]  # lock, time zone, who goes, who comes, the time


class TestByHand:
    def test_stays_whatever_the_rules_say(self, origin):
        ada = shopper(origin, "Ada", member=False)
        group = audience(origin)
        whom = {"account_id": origin.account_id, "audience_id": group.pk, "persona_ids": [ada.pk]}
        assert [audiences.add(**whom, now=NOW) for _ in range(2)] == [1, 0]
        assert refresh(group) == (0, 0) and who(group) == {"Ada"}
        assert [audiences.remove(**whom, now=NOW) for _ in range(2)] == [1, 0]
        assert who(group) == set()

    def test_a_stay_by_rules_becomes_one_by_hand(self, origin):
        ada = shopper(origin, "Ada")
        group = audience(origin)
        refresh(group)
        audiences.add(account_id=origin.account_id, audience_id=group.pk, persona_ids=[ada.pk], now=NOW)
        Audience.objects.update(min_points=Decimal(1))
        group.refresh_from_db()
        assert refresh(group) == (0, 0) and who(group) == {"Ada"}

    def test_another_accounts_people_do_not_come_in(self, origin):
        stranger = make_persona(make_account("Other"))
        group = audience(origin)
        assert not audiences.add(account_id=origin.account_id, audience_id=group.pk, persona_ids=[stranger.pk], now=NOW)


class TestPeopleWhoChange:
    def test_a_merge_keeps_the_stay_by_hand_and_a_split_finds_it(self, origin):
        ada, bea = shopper(origin, "Ada", member=False), shopper(origin, "Bea", member=False)
        group = audience(origin)
        audiences.add(account_id=origin.account_id, audience_id=group.pk, persona_ids=[bea.pk], now=NOW)
        merge = merging.merge(account_id=origin.account_id, one_id=ada.pk, other_id=bea.pk, now=NOW)
        assert refresh(group) == (0, 0)
        assert audiences.sizes(account_id=origin.account_id) == {group.pk: 1}
        # Added again through the survivor it is the same stay; and what is for the audience is Ada's now.
        assert not audiences.add(account_id=origin.account_id, audience_id=group.pk, persona_ids=[ada.pk], now=NOW)
        Persona.objects.filter(pk=ada.pk).update(member_from=date(2026, 1, 1))
        Modifier.objects.create(name="Gift", kind="boost", points=5, audience=group)
        assert earning.settle_audience_boosts(account_id=origin.account_id, now=NOW) == 1
        assert ledger.spendable_points(origin.account_id, ada.pk, NOW) == 5
        merging.split(account_id=origin.account_id, merge_id=merge.pk, user=make_user(origin.account), now=NOW)
        assert who(group) == {"Bea"}

    def test_taken_out_through_the_survivor(self, origin):
        ada, bea = shopper(origin, "Ada"), shopper(origin, "Bea")
        group = audience(origin, by_rules=False)
        audiences.add(account_id=origin.account_id, audience_id=group.pk, persona_ids=[bea.pk], now=NOW)
        merging.merge(account_id=origin.account_id, one_id=ada.pk, other_id=bea.pk, now=NOW)
        assert audiences.remove(account_id=origin.account_id, audience_id=group.pk, persona_ids=[ada.pk], now=NOW) == 1

    def test_a_merged_one_by_rules_is_counted_once(self, origin):
        ada, bea = shopper(origin, "Ada"), shopper(origin, "Bea")
        group = audience(origin, members_only=False)
        refresh(group)
        merging.merge(account_id=origin.account_id, one_id=ada.pk, other_id=bea.pk, now=NOW)
        assert audiences.sizes(account_id=origin.account_id) == {group.pk: 1}
        assert refresh(group) == (0, 1) and who(group) == {"Ada"}

    def test_archived_leave_by_rules_and_erased_leave_always(self, origin):
        ada, bea, cleo = (shopper(origin, name) for name in ("Ada", "Bea", "Cleo"))
        group = audience(origin)
        whom = [bea.pk, cleo.pk]
        audiences.add(account_id=origin.account_id, audience_id=group.pk, persona_ids=whom, now=NOW)
        refresh(group)
        Persona.objects.filter(pk__in=[ada.pk, bea.pk]).update(archived_at=NOW)
        Persona.objects.filter(pk=cleo.pk).update(erased_at=NOW)
        assert refresh(group) == (0, 2) and who(group) == {"Bea"}


def test_archiving_ends_its_stays_and_is_refused_while_it_is_used(origin):
    shopper(origin, "Ada")
    group = audience(origin)
    refresh(group)
    modifier = Modifier.objects.create(name="Double for locals", audience=group)
    with pytest.raises(audiences.InUse, match="Double for locals"):
        audiences.archive(audience=group, now=NOW)
    Modifier.objects.filter(pk=modifier.pk).update(active=False)
    discount = make_discount(origin.account, limited_audiences=True)
    discount.audiences.create(account=origin.account, audience=group)
    with pytest.raises(audiences.InUse, match=r"\$10 off|discount"):
        audiences.archive(audience=group, now=NOW)
    discount.audiences.all().delete()
    audiences.archive(audience=group, now=NOW)
    assert who(group) == set() and refresh(group) == (0, 0)
