"""Redeeming over HTTP with all guards on, and beside it, in the same run, what the same stack costs without them.

    .venv/bin/python -m bench.redeem [--clients 8] [--hot 64] [--seconds 8]

A real granian on loopback, a database of this run's with fsync on, the load from a process of its own. Columns that
are compared take turns in slices of two seconds, so that a busy machine troubles all alike. The key is looked up the
same way in every column. Ends with the ledger's invariants over all that was written.
"""

import argparse
import os
import pickle
import re
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from dataclasses import dataclass, field
from datetime import timedelta
from decimal import Decimal
from pathlib import Path

from bench.load import Heard, Job

ROOT = Path(__file__).resolve().parent.parent
SLICE_S = 2.0
PRICE = 10
CALLS_A_SLICE = 12_000  # more than any column manages


def main() -> None:
    asked = argparse.ArgumentParser()
    asked.add_argument("--clients", type=int, default=8)
    asked.add_argument("--hot", type=int, default=64, help="clients on one member")
    asked.add_argument("--members", type=int, default=2000)
    asked.add_argument("--seconds", type=float, default=8, help="of each column")
    asked.add_argument("--workers", default="2", help="of the web server")
    args = asked.parse_args()
    home = tempfile.mkdtemp(prefix="aiqsync-bench-")
    os.environ |= {
        "AIQSYNC_VAR": home, "DJANGO_SETTINGS_MODULE": "bench.settings", "DATABASE_URL": "", "LOG_LEVEL": "WARNING",
        "API_RATE_PER_MINUTE": "0", "PUBLIC_URL": "",
    }  # fmt: skip
    import django

    django.setup()
    from django.conf import settings
    from django.db import connection

    settings.EMBEDDED.ensure()
    try:
        Run(args).measure()
    finally:
        connection.close()
        settings.EMBEDDED.stop()
        shutil.rmtree(home, ignore_errors=True)


@dataclass
class Column:
    """One line of the table: calls of all its slices together."""

    title: str
    done: int = 0
    seconds: float = 0.0
    latencies: list[float] = field(default_factory=list)
    refused: int = 0
    words: list[str] = field(default_factory=list)

    def add(self, heard: Heard) -> None:
        self.done += heard.statuses["200"]
        self.seconds += heard.seconds
        self.latencies += heard.latencies
        self.refused += sum(n for status, n in heard.statuses.items() if status != "200")
        self.words += heard.refused

    @property
    def rate(self) -> float:
        return self.done / self.seconds

    def ms(self, part: float) -> float:
        return sorted(self.latencies)[min(len(self.latencies) - 1, int(len(self.latencies) * part))] * 1000

    def line(self) -> str:
        times = "   ".join(f"p{part * 100:.0f} {self.ms(part):6.2f}" for part in (0.5, 0.95, 0.99))
        said = f"{self.title:40}{self.rate:7.0f}/s   {times} ms"
        return said + (f"   REFUSED {self.refused}: {self.words[:2]}" if self.refused else "")


class Run:
    def __init__(self, args: argparse.Namespace) -> None:
        self.args = args
        self.orders = 0

    def measure(self) -> None:
        self.make_shop()
        commit = self.commit_ms()
        print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}; a commit takes {commit:.2f} ms (fsync on)\n")
        with Server(self.args.workers) as port:
            self.port = port
            columns = self.side_by_side()
            hot, open_loop = self.hot_member(), self.fixed_rate(200)
        self.bare_function(f"bare loyalty_redeem, {self.args.clients} clients (pgbench)", self.args.clients)
        self.bare_function(f"the same, one member, {self.args.hot} clients", self.args.hot, hot=True)
        self.goals(*columns[:3], hot, open_loop)
        self.check(sum(one.done for one in (*columns[2:], hot, open_loop)))

    # The shop

    def make_shop(self) -> None:
        from django.core.management import call_command
        from django.db import connection
        from django.utils import timezone

        from aiqsync.accounts.models import ApiKey
        from aiqsync.accounts.tenancy import acting_in
        from aiqsync.pages.accounts import open_account
        from bench.stack import TABLES
        from loyalty import ledger
        from loyalty.models import Audience, AudienceMember, Discount, DiscountAudience, DiscountStore, Persona
        from stores.models import Store, StoreKey

        call_command("migrate", verbosity=0)
        now = timezone.now()
        self.account, _, self.key = open_account(name="Bench", owner_email="owner@bench.example")
        with acting_in(self.account.pk):
            self.personas = [
                one.pk
                for one in Persona.objects.bulk_create(
                    Persona(account=self.account, first_name=f"Shopper {n}", member_from=now.date())
                    for n in range(self.args.members + 1)
                )
            ]
            # Everybody has points in lots that end at different times; the last member is the hot one.
            for place, persona_id in enumerate(self.personas):
                for lot in range(3):
                    ledger.adjust(
                        account_id=self.account.pk, persona_id=persona_id, points=Decimal(100_000 if lot == 2 else 40),
                        key=f"bench:{place}:{lot}", now=now, expires_at=now + timedelta(days=30 * (lot + 1)),
                    )  # fmt: skip
            self.plain = Discount.objects.create(
                number=1, internal_name="plain", name="$1 off", amount_cents=100, points=Decimal(PRICE), reusable=True
            )
            # Every limit a discount can have, all of them met.
            self.limited = Discount.objects.create(
                number=2, internal_name="limited", name="$1 off", amount_cents=100, points=Decimal(PRICE),
                reusable=True, valid_for_h=24, starts_at=now - timedelta(days=1), ends_at=now + timedelta(days=9),
                limited_stores=True, limited_audiences=True, code_kind="static", static_code="BENCH",
            )  # fmt: skip
            store = Store.objects.create(name="Main St", number=1)
            StoreKey.objects.create(store=store, key=ApiKey.objects.get())
            audience = Audience.objects.create(name="Everybody")
            AudienceMember.objects.bulk_create(
                AudienceMember(account=self.account, audience=audience, persona_id=pk, joined_at=now)
                for pk in self.personas
            )
            DiscountStore.objects.create(discount=self.limited, store=store)
            DiscountAudience.objects.create(discount=self.limited, audience=audience)
        with connection.cursor() as cursor:
            cursor.execute(TABLES)
            cursor.execute("INSERT INTO bench_wallet SELECT id, account_id, 100000 FROM loyalty_persona")
            cursor.execute("VACUUM (ANALYZE)")

    def commit_ms(self) -> float:
        from django.db import connection, transaction

        taken = []
        with connection.cursor() as cursor:
            for _ in range(300):
                with transaction.atomic():
                    cursor.execute("UPDATE bench_wallet SET balance = balance WHERE id = %s", [self.personas[0]])
                    began = time.perf_counter()
                taken.append(time.perf_counter() - began)
        return statistics.median(taken) * 1000

    # The columns

    def call(self, method: str, path: str) -> bytes:
        head = f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nX-APIKEY: {self.key}\r\nContent-Length: 0\r\n\r\n"
        return head.encode()

    def redeem_call(self, discount, persona_id: int, n: int) -> bytes:
        """What a till sends: the address of a wallet read just before, and an order of its own."""
        from loyalty import links

        token = links.make(
            account_id=self.account.pk,
            discount_number=discount.number,
            link=links.Link(persona_id=persona_id, discount_id=discount.pk, n=n),
            expires_at=int(time.time()) + 3600,
        )
        self.orders += 1
        return self.call(
            "PUT", f"/api/v1.1/discount/redeem/{self.account.uid}/{discount.number}/{token}/T{self.orders}"
        )

    def load(self, calls: list[list[bytes]], seconds: float, rate: float = 0) -> Heard:
        job = Job(self.port, calls, seconds, rate)
        done = subprocess.run(
            [sys.executable, "-m", "bench.load"], cwd=ROOT, input=pickle.dumps(job), capture_output=True,
            timeout=seconds + 60, check=True,
        )  # fmt: skip
        return pickle.loads(done.stdout)

    def side_by_side(self) -> list[Column]:
        clients, ordinary = self.args.clients, self.personas[:-1]
        mine = [ordinary[client::clients] for client in range(clients)]
        each = CALLS_A_SLICE // clients
        used = {self.plain.pk: [0] * clients, self.limited.pk: [0] * clients}  # calls each client has made

        def simple(method: str, path: str) -> list[list[bytes]]:
            return [[self.call(method, f"{path}/{pk}") for pk in own] * (each // len(own) + 1) for own in mine]

        def redeem(discount) -> list[list[bytes]]:
            return [
                [
                    self.redeem_call(discount, own[k % len(own)], k // len(own))
                    for k in range(used[discount.pk][client], used[discount.pk][client] + each)
                ]
                for client, own in enumerate(mine)
            ]

        columns = [
            Column("authenticated read of one row"),
            Column("one unguarded UPDATE + INSERT"),
            Column("redeem, all guards"),
            Column("redeem, every limit set on the discount"),
        ]
        makers = [
            lambda: simple("GET", "/bench/read"),
            lambda: simple("PUT", "/bench/bare"),
            lambda: redeem(self.plain),
            lambda: redeem(self.limited),
        ]
        self.load(makers[0](), 1)  # both processes of the server have connected and know their plans
        self.load(makers[1](), 1)
        for turn in range(max(1, round(self.args.seconds / SLICE_S))):
            for place in sorted(range(4), reverse=turn % 2 == 1):
                heard = self.load(makers[place](), SLICE_S)
                columns[place].add(heard)
                if place >= 2:
                    discount = (self.plain, self.limited)[place - 2]
                    used[discount.pk] = [a + b for a, b in zip(used[discount.pk], heard.done, strict=True)]
        for column in columns:
            print(column.line())
        return columns

    def hot_member(self) -> Column:
        """All tills at once on one member: nothing is refused, nothing waits for ever."""
        column, count = Column(f"redeem, one member, {self.args.hot} clients"), self.args.hot
        calls = [
            [self.redeem_call(self.plain, self.personas[-1], 0) for _ in range(int(6000 * self.args.seconds / count))]
            for _ in range(count)
        ]
        column.add(self.load(calls, self.args.seconds))
        print(column.line())
        return column

    def fixed_rate(self, rate: int) -> Column:
        """As shops do it: calls come when they come. A call's time counts from when it was due."""
        column, count = Column(f"redeem, {rate} a second, open loop"), int(rate * self.args.seconds)
        calls = [self.redeem_call(self.plain, self.personas[-2 - place % 500], 0) for place in range(count)]
        lines = 32
        column.add(self.load([calls[k * count // lines : (k + 1) * count // lines] for k in range(lines)],
                             self.args.seconds, rate))  # fmt: skip
        print(column.line())
        return column

    def bare_function(self, title: str, clients: int, *, hot: bool = False) -> None:
        """The database's share: the same function without Python and HTTP."""
        from django.conf import settings

        from aiqsync.embedded import ROLE, binary

        first, last = (self.personas[-1], self.personas[-1]) if hot else (self.personas[0], self.personas[-2])
        script = Path(settings.EMBEDDED.home) / "redeem.sql"
        script.write_text(
            f"\\set persona random({first}, {last})\n\\set t random(1, 1000000000000)\n"
            f"SELECT loyalty_redeem({self.account.pk}, :persona, {self.plain.pk}, 0, 'P' || :t::bigint, 'till',"
            " now(), NULL, NULL, 1);\n"
        )
        said = subprocess.run(
            [binary("pgbench"), "-n", "-M", "prepared", "-c", str(clients), "-j", "2", "-T",
             str(int(self.args.seconds)), "-f", str(script), "-h", str(settings.EMBEDDED.socket_dir), "-U", ROLE, ROLE],
            capture_output=True, text=True, timeout=self.args.seconds + 60,
        )  # fmt: skip
        rate = re.search(r"tps = ([\d.]+)", said.stdout)
        if said.returncode or not rate:
            raise SystemExit(f"pgbench: {said.stderr[-500:]}")
        latency = re.search(r"latency average = ([\d.]+)", said.stdout)
        print(f"{title:40}{float(rate[1]):7.0f}/s   mean {latency[1] if latency else '?'} ms")

    # What came of it

    def goals(self, read: Column, bare: Column, redeem: Column, hot: Column, paced: Column) -> None:
        rows = [
            (
                "redeem : unguarded UPDATE + INSERT",
                f"{redeem.rate / bare.rate:.2f}",
                ">= 0.5",
                redeem.rate >= 0.5 * bare.rate,
            ),
            (
                "redeem : authenticated read",
                f"{redeem.rate / read.rate:.2f}",
                ">= 0.3, stretch 0.45",
                redeem.rate >= 0.3 * read.rate,
            ),
            ("p95 at 200/s", f"{paced.ms(0.95):.1f} ms", "<= 8", paced.ms(0.95) <= 8),
            ("p99 at 200/s", f"{paced.ms(0.99):.1f} ms", "<= 17", paced.ms(0.99) <= 17),
            ("hot member", f"{hot.rate:.0f}/s", ">= 500 where a commit is under 0.5 ms", hot.rate >= 500),
            (
                "refused",
                f"{hot.refused + redeem.refused + paced.refused}",
                "0",
                not hot.refused + redeem.refused + paced.refused,
            ),
        ]
        print()
        for name, got, goal, kept in rows:
            print(f"{name:40}{got:>9}   goal {goal:38} {'kept' if kept else 'MISSED'}")

    def check(self, answered: int) -> None:
        from aiqsync.accounts.tenancy import acting_in
        from loyalty import audits
        from loyalty.models import Entry, Redemption

        with acting_in(self.account.pk):
            made = Redemption.objects.exclude(transaction__startswith="P").count()
            entries = Entry.objects.count()
        began = time.monotonic()
        found = audits.violations()
        print(
            f"\n{answered} answered over HTTP, {made} in the books; check_ledger: {len(found)} violations"
            f" of {audits.how_many_rules()} rules over {entries} entries"
            f" in {time.monotonic() - began:.1f} s"
        )
        for violation in found:
            print(f"  {violation.rule.name}: {violation.examples}")
        if found or made != answered:
            raise SystemExit(1)


class Server:
    """A granian as in production: as many processes as asked for, four threads each."""

    def __init__(self, workers: str, **env: str) -> None:
        self.workers, self.env = workers, os.environ | env

    def __enter__(self) -> int:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        self.process = subprocess.Popen(
            [sys.executable, "-m", "granian", "--interface", "wsgi", "--host", "127.0.0.1", "--port", str(port),
             "--workers", self.workers, "--blocking-threads", "4", "--no-ws", "--log-level", "warning",
             "aiqsync.wsgi:application"],
            cwd=ROOT, env=self.env,
        )  # fmt: skip
        give_up = time.monotonic() + 30
        while True:
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=2)
                return port
            except OSError:
                if time.monotonic() > give_up or self.process.poll() is not None:
                    self.process.kill()
                    raise SystemExit("the web server does not answer") from None
                time.sleep(0.2)

    def __exit__(self, *_) -> None:
        self.process.terminate()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()


if __name__ == "__main__":
    main()
