"""Threads that start at once, and the ledger's functions without their locks for the control of each race."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from django.db import connection

from loyalty import sql

SCHEMA = "unlocked"


@contextmanager
def unlocked_functions() -> Iterator[str]:
    """The same texts without their lock lines, in a schema of their own."""
    lines = _texts().splitlines()
    kept = [line for line in lines if not line.endswith("-- lock")]
    assert len(kept) < len(lines), "there were no lock lines"
    with _installed("\n".join(kept)) as schema:
        yield schema


@contextmanager
def functions_without(care: str, careless: str) -> Iterator[str]:
    """The same texts with their locks, but without one precaution: its text is replaced."""
    assert _texts().count(care) == 1, "the precaution is written otherwise by now"
    with _installed(_texts().replace(care, careless)) as schema:
        yield schema


def _texts() -> str:
    return "\n".join(sql.text(name) for name in sql.LEDGER)


@contextmanager
def _installed(texts: str) -> Iterator[str]:
    with connection.cursor() as cursor:
        cursor.execute(f"DROP SCHEMA IF EXISTS {SCHEMA} CASCADE; CREATE SCHEMA {SCHEMA}")
        cursor.execute(f"SET search_path TO {SCHEMA}, public")
        cursor.execute(texts)
        cursor.execute("SET search_path TO public")
    try:
        yield SCHEMA
    finally:
        with connection.cursor() as cursor:
            cursor.execute(f"DROP SCHEMA {SCHEMA} CASCADE")


def at_once(calls: list[Callable[[], object]], *, schema: str = "public") -> list[object]:
    """Run each call in a thread with its own connection; the answers, or the exceptions, in their order."""
    barrier = threading.Barrier(len(calls))
    answers: list[object] = [None] * len(calls)

    def run(place: int, call: Callable[[], object]) -> None:
        try:
            with connection.cursor() as cursor:
                cursor.execute(f"SET search_path TO {schema}, public")
            barrier.wait(timeout=30)
            answers[place] = call()
        except Exception as error:  # every exception is an answer here
            answers[place] = error
        finally:
            connection.close()

    threads = [threading.Thread(target=run, args=pair) for pair in enumerate(calls)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    return answers
