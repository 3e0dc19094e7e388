"""“Send SMS double opt-ins to Personas who purchased after”: asked in small batches, in the hours texts may come.

Asked is whoever bought since and bears a phone of his own, has not agreed, never said no or STOP, and was not asked
twice. A batch is queued only when it may go out at once, so that stopping leaves no more than one batch under way. The
answer is `consent.incoming`'s: a YES is a consent and a membership, as two lines.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4
from zoneinfo import ZoneInfo

from django.db import connection

from aiqsync.accounts.models import Account, User
from integrations import services
from integrations.models import SettingChange

from . import addresses, bought, consent, jobs, messages, outbound, switches
from .bought import Day
from .consent import ASK_AGAIN_AFTER, MOST_REQUESTS
from .jobs import GiveUp, Work
from .models import ConsentChannel, ConsentSource, ConsentState
from .switches import Column, Switch, add, switch

SMS = ConsentChannel.SMS
BATCH = 50  # texts queued in one step
PAUSE = timedelta(seconds=60)  # until the next
COUNTED_AT_ONCE = 1000
NO_CARRIER = "No SMS carrier is connected: nothing can be sent, and nobody is asked. Connect one first."


@dataclass(frozen=True, slots=True)
class Asked:
    """Somebody who is to be asked."""

    persona_id: int
    contact_id: UUID
    phone: str
    purchases: int
    is_member: bool
    requests: int  # questions that were not answered


# What speaks against asking a buyer; the first that holds. A phone is somebody's own when it identifies him: one that
# is shared, of a store, or of one repeated digit identifies nobody. A record that we made in the POS bears "do not
# contact" because we wrote it, unless the shopper had agreed by then to be written to (`outbound`): nobody said no.
_WHY = f"""
CASE WHEN NOT ({bought.not_listed()}) THEN 'listed'
     WHEN p.phone = '' OR NOT EXISTS (
         SELECT FROM loyalty_identifier i JOIN loyalty_persona g ON g.id = i.persona_id
         WHERE i.account_id = p.account_id AND i.kind = 'phone' AND i.value = p.phone AND NOT i.shared
           AND (g.id = p.id OR g.merged_into_id = p.id))
       OR EXISTS (SELECT FROM loyalty_suspectnumber n WHERE n.account_id = p.account_id AND n.phone = p.phone
                  AND n.decision <> 'one') THEN 'phone'
     WHEN cs.state = 'in' THEN 'agreed'
     WHEN cs.state IN ('out', 'stopped') THEN 'no'
     WHEN cs.requests >= {MOST_REQUESTS} THEN 'twice'
     WHEN cs.asked_at > %(cutoff)s THEN 'lately'
     WHEN EXISTS (SELECT FROM loyalty_source src JOIN loyalty_persona g ON g.id = src.persona_id
                  JOIN integrations_customer c ON c.id = src.customer_id
                  WHERE (g.id = p.id OR g.merged_into_id = p.id) AND c.do_not_contact
                    AND (src.matched_by <> '{outbound.CREATED}' OR EXISTS (
                        SELECT FROM loyalty_consentstate m WHERE m.account_id = p.account_id AND m.channel = 'email'
                          AND m.address = p.email AND m.state = 'in' AND m.since <= src.linked_at)))
         THEN 'no_contact'
     ELSE 'ask' END
"""
_FROM = f"""
FROM loyalty_persona p {bought.since_join()}
LEFT JOIN loyalty_consentstate cs ON cs.account_id = p.account_id AND cs.channel = 'sms' AND cs.address = p.phone
WHERE {bought.NOBODY_ELSE}
"""
_LEFT_OUT = {
    "phone": "{} have no phone of their own",
    "agreed": "{} get texts already",
    "no": "{} said no or sent STOP",
    "twice": "{} were asked twice and did not answer",
    "lately": "{} were asked within the last day",
    "no_contact": "{} are marked “do not contact” in the POS",
    "listed": "{} are archived or on the employee blocklist",
}


def to_ask(account_id: int, since: Sequence[Day], *, cutoff: datetime, **which: Any) -> list[Asked]:
    """Those who are to be asked, by id; who was asked after `cutoff` is not. `which` as in `bought.asked`."""
    where, values = bought.asked(account_id, since, **which)
    with connection.cursor() as cursor:
        cursor.execute(
            f"""SELECT p.id, p.contact_id, p.phone, b.purchases, p.member_from IS NOT NULL, coalesce(cs.requests, 0)
                {_FROM} {where} AND {_WHY} = 'ask' ORDER BY p.id LIMIT %(limit)s""",
            values | {"cutoff": cutoff},
        )
        return [Asked(*row) for row in cursor.fetchall()]


def tally(account_id: int, since: Sequence[Day], *, cutoff: datetime) -> Counter[str]:
    """How many buyers are to be asked ("ask"), and how many are not, by what speaks against it."""
    where, values = bought.asked(account_id, since)
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT {_WHY}, count(*) {_FROM} {where} GROUP BY 1", values | {"cutoff": cutoff})
        return Counter(dict(cursor.fetchall()))


def _may(account_id: int, found: Sequence[Asked]) -> list[Asked]:
    """Without those whose number is that of somebody who was removed on request, and said no with that."""
    kept = {addresses.kept(account_id, SMS, one.phone): one for one in found}
    nos = ConsentState.unscoped.filter(account_id=account_id, channel=SMS, address__in=list(kept))
    gone = {kept[address].persona_id for address in nos.values_list("address", flat=True)}
    return [one for one in found if one.persona_id not in gone]


@switch("sms_optin_after")
class AskAfter(Switch):
    """Who bought since is asked by text, at most twice in all."""

    columns = (
        Column("purchases", "Purchases since", "number"),
        Column("member", "Member", "text"),
        Column("asked", "Asked before", "text"),
    )

    def count(self, work: Work, change: SettingChange) -> None:
        if not change.after:
            return switches.count_clearing(work, change)
        since = _since(change)
        cutoff = work.now - ASK_AGAIN_AFTER
        if work.total is None:
            found = tally(work.account_id, since, cutoff=cutoff)
            work.total = found["ask"]
            left_out = {why: found[why] for why in _LEFT_OUT if found[why]}
            work.result |= {"shoppers": 0, "points": "0", "texts": 0, "left_out": left_out, "sample": []}
        batch = to_ask(work.account_id, since, cutoff=cutoff, after=work.cursor.get("after", 0), limit=COUNTED_AT_ONCE)
        may = _may(work.account_id, batch)
        add(work, shoppers=len(may), texts=len(may))
        if len(batch) > len(may):
            no = work.result["left_out"].get("no", 0)
            work.result["left_out"] = work.result["left_out"] | {"no": no + len(batch) - len(may)}
        rows = [
            [
                str(one.contact_id),
                {
                    "purchases": one.purchases,
                    "member": "yes" if one.is_member else "not yet",
                    "asked": "once" if one.requests else "never",
                },
            ]
            for one in may[: switches.SAMPLE]
        ]
        work.result["sample"] = [*work.result["sample"], *rows][: switches.SAMPLE]
        _go_on(work, batch, COUNTED_AT_ONCE)
        if work.finished:
            work.result["notes"] = _notes(work)

    def confirmed(self, change: SettingChange, now: datetime) -> None:
        if change.after and not messages.can_ask(SMS):
            raise services.Refused(NO_CARRIER, field=change.setting)

    def apply(self, work: Work, change: SettingChange) -> None:
        if not change.after:
            work.finished = True
            return
        since = _since(change)
        # This change asks everybody once, however long it stood still.
        cutoff = min(change.confirmed_at or work.now, work.now - ASK_AGAIN_AFTER)
        if work.total is None:
            work.total = tally(work.account_id, since, cutoff=cutoff)["ask"]
        ask_batch(work, since, cutoff=cutoff, user=work.user)

    def outcome(self, change: SettingChange) -> str:
        if not change.after:
            return "The day was cleared: purchases bring no question any more. Who is a member stays one."
        texts = change.applied.get("texts", 0)
        if not texts:
            return "Nobody had to be asked."
        where = "" if messages.is_carried(SMS) else " They reach nobody: no SMS carrier is connected."
        return f"{texts:,} {'text was' if texts == 1 else 'texts were'} written; the Messages page shows each.{where}"


def ask_batch(work: Work, since: Sequence[Day], *, cutoff: datetime, user: User | None, **which: Any) -> None:
    """Ask the next few of those who may get a text now; who sleeps is asked when all others were."""
    if not messages.can_ask(SMS):
        raise GiveUp(NO_CARRIER)
    batch = to_ask(work.account_id, since, cutoff=cutoff, after=work.cursor.get("after", 0), limit=BATCH, **which)
    zones = messages.zones_of(account_id=work.account_id, persona_ids=[one.persona_id for one in batch])
    from_when = {one.persona_id: messages.next_allowed(work.now, zones[one.persona_id]) for one in batch}
    awake = [one for one in batch if from_when[one.persona_id] <= work.now]
    later = min((at for at in from_when.values() if at > work.now), default=None)
    if later and not awake:
        work.wait_until = later
        return
    texts = 0
    # By address: one order for everybody who holds several.
    for one in sorted(awake, key=lambda one: one.phone):
        try:
            consent.ask(
                account_id=work.account_id, channel=SMS, address=one.phone, now=work.now, source=ConsentSource.POS,
                persona_id=one.persona_id, user=user, enrols=True,
            )  # fmt: skip
            texts += 1
        except consent.NotAsked:  # said something, or was asked by somebody else, in between
            continue
    add(work, shoppers=texts, texts=texts)
    asleep = [at for at in (later, _moment(work.cursor.get("later"))) if at]
    _go_on(work, batch, BATCH, done=len(awake))
    if asleep and work.finished:
        work.finished, work.cursor, work.wait_until = False, {}, max(min(asleep), work.now)
    elif asleep:
        work.cursor["later"] = min(asleep).isoformat()
    if not work.finished and work.wait_until is None:
        work.wait_until = work.now + PAUSE


def _go_on(work: Work, batch: Sequence[Asked], size: int, *, done: int | None = None) -> None:
    """Put the cursor behind this batch; one that is not full was the last."""
    if batch:
        work.cursor = {"after": batch[-1].persona_id}
        work.done += len(batch) if done is None else done
    work.finished = len(batch) < size


def _moment(said: str | None) -> datetime | None:
    return datetime.fromisoformat(said) if said else None


def _since(change: SettingChange) -> tuple[Day, ...]:
    if not change.after:
        raise GiveUp("There is no day to go by.")
    zone = ZoneInfo(Account.objects.get(pk=change.account_id).timezone)
    return tuple(Day(origin, date.fromisoformat(change.after), zone) for origin in switches.origins_of(change))


def _notes(work: Work) -> list[str]:
    name = Account.objects.values_list("name", flat=True).get(pk=work.account_id)
    body = messages.question(name, enrols=True)
    parts = messages.segments(body)
    texts = work.result["texts"]
    notes = [f"The text: “{body}”"]
    if texts and parts > 1:
        notes.append(f"Carriers count it as {parts} parts: {parts * texts:,} in all.")
    if texts:
        minutes = max(1, round((texts - 1) // BATCH * PAUSE.total_seconds() / 60))
        span = f"about {minutes} minute{'s' * (minutes > 1)}" if minutes < 120 else f"about {minutes // 60} hours"
        notes.append(
            f"They go out {BATCH} at a time, between 8 in the morning and 9 in the evening where the shopper's store is"
            + (f"; that takes {span}." if texts > BATCH else ".")
        )
    if not messages.is_carried(SMS):
        notes.append(
            "No SMS carrier is connected: the texts stay on the Messages page here and reach nobody."
            if messages.can_ask(SMS)
            else NO_CARRIER
        )
    if left := [
        words.format(f"{work.result['left_out'][why]:,}")
        for why, words in _LEFT_OUT.items()
        if work.result["left_out"].get(why)
    ]:
        notes.append(f"Bought since and not asked: {', '.join(left)}.")
    if stay := switches.before_clearing(account_id=work.account_id, setting="sms_optin_after"):
        notes.append(stay)
    return notes


# Later purchases


def landed(account_id: int, since: Sequence[Day], *, now: datetime, first: bool = False, **which: Any) -> None:
    """Buyers of a page are asked by a job of their own: an address's row is locked before any origin, not in a page.

    `first`: only who was never asked; an edited profile is no reason to ask again.
    """
    if not messages.can_ask(SMS):
        return
    found = to_ask(account_id, since, cutoff=now - ASK_AGAIN_AFTER, **which)
    if ids := [one.persona_id for one in found if not (first and one.requests)]:
        kind = f"ask:{uuid4().hex[:16]}"  # one job a page; the dispatcher hands it out
        jobs.start(account_id=account_id, kind=kind, args={"personas": ids}, user=None, now=now)


@jobs.handler("ask")
def _ask(work: Work) -> None:
    since = bought.days_of(work.account_id).ask
    if not since or not messages.can_ask(SMS):  # turned off meanwhile
        work.finished = True
        return
    work.total = work.total or len(work.args["personas"])
    ask_batch(work, since, cutoff=work.now - ASK_AGAIN_AFTER, user=None, persona_ids=work.args["personas"])
