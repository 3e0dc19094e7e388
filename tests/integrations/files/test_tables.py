"""Tables as people send them: encodings, separators, workbooks, cells; and what must not be opened."""

import io
import zipfile
from datetime import date, datetime
from decimal import Decimal
from zoneinfo import ZoneInfo

import pytest
from openpyxl import Workbook

from integrations.files import cells, columns, tables
from integrations.kit.errors import BadRow
from tests.integrations.files.sheets import as_csv, as_xlsx

ROWS = [["id", "name", "note"], ["1", "Zoë", 'says "hi", often'], ["2", "Müller", "two\nlines"], ["3", "", ""]]


def all_rows(data: bytes, **options):
    body = io.BytesIO(data)
    shape = tables.look(body)
    return shape, list(tables.rows(body, shape, **options))


class TestCsv:
    @pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
    @pytest.mark.parametrize(("encoding", "bom"), [("utf-8", False), ("utf-8", True), ("cp1252", False)])
    def test_every_way_it_is_written(self, separator, encoding, bom):
        shape, rows = all_rows(as_csv(ROWS, separator=separator, encoding=encoding, bom=bom))
        assert (shape.header, shape.separator, shape.encoding) == (tuple(ROWS[0]), separator, encoding)
        assert [row.cells for row in rows] == ROWS[1:]
        assert [row.number for row in rows] == [2, 3, 4]

    def test_it_goes_on_from_any_row(self):
        data = as_csv(ROWS)
        shape, rows = all_rows(data)
        for at, row in enumerate(rows):
            rest = list(tables.rows(io.BytesIO(data), shape, position=row.after, number=row.number))
            assert [(one.number, one.cells) for one in rest] == [(one.number, one.cells) for one in rows[at + 1 :]]
        assert rows[-1].after == len(data)

    def test_old_line_ends_and_excels_own_word_for_the_separator(self):
        assert [row.cells for row in all_rows(b"a,b\r1,2\r3,4\r")[1]] == [["1", "2"], ["3", "4"]]
        shape, rows = all_rows(b"sep=;\r\na;b\r\n1,5;2\r\n")
        assert shape.header == ("a", "b") and rows[0].cells == ["1,5", "2"]

    def test_names_of_columns_are_told_apart(self):
        assert all_rows(b"id,,id, first  name\n1,2,3,4\n")[0].header == ("id", "Column 2", "id (2)", "first name")

    def test_a_quotation_mark_that_is_never_closed_loses_its_row_only(self):
        lines = b"".join(b'%d,"fine"\n' % n for n in range(3, 40_000))
        _, rows = all_rows(b'id,name\n1,ok\n2,"open\n' + lines)
        bad = [row for row in rows if row.problem]
        assert [row.number for row in bad] == [3] and "do not match" in bad[0].problem
        assert (rows[-1].cells, rows[2].cells) == (["39999", "fine"], ["3", "fine"])

    def test_a_line_without_end_is_no_row_and_needs_no_memory(self):
        _, rows = all_rows(b"id,name\n1," + b"x" * 3_000_000 + b"\n2,ok\n")
        assert [(bool(row.problem), row.cells) for row in rows] == [(True, []), (False, ["2", "ok"])]

    @pytest.mark.parametrize(
        ("data", "said"),
        [(b"", "empty"), (b"\xff\xfea\x00", "UTF-16"), (b"a\x00b", "not a table"), (b"\xd0\xcf\x11\xe0", "old Excel")],
    )
    def test_what_is_none(self, data, said):
        with pytest.raises(tables.NotATable, match=said):
            tables.look(io.BytesIO(data))

    def test_a_formula_that_keeps_zeros_is_its_text(self):
        assert tables.unquoted('="0604"') == "0604" and tables.unquoted("'=1+1") == "=1+1"


class TestXlsx:
    def test_phones_days_and_numbers_as_excel_keeps_them(self):
        data = as_xlsx([
            ["id", "phone", "born", "at", "amount", "yes"],
            [7, 6045550142.0, date(1990, 5, 4), datetime(2026, 3, 2, 14, 30), 12.5, True],
        ])  # fmt: skip
        shape, rows = all_rows(data)
        assert shape.form == "xlsx"
        assert rows[0].cells == ["7", "6045550142", "1990-05-04", "2026-03-02 14:30:00", "12.5", "true"]

    def test_formulas_are_never_evaluated(self):
        book = Workbook()
        book.active.append(["id", "total"])
        book.active.append(["1", "=1+1"])
        book.active.append(["2", '=HYPERLINK("http://127.0.0.1:9/x","click")'])
        out = io.BytesIO()
        book.save(out)
        assert [row.cells for row in all_rows(out.getvalue())[1]] == [["1", ""], ["2", ""]]

    def test_it_goes_on_behind_a_row(self):
        data = as_xlsx([["id"], *[[n] for n in range(50)]])
        shape, rows = all_rows(data)
        rest = list(tables.rows(io.BytesIO(data), shape, position=rows[9].after, number=rows[9].number))
        assert [row.cells for row in rest] == [[str(n)] for n in range(10, 50)] and rest[0].number == 12

    def test_a_bomb_is_refused_before_it_is_unpacked(self):
        out = io.BytesIO(as_xlsx([["id"], ["1"]]))
        with zipfile.ZipFile(out, "a", zipfile.ZIP_DEFLATED) as bomb:
            bomb.writestr("xl/worksheets/sheet9.xml", b"0" * 60_000_000)
        with pytest.raises(tables.NotATable, match="far more than it should"):
            tables.look(io.BytesIO(out.getvalue()))

    def test_entities_are_refused(self):
        source, out = zipfile.ZipFile(io.BytesIO(as_xlsx([["id"], ["1"]]))), io.BytesIO()
        with zipfile.ZipFile(out, "w") as copy:
            for name in source.namelist():
                text = source.read(name)
                if name == "xl/worksheets/sheet1.xml":
                    head = b'<!DOCTYPE x [<!ENTITY a "' + b"a" * 1000 + b'"><!ENTITY b "&a;&a;&a;&a;">]>'
                    text = head + text.replace(b"<v>", b"<v>&b;", 1)
                copy.writestr(name, text)
        with pytest.raises(tables.NotATable):
            all_rows(out.getvalue())

    def test_a_damaged_one(self):
        with pytest.raises(tables.NotATable, match="damaged"):
            tables.look(io.BytesIO(as_xlsx([["id"]])[:-200]))


class TestCells:
    @pytest.mark.parametrize(
        ("raw", "number"),
        [("$1,234.50", "1234.50"), ("1.234,50", "1234.50"), ("(12.00)", "-12.00"), ("12-", "-12"), ("1 234", "1234"),
         ("1,234", "1234"), ("12,5", "12.5"), ("0,125", "0.125"), ("", "0"), ("-3", "-3"), ("CA$ 5", "5"),
         ("1,234,567", "1234567"), ("€ 1.234.567", "1234567")],
    )  # fmt: skip
    def test_numbers(self, raw, number):
        assert cells.number(raw, "It") == Decimal(number)

    @pytest.mark.parametrize("raw", ["abc", "=1+1", "1e9", "NaN", "--", "1/2"])
    def test_what_is_none(self, raw):
        with pytest.raises(BadRow):
            cells.number(raw, "It")

    @pytest.mark.parametrize(
        ("raw", "text"),
        [("6045550142.0", "6045550142"), ("6.045550142E9", "6045550142"), ("6,045550142E+09", "6045550142"),
         ("6.0455E+09", "6.0455E+09"), ("+1 604", "+1 604"), ("0604", "0604")],
    )  # fmt: skip
    def test_phones_that_a_spreadsheet_took_for_numbers(self, raw, text):
        assert cells.digits(raw) == text

    @pytest.mark.parametrize(
        ("raw", "order", "day"),
        [("03/04/2026", "mdy", (2026, 3, 4)), ("03/04/2026", "dmy", (2026, 4, 3)), ("2026-03-04", "mdy", (2026, 3, 4)),
         ("4.3.2026", "dmy", (2026, 3, 4)), ("46085", "mdy", (2026, 3, 4)), ("20260304", "ymd", (2026, 3, 4)),
         ("4-Mar-26", "mdy", (2026, 3, 4)), ("Mar 4, 2026", "mdy", (2026, 3, 4)), ("3/4/58", "mdy", (1958, 3, 4))],
    )  # fmt: skip
    def test_days(self, raw, order, day):
        assert cells.day(raw, "It", order) == date(*day)

    @pytest.mark.parametrize("raw", ["31/31/2026", "never", "13/13/13", "2026-02-30"])
    def test_no_days(self, raw):
        with pytest.raises(BadRow, match="is not a day"):
            cells.day(raw, "It", "mdy")

    def test_the_order_of_days_is_told_by_one_above_twelve(self):
        assert cells.guess_order(["03/04/2026", "13/04/2026"]) == "dmy"
        assert cells.guess_order(["03/04/2026", "03/14/2026"], country="DE") == "mdy"
        assert [cells.guess_order(["03/04/2026"], country=c) for c in ("US", "DE")] == ["mdy", "dmy"]

    @pytest.mark.parametrize(
        ("raw", "clock", "hour"),
        [("2026-03-02", "14:30", 22), ("3/2/2026 2:30 PM", "", 22), ("2026-03-02T14:30:00Z", "", 14),
         ("46083.604166667", "", 22), ("2026-03-02", "0.604166667", 22), ("1772490600", "", 22)],
    )  # fmt: skip
    def test_times_are_the_zones(self, raw, clock, hour):
        found = cells.moment(raw, clock, "It", "mdy", ZoneInfo("America/Vancouver"))
        assert (found.hour, found.minute) == (hour, 30)


class TestColumns:
    @pytest.mark.parametrize(
        ("header", "name", "kind"),
        [("contact_id,src_ids,loyalty_points", "x.csv", "contacts"), ("Transaction ID,Date,SKU", "x", "sales"),
         ("First Name,Phone", "x", "customers"), ("SKU,Name,Qty", "x", "inventory"), ("a,b", "x.csv", ""),
         ("a,b", "daily-products.csv", "inventory")],
    )  # fmt: skip
    def test_the_kind_is_found_out(self, header, name, kind):
        assert columns.guess_kind(header.split(","), name) == kind

    def test_aiqs_own_columns_for_transactions(self):
        header = [
            "TransactionID", "TransactionRefundID", "Patient Number", "LocationID", "Order Type", "Item ID",
            "ProductName", "Product Category Name", "VendorName", "InventoryQuantity",
            "Agg - Product Sales (subtotal)", "AllocatedTax", "Product Discount", "AllocatedPrice",
            "TransactionDate", "Completed Time", "Patient Postal Code", "Patient Address", "Patient Name",
            "Patient email", "Patient Phone Default", "Patient Age", "Facility Name",
        ]  # fmt: skip
        found = columns.guess(header, columns.SALES)
        assert list(found.values()) == [
            "external_id", "original_id", "customer_id", "location_id", "fulfilment", "product_id", "product",
            "category", "brand", "quantity", "line_list", "line_tax", "line_discount", "line_total", "sold_at", "clock",
            "postal_code", "street", "name", "email", "phone", "birth_date", "location_name",
        ]  # fmt: skip
        assert not columns.problems(header, columns.SALES, found)
