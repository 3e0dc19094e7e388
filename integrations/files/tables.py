"""Tables from outside as rows of text: CSV and XLSX, streamed, and never trusted.

A body is a seekable binary file; nothing here reads it whole. Formulas are never evaluated: of a workbook the values
that the spreadsheet stored are taken. A workbook that unpacks to more than `UNPACKED` bytes is refused before it is
unpacked: `zipfile` reads no more of a member than its directory declares.
"""

import codecs
import csv
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from datetime import date, datetime, time
from typing import Any, BinaryIO, NamedTuple

from openpyxl import load_workbook
from openpyxl.utils.exceptions import InvalidFileException

UNPACKED = 300 * 2**20
RATIO = 200  # a table of text is seldom packed better than 20 to 1
MEMBERS = 2_000
SHEET_ROWS = 200_000  # a workbook has no place to go on from: a later slice reads its beginning again
COLUMNS = 200
LONGEST_LINE = 256 * 1024
LONGEST_CELL = 10_000
HEAD = 64 * 1024
SEPARATORS = (",", ";", "\t", "|")
LINE_ENDS = (b"\n", b"\r")


class NotATable(Exception):
    """The file cannot be read as a table; the message is a sentence for whoever sent it."""


@dataclass(frozen=True)
class Shape:
    """How a file is written. JSON through `as_json`, back through `Shape(**json)`."""

    form: str  # "csv" or "xlsx"
    encoding: str = ""  # "utf-8" or "cp1252"
    separator: str = ""
    line_end: str = "\n"
    header: tuple[str, ...] = ()
    start: int = 0  # the first row of data: a byte of a CSV, a row of a workbook

    def __post_init__(self) -> None:
        object.__setattr__(self, "header", tuple(self.header))

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


class Row(NamedTuple):
    number: int  # as the file counts, the header is 1
    cells: list[str]
    after: int  # where the next row begins: a byte of a CSV, a row of a workbook
    problem: str = ""  # why these cells are no row


def is_workbook(head: bytes) -> bool:
    return head.startswith(b"PK\x03\x04")


def look(body: BinaryIO) -> Shape:
    """How the file is written, from its head and, for the encoding, from all of it. Raises `NotATable`."""
    body.seek(0)
    head = body.read(HEAD)
    if not head.strip():
        raise NotATable("The file is empty.")
    if is_workbook(head):
        return _look_xlsx(body)
    if head.startswith(b"\xd0\xcf\x11\xe0"):
        raise NotATable("This is an old Excel file, or one with a password. Save it as XLSX or CSV.")
    if head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise NotATable("This is a UTF-16 text. Save it as “CSV UTF-8”.")
    if b"\x00" in head:
        raise NotATable("This is not a table: send CSV or XLSX.")
    return _look_csv(body, head)


def rows(
    body: BinaryIO, shape: Shape, *, position: int = 0, number: int = 1, skipping: Callable[[], None] | None = None
) -> Iterator[Row]:
    """Rows of data from a position (0: the first). `number` is that of the last row before it. Raises `NotATable`.

    `skipping` is called for each row of a workbook that is read again only to get to the position.
    """
    if shape.form == "xlsx":
        yield from _xlsx_rows(body, shape, max(position, shape.start), skipping)
    else:
        yield from _csv_rows(body, shape, max(position, shape.start), number)


# CSV


def _look_csv(body: BinaryIO, head: bytes) -> Shape:
    encoding = _encoding(body)
    start = len(codecs.BOM_UTF8) if head.startswith(codecs.BOM_UTF8) else 0
    line_end = "\n" if b"\n" in head or b"\r" not in head else "\r"
    first = head[start:].split(line_end.encode())[0].decode(encoding, "replace")
    if first.lower().startswith("sep=") and len(first.strip()) == 5:  # Excel's own way to say it
        separator, start = first[4], start + len(first.encode(encoding)) + 1
    else:
        separator = _separator(first)
    whole = Shape("csv", encoding, separator, line_end, (), start)
    for row in _csv_rows(body, whole, start, 0):
        if row.problem:
            raise NotATable(f"The first row cannot be read: {row.problem}")
        if any(row.cells):
            return Shape("csv", encoding, separator, line_end, _header(row.cells), row.after)
    raise NotATable("The file has no row with names of columns.")


def _encoding(body: BinaryIO) -> str:
    decoder = codecs.getincrementaldecoder("utf-8")()
    body.seek(0)
    try:
        while piece := body.read(2**20):
            decoder.decode(piece)
        decoder.decode(b"", final=True)
    except UnicodeDecodeError:
        return "cp1252"
    return "utf-8"


def _separator(line: str) -> str:
    counts = dict.fromkeys(SEPARATORS, 0)
    quoted = False
    for letter in line:
        if letter == '"':
            quoted = not quoted
        elif not quoted and letter in counts:
            counts[letter] += 1
    return max(SEPARATORS, key=lambda one: counts[one])


def _header(cells: list[str]) -> tuple[str, ...]:
    """Names of columns; a blank one is called by its place, one that comes twice gets a number."""
    if len(cells) > COLUMNS:
        raise NotATable(f"The file has more than {COLUMNS} columns.")
    seen: dict[str, int] = {}
    names = []
    for number, cell in enumerate(cells, 1):
        name = " ".join(cell.split())[:100] or f"Column {number}"
        seen[name] = seen.get(name, 0) + 1
        names.append(name if seen[name] == 1 else f"{name} ({seen[name]})")
    return tuple(names)


class _Lines:
    """Lines of a body as text, counting the bytes of those that were given out."""

    def __init__(self, body: BinaryIO, shape: Shape, position: int) -> None:
        self.body, self.shape, self.at = body, shape, position
        self.end = shape.line_end.encode()
        self.left = b""
        self.too_long = False
        body.seek(position)

    def __iter__(self) -> "_Lines":
        return self

    def __next__(self) -> str:
        while (found := self.left.find(self.end)) < 0:
            piece = self.body.read(HEAD)
            if not piece:
                break
            self.left += piece
            if len(self.left) > LONGEST_LINE and self.end not in self.left:
                self.too_long = True
                self._skip()
                return ""
        if not self.left:
            raise StopIteration
        size = found + 1 if found >= 0 else len(self.left)
        line, self.left = self.left[:size], self.left[size:]
        self.at += size
        text = line.decode(self.shape.encoding, "replace").replace("\x00", "")
        return text.rstrip("\r\n") + "\n" if text.endswith(("\n", "\r")) else text

    def _skip(self) -> None:
        """Past the end of a line that is too long, keeping none of it."""
        self.at += len(self.left)
        self.left = b""
        while piece := self.body.read(HEAD):
            found = piece.find(self.end)
            if found >= 0:
                self.at += found + 1
                self.left = piece[found + 1 :]
                return
            self.at += len(piece)


def _csv_rows(body: BinaryIO, shape: Shape, position: int, number: int) -> Iterator[Row]:
    while True:
        lines = _Lines(body, shape, position)
        reader = csv.reader(lines, delimiter=shape.separator, strict=True)
        began = position
        try:
            for cells in reader:
                if lines.at - began > LONGEST_LINE and not lines.too_long:
                    raise csv.Error("quote")
                began = lines.at
                number += 1
                problem = ""
                if lines.too_long:
                    lines.too_long, problem, cells = False, "This line is too long to be a row.", []
                elif any(len(cell) > LONGEST_CELL for cell in cells):
                    problem, cells = f"A cell is longer than {LONGEST_CELL:,} characters.", []
                yield Row(number, [unquoted(cell) for cell in cells], lines.at, problem)
            return
        except csv.Error:
            # A quotation mark that is never closed swallows what follows: this line is no row, the next may be one.
            once = _Lines(body, shape, began)
            text = next(once, "")
            position = once.at
            number += 1
            if not text:
                return
            cut = [cell[:200] for cell in text.rstrip("\n").split(shape.separator)][:COLUMNS]
            yield Row(number, cut, position, "The quotation marks in this row do not match.")


def unquoted(cell: str) -> str:
    """Without blanks, and without the formula that keeps a spreadsheet from eating zeros: `="0604"` is 0604."""
    cell = cell.strip()
    if cell.startswith('="') and cell.endswith('"') and len(cell) > 2:
        return cell[2:-1].replace('""', '"')
    if cell.startswith("'") and cell[1:2] in ("=", "+", "-", "@", "0"):
        return cell[1:]
    return cell


# XLSX


def _checked(body: BinaryIO) -> None:
    """Refuse what would unpack to more than a table can be."""
    try:
        body.seek(0, 2)
        size = body.tell()
        body.seek(0)
        members = zipfile.ZipFile(body).infolist()
    except (zipfile.BadZipFile, NotImplementedError, ValueError, OSError):
        raise NotATable("The workbook is damaged. Save it again, or send CSV.") from None
    unpacked = sum(one.file_size for one in members)
    if len(members) > MEMBERS or unpacked > UNPACKED or unpacked > max(size, 50_000) * RATIO:
        raise NotATable("The workbook unpacks to far more than it should, so it was not opened. Send CSV.")
    if any(one.flag_bits & 1 for one in members):
        raise NotATable("The workbook has a password. Save it without one.")


def _sheet(body: BinaryIO) -> tuple[Any, Any]:
    _checked(body)
    try:
        # data_only: the stored value of a formula, not the formula. Links to other files are not followed.
        book = load_workbook(body, read_only=True, data_only=True, keep_links=False)
    except (InvalidFileException, KeyError, ValueError, zipfile.BadZipFile, OSError, SyntaxError, TypeError):
        raise NotATable("This is no workbook that can be read. Save it as XLSX or CSV.") from None
    sheets = [one for one in book.worksheets if getattr(one, "sheet_state", "visible") == "visible"]
    if not sheets:
        raise NotATable("The workbook has no visible sheet.")
    sheet = sheets[0]
    sheet.reset_dimensions()  # what the file says of its size is not believed
    return book, sheet


def _look_xlsx(body: BinaryIO) -> Shape:
    for at, cells in _sheet_rows(body, COLUMNS + 1):
        if any(cells):
            while cells and not cells[-1]:
                cells.pop()
            return Shape("xlsx", header=_header(cells), start=at)
    raise NotATable("The first sheet of the workbook is empty.")


def _sheet_rows(
    body: BinaryIO, wide: int, position: int = 0, skipping: Callable[[], None] | None = None
) -> Iterator[tuple[int, list[str]]]:
    book, sheet = _sheet(body)
    try:
        for at, values in enumerate(sheet.iter_rows(values_only=True, max_col=wide), 1):
            if at > SHEET_ROWS:
                raise NotATable(f"The workbook has more than {SHEET_ROWS:,} rows. Save it as CSV.")
            if at <= position:
                if skipping:
                    skipping()
                continue
            yield at, [written(value) for value in values]
    except (KeyError, ValueError, zipfile.BadZipFile, OSError, SyntaxError, TypeError, EOFError):
        raise NotATable("The workbook is damaged. Save it again, or send CSV.") from None
    finally:
        book.close()


def _xlsx_rows(
    body: BinaryIO, shape: Shape, position: int, skipping: Callable[[], None] | None = None
) -> Iterator[Row]:
    for at, cells in _sheet_rows(body, len(shape.header), position, skipping):
        if any(len(cell) > LONGEST_CELL for cell in cells):
            yield Row(at, [], at, f"A cell is longer than {LONGEST_CELL:,} characters.")
            continue
        yield Row(at, cells, at)


def written(value: Any) -> str:
    """A cell's value as text: whole numbers without a point, days as 2026-03-01, never a formula's result of ours."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, datetime):
        return value.date().isoformat() if value.time() == time() else value.isoformat(sep=" ", timespec="seconds")
    if isinstance(value, date | time):
        return value.isoformat()
    if isinstance(value, float):
        return str(int(value)) if value.is_integer() and abs(value) < 1e15 else repr(value)
    return str(value).replace("\x00", "").strip()
