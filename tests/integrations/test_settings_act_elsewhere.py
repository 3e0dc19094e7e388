"""Every setting that a card declares acts with that card's own data; a card that declares one without a proof fails.

Cova's own are in test_settings_act.py. Here are those of Clover, Partner REST and the Push API, and what acts on people
for all of them.
"""

from datetime import timedelta
from importlib import import_module
from operator import attrgetter

import pytest
from django.utils import timezone

from integrations import registry, services
from integrations.clients import client_for
from integrations.kit.errors import Frozen
from integrations.models import (
    ChangeState,
    Customer,
    OutboundWrite,
    OutsideMarket,
    Sale,
    SettingChange,
    StreamState,
    SyncRun,
)
from loyalty import jobs, messages
from loyalty.models import Job, Message, Persona, SaleState, Source
from tests.factories import make_user

from . import test_settings_act  # noqa: F401  (registers Cova's)
from .proving import PROOFS, proves
from .tills import credential_of, due_again, freeze
from .writing import deliver_due, due_now, sign_up, the_write

pytestmark = pytest.mark.django_db
PULLED = ("clover", "partner")
ALL = ("cova", "clover", "partner", "push")

# Proved beside what they set in motion.
ELSEWHERE = {
    ("cova", "sync_personas"): ("tests.integrations.test_outbox", "test_sync_personas_acts"),
    ("cova", "pricing_group"): ("tests.integrations.test_outbox", "test_pricing_group_acts"),
    ("cova", "points_import_on"): ("tests.loyalty.test_pos_points", "TestImport.test_points_import_on_acts"),
    ("cova", "mirror_points"): ("tests.loyalty.test_pos_points", "TestMirror.test_mirror_points_acts"),
    ("clover", "skip_payment_method"): (
        "tests.integrations.clover.test_clover_runs", "test_names_of_payments_are_left_out_when_skipped",
    ),
    ("files", "frozen"): (
        "tests.integrations.files.test_drops", "TestFolder.test_what_was_fetched_waits_while_its_place_is_frozen",
    ),
    ("push", "frozen"): (
        "tests.loyalty.api.test_push", "TestWhenItIsNotTaken.test_frozen_asks_to_come_again_and_holds_the_data",
    ),
}  # fmt: skip
for (slug, setting), (module, test) in ELSEWHERE.items():
    proves(setting, slug)(attrgetter(test)(import_module(module)))

DECLARED = [(card.slug, s.name) for card in registry.CARDS.values() for s in card.settings]


@pytest.mark.parametrize(("slug", "setting"), DECLARED)
def test_every_declared_setting_has_a_proof(slug, setting):
    assert PROOFS.get((slug, setting)), f"{slug} declares {setting}, and nothing proves that it acts with its data"


def test_no_proof_is_of_a_setting_that_no_card_has():
    assert set(PROOFS) <= set(DECLARED)


def here(identity: str) -> Customer | None:
    return Customer.unscoped.filter(external_id=identity).first()


# What comes in


@proves("relevant_market", "clover", "partner", "push")
def test_only_the_market_comes_in_and_the_rest_leaves_no_personal_data(till):
    till.connect()
    till.set(relevant_market=[till.market])
    near = till.person("Ada", "3035550142", till.near)
    far = till.person("Ben", "3035550143", till.far)
    nowhere = till.person("Cara", "3035550144")
    sold = till.sell(far)
    till.arrive(full=True)
    assert here(near) and here(nowhere) and not here(far)
    left = OutsideMarket.unscoped.get()
    assert (left.external_id, left.state) == (far, till.far)
    told = " ".join(str(value) for value in vars(left).values())
    assert "3035550143" not in told and "Ben" not in told
    sale = Sale.unscoped.get(external_id=sold)
    assert sale.total_cents > 0 and not SaleState.unscoped.filter(sale=sale).exclude(persona=None).exists()

    till.set(relevant_market=[])
    if till.card == "push":
        till.edit(far, first_name="Ben", phone="3035550143", state=till.far)  # its POS tells of him again
    else:
        assert StreamState.unscoped.get(credential=till.credential, stream="customers").cursor == {}
    till.arrive()
    assert here(far) and not OutsideMarket.unscoped.exists()
    assert SaleState.unscoped.get(sale=sale).persona_id


@proves("relevant_market", "clover", "partner", "push")
def test_who_moves_in_comes_in_and_who_moves_away_stays(till):
    till.connect()
    till.set(relevant_market=[till.market])
    one, other = till.person("Ada", "3035550142", till.near), till.person("Ben", "3035550143", till.far)
    till.arrive(full=True)
    till.edit(one, state=till.far, first_name="Adele")
    till.edit(other, state=till.near)
    till.arrive(full=True)
    assert here(one).first_name == "Adele" and here(one).state == till.far
    assert here(other) and not OutsideMarket.unscoped.exists()


@proves("sync_to_market", "clover")
def test_only_those_known_to_live_there_and_no_edits_of_the_others(till):
    till.connect()
    before = till.person("Dev", "3035550145")
    till.arrive()
    with pytest.raises(services.Problems, match="needs a market"):
        till.set(sync_to_market=True)
    near, far = till.person("Ada", "3035550142", till.near), till.person("Ben", "3035550143", till.far)
    nowhere = till.person("Cara", "3035550144")
    till.set(relevant_market=[till.market], sync_to_market=True)
    till.edit(before, first_name="Devin")
    till.arrive(full=True)
    assert here(near) and not here(far) and not here(nowhere)
    assert here(before).first_name == "Dev"  # stays, without further edits
    till.set(sync_to_market=False)
    till.arrive(full=True)
    assert here(nowhere) and not here(far)


# Both ways


@proves("sync_personas", "clover")
def test_off_new_customers_arrive_and_edits_do_not_and_nobody_is_created(till):
    till.connect(sync_personas=False)
    one = till.person("Ada", "3035550142", till.near)
    till.arrive()
    till.edit(one, first_name="Adele", phone="3035550199")
    new = till.person("Ben", "3035550143", till.near)
    till.arrive(full=True)
    assert here(new).first_name == "Ben"
    assert (here(one).first_name, here(one).phone) == ("Ada", "+13035550142")
    sign_up(till.account, phone="3035550150", first_name="Nova")
    assert deliver_due() == 0 and not OutboundWrite.unscoped.exists()


@proves("sync_personas", "clover")
def test_on_edits_flow_from_that_moment_and_who_signs_up_is_created_once(till):
    till.connect(sync_personas=False)
    one, other = till.person("Ada", "3035550142", till.near), till.person("Ben", "3035550143", till.near)
    till.arrive()
    till.edit(one, first_name="Adele")
    link = till.credential.connection
    services.save_settings(connection=link, given={"sync_personas": True}, now=timezone.now() + timedelta(seconds=2))
    till.arrive(full=True)
    assert here(one).first_name == "Ada"  # edited before
    past = timezone.now() - timedelta(seconds=5)
    services.save_settings(connection=link, given={"sync_personas": False}, now=past)
    services.save_settings(connection=link, given={"sync_personas": True}, now=past)
    till.edit(other, first_name="Benno")
    till.arrive(full=True)
    assert here(other).first_name == "Benno"

    persona = sign_up(till.account, phone="3035550150", first_name="Nova", last_name="Reed")
    found = sign_up(till.account, phone="3035550143", first_name="Ben")
    deliver_due()
    due_now()
    assert deliver_due() == 0
    write = the_write(persona)
    assert (write.state, write.payload) == ("sent", {})
    assert not OutboundWrite.unscoped.filter(subject=str(found.contact_id), state="sent").exists()
    rows = [row for row in till.control("state?rows=1")["customers"]["rows"] if "3035550150" in row]
    assert len(rows) == 1 and rows[0].startswith(write.external_id) and "Nova" in rows[0]
    assert Source.unscoped.get(customer__external_id=write.external_id).persona_id == persona.pk
    till.arrive(full=True)
    assert Persona.unscoped.filter(phone="+13035550150").count() == 1


# Frozen


@proves("frozen", *PULLED)
def test_frozen_no_call_goes_to_the_pos_in_either_direction(till):
    till.connect()
    buyer = till.person("Ada", "3035550142", till.near)
    till.sell(buyer)
    till.arrive()
    credential = credential_of(till)
    writes = till.card == "clover"
    for number, target in enumerate(({"connection": credential.connection}, {"credential": credential})):
        with client_for(credential_of(till), services.card(till.card)) as made_before:
            freeze(target)
            till.from_now()
            with pytest.raises(Frozen):
                made_before.get_json("/anything")
        missed = till.sell(buyer)
        if writes:
            sign_up(till.account, phone=f"303555015{number}", first_name="Nova")
            due_now()
            deliver_due()
        due_again(till)
        assert services.dispatch_due(enqueue=lambda pk: None)["started"] == 0
        assert services.sync_now(connection=credential.connection, enqueue=lambda pk: None) == 0
        for state in StreamState.unscoped.filter(credential=credential):
            queued = SyncRun.unscoped.create(account=till.account, stream=state)
            assert services.run_slice(queued.pk) is False
            queued.refresh_from_db()
            assert (queued.status, queued.message) == ("stopped", "Frozen.")
        with pytest.raises(Frozen):
            services.connect(credential=credential_of(till), now=timezone.now())
        assert till.calls() == []
        assert not Sale.unscoped.filter(external_id=missed).exists()

        freeze(target, on=False)
        till.arrive()
        assert Sale.unscoped.filter(external_id=missed).exists()  # goes on and catches up
        if writes:
            due_now()
            deliver_due()
            assert OutboundWrite.unscoped.filter(state="sent").count() == number + 1


# What acts on people


def put_on(till, setting: str, days_ago: int) -> SettingChange:
    """Propose it from that day, let it be counted, and return the change."""
    day = timezone.localtime(timezone.now() - timedelta(days=days_ago)).date().isoformat()
    saved = services.save_settings(
        connection=credential_of(till).connection, given={setting: day}, now=timezone.now(),
        user=make_user(till.account),
    )  # fmt: skip
    work(till)
    return SettingChange.unscoped.get(pk=saved.proposed[setting])


def confirm(till, change: SettingChange) -> SettingChange:
    services.confirm(change=change, user=make_user(till.account), now=timezone.now())
    work(till)
    change.refresh_from_db()
    assert change.state == ChangeState.APPLIED, change.message
    return change


def work(till) -> None:
    for job in Job.unscoped.filter(account=till.account, state="queued").order_by("id"):
        while jobs.run_slice(job.pk):
            pass


def persona_of(identity: str) -> Persona:
    return Persona.unscoped.get(sources__customer__external_id=identity)


@proves("enrol_after", *ALL)
def test_who_bought_since_the_day_is_a_member_after_the_dry_run_and_who_buys_later_too(till):
    till.connect()
    buyer, earlier, later = (
        till.person(name, f"303555014{n}", till.near) for n, name in enumerate(("Ada", "Ben", "Cy"))
    )
    till.sell(buyer, 5)
    till.sell(earlier, 30)
    till.arrive()
    change = put_on(till, "enrol_after", 10)
    assert (change.state, change.counted["shoppers"], change.counted["texts"]) == (ChangeState.COUNTED, 1, 0)
    assert not persona_of(buyer).is_member
    confirm(till, change)
    assert persona_of(buyer).is_member and not persona_of(earlier).is_member and not persona_of(later).is_member
    till.sell(later)
    till.arrive()
    assert persona_of(later).is_member


@proves("sms_optin_after", *ALL)
def test_who_bought_since_the_day_is_asked_once_after_the_dry_run_and_who_buys_later_too(till, monkeypatch):
    monkeypatch.setattr(messages, "next_allowed", lambda now, zone: now)
    till.connect()
    buyer, earlier, later = (
        till.person(name, f"303555014{n}", till.near) for n, name in enumerate(("Ada", "Ben", "Cy"))
    )
    till.sell(buyer, 5)
    till.sell(earlier, 30)
    till.arrive()
    change = put_on(till, "sms_optin_after", 10)
    assert (change.state, change.counted["texts"]) == (ChangeState.COUNTED, 1)
    assert not Message.unscoped.exists()
    confirm(till, change)
    assert [one.address for one in Message.unscoped.all()] == ["+13035550140"]
    till.sell(later)
    till.arrive()
    work(till)
    assert {one.address for one in Message.unscoped.all()} == {"+13035550140", "+13035550142"}
    till.arrive()
    work(till)
    assert Message.unscoped.count() == 2
