"""Cova, marketing and loyalty: what the merchant enters, how it is checked, what is read, what is not."""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from ..kit import settings as standard
from ..kit.auth import PasswordGrant
from ..kit.card import Card, Secret, Text, Verified
from ..kit.client import Client
from ..kit.errors import BadCredentials, BadRow, NotFound
from ..kit.limits import Limiter
from ..kit.pages import iso, rows_in
from ..kit.records import LocationRecord
from ..kit.streams import Context
from ..kit.till import Till
from . import mapping
from .streams import Customers, Locations, Points, PricingGroups, Sales
from .writers import PushCustomer

LIVE = "https://api.covasoft.net"
TOKEN_HOST = "https://accounts.iqmetrix.net"  # the live gateway does not give tokens
TOKEN_PATH = "/v1/oauth2/token"
CALLS_PER_MINUTE = 1000  # for each service (portal; entity manager allows 1500)

MANAGE = "Manage Dispensary Specific Elements"
VIEW = "View Loyalty Program"
EDIT = "Edit Loyalty Program"

_WHERE = "Write to apisupport@covasoftware.com and ask for it on the API user named in this connection."
_READS = {
    "entitymanager": "the locations",
    "crm": "customers",
    "posreports": "sales",
    "pointofsale": "the details of sales",
    "pricing": "pricing groups",
}


def no_permission(service: str) -> tuple[str, str]:
    """The sentence for a 403 and the setting it concerns."""
    if service == "iqloyalty":
        return (
            f'Cova does not let this user see its loyalty points: permission "{VIEW}" is missing. {_WHERE}',
            "username",
        )
    what = _READS.get(service, service)
    return f'Cova does not let this user read {what}: permission "{MANAGE}" is missing. {_WHERE}', "username"


def refused_login(error: str, description: str) -> tuple[str, str]:
    """The sentence for a refused token and the setting it concerns."""
    said = description.lower()
    # The error for an unchanged temporary password is undocumented: any mention of it is taken for it.
    if any(word in said for word in ("temporary", "expired", "must be changed", "change your password")):
        return (
            "The password Cova sent is temporary: log in at hub.covasoft.net once, change it, and enter the "
            "new one here.",
            "password",
        )
    if error == "invalid_client":
        return (
            "Cova does not accept the client_id and client_secret: copy both again from Cova's e-mail.",
            "client_id",
        )
    if error == "invalid_grant":
        return (
            "Cova does not accept the username and password: copy both again. If the password came by "
            "e-mail, it may be temporary: log in at hub.covasoft.net once, change it, and enter the new one here.",
            "password",
        )
    return "Cova refuses the log-in: check client_id, client_secret, username and password.", "username"


def make_client(
    *,
    values: Mapping[str, Any],
    base_url: str = LIVE,
    token: Mapping[str, Any] | None = None,
    save_token: Callable[[dict[str, Any]], None] = lambda token: None,
    limiter: Limiter | None = None,
) -> Client:
    """A client for one pull. Another base URL than Cova's own replaces the token host as well."""
    base = (base_url or LIVE).rstrip("/")
    auth = PasswordGrant(
        (TOKEN_HOST if base == LIVE else base) + TOKEN_PATH,
        {name: str(values.get(name, "")) for name in ("username", "password", "client_id", "client_secret")},
        token=token,
        save=save_token,
        explain=refused_login,
        vendor="Cova",
    )
    return Client(
        base,
        auth,
        identity=str(values.get("company_id", "")),
        vendor="Cova",
        limiter=limiter,
        no_permission=no_permission,
    )


def connect(client: Client) -> Verified:
    """Log in, find the company's locations, and try each permission once by reading a single row.

    Raises `BadCredentials` with what to do and the setting; a missing "View Loyalty Program" is only a note,
    for it serves importing and mirroring points.
    """
    client.authorize()
    company = client.identity
    now = datetime.now(UTC)
    context = Context(now=now, identity=company)
    try:
        found = rows_in(client.get_json(Locations.path.format(identity=company)), Locations.title)
    except (NotFound, BadCredentials) as error:
        if isinstance(error, BadCredentials) and error.setting != "username":
            raise  # the log-in itself was refused
        unknown = isinstance(error, NotFound)
        raise BadCredentials(
            f"Cova does not know company {company}: check the Company ID."
            if unknown
            else f"Cova does not let this user see company {company}. Either the Company ID is not the one Cova named "
            f'together with this username, or permission "{MANAGE}" is missing: check the one, else {_WHERE[0].lower()}'
            f"{_WHERE[1:]}",
            setting="company_id",
            detail=error.detail,
        ) from None
    locations, notes = _locations(found, context)

    recent = {
        "$filter": f"LastModifiedDateUtc ge datetime'{iso(now - timedelta(days=30))}'",
        "$skip": 0,
        "$top": 1,
    }
    customers = rows_in(client.get_json(Customers.path.format(identity=company), recent), Customers.title)
    if locations:
        # an open shop first; the permission is the same for all
        asked = sorted(locations, key=lambda x: not x.active)[0].external_id
        span = f"Date ge datetime'{iso(now - timedelta(hours=1))}' and Date le datetime'{iso(now)}'"
        sales = {"DateRange": span, "$top": 1, "$skip": 0}
        client.get_json(Sales.path.format(identity=company, location=asked), sales)
    client.get_json(PricingGroups.path.format(identity=company))
    if locations and (refusal := _loyalty_refusal(client, company, asked, customers)):
        notes.append(refusal)
    return Verified(identity=company, title=f"Cova company {company}", locations=tuple(locations), notes=tuple(notes))


def _locations(rows: list[Any], context: Context) -> tuple[list[LocationRecord], list[str]]:
    locations, notes = [], []
    for row in rows:
        try:
            locations.append(mapping.location(row, context))
        except BadRow as error:
            notes.append(f"One location could not be read: {error.reason}")
    if not locations:
        notes.append("Cova names no location of this company, so there are no sales to read.")
    for location in locations:
        if not location.time_zone:
            notes.append(f"Cova gives no time zone we know for {location.name}: set it on the store.")
    return locations, notes


def _loyalty_refusal(client: Client, company: str, location: str, customers: list[Any]) -> str:
    """The note for a missing loyalty permission, or ""."""
    customer = next((Customers.row_id(row) for row in customers if Customers.row_id(row)), "")
    if customer:
        path = Points.path.format(identity=company, location=location, record=customer)
    else:
        path = f"/iqloyalty/v1/Companies({company})/Entities({location})/Rewards"
    try:
        client.get_json(path)
    except BadCredentials as error:
        return f"{error.message} Customers and sales work without it; importing and mirroring points do not."
    except NotFound:
        pass  # a customer without points is no matter of permissions
    return ""


CARD = Card(
    slug="cova",
    title="Cova",
    summary="Customers, sales, locations and pricing groups from Cova POS, for marketing and loyalty.",
    guide="docs/cards/cova.md",
    steps=(
        "Write to apisupport@covasoftware.com: ask for API credentials for aiqsync for your company, for all "
        "locations you want to connect.",
        f'In the same mail ask for the permissions "{MANAGE}", "{VIEW}" and "{EDIT}" on the API user.',
        "Cova answers with your Company ID, client_id, client_secret, a username and a password.",
        "If Cova calls the password temporary, log in with it once at hub.covasoft.net, change it, and "
        "use the new one.",
        "Enter the five values here and press Connect; then map each Cova location to a store.",
    ),
    credentials=(
        Text(
            "company_id",
            label="Company ID",
            help="A number; Cova names it in the mail with your credentials.",
            placeholder="501200",
            digits=True,
        ),
        Text(
            "client_id",
            label="client_id",
            help="Of the form COMPANYNAME.VENDOR.",
            placeholder="HARBOUR.AIQSYNC",
        ),
        Secret("client_secret", label="client_secret", help="From the same mail as the client_id."),
        Text(
            "username",
            label="Username",
            help="The API user, of the form VENDOR.COVA.APIUser.COMPANYNAME; not your own log-in.",
            placeholder="AIQSYNC.COVA.APIUser.HARBOUR",
        ),
        Secret(
            "password",
            label="Password",
            help="The API user's. A temporary one must be changed at hub.covasoft.net first.",
        ),
    ),
    settings=(
        standard.market("Cova"),
        standard.locations("Cova"),
        standard.skip_payment("Cova"),
        standard.freeze("Cova", mirrors=True),
        standard.sync_personas("Cova"),
        standard.pricing_group("Cova"),
        standard.sync_market("Cova"),
        standard.enrol_after("Cova"),
        standard.sms_after("Cova"),
        standard.points_import("Cova"),
        standard.mirror("Cova"),
    ),
    base_url=LIVE,
    client=make_client,
    connect=connect,
    streams=(Locations, PricingGroups, Customers, Sales, Points),
    writers=(PushCustomer,),
    calls_per_minute=CALLS_PER_MINUTE,
    fee="Cova charges 15 USD per month for each connected location.",
    fee_cents_per_location=1500,
    capabilities={
        "customers": "yes",
        "customer_type": "yes",
        "papers": "yes",
        "customer_create": "yes",
        "sales": "yes",
        "refunds": "yes",
        "payment_method": "yes",
        "pricing_groups": "yes",
        "locations": "yes",
        "stock": "This card reads no inventory.",
        "points_import": "yes",
        "points_mirror": "yes",
        "discount_flat": "yes",
        "discount_percent": "yes",
        "discount_product": "Cova's till takes only amounts and percentages off the whole cart.",
        "discount_bogo": "Cova's till takes only amounts and percentages off the whole cart.",
        "discount_by_id": "Cova cannot apply a discount of its own by an id; the POS Discount ID is not used there.",
        "discount_min_spend": "Cova does not check a minimum spend: its till takes the discount off a smaller cart "
        "too. It is checked here where the order's amount is known.",
        "discount_tier": "Cova does not apply tier rewards by itself: staff choose them like any other discount.",
        "discount_back": "A discount that is removed at Cova's till is not told: the points come back when its sale "
        "arrives without it, or when staff give them back.",
        "fulfilment": "Cova's sales tell deliveries only, not pickups from walk-ins.",
        "deleted_sales": "Cova's lists do not show them; a void is an invoice refunded the same day.",
        "webhooks": "Cova offers none; we ask every 20 seconds.",
        "queue": "Cova has no waiting room in its API.",
        "purchase_limits": "Cova keeps purchase limits inside the POS.",
    },
    discounts_per_order=1,
    till=Till(
        can_call=True,
        why="Cova's hub is not known to have a field for another loyalty address than AIQ's, so rewards reach Cova's "
        "till by hand until a call from it shows otherwise.",
        steps=(
            "Cova's app must be version 1.20 or later on every till.",
            "In Cova's hub turn off every other loyalty programme, Cova's own too: two programmes would both give "
            "points for one sale.",
            "Ask Cova's support (apisupport@covasoftware.com) to point the loyalty integration of your company at the "
            "address below, with the UID and a key of its own. Say that it speaks AIQ's API.",
            "In Cova's hub choose whether the loyalty discount comes off before or after tax: it is decided there, and "
            "points follow what was paid.",
            "Look up one member at a till. This panel says when the call has arrived.",
        ),
        entry="Enter it in Cova as a discount on the whole cart, named like the reward.",
        settled="Cova's sale arrives within a minute. When it carries the discount, the redemption is settled; when it "
        "does not, the points go back.",
    ),
    redact=(
        "DriverLicenseNumber",
        "MedicalRecommendationNumber",
        "MedicalInformation",
        "Medical",
        "Notes",
        "Documents",
        "CustomerExtensions",
        "Last4Digits",
        "PreAuthorizationToken",
        "IntegratedTransactionId",
        "ReferenceId",
        "CustomerAccountId",
    ),
)
