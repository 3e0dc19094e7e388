"""What holds for every call: keys, envelope, tolerance (reference: section 2)."""

from .kit import BAD_KEY, Session, case, expect


def _no_key(session: Session, **options) -> None:
    answer = session.refused("GET", f"/v1.1/stores/{session.uid}", codes=(403,), **options)
    expect(answer.message == BAD_KEY, f"the words are {answer.message!r}")


@case("Core", "no key is 403 with the vendor's words", "2.2")
def no_key(session: Session) -> None:
    _no_key(session, key=None)


@case("Core", "a wrong key is the same", "2.2")
def wrong_key(session: Session) -> None:
    _no_key(session, key="wrong")


@case("Core", "X-API-Key is no key", "2.2")
def other_header(session: Session) -> None:
    _no_key(session, key=None, headers={"X-API-Key": session.key})


@case("Core", "Authorization: Bearer is no key", "2.2")
def bearer(session: Session) -> None:
    _no_key(session, key=None, headers={"Authorization": f"Bearer {session.key}"})


@case("Core", "?api_key= is no key", "2.2")
def in_the_query(session: Session) -> None:
    answer = session.refused("GET", f"/v1.1/stores/{session.uid}?api_key={session.key}", codes=(403,), key=None)
    expect(answer.message == BAD_KEY, f"the words are {answer.message!r}")


@case("Core", "the header in capitals is a key", "2.2")
def in_capitals(session: Session) -> None:
    session.ok("GET", f"/v1.1/stores/{session.uid}", key=None, headers={"X-APIKEY": session.key})


@case("Core", "an account id that is not the key's is 403", "2.2")
def foreign(session: Session) -> None:
    other = str(int(session.uid) + 1) if session.uid.isdigit() else "1"
    session.refused("GET", f"/v1.1/stores/{other}", codes=(403,))


@case("Core", "an unknown path is 404 in the envelope", "2.5")
def unknown_path(session: Session) -> None:
    session.refused("GET", f"/v2/no-such-call/{session.run}", codes=(404,))


@case("Core", "a wrong method is 405 in the envelope", "2.5")
def wrong_method(session: Session) -> None:
    session.refused("DELETE", f"/v1.1/stores/{session.uid}", codes=(405,))


@case("Core", "a body that is no JSON is 400", "2.5")
def no_json(session: Session) -> None:
    session.refused("POST", "/v2/wallet", raw=b"{phone", codes=(400,))


@case("Core", "a JSON content type on a GET without a body", "2.3")
def typed_get(session: Session) -> None:
    session.ok("GET", f"/v1.1/stores/{session.uid}", headers={"Content-Type": "application/json"})


@case("Core", "paths with a trailing slash", "2.3")
def trailing_slash(session: Session) -> None:
    session.ok("GET", f"/v1.1/stores/{session.uid}/")


@case("Core", "paths that never existed stay 404", "9")
def never_there(session: Session) -> None:
    for path in (f"/v2/tiers/{session.uid}", f"/v2/loyalty/{session.uid}", f"/v1.1/discounts/{session.uid}",
                 "/v2/stores", "/v2/locations", f"/v1.1/locations/{session.uid}"):  # fmt: skip
        answer = session.call("GET", path)
        expect(answer.status in (404, 405), f"GET {path}: {answer.short()}")
