"""A removed discount never costs points: released on evidence, undone with its sale, settled again when it is late."""

from datetime import timedelta

import pytest

from integrations.kit.records import SaleRecord
from integrations.models import Connection, Credential, Location, StreamState, Upload
from integrations.services import read_past
from integrations.sink import Batch, sink
from loyalty import audits, ledger, reconcile
from loyalty.models import Merge, Persona, Programme, Redemption, Shortfall
from stores.models import StoreMapping
from tests.factories import make_account, make_discount, make_persona, make_store
from tests.integrations.files.sheets import sent_and_read
from tests.loyalty.race import at_once
from tests.records import NOON, customer, land_customers, land_sales, make_origin, refund, sale

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
TEN = '[{"name": "$10 off", "cents": 1000, "after_tax": false}]'


class Shop:
    def __init__(self, name="Shop"):
        self.account = make_account(name)
        self.origin = make_origin(self.account)
        landed = land_customers(self.origin, customer("c", phone="+16045550142"))
        sink().landed(Batch(self.account.pk, self.origin.pk, type(customer("c")), landed.new, [], NOON))
        self.persona = Persona.unscoped.get(account=self.account)
        Persona.unscoped.filter(pk=self.persona.pk).update(member_from=NOON.date())
        self.give(1000, "start")
        self.discount = make_discount(self.account, name="$10 off")
        connection = Connection.unscoped.create(account=self.account, card="cova")
        self.credential = Credential.unscoped.create(
            account=self.account, connection=connection, origin=self.origin, state="connected"
        )
        self.stream = StreamState.unscoped.create(
            account=self.account, credential=self.credential, stream="sales", first_done_at=NOON, read_until=NOON
        )

    def give(self, points, key):
        ledger.adjust(account_id=self.account.pk, persona_id=self.persona.pk, points=points, key=key, now=NOON)

    def redeem(self, order="", n=0, at=NOON, **fields):
        return ledger.redeem(
            account_id=self.account.pk, persona_id=self.persona.pk, discount_id=self.discount.pk, n=n,
            transaction=order, channel="till" if order else "staff", now=at, **fields,
        )  # fmt: skip

    def read(self, until, **fields):
        StreamState.unscoped.filter(pk=self.stream.pk).update(read_until=until, **fields)

    def arrive(self, *records, now=NOON):
        landed = land_sales(self.origin, *records)
        sink().landed(Batch(self.account.pk, self.origin.pk, SaleRecord, landed.new, landed.changed, now))

    @property
    def points(self):
        return ledger.spendable_points(self.account.pk, self.persona.pk, NOON)

    @property
    def state(self):
        one = Redemption.unscoped.get(account=self.account)
        return one.state, one.why_ended

    def sound(self):
        return [f"{v.rule.name}: {v.examples}" for v in audits.violations(account_id=self.account.pk)]


@pytest.fixture
def shop(db):
    return Shop()


def sold(external_id="s", discounts=TEN, number="T1", **fields):
    return sale(external_id, customer_id="c", discounts=discounts, has_details=True, number=number, **fields)


class TestWithoutASale:
    def test_fault_3_7_released_when_every_sale_of_its_time_is_known(self, shop):
        shop.redeem("T1")
        shop.read(NOON + 25 * HOUR)
        assert reconcile.release_due(now=NOON + 23 * HOUR) == 0
        assert reconcile.release_due(now=NOON + 26 * HOUR) == 1
        assert shop.state == ("released", "no_sale") and shop.points == 1000 and shop.sound() == []
        assert reconcile.release_due(now=NOON + 27 * HOUR) == 0

    @pytest.mark.parametrize("trouble, said", [
        ({"read_until": NOON + 20 * HOUR}, "not read so far"),
        ({"failures": 1, "read_until": NOON + 30 * HOUR}, "fails at the moment"),
        ({"enabled": False, "read_until": NOON + 30 * HOUR}, "not being read"),
        ({"first_done_at": None, "read_until": NOON + 30 * HOUR}, "first sync"),
        ("paused", "refuses the log-in"), ("disconnected", "disconnected"),
    ])  # fmt: skip
    def test_without_evidence_it_stays_and_says_why(self, shop, trouble, said):
        shop.redeem("T1")
        if isinstance(trouble, str):
            shop.read(NOON + 30 * HOUR)
            Credential.unscoped.update(state=trouble)
        else:
            StreamState.unscoped.filter(pk=shop.stream.pk).update(**trouble)
        assert reconcile.release_due(now=NOON + 40 * HOUR) == 0
        seen = reconcile.evidence(account_id=shop.account.pk, store_id=None, moment=NOON + 24 * HOUR)
        assert not seen.ok and said in seen.waiting[0]

    def test_nothing_connected_is_no_evidence(self, shop):
        shop.redeem("T1")
        shop.stream.delete()
        assert reconcile.release_due(now=NOON + 99 * DAY) == 0

    def test_only_the_places_that_could_have_it_are_asked(self, shop):
        store = make_store(shop.account)
        place = Location.unscoped.get(origin=shop.origin)
        StoreMapping.unscoped.create(account=shop.account, location=place, store=store)
        other = make_origin(shop.account, "999")
        credential = Credential.unscoped.create(
            account=shop.account, connection=shop.credential.connection, origin=other, state="paused"
        )
        StreamState.unscoped.create(account=shop.account, credential=credential, stream="sales")
        shop.read(NOON + 30 * HOUR)
        shop.redeem("T1", store_id=store.pk)
        assert not read_past(account_id=shop.account.pk, moment=NOON).ok
        assert reconcile.release_due(now=NOON + 40 * HOUR) == 1

    @pytest.mark.parametrize("how", ["by hand", "fetched"])
    def test_files_of_sales_are_no_evidence(self, shop, how):
        """A till whose sales come by file: what was sent is known, not that it was everything."""
        shop.redeem("T1")
        shop.read(NOON + 30 * HOUR)
        sent_and_read(shop.account, "order id,date,total\n1,2026-03-02,5\n", name="sales.csv")
        if how == "fetched":
            link = Connection.unscoped.create(account=shop.account, card="files")
            Credential.unscoped.create(
                account=shop.account, connection=link, origin=Upload.unscoped.get().origin, state="connected"
            )
        assert reconcile.release_due(now=NOON + 40 * HOUR) == 0
        seen = reconcile.evidence(account_id=shop.account.pk, store_id=None, moment=NOON + 24 * HOUR)
        assert seen.waiting == ("File drop (Old till): nothing tells that its files hold every sale.",)
        # A past that was brought over once holds nothing up; a place that files are fetched from does.
        Upload.unscoped.update(created_at=NOON - 60 * DAY)
        assert reconcile.release_due(now=NOON + 40 * HOUR) == (1 if how == "by hand" else 0)

    def test_files_of_customers_hold_nothing_up(self, shop):
        shop.redeem("T1")
        shop.read(NOON + 30 * HOUR)
        sent_and_read(shop.account, "id,first name\n1,Ada\n")
        assert reconcile.release_due(now=NOON + 40 * HOUR) == 1

    def test_a_web_redemption_is_never_released_by_itself(self, shop):
        ledger.redeem(account_id=shop.account.pk, persona_id=shop.persona.pk, discount_id=shop.discount.pk, n=0,
                      transaction="", channel="web", now=NOON)  # fmt: skip
        shop.read(NOON + 30 * DAY)
        assert reconcile.release_due(now=NOON + 30 * DAY) == 0

    def test_the_merchants_hours_count(self, shop):
        Programme.unscoped.filter(account=shop.account).update(release_after_h=2)
        shop.redeem("T1")
        shop.read(NOON + 4 * HOUR)
        assert reconcile.release_due(now=NOON + 3 * HOUR) == 1


class TestWithItsSale:
    def test_settled_by_number_with_how_it_was_found(self, shop):
        shop.redeem("T1")
        shop.arrive(sold())
        one = Redemption.unscoped.get()
        assert (one.state, one.matched_by, one.after_tax) == ("settled", "transaction", False)

    def test_the_sale_came_without_the_discount(self, shop):
        shop.redeem("T1")
        shop.arrive(sold(discounts="[]"))
        assert shop.state == ("released", "without_discount") and shop.points == 1100

    def test_without_details_nothing_is_concluded(self, shop):
        shop.redeem("T1")
        shop.arrive(sale("s", customer_id="c", number="T1"))
        assert shop.state == ("applied", "")

    def test_an_edit_takes_the_discount_away_and_another_brings_it_back(self, shop):
        shop.redeem("T1")
        shop.arrive(sold())
        shop.arrive(sold(discounts="[]"))
        assert shop.state == ("released", "without_discount") and shop.points == 1100
        shop.arrive(sold(net=9000))
        assert shop.state[0] == "settled" and shop.points == 990 and shop.sound() == []

    def test_fault_3_4_a_voided_sale_gives_everything_back(self, shop):
        shop.redeem("T1")
        shop.arrive(sold())
        shop.arrive(refund("r", of="s", customer_id="c", sold_at=NOON + HOUR))
        assert shop.state == ("released", "voided") and shop.points == 1000 and shop.sound() == []

    @pytest.mark.parametrize("spent, state, points", [("keep", "settled", 1000), ("reverse", "released", 1100)])
    def test_fault_3_3_a_later_refund_follows_the_setting_once(self, shop, spent, state, points):
        Programme.unscoped.filter(account=shop.account).update(spent_on_refund=spent)
        shop.redeem("T1")
        shop.arrive(sold())
        for _ in range(3):
            shop.arrive(refund("r", of="s", customer_id="c", sold_at=NOON + 3 * DAY))
        assert shop.state[0] == state and shop.points == points and shop.sound() == []

    def test_a_partial_refund_gives_no_reward_back(self, shop):
        Programme.unscoped.filter(account=shop.account).update(spent_on_refund="reverse")
        shop.redeem("T1")
        shop.arrive(sold())
        shop.arrive(refund("r", of="s", net=3000, tax=0, customer_id="c", sold_at=NOON + 3 * DAY))
        assert shop.state[0] == "settled"

    def test_a_refund_before_its_sale(self, shop):
        shop.redeem("T1")
        shop.arrive(refund("r", of="s", customer_id="c", sold_at=NOON + HOUR))
        shop.arrive(sold())
        shop.arrive(sold(employee_name="Sam"))  # read again, as every sale is for a while
        assert shop.state == ("released", "voided") and shop.points == 1000 and shop.sound() == []

    def test_a_persona_merged_meanwhile(self, shop):
        shop.redeem("T1")
        heir = make_persona(shop.account)
        merge = Merge.unscoped.create(account=shop.account, survivor=heir, loser=shop.persona, why="manual", at=NOON,
                                      survivor_balance=0, loser_balance=0)  # fmt: skip
        ledger.merge(account_id=shop.account.pk, merge_id=merge.pk, now=NOON)
        shop.arrive(sold())
        assert shop.state[0] == "settled" and shop.sound() == []


def test_fault_4_5_points_go_with_the_call_and_with_nothing_else(shop):
    """Selected again, or the till was offline until its sale came with the rest: they go when it is used, and once."""
    made = shop.redeem("T1")
    assert made.balance == shop.points == 900 and shop.state[0] == "applied"
    for _ in range(3):  # the shopper is taken off and added again
        assert not shop.redeem("T1").created and shop.points == 900
    shop.read(NOON - HOUR)  # no sale of that hour was read yet
    assert reconcile.release_due(now=NOON + 3 * DAY) == 0 and shop.points == 900
    shop.arrive(sold(), now=NOON + 3 * DAY)
    assert shop.state[0] == "settled" and shop.points == 900 + 100 and shop.sound() == []


class TestLate:
    def release(self, shop):
        shop.redeem("T1")
        shop.read(NOON + 30 * HOUR)
        assert reconcile.release_due(now=NOON + 30 * HOUR) == 1

    def test_settled_again_when_the_sale_comes_late(self, shop):
        self.release(shop)
        for _ in range(2):
            shop.arrive(sold(), now=NOON + 31 * HOUR)
        assert shop.state == ("settled", "") and shop.points == 1000 and shop.sound() == []

    def test_what_is_not_there_any_more_is_a_shortfall(self, shop):
        self.release(shop)
        shop.give(-960, "spent")
        shop.arrive(sold(net=0, tax=0, lines=()), now=NOON + 31 * HOUR)
        short = Shortfall.unscoped.get()
        assert (shop.state[0], shop.points, short.points, short.redemption.state) == ("settled", 0, 60, "settled")
        back = ledger.revert(
            account_id=shop.account.pk, redemption_public_id=Redemption.unscoped.get().public_id, now=NOON + 2 * DAY
        )
        assert (back.points, shop.points) == (40, 40) and Shortfall.unscoped.get().state == "netted"
        assert shop.sound() == []

    def test_the_till_used_the_order_anew(self, shop):
        self.release(shop)
        shop.redeem("T1", n=1, at=NOON + 31 * HOUR)
        shop.arrive(sold(), now=NOON + 32 * HOUR)
        states = sorted(Redemption.unscoped.values_list("n", "state"))
        assert states == [(0, "released"), (1, "settled")] and shop.points == 1000 and shop.sound() == []


@pytest.mark.django_db(transaction=True)
def test_the_sweep_and_the_sale_at_once():
    """Whoever is first: in the end the points are taken once and the redemption has its sale."""
    for round_ in range(4):
        shop = Shop(f"Race {round_}")
        shop.redeem("T1")
        shop.read(NOON + 30 * HOUR)

        def land(shop=shop):
            from django.db import transaction

            with transaction.atomic():
                shop.arrive(sold(), now=NOON + 30 * HOUR)

        answers = at_once([land] + [lambda: reconcile.release_due(now=NOON + 30 * HOUR)] * 3)
        assert not [one for one in answers if isinstance(one, Exception)]
        if shop.state[0] == "released":  # the sweep came last of all: it had not seen the sale, which is read again
            shop.arrive(sold(employee_name="Sam"), now=NOON + 31 * HOUR)
        assert (shop.state[0], shop.points) == ("settled", 1000) and shop.sound() == []
