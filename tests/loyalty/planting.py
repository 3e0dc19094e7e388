"""Corruption put into the tables behind the ledger's back, and what `check_ledger` says of it then."""

from collections.abc import Iterable

from django.db import connection

from loyalty import audits


def plant(sql: str, names: dict, *, past: Iterable[str]) -> list[audits.Violation]:
    """Run the statements with the triggers of these tables switched off: what the owner may do, nobody by accident."""
    with connection.cursor() as cursor:
        cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")
        for table in past:
            cursor.execute(f"ALTER TABLE loyalty_{table} DISABLE TRIGGER USER")
        for statement in sql.format(**names).split(";"):
            cursor.execute(statement)
        assert cursor.rowcount > 0, "nothing was planted"
    return audits.violations()
