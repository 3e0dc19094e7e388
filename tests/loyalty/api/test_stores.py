"""Stores as others are told of them, and changed by a call (reference: 7.1, 7.2)."""

import copy

import pytest

from aiqsync.accounts.models import AuditLine
from aiqsync.accounts.tenancy import acting_in
from stores.models import Store, StoreMapping
from tests.factories import make_account, make_store
from tests.records import make_origin

from .till import Till

SITES = ["google", "facebook", "leafly", "weedmaps", "instagram", "twitter", "yelp"]


@pytest.fixture
def till(db):
    till = Till(points=None, scope="admin")
    till.store = make_store(till.account, "Main St", 3)
    till.stores = f"/api/v1.1/stores/{till.account.uid}"
    till.one = f"{till.stores}/3"
    return till


def listed(till):
    return till.data("GET", till.stores)["stores"]


WHOLE = {
    "nickname": "Main", "phone": "604 555 0100", "avatar": "https://pictures.example/main.png",
    "addr": {"street": "1 Main St", "city": "Vancouver", "state": "BC", "zipCode": "V5K 0A1", "country": "CA",
             "lat": 49.282729, "long": -123.120738},
    "reviewLinks": {"google": "https://g.example/main", "yelp": "http://yelp.example/main"},
    "onlineShopURL": "https://shop.example/?store=3",
}  # fmt: skip


def test_c_kbc_and_c_flora_read_data_stores_in_full(till):
    """Both read `data.stores`; the row has every field of the old documentation, empty where nothing is known."""
    with acting_in(till.account.pk):
        place = make_origin(till.account).locations.get()
        StoreMapping.objects.create(location=place, store=till.store)
    [row] = listed(till)
    assert row == {
        "id": 3, "name": "Main St", "nickname": "", "avatar": "", "userID": till.account.uid,
        "addr": {"street": "", "city": "", "state": "", "zipCode": "", "country": "", "lat": None, "long": None},
        "reviewLinks": dict.fromkeys(SITES, ""), "sourceMapping": {"cova": place.name}, "onlineShopURL": "",
        "phone": "",
    }  # fmt: skip


def test_everything_is_changed_and_read_again(till):
    answered = till.data("PUT", till.one, WHOLE)
    [row] = listed(till)
    assert answered == row and row["name"] == "Main St"  # what is left out stays
    for name in ("nickname", "phone", "avatar", "addr", "onlineShopURL"):
        assert row[name] == WHOLE[name]
    assert row["reviewLinks"] == dict.fromkeys(SITES, "") | WHOLE["reviewLinks"]


@pytest.mark.parametrize("wrap", [
    lambda row: row, lambda row: [row], lambda row: {"stores": [row]}, lambda row: {"data": {"stores": [row]}},
    lambda row: {"data": row}, lambda row: [row | {"id": 99, "nickname": "Not me"}, row | {"id": "3"}],
    lambda row: {"stores": [{name: value for name, value in row.items() if name != "id"}]},
])  # fmt: skip
def test_what_was_read_is_sent_back_in_the_shape_it_came_in(till, wrap):
    """The documentation prints the list's object as the payload."""
    till.data("PUT", till.one, WHOLE)
    [before] = listed(till)
    lines = AuditLine.unscoped.count()
    assert till.data("PUT", till.one, wrap(copy.deepcopy(before))) == before
    assert AuditLine.unscoped.count() == lines  # nothing changed, nothing written
    assert till.data("PUT", till.one, wrap(before | {"nickname": "Harbour", "unheard": [1]}))["nickname"] == "Harbour"
    [line] = AuditLine.unscoped.filter(act="store.changed").order_by("-pk")[:1]
    assert line.detail == {"nickname": "Harbour", "by": "API"} and line.user is None


@pytest.mark.parametrize("body", [
    {"id": 4}, {"id": "4"}, [{"id": 4}], {"stores": [{"id": 4}, {"id": 5}]}, {"id": True}, {"id": {}}, [{}, {}],
])  # fmt: skip
def test_another_id_in_the_body_is_a_404(till, body):
    assert till.refused(404, "PUT", till.one, body) == "Store not found"


@pytest.mark.parametrize("store", ["4", "0", "-3", "3.0", "²", "x", "9" * 30, "03x"])
def test_a_store_that_is_not_there(till, store):
    assert till.refused(404, "PUT", f"{till.stores}/{store}", {"nickname": "x"}) == "Store not found"


def test_null_and_absent_stay_and_an_empty_text_empties(till):
    till.data("PUT", till.one, WHOLE)
    same = {"nickname": None, "addr": {"street": None, "lat": None}, "reviewLinks": {"google": None}, "phone": None}
    row = till.data("PUT", till.one, same)
    assert row["nickname"] == "Main" and row["addr"] == WHOLE["addr"] and row["reviewLinks"]["google"]
    row = till.data(
        "PUT", till.one, {"nickname": "", "avatar": "", "addr": {"city": ""}, "reviewLinks": {"google": ""}}
    )
    assert (row["nickname"], row["avatar"], row["addr"]["city"], row["reviewLinks"]["google"]) == ("", "", "", "")
    assert row["addr"]["street"] and row["reviewLinks"]["yelp"]
    assert till.data("PUT", till.one, {}) == row and till.data("PUT", till.one) == row


def test_countries_are_taken_as_people_write_them(till):
    for said, kept in (("Canada", "CA"), ("usa", "US"), ("ca", "CA")):
        assert till.data("PUT", till.one, {"addr": {"country": said}})["addr"]["country"] == kept


@pytest.mark.parametrize(("body", "names"), [
    ({"name": ""}, "name"), ({"name": ["x"]}, "name"), ({"name": "x" * 201}, "name"), ({"name": "a\x00b"}, "name"),
    ({"nickname": {}}, "nickname"), ({"phone": "1" * 41}, "phone"), ({"avatar": "javascript:alert(1)"}, "avatar"),
    ({"avatar": "x"}, "avatar"), ({"onlineShopURL": "ftp://x.example"}, "onlineShopURL"), ({"addr": []}, "addr"),
    ({"addr": {"state": "British Columbia"}}, "addr.state"), ({"addr": {"country": "Atlantis"}}, "addr.country"),
    ({"addr": {"lat": 91, "long": 0}}, "addr.lat"), ({"addr": {"lat": 49}}, "addr.long"),
    ({"addr": {"lat": 1e300, "long": 0}}, "addr.lat"), ({"addr": {"lat": "north", "long": 0}}, "addr.lat"),
    ({"addr": {"lat": True, "long": 0}}, "addr.lat"), ({"reviewLinks": "x"}, "reviewLinks"),
    ({"reviewLinks": {"yelp": "x"}}, "reviewLinks"), ({"reviewLinks": {"yelp": 5}}, "reviewLinks"),
    ({"reviewLinks": {"google": "https://x.example/" + "x" * 500}}, "reviewLinks.google"),
])  # fmt: skip
def test_bad_input_is_named_and_nothing_is_written(till, body, names):
    assert till.refused(400, "PUT", till.one, {"phone": "5"} | body).startswith(names)
    till.store.refresh_from_db()
    assert till.store.phone == ""


@pytest.mark.parametrize("raw", [b"5", b'"x"', b"[]", b"[1]", b"[[{}]]", b"{", b'{"stores": []}'])
def test_bodies_that_are_none(till, raw):
    assert till.refused(400, "PUT", till.one, raw=raw)


def test_a_till_may_not_and_another_account_is_not_reached(till):
    assert "admin" in Till(points=None, account=till.account).refused(403, "PUT", till.one, WHOLE)
    other = Till(points=None, account=make_account("Other"), scope="admin")
    mine = make_store(other.account, "Theirs", 3)
    other.data("PUT", f"/api/v1.1/stores/{other.account.uid}/3", {"nickname": "Theirs"})
    other.refused(403, "PUT", till.one, {"nickname": "Mine now"})
    till.store.refresh_from_db()
    assert till.store.nickname == "" and Store.unscoped.get(pk=mine.pk).nickname == "Theirs"


def test_a_list_of_many_costs_the_same(till, django_assert_num_queries):
    listed(till)
    with django_assert_num_queries(3):
        listed(till)
    for n in range(20):
        make_store(till.account, f"Store {n}", 100 + n)
    with django_assert_num_queries(3):
        assert len(listed(till)) == 21
