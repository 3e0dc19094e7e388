"""One person or two: merges at arrival and by hand, splits, records that move, numbers that identify nobody."""

import itertools
import random
from datetime import UTC, date, datetime
from decimal import Decimal

import pytest
from django.db import transaction

from aiqsync.accounts.tenancy import acting_in
from loyalty import audits, guard, ingest, ledger, merging, personas
from loyalty.models import (
    ContactAlias,
    Identifier,
    Merge,
    Persona,
    Programme,
    Source,
    SourceMove,
    SuspectNumber,
    Wallet,
)

from ..factories import make_account, make_persona, make_store, make_user
from ..records import customer, land_customers, land_sales, make_origin, sale
from .race import at_once

NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
X, Y = "+16045550142", "+16045550143"


@pytest.fixture
def origin(db):
    return make_origin(make_account())


def arrive(origin, *records):
    with acting_in(origin.account_id), transaction.atomic():
        landed = land_customers(origin, *records)
        ingest.customers_landed(account_id=origin.account_id, customer_ids=landed.touched, now=NOW)


def sell(origin, *records):
    with acting_in(origin.account_id), transaction.atomic():
        landed = land_sales(origin, *records)
        ingest.sales_landed(account_id=origin.account_id, sale_ids=landed.touched, now=NOW)


def root(origin, external_id) -> Persona:
    source = Source.unscoped.select_related("persona__merged_into").get(
        customer__external_id=external_id, customer__origin=origin
    )
    return source.persona.merged_into or source.persona


def enrol(persona, day=date(2026, 1, 1)):
    with acting_in(persona.account_id):
        personas.enrol(persona=persona, ground="staff", from_date=day, now=NOW)


def points(persona):
    return ledger.spendable_points(persona.account_id, persona.pk, NOW)


def sound(origin):
    return [f"{v.rule.name}: {v.examples}" for v in audits.violations(account_id=origin.account_id)]


class TestAtArrival:
    def test_a_record_that_bears_both_numbers_joins_two_personas(self, origin):
        arrive(origin, customer("a", phone=X), customer("b", email="ada@x.test"))
        assert root(origin, "a") != root(origin, "b")
        arrive(origin, customer("c", phone=X, email="ada@x.test"))
        assert root(origin, "a") == root(origin, "b") == root(origin, "c")
        merge = Merge.unscoped.get()
        assert (merge.why, merge.value, merge.survivor) == ("email", "ada@x.test", root(origin, "a"))
        assert sound(origin) == []

    def test_two_phones_never_meet_through_an_email(self, origin):
        arrive(origin, customer("a", phone=X), customer("b", phone=Y, email="ada@x.test"))
        arrive(origin, customer("c", phone=X, email="ada@x.test"))
        assert root(origin, "c") == root(origin, "a") != root(origin, "b")
        assert not Merge.unscoped.exists()

    def test_fault_1_4_a_new_phone_keeps_the_points_and_the_old_number_finds_them(self, origin):
        arrive(origin, customer("a", phone=X, email="ada@x.test"))
        ada = root(origin, "a")
        enrol(ada)
        sell(origin, sale("s", customer_id="a"))
        arrive(origin, customer("a", phone=Y, email="ada@x.test", version=1))
        assert root(origin, "a") == ada and points(ada) == 100
        for phone in (X, Y):
            assert personas.find_id(account_id=origin.account_id, phone=phone) == ada.pk

    def test_a_record_whose_phone_is_anothers_moves_with_its_sales(self, origin):
        arrive(origin, customer("a", phone=X), customer("b", phone=Y))
        ada, ben = root(origin, "a"), root(origin, "b")
        enrol(ada), enrol(ben)
        sell(origin, sale("s", customer_id="a"))
        arrive(origin, customer("a", phone=Y, version=1))
        assert root(origin, "a") == ben and (points(ada), points(ben)) == (0, 100)
        assert SourceMove.unscoped.get().why == "phone_changed"
        assert sound(origin) == []

    def test_who_a_record_left_shows_what_is_known_without_it(self, origin):
        """The phone that came with the record went with it; an older number of his own stands again."""
        arrive(origin, customer("a", phone=X, first_name="Ada"), customer("b", phone=Y, first_name="Bea"))
        left = root(origin, "a")
        arrive(origin, customer("a", phone=Y, first_name="Bea", version=2))
        assert root(origin, "a") == root(origin, "b") != left
        left.refresh_from_db()
        assert left.phone == X

    def test_but_stays_where_something_else_ties_it(self, origin):
        arrive(origin, customer("a", phone=X, email="ada@x.test"), customer("b", phone=Y))
        ada = root(origin, "a")
        arrive(origin, customer("a", phone=Y, email="ada@x.test", version=1))
        assert root(origin, "a") == ada and not SourceMove.unscoped.exists()

    def test_name_and_birth_date_only_where_the_programme_says_so(self, origin):
        people = [customer(n, first_name="Zoë", last_name="Ng", birth_date=date(1990, 1, 2)) for n in "ab"]
        arrive(origin, people[0])
        arrive(origin, people[1])
        assert root(origin, "a") != root(origin, "b")
        Programme.unscoped.update(merge_by_name=True)
        arrive(origin, customer("c", first_name="zoe", last_name="NG", birth_date=date(1990, 1, 2)))
        arrive(origin, customer("d", first_name="Zoe", last_name="Ng", birth_date=date(1990, 1, 2)))
        assert root(origin, "c") == root(origin, "d")

    def test_fault_5_8_merges_made_in_the_pos_are_followed(self, origin):
        arrive(origin, customer("a", phone=X))
        arrive(origin, customer("b", merged_into="a"))
        assert root(origin, "b") == root(origin, "a")

    def test_fault_5_8_of_two_that_were_known_before(self, origin):
        """Two phones, two members, two balances: the POS says that they are one, and edits the one that goes only."""
        arrive(origin, customer("a", phone=X), customer("b", phone=Y))
        ada, ben = root(origin, "a"), root(origin, "b")
        enrol(ada), enrol(ben)
        sell(origin, sale("s1", customer_id="a", net=5000), sale("s2", customer_id="b", net=7000))
        arrive(origin, customer("b", phone=Y, merged_into="a", version=2))
        assert root(origin, "b") == root(origin, "a") == ada and points(ada) == 120
        merge = Merge.unscoped.get()
        assert (merge.why, merge.survivor, merge.loser) == ("pos", ada, ben) and sound(origin) == []
        # The phone is another's by now: what the POS merged does not move away by it.
        arrive(origin, customer("d", phone="+16045550144"))
        arrive(origin, customer("b", phone="+16045550144", merged_into="a", version=3))
        assert root(origin, "b") == ada
        # Somebody knows better: it stays split whatever the POS says again.
        merging.split(account_id=ada.account_id, merge_id=merge.pk, user=make_user(origin.account), now=NOW)
        arrive(origin, customer("b", phone=Y, merged_into="a", version=4), customer("a", phone=X, version=2))
        assert root(origin, "b") == ben and points(ada) == 50 and sound(origin) == []

    @pytest.mark.parametrize("order", list(itertools.permutations("abc")), ids="".join)
    @pytest.mark.parametrize("together", [True, False], ids=["one page", "page after page"])
    def test_fault_5_8_in_whatever_order_they_come(self, origin, order, together):
        """c was merged into b, and b into a."""
        records = {
            "a": customer("a", phone=X),
            "b": customer("b", phone=Y, merged_into="a"),
            "c": customer("c", merged_into="b"),
        }
        for page in [order] if together else order:
            arrive(origin, *[records[name] for name in page])
        assert len({root(origin, name).pk for name in "abc"}) == 1 and sound(origin) == []
        assert Merge.unscoped.count() == 0 or not together

    def test_two_that_name_each_other_are_one_and_nothing_hangs(self, origin):
        arrive(origin, customer("a", phone=X, merged_into="b"), customer("b", phone=Y, merged_into="a"))
        arrive(origin, customer("e", merged_into="e"), customer("f", merged_into="nobody"))
        assert root(origin, "a") == root(origin, "b") and root(origin, "e") != root(origin, "f")

    def test_fault_5_5_formatting_is_no_difference(self, origin):
        arrive(origin, customer("a", email="ada@x.test"), customer("b", email="ada@x.test"))
        assert root(origin, "a") == root(origin, "b")


class TestByHand:
    @pytest.fixture
    def two(self, origin):
        arrive(origin, customer("a", phone=X), customer("b", phone=Y))
        ada, ben = root(origin, "a"), root(origin, "b")
        enrol(ada), enrol(ben)
        sell(origin, sale("s1", customer_id="a", net=5000), sale("s2", customer_id="b", net=7000))
        return ada, ben

    def merge(self, ada, ben):
        return merging.merge(account_id=ada.account_id, one_id=ada.pk, other_id=ben.pk, user=None, now=NOW)

    def test_fault_5_2_both_balances_stand_in_the_merge(self, origin, two):
        ada, ben = two
        merge = self.merge(ada, ben)
        assert (merge.survivor_balance, merge.loser_balance, points(ada)) == (50, 70, 120)
        assert Wallet.unscoped.get(persona=ben).balance == 0
        assert sound(origin) == []

    def test_fault_5_3_it_is_taken_back_with_what_was_earned_since(self, origin, two):
        ada, ben = two
        merge = self.merge(ada, ben)
        sell(origin, sale("s3", customer_id="b", net=3000))
        assert points(ada) == 150
        merging.split(account_id=ada.account_id, merge_id=merge.pk, user=None, now=NOW)
        assert (points(ada), points(ben)) == (50, 100)
        sell(origin, sale("s3", customer_id="b", net=1000))
        assert (points(ada), points(ben)) == (50, 80)
        assert merging.split(account_id=ada.account_id, merge_id=merge.pk, user=None, now=NOW).split_points == 100
        assert sound(origin) == []

    def test_what_was_spent_stays_spent(self, origin, two):
        ada, ben = two
        merge = self.merge(ada, ben)
        ledger.adjust(account_id=ada.account_id, persona_id=ada.pk, points=Decimal(-100), key="k", now=NOW)
        merging.split(account_id=ada.account_id, merge_id=merge.pk, user=None, now=NOW)
        assert points(ada) + points(ben) == 20 and sound(origin) == []

    def test_a_member_makes_the_other_a_member_and_a_split_takes_it_back(self, origin):
        arrive(origin, customer("a", phone=X), customer("b", phone=Y))
        ada, ben = root(origin, "a"), root(origin, "b")
        enrol(ada)
        sell(origin, sale("s", customer_id="b"))
        assert points(ben) == 0
        seen = merging.preview(account_id=ada.account_id, survivor_id=ada.pk, loser_id=ben.pk, now=NOW)
        assert seen.contradictions == ("They have two different phones.",)
        merge = self.merge(ada, ben)
        assert points(ada) == 100
        merging.split(account_id=ada.account_id, merge_id=merge.pk, user=None, now=NOW)
        assert (points(ada), points(ben)) == (0, 0)
        assert Persona.unscoped.get(pk=ben.pk).member_from is None and sound(origin) == []

    def test_a_split_takes_what_was_imported_for_those_who_leave_and_nothing_else(self, origin):
        """Another programme's file names people by ids of its own: one of Ada's is the number of Ben's record here."""
        arrive(origin, customer("a", phone=X), customer("b", phone=Y))
        ada, ben = root(origin, "a"), root(origin, "b")
        enrol(ada)
        merge = self.merge(ada, ben)
        theirs = make_origin(ada.account, "file")
        record = Source.unscoped.get(customer__external_id="b").customer_id
        for persona, alias in ((ada, str(record)), (ben, "old-ben")):
            ContactAlias.unscoped.create(
                account=ada.account, persona=persona, alias=alias, origin=theirs, points=Decimal(0)
            )
        for key, worth in ((f"{origin.pk}:{record}", 10), (f"{theirs.pk}:{record}", 7), (f"{theirs.pk}:old-ben", 5)):
            ledger.adjust(
                account_id=ada.account_id, persona_id=ada.pk, points=Decimal(worth), key=f"import:{key}", kind="import",
                now=NOW,
            )  # fmt: skip
        merging.split(account_id=ada.account_id, merge_id=merge.pk, user=None, now=NOW)
        assert (points(ada), points(ben)) == (7, 15) and sound(origin) == []

    @pytest.mark.parametrize("pair", ["same", "merged", "elsewhere", "erased"])
    def test_refused_with_a_sentence(self, origin, two, pair):
        ada, ben = two
        other = {"same": ada, "elsewhere": make_persona(make_account("Other")), "erased": ben}.get(pair, ben)
        if pair == "merged":
            self.merge(make_persona(ada.account), ben)
        if pair == "erased":
            Persona.unscoped.filter(pk=ben.pk).update(erased_at=NOW)
        with pytest.raises(merging.CannotMerge):
            self.merge(ada, other)

    def test_one_record_is_split_off(self, origin):
        arrive(origin, customer("a", phone=X), customer("b", phone=X, email="b@x.test", first_name="Ben"))
        ada = root(origin, "a")
        enrol(ada)
        sell(origin, sale("s1", customer_id="a", net=5000), sale("s2", customer_id="b", net=7000))
        made = merging.detach(
            account_id=ada.account_id, source_id=Source.unscoped.get(customer__external_id="b").pk, user=None, now=NOW
        )
        assert root(origin, "b") == made and (points(ada), points(made)) == (50, 70)
        assert Identifier.unscoped.get(value="b@x.test").persona == made and sound(origin) == []
        with pytest.raises(merging.CannotMerge, match="only record"):
            merging.detach(
                account_id=ada.account_id, source_id=Source.unscoped.get(persona=made).pk, user=None, now=NOW
            )

    def test_likely_duplicates_until_somebody_looked(self, origin):
        arrive(origin, customer("a", phone=X, email="ada@x.test"), customer("b", phone=Y, email="ada@x.test"))
        [pair] = merging.duplicates(account_id=origin.account_id)
        assert (pair.why, pair.value) == ("email", "ada@x.test")
        merging.not_the_same(
            account_id=origin.account_id, one_id=pair.other_id, other_id=pair.one_id, user=make_user(), now=NOW
        )
        assert merging.duplicates(account_id=origin.account_id) == []


class TestGuard:
    PEOPLE = [
        ("a", "Ada Moss", None, ""), ("b", "Ben Hart", None, "b@x.test"), ("c", "Cleo Ito", None, ""),
        ("d", "Ada Moss", None, ""), ("e", "Dan Fox", None, "b@x.test"), ("f", "Eve Roe", date(1990, 1, 1), ""),
    ]  # fmt: skip

    def records(self):
        return [
            customer(n, phone=X, first_name=name.split()[0], last_name=name.split()[1], birth_date=born, email=email)
            for n, name, born, email in self.PEOPLE
        ]

    def partition(self, origin):
        groups = {}
        for source in Source.unscoped.filter(account=origin.account).select_related("customer", "persona"):
            groups.setdefault(source.persona.merged_into_id or source.persona_id, set()).add(
                source.customer.external_id
            )
        return sorted(map(sorted, groups.values()))

    def test_fault_5_1_two_people_on_a_phone_are_one_and_three_are_not(self, origin):
        arrive(origin, *self.records()[:2])
        assert root(origin, "a") == root(origin, "b")
        arrive(origin, self.records()[2])
        assert len({root(origin, n).pk for n in "abc"}) == 3
        found = SuspectNumber.unscoped.get()
        assert (found.customers, found.people, found.decision) == (3, 3, "open")
        assert guard.open_numbers(account_id=origin.account_id) == (1, 3)

    def test_each_bears_his_own_name_again(self, origin):
        for n, name in enumerate(("Ada", "Bea", "Cleo")):
            arrive(origin, customer(f"c{n}", phone=X, first_name=name))
        assert [root(origin, f"c{n}").first_name for n in range(3)] == ["Ada", "Bea", "Cleo"]

    def test_whatever_the_order_and_the_pages(self, db):
        """Every arrival order and page cut ends in the same partition."""
        seen = set()
        for seed in range(24):
            chance = random.Random(seed)
            here = make_origin(make_account(f"Order {seed}"))
            records = self.records()
            chance.shuffle(records)
            while records:
                size = chance.randrange(1, 4)
                arrive(here, *records[:size])
                records = records[size:]
            seen.add(str(self.partition(here)))
            assert sound(here) == []
        assert seen == {"[['a'], ['b', 'e'], ['c'], ['d'], ['f']]"}

    def test_points_go_where_the_sales_are(self, origin):
        arrive(origin, *self.records()[:2])
        enrol(root(origin, "a"))
        sell(origin, sale("s1", customer_id="a", net=5000), sale("s2", customer_id="b", net=7000))
        arrive(origin, self.records()[2])
        assert (points(root(origin, "a")), points(root(origin, "b"))) == (50, 70)
        assert {move.why for move in SourceMove.unscoped.all()} == {"guard"} and sound(origin) == []

    def test_a_shops_own_number_joins_nobody(self, origin):
        make_store(origin.account).__class__.unscoped.filter(account=origin.account).update(phone="604 555 0142")
        arrive(origin, customer("a", phone=X), customer("b", phone=X))
        assert root(origin, "a") != root(origin, "b")
        assert SuspectNumber.unscoped.get().reason == "store"

    def decide(self, origin, decision):
        return guard.decide(
            account_id=origin.account_id,
            suspect_id=SuspectNumber.unscoped.get().pk,
            decision=decision,
            user=None,
            now=NOW,
        )

    def test_decisions(self, origin):
        arrive(origin, *self.records()[:4])
        self.decide(origin, "fake")
        assert not Identifier.unscoped.filter(value=X).exists() and root(origin, "a").phone == ""
        self.decide(origin, "one")
        assert len({root(origin, n).pk for n in "abcd"}) == 1
        arrive(origin, self.records()[4])
        assert root(origin, "e") == root(origin, "a")
        assert sound(origin) == []

    def test_marked_as_shared_by_hand(self, origin):
        arrive(origin, *self.records()[:2])
        guard.mark_shared(account_id=origin.account_id, phone=X, user=None, now=NOW)
        assert root(origin, "a") != root(origin, "b")
        arrive(origin, self.records()[2])
        assert len({root(origin, n).pk for n in "abc"}) == 3

    @pytest.mark.parametrize("people, count", [
        ([("ada moss", None), ("ada moss", None)], 1),
        ([("ada moss", "1990-01-01"), ("a moss", "1990-01-01")], 1),
        ([("ada moss", "1990-01-01"), ("ben hart", "1991-01-01"), ("cleo", None)], 3),
        ([("", None), ("ada", None), ("ben", None)], 2),
        ([("ada", "1990-01-01"), ("moss", None), ("moss", "1990-01-01")], 1),
    ])  # fmt: skip
    def test_how_many_people(self, people, count):
        for order in itertools.permutations(people):
            assert guard.how_many_people(order) == count


@pytest.mark.django_db(transaction=True)
class TestRaces:
    def test_a_merge_and_its_mirror_at_once(self):
        account = make_account()
        make_origin(account)
        ada, ben = make_persona(account), make_persona(account)
        for persona in (ada, ben):
            ledger.adjust(
                account_id=account.pk, persona_id=persona.pk, points=Decimal(50), key=str(persona.pk), now=NOW
            )

        def merge(one, other):
            return merging.merge(account_id=account.pk, one_id=one.pk, other_id=other.pk, user=None, now=NOW)

        answers = at_once([lambda: merge(ada, ben), lambda: merge(ben, ada)] * 3)
        assert sum(isinstance(one, Merge) for one in answers) == 1
        assert all(isinstance(one, Merge | merging.CannotMerge) for one in answers)
        assert [v.rule.name for v in audits.violations()] == []

    def test_points_given_while_the_persona_is_merged_are_not_lost(self):
        for _ in range(3):
            account = make_account()
            make_origin(account)
            ada, ben = make_persona(account), make_persona(account)

            def give(n, account=account, ben=ben):
                ledger.adjust(account_id=account.pk, persona_id=ben.pk, points=Decimal(10), key=f"k{n}", now=NOW)

            calls = [lambda n=n: give(n) for n in range(8)]
            calls.append(
                lambda account=account, ada=ada, ben=ben: merging.merge(
                    account_id=account.pk, one_id=ada.pk, other_id=ben.pk, user=None, now=NOW
                )
            )
            assert not [one for one in at_once(calls) if isinstance(one, Exception)]
            assert Wallet.unscoped.get(persona=ada).balance == 80
            assert [v.rule.name for v in audits.violations()] == []
