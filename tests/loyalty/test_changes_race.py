"""A change of the programme while the shop goes on: pages, redemptions, merges, a second owner; with their controls."""

import threading
from decimal import Decimal

import pytest
from django.db import transaction
from django.db.models import QuerySet
from django.utils import timezone

from aiqsync.accounts.models import AuditLine
from aiqsync.accounts.tenancy import acting_in
from integrations import landing
from integrations.kit.records import SaleRecord
from integrations.sink import Batch, sink
from loyalty import changes, earning, expiry, jobs, ledger, merging
from loyalty.models import Job, Persona, Programme
from tests.factories import make_discount, make_user
from tests.records import sale

from .changing import World
from .race import Acting, at_once

pytestmark = pytest.mark.django_db(transaction=True)


class Thread:
    """One step in a thread with a connection of its own; `end` waits for it and raises what it raised."""

    def __init__(self, account_id: int, step) -> None:
        def act():
            with acting_in(account_id):
                step()

        self.acting = Acting(act)

    def gets_through(self) -> bool:
        """Until it is through, or waits for a lock of somebody's."""
        return self.acting.settle().over

    def end(self) -> None:
        if isinstance(answer := self.acting.answer(), Exception):
            raise answer


@pytest.fixture
def world():
    world = World()
    for n, name in enumerate(("ada", "ben", "cyd", "dee")):
        world.buy(name, f"s{n}", -5 - n)
    # Seen later already, so that a page does not touch (and lock) the persona's row.
    Persona.unscoped.update(last_seen_at=world.day(1))
    return world


def page_of(world, *records):
    """Land and settle, as a page does it; the caller commits."""
    landed = landing.sales(account_id=world.account.pk, origin_id=world.origin.pk, records=list(records))
    sink().landed(Batch(world.account.pk, world.origin.pk, SaleRecord, landed.new, landed.changed, timezone.now()))


def apply_all(world, change):
    def step():
        changes.confirm(change=change, user=world.user, now=timezone.now(), anyway=True)
        for job in Job.unscoped.filter(state="queued"):
            while jobs.run_slice(job.pk):
                pass

    return step


def late(world) -> int:
    with acting_in(world.account.pk):
        return earning.out_of_date(account_id=world.account.pk)


@pytest.mark.parametrize("locked", [True, False], ids=["locked", "control: a change that does not wait for pages"])
def test_a_page_is_open_while_the_change_is_confirmed_and_applied(world, monkeypatch, locked):
    """The page settled its sales by the old rules and has not committed. Afterwards every sale is at its new worth."""
    change = world.counted(programme={"points_per_100": "200"})
    if not locked:
        monkeypatch.setattr(changes, "lock_origins", lambda account_id: None)
    with transaction.atomic():
        landing.lock_origin(world.origin.pk)
        # Of somebody who has no wallet yet: nothing but the origin can hold the change up.
        page_of(world, *[sale(f"p{n}", customer_id="eve", sold_at=world.day(-1)) for n in range(5)])
        thread = Thread(world.account.pk, apply_all(world, change))
        through = thread.gets_through()
    thread.end()
    assert through is not locked
    assert late(world) == (0 if locked else 5)
    assert (world.points("ada"), world.points("eve")) == (200, 1000 if locked else 500)


@pytest.mark.parametrize("locked", [True, False], ids=["locked", "control: a page that does not lock its origin"])
def test_a_page_that_begins_while_a_change_is_written_reads_all_of_it_or_nothing(world, locked):
    """Rate and rounding change together; a page lands while they are written and not committed."""
    change = world.counted(programme={"points_per_100": "33.33", "rounding": "up"})

    def page():
        with transaction.atomic():
            if locked:
                landing.lock_origin(world.origin.pk)
            page_of(world, *[sale(f"p{n}", customer_id="eve", net=1000, tax=0) for n in range(5)])

    with acting_in(world.account.pk), transaction.atomic():
        changes.confirm(change=change, user=world.user, now=timezone.now())
        thread = Thread(world.account.pk, page)
        through = thread.gets_through()
    thread.end()
    assert through is not locked
    # Locked out until the change is there; else by the rules of before, for all five: never by half of the change.
    assert world.points("eve") == (5 * 4 if locked else 5 * 10)
    world.work()
    assert late(world) == 0 and world.points("eve") == 20


def test_pages_land_all_the_time_while_a_change_is_applied(world, monkeypatch):
    """Forty pages between the slices of a change, from another connection; at last all sales are at their new worth."""
    monkeypatch.setattr(changes.counting, "PERSONAS", 1)
    change = world.counted(programme={"points_per_100": "250", "points_per_order": "3"})
    go = threading.Barrier(2)

    def pages():
        go.wait(60)
        for n in range(40):
            with transaction.atomic():
                landing.lock_origin(world.origin.pk)
                page_of(world, sale(f"p{n}", customer_id=("ada", "dee")[n % 2], sold_at=world.day(-1), net=500))

    thread = Thread(world.account.pk, pages)
    with acting_in(world.account.pk):
        changes.confirm(change=change, user=world.user, now=timezone.now())
        go.wait(60)
        while world.work(slice_s=0, slices=1):
            pass
    thread.end()
    world.work()
    assert late(world) == 0 and world.sound() == []
    assert world.points("ada") == 253 + 20 * Decimal("15.5")


def test_two_owners_confirm_at_once(world):
    change = world.counted(programme={"points_per_100": "200"})
    version = Programme.unscoped.get().version
    owners = [make_user(world.account) for _ in range(6)]

    def confirm(user):
        with acting_in(world.account.pk):
            return changes.confirm(change=change, user=user, now=timezone.now()).confirmed_by_id

    answers = at_once([lambda user=user: confirm(user) for user in owners])
    assert len(set(answers)) == 1 and answers[0] in {user.pk for user in owners}
    assert Programme.unscoped.get().version == version + 1
    assert Job.unscoped.filter(kind="recompute").count() == 1
    assert AuditLine.unscoped.filter(act="programme.changed").count() == 1
    world.work()
    assert world.points("ada") == 200


def test_control_without_the_rows_they_hold_both_confirm(world, monkeypatch):
    """Neither origins nor programme nor change are held: the settings are written more than once."""
    change = world.counted(programme={"points_per_100": "200"})
    version = Programme.unscoped.get().version
    both = threading.Barrier(2)
    monkeypatch.setattr(changes, "lock_origins", lambda account_id: None)
    monkeypatch.setattr(changes.programme, "locked", lambda account_id: changes.programme.of(account_id))

    def unheld(one):
        found = type(one).objects.get(pk=one.pk)
        both.wait(60)
        return found

    monkeypatch.setattr(changes, "_held", unheld)

    def confirm():
        with acting_in(world.account.pk):
            changes.confirm(change=change, user=world.user, now=timezone.now())

    at_once([confirm, confirm])
    assert Programme.unscoped.get().version == version + 1  # and one of the two is lost
    assert AuditLine.unscoped.filter(act="programme.changed").count() == 2


def test_two_proposals_at_once_are_one_or_refused(world):
    def propose(rate):
        with acting_in(world.account.pk):
            return world.propose(programme={"points_per_100": rate}).pk

    answers = at_once([lambda rate=rate: propose(rate) for rate in ("200", "200", "300", "300")])
    made = {one for one in answers if isinstance(one, int)}
    assert len(made) == 1 and Job.unscoped.count() == 1
    assert all(isinstance(one, changes.AlreadyOpen) for one in answers if not isinstance(one, int))


@pytest.mark.parametrize("held", [True, False], ids=["held", "control: taken without the wallet's lock"])
def test_redemptions_while_points_are_taken_down(world, monkeypatch, held):
    """A wipe reads what is there and takes it; a till redeems in the very moment between. Nobody's points go twice."""
    world.work()
    with acting_in(world.account.pk):
        change = changes.propose_wipe(account_id=world.account.pk, note="n", user=world.user, now=timezone.now())
        world.work()
        change.refresh_from_db()
        changes.confirm(change=change, user=world.user, now=timezone.now())
    discount = make_discount(world.account, points=60)
    between, real = [], ledger.adjust
    waited = []

    def redeem():
        ledger.redeem(
            account_id=world.account.pk, persona_id=world.people["ada"].pk, discount_id=discount.pk, n=0,
            transaction="T", channel="till", now=timezone.now(),
        )  # fmt: skip

    def slow(**asked):
        if not between:
            between.append(Thread(world.account.pk, redeem))
            waited.append(not between[0].gets_through())
        return real(**asked)

    monkeypatch.setattr(changes.ledger, "adjust", slow)
    if not held:
        monkeypatch.setattr(QuerySet, "select_for_update", lambda self: self)
    if held:
        world.work()
        with pytest.raises(ledger.NotEnoughPoints):
            between[0].end()
        assert waited == [True] and world.points("ada") == 0
    else:
        job = Job.unscoped.get(kind="wipe")
        jobs.run_slice(job.pk)  # what it read is no longer there: the step is refused as a whole, and tried again
        between[0].end()
        job.refresh_from_db()
        assert waited == [False] and (job.state, job.done) == ("queued", 0)
    assert world.sound() == []


def test_redeeming_while_a_change_is_applied_loses_nothing(world):
    """Eight tills spend while every balance doubles; ledger and sales agree afterwards."""
    change = world.counted(programme={"points_per_100": "200"})
    discounts = [make_discount(world.account, points=30) for _ in range(8)]
    with acting_in(world.account.pk):
        changes.confirm(change=change, user=world.user, now=timezone.now())

    def redeem(n):
        return ledger.redeem(
            account_id=world.account.pk, persona_id=world.people["ada"].pk, discount_id=discounts[n].pk, n=0,
            transaction=f"T{n}", channel="till", now=timezone.now(),
        )  # fmt: skip

    def apply():
        with acting_in(world.account.pk):
            world.work()

    answers = at_once([apply, *[lambda n=n: redeem(n) for n in range(8)]])
    taken = sum(isinstance(one, ledger.Redeemed) for one in answers)
    strange = [one for one in answers[1:] if not isinstance(one, ledger.Redeemed | ledger.NotEnoughPoints)]
    assert taken >= 3 and strange == []
    assert world.points("ada") == 200 - 30 * taken and world.sound() == []


class TestMerged:
    """Two persons become one, or one two, while an expiry is rewritten for everybody in the order of their numbers."""

    def apply_with(self, world, monkeypatch, meanwhile, values, after=1):
        monkeypatch.setattr(changes.counting, "PERSONAS", 1)
        with acting_in(world.account.pk):
            change = world.counted(programme=values)
            changes.confirm(change=change, user=world.user, now=timezone.now())
            world.work(slice_s=0, slices=after)
            meanwhile()
            world.work(slice_s=0)
        change.refresh_from_db()
        assert change.state == "applied"

    def join(self, world, one, other):
        return merging.merge(
            account_id=world.account.pk, one_id=world.people[one].pk, other_id=world.people[other].pk,
            now=timezone.now(),
        )  # fmt: skip

    @pytest.mark.parametrize("pair", [("ada", "dee"), ("dee", "ada")])
    def test_into_somebody_who_was_done_already_or_who_was_not(self, world, monkeypatch, pair):
        values = {"points_per_100": "200", "expire_days": "30"}
        self.apply_with(world, monkeypatch, lambda: self.join(world, *pair), values)
        assert world.points(pair[0]) == 400
        assert world.ends(pair[0]) and "" not in world.ends(pair[0])
        assert late(world) == 0 and world.sound() == []

    def test_control_without_following_some_points_keep_their_old_end(self, world, monkeypatch):
        monkeypatch.setattr(changes, "follow", lambda **asked: None)
        self.apply_with(world, monkeypatch, lambda: self.join(world, "ada", "dee"), {"expire_days": "30"})
        assert "" in world.ends("ada")

    @pytest.mark.parametrize("pair", [("ada", "dee"), ("dee", "ada")])
    def test_taken_apart(self, world, monkeypatch, pair):
        with acting_in(world.account.pk):
            merge = self.join(world, *pair)

        def split():
            merging.split(account_id=world.account.pk, merge_id=merge.pk, user=world.user, now=timezone.now())

        self.apply_with(world, monkeypatch, split, {"points_per_100": "200", "expire_days": "30"})
        for name in pair:
            assert world.points(name) == 200 and "" not in world.ends(name)
        assert late(world) == 0 and world.sound() == []


@pytest.mark.parametrize("held", [True, False], ids=["held", "control: rewritten without the wallets' locks"])
def test_an_expiry_is_rewritten_while_a_till_redeems(world, monkeypatch, held):
    """Points that are about to get an end that has passed are spent or expire, never both."""
    discount = make_discount(world.account, points=100)
    world.save(programme={"hide_points": False})
    with acting_in(world.account.pk):
        change = world.counted(programme={"expire_days": "1"})
        changes.confirm(change=change, user=world.user, now=timezone.now())
    real, threads, waited = expiry.preview, [], []

    def redeem():
        ledger.redeem(
            account_id=world.account.pk, persona_id=world.people["ada"].pk, discount_id=discount.pk, n=0,
            transaction="T", channel="till", now=timezone.now(),
        )  # fmt: skip

    def slow(**asked):
        found = real(**asked)
        if not threads:
            threads.append(Thread(world.account.pk, redeem))
            waited.append(not threads[0].gets_through())
        return found

    monkeypatch.setattr(expiry, "preview", slow)
    if not held:
        monkeypatch.setattr(expiry, "_lock_wallets", lambda account_id, persona_ids: None)
    world.work()
    assert waited == [held]
    if held:
        with pytest.raises(ledger.NotEnoughPoints):
            threads[0].end()
    else:
        threads[0].end()
    assert world.points("ada") == 0 and world.sound() == []
    assert world.expired() == (400 if held else 300)
