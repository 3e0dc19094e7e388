"""What is invented and never changes by itself: merchants, staff, tenders, order types, tax rates, goods.

Known: fields and their forms as the reference lists them [D S15], about 14 tenders with `labelKey` like
`com.clover.tender.cash` and custom ones with a label only [I-field S24], a `NO_TAX_APPLIED` rate [I-field S24],
rates of 10,000,000 for 100 % [D S15], bank data in the properties and clear PINs with employees, which a client has
to drop [I-rec S23; I-field S24]. Inferred [I]: which types an order type points to, and all values.
"""

import hashlib
from dataclasses import dataclass

_SIGNS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"


def code(number: int) -> str:
    """A number as an id: 13 characters of 0-9A-Z."""
    signs = []
    for _ in range(13):
        number, sign = divmod(number, 36)
        signs.append(_SIGNS[sign])
    return "".join(signs)


def ident(*parts: object) -> str:
    """The same id for the same name."""
    text = ":".join(map(str, parts))
    return code(int.from_bytes(hashlib.sha256(f"clover:{text}".encode()).digest()[:12], "big"))


@dataclass(slots=True, frozen=True)
class Place:
    """A merchant: one shop with its own token. `tax` in parts of 10,000,000."""

    name: str
    street: str
    city: str
    state: str
    zip: str
    zone: str
    tax: int
    area: str


PLACES = (
    Place("Harbour Street Store", "12 Harbour St", "Denver", "CO", "80205", "America/Denver", 881_000, "303"),
    Place("Harbour Street Pines", "77 Pine Rd", "Flagstaff", "AZ", "86001", "America/Phoenix", 910_000, "928"),
    Place("Harbour Street Lake", "5 Lake Ave", "Chicago", "IL", "60601", "America/Chicago", 1_025_000, "312"),
    Place("Harbour Street Bay", "340 Bay St", "Portland", "ME", "04101", "America/New_York", 550_000, "207"),
    Place("Harbour Street North", "9 North Way", "Anchorage", "AK", "99501", "America/Anchorage", 0, "907"),
)

# name, role, PIN
STAFF = (
    ("Ines Holm", "ADMIN", "1470"),
    ("Kim Vale", "MANAGER", "2581"),
    ("Robin Teal", "EMPLOYEE", "3692"),
    ("Sasha Finch", "EMPLOYEE", "4703"),
    ("Jules Moor", "EMPLOYEE", "5814"),
    ("Dana Birch", "EMPLOYEE", "6925"),
)

# label, key, opens the drawer, takes tips, enabled
TENDERS = (
    ("Credit Card", "com.clover.tender.credit_card", False, True, True),
    ("Debit Card", "com.clover.tender.debit_card", False, True, True),
    ("Cash", "com.clover.tender.cash", True, False, True),
    ("Check", "com.clover.tender.check", True, False, False),
    ("Gift Card", "com.clover.tender.gift_card", False, False, True),
    ("External Payment", "com.clover.tender.external_payment", False, False, True),
    ("External Gift Card", "com.clover.tender.external_gift_card", False, False, False),
    ("Voucher", "com.clover.tender.voucher", False, False, False),
    ("EBT", "com.clover.tender.ebt", False, False, False),
    ("Food Stamps", "com.clover.tender.food_stamps", False, False, False),
    ("Store Credit", "com.clover.tender.store_credit", False, False, True),
    ("Bank Transfer", "com.clover.tender.bank_transfer", False, False, False),
    ("Parcel Courier", None, False, False, True),
    ("House Tab", None, False, False, True),
)
CREDIT, DEBIT, CASH, EXTERNAL, COURIER = "Credit Card", "Debit Card", "Cash", "External Payment", "Parcel Courier"

# label, system type, hidden, deleted
ORDER_TYPES = (
    ("In Store", "DINE-IN-TYPE", False, False),
    ("Pickup", "TAKE-OUT-TYPE", False, False),
    ("Delivery", "DELIVERY-TYPE", False, False),
    (None, None, True, False),  # a label may be missing [I-rec S25]
    ("Kerb Side 2021", "TAKE-OUT-TYPE", True, True),
)
SYSTEM_TYPES = ("DINE-IN-TYPE", "TAKE-OUT-TYPE", "DELIVERY-TYPE")

# name, cents or None, whole percent or None, percent x 10,000 or None
PRESETS = (
    ("5 off", -500, None, None),
    ("Neighbour 10%", None, 10, None),
    ("Happy hour 12.5%", None, None, 125_000),
    ("Opening week", -200, None, None),
)
MANUAL_DISCOUNTS = ("Manager discount", "Loyalty 10.00", "damaged box", "price match", "Birthday")

MODIFIERS = (("Gift wrap", 250), ("Engraving", 1200), ("Extra carbonation", 0))

# category, name, sku, UPC, price, cost, kind (F fixed, U per unit, V variable), unit, stock, flags:
# h hidden, d deleted, n no tax, g not revenue, m takes modifiers, a 21 and over, x never counted
_GOODS = """
Glass|Glass Bottle|GB-01|0012345678905|3500|1400|F||17.5|m
Glass|Tall Carafe|GC-02|0012345678912|5200|2300|F||9|m
Glass|Tumbler Set of 4|GT-04|0012345678929|4400|1900|F||14|m
Glass|Bud Vase|GV-07||1850|700|F||31|m
Tea|Loose Tea|LT-10||1200|430|U|oz|160.5|
Tea|Smoked Oolong|LT-11||1650|690|U|oz|42|
Tea|Mint Blend|LT-12||900|310|U|oz|88.25|
Tea|Tea Tin 100 g|TT-20|0022345678904|1499|620|F||55|
Tea|Sampler Box|TS-21|0022345678911|2999|1350|F||21|m
Coffee|Harbour Roast 12 oz|HR-30|0032345678903|1795|810|F||64|
Coffee|Decaf Roast 12 oz|HR-31|0032345678910|1895|860|F||23|
Coffee|Bulk Beans|BB-33||140|62|U|oz|610|
Oils|CBD Oil 500 mg|CO-40|0042345678902|4999|2250|F||26|a
Oils|CBD Oil 1000 mg|CO-41|0042345678919|8499|3900|F||12|a
Oils|Massage Oil|MO-42|0042345678926|2450|990|F||33|
Edibles|CBD Gummies 30|CG-50|0052345678901|3299|1480|F||71|a
Edibles|Dark Chocolate Bar|DC-51|0052345678918|799|330|F||120|
Edibles|Honey Sticks 10|HS-52||649|240|F||96|
Edibles|Oat Cookie|OC-53||325|90|F||18|n
Drinks|Ginger Sparkle|GS-60|0062345678900|549|190|F||240|
Drinks|Root Beer|RB-61|0062345678917|549|190|F||180|
Drinks|Cold Brew|CB-62||475|130|F|||x
Pipes|Bubbler|PB-70||4499|2100|F||7|am
Pipes|Steel Grinder|PG-71|0072345678909|2499|1190|F||19|a
Pipes|Hemp Papers|PP-72|0072345678916|299|110|F||410|a
Pipes|Lighter|PL-73|0072345678923|249|90|F||-3|a
Candles|Cedar Candle|CC-80||2200|880|F||28|m
Candles|Sea Salt Candle|CC-81||2200|880|F||25|m
Candles|Tealights 50|CT-82||1099|420|F||40|
Bath|Oat Soap|BS-90||895|310|F||83|
Bath|Bath Salts|BS-91||1395|480|F||47|
Bath|Lip Balm|BL-92||495|150|F||130|
|Gift Card|||0|0|V||| gx
|Donation|||0|0|V|||gnx
|Workshop Seat|WS-99||4500|0|F|||nx
Candles|Winter Candle 2023|CC-79||1800|700|F||0|d
Bath|Staff Sample|||0|0|F||5|hx
"""


@dataclass(slots=True, frozen=True)
class Good:
    category: str
    name: str
    sku: str
    upc: str
    price: int
    cost: int
    kind: str
    unit: str
    stock: float | None
    flags: str


def _goods() -> tuple[Good, ...]:
    made = []
    for row in _GOODS.strip().splitlines():
        category, name, sku, upc, price, cost, kind, unit, stock, flags = row.split("|")
        kind = {"F": "FIXED", "U": "PER_UNIT", "V": "VARIABLE"}[kind]
        quantity = float(stock) if stock else None
        made.append(Good(category, name, sku, upc, int(price), int(cost), kind, unit, quantity, flags.strip()))
    return tuple(made)


GOODS = _goods()
CATEGORIES = tuple(dict.fromkeys(good.category for good in GOODS if good.category))
