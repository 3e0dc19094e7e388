"""The outbox: messages are rows written beside what caused them, and sent afterwards, each once.

What may be sent is asked again at the moment of sending: a STOP that came meanwhile cancels. Carriers are back ends by
channel (`MESSAGE_BACKENDS`); `local` keeps the message for the outbox page and sends nothing anywhere.
"""

import logging
from collections.abc import Callable, Sequence
from datetime import datetime, time, timedelta
from zoneinfo import ZoneInfo

from django.conf import settings
from django.db import IntegrityError, connection, transaction
from django.db.models import F, Q

from . import addresses
from .models import ConsentNow, ConsentState, Message, MessageState, Persona

log = logging.getLogger("loyalty.messages")

OPT_IN, OPT_IN_ENROLS, CONFIRM, PIN, STOPPED, HELP, NOTICE, TRANSACTIONAL = (
    "opt_in", "opt_in_enrols", "confirm", "pin", "stopped", "help", "notice", "transactional",
)  # fmt: skip

# What an address must have said for each purpose. A code is asked for by the shopper at the counter; the answers to
# STOP and HELP are owed to whoever sent them.
_MAY: dict[str, frozenset[str]] = {
    OPT_IN: frozenset({ConsentNow.REQUESTED}),
    OPT_IN_ENROLS: frozenset({ConsentNow.REQUESTED}),
    CONFIRM: frozenset({ConsentNow.IN}),
    NOTICE: frozenset({ConsentNow.IN}),
    PIN: frozenset(ConsentNow.values) - {ConsentNow.STOPPED},
    TRANSACTIONAL: frozenset(ConsentNow.values) - {ConsentNow.STOPPED, ConsentNow.OUT},
    STOPPED: frozenset(ConsentNow.values),
    HELP: frozenset(ConsentNow.values),
}
_WAITS_FOR_DAY = frozenset({OPT_IN, OPT_IN_ENROLS, NOTICE})
QUIET_FROM, QUIET_UNTIL = time(21), time(8)  # the shopper's evening and night, by the shop's clock

MOST_ATTEMPTS = 5
BACK_OFF = timedelta(minutes=2)
LOST_AFTER = timedelta(minutes=2)
PIN_GONE_AFTER = timedelta(minutes=5)


class TryLater(Exception):
    """The carrier did not take it now."""


class Impossible(Exception):
    """The carrier will never take it; the text says why."""


def local(message: Message) -> str:
    """Keeps the message here: the outbox page shows it. Nothing leaves the machine."""
    return f"local-{message.pk}"


BACKENDS: dict[str, Callable[[Message], str]] = {"local": local}


def question(name: str, *, enrols: bool) -> str:
    """The double opt-in's text. It names the shop, what a yes means, and how to end it; no product is mentioned."""
    joins = f"Reply YES to join the {name} loyalty programme and get its" if enrols else f"Reply YES to get {name}"
    return f"{joins} messages. Consent is no condition of purchase. Rates may apply. STOP ends, HELP helps."


def is_carried(channel: str) -> bool:
    """Whether a carrier takes the channel's messages; otherwise they stay here."""
    name = settings.MESSAGE_BACKENDS.get(channel, "local")
    return name != "local" and name in BACKENDS


def can_ask(channel: str) -> bool:
    """Whether many people may be asked at once. Without a carrier only where nobody is real (a demo, a trial): there
    the texts are answered by hand; elsewhere people would count as asked who never were.
    """
    return is_carried(channel) or not settings.PRODUCTION


# The GSM alphabet's plain letters; a text with any other is sent in UCS-2, where a part holds fewer.
_GSM = frozenset(
    "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿"
    "abcdefghijklmnopqrstuvwxyzäöñüà"
)
_GSM_TWICE = frozenset("^{}\\[~]|€")


def segments(body: str) -> int:
    """The parts a carrier bills a text as: 160 letters, or 153 each of several; 70 and 67 outside the GSM alphabet."""
    if set(body) <= _GSM | _GSM_TWICE:
        length, one, many = len(body) + sum(letter in _GSM_TWICE for letter in body), 160, 153
    else:
        length, one, many = len(body.encode("utf-16-le")) // 2, 70, 67
    return 1 if length <= one else -(-length // many)


# Where the shopper is: his favourite store, chosen by hand, else the one he mostly buys in. A store without a zone of
# its own is in the company's, and so is who has no store.
_ZONES = """
SELECT p.id, coalesce(nullif(f.timezone, ''), a.timezone)
FROM loyalty_persona p JOIN accounts_account a ON a.id = p.account_id
LEFT JOIN stores_store f ON f.id = coalesce(p.favourite_store_id, p.usual_store_id)
WHERE p.account_id = %s AND p.id = ANY(%s)
"""


def zones_of(*, account_id: int, persona_ids: Sequence[int]) -> dict[int, str]:
    """The time zone whose quiet hours count for each of these."""
    with connection.cursor() as cursor:
        cursor.execute(_ZONES, [account_id, list(persona_ids)])
        return dict(cursor.fetchall())


def next_allowed(now: datetime, zone: str) -> datetime:
    """`now`, or the end of the quiet hours it falls into."""
    local_now = now.astimezone(ZoneInfo(zone))
    if QUIET_UNTIL <= local_now.time() < QUIET_FROM:
        return now
    day = local_now.date() + timedelta(days=local_now.time() >= QUIET_FROM)
    return datetime.combine(day, QUIET_UNTIL, ZoneInfo(zone))


def queue(
    *,
    account_id: int,
    key: str,
    channel: str,
    address: str,
    purpose: str,
    body: str,
    now: datetime,
    subject: str = "",
    persona_id: int | None = None,
) -> Message:
    """Put a message into the outbox, once for each key."""
    from aiqsync.accounts.models import Account

    not_before = now
    if purpose in _WAITS_FOR_DAY:
        zone = zones_of(account_id=account_id, persona_ids=[persona_id]).get(persona_id) if persona_id else None
        zone = zone or Account.objects.values_list("timezone", flat=True).get(pk=account_id)
        not_before = next_allowed(now, zone)
    try:
        with transaction.atomic():
            test = bool(persona_id) and Persona.unscoped.filter(pk=persona_id, is_test=True).exists()
            return Message.unscoped.create(
                account_id=account_id, key=key[:120], channel=channel, address=address, persona_id=persona_id,
                purpose=purpose, subject=subject[:200], body=body, not_before=not_before, created_at=now,
                state=MessageState.CANCELLED if test else MessageState.QUEUED,
                error="A test shopper is told nothing." if test else "",
            )  # fmt: skip
    except IntegrityError:
        return Message.unscoped.get(account_id=account_id, key=key[:120])


def cancel(*, account_id: int, channel: str, address: str) -> int:
    """Take back what waits for this address: it said no. Answers that are owed to STOP itself go out."""
    return (
        Message.unscoped.filter(account_id=account_id, channel=channel, address=address)
        .filter(state=MessageState.QUEUED)
        .exclude(purpose__in=[STOPPED, HELP])
        .update(state=MessageState.CANCELLED, error="The address said no before this was sent.")
    )


def retry(*, account_id: int, message_id: int, now: datetime) -> bool:
    """Try a failed message again."""
    return bool(
        Message.unscoped.filter(account_id=account_id, pk=message_id, state=MessageState.FAILED).update(
            state=MessageState.QUEUED, attempts=0, error="", not_before=now
        )
    )


def deliver_due(*, now: datetime, limit: int = 50) -> int:
    """Send what is due. Any number of senders may run; each message is claimed by one. Returns how many were sent."""
    Message.unscoped.filter(purpose=PIN, created_at__lt=now - PIN_GONE_AFTER).exclude(body="").exclude(
        state__in=[MessageState.QUEUED, MessageState.SENDING]
    ).update(body="")  # a code that no longer counts is nobody's to read
    sent = 0
    for pk in _claim(now, limit):
        sent += _send(pk, now)
    return sent


def _claim(now: datetime, limit: int) -> list[int]:
    with transaction.atomic():
        due = Q(state=MessageState.QUEUED, not_before__lte=now)
        # A sender that died: `not_before` was moved when it claimed.
        lost = Q(state=MessageState.SENDING, not_before__lte=now - LOST_AFTER)
        pks = list(
            Message.unscoped.select_for_update(skip_locked=True)
            .filter(due | lost)
            .order_by("not_before", "pk")
            .values_list("pk", flat=True)[:limit]
        )
        Message.unscoped.filter(pk__in=pks).update(
            state=MessageState.SENDING, attempts=F("attempts") + 1, not_before=now
        )
    return pks


def _send(pk: int, now: datetime) -> int:
    message = Message.unscoped.get(pk=pk)
    name = settings.MESSAGE_BACKENDS.get(message.channel, "local")
    if message.attempts > MOST_ATTEMPTS:
        return _end(message, MessageState.FAILED, "Given up after five attempts.")
    with transaction.atomic():
        # The address's row is held while the message goes out: a STOP comes before it or after it, never between. An
        # address that nobody spoke of yet (a code for somebody new) gets its row, so that there is something to hold.
        # Somebody who was removed and writes once more is answered by what his digest says.
        kept = addresses.kept(message.account_id, message.channel, message.address)
        if not ConsentState.unscoped.filter(
            account_id=message.account_id, channel=message.channel, address=kept
        ).exists():
            ConsentState.unscoped.bulk_create(
                [
                    ConsentState(
                        account_id=message.account_id, channel=message.channel, address=message.address, since=now
                    )
                ],
                ignore_conflicts=True,
            )
        held = (
            ConsentState.unscoped.select_for_update()
            .filter(account_id=message.account_id, channel=message.channel, address__in=[message.address, kept])
            .first()
        )
        if (held.state if held else ConsentNow.UNKNOWN) not in _MAY[message.purpose]:
            return _end(message, MessageState.CANCELLED, "The address has not agreed, or said no.")
        try:
            external_id = BACKENDS[name](message)
        except Impossible as error:
            return _end(message, MessageState.FAILED, str(error))
        except TryLater as error:
            Message.unscoped.filter(pk=pk, state=MessageState.SENDING).update(
                state=MessageState.QUEUED, error=str(error)[:300], not_before=now + BACK_OFF * message.attempts
            )
            return 0
        Message.unscoped.filter(pk=pk).update(
            state=MessageState.SENT, sent_at=now, backend=name, external_id=external_id, error="",
            address=held.address if held else message.address,
        )  # fmt: skip
    return 1


def _end(message: Message, state: str, why: str) -> int:
    Message.unscoped.filter(pk=message.pk).update(state=state, error=why[:300])
    return 0
