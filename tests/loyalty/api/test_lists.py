"""What an account has, listed, and what nobody has (reference: 7.3 to 7.14)."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from aiqsync.accounts.tenancy import acting_in
from integrations.models import Location, Origin, Product, Stock
from loyalty import audiences, pictures
from loyalty.models import Audience, DiscountAudience, DiscountImage, DiscountStore, Persona, Programme
from stores.models import StoreMapping
from tests.factories import make_account, make_discount, make_persona, make_store

from .till import Till

NOW = datetime(2026, 11, 20, 20, 0, tzinfo=UTC)


@pytest.fixture
def till(db):
    till = Till(scope="read")
    till.uid = till.account.uid
    return till


def pages(till, address, rows=lambda data: data, limit=2):
    """All rows, page by page until nothing comes, as clients do."""
    found, start = [], 0
    while (page := rows(till.data("GET", f"{address}?start={start}&limit={limit}"))) is not None:
        assert 0 < len(page) <= limit
        found += page
        start += limit
    return found


class TestAudiences:
    def make(self, till, name, **rules):
        with acting_in(till.account.pk):
            made = Audience.objects.create(name=name, **rules)
            audiences.refresh(audience=made, now=NOW)
        return made

    def test_c_flora_finds_the_members(self, till):
        """It looks for the name "Signed Up", or a trait `loyaltyMember` that is true."""
        make_persona(till.account), make_persona(till.account, member=False)
        [row] = till.data("GET", f"/api/v1.1/audiences/{till.uid}?start=0&limit=100")
        assert row == {"id": "signed-up", "name": "Signed Up", "audienceSize": 2,
                       "traits": [{"type": "loyaltyMember", "value": True}]}  # fmt: skip

    def test_c_kbc_pages_until_null(self, till):
        made = [self.make(till, f"A{n}") for n in range(5)]
        rows = pages(till, f"/api/v1.1/audiences/{till.uid}")
        assert [row["id"] for row in rows] == ["signed-up", *(str(one.public_id) for one in made)]
        assert len({row["id"] for row in rows}) == 6 and all(isinstance(row["id"], str) for row in rows)
        assert till.data("GET", f"/api/v1.1/audiences/{till.uid}?start=6") is None

    def test_traits_are_its_rules(self, till):
        store = make_store(till.account)
        self.make(till, "Rich", min_spend_cents=12550, min_points=Decimal("10.50"), store=store, texts=True,
                  members_only=False)  # fmt: skip
        self.make(till, "By hand", by_rules=False)
        by_hand, rich = till.data("GET", f"/api/v1.1/audiences/{till.uid}")[1:]
        assert by_hand["traits"] is None
        assert rich["traits"] == [
            {"type": "minPoints", "value": 10.5}, {"type": "minSpend", "value": 125.5},
            {"type": "favoriteStoreID", "value": store.number}, {"type": "smsOptIn", "value": True},
        ]  # fmt: skip

    def test_sizes_are_those_of_the_last_refresh_persons_counted_once(self, till):
        made = self.make(till, "All")
        size = till.data("GET", f"/api/v1.1/audiences/{till.uid}")[1]["audienceSize"]
        assert size == 1
        twin = make_persona(till.account)
        with acting_in(till.account.pk):
            audiences.refresh(audience=made, now=NOW)
            assert Audience.objects.get().size == 2
            Persona.objects.filter(pk=twin.pk).update(merged_into=till.persona)
            audiences.refresh(audience=made, now=NOW + timedelta(hours=1))
            assert Audience.objects.get().size == 1
        Persona.unscoped.filter(pk=till.persona.pk).update(member_from=None)
        assert till.data("GET", f"/api/v1.1/audiences/{till.uid}")[1]["audienceSize"] == 1  # stored, not counted
        Audience.unscoped.update(archived_at=NOW)
        assert len(till.data("GET", f"/api/v1.1/audiences/{till.uid}")) == 1

    def test_the_members_are_counted_by_the_dispatcher(self, till):
        make_persona(till.account, is_test=True), make_persona(till.account, archived_at=NOW)
        make_persona(till.account, erased_at=NOW), make_persona(till.account, merged_into=till.persona)
        assert audiences.count_members_due(now=NOW) == 1 and audiences.count_members_due(now=NOW) == 0
        assert Programme.unscoped.get().members == 1
        make_persona(till.account)
        assert till.data("GET", f"/api/v1.1/audiences/{till.uid}")[0]["audienceSize"] == 1
        assert audiences.count_members_due(now=NOW + audiences.EVERY) == 1
        assert till.data("GET", f"/api/v1.1/audiences/{till.uid}")[0]["audienceSize"] == 2

    def test_many_cost_the_same(self, till, django_assert_num_queries):
        audiences.count_members_due(now=NOW)
        till.data("GET", f"/api/v1.1/audiences/{till.uid}")
        for n in range(12):
            Audience.unscoped.create(account=till.account, name=f"A{n}", store=make_store(till.account))
        with django_assert_num_queries(3):  # the key, the members, the audiences
            assert len(till.data("GET", f"/api/v1.1/audiences/{till.uid}")) == 13

    @pytest.mark.parametrize(("query", "rows"), [
        ("?limit=0", 1), ("?limit=-5", 1), ("?limit=1000000", 3), ("?start=-1", 3), ("?limit=" + "9" * 40, 3),
        ("?limit=", 3),
    ])  # fmt: skip
    def test_figures_out_of_bounds_are_brought_inside(self, till, query, rows):
        self.make(till, "A"), self.make(till, "B")
        assert len(till.data("GET", f"/api/v1.1/audiences/{till.uid}{query}")) == rows
        assert till.data("GET", f"/api/v1.1/audiences/{till.uid}?start={'9' * 40}") is None

    @pytest.mark.parametrize("name", ["start", "limit"])
    @pytest.mark.parametrize("value", ["x", "1.5", "1e3", "²", "%00", "NaN", "--1"])
    def test_words_are_refused_by_name(self, till, name, value):
        assert name in till.refused(400, "GET", f"/api/v1.1/audiences/{till.uid}?{name}={value}")


class TestDiscounts:
    def test_c_kbc_reads_definitions(self, till):
        assert till.data("GET", f"/api/v2/discount/{till.uid}") is None
        store = make_store(till.account)
        ends = NOW + timedelta(days=300)
        made = make_discount(till.account, points=400, internal_name="ten-off", pos_discount_id="88f1", ends_at=ends,
                             in_store_only=True, min_spend_cents=2050, description="Ten off any order")  # fmt: skip
        make_discount(till.account, archived_at=NOW)
        with acting_in(till.account.pk):
            one = Audience.objects.create(name="A")
            DiscountStore.objects.create(discount=made, store=store)
            DiscountAudience.objects.create(discount=made, audience=one)
            DiscountImage.objects.create(
                discount=made, kind="cover", content_type="image/png", data=b"x", digest="c" * 32
            )
        [row] = till.data("GET", f"/api/v2/discount/{till.uid}")
        assert row == {
            "id": str(made.number), "posDiscountID": "88f1", "internalName": "ten-off", "name": "$10 off",
            "pageTitle": "Ten off any order", "avatar": "http://testserver" + pictures.address(""),
            "cover": "http://testserver" + pictures.address("c" * 32), "inStoreRedemption": True, "dollarValue": 10,
            "percentageValue": 0, "minimumSpend": 20.5, "pointsDeduction": 400, "pointsRequired": 400,
            "tierDiscount": False, "reusable": True, "stackable": False, "start": 0,
            "expiration": int(ends.timestamp()), "storeIDs": [store.number], "audienceIDs": [str(one.public_id)],
        }  # fmt: skip

    def test_many_cost_the_same(self, till, django_assert_num_queries):
        for _ in range(3):
            make_discount(till.account)
        till.data("GET", f"/api/v2/discount/{till.uid}")
        with django_assert_num_queries(5):
            till.data("GET", f"/api/v2/discount/{till.uid}")
        for _ in range(10):
            make_discount(till.account)
        with django_assert_num_queries(5):
            assert len(till.data("GET", f"/api/v2/discount/{till.uid}")) == 13

    def test_another_accounts_are_anothers(self, till):
        make_discount(make_account("Other"))
        assert till.data("GET", f"/api/v2/discount/{till.uid}") is None


class TestProgramme:
    def test_c_flora_reads_tiers_accrual_and_expiration(self, till):
        address = f"/api/v2/loyalty/default/{till.uid}"
        data = till.data("GET", address)
        assert data == {
            "id": till.uid, "name": "Harbour Cannabis", "userID": till.uid, "tiers": None, "accrual": 1,
            "expiration": 0, "pointsPerOrder": 0, "enabled": True, "hidePointsInWallet": False,
        }  # fmt: skip
        Programme.unscoped.update(points_per_100=Decimal(250), expire_days=365, enabled=False)
        make_discount(till.account, points=200, reward="tier", percent=Decimal(10))
        make_discount(till.account, points=100, reward="tier")
        make_discount(till.account, points=50)
        make_discount(till.account, points=5, reward="tier", archived_at=NOW)
        data = till.data("GET", address)
        assert [(one["points"], one["discount"], one["kind"], one["max"]) for one in data["tiers"]] == [
            (100, 10, "flat", 0), (200, 10, "percent", 0),
        ]  # fmt: skip
        assert (data["accrual"], data["expiration"], data["hidePointsInWallet"]) == (2.5, 365, True)

    def test_without_a_programme(self, till):
        Programme.unscoped.all().delete()
        assert till.data("GET", f"/api/v2/loyalty/default/{till.uid}")["accrual"] == 1
        assert till.data("GET", f"/api/v1.1/audiences/{till.uid}")[0]["audienceSize"] == 1


class TestProducts:
    @pytest.fixture
    def shelf(self, till):
        with acting_in(till.account.pk):
            origin = Origin.objects.create(platform="cova", identity="1")
            main, kiosk = (Location.objects.create(origin=origin, external_id=name, name=name) for name in "mk")
            till.store = make_store(till.account)
            StoreMapping.objects.create(location=main, store=till.store)
            Product.objects.create(origin=origin, external_id="p1", sku="S1", name="Blue 1g", brand="Acme",
                                   category="Pre-roll", price_cents=1250)  # fmt: skip
            Product.objects.create(origin=origin, external_id="p2", unit="g")
            Product.objects.create(origin=origin, external_id="gone", active=False)
            for place, much in ((main, 3), (kiosk, Decimal("1.5"))):
                Stock.objects.create(origin=origin, external_id=f"p1|{place.name}", product_id="p1", location=place,
                                     quantity=much)  # fmt: skip
        return origin

    def test_c_kbc_reads_results_until_null(self, till, shelf):
        rows = pages(till, "/api/v2/brand/products", lambda data: data["results"], limit=1)
        assert [row["id"] for row in rows] == ["cova:::p1", "cova:::p2"]
        assert rows[0] == {
            "id": "cova:::p1", "platform": "cova", "productID": "p1", "sku": "S1", "name": "Blue 1g", "brand": "Acme",
            "category": "Pre-roll", "unit": "", "price": 12.5, "quantity": 4.5,
            "stock": [{"storeID": till.store.number, "location": "m", "quantity": 3},
                      {"storeID": None, "location": "k", "quantity": 1.5}],
        }  # fmt: skip
        assert (rows[1]["price"], rows[1]["quantity"], rows[1]["stock"]) == (None, None, None)

    def test_none(self, till):
        assert till.data("GET", "/api/v2/brand/products") == {"results": None, "start": 0, "limit": 100, "size": 0}

    def test_one_id_in_two_sources_keeps_its_own_stock(self, till, shelf):
        with acting_in(till.account.pk):
            other = Origin.objects.create(platform="clover", identity="2")
            Product.objects.create(origin=other, external_id="p1")
            Stock.objects.create(origin=other, external_id="p1|", product_id="p1", quantity=7)
        rows = till.data("GET", "/api/v2/brand/products")["results"]
        assert [(row["id"], row["quantity"]) for row in rows] == [
            ("cova:::p1", 4.5), ("cova:::p2", None), ("clover:::p1", 7),
        ]  # fmt: skip

    def test_many_cost_the_same_and_costs_are_not_told(self, till, shelf, django_assert_num_queries):
        Product.unscoped.update(cost_cents=87_654_321)
        for n in range(30):
            Product.unscoped.create(account=till.account, origin=shelf, external_id=f"x{n}")
        till.data("GET", "/api/v2/brand/products")
        for limit in (2, 100):
            with django_assert_num_queries(4):
                told = till.call("GET", f"/api/v2/brand/products?limit={limit}").content
            assert b"87654321" not in told and b"876543.21" not in told

    def test_another_accounts_are_anothers(self, till, shelf):
        other = Till(points=None, account=make_account("Other"))
        assert other.data("GET", "/api/v2/brand/products")["results"] is None


class TestWhatThereIsNot:
    """Clients that list these go on when there are none: `null`, never [] and never an error."""

    @pytest.mark.parametrize("address", [
        "/api/v2/campaigns", "/api/v2/campaigns?full=true", "/api/v1.1/campaigns/{uid}", "/api/v2/discount/groups",
        "/api/v1.1/conversions/{uid}?start=1712900000&end=1712990000", "/api/v1.1/conversions/{uid}?start=x",
    ])  # fmt: skip
    def test_null(self, till, address):
        response = till.call("GET", address.format(uid=till.uid))
        assert response.json() == {"data": None, "code": 200, "success": True}

    @pytest.mark.parametrize("campaign", ["1", "x", "9" * 40])
    def test_no_campaign_has_figures(self, till, campaign):
        assert till.refused(404, "GET", f"/api/v2/campaign/stats/{campaign}") == "Campaign not found"

    @pytest.mark.parametrize(("method", "address"), [
        ("POST", "/api/v2/cart"), ("POST", "/api/v2/campaign"), ("GET", "/api/v2/stores"), ("GET", "/api/v2/locations"),
        ("GET", "/api/v1.1/consent/{uid}"), ("GET", "/api/v1.1/discounts/{uid}"), ("GET", "/api/v2/tiers/{uid}"),
        ("GET", "/api/v2/loyalty/{uid}"), ("POST", "/api/v2/optin/6045550142"), ("GET", "/api/v2/channel-report"),
        ("GET", "/api/v1.1/locations/{uid}"), ("GET", "/api/v1.1/export/{uid}"), ("POST", "/api/messages/sms"),
    ])  # fmt: skip
    def test_paths_that_stay_unknown(self, till, method, address):
        assert till.refused(404, method, address.format(uid=till.uid), {}) == "Not Found"


def test_c_terp_takes_null_for_no_result_and_tests_for_200(till):
    """The shop looks at `code` on every answer and at `results == null`."""
    for address in ("/api/v2/brand/products", f"/api/v1.1/audiences/{till.uid}", f"/api/v1.1/stores/{till.uid}"):
        told = till.call("GET", address, content_type="application/json").json()
        assert told["code"] == 200 and told["success"] is True
    assert till.data("GET", f"/api/v1.1/stores/{till.uid}") == {"stores": None}
