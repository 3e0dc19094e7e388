"""Who may call, and what the key's account is."""

import pytest
from django.utils import timezone

from aiqsync.accounts.models import ApiKey
from loyalty.api import authentication
from loyalty.api.authentication import BAD_KEY
from stores.models import StoreKey
from tests.factories import make_account, make_discount, make_key, make_store

from .till import PHONE, Till, sentence

WALLET = f"/api/v2/wallet/{PHONE}"


@pytest.mark.parametrize("key", [None, "wrong", "aq_" + "x" * 43, "x" * 5000, "ключ", "a\x00b", " "])
def test_missing_and_wrong_are_one_answer(till, key):
    assert till.refused(403, "GET", WALLET, key=key or None) == BAD_KEY


@pytest.mark.parametrize("header", ["X-APIKEY", "x-apikey", "X-ApiKey"])
def test_header_in_any_case(till, header):
    assert till.data("GET", WALLET, key=None, headers={header: till.key})["loyaltyPoints"] == 1000


@pytest.mark.parametrize("header", ["X-API-Key", "Authorization", "uid"])
def test_other_spellings_are_no_key(till, header):
    response = till.call("GET", WALLET, key=None, headers={header: till.key})
    assert sentence(response, 403) == BAD_KEY


def test_a_revoked_key_is_a_wrong_key(till):
    ApiKey.unscoped.update(revoked_at=timezone.now())
    assert till.refused(403, "GET", WALLET) == BAD_KEY


def test_another_accounts_uid(till):
    other = make_account("Other Co")
    assert till.refused(403, "GET", f"/api/v1.1/stores/{other.uid}") == BAD_KEY
    assert till.refused(403, "GET", "/api/v1.1/stores/0") == BAD_KEY
    assert till.data("GET", f"/api/v1.1/stores/{till.account.uid}") == {"stores": None}


def test_a_key_sees_its_own_account_only(till):
    other = Till(points=None, account=make_account("Other Co"))
    assert other.refused(404, "GET", WALLET) == "Contact not found"
    assert till.data("GET", WALLET)["loyaltyPoints"] == 1000


def test_use_is_noted_once_a_minute(till, django_assert_num_queries):
    till.wallet()
    seen = ApiKey.unscoped.get().last_used_at
    assert seen
    till.wallet()
    assert ApiKey.unscoped.get().last_used_at == seen
    ApiKey.unscoped.update(last_used_at=seen - authentication.NOTED_EVERY * 2)
    till.wallet()
    assert ApiKey.unscoped.get().last_used_at > seen


def test_redeeming_with_a_stores_key_happens_there(till):
    discount = make_discount(till.account)
    store = make_store(till.account)
    key = ApiKey.unscoped.get()
    StoreKey.unscoped.create(account=till.account, key=key, store=store)
    redeemed = till.data("PUT", till.url(discount) + "/T1")
    from loyalty.models import Redemption

    assert Redemption.unscoped.get(public_id=redeemed["redemptionID"]).store == store


def test_too_many_calls(till, settings):
    settings.API_RATE_PER_MINUTE = 3
    for _ in range(3):
        till.wallet()
    response = till.call("GET", WALLET)
    assert sentence(response, 429).startswith("Too many calls")
    assert int(response["Retry-After"]) >= 1
    assert response["X-RateLimit-Limit"] == "3" and response["X-RateLimit-Remaining"] == "0"
    # Another key of the account has its own bucket.
    till.data("GET", WALLET, key=make_key(till.account))


def test_no_limit(till, settings):
    settings.API_RATE_PER_MINUTE = 0
    for _ in range(5):
        till.wallet()
