"""A client of its own process: HTTP/1.1 over kept connections, closed loop or a fixed rate, next to no work per call.

Reads one pickled `Job` from standard input, writes one pickled `Heard` to standard output.
"""

import asyncio
import pickle
import re
import sys
import time
from collections import Counter, deque
from dataclasses import dataclass, field

LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
PATIENCE_S = 10


@dataclass
class Job:
    """`calls[i]` are the requests of connection i. With `rate` all calls are one queue, sent at that many a second."""

    port: int
    calls: list[list[bytes]]
    seconds: float
    rate: float = 0


@dataclass
class Heard:
    seconds: float = 0.0
    done: list[int] = field(default_factory=list)  # of each connection
    latencies: list[float] = field(default_factory=list)
    statuses: Counter = field(default_factory=Counter)
    refused: list[str] = field(default_factory=list)


class Line(asyncio.Protocol):
    """One connection: a call at a time."""

    def __init__(self, heard: Heard, place: int, free) -> None:
        self.heard, self.place, self.free = heard, place, free
        self.buffer = b""

    def connection_made(self, transport) -> None:
        self.transport = transport

    def send(self, call: bytes, since: float) -> None:
        self.since = since
        self.transport.write(call)

    def data_received(self, data: bytes) -> None:
        self.buffer = self.buffer + data if self.buffer else data
        head = self.buffer.find(b"\r\n\r\n")
        if head < 0:
            return
        length = LENGTH.search(self.buffer, 0, head)
        if len(self.buffer) < head + 4 + int(length[1] if length else 0):
            return
        heard, status = self.heard, self.buffer[9:12].decode()
        heard.latencies.append(time.perf_counter() - self.since)
        heard.statuses[status] += 1
        heard.done[self.place] += 1
        if status != "200" and len(heard.refused) < 3:
            heard.refused.append(self.buffer[head + 4 :].decode(errors="replace")[:200])
        self.buffer = b""
        self.free(self)

    def connection_lost(self, error: Exception | None) -> None:
        if not self.heard.seconds:
            self.heard.statuses["lost"] += 1


async def run(job: Job) -> Heard:
    loop, heard = asyncio.get_running_loop(), Heard(done=[0] * len(job.calls))
    over = asyncio.Event()
    flying: set[Line] = set()
    began = time.perf_counter()
    # Closed loop: who is answered sends his next. Fixed rate: who is answered waits, and a call that finds nobody
    # waits; its time counts from when it was due.
    queues = [deque(calls) for calls in job.calls]
    idle: deque[Line] = deque()
    late: deque[tuple[bytes, float]] = deque()

    def send(line: Line, call: bytes, since: float) -> None:
        flying.add(line)
        line.send(call, since)

    def free(line: Line) -> None:
        flying.discard(line)
        now = time.perf_counter()
        if job.rate:
            if late:
                send(line, *late.popleft())
            else:
                idle.append(line)
        elif now - began < job.seconds and queues[line.place]:
            send(line, queues[line.place].popleft(), now)
        if not flying and (now - began >= job.seconds or not any(queues)):
            over.set()

    lines = [
        (await loop.create_connection(lambda place=place: Line(heard, place, free), "127.0.0.1", job.port))[1]
        for place in range(len(job.calls))
    ]
    began = time.perf_counter()
    if job.rate:
        idle.extend(lines)
        everything = [call for calls in job.calls for call in calls]
        for place in range(int(job.seconds * job.rate)):
            due = began + place / job.rate
            if (wait := due - time.perf_counter()) > 0:
                await asyncio.sleep(wait)
            if idle:
                send(idle.popleft(), everything[place], due)
            else:
                late.append((everything[place], due))
        queues.clear()
        if not flying:
            over.set()
    else:
        for line in lines:
            send(line, queues[line.place].popleft(), time.perf_counter())
    try:
        await asyncio.wait_for(over.wait(), job.seconds + PATIENCE_S)
    except TimeoutError:
        heard.statuses["no answer"] += len(flying)
    heard.seconds = time.perf_counter() - began
    for line in lines:
        line.transport.close()
    return heard


if __name__ == "__main__":
    # The module is __main__ here and bench.load for whoever reads the answer.
    from bench import load

    job = pickle.load(sys.stdin.buffer)
    pickle.dump(asyncio.run(load.run(job)), sys.stdout.buffer)
