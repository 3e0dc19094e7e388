"""The double opt-in as staff see it: asked on the shopper's page, answered on the outbox page where no carrier is."""

import csv
import io

import pytest
from django.urls import reverse
from django.utils import timezone

from aiqsync.accounts.tenancy import acting_in
from loyalty import consent, messages
from loyalty.models import ConsentLine, Message, Persona
from tests.factories import make_account, make_persona, make_user

pytestmark = pytest.mark.django_db
PHONE = "+16045550142"
OUTBOX = "/admin/loyalty/message/"


@pytest.fixture
def account():
    return make_account()


@pytest.fixture
def owner(client, account):
    client.force_login(make_user(account))
    return client


@pytest.fixture(autouse=True)
def by_day(monkeypatch):
    monkeypatch.setattr(messages, "next_allowed", lambda now, zone: now)


def ask(client, persona) -> str:
    address = reverse("admin:persona-consent", args=[persona.contact_id])
    return client.post(address, {"channel": "sms", "said": "ask"}, follow=True).content.decode()


def asked(client, account, *, member=False) -> Message:
    persona = make_persona(account, phone=PHONE, member=member)
    assert "consent holds once the shopper answers YES" in ask(client, persona)
    assert messages.deliver_due(now=timezone.now()) == 1
    return Message.unscoped.get()


def answer(client, message, text, token="once") -> str:
    address = reverse("admin:loyalty_message_answer", args=[message.pk])
    return client.post(address, {"text": text, "token": token}, follow=True).content.decode()


def state(account) -> str:
    return consent.state_of(account_id=account.pk, channel="sms", address=PHONE)


@pytest.mark.parametrize("member", [True, False])
def test_asked_and_yes(owner, account, member):
    message = asked(owner, account, member=member)
    assert state(account) == "requested" and ("join" in message.body) is not member
    assert "Answer as the shopper" in owner.get(OUTBOX).content.decode()
    assert "consent holds now" in answer(owner, message, "YES") and state(account) == "in"
    with acting_in(account.pk):
        assert Persona.objects.get().is_member
        assert ConsentLine.objects.latest("pk").wording == message.body
    assert "means nothing" in answer(owner, message, "YES", "again") and ConsentLine.unscoped.count() == 2


def test_stop_wins_and_no_question_follows(owner, account):
    message = asked(owner, account)
    assert "nothing more is sent" in answer(owner, message, "STOP") and state(account) == "stopped"
    with acting_in(account.pk):
        persona = Persona.objects.get()
    assert "sent STOP" in ask(owner, persona)
    page = owner.get(reverse("admin:persona", args=[persona.contact_id]) + "?tab=profile").content.decode()
    assert 'value="ask"' not in page.split('id="consent"')[1].split("</section>")[0].split("</li>")[0]
    assert "allowed again" in answer(owner, message, "START") and state(account) == "in"


def test_asked_twice_is_asked_once(owner, account):
    asked(owner, account)
    with acting_in(account.pk):
        assert "Asked within the last day" in ask(owner, Persona.objects.get())
    assert Message.unscoped.count() == 1


@pytest.mark.parametrize("off", [{"PRODUCTION": True}, {"MESSAGE_BACKENDS": {"sms": "carrier"}}])
def test_where_shoppers_are_real_only_they_answer(owner, account, settings, off):
    message = asked(owner, account)
    for name, value in off.items():
        setattr(settings, name, value)
    assert "Answer as the shopper" not in owner.get(OUTBOX).content.decode()
    assert "cannot be answered here" in answer(owner, message, "YES") and state(account) == "requested"


@pytest.mark.parametrize("role, seen", [("manager", 403), ("marketing", 403), ("staff", 403)])
def test_who_may_not(owner, client, account, role, seen):
    message = asked(owner, account)
    client.force_login(make_user(account, role))
    address = reverse("admin:loyalty_message_answer", args=[message.pk])
    assert client.post(address, {"text": "YES"}).status_code == seen and state(account) == "requested"


def test_another_companys_message(owner, account):
    message = asked(owner, account)
    owner.force_login(make_user(make_account("Elsewhere")))
    assert "cannot be answered here" in answer(owner, message, "YES") and state(account) == "requested"


def test_the_journal_as_a_table_for_whoever_has_to_show_it(owner, account):
    for address, wording in ((PHONE, "=1+1"), ("ada@shop.test", "+1 more, please")):
        channel = "email" if "@" in address else "sms"
        consent.record(
            account_id=account.pk, channel=channel, address=address, act="opt_in", source="form", wording=wording,
            now=timezone.now(),
        )  # fmt: skip
    consent.record(
        account_id=make_account("Other").pk, channel="sms", address="+16045550143", act="opt_in", source="form",
        now=timezone.now(),
    )  # fmt: skip
    answer = owner.get(reverse("admin:loyalty_consentline_export"))
    assert answer["Content-Disposition"] == 'attachment; filename="consent.csv"'
    rows = list(csv.DictReader(io.StringIO(b"".join(answer.streaming_content).decode())))
    assert [(row["channel"], row["address"], row["act"], row["wording"]) for row in rows] == [
        ("sms", PHONE, "opt_in", "'=1+1"), ("email", "ada@shop.test", "opt_in", "'+1 more, please"),
    ]  # fmt: skip
