"""Alerts: one incident once, whoever looks and however often; told with its end; e-mails as rows that survive."""

import threading
from datetime import timedelta
from smtplib import SMTPServerDisconnected

import pytest
from django.core import mail
from django.core.exceptions import ValidationError
from django.core.mail.backends.locmem import EmailBackend
from django.db import IntegrityError, connection, transaction
from django.utils import timezone

from aiqsync.accounts import alerts
from aiqsync.accounts.alerts import Finding, Kind
from aiqsync.accounts.models import Alert, AlertMail, AuditLine
from aiqsync.accounts.roles import Role
from aiqsync.accounts.tenancy import acting_in
from tests.factories import make_account, make_user

KIND = Kind("probe", "Probe", "A probe of the tests.")
SLOW = Kind("slow_probe", "Slow probe", "The same, after half an hour.", timedelta(minutes=30))
NOW = timezone.now()
MINUTE = timedelta(minutes=1)


@pytest.fixture(autouse=True)
def kinds(monkeypatch):
    monkeypatch.setattr(alerts, "KINDS", {"probe": KIND, "slow_probe": SLOW})


@pytest.fixture
def account(db):
    account = make_account()
    make_user(account, email="olga@example.test")
    make_user(account, Role.OPERATOR, email="otto@example.test")
    make_user(account, Role.MANAGER, email="mia@example.test")
    return account


def so(account, *subjects, now=NOW, kind="probe", **more):
    found = [Finding(kind, subject, "It is broken", "Mend it.", "/admin/", "Mend it", **more) for subject in subjects]
    return alerts.settle(account_id=account.pk, found=found, kinds={"probe", "slow_probe"}, now=now)


def told() -> list[tuple[str, str]]:
    alerts.deliver_due(now=NOW + timedelta(days=2))
    sent = sorted((one.to[0], one.subject) for one in mail.outbox)
    mail.outbox.clear()
    return sent


BOTH = [
    ("olga@example.test", "[Harbour Cannabis] It is broken"),
    ("otto@example.test", "[Harbour Cannabis] It is broken"),
]
OVER = [(who, subject.replace("] ", "] Over: ")) for who, subject in BOTH]


def test_told_once_and_again_when_it_is_over(account):
    assert so(account, "a") == alerts.Settled(1, 0)
    assert so(account, "a", now=NOW + MINUTE) == alerts.Settled(0, 0)
    assert told() == BOTH
    assert so(account, now=NOW + 2 * MINUTE) == alerts.Settled(0, 0)  # it has to last
    assert alerts.count_open(account.pk) == 1
    assert so(account, now=NOW + 12 * MINUTE) == alerts.Settled(0, 1)
    assert told() == OVER
    assert alerts.count_open(account.pk) == 0
    assert so(account, now=NOW + 13 * MINUTE) == alerts.Settled(0, 0) and told() == []


def test_flapping_is_one_incident(account):
    for minute in range(0, 120, 2):
        so(account, *(["a"] if minute % 4 == 0 else []), now=NOW + minute * MINUTE)
    assert told() == BOTH
    assert Alert.unscoped.count() == 1


def test_what_comes_back_has_to_be_clear_longer_each_time(account):
    at, incidents = NOW, 0
    while at < NOW + timedelta(days=1):  # half an hour there, half an hour gone
        for minute in range(60):
            incidents += so(account, *(["a"] if minute < 30 else []), now=at + minute * MINUTE).opened
        at += timedelta(hours=1)
    assert incidents == 3  # ten, twenty minutes are reached; forty are not


def test_a_grace_is_waited_for_and_leaves_no_trace(account):
    so(account, "a", kind="slow_probe")
    so(account, now=NOW + 10 * MINUTE)
    assert not Alert.unscoped.exists()
    so(account, "a", kind="slow_probe", now=NOW + 11 * MINUTE)
    assert so(account, "a", kind="slow_probe", now=NOW + 40 * MINUTE).opened == 0
    assert so(account, "a", kind="slow_probe", now=NOW + 42 * MINUTE).opened == 1
    assert so(account, "b", kind="slow_probe", since=NOW - timedelta(hours=2)).opened == 1  # the facts know since when
    assert len(told()) == 4


def test_the_words_follow_the_facts(account):
    so(account, "a")
    alerts.settle(
        account_id=account.pk, found=[Finding("probe", "a", "Two are\nbroken")], kinds={"probe"}, now=NOW + MINUTE
    )
    assert Alert.unscoped.get().title == "Two are broken"
    assert told() == [(who, "[Harbour Cannabis] Two are broken") for who, _ in BOTH]


def test_over_before_it_was_told_is_not_told(account):
    so(account, "a")
    so(account, now=NOW + MINUTE)
    so(account, now=NOW + 12 * MINUTE)
    assert told() == []


def test_other_accounts_and_kinds_are_left_alone(account):
    other = make_account("Other Co")
    so(account, "a")
    so(other, "a")
    alerts.settle(account_id=account.pk, found=[], kinds={"slow_probe"}, now=NOW + timedelta(hours=1))
    assert alerts.count_open(account.pk) == alerts.count_open(other.pk) == 1


@pytest.mark.django_db(transaction=True)
def test_two_dispatchers_tell_it_once():
    account = make_account()
    make_user(account, email="olga@example.test")
    gate, opened, closed = threading.Barrier(4), [], []

    def look():
        try:
            gate.wait(60)
            opened.append(so(account, "a", "b").opened)
            gate.wait(60)
            so(account, now=NOW + MINUTE)
            gate.wait(60)
            closed.append(so(account, now=NOW + 30 * MINUTE).closed)
        finally:
            connection.close()

    threads = [threading.Thread(target=look) for _ in range(4)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    assert sum(opened) == sum(closed) == 2
    assert Alert.unscoped.count() == 2 and AlertMail.unscoped.filter(event="opened").count() == 2


@pytest.mark.django_db(transaction=True)
def test_two_senders_send_each_once():
    account = make_account()
    for n in range(6):
        make_user(account, email=f"o{n}@example.test")
    so(account, "a", "b")
    mail.outbox = []
    gate, sent = threading.Barrier(4), []

    def send():
        try:
            gate.wait(60)
            sent.append(alerts.deliver_due(now=NOW))
        finally:
            connection.close()

    threads = [threading.Thread(target=send) for _ in range(4)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    assert sum(sent) == len(mail.outbox) == 12
    assert len({(one.to[0], one.extra_headers["Message-ID"]) for one in mail.outbox}) == 12


def test_the_database_refuses_a_second_open_one(account):
    so(account, "a")
    with pytest.raises(IntegrityError, match="alert_one_open"), transaction.atomic():
        Alert.unscoped.create(account=account, kind="probe", subject="a", title="x", since=NOW)
    row = Alert.unscoped.get()
    mails = {"account": account, "alert": row, "event": "opened", "next_try_at": NOW, "created_at": NOW}
    with pytest.raises(IntegrityError, match="alert_mail_once"), transaction.atomic():
        AlertMail.unscoped.create(address="olga@example.test", **mails)
    Alert.unscoped.update(closed_at=NOW)
    Alert.unscoped.create(account=account, kind="probe", subject="a", title="x", since=NOW)


class Refusing(EmailBackend):
    def send_messages(self, messages):
        raise SMTPServerDisconnected("connection refused")


def test_a_mail_server_that_is_down_is_waited_for(account, settings):
    so(account, "a")
    good, settings.EMAIL_BACKEND = settings.EMAIL_BACKEND, f"{__name__}.Refusing"
    assert alerts.deliver_due(now=NOW) == 0
    [tried] = AlertMail.unscoped.exclude(attempts=0)  # the first that failed ends the round
    assert tried.state == "waiting" and "connection refused" in alerts.trouble(account.pk).message
    settings.EMAIL_BACKEND = good
    assert alerts.deliver_due(now=NOW + 2 * MINUTE) == 2
    assert alerts.trouble(account.pk) is None
    assert {one.to[0] for one in mail.outbox} == {"olga@example.test", "otto@example.test"}


def test_given_up_in_the_end_and_sent_again_by_hand(account, settings):
    so(account, "a")
    good, settings.EMAIL_BACKEND = settings.EMAIL_BACKEND, f"{__name__}.Refusing"
    for day in range(30):
        alerts.deliver_due(now=NOW + timedelta(days=day))
    assert set(AlertMail.unscoped.values_list("state", flat=True)) == {"failed"}
    settings.EMAIL_BACKEND = good
    assert alerts.deliver_due(now=NOW + timedelta(days=31)) == 0
    assert alerts.retry_failed(account_id=account.pk, now=NOW) == 2
    assert told() == BOTH


def test_a_sender_that_died_is_followed_up_under_the_same_message_id(account):
    so(account, "a")
    lost = alerts._claim(NOW)
    assert alerts.deliver_due(now=NOW) == 1  # the other one
    assert alerts.deliver_due(now=NOW + alerts.MAIL_LEASE) == 1
    assert alerts._message(lost).extra_headers["Message-ID"] in {m.extra_headers["Message-ID"] for m in mail.outbox}


def test_who_is_told(account, settings):
    user = make_user(account)
    assert alerts.recipients(account.pk)[:2] == ["olga@example.test", "otto@example.test"]
    with acting_in(account.pk):
        given = {"account": account, "user": user, "by_email": True}
        assert alerts.set_recipients(typed="Ops@example.test, ops@example.test\nb@example.test", **given)
        assert not alerts.set_recipients(typed="b@example.test ops@example.test", **given)
        assert alerts.recipients(account.pk) == ["b@example.test", "ops@example.test"]
        with pytest.raises(ValidationError, match="nobody is not an e-mail address"):
            alerts.set_recipients(typed="nobody", **given)
        with pytest.raises(ValidationError, match="At most 20"):
            alerts.set_recipients(typed=" ".join(f"a{n}@example.test" for n in range(21)), **given)
        assert AuditLine.objects.filter(act="alerts.recipients").count() == 1
        alerts.set_recipients(account=account, user=user, typed="", by_email=False)
    so(account, "a")
    assert alerts.count_open(account.pk) == 1 and not AlertMail.unscoped.exists()
    settings.EMAIL_BACKEND = "django.core.mail.backends.dummy.EmailBackend"
    assert not alerts.can_mail()


def test_the_mail_says_what_since_when_and_where(account, settings):
    settings.PUBLIC_URL = "https://loyalty.example.test"
    so(account, "a", since=NOW - timedelta(hours=1))
    alerts.deliver_due(now=NOW)
    body = mail.outbox[0].body
    assert "Mend it.\n" in body and "\n\nSince " in body
    assert "Mend it: https://loyalty.example.test/admin/" in body
    settings.PUBLIC_URL = ""
    so(account, "b")
    alerts.deliver_due(now=NOW)
    assert "Mend it: /admin/ in the admin" in mail.outbox[-1].body  # and never an address that leads nowhere


def test_old_incidents_go(account):
    so(account, "a")
    Alert.unscoped.update(closed_at=NOW - timedelta(days=91))
    assert alerts.prune(now=NOW) and not AlertMail.unscoped.exists()
