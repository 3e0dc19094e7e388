"""A vendor's client for one credential: sealed secrets out, token kept, pace held."""

import json
import os
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from django.conf import settings
from django.db.models import Q

from .kit.addresses import guard
from .kit.card import Card
from .kit.errors import Frozen
from .kit.limits import Limiter
from .kit.pace import Pace
from .models import Credential, CredentialState
from .pace import lease_for


def base_url_of(card: Card) -> str:
    """Where the vendor's API lives: the card says, the installation may override, a merchant never can."""
    return settings.CARD_BASE_URLS.get(card.slug, card.base_url)


_limiters: dict[Any, Limiter | Pace] = {}


def limiter_for(credential: Credential, card: Card) -> Limiter | Pace:
    """One limiter a credential and process: a new one for every slice would begin each with a full bucket.

    Where the vendor counts by token, one a token, whose allowance is shared with the other processes.
    """
    rate = settings.CARD_RATES.get(card.slug, card.calls_per_minute)
    secret = json.dumps(credential.secrets or {}, sort_keys=True) if card.at_once else ""
    key = (card.slug, secret, rate) if card.at_once else credential.pk
    if key not in _limiters:
        if len(_limiters) > 1000:
            _limiters.clear()
        _limiters[key] = (
            Pace(rate, at_once=card.at_once, lease=lease_for(card, secret)) if card.at_once else Limiter(rate)
        )
    return _limiters[key]


def _told(credential: Credential) -> dict[str, Any]:
    """What the installation says and a merchant never can: below which folder of this account's own files may lie."""
    root = settings.FILES_ROOT
    return {
        "_root": os.path.join(root, credential.account.uid) if root else "",
        "_loopback": settings.ALLOW_LOOPBACK_ADDRESSES,
        "_most_mb": settings.FILES_MAX_MB,
    }


def client_for(credential: Credential, card: Card, *, fresh: bool = False) -> AbstractContextManager[Any]:
    """A client with this credential's values and secrets; of a card that is told, not asked, nothing (None).

    `fresh` logs in anew, for a kept token proves no password, and leaves the new token on the object only: values that
    are being tried must not touch the ones that work.
    """

    frozen = f"{card.title} is frozen: “Use last backup” is on, so it is asked nothing and told nothing."
    if credential.frozen_at or credential.connection.frozen_at:
        raise Frozen(frozen)

    def thawed() -> None:
        # Asked of the database before each call: it may have been frozen since this client was made.
        if is_frozen(credential.pk):
            raise Frozen(frozen)

    if card.client is None:
        return nullcontext(None)

    def save_token(token: dict[str, Any]) -> None:
        if fresh:
            credential.token = token
        else:
            # Not after a disconnect, which has just forgotten them.
            Credential.unscoped.filter(pk=credential.pk, state=CredentialState.CONNECTED).update(token=token)

    base_url, more = base_url_of(card), {}
    if card.address:
        # Looked up once for each pull, and pinned: what the name says meanwhile moves nothing.
        pinned = guard(credential.values.get(card.address, ""), settings.ALLOW_LOOPBACK_ADDRESSES, setting=card.address)
        base_url, more = pinned.url, {"pinned": pinned}
    client = card.client(
        values={**credential.values, **(credential.secrets or {}), **(_told(credential) if card.told else {})},
        base_url=base_url,
        token=None if fresh else credential.token,
        save_token=save_token,
        limiter=limiter_for(credential, card),
        **more,
    )
    client.before_call = thawed
    return client


def is_frozen(credential_id: int) -> bool:
    """“Use last backup” is on for this credential or for its whole card."""
    return (
        Credential.unscoped.filter(pk=credential_id)
        .filter(Q(frozen_at__isnull=False) | Q(connection__frozen_at__isnull=False))
        .exists()
    )
