"""Discounts: what shoppers can have for points, whom they are for, and what the POS can do with them."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db import connection, transaction
from django.db.models import Max, Prefetch, Q, QuerySet

from aiqsync.accounts.models import Account
from aiqsync.accounts.tenancy import TenantModel
from integrations.services import Card, cards_in_use
from stores.models import Store, StoreMapping

from . import ledger, pictures
from .models import (
    Audience,
    CodeKind,
    Discount,
    DiscountAudience,
    DiscountImage,
    DiscountStore,
    Programme,
    Redemption,
    Reward,
)

CHECK_EVERY = timedelta(hours=24)
LOOKED_AT = 5  # the latest redemptions whose sale was seen
TELLING = 3  # so many of them without money off, and all of them: then it is not by chance
LOOK_BACK = timedelta(days=60)
_NAME = Discount._meta.get_field("name").max_length or 120


def next_number(account_id: int) -> int:
    """The account's next discount id. The account's row is locked: two made at once get two numbers."""
    Account.objects.select_for_update(no_key=True).get(pk=account_id)
    return (Discount.unscoped.filter(account_id=account_id).aggregate(top=Max("number"))["top"] or 0) + 1


@transaction.atomic
def create(*, account_id: int, **fields) -> Discount:
    """A new discount with the next number. Raises `ValidationError` by field."""
    discount = Discount(account_id=account_id, number=next_number(account_id), **fields)
    discount.full_clean(validate_unique=False, validate_constraints=False)
    discount.save()
    return discount


@transaction.atomic
def limit(*, discount: Discount, stores: Iterable[Store], audiences: Iterable[Audience]) -> None:
    """For these stores and audiences only; empty is everywhere, everybody. Both are of the discount's account."""
    for rows, wanted, name in (
        (DiscountStore, {one.pk for one in stores}, "store_id"),
        (DiscountAudience, {one.pk for one in audiences}, "audience_id"),
    ):
        mine = rows.unscoped.filter(account_id=discount.account_id, discount=discount)
        mine.exclude(**{f"{name}__in": wanted}).delete()
        for pk in wanted - set(mine.values_list(name, flat=True)):
            rows.unscoped.create(account_id=discount.account_id, discount=discount, **{name: pk})
    Discount.unscoped.filter(pk=discount.pk).update(
        limited_stores=DiscountStore.unscoped.filter(discount=discount).exists(),
        limited_audiences=DiscountAudience.unscoped.filter(discount=discount).exists(),
    )


# What a copy has of its own.
_OWN = frozenset({"id", "account", "number", "archived_at", "created_at", "updated_at", "problem", "checked_at"})


@transaction.atomic
def duplicate(*, discount: Discount, now: datetime) -> Discount:
    """Another discount with the same fields, stores, audiences and pictures, in use, under the next number.

    Codes of their own are not copied: each is for one use. Both names say that it is a copy, so that staff, shoppers
    and the sales (a till's discount is known by its name) tell the two apart.
    """
    fields = {field.name: getattr(discount, field.name) for field in Discount._meta.concrete_fields}
    fields = {name: value for name, value in fields.items() if name not in _OWN}
    fields |= {name: f"Copy of {fields[name]}"[:_NAME] for name in ("internal_name", "name")}
    made = Discount(account_id=discount.account_id, number=next_number(discount.account_id), created_at=now, **fields)
    made.save()
    limit(
        discount=made,
        stores=_chosen(Store, "store_id", DiscountStore, discount),
        audiences=_chosen(Audience, "audience_id", DiscountAudience, discount),
    )
    pictures.copy(source=discount, target=made, now=now)
    check(account_id=made.account_id, now=now, discount_ids=[made.pk])
    return made


def _chosen(model: type[TenantModel], column: str, rows: type[TenantModel], discount: Discount) -> QuerySet:
    mine = rows.unscoped.filter(account_id=discount.account_id, discount=discount)
    return model.unscoped.filter(account_id=discount.account_id, pk__in=mine.values(column))


# Redeeming


def redeem(*, account_id: int, store_id: int | None, **asked: Any) -> ledger.Redeemed:
    """`ledger.redeem`, with as many discounts on an order as the till there takes. Raises its refusals.

    The card is asked only when the order carries another discount already: a refusal takes nothing, and the till that
    waits for its first discount waits for no question about a second.
    """
    try:
        return ledger.redeem(account_id=account_id, store_id=store_id, per_order=1, **asked)
    except ledger.OneDiscountPerOrder:
        allowed = per_order(account_id=account_id, store_id=store_id)
        if allowed == 1:
            raise
    return ledger.redeem(account_id=account_id, store_id=store_id, per_order=allowed, **asked)


def use_of(*, account_id: int, persona_id: int, discount_id: int, n: int, transaction: str) -> str:
    """What an address has made: "same" (this very call, which takes nothing again), "other" (an order besides), or "".

    Of the same order whatever the address, as `loyalty_redeem` knows it again; a use without an order takes up one.
    """
    made = Redemption.unscoped.filter(account_id=account_id, discount_id=discount_id)
    made = made.filter(Q(persona_id=persona_id) | Q(asked_as_id=persona_id))
    orders = set(made.filter(n=n).values_list("transaction", flat=True)[:10])
    if orders and (not transaction or orders & {"", transaction}):
        return "same"
    if transaction and made.filter(transaction=transaction).exists():
        return "same"
    return "other" if orders else ""


def per_order(*, account_id: int, store_id: int | None) -> int:
    """How many discounts of ours one order may carry: by the card that reads the store, else by the account's cards.

    Of several the least; one where no card is known.
    """
    places = None
    if store_id is not None:
        mapped = StoreMapping.unscoped.filter(account_id=account_id, store_id=store_id)
        places = list(mapped.values_list("location_id", flat=True))
    cards = cards_in_use(account_id=account_id, location_ids=places)
    return min((card.discounts_per_order for card in cards), default=1)


# What the POS does with it

# Field of the discount, capability of the card. A card's words for what it cannot are the sentence that is said.
_NEEDS: tuple[tuple[Any, str], ...] = (
    (lambda one: one.min_spend_cents, "discount_min_spend"),
    (lambda one: one.pos_discount_id, "discount_by_id"),
    (lambda one: one.reward == Reward.TIER, "discount_tier"),
)


def _cannot(card: Card, capability: str) -> str:
    """Why the card cannot, as a sentence; "" when it can. A card that does not speak of it is not known to."""
    said = card.capabilities.get(capability, f"{card.title} is not known to do this.")
    return "" if said == "yes" else said


def remarks(discount: Discount) -> list[str]:
    """What the connected POS will not do with this discount, a sentence each: said when it is saved."""
    told = []
    for card in cards_in_use(account_id=discount.account_id):
        told += [said for needs, capability in _NEEDS if needs(discount) and (said := _cannot(card, capability))]
        if discount.stackable and card.discounts_per_order == 1:
            told.append(f"{card.title} takes one discount an order, so this one is not combined there.")
        if problem := _unmapped(discount, card):
            told.append(problem)
    return told


def _unmapped(discount: Discount, card: Card) -> str:
    """Why the card's till would give no money off for it; "" when it would."""
    said = _cannot(card, f"discount_{discount.kind}")
    if not said:
        return ""
    if _cannot(card, "discount_by_id"):
        return f"Nothing comes off at the till. {said}"
    return "" if discount.pos_discount_id else f"{said} Name the POS Discount ID of the one that {card.title} applies."


def check(*, account_id: int, now: datetime, discount_ids: Iterable[int] | None = None) -> int:
    """Look at the account's discounts in use, and keep what is wrong with each. Returns with how many something is.

    Wrong is what costs points without money off: no connected till can apply it, an id that its till does not know of,
    no code left, or redemptions whose sales keep coming without the discount.
    """
    found = Discount.unscoped.filter(account_id=account_id, archived_at=None)
    if discount_ids is not None:
        found = found.filter(pk__in=list(discount_ids))
    cards = cards_in_use(account_id=account_id)
    looked_at = list(found.order_by("pk"))
    failing = _failing(account_id, [one.pk for one in looked_at], now)
    wrong = 0
    for discount in looked_at:
        problem = " ".join(_problems(discount, cards, failing.get(discount.pk, ""), now))[:500]
        wrong += bool(problem)
        Discount.unscoped.filter(pk=discount.pk).update(problem=problem, checked_at=now)
    return wrong


def _problems(discount: Discount, cards: list[Card], failing: str, now: datetime) -> list[str]:
    if discount.ends_at and discount.ends_at <= now:
        return []  # nobody can redeem it
    told = [problem for card in cards if (problem := _unmapped(discount, card))]
    if discount.pos_discount_id and cards and all(_cannot(card, "discount_by_id") for card in cards):
        told.append(
            f"The POS Discount ID {discount.pos_discount_id} leads nowhere. {_cannot(cards[0], 'discount_by_id')}"
        )
    return told + ([failing] if failing else [])


# The latest redemptions of each discount whose sale was read, and whether it carried the discount.
_EVIDENCE = """
SELECT d.id,
       d.code_kind = %(unique)s AND NOT EXISTS (
           SELECT FROM loyalty_couponcode c WHERE c.discount_id = d.id AND c.redemption_id IS NULL),
       seen.without, seen.all
FROM loyalty_discount d
CROSS JOIN LATERAL (
    SELECT count(*) FILTER (WHERE r.why_ended = 'without_discount') AS without, count(*) AS all FROM (
        SELECT why_ended FROM loyalty_redemption
        WHERE discount_id = d.id AND applied_at > %(since)s
              AND (state = 'settled' AND sale_id IS NOT NULL OR why_ended = 'without_discount')
        ORDER BY applied_at DESC LIMIT %(looked_at)s) r
) seen
WHERE d.account_id = %(account)s AND d.id = ANY(%(discounts)s)
"""


def _failing(account_id: int, discount_ids: list[int], now: datetime) -> dict[int, str]:
    """Discount to what its redemptions and codes say against it."""
    told = {}
    with connection.cursor() as cursor:
        asked = {
            "account": account_id, "discounts": discount_ids, "since": now - LOOK_BACK, "looked_at": LOOKED_AT,
            "unique": CodeKind.UNIQUE,
        }  # fmt: skip
        cursor.execute(_EVIDENCE, asked)
        for pk, no_code, without, seen in cursor.fetchall():
            if no_code:
                told[pk] = "All its coupon codes are used: add codes, or archive it."
            elif seen >= TELLING and without == seen:
                told[pk] = (
                    f"The last {seen} sales it was redeemed for came without it: no money came off at the till, and "
                    "the points went back. See that staff enter it there, or that the POS has not ended its own."
                )
    return told


def check_due(*, now: datetime) -> int:
    """The nightly check, for the accounts whose last one is a day old. Returns how many discounts have something."""
    due = Q(checked_at=None) | Q(checked_at__lte=now - CHECK_EVERY)
    accounts = Discount.unscoped.filter(due, archived_at=None).order_by("account").values_list("account", flat=True)
    return sum(check(account_id=account_id, now=now) for account_id in list(accounts.distinct()))


# What the programme offers, for whoever lists it.


@dataclass(frozen=True, slots=True)
class Offer:
    """The programme under its shop's name, and its tier rewards, the lowest first."""

    name: str
    programme: Programme
    tiers: list[Discount]


def defined(*, account_id: int) -> list[Discount]:
    """Every discount that is not archived, in the wallet's order, with pictures' addresses, stores and audiences."""
    return list(
        Discount.unscoped.filter(account_id=account_id, archived_at=None).prefetch_related(
            Prefetch("images", DiscountImage.unscoped.defer("data")),  # a picture may have 800 kB
            Prefetch("stores", DiscountStore.unscoped.select_related("store")),
            Prefetch("audiences", DiscountAudience.unscoped.select_related("audience")),
        )
    )


def offer(*, account_id: int) -> Offer:
    """The account's programme and the discounts that are its tiers."""
    name = Account.objects.values_list("name", flat=True).get(pk=account_id)
    programme = Programme.unscoped.filter(account_id=account_id).first() or Programme(account_id=account_id)
    tiers = Discount.unscoped.filter(account_id=account_id, archived_at=None, reward=Reward.TIER)
    return Offer(name, programme, list(tiers.order_by("points", "number")))
