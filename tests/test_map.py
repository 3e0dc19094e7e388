"""The house: its floors, its files, its tenants."""

import subprocess
from pathlib import Path

import pytest
from django.apps import apps
from django.db import connection

from aiqsync.accounts.tenancy import NoCurrentAccount, TenantKey, TenantModel, acting_in

from .accounts.world import make_world
from .factories import make_account

ROOT = Path(__file__).resolve().parent.parent
TENANTS = [model for model in apps.get_models() if issubclass(model, TenantModel)]


def test_floors():
    done = subprocess.run([ROOT / ".venv/bin/lint-imports"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-2000:]


def test_no_file_is_past_one_subject():
    listed = subprocess.run(["git", "ls-files", "*.py"], cwd=ROOT, capture_output=True, text=True).stdout.split()
    long = {n: c for n in listed if "migrations" not in n and (c := len((ROOT / n).read_text().splitlines())) > 600}
    assert not long


@pytest.mark.parametrize("model", TENANTS, ids=lambda m: m.__name__)
def test_default_manager_refuses_without_an_account(model):
    with pytest.raises(NoCurrentAccount):
        model.objects.all()


@pytest.mark.parametrize("model", TENANTS, ids=lambda m: m.__name__)
def test_references_inside_an_account_carry_it(model, db):
    """Each TenantKey has a database constraint with both columns, and no single-column one."""
    columns = {f.column for f in model._meta.concrete_fields if isinstance(f, TenantKey)}
    columns |= {
        f.column
        for f in model._meta.concrete_fields
        if f.is_relation and issubclass(f.related_model, TenantModel) and f.name != "account"
    }
    with connection.cursor() as cursor:
        cursor.execute(
            """SELECT array_agg(a.attname::text ORDER BY a.attname) FROM pg_constraint c
               JOIN LATERAL unnest(c.conkey) k ON true JOIN pg_attribute a ON a.attrelid = c.conrelid AND a.attnum = k
               WHERE c.contype = 'f' AND c.conrelid = %s::regclass GROUP BY c.oid""",
            [model._meta.db_table],
        )
        pairs = [set(row[0]) for row in cursor.fetchall()]
    for column in columns:
        assert {"account_id", column} in pairs, f"{model.__name__}.{column} may point into another account"


@pytest.mark.django_db
def test_another_accounts_rows_are_not_there():
    """One row of every tenant model exists, and none of them for us."""
    ours, theirs = make_account(), make_account("Other Co")
    world = make_world(theirs, "theirs")
    assert set(world) == {model.__name__ for model in TENANTS}
    with acting_in(ours.pk):
        for model in TENANTS:
            assert not model.objects.filter(pk=world[model.__name__].pk).exists(), model
            assert not model.objects.exclude(account=ours).exists(), model


def test_unscoped_is_used_where_it_is_known():
    """Who works around the tenant's manager is on this list; a new place is added on purpose, with its reason."""
    listed = subprocess.run(
        ["git", "grep", "-l", r"\.unscoped", "--", "*.py", ":!tests"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    ).stdout.split()
    assert {name for name in listed if not name.startswith("aiqsync/accounts/")} <= set(KNOWN_UNSCOPED)


KNOWN_UNSCOPED = {
    "aiqsync/demo.py": "finds its own account by the state it kept",
    "aiqsync/management/commands/sync.py": "a connection names its account, which is then entered",
    "aiqsync/sync.py": "the sink is given ids of rows that name their account",
    "integrations/words.py": "is given an origin",
    "loyalty/idempotency.py": "is given an account; the housekeeping drops what is old of all",
    "stores/keys.py": "is given an account or a key of it",
    "loyalty/unmatched.py": "is given an account; the housekeeping drops what is old of all",
    "integrations/balances.py": "is given a connection or an origin",
    "integrations/card_settings.py": "is given a connection, a credential or an origin, locked by its id",
    "aiqsync/rehearsing.py": "a rehearsal names its account; the worker serves all of them",
    "loyalty/favourites.py": "is given the account, or a job of one",
    "loyalty/rehearsal.py": "is given the account or one of its rehearsals; keys that were left are revoked in all",
    "aiqsync/watching.py": "the dispatcher looks at all accounts",
    "integrations/clients.py": "keeps a credential's own token",
    "integrations/pushing.py": "is given the account by the key that called",
    "integrations/outbox.py": "is given the account or one of its rows; the dispatcher looks at all accounts",
    "integrations/pulling.py": "a run names its account; the worker serves all of them",
    "integrations/suppression.py": "is given the account",
    "integrations/uploads/bodies.py": "is given a file, or the account; old bodies go in all of them",
    "integrations/uploads/intake.py": "is given the account",
    "integrations/uploads/running.py": "a file names its account; the worker serves all of them",
    "integrations/uploads/services.py": "is given a file or the account; old files are put away in all of them",
    "integrations/services.py": "the dispatcher looks at all accounts; connect and runs are given rows, not ids",
    "integrations/catalog.py": "is given the account",
    "integrations/chosen.py": "is given a connection, a credential or an origin",
    "integrations/erasing.py": "is given an origin, which names its account",
    "integrations/evidence.py": "is given the account",
    "integrations/shaping.py": "is given the account and its origin",
    "loyalty/ask_after.py": "is given the account",
    "loyalty/audiences.py": "is given the account or one of its audiences; the dispatcher refreshes all",
    "loyalty/checks.py": "the nightly look is over all accounts",
    "loyalty/closes.py": "is given the account; months are closed in all of them",
    "loyalty/consent.py": "is given the account",
    "loyalty/enrol_after.py": "is given the account",
    "loyalty/erasure.py": "is given the account",
    "loyalty/ingest.py": "is given the account",
    "loyalty/imports.py": "is given the account and its origins",
    "loyalty/mirror.py": "is given the account, or one of its origins",
    "loyalty/pos_points.py": "is given a change of the account",
    "loyalty/transactional.py": "is given the account",
    "loyalty/switches.py": "is given a change; its job names the account",
    "loyalty/jobs.py": "a job names its account; the worker serves all of them",
    "loyalty/guard.py": "is given the account",
    "loyalty/matching.py": "is given the account",
    "loyalty/merging.py": "is given the account",
    "loyalty/messages.py": "is given the account; the sender serves all of them",
    "loyalty/looking.py": "is given the account",
    "loyalty/outbound.py": "is given the account, or a write that names its own",
    "loyalty/reconcile.py": "is given the account; the sweep is over all of them",
    "loyalty/search.py": "is given the account",
    "loyalty/contacts.py": "subqueries, tied to the rows of the account",
    "loyalty/details.py": "is given the account, or one of its personas",
    "loyalty/overrides.py": "is given the account",
    "loyalty/pins.py": "is given a persona",
    "loyalty/wallet_links.py": "a shopper's page is open to whoever has its signed address, which names the persona",
    "loyalty/views.py": "the same page, of the account that the address led to",
    "loyalty/discounts.py": "is given the account; the nightly look is over all of them",
    "loyalty/pictures.py": "is given a discount; a picture's address is public and says nothing of whose it is",
    "loyalty/checkins.py": "is given the account; old visits end in all of them",
    "loyalty/webhooks/endpoints.py": "is given the account",
    "loyalty/webhooks/reading.py": "the reader serves all accounts",
    "loyalty/webhooks/sending.py": "the sender serves all accounts",
    "loyalty/ledger/reading.py": "one subquery, tied to the wallet's row",
    "stores/services.py": "is given the account, or rows of one",
}
