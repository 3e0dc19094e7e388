"""A vendor's client for one credential: sealed secrets out, token kept, pace held."""

from typing import Any

from django.conf import settings
from django.db.models import Q

from .kit.card import Card
from .kit.client import Client
from .kit.errors import Frozen
from .kit.limits import Limiter
from .models import Credential, CredentialState


def base_url_of(card: Card) -> str:
    """Where the vendor's API lives: the card says, the installation may override, a merchant never can."""
    return settings.CARD_BASE_URLS.get(card.slug, card.base_url)


_limiters: dict[int, Limiter] = {}


def limiter_for(credential: Credential, card: Card) -> Limiter:
    """One limiter a credential and process: a new one for every slice would begin each with a full bucket."""
    if credential.pk not in _limiters:
        if len(_limiters) > 1000:
            _limiters.clear()
        _limiters[credential.pk] = Limiter(settings.CARD_RATES.get(card.slug, card.calls_per_minute))
    return _limiters[credential.pk]


def client_for(credential: Credential, card: Card, *, fresh: bool = False) -> Client:
    """A client with this credential's values and secrets.

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

    def save_token(token: dict[str, Any]) -> None:
        if fresh:
            credential.token = token
        else:
            # Not after a disconnect, which has just forgotten them.
            Credential.unscoped.filter(pk=credential.pk, state=CredentialState.CONNECTED).update(token=token)

    client = card.client(
        values={**credential.values, **(credential.secrets or {})},
        base_url=base_url_of(card),
        token=None if fresh else credential.token,
        save_token=save_token,
        limiter=limiter_for(credential, card),
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
