"""A worker killed by hand heals by itself: the idle worker, the monitor, the sentinel.

The jam is real: without the watchdog the same kill leaves a queue in which nothing is acknowledged any more
(`test_without_the_watchdog`).
"""

import os
import signal
import subprocess
import sys
import time
from datetime import timedelta

import psutil
import pytest
from django.utils import timezone
from django_q.models import OrmQ
from django_q.tasks import async_task

from integrations.models import Heartbeat

from .conftest import ROOT, database_url, until

LIMIT_S = 6


def cluster(parent: psutil.Process) -> list[psutil.Process]:
    """The sentinel, then what it started, oldest first: two workers, the monitor, the pusher."""
    for main in parent.children():
        for sentinel in main.children():
            below = sorted(sentinel.children(), key=lambda p: (p.create_time(), p.pid))
            if len(below) == 4:
                return [sentinel, *below]
    return []


def beaten_since(moment) -> bool:
    return Heartbeat.objects.filter(name="drill", at__gt=moment).exists()


@pytest.mark.drill
@pytest.mark.parametrize("victim", ["workers", "monitor", "sentinel"])
def test_a_killed_part_is_replaced(spawn, victim):
    dog = psutil.Process(spawn("worker", "--name", "drill", "--limit", str(LIMIT_S), "--grace", "2", Q_WORKERS="2").pid)
    until(lambda: cluster(dog), 60, "the cluster started")
    began = timezone.now()
    until(lambda: beaten_since(began), 60, "a first heartbeat")
    sentinel, first, second, monitor, pusher = cluster(dog)
    until(lambda: not OrmQ.objects.exists(), 60, "an idle queue")
    for process in {"workers": [first, second], "monitor": [monitor], "sentinel": [sentinel]}[victim]:
        process.send_signal(signal.SIGKILL)
    killed = timezone.now()
    async_task("aiqsync.tasks.heartbeat")
    # The ring works again, from end to end, and goes on. (A kill that met nobody holding the lock is healed by the
    # queue itself, so a restart is not asked for here.)
    until(
        lambda: beaten_since(killed + timedelta(seconds=LIMIT_S + 2)),
        3 * LIMIT_S + 30,
        f"work goes on after the {victim} died",
    )
    if Heartbeat.objects.get(name="drill").restarts == 0:
        return
    # Nothing of the killed cluster is left working.
    for process in (sentinel, first, second, monitor, pusher):
        assert not process.is_running() or process.status() == psutil.STATUS_ZOMBIE


@pytest.mark.drill
def test_without_the_watchdog(transactional_db, tmp_path):
    """The control: the bare cluster never acknowledges again once its idle monitor was killed."""
    env = {**os.environ, "DATABASE_URL": database_url(), "DJANGO_SETTINGS_MODULE": "aiqsync.settings", "Q_WORKERS": "2"}
    with open(tmp_path / "log", "wb") as log:
        bare = subprocess.Popen(
            [sys.executable, "-m", "django", "qcluster"], cwd=ROOT, env=env, stdout=log, stderr=log,
            start_new_session=True,
        )  # fmt: skip
    try:
        main = psutil.Process(bare.pid)

        def parts():
            for sentinel in main.children():
                below = sorted(sentinel.children(), key=lambda p: (p.create_time(), p.pid))
                if len(below) == 4:
                    return below
            return []

        until(parts, 60, "the cluster started")
        async_task("aiqsync.tasks.heartbeat")
        until(lambda: not OrmQ.objects.exists(), 60, "a first task was acknowledged")
        parts()[2].send_signal(signal.SIGKILL)
        time.sleep(1)
        async_task("aiqsync.tasks.heartbeat")
        time.sleep(8)
        assert OrmQ.objects.exists()
    finally:
        os.killpg(bare.pid, signal.SIGKILL)
        bare.wait()
