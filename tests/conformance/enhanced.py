"""Enhanced: sign-up, wallet and redemption at the till (reference: sections 4 and 5.1 to 5.5)."""

from typing import Any

from .kit import Session, case, expect, skip

FIELDS = ("id", "posDiscountID", "avatar", "name", "pageTitle", "inStoreRedemption", "pointsDeduction", "redemptionURL",
          "available", "expiration", "dollarValue", "percentageValue", "tierDiscount", "reusable")  # fmt: skip


def shopper(session: Session) -> dict[str, Any]:
    """A member with points, made once in a run."""
    if "shopper" not in session.made:
        one = {"firstName": "Eve", "lastName": "Conformance", "mobilePhone": session.phone(), "email": session.email(),
               "loyalty": True}  # fmt: skip
        session.made["shopper"] = one | {"contactID": session.ok("POST", "/v2/loyalty", one)["contactID"]}
    return session.made["shopper"]


def wallet(session: Session) -> dict[str, Any]:
    return session.ok("POST", "/v2/wallet", {"phone": shopper(session)["mobilePhone"]})


def points(session: Session, value: int) -> None:
    path = f"/v1.1/adjust/loyaltyPoints/{session.uid}/{shopper(session)['contactID']}"
    session.ok("PUT", path, {"value": value, "note": "conformance"})


def redeemable(session: Session) -> dict[str, Any]:
    """A discount that can be redeemed now; points are given for it when they lack."""
    found = wallet(session)["discountTemplates"] or skip("the account has no discount for everybody")
    paid = [one for one in found if one["pointsDeduction"] and not one["tierDiscount"]]
    if not paid:
        skip("no discount costs points")
    cheapest = min(paid, key=lambda one: one["pointsDeduction"])
    if not cheapest["available"]:
        points(session, int(cheapest["pointsDeduction"]) + 1)
        cheapest = next(one for one in wallet(session)["discountTemplates"] if one["id"] == cheapest["id"])
    expect(cheapest["available"], "not available although there are points enough")
    if not cheapest.get("redemptionURL"):
        skip("a PIN is required here before a wallet shows redemption addresses")
    return cheapest


@case("Enhanced", "sign-up answers a contact id", "5.1")
def signs_up(session: Session) -> None:
    expect(isinstance(shopper(session)["contactID"], str), "contactID is no string")


@case("Enhanced", "signing up again is the same contact", "5.1")
def signs_up_again(session: Session) -> None:
    one = shopper(session)
    again = session.ok("POST", "/v2/loyalty", {"mobilePhone": one["mobilePhone"], "loyalty": True})
    expect(again["contactID"] == one["contactID"], "another contact")


@case("Enhanced", "signing up by e-mail alone", "5.1")
def by_email(session: Session) -> None:
    expect(session.ok("POST", "/v2/loyalty", {"email": session.email()})["contactID"], "no contactID")


@case("Enhanced", "signing up with all fields", "5.1")
def all_fields(session: Session) -> None:
    body = {"firstName": "All", "lastName": "Fields", "mobilePhone": session.phone(), "email": session.email(),
            "address": "1 Main St", "favoriteStore": "Main", "favoriteStoreID": 1, "loyalty": True, "smsoptin": False,
            "disableSMS": False, "emailOptIn": False, "uid": session.uid,
            "customAttributes": [{"parent": "", "key": "shirt", "value": "L", "ts": None}]}  # fmt: skip
    session.ok("POST", "/v2/loyalty", body)


@case("Enhanced", "neither phone nor e-mail is 400", "5.1")
def nobody(session: Session) -> None:
    session.refused("POST", "/v2/loyalty", {"firstName": "Nobody"}, codes=(400,))


@case("Enhanced", "the older sign-up", "5.2")
def older(session: Session) -> None:
    body = {"firstName": "Old", "lastName": "Form", "mobilePhone": session.phone(), "email": session.email()}
    session.ok("POST", f"/v1.1/loyaltyContact/{session.uid}", body)


@case("Enhanced", "is this phone a member's?", "5.3")
def lookup(session: Session) -> None:
    one = shopper(session)
    for pii in (one["mobilePhone"], one["email"]):
        session.ok("GET", f"/v2/loyalty/lookup/{pii}")


@case("Enhanced", "contact id by phone and by e-mail", "5.4, 5.5")
def ids(session: Session) -> None:
    one = shopper(session)
    for path in (one["mobilePhone"], f"email/{one['email']}", f"email/{one['email'].replace('@', '%40')}"):
        found = session.ok("GET", f"/v2/lookup/{path}")["contactID"]
        expect(found == one["contactID"], f"/v2/lookup/{path} leads to another contact")


@case("Enhanced", "phones in every spelling", "2.3")
def spellings(session: Session) -> None:
    ten = shopper(session)["mobilePhone"]
    for spelled in (ten, "1" + ten, "+1" + ten, f"({ten[:3]}) {ten[3:6]}-{ten[6:]}", f"{ten[:3]}.{ten[3:6]}.{ten[6:]}"):
        found = session.ok("POST", "/v2/wallet", {"phone": spelled})["contactID"]
        expect(found == shopper(session)["contactID"], f"{spelled!r} leads to another contact")


@case("Enhanced", "an unknown phone is no wallet", "4.1")
def unknown(session: Session) -> None:
    session.refused("POST", "/v2/wallet", {"phone": session.phone()}, codes=(400, 404))


@case("Enhanced", "an unknown phone is no contact", "5.4")
def unknown_lookup(session: Session) -> None:
    session.refused("GET", f"/v2/lookup/{session.phone()}", codes=(400, 404))


@case("Enhanced", "the wallet's fields", "4.1")
def fields(session: Session) -> None:
    told = wallet(session)
    for name in ("contactID", "loyaltyPoints", "hidePointsInWallet", "discountTemplates"):
        expect(name in told, f"{name} is missing")
    expect(isinstance(told["loyaltyPoints"], int | float), "loyaltyPoints is no number")
    expect(isinstance(told["hidePointsInWallet"], bool), "hidePointsInWallet is no bool")


@case("Enhanced", "no discounts are null, not an empty list", "2.4")
def null(session: Session) -> None:
    expect(wallet(session)["discountTemplates"] != [], "discountTemplates is []")


@case("Enhanced", "the wallet by phone in the path", "4.2")
def by_path(session: Session) -> None:
    told = session.ok("GET", f"/v2/wallet/{shopper(session)['mobilePhone']}")
    expect(told["contactID"] == shopper(session)["contactID"], "another contact")


@case("Enhanced", "the wallet by e-mail", "4.1")
def wallet_by_email(session: Session) -> None:
    told = session.ok("POST", "/v2/wallet", {"phone": "", "email": shopper(session)["email"]})
    expect(told["contactID"] == shopper(session)["contactID"], "another contact")


@case("Enhanced", "the wallet with badges", "4.1")
def badges(session: Session) -> None:
    session.ok("POST", "/v2/wallet?badges=true", {"phone": shopper(session)["mobilePhone"]})


@case("Enhanced", "a discount's fields", "4.1")
def discount_fields(session: Session) -> None:
    found = wallet(session)["discountTemplates"] or skip("the account has no discount for everybody")
    for one in found:
        for name in FIELDS:
            expect(name in one, f"{name} is missing of discount {one.get('id')}")
        expect(isinstance(one["id"], str), "id is no string")
        expect(not (one["dollarValue"] and one["percentageValue"]), "both dollarValue and percentageValue")


@case("Enhanced", "points are adjusted and read at once", "5.14")
def adjusts(session: Session) -> None:
    before = wallet(session)
    if before["hidePointsInWallet"]:
        skip("points are hidden here")
    points(session, 25)
    expect(wallet(session)["loyaltyPoints"] == before["loyaltyPoints"] + 25, "25 points more are not seen")
    points(session, -25)
    expect(wallet(session)["loyaltyPoints"] == before["loyaltyPoints"], "25 points less are not seen")


@case("Enhanced", "a till redeems with its transaction", "4.7")
def redeems(session: Session) -> None:
    one = redeemable(session)
    before = wallet(session)
    done = session.ok("PUT", f"{one['redemptionURL']}/{session.run}-T1")
    session.made["redeemed"] = (one, done, before["loyaltyPoints"])
    if not before["hidePointsInWallet"]:
        left = before["loyaltyPoints"] - one["pointsDeduction"]
        expect(wallet(session)["loyaltyPoints"] == left, "the points did not leave at once")


@case("Enhanced", "the same redemption again takes nothing", "4.7")
def redeems_again(session: Session) -> None:
    one, done, _ = session.made.get("redeemed") or skip("nothing was redeemed")
    before = wallet(session)["loyaltyPoints"]
    again = session.ok("PUT", f"{one['redemptionURL']}/{session.run}-T1")
    expect(again == done, "another answer")
    expect(wallet(session)["loyaltyPoints"] == before, "points were taken twice")


@case("Enhanced", "redeeming with a JSON type and no body", "2.3")
def typed_put(session: Session) -> None:
    one, *_ = session.made.get("redeemed") or skip("nothing was redeemed")
    session.ok("PUT", f"{one['redemptionURL']}/{session.run}-T1", headers={"Content-Type": "application/json"})


@case("Enhanced", "an address that was altered redeems nothing", "4.7")
def altered(session: Session) -> None:
    url = redeemable(session)["redemptionURL"]
    session.refused("PUT", url[:-1] + ("A" if url[-1] != "A" else "B"), codes=(400, 403, 404))


@case("Enhanced", "redeeming needs the key", "4.7")
def redeem_key(session: Session) -> None:
    session.refused("PUT", f"{redeemable(session)['redemptionURL']}/{session.run}-T2", codes=(403,), key=None)


@case("Enhanced", "a web shop redeems without a transaction", "4.7")
def web_shop(session: Session) -> None:
    one = redeemable(session)
    if one["inStoreRedemption"]:
        skip("the discount is for the store only")
    if "redeemed" in session.made and not one["reusable"]:
        skip("the discount is for once")
    session.ok("PUT", one["redemptionURL"])


@case("Enhanced", "too few points redeem nothing", "4.7")
def too_few(session: Session) -> None:
    one = redeemable(session)
    have = wallet(session)
    if have["hidePointsInWallet"] or one["tierDiscount"]:
        skip("points are hidden here")
    points(session, -int(have["loyaltyPoints"]))
    session.refused("PUT", f"{one['redemptionURL']}/{session.run}-T3", codes=(400,))
    points(session, int(have["loyaltyPoints"]))


@case("Enhanced", "a PIN for nobody is refused", "4.3")
def pin_for_nobody(session: Session) -> None:
    session.refused("POST", "/v2/verify/wallet", {"phone": session.phone()}, codes=(400, 404))


@case("Enhanced", "a wrong PIN is refused", "4.4")
def wrong_pin(session: Session) -> None:
    for path in ("/v2/view/wallet", "/v2/view/contact/wallet"):
        answer = session.call("POST", path, {"phone": shopper(session)["mobilePhone"], "code": "0000"})
        expect(400 <= answer.status < 500, f"{path}: {answer.short()}")


@case("Enhanced", "pass links", "4.9")
def pass_links(session: Session) -> None:
    session.ok("GET", f"/v2/walletPassDownloadLinks/{shopper(session)['contactID']}")
