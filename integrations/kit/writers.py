"""A writer: how one thing is created at a vendor, without ever creating it twice.

The outbox owns the order of work: look, create, save. A vendor's folder fills in the two small methods.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any, ClassVar

from .records import CustomerRecord

if TYPE_CHECKING:
    from .client import Client


@dataclass(frozen=True)
class WriteContext:
    """What a write may know besides its payload. `key` is the same at every try: a vendor with a unique external id
    gets it."""

    now: datetime
    identity: str  # the vendor's company
    key: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    region: str = "US"
    location: str = ""  # external id of the shopper's favourite place, where it is known


class Writer:
    """Base of all writers. Subclass, declare, write `find` and `create`.

    `payload` of a customer: first_name, last_name, phone (E.164), email, birth_date (ISO), street, city, state,
    postal_code, country, do_not_contact, and what the shopper consented to (sms, email: true or false).
    """

    name: ClassVar[str]
    title: ClassVar[str]

    @staticmethod
    def find(client: "Client", payload: Mapping[str, Any], context: WriteContext) -> str:
        """The external id of a record that is this one already, by phone, then e-mail; "" when there is none."""
        raise NotImplementedError

    @staticmethod
    def create(client: "Client", payload: Mapping[str, Any], context: WriteContext) -> CustomerRecord:
        """Create it and give it back as the vendor has it. `BadRow`: the vendor will never take it; the reason is for
        the merchant. What the client raises goes on."""
        raise NotImplementedError
