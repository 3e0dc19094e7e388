"""Invented customers with the untidiness of a real book: shared and bad phones, mixed-case e-mails, merges.

Phones lie in exchange 555 and above, e-mails in reserved domains. Shares: 1 % share a phone with another, a
placeholder number stands on 0.3 % (at least 3 of 50), 1 % have a bad phone, 8 % an e-mail only, 20 % no birth date,
15 % were edited, 1 % are disabled, 0.5 % are merged into another.
"""

from random import Random
from typing import Any

from integrations.sandbox.cova.customers import ADDRESS_TYPES, CATEGORIES, METHOD_TYPES, Customer
from integrations.sandbox.cova.trading import guid

DAY_MS = 86_400_000
PLACEHOLDER = "5555555555"
_AREAS = ("250", "604", "778", "236", "672", "403", "587", "780", "825", "368")
_BAD = ("123", "n/a", "250-555-01", "none", "0000000000", "12345678901234567", "call first", "555 0142 ext")
_FORMS = (
    "+1{0}{1}{2}",
    "{0}{1}{2}",
    "({0}) {1}-{2}",
    "{0}-{1}-{2}",
    "1-{0}-{1}-{2}",
    "{0}.{1}.{2}",
    "+1 {0} {1} {2}",
)
_FIRST_TEXT = (
    "Ada Ben Cara Dev Elin Finn Gita Hugo Ines Jonah Kaya Leo Mina Niko Odile Pavel Rhea Sami Tess Umar "
    "Vera Wyatt Xenia Yusuf Zoe Amos Bea Colm Dara Esme Faye Glen Hana Ivor Juno Kofi Lena Milo Nell Otis "
    "Petra Rory Suki Theo Ula Vito Wren Yara Zeno Alma"
)
_FIRST = _FIRST_TEXT.split()
_LAST_TEXT = (
    "Moss Ash Brook Croft Dale Elder Fern Glade Heath Inlet Juniper Knoll Larch Marsh North Oakes Pike "
    "Quill Reed Shaw Thorn Underhill Vance Wold Yarrow Zeal Alder Bracken Cobb Drift Eddy Frost Gale "
    "Hollis Isley Jarvis Kestrel Linden Mallow Nettle Orchard Perch Rowan Sorrel Tarn Upton Vetch Willow "
    "Yates Burr"
)
_LAST = _LAST_TEXT.split()
_CITIES = {
    "BC": ("British Columbia", ("Kelowna", "Victoria", "Nelson", "Cranbrook"), "V1Y"),
    "AB": ("Alberta", ("Calgary", "Canmore", "Lethbridge"), "T2P"),
    "SK": ("Saskatchewan", ("Regina", "Saskatoon"), "S4P"),
    "ON": ("Ontario", ("Ottawa", "Guelph"), "K1A"),
}


def contact(
    rng: Random, owner: str, category: int, kind: int, value: str, default: bool, quiet: bool
) -> dict[str, Any]:
    """A contact method in the vendor's shape."""
    return {
        "Id": guid(rng),
        "CustomerId": owner,
        "ContactMethodCategoryId": category,
        "ContactMethodCategory": CATEGORIES[category],
        "ContactMethodTypeId": kind,
        "ContactMethodType": METHOD_TYPES[kind][1],
        "Value": value,
        "Default": default,
        "DoNotContact": quiet,
        "Notes": None,
        "Version": 1,
    }


def address(rng: Random, owner: str, state: str, street: str) -> dict[str, Any]:
    """A default home address in the vendor's shape."""
    name, cities, postal = _CITIES.get(state, (state, ("Kelowna",), "V1Y"))
    return {
        "Id": guid(rng),
        "CustomerId": owner,
        "AddressTypeId": 2,
        "AddressType": ADDRESS_TYPES[2],
        "Default": True,
        "DoNotContact": True,
        "CountryCode": "CA",
        "Country": "Canada",
        "Locality": cities[int(len(cities) * rng.random())],
        "StateCode": state,
        "State": name,
        "PostalCode": f"{postal} {int(10 * rng.random())}A{int(10 * rng.random())}",
        "PostOfficeBoxNumber": None,
        "StreetAddress1": street,
        "StreetAddress2": "",
        "AttentionTo": None,
        "Email": None,
        "Phone": None,
        "Notes": None,
        "Version": 1,
    }


def blank_light(identity: str) -> dict[str, Any]:
    """A light record with nothing filled in, in the vendor's order and with its defaults."""
    return {
        "Id": identity,
        "CustomerTypeId": 2,
        "CustomerType": "Person",
        "Title": "",
        "PrimaryName": "",
        "AlternateName": "",
        "MiddleName": "",
        "FamilyName": "",
        "ReferralSource": None,
        "Notes": "",
        "UniqueIdentifier": "",
        "DateOfBirth": None,
        "PricingGroupId": None,
        "Disabled": False,
        "DoNotContact": True,
        "Version": 1,
        "MergedIntoCustomerId": None,
    }


def phone(number: int, form: str) -> str:
    """The `number`-th invented phone: ten area codes, exchange 555 first, the last four digits shuffled."""
    area = _AREAS[number % len(_AREAS)]
    rest = number // len(_AREAS)
    return form.format(area, 555 + rest // 10_000, f"{(rest * 7919 + 142) % 10_000:04d}")


def people(rng: Random, count: int, *, anchor_ms: int, days: int) -> tuple[list[Customer], dict[str, int]]:
    """`count` customers, oldest first, and until when (ms) those buy who were merged or disabled later.

    Seven of ten were there before the sales begin, the others join during those days.
    """
    r = rng.random
    begin = anchor_ms - days * DAY_MS
    born = sorted(
        int(begin - 400 * DAY_MS * r()) if r() < 0.7 else int(begin + (anchor_ms - begin) * 0.98 * r())
        for _ in range(count)
    )
    placeholders = max(3, count * 3 // 1000) if count >= 50 else 0
    odd = {number: "placeholder" for number in _some(rng, count, placeholders)}
    made: list[Customer] = []
    until: dict[str, int] = {}
    for number, created in enumerate(born):
        customer = _person(rng, number, created, odd.get(number))
        if r() < 0.15:
            customer.light["Version"] = 2 + int(4 * r())
            customer.modified = created + 1 + int((anchor_ms - created - 2) * r())
        made.append(customer)
    _part_ways(rng, made, until, anchor_ms)
    return made, until


def _some(rng: Random, count: int, wanted: int) -> list[int]:
    return rng.sample(range(count), wanted) if wanted else []


def _person(rng: Random, number: int, created: int, odd: str | None) -> Customer:
    r = rng.random
    light = blank_light(guid(rng))
    identity = light["Id"]
    first, last = _FIRST[int(len(_FIRST) * r())], _LAST[int(len(_LAST) * r())]
    light["PrimaryName"], light["FamilyName"] = first, last
    if r() < 0.06:
        light["AlternateName"] = first[:3]
    light["UniqueIdentifier"] = f"{rng.getrandbits(40):010x}"
    if r() >= 0.2:
        year, month, day = 1945 + int(61 * r() ** 0.8), 1 + int(12 * r()), 1 + int(28 * r())
        light["DateOfBirth"] = f"{year}-{month:02d}-{day:02d}T00:00:00"
    group = r()
    light["PricingGroupId"] = 41 if group < 0.25 else 42 if group < 0.26 else 43 if group < 0.29 else None
    light["DoNotContact"] = quiet = r() < 0.3
    customer = Customer(light, created)
    reach = r()
    has_phone, has_email = reach >= 0.09, reach < 0.08 or r() < 0.6
    if odd == "placeholder":
        has_phone = True
    if has_phone:
        chance = r()
        if odd == "placeholder":
            value = PLACEHOLDER
        elif chance < 0.01:
            value = _BAD[int(len(_BAD) * r())]
        else:
            # One in a hundred takes the number of the customer before: a couple with one phone.
            taken = number - 1 if chance < 0.02 and number else number
            value = phone(taken, _FORMS[int(len(_FORMS) * r())])
        customer.contacts.append(contact(rng, identity, 1, 3, value, True, quiet))
        if r() < 0.05:
            customer.contacts.append(contact(rng, identity, 1, 1, phone(number + 50_000, _FORMS[1]), False, True))
    if has_email:
        local, domain = f"{first}.{last}{number}", ("example.test", "example.org")[int(2 * r())]
        value = f"{local}@{domain}"
        value = value.lower() if r() < 0.6 else value if r() < 0.7 else value.upper()
        customer.contacts.append(contact(rng, identity, 2, 9, value, not has_phone, quiet or r() < 0.2))
    if r() < 0.7:
        where = r()
        state = "BC" if where < 0.9 else "AB" if where < 0.97 else "SK" if where < 0.985 else "ON"
        street = f"{1 + int(900 * r())} {_LAST[int(len(_LAST) * r())]} St"
        customer.addresses.append(address(rng, identity, state, street))
    if r() < 0.1:
        customer.extensions.append(
            {
                "Id": guid(rng),
                "CustomerId": identity,
                "ExtensionTypeId": 7,
                "ExtensionType": "CardNumber",
                "ExtensionTypeFeature": "Dispensary",
                "Value": f"{100000 + number}",
                "Version": 1,
            }
        )
    if r() < 0.6:
        customer.points = int(2000 * r() ** 2)
    if r() < 0.02:
        customer.medical = f"MR-{10000 + number}"
    return customer


def _part_ways(rng: Random, made: list[Customer], until: dict[str, int], anchor_ms: int) -> None:
    """Disables 1 % and merges 0.5 % into an older record; both are changes with a time of their own."""
    count = len(made)
    gone = _some(rng, count, count // 100)
    for number in gone:
        customer = made[number]
        customer.light["Disabled"] = True
        _bump(rng, customer, until, anchor_ms)
    losers = [number for number in _some(rng, count, max(1, count // 200) if count >= 50 else 0) if number]
    fixed = {*gone, *losers}
    for number in losers:
        keeper = int(number * rng.random())
        if number in gone or keeper in fixed:
            continue
        loser, winner = made[number], made[keeper]
        loser.light["MergedIntoCustomerId"] = winner.id
        winner.merged.append(loser.id)
        _bump(rng, loser, until, anchor_ms)
        winner.light["Version"] += 1
        winner.modified = max(winner.modified, loser.modified)


def _bump(rng: Random, customer: Customer, until: dict[str, int], anchor_ms: int) -> None:
    customer.light["Version"] += 1
    customer.modified += 1 + int((anchor_ms - customer.modified - 2) * rng.random())
    until[customer.id] = customer.modified
