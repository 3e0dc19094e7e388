"""Stores and their mapping to the POS's locations."""

from django.db import transaction
from django.db.models import Max
from django.utils import timezone

from aiqsync.accounts.models import Account
from aiqsync.accounts.tenancy import current_account_id
from integrations.models import Location

from .models import Store, StoreMapping


def next_number(account_id: int) -> int:
    """The account's next store id. The account's row is locked: two stores made at once get two numbers."""
    Account.objects.select_for_update(no_key=True).get(pk=account_id)
    return (Store.unscoped.filter(account_id=account_id).aggregate(top=Max("number"))["top"] or 0) + 1


@transaction.atomic
def create(*, account_id: int, **fields) -> Store:
    """A new store, with the next number."""
    return Store.unscoped.create(account_id=account_id, number=next_number(account_id), **fields)


@transaction.atomic
def map_location(*, location: Location, store: Store | None) -> bool:
    """Say which store a location is; None: it is no store of ours, and that is no notice. True when it changed."""
    assert store is None or store.account_id == location.account_id
    mapping, made = StoreMapping.unscoped.get_or_create(
        account_id=location.account_id, location=location, defaults={"store": store}
    )
    if made:
        return True
    if mapping.store_id == (store.pk if store else None):
        return False
    mapping.store = store
    mapping.mapped_at = timezone.now()
    mapping.save(update_fields=["store", "mapped_at"])
    return True


@transaction.atomic
def unmap_location(*, location: Location) -> bool:
    """Nobody has said any more which store it is: it is listed as unmapped again. True when somebody had."""
    return bool(StoreMapping.unscoped.filter(account_id=location.account_id, location=location).delete()[0])


@transaction.atomic
def map_all(*, origin_id: int) -> int:
    """Map every open, unmapped location of an origin: to the store of the same name, else to a new one like it."""
    account_id = current_account_id()
    stores = {store.name.casefold(): store for store in Store.objects.all()}
    mapped = 0
    for location in Location.objects.filter(origin=origin_id, active=True, mappings=None).order_by("name"):
        store = stores.get(location.name.casefold()) or create_from(account_id=account_id, location=location)
        mapped += map_location(location=location, store=store)
    return mapped


def create_from(*, account_id: int, location: Location) -> Store:
    """A store with what the POS says of the location."""
    return create(
        account_id=account_id,
        name=location.name or f"Location {location.external_id}",
        phone=location.phone[:40],
        street=location.street,
        city=location.city,
        state=location.state[:10],
        postal_code=location.postal_code,
        country=location.country,
        timezone=location.time_zone,
    )


def unmapped(*, account_id: int):
    """Open locations of which nobody has said which store they are."""
    return Location.unscoped.filter(account_id=account_id, active=True, mappings=None).order_by("name")
