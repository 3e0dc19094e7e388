"""Calls that match nothing are kept: what they asked for, without who they were about."""

import json
from datetime import timedelta

import pytest
from django.utils import timezone

from loyalty import erasure, unmatched
from loyalty.models import UnmatchedCall
from tests.factories import make_discount

from .till import PHONE, sentence

NOW = timezone.now()


def the_call() -> UnmatchedCall:
    return UnmatchedCall.unscoped.get()


class TestKept:
    def test_a_path_we_do_not_have(self, till):
        body = {"contactID": "4d1c0d5a-6a59-4c5f-8c66-1d5c1d1ab111", "templateID": "12", "reason": "voided by till",
                "items": [{"firstName": "Ada", "qty": 2}]}  # fmt: skip
        sentence(till.call("POST", "/api/v1.1/discount/revert/1234?phone=6045550142", body), 404)
        call = the_call()
        assert (call.account, call.method, call.status) == (till.account, "POST", 404)
        assert call.path == "/api/v1.1/discount/revert/1234?phone=…" and call.reason == "Not Found"
        assert json.loads(call.body) == {"contactID": "…", "templateID": "12", "reason": "voided by till",
                                         "items": [{"firstName": "…", "qty": 2}]}  # fmt: skip

    def test_a_body_that_is_not_as_documented(self, till):
        sentence(till.call("POST", "/api/v2/wallet", {"phone": ["6045550142"]}), 400)
        assert the_call().reason == "phone: must be text." and json.loads(the_call().body) == {"phone": ["…"]}

    def test_a_body_that_is_no_json(self, till):
        sentence(till.call("POST", "/api/v2/wallet", raw=b"phone=6045550142"), 400)
        assert the_call().body == "(16 bytes that are not JSON)" and "6045550142" not in the_call().reason

    def test_a_wrong_method(self, till):
        sentence(till.call("DELETE", f"/api/v2/wallet/{PHONE}"), 405)
        assert (the_call().method, the_call().status, the_call().path) == ("DELETE", 405, "/api/v2/wallet/…")

    def test_a_body_beside_an_idempotency_key(self, till):
        sentence(till.call("POST", "/api/v2/loyalty", {"loyalty": "perhaps"}, headers={"Idempotency-Key": "k"}), 400)
        assert the_call().reason.startswith("loyalty:")

    def test_not_without_a_good_key(self, till):
        for key in (None, "wrong"):
            till.call("GET", "/api/v2/nothing", key=key)
            till.call("POST", "/api/v2/wallet", {"phone": 1.5}, key=key)
        assert not UnmatchedCall.unscoped.exists()

    def test_not_what_is_refused_for_its_matter(self, till):
        """Too few points is no riddle; neither is a stranger."""
        url = till.url(make_discount(till.account, points=100))
        till.call("PUT", url.replace("redeem", "redeem"), {"orderSubtotal": 1})
        till.refused(404, "POST", "/api/v2/wallet", {"phone": "6045550111"})
        till.refused(404, "PUT", url[:-1] + ("a" if url[-1] != "a" else "b"))
        assert not UnmatchedCall.unscoped.exists()

    def test_a_thousand_a_day_of_each_key(self, till, monkeypatch):
        monkeypatch.setattr(unmatched, "MOST_A_DAY", 3)
        for n in range(5):
            till.call("GET", f"/api/v2/nothing/{n}")
        assert UnmatchedCall.unscoped.count() == 3
        UnmatchedCall.unscoped.update(at=timezone.now() - timedelta(days=1, seconds=1))
        till.call("GET", "/api/v2/nothing")
        assert UnmatchedCall.unscoped.count() == 4

    def test_the_answer_is_given_when_it_cannot_be_kept(self, till, monkeypatch):
        monkeypatch.setattr(unmatched, "readable", lambda body: "\x00")
        sentence(till.call("GET", "/api/v2/nothing"), 404)
        assert not UnmatchedCall.unscoped.exists()

    def test_thirty_days(self, till):
        till.call("GET", "/api/v2/nothing")
        assert unmatched.prune(now=the_call().at + timedelta(days=30)) == 0
        assert unmatched.prune(now=the_call().at + timedelta(days=30, seconds=1)) == 1

    def test_an_erasure_takes_them(self, till):
        till.call("POST", "/api/v2/nothing", {"who": "Ada Lovelace", "qty": 1})
        till.persona.last_name = "Lovelace"
        till.persona.save(update_fields=["last_name"])
        till.call("POST", "/api/v2/nothing", {"qty": 2})
        assert UnmatchedCall.unscoped.count() == 2
        erasure.erase(account_id=till.account.pk, persona_id=till.persona.pk, user=None, now=timezone.now())
        assert json.loads(the_call().body) == {"qty": 2}


class TestRedacted:
    @pytest.mark.parametrize(
        ("said", "kept"),
        [
            ("call +1 (604) 555-0142 now", "call … now"),
            ("/api/v2/x/ada@example.test/y", "/api/v2/x/…/y"),
            ("/x/ada%40example.test", "/x/…"),
            ("/piis/1234/4d1c0d5a6a594c5f8c661d5c1d1ab111", "/piis/1234/…"),
            ("/stores/1234", "/stores/1234"),
            ("a\x00b", "a b"),
        ],
    )
    def test_texts(self, said, kept):
        assert unmatched.masked(said) == kept

    @pytest.mark.parametrize(
        ("said", "kept"),
        [
            ({"First-Name": "Ada", "n": 1}, {"First-Name": "…", "n": 1}),
            ({"mobilePhone": 6045550142}, {"mobilePhone": "…"}),
            ({"n": 6045550142, "f": 6045550142.0, "t": True}, {"n": "…", "f": "…", "t": True}),
            ({"address": {"street": "1 Main", "unit": None}}, {"address": {"street": "…", "unit": None}}),
            ({"6045550142": 1}, {"…": 1}),
            ([["ada@example.test"]], [["…"]]),
            ("x" * 300, "x" * 200),
        ],
    )
    def test_bodies(self, said, kept):
        assert json.loads(unmatched.readable(json.dumps(said).encode())) == kept

    def test_a_deep_body(self):
        deep = b'{"a":' * 900 + b"1" + b"}" * 900
        assert unmatched.HIDDEN in unmatched.readable(deep)

    def test_a_long_body(self):
        assert len(unmatched.readable(json.dumps([{"k": "x" * 190}] * 20 * 5).encode())) <= unmatched.LONGEST_BODY
