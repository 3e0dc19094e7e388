"""Each rule of the ledger's verbs, except sales (test_ledger_sales.py) and races (test_ledger_race.py)."""

import uuid
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from django.db import IntegrityError, connection, transaction

from loyalty import audits, ledger
from loyalty.models import Draw, Entry, Lot, Persona, Programme, Redemption, Wallet

from ..factories import make_account, make_discount, make_persona, make_store

pytestmark = pytest.mark.django_db
NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
DAY = timedelta(days=1)


class Shopper:
    """One persona and the verbs, with the fewest words."""

    def __init__(self) -> None:
        self.account = make_account()
        self.persona = make_persona(self.account)
        self.ids = {"account_id": self.account.pk, "persona_id": self.persona.pk}

    def give(self, points, *, key=None, now=NOW, expires_at=None, **options):
        return ledger.adjust(
            **self.ids,
            points=Decimal(points),
            key=key or f"give:{uuid.uuid4()}",
            now=now,
            expires_at=expires_at,
            **options,
        )

    def redeem(self, discount, *, n=0, transaction="", channel="web", now=NOW, **options):
        return ledger.redeem(
            **self.ids,
            discount_id=discount.pk,
            n=n,
            transaction=transaction,
            channel=channel,
            now=now,
            **options,
        )

    def revert(self, redeemed, points=None, *, now=NOW, **options):
        return ledger.revert(
            account_id=self.account.pk,
            redemption_public_id=redeemed.redemption_id,
            now=now,
            points=points and Decimal(points),
            **options,
        )

    @property
    def balance(self):
        return Wallet.unscoped.get(persona=self.persona).balance

    @property
    def lots(self):
        return [int(lot.remaining) for lot in Lot.unscoped.filter(persona=self.persona).order_by("id")]

    @property
    def lines(self):
        rows = Entry.unscoped.filter(persona=self.persona).order_by("id")
        return [(row.kind, int(row.points), int(row.balance_after)) for row in rows]


@pytest.fixture
def shopper(db):
    shopper = Shopper()
    yield shopper
    assert audits.violations() == []


def test_given_points_are_a_line_and_a_lot(shopper):
    posted = shopper.give("12.50", note="sorry", explanation={"why": "late"}, cause_at=NOW - DAY)
    assert (posted.points, posted.balance, posted.created) == (Decimal("12.50"), Decimal("12.50"), True)
    entry = Entry.unscoped.get(pk=posted.entry_id)
    assert (entry.kind, entry.note, entry.explanation, entry.at) == ("adjust", "sorry", {"why": "late"}, NOW)
    lot = Lot.unscoped.get(entry=entry)
    assert (lot.points, lot.remaining, lot.kind) == (posted.points, posted.points, "adjust")


def test_the_same_key_is_the_same_entry(shopper):
    first = shopper.give(10, key="k")
    shopper.give(5)
    again = shopper.give(10, key="k")
    assert (again.entry_id, again.points, again.balance, again.created) == (first.entry_id, 10, 15, False)


def test_a_key_of_another_persona_is_refused(shopper):
    shopper.give(10, key="k")
    other = make_persona(shopper.account)
    with pytest.raises(ledger.KeyTaken):
        ledger.adjust(account_id=shopper.account.pk, persona_id=other.pk, points=Decimal(1), key="k", now=NOW)


def test_the_same_key_in_another_account_is_another_key(shopper):
    shopper.give(10, key="k")
    assert Shopper().give(10, key="k").created


@pytest.mark.parametrize("points", ["0", "0.001", "NaN"])
def test_points_that_cannot_be_posted(shopper, points):
    with pytest.raises((ValueError, ArithmeticError)):
        shopper.give(points)


@pytest.mark.parametrize("kind", ["earn", "redeem", "reverse", "expire", "merge"])
def test_kinds_that_have_their_own_verb(shopper, kind):
    with pytest.raises(ValueError):
        shopper.give(1, kind=kind)


def test_taken_from_what_expires_first_then_from_the_oldest(shopper):
    shopper.give(10)
    shopper.give(10, expires_at=NOW + 9 * DAY)
    shopper.give(10, expires_at=NOW + 3 * DAY)
    shopper.give(10)
    shopper.give(-25)
    assert shopper.lots == [5, 0, 0, 10]
    taken = Draw.unscoped.filter(entry__points=-25).order_by("id").values_list("points", flat=True)
    assert list(taken) == [-10, -10, -5]


def test_no_more_than_is_there(shopper):
    shopper.give(10)
    with pytest.raises(ledger.NotEnoughPoints) as refused:
        shopper.give("-10.01")
    assert (refused.value.balance, refused.value.asked) == (Decimal(10), Decimal("10.01"))
    assert shopper.lines == [("adjust", 10, 10)]


def test_a_wallet_is_made_when_it_is_needed(shopper):
    persona = Persona.unscoped.create(account=shopper.account)
    ids = {"account_id": shopper.account.pk, "persona_id": persona.pk}
    assert ledger.spendable_points(*ids.values(), NOW) == 0
    assert ledger.adjust(**ids, points=Decimal(3), key="k", now=NOW).balance == 3


def test_a_persona_of_another_account_is_refused(shopper):
    other = make_account("Other Co")
    stranger = Persona.unscoped.create(account=other)
    for persona in (stranger, make_persona(other)):
        with pytest.raises(Exception, match="is not of account|tenant"), transaction.atomic():
            ledger.adjust(account_id=shopper.account.pk, persona_id=persona.pk, points=Decimal(1), key="x", now=NOW)


def test_what_is_past_its_day_goes_before_anything_else(shopper):
    shopper.give(10, expires_at=NOW + DAY)
    shopper.give(4, expires_at=NOW + DAY)
    shopper.give(5)
    assert shopper.give(1, now=NOW + DAY).balance == 6
    assert shopper.lines[3:] == [("expire", -10, 9), ("expire", -4, 5), ("adjust", 1, 6)]
    lot = Lot.unscoped.earliest("id")
    assert Entry.unscoped.filter(kind="expire").earliest("id").key == f"expire:{lot.pk}"


def test_an_expiry_stands_though_the_call_is_refused(shopper):
    shopper.give(10, expires_at=NOW + DAY)
    with pytest.raises(ledger.NotEnoughPoints):
        shopper.give(-10, now=NOW + DAY)
    assert shopper.balance == 0


def test_the_sweep(shopper):
    others = [make_persona(shopper.account) for _ in range(5)]
    for persona in [*others, shopper.persona]:
        for days in (1, 2, 3):
            ledger.adjust(
                account_id=shopper.account.pk,
                persona_id=persona.pk,
                points=Decimal(7),
                key=f"{persona.pk}:{days}",
                now=NOW,
                expires_at=NOW + days * DAY,
            )
    assert ledger.expire_due(now=NOW, wallets=2) == 0
    assert ledger.expire_due(now=NOW + 2 * DAY, wallets=2) == 12
    assert ledger.expire_due(now=NOW + 2 * DAY, wallets=2) == 0
    assert set(Wallet.unscoped.values_list("balance", flat=True)) == {Decimal(7)}


def test_reading_writes_nothing_and_leaves_out_what_is_past(shopper):
    shopper.give(10, expires_at=NOW + DAY)
    shopper.give(4, expires_at=NOW + 2 * DAY)
    shopper.give(2, expires_at=NOW + 2 * DAY)
    shopper.give(5)
    for now, points, following in [
        (NOW, 21, (10, NOW + DAY)),
        (NOW + DAY, 11, (6, NOW + 2 * DAY)),
        (NOW + 9 * DAY, 5, None),
    ]:
        assert ledger.spendable_points(*shopper.ids.values(), now) == points
        assert ledger.next_to_expire(*shopper.ids.values(), now) == following
        wallet = Wallet.unscoped.annotate(points=ledger.spendable(now)).get(persona=shopper.persona)
        assert wallet.points == points
    assert len(shopper.lines) == 4


# --- redeeming


def test_a_web_redemption(shopper):
    discount = make_discount(shopper.account, points=100)
    shopper.give(250)
    redeemed = shopper.redeem(discount)
    assert (redeemed.points, redeemed.balance, redeemed.state, redeemed.n) == (100, 150, "settled", 0)
    assert (redeemed.discount_number, redeemed.created, redeemed.applied_at) == (discount.number, True, NOW)
    row = Redemption.unscoped.get(public_id=redeemed.redemption_id)
    assert (row.channel, row.settled_at) == ("web", NOW)
    assert Entry.unscoped.get(redemption=row).key == f"redeem:{row.pk}"


def test_a_till_redemption_waits_for_its_sale(shopper):
    shopper.give(250)
    redeemed = shopper.redeem(make_discount(shopper.account), transaction="T1", channel="till")
    row = Redemption.unscoped.get(public_id=redeemed.redemption_id)
    assert (row.state, row.channel, row.transaction, row.settled_at) == ("applied", "till", "T1", None)


def test_who_names_a_transaction_is_a_till(shopper):
    shopper.give(250)
    assert shopper.redeem(make_discount(shopper.account), transaction="T1").state == "applied"
    assert Redemption.unscoped.get().channel == "till"


def test_staff_wait_for_the_sale_too(shopper):
    shopper.give(250)
    assert shopper.redeem(make_discount(shopper.account), channel="staff").state == "applied"


def test_the_same_request_takes_once(shopper):
    """Same address: once. Same transaction: once, also under a newer address."""
    web, till = make_discount(shopper.account), make_discount(shopper.account)
    shopper.give(1000)
    first = shopper.redeem(web)
    assert shopper.redeem(web) == ledger.Redeemed(**{**_fields(first), "created": False})
    first = shopper.redeem(till, transaction="T1", channel="till")
    again = ledger.Redeemed(**{**_fields(first), "created": False})
    assert shopper.redeem(till, transaction="T1", channel="till") == again
    assert shopper.redeem(till, n=1, transaction="T1", channel="till") == again
    assert shopper.redeem(till, n=0) == again, "the same address without the transaction"
    assert shopper.balance == 800


def _fields(redeemed):
    return {name: getattr(redeemed, name) for name in redeemed.__dataclass_fields__}


def test_first_without_then_with_a_transaction(shopper):
    discount = make_discount(shopper.account)
    shopper.give(250)
    first = shopper.redeem(discount)
    second = shopper.redeem(discount, transaction="T1", channel="till")
    assert (second.redemption_id, second.created, second.transaction) == (first.redemption_id, False, "T1")
    row = Redemption.unscoped.get()
    assert (row.state, row.channel, row.settled_at, shopper.balance) == ("applied", "till", None, 150)
    assert shopper.redeem(discount, transaction="T1", channel="till").redemption_id == first.redemption_id


def test_another_order_is_another_use(shopper):
    discount = make_discount(shopper.account)
    shopper.give(250)
    assert shopper.redeem(discount, transaction="T1", channel="till").n == 0
    assert shopper.redeem(discount, transaction="T2", channel="till").n == 1
    with pytest.raises(ledger.NotEnoughPoints) as refused:
        shopper.redeem(discount, transaction="T3", channel="till")
    assert (refused.value.balance, refused.value.asked) == (50, 100)
    assert Redemption.unscoped.count() == 2


def test_once_for_each_shopper(shopper):
    discount = make_discount(shopper.account, reusable=False)
    shopper.give(500)
    first = shopper.redeem(discount, transaction="T1", channel="till")
    for n, order in [(0, "T2"), (1, "T2"), (1, "")]:
        with pytest.raises(ledger.AlreadyUsed, match="used"):
            shopper.redeem(discount, n=n, transaction=order)
    shopper.revert(first)
    assert shopper.redeem(discount, n=1, transaction="T2").created
    assert shopper.balance == 400


def test_a_late_repetition_takes_nothing_after_the_points_came_back(shopper):
    """The request of before is refused; a wallet read afterwards may redeem again, for the same order too."""
    discount = make_discount(shopper.account)
    shopper.give(500)
    shopper.revert(shopper.redeem(discount, transaction="T1", channel="till"))
    for order in ("T1", "", "T2"):
        with pytest.raises(ledger.AlreadyUsed, match="given_back"):
            shopper.redeem(discount, n=0, transaction=order)
    assert shopper.balance == 500
    assert shopper.redeem(discount, n=1, transaction="T1", channel="till").created


def test_a_late_repetition_of_a_second_order_takes_nothing_either(shopper):
    """Two orders on one address; the second's points come back; its repetition finds the first alive."""
    discount = make_discount(shopper.account)
    shopper.give(500)
    shopper.redeem(discount, transaction="T1", channel="till")
    shopper.revert(shopper.redeem(discount, transaction="T2", channel="till"))
    with pytest.raises(ledger.AlreadyUsed, match="given_back"):
        shopper.redeem(discount, n=0, transaction="T2", channel="till")
    assert shopper.redeem(discount, n=2, transaction="T2", channel="till").created
    assert shopper.balance == 300


def test_a_wallet_read_after_the_points_came_back_is_a_new_wish(shopper):
    """Though another order was quicker with the same address in between."""
    discount = make_discount(shopper.account)
    shopper.give(500)
    shopper.revert(shopper.redeem(discount, transaction="T1", channel="till"))
    shopper.redeem(discount, n=1, transaction="T2", channel="till")
    again = shopper.redeem(discount, n=1, transaction="T1", channel="till")
    assert (again.created, again.n, again.balance) == (True, 2, 300)


def test_where_it_happened(shopper):
    """The place is kept as it was known first, and filled in when the till that names the order knows it."""
    here, there = make_store(shopper.account), make_store(shopper.account)
    shopper.give(500)
    for known, later, place in [(None, here.pk, here.pk), (here.pk, there.pk, here.pk), (here.pk, None, here.pk)]:
        discount = make_discount(shopper.account)
        redeemed = shopper.redeem(discount, store_id=known)
        shopper.redeem(discount, transaction=f"T{discount.pk}", channel="till", store_id=later)
        assert Redemption.unscoped.get(public_id=redeemed.redemption_id).store_id == place


def test_one_discount_an_order(shopper):
    ten, five = (make_discount(shopper.account, stackable=True) for _ in range(2))
    alone = make_discount(shopper.account)
    shopper.give(500)
    first = shopper.redeem(ten, transaction="T1", channel="till")
    with pytest.raises(ledger.OneDiscountPerOrder):
        shopper.redeem(five, transaction="T1", channel="till")
    with pytest.raises(ledger.OneDiscountPerOrder):  # the POS takes several, this discount does not
        shopper.redeem(alone, transaction="T1", channel="till", per_order=9)
    assert shopper.balance == 400
    assert shopper.redeem(five, transaction="T2", channel="till").created
    assert shopper.redeem(five, n=1, transaction="T1", channel="till", per_order=9).created
    shopper.revert(first)


def test_an_order_cannot_be_named_later_when_it_has_a_discount(shopper):
    ten, five = make_discount(shopper.account), make_discount(shopper.account)
    shopper.give(500)
    shopper.redeem(ten, transaction="T1", channel="till")
    shopper.redeem(five)
    with pytest.raises(ledger.OneDiscountPerOrder):
        shopper.redeem(five, transaction="T1", channel="till")
    assert Redemption.unscoped.get(discount=five).transaction == ""


def test_after_giving_back_the_order_is_free_again(shopper):
    ten, five = make_discount(shopper.account), make_discount(shopper.account)
    shopper.give(500)
    shopper.revert(shopper.redeem(ten, transaction="T1", channel="till"))
    assert shopper.redeem(five, transaction="T1", channel="till").created


@pytest.mark.parametrize(
    "reason, fields",
    [
        ("archived", {"archived_at": NOW - DAY}),
        ("not_started", {"starts_at": NOW + DAY}),
        ("ended", {"ends_at": NOW}),
    ],
)
def test_not_available(shopper, reason, fields):
    discount = make_discount(shopper.account, **fields)
    shopper.give(500)
    with pytest.raises(ledger.NotAvailable, match=reason):
        shopper.redeem(discount)
    assert shopper.balance == 500


def test_programme_off(shopper):
    discount = make_discount(shopper.account)
    shopper.give(500)
    Programme.unscoped.update(enabled=False)
    with pytest.raises(ledger.NotAvailable, match="disabled"):
        shopper.redeem(discount)


def test_a_discount_of_another_account_is_unknown(shopper):
    shopper.give(500)
    with pytest.raises(ledger.NotAvailable, match="unknown"):
        shopper.redeem(make_discount(make_account("Other Co")))


def test_an_address_that_was_never_given_out(shopper):
    shopper.give(500)
    with pytest.raises(ledger.NotAvailable, match="stale"):
        shopper.redeem(make_discount(shopper.account), n=3)


def test_a_repeated_request_is_answered_after_the_discount_ended(shopper):
    discount = make_discount(shopper.account)
    shopper.give(500)
    first = shopper.redeem(discount)
    discount.archived_at = NOW
    discount.save()
    assert shopper.redeem(discount).redemption_id == first.redemption_id


def test_a_reward_without_a_price_writes_no_line(shopper):
    discount = make_discount(shopper.account, points=0)
    redeemed = shopper.redeem(discount)
    assert (redeemed.points, redeemed.balance, redeemed.created) == (0, 0, True)
    assert shopper.lines == []
    assert shopper.revert(redeemed).created
    assert not shopper.revert(redeemed).created


def test_expired_points_are_not_spent(shopper):
    shopper.give(100, expires_at=NOW + DAY)
    with pytest.raises(ledger.NotEnoughPoints) as refused:
        shopper.redeem(make_discount(shopper.account), now=NOW + DAY)
    assert refused.value.balance == 0


# --- giving back


def test_points_go_back_to_their_own_lots(shopper):
    for days in (1, 2, 3):
        shopper.give(50, expires_at=NOW + days * DAY)
    redeemed = shopper.redeem(make_discount(shopper.account, points=120))
    assert shopper.lots == [0, 0, 30]
    part = shopper.revert(redeemed, 30)
    assert (part.points, part.reverted_total, part.balance, part.state) == (30, 30, 60, "settled")
    assert shopper.lots == [0, 10, 50], "the last taken comes back first"
    rest = shopper.revert(redeemed)
    assert (rest.points, rest.reverted_total, rest.balance, rest.state) == (90, 120, 150, "reverted")
    assert shopper.lots == [50, 50, 50]
    assert Redemption.unscoped.get().ended_at == NOW


def test_giving_back_twice_is_once(shopper):
    shopper.give(100)
    redeemed = shopper.redeem(make_discount(shopper.account))
    first = shopper.revert(redeemed, to_state="released", note="no sale came")
    again = shopper.revert(redeemed)
    assert (first.created, first.state, first.points) == (True, "released", 100)
    assert (again.created, again.state, again.points, again.balance) == (False, "released", 100, 100)


def test_the_same_part_twice_is_once_unless_keyed(shopper):
    shopper.give(100)
    redeemed = shopper.redeem(make_discount(shopper.account))
    assert shopper.revert(redeemed, "40").created
    assert not shopper.revert(redeemed, "40.00").created
    assert shopper.revert(redeemed, 40, key="line 2").created
    with pytest.raises(ledger.NothingToRevert) as refused:
        shopper.revert(redeemed, 40, key="line 3")
    assert (refused.value.left, refused.value.asked) == (20, 40)
    last = shopper.revert(redeemed, 20)
    assert (last.state, last.balance) == ("reverted", 100)
    with pytest.raises(ledger.NothingToRevert):
        shopper.revert(redeemed, 1)
    assert not shopper.revert(redeemed).created


def test_a_key_of_another_redemption_is_refused(shopper):
    shopper.give(300)
    discount = make_discount(shopper.account)
    one, two = (shopper.redeem(discount, transaction=order, channel="till") for order in ("T1", "T2"))
    shopper.revert(one, 10, key="k")
    with pytest.raises(ledger.KeyTaken):
        shopper.revert(two, 10, key="k")


def test_given_back_after_its_day_goes_at_once_and_visibly(shopper):
    shopper.give(60, expires_at=NOW + DAY)
    shopper.give(60)
    redeemed = shopper.redeem(make_discount(shopper.account))
    late = NOW + 2 * DAY
    part = shopper.revert(redeemed, 50, now=late)
    assert (part.points, part.balance) == (50, 60), "40 of the second lot stay, 10 of the first are gone"
    rest = shopper.revert(redeemed, now=late)
    assert (rest.points, rest.balance) == (50, 60)
    assert shopper.lines[-4:] == [
        ("reverse", 50, 70),
        ("expire", -10, 60),
        ("reverse", 50, 110),
        ("expire", -50, 60),
    ]
    lot = Lot.unscoped.earliest("id")
    keys = Entry.unscoped.filter(kind="expire").order_by("id").values_list("key", flat=True)
    assert list(keys) == [f"expire:{lot.pk}", f"expire:{lot.pk}:1"]


def test_a_redemption_of_another_account_is_unknown(shopper):
    shopper.give(100)
    redeemed = shopper.redeem(make_discount(shopper.account))
    with pytest.raises(ledger.UnknownRedemption):
        ledger.revert(account_id=make_account("Other Co").pk, redemption_public_id=redeemed.redemption_id, now=NOW)


@pytest.mark.parametrize("options", [{"points": "-1"}, {"to_state": "applied"}, {"points": "0.001"}])
def test_what_cannot_be_given_back(shopper, options):
    shopper.give(100)
    redeemed = shopper.redeem(make_discount(shopper.account))
    with pytest.raises(ValueError):
        shopper.revert(redeemed, options.pop("points", None), **options)


# --- the database's own word


@pytest.mark.parametrize("model", [Entry, Draw, Lot])
def test_lines_are_never_changed_or_deleted(shopper, model):
    shopper.give(10)
    shopper.give(-4)
    for change in (f"UPDATE {model._meta.db_table} SET points = 1", f"DELETE FROM {model._meta.db_table}"):
        with (
            pytest.raises(IntegrityError, match="only grows"),
            transaction.atomic(),
            connection.cursor() as cursor,
        ):
            cursor.execute(change)


def test_no_balance_below_zero_whoever_asks(shopper):
    with pytest.raises(IntegrityError, match="wallet_not_negative"), transaction.atomic():
        Wallet.unscoped.update(balance=-1)
