"""Consent: what each statement does, and that STOP wins over everything else, in any order."""

import itertools
import threading
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from django.db import DatabaseError, connection, transaction
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from loyalty import audits, consent, messages
from loyalty.models import ConsentLine, ConsentState, Enrolment, Message, Persona

from ..factories import make_account, make_persona
from .race import at_once

NOW = datetime(2026, 11, 20, 20, 0, tzinfo=UTC)  # noon in Vancouver
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
PHONE = "+16045550142"
_keys = itertools.count()


@pytest.fixture
def account(db):
    return make_account()


def say(account, act, source="api", now=NOW, **fields):
    return consent.record(
        account_id=account.pk, channel="sms", address=PHONE, act=act, source=source, now=now, **fields
    )


def hear(account, text, now=NOW):
    return consent.incoming(
        account_id=account.pk, channel="sms", address=PHONE, text=text, now=now, key=f"carrier-{next(_keys)}"
    )


def ask(account, now=NOW, **fields):
    return consent.ask(account_id=account.pk, channel="sms", address=PHONE, now=now, source="staff", **fields)


def queue_notice(account, key, now=NOW, purpose="notice"):
    messages.queue(
        account_id=account.pk, key=key, channel="sms", address=PHONE, purpose=purpose, body="x", now=now
    )  # fmt: skip


def now_is(account):
    return consent.state_of(account_id=account.pk, channel="sms", address=PHONE)


def acts(account):
    return list(ConsentLine.unscoped.filter(account=account).order_by("id").values_list("act", flat=True))


class TestStatements:
    @pytest.mark.parametrize("said, state, kept", [
        (["opt_in"], "in", ["opt_in"]),
        (["opt_in", "opt_in"], "in", ["opt_in"]),
        (["opt_in", "opt_out"], "out", ["opt_in", "opt_out"]),
        (["opt_out", "opt_in"], "in", ["opt_out", "opt_in"]),
        (["import_in"], "in", ["import_in"]),
        (["opt_out", "import_in"], "out", ["opt_out", "ignored"]),
        (["opt_in", "import_out"], "out", ["opt_in", "import_out"]),
        (["stop", "import_in"], "stopped", ["stop", "ignored"]),
        (["stop", "opt_in"], "stopped", ["stop", "ignored"]),
        (["stop", "opt_out"], "stopped", ["stop", "ignored"]),
        (["stop", "requested"], "stopped", ["stop", "ignored"]),
        (["stop", "stop"], "stopped", ["stop"]),
    ])  # fmt: skip
    def test_in_their_order(self, account, said, state, kept):
        for n, act in enumerate(said):
            say(account, act, now=NOW + n * HOUR)
        assert (now_is(account), acts(account)) == (state, kept)
        assert audits.violations(account_id=account.pk) == []

    def test_a_yes_from_before_the_no_changes_nothing(self, account):
        say(account, "opt_out")
        say(account, "opt_in", now=NOW + HOUR, said_at=NOW - DAY)
        assert (now_is(account), acts(account)) == ("out", ["opt_out", "ignored"])

    def test_a_no_counts_whenever_it_was_said(self, account):
        say(account, "opt_in")
        say(account, "opt_out", now=NOW + HOUR, said_at=NOW - DAY)
        assert now_is(account) == "out"

    def test_wording_source_and_person_are_kept(self, account):
        say(account, "opt_in", source="form", wording="I agree.")
        line = ConsentLine.unscoped.get(account=account)
        assert (line.wording, line.source, line.at) == ("I agree.", "form", NOW)

    def test_start_is_the_shoppers_alone(self, account):
        with pytest.raises(ValueError, match="only the shopper"):
            say(account, "unstop", source="staff")

    def test_another_account_knows_nothing_of_it(self, account):
        say(account, "stop")
        assert now_is(make_account("Other")) == "unknown"


class TestDatabase:
    """Whoever writes past the verbs meets the trigger."""

    def test_stop_is_not_undone(self, account):
        say(account, "stop")
        line = ConsentLine.unscoped.create(
            account=account, channel="sms", address=PHONE, act="opt_in", source="api", at=NOW
        )
        for change in ({"state": "in"}, {"state": "in", "line": line}, {"state": "unknown"}):
            with pytest.raises(DatabaseError, match="STOP stands"), transaction.atomic():
                ConsentState.unscoped.filter(account=account).update(**change)
        with pytest.raises(DatabaseError, match="not forgotten"), transaction.atomic():
            ConsentState.unscoped.filter(account=account).delete()

    def test_an_old_start_does_not_open_a_new_stop(self, account):
        say(account, "stop"), hear(account, "START"), say(account, "stop", now=NOW + HOUR)
        start = ConsentLine.unscoped.get(account=account, act="unstop")
        other = make_account("Other")
        ConsentLine.unscoped.create(account=other, channel="sms", address=PHONE, act="unstop", source="shopper", at=NOW)
        with pytest.raises(DatabaseError, match="STOP stands"), transaction.atomic():
            ConsentState.unscoped.filter(account=account).update(state="in", line=None)
        assert start.act == "unstop" and now_is(account) == "stopped"

    def test_control_without_the_trigger_it_is_undone_and_the_audit_says_so(self, account):
        say(account, "stop")
        with connection.cursor() as cursor:
            cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")
            cursor.execute("ALTER TABLE loyalty_consentstate DISABLE TRIGGER loyalty_consentstate_stop")
        ConsentState.unscoped.filter(account=account).update(state="in")
        assert [v.rule.name for v in audits.violations(account_id=account.pk)] == ["consent-journal"]

    def test_lines_are_not_changed(self, account):
        say(account, "opt_in")
        for sql in ("UPDATE loyalty_consentline SET act = 'stop'", "DELETE FROM loyalty_consentline"):
            with (
                pytest.raises(DatabaseError, match="only grows"),
                transaction.atomic(),
                connection.cursor() as cursor,
            ):
                cursor.execute(sql)


class TestDoubleOptIn:
    def test_ask_yes_confirmed(self, account):
        asked = ask(account)
        assert "Harbour Cannabis" in asked.body and now_is(account) == "requested"
        assert messages.deliver_due(now=NOW) == 1
        assert hear(account, "yes").meant == "yes"
        assert now_is(account) == "in"
        assert ConsentLine.unscoped.get(account=account, act="opt_in").wording == asked.body
        assert messages.deliver_due(now=NOW) == 1
        assert Message.unscoped.filter(account=account, purpose="confirm", state="sent").count() == 1
        assert audits.violations(account_id=account.pk) == []

    @pytest.mark.parametrize("text", ["Y", "y", "Yes", "YES", " yes ", "Yes!", "yes."])
    def test_what_is_a_yes(self, account, text):
        ask(account)
        assert hear(account, text).state == "in"

    @pytest.mark.parametrize(
        "text", ["", "ok", "yes please stop", "yeah", "no", "yes I said", "👍", "y e s", "YES STOP"]
    )
    def test_what_is_not(self, account, text):
        ask(account)
        assert hear(account, text).state == "requested"

    def test_a_yes_without_a_question_is_nothing(self, account):
        assert hear(account, "YES") == consent.Heard("nothing", "unknown")

    def test_twice_at_most_and_not_twice_a_day(self, account):
        ask(account)
        with pytest.raises(consent.NotAsked, match="last day"):
            ask(account, now=NOW + HOUR)
        ask(account, now=NOW + DAY)
        with pytest.raises(consent.NotAsked, match="2 times"):
            ask(account, now=NOW + 9 * DAY)

    @pytest.mark.parametrize("act, words", [("stop", "START"), ("opt_out", "said no"), ("opt_in", "already")])
    def test_whom_we_do_not_ask(self, account, act, words):
        say(account, act)
        with pytest.raises(consent.NotAsked, match=words):
            ask(account)
        assert not Message.unscoped.filter(account=account).exists()

    def test_a_yes_to_the_programme_enrols_as_two_lines(self, account):
        persona = make_persona(account, phone=PHONE, member=False)
        ask(account, persona_id=persona.pk, enrols=True)
        hear(account, "YES")
        persona = Persona.unscoped.get(pk=persona.pk)
        assert persona.member_from == date(2026, 11, 20)
        assert Enrolment.unscoped.get(persona=persona).ground == "text"
        assert acts(account) == ["requested", "opt_in"]

    def test_a_yes_to_texts_alone_enrols_nobody(self, account):
        persona = make_persona(account, phone=PHONE, member=False)
        ask(account, persona_id=persona.pk)
        hear(account, "YES")
        assert Persona.unscoped.get(pk=persona.pk).member_from is None

    @pytest.mark.parametrize("hour, goes", [(6, 8), (8, 8), (12, 12), (20, 20), (21, 32), (23, 32)])
    def test_questions_wait_for_the_morning(self, account, hour, goes):
        midnight = datetime(2026, 11, 20, tzinfo=ZoneInfo("America/Vancouver"))
        assert ask(account, now=midnight + hour * HOUR).not_before == midnight + goes * HOUR


class TestStop:
    @pytest.mark.parametrize(
        "text", ["STOP", "stop", "Stop.", "STOP please", "unsubscribe", "QUIT", "arret", "StopAll"]
    )
    def test_words(self, account, text):
        say(account, "opt_in")
        assert hear(account, text) == consent.Heard("stop", "stopped")

    def test_takes_back_what_waits_and_is_answered_once(self, account):
        ask(account)
        hear(account, "STOP")
        messages.deliver_due(now=NOW + DAY)
        sent = Message.unscoped.filter(account=account, state="sent").values_list("purpose", flat=True)
        assert list(sent) == ["stopped"]

    def test_start_opens_again(self, account):
        say(account, "stop")
        assert hear(account, "START").state == "in"
        assert audits.violations(account_id=account.pk) == []

    def test_help_is_answered_whatever_holds(self, account):
        say(account, "stop")
        assert hear(account, "HELP").meant == "help"
        assert messages.deliver_due(now=NOW) == 1

    def test_a_stop_between_queueing_and_sending(self, account):
        say(account, "opt_in")
        messages.queue(
            account_id=account.pk, key="n", channel="sms", address=PHONE, purpose="notice", body="x", now=NOW
        )
        Message.unscoped.filter(account=account).update(state="sending", attempts=1)
        say(account, "stop", now=NOW + HOUR)
        assert messages._send(Message.unscoped.get(account=account).pk, NOW + HOUR) == 0
        assert Message.unscoped.get(account=account).state == "cancelled"


@pytest.mark.django_db
@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(st.sampled_from([
    "import_in", "import_out", "opt_in", "opt_out", "form", "ask", "YES", "STOP", "HELP", "notice", "deliver", "pin",
]), min_size=3, max_size=14))  # fmt: skip
def test_fault_8_5_after_stop_nothing_goes_out(history):
    """Imports, API calls, forms, questions and answers in any order: between STOP and START nothing but its answer."""
    with transaction.atomic():
        account = make_account()
        stopped = None
        for n, act in enumerate(history):
            now = NOW + n * DAY
            if act in ("STOP", "YES", "HELP"):
                hear(account, act, now)
                stopped = now if act == "STOP" else stopped
            elif act == "ask":
                try:
                    ask(account, now)
                except consent.NotAsked:
                    pass
            elif act in ("notice", "pin"):
                queue_notice(account, f"m{n}", now, act)
            elif act == "deliver":
                messages.deliver_due(now=now)
            else:
                say(account, "opt_in" if act == "form" else act, now=now)
        messages.deliver_due(now=NOW + 99 * DAY)
        if stopped:
            assert now_is(account) == "stopped"
            late = Message.unscoped.filter(account=account, state="sent", sent_at__gt=stopped)
            assert not late.exclude(purpose__in=["stopped", "help"]).exists()
        assert audits.violations(account_id=account.pk) == []
        transaction.set_rollback(True)


@pytest.mark.django_db(transaction=True)
class TestRaces:
    def test_stop_and_senders_at_once(self):
        account = make_account()
        say(account, "opt_in")
        for n in range(20):
            queue_notice(account, f"n{n}")
        calls = [lambda: messages.deliver_due(now=NOW + DAY)] * 4 + [lambda: hear(account, "STOP", NOW + HOUR)]
        assert not [one for one in at_once(calls) if isinstance(one, Exception)]
        states = set(Message.unscoped.filter(account=account, purpose="notice").values_list("state", flat=True))
        assert states <= {"sent", "cancelled"}

    def test_each_message_goes_out_once(self, monkeypatch):
        account = make_account()
        say(account, "opt_in")
        for n in range(30):
            queue_notice(account, f"n{n}")
        gone = []
        monkeypatch.setitem(messages.BACKENDS, "local", lambda message: gone.append(message.pk) or "x")
        at_once([lambda: messages.deliver_due(now=NOW)] * 6)
        assert len(gone) == len(set(gone)) == 30

    def test_one_question_for_two_clicks(self):
        account = make_account()
        with transaction.atomic():
            consent._held(account.pk, "sms", PHONE, NOW)
        answers = at_once([lambda: ask(account)] * 6)
        assert sum(isinstance(one, Message) for one in answers) == 1
        assert Message.unscoped.filter(account=account).count() == 1

    def test_control_without_the_row_lock_two_questions_go_out(self, monkeypatch):
        def unlocked(account_id, channel, address, now):
            found, _ = ConsentState.unscoped.get_or_create(
                account_id=account_id, channel=channel, address=address, defaults={"since": now}
            )
            return found

        def by_both(*asked):
            found = unlocked(*asked)
            both.wait()
            return found

        account, both = make_account(), threading.Barrier(2, timeout=60)
        unlocked(account.pk, "sms", PHONE, NOW)  # there already: else its unique key would be the lock
        monkeypatch.setattr(consent, "_held", by_both)
        at_once([lambda: ask(account)] * 2)
        assert ConsentLine.unscoped.filter(account=account).count() == 2
