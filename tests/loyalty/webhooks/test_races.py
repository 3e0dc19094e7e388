"""Two who send, two who read, and the dispatcher's own thread: each race right as it is, and lost without its lock."""

import threading
import time
from datetime import timedelta

import pytest
from django.db import transaction

from aiqsync.management.commands import dispatch
from loyalty.models import Entry, WebhookCursor
from loyalty.webhooks import calling, endpoints, sending

from ..people_at_till import Shop
from ..race import Acting, Cut, at_once
from .desk import Desk
from .receiver import receiving

pytestmark = pytest.mark.django_db(transaction=True)
HERE = "http://127.0.0.1:9/"


def two_senders(cut) -> list[str]:
    """Both look at the same six that are due: four may go at once, each once."""
    desk = Desk(HERE)
    for _ in range(6):
        desk.test()
    with transaction.atomic():
        mine = sending.claim(now=desk.now, free=10)
        acting = Acting(lambda: sending.claim(now=desk.now, free=10), cut=cut).settle()
    theirs = acting.answer()
    if isinstance(theirs, Exception):
        return [repr(theirs)]
    sent = [one.pk for one in [*mine, *theirs]]
    return [] if len(sent) == len(set(sent)) == 4 and not acting.waited else [f"claimed {sent}"]


def test_two_senders_send_each_once():
    """And without the lock of the endpoint's row they take the same, or more than may go at once."""
    assert two_senders(None) == []
    cut = Cut("loyalty_webhookendpoint")
    assert two_senders(cut) and cut.times


def test_an_answer_is_counted_beside_another():
    """Two failures written down at once are two; without the row held, one is lost."""

    def count(cut):
        desk = Desk(HERE)
        desk.test()
        desk.test()
        one, other = sending.claim(now=desk.now, free=5)
        with transaction.atomic():
            sending.settle(one, calling.Outcome(500, 1), now=desk.now)
            acting = Acting(lambda: sending.settle(other, calling.Outcome(500, 1), now=desk.now), cut=cut).settle()
        acting.answer()
        return desk.row().failures

    assert count(None) == 2
    cut = Cut("loyalty_webhookendpoint")
    assert count(cut) == 1 and cut.times


def test_a_secret_is_changed_in_two_tabs():
    """The second keeps the first one's new secret beside its own; without the row held it keeps the old one."""

    def change(cut):
        desk = Desk(HERE)
        first = []
        with transaction.atomic():
            first.append(desk.act(endpoints.rotate, now=desk.now))
            acting = Acting(lambda: desk.act(endpoints.rotate, now=desk.now), cut=cut).settle()
        second = acting.answer()
        return desk.row().secrets == {"now": second, "before": first[0]}

    assert change(None)
    cut = Cut("loyalty_webhookendpoint")
    assert not change(cut) and cut.times


class Unheld:
    """For a reader's statements: it holds nobody off."""

    times = 0

    def __call__(self, execute, statement, params, many, context):
        if "advisory" in statement:
            self.times += 1
            return execute("SELECT true", None, False, context)
        return execute(statement, params, many, context)


def test_a_webhook_is_made_while_the_last_one_is_put_away():
    """Told from the moment it is made; without the lock a reader takes the cursors away below it."""

    def told(cut):
        desk = Desk(HERE)
        desk.read()
        desk.act(endpoints.remove)
        with transaction.atomic():
            desk.endpoint, _ = desk.more(HERE)
            acting = Acting(desk.read, cut=cut).settle()
            acting.answer()
        desk.shop.give(5)
        desk.read()
        count = len(desk.events())
        desk.act(endpoints.remove)
        desk.read()
        return count

    assert told(None) == 1
    cut = Unheld()
    assert told(cut) == 0 and cut.times


def test_two_readers_tell_each_thing_once():
    desk = Desk(HERE)
    for n in range(5):
        desk.shop.give(n + 1)
    answers = at_once([desk.read] * 4)
    assert sorted(answers) == [0, 0, 0, 5] or sum(answers) == 5
    assert len(desk.events()) == len(desk.deliveries()) == 5


def test_one_that_is_committed_late_is_told_all_the_same():
    """Its id is lower than one that was read; the cursor waits until nobody can come any more."""
    desk = Desk(HERE)
    other = Shop(0)
    desk.read()
    hold, done = threading.Event(), threading.Event()

    def late():
        with transaction.atomic():
            desk.shop.give(1)
            done.set()
            assert hold.wait(30)

    thread = Acting(late)
    assert done.wait(30)
    desk.shop.give(2, desk.shop.eve)
    other.give(3)
    passed = WebhookCursor.objects.get(source="entry")
    for _ in range(3):  # as if much time had gone: only who still runs counts
        WebhookCursor.objects.update(mark_at=desk.now - timedelta(days=1))
        desk.read()
    now = WebhookCursor.objects.get(source="entry")
    assert [e.payload["points"] for e in desk.events()] == [2]
    first = Entry.unscoped.get(account=desk.account)
    assert max(passed.upto, now.upto) < first.pk
    hold.set()
    thread.answer()
    desk.read()
    assert sorted(e.payload["points"] for e in desk.events()) == [1, 2]
    for _ in range(2):
        WebhookCursor.objects.update(mark_at=desk.now - timedelta(days=1))
        desk.read()
    assert WebhookCursor.objects.get(source="entry").upto >= Entry.unscoped.latest("pk").pk
    assert desk.read() == 0 and len(desk.events()) == 2


def test_the_dispatcher_sends_and_a_slow_receiver_does_not_hold_its_end():
    """Read, sent and ended by the thread of `manage.py dispatch`."""
    with receiving() as hook:
        desk = Desk(hook.url)
        stop = threading.Event()
        thread = threading.Thread(target=dispatch._tell, args=(stop, 0.05), daemon=True)
        thread.start()
        desk.shop.give(5)
        until = time.monotonic() + 15
        while not hook.calls and time.monotonic() < until:
            time.sleep(0.02)
        stop.set()
        thread.join(15)
        assert not thread.is_alive() and [call.type for call in hook.calls] == ["points.changed"]
        assert [one.state for one in desk.deliveries()] == ["delivered"]
