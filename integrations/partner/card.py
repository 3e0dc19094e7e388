"""Partner REST: a POS that offers three endpoints by time range, at an address and under names the merchant enters."""

import hashlib
from datetime import UTC, datetime, timedelta
from typing import Any

from ..kit.addresses import NAMED, Address
from ..kit.card import Card, Lines, Secret, Verified
from ..kit.errors import BadCredentials, BadRow, NotFound
from ..kit.settings import enrol_after, freeze, market, sms_after
from ..kit.streams import Context, Stream
from . import mapping
from .client import PartnerClient, make_client
from .streams import Customers, Products, Sales, Stock, rows_of

CALLS_PER_MINUTE = 120
_TRIED = 5  # rows of each endpoint that connecting reads
_NO_WRITES = "The documented shape has no call that writes."
_NO_POINTS = "The documented shape has no points balance."


def connect(client: PartnerClient) -> Verified:
    """Ask each endpoint once, and read a few rows with the field mapping; what fails is said by its endpoint."""
    now = datetime.now(UTC)
    context = Context(now=now, identity=client.identity)
    account, notes = "", []
    for stream in (Customers, Sales, Products):
        answer, rows = _asked(client, stream, now)
        if isinstance(answer, dict) and isinstance(answer.get("account"), str | int):
            account = account or str(answer["account"]).strip()[:60]
        if not rows:
            notes.append(f"{stream.path}: answered, with no row of the last 30 days.")
        _read(client, stream, rows, context)
    notes.append("Locations appear as sales name them; map each to a store, then it counts there.")
    # The company's own id alone, where it tells one: its API may move, and its sales would count a second time there.
    where = client.identity
    if len(where) > 100:
        where = where[:60] + "~" + hashlib.sha256(where.encode()).hexdigest()[:32]
    if not account:
        notes.append(
            "The answers do not name the company (“account”), so it is known by its address: when that changes, this "
            "connection cannot move with it. Ask your POS's maker to send it."
        )
    return Verified(
        identity=NAMED + account if account else where,
        title=client.identity.partition("/")[0],
        before=where if account else "",
        notes=tuple(notes),
    )


def _asked(client: PartnerClient, stream: type[Stream], now: datetime) -> tuple[Any, list[Any]]:
    span = {"start": int((now - timedelta(days=30)).timestamp()), "end": int(now.timestamp()), "offset": 0,
            "limit": _TRIED}  # fmt: skip
    try:
        answer = client.get_json(stream.path, span, service=stream.title.lower())
    except NotFound as error:
        raise BadCredentials(
            f"There is nothing at {stream.path} below this address: the base URL ends before it.",
            setting="base_url",
            detail=error.detail,
        ) from None
    return answer, rows_of(answer, stream.title)


def _read(client: PartnerClient, stream: type[Stream], rows: list[Any], context: Context) -> None:
    """At least one row must be readable: names that are all wrong are better said now than by a thousand refusals."""
    reason = ""
    for row in rows[:_TRIED]:
        try:
            stream.parse(mapping.renamed(row, stream.path.strip("/"), client.renames), context)
            return
        except BadRow as bad:
            reason = bad.reason
    if reason:
        raise BadCredentials(
            f"{stream.path}: none of the first {len(rows[:_TRIED])} rows could be read. {reason} If the field has "
            "another name there, add a line to the field mapping.",
            setting="fields",
        )


CARD = Card(
    slug="partner",
    title="Partner REST",
    summary="A POS without a card of its own that offers customers, sales and inventory by time range over HTTPS.",
    guide="docs/cards/partner.md",
    steps=(
        "Ask your POS's maker for a read API with three endpoints by time range: /customers, /sales and /inventory. "
        "The page docs/cards/partner.md is what they build against.",
        "They give you the base URL (everything before /customers) and a key.",
        "Where their fields have other names, write one line for each: our name = their name.",
        "Enter them here and press Connect: each endpoint is asked once, and a few rows are read.",
        "Locations appear as sales name them. Map each to a store.",
    ),
    credentials=(
        Address(
            "base_url",
            label="Base URL",
            help="https only, of a host on the internet; everything before /customers.",
            placeholder="https://api.your-pos.com/v1",
        ),
        Secret("api_key", label="Key", help="Sent as X-APIKEY with each call, to this address only."),
        Lines(
            "fields",
            label="Field mapping",
            help="One line for each field that has another name there: sales.pos_id = receipt.number. Empty: as "
            "documented.",
            required=False,
            placeholder="sales.pos_id = receipt.number",
            check=mapping.problem,
        ),
    ),
    settings=(
        market("your POS"),
        freeze("your POS"),
        sms_after("your POS"),
        enrol_after("your POS"),
    ),
    client=make_client,
    connect=connect,
    address="base_url",
    streams=(Customers, Sales, Products, Stock),
    calls_per_minute=CALLS_PER_MINUTE,
    unserved={
        "pricing_group": _NO_WRITES,
        "restrict_locations": "Sales of all locations come in one list; ask for a key that sees only some.",
        "skip_payment_method": "A sale is complete in the list; nothing is asked for afterwards.",
        "sync_personas": f"Edits always flow in; shoppers cannot be created there. {_NO_WRITES}",
        "sync_to_market": "Nothing is synced into the POS; “Relevant market” alone decides what is imported.",
        "points_import_on": _NO_POINTS,
        "mirror_points": _NO_POINTS,
    },
    capabilities={
        "customers": "yes",
        "customer_type": "yes",
        "papers": "The documented shape has no field for them.",
        "customer_create": _NO_WRITES,
        "sales": "yes",
        "refunds": "yes",
        "payment_method": "yes",
        "pricing_groups": "The documented shape has no field for them.",
        "locations": "yes",
        "stock": "yes",
        "points_import": _NO_POINTS,
        "points_mirror": _NO_POINTS,
        "discount_flat": "yes",
        "discount_percent": "yes",
        "discount_product": "We read this POS and cannot tell what its till takes: enter such a discount by hand.",
        "discount_bogo": "We read this POS and cannot tell what its till takes: enter such a discount by hand.",
        "discount_by_id": "A POS that is only read is not told an id.",
        "discount_min_spend": "It is checked here where the order's amount is known.",
        "discount_tier": "Staff choose tier rewards like any other discount.",
        "discount_back": "The points come back when its sale arrives without it, or when staff give them back.",
        "fulfilment": "yes",
        "deleted_sales": "A sale that is gone is in no range: it must be listed again with what is left of it.",
        "webhooks": "We ask every minute; a POS that can call us uses the Push API card.",
        "queue": "The documented shape has no waiting room.",
        "purchase_limits": "They stay inside the POS.",
    },
    discounts_per_order=1,
    redact=(
        "governmentID", "government_id", "driversLicense", "drivers_license", "medicalID", "medical_id", "notes",
        "note", "cardNumber", "card_number", "last4", "cardToken", "pin", "ssn",
    ),
)  # fmt: skip
