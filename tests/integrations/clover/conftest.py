"""Clover's stand-in behind its card, and what our tables should hold by its own account."""

import pytest

from integrations import clients
from integrations.clover import names
from integrations.kit import client as http
from integrations.sandbox.server import start
from tests.factories import make_account
from tests.integrations.conftest import Shop

from ..writing import turn_on

SMALL = {"customers": 150, "sales": 400, "seed": 7, "days": 40, "rate": 0}


@pytest.fixture(scope="module")
def running_clover():
    sandbox = start("clover", **SMALL)
    yield sandbox
    sandbox.stop()


@pytest.fixture
def clover(running_clover, settings, db):
    """A fresh account with Clover's stand-in behind its card, not connected yet."""
    settings.CARD_BASE_URLS = {"clover": running_clover.url}
    settings.CARD_RATES = {"clover": 0}
    settings.HISTORY_DAYS = 41
    names.forget()
    clients._limiters.clear()
    shop = Shop("clover", running_clover, make_account())
    shop.control("faults", clear=True)
    shop.control("seed", **SMALL)
    shop.since = max((call["seq"] for call in shop.calls()), default=0)
    return shop


@pytest.fixture
def on(clover, monkeypatch):
    """Connected, read once, and creating; we wait for an answer half a second, not 25."""
    monkeypatch.setattr(http, "TIMEOUTS_S", (2, 0.5))
    clover.connect()
    clover.sync("locations", "customers")
    turn_on(clover)
    return clover
