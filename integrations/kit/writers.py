"""A writer: how one thing is created at a vendor, without ever creating it twice.

The outbox owns the order of work: look, create, save. A vendor's folder fills in the small methods.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any, ClassVar

from .records import CustomerRecord
from .values import text

if TYPE_CHECKING:
    from .client import Client


@dataclass(frozen=True)
class WriteContext:
    """What a write may know besides its payload. `key` is the same at every try: a vendor with a unique external id
    gets it. `asked_at`: when an earlier try asked for it and its answer was not heard."""

    now: datetime
    identity: str  # the vendor's company
    key: str
    settings: Mapping[str, Any] = field(default_factory=dict)  # the card's
    region: str = "US"
    asked_at: datetime | None = None


class Writer:
    """Base of all writers. Subclass, declare, write `find` and `create`; the others where the vendor allows.

    `payload` of a customer: first_name, last_name, phone (E.164), email, birth_date (ISO), street, city, state,
    postal_code, country, do_not_contact, what the shopper consented to (sms, email_consent: true or false), and
    `shared`: those of "phone" and "email" that several people bear: only with the same name it is the same person.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    setting: ClassVar[str] = "sync_personas"  # the card's switch that must be on; "" is always
    after: ClassVar[tuple[str, ...]] = ("customers",)  # streams that must have been read once: who is there is known
    completes: ClassVar[bool] = False  # `complete` is written: who is found gets what he lacks there

    @staticmethod
    def find(client: "Client", payload: Mapping[str, Any], context: WriteContext) -> str:
        """The external id of a record that is this one already, by phone, then e-mail; "" when there is none."""
        raise NotImplementedError

    @staticmethod
    def create(client: "Client", payload: Mapping[str, Any], context: WriteContext) -> CustomerRecord:
        """Create it and give it back as the vendor has it. `BadRow`: the vendor will never take it; the reason is for
        the merchant. What the client raises goes on."""
        raise NotImplementedError

    @staticmethod
    def find_own(client: "Client", payload: Mapping[str, Any], context: WriteContext) -> str:
        """What an earlier try of this very write made, by what only that can have; "" when there is none."""
        return ""

    @staticmethod
    def read(client: "Client", external_id: str, context: WriteContext) -> CustomerRecord | None:
        """One record as the vendor has it; None where the next sync is left to bring it."""
        return None

    @staticmethod
    def complete(
        client: "Client", external_id: str, payload: Mapping[str, Any], context: WriteContext
    ) -> CustomerRecord | None:
        """Add what a record that was found lacks, and give it back as it stands then; None: nothing was missing.

        What stands there is never replaced, nothing empty is sent and nothing removed. Repeatable: it reads first, and
        with `asked_at` (an earlier try may have added something) it gives the record back in any case. `NotFound`: the
        record is gone. `BadRow`: the vendor does not take it; the reason is for the merchant.
        """
        raise NotImplementedError


def same_name(first: Any, last: Any, their_first: Any, their_last: Any) -> bool:
    """Whether two people are called the same, in whatever case and spacing, and wherever first and last are parted."""

    def folded(*names: Any) -> str:
        return " ".join(" ".join(text(name) for name in names).casefold().split())

    return folded(first, last) == folded(their_first, their_last)


def shared(payload: Mapping[str, Any], kind: str) -> bool:
    """Whether a phone or an e-mail of the payload identifies nobody by itself."""
    return kind in (payload.get("shared") or ())
