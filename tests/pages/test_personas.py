"""Customers, Personas: finding one, the page, and what staff may do there."""

import re
import uuid
from datetime import date, timedelta
from decimal import Decimal

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from aiqsync.accounts.models import AuditLine
from aiqsync.accounts.roles import Role
from aiqsync.accounts.tenancy import acting_in
from integrations.models import Customer, Location, Origin, Sale
from loyalty import earning, ledger
from loyalty.models import ContactAlias, Enrolment, Entry, Persona, Redemption, Source
from stores.models import StoreMapping
from tests.factories import make_account, make_discount, make_persona, make_store, make_user

pytestmark = pytest.mark.django_db
LIST = "/admin/loyalty/persona/"
NOW = timezone.now


@pytest.fixture
def account():
    return make_account()


@pytest.fixture
def owner(account, client):
    account.owner = make_user(account, name="Mara Owner")
    client.force_login(account.owner)
    return client


def page(persona):
    return reverse("admin:persona", args=[persona.contact_id])


def give(account, persona, points, key=None):
    return ledger.adjust(
        account_id=account.pk, persona_id=persona.pk, points=Decimal(points), key=key or uuid.uuid4().hex, now=NOW()
    )


def balance(account, persona):
    return ledger.spendable_points(account.pk, persona.pk, NOW())


def shopper(account, origin, n, **fields):
    with acting_in(account.pk):
        persona = make_persona(account, **fields)
        customer = Customer.objects.create(origin=origin, external_id=f"c{n}", first_name=persona.first_name)
        Source.objects.create(persona=persona, customer=customer, matched_by="phone")
    return persona


def token_of(html):
    return re.search(r'name="token" value="([0-9a-f-]+)"', html)[1]


class TestFinding:
    @pytest.fixture
    def ada(self, account):
        make_persona(account, first_name="Ben", last_name="Hart", phone="+16045550199", email="ben@shop.test")
        return make_persona(account, first_name="Ada", last_name="Moss", phone="+16045550142", email="ada@shop.test")

    @pytest.mark.parametrize("typed", [
        "+16045550142", "604 555 0142", "(604) 555-0142", "1-604-555-0142", "ada@shop.test", "ADA@Shop.test",
        "ada", "mos", "ada moss", "Moss, Ada", "ad mo", "<contact>",
    ])  # fmt: skip
    def test_finds_her_and_nobody_else(self, owner, ada, typed):
        html = owner.get(LIST, {"q": typed.replace("<contact>", str(ada.contact_id))}).content.decode()
        assert page(ada) in html and "Ben Hart" not in html

    def test_by_a_phone_she_had_before(self, owner, account, ada):
        with acting_in(account.pk):
            ada.identifiers.create(account=account, kind="phone", value="+16045550777")
        assert page(ada) in owner.get(LIST, {"q": "6045550777"}).content.decode()

    @pytest.mark.parametrize("typed", ["%", "_da", "5550142", "'; --", "0" * 300])
    def test_no_wild_cards_no_surprises(self, owner, ada, typed):
        answer = owner.get(LIST, {"q": typed})
        assert answer.status_code in (200, 302) and page(ada) not in answer.content.decode()

    def test_filters(self, owner, account, ada):
        other = make_persona(account, first_name="Cleo", member=False)
        with acting_in(account.pk):
            origin = Origin.objects.create(platform="cova", identity="1")
        polled = shopper(account, origin, 1, first_name="Dana")
        members = owner.get(LIST, {"member": "yes"}).content.decode()
        assert page(ada) in members and page(other) not in members
        cova = owner.get(LIST, {"source": "cova"}).content.decode()
        assert page(polled) in cova and page(ada) not in cova
        here = owner.get(LIST, {"source": "none"}).content.decode()
        assert page(polled) not in here and page(ada) in here

    def test_merged_ones_are_not_listed(self, owner, account, ada):
        gone = make_persona(account, first_name="Gone", merged_into=ada)
        assert page(gone) not in owner.get(LIST).content.decode()


@pytest.mark.parametrize("people", [3, 30])
def test_the_list_costs_the_same_however_long(owner, account, people):
    with acting_in(account.pk):
        origin = Origin.objects.create(platform="cova", identity="1")
    for n in range(people):
        shopper(account, origin, n, first_name=f"P{n}", phone=f"+1604555{2000 + n}")
    with CaptureQueriesContext(connection) as asked:
        assert owner.get(LIST).status_code == 200
    assert len(asked) <= 24, [q["sql"][:100] for q in asked]
    # Nothing that grows with the shop is counted; open alerts, which the menu counts, do not.
    counted = [q for q in asked if "COUNT(*)" in q["sql"] and "LIMIT" not in q["sql"]]
    assert not [q for q in counted if "accounts_alert" not in q["sql"]]


class TestPage:
    def test_shows_what_is_known(self, owner, account):
        with acting_in(account.pk):
            origin = Origin.objects.create(platform="cova", identity="1")
            ada = shopper(account, origin, 1, phone="+16045550142", email="ada@shop.test", birth_date=date(1990, 5, 4))
            place = Location.objects.create(origin=origin, external_id="1", name="POS 1")
            StoreMapping.objects.create(location=place, store=make_store(account, "Main Street"))
            sale = Sale.objects.create(
                origin=origin, external_id="s1", number="MAI-1", location=place, customer_id="c1", currency="CAD",
                sold_at=NOW() - timedelta(hours=1), net_cents=8420, total_cents=9430, employee_name="Bo",
                fulfilment="pickup",
            )  # fmt: skip
        earning.settle_sales(account_id=account.pk, sale_ids=[sale.pk], now=NOW())
        html = owner.get(page(ada)).content.decode()
        for word in (
            "Ada Moss", "(604) 555-0142", "ada@shop.test", "4 May 1990", str(ada.contact_id), "84.20", "MAI-1",
            "$84.20 before tax, 100 points per $100.", "Main Street", "$94.30", "Pickup", "Bo", "Cova", "Earned",
        ):  # fmt: skip
            assert word in html, word

    def test_timeline_in_pages_of_25(self, owner, account):
        ada = make_persona(account)
        for n in range(30):
            give(account, ada, 1, key=f"k{n}")
        first, second = owner.get(page(ada)).content.decode(), owner.get(page(ada) + "?page=2").content.decode()
        assert first.count("Adjusted") == 25 and second.count("Adjusted") == 5

    def test_queries_do_not_grow_with_the_timeline(self, owner, account):
        ada, discount = make_persona(account), make_discount(account, points=1)
        counts = []
        for _ in range(2):
            for _n in range(6):
                give(account, ada, 5)
                with acting_in(account.pk):
                    had = Redemption.objects.count()
                ledger.redeem(
                    account_id=account.pk, persona_id=ada.pk, discount_id=discount.pk, n=had, transaction=f"T{had}",
                    channel="till", now=NOW(),
                )  # fmt: skip
            with CaptureQueriesContext(connection) as asked:
                owner.get(page(ada))
            counts.append(len(asked))
        assert counts[0] == counts[1] <= 26

    def test_a_merged_one_leads_to_its_survivor(self, owner, account):
        ada = make_persona(account)
        gone = make_persona(account, merged_into=ada)
        answer = owner.get(page(gone), follow=True)
        assert answer.redirect_chain[-1][0] == page(ada) and "was merged" in answer.content.decode()

    def test_the_rows_address_leads_here(self, owner, account):
        ada = make_persona(account)
        assert owner.get(f"{LIST}{ada.pk}/change/").url == page(ada)


class TestAdjusting:
    @pytest.fixture
    def ada(self, account):
        return make_persona(account)

    def sheet(self, client, persona, **fields):
        return {"token": token_of(client.get(page(persona)).content.decode()), "note": "birthday"} | fields

    def test_adds_and_takes_with_a_note(self, owner, account, ada):
        for points in ("50.25", "-10"):
            owner.post(page(ada) + "adjust/", self.sheet(owner, ada, points=points))
        assert balance(account, ada) == Decimal("40.25")
        html = owner.get(page(ada)).content.decode()
        assert "birthday" in html and "by Mara Owner" in html and "+50.25" in html
        with acting_in(account.pk):
            assert AuditLine.objects.filter(act="points.adjusted", user=account.owner).count() == 2

    def test_a_double_click_is_one_entry(self, owner, account, ada):
        sheet = self.sheet(owner, ada, points="50")
        owner.post(page(ada) + "adjust/", sheet)
        again = owner.post(page(ada) + "adjust/", sheet, follow=True).content.decode()
        assert balance(account, ada) == 50 and "saved before" in again
        with acting_in(account.pk):
            assert Entry.objects.count() == 1 and AuditLine.objects.filter(act="points.adjusted").count() == 1

    @pytest.mark.parametrize(("fields", "said"), [
        ({"points": "-60"}, "The balance is 50"), ({"points": "0"}, "Zero points"),
        ({"points": "1.234"}, "two decimals"),
        ({"points": "5", "note": " "}, "Say why"), ({"points": "many"}, "Enter a number"), ({"points": ""}, "How many"),
        ({"points": "NaN"}, "Enter a number"), ({"points": "5", "token": "x"}, "Open the page again"),
    ])  # fmt: skip
    def test_what_cannot_be_is_said_and_nothing_done(self, owner, account, ada, fields, said):
        give(account, ada, 50)
        answer = owner.post(page(ada) + "adjust/", self.sheet(owner, ada) | fields)
        assert answer.status_code == 422 and said in answer.content.decode()
        assert balance(account, ada) == 50

    @pytest.mark.parametrize(("role", "status"), [(Role.MANAGER, 302), (Role.STAFF, 403), (Role.MARKETING, 403)])
    def test_who_may(self, account, client, ada, role, status):
        client.force_login(make_user(account, role))
        html = client.get(page(ada)).content.decode()
        assert ("Adjust points" in html) == (status == 302)
        sheet = {"token": uuid.uuid4(), "points": "5", "note": "x"}
        assert client.post(page(ada) + "adjust/", sheet).status_code == status
        assert balance(account, ada) == (5 if status == 302 else 0)

    def test_get_changes_nothing(self, owner, ada):
        assert "Nothing was done" in owner.get(page(ada) + "adjust/", follow=True).content.decode()
        assert Entry.unscoped.count() == 0


class TestEnrolling:
    def test_one(self, owner, account):
        ada = make_persona(account, member=False)
        assert "Enrol in loyalty" in owner.get(page(ada)).content.decode()
        owner.post(page(ada) + "enrol/", {"from_date": "2026-02-03"})
        with acting_in(account.pk):
            assert Persona.objects.get().member_from == date(2026, 2, 3)
            assert Enrolment.objects.get().user == account.owner
            assert AuditLine.objects.get(act="persona.enrolled").detail["from"] == "2026-02-03"
        assert "Enrol in loyalty" not in owner.get(page(ada)).content.decode()

    @pytest.mark.parametrize("given", ["", "2026-02-30", "soon"])
    def test_a_day_that_is_none(self, owner, account, given):
        ada = make_persona(account, member=False)
        assert owner.post(page(ada) + "enrol/", {"from_date": given}).status_code == 422

    def test_fault_7_2_many_are_enrolled_after_a_question(self, owner, account):
        people = [make_persona(account, first_name=f"P{n}", member=n == 0) for n in range(3)]
        chosen = {"action": "enrol", "_selected_action": [p.pk for p in people]}
        asked = owner.post(LIST, chosen).content.decode()
        assert "Enrol 2 personas?" in asked and "Earns from" in asked
        with acting_in(account.pk):
            assert Persona.objects.filter(member_from=None).count() == 2
        said = owner.post(LIST, chosen | {"confirmed": "1", "from_date": "2026-03-01"}, follow=True).content.decode()
        assert "2 enrolled" in said
        with acting_in(account.pk):
            assert Persona.objects.filter(member_from=date(2026, 3, 1)).count() == 2

    def test_the_contact_id_of_the_service_before_is_found(self, owner, account):
        with acting_in(account.pk):
            origin = Origin.objects.create(platform="aiq", identity="1", title="AIQ")
            zoe, _ = [make_persona(account, first_name=name) for name in ("Zoe", "Bea")]
            ContactAlias.objects.create(persona=zoe, origin=origin, alias="AIQ-77", points=0)
        html = owner.get(LIST, {"q": "AIQ-77"}).content.decode()
        assert "Zoe" in html and "Bea" not in html
        assert "Zoe" in owner.get(reverse("admin:why"), {"q": "AIQ-77"}).content.decode()

    def test_everybody_found_is_nobody_else(self, owner, account):
        """ "Select all" means all that the search and filters left; the question must not forget them."""
        found, other = [make_persona(account, first_name=name, member=False) for name in ("Zoe", "Bea")]
        url = LIST + "?q=Zoe"
        chosen = {"action": "enrol", "_selected_action": [found.pk], "select_across": "1"}
        asked = owner.post(url, chosen).content.decode()
        assert "Enrol 1 persona?" in asked and f'action="{url}"' in asked
        owner.post(url, chosen | {"confirmed": "1", "from_date": "2026-03-01"})
        with acting_in(account.pk):
            assert [p.pk for p in Persona.objects.exclude(member_from=None)] == [found.pk]
            assert not Persona.objects.get(pk=other.pk).is_member

    def test_staff_may_not(self, account, client):
        ada = make_persona(account, member=False)
        client.force_login(make_user(account, Role.STAFF))
        assert client.post(page(ada) + "enrol/", {"from_date": "2026-02-03"}).status_code == 403
        assert 'value="enrol"' not in client.get(LIST).content.decode()


class TestGivingBack:
    @pytest.fixture
    def used(self, account):
        ada = make_persona(account)
        give(account, ada, 300)
        done = ledger.redeem(
            account_id=account.pk, persona_id=ada.pk, discount_id=make_discount(account, points=100).pk, n=0,
            transaction="T1", channel="till", now=NOW(),
        )  # fmt: skip
        return ada, done.redemption_id

    def url(self, ada, public_id):
        return reverse("admin:persona-give-back", args=[ada.contact_id, public_id])

    def test_once_however_often(self, owner, account, used):
        ada, public_id = used
        assert "Give back" in owner.get(page(ada)).content.decode()
        for _ in range(2):
            owner.post(self.url(*used))
        assert balance(account, ada) == 300
        with acting_in(account.pk):
            assert AuditLine.objects.filter(act="redemption.given_back").count() == 1
        assert "Yes, give back" not in owner.get(page(ada)).content.decode()

    def test_only_of_this_persona(self, owner, account, used):
        other = make_persona(account)
        assert owner.post(self.url(other, used[1])).status_code == 404
        assert balance(account, used[0]) == 200

    def test_who_may(self, account, client, used):
        client.force_login(make_user(account, Role.ANALYST))
        assert client.post(self.url(*used)).status_code == 403
        assert "Give back" not in client.get(page(used[0])).content.decode()

    def test_staff_may_until_it_is_settled(self, account, client, used):
        client.force_login(make_user(account, Role.STAFF))
        assert "Yes, give back" in client.get(page(used[0])).content.decode()
        assert client.post(self.url(*used)).status_code == 302
        assert balance(account, used[0]) == 300

    def test_staff_may_not_once_it_is_settled(self, account, client, used):
        client.force_login(make_user(account, Role.STAFF))
        with acting_in(account.pk):
            Redemption.objects.update(state="settled", settled_at=timezone.now())
        assert client.post(self.url(*used)).status_code == 403
        assert "Yes, give back" not in client.get(page(used[0])).content.decode()


class TestRedeemByHand:
    @pytest.fixture
    def ada(self, account):
        ada = make_persona(account, phone="+16045550142")
        give(account, ada, 300)
        return ada

    def url(self, ada, discount, n=0):
        return reverse("admin:persona-redeem", args=[ada.contact_id, discount.pk, n])

    def test_a_double_click_is_one_and_the_page_says_what_to_type(self, owner, account, ada):
        discount = make_discount(account, points=100, cents=1250)
        assert self.url(ada, discount) in owner.get(page(ada)).content.decode()
        answer = owner.post(self.url(ada, discount), follow=True).content.decode()
        owner.post(self.url(ada, discount))
        assert "12.50 off the cart" in answer
        assert balance(account, ada) == 200
        with acting_in(account.pk):
            assert Redemption.objects.get().state == "applied"  # until its sale is seen
            assert AuditLine.objects.filter(act="redemption.by_hand").count() == 1
        # The page that was read again offers it once more.
        assert self.url(ada, discount, 1) in owner.get(page(ada)).content.decode()

    def test_more_than_there_is_takes_nothing(self, owner, account, ada):
        discount = make_discount(account, points=400)
        answer = owner.post(self.url(ada, discount), follow=True).content.decode()
        assert "400 points are needed, 300 are there" in answer
        assert balance(account, ada) == 300

    def test_who_may(self, account, client, ada):
        discount = make_discount(account, points=100)
        client.force_login(make_user(account, Role.ANALYST))
        assert client.post(self.url(ada, discount)).status_code == 403
        client.force_login(make_user(account, Role.STAFF))
        assert "Redeem $10 off" in client.get(page(ada)).content.decode()
        client.post(self.url(ada, discount))
        assert balance(account, ada) == 200

    def test_another_accounts_discount_is_not_there(self, owner, account, ada):
        foreign = make_discount(make_account("Other"), points=1)
        assert owner.post(self.url(ada, foreign)).status_code == 404
        assert balance(account, ada) == 300
