"""Days are the account's, hours the store's, also where the clock is put forward or back; and a server's clock may err.

Toronto 2025: 9 March has 23 hours (02:00 is 03:00), 2 November has 25 (01:00 to 02:00 comes twice). Havana does it at
midnight: 9 March begins at 01:00, 2 November begins twice.
"""

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import pytest
from django.db import connection
from django.utils import timezone

from aiqsync.accounts.models import Account
from integrations.kit.records import SaleRecord
from integrations.sink import Batch, sink
from loyalty import audits, closes, jobs, ledger, pins, seals
from loyalty.models import Entry, Job, Lot, Message, Modifier, Persona, Programme
from stores.models import StoreMapping
from tests.factories import make_account, make_discount, make_persona, make_store
from tests.records import customer, land_customers, land_sales, make_origin, refund, sale

pytestmark = pytest.mark.django_db
HOUR = timedelta(hours=1)
LATER = datetime(2025, 11, 20, 12, tzinfo=UTC)


class Shop:
    def __init__(self, zone="America/Toronto", **programme) -> None:
        self.account = make_account()
        Account.objects.filter(pk=self.account.pk).update(timezone=zone)
        Programme.unscoped.filter(account=self.account).update(**programme)
        self.origin = make_origin(self.account)
        landed = land_customers(self.origin, customer("c", phone="+16045550142"))
        sink().landed(Batch(self.account.pk, self.origin.pk, type(customer("c")), landed.new, [], LATER))
        Persona.unscoped.update(member_from=date(2025, 1, 1))
        self.persona = Persona.unscoped.get()

    def sell(self, *moments: str, now: datetime = LATER, net: int = 1000) -> list[Decimal]:
        """Sales at these moments of UTC, `MM-DD HH:MM:SS` of 2025; what each earned."""
        records = [
            sale(text, customer_id="c", net=net, tax=0, sold_at=datetime.fromisoformat(f"2025-{text}+00:00"))
            for text in moments
        ]
        self.land(*records, now=now)
        posted = Entry.unscoped.filter(persona=self.persona, kind="earn").values_list("sale__external_id", "points")
        earned: dict[str, Decimal] = {}
        for key, points in posted:
            earned[key] = earned.get(key, Decimal(0)) + points
        return [earned.get(text, Decimal(0)) for text in moments]

    def land(self, *records, now: datetime = LATER) -> None:
        landed = land_sales(self.origin, *records)
        sink().landed(Batch(self.account.pk, self.origin.pk, SaleRecord, landed.new, landed.changed, now))

    def modifier(self, **fields) -> None:
        Modifier.unscoped.create(account=self.account, name="Twice", kind="multiplier", factor=2, **fields)

    @property
    def points(self) -> Decimal:
        return ledger.spendable_points(self.account.pk, self.persona.pk, LATER)

    def sound(self) -> list[str]:
        return [f"{v.rule.name}: {v.examples}" for v in audits.violations(account_id=self.account.pk)]


@pytest.mark.parametrize("zone, day, before, first, last, after", [
    ("America/Toronto", date(2025, 11, 2), "11-02 03:59:59", "11-02 04:00:00", "11-03 04:59:59", "11-03 05:00:00"),
    ("America/Toronto", date(2025, 3, 9), "03-09 04:59:59", "03-09 05:00:00", "03-10 03:59:59", "03-10 04:00:00"),
    ("America/Havana", date(2025, 11, 2), "11-02 03:59:59", "11-02 04:00:00", "11-03 04:59:59", "11-03 05:00:00"),
    ("America/Havana", date(2025, 3, 9), "03-09 04:59:59", "03-09 05:00:00", "03-10 03:59:59", "03-10 04:00:00"),
    ("Pacific/Kiritimati", date(2025, 6, 2), "06-01 09:59:59", "06-01 10:00:00", "06-02 09:59:59", "06-02 10:00:00"),
])  # fmt: skip
class TestDays:
    """The same day by each rule that speaks of days: its first and its last second, and those beside it."""

    def test_accrual_start(self, zone, day, before, first, last, after):
        shop = Shop(zone, accrual_start=day)
        assert shop.sell(before, first, last, after) == [0, 10, 10, 10]

    def test_visits_a_day(self, zone, day, before, first, last, after):
        shop = Shop(zone, points_per_order=5, max_visits_per_day=1)
        assert shop.sell(before, first, last, after) == [15, 15, 10, 15]

    def test_dated_tax(self, zone, day, before, first, last, after):
        shop = Shop(zone, exclude_tax_from=day)
        shop.land(*[
            sale(text, customer_id="c", net=1000, tax=100, sold_at=datetime.fromisoformat(f"2025-{text}+00:00"))
            for text in (before, first)
        ])  # fmt: skip
        assert shop.points == 11 + 10

    def test_dates_of_a_modifier(self, zone, day, before, first, last, after):
        shop = Shop(zone)
        shop.modifier(starts_on=day, ends_on=day)
        assert shop.sell(before, first, last, after) == [10, 20, 20, 10]

    def test_weekday_of_a_modifier(self, zone, day, before, first, last, after):
        shop = Shop(zone)
        shop.modifier(weekdays=[day.weekday()])
        assert shop.sell(before, first, last, after) == [10, 20, 20, 10]

    def test_a_void_is_of_the_same_day(self, zone, day, before, first, last, after):
        shop = Shop(zone)
        for place, (sold, undone) in enumerate(((first, last), (first, after), (before, first))):
            at = [datetime.fromisoformat(f"2025-{text}+00:00") for text in (sold, undone)]
            shop.land(sale(f"s{place}", customer_id="c", net=1000, tax=0, sold_at=at[0]))
            shop.land(refund(f"r{place}", of=f"s{place}", customer_id="c", net=1000, tax=0, sold_at=at[1]))
        assert shop.points == 20  # the first was a void; the others are refunds, and points are kept

    def test_expiry_is_the_end_of_a_day(self, zone, day, before, first, last, after):
        shop = Shop(zone, expire_days=2)
        start = datetime.fromisoformat(f"2025-{first}+00:00")
        shop.sell((start - timedelta(days=2) + 13 * HOUR).strftime("%m-%d %H:%M:%S"))
        end = datetime.fromisoformat(f"2025-{after}+00:00")
        assert Lot.unscoped.get().expires_at == end
        spendable = [ledger.spendable_points(shop.account.pk, shop.persona.pk, at) for at in (end - HOUR, end)]
        assert spendable == [10, 0]


class TestHours:
    def test_the_hour_that_comes_twice_counts_twice(self):
        shop = Shop()
        shop.modifier(from_hour="01:00", to_hour="02:00")
        moments = ("11-02 04:59:59", "11-02 05:00:00", "11-02 05:59:59", "11-02 06:00:00", "11-02 06:59:59",
                   "11-02 07:00:00")  # fmt: skip
        assert shop.sell(*moments) == [10, 20, 20, 20, 20, 10]

    def test_the_hour_that_is_left_out_is_no_hour(self):
        shop = Shop()
        shop.modifier(from_hour="02:00", to_hour="03:00")
        assert shop.sell("03-09 06:59:59", "03-09 07:00:00") == [10, 10]
        assert shop.sell("03-10 06:30:00") == [20]  # the next day has it again

    def test_a_span_over_midnight_of_the_longer_day(self):
        shop = Shop()
        shop.modifier(from_hour="23:00", to_hour="01:30")
        moments = ("11-02 03:00:00", "11-02 05:29:59", "11-02 05:30:00", "11-02 06:15:00", "11-02 06:30:00")
        assert shop.sell(*moments) == [20, 20, 10, 20, 10]  # 01:15 comes again

    def test_hours_are_the_stores_and_days_the_accounts(self):
        """The account is in Toronto, the shop in Vancouver: 23:30 there is the next day for the account."""
        shop = Shop(accrual_start=date(2025, 6, 2))
        store = make_store(shop.account)
        type(store).unscoped.filter(pk=store.pk).update(timezone="America/Vancouver")
        location = shop.origin.locations(manager="unscoped").get()
        StoreMapping.unscoped.create(account=shop.account, location=location, store=store)
        shop.modifier(weekdays=[6], from_hour="23:00")
        assert shop.sell("06-02 06:30:00") == [20]  # Sunday 23:30 in Vancouver, Monday 2 June in Toronto


@pytest.mark.parametrize("month, starts, ends", [
    (date(2025, 3, 1), "03-01 05:00:00", "04-01 04:00:00"), (date(2025, 11, 1), "11-01 04:00:00", "12-01 05:00:00"),
])  # fmt: skip
def test_a_month_closes_at_the_accounts_midnight(month, starts, ends):
    shop = Shop()
    edges = [datetime.fromisoformat(f"2025-{text}+00:00") for text in (starts, ends)]
    for place, at in enumerate(edge + step for edge in edges for step in (-timedelta(seconds=1), timedelta(0))):
        ledger.adjust(
            account_id=shop.account.pk, persona_id=shop.persona.pk, points=Decimal(10**place), key=f"k{place}", now=at
        )
    closes.close_due(now=edges[1] + timedelta(days=1))
    closed = {one.close.month: one for one in closes.closed(account_id=shop.account.pk)}
    assert (closed[month].opening, closed[month].given, closed[month].closing) == (1, 110, 111)
    assert (closed[month].close.starts_at, closed[month].close.ends_at) == tuple(edges)
    assert shop.sound() == []


class TestAClockThatWasPutBack:
    """A server's clock errs and is mended: what is dated later than now is there all the same."""

    def test_a_page_earlier_than_the_last_entry(self):
        shop = Shop(expire_days=400)
        shop.sell("11-01 12:00:00", "11-02 12:00:00", now=LATER)
        shop.sell("11-03 12:00:00", now=LATER - 5 * HOUR)
        shop.land(sale("11-02 12:00:00", customer_id="c", net=500, tax=0,
                       sold_at=datetime(2025, 11, 2, 12, tzinfo=UTC)), now=LATER - 4 * HOUR)  # fmt: skip
        assert shop.points == 25
        rows = list(Entry.unscoped.order_by("id").values_list("points", "balance_after", "at"))
        assert [row[:2] for row in rows] == [(10, 10), (10, 20), (10, 30), (-5, 25)]
        assert rows[2][2] < rows[1][2]
        seals.seal_due(now=LATER + 2 * HOUR)
        assert shop.sound() == []

    def test_a_seal_made_between_them_still_fits(self):
        shop = Shop()
        shop.sell("11-01 12:00:00", now=LATER)
        seals.seal_due(now=LATER + 2 * HOUR)
        shop.sell("11-02 12:00:00", now=LATER - 5 * HOUR)
        seals.seal_due(now=LATER + 3 * HOUR)
        assert shop.sound() == []

    def test_what_has_expired_does_not_come_back(self):
        shop = Shop(expire_days=3)
        shop.sell("11-01 12:00:00", now=datetime(2025, 11, 1, 13, tzinfo=UTC))
        end = Lot.unscoped.get().expires_at
        assert ledger.expire_due(now=end) == 1
        earlier = end - 2 * HOUR
        assert ledger.spendable_points(shop.account.pk, shop.persona.pk, earlier) == 0
        with pytest.raises(ledger.NotEnoughPoints):
            ledger.redeem(
                account_id=shop.account.pk, persona_id=shop.persona.pk, n=0, transaction="T", channel="till",
                discount_id=make_discount(shop.account, points=10).pk, now=earlier,
            )  # fmt: skip
        assert ledger.expire_due(now=earlier) == 0 and shop.sound() == []

    def test_redeemed_and_given_back_earlier_than_it_was_taken(self):
        shop = Shop()
        shop.sell("11-01 12:00:00")
        taken = ledger.redeem(
            account_id=shop.account.pk, persona_id=shop.persona.pk, n=0, transaction="T", channel="till",
            discount_id=make_discount(shop.account, points=10).pk, now=LATER,
        )  # fmt: skip
        back = ledger.revert(account_id=shop.account.pk, redemption_public_id=taken.redemption_id, now=LATER - 3 * HOUR)
        assert (back.points, back.balance) == (10, 10) and shop.sound() == []

    def test_leases_go_by_the_databases_clock(self, monkeypatch):
        """The worker's own clock may be a day off in either direction: its job is its own for as long as it renews."""
        account = make_account()
        monkeypatch.setitem(jobs.HANDLERS, "steps", lambda work: None)
        job = jobs.start(account_id=account.pk, kind="steps", args={}, user=None, now=timezone.now())
        real = timezone.now
        for off in (timedelta(days=-1), timedelta(days=1)):
            monkeypatch.setattr(jobs.timezone, "now", lambda off=off: real() + off)
            Job.unscoped.update(state="queued", token="", lease_until=None)
            assert jobs.claim(job.pk) and jobs.claim(job.pk) is None
            assert jobs.dispatch_due(enqueue=lambda pk: pytest.fail("it is held")) == 0
            with connection.cursor() as cursor:
                cursor.execute("SELECT extract(epoch FROM lease_until - now()) FROM loyalty_job")
                assert 0 < cursor.fetchone()[0] < 600

    def test_a_code_is_not_good_for_longer(self):
        ada = make_persona(make_account(), phone="+16045550142")
        pins.send(persona=ada, now=LATER)
        body = Message.unscoped.get(persona=ada).body
        code = next(word for word in body.split() if word.isdigit() and len(word) == 4)
        earlier = LATER - HOUR
        with pytest.raises(pins.WrongPin):
            pins.check(persona=ada, code=code, now=earlier)
        pins.send(persona=ada, now=earlier + timedelta(minutes=1))  # and another can be sent at once
        fresh = Message.unscoped.filter(persona=ada).latest("id").body
        code = next(word for word in fresh.split() if word.isdigit() and len(word) == 4)
        assert pins.check(persona=ada, code=code, now=earlier + timedelta(minutes=2)) == "pin"

    def test_a_second_server_a_little_behind_takes_the_code(self):
        ada = make_persona(make_account(), phone="+16045550142")
        pins.send(persona=ada, now=LATER)
        body = Message.unscoped.get(persona=ada).body
        code = next(word for word in body.split() if word.isdigit() and len(word) == 4)
        assert pins.check(persona=ada, code=code, now=LATER - timedelta(seconds=20)) == "pin"
