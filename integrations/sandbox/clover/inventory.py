"""Goods and everything that stands still: items, stock, categories, tags, tax rates, presets, staff, tenders.

Known: fields and filter lists [D S14, S15, S27]; no `href` on items, one on employees and tenders [I-client S26; I-rec
S23]; a category is asked for with `categoryId=`, which no list names, `categories.id=` is 400 [I-field S24]; an item
never counted shows no quantity [I-field S24]; `stockCount` is the quantity as a whole number [D S17]; stock has a
time of its own [D S15]; clear PINs of employees [I-rec S23].

Inferred [I]: deleted rows are in no list but one that filters by their being deleted, and are 404 by id; a change of
stock does not move the item's time; `lowStock` is a counted quantity of 5 or less; lists whose filter list is not
known take no filter but `id`, and name none.
"""

from typing import Any, ClassVar

from integrations.sandbox.clover.orders import half_up
from integrations.sandbox.clover.query import Clause, Field
from integrations.sandbox.clover.rows import Row, Tree, View, dump, elements

_ID = {"id": Field("text", lambda row: row.id)}
LOW_STOCK = 5


class Removable(Row):
    """A row that leaves the lists when it is deleted, and can be asked for."""

    __slots__ = ()

    def shown(self, clauses: list[Clause]) -> bool:
        asked = any(clause.name in ("deleted", "deletedTime", "deleted_time") for clause in clauses)
        return asked or not self.gone

    @property
    def gone(self) -> bool:
        return bool(self.fields.get("deleted") or self.fields.get("deletedTime"))


class Category(Removable):
    __slots__ = ("items",)
    KNOWN = ("id", "name", "sortOrder", "colorCode", "deleted", "modifiedTime", "parentCategory")
    EXPAND: ClassVar[dict[str, type[Row] | None]] = {"items": None}
    FILTERS: ClassVar[dict[str, Field]] = {
        "modifiedTime": Field("int", lambda row: row.fields["modifiedTime"]),
        "deleted": Field("bool", lambda row: row.gone),
        "sortOrder": Field("int", lambda row: row.fields["sortOrder"]),
        "name": Field("text", lambda row: row.fields["name"]),
        "colorCode": Field("text", lambda row: row.fields.get("colorCode")),
        **_ID,
    }

    def __init__(self, fields: dict[str, Any], created: int) -> None:
        super().__init__(fields, created)
        self.items: list[Item] = []

    def expansion(self, name: str, tree: Tree, view: View) -> bytes | None:
        return dump({"elements": [{"id": item.id} for item in self.items if not item.gone][:100]})


class Tag(Row):
    __slots__ = ("items",)
    KNOWN = ("id", "name", "showInReporting")
    EXPAND: ClassVar[dict[str, type[Row] | None]] = {"items": None, "printers": None}
    FILTERS: ClassVar[dict[str, Field]] = dict(_ID)
    LISTED_FILTERS = False

    def __init__(self, fields: dict[str, Any], created: int) -> None:
        super().__init__(fields, created)
        self.items: list[Item] = []

    def expansion(self, name: str, tree: Tree, view: View) -> bytes | None:
        if name == "printers":
            return dump({"elements": []})
        return dump({"elements": [{"id": item.id} for item in self.items if not item.gone][:100]})


class Rate(Removable):
    __slots__ = ()
    KNOWN = ("id", "name", "rate", "isDefault", "taxAmount", "taxType", "modifiedTime", "deletedTime")
    FILTERS: ClassVar[dict[str, Field]] = dict(_ID)
    LISTED_FILTERS = False


class Preset(Removable):
    __slots__ = ()
    KNOWN = ("id", "name", "amount", "percentage", "percentageDecimal", "type", "deleted")
    FILTERS: ClassVar[dict[str, Field]] = dict(_ID)
    LISTED_FILTERS = False


class Tender(Row):
    __slots__ = ()
    KNOWN = (
        *("href", "id", "editable", "labelKey", "label", "opensCashDrawer", "supportsTipping", "enabled", "visible"),
        *("instructions", "supportsCashDiscount"),
    )
    FILTERS: ClassVar[dict[str, Field]] = dict(_ID)
    LISTED_FILTERS = False


class OrderType(Row):
    __slots__ = ()
    KNOWN = (
        *("id", "labelKey", "label", "taxable", "isDefault", "filterCategories", "isHidden", "fee", "minOrderAmount"),
        *("maxOrderAmount", "maxRadius", "avgOrderTime", "hoursAvailable", "customerIdMethod", "isDeleted"),
        *("systemOrderTypeId", "hours", "categories"),
    )
    FILTERS: ClassVar[dict[str, Field]] = dict(_ID)
    LISTED_FILTERS = False

    @property
    def retired(self) -> bool:
        """Deleted, but still in the list with its mark, because old orders name it [I]."""
        return bool(self.fields["isDeleted"])


class SystemType(Row):
    __slots__ = ()
    LISTED_FILTERS = False


class Employee(Removable):
    __slots__ = ()
    KNOWN = (
        *("href", "id", "name", "nickname", "customId", "email", "inviteSent", "claimedTime", "deletedTime", "role"),
        *("isOwner", "orders", "pin", "unhashedPin"),
    )
    EXPAND: ClassVar[dict[str, type[Row] | None]] = {"roles": None, "shifts": None}
    FILTERS: ClassVar[dict[str, Field]] = {
        "modifiedTime": Field("int", lambda row: row.created),
        "role": Field("text", lambda row: row.fields["role"]),
        "role.id": Field("text", lambda row: None),
        "customId": Field("text", lambda row: row.fields.get("customId")),
        "name": Field("text", lambda row: row.fields["name"]),
        "nickname": Field("text", lambda row: row.fields.get("nickname")),
        **_ID,
        "deletedTime": Field("int", lambda row: row.fields.get("deletedTime")),
        "deleted_time": Field("int", lambda row: row.fields.get("deletedTime")),
        "email": Field("text", lambda row: row.fields.get("email")),
    }

    def expansion(self, name: str, tree: Tree, view: View) -> bytes | None:
        return dump({"elements": []})


class Item(Removable):
    """One good. `quantity` None: never counted."""

    __slots__ = ("categories", "modifiers", "quantity", "rates", "stock_time", "tags")
    KNOWN = (
        *("id", "hidden", "available", "autoManage", "itemGroup", "name", "alternateName", "code", "sku", "price"),
        *("priceType", "defaultTaxRates", "unitName", "cost", "isRevenue", "stockCount", "priceWithoutVat"),
        *("colorCode", "type", "isAgeRestricted", "modifiedTime", "deleted", "deletedTime"),
    )
    EXPAND: ClassVar[dict[str, type[Row] | None]] = dict.fromkeys(
        ("tags", "categories", "taxRates", "modifierGroups", "itemStock", "options", "ageRestricted")
    )

    def __init__(self, fields: dict[str, Any], created: int, quantity: float | None) -> None:
        super().__init__(fields, created)
        self.quantity, self.stock_time = quantity, created
        self.categories: list[Category] = []
        self.tags: list[Tag] = []
        self.rates: list[Rate] = []
        self.modifiers: tuple[tuple[str, int], ...] = ()

    def expansion(self, name: str, tree: Tree, view: View) -> bytes | None:
        if name == "itemStock":
            return dump(self.stock())
        if name == "categories":
            names = ("id", "name", "sortOrder")
            return dump({"elements": [{name: row.fields[name] for name in names} for row in self.categories]})
        if name == "tags":
            return elements(self.tags, View(view.token))
        if name == "taxRates":
            return elements(self.rates, View(view.token))
        if name in ("modifierGroups", "options"):
            return dump({"elements": []})
        return None

    def stock(self) -> dict[str, Any]:
        """The item's stock as `/item_stocks` shows it."""
        if self.quantity is None:
            return {"item": {"id": self.id}}
        quantity = int(self.quantity) if self.quantity == int(self.quantity) else self.quantity
        count = half_up(round(self.quantity * 1000), 1000)
        return {"item": {"id": self.id}, "stockCount": count, "quantity": quantity, "modifiedTime": self.stock_time}

    def count(self, quantity: float | None, now_ms: int, *, sells_out: bool) -> None:
        """A new stock; a managed item that runs out cannot be sold any more, and can again when it comes back."""
        self.quantity, self.stock_time = quantity, now_ms
        if sells_out and self.fields["autoManage"] and quantity is not None:
            self.set(available=quantity > 0)
        else:
            self.set()


def _quantity(row: Item) -> int | None:
    return None if row.quantity is None else int(row.quantity)


Item.FILTERS = {
    "lowStock": Field("bool", lambda row: row.quantity is not None and row.quantity <= LOW_STOCK),
    "modifiedTime": Field("int", lambda row: row.fields["modifiedTime"]),
    "hidden": Field("bool", lambda row: row.fields["hidden"]),
    "itemCode": Field("text", lambda row: row.fields.get("code")),
    "available": Field("bool", lambda row: row.fields["available"]),
    "option.id": Field("text", lambda row: None),
    "modifierGroup.id": Field("text", lambda row: None),
    "autoManage": Field("bool", lambda row: row.fields["autoManage"]),
    "price": Field("int", lambda row: row.fields["price"]),
    "id": Field("text", lambda row: row.id),
    "sku": Field("text", lambda row: row.fields.get("sku")),
    "defaultTaxRates": Field("bool", lambda row: row.fields["defaultTaxRates"]),
    "tags.id": Field("text", lambda row: tuple(tag.id for tag in row.tags), many=True),
    "alternateName": Field("text", lambda row: row.fields.get("alternateName")),
    "isRevenue": Field("bool", lambda row: row.fields["isRevenue"]),
    "tags.name": Field("text", lambda row: tuple(tag.fields["name"] for tag in row.tags), many=True),
    "deleted": Field("bool", lambda row: row.gone),
    "item.id": Field("text", lambda row: row.id),
    "name": Field("text", lambda row: row.fields["name"]),
    "itemStock.quantity": Field("int", _quantity),
    "itemGroup.id": Field("text", lambda row: None),
    "isAgeRestricted": Field("bool", lambda row: row.fields["isAgeRestricted"]),
    "ageRestrictedType": Field("text", lambda row: None),
    "minimumAge": Field("int", lambda row: 21 if row.fields["isAgeRestricted"] else None),
    "categoryId": Field("text", lambda row: tuple(one.id for one in row.categories), many=True, unlisted=True),
}
