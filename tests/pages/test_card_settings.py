"""The settings of a card as a merchant meets them: chosen, refused beside the field, saved, frozen, erased."""

import json
from io import StringIO

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError
from django.utils import timezone

from aiqsync.accounts.models import AuditLine
from aiqsync.accounts.roles import Role
from aiqsync.accounts.tenancy import acting_in
from integrations import services
from integrations.kit.records import CustomerRecord
from integrations.models import (
    Connection,
    Credential,
    Customer,
    Location,
    Origin,
    OutsideMarket,
    PricingGroup,
    StreamState,
)
from loyalty import why
from tests.records import arrive

from .test_integrations import (
    CARD,
    LIST,
    MOST_QUERIES,
    connect,
    costs,
    map_everything,
    pos,
    pull_everything,
    sandbox,
    signed_in,
    text,
    typed,
)
from .test_integrations import account as account
from .test_integrations import owner as owner

__all__ = ["pos", "sandbox", "typed"]


@pytest.fixture
def connected(owner, account, pos, typed):
    connect(owner, typed)
    map_everything(owner, account)
    with acting_in(account.pk):
        return Credential.objects.select_related("connection").get()


def save(client, **fields):
    return client.post(CARD + "settings", fields, follow=True)


def logged(account, act) -> list[dict]:
    with acting_in(account.pk):
        return list(AuditLine.objects.filter(act=act).order_by("id").values_list("detail", flat=True))


def test_every_declared_setting_is_explained_and_grouped(owner, connected):
    page = text(owner.get(CARD))
    for setting in services.card("cova").settings:
        for said in (setting.label, setting.help, setting.effect, setting.warning, setting.interplay):
            assert " ".join(said.split()) in page, setting.name
    assert page.index("Data Relevant market") < page.index("Personas Sync Personas") < page.index("Loyalty Enroll")
    body = owner.get(CARD).content.decode()
    assert body.index("British Columbia") < body.index("Washington")  # the account's own country first


def test_saved_together_and_written_down_with_what_it_was(owner, account, connected):
    with acting_in(account.pk):
        place = Location.objects.order_by("external_id").first().external_id
        group = PricingGroup.objects.create(account=account, origin=connected.origin, external_id="g9", name="Staff")
    market = f"relevant_market-{connected.pk}"
    answer = save(
        owner, **{market: ["CA-BC", "CA-AB"], "restrict_locations": [place], "sync_personas": "on",
                  "sync_to_market": "on", "pricing_group": group.external_id},
    )  # fmt: skip
    assert "Settings saved" in text(answer) and "Mapped to a store, but without sales from now on" in text(answer)
    with acting_in(account.pk):
        link = Connection.objects.get()
        assert Credential.objects.get().settings == {"relevant_market": ["CA-AB", "CA-BC"]}
    assert (
        link.settings["restrict_locations"] == [place]
        and link.settings["sync_to_market"]
        and "sync_personas" in link.since
    )
    line = logged(account, "integration.settings_saved")[-1]
    assert line["before"]["sync_personas"] is False and line["after"][market] == ["CA-AB", "CA-BC"]


def test_what_is_refused_stands_beside_its_field_and_nothing_typed_is_lost(owner, account, connected):
    answer = save(owner, sync_to_market="on", skip_payment_method="on", sms_optin_after="2026-03-01x")
    page = answer.content.decode()
    assert answer.status_code == 422 and "Nothing was saved" in text(answer)
    assert 'id="error_sms_optin_after"' in page and "“2026-03-01x” is none." in text(answer)
    switch = page[page.index('id="setting_skip_payment_method"') :]
    assert "checked" in switch[: switch.index(">")]
    answer = save(owner, sync_to_market="on", skip_payment_method="on")
    assert 'id="error_sync_to_market"' in answer.content.decode() and "needs a market" in text(answer)
    with acting_in(account.pk):
        assert Connection.objects.get().settings == {}
    assert not logged(account, "integration.settings_saved")


def about_settings(account) -> list[str]:
    with acting_in(account.pk):
        lines = AuditLine.objects.filter(act__contains="setting").order_by("id")
        return list(lines.values_list("act", flat=True))


def test_what_is_proposed_and_confirmed_is_written_down_once(owner, account, connected, typed):
    save(owner, enrol_after="2026-03-01", skip_payment_method="on")
    assert sorted(about_settings(account)) == ["integration.settings_saved", "setting.proposed"]
    with acting_in(account.pk):
        AuditLine.objects.all().delete()
    pairs = [f"--set={name}={value}" for name, value in {**typed, "enrol_after": "2026-04-01"}.items()]
    out = StringIO()
    call_command("connect", "cova", "--account", account.uid, *pairs, "--yes", stdout=out)
    assert json.loads(out.getvalue().splitlines()[-1])["changes"]["enrol_after"]["state"] in ("applying", "applied")
    assert about_settings(account)[:2] == ["setting.proposed", "setting.confirmed"]
    assert logged(account, "setting.confirmed")[0]["after"] == "2026-04-01"


def test_what_somebody_else_changed_meanwhile_is_not_put_back(owner, account, connected):
    with acting_in(account.pk):
        services.save_settings(connection=connected.connection, given={"sync_personas": True}, now=timezone.now())
    # A tab from before: it showed both off, and its person turned one on.
    save(owner, **{"initial-sync_personas": "", "initial-skip_payment_method": "", "skip_payment_method": "on"})
    with acting_in(account.pk):
        found = Connection.objects.get().settings
    assert found["sync_personas"] is True and found["skip_payment_method"] is True


def test_the_last_market_does_not_go_while_something_needs_it_but_both_go_together(owner, account, connected):
    market = f"relevant_market-{connected.pk}"
    save(owner, **{market: ["CA-BC"], "sync_to_market": "on"})
    assert "turn it off first" in text(save(owner, **{"sync_to_market": "on"}))
    assert "Settings saved" in text(save(owner))
    with acting_in(account.pk):
        assert Credential.objects.get().settings == {"relevant_market": []}


@pytest.mark.parametrize("whole", [True, False])
def test_frozen_says_since_when_and_costs_no_fee(owner, account, connected, whole):
    pull_everything(account)
    route = CARD + ("freeze/" if whole else f"credentials/{connected.pk}/freeze/")
    assert "Nothing is deleted." in text(owner.get(route))
    page = text(owner.post(route, {"act": "freeze"}, follow=True))
    assert "Frozen since" in page or "is frozen" in page
    assert "Its data is as of" in page and "45 USD" not in page and "Sync now" not in page
    assert "Frozen: not asked" in page
    assert "Needs attention" not in page
    owner.post(route, {"act": "freeze"})  # again changes nothing, not even since when
    assert len(logged(account, "integration.frozen")) == 1
    page = text(owner.post(route, {"act": "unfreeze"}, follow=True))
    assert "is read again, from where it stopped" in page and "45 USD" in page and "Sync now" in page


def test_disconnected_while_frozen_it_can_be_connected_again(owner, account, connected, typed):
    with acting_in(account.pk):
        services.freeze(credential=connected, now=timezone.now())
    owner.post(f"{CARD}credentials/{connected.pk}/disconnect/")
    with acting_in(account.pk):
        assert Credential.objects.get().frozen_at is None
    page = text(owner.get(CARD))
    assert "Frozen since" not in page and "Use last backup" not in page
    connect(owner, typed)
    with acting_in(account.pk):
        assert (Credential.objects.get().state, Credential.objects.get().frozen_at) == ("connected", None)


def test_a_frozen_card_with_nothing_in_use_says_so_and_can_be_thawed(owner, account, connected, typed):
    route = CARD + "freeze/"
    owner.post(route, {"act": "freeze"})
    owner.post(f"{CARD}credentials/{connected.pk}/disconnect/")
    page = text(owner.get(CARD))
    assert "Use last backup is on" in page and "cannot be connected either" in page
    assert owner.get(CARD).content.decode().count(f'href="{route}"') == 2  # beside the notice, and among the settings
    connect(owner, typed)
    assert "is frozen" in text(owner.get(f"{CARD}credentials/{connected.pk}/"))
    owner.post(route, {"act": "unfreeze"})
    assert "Use last backup" not in text(owner.get(CARD))  # with nothing in use there is nothing to freeze
    connect(owner, typed)
    with acting_in(account.pk):
        assert Credential.objects.get().state == "connected"


def test_a_source_is_erased_only_disconnected_and_typed(owner, account, connected):
    pull_everything(account)
    route = f"{CARD}credentials/{connected.pk}/erase/"
    assert "Disconnect it first" in text(owner.get(route))
    assert "Erase its data" not in text(owner.get(CARD))
    owner.post(f"{CARD}credentials/{connected.pk}/disconnect/")
    assert "Erase its data" in text(owner.get(CARD))
    page = text(owner.get(route))
    with acting_in(account.pk):
        count = Customer.objects.count()
    assert f"Customers of Cova {count:,} erased" in page
    refused = owner.post(route, {"act": "erase", "typed": "cova"})
    assert refused.status_code == 422 and "exactly" in text(refused)
    answer = owner.post(route, {"act": "erase", "typed": connected.origin.identity}, follow=True)
    assert "Erasing Cova company" in text(answer)
    assert "See how far it is" in text(owner.get(CARD))
    stopped = text(owner.post(route, {"act": "stop"}, follow=True))
    assert "Stopped at" in stopped and "Go on erasing" in stopped
    operator = signed_in(account, Role.OPERATOR)
    assert operator.get(route).status_code == operator.post(route).status_code == 403


@pytest.mark.parametrize("role", [Role.MANAGER, Role.ANALYST])
def test_who_may_look_sees_what_is_chosen_and_cannot_choose(account, owner, connected, role):
    guest = signed_in(account, role)
    page = guest.get(CARD).content.decode()
    assert "Skip importing payment method" in page and 'name="initial-' not in page
    for route in (
        "settings",
        "accrual/",
        "freeze/",
        f"credentials/{connected.pk}/freeze/",
        f"credentials/{connected.pk}/erase/",
    ):
        assert guest.post(CARD + route).status_code == 403


def test_what_the_page_asks_of_the_database(owner, account, connected):
    pull_everything(account)
    plain = costs(owner, CARD)
    save(owner, **{f"relevant_market-{connected.pk}": ["CA-BC"], "skip_payment_method": "on"})
    # One statement a subject of the page, however much there is of it; the next test of its kind holds that.
    assert plain <= 26 and costs(owner, CARD) <= plain + 2


def test_why_answers_that_somebody_is_outside_the_market(account, owner, connected):
    with acting_in(account.pk):
        services.save_credential_settings(credential=connected, given={"relevant_market": "BC"}, now=timezone.now())
        record = CustomerRecord("c-far", "Ben", phone="+16135550143", state="ON", version=1)
        arrive(connected.origin, CustomerRecord, [record], stream="customers", now=timezone.now())
        assert OutsideMarket.objects.get().external_id == "c-far"
        told = why.answer(account=account, term="613 555 0143", now=timezone.now())
    assert told.branch == "outside_market" and "lives in ON" in told.sentence and told.remedy.act == "card"
    assert "Open the settings of Cova" in text(owner.get("/admin/why/?q=6135550143"))


def test_the_command_line_takes_every_setting(account, pos, typed):
    given = {
        **typed,
        "relevant_market": "BC,Alberta",
        "sync_personas": "on",
        "sync_to_market": "on",
        "skip_payment_method": "on",
    }

    def run(**more):
        out = StringIO()
        pairs = [f"--set={name}={value}" for name, value in {**given, **more}.items()]
        call_command("connect", "cova", "--account", account.uid, *pairs, stdout=out)
        return json.loads(out.getvalue().splitlines()[-1])

    done = run()
    with acting_in(account.pk):
        link, one = Connection.objects.get(), Credential.objects.get()
    assert one.settings == {"relevant_market": ["CA-AB", "CA-BC"]} and link.settings["sync_to_market"] is True
    assert done["settings"]["skip_payment_method"] is True and done["changes"] == {}
    assert run(frozen="on")["settings"] == {"frozen": True}
    with acting_in(account.pk):
        assert Connection.objects.get().frozen_at
    assert run(frozen="off")["started"] == 0
    with acting_in(account.pk):
        assert Connection.objects.get().frozen_at is None
    with pytest.raises(CommandError, match="no state or province"):
        run(relevant_market="Bavaria")
    assert logged(account, "integration.settings_saved")[0]["after"]["sync_personas"] is True


def another_company(account, number: int) -> Credential:
    """A second log-in of the same card, with its market and its balances being read."""
    link = Connection.objects.get(card="cova")
    origin = Origin.objects.create(platform="cova", identity=f"other-{number}", title=f"Company {number}")
    made = Credential.objects.create(
        connection=link, origin=origin, state="connected", connected_at=timezone.now(),
        settings={"relevant_market": ["CA-BC"]},
    )  # fmt: skip
    for n in range(number):
        Customer.objects.create(origin=origin, external_id=f"c{n}", state="", country="CA")
        OutsideMarket.objects.create(origin=origin, external_id=f"o{n}", state="ON")
    for stream in ("locations", "customers", "sales", "points"):
        StreamState.objects.create(credential=made, stream=stream, first_done_at=timezone.now())
    return made


def test_five_credentials_cost_what_one_costs(owner, account, pos, typed):
    """The page, and what is asked every second while it is open; each credential's figures are its own."""
    connect(owner, typed)
    with acting_in(account.pk):
        first = Credential.objects.get()
        first.settings = {"relevant_market": ["CA-BC"]}
        first.save()
        StreamState.objects.create(credential=first, stream="points")
        StreamState.objects.update(first_done_at=timezone.now())
    pages = [CARD, CARD + "progress", LIST]
    one = {page: costs(owner, page) for page in pages}
    with acting_in(account.pk):
        for number in range(2, 6):
            another_company(account, number)
    five = {page: costs(owner, page) for page in pages}
    assert five == one
    assert max(one.values()) <= MOST_QUERIES + 2  # the market's figures, and how long a round takes
    page = text(owner.get(CARD))
    for number in range(2, 6):
        assert f"{number} of Cova's customers stay outside; {number} who came in have no state." in page
    notes = {row["of"]: row["note"] for row in owner.get(CARD + "progress").json()["streams"] if row["note"]}
    assert notes["Company 5"].startswith("One round over 5 shoppers takes about 1 s")
    assert notes["Company 2"].startswith("One round over 2 shoppers")
