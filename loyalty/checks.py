"""The nightly look at every ledger, kept so that the home page can say what it found."""

import time
from datetime import datetime, timedelta

from django.db import connection

from aiqsync.accounts.models import Account, User

from . import audits
from .models import LedgerCheck

EVERY = timedelta(hours=24)
SOON = timedelta(minutes=2)  # a ledger that was empty when it was looked at says nothing about what came since
KEPT = 30


def check(*, account_id: int, now: datetime, user: User | None = None) -> LedgerCheck:
    """Check one account's ledger now and keep what was found."""
    began = time.monotonic()
    found = audits.violations(account_id=account_id)
    return _keep(account_id, found, time.monotonic() - began, now, user)


def check_all(*, now: datetime) -> int:
    """Check every account in one pass, and keep what was found of each. Returns how many violations there are."""
    began = time.monotonic()
    found = audits.violations_by_account()
    seconds = time.monotonic() - began
    for account_id in Account.objects.order_by("pk").values_list("pk", flat=True):
        _keep(account_id, found.get(account_id, []), seconds, now, None)
    return sum(one.count for many in found.values() for one in many)


def is_due(*, now: datetime) -> bool:
    """Whether some account's last look is a day old, or saw an empty ledger that is empty no more."""
    with connection.cursor() as cursor:
        cursor.execute(
            """SELECT EXISTS (SELECT 1 FROM accounts_account a WHERE NOT EXISTS (
                   SELECT 1 FROM loyalty_ledgercheck c WHERE c.account_id = a.id AND c.at > %s
                   AND (c.entries > 0 OR c.at > %s
                        OR NOT EXISTS (SELECT 1 FROM loyalty_entry e WHERE e.account_id = a.id))))""",
            [now - EVERY, now - SOON],
        )
        return cursor.fetchone()[0]


def last(*, account_id: int) -> LedgerCheck | None:
    return LedgerCheck.unscoped.filter(account_id=account_id).order_by("-at", "-pk").first()


def _keep(account_id: int, found: list[audits.Violation], seconds: float, now: datetime, user) -> LedgerCheck:
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM loyalty_entry WHERE account_id = %s", [account_id])
        entries = cursor.fetchone()[0]
    made = LedgerCheck.unscoped.create(
        account_id=account_id,
        violations=sum(one.count for one in found),
        rules=audits.how_many_rules(),
        found=[
            {"rule": one.rule.name, "promise": one.rule.promise, "count": one.count, "examples": one.examples}
            for one in found
        ],
        entries=entries,
        seconds=round(seconds, 3),
        user=user,
        at=now,
    )
    old = LedgerCheck.unscoped.filter(account_id=account_id).order_by("-at", "-pk").values_list("pk", flat=True)[KEPT:]
    LedgerCheck.unscoped.filter(pk__in=list(old)).delete()
    return made
