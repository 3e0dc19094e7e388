"""The persona's page and list: what stands in the way of points, how fresh a balance is, receipts, each filter."""

import uuid
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from aiqsync.accounts.models import AuditLine
from aiqsync.accounts.roles import Role
from aiqsync.accounts.tenancy import acting_in
from integrations.models import Connection, Credential, CredentialState, Customer, PricingGroup, StreamState
from loyalty import audiences, earning, ingest, ledger, merging, personas, profile
from loyalty.models import Audience, Entry, Investigation, Persona, Programme, Redemption, Source
from stores.models import Store, StoreMapping
from tests.factories import make_account, make_discount, make_persona, make_store, make_user
from tests.records import customer as record
from tests.records import land_customers, land_sales, make_origin, refund, sale

pytestmark = pytest.mark.django_db
LIST = "/admin/loyalty/persona/"
NOW = timezone.now
PHONE = "+16045550142"


@pytest.fixture
def account():
    return make_account()


@pytest.fixture
def origin(account):
    return make_origin(account)


@pytest.fixture
def owner(account, client):
    account.owner = make_user(account, name="Mara Owner")
    client.force_login(account.owner)
    return client


def page(persona, tab=""):
    return reverse("admin:persona", args=[persona.contact_id]) + (f"?tab={tab}" if tab else "")


def html_of(client, persona, tab=""):
    return " ".join(client.get(page(persona, tab)).content.decode().split())


def shopper(account, origin, n=1, **fields) -> Persona:
    with acting_in(account.pk):
        persona = make_persona(account, **fields)
        customer = Customer.objects.create(origin=origin, external_id=f"c{n}", first_name=persona.first_name)
        Source.objects.create(persona=persona, customer=customer, matched_by="phone")
    return persona


def sold(account, origin, *records):
    with acting_in(account.pk):
        landed = land_sales(origin, *records)
        ingest.sales_landed(account_id=account.pk, sale_ids=landed.touched, now=NOW())


def connect(account, origin, read_until, state=CredentialState.CONNECTED, next_due=None):
    with acting_in(account.pk):
        found = Connection.objects.create(card="cova")
        credential = Credential.objects.create(connection=found, origin=origin, state=state)
        return StreamState.objects.create(
            credential=credential, stream="sales", read_until=read_until, next_due=next_due or NOW()
        )


class TestStanding:
    def test_fault_1_1_says_which_of_the_two_it_is(self, account, client, origin):
        """Not linked to the POS, or linked and not a member: each with what helps; staff read it as well."""
        connect(account, origin, NOW())
        unlinked, linked = make_persona(account, member=False), shopper(account, origin, member=False)
        member = make_persona(account, phone=PHONE)
        client.force_login(make_user(account, Role.STAFF))
        assert "neither purchases nor points arrive" in html_of(client, unlinked)
        assert "Linked to the POS, but not a member: purchases arrive, points do not." in html_of(client, linked)
        html = html_of(client, member)
        assert "no record of the POS is linked" in html and "bears this phone." in html
        assert "An owner or a manager can enrol" in html_of(client, linked)

    def test_fault_1_1_purchases_that_wait_for_membership_are_credited_by_one_click(self, owner, account, origin):
        ada = shopper(account, origin, member=False)
        at = NOW() - timedelta(days=9)
        sold(account, origin, *[sale(f"s{n}", customer_id="c1", sold_at=at + timedelta(days=n)) for n in range(3)])
        html = html_of(owner, ada)
        assert "<strong>3 purchases worth about 300 points wait for membership</strong>" in html
        first = timezone.localtime(at, timezone=None).astimezone(account_zone(account)).date()
        assert f'name="from_date" value="{first.isoformat()}"' in html and "+300 points" in html
        for _ in range(2):
            owner.post(page(ada) + "enrol/", {"from_date": first.isoformat()})
        assert ledger.spendable_points(account.pk, ada.pk, NOW()) == 300
        assert "for membership" not in html_of(owner, ada)

    def test_points_that_are_past_their_day_already_are_said_before_enrolling(self, owner, account, origin):
        ada = shopper(account, origin, member=False)
        Programme.unscoped.filter(account=account).update(expire_days=30)
        for n, days in enumerate((50, 40, 9)):
            sold(account, origin, sale(f"s{n}", customer_id="c1", sold_at=NOW() - timedelta(days=days)))
        html = html_of(owner, ada)
        assert "worth about 300 points" in html
        assert "200 of the points are past their day and would expire at once." in html
        first = (NOW() - timedelta(days=60)).date().isoformat()
        html = " ".join(owner.get(page(ada) + f"?from={first}").content.decode().split())
        assert "about +300 points at once, 200 of them past their day: they expire at once." in html
        why = owner.get(reverse("admin:why"), {"q": str(ada.contact_id)}).content.decode()
        assert "200 of them are past their day and would expire at once" in why
        owner.post(page(ada) + "enrol/", {"from_date": first})
        assert ledger.spendable_points(account.pk, ada.pk, NOW()) == 100

    def test_fault_1_2_the_time_of_the_next_reading_stands_there(self, owner, account, origin):
        ada = shopper(account, origin)
        due = NOW() + timedelta(minutes=20)
        state = connect(account, origin, NOW(), next_due=due)
        assert f"next at {due.astimezone(account_zone(account)):%H:%M:%S}" in html_of(owner, ada)
        StreamState.unscoped.filter(pk=state.pk).update(next_due=NOW() - timedelta(seconds=1))
        assert "being read now" in html_of(owner, ada)
        assert "Recompute now" in html_of(owner, ada)

    def test_fault_1_3_the_balance_has_its_time_and_its_source(self, owner, account, origin):
        ada = shopper(account, origin)
        assert "no POS is connected" in html_of(owner, ada)
        state = connect(account, origin, NOW() - timedelta(days=3), state=CredentialState.PAUSED)
        before, html, after = NOW(), html_of(owner, ada), NOW()
        told = {f"points, as of {at.astimezone(account_zone(account)):%H:%M}" for at in (before, after)}
        assert any(one in html for one in told)
        until = state.read_until.astimezone(account_zone(account))
        assert f"sales read up to {until:%H:%M}, {until:%-d %b} (Cova, not being read)" in html

    def test_fault_5_7_a_phone_that_is_none_is_kept_and_flagged(self, owner, account, origin):
        """As the POS has it, and as somebody signed up with it."""
        from loyalty import matching

        with acting_in(account.pk):
            landed = land_customers(origin, record("c", phone="", phone_raw="604-555-01", first_name="Ada"))
            matching.match(account_id=account.pk, customer_ids=landed.touched, now=NOW())
            ada = Persona.objects.get()
            bea = personas.sign_up(
                account_id=account.pk,
                region="CA",
                phone="12345",
                email="bea@shop.test",
                from_date=date.today(),
                now=NOW(),
            ).persona
        assert ada.phone == bea.phone == "" and bea.phone_raw == "12345"
        assert "phone not valid</span> the POS has “604-555-01”" in html_of(owner, ada, "profile")
        assert "“12345” is no valid phone" in html_of(owner, bea)
        assert "the last sign-up gave “12345”" in html_of(owner, bea, "profile")
        with acting_in(account.pk):
            again = {"account_id": account.pk, "region": "CA", "email": "bea@shop.test", "from_date": date.today()}
            personas.sign_up(**again, now=NOW())  # nothing was said of a phone
            assert Persona.objects.get(pk=bea.pk).phone_raw == "12345"
            personas.sign_up(**again, phone="604 555 0142", now=NOW())
            bea.refresh_from_db()
            assert (bea.phone, bea.phone_raw) == (PHONE, "")
            personas.sign_up(**again, phone="oops", now=NOW())
            bea.refresh_from_db()
            assert (bea.phone, bea.phone_raw) == (PHONE, "oops")  # never instead of the good one


def account_zone(account):
    from zoneinfo import ZoneInfo

    return ZoneInfo(account.timezone)


class TestTimeline:
    def test_fault_1_8_a_line_bears_the_number_on_the_receipt(self, owner, account, origin):
        ada = shopper(account, origin)
        sold(account, origin, sale("s", customer_id="c1", number="IN4B2K-519", receipt="IN5RQ2-55Z1LX", sold_at=NOW()))
        html = html_of(owner, ada)
        assert "Sale IN4B2K-519, receipt IN5RQ2-55Z1LX" in html and "Receipt IN5RQ2-55Z1LX" in html
        for typed in ("IN5RQ2-55Z1LX", "in4b2k-519"):
            assert page(ada) in owner.get(LIST, {"q": typed}).content.decode()

    def test_fault_1_9_a_correction_says_what_the_sale_is_worth_now(self, owner, account, origin):
        ada = shopper(account, origin)
        for net in (10000, 4000, 6000, 0):
            lines = {"net": net, "tax": 0, "customer_id": "c1", "sold_at": NOW(), "lines": ()}
            sold(account, origin, sale("s", **lines))
        html = html_of(owner, ada)
        for said in (
            "$100.00 before tax, 100 points per $100.",
            "Correction: the sale is worth 40 points now. $40.00 before tax, 100 points per $100.",
            "Correction: the sale is worth 60 points now. $60.00 before tax, 100 points per $100.",
            "Correction: the sale is worth 0 points now. Nothing was paid for it.",
        ):
            assert said in html, said
        with acting_in(account.pk):
            assert list(Entry.objects.order_by("id").values_list("points", flat=True)) == [100, -60, 20, -60]

    def test_fault_1_9_a_void_is_said_to_be_one(self, owner, account, origin):
        ada = shopper(account, origin)
        at = NOW() - timedelta(days=2)
        sold(account, origin, sale("s", customer_id="c1", sold_at=at))
        with acting_in(account.pk):
            landed = land_sales(origin, refund("r", of="s", customer_id="c1", sold_at=at))
            ids = [*landed.touched, *Entry.objects.values_list("sale_id", flat=True)]
            earning.settle_sales(account_id=account.pk, sale_ids=ids, now=NOW())
        said = "Correction: the sale is worth nothing now. The sale was refunded in full the same day."
        assert said in html_of(owner, ada)

    def test_fault_1_10_a_goodwill_adjustment_has_its_note_and_the_open_mark(self, owner, account):
        ada = make_persona(account)
        sheet = {"points": "25", "token": uuid.uuid4(), "investigate": "on"}
        for note in ("", "   "):
            answer = owner.post(page(ada) + "adjust/", sheet | {"note": note})
            assert answer.status_code == 422 and "Say why" in answer.content.decode()
        with acting_in(account.pk):
            assert not Entry.objects.exists() and not Investigation.objects.exists()
        owner.post(page(ada) + "adjust/", sheet | {"note": "Receipt 88 is missing"})
        html = html_of(owner, ada)
        assert "“Receipt 88 is missing”" in html and "by Mara Owner" in html and "nvestigation" in html
        assert "Investigated" in owner.get(LIST, {"open": "investigation"}).content.decode()
        with acting_in(account.pk):
            mark = Investigation.objects.get()
            assert (mark.persona, mark.note, mark.closed_at) == (ada, "Receipt 88 is missing", None)
            assert AuditLine.objects.filter(act="investigation.opened").count() == 1
        # A second adjustment while it is open adds no second mark.
        owner.post(page(ada) + "adjust/", sheet | {"token": uuid.uuid4(), "note": "again"})
        owner.post(page(ada) + "investigate/", {"close": "1", "note": ""})
        with acting_in(account.pk):
            assert Investigation.objects.filter(closed_at=None).count() == 1
        owner.post(page(ada) + "investigate/", {"close": "1", "note": "It was another store's receipt"})
        assert page(ada) not in owner.get(LIST, {"open": "investigation"}).content.decode()
        assert "Outcome: It was another store" in html_of(owner, ada, "profile")


class TestFavouriteStore:
    @pytest.fixture
    def stores(self, account, origin):
        with acting_in(account.pk):
            found = {name: make_store(account, name) for name in ("Main", "Side")}
            StoreMapping.objects.create(location=origin.locations.get(external_id="loc1"), store=found["Main"])
            for place, store in (("loc2", found["Side"]), ("loc3", None)):
                made = origin.locations.create(account=account, external_id=place, name=place)
                StoreMapping.objects.create(location=made, store=store)
        return found

    def favourite(self, account, persona):
        return Persona.unscoped.get(pk=persona.pk).usual_store_id

    def test_most_sales_ties_to_the_latest_unmapped_places_aside(self, account, origin, stores):
        ada = shopper(account, origin)
        at = NOW() - timedelta(days=10)

        def buys(*places):
            sold(account, origin, *[
                sale(uuid.uuid4().hex, customer_id="c1", location_id=place, sold_at=at + timedelta(hours=n))
                for n, place in enumerate(places)
            ])  # fmt: skip

        assert self.favourite(account, ada) is None
        buys("loc3", "loc3", "loc3")
        assert self.favourite(account, ada) is None  # no store of ours
        buys("loc1", "loc2")
        assert self.favourite(account, ada) == stores["Side"].pk  # one each: the latest
        buys("loc1")
        assert self.favourite(account, ada) == stores["Main"].pk
        sold(account, origin, refund("r", of="x", customer_id="c1", location_id="loc2", sold_at=at + timedelta(days=1)))
        assert self.favourite(account, ada) == stores["Main"].pk  # a refund is no visit

    def test_a_choice_by_hand_wins_until_it_is_taken_back(self, owner, account, origin, stores):
        ada = shopper(account, origin)
        sold(account, origin, sale("s", customer_id="c1", sold_at=NOW()))
        assert "Favourite store Main" in html_of(owner, ada)
        owner.post(page(ada) + "store/", {"store": stores["Side"].pk})
        assert "Favourite store Side (chosen)" in html_of(owner, ada)
        for store, there in (("Side", True), ("Main", False)):
            assert (page(ada) in owner.get(LIST, {"store": stores[store].pk}).content.decode()) is there
        owner.post(page(ada) + "store/", {"store": ""})
        assert "Favourite store Main" in html_of(owner, ada)
        assert page(ada) in owner.get(LIST, {"store": stores["Main"].pk}).content.decode()

    def test_quiet_hours_are_those_of_the_favourite_store(self, account, origin, stores):
        """Half past seven in Vancouver is half past ten in Toronto: the question waits in the one, not in the other."""
        from loyalty import messages

        ada = shopper(account, origin)
        Store.unscoped.filter(pk=stores["Main"].pk).update(timezone="America/Toronto")
        early = datetime(2026, 3, 2, 15, 30, tzinfo=UTC)
        asked = {"account_id": account.pk, "channel": "sms", "address": PHONE, "body": "x", "persona_id": ada.pk}

        def waits(key):
            with acting_in(account.pk):
                return messages.queue(**asked, key=key, purpose=messages.OPT_IN, now=early).not_before > early

        assert waits("a")
        sold(account, origin, sale("s", customer_id="c1", sold_at=NOW()))
        assert not waits("b")
        Persona.unscoped.filter(pk=ada.pk).update(favourite_store=stores["Side"])
        assert waits("c")

    def test_another_accounts_store_is_none(self, owner, account, origin):
        ada = make_persona(account)
        foreign = make_store(make_account("Other"))
        owner.post(page(ada) + "store/", {"store": foreign.pk})
        assert Persona.unscoped.get(pk=ada.pk).favourite_store is None


class TestFilters:
    @pytest.fixture
    def people(self, account, origin):
        """One for each filter, and Zed whom none of them finds."""
        with acting_in(account.pk):
            found = {
                "member": make_persona(account, first_name="Member", phone="+16045550101", email="m@x.test"),
                "plain": make_persona(
                    account, first_name="Plain", phone="+16045550102", email="p@x.test", member=False
                ),
                "archived": make_persona(account, first_name="Archived", archived_at=NOW()),
                "cova": shopper(account, origin, first_name="Cova", phone="+16045550103", email="c@x.test"),
                "no_email": make_persona(account, first_name="Noemail", phone="+16045550104"),
                "no_phone": make_persona(account, first_name="Nophone", email="n@x.test"),
                "neither": make_persona(account, first_name="Neither"),
            }
            for name, days in (("member", 3), ("cova", 60)):
                seen = NOW() - timedelta(days=days)
                Persona.objects.filter(pk=found[name].pk).update(last_seen_at=seen)
            give = {"account_id": account.pk, "now": NOW()}
            ledger.adjust(**give, persona_id=found["member"].pk, points=Decimal(500), key="a")
            ledger.adjust(**give, persona_id=found["cova"].pk, points=Decimal("99.99"), key="b")
            group = Audience.objects.create(name="Friends", by_rules=False)
            audiences.add(**give, audience_id=group.pk, persona_ids=[found["plain"].pk])
            ledger.redeem(
                **give, persona_id=found["member"].pk, discount_id=make_discount(account, points=100).pk, n=0,
                transaction="T", channel="till",
            )  # fmt: skip
            profile.investigate(account_id=account.pk, persona_id=found["neither"].pk, note="x", user=None, now=NOW())
            found["group"] = group
        return found

    @pytest.mark.parametrize(
        ("asked", "expected"),
        [
            ({}, {"member", "plain", "cova", "no_email", "no_phone", "neither"}),
            ({"member": "yes"}, {"member", "cova", "no_email", "no_phone", "neither"}),
            ({"member": "no"}, {"plain"}),
            ({"member": "archived"}, {"archived"}),
            ({"source": "cova"}, {"cova"}),
            ({"source": "none"}, {"member", "plain", "no_email", "no_phone", "neither"}),
            ({"seen": "7"}, {"member"}),
            ({"seen": "90"}, {"member", "cova"}),
            ({"seen": "never"}, {"plain", "no_email", "no_phone", "neither"}),
            ({"points": "1"}, {"member", "cova"}),
            ({"points": "100"}, {"member"}),
            ({"points": "500"}, set()),
            ({"audience": "group"}, {"plain"}),
            ({"open": "redemption"}, {"member"}),
            ({"open": "investigation"}, {"neither"}),
            ({"open": "no_phone"}, {"no_phone", "neither"}),
            ({"open": "no_email"}, {"no_email", "neither"}),
            ({"open": "neither"}, {"neither"}),
            ({"member": "yes", "seen": "90", "points": "100"}, {"member"}),
            ({"points": "12; DROP"}, {"member", "plain", "cova", "no_email", "no_phone", "neither"}),
        ],
    )
    def test_each(self, owner, account, people, asked, expected):
        asked = {name: people["group"].pk if value == "group" else value for name, value in asked.items()}
        html = owner.get(LIST, asked).content.decode()
        shown = {name for name, one in people.items() if name != "group" and page(one) in html}
        assert shown == expected

    def test_those_of_a_merge_are_found_through_what_the_other_brought(self, owner, account, origin, people):
        """Its record, its place in an audience by hand and its open redemption are the survivor's now."""
        zed = make_persona(account, first_name="Zed", phone="+16045550109")
        for loser in ("cova", "plain", "member"):
            with acting_in(account.pk):
                merging.merge(account_id=account.pk, one_id=zed.pk, other_id=people[loser].pk, now=NOW())
        for asked in ({"source": "cova"}, {"audience": people["group"].pk}, {"open": "redemption"}, {"points": "100"}):
            assert page(zed) in owner.get(LIST, asked).content.decode(), asked
        with acting_in(account.pk):
            assert Redemption.objects.get().persona == people["member"]

    @pytest.mark.parametrize("people_there", [2, 25])
    def test_the_number_of_queries_is_the_same_with_all_of_them(self, owner, account, origin, people_there):
        with acting_in(account.pk):
            group = Audience.objects.create(name="Friends")
            store = make_store(account)
            for n in range(people_there):
                one = shopper(
                    account, origin, n, first_name=f"P{n}", phone=f"+1604555{3000 + n}", favourite_store=store,
                    last_seen_at=NOW(),
                )  # fmt: skip
                give = {"account_id": account.pk, "now": NOW()}
                ledger.adjust(**give, persona_id=one.pk, points=Decimal(500), key=f"k{n}")
                audiences.add(**give, audience_id=group.pk, persona_ids=[one.pk])
        asked = {
            "member": "yes", "source": "cova", "store": store.pk, "seen": "7", "points": "100", "audience": group.pk,
            "open": "no_email",
        }  # fmt: skip
        with CaptureQueriesContext(connection) as seen:
            html = owner.get(LIST, asked).content.decode()
        assert html.count("P1 Moss") and len(seen) <= 26, [q["sql"][:90] for q in seen]


def test_an_audience_of_both_rows_of_a_merge_is_shown_once(owner, account):
    ada, gone = make_persona(account), make_persona(account, first_name="Gone")
    with acting_in(account.pk):
        group = Audience.objects.create(name="Friends", by_rules=False)
        for one in (ada, gone):
            audiences.add(account_id=account.pk, audience_id=group.pk, persona_ids=[one.pk], now=NOW())
        merging.merge(account_id=account.pk, one_id=ada.pk, other_id=gone.pk, now=NOW())
    assert html_of(owner, ada, "profile").count("Take out of Friends") == 1
    owner.post(page(ada) + "audience/", {"audience": group.pk, "remove": "1"})
    assert "In no audience." in html_of(owner, ada, "profile")


def test_a_vanished_one_is_answered_for_in_the_list(owner, account):
    ada, gone = make_persona(account, first_name="Ada"), make_persona(account, first_name="Gone", phone="+16045550177")
    with acting_in(account.pk):
        merging.merge(account_id=account.pk, one_id=ada.pk, other_id=gone.pk, now=NOW())
    for typed in ("6045550177", "gone", "merge:6045550177", str(gone.contact_id)):
        html = " ".join(owner.get(LIST, {"q": typed}).content.decode().split())
        assert f'Gone Moss was merged into <a href="{page(ada)}">Ada Moss</a>' in html, typed


@pytest.mark.parametrize("tab", ["points", "profile"])
def test_a_page_costs_the_same_however_long_its_history(owner, account, origin, tab):
    counts = []
    ada = shopper(account, origin)
    for round_ in range(2):
        records = [sale(f"s{round_}-{n}", customer_id="c1", sold_at=NOW() - timedelta(hours=n)) for n in range(6)]
        sold(account, origin, *records)
        with acting_in(account.pk):
            other = shopper(account, origin, 10 + round_, first_name=f"Other{round_}")
            merging.merge(account_id=account.pk, one_id=ada.pk, other_id=other.pk, now=NOW())
        with CaptureQueriesContext(connection) as asked:
            assert owner.get(page(ada, tab)).status_code == 200
        counts.append(len(asked))
    assert counts[0] == counts[1] <= 40, counts


def test_the_poss_pricing_group_is_a_trait_in_its_own_words(owner, account, origin):
    with acting_in(account.pk):
        PricingGroup.objects.create(origin=origin, external_id="41", name="Staff")
        ada = shopper(account, origin)
    with CaptureQueriesContext(connection) as without:
        assert "CovaPricingGroup" not in html_of(owner, ada, "profile")
    for group, shown in (("41", "41 Staff"), ("99", "99")):  # one that is not read yet is known by its id
        Customer.unscoped.filter(origin=origin).update(pricing_group=group)
        with CaptureQueriesContext(connection) as asked:
            assert f"CovaPricingGroup</dt><dd>{shown}</dd>" in html_of(owner, ada, "profile")
        assert len(asked) == len(without) + 1
