"""Reading in several lanes at once: each reader in a thread of its own, its pages handed over as they come.

A lane speaks HTTP and nothing else. Whoever pulls lands pages and keeps leases in his own thread meanwhile: there are
database connections, and what they hold, by thread.
"""

import threading
import time
from collections.abc import Callable, Iterable, Iterator
from queue import Empty, Full, Queue
from typing import Any, TypeVar

T = TypeVar("T")
_here = threading.local()
_LOOK_S = 0.2
LOOKED_S = 1.0


def in_lane() -> bool:
    """Whether this thread is a lane."""
    return getattr(_here, "stop", None) is not None


def stopping() -> bool:
    """Whether this thread is a lane that shall end."""
    stop = getattr(_here, "stop", None)
    return stop is not None and stop.is_set()


def hold() -> None:
    """Before a call, in a lane: wait while whoever pulls has not looked for a second whether there may be more calls.

    He lands a page meanwhile, or waits for the database: a source may have been frozen since.
    """
    looked = getattr(_here, "looked", None)
    while looked is not None and not stopping() and time.monotonic() - looked[0] > LOOKED_S:
        time.sleep(0.01)


def merged(readers: Iterable[Iterator[T]], *, keep: Callable[[], None] = lambda: None, waiting: int = 4) -> Iterator[T]:
    """What the readers yield, in the order in which it comes; of each reader in its own order.

    At most `waiting` things are held ready besides one in the hand of each reader. `keep` is called in the caller's
    thread whenever he asks, and while he waits; what it raises ends the lanes. The first error of a reader is raised at
    its place and ends the others. Closing the generator waits for the calls under way.
    """
    queue: Queue[tuple[str, Any]] = Queue(maxsize=max(1, waiting))
    stop = threading.Event()
    looked = [time.monotonic()]

    def put(kind: str, thing: Any) -> bool:
        while not stop.is_set():
            try:
                queue.put((kind, thing), timeout=_LOOK_S)
                return True
            except Full:
                continue
        return False

    def run(reader: Iterator[T]) -> None:
        _here.stop, _here.looked = stop, looked
        try:
            for thing in reader:
                if not put("page", thing):
                    return
            put("end", None)
        except BaseException as error:  # raised again where somebody can act on it
            put("error", error)

    lanes = [threading.Thread(target=run, args=(reader,), daemon=True) for reader in readers]
    for lane in lanes:
        lane.start()
    try:
        left = len(lanes)
        while left:
            keep()
            looked[0] = time.monotonic()
            try:
                kind, thing = queue.get(timeout=_LOOK_S)
            except Empty:
                continue
            if kind == "end":
                left -= 1
            elif kind == "error":
                raise thing
            else:
                yield thing
    finally:
        stop.set()
        for lane in lanes:
            lane.join(30)
