"""Calls in which a POS tells us: each item read, the good ones landed together, the others told by their index.

Everything of a call is one transaction: rows, points, stock, and the record that it came. Answered at once, so that a
shopper who stands at the till sees his points.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from django.db import connection

from . import arrivals, landing, registry, stocktaking, suppression
from .kit import plain
from .kit.errors import BadRow
from .kit.records import CustomerRecord, LocationRecord, ProductRecord, SaleRecord, StockRecord
from .models import Credential, CredentialState, Customer, Location, Origin, Product, PushedCall
from .models.pushed import KEEP_DAYS, RING, slot_of
from .refusals import Refused

PLATFORM = "push"
MOST_ITEMS = {"sales": 1000, "customers": 1000, "inventory": 100}  # the vendor names the last one only


class NotListening(Exception):
    """Nothing was taken. `message` is for whoever runs the POS; `later`: the same call may be sent again."""

    def __init__(self, message: str, *, later: bool) -> None:
        super().__init__(message)
        self.message = message
        self.later = later


class TooMany(Exception):
    """More items than a call may carry; nothing was taken."""


@dataclass(frozen=True)
class Sender:
    """Whose call it is. `region` reads phones without a country code, `currency` is the account's."""

    account_id: int
    region: str
    currency: str


class Outcome(NamedTuple):
    """What became of one item. `reason` is "" when it was taken; `customer` is the customer's id in the POS."""

    number: int  # its place in the call, from 0
    external_id: str
    customer: str
    reason: str


@dataclass(frozen=True)
class Received:
    origin_id: int
    outcomes: tuple[Outcome, ...]

    @property
    def refused(self) -> list[Outcome]:
        return [one for one in self.outcomes if one.reason]


@dataclass
class _Item:
    """One item of a call on its way."""

    index: int
    raw: Any
    external_id: str = ""
    reason: str = ""
    sale: SaleRecord | None = None
    member: plain.Told | None = None
    goods: plain.Goods | None = None
    place: tuple[str, str] = ("", "")  # external id, name

    @property
    def customer(self) -> str:
        if self.sale:
            return self.sale.customer_id
        return self.member.record.external_id if self.member else ""


def receive(*, sender: Sender, call: str, kind: str, rows: Sequence[Any], now: datetime) -> Received:
    """Take a call's items over. `kind`: "sales", "customers" or "inventory".

    Raises `NotListening`, `TooMany`, and `TryLater` when too many others were writing.
    """
    origin = _listening(sender.account_id)
    if len(rows) > MOST_ITEMS[kind]:
        raise TooMany(f"At most {MOST_ITEMS[kind]:,} items a call; this one has {len(rows):,}. Nothing was taken.")
    items = [_read(kind, index, row, sender, now) for index, row in enumerate(rows)]
    try:
        _take_fitting(origin, sender, call, kind, items, now)
    except Refused as refused:  # what the source brought is being erased, since a moment ago
        raise NotListening(f"{refused.message} Nothing was taken. Send this again later.", later=True) from refused
    return Received(
        origin.pk, tuple(Outcome(item.index, item.external_id, item.customer, item.reason) for item in items)
    )


def _take_fitting(origin: Origin, sender: Sender, call: str, kind: str, items: list["_Item"], now: datetime) -> None:
    """All together; when one of them fits no column, the others without it."""
    try:
        arrivals.in_one_go(lambda: _take(origin, sender, call, kind, items, now))
    except arrivals.UNFIT:
        # A value no column holds: found by taking one after the other, and refused alone.
        for item in items:
            if not item.reason:
                try:
                    arrivals.in_one_go(lambda item=item: _land(origin, sender, kind, [item], [], now))
                except arrivals.UNFIT:
                    item.reason = arrivals.OUT_OF_BOUNDS
        refused = [item for item in items if item.reason]
        arrivals.in_one_go(lambda: _refuse_and_keep(origin, sender, call, kind, items, refused, now))


def _listening(account_id: int) -> Origin:
    """The origin that pushed rows belong to, or `NotListening`."""
    title = registry.get(PLATFORM).title
    live = (
        Credential.unscoped.filter(account_id=account_id, connection__card=PLATFORM, state=CredentialState.CONNECTED)
        .select_related("origin", "connection")
        .first()
    )
    if live is None or live.origin is None:
        raise NotListening(
            f"{title} is not connected for this account, so nothing was taken. Connect it under Settings, "
            f"Integrations, {title}, then send this again.",
            later=False,
        )
    if live.frozen_at or live.connection.frozen_at:
        raise NotListening(
            f"{title} is frozen for this account (“Use last backup” is on), so nothing was taken. Send this again "
            "once it is turned off.",
            later=True,
        )
    return live.origin


# Reading


def _read(kind: str, index: int, row: Any, sender: Sender, now: datetime) -> _Item:
    item = _Item(index, row)
    try:
        _READ[kind](item, sender, now)
    except BadRow as bad:
        item.reason = bad.reason
        item.external_id = bad.external_id or item.external_id
    except RecursionError:
        item.reason = "This item is nested too deeply."
    return item


def _read_sale(item: _Item, sender: Sender, now: datetime) -> None:
    item.sale, item.member = plain.sale(item.raw, region=sender.region, now=now, currency=sender.currency)
    item.external_id, item.place = item.sale.external_id, (item.sale.location_id, item.sale.location_name)


def _read_member(item: _Item, sender: Sender, now: datetime) -> None:
    raw = item.raw
    if isinstance(raw, dict) and isinstance(raw.get("member"), dict):
        raw = {**{name: raw[name] for name in plain.CUSTOMER_KEYS if name in raw}, **raw["member"]}
    item.member = plain.member(raw, region=sender.region, today=now.date())
    item.external_id = item.member.record.external_id


def _read_goods(item: _Item, sender: Sender, now: datetime) -> None:
    item.goods = plain.item(item.raw)
    item.external_id = item.goods.record.external_id
    if item.goods.stock:
        item.place = (item.goods.stock.location_id, item.goods.place)


_READ: dict[str, Callable[[_Item, Sender, datetime], None]] = {
    "sales": _read_sale, "customers": _read_member, "inventory": _read_goods,
}  # fmt: skip


# Landing


def _take(origin: Origin, sender: Sender, call: str, kind: str, items: list[_Item], now: datetime) -> None:
    refused = [item for item in items if item.reason]
    _land(origin, sender, kind, [item for item in items if not item.reason], refused, now)
    _keep(origin, call, items, len(refused), sender.region, now)


def _refuse_and_keep(
    origin: Origin, sender: Sender, call: str, kind: str, items: list[_Item], refused: list[_Item], now: datetime
) -> None:
    _land(origin, sender, kind, [], refused, now)
    _keep(origin, call, items, len(refused), sender.region, now)


def _land(origin: Origin, sender: Sender, kind: str, good: list[_Item], refused: list[_Item], now: datetime) -> None:
    """In one transaction, under the origin's lock: places, then people, then what they bought or what is there."""
    landing.lock_origin(origin.pk)
    _learn_places(origin, [item.place for item in good])
    ids = {item.external_id for item in refused}
    shared: dict[str, Any] = {
        "account_id": sender.account_id, "origin_id": origin.pk, "now": now, "region": sender.region, "bad": ids,
    }  # fmt: skip
    rows = [_refusal(item) for item in refused]

    def arrive(stream: str, record: type, records: Sequence[Any]) -> None:
        turned_away = rows if stream == kind else []
        if records or turned_away:
            arrivals.arrive(stream=stream, record=record, records=records, refused=turned_away, **shared)

    arrive("customers", CustomerRecord, _people(origin, [item.member for item in good if item.member]))
    sales = [item.sale for item in good if item.sale]
    if kind == "sales":
        stored = stocktaking.before(origin_id=origin.pk, records=sales) if sales else {}
        arrive("sales", SaleRecord, sales)
        if sales:
            stocktaking.sold(account_id=sender.account_id, origin_id=origin.pk, records=sales, stored=stored, now=now)
    if kind == "inventory":
        goods = [item.goods for item in good if item.goods]
        arrive("inventory", ProductRecord, _products(origin, goods))
        levels = [one.stock for one in goods if one.stock]
        if levels:
            arrivals.arrive(stream="stock", record=StockRecord, records=levels, refused=[], **shared)
            stocktaking.told(origin_id=origin.pk, external_ids=[one.external_id for one in levels], now=now)


def _learn_places(origin: Origin, places: Iterable[tuple[str, str]]) -> None:
    """Places are learnt from what comes: nobody lists them for us. One that is known keeps its name."""
    named = {external_id: name for external_id, name in places if external_id}
    if not named:
        return
    known = dict(
        Location.unscoped.filter(origin=origin, external_id__in=named, active=True).values_list("external_id", "name")
    )
    if new := [LocationRecord(one, name) for one, name in named.items() if not known.get(one)]:
        landing.locations(account_id=origin.account_id, origin_id=origin.pk, records=new)


def _people(origin: Origin, told: Sequence[plain.Told]) -> list[CustomerRecord]:
    """Each customer once, as he is after all that this call tells of him."""
    if not told:
        return []
    ids = {one.record.external_id for one in told}
    known: dict[str, dict[str, Any]] = {
        row["external_id"]: row
        for row in Customer.unscoped.filter(origin=origin, external_id__in=ids, erased_at=None).values(
            "external_id", *plain.CHANGEABLE
        )
    }
    after: dict[str, CustomerRecord] = {}
    for one in told:
        key = one.record.external_id
        record = plain.updated(one, after[key]._asdict() if key in after else known.get(key))
        after[key] = record
    return list(after.values())


def _products(origin: Origin, goods: Sequence[plain.Goods]) -> list[ProductRecord]:
    ids = {one.record.external_id for one in goods}
    known: dict[str, dict[str, Any]] = {
        row["external_id"]: row
        for row in Product.unscoped.filter(origin=origin, external_id__in=ids).values(*ProductRecord._fields)
    }
    after: dict[str, ProductRecord] = {}
    for one in goods:
        key = one.record.external_id
        after[key] = plain.restocked(one, after[key]._asdict() if key in after else known.get(key))
    return list(after.values())


# What is kept of a call


def _refusal(item: _Item) -> arrivals.Refusal:
    return arrivals.refusal(item.raw, item.reason, external_id=item.external_id, redact=registry.get(PLATFORM).redact)


def _keep(origin: Origin, call: str, items: list[_Item], refused: int, region: str, now: datetime) -> None:
    """The body for thirty days, without the items of people who were removed on request."""
    account_id = origin.account_id
    bodies = [arrivals.redacted(item.raw, registry.get(PLATFORM).redact) for item in items]
    whom = [set(suppression.meanings(body, origin.pk, region)) for body in bodies]
    removed = suppression.listed(account_id=account_id, known=set().union(*whom) if whom else set())
    kept = [n for n, known in enumerate(whom) if not known & removed]
    digests = {suppression.digest(account_id, *one) for n in kept for one in whom[n]}
    PushedCall.unscoped.create(
        account_id=account_id, origin=origin, call=call, at=now, items=len(items), landed=len(items) - refused,
        refused=refused, body=[bodies[n] for n in kept], mentions=sorted(digests),
    )  # fmt: skip


def prune(*, now: datetime) -> int:
    """Empty the days of the ring that have grown old. Returns how many."""
    kept = {slot_of(now - timedelta(days=back)) for back in range(-1, KEEP_DAYS + 1)}
    emptied = 0
    with connection.cursor() as cursor:
        for slot in range(RING):
            if slot in kept:
                continue
            cursor.execute("SELECT EXISTS (SELECT FROM integrations_pushedcall WHERE slot = %s)", [slot])
            if cursor.fetchone()[0]:
                cursor.execute(f"TRUNCATE integrations_pushedcall_{slot:02}")
                emptied += 1
    return emptied


# What a card's page tells


@dataclass(frozen=True)
class Traffic:
    """Calls of an origin: how many items in the last day by call, and the latest calls."""

    calls: Mapping[str, tuple[int, int, int, datetime]] = field(default_factory=dict)  # calls, items, refused, last
    latest: Sequence[PushedCall] = ()


def latest_calls(*, origin_ids: Sequence[int], most: int = 10) -> list[PushedCall]:
    """The newest first, without their bodies. One query by the index: the page asks while it is open."""
    found = PushedCall.unscoped.filter(origin__in=list(origin_ids)).defer("body", "mentions")
    return list(found.order_by("-at", "-pk")[:most])


def traffic(*, origin_ids: Sequence[int], now: datetime) -> Traffic:
    """Two queries, over the newest rows only."""
    with connection.cursor() as cursor:
        cursor.execute(
            """SELECT call, count(*), sum(items), sum(refused), max(at) FROM integrations_pushedcall
               WHERE origin_id = ANY(%s) AND at > %s GROUP BY call ORDER BY call""",
            [list(origin_ids), now - timedelta(days=1)],
        )
        calls = {call: (count, items, refused, at) for call, count, items, refused, at in cursor.fetchall()}
    return Traffic(calls, latest_calls(origin_ids=origin_ids))
