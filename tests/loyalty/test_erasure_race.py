"""Removing a person while tills, pages, merges, sign-ups and lists are at it. Each race has its control."""

import threading
import time
from contextlib import nullcontext
from datetime import date

import pytest
from django.db import connection, transaction

from aiqsync.accounts.tenancy import acting_in
from integrations import landing
from integrations.kit.records import CustomerRecord
from integrations.sink import Batch, sink
from loyalty import addresses, audits, consent, erasure, ledger, merging, personas
from loyalty.models import ConsentState, Persona, Redemption, Wallet
from tests.factories import make_account, make_persona
from tests.records import NOON, customer

from .race import at_once, unlocked_functions, waiting
from .removed import DAY, EMAIL, PHONE, Somebody, everywhere

pytestmark = pytest.mark.django_db(transaction=True)


def met(first, late, schema="public", *, waits=True):
    """`first` in a transaction that stays open until `late` waits for it. Answers both, or the exceptions.

    `waits=False` for controls in which nobody may wait: then `first` commits when `late` is through.
    """
    held, through = threading.Event(), threading.Event()

    def after():
        held.wait(60)
        try:
            return late()
        finally:
            through.set()

    def before():
        with transaction.atomic():
            done = first()
            held.set()
            with connection.cursor() as cursor:
                for _ in range(3000):
                    if waiting(cursor) or through.is_set():
                        break
                    time.sleep(0.01)
                else:
                    raise AssertionError("nobody waited, and nobody got through")
            assert not waits or not through.is_set(), "nobody waited"
        return done

    return at_once([before, after], schema=schema)


@pytest.mark.parametrize("locked", [True, False], ids=["locked", "control"])
@pytest.mark.parametrize("first", ["redeem", "erase"])
def test_a_till_redeems_at_the_same_moment(first, locked):
    """Before it, the redemption is settled and the rest is forfeited; after it, there is nobody any more."""
    shop = Somebody()
    shop.give(500)
    acts = {"redeem": shop.redeem, "erase": shop.erase}
    order = [acts.pop(first), *acts.values()]
    with nullcontext("public") if locked else unlocked_functions() as schema:
        answers = met(*order, schema, waits=locked)
    redeemed, erased = answers if first == "redeem" else answers[::-1]
    right = not isinstance(erased, Exception) and (
        (first == "redeem" and not isinstance(redeemed, Exception) and erased.points == 550)
        or (first == "erase" and isinstance(redeemed, ledger.NotAvailable) and erased.points == 600)
    )
    assert right is locked, answers
    if locked:
        assert Wallet.unscoped.get(persona=shop.ada).balance == 0 and audits.violations() == []
        assert not Redemption.unscoped.filter(state="applied").exists()


def test_many_tills_and_returns_at_once():
    shop = Somebody()
    shop.give(1000)
    before = shop.redeem(n=0, order="T-0")

    def give_back():
        return ledger.revert(**shop.ids, redemption_public_id=before.redemption_id, now=NOON + DAY)

    calls = [lambda n=n: shop.redeem(n=1, order=f"T-{n}") for n in range(1, 6)] + [shop.erase, give_back, shop.erase]
    answers = at_once(calls)
    refusals = (ledger.NotAvailable, ledger.AlreadyUsed, ledger.UnknownRedemption)
    assert [one for one in answers if isinstance(one, Exception) and not isinstance(one, refusals)] == []
    assert sum(one.created for one in (answers[5], answers[7])) == 1
    assert Wallet.unscoped.get(persona=shop.ada).balance == 0 and audits.violations() == []


@pytest.mark.parametrize("locked", [True, False], ids=["locked", "control: the page without the origin's lock"])
def test_a_page_lands_another_record_of_hers_at_the_same_moment(locked):
    shop = Somebody()
    same = customer("c-two", phone=PHONE, email=EMAIL, birth_date=date(1990, 5, 4))

    def page():
        if locked:
            landing.lock_origin(shop.origin.pk)
        landed = landing.customers(account_id=shop.account.pk, origin_id=shop.origin.pk, records=[same])
        sink().landed(Batch(shop.account.pk, shop.origin.pk, CustomerRecord, landed.new, landed.changed, NOON))

    answers = met(page, shop.erase, waits=locked)
    assert not isinstance(answers[0], Exception) and not isinstance(answers[1], Exception), answers
    gone = everywhere(PHONE) == everywhere("c-two") == set() and audits.violations() == []
    assert gone is locked


def test_a_page_that_comes_after_it_lands_a_stub():
    shop = Somebody()

    def page():
        with transaction.atomic():
            landing.lock_origin(shop.origin.pk)
            landed = landing.customers(account_id=shop.account.pk, origin_id=shop.origin.pk, records=[shop.record])
            sink().landed(Batch(shop.account.pk, shop.origin.pk, CustomerRecord, landed.new, landed.changed, NOON))

    answers = met(shop.erase, page)
    assert answers[0].created and answers[1] is None
    assert everywhere(PHONE) == everywhere("c-ada") == set() and audits.violations() == []


class Pair:
    """Two people of an account without a POS: only the personas' own rows keep the verbs apart."""

    def __init__(self) -> None:
        self.account = make_account()
        self.ids = {"account_id": self.account.pk}
        self.ada = make_persona(self.account, phone=PHONE, email=EMAIL)
        self.eve = make_persona(self.account, phone="+16045550177", first_name="Eve")

    def merge(self):
        with acting_in(self.account.pk):
            return merging.merge(**self.ids, one_id=self.ada.pk, other_id=self.eve.pk, now=NOON)

    def erase(self):
        with acting_in(self.account.pk):
            return erasure.erase(**self.ids, persona_id=self.ada.pk, user=None, now=NOON + DAY)

    def sign_up(self):
        with acting_in(self.account.pk):
            return personas.sign_up(
                **self.ids, region="CA", phone=PHONE, email="new@shop.test", from_date=date(2026, 1, 1), now=NOON,
                enrol_as=None,
            )  # fmt: skip


@pytest.mark.parametrize("locked", [True, False], ids=["locked", "control"])
def test_a_merge_is_under_way(locked, monkeypatch):
    pair = Pair()
    if not locked:
        monkeypatch.setattr(erasure, "LOCK", "")
    merged, erased = met(pair.merge, pair.erase)
    assert not isinstance(merged, Exception) and not isinstance(erased, Exception), (merged, erased)
    whole = not Persona.unscoped.filter(erased_at=None).exists() and audits.violations() == []
    assert whole is locked
    assert (everywhere("+16045550177") == set()) is locked


def test_a_merge_that_comes_after_it_is_refused():
    pair = Pair()
    erased, merged = met(pair.erase, pair.merge)
    assert erased.created and isinstance(merged, merging.CannotMerge)
    assert Persona.unscoped.get(pk=pair.eve.pk).erased_at is None and audits.violations() == []


def test_a_sign_up_that_comes_before_it_goes_with_the_person():
    pair = Pair()
    signed, erased = met(pair.sign_up, pair.erase)
    assert signed.persona.pk == pair.ada.pk and erased.created
    assert everywhere(PHONE) == everywhere("new@shop.test") == set() and audits.violations() == []


@pytest.mark.parametrize("asked", [True, False], ids=["asked", "control: the list is not asked"])
def test_a_sign_up_that_comes_after_it_is_refused(asked, monkeypatch):
    pair = Pair()
    if not asked:
        monkeypatch.setattr(personas, "refuse_removed", lambda *_: None)
    erased, signed = met(pair.erase, pair.sign_up)
    assert erased.created
    assert isinstance(signed, personas.RemovedOnRequest) is asked, signed
    assert (everywhere(PHONE) == set()) is asked


@pytest.mark.parametrize("careful", [True, False], ids=["careful", "control: looked at once"])
def test_a_list_of_consents_comes_at_the_same_moment(careful, monkeypatch):
    """What is said while the address is being taken out is said to its digest."""
    pair = Pair()
    if not careful:
        # The address's row as it was looked for before there were erasures.
        def once(account_id, channel, address, now):
            rows = ConsentState.unscoped.select_for_update()
            with connection.cursor() as cursor:
                cursor.execute(
                    """INSERT INTO loyalty_consentstate (account_id, channel, address, state, requests, since)
                       VALUES (%s, %s, %s, 'unknown', 0, %s) ON CONFLICT DO NOTHING""",
                    [account_id, channel, address, now],
                )
            return rows.get(account_id=account_id, channel=channel, address=address)

        careful_held = consent._held
        late = threading.local()
        monkeypatch.setattr(
            consent, "_held", lambda *given: (once if getattr(late, "own", False) else careful_held)(*given)
        )

    def record():
        if not careful:
            late.own = True
        return consent.record(
            **pair.ids, channel="sms", address=PHONE, act="import_in", source="import", now=NOON + DAY
        )

    erased, said = met(pair.erase, record)
    assert erased.created
    assert (said == "out") is careful
    assert (everywhere(PHONE) == set()) is careful
    if careful:
        kept = addresses.kept(pair.account.pk, "sms", PHONE)
        assert ConsentState.unscoped.get(channel="sms", address__in=[kept, PHONE]).address == kept
