"""The dispatcher: what is due is handed out whatever housekeeping does, and one sweep's failure is nobody else's."""

import os
import signal
import threading
from datetime import timedelta
from decimal import Decimal

import pytest
from django.core.management import call_command
from django.utils import timezone

from aiqsync.management.commands import dispatch
from loyalty import ledger, seals
from loyalty.models import Wallet
from tests.factories import make_account, make_persona

NOW = timezone.now()


@pytest.fixture
def handlers():
    """The command takes the process's signals; they are given back."""
    before = {name: signal.getsignal(name) for name in (signal.SIGTERM, signal.SIGINT)}
    yield
    for name, handler in before.items():
        signal.signal(name, handler)


@pytest.mark.django_db(transaction=True)
def test_a_sweep_that_takes_long_holds_up_nothing_that_is_due(handlers, monkeypatch):
    third, ended = threading.Event(), []
    looks = []

    def look(**_):
        looks.append(1)
        if len(looks) == 3:
            third.set()
            os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(dispatch.services, "dispatch_due", look)
    # As long as it takes until the third look: in one thread with the looks there would be none before it ends.
    monkeypatch.setattr(dispatch.ledger, "expire_due", lambda **_: ended.append(third.wait(20)))
    call_command("dispatch", interval=0.01)
    assert ended == [True]


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("error", [ValueError("a row that is wrong"), OSError("away")])
def test_one_that_fails_holds_up_no_other(monkeypatch, caplog, error):
    account = make_account()
    persona = make_persona(account)
    ledger.adjust(
        account_id=account.pk, persona_id=persona.pk, points=Decimal(50), key="k", now=NOW - timedelta(days=2),
        expires_at=NOW - timedelta(days=1),
    )  # fmt: skip

    def fail(**_):
        raise error

    monkeypatch.setattr(dispatch.services, "prune", fail)
    monkeypatch.setattr(seals, "seal_due", fail)
    months = []
    monkeypatch.setattr(dispatch.closes, "close_due", lambda **_: months.append(1))
    dispatch.keep_books()
    assert Wallet.unscoped.get(persona=persona).balance == 0 and months
    assert [record.getMessage().split(":")[0] for record in caplog.records if record.levelname == "ERROR"] == [
        "old runs", "seals",
    ]  # fmt: skip
