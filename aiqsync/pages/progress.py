"""What is running and how far it is, from the runs' own figures; for the card's page and for its script."""

import re
from collections import defaultdict
from collections.abc import Sequence
from datetime import datetime

from django.db.models import OuterRef, Subquery
from django.urls import reverse
from django.utils.html import format_html

from aiqsync.accounts.templatetags.iq import exact
from integrations import balances, services
from integrations.models import CredentialState, Location, PushedCall, RunStatus, StreamState, SyncRun

from .standing import FAILURES_TO_TELL, Standing, ago, moment, span

WAITS_TO_TELL_S = 15  # a free worker takes a run within a second

_PLACE = re.compile(r"^location (\S+?),")


def activity(standing: Standing) -> list[dict]:
    """One row a stream, in the card's order: state, share done, pace, time left, freshness, next look."""
    last = _last_done(standing)
    names = _place_names(standing)
    order = {s.name: number for number, s in enumerate(standing.card.streams)}
    several = len({s.credential_id for s in standing.states}) > 1
    rows = [
        _row(standing, state, last.get(state.pk), names, several)
        for state in sorted(standing.states, key=lambda s: (s.credential_id, order.get(s.stream, 99)))
    ]
    _say_rounds(standing, rows)
    return rows


def _last_done(standing: Standing) -> dict[int, SyncRun]:
    """The last finished run of each stream."""
    newest = SyncRun.objects.filter(stream=OuterRef("pk"), status=RunStatus.DONE).order_by("-id").values("pk")[:1]
    states = StreamState.objects.filter(pk__in=[s.pk for s in standing.states]).annotate(last=Subquery(newest))
    return {r.stream_id: r for r in SyncRun.objects.filter(pk__in=states.values("last"))}


def _place_names(standing: Standing) -> dict[str, str]:
    """External id -> name of the locations that running pulls name in their notes."""
    noted = {m[1] for run in standing.live.values() if (m := _PLACE.match(run.progress_note))}
    if not noted:
        return {}
    origins = [c.origin_id for c in standing.in_use]
    return dict(Location.objects.filter(origin__in=origins, external_id__in=noted).values_list("external_id", "name"))


def _row(standing: Standing, state: StreamState, done: SyncRun | None, names: dict[str, str], several: bool) -> dict:
    now = standing.now
    stream = standing.card.stream(state.stream)
    credential = next(c for c in standing.credentials if c.pk == state.credential_id)
    run = standing.live.get(state.pk)
    row = {
        "key": f"{state.pk}",
        "title": stream.title,
        "of": str(credential.origin.title if credential.origin else "") if several else "",
        "status": "ready",
        "text": "Up to date",
        "percent": None,
        "figures": "",
        "note": "",
        "fresh": _time(state.read_until, now),
        "next": _time(max(state.next_due, now), now),
    }
    if run and run.started_at:
        row |= {"status": "running", "next": None} | _running(run, now, names)
    elif run:
        waits = (now - run.queued_at).total_seconds()
        row |= {"status": "waiting", "text": "Starting" if waits < WAITS_TO_TELL_S else "Waiting for a free worker"}
        row["next"] = None
    elif standing.is_frozen(credential):
        row |= {"status": "frozen", "text": "Frozen: not asked", "next": None}
    elif credential.state == CredentialState.PAUSED:
        row |= {"status": "failed", "text": "Stopped until the credential works again", "next": None}
    elif state.failures:
        row |= {"status": "failed", "text": "Could not be read"}
    elif state.first_done_at is None:
        title = {s.name: s.title for s in standing.card.streams}
        read = {s.stream for s in standing.states if s.credential_id == credential.pk and s.first_done_at}
        missing = [title[name] for name in stream.after if name not in read]
        row |= {"status": "waiting", "text": f"After {' and '.join(missing)}" if missing else "Starts shortly"}
        row["next"] = None
    elif done:
        row["figures"] = _found(done, now)
    if state.first_done_at and row["status"] == "ready":
        row["percent"] = 100
    return row


def _say_rounds(standing: Standing, rows: list[dict]) -> None:
    """What a round of points balances takes, beside the streams that read them and have nothing else to say."""
    name = balances.stream_of(standing.card)
    origins = {c.pk: c.origin_id for c in standing.credentials if c.origin_id}
    silent = {row["key"]: row for row in rows if not row["note"]}
    resting = {
        origins[state.credential_id]: state
        for state in standing.states
        if state.stream == name and state.credential_id in origins and f"{state.pk}" in silent
    }
    if resting:
        for origin, words in balances.in_words(card=standing.card, states=resting).items():
            silent[f"{resting[origin].pk}"]["note"] = words


def _running(run: SyncRun, now: datetime, names: dict[str, str]) -> dict:
    elapsed = _elapsed(run, now)
    note = _PLACE.sub(lambda m: f"{names.get(m[1]) or 'location ' + m[1]},", run.progress_note)
    found: dict = {"text": "Reading", "figures": _pace(run.rows_read, elapsed), "note": note}
    if run.progress_total:
        done = min(run.progress_done, run.progress_total)
        # 100 is said by the end of the run alone.
        found["percent"] = min(99, 100 * done // run.progress_total)
        if 0 < done < run.progress_total and elapsed > 2:
            found["figures"] += f" · about {_rough(elapsed * (run.progress_total - done) / done)} left"
    return found


def _elapsed(run: SyncRun, now: datetime) -> float:
    return max(0.0, ((run.finished_at or now) - run.started_at).total_seconds()) if run.started_at else 0.0


def _pace(rows: int, elapsed: float) -> str:
    text = f"{rows:,} row{'' if rows == 1 else 's'}"
    return f"{text} · {rows / elapsed:,.0f} rows/s" if elapsed >= 1 and rows / elapsed >= 1 else text


def _found(run: SyncRun, now: datetime) -> str:
    """What the last finished run came back with."""
    words = [f"{n:,} {what}" for n, what in ((run.rows_new, "new"), (run.rows_changed, "changed")) if n]
    elapsed = _elapsed(run, now)
    if run.rows_read >= 100 and elapsed > 0.2:
        words.append(f"{run.rows_read / elapsed:,.0f} rows/s")
    return " · ".join(words)


def _rough(seconds: float) -> str:
    """A time left without false precision."""
    if seconds < 60:
        return f"{max(5, 5 * round(seconds / 5))} s"
    return f"{round(seconds / 60)} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def _time(at: datetime | None, now: datetime) -> dict | None:
    return {"at": at.isoformat(), "text": ago(at, now), "exact": exact(at)} if at else None


def run_row(run: SyncRun, title: str, now: datetime) -> dict:
    """A run for the list: what it counted, how long, what went wrong."""
    elapsed = _elapsed(run, now)
    tones = {RunStatus.DONE: "good", RunStatus.FAILED: "warn", RunStatus.RUNNING: "info", RunStatus.QUEUED: "info"}
    return {
        "run": run,
        "title": title,
        "tone": tones.get(run.status, ""),
        "when": moment(run.started_at or run.queued_at, now=now),
        "kind": " · ".join(
            word
            for word, yes in (
                ("everything again", run.full),
                ("by hand", run.manual),
                (f"{run.rows_outside:,} outside the market", run.rows_outside),
                (f"{run.calls_spared:,} calls spared", run.calls_spared),
            )
            if yes
        ),
        "duration": span(elapsed) if run.started_at else "",
        "rate": f"{run.rows_read / elapsed:,.0f}" if elapsed > 0.2 and run.rows_read else "",
        "message": run.message,
    }


def tells(run: SyncRun) -> bool:
    """Something a merchant would want to see in a list of ten."""
    return bool(run.rows_new or run.rows_changed or run.rows_refused or run.manual or run.full) or run.status not in (
        RunStatus.DONE,
        RunStatus.QUEUED,
    )


def stamp(standing: Standing, rows: list[dict], calls: Sequence[PushedCall] = ()) -> str:
    """Changes when the rest of the page (runs, latest calls, refused rows, sentences) is worth reading again."""
    first = [s.pk for s in standing.states if s.first_done_at is None]
    asked = [r.pk for r in standing.live.values() if r.manual or r.full]
    failing = [(s.pk, s.failures) for s in standing.states if s.failures]
    found = [(r["key"], r["figures"]) for r in rows if r["status"] == "ready"]
    frozen = [c.pk for c in standing.frozen]
    return f"{frozen}|{standing.pill.key}|{first}|{asked}|{failing}|{found}|{standing.unmapped}|{[c.pk for c in calls]}"


def trouble(standing: Standing) -> list[dict]:
    """What is wrong, in sentences: what happened, what happens next, what to do."""
    card, now, told = standing.card, standing.now, []
    told += _frozen(standing)
    for credential in standing.credentials:
        if credential.state == CredentialState.PAUSED and not standing.is_frozen(credential):
            told.append(
                {
                    "tone": "warn",
                    "title": f"{card.title} does not let us in",
                    "text": credential.message,
                    "next": f"Nothing is asked of {card.title} until the credential works again. "
                    "What was read stays; points and rewards go on.",
                    "url": reverse("admin:card-credential", args=[card.slug, credential.pk]),
                    "button": "Open the credential",
                }
            )
    titles = card.titles
    paused = {c.pk for c in standing.credentials if c.state == CredentialState.PAUSED}
    failing: dict[str, list[StreamState]] = defaultdict(list)
    for state in standing.awake:
        if state.failures and state.credential_id not in paused:
            failing[state.message].append(state)
    for message, states in failing.items():
        worst = max(s.failures for s in states)
        since = min((s.failing_since for s in states if s.failing_since), default=None)
        told.append(
            {
                "tone": "warn" if worst >= FAILURES_TO_TELL else "info",
                "title": f"{_and([titles[s.stream] for s in states])} could not be read",
                "text": message,
                "since": moment(since, now=now) if since else "",
                "times": worst,
                "again": moment(min(s.next_due for s in states), now=now),
            }
        )
    live = {c.pk: c for c in standing.in_use}
    settled = [s for s in standing.states if s.credential_id in live]
    for state in settled:
        state.credential = live[state.credential_id]
    empty = services.never_brought(card=card, states=settled)
    told += [
        {
            "tone": "info",
            "title": f"{titles[state.stream]}: read to the end, and there was nothing",
            "text": card.stream(state.stream).if_empty,
        }
        for state in settled
        if state.pk in empty
    ]
    if standing.stalled:
        told.append(
            {
                "tone": "warn",
                "title": "Nothing is being read at the moment",
                "text": "The sync service of this installation is not running, so what is due stays undone.",
                "next": "Tell whoever runs it; it goes on where it stopped.",
            }
        )
    if standing.in_use and standing.unmapped:
        one = standing.unmapped == 1
        told.append(
            {
                "tone": "info",
                "title": f"{standing.unmapped} location{' is' if one else 's are'} not mapped to a store",
                "text": f"{'Its' if one else 'Their'} sales are read and earn points, but count for no store.",
                "url": reverse("admin:card-mapping", args=[card.slug]),
                "button": "Map stores",
            }
        )
    return told


def _frozen(standing: Standing) -> list[dict]:
    """Since when nothing is asked, and as of when the data is."""
    card, now, link = standing.card, standing.now, standing.connection
    if link is None or not (link.frozen_at or standing.frozen):
        return []
    newest: dict[int, datetime | None] = {
        pk: max((s.read_until for s in standing.states if s.credential_id == pk and s.read_until), default=None)
        for pk in {c.pk for c in standing.frozen}
    }
    note = {
        "tone": "info",
        "next": "Redemptions that wait for their sale stay as they are. Going on reads what happened meanwhile.",
        "button": "Go on syncing",
    }
    if link.frozen_at and not standing.in_use:
        # Nothing would be asked at the moment, but nothing connects either before somebody turns it off.
        text = format_html(
            "Frozen since {}: no call goes to {} in either direction, so it cannot be connected either. Everything it "
            "brought is kept.", moment(link.frozen_at, now=now), card.title,
        )  # fmt: skip
        return [
            note | {
                "title": "Use last backup is on", "text": text, "next": "Turn it off, then connect again.",
                "url": reverse("admin:card-freeze", args=[card.slug]),
            }
        ]  # fmt: skip
    if link.frozen_at:
        until = max((at for at in newest.values() if at), default=None)
        text = format_html(
            "Frozen since {}: no call goes to {} in either direction. Its data is as of {}.",
            moment(link.frozen_at, now=now), card.title, moment(until, now=now, empty="before the first sync"),
        )  # fmt: skip
        return [
            note
            | {"title": "Use last backup is on", "text": text, "url": reverse("admin:card-freeze", args=[card.slug])}
        ]
    return [
        note
        | {
            "title": f"{one.origin.title if one.origin else card.title} is frozen",
            "text": format_html(
                "Since {}: no call goes out for this credential. Its data is as of {}.",
                moment(one.frozen_at, now=now), moment(newest[one.pk], now=now, empty="before the first sync"),
            ),
            "url": reverse("admin:card-credential-freeze", args=[card.slug, one.pk]),
        }
        for one in standing.frozen
    ]  # fmt: skip


def _and(words: list[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"


def running(standing: Standing) -> bool:
    """Worth asking every second."""
    return bool(standing.live) or (bool(standing.in_use) and standing.first_sync and not _stuck(standing))


def _stuck(standing: Standing) -> bool:
    return standing.stalled or not standing.readable
