"""Codes: five minutes, five tries, once; never readable afterwards."""

import itertools
from datetime import UTC, datetime, timedelta

import pytest
from django.db import connection

from loyalty import consent, messages, pins
from loyalty.models import Message, Pin, Programme

from ..factories import make_account, make_persona
from .race import at_once

NOW = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
PHONE = "+16045550142"


def shopper(**fields):
    account = make_account()
    return make_persona(account, **{"phone": PHONE, "email": "ada@shop.test"} | fields)


def code_of(persona) -> str:
    body = Message.unscoped.filter(persona=persona, purpose="pin").latest("id").body
    return next(word for word in body.split() if word.isdigit() and len(word) == 4)


@pytest.fixture
def ada(db):
    return shopper()


def test_a_sent_code_is_good_once(ada):
    sent = pins.send(persona=ada, now=NOW)
    assert (sent.channel, sent.to) == ("sms", "…0142")
    assert pins.check(persona=ada, code=code_of(ada), now=NOW) == "pin"
    with pytest.raises(pins.WrongPin):
        pins.check(persona=ada, code=code_of(ada), now=NOW)


def test_for_five_minutes(ada):
    pins.send(persona=ada, now=NOW)
    with pytest.raises(pins.WrongPin):
        pins.check(persona=ada, code=code_of(ada), now=NOW + timedelta(minutes=5))


def test_for_five_tries(ada):
    pins.send(persona=ada, now=NOW)
    right = code_of(ada)
    wrong = f"{(int(right) + 1) % 10_000:04d}"
    for left in (4, 3, 2, 1):
        with pytest.raises(pins.WrongPin, match=f"{left} tr"):
            pins.check(persona=ada, code=wrong, now=NOW)
    for code in (wrong, right):
        with pytest.raises(pins.WrongPin, match="Too many"):
            pins.check(persona=ada, code=code, now=NOW)


def test_a_new_code_buys_no_new_tries(ada):
    pins.send(persona=ada, now=NOW)
    for _ in range(3):
        with pytest.raises(pins.WrongPin):
            pins.check(persona=ada, code="x", now=NOW)
    pins.send(persona=ada, now=NOW + timedelta(seconds=31))
    with pytest.raises(pins.WrongPin, match="1 try"):
        pins.check(persona=ada, code="x", now=NOW + timedelta(seconds=31))


def test_a_new_code_ends_the_one_before(ada):
    pins.send(persona=ada, now=NOW)
    first = code_of(ada)
    later = NOW + timedelta(seconds=31)
    pins.send(persona=ada, now=later)
    if first != code_of(ada):
        with pytest.raises(pins.WrongPin):
            pins.check(persona=ada, code=first, now=later)
    assert pins.check(persona=ada, code=code_of(ada), now=later) == "pin"


def test_not_twice_in_half_a_minute(ada):
    pins.send(persona=ada, now=NOW)
    with pytest.raises(pins.NotSent, match="in 30 seconds|in 29 seconds"):
        pins.send(persona=ada, now=NOW + timedelta(seconds=1))


def test_somebody_elses_code_is_wrong(ada):
    ben = make_persona(ada.account, phone="+16045550143")
    pins.send(persona=ben, now=NOW), pins.send(persona=ada, now=NOW)
    with pytest.raises(pins.WrongPin):
        pins.check(persona=ben, code=code_of(ada) if code_of(ada) != code_of(ben) else "x", now=NOW)


def test_stop_sends_it_by_mail_and_without_mail_says_what_to_do(ada):
    consent.record(account_id=ada.account_id, channel="sms", address=PHONE, act="stop", source="shopper", now=NOW)
    assert pins.send(persona=ada, now=NOW).to == "a…@shop.test"
    bare = shopper(phone=PHONE, email="")
    consent.record(account_id=bare.account_id, channel="sms", address=PHONE, act="stop", source="shopper", now=NOW)
    with pytest.raises(pins.NotSent, match="sent STOP"):
        pins.send(persona=bare, now=NOW)
    with pytest.raises(pins.NotSent, match="no phone and no e-mail"):
        pins.send(persona=make_persona(ada.account), now=NOW)


def test_the_master_pin_and_its_tries(ada):
    Programme.unscoped.filter(account=ada.account).update(master_pin=pins.master_digest(ada.account_id, "24681357"))
    assert pins.check(persona=ada, code="24681357", now=NOW) == "master"
    for _ in range(5):
        with pytest.raises(pins.WrongPin):
            pins.check(persona=ada, code="0000", now=NOW)
    with pytest.raises(pins.WrongPin, match="Too many"):
        pins.check(persona=ada, code="24681357", now=NOW)
    assert pins.check(persona=ada, code="24681357", now=NOW + timedelta(minutes=5)) == "master"


@pytest.mark.parametrize("code", ["", " ", "٤٤٤٤", "x" * 500, "é"])
def test_without_a_master_pin_nothing_opens(ada, code):
    with pytest.raises(pins.WrongPin):
        pins.check(persona=ada, code=code, now=NOW)


def test_the_code_a_wallet_shows_counts_only_where_it_is_shown(ada):
    def shown(at):
        return pins.shown(account_id=ada.account_id, persona_id=ada.pk, now=at)

    minutes, code = timedelta(minutes=1), shown(NOW)
    with pytest.raises(pins.WrongPin):
        pins.check(persona=ada, code=code, now=NOW)
    Programme.unscoped.filter(account=ada.account).update(show_pin=True)
    assert pins.check(persona=ada, code=code, now=NOW + 4 * minutes) == "shown"
    assert pins.check(persona=ada, code=code, now=NOW + 9 * minutes) == "shown"
    # Of ten thousand codes the next, or the one after, is the same now and then: that one is over later.
    ends = (NOW + 5 * n * minutes for n in itertools.count(2))
    over = next(at for at in ends if code not in (shown(at), shown(at - 5 * minutes)))
    with pytest.raises(pins.WrongPin):
        pins.check(persona=ada, code=code, now=over)


def test_no_code_can_be_read_afterwards(ada):
    pins.send(persona=ada, now=NOW)
    code = code_of(ada)
    messages.deliver_due(now=NOW)
    messages.deliver_due(now=NOW + timedelta(minutes=6))
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT (SELECT string_agg(body, '') FROM loyalty_message), (SELECT max(digest) FROM loyalty_pin)"
        )
        body, digest = cursor.fetchone()
    assert body == "" and code not in (body, digest) and len(digest) == 64


@pytest.mark.django_db(transaction=True)
def test_sixty_tries_at_once_are_five():
    ada = shopper()
    pins.send(persona=ada, now=NOW)
    codes = [f"{(int(code_of(ada)) + n) % 10_000:04d}" for n in range(1, 21)]
    answers = at_once([lambda code=code: pins.check(persona=ada, code=code, now=NOW) for code in codes])
    assert all(isinstance(one, pins.WrongPin) for one in answers)
    assert sum("left" in str(one) for one in answers) == 4 and Pin.unscoped.get(persona=ada).tries == 5
