"""How a connection stands, in the words a merchant reads: its state, how fresh it is, what happens next. Reads only."""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from django.db.models import Count
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString

from aiqsync.accounts.templatetags.iq import exact
from integrations import registry
from integrations.kit.card import Card
from integrations.models import (
    Connection,
    Credential,
    CredentialState,
    Location,
    RunStatus,
    StreamState,
    SyncRun,
)

LIVE = (RunStatus.QUEUED, RunStatus.RUNNING)
IN_USE = (CredentialState.CONNECTED, CredentialState.PAUSED)
FAILURES_TO_TELL = 3  # one missed answer of the POS is nobody's business: it is asked again half a minute later
STALLED = timedelta(minutes=3)  # due that long and nobody took it: the installation's own service is down


# Words for time


def ago(at: datetime, now: datetime) -> str:
    """ "2 min ago", "in 40 s"; the page's script says the same words (integrations.js)."""
    seconds = (now - at).total_seconds()
    if abs(seconds) < 5:
        return "just now" if seconds > 0 else "now"
    size = abs(seconds)
    for unit, length in (("days", 86400), ("h", 3600), ("min", 60), ("s", 1)):
        if size >= length:
            count = int(size // length)
            text = f"{count} {'day' if unit == 'days' and count == 1 else unit}"
            return f"{text} ago" if seconds > 0 else f"in {text}"
    return "just now"


def moment(at: datetime | None, *, now: datetime, empty: str = "never") -> SafeString | str:
    """Relative, with the exact time in the title; a script keeps it right while the page is open."""
    if at is None:
        return empty
    return format_html(
        '<time class="iq-time" datetime="{}" title="{}">{}</time>', at.isoformat(), exact(at), ago(at, now)
    )


def day(at: datetime) -> str:
    local = timezone.localtime(at)
    return f"{local.day} {local:%b %Y}"


def span(seconds: float) -> str:
    """A duration: "0.4 s", "12 s", "3 min 20 s", "1 h 5 min"."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes == 0:
        return f"{rest} s"
    hours, left = divmod(minutes, 60)
    if hours:
        return f"{hours} h {left} min"
    return f"{minutes} min {rest} s" if rest else f"{minutes} min"


# A connection


@dataclass(frozen=True)
class Pill:
    key: str
    label: str
    tone: str  # of the style sheet: good, info, warn, or none


PILLS = {
    "not_connected": Pill("not_connected", "Not connected", ""),
    "syncing": Pill("syncing", "Syncing", "info"),
    "connected": Pill("connected", "Connected", "good"),
    "frozen": Pill("frozen", "Frozen", "info"),
    "attention": Pill("attention", "Needs attention", "warn"),
    "disconnected": Pill("disconnected", "Disconnected", ""),
}


@dataclass
class Standing:
    """One card of the current account with everything its state depends on."""

    card: Card
    now: datetime
    connection: Connection | None = None
    credentials: list[Credential] = field(default_factory=list)
    states: list[StreamState] = field(default_factory=list)  # of credentials in use
    past: list[StreamState] = field(default_factory=list)  # of the others: their runs are still told
    live: dict[int, SyncRun] = field(default_factory=dict)  # by stream state
    places: int = 0  # open locations of every origin there is
    unmapped: int = 0  # those of which nobody has said which store they are
    mapped: int = 0
    charged: int = 0  # mapped locations of credentials in use that nobody froze

    @property
    def in_use(self) -> list[Credential]:
        return [c for c in self.credentials if c.state in IN_USE]

    def is_frozen(self, credential: Credential) -> bool:
        """“Use last backup” is on for it, or for the whole card."""
        return bool(credential.frozen_at or (self.connection and self.connection.frozen_at))

    @property
    def frozen(self) -> list[Credential]:
        return [c for c in self.in_use if self.is_frozen(c)]

    @property
    def awake(self) -> list[StreamState]:
        """The streams that are to be read."""
        asleep = {c.pk for c in self.frozen}
        return [s for s in self.states if s.credential_id not in asleep]

    @property
    def readable(self) -> bool:
        """Asking the POS now could bring something."""
        return bool(self.card.streams) and any(
            c.state == CredentialState.CONNECTED and not self.is_frozen(c) for c in self.credentials
        )

    @property
    def ever_connected(self) -> bool:
        return any(c.state != CredentialState.DRAFT for c in self.credentials)

    @property
    def first_sync(self) -> bool:
        """Something has never been read to the end."""
        return any(s.first_done_at is None for s in self.awake)

    @property
    def stalled(self) -> bool:
        due = [s.next_due for s in self.awake if s.pk not in self.live]
        return bool(due) and not self.live and min(due) < self.now - STALLED

    @property
    def pill(self) -> Pill:
        states = {c.state for c in self.credentials}
        if not states & set(IN_USE):
            return PILLS["disconnected" if CredentialState.DISCONNECTED in states else "not_connected"]
        if len(self.frozen) == len(self.in_use):
            return PILLS["frozen"]
        awake = {c.state for c in self.in_use if not self.is_frozen(c)}
        if CredentialState.PAUSED in awake or any(s.failures >= FAILURES_TO_TELL for s in self.awake) or self.stalled:
            return PILLS["attention"]
        # The look every few seconds for what is new is not "syncing": the pill would never come to rest.
        if self.first_sync or any(run.manual or run.full for run in self.live.values()):
            return PILLS["syncing"]
        return PILLS["connected"]

    @property
    def newest(self) -> tuple[str, datetime | None] | None:
        """(title, read up to) of the stream a merchant asks about first: the sales."""
        if not self.card.streams:
            return None  # a card that is told: its calls say how fresh it is
        titles = {s.name: s.title for s in self.card.streams}
        told = next((s.name for s in self.card.streams if s.history), self.card.streams[-1].name)
        found = [s.read_until for s in self.states if s.stream == told]
        if not found:
            return None
        return titles[told], None if None in found else min(found)

    @property
    def fee_total(self) -> str:
        """What the POS's maker charges each month for what is connected now."""
        cents = self.card.fee_cents_per_location
        return f"{dollars(cents * self.charged)} per month" if cents else ""

    @property
    def fee_how(self) -> str:
        places = f"{self.charged} mapped location{'' if self.charged == 1 else 's'}"
        return f"{places} × {dollars(self.card.fee_cents_per_location)}"


def dollars(cents: int) -> str:
    return f"{cents / 100:,.2f} USD" if cents % 100 else f"{cents // 100:,} USD"


def standings(*, slugs: Iterable[str], now: datetime) -> dict[str, Standing]:
    """The current account's cards by slug, in five queries whatever their number. Secrets are not even loaded."""
    found = {slug: Standing(card=registry.get(slug), now=now) for slug in slugs}
    connections = {c.pk: c for c in Connection.objects.filter(card__in=list(found))}
    for connection in connections.values():
        found[connection.card].connection = connection
    if not connections:
        return found
    used: dict[int, list[int]] = defaultdict(list)  # origin -> credentials in use and not frozen
    for credential in (
        Credential.objects.filter(connection__in=connections)
        .defer("secrets", "token")
        .select_related("origin")
        .order_by("id")
    ):
        found[connections[credential.connection_id].card].credentials.append(credential)
    by_credential = {c.pk: s for s in found.values() for c in s.credentials}
    in_use = {c.pk for s in found.values() for c in s.in_use}
    for state in StreamState.objects.filter(credential__in=by_credential, enabled=True).order_by("id"):
        standing = by_credential[state.credential_id]
        (standing.states if state.credential_id in in_use else standing.past).append(state)
    by_state = {state.pk: s for s in found.values() for state in s.states}
    for run in SyncRun.objects.filter(stream__in=by_state, status__in=LIVE):
        by_state[run.stream_id].live[run.stream_id] = run
    origins: dict[int, Standing] = {}
    for standing in found.values():
        for credential in standing.credentials:
            if credential.origin_id:
                origins[credential.origin_id] = standing
                if credential.state in IN_USE and not standing.is_frozen(credential):
                    used[credential.origin_id].append(credential.pk)
    counted = (
        Location.objects.filter(origin__in=origins, active=True)
        .order_by()
        .values("origin")
        .annotate(places=Count("id"), mapped=Count("mappings__store"), said=Count("mappings"))
    )
    for row in counted:
        standing = origins[row["origin"]]
        standing.places += row["places"]
        standing.mapped += row["mapped"]
        standing.unmapped += row["places"] - row["said"]
        if row["origin"] in used:
            standing.charged += row["mapped"]
    return found


def standing_of(slug: str, *, now: datetime) -> Standing:
    return standings(slugs=[slug], now=now)[slug]
