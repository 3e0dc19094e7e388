"""OAuth tokens by user name and password (RFC 6749 section 4.3), kept and renewed."""

import json
import time
from collections.abc import Callable, Mapping
from typing import Any

from .client import Answer, ServerFault, retry_after_s
from .errors import BadCredentials, TryLater, UnexpectedAnswer

RENEW_BEFORE_S = 600  # a token is not used in its last ten minutes
_SHORTEST_S = 60
_DEFAULT_S = 3600  # when the vendor does not say how long a token lives

Explain = Callable[[str, str], tuple[str, str]]


def _plain(error: str, description: str) -> tuple[str, str]:
    return "The log-in was refused. Check every field and try again.", ""


class PasswordGrant:
    """Bearer tokens of a password grant.

    `form` holds `username`, `password`, `client_id`, `client_secret`. `token` is what `save` was given last:
    `{"access_token", "expires_at" (epoch seconds), "lives_s", "refresh_token"}`; pass None to prove that the
    log-in is right, as connecting does. `explain(error, description)` gives the sentence and the setting for
    a refused log-in: the wording is the card's. A refused refresh falls back to the password.
    """

    def __init__(
        self,
        token_url: str,
        form: Mapping[str, str],
        *,
        token: Mapping[str, Any] | None = None,
        save: Callable[[dict[str, Any]], None] = lambda token: None,
        explain: Explain = _plain,
        vendor: str = "The vendor",
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._url = token_url
        self._form = dict(form)
        self._token: dict[str, Any] = dict(token or {})
        self._save = save
        self._explain = explain
        self._vendor = vendor
        self._clock = clock

    def headers(self, send: Callable[..., Answer]) -> dict[str, str]:
        """The Authorization header, from a token that is good for ten minutes more."""
        if not self._is_fresh():
            self._token = self._refreshed(send) or self._granted(send)
            self._save(dict(self._token))
        return {"Authorization": f"Bearer {self._token['access_token']}"}

    def refused(self) -> bool:
        # the refresh token goes too: whoever revoked one has usually revoked both
        self._token = {}
        return True

    def _is_fresh(self) -> bool:
        expires_at = self._token.get("expires_at")
        if not self._token.get("access_token") or not isinstance(expires_at, int | float):
            return False
        # a vendor whose tokens live for minutes would otherwise be asked for one before every call
        lives_s = self._token.get("lives_s")
        margin = min(RENEW_BEFORE_S, lives_s / 2) if isinstance(lives_s, int | float) else RENEW_BEFORE_S
        return expires_at - self._clock() > margin

    def _refreshed(self, send: Callable[..., Answer]) -> dict[str, Any] | None:
        if not self._token.get("refresh_token"):
            return None
        form = {
            "grant_type": "refresh_token",
            "refresh_token": str(self._token["refresh_token"]),
            "client_id": self._form["client_id"],
            "client_secret": self._form["client_secret"],
        }
        try:
            return self._read(send("POST", self._url, form=form))
        except (BadCredentials, TryLater, UnexpectedAnswer):
            return None

    def _granted(self, send: Callable[..., Answer]) -> dict[str, Any]:
        return self._read(send("POST", self._url, form={"grant_type": "password"} | self._form))

    def _read(self, answer: Answer) -> dict[str, Any]:
        status = answer.status
        if status == 429:
            raise TryLater(f"{self._vendor}'s log-in asks us to slow down.", after_s=retry_after_s(answer.headers))
        if status >= 500 or status == 408:
            raise ServerFault(f"{self._vendor}'s log-in has a fault on its side (HTTP {status}).")
        if 300 <= status < 400:
            raise UnexpectedAnswer(
                f"{self._vendor}'s log-in sent us on to another address. We do not follow, for your password is meant "
                f"for {self._vendor} alone."
            )
        try:
            body = json.loads(answer.body)
        except (ValueError, RecursionError):
            body = None
        if not isinstance(body, dict):
            body = {}
        if status in (400, 401, 403):
            sentence, setting = self._explain(str(body.get("error", "")), str(body.get("error_description", "")))
            raise BadCredentials(sentence, setting=setting, detail=f"token: HTTP {status}")
        access = body.get("access_token")
        if (
            status != 200
            or not access
            or not isinstance(access, str)
            or not access.isascii()
            or not access.isprintable()
        ):
            raise UnexpectedAnswer(
                f"{self._vendor}'s log-in does not answer properly, most likely for maintenance. "
                "What you entered is kept; try again in some minutes.",
                detail=f"token: HTTP {status}",
            )
        lives_s = body.get("expires_in")
        try:
            seconds = max(_SHORTEST_S, int(lives_s)) if lives_s is not None else _DEFAULT_S
        except (TypeError, ValueError):
            seconds = _DEFAULT_S
        token: dict[str, Any] = {
            "access_token": access,
            "expires_at": int(self._clock()) + seconds,
            "lives_s": seconds,
        }
        if isinstance(body.get("refresh_token"), str):
            token["refresh_token"] = body["refresh_token"]
        return token
