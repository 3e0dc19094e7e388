"""The card against a stand-in Cova over real HTTP: connect, read everything, faults in the middle."""

import json
from datetime import UTC, datetime

import pytest
import requests

from integrations.cova.card import CARD
from integrations.kit.errors import BadCredentials, BadRow, TryLater, UnexpectedAnswer
from integrations.kit.limits import Limiter
from integrations.kit.streams import Context

try:
    from integrations.sandbox.server import start
except ImportError:  # the sandbox is not there yet
    start = None

pytestmark = pytest.mark.skipif(start is None, reason="no Cova sandbox")


@pytest.fixture(scope="module")
def running():
    try:
        made = start("cova", customers=320, sales=900, locations=2, seed=7, days=30, rate=0)
    except (ImportError, AttributeError) as missing:
        pytest.skip(f"no Cova sandbox: {missing}")
    yield made
    made.stop()


@pytest.fixture
def sandbox(running):
    control(running, "faults", clear=True)
    return running


def control(running, action, **body):
    answer = requests.post(f"{running.url}/_sandbox/{action}", json=body, timeout=30)
    assert answer.ok, answer.text
    return answer.json()


def look(running, what):
    return requests.get(f"{running.url}/_sandbox/{what}", timeout=30).json()


def make_client(running, **kwargs):
    found = look(running, "credentials")
    values = {name: str(found[name]) for name in (field.name for field in CARD.credentials)}
    return CARD.client(values=values, base_url=running.url, **kwargs)


def read(client, name, context, cursor, *, details=False):
    """Everything a stream delivers from a cursor on: records by id, refusals, the cursor."""
    stream = CARD.stream(name)
    records, refused = {}, []
    for page in stream.pages.walk(client, stream, context, json.loads(json.dumps(cursor))):
        for row in page.rows:
            try:
                record = stream.parse(row, context)
            except BadRow as bad:
                refused.append(bad.reason)
                continue
            if details and stream.details_reason(record, context):
                record = stream.fetch_details(client, record, context)
            records[record.external_id] = record
        cursor = page.cursor
    return records, refused, cursor


def context_for(client, verified, **kwargs):
    return Context(
        now=datetime.now(UTC),
        identity=client.identity,
        locations=tuple(x.external_id for x in verified.locations),
        **{"history_days": 40, **kwargs},
    )


def expected(running, stream):
    """The sandbox's own account of what a correct client ends up with: id -> line."""
    rows = look(running, "state?rows=1")[stream]["rows"]
    return {line.split("|")[0].lower(): line for line in rows}


def line_of(sale):
    """A sale as the sandbox's own account writes it; from the feed alone a walk-in is no known fulfilment."""
    lines = sum(x.total_cents for x in sale.lines)
    return (
        f"{sale.external_id}|{sale.number.lower()}|{sale.kind}|{sale.location_id}|{sale.customer_id}|"
        f"{sale.sold_at:%Y-%m-%dt%H:%M:%Sz}|{sale.total_cents}|{sale.tax_cents}|{lines}|"
        f"{len(sale.lines)}|{sale.fulfilment}|{sale.employee_id}"
    )


def test_connect_and_read_everything(sandbox):
    with make_client(sandbox) as client:
        verified = CARD.connect(client)
        assert verified.identity and len(verified.locations) == 2
        context = context_for(client, verified)
        assert read(client, "pricing_groups", context, {})[0]
        for name in ("locations", "customers"):
            records, refused, _ = read(client, name, context, {})
            assert not refused
            assert set(records) == set(expected(sandbox, name)), name
        sales, refused, _ = read(client, "sales", context, {}, details=True)
        assert not refused
        assert set(sales) == set(expected(sandbox, "sales"))
        for found, line in expected(sandbox, "sales").items():
            assert line_of(sales[found]) == line.lower().replace("|in_store|", "||")
        assert all(sale.original_id for sale in sales.values() if sale.kind == "refund")
        assert all(sale.payments or not sale.total_cents for sale in sales.values())


def test_a_sale_made_now_is_read_by_the_next_pull(sandbox):
    with make_client(sandbox) as client:
        verified = CARD.connect(client)
        _, _, cursor = read(client, "sales", context_for(client, verified), {})
        sold = control(sandbox, "sell")
        records, _, _ = read(client, "sales", context_for(client, verified), cursor)
        assert records[sold["id"].lower()].total_cents == sold["total_cents"]


@pytest.mark.parametrize("kind", ["429", "500", "reset", "cut", "duplicate", "repeat", "html", "redirect", "garbled"])
@pytest.mark.parametrize(("stream", "match"), [("customers", "/crm"), ("sales", "/posreports")])
def test_faults_in_the_middle_lose_nothing(sandbox, stream, match, kind):
    if (stream, kind) == ("sales", "repeat"):
        pytest.skip("an empty answer in place of another window's is no different from a quiet day (see the next test)")
    with make_client(sandbox, limiter=Limiter(0, max_wait_s=0)) as client:
        context = context_for(client, CARD.connect(client))
        declared = CARD.stream(stream)
        seen, cursor, pages = set(), {}, 0
        for attempt in range(30):
            try:
                for page in declared.pages.walk(client, declared, context, json.loads(json.dumps(cursor))):
                    seen.update(declared.row_id(row).lower() for row in page.rows)
                    cursor = page.cursor
                    pages += 1
                    if pages == 2:
                        control(sandbox, "faults", match=match, kind=kind, times=2, seconds=1)
                break
            except (TryLater, UnexpectedAnswer) as failed:
                assert attempt < 29, failed
                client.limiter = None
        assert set(expected(sandbox, stream)) <= seen


def test_a_page_of_other_days_is_not_taken_for_the_answer(sandbox):
    with make_client(sandbox, limiter=Limiter(0, max_wait_s=0)) as client:
        context = context_for(client, CARD.connect(client))
        declared = CARD.stream("sales")
        pages = declared.pages.walk(client, declared, context, {})
        for page in pages:
            if len(page.rows) > 3 and page.done > 10:  # well in the past
                break
        control(sandbox, "faults", match="/posreports", kind="repeat", times=-1)
        with pytest.raises(UnexpectedAnswer):
            for page in pages:
                assert not page.rows


@pytest.mark.parametrize(
    ("kind", "match", "setting"),
    [("bad_password", "/v1/oauth2", "password"), ("temporary_password", "/v1/oauth2", "password")],
)
def test_refused_log_ins(sandbox, kind, match, setting):
    control(sandbox, "faults", match=match, kind=kind, times=1)
    with make_client(sandbox) as client, pytest.raises(BadCredentials) as raised:
        CARD.connect(client)
    assert raised.value.setting == setting
    if kind == "temporary_password":
        assert "hub.covasoft.net" in raised.value.message


def test_a_token_that_stopped_working_is_renewed(sandbox):
    with make_client(sandbox) as client:
        CARD.connect(client)
        control(sandbox, "expire")
        assert CARD.connect(client).identity
