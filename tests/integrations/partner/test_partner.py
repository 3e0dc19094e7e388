"""The Partner REST card against its stand-in, over real HTTP."""

from urllib.parse import parse_qsl

import pytest
from django.utils import timezone

from aiqsync.accounts.tenancy import acting_in
from integrations import services
from integrations.models import Credential, Customer, Location, Origin, Product, RefusedRow, Sale, SaleLine, Stock
from integrations.partner import mapping
from integrations.sandbox.server import start
from tests.factories import make_account
from tests.integrations.conftest import Shop

pytestmark = pytest.mark.django_db
SEED = {"customers": 250, "sales": 450, "locations": 2, "seed": 7, "days": 20}


class Partner(Shop):
    def given(self):
        told = super().given()
        return told | {"base_url": self.sandbox.url + told["base_url"]}

    def connect(self, **other):
        link = services.connection_of(account_id=self.account.pk, slug="partner")
        credential = services.save_credential(connection=link, given=self.given() | other)
        with acting_in(self.account.pk):
            services.connect(credential=credential, now=timezone.now())
        self.credential = Credential.unscoped.get(pk=credential.pk)
        return self.credential

    def refusal(self, **other):
        with pytest.raises(services.VendorError) as error:
            self.connect(**other)
        credential = Credential.unscoped.order_by("id").last()
        assert (credential.state, credential.message) == ("draft", error.value.message)
        return credential

    def held(self):
        """What we hold, as the stand-in's checksums tell it."""
        origin = self.credential.origin
        people = [
            f"{c.external_id}|{c.first_name}|{c.last_name}|{c.phone.removeprefix('+1') or c.phone_raw}|{c.email}"
            for c in Customer.unscoped.filter(origin=origin)
        ]
        sales = [
            f"{s.external_id}|{s.customer_id}|{s.location.name}|{s.total_cents}|{s.line_count}"
            for s in Sale.unscoped.filter(origin=origin).select_related("location")
        ]
        return {"customers": sorted(people), "sales": sorted(sales)}

    def theirs(self):
        told = self.control("state?rows=1")
        return {name: told[name]["rows"] for name in ("customers", "sales")}


@pytest.fixture(scope="module")
def running():
    with start("partner", **SEED) as sandbox:
        yield sandbox


@pytest.fixture
def shop(running, settings):
    settings.CARD_RATES = {"partner": 0}
    settings.HISTORY_DAYS = 30
    made = Partner("partner", running, make_account())
    made.control("faults", clear=True)
    made.control("seed", **SEED)
    made.since = max((call["seq"] for call in made.calls()), default=0)
    return made


@pytest.mark.parametrize("names", ["ours", "theirs"])
def test_everything_comes_whole_under_whatever_names(shop, names):
    shop.control("seed", **SEED, names=names)
    shop.connect()
    runs = shop.sync()
    assert {name: run.status for name, run in runs.items()} == dict.fromkeys(runs, "done")
    assert shop.held() == shop.theirs()
    assert Product.unscoped.count() == 5 and Stock.unscoped.count() == 10
    assert set(Location.unscoped.values_list("name", "active")) == {("Main St", True), ("Harbour 1", True)}
    sale = Sale.unscoped.first()
    assert sale.tax_cents > 0 and sale.net_cents == sale.total_cents - sale.tax_cents == sale.lines_cents
    assert SaleLine.unscoped.exclude(sku="").count() == SaleLine.unscoped.count()


def test_read_again_it_changes_nothing_and_asks_little(shop):
    shop.connect()
    shop.sync()
    before = max(call["seq"] for call in shop.calls())
    runs = shop.sync()
    assert not any(run.rows_new or run.rows_changed for run in runs.values())
    asked = [call for call in shop.calls() if call["seq"] > before]
    assert len(asked) == 4  # one a stream


def test_what_is_new_or_edited_comes_with_the_next_look(shop):
    shop.connect()
    shop.sync()
    sold = shop.control("sell", phone="6045550199", discount_cents=500)
    shop.control("edit", customer_id="p00001", last_name="Changed")
    back = shop.control("refund", id=sold["id"])
    shop.sync()
    assert shop.held() == shop.theirs()
    assert Customer.unscoped.get(external_id="p00001").last_name == "Changed"
    refund = Sale.unscoped.get(external_id=back["id"])
    assert (refund.kind, refund.original_id) == ("refund", sold["id"])
    assert refund.net_cents == -Sale.unscoped.get(external_id=sold["id"]).net_cents
    assert Sale.unscoped.get(external_id=sold["id"]).discounts == [{"name": "", "cents": 500}]


FAULTS = ("429", "500", "reset", "cut", "html", "garbled", "duplicate", "shift", "redirect", "huge", "lost")


@pytest.mark.parametrize("kind", FAULTS)
def test_faults_lose_and_repeat_nothing(shop, kind):
    shop.connect()
    shop.fault(kind, "/v1/", times=2)
    for _ in range(6):
        runs = shop.sync()
        if all(run.status == "done" for run in runs.values()) and len(runs) == 4:
            break
    shop.sync()
    assert shop.held() == shop.theirs()
    assert not RefusedRow.unscoped.filter(solved_at=None).exists()


def test_rows_that_change_while_they_are_paged_are_all_there(shop):
    shop.connect()
    shop.fault("shift", "/v1/customers", times=2)
    shop.sync("customers")
    shop.sync("customers")
    assert shop.held()["customers"] == shop.theirs()["customers"]


@pytest.mark.parametrize("minutes", [1, 9])
def test_what_was_written_while_it_read_comes_with_the_next_look(shop, minutes):
    """A till that saves its sale a moment late: its time of change lies before the reading, which did not see it."""
    from datetime import timedelta

    shop.connect()
    shop.sync()
    before = max(call["seq"] for call in shop.calls())
    sold = shop.control("sell", at=(timezone.now() - timedelta(minutes=minutes)).isoformat())
    shop.sandbox.vendor.rows["sales"][sold["id"]]["updated_at"] -= minutes * 60
    shop.sync("sales")
    assert Sale.unscoped.filter(external_id=sold["id"]).exists()
    (asked,) = [call for call in shop.calls() if call["seq"] > before]
    start = int(dict(parse_qsl(asked["query"]))["start"])
    assert timezone.now().timestamp() - start < 11 * 60 + 30, "ten minutes back from when the last reading began"


def test_when_the_reading_began_is_by_the_partners_clock(shop, monkeypatch):
    """Its clock is half an hour behind: what it writes from now on bears times that are past for us."""
    from datetime import timedelta

    from integrations.kit.client import Client
    from integrations.models import StreamState

    behind = timezone.now() - timedelta(minutes=30)
    monkeypatch.setattr(Client, "_see_clock", lambda self, date: setattr(self, "server_time", behind))
    shop.connect()
    shop.sync()
    cursor = StreamState.unscoped.get(credential=shop.credential, stream="sales").cursor
    assert cursor["since"] == cursor["began"] == behind.strftime("%Y-%m-%dT%H:%M:%SZ")


def test_once_a_day_it_looks_a_week_back_for_what_was_listed_late(shop):
    """A till that was off line lists its sale under its own time, which has been read past."""
    from datetime import timedelta

    from integrations.models import StreamState

    shop.connect()
    shop.sync()
    late = (timezone.now() - timedelta(days=3)).isoformat()
    vendor = shop.sandbox.vendor
    sold = shop.control("sell", at=late)
    vendor.rows["sales"][sold["id"]]["updated_at"] -= 3 * 86_400
    shop.sync("sales")
    assert not Sale.unscoped.filter(external_id=sold["id"]).exists()
    state = StreamState.unscoped.get(credential=shop.credential, stream="sales")
    state.cursor["night"] = (timezone.now() - timedelta(days=2)).strftime("%Y-%m-%dT%H:%M:%SZ")
    state.save(update_fields=["cursor"])
    shop.sync("sales")
    assert Sale.unscoped.filter(external_id=sold["id"]).exists()


class TestConnecting:
    def test_a_wrong_key_names_the_field(self, shop):
        credential = shop.refusal(api_key="wrong")
        assert credential.setting == "api_key" and "refuses the key" in credential.message

    def test_a_wrong_path_names_the_address(self, shop):
        credential = shop.refusal(base_url=f"{shop.sandbox.url}/v2")
        assert credential.setting == "base_url" and "/customers" in credential.message

    def test_a_key_that_may_not_read_one_of_them(self, shop):
        shop.fault("no_permission", "/v1/sales", times=9)
        credential = shop.refusal()
        assert credential.setting == "api_key" and "sales" in credential.message

    def test_names_that_are_all_wrong_are_said_before_anything_is_read(self, shop):
        shop.control("seed", **SEED, names="theirs")
        credential = shop.refusal(fields="")
        assert credential.setting == "fields" and "/customers" in credential.message
        told = shop.control("credentials")["fields"].replace("sales.pos_id = receipt.number\n", "")
        credential = shop.refusal(fields=told)
        assert credential.setting == "fields" and "pos_id is missing" in credential.message

    def test_an_address_inside_is_refused_without_a_call(self, shop, settings):
        settings.ALLOW_LOOPBACK_ADDRESSES = False
        credential = shop.refusal()
        assert credential.setting == "base_url" and shop.calls() == []
        settings.ALLOW_LOOPBACK_ADDRESSES = True
        for url in ("https://10.0.0.1", "https://169.254.169.254/latest", "https://2130706433"):
            assert shop.refusal(base_url=url).setting == "base_url"

    def test_an_address_that_turns_bad_later_pauses_the_credential(self, shop, settings):
        shop.connect()
        settings.ALLOW_LOOPBACK_ADDRESSES = False
        run = shop.sync("customers")["customers"]
        assert run.status == "failed"
        credential = Credential.unscoped.get(pk=shop.credential.pk)
        assert (credential.state, credential.setting) == ("paused", "base_url")

    def test_the_same_company_twice_is_refused(self, shop):
        shop.connect()
        link = shop.credential.connection
        other = services.save_credential(connection=link, given=shop.given())
        with pytest.raises(services.Refused, match="already connected"):
            services.connect(credential=other, now=timezone.now())

    def test_the_answers_company_is_the_origin(self, shop):
        assert shop.connect().origin.identity == "#shop-77"

    def test_a_bare_array_does_and_its_address_is_the_company(self, shop):
        shop.control("seed", **SEED, bare=True)
        link = services.connection_of(account_id=shop.account.pk, slug="partner")
        credential = services.save_credential(connection=link, given=shop.given())
        with acting_in(shop.account.pk):
            told = services.connect(credential=credential, now=timezone.now())
        assert any("known by its address" in note for note in told.notes)
        shop.credential = Credential.unscoped.get(pk=credential.pk)
        assert shop.credential.origin.identity == shop.sandbox.url.partition("://")[2] + "/v1"
        shop.sync("customers")
        assert Customer.unscoped.count() == 250


class TestAnAddressThatMoves:
    """The same API under another host: under another origin everything it tells would be new, and earn again."""

    def moved(self, shop):
        with acting_in(shop.account.pk):
            given = shop.given() | {"base_url": shop.given()["base_url"].replace("127.0.0.1", "localhost")}
            credential = Credential.unscoped.get(pk=shop.credential.pk)
            services.reconnect(credential=credential, given=given, now=timezone.now())
        shop.credential = Credential.unscoped.get(pk=shop.credential.pk)

    def test_a_company_that_tells_its_id_keeps_its_rows(self, shop):
        before = shop.connect().origin_id
        shop.sync()
        self.moved(shop)
        assert "localhost" in shop.credential.values["base_url"] and shop.credential.origin_id == before
        runs = shop.sync(full=True)
        assert not any(run.rows_new or run.rows_changed for run in runs.values())
        assert shop.held() == shop.theirs() and Customer.unscoped.count() == 250

    def test_entered_again_after_a_disconnect_it_is_the_same_company(self, shop):
        before = shop.connect().origin_id
        shop.sync("customers")
        services.disconnect(credential=shop.credential)
        other = shop.connect(base_url=shop.given()["base_url"].replace("127.0.0.1", "localhost"))
        assert other.origin_id == before
        assert not shop.sync("customers")["customers"].rows_new

    def test_one_that_tells_none_is_refused_and_goes_on_at_the_old_address(self, shop):
        shop.control("seed", **SEED, bare=True)
        before = shop.connect().origin_id
        with pytest.raises(services.Refused, match="earn again") as error:
            self.moved(shop)
        assert error.value.field == "base_url"
        kept = Credential.unscoped.get(pk=shop.credential.pk)
        assert (kept.state, kept.origin_id, "127.0.0.1" in kept.values["base_url"]) == ("connected", before, True)
        assert Origin.unscoped.filter(platform="partner").count() == 1

    def test_one_that_begins_to_tell_it_keeps_its_rows_and_may_move_then(self, shop):
        shop.control("seed", **SEED, bare=True)
        before = shop.connect().origin_id
        shop.sync("customers")
        shop.control("seed", **SEED)
        with pytest.raises(services.Refused):
            self.moved(shop)  # all at once, nothing says that it is the same company
        with acting_in(shop.account.pk):
            services.connect(credential=Credential.unscoped.get(pk=shop.credential.pk), now=timezone.now())
        self.moved(shop)
        assert (shop.credential.origin_id, shop.credential.origin.identity) == (before, "#shop-77")

    def test_another_company_at_the_same_address_is_another_one(self, shop, monkeypatch):
        before = shop.connect().origin_id
        monkeypatch.setattr("integrations.sandbox.partner.ACCOUNT", "shop-78")
        with acting_in(shop.account.pk):
            credential = Credential.unscoped.get(pk=shop.credential.pk)
            services.reconnect(credential=credential, given=shop.given(), now=timezone.now())
        credential.refresh_from_db()
        assert credential.origin_id != before and credential.origin.identity == "#shop-78"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("nonsense", "is no line like"),
        ("sales.pos_id", "is no line like"),
        ("sales.pos_id =", "is no line like"),
        ("pos_id = a", "is no line like"),
        ("orders.pos_id = a", "“orders” is none of them"),
        ("sales.shoe = a", "has no field “shoe”"),
        ("sales.pos_id = a..b", "is no line like"),
        ("sales.pos_id = a\nsales.pos_id = b", "comes twice"),
        ("\n".join(f"# {n}\nsales.pos_id = {n}" for n in range(101)), "more than 100 lines"),
    ],
)
def test_a_field_mapping_that_cannot_be_names_its_line(text, said):
    assert said in mapping.problem(text)


def test_a_field_mapping_reads_paths():
    renames = mapping.read("# ours = theirs\nsales.pos_id = a.0.b\nsales.lines = rows\nsales.lines.sku = x.y\n")
    row = {"a": [{"b": 5}], "rows": [{"x": {"y": "S"}}, 3], "kept": 1}
    assert mapping.renamed(row, "sales", renames) == {
        **row, "pos_id": 5, "lines": [{"x": {"y": "S"}, "sku": "S"}, 3],
    }  # fmt: skip
    assert mapping.renamed({"a": 1}, "sales", renames)["pos_id"] is None
    assert mapping.renamed("garbage", "sales", renames) == "garbage"


def test_frozen_asks_nothing(shop):
    shop.connect()
    shop.sync()
    with acting_in(shop.account.pk):
        services.freeze(connection=shop.credential.connection, now=timezone.now())
    before = len(shop.calls())
    shop.sync()
    assert len(shop.calls()) == before
