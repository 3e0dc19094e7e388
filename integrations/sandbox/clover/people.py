"""Invented customers with the untidiness of a real book.

Phones lie in exchange 555, e-mails in reserved domains. Shares: 4 % have no name at all, 12 % no phone, 35 % no
e-mail, 3 % share a phone with the one before, 1 % have a bad phone, 6 % two phones, 3 % two e-mails, 15 % no metadata,
30 % an address (a tenth of those in another state), 5 % stored cards, 45 % allow marketing, 1 % are deleted, and a few
exist twice with the same phone and e-mail.
"""

from random import Random

from integrations.sandbox.clover.customers import Customer, part
from integrations.sandbox.clover.merchant import Merchant

DAY_MS = 86_400_000
_AREAS = ("303", "720", "928", "312", "207", "907", "602", "773")
_BAD = ("123", "n/a", "303-555-01", "none", "0000000000", "call first", "555 0142 ext")
_FORMS = ("{0}{1}{2}", "({0}) {1}-{2}", "{0}-{1}-{2}", "+1{0}{1}{2}", "1-{0}-{1}-{2}", "{0}.{1}.{2}")
_FIRST_TEXT = (
    "Mara Tomas Ada Ben Cara Dev Elin Finn Gita Hugo Jonah Kaya Leo Mina Niko Odile Pavel Rhea Sami Tess Umar Vera "
    "Wyatt Xenia Yusuf Zoe Amos Bea Colm Dara Esme Faye Glen Hana Ivor Juno Kofi Lena Milo Nell Otis Petra Rory Suki "
    "Theo Ula Vito Wren Yara Zeno José Łucja"
)
_FIRST = _FIRST_TEXT.split()
_LAST_TEXT = (
    "Okafor Reyes Moss Ash Brook Croft Dale Elder Fern Glade Heath Inlet Juniper Knoll Larch Marsh North Oakes Pike "
    "Quill Reed Shaw Thorn Underhill Vance Wold Yarrow Zeal Alder Bracken Cobb Drift Eddy Frost Gale Hollis Isley "
    "Jarvis Kestrel Linden Mallow Nettle Orchard Perch Rowan Sorrel Tarn Upton Vetch Willow Yates O'Burr"
)
_LAST = _LAST_TEXT.split()
_ELSEWHERE = (("Cheyenne", "WY", "82001"), ("Taos", "NM", "87571"), ("Moab", "UT", "84532"))


def phone(number: int, form: str) -> str:
    """The `number`-th invented phone: eight area codes, exchange 555 first, the last four digits shuffled."""
    area, rest = _AREAS[number % len(_AREAS)], number // len(_AREAS)
    return form.format(area, 555 + rest // 10_000, f"{(rest * 7919 + 142) % 10_000:04d}")


def people(rng: Random, merchant: Merchant, count: int, *, anchor_ms: int, days: int) -> list[Customer]:
    """`count` customers, oldest first: seven of ten were there before the sales begin."""
    r = rng.random
    begin = anchor_ms - days * DAY_MS
    born = sorted(
        _second(begin - 400 * DAY_MS * r()) if r() < 0.7 else _second(begin + (anchor_ms - begin) * 0.98 * r())
        for _ in range(count)
    )
    made: list[Customer] = []
    for number, since in enumerate(born):
        twin = made[-1] if made and r() < 0.004 else None
        customer = _twin(merchant, twin, since) if twin else _person(rng, merchant, number, since)
        if customer.metadata is not None and r() < 0.15:
            customer.metadata["modifiedTime"] = _second(since + (anchor_ms - since) * r())
        if r() < 0.01:
            customer.deleted = _second(since + (anchor_ms - since) * r())
        merchant.customers.add(customer)
        made.append(customer)
    return made


def _second(ms: float) -> int:
    return int(ms // 1000) * 1000


def _twin(merchant: Merchant, twin: Customer, since: int) -> Customer:
    """The same person once more: nobody looked before adding."""
    names = twin.fields
    customer = Customer(merchant.id, merchant.new_id(), since, names.get("firstName"), names.get("lastName"))
    for kind, name in (("phones", "phoneNumber"), ("emails", "emailAddress")):
        for row in getattr(twin, kind)[:1]:
            part(kind, merchant.new_id(), customer, {name: row.fields[name]})
    return customer


def _person(rng: Random, merchant: Merchant, number: int, since: int) -> Customer:
    r = rng.random
    first, last = _FIRST[int(len(_FIRST) * r())], _LAST[int(len(_LAST) * r())]
    named = r()
    customer = Customer(
        merchant.id,
        merchant.new_id(),
        since,
        None if named < 0.04 else first,
        None if named < 0.08 else last,
    )
    customer.fields["marketingAllowed"] = r() < 0.45
    number += 100_000 * merchant.index
    if r() >= 0.12:
        chance = r()
        if chance < 0.01:
            value = _BAD[int(len(_BAD) * r())]
        else:
            taken = number - 1 if chance < 0.04 and number else number
            value = phone(taken, _FORMS[int(len(_FORMS) * r() ** 1.5)])
        part("phones", merchant.new_id(), customer, {"phoneNumber": value})
        if r() < 0.06:
            part("phones", merchant.new_id(), customer, {"phoneNumber": phone(number + 50_000, _FORMS[1])})
    if r() >= 0.35:
        value = f"{first}.{last}{number}@{('example.com', 'example.org')[int(2 * r())]}".replace("'", "")
        value = value.encode("ascii", "ignore").decode()
        value = value.lower() if r() < 0.6 else value
        part("emails", merchant.new_id(), customer, {"emailAddress": value})
        if r() < 0.05:
            other = {"emailAddress": f"second.{number}@example.org"}
            part("emails", merchant.new_id(), customer, other)
    if r() < 0.3:
        place = merchant.place
        city, state, code = (place.city, place.state, place.zip) if r() < 0.9 else _ELSEWHERE[int(3 * r())]
        street = f"{1 + int(900 * r())} {_LAST[int(len(_LAST) * r())]} St"
        values = {"address1": street, "city": city, "state": state, "zip": code, "country": "US"}
        part("addresses", merchant.new_id(), customer, values)
    if r() < 0.85:
        _describe(rng, customer, number, since)
    if r() < 0.05:
        expires = {"expirationDate": f"{1 + int(12 * r()):02d}29", "cardType": "VISA"}
        card = {"first6": "411111", "last4": f"{int(10_000 * r()):04d}", **expires}
        part("cards", merchant.new_id(), customer, {**card, "token": f"{rng.getrandbits(52):016d}"})
    return customer


def _describe(rng: Random, customer: Customer, number: int, since: int) -> None:
    """Metadata: a birth date for six of ten, half of those without the year; notes and businesses for a few."""
    r = rng.random
    found: dict[str, object] = {}
    if r() < 0.6:
        if r() < 0.5:
            found["dobYear"] = 1945 + int(61 * r() ** 0.8)
        found |= {"dobMonth": 1 + int(12 * r()), "dobDay": 1 + int(28 * r())}
    if r() < 0.08:
        found["note"] = ("prefers texts", "allergic to nuts", "pays in cash", "ask for the parcel")[int(4 * r())]
    if r() < 0.05:
        found["businessName"] = f"{_LAST[number % len(_LAST)]} Studio"
    customer.merge_metadata(found, since)
