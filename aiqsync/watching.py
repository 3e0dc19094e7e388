"""What is wrong right now, in every account: each kind of alert with the facts it is judged by. Reads only.

The dispatcher asks every minute. A kind is registered here together with its judge, so that nothing is shown as watched
that nobody watches; webhooks and others bring theirs with them (`watch`).
"""

import logging
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime, timedelta
from urllib.parse import urlsplit

from django.db import connection
from django.db.models import Count, Exists, Min, OuterRef
from django.urls import reverse

from aiqsync.accounts import alerts
from aiqsync.accounts.alerts import Finding, Kind
from aiqsync.accounts.models import Alert
from integrations import registry, services
from integrations.balances import pace as pace_of
from integrations.kit.card import Card
from integrations.kit.records import FilePiece
from integrations.models import (
    Connection,
    Credential,
    CredentialState,
    Location,
    Origin,
    OutboundWrite,
    RefusedRow,
    StreamState,
    SyncRun,
    WriteState,
)
from loyalty import mirror
from loyalty.models import EndpointState, WebhookEndpoint

log = logging.getLogger("aiqsync.alerts")

Judge = Callable[[datetime], Iterable[tuple[int, Finding]]]  # now -> (account id, what is so)
JUDGES: dict[str, Judge] = {}

FAILED_OFTEN = 3  # failures in a row; one missed answer is nobody's business
LATE_AT_LEAST = timedelta(minutes=15)
LATE_TURNS = 10  # and as many of the stream's own intervals
RATE_OVER = timedelta(minutes=15)
RATE_NEAR = 0.75  # of what may be asked: pacing begins at 0.8, so this means that it is waiting
RUNS_LOOKED_AT = 100  # of a stream: in a quarter of an hour one that is read every 20 s has 45


def watch(kind: Kind) -> Callable[[Judge], Judge]:
    """Register a kind of alert with the function that judges it for all accounts."""

    def with_judge(judge: Judge) -> Judge:
        alerts.register(kind)
        JUDGES[kind.name] = judge
        return judge

    return with_judge


# A judge that fails: no other is silenced by it, and somebody is told that this one sees nothing.
UNJUDGED = Kind(
    "unjudged",
    "A kind of alert cannot be judged",
    "A fault of this installation kept one of these kinds from being judged for five minutes.",
    timedelta(minutes=5),
)


def look(*, now: datetime) -> alerts.Settled:
    """Judge every kind for all accounts and settle the incidents. Any number of lookers may run.

    Each judge by itself, and each account: of a kind that could not be judged nothing is opened and nothing closed.
    """
    found: dict[int, list[Finding]] = defaultdict(list)
    blind: list[str] = []
    for name, judge in JUDGES.items():
        try:
            seen = list(judge(now))
        except Exception:
            if not connection.is_usable():
                raise  # the database is away: that is one fault, not one of each judge
            log.exception("alerts: %r could not be judged, the other kinds are", name)
            blind.append(name)
            continue
        for account_id, one in seen:
            found[account_id].append(one)
    for account_id, one in _unjudged(blind):
        found[account_id].append(one)
    kinds = {*JUDGES, UNJUDGED.name}.difference(blind)
    told = Alert.unscoped.filter(closed_at=None).values_list("account", flat=True).distinct()
    opened = closed = 0
    for account_id in sorted({*found, *told}):
        try:
            settled = alerts.settle(account_id=account_id, found=found[account_id], kinds=kinds, now=now)
        except Exception:
            if not connection.is_usable():
                raise
            log.exception("alerts of account %s could not be settled, the others are", account_id)
            continue
        opened += settled.opened
        closed += settled.closed
    return alerts.Settled(opened, closed)


def _unjudged(blind: list[str]) -> Iterator[tuple[int, Finding]]:
    """Whoever has a card relies on being told."""
    if not blind:
        return
    for account_id in Connection.unscoped.order_by("account").values_list("account", flat=True).distinct():
        for name in blind:
            yield (
                account_id,
                Finding(
                    UNJUDGED.name,
                    f"kind:{name}",
                    f"“{alerts.KINDS[name].title}” is not watched at the moment",
                    "A fault of this installation keeps it from being judged, so nothing new of it is told and what is "
                    "open stays open. Everything else is watched. Tell whoever runs the installation: the reason is in "
                    "its log.",
                    reverse("admin:alerts"),
                    "Look at the alerts",
                ),
            )


def _live(connected_only: bool = True) -> Iterator[tuple[Credential, Card, Connection]]:
    """Credentials in use that nobody froze, with their cards."""
    states = [CredentialState.CONNECTED] if connected_only else [CredentialState.CONNECTED, CredentialState.PAUSED]
    found = Credential.unscoped.filter(state__in=states).defer("secrets", "token")
    for credential in found.select_related("connection", "origin").order_by("id"):
        if credential.connection.card in registry.CARDS and not services.is_frozen(credential):
            yield credential, registry.get(credential.connection.card), credential.connection


@watch(
    Kind(
        "failing_credential",
        "Log-in or permission refused",
        "The POS refuses a credential, or what it may read. Nothing is read until somebody acts.",
    )
)
def failing_credentials(now: datetime) -> Iterator[tuple[int, Finding]]:
    began = dict(
        StreamState.unscoped.filter(credential__state=CredentialState.PAUSED)
        .values_list("credential").annotate(Min("failing_since"))
    )  # fmt: skip
    for credential, card, _ in _live(connected_only=False):
        if credential.state == CredentialState.PAUSED:
            yield (
                credential.account_id,
                Finding(
                    "failing_credential",
                    f"credential:{credential.pk}",
                    f"{card.title} does not let us in",
                    f"{credential.message} Nothing is read from {card.title} until then; what was read stays.".strip(),
                    reverse("admin:card-credential", args=[card.slug, credential.pk]),
                    "Enter the credential again",
                    began.get(credential.pk) or credential.checked_at,
                ),
            )


@watch(
    Kind(
        "stale_stream",
        "Data is late",
        "Customers, sales or another stream of a connected POS was not read for a quarter of an hour, or for ten of "
        "its own intervals where that is longer.",
    )
)
def stale_streams(now: datetime) -> Iterator[tuple[int, Finding]]:
    """One a credential, naming its streams: they are late together. Who is refused is told above, not here again."""
    late: dict[int, list[StreamState]] = defaultdict(list)
    busy = SyncRun.unscoped.filter(stream=OuterRef("pk"), status="running", lease_until__gt=now)
    states = StreamState.unscoped.filter(enabled=True, credential__state=CredentialState.CONNECTED)
    for state in states.annotate(busy=Exists(busy)).select_related("credential__connection").order_by("id"):
        card = registry.CARDS.get(state.credential.connection.card)
        if card and _is_late(state, card, now):
            late[state.credential_id].append(state)
    for credential, card, _ in _live():
        if states_late := late.get(credential.pk):
            titles = [card.stream(state.stream).title for state in states_late]
            said = next((state.message for state in states_late if state.message), "")
            reason = said or "Nobody came to read it: the installation's own worker may be down."
            yield (
                credential.account_id,
                Finding(
                    "stale_stream",
                    f"credential:{credential.pk}",
                    f"{card.title} is late: {', '.join(titles)}",
                    f"{reason} It is tried again by itself, and goes on where it stopped.",
                    reverse("admin:card", args=[card.slug]),
                    f"Look at {card.title}",
                    min(_last_heard(state) for state in states_late),
                ),
            )


def _last_heard(state: StreamState) -> datetime:
    return state.failing_since or state.read_until or state.last_success_at or state.next_due


def _is_late(state, card: Card, now: datetime) -> bool:
    if state.stream not in {stream.name for stream in card.streams}:
        return False
    allowed = max(LATE_AT_LEAST, LATE_TURNS * timedelta(seconds=card.stream(state.stream).interval_s))
    if state.failures >= FAILED_OFTEN and state.failing_since and state.failing_since < now - allowed:
        return True
    if state.busy:  # a long first sync is under way, and has a bar of its own
        return False
    return (state.read_until or state.next_due) < now - allowed and state.next_due < now - LATE_AT_LEAST


@watch(
    Kind(
        "unmapped_location",
        "Location without a store",
        "A location of a connected POS has not been mapped to a store for half an hour.",
        timedelta(minutes=30),
    )
)
def unmapped_locations(now: datetime) -> Iterator[tuple[int, Finding]]:
    counted = dict(
        Location.unscoped.filter(active=True, mappings=None).order_by().values_list("origin").annotate(Count("id"))
    )
    for credential, card, _ in _live(connected_only=False):
        if count := counted.get(credential.origin_id):
            one = count == 1
            yield (
                credential.account_id,
                Finding(
                    "unmapped_location",
                    f"origin:{credential.origin_id}",
                    f"{'One location' if one else f'{count} locations'} of {card.title} without a store",
                    "Its sales earn points but count for no store. Say which store it is, or that it is none of yours."
                    if one
                    else "Their sales earn points but count for no store. Say which stores they are, or that they are "
                    "none of yours.",
                    reverse("admin:card-mapping", args=[card.slug]),
                    f"Map {'it' if one else 'them'}",
                ),
            )


@watch(Kind("refused_rows", "Refused rows", "Rows that a POS told or sent could not be taken over for ten minutes.",
            timedelta(minutes=10)))  # fmt: skip
def refused_rows(now: datetime) -> Iterator[tuple[int, Finding]]:
    counted = {
        origin: (count, first)
        for origin, count, first in RefusedRow.unscoped.filter(solved_at=None)
        .order_by().values_list("origin").annotate(Count("id"), Min("first_at"))
    }  # fmt: skip
    for credential, card, _ in _live(connected_only=False):
        if credential.origin_id in counted:
            count, first = counted[credential.origin_id]
            yield (
                credential.account_id,
                Finding(
                    "refused_rows",
                    f"origin:{credential.origin_id}",
                    f"{count:,} {'row' if count == 1 else 'rows'} {'sent to' if card.arrivals else 'of'} {card.title} "
                    f"could not be {'taken' if card.arrivals else 'read'}",
                    f"The reason stands beside each on {'its file’s page' if _by_file(card) else 'the card'}. "
                    f"{card.mending} Everything else came in.",
                    reverse("admin:card", args=[card.slug]) + ("#files" if _by_file(card) else "#refused"),
                    "See the files" if _by_file(card) else "See the reasons",
                    first,
                ),
            )


def _by_file(card: Card) -> bool:
    """A card whose page lists files, each with its own refused rows."""
    return any(stream.record is FilePiece for stream in card.streams)


@watch(
    Kind(
        "rate_limit",
        "Near the POS's limit",
        "Syncing used three quarters of the calls a POS allows over a quarter of an hour: first and full syncs aside, "
        "and rounds of points balances, which take what there is.",
    )
)
def rate_limits(now: datetime) -> Iterator[tuple[int, Finding]]:
    used = _calls_since(now - RATE_OVER, now)
    for credential, card, link in _live():
        rate = pace_of(card)
        allowed = rate * RATE_OVER.total_seconds() / 60
        calls, streams = max(_shared(card, used.get(credential.pk, {})), default=(0, []))
        if not allowed or calls < RATE_NEAR * allowed:
            continue
        ours = rate != card.calls_per_minute
        whose = "this installation is set to ask at most" if ours else f"{card.title} allows"
        advice = _fewer_calls(card, link, streams)
        if ours:
            advice.append("Whoever runs this installation has set its pace, and may set another.")
        titles = " and ".join(card.titles[name] for name in sorted(streams))
        yield (
            credential.account_id,
            Finding(
                "rate_limit",
                f"credential:{credential.pk}",
                f"{card.title}'s limit is nearly used up",
                f"{round(calls):,} calls in a quarter of an hour for {titles}, where {whose} {allowed:,.0f}. Nothing "
                f"is lost; data comes later while we wait for our turn. {' '.join(advice)}".strip(),
                reverse("admin:card", args=[card.slug]) + ("#settings" if card.settings else ""),
                "See the settings" if card.settings else f"Look at {card.title}",
            ),
        )


def _calls_since(since: datetime, now: datetime) -> dict[int, dict[str, tuple[float, float]]]:
    """Credential -> stream -> (calls, pages) between the two moments.

    A run counts for the part of its time that lies between them: runs overlap the edge, and those that run now count
    too. Of each stream its newest runs only, of which a quarter of an hour holds fewer.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            """SELECT s.credential_id, s.stream, sum(r.calls * r.part), sum(r.pages * r.part)
               FROM integrations_streamstate s
               JOIN integrations_credential c ON c.id = s.credential_id AND c.state = %(connected)s
               CROSS JOIN LATERAL (
                   SELECT x.calls, x.pages, x.full, x.manual, CASE
                       WHEN x.began >= %(since)s THEN 1
                       ELSE greatest(extract(epoch FROM x.ended - %(since)s), 0) / extract(epoch FROM x.ended - x.began)
                   END AS part
                   FROM (SELECT n.calls, n.pages, n.full, n.manual, coalesce(n.started_at, n.queued_at) AS began,
                                coalesce(n.finished_at, greatest(%(now)s, coalesce(n.started_at, n.queued_at))) AS ended
                         FROM integrations_syncrun n WHERE n.stream_id = s.id AND n.calls > 0
                         ORDER BY n.id DESC LIMIT %(most)s) x
                   WHERE x.ended > %(since)s) r
               WHERE s.first_done_at < %(since)s AND NOT r.full AND NOT r.manual
               GROUP BY s.credential_id, s.stream""",
            {"since": since, "now": now, "most": RUNS_LOOKED_AT, "connected": CredentialState.CONNECTED},
        )
        found: dict[int, dict[str, tuple[float, float]]] = defaultdict(dict)
        for credential, stream, calls, pages in cursor.fetchall():
            found[credential][stream] = float(calls), float(pages)
    return found


def _shared(card: Card, used: dict[str, tuple[float, float]]) -> Iterator[tuple[float, list[str]]]:
    """(calls, streams) of each allowance: the vendor counts a token's calls together, or those of each service."""
    steady = {s.name: s for s in card.streams if s.name in used and not s.on_demand}
    if card.at_once:
        if steady:
            yield sum(used[name][0] for name in steady), list(steady)
        return
    for name, stream in steady.items():
        calls, pages = used[name]
        # Single rows are asked for at another service than the list.
        yield (max(pages, calls - pages) if stream.tells_details() else calls), [name]


def _fewer_calls(card: Card, link: Connection, streams: list[str]) -> list[str]:
    """What would take fewer calls and has not been chosen yet, as sentences."""
    chosen, busy = services.settings_of(link), [card.stream(name) for name in streams]
    advice = []
    if any(s.tells_details() for s in busy) and chosen.get("skip_payment_method") is False:
        advice.append("“Skip importing payment method” saves a call for each sale that comes without one.")
    if any(s.per_location for s in busy) and chosen.get("restrict_locations") == []:
        advice.append("“Restrict imports by location ID” to those you need: each costs a call every time.")
    return advice or [f"If it lasts, ask {card.title} for a higher limit."]


@watch(
    Kind(
        "failed_writes",
        "Sign-ups not created in the POS",
        "Shoppers who signed up here could not be written to the POS, and are not tried again by themselves.",
    )
)
def failed_writes(now: datetime) -> Iterator[tuple[int, Finding]]:
    failed = {
        origin: (count, first)
        for origin, count, first in OutboundWrite.unscoped.filter(state=WriteState.FAILED)
        .order_by().values_list("origin").annotate(Count("id"), Min("created_at"))
    }  # fmt: skip
    for credential, card, _ in _live(connected_only=False):
        # Several cards of one company: one of them tells.
        if found := failed.pop(credential.origin_id, None):
            count, first = found
            one = count == 1
            yield (
                credential.account_id,
                Finding(
                    "failed_writes",
                    f"origin:{credential.origin_id}",
                    f"{'One shopper was' if one else f'{count:,} shoppers were'} not created in {card.title}",
                    f"The reason stands on the card. Mend it, then try again there, or give {'it' if one else 'them'} "
                    f"up. {'The shopper is a member' if one else 'They are members'} here all the same.",
                    reverse("admin:card", args=[card.slug]) + "#writes",
                    "See the reasons",
                    first,
                ),
            )


@watch(
    Kind(
        "own_programme",
        "The POS gives points too",
        "A connected POS gave points of its own within three days, while our programme gives points as well.",
    )
)
def own_programmes(now: datetime) -> Iterator[tuple[int, Finding]]:
    recent = Origin.unscoped.filter(own_points_at__gt=now - mirror.OWN_POINTS_COUNT)
    accounts = sorted(set(recent.values_list("account", flat=True)))
    told = {
        origin: (seen, sentence)
        for account_id in accounts
        for origin, seen, sentence in mirror.own_programmes(account_id=account_id, now=now)
    }
    for credential, card, _ in _live():
        if found := told.pop(credential.origin_id, None):
            seen, sentence = found
            yield (
                credential.account_id,
                Finding(
                    "own_programme",
                    f"origin:{credential.origin_id}",
                    f"{card.title} gives points too",
                    f"{sentence} The latest such sale was on {seen.astimezone(UTC):%-d %b %Y, %H:%M} UTC; the alert "
                    "goes three days after the last one.",
                    reverse("admin:card", args=[card.slug]) + ("#places" if _by_file(card) else "#settings"),
                    "See the places" if _by_file(card) else "See the settings",
                ),
            )


_FAILING_WEBHOOK = (
    "Its receiver has taken nothing for three days. Each event is tried for three days; the reason stands beside each. "
    "Mend the receiver, send a test event, then send again what failed."
)
_PAUSED_WEBHOOK = (
    "It had refused everything for five days. What happens waits for up to 30 days. Mend the receiver, resume it, then "
    "send again what failed."
)


@watch(
    Kind(
        "webhook_failing",
        "Webhook fails",
        "The receiver of a webhook has taken nothing for three days; after five it is paused.",
    )
)
def failing_webhooks(now: datetime) -> Iterator[tuple[int, Finding]]:
    """Until it is on again: one that was paused for it stays told."""
    failing = WebhookEndpoint.unscoped.filter(state__in=[EndpointState.FAILING, EndpointState.PAUSED])
    for endpoint in failing.exclude(failing_since=None).defer("secrets").order_by("id"):
        paused = endpoint.state == EndpointState.PAUSED
        if paused and not endpoint.why:  # by a person, who knows
            continue
        host = urlsplit(endpoint.url).hostname
        yield (
            endpoint.account_id,
            Finding(
                "webhook_failing",
                f"webhook:{endpoint.pk}",
                f"The webhook to {host} {'is paused' if paused else 'fails'}",
                _PAUSED_WEBHOOK if paused else _FAILING_WEBHOOK,
                reverse("admin:webhook", args=[endpoint.pk]),
                "See the reasons",
                endpoint.failing_since,
            ),
        )  # fmt: skip


alerts.register(UNJUDGED)  # last among those that are shown
