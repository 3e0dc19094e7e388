"""The stand-in for Cova keeps its word: log-in, strictness, figures that agree, faults, and a till.

No database; the server runs in this process on a free port and is spoken to with plain `http.client`.
"""

import http.client
import json
import threading
import urllib.parse
from collections import Counter
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from integrations.sandbox import server

CID = 501200
FORM = "application/x-www-form-urlencoded"


class Client:
    """One keep-alive connection with a token."""

    def __init__(self, url):
        self.address = urllib.parse.urlsplit(url)
        self.connection = http.client.HTTPConnection(self.address.hostname, self.address.port, timeout=10)
        self.token = None

    def call(self, method, path, *, query=None, body=None, accept="application/json", token=True, form=None):
        headers = {"Accept": accept} if accept else {}
        data = None
        if token and self.token:
            headers["Authorization"] = f"Bearer {self.token}"
        if form is not None:
            data, headers["Content-Type"] = urllib.parse.urlencode(form), FORM
        elif body is not None:
            data, headers["Content-Type"] = json.dumps(body), "application/json"
        if query:
            path += "?" + urllib.parse.urlencode(query)
        self.connection.request(method, path, body=data, headers=headers)
        answer = self.connection.getresponse()
        text = answer.read()
        self.headers = answer.headers
        return answer.status, json.loads(text) if text else None

    def get(self, path, **query):
        status, document = self.call("GET", path, query=query)
        assert status == 200, document
        return document

    def control(self, route, /, **body):
        status, document = self.call("POST", f"/_sandbox/{route}", body=body, token=False)
        assert status == 200, document
        return document

    def log_in(self, **changed):
        given = self.call("GET", "/_sandbox/credentials", token=False)[1]
        form = {"grant_type": "password", **given, **changed}
        form.pop("company_id")
        status, document = self.call("POST", "/v1/oauth2/token", form=form, token=False)
        self.token = document.get("access_token", self.token)
        return status, document


@pytest.fixture(scope="module")
def running():
    with server.start("cova", customers=300, sales=1200, locations=4, seed=7, days=28, rate=0) as one:
        yield one


@pytest.fixture
def client(running):
    one = Client(running.url)
    one.control("faults", clear=True)
    assert one.log_in()[0] == 200
    return one


@pytest.fixture
def fresh():
    with server.start("cova", customers=60, sales=100, locations=2, days=10) as one:
        client = Client(one.url)
        client.log_in()
        yield client


def feed(client, location, first, last, **page):
    text = f"Date ge datetime'{first:%Y-%m-%dT%H:%M:%S}' and Date le datetime'{last:%Y-%m-%dT%H:%M:%S}'"
    path = f"/posreports/v1/Companies({CID})/Entities({location})/ByInvoiceWithProducts"
    return client.get(path, DateRange=text, **page)


def all_rows(client):
    now = datetime.now(UTC)
    places = client.get(f"/entitymanager/v1/Companies({CID})/Locations")
    return [row for place in places for row in feed(client, place["Id"], now - timedelta(days=30), now)]


def cents(value):
    return round(value * 100)


def test_token_flow(client):
    first = client.token
    status, document = client.log_in()
    assert status == 200 and document["expires_in"] == 43200 and "token_type" not in document
    second = client.token
    client.token = first
    assert client.call("GET", f"/entitymanager/v1/Companies({CID})/Locations")[0] == 200  # older ones stay valid
    form = {"grant_type": "refresh_token", "refresh_token": document["refresh_token"]}
    status, renewed = client.log_in(**form)
    assert status == 200 and renewed["refresh_token"] != document["refresh_token"]
    client.token = second
    assert client.call("GET", f"/entitymanager/v1/Companies({CID})/Locations")[0] == 401  # revoked by the refresh


@pytest.mark.parametrize(
    "changed, error",
    [
        ({"client_secret": "x"}, "invalid_client"),
        ({"client_id": "x"}, "invalid_client"),
        ({"password": "x"}, "invalid_grant"),
        ({"username": "x"}, "invalid_grant"),
        ({"grant_type": "client_credentials"}, "unsupported_grant_type"),
    ],
)
def test_log_in_refused(client, changed, error):
    status, document = client.log_in(**changed)
    assert (status, document["error"]) == (400, error)


def test_strictness(client):
    path = f"/crm/v1/Companies({CID})/CustomerFull"
    assert client.call("GET", path, token=False)[0] == 401
    assert client.call("GET", path, query={"$topp": "5"})[0] == 400
    assert client.call("GET", path, query={"$filter": "LastModifiedDateUtc ge '2026-01-01'"})[0] == 400
    assert client.call("GET", path, query={"$filter": "PrimaryName eq 'A' or PrimaryName eq 'B'"})[0] == 400
    assert client.call("GET", path + "(00000000-0000-4000-8000-000000000000)")[0] == 404
    assert client.call("PUT", path + "(00000000-0000-4000-8000-000000000000)", body={})[0] == 405
    assert client.call("GET", "/crm/v1/Companies(501900)/CustomerFull")[0] == 403
    assert client.call("GET", "/entitymanager/v1/Companies(1)/Locations")[0] == 404
    assert client.call("GET", "/nothing/v1/here")[0] == 404
    feed_path = f"/posreports/v1/Companies({CID})/Entities(501210)/ByInvoiceWithProducts"
    assert client.call("GET", feed_path)[0] == 400
    long = "Date ge datetime'2026-01-01' and Date le datetime'2026-03-01'"
    assert client.call("GET", feed_path, query={"DateRange": long})[0] == 500


def test_old_hosts_and_hal(client):
    plain = client.get(f"/crm/V1/companies({CID})/customers", **{"$top": "2"})
    status, hal = client.call(
        "GET", f"/crm.iqmetrix.net/v1/Companies({CID})/Customers", query={"$top": "2"}, accept=None
    )
    assert status == 200
    assert [row["Id"] for row in hal["_embedded"]["self"]] == [row["Id"] for row in plain]
    assert hal["_links"]["next"]["href"].endswith("Customers?$skip=2&$top=2")
    none = {"$filter": "UniqueIdentifier eq 'nobody'"}
    assert client.call("GET", f"/crm/v1/Companies({CID})/Customers", query=none, accept=None)[1]["_embedded"] == {}


def test_same_arguments_same_data(running):
    with server.start("cova", customers=300, sales=1200, locations=4, seed=7, days=28) as other:
        assert other.vendor.state(rows=True)["customers"] == running.vendor.state(rows=True)["customers"]
        before = other.vendor.state(rows=False)
        other.vendor.seed(customers=300, sales=1200, locations=4, seed=8, days=28)
        assert other.vendor.state(rows=False)["sales"]["sha256"] != before["sales"]["sha256"]
        other.vendor.seed(customers=300, sales=1200, locations=4, seed=7, days=28)
        assert other.vendor.state(rows=False) == before


def test_the_three_views_agree(client):
    rows = all_rows(client)
    assert len(rows) == 1200 and len({row["Id"] for row in rows}) == 1200
    seen = Counter()
    for row in rows:
        lines = sum(cents(line["Quantity"] * line["SoldAtPrice"]) for line in row["Products"])
        taxes = sum(cents(tax["Amount"]) for tax in row["Taxes"])
        post = sum(cents(discount["Amount"]) for discount in row["PostTaxDiscounts"])
        paid = sum(cents(payment["Amount"]) for payment in row["Payments"])
        total = lines + taxes + post
        if row["Payments"]:
            assert paid - cents(row["ChangeDue"]) - cents(row["CashBack"]) == total
        full = client.get(f"/pointofsale/Companies({CID})/SalesInvoiceDetails({row['Id']})")
        kept = sum(cents(item["RetainedAmount"]) for item in full["Payments"]["Items"])
        assert kept - cents(full["Payments"]["CashBack"]) == total
        assert sum(cents(line["Quantity"] * line["SoldAtPrice"]) for line in full["InStock"]) == lines
        assert sum(cents(line["Tax"]) for line in full["TaxCalculation"]["Lines"]) == taxes
        assert full["CreatedDateUtc"][:16] == row["CreatedDateUtc"][:16] and row["CreatedDateUtc"].endswith(":00")
        assert (row["Type"] == "Refund") == (full["OriginalInvoiceId"] is not None)
        assert (total < 0) == (row["Type"] == "Refund") or total == 0
        cart = (full["Discounts"] or {}).get("InvoiceLevel") or []
        for discount in cart:
            assert sum(cents(part["Amount"]) for part in discount["LineLevelBreakdown"]) == cents(discount["Amount"])
        seen.update(
            blank=not row["Payments"] and bool(full["Payments"]["Items"]),
            anonymous=row["CustomerId"] is None,
            refund=row["Type"] == "Refund",
            delivery=row["Delivery"] == "Yes",
            weight=any(line["UnitOfMeasureType"] == "Mass" for line in row["Products"]),
            cart=bool(cart),
            post=bool(row["PostTaxDiscounts"]),
            change=row["ChangeDue"] > 0,
            split=len(row["Payments"]) > 1,
        )
    assert seen["refund"] == 36
    assert all(seen[name] for name in ("blank", "anonymous", "delivery", "weight", "cart", "post", "change", "split"))
    summaries = []
    while len(page := client.get(f"/pointofsale/Companies({CID})/SalesInvoiceSummaries", **_page(len(summaries)))):
        summaries += page
    assert {row["Id"] for row in summaries} == {row["Id"] for row in rows}
    totals = {row["Id"]: cents(row["InvoiceTotal"]) for row in summaries}
    lines = client.call("GET", "/_sandbox/state?rows=1", token=False)[1]["sales"]["rows"]
    assert {line.split("|")[0]: int(line.split("|")[6]) for line in lines} == totals


def _page(skip):
    return {"$skip": str(skip), "$top": "100"}


def test_nobody_buys_before_being_a_customer(running):
    for invoice in running.vendor.book.by_id.values():
        assert invoice.customer is None or invoice.customer.created < invoice.ticks // 10_000


def test_poll_pages_cover_all(client):
    path = f"/crm/v1/Companies({CID})/CustomerFull"
    rows, filtered = [], "LastModifiedDateUtc ge datetime'2000-01-01T00:00:00Z'"
    while page := client.get(path, **{"$filter": filtered, **_page(len(rows)), "$top": "1000"}):
        assert len(page) <= 100
        rows += page
    assert len({row["Id"] for row in rows}) == len(rows) == 300
    times = [row["LastModifiedDateUtc"] for row in rows]
    assert times == sorted(times)
    later = client.get(path, **{"$filter": f"LastModifiedDateUtc ge datetime'{times[250]}'", "$top": "100"})
    assert [row["Id"] for row in later] == [row["Id"] for row in rows[250:]]
    state = client.call("GET", "/_sandbox/state", token=False)[1]
    assert (state["customers"]["count"], state["sales"]["count"], state["locations"]["count"]) == (300, 1200, 4)


def test_feed_pages_cover_all(client):
    now = datetime.now(UTC)
    span = (now - timedelta(days=30), now)
    whole = feed(client, 501210, *span)
    paged = []
    while page := feed(client, 501210, *span, **{"$skip": str(len(paged)), "$top": "37"}):
        paged += page
    assert paged == whole
    at = datetime.fromisoformat(whole[5]["CreatedDateUtc"])
    assert whole[5] in feed(client, 501210, at + timedelta(seconds=30), at)  # by the minute, both ends


def test_sell_refund_and_late(fresh):
    made = fresh.control("edit", first_name="Ada", phone="+1 250 555 0142", email="Ada@Example.test")
    lines = [{"sku": "T1", "name": "Tea", "category": "Beverages", "brand": "X", "price_cents": 1000, "quantity": 3}]
    discount = {"name": "Five", "cents": 500}
    sale = fresh.control("sell", phone="2505550142", lines=lines, discount=discount, transaction="R-9")
    assert sale["customer_id"] == made["customer_id"] and sale["receipt"] == "R-9"
    assert (sale["lines_cents"], sale["tax_cents"], sale["total_cents"]) == (2500, 125 + 175, 2800)
    now = datetime.now(UTC)
    row = next(row for row in feed(fresh, 501210, now - timedelta(minutes=2), now) if row["Id"] == sale["id"])
    assert row["ReceiptNumber"] == "R-9" and row["Payments"][0]["Amount"] == 28.0
    part = fresh.control("refund", id=sale["id"], lines=[{"line": 1, "quantity": 1}])
    rest = fresh.control("refund", id=sale["id"])
    assert part["total_cents"] + rest["total_cents"] == -2800
    assert fresh.call("POST", "/_sandbox/refund", body={"id": sale["id"]})[0] == 409
    late = fresh.control("late", minutes_ago=300, lines=lines, discount={**discount, "after_tax": True})
    assert (late["lines_cents"], late["total_cents"]) == (3000, 3360 - 500)
    assert datetime.fromisoformat(late["at"]) < now - timedelta(hours=4)
    assert fresh.call("POST", "/_sandbox/sell", body={"phone": "2505550999"})[0] == 404
    assert len(fresh.control("trade", count=5)) == 5


def test_customers_are_written_and_found(fresh):
    base = f"/crm/v1/Companies({CID})"
    phone = {"ContactMethodCategoryId": 1, "ContactMethodTypeId": 3, "Value": "+12505550142", "Default": True}
    body = {"CustomerTypeId": 2, "PrimaryName": "Ada", "UniqueIdentifier": "ours-1", "ContactMethods": [phone]}
    status, made = fresh.call("POST", base + "/CustomerFull", body=body)
    assert status == 201 and made["Version"] == 1
    assert made["DoNotContact"] is True and made["ContactMethods"][0]["DoNotContact"] is True
    asked = {"Criteria": [{"Field": "Phone", "Operation": "", "Criteria": "(250) 555-0142"}]}
    assert [row["Id"] for row in fresh.call("POST", base + "/Search", body=asked)[1]["Results"]] == [made["Id"]]
    light = fresh.get(base + "/Customers", **{"$filter": "UniqueIdentifier eq 'ours-1'"})[0]
    light["PricingGroupId"] = 41
    status, changed = fresh.call("PUT", base + f"/Customers({made['Id']})", body=light)
    assert status == 200 and changed["Version"] == 2 and changed["PricingGroupId"] == 41
    assert fresh.call("PUT", base + f"/Customers({made['Id']})", body=light)[0] == 409
    assert fresh.call("POST", base + "/CustomerFull", body={**body, "PricingGroupId": 999})[0] == 400
    method = made["ContactMethods"][0] | {"Value": "2505550143"}
    path = base + f"/Customers({made['Id']})/ContactMethods"
    assert fresh.call("PUT", f"{path}({method['Id']})", body=method)[0] == 200
    email = {"CustomerId": made["Id"], "ContactMethodCategoryId": 2, "ContactMethodTypeId": 9, "Value": "no"}
    assert fresh.call("POST", path, body=email)[0] == 400
    assert fresh.call("POST", path, body=email | {"Value": "a@example.test"})[0] == 201
    assert fresh.call("DELETE", base + f"/Customers({made['Id']})")[0] == 200
    last = fresh.get(base + f"/CustomerFull({made['Id']})")
    assert last["Version"] == 5 and last["Disabled"] and len(last["ContactMethods"]) == 2


def test_faults_act_as_often_as_asked(client):
    path = f"/crm/v1/Companies({CID})/Customers"
    client.control("faults", match="/CRM/", kind="429", times=2)
    assert [client.call("GET", path)[0] for _ in range(3)] == [429, 429, 200]
    client.control("faults", match="/crm/", kind="500")
    assert [client.call("GET", path)[0] for _ in range(2)] == [500, 200]
    client.control("faults", match="/crm/", kind="duplicate")
    assert len(client.get(path, **{"$top": "5"})) == 10
    first = client.get(path, **{"$top": "5"})
    client.control("faults", match="/crm/", kind="repeat")
    assert client.get(path, **{"$top": "5", "$skip": "5"}) == first
    client.control("faults", match="/crm/", kind="no_permission")
    assert client.call("GET", path)[0] == 403
    for kind, failure in (
        ("cut", http.client.IncompleteRead),
        ("reset", ConnectionResetError),
        ("lost", http.client.RemoteDisconnected),
    ):
        client.control("faults", match="/crm/", kind=kind)
        with pytest.raises(failure):
            client.call("GET", path)
        client.connection.close()
    client.control("faults", match="/crm/", kind="timeout", seconds=0.1)
    with pytest.raises(http.client.RemoteDisconnected):
        client.call("GET", path)
    client.connection.close()
    for kind in ("garbled", "html"):
        client.control("faults", match="/crm/", kind=kind)
        with pytest.raises(ValueError):
            client.call("GET", path)
    client.control("faults", match="/crm/", kind="redirect")
    assert client.call("GET", path) == (302, None)
    assert client.headers["Location"] == "http://evil.example.invalid/"
    client.control("faults", match="/crm/", kind="huge")
    assert len(client.get(path)[0]["Notes"]) > 12_000_000
    assert client.call("POST", "/_sandbox/faults", body={"kind": "nonsense"})[0] == 400


def test_password_faults(client):
    client.control("faults", kind="temporary_password", times=1)
    assert client.call("GET", f"/crm/v1/Companies({CID})/Customers")[0] == 401  # tokens end with the password
    status, document = client.log_in()
    assert status == 400 and "must be changed" in document["error_description"]
    assert client.log_in()[0] == 200
    client.control("expire")
    assert client.call("GET", f"/crm/v1/Companies({CID})/Customers")[0] == 401


def test_rate_limit():
    with server.start("cova", customers=0, sales=0, locations=1, rate=3) as one:
        client = Client(one.url)
        client.log_in()
        path = f"/crm/v1/Companies({CID})/Customers"
        assert [client.call("GET", path)[0] for _ in range(4)] == [200, 200, 200, 429]
        assert int(client.headers["Retry-After"]) > 0 and client.headers["COVA-APIM-RateLimit-Remaining"] == "0"
        assert client.call("GET", f"/entitymanager/v1/Companies({CID})/Locations")[0] == 200
        client.control("seed", customers=0, sales=0, rate=0)
        assert client.call("GET", path)[0] == 200 and client.headers["X-RateLimit-Limit"] is None


def test_calls_are_logged(client):
    users = client.get(f"/usermanager/v2/entities({CID})/users", **{"$filter": "isactive eq 'true'", "$top": "5"})
    assert users["_metadata"]["count"] == 12 and len(users["items"]) == 5
    assert users["_links"]["next"]["href"] == f"v2/entities({CID})/users?$skip=5&$top=5"
    client.get(f"/entitymanager/v1/Companies({CID})/Tree")
    calls = client.call("GET", "/_sandbox/calls", token=False)[1]
    assert calls[-1]["path"].endswith("/Tree") and calls[-1]["status"] == 200
    assert client.call("GET", f"/_sandbox/calls?since={calls[-2]['seq']}", token=False)[1] == calls[-1:]
    assert client.call("GET", f"/_sandbox/calls?since={calls[-1]['at']}", token=False)[1][-1] == calls[-1]


class OurApi(BaseHTTPRequestHandler):
    """Just enough of our API for a till: one discount, one redemption a transaction."""

    seen: list

    def _answer(self, data):
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.seen.append((self.command, self.path, self.headers["X-APIKEY"]))
        body = json.dumps({"data": data, "code": 200, "success": True}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_POST(self):
        if self.path != "/api/v2/wallet":
            return self._answer({})
        url = f"http://127.0.0.1:{self.server.server_address[1]}/api/v1.1/discount/redeem/1/2/tok"
        offer = {"id": "2", "name": "Five off", "dollarValue": 5, "percentageValue": 0, "redemptionURL": url}
        return self._answer({"loyaltyPoints": 900, "discountTemplates": [offer]})

    def do_PUT(self):
        self._answer({"redemptionID": "r-1"})

    def log_message(self, *_):
        pass


def test_till(fresh):
    OurApi.seen = []
    ours = HTTPServer(("127.0.0.1", 0), OurApi)
    threading.Thread(target=ours.serve_forever, args=(0.02,), daemon=True).start()
    try:
        phone = "2505550142"
        fresh.control("edit", first_name="Ada", phone=phone)
        fresh.control("till", action="setup", url=f"http://127.0.0.1:{ours.server_address[1]}", uid="1", key="k")
        fresh.control("till", action="apply", phone=phone, discount_id="2", transaction="T-1")
        fresh.control("till", action="remove", phone=phone)
        assert len(OurApi.seen) == 2  # taking it off sends nothing
        fresh.control("till", action="readd", phone=phone)
        applied = fresh.control("till", action="apply", phone=phone, discount_id="2", transaction="T-2")
        assert applied["cart"]["redemption_id"] == "r-1"
        lines = [{"sku": "T1", "price_cents": 2000, "quantity": 1}]
        done = fresh.control("till", action="complete", phone=phone, lines=lines)
        assert [path for _, path, _ in OurApi.seen] == [
            "/api/v2/wallet",
            "/api/v1.1/discount/redeem/1/2/tok/T-1",
            "/api/v2/redemptions/r-1/revert",
            "/api/v2/wallet",
            "/api/v2/wallet",
            "/api/v1.1/discount/redeem/1/2/tok/T-2",
        ]
        assert {key for _, _, key in OurApi.seen} == {"k"}
        assert done["sale"]["receipt"] == "T-2" and done["sale"]["lines_cents"] == 1500
        full = fresh.get(f"/pointofsale/Companies({CID})/SalesInvoiceDetails({done['sale']['id']})")
        assert full["Discounts"]["InvoiceLevel"][0]["Name"] == "Five off"
    finally:
        ours.shutdown()
        ours.server_close()
