"""The seed: customers and orders, the same for the same figures on the same UTC day.

Orders end before the start of the current UTC day and lie in opening hours of the merchant's own time zone. Shares of
orders: 15 % without a customer, 7 % discounted as a whole, 5 % with a discounted line (presets, typed by hand, percent,
12.5 percent), 3 % given back (half of them whole, a third by line, the rest an amount), 3 % paid in two ways, 2 %
still open, 1 % deleted, 1 % a cent off, 1 % with a declined payment first, 1 % with a line taken off, 0.7 % paid,
voided and paid again, 0.6 % from an online shop over the API without total, employee and device, 0.5 % hidden (no
state), 0.5 % in test mode, 0.5 % untaxed, 0.4 % keyed in without goods, 0.2 % credits; of 200 orders or more, two have
over 100 lines. Tips on some cards, gift cards and donations that are no revenue, delivery fees, goods by the ounce.
"""

import bisect
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any
from zoneinfo import ZoneInfo

from integrations.sandbox.clover import shop, trading
from integrations.sandbox.clover.customers import Customer
from integrations.sandbox.clover.inventory import Employee, Item, OrderType
from integrations.sandbox.clover.merchant import Merchant
from integrations.sandbox.clover.orders import Line, Order
from integrations.sandbox.clover.people import people

OPENING_S, OPEN_S = 9 * 3600, 12 * 3600
_UNITS = (1000, 2500, 500, 3250, 1000, 4000, 1330)
_ONLINE = ("Parcel Courier 2291", "Online 7741", "Web order 118")


@dataclass(slots=True)
class Plan:
    """What to make; `locations` are merchants, each with a share of customers and sales and a token of its own."""

    customers: int = 200
    sales: int = 1000
    locations: int = 1
    seed: int = 1
    days: int = 180
    vat: bool = False

    def check(self) -> None:
        for name, low in (("customers", 0), ("sales", 0), ("locations", 1), ("days", 1)):
            value = getattr(self, name)
            if type(value) is not int or value < low:
                raise ValueError(f"{name} is a whole number from {low}")
        self.vat = bool(self.vat)

    def share(self, total: int, index: int) -> int:
        return total // self.locations + (index < total % self.locations)


def grow(plan: Plan, now: datetime) -> list[Merchant]:
    """The merchants of a plan with all that happened to them."""
    plan.check()
    anchor = now.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    merchants = []
    for index in range(plan.locations):
        merchant = Merchant(index, seed=plan.seed, vat=plan.vat)
        customers, sales = plan.share(plan.customers, index), plan.share(plan.sales, index)
        rng = Random(f"clover:{plan.seed}:{customers}:{sales}:{plan.days}:{index}")
        made = people(rng, merchant, customers, anchor_ms=int(anchor.timestamp()) * 1000, days=plan.days)
        _Season(rng, merchant, made, anchor, plan.days).run(sales)
        _warm(merchant)
        merchants.append(merchant)
    return merchants


def _warm(merchant: Merchant) -> None:
    """The first reading is to be bound by the limits, as the later ones are, not by making JSON."""
    for store in (merchant.customers, merchant.orders, merchant.payments, merchant.refunds):
        for row in store.rows:
            row.warm()
    for order in merchant.orders.rows:
        for row in (*order.lines, *order.discounts, *(discount for line in order.lines for discount in line.discounts)):
            row.warm()
    for customer in merchant.customers.rows:
        for row in (*customer.emails, *customer.phones, *customer.addresses):
            row.warm()


class Trade:
    """Makes random orders of a merchant; `until_ms` is the time that nothing may lie after. `live` orders are paid in
    the second they are made."""

    def __init__(self, rng: Random, merchant: Merchant, until_ms: int, *, live: bool = False) -> None:
        self.rng, self.merchant, self.until_ms, self.live = rng, merchant, until_ms, live
        items = [item for item in merchant.items.rows if isinstance(item, Item)]
        sold = [item for item in items if not item.gone and not item.fields["hidden"]]
        self.fixed = [item for item in sold if item.fields["priceType"] == "FIXED"]
        self.loose = [item for item in sold if item.fields["priceType"] == "PER_UNIT"]
        self.open_price = [item for item in sold if item.fields["priceType"] == "VARIABLE"]
        self.presets: list[Any] = [row for row in merchant.presets.rows if not row.fields["deleted"]]
        self.staff = [row for row in merchant.employees.rows if isinstance(row, Employee) and not row.gone]
        self.types = [row for row in merchant.order_types.rows if isinstance(row, OrderType) and not row.retired][:3]

    def order(self, at: int, customer: Customer | None, *, stock: bool = False, lines: int = 0) -> Order:
        """One order at a time in ms, with what becomes of it."""
        merchant, r = self.merchant, self.rng.random
        fate = r()
        if fate < 0.006:
            return self._online(at, customer)
        if fate < 0.008:
            amount = 500 + 100 * int(30 * r())
            given = trading.credit(merchant, amount=amount, tax=0, at=at, customer=customer, employee=self._employee())
            return given.order
        merchant.serial += 1
        kind = r()
        order_type = None if kind < 0.6 else self.types[0 if kind < 0.8 else 1 if kind < 0.92 else 2]
        order = trading.new_order(
            merchant,
            created=at,
            modified=at - 1000 if r() < 0.2 else at,
            customer=customer,
            employee=self._employee(),
            order_type=order_type,
            title=str(merchant.serial) if r() < 0.85 else None,
            note=("gift", "call when ready", "regular")[int(3 * r())] if r() < 0.04 else None,
            state=None if fate < 0.013 else "open",
            test=0.013 <= fate < 0.018,
            manual=0.018 <= fate < 0.022,
            untaxed=0.022 <= fate < 0.027,
        )
        self.fill(order, at, lines, delivery=order_type is self.types[2])
        removed = 0.037 <= fate < 0.047 and len(order.lines) > 1
        if removed:
            trading.remove_line(merchant, order, order.lines[-1], at=min(at + 30_000, self.until_ms))
        self._reduce(order)
        trading.total_up(order)
        if fate < 0.013:
            merchant.orders.add(order)
            return order
        if 0.047 <= fate < 0.057:
            order.deleted = min(at + 60_000 * (1 + int(30 * r())), self.until_ms)
            order.set(deletedTimestamp=order.deleted, modifiedTime=order.deleted)
        elif not 0.057 <= fate < 0.077:
            self._pay(order, at, fate)
        trading.book(merchant, order, stock=stock)
        return order

    def _employee(self) -> Employee:
        return self.staff[int(len(self.staff) * self.rng.random())]

    def fill(self, order: Order, at: int, lines: int = 0, *, delivery: bool = False) -> None:
        """Puts random lines on an order, `lines` of them at least when given."""
        r, merchant = self.rng.random, self.merchant
        if order.fields["manualTransaction"]:
            trading.add_line(merchant, order, None, at=at, name="Manual Transaction", price=500 + int(9500 * r()))
            return
        wanted = lines or 1 + int(5 * r() ** 2.2)
        while len(order.lines) < wanted:
            chance = r()
            if chance < 0.12:
                item, quantity = self.loose[int(len(self.loose) * r())], _UNITS[int(len(_UNITS) * r())]
                trading.add_line(merchant, order, item, at=at, unit_qty=quantity)
            elif chance < 0.14:
                item = self.open_price[int(len(self.open_price) * r())]
                trading.add_line(merchant, order, item, at=at, price=1000 + 500 * int(8 * r()))
            elif chance < 0.16:
                trading.add_line(merchant, order, None, at=at, price=100 + int(2900 * r()))
            else:
                item = self.fixed[int(len(self.fixed) * r() ** 1.2)]
                mods = (item.modifiers[int(3 * r())],) if item.modifiers and r() < 0.2 else ()
                for _ in range(1 if r() < 0.8 else 2 + int(3 * r())):
                    trading.add_line(merchant, order, item, at=at, modifiers=mods)
        if delivery and r() < 0.6:
            trading.add_line(merchant, order, None, at=at, name="Delivery fee", price=500, fee=True)
        for number, line in enumerate(order.lines):
            line.fields["createdTime"] = line.created = min(at + 1000 * min(number, 60), self.until_ms)

    def _reduce(self, order: Order) -> None:
        """Discounts of an order and of its lines."""
        r = self.rng.random
        if r() < 0.05:
            self._discount(order.lines[int(len(order.lines) * r())])
        if r() < 0.07:
            self._discount(order)

    def _discount(self, owner: Order | Line) -> None:
        r, merchant = self.rng.random, self.merchant
        if r() < 0.5:
            preset = self.presets[int(len(self.presets) * r())]
            cents, percent = preset.fields.get("amount"), preset.fields.get("percentage")
            if cents is None and percent is None:
                percent = preset.fields["percentageDecimal"] / 10_000
            trading.discount(
                merchant,
                owner,
                name=preset.fields["name"],
                cents=None if cents is None else -cents,
                percent=percent,
                preset=preset,
            )
            return
        name = shop.MANUAL_DISCOUNTS[int(len(shop.MANUAL_DISCOUNTS) * r())]
        if r() < 0.4:
            trading.discount(merchant, owner, name=name, percent=(5, 10, 15, 20)[int(4 * r())])
        else:
            trading.discount(
                merchant, owner, name=name, cents=1000 if name == "Loyalty 10.00" else 100 + int(900 * r())
            )

    def _pay(self, order: Order, at: int, fate: float) -> None:
        rng, r, merchant = self.rng, self.rng.random, self.merchant
        gap = 0 if self.live else 1000
        when = at if self.live else min(at + 30_000 + 1000 * int(300 * r()), self.until_ms - 3000)
        chance = r()
        tender = shop.CREDIT if chance < 0.45 else shop.DEBIT if chance < 0.7 else shop.CASH
        tender = shop.COURIER if order.order_type is self.types[2] and chance < 0.3 else tender
        total = order.fields["total"]
        if not total:
            order.set(state="locked", payType="FULL")
            order.settle(when)
            return
        if 0.077 <= fate < 0.087:
            trading.pay(merchant, order, at=when, amount=total, tax=0, result="FAIL", rng=rng)
        elif 0.087 <= fate < 0.094:
            wrong = trading.pay(merchant, order, at=when, amount=total, tax=order.sums().tax, rng=rng)
            trading.void(order, wrong, at=when + gap)
        tipped = tender in (shop.CREDIT, shop.DEBIT) and r() < 0.15
        trading.pay_all(
            merchant,
            order,
            at=when + 2 * gap,
            tender=tender,
            tip=total * (10, 15, 18, 20)[int(4 * r())] // 100 if tipped else 0,
            off_by=(-1 if r() < 0.6 else 1) if 0.094 <= fate < 0.104 and total > 1 else 0,
            split=(total // 3, shop.CASH) if r() < 0.03 and tender != shop.CASH else None,
            rng=rng,
        )

    def _online(self, at: int, customer: Customer | None) -> Order:
        """What an online shop puts in over the API: no employee, no device, no total."""
        merchant, r = self.merchant, self.rng.random
        title = _ONLINE[int(len(_ONLINE) * r())]
        order = trading.new_order(
            merchant, created=at, customer=customer, order_type=self.types[2], title=title, external=f"web-{at // 1000}"
        )
        self.fill(order, at, 0, delivery=True)
        order.set(total=None)
        trading.pay_all(merchant, order, at=at + 1000, tender=shop.EXTERNAL, external=f"W{at // 1000}")
        trading.book(merchant, order, stock=False)
        return order

    def give_back(self, order: Order, at: int) -> None:
        """A refund of some kind."""
        r, chance = self.rng.random, self.rng.random()
        left, fresh = order.paid - order.given_back, [line for line in order.lines if not line.fields["refunded"]]
        if left <= 0 or not fresh:
            return
        reason = "Damaged" if r() < 0.3 else None
        if chance < 0.5 or (len(fresh) == 1 and chance < 0.85):
            trading.take_back(self.merchant, order, fresh, amount=left, at=at, tips=True, reason=reason)
        elif chance < 0.85:
            line = fresh[int(len(fresh) * r())]
            amount = min(left, order.sums().shares(order.paid)[order.lines.index(line)])
            if amount:
                trading.take_back(self.merchant, order, [line], amount=amount, at=at, reason=reason)
        else:
            trading.take_back(self.merchant, order, [], amount=max(1, left // 3), at=at, reason=reason)


class _Season:
    """All orders of the days before the anchor, in order of time."""

    def __init__(self, rng: Random, merchant: Merchant, made: list[Customer], anchor: datetime, days: int) -> None:
        self.rng, self.merchant, self.made = rng, merchant, made
        self.anchor, self.days = anchor, days
        self.born = [customer.created for customer in made]
        self.trade = Trade(rng, merchant, int(anchor.timestamp()) * 1000)

    def run(self, sales: int) -> None:
        r = self.rng.random
        waiting: list[tuple[int, str, Order]] = []
        long = {sales // 3: 120, sales // 2: 260} if sales >= 200 else {}
        for number, at in enumerate(self._moments(sales)):
            while waiting and waiting[0][0] <= at:
                when, _, order = waiting.pop(0)
                self.trade.give_back(order, when)
            order = self.trade.order(at, self._buyer(at), lines=long.get(number, 0))
            if r() < 0.03 and order.paid:
                later = 86_400_000 * int(14 * r()) + 1000 * int(7200 * r())
                when = min(order.fields["modifiedTime"] + 60_000 + later, self.trade.until_ms - 1000)
                bisect.insort(waiting, (when, order.id, order), key=lambda row: row[:2])
        for when, _, order in waiting:
            self.trade.give_back(order, when)

    def _moments(self, count: int) -> list[int]:
        r, zone = self.rng.random, ZoneInfo(self.merchant.place.zone)
        anchor_s, base = int(self.anchor.timestamp()), self.anchor - timedelta(days=self.days)
        opened = [
            int(datetime(day.year, day.month, day.day, tzinfo=zone).timestamp()) + OPENING_S
            for day in (base + timedelta(days=number) for number in range(self.days))
        ]
        moments = []
        for _ in range(count):
            at = opened[int(self.days * r())] + int(OPEN_S * r())
            if at >= anchor_s - 600:  # yesterday's evening in the west is today in UTC: move it a day back
                at -= 86_400
            moments.append(at * 1000)
        return sorted(moments)

    def _buyer(self, at: int) -> Customer | None:
        known = bisect.bisect_left(self.born, at)
        if not known or self.rng.random() < 0.15:
            return None
        customer = self.made[int(known * self.rng.random() ** 1.5)]
        return customer if customer.deleted is None or customer.deleted > at else None
