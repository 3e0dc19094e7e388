"""Shoppers who signed up with us, in Clover: found, created, completed. Never twice, and nothing is ever wiped.

Clover knows no duplicates (reference 3.4): the same phone may be created again and again, so who creates looks first.
An update is partial, but an empty value clears its field: what is empty here is never sent.
"""

from collections.abc import Mapping
from datetime import date
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from ..kit.errors import BadRow, UnexpectedAnswer
from ..kit.pages import rows_in
from ..kit.phones import e164
from ..kit.phones import email as email_of
from ..kit.records import CustomerRecord
from ..kit.streams import Context
from ..kit.writers import WriteContext, Writer
from . import mapping
from .rows import elements
from .streams import BASE

if TYPE_CHECKING:
    from ..kit.client import Client

WHOLE = "emailAddresses,phoneNumbers,addresses,metadata"


def phone_forms(phone: str) -> list[str]:
    """How a number may stand in Clover, most likely first: it is free text and found by its exact text only."""
    if not (phone.startswith("+1") and len(phone) == 12):
        return [phone, phone[1:]]
    area, exchange, last = phone[2:5], phone[5:8], phone[8:]
    return [
        phone[2:], phone, f"({area}) {exchange}-{last}", f"{area}-{exchange}-{last}", phone[1:],
        f"1-{area}-{exchange}-{last}", f"{area}.{exchange}.{last}", f"({area}){exchange}-{last}",
        f"+1 {area}-{exchange}-{last}", f"{area} {exchange} {last}",
    ]  # fmt: skip


class PushCustomer(Writer):
    name, title = "customer", "Customers created in Clover"

    @staticmethod
    def find(client: "Client", payload: Mapping[str, Any], context: WriteContext) -> str:
        """By phone in each form it may have been typed in, then by e-mail. Of several the oldest."""
        phone, mail = str(payload.get("phone") or ""), str(payload.get("email") or "")
        for form in phone_forms(phone) if phone else ():
            if found := _first(client, context, "phoneNumber", form):
                return found
        for form in dict.fromkeys((mail, mail.lower())) if mail else ():
            if found := _first(client, context, "emailAddress", form):
                return found
        return ""

    @staticmethod
    def create(client: "Client", payload: Mapping[str, Any], context: WriteContext) -> CustomerRecord:
        if not payload.get("phone") and not payload.get("email"):
            raise BadRow(
                "Without a phone or an e-mail this shopper could not be found in Clover again, and would be created "
                "twice."
            )
        body = _body(payload)
        path = _path(context) + f"?expand={quote(WHOLE, safe='')}"
        return _record(_post(client, path, body), context)

    @staticmethod
    def update(client: "Client", external_id: str, payload: Mapping[str, Any], context: WriteContext) -> CustomerRecord:
        """Add what Clover does not have: names, a further phone or e-mail, an address, the birth date.

        Read, merged, written: what stands there stays, whatever it is. Contacts have paths of their own, for nested
        lists of an update are ignored (reference 3.4, 3.5).
        """
        path = f"{_path(context)}/{quote(external_id, safe='')}"
        there = client.get_json(path, [("expand", WHOLE)], service="customers")
        if not isinstance(there, dict):
            raise UnexpectedAnswer("Clover answered with something that is no customer.")
        wanted = _body(payload)
        names = {name: wanted[name] for name in ("firstName", "lastName") if wanted.get(name) and not there.get(name)}
        if names:
            _post(client, path, names)
        if (phone := str(payload.get("phone") or "")) and phone not in {
            e164(str(one.get("phoneNumber") or ""), context.region)
            for one in elements(there.get("phoneNumbers"), "phoneNumbers")
        }:
            _post(client, f"{path}/phone_numbers", wanted["phoneNumbers"][0])
        if (mail := email_of(str(payload.get("email") or ""))) and mail not in {
            email_of(str(one.get("emailAddress") or ""))
            for one in elements(there.get("emailAddresses"), "emailAddresses")
        }:
            _post(client, f"{path}/email_addresses", wanted["emailAddresses"][0])
        if wanted.get("addresses") and not elements(there.get("addresses"), "addresses"):
            _post(client, f"{path}/addresses", wanted["addresses"][0])
        about = there.get("metadata")
        known = about if isinstance(about, dict) else {}
        if wanted.get("metadata") and not any(known.get(name) for name in ("dobYear", "dobMonth", "dobDay")):
            _post(client, f"{path}/metadata", wanted["metadata"])
        return _record(client.get_json(path, [("expand", WHOLE)], service="customers"), context)


def _path(context: WriteContext) -> str:
    return BASE.format(identity=quote(context.identity, safe="")) + "/customers"


def _first(client: "Client", context: WriteContext, field: str, value: str) -> str:
    asked = [
        ("filter", f"{field}={value}"), ("expand", "emailAddresses,phoneNumbers"), ("orderBy", "customerSince ASC"),
        ("limit", 10),
    ]  # fmt: skip
    for row in rows_in(client.get_json(_path(context), asked, service="customers"), "Customers"):
        # Whatever the filter understood: only who really bears it is this person.
        if isinstance(row, dict) and _bears(row, field, value, context.region):
            return str(row.get("id") or "")
    return ""


def _bears(row: dict[str, Any], field: str, value: str, region: str) -> bool:
    if field == "emailAddress":
        mails = elements(row.get("emailAddresses"), "emailAddresses")
        return email_of(value) in {email_of(str(one.get("emailAddress") or "")) for one in mails}
    phones = elements(row.get("phoneNumbers"), "phoneNumbers")
    return e164(value, region) in {e164(str(one.get("phoneNumber") or ""), region) for one in phones}


def _body(payload: Mapping[str, Any]) -> dict[str, Any]:
    """A customer as Clover takes it, without anything empty."""
    given = {name: str(value).strip() for name, value in payload.items() if isinstance(value, str)}
    body: dict[str, Any] = {}
    for ours, theirs in (("first_name", "firstName"), ("last_name", "lastName")):
        if given.get(ours):
            body[theirs] = given[ours][:64]  # longer ones are refused (reference 3.4)
    if phone := given.get("phone"):
        # as it is typed at the till: there it is looked up by what was typed
        body["phoneNumbers"] = [{"phoneNumber": phone_forms(phone)[0]}]
    if given.get("email"):
        body["emailAddresses"] = [{"emailAddress": given["email"]}]
    address = {
        "address1": given.get("street", ""), "city": given.get("city", ""), "state": given.get("state", ""),
        "zip": given.get("postal_code", ""), "country": given.get("country", ""),
    }  # fmt: skip
    if all(address.values()) and len(address["zip"]) <= 10:  # all are required (reference 3.4)
        body["addresses"] = [{name: value[:127] for name, value in address.items()}]
    if given.get("birth_date"):
        try:
            born = date.fromisoformat(given["birth_date"])
            body["metadata"] = {"dobYear": born.year, "dobMonth": born.month, "dobDay": born.day}
        except ValueError:
            pass
    # Said in so many words, never left to a default: yes only to who said yes to us. Clover is known to honour the flag
    # for its own apps only (reference 3.4).
    body["marketingAllowed"] = payload.get("do_not_contact") is not True and (
        payload.get("sms") is True or payload.get("email_consent") is True
    )
    return body


def _post(client: "Client", path: str, body: dict[str, Any]) -> Any:
    try:
        return client.post_json(path, body, service="write")
    except UnexpectedAnswer as refused:
        if refused.detail.endswith("HTTP 400"):
            raise BadRow("Clover does not take this customer: something in the name or the contact data.") from None
        raise


def _record(row: Any, context: WriteContext) -> CustomerRecord:
    return mapping.customer(row, Context(now=context.now, identity=context.identity, region=context.region))
