"""A setting that acts on people: what it would do, confirmed or dismissed, how far it is; the card's past ones."""

from datetime import date
from decimal import Decimal
from typing import Any

from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import render
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.http import require_POST, require_safe

from aiqsync.accounts import audit
from aiqsync.accounts.roles import may
from integrations import services
from integrations.kit.card import Card
from integrations.kit.settings import Day, Setting
from integrations.models import ChangeState, SettingChange
from loyalty import jobs, switches
from loyalty.models import Persona

from .integrations import frame

TITLES = {
    ChangeState.COUNTING: "Counting what this would do",
    ChangeState.COUNTED: "What this would do",
    ChangeState.APPLYING: "Being applied",
    ChangeState.APPLIED: "Applied",
    ChangeState.STOPPED: "Stopped half way",
    ChangeState.FAILED: "It could not go on",
    ChangeState.DISMISSED: "Dismissed",
}
TONES = {
    ChangeState.COUNTING: "info", ChangeState.COUNTED: "warn", ChangeState.APPLYING: "info",
    ChangeState.APPLIED: "good", ChangeState.STOPPED: "warn", ChangeState.FAILED: "bad", ChangeState.DISMISSED: "",
}  # fmt: skip
PAST_SHOWN = 20


def _found(slug: str, pk: int) -> tuple[Card, SettingChange]:
    change = (
        SettingChange.objects.filter(connection__card=slug, pk=pk)
        .select_related("connection", "made_by", "confirmed_by")
        .first()
    )
    if change is None:
        raise Http404
    return services.card(slug), change


@require_safe
def show(request: HttpRequest, slug: str, pk: int) -> HttpResponse:
    """The page, or with `?part` only what changes by itself."""
    card, change = _found(slug, pk)
    setting = _setting(card, change.setting)
    context = _context(request, card, setting, change)
    if "part" in request.GET:
        return render(request, "aiqsync/integrations/change_part.html", context)
    past = SettingChange.objects.filter(connection=change.connection_id).select_related("made_by", "confirmed_by")
    return render(
        request,
        "aiqsync/integrations/change.html",
        frame(
            request,
            title=setting.label,
            crumbs=((card.title, reverse("admin:card", args=[slug])),),
            past=[_past(card, one) for one in past.exclude(pk=change.pk).order_by("-id")[:PAST_SHOWN]],
            **context,
        ),
    )


def _setting(card: Card, name: str) -> Setting:
    found = next((s for s in card.settings if s.name == name), None)
    return found or Setting(name, label=name)


def shown(setting: Setting, value: Any) -> str:
    """The value in words, a day as people write it."""
    if isinstance(setting, Day):
        return f"{date.fromisoformat(value):%-d %b %Y}" if value else "never"
    return str(value) if type(setting) is Setting else setting.shown(value)


def _past(card: Card, change: SettingChange) -> dict[str, Any]:
    setting = _setting(card, change.setting)
    return {
        "change": change,
        "label": setting.label,
        "before": shown(setting, change.before),
        "after": shown(setting, change.after),
        "tone": TONES[ChangeState(change.state)],
        "url": reverse("admin:card-change", args=[card.slug, change.pk]),
    }


def _context(request: HttpRequest, card: Card, setting: Setting, change: SettingChange) -> dict[str, Any]:
    kind = switches.SWITCHES.get(change.setting)
    job = switches.job_of(change)
    live = change.state in (ChangeState.COUNTING, ChangeState.APPLYING)
    figures = change.counted or (job.result if job and change.state == ChangeState.COUNTING else {})
    done = change.applied or (job.result if job and change.confirmed_at else {})
    state = ChangeState(change.state)
    waits = jobs.waits_until(job, now=timezone.now()) if job and state == ChangeState.APPLYING else None
    of_purchases = change.setting in ("enrol_after", "sms_optin_after")
    return {
        "card": card,
        "change": change,
        "heading": "Waits for its day" if waits and not of_purchases else TITLES[state],
        "of_purchases": of_purchases,
        "setting": setting,
        "before": shown(setting, change.before),
        "after": shown(setting, change.after),
        "live": live,
        "waits": waits,
        "job": job,
        "share": min(100, round(100 * job.done / job.total)) if job and job.total else 0,
        "unit": kind.unit if kind else "shoppers",
        "counted": _typed(figures),
        "done": _typed(done),
        "more": figures.get("figures", []),
        "columns": kind.columns if kind else (),
        "sample": _sample(kind, change.sample) if kind and may(request.membership.role, "personas.view") else [],
        "outcome": kind.outcome(change) if kind and state == ChangeState.APPLIED else "",
        "confirmed_once": change.confirmed_at is not None,
        "may_change": may(request.membership.role, "integrations.change"),
    }


def _typed(figures: dict[str, Any]) -> dict[str, Any]:
    return {name: Decimal(value) if name == "points" else value for name, value in figures.items()}


def _sample(kind: switches.Switch, rows: list[Any]) -> list[tuple[Persona | None, list[tuple[switches.Column, Any]]]]:
    """Names are looked up now: who was removed since has none, who was merged goes by the survivor's."""
    found = Persona.objects.filter(contact_id__in=[row[0] for row in rows]).select_related("merged_into")
    people = {str(one.contact_id): None if one.erased_at else one.merged_into or one for one in found}
    return [
        (
            people.get(contact),
            [
                (
                    column,
                    Decimal(values.get(column.key) or 0)
                    if column.kind in ("points", "change")
                    else values.get(column.key, ""),
                )
                for column in kind.columns
            ],
        )
        for contact, values in rows
    ]


SAID = {
    "dismiss": "Dismissed. Nobody was touched by it any more.",
    "stop": "Stopped. Who was not reached yet waits; the setting holds for new purchases.",
}
LATE = "This was over already. Here is how things stand."


@require_POST
def act(request: HttpRequest, slug: str, pk: int, verb: str) -> HttpResponse:
    """confirm, dismiss, recount, stop, resume: each may be sent twice."""
    card, change = _found(slug, pk)
    now = timezone.now()
    verbs = {
        "dismiss": services.dismiss,
        "recount": services.recount,
        "stop": services.halt,
        "resume": services.go_on,
    }
    try:
        if verb == "confirm":
            seen = request.POST.get("seen", "")
            if change.state == ChangeState.COUNTED and seen and seen != change.counted.get("at"):
                messages.error(request, "It was counted again meanwhile. Look at the new figures, and confirm those.")
            else:
                services.confirm(change=change, user=request.user, now=now)  # writes its own line in the log
        elif does := verbs.get(verb):
            if does(change=change, now=now):
                audit.record(
                    act=f"setting.{verb}", target=f"{card.title}: {_setting(card, change.setting).label}",
                    user=request.user, detail={"change": change.pk},
                )  # fmt: skip
                if verb in SAID:
                    messages.info(request, SAID[verb])
            else:
                messages.info(request, LATE)
        else:
            messages.error(request, "There is no such act.")
    except services.Refused as error:
        messages.error(request, str(error))
    if verb == "dismiss":
        return HttpResponseRedirect(reverse("admin:card", args=[slug]) + "#settings")
    return HttpResponseRedirect(reverse("admin:card-change", args=[slug, pk]))
