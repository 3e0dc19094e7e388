"""Why? Each answer of the box: its sentence, and the one button that helps."""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from aiqsync.accounts.tenancy import acting_in
from integrations.digests import contact_digest
from integrations.models import Connection, Credential, CredentialState, OutsideMarket, Sale, StreamState
from loyalty import guard, ingest, ledger, matching, merging, personas, receipts, why
from loyalty.models import BlockedPhone, Modifier, Persona, Programme, SaleState, Source, SuspectNumber
from tests.factories import make_account, make_discount, make_user
from tests.records import NOON, customer, land_customers, land_sales, make_origin, refund, sale, the_sale

ADA, BEA = "+16045550142", "+16045550143"
NOW = NOON + timedelta(hours=3)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)


@dataclass
class Shop:
    """One account with a POS, and Ada, a member of it since January."""

    account: object
    origin: object
    people: dict[str, Persona] = field(default_factory=dict)

    def customer(self, external_id="a", phone=ADA, **fields) -> Persona:
        landed = land_customers(self.origin, customer(external_id, phone=phone, **fields))
        matching.match(account_id=self.account.pk, customer_ids=landed.touched, now=NOON)
        return Source.objects.get(customer__external_id=external_id).persona

    def member(self, external_id="a", phone=ADA, day=date(2026, 1, 1), **fields) -> Persona:
        persona = self.customer(external_id, phone, **fields)
        personas.enrol(persona=persona, ground="staff", from_date=day, now=NOON)
        return Persona.objects.get(pk=persona.pk)

    def sell(self, *records) -> None:
        landed = land_sales(self.origin, *records)
        ingest.sales_landed(account_id=self.account.pk, sale_ids=landed.touched, now=NOON)

    def bought(self, external_id="s", **fields) -> str:
        self.sell(sale(external_id, **{"customer_id": "a"} | fields))
        return f"IN-{external_id}"

    def programme(self, **fields) -> None:
        Programme.objects.update(**fields)

    def connect(self, read_until=NOON, state=CredentialState.CONNECTED) -> None:
        connection = Connection.objects.create(card="cova")
        credential = Credential.objects.create(connection=connection, origin=self.origin, state=state)
        for stream in ("sales", "customers"):
            StreamState.objects.create(credential=credential, stream=stream, read_until=read_until)

    def why(self, term) -> why.Answer:
        return why.answer(account=self.account, term=term, now=NOW)


@pytest.fixture
def shop(db):
    account = make_account()
    timezone.activate(account.timezone)
    with acting_in(account.pk):
        yield Shop(account, make_origin(account))
    timezone.deactivate()


# Each: what has happened, and the term that is asked.


def unknown_phone(shop: Shop) -> str:
    shop.connect()
    return "604 555 0199"


def unknown_email(shop: Shop) -> str:
    return "nobody@shop.test"


def unknown_name(shop: Shop) -> str:
    shop.connect()
    return "Zoe Quill"


def outside_the_market(shop: Shop) -> str:
    shop.connect()
    digest = contact_digest("+16045550199", kind="phone", account_id=shop.account.pk)
    OutsideMarket.objects.create(origin=shop.origin, external_id="z", state="WA", phone_digest=digest)
    return "604 555 0199"


def outside_the_market_without_a_state(shop: Shop) -> str:
    digest = contact_digest("zoe@shop.test", kind="email", account_id=shop.account.pk)
    OutsideMarket.objects.create(origin=shop.origin, external_id="z", email_digest=digest)
    return "Zoe@shop.test"


def one_digit(shop: Shop) -> str:
    return "555 555 5555"


def receipt_not_read(shop: Shop) -> str:
    shop.connect(datetime(2026, 3, 2, 22, 2, tzinfo=UTC))
    return "IN4B2K-519"


def receipt_of_a_paused_pos(shop: Shop) -> str:
    shop.connect(datetime(2026, 2, 27, 22, 2, tzinfo=UTC), CredentialState.PAUSED)
    return "IN4B2K-519"


def not_a_member(shop: Shop) -> str:
    shop.customer()
    shop.bought("s1", sold_at=NOON - 3 * DAY)
    shop.bought("s2")
    return ADA


def not_a_member_by_receipt(shop: Shop) -> str:
    shop.customer()
    return shop.bought()


def before_the_membership(shop: Shop) -> str:
    shop.member(day=date(2026, 3, 2))
    return shop.bought(sold_at=NOON - DAY)


def before_the_accrual_start(shop: Shop) -> str:
    shop.programme(accrual_start=date(2026, 3, 10))
    shop.member()
    return shop.bought()


def only_purchases_before_the_start(shop: Shop) -> str:
    before_the_accrual_start(shop)
    return ADA


def blocklisted(shop: Shop) -> str:
    BlockedPhone.objects.create(phone=ADA, note="Kim")
    shop.member()
    return shop.bought()


def blocklisted_by_what_was_merged_in(shop: Shop) -> str:
    ada, gone = shop.member(), shop.customer("b", BEA, first_name="Bea")
    BlockedPhone.objects.create(phone=BEA, note="Kim")
    merging.merge(account_id=shop.account.pk, one_id=ada.pk, other_id=gone.pk, now=NOON)
    return ADA


def merged(shop: Shop) -> str:
    ada, gone = shop.member(), shop.customer("b", BEA, first_name="Bea")
    merging.merge(account_id=shop.account.pk, one_id=ada.pk, other_id=gone.pk, now=NOON)
    return BEA


def merged_by_name(shop: Shop) -> str:
    merged(shop)
    return "Bea Moss"


def archived(shop: Shop) -> str:
    ada = shop.member()
    Persona.objects.filter(pk=ada.pk).update(archived_at=NOON)
    return ADA


def removed(shop: Shop) -> str:
    ada = shop.member()
    Persona.objects.filter(pk=ada.pk).update(erased_at=NOON, first_name="", last_name="", phone="", email="")
    return str(ada.contact_id)


def removed_by_receipt(shop: Shop) -> str:
    ada = shop.member()
    term = shop.bought()
    Persona.objects.filter(pk=ada.pk).update(erased_at=NOON)
    return term


def source_erased(shop: Shop) -> str:
    shop.member()
    term = shop.bought(sold_at=NOON - DAY)
    Sale.objects.update(erased_at=NOON)
    return term


def zero_points(shop: Shop) -> str:
    Modifier.objects.create(name="Staff day", kind="zero", weekdays=[0])
    shop.member()
    return shop.bought()


def only_patients_earn(shop: Shop) -> str:
    shop.programme(earning_types="medical")
    shop.member()
    return shop.bought()


def only_with_texts(shop: Shop) -> str:
    shop.programme(opt_in_needed="sms")
    shop.member()
    return shop.bought()


def only_with_texts_by_phone(shop: Shop) -> str:
    only_with_texts(shop)
    return ADA


def unpaid(shop: Shop) -> str:
    shop.member()
    return shop.bought(net=0, tax=0, lines=())


def voided(shop: Shop) -> str:
    shop.member()
    term = shop.bought()
    shop.sell(refund("r", of="s", customer_id="a", sold_at=NOON + HOUR))
    return term


def refunded_later(shop: Shop) -> str:
    shop.programme(refunds="reverse")
    shop.member()
    term = shop.bought()
    shop.sell(refund("r", of="s", customer_id="a", sold_at=NOON + DAY))
    return term


def the_refund_itself(shop: Shop) -> str:
    refunded_later(shop)
    return "IN-r"


def max_visits(shop: Shop) -> str:
    shop.programme(points_per_order=10, max_visits_per_day=1, points_per_100=0)
    shop.member()
    shop.bought("s1")
    return shop.bought("s2", sold_at=NOON + HOUR)


def programme_off(shop: Shop) -> str:
    shop.programme(enabled=False)
    shop.member()
    return shop.bought()


def no_programme(shop: Shop) -> str:
    Programme.objects.all().delete()
    return shop.bought(customer_id="")


def anonymous(shop: Shop) -> str:
    return shop.bought(customer_id="")


def customer_not_read(shop: Shop) -> str:
    shop.connect()
    return shop.bought(customer_id="cust-77")


def shared_phone(shop: Shop) -> str:
    shop.customer("a", first_name="Ada")
    guard.mark_shared(account_id=shop.account.pk, phone=ADA, user=make_user(shop.account), now=NOON)
    shop.customer("b", first_name="Bea")
    return ADA


def suspect_phone(shop: Shop) -> str:
    for name in ("Ada", "Bea", "Cleo"):
        shop.customer(name, first_name=name)
    return ADA


def fake_phone(shop: Shop) -> str:
    suspect_phone(shop)
    suspect = SuspectNumber.objects.get()
    guard.decide(account_id=shop.account.pk, suspect_id=suspect.pk, decision="fake", user=None, now=NOON)
    return ADA


def several_of_a_name(shop: Shop) -> str:
    shop.customer("a")
    shop.customer("b", BEA)
    return "Ada Moss"


def posted_otherwise(shop: Shop) -> str:
    shop.member()
    term = shop.bought()
    shop.programme(points_per_100=50)
    return term


def posted_otherwise_by_phone(shop: Shop) -> str:
    posted_otherwise(shop)
    return ADA


def credited(shop: Shop) -> str:
    shop.member()
    return shop.bought()


def credited_by_phone(shop: Shop) -> str:
    """300 earned, 100 spent, 20 expired, 5 by hand."""
    ada = shop.member()
    shop.bought(net=30000, lines=())
    whose = {"account_id": shop.account.pk, "persona_id": ada.pk}
    ledger.adjust(**whose, points=Decimal(20), key="old", now=NOON - 40 * DAY, expires_at=NOON - 30 * DAY)
    discount = make_discount(shop.account, points=100)
    ledger.redeem(**whose, discount_id=discount.pk, n=0, transaction="", channel="web", now=NOON)
    ledger.adjust(**whose, points=Decimal(5), key="hand", now=NOON, note="late bus")
    return ADA


def nothing_happened_yet(shop: Shop) -> str:
    shop.member()
    return ADA


ANSWERS: list[tuple[Callable[[Shop], str], str, list[str], str]] = [
    (unknown_phone, "unknown", ["Nobody here has this phone", "Customers are read up to", "(Cova)"], "sync"),
    (unknown_email, "unknown", ["Nobody here has this e-mail", "No point of sale is connected."], "sync"),
    (unknown_name, "unknown", ["No receipt, customer or name Zoe Quill is known here."], "sync"),
    (outside_the_market, "outside_market",
     ["Cova knows a customer with this phone, who lives in WA: outside the market", "not imported"], "card"),
    (outside_the_market_without_a_state, "outside_market",
     ["Cova knows a customer with this e-mail, who has no state there: outside the market"], "card"),
    (one_digit, "unknown", ["one digit over and over"], ""),
    (receipt_not_read, "not_read", ["No receipt and no customer IN4B2K-519 has been read.",
                                    "Sales are read up to 2 Mar, 14:02"],
     "sync"),
    (receipt_of_a_paused_pos, "not_read", ["27 Feb, 14:02 (Cova, not being read)"], "sync"),
    (not_a_member, "not_a_member",
     ["known but not a member", "2 purchases worth about 200 points since 27 Feb 2026 wait for membership"], "enrol"),
    (not_a_member_by_receipt, "not_a_member", ["1 purchase worth about 100 points", "waits for membership"], "enrol"),
    (before_the_membership, "before_member", ["Receipt IN-s of 1 Mar 2026 lies before Ada Moss's membership",
                                                "2 Mar 2026"],
     "enrol"),
    (before_the_accrual_start, "before_accrual", ["before the day from which customers earn points, 10 Mar 2026"],
     "programme"),
    (only_purchases_before_the_start, "before_accrual",
     ["The latest purchase of Ada Moss", "10 Mar 2026"], "programme"),
    (blocklisted, "blocklisted", ["employee points blocklist (Kim)"], "programme"),
    (blocklisted_by_what_was_merged_in, "blocklisted", ["employee points blocklist (Kim)"], "programme"),
    (merged, "merged", ["Bea Moss was merged into Ada Moss on 2 Mar 2026 by hand"], "ask"),
    (merged_by_name, "merged", ["Bea Moss was merged into Ada Moss"], "ask"),
    (archived, "archived", ["Ada Moss was archived on 2 Mar 2026", "the wallet works on"], "unarchive"),
    (removed, "removed", ["removed on request"], ""),
    (removed_by_receipt, "removed", ["removed on request"], ""),
    (source_erased, "source_erased",
     ["Receipt IN-s of 1 Mar 2026 is of a source whose data was erased on 2 Mar 2026", "points stay"], ""),
    (zero_points, "worth_nothing", ["worth 0 points: $100.00 before tax", "Staff day: no points on $100.00"], ""),
    (only_patients_earn, "rule", ["earned nothing: only medical shoppers earn."], "programme"),
    (only_with_texts, "rule", ["earned nothing: only shoppers who have opted in to texts earn"], "programme"),
    (only_with_texts_by_phone, "rule", ["The latest purchase of Ada Moss earned nothing"], "programme"),
    (unpaid, "worth_nothing", ["worth 0 points: nothing was paid for it."], ""),
    (voided, "refunded", ["refunded in full on the same day"], ""),
    (refunded_later, "refunded", ["was refunded: its points were taken back"], ""),
    (the_refund_itself, "refunded", ["is a refund of receipt IN-s: it earns nothing itself."], ""),
    (max_visits, "worth_nothing", ["no more points for visits on this day (1 at most)"], ""),
    (programme_off, "programme_off", ["the loyalty programme is switched off"], "programme"),
    (no_programme, "programme_off", ["no loyalty programme yet"], ""),
    (anonymous, "anonymous", ["has no customer on it, so it earned nothing"], "attach"),
    (customer_not_read, "customer_not_read", ["of the POS's customer cust-77, who has not been read",
                                              "Customers are read"],
     "sync"),
    (shared_phone, "shared", ["marked as shared: it identifies nobody. 2 personas have it"], ""),
    (suspect_phone, "shared", ["3 customers of the POS bear this phone: it joins nobody until somebody decides"], ""),
    (fake_phone, "shared", ["marked as not a real number: it joins nobody."], ""),
    (several_of_a_name, "several", ["2 personas fit: which one is it?"], ""),
    (posted_otherwise, "differs", ["is worth 50 points by today's rules, and 100 were posted."], "recompute"),
    (posted_otherwise_by_phone, "differs",
     ["1 purchase of Ada Moss is worth something else", "−50 points"], "recompute"),
    (credited, "credited", ["Everything is credited: 100 points to Ada Moss for receipt IN-s of 2 Mar 2026, because "
                            "$100.00 before tax, 100 points per $100."], ""),
    (credited_by_phone, "credited", ["the balance of Ada Moss is 205 because: earned 300, spent 100, expired 20, "
                                     "adjusted by hand +25."], ""),
    (nothing_happened_yet, "credited", ["the balance of Ada Moss is 0; nothing was earned or spent yet."], ""),
]  # fmt: skip


@pytest.mark.parametrize(("happened", "branch", "said", "act"), ANSWERS, ids=[row[0].__name__ for row in ANSWERS])
def test_answers(shop, happened, branch, said, act):
    found = shop.why(happened(shop))
    for words in said:
        assert words in found.sentence, found.sentence
    assert (found.branch, found.remedy.act if found.remedy else "") == (branch, act)
    assert found.good == (branch == "credited")
    assert not found.sentence[0].islower() and found.sentence[-1] in ".?"


def test_every_branch_is_in_the_table():
    """A new answer is a new row above."""
    text = Path(why.__file__).read_text()
    branches = set(re.findall(r'Answer\(\s*"([a-z_]+)"', text))
    assert branches == {row[1] for row in ANSWERS}


def test_nothing_asked_is_nothing_answered(shop):
    assert shop.why("  \x00 ") is None


def test_a_foreign_accounts_receipt_and_people_are_unknown(shop):
    credited(shop)
    other = make_account("Other")
    with acting_in(other.pk):
        for term in ("IN-s", ADA, "Ada Moss"):
            found = why.answer(account=other, term=term, now=NOW)
            assert found.branch in ("unknown", "not_read") and found.persona is None and found.sale is None


def test_those_who_share_a_phone_are_listed_to_choose_from(shop):
    term = suspect_phone(shop)
    found = shop.why(term)
    assert {one.name for one in found.people} == {"Ada Moss", "Bea Moss", "Cleo Moss"}
    assert shop.why(str(found.people[0].contact_id)).branch == "not_a_member"


def test_the_day_that_is_suggested_lets_the_purchase_earn(shop):
    found = shop.why(before_the_membership(shop))
    assert found.remedy.day == date(2026, 3, 1)
    personas.enrol(persona=found.persona, ground="staff", from_date=found.remedy.day, now=NOON)
    assert shop.why("IN-s").branch == "credited"


def test_an_attached_receipt_is_credited(shop):
    term = anonymous(shop)
    ada = shop.member()
    done = receipts.attach(
        account_id=shop.account.pk,
        sale_id=the_sale(shop.origin, "s").pk,
        persona_id=ada.pk,
        user=None,
        note="x",
        now=NOW,
    )
    assert done.points == 100 and shop.why(term).branch == "credited"


def test_of_a_sale_and_its_namesake_refund_the_sale_answers(shop):
    shop.member()
    shop.bought(number="IN-7")
    shop.sell(refund("r", of="s", customer_id="a", sold_at=NOON + DAY, number="IN-7"))
    assert shop.why("IN-7").sale == the_sale(shop.origin, "s")


def test_it_writes_nothing(shop):
    for happened in (not_a_member, anonymous):
        term = happened(shop) if happened is not_a_member else shop.bought("x", customer_id="")
        with CaptureQueriesContext(connection) as asked:
            shop.why(term)
        assert not [q["sql"] for q in asked if not q["sql"].lstrip().upper().startswith(("SELECT", "WITH"))]


@pytest.mark.parametrize("purchases", [2, 12])
def test_a_persona_costs_the_same_whatever_was_bought(shop, purchases):
    shop.member()
    shop.sell(*[sale(f"s{n}", customer_id="a", sold_at=NOON - n * HOUR) for n in range(purchases)])
    with CaptureQueriesContext(connection) as asked:
        assert shop.why(ADA).branch == "credited"
    assert len(asked) <= 14, [q["sql"][:80] for q in asked]
    assert Sale.objects.count() == purchases and SaleState.objects.count() == purchases
