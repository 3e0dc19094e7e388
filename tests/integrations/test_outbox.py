"""The outbox: who signs up with us is created in the POS once, whatever happens on the way."""

from datetime import timedelta

import pytest
from django.utils import timezone

from aiqsync.accounts.tenancy import acting_in
from integrations import outbox, services
from integrations.models import Connection, Credential, Customer, Origin, OutboundWrite
from loyalty import erasure
from loyalty.models import Persona, Source

from .writing import counts, deliver_due, due_now, full_in_pos, in_pos, ready, sign_up, the_write

pytestmark = pytest.mark.django_db

CREATE = "/crm/v1/companies(501200)/customerfull"
SEARCH = "/crm/v1/companies(501200)/search"


@pytest.fixture
def on(cova):
    ready(cova)
    return cova


def test_sync_personas_acts(cova):
    """Off: nothing is put in and nothing is created. On: a sign-up is created, once, and is the shopper's."""
    cova.connect(sync_personas=False)
    cova.sync("locations", "pricing_groups", "customers")
    sign_up(cova.account, 1)
    assert not OutboundWrite.unscoped.exists()
    deliver_due()
    assert in_pos(cova, phone="6047770001") == []

    services.save_settings(
        connection=cova.credential.connection, given={"sync_personas": True}, now=timezone.now() - timedelta(seconds=5)
    )
    persona = sign_up(cova.account, 2)
    assert the_write().subject == str(persona.contact_id)
    assert deliver_due() == 1
    [line] = in_pos(cova, phone="6047770002")
    assert line[1:3] == ["Nova", "Reed 2"]
    write = the_write()
    assert (write.state, write.external_id, write.payload, write.message) == ("sent", line[0], {}, "")
    # The record is landed and the shopper's; the next sync finds nothing new in it.
    customer = Customer.unscoped.get(external_id=line[0])
    assert Source.unscoped.get(customer=customer).persona_id == persona.pk
    assert cova.sync("customers")["customers"].rows_new == 0
    assert Persona.unscoped.filter(phone="+16047770002").count() == 1
    # Nobody who was a member before is created, and nobody twice.
    assert deliver_due() == 0
    assert in_pos(cova, phone="6047770001") == []


def test_pricing_group_acts(cova):
    """The group that the card says at the moment of sending; without one the POS's own default."""
    ready(cova, pricing_group="41")
    sign_up(cova.account, 1)
    services.save_settings(connection=cova.credential.connection, given={"pricing_group": "42"}, now=timezone.now())
    deliver_due()
    [line] = in_pos(cova, phone="6047770001")
    assert line[6] == "42"
    services.save_settings(connection=cova.credential.connection, given={"pricing_group": ""}, now=timezone.now())
    sign_up(cova.account, 2)
    deliver_due()
    [line] = in_pos(cova, phone="6047770002")
    assert line[6] == ""


def test_who_is_there_already_is_found_and_not_touched(on):
    """By phone in whatever writing, then by e-mail in whatever case; merged records lead to their survivor."""
    before = in_pos(on)
    made = {}
    for n, phone in enumerate(("(604) 777-1000", "604.777.1001", "+1 604 777 1002", "1-604-777-1003")):
        made[f"+1604777100{n}"] = on.control("edit", first_name="Till", last_name="Made", phone=phone)["customer_id"]
    mail = on.control("edit", first_name="Till", last_name="Made", email="Tess.Vale@Example.TEST")["customer_id"]
    heir = on.control("edit", first_name="Till", last_name="Heir", phone="604-777-1010")["customer_id"]
    lost = on.control("edit", first_name="Till", last_name="Lost", phone="604-777-1011")["customer_id"]
    on.control("edit", customer_id=lost, merged_into=heir)
    gone = on.control("edit", first_name="Till", last_name="Gone", phone="604-777-1012", disabled=True)["customer_id"]
    expected = {sign_up(on.account, phone=phone, first_name="Nova"): found for phone, found in made.items()}
    expected[sign_up(on.account, email="tess.vale@example.test", first_name="Nova")] = mail
    expected[sign_up(on.account, phone="6047771011", first_name="Nova")] = heir
    expected[sign_up(on.account, phone="6047771012", first_name="Nova")] = gone
    there = {line[0]: line for line in in_pos(on)}
    assert deliver_due() == len(expected)
    for persona, found in expected.items():
        assert (the_write(persona).state, the_write(persona).external_id) == ("found", found), persona
    assert {line[0]: line for line in in_pos(on)} == there
    assert len(there) == len(before) + 8


def test_whom_a_sync_brought_meanwhile_is_not_created(on):
    persona = sign_up(on.account, 1)
    made = on.control("edit", first_name="Nova", last_name="Reed 1", phone="604 777 0001")["customer_id"]
    on.sync("customers")
    calls = len(on.calls())
    assert deliver_due() == 1
    assert (the_write(persona).state, the_write(persona).external_id) == ("found", made)
    assert len(on.calls()) == calls  # we knew it ourselves


def test_contact_flags_are_the_consent(on):
    from loyalty import consent

    said = {}
    for n, yes in enumerate((True, False)):
        persona = sign_up(on.account, phone=f"604777000{n}", email=f"nova{n}@example.test", first_name="Nova")
        if yes:
            consent.record(
                account_id=on.account.pk, channel="sms", address=persona.phone, act="opt_in", source="form",
                now=timezone.now(),
            )  # fmt: skip
        said[persona] = yes
    deliver_due()
    for persona, yes in said.items():
        full = full_in_pos(on, the_write(persona).external_id)
        flags = {m["ContactMethodCategory"]: m["DoNotContact"] for m in full["ContactMethods"]}
        assert flags == {"Phone": not yes, "Email": True}
        assert full["DoNotContact"] is not yes
        assert full["UniqueIdentifier"] == f"aiqsync-customer-{persona.contact_id}"


@pytest.mark.parametrize("ground", ["import", "bought"])
def test_who_did_not_sign_up_with_us_is_not_created(on, ground):
    sign_up(on.account, 1, ground=ground)
    assert not OutboundWrite.unscoped.exists()


@pytest.mark.parametrize("ground", ["api", "till", "staff", "form", "queue", "text"])
def test_who_signed_up_is_put_in_once(on, ground):
    persona = sign_up(on.account, 1, ground=ground)
    sign_up(on.account, 1, ground="staff")
    assert the_write().subject == str(persona.contact_id)


def test_a_sign_up_that_is_rolled_back_leaves_nothing(on):
    from django.db import transaction

    with pytest.raises(RuntimeError), transaction.atomic():
        sign_up(on.account, 1)
        raise RuntimeError
    assert not OutboundWrite.unscoped.exists()


def test_somebody_without_phone_and_e_mail_waits_until_there_is_one(on):
    from loyalty import personas
    from tests.factories import make_persona

    with acting_in(on.account.pk):
        persona = make_persona(on.account, member=False)
        personas.enrol(persona=persona, ground="staff", from_date=timezone.now().date(), now=timezone.now())
        assert deliver_due() == 0
        write = the_write()
        assert (write.state, write.attempts) == ("waiting", 0) and "no phone number" in write.message
        persona.refresh_from_db()
        personas._take_over(persona, personas._look(on.account.pk, {"phone": "+16047770009"}), ("", ""))
    assert deliver_due() == 1
    assert len(in_pos(on, phone="6047770009")) == 1


def test_a_page_that_landed_the_record_before_our_commit_makes_no_second_shopper(on, monkeypatch):
    """The shopper's number is shared, so that the page finds nobody by it and makes somebody of the record."""
    from loyalty.models import Identifier

    persona = sign_up(on.account, 1)
    Identifier.unscoped.filter(persona=persona).update(shared=True)
    create = outbox.Batch._created

    def late(self, *given):
        on.sync("customers")
        assert Persona.unscoped.filter(phone="+16047770001").count() == 2
        create(self, *given)

    monkeypatch.setattr(outbox.Batch, "_created", late)
    assert deliver_due() == 1
    source = Source.unscoped.get(customer__external_id=the_write().external_id)
    assert source.persona_id == persona.pk


def test_a_shared_phone_is_somebody_only_with_the_name(on):
    from loyalty.models import Identifier

    on.control("edit", first_name="Bob", last_name="Vale", phone="604-777-0001")
    persona = sign_up(on.account, phone="6047770001", first_name="Ada", last_name="Vale")
    Identifier.unscoped.filter(persona=persona).update(shared=True)
    deliver_due()
    assert the_write().state == "sent"
    assert sorted(line[1] for line in in_pos(on, phone="6047770001")) == ["Ada", "Bob"]


# What the POS refuses, and what is wrong for a while


def test_what_the_pos_refuses_for_good_fails_with_its_sentence(cova):
    ready(cova, pricing_group="41")
    Connection.unscoped.update(settings={"sync_personas": True, "pricing_group": "999"})
    sign_up(cova.account, 1)
    deliver_due()
    write = the_write()
    assert (write.state, write.asked_at, write.payload) == ("failed", None, {})
    assert write.message == "Cova does not take this shopper: The pricing group does not exist."
    link = Connection.unscoped.get()
    services.save_settings(connection=link, given={"pricing_group": "41"}, now=timezone.now())
    assert deliver_due() == 0  # nobody tries it again by himself
    assert services.retry_writes(connection=link) == 1
    assert deliver_due() == 1
    assert in_pos(cova, phone="6047770001")[0][6] == "41"


def test_given_up_is_not_sent(on, monkeypatch):
    monkeypatch.setattr(outbox, "MAX_TRIES", 2)
    sign_up(on.account, 1)
    sign_up(on.account, 2)
    on.fault("500", match=SEARCH, times=-1)
    for _ in range(4):
        due_now()
        deliver_due()
    assert counts(on) == {"failed": 2}
    write = OutboundWrite.unscoped.order_by("pk").first()
    assert write.message == "Cova has a fault on its side (HTTP 500). Tried 2 times."
    link = on.credential.connection
    assert services.give_up_writes(connection=link, ids=[write.pk]) == 1
    assert services.retry_writes(connection=link) == 1
    on.control("faults", clear=True)
    due_now()
    deliver_due()
    assert counts(on) == {"given_up": 1, "sent": 1}
    assert in_pos(on, phone="6047770001") == [] and len(in_pos(on, phone="6047770002")) == 1


def test_a_fault_of_the_pos_is_not_hammered(on):
    """One write meets it; the others wait with it, and no try is counted against them."""
    for n in range(5):
        sign_up(on.account, n)
    on.fault("500", match=SEARCH, times=-1)
    deliver_due()
    assert sorted(OutboundWrite.unscoped.values_list("attempts", flat=True)) == [0, 0, 0, 0, 1]
    calls = len(on.calls())
    deliver_due()
    assert len(on.calls()) == calls
    told = services.writes_of(connection=on.credential.connection)
    assert told.closed == "Cova has a fault on its side (HTTP 500). It is tried again by itself; nothing is lost."
    on.control("faults", clear=True)
    due_now()
    assert deliver_due() == 5
    assert services.writes_of(connection=on.credential.connection).closed == ""


def test_asked_to_slow_down_is_no_try(on):
    sign_up(on.account, 1)
    on.fault("429", match=CREATE, method="POST", seconds=30)
    deliver_due()
    write = the_write()
    assert (write.state, write.attempts, write.asked_at) == ("waiting", 0, None)
    assert write.next_try_at > timezone.now() + timedelta(seconds=20)


@pytest.mark.parametrize("how", ["card", "credential", "disconnected", "paused", "off"])
def test_nothing_is_asked_of_a_pos_that_is_shut(on, how):
    """0 calls, no tries; it waits, and goes out when the POS may be asked again."""
    sign_up(on.account, 1)
    link, credential = on.credential.connection, on.credential
    now = timezone.now()
    if how == "card":
        services.freeze(connection=link, now=now)
    elif how == "credential":
        services.freeze(credential=credential, now=now)
    elif how == "disconnected":
        services.disconnect(credential=credential)
    elif how == "paused":
        Credential.unscoped.update(state="paused")
    else:
        services.save_settings(connection=link, given={"sync_personas": False}, now=now)
    calls = len(on.calls())
    for _ in range(2):
        deliver_due()
    assert len(on.calls()) == calls
    write = the_write()
    assert (write.state, write.attempts) == ("waiting", 0)
    assert services.writes_of(connection=Connection.unscoped.get()).closed.endswith(".")
    Connection.unscoped.update(frozen_at=None)
    Credential.unscoped.update(frozen_at=None, state="connected", secrets=credential.secrets)
    services.save_settings(connection=link, given={"sync_personas": True}, now=now)
    assert deliver_due() == 1


def test_frozen_in_the_middle_ends_at_the_next_call(on, monkeypatch):
    for n in range(3):
        sign_up(on.account, n)
    make = outbox.Batch._create

    def freeze_then_create(self, *given):
        services.freeze(connection=on.credential.connection, now=timezone.now())
        return make(self, *given)

    monkeypatch.setattr(outbox.Batch, "_create", freeze_then_create)
    deliver_due()
    assert not [call for call in on.calls() if call["method"] == "POST" and "customerfull" in call["path"].lower()]
    assert set(OutboundWrite.unscoped.values_list("state", "attempts", "asked_at")) == {("waiting", 0, None)}


@pytest.mark.parametrize("changed", ["off", "market", "group"])
def test_switched_in_the_middle_of_a_batch_no_further_write_goes_out(cova, monkeypatch, changed):
    """One create is out when somebody changes what is told: the second write's calls end there, the third has none."""
    on = cova
    link = ready(on)
    if changed == "market":
        on.set(relevant_market=["CA-BC"])
    for n in range(3):
        sign_up(on.account, n)
    given = {
        "off": {"sync_personas": False}, "market": {"sync_to_market": True}, "group": {"pricing_group": "41"},
    }[changed]  # fmt: skip
    make, made = outbox.Batch._make, []

    def change_then_make(self, *args):
        made.append(1)
        if len(made) == 2:
            services.save_settings(connection=link, given=given, now=timezone.now())
            on.since = len(on.control("calls?since=0"))
        return make(self, *args)

    monkeypatch.setattr(outbox.Batch, "_make", change_then_make)
    assert deliver_due() == 1
    assert on.calls() == [] and len(made) == 2
    states = OutboundWrite.unscoped.order_by("pk").values_list("state", "attempts", "asked_at")
    assert list(states) == [("sent", 0, None), ("waiting", 0, None), ("waiting", 0, None)]
    # What holds now decides about the others.
    monkeypatch.undo()
    deliver_due()
    assert len([w for w in OutboundWrite.unscoped.all() if w.state == "sent"]) == (3 if changed == "group" else 1)


def test_a_pricing_group_that_is_gone_holds_everybody_and_says_so(cova):
    from integrations.models import PricingGroup

    ready(cova, pricing_group="41")
    PricingGroup.unscoped.filter(external_id="41").update(deleted=True)
    sign_up(cova.account, 1)
    deliver_due()
    assert the_write().state == "waiting"
    assert "was removed in Cova" in services.writes_of(connection=cova.credential.connection).closed
    PricingGroup.unscoped.update(deleted=False)
    due_now()
    assert deliver_due() == 1


def test_nobody_is_created_before_the_customers_were_read_once(cova):
    from .writing import turn_on

    cova.connect()
    turn_on(cova)
    sign_up(cova.account, 1)
    deliver_due()
    assert the_write().state == "waiting"
    assert "customers must be read once" in services.writes_of(connection=cova.credential.connection).closed
    cova.sync("locations", "customers")
    due_now()
    assert deliver_due() == 1


def test_a_service_without_permission_is_no_try(on):
    sign_up(on.account, 1)
    on.fault("no_permission", match=CREATE, method="POST")
    deliver_due()
    write = the_write()
    assert (write.state, write.attempts, write.asked_at) == ("waiting", 0, None)
    assert "permission" in write.message
    due_now()
    assert deliver_due() == 1


# Who is not wanted any more


def test_an_erased_shopper_is_not_sent_and_nothing_of_him_stays(on):
    persona = sign_up(on.account, 1)
    on.fault("lost", match=CREATE, method="POST")
    deliver_due()
    assert the_write().payload
    with acting_in(on.account.pk):
        erasure.erase(account_id=on.account.pk, persona_id=persona.pk, user=None, now=timezone.now())
    write = the_write()
    assert (write.state, write.payload, write.message, write.external_id) == ("not_needed", {}, "", "")
    due_now()
    assert deliver_due() == 0
    # The POS made the record all the same: it comes as nobody's.
    on.sync("customers")
    assert not Persona.unscoped.filter(phone="+16047770001").exists()


def test_erased_while_the_pos_answers_nothing_lands(on, monkeypatch):
    persona = sign_up(on.account, 1)
    create = outbox.Batch._create

    def erase_meanwhile(self, *given):
        record = create(self, *given)
        with acting_in(on.account.pk):
            erasure.erase(account_id=on.account.pk, persona_id=persona.pk, user=None, now=timezone.now())
        return record

    monkeypatch.setattr(outbox.Batch, "_create", erase_meanwhile)
    assert deliver_due() == 0
    assert (the_write().state, the_write().payload) == ("not_needed", {})
    assert not Customer.unscoped.filter(phone="+16047770001").exists()


def test_an_archived_shopper_is_not_created(on):
    persona = sign_up(on.account, 1)
    Persona.unscoped.filter(pk=persona.pk).update(archived_at=timezone.now())
    deliver_due()
    assert (the_write().state, the_write().message) == ("not_needed", "They were archived.")


@pytest.mark.parametrize("survivor", [0, 1], ids=["the first", "the second"])
def test_two_who_were_merged_are_created_once(on, survivor):
    """Whoever goes out first: the other's write finds that its person is written elsewhere, or is there."""
    from loyalty import merging

    people = [sign_up(on.account, 1), sign_up(on.account, 2)]
    one, other = people[survivor], people[1 - survivor]
    with acting_in(on.account.pk):
        merging.merge(account_id=on.account.pk, one_id=one.pk, other_id=other.pk, now=timezone.now())
    deliver_due()
    assert the_write(one).state == "sent"
    assert the_write(other).state == ("found" if survivor == 0 else "not_needed")
    assert len([line for line in in_pos(on) if line[1] == "Nova"]) == 1


def test_sync_to_market_acts_on_sign_ups(on):
    """Only who is known to live there is created; the others wait and are counted, and are looked at again."""
    services.save_credential_settings(
        credential=on.credential, given={"relevant_market": ["CA-BC"]}, now=timezone.now()
    )
    services.save_settings(connection=on.credential.connection, given={"sync_to_market": True}, now=timezone.now())
    sign_up(on.account, 1)
    deliver_due()
    told = services.writes_of(connection=on.credential.connection)
    [(why, number)] = told.reasons
    assert (number, "state or province is not known" in why) == (1, True)
    assert in_pos(on, phone="6047770001") == []
    services.save_settings(connection=on.credential.connection, given={"sync_to_market": False}, now=timezone.now())
    due_now()
    assert deliver_due() == 1


def test_two_cards_of_one_company_are_one_origin_and_create_once(on):
    sign_up(on.account, 1)
    origin = on.credential.origin_id
    assert list(services.creating(account_id=on.account.pk, now=timezone.now())) == [origin]
    deliver_due()
    services.disconnect(credential=on.credential)
    assert list(services.creating(account_id=on.account.pk, now=timezone.now())) == []
    on.connect()
    assert on.credential.origin_id == origin
    sign_up(on.account, 1, ground="staff")
    deliver_due()
    assert len(in_pos(on, phone="6047770001")) == 1


def test_while_the_source_is_erased_a_write_waits_and_no_other_is_tried(on, monkeypatch):
    """Erasing begins while the POS answers: what was created there is found later, not created again."""
    first, second = sign_up(on.account, 1), sign_up(on.account, 2)
    create = outbox.Batch._create

    def and_then_erasing(self, *args):
        record = create(self, *args)
        Origin.unscoped.update(erasing_at=timezone.now())
        return record

    with monkeypatch.context() as patched:
        patched.setattr(outbox.Batch, "_create", and_then_erasing)
        assert deliver_due() == 0
    write = the_write(first)
    assert (write.state, write.attempts) == ("waiting", 0) and "being erased" in write.message and write.asked_at
    assert the_write(second).state == "waiting" and in_pos(on, phone="6047770002") == []
    Origin.unscoped.update(erasing_at=None)
    due_now()
    assert deliver_due() == 2
    assert (the_write(first).state, the_write(second).state) == ("sent", "sent")
    assert len(in_pos(on, phone="6047770001")) == 1
