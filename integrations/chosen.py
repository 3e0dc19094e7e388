"""What a merchant chose on a card, with its defaults; and what it means for an origin's rows. Reads only."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any
from zoneinfo import ZoneInfo

from . import registry
from .kit.card import Card
from .kit.interplay import Facts
from .kit.settings import Setting
from .models import (
    ChangeState,
    Connection,
    Credential,
    CredentialState,
    Location,
    PricingGroup,
    SettingChange,
)
from .sink import sink

LIVE = (CredentialState.CONNECTED, CredentialState.PAUSED)


@dataclass(frozen=True)
class Effective:
    """What the live connection of an origin says, for whoever lands or writes. An origin has one at most (a constraint
    of `Credential`)."""

    origin_id: int
    markets: frozenset[str] = frozenset()  # empty: all
    sync_personas: bool = True
    sync_personas_since: datetime | None = None
    sync_to_market: bool = False
    mirror: bool = False
    frozen: bool = False


def settings_of(connection: Connection) -> dict[str, Any]:
    """Every setting of the card, with its default where nothing was chosen. `frozen` is the connection's own column."""
    card = registry.get(connection.card)
    values = {s.name: connection.settings.get(s.name, _default(s)) for s in card.settings_on("card")}
    if "frozen" in values:
        values["frozen"] = connection.frozen_at is not None
    return values


def credential_settings(credential: Credential) -> dict[str, Any]:
    """The same for one credential."""
    card = registry.get(credential.connection.card)
    return {s.name: credential.settings.get(s.name, _default(s)) for s in card.settings_on("credential")}


def _default(setting: Setting) -> Any:
    return list(setting.default) if isinstance(setting.default, tuple) else setting.default


def effective(*, origin_id: int) -> Effective:
    """What counts for rows of this origin, and for writes to it. One statement; ask once a batch."""
    credential = (
        Credential.unscoped.filter(origin_id=origin_id, state__in=LIVE)
        .select_related("connection")
        .defer("secrets", "token")
        .first()
    )
    if credential is None:
        return Effective(origin_id)
    connection = credential.connection
    values = settings_of(connection)
    syncing = bool(values.get("sync_personas"))
    since = connection.since.get("sync_personas")
    return Effective(
        origin_id=origin_id,
        markets=frozenset(credential_settings(credential).get("relevant_market") or ()),
        # A card without the switch (push, files) always brings edits.
        sync_personas=syncing or not registry.get(connection.card).serves("sync_personas"),
        sync_personas_since=datetime.fromisoformat(since) if syncing and since else None,
        sync_to_market=bool(values.get("sync_to_market")),
        mirror=bool(values.get("mirror_points")),
        frozen=bool(credential.frozen_at or connection.frozen_at),
    )


def mirroring(*, account_id: int) -> list[Card]:
    """The cards whose balances are mirrored: the programme asks before it takes up FIFO or redeems."""
    found = Connection.unscoped.filter(account_id=account_id, settings__mirror_points=True).order_by("id")
    waiting = SettingChange.unscoped.filter(
        account_id=account_id, setting="mirror_points", after=True, state=ChangeState.APPLYING
    ).values_list("connection__card", flat=True)
    slugs = {one.card for one in found} | set(waiting)
    return [registry.get(slug) for slug in sorted(slugs) if slug in registry.CARDS]


def facts_of(
    connection: Connection, *, today: date | None = None, as_of_now: bool = False, mapped: Collection[str] = ()
) -> Facts:
    """What besides the card decides whether its settings go together. `mapped`: locations (external ids) that are
    tied to a store, which the floor above knows.
    """
    credentials = list(connection.credentials(manager="unscoped").defer("secrets", "token").order_by("pk"))
    origins = sorted({c.origin_id for c in credentials if c.origin_id})
    places = Location.unscoped.filter(origin__in=origins).order_by("name", "external_id")
    groups = PricingGroup.unscoped.filter(origin__in=origins, deleted=False).order_by("name")
    programme = sink().programme(account_id=connection.account_id)
    zone = ZoneInfo(connection.account.timezone)
    return Facts(
        today=today or datetime.now(zone).date(),
        engine=programme.engine,
        accrual_start=programme.accrual_start,
        country=connection.account.country,
        locations={pk: name or pk for pk, name in places.values_list("external_id", "name")},
        mapped=mapped,
        pricing_groups=dict(groups.values_list("external_id", "name")),
        markets={m for c in credentials if c.state in LIVE for m in c.settings.get("relevant_market") or ()},
        ever_asked="sms_optin_after" in connection.since,
        as_of_now=as_of_now,
    )
