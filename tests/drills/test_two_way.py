"""Two-way sync: sign-ups while answers get lost, the POS fails and workers die. Each unmatched one is created once.

Short by default (100 sign-ups, in this process, killed by an exception at every seam); AIQSYNC_LONG=1 takes 500
sign-ups, a real dispatcher and workers, and kill -9.
"""

import json
import os
import random
import time
import urllib.request
from collections import Counter
from datetime import timedelta

import psutil
import pytest
from django.utils import timezone

from aiqsync.accounts.tenancy import acting_in
from integrations import outbox, services
from integrations.kit import client as http
from integrations.models import OutboundWrite, StreamState
from integrations.sandbox.server import start
from loyalty import audits
from loyalty.models import Persona, Source
from tests.factories import make_account
from tests.integrations import writing

from .conftest import until
from .test_kill import connect, kill_workers

SIGN_UPS, MATCHED = 500, 50
LONG = bool(os.environ.get("AIQSYNC_LONG"))
GROUP = "41"
CREATE = "/crm/v1/companies(501200)/customerfull"


class Killed(BaseException):
    """The process is gone."""


def control(url: str, route: str, **body):
    data = json.dumps(body).encode() if body else None
    with urllib.request.urlopen(urllib.request.Request(f"{url}/_sandbox/{route}", data), timeout=30) as answer:
        return json.load(answer)


def customers(url: str) -> list[list[str]]:
    return [line.split("|") for line in control(url, "state?rows=1")["customers"]["rows"]]


def phone(n: int) -> str:
    return f"+1604777{n:04d}"


def make_till_customers(url: str, numbers: range) -> None:
    """Who is in the POS already, in a till's writings; after our last look, so that only a search finds them."""
    forms = ("({}) {}-{}", "{}-{}-{}", "{}.{}.{}", "+1 {} {} {}", "{}{}{}")
    for n in numbers:
        ten = phone(n)[2:]
        control(url, "edit", first_name="Till", last_name=f"Made {n}",
                phone=forms[n % len(forms)].format(ten[:3], ten[3:6], ten[6:]))  # fmt: skip


def begin(sandbox, settings, faults: list[dict]):
    settings.CARD_BASE_URLS, settings.CARD_RATES = {"cova": sandbox.url}, {"cova": 0}
    account = make_account()
    credential = connect(account, sandbox.url)
    for state in StreamState.unscoped.filter(stream__in=["locations", "pricing_groups", "customers"]).order_by("id"):
        run = services.enqueue_run(state=state, enqueue=None)
        while services.run_slice(run.pk):
            pass
    services.save_settings(
        connection=credential.connection, given={"sync_personas": True, "pricing_group": GROUP},
        now=timezone.now() - timedelta(minutes=5),
    )  # fmt: skip
    for fault in faults:
        control(sandbox.url, "faults", **fault)
    return account, credential


def check(url: str, account, total: int, matched: int, before: int) -> Counter:
    """Exactly the unmatched are new, each once, in the group; each belongs to its shopper."""
    found = customers(url)
    by_phone = Counter(line[3][-10:] for line in found)
    ours = [line for line in found if line[1] == "Nova"]
    assert sorted(line[3][-10:] for line in ours) == [phone(n)[2:] for n in range(matched, total)]
    assert {line[6] for line in ours} == {GROUP}
    assert len(found) == before + total - matched
    assert all(by_phone[phone(n)[2:]] == 1 for n in range(total))
    assert not OutboundWrite.unscoped.exclude(payload={}).exists()
    with acting_in(account.pk):
        assert Persona.objects.filter(phone__startswith="+1604777").count() == total
        held = dict(Source.objects.filter(customer__first_name="Nova").values_list("customer__phone", "persona__phone"))
    assert held == {phone(n): phone(n) for n in range(matched, total)}
    assert audits.violations() == []
    return Counter(OutboundWrite.unscoped.values_list("state", flat=True))


@pytest.mark.django_db(transaction=True)
def test_every_seam_fails_and_nobody_is_created_twice(settings, monkeypatch, capsys):
    total, matched, dice = 100, 10, random.Random(4)
    monkeypatch.setattr(http, "TIMEOUTS_S", (2, 0.4))
    faults = [
        {"match": CREATE, "method": "POST", "kind": kind, "times": 2} | ({"seconds": 0.6} if kind == "slow" else {})
        for kind in ("lost", "500", "slow", "cut", "429", "timeout", "reset")
    ]
    faults = [fault | ({"seconds": 0.6} if fault["kind"] == "timeout" else {}) for fault in faults]
    with start("cova", customers=100, sales=0, locations=2, seed=7, days=20, rate=0, search_lag_s=2) as sandbox:
        account, _ = begin(sandbox, settings, faults)
        make_till_customers(sandbox.url, range(matched))
        before = len(customers(sandbox.url))
        for n in range(total):
            writing.sign_up(account, n)
        killed = Counter()
        seams = ("_one", "_make", "_create", "_created", "_close", "_delivered", "_answered")

        def risky(name: str):
            real = getattr(outbox.Batch, name)

            def act(self, *given, **more):
                chance = 0.02 if len(killed) < len(seams) * 2 or sum(killed.values()) < 25 else 0
                if dice.random() < chance:
                    killed[f"before {name}"] += 1
                    raise Killed
                answer = real(self, *given, **more)
                if dice.random() < chance:
                    killed[f"after {name}"] += 1
                    raise Killed
                return answer

            monkeypatch.setattr(outbox.Batch, name, act)

        for name in seams:
            risky(name)
        time.sleep(2)  # the search knows who came in at the till
        for _ in range(150):
            writing.due_now()
            try:
                writing.deliver_due()
            except Killed:
                continue
            if not OutboundWrite.unscoped.filter(state__in=["waiting", "sending"]).exists():
                break
        told = check(sandbox.url, account, total, matched, before)
        assert control(sandbox.url, "faults") == [], "every fault was met"
    assert sum(killed.values()) > 10, killed
    assert told["failed"] == told["waiting"] == 0 and told["sent"] + told["found"] == total
    with capsys.disabled():
        print(f"\n  {dict(told)}, killed {sum(killed.values())} times", end="")


@pytest.mark.drill
@pytest.mark.skipif(not LONG, reason="real processes: AIQSYNC_LONG=1")
def test_five_hundred_sign_up_while_workers_are_killed(spawn, settings, capsys):
    kinds = ("lost", "500", "cut", "429", "reset", "slow")
    faults = [
        {"match": CREATE, "method": "POST", "kind": kind, "times": 6} | ({"seconds": 1} if kind == "slow" else {})
        for kind in kinds
    ]
    with start("cova", customers=2000, sales=2000, locations=3, seed=7, days=30, rate=0, search_lag_s=1) as sandbox:
        account, _ = begin(sandbox, settings, faults)
        StreamState.unscoped.update(enabled=False)  # nobody else may find the matched: the search must
        make_till_customers(sandbox.url, range(MATCHED))
        before = len(customers(sandbox.url))
        env = {"COVA_BASE_URL": sandbox.url, "COVA_RATE": "0", "Q_WORKERS": "2", "SYNC_LEASE_S": "6",
               "SYNC_SLICE_S": "4", "WRITE_GRACE_S": "8", "SYNC_BACK_OFF_S": "1,1,2"}  # fmt: skip
        time.sleep(1)
        spawn("dispatch", **env)
        worker = psutil.Process(spawn("worker", "--name", "two-way", "--limit", "15", "--grace", "2", **env).pid)
        began = time.monotonic()
        for n in range(SIGN_UPS):
            writing.sign_up(account, n)

        def ended() -> int:
            return OutboundWrite.unscoped.exclude(state__in=["waiting", "sending"]).count()

        for share in (0.1, 0.4, 0.7):
            until(lambda share=share: ended() > share * SIGN_UPS, 300, f"{share:.0%} of the writes")
            kill_workers(worker)
            with capsys.disabled():
                print(f"\n  killed at {ended()} writes, {time.monotonic() - began:.0f} s", end="")
        until(lambda: ended() == SIGN_UPS, 900, "all writes ended")
        told = check(sandbox.url, account, SIGN_UPS, MATCHED, before)
        assert told["failed"] == 0 and told["found"] + told["sent"] == SIGN_UPS
        assert control(sandbox.url, "faults") == []
        with capsys.disabled():
            print(f"\n  {dict(told)} after {time.monotonic() - began:.0f} s", end="")
