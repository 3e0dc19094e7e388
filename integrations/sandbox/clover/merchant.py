"""One merchant: its record, settings and address, its stores of rows, and its day-to-day changes.

Known: what the plain record holds and leaves out, currency and time zone only in the properties [I-rec S23]; fields
of properties and address [D S15]. Inferred [I]: which setting is the Track stock switch of the dashboard
(`trackStock`) and which lowers stock with each sale (`updateStock`).
"""

from random import Random
from typing import Any, ClassVar

from integrations.sandbox.clover import shop
from integrations.sandbox.clover.customers import Customer
from integrations.sandbox.clover.inventory import (
    Category,
    Employee,
    Item,
    OrderType,
    Preset,
    Rate,
    SystemType,
    Tag,
    Tender,
)
from integrations.sandbox.clover.orders import Credit, Order, Payment, Plain, Refund, VoidedLine
from integrations.sandbox.clover.rows import WEB, Changes, Row, Store, Tree, View, elements

OPENED_MS = 1_672_531_200_000  # 1 January 2023
YEAR_MS = 365 * 86_400_000


class Record(Row):
    """The merchant itself."""

    __slots__ = ("merchant",)
    KNOWN = (
        *("href", "id", "name", "owner", "address", "merchantPlan", "createdTime", "gateway", "tenders", "shifts"),
        *("orders", "payments", "taxRates", "printers", "modifierGroups", "orderTypes", "reseller", "opening_hours"),
        *("defaultCurrency", "website", "phoneNumber", "customerContactEmail"),
    )
    EXPAND: ClassVar[dict[str, type[Row] | None]] = dict.fromkeys(
        ("owner", "address", "properties", "employees", "orders", "items", "tags", "tenders", "payments")
    )
    REFERENCES = frozenset({"owner", "address", "tenders", "orders", "payments"})
    NEEDS: ClassVar[dict[str, str]] = {
        "owner": "EMPLOYEES_R",
        "employees": "EMPLOYEES_R",
        "orders": "ORDERS_R",
        "payments": "PAYMENTS_R",
        "items": "INVENTORY_R",
        "tags": "INVENTORY_R",
    }

    def __init__(self, fields: dict[str, Any], merchant: "Merchant") -> None:
        super().__init__(fields)
        self.merchant = merchant

    def expansion(self, name: str, tree: Tree, view: View) -> bytes | None:
        merchant, inner = self.merchant, View(view.token)
        if name == "owner":
            return merchant.owner.render(inner)
        if name == "address":
            return merchant.address.render(inner)
        if name == "properties":
            return merchant.properties.render(inner)
        store: Store = getattr(merchant, name)
        return elements([row for row in reversed(store.rows) if row.shown([])], inner)


class Settings(Row):
    """Properties or address: one object that stands for itself."""

    __slots__ = ()
    KNOWN = ("abaAccountNumber", "ddaAccountNumber", "supportPhone", "supportEmail", "marketingPreferenceText")


class Address(Row):
    __slots__ = ()
    KNOWN = ("href", "address1", "address2", "address3", "city", "state", "zip", "country", "phoneNumber")


class Merchant:
    """The data of one merchant; `index` counts from 0."""

    def __init__(self, index: int, *, seed: int, vat: bool = False) -> None:
        place = shop.PLACES[index % len(shop.PLACES)]
        round_ = index // len(shop.PLACES)
        self.index, self.place = index, place
        self.name = place.name if not round_ else f"{place.name} {round_ + 1}"
        self.id = shop.ident("merchant", index)
        self.base = f"{WEB}/v3/merchants/{self.id}"
        self.changes = Changes()
        self.serial = 100
        self.vat = vat
        self.device = "0f6d2c1e-5a7b-4c39-9e80-" + f"{index:012x}"
        self.rng = Random(f"clover:{seed}:{index}")
        self._people()
        self._ways()
        self._stock_up()
        self.record = Record(self._record(), self)
        self.properties = Settings(self._properties())
        self.address = Address(self._address())
        self.clear()

    def clear(self) -> None:
        """No customers and no orders."""
        self.customers = Store(Customer, self.changes)
        self.orders = Store(Order, self.changes)
        self.payments = Store(Payment, self.changes)
        self.refunds = Store(Refund, self.changes)
        self.credits = Store(Credit, self.changes)
        self.credit_refunds = Store(Plain, self.changes)  # nothing here makes one
        self.voided_lines = Store(VoidedLine, self.changes)
        self.changes.count += 1

    def ident(self, *parts: object) -> str:
        return shop.ident(self.index, *parts)

    def new_id(self) -> str:
        return shop.code(self.rng.getrandbits(68))

    @property
    def tracks_stock(self) -> bool:
        return bool(self.properties.fields["trackStock"])

    def item_of(self, wanted: dict[str, Any], now_ms: int) -> Item:
        """The item of a line that a test asks to sell, found by sku or name, else made new, the same each time."""
        for name in ("sku", "name"):
            for item in self.items.rows:
                if wanted.get(name) and item.fields.get(name) == wanted[name] and not item.gone:
                    return item
        sku = str(wanted.get("sku") or wanted.get("name") or "SANDBOX")
        price = int(wanted.get("price_cents", 1000))
        name = str(wanted.get("name") or sku)
        category = str(wanted.get("category") or "Tea")
        kind = "PER_UNIT" if wanted.get("unit_qty") is not None else "FIXED"
        good = shop.Good(category, name, sku, "", price, price * 55 // 100, kind, "", None, "")
        return self._item(good, now_ms)

    # what is there from the start

    def _people(self) -> None:
        self.employees = Store(Employee, self.changes)
        for number, (name, role, pin) in enumerate(shop.STAFF):
            identity = self.ident("employee", name)
            fields: dict[str, Any] = {
                "href": f"{self.base}/employees/{identity}",
                "id": identity,
                "name": name,
                "nickname": name.split()[0],
                "email": f"{name.split()[0].lower()}@example.com",
                "inviteSent": False,
                "claimedTime": OPENED_MS + 3_600_000 * number,
                "role": role,
                "isOwner": number == 0,
                "orders": {"href": f"{self.base}/employees/{identity}/orders"},
                "pin": pin,
                "unhashedPin": pin,
            }
            self.employees.add(Employee(fields, OPENED_MS + 1000 * number))
        self.owner = self.employees.rows[0]
        self.employees.rows[-1].set(deletedTime=OPENED_MS + YEAR_MS)  # she left before any sale of the seed

    def _ways(self) -> None:
        self.tenders = Store(Tender, self.changes)
        self.tender: dict[str, Row] = {}
        for number, (label, key, drawer, tips, enabled) in enumerate(shop.TENDERS):
            identity = self.ident("tender", label)
            fields: dict[str, Any] = {"href": f"{self.base}/tenders/{identity}", "id": identity, "editable": not key}
            if key:
                fields["labelKey"] = key
            fields |= {
                "label": label,
                "opensCashDrawer": drawer,
                "supportsTipping": tips,
                "enabled": enabled,
                "visible": True,
                "supportsCashDiscount": False,
            }
            self.tender[label] = Tender(fields, OPENED_MS + 1000 * number)
            self.tenders.add(self.tender[label])
        self.system_types = Store(SystemType, self.changes)
        for name in shop.SYSTEM_TYPES:
            label = name.removesuffix("-TYPE").replace("-", " ").capitalize()
            self.system_types.add(SystemType({"id": name, "label": label}, OPENED_MS))
        self.order_types = Store(OrderType, self.changes)
        for number, (name, system, hidden, deleted) in enumerate(shop.ORDER_TYPES):
            fields = {"id": self.ident("order type", number)}
            if name:
                fields["label"] = name
            fields |= {
                "taxable": True,
                "isDefault": number == 0,
                "filterCategories": False,
                "isHidden": hidden,
                "hoursAvailable": "BUSINESS",
                "customerIdMethod": "NAME",
                "isDeleted": deleted,
            }
            if system:
                fields["systemOrderTypeId"] = system
            self.order_types.add(OrderType(fields, OPENED_MS + 1000 * number))
        self.service_charge = {
            "id": self.ident("service charge"),
            "name": "Service charge",
            "enabled": False,
            "percentage": 18,
            "percentageDecimal": 180_000,
        }

    def _stock_up(self) -> None:
        self.rates = Store(Rate, self.changes)
        for name, rate, default in (("NO_TAX_APPLIED", 0, False), ("Sales tax", self.place.tax, True)):
            fields = {"id": self.ident("rate", name), "name": name, "rate": rate, "isDefault": default}
            self.rates.add(Rate(fields | {"modifiedTime": OPENED_MS}, OPENED_MS))
        self.default_rate = self.rates.rows[1]
        self.presets = Store(Preset, self.changes)
        for name, amount, percentage, decimal in shop.PRESETS:
            fields = {"id": self.ident("preset", name), "name": name}
            for key, value in (("amount", amount), ("percentage", percentage), ("percentageDecimal", decimal)):
                if value is not None:
                    fields[key] = value
            self.presets.add(Preset(fields | {"deleted": name == "Opening week"}, OPENED_MS))
        self.categories = Store(Category, self.changes)
        for number, name in enumerate(shop.CATEGORIES):
            self._category(name, number + 1, OPENED_MS + 1000 * number)
        self.tags = Store(Tag, self.changes)
        for name in ("Local", "Giftable"):
            self.tags.add(Tag({"id": self.ident("tag", name), "name": name, "showInReporting": True}, OPENED_MS))
        self.items = Store(Item, self.changes)
        for number, good in enumerate(shop.GOODS):
            self._item(good, OPENED_MS + 60_000 * number)

    def _category(self, name: str, order: int, at: int) -> Category:
        fields = {"id": self.ident("category", name), "name": name, "sortOrder": order, "deleted": False}
        row = Category(fields | {"modifiedTime": at}, at)
        self.categories.add(row)
        return row

    def _item(self, good: shop.Good, at: int) -> Item:
        identity = self.ident("item", good.sku or good.name)
        counted = good.stock is not None
        fields: dict[str, Any] = {
            "id": identity,
            "hidden": "h" in good.flags,
            "available": not counted or float(good.stock or 0) > 0,
            "autoManage": counted and good.kind == "FIXED",
            "name": good.name,
        }
        if good.upc:
            fields["code"] = good.upc
        if good.sku:
            fields["sku"] = good.sku
        fields |= {
            "price": good.price,
            "priceType": good.kind,
            "defaultTaxRates": "n" not in good.flags and "g" not in good.flags,
            "unitName": good.unit,
            "cost": good.cost,
            "isRevenue": "g" not in good.flags,
            "isAgeRestricted": "a" in good.flags,
            "modifiedTime": at,
            "deleted": "d" in good.flags,
        }
        if "d" in good.flags:
            fields["deletedTime"] = at + YEAR_MS
            fields["modifiedTime"] = at + YEAR_MS
        item = Item(fields, at, good.stock)
        if fields["defaultTaxRates"]:
            item.rates = [self.default_rate]
        if "m" in good.flags:
            item.modifiers = shop.MODIFIERS
        names = [good.category] if good.category else []
        if good.name in ("Tea Tin 100 g", "Sampler Box"):
            names.append("Glass")  # an item may be in several categories
        for name in names:
            row = self.categories.by_id.get(self.ident("category", name))
            if row is None:
                row = self._category(name, len(self.categories.rows) + 1, at)
            item.categories.append(row)
            row.items.append(item)
        if good.category in ("Candles", "Tea"):
            tag = self.tags.rows[good.category == "Candles"]
            item.tags.append(tag)
            tag.items.append(item)
        self.items.add(item)
        return item

    def _record(self) -> dict[str, Any]:
        def link(name: str) -> dict[str, str]:
            return {"href": f"{self.base}/{name}"}

        return {
            "href": self.base,
            "id": self.id,
            "name": self.name,
            "owner": {"href": self.owner.fields["href"], "id": self.owner.id, "orders": self.owner.fields["orders"]},
            "address": link("address"),
            "merchantPlan": {"id": shop.ident("plan")},
            "createdTime": OPENED_MS,
            "gateway": {},
            "tenders": link("tenders"),
            "shifts": link("shifts"),
            "orders": link("orders"),
            "payments": link("payments"),
            "taxRates": link("tax_rates"),
            "printers": link("printers"),
            "modifierGroups": link("modifier_groups"),
            "orderTypes": link("order_types"),
            "reseller": {"id": shop.ident("reseller")},
            "opening_hours": link("opening_hours"),
        }

    def _properties(self) -> dict[str, Any]:
        return {
            "href": f"{self.base}/properties",
            "merchantRef": {"id": self.id},
            "defaultCurrency": "USD",
            "tipsEnabled": True,
            "tipRateDefault": 1500,
            "summaryHour": 0,
            "orderTitle": "AUTOMATIC",
            "groupLineItems": True,
            "deleteOrders": True,
            "removeTaxEnabled": True,
            "notesOnOrders": True,
            "marketingEnabled": True,
            "locale": "en-US",
            "timezone": self.place.zone,
            "vat": self.vat,
            "vatTaxName": "VAT",
            "trackStock": True,
            "updateStock": True,
            "pinLength": 4,
            "signatureThreshold": 2500,
            "abaAccountNumber": "000000000",
            "ddaAccountNumber": f"00009{self.index:04d}",
        }

    def _address(self) -> dict[str, Any]:
        place = self.place
        return {
            "href": f"{self.base}/address",
            "address1": place.street,
            "city": place.city,
            "state": place.state,
            "zip": place.zip,
            "country": "US",
            "phoneNumber": f"{place.area}5550100",
        }
