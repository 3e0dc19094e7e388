"""The cards there are: one line each."""

from .clover import card as clover
from .cova import card as cova
from .files import card as files
from .kit.card import Card
from .partner import card as partner
from .push import card as push

CARDS: dict[str, Card] = {card.slug: card for card in (cova.CARD, clover.CARD, push.CARD, partner.CARD, files.CARD)}


def get(slug: str) -> Card:
    """The card of that slug; `KeyError` when there is none."""
    return CARDS[slug]
