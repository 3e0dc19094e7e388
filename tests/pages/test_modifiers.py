"""Points modifiers: entered on their page, counted, confirmed, and then sales earn by them."""

from decimal import Decimal

import pytest
from django.urls import reverse
from django.utils import timezone

from aiqsync.accounts.tenancy import acting_in
from loyalty import earning, jobs, ledger
from loyalty.models import Audience, Modifier, ProgrammeChange
from tests.factories import make_account, make_persona, make_store, make_user
from tests.loyalty.test_release import Batch, SaleRecord, land_customers, land_sales, make_origin, sink
from tests.records import NOON, customer, line, sale

pytestmark = pytest.mark.django_db
GIVEN = {"name": "Double Moss", "kind": "multiplier", "factor": "2", "brands": "Moss\nFern", "active": "on"}


@pytest.fixture
def shop(client):
    account = make_account()
    account.user = make_user(account)
    client.force_login(account.user)
    origin = make_origin(account)
    landed = land_customers(origin, customer("c", phone="+16045550142"))
    sink().landed(Batch(account.pk, origin.pk, type(customer("c")), landed.new, [], NOON))
    from loyalty.models import Persona

    account.persona = Persona.unscoped.get(account=account)
    Persona.unscoped.update(member_from=NOON.date())
    lines = (line(1, 6000, brand="MOSS "), line(2, 4000, brand="other"))
    landed = land_sales(origin, sale("s", customer_id="c", lines=lines))
    sink().landed(Batch(account.pk, origin.pk, SaleRecord, landed.new, [], NOON))
    return account


def work(account):
    from loyalty.models import Job

    for job in Job.unscoped.filter(account=account, state="queued").order_by("pk"):
        while jobs.run_slice(job.pk):
            pass


def points(account):
    return ledger.spendable_points(account.pk, account.persona.pk, timezone.now())


def test_counted_confirmed_and_earned_by(client, shop):
    assert points(shop) == 100
    answer = client.post(reverse("admin:modifier-new"), GIVEN)
    assert answer.status_code == 302 and answer.url == reverse("admin:programme-change")
    assert not Modifier.unscoped.exists() and points(shop) == 100
    work(shop)
    change = ProgrammeChange.unscoped.get()
    assert (change.state, change.counted["before"], change.counted["after"]) == ("counted", "100.00", "160.00")
    client.post(reverse("admin:programme-act", args=["confirm"]), {"change": change.pk})
    work(shop)
    assert points(shop) == 160
    with acting_in(shop.pk):
        assert earning.out_of_date(account_id=shop.pk) == 0
        why = earning.sentence(shop.persona.sale_states.get().explanation)
    assert "Double Moss: 2 times on $60.00" in why
    page = client.get(reverse("admin:modifiers")).content.decode()
    assert "2 times the points, on Moss, Fern" in page
    client.post(reverse("admin:modifier-archive", args=[Modifier.unscoped.get().pk]))
    work(shop)
    client.post(reverse("admin:programme-act", args=["confirm"]), {"change": ProgrammeChange.unscoped.latest("pk").pk})
    work(shop)
    assert points(shop) == 100


def test_a_boost_with_a_purchase_is_given_once_and_taken_back_with_a_void(client, shop):
    client.post(reverse("admin:modifier-new"), {"name": "Hello", "kind": "boost", "points": "50", "with_sale": "on",
                                               "active": "on"})  # fmt: skip
    work(shop)
    client.post(reverse("admin:programme-act", args=["confirm"]), {"change": ProgrammeChange.unscoped.get().pk})
    work(shop)
    assert points(shop) == 150
    with acting_in(shop.pk):
        earning.settle_personas(account_id=shop.pk, persona_ids=[shop.persona.pk], now=timezone.now())
    assert points(shop) == 150


@pytest.mark.parametrize("fields, said", [
    ({"name": ""}, "required"), ({"kind": "boost"}, "How many points"), ({"factor": "-1"}, "greater than or equal"),
    ({"kind": "boost", "points": "5"}, "choose one of the two"), ({"from_hour": "25:00"}, "valid time"),
    ({"stores": ["999"]}, "Select a valid choice"), ({"brands": "x" * 300}, "letters"),
    ({"starts_on": "2026-02-02", "ends_on": "2026-02-01"}, "before the first"),
])  # fmt: skip
def test_what_cannot_be_is_said(client, shop, fields, said):
    answer = client.post(reverse("admin:modifier-new"), GIVEN | fields)
    assert answer.status_code == 422 and said in answer.content.decode()
    assert not ProgrammeChange.unscoped.exists()


def test_what_was_sold_is_offered(client, shop):
    """Once each, whatever its capitals, and nothing of another company's."""
    stranger = make_origin(make_account("Elsewhere"))
    land_sales(stranger, sale("x", lines=(line(1, 100, brand="Secret", sku="S"),)))
    land_sales(
        make_origin(shop, "clover"), sale("t", lines=(line(1, 100, brand="moss", category="Flower", sku="M-1"),))
    )
    page = client.get(reverse("admin:modifier-new")).content.decode()
    brands = page.split('id="sold-brands"')[1].split("</datalist>")[0]
    assert brands.count("<option") == 2 and 'value="other"' in brands and "moss" in brands.lower()
    assert '<option value="M-1">' in page and '<option value="Flower">' in page
    assert "Secret" not in page and 'value="S"' not in page


@pytest.mark.parametrize("given, kept", [
    ({"kind": "zero", "points": "50", "with_sale": "on"},
     {"points": "0", "with_sale": False, "brands": ["Moss", "Fern"]}),
    ({"kind": "multiplier", "points": "x"}, {"points": "0", "factor": "2"}),
    ({"kind": "boost", "points": "5", "with_sale": "on", "factor": "-7"}, {"points": "5", "brands": ["Moss", "Fern"]}),
    ({"kind": "boost", "points": "5", "to_hour": "25:00", "weekdays": ["1"]},
     {"points": "5", "brands": [], "weekdays": [], "to_hour": None}),
])  # fmt: skip
def test_what_does_not_belong_to_the_kind_is_not_kept(client, shop, given, kept):
    """A field that the kind hides neither refuses nor acts."""
    with acting_in(shop.pk):
        friends = Audience.objects.create(account_id=shop.pk, name="Friends")
    answer = client.post(reverse("admin:modifier-new"), GIVEN | {"audience": friends.pk} | given)
    assert answer.status_code == 302, answer.content.decode()
    item = ProgrammeChange.unscoped.get().values["modifiers"][0]
    assert {name: item[name] for name in kept} == kept


def test_the_change_says_what_it_was_and_what_it_becomes(client, shop):
    client.post(reverse("admin:modifier-new"), GIVEN | {"weekdays": ["1"], "starts_on": "2026-02-03"})
    work(shop)
    page = client.get(reverse("admin:programme-change")).content.decode()
    assert "Points modifier Double Moss" in page and "2 times the points, on Moss, Fern, Tue, from 3 Feb 2026" in page
    client.post(reverse("admin:programme-act", args=["confirm"]), {"change": ProgrammeChange.unscoped.get().pk})
    work(shop)
    made = Modifier.unscoped.get()
    client.post(reverse("admin:modifier", args=[made.pk]), GIVEN | {"factor": "3"})
    work(shop)
    page = client.get(reverse("admin:programme-change")).content.decode()
    assert page.index("2 times the points, on Moss, Fern, Tue") < page.index("3 times the points, on Moss, Fern")
    client.post(reverse("admin:programme-act", args=["dismiss"]), {"change": ProgrammeChange.unscoped.latest("pk").pk})
    client.post(reverse("admin:modifier-archive", args=[made.pk]))
    assert ">archived<" in client.get(reverse("admin:programme-change")).content.decode()


@pytest.mark.parametrize("role, status", [("owner", 200), ("manager", 403), ("staff", 403)])
def test_who_may(client, shop, role, status):
    make_store(shop), make_persona(shop)
    client.force_login(make_user(shop, role))
    assert client.get(reverse("admin:modifier-new")).status_code == status


def test_nothing_to_move_saves_at_once(client):
    account = make_account("New")
    client.force_login(make_user(account))
    client.post(reverse("admin:modifier-new"), GIVEN)
    assert Modifier.unscoped.get(account=account).factor == Decimal(2)
