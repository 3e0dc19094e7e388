"""What is created in Cova: customers.

Cova refuses no duplicates and its phones and e-mails are not unique; it asks integrators to search first (reference C1,
C4 [D]). A record of ours is known by its `UniqueIdentifier`, which Cova keeps but does not enforce [D19].
"""

import re
from collections.abc import Iterator, Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from ..kit.errors import BadRow, NotFound, Rejected, UnexpectedAnswer
from ..kit.phones import e164
from ..kit.phones import email as email_of
from ..kit.records import CustomerRecord
from ..kit.streams import Context
from ..kit.values import flag, text
from ..kit.writers import WriteContext, Writer, same_name, shared
from . import mapping
from .rows import reference

if TYPE_CHECKING:
    from ..kit.client import Client

COMPANY = "/crm/v1/Companies({identity})"
PAGE = 100  # the CRM clamps what is larger [IQ]
PAGES = 10
HOPS = 5  # a merged record names its survivor, which may have been merged as well
CLOCKS = timedelta(minutes=10)  # our clock and Cova's may differ
_PHONE, _EMAIL = 1, 2  # contact method categories; types 3 (mobile) and 9 (home) as public Cova clients write them
_STATE = re.compile(r"[A-Z]{2,3}")


class PushCustomer(Writer):
    """A shopper as a customer of Cova."""

    name, title = "customer", "Customers"

    @staticmethod
    def find(client: "Client", payload: Mapping[str, Any], context: WriteContext) -> str:
        company = COMPANY.format(identity=context.identity)
        if phone := str(payload.get("phone") or ""):
            digits = _digits(phone)
            named = payload if shared(payload, "phone") else None

            def has_phone(row: dict[str, Any]) -> bool:
                return any(_same_phone(value, phone, context.region) for value in _values(row, _PHONE))

            # The search the portal advises, then every writing of the number: phones are free text and nothing says
            # that "Phone" is compared by digits.
            for rows in (
                lambda: _search(client, company, "Phone", digits),
                lambda: _containing(client, company, digits[-4:], whole=False),
            ):
                if found := _chosen(client, company, rows(), has_phone, named):
                    return found
        if mail := str(payload.get("email") or ""):
            named = payload if shared(payload, "email") else None

            def has_mail(row: dict[str, Any]) -> bool:
                return any(email_of(value) == mail for value in _values(row, _EMAIL))

            for rows in (
                lambda: _search(client, company, "Contact", mail),
                lambda: _containing(client, company, mail, whole=True),
            ):
                if found := _chosen(client, company, rows(), has_mail, named):
                    return found
        return ""

    @staticmethod
    def find_own(client: "Client", payload: Mapping[str, Any], context: WriteContext) -> str:
        """By our identifier: the list filtered by it [D], then the feed of what changed since [D]. Neither is the
        search, which may know a new record later than they do [INF]."""
        company, ours = COMPANY.format(identity=context.identity), unique_id(context.key)
        rows = client.get_json(f"{company}/Customers", {"$filter": f"UniqueIdentifier eq '{ours}'"})
        for row in _rows(rows):
            if row.get("UniqueIdentifier") == ours:
                return _survivor(client, company, row)[0]
        if context.asked_at:
            since = (context.asked_at - CLOCKS).strftime("%Y-%m-%dT%H:%M:%SZ")
            for number in range(PAGES):
                asked = {"$filter": f"LastModifiedDateUtc ge datetime'{since}'", "$skip": number * PAGE, "$top": PAGE}
                rows = _rows(client.get_json(f"{company}/CustomerFull", asked))
                for row in rows:
                    if row.get("UniqueIdentifier") == ours:
                        return _survivor(client, company, row)[0]
                if len(rows) < PAGE:
                    break
        return ""

    @staticmethod
    def create(client: "Client", payload: Mapping[str, Any], context: WriteContext) -> CustomerRecord:
        company = COMPANY.format(identity=context.identity)
        try:
            row = client.post_json(f"{company}/CustomerFull", body_of(payload, context))
        except Rejected as refusal:
            why = f": {refusal.said.rstrip('.')}." if refusal.said else "."
            raise BadRow(f"Cova does not take this shopper{why}") from None
        return _record(row, context)

    @staticmethod
    def read(client: "Client", external_id: str, context: WriteContext) -> CustomerRecord | None:
        row = _full(client, COMPANY.format(identity=context.identity), external_id)
        return None if row is None else _record(row, context)


def unique_id(key: str) -> str:
    """`UniqueIdentifier` of what a write creates: the same at every try, and nobody else's."""
    return "aiqsync-" + re.sub(r"[^0-9A-Za-z-]+", "-", key)


def body_of(payload: Mapping[str, Any], context: WriteContext) -> dict[str, Any]:
    """The CustomerFull to create. `DoNotContact` stands everywhere: omitted it means true (reference 5.1 [IQ])."""
    quiet = bool(payload.get("do_not_contact", True))
    body: dict[str, Any] = {
        "CustomerTypeId": 2,  # a person
        "PrimaryName": text(payload.get("first_name"), 100),
        "FamilyName": text(payload.get("last_name"), 100),
        "UniqueIdentifier": unique_id(context.key),
        "Disabled": False,
        "DoNotContact": quiet,
        "Addresses": [],
        "ContactMethods": [],
        "CustomerExtensions": [],
    }
    if born := str(payload.get("birth_date") or ""):
        body["DateOfBirth"] = born
    if (group := str(context.settings.get("pricing_group") or "")).isdecimal():
        body["PricingGroupId"] = int(group)
    for category, kind, value, agreed in (
        (_PHONE, 3, payload.get("phone"), payload.get("sms")),
        (_EMAIL, 9, payload.get("email"), payload.get("email_consent")),
    ):
        if value:
            body["ContactMethods"].append(
                {
                    "ContactMethodCategoryId": category,
                    "ContactMethodTypeId": kind,
                    "Value": value,
                    "Default": not body["ContactMethods"],
                    "DoNotContact": not agreed,
                }
            )
    if address := _address(payload, quiet):
        body["Addresses"].append(address)
    return body


def _address(payload: Mapping[str, Any], quiet: bool) -> dict[str, Any] | None:
    """The home address, where enough of it is known for Cova to take it: a state goes with its country only."""
    country = text(payload.get("country"), 2).upper()
    state = text(payload.get("state"), 10).upper()
    if not country or not any(payload.get(name) for name in ("street", "city", "state", "postal_code")):
        return None
    address = {
        "AddressTypeId": 2,  # home
        "Default": True,
        "DoNotContact": quiet,
        "CountryCode": country,
        "Locality": text(payload.get("city"), 100),
        "PostalCode": text(payload.get("postal_code"), 20),
        "StreetAddress1": text(payload.get("street"), 200),
    }
    return address | {"StateCode": state} if _STATE.fullmatch(state) else address


# Reading what Cova finds


def _record(row: Any, context: WriteContext) -> CustomerRecord:
    try:
        return mapping.customer(row, Context(now=context.now, identity=context.identity, region=context.region))
    except BadRow as bad:
        # No refusal: it may well be there, and is looked for.
        raise UnexpectedAnswer("Cova answered with a customer we cannot read.", detail=bad.reason) from None


def _rows(answer: Any) -> list[dict[str, Any]]:
    if not isinstance(answer, list):
        raise UnexpectedAnswer("Cova answered with something that is no list of customers.")
    return [row for row in answer if isinstance(row, dict)]


def _search(client: "Client", company: str, name: str, value: str) -> list[dict[str, Any]]:
    asked = {"Criteria": [{"Field": name, "Operation": "Equals", "Criteria": value}]}
    answer = client.post_json(f"{company}/Search", asked)
    return _rows(answer.get("Results") if isinstance(answer, dict) else None)


def _containing(client: "Client", company: str, value: str, *, whole: bool) -> list[dict[str, Any]]:
    """The older one-string search [IQ]: whole values in any case, or a part of one. [] where it is not offered."""
    literal = value.replace("'", "''")
    wanted = f"Criteria eq '{literal}'" if whole else f"substringof('{literal}', Criteria)"
    found: list[dict[str, Any]] = []
    try:
        for number in range(PAGES):
            asked = {"$filter": wanted, "$skip": number * PAGE, "$top": PAGE}
            rows = _rows(client.get_json(f"{company}/CustomerSearch", asked))
            found += rows
            if len(rows) < PAGE:
                break
    except (NotFound, Rejected):
        pass  # the documented search has answered
    return found


def _chosen(
    client: "Client", company: str, rows: list[dict[str, Any]], same: Any, named: Mapping[str, Any] | None
) -> str:
    """The record among these that is meant, compared by ourselves: one in use, else what a merged one went into, else a
    disabled one, for even that can be enabled again and a second could not be taken back."""
    meant = [row for row in rows if same(row) and (named is None or _same_name(row, named))]
    disabled = ""
    for row in sorted(meant, key=lambda row: bool(row.get("MergedIntoCustomerId"))):
        found, in_use = _survivor(client, company, row)
        if found and in_use:
            return found
        disabled = disabled or found
    return disabled


def _survivor(client: "Client", company: str, row: dict[str, Any]) -> tuple[str, bool]:
    """(id of the record that this one was merged into, or its own; whether it is in use)."""
    for _ in range(HOPS):
        into = reference(row.get("MergedIntoCustomerId")) if row.get("MergedIntoCustomerId") else ""
        if not into:
            break
        further = _full(client, company, into)
        if further is None:
            return into, True
        row = further
    return text(row.get("Id"), 100).lower(), flag(row.get("Disabled")) is not True


def _full(client: "Client", company: str, external_id: str) -> dict[str, Any] | None:
    try:
        row = client.get_json(f"{company}/CustomerFull({quote(external_id, safe='')})")
    except NotFound:
        return None
    return row if isinstance(row, dict) else None


def _values(row: dict[str, Any], category: int) -> Iterator[str]:
    methods = row.get("ContactMethods")
    for method in methods if isinstance(methods, list) else ():
        if isinstance(method, dict) and method.get("ContactMethodCategoryId") == category:
            yield text(method.get("Value"), 254)


def _digits(value: str) -> str:
    """The digits of a phone; of a North American one the ten without the country code."""
    kept = "".join(sign for sign in value if "0" <= sign <= "9")
    return kept[1:] if len(kept) == 11 and kept[0] == "1" else kept


def _same_phone(value: str, phone: str, region: str) -> bool:
    return bool(value) and (_digits(value) == _digits(phone) or e164(value, region) == phone)


def _same_name(row: dict[str, Any], payload: Mapping[str, Any]) -> bool:
    names = row.get("PrimaryName"), row.get("FamilyName")
    return same_name(*names, payload.get("first_name"), payload.get("last_name"))
