"""Store mappings on the store's page and on the card: what a remap touches is asked first, and follows."""

from datetime import timedelta

import pytest
from django.urls import reverse
from django.utils import timezone

from aiqsync.accounts.models import ApiKey, AuditLine
from aiqsync.accounts.roles import Role
from aiqsync.accounts.tenancy import acting_in, set_current_account
from aiqsync.pages.standing import standing_of
from integrations import grid, registry
from integrations.models import Connection, Credential, Customer, Location
from loyalty import changes, ingest, jobs
from loyalty.models import Entry, Job, Persona, ProgrammeChange, Source
from stores.models import StoreKey, StoreMapping
from tests.factories import make_account, make_persona, make_store, make_user
from tests.records import NOON, land_sales, make_origin, sale

pytestmark = pytest.mark.django_db
CARD = "/admin/integrations/cova/"


@pytest.fixture
def shop(client):
    account = make_account()
    account.client, account.owner = client, make_user(account)
    client.force_login(account.owner)
    send = client.request

    def request(**asked):  # a request ends with no account current
        try:
            return send(**asked)
        finally:
            set_current_account(account.pk)

    client.request = request
    with acting_in(account.pk):
        account.origin = make_origin(account)
        account.connection = Connection.objects.create(card="cova")
        account.credential = Credential.objects.create(
            connection=account.connection, origin=account.origin, state="connected", connected_at=NOON
        )
        account.place = account.origin.locations.get()
        account.main, account.side = make_store(account, "Main"), make_store(account, "Side")
        StoreMapping.objects.create(location=account.place, store=account.main)
        account.ada = make_persona(account)
        customer = Customer.objects.create(origin=account.origin, external_id="c1")
        Source.objects.create(persona=account.ada, customer=customer, matched_by="new")
        landed = land_sales(account.origin, *[sale(f"s{n}", customer_id="c1") for n in range(3)])
        ingest.sales_landed(account_id=account.pk, sale_ids=landed.touched, now=NOON)
        yield account


def url(store) -> str:
    return reverse("admin:store-mapping", args=[store.pk])


def store_of(place):
    return StoreMapping.unscoped.filter(location=place).values_list("store__name", flat=True).first()


def asked(page) -> dict[str, str]:
    """The hidden fields of the question."""
    import re

    html = page.content.decode()
    return dict(re.findall(r'type="hidden" name="((?!csrf)[^"]+)" value="([^"]*)"', html))


def test_the_store_page_names_each_pos_and_its_places(shop):
    shop.origin.locations.create(account=shop, external_id="loc2", name="Kiosk")
    html = shop.client.get(reverse("admin:stores_store_change", args=[shop.side.pk])).content.decode()
    assert "Store Mappings" in html and "Main St – now Main" in html and "Kiosk – not mapped yet" in html
    html = shop.client.get(reverse("admin:stores_store_change", args=[shop.main.pk])).content.decode()
    assert f'<option value="{shop.place.pk}" selected>Main St</option>' in html and "and also" in html
    # A form inside the store's own would be none: its button would save the store instead.
    inner = html.index(url(shop.main))
    assert html.rindex("</form>", 0, inner) > html.rindex('id="store_form"', 0, inner)


def test_a_remap_is_asked_with_its_figures_then_done_and_followed(shop):
    given = {f"place-{shop.origin.pk}-0": shop.place.pk}
    entries = Entry.objects.count()
    page = shop.client.post(url(shop.side), given)
    html = page.content.decode()
    assert "This moves past sales to another store" in html and "Move 3 sales" in html
    assert store_of(shop.place) == "Main" and not AuditLine.objects.filter(act="integration.mapped").exists()
    page = shop.client.post(url(shop.side), asked(page), follow=True)
    assert "3 sales now count there; no points moved." in page.content.decode()
    assert store_of(shop.place) == "Side" and Entry.objects.count() == entries
    [line] = AuditLine.objects.filter(act="integration.mapped")
    assert line.detail["sales"] == 3 and line.detail["moves"] == ["Main St: Main to Side"] and line.user == shop.owner
    job = Job.objects.get(kind="favourites")
    while jobs.run_slice(job.pk):
        pass
    assert Persona.objects.get(pk=shop.ada.pk).usual_store == shop.side


def test_a_question_that_is_out_of_date_is_asked_again(shop):
    page = shop.client.post(url(shop.side), {"place-1-0": shop.place.pk})
    third = make_store(shop, "Third")
    StoreMapping.objects.update(store=third)
    page = shop.client.post(url(shop.side), asked(page))
    assert "look again" in page.content.decode() and store_of(shop.place) == "Third"


def test_taken_off_a_store_it_is_listed_as_unmapped(shop):
    page = shop.client.post(url(shop.main), {f"place-{shop.origin.pk}-0": ""})
    shop.client.post(url(shop.main), asked(page))
    assert store_of(shop.place) is None and standing_of("cova", now=timezone.now()).unmapped == 1


def test_the_card_asks_too_and_a_first_mapping_does_not(shop):
    new = shop.origin.locations.create(account=shop, external_id="loc2", name="Kiosk")
    assert shop.client.post(CARD + "mapping/", {f"location-{new.pk}": shop.side.pk}).status_code == 302
    assert store_of(new) == "Side"
    page = shop.client.post(CARD + "mapping/", {f"location-{shop.place.pk}": shop.side.pk})
    assert "Move 3 sales" in page.content.decode() and store_of(shop.place) == "Main"
    shop.client.post(CARD + "mapping/", asked(page))
    assert store_of(shop.place) == "Side"


def test_a_recompute_is_counted_before_it_is_done(shop):
    page = shop.client.post(url(shop.side), {"place-1-0": shop.place.pk})
    answer = shop.client.post(url(shop.side), asked(page) | {"then": "recompute"})
    assert answer.url == reverse("admin:programme-change")
    [change] = ProgrammeChange.objects.all()
    jobs.run_slice(changes.job_of(change).pk)
    change.refresh_from_db()
    assert change.state == "counted" and change.counted["shoppers"] == 0
    html = shop.client.get(answer.url).content.decode()
    assert "Every sale is settled anew" in html and "No setting changes." in html
    change = changes.confirm(change=change, user=shop.owner, now=timezone.now())
    jobs.run_slice(changes.job_of(change).pk)
    change.refresh_from_db()
    assert change.state == "applied"


def test_foreign_places_and_stores_are_not_there(shop):
    other = make_account("Other")
    theirs = make_store(other, "Theirs")
    place = Location.unscoped.create(account=other, origin=make_origin(other), external_id="x")
    assert shop.client.post(url(theirs), {}).status_code == 404
    assert shop.client.post(url(shop.side), {"place-1-0": place.pk}).status_code == 404
    for choice in ("x", "999999999999999999999"):
        assert shop.client.post(url(shop.side), {"place-1-0": choice}).status_code == 404
    assert shop.client.post(CARD + "mapping/", {f"location-{shop.place.pk}": theirs.pk}).status_code == 404


@pytest.mark.parametrize(("role", "status"), [(Role.OPERATOR, 302), (Role.MANAGER, 403), (Role.MARKETING, 403)])
def test_who_may_map(shop, client, role, status):
    client.force_login(make_user(shop, role))
    assert client.post(url(shop.side), {}).status_code == status


def test_the_fee_line_adds_up(shop):
    """Mapped locations of a credential that is neither frozen nor disconnected, 15 USD each."""
    now = timezone.now()

    def fee():
        return standing_of("cova", now=now).fee_total

    new = shop.origin.locations.create(account=shop, external_id="loc2", name="Kiosk")
    assert fee() == "15 USD per month"
    StoreMapping.objects.create(location=new, store=shop.side)
    assert fee() == "30 USD per month"
    StoreMapping.objects.filter(location=new).update(store=None)  # no store of ours
    assert fee() == "15 USD per month"
    for row in (shop.credential, shop.connection):
        type(row).objects.filter(pk=row.pk).update(frozen_at=now)
        assert fee() == "0 USD per month"
        type(row).objects.filter(pk=row.pk).update(frozen_at=None)
    Credential.objects.update(state="disconnected")
    assert fee() == "0 USD per month"


# The till panel and the grid


def wallet_call(client, key: str) -> None:
    client.post("/api/v2/wallet", {"phone": "6045550100"}, "application/json", headers={"X-APIKEY": key})


def till(client) -> str:
    html = client.get(CARD).content.decode()
    return html[html.index('id="till"') : html.index('id="limits"')]


def test_by_hand_until_a_wallet_call_proves_otherwise(shop, client):
    html = till(client)
    assert "By hand" in html and "No till of Cova has called us yet" in html and "1.20 or later" in html
    key, text = ApiKey.make(account=shop, name="Main's tills")
    StoreKey.objects.create(key=key, store=shop.main)
    client.get("/api/v1.1/stores/" + shop.uid, headers={"X-APIKEY": text})
    assert "No till of Cova has called us yet" in till(client)  # a key alone, and a call that reads no wallet
    wallet_call(client, text)
    key.refresh_from_db()
    assert key.wallet_first_at == key.wallet_last_at
    first = key.wallet_first_at
    ApiKey.unscoped.update(wallet_last_at=first - timedelta(minutes=2), wallet_first_at=first - timedelta(minutes=2))
    client.get("/api/v2/wallet/6045550100", headers={"X-APIKEY": text})
    key.refresh_from_db()
    assert key.wallet_first_at < first <= key.wallet_last_at
    html = till(client)
    assert "A till of Cova calls us." in html and "from Main" in html and ">In the till<" in html
    Credential.objects.update(state="disconnected")
    assert "No till of Cova has called us yet" in till(client)
    Credential.objects.update(state="connected")
    ApiKey.objects.update(revoked_at=timezone.now())
    assert "No till of Cova has called us yet" in till(client)


def test_another_stores_till_and_a_web_shop_prove_nothing_of_this_pos(shop, client):
    """Side is no location of Cova, so what calls from there is another POS; a key of no store may be anybody's."""
    key, text = ApiKey.make(account=shop, name="Side's tills")
    StoreKey.objects.create(key=key, store=shop.side)
    wallet_call(client, text)
    assert ">By hand<" in till(client) and "belongs to no store" not in till(client)
    wallet_call(client, ApiKey.make(account=shop, name="Web shop")[1])
    assert ">By hand<" in till(client) and "The key “Web shop” first read a wallet" in till(client)


def test_a_key_is_made_for_a_store_on_its_page(shop, client):
    add = reverse("admin:accounts_apikey_add")
    other = make_store(make_account("Other Co"), "Theirs")
    html = client.get(add).content.decode()
    assert ">Main</option>" in html and "Theirs" not in html
    assert client.post(add, {"name": "x", "scope": "pos", "store": other.pk}).status_code == 200
    for odd in ("²", "9" * 30):
        assert client.post(add, {"name": "x", "scope": "pos", "store": odd}).status_code == 200
    assert not ApiKey.unscoped.exists()
    made = client.post(add, {"name": "Main's tills", "scope": "pos", "store": shop.main.pk}).content.decode()
    assert "Copy the key now" in made
    key = ApiKey.objects.get()
    assert StoreKey.objects.get().key_id == key.pk and StoreKey.objects.get().store_id == shop.main.pk
    assert AuditLine.objects.get(act="key.created").detail == {"scope": "pos", "store": "Main"}
    client.post(add, {"name": "Web shop", "scope": "pos", "store": ""})
    assert StoreKey.objects.count() == 1
    assert ">Main</" in client.get(reverse("admin:accounts_apikey_changelist")).content.decode()
    assert "Main" in client.get(reverse("admin:accounts_apikey_change", args=[key.pk])).content.decode()


def test_a_reading_key_is_no_till(shop, client):
    _, text = ApiKey.make(account=shop, name="reports", scope="read")
    client.get("/api/v2/wallet/6045550100", headers={"X-APIKEY": text})
    assert "No till of Cova has called us yet" in till(client)


def test_the_grid_shows_what_the_cards_say(shop):
    html = shop.client.get(reverse("admin:feature-grid")).content.decode()
    parts = grid.parts(registry.CARDS.values())
    assert parts[0].title == "What it does" and len(parts) == 4
    for part in parts:
        for row in part.rows:
            assert len(row.cells) == len(registry.CARDS)
            assert row.label.replace("+", "&#x2B;") in html or row.label in html.replace("&#x27;", "'")
    for card in registry.CARDS.values():
        shown = {cell.said for part in parts for row in part.rows for cell in row.cells}
        assert {text for text in card.unserved.values()} <= shown
        assert all(any(text in said for said in shown) for text in card.capabilities.values() if text != "yes")


def test_alerts_page(shop, client):
    from aiqsync.accounts import alerts

    found = [alerts.Finding("stale_stream", "x", "Cova is late: Sales", "It is tried again.", CARD, "Look at Cova")]
    alerts.settle(account_id=shop.pk, found=found, kinds={"stale_stream"}, now=timezone.now())
    page = reverse("admin:alerts")
    html = client.get(page).content.decode()
    assert "Cova is late: Sales" in html and "Look at Cova" in html and shop.owner.email in html
    assert "1" in html[html.index("notifications") : html.index("notifications") + 1500]  # the menu counts
    answer = client.post(reverse("admin:alerts-recipients"), {"addresses": "nobody", "by_email": "on"})
    assert answer.status_code == 422 and "nobody is not an e-mail address." in answer.content.decode()
    client.post(reverse("admin:alerts-recipients"), {"addresses": "ops@example.test", "by_email": "on"})
    assert alerts.recipients(shop.pk) == ["ops@example.test"]
    client.force_login(make_user(shop, Role.MANAGER))
    assert client.get(page).status_code == 200
    assert client.post(reverse("admin:alerts-recipients"), {}).status_code == 403


@pytest.mark.parametrize("card", registry.CARDS.values(), ids=lambda card: card.slug)
def test_a_card_serves_each_standard_setting_or_says_why_not(card):
    """Nothing is silent and nothing said twice: else the grid says “not stated”, or a reason beside a yes."""
    standard = set(grid.standard())
    served = {one.name for one in card.settings}
    assert served & standard | set(card.unserved) == standard
    assert not served & set(card.unserved)
    assert all(reason.endswith(".") for reason in card.unserved.values())
    [settings] = [part for part in grid.parts([card]) if part.title == "Settings"]
    marks = {row.label: row.cells[0] for row in settings.rows}
    assert {cell.mark for cell in marks.values()} <= {grid.YES, grid.NO}
    assert all(cell.said for cell in marks.values() if cell.mark == grid.NO)


def test_the_store_page_keeps_what_apps_and_web_shops_are_told(shop):
    address = reverse("admin:stores_store_change", args=[shop.main.pk])

    def save(**typed):
        form = shop.client.get(address).context["adminform"].form
        given = {name: form.initial.get(name) or "" for name in form.fields}
        return shop.client.post(address, given | typed)

    web = {"avatar": "https://pictures.example/main.png", "online_shop_url": "https://shop.example/"}
    assert save(**web, google="https://g.example/1", yelp="yelp.example/1", latitude="49.28", longitude="-123.12",
                country="ca").status_code == 302  # fmt: skip
    shop.main.refresh_from_db()
    assert shop.main.review_links == {"google": "https://g.example/1", "yelp": "https://yelp.example/1"}
    assert (shop.main.avatar, float(shop.main.latitude), shop.main.country) == (web["avatar"], 49.28, "CA")
    assert save(google="").status_code == 302  # an emptied one goes, the others stay
    shop.main.refresh_from_db()
    assert shop.main.review_links == {"yelp": "https://yelp.example/1"} and shop.main.online_shop_url
    for wrong in (
        {"latitude": ""},
        {"latitude": "91"},
        {"avatar": "javascript:alert(1)"},
        {"leafly": "not an address"},
    ):
        assert save(**wrong).status_code == 200
    line = AuditLine.objects.filter(act="store.changed").earliest("pk")
    assert line.detail["google"] == "https://g.example/1" and line.user == shop.owner
