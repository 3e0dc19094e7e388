"""Opening an account needs two floors: the account itself and its loyalty programme."""

from django.db import transaction

from aiqsync.accounts import audit
from aiqsync.accounts.models import Account, ApiKey, Membership, User
from aiqsync.accounts.roles import Role
from aiqsync.accounts.tenancy import acting_in
from loyalty.models import Programme


@transaction.atomic
def open_account(
    *,
    name: str,
    owner_email: str,
    owner_name: str = "",
    timezone: str = "UTC",
    currency: str = "USD",
    country: str = "US",
) -> tuple[Account, User, str]:
    """A new account with its programme, its owner (made, or found by e-mail) and a till's key, shown once."""
    account = Account.objects.create(name=name, timezone=timezone, currency=currency, country=country)
    with acting_in(account.pk):
        Programme.objects.create()
        owner = User.objects.filter(email__iexact=owner_email).first()
        if owner is None:
            owner = User.objects.create_user(owner_email, None, name=owner_name)
        Membership.objects.create(user=owner, role=Role.OWNER)
        _, key = ApiKey.make(account=account, name="Tills")
        audit.record(act="account.opened", target=account.name)
    return account, owner, key
