"""A card: the declaration of an integration. Form, validation, sealing, docs and demo are all read from it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from .fields import Field, Lines, Secret, Text
from .records import LocationRecord
from .settings import Flag, Setting
from .till import Till

if TYPE_CHECKING:
    from .client import Client
    from .streams import Stream
    from .writers import Writer

__all__ = ["Arrival", "Card", "Field", "Flag", "Lines", "Secret", "Setting", "Text", "Till", "Verified"]


@dataclass(frozen=True)
class Verified:
    """What a successful connect learned from the vendor: whose account this is and where it sells."""

    identity: str  # the vendor's own id of the company: becomes the origin
    title: str
    before: str = ""  # an identity by which the same company was known until it told its id
    locations: tuple[LocationRecord, ...] = ()
    notes: tuple[str, ...] = ()  # sentences for the merchant that are not failures


@dataclass(frozen=True)
class Arrival:
    """What comes to a card by itself, without being asked for: `name` is the stream its refused rows are kept under."""

    name: str
    title: str
    record: type
    calls: tuple[str, ...] = ()  # what the sender calls


@dataclass(frozen=True)
class Card:
    """A card is asked (`client` and `streams`), or told (`arrivals`); one that is told needs no client."""

    slug: str
    title: str
    summary: str
    guide: str  # path of the guide, docs/cards/<slug>.md
    steps: tuple[str, ...]  # the guide's short form, shown on the card
    credentials: tuple[Field, ...]
    settings: tuple[Setting, ...]
    connect: Callable[..., Verified]  # connect(client); of a card without a client connect(None)
    base_url: str = ""
    client: Callable[..., "Client"] | None = None  # client(values=, base_url=, token=, save_token=, limiter=)
    streams: tuple[type["Stream"], ...] = ()
    arrivals: tuple[Arrival, ...] = ()
    address: str = ""  # the credential field that holds the base URL, where the merchant names it: then client(pinned=)
    writers: tuple[type["Writer"], ...] = ()
    unserved: Mapping[str, str] = field(default_factory=dict)  # standard setting -> why this POS cannot serve it
    told: bool = False  # its client is given what the installation says too: `_root`, `_loopback`, `_most_mb`
    calls_per_minute: int = 600  # what the vendor allows for each of its services
    at_once: int = 0  # calls a token may have under way; 0: the vendor counts by service, and only by the minute
    app_at_once: int = 0  # the same for all tokens of an installation together; 0: not counted
    fee: str = ""  # what the vendor asks for, as a sentence
    fee_cents_per_location: int = 0
    mend: str = ""  # how a refused row comes in after all; "": it is mended in the POS, and the next sync takes it
    capabilities: Mapping[str, str] = field(default_factory=dict)  # capability -> "yes" or the reason why not
    discounts_per_order: int = 1
    about: tuple[tuple[str, str], ...] = ()  # (heading, Markdown) of what the guide says besides
    till: Till = Till()  # how a redemption reaches the till
    redact: tuple[str, ...] = ()  # keys removed from rows that are kept for inspection

    def stream(self, name: str) -> type["Stream"]:
        return next(s for s in self.streams if s.name == name)

    @property
    def mending(self) -> str:
        """What to do about refused rows, as a sentence."""
        return self.mend or f"Mend them in {self.title}; the next sync takes them."

    @property
    def titles(self) -> dict[str, str]:
        """Titles of what this card brings, asked or told, by the stream's name."""
        return {s.name: s.title for s in self.streams} | {a.name: a.title for a in self.arrivals}

    def writer(self, name: str) -> type["Writer"]:
        return next(w for w in self.writers if w.name == name)

    def serves(self, setting: str) -> bool:
        return any(s.name == setting for s in self.settings)

    def settings_on(self, where: str) -> tuple[Setting, ...]:
        """The settings kept on the "card", or on each "credential"."""
        return tuple(s for s in self.settings if s.on == where)

    @property
    def secret_names(self) -> frozenset[str]:
        return frozenset(f.name for f in self.credentials if f.secret)
