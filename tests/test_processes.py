"""What the demo started is ended whole, also when the process at its head was killed before."""

import signal
import subprocess
import time

import psutil
import pytest

from aiqsync.processes import Register


@pytest.fixture
def head():
    """A process in a session of its own, with a child."""
    process = subprocess.Popen(["sh", "-c", "sleep 60 & sleep 60"], start_new_session=True)
    end = time.monotonic() + 60
    while not psutil.Process(process.pid).children() and time.monotonic() < end:
        time.sleep(0.02)
    yield process
    process.kill()
    process.wait()


def gone(process: psutil.Process) -> bool:
    _, alive = psutil.wait_procs([process], timeout=60)
    return not alive or alive[0].status() == psutil.STATUS_ZOMBIE


@pytest.mark.parametrize("killed_before", [False, True])
def test_nothing_is_left(tmp_path, head, killed_before):
    register = Register(tmp_path)
    register.add("web", head.pid)
    children = psutil.Process(head.pid).children(recursive=True)
    assert children
    if killed_before:
        head.send_signal(signal.SIGKILL)
        head.wait()
    assert register.end("web", grace_s=20)
    assert all(gone(child) for child in children)
    assert register.names() == []


def test_a_number_that_is_somebody_elses_is_left_alone(tmp_path, head):
    register = Register(tmp_path)
    (tmp_path / "web.json").write_text(f'{{"pid": {head.pid}, "born": 1.0}}')
    assert not register.end("web")
    assert head.poll() is None
