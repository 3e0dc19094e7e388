"""A card's section "Written to <POS>": who was created or completed, who waits and why, what failed; retry, give up."""

from datetime import datetime
from typing import Any

from django.contrib import messages
from django.db import transaction
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.http import require_POST

from aiqsync.accounts import audit
from aiqsync.accounts.typed import whole_number
from integrations import services
from integrations.models import OutboundWrite, WriteState
from loyalty.models import Persona

from .standing import Standing, day, moment, standing_of

SHOWN = 20
# In the order they are told; those of nobody are left out.
TOLD = (
    (WriteState.SENT, "Created"), (WriteState.FOUND, "Were there already"), (WriteState.WAITING, "Waiting"),
    (WriteState.FAILED, "Failed"), (WriteState.GIVEN_UP, "Given up"),
)  # fmt: skip
ACTS = {"retry": services.retry_writes, "give-up": services.give_up_writes}


def section(standing: Standing, *, now: datetime) -> dict[str, Any] | None:
    """What the template part shows; None where nothing is written to this POS and nothing ever was."""
    if not standing.card.writers or standing.connection is None:
        return None
    writes = services.writes_of(connection=standing.connection)
    chosen = services.settings_of(standing.connection)
    on = bool(chosen.get("sync_personas"))
    counts = dict(writes.counts)
    counts[WriteState.WAITING] = counts.get(WriteState.WAITING, 0) + counts.pop(WriteState.SENDING, 0)
    if not on and not any(counts.values()):
        return None
    origins = {c.origin_id for c in standing.credentials if c.origin_id}
    failed = list(
        OutboundWrite.objects.filter(origin__in=origins, state=WriteState.FAILED).order_by("-pk")[:SHOWN]
        if counts.get(WriteState.FAILED)
        else ()
    )
    people = _people([write.subject for write in (*failed, *([writes.last] if writes.last else ()))])
    since = standing.connection.since.get("sync_personas")
    return {
        "on": on,
        "since": day(datetime.fromisoformat(since)) if on and since else "",
        "group": chosen.get("pricing_group"),
        "completes": any(writer.completes for writer in standing.card.writers),
        "figures": [(label, counts[state]) for state, label in TOLD if counts.get(state)],
        "closed": writes.closed if counts[WriteState.WAITING] else "",
        "reasons": [] if writes.closed else writes.reasons,
        "failed": [{"write": w, "who": people.get(w.subject), "at": moment(w.created_at, now=now)} for w in failed],
        "failed_count": counts.get(WriteState.FAILED, 0),
        "more": max(0, counts.get(WriteState.FAILED, 0) - len(failed)),
        "last": writes.last and people.get(writes.last.subject),
        "last_at": moment(writes.last.ended_at, now=now) if writes.last else "",
    }


def _people(subjects: list[str]) -> dict[str, Persona]:
    found = Persona.objects.filter(contact_id__in=subjects, erased_at=None) if subjects else ()
    return {str(persona.contact_id): persona for persona in found}


@require_POST
def act(request: HttpRequest, slug: str, verb: str) -> HttpResponse:
    """Try failed writes again, or give them up: one (`write`), or all. Sent twice, the second finds nothing to do."""
    standing = standing_of(slug, now=timezone.now())
    if standing.connection is None or verb not in ACTS:
        raise Http404
    given = request.POST.get("write", "")
    write = whole_number(given)
    if given and write is None:
        raise Http404
    with transaction.atomic():
        done = ACTS[verb](connection=standing.connection, ids=None if write is None else [write])
        if done:
            audit.record(
                act=f"integration.writes_{verb.replace('-', '_')}", target=standing.card.title, user=request.user,
                detail={"count": done, "all": not given},
            )  # fmt: skip
    shoppers = f"{done} shopper{'' if done == 1 else 's'}"
    if not done:
        messages.info(request, "There was nothing left to do.")
    elif verb == "retry":
        messages.success(request, f"{shoppers} will be tried again.")
    else:
        messages.success(request, f"{shoppers} will not be written to {standing.card.title}.")
    return redirect(reverse("admin:card", args=[slug]) + "#writes")
