"""Shoppers who signed up with us, in Clover: found and completed, or created. Never twice, and nothing is ever wiped.

Clover knows no duplicates (reference 3.4): the same phone may be created again and again, so who creates looks first.
It keeps no id of ours, so what an earlier try made is known by what that try wrote, and by when. An update is partial,
but an empty value clears its field: what is empty here is never sent, and what stands there is never sent again.
"""

from collections.abc import Iterator, Mapping
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from ..kit.errors import BadCredentials, BadRow, NotFound, Rejected, UnexpectedAnswer
from ..kit.pages import rows_in
from ..kit.phones import e164
from ..kit.phones import email as email_of
from ..kit.records import CustomerRecord
from ..kit.slices import ms
from ..kit.streams import Context
from ..kit.values import text
from ..kit.writers import WriteContext, Writer, same_name, shared
from . import mapping
from .rows import elements
from .streams import BASE

if TYPE_CHECKING:
    from ..kit.client import Client

WHOLE = "emailAddresses,phoneNumbers,addresses,metadata"
PAGE, PAGES = 100, 50
CLOCKS = timedelta(minutes=10)  # our clock and Clover's may differ


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
    completes = True

    @staticmethod
    def find(client: "Client", payload: Mapping[str, Any], context: WriteContext) -> str:
        """By phone in each form it may have been typed in, then by e-mail. Of several the oldest; where several people
        bear it, the oldest of that name."""
        phone, mail = str(payload.get("phone") or ""), str(payload.get("email") or "")
        if phone:
            named = payload if shared(payload, "phone") else None
            for form in phone_forms(phone):
                for row in _bearing(client, context, "phoneNumber", form):
                    if _has_phone(row, phone, context.region) and (named is None or _same_name(row, named)):
                        return _id(row)
        if mail:
            named = payload if shared(payload, "email") else None
            for form in dict.fromkeys((mail, mail.lower())):
                for row in _bearing(client, context, "emailAddress", form):
                    if _has_mail(row, mail) and (named is None or _same_name(row, named)):
                        return _id(row)
        return ""

    @staticmethod
    def find_own(client: "Client", payload: Mapping[str, Any], context: WriteContext) -> str:
        """Among the customers that came since that try, the one that stands there as it was written: its names, its
        phone, its e-mail. By the list, for nothing promises that what looks up phones knows a new record at once."""
        if context.asked_at is None:
            return ""
        since = ms(context.asked_at - CLOCKS)
        for row in _rows(client, context, f"customerSince>={since}"):
            if _as_written(row, _body(payload)):
                return _id(row)
        return ""

    @staticmethod
    def create(client: "Client", payload: Mapping[str, Any], context: WriteContext) -> CustomerRecord:
        if not payload.get("phone") and not payload.get("email"):
            raise BadRow(
                "Without a phone or an e-mail this shopper could not be found in Clover again, and would be created "
                "twice."
            )
        path = _path(context) + f"?expand={quote(WHOLE, safe='')}"
        try:
            row = client.post_json(path, _body(payload), service="write")
        except Rejected as refusal:
            why = f": {refusal.said.rstrip('.')}." if refusal.said else ": something in the name or the contact data."
            raise BadRow(f"Clover does not take this customer{why}") from None
        return _record(row, context)

    @staticmethod
    def read(client: "Client", external_id: str, context: WriteContext) -> CustomerRecord | None:
        try:
            row = _whole(client, external_id, context)
        except NotFound:
            return None
        return _record(row, context)

    @staticmethod
    def complete(
        client: "Client", external_id: str, payload: Mapping[str, Any], context: WriteContext
    ) -> CustomerRecord | None:
        """A name where both are blank, a further phone or e-mail, an address where there is none, the birth date.

        Contacts have paths of their own, for nested lists of an update are ignored (reference 3.4, 3.5). One part that
        is refused keeps no other from being added.
        """
        there = _whole(client, external_id, context)
        path, refused, added = _path_of(external_id, context), [], False
        for part, body in _lacking(client, there, payload, context):
            try:
                client.post_json(path + part, body, service="write")
                added = True
            except Rejected as refusal:
                refused.append(refusal.said.rstrip(".") or "something in the name or the contact data")
            except BadCredentials as error:  # reading it was allowed just now: it is the permission to write
                raise BadRow(error.message) from None
        if refused:
            raise BadRow(f"Clover does not take what this customer lacks there: {'; '.join(dict.fromkeys(refused))}.")
        if not added and context.asked_at is None:
            return None
        return _record(_whole(client, external_id, context) if added else there, context)


def _path(context: WriteContext) -> str:
    return BASE.format(identity=quote(context.identity, safe="")) + "/customers"


def _path_of(external_id: str, context: WriteContext) -> str:
    return f"{_path(context)}/{quote(external_id, safe='')}"


def _whole(client: "Client", external_id: str, context: WriteContext) -> dict[str, Any]:
    row = client.get_json(_path_of(external_id, context), [("expand", WHOLE)], service="customers")
    if type(row) is not dict or _id(row) != external_id:
        raise UnexpectedAnswer("Clover answered with another customer than the one that was asked for.")
    return row


def _lacking(
    client: "Client", there: dict[str, Any], payload: Mapping[str, Any], context: WriteContext
) -> list[tuple[str, dict[str, Any]]]:
    """What a customer does not have, as (the path below his, the body), in the order in which it is added.

    A list that was not expanded is not known to be empty: nothing is added to it.
    """
    wanted = _body(payload)
    found: list[tuple[str, dict[str, Any]]] = []
    try:
        names: dict[str, Any] = {name: wanted[name] for name in ("firstName", "lastName") if name in wanted}
        if names and not text(there.get("firstName")) and not text(there.get("lastName")):
            found.append(("", names))
        if _expanded(there, "phoneNumbers") and _may_add_phone(client, there, payload, context):
            found.append(("/phone_numbers", wanted["phoneNumbers"][0]))
        if _expanded(there, "emailAddresses") and _may_add_mail(client, there, payload, context):
            found.append(("/email_addresses", wanted["emailAddresses"][0]))
        if "addresses" in wanted and _expanded(there, "addresses") and not elements(there["addresses"], "addresses"):
            found.append(("/addresses", wanted["addresses"][0]))
    except BadRow as bad:
        raise UnexpectedAnswer("Clover answered with a customer we cannot read.", detail=bad.reason) from None
    about = there.get("metadata")
    if "metadata" in wanted and (
        about is None
        # a day without its year stands there too
        or (type(about) is dict and all(about.get(name) is None for name in ("dobYear", "dobMonth", "dobDay")))
    ):
        found.append(("/metadata", wanted["metadata"]))
    return found


def _expanded(row: dict[str, Any], name: str) -> bool:
    raw = row.get(name)
    return type(raw) is list or (type(raw) is dict and type(raw.get("elements")) is list)


def _may_add_phone(client: "Client", there: dict[str, Any], payload: Mapping[str, Any], context: WriteContext) -> bool:
    """A number that several people bear tells nobody apart; one that another customer there bears would make one
    person of two."""
    phone = str(payload.get("phone") or "").strip()
    if not phone or shared(payload, "phone") or _has_phone(there, phone, context.region):
        return False
    return not any(
        _id(row) != _id(there) and _has_phone(row, phone, context.region)
        for form in phone_forms(phone)
        for row in _bearing(client, context, "phoneNumber", form)
    )


def _may_add_mail(client: "Client", there: dict[str, Any], payload: Mapping[str, Any], context: WriteContext) -> bool:
    mail = str(payload.get("email") or "").strip()
    if not mail or shared(payload, "email") or _has_mail(there, mail):
        return False
    return not any(
        _id(row) != _id(there) and _has_mail(row, mail)
        for form in dict.fromkeys((mail, mail.lower()))
        for row in _bearing(client, context, "emailAddress", form)
    )


def _bearing(client: "Client", context: WriteContext, field: str, value: str) -> Iterator[dict[str, Any]]:
    return _rows(client, context, f"{field}={value}")


def _rows(client: "Client", context: WriteContext, condition: str) -> Iterator[dict[str, Any]]:
    """The customers that a condition names, oldest first. Whatever the filter understood: who takes one compares."""
    for number in range(PAGES):
        asked = [
            ("filter", condition), ("expand", "emailAddresses,phoneNumbers"), ("orderBy", "customerSince ASC"),
            ("limit", PAGE), ("offset", number * PAGE),
        ]  # fmt: skip
        rows = rows_in(client.get_json(_path(context), asked, service="customers"), "Customers")
        yield from (row for row in rows if isinstance(row, dict) and _id(row))
        if len(rows) < PAGE:
            return
    raise UnexpectedAnswer("Clover's list of customers does not end, so nobody can be looked for in it.")


def _id(row: dict[str, Any]) -> str:
    return text(row.get("id"), 40)


def _contacts(row: dict[str, Any], name: str, value: str) -> list[str]:
    return [text(one.get(value), 254) for one in elements(row.get(name), name)]


def _digits(value: str) -> str:
    """The digits of a phone; of a North American one the ten without the country code."""
    kept = "".join(sign for sign in value if "0" <= sign <= "9")
    return kept[1:] if len(kept) == 11 and kept[0] == "1" else kept


def _has_phone(row: dict[str, Any], phone: str, region: str) -> bool:
    typed = _contacts(row, "phoneNumbers", "phoneNumber")
    return any(one and (e164(one, region) == phone or _digits(one) == _digits(phone)) for one in typed)


def _has_mail(row: dict[str, Any], mail: str) -> bool:
    return any(one and email_of(one) == email_of(mail) for one in _contacts(row, "emailAddresses", "emailAddress"))


def _same_name(row: dict[str, Any], payload: Mapping[str, Any]) -> bool:
    """Compared as it would have been written: a long name is cut there."""
    wrote = _body(payload)
    return same_name(row.get("firstName"), row.get("lastName"), wrote.get("firstName"), wrote.get("lastName"))


def _as_written(row: dict[str, Any], body: Mapping[str, Any]) -> bool:
    if any(text(row.get(name)) != text(body.get(name)) for name in ("firstName", "lastName")):
        return False
    return all(
        [text(one[value], 254) for one in body.get(name, ())] == _contacts(row, name, value)
        for name, value in (("phoneNumbers", "phoneNumber"), ("emailAddresses", "emailAddress"))
    )


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


def _record(row: Any, context: WriteContext) -> CustomerRecord:
    try:
        return mapping.customer(row, Context(now=context.now, identity=context.identity, region=context.region))
    except BadRow as bad:
        # No refusal: it may well be there, and is looked for.
        raise UnexpectedAnswer("Clover answered with a customer we cannot read.", detail=bad.reason) from None
