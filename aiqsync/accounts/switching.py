"""Which account a person works in: a choice kept in the session, and written to the activity log."""

from dataclasses import dataclass

from django.http import HttpRequest

from . import audit
from .middleware import SESSION_KEY
from .models import Account, Membership, User
from .tenancy import acting_in, current_account_id


class NotAMember(Exception):
    """The person has no place in that account."""


@dataclass(frozen=True, slots=True)
class Bar:
    """What the top bar shows: where we are, where else we may go."""

    name: str
    uid: str
    role: str
    guest: bool  # the installation's operator
    others: list[tuple[str, str]]


def accounts_of(user: User) -> list[tuple[int, str, str]]:
    """The accounts of a person: id, uid, name, oldest membership first."""
    return list(
        User.objects.filter(pk=user.pk, memberships__isnull=False)
        .order_by("memberships__id")
        .values_list("memberships__account__id", "memberships__account__uid", "memberships__account__name")[:50]
    )


def bar(request: HttpRequest) -> Bar | None:
    membership = request.membership
    if membership is None:
        return None
    account = membership.account
    others = []
    if not request.user.is_superuser:
        others = [(uid, name) for id_, uid, name in accounts_of(request.user) if id_ != account.pk]
    return Bar(account.name, account.uid, membership.get_role_display(), request.user.is_superuser, others)


def enter(request: HttpRequest, account: Account) -> None:
    """Work in `account` from now on. Members switch; the operator enters as a guest. Raises `NotAMember`."""
    with acting_in(account.pk):
        if not request.user.is_superuser and not Membership.objects.filter(user=request.user).exists():
            raise NotAMember(account.uid)
        act = "operator.entered" if request.user.is_superuser else "account.switched"
        audit.record(act=act, target=account.name, user=request.user)
    request.session[SESSION_KEY] = account.pk


def leave(request: HttpRequest) -> None:
    """The operator goes back to the list of accounts."""
    if current_account_id() is not None and request.user.is_superuser:
        audit.record(act="operator.left", target=request.membership.account.name, user=request.user)
    request.session.pop(SESSION_KEY, None)
