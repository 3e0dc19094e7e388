"""Two who send, two who read, and the dispatcher's own thread: each race right as it is, and lost without its lock."""

import threading
import time

import pytest
from django.db import transaction

from aiqsync.management.commands import dispatch
from loyalty.webhooks import calling, sending

from ..race import Acting, Cut
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
