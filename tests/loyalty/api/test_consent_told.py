"""What the API says of consent is the journal's truth, and what it is told becomes a line of it. STOP wins."""

from datetime import timedelta

import pytest
from django.utils import timezone

from aiqsync.accounts.tenancy import acting_in
from integrations.models import Connection, Credential, CredentialState, Origin, StreamState
from loyalty import consent
from loyalty.models import ConsentLine, ConsentState, Identifier, Persona
from tests.factories import make_account, make_persona

from .till import PHONE, Till

LOOKUP, SIGN_UP = "/api/v2/loyalty/lookup/", "/api/v2/loyalty"
EMAIL = "ada@example.test"


@pytest.fixture
def till(db):
    return Till()


def say(till, act, *, channel="sms", address=PHONE, source="staff", days=0):
    with acting_in(till.account.pk):
        now = timezone.now() + timedelta(days=days)
        consent.record(
            account_id=till.account.pk, channel=channel, address=address, act=act, source=source, now=now
        )  # fmt: skip


def told(till, pii) -> tuple[bool, bool]:
    data = till.data("GET", LOOKUP + pii)
    assert set(data) == {"contactID", "loyalty", "smsOptIn", "emailOptIn"}
    return data["smsOptIn"], data["emailOptIn"]


@pytest.mark.parametrize(
    ("lines", "sms"),
    [
        ([], False),
        (["requested"], False),
        (["opt_in"], True),
        (["import_in"], True),
        (["opt_in", "opt_out"], False),
        (["opt_out", "import_in"], False),  # a list never turns a no into a yes
        (["opt_in", "stop"], False),
        (["stop", "opt_in"], False),  # STOP wins over whatever staff or a list say
        (["stop", "import_in", "opt_in"], False),
        (["stop", "unstop"], True),  # only the shopper's own START
    ],
)
def test_each_state_by_phone_and_by_email(till, lines, sms):
    for n, act in enumerate(lines):
        say(till, act, source="shopper" if act in ("stop", "unstop") else "staff", days=n)
    for pii in ("6045550142", EMAIL):
        assert told(till, pii) == (sms, False)


def test_the_channels_are_told_apart(till):
    say(till, "opt_in", channel="email", address=EMAIL)
    assert told(till, "6045550142") == told(till, EMAIL) == (False, True)


def test_consent_belongs_to_the_address_that_was_asked_for(till):
    """An older number of his, which sent STOP, is not the number he has now."""
    with acting_in(till.account.pk):
        Identifier.objects.create(persona=till.persona, kind="phone", value="+16045550177")
    say(till, "opt_in")
    say(till, "stop", address="+16045550177", source="shopper")
    assert told(till, "6045550142") == (True, False)
    assert told(till, "6045550177") == (False, False)


def test_consent_of_another_account_is_another(till):
    other = Till(account=make_account("Other"), points=None)
    with acting_in(other.account.pk):
        make_persona(other.account, phone=PHONE)
    say(till, "opt_in")
    assert told(other, "6045550142") == (False, False)


def test_one_statement_more_than_finding_him(till, django_assert_max_num_queries):
    say(till, "opt_in")
    told(till, EMAIL)
    with django_assert_max_num_queries(4):  # the key, whom it is, his row, what holds
        told(till, EMAIL)


class TestSignUp:
    def sign_up(self, till, **body):
        return till.data("POST", SIGN_UP, {"mobilePhone": "604 555 0177", "email": "bo@example.test"} | body)

    def test_a_yes_becomes_a_line_with_its_source(self, till):
        self.sign_up(till, smsoptin=True, emailOptIn="true")
        assert told(till, "6045550177") == (True, True)
        with acting_in(till.account.pk):
            lines = ConsentLine.objects.order_by("channel")
            assert [(one.channel, one.act, one.source) for one in lines] == [
                ("email", "import_in", "api"), ("sms", "import_in", "api")
            ]  # fmt: skip
            assert all(one.persona.first_name == "" and one.wording for one in lines)

    @pytest.mark.parametrize("said", [{}, {"smsoptin": False}, {"smsoptin": None}, {"disableSMS": True}])
    def test_nothing_said_is_nothing_written(self, till, said):
        self.sign_up(till, **said)
        with acting_in(till.account.pk):
            assert not ConsentState.objects.exists()

    def test_stop_and_no_win_over_a_flag_that_is_sent_again(self, till):
        self.sign_up(till, smsoptin=True, emailOptIn=True)
        say(till, "stop", address="+16045550177", source="shopper")
        say(till, "opt_out", channel="email", address="bo@example.test")
        for _ in range(2):
            self.sign_up(till, smsoptin=True, emailOptIn=True)
        assert told(till, "6045550177") == (False, False)

    def test_a_flag_without_its_address_says_nothing(self, till):
        till.data("POST", SIGN_UP, {"email": "cleo@example.test", "smsoptin": True})
        with acting_in(till.account.pk):
            assert not ConsentState.objects.exists()

    def test_a_wrong_flag_is_refused_by_its_name(self, till):
        assert "smsoptin" in till.refused(400, "POST", SIGN_UP, {"mobilePhone": "6045550177", "smsoptin": "perhaps"})

    def test_fault_5_6_the_same_person_is_recognised_updated_and_not_told(self, till):
        """However it is spelt, one persona; and the answer to somebody known says no more than to somebody new."""
        new = till.call("POST", SIGN_UP, {"mobilePhone": "604 555 0177", "firstName": "Bo"})
        for body in (
            {"mobilePhone": "+1 (604) 555-0177", "lastName": "Lund"},
            {"mobilePhone": "16045550177", "email": "BO@example.test"},
            {"email": "bo@example.test", "firstName": "Bodil"},
        ):
            again = till.call("POST", SIGN_UP, body)
            assert (again.status_code, again.content) == (new.status_code, new.content)
        assert set(new.json()["data"]) == {"contactID", "srcID"}
        bo = Persona.unscoped.get(contact_id=new.json()["data"]["contactID"])
        assert (bo.first_name, bo.last_name, bo.phone, bo.email) == ("Bodil", "Lund", "+16045550177", "bo@example.test")
        assert Persona.unscoped.filter(account=till.account).count() == 2
        # Ada's data do not come out of it, and a stranger's sign-up with her phone takes nothing of hers away.
        answer = till.call("POST", SIGN_UP, {"mobilePhone": PHONE, "email": "stranger@example.test"})
        assert "Ada" not in answer.content.decode() and EMAIL not in answer.content.decode()
        assert set(Identifier.unscoped.filter(persona=till.persona, kind="email").values_list("value", flat=True)) == {
            EMAIL, "stranger@example.test"
        }  # fmt: skip

    def test_fault_5_7_a_bad_phone_is_kept_as_it_came(self, till):
        self.sign_up(till, mobilePhone="604-555-01")
        bo = Persona.unscoped.get(email="bo@example.test")
        assert (bo.phone, bo.phone_raw) == ("", "604-555-01")
        self.sign_up(till)
        bo.refresh_from_db()
        assert (bo.phone, bo.phone_raw) == ("+16045550177", "")


def test_fault_1_3_the_wallet_says_how_far_the_pos_is_in_it(till):
    assert till.data("GET", "/api/v2/wallet/6045550142")["salesReadUntil"] is None
    until = timezone.now().replace(microsecond=0) - timedelta(minutes=2)
    with acting_in(till.account.pk):
        origin = Origin.objects.create(platform="cova", identity="1")
        found = Connection.objects.create(card="cova")
        credential = Credential.objects.create(connection=found, origin=origin, state=CredentialState.CONNECTED)
        stream = StreamState.objects.create(credential=credential, stream="sales")
    seen = till.data("GET", "/api/v2/wallet/6045550142")["salesReadUntil"]
    assert seen == [{"source": "Cova", "until": None, "live": True}]
    StreamState.unscoped.filter(pk=stream.pk).update(read_until=until)
    Credential.unscoped.filter(pk=credential.pk).update(state=CredentialState.PAUSED)
    before, data, after = timezone.now(), till.data("GET", "/api/v2/wallet/6045550142"), timezone.now()
    assert data["salesReadUntil"] == [{"source": "Cova", "until": int(until.timestamp()), "live": False}]
    assert int(before.timestamp()) <= data["asOf"] <= after.timestamp()
