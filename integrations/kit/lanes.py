"""Reading in several lanes at once: each reader in a thread of its own, its pages handed over as they come.

A lane speaks HTTP and nothing else. Whoever pulls lands pages and keeps leases in his own thread meanwhile: there are
database connections, and what they hold, by thread.
"""

import threading
from collections.abc import Callable, Iterable, Iterator
from queue import Empty, Full, Queue
from typing import Any, TypeVar

T = TypeVar("T")
_here = threading.local()
_LOOK_S = 0.2


def in_lane() -> bool:
    """Whether this thread is a lane."""
    return getattr(_here, "stop", None) is not None


def stopping() -> bool:
    """Whether this thread is a lane that shall end."""
    stop = getattr(_here, "stop", None)
    return stop is not None and stop.is_set()


def merged(readers: Iterable[Iterator[T]], *, keep: Callable[[], None] = lambda: None, waiting: int = 4) -> Iterator[T]:
    """What the readers yield, in the order in which it comes; of each reader in its own order.

    At most `waiting` things are held ready besides one in the hand of each reader. `keep` is called in the caller's
    thread whenever he asks, and while he waits. The first error of a reader is raised at its place and ends the
    others. Closing the generator waits for the calls under way.
    """
    queue: Queue[tuple[str, Any]] = Queue(maxsize=max(1, waiting))
    stop = threading.Event()

    def put(kind: str, thing: Any) -> bool:
        while not stop.is_set():
            try:
                queue.put((kind, thing), timeout=_LOOK_S)
                return True
            except Full:
                continue
        return False

    def run(reader: Iterator[T]) -> None:
        _here.stop = stop
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
