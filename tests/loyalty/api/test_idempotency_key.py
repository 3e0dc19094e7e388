"""`Idempotency-Key`: the effect once, the same bytes to whoever repeats, whatever happens in between."""

import threading
from datetime import timedelta

import pytest
from django.db import OperationalError, connection, transaction
from django.utils import timezone
from psycopg.errors import DeadlockDetected
from rest_framework.response import Response

from loyalty import erasure, idempotency, sql
from loyalty.api import once, persona_views, urls
from loyalty.api.base import TillView
from loyalty.models import IdempotentCall, Persona, Redemption
from tests.factories import make_account, make_discount
from tests.loyalty import race

from .till import Till, sentence

REVERT = "/api/v2/redemptions/{}/revert"
KEY = {"Idempotency-Key": "k-1"}


def _fails():
    raise OperationalError("deadlock detected") from DeadlockDetected()


@pytest.fixture
def taken(till):
    """A redemption of 100 points of a till."""
    discount = make_discount(till.account, points=100)
    return till.data("PUT", till.url(discount) + "/T1")["redemptionID"]


def revert(till, taken, body=None, key="k-1", **options):
    return till.call("POST", REVERT.format(taken), body or {}, headers={"Idempotency-Key": key}, **options)


def sign_up(till, key="k-1", **fields):
    return till.call("POST", "/api/v2/loyalty", {"mobilePhone": "604 555 0199"} | fields,
                     headers={"Idempotency-Key": key})  # fmt: skip


class TestRepeated:
    def test_the_bytes_and_the_effect_once(self, till, taken):
        first = revert(till, taken, {"points": 40})
        again = revert(till, taken, {"points": 40})
        assert first.status_code == again.status_code == 200
        assert again.content == first.content and again["Content-Type"] == first["Content-Type"] == "application/json"
        assert "Idempotent-Replayed" not in first and again["Idempotent-Replayed"] == "true"
        assert till.balance == 940

    def test_another_key_is_another_call(self, till, taken):
        revert(till, taken, {"points": 40}, key="a")
        revert(till, taken, {"points": 40}, key="b")
        assert till.balance == 980

    def test_the_answer_is_that_of_then(self, till, taken):
        """What has happened since changes nothing of it."""
        first = revert(till, taken, {"points": 40})
        till.give(500)
        assert revert(till, taken, {"points": 40}).content == first.content

    def test_a_refusal_is_answered_alike(self, till, taken):
        first = revert(till, taken, {"points": 4000})
        till.give(5000)
        again = revert(till, taken, {"points": 4000})
        assert first.status_code == again.status_code == 400 and again.content == first.content
        assert again["Idempotent-Replayed"] == "true"

    def test_without_the_header_nothing_is_kept(self, till, taken):
        till.data("POST", "/api/v2/loyalty", {"mobilePhone": "604 555 0199"})
        assert not IdempotentCall.unscoped.exists()

    def test_a_call_that_reads_keeps_nothing(self, till):
        for method, address, body in (("POST", "/api/v2/wallet", {"phone": till.persona.phone}),
                                      ("GET", f"/api/v2/wallet/{till.persona.phone}", None),
                                      ("POST", f"/api/v2/loyalty/lookup/{till.persona.phone}", {})):  # fmt: skip
            till.data(method, address, body, headers=KEY)
        assert not IdempotentCall.unscoped.exists()

    def test_every_call_that_changes_something_knows_it(self):
        """A route's POST or PUT is either declared to read, or its answer is kept."""
        views = {p.callback.cls for p in urls.urlpatterns if issubclass(getattr(p.callback, "cls", object), TillView)}
        reading = {view.__name__ for view in views if view.reads}
        assert reading == {"WalletBody", "LoyaltyLookup", "Refer", "ViewWallet", "ViewContactWallet"}


class TestAnotherCall:
    @pytest.mark.parametrize("other", [{"points": 41}, {"points": 40, "note": ""}])
    def test_another_body(self, till, taken, other):
        revert(till, taken, {"points": 40})
        assert "another call" in sentence(revert(till, taken, other), 422)
        assert till.balance == 940

    def test_another_address(self, till, taken):
        revert(till, taken)
        assert "another call" in sentence(sign_up(till), 422)
        assert Persona.unscoped.filter(account=till.account).count() == 1

    def test_another_query(self, till, taken):
        revert(till, taken)
        response = till.call("POST", REVERT.format(taken) + "?x=1", {}, headers=KEY)
        assert "another call" in sentence(response, 422)

    def test_another_account_has_its_own_keys(self, till, taken):
        make_account("Third Co")
        other = Till(points=None, account=make_account("Other Co"))
        revert(till, taken)
        assert sign_up(other).status_code == 200


class TestKeys:
    @pytest.mark.parametrize("key", ["", " ", "x" * 256, "a\tb", "schlüssel"])
    def test_one_that_cannot_be_kept(self, till, taken, key):
        assert "Idempotency-Key" in sentence(revert(till, taken, key=key), 400)
        assert till.balance == 900

    @pytest.mark.parametrize("key", ["1", "x" * 255, '"8e03978e-40d5-43dd-bc93-6894a57f9324"', "a b"])
    def test_one_that_can(self, till, taken, key):
        assert revert(till, taken, key=key).status_code == 200
        assert IdempotentCall.unscoped.get().key == key

    def test_thirty_days(self, till, taken):
        revert(till, taken, {"points": 40})
        now = timezone.now()
        IdempotentCall.unscoped.update(at=now - timedelta(days=29))
        assert idempotency.prune(now=now) == 0
        assert revert(till, taken, {"points": 40})["Idempotent-Replayed"] == "true"
        IdempotentCall.unscoped.update(at=now - timedelta(days=30, seconds=1))
        assert sign_up(till).status_code == 200  # free again, also before the row has gone
        assert idempotency.prune(now=now) == 0
        assert idempotency.prune(now=now + timedelta(days=31)) == 1


class TestFailures:
    def test_a_failure_of_ours_is_not_kept(self, till, monkeypatch):
        def broken(*args, **kwargs):
            Persona.unscoped.filter(pk=till.persona.pk).update(first_name="Broken")
            raise RuntimeError("no")

        with monkeypatch.context() as patched:
            patched.setattr(persona_views.personas, "sign_up", broken)
            sentence(sign_up(till), 500)
        till.persona.refresh_from_db()
        assert till.persona.first_name == "Ada"
        assert sign_up(till).status_code == 200

    def test_what_says_try_again_is_not_kept(self, till, monkeypatch):
        def busy(view, request):
            Persona.unscoped.filter(pk=till.persona.pk).update(first_name="Busy")
            return Response({"errors": [{"message": "busy"}], "code": 503, "success": False}, status=503,
                            headers={"Retry-After": "5"})  # fmt: skip

        with monkeypatch.context() as patched:
            patched.setattr(persona_views.Loyalty, "post", busy)
            response = sign_up(till)
        assert response.status_code == 503 and response["Retry-After"] == "5"
        till.persona.refresh_from_db()
        assert till.persona.first_name == "Ada"
        assert "Idempotent-Replayed" not in sign_up(till)

    def test_two_that_wait_for_each_other(self, till, monkeypatch):
        """PostgreSQL ends one of them: it is done again, whole, and once."""
        real, calls = persona_views.personas.sign_up, []

        def deadlocked(**kwargs):
            calls.append(1)
            done = real(**kwargs)
            if len(calls) < once.TRIES:
                raise OperationalError("deadlock detected") from DeadlockDetected()
            return done

        monkeypatch.setattr(persona_views.personas, "sign_up", deadlocked)
        assert sign_up(till).status_code == 200 and len(calls) == once.TRIES
        assert Persona.unscoped.filter(account=till.account).count() == 2
        calls.clear()
        monkeypatch.setattr(once, "TRIES", 2)
        monkeypatch.setattr(persona_views.personas, "sign_up", lambda **kwargs: calls.append(1) or _fails())
        assert sign_up(till, key="k-2")["Retry-After"] and len(calls) == 2

    def test_the_effect_goes_when_the_answer_cannot_be_kept(self, till, taken, monkeypatch):
        """Key row and effect are one transaction."""

        def full(**kwargs):
            raise OperationalError("disk full")

        with monkeypatch.context() as patched:
            patched.setattr(idempotency, "keep", full)
            assert revert(till, taken).status_code == 503
        assert till.balance == 900
        assert revert(till, taken).status_code == 200 and till.balance == 1000


def test_statements(till, taken, django_assert_num_queries):
    """Key look-up, savepoints, hold, revert, keep; a repeat: look-up, hold."""
    revert(till, taken, {"points": 1}, key="warm")
    with django_assert_num_queries(10) as first:
        revert(till, taken, {"points": 40})
    assert len([q for q in first.captured_queries if "SAVEPOINT" not in q["sql"]]) == 4
    with django_assert_num_queries(4) as again:
        revert(till, taken, {"points": 40})
    assert len([q for q in again.captured_queries if "SAVEPOINT" not in q["sql"]]) == 2


def test_after_an_erasure_the_answer_is_a_strangers(till):
    """The key stays used, so the repeat does not make the person anew."""
    first = sign_up(till, email="eve@example.test")
    made = Persona.unscoped.get(account=till.account, phone="+16045550199")
    assert str(made.contact_id).encode() in first.content
    erasure.erase(account_id=till.account.pk, persona_id=made.pk, user=None, now=timezone.now())
    again = sign_up(till, email="eve@example.test")
    assert sentence(again, 404) == "Contact not found"
    assert not Persona.unscoped.filter(phone="+16045550199").exists()
    assert str(made.contact_id) not in IdempotentCall.unscoped.get().body


@pytest.mark.django_db(transaction=True)
class TestAtOnce:
    def test_the_second_waits_and_is_told_the_same(self, till, taken):
        second = race.overlap(lambda: revert(till, taken, {"points": 40}), lambda: revert(till, taken, {"points": 40}))
        assert second.waited
        answer = second.answer()
        assert answer.status_code == 200 and answer["Idempotent-Replayed"] == "true"
        assert till.balance == 940

    def test_without_the_lock_it_would_not_be(self, till):
        """The control: two sign-ups by one key, each with its effect; one of them then cannot be kept."""
        text = "\n".join(line for line in sql.text("once").splitlines() if not line.endswith(race.LOCK))
        with race.installed(text) as schema:
            second = race.overlap(lambda: sign_up(till), lambda: sign_up(till), schema=schema)
            answer = second.answer()
        assert answer.status_code != 200 or "Idempotent-Replayed" not in answer

    def test_still_under_way_after_two_seconds(self, till, taken):
        held, done = threading.Event(), threading.Event()

        def holder():
            with transaction.atomic():
                idempotency.hold(account_id=till.account.pk, key="k-1", now=timezone.now())
                held.set()
                done.wait(60)
            connection.close()

        thread = threading.Thread(target=holder)
        thread.start()
        try:
            assert held.wait(60)
            response = revert(till, taken)
        finally:
            done.set()
            thread.join(60)
        assert "under way" in sentence(response, 409) and response["Retry-After"] == "2"
        assert till.balance == 900
        assert revert(till, taken).status_code == 200

    def test_a_redemption_by_ten_at_once(self, till):
        url = till.url(make_discount(till.account, points=100)) + "/T9"
        answers = race.at_once([lambda: till.call("PUT", url, headers=KEY) for _ in range(10)])
        assert {answer.status_code for answer in answers} == {200} and len({a.content for a in answers}) == 1
        assert till.balance == 900 and Redemption.unscoped.count() == 1
