"""Stores and their mapping to the POS's locations."""

from typing import Any

from django.core.exceptions import ValidationError
from django.db import transaction
from django.db.models import Max
from django.utils import timezone

from aiqsync.accounts import audit
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


class Wrong(Exception):
    """A value cannot be kept. `field` is the model's, the message a sentence."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(message)
        self.field = field


@transaction.atomic
def change(*, account_id: int, number: int, fields: dict[str, Any], by: str) -> Store | None:
    """Write these fields of a store, and a line of the activity log when something changed; None: no such store.

    Review links are taken one by one: those that are not named stay, an empty one goes. Raises Wrong; nothing is
    written then.
    """
    store = Store.unscoped.select_for_update(no_key=True).filter(account_id=account_id, number=number).first()
    if store is None:
        return None
    if "review_links" in fields:
        links = store.review_links | fields["review_links"]
        fields = fields | {"review_links": {site: address for site, address in links.items() if address}}
    before = {name: getattr(store, name) for name in fields}
    for name, value in fields.items():
        setattr(store, name, value)
    try:
        store.clean_fields(exclude=[field.name for field in Store._meta.concrete_fields if field.name not in fields])
        store.clean()
    except ValidationError as error:
        field, told = next(iter(error.message_dict.items()))
        raise Wrong(field, told[0]) from None
    changed = [name for name in fields if getattr(store, name) != before[name]]
    if changed:
        store.save(update_fields=changed)
        audit.record(
            act="store.changed", target=str(store), detail={n: str(getattr(store, n)) for n in changed} | {"by": by}
        )
    return store


def pos_names(*, account_id: int) -> dict[int, dict[str, str]]:
    """By store and platform what the POS calls it; of several places of a POS the last that was mapped."""
    names: dict[int, dict[str, str]] = {}
    mapped = StoreMapping.unscoped.filter(account_id=account_id, store__isnull=False)
    for one in mapped.select_related("location__origin").order_by("pk"):
        place = one.location
        names.setdefault(one.store_id, {})[place.origin.platform] = place.name or place.external_id
    return names


def numbers_of_locations(*, account_id: int) -> dict[int, int]:
    """Which store (its public number) a location of a POS is, for those that are one."""
    mapped = StoreMapping.unscoped.filter(account_id=account_id, store__isnull=False)
    return dict(mapped.values_list("location_id", "store__number"))


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
