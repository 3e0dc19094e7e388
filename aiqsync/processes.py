"""The processes of this checkout, by pid and start time: a pid alone may be somebody else's by now."""

import json
import signal
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

    def end(self, name: str, *, grace_s: float = 10) -> bool:
        """SIGTERM, a grace, SIGKILL, with everything it started. True when it was running."""
        process = self.find(name)
        if process is None:
            self.remove(name)
            return False
        below = process.children(recursive=True)
        process.send_signal(signal.SIGTERM)
        _, alive = psutil.wait_procs([process], timeout=grace_s)
        for left in [*alive, *below]:
            try:
                if left.is_running():
                    left.kill()
            except psutil.Error:
                pass
        self.remove(name)
        return True
