"""Clover is read in lanes: frozen in the middle of a run, none of them makes a call after it."""

import threading
import time

import pytest
from django.utils import timezone

from integrations import pulling, services
from integrations.kit.client import Client
from integrations.kit.lanes import in_lane
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
    sent, standing, hold = [], [], threading.Event()

    def send(client, *given, **more):
        if in_lane():
            if hold.is_set():
                standing.append(1)
                time.sleep(1)
            sent.append(1)
        return real(client, *given, **more)

    def freeze(pull):
        if len(sent) > 30 and not hold.is_set():
            hold.set()
            until = time.monotonic() + 5
            while len(standing) < 3 and time.monotonic() < until:
                time.sleep(0.005)
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
