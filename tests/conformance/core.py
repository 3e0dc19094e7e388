"""Core: the POS pushes members, sales and stock (reference: section 3)."""

from datetime import UTC, datetime
from typing import Any

from .kit import Session, case, expect


def now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S +0000")


def visit(session: Session, pos_id: str, user: str = "", **more: Any) -> dict[str, Any]:
    lines = [
        {"sku": "PR-1G", "name": "Pre-roll 1g", "category": "PRE-ROLL", "brand": "Acme", "price": 12.5, "discount": 0,
         "quantity": 1},
        {"sku": "FL-3.5", "name": "Flower 3.5g", "category": "FLOWER", "brand": "Acme", "price": 45.0, "discount": 5.0,
         "quantity": 1},
    ]  # fmt: skip
    return {
        "pos_id": f"{session.run}-{pos_id}", "pos_user": user, "pos_type": "in-store", "sendNotification": 0,
        "transaction_date": now(), "transaction_total": 52.5, "location": "Conformance",
        "budtenderName": "Lee", "budtenderID": "E12", "visit_details_attributes": lines,
    } | more  # fmt: skip


def member(session: Session, n: int) -> dict[str, Any]:
    """The nth shopper of this run; made the first time he is asked for."""
    known = session.made.setdefault("members", {})
    if n not in known:
        known[n] = {
            "pos_user": f"{session.run}-c{n}", "srcID": f"{session.run}-c{n}", "firstName": "Ana",
            "lastName": f"Conformance {n}", "mobilePhone": session.phone(), "email": session.email(),
        }  # fmt: skip
    return known[n]


SALE, SALES = "/v1.1/createUpdateSale/{}", "/v1.1/createUpdateSales/{}"
MEMBER, MEMBERS = "/v1.1/createUpdateMember/{}", "/v1.1/createUpdateMembers/{}"
INVENTORY = "/v1.1/createUpdateInventory/{}"


@case("Core", "a member is created", "3.3")
def a_member(session: Session) -> None:
    session.ok("POST", MEMBER.format(session.uid), member(session, 1))


@case("Core", "the same member again is 200", "3.3")
def same_member(session: Session) -> None:
    session.ok("POST", MEMBER.format(session.uid), member(session, 1))


@case("Core", "a member can be found by phone", "3.3, 5.4")
def found_by_phone(session: Session) -> None:
    data = session.ok("GET", f"/v2/lookup/{member(session, 1)['mobilePhone']}")
    expect(data["contactID"], "no contactID")
    session.made["contact"] = data["contactID"]


@case("Core", "a field that is left out stays", "3.3")
def left_out(session: Session) -> None:
    one = member(session, 1)
    session.ok("POST", MEMBER.format(session.uid), {"pos_user": one["pos_user"], "firstName": "Anna"})
    data = session.ok("GET", f"/v2/lookup/email/{one['email']}")
    expect(data["contactID"] == session.made.get("contact"), "the e-mail leads elsewhere")


@case("Core", "an invalid phone replaces no good one", "3.3")
def invalid_phone(session: Session) -> None:
    one = member(session, 1)
    session.call("POST", MEMBER.format(session.uid), {"pos_user": one["pos_user"], "mobilePhone": "12"})
    data = session.ok("GET", f"/v2/lookup/{one['mobilePhone']}")
    expect(data["contactID"] == session.made.get("contact"), "the phone leads elsewhere")


@case("Core", "members as a bare array", "3.4")
def members_array(session: Session) -> None:
    session.ok("POST", MEMBERS.format(session.uid), [member(session, 2), member(session, 3)])
    for n in (2, 3):
        session.ok("GET", f"/v2/lookup/{member(session, n)['mobilePhone']}")


@case("Core", "an array's bad item keeps no other out", "3.4")
def one_bad_member(session: Session) -> None:
    session.ok("POST", MEMBERS.format(session.uid), [member(session, 4), {"pos_user": 5 * [1]}])
    session.ok("GET", f"/v2/lookup/{member(session, 4)['mobilePhone']}")


@case("Core", "unknown fields are ignored", "2.3")
def unknown_fields(session: Session) -> None:
    session.ok("POST", MEMBER.format(session.uid), member(session, 1) | {"noSuchField": {"deep": [1]}})


@case("Core", "a sale with its member", "3.1")
def a_sale(session: Session) -> None:
    one = member(session, 5)
    body = {"member": {name: one[name] for name in ("email", "mobilePhone", "firstName", "lastName")},
            "visit": visit(session, "R1", one["pos_user"])}  # fmt: skip
    session.ok("POST", SALE.format(session.uid), body)


@case("Core", "the same sale again is 200", "3.1")
def same_sale(session: Session) -> None:
    session.ok("POST", SALE.format(session.uid), {"visit": visit(session, "R1", member(session, 5)["pos_user"])})


@case("Core", "an edited sale", "3.1")
def edited(session: Session) -> None:
    changed = visit(session, "R1", member(session, 5)["pos_user"], transaction_total=40.0)
    session.ok("POST", SALE.format(session.uid), {"visit": changed})


@case("Core", "a sale before its member", "3.1")
def before_its_member(session: Session) -> None:
    user = f"{session.run}-late"
    session.ok("POST", SALE.format(session.uid), {"visit": visit(session, "R2", user)})
    session.ok("POST", MEMBER.format(session.uid), {"pos_user": user, "mobilePhone": session.phone()})


@case("Core", "an anonymous sale", "3.1")
def anonymous(session: Session) -> None:
    session.ok("POST", SALE.format(session.uid), {"visit": visit(session, "R3")})


@case("Core", "a refund with negative quantities", "3.1")
def refund(session: Session) -> None:
    lines = [{"sku": "PR-1G", "name": "Pre-roll 1g", "price": 12.5, "discount": 0, "quantity": -1}]
    told = visit(session, "R1-refund", member(session, 5)["pos_user"], transaction_total=-12.5,
                 visit_details_attributes=lines)  # fmt: skip
    session.ok("POST", SALE.format(session.uid), {"visit": told})


@case("Core", "the other spelling, send_notification", "3.1")
def other_spelling(session: Session) -> None:
    told = visit(session, "R4") | {"send_notification": True}
    del told["sendNotification"]
    session.ok("POST", SALE.format(session.uid), {"visit": told})


@case("Core", "sales as a bare array", "3.2")
def sales_array(session: Session) -> None:
    session.ok("POST", SALES.format(session.uid), [{"visit": visit(session, f"B{n}")} for n in range(20)])


@case("Core", "a sale without its id is 400", "3.1")
def no_id(session: Session) -> None:
    told = visit(session, "X")
    del told["pos_id"]
    session.refused("POST", SALE.format(session.uid), {"visit": told}, codes=(400,))


@case("Core", "stock, by SKU", "3.5")
def stock(session: Session) -> None:
    session.ok("POST", INVENTORY.format(session.uid), [{"sku": "PR-1G", "name": "Pre-roll 1g", "quantity": 12}])


@case("Core", "a hundred stock items", "3.5")
def much_stock(session: Session) -> None:
    items = [{"sku": f"{session.run}-{n}", "name": f"Item {n}", "quantity": n} for n in range(100)]
    session.ok("POST", INVENTORY.format(session.uid), items)


@case("Core", "more than a hundred are refused", "3.5")
def too_much_stock(session: Session) -> None:
    items = [{"sku": f"{session.run}-{n}", "quantity": n} for n in range(101)]
    session.refused("POST", INVENTORY.format(session.uid), items, codes=(400, 413))


@case("Core", "pushing for a foreign account is 403", "2.2")
def foreign_push(session: Session) -> None:
    other = str(int(session.uid) + 1) if session.uid.isdigit() else "1"
    for path in (SALE, SALES, MEMBER, MEMBERS, INVENTORY):
        session.refused("POST", path.format(other), {"visit": visit(session, "F")}, codes=(403,))
