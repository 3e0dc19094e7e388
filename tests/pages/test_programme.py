"""Settings, Loyalty as an owner uses it: what it shows, what it refuses beside the field, the figures before a change,
confirming, progress, stopping and going on, dismissing; and who may do none of it."""

import re

import pytest
from django.core.cache import cache
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from aiqsync.accounts.models import AuditLine
from aiqsync.accounts.roles import Role
from aiqsync.accounts.tenancy import acting_in
from aiqsync.pages import programme as programme_page
from loyalty import changes, pins
from loyalty.models import BlockedPhone, ChangeState, Job, Programme, ProgrammeChange, SourceStart
from tests.factories import make_account, make_user
from tests.loyalty.changing import World
from tests.records import make_origin

pytestmark = pytest.mark.django_db
SETTINGS, CHANGE = "/admin/settings/loyalty/", "/admin/settings/loyalty/change/"
AT_MOST = 32  # queries of a page, the frame's included


class Owner:
    """A browser with the settings open: `sheet` is what its form holds, `save` changes some of it and sends it all."""

    def __init__(self, account, role=Role.OWNER) -> None:
        self.client = Client()
        self.user = make_user(account, role)
        self.client.force_login(self.user)

    def page(self, address=SETTINGS) -> str:
        return self.client.get(address).content.decode()

    def sheet(self) -> dict[str, str]:
        form = self.page().split('id="programme"')[1].split("</form>")[0]
        found = {}
        for tag in re.findall(r"<input[^>]*>", form):
            field = dict(re.findall(r'([\w-]+)="([^"]*)"', tag))
            if "name" not in field or field.get("type") == "checkbox" and not re.search(r"\schecked[\s>]", tag):
                continue
            found[field["name"]] = field.get("value", "on" if field.get("type") == "checkbox" else "")
        for name, options in re.findall(r'<select[^>]*name="(\w+)"[^>]*>(.*?)</select>', form, re.S):
            found[name] = re.search(r'<option value="(\w*)" selected', options)[1]
        found.pop("csrfmiddlewaretoken", None)
        return found

    def save(self, sheet=None, *, off=(), follow=True, **values):
        given = (sheet or self.sheet()) | values
        return self.client.post(SETTINGS, {k: v for k, v in given.items() if k not in off}, follow=follow)

    def act(self, verb, change=None, **more):
        change = change or ProgrammeChange.unscoped.latest("pk")
        return self.client.post(
            reverse("admin:programme-act", args=[verb]), {"change": change.pk, **more}, follow=True
        ).content.decode()


@pytest.fixture
def world():
    return World().full()


@pytest.fixture
def owner(world):
    return Owner(world.account)


def programme():
    return Programme.unscoped.get()


class TestSettings:
    def test_every_setting_is_there_with_its_label_and_help(self, owner):
        page = owner.page()
        for name, field in programme_page.ProgrammeForm().fields.items():
            assert f'name="{name}"' in page
            assert str(field.label) in page.replace("&#x27;", "'").replace("&quot;", '"')
        for name in changes.programme.MOVING:
            part = page.split(f'for="id_{name}"')[1].split("iq-setting")[0]
            assert "you see what it would do before it is done" in part

    def test_sent_as_it_is_nothing_is_changed(self, owner):
        said = owner.save().content.decode()
        assert "Nothing was changed." in said and not ProgrammeChange.unscoped.exists()
        assert not AuditLine.unscoped.filter(act="programme.changed").exists()

    def test_what_moves_nothing_is_saved_at_once_and_written_down(self, owner):
        said = owner.save(hide_points="on", staff_points_a_day="500", release_after_h="48").content.decode()
        assert "Settings saved." in said
        saved = programme()
        assert (saved.hide_points, saved.staff_points_a_day, saved.release_after_h) == (True, 500, 48)
        line = AuditLine.unscoped.get(act="programme.changed")
        assert line.user == owner.user and line.detail["hide_points"] == "off → on"
        owner.save(off=["hide_points"])
        assert not programme().hide_points

    def test_both_kinds_together(self, owner):
        said = owner.save(hide_points="on", points_per_100="200").content.decode()
        assert "What moves no balance is saved." in said and "Counting what this would do" in said
        assert programme().hide_points and programme().points_per_100 == 100

    @pytest.mark.parametrize("name, value, sentence", [
        ("points_per_100", "-5", "greater than or equal to 0"), ("points_per_100", "", "required"),
        ("points_per_100", "1e9", "no more than"), ("points_per_100", "lots", "Enter a number"),
        ("max_visits_per_day", "0", "greater than or equal to 1"), ("expire_days", "0", "greater than or equal to 1"),
        ("expire_days", "4000", "less than or equal to 3650"), ("accrual_start", "soon", "valid date"),
        ("rounding", "sideways", "Select a valid choice"), ("release_after_h", "0", "greater than or equal to 1"),
        ("staff_points_a_day", "-1", "greater than or equal to 0"), ("points_per_order", "1.234", "decimal places"),
        ("staff_redemptions_a_day", "99999999999", "less than or equal to"),
    ])  # fmt: skip
    def test_what_cannot_be_is_said_beside_its_field(self, owner, name, value, sentence):
        answer = owner.save(**{name: value, "hide_points": "on"})
        page = answer.content.decode()
        assert answer.status_code == 422 and "Nothing was saved yet" in page
        beside = page.split(f'for="id_{name}"')[1].split('class="iq-setting"')[0]
        assert "iq-error" in beside and sentence in beside
        assert not programme().hide_points and 'name="hide_points"' in page  # what was typed is not lost

    @pytest.mark.parametrize("value", ["soon", "2026-13-01", "\x00"])
    def test_a_sources_date_too(self, owner, world, value):
        answer = owner.save(**{f"start_{world.other.pk}": value})
        beside = answer.content.decode().split(f'for="start_{world.other.pk}"')[1].split('class="iq-setting"')[0]
        assert answer.status_code == 422 and "A day as 2026-11-21." in beside

    def test_a_page_that_was_open_for_an_hour_changes_only_what_was_changed_on_it(self, owner, world):
        old = owner.sheet()
        other = Owner(world.account)
        other.save(release_after_h="72", hide_points="on", staff_points_a_day="9")
        owner.save(old, merge_by_name="on")
        saved = programme()
        assert saved.merge_by_name and saved.hide_points
        assert (saved.release_after_h, saved.staff_points_a_day) == (72, 9)
        owner.save(old, points_per_100="120")
        assert ProgrammeChange.unscoped.get().values["programme"] == {"points_per_100": "120"}

    def test_a_sources_start_date_is_counted_like_any_other(self, owner, world):
        owner.save(**{f"start_{world.other.pk}": world.date(-3)})
        world.work()
        page = owner.page(CHANGE)
        assert "Accrual start of" in page and world.date(-3) in page and "Confirm for 1 shopper" in page
        owner.act("confirm")
        world.work()
        assert SourceStart.unscoped.get().origin == world.other

    def test_what_belongs_to_the_legacy_engine_is_shown_with_it(self, owner):
        row = re.search(r'<div class="iq-setting" data-shown-when="engine=legacy"( hidden)?>', owner.page())
        assert row[1] == " hidden"
        page = owner.save(engine="legacy", expire_days="-1").content.decode()
        assert re.search(r'<div class="iq-setting" data-shown-when="engine=legacy"( hidden)?>', page)[1] is None

    def test_what_expires_soon_is_said(self, owner, world):
        assert "will expire as things are" not in owner.page()
        world.set(expire_days="60")
        page = owner.page()
        assert "will expire as things are" in page and "within 30 days" in page

    def test_few_queries_whatever_there_is(self, owner, world):
        def asked(address):
            owner.page(address)
            cache.clear()
            with CaptureQueriesContext(connection) as queries:
                assert owner.client.get(address).status_code == 200
            return len(queries)

        before = asked(SETTINGS)
        with acting_in(world.account.pk):
            for n in range(20):
                make_origin(world.account, f"source {n}")
                BlockedPhone.objects.create(account=world.account, phone=f"+16045551{n:03d}", user=world.user)
        assert asked(SETTINGS) == before <= AT_MOST
        owner.save(points_per_100="200")
        world.work()
        few = asked(CHANGE)
        change = ProgrammeChange.unscoped.get()
        change.counted["sample"] *= 2
        change.save()
        assert asked(CHANGE) == few <= AT_MOST


class TestBlocklistPinAndWipe:
    def block(self, owner, **given):
        return owner.client.post(reverse("admin:programme-blocklist"), given, follow=True)

    def test_a_phone_is_listed_after_the_figures(self, owner, world):
        page = self.block(owner, phone="(604) 555-0143", note="Dee").content.decode()
        assert "Counting what this would do" in page
        world.work()
        assert "Employee points blocklist" in owner.page(CHANGE)
        owner.act("confirm")
        world.work()
        assert "(604) 555-0143" in owner.page() or "+1 604" in owner.page()
        self.block(owner, phone="+16045550143", remove="1")
        world.work()
        owner.act("confirm")
        world.work()
        assert not BlockedPhone.unscoped.exists() and world.sound() == []

    @pytest.mark.parametrize("phone", ["", "12", "not a phone", "\x00"])
    def test_what_is_no_phone_is_said_there_and_what_was_typed_stays(self, owner, phone):
        answer = self.block(owner, phone=phone, note="Dee’s")
        beside = answer.content.decode().split('id="blocklist"')[1]
        assert answer.status_code == 422 and "iq-error" in beside and 'value="Dee’s"' in beside

    @pytest.mark.django_db(transaction=True)  # as it is served: a lock needs a transaction of the verb's own
    def test_the_master_pin(self, owner, world):
        address = reverse("admin:programme-pin")
        for wrong in ("", "12", "1111", "abcd", "123456789"):
            answer = owner.client.post(address, {"digits": wrong})
            beside = answer.content.decode().split('id="master-pin"')[1].split("</section>")[0]
            assert answer.status_code == 422 and "iq-error" in beside
        assert programme().master_pin == ""
        assert "The master PIN is set." in owner.client.post(address, {"digits": "2468"}, follow=True).content.decode()
        assert pins.check(persona=world.people["ada"], code="2468", now=timezone.now()) == "master"
        assert "2468" not in owner.page()
        assert "cleared" in owner.client.post(address, {"clear": "1"}, follow=True).content.decode()
        assert [line.act for line in AuditLine.unscoped.filter(act__startswith="master_pin").order_by("pk")] == [
            "master_pin.set", "master_pin.cleared",
        ]  # fmt: skip

    def test_taking_everybodys_points_is_the_owners(self, owner, world):
        address = reverse("admin:programme-wipe")
        operator = Owner(world.account, Role.OPERATOR)
        assert "Take everybody" not in operator.page()
        said = operator.client.post(address, {"note": "x"}, follow=True).content.decode()
        assert "Only the owner" in said and not ProgrammeChange.unscoped.exists()
        answer = owner.client.post(address, {"note": "  "})
        assert answer.status_code == 422 and "Say why" in answer.content.decode().split('id="wipe"')[1]
        owner.client.post(address, {"note": "A new beginning"})
        world.work()
        page = owner.page(CHANGE)
        assert "points are taken" in page and "A new beginning" in page
        owner.act("confirm")
        world.work()
        assert world.balances() == {} and "Applied" in owner.page(CHANGE)


class TestChange:
    @pytest.fixture(autouse=True)
    def small_steps(self, monkeypatch):
        monkeypatch.setattr(changes.counting, "PERSONAS", 2)

    def test_from_the_wish_to_everybodys_points(self, owner, world):
        page = owner.save(points_per_100="200").content.decode()
        assert "Counting what this would do" in page and "No setting and no balance has been touched." in page
        assert "data-live" in page and "Points earned per $100 spent" in page
        world.work(slice_s=0, slices=2)
        assert "4 of 8 shoppers" in owner.page(CHANGE) and "50 %" in owner.page(CHANGE + "?part")
        world.work()
        page = owner.page(CHANGE)
        change = ProgrammeChange.unscoped.get()
        assert "What this would do" in page and f"Confirm for {change.counted['shoppers']} shoppers" in page
        assert "data-live" not in page and "Points before" in page and "The largest changes" in page
        assert "Ada Moss" in page and "A change waits to be confirmed" in owner.page()
        assert programme().points_per_100 == 100
        page = owner.act("confirm", seen=change.counted["at"])
        assert "Being applied" in page and ">Stop<" in page and programme().points_per_100 == 200
        assert "A change is being applied" in owner.page()
        owner.act("confirm")  # the button twice
        world.work(slice_s=0, slices=1)
        page = owner.act("stop")
        assert "Stopped half way" in page and ">Go on<" in page and "keeps the old balance until you go on" in page
        assert world.work() == 0
        page = owner.act("resume")
        assert "Being applied" in page
        world.work()
        page = owner.page(CHANGE)
        assert "Applied" in page and "entries were posted" in page and str(owner.user) in page
        assert world.sound() == []
        said = owner.act("dismiss")
        assert "cannot be dismissed" in said

    def test_dismissed(self, owner, world):
        owner.save(points_per_100="200")
        world.work()
        before = world.balances()
        assert "Dismissed: no setting and no balance was touched." in owner.act("dismiss")
        assert world.balances() == before and programme().points_per_100 == 100
        assert "dismissed" in owner.act("confirm") and programme().points_per_100 == 100
        assert "A change waits" not in owner.page()

    def test_sales_that_came_meanwhile_are_said_and_both_ways_are_offered(self, owner, world):
        owner.save(points_per_100="200")
        world.work()
        world.buy("ben", "new", -1)
        page = owner.act("confirm")
        assert "1 sale came and the points of 1 shopper moved" in page
        assert ">Count again<" in page and ">Confirm all the same<" in page and programme().points_per_100 == 100
        owner.act("recount")
        world.work()
        assert "sale came" not in owner.page(CHANGE)
        world.buy("ben", "newer", -1)
        assert "Being applied" in owner.act("confirm", anyway="1")

    def test_settings_that_changed_meanwhile_ask_for_another_count(self, owner, world):
        owner.save(points_per_100="200")
        world.work()
        owner.save(off=["enabled"])
        page = owner.page(CHANGE)
        assert "Settings were changed since this was counted" in page and ">Confirm" not in page
        assert "older settings" in owner.act("confirm")
        owner.act("recount")
        world.work()
        assert ">Confirm for" in owner.page(CHANGE)

    def test_another_wish_meanwhile_is_not_taken(self, owner, world):
        owner.save(points_per_100="200")
        said = owner.save(points_per_100="300").content.decode()
        assert "Yours was not taken" in said and "What moves no balance" not in said
        said = owner.save(points_per_100="300", hide_points="on").content.decode()
        assert "Yours was not taken" in said and "What moves no balance is saved." in said
        assert ProgrammeChange.unscoped.count() == 1

    def test_a_count_that_failed_can_be_made_again(self, owner, world):
        owner.save(points_per_100="200")
        Job.unscoped.update(state="failed", message="It was tried five times.", finished_at=timezone.now())
        page = owner.page(CHANGE)
        assert "The counting stopped" in page and "It was tried five times." in page and "data-live" not in page
        assert ">Count again<" in page and ">Dismiss<" in page
        owner.act("recount")
        world.work()
        assert ">Confirm for" in owner.page(CHANGE)

    def test_what_is_over_or_unknown_is_said(self, owner, world):
        assert "No change of the programme waits" in owner.page(CHANGE)
        for change in ("", "0", "x", "9" * 30):
            said = owner.client.post(
                reverse("admin:programme-act", args=["confirm"]), {"change": change}, follow=True
            ).content.decode()
            assert "This change is over" in said
        owner.save(points_per_100="200")
        assert "no such act" in owner.act("explode")

    @pytest.mark.parametrize("name, args, page", [
        ("programme-act", ["confirm"], CHANGE), ("programme-blocklist", [], SETTINGS), ("programme-pin", [], SETTINGS),
        ("programme-wipe", [], SETTINGS),
    ])  # fmt: skip
    def test_a_buttons_address_opened_as_a_page_leads_to_its_page(self, owner, world, name, args, page):
        """Reloaded after a refusal, or asked for again by the log-in: no empty 405, and nothing is done."""
        owner.save(points_per_100="200")
        world.work()
        answer = owner.client.get(reverse(f"admin:{name}", args=args), follow=True)
        assert answer.redirect_chain == [(page, 302)] and "Nothing was done" in answer.content.decode()
        assert ProgrammeChange.unscoped.get().state == ChangeState.COUNTED


@pytest.mark.parametrize("role, reads, writes", [
    (Role.OWNER, 200, 302), (Role.OPERATOR, 200, 302), (Role.MANAGER, 200, 403), (Role.MARKETING, 200, 403),
    (Role.ANALYST, 200, 403), (Role.FINANCE, 200, 403), (Role.STAFF, 403, 403),
])  # fmt: skip
def test_who_may(world, owner, role, reads, writes):
    owner.save(points_per_100="200")
    world.work()
    sheet, change = owner.sheet(), ProgrammeChange.unscoped.get()
    one = Owner(world.account, role).client
    assert (one.get(SETTINGS).status_code, one.get(CHANGE).status_code) == (reads, reads)
    if reads == 200 and writes == 403:
        page = one.get(SETTINGS).content.decode() + one.get(CHANGE).content.decode()
        assert "Save settings" not in page and "Add to the list" not in page and ">Confirm" not in page
    assert one.post(SETTINGS, sheet | {"release_after_h": "36"}).status_code == writes
    assert one.post(reverse("admin:programme-act", args=["confirm"]), {"change": change.pk}).status_code == writes
    for name in ("programme-blocklist", "programme-pin", "programme-wipe"):
        assert (one.post(reverse(f"admin:{name}"), {"digits": "2468"}).status_code == 403) is (writes == 403)
    change.refresh_from_db()
    assert (change.state == ChangeState.COUNTED) is (writes == 403)


def test_somebody_elses_change_and_source(world, owner):
    owner.save(points_per_100="200")
    world.work()
    stranger = Owner(make_account("Elsewhere"))
    page = stranger.page(CHANGE)
    assert "No change of the programme waits" in page and "Ada" not in page
    assert "This change is over" in stranger.act("confirm")
    answer = stranger.save(**{f"start_{world.origin.pk}": "2026-01-01"})
    assert answer.status_code == 422 and "not one of yours" in answer.content.decode()
    assert not SourceStart.unscoped.exists() and ProgrammeChange.unscoped.get().state == ChangeState.COUNTED
