"""Customers: the rows, how they are read, how they are written.

Known: no time of change on the customer, only in `metadata`; the fields to filter by, without any time of change [D
S14, S27]; contacts only when expanded [D S7]; names up to 64, address parts up to 127, zip 10, country 2, note 2,000 [D
S14, S15]; create and update with POST and 200, update partial, PUT and PATCH 405 [I-field S24]; lists without a
wrapper; `marketingAllowed` not honoured for a token; flat `email` and `phone` ignored; no look for doubles [I-field
S24]; contacts have paths of their own, metadata one call that makes and changes [D S14, S29]; no GET there [D S28].

Inferred [I], as the reference chooses: `customerSince` sent is ignored; a list with `elements` is taken too; the
first e-mail is the primary one, and setting another takes it from the first; contacts in an update are ignored
(`nested_updates` of the seed: entries with an id are changed, without one added, none removed); metadata in a body
is merged; its `modifiedTime` moves with any change of a customer who has metadata, and metadata appears only when
some is written; null or an empty text takes a field away; contact texts need only not be empty; an address needs all
its parts; a deleted customer is 404, and shown by a `deletedTime` filter with id, href and customerSince alone.
"""

from typing import Any, ClassVar

from integrations.sandbox.clover.errors import Fail
from integrations.sandbox.clover.query import Clause, Field
from integrations.sandbox.clover.rows import PLAIN, WEB, Row, Tree, View, dump, elements

_NAME = 64
_ADDRESS = {"address1": 127, "address2": 127, "address3": 127, "city": 127, "state": 127, "zip": 10, "country": 2}
_NEEDED = ("address1", "city", "state", "zip", "country")
_TEXTS = {"businessName": 127, "note": 2000}
_BIRTH = {"dobYear": (1800, 2200), "dobMonth": (1, 12), "dobDay": (1, 31)}
CONTACTS = {"email_addresses": "emails", "phone_numbers": "phones", "addresses": "addresses"}
_LISTS = {"emailAddresses": "emails", "phoneNumbers": "phones", "addresses": "addresses"}
_WORDS = {"emails": "Email address", "phones": "Phone number", "addresses": "Address"}


class Part(Row):
    """An e-mail, a phone, an address or a stored card of a customer."""

    __slots__ = ()
    KNOWN = ("id", "emailAddress", "primaryEmail", "verifiedTime", "phoneNumber", *_ADDRESS)

    def render(self, view: View, tree: Tree = PLAIN) -> bytes:
        return super().render(View(view.token), tree)  # the list of its names is that of three kinds


class Customer(Row):
    __slots__ = ("addresses", "cards", "deleted", "emails", "metadata", "phones")
    CREATED = "customerSince"
    KNOWN = ("href", "id", "merchant", "firstName", "lastName", "marketingAllowed", "customerSince")
    EXPAND: ClassVar[dict[str, type[Row] | None]] = {
        "emailAddresses": None,
        "phoneNumbers": None,
        "addresses": None,
        "metadata": None,
        "cards": None,
    }

    def __init__(self, merchant_id: str, identity: str, since: int, first: str | None, last: str | None) -> None:
        fields: dict[str, Any] = {"href": f"{WEB}/v3/merchants/{merchant_id}/customers/{identity}", "id": identity}
        if first:
            fields["firstName"] = first
        if last:
            fields["lastName"] = last
        fields |= {"marketingAllowed": False, "customerSince": since}
        super().__init__(fields, since)
        self.emails: list[Part] = []
        self.phones: list[Part] = []
        self.addresses: list[Part] = []
        self.cards: list[Part] = []
        self.metadata: dict[str, Any] | None = None
        self.deleted: int | None = None

    @property
    def full_name(self) -> str:
        return " ".join(self.fields[name] for name in ("firstName", "lastName") if name in self.fields)

    def shown(self, clauses: list[Clause]) -> bool:
        return self.deleted is None or any(clause.name == "deletedTime" for clause in clauses)

    def render(self, view: View, tree: Tree = PLAIN) -> bytes:
        if self.deleted is not None:
            return dump({name: self.fields[name] for name in ("href", "id", "customerSince")})
        return super().render(view, tree)

    def visible(self, view: View) -> dict[str, Any]:
        if not view.european or view.token.may("CUSTOMERS_MARKETING_R"):
            return self.fields
        return {name: value for name, value in self.fields.items() if name != "marketingAllowed"}

    def expansion(self, name: str, tree: Tree, view: View) -> bytes | None:
        if name == "metadata":
            shown = self.shown_metadata(view)
            return None if shown is None else dump(shown)
        field, rows = {
            "emailAddresses": ("EMAIL", self.emails),
            "phoneNumbers": ("PHONE", self.phones),
            "addresses": ("ADDRESS", self.addresses),
            "cards": ("CARDS", self.cards),
        }[name]
        if view.european and not view.token.may(f"CUSTOMERS_{field}_R"):
            return None
        return elements(rows, View(view.token))

    def shown_metadata(self, view: View) -> dict[str, Any] | None:
        if self.metadata is None:
            return None
        hidden: set[str] = set()
        if view.european:
            for permission, names in (
                ("BUSINESSNAME", ("businessName",)),
                ("NOTE", ("note",)),
                ("BIRTHDATE", tuple(_BIRTH)),
            ):
                if not view.token.may(f"CUSTOMERS_{permission}_R"):
                    hidden.update(names)
        return {name: value for name, value in self.metadata.items() if name not in hidden}

    def touched(self, now_ms: int) -> None:
        """Any change of the customer moves the one stamp there is, when there is one."""
        if self.metadata is not None:
            self.metadata["modifiedTime"] = now_ms
        self.set()

    def merge_metadata(self, changes: dict[str, Any], now_ms: int) -> None:
        metadata = self.metadata if self.metadata is not None else {}
        owner = metadata.pop("customer", {"id": self.id})
        metadata.pop("modifiedTime", None)
        for name, value in changes.items():
            if value is None or value == "":
                metadata.pop(name, None)
            else:
                metadata[name] = value
        self.metadata = metadata | {"modifiedTime": now_ms, "customer": owner}


Customer.FILTERS = {
    "customerSince": Field("int", lambda row: row.fields["customerSince"]),
    "firstName": Field("text", lambda row: row.fields.get("firstName")),
    "lastName": Field("text", lambda row: row.fields.get("lastName")),
    "emailAddress": Field("text", lambda row: tuple(one.fields["emailAddress"] for one in row.emails), many=True),
    "phoneNumber": Field("text", lambda row: tuple(one.fields["phoneNumber"] for one in row.phones), many=True),
    "marketingAllowed": Field("bool", lambda row: row.fields["marketingAllowed"]),
    "fullName": Field("text", lambda row: row.full_name or None),
    "id": Field("text", lambda row: row.id),
    "deletedTime": Field("int", lambda row: row.deleted),
}


def part(kind: str, identity: str, customer: Customer, values: dict[str, Any]) -> Part:
    """A contact as it is shown."""
    fields: dict[str, Any] = {"id": identity, **values, "customer": {"id": customer.id}}
    made = Part(fields)
    if kind == "emails":
        _prefer(customer, made, asked=values.get("primaryEmail"))
    getattr(customer, kind).append(made)
    return made


def _prefer(customer: Customer, email: Part, *, asked: Any) -> None:
    others = [other for other in customer.emails if other is not email]
    if asked:
        for other in others:
            if other.fields.get("primaryEmail"):
                other.set(primaryEmail=None)
    email.set(primaryEmail=True if asked or (not others and asked is None) else None)


class Values:
    """The checked content of a body: what may be written, in the vendor's names."""

    def __init__(self, body: dict[str, Any]) -> None:
        self.body = body

    def names(self) -> dict[str, str | None]:
        found: dict[str, str | None] = {}
        for name in ("firstName", "lastName"):
            if name in self.body:
                found[name] = self._text(name, self.body[name], _NAME) or None
        return found

    def contacts(self) -> dict[str, list[dict[str, Any]]]:
        """The contact lists of the body."""
        found: dict[str, list[dict[str, Any]]] = {}
        for name, kind in _LISTS.items():
            rows = self.body.get(name)
            if isinstance(rows, dict) and set(rows) <= {"elements", "href"}:
                rows = rows.get("elements")
            if rows is None:
                continue
            if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
                raise _bad(f"{name} is a list of objects")
            found[kind] = rows
        return found

    def contact(self, kind: str, *, partial: bool = False) -> dict[str, Any]:
        """One contact. `partial` checks only what was sent."""
        if kind == "addresses":
            return self._address(partial)
        name = "emailAddress" if kind == "emails" else "phoneNumber"
        found: dict[str, Any] = {}
        if not partial or name in self.body:
            text = self._text(name, self.body.get(name), None)
            if not text or not text.strip():
                raise _bad(f"{name} must not be empty")
            found[name] = text
        if kind == "emails" and "primaryEmail" in self.body:
            if not isinstance(self.body["primaryEmail"], bool | None):
                raise _bad("primaryEmail is true or false")
            found["primaryEmail"] = self.body["primaryEmail"]
        return found

    def _address(self, partial: bool) -> dict[str, Any]:
        found = {}
        for name, most in _ADDRESS.items():
            if name not in self.body:
                continue
            text = self._text(name, self.body[name], most)
            if text or (partial and name not in _NEEDED):
                found[name] = text or None
        for name in _NEEDED:
            if not found.get(name) and (not partial or name in self.body):
                raise _bad(f"{name} must not be empty")
        if len(found.get("country") or "US") != 2:
            raise _bad("country has two letters")
        return found if partial else {name: value for name, value in found.items() if value is not None}

    def metadata(self) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for name, most in _TEXTS.items():
            if name in self.body:
                found[name] = self._text(name, self.body[name], most)
        for name, (low, high) in _BIRTH.items():
            value = self.body.get(name)
            if name in self.body:
                if value is not None and (type(value) is not int or not low <= value <= high):
                    raise _bad(f"{name} is a whole number from {low} to {high}")
                found[name] = value
        return found

    def inner_metadata(self) -> dict[str, Any] | None:
        """The metadata inside a customer's body; None when there is none."""
        inner = self.body.get("metadata")
        if inner is None:
            return None
        if not isinstance(inner, dict):
            raise _bad("metadata is an object")
        return Values(inner).metadata()

    def _text(self, name: str, value: Any, most: int | None) -> str | None:
        if value is None:
            return None
        if not isinstance(value, str):
            raise _bad(f"{name} is a text")
        if most is not None and len(value) > most:
            raise _bad(f"{name} is longer than {most}")
        return value


def _bad(details: str) -> Fail:
    return Fail(400, "Bad Request", details)


class Writing:
    """Switches of the seed for what is not known for sure, and where new ids come from."""

    def __init__(self, new_id: Any, *, nested_updates: bool, marketing_honoured: bool) -> None:
        self.new_id = new_id
        self.nested_updates = nested_updates
        self.marketing_honoured = marketing_honoured

    def create(self, merchant_id: str, body: dict[str, Any], now_ms: int) -> Customer:
        values = Values(body)
        names, contacts, metadata = values.names(), values.contacts(), values.inner_metadata()
        checked = {kind: [Values(row).contact(kind) for row in rows] for kind, rows in contacts.items()}
        customer = Customer(merchant_id, self.new_id(), now_ms, names.get("firstName"), names.get("lastName"))
        self._marketing(customer, body)
        for kind, rows in checked.items():
            for row in rows:
                part(kind, self.new_id(), customer, row)
        if metadata is not None:
            customer.merge_metadata(metadata, now_ms)
        return customer

    def update(self, customer: Customer, body: dict[str, Any], now_ms: int) -> None:
        """Only what was sent changes."""
        values = Values(body)
        names, metadata, contacts = values.names(), values.inner_metadata(), values.contacts()
        checked = []
        for kind, rows in contacts.items() if self.nested_updates else ():
            for row in rows:
                old = find(customer, kind, str(row["id"])) if row.get("id") else None
                checked.append((kind, old, Values(row).contact(kind, partial=old is not None)))
        for name, value in names.items():
            customer.set(**{name: value})
        self._marketing(customer, body)
        for kind, old, found in checked:
            if old is None:
                part(kind, self.new_id(), customer, found)
            else:
                change(customer, kind, old, found)
        if metadata is not None:
            customer.merge_metadata(metadata, now_ms)
        customer.touched(now_ms)

    def _marketing(self, customer: Customer, body: dict[str, Any]) -> None:
        asked = body.get("marketingAllowed")
        if asked is not None and not isinstance(asked, bool):
            raise _bad("marketingAllowed is true or false")
        if asked is not None and self.marketing_honoured:
            customer.set(marketingAllowed=asked)


def find(customer: Customer, kind: str, identity: str) -> Part:
    """A contact by its id."""
    for row in getattr(customer, kind):
        if row.id == identity:
            return row
    raise Fail(404, "Not Found", f"{_WORDS[kind]} not found")


def change(customer: Customer, kind: str, row: Part, found: dict[str, Any]) -> None:
    """Changes what was sent of a contact."""
    asked = found.pop("primaryEmail", None)
    row.set(**found)
    if kind == "emails" and asked is not None:
        _prefer(customer, row, asked=asked)
