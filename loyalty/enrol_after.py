"""“Enroll Personas in loyalty program who purchased after”: now for those who are here, then as purchases arrive."""

from collections.abc import Sequence
from datetime import date, datetime
from decimal import Decimal
from zoneinfo import ZoneInfo

from django.db import connection

from aiqsync.accounts.models import Account
from integrations.models import SettingChange
from integrations.services import lock_origins

from . import bought, counting, mirror, personas, rules, switches
from .bought import Buyer, Day
from .counting import Counted
from .jobs import GiveUp, Work
from .models import Ground, Persona
from .switches import Column, Switch, add, switch

AT_ONCE = 500  # personas in one step; half of what one step may lock (docs/decisions/locks.md)


@switch("enrol_after")
class EnrolAfter(Switch):
    """Who bought since becomes a member from the day, and is paid for what was bought since."""

    columns = (Column("purchases", "Purchases since", "number"), Column("points", "Points at once"))
    by_programme = True

    def count(self, work: Work, change: SettingChange) -> None:
        if not change.after:
            return switches.count_clearing(work, change)
        day, since = _since(change)
        current = rules.of(work.account_id)
        if work.total is None:
            work.total, left_out = bought.how_many(work.account_id, since)
            work.result |= {
                "shoppers": 0,
                "points": "0",
                "texts": 0,
                "left_out": left_out,
                "earlier": 0,
                "lapsing": "0",
            }
        found = _next(work, since)
        # Settled in this very step's figures: the sample's points are those of the largest in all steps so far.
        counted = Counted()
        if found and current:
            ids = [one.persona_id for one in found]
            told = mirror.told_of(account_id=work.account_id, persona_ids=ids, current=current, now=work.now)
            add(work, imported=sum(told.waiting.values(), Decimal(0)), mirrored=len(told.mirrored))
            counting.count(
                account_id=work.account_id,
                persona_ids=ids,
                rules=current,
                rewrites_expiry=False,
                now=work.now,
                into=counted,
                joining={one.persona_id: one.day for one in found},
                besides={pk: told.of(pk) for pk in ids},
            )
        gained = counted.after - counted.before + counted.expiring
        add(
            work, shoppers=len(found), earlier=sum(one.is_member for one in found), points=gained,
            lapsing=counted.expiring,
        )  # fmt: skip
        _sample(work, found, counted)
        if work.finished:
            work.result["notes"] = _notes(work, day, current)

    def apply(self, work: Work, change: SettingChange) -> None:
        """Under the locks of the origins, as any enrolment: a page is landed before, and its sales are paid by this
        step, or begins after and finds a member."""
        lock_origins(account_id=work.account_id)
        if not change.after:
            work.finished = True
            return
        day, since = _since(change)
        if work.total is None:
            work.total = bought.how_many(work.account_id, since)[0]
        found = _next(work, since)
        ids = [one.persona_id for one in found]
        enrolled = personas.enrol_many(
            account_id=work.account_id, persona_ids=ids, ground=Ground.BOUGHT, from_date=day, now=work.now,
            user=work.user,
        )  # fmt: skip
        add(work, shoppers=enrolled, points=_posted(work.account_id, ids, work.now))

    def outcome(self, change: SettingChange) -> str:
        if not change.after:
            return "The day was cleared: purchases make nobody a member any more. Who is one stays one."
        done = change.applied.get("shoppers", 0)
        points = Decimal(change.applied.get("points", "0"))
        if not done:
            return "Nobody had to be enrolled: whoever bought since was a member already."
        return f"{done:,} {'shopper was' if done == 1 else 'shoppers were'} enrolled, {points:,.2f} points were posted."


def _since(change: SettingChange) -> tuple[date, tuple[Day, ...]]:
    if not change.after:
        raise GiveUp("There is no day to go by.")
    day = date.fromisoformat(change.after)
    account = Account.objects.get(pk=change.account_id)
    return day, tuple(Day(origin, day, ZoneInfo(account.timezone)) for origin in switches.origins_of(change))


def _next(work: Work, since: Sequence[Day]) -> list[Buyer]:
    """The buyers of this step, and the cursor behind them; fewer than a step holds: finished."""
    found = bought.to_enrol(work.account_id, since, after=work.cursor.get("after", 0), limit=AT_ONCE)
    if found:
        work.cursor = {"after": found[-1].persona_id}
        work.done += len(found)
    work.finished = len(found) < AT_ONCE
    return found


def _sample(work: Work, found: Sequence[Buyer], counted: Counted) -> None:
    """The ten who get most, of all steps so far."""
    gains = {row[0]: Decimal(row[2]) - Decimal(row[1]) for row in counted.sample}
    by_gain = sorted(found, key=lambda one: (-gains.get(one.persona_id, Decimal(0)), one.persona_id))[: counting.SAMPLE]
    ids = dict(
        Persona.unscoped.filter(account_id=work.account_id, pk__in=[one.persona_id for one in by_gain]).values_list(
            "pk", "contact_id"
        )
    )
    rows = [
        [str(ids[one.persona_id]), {"purchases": one.purchases, "points": str(gains.get(one.persona_id, Decimal(0)))}]
        for one in by_gain
    ]
    everybody = [*work.result.get("sample", []), *rows]
    work.result["sample"] = sorted(everybody, key=lambda row: -Decimal(row[1]["points"]))[: switches.SAMPLE]


def _notes(work: Work, day: date, current: rules.Rules | None) -> list[str]:
    found = work.result
    notes = []
    if current is None or not current.enabled:
        notes.append("Your loyalty programme is off: they become members, and earn nothing while it is off.")
    elif current.accrual_start and current.accrual_start > day:
        notes.append(
            f"Points accrual starts on {_day(current.accrual_start)}, which is later: purchases before it earn nothing."
        )
    if found["earlier"]:
        notes.append(
            f"{found['earlier']:,} of them are members by this setting already, from a later day: they earn from the "
            "new day."
        )
    if imported := Decimal(found.get("imported", "0")):
        notes.append(f"{imported:,.2f} of the points were imported from the POS and wait for them.")
    if mirrored := found.get("mirrored"):
        whose = "1 of them gets the balance" if mirrored == 1 else f"{mirrored:,} of them get the balances"
        notes.append(f"{whose} that the POS tells, and what was bought earns nothing here: it is mirrored.")
    if lapsing := Decimal(found["lapsing"]):
        notes.append(f"{lapsing:,.2f} of the points are past their expiry already and lapse at once.")
    if found["left_out"]:
        notes.append(
            f"{found['left_out']:,} more bought since and stay out: archived, or on the employee points blocklist."
        )
    if stay := switches.before_clearing(account_id=work.account_id, setting="enrol_after"):
        notes.append(stay)
    return notes


def _day(day: date) -> str:
    return f"{day:%-d %b %Y}"


def _posted(account_id: int, persona_ids: Sequence[int], now: datetime) -> Decimal:
    """What this step posted for them: a step has a moment of its own. What lapsed by itself is no doing of it."""
    with connection.cursor() as cursor:
        cursor.execute(
            """SELECT coalesce(sum(points), 0) FROM loyalty_entry e
               WHERE account_id = %s AND persona_id = ANY(%s) AND at = %s AND kind <> 'expire'""",
            [account_id, list(persona_ids), now],
        )
        return cursor.fetchone()[0]
