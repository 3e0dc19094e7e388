"""A first sync of a stand-in Clover that keeps its limits: how much of the allowance is used, and what is refused.

    .venv/bin/python -m bench.clover [--customers 5000] [--orders 20000] [--latency 0.15] [--processes 1] [--read-only]

The stand-in allows 16 calls a second and 5 at once for the token, 50 and 10 for the app, and answers 429 beyond. Each
answer takes `latency` seconds besides the time to make it, as a service far away would. With two processes customers
and sales are read at the same time, by one token.

Two figures of the allowance: of the whole time, and of the time in which at least one call was wanted or under way. In
the rest every lane stood with a page in its hand while earlier pages were landed: then this machine is the limit, and
a vendor that allowed more would be asked no more. `--read-only` drops the pages, so that the allowance is the limit.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
ALLOWED = 16


def main() -> None:
    asked = argparse.ArgumentParser()
    asked.add_argument("--customers", type=int, default=5_000)
    asked.add_argument("--orders", type=int, default=20_000)
    asked.add_argument("--latency", type=float, default=0.15)
    asked.add_argument("--processes", type=int, default=1, choices=(1, 2))
    asked.add_argument("--read-only", action="store_true", help="walk the lists and drop the pages: the reading alone")
    asked.add_argument("--child", help=argparse.SUPPRESS)
    args = asked.parse_args()
    if args.child:
        child(args.child)
        return
    home = tempfile.mkdtemp(prefix="aiqsync-bench-")
    sandbox = subprocess.Popen(
        [sys.executable, "-m", "integrations.sandbox", "clover", "--customers", "10", "--sales", "10"],
        cwd=ROOT, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    url = json.loads(sandbox.stdout.readline())["clover"]
    os.environ |= {
        "AIQSYNC_VAR": home, "DJANGO_SETTINGS_MODULE": "aiqsync.settings", "CLOVER_BASE_URL": url,
        "HISTORY_DAYS": "185", "DATABASE_URL": "", "LOG_LEVEL": "WARNING",
    }  # fmt: skip
    import django

    django.setup()
    from django.conf import settings

    settings.EMBEDDED.ensure()
    watch()
    try:
        measure(url, args)
    finally:
        settings.EMBEDDED.stop()
        sandbox.terminate()
        shutil.rmtree(home, ignore_errors=True)


def watch() -> None:
    """Pace as it is, noting besides for how long it was asked for nothing."""
    from integrations import clients
    from integrations.kit.pace import Pace

    class Watched(Pace):
        def __init__(self, *given, **named) -> None:
            super().__init__(*given, **named)
            self.counting, self.asking = threading.Lock(), 0
            self.unasked_s, self.unasked_since = 0.0, time.monotonic()

        def _ask(self, more: int) -> None:
            with self.counting:
                if self.asking == 0:
                    self.unasked_s += time.monotonic() - self.unasked_since
                self.asking += more
                if self.asking == 0:
                    self.unasked_since = time.monotonic()

        def wait(self, service: str) -> float:
            self._ask(1)
            try:
                return super().wait(service)
            except BaseException:
                self._ask(-1)
                raise

        def done(self, service: str) -> None:
            super().done(service)
            self._ask(-1)

    clients.Pace = Watched


def unasked() -> float:
    """Seconds so far in which no call was wanted or under way."""
    from integrations import clients

    return sum(pace.unasked_s for pace in clients._limiters.values())


def ask(url: str, route: str, **body: object) -> object:
    data = json.dumps(body).encode() if body else None
    with urllib.request.urlopen(urllib.request.Request(f"{url}/_sandbox/{route}", data), timeout=300) as answer:
        return json.load(answer)


def measure(url: str, args: argparse.Namespace) -> None:
    from django.core.management import call_command
    from django.utils import timezone

    from aiqsync.accounts.tenancy import acting_in
    from aiqsync.pages.accounts import open_account
    from integrations import services
    from integrations.models import Customer, Sale, SyncRun
    from loyalty import audits
    from stores import services as stores

    call_command("migrate", verbosity=0)
    ask(url, "seed", customers=args.customers, sales=args.orders, seed=7, days=180, latency=args.latency)
    account, _, _ = open_account(name="Bench", owner_email="owner@bench.example", timezone="America/Denver")
    link = services.connection_of(account_id=account.pk, slug="clover")
    told = ask(url, "credentials")
    given = {f.name: str(told[f.name]) for f in services.card("clover").credentials}
    with acting_in(account.pk):
        credential = services.save_credential(connection=link, given=given)
        services.connect(credential=credential, now=timezone.now())
        stores.map_all(origin_id=credential.origin_id)
    runs("locations", "categories", "products", "employees", "tenders", "order_types")
    since = max(call["seq"] for call in ask(url, "calls"))
    time.sleep(1.2)
    before, started, used = unasked(), time.monotonic(), time.process_time()
    if args.processes == 2:
        children = [
            subprocess.Popen([sys.executable, "-m", "bench.clover", "--child", name], cwd=ROOT)
            for name in ("customers", "sales")
        ]
        for one in children:
            one.wait()
    elif args.read_only:
        read(credential)
    else:
        runs("customers", "sales")
    took, used = time.monotonic() - started, time.process_time() - used
    calls = ask(url, f"calls?since={since}")
    tell(calls, took, unasked() - before if args.processes == 1 else 0.0)
    print(f"our processor time {used:.1f} s of {took:.1f} s; load of the machine {os.getloadavg()[0]:.1f} on "
          f"{os.cpu_count()} cores")  # fmt: skip
    if args.read_only:
        return
    for name in ("customers", "sales"):
        with acting_in(account.pk):
            run = SyncRun.objects.filter(stream__stream=name).latest("id")
        spent = (run.finished_at - run.started_at).total_seconds() or 1.0
        print(f"{name:10} {run.status} {run.rows_read} rows, {run.rows_read / spent:,.0f} a second, {run.calls} calls, "
              f"{run.seconds} {run.message}")  # fmt: skip
    with acting_in(account.pk):
        print(f"stored: {Customer.objects.count()} customers, {Sale.objects.count()} sales and refunds; violations "
              f"{len(audits.violations())}")  # fmt: skip


def runs(*names: str) -> None:
    """Each stream once to its end, in this process."""
    from aiqsync.accounts.models import Account
    from aiqsync.accounts.tenancy import acting_in
    from integrations import services
    from integrations.models import StreamState

    for name in names:
        with acting_in(Account.objects.get(name="Bench").pk):
            state = StreamState.objects.select_related("credential").get(stream=name)
        run = services.enqueue_run(state=state, enqueue=None)
        while services.run_slice(run.pk):
            pass


def read(credential) -> None:
    """Both lists from front to end, by the walkers, nothing landed."""
    from django.utils import timezone

    from integrations.clients import client_for
    from integrations.clover.streams import Customers, Sales
    from integrations.kit.streams import Context
    from integrations.services import card

    for stream in (Customers, Sales):
        with client_for(credential, card("clover")) as client:
            context = Context(now=timezone.now(), identity=credential.origin.identity, history_days=185)
            started = time.monotonic()
            rows = sum(len(page.rows) for page in stream.pages.walk(client, stream, context, {}))
            took = time.monotonic() - started
        print(f"{stream.name:10} {rows} rows read, {rows / took:,.0f} a second, {client.calls} calls")


def child(name: str) -> None:
    import django

    django.setup()
    runs(name)


def tell(calls: list[dict], took: float, ours: float) -> None:
    """`ours`: seconds of `took` in which nothing was asked because earlier pages were being landed."""
    from datetime import datetime

    times = sorted(datetime.fromisoformat(call["at"].replace("Z", "+00:00")).timestamp() for call in calls)
    busy = times[-1] - times[0] or 1.0
    statuses = Counter(call["status"] for call in calls)
    rate = (len(calls) - 1) / busy
    asked = max(busy - ours, 0.1)
    best = max(sum(start <= t < start + 10 for t in times) for start in times) / min(10.0, busy)
    tightest = max(sum(start <= t < start + 1 for t in times) for start in times)
    print(f"{len(calls)} calls in {busy:.1f} s of {took:.1f} s: {rate:.2f} a second, {rate / ALLOWED:.1%} of {ALLOWED}")
    print(f"nothing asked for {ours:.1f} s; in the other {asked:.1f} s {len(calls) / asked:.2f} a second, "
          f"{len(calls) / asked / ALLOWED:.1%}")  # fmt: skip
    print(f"best ten seconds {best:.2f} a second, {best / ALLOWED:.1%}")
    print(f"most in any one second {tightest}; statuses {dict(statuses)}; 429: {statuses[429]}")


if __name__ == "__main__":
    main()
