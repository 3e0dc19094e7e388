"""Codes that show that the shopper is there: four digits, five minutes, five tries, one live for each persona.

Only an HMAC is kept. The owner's master PIN replaces a code when the shopper's phone is not at hand; its tries are
counted in the same way, and every use of it is written down by whoever asked.
"""

import hmac
import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.conf import settings
from django.db import IntegrityError, transaction
from django.db.models import Q

from aiqsync.accounts.models import Account, User

from . import messages
from .models import ConsentChannel, ConsentNow, ConsentState, Persona, Pin, Programme

LIVES = timedelta(minutes=5)
RESEND_AFTER = timedelta(seconds=30)
MOST_TRIES = 5
AHEAD = timedelta(minutes=1)  # clocks of two servers may differ by as much


class NotSent(Exception):
    """No code went out; the message says what to do."""


class WrongPin(Exception):
    """The code is not right, or is over; the message says which, and how many tries are left."""


@dataclass(frozen=True, slots=True)
class Sent:
    channel: str
    to: str  # shortened, for the screen
    expires_at: datetime


def digest(account_id: int, persona_id: int, code: str) -> str:
    return hmac.new(settings.LINK_KEY.encode(), f"pin|{account_id}|{persona_id}|{code}".encode(), "sha256").hexdigest()


def master_digest(account_id: int, code: str) -> str:
    """What `Programme.master_pin` holds."""
    return hmac.new(settings.LINK_KEY.encode(), f"master pin|{account_id}|{code}".encode(), "sha256").hexdigest()


def shown(*, account_id: int, persona_id: int, now: datetime) -> str:
    """The code a wallet shows where the programme says so: it changes every five minutes and is kept nowhere."""
    return _of_window(account_id, persona_id, _window(now))


def send(*, persona: Persona, now: datetime, user: User | None = None, channel: str | None = None) -> Sent:
    """Make a code and put it into the outbox, by text, else by e-mail. A new code ends the one before."""
    by, address = _way(persona, channel)
    code = f"{secrets.randbelow(10_000):04d}"
    with transaction.atomic():
        if Persona.unscoped.select_for_update(no_key=True).get(pk=persona.pk).erased_at:
            raise NotSent("This person was removed on request: there is nobody to send a code to.")
        live = Pin.unscoped.select_for_update().filter(persona=persona, closed_at=None).first()
        if live and live.digest and -AHEAD <= now - live.created_at < RESEND_AFTER:
            left = RESEND_AFTER - (now - live.created_at)
            raise NotSent(f"A code was sent just now. Another can be sent in {left.seconds + 1} seconds.")
        tries = live.tries if live and live.expires_at > now else 0  # a new code does not buy new tries
        Pin.unscoped.filter(persona=persona, closed_at=None).update(closed_at=now)
        made = Pin.unscoped.create(
            account_id=persona.account_id, persona=persona, digest=digest(persona.account_id, persona.pk, code),
            channel=by, user=user, created_at=now, expires_at=now + LIVES, tries=tries,
        )  # fmt: skip
        name = Account.objects.values_list("name", flat=True).get(pk=persona.account_id)
        messages.queue(
            account_id=persona.account_id, key=f"pin:{made.pk}", channel=by, address=address, purpose=messages.PIN,
            subject=f"{name}: your code", now=now, persona_id=persona.pk,
            body=f"{name}: {code} is your code. Tell it only to the person who serves you. It is good for 5 minutes.",
        )  # fmt: skip
    return Sent(by, _short(address), made.expires_at)


def check(*, persona: Persona, code: str, now: datetime) -> str:
    """`pin`, `shown` or `master`: what the code is. Raises WrongPin. A sent code is good once."""
    code = code.strip()
    with transaction.atomic():
        live = _live(persona, now)
        failed = live.tries >= MOST_TRIES
        kind = "" if failed else _kind(persona, live, code, now)
        if kind:
            if kind == "pin":
                Pin.unscoped.filter(pk=live.pk).update(used_at=now, closed_at=now)
            return kind
        if not failed:
            live.tries += 1
            live.save(update_fields=["tries"])
    # Outside the block: the counted try stays.
    left = MOST_TRIES - live.tries
    if left <= 0:
        raise WrongPin("Too many wrong codes. Wait five minutes, or ask for a new code then.")
    raise WrongPin(f"This code is not right. {left} {'try is' if left == 1 else 'tries are'} left.")


def _live(persona: Persona, now: datetime) -> Pin:
    """The row that counts tries: the live code's, else one without a code."""
    Persona.unscoped.select_for_update(no_key=True).get(pk=persona.pk)  # two tries at once are two tries
    # One from the future was made before the clock was put back: it would be good for longer than five minutes.
    over = Q(expires_at__lte=now) | Q(created_at__gt=now + AHEAD)
    Pin.unscoped.filter(over, persona=persona, closed_at=None).update(closed_at=now)
    live = Pin.unscoped.select_for_update().filter(persona=persona, closed_at=None).first()
    if live is None:
        try:
            with transaction.atomic():
                live = Pin.unscoped.create(
                    account_id=persona.account_id, persona=persona, digest="", created_at=now, expires_at=now + LIVES
                )
        except IntegrityError:
            live = Pin.unscoped.select_for_update().get(persona=persona, closed_at=None)
    return live


def _kind(persona: Persona, live: Pin, code: str, now: datetime) -> str:
    """Every comparison is made whatever came of the one before: the time tells nothing."""
    account_id, given = persona.account_id, code.encode()
    programme = Programme.unscoped.get(account_id=account_id)
    is_pin = hmac.compare_digest(live.digest, digest(account_id, persona.pk, code))
    windows = [_of_window(account_id, persona.pk, one).encode() for one in (_window(now), _window(now) - 1)]
    is_shown = any([hmac.compare_digest(one, given) for one in windows])
    is_master = hmac.compare_digest(programme.master_pin, master_digest(account_id, code))
    if is_pin:
        return "pin"
    if is_shown and programme.show_pin:
        return "shown"
    return "master" if is_master else ""


def _window(now: datetime) -> int:
    return int(now.timestamp() // LIVES.total_seconds())


def _of_window(account_id: int, persona_id: int, window: int) -> str:
    full = hmac.new(settings.LINK_KEY.encode(), f"shown pin|{account_id}|{persona_id}|{window}".encode(), "sha256")
    return f"{int.from_bytes(full.digest()[:8]) % 10_000:04d}"


def _way(persona: Persona, channel: str | None) -> tuple[str, str]:
    """By which channel the code goes: texts first, unless that address sent STOP."""
    ways = [(ConsentChannel.SMS, persona.phone), (ConsentChannel.EMAIL, persona.email)]
    known = [(by, address) for by, address in ways if address and channel in (None, by)]
    stopped = set(
        ConsentState.unscoped.filter(account_id=persona.account_id, state=ConsentNow.STOPPED)
        .filter(address__in=[address for _, address in known])
        .values_list("channel", "address")
    )
    for way in known:
        if way not in stopped:
            return way
    if known:
        raise NotSent("This shopper sent STOP: no code can be sent. Use the master PIN after checking an id.")
    raise NotSent("There is no phone and no e-mail to send a code to. Use the master PIN after checking an id.")


def _short(address: str) -> str:
    name, at, host = address.partition("@")
    return f"{name[:1]}…@{host}" if at else f"…{address[-4:]}"
