"""The page "Redemptions to look at": every section with its act, by the buttons that the page itself shows."""

import re
from html import unescape

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from aiqsync.accounts.models import AuditLine
from loyalty import ledger
from loyalty.models import Discount, DiscountStore, Redemption, Review, Shortfall
from stores.models import StoreMapping, StoreStaff
from tests.factories import make_discount, make_store, make_user
from tests.loyalty.test_release import DAY, HOUR, Shop, sold
from tests.records import refund, sale

pytestmark = pytest.mark.django_db
PAGE = "admin:redemptions-to-look-at"
FORM = re.compile(r'<form method="post" action="([^"]+)"[^>]*>(.*?)</form>', re.DOTALL)
HIDDEN = re.compile(r'<input type="hidden" name="(\w+)" value="([^"]*)"')


@pytest.fixture
def now():
    return timezone.now()


class Page(Shop):
    """A shop whose redemptions are of today, because the page has no clock but its own."""

    def __init__(self, client, now):
        super().__init__()
        self.client, self.now = client, now
        self.store = make_store(self.account, "Kits")
        place = self.origin.locations(manager="unscoped").get()
        StoreMapping.unscoped.create(account=self.account, location=place, store=self.store)
        self.user = make_user(self.account)
        client.force_login(self.user)

    def html(self) -> str:
        return unescape(self.client.get(reverse(PAGE)).content.decode())

    def section(self, kind: str) -> str:
        found = re.search(rf'<section[^>]*id="{kind}">(.*?)</section>', self.html(), re.DOTALL)
        return found[1] if found else ""

    def button(self, kind: str, label: str) -> tuple[str, dict[str, str]]:
        """Where a button's form goes, and what it sends."""
        for action, form in FORM.findall(self.section(kind)):
            if re.search(rf"<button[^>]*>{re.escape(label)}", form):
                return action, dict(HIDDEN.findall(form))
        raise AssertionError(f"no button {label!r} in {kind}")

    def press(self, button, client=None, **typed) -> str:
        action, fields = button
        return unescape((client or self.client).post(action, fields | typed, follow=True).content.decode())

    def rows(self):
        return list(Redemption.unscoped.filter(account=self.account).values_list("state", "reverted_points", "sale"))

    # The cases, one each

    def waiting(self):
        self.redeem(at=self.now - 5 * HOUR, store_id=self.store.pk)
        self.arrive(sold("other", "[]", "IN-9", sold_at=self.now - 4 * HOUR), now=self.now)

    def no_discount(self):
        self.redeem("T1", at=self.now - 5 * HOUR, store_id=self.store.pk)
        self.arrive(sold(discounts="[]", sold_at=self.now - 5 * HOUR), now=self.now)

    def no_redemption(self):
        self.arrive(sold(sold_at=self.now - 5 * HOUR), now=self.now)

    def refund(self):
        self.arrive(sold(discounts="[]", sold_at=self.now - 4 * DAY), now=self.now)
        self.arrive(refund("r", of="s", customer_id="c", sold_at=self.now - 2 * DAY), now=self.now)

    def spent_refunded(self):
        self.redeem("T1", at=self.now - 4 * DAY, store_id=self.store.pk)
        self.arrive(sold(sold_at=self.now - 4 * DAY), now=self.now)
        self.arrive(refund("r", of="s", customer_id="c", sold_at=self.now - 2 * DAY), now=self.now)

    def place(self):
        DiscountStore.unscoped.create(account=self.account, discount=self.discount, store=make_store(self.account))
        Discount.unscoped.filter(pk=self.discount.pk).update(limited_stores=True)
        self.redeem("T1", at=self.now - 5 * HOUR)  # the till named no store
        self.arrive(sold(sold_at=self.now - 5 * HOUR), now=self.now)

    def shortfall(self):
        self.redeem("T1", at=self.now - 3 * DAY, store_id=self.store.pk)
        one = Redemption.unscoped.get(account=self.account)
        ledger.revert(account_id=self.account.pk, redemption_public_id=one.public_id, now=self.now, to_state="released",
                      why="no_sale")  # fmt: skip
        self.give(-960, "spent")
        self.arrive(sold(net=0, tax=0, lines=(), sold_at=self.now - 3 * DAY), now=self.now)
        self.give(50, "again")


@pytest.fixture
def page(client, now):
    page = Page(client, now)
    yield page
    assert page.sound() == []


# Section, its button, the points it leaves the shopper (1,000 at the start, 100 for the sale), what the page says.
CASES = {
    "waiting: give back": ("waiting", "Give the points back", 1100, "not read so far"),
    "waiting: its sale": ("waiting", "It was sale IN-9", 1000, "not read so far"),
    "no_discount": ("no_discount", "Take the points again", 1000, "came without the discount"),
    "no_redemption": ("no_redemption", "Take 100 points now", 1000, "Sale T1"),
    "refund": ("refund", "Take back 100 points", 1000, "Sale T1"),
    "spent_refunded": ("spent_refunded", "Give the points back", 1100, "known by the order's number"),
    "place": ("place", "Give the points back", 1100, "known by the order's number"),
    "shortfall: collect": ("shortfall", "Collect what is there", 0, "after the points were back"),
    "shortfall: waive": ("shortfall", "Waive", 50, "after the points were back"),
}  # fmt: skip


@pytest.mark.parametrize("kind, label, points, said", CASES.values(), ids=CASES)
def test_one_click_helps_and_another_is_harmless(page, kind, label, points, said):
    getattr(page, kind)()
    assert said in page.section(kind)
    button = page.button(kind, label)
    note = {"note": "spoke with her"} if "Waive" in label else {}
    page.press(button, **note)
    assert page.points == points
    if label.startswith("Collect"):
        assert "10" in page.section(kind), "60 are missing, 50 were there: the rest stays open"
    else:
        assert page.section(kind) == "", "it is gone"
    rows, entries = page.rows(), list(page.persona.entries(manager="unscoped").values_list("pk", flat=True))
    again = page.press(button, **note)
    assert again and page.points == points and page.rows() == rows
    assert list(page.persona.entries(manager="unscoped").values_list("pk", flat=True)) == entries
    assert AuditLine.unscoped.filter(account=page.account, act__startswith="looking.").exists()


@pytest.mark.parametrize("kind", ["waiting", "no_discount", "no_redemption", "refund", "spent_refunded", "place"])
def test_closed_as_it_is_nothing_moves(page, kind):
    getattr(page, kind)()
    points = page.points
    page.press(page.button(kind, "Close as it is"), note="fine")
    assert page.section(kind) == "" and page.points == points
    assert Review.unscoped.get(kind=kind).note == "fine"


class TestAnotherTab:
    """The page was opened before something else happened."""

    def test_its_sale_came_meanwhile(self, page):
        page.waiting()
        button = page.button("waiting", "Give the points back")
        page.arrive(sold("own", number="IN-10", sold_at=page.now - 5 * HOUR), now=page.now)
        assert page.rows()[0][0] == "settled"
        assert "Its sale came meanwhile" in page.press(button)
        assert page.rows()[0][0] == "settled"

    def test_somebody_gave_it_back(self, page):
        page.waiting()
        settle = page.button("waiting", "It was sale IN-9")
        page.press(page.button("waiting", "Give the points back"))
        assert "was given back" in page.press(settle) and page.rows()[0][0] == "reverted"

    def test_a_discount_taken_and_given_back_is_not_taken_again(self, page):
        page.no_redemption()
        button = page.button("no_redemption", "Take 100 points now")
        page.press(button)
        made = Redemption.unscoped.get(account=page.account)
        ledger.revert(account_id=page.account.pk, redemption_public_id=made.public_id, now=page.now, why="staff")
        assert "done before" in page.press(button) and page.points == 1100

    def test_a_redemption_of_the_sale_came_in_between(self, page):
        page.no_redemption()
        button = page.button("no_redemption", "Take 100 points now")
        page.redeem("T1", at=page.now - 5 * HOUR)
        page.arrive(sold(sold_at=page.now - 5 * HOUR, employee_name="Sam"), now=page.now)
        assert "done before" in page.press(button) and page.points == 1000


class TestForeign:
    @pytest.mark.parametrize("kind, label", [
        ("waiting", "Give the points back"), ("waiting", "It was sale IN-9"), ("no_discount", "Take the points again"),
        ("no_redemption", "Take 100 points now"), ("refund", "Take back 100 points"), ("place", "Close as it is"),
        ("shortfall", "Waive"), ("shortfall", "Collect what is there"),
    ])  # fmt: skip
    def test_another_accounts_case(self, page, kind, label):
        getattr(page, kind)()
        button, points, rows = page.button(kind, label), page.points, page.rows()
        page.client.force_login(make_user(Shop("Elsewhere").account))
        page.press(button, note="x")
        assert page.points == points and page.rows() == rows and not Review.unscoped.exists()
        assert not Shortfall.unscoped.exclude(state="open").exists()

    def test_a_discount_that_the_sale_does_not_carry(self, page):
        page.no_redemption()
        action, fields = page.button("no_redemption", "Take 100 points now")
        dear = make_discount(page.account, name="Dear", points=900)
        assert "does not carry" in page.press((action, fields | {"discount": str(dear.pk)}))
        assert page.points == 1100

    def test_a_sale_of_somebody_else(self, page):
        page.waiting()
        page.arrive(sale("anon", number="IN-77", sold_at=page.now - 4 * HOUR), now=page.now)
        action, fields = page.button("waiting", "It was sale IN-9")
        theirs = page.origin.sales(manager="unscoped").get(external_id="anon")
        assert "no sale of this shopper" in page.press((action, fields | {"sale": str(theirs.pk)}))
        assert page.rows()[0][0] == "applied"


class TestStaff:
    """Staff see the cases of their stores, and act on those only."""

    @pytest.fixture
    def staff(self, page):
        user = make_user(page.account, "staff")
        page.client.force_login(user)
        page.membership = user.memberships(manager="unscoped").get()
        return user

    @pytest.mark.parametrize("kind", ["waiting", "no_discount", "no_redemption", "spent_refunded", "place", "shortfall",
                                      "refund"])  # fmt: skip
    def test_theirs_and_others(self, page, staff, kind):
        getattr(page, kind)()
        mine = StoreStaff.unscoped.create(account=page.account, membership=page.membership, store=page.store)
        assert page.section(kind)
        action, form = FORM.search(page.section(kind)).groups()
        button = action, dict(HIDDEN.findall(form))
        mine.delete()
        points, rows = page.points, page.rows()
        assert page.section(kind) == "", "of a store that is not theirs"
        assert "not one of your stores'" in page.press(button)
        assert page.points == points and page.rows() == rows
        StoreStaff.unscoped.create(account=page.account, membership=page.membership, store=page.store)
        assert "not one of your stores'" not in page.press(button)
        assert "not one of your stores'" not in page.press(button), "done before is not somebody else's"


@pytest.mark.parametrize("kind", ["waiting", "no_discount", "refund"])
def test_the_page_costs_the_same_with_ten_and_two_hundred(page, kind):
    def fill(start, count):
        for n in range(start, start + count):
            page.give(100, f"g{n}")
            at = page.now - 3 * DAY
            if kind != "refund":
                page.redeem(f"T{n}", n=n, at=at, store_id=page.store.pk)
        numbers = range(start, start + count)
        if kind != "waiting":
            sales = [sold(f"s{n}", "[]", f"T{n}", sold_at=page.now - 3 * DAY) for n in numbers]
            page.arrive(*sales, now=page.now)
        if kind == "refund":
            page.arrive(
                *[refund(f"r{n}", of=f"s{n}", customer_id="c", sold_at=page.now - DAY) for n in numbers], now=page.now
            )

    def asked():
        with CaptureQueriesContext(connection) as found:
            html = page.section(kind)
        return len(found), html.count("<tr>") - 1

    fill(0, 10)
    page.html()
    few, shown = asked()
    assert shown == 10
    fill(10, 190)
    many, shown = asked()
    assert shown == 50 and "50+" in page.section(kind).replace("\n", "")
    assert many == few


def test_what_a_redemption_came_to_stands_on_the_shoppers_page_too(page):
    page.no_discount()
    html = page.client.get(reverse("admin:persona", args=[page.persona.contact_id])).content.decode()
    assert "Its sale came without the discount." in html


def test_two_candidates_are_named(page):
    page.redeem(at=page.now - 40 * HOUR, store_id=page.store.pk)
    two = [sold(name, number=name, sold_at=page.now - 40 * HOUR) for name in ("IN-1", "IN-2")]
    page.arrive(*two, now=page.now)
    page.read(page.now)
    assert "2 sales carry this discount; only a person can tell which was its own." in page.section("waiting")
    page.press(page.button("waiting", "It was sale IN-2"))
    assert "settled" in page.rows()[0][0] and "IN-1" in page.section("no_redemption")
