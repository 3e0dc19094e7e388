"""Discounts: what shoppers can have for points."""

from django.db import transaction
from django.db.models import Max

from aiqsync.accounts.models import Account

from .models import Discount


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
