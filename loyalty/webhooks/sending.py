"""What is due is sent: claimed for the length of a lease, posted beside the others, and written down.

Any number of senders may run. Who is killed in the middle leaves a claim that runs out: it is sent again under the same
`webhook-id`. A slow receiver holds its own turns and nobody else's: at most four calls at once go to one endpoint, one
while it fails, and none while it is given a rest.
"""

import random
import uuid
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
from django.db import connection, transaction
from django.db.models import Q
from django.utils import timezone

from integrations.kit.addresses import Resolve

from ..models import DeliveryState, EndpointState, WebhookAttempt, WebhookDelivery, WebhookEndpoint
from . import calling, signing

# After each failed try; the tenth is the last, after 3 days and 4 hours.
SCHEDULE = tuple(
    timedelta(seconds=s)
    for s in (5, 300, 1800, 2 * 3600, 5 * 3600, 10 * 3600, 14 * 3600, 20 * 3600, 24 * 3600)
)  # fmt: skip
JITTER = 0.1  # of a wait, more or less
LEASE = timedelta(seconds=60)  # more than a call may take
WORKERS = 16
AT_ONCE = 4  # calls to one endpoint
REST_AFTER = 3  # failures in a row; then the whole endpoint rests, 10 s at first
LONGEST_REST = timedelta(minutes=5)
FAILING_AFTER = timedelta(days=3)
PAUSED_AFTER = timedelta(days=5)

_TURNS = """
SELECT e.id FROM loyalty_webhookendpoint e
WHERE e.state IN ('on', 'failing') AND (e.hold_until IS NULL OR e.hold_until <= %(now)s)
  AND EXISTS (SELECT FROM loyalty_webhookdelivery d
              WHERE d.endpoint_id = e.id AND d.state IN ('waiting', 'sending') AND d.next_at <= %(now)s)
ORDER BY e.served_at NULLS FIRST, e.id LIMIT %(free)s
FOR NO KEY UPDATE SKIP LOCKED
"""
# A statement of its own: it has to see what was claimed before the endpoint was held.
_CLAIM = """
WITH served AS (
    UPDATE loyalty_webhookendpoint SET served_at = %(now)s WHERE id = ANY(%(endpoints)s) RETURNING id, failures
), due AS (
    SELECT x.id FROM served e CROSS JOIN LATERAL (
        SELECT d.id FROM loyalty_webhookdelivery d
        WHERE d.endpoint_id = e.id AND d.state IN ('waiting', 'sending') AND d.next_at <= %(now)s
        ORDER BY d.next_at, d.id
        LIMIT greatest(0, CASE WHEN e.failures = 0 THEN %(at_once)s ELSE 1 END - (
            SELECT count(*) FROM loyalty_webhookdelivery b
            WHERE b.endpoint_id = e.id AND b.state = 'sending' AND b.next_at > %(now)s))
    ) x LIMIT %(free)s
)
UPDATE loyalty_webhookdelivery d SET state = 'sending', token = %(token)s, tries = d.tries + 1, next_at = %(until)s
FROM due, loyalty_webhookevent v, loyalty_webhookendpoint w
WHERE d.id = due.id AND v.id = d.event_id AND w.id = d.endpoint_id
  AND NOT EXISTS (SELECT FROM loyalty_persona p WHERE p.id = v.persona_id AND p.erased_at IS NOT NULL)
RETURNING d.id, d.account_id, d.endpoint_id, d.tries, v.public_id, v.kind, v.payload, v.at, w.url
"""


@dataclass(frozen=True, slots=True)
class Claim:
    """A delivery that is ours to send until its lease is over."""

    pk: int
    account_id: int
    endpoint_id: int
    tries: int
    message_id: str
    body: bytes
    url: str
    secrets: tuple[str, ...]
    token: str


def message_id(public_id: uuid.UUID) -> str:
    return f"msg_{public_id.hex}"


def body_of(*, kind: str, at: datetime, payload: dict[str, Any]) -> bytes:
    """The bytes that are signed and sent: the same for each try."""
    when = at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    return orjson.dumps({"type": kind, "timestamp": when, "data": payload}, option=orjson.OPT_SORT_KEYS)


def claim(*, now: datetime, free: int) -> list[Claim]:
    """Take at most `free` of what is due, a fair share of each endpoint."""
    token = uuid.uuid4().hex
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(_TURNS, {"now": now, "free": free})
        endpoints = [row[0] for row in cursor.fetchall()]
        if not endpoints:
            return []
        cursor.execute(
            _CLAIM,
            {"now": now, "free": free, "at_once": AT_ONCE, "token": token, "until": now + LEASE,
             "endpoints": endpoints},
        )  # fmt: skip
        rows = cursor.fetchall()
        keys = {
            one.pk: secrets_of(one, now) for one in WebhookEndpoint.unscoped.filter(pk__in={row[2] for row in rows})
        }
    return sorted(
        (
            Claim(pk, account_id, endpoint_id, tries, message_id(public_id),
                  body_of(kind=kind, at=at, payload=payload if isinstance(payload, dict) else orjson.loads(payload)),
                  url, keys[endpoint_id], token)
            for pk, account_id, endpoint_id, tries, public_id, kind, payload, at, url in rows
        ),
        key=lambda one: one.pk,
    )  # fmt: skip


def secrets_of(endpoint: WebhookEndpoint, now: datetime) -> tuple[str, ...]:
    """Those that sign at this moment, the new one first."""
    before = endpoint.secrets.get("before")
    overlaps = before and endpoint.before_until and endpoint.before_until > now
    return (endpoint.secrets["now"], before) if overlaps else (endpoint.secrets["now"],)


def send(one: Claim, *, resolve: Resolve | None = None) -> calling.Outcome:
    """The call itself; no database."""
    signed = signing.headers(one.secrets, message_id=one.message_id, body=one.body, now=timezone.now())
    return calling.post(one.url, signed, one.body, resolve=resolve)


def settle(one: Claim, outcome: calling.Outcome, *, now: datetime) -> bool:
    """Write down how it went; False when the claim had run out and somebody else has it by now."""
    with transaction.atomic():
        endpoint = WebhookEndpoint.unscoped.select_for_update(no_key=True).get(pk=one.endpoint_id)
        ours = WebhookDelivery.unscoped.filter(pk=one.pk, token=one.token, state=DeliveryState.SENDING)
        if outcome.taken:
            values: dict[str, Any] = {"state": DeliveryState.DELIVERED, "done_at": now}
        elif outcome.status == 410 or one.tries > len(SCHEDULE):
            values = {"state": DeliveryState.FAILED, "done_at": now}
        else:
            values = {"state": DeliveryState.WAITING, "next_at": now + _wait(one.tries, outcome)}
        kept = ours.update(token="", status=outcome.status, **values)
        WebhookAttempt.unscoped.create(
            account_id=one.account_id, delivery_id=one.pk, at=now, ms=outcome.ms, status=outcome.status,
            response=outcome.response, error=outcome.error or _said(outcome.status),
        )  # fmt: skip
        _judge(endpoint, outcome, now)
    return bool(kept)


def _wait(tries: int, outcome: calling.Outcome) -> timedelta:
    wait = SCHEDULE[tries - 1] * random.uniform(1 - JITTER, 1 + JITTER)
    return max(wait, outcome.retry_after or timedelta(0))


def _said(status: int | None) -> str:
    if status is not None and 300 <= status < 400:
        return "The receiver answered with a redirect, which is not followed: enter the address it leads to."
    if status == 410:
        return "The receiver says that it is gone: the endpoint was switched off."
    return ""


def _judge(endpoint: WebhookEndpoint, outcome: calling.Outcome, now: datetime) -> None:
    """What the answer means for the endpoint, whose row is held."""
    if outcome.taken:
        fresh = endpoint.last_ok_at and now - endpoint.last_ok_at < timedelta(seconds=10)
        if endpoint.failures or endpoint.failing_since or endpoint.state == EndpointState.FAILING or not fresh:
            endpoint.failures, endpoint.failing_since, endpoint.hold_until = 0, None, None
            endpoint.last_ok_at = now
            if endpoint.state == EndpointState.FAILING:
                endpoint.state = EndpointState.ON
            _save(endpoint)
        return
    endpoint.failures = min(endpoint.failures + 1, 10_000)
    endpoint.failing_since = endpoint.failing_since or now
    rest = outcome.retry_after or timedelta(0)
    if endpoint.failures >= REST_AFTER:
        rest = max(rest, min(timedelta(seconds=10) * 2 ** min(endpoint.failures - REST_AFTER, 10), LONGEST_REST))
    endpoint.hold_until = now + rest if rest else None
    if outcome.status == 410:
        switch_off(endpoint, why="Its receiver answered 410 Gone.", now=now)
    elif endpoint.state in (EndpointState.ON, EndpointState.FAILING):
        if now - endpoint.failing_since >= PAUSED_AFTER:
            endpoint.state, endpoint.why = EndpointState.PAUSED, "It had refused everything for five days."
        elif now - endpoint.failing_since >= FAILING_AFTER:
            endpoint.state = EndpointState.FAILING
    _save(endpoint)


def _save(endpoint: WebhookEndpoint) -> None:
    endpoint.save(update_fields=["failures", "failing_since", "hold_until", "last_ok_at", "state", "why"])


def switch_off(endpoint: WebhookEndpoint, *, why: str, now: datetime) -> None:
    """Nothing is kept for it any more. The caller holds and saves the row."""
    endpoint.state, endpoint.why = EndpointState.OFF, why
    WebhookDelivery.unscoped.filter(
        Q(state=DeliveryState.WAITING) | Q(state=DeliveryState.SENDING), endpoint=endpoint
    ).update(state=DeliveryState.DROPPED, token="", done_at=now)


class Courier:
    """Sends beside each other what one thread claims and writes down: the calls themselves know no database."""

    def __init__(self, *, workers: int = WORKERS, resolve: Resolve | None = None) -> None:
        self._workers, self._resolve = workers, resolve
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix="webhook")
        self._under_way: dict[Future[calling.Outcome], Claim] = {}

    def __enter__(self) -> "Courier":
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)

    @property
    def busy(self) -> bool:
        return bool(self._under_way)

    def turn(self, *, now: datetime | None = None) -> int:
        """Write down what came back, send what is due; how many were sent."""
        self._settle(now)
        free = self._workers - len(self._under_way)
        claims = claim(now=now or timezone.now(), free=free) if free else []
        for one in claims:
            self._under_way[self._pool.submit(send, one, resolve=self._resolve)] = one
        return len(claims)

    def rest(self, seconds: float) -> None:
        """Until something came back, or so long."""
        wait(self._under_way, timeout=seconds, return_when=FIRST_COMPLETED)

    def rest_of_it(self, seconds: float) -> None:
        """Nothing new is sent; what is under way is waited for and written down."""
        wait(self._under_way, timeout=seconds)
        self._settle(None)

    def _settle(self, now: datetime | None) -> None:
        for future in [one for one in self._under_way if one.done()]:
            settle(self._under_way.pop(future), future.result(), now=now or timezone.now())


def deliver_due(*, now: datetime | None = None, resolve: Resolve | None = None) -> int:
    """Send all that is due and wait for it; how many calls were made. `now` stands still meanwhile when it is given."""
    count = 0
    with Courier(resolve=resolve) as courier:
        while (sent := courier.turn(now=now)) or courier.busy:
            count += sent
            courier.rest(1)
    return count
