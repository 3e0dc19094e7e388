"""The demo: a shop with a stand-in POS, on this machine, until Ctrl-C. It uses the verbs the admin uses."""

import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from datetime import timedelta
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management import call_command
from django.db import DatabaseError, connection
from django.utils import timezone

from aiqsync.accounts.models import Account, ApiKey, Membership, User
from aiqsync.accounts.roles import Role
from aiqsync.accounts.tenancy import acting_in
from aiqsync.pages.accounts import open_account
from aiqsync.processes import Register, die_with_parent
from integrations import services
from integrations.models import (
    CredentialState,
    Customer,
    Location,
    PricingGroup,
    RunStatus,
    Sale,
    StreamState,
    SyncRun,
)
from loyalty import checks, discounts, personas
from loyalty.models import Discount, Identifier, Persona
from stores import services as stores
from stores.models import Store

from . import tasks
from .env import VAR

NAME = "Harbour Cannabis"
OWNER, BUDTENDER = "owner@harbour.example", "budtender@harbour.example"
HELD = {"locations": Location, "pricing groups": PricingGroup, "customers": Customer, "sales": Sale}
CUSTOMERS, SALES, LOCATIONS, SEED = 1500, 9000, 3, 7


class Child:
    """A process that is kept alive."""

    def __init__(self, name: str, command: list[str], env: dict[str, str]) -> None:
        self.name, self.command, self.env = name, command, env
        self.process: subprocess.Popen | None = None
        self.starts: list[float] = []

    def start(self, log: Path) -> None:
        self.starts = [t for t in self.starts if t > time.monotonic() - 60] + [time.monotonic()]
        with open(log, "ab") as out:
            # A session of its own: Ctrl-C reaches the supervisor, who ends its children in order.
            self.process = subprocess.Popen(
                self.command, cwd=settings.BASE_DIR, env=self.env, start_new_session=True,
                stdout=out, stderr=out, stdin=subprocess.DEVNULL, preexec_fn=die_with_parent,
            )  # fmt: skip


class Demo:
    def __init__(self, port: int) -> None:
        self.port = port
        self.url = f"http://127.0.0.1:{port}"
        self.register = Register(VAR / "run")
        self.logs = VAR / "log"
        self.state_file = VAR / "demo-state.json"
        self.state: dict[str, Any] = json.loads(self.state_file.read_text()) if self.state_file.exists() else {}
        self.children: list[Child] = []
        self.stopping = False

    # Life

    def run(self) -> None:
        if self.register.find("demo"):
            sys.exit("A demo of this checkout is running already; `make stop` ends it.")
        if not _free(self.port):
            sys.exit(f"Port {self.port} is taken. Choose another: PORT=8010 make demo")
        self.logs.mkdir(parents=True, exist_ok=True)
        self.register.add("demo", os.getpid())
        for name in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(name, self._stop)
        (VAR / "demo.json").unlink(missing_ok=True)
        try:
            self._ready()
            while not self.stopping:
                self._watch()
                time.sleep(1)
        except _Stopped:
            pass
        finally:
            self._end()

    def _stop(self, *_) -> None:
        self.stopping = True
        raise _Stopped

    def _end(self) -> None:
        for name in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(name, signal.SIG_IGN)
        say("Stopping.")
        for child in reversed(self.children):
            self.register.end(child.name, grace_s=8)
        (VAR / "demo.json").unlink(missing_ok=True)
        self.register.remove("demo")

    def _watch(self) -> None:
        """Restart what died: a child, or the embedded database."""
        for child in self.children:
            if child.process and child.process.poll() is not None:
                if len(child.starts) > 5:
                    sys.exit(f"{child.name} keeps ending; its log: {self.logs / child.name}.log")
                say(f"{child.name} ended with {child.process.returncode}; started again.")
                self.register.end_group(child.name)
                self._start(child)
        if settings.EMBEDDED and not settings.EMBEDDED.answers():
            say("The database is gone; started again.")
            connection.close()
            settings.EMBEDDED.ensure()

    def _start(self, child: Child) -> None:
        child.start(self.logs / f"{child.name}.log")
        assert child.process
        self.register.add(child.name, child.process.pid)

    def _launch(self, name: str, *command: str) -> Child:
        child = Child(name, [sys.executable, *command], dict(os.environ))
        self.children.append(child)
        self._start(child)
        return child

    # Making the shop

    def _ready(self) -> None:
        began = time.monotonic()
        call_command("migrate", verbosity=0)
        sandbox = self._sandbox()
        os.environ["COVA_BASE_URL"] = settings.CARD_BASE_URLS["cova"] = sandbox
        os.environ["COVA_RATE"] = "1000"
        os.environ["HISTORY_DAYS"] = "180"
        os.environ["PUBLIC_URL"] = self.url
        account, key = self._account()
        self._launch("web", "-m", "granian", "--interface", "wsgi", "--host", "127.0.0.1", "--port", str(self.port),
                     "--workers", "2", "--blocking-threads", "4", "--no-ws", "aiqsync.wsgi:application")  # fmt: skip
        self._launch("dispatch", "manage.py", "dispatch")
        self._launch("worker", "manage.py", "worker", "--name", "demo", "--grace", "5")
        with acting_in(account.pk):
            self._connect(account, sandbox)
            self._progress(account)
            self._members(account)
            self._discounts(account)
            self._wait_for_web()
            self._announce(account, key, sandbox, time.monotonic() - began)

    def _sandbox(self) -> str:
        port = _free_port(self.state.get("sandbox_port"))
        self._keep(sandbox_port=port)
        say(f"Stand-in Cova: {CUSTOMERS} customers, {SALES} sales, {LOCATIONS} stores.")
        self._launch(
            "sandbox", "-m", "integrations.sandbox", "cova", "--port", str(port), "--customers", str(CUSTOMERS),
            "--sales", str(SALES), "--locations", str(LOCATIONS), "--seed", str(SEED),
        )  # fmt: skip
        url = f"http://127.0.0.1:{port}"
        _until_answers(f"{url}/_sandbox/credentials", 60)
        return url

    def _account(self) -> tuple[Account, str]:
        found = Account.objects.filter(uid=self.state.get("uid", "")).first()
        if found and self.state.get("key_hash") and ApiKey.unscoped.filter(hash=self.state["key_hash"]).exists():
            return found, self.state["api_key"]
        account, owner, key = open_account(
            name=NAME, owner_email=OWNER, owner_name="Kim Vale", timezone="America/Vancouver", currency="CAD",
            country="CA",
        )  # fmt: skip
        with acting_in(account.pk):
            budtender, _ = User.objects.get_or_create(email=BUDTENDER, defaults={"name": "Sam Reed"})
            Membership.objects.get_or_create(user=budtender, defaults={"role": Role.STAFF})
            passwords = {}
            for user in (owner, budtender):
                passwords[user.email] = f"demo-{secrets.token_hex(4)}"
                user.set_password(passwords[user.email])
                user.save()
        self._keep(uid=account.uid, api_key=key, key_hash=ApiKey.digest(key), passwords=passwords)
        return account, key

    def _connect(self, account: Account, sandbox: str) -> None:
        link = services.connection_of(account_id=account.pk, slug="cova")
        given = json.load(urllib.request.urlopen(f"{sandbox}/_sandbox/credentials", timeout=10))
        given = {name: str(given[name]) for name in (f.name for f in services.card("cova").credentials)}
        credential = services.same_credential(connection=link, given=given)
        if credential is None or credential.state != CredentialState.CONNECTED:
            credential = services.save_credential(connection=link, given=given, credential=credential)
            services.connect(credential=credential, now=timezone.now())
            services.save_settings(connection=link, given={"sync_personas": True}, now=timezone.now())
            say(f"Connected Cova; {stores.map_all(origin_id=credential.origin_id)} stores mapped.")
        services.sync_now(connection=link, enqueue=tasks.enqueue)

    def _progress(self, account: Account) -> None:
        """Wait for the first sync, telling how far it is."""
        told = 0.0
        while True:
            states = list(StreamState.objects.order_by("id"))
            if all(state.first_done_at for state in states):
                break
            for state in states:
                if state.message and state.failures > 3:
                    say(f"{state.stream}: {state.message}")
            if time.monotonic() - told > 3:
                told = time.monotonic()
                runs = SyncRun.objects.filter(status__in=[RunStatus.QUEUED, RunStatus.RUNNING]).select_related("stream")
                for run in runs:
                    share = f", {100 * run.progress_done // run.progress_total} %" if run.progress_total else ""
                    say(f"first sync: {run.stream.stream} {run.rows_read} rows{share}")
            self._watch()
            time.sleep(0.5)
        counts = (f"{model.objects.count():,} {word}" for word, model in HELD.items())
        say("Here now: " + ", ".join(counts) + ".")

    def _members(self, account: Account) -> None:
        """Two of three shoppers with a phone are members, since half a year."""
        if Persona.objects.filter(member_from__isnull=False).exists():
            return
        chosen = [
            pk
            for pk in Persona.objects.exclude(phone="").order_by("id").values_list("id", flat=True)
            if pk % 3
        ]  # fmt: skip
        now = timezone.now()
        personas.enrol_many(
            account_id=account.pk,
            persona_ids=chosen,
            ground="import",
            from_date=(now - timedelta(days=180)).date(),
            now=now,
        )
        checks.check(account_id=account.pk, now=timezone.now())  # the home page says how the whole ledger is
        say(f"{len(chosen)} shoppers enrolled; their sales of half a year became points.")

    def _discounts(self, account: Account) -> None:
        if Discount.objects.exists():
            return
        for name, points, amount in (
            ("$5 off", 250, {"amount_cents": 500}),
            ("$10 off", 450, {"amount_cents": 1000}),
            ("$25 off", 1000, {"amount_cents": 2500}),
            ("15 % off", 600, {"kind": "percent", "percent": 15}),
        ):
            discounts.create(
                account_id=account.pk, internal_name=f"{name} for {points} points", name=name, points=points,
                description=f"{name} your whole order.", reusable=True, **amount,
            )  # fmt: skip

    def _wait_for_web(self) -> None:
        _until_answers(f"{self.url}/healthz", 60)

    def _samples(self) -> list[dict[str, str]]:
        """Two members whose phone is theirs alone in the POS, and who can afford something."""
        rows = (
            Identifier.objects.filter(
                kind="phone", shared=False, persona__member_from__isnull=False, persona__wallet__balance__gte=1500
            )
            .select_related("persona")
            .order_by("-persona__wallet__balance")[:40]
        )
        found = []
        for row in rows:
            known = Persona.objects.filter(pk=row.persona_id).values_list("sources__customer__phone", flat=True)
            if len(known) == 1 and known[0] == row.value:
                found.append({"phone": row.value.removeprefix("+1"), "contact_id": str(row.persona.contact_id)})
        return found[:2]

    def _announce(self, account: Account, key: str, sandbox: str, seconds: float) -> None:
        members = self._samples()
        told = {
            "url": self.url,
            "uid": account.uid,
            "api_key": key,
            "owner": {"email": OWNER, "password": self.state["passwords"][OWNER]},
            "budtender": {"email": BUDTENDER, "password": self.state["passwords"][BUDTENDER]},
            "sandboxes": {"cova": sandbox},
            "stores": list(Store.objects.order_by("number").values("number", "name")),
            "members": members,
        }
        _post(f"{sandbox}/_sandbox/till", {"action": "setup", "url": self.url, "uid": account.uid, "key": key})
        write_private(VAR / "demo.json", json.dumps(told, indent=2))
        phone = members[0]["phone"]
        say(f"Ready after {seconds:.0f} s.")
        print(f"""
  Admin       {self.url}/admin/
              {OWNER}       {told["owner"]["password"]}
              {BUDTENDER}   {told["budtender"]["password"]}
  Stand-in    {sandbox}   (Cova; control routes below /_sandbox/)
  Account id  {account.uid}
  Everything  {VAR / "demo.json"}

  A sale at the POS; within a minute or so it is points:
    curl -s {sandbox}/_sandbox/sell -d '{{"phone": "{phone}"}}'

  The wallet, as a till asks for it:
    curl -s {self.url}/api/v2/wallet -H 'X-APIKEY: {key}' -d '{{"phone": "{phone}"}}'

  Redeem the first discount (say it twice: it is taken once):
    curl -s -X PUT -H 'X-APIKEY: {key}' {self._redemption_url(phone, key)}

  Ctrl-C stops everything.
""", flush=True)  # fmt: skip

    def _redemption_url(self, phone: str, key: str) -> str:
        """Where the sample member's first discount is redeemed, as his wallet says, with a transaction id."""
        request = urllib.request.Request(f"{self.url}/api/v2/wallet/{phone}", headers={"X-APIKEY": key})
        data = json.load(urllib.request.urlopen(request, timeout=10))["data"]
        return f"{data['discountTemplates'][0]['redemptionURL']}/TX-{secrets.token_hex(2)}"

    def _keep(self, **changes: Any) -> None:
        self.state |= changes
        write_private(self.state_file, json.dumps(self.state))


class _Stopped(Exception):
    """A signal ended the demo, wherever it was."""


def say(text: str) -> None:
    print(f"[demo] {text}", flush=True)


def write_private(path: Path, text: str) -> None:
    draft = path.with_suffix(".draft")
    draft.touch(mode=0o600)
    draft.write_text(text)
    draft.replace(path)


def _free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


def _free_port(wish: int | None) -> int:
    if wish and _free(wish):
        return wish
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _post(url: str, body: dict[str, Any]) -> None:
    request = urllib.request.Request(url, json.dumps(body).encode(), {"Content-Type": "application/json"})
    urllib.request.urlopen(request, timeout=10).read()


def _until_answers(url: str, seconds: float) -> None:
    end = time.monotonic() + seconds
    while True:
        try:
            urllib.request.urlopen(url, timeout=5).read()
            return
        except OSError:
            if time.monotonic() > end:
                raise
            time.sleep(0.2)


def reset() -> None:
    """Forget the demo's shop: its account and everything of it, by dropping the schema of the demo's own database."""
    if not settings.EMBEDDED:
        sys.exit("`make demo-reset` starts over in the embedded database only; yours is named by DATABASE_URL.")
    (VAR / "demo-state.json").unlink(missing_ok=True)
    try:
        with connection.cursor() as cursor:
            cursor.execute("DROP SCHEMA public CASCADE")
            cursor.execute("CREATE SCHEMA public")
    except DatabaseError as error:
        sys.exit(f"The demo's database could not be emptied: {error}")
