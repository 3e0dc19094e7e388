"""kill -9 of the worker in the middle of a first sync, three times: the end state is the POS's, row by row.

Short by default (6,000 sales, short leases); AIQSYNC_LONG=1 takes 50,000 sales and the product's own leases.
"""

import json
import os
import signal
import time
import urllib.request
from datetime import timedelta

import psutil
import pytest
from django.core.management import call_command
from django.utils import timezone

from aiqsync.accounts.tenancy import acting_in
from integrations import services
from integrations.models import Credential, RefusedRow, Sale, StreamState, SyncRun
from integrations.sandbox.server import start
from loyalty import audits, earning, personas
from loyalty.models import Entry, Persona, SaleState
from stores import services as stores
from tests.factories import make_account
from tests.integrations import against

from .conftest import until

LONG = bool(os.environ.get("AIQSYNC_LONG"))
CUSTOMERS, SALES = (5000, 50_000) if LONG else (600, 6000)
TIMES = {} if LONG else {"SYNC_LEASE_S": "6", "SYNC_SLICE_S": "4"}


@pytest.mark.drill
def test_killed_three_times(spawn, settings, capsys):
    with start("cova", customers=CUSTOMERS, sales=SALES, locations=3, seed=7, days=180, rate=0) as sandbox:
        settings.CARD_BASE_URLS = {"cova": sandbox.url}
        settings.CARD_RATES = {"cova": 0}
        account = make_account()
        credential = connect(account, sandbox.url)
        env = {"COVA_BASE_URL": sandbox.url, "COVA_RATE": "0", "HISTORY_DAYS": "185", "Q_WORKERS": "2", **TIMES}
        began = time.monotonic()
        spawn("dispatch", **env)
        worker = psutil.Process(
            spawn("worker", "--name", "kill", "--limit", "15" if LONG else "7", "--grace", "2", **env).pid
        )
        until(lambda: StreamState.unscoped.get(stream="customers").first_done_at, 240, "customers were read")
        # Everybody is a member, so that each landed sale is points as well.
        with acting_in(account.pk):
            ids = list(Persona.objects.values_list("pk", flat=True))
            now = timezone.now()
            day = (now - timedelta(days=400)).date()
            personas.enrol_many(account_id=account.pk, persona_ids=ids, ground="import", from_date=day, now=now)
        for share in (0.15, 0.4, 0.65):
            until(lambda share=share: Sale.unscoped.count() > share * SALES, 300, f"{share:.0%} of the sales")
            landed = Sale.unscoped.count()
            assert not StreamState.unscoped.get(stream="sales").first_done_at, (
                "the kill came too late to prove anything"
            )
            kill_workers(worker)
            with capsys.disabled():
                print(f"\n  killed at {landed} sales, {time.monotonic() - began:.0f} s", end="")
        until(lambda: StreamState.unscoped.get(stream="sales").first_done_at, 600, "the first sync ended")
        run = SyncRun.unscoped.filter(stream__stream="sales").order_by("id").first()
        with capsys.disabled():
            print(
                f"\n  done after {time.monotonic() - began:.0f} s, {run.takeovers} takeovers, {run.calls} calls", end=""
            )
        assert run.takeovers >= 1
        state = json.load(urllib.request.urlopen(f"{sandbox.url}/_sandbox/state?rows=1"))
        assert against.customers(credential.origin_id) == sorted(state["customers"]["rows"])
        assert against.sales(credential.origin_id) == sorted(state["sales"]["rows"])
    assert not RefusedRow.unscoped.exists()
    owned = SaleState.unscoped.filter(sale__kind="sale", persona__isnull=False)
    assert owned.count() == Sale.unscoped.filter(kind="sale").exclude(customer_id="").count()
    # Everybody became a member in the middle of it: each sale stands in the ledger at exactly what it is worth.
    assert Entry.unscoped.filter(kind="earn").exists()
    assert earning.out_of_date(account_id=account.pk) == 0
    assert audits.violations() == []
    call_command("check_ledger")
    assert capsys.readouterr().out.strip().splitlines()[-1] == "0 violations"


def connect(account, url: str) -> Credential:
    link = services.connection_of(account_id=account.pk, slug="cova")
    told = json.load(urllib.request.urlopen(f"{url}/_sandbox/credentials"))
    given = {f.name: str(told[f.name]) for f in services.card("cova").credentials}
    credential = services.save_credential(connection=link, given=given)
    with acting_in(account.pk):
        services.connect(credential=credential, now=timezone.now())
        stores.map_all(origin_id=credential.origin_id)
    credential.refresh_from_db()
    return credential


def kill_workers(dog: psutil.Process) -> None:
    """SIGKILL to every process that may be running a task."""
    for main in dog.children():
        for sentinel in main.children():
            for process in sorted(sentinel.children(), key=lambda p: (p.create_time(), p.pid)):
                try:
                    process.send_signal(signal.SIGKILL)
                except psutil.Error:
                    pass
