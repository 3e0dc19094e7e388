"""Opt-in by a call (reference: 6.1 to 6.3): forced unless asked, and never against the shopper's own no."""

import itertools
from datetime import UTC, datetime, timedelta

import pytest
from django.test import override_settings
from django.utils import timezone
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from aiqsync.accounts.models import ApiKey
from aiqsync.accounts.tenancy import acting_in
from loyalty import audits, consent, erasure, messages
from loyalty.models import ConsentLine, ConsentState, Message, Persona
from stores.models import StoreKey
from tests.factories import make_account, make_persona, make_store, make_user

from .till import PHONE, Till

SMS, EMAIL, LOOKUP = "/api/v2/optin/text/", "/api/v2/optin/email/", "/api/v2/loyalty/lookup/"
STRANGER = "6045550177"


def say(till, act, *, channel="sms", address=PHONE, source="staff"):
    with acting_in(till.account.pk):
        consent.record(
            account_id=till.account.pk, channel=channel, address=address, act=act, source=source, now=timezone.now()
        )  # fmt: skip


def hear(till, text, address=PHONE):
    with acting_in(till.account.pk):
        consent.incoming(
            account_id=till.account.pk, channel="sms", address=address, text=text, now=timezone.now(),
            key=f"in-{timezone.now().timestamp()}",
        )  # fmt: skip


def lines(till, address=PHONE):
    return list(
        ConsentLine.unscoped.filter(account=till.account, address=address).order_by("id").values_list("act", "source")
    )


def put(till, word="true", phone="6045550142", query=""):
    return till.data("PUT", f"{SMS}{phone}/{word}{query}")


class TestForced:
    def test_c_tookan_an_empty_put_with_a_json_type_before_the_text(self, till):
        """The delivery webhook: opt in a ten-digit phone without a body, look for exactly 200, then text."""
        data = till.data("PUT", SMS + STRANGER + "/true", raw=b"")
        assert data == {"contactID": None, "optIn": True, "state": "in", "message": ""}
        assert not Persona.unscoped.filter(phone="+1" + STRANGER).exists()  # it never creates a contact
        assert till.refused(404, "GET", LOOKUP + STRANGER)
        assert lines(till, "+1" + STRANGER) == [("opt_in", "api")]

    def test_c_hyper_the_older_path_and_the_e_mail(self, till):
        uid = till.account.uid
        assert till.data("PUT", f"/api/v1.1/optin/{uid}/6045550142/true")["optIn"]
        assert till.data("PUT", EMAIL + "ada%40example.test/true")["optIn"]
        assert till.data("PUT", EMAIL + "Ada@Example.test/true/")["contactID"] == str(till.persona.contact_id)
        data = till.data("GET", LOOKUP + "6045550142")
        assert (data["smsOptIn"], data["emailOptIn"]) == (True, True)
        # Nobody has such a list.
        assert till.refused(404, "GET", f"/api/v1.1/optin/{uid}") == "Not Found"
        assert till.refused(405, "GET", SMS + "6045550142/true")

    @pytest.mark.parametrize("phone", ["6045550142", "16045550142", "+16045550142", "(604)%20555-0142"])
    def test_however_the_phone_is_spelt(self, till, phone):
        assert put(till, phone=phone)["contactID"] == str(till.persona.contact_id)
        assert consent.state_of(account_id=till.account.pk, channel="sms", address=PHONE) == "in"

    def test_the_line_tells_source_words_person_and_the_keys_store(self, till):
        store = make_store(till.account)
        with acting_in(till.account.pk):
            StoreKey.objects.create(key=ApiKey.objects.get(), store=store)
        put(till)
        line = ConsentLine.unscoped.get(account=till.account)
        assert (line.source, line.persona, line.store) == ("api", till.persona, store)
        assert line.wording == consent.CALLER_YES and "No question was put" in line.wording

    def test_repeated_it_is_one_line(self, till):
        first = till.call("PUT", SMS + "6045550142/true").content
        assert [till.call("PUT", SMS + "6045550142/true").content for _ in range(3)] == [first] * 3
        assert lines(till) == [("opt_in", "api")]

    def test_false_always_takes_effect_and_what_waits_is_taken_back(self, till):
        put(till)
        messages.queue(account_id=till.account.pk, key="n", channel="sms", address=PHONE, purpose="notice", body="x",
                       now=timezone.now())  # fmt: skip
        assert put(till, "false") == {"contactID": str(till.persona.contact_id), "optIn": False, "state": "out",
                                      "message": ""}  # fmt: skip
        assert Message.unscoped.get(account=till.account).state == "cancelled"
        assert put(till)["optIn"]  # a program takes back what a program said

    def test_another_account_knows_nothing_of_it(self, till):
        other = Till(account=make_account("Other"), points=None)
        put(till)
        assert not ConsentState.unscoped.filter(account=other.account).exists()
        assert other.data("PUT", SMS + "6045550142/false")["contactID"] is None
        assert consent.state_of(account_id=till.account.pk, channel="sms", address=PHONE) == "in"

    def test_merged_and_shared(self, till):
        survivor = make_persona(till.account, phone="+16045550188")
        Persona.unscoped.filter(pk=till.persona.pk).update(merged_into=survivor)
        assert put(till)["contactID"] == str(survivor.contact_id)


class TestTheShoppersNo:
    def test_stop_stands_and_is_told(self, till):
        put(till), hear(till, "STOP")
        for _ in range(3):
            told = put(till)
            assert (told["optIn"], told["state"]) == (False, "stopped") and "START" in told["message"]
        assert lines(till) == [("opt_in", "api"), ("stop", "shopper"), ("ignored", "api")]  # said thrice, kept once
        assert put(till, "false")["state"] == "stopped"
        hear(till, "START")
        assert put(till)["state"] == "in"

    @pytest.mark.parametrize("source", ["shopper", "form", "queue", "till", "staff"])
    def test_a_no_of_his_own_stands(self, till, source):
        put(till), say(till, "opt_out", source=source)
        for _ in range(2):
            told = put(till)
            assert (told["optIn"], told["state"]) == (False, "out") and "new yes" in told["message"]
        assert lines(till)[-1] == ("ignored", "api") and len(lines(till)) == 3
        say(till, "opt_in", source="form")
        assert put(till)["optIn"]

    @pytest.mark.parametrize(("act", "source"), [("import_out", "import"), ("import_out", "pos"), ("opt_out", "api")])
    def test_what_a_list_or_a_program_said_is_overruled(self, till, act, source):
        say(till, act, source=source)
        assert put(till)["optIn"]

    def test_somebody_removed_on_request_stays_out(self, till):
        put(till)
        with acting_in(till.account.pk):
            erasure.erase(
                account_id=till.account.pk, persona_id=till.persona.pk, user=make_user(till.account), now=timezone.now()
            )
        for _ in range(2):
            told = put(till)
            assert (told["optIn"], told["contactID"]) == (False, None)
        assert not ConsentLine.unscoped.filter(account=till.account, address=PHONE).exists()

    def test_e_mail_likewise(self, till):
        say(till, "stop", channel="email", address="ada@example.test", source="shopper")
        assert till.data("PUT", EMAIL + "ada@example.test/true")["state"] == "stopped"


class TestDoubleOptIn:
    def test_it_asks_and_yes_holds(self, till):
        told = put(till, query="?doubleOpt=true")
        assert (told["optIn"], told["state"], told["message"]) == (False, "requested", "")
        asked = Message.unscoped.get(account=till.account)
        assert (asked.purpose, asked.persona, asked.address) == ("opt_in", till.persona, PHONE)
        hear(till, "YES")
        assert put(till, query="?doubleOpt=true") == {"contactID": told["contactID"], "optIn": True, "state": "in",
                                                      "message": ""}  # fmt: skip

    def test_a_number_nobody_knows_is_asked_too(self, till):
        assert put(till, phone=STRANGER, query="?doubleOpt=1&loyalty=true")["state"] == "requested"
        assert not Persona.unscoped.filter(phone="+1" + STRANGER).exists()
        hear(till, "YES", "+1" + STRANGER)
        assert put(till, phone=STRANGER, query="?doubleOpt=1")["state"] == "in"

    def test_once_a_day_and_it_is_said(self, till):
        put(till, query="?doubleOpt=true")
        told = put(till, query="?doubleOpt=true")
        assert told["state"] == "requested" and "within the last day" in told["message"]
        assert Message.unscoped.filter(account=till.account).count() == 1

    def test_nobody_is_asked_who_said_no(self, till):
        for act, source, state in (("opt_out", "staff", "out"), ("stop", "shopper", "stopped")):
            say(till, act, source=source)
            told = put(till, query="?doubleOpt=true")
            assert (told["state"], told["optIn"]) == (state, False) and told["message"]
        assert not Message.unscoped.filter(account=till.account).exists()

    def test_the_question_waits_for_the_day(self, till, monkeypatch):
        night = datetime(2026, 6, 20, 6, 0, tzinfo=UTC)  # 23:00 in Vancouver
        monkeypatch.setattr(timezone, "now", lambda: night)
        put(till, query="?doubleOpt=true")
        assert Message.unscoped.get(account=till.account).not_before == night + timedelta(hours=9)

    def test_loyalty_false_skips_the_question(self, till):
        assert put(till, query="?doubleOpt=true&loyalty=false")["state"] == "in"
        assert not Message.unscoped.filter(account=till.account).exists()

    def test_false_needs_no_question(self, till):
        assert put(till, "false", query="?doubleOpt=true")["state"] == "out"

    @override_settings(PRODUCTION=True)
    def test_where_a_question_would_reach_nobody_nothing_is_changed(self, till):
        assert "carrier" in till.refused(400, "PUT", SMS + "6045550142/true?doubleOpt=true")
        assert not ConsentState.unscoped.filter(account=till.account).exists()
        assert put(till)["optIn"]  # without a question none is needed


class TestBadInput:
    @pytest.mark.parametrize(("path", "names"), [
        (SMS + "6045550142/yes", "state"), (SMS + "6045550142/1", "state"), (EMAIL + "ada@example.test/no", "state"),
        (SMS + "123/true", "phone"), (SMS + "5555555555/true", "phone"), (SMS + "%00/true", "phone"),
        (EMAIL + "ada/true", "email"), (SMS + "6045550142/true?doubleOpt=perhaps", "doubleOpt"),
        (SMS + "6045550142/true?loyalty=2", "loyalty"),
    ])  # fmt: skip
    def test_is_named(self, till, path, names):
        assert names in till.refused(400, "PUT", path)
        assert not ConsentState.unscoped.filter(account=till.account).exists()

    def test_true_in_other_letters(self, till):
        assert put(till, "TRUE")["optIn"] and not put(till, "False")["optIn"]

    @pytest.mark.parametrize("raw", [b"", b"{}", b"null", b"{broken", b"\xff", b"[[1]]"])
    def test_a_body_is_not_read(self, till, raw):
        assert till.data("PUT", SMS + "6045550142/true", raw=raw)["optIn"]

    def test_a_repeat_costs_no_more_the_tenth_time(self, till, django_assert_num_queries):
        put(till)
        for _ in range(2):
            with django_assert_num_queries(15):
                put(till)


# What is said after the shopper's own no, by whom, in any order. Only START or a yes that he said himself may follow.
_numbers = itertools.count(6042000000)
_PROGRAMS = ["true", "old", "double", "sign up", "import", "true loyalty", "false", "import out", "staff asks"]


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    before=st.lists(st.sampled_from([*_PROGRAMS, "staff yes", "form yes"]), max_size=4),
    no=st.sampled_from(["STOP", "form", "staff"]),
    after=st.lists(st.sampled_from([*_PROGRAMS, "staff yes", "YES"]), min_size=1, max_size=8),
)
def test_after_the_shoppers_no_nothing_but_he_himself_brings_a_yes(till, before, no, after):
    phone = str(next(_numbers))
    address = "+1" + phone

    def act(what):
        match what:
            case "true" | "false":
                put(till, what, phone)
            case "true loyalty":
                put(till, "true", phone, "?doubleOpt=true&loyalty=false")
            case "double":
                put(till, "true", phone, "?doubleOpt=true")
            case "old":
                till.data("PUT", f"/api/v1.1/optin/{till.account.uid}/{phone}/true")
            case "sign up":
                till.data("POST", "/api/v2/loyalty", {"mobilePhone": phone, "smsoptin": True})
            case "import" | "import out":
                say(till, "import_in" if what == "import" else "import_out", address=address, source="import")
            case "staff yes" | "form yes":
                say(till, "opt_in", address=address, source=what.removesuffix(" yes"))
            case "staff asks":
                with acting_in(till.account.pk):
                    try:
                        consent.ask(account_id=till.account.pk, channel="sms", address=address, source="staff",
                                    now=timezone.now())  # fmt: skip
                    except consent.NotAsked:
                        pass
            case "YES":
                hear(till, "YES", address)

    for what in before:
        act(what)
    hear(till, "STOP", address) if no == "STOP" else say(till, "opt_out", address=address, source=no)
    for what in after:
        if what == "staff yes" and no != "STOP":
            continue  # staff write down a new yes of his: that is his to give
        act(what)
        state = consent.state_of(account_id=till.account.pk, channel="sms", address=address)
        assert state == ("stopped" if no == "STOP" else "out"), (before, no, after, what)
    assert put(till, "true", phone)["optIn"] is False
    assert audits.violations(account_id=till.account.pk) == []


def test_a_programs_no_after_his_own_does_not_make_it_a_programs(till):
    """`opt_out` twice is one line, the first: so it is still his own when the program changes its mind."""
    say(till, "opt_out", source="form")
    put(till, "false"), say(till, "import_out", source="import")
    assert put(till)["optIn"] is False and lines(till)[0] == ("opt_out", "form")


def test_his_own_no_after_a_programs_is_noted_and_stands(till):
    put(till, "false"), say(till, "opt_out", source="form")
    assert put(till)["optIn"] is False
    assert lines(till) == [("opt_out", "api"), ("opt_out", "form"), ("ignored", "api")]
