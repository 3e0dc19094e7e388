"""What people and spreadsheets write into cells: numbers, days, times, yes and no. `BadRow` when it is garbage."""

import re
from collections.abc import Iterable
from datetime import date, datetime, timedelta
from decimal import Decimal, InvalidOperation
from zoneinfo import ZoneInfo

from ..kit.errors import BadRow
from ..kit.values import number as exact

EPOCH = date(1899, 12, 30)  # day 0 of Excel's calendar, with its leap year 1900
_SERIAL = re.compile(r"\d{5}(\.\d+)?")
_PLAIN = re.compile(r"[+-]?\d+\.?\d*([eE][+-]?\d{1,2})?")
_AROUND = re.compile(
    r"[\s\u00a0\u202f'’]|[A-Za-z]{0,3}[$€£¥]|^[A-Za-z]{2,3}(?=\s|[\d-])|(?<=[\d\s])[A-Za-z]{2,3}$"
)  # currencies
_SCIENTIFIC = re.compile(r"(\d)(?:[.,](\d+))?[eE]\+?(\d{1,2})")
_DAY = re.compile(r"(\d{1,4})[-/. ](\d{1,2}|[A-Za-z]{3,9})[-/. ,]+(\d{2,4})")
_NAMED = re.compile(r"([A-Za-z]{3,9})\.? (\d{1,2}),? (\d{4})")
_MONTHS = {name: at for at, name in enumerate(
    ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"), 1)}  # fmt: skip
ORDERS = {"mdy": "month first (12/31/2026)", "dmy": "day first (31/12/2026)", "ymd": "year first (2026-12-31)"}
_YES = {"true", "yes", "y", "1", "x", "on", "t"}
_NO = {"false", "no", "n", "0", "off", "f", "-"}


def number(raw: str, what: str) -> Decimal:
    """An exact number however it is written: $1,234.50, 1.234,50, (12.00), 12-, 1 234. A blank is 0."""
    text = raw.strip()
    if not text:
        return Decimal(0)
    negative = text.startswith("(") and text.endswith(")") or text.endswith("-")
    text = text.strip("()").rstrip("-").strip()
    if not _PLAIN.fullmatch(text):
        text = _AROUND.sub("", text)
        if re.search(r"[^\d.,+-]", text):
            raise BadRow(f"{what} is not a number: {raw[:40]}")
    points, commas = text.count("."), text.count(",")
    if points and commas:
        decimal = max(text.rfind("."), text.rfind(","))
        text = re.sub(r"[.,]", "", text[:decimal]) + "." + text[decimal + 1 :]
    elif commas:
        whole, _, rest = text.rpartition(",")
        # 1,234 is a thousand, 12,5 and 12,50 are decimals; 1,234,567 has no decimals.
        text = text.replace(",", "") if commas > 1 or len(rest) == 3 and whole.strip("+-") != "0" else f"{whole}.{rest}"
    elif points > 1:
        text = text.replace(".", "")
    try:
        found = Decimal(text)
    except InvalidOperation:
        raise BadRow(f"{what} is not a number: {raw[:40]}") from None
    return exact(-abs(found) if negative else found, what)


def digits(raw: str) -> str:
    """A phone or an id that a spreadsheet took for a number: 6045550123.0 and 6.045550123E9 are 6045550123.

    A number that was shortened for good (6.0455E+09) stays as it is: what is missing cannot be known.
    """
    text = raw.strip()
    if text.endswith(".0") and text[:-2].lstrip("-").isdigit():
        return text[:-2]
    if found := _SCIENTIFIC.fullmatch(text):
        first, rest, power = found[1], found[2] or "", int(found[3])
        if len(rest) <= power <= 20 and len(rest) >= power - 1:
            return (first + rest).ljust(power + 1, "0")
    return text


def flag(raw: str) -> bool | None:
    """True, False, or None when it is blank or another word."""
    word = raw.strip().lower()
    return True if word in _YES else False if word in _NO else None


def guess_order(samples: Iterable[str], *, country: str = "US") -> str:
    """In which order days are written: told by a day above 12, else the year first, else the country's habit."""
    for raw in samples:
        found = _DAY.match(raw.strip())
        if not found:
            continue
        first, second = found[1], found[2]
        if len(first) == 4:
            return "ymd"
        if first.isdigit() and int(first) > 12:
            return "dmy"
        if second.isdigit() and int(second) > 12:
            return "mdy"
    return "mdy" if country in ("US", "CA", "") else "dmy"


def day(raw: str, what: str, order: str) -> date | None:
    """A day, or None when it is blank. Raises `BadRow` when it is none, or not written in this order."""
    text = raw.strip()
    if not text:
        return None
    try:
        if _SERIAL.fullmatch(text):
            return EPOCH + timedelta(days=int(float(text)))
        if len(text) == 8 and text.isdigit():
            return date(int(text[:4]), int(text[4:6]), int(text[6:]))
        if found := _NAMED.match(text):
            return date(int(found[3]), _MONTHS[found[1][:3].lower()], int(found[2]))
        if found := _DAY.match(text):
            return _ordered(found[1], found[2], found[3], order)
    except (ValueError, KeyError, OverflowError):
        pass
    raise BadRow(f"{what} is not a day: {raw[:40]}")


def _ordered(first: str, second: str, third: str, order: str) -> date:
    if not second.isdigit():
        return date(_year(third), _MONTHS[second[:3].lower()], int(first))
    if len(first) == 4:
        return date(int(first), int(second), int(third))
    month, on = (int(second), int(first)) if order == "dmy" else (int(first), int(second))
    return date(_year(third), month, on)


def _year(text: str) -> int:
    year = int(text)
    return year if year > 99 else 2000 + year if year < 50 else 1900 + year


_CLOCK = re.compile(r"(\d{1,2}):(\d{2})(?::(\d{2})(?:\.\d+)?)?\s*([AaPp])?\.?[Mm]?\.?")


def moment(raw: str, clock: str, what: str, order: str, zone: ZoneInfo) -> datetime | None:
    """A time in UTC, from one cell or from a day and a clock time; without a zone it is `zone`'s. None when blank."""
    text = " ".join(raw.split())
    if not text:
        return None
    if text.isdecimal() and len(text) in (10, 13):  # seconds or milliseconds since 1970
        return datetime.fromtimestamp(int(text[:10]), ZoneInfo("UTC"))
    try:
        found = datetime.fromisoformat(text.replace(" UTC", "+00:00"))
        if found.tzinfo is not None:
            return found.astimezone(ZoneInfo("UTC"))
    except ValueError:
        pass
    on = day(text, what, order)
    assert on is not None
    at = datetime(on.year, on.month, on.day)
    if _SERIAL.fullmatch(text):
        at += timedelta(seconds=round(float(text) % 1 * 86400))
    if told := _CLOCK.search(clock) or _CLOCK.search(text):
        hour, half = int(told[1]), (told[4] or "").lower()
        hour = hour % 12 + (12 if half == "p" else 0) if half else hour
        try:
            at = at.replace(hour=hour, minute=int(told[2]), second=int(told[3] or 0))
        except ValueError:
            raise BadRow(f"{what} is not a time: {(clock or raw)[:40]}") from None
    elif clock.strip():
        try:
            share = float(clock)
        except ValueError:
            raise BadRow(f"{what} is not a time: {clock[:40]}") from None
        at += timedelta(seconds=round(share % 1 * 86400))
    return at.replace(tzinfo=zone).astimezone(ZoneInfo("UTC"))
