"""The outbox when answers get lost, processes die and several work at once: nothing doubles and nothing is lost."""

import threading

import pytest
from django.db import connections
from django.utils import timezone

from integrations import outbox, services
from integrations.kit import client as http
from integrations.models import Credential, OutboundWrite
from loyalty.models import Persona, Source

from .writing import counts, deliver_due, due_now, in_pos, ready, sign_up, the_write

pytestmark = pytest.mark.django_db

CREATE = "/crm/v1/companies(501200)/customerfull"
SEARCH = "/crm/v1/companies(501200)/search"


@pytest.fixture
def on(cova):
    ready(cova)
    return cova


@pytest.fixture
def impatient(monkeypatch):
    """We wait for an answer half a second, not 25."""
    monkeypatch.setattr(http, "TIMEOUTS_S", (2, 0.5))


@pytest.mark.parametrize("lost", ["lost", "cut", "slow"])
def test_an_answer_that_was_lost_is_looked_for(on, impatient, lost):
    """The POS created the shopper and we did not hear of it: nothing is sent again until it was looked for."""
    persona = sign_up(on.account, 1)
    on.fault(lost, match=CREATE, method="POST", **({"seconds": 1.5} if lost == "slow" else {}))
    assert deliver_due() == 0
    write = the_write()
    assert write.state == "waiting" and write.asked_at and write.payload["phone"] == "+16047770001"
    assert (write.attempts, len(in_pos(on, phone="6047770001"))) == (1, 1)
    # Too early to look: whatever the POS is still doing must have ended.
    OutboundWrite.unscoped.update(next_try_at=timezone.now())
    Credential.unscoped.update(writes_after=None)
    calls = len(on.calls())
    deliver_due()
    assert len(on.calls()) == calls and "looked for" in the_write().message
    due_now()
    assert deliver_due() == 1
    [line] = in_pos(on, phone="6047770001")
    assert (the_write().state, the_write().external_id, the_write().payload) == ("sent", line[0], {})
    assert Source.unscoped.get(customer__external_id=line[0]).persona_id == persona.pk


def test_an_answer_that_was_lost_is_found_though_the_search_does_not_know_it_yet(cova):
    cova.control("seed", customers=20, sales=0, locations=2, seed=7, days=20, rate=0, search_lag_s=60)
    ready(cova)
    sign_up(cova.account, 1)
    cova.fault("lost", match=CREATE, method="POST")
    deliver_due()
    due_now()
    assert deliver_due() == 1
    assert the_write().state == "sent"
    assert len(in_pos(cova, phone="6047770001")) == 1


def test_a_time_out_before_the_pos_acted_ends_in_one(on, impatient):
    sign_up(on.account, 1)
    on.fault("timeout", match=CREATE, method="POST", seconds=1)
    deliver_due()
    assert in_pos(on, phone="6047770001") == []
    due_now()
    assert deliver_due() == 1
    assert len(in_pos(on, phone="6047770001")) == 1


class Killed(BaseException):
    """The process is gone: nothing of ours runs any more."""


def _at_claim(monkeypatch):
    monkeypatch.setattr(outbox.Batch, "work", _die)


def _before_look(monkeypatch):
    monkeypatch.setattr(outbox.Batch, "_make", _die)


def _after_look(monkeypatch):
    monkeypatch.setattr(outbox.Batch, "_create", _die)


def _after_asked(monkeypatch):
    from integrations.cova.writers import PushCustomer

    monkeypatch.setattr(PushCustomer, "create", staticmethod(_die))


def _after_the_answer(monkeypatch):
    from integrations.cova.writers import PushCustomer

    create = PushCustomer.create
    monkeypatch.setattr(PushCustomer, "create", staticmethod(lambda *given: _die(create(*given))))


def _before_commit(monkeypatch):
    from aiqsync.sync import LoyaltySink

    monkeypatch.setattr(LoyaltySink, "landed", _die)


def _after_commit(monkeypatch):
    monkeypatch.setattr(outbox.Batch, "_answered", lambda self: self.ended and _die())


def _die(*_, **__):
    raise Killed


SEAMS = [_at_claim, _before_look, _after_look, _after_asked, _after_the_answer, _before_commit, _after_commit]


@pytest.mark.parametrize("seam", SEAMS, ids=[seam.__name__.strip("_") for seam in SEAMS])
def test_killed_at_each_step_nothing_doubles_and_nothing_is_lost(on, monkeypatch, seam):
    persona = sign_up(on.account, 1)
    with monkeypatch.context() as patched:
        seam(patched)
        with pytest.raises(Killed):
            deliver_due()
    if seam is not _after_commit:
        assert the_write().state == "sending"
        assert deliver_due() == 0  # its lease still runs
    asked = the_write().asked_at
    assert bool(asked) == (seam in (_after_asked, _after_the_answer, _before_commit))
    for _ in range(3):
        due_now()
        deliver_due()
    [line] = in_pos(on, phone="6047770001")
    assert (the_write().state, the_write().external_id) == ("sent", line[0])
    assert Source.unscoped.get(customer__external_id=line[0]).persona_id == persona.pk
    assert Persona.unscoped.filter(phone="+16047770001").count() == 1


# Order, and several at once


def test_writes_of_one_shopper_go_out_in_their_order(on):
    persona = sign_up(on.account, 1)
    later = OutboundWrite.unscoped.create(
        account=on.account, origin=on.credential.origin, writer="customer", key="later", subject=str(persona.contact_id)
    )
    first = OutboundWrite.unscoped.exclude(pk=later.pk).get()
    on.fault("500", match=SEARCH)
    deliver_due()
    due_now(pk=later.pk)
    deliver_due()  # the first waits for its next try, and the later one for the first
    later.refresh_from_db()
    assert (later.state, later.attempts) == ("waiting", 0)
    OutboundWrite.unscoped.filter(pk=first.pk).update(state="failed")
    due_now()
    deliver_due()
    later.refresh_from_db()
    assert later.state == "waiting"
    OutboundWrite.unscoped.filter(pk=first.pk).update(state="given_up")
    due_now()
    deliver_due()
    later.refresh_from_db()
    assert later.state == "sent"


@pytest.mark.django_db(transaction=True)
def test_several_dispatchers_and_workers_at_once(on, monkeypatch):
    """Handed out, delivered twice each, all at once: each is created once."""
    monkeypatch.setattr(outbox, "BATCH", 4)
    for n in range(24):
        sign_up(on.account, n)
    errors: list[BaseException] = []

    def dispatch_and_work() -> None:
        try:
            for _ in range(12):
                handed: list[tuple[int, str]] = []
                services.dispatch_writes(enqueue=lambda origin, token: handed.append((origin, token)))  # noqa: B023
                twice = [threading.Thread(target=work, args=one) for one in handed * 2]
                for thread in twice:
                    thread.start()
                for thread in twice:
                    thread.join()
        except BaseException as error:
            errors.append(error)
        finally:
            connections.close_all()

    def work(origin: int, token: str) -> None:
        try:
            services.run_writes(origin_id=origin, token=token)
        except BaseException as error:
            errors.append(error)
        finally:
            connections.close_all()

    threads = [threading.Thread(target=dispatch_and_work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    while deliver_due():
        pass
    assert counts(on) == {"sent": 24}
    for n in range(24):
        assert len(in_pos(on, phone=f"604777{n:04d}")) == 1
