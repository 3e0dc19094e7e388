"""The company's routes: locations and tree, pricing groups, tax configuration, users.

Known [D][IQ]: paths and fields, plain JSON from the entity manager, the user list's own envelope, `$top` of users from
1 to 100 (30 by default), a location without a tax row is tax exclusive. Inferred [INF]: a closed store stays in the
list with `LocationStatus` `Inactive`; the last store has no tax row when there is more than one; `count` of the users
is the total.
"""

import json
from typing import TYPE_CHECKING, Any

from integrations.sandbox.cova.customers import dump
from integrations.sandbox.cova.odata import BadFilter, parse
from integrations.sandbox.cova.routes import Call, Fail, Router
from integrations.sandbox.cova.shop import (
    COMPANY_ID,
    COMPANY_NAME,
    PRICING_GROUPS,
    Employee,
    Location,
    location_row,
)
from integrations.sandbox.wire import Response

if TYPE_CHECKING:
    from integrations.sandbox.cova import Cova

_USER_KINDS = {"ClientUserId": "text", "CorrelationId": "text", "isactive": "text", "userName": "text"}


class Company:
    """Handlers over the vendor's shop."""

    def __init__(self, vendor: "Cova") -> None:
        self.vendor = vendor

    def routes(self, router: Router) -> None:
        company = "/v1/Companies({})"
        router.add("GET", "entitymanager", company, self.company)
        router.add("GET", "entitymanager", company + "/Locations", self.locations)
        router.add("GET", "entitymanager", company + "/Locations({})", self.location)
        router.add("GET", "entitymanager", company + "/Tree", self.tree)
        router.add("GET", "pricing", company + "/PricingGroups", self.groups)
        router.add("GET", "pricing", company + "/PricingGroups({})", self.group)
        router.add("GET", "taxes", company + "/TaxPricingConfiguration", self.tax_pricing)
        for version in ("/v1", "/v2"):
            router.add("GET", "usermanager", version + "/entities({})/users", self.users, "$filter", "$skip", "$top")

    def company(self, call: Call) -> Response:
        row = {
            "Id": COMPANY_ID,
            "Name": COMPANY_NAME,
            "DisplayName": COMPANY_NAME,
            "Description": "",
            "Role": "Company",
            "Roles": [{"Name": "Company"}],
            "SortName": COMPANY_NAME.lower(),
            "Attributes": {},
            "Relationships": [],
            "Version": 2,
            "CreatedUtc": "2025-01-09T17:00:00Z",
            "LastModifiedUtc": "2025-01-09T17:00:00Z",
            "CorrelationId": None,
            "ClientEntityId": None,
            "TypeId": None,
            "Logo": None,
            "Website": None,
        }
        return call.one(dump(row))

    def locations(self, call: Call) -> Response:
        return call.rows(dump(location_row(place)) for place in self.vendor.shop.locations.values())

    def location(self, call: Call) -> Response:
        place = self.vendor.shop.locations.get(int(call.ids[1]))
        if place is None:
            raise Fail(404, "Entity Not Found")
        return call.one(dump(location_row(place)))

    def tree(self, call: Call) -> Response:
        nodes = [_node(place.id, place.name, "Location", []) for place in self.vendor.shop.locations.values()]
        return call.one(dump(_node(COMPANY_ID, COMPANY_NAME, "Company", nodes)))

    def groups(self, call: Call) -> Response:
        return call.rows(map(dump, PRICING_GROUPS))

    def group(self, call: Call) -> Response:
        for row in PRICING_GROUPS:
            if row["Id"] == int(call.ids[1]):
                return call.one(dump(row))
        raise Fail(404, "Cannot find matching records")

    def tax_pricing(self, call: Call) -> Response:
        places = list(self.vendor.shop.locations.values())
        row = {
            "Id": 3101,
            "CompanyId": COMPANY_ID,
            "Configurations": list(map(_tax_row, places[: len(places) - 1 or 1])),
        }
        return call.rows([dump(row)])

    def users(self, call: Call) -> Response:
        skip, top = call.whole("$skip", 0), call.whole("$top", 30)
        if not 1 <= top <= 100:
            raise Fail(400, "$top must be from 1 to 100")
        try:
            clauses = parse(call.query["$filter"], _USER_KINDS) if "$filter" in call.query else []
        except BadFilter as refusal:
            raise Fail(400, str(refusal)) from None
        rows = [_user(employee) for employee in self.vendor.shop.employees]
        names = {"isactive": "IsActive", "userName": "UserName"}
        for clause in clauses:
            name = names.get(clause.prop, clause.prop)
            rows = [row for row in rows if clause.holds(str(row[name]).lower() if name == "IsActive" else row[name])]
        path = f"v2/{call.link}"
        links = {
            "prev": _page(path, max(0, skip - top), top) if skip else None,
            "self": _page(path, skip, top),
            "next": _page(path, skip + top, top) if len(rows) > skip + top else None,
        }
        metadata = {"count": len(rows), "skip": skip, "top": top}
        body = {"_links": links, "_metadata": metadata, "items": rows[skip : skip + top]}
        return Response(200, json.dumps(body).encode())


def _page(path: str, skip: int, top: int) -> dict[str, str]:
    return {"href": f"{path}?$skip={skip}&$top={top}"}


def _node(identity: int, name: str, role: str, nodes: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "Id": identity,
        "Name": name,
        "DisplayName": "",
        "Description": "",
        "Role": role,
        "ClientEntityId": None,
        "Version": 3,
        "Nodes": nodes,
    }


def _tax_row(place: Location) -> dict[str, Any]:
    return {
        "Id": 41000 + place.index,
        "LocationId": place.id,
        "CompanyId": COMPANY_ID,
        "TaxPricing": "Exclusive",
    }


def _user(employee: Employee) -> dict[str, Any]:
    return {
        "Id": employee.id,
        "CorrelationId": None,
        "ClientUserId": None,
        "FirstName": employee.first,
        "LastName": employee.last,
        "UserName": f"{employee.first}.{employee.last}@harbour".lower(),
        "Email": f"{employee.first}.{employee.last}@example.test".lower(),
        "IsActive": employee.active,
        "ParentEntityId": COMPANY_ID,
        "ParentEntityName": COMPANY_NAME,
        "Picture": None,
        "Address": {},
        "PhoneNumbers": [],
        "JobTitle": "Budtender",
        "Attributes": {},
        "Version": 4,
    }
