"""Every page of the admin, asked for by people of another account, by nobody, and by the operator.

The pages are read from the URL configuration: a new route with an argument that `arguments` does not know fails here.
"""

import re

import pytest
from django.contrib import admin
from django.db import transaction
from django.test import Client
from django.urls import URLPattern, URLResolver, reverse

from aiqsync.accounts.models import User
from aiqsync.accounts.roles import Role
from tests.accounts.world import TENANTS, make_world, snapshot
from tests.factories import make_account, make_user

WORD = "Zanzibar"
pytestmark = pytest.mark.django_db

# Pages without a log-in: the door itself.
OPEN = {"login"}
# Not asked by POST: it ends the session that the rest needs.
NEVER_POSTED = {"logout"}
NO_SUCH = "987654321"


@pytest.fixture
def theirs():
    account = make_account("Alpha Co")
    account.world = make_world(account, WORD)
    return account


@pytest.fixture
def ours():
    account = make_account("Beta Co")
    account.owner = make_user(account, Role.OWNER)
    return account


def routes(patterns, prefix="") -> list[tuple[str, URLPattern]]:
    found = []
    for pattern in patterns:
        text = prefix + str(pattern.pattern)
        if isinstance(pattern, URLResolver):
            found += routes(pattern.url_patterns, text)
        else:
            found.append((text, pattern))
    return found


ROUTES = routes(admin.site.get_urls(), "/admin/")


def arguments(name: str, world: dict) -> dict[str, object]:
    """What each argument of a route is filled with: always a row of the other account."""
    models = {f"{m._meta.app_label}_{m._meta.model_name}": m.__name__ for m in TENANTS}
    owner = next((world[models[key]] for key in models if name.startswith(key + "_")), None)
    pk = owner.pk if owner else NO_SUCH
    if name.startswith("card"):
        pk = world["SettingChange" if name.startswith("card-change") else "Credential"].pk
    if name.startswith("webhook"):
        calls = name in ("webhook-delivery", "webhook-again")
        pk = world["WebhookDelivery" if calls else "WebhookEndpoint"].pk
    if name.startswith("file"):
        pk = world["Upload"].pk
    return {
        "object_id": pk,
        "pk": pk,
        "contact_id": world["Persona"].contact_id,
        "public_id": world["Redemption"].public_id,
        "uid": world["Persona"].account.uid,
        "merge_id": world["Merge"].pk,
        "source_id": world["Source"].pk,
        "sale_id": world["Sale"].pk,
        "discount_id": world["Discount"].pk,
        "n": 0,
        "slug": "cova",
        "verb": "confirm",
        "id": NO_SUCH,
        "content_type_id": NO_SUCH,
        "app_label": "loyalty",
        "url": "no-such-page/",
        "name": "entries",
    }


def address(text: str, pattern: URLPattern, world: dict) -> str:
    given = arguments(pattern.name or "", world)

    def fill(match: re.Match) -> str:
        name = match["path"] or match["named"]
        assert name in given, f"{text}: teach `arguments` what {name!r} is, so that this page is tried as a stranger"
        return str(given[name])

    text = re.sub(r"\(\?P<(?P<named>\w+)>[^)]*\)|<(?:\w+:)?(?P<path>\w+)>", fill, text)
    return re.sub(r"[\^$]|\\Z", "", text).replace("\\", "")


def every_page(world: dict) -> list[tuple[str, str]]:
    """(name, address) of each route; lists also searched and filtered by what belongs to the other account."""
    pages = []
    for text, pattern in ROUTES:
        name, url = pattern.name or "catch-all", address(text, pattern, world)
        pages.append((name, url))
        if name.endswith("_changelist"):
            pages += [(name, f"{url}?q={term}") for term in ("6045550142", "zanzi", str(world["Persona"].contact_id))]
            pages.append((name, f"{url}?location={world['Location'].pk}&all="))
    for model in admin.site._registry:
        for field in model._meta.get_fields():
            if field.is_relation and field.concrete:
                asked = f"app_label={model._meta.app_label}&model_name={model._meta.model_name}&field_name={field.name}"
                pages.append(("autocomplete", f"{reverse('admin:autocomplete')}?term=&{asked}"))
    return pages


def body(answer) -> str:
    """What came, whether it was sent whole or in pieces."""
    sent = b"".join(answer.streaming_content) if answer.streaming else answer.content
    return sent.decode()


def log_in(user: User) -> Client:
    client = Client()
    client.force_login(user)
    return client


def post(client: Client, url: str, world: dict):
    """A form that would do harm if it were let through; what it did is rolled back by the comparison that follows."""
    persona = world["Persona"]
    data = {
        "points": "50", "note": "x", "token": "8f14e45f-ceea-467f-a8f2-0c4c0a1d6d10", "from_date": "2026-01-02",
        "action": "enrol", "confirmed": "1", "_selected_action": [persona.pk], "select_across": "0", "post": "yes",
        "name": "taken over", "internal_name": "taken over", "kind": "flat", "amount": "1", "role": "staff",
        "enabled": "", "points_per_100": "1", "rounding": "up", "refunds": "keep", "company_id": "1",
    }  # fmt: skip
    with transaction.atomic():
        return client.post(url, data)


def test_every_tenant_model_has_a_row(theirs):
    assert {model.__name__ for model in TENANTS} == set(theirs.world)


def test_the_words_are_there_for_their_owner(theirs):
    """The control: what the other tests look for would be seen if it leaked."""
    client = log_in(User.objects.get(email=f"{WORD.lower()}@example.test"))
    seen = {name for name, url in every_page(theirs.world) if WORD in body(client.get(url))}
    assert {"index", "persona", "loyalty_persona_changelist", "integrations_sale_change", "stores_store_change"} <= seen
    assert {"loyalty_discount_change", "accounts_membership_changelist", "accounts_auditline_changelist"} <= seen


@pytest.mark.parametrize("role", [Role.OWNER, Role.STAFF])
def test_another_account_reads_nothing(theirs, ours, role):
    client = log_in(ours.owner if role == Role.OWNER else make_user(ours, role))
    for name, url in every_page(theirs.world):
        answer = client.get(url)
        assert answer.status_code < 500, (name, url)
        assert WORD not in body(answer), (name, url)


def test_another_account_changes_nothing(theirs, ours):
    client, before = log_in(ours.owner), snapshot(theirs)
    for name, url in every_page(theirs.world):
        if name not in NEVER_POSTED:
            answer = post(client, url, theirs.world)
            assert answer.status_code < 500, (name, url)
            assert WORD not in body(answer), (name, url)
            assert client.session.get("account_id") in (None, ours.pk), (name, url)
    assert snapshot(theirs) == before


def test_nobody_is_sent_to_the_door(theirs):
    before = snapshot(theirs)
    for name, url in every_page(theirs.world):
        for answer in (Client().get(url), post(Client(), url, theirs.world)):
            assert WORD not in body(answer), (name, url)
            if name not in OPEN | NEVER_POSTED:
                assert answer.status_code == 302 and "/admin/login/" in answer.url, (name, url)
    assert snapshot(theirs) == before


def test_a_log_in_without_an_account_gets_nowhere(theirs):
    client = log_in(make_user())
    for name, url in every_page(theirs.world):
        answer = client.get(url)
        assert WORD not in body(answer), (name, url)
        if name not in OPEN | NEVER_POSTED:
            assert answer.status_code in (302, 403) and "/admin/login/" in getattr(answer, "url", "/admin/login/"), name


def test_the_operator_sees_no_merchant_before_entering(theirs):
    client, before = log_in(make_user(is_superuser=True)), snapshot(theirs)
    for name, url in every_page(theirs.world):
        answer = client.get(url)
        assert answer.status_code < 500, (name, url)
        assert WORD not in body(answer), (name, url)
        if name not in NEVER_POSTED | {"account-enter"}:
            answer = post(client, url, theirs.world)
            assert answer.status_code < 500, (name, url)
            assert WORD not in body(answer), (name, url)
    assert snapshot(theirs) == before


def test_the_operators_visit_is_written_down(theirs):
    client = log_in(make_user(is_superuser=True, email="root@example.test"))
    client.post(reverse("admin:account-enter", args=[theirs.uid]))
    assert WORD in client.get(reverse("admin:loyalty_persona_changelist")).content.decode()
    log = client.get(reverse("admin:accounts_auditline_changelist")).content.decode()
    assert "Operator entered" in log and "root@example.test" in log
    client.post(reverse("admin:account-leave"))
    assert WORD not in client.get(reverse("admin:loyalty_persona_changelist"), follow=True).content.decode()
