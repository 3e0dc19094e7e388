"""Matching: phone, then e-mail; the database decides races."""

import threading

import pytest
from django.db import connections, transaction

from integrations import landing
from integrations.sink import Batch, sink
from loyalty import matching
from loyalty.models import Identifier, Persona, SaleState, Source
from tests.factories import make_account, make_persona
from tests.records import NOON, customer, land_customers, land_sales, make_origin, sale

PHONE, PHONE2 = "+16045550142", "+16045550143"


@pytest.fixture
def origin(db):
    return make_origin(make_account())


def arrive(origin, *records):
    landed = land_customers(origin, *records)
    matching.match(account_id=origin.account_id, customer_ids=landed.touched, now=NOON)


def people() -> dict[str, set[str]]:
    """Persona -> its customers, as sets of external ids."""
    found: dict[int, set[str]] = {}
    for persona, external in Source.unscoped.values_list("persona", "customer__external_id"):
        found.setdefault(persona, set()).add(external)
    return {min(v): v for v in found.values()}


@pytest.mark.parametrize("together", [True, False], ids=["one page", "page after page"])
@pytest.mark.parametrize(
    ("records", "expected"),
    [
        ([customer("a", phone=PHONE), customer("b", phone=PHONE)], [{"a", "b"}]),
        ([customer("a", email="a@x.test"), customer("b", email="a@x.test")], [{"a", "b"}]),
        ([customer("a", phone=PHONE, email="a@x.test"), customer("b", email="a@x.test")], [{"a", "b"}]),
        # Two different phones never meet through an e-mail.
        (
            [customer("a", phone=PHONE, email="a@x.test"), customer("b", phone=PHONE2, email="a@x.test")],
            [{"a"}, {"b"}],
        ),
        # The phone is stronger than the e-mail.
        (
            [
                customer("a", phone=PHONE),
                customer("b", phone=PHONE2, email="b@x.test"),
                customer("c", phone=PHONE, email="b@x.test"),
            ],
            [{"a", "c"}, {"b"}],
        ),
        ([customer("a", phone="+15555555555"), customer("b", phone="+15555555555")], [{"a"}, {"b"}]),
        ([customer("a"), customer("b")], [{"a"}, {"b"}]),  # the same name is nobody
    ],
)
def test_who_is_who(origin, records, expected, together):
    if together:
        arrive(origin, *records)
    else:
        for record in records:
            arrive(origin, record)
    assert sorted(people().values(), key=min) == expected


def test_a_known_record_keeps_its_persona_when_its_phone_changes(origin):
    arrive(origin, customer("a", phone=PHONE))
    before = Persona.unscoped.get()
    arrive(origin, customer("a", phone=PHONE2, version=2))
    after = Persona.unscoped.get()
    assert (after.pk, after.phone) == (before.pk, PHONE2)
    # The old number still finds him: a card at home may bear it.
    assert set(Identifier.unscoped.values_list("value", flat=True)) == {PHONE, PHONE2}


def test_an_invalid_phone_never_replaces_a_good_one(origin):
    arrive(origin, customer("a", phone=PHONE))
    arrive(origin, customer("a", phone="", phone_raw="none", first_name="Bea", version=2))
    persona = Persona.unscoped.get()
    assert (persona.phone, persona.first_name) == (PHONE, "Bea")


def test_joins_who_signed_up_with_us(origin):
    persona = make_persona(origin.account, phone=PHONE)
    arrive(origin, customer("a", phone=PHONE))
    assert Source.unscoped.get().persona == persona


def test_follows_the_merges_of_the_pos(origin):
    arrive(origin, customer("a", phone=PHONE))
    arrive(origin, customer("b", phone=PHONE2, merged_into="a"))
    assert people() == {"a": {"a", "b"}}


def test_a_shared_phone_identifies_nobody(origin):
    arrive(origin, customer("a", phone=PHONE))
    Identifier.unscoped.update(shared=True)
    arrive(origin, customer("b", phone=PHONE))
    assert sorted(people().values(), key=min) == [{"a"}, {"b"}]


def test_accounts_do_not_meet(origin):
    other = make_origin(make_account("Other"))
    arrive(origin, customer("a", phone=PHONE))
    arrive(other, customer("a", phone=PHONE))
    assert Persona.unscoped.count() == 2


def test_the_number_of_statements_is_fixed(origin, django_assert_max_num_queries):
    landed = land_customers(origin, *[customer(f"c{n}", phone=f"+1604555{n:04}") for n in range(100, 300)])
    with django_assert_max_num_queries(12):  # eleven, and ANALYZE now and then while tables grow
        matching.match(account_id=origin.account_id, customer_ids=landed.touched, now=NOON)


def in_threads(*steps):
    """Run each step in a thread of its own, with a connection of its own."""
    failures = []

    def run(step):
        try:
            step()
        except Exception as error:
            failures.append(error)
        finally:
            connections.close_all()

    threads = [threading.Thread(target=run, args=[step]) for step in steps]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    return failures


@pytest.mark.django_db(transaction=True)
def test_somebody_else_takes_the_phone_meanwhile():
    """A sign-up commits between our look and our write: the page is told to start again, and then joins him."""
    account = make_account()
    origin = make_origin(account)
    landed = land_customers(origin, customer("a", phone=PHONE))
    look, taken = threading.Event(), threading.Event()
    original = matching._decide

    def page():
        def decide(*args):
            look.set()
            taken.wait(60)
            return original(*args)

        matching._decide = decide
        try:
            with transaction.atomic(), pytest.raises(matching.IdentityRace):
                matching.match(account_id=account.pk, customer_ids=landed.touched, now=NOON)
                raise AssertionError
        finally:
            matching._decide = original

    def sign_up():
        look.wait(60)
        make_persona(account, phone=PHONE)
        taken.set()

    assert not in_threads(page, sign_up)


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("locked", [True, False], ids=["locked", "control: without the lock"])
def test_a_sale_and_its_customer_land_at_the_same_moment(locked):
    """Each page's transaction is open when the other one looks. Without the origin's lock nobody joins the two."""
    account = make_account()
    origin = make_origin(account)
    both = threading.Barrier(2)

    def page(record, land):
        def step():
            with transaction.atomic():
                if locked:
                    landing.lock_origin(origin.pk)
                landed = land(origin, record)
                sink().landed(Batch(account.pk, origin.pk, type(record), landed.new, [], NOON))
                if not locked:
                    both.wait(60)

        return step

    failures = in_threads(
        page(customer("c", phone=PHONE), land_customers), page(sale("s", customer_id="c"), land_sales)
    )
    assert not failures
    joined = SaleState.unscoped.filter(persona__isnull=False).count()
    assert joined == (1 if locked else 0)
