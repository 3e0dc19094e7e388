"""Cova's rows to neutral records. Pure functions; a row that cannot be one raises `BadRow` with a sentence.

Nothing else of a row is looked at: card digits, notes and documents never get past here. The numbers of a driver's
licence and a medical recommendation, which the sales feed carries, go no further than landing, which keeps digests.
Sources are the sections of the vendor reference; marks stand in `samples/README.md`.
"""

from datetime import timedelta
from decimal import ROUND_HALF_UP, Decimal
from typing import Any

from ..kit.errors import BadRow
from ..kit.phones import e164, email
from ..kit.records import BalanceRecord, CustomerRecord, LocationRecord, PricingGroupRecord
from ..kit.streams import Context
from ..kit.values import birth_date, flag, listed, moment, number, plausible, text
from .rows import obj, reference, row_id
from .sales import sale, sale_details
from .zones import iana

__all__ = ["balance", "customer", "location", "pricing_group", "sale", "sale_details"]

_AHEAD = timedelta(days=2)


def location(row: Any, context: Context) -> LocationRecord:
    row = obj(row)
    found = row_id(row)
    address = row.get("Address") if type(row.get("Address")) is dict else {}
    zone = row.get("TimeZone") if type(row.get("TimeZone")) is dict else {}
    phones = row.get("StorePhoneNumbers")
    first = phones[0] if type(phones) is list and phones and type(phones[0]) is dict else {}
    street = ", ".join(part for key in ("AddressLine1", "AddressLine2") if (part := text(address.get(key))))
    status = text(row.get("LocationStatus"))
    country = text(address.get("CountryCode"), 2).upper()
    return LocationRecord(
        external_id=found,
        name=text(row.get("DisplayName")) or text(row.get("Name")) or f"Location {found}",
        street=street,
        city=text(address.get("City")),
        state=text(address.get("StateCode"), 10).upper(),
        postal_code=text(address.get("Zip"), 20),
        country=country,
        phone=e164(text(first.get("Number"), 40), country or context.region),
        time_zone=iana(text(zone.get("Id")), flag(zone.get("DaylightSavingTimeEnabled"))),
        # only "Active" has been seen; a blank is not a closed store
        active=not status or status.lower() == "active",
    )


def pricing_group(row: Any, context: Context) -> PricingGroupRecord:
    row = obj(row)
    return PricingGroupRecord(
        external_id=row_id(row),
        name=text(row.get("GroupName")),
        description=text(row.get("Description")),
        deleted=flag(row.get("IsDeleted")) is True,
    )


_CENT = Decimal("0.01")


def balance(row: Any, context: Context) -> BalanceRecord:
    """A points summary (reference, Y1), with the ids of the question put in. A missing figure is none: it is not 0."""
    row = obj(row)
    found = row_id(row)
    if row.get("PointsBalance") in (None, ""):
        raise BadRow("The answer names no PointsBalance.", external_id=found)
    points = number(row["PointsBalance"], "PointsBalance").quantize(_CENT, ROUND_HALF_UP)
    return BalanceRecord(external_id=found, points=points, location_id=reference(row.get("EntityId")))


# Categories of a contact method (iQmetrix CRM documentation): 1 phone, 2 e-mail; type 3 is a mobile phone.
def _contacts(methods: Any) -> tuple[str, str]:
    """The phone and the e-mail to use, as they are written."""
    phone = mail = ""
    phone_rank = mail_rank = 9
    for method in listed(methods, "ContactMethods"):
        value = method.get("Value")
        if not value:
            continue
        category = method.get("ContactMethodCategoryId")
        if category is None:
            category = {"Phone": 1, "Email": 2}.get(method.get("ContactMethodCategory"))
        default = method.get("Default")
        chosen = default is True or (default is not None and flag(default) is True)
        if category == 1:
            # numbers 6 and 7 are fax machines
            kind = method.get("ContactMethodTypeId")
            rank = 0 if chosen else 1 if kind == 3 else 3 if kind in (6, 7) else 2
            if rank < phone_rank:
                phone, phone_rank = text(value, 60), rank
        elif category == 2:
            rank = 0 if chosen else 1
            if rank < mail_rank:
                mail, mail_rank = text(value, 254), rank
    return phone, mail


def _home(addresses: Any) -> dict[str, Any]:
    """The default address, else the home one (type 2), else the first."""
    found: dict[str, Any] = {}
    best = 9
    for address in listed(addresses, "Addresses"):
        rank = 0 if flag(address.get("Default")) else 1 if address.get("AddressTypeId") == 2 else 2
        if rank < best:
            found, best = address, rank
    return found


def customer(row: Any, context: Context) -> CustomerRecord:
    row = obj(row)
    found = row_id(row)
    changed = row.get("LastModifiedDateUtc")
    now = context.now
    modified_at = None
    if changed:
        what = "LastModifiedDateUtc"
        modified_at = plausible(moment(changed, what), what, now + _AHEAD)
    phone, mail = _contacts(row.get("ContactMethods"))
    address = _home(row.get("Addresses"))
    version = row.get("Version")
    group = row.get("PricingGroupId")
    street = text(address.get("StreetAddress1"))
    if second := text(address.get("StreetAddress2")):
        street = f"{street}, {second}" if street else second
    country = text(address.get("CountryCode"), 2).upper()
    return CustomerRecord(
        found,
        text(row.get("PrimaryName"), 100),
        text(row.get("FamilyName"), 100),
        e164(phone, context.region) if phone else "",
        phone,
        email(mail) if mail else "",
        mail,
        birth_date(row.get("DateOfBirth"), now.date()),
        street,
        text(address.get("Locality")),
        text(address.get("StateCode"), 10).upper(),
        text(address.get("PostalCode"), 20),
        country,
        text(group, 40) if group is not None else "",
        flag(row.get("DoNotContact")),
        flag(row.get("Disabled")) is True,
        reference(row.get("MergedIntoCustomerId")) if row.get("MergedIntoCustomerId") else "",
        version if type(version) is int and 0 <= version < 2**31 else 0,
        modified_at,
    )
