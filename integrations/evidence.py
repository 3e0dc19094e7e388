"""What has been read, as evidence: are all sales up to a moment known, and which streams never brought a row?"""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db import connection as db
from django.db.models import Exists, Model, OuterRef

from . import registry
from .chosen import LIVE, settings_of
from .kit.card import Card
from .kit.records import CustomerRecord, FilePiece, LocationRecord, PricingGroupRecord, SaleRecord
from .models import Credential, CredentialState, Customer, Location, Origin, PricingGroup, Sale, StreamState, Upload

FILES_COUNT = timedelta(days=30)  # a source whose last file of sales is older is a past that was brought over


@dataclass(frozen=True)
class Evidence:
    """Whether all sales up to a moment are known. `waiting`: what is not, as sentences for people."""

    ok: bool
    waiting: tuple[str, ...] = ()


def read_past(*, account_id: int, moment: datetime, location_ids: Collection[int] | None = None) -> Evidence:
    """Have the sales of these places (of all places: None) been read completely past `moment`?

    A place counts as read when some credential of its origin is connected, its sales stream works and has read past the
    moment. A source that is paused, frozen, failing, disconnected or behind is no evidence, and neither is having none,
    nor a place whose sales are left out (“Restrict imports by location ID”). Neither is a source that is told: pushed
    calls and files tell what was sent, not that it was everything.
    """
    states = StreamState.unscoped.filter(account_id=account_id, stream="sales").select_related(
        "credential__connection", "credential__origin"
    )
    if location_ids is not None:
        states = states.filter(credential__origin__locations__in=list(location_ids)).distinct()
    told: dict[int, list[str]] = {}
    good: set[int] = set()
    left_out = _left_out(states, location_ids)
    for state in states:
        origin = state.credential.origin
        if origin is None:
            continue
        reason = _behind(state, moment) or left_out.get(state.pk, "")
        told.setdefault(origin.pk, [])
        if reason:
            told[origin.pk].append(f"{registry.get(state.credential.connection.card).title}: {reason}")
        else:
            good.add(origin.pk)
    for origin_id, sentence in _told_only(account_id, location_ids, moment):
        told[origin_id] = [sentence]
    if not told:
        return Evidence(False, ("No point of sale is connected whose sales could tell.",))
    waiting = tuple(text for origin, texts in told.items() if origin not in good for text in texts)
    return Evidence(not waiting, waiting)


def _told_only(account_id: int, location_ids: Collection[int] | None, moment: datetime) -> Iterable[tuple[int, str]]:
    """(origin, why) of sources that are told, not asked: what they were not told, nobody knows."""
    cards = registry.CARDS.values()
    by_file = [c.slug for c in cards if any(s.record is FilePiece for s in c.streams)]
    pushed = Origin.unscoped.filter(
        credentials__state=CredentialState.CONNECTED,
        credentials__connection__card__in=[c.slug for c in cards if c.arrivals and not c.streams],
    )
    # A file that a past was brought with says nothing of today; one that came lately may be the till's daily one.
    sales = Upload.unscoped.filter(origin=OuterRef("pk"), kind="sales", rows_read__gt=0)
    fetched = Credential.unscoped.filter(origin=OuterRef("pk"), state__in=LIVE)
    filed = Origin.unscoped.filter(
        Exists(sales.filter(created_at__gt=moment - FILES_COUNT)) | Exists(sales) & Exists(fetched),
        platform__in=by_file,
    )
    for found in (pushed, filed):
        found = found.filter(account_id=account_id)
        if location_ids is not None:
            found = found.filter(locations__in=list(location_ids))
        for origin in found.distinct().order_by("pk"):
            title = registry.get(origin.platform).title
            if origin.platform in by_file:
                yield origin.pk, f"{title} ({origin.title}): nothing tells that its files hold every sale."
            else:
                yield origin.pk, f"{title}: nothing tells that the POS has sent every sale."


def _left_out(states: Collection[StreamState], location_ids: Collection[int] | None) -> dict[int, str]:
    """By stream: the sentence about places whose sales its card does not read. Nothing is asked where none are."""
    chosen = {s.pk: settings_of(s.credential.connection).get("restrict_locations") or () for s in states}
    restricted = [s for s in states if chosen[s.pk] and s.credential.origin_id]
    if not restricted:
        return {}
    places = Location.unscoped.filter(origin__in={s.credential.origin_id for s in restricted})
    places = places.filter(active=True) if location_ids is None else places.filter(pk__in=list(location_ids))
    found = list(places.values_list("origin_id", "external_id", "name"))
    told = {}
    for state in restricted:
        out = [
            name or place
            for origin, place, name in found
            if origin == state.credential.origin_id and place not in chosen[state.pk]
        ]
        if out:
            told[state.pk] = (
                f"sales of {', '.join(sorted(out)[:3])} are not imported (“Restrict imports by location ID”)."
            )
    return told


def _behind(state: StreamState, moment: datetime) -> str:
    """Why this stream says nothing about the moment; "" when it does."""
    match state.credential.state:
        case CredentialState.PAUSED:
            return "the POS refuses the log-in; it needs attention."
        case CredentialState.CONNECTED:
            pass
        case _:
            return "it is disconnected."
    if state.credential.frozen_at or state.credential.connection.frozen_at:
        return "it is frozen (“Use last backup”)."
    if not state.enabled:
        return "its sales are not being read."
    if state.first_done_at is None or state.read_until is None:
        return "its first sync is not finished."
    if state.failures:
        return "reading its sales fails at the moment."
    if state.read_until < moment:
        return "its sales are not read so far yet."
    return ""


_TABLES: dict[type, type[Model]] = {
    CustomerRecord: Customer, LocationRecord: Location, PricingGroupRecord: PricingGroup, SaleRecord: Sale,
}  # fmt: skip


def never_brought(*, card: Card, states: Sequence[StreamState]) -> set[int]:
    """Which of these streams were read to the end and never brought a row, not even one that was refused.

    Asked of the rows, not of the runs: those are pruned, and another credential may have read the same company.
    """
    asked, values = [], []
    for state in states:
        stream = card.stream(state.stream)
        table = _TABLES.get(stream.record)
        if table and stream.if_empty and state.first_done_at and state.credential.origin_id:
            asked.append(
                f"""SELECT %s::bigint WHERE NOT EXISTS (SELECT FROM {table._meta.db_table} WHERE origin_id = %s)
                    AND NOT EXISTS (SELECT FROM integrations_refusedrow WHERE origin_id = %s AND stream = %s)"""
            )
            values += [state.pk, state.credential.origin_id, state.credential.origin_id, state.stream]
    if not asked:
        return set()
    with db.cursor() as cursor:
        cursor.execute(" UNION ALL ".join(asked), values)
        return {row[0] for row in cursor.fetchall()}
