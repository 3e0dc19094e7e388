"""Settings, Webhooks: made, tested, looked into, sent again, by those who may."""

import re

import pytest
from django.test import Client
from django.urls import reverse

from aiqsync.accounts.models import AuditLine
from aiqsync.accounts.roles import Role
from loyalty.models import WebhookDelivery, WebhookEndpoint
from loyalty.webhooks import kinds, sending
from tests.factories import make_account, make_user
from tests.loyalty.webhooks.receiver import receiving

pytestmark = pytest.mark.django_db


class Admin:
    def __init__(self, role: str = Role.OWNER, account=None) -> None:
        self.account = account or make_account()
        self.client = Client()
        self.client.force_login(make_user(self.account, role, password=None))

    def get(self, name, *args, **query):
        return self.client.get(reverse(f"admin:{name}", args=args), query)

    def post(self, name, *args, **data):
        return self.client.post(reverse(f"admin:{name}", args=args), data)

    def make(self, address: str, **given):
        answer = self.post(
            "webhook-new", **{"url": address, "description": "Shop", "events": list(kinds.KINDS)} | given
        )
        return answer, WebhookEndpoint.unscoped.filter(account=self.account).last()


def text(answer) -> str:
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", answer.content.decode()))


@pytest.fixture
def hook():
    with receiving() as box:
        yield box


def test_made_with_a_secret_that_is_shown_once(hook):
    admin = Admin()
    assert "Nobody is told yet" in text(admin.get("webhooks"))
    answer, made = admin.make(hook.url)
    secret = re.search(r"whsec_[\w+/=]+", answer.content.decode())[0]
    assert made.secrets["now"] == secret and "no-store" in answer["Cache-Control"]
    for name, args in (("webhooks", ()), ("webhook", (made.pk,)), ("webhook-edit", (made.pk,))):
        page = admin.get(name, *args)
        assert page.status_code == 200 and hook.url in page.content.decode() and secret not in page.content.decode()
    line = AuditLine.unscoped.get(act="webhook.created")
    assert secret not in str(line.detail) and line.target == hook.url
    again = admin.post("webhook-act", made.pk, "secret")
    new = re.search(r"whsec_[\w+/=]+", again.content.decode())[0]
    assert new != secret and "old secret" in text(again) or "old one" in text(again)
    assert "new and the old secret" in text(admin.get("webhook", made.pk))


def test_tested_looked_into_and_sent_again(hook):
    admin = Admin()
    _, made = admin.make(hook.url)
    hook.answers = [500]
    answer = admin.post("webhook-act", made.pk, "test")
    row = WebhookDelivery.unscoped.get()
    assert answer.url == reverse("admin:webhook-delivery", args=[row.pk])
    page = admin.get("webhook-delivery", row.pk)
    assert 'http-equiv="refresh"' in page.content.decode() and "being sent" in text(page)
    sending.deliver_due()
    page = text(admin.get("webhook-delivery", row.pk))
    assert (
        "500" in page
        and "answer 500" in page
        and "webhook.test" in page
        and sending.message_id(row.event.public_id) in page
    )
    admin.post("webhook-again", row.pk)
    sending.deliver_due()
    page = admin.get("webhook-delivery", row.pk)
    assert "Delivered" in text(page) and 'http-equiv="refresh"' not in page.content.decode()
    assert len(set(hook.ids)) == 1 and len(hook.ids) == 2
    WebhookDelivery.unscoped.update(state="failed")
    assert "1 failed" in text(admin.get("webhooks"))
    admin.post("webhook-act", made.pk, "again", since="24")
    assert WebhookDelivery.unscoped.get().state == "waiting"
    admin.post("webhook-act", made.pk, "again", since="nonsense")


def test_the_log_is_filtered_and_paged(hook):
    admin = Admin()
    _, made = admin.make(hook.url)
    for _ in range(55):
        admin.post("webhook-act", made.pk, "test")
    ids = list(WebhookDelivery.unscoped.order_by("-id").values_list("pk", flat=True))
    WebhookDelivery.unscoped.filter(pk=ids[54]).update(state="failed", status=500)
    page = admin.get("webhook", made.pk).content.decode()
    assert page.count("/settings/webhooks/calls/") == 50 and f"before={ids[49]}" in page
    page = admin.get("webhook", made.pk, before=ids[49]).content.decode()
    assert page.count("/settings/webhooks/calls/") == 5
    page = admin.get("webhook", made.pk, state="failed").content.decode()
    assert page.count("/settings/webhooks/calls/") == 1 and str(ids[54]) in page
    for strange in ("x", "-1", "9" * 40, "²"):
        assert admin.get("webhook", made.pk, before=strange, state=strange).status_code == 200


def test_the_list_and_the_log_ask_the_same_of_one_and_of_many(hook, django_assert_max_num_queries):
    from django.db import connection
    from django.test.utils import CaptureQueriesContext

    admin = Admin()
    _, made = admin.make(hook.url)
    admin.post("webhook-act", made.pk, "test")
    counts = []
    for _ in range(2):
        with CaptureQueriesContext(connection) as log:
            admin.get("webhook", made.pk)
            admin.get("webhooks")
        counts.append(len(log))
        for _ in range(20):
            admin.post("webhook-act", made.pk, "test")
    assert counts[0] == counts[1]


@pytest.mark.parametrize(
    ("given", "word"),
    [
        ({"url": "https://10.0.0.1/"}, "inner network"),
        ({"url": "nonsense"}, "not an address"),
        ({"events": []}, "at least one"),
    ],
)
def test_a_refusal_names_what_is_wrong_and_keeps_what_was_typed(hook, given, word):
    admin = Admin()
    answer, made = admin.make(hook.url, **given)
    assert answer.status_code == 422 and word in text(answer) and made is None
    assert given.get("url", hook.url) in answer.content.decode()


def test_edited_paused_resumed_deleted(hook):
    admin = Admin()
    _, made = admin.make(hook.url)
    assert (
        admin.post("webhook-edit", made.pk, url=hook.url, events=["sale.recorded"], description="x").status_code == 302
    )
    made.refresh_from_db()
    assert made.events == ["sale.recorded"]
    admin.post("webhook-act", made.pk, "pause")
    assert "Paused" in text(admin.get("webhook", made.pk))
    admin.post("webhook-act", made.pk, "test")
    assert not WebhookDelivery.unscoped.exists()
    admin.post("webhook-act", made.pk, "resume")
    made.refresh_from_db()
    assert made.state == "on"
    assert admin.post("webhook-act", made.pk, "no-such-verb").status_code == 404
    admin.post("webhook-act", made.pk, "delete")
    assert not WebhookEndpoint.unscoped.exists()
    acts = set(AuditLine.unscoped.values_list("act", flat=True))
    assert {"webhook.created", "webhook.changed", "webhook.paused", "webhook.resumed", "webhook.deleted"} <= acts


@pytest.mark.parametrize("role", Role.values)
def test_owners_and_operators_only(hook, role):
    owner = Admin()
    _, made = owner.make(hook.url)
    owner.post("webhook-act", made.pk, "test")
    row = WebhookDelivery.unscoped.get()
    admin = Admin(role, owner.account)
    may = role in (Role.OWNER, Role.OPERATOR)
    pages = [("webhooks", ()), ("webhook-new", ()), ("webhook-delivery", (row.pk,))]
    pages += [("webhook", (made.pk,)), ("webhook-edit", (made.pk,))]
    for name, args in pages:
        assert admin.get(name, *args).status_code == (200 if may else 403), name
    if not may:
        assert admin.post("webhook-act", made.pk, "pause").status_code == 403
        assert admin.post("webhook-again", row.pk).status_code == 403
        assert b"/settings/webhooks/" not in admin.client.get(reverse("admin:loyalty_persona_changelist")).content


def test_another_accounts_webhook_is_not_there(hook):
    theirs = Admin()
    _, made = theirs.make(hook.url)
    theirs.post("webhook-act", made.pk, "test")
    row = WebhookDelivery.unscoped.get()
    ours = Admin()
    for name, args in (("webhook", (made.pk,)), ("webhook-edit", (made.pk,)), ("webhook-delivery", (row.pk,))):
        assert ours.get(name, *args).status_code == 404
    for verb in ("pause", "delete", "test", "secret", "again"):
        assert ours.post("webhook-act", made.pk, verb, since="24").status_code == 404
    ours.post("webhook-again", row.pk)
    assert WebhookDelivery.unscoped.count() == 1 and WebhookEndpoint.unscoped.get().state == "on"
