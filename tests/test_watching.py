"""What is watched: each kind of alert by the facts that raise it, and by those that do not."""

from datetime import timedelta
from types import SimpleNamespace

import pytest
from django.core import mail
from django.core.checks import run_checks
from django.utils import timezone

from aiqsync import watching
from aiqsync.accounts import alerts
from aiqsync.accounts.models import Alert
from aiqsync.accounts.tenancy import acting_in
from integrations import services
from integrations.models import (
    Connection,
    Credential,
    Location,
    Origin,
    OutboundWrite,
    RefusedRow,
    StreamState,
    SyncRun,
)
from loyalty import mirror
from loyalty.models import Programme
from stores import services as stores
from tests.factories import make_account, make_store, make_user

pytestmark = pytest.mark.django_db
NOW = timezone.now()
HOUR, MINUTE = timedelta(hours=1), timedelta(minutes=1)


class Shop:
    """A connected Cova that works: read a moment ago, one mapped location."""

    def __init__(self) -> None:
        self.account = make_account()
        self.owner = make_user(self.account, email="olga@example.test")
        with acting_in(self.account.pk):
            self.connection = Connection.objects.create(card="cova")
            self.origin = Origin.objects.create(platform="cova", identity="1")
            self.credential = Credential.objects.create(
                connection=self.connection, origin=self.origin, state="connected", connected_at=NOW
            )
            self.place = Location.objects.create(origin=self.origin, external_id="1", name="Harbour")
            stores.map_location(location=self.place, store=make_store(self.account))
            self.stream = StreamState.objects.create(
                credential=self.credential, stream="sales", read_until=NOW, next_due=NOW, last_success_at=NOW,
                first_done_at=NOW - 9 * HOUR,
            )  # fmt: skip

    def is_now(self, model=None, **fields) -> None:
        model = model or self.stream
        type(model).unscoped.filter(pk=model.pk).update(**fields)

    def found(self, now=NOW) -> list[tuple[str, str]]:
        return [(one.kind, one.title) for judge in watching.JUDGES.values() for _, one in judge(now)]


@pytest.fixture
def shop():
    return Shop()


def test_nothing_is_wrong(shop):
    assert shop.found() == []
    # Whatever is shown as watched has a judge, but for what is said of judges.
    assert set(alerts.KINDS) == {*watching.JUDGES, watching.UNJUDGED.name}


def test_a_refused_log_in(shop):
    shop.is_now(shop.credential, state="paused", message="The password is temporary.")
    shop.is_now(failing_since=NOW - HOUR, failures=9, read_until=NOW - HOUR, next_due=NOW - HOUR)
    [(_, one)] = watching.failing_credentials(NOW)
    assert one.title == "Cova does not let us in" and "The password is temporary." in one.text
    assert one.since == NOW - HOUR and one.path.endswith(f"/credentials/{shop.credential.pk}/")
    assert [kind for kind, _ in shop.found()] == ["failing_credential"]  # its streams are late for that reason


@pytest.mark.parametrize(
    ("fields", "late"),
    [
        ({"failures": 5, "failing_since": NOW - HOUR, "message": "Cova answers with an error."}, True),
        ({"failures": 2, "failing_since": NOW - HOUR}, False),
        ({"failures": 5, "failing_since": NOW - 10 * MINUTE}, False),
        ({"read_until": NOW - HOUR, "next_due": NOW - HOUR}, True),  # nobody comes
        ({"read_until": NOW - HOUR}, False),  # due now
        ({"read_until": NOW - HOUR, "next_due": NOW - HOUR, "enabled": False}, False),
    ],
)
def test_a_late_stream(shop, fields, late):
    shop.is_now(**fields)
    assert [kind for kind, _ in shop.found()] == ["stale_stream"] * late


def test_a_long_first_sync_is_not_late(shop):
    shop.is_now(read_until=None, next_due=NOW - HOUR, first_done_at=None)
    with acting_in(shop.account.pk):
        SyncRun.objects.create(stream=shop.stream, status="running", lease_until=NOW + MINUTE)
    assert shop.found() == []


def test_late_streams_of_a_credential_are_one_alert(shop):
    with acting_in(shop.account.pk):
        StreamState.objects.create(credential=shop.credential, stream="customers")
    StreamState.unscoped.update(read_until=NOW - HOUR, next_due=NOW - HOUR)
    [(_, title)] = shop.found()
    assert title == "Cova is late: Sales, Customers"


def test_a_location_without_a_store(shop):
    with acting_in(shop.account.pk):
        stores.unmap_location(location=shop.place)
        assert shop.found() == [("unmapped_location", "One location of Cova without a store")]
        Location.objects.create(origin=shop.origin, external_id="2", active=False)  # closed in the POS
        Location.objects.create(origin=shop.origin, external_id="3")
        assert shop.found() == [("unmapped_location", "2 locations of Cova without a store")]
        for place in Location.objects.all():
            stores.map_location(location=place, store=None)
        assert shop.found() == []


def test_refused_rows(shop):
    with acting_in(shop.account.pk):
        for key in ("1", "2"):
            RefusedRow.objects.create(origin=shop.origin, stream="sales", key=key, reason="no id")
    assert shop.found() == [("refused_rows", "2 rows of Cova could not be read")]
    [(_, one)] = watching.refused_rows(NOW)
    assert "Mend them in Cova; the next sync takes them." in one.text
    RefusedRow.unscoped.update(solved_at=NOW)
    assert shop.found() == []


@pytest.mark.parametrize(("slug", "there"), [("cova", "refused"), ("push", "refused"), ("files", "files")])
def test_an_alert_of_refused_rows_leads_to_where_they_are(client, shop, slug, there):
    shop.is_now(shop.connection, card=slug)
    shop.is_now(shop.stream, enabled=False)
    with acting_in(shop.account.pk):
        RefusedRow.objects.create(origin=shop.origin, stream="sales", key="1", reason="no id")
    [one] = [one for _, one in watching.JUDGES["refused_rows"](NOW)]
    path, _, anchor = one.path.partition("#")
    assert anchor == there
    client.force_login(shop.owner)
    assert f'id="{anchor}"' in client.get(path).content.decode()


@pytest.mark.parametrize(
    ("card", "title", "said"),
    [("push", "1 row sent to Push API could not be taken", "sends them again"),
     ("files", "1 row of File drop could not be read", "send that file"),
     ("clover", "1 row of Clover could not be read", "Mend them in Clover")],
)  # fmt: skip
def test_what_is_said_of_refused_rows_is_true_of_the_card(shop, card, title, said):
    shop.is_now(shop.connection, card=card)
    shop.is_now(enabled=False)
    with acting_in(shop.account.pk):
        RefusedRow.objects.create(origin=shop.origin, stream="sales", key="1", reason="no id")
    [(_, one)] = watching.refused_rows(NOW)
    assert one.title == title and said in one.text and ("the next sync" in one.text) == (card == "clover")


def broken(now):
    yield from ()
    raise RuntimeError("a judge's mistake")


def test_a_judge_that_fails_silences_no_other(shop, monkeypatch, caplog):
    shop.is_now(failures=9, failing_since=NOW - HOUR)
    with acting_in(shop.account.pk):
        RefusedRow.objects.create(origin=shop.origin, stream="sales", key="1", reason="no id", first_at=NOW - HOUR)
    watching.look(now=NOW)
    monkeypatch.setitem(watching.JUDGES, "refused_rows", broken)
    monkeypatch.setitem(watching.JUDGES, "failing_credential", broken)
    shop.is_now(failures=0, failing_since=None, read_until=NOW + HOUR, next_due=NOW + HOUR)
    make_account("Without a card")
    for minute in (1, 6, 20):
        watching.look(now=NOW + minute * MINUTE)
    found = {(one.kind, one.subject): one for one in Alert.unscoped.filter(account=shop.account)}
    assert found["stale_stream", f"credential:{shop.credential.pk}"].closed_at  # judged as ever
    # What is not judged is not over.
    assert found["refused_rows", f"origin:{shop.origin.pk}"].clear_since is None
    blind = found["unjudged", "kind:refused_rows"]
    assert blind.opened_at == NOW + 6 * MINUTE and "“Refused rows” is not watched" in blind.title
    assert found["unjudged", "kind:failing_credential"].opened_at and len(found) == 4
    assert not Alert.unscoped.exclude(account=shop.account).exists()  # who has no card is waiting for nothing
    assert "a judge's mistake" in caplog.text and "'refused_rows' could not be judged" in caplog.text
    monkeypatch.undo()
    watching.look(now=NOW + 21 * MINUTE)
    watching.look(now=NOW + 40 * MINUTE)
    assert not Alert.unscoped.filter(kind="unjudged", closed_at=None).exists()


def test_an_account_that_cannot_be_settled_silences_no_other(shop, monkeypatch):
    others = [make_account(name) for name in ("Before", "After")]
    monkeypatch.setitem(
        watching.JUDGES, "stale_stream",
        lambda now: [(account.pk, alerts.Finding("stale_stream", "x", "Late")) for account in (*others, shop.account)],
    )  # fmt: skip
    real = alerts.settle

    def settle(*, account_id, **more):
        if account_id == others[0].pk:
            raise RuntimeError("a mistake about one account")
        return real(account_id=account_id, **more)

    monkeypatch.setattr(alerts, "settle", settle)
    assert watching.look(now=NOW) == alerts.Settled(2, 0)


def test_when_the_database_is_away_that_is_one_fault(shop, monkeypatch):
    monkeypatch.setitem(watching.JUDGES, "refused_rows", broken)
    monkeypatch.setattr(watching, "connection", SimpleNamespace(is_usable=lambda: False))
    with pytest.raises(RuntimeError):
        watching.look(now=NOW)


def test_mail_without_an_address_of_ours_is_said(settings):
    settings.EMAIL_HOST, settings.PUBLIC_URL = "mail.example.test", ""
    [said] = run_checks()
    assert said.id == "aiqsync.W001" and "PUBLIC_URL" in said.msg
    settings.PUBLIC_URL = "https://loyalty.example.test"
    assert run_checks() == []
    settings.EMAIL_HOST, settings.PUBLIC_URL = "", ""
    assert run_checks() == []


def ran(shop, calls, *, stream=None, minutes=10, ended=1, pages=None, **fields):
    """A run of a stream that took so many minutes and ended so many minutes ago; None: it runs still."""
    until = NOW if ended is None else NOW - ended * MINUTE
    if ended is None:
        fields |= {"status": "running", "lease_until": NOW + MINUTE}
    with acting_in(shop.account.pk):
        return SyncRun.objects.create(
            stream=stream or shop.stream, started_at=until - minutes * MINUTE, calls=calls,
            pages=calls if pages is None else pages, **{"status": "done", "finished_at": ended and until} | fields,
        )  # fmt: skip


def other_stream(shop, name, **fields):
    with acting_in(shop.account.pk):
        return StreamState.objects.create(
            credential=shop.credential, stream=name, read_until=NOW, next_due=NOW, last_success_at=NOW,
            **{"first_done_at": NOW - 9 * HOUR} | fields,
        )  # fmt: skip


def near(shop) -> str:
    """What is said of the limit, "" for nothing."""
    return " ".join(one.text for _, one in watching.rate_limits(NOW))


@pytest.mark.parametrize(("calls", "fields", "said"), [
    (12_000, {}, "12,000 calls"), (11_000, {}, ""), (12_000, {"full": True}, ""), (12_000, {"manual": True}, ""),
    # Only what lies in the quarter of an hour counts: a run of an hour had a quarter of its calls in it.
    (24_000, {"minutes": 20, "ended": 5}, "12,000 calls"), (44_000, {"minutes": 60, "ended": None}, ""),
    (48_000, {"minutes": 60, "ended": None}, "12,000 calls"), (48_000, {"minutes": 1, "ended": 16}, ""),
])  # fmt: skip
def test_the_limit_is_near(shop, calls, fields, said):
    """Cova allows 1,000 a minute: 15,000 in a quarter of an hour."""
    ran(shop, calls, **fields)
    assert said in near(shop) and bool(near(shop)) == bool(said)
    assert [kind for kind, _ in shop.found()] == ["rate_limit"] * bool(said)


def test_two_runs_count_together(shop):
    ran(shop, 6_000, minutes=5, ended=8)
    assert not near(shop)
    ran(shop, 6_000, minutes=5, ended=1)
    assert "12,000 calls in a quarter of an hour for Sales, where Cova allows 15,000." in near(shop)


def test_each_service_has_an_allowance_of_its_own(shop):
    """Cova counts by service: customers and sales do not add up, nor do a list and the single sales beside it."""
    ran(shop, 8_000)
    ran(shop, 8_000, stream=other_stream(shop, "customers"))
    assert not near(shop)
    ran(shop, 6_000, minutes=2, pages=1_000)
    assert not near(shop)  # 9,000 pages, 5,000 single sales
    ran(shop, 8_000, minutes=2, pages=0)
    assert "13,000 calls" in near(shop)  # 9,000 pages, 13,000 single sales


def test_a_token_has_one_allowance_for_all_streams(shop):
    """Clover counts by token: 960 a minute, 14,400 in a quarter of an hour."""
    shop.is_now(shop.connection, card="clover")
    ran(shop, 6_000)
    assert not near(shop)
    ran(shop, 6_000, stream=other_stream(shop, "customers"))
    assert "12,000 calls in a quarter of an hour for Customers and Sales, where Clover allows 14,400." in near(shop)
    assert "location" not in near(shop)  # Clover has no such setting


def test_rounds_of_balances_take_what_there_is(shop):
    ran(shop, 14_000, stream=other_stream(shop, "points"))
    assert not near(shop)


def test_the_limit_is_the_installations_where_that_is_lower(shop, settings):
    settings.CARD_RATES = {"cova": 100}
    ran(shop, 1_200)
    assert "where this installation is set to ask at most 1,500" in near(shop) and "has set its pace" in near(shop)
    settings.CARD_RATES = {"cova": 0}  # no pacing: nothing waits
    assert not near(shop)


def test_only_what_would_help_is_advised(shop):
    ran(shop, 13_000)
    assert "Skip importing payment method" in near(shop) and "Restrict imports by location ID" in near(shop)
    shop.is_now(shop.connection, settings={"skip_payment_method": True, "restrict_locations": ["1"]})
    assert "If it lasts, ask Cova for a higher limit." in near(shop)
    assert "Skip" not in near(shop) and "Restrict" not in near(shop)
    shop.is_now(shop.connection, settings={})
    shop.is_now(stream="customers")
    assert "Skip" not in near(shop) and "Restrict" not in near(shop)


@pytest.mark.parametrize("what", ["credential", "connection", "disconnected"])
def test_frozen_and_disconnected_are_nobodys_alert(shop, what):
    shop.is_now(failures=9, failing_since=NOW - HOUR)
    with acting_in(shop.account.pk):
        stores.unmap_location(location=shop.place)
    if what == "disconnected":
        services.disconnect(credential=shop.credential)
    else:
        shop.is_now(getattr(shop, what), frozen_at=NOW)
    assert shop.found() == []


def test_failed_writes(shop):
    for key, state, ago in (("a", "failed", 2), ("b", "failed", 1), ("c", "waiting", 9), ("d", "given_up", 9)):
        OutboundWrite.unscoped.create(
            account=shop.account, origin=shop.origin, writer="customer", key=key, subject=key, state=state,
            created_at=NOW - ago * HOUR,
        )  # fmt: skip
    [(account, one)] = watching.failed_writes(NOW)
    assert (account, one.title) == (shop.account.pk, "2 shoppers were not created in Cova")
    assert one.since == NOW - 2 * HOUR and one.path.endswith("#writes") and "try again" in one.text
    OutboundWrite.unscoped.filter(key="a").update(state="sent")
    assert shop.found() == [("failed_writes", "One shopper was not created in Cova")]
    OutboundWrite.unscoped.update(state="given_up")
    assert shop.found() == []


def test_the_poss_own_programme_beside_ours(shop):
    shop.is_now(shop.origin, own_points_at=NOW - HOUR)
    [(account, one)] = watching.own_programmes(NOW)
    assert (account, one.kind, one.subject) == (shop.account.pk, "own_programme", f"origin:{shop.origin.pk}")
    assert "earn twice" in one.text and "mirror its points" in one.text and one.path.endswith("#settings")
    assert [kind for kind, _ in shop.found()] == ["own_programme"]
    assert list(watching.own_programmes(NOW + timedelta(days=4))) == []
    with acting_in(shop.account.pk):
        mirror.begin(account_id=shop.account.pk, origin_ids=[shop.origin.pk], now=NOW)
    assert shop.found() == []
    mirror.end(account_id=shop.account.pk, origin_ids=[shop.origin.pk], now=NOW)
    assert shop.found() != []
    Programme.unscoped.filter(account=shop.account).update(enabled=False)
    assert shop.found() == []


def test_from_the_facts_to_the_mail_and_back(shop):
    shop.is_now(failures=9, failing_since=NOW - HOUR, message="Cova answers with an error.")
    assert watching.look(now=NOW) == alerts.Settled(1, 0)
    assert watching.look(now=NOW + MINUTE) == alerts.Settled(0, 0)
    alerts.deliver_due(now=NOW)
    [sent] = mail.outbox
    assert sent.to == ["olga@example.test"] and "Cova is late" in sent.subject
    shop.is_now(failures=0, failing_since=None, read_until=NOW + HOUR, next_due=NOW + HOUR)
    watching.look(now=NOW + 2 * MINUTE)
    assert watching.look(now=NOW + 20 * MINUTE) == alerts.Settled(0, 1)
    assert Alert.unscoped.get().closed_at


def test_few_statements_however_many_accounts(shop, django_assert_max_num_queries):
    for number in range(3):
        account = make_account(f"Other {number}")
        with acting_in(account.pk):
            origin = Origin.objects.create(platform="cova", identity="1")
            Credential.objects.create(
                connection=Connection.objects.create(card="cova"), origin=origin, state="connected"
            )
    with django_assert_max_num_queries(16):
        watching.look(now=NOW)
