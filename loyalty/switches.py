"""Settings of a card that act on people: counted, confirmed by somebody, then applied, a step at a time.

A switch is registered by its setting's name. Its two functions do one bounded step each, on `jobs.Work`: what a step
did, its cursor and the proof that the job is still ours are one transaction, so stopping, a dead worker and a second
delivery do nothing twice. Each change has jobs of its own: two settings, or one setting of two cards, never get in each
other's way by the one-live-job rule; where they touch the same people, the locks of those decide.
"""

from dataclasses import dataclass
from datetime import date, datetime, time
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

from aiqsync.accounts import audit
from aiqsync.accounts.tenancy import acting_in
from integrations import services
from integrations.models import ChangeState, SettingChange

from . import jobs
from .jobs import Enqueue, GiveUp, Work
from .models import Job, JobState, Programme

SAMPLE = 10


@dataclass(frozen=True)
class Column:
    """A figure of each shopper in the sample. `kind`: "points" (as they are), "change" (with its sign) or "text"."""

    key: str
    label: str
    kind: str = "points"


class Switch:
    """What a setting does to people. Steps keep their figures in `work.result`, as JSON:

    `shoppers`, `points` (text of a Decimal), `texts`: what the page shows large; `notes`: sentences; `sample`: rows
    `[contact id, {column key: value}]`, ten at most, no names; anything else is the switch's own. With
    `work.finished` the figures become the change's `counted`, or `applied`.
    """

    unit = "shoppers"  # what `done` of `total` counts
    columns: tuple[Column, ...] = ()
    by_programme = False  # its figures follow from the programme: a change of that asks for another count

    def count(self, work: Work, change: SettingChange) -> None:
        """One step of counting. Writes nothing but `work`."""
        raise NotImplementedError

    def apply(self, work: Work, change: SettingChange) -> None:
        """One step of applying, repeatable: who is done already is passed."""
        raise NotImplementedError

    def confirmed(self, change: SettingChange, now: datetime) -> None:
        """In the transaction of the confirmation. May raise `services.Refused`."""

    def outcome(self, change: SettingChange) -> str:
        """What came of it, in a sentence, once it is applied; `change.applied` has the figures."""
        return ""


SWITCHES: dict[str, Switch] = {}


def switch(name: str):
    """Register a subclass of `Switch` for the setting of this name."""

    def register(kind: type[Switch]) -> type[Switch]:
        SWITCHES[name] = kind()
        return kind

    return register


def of(change: SettingChange) -> Switch:
    return SWITCHES[change.setting]


def midnight(account_zone: ZoneInfo, day: date) -> datetime:
    """The moment from which a day counts: 00:00 in the account's zone."""
    return datetime.combine(day, time.min, account_zone)


def origins_of(change: SettingChange) -> list[int]:
    """The origins whose sales the card brings: those of credentials that are in use."""
    return services.origins_of(connection_id=change.connection_id)


# The sink's verbs, inside the caller's transaction


def preview(*, change_id: int, now: datetime, enqueue: Enqueue | None = None) -> None:
    """Begin to count a change (state counting), or count it again."""
    change = _get(change_id)
    with acting_in(change.account_id):
        audit.record(
            act="setting.proposed", target=_title(change), user=change.made_by,
            detail={"change": change.pk, "before": change.before, "after": change.after},
        )  # fmt: skip
        _start("preview", change, change.made_by, now, enqueue)


def apply(*, change_id: int, now: datetime, enqueue: Enqueue | None = None) -> None:
    """Begin to apply a change that somebody confirmed. Raises `services.Refused`."""
    change = _get(change_id)
    with acting_in(change.account_id):
        if of(change).by_programme and change.counted.get("version") != _version(change.account_id):
            raise services.Refused(
                "The programme's settings were changed since this was counted. Count again, and confirm those figures.",
                field=change.setting,
            )
        of(change).confirmed(change, now)
        audit.record(
            act="setting.confirmed", target=_title(change), user=change.confirmed_by,
            detail={"change": change.pk, "before": change.before, "after": change.after}
            | _figures(change.counted),
        )  # fmt: skip
        _start("switch", change, change.confirmed_by, now, enqueue)


def stop(*, change_id: int, now: datetime) -> None:
    """Halt the counting or the applying: what its steps saved stays, the step under way saves nothing."""
    change = _get(change_id)
    for job in _jobs(change).filter(state__in=jobs.LIVE):
        jobs.stop(job_id=job.pk, now=now)


def resume(*, change_id: int, now: datetime, enqueue: Enqueue | None = None) -> None:
    """Go on behind the last saved step; a job that is gone by now begins again, which does nothing twice."""
    change = _get(change_id)
    kind = "switch" if change.state == ChangeState.APPLYING else "preview"
    with acting_in(change.account_id):
        job = _jobs(change).filter(kind=f"{kind}:{change.pk}").order_by("-id").first()
        if job is None or not (job.state in jobs.LIVE or jobs.resume(job_id=job.pk, now=now, enqueue=enqueue)):
            _start(kind, change, change.confirmed_by or change.made_by, now, enqueue)


def job_of(change: SettingChange) -> Job | None:
    """The job that counts or applies it: the latest."""
    kind = "switch" if change.confirmed_at else "preview"
    return _jobs(change).filter(kind=f"{kind}:{change.pk}").order_by("-id").first()


def _jobs(change: SettingChange):
    kinds = [f"preview:{change.pk}", f"switch:{change.pk}"]
    return Job.unscoped.filter(account_id=change.account_id, kind__in=kinds)


def _get(change_id: int) -> SettingChange:
    return SettingChange.unscoped.select_related("connection", "made_by", "confirmed_by").get(pk=change_id)


def _start(kind: str, change: SettingChange, user: Any, now: datetime, enqueue: Enqueue | None) -> None:
    if change.setting not in SWITCHES:
        raise services.Refused("Nothing here can apply this setting.", field=change.setting)
    # The kind names the change, so a live job of it is the one that is wanted.
    jobs.start(
        account_id=change.account_id, kind=f"{kind}:{change.pk}", args={"change": change.pk}, user=user, now=now,
        enqueue=enqueue,
    )  # fmt: skip


def _version(account_id: int) -> int | None:
    return Programme.unscoped.filter(account_id=account_id).values_list("version", flat=True).first()


def _title(change: SettingChange) -> str:
    card = services.card(change.connection.card)
    label = next((s.label for s in card.settings if s.name == change.setting), change.setting)
    return f"{card.title}: {label}"


def _figures(found: dict[str, Any]) -> dict[str, Any]:
    return {name: found[name] for name in ("shoppers", "points", "texts") if name in found}


# Jobs


def _failed(job: Job, message: str) -> None:
    """The job was given up: the change says so, and can be resumed or counted again."""
    services.note_failed(change_id=job.args["change"], message=message)


def _of(work: Work, state: str) -> SettingChange:
    change = (
        SettingChange.unscoped.select_related("connection")
        .filter(account_id=work.account_id, pk=work.args["change"], state=state)
        .first()
    )
    if change is None:
        raise GiveUp("The change it was for is not waiting for it any more.")
    return change


@jobs.handler("preview", failed=_failed)
def _preview(work: Work) -> None:
    change = _of(work, ChangeState.COUNTING)
    if "version" not in work.result:
        work.result["version"] = _version(work.account_id)
    of(change).count(work, change)
    if work.finished:
        figures = dict(work.result)
        sample = figures.pop("sample", [])[:SAMPLE]
        if not services.note_counted(
            change_id=change.pk, counted=figures | {"at": work.now.isoformat()}, sample=sample
        ):
            raise jobs.LostLease  # dismissed in this very moment


@jobs.handler("switch", failed=_failed)
def _switch(work: Work) -> None:
    change = _of(work, ChangeState.APPLYING)
    of(change).apply(work, change)
    if work.finished:
        if not services.note_applied(change_id=change.pk, applied=work.result, now=work.now):
            raise jobs.LostLease  # stopped in this very moment
        audit.record(
            act="setting.applied", target=_title(change), user=work.user,
            detail={"change": change.pk} | _figures(work.result),
        )  # fmt: skip


# Sums


def add(work: Work, **figures: int | Decimal) -> None:
    """Add to the figures of `work.result`; Decimals are kept as text."""
    for name, value in figures.items():
        before = work.result.get(name, 0)
        if isinstance(value, Decimal):
            work.result[name] = str(Decimal(str(before)) + value)
        else:
            work.result[name] = before + value


def is_live(job: Job | None) -> bool:
    return job is not None and job.state in jobs.LIVE


def is_over(job: Job | None) -> bool:
    return job is None or job.state in (JobState.STOPPED, JobState.FAILED)
