"""A POS for an account, with other abilities than the cards there are."""

from collections.abc import Mapping
from dataclasses import replace
from itertools import count

from aiqsync.accounts.tenancy import acting_in
from integrations import registry
from integrations.models import Connection, Credential, Location, Origin
from stores.models import Store, StoreMapping

_n = count(1)


def make_card(monkeypatch, slug: str, *, per_order: int = 1, can: Mapping[str, str] | None = None):
    """Cova's card under another name. `can` replaces capabilities: "yes", or the sentence why not."""
    cova = registry.get("cova")
    card = replace(
        cova, slug=slug, title=slug.capitalize(), discounts_per_order=per_order,
        capabilities={**cova.capabilities, **(can or {})},
    )  # fmt: skip
    monkeypatch.setitem(registry.CARDS, slug, card)
    return card


def connect(account, slug: str = "cova", *, state: str = "connected", store: Store | None = None) -> Credential:
    """A credential of that card; with `store`, its one location is that store."""
    with acting_in(account.pk):
        connection, _ = Connection.objects.get_or_create(card=slug)
        origin = Origin.objects.create(platform=slug, identity=str(next(_n)))
        if store:
            location = Location.objects.create(origin=origin, external_id="1", name=store.name)
            StoreMapping.objects.create(location=location, store=store)
        return Credential.objects.create(connection=connection, origin=origin, state=state)
