"""How much work the database's processes did, in seconds of one core: what a busy machine cannot blur (Linux only)."""

import os
from pathlib import Path

TICKS = os.sysconf("SC_CLK_TCK")


def _of(pid: int, *, with_children: bool = False) -> float:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return sum(int(number) for number in fields[11 : 15 if with_children else 13]) / TICKS


def of_backend(pid: int) -> float:
    """One connection's process."""
    return _of(pid)


def of_server(postmaster: int) -> float:
    """The whole server: the processes there are, and those that have ended (parallel workers)."""
    try:
        children = Path(f"/proc/{postmaster}/task/{postmaster}/children").read_text().split()
    except OSError:
        return 0.0
    return _of(postmaster, with_children=True) + sum(_of(int(child)) for child in children)
