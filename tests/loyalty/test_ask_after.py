"""The question for consent by text after a purchase: who is asked, once, when, and what a YES makes of it."""

from datetime import timedelta

import pytest
from django.utils import timezone

from aiqsync.accounts.tenancy import acting_in
from integrations import services
from integrations.models import ChangeState
from loyalty import (
    ask_after,
    consent,
    guard,
    jobs,
    messages,
    switches,
)
from loyalty.models import (
    BlockedPhone,
    ConsentLine,
    ConsentState,
    Job,
    Message,
    Source,
)
from tests.records import customer

from .changing import PHONES as MEMBERS
from .switching import PHONES, with_buyers

pytestmark = pytest.mark.django_db


@pytest.fixture
def shop(monkeypatch):
    return with_buyers(monkeypatch)


@pytest.fixture
def awake(monkeypatch):
    monkeypatch.setattr(messages, "next_allowed", lambda now, zone: now)


def texts(**given):
    return list(Message.unscoped.filter(purpose=messages.OPT_IN_ENROLS, **given).order_by("id"))


def said(shop, name, act, **given):
    consent.record(
        account_id=shop.account.pk,
        channel="sms",
        address=PHONES[name],
        act=act,
        source="shopper",
        now=shop.now,
        **given,
    )


def test_sms_optin_after_acts(shop, awake):
    """Buyers with a phone of their own are asked once; a YES is a consent and a membership, as two lines."""
    change = shop.counted("sms_optin_after", shop.date(-30))
    figures = {name: change.counted[name] for name in ("shoppers", "points", "texts")}
    assert figures == {"shoppers": 3, "points": "0", "texts": 3}
    assert len(change.sample) == 3 and not Message.unscoped.exists()
    assert any("No SMS carrier is connected" in note for note in change.counted["notes"])
    assert any(shop.account.name in note and "loyalty programme" in note for note in change.counted["notes"])

    change = shop.confirm(change)
    assert (change.state, change.applied["texts"]) == (ChangeState.APPLIED, 3)
    assert "reach nobody" in switches.of(change).outcome(change)
    assert {one.address for one in texts()} == {PHONES["ora"], PHONES["pia"], MEMBERS["ada"]}
    assert all("loyalty programme" in one.body for one in texts())

    messages.deliver_due(now=timezone.now())
    heard = consent.incoming(
        account_id=shop.account.pk, channel="sms", address=PHONES["ora"], text="Yes", now=timezone.now(), key="k1"
    )
    assert heard.meant == "yes"
    lines = ConsentLine.unscoped.filter(address=PHONES["ora"]).order_by("id")
    assert [(one.act, one.source) for one in lines] == [("requested", "pos"), ("opt_in", "shopper")]
    assert shop.grounds("ora") == ["text"]

    shop.buy("quy", "q1", -1)  # bought later: asked by a job of the page
    assert len(texts()) == 3
    shop.work("ask:")
    assert [one.address for one in texts()][3:] == [PHONES["quy"]]
    shop.buy("quy", "q2", -1)
    shop.work("ask:")
    assert len(texts()) == 4  # asked within the last day


@pytest.mark.parametrize(
    ("made_by", "agreed", "asked"),
    [("phone", None, 0), ("created", None, 1), ("created", timedelta(hours=-1), 0), ("created", timedelta(hours=1), 1)],
    ids=["theirs", "ours", "ours, and we wrote that he may be", "ours, and he agreed to e-mails since"],
)
def test_do_not_contact_is_a_no_unless_we_wrote_it(shop, awake, made_by, agreed, asked):
    """A shopper whom we create in the POS bears the mark until he agrees: he said nothing yet, so he is asked."""
    mail = "shy@example.test"
    shop.meet(customer("shy", first_name="Shy", phone="+16045550161", email=mail, do_not_contact=True))
    made = shop.now - timedelta(days=1)
    Source.unscoped.filter(customer__external_id="shy").update(matched_by=made_by, linked_at=made)
    if agreed is not None:
        consent.record(
            account_id=shop.account.pk, channel="email", address=mail, act="opt_in", source="staff", now=made + agreed,
        )  # fmt: skip
    shop.buy("shy", "shy1", -5)
    change = shop.counted("sms_optin_after", shop.date(-6))
    assert change.counted["texts"] == asked
    assert change.counted["left_out"] == ({} if asked else {"no_contact": 1})


def test_who_is_not_asked(shop, awake):
    """STOP, no and yes; asked twice; a shared number; do not contact; no phone; the employee blocklist."""
    for name in ("ned", "quy"):
        shop.buy(name, f"{name}9", -5)
    said(shop, "ora", "stop")
    said(shop, "pia", "opt_in")
    for days in (9, 5):
        consent.ask(
            account_id=shop.account.pk, channel="sms", address=PHONES["ned"], now=shop.now - timedelta(days=days),
            source="staff",
        )  # fmt: skip
    shop.meet(
        customer("shy", first_name="Shy", phone="+16045550161", do_not_contact=True),
        customer("mute", first_name="Mute"),
        customer("listed", first_name="Listed", phone="+16045550162"),
        customer("pair", first_name="Pair", phone="+16045550163"),
    )
    for name in ("shy", "mute", "listed", "pair"):
        shop.buy(name, f"{name}1", -5)
    BlockedPhone.unscoped.create(account=shop.account, phone="+16045550162", user=shop.user)
    with acting_in(shop.account.pk):
        guard.mark_shared(account_id=shop.account.pk, phone="+16045550163", user=shop.user, now=shop.now)
    change = shop.counted("sms_optin_after", shop.date(-30))
    assert change.counted["texts"] == 2  # quy, and ada
    left_out = {"no": 1, "agreed": 1, "twice": 1, "no_contact": 1, "phone": 2, "listed": 1}
    assert change.counted["left_out"] == left_out
    before = len(texts())
    shop.confirm(change)
    assert {one.address for one in texts()[before:]} == {PHONES["quy"], MEMBERS["ada"]}


def test_a_second_question_at_a_later_purchase_is_the_last(shop, awake):
    ask = {"account_id": shop.account.pk, "channel": "sms", "address": PHONES["quy"], "source": "staff"}
    consent.ask(**ask, now=shop.now - timedelta(days=3))
    shop.put_on("sms_optin_after", shop.date(-5))
    shop.meet(customer("quy", first_name="Quy", last_name="New", phone=PHONES["quy"]))
    shop.work("ask:")
    assert len(texts(address=PHONES["quy"])) == 0
    shop.buy("quy", "q1", -1)
    shop.work("ask:")
    assert len(texts(address=PHONES["quy"])) == 1
    ConsentState.unscoped.update(asked_at=shop.now - timedelta(days=3))
    shop.meet(customer("quy", first_name="Quy", last_name="Newer", phone=PHONES["quy"]))
    shop.buy("quy", "q2", -1)
    shop.work("ask:")
    assert len(texts(address=PHONES["quy"])) == 1


def test_an_edited_profile_is_no_reason_to_ask_again(shop, awake):
    shop.put_on("sms_optin_after", shop.date(-30))
    ConsentState.unscoped.update(asked_at=shop.now - timedelta(days=3))
    shop.meet(customer("ora", first_name="Ora", last_name="New", phone=PHONES["ora"]))
    shop.meet(customer("ned", first_name="Ned", phone=PHONES["ned"], last_name="New"))
    assert not Job.unscoped.filter(kind__startswith="ask:").exists()


def test_in_small_batches_that_stop(shop, awake, monkeypatch):
    """A batch, a pause, a batch. Stopped in the pause, nobody else is asked; resumed, nobody is asked twice."""
    monkeypatch.setattr(ask_after, "BATCH", 1)
    change = shop.counted("sms_optin_after", shop.date(-30))
    services.confirm(change=change, user=shop.user, now=shop.now)
    job = Job.unscoped.get(kind=f"switch:{change.pk}")
    assert jobs.run_slice(job.pk) is False  # it waits: the dispatcher hands it out
    job.refresh_from_db()
    assert job.state == "queued" and len(texts()) == 1
    assert jobs.dispatch_due(enqueue=pytest.fail) == 0  # not before the pause is over
    job.queued_at -= ask_after.PAUSE + timedelta(seconds=1)
    job.save(update_fields=["queued_at"])
    handed = []
    assert jobs.dispatch_due(enqueue=handed.append) == 1 and handed == [job.pk]
    jobs.run_slice(job.pk)
    assert services.halt(change=change, now=shop.now)
    assert jobs.run_slice(job.pk) is False and len(texts()) == 2
    services.go_on(change=change, now=shop.now)
    for _ in range(4):
        shop.work()
    change.refresh_from_db()
    assert change.state == ChangeState.APPLIED
    assert len({one.address for one in texts()}) == len(texts()) == 3


def test_resumed_after_days_it_asks_nobody_again(shop, awake, monkeypatch):
    monkeypatch.setattr(ask_after, "BATCH", 1)
    change = shop.counted("sms_optin_after", shop.date(-30))
    services.confirm(change=change, user=shop.user, now=shop.now - timedelta(days=9))
    shop.work()
    services.halt(change=change, now=shop.now)
    ConsentState.unscoped.update(asked_at=shop.now - timedelta(days=8))
    Job.unscoped.filter(kind__startswith="switch").delete()  # jobs are kept for 90 days
    services.go_on(change=change, now=shop.now)
    for _ in range(4):
        shop.work()
    assert len({one.address for one in texts()}) == len(texts()) == 3


def test_at_night_nobody_is_asked_before_the_morning(shop, monkeypatch):
    """Whose store sleeps waits, and holds up nobody whose store does not."""
    morning = timezone.now() + timedelta(hours=9)
    monkeypatch.setattr(messages, "next_allowed", lambda now, zone: max(now, morning) if zone == "asleep" else now)
    zones = dict.fromkeys([one.pk for one in shop.people.values()], "awake") | {shop.people["ora"].pk: "asleep"}
    monkeypatch.setattr(messages, "zones_of", lambda *, account_id, persona_ids: zones)
    change = shop.counted("sms_optin_after", shop.date(-30))
    services.confirm(change=change, user=shop.user, now=shop.now)
    shop.work("switch:")
    assert PHONES["ora"] not in {one.address for one in texts()} and len(texts()) == 2
    job = Job.unscoped.get(kind=f"switch:{change.pk}")
    assert job.state == "queued" and jobs.waits_until(job, now=timezone.now()) == morning
    zones[shop.people["ora"].pk] = "awake"
    shop.work("switch:")
    change.refresh_from_db()
    assert (change.state, change.applied["texts"], len(texts())) == (ChangeState.APPLIED, 3, 3)


def test_without_a_carrier_in_production_nothing_is_asked(shop, awake, settings):
    settings.PRODUCTION = True
    change = shop.counted("sms_optin_after", shop.date(-30))
    assert ask_after.NO_CARRIER in change.counted["notes"]
    with pytest.raises(services.Refused, match="No SMS carrier"):
        services.confirm(change=change, user=shop.user, now=shop.now)
    settings.PRODUCTION = False
    services.confirm(change=change, user=shop.user, now=shop.now)
    settings.PRODUCTION = True  # the carrier was taken away again
    shop.work("switch:")
    change.refresh_from_db()
    assert (change.state, change.message) == (ChangeState.FAILED, ask_after.NO_CARRIER)
    shop.buy("quy", "q1", -1)
    assert not Job.unscoped.filter(kind__startswith="ask:").exists()
    assert not Message.unscoped.exists() and not ConsentLine.unscoped.exists()


def test_turned_off_meanwhile_asks_nobody(shop, awake):
    shop.put_on("sms_optin_after", shop.date(-5))
    shop.buy("quy", "q1", -1)
    change = shop.propose("sms_optin_after", "")
    shop.work("preview:")
    change.refresh_from_db()
    services.confirm(change=change, user=shop.user, now=shop.now)
    shop.work("switch:")
    shop.work("ask:")
    assert not texts()
    assert Job.unscoped.get(kind__startswith="ask:").state == "done"


@pytest.mark.parametrize(
    ("body", "parts"), [("a" * 160, 1), ("a" * 161, 2), ("é" * 160, 1), ("ł" * 70, 1), ("ł" * 71, 2)]
)
def test_segments(body, parts):
    assert messages.segments(body) == parts
