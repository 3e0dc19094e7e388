"""Events: one for each thing that happens, whatever dies or is late; nothing of who was removed."""

import json
from decimal import Decimal

import pytest
from django.db import connection
from django.utils import timezone

from aiqsync.accounts.models import Alert
from aiqsync.accounts.tenancy import acting_in
from loyalty import erasure, personas
from loyalty.models import (
    Persona,
    Redemption,
    RedemptionChange,
    WebhookCursor,
    WebhookDelivery,
    WebhookEvent,
)
from loyalty.webhooks import endpoints, kinds, reading, sending

from ...records import customer, make_origin, sale
from ..people_at_till import Shop
from ..removed import arrive
from .desk import DAY, HOUR, Desk
from .receiver import receiving

pytestmark = pytest.mark.django_db
NOBODY = "http://127.0.0.1:9/"
PERSONAL = ("Ada", "Moss", "604", "@")


def redeemed(desk, **given):
    return desk.shop.redeem(now=timezone.now(), **given)


def test_points():
    desk = Desk(NOBODY)
    desk.shop.give(500)
    desk.shop.give(Decimal("-20.50"))
    assert desk.read() == 2 and desk.read() == 0
    gave, took = desk.events()
    assert gave.kind == "points.changed" and gave.persona_id == desk.shop.ada.pk
    assert gave.payload == {
        "entryID": gave.payload["entryID"], "contactID": str(desk.shop.ada.contact_id), "points": 500, "balance": 500,
        "why": "adjust",
    }  # fmt: skip
    assert (took.payload["points"], took.payload["balance"]) == (-20.5, 479.5)
    assert [one.state for one in desk.deliveries()] == ["waiting", "waiting"]


def test_redeemed_settled_given_back_and_released():
    desk = Desk(NOBODY, shop=Shop(1000, reusable=True))
    one = redeemed(desk, order="T-1", channel="till")
    two = redeemed(desk, n=1, order="T-2", channel="till")
    Redemption.unscoped.filter(public_id=one.redemption_id).update(state="settled", settled_at=timezone.now())
    desk.shop.revert(one, now=timezone.now())
    desk.shop.revert(two, now=timezone.now(), to_state="released", why="no_sale")
    desk.read()
    told = [(e.kind, e.payload["redemptionID"]) for e in desk.events() if e.kind != kinds.POINTS]
    assert sorted(told) == sorted(
        [("redemption.created", str(one.redemption_id)), ("redemption.created", str(two.redemption_id)),
         ("redemption.settled", str(one.redemption_id)), ("redemption.reverted", str(one.redemption_id)),
         ("redemption.released", str(two.redemption_id))]
    )  # fmt: skip
    made = desk.events(kinds.REDEEMED)[0].payload
    assert made["discountID"] == str(desk.shop.discount.number) and made["points"] == 100
    assert made["transactionID"] == "T-1" and made["channel"] == "till"
    assert desk.events(kinds.RELEASED)[0].payload["why"] == "no_sale"


def test_a_tier_reward_that_is_given_back_is_told_though_no_points_move():
    desk = Desk(NOBODY, shop=Shop(1000, reward="tier"))
    one = redeemed(desk)
    desk.shop.revert(one, now=timezone.now())
    desk.read()
    assert [e.kind for e in desk.events() if e.kind != kinds.POINTS] == ["redemption.created", "redemption.reverted"]


def test_a_member_and_a_sale():
    desk = Desk(NOBODY)
    origin = make_origin(desk.account)
    now = timezone.now()
    arrive(origin, customer("c1", phone="+16045550177"), now=now)
    arrive(origin, sale("s1", customer_id="c1", sold_at=now - HOUR, total_cents=12_345), now=now)
    arrive(origin, sale("old", customer_id="c1", sold_at=now - 4 * DAY), now=now)
    arrive(origin, sale("anonymous", sold_at=now - HOUR), now=now)
    somebody = Persona.unscoped.get(phone="+16045550177")
    with acting_in(desk.account.pk):
        personas.enrol(persona=somebody, ground="staff", from_date=now.date(), now=now, note="Ada Moss, 604 555 0177")
    desk.read()
    (enrolled,), (sold,) = desk.events(kinds.ENROLLED), desk.events(kinds.SALE)
    assert enrolled.payload == {
        "contactID": str(somebody.contact_id), "ground": "staff", "earnsFrom": now.date().isoformat()
    }  # fmt: skip
    assert sold.payload["saleID"] == "s1" and sold.payload["contactID"] == str(somebody.contact_id)
    assert sold.payload["platform"] == origin.platform and sold.payload["total"] == 123.45
    assert sold.payload["soldAt"] == int((now - HOUR).timestamp())
    for event in desk.events():
        assert not any(word in json.dumps(event.payload) for word in PERSONAL), event.payload


def test_a_sale_that_waits_for_its_shopper_is_told_when_he_is_known():
    desk = Desk(NOBODY, kinds.SALE)
    origin = make_origin(desk.account)
    arrive(origin, sale("s1", customer_id="late", sold_at=timezone.now() - HOUR), now=timezone.now())
    assert desk.read() == 0
    # As if all that ran then had ended, and the cursor had passed the sale.
    WebhookCursor.objects.filter(source="sale").update(mark_xid=1, mark_at=timezone.now() - HOUR)
    assert desk.read() == 0
    row = WebhookCursor.objects.get(source="sale")
    assert len(row.waiting) == 1 and row.upto >= row.waiting[0]
    arrive(origin, customer("late", phone="+16045550178"), now=timezone.now())
    assert desk.read() == 1 and desk.read() == 0
    assert WebhookCursor.objects.get(source="sale").waiting == []


def test_a_pos_that_fails_and_is_back():
    desk = Desk(NOBODY, kinds.SYNC_FAILED, kinds.SYNC_RECOVERED)
    fields = {"account": desk.account, "kind": "stale_stream", "subject": "credential:1", "since": desk.now - DAY}
    Alert.unscoped.create(**fields, title="Before", opened_at=desk.now - DAY, closed_at=desk.now - HOUR)
    alert = Alert.unscoped.create(**fields, title="Cova is late: Sales")
    Alert.unscoped.create(**fields | {"kind": "refused_rows"}, title="x", opened_at=desk.now + HOUR)
    desk.now += HOUR
    assert desk.read() == 0, "not told to people either yet"
    Alert.unscoped.filter(pk=alert.pk).update(opened_at=desk.now)
    assert desk.read() == 1 and desk.read() == 0
    Alert.unscoped.filter(pk=alert.pk).update(closed_at=desk.now)
    assert desk.read() == 1 and desk.read() == 0
    failed, back = desk.events()
    assert (failed.kind, back.kind) == ("sync.failed", "sync.recovered")
    assert failed.payload["title"] == "Cova is late: Sales" and failed.payload["alertID"] == alert.pk


def test_only_what_is_wanted_and_only_from_then_on():
    shop = Shop(100)
    desk = Desk(NOBODY, kinds.ENROLLED, shop=shop)
    shop.give(5)
    assert desk.read() == 0 and not WebhookEvent.unscoped.exists()
    other, _ = desk.more(NOBODY, kinds.POINTS)
    shop.give(6)
    desk.read()
    assert [e.payload["points"] for e in desk.events()] == [5, 6] or [e.payload["points"] for e in desk.events()] == [6]
    assert {d.endpoint_id for d in WebhookDelivery.unscoped.all()} == {other.pk}


def test_nothing_from_before_the_first_endpoint():
    shop = Shop(100)
    desk = Desk(NOBODY, shop=shop)
    assert desk.read() == 0
    desk.act(endpoints.remove)
    shop.give(1)
    assert desk.read() == 0 and not WebhookCursor.objects.exists()
    desk.endpoint, _ = desk.more(NOBODY)
    shop.give(2)
    desk.read()
    assert [e.payload["points"] for e in desk.events()] == [2]


def test_an_account_without_an_endpoint_is_not_read():
    desk, quiet = Desk(NOBODY), Shop(100)
    one = quiet.redeem(now=timezone.now())
    quiet.revert(one, now=timezone.now())
    assert desk.read() == 0 and not RedemptionChange.unscoped.exists()
    assert not WebhookEvent.unscoped.exists()


def test_one_accounts_events_go_to_its_own_endpoints():
    with receiving() as mine, receiving() as theirs:
        one, other = Desk(mine.url), Desk(theirs.url)
        one.shop.give(1)
        other.shop.give(2)
        one.read()
        sending.deliver_due(now=one.now)
        assert [call.data["points"] for call in mine.calls] == [1]
        assert [call.data["points"] for call in theirs.calls] == [2]


def test_a_test_shopper_is_not_told_of():
    desk = Desk(NOBODY)
    Persona.unscoped.filter(pk=desk.shop.ada.pk).update(is_test=True)
    desk.shop.give(5)
    assert desk.read() == 0


@pytest.mark.parametrize("step", range(1, 6))
def test_killed_in_any_step_each_is_told_once(step):
    """The nth statement that writes is the last: all or nothing, and the next reader goes on."""
    desk = Desk(NOBODY, shop=Shop(0))
    for n in range(3):
        desk.shop.give(n + 1)
    seen = 0

    class Killed(Exception):
        pass

    def kill(execute, statement, params, many, context):
        nonlocal seen
        answer = execute(statement, params, many, context)
        if "INSERT" in statement or statement.startswith("UPDATE"):
            seen += 1
            if seen == step:
                raise Killed
        return answer

    with connection.execute_wrapper(kill), pytest.raises(Killed):
        desk.read()
    assert not WebhookEvent.unscoped.exists() and not WebhookDelivery.unscoped.exists()
    assert desk.read() == 3 and desk.read() == 0
    assert len(desk.deliveries()) == 3


def test_many_are_read_in_batches(monkeypatch):
    monkeypatch.setattr(reading, "BATCH", 2)
    monkeypatch.setattr(reading, "ROUNDS", 2)
    desk = Desk(NOBODY)
    for n in range(7):
        desk.shop.give(n + 1)
    WebhookCursor.objects.update(mark_xid=1, mark=10**9, mark_at=timezone.now() - HOUR)
    assert desk.read() == 4
    assert WebhookCursor.objects.get(source="entry").upto < 10**9, "there was more: the cursor may not pass it"
    assert [desk.read(), desk.read()] == [3, 0]
    assert [e.payload["points"] for e in desk.events()] == [1, 2, 3, 4, 5, 6, 7]


def test_reading_costs_the_same_for_one_and_for_many(django_assert_max_num_queries):
    desk = Desk(NOBODY)
    for n in range(50):
        desk.shop.give(n + 1)
    with django_assert_max_num_queries(45) as few:
        assert desk.read() == 50
    with django_assert_max_num_queries(len(few.captured_queries)):
        desk.read()


def test_a_redemption_asks_the_database_nothing_more():
    """A webhook costs the till no statement: events are read afterwards."""
    from django.test.utils import CaptureQueriesContext

    quiet, told = Shop(1000), Shop(1000)
    redeemed_at = timezone.now()
    quiet.redeem(now=redeemed_at)  # warm
    with CaptureQueriesContext(connection) as without:
        quiet.redeem(n=1, now=redeemed_at)
    Desk(NOBODY, shop=told)
    with CaptureQueriesContext(connection) as with_hook:
        told.redeem(now=redeemed_at)
    assert len(with_hook) == len(without)


def test_who_was_removed_is_in_nothing_that_is_kept():
    with receiving() as box:
        box.answers = [500]
        desk = Desk(box.url)
        ada = desk.shop.ada
        desk.shop.give(5)
        desk.read()
        desk.send()
        desk.shop.give(6)
        desk.read()
        contact = str(ada.contact_id)
        assert any(contact in json.dumps(e.payload) for e in desk.events())
        with acting_in(desk.account.pk):
            erasure.erase(account_id=desk.account.pk, persona_id=ada.pk, user=desk.user, now=timezone.now())
        assert not any(contact in json.dumps(e.payload) or e.persona_id for e in desk.events())
        assert {d.state for d in desk.deliveries()} == {"dropped"}
        assert {a.response for a in desk.attempts()} == {""}
        count = len(desk.events())
        desk.read()
        assert len(desk.events()) == count, "its end is not told either"
        assert desk.send(days=1) == 0 and len(box.calls) == 1
        assert desk.act(endpoints.again_since, since=desk.now - 9 * DAY, now=desk.now) == 0


def test_who_was_removed_while_his_event_was_read():
    desk = Desk(NOBODY)
    desk.shop.give(5)
    desk.read()
    Persona.unscoped.filter(pk=desk.shop.ada.pk).update(erased_at=timezone.now())
    assert desk.send() == 0, "not sent in the minute before it is cleaned either"
    assert reading.scrub(now=desk.now) == 1 and reading.scrub(now=desk.now) == 0
    assert "contactID" not in desk.events()[0].payload and desk.deliveries()[0].state == "dropped"


def test_kept_for_thirty_days():
    with receiving() as box:
        desk = Desk(box.url)
        desk.shop.give(5)
        desk.read()
        desk.send()
        desk.shop.give(6)
        desk.read()
        WebhookEvent.unscoped.filter(pk=desk.events()[0].pk).update(created_at=desk.now - 31 * DAY)
        reading.prune(now=desk.now)
        assert len(desk.events()) == 1 and len(desk.deliveries()) == 1 and desk.attempts() == []
        assert desk.read() == 1, "only a cursor that stood still for a month would tell it anew"


def test_a_restored_database_takes_a_new_mark():
    desk = Desk(NOBODY)
    desk.read()
    WebhookCursor.objects.update(mark_xid=2**62)
    desk.shop.give(5)
    assert desk.read() == 1
    assert WebhookCursor.objects.get(source="entry").mark_xid < 2**62
