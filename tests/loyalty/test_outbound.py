"""What loyalty does for the outbox, beside those who change the same people."""

import pytest
from django.utils import timezone

from aiqsync.accounts.tenancy import acting_in
from integrations import outbox, services
from integrations.kit.records import CustomerRecord
from integrations.models import Connection, Credential, Customer, Origin, OutboundWrite
from loyalty import erasure, outbound
from loyalty.models import Source
from tests.factories import make_account, make_persona

from .race import Cut, overlap

NOW = timezone.now()
PHONE = "+16045550142"


class Creating:
    """An account whose Cova creates sign-ups, and one of them on its way."""

    def __init__(self, **persona) -> None:
        self.account = make_account()
        self.origin = Origin.unscoped.create(account=self.account, platform="cova", identity="1")
        link = Connection.unscoped.create(account=self.account, card="cova", settings={"sync_personas": True})
        self.credential = Credential.unscoped.create(
            account=self.account, connection=link, origin=self.origin, state="connected"
        )
        self.persona = make_persona(self.account, **{"phone": PHONE} | persona)
        services.enqueue_writes(
            account_id=self.account.pk, origin_id=self.origin.pk, writer="customer",
            subjects={outbound.key_of(self.persona.contact_id): str(self.persona.contact_id)}, now=NOW,
        )  # fmt: skip
        self.write = OutboundWrite.unscoped.get()

    def batch(self) -> outbox.Batch:
        """Claimed, and working on it."""
        assert outbox._claim(self.origin.pk, ["customer"], "token")
        batch = outbox.Batch(self.origin.pk, "token", 20)
        batch.credential = self.credential
        return batch

    def erase(self):
        with acting_in(self.account.pk):
            return erasure.erase(account_id=self.account.pk, persona_id=self.persona.pk, user=None, now=NOW)


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("locked", [True, False], ids=["locked", "control"])
def test_removed_while_what_came_of_a_create_is_saved(locked):
    """The removal waits for the record that is being saved, and takes it out as well."""
    shop = Creating()
    batch = shop.batch()
    record = CustomerRecord("c1", "Ada", "Moss", PHONE, PHONE)
    cut = None if locked else Cut("integrations_origin")
    second = overlap(lambda: batch._created(shop.write, "c1", record, NOW), shop.erase, cut=cut)
    assert second.answer().created and second.waited
    assert Customer.unscoped.filter(phone=PHONE).exists() is not locked
    if locked:
        assert OutboundWrite.unscoped.get().external_id == ""


@pytest.mark.django_db
def test_whose_the_record_is_stands_before_anybody_is_matched():
    shop = Creating()
    batch = shop.batch()
    batch._created(shop.write, "c1", CustomerRecord("c1", "Ada", "Moss", "+16045550199", ""), NOW)
    source = Source.unscoped.get()
    assert (source.persona_id, source.matched_by) == (shop.persona.pk, "created")


@pytest.mark.django_db
def test_two_pos_that_create_get_one_write_each_and_a_known_one_none():
    from loyalty import personas
    from tests.records import customer, land_customers, the_customer

    account = make_account()
    origins = []
    for identity in ("1", "2", "3"):
        origins.append(Origin.unscoped.create(account=account, platform="cova", identity=identity))
        link = Connection.unscoped.get_or_create(
            account=account, card="cova", defaults={"settings": {"sync_personas": True}}
        )[0]
        Credential.unscoped.create(account=account, connection=link, origin=origins[-1], state="connected")
    persona = make_persona(account, phone=PHONE, member=False)
    land_customers(origins[0], customer("c1", phone=PHONE))
    Source.unscoped.create(
        account=account, persona=persona, customer=the_customer(origins[0], "c1"), matched_by="phone"
    )
    Credential.unscoped.filter(origin=origins[2]).update(state="disconnected")
    with acting_in(account.pk):
        personas.enrol(persona=persona, ground="form", from_date=NOW.date(), now=NOW)
    assert [write.origin_id for write in OutboundWrite.unscoped.all()] == [origins[1].pk]


@pytest.mark.django_db
def test_a_record_in_another_pos_tells_where_they_live():
    from tests.records import customer, land_customers, the_customer

    shop = Creating()
    Connection.unscoped.update(settings={"sync_personas": True, "sync_to_market": True})
    Credential.unscoped.update(settings={"relevant_market": ["CA-BC"]})
    assert outbound.wanted(write_id=shop.write.pk, now=NOW).held == outbound.NO_STATE
    other = Origin.unscoped.create(account=shop.account, platform="cova", identity="2")
    land_customers(other, customer("c9", phone=PHONE, state="BC", country="CA", city="Nelson"))
    record = the_customer(other, "c9")
    Source.unscoped.create(account=shop.account, persona=shop.persona, customer=record, matched_by="phone")
    payload = outbound.wanted(write_id=shop.write.pk, now=NOW).payload
    assert (payload["state"], payload["country"], payload["city"]) == ("BC", "CA", "Nelson")
    Credential.unscoped.update(settings={"relevant_market": ["US-WA"]})
    assert outbound.wanted(write_id=shop.write.pk, now=NOW).held == outbound.OUTSIDE


@pytest.mark.django_db
def test_signing_up_many_by_hand_asks_once_for_all_of_them(django_assert_max_num_queries):
    from loyalty import personas

    shop = Creating()
    with acting_in(shop.account.pk):
        people = [make_persona(shop.account, phone=f"+1604777{n:04d}", member=False) for n in range(60)]
        with django_assert_max_num_queries(40):
            personas.enrol_many(
                account_id=shop.account.pk, persona_ids=[p.pk for p in people], ground="staff",
                from_date=NOW.date(), now=NOW,
            )  # fmt: skip
    assert OutboundWrite.unscoped.count() == 61
