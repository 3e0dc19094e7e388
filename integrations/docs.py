"""A card's page of documentation, made from its declaration."""

from .kit.card import Card

_WORDS = {
    "customers": "Customers come in",
    "customer_type": "Medical or recreational: told with the customer's sales",
    "papers": "Licence and recommendation numbers, told with sales: kept as digests that recognise a person",
    "customer_create": "The POS lets us create customers",
    "sales": "Sales with lines, employee and cost",
    "refunds": "Refunds and voids",
    "payment_method": "Payment methods",
    "pricing_groups": "Pricing groups",
    "locations": "Locations",
    "points_import": "The POS tells a points balance that could be imported",
    "points_mirror": "The POS tells a points balance that could be mirrored",
    "discount_flat": "Dollars off the cart, redeemed with us",
    "discount_percent": "Percent off the cart, redeemed with us",
    "discount_product": "Discounts on single products",
    "discount_bogo": "Buy one, get one",
    "discount_by_id": "Discounts of the POS's own, applied by their id",
    "discount_min_spend": "The till checks a minimum spend",
    "discount_tier": "Tier rewards by themselves",
    "discount_back": "The till tells that a discount was removed",
    "fulfilment": "In store, delivery, pickup told apart",
    "deleted_sales": "Deleted sales",
    "webhooks": "Told at once instead of asked",
    "queue": "The POS's waiting room",
    "purchase_limits": "Purchase limits",
}

ONLY_WHEN = "only while balances are mirrored, or for an import: one call for each customer, new sales first"


def page(card: Card) -> str:
    """Markdown, ending in a newline. The same declaration gives the same text."""
    lines = [
        f"# {card.title}",
        "",
        "<!-- Made from the card by `manage.py carddocs`; change the card, not this page. -->",
        "",
        card.summary,
        "",
        "## Before you connect",
        "",
        *(f"{number}. {step}" for number, step in enumerate(card.steps, 1)),
        "",
        card.fee,
        "",
        "## Credentials",
        "",
        "| Field | Name on the command line | Kept | What it is |",
        "|---|---|---|---|",
        *(
            _row(f.label, f"`{f.name}`", "sealed, never shown" if f.secret else "shown when editing", f.help)
            for f in card.credentials
        ),
        "",
        "On the command line: `manage.py connect "
        f"{card.slug} --account UID "
        + " ".join(f"--set {f.name}={'env:' + f.name.upper() if f.secret else '...'}" for f in card.credentials)
        + " --map-stores auto`.",
        "",
        "## Settings",
        "",
        "| Label | Name | Default | What it does | Careful |",
        "|---|---|---|---|---|",
        *(
            _row(s.label, f"`{s.name}`", "on" if s.default else "off", f"{s.help} {s.effect}", s.warning)
            for s in card.settings
        ),
        "",
        "## What is read, and how often",
        "",
        "| Stream | Read again after | When it brings nothing |",
        "|---|---|---|",
        *(_row(s.title, ONLY_WHEN if s.on_demand else _every(s.interval_s), s.if_empty) for s in card.streams),
        "",
        "Streams that go by location take longer with more than 250 of them, so that the POS's limit of "
        f"{card.calls_per_minute} calls a minute is never reached.",
        "",
        "## What this POS can and cannot",
        "",
        "| | |",
        "|---|---|",
        *(_row(in_words(name), "yes" if said == "yes" else f"no: {said}") for name, said in card.capabilities.items()),
        f"| Discounts of ours on one order | {card.discounts_per_order} |",
        "",
        "## What is never stored",
        "",
        "Rows that could not be read are kept for ninety days, without: "
        + ", ".join(f"`{name}`" for name in card.redact)
        + ".",
        "",
    ]
    return "\n".join(lines)


def limits(card: Card) -> list[tuple[str, str]]:
    """What the card cannot do, with the reason: for its own page, before somebody finds out at the counter."""
    found = [(in_words(name), said) for name, said in card.capabilities.items() if said != "yes"]
    most = card.discounts_per_order
    return [("Discounts of ours on one order", f"{most} at most."), *found]


def in_words(capability: str) -> str:
    return _WORDS.get(capability, capability.replace("_", " ").capitalize())


def _row(*cells: str) -> str:
    return "| " + " | ".join(cell.strip().replace("|", "\\|") or "-" for cell in cells) + " |"


def _every(seconds: int) -> str:
    return f"{seconds} seconds" if seconds < 120 else f"{seconds // 60} minutes"
