"""Texts about an order, which a program of the merchant's has us send: through the outbox, and never after a no.

They go out at once, by night too: an order on its way is told of now or not at all. Whoever said no, by STOP or
otherwise, gets none; who said nothing may, for the order is what he asked for.
"""

import uuid
from dataclasses import dataclass
from datetime import datetime, timedelta
from math import ceil

from django.db import transaction

from . import consent, messages
from .models import ConsentChannel, ConsentNow, Message

MOST_PARTS = 10  # a carrier bills each
MOST_LETTERS = 1600
LIMITS = ((timedelta(hours=1), 10), (timedelta(days=1), 30))  # for one number
SAME_WITHIN = timedelta(minutes=1)  # the same words again are the caller's second try


class NotSent(Exception):
    """Nothing goes out; the message is a sentence that says why."""


class TooOften(NotSent):
    """The number had its share; `wait_s` seconds from now it may have another."""

    def __init__(self, message: str, wait_s: int) -> None:
        super().__init__(message)
        self.wait_s = wait_s


@dataclass(frozen=True, slots=True)
class Queued:
    message_id: uuid.UUID
    parts: int


def send(*, account_id: int, phone: str, body: str, now: datetime) -> Queued:
    """Put a text into the outbox. `phone` is E.164. Raises NotSent or TooOften, and nothing is kept then."""
    parts = messages.segments(body)
    if parts > MOST_PARTS:
        raise NotSent(f"The text would be billed as {parts} parts; at most {MOST_PARTS} are sent.")
    channel = ConsentChannel.SMS.value
    if not messages.can_ask(channel):
        raise NotSent("No carrier for texts is set up, so nothing was sent.")
    with transaction.atomic():
        # The address's row is held: two calls at once are counted one after the other.
        consent.hold(account_id=account_id, known=[(channel, phone)], now=now)
        if consent.state_of(account_id=account_id, channel=channel, address=phone) in (
            ConsentNow.STOPPED, ConsentNow.OUT,
        ):  # fmt: skip
            raise NotSent("This number has opted out: nothing is sent to it.")
        sent = list(
            Message.unscoped.filter(account_id=account_id, address=phone, channel=channel)
            .filter(purpose=messages.TRANSACTIONAL, created_at__gt=now - LIMITS[-1][0])
            .order_by("-id")
            .values_list("created_at", "body", "key")
        )
        if sent and sent[0][1] == body and now - sent[0][0] < SAME_WITHIN:
            return Queued(uuid.UUID(sent[0][2].removeprefix("sms:")), parts)
        for span, most in LIMITS:
            within = [at for at, _, _ in sent if now - at < span]
            if len(within) >= most:
                wait_s = ceil((within[most - 1] + span - now).total_seconds())
                hours = int(span.total_seconds() // 3600)
                raise TooOften(f"This number had {most} texts within {hours} h. Try again in {wait_s} s.", wait_s)
        made = uuid.uuid4()
        messages.queue(
            account_id=account_id, key=f"sms:{made}", channel=channel, address=phone, purpose=messages.TRANSACTIONAL,
            body=body, persona_id=consent.persona_of(account_id, channel, phone), now=now,
        )  # fmt: skip
    return Queued(made, parts)
