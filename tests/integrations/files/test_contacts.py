"""Leaving AIQ: its contact export is counted, confirmed and taken over, once."""

from datetime import date, datetime, timedelta
from decimal import Decimal
from zoneinfo import ZoneInfo

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from integrations import outbox
from integrations.kit.records import ContactRecord, CustomerRecord
from integrations.models import Connection, Credential, Customer, Origin, OutboundWrite, UploadState
from integrations.refusals import Problems
from integrations.uploads import running, services
from loyalty import contact_import, erasure, ledger, merging, personas
from loyalty.models import ConsentLine, ContactAlias, Entry, Lot, Persona, Programme, Source, Wallet
from tests.factories import make_account, make_persona, make_user
from tests.integrations.files.sheets import NOBODY, read, send
from tests.integrations.writing import sign_up
from tests.records import arrive

pytestmark = pytest.mark.django_db

HEAD = "contact_id,src_ids,first_name,last_name,email,mobile_phone,home_phone,loyalty,loyalty_points,loyalty_signup_time,total_spent_as_member,count_of_sales\n"  # noqa: E501
EXPORT = HEAD + (
    "9001,cova:::A1,Ada,Moss,ada@example.test,6045550142,,true,120.5,2021-05-01 10:00:00,900.10,31\n"
    "9002,cova:::B2,Bo,Fern,,6045550143.0,,true,0,1620000000,0,0\n"
    "9003,,Cy,Reed,cy@example.test,,,false,40,,0,0\n"
    '9004,"cova:::D4,clover:::D5",Di,Elm,,,6045550145,TRUE,-12,,0,0\n'
    ",,No,Id,,,,true,5,,,\n"
)
DAY = date(2026, 11, 1)


@pytest.fixture
def account():
    return make_account()


@pytest.fixture
def owner(account):
    return make_user(account)


def counted(account, text=EXPORT):
    upload = send(account, text, name="personas.csv", source="AIQ")
    assert (upload.kind, upload.counting, upload.state) == ("contacts", True, UploadState.QUEUED)
    return read(upload)


def confirm(upload, owner, earn_from=DAY):
    return services.confirm(
        upload=upload, earn_from=earn_from, seen=upload.rows_read, user=owner, now=timezone.now(), enqueue=NOBODY
    )


def taken(account, owner, text=EXPORT):
    upload = counted(account, text)
    confirm(upload, owner)
    return read(upload)


def balance(alias) -> Decimal:
    row = ContactAlias.unscoped.get(alias=alias).persona
    return Wallet.unscoped.get(persona=row.merged_into_id or row.pk).balance


def test_it_is_counted_and_nothing_is_written(account):
    make_persona(account, phone="+16045550142")
    upload = counted(account)
    assert upload.state == UploadState.COUNTED
    told = upload.counted
    assert (told["shoppers"], told["members"], told["points"], told["with_points"]) == (4, 3, "160.50", 2)
    assert (told["known"], told["new"], told["negative"], told["negative_points"]) == (1, 3, 1, "-12.00")
    assert (told["outsiders_points"], told["platforms"]) == ("40.00", {"cova": 3, "clover": 1})
    assert [(row[0], row[1]) for row in told["sample"]] == [("9001", "120.50"), ("9003", "40.00")]
    assert "Ada" not in str(told) and upload.rows_refused == 1
    assert Persona.unscoped.count() == 1 and not Customer.unscoped.exists() and not Entry.unscoped.exists()


def test_it_is_taken_over_as_import_lots_once(account, owner):
    Programme.unscoped.update(expire_days=30)
    upload = taken(account, owner)
    assert (upload.state, upload.message) == (UploadState.DONE, "")
    assert (upload.applied["points"], upload.applied["lots"], upload.applied["enrolled"]) == ("160.50", 2, 3)
    entry = Entry.unscoped.get(key=f"import:{upload.origin_id}:9001")
    assert (entry.kind, entry.points, entry.user_id) == ("import", Decimal("120.50"), owner.pk)
    lot = Lot.unscoped.get(entry_id=entry.pk)
    zone = ZoneInfo(account.timezone)
    gone = datetime.combine(entry.at.astimezone(zone).date() + timedelta(days=31), datetime.min.time(), zone)
    assert (lot.kind, lot.expires_at) == ("import", gone)
    assert [balance(alias) for alias in ("9001", "9002", "9003", "9004")] == [Decimal("120.50"), 0, 40, 0]
    ada = Persona.unscoped.get(first_name="Ada")
    assert ada.member_from == DAY and ada.enrolments(manager="unscoped").get().ground == "import"
    assert Persona.unscoped.get(first_name="Cy").member_from is None
    before = list(Entry.unscoped.values())
    again = taken(account, owner)
    assert (again.applied["lots"], again.applied["already"], again.rows_unchanged) == (0, 2, 4)
    assert list(Entry.unscoped.values()) == before


def test_forty_are_taken_over_with_as_many_statements_as_one(account, owner):
    """All sources of the account are held meanwhile."""
    origin = Origin.unscoped.create(account=account, platform="aiq", identity="1", title="AIQ")
    records = [CustomerRecord(f"c{n}", first_name=f"P{n}", phone=f"+160455501{n:02}") for n in range(41)]
    from_pos(account, origin, *records)
    asked = []
    for some in (records[:1], records[1:]):
        contacts = [ContactRecord(one, Decimal(n + 1), True, None) for n, one in enumerate(some)]
        with CaptureQueriesContext(connection) as seen:
            done = contact_import.take(
                account_id=account.pk, origin_id=origin.pk, contacts=contacts, so_far={}, user_id=owner.pk,
                earn_from=DAY, now=timezone.now(),
            )  # fmt: skip
        assert (done["lots"], done["enrolled"]) == (len(some), len(some))
        assert Decimal(done["points"]) == sum(one.points for one in contacts)
        asked.append(len(seen.captured_queries))
    assert asked[0] == asked[1]
    assert Wallet.unscoped.filter(account=account, balance__gt=0).count() == 41


def test_consent_is_not_assumed(account, owner):
    taken(account, owner)
    assert not ConsentLine.unscoped.exists()


def test_the_old_contact_id_is_accepted_and_follows_merges(account, owner):
    from aiqsync.accounts.tenancy import acting_in

    taken(account, owner)
    ada = Persona.unscoped.get(first_name="Ada")
    with acting_in(account.pk):
        assert personas.find(account_id=account.pk, contact_id="9001") == ada
        assert personas.find(account_id=account.pk, contact_id=str(ada.contact_id)) == ada
        assert personas.find(account_id=account.pk, contact_id="nobody") is None
        other = make_persona(account, phone="+16045550177", first_name="Adelaide")
        merging.merge(account_id=account.pk, one_id=other.pk, other_id=ada.pk, now=timezone.now())
        assert personas.find(account_id=account.pk, contact_id="9001") == other
    stranger = make_account("Another Co")
    with acting_in(stranger.pk):
        assert personas.find(account_id=stranger.pk, contact_id="9001") is None


@pytest.fixture
def cova(account):
    return Origin.unscoped.create(account=account, platform="cova", identity="501", title="Cova 501")


def from_pos(account, origin, *records):
    arrive(origin, CustomerRecord, records, stream="customers", now=timezone.now())


class TestPosRecords:
    """`src_ids` become sources: by what the export says, not by phone."""

    def test_known_before_the_import(self, account, owner, cova):
        from_pos(account, cova, CustomerRecord("A1", first_name="Ada", email="moss@example.test"))
        upload = taken(account, owner)
        assert upload.applied["joined"] == 1
        source = Source.unscoped.get(customer__external_id="A1")
        assert balance("9001") == Decimal("120.50")
        row = ContactAlias.unscoped.get(alias="9001").persona
        assert (source.persona.merged_into_id or source.persona_id) == (row.merged_into_id or row.pk)

    def test_arriving_after_the_import(self, account, owner, cova):
        taken(account, owner)
        people = Persona.unscoped.filter(merged_into=None).count()
        from_pos(account, cova, CustomerRecord("A1", first_name="Ada", email="moss@example.test"))
        assert Persona.unscoped.filter(merged_into=None).count() == people
        from_pos(account, cova, CustomerRecord("Z9", first_name="Zed"))
        assert Persona.unscoped.filter(merged_into=None).count() == people + 1

    def test_two_different_phones_stay_two_people(self, account, owner, cova):
        from_pos(account, cova, CustomerRecord("A1", first_name="Ada", phone="+16045550199"))
        assert taken(account, owner).applied["apart"] == 1
        assert Persona.unscoped.filter(first_name="Ada", merged_into=None).count() == 2


def test_differences_are_listed_largest_first(account, owner):
    upload = taken(account, owner)
    assert contact_import.tally(account_id=account.pk, origin_id=upload.origin_id) == contact_import.Tally(
        4, Decimal("148.50"), Decimal("160.50"), 3, 1
    )
    ada = Persona.unscoped.get(first_name="Ada")
    ledger.adjust(account_id=account.pk, persona_id=ada.pk, points=Decimal(30), key="adjust:x", now=timezone.now())
    found = contact_import.differences(account_id=account.pk, origin_id=upload.origin_id)
    assert [(d.aliases, d.file, d.imported, d.since, d.here, d.difference) for d in found] == [
        (("9001",), Decimal("120.50"), Decimal("120.50"), 30, Decimal("150.50"), 30),
        (("9004",), -12, 0, 0, 0, 12),
    ]


def test_a_crash_between_people_and_points_doubles_nothing(account, owner, monkeypatch):
    upload = counted(account)
    confirm(upload, owner)
    real = running._Run._update

    def dies(self, **changes):
        if changes:
            raise KeyboardInterrupt
        return real(self)

    with monkeypatch.context() as patch:
        patch.setattr(running._Run, "_update", dies)
        with pytest.raises(KeyboardInterrupt):
            running.run_slice(upload.pk)
    assert Persona.unscoped.count() == 4 and not Entry.unscoped.exists()
    type(upload).unscoped.update(lease_until="2026-01-01T00:00:00Z")
    read(upload)
    assert upload.applied["points"] == "160.50" and Entry.unscoped.count() == 2


def test_it_can_be_stopped_and_resumed(account, owner, monkeypatch):
    monkeypatch.setattr(running, "CONTACTS_TOGETHER", 1)
    upload = counted(account)
    confirm(upload, owner)
    assert running.run_slice(upload.pk, slice_s=0)
    services.stop(upload=upload, now=timezone.now())
    assert not running.run_slice(upload.pk) and Entry.unscoped.count() == 1
    services.resume(upload=upload, now=timezone.now(), enqueue=NOBODY)
    assert read(upload).applied["points"] == "160.50"
    assert confirm(upload, owner).state == UploadState.DONE  # confirmed twice is confirmed once


def test_who_asked_to_be_forgotten_stays_out(account, owner):
    upload = taken(account, owner)
    ada = Persona.unscoped.get(first_name="Ada")
    erasure.erase(account_id=account.pk, persona_id=ada.pk, user=None, now=timezone.now())
    assert not ContactAlias.unscoped.filter(alias="9001").exists()
    again = counted(account)
    assert (again.counted["removed"], again.counted["shoppers"]) == (1, 3)
    confirm(again, owner)
    assert read(again).applied["removed"] == 1
    assert not Persona.unscoped.filter(first_name="Ada").exists() and upload.pk != again.pk


def test_a_day_in_the_future_is_refused(account, owner):
    with pytest.raises(Problems, match="today or a day that is over"):
        confirm(counted(account), owner, date(2099, 1, 1))


class TestBesideAPos:
    def test_a_mirrored_balance_does_not_stop_the_file_and_stands_among_the_differences(self, account, owner, cova):
        from loyalty import mirror

        from_pos(account, cova, CustomerRecord("A1", first_name="Ada", phone="+16045550142"))
        mirror.begin(account_id=account.pk, origin_ids=[cova.pk], now=timezone.now())
        upload = taken(account, owner)
        assert (upload.state, upload.message) == (UploadState.DONE, "")
        assert (upload.applied["held"], upload.applied["lots"], upload.applied["points"]) == (1, 1, "40.00")
        assert not Entry.unscoped.filter(key=f"import:{upload.origin_id}:9001").exists()
        found = {
            one.aliases: one
            for one in contact_import.differences(account_id=account.pk, origin_id=upload.origin_id)
        }  # fmt: skip
        assert (found["9001",].here, found["9001",].why) == (0, contact_import.MIRRORED)
        assert found["9004",].why == contact_import.BELOW_ZERO
        # Once the POS no longer says what it is, the same file brings it.
        mirror.end(account_id=account.pk, origin_ids=[cova.pk], now=timezone.now())
        again = taken(account, owner)
        assert (again.applied["held"], again.applied["lots"]) == (0, 1) and balance("9001") == Decimal("120.50")

    def test_who_comes_over_is_created_in_no_pos(self, account, owner, cova):
        """They did not sign up with us: only who does is put there."""
        link = Connection.unscoped.create(account=account, card="cova", settings={"sync_personas": True})
        Credential.unscoped.create(account=account, connection=link, origin=cova, state="connected")
        assert list(outbox.creating(account_id=account.pk, now=timezone.now())) == [cova.pk]
        upload = taken(account, owner)
        assert upload.applied["enrolled"] == 3 and not OutboundWrite.unscoped.exists()
        sign_up(account, 1)
        assert OutboundWrite.unscoped.count() == 1
