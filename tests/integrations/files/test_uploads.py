"""Files that are uploaded: what lands, what is refused, and that nothing is done twice."""

import csv
import io
import json
from types import SimpleNamespace

import pytest
from django.core.management import CommandError, call_command
from django.utils import timezone

from integrations.arrivals import OUT_OF_BOUNDS
from integrations.models import (
    Customer,
    Location,
    Origin,
    Product,
    RefusedRow,
    Sale,
    SaleLine,
    Stock,
    Upload,
    UploadChunk,
    UploadError,
    UploadState,
)
from integrations.refusals import Problems, Refused
from integrations.uploads import bodies, intake, running, services
from loyalty.models import Entry, Persona
from tests.factories import make_account, make_persona
from tests.integrations.files.sheets import CUSTOMERS, NOBODY, as_csv, as_xlsx, read, send, sent_and_read

pytestmark = pytest.mark.django_db


@pytest.fixture
def account():
    return make_account()


def figures(upload):
    return upload.rows_new, upload.rows_changed, upload.rows_unchanged, upload.rows_refused


class TestCustomers:
    def test_they_land_and_become_personas(self, account):
        upload = sent_and_read(account, CUSTOMERS)
        assert (upload.state, figures(upload)) == (UploadState.DONE, (3, 0, 0, 0))
        ada = Customer.unscoped.get(external_id="C-1")
        assert (ada.phone, ada.email, str(ada.birth_date), ada.state) == (
            "+16045550142", "ada@example.test", "1990-05-04", "BC"
        )  # fmt: skip
        assert ada.origin.platform == "files" and ada.origin.identity == "old-till"
        assert set(Persona.unscoped.values_list("first_name", flat=True)) == {"Ada", "Bo", "Cy"}

    def test_the_same_file_twice_changes_nothing(self, account):
        sent_and_read(account, CUSTOMERS)
        before = list(Customer.unscoped.order_by("pk").values())
        assert figures(sent_and_read(account, CUSTOMERS)) == (0, 0, 3, 0)
        assert list(Customer.unscoped.order_by("pk").values()) == before

    def test_a_row_without_an_id_is_known_by_its_phone(self, account):
        text = "First Name,Phone\nAda,604 555 0142\nBo,\n"
        upload = sent_and_read(account, text)
        assert figures(upload) == (2, 0, 0, 0)
        sent_and_read(account, "First Name,Phone\nAda Maria,+1 (604) 555-0142\nBo,\n")
        assert set(Customer.unscoped.values_list("first_name", flat=True)) == {"Ada Maria", "Bo"}

    def test_what_no_column_tells_stays(self, account):
        sent_and_read(
            account,
            "id,first name,last name,phone,email,birth date,city,do not contact,license,type\n"
            "1,Ada,Moss,6045550142,ada@example.test,1990-05-04,Duncan,yes,D1234567,medical\n",
        )
        before = Customer.unscoped.values().get()
        assert before["do_not_contact"] is True and before["government_id"]
        upload = sent_and_read(account, "id,phone\n1,6045550199\n2,6045550198\n", name="customers.csv")
        assert figures(upload) == (1, 1, 0, 0)
        after = Customer.unscoped.values().get(external_id="1")
        told = {"phone": "+16045550199", "phone_raw": "6045550199"}
        assert after == before | told | {"changed_at": after["changed_at"]}
        # A column that is there and blank says that there is none.
        sent_and_read(account, "id,phone,city\n1,6045550199,\n", name="customers.csv")
        assert Customer.unscoped.get(external_id="1").city == ""
        assert Persona.unscoped.get(phone="+16045550199").first_name == "Ada"

    def test_what_is_stored_is_asked_once_a_batch(self, account):
        from django.db import connection
        from django.test.utils import CaptureQueriesContext

        sent_and_read(account, "id,first name\n" + "".join(f"{n},N{n}\n" for n in range(60)), name="customers.csv")
        with CaptureQueriesContext(connection) as asked:
            sent_and_read(account, "id,phone\n" + "".join(f"{n},\n" for n in range(60)), name="customers.csv")
        stored = [q for q in asked if '"pricing_group"' in q["sql"] and "integrations_customer" in q["sql"]]
        assert len(stored) == 1

    def test_no_consent_comes_of_a_file(self, account):
        from loyalty.models import ConsentLine

        sent_and_read(account, "id,phone,sms opt in,do not contact\n1,6045550142,TRUE,no\n")
        assert not ConsentLine.unscoped.exists()
        assert Customer.unscoped.get().do_not_contact is False


SALES = """TransactionID,TransactionDate,Completed Time,LocationID,Facility Name,Patient Number,Patient Name,Patient Phone Default,Item ID,ProductName,Product Category Name,InventoryQuantity,AllocatedPrice,AllocatedTax,Product Discount
T-1,2026-03-02,14:30,main,Main St,P-9,Ada Moss,6045550142,i1,Blue Dream 3.5g,Flower,1,30.00,3.60,5.00
T-1,2026-03-02,14:30,main,Main St,P-9,Ada Moss,6045550142,i2,Papers,Accessories,2,4.00,0.48,
T-2,2026-03-03,09:05,main,Main St,,,,i2,Papers,Accessories,1,2.00,0.24,
T-3,2026-03-04,10:00,main,Main St,P-9,Ada Moss,6045550142,i2,Papers,Accessories,-2,-4.00,-0.48,
"""  # noqa: E501


class TestSales:
    def test_lines_are_gathered_into_sales_that_earn(self, account):
        make_persona(account, phone="+16045550142")
        upload = sent_and_read(account, SALES, name="sales.csv")
        assert (upload.state, upload.message, upload.rows_read) == (UploadState.DONE, "", 4)
        first = Sale.unscoped.get(external_id="T-1")
        assert (first.lines_cents, first.tax_cents, first.net_cents, first.total_cents) == (3400, 408, 3400, 3808)
        assert first.sold_at.isoformat() == "2026-03-02T22:30:00+00:00"  # Vancouver's half past two
        lines = SaleLine.unscoped.filter(sale=first).order_by("number")
        assert [(n.name, n.quantity, n.total_cents, n.discount_cents, n.list_price) for n in lines] == [
            ("Blue Dream 3.5g", 1, 3000, 500, 35), ("Papers", 2, 400, 0, 2),
        ]  # fmt: skip
        assert Sale.unscoped.get(external_id="T-3").kind == "refund"
        assert Sale.unscoped.get(external_id="T-2").customer_id == ""
        place = Location.unscoped.get()
        assert (place.external_id, place.name, place.active) == ("main", "Main St", True)
        assert Entry.unscoped.get(key__startswith="earn:").points == 34

    def test_the_same_file_twice_changes_nothing(self, account):
        make_persona(account, phone="+16045550142")
        sent_and_read(account, SALES, name="sales.csv")
        before = list(Entry.unscoped.values()), list(SaleLine.unscoped.order_by("pk").values())
        assert figures(sent_and_read(account, SALES, name="sales.csv")) == (0, 0, 3, 0)
        assert (list(Entry.unscoped.values()), list(SaleLine.unscoped.order_by("pk").values())) == before

    def test_what_a_file_of_customers_told_is_not_overwritten_by_a_sale(self, account):
        sent_and_read(account, "customer id,first name,email\nP-9,Adelaide,ada@example.test\n")
        sent_and_read(account, SALES, name="sales.csv")
        assert Customer.unscoped.get(external_id="P-9").first_name == "Adelaide"

    def test_rows_of_a_sale_that_are_torn_apart_are_refused_before_anything_lands(self, account):
        head, one, two, three, _ = SALES.split("\n", 4)
        upload = sent_and_read(account, "\n".join((head, one, three, two)) + "\n", name="sales.csv")
        assert upload.state == UploadState.FAILED
        assert "transaction T-1 are not together: rows 2 and 4" in upload.message
        assert not Sale.unscoped.exists()

    def test_rows_that_contradict_each_other_are_refused_together(self, account):
        text = "transaction id,date,line total,total\n1,2026-03-02,5,10\n1,2026-03-02,5,11\n2,2026-03-02,4,4\n"
        upload = sent_and_read(account, text, name="sales.csv")
        assert (upload.rows_new, upload.rows_refused) == (1, 2)
        assert set(UploadError.unscoped.values_list("number", flat=True)) == {2, 3}

    def test_a_sale_that_tells_its_total_only(self, account):
        upload = sent_and_read(
            account, "order id,date,sku,total,tax\n7,03/28/2026,a,11.30,1.30\n7,03/28/2026,b,11.30,1.30\n"
        )
        sale = Sale.unscoped.get()
        assert (sale.net_cents, sale.lines_cents, sale.total_cents) == (1000, 1000, 1130), upload.message
        assert [n.total_cents for n in SaleLine.unscoped.all()] == [500, 500]

    def test_another_currency_is_refused(self, account):
        upload = sent_and_read(account, "order id,date,total,currency\n7,2026-03-28,11,USD\n", name="sales.csv")
        assert UploadError.unscoped.get(upload=upload).reason == "The currency is USD, this account's is CAD."


class TestInventory:
    def test_products_and_levels_land(self, account):
        text = "SKU,Name,Category,Price,On hand,Location\nA1,Gummies,Edibles,12.50,40,main\nA2,Papers,Acc,2,,\n"
        upload = sent_and_read(account, text, name="inventory.csv")
        assert figures(upload) == (2, 0, 0, 0), upload.message
        product = Product.unscoped.get(sku="A1")
        assert (product.name, product.price_cents, product.tracks_stock) == ("Gummies", 1250, True)
        level = Stock.unscoped.get()
        assert (level.product_id, level.location.external_id, level.quantity) == ("A1", "main", 40)
        assert figures(sent_and_read(account, text, name="inventory.csv")) == (0, 0, 2, 0)
        assert figures(sent_and_read(account, text.replace(",40,", ",39,"), name="inventory.csv")) == (0, 1, 1, 0)
        assert Stock.unscoped.get().quantity == 39

    def test_what_no_column_tells_stays(self, account):
        sent_and_read(account, "SKU,Name,Price,Cost,Active\nA1,Gummies,12.50,4,no\n", name="inventory.csv")
        assert figures(sent_and_read(account, "SKU,On hand\nA1,40\n", name="inventory.csv")) == (0, 1, 0, 0)
        product = Product.unscoped.get()
        assert (product.name, product.price_cents, product.cost_cents, product.active, product.tracks_stock) == (
            "Gummies", 1250, 400, False, True
        )  # fmt: skip


class TestSources:
    @pytest.mark.parametrize(("one", "other"), [("店一", "店二"), ("Café", "Caf"), ("Ålder", "lder"), ("कि", "की")])
    def test_names_of_any_script_are_told_apart(self, account, one, other):
        made = [intake.source(account_id=account.pk, name=name) for name in (one, other)]
        assert made[0] != made[1] and [origin.title for origin in made] == [one, other]

    @pytest.mark.parametrize("same", ["old  TILL", "Old till!", "old-till", "Ｏld till"])
    def test_the_same_name_written_otherwise_is_the_same_source(self, account, same):
        first = intake.source(account_id=account.pk, name="Old till")
        assert first.identity == "old-till" and intake.source(account_id=account.pk, name=same) == first

    @pytest.mark.parametrize("name", ["", "  ", "!!", "\x00", "-"])
    def test_a_name_that_is_none_is_refused(self, account, name):
        with pytest.raises(Refused, match="Give the source a name"):
            intake.source(account_id=account.pk, name=name)


class TestErrors:
    TEXT = "order id,date,total\n1,2026-03-02,5\n2,never,6\n3,2026-03-04,=1+1\n,2026-03-05,3\n"

    def test_they_can_be_downloaded_mended_and_sent_again(self, account):
        upload = sent_and_read(account, self.TEXT, name="sales.csv")
        assert (upload.rows_new, upload.rows_refused) == (1, 3)
        table = list(csv.reader(io.StringIO("".join(services.errors(upload)))))
        assert table[0] == ["order id", "date", "total", "Reason"]
        assert [(row[0], row[3]) for row in table[1:]] == [
            ("2", "The day of the sale is not a day: never"), ("3", "The total is not a number: =1+1"),
            ("", "The transaction id is missing."),
        ]  # fmt: skip
        assert table[2][2] == "'=1+1"  # a spreadsheet runs nothing
        assert RefusedRow.unscoped.filter(solved_at=None).count() == 3
        table[1][1], table[2][2], table[3][0] = "2026-03-03", "4", "4"
        again = sent_and_read(account, as_csv(table), name="sales mended.csv")
        assert (again.rows_new, again.rows_refused) == (3, 0)
        assert RefusedRow.unscoped.filter(solved_at=None, external_id__gt="").count() == 0

    def test_a_value_that_no_column_holds_refuses_its_row_only(self, account):
        text = "order id,date,line total,qty\n1,2026-03-02,5,1\n2,2026-03-02,9000000,0.0001\n3,2026-03-02,5,1\n"
        upload = sent_and_read(account, text, name="sales.csv")
        assert (upload.state, upload.rows_new, upload.rows_refused) == (UploadState.DONE, 2, 1)
        assert UploadError.unscoped.get(upload=upload).reason == OUT_OF_BOUNDS

    def test_numbers_of_papers_are_not_kept_in_a_refused_row(self, account):
        upload = sent_and_read(account, "first name,phone,license\n,,D1234567\n")
        assert UploadError.unscoped.get(upload=upload).cells == ["", "", "…"]
        assert "D1234567" not in str(RefusedRow.unscoped.get().row)


class TestInSlices:
    MANY = as_csv([["id", "first name", "phone"], *[[n, f"P{n}", f"604555{n:04}"] for n in range(1000)]])

    def test_it_goes_on_where_the_last_batch_ended(self, account, monkeypatch):
        monkeypatch.setattr(running, "ROWS_TOGETHER", 100)
        upload = send(account, self.MANY)
        services.begin(upload=upload, now=timezone.now(), enqueue=NOBODY)
        slices = 0
        while running.run_slice(upload.pk, slice_s=0):
            slices += 1
            upload.refresh_from_db()
            assert upload.rows_read == upload.rows_new == Customer.unscoped.count() == slices * 100
        upload.refresh_from_db()
        assert (upload.state, upload.rows_new, Customer.unscoped.count()) == (UploadState.DONE, 1000, 1000)

    @pytest.mark.parametrize("form", ["csv", "xlsx"])
    def test_a_worker_that_dies_leaves_a_whole_batch_and_nothing_half(self, account, monkeypatch, form):
        monkeypatch.setattr(running, "ROWS_TOGETHER", 100)
        data = self.MANY if form == "csv" else as_xlsx([row for row in csv.reader(io.StringIO(self.MANY.decode()))])
        upload = send(account, data, name=f"customers.{form}")
        services.begin(upload=upload, now=timezone.now(), enqueue=NOBODY)
        real, calls = running._Run._update, []

        def dies(self, **changes):
            calls.append(1)
            if len(calls) == 3:
                raise KeyboardInterrupt
            return real(self, **changes)

        monkeypatch.setattr(running._Run, "_update", dies)
        with pytest.raises(KeyboardInterrupt):
            running.run_slice(upload.pk)
        assert Customer.unscoped.count() == 200
        Upload.unscoped.update(lease_until="2026-01-01T00:00:00Z")
        handed = []
        assert running.dispatch_due(enqueue=handed.append) == 1 and handed == [upload.pk]
        read(upload)
        assert (upload.state, upload.rows_new, upload.rows_unchanged) == (UploadState.DONE, 1000, 0)

    def _half_read(self, account, monkeypatch, rows_together=100) -> Upload:
        """A workbook of which 500 rows are read, 500 are not."""
        monkeypatch.setattr(running, "ROWS_TOGETHER", 500)
        upload = send(account, as_xlsx(csv.reader(io.StringIO(self.MANY.decode()))), name="customers.xlsx")
        services.begin(upload=upload, now=timezone.now(), enqueue=NOBODY)
        assert running.run_slice(upload.pk, slice_s=0)
        upload.refresh_from_db()
        assert upload.rows_read == 500
        monkeypatch.setattr(running, "ROWS_TOGETHER", rows_together)
        return upload

    def test_the_lease_is_kept_while_the_beginning_of_a_workbook_is_read_again(self, account, monkeypatch):
        upload = self._half_read(account, monkeypatch)
        monkeypatch.setattr(running, "RENEW_S", -1)
        real, kept = running._Run._update, []

        def stopped_in_the_middle(self, **changes):
            kept.append(changes)
            if len(kept) == 200:
                services.stop(upload=upload, now=timezone.now())
            return real(self, **changes)

        monkeypatch.setattr(running._Run, "_update", stopped_in_the_middle)
        assert not running.run_slice(upload.pk)
        # All of them within the 501 rows that were read before: whoever stops it is heard there too.
        assert kept == [{}] * 200
        upload.refresh_from_db()
        assert (upload.state, upload.rows_read) == (UploadState.STOPPED, 500)

    def test_a_slice_of_a_workbook_begins_where_its_new_rows_do(self, account, monkeypatch):
        upload = self._half_read(account, monkeypatch, rows_together=10)
        clock = [0.0]
        monkeypatch.setattr(running, "time", SimpleNamespace(monotonic=lambda: clock[0]))
        real = running._Run._keep_lease

        def slowly(self):
            clock[0] += 0.06  # 501 rows that were read before take 30 seconds
            real(self)

        monkeypatch.setattr(running._Run, "_keep_lease", slowly)
        assert running.run_slice(upload.pk, slice_s=20)
        upload.refresh_from_db()
        assert 720 < upload.rows_read < 780  # 15 seconds more, to the 45 that the queue allows

    def test_stopped_it_saves_nothing_more_and_can_be_resumed(self, account, monkeypatch):
        monkeypatch.setattr(running, "ROWS_TOGETHER", 100)
        upload = send(account, self.MANY)
        services.begin(upload=upload, now=timezone.now(), enqueue=NOBODY)
        assert running.run_slice(upload.pk, slice_s=0)
        assert services.stop(upload=upload, now=timezone.now())
        assert not running.run_slice(upload.pk) and Customer.unscoped.count() == 100
        assert services.resume(upload=upload, now=timezone.now(), enqueue=NOBODY)
        assert read(upload).rows_new == 1000

    def test_two_workers_do_not_both_read(self, account):
        upload = send(account, CUSTOMERS)
        services.begin(upload=upload, now=timezone.now(), enqueue=NOBODY)
        assert running.claim(upload.pk) and running.claim(upload.pk) is None

    def test_a_file_that_never_saves_a_batch_is_given_up(self, account, monkeypatch):
        monkeypatch.setattr(running._Run, "work", lambda self: 1 / 0)
        upload = send(account, CUSTOMERS)
        services.begin(upload=upload, now=timezone.now(), enqueue=NOBODY)
        for _ in range(6):
            Upload.unscoped.filter(state="running").update(lease_until="2026-01-01T00:00:00Z")
            running.run_slice(upload.pk)
        upload.refresh_from_db()
        assert (upload.state, upload.message) == (UploadState.FAILED, running.GIVEN_UP)


class TestChoosing:
    def test_a_mapping_is_remembered_for_its_source_and_kind(self, account):
        first = send(account, "Nummer,Tel,Vorname\n1,6045550142,Ada\n", kind="customers")
        mapping = {"Nummer": "external_id", "Tel": "phone", "Vorname": "first_name"}
        services.choose(upload=first, kind="customers", mapping=mapping, day_order="dmy", now=timezone.now())
        services.begin(upload=first, now=timezone.now(), enqueue=NOBODY)
        read(first)
        second = send(account, "Vorname,Nummer,Tel,Ort\nBo,2,6045550143,Victoria\n", kind="customers")
        assert second.mapping == mapping | {"Ort": ""} and second.day_order == "dmy"
        elsewhere = send(account, "Vorname,Nummer,Tel\nBo,2,6045550143\n", kind="customers", source="Other shop")
        assert not any(elsewhere.mapping.values())

    def test_what_was_ignored_stays_ignored(self, account):
        first = send(account, "id,phone,email\n1,6045550142,a@example.test\n")
        services.choose(
            upload=first, kind="customers", mapping={"id": "external_id", "phone": "phone", "email": ""}, day_order="",
            now=timezone.now(),
        )  # fmt: skip
        services.begin(upload=first, now=timezone.now(), enqueue=NOBODY)
        assert Customer.unscoped.count() == 0 and read(first).rows_new == 1
        assert Customer.unscoped.get().email == ""
        assert send(account, "id,phone,email\n1,6045550142,a@example.test\n").mapping["email"] == ""

    def test_a_mapping_that_cannot_be_is_refused_with_sentences(self, account):
        upload = send(account, "a,b\n1,2\n", kind="sales")
        with pytest.raises(Problems, match="Transaction id is needed: choose its column"):
            services.begin(upload=upload, now=timezone.now(), enqueue=NOBODY)
        with pytest.raises(Problems, match="Transaction id is read from one column, not from “a” and “b”"):
            services.choose(upload=upload, kind="sales", mapping={"a": "external_id", "b": "external_id"},
                            day_order="", now=timezone.now())  # fmt: skip

    def test_the_preview_says_how_rows_are_understood_and_writes_nothing(self, account):
        upload = send(account, SALES, name="sales.csv")
        shown = services.preview(upload=upload, now=timezone.now())
        assert [row["lines"] for row in shown.rows] == [2, 1, 1]
        assert dict(shown.rows[0]["understood"])["Paid without tax"] == "34.00"
        assert dict(shown.rows[2]["understood"])["Refund"] == "T-3"
        assert not Sale.unscoped.exists()

    def test_begun_twice_is_begun_once(self, account):
        upload = send(account, CUSTOMERS)
        handed = []
        services.begin(upload=upload, now=timezone.now(), enqueue=handed.append)
        services.begin(upload=upload, now=timezone.now(), enqueue=handed.append)
        assert len(handed) == 1
        read(upload)
        with pytest.raises(Refused, match="not waiting"):
            services.begin(upload=upload, now=timezone.now(), enqueue=handed.append)
        services.begin(upload=services.again(upload=upload), now=timezone.now(), enqueue=handed.append)
        assert read(upload).rows_unchanged == 3


class TestBodies:
    def test_no_machine_needs_a_disk(self, account):
        upload = send(account, CUSTOMERS)
        with bodies.opened(upload) as body:
            assert body.read() == CUSTOMERS.encode()
            body.seek(12)
            assert body.read(5) == CUSTOMERS.encode()[12:17]

    def test_what_is_too_large_is_refused_and_not_kept(self, account, settings):
        settings.FILES_MAX_MB = 0
        with pytest.raises(Refused, match="larger than 0 MB"):
            send(account, CUSTOMERS)
        assert not Upload.unscoped.exists() and not UploadChunk.unscoped.exists()

    def test_they_go_after_thirty_days_with_their_errors(self, account):
        upload = sent_and_read(account, TestErrors.TEXT, name="sales.csv")
        now = timezone.now()
        services.prune(now=now + timezone.timedelta(days=29))
        assert UploadChunk.unscoped.exists() and UploadError.unscoped.exists()
        services.prune(now=now + timezone.timedelta(days=31))
        assert not UploadChunk.unscoped.exists() and not UploadError.unscoped.exists()
        upload.refresh_from_db()
        assert upload.body_gone_at and upload.rows_new == 1
        with pytest.raises(Refused, match="no longer kept"):
            services.again(upload=upload)

    def test_a_removal_takes_every_body_and_the_persons_errors(self, account):
        from loyalty import erasure

        done = sent_and_read(account, CUSTOMERS + "C-9\n,,,,,,\n")
        failed = sent_and_read(
            account, "order id,date,total,phone\n1,never,5,604-555-0142\n2,never,5,604-555-0199\n", name="sales.csv"
        )
        waiting = send(account, CUSTOMERS)
        ada = Persona.unscoped.get(first_name="Ada")
        assert UploadError.unscoped.filter(upload=failed).count() == 2
        erasure.erase(account_id=account.pk, persona_id=ada.pk, user=None, now=timezone.now())
        assert not UploadChunk.unscoped.exists()
        assert [error.cells[0] for error in UploadError.unscoped.filter(upload=failed)] == ["2"]
        waiting.refresh_from_db()
        assert waiting.state == UploadState.FAILED and "Send it again" in waiting.message
        done.refresh_from_db()
        assert done.state == UploadState.DONE
        sent_and_read(account, CUSTOMERS)
        assert not Persona.unscoped.filter(first_name="Ada").exists()


class TestCommand:
    def call(self, account, path, *more):
        out = io.StringIO()
        call_command("read_file", str(path), "--account", account.uid, "--source", "Old till", *more, stdout=out)
        return json.loads(out.getvalue().splitlines()[-1])

    def test_a_file_is_read_in_the_foreground(self, account, tmp_path):
        (tmp_path / "people.csv").write_text("Nummer,Phone\n1,6045550142\n")
        told = self.call(account, tmp_path / "people.csv", "--kind", "customers", "--map", "Nummer=external_id")
        assert (told["kind"], told["state"], told["new"], told["refused"]) == ("customers", "done", 1, 0)
        assert Customer.unscoped.get().external_id == "1"

    def test_what_cannot_be_is_a_sentence(self, account, tmp_path):
        (tmp_path / "x.csv").write_text("a,b\n1,2\n")
        with pytest.raises(CommandError, match="Choose what the file holds"):
            self.call(account, tmp_path / "x.csv")


class TestASourceThatIsErased:
    def test_a_file_waits_and_is_read_when_that_was_not_all_of_it(self, account):
        upload = send(account, CUSTOMERS)
        services.begin(upload=upload, now=timezone.now(), enqueue=NOBODY)
        Origin.unscoped.filter(pk=upload.origin_id).update(erasing_at=timezone.now())
        for _ in range(running.MAX_ATTEMPTS + 2):
            read(upload)
        assert (upload.state, upload.attempts) == (UploadState.QUEUED, 0) and "being erased" in upload.message
        assert upload.queued_at > timezone.now() and not Customer.unscoped.exists()
        Origin.unscoped.filter(pk=upload.origin_id).update(erasing_at=None)
        read(upload)
        assert (upload.state, upload.message, figures(upload)) == (UploadState.DONE, "", (3, 0, 0, 0))

    def test_none_is_taken_meanwhile(self, account):
        origin = send(account, CUSTOMERS).origin
        Origin.unscoped.filter(pk=origin.pk).update(erasing_at=timezone.now())
        with pytest.raises(Refused, match="is being erased"):
            send(account, CUSTOMERS)
        assert Upload.unscoped.count() == 1
