"""What several kinds of rows are made of."""

from django.db import models

from aiqsync.accounts.tenancy import TenantModel


def points_field(*args, **options) -> models.DecimalField:
    """Points: decimals of two places."""
    return models.DecimalField(*args, max_digits=14, decimal_places=2, **options)


class LedgerModel(TenantModel):
    """A row that always belongs to a persona or a sale.

    The reference to those carries the account, so the account's own reference and index would only be paid for: a check
    and an index entry for each posted line, all on the same account row.
    """

    account = models.ForeignKey(
        "accounts.Account",
        on_delete=models.PROTECT,
        related_name="+",
        editable=False,
        db_constraint=False,
        db_index=False,
    )

    class Meta:
        abstract = True


def by_user() -> models.ForeignKey:
    """The person who did it; the line stays when the person goes."""
    return models.ForeignKey("accounts.User", on_delete=models.SET_NULL, null=True, related_name="+", editable=False)
