"""The two settings about the POS's own points: mirror them, or take them over once. Counted, confirmed, applied.

Both read the POS first: there is no list of balances, so a whole round over the shoppers comes before any figure.
"""

from collections import defaultdict
from datetime import date, datetime, timedelta
from decimal import Decimal
from zoneinfo import ZoneInfo

from aiqsync.accounts.models import Account
from integrations import balances, services
from integrations.models import SettingChange

from . import earning, imports, jobs, ledger, mirror, programme, switches
from .jobs import GiveUp, Work
from .models import Engine, Wallet
from .switches import Column, Switch, add, switch

PEOPLE = 500
LOOK_AGAIN = timedelta(seconds=5)
FIFO = (
    "Mirroring does not go with the FIFO expiration of your programme: the lots would contradict {pos}'s balances. "
    "Choose the legacy engine under Settings > Loyalty first."
)


def _title(change: SettingChange) -> str:
    return services.card(change.connection.card).title


def zone_of(account_id: int) -> ZoneInfo:
    return ZoneInfo(Account.objects.get(pk=account_id).timezone)


def _read(work: Work, change: SettingChange, *, since: datetime) -> bool:
    """Whether the POS's balances have been read whole since then; otherwise they are asked for, and the job rests."""
    origins = switches.origins_of(change)
    if not origins:
        raise GiveUp(f"{_title(change)} is not connected, so its balances cannot be read.")
    standing = balances.standing(connection_id=change.connection_id)
    if balances.round_since(origin_ids=origins, moment=since):
        return True
    if standing.stuck:
        raise GiveUp(standing.stuck)
    balances.ask(connection_id=change.connection_id, at=since)
    work.total, work.done = standing.shoppers, standing.done
    work.result["notes"] = [f"Reading {_title(change)}'s balances. {standing.words}", *filter(None, [standing.message])]
    work.wait_until = work.now + LOOK_AGAIN
    return False


def _people(work: Work, change: SettingChange) -> list[int]:
    """The next people of the card's origins, and the cursor behind them."""
    origins = switches.origins_of(change)
    ids = mirror.people_of(
        account_id=work.account_id, origin_ids=origins, after=work.cursor.get("after", 0), limit=PEOPLE
    )
    if ids:
        work.cursor["after"] = ids[-1]
        work.done += len(ids)
    work.total = max(work.total or 0, work.done)
    return ids


def _begin(work: Work) -> None:
    """Reading is over; the shoppers are gone through from the first."""
    if work.cursor.get("phase") != "people":
        work.cursor["phase"], work.done, work.total = "people", 0, None
        work.result["notes"] = []


def _held(account_id: int, ids: list[int], now: datetime) -> dict[int, Decimal]:
    rows = Wallet.unscoped.filter(account_id=account_id, persona_id__in=ids)
    return dict(rows.annotate(can_spend=ledger.spendable(now)).values_list("persona_id", "can_spend"))


def _sample(work: Work, contact_id: str, **figures: Decimal) -> None:
    rows = work.result.setdefault("sample", [])
    if len(rows) < switches.SAMPLE:
        rows.append([contact_id, {name: str(value) for name, value in figures.items()}])


def _count_people(work: Work, change: SettingChange) -> tuple[list[imports.Record], dict[int, Decimal]]:
    ids = _people(work, change)
    work.finished = len(ids) < PEOPLE
    found = imports.records(account_id=work.account_id, persona_ids=ids, origin_ids=switches.origins_of(change))
    return found, _held(work.account_id, ids, work.now)


def _plural(number: int, one: str, many: str) -> str:
    return f"{number:,} {one if number == 1 else many}"


@switch("points_import_on")
class PointsImportOn(Switch):
    """Once for each shopper. The figures are of the reading; confirming reads once more, so that nothing is missed."""

    columns = (Column("before", "Before"), Column("change", "Imported", "change"), Column("after", "After"))

    def count(self, work: Work, change: SettingChange) -> None:
        since = _since(work)
        if work.cursor.get("phase") != "people" and not _read(work, change, since=since):
            return
        _begin(work)
        found, held = _count_people(work, change)
        of = defaultdict(Decimal)
        waiting: set[int] = set()
        add(work, shoppers=0, points=Decimal(0), waiting=0, waiting_points=Decimal(0), below=0, before=0)
        for one in found:
            if one.done:
                add(work, before=1)
            elif one.points < 0:
                add(work, below=1)
            elif one.points > 0 and one.is_member:
                of[one.persona_id] += one.points
            elif one.points > 0:
                waiting.add(one.persona_id)
                add(work, waiting_points=one.points)
        names = {one.persona_id: one.contact_id for one in found}
        add(work, shoppers=len(of), points=sum(of.values(), Decimal(0)), waiting=len(waiting))
        for persona, points in of.items():
            before = held.get(persona, Decimal(0))
            _sample(work, names[persona], before=before, change=points, after=before + points)
        if work.finished:
            work.result["notes"] = self._notes(work, change)
            balances.end(origin_ids=switches.origins_of(change))

    @staticmethod
    def _notes(work: Work, change: SettingChange) -> list[str]:
        pos, r = _title(change), work.result
        on = date.fromisoformat(change.after)
        today = work.now.astimezone(zone_of(work.account_id)).date()
        notes = []
        if on > today:
            notes.append(
                f"The balances are taken at the end of {on:%-d %b %Y}; these figures are today's. {pos} is read again "
                "then."
            )
        else:
            notes.append(f"Confirming reads {pos} once more, and takes the balances as they are then.")
        if r["waiting"]:
            notes.append(
                f"{_plural(r['waiting'], 'shopper is', 'shoppers are')} no members yet: their "
                f"{Decimal(r['waiting_points']):,.0f} points wait for them, and are theirs when they join."
            )
        if r["below"]:
            notes.append(
                f"{_plural(r['below'], 'balance is', 'balances are')} below zero in {pos}: nothing is taken for it."
            )
        if r["before"]:
            notes.append(
                f"{_plural(r['before'], 'balance was', 'balances were')} imported before and is not taken twice."
            )
        return notes

    def apply(self, work: Work, change: SettingChange) -> None:
        ends = switches.midnight(zone_of(work.account_id), date.fromisoformat(change.after) + timedelta(days=1))
        confirmed = change.confirmed_at or work.now
        if work.cursor.get("phase") != "people":
            day_is_over = confirmed
            if date.fromisoformat(change.after) > confirmed.astimezone(zone_of(work.account_id)).date():
                day_is_over = ends
                if work.now < ends:
                    work.result["notes"] = [f"Waits for the end of {date.fromisoformat(change.after):%-d %b %Y}."]
                    work.wait_until = ends
                    return
            if not _read(work, change, since=day_is_over):
                return
            _begin(work)
            work.cursor["taken"] = work.now.isoformat()
            services.lock_origins(account_id=work.account_id)
            imports.take(account_id=work.account_id, origin_ids=switches.origins_of(change), now=work.now)
        services.lock_origins(account_id=work.account_id)
        ids = _people(work, change)
        work.finished = len(ids) < PEOPLE
        paid = imports.pay(account_id=work.account_id, persona_ids=ids, now=work.now)
        add(work, shoppers=paid.shoppers, points=paid.points)
        if work.finished:
            balances.end(origin_ids=switches.origins_of(change))

    def outcome(self, change: SettingChange) -> str:
        done = change.applied
        return (
            f"{_plural(done.get('shoppers', 0), 'shopper', 'shoppers')} got {Decimal(done.get('points', '0')):,.0f} "
            f"points from {_title(change)}. Nothing is read any more."
        )


def _since(work: Work) -> datetime:
    """The round must have begun after the counting did."""
    return datetime.fromisoformat(work.cursor.setdefault("since", work.now.isoformat()))


@switch("mirror_points")
class MirrorPoints(Switch):
    """Every balance of a member becomes the POS's, from the confirmation on, and keeps being overwritten."""

    columns = (Column("before", "Before"), Column("after", "After"), Column("change", "Change", "change"))

    def count(self, work: Work, change: SettingChange) -> None:
        since = _since(work)
        if work.cursor.get("phase") != "people" and not _read(work, change, since=since):
            return
        _begin(work)
        found, held = _count_people(work, change)
        after: dict[int, Decimal] = defaultdict(Decimal)
        add(work, shoppers=0, points=Decimal(0), points_before=Decimal(0), no_members=0, below=0, changed=0)
        strangers = {one.persona_id for one in found if not one.is_member}
        for one in found:
            add(work, below=int(one.points < 0))
            if one.is_member:
                after[one.persona_id] += max(one.points, Decimal(0))
        names = {one.persona_id: one.contact_id for one in found}
        before = {persona: held.get(persona, Decimal(0)) for persona in after}
        changed = [persona for persona in after if after[persona] != before[persona]]
        add(
            work, shoppers=len(after), points=sum(after.values(), Decimal(0)),
            points_before=sum(before.values(), Decimal(0)), no_members=len(strangers), changed=len(changed),
        )  # fmt: skip
        for persona in changed:
            _sample(
                work, names[persona], before=before[persona], after=after[persona],
                change=after[persona] - before[persona],
            )  # fmt: skip
        if work.finished:
            self._finish(work, change)

    @staticmethod
    def _finish(work: Work, change: SettingChange) -> None:
        pos, r = _title(change), work.result
        r["figures"] = [
            ["Points before", f"{Decimal(r['points_before']):,.0f}", f"of {r['shoppers']:,} members"],
            ["Points after", f"{Decimal(r['points']):,.0f}", f"as {pos} tells them"],
            ["Balances that change", f"{r['changed']:,}", ""],
        ]
        standing = balances.standing(connection_id=change.connection_id)
        notes = [
            f"{standing.words} Shoppers with new sales are read first.",
            "While it is on, purchases earn nothing here, points cannot be given or taken by hand, and rewards "
            "that cost points are shown but not redeemable.",
        ]
        if r["no_members"]:
            notes.append(
                f"{_plural(r['no_members'], 'shopper is', 'shoppers are')} no members: nothing is mirrored for them "
                "until they join."
            )
        if r["below"]:
            notes.append(f"{_plural(r['below'], 'balance is', 'balances are')} below zero in {pos}, and 0 here.")
        r["notes"] = notes
        balances.end(origin_ids=switches.origins_of(change))

    def confirmed(self, change: SettingChange, now: datetime) -> None:
        # Held until the setting is committed: who changes the engine looks for mirrored cards behind the same lock.
        if programme.locked(change.account_id).engine == Engine.FIFO:
            raise services.Refused(FIFO.format(pos=_title(change)), field="mirror_points")
        mirror.begin(account_id=change.account_id, origin_ids=switches.origins_of(change), now=now)
        balances.ask(connection_id=change.connection_id, continuous=True)

    def apply(self, work: Work, change: SettingChange) -> None:
        services.lock_origins(account_id=work.account_id)
        ids = _people(work, change)
        work.finished = len(ids) < PEOPLE
        done = mirror.settle(account_id=work.account_id, persona_ids=ids, now=work.now)
        add(work, shoppers=done.shoppers, points=done.points)

    def outcome(self, change: SettingChange) -> str:
        done = change.applied
        pos = _title(change)
        return (
            f"{_plural(done.get('shoppers', 0), 'balance', 'balances')} changed. They are {pos}'s now, and follow it "
            "until mirroring is turned off."
        )


def dropped(
    *, account_id: int, platform: str, setting: str, now: datetime, enqueue: jobs.Enqueue | None = None
) -> None:
    """One of the two was turned off or cleared. Balances stay; after mirroring, what is sold from now on earns."""
    if setting == "mirror_points":
        origins = mirror.end(account_id=account_id, platform=platform, now=now)
        balances.end(origin_ids=origins, continuous=True)
        jobs.start(
            account_id=account_id, kind="mirror_ended", args={"origins": origins}, user=None, now=now, enqueue=enqueue
        )


@jobs.handler("mirror_ended")
def _mirror_ended(work: Work) -> None:
    """Who was never read before mirroring ended earns for what he bought meanwhile; all others rest as they stand."""
    services.lock_origins(account_id=work.account_id)
    ids = mirror.people_of(
        account_id=work.account_id, origin_ids=work.args["origins"], after=work.cursor.get("after", 0), limit=PEOPLE
    )
    earning.settle_personas(account_id=work.account_id, persona_ids=ids, now=work.now)
    work.cursor = {"after": ids[-1]} if ids else work.cursor
    work.done += len(ids)
    work.finished = len(ids) < PEOPLE
