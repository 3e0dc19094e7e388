"""A small HTTP/1.1 server: keep-alive, one thread a connection, head and body in one write.

The standard `BaseHTTPRequestHandler` parses headers through `email` and spends more time on that than a sandbox
spends on a page; this one reads the lines itself. It knows no vendor and no fault: an application is
`answer(Request) -> Response | Broken`.
"""

import contextlib
import socket
import socketserver
import struct
import sys
import threading
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

MAX_BODY = 16 * 1024 * 1024
_REASONS = {status.value: status.phrase for status in HTTPStatus}


@dataclass(slots=True)
class Request:
    """One call as received. `path` is without query, still percent-encoded; header names are in lower case."""

    method: str
    path: str
    query: str
    headers: dict[str, str]
    body: bytes
    client: str


@dataclass(slots=True)
class Response:
    """One answer. `headers` are extra ones; length, type and connection are written by the server, a type only when
    there is one. `delay` are seconds that the answer takes."""

    status: int
    body: bytes = b""
    content_type: str = "application/json; charset=utf-8"
    headers: list[tuple[str, str]] = field(default_factory=list)
    delay: float = 0.0

    def render(self, *, close: bool = False) -> bytes:
        """Head and body as one piece: two small packets cost 40 ms under Nagle and delayed acknowledgement."""
        head = [f"HTTP/1.1 {self.status} {_REASONS.get(self.status, 'Unknown')}"]
        if self.content_type:
            head.append(f"Content-Type: {self.content_type}")
        head.append(f"Content-Length: {len(self.body)}")
        head.extend(f"{name}: {value}" for name, value in self.headers)
        if close:
            head.append("Connection: close")
        return "\r\n".join(head).encode("latin-1") + b"\r\n\r\n" + self.body


@dataclass(slots=True)
class Broken:
    """An answer that goes wrong on the wire.

    `kind`: `reset` (connection reset), `cut` (half of the body, then closed), `hang` (held `seconds`, then closed),
    `lost` (closed without an answer).
    """

    kind: str
    response: Response | None = None
    seconds: float = 0.0


class Refused(Exception):
    """A control call that cannot be done; the message says why."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


Answer = Callable[[Request], Response | Broken]


class _BadRequest(Exception):
    pass


class Handler(socketserver.BaseRequestHandler):
    """Serves one connection until the peer closes it or asks to close."""

    server: "Server"

    def handle(self) -> None:
        self.request.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        reader = self.request.makefile("rb", 65536)
        self.server.opened(self.request)
        try:
            while self._one(reader):
                pass
        except (ConnectionError, TimeoutError, OSError, ValueError):
            pass  # the peer is gone, or the server is stopping: nobody is left to tell
        finally:
            self.server.closed(self.request)
            with contextlib.suppress(OSError):
                reader.close()

    def _one(self, reader: Any) -> bool:
        try:
            request, keep = self._read(reader)
        except _BadRequest as refusal:
            body = f'{{"Message": "{refusal}"}}'.encode()
            self.request.sendall(Response(400, body).render(close=True))
            return False
        if request is None:
            return False
        try:
            answer = self.server.answer(request)
        except Exception:  # a defect of the sandbox must show as one, not as a vendor's fault
            traceback.print_exc(file=sys.stderr)
            answer = Response(500, b'{"Message": "The sandbox itself failed; see its standard error."}')
        if isinstance(answer, Broken):
            self._break(answer)
            return False
        self.request.sendall(answer.render(close=not keep))
        return keep

    def _read(self, reader: Any) -> tuple[Request | None, bool]:
        line = reader.readline(65537)
        if not line:
            return None, False
        parts = line.split()
        if len(parts) != 3 or len(line) > 65536:
            raise _BadRequest("Bad request line")
        method, target, version = (part.decode("latin-1") for part in parts)
        headers: dict[str, str] = {}
        while True:
            line = reader.readline(65537)
            if line in (b"\r\n", b"\n", b""):
                break
            name, colon, value = line.partition(b":")
            if not colon or len(headers) > 100:
                raise _BadRequest("Bad header")
            headers[name.strip().lower().decode("latin-1")] = value.strip().decode("latin-1")
        if "transfer-encoding" in headers:
            raise _BadRequest("Transfer-Encoding is not read here; send a Content-Length")
        length = headers.get("content-length", "0")
        if not length.isdigit() or int(length) > MAX_BODY:
            raise _BadRequest("Bad Content-Length")
        if headers.get("expect", "").lower() == "100-continue":
            self.request.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
        body = reader.read(int(length)) if length != "0" else b""
        path, _, query = target.partition("?")
        keep = headers.get("connection", "").lower() != "close" and version == "HTTP/1.1"
        return Request(method, path, query, headers, body, self.client_address[0]), keep

    def _break(self, broken: Broken) -> None:
        if broken.kind == "hang":
            self.server.stopping.wait(broken.seconds)
        elif broken.kind == "cut" and broken.response is not None:
            whole = broken.response.render()
            self.request.sendall(whole[: len(whole) - max(1, len(broken.response.body) // 2)])
        elif broken.kind == "reset":
            # Linger 0 turns close() into a reset instead of an orderly end.
            self.request.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.request.close()


class Server(socketserver.ThreadingTCPServer):
    """Listens on `host`:`port` (0 = any free one) and answers with `answer`."""

    allow_reuse_address = True
    daemon_threads = True
    block_on_close = False
    request_queue_size = 256

    def __init__(self, host: str, port: int, answer: Answer) -> None:
        self.answer = answer
        self.stopping = threading.Event()
        self._open: set[socket.socket] = set()
        self._open_lock = threading.Lock()
        super().__init__((host, port), Handler)

    @property
    def url(self) -> str:
        host, port = self.server_address[:2]
        return f"http://{host}:{port}"

    def opened(self, connection: socket.socket) -> None:
        with self._open_lock:
            self._open.add(connection)

    def closed(self, connection: socket.socket) -> None:
        with self._open_lock:
            self._open.discard(connection)

    def shutdown_request(self, request: Any) -> None:
        # A reset connection is closed already; the base class would complain about it.
        with contextlib.suppress(OSError):
            super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        traceback.print_exc(file=sys.stderr)

    def stop(self) -> None:
        """Stops listening and ends open keep-alive connections, so that a test leaves no thread behind."""
        self.stopping.set()
        self.shutdown()
        self.server_close()
        with self._open_lock:
            left = list(self._open)
        for connection in left:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        deadline = time.monotonic() + 1
        while self._open and time.monotonic() < deadline:
            time.sleep(0.005)
