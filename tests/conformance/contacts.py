"""Contacts: list, search, one contact, history (reference: sections 5.6 to 5.15, 7.10)."""

import time

from .core import SALE, visit
from .enhanced import shopper
from .kit import Session, case, expect


def piis(session: Session, query: str) -> dict:
    told = session.ok("GET", f"/v1.1/piis/{session.uid}?{query}")
    for name in ("results", "start", "limit", "size", "total"):
        expect(name in told, f"{name} is missing")
    expect(told["results"] is None or told["results"], "results is [], not null")
    return told


@case("Contacts", "a search by e-mail", "5.6")
def search_email(session: Session) -> None:
    one = shopper(session)
    found = piis(session, f"search=email:{one['email']}")["results"]
    expect(found and found[0]["contactID"] == one["contactID"], "not found")


@case("Contacts", "a search by phone", "5.6")
def search_phone(session: Session) -> None:
    one = shopper(session)
    found = piis(session, f"search={one['mobilePhone']}")["results"]
    expect(found and found[0]["contactID"] == one["contactID"], "not found")


@case("Contacts", "a search without a hit is null", "5.6")
def search_nothing(session: Session) -> None:
    told = piis(session, f"search=email:nobody-{session.run}@example.com")
    expect(told["results"] is None and told["size"] == told["total"] == 0, str(told)[:120])


@case("Contacts", "a blank search is everybody", "5.6")
def search_blank(session: Session) -> None:
    expect(piis(session, "search=%20&limit=1")["results"], "nobody")


@case("Contacts", "paging ends", "5.6")
def pages(session: Session) -> None:
    told = piis(session, "limit=100&start=100000000")
    expect(told["results"] is None, "a page beyond the end")


@case("Contacts", "sorted by points", "5.6")
def by_points(session: Session) -> None:
    found = piis(session, "sort=points&dir=desc&limit=100")["results"] or []
    told = [one.get("loyaltyPoints") or 0 for one in found]
    expect(told == sorted(told, reverse=True), "not sorted")


@case("Contacts", "members only", "5.6")
def members(session: Session) -> None:
    found = piis(session, "search=is:member&limit=100")["results"] or []
    expect(all(one["loyalty"] for one in found), "somebody who is no member")


@case("Contacts", "one contact", "5.7")
def one_contact(session: Session) -> None:
    one = shopper(session)
    told = session.ok("GET", f"/v1.1/piis/{session.uid}/{one['contactID']}")
    expect(told["contactID"] == one["contactID"] and told["email"] == one["email"], str(told)[:120])


@case("Contacts", "an unknown contact is 404", "5.7")
def no_contact(session: Session) -> None:
    unknown = "00000000-0000-4000-8000-000000000000"
    session.refused("GET", f"/v1.1/piis/{session.uid}/{unknown}", codes=(400, 404))


@case("Contacts", "an override is kept and read", "5.8, 5.9")
def override(session: Session) -> None:
    path = f"/v2/loyaltyContact/override/{session.uid}/{shopper(session)['contactID']}"
    session.ok("POST", path, {"lastName": "Overridden"})
    told = session.ok("GET", path)
    expect("Overridden" in str(told), str(told)[:120])


@case("Contacts", "orders are a flat list of lines", "5.12")
def orders(session: Session) -> None:
    one = shopper(session)
    body = {"member": {"mobilePhone": one["mobilePhone"]}, "visit": visit(session, "O1", f"{session.run}-eve")}
    session.ok("POST", SALE.format(session.uid), body)
    found = session.ok("GET", f"/v1.1/contact/orders/{session.uid}/{one['contactID']}")
    expect(found is None or isinstance(found, list), "no list")
    for line in found or []:
        for name in ("name", "brand", "quantity", "totalPrice", "timestamp", "storeName"):
            expect(name in line, f"{name} is missing")


@case("Contacts", "the timeline of points", "5.13")
def timeline(session: Session) -> None:
    path = f"/v1.1/contact/loyaltyPoints/timeline/{session.uid}/{shopper(session)['contactID']}"
    told = session.ok("GET", f"{path}?start=0&end={int(time.time()) + 60}")
    expect("events" in told, str(told)[:120])


@case("Contacts", "an adjustment without a value is 400", "5.14")
def no_value(session: Session) -> None:
    path = f"/v1.1/adjust/loyaltyPoints/{session.uid}/{shopper(session)['contactID']}"
    session.refused("PUT", path, {"note": "x"}, codes=(400,))


@case("Contacts", "adjustments and redemptions of a time", "5.15, 7.10")
def of_a_time(session: Session) -> None:
    until = int(time.time()) + 60
    for name in ("adjustments", "redemptions"):
        found = session.ok("GET", f"/v1.1/{name}/{session.uid}/{until - 3600}/{until}")
        expect(found is None or found, f"{name} is [], not null")


@case("Contacts", "a time in which nothing was is null", "2.4")
def of_no_time(session: Session) -> None:
    for name in ("adjustments", "redemptions"):
        expect(session.ok("GET", f"/v1.1/{name}/{session.uid}/0/1") is None, f"{name} is not null")


@case("Contacts", "recommendations", "5.16")
def recommendations(session: Session) -> None:
    session.ok("GET", f"/v2/contact/recommendations/{shopper(session)['contactID']}")
