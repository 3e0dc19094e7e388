"""Settings that act on people while the shop goes on: pages beside the job, two pages, a stop in mid-step."""

import threading

import pytest
from django.db import OperationalError, transaction

from integrations import landing, services
from integrations.kit.records import SaleRecord
from integrations.sink import Batch, LandAgain, sink
from loyalty import bought, enrol_after, jobs, personas, switches
from loyalty.models import Enrolment, Entry, Job, Persona
from tests.records import arrive, customer, sale

from .race import Acting, overlap
from .switching import Shop

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def shop(monkeypatch):
    shop = Shop(monkeypatch)
    for name in ("ora", "pia"):
        shop.buy(name, f"{name}1", -5)
    # Seen later already, so that a page does not touch (and lock) the persona's row.
    Persona.unscoped.update(last_seen_at=shop.day(1))
    return shop


def page_of(shop, origin, *records):
    """Land and settle, as a page does it; the caller commits."""
    landing.lock_origin(origin.pk)
    landed = landing.sales(account_id=shop.account.pk, origin_id=origin.pk, records=list(records))
    sink().landed(Batch(shop.account.pk, origin.pk, SaleRecord, landed.new, landed.changed, shop.now))


@pytest.mark.parametrize("locked", [True, False], ids=["locked", "control: the job without the origins' locks"])
def test_a_page_that_began_before_the_setting_held(shop, monkeypatch, locked):
    """It saw no setting; the job waits for it, and enrols whom it brought."""
    change = shop.counted("enrol_after", shop.date(-30))
    if not locked:
        for module in (enrol_after, personas):
            monkeypatch.setattr(module, "lock_origins", lambda **_: None)

    def confirmed():
        services.confirm(change=change, user=shop.user, now=shop.now)
        shop.work("switch:")

    overlap(lambda: page_of(shop, shop.origin, sale("q1", customer_id="quy", sold_at=shop.day(-2))), confirmed).answer()
    assert shop.persona("pia").is_member
    assert shop.persona("quy").is_member is locked
    assert shop.points("quy") == (100 if locked else 0)
    assert shop.stale == 0


def test_a_page_beside_the_job(shop, monkeypatch):
    """A step is open; the page's new member waits for nobody: it is turned away, and lands behind the step."""
    monkeypatch.setattr(enrol_after, "AT_ONCE", 1)
    change = shop.counted("enrol_after", shop.date(-30))
    services.confirm(change=change, user=shop.user, now=shop.now)
    real, pages = switches.SWITCHES["enrol_after"].apply, []

    def beside(work, change):
        real(work, change)
        if not pages:
            record = sale("q1", customer_id="quy", sold_at=shop.day(-2))
            landed = lambda: arrive(shop.origin, SaleRecord, [record], stream="sales", now=shop.now)  # noqa: E731
            pages.append(Acting(landed).settle())

    monkeypatch.setattr(switches.SWITCHES["enrol_after"], "apply", beside, raising=False)
    shop.work("switch:")
    assert len(pages[0].answer().new) == 1
    for name in ("ora", "pia", "quy"):
        assert shop.points(name) == 100
    assert Enrolment.unscoped.filter(ground="bought").count() == 3
    assert shop.stale == 0


@pytest.mark.parametrize("patient", [True, False], ids=["waits the second time", "control: tries the same again"])
def test_two_pages_that_each_bring_a_new_member(shop, monkeypatch, patient):
    """Each needs the other's origin. Turned away once, a page waits for all of them, and neither is lost."""
    second = shop.card(monkeypatch, "second", shop.other)
    shop.meet(customer("z", first_name="Zoe", phone="+16045550177"), origin=shop.other)
    Persona.unscoped.update(last_seen_at=shop.day(1))
    shop.put_on("enrol_after", shop.date(-3))
    shop.put_on("enrol_after", shop.date(-3), of=second)
    both, tries, real = threading.Barrier(2, timeout=1 if patient else 60), [], bought.lock_origins

    def at_the_same_time(**given):
        tries.append(given)
        try:
            both.wait()  # each has landed its rows and holds its origin
        except threading.BrokenBarrierError:
            pass
        try:
            real(**given)
        except LandAgain as again:
            if not patient:
                again.account_id = None
            try:
                both.wait()  # and is turned away at the same moment
            except threading.BrokenBarrierError:
                pass
            raise

    monkeypatch.setattr(bought, "lock_origins", at_the_same_time)

    def page(origin, record):
        return lambda: arrive(origin, SaleRecord, [record], stream="sales", now=shop.now)

    pages = [
        Acting(page(shop.origin, sale("q1", customer_id="quy", sold_at=shop.day(-2)))),
        Acting(page(shop.other, sale("z1", customer_id="z", sold_at=shop.day(-2)))),
    ]
    answers = [one.answer() for one in pages]
    if patient:
        assert not [one for one in answers if isinstance(one, Exception)]
        assert Enrolment.unscoped.filter(ground="bought").count() == 2
        assert shop.points("quy") == 100 and shop.stale == 0
        assert len(tries) <= 4
    else:
        assert len(tries) > 3


def test_confirmed_by_two_at_once(shop):
    change = shop.counted("enrol_after", shop.date(-30))

    def confirm():
        return services.confirm(change=change, user=shop.user, now=shop.now)

    overlap(confirm, confirm).answer()
    assert Job.unscoped.filter(kind=f"switch:{change.pk}").count() == 1
    shop.work("switch:")
    assert Entry.unscoped.filter(kind="earn").count() == 2


def test_two_workers_on_one_job(shop, monkeypatch):
    monkeypatch.setattr(enrol_after, "AT_ONCE", 1)
    change = shop.counted("enrol_after", shop.date(-30))
    services.confirm(change=change, user=shop.user, now=shop.now)
    job = Job.unscoped.get(kind=f"switch:{change.pk}")

    def work():
        while jobs.run_slice(job.pk):
            pass

    for one in [Acting(work), Acting(work)]:
        one.answer()
    assert Enrolment.unscoped.filter(ground="bought").count() == 2
    assert Entry.unscoped.filter(kind="earn").count() == 2


def test_stopped_by_somebody_in_mid_step(shop, monkeypatch):
    """What the step did is undone with it; resumed, it is done once."""
    change = shop.counted("enrol_after", shop.date(-30))
    services.confirm(change=change, user=shop.user, now=shop.now)
    real, stops = switches.SWITCHES["enrol_after"].apply, []

    def stopped(work, change):
        real(work, change)
        if not stops:
            stops.append(Acting(lambda: services.halt(change=change, now=shop.now)).answer())

    monkeypatch.setattr(switches.SWITCHES["enrol_after"], "apply", stopped, raising=False)
    shop.work("switch:")
    change.refresh_from_db()
    assert stops == [True] and change.state == "stopped"
    assert not Enrolment.unscoped.filter(ground="bought").exists()
    services.go_on(change=change, now=shop.now)
    shop.work("switch:")
    change.refresh_from_db()
    assert (change.state, change.applied["shoppers"]) == ("applied", 2)
    assert Enrolment.unscoped.filter(ground="bought").count() == 2 and shop.stale == 0


def test_stopped_in_the_very_moment_it_ends(shop):
    """The last step holds the change's row: the stop comes too late, and says so."""
    change = shop.counted("enrol_after", shop.date(-30))
    services.confirm(change=change, user=shop.user, now=shop.now)
    job = Job.unscoped.get(kind=f"switch:{change.pk}")
    stop = overlap(lambda: jobs.run_slice(job.pk), lambda: services.halt(change=change, now=shop.now))
    assert stop.answer() is False
    change.refresh_from_db()
    assert change.state == "applied"


@pytest.mark.parametrize("first", ["change", "job"], ids=["the change's row first", "control: the job's row first"])
def test_stopped_in_the_very_moment_it_is_given_up(shop, monkeypatch, first):
    """The stop has written the change's row and comes to the job's when the job ends."""
    change = shop.counted("enrol_after", shop.date(-30))
    services.confirm(change=change, user=shop.user, now=shop.now)
    job = Job.unscoped.get(kind=f"switch:{change.pk}")
    real, ends = type(sink()).stop, []

    def give_up(work, change):
        raise jobs.GiveUp("Nothing is left to do.")

    def job_first(job, token, state, message):
        with transaction.atomic():
            Job.unscoped.filter(pk=job.pk, token=token, state="running").update(state=state, message=message, token="")
            jobs.FAILED["switch"](job, message)

    def stop(it, **given):
        ends.append(Acting(lambda: jobs.run_slice(job.pk)).settle())
        assert ends[0].waited, "it has come to the change's row"
        real(it, **given)

    monkeypatch.setattr(switches.SWITCHES["enrol_after"], "apply", give_up, raising=False)
    monkeypatch.setattr(type(sink()), "stop", stop)
    if first == "job":
        monkeypatch.setattr(jobs, "_end", job_first)
    try:
        stopped = services.halt(change=change, now=shop.now)
    except OperationalError as error:
        stopped = error
    answers = [stopped, ends[0].answer()]
    in_a_circle = [one for one in answers if isinstance(one, OperationalError)]
    assert bool(in_a_circle) is (first == "job"), answers
    if first == "change":
        change.refresh_from_db(), job.refresh_from_db()
        assert (answers, change.state, job.state) == ([True, False], "stopped", "stopped")
        services.go_on(change=change, now=shop.now)
        job.refresh_from_db()
        assert job.state == "queued"


def test_given_up_it_says_so(shop, monkeypatch):
    change = shop.counted("enrol_after", shop.date(-30))
    services.confirm(change=change, user=shop.user, now=shop.now)

    def give_up(work, change):
        raise jobs.GiveUp("Nothing is left to do.")

    monkeypatch.setattr(switches.SWITCHES["enrol_after"], "apply", give_up, raising=False)
    shop.work("switch:")
    change.refresh_from_db()
    job = Job.unscoped.get(kind=f"switch:{change.pk}")
    assert (change.state, change.message, job.state) == ("failed", "Nothing is left to do.", "failed")


def test_dismissed_beside_the_counting(shop, monkeypatch):
    change = shop.propose("enrol_after", shop.date(-30))
    real, gone = switches.SWITCHES["enrol_after"].count, []

    def dismissed(work, change):
        real(work, change)
        gone.append(Acting(lambda: services.dismiss(change=change, now=shop.now)).answer())

    monkeypatch.setattr(switches.SWITCHES["enrol_after"], "count", dismissed, raising=False)
    shop.work("preview:")
    change.refresh_from_db()
    assert gone == [True] and change.state == "dismissed" and not change.counted
