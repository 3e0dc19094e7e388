"""The source is out for a day while tills go on: nobody's points are released, and when it returns each meets its sale.

Over the real path: a till that redeems through the API, the stand-in POS over HTTP, the connection's own runs. Only the
clock is ours: it begins thirty hours ago, because the POS refuses sales that lie in the future.

200 redemptions of 200 shoppers; AIQSYNC_LONG=1 takes 1,000 and lets the releaser run every ten minutes.
"""

import os
from collections import Counter
from datetime import timedelta

import pytest
from django.core.management import call_command
from django.db.models import Count
from django.utils import timezone

from aiqsync.accounts.tenancy import acting_in
from integrations import services
from integrations.models import Credential, RefusedRow, Sale, StreamState
from integrations.sandbox.cova.invoices import render_row
from integrations.sandbox.server import start
from loyalty import audits, ledger, looking, personas, reconcile
from loyalty.api import throttling
from loyalty.models import Persona, Redemption, Source
from stores.models import StoreMapping
from tests.factories import make_account, make_discount
from tests.integrations.conftest import Shop
from tests.loyalty.api.till import Till

LONG = bool(os.environ.get("AIQSYNC_LONG"))
PEOPLE = 1000 if LONG else 200
TURNS = 6 if LONG else 1  # sweeps an hour
MINUTE, HOUR = timedelta(minutes=1), timedelta(hours=1)
# What becomes of each of ten redemptions: a sale with the discount by its order's number, one by hand, its sale without
# the discount, no sale at all, given back by the till in the middle of it.
FATES = ["order"] * 6 + ["hand", "bare", "none", "back"]
ENDS = {
    "order": ("settled", "transaction", ""), "hand": ("settled", "name", ""),
    "bare": ("released", "", "without_discount"), "none": ("released", "", "no_sale"), "back": ("reverted", "", "till"),
}  # fmt: skip


class Clock:
    def __init__(self) -> None:
        self.now = timezone.now() - 30 * HOUR

    def __call__(self):
        return self.now

    def forward(self, span: timedelta):
        self.now += span
        return self.now


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr("django.utils.timezone.now", clock)
    return clock


@pytest.fixture
def shop(db, settings, clock):
    """Cova connected and read, every shopper a member with 500 points, details of payments skipped."""
    throttling.forget()
    with start("cova", customers=PEOPLE * 3 // 2, sales=60, locations=2, seed=11, days=2, rate=0) as sandbox:
        settings.CARD_BASE_URLS = {"cova": sandbox.url}
        settings.CARD_RATES = {"cova": 0}
        settings.HISTORY_DAYS = 3
        settings.API_RATE_PER_MINUTE = 0
        shop = Shop("cova", sandbox, make_account())
        link = services.connection_of(account_id=shop.account.pk, slug="cova")
        services.save_settings(connection=link, given={"skip_payment_method": True}, now=clock())
        shop.connect()
        shop.sync()
        with acting_in(shop.account.pk):
            ids = list(Persona.objects.filter(merged_into=None).values_list("pk", flat=True))
            day = clock().date()
            personas.enrol_many(
                account_id=shop.account.pk, persona_ids=ids, ground="import", from_date=day, now=clock()
            )
        yield shop


def members(shop, count: int) -> list[tuple[Persona, str]]:
    """Shoppers of one record and one phone, with the POS's id of theirs."""
    found = (
        Source.unscoped.filter(account=shop.account, persona__merged_into=None, customer__disabled=False)
        .exclude(persona__phone="")
        .filter(customer__merged_into="")
        .select_related("persona", "customer")
        .order_by("pk")
    )
    once = set(
        Source.unscoped.values("persona").annotate(times=Count("id")).filter(times=1).values_list("persona", flat=True)
    )
    people = [(one.persona, one.customer.external_id) for one in found if one.persona_id in once][:count]
    assert len(people) == count
    for persona, _ in people:
        ledger.adjust(
            account_id=shop.account.pk, persona_id=persona.pk, points=500, key=f"start:{persona.pk}", now=timezone.now()
        )
    return people


def redeem(till: Till, persona: Persona, discount, order: str):
    """As a till does: the wallet by the phone, then the address with the order's number."""
    found = till.data("POST", "/api/v2/wallet", {"phone": persona.phone})["discountTemplates"]
    address = next(one["redemptionURL"] for one in found if one["id"] == str(discount.number))
    return till.data("PUT", f"{address}/{order}")["redemptionID"]


def sell(shop, customer: str, at, order: str = "", discount: dict | None = None):
    body = {"customer_id": customer, "at": at.isoformat()}
    body["lines"] = [{"name": "Pre-roll", "price_cents": 5000}]  # above the discount
    body |= {"transaction": order} if order else {}
    body |= {"discount": discount} if discount else {}
    return shop.control("sell", **body)


def fail(shop, hour: int) -> None:
    """The source fails in another way every six hours; with a wrong password it is not even tried any more."""
    shop.control("faults", clear=True)
    kind = ("500", "timeout", "no_permission", "bad_password")[hour // 6 % 4]
    shop.control("faults", kind=kind, match="/", times=-1, seconds=0.05)


def sections(shop):
    found = looking.sections(account_id=shop.account.pk, now=timezone.now())
    return {section.kind: section for section in found}


@pytest.mark.drill
def test_fault_3_7_a_day_without_the_source(shop, clock, capsys):
    ten = make_discount(shop.account, name="Ten off", points=100, cents=1000)
    till = Till(account=shop.account, points=None)
    people = members(shop, PEOPLE)
    began, rows, given_back = clock(), {}, []
    fail(shop, 0)
    clock.forward(10 * MINUTE)
    for n, (persona, customer) in enumerate(people):
        fate, order, at = FATES[n % 10], f"TX-{n}", began + 20 * MINUTE + timedelta(seconds=n)
        if fate == "hand":
            made = ledger.redeem(
                account_id=shop.account.pk, persona_id=persona.pk, discount_id=ten.pk, n=0, transaction="",
                channel="staff", now=clock(),
            ).redemption_id  # fmt: skip
        else:
            made = redeem(till, persona, ten, order)
        rows[str(made)] = fate
        if fate in ("order", "hand"):
            # By hand the till has a number of its own, which nobody told us.
            taken = {"name": "Ten off", "cents": 1000, "after_tax": n % 4 == 0}
            sell(shop, customer, at, order if fate == "order" else "", taken)
        elif fate == "bare":
            sell(shop, customer, at, order)
        elif fate == "back":
            given_back.append(made)
    assert Redemption.unscoped.filter(state="applied").count() == PEOPLE
    for hour in range(26):
        fail(shop, hour)
        if hour % 3 == 0:
            shop.sync("sales")
        for _ in range(TURNS):
            assert reconcile.release_due(now=clock.forward(HOUR / TURNS)) == 0
        if hour == 12:
            for made in given_back:
                till.data("POST", f"/api/v2/redemptions/{made}/revert", {})
    state = StreamState.unscoped.get(stream="sales")
    assert state.failures > 1 and Credential.unscoped.get().state == "paused"
    waiting = PEOPLE - len(given_back)
    assert Redemption.unscoped.filter(state="applied").count() == waiting, "none is released, none is lost"
    section = sections(shop)["waiting"]
    assert len(section.cases) == min(waiting, looking.SHOWN) and section.more == (waiting > looking.SHOWN)
    assert {case.waits_for for case in section.cases} == {("Cova: the POS refuses the log-in; it needs attention.",)}

    shop.control("faults", clear=True)
    shop.credential.refresh_from_db()
    services.reconnect(credential=shop.credential, given=shop.given(), now=clock())
    assert reconcile.release_due(now=clock.forward(MINUTE)) == 0, "connected again, and nothing read yet"
    [said] = sections(shop)["waiting"].cases[0].waits_for
    assert said == "Cova: its sales are not read so far yet."
    shop.sync("sales")
    assert not RefusedRow.unscoped.exists()
    none = sum(fate == "none" for fate in rows.values())
    assert Redemption.unscoped.filter(state="applied").count() == none, "read: only those without a sale wait"
    assert reconcile.release_due(now=clock.forward(MINUTE)) == none
    ends = Counter()
    for one in Redemption.unscoped.all():
        fate = rows[str(one.public_id)]
        ends[fate] += 1
        assert (one.state, one.matched_by, one.why_ended) == ENDS[fate], (fate, one.transaction)
        assert (one.sale_id is not None) == (one.state == "settled")
    assert ends == Counter(FATES[n % 10] for n in range(PEOPLE))
    taxes = set(Redemption.unscoped.filter(state="settled").values_list("after_tax", flat=True))
    assert taxes == {True, False}
    kept = Sale.unscoped.filter(redemptions__isnull=False)
    assert not kept.filter(has_details=False).exists(), "details are read for open redemptions, whatever is skipped"
    for persona, _ in people:
        spent = Redemption.unscoped.filter(persona=persona, state="settled").count() * 100
        earned = sum(persona.entries(manager="unscoped").filter(kind="earn").values_list("points", flat=True))
        assert ledger.spendable_points(shop.account.pk, persona.pk, clock()) == 500 - spent + earned
    assert audits.violations() == []
    call_command("check_ledger")
    assert capsys.readouterr().out.strip().splitlines()[-1] == "0 violations"


# The other ways a source says nothing. Each: what is done to it, and what the page says.
def disconnected(shop, clock):
    services.disconnect(credential=shop.credential)
    return "it is disconnected."


def behind(shop, clock):
    """Nobody reads: the dispatcher is away."""
    return "its sales are not read so far yet."


def not_read(shop, clock):
    StreamState.unscoped.filter(stream="sales").update(enabled=False)
    return "its sales are not being read."


def unmapped(shop, clock):
    """The till's store has lost its place in the POS."""
    shop.sync("sales")
    StoreMapping.unscoped.filter(store=shop.store).delete()
    return "No point of sale is connected whose sales could tell."


@pytest.mark.parametrize("trouble", [disconnected, behind, not_read, unmapped])
def test_variants(shop, clock, trouble):
    """Two shoppers, one whose sale carries the discount; two days of sweeps."""
    shop.store = StoreMapping.unscoped.first().store if trouble is unmapped else None
    ten = make_discount(shop.account, name="Ten off", points=100, cents=1000)
    people = members(shop, 2)
    clock.forward(10 * MINUTE)
    for n, (persona, _) in enumerate(people):
        ledger.redeem(
            account_id=shop.account.pk, persona_id=persona.pk, discount_id=ten.pk, n=0, transaction=f"TX-{n}",
            channel="till", now=clock(), store_id=shop.store and shop.store.pk,
        )  # fmt: skip
    if trouble is not unmapped:
        sell(shop, people[0][1], clock() + MINUTE, "TX-0", {"name": "Ten off", "cents": 1000})
    said = trouble(shop, clock)
    for _ in range(27):
        assert reconcile.release_due(now=clock.forward(HOUR)) == 0
    cases = sections(shop)["waiting"].cases
    assert len(cases) == 2 and all(said in case.waits_for[0] for case in cases)
    # And it is put right.
    if trouble is unmapped:
        place = shop.credential.origin.locations(manager="unscoped").first()
        StoreMapping.unscoped.create(account=shop.account, location=place, store=shop.store)
        sell(shop, people[0][1], clock.now - 26 * HOUR, "TX-0", {"name": "Ten off", "cents": 1000})
    elif trouble is disconnected:
        shop.credential.refresh_from_db()
        services.reconnect(credential=shop.credential, given=shop.given(), now=clock())
    StreamState.unscoped.update(enabled=True)
    shop.sync("sales")
    assert reconcile.release_due(now=clock.forward(MINUTE)) == 1
    ends = dict(Redemption.unscoped.values_list("persona", "state"))
    assert ends == {people[0][0].pk: "settled", people[1][0].pk: "released"}
    assert audits.violations() == []


def test_an_edit_in_the_pos_takes_the_discount_away(shop, clock):
    """The feed's row says nothing of a cart discount: the details of a sale that has changed are read anew."""
    ten = make_discount(shop.account, name="Ten off", points=100, cents=1000)
    [(persona, customer)] = members(shop, 1)
    clock.forward(10 * MINUTE)
    ledger.redeem(account_id=shop.account.pk, persona_id=persona.pk, discount_id=ten.pk, n=0, transaction="TX-1",
                  channel="till", now=clock())  # fmt: skip
    made = sell(shop, customer, clock() + MINUTE, "TX-1", {"name": "Ten off", "cents": 1000})
    clock.forward(5 * MINUTE)
    shop.sync("sales")
    assert Redemption.unscoped.get().state == "settled"
    vendor = shop.sandbox.vendor
    invoice = vendor.book.by_id[made["id"]]
    back, invoice.cart = invoice.cart[2], None
    invoice.lines[0].net += back
    invoice.payments = [(invoice.payments[0][0], invoice.payments[0][1] + back)]
    invoice.add_up()
    invoice.row = render_row(invoice)
    clock.forward(2 * MINUTE)
    shop.sync("sales")
    one = Redemption.unscoped.get()
    assert (one.state, one.why_ended) == ("released", "without_discount")
    asked = [call["path"] for call in shop.calls() if made["id"] in call["path"].lower()]
    assert len(asked) == 2, "once when it came, once when it had changed"
