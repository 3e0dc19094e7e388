import json
from urllib.parse import parse_qs

import pytest

from integrations.kit.auth import PasswordGrant
from integrations.kit.client import Answer
from integrations.kit.errors import BadCredentials, TryLater, UnexpectedAnswer

FORM = {"username": "u", "password": "p", "client_id": "c", "client_secret": "s"}


class Vendor:
    """A token endpoint that answers as scripted."""

    def __init__(self, *answers):
        self.answers = list(answers)
        self.forms = []

    def send(self, method, url, *, form):
        self.forms.append(form)
        status, body = self.answers.pop(0)
        return Answer(status, {}, body if isinstance(body, bytes) else json.dumps(body).encode())


def good(access="t1", lives=43200, refresh="r1"):
    return 200, {"access_token": access, "expires_in": lives, "refresh_token": refresh}


def explain(error, description):
    return f"refused: {error}", "password" if error == "invalid_grant" else "client_id"


def grant(token=None, now=1_000_000.0):
    saved = []
    made = PasswordGrant("https://t/v1", FORM, token=token, save=saved.append, explain=explain, clock=lambda: made.now)
    made.now = now
    return made, saved


def test_a_token_is_got_once_and_saved():
    auth, saved = grant()
    vendor = Vendor(good())
    for _ in range(3):
        assert auth.headers(vendor.send) == {"Authorization": "Bearer t1"}
    assert vendor.forms == [{"grant_type": "password"} | FORM]
    assert saved == [{"access_token": "t1", "expires_at": 1_043_200, "lives_s": 43200, "refresh_token": "r1"}]
    assert json.loads(json.dumps(saved[0])) == saved[0]


def test_a_kept_token_is_used_until_ten_minutes_before_its_end():
    token = {"access_token": "kept", "expires_at": 1_000_601, "refresh_token": "r0"}
    auth, saved = grant(token)
    assert auth.headers(Vendor().send) == {"Authorization": "Bearer kept"}
    auth.now += 2
    vendor = Vendor(good("t2"))
    assert auth.headers(vendor.send) == {"Authorization": "Bearer t2"}
    assert vendor.forms[0]["grant_type"] == "refresh_token"
    assert vendor.forms[0]["refresh_token"] == "r0"
    assert "password" not in vendor.forms[0]


@pytest.mark.parametrize("failure", [(400, {"error": "invalid_grant"}), (500, b""), (200, b"<html>"), (302, b"")])
def test_a_refused_refresh_falls_back_to_the_password(failure):
    auth, _ = grant({"access_token": "old", "expires_at": 0, "refresh_token": "r0"})
    vendor = Vendor(failure, good("t3"))
    assert auth.headers(vendor.send) == {"Authorization": "Bearer t3"}
    assert vendor.forms[1]["grant_type"] == "password"


def test_after_a_401_the_password_is_used():
    auth, _ = grant({"access_token": "revoked", "expires_at": 2_000_000, "refresh_token": "r0"})
    assert auth.refused()
    vendor = Vendor(good("t4"))
    assert auth.headers(vendor.send) == {"Authorization": "Bearer t4"}
    assert vendor.forms[0]["grant_type"] == "password"


def test_short_lived_tokens_are_not_asked_for_at_every_call():
    auth, _ = grant()
    vendor = Vendor(good("t1", 300))
    for _ in range(3):
        auth.headers(vendor.send)
    assert len(vendor.forms) == 1


@pytest.mark.parametrize(
    ("answer", "error", "setting"),
    [
        ((400, {"error": "invalid_grant"}), BadCredentials, "password"),
        ((400, {"error": "invalid_client"}), BadCredentials, "client_id"),
        ((401, b""), BadCredentials, "client_id"),
        ((429, b""), TryLater, None),
        ((503, b""), TryLater, None),
        ((302, b""), UnexpectedAnswer, None),
        ((200, b"<html>"), UnexpectedAnswer, None),
        ((200, {"access_token": ""}), UnexpectedAnswer, None),
        ((200, {"access_token": "a\r\nX: y"}), UnexpectedAnswer, None),
        ((404, b""), UnexpectedAnswer, None),
    ],
)
def test_refusals(answer, error, setting):
    auth, saved = grant()
    with pytest.raises(error) as raised:
        auth.headers(Vendor(answer).send)
    assert getattr(raised.value, "setting", None) == setting
    assert saved == []


@pytest.mark.parametrize("lives", [None, "soon", 0, -5, "3600"])
def test_odd_lifetimes(lives):
    auth, saved = grant()
    body = {"access_token": "t"} | ({} if lives is None else {"expires_in": lives})
    auth.headers(Vendor((200, body)).send)
    assert saved[0]["expires_at"] > auth.now


def test_the_form_is_a_form():
    from requests import Request

    sent = Request("POST", "https://t/v1", data={"grant_type": "password"} | FORM).prepare()
    assert parse_qs(sent.body) == {k: [v] for k, v in ({"grant_type": "password"} | FORM).items()}
