"""What the CRM accepts in a body: names, types, lengths and defaults of customers, addresses, contact methods.

Known [IQ]: lengths, category and type belong together, an e-mail must look like one, a state needs its country and
belongs to it, `DoNotContact` is true when omitted, only `CustomerTypeId` (and type ids inside parts) is required.
Read-only names are ignored, so that a record that was read can be sent back; any other name is refused [INF].
"""

import re
from datetime import UTC, datetime
from typing import Any

from integrations.sandbox.cova.customers import (
    ADDRESS_TYPES,
    ARRAYS,
    CATEGORIES,
    CUSTOMER_TYPES,
    METHOD_TYPES,
)
from integrations.sandbox.cova.routes import Fail
from integrations.sandbox.cova.shop import PRICING_GROUPS

KINDS = {
    "Id": "guid",
    "CustomerTypeId": "int",
    "CustomerType": "text",
    "Title": "text",
    "PrimaryName": "text",
    "AlternateName": "text",
    "MiddleName": "text",
    "FamilyName": "text",
    "ReferralSource": "text",
    "Notes": "text",
    "UniqueIdentifier": "text",
    "DateOfBirth": "date",
    "PricingGroupId": "int",
    "Disabled": "bool",
    "DoNotContact": "bool",
    "Version": "int",
    "MergedIntoCustomerId": "guid",
    "LastModifiedDateUtc": "date",
}
_LENGTHS = {
    "PrimaryName": 100,
    "FamilyName": 100,
    "MiddleName": 50,
    "AlternateName": 50,
    "Title": 50,
    "Notes": 2000,
    "ReferralSource": 255,
    "UniqueIdentifier": 255,
}
_READ_ONLY = {
    "Id",
    "Version",
    "CustomerType",
    "MergedIntoCustomerId",
    "LastModifiedDateUtc",
    "MergedCustomers",
}
_EMAIL = re.compile(r"[^@\s]+@[^@\s.]+(\.[^@\s.]+)+\Z")
_CANADA = "AB BC MB NB NL NS NT NU ON PE QC SK YT"
_STATES = (
    "AL AK AZ AR CA CO CT DE DC FL GA HI ID IL IN IA KS KY LA ME MD MA MI MN MS MO MT NE NV NH NJ NM NY NC ND "
    "OH OK OR PA RI SC SD TN TX UT VT VA WA WV WI WY"
)
_COUNTRIES = {
    "CA": ("Canada", set(_CANADA.split())),
    "US": ("United States", set(_STATES.split())),
}
_PROVINCES = {"BC": "British Columbia", "AB": "Alberta", "SK": "Saskatchewan", "ON": "Ontario"}
_ADDRESS_TEXTS = (
    "Locality",
    "PostalCode",
    "PostOfficeBoxNumber",
    "StreetAddress1",
    "StreetAddress2",
    "AttentionTo",
    "Phone",
    "Notes",
)


def comparable(value: Any, prop: str, modified: int) -> Any:
    """A light field as a filter compares it."""
    if prop == "LastModifiedDateUtc":
        return datetime.fromtimestamp(modified / 1000, UTC)
    if KINDS[prop] == "date" and value is not None:
        return datetime.fromisoformat(value).replace(tzinfo=UTC)
    return value


def light(body: dict[str, Any], *, with_arrays: bool) -> dict[str, Any]:
    """The writable fields of a customer body, checked; those left out are not in the answer."""
    _known(body, set(KINDS) | _READ_ONLY | (set(ARRAYS) if with_arrays else set()))
    if body.get("CustomerTypeId") not in CUSTOMER_TYPES or isinstance(body["CustomerTypeId"], bool):
        raise Fail(400, "CustomerTypeId is required")
    row: dict[str, Any] = {"CustomerTypeId": body["CustomerTypeId"]}
    row["CustomerType"] = CUSTOMER_TYPES[body["CustomerTypeId"]]
    for name, most in _LENGTHS.items():
        if name in body:
            row[name] = _text(body, name, most)
            if row[name] is None and name != "ReferralSource":
                row[name] = ""
    for name in ("Disabled", "DoNotContact"):
        if body.get(name) is not None:
            row[name] = _flag(body, name, False)
    if body.get("DateOfBirth") is not None:
        row["DateOfBirth"] = _birth(body["DateOfBirth"])
    group = body.get("PricingGroupId")
    if group is not None:
        if isinstance(group, bool) or group not in [known["Id"] for known in PRICING_GROUPS]:
            raise Fail(400, "The pricing group does not exist")
        row["PricingGroupId"] = group
    return row


def contact(body: Any, owner: str, identity: str, *, owned: bool = False) -> dict[str, Any]:
    """A contact method; `owned` demands `CustomerId`, as the call for a single one does."""
    read_only = {"Id", "Version", "ContactMethodCategory", "ContactMethodType"}
    writable = {
        "CustomerId",
        "ContactMethodCategoryId",
        "ContactMethodTypeId",
        "Value",
        "Default",
        "DoNotContact",
    }
    _known(body, read_only | writable | {"Notes"})
    _owner(body, owner, owned)
    category, kind = body.get("ContactMethodCategoryId"), body.get("ContactMethodTypeId")
    if category not in CATEGORIES or kind not in METHOD_TYPES or METHOD_TYPES[kind][0] != category:
        raise Fail(400, "ContactMethodCategoryId and ContactMethodTypeId are required and must belong together")
    value = _text(body, "Value", 255)
    if category == 2 and not _EMAIL.match(value or ""):
        raise Fail(400, "Value is not an email address")
    return {
        "Id": identity,
        "CustomerId": owner,
        "ContactMethodCategoryId": category,
        "ContactMethodCategory": CATEGORIES[category],
        "ContactMethodTypeId": kind,
        "ContactMethodType": METHOD_TYPES[kind][1],
        "Value": value or "",
        "Default": _flag(body, "Default", False),
        "DoNotContact": _flag(body, "DoNotContact", True),
        "Notes": _text(body, "Notes", 2000),
        "Version": 1,
    }


def address(body: Any, owner: str, identity: str, *, owned: bool = False) -> dict[str, Any]:
    """An address; `owned` demands `CustomerId`."""
    read_only = {"Id", "Version", "AddressType", "Country", "State"}
    writable = {"CustomerId", "AddressTypeId", "CountryCode", "StateCode", "Email", "Default", "DoNotContact"}
    _known(body, read_only | writable | set(_ADDRESS_TEXTS))
    _owner(body, owner, owned)
    kind = body.get("AddressTypeId")
    if kind not in ADDRESS_TYPES:
        raise Fail(400, "AddressTypeId is required")
    country, state = body.get("CountryCode") or None, body.get("StateCode") or None
    if country is not None and country not in _COUNTRIES:
        raise Fail(400, "CountryCode is not known")
    if state is not None and (country is None or state not in _COUNTRIES[country][1]):
        raise Fail(400, "StateCode needs a CountryCode it belongs to")
    email = _text(body, "Email", 255)
    if email and not _EMAIL.match(email):
        raise Fail(400, "Email is not an email address")
    texts = {name: _text(body, name, 255) for name in _ADDRESS_TEXTS}
    return {
        "Id": identity,
        "CustomerId": owner,
        "AddressTypeId": kind,
        "AddressType": ADDRESS_TYPES[kind],
        "Default": _flag(body, "Default", False),
        "DoNotContact": _flag(body, "DoNotContact", True),
        "CountryCode": country,
        "Country": country and _COUNTRIES[country][0],
        "Locality": texts["Locality"],
        "StateCode": state,
        "State": state and _PROVINCES.get(state, state),
        "PostalCode": texts["PostalCode"],
        "PostOfficeBoxNumber": texts["PostOfficeBoxNumber"],
        "StreetAddress1": texts["StreetAddress1"],
        "StreetAddress2": texts["StreetAddress2"],
        "AttentionTo": texts["AttentionTo"],
        "Email": email,
        "Phone": texts["Phone"],
        "Notes": texts["Notes"],
        "Version": 1,
    }


def extension(body: Any, owner: str, identity: str) -> dict[str, Any]:
    """A typed custom property; the two types that are public."""
    _known(
        body,
        {"Id", "CustomerId", "ExtensionTypeId", "ExtensionType", "ExtensionTypeFeature", "Value", "Version"},
    )
    names = {7: "CardNumber", 6: "DispensaryCustomerType"}
    kind = body.get("ExtensionTypeId")
    if kind not in names:
        raise Fail(400, "ExtensionTypeId is not known")
    return {
        "Id": identity,
        "CustomerId": owner,
        "ExtensionTypeId": kind,
        "ExtensionType": names[kind],
        "ExtensionTypeFeature": "Dispensary",
        "Value": _text(body, "Value", 255) or "",
        "Version": 1,
    }


def _known(body: Any, names: set[str]) -> None:
    if not isinstance(body, dict):
        raise Fail(400, "The request is invalid.")
    strange = sorted(set(body) - names)
    if strange:
        raise Fail(400, f"Unknown property {strange[0]}")


def _owner(body: dict[str, Any], owner: str, owned: bool) -> None:
    given = body.get("CustomerId")
    if (owned or given is not None) and str(given).lower() != owner:
        raise Fail(400, "CustomerId is required and must match the customer")


def _text(body: dict[str, Any], name: str, most: int) -> str | None:
    value = body.get(name)
    if value is None:
        return None
    if not isinstance(value, str):
        raise Fail(400, f"{name} must be a text")
    if len(value) > most:
        raise Fail(400, f"{name} is longer than {most} characters")
    return value


def _flag(body: dict[str, Any], name: str, default: bool) -> bool:
    value = body.get(name)
    if value is None:
        return default
    if not isinstance(value, bool):
        raise Fail(400, f"{name} must be true or false")
    return value


def _birth(value: Any) -> str:
    try:
        return datetime.fromisoformat(str(value)).strftime("%Y-%m-%dT00:00:00")
    except ValueError:
        raise Fail(400, "DateOfBirth is not a date") from None
