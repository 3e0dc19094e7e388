"""What waits until no page is open: each verb that holds the account's sources, beside a page not committed yet.

The control is the same verb without that lock. Then what the page brings is seen by neither of the two.
"""

import ast
import re
import threading
from dataclasses import replace
from datetime import date
from decimal import Decimal
from pathlib import Path

import pytest
from django.conf import settings
from django.db import OperationalError, transaction
from django.test import RequestFactory

from aiqsync.accounts.tenancy import acting_in
from aiqsync.pages import persona_people
from integrations import card_settings, landing, registry, services, suppression
from integrations.kit import settings as kit
from integrations.kit.records import ContactRecord, CustomerRecord, SaleRecord
from integrations.models import Connection, Credential, OutsideMarket, SettingChange
from integrations.sink import Batch, sink
from integrations.uploads import intake
from integrations.uploads import services as uploads
from loyalty import (
    changes,
    contact_import,
    earning,
    erasure,
    guard,
    jobs,
    ledger,
    looking,
    merging,
    mirror,
    origin_erasure,
    overrides,
    personas,
    pos_points,
    receipts,
)
from loyalty.models import Attachment, Persona, Programme, ProgrammeChange, Source, SuspectNumber, Wallet
from tests.factories import make_account, make_user
from tests.integrations.files import sheets
from tests.records import NOON, customer, land_sales, make_origin, refund, sale, the_customer, the_sale

from .people_at_till import DAY, HOUR
from .race import Acting, Cut, not_written_down, overlap, wrong

pytestmark = pytest.mark.django_db(transaction=True)
PHONE = "+16045550142"


class House:
    """A source with customers, and pages of it."""

    def __init__(self, *customers: CustomerRecord, member=True) -> None:
        self.origin = make_origin(make_account())
        self.account = self.origin.account
        self.user = make_user(self.account, password=None)
        if customers:
            self.page(*customers)
        if member:
            self.enrol()
        # Seen later already, so that no page touches (and locks) the persona's row.
        Persona.unscoped.filter(account=self.account).update(last_seen_at=NOON + DAY)

    def enrol(self) -> None:
        with acting_in(self.account.pk):
            personas.enrol_many(
                account_id=self.account.pk, ground="staff", from_date=date(2026, 1, 1), now=NOON,
                persona_ids=Persona.unscoped.filter(account=self.account).values_list("pk", flat=True),
            )  # fmt: skip

    def page(self, *records, now=NOON):
        """Rows and what comes of them, as a pull lands them; committed when the caller is."""
        with transaction.atomic():
            landing.lock_origin(self.origin.pk)
            land = {CustomerRecord: landing.customers, SaleRecord: landing.sales}[type(records[0])]
            landed = land(account_id=self.account.pk, origin_id=self.origin.pk, records=records)
            sink().landed(Batch(self.account.pk, self.origin.pk, type(records[0]), landed.new, landed.changed, now))

    def beside(self, page, verb, cut):
        """The page is open while the verb is begun."""

        def act():
            with acting_in(self.account.pk):
                return verb()

        return overlap(page, act, cut=cut).answer()

    def source(self, external_id: str) -> Source:
        return Source.unscoped.get(account=self.account, customer=the_customer(self.origin, external_id))

    def points(self, external_id: str) -> Decimal:
        persona = self.source(external_id).persona
        return Wallet.unscoped.get(persona_id=persona.merged_into_id or persona.pk).balance

    @property
    def stale(self) -> int:
        return earning.out_of_date(account_id=self.account.pk)


def enrolled(cut):
    """Who becomes a member while a page with his sale is open is paid for it."""
    house = House(customer("c", phone=PHONE), member=False)
    ids = [house.source("c").persona_id]
    answer = house.beside(
        lambda: house.page(sale("s", customer_id="c")),
        lambda: personas.enrol_many(
            account_id=house.account.pk, persona_ids=ids, ground="staff", from_date=date(2026, 1, 1), now=NOON
        ), cut,
    )  # fmt: skip
    return wrong([answer], points=(house.points("c"), 100))


def signed_up(cut):
    house = House(customer("c", phone=PHONE), member=False)
    answer = house.beside(
        lambda: house.page(sale("s", customer_id="c")),
        lambda: personas.sign_up(
            account_id=house.account.pk, region="CA", from_date=date(2026, 1, 1), now=NOON, phone=PHONE
        ), cut,
    )  # fmt: skip
    return wrong([answer], points=(house.points("c"), 100))


def overridden(cut):
    """A name is set for good while a page brings the record once more: the page does not write the old one over it."""
    house = House(customer("c", phone=PHONE, first_name="Ana"))
    persona = Persona.unscoped.get(account=house.account)
    answer = house.beside(
        lambda: house.page(customer("c", phone=PHONE, first_name="Anna", version=2)),
        lambda: overrides.put(
            account_id=house.account.pk, persona_id=persona.pk, region="CA", given={"first_name": "Annie"}, now=NOON
        ), cut,
    )  # fmt: skip
    # What the page said is what was seen: said again, it ends nothing.
    house.page(customer("c", phone=PHONE, first_name="Anna", last_name="New", version=3))
    persona.refresh_from_db()
    return wrong([answer], name=(persona.first_name, "Annie"))


def detached(cut):
    """A record becomes somebody of its own while a page brings a sale of it: the sale goes with it."""
    house = House(customer("a", phone=PHONE), customer("b", phone=PHONE))
    answer = house.beside(
        lambda: house.page(sale("s", customer_id="b")),
        lambda: merging.detach(account_id=house.account.pk, source_id=house.source("b").pk, user=None, now=NOON), cut,
    )  # fmt: skip
    return wrong([answer], points=(house.points("b"), 100), left=(house.points("a"), 0))


def split(cut):
    """Of two that were one, the second visit of the day earned nothing. It is a first one once they are two again."""
    house = House(customer("a", phone=PHONE), customer("b", phone="+16045550143"))
    Programme.unscoped.filter(account=house.account).update(
        points_per_100=0, points_per_order=100, max_visits_per_day=1
    )
    ids = {"account_id": house.account.pk, "now": NOON}
    a, b = house.source("a").persona_id, house.source("b").persona_id
    with acting_in(house.account.pk):
        merge = merging.merge(one_id=a, other_id=b, **ids)
    house.page(sale("first", customer_id="a", sold_at=NOON - HOUR))
    answer = house.beside(
        lambda: house.page(sale("s", customer_id="b")),
        lambda: merging.split(merge_id=merge.pk, user=None, **ids), cut,
    )  # fmt: skip
    return wrong([answer], points=(house.points("b"), 100), left=(house.points("a"), 100), stale=(house.stale, 0))


def merged(cut):
    """Who is no member becomes part of one while a page brings his sale, worth nothing then: it is paid."""
    house = House(customer("a", phone=PHONE))
    house.page(customer("b", phone="+16045550143"))
    Persona.unscoped.update(last_seen_at=NOON + DAY)
    a, b = house.source("a").persona_id, house.source("b").persona_id
    answer = house.beside(
        lambda: house.page(sale("s", customer_id="b")),
        lambda: merging.merge(account_id=house.account.pk, one_id=a, other_id=b, now=NOON), cut,
    )  # fmt: skip
    return wrong([answer], points=(house.points("a"), 100), stale=(house.stale, 0))


def judged_anew(cut):
    """One person's number turns out to be shared while a page joins one more customer by it: he is his own as well."""
    house = House(customer("a", phone=PHONE, first_name="Ada"))
    found = SuspectNumber.unscoped.create(account=house.account, phone=PHONE, customers=3, people=3, decision="one")
    answer = house.beside(
        lambda: house.page(customer("b", phone=PHONE, first_name="Ben")),
        lambda: guard.decide(
            account_id=house.account.pk, suspect_id=found.pk, decision="shared", user=None, now=NOON
        ), cut,
    )  # fmt: skip
    apart = house.source("a").persona_id != house.source("b").persona_id
    return wrong([answer], apart=(apart, True))


def marked_shared(cut):
    house = House(customer("a", phone=PHONE, first_name="Ada"))
    answer = house.beside(
        lambda: house.page(customer("b", phone=PHONE, first_name="Ben")),
        lambda: guard.mark_shared(account_id=house.account.pk, phone=PHONE, user=None, now=NOON), cut,
    )  # fmt: skip
    apart = house.source("a").persona_id != house.source("b").persona_id
    return wrong([answer], apart=(apart, True))


def attached(cut):
    """A receipt is given to somebody while a page says whose it is: it is his, and attached to nobody else."""
    house = House(customer("a", phone=PHONE), customer("b", phone="+16045550143"))
    house.page(sale("s"))
    sale_id, ben = the_sale(house.origin, "s").pk, house.source("b").persona_id
    answer = house.beside(
        lambda: house.page(sale("s", customer_id="a")),
        lambda: receipts.attach(
            account_id=house.account.pk, sale_id=sale_id, persona_id=ben, user=None, note="", now=NOON
        ), cut,
    )  # fmt: skip
    made = Attachment.unscoped.filter(account=house.account).count()
    return wrong([answer], refusals=(receipts.CannotAttach,), attached=(made, 0), points=(house.points("a"), 100))


def saved_before_the_first_sale(cut):
    """Settings are saved at once while nothing can move; a page has just brought the first sale: they are counted."""
    house = House(customer("c", phone=PHONE))
    answer = house.beside(
        lambda: house.page(sale("s", customer_id="c")),
        lambda: changes.save(
            account_id=house.account.pk, values={"programme": {"points_per_100": "200"}}, user=house.user, now=NOON
        ), cut,
    )  # fmt: skip
    return wrong([answer], stale=(house.stale, 0))


def recomputed(cut):
    """An edit that is not committed yet is worked out by the new rules, or seen by who brings them."""
    house = House(customer("c", phone=PHONE))
    house.page(sale("s", customer_id="c"))
    Programme.unscoped.filter(account=house.account).update(points_per_100=200)
    change = ProgrammeChange.unscoped.create(
        account=house.account, state="applying", confirmed_at=NOON, created_at=NOON, version=1,
        values={"programme": {"points_per_100": "200"}},
    )  # fmt: skip
    work = jobs.Work(job_id=0, account_id=house.account.pk, args={"change": change.pk}, user=None, cursor={}, done=0,
                     total=None, result={}, now=NOON + HOUR, budget_s=1)  # fmt: skip

    def step():
        with transaction.atomic():
            changes._recompute(work)

    answer = house.beside(lambda: house.page(sale("s", customer_id="c", net=1000)), step, cut)
    return wrong([answer], stale=(house.stale, 0), points=(house.points("c"), 20))


def taken_back(cut):
    """What a refund took is taken back while a page brings another refund of the sale: that counts as well."""
    house = House(customer("c", phone=PHONE))
    house.page(sale("s", customer_id="c"))
    house.page(refund("r", of="s", customer_id="c", net=2500, tax=0, sold_at=NOON + 2 * DAY))
    sale_id = the_sale(house.origin, "s").pk
    answer = house.beside(
        lambda: house.page(refund("r2", of="s", customer_id="c", net=2500, tax=0, sold_at=NOON + 2 * DAY)),
        lambda: looking.take_back(account_id=house.account.pk, sale_id=sale_id, user=house.user, now=NOON + 3 * DAY),
        cut,
    )
    return wrong([answer], stale=(house.stale, 0), points=(house.points("c"), 50))


def recomputed_by_a_button(cut):
    house = House(customer("c", phone=PHONE))
    house.page(sale("s", customer_id="c"))
    Programme.unscoped.filter(account=house.account).update(points_per_100=200)
    persona = house.source("c").persona
    request = RequestFactory().post("/")
    request.user = house.user
    answer = house.beside(
        lambda: house.page(sale("s", customer_id="c", net=1000)),
        lambda: persona_people.recompute_now(request, persona), cut,
    )  # fmt: skip
    return wrong([answer], stale=(house.stale, 0), points=(house.points("c"), 20))


def counted(cut):
    """What the open page brings is in the figures, or is said to have come since: also when another source's sale and
    another's points, which bear higher numbers, were there before the counting began."""
    house = House(customer("c", phone=PHONE), customer("d", phone="+16045550143"))
    other, another = make_origin(house.account, "501201"), house.source("d").persona_id
    change = ProgrammeChange.unscoped.create(
        account=house.account, state="counting", created_at=NOON, 
        version=Programme.unscoped.get(account=house.account).version,
        values={"programme": {"points_per_100": "200"}, "was": {"programme": {}}},
    )  # fmt: skip
    work = jobs.Work(job_id=0, account_id=house.account.pk, args={"change": change.pk}, user=None, cursor={}, done=0,
                     total=None, result={}, now=NOON + HOUR, budget_s=1)  # fmt: skip

    def step():
        land_sales(other, sale("late", customer_id="nobody"))
        ledger.adjust(account_id=house.account.pk, persona_id=another, points=Decimal(5), key="later", now=NOON)
        with transaction.atomic():
            changes._count(work)

    answer = house.beside(lambda: house.page(sale("s", customer_id="c")), step, cut)
    change.refresh_from_db()
    with acting_in(house.account.pk):
        seen = bool(change.counted["sales_changed"]) or bool(changes.since(change))
    return wrong([answer], seen=(seen, True))


def taken_over(cut):
    """Who comes over from another service is made a member while a page with his sale is open."""
    house = House(customer("c", phone=PHONE), member=False)
    contact = ContactRecord(CustomerRecord("c"), Decimal(0), True, None)

    def take():
        with transaction.atomic():
            contact_import.take(
                account_id=house.account.pk, origin_id=house.origin.pk, contacts=[contact], so_far={}, user_id=None,
                earn_from=date(2026, 1, 1), now=NOON,
            )  # fmt: skip

    answer = house.beside(lambda: house.page(sale("s", customer_id="c")), take, cut)
    return wrong([answer], points=(house.points("c"), 100))


def read_from_a_file(cut):
    """A file of phones alone is read while a page brings another name: that stays."""
    house = House(member=False)
    house.origin = intake.source(account_id=house.account.pk, name="Old till")
    house.page(customer("c", phone=PHONE, first_name="Ada"))
    upload = sheets.send(house.account, "id,phone\nc,6045550143\n")
    uploads.begin(upload=upload, now=NOON, enqueue=sheets.NOBODY)
    answer = house.beside(
        lambda: house.page(customer("c", phone=PHONE, first_name="Eva", version=1)), lambda: sheets.read(upload), cut
    )
    ada = the_customer(house.origin, "c")
    return wrong([answer], name=(ada.first_name, "Eva"), phone=(ada.phone, "+16045550143"))


VERBS = {
    "integrations.uploads.running._with_stored": read_from_a_file,
    "loyalty.contact_import.take": taken_over,
    "loyalty.changes._count": counted,
    "loyalty.personas.enrol_many": enrolled,
    "loyalty.personas.sign_up": signed_up,
    "loyalty.overrides.put": overridden,
    "loyalty.merging.merge": merged,
    "loyalty.merging.detach": detached,
    "loyalty.merging.split": split,
    "loyalty.guard.decide": judged_anew,
    "loyalty.guard.mark_shared": marked_shared,
    "loyalty.receipts.attach": attached,
    "loyalty.changes.save": saved_before_the_first_sale,
    "loyalty.changes._recompute": recomputed,
    "loyalty.looking.take_back": taken_back,
    "aiqsync.pages.persona_people.recompute_now": recomputed_by_a_button,
}


@pytest.mark.parametrize("verb", VERBS)
def test_right_when_it_waits_for_the_page_and_lost_when_it_does_not(verb):
    race = VERBS[verb]
    assert race(None) == []
    cut = Cut("integrations_origin")
    lost = race(cut)
    assert cut.times, "it holds no source any more"
    assert lost, "right without it as well: this race proves nothing"


# Held for other reasons, each with its test.
ELSEWHERE = {
    "integrations.card_settings.save_all": "test_origin_locks.py::test_two_forms_wait_for_each_other_in_order",
    "integrations.arrivals.arrive": "test_matching.py::test_a_sale_and_its_customer_land_at_the_same_moment",
    "integrations.arrivals.in_one_go": "test_switches_race.py::test_two_pages_that_each_bring_a_new_member",
    "integrations.outbox._created": "test_outbound.py::test_removed_while_what_came_of_a_create_is_saved",
    # What it arrives with is held once more; held before, so that places and people are read behind the lock.
    "integrations.pushing._land": "test_matching.py::test_a_sale_and_its_customer_land_at_the_same_moment",
    "integrations.services._connected": "test_origin_locks.py::test_locations_are_read_beside_no_page",
    "loyalty.bought.enrol": "test_switches_race.py::test_two_pages_that_each_bring_a_new_member",
    "loyalty.changes.confirm": "test_origin_locks.py::test_confirming_waits_for_the_page",
    "loyalty.contact_import.meet": "test_origin_locks.py::test_inside_a_page_nobody_is_waited_for",
    "loyalty.enrol_after.apply": "test_switches_race.py::test_a_page_that_began_before_the_setting_held",
    "loyalty.erasure._erase": "test_erasure_race.py::test_a_page_lands_another_record_of_hers_at_the_same_moment",
    "loyalty.erasure.allow_again": "test_origin_locks.py::test_letting_a_number_be_used_again_waits_for_the_page",
    "loyalty.guard._take_apart": "test_origin_locks.py::test_inside_a_page_nobody_is_waited_for",
    "loyalty.matching._act": "test_origin_locks.py::test_inside_a_page_nobody_is_waited_for",
    "loyalty.mirror.end": "test_origin_locks.py::test_the_poss_points_and_erasing_wait_for_the_page",
    "loyalty.origin_erasure._erase": "test_origin_locks.py::test_the_poss_points_and_erasing_wait_for_the_page",
    "loyalty.pos_points._mirror_ended": ("test_origin_locks.py::test_the_poss_points_and_erasing_wait_for_the_page"),
    "loyalty.pos_points.apply": "test_origin_locks.py::test_the_poss_points_and_erasing_wait_for_the_page",
    "loyalty.outbound.delivered": "test_origin_locks.py::test_inside_a_page_nobody_is_waited_for",
}


def _two_pages(cut):
    """Each page has its own source and wants the account's others: one of the two is told to land again."""
    account = make_account()
    one, other = make_origin(account), make_origin(account, "501201")

    def page(mine, meet):
        def act():
            with transaction.atomic():
                landing.lock_origin(mine.pk)
                meet.wait(30)
                services.lock_origins(account_id=account.pk, inside_a_page=True)

        return act

    both = threading.Barrier(2)
    pages = [Acting(page(mine, both), cut=cut) for mine in (one, other)]
    return [type(acting.answer()).__name__ for acting in pages]


def test_inside_a_page_nobody_is_waited_for():
    """And if they waited, they would wait for each other, until the database ends one of them."""
    assert "LandAgain" in _two_pages(None)
    waiting = Cut("integrations_origin", clause="NOWAIT")
    assert "OperationalError" in _two_pages(waiting) and waiting.times


def test_confirming_waits_for_the_page():
    """So that counting and writing are of one moment. The recompute waits as well; its control is the case above."""
    house = House(customer("c", phone=PHONE))
    change = ProgrammeChange.unscoped.create(
        account=house.account, state="counted", created_at=NOON, version=Programme.unscoped.get().version,
        values={"programme": {"points_per_100": "200"}, "was": {"programme": {}}},
        counted={"shoppers": 0, "before": "0", "after": "0", "expiring": "0", "shortfalls": 0},
    )  # fmt: skip

    def confirm():
        with acting_in(house.account.pk):
            return changes.confirm(change=change, user=house.user, now=NOON)

    page = lambda: house.page(sale("s", customer_id="c"))  # noqa: E731
    assert overlap(page, confirm).waited
    ProgrammeChange.unscoped.update(state="counted", confirmed_at=None, version=Programme.unscoped.get().version)
    cut = Cut("integrations_origin")
    assert not overlap(page, confirm, cut=cut).waited and cut.times


def test_letting_a_number_be_used_again_waits_for_the_page():
    """A page that has asked the list ends by what it was told."""
    house = House()

    def allow():
        with acting_in(house.account.pk):
            suppression.add(account_id=house.account.pk, known=[(suppression.PHONE, PHONE)], now=NOON)
            return erasure.allow_again(account_id=house.account.pk, term=PHONE, now=NOON)

    page = lambda: house.page(customer("c", phone=PHONE))  # noqa: E731
    assert overlap(page, allow).waited
    cut = Cut("integrations_origin")
    assert not overlap(page, allow, cut=cut).waited and cut.times


def test_locations_are_read_beside_no_page():
    """Connecting again lands the locations of a source whose page is open."""
    house = House()
    held = lambda: landing.lock_origin(house.origin.pk)  # noqa: E731

    def connect():
        with transaction.atomic():
            landing.lock_origin(house.origin.pk)

    assert overlap(held, connect).waited
    assert not overlap(held, connect, cut=Cut("integrations_origin")).waited


def _work(house, **more) -> jobs.Work:
    return jobs.Work(job_id=0, account_id=house.account.pk, user=None, done=0, result={}, now=NOON, budget_s=1,
                     **{"args": {}, "cursor": {}, "total": 1} | more)  # fmt: skip


def _erasing(house):
    return origin_erasure._erase(_work(house, args={"origin": house.origin.pk}, cursor={"part": "people"}))


def _mirror_ended(house):
    return pos_points._mirror_ended(_work(house, args={"origins": [house.origin.pk]}))


def _mirroring(house):
    link = Connection.unscoped.create(account=house.account, card="cova")
    change = SettingChange.unscoped.create(account=house.account, connection=link, setting="mirror_points", after=True)
    return pos_points.MirrorPoints().apply(_work(house), change)


@pytest.mark.parametrize(
    "verb",
    [
        lambda house: mirror.end(account_id=house.account.pk, origin_ids=[house.origin.pk], now=NOON),
        _erasing, _mirror_ended, _mirroring,
    ],
    ids=["end", "erase", "ended", "apply"],
)  # fmt: skip
@pytest.mark.parametrize("cut", [None, Cut("integrations_origin")], ids=["locked", "control: no lock"])
def test_the_poss_points_and_erasing_wait_for_the_page(verb, cut):
    """Else a page's sale is settled by what the page knew, and whom it brings is not gone through."""
    house = House(customer("c"))

    def act():
        with acting_in(house.account.pk), transaction.atomic():
            verb(house)

    second = overlap(lambda: landing.lock_origin(house.origin.pk), act, cut=cut)
    assert not isinstance(second.answer(), Exception), second.answer()
    assert second.waited == (cut is None)


@pytest.mark.parametrize("in_order", [True, False], ids=["in order", "control: each where it comes to it"])
def test_two_forms_wait_for_each_other_in_order(monkeypatch, in_order):
    """Each: a market, with “Sync to relevant market”, and mirroring off. The one's source is the account's last."""
    account = make_account()
    forms = []
    for slug in ("one", "two"):
        declared = (kit.market(slug), kit.sync_market(slug), kit.mirror(slug))
        monkeypatch.setitem(
            registry.CARDS, slug, replace(registry.get("cova"), slug=slug, title=slug, settings=declared)
        )
        origin = make_origin(account, slug)
        link = Connection.unscoped.create(
            account=account, card=slug, settings={"mirror_points": True, "sync_to_market": True}
        )
        credential = Credential.unscoped.create(
            account=account, connection=link, origin=origin, state="connected",
            settings={"relevant_market": ["CA-AB"]},
        )  # fmt: skip
        OutsideMarket.unscoped.create(account=account, origin=origin, external_id="c")  # so the list is read again
        forms.append((link, credential))
    if not in_order:
        monkeypatch.setattr(card_settings, "_hold_sources", lambda *_: False)
    real, both, met = card_settings.save_settings, threading.Barrier(2, timeout=2 if in_order else 60), []

    def its_own_source_is_held(**given):
        try:
            both.wait()
            met.append(True)
        except threading.BrokenBarrierError:
            pass  # the other is not here: it waits for us
        return real(**given)

    monkeypatch.setattr(card_settings, "save_settings", its_own_source_is_held)

    def save(link, credential):
        with acting_in(account.pk):
            return services.save_all(
                connection=link, given={"sync_to_market": True, "mirror_points": False}, now=NOON,
                of_credentials={credential.pk: {"relevant_market": ["CA-BC"]}},
            )  # fmt: skip

    saving = [Acting(lambda form=form: save(*form)) for form in forms]
    answers = [one.answer() for one in saving]
    in_a_circle = [one for one in answers if isinstance(one, OperationalError)]
    assert bool(in_a_circle) is bool(met) is (not in_order), answers
    if in_order:
        assert [set(one.changed) for one in answers] == [
            {"mirror_points", f"relevant_market-{credential.pk}"} for _, credential in forms
        ]


def test_a_form_that_needs_no_source_waits_for_none():
    house = House()
    link = Connection.unscoped.create(account=house.account, card="cova")

    def save():
        with acting_in(house.account.pk):
            services.save_all(connection=link, given={"skip_payment_method": True}, of_credentials={}, now=NOON)

    assert not overlap(lambda: landing.lock_origin(house.origin.pk), save).waited


CALL = re.compile(r"\block_origins?\(")


def test_each_verb_that_holds_sources_has_its_case():
    found = set()
    for folder in ("aiqsync", "integrations", "loyalty", "stores"):
        for path in Path(settings.BASE_DIR, folder).rglob("*.py"):
            text = path.read_text()
            module = ".".join(path.relative_to(settings.BASE_DIR).with_suffix("").parts)
            lines = text.splitlines()
            nodes = ast.parse(text).body if CALL.search(text) else []
            nodes += [inner for node in nodes if isinstance(node, ast.ClassDef) for inner in node.body]
            for node in nodes:
                if isinstance(node, ast.FunctionDef) and CALL.search(
                    "\n".join(lines[node.lineno - 1 : node.end_lineno])
                ):
                    found.add(f"{module}.{node.name}")
    verbs = {"integrations.landing.lock_origin", "integrations.services.lock_origins"}
    assert found - verbs == set(VERBS) | set(ELSEWHERE)
    assert not_written_down([*VERBS, *ELSEWHERE]) == []
    for test in ELSEWHERE.values():
        path, name = test.split("::")
        assert f"def {name}(" in Path(__file__).with_name(path).read_text()
