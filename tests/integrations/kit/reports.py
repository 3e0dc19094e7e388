"""A stand-in for a vendor's sales reports, and a pull of them that may be killed at any page."""

import json
import re
from datetime import UTC, datetime, timedelta

from integrations.kit.streams import Context, Stream
from integrations.kit.windows import DateWindows

NOW = datetime(2026, 3, 2, 20, 17, 33, tzinfo=UTC)
DAY = timedelta(days=1)


class Sales(Stream):
    name, title, path = "sales", "Sales", "/posreports/{identity}/{location}"


class Reports:
    """A vendor's sales feed: by location and range, times cut to the minute, optional trouble."""

    def __init__(self, locations=("1",), shows_clock=True):
        self.now = NOW
        self.sales = {location: [] for location in locations}
        self.asked = []
        self.refuse = lambda location, low, high: None
        self.late = []  # (location, row) to appear after the next call
        self.shows_clock = shows_clock
        self.order = lambda row: row["Id"]

    @property
    def server_time(self):
        return self.now if self.shows_clock and self.asked else None

    def sell(self, location, at, found=None):
        row = {"Id": found or f"{location}-{len(self.sales[location])}", "at": at.replace(second=0, microsecond=0)}
        self.sales[location].append(row)
        return row["Id"]

    def get_json(self, path, params):
        location = path.rpartition("/")[2]
        low, high = map(
            datetime.fromisoformat,
            re.fullmatch(r"Date ge datetime'(.+)' and Date le datetime'(.+)'", params["DateRange"]).groups(),
        )
        self.asked.append((location, low, high, params["$skip"]))
        if error := self.refuse(location, low, high):
            raise error
        rows = sorted((r for r in self.sales[location] if low <= r["at"] <= high), key=self.order)
        found = [{"Id": r["Id"]} for r in rows[params["$skip"] : params["$skip"] + params["$top"]]]
        while self.late:
            self.sell(*self.late.pop())
        return found

    def ids(self):
        return {row["Id"] for rows in self.sales.values() for row in rows}


def context(reports, **kwargs):
    return Context(now=reports.now, identity="7", locations=tuple(reports.sales), **kwargs)


def pull(reports, cursor, seen, *, rng=None, kill=0.0, windows=None, **kwargs):
    windows = windows or DateWindows()
    for _ in range(2000):
        killed = False
        for page in windows.walk(reports, Sales, context(reports, **kwargs), json.loads(json.dumps(cursor))):
            if rng and rng.random() < kill:
                killed = True
                break
            seen.extend(row["Id"] for row in page.rows)
            cursor = page.cursor
            assert page.total is None or page.done <= page.total
            if rng and rng.random() < kill:
                killed = True
                break
        if not killed:
            return cursor
    raise AssertionError("does not end")
