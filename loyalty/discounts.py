"""Discounts: what shoppers can have for points, whom they are for, and what the POS can do with them."""

from collections.abc import Iterable

from django.db import transaction
from django.db.models import Max

from aiqsync.accounts.models import Account
from integrations.services import cards_in_use
from stores.models import Store

from .models import Audience, Discount, DiscountAudience, DiscountStore, Reward


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


def remarks(discount: Discount) -> list[str]:
    """What the connected POS will not do with this discount, a sentence each: said when it is saved."""
    told = []
    for card in cards_in_use(account_id=discount.account_id):
        if discount.min_spend_cents:
            told.append(
                f"{card.title} does not check a minimum spend: its till takes the discount off a smaller cart too. "
                "It is checked here where the order's amount is known."
            )
        if discount.pos_discount_id:
            told.append(
                f"{card.title} cannot apply a discount of its own by an id; the POS Discount ID is not used there."
            )
        if discount.stackable and card.discounts_per_order == 1:
            told.append(f"{card.title} takes one discount an order, so this one is not combined there.")
        if discount.reward == Reward.TIER:
            told.append(
                f"{card.title} does not apply tier rewards by itself: staff choose them like any other discount."
            )
    return told
