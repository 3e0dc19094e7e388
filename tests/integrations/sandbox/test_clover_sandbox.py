"""The stand-in for Clover answers as the reference documents: envelope, token, errors, expand, filter, sort, pages.

No database; the server runs in this process on a free port and is spoken to with plain `http.client`.
"""

import pytest

from integrations.sandbox import server
from integrations.sandbox.clover.access import USUAL

from .clover_client import DAY_MS, Client, now_ms

NOBODY = "0000000000000"
UNAUTHORIZED = (401, {"message": "401 Unauthorized"})


@pytest.fixture(scope="module")
def running():
    with server.start("clover", customers=300, sales=900, seed=7, days=180, rate=0) as one:
        client = Client(one.url)  # of the rare kinds one at least, and not long ago
        client.control("sell", test=True)
        client.control("sell", manual=True)
        client.control("edit", payment_id=client.control("sell")["payment_ids"][0], void=True)
        yield one


@pytest.fixture
def client(running):
    one = Client(running.url)
    one.control("edit", permissions=sorted(USUAL))
    one.control("faults", clear=True)
    return one


# envelope


def test_elements_come_first_then_href(client):
    document = client.get("/customers", "limit=2")
    assert list(document) == ["elements", "href"]
    host = f"{client.address.hostname}:{client.address.port}"
    assert document["href"] == f"http://{host}/v3/merchants/{client.mid}/customers?limit=2"
    for row in document["elements"]:
        assert row["href"] == f"https://sandbox.dev.clover.com/v3/merchants/{client.mid}/customers/{row['id']}"
    assert client.headers["Content-Type"] == "application/json; charset=utf-8"
    assert client.headers["X-Frame-Options"] == "SAMEORIGIN"


@pytest.mark.parametrize(
    "path, query, echo",
    [
        ("/customers", (), "limit=100"),
        ("/customers", ("limit=5000",), "limit=1000"),
        ("/customers", ("limit=5", "offset=3", "expand=metadata"), "limit=5&offset=3"),
        ("/orders", (), "filter=stateIS%20NOT%20NULL&limit=100"),
        ("/orders", ("filter=state=paid",), "filter=state%3Dpaid&limit=100"),
        (
            "/payments",
            ("filter=createdTime>=1", "filter=amount<5"),
            "filter=createdTime%3E%3D1&filter=amount%3C5&limit=100",
        ),
    ],
)
def test_href_repeats_the_effective_query(client, path, query, echo):
    assert client.get(path, *query)["href"].partition("?")[2] == echo


@pytest.mark.parametrize(
    "path, has",
    [
        *((path, True) for path in ("/customers", "/orders", "/employees", "/tenders")),
        *((path, False) for path in ("/items", "/payments", "/refunds", "/categories", "/order_types", "/tags")),
    ],
)
def test_href_on_elements(client, path, has):
    rows = client.rows(path, "limit=3")
    assert rows and all(("href" in row) == has for row in rows)


@pytest.mark.parametrize(
    "path, fields",
    [
        (
            "/customers",
            "customerSince, firstName, lastName, emailAddress, phoneNumber, marketingAllowed, fullName, id, "
            "deletedTime",
        ),
        (
            "/orders",
            "employee.id, note, modifiedTime, orderType, touched, cardTransaction.last4, manualTransaction, "
            "employee.name, title, device.id, externalReferenceId, clientCreatedTime, total, payType, testMode, "
            "createdTime, id, state, deletedTime",
        ),
        (
            "/payments",
            "modifiedTime, device.id, externalReferenceId, result, offline, createdTime, externalPaymentId, voided, "
            "id, tender.id, employee.id, order.modifiedTime, amount, cardType, clientCreatedTime",
        ),
        (
            "/items",
            "lowStock, modifiedTime, hidden, itemCode, available, option.id, modifierGroup.id, autoManage, price, id, "
            "sku, defaultTaxRates, tags.id, alternateName, isRevenue, tags.name, deleted, item.id, name, "
            "itemStock.quantity, itemGroup.id, isAgeRestricted, ageRestrictedType, minimumAge",
        ),
        ("/categories", "modifiedTime, deleted, sortOrder, name, colorCode, id"),
        (
            "/employees",
            "modifiedTime, role, role.id, customId, name, nickname, id, deletedTime, deleted_time, email",
        ),
    ],
)
def test_the_fields_to_filter_by_are_named(client, path, fields):
    client.get(path, "limit=1")
    assert client.headers["X-Clover-Allowed-Filter-Fields"] == fields


def test_lines_of_an_order_name_no_filter(client):
    order = client.rows("/orders", "limit=1")[0]
    document = client.get(f"/orders/{order['id']}/line_items", "limit=1", "offset=0")
    assert client.headers["X-Clover-Allowed-Filter-Fields"] is None
    assert document["href"].endswith("?limit=1&offset=0")


def test_fields_without_a_value_are_left_out_unless_asked_for(client):
    anonymous = client.control("edit", first_name=None, phone="303 555 0001")["customer_id"]
    row = client.get(f"/customers/{anonymous}")
    assert list(row) == ["href", "id", "marketingAllowed", "customerSince"]
    whole = client.get(f"/customers/{anonymous}", "return_null_fields=true", "expand=phoneNumbers,emailAddresses")
    assert whole["firstName"] is None and whole["lastName"] is None and whole["metadata"] is None
    assert len(whole["phoneNumbers"]["elements"]) == 1 and whole["emailAddresses"] == {"elements": []}
    assert client.rows("/orders", "limit=1", "return_null_fields=true")[0]["externalReferenceId"] is None


def test_times_end_in_whole_seconds_and_ids_have_13_signs(client):
    for row in client.rows("/orders", "expand=lineItems,payments", "limit=200"):
        inner = [row, *row.get("lineItems", {}).get("elements", ()), *row.get("payments", {}).get("elements", ())]
        for one in inner:
            assert len(one["id"]) == 13 and one["id"].isalnum() and one["id"] == one["id"].upper()
            assert all(one[name] % 1000 == 0 for name in one if name.endswith("Time"))
    rows = client.rows("/orders", "limit=1000")
    assert any(row["modifiedTime"] == row["createdTime"] - 1000 for row in rows), (
        "the cut second may be the earlier one"
    )


# token and permissions


@pytest.mark.parametrize(
    "headers", [{}, {"Authorization": "Bearer x"}, {"Authorization": "Basic abc"}, {"Authorization": "Bearer "}]
)
def test_no_token_no_answer(client, headers):
    assert client.raw("GET", f"/v3/merchants/{client.mid}", headers=headers) == UNAUTHORIZED


def test_a_token_is_for_one_merchant():
    with server.start("clover", customers=4, sales=0, locations=2, days=5, rate=0) as one:
        first, second = Client(one.url, 0), Client(one.url, 1)
        assert first.get("")["id"] == first.mid != second.mid
        first.mid, mine = second.mid, first.mid
        assert first.call("GET", "") == UNAUTHORIZED
        first.mid = NOBODY
        assert first.call("GET", "") == UNAUTHORIZED
        first.mid = mine
        ids = {row["id"] for row in first.rows("/customers")} & {row["id"] for row in second.rows("/customers")}
        assert not ids and len(first.rows("/customers")) == 2


READS = {
    "MERCHANT_R": ("", "/properties", "/address", "/tenders", "/order_types", "/system_order_types")
    + ("/default_service_charge",),
    "CUSTOMERS_R": ("/customers", "/customers.csv"),
    "ORDERS_R": ("/orders", "/voided_line_items"),
    "PAYMENTS_R": ("/payments", "/refunds", "/credits", "/credit_refunds"),
    "INVENTORY_R": ("/items", "/item_stocks", "/categories", "/tags", "/tax_rates", "/discounts"),
    "EMPLOYEES_R": ("/employees",),
}


@pytest.mark.parametrize("missing", [*READS, "CUSTOMERS_W"])
def test_each_missing_permission_is_401_for_its_area_alone(client, missing):
    client.control("edit", permissions=sorted(USUAL - {missing}))
    for permission, paths in READS.items():
        for path in paths:
            expected = 401 if permission == missing else 200
            assert client.call("GET", path, "limit=1")[0] == expected, path
    body = {"firstName": "Ada"}
    assert client.call("POST", "/customers", body=body)[0] == (401 if missing == "CUSTOMERS_W" else 200)
    order = client.call("GET", "/orders", "limit=1")[1].get("elements", [{"id": NOBODY}])[0]["id"]
    assert client.call("GET", f"/orders/{order}/payments")[0] == (
        401 if missing == "PAYMENTS_R" else 404 if missing == "ORDERS_R" else 200
    )


@pytest.mark.parametrize(
    "path, name, permission",
    [
        ("/orders", "payments", "PAYMENTS_R"),
        ("/orders", "customers", "CUSTOMERS_R"),
        ("/orders", "employee", "EMPLOYEES_R"),
        ("/orders", "lineItems.employee", "EMPLOYEES_R"),
        ("/payments", "order", "ORDERS_R"),
        ("", "items", "INVENTORY_R"),
    ],
)
def test_an_expansion_needs_the_permission_of_its_area(client, path, name, permission):
    assert client.call("GET", path, f"expand={name}", "limit=1")[0] == 200
    client.control("edit", permissions=sorted(USUAL - {permission}))
    assert client.call("GET", path, f"expand={name}", "limit=1") == UNAUTHORIZED
    assert client.call("GET", path, "limit=1")[0] == 200


def test_a_revoked_token_and_the_one_after_it(client, running):
    old = client.token
    client.control("expire")
    assert client.call("GET", "") == UNAUTHORIZED
    client.token = Client(running.url).token
    assert client.token != old and client.get("")["id"] == client.mid


def test_the_token_in_the_query_only_where_it_is_switched_on(client):
    target = f"/v3/merchants/{client.mid}/customers?limit=1&access_token={client.token}"
    assert client.raw("GET", target) == UNAUTHORIZED
    with server.start("clover", customers=1, sales=0, days=5, rate=0, query_token=True) as one:
        other = Client(one.url)
        assert other.raw("GET", f"/v3/merchants/{other.mid}?access_token={other.token}")[0] == 200


def test_exports_are_not_for_a_dashboard_token(client):
    assert client.call("POST", "/exports", body={"type": "ORDERS"}) == UNAUTHORIZED
    assert client.call("GET", f"/exports/{NOBODY}") == UNAUTHORIZED


# errors


@pytest.mark.parametrize(
    "method, path, status, document",
    [
        ("GET", f"/orders/{NOBODY}", 404, {"details": "Order not found", "message": "Not Found"}),
        ("GET", f"/customers/{NOBODY}", 404, {"details": "Customer not found", "message": "Not Found"}),
        ("POST", f"/customers/{NOBODY}", 404, {"details": "Customer not found", "message": "Not Found"}),
        ("DELETE", f"/customers/{NOBODY}", 404, {"details": "Customer not found", "message": "Not Found"}),
        ("GET", f"/orders/{NOBODY}/line_items", 404, {"details": "Order not found", "message": "Not Found"}),
        ("GET", f"/items/{NOBODY}", 404, {"message": "invalid ID"}),
        ("GET", f"/item_stocks/{NOBODY}", 404, {"message": "invalid ID"}),
        ("GET", f"/categories/{NOBODY}/items", 404, {"message": "invalid ID"}),
        ("GET", f"/payments/{NOBODY}", 404, {"details": "Payment not found", "message": "Not Found"}),
        ("PUT", f"/customers/{NOBODY}", 405, {"message": "405 Method Not Allowed"}),
        ("PATCH", f"/customers/{NOBODY}", 405, {"message": "405 Method Not Allowed"}),
        ("GET", f"/orders/{NOBODY}/voided_line_items", 405, {"message": "405 Method Not Allowed"}),
        ("POST", "/orders", 405, {"message": "405 Method Not Allowed"}),
        ("GET", f"/customers/{NOBODY}/phone_numbers", 405, {"message": "405 Method Not Allowed"}),
        ("GET", f"/customers/{NOBODY}/metadata", 405, {"message": "405 Method Not Allowed"}),
    ],
)
def test_refusals(client, method, path, status, document):
    body = {} if method in ("POST", "PUT", "PATCH") else None
    assert client.call(method, path, body=body) == (status, document)


@pytest.mark.parametrize(
    "target", ["/v3/merchants//orders", "/v3/nothing", "/", "/v2/merchants/X", "/v3/merchants/X/y"]
)
def test_a_path_that_is_not_there_is_plain_text(client, target):
    assert client.raw("GET", target) == (404, "404 Not Found")
    assert client.headers["Content-Type"] is None


@pytest.mark.parametrize(
    "path, query",
    [
        ("/customers", "filter=modifiedTime>=1"),  # the list of customers knows no time of change
        ("/customers", "filter=metadata.modifiedTime>=1"),
        ("/customers", "filter=phoneNumbers.phoneNumber=1"),
        ("/customers", "filter=customerSince>=yesterday"),
        ("/customers", "filter=marketingAllowed=maybe"),
        ("/customers", "filter=marketingAllowed>true"),
        ("/customers", "filter=firstName"),
        ("/customers", "filter="),
        ("/customers", "filter=customerSince>=1,customerSince<=2"),  # a comma joins nothing
        ("/customers", "limit=-1"),
        ("/customers", "limit=0"),
        ("/customers", "limit=ten"),
        ("/customers", "offset=-1"),
        ("/customers", "orderBy=firstName sideways"),
        ("/orders", "filter=customer.id=X"),
        ("/items", "filter=categories.id=X"),
        ("/tenders", "filter=label=Cash"),
        ("/item_stocks", "filter=quantity>1"),
    ],
)
def test_bad_questions_are_400(client, path, query):
    status, document = client.call("GET", path, query)
    assert status == 400 and document["message"] == "Bad Request" and document["details"]


def test_unknown_parameters_have_no_effect(client):
    plain = client.rows("/customers", "limit=5")
    assert client.rows("/customers", "limit=5", "customerSince>=9999999999999", "nonsense=1") == plain
    customer = plain[0]["id"]
    assert client.get(f"/customers/{customer}", "limit=1", "offset=9") == plain[0]


# expand


def test_contacts_only_when_expanded(client):
    names = ("emailAddresses", "phoneNumbers", "addresses", "metadata", "cards")
    for row in client.rows("/customers", "limit=300"):
        assert not set(names) & set(row)
    rows = client.rows("/customers", "expand=" + ",".join(names), "limit=300")
    assert all(isinstance(row[name]["elements"], list) for row in rows for name in names if name != "metadata")
    metadata = [row["metadata"] for row in rows if "metadata" in row]
    assert 0 < len(metadata) < len(rows), "some customers have none"
    assert all(one["customer"]["id"] and one["modifiedTime"] for one in metadata)
    assert any("dobMonth" in one and "dobYear" not in one for one in metadata)


@pytest.mark.parametrize(
    "query",
    [
        "expand=lineItems,discounts,payments",
        "expand=lineItems%2Cdiscounts%2Cpayments",
        "expand=lineItems&expand=discounts&expand=payments",
        "expand=lineItems,nothing&expand=discounts,payments,a.b",
        "expand=payments.nothing,lineItems.a.b&expand=discounts,lineItems",
    ],
)
def test_expand_is_written_in_many_ways(client, query):
    headers = {"Authorization": f"Bearer {client.token}"}
    base = f"/v3/merchants/{client.mid}/orders?limit=200"
    expected = client.raw("GET", f"{base}&expand=lineItems,discounts,payments", headers=headers)[1]["elements"]
    found = client.raw("GET", f"{base}&{query}", headers=headers)[1]["elements"]
    assert found == expected
    assert any("discounts" in row for row in found)


def test_expand_reaches_one_level_down(client):
    rows = client.rows("/orders", "expand=lineItems,lineItems.discounts,lineItems.modifications", "limit=500")
    lines = [line for row in rows for line in row.get("lineItems", {}).get("elements", ())]
    assert any("discounts" in line for line in lines) and any("modifications" in line for line in lines)
    bare = client.rows("/orders", "expand=lineItems", "limit=500")
    assert not any({"discounts", "modifications"} & set(line) for row in bare for line in _lines(row))
    rates = client.rows("/orders", "expand=lineItems.taxRates", "limit=5")
    assert all(line["taxRates"]["elements"] is not None for row in rates for line in _lines(row))


def _lines(row):
    return row.get("lineItems", {}).get("elements", ())


def test_a_reference_becomes_the_whole_object(client):
    bare = client.rows("/orders", "limit=300")
    whole = client.rows("/orders", "expand=employee,orderType,customers", "limit=300")
    types = [(a["orderType"], b["orderType"]) for a, b in zip(bare, whole, strict=True) if "orderType" in a]
    assert types and all(list(a) == ["id"] and b["id"] == a["id"] and "label" in b for a, b in types)
    staff = [(a["employee"], b["employee"]) for a, b in zip(bare, whole, strict=True) if "employee" in a]
    assert staff and all(list(a) == ["id"] and b["name"] for a, b in staff)
    linked = [row["customers"]["elements"][0] for row in whole if "customers" in row]
    known = {"href", "id", "firstName", "lastName", "marketingAllowed", "customerSince"}
    assert linked and all(set(one) <= known for one in linked)
    assert not any("customers" in row for row in bare)
    payment = client.rows("/payments", "expand=tender,order,cardTransaction,employee", "limit=1")[0]
    assert payment["tender"]["label"] and payment["order"]["total"] and list(payment["employee"]) == ["id"]
    assert client.get(f"/payments/{payment['id']}", "expand=employee")["employee"]["name"]


def test_expansions_that_a_notice_withdrew():
    with server.start("clover", customers=20, sales=40, days=5, rate=0, withdrawn_expansions=True) as one:
        client = Client(one.url)
        rows = client.rows("/orders", "expand=customers,employee,lineItems")
        assert not any("customers" in row for row in rows) and any("lineItems" in row for row in rows)
        singles = [client.get(f"/orders/{row['id']}", "expand=customers") for row in rows]
        assert any("customers" in row for row in singles)


def test_nested_lists_stop_at_100_and_the_lines_can_be_paged(client, running):
    orders = running.vendor.merchants[client.mid].orders.rows
    long = [order for order in orders if len(order.lines) > 100]
    assert len(long) == 2
    for order in long:
        nested = client.get(f"/orders/{order.id}", "expand=lineItems")["lineItems"]["elements"]
        assert len(nested) == 100
        lines = client.all(f"/orders/{order.id}/line_items", limit=100)
        assert len(lines) == len(order.lines) and {row["id"] for row in nested} < {row["id"] for row in lines}
        times = [row["createdTime"] for row in lines]
        assert times == sorted(times, reverse=True)
        one = client.get(f"/orders/{order.id}/line_items/{lines[0]['id']}", "expand=discounts")
        assert one["orderRef"] == {"id": order.id}


# filter and order


FILTERS = [
    ("/customers", "marketingAllowed=true", lambda row: row["marketingAllowed"]),
    ("/customers", "marketingAllowed!=true", lambda row: not row["marketingAllowed"]),
    ("/customers", "firstName=MARA", lambda row: row.get("firstName") == "Mara"),
    ("/customers", "firstName=Ma*", lambda row: row.get("firstName", "").startswith("Ma")),
    ("/customers", "firstName!=Mara", lambda row: row.get("firstName", "Mara") != "Mara"),
    ("/customers", "firstName IS NULL", lambda row: "firstName" not in row),
    ("/customers", "lastName IS NOT NULL", lambda row: "lastName" in row),
    ("/orders", "total>9000", lambda row: row.get("total", 0) > 9000),
    ("/orders", "total<=9000", lambda row: row.get("total", 9001) <= 9000),
    ("/orders", "state=LOCKED", lambda row: row["state"] == "locked"),
    ("/orders", "testMode=true", lambda row: row["testMode"]),
    ("/orders", "manualTransaction=false", lambda row: not row["manualTransaction"]),
    ("/payments", "result=SUCCESS", lambda row: row["result"] == "SUCCESS"),
    ("/payments", "voided=true", lambda row: row["result"] == "VOIDED"),
    ("/payments", "amount<1000", lambda row: row["amount"] < 1000),
    ("/items", "name=Tea*", lambda row: row["name"].startswith("Tea")),
    ("/items", "price>=2000", lambda row: row["price"] >= 2000),
    ("/items", "isAgeRestricted=true", lambda row: row["isAgeRestricted"]),
    ("/items", "hidden=true", lambda row: row["hidden"]),
    ("/categories", "sortOrder<3", lambda row: row["sortOrder"] < 3),
    ("/employees", "role=ADMIN", lambda row: row["role"] == "ADMIN"),
]


@pytest.mark.parametrize("path, text, holds", FILTERS, ids=[f"{path} {text}" for path, text, _ in FILTERS])
def test_filters(client, path, text, holds):
    time = (f"filter=createdTime>={now_ms() - 89 * DAY_MS}",) if path in ("/orders", "/payments") else ()
    rows = client.all(path, *time)
    expected = [row["id"] for row in rows if holds(row)]
    assert [row["id"] for row in client.all(path, f"filter={text}", *time)] == expected
    assert 0 < len(expected) < len(rows)


def test_operators_raw_and_encoded_and_joined(client):
    since = client.rows("/customers", "limit=50")[-1]["customerSince"]
    headers = {"Authorization": f"Bearer {client.token}"}
    base = f"/v3/merchants/{client.mid}/customers?limit=1000&"
    raw = client.raw("GET", f"{base}filter=customerSince>={since}", headers=headers)[1]["elements"]
    encoded = client.raw("GET", f"{base}filter=customerSince%3E%3D{since}", headers=headers)[1]["elements"]
    assert raw == encoded and len(raw) >= 50 and min(row["customerSince"] for row in raw) == since
    both = client.rows("/customers", f"filter=customerSince>={since}", "filter=marketingAllowed=true", "limit=1000")
    assert both == [row for row in raw if row["marketingAllowed"]]
    none = client.rows("/customers", f"filter=customerSince>{since}", f"filter=customerSince<{since}")
    assert none == [], "two conditions on one field are joined with AND; nothing found is 200 and an empty list"


def test_in_takes_ids(client):
    rows = client.rows("/customers", "limit=4")
    wanted = ",".join(f"'{row['id']}'" for row in rows[::2])
    assert client.rows("/customers", f"filter=id in ({wanted})") == rows[::2]
    orders = client.through_time("/orders", "modifiedTime")
    old = min(orders.values(), key=lambda row: row["createdTime"])
    assert now_ms() - old["createdTime"] > 150 * DAY_MS
    assert client.rows("/orders", f"filter=id in ('{old['id']}')") == [old], "an id is not cut to 90 days"


def test_customers_are_looked_up_by_contact(client):
    rows = client.rows("/customers", "expand=emailAddresses,phoneNumbers", "limit=300")
    email = next(row for row in rows if row["emailAddresses"]["elements"])
    text = email["emailAddresses"]["elements"][0]["emailAddress"]
    assert email["id"] in {row["id"] for row in client.rows("/customers", f"filter=emailAddress={text.upper()}")}
    phone = next(
        row for row in rows if "(" in (row["phoneNumbers"]["elements"] or [{"phoneNumber": ""}])[0]["phoneNumber"]
    )
    text = phone["phoneNumbers"]["elements"][0]["phoneNumber"]
    assert phone["id"] in {row["id"] for row in client.rows("/customers", f"filter=phoneNumber={text}")}
    digits = "".join(sign for sign in text if sign.isdigit())
    found = client.rows("/customers", f"filter=phoneNumber={digits}")
    assert phone["id"] not in {row["id"] for row in found}, "phones are compared as they were typed"
    name = f"{email.get('firstName', '')} {email.get('lastName', '')}".strip()
    if name:
        assert email["id"] in {row["id"] for row in client.rows("/customers", f"filter=fullName={name}")}


def test_order(client):
    rows = client.all("/orders")
    times = [row["createdTime"] for row in rows]
    assert times == sorted(times, reverse=True), "newest creation first"
    for query, key, reverse in (
        ("orderBy=modifiedTime", "modifiedTime", False),
        ("orderBy=modifiedTime ASC", "modifiedTime", False),
        ("orderBy=modifiedTime DESC", "modifiedTime", True),
        ("orderBy=nothing,modifiedTime ASC", "modifiedTime", False),
    ):
        found = [row[key] for row in client.all("/orders", query)]
        assert found == sorted(found, reverse=reverse) and len(found) == len(rows)
    found = client.all("/orders", "orderBy=testMode DESC,total ASC")
    keys = [(not row["testMode"], row.get("total", -1)) for row in found]
    assert keys == sorted(keys)


# pages


def test_pages(client):
    rows = client.rows("/customers", "limit=1000")
    assert len(client.rows("/customers")) == 100 and len(rows) > 290
    assert client.rows("/customers", "limit=7", "offset=10") == rows[10:17]
    assert client.rows("/customers", "offset=5000") == []
    assert client.all("/customers", limit=33) == rows


def test_a_page_repeats_a_row_when_one_comes_in_before_it(client):
    client.control("faults", match=f"/v3/merchants/{client.mid}/customers".lower(), kind="shift")
    first = client.rows("/customers", "limit=10")
    second = client.rows("/customers", "limit=10", "offset=10")
    assert second[0] == first[-1]


# the 90 days


def test_lists_reach_back_90_days_and_say_nothing(client):
    now = now_ms()
    everything = client.through_time("/orders", "modifiedTime")
    assert min(row["createdTime"] for row in everything.values()) < now - 170 * DAY_MS
    near = now - 90 * DAY_MS - 60_000  # counted from the minute
    for path in ("/orders", "/payments", "/refunds"):
        times = [row["createdTime"] for row in client.all(path)]
        assert times and min(times) >= near
        # the range is cut to its newest 90 days
        wide = client.all(path, f"filter=createdTime>={now - 200 * DAY_MS}", f"filter=createdTime<={now}")
        # Or those after a minute that turned between the two calls: its oldest then left the window.
        assert [row["createdTime"] for row in wide] in (times, [row["createdTime"] for row in client.all(path)])
    past = (f"filter=createdTime>={now - 170 * DAY_MS}", f"filter=createdTime<={now - 60 * DAY_MS}")
    for path in ("/payments", "/refunds"):
        times = [row["createdTime"] for row in client.all(path, *past)]
        assert times and min(times) >= now - 150 * DAY_MS and min(times) < near
    assert min(row["createdTime"] for row in client.all("/orders", *past)) >= near, (
        "orders by creation: 90 days from now"
    )
    bounds = (f"filter=modifiedTime>={now - 170 * DAY_MS}", f"filter=modifiedTime<={now - 100 * DAY_MS}")
    assert len(client.all("/orders", *bounds)) > 100
    assert client.all("/orders", *bounds, "filter=total>0") == [], "a filter that looks at 90 days only"
    cut = client.all("/orders", f"filter=modifiedTime>={now - 170 * DAY_MS}")
    assert min(row["modifiedTime"] for row in cut) >= near


def test_the_window_can_be_switched_off():
    with server.start("clover", customers=5, sales=100, days=180, rate=0, window=0) as one:
        client = Client(one.url)
        assert len(client.all("/orders")) == len(client.state("sales"))
