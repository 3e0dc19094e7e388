"""A POS calls us: createUpdateSale(s), createUpdateMember(s), createUpdateInventory."""

from datetime import UTC, date, datetime, timedelta

import pytest
from django.db import connection
from django.utils import timezone

from aiqsync.accounts.tenancy import acting_in
from integrations import pushing, services
from integrations.models import Customer, Location, Origin, Product, PushedCall, RefusedRow, Sale, SaleLine
from loyalty.models import Persona, Programme, SaleState
from stores import services as stores
from tests.factories import make_account, make_store

from .pos import INVENTORY, MEMBER, MEMBERS, SALE, SALES, Pos, connect, visit
from .till import Till, sentence


@pytest.fixture
def pos(db):
    return Pos()


class TestSales:
    def test_the_documented_example_lands_whole(self, pos):
        body = visit(ago=timedelta(hours=2)) | {
            "member": {"email": "ana@example.com", "mobilePhone": "(604) 555-0142", "firstName": "Ana", "lastName": "D"}
        }
        told = pos.push(SALE, body)
        sale = pos.sale()
        persona = Persona.unscoped.get(account=pos.account, phone="+16045550142")
        assert told == {"posID": "R1", "contactID": str(persona.contact_id), "srcID": "c1"}
        assert (sale.kind, sale.total_cents, sale.net_cents, sale.lines_cents) == ("sale", 5250, 5250, 5250)
        assert (sale.number, sale.fulfilment, sale.employee_name) == ("R1", "in_store", "Lee")
        assert sale.location.name == "Main St" and sale.location.active
        assert list(SaleLine.unscoped.filter(sale=sale).order_by("number").values_list("sku", "total_cents")) == [
            ("PR", 1250), ("FL", 4000),
        ]  # fmt: skip
        assert SaleState.unscoped.get(sale=sale).persona_id == persona.pk

    def test_a_members_sale_earns_at_once_and_twice_the_same_is_once(self, pos):
        persona = pos.enrolled()
        pos.push(SALE, visit())
        earned = pos.points(persona)
        assert earned > 0
        pos.push(SALE, visit())
        assert pos.points(persona) == earned
        assert Sale.unscoped.filter(account=pos.account).count() == 1

    def test_a_sale_may_come_before_its_member(self, pos):
        assert pos.push(SALE, visit())["contactID"] is None
        assert not SaleState.unscoped.filter(sale=pos.sale(), persona__isnull=False).exists()
        persona = pos.enrolled()
        assert SaleState.unscoped.get(sale=pos.sale()).persona_id == persona.pk

    def test_an_edit_settles_the_difference(self, pos):
        persona = pos.enrolled()
        pos.push(SALE, visit(total=100, lines=[{"sku": "A", "price": 100, "quantity": 1}]))
        full = pos.points(persona)
        pos.push(SALE, visit(total=50, lines=[{"sku": "A", "price": 50, "quantity": 1}]))
        assert pos.points(persona) == full / 2
        assert pos.sale().lines.model.unscoped.filter(sale=pos.sale()).get().total_cents == 5000

    def test_a_refund_with_the_sales_own_id_replaces_it(self, pos):
        """Decision 27."""
        persona = pos.enrolled()
        pos.push(SALE, visit(total=40, lines=[{"sku": "A", "price": 40, "quantity": 1}]))
        assert pos.points(persona) > 0
        for total in (40, -40):  # with and without the minus
            pos.push(SALE, visit(total=total, lines=[{"sku": "A", "price": 40, "quantity": -1}]))
            sale = pos.sale()
            assert (sale.kind, sale.total_cents, sale.net_cents, sale.lines_cents) == ("refund", -4000, -4000, -4000)
        assert pos.points(persona) == 0
        assert Sale.unscoped.filter(account=pos.account).count() == 1

    @pytest.mark.parametrize(("policy", "left"), [("keep", 1), ("reverse", 0)])
    def test_a_refund_with_an_id_of_its_own_is_a_refund_row(self, pos, policy, left):
        Programme.unscoped.filter(account=pos.account).update(refunds=policy)
        persona = pos.enrolled()
        bought = [{"sku": "A", "price": 40, "quantity": 1}]
        pos.push(SALE, visit(total=40, lines=bought, ago=timedelta(days=3)))  # on the same day it were a void
        earned = pos.points(persona)
        lines = [{"sku": "A", "price": 40, "quantity": -1}]
        pos.push(SALE, visit("R2", total=-40, lines=lines, original_pos_id="R1", ago=timedelta(minutes=5)))
        assert (pos.sale("R2").kind, pos.sale("R2").original_id) == ("refund", "R1")
        assert pos.sale("R1").kind == "sale"
        assert pos.points(persona) == earned * left

    @pytest.mark.parametrize(
        ("line", "total", "cents"),
        [
            ({"price": 40, "discount": 12, "quantity": 1}, 40, 4000),  # the vendor's own example: price is net
            ({"price": 45, "discount": 5, "quantity": 1}, 40, 4000),
            ({"price": 10, "discount": 0, "quantity": 3}, 30, 3000),  # of the unit
            ({"price": 30, "discount": 0, "quantity": 3}, 30, 3000),  # of the line
            ({"price": 33, "discount": 3, "quantity": 3}, 30, 3000),
            ({"price": 8, "quantity": 3.5}, 28, 2800),
            ({"price": "9.99", "quantity": "2"}, "19.98", 1998),
        ],
    )
    def test_price_and_discount_are_read_as_they_add_up(self, pos, line, total, cents):
        pos.push(SALE, visit(total=total, lines=[{"sku": "A", **line}]))
        found = SaleLine.unscoped.get(sale=pos.sale())
        assert found.total_cents == cents and found.discount_cents == round(100 * float(line.get("discount", 0)))
        assert pos.sale().net_cents == cents

    def test_tax_is_told_by_a_field_of_ours(self, pos):
        pos.push(SALE, visit(total=44.8, tax_total=4.8, lines=[{"sku": "A", "price": 40, "quantity": 1}]))
        assert (pos.sale().total_cents, pos.sale().tax_cents, pos.sale().net_cents) == (4480, 480, 4000)

    @pytest.mark.parametrize(
        "when",
        ["2026-04-12 17:31:04 +0000", "2026-04-12T17:31:04Z", "2026-04-12 10:31:04 -0700", "2026-04-12 17:31:04",
         1776015064, "1776015064", "2026-04-12 17:31:04 UTC"],
    )  # fmt: skip
    def test_times_in_every_writing(self, pos, when):
        pos.push(SALE, visit(transaction_date=when))
        assert pos.sale().sold_at == datetime(2026, 4, 12, 17, 31, 4, tzinfo=UTC)

    def test_without_a_customer_it_is_anonymous(self, pos):
        body = visit(user="")
        assert pos.push(SALE, body)["srcID"] is None
        assert pos.sale().customer_id == ""

    def test_without_the_poss_id_the_phone_is_the_customer(self, pos):
        told = pos.push(SALE, visit(user=None) | {"member": {"mobilePhone": "604-555-0142"}})
        assert told["srcID"] == "phone:+16045550142" and told["contactID"]

    def test_places_are_learnt_and_wait_for_a_store(self, pos):
        for key, place in (("R1", "Main St"), ("R2", "  main  ST "), ("R3", "Harbour")):
            pos.push(SALE, visit(key, location=place))
        assert sorted(Location.unscoped.filter(account=pos.account).values_list("name", flat=True)) == [
            "Harbour", "Main St",
        ]  # fmt: skip
        with acting_in(pos.account.pk):
            assert stores.unmapped(account_id=pos.account.pk).count() == 2

    def test_a_sale_in_another_currency_is_refused(self, pos):
        assert "USD" in pos.fails(400, SALE, visit(currency="usd"))
        pos.push(SALE, visit(currency="CAD"))

    def test_a_till_that_redeemed_is_settled_by_its_number(self, pos):
        from loyalty.models import Redemption
        from tests.factories import make_discount

        pos.persona = pos.enrolled()
        pos.give(1000)
        discount = make_discount(pos.account, points=100, cents=500)
        pos.data("PUT", pos.url(discount) + "/R1")
        pos.push(SALE, visit(total=35, lines=[{"sku": "A", "price": 40, "discount": 5, "quantity": 1}]))
        redemption = Redemption.unscoped.get(persona=pos.persona)
        assert (redemption.state, redemption.sale_id) == ("settled", pos.sale().pk)


class TestArrays:
    def test_one_bad_item_is_told_by_its_index_and_the_others_land(self, pos):
        told = pos.push(SALES, [visit("R1"), visit("R2", transaction_date="yesterday"), visit("R3")])
        assert (told["received"], told["accepted"]) == (3, 2)
        assert [one["index"] for one in told["results"]] == [0, 2]
        assert told["refused"] == [
            {"index": 1, "id": "R2", "message": "transaction_date is not a time like 2026-04-12 17:31:04 +0000."}
        ]
        assert sorted(Sale.unscoped.filter(account=pos.account).values_list("external_id", flat=True)) == ["R1", "R3"]
        row = RefusedRow.unscoped.get(account=pos.account)
        assert (row.stream, row.external_id, row.solved_at) == ("sales", "R2", None)
        pos.push(SALE, visit("R2"))
        row.refresh_from_db()
        assert row.solved_at and row.row is None

    def test_refused_whole_it_is_no_success(self, pos):
        response = pos.call("POST", pos.at(SALES), [{"visit": {}}, 5])
        assert sentence(response, 400).startswith("0: pos_id is missing")
        assert [error["index"] for error in response.json()["errors"]] == [0, 1]

    def test_what_no_column_holds_is_refused_alone(self, pos):
        big = visit("R2", total=9_999_999, lines=[{"sku": "A", "price": 9_999_999, "quantity": 9_999_999}])
        told = pos.push(SALES, [visit("R1"), big])
        assert told["accepted"] in (1, 2)
        assert Sale.unscoped.filter(account=pos.account, external_id="R1").exists()

    def test_bare_wrapped_or_single(self, pos):
        for n, body in enumerate(([visit("A")], {"sales": [visit("B")]}, {"data": [visit("C")]}, visit("D"))):
            assert pos.push(SALES, body)["accepted"] == 1, n
        assert pos.push(SALES, []) == {"received": 0, "accepted": 0, "results": None, "refused": None}

    def test_the_same_sale_twice_in_one_call_is_the_later_one(self, pos):
        pos.push(SALES, [visit("R1", total=10, lines=[{"sku": "A", "price": 10}]),
                         visit("R1", total=20, lines=[{"sku": "A", "price": 20}])])  # fmt: skip
        assert pos.sale().total_cents == 2000

    def test_too_many(self, pos):
        assert "At most 1,000 items" in pos.fails(400, SALES, [visit(str(n)) for n in range(1001)])
        assert not Sale.unscoped.filter(account=pos.account).exists()

    def test_a_call_costs_the_same_statements_whatever_its_size(self, pos, django_assert_max_num_queries):
        pos.push(SALES, [visit(f"W{n}", f"c{n}") for n in range(3)])
        with django_assert_max_num_queries(75):
            pos.push(SALES, [visit(f"R{n}", f"c{n}") | {"member": {"mobilePhone": f"60455501{n:02}"}}
                             for n in range(90)])  # fmt: skip


class TestMembers:
    def test_what_is_left_out_stays(self, pos):
        told = pos.member(
            mobilePhone="+1 604-555-0142",
            email="Ana@Example.com",
            birthdate="1990-05-04",
            address={"street": "1 Dock Rd", "city": "Vancouver", "state": "bc", "zipCode": "V5K"},
        )
        persona = Persona.unscoped.get(account=pos.account)
        assert told == {"contactID": str(persona.contact_id), "srcID": "c1"}
        pos.push(MEMBER, {"pos_user": "c1", "lastName": "Moss", "email": "", "mobilePhone": None})
        found = pos.customer()
        assert (found.first_name, found.last_name, found.phone, found.email, found.state, found.birth_date) == (
            "Ana", "Moss", "+16045550142", "ana@example.com", "BC", date(1990, 5, 4),
        )  # fmt: skip

    @pytest.mark.parametrize("bad", ["555", "n/a", "0000000000000000", "call me"])
    def test_an_invalid_phone_never_replaces_a_good_one(self, pos, bad):
        pos.member(mobilePhone="6045550142")
        pos.member(mobilePhone=bad)
        found = pos.customer()
        assert (found.phone, found.phone_raw) == ("+16045550142", "6045550142")

    def test_an_invalid_phone_alone_is_kept_as_it_came(self, pos):
        pos.member(mobilePhone="555-01")
        assert (pos.customer().phone, pos.customer().phone_raw) == ("", "555-01")

    @pytest.mark.parametrize("phone", ["6045550142", "16045550142", "+16045550142", "(604) 555-0142", 6045550142])
    def test_phones_in_every_writing(self, pos, phone):
        pos.member(mobilePhone=phone)
        assert pos.customer().phone == "+16045550142"

    def test_pushed_members_are_asked_and_enrolled_by_settings_alone(self, pos):
        from loyalty.models import Message

        pos.member(mobilePhone="6045550142", loyalty=True, smsoptin=True)
        persona = Persona.unscoped.get(account=pos.account)
        assert not persona.is_member
        assert not Message.unscoped.filter(account=pos.account).exists()

    def test_two_at_once_lose_nothing_of_each_other(self, pos):
        pos.push(MEMBERS, [{"srcID": "c1", "firstName": "Ana"}, {"srcID": "c1", "lastName": "Diaz"}])
        assert (pos.customer().first_name, pos.customer().last_name) == ("Ana", "Diaz")

    def test_unknown_fields_are_ignored(self, pos):
        pos.member(shoeSize=44, nested={"a": [1, {"b": None}]}, favoriteStore="Main St", customAttributes=[{"k": 1}])
        assert pos.customer().first_name == "Ana"


class TestInventory:
    def test_levels_are_absolute_and_partial_updates_keep_the_rest(self, pos):
        pos.push(INVENTORY, [{"sku": "A", "name": "Pre-roll", "price": 12.5, "cost": 6, "quantity": 10,
                              "location": "Main St"}])  # fmt: skip
        told = pos.push(INVENTORY, [{"sku": "A", "quantity": 7, "location": "main st"}, {"name": "no key"}])
        assert told["results"] == [{"index": 0, "productID": "A"}] and told["refused"][0]["index"] == 1
        product = Product.unscoped.get(account=pos.account)
        assert (product.name, product.price_cents, product.cost_cents, product.tracks_stock) == (
            "Pre-roll", 1250, 600, True,
        )  # fmt: skip
        assert pos.stock("A|main st") == 7

    def test_more_than_a_hundred_are_refused_whole(self, pos):
        items = [{"sku": str(n), "quantity": 1} for n in range(101)]
        assert pos.fails(400, INVENTORY, items) == "At most 100 items a call; this one has 101. Nothing was taken."
        assert not Product.unscoped.filter(account=pos.account).exists()
        assert pos.push(INVENTORY, items[:100])["accepted"] == 100

    def test_a_sale_lowers_the_level_once(self, pos):
        pos.push(INVENTORY, [{"sku": "A", "quantity": 10, "location": "Main St"}, {"sku": "B", "quantity": 5}])
        line = {"sku": "A", "price": 10, "quantity": 2}
        now = timedelta(seconds=-30)
        pos.push(SALE, visit("R1", total=20, lines=[line], ago=now))
        assert pos.stock("A|main st") == 8
        pos.push(SALE, visit("R1", total=20, lines=[line], ago=now))  # again
        assert pos.stock("A|main st") == 8
        pos.push(SALE, visit("R1", total=30, lines=[line | {"quantity": 3}], ago=now))  # edited
        assert pos.stock("A|main st") == 7
        pos.push(SALE, visit("R2", total=10, lines=[{"sku": "B", "price": 10}, {"sku": "C", "price": 0}], ago=now))
        assert pos.stock("B|") == 4  # told for no place: any place's sale lowers it
        pos.push(SALE, visit("R1", total=-30, lines=[line | {"quantity": -3}], ago=now))  # refunded, by its own id
        assert pos.stock("A|main st") == 10
        pos.push(SALE, visit("R1", total=-30, lines=[line | {"quantity": -3}], ago=now))
        assert pos.stock("A|main st") == 10

    @pytest.mark.parametrize("other", [{"name": "Bag", "price": 1}, {"price": 1}], ids=["named", "nameless"])
    def test_a_line_without_a_key_moves_nothing_and_stops_nothing(self, pos, other):
        pos.push(INVENTORY, [{"sku": "A", "quantity": 10}])
        line, now = {"sku": "A", "name": "Pre-roll", "price": 10, "quantity": 2}, timedelta(seconds=-30)
        pos.push(SALE, visit("R1", total=21, lines=[line, other], ago=now))
        assert pos.stock("A|") == 8 and pos.sale().lines_cents == 2100  # it is money all the same
        pos.push(SALE, visit("R1", total=31, lines=[line | {"quantity": 3}, other], ago=now))  # edited
        assert pos.stock("A|") == 7
        pos.push(SALE, visit("R1", total=-31, lines=[line | {"quantity": -3}, other | {"quantity": -1}], ago=now))
        assert pos.stock("A|") == 10

    def test_what_a_removed_person_bought_is_not_counted_again(self, pos):
        from loyalty import erasure

        persona = pos.enrolled()
        pos.push(INVENTORY, [{"sku": "A", "quantity": 10}])
        line, now = {"sku": "A", "name": "Pre-roll", "price": 10, "quantity": 2}, timedelta(seconds=-30)
        pos.push(SALE, visit("R1", total=20, lines=[line], ago=now))
        with acting_in(pos.account.pk):
            erasure.erase(account_id=pos.account.pk, persona_id=persona.pk, user=None, now=timezone.now())
        pos.push(SALE, visit("R1", total=30, lines=[line | {"quantity": 3}], ago=now))
        assert pos.stock("A|") == 8

    def test_a_refund_of_its_own_puts_back(self, pos):
        pos.push(INVENTORY, [{"sku": "A", "quantity": 10}])
        now = timedelta(seconds=-30)
        pos.push(SALE, visit("R1", total=20, lines=[{"sku": "A", "price": 10, "quantity": 2}], ago=now))
        pos.push(SALE, visit("R2", total=10, lines=[{"sku": "A", "price": 10, "quantity": -1}], ago=now))
        assert pos.stock("A|") == 9

    def test_a_sale_from_before_the_level_is_in_it_already(self, pos):
        pos.push(INVENTORY, [{"sku": "A", "quantity": 10}])
        pos.push(SALE, visit("R1", total=20, lines=[{"sku": "A", "price": 10, "quantity": 2}], ago=timedelta(days=30)))
        assert pos.stock("A|") == 10


class TestWhenItIsNotTaken:
    def test_not_connected_says_where_to(self, db):
        till = Till(points=None)
        said = till.refused(400, "POST", f"/api/v1.1/{SALE}/{till.account.uid}", visit())
        assert "Settings, Integrations, Push API" in said
        assert not PushedCall.unscoped.exists()

    @pytest.mark.parametrize(("call", "body"), [(SALE, visit()), (INVENTORY, [{"sku": "A", "name": "Tee"}])])
    def test_while_the_source_is_erased_it_asks_to_come_again(self, pos, call, body):
        """Begun between the look whether it is connected and the landing."""
        Origin.unscoped.filter(pk=pos.credential.origin_id).update(erasing_at=timezone.now())
        response = pos.call("POST", pos.at(call), body)
        assert "being erased" in sentence(response, 503) and int(response["Retry-After"]) > 0
        assert not Sale.unscoped.exists() and not Product.unscoped.exists() and not PushedCall.unscoped.exists()
        Origin.unscoped.filter(pk=pos.credential.origin_id).update(erasing_at=None)
        pos.push(call, body)

    @pytest.mark.parametrize("where", ["connection", "credential"])
    def test_frozen_asks_to_come_again_and_holds_the_data(self, pos, where):
        pos.push(SALE, visit())
        thing = getattr(pos.credential, where) if where == "connection" else pos.credential
        with acting_in(pos.account.pk):
            services.freeze(**{where: thing}, now=timezone.now())
        response = pos.call("POST", pos.at(SALE), visit("R2"))
        assert "frozen" in sentence(response, 503) and int(response["Retry-After"]) > 0
        assert Sale.unscoped.filter(account=pos.account).count() == 1
        assert PushedCall.unscoped.count() == 1
        thing.refresh_from_db()
        with acting_in(pos.account.pk):
            services.unfreeze(**{where: thing}, now=timezone.now())
        pos.push(SALE, visit("R2"))

    def test_disconnected_keeps_what_came(self, pos):
        pos.push(SALE, visit())
        services.disconnect(credential=pos.credential)
        assert "not connected" in pos.fails(400, SALE, visit("R2"))
        assert Sale.unscoped.filter(account=pos.account).count() == 1
        origin = pos.sale().origin_id
        connect(pos.account)
        pos.push(SALE, visit("R2"))
        assert pos.sale("R2").origin_id == origin

    def test_a_key_that_may_only_read(self, pos):
        from tests.factories import make_key

        assert "scope" in pos.refused(403, "POST", pos.at(SALE), visit(), key=make_key(pos.account, "read"))

    def test_a_body_too_large(self, pos, settings):
        settings.DATA_UPLOAD_MAX_MEMORY_SIZE = 2000
        pos.fails(413, SALES, [visit(str(n)) for n in range(20)])


JUNK = [None, True, 0, -1, 1.5, 10**30, "", "x" * 3000, "\0", "a\x01b", [], [[]], {}, {"a": 1}, [None], "☃" * 200]
DEEP = {"a": None}
for _ in range(900):
    DEEP = {"a": DEEP}


class TestGarbage:
    @pytest.mark.parametrize("call", [SALE, SALES, MEMBER, MEMBERS, INVENTORY])
    @pytest.mark.parametrize("raw", [b"", b"{", b"nul", b'"x"', b"5", b"null", b"[", b"[1,", b"\xff", b"[[]]",
                                     b"[[[[]]]]", b'[{"visit":[]}]', b'{"visit":null}'])  # fmt: skip
    def test_bodies(self, pos, call, raw):
        assert pos.call("POST", pos.at(call), raw=raw).status_code in (200, 400)
        assert not Sale.unscoped.exists() and not Customer.unscoped.exists()

    @pytest.mark.parametrize("junk", JUNK, ids=repr)
    def test_in_every_field_of_a_sale(self, pos, junk):
        whole = visit() | {"member": {"mobilePhone": "6045550142", "firstName": "A", "address": {"city": "V"}}}
        fields = [*whole["visit"], "tax_total", "discounts", "payment_method", "currency", "location_id",
                  "original_pos_id"]  # fmt: skip
        bodies = [whole | {"visit": whole["visit"] | {name: junk}} for name in fields]
        bodies += [whole | {"member": whole["member"] | {name: junk}} for name in
                   (*whole["member"], "email", "birthdate", "homePhone", "do_not_contact")]  # fmt: skip
        bodies += [whole | {"visit": junk}, whole | {"member": junk}]
        line = {"sku": "A", "price": 1, "quantity": 1}
        bodies += [visit(lines=[line | {name: junk}]) for name in (*line, "name", "discount", "cost", "brand")]
        for body in bodies:
            assert pos.call("POST", pos.at(SALE), body).status_code in (200, 400), body

    @pytest.mark.parametrize("junk", JUNK, ids=repr)
    def test_in_every_field_of_an_item(self, pos, junk):
        item = {"sku": "A", "name": "x", "price": 1, "cost": 1, "quantity": 1, "location": "M", "active": True}
        for body in [[item | {name: junk}] for name in item] + [[junk]]:
            assert pos.call("POST", pos.at(INVENTORY), body).status_code in (200, 400), body

    def test_nested_a_thousand_deep(self, pos):
        assert pos.push(SALE, visit(extra=DEEP))
        assert pos.call("POST", pos.at(SALES), [visit(member=DEEP), DEEP]).status_code in (200, 400)


class TestWhatIsKept:
    def test_bodies_are_kept_redacted(self, pos):
        pos.push(SALES, [visit(cardNumber="4111111111111111"), {"visit": {"pos_id": "R9"}}])
        kept = PushedCall.unscoped.get()
        assert (kept.call, kept.items, kept.landed, kept.refused) == (SALES, 2, 1, 1)
        assert kept.body[0]["visit"]["pos_id"] == "R1" and "4111" not in str(kept.body)
        assert "4111" not in str(RefusedRow.unscoped.get().row)

    @pytest.mark.parametrize("note", ["a\x00b", "C:\\u0000", "\\\x00", "\\"], ids=ascii)
    def test_nuls_and_backslashes_refuse_their_item_only(self, pos, note):
        pos.push(SALES, [visit("R1"), visit("R2", transaction_date="never", budtenderName=note, **{note: 1})])
        kept = note.replace("\x00", "")
        assert pos.sale("R1") and RefusedRow.unscoped.get().row["visit"]["budtenderName"] == kept
        assert PushedCall.unscoped.get().body[1]["visit"]["budtenderName"] == kept

    def test_old_days_are_emptied_and_no_younger_ones(self, pos):
        pos.push(SALE, visit())
        with connection.cursor() as cursor:
            cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")  # as after a commit: a call never shares one with pruning
        now = timezone.now()
        for days in (0, 1, 29, 30):
            assert pushing.prune(now=now + timedelta(days=days)) == 0
        assert pushing.prune(now=now + timedelta(days=31)) == 1
        assert not PushedCall.unscoped.exists()

    def test_traffic(self, pos):
        pos.push(SALES, [visit("R1"), visit("R2", transaction_date="")])
        pos.push(MEMBER, {"pos_user": "c1", "firstName": "A"})
        told = pushing.traffic(origin_ids=[pos.credential.origin_id or pos.sale().origin_id], now=timezone.now())
        assert {call: figures[:3] for call, figures in told.calls.items()} == {SALES: (1, 2, 1), MEMBER: (1, 1, 0)}
        assert [one.call for one in told.latest] == [MEMBER, SALES]

    def test_an_erasure_reaches_them_and_nothing_brings_the_person_back(self, pos):
        from loyalty import erasure

        pos.member("c1", mobilePhone="6045550142", email="ana@example.com")
        pos.member("c2", mobilePhone="6045550188", firstName="Bo", email="bo@example.com")
        pos.push(SALES, [visit("R1", "c1"), visit("R2", "c2")])
        persona = Persona.unscoped.get(account=pos.account, phone="+16045550142")
        with acting_in(pos.account.pk):
            erasure.erase(account_id=pos.account.pk, persona_id=persona.pk, user=None, now=timezone.now())
        told = str([(one.body, one.mentions) for one in PushedCall.unscoped.all()])
        for word in ("'c1'", "ana@example.com", "6045550142", "R1"):
            assert word not in told, word
        assert "bo@example.com" in told and "R2" in told
        # Told again, by id or by phone: a stub, and no body.
        pos.member("c1", mobilePhone="6045550142")
        pos.member("c7", mobilePhone="(604) 555-0142", firstName="Ana")
        pos.push(SALE, visit("R5", "c1"))
        told = str([(one.body, one.mentions) for one in PushedCall.unscoped.all()])
        assert "'c1'" not in told and "555-0142" not in told and "R5" not in told
        assert not Customer.unscoped.filter(account=pos.account, phone="+16045550142").exists()

    def test_anothers_calls_are_not_seen(self, pos):
        other = Pos(account=make_account("Other Co"))
        other.push(SALE, visit())
        pos.push(SALE, visit())
        assert pos.sale().pk != other.sale().pk
        pos.refused(403, "POST", other.at(SALE), visit("R2"))


def test_a_store_mapped_to_a_learnt_place_gets_its_sales(pos):
    pos.push(SALE, visit())
    place = Location.unscoped.get(account=pos.account)
    with acting_in(pos.account.pk):
        stores.map_location(location=place, store=make_store(pos.account))
        assert not stores.unmapped(account_id=pos.account.pk).exists()
    assert pos.data("GET", f"/api/v1.1/stores/{pos.account.uid}")["stores"][0]["sourceMapping"] == {"push": "Main St"}
