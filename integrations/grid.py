"""The feature grid: which POS supports what, made from the cards' declarations, in AIQ's words."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from .docs import in_words
from .kit import settings
from .kit.card import Card

YES, NO, PART, UNSAID = "yes", "no", "part", "unsaid"
_MARKS = {YES: "yes", NO: "no", PART: "partly", UNSAID: "not stated"}


@dataclass(frozen=True, slots=True)
class Cell:
    """`said` is the reason or the addition, a sentence; `mark` is one of yes, no, part, unsaid."""

    mark: str
    said: str = ""

    @property
    def word(self) -> str:
        return _MARKS[self.mark]


@dataclass(frozen=True, slots=True)
class Row:
    label: str
    cells: tuple[Cell, ...]  # one a card, in the cards' order


@dataclass(frozen=True, slots=True)
class Part:
    title: str
    rows: tuple[Row, ...]


# AIQ's columns, and the capabilities of a card that answer each. Those that are named nowhere here come at the end.
COLUMNS: Mapping[str, tuple[str, ...]] = {
    "Pulls sales + customers": ("customers", "sales"),
    "Inventory": ("inventory", "stock", "products"),
    "Creates customers in POS": ("customer_create",),
    "Points imported from POS": ("points_import",),
    "Points mirrored from POS": ("points_mirror",),
    "Discount kinds inside POS: $ off the cart": ("discount_flat",),
    "Discount kinds inside POS: % off the cart": ("discount_percent",),
    "Discount kinds inside POS: single products": ("discount_product", "discount_bogo"),
    "Mapped by POS Discount ID": ("discount_by_id",),
    "Queue": ("queue",),
}


# What is true of the POS's own till only where that till calls us.
BY_TILL = {"discount_flat", "discount_percent"}


def standard() -> dict[str, settings.Setting]:
    """Every setting that AIQ's articles describe, by name, in the words of a POS without a name."""
    return {one.name: one for one in (make("the POS") for make in settings.STANDARD)}


def parts(cards: Iterable[Card]) -> list[Part]:
    """The grid: what it does, what can be set, how a reward reaches the till, and the POS's own limits."""
    shown = list(cards)
    used = {name for names in COLUMNS.values() for name in names}
    other = dict.fromkeys(name for card in shown for name in card.capabilities if name not in used)
    wanted = standard()
    extra = dict.fromkeys(s.name for card in shown for s in card.settings if s.name not in wanted)
    labels = {name: one.label for name, one in wanted.items()} | {
        s.name: s.label for card in reversed(shown) for s in card.settings if s.name in extra
    }
    return [
        Part(
            "What it does",
            tuple(_row(label, shown, lambda card, n=names: _of(card, n)) for label, names in COLUMNS.items()),
        ),
        Part(
            "Settings",
            tuple(_row(labels[name], shown, lambda card, n=name: _setting(card, n)) for name in [*wanted, *extra]),
        ),
        Part(
            "At the till",
            (
                _row("Redeem inside POS", shown, _redeem),
                _row(
                    "Stacking",
                    shown,
                    lambda card: Cell(
                        YES if card.discounts_per_order > 1 else NO,
                        f"Discounts of ours on one order: {card.discounts_per_order}.",
                    ),
                ),
                _row("When points leave", shown, _when),
            ),
        ),
        Part("More", tuple(_row(in_words(name), shown, lambda card, n=name: _of(card, (n,))) for name in other)),
    ]


def _row(label: str, cards, cell) -> Row:
    return Row(label, tuple(cell(card) for card in cards))


def _of(card: Card, names: tuple[str, ...]) -> Cell:
    said = [card.capabilities[name] for name in names if name in card.capabilities]
    if not said:
        return Cell(UNSAID)
    reasons = list(dict.fromkeys(text for text in said if text != "yes"))
    mark = YES if not reasons else NO if "yes" not in said else PART
    if mark == YES and set(names) <= BY_TILL and not card.till.can_call:
        return Cell(PART, "By hand: redeemed with us, typed in at the till.")
    return Cell(mark, " ".join(reasons))


def _setting(card: Card, name: str) -> Cell:
    if card.serves(name):
        return Cell(YES)
    if reason := card.unserved.get(name):
        return Cell(NO, reason)
    return Cell(UNSAID)


def _redeem(card: Card) -> Cell:
    return Cell(PART, card.till.why) if card.till.can_call else Cell(NO, card.till.why)


def _when(card: Card) -> Cell:
    if card.till.can_call:
        return Cell(YES, "When the till applies the discount; by hand when it is redeemed with us.")
    return Cell(YES, "When it is redeemed with us.")


def page(cards: Iterable[Card]) -> str:
    """Markdown for docs/cards/README.md. The same cards give the same text."""
    shown = list(cards)
    lines = [
        "# Which POS supports what",
        "",
        "<!-- Made from the cards by `manage.py carddocs`; change the cards, not this page. -->",
        "",
        "The same grid is in the admin under Settings > Integrations. “not stated” means that the card does not say.",
    ]
    for part in parts(shown):
        if not part.rows:
            continue
        lines += ["", f"## {part.title}", "", "| | " + " | ".join(f"[{c.title}]({c.slug}.md)" for c in shown) + " |"]
        lines.append("|---|" + "---|" * len(shown))
        for row in part.rows:
            cells = [f"{cell.word}: {cell.said}" if cell.said else cell.word for cell in row.cells]
            lines.append("| " + " | ".join(text.replace("|", "\\|") for text in (row.label, *cells)) + " |")
    return "\n".join(lines) + "\n"
