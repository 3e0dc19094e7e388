"""What staff may do with other people's points: the programme's switches, limits of a day, and codes."""

import threading
import uuid
from datetime import datetime, timedelta
from decimal import Decimal
from zoneinfo import ZoneInfo

import pytest
from django.db import transaction
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from aiqsync.accounts.models import AuditLine, Membership
from aiqsync.accounts.roles import Role
from aiqsync.accounts.tenancy import acting_in
from loyalty import ledger, pins, programme, staff
from loyalty.models import Entry, Programme, Redemption
from tests.factories import make_account, make_discount, make_persona, make_user

from .race import at_once

pytestmark = pytest.mark.django_db
ROLES = list(Role)


class Counter:
    """A shop's counter: `by(role)` is a browser that somebody of that role is logged in to."""

    def __init__(self, **settings) -> None:
        self.account = make_account()
        Programme.unscoped.filter(account=self.account).update(**settings)
        self.ada = make_persona(self.account, phone="+16045550142")
        self.discount = make_discount(self.account, points=10)
        self.users = {}
        ledger.adjust(
            account_id=self.account.pk, persona_id=self.ada.pk, points=Decimal(1000), key="start", now=timezone.now()
        )

    def user(self, role):
        return self.users.setdefault(role, make_user(self.account, role))

    def by(self, role) -> Client:
        client = Client()
        client.force_login(self.user(role))
        return client

    def add(self, role, points, note="a visit was missing", token=None, client=None):
        return (client or self.by(role)).post(
            reverse("admin:persona-adjust", args=[self.ada.contact_id]),
            {"points": str(points), "note": note, "token": token or uuid.uuid4()},
        )

    def redeem(self, role, n=0, client=None, **given):
        address = reverse("admin:persona-redeem", args=[self.ada.contact_id, self.discount.pk, n])
        return (client or self.by(role)).post(address, given, follow=True)

    def set_master_pin(self, digits: str) -> None:
        with acting_in(self.account.pk):
            programme.set_master_pin(account_id=self.account.pk, digits=digits)

    def page(self, role) -> str:
        return self.by(role).get(reverse("admin:persona", args=[self.ada.contact_id])).content.decode()

    @property
    def added(self):
        rows = Entry.unscoped.filter(persona=self.ada, kind="adjust").exclude(key="start")
        return sum(rows.values_list("points", flat=True))

    @property
    def redeemed(self) -> int:
        return Redemption.unscoped.filter(account=self.account).count()


@pytest.fixture
def counter():
    return Counter()


@pytest.mark.parametrize("switch", [True, False])
@pytest.mark.parametrize("role", ROLES)
def test_a_budtender_adds_points_only_when_the_programme_lets_him(role, switch):
    counter = Counter(staff_may_adjust=switch)
    may = role in (Role.OWNER, Role.OPERATOR, Role.MANAGER) or (role == Role.STAFF and switch)
    assert counter.add(role, 5).status_code == (302 if may else 403)
    assert counter.added == (5 if may else 0)
    assert ('name="note"' in counter.page(role)) is may


@pytest.mark.parametrize("switch", [True, False])
@pytest.mark.parametrize("role", ROLES)
def test_a_budtender_redeems_unless_the_programme_forbids_it(role, switch):
    counter = Counter(staff_may_redeem=switch)
    may = role in (Role.OWNER, Role.OPERATOR, Role.MANAGER) or (role == Role.STAFF and switch)
    assert counter.redeem(role).status_code == (200 if may else 403)
    assert counter.redeemed == may
    address = reverse("admin:persona-redeem", args=[counter.ada.contact_id, counter.discount.pk, 1])
    assert (address in counter.page(role)) is may


@pytest.mark.parametrize("note", ["", "   ", "\x00", "x" * 1000])
def test_nobody_adds_points_without_saying_why(counter, note):
    answer = counter.add(Role.OWNER, 5, note=note)
    assert answer.status_code in (200, 422) and counter.added == 0
    assert counter.add(Role.OWNER, 5, note="birthday").status_code == 302
    line = AuditLine.unscoped.get(act="points.adjusted")
    assert line.detail["note"] == "birthday" and line.user == counter.user(Role.OWNER)
    entry = Entry.unscoped.get(points=5)
    assert (entry.note, entry.user) == ("birthday", counter.user(Role.OWNER))


class TestLimits:
    @pytest.mark.parametrize("role, limited", [
        (Role.STAFF, True), (Role.MANAGER, True), (Role.OPERATOR, False), (Role.OWNER, False),
    ])  # fmt: skip
    def test_points_a_day(self, role, limited):
        counter = Counter(staff_may_adjust=True, staff_points_a_day=50, manager_points_a_day=50)
        counter.add(role, 40)
        said = counter.add(role, "10.01").content.decode()
        assert ("40 were added today, so 10 are left" in said) is limited
        counter.add(role, 10)
        assert counter.added == (50 if limited else Decimal("60.01"))
        counter.add(role, -30)  # taking is free, and gives nothing back to add
        counter.add(role, 1)
        assert counter.added == (20 if limited else Decimal("31.01"))

    def test_a_limit_of_one_role_is_not_the_others(self):
        counter = Counter(staff_may_adjust=True, staff_points_a_day=5)
        counter.add(Role.MANAGER, 500)
        counter.add(Role.STAFF, 6)
        assert counter.added == 500

    def test_no_limit_and_none_at_all(self):
        counter = Counter(staff_may_adjust=True, staff_points_a_day=0)
        assert "0 are left" in counter.add(Role.STAFF, 1).content.decode()
        Programme.unscoped.update(staff_points_a_day=None)
        counter.add(Role.STAFF, 100_000)
        assert counter.added == 100_000

    def test_each_person_has_a_day_of_his_own(self):
        counter = Counter(staff_may_adjust=True, staff_points_a_day=50)
        counter.add(Role.STAFF, 50)
        colleague = Client()
        colleague.force_login(make_user(counter.account, Role.STAFF))
        counter.add(Role.STAFF, 50, client=colleague)
        assert counter.added == 100

    def test_a_sheet_sent_twice_is_no_second_one(self):
        counter = Counter(staff_may_adjust=True, staff_points_a_day=50)
        token = uuid.uuid4()
        assert [counter.add(Role.STAFF, 50, token=token).status_code for _ in range(2)] == [302, 302]
        assert counter.added == 50

    def test_the_day_is_the_accounts(self, counter):
        """23:30 in Vancouver is tomorrow in UTC; half an hour later a new day has begun there."""
        Programme.unscoped.update(staff_points_a_day=50)
        zone = ZoneInfo("America/Vancouver")
        late = datetime(2026, 7, 14, 23, 30, tzinfo=zone)
        user = counter.user(Role.STAFF)

        def add(points, at):
            with acting_in(counter.account.pk), transaction.atomic():
                staff.check_limits(
                    account_id=counter.account.pk, user_id=user.pk, role=Role.STAFF, points=Decimal(points), now=at
                )
                ledger.adjust(
                    account_id=counter.account.pk, persona_id=counter.ada.pk, points=Decimal(points),
                    key=f"k{at}{points}", now=at, user_id=user.pk, note="n",
                )  # fmt: skip

        add(50, late.replace(hour=1))
        with pytest.raises(staff.LimitReached):
            add(1, late)
        add(50, late + timedelta(minutes=30))

    @pytest.mark.parametrize("role, limited", [(Role.STAFF, True), (Role.MANAGER, False), (Role.OWNER, False)])
    def test_redemptions_a_day(self, role, limited):
        counter = Counter(staff_redemptions_a_day=2)
        for n in range(3):
            said = counter.redeem(role, n).content.decode()
        assert ("You may redeem 2 times a day by hand" in said) is limited
        assert counter.redeemed == (2 if limited else 3)

    def test_what_was_given_back_was_used(self):
        """Redeem, type the discount, give back: that is one of the day's."""
        counter = Counter(staff_redemptions_a_day=1)
        counter.redeem(Role.STAFF)
        made = Redemption.unscoped.get()
        ledger.revert(account_id=counter.account.pk, redemption_public_id=made.public_id, now=timezone.now())
        counter.redeem(Role.STAFF, 1)
        assert counter.redeemed == 1

    def test_a_double_click_is_one_of_the_day(self):
        counter = Counter(staff_redemptions_a_day=1)
        first, second = (counter.redeem(Role.STAFF).content.decode() for _ in range(2))
        assert "is redeemed for" in first and "is redeemed for" in second and counter.redeemed == 1

    def test_yesterday_does_not_count(self):
        counter = Counter(staff_redemptions_a_day=1)
        ledger.redeem(
            account_id=counter.account.pk, persona_id=counter.ada.pk, discount_id=counter.discount.pk, n=0,
            transaction="", channel="staff", user_id=counter.user(Role.STAFF).pk,
            now=timezone.now() - timedelta(days=1, hours=1),
        )  # fmt: skip
        counter.redeem(Role.STAFF, 1)
        assert counter.redeemed == 2
        counter.redeem(Role.STAFF, 2)
        assert counter.redeemed == 2, "today's is used"


@pytest.mark.django_db(transaction=True)
class TestLimitsAtOnce:
    """Eight tabs of one budtender, each within the limit by itself."""

    def race(self, monkeypatch, held: bool):
        counter = Counter(staff_points_a_day=50, staff_redemptions_a_day=3)
        user = counter.user(Role.STAFF)
        Membership.unscoped.get(user=user)
        if not held:
            monkeypatch.setattr(staff, "_hold", lambda account_id, user_id: None)
        who = {"account_id": counter.account.pk, "user_id": user.pk, "role": Role.STAFF, "now": timezone.now()}
        looked = (lambda: None) if held else threading.Barrier(8, timeout=60).wait  # all have, before one writes

        def add(n):
            with acting_in(counter.account.pk), transaction.atomic():
                staff.check_limits(**who, points=Decimal(10))
                looked()
                ledger.adjust(
                    account_id=counter.account.pk, persona_id=make_persona(counter.account).pk, points=Decimal(10),
                    key=f"k{n}", now=who["now"], user_id=user.pk, note="n",
                )  # fmt: skip

        def redeem(n):
            with acting_in(counter.account.pk), transaction.atomic():
                staff.check_redemption(**who)
                looked()
                shopper = make_persona(counter.account)
                ledger.redeem(
                    account_id=counter.account.pk, persona_id=shopper.pk, n=0, transaction="", channel="staff",
                    discount_id=free.pk, now=who["now"], user_id=user.pk,
                )  # fmt: skip

        free = make_discount(counter.account, points=0)
        points = at_once([lambda n=n: add(n) for n in range(8)])
        uses = at_once([lambda n=n: redeem(n) for n in range(8)])
        strange = [one for one in (*points, *uses) if one is not None and not isinstance(one, staff.LimitReached)]
        assert not strange
        return sum(one is None for one in points), sum(one is None for one in uses)

    def test_five_of_eight_and_three_of_eight(self, monkeypatch):
        assert self.race(monkeypatch, held=True) == (5, 3)

    def test_control_without_the_members_row_all_get_through(self, monkeypatch):
        assert self.race(monkeypatch, held=False) == (8, 8)


class TestPin:
    def test_needed_to_redeem(self):
        counter = Counter(pin_to_redeem=True)
        assert "Nothing was redeemed" in counter.redeem(Role.OWNER).content.decode()
        assert "Nothing was redeemed" in counter.redeem(Role.OWNER, pin="24681357").content.decode()
        assert counter.redeemed == 0
        counter.set_master_pin("24681357")
        counter.redeem(Role.STAFF, pin="24681357")
        assert counter.redeemed == 1
        assert AuditLine.unscoped.get(act="redemption.by_hand").detail["shown"] == "master"
        assert AuditLine.unscoped.filter(act="pin.wrong").count() == 2
        counter.set_master_pin("")
        assert "Nothing was redeemed" in counter.redeem(Role.STAFF, 1, pin="24681357").content.decode()

    def test_a_code_the_shopper_was_sent(self):
        counter = Counter(pin_to_redeem=True)
        counter.by(Role.STAFF).post(reverse("admin:persona-pin", args=[counter.ada.contact_id]))
        from loyalty.models import Message

        body = Message.unscoped.get(persona=counter.ada, purpose="pin").body
        code = next(word for word in body.split() if word.isdigit() and len(word) == 4)
        counter.redeem(Role.STAFF, pin=code)
        counter.redeem(Role.STAFF, 1, pin=code)  # good once
        assert counter.redeemed == 1

    def test_shown_in_the_wallet(self):
        counter = Counter(pin_to_redeem=True)
        code = pins.shown(account_id=counter.account.pk, persona_id=counter.ada.pk, now=timezone.now())
        counter.redeem(Role.STAFF, pin=code)
        assert counter.redeemed == 0
        Programme.unscoped.update(show_pin=True)
        counter.redeem(Role.STAFF, pin=code)
        assert counter.redeemed == 1

    @pytest.mark.parametrize("digits", ["123", "123456789", "12a4", "１２３４", "1111", "00000000"])
    def test_what_is_no_master_pin(self, counter, digits):
        with pytest.raises(programme.Problems):
            counter.set_master_pin(digits)
        assert Programme.unscoped.get().master_pin == ""
