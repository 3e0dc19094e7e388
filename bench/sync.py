"""First and second sync of a stand-in Cova, and the same pages by the plainest path beside it, in one run.

    .venv/bin/python -m bench.sync [--customers 20000] [--sales 60000]

The limiter is off (a real Cova allows 1,000 calls a minute and service). The database is the embedded one with its
usual settings, in a folder of this run's. The plain path fetches, decodes, copies and upserts the same pages without
mapping, matching or points: what our work costs is the difference.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request
from datetime import UTC, datetime, timedelta
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def main() -> None:
    asked = argparse.ArgumentParser()
    asked.add_argument("--customers", type=int, default=20_000)
    asked.add_argument("--sales", type=int, default=60_000)
    asked.add_argument("--locations", type=int, default=3)
    asked.add_argument("--blank-payments", default="0.02")
    args = asked.parse_args()
    home = tempfile.mkdtemp(prefix="aiqsync-bench-")
    sandbox = subprocess.Popen(
        [sys.executable, "-m", "integrations.sandbox", "cova", "--customers", str(args.customers), "--sales",
         str(args.sales), "--locations", str(args.locations), "--seed", "7", "--rate", "0", "--blank-payments",
         args.blank_payments],
        cwd=ROOT, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    url = json.loads(sandbox.stdout.readline())["cova"]
    os.environ |= {
        "AIQSYNC_VAR": home, "DJANGO_SETTINGS_MODULE": "aiqsync.settings", "COVA_BASE_URL": url, "COVA_RATE": "0",
        "HISTORY_DAYS": "185", "DATABASE_URL": "", "LOG_LEVEL": "WARNING",
    }  # fmt: skip
    import django

    django.setup()
    from django.conf import settings

    settings.EMBEDDED.ensure()
    try:
        measure(url)
    finally:
        settings.EMBEDDED.stop()
        sandbox.terminate()
        shutil.rmtree(home, ignore_errors=True)


def measure(url: str) -> None:
    from django.core.management import call_command
    from django.utils import timezone

    from aiqsync.accounts.tenancy import acting_in
    from aiqsync.pages.accounts import open_account
    from integrations import services
    from integrations.models import StreamState, SyncRun
    from loyalty import audits, personas
    from loyalty.models import Entry, Persona
    from stores import services as stores

    call_command("migrate", verbosity=0)
    account, _, _ = open_account(name="Bench", owner_email="owner@bench.example", timezone="America/Vancouver")
    link = services.connection_of(account_id=account.pk, slug="cova")
    told = json.load(urllib.request.urlopen(f"{url}/_sandbox/credentials"))
    given = {f.name: str(told[f.name]) for f in services.card("cova").credentials}
    plain(url, given)
    with acting_in(account.pk):
        credential = services.save_credential(connection=link, given=given)
        services.connect(credential=credential, now=timezone.now())
        stores.map_all(origin_id=credential.origin_id)

        def sync(title: str, *streams: str) -> None:
            for name in streams:
                state = StreamState.objects.get(credential=credential, stream=name)
                run = services.enqueue_run(state=state, enqueue=None, full=title == "again")
                started = time.monotonic()
                while services.run_slice(run.pk):
                    pass
                took = time.monotonic() - started
                run = SyncRun.objects.get(pk=run.pk)
                parts = {part: f"{seconds / took:.0%}" for part, seconds in run.seconds.items()}
                print(
                    f"{title:6} {name:10} {run.rows_read:7} rows {took:6.1f} s {run.rows_read / took:7.0f}/s"
                    f"  new {run.rows_new} changed {run.rows_changed}  calls {run.calls}  {parts}  {run.message}"
                )

        sync("first", "locations", "pricing_groups", "customers")
        # Everybody is a member: each sale that has a customer earns, and that is part of the figure.
        ids = list(Persona.objects.values_list("pk", flat=True))
        now = timezone.now()
        personas.enrol_many(
            account_id=account.pk,
            persona_ids=ids,
            ground="import",
            from_date=(now - timedelta(days=400)).date(),
            now=now,
        )
        sync("first", "sales")
        sync("again", "customers", "sales")
        print(f"entries {Entry.objects.count()}, violations {len(audits.violations())}")


def plain(url: str, given: dict[str, str]) -> None:
    """Fetch, decode, COPY, upsert: no mapping, no details, no persons, no points."""
    import requests
    from django.db import connection, transaction

    session = requests.Session()
    token = session.post(
        f"{url}/v1/oauth2/token",
        data={
            "grant_type": "password",
            **{k: given[k] for k in ("username", "password", "client_id", "client_secret")},
        },
    ).json()["access_token"]
    session.headers.update({"Authorization": f"Bearer {token}", "Accept": "application/json"})
    company = given["company_id"]
    with connection.cursor() as cursor:
        cursor.execute("CREATE TABLE bench_plain (id text PRIMARY KEY, kind text, a text, b text, c text)")
        cursor.execute("CREATE TABLE bench_lines (id text, name text, sku text, quantity text, price text)")

    def land(kind: str, rows: list[dict], lines: list[tuple]) -> None:
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute("CREATE TEMP TABLE IF NOT EXISTS t (LIKE bench_plain) ON COMMIT DELETE ROWS")
            with cursor.copy("COPY t FROM STDIN") as out:
                for row in {r["Id"]: r for r in rows}.values():
                    out.write_row((row["Id"], kind, str(row.get("PrimaryName")), str(row.get("CreatedDateUtc")), "x"))
            cursor.execute(
                "INSERT INTO bench_plain SELECT * FROM t ON CONFLICT (id) DO UPDATE SET a = excluded.a, b = excluded.b"
                " WHERE (bench_plain.a, bench_plain.b) IS DISTINCT FROM (excluded.a, excluded.b)"
            )
            if lines:
                with cursor.copy("COPY bench_lines FROM STDIN") as out:
                    for line in lines:
                        out.write_row(line)

    started, count, skip = time.monotonic(), 0, 0
    while True:
        rows = session.get(
            f"{url}/crm/v1/Companies({company})/CustomerFull",
            params={"$filter": "LastModifiedDateUtc ge datetime'1970-01-01T00:00:00Z'", "$skip": skip, "$top": 100},
        ).json()
        land("customer", rows, [])
        count, skip = count + len(rows), skip + 100
        if len(rows) < 100:
            break
    took = time.monotonic() - started
    print(f"plain  customers  {count:7} rows {took:6.1f} s {count / took:7.0f}/s")
    places = [row["Id"] for row in session.get(f"{url}/entitymanager/v1/Companies({company})/Locations").json()]
    started, count = time.monotonic(), 0
    now = datetime.now(UTC)
    for place in places:
        for back in range(0, 185, 4):
            high, low = now - timedelta(days=back), now - timedelta(days=back + 4)
            skip = 0
            while True:
                rows = session.get(
                    f"{url}/posreports/v1/Companies({company})/Entities({place})/ByInvoiceWithProducts",
                    params={
                        "DateRange": f"Date ge datetime'{low:%FT%TZ}' and Date le datetime'{high:%FT%TZ}'",
                        "$top": 500, "$skip": skip,
                    },
                ).json()  # fmt: skip
                lines = [
                    (row["Id"], p["ProductName"], p["Sku"], str(p["Quantity"]), str(p["SoldAtPrice"]))
                    for row in rows
                    for p in row["Products"]
                ]
                land("sale", rows, lines)
                count, skip = count + len(rows), skip + 500
                if len(rows) < 500:
                    break
    took = time.monotonic() - started
    print(f"plain  sales      {count:7} rows {took:6.1f} s {count / took:7.0f}/s")


if __name__ == "__main__":
    main()
