"""The waiting room over the wire: one visit of a person, the queue, and what it may tell."""

from datetime import timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from aiqsync.accounts.models import ApiKey
from aiqsync.accounts.tenancy import acting_in
from loyalty import checkins, erasure, merging
from loyalty.models import CheckIn
from stores.models import StoreKey
from tests.factories import make_account, make_key, make_persona, make_store, make_user

from .till import PHONE, Till

pytestmark = pytest.mark.django_db
PATH = "/api/v2/checkins"


@pytest.fixture
def till():
    made = Till(points=0)
    made.store = make_store(made.account, number=7)
    return made


def queue(till, **given):
    more = "".join(f"&{name}={value}" for name, value in given.items() if name != "key")
    return till.data("GET", f"{PATH}?storeID=7{more}", key=given.get("key", ""))["results"]


def test_in_the_queue_and_served(till):
    made = till.data("POST", PATH, {"storeID": 7, "phone": "(604) 555-0142", "reason": "pick-up", "order": "A-12"})
    assert set(made) == {"checkinID", "state"} and made["state"] == "waiting"
    CheckIn.unscoped.update(at=timezone.now() - timedelta(seconds=90))
    till.data("POST", PATH, {"storeID": "7", "firstName": "Bo", "lastName": "vance"})
    first, second = queue(till)
    assert first["checkinID"] == made["checkinID"] and 90 <= first["waited"] < 100
    assert (first["name"], first["reason"], first["order"]) == ("Ada M.", "pick-up", "A-12")
    assert first["member"] is True and first["contactID"] == str(till.persona.contact_id)
    assert (second["name"], second["member"], second["contactID"]) == ("Bo V.", False, None)
    assert till.data("PUT", f"{PATH}/{made['checkinID']}", {"state": "serving"})["state"] == "serving"
    assert [one["state"] for one in queue(till)] == ["serving", "waiting"]
    till.data("PUT", f"{PATH}/{made['checkinID']}", {"state": "served"})
    till.data("PUT", f"{PATH}/{made['checkinID']}", {"state": "served"})
    assert [one["name"] for one in queue(till)] == ["Bo V."]
    assert [one["checkinID"] for one in queue(till, state="served")] == [made["checkinID"]]
    assert "has ended" in till.refused(400, "PUT", f"{PATH}/{made['checkinID']}", {"state": "waiting"})
    row = CheckIn.unscoped.get(public_id=made["checkinID"])
    assert (row.phone, row.email) == ("", "")
    assert queue(till, state="skipped") is None


def test_the_same_person_again_is_the_same_visit(till):
    one = till.data("POST", PATH, {"phone": PHONE, "order": "A"})
    again = till.data("POST", PATH, {"email": "ada@example.test", "order": "B"})
    by_id = till.data("POST", PATH, {"contactID": str(till.persona.contact_id)})
    assert one == again == by_id and CheckIn.unscoped.get().order == "B"
    stranger = till.data("POST", PATH, {"phone": "+16045550199"})
    assert stranger == till.data("POST", PATH, {"phone": "604-555-0199"}) and stranger != one
    till.data("PUT", f"{PATH}/{one['checkinID']}", {"state": "no-show"})
    assert till.data("POST", PATH, {"phone": PHONE})["checkinID"] != one["checkinID"]
    other = make_store(till.account, "Second", number=8)
    there = till.data("POST", PATH, {"phone": PHONE, "storeID": other.number})
    assert there["checkinID"] not in {one["checkinID"], stranger["checkinID"]}


def test_two_at_once_are_one_visit(till, monkeypatch):
    """The second looked before the first was there: the database lets it in once."""
    one = till.data("POST", PATH, {"phone": PHONE})
    real, seen = checkins._open_visit, []

    def blind(*args):
        seen.append(1)
        return None if len(seen) == 1 else real(*args)

    monkeypatch.setattr(checkins, "_open_visit", blind)
    assert till.data("POST", PATH, {"phone": PHONE}) == one and len(seen) == 2
    assert CheckIn.unscoped.count() == 1


def test_known_or_not_the_answer_is_the_same(till):
    known = till.call("POST", PATH, {"phone": PHONE})
    unknown = till.call("POST", PATH, {"phone": "+16045550199"})
    assert known.status_code == unknown.status_code == 200
    assert set(known.json()["data"]) == set(unknown.json()["data"]) and known.json()["data"]["state"] == "waiting"
    assert b"Ada" not in known.content and str(till.persona.contact_id).encode() not in known.content


def test_a_reading_key_sees_no_member_and_no_name_that_was_not_said(till):
    till.data("POST", PATH, {"phone": PHONE})
    (line,) = queue(till, key=make_key(till.account, "read"))
    assert line["name"] == "" and "member" not in line and "contactID" not in line


def test_a_merged_one_is_the_same_visit(till):
    other = make_persona(till.account, phone="+16045550143")
    one = till.data("POST", PATH, {"phone": "+16045550143"})
    with acting_in(till.account.pk):
        merging.merge(account_id=till.account.pk, one_id=till.persona.pk, other_id=other.pk, now=timezone.now())
    assert till.data("POST", PATH, {"phone": PHONE}) == one
    assert queue(till)[0]["contactID"] == str(till.persona.contact_id)


def test_who_was_removed_waits_no_more(till):
    till.data("POST", PATH, {"phone": PHONE})
    till.data("POST", PATH, {"phone": "+16045550199"})
    with acting_in(till.account.pk):
        erasure.erase(
            account_id=till.account.pk, persona_id=till.persona.pk, user=make_user(till.account), now=timezone.now()
        )
    assert [row.phone for row in CheckIn.unscoped.all()] == ["+16045550199"]


def test_a_key_of_a_store_speaks_of_no_other(till):
    other = make_store(till.account, "Second", number=8)
    assert "storeID" in till.refused(400, "POST", PATH, {"phone": PHONE})
    _, key = ApiKey.make(account=till.account, name="door", scope="pos")
    StoreKey.unscoped.create(account=till.account, key=ApiKey.unscoped.latest("pk"), store=other)
    made = till.data("POST", PATH, {"phone": PHONE}, key=key)
    assert CheckIn.unscoped.get().store_id == other.pk
    assert "another store" in till.refused(400, "POST", PATH, {"phone": PHONE, "storeID": 7}, key=key)
    assert "another store" in till.refused(400, "GET", f"{PATH}?storeID=7", key=key)
    here = till.data("POST", PATH, {"phone": PHONE, "storeID": 7})
    till.refused(404, "PUT", f"{PATH}/{here['checkinID']}", {"state": "served"}, key=key)
    till.data("PUT", f"{PATH}/{made['checkinID']}", {"state": "served"}, key=key)


def test_another_accounts_queue_is_not_there(till):
    made = till.data("POST", PATH, {"phone": PHONE})
    other = Till(points=None, account=make_account("Other Co"))
    make_store(other.account, number=7)
    assert other.data("GET", f"{PATH}?storeID=7")["results"] is None
    other.refused(404, "PUT", f"{PATH}/{made['checkinID']}", {"state": "served"})
    assert CheckIn.unscoped.get().state == "waiting"


@pytest.mark.parametrize(
    ("body", "word"),
    [
        ({}, "phone"), ({"phone": "12"}, "phone"), ({"email": "nonsense"}, "email"), ({"phone": {"a": 1}}, "phone"),
        ({"phone": PHONE, "storeID": 10**30}, "storeID"), ({"phone": PHONE, "storeID": "x"}, "storeID"),
        ({"phone": PHONE, "storeID": 99}, "storeID"), ({"phone": PHONE, "order": "x" * 501}, "order"),
        ({"firstName": "a\x00"}, "firstName"), ({"phone": PHONE, "reason": []}, "reason"), ([], "object"),
    ],
)  # fmt: skip
def test_a_body_that_is_wrong_is_named(till, body, word):
    assert word in till.refused(400, "POST", PATH, body)
    assert not CheckIn.unscoped.exists()


@pytest.mark.parametrize("query", ["state=x", "start=-1", "limit=x", "start=²", "storeID=-1", "storeID=%00"])
def test_a_question_that_is_wrong_is_named(till, query):
    assert query.split("=")[0] in till.refused(400, "GET", f"{PATH}?{query}")


def test_ids_that_are_none(till):
    for strange in ("x", "0" * 32, "%F0%9F%98%80"):
        till.refused(404, "PUT", f"{PATH}/{strange}", {"state": "served"})
    made = till.data("POST", PATH, {"phone": PHONE})
    assert "state" in till.refused(400, "PUT", f"{PATH}/{made['checkinID']}", {"state": "gone"})


def test_once_for_a_key_of_the_call(till):
    headers = {"Idempotency-Key": "k1"}
    one = till.call("POST", PATH, {"firstName": "Bo"}, headers=headers)
    again = till.call("POST", PATH, {"firstName": "Bo"}, headers=headers)
    assert one.content == again.content and CheckIn.unscoped.count() == 1


def test_the_queue_asks_the_same_of_one_and_of_many(till):
    def asked():
        with CaptureQueriesContext(connection) as log:
            queue(till)
        return len(log)

    till.data("POST", PATH, {"phone": PHONE})
    queue(till)
    few = asked()
    for n in range(20):
        till.data("POST", PATH, {"phone": f"+160455502{n:02}"})
    assert asked() == few <= 4
    assert len(queue(till, limit=5)) == 5 and len(queue(till, start=18)) == 3 and queue(till, start=99) is None


def test_nobody_waits_overnight_and_nothing_stays_for_ever(till):
    till.data("POST", PATH, {"phone": PHONE})
    till.data("POST", PATH, {"phone": "+16045550199"})
    old, older = CheckIn.unscoped.order_by("id")
    CheckIn.unscoped.filter(pk=old.pk).update(at=timezone.now() - timedelta(days=1))
    CheckIn.unscoped.filter(pk=older.pk).update(at=timezone.now() - timedelta(days=31))
    checkins.tidy(now=timezone.now())
    (row,) = CheckIn.unscoped.all()
    assert (row.pk, row.state, row.phone) == (old.pk, "no-show", "")
