"""Consent to be written to: a journal by channel and address, and what holds now.

Consent belongs to the address, not to a persona: two people who share a phone share its STOP. Every statement becomes
a line; one that may not change anything (an import after STOP) is kept as `ignored`. The double opt-in is: ask, at most
`MOST_REQUESTS` times; only Y or YES says yes; STOP is heard first, always.

An address of somebody who was removed on request is kept as a digest: what it said last holds, and no list, no form and
no member of staff makes a yes of it. Only the shopper's own START does.
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django.db import connection, transaction

from aiqsync.accounts.models import Account, User
from aiqsync.accounts.tenancy import acting_in
from integrations.services import e164, email_of

from . import addresses, messages
from .models import ConsentAct, ConsentChannel, ConsentLine, ConsentNow, ConsentSource, ConsentState, Message, Persona

MOST_REQUESTS = 2
ASK_AGAIN_AFTER = timedelta(days=1)

# The words carriers ask to be obeyed, in English, French and Spanish; the first word of a message counts.
STOP_WORDS = frozenset({"STOP", "STOPALL", "UNSUBSCRIBE", "CANCEL", "END", "QUIT", "OPTOUT", "REVOKE", "ARRET", "ALTO"})
START_WORDS = frozenset({"START", "UNSTOP"})
HELP_WORDS = frozenset({"HELP", "INFO", "AIDE", "AYUDA"})
YES_WORDS = frozenset({"Y", "YES"})


class NotAsked(Exception):
    """The question was not put; the message is a sentence that says why."""


class CannotAsk(Exception):
    """No question can be put to anybody; nothing was changed. The message is a sentence."""


@dataclass(frozen=True, slots=True)
class Told:
    """What holds after a caller's statement. `why_not` is a sentence when that is not what the caller asked for."""

    state: str
    why_not: str
    contact_id: UUID | None  # whose the address is, when somebody's


@dataclass(frozen=True, slots=True)
class Heard:
    """What an incoming message meant: `stop`, `start`, `help`, `yes` or `nothing`; and what holds now."""

    meant: str
    state: str


def address_of(channel: str, raw: str, region: str) -> str:
    """The address as the journal keeps it; "" when it is none."""
    return e164(raw, region) if channel == ConsentChannel.SMS else email_of(raw)


# Who may move what. A state that is not named for an act stays as it is, and the line is kept as `ignored`.
_FROM_ANY = frozenset(ConsentNow.values) - {ConsentNow.STOPPED}
_MOVES: dict[str, tuple[str, frozenset[str]]] = {
    ConsentAct.REQUESTED: (ConsentNow.REQUESTED, frozenset({ConsentNow.UNKNOWN, ConsentNow.REQUESTED})),
    ConsentAct.OPT_IN: (ConsentNow.IN, _FROM_ANY),
    ConsentAct.OPT_OUT: (ConsentNow.OUT, _FROM_ANY),
    ConsentAct.STOP: (ConsentNow.STOPPED, frozenset(ConsentNow.values)),
    ConsentAct.UNSTOP: (ConsentNow.IN, frozenset(ConsentNow.values)),
    # A list from elsewhere knows less than what was said here: it never turns a no into a yes.
    ConsentAct.IMPORT_IN: (ConsentNow.IN, frozenset({ConsentNow.UNKNOWN, ConsentNow.REQUESTED, ConsentNow.IN})),
    ConsentAct.IMPORT_OUT: (ConsentNow.OUT, _FROM_ANY),
}
_TO_YES = frozenset({ConsentAct.OPT_IN, ConsentAct.IMPORT_IN})


# Who stood before the shopper, or was the shopper: a no of his own, which a program does not overrule. What remains is
# what programs and lists said before.
_HIS_OWN = frozenset(
    {ConsentSource.SHOPPER, ConsentSource.FORM, ConsentSource.QUEUE, ConsentSource.TILL, ConsentSource.STAFF}
)
_STOP_STANDS = "This address sent STOP. Only the shopper can take that back, by sending START."
_NO_STANDS = "The shopper said no. A new yes has to come from the shopper."
CALLER_YES = "Opted in by a call to the API, which says that the shopper agreed. No question was put."
CALLER_NO = "Opted out by a call to the API."


def record(
    *,
    account_id: int,
    channel: str,
    address: str,
    act: str,
    source: str,
    now: datetime,
    said_at: datetime | None = None,
    wording: str = "",
    persona_id: int | None = None,
    store_id: int | None = None,
    user: User | None = None,
) -> str:
    """Write one line and bring the address's state up to it. Returns the state that holds then.

    A yes that was said before what holds now, an import against a no, and anything against STOP but the shopper's own
    START are kept as `ignored`. A repeated statement that changes nothing writes no second line.
    """
    if not address:
        raise ValueError("consent needs an address")
    if act == ConsentAct.UNSTOP and source != ConsentSource.SHOPPER:
        raise ValueError("only the shopper takes a STOP back")
    said_at = said_at or now
    with transaction.atomic():
        held = _held(account_id, channel, address, now)
        to, allowed = _MOVES[act]
        late = act in _TO_YES and held.line_id is not None and said_at < held.since
        removed = act in _TO_YES and addresses.is_kept(held.address)
        follows = held.state in allowed and not late and not removed
        # His own no says more than a program's: it is noted beside it, and stands where that would not.
        says_more = act == ConsentAct.OPT_OUT and source in _HIS_OWN and not _is_his_own_no(held)
        if held.state == to and act != ConsentAct.REQUESTED and not says_more:
            return held.state
        line = ConsentLine.unscoped.create(
            account_id=account_id,
            channel=channel,
            address=held.address,
            persona_id=persona_id,
            act=act if follows else ConsentAct.IGNORED,
            source=source,
            wording=wording,
            store_id=store_id,
            user=user,
            at=said_at,
            noted_at=now,
        )
        if not follows:
            return held.state
        held.state, held.line, held.since = to, line, said_at
        if act == ConsentAct.REQUESTED:
            held.requests, held.asked_at = held.requests + 1, now
        elif to == ConsentNow.IN:
            held.requests = 0
        held.save()
        if to in (ConsentNow.STOPPED, ConsentNow.OUT):
            messages.cancel(account_id=account_id, channel=channel, address=address)
        return held.state


def set_by_caller(
    *,
    account_id: int,
    channel: str,
    address: str,
    yes: bool,
    now: datetime,
    asks: bool = False,
    store_id: int | None = None,
) -> Told:
    """A program says yes or no for an address; it makes nobody known. `asks`: a yes is asked for by a message first.

    A no always holds. A yes holds at once, but never after STOP, nor against a no that the shopper said himself or
    staff wrote down for him. Raises CannotAsk where no message would reach anybody.
    """
    if yes and asks and not messages.can_ask(channel):
        raise CannotAsk("No carrier is set up, so the question would reach nobody. Nothing was changed.")
    with transaction.atomic():
        held = _held(account_id, channel, address, now)
        persona_id = persona_of(account_id, channel, address)
        said = {"account_id": account_id, "channel": channel, "address": address, "now": now}
        said |= {"persona_id": persona_id, "store_id": store_id, "source": ConsentSource.API}
        why_not = ""
        if yes and asks and held.state != ConsentNow.IN:
            try:
                ask(**said)
                state: str = ConsentNow.REQUESTED
            except NotAsked as error:
                state, why_not = held.state, str(error)
        else:
            stands = held.state == ConsentNow.STOPPED or yes and _is_his_own_no(held)
            # IMPORT_IN follows no no: the line is kept as what was said and not followed.
            act = (ConsentAct.IMPORT_IN if stands else ConsentAct.OPT_IN) if yes else ConsentAct.OPT_OUT
            wording = CALLER_YES if yes else CALLER_NO
            if stands and _is_repeated(held, wording):
                state = held.state
            else:
                state = record(**said, act=act, wording=wording)
            if yes and state != ConsentNow.IN:
                why_not = _STOP_STANDS if state == ConsentNow.STOPPED else _NO_STANDS
        whose = Persona.unscoped.filter(pk=persona_id).values_list("contact_id", flat=True).first()
    return Told(str(state), why_not, whose)


def _is_his_own_no(held: ConsentState) -> bool:
    return held.state == ConsentNow.OUT and (
        addresses.is_kept(held.address) or held.line is not None and held.line.source in _HIS_OWN
    )


def _is_repeated(held: ConsentState, wording: str) -> bool:
    """The same was said last time, and not followed then: a shop that says it with every order fills no journal."""
    last = (
        ConsentLine.unscoped.filter(account_id=held.account_id, channel=held.channel, address=held.address)
        .order_by("-id")
        .first()
    )
    return last is not None and (last.act, last.source, last.wording) == (
        ConsentAct.IGNORED, ConsentSource.API, wording,
    )  # fmt: skip


def _held(account_id: int, channel: str, address: str, now: datetime) -> ConsentState:
    """The address's row, locked; made when it is not there. Two statements at once follow each other."""
    rows = ConsentState.unscoped.select_for_update().filter(account_id=account_id, channel=channel)
    kept = addresses.kept(account_id, channel, address)
    if removed := rows.filter(address=kept).first():
        return removed
    with connection.cursor() as cursor:
        cursor.execute(
            """INSERT INTO loyalty_consentstate (account_id, channel, address, state, requests, since)
               VALUES (%s, %s, %s, 'unknown', 0, %s) ON CONFLICT DO NOTHING""",
            [account_id, channel, address, now],
        )
    held = rows.filter(address=address).first()
    # Asked again now that the row is ours: an erasure may have been at it when we looked first.
    if removed := rows.filter(address=kept).first():
        if held is not None and held.line_id is None:
            held.delete()
        return removed
    assert held is not None
    return held


def hold(*, account_id: int, known: Iterable[tuple[str, str]], now: datetime) -> None:
    """Let nothing be said about these addresses (channel, address) before the caller's transaction ends."""
    for channel, address in sorted(set(known)):
        _held(account_id, channel, address, now)


def forget(
    *,
    account_id: int,
    persona_ids: Sequence[int],
    root_id: int,
    own: Iterable[tuple[str, str]],
    others: Iterable[tuple[str, str]],
    user: User | None,
    now: datetime,
) -> None:
    """Take the addresses out of the journal: its lines stay under a digest, and what holds is a no, or STOP.

    `own` are held by the caller (`hold`). `others` are borne by other people as well: what was said of those stays, and
    only who of them it was goes.
    """
    own, others = sorted(set(own)), sorted(set(others))
    for channel, address in own:
        if _held(account_id, channel, address, now).state not in (ConsentNow.STOPPED, ConsentNow.OUT):
            record(
                account_id=account_id, channel=channel, address=address, act=ConsentAct.OPT_OUT,
                source=ConsentSource.STAFF, now=now, persona_id=root_id, user=user,
            )  # fmt: skip
    given = {
        "account": account_id,
        "rows": list(persona_ids),
        "channels": [channel for channel, _ in own],
        "addresses": [address for _, address in own],
        "kept": [addresses.kept(account_id, *one) for one in own],
        "other_channels": [channel for channel, _ in others],
        "others": [address for _, address in others],
    }
    with erasing() as cursor:
        cursor.execute(
            """UPDATE loyalty_consentline l SET address = k.kept, wording = ''
               FROM unnest(%(channels)s::text[], %(addresses)s::text[], %(kept)s::text[]) k (channel, address, kept)
               WHERE l.account_id = %(account)s AND l.channel = k.channel AND l.address IN (k.address, k.kept)""",
            given,
        )
        cursor.execute(
            """UPDATE loyalty_consentline l SET persona_id = NULL, wording = ''
               FROM unnest(%(other_channels)s::text[], %(others)s::text[]) k (channel, address)
               WHERE l.account_id = %(account)s AND l.persona_id = ANY(%(rows)s) AND l.channel = k.channel
                 AND l.address = k.address""",
            given,
        )
        cursor.execute(
            """UPDATE loyalty_consentstate s SET address = k.kept
               FROM unnest(%(channels)s::text[], %(addresses)s::text[], %(kept)s::text[]) k (channel, address, kept)
               WHERE s.account_id = %(account)s AND s.channel = k.channel AND s.address = k.address""",
            given,
        )


def restore(*, account_id: int, channel: str, address: str) -> None:
    """The address may be used again, as it was left: a no needs a new yes, and STOP the shopper's own START."""
    ConsentState.unscoped.filter(
        account_id=account_id, channel=channel, address=addresses.kept(account_id, channel, address)
    ).update(address=address)


@contextmanager
def erasing() -> Iterator[Any]:
    """What the journals' triggers refuse to everybody else: words and addresses may be taken out, nothing more."""
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL aiqsync.erasing = 'on'")
        yield cursor
        cursor.execute("SET LOCAL aiqsync.erasing = 'off'")


def state_of(*, account_id: int, channel: str, address: str) -> str:
    """What holds now for an address."""
    found = ConsentState.unscoped.filter(
        account_id=account_id, channel=channel, address__in=[address, addresses.kept(account_id, channel, address)]
    )
    return found.values_list("state", flat=True).first() or ConsentNow.UNKNOWN


def states_of(*, account_id: int, addresses: list[tuple[str, str]]) -> dict[tuple[str, str], ConsentState]:
    """What holds for several (channel, address), in one query."""
    found = ConsentState.unscoped.filter(
        account_id=account_id, address__in=sorted({address for _, address in addresses})
    ).select_related("line__user")
    return {(one.channel, one.address): one for one in found}


def ask(
    *,
    account_id: int,
    channel: str,
    address: str,
    now: datetime,
    source: str,
    persona_id: int | None = None,
    store_id: int | None = None,
    user: User | None = None,
    enrols: bool = False,
) -> Message:
    """Put the double opt-in's question: one message and one line. `enrols`: a yes makes a member as well.

    Raises NotAsked: the address said no, sent STOP, has agreed already, or was asked often or lately enough.
    """
    account = Account.objects.get(pk=account_id)
    with transaction.atomic():
        held = _held(account_id, channel, address, now)
        if held.state == ConsentNow.STOPPED:
            raise NotAsked(_STOP_STANDS)
        if held.state == ConsentNow.OUT:
            raise NotAsked("The shopper said no. A new yes has to come from the shopper, not from a question of ours.")
        if held.state == ConsentNow.IN:
            raise NotAsked("The shopper has agreed already.")
        if held.requests >= MOST_REQUESTS:
            raise NotAsked(f"Asked {held.requests} times without an answer: no further question is sent.")
        if held.asked_at and now - held.asked_at < ASK_AGAIN_AFTER:
            raise NotAsked("Asked within the last day. Wait for the answer.")
        body = messages.question(account.name, enrols=enrols)
        record(
            account_id=account_id, channel=channel, address=address, act=ConsentAct.REQUESTED, source=source, now=now,
            wording=body, persona_id=persona_id, store_id=store_id, user=user,
        )  # fmt: skip
        return messages.queue(
            account_id=account_id,
            key=f"opt_in:{channel}:{address}:{held.requests + 1}:{int(now.timestamp())}",
            channel=channel,
            address=address,
            purpose=messages.OPT_IN_ENROLS if enrols else messages.OPT_IN,
            subject=f"{account.name}: may we write to you?",
            body=body,
            persona_id=persona_id,
            now=now,
        )


def incoming(*, account_id: int, channel: str, address: str, text: str, now: datetime, key: str) -> Heard:
    """A shopper's message, by the carrier's id `key`. STOP first; then START, HELP, and YES to an open question."""
    account = Account.objects.get(pk=account_id)
    words = text.strip().upper().split()
    first = words[0].strip(".,!\"'") if words else ""
    whose = {"account_id": account_id, "channel": channel, "address": address}
    said = whose | {"source": ConsentSource.SHOPPER, "now": now}

    def reply(purpose: str, body: str) -> None:
        messages.queue(**whose, key=f"reply:{key}", purpose=purpose, subject=account.name, body=body, now=now)

    with transaction.atomic():
        held = _held(account_id, channel, address, now)
        persona_id = persona_of(account_id, channel, address)
        if first in STOP_WORDS:
            state = record(**said, act=ConsentAct.STOP, wording=text[:500], persona_id=persona_id)
            reply(messages.STOPPED, f"{account.name}: you will get no more messages. Send START to get them again.")
            return Heard("stop", state)
        if first in START_WORDS and held.state in (ConsentNow.STOPPED, ConsentNow.OUT):
            state = record(**said, act=ConsentAct.UNSTOP, wording=text[:500], persona_id=persona_id)
            reply(messages.CONFIRM, f"{account.name}: you get our messages again. Send STOP to end them.")
            return Heard("start", state)
        if first in HELP_WORDS:
            reply(messages.HELP, f"{account.name} loyalty messages. Send STOP to end them. Ask in the shop for help.")
            return Heard("help", held.state)
        if " ".join(words).strip(".! ") in YES_WORDS and held.state == ConsentNow.REQUESTED:
            asked = (
                Message.unscoped.filter(account_id=account_id, channel=channel, address=address)
                .filter(purpose__in=[messages.OPT_IN, messages.OPT_IN_ENROLS])
                .order_by("-id")
                .first()
            )
            wording = asked.body if asked else ""
            persona_id = asked.persona_id if asked and asked.persona_id else persona_id
            state = record(**said, act=ConsentAct.OPT_IN, wording=wording, persona_id=persona_id)
            reply(messages.CONFIRM, f"{account.name}: thank you, you are in. Send STOP to end messages.")
            if asked and asked.purpose == messages.OPT_IN_ENROLS and persona_id:
                with acting_in(account_id):  # a carrier's call comes without an account
                    _enrol(account, persona_id, now)
            return Heard("yes", state)
        return Heard("nothing", held.state)


def persona_of(account_id: int, channel: str, address: str) -> int | None:
    """Whose the address is; of a shared one, who bought last."""
    from . import personas

    given = {"phone": address} if channel == ConsentChannel.SMS else {"email": address}
    return personas.find_id(account_id=account_id, **given)


def _enrol(account: Account, persona_id: int, now: datetime) -> None:
    """A yes to a question that names the programme is a membership too, with its own line."""
    from zoneinfo import ZoneInfo

    from . import personas
    from .models import Ground

    personas.enrol_many(
        account_id=account.pk,
        persona_ids=[persona_id],
        ground=Ground.TEXT,
        from_date=now.astimezone(ZoneInfo(account.timezone)).date(),
        now=now,
    )


# For `audits`: (name, promise, query of violations).
RULES = (
    (
        "consent-journal",
        "what holds for an address is what its last line says",
        """SELECT s.account_id, format('%s %s: %s, its line says %s', s.channel, right(s.address, 4), s.state,
                                       coalesce(l.act, 'nothing')) AS what
           FROM loyalty_consentstate s LEFT JOIN loyalty_consentline l ON l.id = s.line_id
           WHERE s.state <> CASE l.act WHEN 'requested' THEN 'requested' WHEN 'opt_in' THEN 'in' WHEN 'unstop' THEN 'in'
                                       WHEN 'import_in' THEN 'in' WHEN 'opt_out' THEN 'out' WHEN 'import_out' THEN 'out'
                                       WHEN 'stop' THEN 'stopped' ELSE 'unknown' END""",
    ),
    (
        "stop-obeyed",
        "nothing was sent to an address between its STOP and its START",
        """SELECT m.account_id, format('message %s (%s) went out at %s', m.id, m.purpose, m.sent_at) AS what
           FROM loyalty_message m
           WHERE m.state = 'sent' AND m.purpose NOT IN ('stopped', 'help') AND (
               SELECT l.act FROM loyalty_consentline l
               WHERE l.account_id = m.account_id AND l.channel = m.channel AND l.address = m.address
                 AND l.act IN ('stop', 'unstop') AND l.noted_at < m.sent_at
               ORDER BY l.id DESC LIMIT 1) = 'stop'""",
    ),
)
