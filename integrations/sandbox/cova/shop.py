"""The invented retailer: company, stores, staff, products, payment methods, taxes, pricing groups, rewards.

Everything here is the same in every seed; only the number of stores varies. People, brands and places of business
are invented. All stores lie in British Columbia, in four time zones, one of them without daylight saving time.
Money is in cents; prices of goods sold by weight are for one gram.
"""

import json
import uuid
from dataclasses import dataclass
from typing import Any

COMPANY_ID = 501200
OTHER_COMPANY_ID = 501900  # exists, belongs to somebody else
COMPANY_NAME = "Harbour Group"
CLIENT_ID = "HARBOUR.AIQSYNC"
CLIENT_SECRET = "sandbox-harbour-7f3c2a9e"
USERNAME = "AIQSYNC.COVA.APIUser.HARBOUR"
PASSWORD = "Tidewater-Lantern-48"

# name, city, postal code, Windows zone, zone of the tz database, daylight saving
_PLACES = (
    ("Harbour Cannabis", "Kelowna", "V1Y 1A1", "Pacific Standard Time", "America/Vancouver", True),
    ("Harbour Cannabis East", "Cranbrook", "V1C 2B2", "Mountain Standard Time", "America/Edmonton", True),
    ("Harbour Cannabis Quay", "Victoria", "V8V 3C3", "Pacific Standard Time", "America/Vancouver", True),
    (
        "Harbour Cannabis North",
        "Dawson Creek",
        "V1G 4D4",
        "US Mountain Standard Time",
        "America/Dawson_Creek",
        False,
    ),
    ("Harbour Cannabis Lake", "Nelson", "V1L 5E5", "Pacific Standard Time", "America/Vancouver", True),
    ("Harbour Cannabis Creston", "Creston", "V0B 1G0", "US Mountain Standard Time", "America/Creston", False),
)
_STAFF_TEXT = (
    "Kim Vale, Robin Teal, Sasha Finch, Jules Moor, Avery Stone, Dana Birch, Quinn Marsh, Noor Hale, Remy "
    "Cole, Toni Wells, Ira Brandt, Lou Casey, Max Odell, Pat Ferris, Sky Larsen, Uma Prior"
)
_STAFF = _STAFF_TEXT.split(", ")

GST, PST = 0, 1
TAX_NAMES = ("GST", "PST")
TAX_PERCENT = (5, 7)
TAX_IDS = ("a1b60000-1111-4a11-8a11-00000000a001", "c9d00000-2222-4b22-9b22-00000000b002")

CASH, DEBIT, VISA, MASTERCARD = 0, 1, 2, 3
METHODS = ("Cash", "Debit", "Visa", "Mastercard")

PRICING_GROUPS = (
    {
        "Id": 41,
        "CompanyId": COMPANY_ID,
        "GroupName": "Members",
        "Description": "Loyalty members",
        "IsDeleted": False,
    },
    {"Id": 42, "CompanyId": COMPANY_ID, "GroupName": "Staff", "Description": None, "IsDeleted": False},
    {
        "Id": 43,
        "CompanyId": COMPANY_ID,
        "GroupName": "Seniors",
        "Description": "65 and over",
        "IsDeleted": False,
    },
    {"Id": 44, "CompanyId": COMPANY_ID, "GroupName": "Launch 2019", "Description": None, "IsDeleted": True},
)
REWARDS = tuple(
    {
        "Id": number,
        "Name": name,
        "PointsRequired": points,
        "Type": kind,
        "Value": value,
        "DiscountId": str(uuid.uuid5(uuid.NAMESPACE_URL, f"reward-{number}")),
        "LastModifiedUtc": "2025-02-01T18:00:00Z",
        "LastModifiedUserName": "Kim Vale",
    }
    for number, name, points, kind, value in (
        (1, "5 dollars off", 500, "Amount", "5"),
        (2, "10 dollars off", 900, "Amount", "10"),
        (3, "10 percent off", 1200, "Percentage", "10"),
    )
)


@dataclass(slots=True)
class Location:
    """One store. `index` counts from 0; `zone` is a tz database name."""

    index: int
    id: int
    name: str
    city: str
    postal_code: str
    windows_zone: str
    zone: str
    daylight: bool
    active: bool = True
    staff: tuple["Employee", ...] = ()

    def method_id(self, method: int) -> int:
        """The mapped payment method: the same method has another number in each store [INF]."""
        return 20117 + 20 * self.index + method


@dataclass(slots=True, frozen=True)
class Employee:
    id: int
    first: str
    last: str
    location_id: int
    active: bool

    @property
    def name(self) -> str:
        return f"{self.first} {self.last}"


@dataclass(slots=True)
class Product:
    """One product. `head` and `tail` are the JSON around the figures of a line of the sales feed."""

    id: str
    sku: str
    name: str
    path: str
    brand: str
    mass: bool
    price: int
    sale: int | None
    cost: int
    grams: float | None
    thc: str = "0"
    cbd: str = "0"
    batch: str = ""
    head: str = ""
    tail: str = ""

    def __post_init__(self) -> None:
        leaf = self.path.rsplit(" > ", 1)[-1]
        head = {
            "CatalogItemId": self.id,
            "ProductName": self.name,
            "Sku": self.sku,
            "SerialNumber": self.batch or None,
        }
        tail = {
            "UnitOfMeasureType": "Mass" if self.mass else "SingleUnit",
            "Manufacturer": None,
            "Classification": leaf,
            "SourceLicenseNumber": None,
            "NetWeightAmount": self.grams,
            "NetWeightUnit": None if self.grams is None else "g",
            "DisplayedCategoryPath": self.path,
            "LotNumber": self.batch or None,
            "ThcContent": self.thc,
            "CbdContent": self.cbd,
            "Brand": self.brand or None,
        }
        self.head = json.dumps(head, separators=(",", ":"))[:-1]
        self.tail = json.dumps(tail, separators=(",", ":"))[1:]


# category path, brand, name, price, cost, grams, THC, CBD; "~" after the brand marks goods sold by weight
_GOODS = """
Flower > Dried Flower|Cedar Peak|Dusk 3.5g|2100|1140|3.5|21|0
Flower > Dried Flower|Cedar Peak|Dawn 3.5g|2250|1210|3.5|19|0
Flower > Dried Flower|Slow Tide|Kelp Kush 7g|4400|2490|7|23|0
Flower > Dried Flower|Slow Tide|Gull Haze 28g|11900|7350|28|20|0
Flower > Dried Flower|North Ember|Cinder 3.5g|2799|1580|3.5|26|0
Flower > Dried Flower|Quiet Acre|Balance 3.5g|1995|1090|3.5|9|10
Flower > Loose Flower|Cedar Peak~|Dusk Loose|800|430|1|21|0
Flower > Loose Flower|Slow Tide~|Kelp Kush Loose|725|390|1|23|0
Flower > Loose Flower|North Ember~|Cinder Loose|950|540|1|26|0
Flower > Loose Flower|Quiet Acre~|Meadow Loose|650|330|1|15|4
Pre-Rolls|Paper Lantern|Dusk 3 x 0.5g|1399|760|1.5|21|0
Pre-Rolls|Paper Lantern|Lemon Buoy 10 x 0.35g|2999|1690|3.5|22|0
Pre-Rolls|Paper Lantern|Single 1g|699|350|1|20|0
Pre-Rolls > Infused|North Ember|Ember Stick 0.5g|1249|690|0.5|38|0
Vapes > Cartridges|Glass Otter|Pine 510 1g|3899|2210|1|82|0
Vapes > Cartridges|Glass Otter|Berry 510 0.5g|2499|1420|0.5|80|0
Vapes > Cartridges|Salt Fog|Live Resin 510 1g|4999|2960|1|78|1
Vapes > Disposables|Salt Fog|Mango Pen 0.3g|2199|1260|0.3|76|0
Edibles > Gummies|Tiny Harbour|Peach 2 x 5mg|549|270|9|5|0
Edibles > Gummies|Tiny Harbour|Sour Apple 10 x 1mg|799|420|40|1|0
Edibles > Gummies|Quiet Acre|Night 4 x 2.5mg CBN|899|480|16|2.5|5
Edibles > Chocolate|Tiny Harbour|Dark Bar 10mg|699|360|20|10|0
Edibles > Baked|Tiny Harbour|Oat Cookie 10mg|749|390|25|10|0
Beverages|Low Fog|Ginger Sparkle 10mg|649|330|355|10|0
Beverages|Low Fog|Iced Tea 5mg|599|300|355|5|5
Beverages|Low Fog|Root Beer 10mg|649|330|355|10|0
Concentrates > Hash|North Ember|Pressed Hash 2g|2899|1640|2|41|0
Concentrates > Rosin|Salt Fog|Rosin 1g|5499|3310|1|72|0
Concentrates > Shatter|Glass Otter|Shatter 1g|3199|1830|1|79|0
Oils|Quiet Acre|CBD 20 Oil 30mL|3999|2280|30|1|20
Oils|Quiet Acre|Even Oil 30mL|3799|2160|30|10|10
Capsules|Quiet Acre|Softgels 15 x 10mg|2299|1280|8|10|0
Topicals|Quiet Acre|Cedar Balm 50g|2999|1710|50|0|8
Seeds|Cedar Peak|Dusk Seeds 4 pack|3999|2250||0|0
Accessories > Papers|Plain Jane|Hemp Papers 1 1/4|299|110||0|0
Accessories > Papers|Plain Jane|Tips 50|199|70||0|0
Accessories > Grinders|Plain Jane|Steel Grinder|2499|1190||0|0
Accessories > Glass|Otter Glass|Bubbler|4499|2100||0|0
Accessories > Batteries|Otter Glass|510 Battery|1999|880||0|0
Accessories > Lighters|Plain Jane|Lighter|249|90||0|0
"""


def _products() -> tuple[Product, ...]:
    products = []
    for number, row in enumerate(_GOODS.strip().splitlines()):
        path, brand, name, price, cost, grams, thc, cbd = row.split("|")
        mass = brand.endswith("~")
        brand = brand.rstrip("~")
        identity = uuid.uuid5(uuid.NAMESPACE_URL, f"sandbox:cova:{brand}:{name}")
        products.append(
            Product(
                id=str(identity),
                sku=f"{identity.int % 36**8:08X}"[-8:],
                name=f"{brand} - {name}",
                path=path,
                brand=brand,
                mass=mass,
                price=int(price),
                sale=int(price) * 85 // 100 if number % 12 == 5 else None,
                cost=int(cost),
                grams=float(grams) if grams else None,
                thc=thc,
                cbd=cbd,
                batch=f"BATCH-{1000 + 37 * number}" if not path.startswith("Accessories") else "",
            )
        )
    return tuple(products)


PRODUCTS = _products()


class Shop:
    """The company with its first `locations` stores; from four stores on, the last one is closed."""

    def __init__(self, locations: int) -> None:
        self.locations: dict[int, Location] = {}
        self.employees: list[Employee] = []
        self.products = {product.sku: product for product in PRODUCTS}
        for index in range(locations):
            name, city, postal_code, windows_zone, zone, daylight = _PLACES[index % len(_PLACES)]
            if index >= len(_PLACES):
                name = f"{name} {index // len(_PLACES) + 1}"
            place = Location(index, 501210 + 10 * index, name, city, postal_code, windows_zone, zone, daylight)
            place.active = not (locations >= 4 and index == locations - 1)
            place.staff = tuple(self._hire(place, number) for number in range(4))
            self.locations[place.id] = place
        self.open = [place for place in self.locations.values() if place.active]

    def _hire(self, place: Location, number: int) -> Employee:
        at = 4 * place.index + number
        first, _, last = _STAFF[at % len(_STAFF)].partition(" ")
        if at >= len(_STAFF):
            last = f"{last}-{at // len(_STAFF) + 1}"
        employee = Employee(902111 + at, first, last, place.id, place.active)
        self.employees.append(employee)
        return employee

    def product(self, wanted: dict[str, Any]) -> Product:
        """The product of a line that a test asks to sell; an unknown sku makes a new product, the same each time."""
        sku = str(wanted.get("sku") or wanted.get("name") or "SANDBOX")
        if sku not in self.products:
            price = int(wanted.get("price_cents", 1000))
            self.products[sku] = Product(
                id=str(uuid.uuid5(uuid.NAMESPACE_URL, f"sandbox:cova:sku:{sku}")),
                sku=sku,
                name=str(wanted.get("name") or sku),
                path=str(wanted.get("category") or "Accessories"),
                brand=str(wanted.get("brand") or ""),
                mass=bool(wanted.get("by_weight")),
                price=price,
                sale=None,
                cost=int(wanted.get("unit_cost_cents", price * 55 // 100)),
                grams=None,
            )
        return self.products[sku]


def location_row(place: Location) -> dict[str, Any]:
    """A location as the entity manager shows it."""
    hours = {"Open": {"Hour": 9, "Minute": 0}, "Close": {"Hour": 22, "Minute": 0}}
    days = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
    return {
        "LocationStatus": "Active" if place.active else "Inactive",
        "LocationType": None,
        "LocationSubType": None,
        "Address": {
            "AddressLine1": f"{12 + place.index} Harbour Rd",
            "AddressLine2": "",
            "City": place.city,
            "StateCode": "BC",
            "StateName": "British Columbia",
            "CountryCode": "CA",
            "CountryName": "Canada",
            "Zip": place.postal_code,
        },
        "Contacts": [],
        "StorePhoneNumbers": [{"Description": "Main", "Number": f"25055501{place.index % 100:02d}", "Extension": ""}],
        "Area": None,
        "StoreHours": {day: hours if place.active else None for day in days},
        "Geography": None,
        "TimeZone": {"Id": place.windows_zone, "DaylightSavingTimeEnabled": place.daylight},
        "Id": place.id,
        "Name": place.name,
        "DisplayName": "",
        "Description": "",
        "Roles": [{"Name": "Location"}],
        "Role": "Location",
        "SortName": place.name.lower(),
        "Attributes": {},
        "Relationships": [
            {
                "Id": 88101 + place.index,
                "Definition": 6,
                "Source": COMPANY_ID,
                "Destination": place.id,
                "CreatedUtc": "2025-01-10T17:02:40.67Z",
                "Version": 1,
            }
        ],
        "Version": 3,
        "CreatedUtc": "2025-01-10T17:02:40.654Z",
        "LastModifiedUtc": "2025-06-01T09:00:00Z",
        "CorrelationId": None,
        "ClientEntityId": None,
        "TypeId": 5402,
        "Logo": None,
        "Website": None,
    }
