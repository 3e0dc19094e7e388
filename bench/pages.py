"""The same pages of a small and a large shop, by turns, over one kept connection each: times, statements, ratios."""

import http.client
import random
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from urllib.parse import quote

import psycopg

from .house import Keys

LONGEST_S = 6.0  # on one subject and one shop


@dataclass
class Times:
    seconds: list[float] = field(default_factory=list)
    statements: set[int] = field(default_factory=set)
    given_up: int = 0  # lists that ended their search with a sentence
    database: list[float] = field(default_factory=list)

    def ms(self, part: float) -> float:
        return sorted(self.seconds)[min(len(self.seconds) - 1, int(len(self.seconds) * part))] * 1000


class Shop:
    """One database behind its own server, and whom one asks about there."""

    def __init__(self, name: str, port: int, keys: Keys, db: psycopg.Connection) -> None:
        self.name, self.keys, self.given_up = name, keys, 0
        self.connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        self.dice = random.Random(20)
        self.people = {
            kind: db.execute(
                f"""SELECT contact_id::text, phone, email, id FROM loyalty_persona
                    WHERE phone <> '' AND archived_at IS NULL AND {which} ORDER BY id LIMIT 20000"""
            ).fetchall()
            for kind, which in (
                (
                    "ordinary",
                    "merged_into_id IS NULL AND member_from IS NOT NULL AND email <> '' AND id % 50 <> 9"
                    " AND id % 1000 <> 502",
                ),
                ("survivor", "merged_into_id IS NULL AND id % 50 = 9"),
                ("merged", "merged_into_id IS NOT NULL"),
                ("stranger", "merged_into_id IS NULL AND member_from IS NULL"),
            )
        }
        self.people["long"] = db.execute(
            "SELECT contact_id::text, phone, email, id FROM loyalty_persona WHERE id % 1000 = 502 ORDER BY id LIMIT 999"
        ).fetchall()
        sales = db.execute("SELECT number FROM integrations_sale WHERE number LIKE 'MAI-%5' ORDER BY id LIMIT 20000")
        self.receipts = [row[0] for row in sales.fetchall()]

    def one(self, kind: str) -> tuple[str, str, str, int]:
        return self.dice.choice(self.people[kind])

    def ask(self, path: str) -> tuple[float, int, float]:
        """Seconds, statements, the database's milliseconds. Anything but an answer ends the bench."""
        began = time.perf_counter()
        headers = (
            {"X-APIKEY": self.keys.key} if path.startswith("/api/") else {"Cookie": f"sessionid={self.keys.session}"}
        )
        self.connection.request("GET", path, headers=headers)
        answer = self.connection.getresponse()
        body = answer.read()
        taken = time.perf_counter() - began
        if answer.status not in (200, 302):
            raise SystemExit(f"{self.name}: {path} answered {answer.status}: {body[:300]!r}")
        if b"the search was ended" in body:
            self.given_up += 1
        return taken, int(answer.headers["X-Statements"]), float(answer.headers["X-Database-Ms"])


Path = Callable[[Shop], str]


def persona(kind: str, more: str = "") -> Path:
    return lambda shop: f"/admin/personas/{shop.one(kind)[0]}/{more}"


def plain(path: str) -> Path:
    return lambda shop: path


LIST = "/admin/loyalty/persona/"

# What has to stay flat: the till's call and the shopper's page.
FLAT: dict[str, Path] = {
    "wallet by phone (API)": lambda shop: f"/api/v2/wallet/{quote(shop.one('ordinary')[1])}",
    "wallet of a long history": lambda shop: f"/api/v2/wallet/{quote(shop.one('long')[1])}",
    "wallet of a merged group": lambda shop: f"/api/v2/wallet/{quote(shop.one('merged')[1])}",
    "persona, points": persona("ordinary"),
    "persona, points, 500 entries": persona("long"),
    "  its 15th page of entries": persona("long", "?page=15"),
    "  its 15th page of sales": persona("long", "?sales=15"),
    "persona, points, merged group": persona("survivor"),
    "persona, points, not a member": persona("stranger"),
    "persona, profile": persona("ordinary", "?tab=profile"),
    "persona, profile, 500 entries": persona("long", "?tab=profile"),
    "persona, profile, merged group": persona("survivor", "?tab=profile"),
}
LISTS: dict[str, Path] = {
    "personas": plain(LIST),
    "  second page": plain(LIST + "?p=2"),
    "  by last seen": plain(LIST + "?o=-1"),
    "  never seen last": plain(LIST + "?o=1"),
    "  members": plain(LIST + "?member=yes"),
    "  not enrolled": plain(LIST + "?member=no"),
    "  archived": plain(LIST + "?member=archived"),
    "  from Cova": plain(LIST + "?source=cova"),
    "  from here or the API": plain(LIST + "?source=none"),
    "  favourite store": plain(LIST + "?store=1"),
    "  seen within 7 days": plain(LIST + "?seen=7"),
    "  seen within a year": plain(LIST + "?seen=365"),
    "  never seen": plain(LIST + "?seen=never"),
    "  at least 100 points": plain(LIST + "?points=100"),
    "  at least 5,000 points": plain(LIST + "?points=5000"),
    "  of an audience": plain(LIST + "?audience=1"),
    "  open redemption": plain(LIST + "?open=redemption"),
    "  under investigation": plain(LIST + "?open=investigation"),
    "  no phone": plain(LIST + "?open=no_phone"),
    "  neither phone nor e-mail": plain(LIST + "?open=neither"),
    "  search: phone": lambda shop: f"{LIST}?q={quote(shop.one('ordinary')[1])}",
    "  search: e-mail": lambda shop: f"{LIST}?q={quote(shop.one('ordinary')[2])}",
    "  search: first name": plain(LIST + "?q=ada"),
    "  search: beginnings of both": plain(LIST + "?q=no+fe"),
    "  search: contact ID": lambda shop: f"{LIST}?q={shop.one('ordinary')[0]}",
    "  search: POS customer": lambda shop: f"{LIST}?q=c{shop.one('ordinary')[3]}",
    "  search: merged one": lambda shop: f"{LIST}?q=merge:{quote(shop.one('merged')[1])}",
}
RECEIPTS: dict[str, Path] = {
    "  search: receipt": lambda shop: f"{LIST}?q={shop.dice.choice(shop.receipts)}",
    "Why? phone": lambda shop: f"/admin/why/?q={quote(shop.one('ordinary')[1])}",
    "Why? long history": lambda shop: f"/admin/why/?q={quote(shop.one('long')[1])}",
    "Why? receipt": lambda shop: f"/admin/why/?q={shop.dice.choice(shop.receipts)}",
    "Why? name": plain("/admin/why/?q=ada"),
}
# Read by the office, not by the till: under a second is enough.
OFFICE: dict[str, Path] = {
    "home": plain("/admin/"),
    "report: staff, this month": plain("/admin/reports/staff/"),
    "report: staff, a year": plain("/admin/reports/staff/?from={year}&to={today}"),
    "report: liability": plain("/admin/reports/liability/"),
    "report: margin, this month": plain("/admin/reports/margin/"),
    "report: margin, a year": plain("/admin/reports/margin/?from={year}&to={today}"),
    "report: data quality": plain("/admin/reports/quality/"),
    "report: ledger check": plain("/admin/reports/ledger/"),
    "redemptions to look at": plain("/admin/redemptions/"),
    "same person?": plain("/admin/same-person/"),
    "redemptions": plain("/admin/loyalty/redemption/"),
    "sales": plain("/admin/integrations/sale/"),
    "audiences": plain("/admin/loyalty/audience/"),
    "messages": plain("/admin/loyalty/message/"),
    "consent": plain("/admin/loyalty/consentline/"),
}


def by_turns(shops: list[Shop], path: Path, times: int, fill: dict[str, str]) -> list[Times]:
    """Each shop in turn, so that a busy machine troubles all alike; whoever takes too long is asked less often."""
    told = [Times() for _ in shops]

    def turn(place: int) -> tuple[float, int, float]:
        asked = path(shops[place])
        for name, value in fill.items():
            asked = asked.replace(f"{{{name}}}", value)
        return shops[place].ask(asked)

    before = [shop.given_up for shop in shops]
    for place in range(len(shops)):
        for _ in range(6):  # every thread has its connection and its plans
            if turn(place)[0] > 0.5:
                break
    for round_ in range(times):
        for place in sorted(range(len(shops)), reverse=round_ % 2 == 1):
            if sum(told[place].seconds) > LONGEST_S and len(told[place].seconds) >= 5:
                continue
            seconds, statements, database = turn(place)
            told[place].seconds.append(seconds)
            told[place].statements.add(statements)
            told[place].database.append(database)
    for shop, times_, was in zip(shops, told, before, strict=True):
        times_.given_up = shop.given_up - was
    return told


@dataclass(frozen=True)
class Line:
    """A subject in two shops. The ratio is the median of those of each turn: what troubled one troubled the other."""

    name: str
    small: Times
    large: Times

    @property
    def ratio(self) -> float:
        turns = zip(self.small.seconds, self.large.seconds, strict=False)
        return statistics.median(large / small for small, large in turns)

    @property
    def same_statements(self) -> bool:
        return max(self.small.statements) == max(self.large.statements)

    def text(self) -> str:
        def told(times: Times) -> str:
            database = statistics.median(times.database)
            return f"{times.ms(0.5):8.1f} {times.ms(0.95):8.1f} {database:8.1f} {_span(times.statements):>6}"

        ended = "   GIVEN UP" if self.large.given_up else ""
        return f"{self.name:34}{told(self.small)}   {told(self.large)}   {self.ratio:5.2f}{ended}"


_COLUMNS = f"{'p50 ms':>8} {'p95':>8} {'database':>8} {'asked':>6}"


def head(small: str, large: str) -> str:
    return f"{'':34}{small:>8}{'':28}{large:>8}\n{'':34}{_COLUMNS}   {_COLUMNS}   {'ratio':>5}"


def _span(numbers: set[int]) -> str:
    return str(min(numbers)) if len(numbers) == 1 else f"{min(numbers)}-{max(numbers)}"
