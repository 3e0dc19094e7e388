"""The ground floor: accounts, their people, their keys, and the record of who did what."""

import hashlib
import secrets
from datetime import datetime
from typing import Any
from zoneinfo import available_timezones

from django.contrib.auth.models import (
    AbstractBaseUser,
    BaseUserManager,
    PermissionsMixin,
)
from django.contrib.postgres.fields import ArrayField
from django.core.exceptions import ValidationError
from django.db import models
from django.db.models import Q
from django.db.models.functions import Lower
from django.utils.timezone import now

from .roles import Role
from .tenancy import TenantKey, TenantModel, tenant_parent


def zones() -> list[tuple[str, str]]:
    """Choices for a time zone; a function, so that a newer time zone database is no migration."""
    return [(name, name.replace("_", " ")) for name in sorted(available_timezones()) if "/" in name] + [("UTC", "UTC")]


def new_uid() -> str:
    """Four digits or more, never starting with a zero, not yet taken."""
    digits = 4
    while True:
        uid = str(secrets.randbelow(9 * 10 ** (digits - 1)) + 10 ** (digits - 1))
        if not Account.objects.filter(uid=uid).exists():
            return uid
        digits = min(digits + 1, 12)


class Account(models.Model):
    """One merchant company: the tenant."""

    uid = models.CharField("account id (UID)", max_length=12, unique=True, default=new_uid, editable=False)
    name = models.CharField("company name", max_length=200)
    timezone = models.CharField(
        "company timezone",
        max_length=64,
        default="UTC",
        choices=zones,
        help_text="A day of the programme (visits, accrual start, expiry) begins and ends here.",
    )
    currency = models.CharField(
        max_length=3,
        default="USD",
        help_text="Three letters. A sale in another is refused.",
    )
    country = models.CharField(
        max_length=2,
        default="US",
        help_text="Two letters; phone numbers without a country code are read as local.",
    )
    alert_emails = models.JSONField(
        default=list, blank=True, editable=False, help_text="Who is told of alerts; empty: owners and operators."
    )
    alerts_by_email = models.BooleanField(default=True, editable=False)
    api_per_minute = models.PositiveIntegerField(
        null=True, editable=False, help_text="Calls a minute for each of its API keys; null: the installation's."
    )
    created_at = models.DateTimeField(default=now, editable=False)

    class Meta:
        verbose_name = "account"

    def __str__(self) -> str:
        return self.name


class UserManager(BaseUserManager):
    def create_user(self, email: str, password: str | None = None, **fields):
        user = self.model(email=self.normalize_email(email).lower(), **fields)
        user.set_password(password)
        user.save(using=self._db)
        return user

    def create_superuser(self, email: str, password: str | None = None, **fields):
        return self.create_user(email, password, is_superuser=True, **fields)

    def get_by_natural_key(self, email: str):
        return self.get(email__iexact=email)


class User(AbstractBaseUser, PermissionsMixin):
    """A person who logs in. What he may do follows from his membership, not from Django's permission rows."""

    email = models.EmailField("e-mail")
    name = models.CharField(max_length=200, blank=True)
    is_active = models.BooleanField(default=True)
    date_joined = models.DateTimeField(default=now, editable=False)

    objects = UserManager()

    USERNAME_FIELD = "email"
    EMAIL_FIELD = "email"
    REQUIRED_FIELDS: list[str] = []

    class Meta:
        constraints = [models.UniqueConstraint(Lower("email"), name="user_email_once")]

    def __str__(self) -> str:
        return self.name or self.email

    @property
    def is_staff(self) -> bool:
        """Django's word for "may enter the admin"; the site asks for a membership as well."""
        return self.is_active

    def get_short_name(self) -> str:
        return self.name.split(" ")[0] if self.name else self.email

    def get_full_name(self) -> str:
        return self.name or self.email


# Django's system check wants the username field itself unique; the constraint above is stricter (any letter case).
User._meta.get_field("email")._unique = True


class Membership(TenantModel):
    """A user's place in one account."""

    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="memberships")
    role = models.CharField(max_length=12, choices=Role, default=Role.STAFF)
    created_at = models.DateTimeField(default=now, editable=False)

    class Meta:
        verbose_name = "member"
        constraints = [
            models.UniqueConstraint(fields=["account", "user"], name="membership_once"),
            tenant_parent("membership"),
        ]

    def __str__(self) -> str:
        return f"{self.user} ({self.get_role_display()})"


class Scope(models.TextChoices):
    READ = "read", "Read"
    POS = "pos", "Point of sale"
    ADMIN = "admin", "Everything"


class ApiKey(TenantModel):
    """A key of the till's API. Only its hash is kept; the key itself is shown once.

    One that is replaced (`replaces` of the new one) goes on until `expires_at`, so that tills change over one by one.
    """

    name = models.CharField(max_length=100, help_text="Who uses it: 'Cova tills', 'web shop'.")
    scope = models.CharField(max_length=8, choices=Scope, default=Scope.POS)
    prefix = models.CharField(max_length=8, editable=False)
    hash = models.CharField(max_length=64, unique=True, editable=False)
    addresses = ArrayField(models.CharField(max_length=43), default=list, blank=True)  # networks; empty: from anywhere
    created_at = models.DateTimeField(default=now, editable=False)
    expires_at = models.DateTimeField(null=True, blank=True)
    revoked_at = models.DateTimeField(null=True, blank=True, editable=False)
    replaces = TenantKey("self", null=True, editable=False, related_name="replaced_by")
    last_used_at = models.DateTimeField(null=True, editable=False)
    last_used_from = models.GenericIPAddressField(null=True, editable=False)
    # The key was right and the address was not on its list: told to nobody but the owner.
    refused_at = models.DateTimeField(null=True, editable=False)
    refused_from = models.GenericIPAddressField(null=True, editable=False)
    # A till is known by its wallet calls: the first, and the last to the minute.
    wallet_first_at = models.DateTimeField(null=True, editable=False)
    wallet_last_at = models.DateTimeField(null=True, editable=False)

    class Meta:
        verbose_name = "API key"
        constraints = [
            models.UniqueConstraint(fields=["replaces"], name="apikey_replaced_once"),
            tenant_parent("apikey"),
        ]

    def __str__(self) -> str:
        return f"{self.name} ({self.prefix}…)"

    def ended_at(self, now: datetime) -> datetime | None:
        """Since when it opens nothing, or None."""
        ends = [at for at in (self.revoked_at, self.expires_at) if at and at <= now]
        return min(ends, default=None)

    @staticmethod
    def digest(key: str) -> str:
        return hashlib.sha256(key.encode()).hexdigest()

    @classmethod
    def make(cls, *, account: Account, name: str, scope: str = Scope.POS, **more: Any) -> tuple["ApiKey", str]:
        """A new key and its text, which nobody can read again."""
        key = f"aq_{secrets.token_urlsafe(32)}"
        made = cls.unscoped.create(
            account=account,
            name=name,
            scope=scope,
            prefix=key[:8],
            hash=cls.digest(key),
            **more,
        )
        return made, key


class AuditLine(TenantModel):
    """Who did what, when. Written beside the change, in its transaction."""

    at = models.DateTimeField(default=now)
    user = models.ForeignKey(User, on_delete=models.SET_NULL, null=True, related_name="+")
    key = TenantKey(ApiKey, null=True, related_name="+")
    act = models.CharField(max_length=60)
    target = models.CharField(max_length=200, blank=True)
    detail = models.JSONField(default=dict)

    class Meta:
        verbose_name = "activity"
        verbose_name_plural = "activity log"
        ordering = ["-at", "-id"]
        indexes = [models.Index(fields=["account", "-at"], name="audit_account_at")]

    def __str__(self) -> str:
        return f"{self.act} {self.target}"


class Alert(TenantModel):
    """Something is wrong and somebody can mend it: one row an incident, from its beginning to its end.

    `subject` says what it is about ("credential:12"). It is told (`opened_at`) when it has held for its kind's grace,
    and over (`closed_at`) when it has been clear for a while: what comes and goes is one incident.
    """

    kind = models.CharField(max_length=40)
    subject = models.CharField(max_length=80)
    title = models.CharField(max_length=200)
    text = models.TextField(blank=True)
    path = models.CharField(max_length=200, blank=True, help_text="The page where it is mended.")
    button = models.CharField(max_length=60, blank=True)
    since = models.DateTimeField()
    opened_at = models.DateTimeField(null=True)
    clear_since = models.DateTimeField(null=True)
    closed_at = models.DateTimeField(null=True)

    class Meta:
        constraints = [
            # Two dispatchers see the same thing at once: it is one incident.
            models.UniqueConstraint(
                fields=["account", "kind", "subject"], condition=Q(closed_at=None), name="alert_one_open"
            ),
            tenant_parent("alert"),
        ]
        indexes = [models.Index(fields=["account", "-closed_at"], name="alert_account_closed")]

    def __str__(self) -> str:
        return self.title


class MailState(models.TextChoices):
    WAITING = "waiting", "Waiting"
    SENDING = "sending", "Being sent"
    SENT = "sent", "Sent"
    FAILED = "failed", "Failed"
    DROPPED = "dropped", "Not needed any more"


class AlertMail(TenantModel):
    """One e-mail of an alert to one address, written with the change it tells of and sent by a worker afterwards."""

    alert = TenantKey(Alert, on_delete=models.CASCADE, related_name="mails")
    event = models.CharField(max_length=10, help_text="opened, recovered")
    address = models.CharField(max_length=254)
    state = models.CharField(max_length=8, choices=MailState, default=MailState.WAITING)
    attempts = models.PositiveIntegerField(default=0)
    next_try_at = models.DateTimeField()
    token = models.CharField(max_length=32, blank=True)
    message = models.TextField(blank=True)
    created_at = models.DateTimeField()
    sent_at = models.DateTimeField(null=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["alert", "event", "address"], name="alert_mail_once")]
        indexes = [
            models.Index(fields=["next_try_at"], name="alert_mail_due", condition=Q(state__in=["waiting", "sending"]))
        ]


def validate_zone(name: str) -> None:
    if name not in available_timezones():
        raise ValidationError(f"{name} is not a time zone name such as America/Vancouver.")
