"""Clover is read in lanes: frozen in the middle of a run, none of them makes a call after it."""

import threading
import time

import pytest
from django.utils import timezone

from integrations import pulling, services
from integrations.kit.client import Client
from integrations.kit.lanes import in_lane, stopping
from integrations.models import Sale, StreamState

from ..proving import proves

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize("target", ["card", "credential"])
@proves("frozen", "clover")
def test_frozen_in_the_middle_of_a_run_no_lane_calls_any_more(clover, monkeypatch, target):
    """Each lane stands before its next call, of the many that asking for every buyer takes."""
    clover.control("seed", customers=40, sales=400, seed=5, days=40, rate=0, withdrawn_expansions=True)
    clover.connect()
    clover.sync("locations", "customers")
    state = StreamState.unscoped.get(credential=clover.credential, stream="sales")
    run = services.enqueue_run(state=state, enqueue=None)
    real, original = Client.send, pulling.Pull._keep_lease
    sent, flying, standing, hold, gate = [], [], [], threading.Event(), threading.Lock()

    def until(come):
        end = time.monotonic() + 25  # a lane that ends is waited for longer
        while not come() and time.monotonic() < end:
            time.sleep(0.005)

    def send(client, *given, **more):
        if not in_lane():
            return real(client, *given, **more)
        with gate:
            where = standing if hold.is_set() else flying
            where.append(1)
        if where is standing:
            until(stopping)
        sent.append(1)
        try:
            return real(client, *given, **more)
        finally:
            if where is flying:
                flying.pop()

    def freeze(pull):
        if len(sent) > 30 and not hold.is_set():
            with gate:
                hold.set()
            until(lambda: len(standing) >= 3 and not flying)
            link = {"connection": clover.credential.connection}
            services.freeze(**(link if target == "card" else {"credential": clover.credential}), now=timezone.now())
            clover.since = max(call["seq"] for call in clover.calls())
        original(pull)

    monkeypatch.setattr(Client, "send", send)
    monkeypatch.setattr(pulling.Pull, "_keep_lease", freeze)
    assert services.run_slice(run.pk) is False
    run.refresh_from_db()
    assert (run.status, run.message) == ("stopped", "Frozen.") and len(standing) >= 3
    assert clover.calls() == []

    monkeypatch.undo()
    assert Sale.unscoped.count() < 300, "there was much left to read"
    link = {"connection": clover.credential.connection} if target == "card" else {"credential": clover.credential}
    services.unfreeze(**link, now=timezone.now())
    assert clover.sync("sales")["sales"].status == "done"
