"""The programme as plain data: what earning asks of the account, read fresh, and the modifiers among it."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date, time
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import orjson
from django.core.exceptions import ValidationError
from django.db import connection

from aiqsync.accounts.tenancy import acting_in

from .models import Audience, Modifier, ModifierKind


@dataclass(frozen=True, slots=True)
class Mod:
    """A modifier. Empty conditions hold for everything; words are compared without case."""

    id: int
    name: str
    kind: str
    factor: Decimal
    points: Decimal
    audience_id: int | None
    stores: frozenset[int]
    brands: frozenset[str]
    categories: frozenset[str]
    skus: frozenset[str]
    weekdays: frozenset[int]
    from_hour: time | None
    to_hour: time | None
    starts_on: date | None
    ends_on: date | None
    with_sale: bool

    @property
    def by_line(self) -> bool:
        return bool(self.brands or self.categories or self.skus)

    @property
    def by_place(self) -> bool:
        return bool(self.stores or self.weekdays or self.from_hour or self.to_hour)


@dataclass(frozen=True, slots=True)
class Rules:
    """The programme, as earning sees it."""

    enabled: bool
    points_per_100: Decimal
    accrual_start: date | None
    exclude_tax: bool
    rounding: str
    refunds: str
    expire_days: int | None
    zone: ZoneInfo
    points_per_order: Decimal = Decimal(0)
    max_visits: int | None = None
    exclude_tax_from: date | None = None
    earning_types: str = "all"
    opt_in_needed: str = "none"
    engine: str = "fifo"
    expire_start: date | None = None
    expire_all: bool = False
    starts: dict[int, date] = field(default_factory=dict)  # by origin
    blocked: frozenset[str] = frozenset()
    modifiers: tuple[Mod, ...] = ()  # multipliers and zero points
    boosts: tuple[Mod, ...] = ()  # given with a purchase
    gifts: tuple[Mod, ...] = ()  # boosts given for being in an audience
    zones: dict[int, ZoneInfo] = field(default_factory=dict)  # by store
    mirrored: bool = False  # some origin's balances are the POS's, or were once: its sales do not earn
    imports: bool = False  # balances that were taken over wait for somebody to become a member

    @property
    def needs_lines(self) -> bool:
        return any(one.by_line for one in (*self.modifiers, *self.boosts))

    @property
    def needs_place(self) -> bool:
        return any(one.by_place for one in (*self.modifiers, *self.boosts))

    @property
    def audiences(self) -> frozenset[int]:
        return frozenset(one.audience_id for one in (*self.modifiers, *self.boosts) if one.audience_id)

    @property
    def counts_visits(self) -> bool:
        """One sale's worth depends on the others of its day."""
        return bool(self.points_per_order and self.max_visits)


# One statement for all of it: what is not used costs an empty sub-select.
_RULES = """
SELECT p.enabled, p.points_per_100, p.accrual_start, p.exclude_tax, p.rounding, p.refunds, p.expire_days, a.timezone,
       p.points_per_order, p.max_visits_per_day, p.exclude_tax_from, p.earning_types, p.opt_in_needed, p.engine,
       p.expire_start, p.expire_all,
       (SELECT json_object_agg(origin_id, starts_on)::text FROM loyalty_sourcestart WHERE account_id = a.id),
       (SELECT json_agg(phone)::text FROM loyalty_blockedphone WHERE account_id = a.id),
       (SELECT json_agg(m ORDER BY m.id)::text FROM loyalty_modifier m
        WHERE m.account_id = a.id AND m.active AND m.archived_at IS NULL),
       (SELECT json_object_agg(id, timezone)::text FROM stores_store WHERE account_id = a.id AND timezone <> ''),
       EXISTS (SELECT FROM loyalty_mirroring WHERE account_id = a.id),
       EXISTS (SELECT FROM loyalty_waitingbalance WHERE account_id = a.id)
FROM accounts_account a JOIN loyalty_programme p ON p.account_id = a.id WHERE a.id = %s
"""


def of(account_id: int) -> Rules | None:
    """The account's rules as they are now; None while it has no programme."""
    with connection.cursor() as cursor:
        cursor.execute(_RULES, [account_id])
        row = cursor.fetchone()
    if row is None:
        return None
    *plain, starts, blocked, modifiers, zones, mirrored, imports = row
    plain[7] = ZoneInfo(plain[7])
    mods = [_mod(one) for one in orjson.loads(modifiers or "[]")]
    return Rules(
        *plain,
        starts={int(origin): date.fromisoformat(day) for origin, day in orjson.loads(starts or "{}").items()},
        blocked=frozenset(orjson.loads(blocked or "[]")),
        modifiers=tuple(one for one in mods if one.kind != ModifierKind.BOOST),
        boosts=tuple(one for one in mods if one.kind == ModifierKind.BOOST and one.with_sale),
        gifts=tuple(one for one in mods if one.kind == ModifierKind.BOOST and not one.with_sale and one.audience_id),
        zones={int(store): ZoneInfo(name) for store, name in orjson.loads(zones or "{}").items()},
        mirrored=mirrored,
        imports=imports,
    )


def _mod(row: dict[str, Any]) -> Mod:
    def words(name: str) -> frozenset[str]:
        return frozenset(str(word).strip().casefold() for word in row[name])

    def moment(name: str) -> time | None:
        return time.fromisoformat(row[name]) if row[name] else None

    def day(name: str) -> date | None:
        return date.fromisoformat(row[name]) if row[name] else None

    return Mod(
        id=row["id"], name=row["name"], kind=row["kind"], factor=Decimal(str(row["factor"])),
        points=Decimal(str(row["points"])), audience_id=row["audience_id"], stores=frozenset(row["stores"]),
        brands=words("brands"), categories=words("categories"), skus=words("skus"),
        weekdays=frozenset(row["weekdays"]), from_hour=moment("from_hour"), to_hour=moment("to_hour"),
        starts_on=day("starts_on"), ends_on=day("ends_on"), with_sale=row["with_sale"],
    )  # fmt: skip


def save_modifiers(account_id: int, items: Sequence[dict[str, Any]]) -> None:
    """Write these modifiers: with an `id` the one there is, without a new one. Raises ValidationError by field."""
    with acting_in(account_id):
        for item in items:
            values = dict(item)
            pk = values.pop("id", None)
            row = Modifier.objects.filter(pk=pk).first() if pk else Modifier(account_id=account_id)
            if row is None:
                raise ValidationError("This modifier is not there any more.")
            audience = values.get("audience")
            if audience and not Audience.objects.filter(pk=audience, archived_at=None).exists():
                raise ValidationError({"audience": "This audience is not there any more."})
            for name, value in values.items():
                field_ = Modifier._meta.get_field(name)
                setattr(row, field_.attname, value if field_.is_relation else field_.to_python(value))
            row.full_clean(exclude=["account", "audience"])
            row.save()
