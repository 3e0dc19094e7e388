"""What is read from Cova, and from where."""

from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from ..kit.pages import ChangedSince, FullList
from ..kit.records import BalanceRecord, CustomerRecord, LocationRecord, PricingGroupRecord, SaleRecord
from ..kit.singles import OneByOne
from ..kit.streams import Context, Stream
from ..kit.windows import DateWindows
from . import mapping

if TYPE_CHECKING:
    from ..kit.client import Client

DETAILS = "/pointofsale/Companies({identity})/SalesInvoiceDetails({sale})"  # no /v1 in this service


class Locations(Stream):
    name, title, record = "locations", "Locations", LocationRecord
    path = "/entitymanager/v1/Companies({identity})/Locations"
    if_empty = "Ask Cova whether the API user was given your locations; without them no sale can be read."
    pages = FullList()
    interval_s = 3600
    parse = staticmethod(mapping.location)


class PricingGroups(Stream):
    name, title, record = "pricing_groups", "Pricing groups", PricingGroupRecord
    path = "/pricing/v1/Companies({identity})/PricingGroups"
    pages = FullList()
    interval_s = 3600
    parse = staticmethod(mapping.pricing_group)


class Customers(Stream):
    name, title, record = "customers", "Customers", CustomerRecord
    path = "/crm/v1/Companies({identity})/CustomerFull"
    if_empty = (
        "If Cova shows customers, the API user may not see them: ask apisupport@covasoftware.com for the permission "
        "“Manage Dispensary Specific Elements”, and compare the Company ID."
    )
    # The CRM gives at most 100 a page and clamps what is larger (iQmetrix documentation).
    pages = ChangedSince("LastModifiedDateUtc", top=100)
    parse = staticmethod(mapping.customer)


class Sales(Stream):
    name, title, record = "sales", "Sales", SaleRecord
    path = "/posreports/v1/Companies({identity})/Entities({location})/ByInvoiceWithProducts"
    if_empty = (
        "If Cova shows invoices of the last year, ask apisupport@covasoftware.com whether the API user was given the "
        "locations that sell, and compare the Company ID."
    )
    # Large ranges end in time-outs (Cova's FAQ): days, not months.
    pages = DateWindows("DateRange", "Date", top=500)
    per_location = True
    history = True
    after = ("locations", "customers")
    parse = staticmethod(mapping.sale)

    @staticmethod
    def belongs(row: Any, location: str, low: str, high: str) -> bool:
        if not isinstance(row, dict):
            return True
        place, at = row.get("SoldAtEntityId"), row.get("CreatedDateUtc")
        if place is not None and str(place) != location:
            return False
        # Cova cuts these times to the minute (portal 2019): compared as text, to the minute.
        return not isinstance(at, str) or len(at) < 16 or low[:16] <= at[:16] <= high[:16]

    @classmethod
    def details_reason(cls, record: SaleRecord, context: Context) -> str:
        if record.needs_details == "blank_payment" and context.settings.get("skip_payment_method"):
            return ""
        return record.needs_details

    @classmethod
    def fetch_details(cls, client: "Client", record: SaleRecord, context: Context) -> SaleRecord:
        path = DETAILS.format(identity=context.identity, sale=quote(record.external_id, safe=""))
        payload: Any = client.get_json(path)
        return mapping.sale_details(record, payload)


class Points(Stream):
    """Cova's own points: one call a customer at a location, for there is no list of balances (reference, Y1)."""

    name, title, record = "points", "Points balances", BalanceRecord
    path = "/iqloyalty/v1/Companies({identity})/Entities({location})/customers({record})/summary"
    pages = OneByOne()
    on_demand = True
    own_permission = True  # "View Loyalty Program"
    parse = staticmethod(mapping.balance)
