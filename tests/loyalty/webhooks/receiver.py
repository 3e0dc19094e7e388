"""A receiver of webhooks for tests: a real HTTP server on loopback that keeps what it is sent and can be told to fail.

It verifies by hand, from the specification's words, and shares no code with the sender.
"""

import base64
import hashlib
import hmac
import json
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Call:
    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def id(self) -> str:
        return self.headers["webhook-id"]

    @property
    def data(self) -> dict:
        return json.loads(self.body)["data"]

    @property
    def type(self) -> str:
        return json.loads(self.body)["type"]

    def signed_by(self, secret: str) -> bool:
        assert secret.startswith("whsec_")
        key = base64.b64decode(secret[6:])
        said = f"{self.headers['webhook-id']}.{self.headers['webhook-timestamp']}.".encode() + self.body
        want = base64.b64encode(hmac.new(key, said, hashlib.sha256).digest()).decode()
        return any(one == f"v1,{want}" for one in self.headers["webhook-signature"].split(" "))


@dataclass
class Receiver:
    """`answers`: what the next calls get: a status, or (status, headers), "close", or a wait in seconds; then 204."""

    url: str = ""
    calls: list[Call] = field(default_factory=list)
    answers: list = field(default_factory=list)
    always: object = 204
    lock: threading.Lock = field(default_factory=threading.Lock)
    at_once: int = 0
    most_at_once: int = 0
    trickle: bool = False

    @property
    def ids(self) -> list[str]:
        return [one.id for one in self.calls]


@contextmanager
def receiving():
    box = Receiver()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"]))
            with box.lock:
                box.calls.append(Call(self.path, {k.lower(): v for k, v in self.headers.items()}, body))
                answer = box.answers.pop(0) if box.answers else box.always
                box.at_once += 1
                box.most_at_once = max(box.most_at_once, box.at_once)
            try:
                self._answer(answer)
            except OSError:
                pass
            finally:
                with box.lock:
                    box.at_once -= 1

        def _answer(self, answer):
            if isinstance(answer, float):
                time.sleep(answer)
                answer = 204
            if answer == "close":
                self.close_connection = True
                return
            if answer == "trickle":
                self.close_connection = True
                for _ in range(200):
                    self.wfile.write(b"H")
                    self.wfile.flush()
                    time.sleep(0.05)
                return
            status, headers = answer if isinstance(answer, tuple) else (answer, {})
            said = b"" if status == 204 else f"answer {status}".encode()
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(said)))
            self.end_headers()
            self.wfile.write(said)

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    box.url = f"http://127.0.0.1:{server.server_port}/hooks/aiqsync?tenant=7"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield box
    finally:
        server.shutdown()
        server.server_close()
