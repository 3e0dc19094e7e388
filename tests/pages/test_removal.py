"""When a shopper asks: a copy of everything, and to be removed. The pages, who may, and what is answered afterwards."""

import csv
import io
import json
import re

import pytest
from django.urls import reverse

from aiqsync.accounts.models import AuditLine
from aiqsync.accounts.roles import Role
from aiqsync.accounts.tenancy import acting_in
from loyalty import access, exports, profile
from loyalty.models import Attribute, CheckIn, ContactAlias, Entry, Override, Persona, SourceHint
from tests.factories import make_key, make_persona, make_store, make_user
from tests.loyalty.removed import EMAIL, NOON, PHONE, Somebody, everywhere

pytestmark = pytest.mark.django_db
LIST = "/admin/loyalty/persona/"


@pytest.fixture
def shop(client):
    made = Somebody()
    made.everything()
    client.force_login(made.owner)
    return made


def page(persona, verb=""):
    return reverse("admin:persona", args=[persona.contact_id]) + verb


def words(answer) -> str:
    """The page as a person reads it."""
    text = re.sub(r"<(script|style).*?</\1>", " ", answer.content.decode(), flags=re.S)
    return " ".join(re.sub(r"<[^>]+>", " ", text).split())


def points_of(client, shop) -> str:
    return re.search(r'name="points" value="([^"]+)"', client.get(page(shop.ada, "remove/")).content.decode())[1]


def remove(client, shop, **given):
    return client.post(
        page(shop.ada, "remove/"), {"typed": "Ada Moss", "points": points_of(client, shop)} | given, follow=True
    )


class TestRemoving:
    def test_the_dry_run_says_what_will_happen_in_figures(self, client, shop):
        before = everywhere(PHONE)
        said = words(client.get(page(shop.ada, "remove/")))
        for sentence in (
            "Remove Ada Moss?", "It cannot be undone", "560 points are forfeited", "1 other record that became part of",
            "1 customer record of Cova is emptied", "2 messages to this person are deleted",
            "1 redemption of 50 points waits for its sale: the discount stands",
            "4 lines of the ledger and 1 redemption", "The amounts of 2 sales", "STOP stays STOP",
            "remove the shopper there as well", "Type Ada Moss to confirm",
        ):  # fmt: skip
            assert sentence in said, sentence
        assert everywhere(PHONE) == before

    def test_with_the_name_typed_it_is_done(self, client, shop):
        answer = remove(client, shop, typed="  ada   MOSS ")
        said = words(answer)
        assert "Done: this person is removed. 560 points were forfeited." in said
        assert answer.redirect_chain[-1][0] == page(shop.ada) and everywhere(PHONE) == set()
        with acting_in(shop.account.pk):
            line = AuditLine.objects.get(act="persona.erased")
        assert line.user == shop.owner and line.target == str(shop.ada.contact_id)
        assert line.detail == {"contact_id": line.target, "points": "560.00", "records": 2, "customers": 1, "sales": 2,
                               "redemptions": 1}  # fmt: skip

    @pytest.mark.parametrize(("given", "said"), [
        ({"typed": "Eve Moss"}, "Type Ada Moss exactly"), ({"typed": ""}, "Type Ada Moss exactly"),
        ({"points": "1"}, "The points have changed"), ({"points": ""}, "The points have changed"),
    ])  # fmt: skip
    def test_else_nothing_is(self, client, shop, given, said):
        answer = remove(client, shop, **given)
        assert answer.status_code == 422 and said in words(answer)
        assert Persona.unscoped.get(pk=shop.ada.pk).erased_at is None

    def test_sent_twice_it_is_done_once_and_the_page_says_when(self, client, shop):
        sheet = {"typed": "Ada Moss", "points": points_of(client, shop)}
        for _ in range(2):
            answer = client.post(page(shop.ada, "remove/"), sheet, follow=True)
            assert "Removed on request on" in words(answer)
        assert Entry.unscoped.filter(key__startswith="erase:").count() == 1
        with acting_in(shop.account.pk):
            assert AuditLine.objects.filter(act="persona.erased").count() == 1

    def test_somebody_without_a_name(self, client, shop):
        with acting_in(shop.account.pk):
            nameless = make_persona(shop.account, first_name="", last_name="", phone="+16045550111")
        answer = client.get(page(nameless, "remove/"))
        assert "Type REMOVE to confirm" in words(answer) and "Remove (604) 555-0111?" in words(answer)
        client.post(page(nameless, "remove/"), {"typed": "remove", "points": "0.00"})
        assert Persona.unscoped.get(pk=nameless.pk).erased_at

    @pytest.mark.parametrize("role", [role for role in Role if role != Role.OWNER])
    def test_only_an_owner_may(self, client, shop, role):
        client.force_login(make_user(shop.account, role))
        assert client.get(page(shop.ada, "remove/")).status_code == 403
        assert client.post(page(shop.ada, "remove/"), {"typed": "Ada Moss", "points": "560.00"}).status_code == 403
        assert "Remove this person" not in client.get(page(shop.ada) + "?tab=profile").content.decode()
        assert Persona.unscoped.get(pk=shop.ada.pk).erased_at is None


class TestAfterwards:
    @pytest.fixture
    def removed(self, client, shop):
        remove(client, shop)
        return shop

    def test_both_addresses_say_when_and_no_name(self, client, removed):
        for persona in (removed.ada, Persona.unscoped.get(pk=removed.merge.loser_id)):
            answer = client.get(page(persona))
            said = words(answer)
            assert answer.status_code == 200 and "Removed on request on" in said
            assert "the points were forfeited" in said and "Ada" not in said and "(604)" not in said
            assert "was merged" not in said

    @pytest.mark.parametrize(
        "verb", ["adjust", "enrol", "pin", "archive", "investigate", "export", "recompute", "shared"]
    )
    def test_nothing_can_be_done_any_more(self, client, removed, verb):
        sheet = {"points": "5", "note": "x", "token": "8f14e45f-ceea-467f-a8f2-0c4c0a1d6d10", "from_date": "2026-01-02"}
        assert client.post(page(removed.ada, f"{verb}/"), sheet).status_code == 404
        assert client.get(page(removed.ada, "remove/")).url == page(removed.ada)

    def test_fault_5_4_a_search_says_what_became_of_somebody_who_is_not_listed(self, client, removed):
        """Merged into whom, archived when, removed on request: a search never finds just nothing."""
        with acting_in(removed.account.pk):
            ben = make_persona(removed.account, first_name="Ben", last_name="Hart", phone="+16045550155")
            make_persona(removed.account, first_name="Benny", last_name="Hart", phone="+16045550156", merged_into=ben)
            cleo = make_persona(removed.account, first_name="Cleo", last_name="Dunn", phone="+16045550157")
            profile.archive(account_id=removed.account.pk, persona_id=cleo.pk, now=NOON)
        merged = client.get(LIST, {"q": "604 555 0156"}).content.decode()
        assert "Benny Hart was merged into" in words(client.get(LIST, {"q": "604 555 0156"})) and page(ben) in merged
        assert "Cleo Dunn was archived on 2 Mar 2026" in words(client.get(LIST, {"q": "604 555 0157"}))
        for term in ("604 555 0142", "604 555 0177", EMAIL, "c-ada"):
            said = words(client.get(LIST, {"q": term}))
            assert "was removed on request: nothing is kept" in said, term
        assert "removed on request" in words(client.get(LIST, {"q": str(removed.ada.contact_id)}))
        assert "removed on request" in words(client.get(LIST, {"q": "IN-s-ada"}))  # her receipt
        assert "removed on request" not in words(client.get(LIST, {"q": "604 555 0100"}))

    @pytest.mark.parametrize("term", ["604 555 0142", EMAIL, "IN-s-ada", "c-ada"])
    def test_why_answers_so_too(self, client, removed, term):
        answer = client.get(reverse("admin:why"), {"q": term}).content.decode()
        assert 'data-branch="removed"' in answer and "Ada" not in answer

    def test_an_owner_lets_the_number_be_used_again(self, client, removed):
        why = reverse("admin:why")
        assert "Let this phone be used again" in client.get(why, {"q": PHONE}).content.decode()
        sheet = {"q": PHONE, "act": "allow_again", "term": PHONE}
        client.force_login(make_user(removed.account, Role.OPERATOR))
        assert "Your role may not" in client.get(why, {"q": PHONE}).content.decode()
        assert client.post(why, sheet).status_code == 403
        client.force_login(removed.owner)
        said = words(client.post(why, sheet, follow=True))
        assert "It can be signed up again" in said and "Nobody here has this phone" in said
        assert "Nobody of this phone or e-mail was removed" in words(client.post(why, sheet, follow=True))

    def test_the_till_hears_what_it_hears_of_a_stranger(self, client, removed):
        key = {"HTTP_X_APIKEY": make_key(removed.account, "admin")}

        def asked(phone, email):
            return [
                client.post("/api/v2/wallet", {"phone": phone}, content_type="application/json", **key),
                client.post("/api/v2/wallet", {"email": email}, content_type="application/json", **key),
                *(client.get(f"/api/v2/{path}", **key) for path in (
                    f"wallet/{phone}", f"loyalty/lookup/{phone}", f"loyalty/lookup/{email}", f"lookup/{phone}",
                    f"lookup/email/{email}",
                )),
            ]  # fmt: skip

        hers, strangers = asked(PHONE, EMAIL), asked("+16045550100", "nobody@shop.test")
        assert [one.json() for one in hers] == [one.json() for one in strangers]
        for one in hers:
            assert one.status_code == 404 and one.json()["success"] is False and one.json().get("data") is None

    def test_a_redemption_of_hers_is_unknown_to_the_till(self, client, removed):
        answer = client.post(
            f"/api/v2/redemptions/{removed.redeemed.redemption_id}/revert", content_type="application/json",
            HTTP_X_APIKEY=make_key(removed.account, "admin"),
        )  # fmt: skip
        assert answer.status_code == 404 and answer.json()["errors"][0]["message"] == "Redemption not found"

    def test_the_till_cannot_sign_her_up_again(self, client, removed):
        answer = client.post(
            "/api/v2/loyalty", {"mobilePhone": PHONE, "firstName": "Ada"}, content_type="application/json",
            HTTP_X_APIKEY=make_key(removed.account, "admin"),
        )  # fmt: skip
        assert answer.status_code == 400 and "removed on request" in answer.json()["errors"][0]["message"]
        assert everywhere(PHONE) == set()


class TestCopyOfEverything:
    def export(self, client, shop):
        answer = client.post(page(shop.ada, "export/"))
        assert answer.status_code == 200 and answer["Content-Type"] == "application/json"
        return json.loads(b"".join(answer.streaming_content))

    def test_everything_that_is_held_is_in_it(self, client, shop):
        with acting_in(shop.account.pk):
            ContactAlias.objects.create(persona=shop.ada, alias="AIQ-77", origin=shop.origin, points=5)
            SourceHint.objects.create(persona=shop.ada, platform="clover", external_id="D4-told")
            Override.objects.create(persona=shop.ada, field="address", value="9 Kept Road")
            Attribute.objects.create(persona=shop.ada, key="shirt", value="L")
            CheckIn.objects.create(store=make_store(shop.account), persona=shop.ada, reason="pick-up", at=NOON,
                                   changed_at=NOON)  # fmt: skip
        held = self.export(client, shop)
        assert list(held) == access.sections()
        empty = {name for name, rows in held.items() if not rows}
        assert empty == {"boosts", "points_waiting", "pos_points", "still_owed"}
        assert {one["contact_id"] for one in held["identity"]} == {
            str(row.contact_id) for row in Persona.unscoped.filter(pk__in=[shop.ada.pk, shop.merge.loser_id])
        }
        assert held["sources"][0]["phone_raw"] == "604 555 0142" and held["sources"][0]["record"] == "c-ada"
        assert held["set_by_hand"][0]["value"] == "9 Kept Road" and held["attributes"][0]["key"] == "shirt"
        assert held["check_ins"][0]["reason"] == "pick-up"
        (bought,) = [one for one in held["sales"] if one["number"] == "IN-s-ada"]
        assert bought["lines"][0]["name"] == "Flower" and bought["because"].startswith("$100.00 before tax")
        assert sum(one["points"] for one in held["entries"]) == 560 == held["identity"][0]["balance"]
        assert sum(one["remaining"] for one in held["lots"]) == 560
        assert {one["act"] for one in held["consent_journal"]} == {"opt_in", "stop"}
        assert {(one["channel"], one["state"]) for one in held["consent"]} == {("email", "in"), ("sms", "stopped")}
        assert any(one["body"] == "Dear Ada" for one in held["messages"])
        assert (
            held["investigations"][0]["note"] == "Ada calls" and held["receipts_attached"][0]["note"] == "Ada showed it"
        )
        assert held["rows_of_the_pos_not_taken_over"][0]["row"]["FirstName"] == "Ada"
        assert [(one["alias"], one["points_there"]) for one in held["aliases"]] == [("AIQ-77", 5)]
        assert [(one["platform"], one["record"]) for one in held["records_named"]] == [("clover", "D4-told")]
        assert held["redemptions"][0]["state"] == "applied" and held["merges"][0]["value"] == "+16045550177"

    def test_each_field_of_the_persona_is_told(self, client, shop):
        """A new one is said, or named here: what is ours alone, or stands there under another name."""
        ours = {"id", "account", "name_key", "surname_key", "erased_at", "link_version"}
        fields = {field.name for field in Persona._meta.concrete_fields} - ours
        assert fields <= set(self.export(client, shop)["identity"][0])

    def test_nothing_of_anybody_else(self, client, shop):
        with acting_in(shop.account.pk):
            make_persona(shop.account, first_name="Ben", last_name="Hart", phone="+16045550155")
        text = json.dumps(self.export(client, shop))
        assert "Ben" not in text and "Mara" not in text and shop.owner.email not in text

    def test_a_long_history_is_complete(self, client, shop):
        for n in range(1, 1201):
            shop.give(n, note=f"note {n}")
        held = self.export(client, shop)
        assert len(held["entries"]) == Entry.unscoped.filter(persona=shop.ada).count() > 1200
        assert sum(one["points"] for one in held["entries"]) == held["identity"][0]["balance"]

    def test_it_is_written_down(self, client, shop):
        self.export(client, shop)
        with acting_in(shop.account.pk):
            line = AuditLine.objects.get(act="persona.exported")
        assert line.user == shop.owner and line.detail["contact_id"] == str(shop.ada.contact_id)

    @pytest.mark.parametrize(("role", "status"), [
        (Role.OPERATOR, 200), (Role.MANAGER, 403), (Role.STAFF, 403), (Role.ANALYST, 403), (Role.FINANCE, 403),
        (Role.MARKETING, 403),
    ])  # fmt: skip
    def test_who_may(self, client, shop, role, status):
        client.force_login(make_user(shop.account, role))
        assert client.post(page(shop.ada, "export/")).status_code == status
        assert ("Download everything" in client.get(page(shop.ada) + "?tab=profile").content.decode()) is (
            status == 200
        )
        assert "attachment" not in client.get(page(shop.ada, "export/")).get("Content-Disposition", "")


class TestLedgerFiles:
    @pytest.mark.parametrize("name", exports.FILES)
    def test_each_file_comes_down_with_its_columns(self, client, shop, name):
        answer = client.get(reverse("admin:report-export", args=[name]))
        rows = list(csv.DictReader(io.StringIO(b"".join(answer.streaming_content).decode())))
        assert answer["Content-Disposition"] == f'attachment; filename="{name}.csv"'
        if rows:
            assert list(rows[0]) == exports.FILES[name].names
        with acting_in(shop.account.pk):
            assert AuditLine.objects.filter(act="ledger.exported", target=f"{name}.csv").exists()

    def test_who_may_and_what_there_is_not(self, client, shop):
        assert client.get(reverse("admin:report-export", args=["passwords"])).status_code == 404
        ledger = reverse("admin:report-ledger")
        assert "entries.csv" in client.get(ledger).content.decode()
        client.force_login(make_user(shop.account, Role.FINANCE))
        assert "entries.csv" not in client.get(ledger).content.decode()
        assert client.get(reverse("admin:report-export", args=["entries"])).status_code == 403
