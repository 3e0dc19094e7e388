"""Contacts on the wire: how one is told, and how attributes and details of a sign-up are read."""

from datetime import date, datetime, time
from typing import Any
from zoneinfo import ZoneInfo

from loyalty import contacts, details, overrides, referrals
from loyalty.models import ConsentNow

from .authentication import Caller, epoch
from .envelope import Refused
from .reading import dollars, moment, phone_told
from .shapes import Body

WITHOUT_POS = "loyalty"  # the platform of who is in no POS
FIELDS = {
    "firstName": "first_name", "lastName": "last_name", "mobilePhone": "phone", "email": "email",
    "birthdate": "birth_date", "address": "address",
}  # fmt: skip
WIRE = {ours: theirs for theirs, ours in FIELDS.items()}


def told(caller: Caller, one: contacts.Contact) -> dict[str, Any]:
    """A row of the list (reference: 5.6)."""
    sms_in = one.sms == ConsentNow.IN
    return {
        "contactID": one.contact_id,
        "srcID": one.source_id,
        "platform": one.platform or WITHOUT_POS,
        "firstName": one.first_name,
        "lastName": one.last_name,
        "email": one.email,
        "mobilePhone": phone_told(one.phone),
        "homePhone": "",
        "favoriteStoreID": one.store_number,
        "loyalty": one.member_from is not None,
        "loyaltyPoints": 0 if caller.points_hidden else one.points,
        "loyaltySignupTS": _midnight(one.member_from, caller.zone),
        "inserted": epoch(one.created_at),
        "optinTime": _seconds(one.sms_since if sms_in else None),
        "optoutTime": _seconds(one.sms_since if one.sms in (ConsentNow.OUT, ConsentNow.STOPPED) else None),
        "optreqTime": _seconds(one.sms_asked_at),
        "hasRequested": one.sms == ConsentNow.REQUESTED if one.sms_asked_at else None,
        "emailOptInTime": _seconds(one.mail_since if one.mail == ConsentNow.IN else None),
        "smsconsent": sms_in,
        "leakyBucket": None,
    }


def told_whole(caller: Caller, persona_id: int, now: datetime) -> dict[str, Any] | None:
    """One contact (reference: 5.7). None: removed since it was found."""
    found = contacts.told(account_id=caller.account_id, ids=[persona_id], now=now)
    if not found:
        return None
    one, more = found[0], contacts.details(account_id=caller.account_id, persona_id=persona_id)
    return told(caller, one) | {
        "spent": dollars(more.spent_cents),
        "referCode": referrals.code_of(account_id=caller.account_id, persona_id=persona_id),
        "referLink": refer_link(),
        "lastTouch": _seconds(one.last_seen_at),
        "address": one.address,
        "birthdate": one.birth_date,
        "customAttributes": attributes_told(more.attributes),
    }


def refer_link() -> str | None:
    """The sign-up form's address with the code. There is no such page yet, and a shopper is given no dead link."""
    return None


def attributes_told(found: list[tuple[str, str, str, datetime | None]]) -> list[dict[str, Any]] | None:
    return [
        {"parent": parent, "key": key, "value": value, "ts": _seconds(at)} for parent, key, value, at in found
    ] or None


def _seconds(at: datetime | None) -> int | None:
    return epoch(at) if at else None


def _midnight(day: date | None, zone: str) -> int | None:
    """The first moment of the day his sales earn from."""
    return epoch(datetime.combine(day, time.min, ZoneInfo(zone))) if day else None


def attributes_of(items: Any, name: str = "customAttributes") -> list[details.Said]:
    """Items of `{parent, key, value, ts}`; a value that is no text is kept as it is written in JSON."""
    if items is None:
        return []
    if not isinstance(items, list):
        raise Refused(f"{name}: must be an array.")
    if len(items) > details.MOST_ATTRIBUTES:
        raise Refused(f"{name}: at most {details.MOST_ATTRIBUTES} attributes.")
    found = []
    for place, item in enumerate(items):
        where = f"{name}[{place}]"
        if not isinstance(item, dict):
            raise Refused(f"{where}: must be an object with key and value.")
        one = Body.of(item, where)
        key = one.text("key", longest=100)
        if not key:
            raise Refused(f"{where}.key: is needed.")
        value = item.get("value")
        if isinstance(value, bool | float):
            value = str(value).lower() if isinstance(value, bool) else repr(value)
        elif value is not None and not isinstance(value, str | int):
            raise Refused(f"{where}.value: must be text.")
        said = Body.of({"value": value}, where).text("value", longest=1000)
        at = item.get("ts")
        found.append(
            details.Said(
                key=key, value=said, parent=one.text("parent", longest=100),
                at=moment(f"{where}.ts", at) if at not in (None, "") else None,
            )
        )  # fmt: skip
    return found


def details_of(body: Body) -> details.Details:
    """What a sign-up says beside name, phone and e-mail."""
    born = body.text("birthdate", "birthDate", "birthday", "dob", longest=40)
    day = overrides.day_of(born) if born else ""
    if born and not day:
        raise Refused("birthdate: must be a day such as 1990-04-20.")
    return details.Details(
        address=body.text("address", longest=300),
        birth_date=date.fromisoformat(day) if day else None,
        store_number=store_number(body),
        store_name=body.text("favoriteStore", longest=200),
        attributes=attributes_of(body.fields.get("customAttributes")),
    )


def store_number(body: Body) -> int | None:
    text = body.text("favoriteStoreID", longest=20)
    if not text:
        return None
    if not (text.isascii() and text.isdigit()):
        raise Refused("favoriteStoreID: must be a store's number.")
    return int(text) if len(text) < 10 else None
