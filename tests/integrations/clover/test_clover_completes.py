"""Who signs up with us and is in Clover already gets what Clover lacks of him: nothing wiped, nothing there twice."""

import json
from datetime import date

import pytest
from django.utils import timezone

from integrations import outbox, services
from integrations.clover import writers
from integrations.kit import client as http
from integrations.models import Connection, Customer, OutboundWrite
from loyalty import erasure
from loyalty.models import Identifier, Persona, Source
from tests.integrations.sandbox.clover_client import Client as Raw

from ..writing import counts, deliver_due, due_now, sign_up, the_write
from .test_clover_writes import PHONE, Killed, create, nova, there

pytestmark = pytest.mark.django_db
MAIL = "nova@example.test"
BORN = date(1990, 4, 3)
HOME = {"address1": "5 Oak St", "city": "Denver", "state": "CO", "zip": "80201", "country": "US"}
PLACE = {"street": "5 Oak St", "city": "Denver", "state": "CO", "postal_code": "80201", "country": "US"}
PARTS = ["phone_numbers", "email_addresses", "addresses", "metadata"]


def raw(shop):
    return Raw(shop.sandbox.url)


def put(shop, *, known=False, **body):
    """Somebody whom the till made; `known`: and whom we have read."""
    row = raw(shop).post("/customers", body)
    if known:
        shop.sync("customers")
        assert Customer.unscoped.filter(external_id=row["id"]).exists()
    return row["id"]


def whole(shop, found):
    """The record as Clover answers it, less its only stamp."""
    row = raw(shop).get(f"/customers/{found}", "expand=emailAddresses,phoneNumbers,addresses,metadata")
    (row.get("metadata") or {}).pop("modifiedTime", None)
    return row


def values(row, name, value):
    return [one[value] for one in row[name]["elements"]]


def posts(shop, found=None):
    """What was written of a customer, the end of each path."""
    start = create(shop) + (f"/{found}" if found else "")
    return [c["path"][len(start) :] for c in shop.calls() if c["method"] == "POST" and c["path"].startswith(start)]


def again(times=1):
    for _ in range(times):
        due_now()
        deliver_due()


@pytest.fixture
def placed(monkeypatch):
    """Where shoppers live, as another POS tells it."""
    from loyalty import outbound

    monkeypatch.setattr(outbound, "_place", lambda records: outbound._Place(**PLACE))


def born(persona):
    Persona.unscoped.filter(pk=persona.pk).update(birth_date=BORN)
    return persona


def sheet(shop):
    return born(nova(shop, email=MAIL))


@pytest.mark.parametrize("known", [False, True], ids=["found by looking", "read before"])
def test_all_that_is_blank_is_filled_and_landed(on, placed, known):
    found = put(on, phoneNumbers=[{"phoneNumber": PHONE}], known=known)
    persona = sheet(on)
    deliver_due()
    write = the_write()
    assert (write.state, write.external_id, write.asked_at, write.payload) == ("found", found, None, {})
    assert posts(on, found) == ["", "/email_addresses", "/addresses", "/metadata"]
    row = whole(on, found)
    assert (row["firstName"], row["lastName"], row["marketingAllowed"]) == ("Nova", "Reed", False)
    assert values(row, "phoneNumbers", "phoneNumber") == [PHONE]
    assert values(row, "emailAddresses", "emailAddress") == [MAIL]
    assert {name: row["addresses"]["elements"][0][name] for name in HOME} == HOME
    assert {name: row["metadata"][name] for name in ("dobYear", "dobMonth", "dobDay")} == {
        "dobYear": 1990, "dobMonth": 4, "dobDay": 3,
    }  # fmt: skip
    assert [one for one, _ in there(on)] == [found], "and nobody was created"
    landed = Customer.unscoped.get(external_id=found)
    assert (landed.first_name, landed.email, landed.birth_date, landed.state) == ("Nova", MAIL, BORN, "CO")
    source = Source.unscoped.get(customer=landed)
    assert source.persona_id == persona.pk and source.matched_by != "created", "we did not make it"
    assert counts(on) == {"found": 1}


FULL = {
    "firstName": "Novia", "lastName": "Read",
    "phoneNumbers": [{"phoneNumber": f"({PHONE[:3]}) {PHONE[3:6]}-{PHONE[6:]}"}],
    "emailAddresses": [{"emailAddress": "old@example.test"}],
    "addresses": [HOME | {"address1": "9 Elm St", "address2": "Apt 4"}],
    "metadata": {"businessName": "Read LLC", "note": "prefers texts", "dobMonth": 6, "dobDay": 14},
}  # fmt: skip


def test_what_stands_there_is_never_replaced(on, placed):
    """The whole record before and after: one e-mail came, beside the one that was there."""
    found = put(on, **FULL)
    before = whole(on, found)
    sheet(on)
    deliver_due()
    after = whole(on, found)
    assert posts(on, found) == ["/email_addresses"]
    added = after["emailAddresses"]["elements"].pop()
    assert added["emailAddress"] == MAIL and not added.get("primaryEmail")
    assert after == before


@pytest.mark.parametrize("name", ["firstName", "lastName"])
def test_half_a_name_is_a_name(on, name):
    found = put(on, **{name: "Reed"}, phoneNumbers=[{"phoneNumber": PHONE}])
    before = whole(on, found)
    nova(on)
    deliver_due()
    assert posts(on, found) == [] and whole(on, found) == before and the_write().state == "found"


def test_a_birth_date_leaves_the_note_and_the_name_of_the_business(on):
    found = put(on, firstName="N", phoneNumbers=[{"phoneNumber": PHONE}], metadata={"note": "a", "businessName": "b"})
    born(nova(on))
    deliver_due()
    assert posts(on, found) == ["/metadata"]
    about = whole(on, found)["metadata"]
    assert (about["note"], about["businessName"], about["dobYear"]) == ("a", "b", 1990)


def test_nothing_empty_is_sent(on, monkeypatch):
    """Who tells a phone alone leaves a bare record as it is."""
    found = put(on, phoneNumbers=[{"phoneNumber": PHONE}])
    before = whole(on, found)
    sign_up(on.account, phone=PHONE, first_name="", last_name="")
    deliver_due()
    assert posts(on, found) == [] and whole(on, found) == before
    assert the_write().state == "found"


def test_a_further_phone_of_who_is_found_by_e_mail(on):
    found = put(on, firstName="Nova", emailAddresses=[{"emailAddress": MAIL.upper()}],
                phoneNumbers=[{"phoneNumber": "3035559999"}])  # fmt: skip
    nova(on, email=MAIL)
    deliver_due()
    assert values(whole(on, found), "phoneNumbers", "phoneNumber") == ["3035559999", PHONE]
    assert values(whole(on, found), "emailAddresses", "emailAddress") == [MAIL.upper()]


def test_a_shared_number_is_not_added(on):
    """Matched by the e-mail; several people bear the phone."""
    found = put(on, firstName="Nova", lastName="Reed", emailAddresses=[{"emailAddress": MAIL}])
    persona = nova(on, email=MAIL)
    Identifier.unscoped.filter(persona=persona, kind="phone").update(shared=True)
    before = whole(on, found)
    deliver_due()
    assert posts(on, found) == [] and whole(on, found) == before and the_write().external_id == found


def test_who_is_found_by_the_name_behind_a_shared_number_gets_the_rest_only(on):
    others = [put(on, firstName="Bob", phoneNumbers=[{"phoneNumber": PHONE}])]
    found = put(on, firstName="Nova", lastName="Reed", phoneNumbers=[{"phoneNumber": PHONE}])
    persona = nova(on, email=MAIL)
    Identifier.unscoped.filter(persona=persona, kind="phone").update(shared=True)
    bob = whole(on, others[0])
    deliver_due()
    assert posts(on, found) == ["/email_addresses"] and whole(on, others[0]) == bob
    assert values(whole(on, found), "phoneNumbers", "phoneNumber") == [PHONE]


def test_an_e_mail_of_another_customer_there_is_not_added(on):
    """It would make one person of two."""
    other = put(on, firstName="Bob", emailAddresses=[{"emailAddress": MAIL.upper()}])
    found = put(on, firstName="Nova", phoneNumbers=[{"phoneNumber": PHONE}])
    nova(on, email=MAIL)
    deliver_due()
    assert posts(on, found) == posts(on, other) == []


def test_a_list_that_was_not_shown_is_not_known_to_be_empty(on, placed, monkeypatch):
    found = put(on, firstName="N", phoneNumbers=[{"phoneNumber": PHONE}])
    real = http.Client.get_json

    def bare(client, path, params=None, **more):
        row = real(client, path, params, **more)
        if path.endswith(found):
            row["emailAddresses"] = {"href": "https://clover.test"}
            del row["addresses"]
        return row

    monkeypatch.setattr(http.Client, "get_json", bare)
    nova(on, email=MAIL)
    deliver_due()
    assert posts(on, found) == [] and the_write().state == "found"


# Repeated, lost, killed


def test_repeated_it_posts_nothing(on, placed):
    found = put(on, phoneNumbers=[{"phoneNumber": PHONE}])
    sheet(on)
    deliver_due()
    once, row = posts(on, found), whole(on, found)
    for _ in range(3):
        OutboundWrite.unscoped.update(state="waiting", ended_at=None)
        again()
    assert posts(on, found) == once and whole(on, found) == row


@pytest.mark.parametrize("part", ["", *PARTS], ids=["names", *PARTS])
@pytest.mark.parametrize("lost", ["lost", "cut", "timeout", "slow"])
def test_an_answer_that_was_lost_adds_nothing_twice(on, placed, part, lost):
    """Whether Clover acted (lost, cut, slow) or not (time-out): read again, and what is missing is added."""
    found = put(on, emailAddresses=[{"emailAddress": MAIL}] if part == "phone_numbers" else [],
                phoneNumbers=[] if part == "phone_numbers" else [{"phoneNumber": PHONE}])  # fmt: skip
    sheet(on)
    where = f"{create(on)}/{found}" + (f"/{part}" if part else "")
    on.fault(lost, match=where, method="POST", **({"seconds": 1.5} if lost in ("slow", "timeout") else {}))
    deliver_due()
    write = the_write()
    assert (write.state, write.attempts, write.external_id, write.payload) == ("waiting", 1, found, {})
    assert write.asked_at
    # Clover may still be at work on it: nothing is asked before that must have ended.
    OutboundWrite.unscoped.update(next_try_at=timezone.now())
    type(on.credential).unscoped.update(writes_after=None)
    calls = len(on.calls())
    deliver_due()
    assert len(on.calls()) == calls and "looked for" in the_write().message
    again(3)
    row = whole(on, found)
    assert values(row, "phoneNumbers", "phoneNumber") == [PHONE]
    assert values(row, "emailAddresses", "emailAddress") == [MAIL]
    assert len(row["addresses"]["elements"]) == 1 and row["metadata"]["dobYear"] == 1990
    assert (row["firstName"], the_write().state) == ("Nova", "found")
    assert Customer.unscoped.get(external_id=found).birth_date == BORN, "landed"
    assert len(raw(on).all("/customers", f"filter=emailAddress={MAIL}")) == 1


@pytest.mark.parametrize("moment", ["before", "after"])
@pytest.mark.parametrize("nth", range(4))
def test_killed_at_each_post(on, placed, monkeypatch, nth, moment):
    found = put(on, phoneNumbers=[{"phoneNumber": PHONE}])
    persona = sheet(on)
    real, seen = http.Client.post_json, []

    def killed(*given, **more):
        seen.append(given)
        if len(seen) == nth + 1 and moment == "before":
            raise Killed
        answer = real(*given, **more)
        if len(seen) == nth + 1:
            raise Killed
        return answer

    with monkeypatch.context() as patched:
        patched.setattr(http.Client, "post_json", killed)
        with pytest.raises(Killed):
            deliver_due()
    again(3)
    row = whole(on, found)
    assert values(row, "phoneNumbers", "phoneNumber") == [PHONE]
    assert values(row, "emailAddresses", "emailAddress") == [MAIL]
    assert len(row["addresses"]["elements"]) == 1 and row["metadata"]["dobYear"] == 1990
    assert len(posts(on, found)) == 4, "each was sent once"
    assert (the_write().state, the_write().external_id) == ("found", found)
    assert Source.unscoped.get(customer__external_id=found).persona_id == persona.pk
    assert Persona.unscoped.filter(phone=f"+1{PHONE}").count() == 1


def test_killed_before_our_commit(on, placed, monkeypatch):
    """All of it is there: nothing is sent again, and the record lands."""
    found = put(on, phoneNumbers=[{"phoneNumber": PHONE}])
    sheet(on)

    def die(*_, **__):
        raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(outbox.Batch, "_created", die)
        with pytest.raises(Killed):
            deliver_due()
    again(2)
    assert len(posts(on, found)) == 4 and the_write().state == "found"
    assert Customer.unscoped.get(external_id=found).email == MAIL


def test_the_next_try_adds_what_the_shopper_is_by_then(on, placed):
    """Nothing personal is kept for it: a number that he changed meanwhile is not added."""
    found = put(on, firstName="Nova", emailAddresses=[{"emailAddress": MAIL}])
    persona = nova(on, email=MAIL)
    on.fault("timeout", match=f"{create(on)}/{found}/phone_numbers", method="POST", seconds=1)
    deliver_due()
    assert PHONE not in json.dumps(OutboundWrite.unscoped.values("payload", "message")[0])
    Persona.unscoped.filter(pk=persona.pk).update(phone="+13035550000")
    Identifier.unscoped.filter(persona=persona, kind="phone").update(value="+13035550000")
    again(2)
    assert values(whole(on, found), "phoneNumbers", "phoneNumber") == ["3035550000"]


# Not at all


@pytest.mark.parametrize("name", ["frozen", "off", "removed"])
def test_what_stops_a_create_stops_it(on, placed, monkeypatch, name):
    """Between the look and the first addition: no further call. Where it may go on later, it does."""
    found = put(on, phoneNumbers=[{"phoneNumber": PHONE}])
    persona, link, real = sheet(on), on.credential.connection, writers._lacking
    act = {
        "frozen": lambda: services.freeze(connection=link, now=timezone.now()),
        "off": lambda: services.save_settings(connection=link, given={"sync_personas": False}, now=timezone.now()),
        "removed": lambda: services.forget_writes(account_id=on.account.pk, subjects=[str(persona.contact_id)]),
    }[name]
    with monkeypatch.context() as patched:
        patched.setattr(writers, "_lacking", lambda *given: (real(*given), act())[0])
        deliver_due()
    again()
    assert posts(on, found) == []
    if name == "removed":
        assert the_write().state == "not_needed"
        return
    services.unfreeze(connection=Connection.unscoped.get(pk=link.pk), now=timezone.now())
    services.save_settings(connection=link, given={"sync_personas": True}, now=timezone.now())
    again()
    assert len(posts(on, found)) == 4 and the_write().state == "found"


def test_who_was_removed_is_not_completed(on):
    found = put(on, phoneNumbers=[{"phoneNumber": PHONE}])
    persona = nova(on)
    erasure.erase(account_id=on.account.pk, persona_id=persona.pk, user=None, now=timezone.now())
    again()
    assert posts(on, found) == [] and the_write().state == "not_needed"


def test_without_the_permission_to_write_it_fails_with_the_sentence_and_is_retried(on, placed):
    found = put(on, phoneNumbers=[{"phoneNumber": PHONE}])
    before = whole(on, found)
    sheet(on)
    on.fault("no_permission", match=f"{create(on)}/{found}", method="POST")
    deliver_due()
    write = the_write()
    assert (write.state, write.asked_at, write.external_id, write.payload) == ("failed", None, "", {})
    assert "“Customers: Write” is not ticked" in write.message and whole(on, found) == before
    assert services.retry_writes(connection=on.credential.connection) == 1
    again()
    assert the_write().state == "found" and len(posts(on, found)) == 5


def test_what_clover_refuses_keeps_nothing_else_back(on, placed, monkeypatch):
    body = writers._body
    far = [HOME | {"zip": "8" * 11}]
    monkeypatch.setattr(writers, "_body", lambda payload: body(payload) | {"addresses": far})
    found = put(on, phoneNumbers=[{"phoneNumber": PHONE}])
    sheet(on)
    deliver_due()
    assert the_write().state == "failed"
    assert the_write().message.startswith("Clover does not take what this customer lacks there: ")
    row = whole(on, found)
    assert row["metadata"]["dobYear"] == 1990 and row["addresses"]["elements"] == []


@pytest.mark.parametrize("known", [False, True])
def test_gone_in_the_meantime(on, monkeypatch, known):
    """Whom we have is left; who was only looked up is looked for again, and created."""
    found = put(on, phoneNumbers=[{"phoneNumber": PHONE}], known=known)
    nova(on)
    real = writers._whole

    def gone(*given):
        raw(on).call("DELETE", f"/customers/{found}")
        return real(*given)

    with monkeypatch.context() as patched:
        patched.setattr(writers, "_whole", gone)
        deliver_due()
    if known:
        assert (the_write().state, the_write().asked_at) == ("found", None)
        return
    assert (the_write().state, the_write().asked_at, the_write().attempts) == ("waiting", None, 0)
    again()
    assert the_write().state == "sent" and len(there(on)) == 1


def test_who_lacks_nothing_or_has_several_records_is_not_put_in(on):
    put(on, firstName="Nova", phoneNumbers=[{"phoneNumber": PHONE}], known=True)
    nova(on)
    assert not OutboundWrite.unscoped.exists()
    for phone in ("3035557777", "3035557777"):
        put(on, phoneNumbers=[{"phoneNumber": phone}], known=True)
    sign_up(on.account, phone="3035557777", first_name="Zed", email="zed@example.test")
    assert not OutboundWrite.unscoped.exists()
