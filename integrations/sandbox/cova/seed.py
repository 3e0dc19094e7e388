"""The seed: a book of customers and invoices, the same for the same figures on the same UTC day.

Invoices end at the start of the current UTC day, lie in opening hours of their store's own time zone and are
numbered in order of time. `sales` counts invoices: 3 % of them are refunds, three of ten refunds being voids (the
whole sale, minutes later, on the same local day).
"""

import bisect
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from random import Random
from zoneinfo import ZoneInfo

from integrations.sandbox.cova.customers import Customer, Register
from integrations.sandbox.cova.invoices import TICKS, Book, Invoice
from integrations.sandbox.cova.people import people
from integrations.sandbox.cova.shop import Location, Shop
from integrations.sandbox.cova.trading import left, random_sale, receipt_code, take_back

OPENING_S, OPEN_S = 9 * 3600, 13 * 3600


@dataclass(slots=True)
class Plan:
    """What to make. `blank_payments` is the share of sales whose payments the feed leaves out."""

    customers: int = 200
    sales: int = 1000
    locations: int = 2
    seed: int = 1
    days: int = 180
    blank_payments: float = 0.02

    def check(self) -> None:
        for name, low in (("customers", 0), ("sales", 0), ("locations", 1), ("days", 1)):
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or value < low:
                raise ValueError(f"{name} is a whole number from {low}")
        if not 0 <= self.blank_payments <= 1:
            raise ValueError("blank_payments is a share from 0 to 1")


def grow(plan: Plan, now: datetime) -> tuple[Shop, Register, Book]:
    """Shop, customers and invoices of a plan."""
    plan.check()
    rng = Random(f"cova:{plan.seed}:{plan.customers}:{plan.sales}:{plan.locations}:{plan.days}")
    anchor = now.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    anchor_s = int(anchor.timestamp())
    shop, register, book = Shop(plan.locations), Register(), Book()
    made, until = people(rng, plan.customers, anchor_ms=anchor_s * 1000, days=plan.days)
    register.fill(made)
    refunds = round(plan.sales * 0.03)
    moments = _moments(rng, shop, plan, anchor, plan.sales - refunds)
    _trade(rng, plan, book, moments, refunds, made, until, anchor_s)
    return shop, register, book


def _moments(rng: Random, shop: Shop, plan: Plan, anchor: datetime, count: int) -> list[tuple[int, Location]]:
    """Second and store of each sale, in order of time."""
    r = rng.random
    anchor_s = int(anchor.timestamp())
    places = list(shop.locations.values())
    opened: dict[int, list[int]] = {}
    for place in places:
        zone, base = ZoneInfo(place.zone), anchor - timedelta(days=plan.days)
        # A local day opens 9 h after its local midnight; the last one that ends before the anchor is yesterday's.
        opened[place.id] = [
            int(datetime(day.year, day.month, day.day, tzinfo=zone).timestamp()) + OPENING_S
            for day in (base + timedelta(days=number) for number in range(plan.days))
        ]
    moments = []
    for _ in range(count):
        # Earlier stores are busier; a closed one traded in the first half of the days only.
        place = places[int(len(places) * r() ** 1.3)]
        days = plan.days if place.active else max(1, plan.days // 2)
        at = opened[place.id][int(days * r())] + int(OPEN_S * r())
        if at >= anchor_s - 120:  # yesterday's evening in the west is today in UTC: move it a day back
            at -= 86_400
        moments.append((at, place))
    moments.sort(key=lambda row: (row[0], row[1].id))
    return moments


def _trade(
    rng: Random,
    plan: Plan,
    book: Book,
    moments: list[tuple[int, Location]],
    refunds: int,
    made: list[Customer],
    until: dict[str, int],
    anchor_s: int,
) -> None:
    """Sales and refunds in order of time."""
    r = rng.random
    chosen = set(rng.sample(range(len(moments)), min(refunds, len(moments)))) if refunds else set()
    born = [customer.created for customer in made]
    waiting: list[tuple[int, str, Invoice, bool]] = []  # refunds to come: second, id, sale, whole
    for number, (at, place) in enumerate(moments):
        while waiting and waiting[0][0] <= at:
            _give_back(rng, book, *waiting.pop(0))
        sale = random_sale(
            rng,
            number=book.number(),
            place=place,
            customer=_buyer(rng, made, born, until, at * 1000),
            ticks=at * TICKS + int(TICKS * r()),
            blank_payments=plan.blank_payments,
        )
        book.add(sale)
        if number in chosen:
            void = r() < 0.3
            later = 60 + int(1500 * r()) if void else 86_400 * (1 + int(13 * r())) + int(7200 * r())
            when = min(at + later, anchor_s - 60)
            bisect.insort(waiting, (when, sale.id, sale, void or r() < 0.6), key=lambda row: row[:2])
    for row in waiting:
        _give_back(rng, book, *row)


def _give_back(rng: Random, book: Book, at: int, _: str, sale: Invoice, whole: bool) -> None:
    wanted = left(sale)
    if not whole:
        # Part of it: one line of several, or one piece of several.
        line, quantity = wanted[int(len(wanted) * rng.random())]
        wanted = [(line, 1 if not line.product.mass and quantity > 1 else quantity)]
    ticks = max(at * TICKS, sale.ticks + TICKS) + int(TICKS * rng.random())
    receipt = receipt_code(rng) if rng.random() < 0.5 else None
    book.add(take_back(rng, sale, wanted, number=book.number(), receipt=receipt, ticks=ticks))


def _buyer(rng: Random, made: list[Customer], born: list[int], until: dict[str, int], at_ms: int) -> Customer | None:
    """Nobody known for 15 % of sales, else a customer who was there by then; early ones come more often."""
    known = bisect.bisect_left(born, at_ms)
    if not known or rng.random() < 0.15:
        return None
    customer = made[int(known * rng.random() ** 1.5)]
    return customer if until.get(customer.id, at_ms + 1) > at_ms else None
