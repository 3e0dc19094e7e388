"""What a review found: each case was a loss, a doubling or an endless loop once."""

import json
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal

import pytest
from django.core.management import CommandError, call_command
from django.utils import timezone

from integrations import pulling, registry, services
from integrations.kit.card import Verified
from integrations.kit.errors import BadRow
from integrations.models import Credential, Customer, Origin, RefusedRow, Sale, StreamState, SyncRun

pytestmark = pytest.mark.django_db
CARD = registry.get("cova")


def test_one_failing_location_does_not_stop_the_others(cova):
    cova.connect()
    cova.sync()
    bad, *good = cova.control("state?rows=1")["locations"]["rows"]
    bad, *good = (row.split("|")[0] for row in (bad, *good))
    sold = [cova.control("sell", location=int(place))["id"] for place in good]
    cova.fault("500", f"/posreports/v1/Companies(501200)/Entities({bad})", times=-1)
    run = cova.sync("sales")["sales"]
    assert run.status == "failed"
    assert Sale.unscoped.filter(external_id__in=sold).count() == len(sold) == 2


def test_a_leading_zero_is_the_same_company(cova):
    cova.connect()
    link = Credential.unscoped.get().connection
    second = services.save_credential(connection=link, given=cova.given() | {"company_id": "0501200"})
    assert second.values["company_id"] == "501200"
    with pytest.raises(services.Refused, match="already connected"):
        services.connect(credential=second, now=timezone.now())
    assert Origin.unscoped.count() == 1


def test_another_company_ends_what_is_being_read(cova):
    credential = cova.connect()
    cova.sync("locations")
    run = services.enqueue_run(state=StreamState.unscoped.get(stream="customers"), enqueue=None)
    token = pulling.claim(run.pk)
    StreamState.unscoped.update(cursor={"since": "2026-01-01T00:00:00Z"})
    services._accept(credential, CARD, Verified("777", "Another"), timezone.now())
    always = {stream.name for stream in CARD.streams if not stream.on_demand}
    assert set(StreamState.unscoped.values_list("stream", flat=True)) == always
    assert not StreamState.unscoped.exclude(cursor={}).exists()
    with pytest.raises(pulling.LostLease):
        pulling._renew(run, token)


def test_refused_details_stay_open(cova, monkeypatch):
    def garbled(client, record, context):
        raise BadRow("The details are of another invoice.")

    cova.connect()
    monkeypatch.setattr(CARD.stream("sales"), "fetch_details", garbled)
    cova.sync()
    refused = RefusedRow.unscoped.filter(stream="sales")
    assert refused.exists() and not refused.exclude(solved_at=None).exists()
    # The sale itself is there; once its details can be read, the row is solved.
    assert Sale.unscoped.filter(external_id=refused.first().external_id).exists()
    monkeypatch.undo()
    cova.sync("sales", full=True)
    assert not refused.filter(solved_at=None).exists()


def test_a_full_sync_stays_one_when_its_worker_dies(cova, monkeypatch):
    cova.connect()
    cova.sync()
    state = StreamState.unscoped.get(stream="customers")
    run = services.enqueue_run(state=state, enqueue=None, full=True)

    def killed(self):
        raise SystemExit

    monkeypatch.setattr(pulling.Pull, "work", killed)
    with pytest.raises(SystemExit):
        services.run_slice(run.pk)
    monkeypatch.undo()
    SyncRun.unscoped.filter(pk=run.pk).update(lease_until=timezone.now() - timedelta(seconds=1))
    while services.run_slice(run.pk):
        pass
    run.refresh_from_db()
    assert (run.status, run.rows_read >= Customer.unscoped.count()) == ("done", True)


def test_a_row_that_the_database_cannot_hold(cova, monkeypatch):
    cova.connect()
    cova.sync("locations", "pricing_groups", "customers")
    stream = CARD.stream("sales")
    parse, chosen = stream.parse, []

    def spoilt(row, context):
        record = parse(row, context)
        if not chosen or record.external_id == chosen[0]:
            chosen[:] = [record.external_id]
            lines = (record.lines[0]._replace(unit_price=Decimal("1e12")), *record.lines[1:])
            return record._replace(lines=lines)
        return record

    monkeypatch.setattr(stream, "parse", staticmethod(spoilt))
    run = cova.sync("sales")["sales"]
    assert (run.status, run.rows_refused >= 1) == ("done", True)
    assert Sale.unscoped.count() == cova.control("state")["sales"]["count"] - 1
    assert RefusedRow.unscoped.get().external_id == chosen[0]


def test_half_a_surrogate_pair_in_a_refused_row(cova, monkeypatch):
    cova.connect()
    stream = CARD.stream("customers")
    parse = stream.parse

    def spoilt(row, context):
        row["PrimaryName"] = "\ud83d"
        if int(row["Id"][:2], 16) < 8:
            raise BadRow("No.")
        row["PrimaryName"] = "Ada"
        return parse(row, context)

    monkeypatch.setattr(stream, "parse", staticmethod(spoilt))
    run = cova.sync("customers")["customers"]
    assert run.status == "done" and run.rows_refused and run.rows_new


@pytest.mark.parametrize("name", ["A\x00da", "C:\\u0000", "\\\x00", "\\\\u0000\x00\\", "\\"])
def test_nuls_and_backslashes_in_a_refused_row(cova, monkeypatch, name):
    cova.connect()
    stream = CARD.stream("customers")
    refused = []

    def spoilt(row, context):
        refused.append(row["Id"])
        row["PrimaryName"], row["N\x00"] = name, [name]
        raise BadRow("N\x00o.")

    monkeypatch.setattr(stream, "parse", staticmethod(spoilt))
    run = cova.sync("customers")["customers"]
    assert run.status == "done" and run.rows_refused == len(refused) > 0
    for kept in RefusedRow.unscoped.all():
        assert kept.row["PrimaryName"] == name.replace("\x00", "") and kept.row["N"] == [name.replace("\x00", "")]
        assert kept.reason == "No."


def test_a_refused_row_whose_id_cannot_be_stored(cova, monkeypatch):
    cova.connect()
    stream = CARD.stream("customers")

    def spoilt(row, context):
        raise BadRow("No.", external_id="a\x00b\ud83d")

    monkeypatch.setattr(stream, "parse", staticmethod(spoilt))
    assert cova.sync("customers")["customers"].status == "done"
    assert RefusedRow.unscoped.get().external_id == "ab?"


def test_an_error_of_ours_is_told_without_the_row(cova, monkeypatch, caplog):
    cova.connect()

    def broken(row, context):
        raise ValueError(json.dumps(row))

    monkeypatch.setattr(CARD.stream("customers"), "parse", staticmethod(broken))
    run = cova.sync("customers")["customers"]
    assert (run.status, run.error) == ("failed", "internal")
    assert "ValueError at" in run.detail and "PrimaryName" not in run.detail + caplog.text


def test_the_command_line_does_not_break_what_works(cova):
    cova.connect()
    args = [f"--set={n}={'mistyped' if n == 'password' else v}" for n, v in cova.given().items()]
    with pytest.raises(CommandError, match="does not accept the username and password"):
        call_command("connect", "cova", "--account", cova.account.uid, *args)
    credential = Credential.unscoped.get()
    assert (credential.state, credential.secrets["password"]) == ("connected", cova.given()["password"])


def test_a_disconnect_is_not_undone_by_a_log_in(cova):
    from integrations.clients import client_for

    credential = cova.connect()
    Credential.unscoped.update(token=None)
    credential.refresh_from_db()
    with client_for(credential, CARD) as client:
        services.disconnect(credential=credential)
        client.authorize()
    assert Credential.unscoped.get().token is None


@pytest.mark.parametrize("act", ["connect", "reconnect", "store", "draft"])
def test_what_was_chosen_while_a_credential_is_saved_stays(cova, monkeypatch, act):
    """Somebody freezes it and chooses its market while another enters its values: neither undoes the other."""
    credential = cova.connect()
    stale = Credential.unscoped.select_related("connection").get(pk=credential.pk)

    def meanwhile():
        services.freeze(credential=credential, now=timezone.now())
        services.save_credential_settings(
            credential=credential, given={"relevant_market": ["CA-BC"]}, now=timezone.now()
        )
        Credential.unscoped.filter(pk=credential.pk).update(writes_failed=3, writes_message="Later.")

    if act in ("connect", "reconnect"):
        real = CARD.connect

        def asked(client):
            verified = real(client)
            meanwhile()
            return verified

        monkeypatch.setattr(registry, "get", lambda slug: replace(CARD, connect=asked))
        if act == "connect":
            services.connect(credential=stale, now=timezone.now())
        else:
            services.reconnect(credential=stale, given=cova.given(), now=timezone.now())
    else:
        meanwhile()
        if act == "store":
            services.save_credential(connection=stale.connection, given=cova.given(), credential=stale)
        else:
            Credential.unscoped.filter(pk=stale.pk).update(state="draft")
            stale.state = "draft"
            services.keep_draft(connection=stale.connection, given={"company_id": "501200"}, credential=stale)
    credential.refresh_from_db()
    assert credential.frozen_at and credential.settings == {"relevant_market": ["CA-BC"]}
    assert (credential.writes_failed, credential.writes_message) == (3, "Later.")


def test_the_first_success_brings_the_rhythm_back(cova):
    cova.connect()
    cova.sync()
    cova.fault("html", "/crm/", times=-1)
    assert cova.sync("customers")["customers"].status == "failed"
    state = StreamState.unscoped.filter(stream="customers")
    wait = (state.get().next_due - timezone.now()).total_seconds()
    assert 20 < wait < 40  # as soon as after any first fault
    cova.control("faults", clear=True)
    state.update(next_due=timezone.now() + timedelta(minutes=30))
    assert cova.sync("customers")["customers"].status == "done"
    assert state.get().next_due <= timezone.now() + timedelta(seconds=21)


def test_the_lease_is_kept_before_each_call(cova, monkeypatch):
    """A vendor that answers slowly is not a dead worker: without this a slow window was begun again for ever."""
    renewed, renew = [], pulling._renew

    def counted(run, token, **changes):
        renewed.append(bool(changes))
        renew(run, token, **changes)

    cova.connect()
    monkeypatch.setattr(pulling, "RENEW_S", 0)
    monkeypatch.setattr(pulling, "_renew", counted)
    run = cova.sync("customers")["customers"]
    assert run.calls > 1 and renewed.count(False) >= run.calls
