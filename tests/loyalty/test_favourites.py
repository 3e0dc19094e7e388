"""Favourite stores: chosen by hand, else by the sales as they land, change hands or are mapped anew."""

from datetime import timedelta

import pytest

from aiqsync.accounts.tenancy import acting_in
from integrations.models import Customer
from loyalty import favourites, ingest, jobs, merging
from loyalty.models import Job, Persona, Source
from stores import services as stores
from stores.models import StoreMapping
from tests.factories import make_account, make_persona, make_store
from tests.records import NOON, land_sales, make_origin, refund, sale

pytestmark = pytest.mark.django_db
HOUR = timedelta(hours=1)


@pytest.fixture
def origin():
    found = make_origin(make_account())
    with acting_in(found.account_id):
        found.stores = {name: make_store(found.account, name) for name in ("Main", "Side")}
        found.places = {"loc1": found.locations.get()}
        for place in ("loc2", "loc3"):
            found.places[place] = found.locations.create(account=found.account, external_id=place, name=place)
        for place, name in (("loc1", "Main"), ("loc2", "Side")):
            StoreMapping.objects.create(location=found.places[place], store=found.stores[name])
        yield found


def shopper(origin, n=1) -> Persona:
    persona = make_persona(origin.account)
    customer = Customer.objects.create(origin=origin, external_id=f"c{n}")
    Source.objects.create(persona=persona, customer=customer, matched_by="new")
    return persona


def buys(origin, *records):
    landed = land_sales(origin, *records)
    ingest.sales_landed(account_id=origin.account_id, sale_ids=landed.touched, now=NOON)


def usual(persona) -> str:
    store = Persona.objects.select_related("usual_store").get(pk=persona.pk).usual_store
    return str(store) if store else ""


def at(place, hours, who="c1", name=None):
    return sale(name or f"{place}-{hours}-{who}", customer_id=who, location_id=place, sold_at=NOON + hours * HOUR)


def walk(job):
    while jobs.run_slice(job.pk, slice_s=0):
        pass


def test_most_sales_ties_to_the_latest_as_they_land(origin):
    ada = shopper(origin)
    buys(origin, at("loc3", 1), at("loc3", 2), at("loc3", 3))
    assert usual(ada) == ""  # mapped to nothing
    buys(origin, at("loc1", 4), at("loc2", 5))
    assert usual(ada) == "Side"  # one each: the latest
    buys(origin, at("loc1", 3))
    assert usual(ada) == "Main"
    buys(origin, refund("r", of="x", customer_id="c1", location_id="loc2", sold_at=NOON + 9 * HOUR))
    assert usual(ada) == "Main"


def test_a_sale_that_turns_out_to_be_anothers_leaves_both_right(origin):
    ada, bea = shopper(origin, 1), shopper(origin, 2)
    buys(origin, at("loc1", 1, name="s"))
    assert (usual(ada), usual(bea)) == ("Main", "")
    buys(origin, at("loc1", 1, who="c2", name="s"))
    assert (usual(ada), usual(bea)) == ("", "Main")


def test_merged_and_split_people(origin):
    ada, bea = shopper(origin, 1), shopper(origin, 2)
    buys(origin, at("loc1", 1), at("loc2", 2, who="c2"), at("loc2", 3, who="c2"))
    assert (usual(ada), usual(bea)) == ("Main", "Side")
    made = merging.merge(account_id=origin.account_id, one_id=ada.pk, other_id=bea.pk, now=NOON)
    assert usual(ada) == "Side"
    merging.split(account_id=origin.account_id, merge_id=made.pk, user=None, now=NOON)
    assert (usual(ada), usual(bea)) == ("Main", "Side")


def test_a_page_asks_once_and_writes_only_what_changed(origin, django_assert_num_queries):
    people = [shopper(origin, n) for n in range(20)]
    buys(origin, *[at("loc1", n, who=f"c{n}") for n in range(20)])
    ids = [one.pk for one in people]
    Persona.objects.filter(pk=ids[0]).update(usual_store=None)
    with django_assert_num_queries(1):
        assert favourites.follow(account_id=origin.account_id, persona_ids=ids) == 1


def test_everybody_follows_a_new_mapping(origin, monkeypatch):
    monkeypatch.setattr(favourites, "PERSONAS", 2)
    people = [shopper(origin, n) for n in range(5)]
    buys(origin, *[at("loc1", n, who=f"c{n}") for n in range(5)])
    assert {usual(one) for one in people} == {"Main"}
    stores.map_location(location=origin.places["loc1"], store=origin.stores["Side"])
    favourites.mapping_changed(account_id=origin.account_id, user=None, now=NOON)
    walk(Job.objects.get())
    assert {usual(one) for one in people} == {"Side"}
    stores.unmap_location(location=origin.places["loc1"])
    favourites.mapping_changed(account_id=origin.account_id, user=None, now=NOON)
    walk(Job.objects.latest("pk"))
    assert {usual(one) for one in people} == {""}


def test_a_mapping_while_everybody_follows_one_begins_again(origin, monkeypatch):
    """The walk has passed the first when the mapping changes once more."""
    monkeypatch.setattr(favourites, "PERSONAS", 1)
    people = [shopper(origin, n) for n in range(3)]
    buys(origin, *[at("loc1", n, who=f"c{n}") for n in range(3)])
    stores.map_location(location=origin.places["loc1"], store=origin.stores["Side"])
    favourites.mapping_changed(account_id=origin.account_id, user=None, now=NOON)
    job = Job.objects.get()
    jobs.run_slice(job.pk, slice_s=0)
    assert [usual(one) for one in people] == ["Side", "Main", "Main"]
    stores.map_location(location=origin.places["loc1"], store=origin.stores["Main"])
    favourites.mapping_changed(account_id=origin.account_id, user=None, now=NOON)
    walk(job)
    assert Job.objects.count() == 1 and [usual(one) for one in people] == ["Main"] * 3


def test_a_walk_that_ends_as_a_mapping_comes_is_not_the_end(origin, monkeypatch):
    """Between the walk's look at its order and its end somebody maps again: it must not end."""
    ada = shopper(origin)
    buys(origin, at("loc1", 1))
    favourites.mapping_changed(account_id=origin.account_id, user=None, now=NOON)
    job, real = Job.objects.get(), favourites.follow

    def meanwhile(**asked):
        changed = real(**asked)
        monkeypatch.setattr(favourites, "follow", real)
        stores.map_location(location=origin.places["loc1"], store=origin.stores["Side"])
        favourites.mapping_changed(account_id=origin.account_id, user=None, now=NOON)
        return changed

    monkeypatch.setattr(favourites, "follow", meanwhile)
    assert jobs.run_slice(job.pk, slice_s=0)
    walk(job)
    assert usual(ada) == "Side"


def test_what_a_mapping_touches(origin):
    shopper(origin, 1), shopper(origin, 2)
    buys(origin, at("loc1", 1), at("loc1", 2), at("loc1", 3, who="c2"), at("loc2", 3), at("loc1", 4, who=""))
    asked = [place.pk for place in origin.places.values()]
    found = favourites.touched(account_id=origin.account_id, location_ids=asked)
    assert found == {origin.places["loc1"].pk: (4, 2), origin.places["loc2"].pk: (1, 1)}
