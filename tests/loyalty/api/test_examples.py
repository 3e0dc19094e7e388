"""The example of each call in the OpenAPI document: a true answer, recorded, and held against the document.

Recorded anew with `AIQSYNC_RECORD=1 pytest tests/loyalty/api/test_examples.py`. What they are about is made here.
"""

import json
import os
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from aiqsync.accounts.tenancy import acting_in
from loyalty import programme
from loyalty.api import examples
from stores.models import Store
from tests.factories import make_account, make_discount, make_key

from . import openapi
from .pos import connect
from .till import PHONE, Till

FILE = Path(examples.__file__).with_name("examples.json")
MASTER = "24681357"
SALE = {
    "member": {"email": "ada@example.test", "mobilePhone": "6045550142", "firstName": "Ada", "lastName": "Moss"},
    "visit": {
        "pos_id": "R-20260412-0007",
        "pos_user": "cust-8841",
        "pos_type": "in-store",
        "transaction_date": "2026-04-12 17:31:04 +0000",
        "transaction_total": 52.5,
        "location": "Main St",
        "budtenderName": "Lee",
        "budtenderID": "E12",
        "visit_details_attributes": [
            {"sku": "PR-1G-BLU", "name": "Blue pre-roll 1g", "category": "PRE-ROLL", "brand": "Acme", "price": 12.5,
             "discount": 0, "quantity": 1},
            {"sku": "FL-3.5-GRN", "name": "Green flower 3.5g", "category": "FLOWER", "brand": "Acme", "price": 45,
             "discount": 5, "quantity": 1},
        ],
    },
}  # fmt: skip
MEMBER = {"pos_user": "cust-8841", "firstName": "Ada", "lastName": "Moss", "mobilePhone": "6045550142",
          "email": "ada@example.test", "birthdate": "1990-05-17"}  # fmt: skip
STOCK = [{"product_id": "p-17", "sku": "PR-1G-BLU", "name": "Blue pre-roll 1g", "quantity": 42, "location": "Main St"}]
SIGN_UP = {"firstName": "Eve", "lastName": "Hart", "mobilePhone": "6045550155", "email": "eve@example.test",
           "favoriteStore": "Main St", "loyalty": True, "smsoptin": True,
           "customAttributes": [{"key": "shirt", "value": "L"}]}  # fmt: skip
BODIES: dict[str, Any] = {
    "POST /api/v1.1/createUpdateSale/{uid}": SALE,
    "POST /api/v1.1/createUpdateSales/{uid}": [SALE, {"visit": {"pos_id": ""}}],
    "POST /api/v1.1/createUpdateMember/{uid}": MEMBER,
    "POST /api/v1.1/createUpdateMembers/{uid}": [MEMBER],
    "POST /api/v1.1/createUpdateInventory/{uid}": STOCK,
    "POST /api/v2/wallet": {"phone": "6045550142"},
    "POST /api/v2/verify/wallet": {"phone": "6045550142"},
    "POST /api/v2/view/wallet": {"phone": "6045550142", "code": MASTER},
    "POST /api/v2/verify/contact/wallet": {"email": "ada@example.test"},
    "POST /api/v2/view/contact/wallet": {"email": "ada@example.test", "code": MASTER},
    "POST /api/v2/loyalty": SIGN_UP,
    "POST /api/v1.1/loyaltyContact/{uid}": {k: SIGN_UP[k] for k in ("firstName", "lastName", "mobilePhone", "email")},
    "POST /api/v2/redemptions/{redemption}/revert": {"points": 40},
    "PUT /api/v1.1/discount/redeem/{uid}/{discount}/{token}": {"orderSubtotal": 52.5},
    "PUT /api/v1.1/discount/redeem/{uid}/{discount}/{token}/{transaction}": {"orderSubtotal": 52.5},
    "POST /api/v2/sms": {"phone": "6045550142", "body": "Your order is on its way."},
    "POST /api/v2/loyaltyContact/override/{uid}/{cid}": {"lastName": "Moss-Hart", "address": "12 Harbour Rd"},
    "POST /api/v2/contact/attributes/{cid}": [{"key": "shirt", "value": "L"}],
    "PUT /api/v2/contact/attributes/{cid}": [{"key": "shirt", "value": "M"}],
    "PUT /api/v1.1/adjust/loyaltyPoints/{uid}/{cid}": {"value": 25, "note": "For the wait"},
    "POST /api/v1.1/contact/referral/{uid}": {"phone": "6045550142"},
    "PUT /api/v1.1/stores/{uid}/{store}": {"nickname": "Main", "phone": "6045550100"},
    "POST /api/v2/checkins": {"phone": "6045550142", "firstName": "Ada", "reason": "pick-up", "order": "A-17"},
    "PUT /api/v2/checkins/{checkin}": {"state": "serving"},
}
NEVER_THERE = {"GET /api/v2/campaign/stats/{campaign}"}  # we send no campaigns
KEYS = [f"{method} {path}" for method, path in openapi.operations()]


def test_every_call_has_one():
    assert set(examples.EXAMPLES) == set(KEYS) - NEVER_THERE
    for key in set(KEYS) - NEVER_THERE:
        one = openapi.operations()[tuple(key.split(" ", 1))]
        held = one["responses"]["200"]["content"]["application/json"]
        assert held["example"]["success"] is True, key
        if "requestBody" in one and key in BODIES:
            assert one["requestBody"]["content"]["application/json"]["example"] == BODIES[key]


@pytest.mark.parametrize("key", sorted(set(KEYS) - NEVER_THERE))
def test_it_is_of_its_schema(key):
    one = openapi.operations()[tuple(key.split(" ", 1))]
    held = one["responses"]["200"]["content"]["application/json"]
    jsonschema.validate(held["example"], openapi._strict(held["schema"]))
    if asked := one.get("requestBody"):
        content = asked["content"]["application/json"]
        if "example" in content:
            jsonschema.validate(content["example"], openapi._strict(content["schema"], closed=False))


@pytest.mark.skipif(not os.environ.get("AIQSYNC_RECORD"), reason="records the examples anew")
@pytest.mark.django_db(transaction=True)
def test_record(settings, client):
    settings.PUBLIC_URL = "https://loyalty.example.org"
    found = {}
    for key in sorted(set(KEYS) - NEVER_THERE):
        found[key] = _recorded(key)
    FILE.write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n")


def _recorded(key: str) -> dict[str, Any]:
    """Each call in a world of its own, so that none finds what another did."""
    method, path = key.split(" ", 1)
    account = make_account(f"Harbour Cannabis {key}"[:200])
    till = Till(account=account, scope="admin")
    store = Store.unscoped.create(account=account, number=1, name="Main St", city="Vancouver", state="BC", country="CA")
    connect(account)
    discount = make_discount(account, points=100, number=12, internal_name="10 off", name="$10 off",
                             description="Ten dollars off any order")  # fmt: skip
    with acting_in(account.pk):
        programme.set_master_pin(account_id=account.pk, digits=MASTER)
    till.data("POST", f"/api/v1.1/createUpdateSale/{account.uid}", SALE)
    till.data("POST", f"/api/v1.1/createUpdateInventory/{account.uid}", STOCK)
    till.data("PUT", f"/api/v1.1/adjust/loyaltyPoints/{account.uid}/{till.persona.contact_id}", {"value": 5})
    url = till.url(discount)
    done = till.data("PUT", url + "/T-8841")
    checkin = till.data("POST", "/api/v2/checkins", {"phone": "6045550155", "firstName": "Eve", "storeID": 1})
    now = int(datetime.now(UTC).timestamp())
    known = {
        "uid": account.uid, "cid": str(till.persona.contact_id), "phone": PHONE, "pii": PHONE, "state": "true",
        "email": "ada@example.test", "store": str(store.number), "token": till.url(discount).rsplit("/", 1)[1],
        "discount": str(discount.number), "redemption": done["redemptionID"], "checkin": checkin["checkinID"],
        "platform": "push", "source": "cust-8841", "start": str(now - 3600), "end": str(now + 3600),
        "transaction": "T-8842",
    }  # fmt: skip
    address = re.sub(r"{(\w+)}", lambda part: known[part[1]], path)
    told = till.call(method, address, BODIES.get(key), key=make_key(account, "admin"))
    assert told.status_code == 200, (key, told.content)
    return {"request": BODIES.get(key), "answer": told.json()}
