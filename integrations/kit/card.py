"""A card: the declaration of an integration. Form, validation, sealing, docs and demo are all read from it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from .records import LocationRecord

if TYPE_CHECKING:
    from .client import Client
    from .streams import Stream


@dataclass(frozen=True)
class Field:
    """One thing the merchant fills in. `name` is the key in storage and on the command line."""

    name: str
    label: str
    help: str = ""
    required: bool = True
    placeholder: str = ""
    secret: bool = False

    def clean(self, value: str) -> str:
        """The value as it is stored and compared."""
        return value.strip()

    def problem(self, value: Any) -> str:
        """A sentence when `value` cannot be right, else ""."""
        if self.required and not value:
            return f"{self.label} is needed."
        if len(str(value)) > 500:
            return f"{self.label} is too long: at most 500 characters."
        return ""


@dataclass(frozen=True)
class Text(Field):
    """Plain text, shown again when editing. `digits` allows nothing but digits."""

    digits: bool = False

    def clean(self, value: str) -> str:
        value = value.strip()
        # 0501200 and 501200 are one company: as two, everything would be imported twice.
        return (value.lstrip("0") or "0") if self.digits and value.isascii() and value.isdigit() else value

    def problem(self, value: Any) -> str:
        if value and self.digits and not (str(value).isascii() and str(value).isdigit()):
            return f"{self.label} is a number; yours has other characters."
        return super().problem(value)


@dataclass(frozen=True)
class Secret(Field):
    """Sealed at rest, never rendered; an empty input keeps what is stored."""

    secret: bool = True


@dataclass(frozen=True)
class Flag(Field):
    """A switch of the card. `effect` is one sentence for the docs table, `warning` is shown beside the switch."""

    required: bool = False
    default: bool = False
    effect: str = ""
    warning: str = ""


@dataclass(frozen=True)
class Verified:
    """What a successful connect learned from the vendor: whose account this is and where it sells."""

    identity: str  # the vendor's own id of the company: becomes the origin
    title: str
    locations: tuple[LocationRecord, ...] = ()
    notes: tuple[str, ...] = ()  # sentences for the merchant that are not failures


@dataclass(frozen=True)
class Card:
    slug: str
    title: str
    summary: str
    guide: str  # path of the guide, docs/cards/<slug>.md
    steps: tuple[str, ...]  # the guide's short form, shown on the card
    credentials: tuple[Field, ...]
    settings: tuple[Flag, ...]
    base_url: str
    client: Callable[..., "Client"]  # client(values=, base_url=, token=, save_token=, limiter=)
    connect: Callable[["Client"], Verified]
    streams: tuple[type["Stream"], ...]
    calls_per_minute: int = 600  # what the vendor allows for each of its services
    fee: str = ""  # what the vendor asks for, as a sentence
    fee_cents_per_location: int = 0
    capabilities: Mapping[str, str] = field(default_factory=dict)  # capability -> "yes" or the reason why not
    discounts_per_order: int = 1
    redact: tuple[str, ...] = ()  # keys removed from rows that are kept for inspection

    def stream(self, name: str) -> type["Stream"]:
        return next(s for s in self.streams if s.name == name)

    @property
    def secret_names(self) -> frozenset[str]:
        return frozenset(f.name for f in self.credentials if f.secret)
