"""However much there is: the same number of statements, and each by an index. Times are `bench/volume.py`'s."""

import json
import re
import uuid
from datetime import date, timedelta
from decimal import Decimal

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from aiqsync.accounts.tenancy import acting_in
from integrations.models import Customer, Location, Origin, Sale
from loyalty import earning, favourites, guard, ledger, persona_filters
from loyalty.models import Audience, AudienceMember, Enrolment, Identifier, Merge, Persona, Source, Wallet
from stores.models import StoreMapping
from tests.factories import make_account, make_discount, make_key, make_persona, make_store, make_user

pytestmark = pytest.mark.django_db
LIST = "/admin/loyalty/persona/"
PHONE = "+16045550142"


class Shop:
    """Ada with `much` of everything among `much` others; with `hers`, all sales but so many are the others'."""

    def __init__(self, much: int, client, hers: int | None = None) -> None:
        self.account, self.client = make_account(), client
        client.force_login(make_user(self.account))
        self.key = make_key(self.account)
        now = timezone.now()
        with acting_in(self.account.pk):
            self.origin = Origin.objects.create(platform="cova", identity="1")
            self.place = Location.objects.create(origin=self.origin, external_id="1")
            self.store = make_store(self.account)
            StoreMapping.objects.create(location=self.place, store=self.store)
            self.ada = make_persona(self.account, phone=PHONE, email="ada@shop.test")
            self.discount = make_discount(self.account, points=1)
            others = Persona.objects.bulk_create(
                Persona(
                    account=self.account,
                    first_name=f"P{n}",
                    last_name="Hart",
                    last_seen_at=now,
                    phone=f"+1778{n}",
                    member_from=date(2020, 1, 1),
                )
                for n in range(much)
            )
            Wallet.objects.bulk_create(
                Wallet(account=self.account, persona=one, balance=n) for n, one in enumerate(others)
            )
            self.others = others
            self.customers(self.ada, *others)
            Identifier.objects.bulk_create(
                Identifier(account=self.account, persona=one, kind="phone", value=one.phone) for one in others
            )
            Enrolment.objects.bulk_create(
                Enrolment(account=self.account, persona=one, ground="staff", from_date="2020-01-01")
                for one in (self.ada, *others)
            )
            self.audience = Audience.objects.create(name="All")
            AudienceMember.objects.bulk_create(
                AudienceMember(account=self.account, audience=self.audience, persona=one, joined_at=now)
                for one in others
            )
            buyers = [self.ada if hers is None or n < hers else others[n] for n in range(much)]
            sales = Sale.objects.bulk_create(
                Sale(
                    account=self.account, origin=self.origin, external_id=f"s{n}", number=f"MAI-{n}", currency="CAD",
                    customer_id=f"c{buyers[n - 1].pk}", location=self.place, net_cents=1000, total_cents=1120,
                    sold_at=now - timedelta(hours=n),
                )
                for n in range(1, much + 1)
            )  # fmt: skip
        earning.settle_sales(account_id=self.account.pk, sale_ids=[sale.pk for sale in sales], now=now)
        for n in range(min(much, 40) if hers is None else much):
            buyer, before = (self.ada, n) if hers is None else (buyers[n], n if n < hers else 0)
            ledger.redeem(
                account_id=self.account.pk, persona_id=buyer.pk, discount_id=self.discount.pk, n=before,
                transaction=f"T{n}", channel="till", now=now,
            )  # fmt: skip
        with connection.cursor() as cursor:
            cursor.execute("ANALYZE")

    def customers(self, *people: Persona, origin: Origin | None = None) -> None:
        made = Customer.objects.bulk_create(
            Customer(
                account=self.account, origin=origin or self.origin, external_id=f"c{one.pk}", phone=one.phone,
                first_name=one.first_name,
            )
            for one in people
        )  # fmt: skip
        Source.objects.bulk_create(
            Source(account=self.account, persona=one, customer=customer, matched_by="new")
            for one, customer in zip(people, made, strict=True)
        )

    def merge(self, loser: Persona) -> None:
        with acting_in(self.account.pk):
            Merge.objects.create(
                survivor=self.ada, loser=loser, why="manual", survivor_balance=0, loser_balance=0, at=timezone.now()
            )
        Persona.unscoped.filter(pk=loser.pk).update(merged_into=self.ada)

    def paths(self) -> list[str]:
        page = reverse("admin:persona", args=[self.ada.contact_id])
        filters = ("", "?member=yes", "?member=archived", "?source=cova", "?source=none", f"?store={self.store.pk}",
                   "?seen=30", "?seen=never", "?points=1", f"?audience={self.audience.pk}", "?open=redemption",
                   "?open=no_email", "?q=hart", f"?q={PHONE}", "?q=ada@shop.test", "?q=MAI-3")  # fmt: skip
        return [
            f"/api/v2/wallet/{PHONE}", page, page + "?tab=profile", *(LIST + each for each in filters),
            f"/admin/why/?q={PHONE}", "/admin/why/?q=MAI-3",
        ]  # fmt: skip

    def ask(self, path: str) -> list[str]:
        with CaptureQueriesContext(connection) as asked:
            answer = self.client.get(path, headers={"X-APIKEY": self.key} if path.startswith("/api") else {})
        assert answer.status_code == 200, path
        return [query["sql"] for query in asked]


def test_statements_do_not_grow_with_what_there_is(client):
    counts = []
    for much in (10, 500):
        shop = Shop(much, client)
        shop.ask(LIST)
        counts.append({_plain(path): len(shop.ask(path)) for path in shop.paths()})
    few, many = counts
    # A second page is counted where there is one; nothing else may differ.
    more = {path: (few[path], many[path]) for path in few if few[path] != many[path]}
    assert not {path: pair for path, pair in more.items() if not path.startswith(LIST) or pair[1] - pair[0] > 3}, more


def _plain(path: str) -> str:
    return re.sub(r"personas/[0-9a-f-]+", "personas/x", re.sub(r"(store|audience)=\d+", r"\1=1", path))


GROWS = {
    "loyalty_persona", "loyalty_source", "loyalty_enrolment", "loyalty_entry", "loyalty_lot", "loyalty_salestate",
    "loyalty_redemption", "integrations_sale", "integrations_customer", "loyalty_identifier",
}  # fmt: skip


def _whole_tables(sql: str) -> set[str]:
    """Growing tables of which the plan reads everything the account has, though it may do so as a last resort only."""
    with connection.cursor() as cursor:
        # So few rows are read whole and hashed for good reasons; many are not.
        for way in ("seqscan", "mergejoin", "hashjoin"):
            cursor.execute(f"SET LOCAL enable_{way} = off")
        cursor.execute("EXPLAIN (FORMAT JSON) " + sql)
        plan = cursor.fetchone()[0]
        for way in ("seqscan", "mergejoin", "hashjoin"):
            cursor.execute(f"SET LOCAL enable_{way} = on")
    found = set()

    def walk(node: dict) -> None:
        table = node.get("Relation Name")
        if table in GROWS:
            condition = node.get("Index Cond") or node.get("Recheck Cond") or ""
            if not set(re.findall(r"\b(\w+) (?:=|IN|<|>|~)", condition)) - {"account_id"}:
                found.add(table)
        for below in node.get("Plans", ()):
            walk(below)

    walk((json.loads(plan) if isinstance(plan, str) else plan)[0]["Plan"])
    return found


def test_wallet_and_persona_page_read_no_table_from_end_to_end(client):
    shop = Shop(500, client, hers=10)
    for path in shop.paths()[:3]:
        for sql in shop.ask(path):
            if sql.lstrip().upper().startswith(("SELECT", "WITH")):
                assert not _whole_tables(sql), f"{path}: {sql}"


def test_the_look_at_plans_finds_a_join_that_reads_everything(client):
    """The control: how the page asked for sources once."""
    shop = Shop(500, client, hers=10)
    sql = (
        "SELECT s.id FROM loyalty_source s JOIN loyalty_persona p ON p.id = s.persona_id"
        f" WHERE s.persona_id = {shop.ada.pk} OR p.merged_into_id = {shop.ada.pk}"
    )
    assert _whole_tables(sql)


@pytest.fixture
def shop(client):
    return Shop(10, client)


def listed(shop: Shop, query: str) -> set[int]:
    html = shop.client.get(LIST + query).content.decode()
    return {
        one.pk
        for one in Persona.unscoped.filter(account=shop.account)
        if reverse("admin:persona", args=[one.contact_id]) in html
    }


@pytest.mark.parametrize("few", [0, 2000])
def test_by_source_counts_the_whole_group(shop, monkeypatch, few):
    """Walked or gone through from the records' side, the list is the same."""
    monkeypatch.setattr(persona_filters, "FEW", few)
    with acting_in(shop.account.pk):
        other = Origin.objects.create(platform="square", identity="9")
        loser, alone = make_persona(shop.account, first_name="Loser"), make_persona(shop.account, first_name="Alone")
        nobody = make_persona(shop.account, first_name="Api")
        shop.customers(loser, alone, origin=other)
    shop.merge(loser)
    assert listed(shop, "?source=square") == {shop.ada.pk, alone.pk}
    assert listed(shop, "?source=none") == {nobody.pk}
    assert listed(shop, "?source=cova") == {shop.ada.pk, *(one.pk for one in shop.others)}


@pytest.mark.parametrize("few", [0, 2000])
def test_by_favourite_store(shop, monkeypatch, few):
    monkeypatch.setattr(persona_filters, "FEW", few)
    harbour = make_store(shop.account, "Harbour")
    chose = shop.others[3]
    everybody = Persona.unscoped.filter(account=shop.account).values_list("pk", flat=True)
    favourites.follow(account_id=shop.account.pk, persona_ids=list(everybody))
    Persona.unscoped.filter(pk=chose.pk).update(favourite_store=harbour)
    assert listed(shop, f"?store={shop.store.pk}") == {shop.ada.pk}
    assert listed(shop, f"?store={harbour.pk}") == {chose.pk}
    Persona.unscoped.filter(pk=shop.ada.pk).update(favourite_store=harbour)
    assert listed(shop, f"?store={shop.store.pk}") == set()
    assert listed(shop, f"?store={harbour.pk}") == {chose.pk, shop.ada.pk}


def test_a_walked_list_counts_less(client):
    shop = Shop(500, client)
    walked, plain = (shop.client.get(LIST + query).context["cl"] for query in ("?source=cova", "?member=yes"))
    assert (walked.result_count, plain.result_count) == (300, 501)


def test_the_page_tells_of_the_whole_group(shop):
    """Sources and the first enrolment may be those of a row that was merged."""
    with acting_in(shop.account.pk):
        loser = make_persona(shop.account, first_name="Loser")
        Enrolment.objects.create(persona=loser, ground="import", from_date="2019-05-04")
        shop.customers(loser, origin=Origin.objects.create(platform="square", identity="9"))
    shop.merge(loser)
    context = shop.client.get(reverse("admin:persona", args=[shop.ada.contact_id])).context
    assert list(context["platforms"]) == ["cova", "square"]
    assert context["enrolment"].persona_id == loser.pk


def test_bearers_of_many_numbers_in_one_statement(shop, django_assert_num_queries):
    with acting_in(shop.account.pk):
        Customer.objects.bulk_create(
            Customer(
                account=shop.account, origin=shop.origin, external_id=f"x{n}", phone="+16045550777", first_name=f"N{n}"
            )
            for n in range(4)
        )
    with django_assert_num_queries(1):
        found = guard.bearers_of_each(account_id=shop.account.pk, phones=["+16045550777", PHONE, "+1"], limit=3)
    assert [one.name for one in found["+16045550777"]] == ["N0", "N1", "N2"]
    assert len(found[PHONE]) == 1 and "+1" not in found


def test_a_sweep_expires_what_is_due_in_batches(shop):
    now = timezone.now()
    for n, one in enumerate(shop.others):
        Wallet.unscoped.filter(pk=one.pk).update(balance=0)
        for days in (1, 2, 90):
            ledger.adjust(
                account_id=shop.account.pk, persona_id=one.pk, points=Decimal(10 + n), key=uuid.uuid4().hex, now=now,
                expires_at=now + timedelta(days=days),
            )  # fmt: skip
    assert ledger.expire_due(now=now + timedelta(days=3), wallets=3) == 20
    assert ledger.expire_due(now=now + timedelta(days=3), wallets=3) == 0
    assert [Wallet.unscoped.get(pk=one.pk).balance for one in shop.others] == [10 + n for n in range(10)]
