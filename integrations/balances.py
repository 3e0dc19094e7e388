"""The POS's own points balances: when they are read, of whom, and how long that takes.

A vendor without a list of balances is asked customer by customer, so nothing is read unless somebody asks for it: while
they are mirrored, again and again; for an import or a dry run, one whole round.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from django.conf import settings
from django.db import connection as db
from django.db import transaction
from django.db.models import Count

from . import registry
from .kit.card import Card
from .kit.errors import NoPermission
from .models import (
    BalanceReading,
    ChangeState,
    Connection,
    Credential,
    CredentialState,
    Customer,
    Sale,
    SettingChange,
    StreamState,
    SyncRun,
)

# A small shop's round is over in a minute: the vendor is left in peace until a quarter of an hour has passed.
BETWEEN_ROUNDS = timedelta(minutes=15)
NEEDING = ("points_import_on", "mirror_points")  # settings that need balances
LIVE = (CredentialState.CONNECTED, CredentialState.PAUSED)


def stream_of(card: Card) -> str:
    """The name of the stream that reads balances, "" where the POS has none."""
    return next((s.name for s in card.streams if s.on_demand), "")


# Asking for them


def ask(*, connection_id: int, at: datetime | None = None, continuous: bool | None = None) -> list[int]:
    """Have the balances of a card's origins read: a whole round begun at or after `at`, or again and again.

    Returns the origins, in the order of their ids; none are frozen out here: a frozen source is asked when it thaws.
    """
    found = Credential.unscoped.filter(connection=connection_id, state__in=LIVE).exclude(origin=None)
    credentials = list(found.select_related("connection").order_by("origin"))
    for credential in credentials:
        stream = stream_of(registry.get(credential.connection.card))
        if not stream:
            continue
        with transaction.atomic():
            reading, _ = BalanceReading.unscoped.get_or_create(
                account_id=credential.account_id, origin_id=credential.origin_id
            )
            reading.asked_at = max(filter(None, (at, reading.asked_at)), default=None)
            reading.continuous = reading.continuous if continuous is None else continuous
            reading.save()
            wake(credential)
    return [c.origin_id for c in credentials]


def wake(credential: Credential) -> None:
    """The stream that reads an origin's balances is due when somebody waits for it."""
    stream = stream_of(registry.get(credential.connection.card))
    wanted = BalanceReading.unscoped.filter(origin=credential.origin_id).exclude(asked_at=None, continuous=False)
    if not stream or not wanted.exists():
        return
    state, made = StreamState.unscoped.get_or_create(
        account_id=credential.account_id, credential=credential, stream=stream
    )
    if not made:
        now = datetime.now(UTC)
        StreamState.unscoped.filter(pk=state.pk).update(enabled=True, next_due=now)


def end(*, origin_ids: list[int], continuous: bool = False) -> None:
    """Nobody waits for a round any more; `continuous`: mirroring has ended too. What was read stays."""
    changes = {"asked_at": None} | ({"continuous": False} if continuous else {})
    BalanceReading.unscoped.filter(origin__in=origin_ids).update(**changes)
    idle = BalanceReading.unscoped.filter(origin__in=origin_ids, asked_at=None, continuous=False)
    for state in StreamState.unscoped.filter(
        credential__origin__in=list(idle.values_list("origin", flat=True)), enabled=True
    ).select_related("credential__connection"):
        if state.stream == stream_of(registry.get(state.credential.connection.card)):
            StreamState.unscoped.filter(pk=state.pk).update(enabled=False, failures=0, failing_since=None, message="")


# How far it is


@dataclass(frozen=True)
class Standing:
    """How far reading is for one card: `done` of `total` shoppers of the round under way, what a round takes."""

    shoppers: int
    done: int = 0
    reading: bool = False
    estimate_s: float = 0  # a whole round by the pace
    took_s: float | None = None  # the last whole round, measured
    ended_at: datetime | None = None
    message: str = ""  # why it cannot be read, or ""
    stuck: str = ""  # why nothing more will be read before somebody acts, or ""

    @property
    def words(self) -> str:
        """What one round takes, for people."""
        took = f", the last one took {span(self.took_s)}" if self.took_s is not None else ""
        return f"One round over {self.shoppers:,} shoppers takes about {span(self.estimate_s)}{took}."


def span(seconds: float) -> str:
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    return f"{round(seconds / 60)} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def pace(card: Card) -> float:
    """Calls a minute that are made at most; 0 is no limit (tests)."""
    return settings.CARD_RATES.get(card.slug, card.calls_per_minute)


def standing(*, connection_id: int) -> Standing:
    """What the card says about its balances."""
    link = Connection.unscoped.get(pk=connection_id)
    card = registry.get(link.card)
    credentials = list(link.credentials(manager="unscoped").filter(state__in=LIVE).exclude(origin=None))
    origins = [c.origin_id for c in credentials]
    shoppers = _askable().filter(origin__in=origins).count()
    states = list(StreamState.unscoped.filter(credential__in=credentials, stream=stream_of(card)).order_by("id"))
    times = _rounds(states)
    return Standing(
        shoppers=shoppers,
        done=sum(state.cursor.get("done", 0) for state in states),
        reading=any(state.cursor.get("began") for state in states),
        estimate_s=_estimate_s(card, shoppers),
        took_s=_took_s(times),
        ended_at=min((ended for _, ended in times), default=None),
        message=next((state.message for state in states if state.message and state.enabled), ""),
        stuck=_stuck(link, card, credentials, states),
    )


def in_words(*, card: Card, states: Mapping[int, StreamState]) -> dict[int, str]:
    """Origin -> what one round over its shoppers takes. One query for all of them: the card's page asks while it is
    open. `states`: the stream that reads an origin's balances."""
    counted = dict(_askable().filter(origin__in=states).order_by().values_list("origin").annotate(Count("id")))
    return {
        origin: Standing(
            shoppers=(shoppers := counted.get(origin, 0)),
            estimate_s=_estimate_s(card, shoppers),
            took_s=_took_s(_rounds([state])),
        ).words
        for origin, state in states.items()
    }


def _estimate_s(card: Card, shoppers: int) -> float:
    return 60 * shoppers / (pace(card) or card.calls_per_minute)


def _rounds(states: Iterable[StreamState]) -> list[tuple[datetime, datetime]]:
    """When the last whole round of each began and ended."""
    lasts = [state.cursor["last"] for state in states if state.cursor.get("last", {}).get("began")]
    return [(_at(last["began"]), _at(last["ended"])) for last in lasts]


def _took_s(times: Iterable[tuple[datetime, datetime]]) -> float | None:
    return max((max((ended - began).total_seconds(), 0.0) for began, ended in times), default=None)


def _stuck(link: Connection, card: Card, credentials: list[Credential], states: list[StreamState]) -> str:
    if link.frozen_at or any(c.frozen_at for c in credentials):
        return f"{card.title} is frozen (“Use last backup”), so its balances are not read."
    for credential in credentials:
        if credential.state == CredentialState.PAUSED:
            return credential.message or f"{card.title} does not let us in."
    for state in states:
        last = SyncRun.unscoped.filter(stream=state).order_by("-id").first()
        if state.failures and last and last.error == NoPermission.kind:
            return state.message
    return ""


def round_since(*, origin_ids: list[int], moment: datetime) -> bool:
    """Whether every one of these origins has been read whole, in a round that began at or after `moment`."""
    began = {
        origin: cursor["last"]["began"]
        for origin, cursor in StreamState.unscoped.filter(
            credential__origin__in=origin_ids, cursor__has_key="last"
        ).values_list("credential__origin", "cursor")
        if cursor.get("last", {}).get("began")
    }
    return all(origin in began and _at(began[origin]) >= moment for origin in origin_ids)


def _at(text: str) -> datetime:
    return datetime.fromisoformat(text)


# What a pull reads of our rows


def _askable():
    """Customers the POS can be asked about: not merged into another there, not removed here."""
    return Customer.unscoped.filter(merged_into="", erased_at=None)


class Asked:
    """The `Singles` of one origin. The place is that of the last sale; without one the first of the company."""

    def __init__(self, origin_id: int, reading: BalanceReading, now: datetime) -> None:
        self.origin_id = origin_id
        self.reading = reading
        self.now = now

    def round_due(self, began: str) -> bool:
        if not self._fallback():
            return False  # no place to ask at: the locations have not been read
        last = _at(began) if began else None
        asked = self.reading.asked_at
        if asked is not None and asked <= self.now and (last is None or last < asked):
            return True
        return self.reading.continuous and (last is None or last <= self.now - BETWEEN_ROUNDS)

    def total(self) -> int:
        return _askable().filter(origin=self.origin_id).count()

    def after(self, last: str, limit: int) -> list[tuple[str, str]]:
        with db.cursor() as cursor:
            cursor.execute(
                """SELECT c.external_id, coalesce(place.external_id, %(else)s)
                   FROM (SELECT external_id FROM integrations_customer
                         WHERE origin_id = %(origin)s AND external_id > %(last)s AND merged_into = ''
                           AND erased_at IS NULL ORDER BY external_id LIMIT %(limit)s) c
                   LEFT JOIN LATERAL (
                       SELECT l.external_id FROM integrations_sale s
                       JOIN integrations_location l ON l.id = s.location_id
                       WHERE s.origin_id = %(origin)s AND s.customer_id = c.external_id AND s.customer_id <> ''
                       ORDER BY s.sold_at DESC LIMIT 1) place ON true
                   ORDER BY 1""",
                {"origin": self.origin_id, "last": last, "limit": limit, "else": self._fallback()},
            )
            return cursor.fetchall()

    def urgent(self, mark: int, limit: int) -> tuple[list[tuple[str, str]], int]:
        """By the sales that landed since: pages of an origin land one after the other, so ids tell the order."""
        sales = Sale.unscoped.filter(origin=self.origin_id)
        if not limit:
            return [], sales.order_by("-id").values_list("id", flat=True).first() or 0
        while rows := list(
            sales.filter(pk__gt=mark).exclude(customer_id="").order_by("id")
            .values_list("id", "customer_id", "location__external_id")[:limit]
        ):  # fmt: skip
            mark = rows[-1][0]
            known = set(
                _askable().filter(origin=self.origin_id, external_id__in={row[1] for row in rows})
                .values_list("external_id", flat=True)
            )  # fmt: skip
            if found := {customer: place or self._fallback() for _, customer, place in rows if customer in known}:
                return list(found.items()), mark
        return [], mark

    def _fallback(self) -> str:
        if not hasattr(self, "_first"):
            with db.cursor() as cursor:
                cursor.execute(
                    """SELECT external_id FROM integrations_location WHERE origin_id = %s
                       ORDER BY active DESC, id LIMIT 1""",
                    [self.origin_id],
                )
                row = cursor.fetchone()
            self._first = row[0] if row else ""
        return self._first


def asked(*, origin_id: int, now: datetime) -> Asked | None:
    """Who is to be asked about; None while nobody wants to know, and then the stream goes to sleep."""
    reading = BalanceReading.unscoped.filter(origin=origin_id).first()
    if reading and (reading.continuous or reading.asked_at is not None and _waiting(origin_id)):
        return Asked(origin_id, reading, now)
    if reading:
        end(origin_ids=[origin_id])
    return None


def _waiting(origin_id: int) -> bool:
    """Whether a change that needs them is still on its way: one that was dismissed or stopped waits for nothing."""
    return SettingChange.unscoped.filter(
        connection__credentials__origin=origin_id, setting__in=NEEDING,
        state__in=(ChangeState.COUNTING, ChangeState.APPLYING),
    ).exists()  # fmt: skip
