"""What a case is, how it calls the server, and what it may expect.

A case is a function of a `Session`. It says what it expects with `expect`; what does not hold ends it as failed, `skip`
ends it as not applicable here. Cases run in the order in which they are written, and may use what earlier ones made.
"""

import json
import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NoReturn

import requests

BAD_KEY = "Please provide a valid API key"
# Area codes in use; 555-01xx is nobody's in each of them (NANPA keeps these for fiction).
AREAS = (206, 303, 312, 403, 416, 503, 604, 617, 702, 778, 805, 917)
TIMEOUT_S = 30


class Failed(Exception):
    """The server does otherwise than is documented."""


class Skipped(Exception):
    """The case says nothing about this server."""


def expect(holds: object, otherwise: str) -> None:
    if not holds:
        raise Failed(otherwise)


def skip(why: str) -> NoReturn:
    raise Skipped(why)


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer: `json` is None when the body is no JSON."""

    status: int
    json: Any
    text: str
    headers: dict[str, str]

    @property
    def data(self) -> Any:
        return self.json.get("data") if isinstance(self.json, dict) else None

    @property
    def message(self) -> str:
        errors = self.json.get("errors") if isinstance(self.json, dict) else None
        return str(errors[0].get("message", "")) if isinstance(errors, list) and errors else ""

    def short(self) -> str:
        return f"{self.status} {self.text[:160]}"


@dataclass
class Session:
    """The server, the account, and the people and things of this run."""

    base: str
    uid: str
    key: str
    run: str = field(default_factory=lambda: f"{int(time.time()):x}{random.randrange(16**3):03x}")
    made: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.base = self.base.rstrip("/")
        self.http = requests.Session()
        self.area = random.choice(AREAS)
        self._phones = iter(random.sample(range(100), 100))

    def phone(self) -> str:
        """Ten digits that are nobody's."""
        return f"{self.area}55501{next(self._phones):02}"

    def email(self) -> str:
        return f"conformance-{self.run}-{random.randrange(10**6)}@example.com"

    def call(
        self, method: str, path: str, body: Any = None, *, key: str | None = "", headers: dict[str, str] | None = None,
        raw: bytes | None = None,
    ) -> Answer:  # fmt: skip
        """`path` below /api, or a whole address. `key` None sends none."""
        sent = {} if key is None else {"x-apikey": key or self.key}
        if body is not None or raw is not None:
            sent["Content-Type"] = "application/json"
        data = raw if raw is not None else None if body is None else json.dumps(body).encode()
        address = path if path.startswith("http") else f"{self.base}/api{path}"
        answer = self.http.request(
            method, address, data=data, headers=sent | (headers or {}), timeout=TIMEOUT_S, allow_redirects=False
        )
        try:
            told = answer.json()
        except ValueError:
            told = None
        return Answer(answer.status_code, told, answer.text, dict(answer.headers))

    def ok(self, method: str, path: str, body: Any = None, **options: Any) -> Any:
        """The `data` of a success, which is exactly 200 and in the envelope."""
        answer = self.call(method, path, body, **options)
        expect(answer.status == 200, f"{method} {path}: {answer.short()}")
        in_envelope(answer)
        return answer.data

    def refused(self, method: str, path: str, body: Any = None, *, codes: tuple[int, ...], **options: Any) -> Answer:
        answer = self.call(method, path, body, **options)
        expect(answer.status in codes, f"{method} {path}: {answer.short()}, expected {codes}")
        in_envelope(answer)
        return answer


def in_envelope(answer: Answer) -> None:
    """`code` is the status, `success` says whether it is below 400; a refusal has `errors[0].message`."""
    told = answer.json
    expect(isinstance(told, dict), f"no JSON object: {answer.short()}")
    expect(told.get("code") == answer.status, f"code is {told.get('code')!r}, the status {answer.status}")
    expect(told.get("success") is (answer.status < 400), f"success is {told.get('success')!r} at {answer.status}")
    if answer.status >= 400:
        expect(answer.message, f"errors[0].message is missing: {answer.short()}")
    else:
        expect("errors" not in told or not told["errors"], "errors beside a success")


@dataclass(frozen=True, slots=True)
class Case:
    level: str  # Core, Enhanced, Contacts, Consent, Account
    title: str
    source: str  # section of the wire reference
    play: Callable[[Session], None]


LEVELS = ("Core", "Enhanced", "Contacts", "Consent", "Account")
CASES: list[Case] = []


def case(level: str, title: str, source: str) -> Callable[[Callable[[Session], None]], Callable[[Session], None]]:
    def register(play: Callable[[Session], None]) -> Callable[[Session], None]:
        CASES.append(Case(level, title, source, play))
        return play

    return register


@dataclass(frozen=True, slots=True)
class Result:
    case: Case
    outcome: str  # passed, failed, skipped
    said: str
    ms: int


def play(session: Session, cases: list[Case]) -> list[Result]:
    """Each case once, level by level. A connection that fails is a failure of its case."""
    results = []
    for one in sorted(cases, key=lambda one: LEVELS.index(one.level)):
        started = time.monotonic()
        try:
            one.play(session)
            outcome, said = "passed", ""
        except Skipped as why:
            outcome, said = "skipped", str(why)
        except Failed as why:
            outcome, said = "failed", str(why)
        except requests.RequestException as error:
            outcome, said = "failed", f"no answer: {type(error).__name__}"
        except (KeyError, TypeError, AttributeError, IndexError, ValueError) as error:
            outcome, said = "failed", f"an answer of another shape ({type(error).__name__}: {error})"
        results.append(Result(one, outcome, said, round((time.monotonic() - started) * 1000)))
    return results


def table(results: list[Result]) -> str:
    """A line a case, then the sums."""
    marks = {"passed": "ok", "failed": "FAILED", "skipped": "-"}
    wide = max(len(one.case.title) for one in results)
    lines = [
        f"{number:3}  {one.case.level:8}  {one.case.source:8}  {one.case.title:{wide}}  {marks[one.outcome]:6}"
        f"  {one.ms:5} ms  {one.said}".rstrip()
        for number, one in enumerate(results, 1)
    ]
    sums = {kind: sum(one.outcome == kind for one in results) for kind in marks}
    return "\n".join([*lines, "", ", ".join(f"{count} {kind}" for kind, count in sums.items())])
