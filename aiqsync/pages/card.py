"""One card's page: how it stands, what is running, what came of it, its stores, switches and credentials."""

import json
from collections.abc import Mapping
from datetime import datetime

from django.contrib import messages
from django.db import transaction
from django.db.models import Count, Window
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse, QueryDict
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_POST, require_safe

from aiqsync import tasks
from aiqsync.accounts import audit
from aiqsync.accounts.roles import may
from integrations import docs, services
from integrations.models import Credential, RefusedRow, SyncRun

from . import card_settings, till, writes
from .connect import form_page, mapping_rows, places_of
from .integrations import frame
from .progress import activity, run_row, running, stamp, tells, trouble
from .standing import IN_USE, Standing, day, moment, standing_of

RUNS_SHOWN = 10
RUNS_LOOKED_AT = 200  # an idle shop is asked every 20 s: most runs find nothing and have nothing to tell
REFUSED_SHOWN = 20
MAPPED_HERE = 30  # more locations than that are mapped on a page of their own


@require_safe
def page(request: HttpRequest, slug: str) -> HttpResponse:
    standing = standing_of(slug, now=timezone.now())
    if not standing.ever_connected:
        newest_draft = Credential.objects.filter(connection__card=slug).order_by("id").last()
        return form_page(request, standing, newest_draft)
    return show(request, standing)


def show(
    request: HttpRequest,
    standing: Standing,
    *,
    typed: QueryDict | None = None,
    problems: Mapping[str, str] | None = None,
) -> HttpResponse:
    """The card's page; with what was typed into its settings when some of it was refused."""
    now, slug, card = standing.now, standing.card.slug, standing.card
    origins = [c.origin_id for c in standing.credentials if c.origin_id]
    refused = list(
        RefusedRow.objects.filter(origin__in=origins, solved_at=None)
        .annotate(of=Window(Count("pk")))  # rows and their number in one query
        .order_by("-last_at")[:REFUSED_SHOWN]
    )
    refused_count = refused[0].of if refused else 0
    titles = card.titles
    told = {state.pk: titles.get(state.stream, state.stream) for state in (*standing.states, *standing.past)}
    places = list(places_of(standing))
    runs, quiet = _runs(standing, show_all=request.GET.get("runs") == "all")
    newest = standing.newest
    streams = activity(standing)
    calls = _calls(standing, origins, now) if card.arrivals else None
    return render(
        request,
        "aiqsync/integrations/card.html",
        frame(
            request,
            title=card.title,
            standing=standing,
            limits=docs.limits(card),
            pill=standing.pill,
            newest_title=newest[0] if newest else "",
            newest=moment(newest[1], now=now, empty="") if newest else "",
            activity=streams,
            calls=calls,
            stamp=stamp(standing, streams, [row["call"] for row in calls["latest"]] if calls else ()),
            trouble=trouble(standing),
            runs=[run_row(run, told[run.stream_id], now) for run in runs],
            quiet_runs=quiet,
            all_runs=request.GET.get("runs") == "all",
            writes=writes.section(standing, now=now),
            refused=[_refused_row(row, titles, now) for row in refused],
            refused_count=refused_count,
            refused_more=max(0, refused_count - REFUSED_SHOWN),
            rows=mapping_rows(places, suggest=False) if len(places) <= MAPPED_HERE else None,
            may_freeze=card.serves("frozen"),
            may_erase=may(request.membership.role, "integrations.erase"),
            **card_settings.context(request, standing, places, typed=typed, problems=problems),
            credentials=[_credential_row(c, standing, now) for c in standing.credentials],
            **till.panel(request, standing),
            poll_url=reverse("admin:card-progress", args=[slug]),
        ),
        status=422 if problems else 200,
    )


def _calls(standing: Standing, origins: list[int], now: datetime) -> dict:
    """What came to a card that is told: each call with its figures of the last day, and the latest calls."""
    told = services.traffic(origin_ids=origins, now=now)
    rows = []
    for arrival in standing.card.arrivals:
        for call in arrival.calls:
            count, items, refused, last = told.calls.get(call, (0, 0, 0, None))
            rows.append(
                {
                    "call": call,
                    "title": arrival.title,
                    "count": count,
                    "items": items,
                    "refused": refused,
                    "last": moment(last, now=now, empty="none in the last day"),
                }
            )
    return {
        "rows": rows,
        "latest": [{"call": one, "when": moment(one.at, now=now)} for one in told.latest],
        "last": moment(told.latest[0].at, now=now) if told.latest else "",
    }


def _runs(standing: Standing, *, show_all: bool) -> tuple[list[SyncRun], int]:
    """The runs to show, and how many of those looked at found nothing."""
    streams = [state.pk for state in (*standing.states, *standing.past)]
    looked = list(
        SyncRun.objects.filter(stream__in=streams).defer("detail", "seconds").order_by("-id")[:RUNS_LOOKED_AT]
    )
    telling = looked if show_all else [run for run in looked if tells(run)]
    return telling[:RUNS_SHOWN], sum(not tells(run) for run in looked)


def _refused_row(row: RefusedRow, titles: dict[str, str], now: datetime) -> dict:
    return {
        "row": row,
        "title": titles.get(row.stream, row.stream),
        "at": moment(row.last_at, now=now),
        "text": json.dumps(row.row, indent=2, ensure_ascii=False),
    }


def _credential_row(credential: Credential, standing: Standing, now: datetime) -> dict:
    first = next((f for f in standing.card.credentials if not f.secret), None)
    tones = {"connected": "good", "paused": "warn"}
    return {
        "credential": credential,
        "name": credential.origin.title
        if credential.origin
        else f"{first.label} {credential.values.get(first.name, '')}"
        if first
        else standing.card.title,
        "tone": tones.get(credential.state, ""),
        "in_use": credential.state in IN_USE,
        "frozen": day(credential.frozen_at) if credential.frozen_at else "",
        "erasing": bool(credential.origin and credential.origin.erasing_at),
        "erased": day(credential.origin.erased_at) if credential.origin and credential.origin.erased_at else "",
        "since": day(credential.connected_at) if credential.connected_at else "",
        "set": day(credential.secrets_at) if credential.secrets_at and standing.card.secret_names else "",
        "checked": moment(credential.checked_at, now=now) if credential.checked_at else "",
    }


@require_safe
@never_cache
def progress(request: HttpRequest, slug: str) -> JsonResponse:
    """What the page's script asks for every second while something runs, every five otherwise."""
    standing = standing_of(slug, now=timezone.now())
    rows = activity(standing)
    pill = standing.pill
    busy = running(standing)
    origins = [c.origin_id for c in standing.credentials if c.origin_id]
    calls = services.latest_calls(origin_ids=origins) if standing.card.arrivals else ()
    return JsonResponse(
        {
            "pill": {"label": pill.label, "tone": pill.tone},
            "streams": rows,
            "stamp": stamp(standing, rows, calls),
            "running": busy,
            "again_ms": 1000 if busy else 5000,
        }
    )


@require_POST
def sync_now(request: HttpRequest, slug: str) -> HttpResponse:
    standing = standing_of(slug, now=timezone.now())
    if standing.connection is None:
        raise Http404
    with transaction.atomic():
        started = services.sync_now(connection=standing.connection, enqueue=tasks.enqueue)
        audit.record(
            act="integration.sync_now", target=standing.card.title, user=request.user, detail={"runs": started}
        )
    if started:
        messages.success(request, f"{standing.card.title} is being read now.")
    else:
        messages.warning(request, f"Nothing can be read: {standing.card.title} is not connected.")
    return redirect("admin:card", slug)
