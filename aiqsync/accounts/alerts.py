"""Alerts: what is wrong, since when, what to do about it; in the admin and by e-mail, once an incident.

Whoever knows a fact judges it (`aiqsync/watching.py`) and says all that is so now; `settle` makes incidents of it. An
incident is told when it has held for its kind's grace, and is over when it has been clear for `SETTLE`, which doubles
with every incident of the same thing within a day: what flaps is told a few times a day, not every minute.

E-mails are rows, written in the transaction that opens or closes an incident, so two dispatchers or a crash lose none
and write none twice. They are sent at least once: a sender that dies between the mail server's answer and our commit
sends again, under the same Message-ID, which mail programs show once.
"""

import logging
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from email.utils import parseaddr
from smtplib import SMTPException
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4
from zoneinfo import ZoneInfo

from django.conf import settings
from django.core.exceptions import ValidationError
from django.core.mail import EmailMessage
from django.core.validators import validate_email
from django.db import transaction
from django.db.models import F, Q, QuerySet

from . import audit
from .models import Account, Alert, AlertMail, MailState, Membership, User
from .roles import Role

log = logging.getLogger("aiqsync.alerts")

SETTLE = timedelta(minutes=10)
SETTLE_LONGEST = timedelta(hours=6)
KEEP = timedelta(days=90)
MAIL_LEASE = timedelta(minutes=2)
MAIL_TRIES = 8  # the waits between them add up to two hours
MOST_ADDRESSES = 20
OPENED, RECOVERED = "opened", "recovered"


@dataclass(frozen=True, slots=True)
class Kind:
    """A sort of alert. `watched` says for people when it is raised; `grace` is how long it must hold before it is."""

    name: str
    title: str
    watched: str
    grace: timedelta = timedelta(0)


KINDS: dict[str, Kind] = {}


def register(*kinds: Kind) -> None:
    """Name kinds that something can raise. Only these are shown and accepted."""
    KINDS.update({kind.name: kind for kind in kinds})


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that is so now. `since`: when it began, if the facts tell; `path`: the admin page that mends it."""

    kind: str
    subject: str
    title: str
    text: str = ""
    path: str = ""
    button: str = ""
    since: datetime | None = None


@dataclass(frozen=True, slots=True)
class Settled:
    opened: int
    closed: int


def settle(*, account_id: int, found: Iterable[Finding], kinds: Collection[str], now: datetime) -> Settled:
    """Bring the account's incidents of these kinds in line with what is so now, with the e-mails they cause.

    Safe to run by several at once and again: the rows are locked, and the database allows one open row a thing.
    """
    here = {(one.kind, one.subject): one for one in found}
    assert all(kind in KINDS for kind in kinds) and all(kind in kinds for kind, _ in here)
    opened = closed = 0
    with transaction.atomic():
        open_rows = Alert.unscoped.filter(account_id=account_id, kind__in=kinds, closed_at=None)
        known = set(open_rows.values_list("kind", "subject"))
        if not here and not known:
            return Settled(0, 0)
        Alert.unscoped.bulk_create(
            [Alert(account_id=account_id, **_shown(one), since=_began(one, now)) for key, one in here.items()
             if key not in known],
            ignore_conflicts=True,
        )  # fmt: skip
        for row in open_rows.select_for_update().order_by("id"):
            one = here.get((row.kind, row.subject))
            if one is None:
                closed += _clear(row, now)
            else:
                opened += _holds(row, one, now)
    return Settled(opened, closed)


def _shown(one: Finding) -> dict[str, Any]:
    return {
        "kind": one.kind,
        "subject": one.subject[:80],
        "title": " ".join(one.title.split())[:200],
        "text": one.text,
        "path": one.path[:200],
        "button": one.button[:60],
    }


def _began(one: Finding, now: datetime) -> datetime:
    return min(one.since or now, now)


def _holds(row: Alert, one: Finding, now: datetime) -> bool:
    """It is so: refresh its words; True when this tells it for the first time."""
    new = _shown(one) | {"clear_since": None}
    if row.opened_at is None and now - row.since >= KINDS[row.kind].grace:
        new["opened_at"] = now
    changed = [name for name, value in new.items() if getattr(row, name) != value]
    for name in changed:
        setattr(row, name, new[name])
    if changed:
        row.save(update_fields=changed)
    if "opened_at" not in changed:
        return False
    _write_mails(row, OPENED, recipients(row.account_id), now)
    return True


def _clear(row: Alert, now: datetime) -> bool:
    """It is not so: over when that has lasted; True when this ends it. What was never told leaves no trace."""
    if row.opened_at is None:
        row.delete()
        return False
    if row.clear_since is None:
        row.clear_since = now
        row.save(update_fields=["clear_since"])
    if now - row.clear_since < _settle_time(row, now):
        return False
    row.closed_at = now
    row.save(update_fields=["closed_at"])
    told = AlertMail.unscoped.filter(alert=row, event=OPENED)
    # Who has not been told that it began need not hear that it is over.
    told.filter(state=MailState.WAITING).update(state=MailState.DROPPED)
    _write_mails(
        row,
        RECOVERED,
        told.filter(state__in=[MailState.SENT, MailState.SENDING]).values_list("address", flat=True),
        now,
    )
    return True


def _settle_time(row: Alert, now: datetime) -> timedelta:
    before = Alert.unscoped.filter(
        account_id=row.account_id, kind=row.kind, subject=row.subject, closed_at__gt=now - timedelta(days=1)
    ).count()
    return min(SETTLE * 2 ** min(before, 10), SETTLE_LONGEST)


def open_alerts(account_id: int) -> QuerySet[Alert]:
    """What has been told and is not over, the oldest first."""
    return (
        Alert.unscoped.filter(account_id=account_id, closed_at=None).exclude(opened_at=None).order_by("opened_at", "id")
    )


def prune(*, now: datetime) -> int:
    """Incidents that ended long ago go, with their e-mails."""
    return Alert.unscoped.filter(closed_at__lt=now - KEEP).delete()[0]


# Who is told


def can_mail() -> bool:
    """The installation has a mail server."""
    return not settings.EMAIL_BACKEND.endswith(("dummy.EmailBackend", "console.EmailBackend"))


def recipients(account_id: int) -> list[str]:
    """The addresses an alert goes to now: those that were set, else the owners and operators. None without a server."""
    chosen, wanted = Account.objects.values_list("alert_emails", "alerts_by_email").get(pk=account_id)
    if not wanted or not can_mail():
        return []
    return list(chosen) or run_by(account_id)


def run_by(account_id: int) -> list[str]:
    """The e-mails of owners and operators who can log in."""
    people = Membership.unscoped.filter(
        account_id=account_id, role__in=[Role.OWNER, Role.OPERATOR], user__is_active=True
    ).exclude(user__email="")
    return sorted({email.lower() for email in people.values_list("user__email", flat=True)})


def set_recipients(*, account: Account, typed: str, by_email: bool, user: User) -> bool:
    """Who is told from now on: addresses separated by spaces, commas or lines; none: owners and operators.

    True when it changed. Raises ValidationError with a sentence.
    """
    addresses = sorted({word.lower() for word in typed.replace(",", " ").replace(";", " ").split()})
    if len(addresses) > MOST_ADDRESSES:
        raise ValidationError(f"At most {MOST_ADDRESSES} addresses.")
    for address in addresses:
        try:
            validate_email(address)
        except ValidationError:
            raise ValidationError(f"{address} is not an e-mail address.") from None
    with transaction.atomic():
        row = Account.objects.get(pk=account.pk)
        if (row.alert_emails, row.alerts_by_email) == (addresses, by_email):
            return False
        row.alert_emails, row.alerts_by_email = addresses, by_email
        row.save(update_fields=["alert_emails", "alerts_by_email"])
        audit.record(
            act="alerts.recipients", target=row.name, user=user,
            detail={"by e-mail": by_email, "addresses": ", ".join(addresses) or "owners and operators"},
        )  # fmt: skip
    return True


# The outbox


def _write_mails(row: Alert, event: str, addresses: Iterable[str], now: datetime) -> None:
    AlertMail.unscoped.bulk_create(
        [
            AlertMail(
                account_id=row.account_id, alert=row, event=event, address=address, next_try_at=now, created_at=now
            )
            for address in sorted(set(addresses))
        ],
        ignore_conflicts=True,
    )


def deliver_due(*, now: datetime, limit: int = 20) -> int:
    """Send what waits; any number of senders may run. Returns how many were sent.

    A mail server that does not answer ends the round: the others wait for the next one.
    """
    sent = 0
    for _ in range(limit):
        mail = _claim(now)
        if mail is None:
            break
        try:
            _message(mail).send()
        except (OSError, SMTPException) as error:
            _failed(mail, now, f"{type(error).__name__}: {error}"[:500])
            break
        except Exception as error:  # a mistake of ours, or an address that no server takes: the others go on
            log.exception("alert mail %s could not be sent", mail.pk)
            _failed(mail, now, type(error).__name__)
            continue
        AlertMail.unscoped.filter(pk=mail.pk, token=mail.token).update(
            state=MailState.SENT, sent_at=now, token="", message=""
        )
        sent += 1
    return sent


def _claim(now: datetime) -> AlertMail | None:
    """The next that is due, or whose sender is gone; no other has it for the length of the lease."""
    with transaction.atomic():
        mail = (
            AlertMail.unscoped.select_for_update(skip_locked=True, of=("self",))
            .select_related("alert", "account")
            .filter(Q(state=MailState.WAITING) | Q(state=MailState.SENDING), next_try_at__lte=now)
            .order_by("next_try_at", "id")
            .first()
        )
        if mail is None:
            return None
        mail.state, mail.token = MailState.SENDING, uuid4().hex
        mail.attempts += 1
        mail.next_try_at = now + MAIL_LEASE
        mail.save(update_fields=["state", "token", "attempts", "next_try_at"])
    return mail


def _failed(mail: AlertMail, now: datetime, why: str) -> None:
    over = mail.attempts >= MAIL_TRIES
    AlertMail.unscoped.filter(pk=mail.pk, token=mail.token).update(
        state=MailState.FAILED if over else MailState.WAITING,
        next_try_at=now + timedelta(minutes=2 ** (mail.attempts - 1)),
        token="",
        message=why,
    )


def retry_failed(*, account_id: int, now: datetime) -> int:
    """Try again what was given up on. Returns how many."""
    return AlertMail.unscoped.filter(account_id=account_id, state=MailState.FAILED).update(
        state=MailState.WAITING, attempts=0, next_try_at=now, message=""
    )


def trouble(account_id: int) -> AlertMail | None:
    """The newest e-mail that could not be sent yet, with the reason."""
    unsent = AlertMail.unscoped.filter(account_id=account_id, state__in=[MailState.WAITING, MailState.FAILED])
    return unsent.exclude(message="").order_by("-id").first()


def _message(mail: AlertMail) -> EmailMessage:
    alert, account = mail.alert, mail.account
    over = mail.event == RECOVERED
    zone = ZoneInfo(account.timezone)

    def at(moment: datetime) -> str:
        return moment.astimezone(zone).strftime("%-d %b %Y, %H:%M %Z")

    lines = [f"{alert.title}."]
    if over:
        lines += [f"This is over. It lasted from {at(alert.since)} to {at(alert.clear_since or alert.closed_at)}."]
    else:
        lines += [alert.text, f"Since {at(alert.since)}."]
    if alert.path and not over:
        where = f"{settings.PUBLIC_URL}{alert.path}" if settings.PUBLIC_URL else f"{alert.path} in the admin"
        lines.append(f"{alert.button or 'What to do'}: {where}")
    lines.append(
        f"{account.name} told this address of it. Who is told is set in the admin under Settings > Alerts; "
        "one e-mail an incident, one when it is over."
    )
    host = urlsplit(settings.PUBLIC_URL).hostname or parseaddr(settings.DEFAULT_FROM_EMAIL)[1].rpartition("@")[2]
    return EmailMessage(
        subject=" ".join(f"[{account.name}] {'Over: ' if over else ''}{alert.title}".split()),
        body="\n\n".join(line for line in lines if line) + "\n",
        to=[mail.address],
        headers={"Message-ID": f"<alert-{mail.pk}-{mail.event}@{host or 'aiqsync.invalid'}>"},
    )


def count_open(account_id: int) -> int:
    return open_alerts(account_id).count()


def over_lately(account_id: int, *, limit: int = 20) -> QuerySet[Alert]:
    """Incidents that are over, the latest first."""
    return (
        Alert.unscoped.filter(account_id=account_id)
        .exclude(closed_at=None)
        .order_by(F("closed_at").desc(), "-id")[:limit]
    )
