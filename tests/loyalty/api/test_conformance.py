"""The conformance kit against ourselves: every case holds, and the kit finds what does not."""

import pytest

from aiqsync.accounts.models import Scope
from loyalty.api import throttling
from loyalty.models import Programme
from stores.models import Store
from tests.conformance import __main__ as program
from tests.conformance.kit import CASES, Answer, Failed, Session, in_envelope, play, table
from tests.factories import make_account, make_discount, make_key

from .pos import connect


@pytest.fixture
def ours(live_server, transactional_db, settings):
    settings.WEB_WORKERS, settings.API_RATE_PER_MINUTE = 1, 0
    throttling.forget()
    account = make_account()
    connect(account)
    Programme.unscoped.update_or_create(account=account, defaults={"enabled": True})
    Store.unscoped.create(account=account, number=1, name="Main")
    make_discount(account, points=100, reusable=True)
    return live_server.url, account.uid, make_key(account, Scope.ADMIN)


def test_every_documented_flow(ours):
    assert len(CASES) >= 60
    results = play(Session(*ours), CASES)
    told = table(results)
    assert [one for one in results if one.outcome == "failed"] == [], told
    skipped = {one.case.title: one.said for one in results if one.outcome == "skipped"}
    assert not skipped, told


def test_as_a_program(ours, capsys, monkeypatch, tmp_path):
    url, uid, key = ours
    (tmp_path / "key").write_text(key + "\n")
    monkeypatch.setenv("KIT_KEY", key)
    for given in (f"@{tmp_path / 'key'}", "env:KIT_KEY"):
        assert program.main(["--base-url", url, "--uid", uid, "--key", given, "--only", "key"]) == 0
        assert "0 failed" in capsys.readouterr().out
    assert program.main(["--base-url", url, "--uid", uid, "--key", "wrong", "--only", "stores"]) == 1
    assert "FAILED" in capsys.readouterr().out
    assert program.main(["--base-url", "http://127.0.0.1:9", "--uid", uid, "--key", key, "--only", "stores"]) == 1
    assert "no answer" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (200, None),
        (200, []),
        (200, {"data": 1}),
        (200, {"data": 1, "code": 200}),
        (200, {"data": 1, "code": 201, "success": True}),
        (200, {"data": 1, "code": 200, "success": False}),
        (200, {"data": 1, "code": 200, "success": True, "errors": [{"message": "x"}]}),
        (404, {"code": 404, "success": False}),
        (404, {"errors": [{}], "code": 404, "success": False}),
        (404, {"errors": [{"message": "x"}], "code": 404, "success": True}),
    ],
)
def test_what_is_no_envelope(status, body):
    with pytest.raises(Failed):
        in_envelope(Answer(status, body, "", {}))
