"""Consent (reference: section 6)."""

from .enhanced import shopper
from .kit import Session, case


@case("Consent", "a phone is opted out, with an empty body", "6.1")
def sms_out(session: Session) -> None:
    path = f"/v2/optin/text/{shopper(session)['mobilePhone']}/false"
    session.ok("PUT", path, raw=b"", headers={"Content-Type": "application/json"})


@case("Consent", "an e-mail is opted in and out", "6.2")
def email(session: Session) -> None:
    for yes in ("true", "false"):
        session.ok("PUT", f"/v2/optin/email/{shopper(session)['email']}/{yes}")


@case("Consent", "the older call", "6.3")
def older(session: Session) -> None:
    session.ok("PUT", f"/v1.1/optin/{session.uid}/{shopper(session)['mobilePhone']}/false")


@case("Consent", "an opt-in creates no contact", "6.1")
def no_contact(session: Session) -> None:
    phone = session.phone()
    session.ok("PUT", f"/v2/optin/text/{phone}/false")
    session.refused("GET", f"/v2/lookup/{phone}", codes=(400, 404))


@case("Consent", "neither true nor false is 400", "6.1")
def neither(session: Session) -> None:
    session.refused("PUT", f"/v2/optin/text/{shopper(session)['mobilePhone']}/perhaps", codes=(400, 404))
