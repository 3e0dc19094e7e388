"""Real processes against the test database: workers, dispatchers, sandboxes."""

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from django.db import connection

ROOT = Path(__file__).resolve().parent.parent.parent


def database_url() -> str:
    """The test database, as a process of its own is told of it."""
    given = connection.settings_dict
    user, port = given["USER"], given["PORT"]
    host = given["HOST"] or given.get("OPTIONS", {}).get("host", "")  # a socket's folder comes as an option
    if host.startswith("/"):
        return f"postgres://{user}@/{given['NAME']}?host={host}"
    password = f":{given['PASSWORD']}" if given["PASSWORD"] else ""
    return f"postgres://{user}{password}@{host}:{port or 5432}/{given['NAME']}"


@pytest.fixture
def spawn(transactional_db, tmp_path):
    """Starts `manage.py ...` against the test database; everything is ended with the test."""
    started: list[subprocess.Popen] = []

    def start(*command: str, **env: str) -> subprocess.Popen:
        log = open(  # noqa: SIM115 (closed with the process)
            tmp_path / f"{command[0]}-{len(started)}.log", "wb"
        )
        process = subprocess.Popen(
            [sys.executable, "manage.py", *command], cwd=ROOT, stdout=log, stderr=log, start_new_session=True,
            env={**os.environ, "DATABASE_URL": database_url()} | env,
        )  # fmt: skip
        process.log = Path(log.name)  # type: ignore[attr-defined]
        started.append(process)
        return process

    yield start
    for process in started:
        process.terminate()
    for process in started:
        try:
            process.wait(15)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def until(condition: Callable[[], object], seconds: float, what: str):
    """The condition's first true value; an assertion when there is none in time."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if found := condition():
            return found
        time.sleep(0.2)
    raise AssertionError(f"not within {seconds} s: {what}")
