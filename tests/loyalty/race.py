"""Threads that start at once, or that wait for each other; and the same calls without their locks, for the controls.

A race is made deterministic by what waits: one call is done and not yet committed while the other begins, and the test
goes on when that one has ended or waits for a lock (`Acting.settle`).
"""

import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

from django.conf import settings
from django.db import connection, transaction

from aiqsync.accounts.tenancy import acting_in
from loyalty import audits, sql
from loyalty.models import Persona

SCHEMA = "unlocked"
LOCK = "-- lock"


@contextmanager
def unlocked_functions() -> Iterator[str]:
    """The same texts without their lock lines, in a schema of their own."""
    with functions_unlocked(*lock_lines()) as schema:
        yield schema


def lock_lines() -> dict[str, int]:
    """The locks of the ledger's functions: `function#n` for the nth of a function, and the line it stands in."""
    found: dict[str, int] = {}
    function, n = "", 0
    for number, line in enumerate(_texts().splitlines()):
        if named := re.match(r"CREATE OR REPLACE FUNCTION (\w+)", line):
            function, n = named[1], 0
        if line.endswith(LOCK):
            n += 1
            found[f"{function}#{n}"] = number
    return found


@contextmanager
def functions_unlocked(*names: str) -> Iterator[str]:
    """The same texts without these locks (`lock_lines`), in a schema of their own."""
    cut = {lock_lines()[name] for name in names}
    kept = [line for number, line in enumerate(_texts().splitlines()) if number not in cut]
    with installed("\n".join(kept)) as schema:
        yield schema


@contextmanager
def functions_without(care: str, careless: str) -> Iterator[str]:
    """The same texts with their locks, but without one precaution: its text is replaced."""
    assert _texts().count(care) == 1, "the precaution is written otherwise by now"
    with installed(_texts().replace(care, careless)) as schema:
        yield schema


def _texts() -> str:
    return "\n".join(sql.text(name) for name in sql.LEDGER)


@contextmanager
def installed(texts: str) -> Iterator[str]:
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
            barrier.wait(timeout=60)
            answers[place] = call()
        except Exception as error:  # every exception is an answer here
            answers[place] = error
        finally:
            connection.close()

    threads = [threading.Thread(target=run, args=pair) for pair in enumerate(calls)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=120)
    return answers


def waiting(cursor) -> int:
    """How many sessions of this database wait for a lock. Other workers' databases are in the same cluster."""
    # A wait for a row names no database, but who waits for one holds its table.
    cursor.execute(
        """SELECT count(*) FROM pg_locks w WHERE NOT w.granted AND EXISTS (
               SELECT FROM pg_locks o JOIN pg_database d ON d.oid = o.database
               WHERE o.pid = w.pid AND d.datname = current_database())"""
    )
    return cursor.fetchone()[0]


class Cut:
    """For a connection's statements: those that lock rows of a table, without the lock. `times`: how often.

    `clause`: what of the lock is cut; all of it, or only what makes it not wait.
    """

    def __init__(self, *tables: str, clause: str = r"FOR (NO KEY )?UPDATE( OF \S+)?( SKIP LOCKED| NOWAIT)?") -> None:
        self.first = re.compile(rf"^(?:(?!\bFROM\b).)*\bFROM \"?(?:{'|'.join(tables)})\b", re.DOTALL)
        self.clause = re.compile(rf"\s+{clause}")
        self.times = 0

    def __call__(self, execute, statement, params, many, context):
        if self.first.search(statement) and self.clause.search(statement):
            self.times += 1
            statement = self.clause.sub("", statement)
        return execute(statement, params, many, context)


class Acting:
    """A call in a thread with its own connection, begun at once."""

    def __init__(self, act: Callable[[], object], *, schema: str = "public", cut: Cut | None = None) -> None:
        self._act, self._schema, self._cut = act, schema, cut
        self._ready, self._done = threading.Event(), threading.Event()
        self._pid = 0
        self._answer: object = None
        self.waited = False
        self._thread = threading.Thread(target=self._run)
        self._thread.start()
        assert self._ready.wait(30)

    def _run(self) -> None:
        try:
            with connection.cursor() as cursor:
                cursor.execute(f"SET search_path TO {self._schema}, public")
                cursor.execute("SELECT pg_backend_pid()")
                self._pid = cursor.fetchone()[0]
            self._ready.set()
            with connection.execute_wrapper(self._cut) if self._cut else nullcontext():
                self._answer = self._act()
        except Exception as error:  # every exception is an answer here
            self._answer = error
        finally:
            connection.close()
            self._ready.set()
            self._done.set()

    def settle(self) -> "Acting":
        """Until it has ended or waits for a lock of somebody's."""
        for _ in range(3000):
            if self._done.wait(0.01):
                return self
            with connection.cursor() as cursor:
                cursor.execute("SELECT cardinality(pg_blocking_pids(%s))", [self._pid])
                if cursor.fetchone()[0]:
                    self.waited = True
                    return self
        raise AssertionError("it neither ends nor waits for a lock")

    @property
    def over(self) -> bool:
        return self._done.is_set()

    def answer(self) -> object:
        assert self._done.wait(60), "it does not end"
        self._thread.join(60)
        return self._answer


def overlap(
    first: Callable[[], object], second: Callable[[], object], *, schema: str = "public", cut: Cut | None = None
) -> Acting:
    """`first` is done and not yet committed when `second` begins; it is committed when that has ended, or waits."""
    with transaction.atomic():
        first()
        acting = Acting(second, schema=schema, cut=cut).settle()
    acting.answer()
    return acting


def held_up_behind(
    persona: Persona, act: Callable[[], object], other: Callable[[], object], *, schema: str = "public",
    cut: Cut | None = None,
) -> list[object]:  # fmt: skip
    """`act` is held up where it writes a row that refers to the persona; `other` runs; then it goes on. Both answers.

    For locks behind an INSERT ... ON CONFLICT DO NOTHING, which by itself waits for whoever has changed the row.
    """
    with transaction.atomic():
        list(Persona.unscoped.select_for_update().filter(pk=persona.pk))
        acting = Acting(act, schema=schema, cut=cut).settle()
        late = Acting(other).settle()
    return [acting.answer(), late.answer()]


def wrong(answers, *, refusals: tuple[type[Exception], ...] = (), **expected) -> list[str]:
    """What should not have happened: an answer that is no refusal, a figure that differs, a broken invariant."""
    flat = [one for answer in answers for one in (answer if isinstance(answer, list) else [answer])]
    errors = [repr(one) for one in flat if isinstance(one, Exception) and not isinstance(one, refusals)]
    figures = [f"{name}: {got} instead of {want}" for name, (got, want) in expected.items() if got != want]
    return errors + figures + [f"{v.rule.name}: {v.examples}" for v in audits.violations()]


def not_written_down(names) -> list[str]:
    """Which of these stand nowhere in docs/decisions/locks.md."""
    page = Path(settings.BASE_DIR, "docs/decisions/locks.md").read_text()
    return [name for name in names if f"`{name}`" not in page]


def inside(account, act):
    """The call as it is made by a page: in the account, in one transaction."""

    def run():
        with acting_in(account.pk), transaction.atomic():
            return act()

    return run


def kind(answer) -> str:
    return type(answer).__name__
