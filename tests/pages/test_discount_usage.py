"""A discount's figures, its export, its copy, and the flags that are raised: who sees them, and at what cost."""

import csv
import io
import uuid
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from django.core.cache import cache
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from aiqsync.accounts import sheets
from aiqsync.accounts.models import AuditLine
from aiqsync.accounts.roles import Role
from loyalty import discounts, usage
from loyalty.models import CouponCode, Discount, Persona, Redemption
from tests.factories import make_account, make_discount, make_persona, make_store, make_user
from tests.loyalty.cards import connect
from tests.loyalty.ledger_sales import make_sales

pytestmark = pytest.mark.django_db
ZONE = ZoneInfo("America/Vancouver")
NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
FORMULA = '=HYPERLINK("http://evil.test";"x")'


@pytest.fixture
def account(client):
    cache.clear()
    account = make_account()
    client.force_login(make_user(account))
    return account


def used(discount, persona, n=0, *, points=100, back=0, state="settled", at=NOW, **fields) -> Redemption:
    ended = state in ("released", "reverted")
    usual = {"channel": "till", "settled_at": at if state == "settled" else None, "ended_at": at if ended else None}
    return Redemption.unscoped.create(
        account=discount.account, discount=discount, persona=persona, n=n, state=state, points=points,
        reverted_points=points if ended else back, applied_at=at, **usual | fields,
    )  # fmt: skip


def change(discount) -> str:
    return reverse("admin:loyalty_discount_change", args=[discount.pk])


def parts(found: list[usage.Part]) -> dict:
    return {one.title: (one.redemptions, int(one.points)) for one in found}


class TestFigures:
    def of(self, discount, now=NOW) -> usage.Usage:
        return usage.of(discount=discount, now=now, zone=ZONE)

    def test_by_state_store_and_month(self, account):
        one, other = make_discount(account, code_kind="unique"), make_discount(account)
        ada, eve = make_persona(account), make_persona(account)
        here = make_store(account, "Here")
        used(one, ada, store=here)
        used(one, ada, 1, store=here, points=300, back=100)
        used(one, eve, state="released", back=100, why_ended="no_sale", at=datetime(2026, 10, 31, 12, tzinfo=UTC))
        used(one, eve, 1, state="applied", at=datetime(2024, 1, 1, tzinfo=UTC))
        used(other, ada)
        for n, code in enumerate("ABC"):
            CouponCode.unscoped.create(
                account=account, discount=one, code=code, redemption=Redemption.unscoped.first() if n == 0 else None
            )
        found = self.of(one)
        assert (found.redemptions, found.points, found.shoppers) == (4, Decimal(400), 2)
        assert parts(found.by_state) == {"Settled": (2, 300), "Released": (1, 0), "Applied": (1, 100)}
        assert parts(found.by_store) == {"Here": (2, 300), "Store not known": (2, 100)}
        assert list(parts(found.by_month).items()) == [
            ("November 2026", (2, 300)), ("October 2026", (1, 0)), ("Before that", (1, 100)),
        ]  # fmt: skip
        assert [one.share for one in found.by_state] == [50, 25, 25]
        assert (found.codes_free, found.codes_used) == (2, 1)

    def test_nothing_yet(self, account):
        found = self.of(make_discount(account))
        assert (found.redemptions, found.points, found.shoppers, found.codes_free) == (0, 0, 0, None)
        assert found.by_state == found.by_store == found.by_month == []

    def test_a_shopper_counts_once_under_two_merged_rows(self, account):
        one, ada = make_discount(account), make_persona(account)
        used(one, ada)
        used(one, make_persona(account, merged_into=ada))
        assert self.of(one).shoppers == 1

    @pytest.mark.parametrize("at, month", [
        (datetime(2026, 11, 1, 6, 59, tzinfo=UTC), "October 2026"),
        (datetime(2026, 11, 1, 7, 0, tzinfo=UTC), "November 2026"),
        (datetime(2025, 12, 1, 8, 0, tzinfo=UTC), "December 2025"),
        (datetime(2025, 12, 1, 7, 59, tzinfo=UTC), "Before that"),
    ])  # fmt: skip
    def test_a_month_is_the_accounts(self, account, at, month):
        one = make_discount(account)
        used(one, make_persona(account), at=at)
        assert [part.title for part in self.of(one).by_month] == [month]

    @pytest.mark.parametrize("today", [datetime(2026, 1, 31, 12, tzinfo=UTC), datetime(2026, 3, 1, 0, 30, tzinfo=UTC)])
    def test_twelve_months_whatever_the_day(self, account, today):
        assert len(set(usage._months(today.astimezone(ZONE).date()))) == usage.MONTHS

    def test_the_page_costs_the_same_whatever_the_history(self, client, account):
        one = make_discount(account, code_kind="unique")

        def queries() -> int:
            with CaptureQueriesContext(connection) as seen:
                page = client.get(change(one)).content.decode()
            assert "How it is used" in page
            return len(seen)

        client.get(change(one))
        empty = queries()
        stores = [make_store(account, f"Store {n}") for n in range(5)]
        for n in range(40):
            used(one, make_persona(account), store=stores[n % 5], at=timezone.now() - timedelta(days=11 * n))
        assert queries() == empty <= 20

    def test_the_figures_are_two_statements(self, account, django_assert_num_queries):
        one = make_discount(account, code_kind="unique")
        used(one, make_persona(account))
        with django_assert_num_queries(2):
            self.of(one)


class TestExport:
    def rows(self, client, discount) -> list[dict]:
        answer = client.get(reverse("admin:loyalty_discount_redemptions", args=[discount.pk]))
        assert answer.status_code == 200 and answer.streaming and answer["Content-Type"] == "text/csv; charset=utf-8"
        assert answer["Content-Disposition"] == f'attachment; filename="redemptions-{discount.number}.csv"'
        return list(csv.DictReader(io.StringIO(b"".join(answer.streaming_content).decode())))

    def test_each_column(self, client, account):
        discount = make_discount(account, name="Ten")
        ada = make_persona(account, first_name="Zoe", phone="+16045550142")
        [sale] = make_sales(account, 1)
        row = used(discount, ada, points=Decimal("100.50"), back=Decimal("0.50"), transaction="T1", sale_id=sale,
                   store=make_store(account, "Main"), after_tax=True)  # fmt: skip
        CouponCode.unscoped.create(account=account, discount=discount, code="LEAF", redemption=row)
        used(make_discount(account), ada)
        [told] = self.rows(client, discount)
        assert list(told) == list(usage.COLUMNS)
        assert list(told.values()) == [
            str(row.public_id), "2026-11-21 12:00:00", "settled", "till", "100.50", "0.50", "Main", "T1",
            row.sale.number, "yes", str(ada.contact_id), "LEAF", "", "",
        ]  # fmt: skip
        # The ids are of digits drawn at random.
        said = str([value for column, value in told.items() if column not in ("redemption", "contact")])
        assert "Zoe" not in said and "555" not in said, "no name, no phone"
        line = AuditLine.unscoped.get(act="redemptions.exported")
        assert line.target == discount.internal_name

    def test_the_columns_are_documented(self):
        text = (Path(__file__).resolve().parents[2] / "docs" / "export.md").read_text()
        for column, holds in usage.COLUMNS.items():
            assert f"| {column} | {holds} |" in text

    def test_what_would_run_in_a_spreadsheet_is_text(self, client, account):
        discount = make_discount(account, code_kind="static", static_code="@SUM(1)")
        used(discount, make_persona(account), transaction=FORMULA, store=make_store(account, "+1+cmd|' /C calc'!A0"))
        [told] = self.rows(client, discount)
        assert (told["order"], told["code"]) == (f"'{FORMULA}", "'@SUM(1)") and told["store"].startswith("'+1")
        for first in "=+-@\t\r\n":
            assert sheets.plain(first + "1") == f"'{first}1"
        assert sheets.plain("a=1") == "a=1" and sheets.plain(Decimal(-5)) == Decimal(-5)

    def test_it_comes_in_pieces_and_whole(self, client, account, monkeypatch):
        monkeypatch.setattr(usage, "BATCH", 3)
        discount = make_discount(account)
        made = [used(discount, make_persona(account), transaction=f"T{n}") for n in range(7)]
        with CaptureQueriesContext(connection) as seen:
            assert [row["redemption"] for row in self.rows(client, discount)] == [str(one.public_id) for one in made]
        assert len([q for q in seen if "FROM loyalty_redemption r" in q["sql"]]) == 3

    def test_a_merged_shopper_is_the_one_to_look_up(self, client, account):
        ada = make_persona(account)
        discount = make_discount(account)
        used(discount, make_persona(account, merged_into=ada))
        [told] = self.rows(client, discount)
        assert told["contact"] == str(ada.contact_id) and Persona.unscoped.count() == 2

    def test_an_empty_one_has_its_head(self, client, account):
        assert self.rows(client, make_discount(account)) == []

    def test_of_another_account(self, client, account):
        theirs = make_discount(make_account("Other"))
        used(theirs, make_persona(theirs.account), transaction="SECRET")
        answer = client.get(reverse("admin:loyalty_discount_redemptions", args=[theirs.pk]))
        assert answer.status_code == 302 and b"SECRET" not in answer.content
        assert usage.of(discount=make_discount(account), now=NOW, zone=ZONE).redemptions == 0


ROLES = [
    # role, may read the page and the export, may duplicate
    (Role.OWNER, True, True), (Role.OPERATOR, True, True), (Role.MARKETING, True, True), (Role.MANAGER, True, False),
    (Role.ANALYST, True, False), (Role.FINANCE, True, False), (Role.STAFF, False, False),
]  # fmt: skip


@pytest.mark.parametrize("role, reads, duplicates", ROLES)
def test_who_may(client, account, role, reads, duplicates):
    discount = make_discount(account)
    used(discount, make_persona(account))
    client.force_login(make_user(account, role))
    page = client.get(change(discount))
    assert page.status_code == (200 if reads else 403)
    export = reverse("admin:loyalty_discount_redemptions", args=[discount.pk])
    copy = reverse("admin:loyalty_discount_duplicate", args=[discount.pk])
    assert (export in page.content.decode()) is reads and (copy in page.content.decode()) is duplicates
    assert client.get(export).status_code == (200 if reads else 403)
    assert client.post(export).status_code in (403, 405)
    assert client.get(copy).status_code == 302 and Discount.unscoped.count() == 1  # to the list, and nothing is done
    assert client.post(copy).status_code == (302 if duplicates else 403)
    assert Discount.unscoped.count() == 1 + duplicates


def test_duplicate(client, account):
    discount = make_discount(account, name="$10 off", internal_name="Ten", code_kind="unique")
    answer = client.post(reverse("admin:loyalty_discount_duplicate", args=[discount.pk]), follow=True)
    made = Discount.unscoped.latest("pk")
    assert answer.redirect_chain[-1][0] == change(made) and made.name == "Copy of $10 off"
    page = answer.content.decode()
    assert "shoppers see it from now on" in page and "codes were not copied" in page
    line = AuditLine.unscoped.get(act="discount.created")
    assert line.target == "Copy of Ten" and line.detail == {"of": "Ten"}
    for pk in (987654321, make_discount(make_account("Other")).pk):
        assert client.post(reverse("admin:loyalty_discount_duplicate", args=[pk])).status_code == 302
    assert Discount.unscoped.filter(account=account).count() == 2


def test_fault_4_1_the_list_the_page_and_the_home_page_flag_it(client, account):
    connect(account)
    wrong, fine = make_discount(account, name="Mapped", pos_discount_id="88f1"), make_discount(account, name="Fine")
    discounts.check(account_id=account.pk, now=timezone.now())
    shown = client.get("/admin/loyalty/discount/").content.decode()
    assert shown.count("Look at it") == 1 and "88f1 leads nowhere" in shown
    some = client.get("/admin/loyalty/discount/?state=wrong").content.decode()
    assert "Mapped" in some and "Fine" not in some
    assert "88f1 leads nowhere" in client.get(change(wrong)).content.decode()
    assert "leads nowhere" not in client.get(change(fine)).content.decode()
    home = client.get("/admin/").content.decode()
    assert "1 discount needs a look" in home and "discount/?state=wrong" in home
    given = {"internal_name": "a", "name": "a", "kind": "flat", "amount": "10", "points": "100"}
    assert client.post(change(wrong), given).status_code == 302
    assert "needs a look" not in client.get("/admin/").content.decode(), "saved without the id: looked at at once"


def test_fault_4_1_saving_looks_at_once(client, account):
    connect(account)
    given = {"internal_name": "a", "name": "a", "kind": "flat", "amount": "10", "pos_discount_id": uuid.uuid4().hex}
    client.post("/admin/loyalty/discount/add/", given)
    one = Discount.unscoped.get()
    assert "leads nowhere" in one.problem and one.checked_at


def test_fault_4_9_the_card_prints_what_it_cannot(client, account):
    from integrations import docs, registry

    connect(account)
    page = client.get(reverse("admin:card", args=["cova"])).content.decode()
    limits = docs.limits(registry.get("cova"))
    assert ("Discounts of ours on one order", "1 at most.") in limits and len(limits) > 5
    for what, why in limits:
        for text in (what, why):
            assert text.replace("'", "&#x27;") in page
