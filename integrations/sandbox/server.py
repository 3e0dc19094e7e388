"""Stand-in vendors over real HTTP: the registry, the control routes, the call log, starting and stopping.

A vendor is a class with the methods of `Vendor`. Control routes (`/_sandbox/...`, JSON, no log-in, loopback only)
are the same for every vendor:

| route | body | answers |
|---|---|---|
| POST seed | customers, sales, locations, seed, days, rate, blank_payments and the vendor's own switches | counts |
| POST wipe | | counts; locations, staff and products stay |
| POST sell | phone or customer_id, location, lines, discount, transaction, at (all optional) | the sale |
| POST late | as sell, `minutes_ago` instead of `at` | the sale |
| POST refund | id, lines `[{"line": 1, "quantity": 1}]` (absent: whatever is left) | the refund |
| POST edit | customer_id and fields | the customer |
| POST trade | count | the new sales |
| POST expire | | log-in tokens handed out so far stop working |
| POST faults | match, kind, times, seconds, location, method; or `{"clear": true}` | the faults in force |
| POST till | action, phone, ... (see `till.py`; by hand: the vendor's own) | what our API said |
| GET calls?since= | a sequence number (later ones) or an ISO time | rows of seq, at, method, path, query, status |
| GET state?rows=1 | | per stream count and sha256, with rows=1 the lines behind it |
| GET credentials | | what a merchant would type into the card |
"""

import importlib
import json
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from typing import Any, Protocol
from urllib.parse import parse_qs

from integrations.sandbox.faults import BadFault, Fault, Faults
from integrations.sandbox.till import Till
from integrations.sandbox.wire import Broken, Refused, Request, Response, Server

SANDBOXES = {
    "cova": "integrations.sandbox.cova:Cova",
    "clover": "integrations.sandbox.clover:Clover",
    "partner": "integrations.sandbox.partner:Partner",
}
LOG_LIMIT = 200_000


class Vendor(Protocol):
    """What a stand-in offers. Bodies are plain dictionaries; a wish that cannot be met raises `Refused`.

    `switches` are the options of the command line that its seed takes. `by_hand` answers the till where no till talks
    to us. `hold` stands around a whole call, outside the lock, and may refuse it. `shift` puts a row before a list's.
    """

    switches: frozenset[str]
    by_hand: Callable[[dict[str, Any]], dict[str, Any]] | None

    def hold(self, request: Request) -> AbstractContextManager[Response | None]: ...
    def shift(self, request: Request) -> None: ...
    def answer(self, request: Request) -> Response: ...
    def applies(self, fault: Fault, request: Request) -> bool: ...
    def refuse(self, kind: str, request: Request, *, seconds: float | None = None) -> Response: ...
    def installed(self, fault: Fault) -> None: ...
    def seed(self, **asked: Any) -> dict[str, Any]: ...
    def wipe(self) -> dict[str, Any]: ...
    def sell(self, body: dict[str, Any]) -> dict[str, Any]: ...
    def refund(self, body: dict[str, Any]) -> dict[str, Any]: ...
    def edit(self, body: dict[str, Any]) -> dict[str, Any]: ...
    def trade(self, count: int) -> list[dict[str, Any]]: ...
    def expire(self) -> None: ...
    def state(self, *, rows: bool) -> dict[str, Any]: ...
    def credentials(self) -> dict[str, Any]: ...


class Sandbox:
    """One vendor with its faults, its call log and its till. `lock` guards the vendor's data."""

    def __init__(self, name: str, vendor: Vendor) -> None:
        self.name = name
        self.vendor = vendor
        self.faults = Faults()
        self.calls: deque[tuple[int, float, str, str, str, int]] = deque(maxlen=LOG_LIMIT)
        self.lock = threading.RLock()
        self.stopping = threading.Event()
        self.till = Till(self._sell)
        self._seq = 0
        self._control = {
            "seed": lambda body: self.vendor.seed(**body),
            "wipe": lambda body: self.vendor.wipe(),
            "sell": self.vendor.sell,
            "late": self._late,
            "refund": self.vendor.refund,
            "edit": self.vendor.edit,
            "trade": lambda body: self.vendor.trade(int(body.get("count", 1))),
            "expire": lambda body: self.vendor.expire() or {},
            "faults": self._set_fault,
        }
        if vendor.by_hand is not None:
            self._control["till"] = vendor.by_hand

    def answer(self, request: Request) -> Response | Broken:
        if request.path.startswith("/_sandbox/"):
            return self._controlled(request)
        with self.vendor.hold(request) as refusal:
            if refusal is not None:
                with self.lock:
                    return self._log(request, refusal)
            with self.lock:
                fault = self.faults.find(request, self.vendor.applies)
                answer = self.faults.before(fault, self.vendor, request) if fault else None
                if answer is None:
                    answer = self.faults.after(fault, self.vendor, request, self.vendor.answer(request))
                self._log(request, answer)
            if isinstance(answer, Response) and answer.delay > 0:  # without the lock, still counted as under way
                self.stopping.wait(answer.delay)
        return answer

    def _log(self, request: Request, answer: Response | Broken) -> Response | Broken:
        self._seq += 1
        status = answer.status if isinstance(answer, Response) else 0
        self.calls.append((self._seq, time.time(), request.method, request.path, request.query, status))
        return answer

    def trade(self, count: int) -> list[dict[str, Any]]:
        with self.lock:
            return self.vendor.trade(count)

    def _sell(self, body: dict[str, Any]) -> dict[str, Any]:
        with self.lock:
            return self.vendor.sell(body)

    def _controlled(self, request: Request) -> Response:
        if not (request.client.startswith("127.") or request.client == "::1"):
            return _json({"message": "Control routes answer on loopback only"}, 403)
        action = request.path[len("/_sandbox/") :].strip("/")
        try:
            if request.method == "GET":
                return self._look(action, parse_qs(request.query, keep_blank_values=True))
            if request.method != "POST":
                raise Refused(405, "GET or POST")
            body = json.loads(request.body or b"{}")
            if not isinstance(body, dict):
                raise Refused(400, "The body is a JSON object")
            if (
                action == "till" and self.vendor.by_hand is None
            ):  # without the lock: our API may call this sandbox while it answers the till
                return _json(self.till.act(body))
            if action not in self._control:
                raise Refused(404, f"No control route {action!r}")
            with self.lock:
                return _json(self._control[action](body))
        except Refused as refusal:
            return _json({"message": refusal.message}, refusal.status)
        except (BadFault, KeyError, TypeError, ValueError) as refusal:
            return _json({"message": f"{type(refusal).__name__}: {refusal}"}, 400)

    def _look(self, action: str, query: dict[str, list[str]]) -> Response:
        with self.lock:
            if action == "state":
                return _json(self.vendor.state(rows=query.get("rows", ["0"])[0] not in ("", "0")))
            if action == "credentials":
                return _json(self.vendor.credentials())
            if action == "faults":
                return _json([fault.row() for fault in self.faults.active])
            if action != "calls":
                raise Refused(404, f"No control route {action!r}")
            calls = list(self.calls)
        return _json(_since(calls, query.get("since", [""])[0]))

    def _late(self, body: dict[str, Any]) -> dict[str, Any]:
        at = time.time() - 60 * float(body.pop("minutes_ago"))
        return self.vendor.sell({**body, "at": datetime.fromtimestamp(at, UTC).isoformat()})

    def _set_fault(self, body: dict[str, Any]) -> list[dict[str, Any]]:
        fault = self.faults.set(body)
        if fault is not None:
            self.vendor.installed(fault)
        return [fault.row() for fault in self.faults.active]


class Running:
    """A sandbox that listens in threads of this process."""

    def __init__(self, sandbox: Sandbox, server: Server, trade_every: float) -> None:
        self.sandbox = sandbox
        self.vendor = sandbox.vendor
        self.url = server.url
        self.port = server.server_address[1]
        self._server = server
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True, name=f"sandbox-{sandbox.name}").start()
        if trade_every > 0:
            threading.Thread(target=self._trade, args=(trade_every,), daemon=True).start()

    def _trade(self, every: float) -> None:
        while not self._server.stopping.wait(every):
            self.sandbox.trade(1)

    def stop(self) -> None:
        self.sandbox.stopping.set()
        self._server.stop()

    def __enter__(self) -> "Running":
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


def vendor_class(name: str) -> Any:
    """The class behind a name of `SANDBOXES`."""
    module, _, attribute = SANDBOXES[name].partition(":")
    return getattr(importlib.import_module(module), attribute)


def start(name: str, *, host: str = "127.0.0.1", port: int = 0, trade_every: float = 0, **seed: Any) -> Running:
    """Starts the named sandbox in threads; `.url`, `.stop()`, or use it in a `with`. `seed` as in the control route."""
    vendor = vendor_class(name)()
    vendor.seed(**seed)
    sandbox = Sandbox(name, vendor)
    return Running(sandbox, Server(host, port, sandbox.answer), trade_every)


def _since(calls: list[tuple[int, float, str, str, str, int]], since: str) -> list[dict[str, Any]]:
    if since.isdigit():
        first = int(since)
        calls = [call for call in calls if call[0] > first]
    elif since:
        at = datetime.fromisoformat(since.replace(" ", "+"))  # an unescaped "+00:00" arrives as a blank
        moment = (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp()
        calls = [call for call in calls if call[1] >= moment]
    return [
        {
            "seq": seq,
            "at": datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "method": method,
            "path": path,
            "query": query,
            "status": status,
        }
        for seq, at, method, path, query, status in calls
    ]


def _json(document: Any, status: int = 200) -> Response:
    return Response(status, json.dumps(document).encode())
