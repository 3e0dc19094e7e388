"""One way to act in the books of every POS that tests know: somebody new, an edit, a sale, and what of it arrives here.

A pulled card's stand-in is told by its control routes and then read; a card that is told is called as its POS would.
"""

from contextlib import contextmanager
from datetime import timedelta
from typing import Any

from django.utils import timezone

from aiqsync.accounts.tenancy import acting_in
from integrations import clients, services
from integrations.clover import names
from integrations.models import Credential, StreamState
from integrations.sandbox.server import start
from tests.factories import make_account
from tests.loyalty.api.pos import MEMBER, SALE, Pos, visit

from .conftest import Shop

LINES = [{"sku": "T1", "name": "Tea", "category": "Tea", "price_cents": 4000}]
EMPTY = {"customers": 3, "sales": 3, "seed": 7, "days": 5}


class Till(Shop):
    """Books that are empty when the test begins. `near` and `far`: a state of the market and one outside it."""

    near, far, market = "BC", "ON", "CA-BC"
    streams: tuple[str, ...] = ()

    def person(self, first: str, phone: str = "", state: str = "") -> str:
        fields = {"first_name": first, "last_name": "Moss"}
        fields |= {name: value for name, value in (("phone", phone), ("state", state)) if value}
        return self.control("edit", **fields)["customer_id"]

    def edit(self, who: str, **fields: Any) -> None:
        self.control("edit", customer_id=who, **fields)

    def sell(self, who: str, days_ago: int = 0) -> str:
        at = {"at": (timezone.now() - timedelta(days=days_ago)).isoformat()} if days_ago else {}
        return self.control("sell", customer_id=who, lines=LINES, **at)["id"]

    def arrive(self, *, full: bool = False) -> None:
        """What happened there is here. `full`: all customers again, where a list tells no edits."""
        ran = self.sync()
        if full:
            ran |= self.sync("customers", full=True)
        assert {run.status for run in ran.values()} == {"done"}, {n: r.message for n, r in ran.items()}

    def from_now(self) -> None:
        self.since = max((call["seq"] for call in self.calls()), default=self.since)


class CloverTill(Till):
    near, far, market = "CO", "NM", "US-CO"

    def arrive(self, *, full: bool = False) -> None:
        super().arrive(full=full)
        names.forget()


class PartnerTill(Till):
    def given(self) -> dict[str, str]:
        told = super().given()
        return told | {"base_url": self.sandbox.url + told["base_url"]}


class PushTill(Till):
    """The POS has our address, UID and key."""

    def __init__(self, account) -> None:
        self.card, self.account, self.pos = "push", account, Pos(account=account)
        self.credential: Credential | None = self.pos.credential
        self.made = 0

    def connect(self, **_: Any) -> Credential:
        assert self.credential is not None
        return self.credential

    def person(self, first: str, phone: str = "", state: str = "") -> str:
        self.made += 1
        who = f"c{self.made}"
        self.edit(who, first_name=first, last_name="Moss", phone=phone, state=state)
        return who

    def edit(self, who: str, **fields: Any) -> None:
        ours = {"first_name": "firstName", "last_name": "lastName", "phone": "mobilePhone"}
        address = {"address": {"state": fields.pop("state"), "country": "CA"}} if fields.get("state") else {}
        fields.pop("state", None)
        body = {ours[name]: value for name, value in fields.items() if value}
        self.pos.push(MEMBER, {"pos_user": who, **body, **address})

    def sell(self, who: str, days_ago: int = 0) -> str:
        self.made += 1
        key = f"R{self.made}"
        lines = [{"sku": "T1", "name": "Tea", "category": "Tea", "price": 40, "quantity": 1}]
        self.pos.push(SALE, visit(key, who, total=40, lines=lines, ago=timedelta(days=days_ago, minutes=5)))
        return key

    def arrive(self, *, full: bool = False) -> None:
        """It was here when the call was answered."""


KINDS = {"cova": Till, "clover": CloverTill, "partner": PartnerTill, "push": PushTill}


@contextmanager
def sandboxes():
    """The stand-ins of the pulled cards, started when first asked for."""
    running: dict[str, Any] = {}

    def of(slug: str):
        if slug not in running:
            running[slug] = start(slug, **EMPTY)
        return running[slug]

    try:
        yield of
    finally:
        for one in running.values():
            one.stop()


def make_till(slug: str, sandbox_of, settings) -> Till:
    """A fresh account with an empty POS behind its card, not connected yet."""
    account = make_account()
    settings.HISTORY_DAYS = 60
    if slug == "push":
        return PushTill(account)
    sandbox = sandbox_of(slug)
    settings.CARD_BASE_URLS, settings.CARD_RATES = {slug: sandbox.url}, {slug: 0}
    names.forget()
    clients._limiters.clear()
    till = KINDS[slug](slug, sandbox, account)
    till.control("faults", clear=True)
    till.control("seed", **EMPTY, rate=0)
    till.control("wipe", yes=True)
    till.from_now()
    return till


def due_again(till: Till) -> None:
    """As if the time of each stream's next look had come."""
    with acting_in(till.account.pk):
        StreamState.objects.filter(credential=till.credential).update(next_due=timezone.now() - timedelta(hours=1))


def credential_of(till: Till) -> Credential:
    return Credential.unscoped.select_related("connection", "origin").get(pk=till.credential.pk)


def freeze(target: dict[str, Any], *, on: bool = True) -> None:
    (services.freeze if on else services.unfreeze)(**target, now=timezone.now())
