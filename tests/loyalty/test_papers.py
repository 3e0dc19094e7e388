"""Government ids, medical ids and the customer's type: kept as digests, matched in their order, wherever told."""

import itertools
import re
from datetime import timedelta

import pytest
from django.db import connection, transaction

from aiqsync.accounts.tenancy import acting_in
from integrations.cova import mapping
from integrations.digests import paper_id
from integrations.kit.records import CustomerRecord, SaleRecord
from integrations.kit.streams import Context
from integrations.models import Customer
from integrations.sink import Batch, sink
from loyalty import audits, merging
from loyalty.models import Identifier, Merge, Persona, Source
from tests.factories import make_account, make_user
from tests.integrations.cova.test_sales import sample
from tests.records import NOON, customer, land_customers, land_sales, make_origin, sale, the_customer

LICENCE, RECOMMENDATION = "BC-7712 3456", "MR 20 417 9"
X, Y = "+16045550142", "+16045550143"


@pytest.fixture
def origin(db):
    found = make_origin(make_account())
    with acting_in(found.account_id):
        yield found


def arrive(origin, *records):
    """As a pull does it: customers that sales told something of, then the rows themselves."""
    kind = type(records[0])
    with transaction.atomic():
        landed = (land_customers if kind is CustomerRecord else land_sales)(origin, *records)
        for record, new, changed in ((CustomerRecord, [], landed.people), (kind, landed.new, landed.changed)):
            if new or changed:
                sink().landed(Batch(origin.account_id, origin.pk, record, new, changed, NOON))
    return landed


def groups(origin) -> list[set[str]]:
    """Who is with whom, by external ids."""
    found: dict[int, set[str]] = {}
    for source in Source.objects.filter(customer__origin=origin).select_related("persona", "customer"):
        root = source.persona.merged_into_id or source.persona_id
        found.setdefault(root, set()).add(source.customer.external_id)
    return sorted(found.values(), key=min)


def everything_stored() -> str:
    """Every value of every table of the database, as text."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT table_name FROM information_schema.tables WHERE table_schema = 'public'")
        told = []
        for (table,) in cursor.fetchall():
            cursor.execute(f"SELECT coalesce(string_agg(t::text, chr(10)), '') FROM \"{table}\" t")
            told.append(cursor.fetchone()[0])
    return "\n".join(told)


@pytest.mark.parametrize("by_sale", [False, True], ids=["told by the customer", "told by the sale"])
def test_the_numbers_are_nowhere_in_the_database(origin, by_sale):
    papers = {"government_id": LICENCE, "medical_id": RECOMMENDATION, "customer_type": "medical"}
    arrive(origin, customer("a", **({} if by_sale else papers)))
    arrive(origin, sale("s", customer_id="a", **(papers if by_sale else {})))
    row = the_customer(origin, "a")
    assert (len(row.government_id), len(row.medical_id), row.customer_type) == (64, 64, "medical")
    assert Persona.objects.get().customer_type == "medical"
    assert Identifier.objects.filter(kind__in=["government_id", "medical_id"]).count() == 2
    stored = everything_stored()
    assert row.government_id in stored  # the look is thorough
    # Six digits stand in a digest, an id or the microseconds of a moment now and then.
    stored = re.sub(r"\b[0-9a-f]{32,64}\b|\b[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\b|:\d\d\.\d+", "", stored)
    for clear in (LICENCE, RECOMMENDATION, "BC77123456", "MR204179", "bc77123456", "77123456", "204179"):
        assert clear not in stored


class TestDigests:
    def test_spelling_is_no_difference(self):
        digest = paper_id(LICENCE, kind="government_id", account_id=1)
        assert len(digest) == 64
        for same in ("bc-7712 3456", "BC77123456", " BC/7712.3456 "):
            assert paper_id(same, kind="government_id", account_id=1) == digest

    def test_of_another_account_kind_or_key_it_is_another(self, settings):
        digests = {
            paper_id(LICENCE, kind=kind, account_id=account)
            for kind in ("government_id", "medical_id")
            for account in (1, 2)
        }
        settings.LINK_KEY = "another key"
        digests.add(paper_id(LICENCE, kind="government_id", account_id=1))
        assert len(digests) == 5

    @pytest.mark.parametrize("typed", ["", "-", "N/A", "none", "unknown", "0000000", "11111", "1212121", "1234", "éé"])
    def test_what_is_typed_to_get_past_the_field_is_none(self, typed):
        assert paper_id(typed, kind="medical_id", account_id=1) == ""


class TestMatching:
    @pytest.mark.parametrize(
        ("records", "expected"),
        [
            ([{"government_id": LICENCE}, {"government_id": "bc77123456"}], [{"a", "b"}]),
            ([{"medical_id": RECOMMENDATION}, {"medical_id": "MR-204-179"}], [{"a", "b"}]),
            # The same number as a licence and as a recommendation are two things.
            ([{"government_id": LICENCE}, {"medical_id": LICENCE}], [{"a"}, {"b"}]),
            # Two phones, two e-mails, two licences: a lower identifier never joins what a higher one keeps apart.
            ([{"phone": X, "government_id": LICENCE}, {"phone": Y, "government_id": LICENCE}], [{"a"}, {"b"}]),
            ([{"email": "a@x.test", "medical_id": RECOMMENDATION}, {"email": "b@x.test", "medical_id": RECOMMENDATION}],
             [{"a"}, {"b"}]),
            ([{"government_id": LICENCE, "medical_id": RECOMMENDATION},
              {"government_id": "BC-9999 1234", "medical_id": RECOMMENDATION}], [{"a"}, {"b"}]),
            # One of them has no phone: the licence joins.
            ([{"phone": X, "government_id": LICENCE}, {"government_id": LICENCE}], [{"a", "b"}]),
            # The phone before the licence.
            ([{"phone": X}, {"phone": Y, "government_id": LICENCE}, {"phone": X, "government_id": LICENCE}],
             [{"a", "c"}, {"b"}]),
            # The licence before the recommendation.
            ([{"government_id": LICENCE}, {"medical_id": RECOMMENDATION},
              {"government_id": LICENCE, "medical_id": RECOMMENDATION}], [{"a", "b", "c"}]),
        ],
    )  # fmt: skip
    def test_in_the_decided_order(self, origin, records, expected):
        for name, fields in zip("abc", records, strict=False):
            arrive(origin, customer(name, **fields))
        assert groups(origin) == expected
        assert not audits.violations(account_id=origin.account_id)

    def test_a_merge_says_by_what_and_keeps_the_higher(self, origin):
        arrive(origin, customer("a", government_id=LICENCE))
        arrive(origin, customer("b", phone=X))
        arrive(origin, customer("c", phone=X, government_id=LICENCE))
        merge = Merge.objects.get()
        assert merge.why == "government_id" and LICENCE not in merge.value
        assert merge.survivor.phone == X

    def test_not_across_accounts(self, origin):
        arrive(origin, customer("a", government_id=LICENCE))
        with acting_in(make_account("Other").pk) as _:
            other = make_origin(make_account("Third"))
        with acting_in(other.account_id):
            arrive(other, customer("a", government_id=LICENCE))
        assert Persona.unscoped.count() == 2
        digests = set(Customer.unscoped.values_list("government_id", flat=True))
        assert len(digests) == 2  # not even the digest is the same

    @pytest.mark.parametrize("order", list(itertools.permutations("abc")))
    def test_a_number_on_three_people_identifies_nobody_in_any_order(self, origin, order):
        people = {
            "a": customer("a", first_name="Ada", government_id="DL-0001"),
            "b": customer("b", first_name="Bea", government_id="DL-0001"),
            "c": customer("c", first_name="Cleo", government_id="DL-0001"),
        }
        for name in order:
            arrive(origin, people[name])
        assert groups(origin) == [{"a"}, {"b"}, {"c"}]
        arrive(origin, customer("d", first_name="Dan", government_id="DL-0001"))
        assert groups(origin) == [{"a"}, {"b"}, {"c"}, {"d"}]
        assert not audits.violations(account_id=origin.account_id)

    def test_what_somebody_split_stays_split_when_the_pos_edits_it(self, origin):
        arrive(origin, customer("a", phone=X, government_id=LICENCE))
        arrive(origin, customer("b", government_id=LICENCE))
        assert groups(origin) == [{"a", "b"}]
        user = make_user(origin.account)
        split_off = Source.objects.get(customer__external_id="b")
        merging.detach(account_id=origin.account_id, source_id=split_off.pk, user=user, now=NOON)
        for version in (2, 3):
            arrive(origin, customer("b", government_id=LICENCE, first_name="Bea", version=version))
            arrive(origin, customer("a", phone=X, government_id=LICENCE, first_name="Ada", version=version))
        assert groups(origin) == [{"a"}, {"b"}]

    def test_a_merge_taken_back_by_hand_does_not_return_by_itself(self, origin):
        arrive(origin, customer("a", phone=X), customer("b", email="ada@x.test"))
        arrive(origin, customer("c", phone=X, email="ada@x.test"))
        merge = Merge.objects.get()
        user = make_user(origin.account)
        merging.split(account_id=origin.account_id, merge_id=merge.pk, user=user, now=NOON)
        arrive(origin, customer("c", phone=X, email="ada@x.test", first_name="Eve", version=2))
        assert groups(origin) == [{"a", "c"}, {"b"}]
        # Only somebody joins them again; then it holds.
        merging.merge(
            account_id=origin.account_id, one_id=merge.survivor_id, other_id=merge.loser_id, user=user, now=NOON
        )
        arrive(origin, customer("c", phone=X, email="ada@x.test", first_name="Fay", version=3))
        assert groups(origin) == [{"a", "b", "c"}]


class TestToldBySales:
    def test_written_to_the_customer_once(self, origin):
        arrive(origin, customer("a"))
        told = sale("s", customer_id="a", government_id=LICENCE, customer_type="medical")
        assert len(arrive(origin, told).people) == 1
        before = the_customer(origin, "a").changed_at
        assert arrive(origin, told).people == [] and the_customer(origin, "a").changed_at == before

    def test_the_customers_own_list_does_not_wipe_it(self, origin):
        arrive(origin, customer("a"))
        arrive(origin, sale("s", customer_id="a", government_id=LICENCE, customer_type="medical"))
        arrive(origin, customer("a", first_name="Bea", version=2))
        row = the_customer(origin, "a")
        assert (row.first_name, row.customer_type, len(row.government_id)) == ("Bea", "medical", 64)
        assert land_customers(origin, customer("a", first_name="Bea", version=2)).unchanged == 1

    def test_that_somebody_is_no_patient_is_not_written_unless_it_takes_that_back(self, origin):
        arrive(origin, customer("a"))
        assert arrive(origin, sale("s1", customer_id="a", customer_type="recreational")).people == []
        day = timedelta(days=1)
        arrive(origin, sale("s2", customer_id="a", customer_type="medical", sold_at=NOON + day))
        assert Persona.objects.get().customer_type == "medical"
        arrive(origin, sale("s3", customer_id="a", customer_type="recreational", sold_at=NOON + 2 * day))
        assert Persona.objects.get().customer_type == "recreational"

    def test_an_older_sale_knows_less(self, origin):
        """History is read newest first."""
        arrive(origin, customer("a"))
        arrive(origin, sale("new", customer_id="a", customer_type="medical"))
        arrive(origin, sale("old", customer_id="a", customer_type="recreational", sold_at=NOON - timedelta(days=30)))
        assert Persona.objects.get().customer_type == "medical"

    def test_a_sale_that_precedes_its_customer_tells_it_when_it_is_read_again(self, origin):
        told = sale("s", customer_id="a", government_id=LICENCE)
        assert arrive(origin, told).people == []
        arrive(origin, customer("a"))
        assert len(arrive(origin, told).people) == 1  # every poll overlaps

    def test_nobody_who_was_erased_gets_it(self, origin):
        arrive(origin, customer("a"))
        Customer.objects.update(erased_at=NOON)
        assert arrive(origin, sale("s", customer_id="a", government_id=LICENCE)).people == []

    def test_an_unknown_type_is_none(self, origin):
        arrive(origin, customer("a", customer_type="robot"))
        arrive(origin, sale("s", customer_id="a", customer_type="alien", medical_id="x"))
        assert the_customer(origin, "a").customer_type == ""


@pytest.mark.parametrize(
    ("said", "expected"),
    [("Yes", "medical"), ("yes", "medical"), ("No", "recreational"), ("-", ""), (None, ""), (True, ""), ("Maybe", "")],
)
def test_covas_sales_tell_the_type_and_the_numbers(said, expected):
    row = sample("sale__plain") | {"Medical": said, "MedicalRecommendationNumber": "MR-1", "DriverLicenseNumber": None}
    record: SaleRecord = mapping.sale(row, Context(now=NOON + timedelta(days=300), identity="501200", currency="CAD"))
    assert (record.customer_type, record.government_id, record.medical_id) == (expected, "", "MR-1")
