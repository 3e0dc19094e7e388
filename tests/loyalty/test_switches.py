"""Settings that act on people: counted, confirmed, applied; stopped, killed and resumed; and as purchases arrive."""

from datetime import timedelta
from decimal import Decimal

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from aiqsync.accounts.tenancy import acting_in
from integrations import services
from integrations.models import ChangeState, Connection, CustomerBalance, SettingChange
from loyalty import (
    audits,
    bought,
    enrol_after,
    erasure,
    imports,
    jobs,
    merging,
    messages,
    mirror,
    personas,
    profile,
    receipts,
    switches,
)
from loyalty.models import (
    BlockedPhone,
    Enrolment,
    Entry,
    Job,
    Message,
    Programme,
    SaleState,
)
from tests.records import customer, sale, the_sale

from .switching import PHONES, Shop, with_buyers

pytestmark = pytest.mark.django_db


class Killed(BaseException):
    """What a SIGKILL looks like from the inside: nothing catches it."""


@pytest.fixture
def shop(monkeypatch):
    return with_buyers(monkeypatch)


@pytest.fixture
def small_steps(monkeypatch):
    monkeypatch.setattr(enrol_after, "AT_ONCE", 1)


def test_enrol_after_acts(shop):
    """Those who bought since are members from the day, paid for what they bought since; then whoever buys later."""
    change = shop.counted("enrol_after", shop.date(-30))
    assert change.state == ChangeState.COUNTED
    assert {name: change.counted[name] for name in ("shoppers", "points", "texts")} == {
        "shoppers": 2, "points": "300.00", "texts": 0,
    }  # fmt: skip
    assert change.sample == [
        [str(shop.people["pia"].contact_id), {"purchases": 2, "points": "200.00"}],
        [str(shop.people["ora"].contact_id), {"purchases": 1, "points": "100.00"}],
    ]
    assert not shop.persona("ora").is_member
    assert services.settings_of(Connection.unscoped.get(pk=shop.connection.pk))["enrol_after"] == ""

    change = shop.confirm(change)
    assert change.state == ChangeState.APPLIED and change.confirmed_by == shop.user
    assert (change.applied["shoppers"], Decimal(change.applied["points"])) == (2, 300)
    day = shop.day(-30).date()
    for name, points in (("ora", 100), ("pia", 200)):
        assert shop.persona(name).member_from == day
        assert shop.grounds(name) == ["bought"]
        assert shop.points(name) == points  # pia's purchase before the day earns nothing
    assert not shop.persona("ned").is_member and not shop.persona("quy").is_member
    assert shop.grounds("ada") == ["staff"]
    assert [act for act, _ in shop.acts()] == ["setting.proposed", "setting.confirmed", "setting.applied"]
    assert {user for _, user in shop.acts()} == {shop.user.pk}

    shop.buy("quy", "q1", -1)  # within its page
    assert shop.persona("quy").member_from == day and shop.points("quy") == 100
    shop.buy("ned", "n0", -31)  # late, and older than the day
    assert not shop.persona("ned").is_member and shop.points("ned") == 0
    shop.buy("ned", "n2", -2)
    assert shop.points("ned") == 100
    assert shop.stale == 0


@pytest.mark.parametrize(
    ("moment", "counts"), [(timedelta(0), 1), (timedelta(microseconds=-1), 0)], ids=["midnight", "before"]
)
def test_the_day_begins_at_midnight_of_the_account(monkeypatch, moment, counts):
    shop = Shop(monkeypatch)
    shop.buy("ned", "n1", -5, sold_at=shop.day(-5, 0) + moment)
    change = shop.put_on("enrol_after", shop.date(-5))
    assert change.counted["shoppers"] == counts
    assert shop.points("ned") == 100 * counts


def test_the_later_of_accrual_start_and_day_counts(shop):
    Programme.unscoped.filter(account=shop.account).update(accrual_start=shop.day(-15).date())
    change = shop.counted("enrol_after", shop.date(-30))
    assert (change.counted["shoppers"], change.counted["points"]) == (2, "100.00")
    assert any("accrual starts" in note for note in change.counted["notes"])
    shop.confirm(change)
    assert (shop.points("ora"), shop.points("pia")) == (0, 100)


def test_who_is_left_out(shop):
    """On the employee blocklist, archived, removed on request, merged away: each is right."""
    BlockedPhone.unscoped.create(account=shop.account, phone=PHONES["ora"], user=shop.user)
    shop.buy("quy", "q1", -5)
    shop.buy("ned", "n2", -5)
    shop.meet(customer("twin", first_name="Twin", phone="+16045550199"))
    shop.buy("twin", "t1", -4)
    with acting_in(shop.account.pk):
        profile.archive(account_id=shop.account.pk, persona_id=shop.people["quy"].pk, now=shop.now)
        erasure.erase(account_id=shop.account.pk, persona_id=shop.people["ned"].pk, user=shop.user, now=shop.now)
        twin = type(shop.people["pia"]).objects.get(first_name="Twin")
        merging.merge(account_id=shop.account.pk, one_id=shop.people["pia"].pk, other_id=twin.pk, now=shop.now)
    change = shop.counted("enrol_after", shop.date(-30))
    assert (change.counted["shoppers"], change.counted["points"]) == (1, "300.00")  # pia, with the twin's purchase
    assert change.counted["left_out"] == 2
    shop.confirm(change)
    assert shop.points("pia") == 300
    shop.buy("ora", "o2", -1)
    shop.buy("quy", "q2", -1)
    assert set(Enrolment.unscoped.filter(ground="bought").values_list("persona", flat=True)) == {shop.people["pia"].pk}
    BlockedPhone.unscoped.all().delete()
    shop.buy("ora", "o3", -1)  # no longer listed: the next purchase makes a member
    assert shop.persona("ora").is_member


def test_a_day_moved_earlier_counts_the_difference(shop):
    shop.put_on("enrol_after", shop.date(-25))
    assert shop.points("pia") == 200 and not shop.persona("ora").is_member
    change = shop.counted("enrol_after", shop.date(-45))
    # ned and ora are new; pia bought nothing between the two days, and is a member from the earlier one.
    assert (change.counted["shoppers"], change.counted["points"], change.counted["earlier"]) == (3, "200.00", 1)
    shop.confirm(change)
    assert (shop.points("ned"), shop.points("ora"), shop.points("pia")) == (100, 100, 200)
    assert shop.grounds("pia") == ["bought", "bought"]
    again = shop.counted("enrol_after", shop.date(-5))  # later: nobody is put out
    assert again.counted["shoppers"] == 0
    assert any(note.startswith("3 shoppers are members only by this setting") for note in again.counted["notes"])
    services.dismiss(change=again, now=shop.now)
    assert "3 shoppers" in switches.before_clearing(account_id=shop.account.pk, setting="enrol_after")
    clearing = shop.counted("enrol_after", "")
    assert clearing.counted["shoppers"] == 0 and clearing.counted["notes"][0].startswith("3 shoppers")
    assert "The day was cleared" in switches.of(clearing).outcome(shop.confirm(clearing))
    shop.buy("quy", "q1", -1)
    assert not shop.persona("quy").is_member and shop.persona("ned").is_member


def test_a_member_by_another_ground_keeps_his_day(shop):
    with acting_in(shop.account.pk):
        personas.enrol(persona=shop.persona("ora"), ground="staff", from_date=shop.day(0).date(), now=shop.now)
    assert shop.counted("enrol_after", shop.date(-30)).counted["shoppers"] == 1


def test_a_sale_that_waited_for_its_customer(shop):
    shop.put_on("enrol_after", shop.date(-30))
    shop.buy("new", "w1", -3)
    shop.meet(customer("new", first_name="New", phone="+16045550188"))
    made = Enrolment.unscoped.latest("id")
    assert made.persona.first_name == "New" and made.ground == "bought"
    assert SaleState.unscoped.get(sale=the_sale(shop.origin, "w1")).posted == 100


def test_a_receipt_given_by_hand_counts_as_a_purchase(shop):
    shop.put_on("enrol_after", shop.date(-30))
    shop.arrive(sale("anon", customer_id="", sold_at=shop.day(-2)))
    with acting_in(shop.account.pk):
        receipts.attach(
            account_id=shop.account.pk, sale_id=the_sale(shop.origin, "anon").pk, persona_id=shop.people["quy"].pk,
            user=shop.user, note="", now=shop.now,
        )  # fmt: skip
    assert shop.points("quy") == 100


@pytest.mark.parametrize("mirrored", [False, True], ids=["imported", "mirrored"])
def test_the_dry_run_has_what_the_pos_said_of_those_who_join(shop, mirrored):
    told_by_the_pos(shop, "ora", 40)
    shop.give("ora", 25)
    if mirrored:
        mirror.begin(account_id=shop.account.pk, origin_ids=[shop.origin.pk], now=shop.now)
    change = shop.counted("enrol_after", shop.date(-30))
    assert Decimal(change.counted["points"]) == (15 if mirrored else 340)
    gains = {contact: Decimal(row["points"]) for contact, row in change.sample}
    assert gains[str(shop.people["ora"].contact_id)] == (15 if mirrored else 140)
    (note,) = [note for note in change.counted["notes"] if "POS" in note]
    assert ("1 of them gets the balance" if mirrored else "40.00 of the points were imported") in note
    change = shop.confirm(change)
    assert Decimal(change.applied["points"]) == Decimal(change.counted["points"])
    assert shop.points("ora") == (40 if mirrored else 165)


def _buys(shop):
    shop.buy("quy", "q1", -1)


def _is_known_late(shop):
    """His purchase waited for its customer, who turns out to be him."""
    shop.buy("quy2", "q1", -1)
    shop.meet(customer("quy2", first_name="Quy", phone=PHONES["quy"]))


def _shows_a_receipt(shop):
    shop.arrive(sale("q1", customer_id="", sold_at=shop.day(-1)))
    with acting_in(shop.account.pk):
        receipts.attach(
            account_id=shop.account.pk, sale_id=the_sale(shop.origin, "q1").pk, persona_id=shop.people["quy"].pk,
            user=shop.user, note="", now=shop.now,
        )  # fmt: skip


def told_by_the_pos(shop, name: str, points: int) -> None:
    """What the POS said of the shopper as it was read last, and as an import took it over."""
    of = {"account": shop.account, "origin": shop.origin}
    CustomerBalance.unscoped.create(**of, external_id=name, points=points)
    imports.take(account_id=shop.account.pk, origin_ids=[shop.origin.pk], now=shop.now)


@pytest.mark.parametrize("joins", [_buys, _is_known_late, _shows_a_receipt], ids=["sale", "customer", "receipt"])
@pytest.mark.parametrize("mirrored", [False, True], ids=["imported", "mirrored"])
def test_who_joins_in_a_page_finds_what_the_pos_said_of_him(shop, joins, mirrored):
    told_by_the_pos(shop, "quy", 40)
    shop.put_on("enrol_after", shop.date(-30))
    if mirrored:
        mirror.begin(account_id=shop.account.pk, origin_ids=[shop.origin.pk], now=shop.now)
    joins(shop)
    assert shop.persona("quy").is_member and shop.grounds("quy") == ["bought"]
    assert shop.points("quy") == (40 if mirrored else 140)
    shop.buy("quy", "q2", -1)
    assert shop.points("quy") == (40 if mirrored else 240)
    assert audits.violations(account_id=shop.account.pk) == [] and shop.stale == 0


def test_other_origins_do_not_count(shop):
    shop.arrive(sale("x1", customer_id="z", sold_at=shop.day(-3)), origin=shop.other)
    shop.meet(customer("z", first_name="Zoe", phone="+16045550177"), origin=shop.other)
    assert shop.put_on("enrol_after", shop.date(-30)).counted["shoppers"] == 2


# Stopping, dying, twice


def test_stopped_between_steps_and_resumed(shop, small_steps):
    change = shop.counted("enrol_after", shop.date(-45))
    services.confirm(change=change, user=shop.user, now=shop.now)
    job = Job.unscoped.get(kind=f"switch:{change.pk}")
    jobs.run_slice(job.pk, slice_s=0)
    assert services.halt(change=change, now=shop.now)
    assert not services.halt(change=change, now=shop.now)
    assert jobs.run_slice(job.pk) is False
    assert Enrolment.unscoped.filter(ground="bought").count() == 1
    shop.buy("quy", "q1", -1)  # the setting holds all the same
    assert shop.persona("quy").is_member
    assert services.go_on(change=change, now=shop.now)
    shop.work()
    change.refresh_from_db()
    assert (change.state, change.applied["shoppers"]) == (ChangeState.APPLIED, 3)
    assert shop.stale == 0


def test_stopped_in_mid_step_saves_nothing_of_it(shop, small_steps, monkeypatch):
    change = shop.counted("enrol_after", shop.date(-45))
    services.confirm(change=change, user=shop.user, now=shop.now)
    real = switches.SWITCHES["enrol_after"].apply

    def stopped(work, change):
        real(work, change)
        services.halt(change=change, now=shop.now)

    monkeypatch.setattr(switches.SWITCHES["enrol_after"], "apply", stopped, raising=False)
    job = Job.unscoped.get(kind=f"switch:{change.pk}")
    # In one transaction the stop would be undone with the step; so it is the job alone that is looked at here.
    assert jobs.run_slice(job.pk) is False
    assert not Enrolment.unscoped.filter(ground="bought").exists()
    assert not Entry.unscoped.filter(persona=shop.people["pia"]).exists()


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_killed_worker_is_taken_over_and_nothing_is_doubled(shop, small_steps, monkeypatch, when):
    change = shop.counted("enrol_after", shop.date(-45))
    services.confirm(change=change, user=shop.user, now=shop.now)
    job = Job.unscoped.get(kind=f"switch:{change.pk}")
    real, steps = switches.SWITCHES["enrol_after"].apply, []

    def dies(work, change):
        steps.append(work.done)
        if len(steps) == 2 and when == "before":
            raise Killed
        real(work, change)
        if len(steps) == 2:
            raise Killed

    monkeypatch.setattr(switches.SWITCHES["enrol_after"], "apply", dies, raising=False)
    with pytest.raises(Killed):
        jobs.run_slice(job.pk)
    assert Enrolment.unscoped.filter(ground="bought").count() == 1
    shop.lose_the_lease()
    while jobs.run_slice(job.pk):
        pass
    change.refresh_from_db()
    assert (change.state, change.applied["shoppers"], Decimal(change.applied["points"])) == ("applied", 3, 400)
    assert Enrolment.unscoped.filter(ground="bought").count() == 3
    assert Entry.unscoped.filter(persona=shop.people["pia"]).count() == 2
    assert shop.stale == 0


def test_confirmed_twice_and_too_late(shop):
    change = shop.counted("enrol_after", shop.date(-30))
    shop.confirm(change)
    before = Entry.unscoped.count()
    services.confirm(change=change, user=shop.user, now=shop.now)
    shop.work()
    assert Entry.unscoped.count() == before
    assert not services.dismiss(change=change, now=shop.now)


def test_cleared_while_it_is_applied(shop, small_steps):
    """It has to be stopped first; and what stood still cannot be resumed once the clearing is proposed."""
    change = shop.counted("enrol_after", shop.date(-45))
    services.confirm(change=change, user=shop.user, now=shop.now)
    jobs.run_slice(Job.unscoped.get(kind=f"switch:{change.pk}").pk, slice_s=0)
    with pytest.raises(services.Problems, match="Stop it first"):
        shop.propose("enrol_after", "")
    services.halt(change=change, now=shop.now)
    cleared = shop.put_on("enrol_after", "")
    assert cleared.state == ChangeState.APPLIED and not services.go_on(change=change, now=shop.now)
    assert Enrolment.unscoped.filter(ground="bought").count() == 1


def test_dismissed_while_it_is_counted(shop, small_steps):
    change = shop.propose("enrol_after", shop.date(-45))
    job = Job.unscoped.get(kind=f"preview:{change.pk}")
    jobs.run_slice(job.pk, slice_s=0)
    assert services.dismiss(change=change, now=shop.now)
    job.refresh_from_db()
    assert job.state == "stopped"
    with pytest.raises(services.Refused):
        services.confirm(change=change, user=shop.user, now=shop.now)


def test_counted_again_when_the_programme_changed(shop):
    change = shop.counted("enrol_after", shop.date(-30))
    Programme.unscoped.filter(account=shop.account).update(version=99, points_per_100=200)
    with pytest.raises(services.Refused, match="Count again"):
        services.confirm(change=change, user=shop.user, now=shop.now)
    change.refresh_from_db()
    assert change.state == ChangeState.COUNTED and not services.settings_of(shop.connection)["enrol_after"]
    assert services.recount(change=change, now=shop.now)
    shop.work()
    change.refresh_from_db()
    assert change.counted["points"] == "600.00"
    shop.confirm(change)
    assert shop.points("ora") == 200


def test_what_cannot_go_on_says_so(shop, monkeypatch):
    """Given up while it is counted: counted again, never applied unasked. Given up later: it goes on."""

    def broken(work, change):
        raise jobs.GiveUp("The sky fell.")

    real = switches.SWITCHES["enrol_after"]
    monkeypatch.setattr(real, "count", broken, raising=False)
    change = shop.counted("enrol_after", shop.date(-30))
    assert (change.state, change.message) == (ChangeState.FAILED, "The sky fell.")
    monkeypatch.delattr(real, "count")
    assert services.go_on(change=change, now=shop.now)
    shop.work()
    change.refresh_from_db()
    assert change.state == ChangeState.COUNTED and not shop.persona("ora").is_member
    monkeypatch.setattr(real, "apply", broken, raising=False)
    change = shop.confirm(change)
    assert (change.state, change.message) == (ChangeState.FAILED, "The sky fell.")
    monkeypatch.delattr(real, "apply")
    assert services.go_on(change=change, now=shop.now)
    shop.work()
    change.refresh_from_db()
    assert change.state == ChangeState.APPLIED and shop.persona("ora").is_member


def test_two_settings_and_two_cards_at_once(shop, monkeypatch):
    """Each change has jobs of its own: nothing is dropped, whoever began first."""
    second = shop.card(monkeypatch, "second", shop.other)
    shop.meet(customer("z", first_name="Zoe", phone="+16045550177"), origin=shop.other)
    shop.arrive(sale("x1", customer_id="z", sold_at=shop.day(-3)), origin=shop.other)
    monkeypatch.setattr(messages, "next_allowed", lambda now, zone: now)
    made = [
        shop.propose("enrol_after", shop.date(-30)),
        shop.propose("sms_optin_after", shop.date(-30)),
        shop.propose("enrol_after", shop.date(-30), of=second),
    ]
    assert Job.unscoped.filter(state="queued").count() == 3
    shop.work()
    for change in made:
        change.refresh_from_db()
        services.confirm(change=change, user=shop.user, now=shop.now)
    assert Job.unscoped.filter(state="queued").count() == 3
    shop.work()
    assert set(SettingChange.unscoped.values_list("state", flat=True)) == {"applied"}
    assert Enrolment.unscoped.filter(ground="bought").count() == 3
    assert Message.unscoped.count() == 3  # ora, pia, ada


# Statements


def statements(shop, *records):
    with CaptureQueriesContext(
        connection,
    ) as found:
        shop.arrive(*records)
    return len(found)


def test_landing_asks_nothing_while_the_setting_is_off(shop):
    """Off: not a statement more. On: one to find nobody; the same few for one new member or for three."""

    def three(day, *names):
        return [sale(f"{day}{name}", customer_id=name, sold_at=shop.day(day)) for name in names]

    statements(shop, *three(-9, "ada"))  # warm
    off = statements(shop, *three(-3, "ada", "ben", "cyd"))
    with CaptureQueriesContext(connection) as found:
        shop.arrive(*three(-4, "ned"))
    assert not any("loyalty_blockedphone x" in one["sql"] for one in found)
    shop.put_on("enrol_after", shop.date(-2))
    assert statements(shop, *three(-1, "ada", "ben", "cyd")) == off + 1
    one = statements(shop, *three(-1, "ned"))
    three_new = statements(shop, *three(-1, "ora", "pia", "quy"))
    assert three_new == one and one <= off + 8
    assert Enrolment.unscoped.filter(ground="bought").count() == 4


def test_days_of_cards_in_use_only(shop):
    shop.put_on("enrol_after", shop.date(-2))
    assert [one.origin_id for one in bought.days_of(shop.account.pk).enrol] == [shop.origin.pk]
    shop.connection.credentials(manager="unscoped").update(state="disconnected")
    assert bought.days_of(shop.account.pk) == bought.Days()
