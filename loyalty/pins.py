"""Codes that show that the shopper is there: four digits, five minutes, five tries, one live for each persona.

Only an HMAC is kept. The owner's master PIN replaces a code when the shopper's phone is not at hand; its tries are
counted in the same way, and every use of it is written down by whoever asked.

A key of the API that entered a right code has shown that the shopper is there for a quarter of an hour: `PinUse`.
"""

import hmac
import math
import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.conf import settings
from django.db import IntegrityError, transaction
from django.db.models import Q
from django.db.models.functions import Coalesce

from aiqsync.accounts import audit
from aiqsync.accounts.models import Account, User
from stores.models import Store

from . import messages
from .models import (
    ConsentChannel,
    ConsentNow,
    ConsentState,
    Identifier,
    IdentifierKind,
    Message,
    Persona,
    Pin,
    PinUse,
    PinUseKind,
    Programme,
)

LIVES = timedelta(minutes=5)
RESEND_AFTER = timedelta(seconds=30)
MOST_TRIES = 5
HOUR = timedelta(hours=1)
MOST_AN_HOUR = 5  # codes of one persona: nobody's phone is flooded
PROVED_FOR = timedelta(minutes=15)
# Wrong codes of one key in an hour, over all shoppers, after which it is not asked about the master PIN: that is the
# same for everybody, so five tries with each of ten thousand shoppers would find it.
MASTER_CLOSED_AT = 20
USES_KEPT = timedelta(days=2)  # longer than a redemption address holds
AHEAD = timedelta(minutes=1)  # clocks of two servers may differ by as much
_A_GO = 5000


class NotSent(Exception):
    """No code went out; the message says what to do."""


class SentJustNow(NotSent):
    """The code before is half a minute old at most. `sent` is that one, `wait_s` the seconds until another may go."""

    def __init__(self, sent: "Sent", wait_s: int) -> None:
        super().__init__(f"A code was sent just now. Another can be sent in {wait_s} seconds.")
        self.sent, self.wait_s = sent, wait_s


class TooMany(NotSent):
    """So many codes, or wrong tries, that this shopper gets none for `wait_s` seconds."""

    def __init__(self, why: str, wait: timedelta) -> None:
        self.wait_s = max(1, math.ceil(wait.total_seconds()))
        minutes = -(-self.wait_s // 60)
        super().__init__(f"{why} Another can be sent in {minutes} minute{'' if minutes == 1 else 's'}.")


class WrongPin(Exception):
    """The code is not right, or is over; the message says which, and how many tries are left.

    `counted`: it was compared, and cost a try.
    """

    def __init__(self, why: str, *, counted: bool = True) -> None:
        super().__init__(why)
        self.counted = counted


class Gone(WrongPin):
    """He was removed on request while the code was being typed: there is nobody whose code it could be."""

    def __init__(self) -> None:
        super().__init__("This person was removed on request.", counted=False)


@dataclass(frozen=True, slots=True)
class Sent:
    """`instead_of`: the channel it would have gone by, had its address not sent STOP; empty when it went that way."""

    channel: str
    to: str  # shortened, for the screen
    expires_at: datetime
    instead_of: str = ""


def digest(account_id: int, persona_id: int, code: str) -> str:
    return hmac.new(settings.LINK_KEY.encode(), f"pin|{account_id}|{persona_id}|{code}".encode(), "sha256").hexdigest()


def master_digest(account_id: int, code: str) -> str:
    """What `Programme.master_pin` holds."""
    return hmac.new(settings.LINK_KEY.encode(), f"master pin|{account_id}|{code}".encode(), "sha256").hexdigest()


def shown(*, account_id: int, persona_id: int, now: datetime) -> str:
    """The code a wallet shows where the programme says so: it changes every five minutes and is kept nowhere."""
    return _of_window(account_id, persona_id, _window(now))


def send(
    *, persona: Persona, now: datetime, user: User | None = None, channel: str | None = None, asked: str = ""
) -> Sent:
    """Make a code and put it into the outbox, by text, else by e-mail. A new code ends the one before.

    `asked`: the phone or e-mail he was looked up by. The code goes there, when it is one of his.
    """
    by, address, instead_of = _way(persona, channel, asked if _is_his(persona, asked) else "")
    code = f"{secrets.randbelow(10_000):04d}"
    with transaction.atomic():
        if Persona.unscoped.select_for_update(no_key=True).get(pk=persona.pk).erased_at:
            raise NotSent("This person was removed on request: there is nobody to send a code to.")
        live = Pin.unscoped.select_for_update().filter(persona=persona, closed_at=None).first()
        if live and live.expires_at <= now:
            live.tries = 0  # its time is over: so is what was tried in it
        if live and live.tries >= MOST_TRIES and now >= live.created_at - AHEAD:
            raise TooMany("Too many wrong codes.", live.expires_at - now)
        if live and live.digest and -AHEAD <= now - live.created_at < RESEND_AFTER:
            left = RESEND_AFTER - (now - live.created_at)
            told = Message.unscoped.filter(account_id=persona.account_id, key=f"pin:{live.pk}").first()
            before = Sent(live.channel, _short(told.address if told else ""), live.expires_at)
            raise SentJustNow(before, left.seconds + 1)
        sent = Pin.unscoped.filter(persona=persona, created_at__gt=now - HOUR, created_at__lte=now + AHEAD)
        made_at = list(sent.exclude(digest="").order_by("-created_at").values_list("created_at", flat=True))
        if len(made_at) >= MOST_AN_HOUR:
            raise TooMany(f"{len(made_at)} codes were sent in an hour.", made_at[MOST_AN_HOUR - 1] + HOUR - now)
        tries = live.tries if live else 0  # a new code does not buy new tries
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
    return Sent(by, _short(address), made.expires_at, instead_of)


def check(*, persona: Persona, code: str, now: datetime, master: bool = True) -> str:
    """`pin`, `shown` or `master`: what the code is. Raises WrongPin. A sent code is good once.

    `master` False: the master PIN is a wrong code like any other.
    """
    code = code.strip()
    with transaction.atomic():
        live = _live(persona, now)
        failed = live.tries >= MOST_TRIES
        kind = "" if failed else _kind(persona, live, code, now)
        if kind == "master" and not master:
            kind = ""
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
        raise WrongPin("Too many wrong codes. Wait five minutes, or ask for a new code then.", counted=not failed)
    raise WrongPin(f"This code is not right. {left} {'try is' if left == 1 else 'tries are'} left.")


def prove(*, persona: Persona, code: str, key_id: int, store_id: int | None, now: datetime) -> str:
    """The same for a key of the API, which has then shown that the shopper is there. What came is written down.

    A line of the activity log says which key, which store and what kind of code; nothing says the digits.
    """
    refused: WrongPin | None = None
    with transaction.atomic():
        wrong = PinUse.unscoped.filter(key_id=key_id, kind=PinUseKind.WRONG, at__gt=now - HOUR, at__lte=now + AHEAD)
        closed = len(wrong.order_by("at").values_list("pk")[:MASTER_CLOSED_AT]) >= MASTER_CLOSED_AT
        try:
            kind = check(persona=persona, code=code, now=now, master=not closed)
        except WrongPin as error:
            kind, refused = PinUseKind.WRONG, error
        if refused is None or refused.counted:
            PinUse.unscoped.create(
                account_id=persona.account_id, persona=persona, key_id=key_id, store_id=store_id, kind=kind, at=now
            )
        if refused is None:
            store = Store.unscoped.filter(account_id=persona.account_id, pk=store_id).first() if store_id else None
            said = {"contact_id": str(persona.contact_id), "shown": kind} | ({"store": str(store)} if store else {})
            audit.record(act="pin.entered", target=str(persona.contact_id), key_id=key_id, detail=said)
    if refused is None:
        return kind
    if closed:
        raise WrongPin(f"{refused} The master PIN is not taken for a while: too many wrong codes came by this key.")
    raise refused


def proved_since(*, account_id: int, persona_id: int, key_id: int, since: datetime, now: datetime) -> bool:
    """Whether the key has shown since then that the shopper is there. Rows merged with his count for him."""
    root = Persona.unscoped.filter(pk=persona_id).annotate(root=Coalesce("merged_into_id", "id")).values("root")
    uses = PinUse.unscoped.filter(account_id=account_id, key_id=key_id, at__gt=since, at__lte=now + AHEAD)
    uses = uses.exclude(kind=PinUseKind.WRONG).annotate(root=Coalesce("persona__merged_into_id", "persona_id"))
    return uses.filter(root__in=root).exists()


def prune(*, now: datetime) -> int:
    """Uses that count for nothing any more go; the activity log's lines stay."""
    gone = 0
    while True:
        old = PinUse.unscoped.filter(at__lt=now - USES_KEPT).order_by("at").values("pk")[:_A_GO]
        removed = PinUse.unscoped.filter(pk__in=old).delete()[0]
        gone += removed
        if removed < _A_GO:
            return gone


def _live(persona: Persona, now: datetime) -> Pin:
    """The row that counts tries: the live code's, else one without a code."""
    held = Persona.unscoped.select_for_update(no_key=True).get(pk=persona.pk)  # two tries at once are two tries
    if held.erased_at:
        raise Gone
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


def _way(persona: Persona, channel: str | None, asked: str) -> tuple[str, str, str]:
    """By which channel the code goes, to which address, and instead of which.

    The one he was asked for by comes first, else texts; an address that sent STOP gets nothing.
    """
    order = [ConsentChannel.EMAIL, ConsentChannel.SMS] if "@" in asked else [ConsentChannel.SMS, ConsentChannel.EMAIL]
    ways = [(by, _address(persona, by, asked)) for by in order if channel in (None, by)]
    known = [(by, address) for by, address in ways if address]
    stopped = set(
        ConsentState.unscoped.filter(account_id=persona.account_id, state=ConsentNow.STOPPED)
        .filter(address__in=[address for _, address in known])
        .values_list("channel", "address")
    )
    for way in known:
        if way not in stopped and messages.can_ask(way[0]):
            return *way, "" if way == known[0] or known[0] not in stopped else known[0][0]
    if known and len(stopped) < len(known):
        raise NotSent("Nothing carries messages here: no code can be sent. Use the master PIN after checking an id.")
    if known:
        raise NotSent("This shopper sent STOP: no code can be sent. Use the master PIN after checking an id.")
    raise NotSent("There is no phone and no e-mail to send a code to. Use the master PIN after checking an id.")


def _is_his(persona: Persona, address: str) -> bool:
    """Whoever names his own phone beside somebody's e-mail must not get the code."""
    if not address or address in (persona.phone, persona.email):
        return bool(address)
    rows = Q(persona=persona) | Q(persona__merged_into=persona)
    held = Identifier.unscoped.filter(rows, account_id=persona.account_id, value=address)
    return held.filter(kind__in=[IdentifierKind.PHONE, IdentifierKind.EMAIL]).exists()


def _address(persona: Persona, channel: str, asked: str) -> str:
    if asked and (channel == ConsentChannel.EMAIL) == ("@" in asked):
        return asked
    return persona.email if channel == ConsentChannel.EMAIL else persona.phone


def _short(address: str) -> str:
    name, at, host = address.partition("@")
    return f"{name[:1]}…@{host}" if at else f"…{address[-4:]}"
