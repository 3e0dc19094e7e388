"""Seals: what is older than an hour cannot be changed without showing."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from django.db import connection

from loyalty import audits, ledger, seals
from loyalty.models import Entry, Seal

from ..factories import make_account, make_persona
from .race import at_once

NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
HOUR = timedelta(hours=1)


def post(account, persona, count=3, at=NOW - 2 * HOUR, start=0):
    for n in range(start, start + count):
        ledger.adjust(account_id=account.pk, persona_id=persona.pk, points=Decimal(10), key=f"k{n}", now=at, note="n")


@pytest.fixture
def account(db):
    account = make_account()
    account.persona = make_persona(account)
    return account


def broken(account) -> list[str]:
    return [v.rule.name for v in audits.violations(account_id=account.pk)]


def tamper(sql: str, *values):
    """Around the trigger, as its owner can."""
    with connection.cursor() as cursor:
        cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")
        cursor.execute("ALTER TABLE loyalty_entry DISABLE TRIGGER USER")
        cursor.execute(sql, values)
        cursor.execute("ALTER TABLE loyalty_entry ENABLE TRIGGER USER")


def test_young_entries_wait(account):
    post(account, account.persona, 2, at=NOW - 2 * HOUR)
    post(account, account.persona, 2, at=NOW - HOUR / 2, start=2)
    assert seals.seal(account_id=account.pk, now=NOW) == 1
    seal = Seal.unscoped.get(account=account)
    assert (seal.number, seal.entries, seal.points) == (1, 2, 20)
    assert seals.seal(account_id=account.pk, now=NOW) == 0
    assert seals.seal(account_id=account.pk, now=NOW + HOUR) == 1
    assert broken(account) == []


def test_many_entries_are_many_seals_in_a_chain(account, monkeypatch):
    monkeypatch.setattr(seals, "ENTRIES_A_SEAL", 4)
    post(account, account.persona, 10)
    assert seals.seal_due(now=NOW) == 3
    assert list(Seal.unscoped.filter(account=account).order_by("number").values_list("entries", flat=True)) == [4, 4, 2]
    assert broken(account) == []


@pytest.mark.parametrize(
    "sql",
    [
        "UPDATE loyalty_entry SET key = 'other' WHERE id = %s",
        "UPDATE loyalty_entry SET explanation = '{\"a\": 1}' WHERE id = %s",
        "UPDATE loyalty_entry SET at = at + interval '1 microsecond' WHERE id = %s",
    ],
)
def test_a_changed_entry_shows_as_its_seal(account, sql):
    post(account, account.persona)
    seals.seal_due(now=NOW)
    first = Entry.unscoped.filter(account=account).order_by("pk")[0]
    tamper(sql, first.pk)
    [found] = [v for v in audits.violations(account_id=account.pk) if v.rule.name == "seal-holds"]
    assert f"entries 1 to {Entry.unscoped.latest('pk').pk}" in found.examples[0]


def test_a_seal_that_was_made_again_breaks_the_chain(account, monkeypatch):
    """Whoever changes an entry and its seal has changed every later seal's beginning."""
    monkeypatch.setattr(seals, "ENTRIES_A_SEAL", 2)
    post(account, account.persona, 6)
    seals.seal_due(now=NOW)
    first = Seal.unscoped.filter(account=account).order_by("number")[0]
    tamper("UPDATE loyalty_entry SET key = 'other' WHERE id = %s", first.last_entry)
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT {seals._DIGEST} FROM loyalty_entry e WHERE id BETWEEN %s AND %s",
                       ["", first.first_entry, first.last_entry])  # fmt: skip
        Seal.unscoped.filter(pk=first.pk).update(digest=cursor.fetchone()[0])
    [found] = [v for v in audits.violations(account_id=account.pk) if v.rule.name == "seal-holds"]
    assert found.count == 1 and "seal 2" in found.examples[0]


def test_a_missing_seal_shows(account, monkeypatch):
    monkeypatch.setattr(seals, "ENTRIES_A_SEAL", 2)
    post(account, account.persona, 6)
    seals.seal_due(now=NOW)
    Seal.unscoped.filter(account=account, number=2).delete()
    assert "seal-chain" in broken(account)


def test_notes_are_not_covered_because_an_erasure_takes_them_out(account):
    post(account, account.persona)
    seals.seal_due(now=NOW)
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL aiqsync.erasing = 'on'")
        cursor.execute("UPDATE loyalty_entry SET note = '' WHERE account_id = %s", [account.pk])
        cursor.execute("SET LOCAL aiqsync.erasing = 'off'")
    assert broken(account) == []


@pytest.mark.parametrize("column, value", [("points", 11), ("key", "'x'"), ("at", "now()")])
def test_an_erasure_changes_no_figure(account, column, value):
    post(account, account.persona)
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL aiqsync.erasing = 'on'")
        with pytest.raises(Exception, match="the ledger only grows"):
            cursor.execute(f"UPDATE loyalty_entry SET {column} = {value} WHERE account_id = %s", [account.pk])


@pytest.mark.django_db(transaction=True)
def test_two_sealers_make_one_chain():
    account = make_account()
    post(account, make_persona(account), 5)
    answers = at_once([lambda: seals.seal(account_id=account.pk, now=NOW)] * 6)
    assert sorted(answers) == [0, 0, 0, 0, 0, 1]
    assert broken(account) == []
