"""Push API: a POS that calls us. Nothing to enter and nobody to ask; connecting it says whose rows they are."""

from dataclasses import replace
from typing import Any

from ..kit.card import Arrival, Card, Till, Verified
from ..kit.records import CustomerRecord, ProductRecord, SaleRecord
from ..kit.settings import enrol_after, freeze, market, sms_after

IDENTITY = "push"  # one a company: whatever calls with its keys tells of the same shops
_NOBODY = "The Push API is told by the POS and cannot ask it or write to it."


def connect(client: Any) -> Verified:
    """There is nobody to ask: the origin is there, and calls are taken from now on."""
    return Verified(
        identity=IDENTITY,
        title="Push API",
        notes=("Locations appear as sales name them; map each to a store, then it counts there.",),
    )


CARD = Card(
    slug="push",
    title="Push API",
    summary="Your POS, or whoever integrates it, sends sales, customers and stock to us as they happen.",
    guide="docs/cards/push.md",
    steps=(
        "Press Connect: from then on pushed calls are taken.",
        "Make a key with the scope pos under API & Tracking; it is shown once.",
        "Give your POS's maker three things: the address, your UID and the key. The Push API card shows the first two.",
        "The POS calls createUpdateSale for each sale and refund, createUpdateMember for each customer, and "
        "createUpdateInventory for stock, at most 100 items a call.",
        "Locations appear on the card as sales name them. Map each to a store.",
    ),
    credentials=(),
    settings=(
        market("your POS"),
        replace(
            freeze("your POS"),
            help="What your POS sends is not taken: each call is answered with the request to send it again later. All "
            "data stays.",
            effect="Calls are answered 503 with Retry-After and the reason; nothing lands until it is turned off, "
            "and a POS that repeats what failed loses nothing.",
        ),
        sms_after("your POS"),
        enrol_after("your POS"),
    ),
    connect=connect,
    arrivals=(
        Arrival("sales", "Sales", SaleRecord, ("createUpdateSale", "createUpdateSales")),
        Arrival("customers", "Customers", CustomerRecord, ("createUpdateMember", "createUpdateMembers")),
        Arrival("inventory", "Inventory", ProductRecord, ("createUpdateInventory",)),
    ),
    mend="Whoever maintains your POS mends them there and sends them again; nothing here asks for them.",
    unserved={
        "pricing_group": _NOBODY,
        "restrict_locations": "Whoever pushes decides which locations he sends.",
        "skip_payment_method": "A pushed sale is complete; nothing is asked for afterwards.",
        "sync_personas": "Pushed edits always flow in, and we cannot create shoppers in a POS that we cannot call.",
        "sync_to_market": "Nothing is synced into the POS; “Relevant market” alone decides what is imported.",
        "points_import_on": "Pushed customers tell no points balance.",
        "mirror_points": "Pushed customers tell no points balance.",
    },
    capabilities={
        "customers": "yes",
        "customer_type": "yes",
        "papers": "The calls have no field for them.",
        "customer_create": _NOBODY,
        "sales": "yes",
        "refunds": "yes",
        "payment_method": "yes",
        "pricing_groups": "The calls have no field for them.",
        "locations": "yes",
        "stock": "yes",
        "points_import": "Pushed customers tell no points balance.",
        "points_mirror": "Pushed customers tell no points balance.",
        "discount_flat": "yes",
        "discount_percent": "yes",
        "discount_product": "yes",
        "discount_bogo": "yes",
        "discount_by_id": "yes",
        "discount_min_spend": "The POS decides whether it checks a minimum spend; it is checked here where the order's "
        "amount is known.",
        "discount_tier": "Staff choose tier rewards like any other discount.",
        "discount_back": "yes",
        "fulfilment": "yes",
        "deleted_sales": "There is no call for it; push the sale again with what is left of it.",
        "webhooks": "yes",
        "queue": "The queue has calls of its own.",
        "purchase_limits": "They stay inside the POS.",
    },
    till=Till(
        can_call=True,
        why="A POS that calls us with sales can call for rewards as well: whether yours does is not known until a "
        "wallet call from its till has come. Until then a reward reaches it by hand.",
        steps=(
            "Ask your POS's maker whether its till can look up a member, redeem and give back: these calls stand "
            "beside the ones it makes already, at the same address.",
            "Make a key with the scope pos for each store under API & Tracking, so that we know which store calls.",
            "Look up one member at a till. This panel says when the call has arrived.",
        ),
        settled="When the sale is pushed with that discount, the redemption is settled; when it is pushed without it, "
        "the points go back.",
    ),
    discounts_per_order=1,
    redact=(
        "customAttributes", "governmentID", "government_id", "driversLicense", "drivers_license", "medicalID",
        "medical_id", "notes", "note", "cardNumber", "card_number", "last4", "cardToken", "pin", "ssn",
    ),
)  # fmt: skip
