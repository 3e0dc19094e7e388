"""Customers as the CRM keeps them: the record, its rendering, and the register with its indexes.

Known [D][IQ]: fields, category and type numbers, light and full record, `DoNotContact` true when omitted, phones and
e-mails not unique, disabled and merged customers stay in the change feed. Inferred [INF]: a change of an address or
contact method bumps the customer; phones are compared on digits without a leading 1 of eleven.
"""

import bisect
import json
from datetime import UTC, datetime
from typing import Any

CATEGORIES = {1: "Phone", 2: "Email", 3: "Other"}
METHOD_TYPES = {
    1: (1, "Home"),
    2: (1, "Work"),
    3: (1, "Mobile"),
    4: (1, "Company"),
    5: (1, "Pager"),
    6: (1, "Home Fax"),
    7: (1, "Work Fax"),
    8: (1, "Other"),
    9: (2, "Home"),
    10: (2, "Work"),
    11: (2, "Other"),
    12: (3, "Website"),
    13: (3, "Skype"),
    14: (3, "Twitter"),
    15: (3, "Facebook"),
    16: (3, "LinkedIn"),
    17: (3, "Other"),
}
CUSTOMER_TYPES = {1: "None", 2: "Person", 3: "Company"}
ADDRESS_TYPES = {1: "None", 2: "Home", 3: "Shipping", 4: "Office", 5: "Other"}
ARRAYS = ("Addresses", "ContactMethods", "CustomerExtensions", "RelatedCustomers", "MemberOf", "Documents")


def digits(value: str) -> str:
    """The digits of a phone, without the leading 1 of eleven."""
    kept = "".join(sign for sign in value if "0" <= sign <= "9")
    return kept[1:] if len(kept) == 11 and kept[0] == "1" else kept


def ms_text(ms: int) -> str:
    """`2026-03-02T21:55:57.207`, the CRM's form: UTC without a zone."""
    return f"{datetime.fromtimestamp(ms // 1000, UTC).isoformat()[:19]}.{ms % 1000:03d}"


def dump(document: Any) -> bytes:
    return json.dumps(document, separators=(",", ":")).encode()


class Customer:
    """One customer. `light` holds the fields of the light record in the vendor's names, `modified` is in ms.

    `full` is the rendered CustomerFull; its first `cut` bytes and a brace are the light record.
    """

    __slots__ = (
        "light",
        "addresses",
        "contacts",
        "extensions",
        "merged",
        "modified",
        "created",
        "points",
        "medical",
        "full",
        "cut",
        "_report",
    )

    def __init__(self, light: dict[str, Any], created: int) -> None:
        self.light = light
        self.addresses: list[dict[str, Any]] = []
        self.contacts: list[dict[str, Any]] = []
        self.extensions: list[dict[str, Any]] = []
        self.merged: list[str] = []
        self.created = created
        self.modified = created
        self.points = 0
        self.medical: str | None = None
        self.full = b""
        self.cut = 0
        self._report = ""

    @property
    def id(self) -> str:
        return self.light["Id"]

    @property
    def name(self) -> str:
        return f"{self.light['PrimaryName'] or ''} {self.light['FamilyName'] or ''}".strip()

    def default(self, category: int) -> str | None:
        """The value of the default phone (1) or e-mail (2): the one marked so, else the first."""
        first = None
        for method in self.contacts:
            if method["ContactMethodCategoryId"] == category:
                if method["Default"]:
                    return method["Value"]
                first = first or method["Value"]
        return first

    def render(self) -> None:
        """Renders anew; to be called after each change."""
        light = dump({**self.light, "LastModifiedDateUtc": ms_text(self.modified)})
        arrays = {
            "Addresses": self.addresses,
            "ContactMethods": self.contacts,
            "CustomerExtensions": self.extensions,
            "RelatedCustomers": [],
            "MemberOf": [],
            "Documents": [],
            "MergedCustomers": self.merged,
        }
        self.cut = len(light) - 1
        self.full = light[:-1] + b"," + dump(arrays)[1:]
        self._report = ""

    def light_bytes(self) -> bytes:
        return self.full[: self.cut] + b"}"

    def report(self) -> str:
        """The customer's part of a sales feed row, as JSON members."""
        if not self._report:
            state = next((row["StateCode"] for row in self.addresses if row["Default"]), None)
            members = {
                "CustomerId": self.id,
                "CustomerName": self.name,
                "Medical": "No" if self.medical is None else "Yes",
                "MedicalRecommendationNumber": self.medical,
                "DriverLicenseNumber": None,
                "CustomerState": state,
                "CustomerDateOfBirth": self.light["DateOfBirth"],
                "CustomerMobileNumber": self.default(1),
            }
            self._report = dump(members).decode()[1:-1]
        return self._report

    def handles(self) -> set[str]:
        """What the register finds this customer by."""
        found = set()
        for method in self.contacts:
            value = str(method["Value"] or "")
            found.add("c:" + value.lower())
            if method["ContactMethodCategoryId"] == 1:
                found.add("p:" + digits(value))
        if self.light["UniqueIdentifier"]:
            found.add("u:" + self.light["UniqueIdentifier"])
        return found


class Register:
    """All customers, by id, in order of last change, and by phone, contact value and outside identifier."""

    def __init__(self) -> None:
        self.by_id: dict[str, Customer] = {}
        self.ids: list[str] = []
        self.by_modified: list[tuple[int, str]] = []
        self._found: dict[str, set[str]] = {}

    def add(self, customer: Customer) -> None:
        customer.render()
        self.by_id[customer.id] = customer
        bisect.insort(self.ids, customer.id)
        bisect.insort(self.by_modified, (customer.modified, customer.id))
        self._index(customer)

    def fill(self, customers: list[Customer]) -> None:
        """Adds many at once; sorting once beats inserting in order."""
        for customer in customers:
            customer.render()
            self.by_id[customer.id] = customer
            self._index(customer)
        self.ids = sorted(self.by_id)
        self.by_modified = sorted((customer.modified, customer.id) for customer in self.by_id.values())

    def find(self, key: str) -> list[Customer]:
        """Customers by `p:` digits, `c:` contact value in lower case, or `u:` outside identifier; oldest first."""
        found = [self.by_id[identity] for identity in self._found.get(key, ())]
        return sorted(found, key=lambda customer: (customer.created, customer.id))

    def change(self, customer: Customer, now: int, change: Any) -> None:
        """Runs `change()` on the customer, then bumps version and time and puts the indexes right."""
        for key in customer.handles():
            self._found[key].discard(customer.id)
        self.by_modified.pop(bisect.bisect_left(self.by_modified, (customer.modified, customer.id)))
        try:
            change()
            customer.light["Version"] += 1
            customer.modified = max(now, customer.modified + 1)
        finally:
            bisect.insort(self.by_modified, (customer.modified, customer.id))
            self._index(customer)
            customer.render()

    def _index(self, customer: Customer) -> None:
        for key in customer.handles():
            self._found.setdefault(key, set()).add(customer.id)
