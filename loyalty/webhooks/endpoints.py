"""What the merchant does with his webhooks: make, change, pause, a new secret, test, send again, look at the log."""

import uuid
from collections.abc import Collection
from datetime import datetime, timedelta
from typing import Any

from django.db import transaction
from django.db.models import Count, Q, QuerySet

from aiqsync.accounts import audit
from aiqsync.accounts.models import User
from integrations.kit.errors import TryLater

from ..models import DeliveryState, EndpointState, WebhookAttempt, WebhookDelivery, WebhookEndpoint, WebhookEvent
from . import calling, kinds, reading, sending, signing

MOST = 10  # endpoints of an account
OVERLAP = timedelta(hours=24)  # the secret before signs too, so long
MOST_AGAIN = 10_000  # of one "send again"


class Refused(Exception):
    """The message is a sentence for the person who asked; `field` names what it is about."""

    def __init__(self, message: str, field: str = "") -> None:
        super().__init__(message)
        self.message, self.field = message, field


def of(account_id: int) -> list[WebhookEndpoint]:
    """The account's endpoints, oldest first, each with `waiting` and `failed`: how many deliveries."""
    state = "deliveries__state"
    return list(
        WebhookEndpoint.unscoped.filter(account_id=account_id)
        .annotate(
            waiting=Count("deliveries", filter=Q(**{f"{state}__in": [DeliveryState.WAITING, DeliveryState.SENDING]})),
            failed=Count("deliveries", filter=Q(**{state: DeliveryState.FAILED})),
        )
        .order_by("id")
    )


def find(*, account_id: int, pk: int) -> WebhookEndpoint | None:
    return WebhookEndpoint.unscoped.filter(account_id=account_id, pk=pk).first()


def make(
    *, account_id: int, url: str, events: Collection[str], description: str, user: User, now: datetime
) -> tuple[WebhookEndpoint, str]:
    """A new endpoint and its secret, which is shown this once. Raises Refused."""
    url, chosen = _checked(url, events)
    secret = signing.new_secret()
    with transaction.atomic():
        reading.begin()  # one at a time: the limit holds, and it is told from here on
        if WebhookEndpoint.unscoped.filter(account_id=account_id).count() >= MOST:
            raise Refused(f"At most {MOST} webhooks. Delete one that is not used.", "url")
        endpoint = WebhookEndpoint.unscoped.create(
            account_id=account_id, url=url, description=description[:200], events=chosen,
            secrets={"now": secret, "before": None}, created_at=now,
        )  # fmt: skip
        _note("webhook.created", endpoint, user, events=", ".join(chosen))
    return endpoint, secret


def change(*, account_id: int, pk: int, url: str, events: Collection[str], description: str, user: User) -> None:
    """Another address, other events. Raises Refused."""
    url, chosen = _checked(url, events)
    with transaction.atomic():
        endpoint = _held(account_id, pk)
        if (endpoint.url, endpoint.events, endpoint.description) == (url, chosen, description[:200]):
            return
        if endpoint.url != url:  # another receiver: what the one before did says nothing about it
            endpoint.failures, endpoint.failing_since, endpoint.hold_until = 0, None, None
            if endpoint.state in (EndpointState.FAILING, EndpointState.OFF):
                endpoint.state, endpoint.why = EndpointState.ON, ""
        endpoint.url, endpoint.events, endpoint.description = url, chosen, description[:200]
        endpoint.save()
        _note("webhook.changed", endpoint, user, events=", ".join(chosen))


def pause(*, account_id: int, pk: int, user: User) -> None:
    """What happens meanwhile waits, for 30 days."""
    with transaction.atomic():
        endpoint = _held(account_id, pk)
        if endpoint.state in (EndpointState.ON, EndpointState.FAILING):
            endpoint.state, endpoint.why = EndpointState.PAUSED, ""
            endpoint.save(update_fields=["state", "why"])
            _note("webhook.paused", endpoint, user)


def resume(*, account_id: int, pk: int, user: User, now: datetime) -> None:
    """On again, with a clean sheet; what waited is due."""
    with transaction.atomic():
        reading.begin()
        endpoint = _held(account_id, pk)
        if endpoint.state == EndpointState.ON:
            return
        endpoint.state, endpoint.why = EndpointState.ON, ""
        endpoint.failures, endpoint.failing_since, endpoint.hold_until = 0, None, None
        endpoint.save(update_fields=["state", "why", "failures", "failing_since", "hold_until"])
        endpoint.deliveries.filter(state=DeliveryState.WAITING, next_at__gt=now).update(next_at=now)
        _note("webhook.resumed", endpoint, user)


def rotate(*, account_id: int, pk: int, user: User, now: datetime) -> str:
    """A new secret, shown this once. For 24 hours every call is signed with both."""
    with transaction.atomic():
        endpoint = _held(account_id, pk)
        secret = signing.new_secret()
        endpoint.secrets = {"now": secret, "before": endpoint.secrets["now"]}
        endpoint.before_until = now + OVERLAP
        endpoint.save(update_fields=["secrets", "before_until"])
        _note("webhook.secret_changed", endpoint, user)
    return secret


def remove(*, account_id: int, pk: int, user: User) -> None:
    """Gone with its log."""
    with transaction.atomic():
        endpoint = _held(account_id, pk)
        _note("webhook.deleted", endpoint, user)
        WebhookAttempt.unscoped.filter(delivery__endpoint=endpoint)._raw_delete("default")
        WebhookDelivery.unscoped.filter(endpoint=endpoint)._raw_delete("default")
        endpoint.delete()


def test(*, account_id: int, pk: int, now: datetime) -> WebhookDelivery:
    """Queue a test event for this endpoint alone. Raises Refused when it is not sent to at the moment."""
    with transaction.atomic():
        endpoint = _held(account_id, pk)
        if endpoint.state in (EndpointState.PAUSED, EndpointState.OFF):
            raise Refused("It is switched off at the moment: resume it first.")
        if endpoint.hold_until and endpoint.hold_until > now:  # whoever presses the button has mended something
            endpoint.hold_until = None
            endpoint.save(update_fields=["hold_until"])
        event = WebhookEvent.unscoped.create(
            account_id=account_id, key=f"test:{uuid.uuid4().hex}", kind=kinds.TEST, at=now, created_at=now,
            payload={"endpoint": endpoint.pk, "note": "Sent by the test button. Nothing happened."},
        )  # fmt: skip
        return WebhookDelivery.unscoped.create(
            account_id=account_id, event=event, endpoint=endpoint, next_at=now, created_at=now
        )


def again(*, account_id: int, delivery: int, user: User, now: datetime) -> None:
    """Send one once more, under the same webhook-id. Raises Refused."""
    with transaction.atomic():
        found = (
            WebhookDelivery.unscoped.select_related("endpoint", "event")
            .filter(account_id=account_id, pk=delivery).first()
        )  # fmt: skip
        if found is None:
            raise Refused("There is no such delivery any more.")
        endpoint = _held(account_id, found.endpoint_id)
        _replay(WebhookDelivery.unscoped.filter(pk=found.pk), endpoint, now)
        _note("webhook.sent_again", endpoint, user, event=found.event.kind)


def again_since(*, account_id: int, pk: int, since: datetime, user: User, now: datetime) -> int:
    """Send once more what failed since then, the oldest first; how many."""
    with transaction.atomic():
        endpoint = _held(account_id, pk)
        failed = WebhookDelivery.unscoped.filter(endpoint=endpoint, state=DeliveryState.FAILED, created_at__gte=since)
        count = _replay(failed.order_by("id")[:MOST_AGAIN], endpoint, now)
        if count:
            _note("webhook.sent_again", endpoint, user, count=count)
    return count


def _replay(chosen: QuerySet[WebhookDelivery], endpoint: WebhookEndpoint, now: datetime) -> int:
    """A removed person's stay dropped: nothing of them is told again."""
    if endpoint.state == EndpointState.OFF:
        raise Refused("Its receiver is gone: enter its new address, or resume it first.")
    ids = list(chosen.values_list("pk", flat=True))
    endpoint.hold_until = None
    endpoint.save(update_fields=["hold_until"])
    return (
        WebhookDelivery.unscoped.filter(pk__in=ids)
        .exclude(state__in=[DeliveryState.SENDING, DeliveryState.DROPPED])
        .update(state=DeliveryState.WAITING, tries=0, next_at=now, token="", done_at=None)
    )


def log(
    *, endpoint: WebhookEndpoint, state: str = "", before: int | None = None, limit: int = 50
) -> list[WebhookDelivery]:
    """Deliveries, the newest first, with their events; `state` chooses, `before` pages by id. One more than `limit`."""
    found = WebhookDelivery.unscoped.filter(endpoint=endpoint)
    if state == "waiting":
        found = found.filter(state__in=[DeliveryState.WAITING, DeliveryState.SENDING])
    elif state:
        found = found.filter(state=state)
    if before:
        found = found.filter(pk__lt=before)
    return list(found.select_related("event").order_by("-id")[: limit + 1])


def delivery(*, account_id: int, pk: int) -> WebhookDelivery | None:
    """With its event and endpoint."""
    found = WebhookDelivery.unscoped.filter(account_id=account_id, pk=pk)
    return found.select_related("event", "endpoint").first()


def tries(found: WebhookDelivery) -> list[WebhookAttempt]:
    """The latest fifty, the last one first."""
    return list(WebhookAttempt.unscoped.filter(delivery=found).order_by("-id")[:50])


def shown(found: WebhookDelivery) -> dict[str, Any]:
    """What is sent: id and body as text."""
    event = found.event
    body = sending.body_of(kind=event.kind, at=event.at, payload=event.payload)
    return {"id": sending.message_id(event.public_id), "body": body.decode()}


def _checked(url: str, events: Collection[str]) -> tuple[str, list[str]]:
    url = url.strip()
    try:
        calling.checked(url)
    except calling.BadAddress as refusal:
        raise Refused(refusal.message, "url") from None
    except TryLater as refusal:
        raise Refused(refusal.message, "url") from None
    chosen = [kind for kind in kinds.KINDS if kind in events]
    if not chosen:
        raise Refused("Choose at least one event.", "events")
    return url, chosen


def _held(account_id: int, pk: int) -> WebhookEndpoint:
    found = WebhookEndpoint.unscoped.select_for_update(no_key=True).filter(account_id=account_id, pk=pk).first()
    if found is None:
        raise Refused("There is no such webhook any more.")
    return found


def _note(act: str, endpoint: WebhookEndpoint, user: User, **detail: Any) -> None:
    audit.record(act=act, target=endpoint.url, user=user, detail={"webhook": endpoint.pk, **detail})
