"""The Why? box's buttons: what each does, twice is once, who may, and nothing of another account."""

from datetime import date, timedelta

import pytest
from django.urls import reverse
from django.utils import timezone

from aiqsync import tasks
from aiqsync.accounts.models import AuditLine
from aiqsync.accounts.roles import Role
from aiqsync.accounts.tenancy import acting_in
from integrations.models import Connection, Credential, CredentialState, Customer, RunStatus, StreamState, SyncRun
from loyalty import earning, ledger
from loyalty.models import Attachment, Enrolment, Entry, Persona, Programme, Source
from tests.factories import make_account, make_persona, make_user
from tests.records import land_sales, make_origin, sale, the_sale

pytestmark = pytest.mark.django_db
WHY = "/admin/why/"
NOW = timezone.now
PHONE = "+16045550142"


@pytest.fixture
def account():
    return make_account()


@pytest.fixture
def origin(account):
    return make_origin(account)


@pytest.fixture
def owner(account, client):
    account.owner = make_user(account)
    client.force_login(account.owner)
    return client


def ask(client, term, **sent):
    """The page for the term; with `sent` its button is pressed first."""
    if sent:
        return client.post(WHY, {"q": term} | sent, follow=True).content.decode()
    return client.get(WHY, {"q": term}).content.decode()


def balance(account, persona):
    return ledger.spendable_points(account.pk, persona.pk, NOW())


def shopper(account, origin, *, member=True, **fields) -> Persona:
    with acting_in(account.pk):
        persona = make_persona(account, member=member, phone=PHONE, **fields)
        customer = Customer.objects.create(origin=origin, external_id="c", first_name="Ada")
        Source.objects.create(persona=persona, customer=customer, matched_by="phone")
    return persona


def sold(account, origin, external_id="s", days_ago=3, **fields):
    with acting_in(account.pk):
        at = NOW() - timedelta(days=days_ago)
        landed = land_sales(origin, sale(external_id, sold_at=at, **fields))
        earning.settle_sales(account_id=account.pk, sale_ids=landed.touched, now=NOW())
    return the_sale(origin, external_id)


def audit_lines(account, act) -> int:
    with acting_in(account.pk):
        return AuditLine.objects.filter(act=act).count()


class TestEnrol:
    def test_it_says_what_waits_and_one_click_credits_it(self, owner, account, origin):
        ada = shopper(account, origin, member=False)
        sold(account, origin, customer_id="c")
        html = ask(owner, PHONE)
        assert 'data-branch="not_a_member"' in html and "1 purchase worth about 100 points" in html
        assert 'value="enrol"' in html and "Earns from" in html
        day = {"act": "enrol", "contact": ada.contact_id, "from_date": (NOW() - timedelta(days=5)).date().isoformat()}
        html = ask(owner, PHONE, **day)
        assert 'data-branch="credited"' in html and balance(account, ada) == 100
        ask(owner, PHONE, **day)  # a double click
        assert balance(account, ada) == 100 and audit_lines(account, "persona.enrolled") == 1
        with acting_in(account.pk):
            assert Enrolment.objects.get().user == account.owner

    @pytest.mark.parametrize("day", ["", "2026-02-30", "soon"])
    def test_a_day_that_is_none_is_said(self, owner, account, origin, day):
        ada = shopper(account, origin, member=False)
        html = ask(owner, PHONE, act="enrol", contact=ada.contact_id, from_date=day)
        assert "Choose a day" in html and 'data-branch="not_a_member"' in html


class TestAttach:
    def test_fault_1_5_a_receipt_without_a_customer_is_attached_once(self, owner, account, origin):
        ada = shopper(account, origin)
        receipt = sold(account, origin, number="IN-7", receipt="R-7")
        sold(account, origin, "t", customer_id="c", number="IN-8")
        for search in ({}, {"q": "R-7"}, {"q": "in-7"}):
            listed = owner.get("/admin/integrations/sale/", {"receipt": "nobody"} | search).content.decode()
            assert "IN-7" in listed and "IN-8" not in listed
        html = ask(owner, "R-7")
        assert 'data-branch="anonymous"' in html and "Attach this receipt once" in html
        sent = {"act": "attach", "sale": receipt.pk, "who": "604 555 0142", "note": "Showed the receipt"}
        html = ask(owner, "R-7", **sent)
        assert 'data-branch="credited"' in html and balance(account, ada) == 200  # 100 of them were there before
        for _ in range(2):  # clicked again, and for somebody else
            html = ask(owner, "R-7", **sent)
            assert "attached once, for ever" in html
        with acting_in(account.pk):
            other = make_persona(account, phone="+16045550177", first_name="Bea")
        ask(owner, "R-7", **sent | {"who": "+16045550177"})
        assert (balance(account, ada), balance(account, other)) == (200, 0)
        with acting_in(account.pk):
            given = Attachment.objects.get()
            assert (given.persona, given.user, given.note) == (ada, account.owner, "Showed the receipt")
        assert audit_lines(account, "receipt.attached") == 1
        for asked, there in (("nobody", False), ("attached", True)):
            html = owner.get("/admin/integrations/sale/", {"receipt": asked}).content.decode()
            assert ("IN-7" in html) is there

    @pytest.mark.parametrize(
        ("who", "note", "said"),
        [("", "x", "Whose is it?"), (PHONE, " ", "Say why"), ("604 555 0100", "x", "Nobody is known by")],
    )
    def test_what_is_missing_is_said_and_nothing_done(self, owner, account, origin, who, note, said):
        shopper(account, origin)
        receipt = sold(account, origin)
        html = ask(owner, "IN-s", act="attach", sale=receipt.pk, who=who, note=note)
        assert said in html and "Nothing was attached" in html.replace("Whose is it?", "Nothing was attached")
        with acting_in(account.pk):
            assert not Attachment.objects.exists()

    def test_two_of_a_name_are_not_guessed_between(self, owner, account, origin):
        for n in (1, 2):
            make_persona(account, first_name="Zoe", phone=f"+1604555017{n}")
        receipt = sold(account, origin)
        html = ask(owner, "IN-s", act="attach", sale=receipt.pk, who="Zoe", note="x")
        assert "More than one persona is known by Zoe" in html

    def test_a_sale_with_a_customer_is_not_given_away(self, owner, account, origin):
        shopper(account, origin)
        bea = make_persona(account, phone="+16045550177")
        receipt = sold(account, origin, customer_id="c")
        html = ask(owner, "IN-s", act="attach", sale=receipt.pk, who="6045550177", note="x")
        assert "it is not anonymous" in html and balance(account, bea) == 0

    def test_a_customer_who_comes_late_takes_it_over(self, account, origin):
        """The POS names the owner after all: the sale moves, and counts once."""
        from loyalty import receipts

        ada, bea = shopper(account, origin), make_persona(account, phone="+16045550177", first_name="Bea")
        receipt = sold(account, origin)
        with acting_in(account.pk):
            receipts.attach(
                account_id=account.pk, sale_id=receipt.pk, persona_id=bea.pk, user=None, note="x", now=NOW()
            )
        assert balance(account, bea) == 100
        sold(account, origin, customer_id="c")
        assert (balance(account, ada), balance(account, bea)) == (100, 0)


class TestRecompute:
    def test_fault_1_2_one_persona_at_once_and_not_at_night(self, owner, account, origin):
        ada = shopper(account, origin)
        sold(account, origin, customer_id="c")
        with acting_in(account.pk):
            Programme.objects.update(points_per_100=150)
        html = ask(owner, PHONE)
        assert 'data-branch="differs"' in html and "+50 points" in html
        sent = {"act": "recompute", "contact": ada.contact_id}
        assert "1 correction posted" in ask(owner, PHONE, **sent)
        assert "Nothing differs" in ask(owner, PHONE, **sent)
        assert balance(account, ada) == 150 and audit_lines(account, "persona.recomputed") == 1
        with acting_in(account.pk):
            assert Entry.objects.count() == 2


def test_unarchive(owner, account, origin):
    ada = shopper(account, origin)
    Persona.unscoped.filter(pk=ada.pk).update(archived_at=NOW())
    html = ask(owner, PHONE)
    assert 'data-branch="archived"' in html
    for _ in range(2):
        html = ask(owner, PHONE, act="unarchive", contact=ada.contact_id)
    assert 'data-branch="credited"' in html and audit_lines(account, "persona.unarchived") == 1


def test_read_the_pos_now(owner, account, origin, monkeypatch):
    monkeypatch.setattr(tasks, "enqueue", lambda run_id: None)
    assert "no point of sale is connected" in ask(owner, "IN-404", act="sync")
    with acting_in(account.pk):
        connection = Connection.objects.create(card="cova")
        credential = Credential.objects.create(connection=connection, origin=origin, state=CredentialState.CONNECTED)
        for stream in ("locations", "customers", "sales"):
            StreamState.objects.create(credential=credential, stream=stream, read_until=NOW())
    html = ask(owner, "IN-404")
    assert 'data-branch="not_read"' in html and "Sales are read up to" in html and "Read the POS now" in html
    for _ in range(2):
        html = ask(owner, "IN-404", act="sync")
    assert "is being read now" in html
    Credential.unscoped.filter(pk=credential.pk).update(state=CredentialState.PAUSED)
    assert "no point of sale is connected" in ask(owner, "IN-404", act="sync")
    with acting_in(account.pk):
        runs = SyncRun.objects.filter(status=RunStatus.QUEUED).values_list("stream__stream", flat=True)
        assert sorted(runs) == ["customers", "locations"]  # one live run each; sales wait for their customers


ACTS = {"enrol": "from_date", "recompute": "", "unarchive": "", "attach": "who", "sync": ""}


@pytest.mark.parametrize("act", ACTS)
@pytest.mark.parametrize("role", list(Role))
def test_who_may(client, account, origin, act, role):
    ada = shopper(account, origin, member=act != "enrol")
    receipt = sold(account, origin)
    client.force_login(make_user(account, role))
    may = {
        "enrol": {Role.OWNER, Role.OPERATOR, Role.MANAGER},
        "recompute": {Role.OWNER, Role.OPERATOR, Role.MANAGER},
        "unarchive": {Role.OWNER, Role.OPERATOR, Role.MANAGER},
        "attach": {Role.OWNER, Role.OPERATOR, Role.MANAGER},
        "sync": {Role.OWNER, Role.OPERATOR},
    }[act]
    sent = {
        "q": PHONE, "act": act, "contact": ada.contact_id, "sale": receipt.pk, "who": PHONE, "note": "x",
        "from_date": date.today().isoformat(),
    }  # fmt: skip
    assert client.post(WHY, sent).status_code == (302 if role in may else 403)
    # Everybody may ask; who may not do what helps is told who may.
    html = ask(client, "IN-s")
    branch = "credited" if act == "attach" and role in may else "anonymous"
    assert f'data-branch="{branch}"' in html
    if branch == "anonymous":
        assert ("Attach this receipt once" in html) == (role in {Role.OWNER, Role.OPERATOR, Role.MANAGER})
        assert ("Your role may not; ask an owner or a manager." in html) == (role not in ACTS_OF_MANAGERS)


ACTS_OF_MANAGERS = {Role.OWNER, Role.OPERATOR, Role.MANAGER}


@pytest.mark.parametrize("act", [*ACTS, "", "burn"])
def test_odd_requests_do_nothing(owner, account, act):
    answer = owner.post(WHY, {"q": "x", "act": act, "contact": "no", "sale": "9" * 40, "who": "\x00"})
    assert answer.status_code in (302, 404)
    with acting_in(account.pk):
        assert not Enrolment.objects.exists() and not Attachment.objects.exists()


def test_nothing_of_another_account(client, account, origin):
    ada = shopper(account, origin)
    receipt = sold(account, origin)
    other = make_account("Other")
    client.force_login(make_user(other))
    for term in ("IN-s", PHONE, str(ada.contact_id)):
        html = ask(client, term)
        assert 'data-branch="unknown"' in html or 'data-branch="not_read"' in html
        assert (
            str(ada.contact_id) not in html.replace(term, "")
            and reverse("admin:persona", args=[ada.contact_id]) not in html
        )
    with acting_in(other.pk):
        make_persona(other, phone=PHONE)
    for sent in (
        {"act": "enrol", "contact": ada.contact_id, "from_date": "2026-01-01"},
        {"act": "recompute", "contact": ada.contact_id},
        {"act": "unarchive", "contact": ada.contact_id},
        {"act": "attach", "sale": receipt.pk, "who": PHONE, "note": "x"},
    ):
        assert client.post(WHY, {"q": "x"} | sent).status_code == 404
    assert client.get(reverse("admin:receipt-attach", args=[receipt.pk])).status_code == 404
    with acting_in(account.pk):
        assert not Attachment.objects.exists()
