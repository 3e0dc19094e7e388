"""Shoppers who signed up with us, created in Clover once: whatever gets lost, whoever bears the same number."""

import pytest
from django.utils import timezone

from integrations import outbox, services
from integrations.clients import client_for
from integrations.clover import writers
from integrations.clover.writers import PushCustomer
from integrations.kit import client as http
from integrations.kit.writers import WriteContext
from integrations.models import Credential, Customer
from loyalty.models import Identifier, Persona, Source
from tests.integrations.sandbox.clover_client import Client as Raw

from ..writing import deliver_due, due_now, sign_up, the_write

pytestmark = pytest.mark.django_db
PHONE = "3035557001"


def create(shop):
    return f"/v3/merchants/{shop.credential.origin.identity}/customers"


def there(shop, phone=PHONE):
    """Clover's customers with this number, oldest first: (id, first name)."""
    rows = Raw(shop.sandbox.url).all("/customers", "expand=phoneNumbers", "orderBy=customerSince ASC")
    return [
        (row["id"], row.get("firstName", ""))
        for row in rows
        if phone in ["".join(c for c in one["phoneNumber"] if c.isdigit()) for one in row["phoneNumbers"]["elements"]]
    ]


def nova(shop, **more):
    return sign_up(shop.account, **({"phone": PHONE, "first_name": "Nova", "last_name": "Reed"} | more))


@pytest.mark.parametrize("lost", ["lost", "cut", "slow", "garbled_record"])
@pytest.mark.parametrize("shared", [False, True])
def test_an_answer_that_was_lost_is_looked_for(on, monkeypatch, lost, shared):
    """Clover created the shopper and we did not hear of it. Also where others bear the number."""
    others = [on.control("edit", first_name="Bob", phone=PHONE)["customer_id"]] if shared else []
    persona = nova(on)
    if shared:
        Identifier.unscoped.filter(persona=persona).update(shared=True)
    with monkeypatch.context() as patched:
        if lost == "garbled_record":
            real = http.Client.post_json
            patched.setattr(http.Client, "post_json", lambda *a, **k: real(*a, **k) and {"id": 5.5, "phoneNumbers": 7})
        else:
            on.fault(lost, match=create(on), method="POST", **({"seconds": 1.5} if lost == "slow" else {}))
        assert deliver_due() == 0
    write = the_write()
    assert (write.state, write.attempts) == ("waiting", 1) and write.asked_at and write.payload["phone"] == f"+1{PHONE}"
    made = [found for found, _ in there(on) if found not in others]
    assert len(made) == 1
    due_now()
    assert deliver_due() == 1
    assert sorted(found for found, _ in there(on)) == sorted(others + made), "and no second one"
    assert (the_write().state, the_write().external_id, the_write().payload) == ("sent", made[0], {})
    # landed at once, from what was read there, and the shopper's
    assert Customer.unscoped.get(external_id=made[0]).first_name == "Nova"
    assert Source.unscoped.get(customer__external_id=made[0]).persona_id == persona.pk


def test_it_is_found_though_the_look_up_does_not_know_it_yet(on, monkeypatch):
    """Nothing promises that a phone can be looked up at once: the list of who came since tells it."""
    nova(on)
    on.fault("lost", match=create(on), method="POST")
    deliver_due()
    due_now()
    real = http.Client.get_json

    def behind(client, path, params=None, **more):
        late = any(
            value.startswith(("phoneNumber=", "emailAddress=")) for _, value in params or () if type(value) is str
        )
        return {"elements": []} if late else real(client, path, params, **more)

    monkeypatch.setattr(http.Client, "get_json", behind)
    assert deliver_due() == 1
    assert the_write().state == "sent" and len(there(on)) == 1


def test_a_time_out_before_clover_acted_ends_in_one(on):
    nova(on)
    on.fault("timeout", match=create(on), method="POST", seconds=1)
    deliver_due()
    assert there(on) == []
    due_now()
    assert deliver_due() == 1
    assert len(there(on)) == 1


class Killed(BaseException):
    """The process is gone: nothing of ours runs any more."""


@pytest.mark.parametrize("seam", ["before the call", "after the answer", "before our commit"])
def test_killed_at_each_step_nothing_doubles_and_nothing_is_lost(on, monkeypatch, seam):
    persona = nova(on)

    def die(*_, **__):
        raise Killed

    real = PushCustomer.create
    with monkeypatch.context() as patched:
        if seam == "before our commit":
            patched.setattr(outbox.Batch, "_created", die)
        else:
            patched.setattr(
                PushCustomer, "create", staticmethod(die if seam == "before the call" else lambda *g: die(real(*g)))
            )
        with pytest.raises(Killed):
            deliver_due()
    assert len(there(on)) == (seam != "before the call")
    for _ in range(3):
        due_now()
        deliver_due()
    ((found, _),) = there(on)
    assert (the_write().state, the_write().external_id) == ("sent", found)
    assert Source.unscoped.get(customer__external_id=found).persona_id == persona.pk
    assert Persona.unscoped.filter(phone=f"+1{PHONE}").count() == 1


def test_a_shared_number_is_somebody_only_with_the_name(on):
    """Also behind more of them than fit on a page."""
    for n in range(12):
        on.control("edit", first_name=f"Bob{n}", last_name="Reed", phone=PHONE)
    persona = nova(on)
    Identifier.unscoped.filter(persona=persona).update(shared=True)
    deliver_due()
    assert the_write().state == "sent" and [name for _, name in there(on)].count("Nova") == 1
    made = the_write().external_id
    payload = {"phone": f"+1{PHONE}", "first_name": " nova ", "last_name": "REED", "shared": ["phone"]}
    context = WriteContext(now=timezone.now(), identity=on.credential.origin.identity, key="k")
    credential = Credential.unscoped.select_related("connection", "account").get()
    with client_for(credential, services.card("clover")) as client:
        assert PushCustomer.find(client, payload, context) == made
        assert PushCustomer.find(client, payload | {"first_name": "Zoe"}, context) == ""
        assert PushCustomer.find(client, payload | {"first_name": "Zoe", "shared": []}, context) == there(on)[0][0]


def test_whom_clover_does_not_take_fails_with_its_sentence(on, monkeypatch):
    body = writers._body
    monkeypatch.setattr(writers, "_body", lambda payload: body(payload) | {"firstName": "x" * 65})
    nova(on)
    deliver_due()
    write = the_write()
    assert (write.state, write.asked_at, write.payload, there(on)) == ("failed", None, {}, [])
    assert write.message.startswith("Clover does not take this customer: ")
