"""The card's section on what is written to the POS: figures, reasons, retry and give up; who may, and whose."""

from datetime import timedelta
from html import unescape

import pytest
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from aiqsync.accounts.models import AuditLine
from aiqsync.accounts.roles import Role
from integrations.models import Connection, Credential, Origin, OutboundWrite
from tests.factories import make_account, make_persona, make_user

pytestmark = pytest.mark.django_db
CARD = "/admin/integrations/cova/"
NOW = timezone.now()


class Card:
    def __init__(self, name: str, **settings) -> None:
        self.account = make_account(name)
        self.origin = Origin.unscoped.create(account=self.account, platform="cova", identity="501200", title="Cova")
        self.link = Connection.unscoped.create(
            account=self.account, card="cova", settings={"sync_personas": True} | settings,
            since={"sync_personas": "2026-11-01T20:00:00+00:00"},
        )  # fmt: skip
        self.credential = Credential.unscoped.create(
            account=self.account, connection=self.link, origin=self.origin, state="connected", connected_at=NOW
        )
        self.made = 0

    def write(self, state: str, message: str = "", **fields) -> OutboundWrite:
        self.made += 1
        persona = make_persona(self.account, first_name="Ada", last_name=f"Moss {self.made}")
        return OutboundWrite.unscoped.create(
            account=self.account, origin=self.origin, writer="customer", key=f"customer:{persona.contact_id}",
            subject=str(persona.contact_id), state=state, message=message, **fields,
        )  # fmt: skip

    def client(self, role: str = Role.OWNER) -> Client:
        client = Client()
        client.force_login(make_user(self.account, role))
        return client


def section(client: Client) -> str:
    page = unescape(client.get(CARD).content.decode())
    return page.partition('id="writes"')[2].partition("</section>")[0]


@pytest.fixture
def card():
    return Card("Alpha Co")


def test_a_card_that_writes_nothing_has_no_section():
    card = Card("Alpha Co", sync_personas=False)
    assert section(card.client()) == ""
    card.write("sent", ended_at=NOW)
    assert "“Sync Personas” is off" in section(card.client())


def test_figures_reasons_and_the_last(card):
    for n in range(3):
        card.write("sent", ended_at=NOW - timedelta(minutes=n))
    card.write("found", ended_at=NOW)
    card.write("waiting", "They have no phone number and no e-mail yet.")
    card.write("waiting", "They have no phone number and no e-mail yet.")
    card.write("not_needed", "They were archived.", ended_at=NOW)
    failed = card.write("failed", "Cova does not take this shopper: The pricing group does not exist")
    told = section(card.client())
    for words in ("Created</dt><dd class=\"iq-num\">3<", "Were there already</dt><dd class=\"iq-num\">1<",
                  "Waiting</dt><dd class=\"iq-num\">2<", "2 wait<", failed.message, "since 1 Nov 2026",
                  "Last created: ", "Moss 1<", "1 failed"):  # fmt: skip
        assert words in told, words
    assert "Retry all" not in told  # of one there is no all


def test_why_all_of_them_wait_is_said_once(card):
    card.write("waiting", "An older reason.")
    Connection.unscoped.update(frozen_at=NOW)
    told = section(card.client())
    assert "is frozen" in told and "An older reason" not in told


@pytest.mark.parametrize("verb, state", [("retry", "waiting"), ("give-up", "given_up")])
def test_one_and_all(card, verb, state):
    writes = [card.write("failed", "No.", attempts=12, payload={"phone": "x"}) for _ in range(3)]
    waiting, client = card.write("waiting", attempts=3), card.client()
    assert "Retry all" in section(client) and "Give up all" in section(client)
    url = reverse("admin:card-writes", args=["cova", verb])
    for _ in range(2):  # sent twice, done once
        client.post(url, {"write": writes[0].pk})
    states = dict(OutboundWrite.unscoped.values_list("pk", "state"))
    assert [states[w.pk] for w in writes] == [state, "failed", "failed"]
    client.post(url)
    states = dict(OutboundWrite.unscoped.values_list("pk", "state"))
    assert [states[w.pk] for w in writes] == [state] * 3 and states[waiting.pk] == "waiting"
    if verb == "give-up":
        assert not OutboundWrite.unscoped.filter(state=state).exclude(payload={}).exists()
    lines = AuditLine.unscoped.filter(act=f"integration.writes_{verb.replace('-', '_')}").order_by("pk")
    assert [line.detail for line in lines] == [{"count": 1, "all": False}, {"count": 2, "all": True}]


@pytest.mark.parametrize("given", ["x", "-1", "9" * 30, "²"])
def test_nonsense_is_not_found(card, given):
    card.write("failed")
    url = reverse("admin:card-writes", args=["cova", "retry"])
    assert card.client().post(url, {"write": given}).status_code == 404
    assert card.client().post(reverse("admin:card-writes", args=["cova", "delete"])).status_code == 404
    assert card.client().get(url).headers["Location"] == CARD  # opened as a page


@pytest.mark.parametrize("role", Role)
def test_who_may(card, role):
    write, client = card.write("failed", "No."), card.client(role)
    may = role in (Role.OWNER, Role.OPERATOR)
    if client.get(CARD).status_code == 200:
        assert ("Give up" in section(client)) is may
    answer = client.post(reverse("admin:card-writes", args=["cova", "give-up"]), {"write": write.pk})
    assert answer.status_code == (302 if may else 403)
    assert OutboundWrite.unscoped.get(pk=write.pk).state == ("given_up" if may else "failed")


def test_another_accounts_writes_are_not_seen_and_not_touched(card):
    other = Card("Beta Co")
    mine, theirs = card.write("failed", "Mine."), other.write("failed", "Theirs.")
    client = card.client()
    assert "Mine." in section(client) and "Theirs." not in section(client)
    for verb in ("retry", "give-up"):
        client.post(reverse("admin:card-writes", args=["cova", verb]), {"write": theirs.pk})
    client.post(reverse("admin:card-writes", args=["cova", "give-up"]))
    assert OutboundWrite.unscoped.get(pk=theirs.pk).state == "failed"
    assert OutboundWrite.unscoped.get(pk=mine.pk).state == "given_up"
