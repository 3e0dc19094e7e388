"""System checks: one for each way to misconfigure, with an id and a hint."""

from cryptography.fernet import Fernet
from django.conf import settings
from django.core.checks import Error, Tags, Warning, register


@register(Tags.security)
def seal_keys(app_configs, **kwargs):
    if not settings.SEAL_KEYS:
        return [
            Error(
                "SEAL_KEYS is empty.",
                hint="Set one Fernet key or more, newest first.",
                id="aiqsync.E001",
            )
        ]
    for key in settings.SEAL_KEYS:
        try:
            Fernet(key)
        except ValueError:
            return [
                Error(
                    "A key in SEAL_KEYS is not a Fernet key.",
                    hint="Make one with cryptography's Fernet.generate_key().",
                    id="aiqsync.E002",
                )
            ]
    if settings.SECRET_KEY in settings.SEAL_KEYS:
        return [
            Error(
                "SECRET_KEY must not seal secrets.",
                hint="Give SEAL_KEYS keys of its own.",
                id="aiqsync.E003",
            )
        ]
    return []


@register()
def queue_times(app_configs, **kwargs):
    q = settings.Q_CLUSTER
    errors = []
    if q["retry"] <= q["timeout"] * (1 + (q["queue_limit"] + 1) / q["workers"]):
        errors.append(
            Error(
                "The queue would hand out waiting tasks twice.",
                hint="retry must exceed timeout x (1 + (queue_limit + 1) / workers).",
                id="aiqsync.E004",
            )
        )
    if settings.SYNC_SLICE_S >= settings.SYNC_LEASE_S or q["timeout"] <= settings.SYNC_LEASE_S:
        errors.append(
            Error(
                "A sync's slice must be shorter than its lease, and the lease shorter than the task's time-out.",
                hint="SYNC_SLICE_S < SYNC_LEASE_S < 60.",
                id="aiqsync.E005",
            )
        )
    return errors


@register()
def postgres_only(app_configs, **kwargs):
    if not settings.DATABASES["default"]["ENGINE"].endswith("postgresql"):
        return [
            Error(
                "Only PostgreSQL is supported.",
                hint="DATABASE_URL=postgres://user:password@host/db",
                id="aiqsync.E006",
            )
        ]
    if settings.DATABASES["default"].get("OPTIONS", {}).get("pool"):
        return [
            Error(
                "A connection pool must not be opened before the worker forks.",
                hint="Leave OPTIONS['pool'] out; CONN_MAX_AGE does the same in web processes.",
                id="aiqsync.E007",
            )
        ]
    return []


@register()
def mail_links(app_configs, **kwargs):
    """An e-mail is written where no request tells the address: its links need one that was named."""
    if settings.EMAIL_HOST and not settings.PUBLIC_URL:
        return [
            Warning(
                "EMAIL_HOST is set without PUBLIC_URL: alert e-mails can tell a page's path, but link to none.",
                hint="Set PUBLIC_URL to the address this installation is reached at, such as https://loyalty.example.org.",
                id="aiqsync.W001",
            )
        ]
    return []
