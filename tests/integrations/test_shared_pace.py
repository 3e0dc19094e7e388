"""One row a card shares a token's allowance out among processes: what the database sees of it."""

import threading

import pytest
from django.db import connections

from integrations import pace, registry
from integrations.models import CallAllowance

CARD = registry.get("clover")


def ask(me, wanted=5, busy=0, token="t"):
    return pace.ask(card=CARD, token=token, me=me, wanted=wanted, busy=busy).slots


@pytest.mark.django_db
def test_who_comes_second_gets_what_the_first_gives_up():
    assert ask("a") == 5 and ask("b") == 0
    assert ask("a") == 3 and ask("b") == 2
    ask("a", wanted=0)
    assert ask("b") == 5


@pytest.mark.django_db
def test_all_tokens_together_stay_within_the_apps():
    assert [ask("a", token="1"), ask("b", token="2"), ask("c", token="3")] == [5, 5, 0]


@pytest.mark.django_db
def test_the_token_is_not_written_down():
    pace.lease_for(CARD, "11111111-2222-4333-8444-555555555555")(5, 0)
    (kept,) = CallAllowance.objects.get().holders.items()
    assert "11111111" not in str(kept) and kept[1]["slots"] == 5


@pytest.mark.django_db
def test_who_wrote_meanwhile_is_not_overwritten(monkeypatch):
    """Between reading and writing another process takes the slots: this one looks again."""
    real, met = pace.share_out, []

    def slowly(holders, **asked):
        if not met:
            met.append(asked["me"])
            assert ask("other") == 5
        return real(holders, **asked)

    monkeypatch.setattr(pace, "share_out", slowly)
    assert ask("a") == 0 and met == ["a"]


@pytest.mark.django_db(transaction=True)
def test_many_at_once_never_hold_more_than_there_is():
    held, lock = {}, threading.Lock()

    def process(me):
        try:
            for _ in range(12):
                slots = ask(me)
                with lock:
                    held[me] = slots
        finally:
            connections.close_all()

    threads = [threading.Thread(target=process, args=(f"p{n}",)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    kept = CallAllowance.objects.get().holders
    assert sum(one["slots"] for one in kept.values()) <= 5
    assert {name: one["slots"] for name, one in kept.items()} == held
