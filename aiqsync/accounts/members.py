"""The people of an account: add, change role, remove. An account always keeps an owner."""

from django.conf import settings
from django.contrib.auth.tokens import default_token_generator
from django.db import transaction
from django.urls import reverse
from django.utils.encoding import force_bytes
from django.utils.http import urlsafe_base64_encode

from . import audit
from .models import Account, Membership, User
from .roles import Role
from .tenancy import current_account_id


class LastOwner(Exception):
    """The account would be left without an owner."""


class AlreadyMember(Exception):
    """That person is a member of this account."""


class KnownElsewhere(Exception):
    """That log-in belongs to another company of this installation."""


@transaction.atomic
def add(*, email: str, role: str, name: str = "", by: User | None = None) -> Membership:
    """A member of the current account; a person who has no log-in yet gets one without a password."""
    _lock()
    email = email.strip().lower()
    user = User.objects.filter(email__iexact=email).first()
    if user is None:
        user = User.objects.create_user(email, None, name=name.strip())
    elif Membership.objects.filter(user=user).exists():
        raise AlreadyMember(email)
    elif not (by and by.is_superuser) and known_elsewhere(email):
        # Whoever made that log-in may hold its password: only the installation's operator knows the person.
        raise KnownElsewhere(email)
    membership = Membership.objects.create(account_id=current_account_id(), user=user, role=role)
    audit.record(act="member.added", target=email, user=by, detail={"role": role})
    return membership


def known_elsewhere(email: str) -> bool:
    """Whether this address has a log-in with another company already."""
    return User.objects.filter(email__iexact=email, memberships__isnull=False).exists()


@transaction.atomic
def change_role(*, membership: Membership, role: str, by: User | None = None) -> None:
    _lock()
    before = Membership.objects.get(pk=membership.pk).role
    if before == role:
        return
    if before == Role.OWNER:
        _another_owner(membership)
    membership.role = role
    membership.save(update_fields=["role"])
    audit.record(act="member.role", target=membership.user.email, user=by, detail={"from": before, "to": role})


@transaction.atomic
def remove(*, membership: Membership, by: User | None = None) -> None:
    """Take the person's place in this account away; the log-in stays, for other accounts."""
    _lock()
    if Membership.objects.get(pk=membership.pk).role == Role.OWNER:
        _another_owner(membership)
    email = membership.user.email
    membership.delete()
    audit.record(act="member.removed", target=email, user=by)


def password_link(*, membership: Membership, base: str = "", by: User | None = None) -> str:
    """Where this member sets a password, once, within three days; "" when that is not this account's to hand out.

    Whoever holds the link holds the log-in. So it exists only for a person who belongs to no other account:
    otherwise an owner could add a stranger's address and become him.
    """
    user = membership.user
    places = User.objects.filter(pk=user.pk, memberships__isnull=False).values("memberships__account").count()
    if user.is_superuser or places != 1:
        return ""
    audit.record(act="member.link", target=user.email, user=by)
    uid = urlsafe_base64_encode(force_bytes(user.pk))
    path = reverse("password-set", args=[uid, default_token_generator.make_token(user)])
    return (settings.PUBLIC_URL or base).rstrip("/") + path


def _lock() -> None:
    """Two owners who demote each other at once: one of them is second."""
    Account.objects.select_for_update(no_key=True).get(pk=current_account_id())


def _another_owner(membership: Membership) -> None:
    if not Membership.objects.filter(role=Role.OWNER).exclude(pk=membership.pk).exists():
        raise LastOwner
