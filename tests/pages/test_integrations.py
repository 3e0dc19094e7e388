"""Settings > Integrations as a merchant meets it: connect, map, watch, mend; who may; what is never shown."""

import re
from datetime import timedelta
from html import unescape

import pytest
import requests
from django.db import connection as database
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from aiqsync.accounts.models import AuditLine
from aiqsync.accounts.roles import Role
from aiqsync.accounts.tenancy import acting_in
from integrations import registry, services
from integrations.models import (
    Connection,
    Credential,
    Customer,
    Location,
    Origin,
    RefusedRow,
    RunStatus,
    StreamState,
    SyncRun,
)
from integrations.sandbox.server import start
from stores.models import Store, StoreMapping
from tests.factories import make_account, make_store, make_user

LIST = "/admin/integrations/"
CARD = "/admin/integrations/cova/"
MOST_QUERIES = 26
SECRETS = ("client_secret", "password")


@pytest.fixture(scope="module")
def sandbox():
    with start("cova", customers=40, sales=120, locations=3, seed=7, days=10, rate=0) as running:
        yield running


@pytest.fixture
def account(db):
    return make_account()


@pytest.fixture
def owner(account):
    return signed_in(account, Role.OWNER)


@pytest.fixture
def pos(sandbox, settings):
    """The stand-in behind the card, without faults; calls: `pos("faults", kind=...)`."""
    settings.CARD_BASE_URLS = {"cova": sandbox.url}
    settings.CARD_RATES = {"cova": 0}

    def control(route, **body):
        answer = requests.post(f"{sandbox.url}/_sandbox/{route}", json=body, timeout=30)
        assert answer.ok, answer.text
        return answer.json()

    control("faults", clear=True)
    yield control
    control("faults", clear=True)


@pytest.fixture
def typed(sandbox):
    told = requests.get(f"{sandbox.url}/_sandbox/credentials", timeout=10).json()
    return {field.name: str(told[field.name]) for field in registry.get("cova").credentials}


def signed_in(account, role) -> Client:
    client = Client()
    client.force_login(make_user(account, role))
    return client


def text(answer) -> str:
    """What is read on the page, without markup."""
    body = re.sub(r"<(script|style).*?</\1>", " ", answer.content.decode(), flags=re.S)
    return re.sub(r"\s+", " ", unescape(re.sub(r"<[^>]+>", " ", body)))


def beside(answer, field: str) -> str:
    """The sentence printed at a field."""
    found = re.search(rf'id="credential_{field}_error">.*?</span>(.*?)</p>', answer.content.decode(), re.S)
    return unescape(found[1]) if found else ""


def connect(client, typed, **other):
    return client.post(CARD + "credentials/new/", typed | {"act": "connect"} | other, follow=True)


def map_everything(client, account, choice="create"):
    with acting_in(account.pk):
        chosen = {f"location-{place.pk}": choice for place in Location.objects.all()}
    return client.post(CARD + "mapping/", chosen | {"act": "start"}, follow=True)


def pull_everything(account):
    with acting_in(account.pk):
        for state in StreamState.objects.order_by("id"):
            run = services.enqueue_run(state=state, enqueue=None)
            while services.run_slice(run.pk):
                pass


# The way from nothing to connected


def test_before_anything_is_connected(owner):
    page = text(owner.get(LIST))
    assert "Connect your point of sale" in page and "Not connected" in page and "15 USD per month" in page
    card = text(owner.get(CARD))
    for step in registry.get("cova").steps:
        assert step in card
    for field in registry.get("cova").credentials:
        assert field.label in card and field.help in card


def test_fault_7_1_from_nothing_to_connected_with_its_stores(owner, account, pos, typed):
    """The locations are known and mapped in the very act of connecting, before any row has been read."""
    answer = connect(owner, typed)
    assert answer.redirect_chain[-1][0] == CARD + "mapping/"
    page = answer.content.decode()
    assert "named 3 locations" in page
    assert page.count('<option value="create" selected>') == 3
    assert "3 locations are not mapped" in text(owner.get(CARD))  # until somebody says which they are
    with acting_in(account.pk):
        assert Location.objects.count() == 3 and not SyncRun.objects.exclude(status=RunStatus.QUEUED).exists()

    answer = map_everything(owner, account)
    assert answer.redirect_chain[-1][0] == CARD
    assert "The first sync is on its way" in text(answer) and "Syncing" in text(answer)
    with acting_in(account.pk):
        assert Store.objects.count() == StoreMapping.objects.count() == 3
        assert SyncRun.objects.filter(status=RunStatus.QUEUED).count() == 3  # sales wait for their customers

    pull_everything(account)
    page = text(owner.get(CARD))
    assert "Connected" in page and "Syncing" not in page
    assert "3 of 3" in page and "45 USD per month" in page and "3 mapped locations × 15 USD" in page
    listed = text(owner.get(LIST))
    assert "Sales read up to" in listed and "3 of 3 locations mapped" in listed
    with acting_in(account.pk):
        acts = set(AuditLine.objects.values_list("act", flat=True))
    assert {"integration.credential_saved", "integration.connected", "integration.mapped"} <= acts


def test_adding_only_stores(owner, account, pos, typed):
    answer = owner.post(CARD + "credentials/new/", typed | {"act": "add"}, follow=True)
    assert "Press Connect" in text(answer) and "Not connected" in text(answer)
    with acting_in(account.pk):
        stored = Credential.objects.get()
    assert stored.origin is None and stored.secrets["password"] == typed["password"]
    # Later: Connect with empty secrets takes the stored ones.
    again = {name: "" if name in SECRETS else value for name, value in typed.items()}
    answer = owner.post(f"{CARD}credentials/{stored.pk}/", again | {"act": "connect"}, follow=True)
    assert answer.redirect_chain[-1][0] == CARD + "mapping/"


def test_namesakes_are_found_and_nothing_is_a_choice(owner, account, pos, typed):
    connect(owner, typed)
    with acting_in(account.pk):
        first, second, _ = Location.objects.order_by("name")
        shop = make_store(account, first.name.upper())
    assert f'<option value="{shop.pk}" selected>' in owner.get(CARD + "mapping/").content.decode()
    answer = owner.post(
        CARD + "mapping/",
        {f"location-{first.pk}": shop.pk, f"location-{second.pk}": "none", "act": "save"},
        follow=True,
    )
    # One of them is said to be none of ours: only the third is still asked about.
    assert "1 of 3" in text(answer) and "1 location is not mapped" in text(answer)
    answer = owner.post(CARD + "mapping/", {f"location-{first.pk}": "none", "act": "save"}, follow=True)
    assert "0 of 3" in text(answer)


# What can go wrong, in sentences


@pytest.mark.parametrize(
    ("fault", "field", "sentence"),
    [
        ({"kind": "bad_password"}, "password", "Cova does not accept the username and password"),
        ({"kind": "temporary_password"}, "password", "The password Cova sent is temporary"),
        ({"kind": "no_permission", "match": "/crm"}, "username", "Manage Dispensary Specific Elements"),
    ],
)
def test_fault_7_4_what_the_pos_refuses_stands_beside_its_field(owner, account, pos, typed, fault, field, sentence):
    pos("faults", **{"match": "/", "times": -1} | fault)
    answer = connect(owner, typed)
    assert sentence in beside(answer, field)
    page = answer.content.decode()
    for name, value in typed.items():
        assert (value in page) == (name not in SECRETS), name
    # Nothing is typed twice: the secrets are there already, and once the POS is right Connect is enough.
    assert page.count("••••••••") == 2
    pos("faults", clear=True)
    again = {name: "" if name in SECRETS else value for name, value in typed.items()}
    where = answer.redirect_chain[-1][0]
    assert owner.post(where, again | {"act": "connect"}, follow=True).redirect_chain[-1][0] == CARD + "mapping/"


def test_another_company_is_said_at_the_company(owner, pos, typed):
    answer = connect(owner, typed, company_id="501900")
    # Cova answers the same for another's company and for a missing permission: both are said.
    assert "does not let this user see company 501900" in beside(answer, "company_id")


@pytest.mark.parametrize("fault", [{"kind": "html"}, {"kind": "500"}, {"kind": "timeout", "seconds": 0.2}])
def test_no_usable_answer_is_said_at_the_top(owner, pos, typed, fault):
    pos("faults", match="/", times=-1, **fault)
    answer = connect(owner, typed)
    page = text(answer)
    assert "Not connected yet" in page and "Press Connect to try again" in page and "Cova" in page
    assert not any(beside(answer, name) for name in typed)


def test_a_form_that_cannot_be_right(owner, account, pos, typed):
    answer = owner.post(CARD + "credentials/new/", typed | {"company_id": "12x", "username": "", "act": "connect"})
    assert answer.status_code == 422
    assert beside(answer, "company_id") == "Company ID is a number; yours has other characters."
    assert beside(answer, "username") == "Username is needed."
    page = answer.content.decode()
    assert 'value="12x"' in page and typed["password"] not in page and page.count("••••••••") == 2
    # The secrets typed the first time are kept.
    action = re.search(r'action="([^"]+)" id="credential"', page)[1]
    again = {name: "" if name in SECRETS else value for name, value in typed.items()}
    assert owner.post(action, again | {"act": "connect"}, follow=True).redirect_chain[-1][0] == CARD + "mapping/"


def test_the_same_company_twice(owner, account, pos, typed):
    connect(owner, typed)
    answer = connect(owner, typed)
    assert "is connected already" in beside(answer, "company_id")
    with acting_in(account.pk):
        assert Credential.objects.count() == 1


def test_a_refused_login_later_asks_for_attention(owner, account, pos, typed):
    connect(owner, typed)
    map_everything(owner, account)
    pull_everything(account)
    pos("faults", match="/", times=-1, kind="bad_password")
    pos("expire")
    with acting_in(account.pk):
        Credential.objects.update(token=None)
    pull_everything(account)
    page = text(owner.get(CARD))
    assert "Needs attention" in page and "Cova does not let us in" in page
    assert "Nothing is asked of Cova until the credential works again" in page
    assert "Needs attention" in text(owner.get(LIST))


def test_a_failure_says_when_it_is_tried_again(owner, account, pos, typed, clock):
    connect(owner, typed)
    with acting_in(account.pk):
        StreamState.objects.filter(stream="sales").update(
            failures=4,
            failing_since=timezone.now() - timedelta(hours=2),
            next_due=timezone.now() + timedelta(seconds=125),
            message="Cova did not answer.",
        )
    page = text(owner.get(CARD))
    assert "Sales could not be read Cova did not answer. It is tried again in 2 min by itself." in page
    assert "It has failed 4 times in a row, since 2 h ago" in page


def test_a_service_that_is_down_is_said(owner, account, pos, typed):
    connect(owner, typed)
    with acting_in(account.pk):
        StreamState.objects.update(next_due=timezone.now() - timedelta(minutes=10))
    page = text(owner.get(CARD))
    assert "Nothing is being read at the moment" in page and "Needs attention" in page


def test_a_live_credential_is_checked_whenever_it_is_changed(owner, account, pos, typed):
    connect(owner, typed)
    with acting_in(account.pk):
        pk = Credential.objects.get().pk
    assert 'value="add"' not in owner.get(f"{CARD}credentials/{pk}/").content.decode()
    answer = owner.post(f"{CARD}credentials/{pk}/", typed | {"password": "mistyped", "act": "add"}, follow=True)
    assert "Cova does not accept the username and password" in beside(answer, "password")
    # What works is not replaced by what was refused, and goes on.
    assert "Needs attention" not in text(answer)
    with acting_in(account.pk):
        kept = Credential.objects.get()
    assert (kept.state, kept.secrets["password"]) == ("connected", typed["password"])
    answer = owner.post(f"{CARD}credentials/{pk}/", typed | {"act": "add"}, follow=True)
    assert "Connected: Cova company" in text(answer)


# What is never shown, and to whom nothing is shown


def test_secrets_are_on_no_page(owner, account, pos, typed):
    connect(owner, typed)
    map_everything(owner, account)
    pull_everything(account)
    with acting_in(account.pk):
        pk = Credential.objects.get().pk
        token = Credential.objects.get().token
    pages = [LIST, CARD, CARD + "?runs=all", CARD + "progress", CARD + "mapping/", CARD + "credentials/new/"]
    pages += [f"{CARD}credentials/{pk}/", f"{CARD}credentials/{pk}/disconnect/"]
    for page in pages:
        answer = owner.get(page)
        assert answer.status_code == 200, page
        for secret in (typed["client_secret"], typed["password"], *map(str, token.values())):
            if len(secret) > 6:
                assert secret not in answer.content.decode(), page
    with acting_in(account.pk):
        logged = str(list(AuditLine.objects.values_list("detail", flat=True)))
    assert typed["password"] not in logged and typed["client_secret"] not in logged


def test_another_accounts_rows_are_not_found(owner, account, pos, typed):
    theirs = make_account("Other Co")
    other = signed_in(theirs, Role.OWNER)
    connect(other, typed)
    map_everything(other, theirs)
    with acting_in(theirs.pk):
        pk = Credential.objects.get().pk
        place = Location.objects.first()
        shop = Store.objects.first()
    for route in (f"credentials/{pk}/", f"credentials/{pk}/disconnect/"):
        assert owner.get(CARD + route).status_code == 404
        assert owner.post(CARD + route, typed | {"act": "connect"}).status_code == 404
    assert owner.post(CARD + "mapping/", {f"location-{place.pk}": "none"}).status_code == 404
    connect(owner, typed)
    with acting_in(account.pk):
        ours = Location.objects.first()
    assert owner.post(CARD + "mapping/", {f"location-{ours.pk}": shop.pk}).status_code == 404
    with acting_in(theirs.pk):
        assert StoreMapping.objects.count() == 3
        assert Credential.objects.get().state == "connected"
    assert shop.name not in text(owner.get(CARD + "mapping/")).replace(ours.name, "") or shop.name == ours.name
    assert owner.get("/admin/integrations/nothing/").status_code == 404


@pytest.mark.parametrize("role", [Role.MANAGER, Role.ANALYST])
def test_who_may_look_but_not_touch(owner, account, pos, typed, role):
    connect(owner, typed)
    guest = signed_in(account, role)
    assert guest.get(LIST).status_code == guest.get(CARD).status_code == guest.get(CARD + "progress").status_code == 200
    page = guest.get(CARD).content.decode()
    for words in ("Sync now", "Save settings", "Save mapping", "Add Credential", "Disconnect</a>", "<select"):
        assert words not in page
    with acting_in(account.pk):
        pk = Credential.objects.get().pk
    for route in ("credentials/new/", f"credentials/{pk}/", f"credentials/{pk}/disconnect/", "mapping/"):
        assert guest.get(CARD + route).status_code == 403
        assert guest.post(CARD + route, typed).status_code == 403
    assert guest.post(CARD + "sync").status_code == guest.post(CARD + "settings").status_code == 403


@pytest.mark.parametrize("role", [Role.STAFF, Role.MARKETING, Role.FINANCE])
def test_who_may_not_look(account, role):
    guest = signed_in(account, role)
    for page in (LIST, CARD, CARD + "progress"):
        assert guest.get(page).status_code == 403


def test_without_log_in_and_without_token(account, owner):
    assert Client().get(CARD).status_code == 302
    strict = Client(enforce_csrf_checks=True)
    strict.force_login(make_user(account, Role.OWNER))
    assert strict.post(CARD + "sync").status_code == 403


# The page of a connected card


@pytest.fixture
def clock(owner, monkeypatch):
    """The moment at which everything happens: what is told in seconds and minutes does not wait for a busy machine."""
    moment = timezone.now()
    monkeypatch.setattr("django.utils.timezone.now", lambda: moment)


def test_progress_from_the_runs_own_figures(owner, account, pos, typed, clock):
    connect(owner, typed)
    with acting_in(account.pk):
        place = Location.objects.first()
        state = StreamState.objects.get(stream="sales")
        SyncRun.objects.create(
            stream=state,
            status=RunStatus.RUNNING,
            started_at=timezone.now() - timedelta(seconds=100),
            lease_until=timezone.now() + timedelta(seconds=30),
            rows_read=5000,
            progress_done=25,
            progress_total=100,
            progress_note=f"location {place.external_id}, 3 Nov 2026",
        )
    told = owner.get(CARD + "progress").json()
    assert told["running"] and told["again_ms"] == 1000 and told["pill"]["label"] == "Syncing"
    sales = next(row for row in told["streams"] if row["title"] == "Sales")
    assert sales["status"] == "running" and sales["percent"] == 25
    assert sales["figures"] == "5,000 rows · 50 rows/s · about 5 min left"
    assert sales["note"] == f"{place.name}, 3 Nov 2026"
    waiting = {row["title"]: row["text"] for row in told["streams"]}
    assert waiting["Customers"] == "Starts shortly"
    with acting_in(account.pk):
        SyncRun.objects.update(status=RunStatus.DONE, finished_at=timezone.now())
        StreamState.objects.update(first_done_at=timezone.now(), read_until=timezone.now())
    told = owner.get(CARD + "progress").json()
    assert not told["running"] and told["again_ms"] == 5000 and told["pill"]["label"] == "Connected"


def test_fault_1_7_the_next_look_has_a_time_and_an_owner_starts_one(owner, account, pos, typed):
    connect(owner, typed)
    map_everything(owner, account)
    pull_everything(account)
    with acting_in(account.pk):
        due = {state.next_due.isoformat() for state in StreamState.objects.all()}
        read = {state.read_until.isoformat() for state in StreamState.objects.all()}
    page = owner.get(CARD).content.decode()
    shown = set(re.findall(r'next <time datetime="([^"]+)"', page))
    assert len(shown) == len(due) and all(at in due or at > max(read) for at in shown)
    assert {at for at in read if f'read up to <time datetime="{at}"' in page} == read
    assert "is being read now" in text(owner.post(CARD + "sync", follow=True))
    with acting_in(account.pk):
        assert SyncRun.objects.filter(status=RunStatus.QUEUED, manual=True).count() == 4
    answer = owner.post(CARD + "settings", {"skip_payment_method": "on"}, follow=True)
    assert "Settings saved" in text(answer)
    with acting_in(account.pk):
        assert Connection.objects.get().settings == {"skip_payment_method": True}
    owner.post(CARD + "settings", {})
    with acting_in(account.pk):
        assert Connection.objects.get().settings == {"skip_payment_method": False}
        acts = list(AuditLine.objects.values_list("act", flat=True))
    assert acts.count("integration.settings_saved") == 2 and "integration.sync_now" in acts
    assert "Nothing was done" in owner.get(CARD + "sync", follow=True).content.decode()


def test_fault_7_6_disconnect_keeps_everything(owner, account, pos, typed):
    connect(owner, typed)
    map_everything(owner, account)
    pull_everything(account)
    with acting_in(account.pk):
        pk = Credential.objects.get().pk
    asks = text(owner.get(f"{CARD}credentials/{pk}/disconnect/"))
    assert "Nothing is deleted." in asks and "3 locations" in asks
    answer = owner.post(f"{CARD}credentials/{pk}/disconnect/", follow=True)
    assert "Disconnected" in text(answer) and "Everything it brought is still here" in text(answer)
    with acting_in(account.pk):
        gone = Credential.objects.get()
        assert gone.secrets is None and Location.objects.count() == StoreMapping.objects.count() == 3
    again = text(owner.get(f"{CARD}credentials/{pk}/"))
    assert "Stored; leave it empty" not in again
    answer = owner.post(f"{CARD}credentials/{pk}/", typed | {"act": "connect"}, follow=True)
    assert answer.redirect_chain[-1][0] == CARD and "Connected" in text(answer)


def test_fault_7_5_a_stream_that_brought_nothing_says_what_to_check(owner, account, pos, typed):
    """Read to the end and never a row: the card's own hint for that stream, until the first row comes."""
    connect(owner, typed)
    map_everything(owner, account)
    hint = registry.get("cova").stream("customers").if_empty
    assert hint and hint not in text(owner.get(CARD))  # it has not been read yet
    with acting_in(account.pk):
        StreamState.objects.update(first_done_at=timezone.now())
        origin = Origin.objects.get()
    page = text(owner.get(CARD))
    assert "Customers: read to the end, and there was nothing" in page and hint in page
    assert "Sales: read to the end" in page and "Locations: read to the end" not in page
    with acting_in(account.pk):
        Customer.objects.create(account=account, origin=origin, external_id="c")
        RefusedRow.objects.create(account=account, origin=origin, stream="sales", key="k", reason="No date.")
    page = text(owner.get(CARD))
    assert "Customers: read to the end" not in page
    assert "Sales: read to the end" not in page  # something came, though it could not be taken over


def test_refused_rows_are_listed_and_limited(owner, account, pos, typed):
    connect(owner, typed)
    with acting_in(account.pk):
        fill(account, refused=26)
    page = text(owner.get(CARD))
    assert "Refused rows 26" in page and "The sale has no date." in page and "6 more, older than these." in page
    assert "<b>Eve</b>" in page  # a row's own markup is text, not markup
    assert "<b>Eve</b>" not in owner.get(CARD).content.decode()


def test_the_till_panel_shows_no_key(owner, account, pos, typed):
    connect(owner, typed)
    page = text(owner.get(CARD))
    assert "By hand" in page and account.uid in page and "http://testserver/api/" in page and "aq_" not in page


# Cost


def fill(account, *, runs=0, refused=0, places=0):
    origin = Origin.objects.get()
    states = list(StreamState.objects.all())
    now = timezone.now()
    SyncRun.objects.bulk_create(
        SyncRun(
            account=account,
            stream=states[n % len(states)],
            status=RunStatus.DONE,
            started_at=now,
            finished_at=now + timedelta(seconds=2),
            rows_read=10,
            rows_new=n % 2,
        )
        for n in range(runs)
    )
    RefusedRow.objects.bulk_create(
        RefusedRow(
            account=account,
            origin=origin,
            stream="sales",
            key=f"k{n}",
            external_id=f"x{n}",
            reason="The sale has no date.",
            row={"Name": "<b>Eve</b>"},
        )
        for n in range(refused)
    )
    made = Location.objects.bulk_create(
        Location(account=account, origin=origin, external_id=f"p{n}", name=f"Place {n:03}") for n in range(places)
    )
    shops = Store.objects.bulk_create(
        Store(account=account, name=place.name, number=900 + n) for n, place in enumerate(made)
    )
    StoreMapping.objects.bulk_create(
        StoreMapping(account=account, location=place, store=shop) for place, shop in zip(made, shops, strict=True)
    )


def costs(client, path) -> int:
    with CaptureQueriesContext(database) as seen:
        assert client.get(path).status_code == 200
    return len(seen)


def test_pages_cost_the_same_whatever_there_is(owner, account, pos, typed):
    connect(owner, typed)
    pages = [LIST, CARD, CARD + "?runs=all", CARD + "progress", CARD + "mapping/", CARD + "credentials/new/"]
    with acting_in(account.pk):
        pages.append(f"{CARD}credentials/{Credential.objects.get().pk}/")
        fill(account, runs=1, refused=1)
    few = {page: costs(owner, page) for page in pages}
    with acting_in(account.pk):
        RefusedRow.objects.all().delete()
        fill(account, runs=260, refused=60, places=25)
    many = {page: costs(owner, page) for page in pages}
    assert max(few.values()) <= MOST_QUERIES and max(many.values()) <= MOST_QUERIES, (few, many)
    assert all(many[page] <= few[page] + 1 for page in pages), (few, many)
    with acting_in(account.pk):
        assert text(owner.get(CARD)).count("2.0 s") == 10  # ten runs, whatever there are


def test_many_locations_get_a_page_of_their_own(owner, account, pos, typed):
    connect(owner, typed)
    with acting_in(account.pk):
        fill(account, places=60)
    page = owner.get(CARD)
    assert "See and change them" in text(page) and 'name="location-' not in page.content.decode()
    assert owner.get(CARD + "mapping/").content.decode().count("<select") == 63
    assert reverse("admin:card-mapping", args=["cova"]) == CARD + "mapping/"
