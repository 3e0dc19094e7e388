"""Coming in: the door, the lock, the link to a first password, several companies, members and keys."""

import re
from datetime import date, time
from zoneinfo import ZoneInfo

import pytest
from django.contrib.auth.tokens import default_token_generator
from django.core.management import call_command
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from django.utils.encoding import force_bytes
from django.utils.http import urlsafe_base64_encode

from aiqsync.accounts.models import ApiKey, AuditLine, Membership, User
from aiqsync.accounts.roles import Role
from aiqsync.accounts.tenancy import acting_in
from loyalty.models import UnmatchedCall
from tests.factories import make_account, make_store, make_user

pytestmark = pytest.mark.django_db
DOOR = "/admin/login/"
MEMBERS = "/admin/accounts/membership/"
KEYS = "/admin/accounts/apikey/"


@pytest.fixture
def account():
    return make_account()


@pytest.fixture
def owner(account, client):
    account.owner = make_user(account, email="owner@harbour.test", name="Mara")
    client.force_login(account.owner)
    return client


def knock(client, email="owner@harbour.test", password="correct horse"):
    return client.post(DOOR, {"username": email, "password": password, "next": "/admin/"})


def member_of(account, email):
    with acting_in(account.pk):
        return Membership.objects.select_related("user").get(user__email=email)


class TestDoor:
    @pytest.mark.parametrize("email", ["owner@harbour.test", "Owner@Harbour.TEST", " owner@harbour.test "])
    def test_by_e_mail_in_any_letter_case(self, account, client, email):
        make_user(account, email="owner@harbour.test")
        assert knock(client, email).url == "/admin/"

    def test_it_says_who_we_are_and_what_was_wrong(self, account, client):
        make_user(account, email="owner@harbour.test")
        assert "aiqsync" in client.get(DOOR).content.decode()
        for email, password in (("owner@harbour.test", "wrong"), ("nobody@harbour.test", "correct horse")):
            assert "do not belong together" in knock(client, email, password).content.decode()

    def test_somebody_of_no_company_is_told_so(self, client):
        make_user(email="lost@harbour.test")
        assert "belongs to no company" in knock(client, "lost@harbour.test").content.decode()

    def test_out(self, owner):
        assert "You are logged out" in owner.post("/admin/logout/").content.decode()
        assert owner.get("/admin/").status_code == 302

    def test_the_door_leads_nowhere_else(self, account, client):
        make_user(account, email="owner@harbour.test")
        answer = client.post(
            DOOR, {"username": "owner@harbour.test", "password": "correct horse", "next": "https://evil.test/"}
        )
        assert answer.url == "/admin/"

    def test_ten_wrong_passwords_close_it(self, account, client, settings):
        settings.AXES_ENABLED = True
        make_user(account, email="owner@harbour.test")
        for _ in range(settings.AXES_FAILURE_LIMIT):
            answer = knock(client, password="wrong")
        assert answer.status_code == 429 and "Too many tries" in answer.content.decode()
        assert "Too many tries" in knock(client).content.decode(), "the right password opened a closed door"
        make_user(account, email="other@harbour.test")
        assert knock(client, "other@harbour.test").status_code == 302

    def test_password_change(self, owner, account):
        assert owner.get("/admin/password_change/").status_code == 200
        new = {"old_password": "correct horse", "new_password1": "staple battery", "new_password2": "staple battery"}
        owner.post("/admin/password_change/", new)
        account.owner.refresh_from_db()
        assert account.owner.check_password("staple battery")


class TestFirstPassword:
    def link(self, user):
        uid = urlsafe_base64_encode(force_bytes(user.pk))
        return reverse("password-set", args=[uid, default_token_generator.make_token(user)])

    def test_once(self, account, client):
        user = make_user(account, password=None, email="new@harbour.test")
        link = self.link(user)
        form = client.get(link, follow=True)
        assert "Choose your password" in form.content.decode()
        done = client.post(
            form.redirect_chain[-1][0],
            {"new_password1": "correct horse", "new_password2": "correct horse"},
            follow=True,
        )
        assert "Your password is set" in done.content.decode()
        assert knock(client, "new@harbour.test").status_code == 302
        assert "used up" in Client().get(link, follow=True).content.decode()

    def test_a_weak_one_is_refused(self, account, client):
        form = client.get(self.link(make_user(account, password=None)), follow=True)
        url = form.redirect_chain[-1][0]
        assert "at least 10" in client.post(url, {"new_password1": "short", "new_password2": "short"}).content.decode()

    def test_the_commands_link_works(self, client, capsys):
        call_command("account", "create", "--name", "New Co", "--owner-email", "first@new.test")
        link = re.search(r"log-in: http://[^/]+(\S+)", capsys.readouterr().out)[1]
        assert "Choose your password" in client.get(link, follow=True).content.decode()


class TestSeveralCompanies:
    @pytest.fixture
    def other(self, owner, account):
        other = make_account("Other Co")
        make_store(other, "Other store")
        Membership.unscoped.create(account=other, user=account.owner, role=Role.ANALYST)
        return other

    def test_switching(self, owner, account, other):
        assert "Other Co" in owner.get("/admin/").content.decode()
        assert "Other store" not in owner.get("/admin/stores/store/").content.decode()
        owner.post(reverse("admin:account-enter", args=[other.uid]))
        assert "Other store" in owner.get("/admin/stores/store/").content.decode()
        assert owner.get(MEMBERS).status_code == 403  # an analyst there
        with acting_in(other.pk):
            assert AuditLine.objects.get(act="account.switched").user == account.owner

    def test_only_by_post(self, owner, other):
        answer = owner.get(reverse("admin:account-enter", args=[other.uid]), follow=True)
        assert "Nothing was done" in answer.content.decode()
        assert "Other store" not in owner.get("/admin/stores/store/").content.decode()

    def test_a_place_taken_away_is_gone_at_once(self, owner, account, other):
        owner.post(reverse("admin:account-enter", args=[other.uid]))
        Membership.unscoped.filter(account=other, user=account.owner).delete()
        assert "Other store" not in owner.get("/admin/stores/store/").content.decode()


class TestMembers:
    def test_adding_somebody_new_gives_a_link(self, owner, account):
        new = {"email": "Bo@Harbour.test", "name": "Bo", "role": "staff"}
        html = owner.post(MEMBERS + "add/", new).content.decode()
        link = re.search(r"http://testserver(/password/[^<\"]+)", html)[1]
        assert "Choose your password" in Client().get(link, follow=True).content.decode()
        assert member_of(account, "bo@harbour.test").role == Role.STAFF

    def test_somebody_elses_person_is_not_added(self, owner, account):
        """Otherwise whoever made a log-in first would hold the password to every company that adds it later."""
        theirs = make_user(make_account("Other Co"), email="boss@other.test", password=None)
        html = owner.post(MEMBERS + "add/", {"email": "boss@other.test", "name": "x", "role": "owner"}).content.decode()
        assert "has a log-in with another company" in html
        assert list(Membership.unscoped.filter(user=theirs).values_list("account__name", flat=True)) == ["Other Co"]

    def test_the_link_is_dead_once_another_company_has_the_person(self, owner, account):
        html = owner.post(
            MEMBERS + "add/", {"email": "bo@harbour.test", "name": "Bo", "role": "staff"}
        ).content.decode()
        link = re.search(r"http://testserver(/password/[^<\"]+)", html)[1]
        bo = User.objects.get(email="bo@harbour.test")
        Membership.unscoped.create(account=make_account("Other Co"), user=bo, role=Role.OWNER)
        client = Client()
        form = client.get(link, follow=True).redirect_chain[-1][0]
        answer = client.post(form, {"new_password1": "correct horse battery", "new_password2": "correct horse battery"})
        assert "belongs to several companies" in answer.content.decode()
        bo.refresh_from_db()
        assert not bo.has_usable_password()

    def test_twice_is_refused(self, owner):
        html = owner.post(MEMBERS + "add/", {"email": "owner@harbour.test", "role": "staff"}).content.decode()
        assert "a member already" in html

    def test_the_last_owner_stays(self, owner, account):
        me = member_of(account, "owner@harbour.test")
        html = owner.post(f"{MEMBERS}{me.pk}/change/", {"role": "staff"}).content.decode()
        assert "last owner" in html
        html = owner.post(f"{MEMBERS}{me.pk}/delete/", {"post": "yes"}, follow=True).content.decode()
        assert "last owner cannot be removed" in html
        assert member_of(account, "owner@harbour.test").role == Role.OWNER

    def test_with_a_second_owner_the_first_may_go(self, owner, account):
        second = member_of(account, make_user(account, Role.MANAGER).email)
        owner.post(f"{MEMBERS}{second.pk}/change/", {"role": "owner"})
        me = member_of(account, "owner@harbour.test")
        owner.post(f"{MEMBERS}{me.pk}/delete/", {"post": "yes"})
        with acting_in(account.pk):
            assert [m.pk for m in Membership.objects.all()] == [second.pk]
            assert {"member.role", "member.removed"} <= set(AuditLine.objects.values_list("act", flat=True))
        assert User.objects.filter(email="owner@harbour.test").exists()

    @pytest.mark.parametrize("role", [r for r in Role if r != Role.OWNER])
    def test_only_owners(self, account, client, role):
        client.force_login(make_user(account, role))
        assert client.get(MEMBERS).status_code == client.get(MEMBERS + "add/").status_code == 403


class TestKeys:
    def test_shown_once_and_never_again(self, owner, account):
        answer = owner.post(KEYS + "add/", {"name": "Web shop", "scope": "pos"})
        key = re.search(r"aq_[\w-]{30,}", answer.content.decode())[0]
        assert "no-store" in answer.headers["Cache-Control"]
        with acting_in(account.pk):
            made = ApiKey.objects.get()
            assert made.hash == ApiKey.digest(key)
        for url in (KEYS, f"{KEYS}{made.pk}/change/", "/admin/accounts/auditline/"):
            html = owner.get(url).content.decode()
            assert key not in html and made.hash not in html
        assert account.uid in owner.get(KEYS).content.decode()
        assert key not in str(dict(owner.session))

    def test_revoked_at_once(self, owner, account):
        owner.post(KEYS + "add/", {"name": "Web shop", "scope": "pos"})
        with acting_in(account.pk):
            made = ApiKey.objects.get()
            owner.get(f"{KEYS}{made.pk}/revoke/")
            made.refresh_from_db()
            assert made.revoked_at is None
            owner.post(f"{KEYS}{made.pk}/revoke/")
        with acting_in(account.pk):
            assert ApiKey.objects.get().revoked_at is not None
            assert AuditLine.objects.filter(act="key.revoked").count() == 1

    def test_replaced_with_an_overlap(self, owner, account):
        owner.post(KEYS + "add/", {"name": "Web shop", "scope": "pos", "addresses": "203.0.113.7"})
        with acting_in(account.pk):
            old = ApiKey.objects.get()
        page = f"{KEYS}{old.pk}/change/"
        assert "Replace this key" in owner.get(page).content.decode()
        for odd in ("", "3", "²", "-1"):
            owner.post(f"{KEYS}{old.pk}/replace/", {"hours": odd})
        owner.get(f"{KEYS}{old.pk}/replace/", {"hours": "24"})
        with acting_in(account.pk):
            assert ApiKey.objects.count() == 1
        answer = owner.post(f"{KEYS}{old.pk}/replace/", {"hours": "24"})
        text = re.search(r"aq_[\w-]{30,}", answer.content.decode())[0]
        assert "no-store" in answer.headers["Cache-Control"] and "It replaces" in answer.content.decode()
        with acting_in(account.pk):
            made = ApiKey.objects.get(hash=ApiKey.digest(text))
            assert made.replaces_id == old.pk and made.addresses == ["203.0.113.7"]
            assert AuditLine.objects.filter(act="key.replaced").count() == 1
        html = owner.get(page).content.decode()
        assert "Replaced by" in html and "Replace this key" not in html and "Revoke this key" in html
        assert "until" in owner.get(KEYS).content.decode()
        again = owner.post(f"{KEYS}{old.pk}/replace/", {"hours": "24"}, follow=True).content.decode()
        assert "has been replaced already" in again

    def test_addresses_and_name_are_changed_later_and_rights_never(self, owner, account):
        owner.post(KEYS + "add/", {"name": "Web shop", "scope": "read"})
        with acting_in(account.pk):
            key = ApiKey.objects.get()
            page = f"{KEYS}{key.pk}/change/"
            wrong = owner.post(page, {"name": "Web shop", "addresses": "shop.example"}).content.decode()
            assert "is no address" in wrong
            owner.post(page, {"name": "Shop", "addresses": "203.0.113.7\n10.0.0.0/8", "scope": "admin"})
            key.refresh_from_db()
            assert (key.name, key.addresses, key.scope) == ("Shop", ["203.0.113.7", "10.0.0.0/8"], "read")

    def test_a_key_that_has_ended_says_so(self, owner, account):
        for odd, said in (("2020-01-01", "has passed"), ("9999-12-31", "Leave it empty"), ("x", "valid date")):
            ended = owner.post(KEYS + "add/", {"name": "x", "scope": "pos", "last_day": odd})
            assert said in ended.content.decode()
        owner.post(KEYS + "add/", {"name": "x", "scope": "pos", "last_day": "2099-01-01"})
        with acting_in(account.pk):
            key = ApiKey.objects.get()
            ends = key.expires_at.astimezone(ZoneInfo(account.timezone))
            assert (ends.date(), ends.time()) == (date(2099, 1, 2), time.min)
            ApiKey.objects.update(expires_at=key.created_at)
        html = owner.get(f"{KEYS}{key.pk}/change/").content.decode()
        assert ">Ended<" in html and "Replace this key" not in html

    def test_the_accounts_limit(self, owner, account, client):
        for odd in ("0", "-1", "1000001", "²", "x", "9" * 30):
            assert "a whole number" in owner.post(KEYS + "limit/", {"per_minute": odd}, follow=True).content.decode()
        account.refresh_from_db()
        assert account.api_per_minute is None
        owner.post(KEYS + "limit/", {"per_minute": "1200"})
        account.refresh_from_db()
        assert account.api_per_minute == 1200 and 'value="1200"' in owner.get(KEYS).content.decode()
        owner.post(KEYS + "limit/", {"per_minute": ""})
        account.refresh_from_db()
        assert account.api_per_minute is None
        client.force_login(make_user(account, Role.OPERATOR))
        assert client.post(KEYS + "limit/", {"per_minute": "5"}).status_code == 403
        assert "admin/accounts/apikey/limit" not in client.get(KEYS).content.decode()

    def test_calls_that_matched_nothing(self, owner, account, client):
        owner.post(KEYS + "add/", {"name": "Till", "scope": "pos"})
        with acting_in(account.pk):
            key = ApiKey.objects.get()
            for n in range(3):
                UnmatchedCall.objects.create(key=key, at=timezone.now(), method="POST", path=f"/api/v2/queue/{n}",
                                             status=404, reason="Not Found", body='{"=cmd":1}')  # fmt: skip
        page = reverse("admin:loyalty_unmatchedcall_changelist")
        assert ">3 in the last day<" in owner.get(KEYS).content.decode()
        assert "POST /api/v2/queue/2" in owner.get(page).content.decode()
        sheet = b"".join(owner.get(page + "download/").streaming_content).decode()
        assert sheet.count("\n") == 4 and "/api/v2/queue/0" in sheet
        client.force_login(make_user(account, Role.STAFF))
        assert client.get(page).status_code == client.get(page + "download/").status_code == 403

    def test_an_operator_sees_but_does_not_make(self, account, client):
        client.force_login(make_user(account, Role.OPERATOR))
        assert client.get(KEYS).status_code == 200
        assert client.post(KEYS + "add/", {"name": "x", "scope": "pos"}).status_code == 403
