"""Who may call, and what the key's account is."""

from datetime import timedelta

import pytest
from django.utils import timezone

from aiqsync.accounts.client_ip import networks
from aiqsync.accounts.models import Account, ApiKey
from aiqsync.accounts.tenancy import acting_in
from loyalty.api import authentication
from loyalty.api.authentication import BAD_KEY
from stores import keys
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


class TestEnds:
    def test_at_its_moment(self, till):
        now = timezone.now()
        ApiKey.unscoped.update(expires_at=now + timedelta(hours=1))
        assert till.data("GET", WALLET)
        assert authentication.caller_of(till.key, now=now + timedelta(minutes=59))
        assert authentication.caller_of(till.key, now=now + timedelta(hours=1)) is None
        ApiKey.unscoped.update(expires_at=now)
        assert till.refused(403, "GET", WALLET) == BAD_KEY

    def test_a_replaced_key_goes_on_for_its_overlap(self, till):
        now = timezone.now()
        store = make_store(till.account)
        old = ApiKey.unscoped.get()
        StoreKey.unscoped.create(account=till.account, key=old, store=store)
        ApiKey.unscoped.update(addresses=["127.0.0.1"])
        with acting_in(till.account.pk):
            made, text = keys.rotate(key=old, overlap=timedelta(days=1), user=None, now=now)
        for moment, opens in ((timedelta(hours=23), True), (timedelta(days=1), False)):
            assert bool(authentication.caller_of(till.key, now=now + moment, ip="127.0.0.1")) is opens
        new = authentication.caller_of(text, now=now + timedelta(days=9), ip="127.0.0.1")
        assert (new.scope, new.store_id, new.addresses) == ("pos", store.pk, ["127.0.0.1"])
        with acting_in(till.account.pk):
            for again in (old, made):
                ApiKey.unscoped.filter(pk=made.pk).update(revoked_at=now)
                with pytest.raises(keys.CannotRotate):
                    keys.rotate(key=again, overlap=timedelta(0), user=None, now=now)

    def test_an_overlap_never_lengthens_it(self, till):
        now = timezone.now()
        ApiKey.unscoped.update(expires_at=now + timedelta(hours=2))
        with acting_in(till.account.pk):
            keys.rotate(key=ApiKey.unscoped.get(), overlap=timedelta(days=7), user=None, now=now)
        assert set(ApiKey.unscoped.values_list("expires_at", flat=True)) == {now + timedelta(hours=2)}


class TestAddresses:
    @pytest.mark.parametrize(
        ("allowed", "ip", "opens"),
        [
            (["203.0.113.7"], "203.0.113.7", True),
            (["203.0.113.7"], "203.0.113.8", False),
            (["10.0.0.0/8", "203.0.113.0/24"], "203.0.113.8", True),
            (["2001:db8::/32"], "2001:db8::1", True),
            (["2001:db8::/32"], "203.0.113.7", False),
            (["203.0.113.7"], "::ffff:203.0.113.7", True),
            (["203.0.113.7"], "nonsense", False),
        ],
    )
    def test_from_its_list_only(self, till, allowed, ip, opens):
        ApiKey.unscoped.update(addresses=allowed)
        response = till.call("GET", WALLET, REMOTE_ADDR=ip)
        key = ApiKey.unscoped.get()
        if opens:
            assert response.status_code == 200 and key.last_used_from == ip.removeprefix("::ffff:")
        else:
            assert sentence(response, 403) == BAD_KEY  # whoever stole it learns nothing
            assert key.last_used_at is None and key.refused_at is not None
            assert key.refused_from == (None if ip == "nonsense" else ip)

    @pytest.mark.parametrize(
        ("hops", "told", "ip"),
        [
            (0, "203.0.113.7", "127.0.0.1"),
            (1, "203.0.113.7", "203.0.113.7"),
            (1, "198.51.100.9, 203.0.113.7", "203.0.113.7"),
            (2, "198.51.100.9, 203.0.113.7, 10.0.0.1", "203.0.113.7"),
            (2, "203.0.113.7", None),
            (1, "", None),
        ],
    )
    def test_behind_proxies(self, till, settings, hops, told, ip):
        """What the caller wrote ahead of the proxies' own words counts for nothing."""
        settings.PROXY_HOPS = hops
        till.call("GET", WALLET, headers={"X-Forwarded-For": told})
        assert ApiKey.unscoped.get().last_used_from == ip

    def test_as_somebody_types_them(self):
        assert networks(" 203.0.113.7, 10.1.2.3/8\n2001:DB8::1 203.0.113.7/32") == [
            "203.0.113.7", "10.0.0.0/8", "2001:db8::1",
        ]  # fmt: skip
        for odd in ("shop.example", "203.0.113.7/33", "1.2.3", "²", "\n".join(f"10.0.0.{n}" for n in range(51))):
            with pytest.raises(ValueError):
                networks(odd)


def test_each_answer_says_what_is_left(till, settings):
    settings.API_RATE_PER_MINUTE = 60
    for left in ("59", "58"):
        response = till.call("GET", WALLET)
        assert (response["X-RateLimit-Limit"], response["X-RateLimit-Remaining"]) == ("60", left)
        assert 1 <= int(response["X-RateLimit-Reset"]) <= 3
    refused = till.call("POST", "/api/v2/wallet", {"phone": []}, headers={"Idempotency-Key": "k"})
    assert refused.status_code == 400 and refused["X-RateLimit-Remaining"] == "57"


def test_each_process_gives_its_share(till, settings):
    settings.API_RATE_PER_MINUTE, settings.WEB_WORKERS = 7, 2
    assert till.call("GET", WALLET)["X-RateLimit-Limit"] == "4"


def test_an_accounts_own_limit(till, settings):
    settings.API_RATE_PER_MINUTE = 6000
    Account.objects.update(api_per_minute=2)
    assert [till.call("GET", WALLET).status_code for _ in range(3)] == [200, 200, 429]


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
