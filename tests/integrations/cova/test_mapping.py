"""Sample in, record out."""

import json
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import integrations.cova
from integrations.cova import mapping
from integrations.cova.card import CARD
from integrations.cova.zones import IANA, iana
from integrations.kit.errors import BadRow
from integrations.kit.pages import rows_in
from integrations.kit.records import CustomerRecord, LocationRecord, PricingGroupRecord
from integrations.kit.streams import Context

SAMPLES = Path(integrations.cova.__file__).parent / "samples"
NOW = datetime(2026, 3, 3, 12, tzinfo=UTC)
CONTEXT = Context(now=NOW, identity="501200", currency="CAD")
ADA = "6d2f0b6e-53a4-4a5c-9f0e-3c1c9f7a1b20"
SALE = "3f0d7a52-8b61-4f7b-9a34-6f0a4d8c1e11"


def sample(name):
    found = json.loads((SAMPLES / f"{name}.json").read_text(), parse_float=Decimal)
    return found[0] if isinstance(found, list) else found


PLAIN_CUSTOMER = CustomerRecord(
    external_id=ADA,
    first_name="Ada",
    last_name="Moss",
    phone="+12504139674",
    phone_raw="(250) 413-9674",
    email="ada@example.test",
    email_raw="Ada@Example.test",
    birth_date=date(1991, 5, 17),
    street="9 Pine St, Unit 2",
    city="Kelowna",
    state="BC",
    postal_code="V1Y 1A1",
    country="CA",
    pricing_group="41",
    do_not_contact=False,
    version=3,
    modified_at=datetime(2026, 3, 2, 18, 4, 11, 317000, UTC),
)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("plain", PLAIN_CUSTOMER),
        (
            "merged",
            CustomerRecord(
                external_id="8a1c0b6e-53a4-4a5c-9f0e-3c1c9f7a1b21",
                first_name="Ada",
                last_name="Moss",
                birth_date=date(1991, 5, 17),
                do_not_contact=True,
                disabled=True,
                merged_into=ADA,
                version=7,
                modified_at=PLAIN_CUSTOMER.modified_at,
            ),
        ),
        (
            "no_birth_date",
            PLAIN_CUSTOMER._replace(
                birth_date=None,
                do_not_contact=None,
                phone="",
                phone_raw="555-0142",
                email="",
                email_raw="none",
                street="9 Pine St",
            ),
        ),
    ],
)
def test_customers(name, expected):
    assert mapping.customer(sample(f"customer_full__{name}"), CONTEXT) == expected


def test_customers_in_hal():
    assert [mapping.customer(row, CONTEXT) for row in rows_in(sample("customer_full__hal"), "Customers")] == [
        PLAIN_CUSTOMER
    ]
    assert rows_in(sample("customer_full__hal_empty"), "Customers") == []


@pytest.mark.parametrize(
    ("methods", "phone", "email"),
    [
        ([(1, 1, "1", False), (1, 3, "2", False), (1, 1, "3", True)], "3", ""),
        ([(1, 1, "1", False), (1, 3, "2", False)], "2", ""),
        ([(1, 6, "1", False), (1, 1, "2", False), (1, 2, "3", False)], "2", ""),
        ([(2, 9, "a@b.test", False), (2, 10, "c@d.test", True)], "", "c@d.test"),
        ([(3, 12, "https://x.test", True), (1, 3, None, True), (1, 3, "4", False)], "4", ""),
    ],
)
def test_which_contact_counts(methods, phone, email):
    row = sample("customer_full__plain")
    row["ContactMethods"] = [
        {"ContactMethodCategoryId": c, "ContactMethodTypeId": t, "Value": v, "Default": d} for c, t, v, d in methods
    ]
    found = mapping.customer(row, CONTEXT)
    assert (found.phone_raw, found.email) == (phone, email)


def test_locations():
    assert mapping.location(sample("locations__plain"), CONTEXT) == LocationRecord(
        external_id="501210",
        name="Harbour Cannabis",
        street="12 Harbour Rd",
        city="Kelowna",
        state="BC",
        postal_code="V1Y 1A1",
        country="CA",
        phone="+12504139600",
        time_zone="America/Los_Angeles",
    )
    assert mapping.location(sample("locations__closed"), CONTEXT) == LocationRecord(
        external_id="501211", name="Old Mill", time_zone="America/Regina", active=False
    )


def test_pricing_groups():
    rows = json.loads((SAMPLES / "pricing_groups__plain.json").read_text())
    assert [mapping.pricing_group(row, CONTEXT) for row in rows] == [
        PricingGroupRecord("41", "Members", "Loyalty members"),
        PricingGroupRecord("42", "Staff", deleted=True),
    ]


@pytest.mark.parametrize("parse", [stream.parse for stream in CARD.streams])
@pytest.mark.parametrize("row", [None, 7, "row", [], [{}], {}, {"Id": ""}])
def test_what_is_no_row_is_refused(parse, row):
    with pytest.raises(BadRow):
        parse(row, CONTEXT)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.decimals(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


@settings(max_examples=500, deadline=None)
@given(st.data())
def test_any_garbage_is_a_record_or_a_bad_row(data):
    """Any value in any place: never another exception, and never text the database cannot store."""
    name, parse = data.draw(
        st.sampled_from(
            [
                ("customer_full__plain", mapping.customer),
                ("sale__plain", mapping.sale),
                ("sale__refund", mapping.sale),
                ("locations__plain", mapping.location),
                ("pricing_groups__plain", mapping.pricing_group),
                (
                    "sale_details__plain",
                    lambda row, context: mapping.sale_details(mapping.sale(sample("sale__plain"), context), row),
                ),
            ]
        )
    )
    row = sample(name)
    place = row
    while True:
        key = data.draw(st.sampled_from(sorted(place) if isinstance(place, dict) else range(len(place))))
        if not isinstance(place[key], dict | list) or not place[key] or data.draw(st.booleans()):
            break
        place = place[key]
    place[key] = data.draw(json_values)
    try:
        record = parse(row, CONTEXT)
    except BadRow as refused:
        assert refused.reason.endswith(".")
    else:
        repr(record).encode("utf-8")
        assert "\x00" not in "".join(str(part) for part in record)


def test_nothing_private_gets_through():
    row = sample("sale__plain")
    record = mapping.sale_details(mapping.sale(row, CONTEXT), sample("sale_details__plain"))
    assert record.government_id == "DL-0000"  # its number goes as far as landing, which keeps a digest of it
    assert "DL-0000" not in repr(record._replace(government_id="")) and "4242" not in repr(record)
    assert "mornings" not in repr(mapping.customer(sample("customer_full__plain"), CONTEXT))


def test_zones():
    from zoneinfo import ZoneInfo

    for name in IANA.values():
        ZoneInfo(name)
    assert iana("Pacific Standard Time") == "America/Los_Angeles"
    assert iana("Mountain Standard Time", False) == "America/Phoenix"
    assert iana("America/Toronto") == "America/Toronto"
    assert iana("Middle Earth Standard Time") == ""
    assert iana("") == ""


def test_each_sample_has_its_source():
    listed = (SAMPLES / "README.md").read_text()
    for path in SAMPLES.glob("*.json"):
        stem, _, case = path.stem.partition("__")
        assert path.stem in listed or f"`__{case}`" in listed or f"{stem}__*" in listed, path.name
