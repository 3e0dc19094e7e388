"""Removing a person on request: what goes, what stays, and that nothing brings him back."""

from datetime import date
from decimal import Decimal

import pytest
from django.apps import apps
from django.core.management import call_command
from django.db import connection

from aiqsync.accounts.models import AuditLine
from aiqsync.accounts.tenancy import TenantModel, acting_in
from integrations.models import Customer, RefusedRow, SaleLine, Suppression
from loyalty import audits, closes, consent, erasure, ledger, merging, messages, personas, reports, search, wallet
from loyalty.models import (
    Attribute,
    CheckIn,
    ConsentLine,
    ConsentState,
    ContactAlias,
    Entry,
    Identifier,
    Lot,
    Message,
    MonthFigure,
    Override,
    Persona,
    Redemption,
    SaleState,
    Shortfall,
    Source,
    SourceHint,
    WaitingBalance,
    Wallet,
    WebhookEvent,
)
from tests.factories import make_account, make_persona, make_store
from tests.records import customer, land_customers, refund, sale, the_sale

from .removed import DAY, EMAIL, NOON, PHONE, Somebody, arrive, everywhere

pytestmark = pytest.mark.django_db
WORD = "Zanzibar"


@pytest.fixture
def shop():
    return Somebody()


@pytest.fixture
def full():
    shop = Somebody()
    shop.everything()
    return shop


def group(shop) -> list[int]:
    with acting_in(shop.account.pk):
        return list(Persona.objects.exclude(erased_at=None).values_list("pk", flat=True))


# Text and JSON that stays, and why. Every other such column of a table that speaks of a person is planted with a word
# below, and none of it may be found again.
STAYS = {
    "integrations_customer": {"external_id": "the record's id is planted by hand, with its sales"},
    "integrations_sale": {
        "external_id": "the receipt's own id", "kind": "", "number": "the merchant's books", "receipt": "",
        "original_id": "another receipt", "customer_id": "planted by hand", "employee_id": "the member of staff",
        "employee_name": "", "fulfilment": "", "payments": "a word such as Cash", "discounts": "the till's discounts",
        "currency": "", "lines_digest": "a digest, emptied",
    },
    "integrations_refusedrow": {"stream": "which stream", "external_id": "planted by hand"},
    "loyalty_attachment": {},
    "loyalty_attribute": {},
    "loyalty_audiencemember": {},
    "loyalty_blockedphone": {"phone": "planted by hand: it tells whose it is"},
    "loyalty_booststate": {},
    "loyalty_consentline": {"channel": "", "act": "", "source": "", "address": "planted by hand: it tells whose it is"},
    "loyalty_consentstate": {"channel": "", "state": "", "address": "planted by hand"},
    "loyalty_enrolment": {"ground": "one of a list"},
    "loyalty_entry": {"kind": "", "key": "its cause", "explanation": "figures and the programme's own names"},
    "loyalty_identifier": {"kind": ""},
    "loyalty_investigation": {},
    "loyalty_lot": {"kind": ""},
    "loyalty_merge": {"why": "one of a list"},
    "loyalty_message": {"channel": "", "state": ""},
    "loyalty_mirrorstate": {},
    "loyalty_notthesame": {},
    "loyalty_override": {"field": "one of a list"},
    "loyalty_persona": {},
    "loyalty_pin": {"channel": ""},
    "loyalty_pinuse": {"kind": "one of a list"},
    "loyalty_redemption": {
        "transaction": "the order's number", "channel": "", "state": "", "matched_by": "", "why_ended": "",
    },
    "loyalty_referral": {},
    "loyalty_rehearsal": {
        "address": "where tills reach us", "state": "", "steps": "what the walk of the test shopper said: he is nobody",
    },
    "loyalty_review": {"kind": "", "outcome": ""},
    "loyalty_salestate": {"explanation": "figures"},
    "loyalty_shortfall": {"key": "its cause", "state": ""},
    "loyalty_source": {},
    "loyalty_sourcemove": {"why": "one of a list"},
    "loyalty_contactalias": {},
    "loyalty_sourcehint": {},
    "loyalty_waitingbalance": {},
    "loyalty_suspectnumber": {"reason": "", "decision": "", "phone": "planted by hand"},
    "loyalty_wallet": {},
    "loyalty_checkin": {"state": ""},
    "loyalty_webhookevent": {"key": "its cause", "kind": ""},
    "integrations_saleline": {},
    "accounts_auditline": {"act": "what was done"},
}  # fmt: skip


def columns(table: str) -> dict[str, tuple[str, int | None]]:
    """Text and JSON columns that can be written: name to (type, length)."""
    with connection.cursor() as cursor:
        cursor.execute(
            """SELECT column_name, data_type, character_maximum_length FROM information_schema.columns
               WHERE table_schema = 'public' AND table_name = %s AND is_generated = 'NEVER'
                 AND data_type IN ('text', 'character varying', 'json', 'jsonb')""",
            [table],
        )
        return {name: (kind, length) for name, kind, length in cursor.fetchall()}


def test_every_table_that_speaks_of_a_person_is_planted():
    """A new table or column that may hold a name is taken out by an erasure, or named here with its reason."""
    people = {Persona, Customer}
    speaking = {
        model._meta.db_table
        for model in apps.get_models()
        if issubclass(model, TenantModel)
        and (model in people or {field.related_model for field in model._meta.concrete_fields} & people)
    }
    assert speaking <= set(STAYS)
    for table, stays in STAYS.items():
        assert set(stays) <= set(columns(table)), table


def test_a_planted_word_is_found_nowhere_afterwards(full):
    with acting_in(full.account.pk):  # a shortfall, and a boost, so that every table has a row
        Shortfall.objects.create(persona=full.ada, key="shortfall:0:0", points=5, netted=5, state="netted", at=NOON,
                                 closed_at=NOON)  # fmt: skip
        consent.record(account_id=full.account.pk, channel="email", address=f"{WORD.lower()}@shop.test", act="opt_in",
                       source="form", now=NOON, persona_id=full.ada.pk)  # fmt: skip
        ContactAlias.objects.create(persona=full.ada, alias="9001", origin=full.origin, points=5)
        SourceHint.objects.create(persona=full.ada, platform="clover", external_id="D4")
        Override.objects.create(persona=full.ada, field="address", value="a")
        Attribute.objects.create(persona=full.ada, key="a", value="b")
        record = Source.objects.filter(persona=full.ada).first().customer
        WaitingBalance.objects.create(origin=record.origin, customer=record, points=5)
        CheckIn.objects.create(store=make_store(full.account), persona=full.ada, at=NOON, changed_at=NOON)
        WebhookEvent.objects.create(key="entry:1", kind="points.changed", payload={}, persona=full.ada, at=NOON,
                                    created_at=NOON)  # fmt: skip
        AuditLine.objects.exclude(detail__has_key="contact_id").exclude(detail__has_key="merge").delete()
    empty = {"loyalty_booststate", "loyalty_mirrorstate", "loyalty_wallet", "loyalty_notthesame",
             "loyalty_referral", "loyalty_rehearsal"}  # fmt: skip
    with connection.cursor() as cursor:
        cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")
        for table in ("loyalty_entry", "loyalty_consentline"):
            cursor.execute(f"ALTER TABLE {table} DISABLE TRIGGER USER")
        cursor.execute("UPDATE integrations_sale SET customer_id = %s WHERE customer_id = 'c-ada'", [WORD])
        cursor.execute("UPDATE integrations_customer SET external_id = %s", [WORD])
        cursor.execute("UPDATE integrations_refusedrow SET external_id = %s", [WORD])
        planted = 0
        for table, stays in STAYS.items():
            cursor.execute(f"SELECT count(*) FROM {table}")
            assert cursor.fetchone()[0] or table in empty, f"{table} has no row to plant"
            for name, (kind, length) in columns(table).items():
                if name in stays:
                    continue
                # A different word in each row: values that must be unique stay so.
                value = f"left('{WORD}' || id, {length})" if length else f"'{WORD}' || id"
                if kind in ("json", "jsonb"):
                    keep = f"\"{name}\" - 'note'" if table == "accounts_auditline" else "'{}'::jsonb"
                    value = f"""{keep} || '{{"told": "{WORD}"}}'::jsonb"""
                elif table == "loyalty_wallet":
                    continue
                cursor.execute(f'UPDATE {table} SET "{name}" = {value}')
                planted += cursor.rowcount
        for table in ("loyalty_blockedphone", "loyalty_suspectnumber"):
            cursor.execute(
                f"UPDATE {table} SET phone = (SELECT phone FROM loyalty_persona WHERE id = %s)", [full.ada.pk]
            )
        for table in ("loyalty_entry", "loyalty_consentline"):
            cursor.execute(f"ALTER TABLE {table} ENABLE TRIGGER USER")
    assert planted > 60 and len(everywhere(WORD)) > 50
    full.erase()
    with acting_in(full.account.pk):  # the one who was found to be another person was planted too
        full.erase(persona=Persona.objects.get(erased_at=None))
    assert everywhere(WORD) == set()
    assert not WaitingBalance.unscoped.exists()


def test_who_she_was_is_found_nowhere(full):
    full.erase()
    for word in (
        PHONE,
        PHONE[2:],
        "604 555 0142",
        "604-555-0142",
        "6045550177",
        EMAIL,
        "shop.test",
        "moss",
        "1 main st",
    ):
        # The one who was found to be somebody else keeps her address; the shop's own brand is nobody's name.
        assert everywhere(word) <= {"loyalty_persona.email", "loyalty_identifier.value"}, word
        if word != "shop.test":
            assert everywhere(word) == set(), word
    # "s-ada" is the shop's number; and what is kept as a digest may hold these three letters as hexadecimal by chance.
    digests = {"integrations_suppression.digest", "integrations_customer.external_id", "integrations_sale.customer_id",
               "loyalty_consentline.address", "loyalty_consentstate.address"}  # fmt: skip
    drawn = {"password", "hash", "prefix", "fingerprint", "digest", "token", "secret"}  # at random, or a digest
    found = {one for one in everywhere("Ada") if one.rpartition(".")[2] not in drawn}
    assert found <= {"integrations_sale.external_id", "integrations_sale.number"} | digests
    assert everywhere("Ada ") == everywhere(" Ada") == everywhere("ada@") == set()


class TestWhatStays:
    def test_the_ledger_keeps_adding_up_and_says_what_became_of_the_points(self, full):
        before = Entry.unscoped.count()
        done = full.erase()
        assert done.created and done.points == 560 and done.redemptions == 1 and done.records == 2
        last = Entry.unscoped.get(persona=full.ada, key=f"erase:{full.ada.pk}")
        assert (last.kind, last.points, last.balance_after, last.user_id) == ("adjust", -560, 0, full.owner.pk)
        assert Entry.unscoped.count() == before + 1
        assert Wallet.unscoped.get(persona=full.ada).balance == 0
        assert not Lot.unscoped.filter(persona__in=group(full), open=True).exists()
        assert audits.violations() == []

    def test_a_closed_month_stands(self, full):
        closes.close(account_id=full.account.pk, now=NOON + 40 * DAY, user=full.owner)
        figures = list(MonthFigure.unscoped.order_by("id").values())
        full.erase(now=NOON + 41 * DAY)
        assert figures and list(MonthFigure.unscoped.order_by("id").values()) == figures
        assert audits.violations() == []

    def test_sales_keep_their_money_and_not_what_was_bought(self, shop):
        period = {"account_id": shop.account.pk, "start": NOON - DAY, "end": NOON + DAY}
        (before,) = reports.margin(**period)
        shop.erase()
        kept = the_sale(shop.origin, "s-ada")
        assert (kept.net_cents, kept.tax_cents, kept.number) == (10000, 1200, "IN-s-ada")
        assert kept.customer_id.startswith("erased:") and SaleState.unscoped.get(sale=kept).persona == shop.ada
        lines = sorted(SaleLine.unscoped.filter(sale=kept).values_list("name", "brand", "total_cents", "cost_cents"))
        assert lines == [("", "", 4000, None), ("", "", 6000, 2000)]
        (after,) = reports.margin(**period)
        assert after == before

    def test_an_open_redemption_is_settled_and_never_comes_back(self, shop):
        shop.give(100)
        taken = shop.redeem()
        assert shop.preview().open_redemptions == 1
        shop.erase()
        row = Redemption.unscoped.get(public_id=taken.redemption_id)
        assert (row.state, row.matched_by, row.settled_at) == ("settled", "removed", NOON + DAY)
        with pytest.raises(ledger.UnknownRedemption):
            ledger.revert(**shop.ids, redemption_public_id=taken.redemption_id, now=NOON + 2 * DAY)
        assert Wallet.unscoped.get(persona=shop.ada).balance == 0
        # The till that asks once more is answered as before: it may be in the middle of the order.
        again = shop.redeem(now=NOON + 2 * DAY)
        assert again.redemption_id == taken.redemption_id and not again.created
        with pytest.raises(ledger.NotAvailable, match="not_a_member"):
            shop.redeem(n=1, order="T-2", now=NOON + 2 * DAY)

    def test_a_use_of_the_web_shop_waits_for_no_order_any_more(self, shop):
        """The address is good for a day: a till that names an order with it finds nobody."""
        shop.give(100)
        taken = ledger.redeem(
            **shop.ids, persona_id=shop.ada.pk, discount_id=shop.discount.pk, n=0, transaction="", channel="web",
            now=NOON,
        )  # fmt: skip
        shop.erase()
        with pytest.raises(ledger.NotAvailable, match="stale"):
            shop.redeem(order="T-9", now=NOON + DAY)
        row = Redemption.unscoped.get(public_id=taken.redemption_id)
        assert (row.state, row.transaction) == ("settled", "") and audits.violations() == []

    def test_a_released_redemption_whose_sale_comes_late_owes_nothing(self, shop):
        shop.give(100)
        taken = shop.redeem()
        ledger.revert(
            **shop.ids, redemption_public_id=taken.redemption_id, now=NOON, to_state="released", why="no_sale"
        )
        shop.erase()
        row, late = Redemption.unscoped.get(public_id=taken.redemption_id), the_sale(shop.origin, "s-ada")
        assert not ledger.settle_again(**shop.ids, redemption_id=row.pk, sale_id=late.pk, now=NOON + 2 * DAY)
        assert not Shortfall.unscoped.exists()

    def test_open_shortfalls_are_waived(self, shop):
        with acting_in(shop.account.pk):
            Shortfall.objects.create(persona=shop.ada, key="x", points=30, state="open", at=NOON, note="Ada owes")
        assert shop.preview().shortfalls == 1
        shop.erase()
        kept = Shortfall.unscoped.get()
        assert (kept.state, kept.note) == ("waived", "") and kept.closed_at

    def test_the_log_says_what_was_done_and_not_to_whom(self, full):
        full.erase()
        with acting_in(full.account.pk):
            adjusted = AuditLine.objects.get(act="points.adjusted")
        assert adjusted.target == "removed on request" and adjusted.user == full.owner
        assert adjusted.detail == {"contact_id": str(full.ada.contact_id), "points": "500"}


class TestNothingBringsThePersonBack:
    def people(self, shop) -> int:
        return Persona.unscoped.filter(account=shop.account, erased_at=None).count()

    def test_the_same_record_lands_as_a_stub_that_is_written_once(self, shop):
        shop.erase()
        for version in (3, 4):
            arrive(shop.origin, shop.record._replace(version=version, street="2 Main St"))
        assert self.people(shop) == 0 and Customer.unscoped.count() == 1
        landed = land_customers(shop.origin, shop.record._replace(version=5))
        assert landed.touched == [] and everywhere(PHONE) == everywhere("2 Main St") == set()
        assert audits.violations() == []

    @pytest.mark.parametrize("known", [{"phone": PHONE}, {"email": EMAIL}, {"merged_into": "c-ada"}])
    def test_a_new_record_of_the_same_phone_or_e_mail_or_that_the_pos_merged_in(self, shop, known):
        shop.erase()
        arrive(shop.origin, customer("c-new", first_name="Ada", **known))
        assert self.people(shop) == 0 and not Source.unscoped.exists() and everywhere("c-new") == set()
        # By its own id from now on, whatever it shows.
        arrive(shop.origin, customer("c-new", first_name="Ada", phone="+16045550199", version=2))
        assert self.people(shop) == 0 and audits.violations() == []

    def test_sales_that_came_before_such_a_record_forget_what_was_bought(self, shop):
        shop.erase()
        arrive(shop.origin, sale("s-new", customer_id="c-new"))
        arrive(shop.origin, customer("c-new", phone=PHONE))
        assert the_sale(shop.origin, "s-new").customer_id.startswith("erased:")
        assert everywhere("Thing") == set() and audits.violations() == []

    def test_her_sales_that_come_later_are_nobodys(self, shop):
        shop.erase()
        arrive(shop.origin, sale("s-later", customer_id="c-ada", number="IN-later"))
        later = the_sale(shop.origin, "s-later")
        assert later.net_cents == 10000 and SaleState.unscoped.get(sale=later).persona is None
        assert everywhere("c-ada") == everywhere("Thing") == set() and audits.violations() == []

    @pytest.mark.parametrize("change", ["edited", "refunded", "recomputed"])
    def test_her_old_sales_rest(self, shop, change):
        shop.erase()
        if change == "edited":
            arrive(shop.origin, shop.sold._replace(net_cents=500, total_cents=560))
            assert the_sale(shop.origin, "s-ada").net_cents == 500
        elif change == "refunded":
            arrive(shop.origin, refund("r", of="s-ada", customer_id="c-ada"))
        else:
            from loyalty import earning

            earning.settle_personas(account_id=shop.account.pk, persona_ids=[shop.ada.pk], now=NOON + 2 * DAY)
            assert earning.out_of_date(account_id=shop.account.pk) == 0
        assert not Shortfall.unscoped.exists() and SaleState.unscoped.get(sale__external_id="s-ada").persona == shop.ada
        assert Wallet.unscoped.get(persona=shop.ada).balance == 0 and audits.violations() == []

    @pytest.mark.parametrize(
        "given", [{"phone": "604 555 0142"}, {"email": "ADA@shop.test"}, {"phone": "604 555 0199", "email": EMAIL}]
    )
    def test_a_sign_up_is_refused_with_a_sentence_and_leaves_nothing(self, shop, given):
        shop.erase()
        with acting_in(shop.account.pk), pytest.raises(personas.RemovedOnRequest, match="removed on request"):
            personas.sign_up(**shop.ids, region="CA", from_date=date(2026, 1, 1), now=NOON, first_name="Ada", **given)
        assert self.people(shop) == 0 and not Identifier.unscoped.exists()

    def test_somebody_elses_record_that_gets_the_number_stays_his_without_it(self, shop):
        arrive(shop.origin, customer("c-ben", first_name="Ben", last_name="Hart", phone="+16045550155"))
        shop.erase()
        arrive(shop.origin, customer("c-ben", first_name="Ben", last_name="Hart", phone=PHONE, version=2))
        ben = Persona.unscoped.get(first_name="Ben")
        assert ben.phone == "+16045550155" and ben.erased_at is None and everywhere(PHONE) == set()

    def test_no_merge_and_no_split_touches_a_removed_person(self, full):
        with acting_in(full.account.pk):
            ben = make_persona(full.account, first_name="Ben")
            full.erase()
            with pytest.raises(merging.CannotMerge, match="removed on request"):
                merging.merge(account_id=full.account.pk, one_id=ben.pk, other_id=full.ada.pk, now=NOON)
            with pytest.raises(merging.CannotMerge, match="removed on request"):
                merging.split(account_id=full.account.pk, merge_id=full.merge.pk, user=None, now=NOON)
        assert audits.violations() == []

    def test_no_points_come_in(self, shop):
        shop.erase()
        with pytest.raises(ledger.Removed):
            shop.give(5, now=NOON + 2 * DAY)
        with acting_in(shop.account.pk):
            assert not personas.enrol(persona=shop.ada, ground="staff", from_date=date(2026, 1, 1), now=NOON)
            with pytest.raises(LookupError):
                wallet.show(account_id=shop.account.pk, persona_id=shop.ada.pk, now=NOON)

    def test_the_database_itself_refuses(self, shop):
        from django.db import IntegrityError, transaction

        shop.erase()
        with pytest.raises(IntegrityError, match="wallet_closed_empty"), transaction.atomic():
            Wallet.unscoped.filter(persona=shop.ada).update(balance=1)

    def test_a_refused_row_of_hers_is_not_kept_again(self, shop):
        from integrations import landing

        shop.erase()
        for stream, row in (("customers", '{"Phone": "(604) 555-0142"}'), ("sales", '{"CustomerId": "c-ada"}')):
            landing.refuse(
                **shop.ids, origin_id=shop.origin.pk, stream=stream, now=NOON, region="CA",
                rows=[("k", "k", "c-ada is odd", row), ("other", "o", "odd", '{"Phone": "604 555 0199"}')],
            )  # fmt: skip
        kept = {(one.stream, one.key): one.row for one in RefusedRow.unscoped.all()}
        assert kept == {
            ("customers", "other"): {"Phone": "604 555 0199"}, ("sales", "other"): {"Phone": "604 555 0199"},
            ("sales", "k"): None,
        }  # fmt: skip
        assert everywhere("c-ada") == set()


class TestConsent:
    def say(self, shop, act, source="import", channel="sms", address=PHONE):
        return consent.record(**shop.ids, channel=channel, address=address, act=act, source=source, now=NOON + 2 * DAY)

    def test_stop_still_wins_for_the_address(self, full):
        full.erase()
        assert Message.unscoped.count() == 0
        for act, source in (("import_in", "import"), ("opt_in", "api"), ("opt_in", "staff")):
            assert self.say(full, act, source) == "stopped"
        with pytest.raises(consent.NotAsked):
            consent.ask(**full.ids, channel="sms", address=PHONE, now=NOON + 2 * DAY, source="form")
        assert consent.state_of(**full.ids, channel="sms", address=PHONE) == "stopped"
        assert everywhere(PHONE) == set() and audits.violations() == []

    def test_a_yes_became_a_no_that_no_list_turns(self, full):
        full.erase()
        for act, source in (("import_in", "import"), ("opt_in", "form")):
            assert self.say(full, act, source, "email", EMAIL) == "out"
        ignored = ConsentLine.unscoped.filter(act="ignored")
        assert ignored.count() == 2 and all(line.address.startswith("erased:") for line in ignored)

    def test_her_own_stop_and_start_are_heard_and_answered(self, shop):
        shop.erase()
        heard = consent.incoming(**shop.ids, channel="sms", address=PHONE, text="stop", now=NOON + 2 * DAY, key="1")
        assert heard.state == "stopped"
        heard = consent.incoming(**shop.ids, channel="sms", address=PHONE, text="START", now=NOON + 2 * DAY, key="2")
        assert heard == consent.Heard("start", "in")
        assert messages.deliver_due(now=NOON + 2 * DAY) == 2
        assert everywhere(PHONE) == set()  # the answers keep no number

    def test_a_familys_phone_stays_the_others(self, shop):
        with acting_in(shop.account.pk):
            ben = make_persona(shop.account, first_name="Ben")
            Persona.objects.filter(pk=ben.pk).update(phone=PHONE)
            Identifier.objects.filter(value=PHONE).update(shared=True)
        consent.record(**shop.ids, channel="sms", address=PHONE, act="opt_in", source="form", now=NOON,
                       persona_id=shop.ada.pk, wording="Ada said")  # fmt: skip
        assert shop.preview().shared == (PHONE,)
        shop.erase()
        assert consent.state_of(**shop.ids, channel="sms", address=PHONE) == "in"
        line = ConsentLine.unscoped.get(address=PHONE)
        assert line.persona_id is None and line.wording == ""
        assert Identifier.unscoped.get(value=PHONE).persona == ben and not Suppression.unscoped.filter(kind="phone")
        arrive(shop.origin, customer("c-ben", first_name="Ben", last_name="Hart", phone=PHONE))
        assert Persona.unscoped.filter(erased_at=None).count() == 2 and audits.violations() == []


class TestComingBack:
    def test_an_owner_lets_the_number_be_used_again_and_stop_stands(self, full):
        full.erase()
        with acting_in(full.account.pk):
            assert erasure.allow_again(**full.ids, term="604 555 0142", now=NOON + 2 * DAY) == "phone"
            signed = personas.sign_up(
                **full.ids, region="CA", phone=PHONE, from_date=date(2026, 3, 1), now=NOON + 2 * DAY
            )
        assert signed.created and signed.persona.pk != full.ada.pk
        assert consent.state_of(**full.ids, channel="sms", address=PHONE) == "stopped"
        assert ConsentState.unscoped.get(channel="sms", address=PHONE).state == "stopped"
        arrive(full.origin, full.record)  # the POS's old record stays out
        assert Persona.unscoped.filter(phone=PHONE).count() == 1 and audits.violations() == []
        # And may be removed once more.
        full.erase(now=NOON + 3 * DAY, persona=signed.persona)
        assert everywhere(PHONE) == set() and audits.violations() == []

    def test_a_number_of_nobody(self, shop):
        with pytest.raises(erasure.CannotErase, match="Nobody"):
            erasure.allow_again(**shop.ids, term=PHONE, now=NOON)


class TestOnceAndWho:
    def test_twice_is_once(self, full):
        first = full.erase()
        again = full.erase(now=NOON + 5 * DAY)
        assert (again.created, again.at, again.contact_id) == (False, first.at, first.contact_id)
        assert Entry.unscoped.filter(key__startswith="erase:").count() == 1

    def test_asked_for_a_merged_row_the_whole_group_goes(self, full):
        part = Persona.unscoped.get(pk=full.merge.loser_id)
        done = full.erase(persona=part)
        assert done.contact_id == full.ada.contact_id and done.records == 2

    def test_another_accounts_person_is_nobody(self, shop):
        other = make_account("Other Co")
        for verb in (erasure.preview, lambda **asked: erasure.erase(user=None, **asked)):
            with acting_in(other.pk), pytest.raises(erasure.CannotErase):
                verb(account_id=other.pk, persona_id=shop.ada.pk, now=NOON)
        assert Persona.unscoped.get(pk=shop.ada.pk).erased_at is None

    def test_a_digest_says_nothing_in_another_account(self, shop):
        shop.erase()
        other = make_account("Other Co")
        with acting_in(other.pk):
            made = personas.sign_up(account_id=other.pk, region="CA", phone=PHONE, from_date=date(2026, 1, 1), now=NOON)
        assert made.created

    def test_the_preview_tells_what_the_deed_does(self, full):
        shown = full.preview()
        done = full.erase()
        assert (shown.points, shown.open_redemptions, shown.customers, shown.records) == (
            done.points, done.redemptions, done.customers, done.records,
        )  # fmt: skip
        assert (shown.merged, shown.messages, shown.shared, shown.platforms) == (1, 2, (), ("cova",))
        assert shown.open_points == Decimal(50) and shown.notes >= 3 and shown.sales == 2


def test_a_search_by_what_she_was_known_by(full):
    full.erase()
    asked = {"account_id": full.account.pk, "region": "CA"}
    for term in ("604 555 0142", "+16045550177", EMAIL, "c-ada"):
        found = search.find(**asked, term=term)
        assert found.suppressed and not found.hits, term
    assert search.find(**asked, term="IN-s-ada").gone[0].erased_at  # her receipt
    for row in Persona.unscoped.filter(pk__in=group(full)):
        assert search.find(**asked, term=str(row.contact_id)).gone[0].erased_at
    assert not search.find(**asked, term="604 555 0100").suppressed


def test_check_ledger_is_content(full, capsys):
    full.erase()
    call_command("check_ledger")
    assert capsys.readouterr().out.strip() == "0 violations"
