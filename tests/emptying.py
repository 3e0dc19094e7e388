"""What a test that commits leaves behind is taken out again: what Django's `flush` does, at a tenth of its price.

`flush` truncates every table, full or empty (each of some 800 relations gets new files), then makes content types and
permissions anew. Here one statement asks which tables hold rows, and only those are emptied. Content types, permissions
and the record of migrations stay as they are; a sequence goes on counting, as it does after `flush`.
"""

from functools import cache

from django.db import connections, transaction
from django.test import TransactionTestCase

KEPT = frozenset({"django_migrations", "django_content_type", "auth_permission"})
# A deleted row is looked for in each table that may refer to it. With more to look for than this, all are truncated.
MOST_CHECKS = 5_000

TABLES = """
SELECT c.relname,
    (SELECT count(*) FROM pg_constraint f WHERE f.contype = 'f' AND f.confrelid = c.oid),
    EXISTS (SELECT FROM pg_trigger t WHERE t.tgrelid = c.oid AND NOT t.tgisinternal AND t.tgtype & 2 > 0
        AND t.tgtype & 8 > 0)
FROM pg_class c WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p') AND NOT c.relispartition
ORDER BY c.relname
"""
REFERENCES = """
SELECT DISTINCT p.relname, c.relname FROM pg_constraint f
JOIN pg_class c ON c.oid = f.conrelid AND NOT c.relispartition JOIN pg_class p ON p.oid = f.confrelid
WHERE f.contype = 'f'
"""


def use() -> None:
    """From now on in place of Django's."""
    TransactionTestCase._fixture_teardown = _fixture_teardown


def _fixture_teardown(case) -> None:
    for alias in case._databases_names(include_mirrors=False):
        empty(connections[alias])


def empty(connection) -> None:
    """Every table without rows but those in KEPT. Waits for whoever is still writing, as TRUNCATE does."""
    tables, referring, guarded = _schema(connection.alias)
    with transaction.atomic(using=connection.alias), connection.cursor() as cursor:
        cursor.execute(f"LOCK TABLE {', '.join(map(_quoted, tables))} IN SHARE ROW EXCLUSIVE MODE")
        cursor.execute(" UNION ALL ".join(map(_count, tables)))
        rows = dict(cursor.fetchall())
        if sum(count * tables[name] for name, count in rows.items()) > MOST_CHECKS:
            truncated = set(tables)
        else:
            truncated = _with_referring(guarded & rows.keys(), referring)
        if truncated:
            cursor.execute(f"TRUNCATE {', '.join(map(_quoted, sorted(truncated)))}")
        if deleted := rows.keys() - truncated:
            # One statement, so that no order among them is needed: references are looked at when it ends.
            cursor.execute("SET CONSTRAINTS ALL DEFERRED")
            cursor.execute("; ".join(f"DELETE FROM {_quoted(name)}" for name in sorted(deleted)))


@cache
def _schema(alias: str) -> tuple[dict[str, int], dict[str, set[str]], set[str]]:
    """Tables with how many references point at each, who refers to whom, and those whose rows refuse to be deleted."""
    connection = connections[alias]
    with connection.cursor() as cursor:
        cursor.execute(TABLES)
        ours = set(connection.introspection.django_table_names(only_existing=True)) - KEPT
        found = [row for row in cursor.fetchall() if row[0] in ours]
        cursor.execute(REFERENCES)
        referring: dict[str, set[str]] = {}
        for parent, child in cursor.fetchall():
            referring.setdefault(parent, set()).add(child)
    return {name: count for name, count, _ in found}, referring, {name for name, _, refuses in found if refuses}


def _with_referring(names: set[str], referring: dict[str, set[str]]) -> set[str]:
    """TRUNCATE asks that all who refer to a table are emptied with it."""
    reached, ahead = set(), set(names)
    while ahead:
        name = ahead.pop()
        reached.add(name)
        ahead |= referring.get(name, set()) - reached
    return reached


def _count(name: str) -> str:
    """The table's name and its rows, if it has any; no more are counted than matter."""
    rows = f"SELECT FROM {_quoted(name)} LIMIT {MOST_CHECKS + 1}"
    return f"SELECT '{name}', count(*) FROM ({rows}) AS found HAVING count(*) > 0"


def _quoted(name: str) -> str:
    return f'"{name}"'
