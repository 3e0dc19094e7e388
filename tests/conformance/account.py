"""Account data (reference: section 7)."""

from .kit import Session, case, expect


def list_or_null(session: Session, path: str) -> list:
    found = session.ok("GET", path)
    expect(found is None or (isinstance(found, list) and found), f"{path}: {str(found)[:100]}")
    return found or []


@case("Account", "stores", "7.1")
def stores(session: Session) -> None:
    found = session.ok("GET", f"/v1.1/stores/{session.uid}")["stores"]
    expect(found is None or found, "stores is [], not null")
    for one in found or []:
        for name in ("id", "name", "nickname", "addr", "userID"):
            expect(name in one, f"{name} is missing")
        expect(isinstance(one["id"], int), "id is no number")


@case("Account", "audiences", "7.3")
def audiences(session: Session) -> None:
    for one in list_or_null(session, f"/v1.1/audiences/{session.uid}?start=0&limit=10"):
        for name in ("id", "name", "audienceSize"):
            expect(name in one, f"{name} is missing")


@case("Account", "discount definitions", "7.8")
def discounts(session: Session) -> None:
    list_or_null(session, f"/v2/discount/{session.uid}")


@case("Account", "discount groups", "7.9")
def groups(session: Session) -> None:
    session.ok("GET", "/v2/discount/groups")


@case("Account", "the programme", "7.12")
def programme(session: Session) -> None:
    session.ok("GET", f"/v2/loyalty/default/{session.uid}")


@case("Account", "products", "7.13")
def products(session: Session) -> None:
    expect("results" in session.ok("GET", "/v2/brand/products?start=0&limit=10"), "results is missing")


@case("Account", "campaigns and conversions", "7.4, 7.6, 7.11")
def campaigns(session: Session) -> None:
    for path in ("/v2/campaigns", f"/v1.1/campaigns/{session.uid}", f"/v1.1/conversions/{session.uid}?start=0&end=1"):
        list_or_null(session, path)
