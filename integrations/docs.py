"""A card's page of documentation, made from its declaration, and from `guide.md` in its folder where there is one."""

from pathlib import Path

from .kit.card import Card, Setting
from .kit.fields import Field
from .kit.settings import STANDARD

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
    "customer_delete": "Deleted customers",
    "stock": "Items and stock levels",
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
        *([card.fee, ""] if card.fee else []),
        *_credentials(card),
        "## Settings",
        "",
        "Kept for the whole card, or for each credential where that is said. What acts on people is counted first and "
        "begins only when somebody has confirmed it.",
        "",
        "| Label | Name | Default | What it is | What it does | Warning | Goes together with |",
        "|---|---|---|---|---|---|---|",
        *(_setting(s) for s in card.settings),
        "",
        *_unserved(card),
        *_flow(card),
        *(line for heading, text in card.about for line in (f"## {heading}", "", text, "")),
        "## What this POS can and cannot",
        "",
        "| | |",
        "|---|---|",
        *(_row(in_words(name), "yes" if said == "yes" else f"no: {said}") for name, said in card.capabilities.items()),
        f"| Discounts of ours on one order | {card.discounts_per_order} |",
        "",
        "## At the till",
        "",
        card.till.why,
        "",
        "By hand: find the shopper under Personas, or let them open their wallet, and redeem the reward; the screen "
        f"prints what to type, for example “10.00 off the cart”. {card.till.entry} {card.till.settled}",
        "",
        *(
            ["In the till:", "", *(f"{number}. {step}" for number, step in enumerate(card.till.steps, 1)), ""]
            if card.till.can_call
            else []
        ),
        "## What is never stored",
        "",
        "Rows that could not be read are kept for ninety days, without: "
        + ", ".join(f"`{name}`" for name in card.redact)
        + ".",
        "",
        *_by_hand(card),
    ]
    return "\n".join(lines)


def _pace(card: Card) -> str:
    if card.at_once:
        return (
            f"The POS allows {card.calls_per_minute // 60} calls a second and {card.at_once} at once for a token. All "
            "our processes share them and slow down before the POS has to refuse."
        )
    return (
        "Streams that go by location take longer with more than 250 of them, so that the POS's limit of "
        f"{card.calls_per_minute} calls a minute is never reached."
    )


def _credentials(card: Card) -> list[str]:
    if not card.credentials:
        return ["## Credentials", "", f"None. On the command line: `manage.py connect {card.slug} --account UID`.", ""]
    return [
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
        + " ".join(_given(f) for f in card.credentials if f.required)
        + " --map-stores auto`."
        # How a secret is given without standing in the shell's history is said of each, needed always or not.
        + "".join(f" Where it is needed: `{_given(f)}`." for f in card.credentials if f.secret and not f.required),
        "",
    ]


def _given(field: Field) -> str:
    """A credential's field as the command takes it."""
    return f"--set {field.name}={'env:' + field.name.upper() if field.secret else '...'}"


def _flow(card: Card) -> list[str]:
    """What comes in and how: asked for, or told."""
    lines: list[str] = []
    if card.arrivals:
        lines += [
            "## What is taken",
            "",
            "| What | Calls |",
            "|---|---|",
            *(_row(a.title, ", ".join(f"`{call}`" for call in a.calls)) for a in card.arrivals),
            "",
        ]
    if card.streams:
        lines += [
            "## What is read, and how often",
            "",
            "| Stream | Read again after | When it brings nothing |",
            "|---|---|---|",
            *(_row(s.title, ONLY_WHEN if s.on_demand else _every(s.interval_s), s.if_empty) for s in card.streams),
            "",
            _pace(card),
            "",
        ]
    return lines


def _by_hand(card: Card) -> list[str]:
    """The part of the page that people write: `integrations/<slug>/guide.md`."""
    path = Path(__file__).parent / card.slug / "guide.md"
    return [path.read_text().strip(), ""] if path.exists() else []


def _setting(setting: Setting) -> str:
    notes = [
        word
        for word, yes in (
            ("of each credential", setting.on == "credential"),
            ("shows a dry run first", bool(setting.people)),
        )
        if yes
    ]
    label = f"{setting.label} ({', '.join(notes)})" if notes else setting.label
    default = setting.shown(list(setting.default) if isinstance(setting.default, tuple) else setting.default)
    return _row(label, f"`{setting.name}`", default, setting.help, setting.effect, setting.warning, setting.interplay)


def _unserved(card: Card) -> list[str]:
    """The settings other cards have and this one cannot serve, with the reason."""
    if not card.unserved:
        return []
    by_name = {made(card.title).name: made(card.title).label for made in STANDARD}
    return [
        "Not on this card:",
        "",
        "| Label | Name | Why not |",
        "|---|---|---|",
        *(_row(by_name.get(name, name), f"`{name}`", why) for name, why in card.unserved.items()),
        "",
    ]


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
