"""Clover: what the merchant enters, how it is checked, what is read and written, what is not."""

import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote

from ..kit import settings
from ..kit.card import Card, Secret, Text, Till, Verified
from ..kit.client import Bearer, Client
from ..kit.errors import BadCredentials, NotFound, UnexpectedAnswer
from ..kit.limits import Limiter
from ..kit.pace import Pace
from ..kit.slices import ms
from ..kit.streams import Context
from . import mapping
from .about import ABOUT
from .streams import (
    BASE,
    Categories,
    Customers,
    Employees,
    Locations,
    OrderTypes,
    Products,
    Sales,
    Stock,
    Tenders,
    merchant,
)
from .writers import PushCustomer

LIVE = "https://api.clover.com"  # North America; other regions have hosts of their own (reference 2.1)
CALLS_PER_MINUTE = 960  # 16 a second for each token (reference 2.11)
AT_ONCE = 5
_ID = re.compile(r"[0-9A-Z]{13}")
_UNKNOWN = "0" * 13

_MAKE = "In Clover's dashboard (Account & Setup, Business Operations, API Tokens) make a token with that box ticked"
# service -> (what it is, the box in Clover's dashboard)
_AREAS = {
    "merchant": ("the merchant", "Merchant: Read"),
    "customers": ("customers", "Customers: Read"),
    "orders": ("orders", "Orders: Read"),
    "payments": ("payments", "Payments: Read"),
    "inventory": ("items and stock", "Inventory: Read"),
    "employees": ("employees", "Employees: Read"),
    "write": ("customers that we create or complete", "Customers: Write"),
}


def refused(service: str) -> tuple[str, str]:
    """The sentence for a 401 and the setting. Clover does not say whether token or permission is wrong (2.3)."""
    what, box = _AREAS.get(service, (service, ""))
    also = f", or its box “{box}” is not ticked. {_MAKE}" if box else ". Make a new one in Clover's dashboard"
    verb = "take" if service == "write" else "show us"
    return (
        f"Clover does not {verb} {what}: the API token was revoked{also}, and enter it here.",
        "api_token",
    )


def make_client(
    *,
    values: Mapping[str, Any],
    base_url: str = LIVE,
    token: Mapping[str, Any] | None = None,
    save_token: Callable[[dict[str, Any]], None] = lambda token: None,
    limiter: Limiter | Pace | None = None,
) -> Client:
    """A client for one pull. The token is what the merchant entered: there is none to be renewed."""
    return Client(
        base_url or LIVE,
        Bearer(str(values.get("api_token", ""))),
        identity=str(values.get("merchant_id", "")),
        vendor="Clover",
        limiter=limiter,
        no_permission=refused,
        unauthorized=refused,
    )


def connect(client: Client) -> Verified:
    """Read the merchant, then try each area once by a single row.

    A missing permission is the same 401 as a wrong token, so the merchant's own record tells the two apart. Raises
    `BadCredentials` with one sentence for each box that is missing; writing customers is only a note, for reading works
    without it.
    """
    identity = client.identity
    if not _ID.fullmatch(identity):
        raise BadCredentials(
            f"“{identity[:40]}” is no Merchant ID: it has 13 characters, capital letters and digits. Clover shows "
            f"it under "
            "Account & Setup, Merchants.",
            setting="merchant_id",
        )
    try:
        found = merchant(client, identity)
    except (BadCredentials, NotFound) as error:
        raise BadCredentials(
            "Clover does not accept this Merchant ID and API token together: copy both again. The token must be this "
            "merchant's own, of this region, and have the box “Merchant: Read” ticked.",
            setting="api_token",
            detail=error.detail,
        ) from None
    now = datetime.now(UTC)
    if found.get("id") != identity:
        raise UnexpectedAnswer("Clover answered with another merchant than the one that was asked for.")
    missing = [box for service, path in _probes(now) if (box := _missing(client, identity, service, path))]
    if missing:
        raise BadCredentials(
            " ".join(f"The API token may not read {what}: the box “{box}” is not ticked." for what, box in missing)
            + f" {_MAKE if len(missing) == 1 else _MAKE.replace('that box', 'these boxes')}, and enter it here.",
            setting="api_token",
            detail=", ".join(box for _, box in missing),
        )
    location = mapping.location(found, Context(now=now, identity=identity))
    notes = _notes(found.get("properties") or {}, location.time_zone)
    if not _writes(client, identity):
        notes.append(
            "The API token may not write customers: the box “Customers: Write” is not ticked. Everything is read "
            "without it; shoppers who sign up here are neither created nor completed in Clover."
        )
    return Verified(identity=identity, title=f"Clover {location.name}", locations=(location,), notes=tuple(notes))


def _probes(now: datetime) -> list[tuple[str, str]]:
    since = ms(now - timedelta(hours=1))
    span = f"filter=createdTime%3E%3D{since}&filter=createdTime%3C%3D{ms(now)}"
    return [
        ("customers", "customers?limit=1"),
        ("orders", f"orders?limit=1&{span}"),
        ("payments", f"payments?limit=1&{span}"),
        ("inventory", "items?limit=1"),
        ("employees", "employees?limit=1"),
    ]


def _missing(client: Client, identity: str, service: str, path: str) -> tuple[str, str] | None:
    try:
        client.get_json(f"{BASE.format(identity=quote(identity, safe=''))}/{path}", service=service)
    except BadCredentials:
        return _AREAS[service]
    return None


def _writes(client: Client, identity: str) -> bool:
    """Asked by changing nothing of nobody: with the permission the customer is not found, without it it is a 401."""
    try:
        client.post_json(f"{BASE.format(identity=quote(identity, safe=''))}/customers/{_UNKNOWN}", {}, service="write")
    except BadCredentials:
        return False
    except (NotFound, UnexpectedAnswer):
        pass
    return True


def _notes(properties: Mapping[str, Any], zone: str) -> list[str]:
    notes = []
    if properties.get("trackStock") is False:
        notes.append(
            "“Track stock” is off in Clover (Inventory, Setup), so no stock levels come in. Turn it on there, and "
            "count your items."
        )
    elif properties.get("updateStock") is False:
        notes.append(
            "Clover does not lower stock when something is sold (Inventory, Setup): levels come in as they were "
            "counted."
        )
    if not zone:
        notes.append("Clover names no time zone for this merchant: set it on the store.")
    return notes


BY_HAND = "Clover takes no discounts from outside: staff redeem here and type the discount at Clover's till."

CARD = Card(
    slug="clover",
    title="Clover",
    summary="Customers, orders, refunds, items and stock from Clover, for marketing and loyalty.",
    guide="docs/cards/clover.md",
    steps=(
        "In Clover's web dashboard open Account & Setup, Business Operations, API Tokens, and press Create new token.",
        "Give it a name, tick every Read box, and the Write box of Customers only.",
        "Copy the token. The Merchant ID stands under Account & Setup, Merchants: 13 letters and digits.",
        "For stock, turn on “Track stock” under Inventory, Setup; for several shops, make a token in each merchant.",
        "Enter both values here and press Connect; the merchant counts as the location, so map it to your store.",
        "Ask for the shopper's phone at or before checkout and put the customer on the order: a sale without a "
        "customer earns nothing.",
        "A reward is given in two steps. First redeem it here, in the staff app or the shopper's wallet; the screen "
        "says what to type.",
        "Then, on the open order in Clover, add a discount of exactly that amount or percentage, with the reward's "
        "name, and "
        "take the payment. When the order has been read, the redemption is settled by itself; if it has no such "
        "discount, the points come back.",
    ),
    credentials=(
        Text(
            "merchant_id",
            label="Merchant ID",
            help="13 letters and digits, shown under Account & Setup, Merchants.",
            placeholder="M7Q2X9K4B1TZ6",
        ),
        Secret(
            "api_token",
            label="API token",
            help="From Account & Setup, Business Operations, API Tokens: every Read box, and Customers: Write.",
        ),
    ),
    settings=(
        settings.market("Clover"),
        settings.freeze("Clover"),
        settings.Flag(
            "skip_payment_method",
            label="Skip importing payment method",
            help="Do not look up how sales were paid.",
            effect="Clover's list of payment methods is not asked for, neither for sales nor for itself: one call is "
            "saved each hour, and one each time the names on orders are read again, counted on the card. Sales that "
            "come in meanwhile have no payment method; those that have one keep it. Amounts are not affected.",
        ),
        settings.sync_personas("Clover", groups=False, completes=True),
        settings.sync_market("Clover"),
        settings.sms_after("Clover"),
        settings.enrol_after("Clover"),
    ),
    unserved={
        "pricing_group": "Clover knows no pricing groups.",
        "restrict_locations": "A Clover token belongs to one merchant, which is one location: connect those you want.",
        "points_import_on": "Clover's API tells no points balance of its customers.",
        "mirror_points": "Clover's API tells no points balance of its customers.",
    },
    base_url=LIVE,
    client=make_client,
    connect=connect,
    streams=(Locations, Customers, Sales, Categories, Products, Stock, Employees, Tenders, OrderTypes),
    writers=(PushCustomer,),
    calls_per_minute=CALLS_PER_MINUTE,
    at_once=AT_ONCE,
    app_at_once=10,
    fee="",
    capabilities={
        "customers": "yes",
        "customer_type": "Clover does not tell patients from others.",
        "papers": "Clover keeps no numbers of papers.",
        "customer_create": "yes",
        "customer_delete": "Clover names deleted customers without their data: who is deleted there stays here "
        "until erased here.",
        "sales": "yes",
        "refunds": "yes",
        "payment_method": "yes",
        "pricing_groups": "Clover knows no pricing groups.",
        "locations": "yes",
        "stock": "yes",
        "points_import": "Clover's API tells no points balance of its customers.",
        "points_mirror": "Clover's API tells no points balance of its customers.",
        "discount_flat": "yes",
        "discount_percent": "yes",
        "discount_product": f"{BY_HAND} What is settled is a discount of the whole order.",
        "discount_bogo": f"{BY_HAND} What is settled is a discount of the whole order.",
        "discount_by_id": "Clover applies no discount of its own for an outside service; the POS Discount ID is not "
        "used.",
        "discount_min_spend": "Clover's till does not know our rules: staff see them here before they redeem.",
        "discount_tier": "Tier rewards are redeemed like any other: here first, then by hand in Clover.",
        "discount_back": "Clover's till tells us nothing: a discount that is taken off again is seen when the order is "
        "read, and the points come back.",
        "fulfilment": "yes",
        "deleted_sales": "yes",
        "webhooks": "Clover sends them to apps only, not to a merchant's token; we ask every 20 seconds.",
        "queue": "Clover has no waiting room in its API.",
        "purchase_limits": "Clover knows no purchase limits.",
    },
    till=Till(
        why="Clover's till takes no discounts from outside, so a reward reaches it by hand.",
        entry="At Clover, tap Discounts on the order, add a custom one of that amount or percentage, and name it like "
        "the reward.",
        settled="When the order arrives here with that discount, the redemption is settled; when it is paid without "
        "it, the points go back.",
    ),
    discounts_per_order=1,
    about=ABOUT,
    redact=(
        "abaAccountNumber",
        "ddaAccountNumber",
        "pin",
        "unhashedPin",
        "cards",
        "cardTransaction",
        "note",
        "device",
        "userData",
        "externalReferenceId",
        "externalPaymentId",
        "_employee",
    ),
)
