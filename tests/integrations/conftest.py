"""Sandboxes as fixtures: real HTTP on this machine, and a connected account."""

import json
import urllib.request
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from aiqsync.accounts.tenancy import acting_in
from integrations import services
from integrations.models import Credential, StreamState, SyncRun
from integrations.sandbox.server import start
from stores import services as stores
from tests.factories import make_account


class Shop:
    """An account, and the sandbox its card speaks to."""

    def __init__(self, card: str, sandbox, account) -> None:
        self.card, self.sandbox, self.account = card, sandbox, account
        self.credential: Credential | None = None
        self.since = 0  # calls of earlier tests are not ours

    def control(self, route: str, **body: Any) -> Any:
        """A control route of the sandbox; GET when there is no body."""
        data = json.dumps(body).encode() if body else None
        request = urllib.request.Request(f"{self.sandbox.url}/_sandbox/{route}", data)
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.load(answer)

    def fault(self, kind: str, match: str = "/", times: int = 1, **more: Any) -> None:
        self.control("faults", kind=kind, match=match, times=times, **more)

    def calls(self) -> list[dict[str, Any]]:
        return self.control(f"calls?since={self.since}")

    def given(self) -> dict[str, str]:
        told = self.control("credentials")
        return {f.name: str(told[f.name]) for f in services.card(self.card).credentials}

    def connect(self, *, sync_personas: bool = True) -> Credential:
        """`sync_personas`: profile edits flow in, as in most tests; a card's default is that they do not."""
        link = services.connection_of(account_id=self.account.pk, slug=self.card)
        if sync_personas and services.card(self.card).serves("sync_personas"):
            # From long ago: what was edited before the test began is no edit made while it was off.
            long_ago = timezone.now() - timedelta(days=4000)
            services.save_settings(connection=link, given={"sync_personas": True}, now=long_ago)
        credential = services.save_credential(connection=link, given=self.given())
        with acting_in(self.account.pk):
            services.connect(credential=credential, now=timezone.now())
            stores.map_all(origin_id=credential.origin_id)
        self.credential = Credential.unscoped.get(pk=credential.pk)
        return self.credential

    def set(self, **given: Any) -> services.Saved:
        """Save settings of the card; `relevant_market` is the credential's."""
        credential = Credential.unscoped.select_related("connection").get(pk=self.credential.pk)
        theirs = {n: given.pop(n) for n in list(given) if n == "relevant_market"}
        return services.save_all(
            connection=credential.connection, given=given, of_credentials={credential.pk: theirs}, now=timezone.now()
        )

    def sync(self, *streams: str, full: bool = False) -> dict[str, SyncRun]:
        """Run streams to their end, in this process."""
        ran = {}
        for state in StreamState.unscoped.filter(credential=self.credential).order_by("id"):
            if streams and state.stream not in streams:
                continue
            run = services.enqueue_run(state=state, enqueue=None, full=full)
            while services.run_slice(run.pk):
                pass
            ran[state.stream] = SyncRun.unscoped.get(pk=run.pk)
        return ran


@pytest.fixture(scope="module")
def running_sandbox():
    """One Cova for a module's tests, small, unpaced; a test that changes data seeds it again."""
    sandbox = start("cova", customers=120, sales=500, locations=3, seed=7, days=20, rate=0)
    yield sandbox
    sandbox.stop()


@pytest.fixture
def cova(running_sandbox, settings, db):
    """A fresh account with Cova's stand-in behind its card, not connected yet."""
    settings.CARD_BASE_URLS = {"cova": running_sandbox.url}
    settings.CARD_RATES = {"cova": 0}
    settings.HISTORY_DAYS = 21
    shop = Shop("cova", running_sandbox, make_account())
    shop.control("faults", clear=True)
    shop.control("seed", customers=120, sales=500, locations=3, seed=7, days=20, rate=0)
    shop.since = max((call["seq"] for call in shop.calls()), default=0)
    return shop


@pytest.fixture(scope="session")
def sandbox_of():
    """A stand-in by its card's slug, one for all tests that ask; each seeds it anew."""
    from .tills import sandboxes

    with sandboxes() as of:
        yield of


@pytest.fixture
def till(request, sandbox_of, settings, db):
    """An empty POS behind the card that the test's parameter names, not connected yet."""
    from .tills import make_till

    return make_till(request.param, sandbox_of, settings)
