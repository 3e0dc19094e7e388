"""Whom a term means: phones in any spelling, names in both orders, ids, receipts, and who is no longer listed."""

import uuid
from datetime import UTC, datetime

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from aiqsync.accounts.tenancy import acting_in
from integrations.cova import mapping
from integrations.kit.streams import Context
from integrations.models import Customer, Sale
from loyalty import earning, matching, merging, search
from loyalty.models import ContactAlias, Persona, Source
from tests.factories import make_account, make_persona
from tests.records import NOON, land_customers, land_sales, make_origin, sale

NOW = datetime(2026, 3, 2, 20, 0, tzinfo=UTC)
PHONE = "+16045550142"


@pytest.fixture
def account(db):
    found = make_account()
    with acting_in(found.pk):
        yield found


@pytest.fixture
def eve(account):
    make_persona(account, first_name="Ben", last_name="Hart", phone="+16045550199", email="ben@shop.test")
    return make_persona(account, first_name="Ève", last_name="Désirée Müller", phone=PHONE, email="eve@shop.test")


def find(account, term) -> search.Found:
    return search.find(account_id=account.pk, region=account.country, term=term)


def listed(account, term) -> set[int]:
    """The rows a list shows for it."""
    found = find(account, term)
    if found.condition is None:
        return set(found.roots)
    return set(Persona.objects.filter(found.condition, merged_into=None).values_list("pk", flat=True))


@pytest.mark.parametrize(
    "typed",
    ["6045550142", "16045550142", "+16045550142", "604 555 0142", "(604) 555-0142", "604.555.0142", "1-604-555-0142",
     " 604-555-0142 ", "+1 (604) 555 0142", "604\u00a0555\u00a00142"],
)  # fmt: skip
def test_a_phone_in_any_spelling(account, eve, typed):
    assert listed(account, typed) == {eve.pk}


@pytest.mark.parametrize("typed", ["eve@shop.test", "EVE@Shop.Test", "  eve@shop.test "])
def test_an_email_in_any_case(account, eve, typed):
    assert listed(account, typed) == {eve.pk}


@pytest.mark.parametrize(
    "typed",
    ["Ève", "eve", "EVE", "ève désirée", "eve desiree muller", "Müller", "Désirée Müller", "desiree muller, eve",
     "Désirée Müller, Ève", "eve des", "des eve", "E\u0300ve De\u0301sire\u0301e"],
)  # fmt: skip
def test_a_name_with_and_without_accents_in_both_orders(account, eve, typed):
    found = listed(account, typed)
    assert (found == {eve.pk}) == (typed != "Müller")  # the family name begins with Désirée


@pytest.mark.parametrize("typed", ["%", "_ve", "v", "ulle", "", "   ", ",", "\x00", "'; DROP TABLE x --", "0" * 5000])
def test_no_wild_cards_no_middles_no_surprises(account, eve, typed):
    assert eve.pk not in listed(account, typed) if find(account, typed).term else True


def test_a_name_that_the_pos_wrote_in_pieces(account):
    """Letters and accents apart are the same letters: landing puts them together."""
    origin = make_origin(account)
    apart = mapping.customer(
        {"Id": "6d2f0b6e-53a4-4a5c-9f0e-3c1c9f7a1b20", "PrimaryName": "Rene\u0301e"},
        Context(now=NOW, identity="501200"),
    )
    landed = land_customers(origin, apart)
    matching.match(account_id=account.pk, customer_ids=landed.touched, now=NOW)
    for typed in ("renee", "Ren\u00e9e", "Rene\u0301e"):
        assert listed(account, typed) == {Persona.objects.get().pk}


def test_ids(account, eve):
    assert listed(account, str(eve.contact_id)) == listed(account, eve.contact_id.hex.upper()) == {eve.pk}
    assert find(account, str(uuid.uuid4())).hits == []
    origin = make_origin(account)
    customer = Customer.objects.create(origin=origin, external_id="cust-8841")
    Source.objects.create(persona=eve, customer=customer, matched_by="phone")
    assert listed(account, "cust-8841") == {eve.pk}
    # Cova's ids look like ours.
    theirs = uuid.uuid4()
    cova = Customer.objects.create(origin=origin, external_id=str(theirs))
    Source.objects.create(persona=eve, customer=cova, matched_by="phone")
    assert listed(account, str(theirs).upper()) == {eve.pk} and find(account, str(theirs)).hits[0].by == "record"


@pytest.mark.parametrize("alias", ["9001", "AIQ-77", "3f0c1b7a9d2e4c55a1f09b8e7d6c5a43"])
def test_the_contact_id_of_the_service_before(account, eve, alias):
    origin = make_origin(account)
    ContactAlias.objects.create(persona=eve, origin=origin, alias=alias, points=0)
    assert listed(account, alias) == {eve.pk} and find(account, alias).hits[0].by == "alias"
    heir = make_persona(account, first_name="Zoe", phone="+16045550177")
    merging.merge(account_id=account.pk, one_id=heir.pk, other_id=eve.pk, now=NOW)
    assert find(account, alias).roots == [heir.pk]
    stranger = make_account("Other")
    with acting_in(stranger.pk):
        assert find(stranger, alias).hits == []


def test_fault_1_8_a_receipt_finds_its_owner(account, eve):
    origin = make_origin(account)
    customer = Customer.objects.create(origin=origin, external_id="c")
    Source.objects.create(persona=eve, customer=customer, matched_by="phone")
    landed = land_sales(origin, sale("s", customer_id="c", number="IN4B2K-519", receipt="IN5RQ2-55Z1LX"))
    land_sales(origin, sale("t", number="IN4B2K-520"))
    earning.settle_sales(account_id=account.pk, sale_ids=landed.touched, now=NOON)
    for typed in ("IN4B2K-519", "in4b2k-519", "#IN4B2K-519", "IN5RQ2-55Z1LX"):
        found = find(account, typed)
        assert found.roots == [eve.pk] and found.hits[0].by == "sale"
        assert Sale.objects.get(pk=found.hits[0].sale_id).external_id == "s"
    assert find(account, "IN4B2K-51").hits == []  # a part of a number finds the wrong sale
    nobodys = find(account, "IN4B2K-520")
    assert nobodys.roots == [] and nobodys.hits[0].by == "sale"


class TestVanished:
    @pytest.fixture
    def gone(self, account, eve):
        """Ava, with a number of her own, became part of Eve."""
        gone = make_persona(account, first_name="Ava", last_name="Stone", phone="+16045550177", email="ava@shop.test")
        merging.merge(account_id=account.pk, one_id=eve.pk, other_id=gone.pk, now=NOW, why="manual")
        return gone

    @pytest.mark.parametrize("typed", ["6045550177", "ava@shop.test", "<contact>"])
    def test_fault_5_4_what_it_was_known_by_leads_to_whom_it_went(self, account, eve, gone, typed):
        found = find(account, typed.replace("<contact>", str(gone.contact_id)))
        assert found.roots == [eve.pk]
        (hit,) = found.gone
        assert (hit.name, hit.root_contact_id, hit.root_name) == ("Ava Stone", eve.contact_id, "Ève Désirée Müller")
        assert (hit.merged_at, hit.merged_why) == (NOW, "manual")

    @pytest.mark.parametrize("typed", ["ava", "Stone, Ava", "ava st"])
    def test_fault_5_4_its_name_leads_there_too(self, account, eve, gone, typed):
        found = find(account, typed)
        assert listed(account, typed) == set()
        assert [hit.root_id for hit in found.gone] == [eve.pk]

    def test_who_is_found_by_the_same_name_is_not_said_to_be_missing(self, account, eve):
        twin = make_persona(account, first_name="Ève", last_name="Désirée", phone="+16045550178")
        merging.merge(account_id=account.pk, one_id=eve.pk, other_id=twin.pk, now=NOW)
        assert find(account, "eve desiree").gone == [] and listed(account, "eve desiree") == {eve.pk}

    @pytest.mark.parametrize("typed", ["merge:6045550177", "MERGE: ava@shop.test", "merge:ava"])
    def test_merge_finds_the_record_it_went_into(self, account, eve, gone, typed):
        found = find(account, typed)
        assert found.roots == [eve.pk] and found.condition is None
        assert find(account, "merge:6045550142").hits == []  # Eve herself was not merged

    def test_an_archived_and_an_erased_one_are_said_to_be_that(self, account, eve):
        Persona.objects.filter(pk=eve.pk).update(archived_at=NOW)
        (hit,) = find(account, PHONE).gone
        assert hit.archived_at == NOW
        assert find(account, "eve").gone[0].archived_at == NOW
        Persona.objects.filter(pk=eve.pk).update(erased_at=NOW, archived_at=None)
        assert find(account, PHONE).gone[0].erased_at == NOW


def test_another_accounts_people_and_receipts_are_unknown(account, eve):
    stranger = make_account("Other")
    with acting_in(stranger.pk):
        origin = make_origin(stranger)
        land_sales(origin, sale("s", number="IN-77"))
        for term in (PHONE, "eve@shop.test", "eve", str(eve.contact_id)):
            assert find(stranger, term).hits == [] and listed(stranger, term) == set()
    assert find(account, "IN-77").hits == []


@pytest.mark.parametrize(("term", "statements"), [("6045550142", 1), ("eve@shop.test", 1), ("IN-1", 3), ("eve", 3)])
def test_what_it_costs(account, eve, term, statements):
    for n in range(30):
        make_persona(account, first_name=f"Eve{n}", last_name="Moss")
    with CaptureQueriesContext(connection) as asked:
        find(account, term)
    assert len(asked) == statements
