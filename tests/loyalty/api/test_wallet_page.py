"""The shopper's page and its address: whose it is, how long, how it ends, and what it never tells."""

import re
from datetime import timedelta
from decimal import Decimal
from urllib.parse import urlsplit

import pytest
from django.test import Client
from django.utils import timezone

from aiqsync.accounts.models import ApiKey, AuditLine
from aiqsync.accounts.tenancy import acting_in
from loyalty import erasure, links, pins, wallet_links
from loyalty.models import BlockedPhone, ContactAlias, Persona, Programme
from stores.models import Store, StoreKey
from tests.factories import make_account, make_discount, make_persona, make_store
from tests.records import make_origin

from .test_wallet_by_pin import code_of, verify, view
from .till import PHONE, Till

OLD = "3f0c1b7a9d2e4c55a1f09b8e7d6c5a43"


def link(till, cid=None) -> str:
    return till.data("GET", f"/api/v2/wallet/link/{cid or till.persona.contact_id}")["url"]


def page(url: str, code: int = 200) -> str:
    """What somebody without a key and without a session sees."""
    answer = Client().get(urlsplit(url).path)
    assert answer.status_code == code
    policy = answer["Content-Security-Policy"]
    assert policy.startswith("default-src 'none'; style-src 'self'; img-src 'self';") and "script" not in policy
    assert "noindex" in answer["X-Robots-Tag"] and answer["Cache-Control"] == "no-store, private"
    assert answer["Referrer-Policy"] == "no-referrer"
    text = answer.content.decode()
    assert "<script" not in text and "style=" not in text and not re.search(r"(src|href)=\"(https?:)?//", text)
    for personal in ("Ada", "Moss", PHONE, "0142", "ada@example.test"):
        assert personal not in text
    return re.sub(r"\s+", " ", text)


class TestLink:
    def test_what_is_told(self, till, settings):
        settings.PUBLIC_URL = "https://points.example.test"
        told = till.data("GET", f"/api/v2/wallet/link/{till.persona.contact_id}")
        assert set(told) == {"contactID", "url", "expiresAt"} and told["contactID"] == str(till.persona.contact_id)
        assert re.fullmatch(r"https://points\.example\.test/wallet/[A-Za-z0-9_-]{44}", told["url"])
        assert abs(told["expiresAt"] - (timezone.now() + timedelta(days=30)).timestamp()) < 5

    def test_contact_ids_in_any_spelling_and_nobody_elses(self, till):
        of = {"account": till.account, "origin": make_origin(till.account), "points": 0}
        ContactAlias.unscoped.create(**of, persona=till.persona, alias=OLD)
        other = Till(account=make_account("Other Co"), points=None)
        for cid in (till.persona.contact_id, till.persona.contact_id.hex, OLD):
            assert "1000" in page(link(till, cid))
            assert till.data("GET", f"/api/v2/walletPassDownloadLinks/{cid}") == {"apple": "", "google": ""}
            for path in ("wallet/link", "walletPassDownloadLinks"):
                assert other.refused(404, "GET", f"/api/v2/{path}/{cid}") == "Contact not found"
        for cid in ("nobody", "9" * 300, "6045550142"):
            assert till.refused(404, "GET", f"/api/v2/wallet/link/{cid}") == "Contact not found"
            assert till.refused(404, "GET", f"/api/v2/walletPassDownloadLinks/{cid}") == "Contact not found"

    def test_reading_it_writes_nothing(self, till, django_assert_max_num_queries):
        link(till)
        with django_assert_max_num_queries(3):
            link(till)
        url = link(till)
        with django_assert_max_num_queries(5):
            page(url)

    def test_thirty_days(self, till):
        now = timezone.now()
        with acting_in(till.account.pk):
            old = wallet_links.make(persona=till.persona, now=now - timedelta(days=30))
            young = wallet_links.make(persona=till.persona, now=now - timedelta(days=29, hours=23))
        assert "1000" in page(f"/wallet/{young}")
        assert "they are over. Ask the shop for a new one." in page(f"/wallet/{old}", 404)

    def test_every_character_counts(self, till):
        token = link(till).rsplit("/", 1)[1]
        for place in range(len(token)):
            other = "A" if token[place] != "A" else "B"
            assert "is not right" in page(f"/wallet/{token[:place]}{other}{token[place + 1 :]}", 404)
        for odd in (token[:-1], token + "A", "x", "A" * 44, "A" * 56):
            page(f"/wallet/{odd}", 404)

    def test_a_redemption_address_is_none(self, till):
        """Both are signed with the same key, and neither stands for the other."""
        token = till.url(make_discount(till.account)).rsplit("/", 1)[1]
        page(f"/wallet/{token}", 404)
        with pytest.raises(links.BadLink):
            links.read(link(till).rsplit("/", 1)[1], account_id=1, discount_number=1, now=timezone.now())

    def test_ended(self, till):
        before = link(till)
        told = till.data("DELETE", f"/api/v2/wallet/link/{till.persona.contact_id}")
        assert told == {"contactID": str(till.persona.contact_id)}
        assert "was ended" in page(before, 404)
        assert "1000" in page(link(till))
        line = AuditLine.unscoped.get(act="wallet.links_ended")
        assert line.key_id == ApiKey.unscoped.get(account=till.account).pk

    def test_ended_once_by_its_key(self, till):
        key = {"Idempotency-Key": "e-1"}
        address = f"/api/v2/wallet/link/{till.persona.contact_id}"
        till.data("DELETE", address, headers=key)
        url = link(till)
        till.data("DELETE", address, headers=key)
        assert "1000" in page(url)

    def test_merged_and_split(self, till):
        old = make_persona(till.account, phone="+16045550188")
        url, own = link(till, old.contact_id), link(till)
        assert "1000" not in page(url)
        Persona.unscoped.filter(pk=old.pk).update(merged_into=till.persona)
        assert "1000" in page(url) and "1000" in page(own)
        Persona.unscoped.filter(pk=old.pk).update(merged_into=None)
        assert "1000" not in page(url)
        Persona.unscoped.filter(pk=old.pk).update(merged_into=till.persona)
        till.data("DELETE", f"/api/v2/wallet/link/{till.persona.contact_id}")
        page(url, 404), page(own, 404)  # all that lead to this wallet

    def test_removed_on_request(self, till):
        url = link(till)
        erasure.erase(account_id=till.account.pk, persona_id=till.persona.pk, user=None, now=timezone.now())
        assert "was ended" in page(url, 404)
        assert till.refused(404, "GET", f"/api/v2/wallet/link/{till.persona.contact_id}") == "Contact not found"

    def test_a_store_that_asks_for_the_code_gets_it_after_the_code(self, till):
        """The page may show that code."""
        StoreKey.unscoped.create(
            account=till.account, key=ApiKey.unscoped.get(account=till.account), store=make_store(till.account)
        )
        Store.unscoped.update(require_pin=True)
        said = till.refused(400, "GET", f"/api/v2/wallet/link/{till.persona.contact_id}")
        assert "shopper's code" in said
        verify(till)
        assert view(till, code_of(till.persona)).status_code == 200
        assert "1000" in page(link(till))


class TestPage:
    def test_points_what_goes_next_and_rewards(self, till):
        soon = timezone.now() + timedelta(days=40)
        till.give(30, expires_at=soon)
        make_discount(till.account, points=400, name="$4 off", description="Any order", min_spend_cents=2000)
        make_discount(till.account, points=2000, name="Half a bag", in_store_only=True)
        make_discount(till.account, points=1, name="Archived", archived_at=timezone.now())
        text = page(link(till))
        assert "Harbour Cannabis" in text and '<span class="number">1030</span>' in text
        assert "30 of them expire on" in text and "As of" in text
        assert "Any order" in text and "From a purchase of 20.00 CAD on" in text and text.count("Ready") == 1
        assert '<progress max="2000.00" value="1030.00"' in text and "970 points to go" in text
        assert "In store only" in text and "Archived" not in text and "/api/" not in text

    def test_what_is_used_says_so(self, till):
        used = make_discount(till.account, points=100, reusable=False)
        till.data("PUT", till.url(used))
        assert "It has been used; it can be used once." in page(link(till))

    def test_hidden_points(self, till):
        till.give(Decimal("234.50"), expires_at=timezone.now() + timedelta(days=4))
        make_discount(till.account, points=5000, name="Dear")
        make_discount(till.account, points=100, name="Cheap")
        Programme.unscoped.update(hide_points=True)
        text = page(link(till))
        for telling in ("1234", "234.50", "to go", "expire", "<progress", "are there"):
            assert telling not in text
        assert "does not show points" in text and "Dear" in text and "Cheap" in text

    def test_off_and_no_member(self, till):
        other = make_persona(till.account, phone="+16045550188", member=False)
        assert "Not a member yet" in page(link(till, other.contact_id))
        Programme.unscoped.update(enabled=False)
        text = page(link(till))
        assert "programme is paused" in text and "1000" not in text

    def test_the_code_stands_there_where_the_programme_shows_it(self, till):
        code = pins.shown(account_id=till.account.pk, persona_id=till.persona.pk, now=timezone.now())
        assert "Your code" not in page(link(till))
        Programme.unscoped.update(show_pin=True)
        text = page(link(till))
        assert "Your code" in text and f'<p class="digits">{code}</p>' in text
        assert view(till, code).status_code == 200

    def test_names_are_text(self, till):
        make_discount(till.account, name="<b>x</b>", description='"><img src=//evil.test>')
        text = page(link(till))
        assert "<b>x" not in text and "&lt;b&gt;x" in text

    def test_it_changes_nothing(self, till):
        path = urlsplit(link(till)).path
        before = Persona.unscoped.values().get(pk=till.persona.pk)
        assert Client().post(path).status_code == 405
        assert Client().head(path).status_code == 200
        assert Persona.unscoped.values().get(pk=till.persona.pk) == before


def test_what_is_for_staff_is_said_to_the_shopper_in_other_words(till, client):
    make_discount(till.account)
    BlockedPhone.unscoped.create(account=till.account, phone=PHONE)
    path = urlsplit(till.data("GET", f"/api/v2/wallet/link/{till.persona.contact_id}")["url"]).path
    html = client.get(path).content.decode()
    assert "blocklist" not in html and "cannot be used with this phone number" in html
