"""The CRM's routes: read, poll, search, and the partial writes.

Known [D][IQ][OBS]: paths, fields, page size of at most 100 (50 by default), 201 on POST and 200 on PUT and DELETE, no
PUT on CustomerFull, delete only disables. Inferred [INF]: order of rows (poll: by time of change, then id; light list:
by id), full replacement on PUT, 409 on a wrong `Version`, the search's fields and operations, 400 on an unknown pricing
group and on an unknown field name in a body (a misspelt one must not pass unseen); a merged customer can be read.
"""

import bisect
import re
import time
from collections.abc import Iterable
from random import Random
from typing import TYPE_CHECKING, Any

from integrations.sandbox.cova import crm_fields as fields
from integrations.sandbox.cova.customers import Customer, digits, dump
from integrations.sandbox.cova.odata import BadFilter, Clause, parse
from integrations.sandbox.cova.people import blank_light
from integrations.sandbox.cova.routes import NOT_FOUND, Call, Fail, Router
from integrations.sandbox.cova.trading import guid
from integrations.sandbox.wire import Response

if TYPE_CHECKING:
    from integrations.sandbox.cova import Cova

_SEARCH = {
    "Phone",
    "Contact",
    "PrimaryName",
    "FamilyName",
    "FullName",
    "DateOfBirth",
    "UniqueIdentifier",
    "CardNumber",
}
_CRITERIA = re.compile(
    r"\s*(?:Criteria\s+eq\s+'(?P<whole>(?:[^']|'')*)'|substringof\('(?P<part>(?:[^']|'')*)'\s*,\s*Criteria\))\s*\Z",
    re.IGNORECASE,
)
_COLLECTIONS = {"addresses": "addresses", "contactmethods": "contacts"}


class Crm:
    """Handlers over the vendor's register."""

    def __init__(self, vendor: "Cova") -> None:
        self.vendor = vendor
        self.rng = Random()  # ids of new rows need not repeat from run to run

    def routes(self, router: Router) -> None:
        company = "/v1/Companies({})"
        page = ("$filter", "$skip", "$top")
        full, light = company + "/CustomerFull", company + "/Customers"
        router.add("GET", "crm", full, self.list_full, *page)
        router.add("POST", "crm", full, self.create_full)
        router.add("GET", "crm", full + "({id})", self.get_full)
        router.add("DELETE", "crm", full + "({id})", self.disable)
        router.add("GET", "crm", light, self.list_light, *page)
        router.add("POST", "crm", light, self.create_light)
        router.add("GET", "crm", light + "({id})", self.get_light)
        router.add("PUT", "crm", light + "({id})", self.replace)
        router.add("DELETE", "crm", light + "({id})", self.disable)
        router.add("POST", "crm", company + "/Search", self.search)
        router.add("GET", "crm", company + "/CustomerSearch", self.search_one, *page)
        for name in ("Addresses", "ContactMethods"):
            router.add("GET", "crm", f"{light}({{id}})/{name}", self.list_parts)
            router.add("POST", "crm", f"{light}({{id}})/{name}", self.add_part)
            router.add("GET", "crm", f"{light}({{id}})/{name}({{id}})", self.get_part)
            router.add("PUT", "crm", f"{light}({{id}})/{name}({{id}})", self.replace_part)
            router.add("DELETE", "crm", f"{light}({{id}})/{name}({{id}})", self.delete_part)

    def customer(self, call: Call) -> Customer:
        found = self.vendor.register.by_id.get(call.ids[1].lower())
        if found is None:
            raise Fail(404, NOT_FOUND)
        return found

    # reading

    def list_full(self, call: Call) -> Response:
        return self._list(call, lambda customer: customer.full, by_modified=True)

    def list_light(self, call: Call) -> Response:
        return self._list(call, Customer.light_bytes, by_modified=False)

    def _list(self, call: Call, render: Any, *, by_modified: bool) -> Response:
        register = self.vendor.register
        skip, top = call.whole("$skip", 0), call.clamped_top(50, 100)
        clauses = _clauses(call)
        order: Any = register.by_modified if by_modified else register.ids
        if by_modified:
            # The polling key is the order: the first row is found, not searched for.
            start = 0
            for clause in clauses:
                if clause.prop == "LastModifiedDateUtc" and clause.op in ("ge", "gt"):
                    ms = -(-round(clause.value.timestamp() * 1_000_000) // 1000)
                    start = max(start, bisect.bisect_left(order, (ms, "")))
                    if clause.op == "ge":
                        clauses = [other for other in clauses if other is not clause]
            keys = [key for _, key in order[start:]] if clauses else None
            if keys is None:
                keys = [key for _, key in order[start + skip : start + skip + top]]
                more = len(order) > start + skip + top
                return call.rows([render(register.by_id[key]) for key in keys], skip=skip, top=top, more=more)
        else:
            keys = self._light_keys(clauses)
        found = [register.by_id[key] for key in keys]
        if clauses:
            found = [customer for customer in found if all(c.holds(_value(customer, c.prop)) for c in clauses)]
        page = found[skip : skip + top]
        return call.rows(map(render, page), skip=skip, top=top, more=len(found) > skip + top)

    def _light_keys(self, clauses: list[Clause]) -> list[str]:
        for clause in clauses:
            if clause.prop == "UniqueIdentifier" and clause.op == "eq" and clause.value and not clause.lower:
                return sorted(customer.id for customer in self.vendor.register.find("u:" + clause.value))
        return self.vendor.register.ids

    def get_full(self, call: Call) -> Response:
        return self._answer(call, self.customer(call), full=True)

    def get_light(self, call: Call) -> Response:
        return self._answer(call, self.customer(call), full=False)

    def _answer(self, call: Call, customer: Customer, *, full: bool, status: int = 200) -> Response:
        etag = [("ETag", f'"{customer.light["Version"]}"')]
        return call.one(customer.full if full else customer.light_bytes(), status=status, headers=etag)

    # searching

    def search(self, call: Call) -> Response:
        body = call.body()
        criteria = body.get("Criteria")
        if not isinstance(criteria, list) or not criteria:
            raise Fail(400, "Criteria is required")
        found: list[Customer] | None = None
        for criterion in criteria:
            if not isinstance(criterion, dict) or set(criterion) - {"Field", "Operation", "Criteria"}:
                raise Fail(400, "A criterion has Field, Operation and Criteria")
            matches = self._matching(criterion)
            ids = {customer.id for customer in matches}
            found = matches if found is None else [customer for customer in found if customer.id in ids]
        rows = b",".join(customer.full for customer in self._known_to_search(found or ()))
        return Response(200, b'{"Id":0,"Criteria":' + dump(criteria) + b',"Results":[' + rows + b"]}")

    def _matching(self, criterion: dict[str, Any]) -> list[Customer]:
        field, operation = criterion.get("Field"), criterion.get("Operation") or "Equals"
        value = str(criterion.get("Criteria") or "")
        if field not in _SEARCH:
            raise Fail(400, f"Unknown search field '{field}'")
        if operation not in ("Equals", "StartsWith", "Contains"):
            raise Fail(400, f"Unknown search operation '{operation}'")
        if not value:
            raise Fail(400, "Criteria is empty")
        register = self.vendor.register
        if field == "Phone":
            value = digits(value)
            if not value:
                return []
        else:
            value = value.lower()
        if operation == "Equals" and field in ("Phone", "Contact"):
            return register.find(("p:" if field == "Phone" else "c:") + value)
        tests = {"Equals": str.__eq__, "StartsWith": str.startswith, "Contains": str.__contains__}
        test = tests[operation]
        return [
            customer
            for customer in register.by_id.values()
            if any(test(text, value) for text in _searched(customer, str(field)))
        ]

    def _known_to_search(self, found: Iterable[Customer]) -> list[Customer]:
        until = int((time.time() - self.vendor.search_lag_s) * 1000)
        return [customer for customer in found if customer.created <= until]

    def search_one(self, call: Call) -> Response:
        wanted = _CRITERIA.match(call.query.get("$filter", ""))
        if wanted is None:
            raise Fail(400, "Error while extracting the request query")
        skip, top = call.whole("$skip", 0), call.clamped_top(50, 100)
        value = (wanted["whole"] if wanted["part"] is None else wanted["part"]).replace("''", "'")
        sought = value.lower()
        found = []
        for identity in self.vendor.register.ids:
            customer = self.vendor.register.by_id[identity]
            texts = _texts(customer)
            matches = sought in texts if wanted["part"] is None else any(sought in text for text in texts)
            if matches and self._known_to_search([customer]):
                found.append(customer.full[:-1] + b',"Criteria":' + dump(value) + b"}")
        return call.rows(found[skip : skip + top], skip=skip, top=top, more=len(found) > skip + top)

    # writing

    def create_full(self, call: Call) -> Response:
        return self._create(call, full=True)

    def create_light(self, call: Call) -> Response:
        return self._create(call, full=False)

    def _create(self, call: Call, *, full: bool) -> Response:
        body = call.body()
        light = blank_light(guid(self.rng))
        light.update(fields.light(body, with_arrays=full))
        if not light["UniqueIdentifier"]:
            light["UniqueIdentifier"] = f"{self.rng.getrandbits(40):010x}"
        customer = Customer(light, int(time.time() * 1000))
        for row in body.get("Addresses") or () if full else ():
            customer.addresses.append(fields.address(row, light["Id"], guid(self.rng)))
        for row in body.get("ContactMethods") or () if full else ():
            customer.contacts.append(fields.contact(row, light["Id"], guid(self.rng)))
        for row in body.get("CustomerExtensions") or () if full else ():
            customer.extensions.append(fields.extension(row, light["Id"], guid(self.rng)))
        self.vendor.register.add(customer)
        return self._answer(call, customer, full=full, status=201)

    def replace(self, call: Call) -> Response:
        customer, body = self.customer(call), call.body()
        if str(body.get("Id", "")).lower() != customer.id:
            raise Fail(400, "Id is required and must match the address")
        _same_version(body, customer.light["Version"])
        new = blank_light(customer.id)
        new.update(fields.light(body, with_arrays=False))
        kept = {name: customer.light[name] for name in ("Version", "MergedIntoCustomerId")}
        if not new["UniqueIdentifier"]:
            new["UniqueIdentifier"] = customer.light["UniqueIdentifier"]
        self._change(customer, lambda: customer.light.update({**new, **kept}))
        return self._answer(call, customer, full=False)

    def disable(self, call: Call) -> Response:
        customer = self.customer(call)
        self._change(customer, lambda: customer.light.update(Disabled=True))
        return self._answer(call, customer, full=False)

    def _change(self, customer: Customer, change: Any) -> None:
        self.vendor.register.change(customer, int(time.time() * 1000), change)

    def _parts(self, call: Call) -> tuple[Customer, list[dict[str, Any]], Any]:
        customer = self.customer(call)
        addresses = "/addresses" in call.link.lower()
        return (
            customer,
            customer.addresses if addresses else customer.contacts,
            (fields.address if addresses else fields.contact),
        )

    def _part(self, call: Call) -> tuple[Customer, list[dict[str, Any]], Any, int]:
        customer, parts, read = self._parts(call)
        for at, part in enumerate(parts):
            if part["Id"] == call.ids[2].lower():
                return customer, parts, read, at
        raise Fail(404, NOT_FOUND)

    def list_parts(self, call: Call) -> Response:
        return call.rows(map(dump, self._parts(call)[1]))

    def get_part(self, call: Call) -> Response:
        _, parts, _, at = self._part(call)
        return call.one(dump(parts[at]))

    def add_part(self, call: Call) -> Response:
        customer, parts, read = self._parts(call)
        part = read(call.body(), customer.id, guid(self.rng), owned=True)
        self._change(customer, lambda: parts.append(part))
        return call.one(dump(part), status=201)

    def replace_part(self, call: Call) -> Response:
        customer, parts, read, at = self._part(call)
        body = call.body()
        if str(body.get("Id", "")).lower() != parts[at]["Id"]:
            raise Fail(400, "Id is required and must match the address")
        _same_version(body, parts[at]["Version"])
        part = {**read(body, customer.id, parts[at]["Id"], owned=True), "Version": parts[at]["Version"] + 1}
        self._change(customer, lambda: parts.__setitem__(at, part))
        return call.one(dump(part))

    def delete_part(self, call: Call) -> Response:
        customer, parts, _, at = self._part(call)
        self._change(customer, lambda: parts.pop(at))
        return Response(200, b"{}")


def _clauses(call: Call) -> list[Clause]:
    text = call.query.get("$filter")
    if text is None:
        return []
    try:
        return parse(text, fields.KINDS)
    except BadFilter as refusal:
        raise Fail(400, f"Error while extracting the request query. {refusal}") from None


def _value(customer: Customer, prop: str) -> Any:
    return fields.comparable(customer.light.get(prop), prop, customer.modified)


def _same_version(body: dict[str, Any], version: int) -> None:
    if body.get("Version") is not None and body["Version"] != version:
        raise Fail(409, "The version does not match; the record was changed meanwhile.")


def _texts(customer: Customer) -> set[str]:
    light = customer.light
    texts = {str(light[name] or "").lower() for name in ("PrimaryName", "MiddleName", "FamilyName", "AlternateName")}
    texts.update(str(method["Value"] or "").lower() for method in customer.contacts)
    texts.update(str(row["Value"] or "").lower() for row in customer.extensions)
    return texts


def _searched(customer: Customer, field: str) -> list[str]:
    if field == "Phone":
        return [digits(row["Value"] or "") for row in customer.contacts if row["ContactMethodCategoryId"] == 1]
    if field == "Contact":
        return [str(row["Value"] or "").lower() for row in customer.contacts]
    if field == "CardNumber":
        return [row["Value"].lower() for row in customer.extensions if row["ExtensionTypeId"] == 7]
    if field == "FullName":
        return [customer.name.lower()]
    if field == "DateOfBirth":
        return [(customer.light["DateOfBirth"] or "")[:10]]
    return [str(customer.light[field] or "").lower()]
