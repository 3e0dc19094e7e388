import phonenumbers
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from integrations.kit.phones import e164, email, is_placeholder


def by_library(raw: str, region: str) -> str:
    try:
        number = phonenumbers.parse(raw, region)
    except phonenumbers.NumberParseException:
        return ""
    if not phonenumbers.is_valid_number(number):
        return ""
    return phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)


AREAS = sorted({f"{first}{rest:02}" for first in "23456789" for rest in range(100)})
plain = st.tuples(st.sampled_from(["", "1", "+1"]), st.sampled_from(AREAS), st.from_regex(r"[0-9]{7}", fullmatch=True))
digits = st.from_regex(r"\+?[0-9]{7,13}", fullmatch=True)
punctuated = st.text(alphabet="0123456789 ()-.+", min_size=1, max_size=22)


@settings(max_examples=3000, deadline=None)
@given(plain.map("".join), st.sampled_from(["US", "CA"]))
@example("8001234567", "US")
@example("+15005550006", "US")
def test_ten_digits_as_the_library_has_them(raw, region):
    assert e164(raw, region) == by_library(raw, region)


@settings(max_examples=1500, deadline=None)
@given(st.one_of(digits, punctuated), st.sampled_from(["US", "CA", "GB", "MX"]))
@example("(250) 413-9674", "CA")
@example("+2505550142", "US")
@example("1-250-413-9674", "GB")
@example("0000000000", "US")
@example("1000000000", "US")
@example("11111111111", "US")
def test_anything_else_as_the_library_has_it(raw, region):
    assert e164(raw, region) == by_library(raw, region)


def test_every_area_code_and_exchange_class_agrees():
    """Not by chance alone: each area code with each first digit of the exchange, and the exchanges of 8xx."""
    for area in AREAS:
        for exchange in ("012", "200", "345", "555", "678", "911", "999"):
            raw = f"{area}{exchange}4567"
            assert e164(raw) == by_library(raw, "US"), raw


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        ("", ""),
        ("555-0142", ""),
        ("n/a", ""),
        ("(250) 413-9674", "+12504139674"),
        ("12504139674", "+12504139674"),
        ("+44 20 7946 0958", "+442079460958"),
        ("２５０４１３９６７４", "+12504139674"),
        ("2" * 500, ""),
    ],
)
def test_known_numbers(raw, expected):
    assert e164(raw) == expected


@pytest.mark.parametrize(
    ("number", "expected"),
    [("+15555555555", True), ("+12505555555", True), ("+12505550142", False), ("", False), ("+9999999999", True)],
)
def test_placeholders(number, expected):
    assert is_placeholder(number) is expected


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (" Ada@Example.Test ", "ada@example.test"),
        ("ada@localhost", ""),
        ("ada", ""),
        ("@example.test", ""),
        ("a@b@c.test", ""),
        ("a b@c.test", ""),
        ("a@.test", ""),
        ("a@c..test", ""),
        ("a@c.test.", ""),
        ("a" * 300 + "@c.test", ""),
    ],
)
def test_emails(raw, expected):
    assert email(raw) == expected


@given(st.text(max_size=300))
def test_email_never_fails(raw):
    found = email(raw)
    assert found == "" or ("@" in found and found == found.lower())
