"""The worker under its watchdog.

django-q2 can jam: a worker or monitor killed while idle dies holding the queue's lock, and then nothing runs, or
everything runs and is never acknowledged. So the worker proves its whole ring (pusher, worker, monitor): the
`post_execute` signal fires in the monitor after the acknowledgement, and writes this worker's heartbeat. When the
heartbeat is too old, or the main process ends, the whole process group is replaced.
"""

import logging
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable

from django.conf import settings
from django.db import DatabaseError, close_old_connections, connection
from django.utils import timezone
from django_q.signals import post_execute
from django_q.tasks import async_task

from integrations.models import Heartbeat

from .processes import die_with_parent

log = logging.getLogger("aiqsync.watchdog")

NAME = "AIQSYNC_WORKER"  # tells the cluster's processes which worker they are
_written = 0.0


def beat(sender=None, task=None, **_) -> None:
    """A task of this cluster has been run and acknowledged. At most one write a second."""
    global _written
    name = os.environ.get(NAME)
    if not name or time.monotonic() - _written < 1:
        return
    _written = time.monotonic()
    with connection.cursor() as cursor:
        cursor.execute("UPDATE integrations_heartbeat SET at = now() WHERE name = %s", [name])


def listen() -> None:
    post_execute.connect(beat, dispatch_uid="aiqsync.watchdog")


class Watchdog:
    """Keeps one cluster alive until `stop` is set."""

    def __init__(
        self,
        *,
        name: str = "",
        limit_s: float | None = None,
        grace_s: float = 30,
        heartbeat: Callable[[], object] = lambda: async_task("aiqsync.tasks.heartbeat"),
    ) -> None:
        self.name = name or f"{socket.gethostname()}-{os.getpid()}"
        self.limit_s = limit_s or settings.WATCHDOG_LIMIT_S
        self.grace_s = grace_s
        self.stop = threading.Event()
        self.child: subprocess.Popen | None = None
        self._heartbeat = heartbeat
        self._started = 0.0
        self._asked = 0.0

    def run(self) -> None:
        try:
            self._start("started")
            while not self.stop.wait(min(1.0, self.limit_s / 10)):
                reason = self._sick()
                if reason:
                    log.warning("replacing worker %s: %s", self.name, reason)
                    self._end(grace_s=min(self.grace_s, 3))
                    self._start(reason)
        finally:
            self._end(self.grace_s)
            self._forget()

    def _start(self, reason: str) -> None:
        env = {**os.environ, NAME: self.name, "DJANGO_SETTINGS_MODULE": "aiqsync.settings"}
        # A session of its own: its process group can be ended whole, with every orphan.
        self.child = subprocess.Popen(
            [sys.executable, "-m", "django", "qcluster"],
            cwd=settings.BASE_DIR,
            env=env,
            start_new_session=True,
            preexec_fn=die_with_parent,
        )
        self._started = time.monotonic()
        self._asked = 0.0
        now = timezone.now()
        row, made = Heartbeat.objects.get_or_create(pk=self.name, defaults={"at": now, "started_at": now})
        if not made:
            Heartbeat.objects.filter(pk=self.name).update(
                at=now, started_at=now, restarts=row.restarts + 1, reason=reason[:200]
            )

    def _sick(self) -> str:
        """Why the cluster must be replaced, or ""."""
        assert self.child
        if self.child.poll() is not None:
            return f"its main process ended with {self.child.returncode}"
        try:
            # Asked again only after an answer, or after a third of the limit: a jammed queue is not filled up.
            if time.monotonic() - self._asked > self.limit_s / 3:
                self._asked = time.monotonic()
                self._heartbeat()
            at = Heartbeat.objects.values_list("at", flat=True).get(pk=self.name)
        except (DatabaseError, Heartbeat.DoesNotExist):
            # Without the database no worker can beat; restarting it would not help.
            close_old_connections()
            self._started = time.monotonic()
            return ""
        age = (timezone.now() - at).total_seconds()
        if age > self.limit_s and time.monotonic() - self._started > self.limit_s:
            return f"no task was finished for {age:.0f} s"
        return ""

    def _end(self, grace_s: float) -> None:
        """SIGTERM to the main process, a grace, then SIGKILL to the whole group."""
        if self.child is None:
            return
        if self.child.poll() is None:
            self.child.terminate()
            try:
                self.child.wait(grace_s)
            except subprocess.TimeoutExpired:
                pass
        try:
            os.killpg(self.child.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self.child.wait()

    def _forget(self) -> None:
        try:
            Heartbeat.objects.filter(pk=self.name).delete()
        except DatabaseError:
            pass
