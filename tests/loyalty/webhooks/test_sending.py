"""Webhooks over real HTTP: signed by the specification, sent until taken, never twice as another."""

import base64
import hashlib
import hmac
import json
import random
import time
from datetime import timedelta

import pytest

from integrations.kit.errors import TryLater
from loyalty.models import WebhookDelivery, WebhookEndpoint
from loyalty.webhooks import calling, endpoints, sending, signing

from ..people_at_till import Shop
from .desk import DAY, HOUR, Desk
from .receiver import receiving

pytestmark = pytest.mark.django_db


@pytest.fixture
def hook():
    with receiving() as box:
        yield box


@pytest.fixture
def steady(monkeypatch):
    """Waits without their chance."""
    monkeypatch.setattr(random, "uniform", lambda a, b: 1.0)


def test_a_call_is_what_the_specification_says(hook):
    desk = Desk(hook.url)
    before = int(time.time())
    desk.test()
    assert desk.send() == 1
    (call,) = hook.calls
    assert call.path == "/hooks/aiqsync?tenant=7"
    assert call.headers["content-type"] == "application/json"
    assert set(json.loads(call.body)) == {"type", "timestamp", "data"} and call.type == "webhook.test"
    assert before <= int(call.headers["webhook-timestamp"]) <= int(time.time())
    # By hand: HMAC-SHA256 over id.timestamp.body, with the bytes behind the prefix, in base64, after the version.
    key = base64.b64decode(desk.secret.removeprefix("whsec_"))
    assert len(key) == 32
    said = call.headers["webhook-id"].encode() + b"." + call.headers["webhook-timestamp"].encode() + b"." + call.body
    want = base64.b64encode(hmac.new(key, said, hashlib.sha256).digest()).decode()
    assert call.headers["webhook-signature"] == f"v1,{want}"
    assert call.signed_by(desk.secret) and not call.signed_by(signing.new_secret())
    (one,) = desk.deliveries()
    assert (one.state, one.status, one.tries) == ("delivered", 204, 1)


def test_the_specifications_own_example():
    """Of the reference libraries: the same secret, id, time and body give the same signature."""
    given = signing.signature(
        "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", message_id="msg_p5jXN8AQM9LWM0D4loKWxJek", timestamp=1614265330,
        body=b'{"test": 2432232314}',
    )  # fmt: skip
    assert given == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_a_secret_is_changed_without_a_call_refused(hook):
    desk = Desk(hook.url)
    new = desk.act(endpoints.rotate, now=desk.now)
    desk.test()
    desk.send()
    assert new != desk.secret and hook.calls[0].signed_by(new) and hook.calls[0].signed_by(desk.secret)
    assert len(hook.calls[0].headers["webhook-signature"].split(" ")) == 2
    desk.now += timedelta(hours=24, seconds=1)
    desk.test()
    desk.send()
    assert hook.calls[1].signed_by(new) and not hook.calls[1].signed_by(desk.secret)


def test_secrets_are_sealed(hook):
    from django.db import connection

    desk = Desk(hook.url)
    with connection.cursor() as cursor:
        cursor.execute("SELECT secrets FROM loyalty_webhookendpoint WHERE id = %s", [desk.endpoint.pk])
        assert desk.secret[6:] not in cursor.fetchone()[0]


def test_tried_for_three_days_then_given_up(hook, steady):
    hook.always = 500
    desk = Desk(hook.url)
    desk.test()
    begin, waits = desk.now, []
    assert desk.send() == 1
    while (row := desk.deliveries()[0]).state == "waiting":
        waits.append((row.next_at - desk.now).total_seconds())
        desk.now = row.next_at - timedelta(seconds=1)
        assert desk.send() == 0
        desk.now = max(row.next_at, desk.row().hold_until or row.next_at)
        assert desk.send() == 1
    assert waits == [5, 300, 1800, 7200, 18000, 36000, 50400, 72000, 86400]
    assert (row.state, row.tries, row.status) == ("failed", 10, 500)
    assert timedelta(days=3) < desk.now - begin < timedelta(days=3, hours=6)
    assert len(set(hook.ids)) == 1 and len(hook.ids) == 10, "each try bears the same webhook-id"
    assert len({call.body for call in hook.calls}) == 1
    assert all(call.signed_by(desk.secret) for call in hook.calls)
    assert [one.status for one in desk.attempts()] == [500] * 10
    assert desk.attempts()[0].response == "answer 500"


def test_waits_differ_by_chance():
    outcome = calling.Outcome(500, 1)
    waits = {sending._wait(3, outcome).total_seconds() for _ in range(50)}
    assert len(waits) > 40 and all(1800 * 0.9 <= one <= 1800 * 1.1 for one in waits)


@pytest.mark.parametrize(
    ("answer", "status", "word"),
    [
        (500, 500, ""),
        (400, 400, ""),
        ("close", None, "broke"),
        ((302, {"Location": "http://127.0.0.1:1/inside"}), 302, "redirect"),
    ],
)
def test_what_is_not_taken_is_tried_again(hook, answer, status, word):
    hook.answers = [answer]
    desk = Desk(hook.url)
    desk.test()
    assert desk.send() == 1
    row = desk.deliveries()[0]
    assert (row.state, row.status) == ("waiting", status) and word in desk.attempts()[0].error
    assert len(hook.calls) == 1, "a redirect is not followed"
    assert desk.send(seconds=6) == 1 and desk.deliveries()[0].state == "delivered"
    assert len(set(hook.ids)) == 1


def test_nobody_listens():
    desk = Desk("http://127.0.0.1:9/")
    desk.test()
    desk.send()
    assert "refused" in desk.attempts()[0].error and desk.deliveries()[0].state == "waiting"


@pytest.mark.parametrize("answer", [3.0, "trickle"])
def test_ten_seconds_end_a_call_however_it_trickles(hook, monkeypatch, answer):
    monkeypatch.setattr(calling, "WHOLE_CALL_S", 0.5)
    hook.answers = [answer]
    desk = Desk(hook.url)
    desk.test()
    desk.send()
    (one,) = desk.attempts()
    assert one.status is None and "No answer within" in one.error
    assert 400 <= one.ms < 2500


@pytest.mark.parametrize("status", [429, 503])
def test_a_receiver_that_asks_for_time_gets_it(hook, status):
    hook.answers = [(status, {"Retry-After": "120"})]
    desk = Desk(hook.url)
    desk.test()
    desk.send()
    assert desk.deliveries()[0].next_at == desk.now + timedelta(seconds=120)
    assert desk.row().hold_until == desk.now + timedelta(seconds=120)
    other = WebhookDelivery.unscoped.get(pk=desk.deliveries()[0].pk)
    WebhookDelivery.unscoped.filter(pk=other.pk).update(next_at=desk.now)
    assert desk.send(seconds=100) == 0, "nothing else is sent there either"
    assert desk.send(seconds=21) == 1 and desk.deliveries()[0].state == "delivered"


@pytest.mark.parametrize("value", ["", "soon", "-5", "9" * 30, "Tue, 99 Nov 2026", "\x00"])
def test_a_strange_retry_after_is_no_harm(value):
    wait = calling._retry_after(429, value)
    assert wait is None or timedelta(0) <= wait <= DAY


def test_gone_switches_it_off(hook):
    hook.answers = [410]
    desk = Desk(hook.url)
    first = desk.test()
    desk.test()
    WebhookDelivery.unscoped.exclude(pk=first.pk).update(next_at=desk.now + HOUR)
    desk.send()
    assert desk.row().state == "off" and "410" in desk.row().why
    assert [one.state for one in desk.deliveries()] == ["failed", "dropped"]
    desk.shop.give(5)
    assert desk.read() == 0 and desk.send(days=1) == 0 and len(hook.calls) == 1
    desk.act(endpoints.resume, now=desk.now)
    desk.shop.give(5)
    assert desk.read() == 1 and desk.send() == 1


def test_three_days_are_failing_five_are_a_pause_and_an_answer_is_on(hook):
    from aiqsync import watching

    def told():
        return [one.title for _, one in watching.failing_webhooks(desk.now)]

    hook.always = 500
    desk = Desk(hook.url)
    desk.test()
    desk.send()
    assert desk.row().state == "on" and told() == []
    desk.now += 3 * DAY
    desk.test()
    desk.send()
    assert desk.row().state == "failing" and told() == ["The webhook to 127.0.0.1 fails"]
    desk.now += 2 * DAY
    desk.test()
    desk.send()
    assert desk.row().state == "paused" and told() == ["The webhook to 127.0.0.1 is paused"]
    desk.shop.give(5)
    assert desk.read() == 1 and desk.send(hours=1) == 0, "it waits"
    hook.always = 200
    desk.act(endpoints.resume, now=desk.now)
    assert told() == []
    assert desk.send() >= 1 and desk.row().state == "on" and desk.row().failing_since is None
    assert "points.changed" in [call.type for call in hook.calls]


def test_an_answer_mends_what_was_failing(hook):
    desk = Desk(hook.url)
    WebhookEndpoint.unscoped.update(state="failing", failures=9, failing_since=desk.now - 4 * DAY)
    desk.test()
    desk.send()
    row = desk.row()
    assert (row.state, row.failures, row.failing_since, row.last_ok_at) == ("on", 0, None, desk.now)


def test_an_endpoint_that_fails_rests(hook):
    hook.always = 500
    desk = Desk(hook.url)
    for _ in range(8):
        desk.test()
    assert desk.send() == 4, "four at once, then it rests"
    assert desk.row().failures == 4 and desk.row().hold_until == desk.now + timedelta(seconds=20)
    assert desk.send(seconds=10) == 0
    assert desk.send(seconds=11) == 1, "one at a time while it fails"


def test_a_slow_receiver_starves_nobody(hook):
    with receiving() as slow:
        slow.always = 2.0
        desk = Desk(slow.url)
        quick, _ = desk.more(hook.url)
        for _ in range(20):
            endpoints.test(**desk.ids, pk=desk.endpoint.pk, now=desk.now)
        for _ in range(6):
            endpoints.test(**desk.ids, pk=quick.pk, now=desk.now)
        with sending.Courier(workers=8) as courier:
            began = time.monotonic()
            while len(hook.calls) < 6 and time.monotonic() - began < 10:
                courier.turn(now=desk.now)
                courier.rest(0.05)
            assert len(hook.calls) == 6 and slow.most_at_once == 4 and len(slow.calls) == 4
            courier.rest_of_it(10)


def test_killed_in_the_middle_it_is_sent_again_under_the_same_id(hook):
    desk = Desk(hook.url)
    desk.test()
    (one,) = sending.claim(now=desk.now, free=5)  # killed before the call
    assert desk.send() == 0, "somebody has it"
    desk.now += sending.LEASE
    (again,) = sending.claim(now=desk.now, free=5)
    sending.send(again)  # killed after the call, before it was written down
    assert desk.send(seconds=61) == 1
    assert hook.ids == [one.message_id] * 2 == [again.message_id] * 2
    assert desk.deliveries()[0].state == "delivered"
    assert sending.settle(again, calling.Outcome(500, 1), now=desk.now) is False, "its time was over"
    assert desk.deliveries()[0].state == "delivered"


@pytest.mark.parametrize(
    "url",
    [
        "http://example.org/hook", "https://shop.localhost/", "https://10.0.0.5/", "https://192.168.1.1/x",
        "https://169.254.169.254/latest/meta-data", "https://[fd00::1]/", "https://[::ffff:10.0.0.1]/", "ftp://a.org",
        "https://user:pw@example.org/", "https://example.org:22/", "https://2130706433/", "https://intranet/", "",
        "https://example.org/a b", "https://example.org/#x", "https://example.org/?a=\x00", "https://example.org/?a#b",
        "https://" + "a" * 600 + ".org/",
    ],
)  # fmt: skip
def test_an_inner_address_is_refused(url, settings, monkeypatch):
    settings.ALLOW_LOOPBACK_ADDRESSES = False
    monkeypatch.setattr("integrations.kit.addresses._look_up", lambda host, port: ["93.184.216.34"])
    with pytest.raises(endpoints.Refused) as refusal:
        Desk(url)
    assert refusal.value.field == "url" and "POS" not in refusal.value.message and "key" not in refusal.value.message


@pytest.mark.parametrize("url", ["http://127.0.0.1:8000/", "https://localhost/", "https://127.0.0.1/"])
def test_this_machine_is_refused_without_the_switch(url, settings):
    settings.ALLOW_LOOPBACK_ADDRESSES = False
    with pytest.raises(calling.BadAddress):
        calling.checked(url)
    settings.ALLOW_LOOPBACK_ADDRESSES = True
    assert calling.checked(url)[0].ip == "127.0.0.1"


def test_a_name_that_leads_inside_by_the_time_of_sending(settings, monkeypatch):
    """Checked when it is entered, looked up once more when it is sent, and connected to what was checked."""
    answers = iter([["93.184.216.34"], ["10.0.0.7"], ["93.184.216.34", "127.0.0.1"]])
    monkeypatch.setattr("integrations.kit.addresses._look_up", lambda host, port: next(answers))
    reached = []
    monkeypatch.setattr(calling.socket, "create_connection", lambda *a, **k: reached.append(a))
    desk = Desk("https://hooks.shop-partner.com/in")
    desk.test()
    desk.send()
    assert "inner network" in desk.attempts()[0].error
    desk.send(seconds=10)
    assert "this machine" in desk.attempts()[1].error and reached == []


def test_connected_to_the_very_address_that_was_checked(monkeypatch):
    reached = []

    def connect(address, **_):
        reached.append(address)
        raise ConnectionRefusedError

    monkeypatch.setattr(calling.socket, "create_connection", connect)
    looked = []

    def resolve(host, port):
        looked.append(host)
        return ["93.184.216.34"]

    outcome = calling.post("https://hooks.shop-partner.com/in?key=1", {}, b"{}", resolve=resolve)
    assert reached == [("93.184.216.34", 443)] and looked == ["hooks.shop-partner.com"]
    assert outcome.status is None and "refused" in outcome.error


def test_a_name_nobody_knows_is_tried_again():
    def unknown(host, port):
        raise OSError

    with pytest.raises(TryLater):
        calling.checked("https://hooks.shop-partner.com/in", resolve=unknown)
    assert "not known" in calling.post("https://hooks.shop-partner.com/in", {}, b"", resolve=unknown).error


def test_send_again_bears_the_same_id(hook):
    hook.answers = [400]
    desk = Desk(hook.url)
    desk.test()
    desk.send()
    (row,) = desk.deliveries()
    WebhookDelivery.unscoped.update(state="failed")
    assert desk.act(endpoints.again_since, since=desk.now - DAY, now=desk.now) == 1
    desk.send()
    assert desk.deliveries()[0].state == "delivered"
    from aiqsync.accounts.tenancy import acting_in

    with acting_in(desk.account.pk):
        endpoints.again(**desk.ids, delivery=row.pk, user=desk.user, now=desk.now)
    desk.send()
    assert len(hook.ids) == 3 and len(set(hook.ids)) == 1 and len({call.body for call in hook.calls}) == 1
    assert desk.act(endpoints.again_since, since=desk.now + DAY, now=desk.now) == 0


def test_paused_waits_and_resumed_goes_out_in_order(hook):
    desk = Desk(hook.url, shop=Shop(0))
    desk.act(endpoints.pause)
    for n in range(1, 6):
        desk.shop.give(n)
    assert desk.read() == 5 and desk.send(hours=1) == 0
    with pytest.raises(endpoints.Refused):
        desk.test()
    desk.act(endpoints.resume, now=desk.now)
    assert desk.send() == 5
    assert sorted(call.data["points"] for call in hook.calls) == [1, 2, 3, 4, 5]


def test_another_accounts_endpoint_is_not_there(hook):
    ours, theirs = Desk(hook.url), Desk(hook.url)
    delivery = theirs.test()
    for act in (endpoints.pause, endpoints.remove):
        with pytest.raises(endpoints.Refused):
            act(**ours.ids, pk=theirs.endpoint.pk, user=ours.user)
    with pytest.raises(endpoints.Refused):
        endpoints.test(**ours.ids, pk=theirs.endpoint.pk, now=ours.now)
    with pytest.raises(endpoints.Refused):
        endpoints.again(**ours.ids, delivery=delivery.pk, user=ours.user, now=ours.now)
    assert endpoints.find(**ours.ids, pk=theirs.endpoint.pk) is None
    assert endpoints.delivery(**ours.ids, pk=delivery.pk) is None


def test_deleted_with_its_log(hook):
    desk = Desk(hook.url)
    desk.test()
    desk.send()
    desk.act(endpoints.remove)
    assert not WebhookEndpoint.unscoped.exists() and not WebhookDelivery.unscoped.exists()


def test_ten_and_no_more(hook):
    desk = Desk(hook.url)
    for _ in range(9):
        desk.more(hook.url)
    with pytest.raises(endpoints.Refused, match="At most 10"):
        desk.more(hook.url)
