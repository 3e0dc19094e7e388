"""Each route with each kind of key. The table is checked against the URL configuration: a new route must be in it."""

import re

import pytest

from aiqsync.accounts.models import Scope
from aiqsync.accounts.tenancy import acting_in
from integrations.models import Customer, Origin
from loyalty import programme
from loyalty.api import urls
from loyalty.api.authentication import BAD_KEY, RANK
from loyalty.api.base import TillView
from loyalty.api.unknown import Unknown
from loyalty.models import Source
from tests.factories import make_account, make_discount, make_key, make_persona, make_store

from .openapi import conforms
from .pos import connect
from .till import PHONE, Till, sentence

READ, POS, ADMIN = Scope.READ, Scope.POS, Scope.ADMIN
MASTER = "24681357"
REDEEM = "v1.1/discount/redeem/<str:uid>/<str:discount>/<str:token>"
SALE = {"visit": {"pos_id": "R1", "transaction_date": "2026-04-12 17:31:04 +0000", "transaction_total": 5}}

# route, method, scope it needs, body, and what a foreign account's key gets for our objects
TABLE = [
    ("v2/wallet", "POST", READ, {"phone": PHONE}, 404),
    ("v2/wallet/<str:phone>", "GET", READ, None, 404),
    ("v2/wallet/link/<str:cid>", "GET", READ, None, 404),
    ("v2/wallet/link/<str:cid>", "DELETE", POS, None, 404),
    ("v2/walletPassDownloadLinks/<str:cid>", "GET", READ, None, 404),
    ("v2/verify/wallet", "POST", POS, {"phone": PHONE}, 404),
    ("v2/view/wallet", "POST", READ, {"phone": PHONE, "code": MASTER}, 404),
    ("v2/verify/contact/wallet", "POST", POS, {"email": "ada@example.test"}, 404),
    ("v2/view/contact/wallet", "POST", READ, {"email": "ada@example.test", "code": MASTER}, 404),
    (REDEEM, "PUT", POS, None, 403),
    (REDEEM + "/<path:transaction>", "PUT", POS, None, 403),
    ("v2/redemptions/<str:redemption>/revert", "POST", POS, None, 404),
    ("v2/loyalty", "POST", POS, {"mobilePhone": PHONE}, None),  # creates a contact of its own
    ("v2/loyalty/lookup/<str:pii>", "GET", READ, None, 404),
    ("v2/loyalty/lookup/<str:pii>", "POST", READ, {}, 404),
    ("v2/lookup/email/<str:email>", "GET", READ, None, 404),
    ("v2/lookup/<str:phone>", "GET", READ, None, 404),
    ("v2/optin/text/<str:phone>/<str:state>", "PUT", POS, None, None),  # consent of an account is its own
    ("v2/optin/email/<str:email>/<str:state>", "PUT", POS, None, None),
    ("v1.1/optin/<str:uid>/<str:phone>/<str:state>", "PUT", POS, None, 403),
    ("v2/sms", "POST", POS, {"phone": PHONE, "body": "On its way."}, None),
    ("v1.1/loyaltyContact/<str:uid>", "POST", POS, {"mobilePhone": PHONE}, 403),
    ("v1.1/piis/<str:uid>", "GET", READ, None, 403),
    ("v1.1/piis/<str:uid>/<str:cid>", "GET", READ, None, 403),
    ("v2/loyaltyContact/override/<str:uid>/<str:cid>", "GET", READ, None, 403),
    ("v2/loyaltyContact/override/<str:uid>/<str:cid>", "POST", POS, {"lastName": "Moss"}, 403),
    ("v2/contact/source/<str:platform>/<str:source>", "GET", READ, None, 404),
    ("v2/contact/attributes/<str:cid>", "GET", READ, None, 404),
    ("v2/contact/attributes/<str:cid>", "POST", POS, [{"key": "a", "value": "b"}], 404),
    ("v2/contact/attributes/<str:cid>", "PUT", POS, [], 404),
    ("v2/contact/recommendations/<str:cid>", "GET", READ, None, 404),
    ("v1.1/contact/orders/<str:uid>/<str:cid>", "GET", READ, None, 403),
    ("v1.1/contact/loyaltyPoints/timeline/<str:uid>/<str:cid>", "GET", READ, None, 403),
    ("v1.1/adjust/loyaltyPoints/<str:uid>/<str:cid>", "PUT", POS, {"value": 0.01}, 403),
    ("v1.1/adjustments/<str:uid>/<str:start>/<str:end>", "GET", READ, None, 403),
    ("v1.1/redemptions/<str:uid>/<str:start>/<str:end>", "GET", READ, None, 403),
    ("v1.1/contact/referral/<str:uid>", "POST", READ, {"phone": PHONE}, 403),
    ("v1.1/contact/referral/<str:uid>/<str:cid>", "PUT", POS, None, 403),
    ("v1.1/stores/<str:uid>", "GET", READ, None, 403),
    ("v1.1/stores/<str:uid>/<str:store>", "PUT", ADMIN, {"nickname": "Harbour"}, 403),
    ("v1.1/audiences/<str:uid>", "GET", READ, None, 403),
    ("v2/campaigns", "GET", READ, None, None),
    ("v2/campaign/stats/<str:campaign>", "GET", READ, None, 404),
    ("v1.1/campaigns/<str:uid>", "GET", READ, None, 403),
    ("v1.1/conversions/<str:uid>", "GET", READ, None, 403),
    ("v2/discount/groups", "GET", READ, None, None),
    ("v2/discount/<str:uid>", "GET", READ, None, 403),
    ("v2/loyalty/default/<str:uid>", "GET", READ, None, 403),
    ("v2/brand/products", "GET", READ, None, None),
    ("v1.1/createUpdateSale/<str:uid>", "POST", POS, SALE, 403),
    ("v1.1/createUpdateSales/<str:uid>", "POST", POS, [SALE], 403),
    ("v1.1/createUpdateMember/<str:uid>", "POST", POS, {"pos_user": "c1"}, 403),
    ("v1.1/createUpdateMembers/<str:uid>", "POST", POS, [{"pos_user": "c1"}], 403),
    ("v2/checkins", "GET", READ, None, 400),
    ("v2/checkins", "POST", POS, {"phone": PHONE}, 400),
    ("v2/checkins/<str:checkin>", "PUT", POS, {"state": "served"}, 404),
    ("v1.1/createUpdateInventory/<str:uid>", "POST", POS, [{"sku": "A", "quantity": 1}], 403),
]
NEVER_THERE = {"v2/campaign/stats/<str:campaign>"}  # a 404 for everybody whose key is good
CASES = [pytest.param(*row, id=f"{row[1]} {row[0]}") for row in TABLE]


def routes():
    for pattern in urls.urlpatterns:
        view = getattr(pattern.callback, "cls", None)
        if view and issubclass(view, TillView) and view is not Unknown:
            yield str(pattern.pattern).rstrip("/"), view


def test_every_route_is_in_the_table():
    have = {(route, method.upper()) for route, view in routes() for method in ("get", "post", "put", "patch", "delete")
            if hasattr(view, method)}  # fmt: skip
    assert have == {(row[0], row[1]) for row in TABLE}


def test_every_route_has_both_spellings():
    spelled = [str(p.pattern) for p in urls.urlpatterns]
    for route, _ in routes():
        assert {route, route + "/"} <= set(spelled)


@pytest.fixture
def address(till):
    """The real address of a route, with our objects in it."""
    discount = make_discount(till.account, points=100)
    store = make_store(till.account)
    connect(till.account)
    with acting_in(till.account.pk):
        programme.set_master_pin(account_id=till.account.pk, digits=MASTER)
    done = till.data("PUT", till.url(discount) + "/T0")
    head, token = till.url(discount).rsplit("/", 1)
    known = {"phone": PHONE, "pii": PHONE, "email": "ada@example.test", "uid": till.account.uid, "token": token,
             "discount": str(discount.number), "redemption": done["redemptionID"], "state": "true",
             "store": str(store.number), "campaign": "1", "cid": str(till.persona.contact_id), "platform": "cova",
             "source": "c1", "start": "0", "end": "4000000000",
             "checkin": till.data("POST", "/api/v2/checkins", {"phone": PHONE})["checkinID"]}  # fmt: skip
    origin = Origin.unscoped.create(account=till.account, platform="cova", identity="1")
    customer = Customer.unscoped.create(account=till.account, origin=origin, external_id="c1", phone=PHONE)
    Source.unscoped.create(account=till.account, persona=till.persona, customer=customer, matched_by="phone")

    def of(route: str) -> str:
        for name, value in known.items():
            route = route.replace(f"<str:{name}>", value)
        return "/api/" + route.replace("<path:transaction>", "T1")

    return of


@pytest.mark.parametrize(("route", "method", "scope", "body", "foreign"), CASES)
class TestEachRoute:
    @pytest.mark.parametrize("key", [None, "wrong"])
    def test_without_a_valid_key(self, till, address, route, method, scope, body, foreign, key):
        assert till.refused(403, method, address(route), body, key=key) == BAD_KEY
        assert till.balance == 900

    @pytest.mark.parametrize("having", list(Scope))
    def test_with_each_scope(self, till, address, route, method, scope, body, foreign, having):
        response = till.call(method, address(route), body, key=make_key(till.account, having))
        if RANK[having] < RANK[scope]:
            assert "scope" in sentence(response, 403)
            assert till.balance == 900
        else:
            assert response.status_code == (404 if route in NEVER_THERE else 200), response.content
        path = "/api/" + re.sub(r"<\w+:(\w+)>", r"{\1}", route)
        if (method, path) != ("POST", "/api/v2/loyalty/lookup/{pii}"):  # a client's spelling of the GET
            conforms(method, path, response)

    def test_with_a_key_of_another_account(self, till, address, route, method, scope, body, foreign):
        make_account("Third Co")
        other = Till(points=None, account=make_account("Other Co"), scope="admin")
        make_persona(other.account, phone="+16045550188")
        ours = str(till.persona.contact_id).encode()
        response = other.call(method, address(route), body)
        assert ours not in response.content and b"Ada" not in response.content
        if foreign is None:
            assert response.status_code == 200
        else:
            sentence(response, foreign)
        till.persona.refresh_from_db()
        assert till.balance == 900 and till.persona.first_name == "Ada"
