"""Balances that came from elsewhere, beside the day from which sales earn: a sale in both counts twice.

Whoever imports asks `overlap_of` with the days before anything is posted; the programme's page asks `overlaps` about
what was imported. Reads only.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, timedelta
from zoneinfo import ZoneInfo

from django.db import connection

from aiqsync.accounts.models import Account
from integrations.models import Origin

from .models import Programme, SourceStart


@dataclass(frozen=True, slots=True)
class Overlap:
    """The balances of `imported_on` hold the sales up to that day, and sales of `starts_on` (None: any) earn too."""

    source: str
    imported_on: date
    starts_on: date | None

    @property
    def should_start(self) -> date:
        """The first day that is not in the imported balances."""
        return self.imported_on + timedelta(days=1)

    @property
    def sentence(self) -> str:
        since = f"since {_day(self.starts_on)}" if self.starts_on else "of every day"
        until, first = _day(self.imported_on), _day(self.should_start)
        return (
            f"The balances of {self.source} were imported on {until}, and its sales {since} earn as well: "
            f"those up to {until} are counted twice. Let it earn from {first} on."
        )


def overlap_of(*, source: str, imported_on: date, starts_on: date | None) -> Overlap | None:
    """None when the two dates fit: earning starts on the day after the import, or later."""
    if starts_on is not None and starts_on > imported_on:
        return None
    return Overlap(source, imported_on, starts_on)


def overlaps(*, account_id: int) -> list[Overlap]:
    """Of each source whose balances were imported, where the dates do not fit."""
    with connection.cursor() as cursor:
        # The key of an import is `import:<origin>:<customer>`.
        cursor.execute(
            """SELECT split_part(key, ':', 2), max(at) FROM loyalty_entry
               WHERE account_id = %s AND kind = 'import' GROUP BY 1 ORDER BY 1""",
            [account_id],
        )
        imported = cursor.fetchall()
    if not imported:
        return []
    zone = ZoneInfo(Account.objects.values_list("timezone", flat=True).get(pk=account_id))
    start = Programme.objects.filter(account_id=account_id).values_list("accrual_start", flat=True).first()
    starts = dict(SourceStart.objects.filter(account_id=account_id).values_list("origin_id", "starts_on"))
    titles = {origin.pk: origin.title or str(origin) for origin in Origin.objects.filter(account_id=account_id)}
    return list(_found(imported, zone, start, starts, titles))


def _found(imported, zone: ZoneInfo, start: date | None, starts, titles) -> Iterable[Overlap]:
    for text, at in imported:
        origin = int(text) if text.isascii() and text.isdigit() else 0
        found = overlap_of(
            source=titles.get(origin, "the old system"),
            imported_on=at.astimezone(zone).date(),
            starts_on=starts.get(origin, start),
        )
        if found:
            yield found


def _day(day: date) -> str:
    return f"{day:%-d %b %Y}"
