"""The processes of this checkout, by pid and start time: a pid alone may be somebody else's by now."""

import ctypes
import json
import os
import signal
import sys
from pathlib import Path

import psutil


class Register:
    """A folder with one file a process."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def add(self, name: str, pid: int) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        born = psutil.Process(pid).create_time()
        (self.folder / f"{name}.json").write_text(json.dumps({"pid": pid, "born": born}))

    def remove(self, name: str) -> None:
        (self.folder / f"{name}.json").unlink(missing_ok=True)

    def find(self, name: str) -> psutil.Process | None:
        """The process, if it is still the one that was registered."""
        try:
            known = json.loads((self.folder / f"{name}.json").read_text())
            process = psutil.Process(known["pid"])
            if abs(process.create_time() - known["born"]) < 1 and process.status() != psutil.STATUS_ZOMBIE:
                return process
        except (OSError, ValueError, KeyError, psutil.Error):
            pass
        return None

    def names(self) -> list[str]:
        return sorted(path.stem for path in self.folder.glob("*.json")) if self.folder.exists() else []

    def end_group(self, name: str) -> bool:
        """Kill what a dead process left in its group. While the group lives its number is given to nobody else."""
        try:
            known = json.loads((self.folder / f"{name}.json").read_text())
            if psutil.pid_exists(known["pid"]) and self.find(name) is None and not _zombie(known["pid"]):
                return False  # the number is somebody else's now
            os.killpg(known["pid"], signal.SIGKILL)
            return True
        except (OSError, ValueError, KeyError):
            return False

    def end(self, name: str, *, grace_s: float = 10) -> bool:
        """SIGTERM, a grace, SIGKILL, with everything it started. True when it was running."""
        process = self.find(name)
        if process is None:
            left = self.end_group(name)
            self.remove(name)
            return left
        below = process.children(recursive=True)
        process.send_signal(signal.SIGTERM)
        _, alive = psutil.wait_procs([process], timeout=grace_s)
        for left in [*alive, *below]:
            try:
                if left.is_running():
                    left.kill()
            except psutil.Error:
                pass
        self.end_group(name)
        self.remove(name)
        return True


def _zombie(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.Error:
        return True


def die_with_parent() -> None:
    """For `preexec_fn`: on Linux the new process ends when the one that started it is gone, even by SIGKILL."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGTERM)  # PR_SET_PDEATHSIG
