"""A vendor's client for one credential: sealed secrets out, token kept, pace held."""

from typing import Any

from django.conf import settings

from .kit.card import Card
from .kit.client import Client
from .kit.limits import Limiter
from .models import Credential


def base_url_of(card: Card) -> str:
    """Where the vendor's API lives: the card says, the installation may override, a merchant never can."""
    return settings.CARD_BASE_URLS.get(card.slug, card.base_url)


def client_for(credential: Credential, card: Card, *, values: dict[str, Any] | None = None) -> Client:
    """A client with this credential's values and secrets, or with the ones given (not stored yet)."""
    given = values is not None
    rate = settings.CARD_RATES.get(card.slug, card.calls_per_minute)

    def save_token(token: dict[str, Any]) -> None:
        if credential.pk and not given:
            Credential.unscoped.filter(pk=credential.pk).update(token=token)

    return card.client(
        values=values if values is not None else {**credential.values, **(credential.secrets or {})},
        base_url=base_url_of(card),
        token=None if given else credential.token,
        save_token=save_token,
        limiter=Limiter(rate_per_minute=rate),
    )
