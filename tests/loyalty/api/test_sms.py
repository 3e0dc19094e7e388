"""Texts about an order (reference: 6.4): opt-outs win, nobody is flooded, what is sent is what was given."""

from datetime import UTC, datetime, timedelta

import pytest
from django.test import override_settings
from django.utils import timezone

from loyalty import audits, messages, transactional
from loyalty.models import Message, Persona
from tests.factories import make_account

from .test_opt_in import hear, put, say
from .till import PHONE, Till, at_once

SMS = "/api/v2/sms"
BODY = {"phone": "6045550142", "body": "Your order is packed.\nSee you soon!"}


def rows(till):
    return list(Message.unscoped.filter(account=till.account, purpose="transactional").order_by("id"))


class TestClients:
    def test_c_tookan_opts_in_then_texts(self, till):
        """The delivery webhook: an empty PUT with a JSON type, then the text; both look for exactly 200."""
        assert till.call("PUT", "/api/v2/optin/text/6045550199/true", raw=b"").status_code == 200
        data = till.data("POST", SMS, {"phone": "6045550199", "body": "Your driver is near."})
        assert set(data) == {"messageID", "state", "segments"} and (data["state"], data["segments"]) == ("queued", 1)
        [row] = rows(till)
        assert (row.address, row.body, row.persona) == ("+16045550199", "Your driver is near.", None)
        assert not Persona.unscoped.filter(phone="+16045550199").exists()

    def test_c_wpsms_keeps_the_one_and_names_a_campaign(self, till):
        """The raffle plugin sends eleven digits and a campaign's id."""
        till.data("POST", SMS, {"phone": "16045550142", "body": "You won.", "campaignID": "77", "more": [1]})
        [row] = rows(till)
        assert (row.address, row.persona) == (PHONE, till.persona)

    def test_as_form_data_would_be_said_to_be(self, till):
        till.data("POST", SMS, BODY, content_type="text/plain")
        assert rows(till)[0].body == BODY["body"]


class TestOptOutsWin:
    @pytest.mark.parametrize("source", ["staff", "api"])
    def test_a_no_is_refused(self, till, source):
        say(till, "opt_out", source=source)
        assert "opted out" in till.refused(400, "POST", SMS, BODY)
        assert not rows(till)

    def test_stop_too_and_start_ends_it(self, till):
        hear(till, "STOP")
        assert "opted out" in till.refused(400, "POST", SMS, BODY)
        put(till)
        assert "opted out" in till.refused(400, "POST", SMS, BODY)
        hear(till, "START")
        assert till.data("POST", SMS, BODY)

    @pytest.mark.parametrize("says_no", [lambda till: hear(till, "STOP"), lambda till: put(till, "false")])
    def test_a_no_that_comes_before_it_is_sent_takes_it_back(self, till, says_no):
        till.data("POST", SMS, BODY)
        says_no(till)
        messages.deliver_due(now=timezone.now())
        assert rows(till)[0].state == "cancelled" and audits.violations(account_id=till.account.pk) == []

    def test_who_said_nothing_and_who_was_asked_get_it_at_once(self, till, monkeypatch):
        night = datetime(2026, 6, 20, 6, 0, tzinfo=UTC)  # 23:00 in Vancouver
        monkeypatch.setattr(timezone, "now", lambda: night)
        put(till, query="?doubleOpt=true")
        till.data("POST", SMS, BODY)
        messages.deliver_due(now=night)
        [row] = rows(till)
        assert (row.state, row.not_before) == ("sent", night)

    def test_anothers_no_is_anothers(self, till):
        other = Till(account=make_account("Other"), points=None)
        say(other, "opt_out")
        assert till.data("POST", SMS, BODY)


class TestLimits:
    @pytest.mark.parametrize(("body", "names"), [
        ({}, "phone"), ({"phone": "6045550142"}, "body"), ({"body": "x"}, "phone"),
        ({"phone": "12", "body": "x"}, "phone"),
        ({"phone": "5555555555", "body": "x"}, "phone"), ({"phone": "6045550142", "body": " \n"}, "body"),
        ({"phone": "6045550142", "body": 5}, "body"), ({"phone": "6045550142", "body": ["x"]}, "body"),
        ({"phone": "6045550142", "body": "a\x00b"}, "body"), ({"phone": {}, "body": "x"}, "phone"),
        ({"phone": "6045550142", "body": "x" * 1601}, "body"), ({"phone": "6045550142", "body": "é好" * 400}, "parts"),
    ])  # fmt: skip
    def test_bad_input_is_named(self, till, body, names):
        assert names in till.refused(400, "POST", SMS, body)
        assert not rows(till)

    @pytest.mark.parametrize("raw", [b"[]", b'"x"', b"{", b"5"])
    def test_bodies_that_are_none(self, till, raw):
        assert till.refused(400, "POST", SMS, raw=raw)

    def test_one_number_gets_ten_an_hour(self, till):
        for n in range(10):
            till.data("POST", SMS, BODY | {"body": f"Part {n}"})
        response = till.call("POST", SMS, BODY | {"body": "One more"})
        assert response.status_code == 429 and 3500 < int(response["Retry-After"]) <= 3600
        assert "10 texts within 1 h" in response.json()["errors"][0]["message"] and len(rows(till)) == 10
        assert till.data("POST", SMS, BODY | {"phone": "6045550143"})  # another number has its own share
        Message.unscoped.update(created_at=timezone.now() - timedelta(minutes=61))
        assert till.data("POST", SMS, BODY | {"body": "One more"})

    def test_and_thirty_a_day(self, till):
        now = timezone.now()
        for n in range(30):
            transactional.send(
                account_id=till.account.pk, phone=PHONE, body=f"{n}", now=now + n * timedelta(minutes=30)
            )
        with pytest.raises(transactional.TooOften, match="30 texts within 24 h"):
            transactional.send(account_id=till.account.pk, phone=PHONE, body="x", now=now + timedelta(hours=16))
        assert transactional.send(account_id=till.account.pk, phone=PHONE, body="x", now=now + timedelta(hours=24))

    def test_the_same_words_within_a_minute_are_a_second_try(self, till):
        assert till.data("POST", SMS, BODY) == till.data("POST", SMS, BODY)
        assert till.data("POST", SMS, BODY | {"body": "Another"})
        assert len(rows(till)) == 2

    @override_settings(PRODUCTION=True)
    def test_without_a_carrier_nothing_pretends(self, till):
        assert "carrier" in till.refused(400, "POST", SMS, BODY)
        assert not rows(till)


@pytest.mark.django_db(transaction=True)
def test_calls_at_once_do_not_pass_the_limit():
    till = Till()
    codes = at_once([lambda n=n: till.call("POST", SMS, BODY | {"body": f"{n}"}).status_code for n in range(16)])
    assert sorted(codes) == [200] * 10 + [429] * 6
