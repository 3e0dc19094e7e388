from datetime import UTC, date, datetime
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from integrations.kit.errors import BadRow
from integrations.kit.values import birth_date, cents, flag, moment, number, plausible, text


# Each form in which a service of Cova writes times (reference, section 2.5).
@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        ("2026-03-02T17:35:33.559628Z", datetime(2026, 3, 2, 17, 35, 33, 559628, UTC)),
        ("2026-03-02T17:35:33Z", datetime(2026, 3, 2, 17, 35, 33, tzinfo=UTC)),
        ("2026-03-02T21:55:57.207", datetime(2026, 3, 2, 21, 55, 57, 207000, UTC)),
        ("2026-03-02T23:35:00", datetime(2026, 3, 2, 23, 35, tzinfo=UTC)),
        ("2026-03-02T21:51:46.3468682Z", datetime(2026, 3, 2, 21, 51, 46, 346868, UTC)),
        ("2026-03-02T17:22:22.3627408+00:00", datetime(2026, 3, 2, 17, 22, 22, 362740, UTC)),
        ("2026-03-02T21:45:26.356666", datetime(2026, 3, 2, 21, 45, 26, 356666, UTC)),
        ("2026-03-02T12:00:00-08:00", datetime(2026, 3, 2, 20, tzinfo=UTC)),
    ],
)
def test_times(raw, expected):
    assert moment(raw, "When") == expected
    assert moment(raw, "When").tzinfo is UTC


@pytest.mark.parametrize("raw", [None, "", "soon", "2026-13-40T00:00:00", 17, True, {}, "0001-01-01T00:00:00+14:00"])
def test_unreadable_times_are_refused_with_a_sentence(raw):
    with pytest.raises(BadRow, match="When is"):
        moment(raw, "When")


def test_absurd_times():
    latest = datetime(2026, 3, 4, tzinfo=UTC)
    with pytest.raises(BadRow, match="before the year 2000"):
        plausible(datetime(1999, 12, 31, tzinfo=UTC), "When", latest)
    with pytest.raises(BadRow, match="future"):
        plausible(datetime(2026, 3, 5, tzinfo=UTC), "When", latest)


@pytest.mark.parametrize(
    ("amount", "expected"),
    [("0.005", 1), ("-0.005", -1), ("0.0049", 0), ("19.995", 2000), ("-19.995", -2000), ("1e-30", 0)],
)
def test_cents_half_away_from_zero(amount, expected):
    assert cents(Decimal(amount)) == expected


@given(st.integers(-(10**9), 10**9))
def test_cents_of_a_float_are_exact(whole):
    assert cents(number(whole / 100, "Amount")) == whole


@pytest.mark.parametrize(
    "raw", ["twelve", "NaN", "Infinity", Decimal("NaN"), float("inf"), True, [], {}, 10_000_001, "1e9", "1" * 50]
)
def test_numbers_that_are_garbage(raw):
    with pytest.raises(BadRow, match="Amount"):
        number(raw, "Amount")


@pytest.mark.parametrize(
    ("raw", "expected"),
    [("yes", True), ("Yes", True), (True, True), ("1", True), (1, True), ("No", False), ("-", False), (None, None),
     ("perhaps", None)],
)  # fmt: skip
def test_flags(raw, expected):
    assert flag(raw) is expected


@given(st.one_of(st.none(), st.text(), st.integers(), st.booleans(), st.lists(st.text()), st.characters(codec=None)))
def test_text_can_always_be_stored(raw):
    found = text(raw)
    assert "\x00" not in found
    found.encode("utf-8")
    assert len(found) <= 500


def test_birth_dates_of_nobody():
    today = date(2026, 3, 2)
    assert birth_date("1990-04-16T00:00:00", today) == date(1990, 4, 16)
    for raw in (None, "", "0001-01-01T00:00:00", "2030-01-01", "1990-99-99T", 7):
        assert birth_date(raw, today) is None
