"""A card's settings: the form made from its declaration, saved whole or not at all; and “Use last backup”."""

from collections.abc import Iterable, Mapping
from datetime import date
from typing import Any

from django.contrib import messages
from django.db import connection as database
from django.db import transaction
from django.db.models import FloatField, Sum
from django.db.models.fields.json import KT
from django.db.models.functions import Cast, Coalesce
from django.http import Http404, HttpRequest, HttpResponse, QueryDict
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.http import require_http_methods, require_POST

from aiqsync import tasks
from aiqsync.accounts import audit
from aiqsync.accounts.roles import may
from integrations import services, shaping
from integrations.kit import regions
from integrations.kit.interplay import Facts, Verdict, judge
from integrations.kit.settings import Flag, ManyOf, OneOf, Setting
from integrations.models import Credential, Location, SettingChange, SyncRun
from integrations.models.cards import OPEN_CHANGE
from loyalty import changes

from . import switches
from .integrations import card_frame
from .standing import Standing, day, moment, span, standing_of

GROUPS = ("Data", "Personas", "Loyalty")
SEARCHED = 12  # more choices than that have a box to search among them


def context(
    request: HttpRequest,
    standing: Standing,
    places: Iterable[Location],
    *,
    typed: QueryDict | None = None,
    problems: Mapping[str, str] | None = None,
) -> dict:
    """What the settings' part of the card's page shows. `places` bear their `store`."""
    link = standing.connection
    assert link is not None
    link.account = request.membership.account
    facts = services.facts_of(link, mapped=_mapped(places))
    values = services.settings_of(link)
    verdict = judge(values, values, facts, standing.card)
    open_changes = {c.setting: c for c in SettingChange.objects.filter(connection=link, state__in=OPEN_CHANGE)}
    rows = []
    for setting in standing.card.settings:
        if setting.name == "frozen" and not standing.in_use and not link.frozen_at:
            continue  # nothing is asked and nothing told already
        if setting.on == "card":
            rows.append(_row(setting, setting.name, values[setting.name], facts, verdict, typed, problems))
            rows[-1]["change"] = open_changes.get(setting.name)
            rows[-1]["proposed"] = _proposed(setting, open_changes.get(setting.name))
            continue
        for one in standing.in_use:
            one.connection = link
            value = services.credential_settings(one)[setting.name]
            rows.append(_row(setting, f"{setting.name}-{one.pk}", value, facts, verdict, typed, problems))
            rows[-1]["of"] = str(one.origin.title) if len(standing.in_use) > 1 and one.origin else ""
            rows[-1]["origin"] = one.origin_id
    _count(standing, rows)
    offer = verdict.offers.get("accrual_start", "")
    return {
        "settings_groups": [
            (title, found) for title in GROUPS if (found := [r for r in rows if r["setting"].group == title])
        ],
        "settings_wrong": [row for row in rows if row["error"]],
        "settings_offer": offer,
        "settings_offer_said": f"{date.fromisoformat(offer):%-d %b %Y}" if offer else "",
        "settings_sources": [c.origin_id for c in standing.credentials if c.origin_id][:1],
        "may_programme": may(request.membership.role, "programme.change"),
    }


def _mapped(places: Iterable[Location]) -> list[str]:
    return [place.external_id for place in places if place.store]


def _row(
    setting: Setting,
    name: str,
    value: Any,
    facts: Facts,
    verdict: Verdict,
    typed: QueryDict | None,
    problems: Mapping[str, str] | None,
) -> dict:
    shown = _typed(setting, name, typed) if typed is not None else value
    chosen = set(shown) if isinstance(setting, ManyOf) else {shown}
    groups = _choices(setting, facts, chosen)
    return {
        "setting": setting,
        "name": name,
        "kind": "frozen" if setting.name == "frozen" else _kind(setting),
        "value": value,
        "shown": shown,
        "words": setting.shown(value, {key: label for _, some in groups for key, label, _ in some}),
        "initial": _plain(value),
        "choices": groups,
        "search": sum(len(some) for _, some in groups) > SEARCHED,
        "some": len(chosen - {""}) if isinstance(setting, ManyOf) else 0,
        "error": (problems or {}).get(name, ""),
        "warned": verdict.warned.get(name, ""),
        "empty": getattr(setting, "empty", ""),
    }


def _kind(setting: Setting) -> str:
    if isinstance(setting, Flag):
        return "flag"
    if isinstance(setting, ManyOf):
        return "many"
    return "one" if isinstance(setting, OneOf) else "day"


def _choices(setting: Setting, facts: Facts, chosen: set) -> list[tuple[str, list[tuple[str, str, bool]]]]:
    """[(heading, [(value, label, chosen)])]. What is chosen and not there any more stays visible, by its id."""
    if isinstance(setting, ManyOf) and setting.source == "markets":
        return [
            (country, [(iso, name, iso in chosen) for iso, name in some]) for country, some in _markets(facts.country)
        ]
    if not isinstance(setting, ManyOf | OneOf):
        return []
    found = dict(facts.locations if setting.source == "locations" else facts.pricing_groups)
    found |= {one: f"{one} (not there any more)" for one in sorted(chosen - {""} - set(found))}
    return [("", [(key, label, key in chosen) for key, label in found.items()])]


def _markets(country: str) -> list[tuple[str, list[tuple[str, str]]]]:
    return regions.choices(country)


def _plain(value: Any) -> str:
    if isinstance(value, list | tuple):
        return ",".join(sorted(value))
    return ("on" if value else "") if isinstance(value, bool) else str(value or "")


def _typed(setting: Setting, name: str, data: QueryDict) -> Any:
    if isinstance(setting, Flag):
        return name in data
    return sorted(set(data.getlist(name))) if isinstance(setting, ManyOf) else data.get(name, "").strip()


def _proposed(setting: Setting, change: SettingChange | None) -> str:
    return switches.shown(setting, change.after) if change else ""


def _count(standing: Standing, rows: list[dict]) -> None:
    """What a setting has done so far, in figures, to each row. Asked only where it is on, and once for all of them."""
    markets = [row for row in rows if row["setting"].name == "relevant_market" and row["value"] and row["origin"]]
    if markets:
        with database.cursor() as cursor:
            found = shaping.counts(cursor, origin_ids=[row["origin"] for row in markets])
        for row in markets:
            row["counts"] = _outside(standing.card.title, found[row["origin"]])
    for row in rows:
        if row["setting"].name == "skip_payment_method" and row["value"]:
            row["counts"] = _spared(standing)


def _outside(title: str, found: shaping.Counts) -> str:
    stateless = f", {found.stateless_outside:,} of them without a state" if found.stateless_outside else ""
    came = f"; {found.stateless:,} who came in have no state" if found.stateless else ""
    return f"{found.outside:,} of {title}'s customers stay outside{stateless}{came}."


def _spared(standing: Standing) -> str:
    """Calls and time that skipping saved in the syncs that are kept; a call's time is what calls took then."""
    streams = [s.pk for s in (*standing.states, *standing.past)]
    spent = [Coalesce(Cast(KT(f"seconds__{part}"), FloatField()), 0.0) for part in ("fetch", "details")]
    sums = SyncRun.objects.filter(stream__in=streams, calls__gt=0).aggregate(
        spared=Sum("calls_spared"), calls=Sum("calls"), seconds=Sum(spent[0] + spent[1])
    )
    if not sums["spared"]:
        return "No call was spared yet."
    saved = sums["spared"] * (sums["seconds"] or 0) / sums["calls"]
    return f"{sums['spared']:,} calls spared in the last 14 days: about {span(saved)}."


# Saving


@require_POST
def save(request: HttpRequest, slug: str) -> HttpResponse:
    """Everything that was changed on the form, or nothing; then each refusal stands beside its field."""
    from . import card as card_page  # its page is drawn again with what was typed

    standing = standing_of(slug, now=timezone.now())
    if standing.connection is None:
        raise Http404
    given, theirs = _given(standing, request.POST)
    mapped = Location.objects.filter(
        origin__in=[c.origin_id for c in standing.credentials if c.origin_id], mappings__store__isnull=False
    ).values_list("external_id", flat=True)
    try:
        with transaction.atomic():
            saved = services.save_all(
                connection=standing.connection, given=given, of_credentials=theirs, now=timezone.now(),
                user=request.user, as_of_now="as_of_now" in request.POST, mapped=list(mapped),
            )  # fmt: skip
            record(standing.card.title, saved, request.user)
    except services.Problems as error:
        return card_page.show(request, standing, typed=request.POST, problems=error.fields)
    except services.Refused as error:
        messages.error(request, str(error))
        return redirect(reverse("admin:card", args=[slug]) + "#settings")
    if saved.changed:
        messages.success(request, "Settings saved; the next sync follows them.")
    elif not saved.proposed:
        messages.success(request, "Nothing was changed.")
    for note in saved.notes:
        messages.info(request, note)
    if saved.proposed:
        messages.info(
            request, "What acts on people is being counted: nothing happens to anybody until you confirm its dry run."
        )
    return redirect(reverse("admin:card", args=[slug]) + "#settings")


def record(title: str, saved: services.Saved, user: Any) -> None:
    """Who changed what, from what, to what. What was proposed has a line of its own, by its counting."""
    if saved.changed:
        detail = {"before": {n: saved.before.get(n) for n in saved.changed}, "after": dict(saved.changed)}
        audit.record(act="integration.settings_saved", target=title, user=user, detail=detail)


def _given(standing: Standing, data: QueryDict) -> tuple[dict[str, Any], dict[int, dict[str, Any]]]:
    """What somebody changed on the form he saw: what he left as it was is not his to put back."""
    card: dict[str, Any] = {}
    theirs: dict[int, dict[str, Any]] = {}
    for setting in standing.card.settings:
        if setting.name == "frozen":
            continue  # a button of its own
        if setting.on == "card":
            if _touched(setting, setting.name, data):
                card[setting.name] = _typed(setting, setting.name, data)
            continue
        for one in standing.in_use:
            name = f"{setting.name}-{one.pk}"
            if _touched(setting, name, data):
                theirs.setdefault(one.pk, {})[setting.name] = _typed(setting, name, data)
    return card, theirs


def _touched(setting: Setting, name: str, data: QueryDict) -> bool:
    was = data.get(f"initial-{name}")
    return was is None or was != _plain(_typed(setting, name, data))


@require_POST
def accrual(request: HttpRequest, slug: str) -> HttpResponse:
    """Take up the offer: the points accrual start date that goes with the import, as a change of the programme."""
    here = redirect(reverse("admin:card", args=[slug]) + "#settings")
    try:
        start = date.fromisoformat(request.POST.get("accrual_start", ""))
        done = changes.save(
            account_id=request.membership.account_id, values={"programme": {"accrual_start": start}},
            user=request.user, now=timezone.now(), enqueue=tasks.enqueue_job,
        )  # fmt: skip
    except ValueError:
        messages.error(request, "That is no day.")
        return here
    except changes.Problems as error:
        messages.error(request, " ".join(error.fields.values()))
        return here
    except changes.Refused as error:
        messages.error(request, str(error))
        return redirect("admin:programme-change")
    if done.change:
        return redirect("admin:programme-change")
    messages.success(request, f"Points accrual starts on {start:%-d %b %Y} now.")
    return here


# Use last backup


@require_http_methods(["GET", "HEAD", "POST"])
def freeze(request: HttpRequest, slug: str, pk: int | None = None) -> HttpResponse:
    """Ask, then stop every call to the POS, for one credential or the card; or go on behind what was read last."""
    standing = standing_of(slug, now=timezone.now())
    if standing.connection is None or not standing.card.serves("frozen"):
        raise Http404
    one = None
    if pk is not None:
        one = get_object_or_404(
            Credential.objects.filter(connection=standing.connection).defer("secrets", "token"), pk=pk
        )
    name = str(one.origin or standing.card.title) if one else standing.card.title
    title = one.origin.title if one and one.origin else standing.card.title
    if request.method == "POST":
        on = request.POST.get("act") != "unfreeze"
        target = {"credential": one} if one else {"connection": standing.connection}
        was = bool(one.frozen_at if one else standing.connection.frozen_at)
        with transaction.atomic():
            (services.freeze if on else services.unfreeze)(**target, now=timezone.now())
            if was != on:
                audit.record(
                    act="integration.frozen" if on else "integration.unfrozen", target=name, user=request.user,
                    detail={"before": was, "after": on},
                )  # fmt: skip
        if on:
            messages.success(request, f"{title} is frozen: it is asked nothing and told nothing. Everything stays.")
        else:
            messages.success(request, f"{title} is read again, from where it stopped.")
        return redirect("admin:card", slug)
    newest = standing.newest
    return render(
        request,
        "aiqsync/integrations/freeze.html",
        card_frame(
            request,
            standing,
            setting=next(s for s in standing.card.settings if s.name == "frozen"),
            what=title,
            as_of=moment(newest[1], now=standing.now, empty="") if newest else "",
            mirrors=bool(standing.connection.settings.get("mirror_points")),
            since=day(at) if (at := one.frozen_at if one else standing.connection.frozen_at) else "",
        ),
    )
