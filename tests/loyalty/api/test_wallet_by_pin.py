"""The wallet by PIN: what is sent where, what opens the wallet, and what does not."""

from datetime import timedelta

import pytest
from django.utils import timezone

from aiqsync.accounts.models import ApiKey, AuditLine
from aiqsync.accounts.tenancy import acting_in
from loyalty import consent, erasure, messages, pins, programme
from loyalty.models import IdempotentCall, Identifier, Message, Persona, Pin, PinUse, Programme, UnmatchedCall
from stores.models import StoreKey
from tests.factories import make_account, make_discount, make_persona, make_store
from tests.loyalty import race

from .till import PHONE, Till, sentence

EMAIL = "ada@example.test"
MASTER = "24681357"
VERIFY, VIEW = "/api/v2/verify/wallet", "/api/v2/view/wallet"
VERIFY_CONTACT, VIEW_CONTACT = "/api/v2/verify/contact/wallet", "/api/v2/view/contact/wallet"


def code_of(persona) -> str:
    body = Message.unscoped.filter(persona=persona, purpose="pin").latest("id").body
    return next(word for word in body.split() if word.isdigit() and len(word) == 4)


def wrong_for(code: str, by: int = 1) -> str:
    return f"{(int(code) + by) % 10_000:04d}"


def age(**by) -> None:
    """Move what was sent into the past."""
    for pin in Pin.unscoped.all():
        ago = timedelta(**by)
        Pin.unscoped.filter(pk=pin.pk).update(created_at=pin.created_at - ago, expires_at=pin.expires_at - ago)


def set_master(till) -> None:
    with acting_in(till.account.pk):
        programme.set_master_pin(account_id=till.account.pk, digits=MASTER)


def view(till, code, **options):
    return till.call("POST", VIEW, {"phone": PHONE, "code": code}, **options)


def verify(till, **options):
    return till.data("POST", VERIFY, {"phone": PHONE}, **options)


class TestVerify:
    def test_what_is_told(self, till):
        told = verify(till)
        now = timezone.now().timestamp()
        assert now + 295 < told.pop("expiresAt") <= now + 301
        assert told == {
            "contactID": str(till.persona.contact_id), "sent": True, "channel": "sms", "to": "…0142", "resendIn": 30,
            "message": "A code was sent to …0142 by text. It is good for 5 minutes.",
        }  # fmt: skip
        message = Message.unscoped.get()
        assert (message.channel, message.address, message.purpose) == ("sms", PHONE, "pin")

    def test_asked_again_within_half_a_minute(self, till):
        verify(till)
        age(seconds=20)
        told = verify(till)
        assert told["sent"] is False and 9 <= told["resendIn"] <= 11 and told["to"] == "…0142"
        assert Message.unscoped.count() == Pin.unscoped.count() == 1
        age(seconds=11)
        assert verify(till)["sent"] is True
        assert Message.unscoped.count() == 2 and Pin.unscoped.filter(closed_at=None).count() == 1

    def test_five_an_hour(self, till):
        for _ in range(5):
            assert verify(till)["sent"] is True
            age(minutes=2)
        response = till.call("POST", VERIFY, {"phone": PHONE})
        assert sentence(response, 429) == "5 codes were sent in an hour. Another can be sent in 50 minutes."
        assert 49 * 60 < int(response["Retry-After"]) <= 50 * 60
        assert till.refused(429, "POST", VERIFY_CONTACT, {"email": EMAIL})
        assert Message.unscoped.count() == 5
        other = make_persona(till.account, phone="+16045550188")
        assert till.data("POST", VERIFY, {"phone": other.phone})["sent"] is True
        age(minutes=50)
        assert verify(till)["sent"] is True

    def test_by_email(self, till):
        told = till.data("POST", VERIFY_CONTACT, {"email": " ADA@example.test "})
        assert (told["channel"], told["to"]) == ("email", "a…@example.test")
        assert Message.unscoped.get().address == EMAIL

    def test_the_phone_first_where_both_are_given(self, till):
        assert till.data("POST", VERIFY_CONTACT, {"phone": PHONE, "email": EMAIL})["channel"] == "sms"

    def test_nobodys_phone_beside_somebodys_email_gets_nothing(self, till):
        """Who names his own phone beside her e-mail would otherwise get her code."""
        till.data("POST", VERIFY_CONTACT, {"phone": "6045550111", "email": EMAIL})
        assert Message.unscoped.get().address in (PHONE, EMAIL)

    def test_a_second_phone_of_his_gets_it(self, till):
        Identifier.unscoped.create(account=till.account, persona=till.persona, kind="phone", value="+16045550177")
        told = till.data("POST", VERIFY, {"phone": "6045550177"})
        assert told["to"] == "…0177" and Message.unscoped.get().address == "+16045550177"
        assert verify(till)["to"] == "…0177"  # the one that was sent

    def test_stop_wins_and_the_email_is_said(self, till):
        _stop(till, "sms", PHONE)
        told = verify(till)
        assert (told["channel"], told["to"]) == ("email", "a…@example.test")
        assert told["message"].endswith("It did not go by text, because that address sent STOP.")
        messages.deliver_due(now=timezone.now())
        assert Message.unscoped.get().state == "sent"
        _stop(till, "email", EMAIL)
        age(minutes=1)
        assert "sent STOP" in till.refused(400, "POST", VERIFY, {"phone": PHONE})
        assert Message.unscoped.count() == 1

    def test_a_stop_after_it_was_queued_cancels_it(self, till):
        verify(till)
        _stop(till, "sms", PHONE)
        messages.deliver_due(now=timezone.now())
        assert Message.unscoped.get().state == "cancelled"

    @pytest.mark.parametrize(
        "body", [{}, {"phone": ""}, {"phone": None}, {"email": EMAIL}, {"phone": ["6045550142"]}, []]
    )
    def test_without_a_phone(self, till, body):
        assert till.refused(400, "POST", VERIFY, body)
        assert not Message.unscoped.exists()

    @pytest.mark.parametrize("address", [VERIFY, VERIFY_CONTACT])
    def test_nobody(self, till, address):
        for phone in ("6045550100", "12", "not a phone"):
            assert till.refused(404, "POST", address, {"phone": phone}) == "Contact not found"
        assert till.refused(404, "POST", VERIFY_CONTACT, {"email": "no@example.test"}) == "Contact not found"

    def test_removed_and_anothers(self, till):
        other = Till(account=make_account("Other Co"), points=None)
        assert other.refused(404, "POST", VERIFY, {"phone": PHONE}) == "Contact not found"
        Identifier.unscoped.all().delete()
        Persona.unscoped.update(erased_at=timezone.now(), phone="", email="")
        assert till.refused(404, "POST", VERIFY, {"phone": PHONE}) == "Contact not found"

    def test_repeated_by_its_key_sends_nothing_and_says_the_same(self, till):
        key = {"Idempotency-Key": "v-1"}
        first = till.call("POST", VERIFY, {"phone": PHONE}, headers=key)
        age(minutes=2)
        again = till.call("POST", VERIFY, {"phone": PHONE}, headers=key)
        assert again.content == first.content and again["Idempotent-Replayed"] == "true"
        assert Message.unscoped.count() == 1
        assert PHONE not in IdempotentCall.unscoped.get().body

    def test_too_many_is_not_kept_for_its_key(self, till):
        for _ in range(5):
            verify(till)
            age(minutes=2)
        key = {"Idempotency-Key": "v-2"}
        sentence(till.call("POST", VERIFY, {"phone": PHONE}, headers=key), 429)
        age(hours=1)
        assert verify(till, headers=key)["sent"] is True

    def test_a_read_key_sends_nothing(self, till):
        reading = Till(account=till.account, scope="read", points=None)
        assert "scope" in reading.refused(403, "POST", VERIFY, {"phone": PHONE})


class TestView:
    def test_the_wallet_of_4_1(self, till):
        make_discount(till.account)
        verify(till)
        told = view(till, code_of(till.persona)).json()["data"]
        plain = till.wallet()
        for one in (told, plain):
            assert abs(one.pop("asOf") - timezone.now().timestamp()) < 5
            for template in one["discountTemplates"]:
                assert template.pop("redemptionURL")
        assert told == plain and told["contactID"] == str(till.persona.contact_id)

    def test_once(self, till):
        verify(till)
        code = code_of(till.persona)
        assert view(till, code).status_code == 200
        assert "not right" in sentence(view(till, code), 400)

    def test_five_minutes(self, till):
        verify(till)
        age(minutes=5)
        assert "not right" in sentence(view(till, code_of(till.persona)), 400)

    def test_five_tries(self, till):
        verify(till)
        code = code_of(till.persona)
        for left in ("4 tries are", "3 tries are", "2 tries are", "1 try is"):
            assert sentence(view(till, wrong_for(code)), 400) == f"This code is not right. {left} left."
        for tried in (wrong_for(code), code):
            assert sentence(view(till, tried), 400).startswith("Too many wrong codes.")
        age(seconds=31)
        response = till.call("POST", VERIFY, {"phone": PHONE})  # another would be as dead
        assert sentence(response, 429).startswith("Too many wrong codes.") and 200 < int(response["Retry-After"]) < 300
        age(minutes=5)
        assert verify(till)["sent"] is True
        assert view(till, code_of(till.persona)).status_code == 200

    def test_a_number_has_lost_its_zeros(self, till, monkeypatch):
        monkeypatch.setattr(pins.secrets, "randbelow", lambda top: 42)
        verify(till)
        assert view(till, 42).status_code == 200

    @pytest.mark.parametrize("code", ["", None, "  "])
    def test_no_code_costs_no_try(self, till, code):
        verify(till)
        assert sentence(view(till, code), 400).startswith("code:")
        assert Pin.unscoped.get().tries == 0

    @pytest.mark.parametrize("code", ["12345678901234567890", "٤٤٤٤", "é", "0x1F", -1, 10**15, " 1 "])
    def test_odd_codes_are_wrong_codes(self, till, code):
        verify(till)
        assert sentence(view(till, code), 400)

    @pytest.mark.parametrize("code", [["1234"], {"a": 1}, True, 1.5, "1" * 21, "12\x00", "\ud800"])
    def test_what_is_no_code_is_refused_by_its_name_and_not_kept(self, till, code):
        assert sentence(view(till, code), 400)
        for kept in UnmatchedCall.unscoped.all():
            assert "1234" not in kept.body and "6045550142" not in kept.body

    def test_by_email(self, till):
        till.data("POST", VERIFY_CONTACT, {"email": EMAIL})
        told = till.data("POST", VIEW_CONTACT, {"email": EMAIL, "code": code_of(till.persona)})
        assert told["contactID"] == str(till.persona.contact_id)

    def test_somebody_elses_code(self, till, monkeypatch):
        bo = make_persona(till.account, phone="+16045550188")
        drawn = iter([1111, 2222])
        monkeypatch.setattr(pins.secrets, "randbelow", lambda top: next(drawn))
        till.data("POST", VERIFY, {"phone": bo.phone}), verify(till)
        assert "not right" in sentence(view(till, code_of(bo)), 400)
        assert view(till, code_of(till.persona)).status_code == 200

    def test_a_merged_one_answers_as_who_is_left(self, till):
        old = make_persona(till.account, phone="+16045550188")
        Persona.unscoped.filter(pk=old.pk).update(merged_into=till.persona)
        told = till.data("POST", VERIFY, {"phone": "6045550188"})
        assert told["to"] == "…0188" and told["contactID"] == str(till.persona.contact_id)
        told = till.data("POST", VIEW, {"phone": "6045550188", "code": code_of(till.persona)})
        assert told["contactID"] == str(till.persona.contact_id) and told["loyaltyPoints"] == 1000

    def test_hidden_points_stay_hidden(self, till):
        Programme.unscoped.update(hide_points=True)
        verify(till)
        told = view(till, code_of(till.persona)).json()["data"]
        assert (told["loyaltyPoints"], told["hidePointsInWallet"]) == (0, True)

    def test_the_master_pin(self, till):
        set_master(till)
        assert view(till, MASTER).status_code == 200  # nothing was sent, and it is good again
        assert view(till, MASTER).status_code == 200
        assert [line.detail["shown"] for line in AuditLine.unscoped.filter(act="pin.entered")] == ["master"] * 2

    def test_the_code_of_the_shoppers_page(self, till):
        Programme.unscoped.update(show_pin=True)
        code = pins.shown(account_id=till.account.pk, persona_id=till.persona.pk, now=timezone.now())
        assert view(till, code).status_code == 200
        assert AuditLine.unscoped.get(act="pin.entered").detail["shown"] == "shown"

    def test_each_use_is_written_down_without_the_digits(self, till):
        store = make_store(till.account, "Main St")
        key = ApiKey.unscoped.get(account=till.account)
        StoreKey.unscoped.create(account=till.account, key=key, store=store)
        verify(till)
        code = code_of(till.persona)
        view(till, wrong_for(code))
        assert not AuditLine.unscoped.exists()
        view(till, code)
        line = AuditLine.unscoped.get()
        assert (line.act, line.key_id) == ("pin.entered", key.pk)
        assert line.detail == {"contact_id": str(till.persona.contact_id), "shown": "pin", "store": "Main St"}
        uses = PinUse.unscoped.order_by("id")
        assert [(use.kind, use.store_id) for use in uses] == [("wrong", store.pk), ("pin", store.pk)]

    def test_the_master_pin_is_not_found_by_asking_about_everybody(self, till):
        set_master(till)
        others = [make_persona(till.account, phone=f"+160455502{n:02d}") for n in range(5)]
        for other in others:
            for _ in range(4):
                till.refused(400, "POST", VIEW, {"phone": other.phone, "code": "0000"})
        said = sentence(view(till, MASTER), 400)
        assert said.endswith("The master PIN is not taken for a while: too many wrong codes came by this key.")
        verify(till)
        assert view(till, code_of(till.persona)).status_code == 200  # what was sent is
        assert view(Till(account=till.account, points=None), MASTER).status_code == 200  # by another key too
        PinUse.unscoped.update(at=timezone.now() - timedelta(hours=1))
        assert view(till, MASTER).status_code == 200

    def test_uses_go_after_two_days(self, till):
        verify(till)
        view(till, code_of(till.persona))
        assert pins.prune(now=timezone.now() + timedelta(hours=47)) == 0
        assert pins.prune(now=timezone.now() + timedelta(hours=49)) == 1


@pytest.mark.django_db(transaction=True)
class TestAtOnce:
    def test_two_views_with_the_last_try(self, till):
        verify(till)
        code = code_of(till.persona)
        Pin.unscoped.update(tries=4)
        answers = race.at_once([lambda n=n: view(till, wrong_for(code, n)) for n in range(1, 7)])
        said = sorted(sentence(answer, 400) for answer in answers)
        assert len(set(said)) == 1 and said[0].startswith("Too many") and Pin.unscoped.get().tries == 5
        assert PinUse.unscoped.count() == 1  # one was compared
        assert sentence(view(till, code), 400).startswith("Too many")

    def test_two_views_with_one_code(self, till):
        verify(till)
        code = code_of(till.persona)
        answers = race.at_once([lambda: view(till, code) for _ in range(6)])
        assert sorted(answer.status_code for answer in answers) == [200] + [400] * 5
        assert AuditLine.unscoped.count() == 1

    def test_two_verifies(self, till):
        answers = race.at_once([lambda: verify(till) for _ in range(6)])
        assert sorted(answer["sent"] for answer in answers) == [False] * 5 + [True]
        assert Message.unscoped.count() == Pin.unscoped.count() == 1


def _stop(till, channel: str, address: str) -> None:
    consent.record(
        account_id=till.account.pk, channel=channel, address=address, act="stop", source="shopper", now=timezone.now()
    )


@pytest.mark.django_db(transaction=True)
def test_removed_while_the_code_is_typed(till):
    """Nothing of him is written once he is gone, and the caller hears what everybody hears of a stranger."""
    verify(till)
    right = code_of(till.persona)
    second = race.overlap(
        race.inside(till.account, lambda: erasure.erase(
            account_id=till.account.pk, persona_id=till.persona.pk, user=None, now=timezone.now())),
        lambda: view(till, right),
    )  # fmt: skip
    assert second.waited and sentence(second.answer(), 404) == "Contact not found"
    assert not Pin.unscoped.exists() and not PinUse.unscoped.exists()


def test_without_a_carrier_nothing_is_said_to_be_sent(till, settings):
    settings.PRODUCTION = True
    told = till.call("POST", VERIFY, {"phone": PHONE}, secure=True)
    assert "carries messages" in sentence(told, 400) and not Message.unscoped.exists()
