"""The books of the stand-in for Clover: what is seeded, sold, given back, voided, edited, and that all views agree."""

import urllib.request
from collections import Counter
from datetime import UTC, datetime, timedelta
from fractions import Fraction

import pytest

from integrations.sandbox import server

from .clover_client import DAY_MS, Client, now_ms

EVERYTHING = "expand=lineItems,discounts,payments&expand=lineItems.discounts,lineItems.modifications,lineItems.taxRates"
TEA = {"sku": "T1", "name": "Tea", "category": "Tea", "price_cents": 1000}


@pytest.fixture(scope="module")
def running():
    with server.start("clover", customers=400, sales=1500, seed=7, days=180, rate=0) as one:
        yield one


@pytest.fixture(scope="module")
def read(running):
    """Everything, as a careful client reads it: slices of 30 days, pages, long orders by their lines."""
    client = Client(running.url)
    inner = "expand=lineItems,customers,orderType,serviceCharge,lineItems.discounts,lineItems.modifications"
    orders = client.through_time("/orders", "modifiedTime", inner, "expand=lineItems.taxRates,discounts,voids")
    for row in orders.values():
        if len(row.get("lineItems", {}).get("elements", ())) == 100:
            row["lineItems"]["elements"] = client.all(
                f"/orders/{row['id']}/line_items", "expand=discounts,modifications,taxRates"
            )
    return {
        "orders": orders,
        "payments": client.through_time("/payments", "createdTime"),
        "refunds": client.through_time("/refunds", "createdTime"),
        "credits": client.through_time("/credits", "createdTime"),
        "customers": client.all("/customers", "expand=emailAddresses,phoneNumbers,addresses,metadata"),
        "items": client.all("/items", "expand=categories"),
        "stocks": {row["item"]["id"]: row for row in client.all("/item_stocks")},
        "employees": client.all("/employees"),
        "merchant": client.get("", "expand=properties"),
        "state": client.raw("GET", "/_sandbox/state?rows=1")[1],
    }


@pytest.fixture
def fresh():
    with server.start("clover", customers=20, sales=30, seed=5, days=10, rate=0) as one:
        client = Client(one.url)
        client.sandbox = one
        yield client


def inner(row, name):
    return row.get(name, {}).get("elements", [])


def half_up(value):
    return int(value + Fraction(1, 2))


def off(amount, discounts):
    """The rule of Clover's apps: percentages first, then amounts."""
    for one in discounts:
        if "amount" not in one:
            share = Fraction(one.get("percentage", 0)) or Fraction(one.get("percentageDecimal", 0), 10_000)
            amount -= half_up(amount * share / 100)
    for one in discounts:
        amount -= min(amount, -one.get("amount", 0))
    return amount


def line_cents(line):
    """(before, after) the line's own discounts."""
    gross = half_up(Fraction(line["price"] * line["unitQty"], 1000)) if "unitQty" in line else line["price"]
    gross += sum(one["amount"] for one in inner(line, "modifications"))
    return gross, off(gross, inner(line, "discounts"))


def order_total(order):
    """Net and tax, computed from what the API tells."""
    nets = [(line, line_cents(line)[1]) for line in inner(order, "lineItems")]
    whole = sum(net for _, net in nets)
    net, rates = off(whole, inner(order, "discounts")), Counter()
    for line, cents in nets:
        for rate in inner(line, "taxRates"):
            rates[rate["rate"]] += cents
    tax = (
        0
        if order["taxRemoved"] or not whole
        else sum(half_up(Fraction(base * net * rate, whole * 10_000_000)) for rate, base in rates.items())
    )
    return net, tax


def instant(ms):
    return datetime.fromtimestamp(ms / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def test_a_correct_client_ends_up_with_the_state(read):
    """The checksums' lines, made from nothing but what the API told."""
    mid, state = read["merchant"]["id"], read["state"]
    paid, tax, back = Counter(), Counter(), Counter()
    for row in read["payments"].values():
        if row["result"] in ("SUCCESS", "AUTH_COMPLETED"):
            paid[row["order"]["id"]] += row["amount"]
            tax[row["order"]["id"]] += row["taxAmount"]
    for row in read["refunds"].values():
        if not row["voided"]:
            back[row["orderRef"]["id"]] += row["amount"] - row.get("tipAmount", 0)
    known = {row["id"] for row in read["customers"]}
    sales, lines = [], []
    for key, row in read["orders"].items():
        customer = (inner(row, "customers") or [{"id": ""}])[0]["id"]
        sales.append(
            f"{key}|{mid}|{customer if customer in known else ''}|{row.get('employee', {}).get('id', '')}|"
            f"{instant(row['createdTime'])}|{row.get('total', '')}|{paid[key]}|{tax[key]}|{back[key]}|"
            f"{len(inner(row, 'lineItems'))}|{row['paymentState']}|{row.get('orderType', {}).get('label', '')}|"
            f"{int(row['testMode'])}"
        )
        for line in inner(row, "lineItems"):
            gross, net = line_cents(line)
            lines.append(
                f"{line['id']}|{key}|{line.get('item', {}).get('id', '')}|{line['name']}|{gross}|{net}|"
                f"{line.get('unitQty', '')}|{int(line['refunded'])}"
            )
    refunds = [
        f"{row['id']}|{row['orderRef']['id']}|{row['payment']['id']}|{row['amount']}|{row['taxAmount']}|"
        f"{row.get('tipAmount', 0)}|{instant(row['createdTime'])}"
        for row in read["refunds"].values()
    ]
    credits = [
        f"{row['id']}|{row['orderRef']['id']}|{row['amount']}|{instant(row['createdTime'])}"
        for row in read["credits"].values()
    ]
    items = [
        f"{row['id']}|{mid}|{row['name']}|{row.get('sku', '')}|{row['price']}|"
        f"{read['stocks'][row['id']].get('quantity', '')}|{','.join(one['name'] for one in inner(row, 'categories'))}"
        for row in read["items"]
    ]
    people = [f"{row['id']}|{mid}|{row['name']}|{row['role']}" for row in read["employees"]]
    place = [f"{mid}|{read['merchant']['name']}|{read['merchant']['properties']['timezone']}"]
    found = {"sales": sales, "lines": lines, "refunds": refunds, "credits": credits, "items": items}
    found |= {
        "employees": people,
        "locations": place,
        "customers": [customer_line(row, mid) for row in read["customers"]],
    }
    for name, made in found.items():
        assert sorted(made) == state[name]["rows"], name
        assert len(made) == state[name]["count"]


def customer_line(row, mid):
    about = row.get("metadata", {})
    phones = ",".join("".join(filter(str.isdigit, one["phoneNumber"])) for one in inner(row, "phoneNumbers"))
    emails = sorted(inner(row, "emailAddresses"), key=lambda one: not one.get("primaryEmail"))
    born = ""
    if "dobDay" in about and "dobMonth" in about:
        born = f"{about.get('dobYear', '-')}-{about['dobMonth']:02d}-{about['dobDay']:02d}"
    state = inner(row, "addresses")[0]["state"] if inner(row, "addresses") else ""
    return (
        f"{row['id']}|{mid}|{row.get('firstName', '')}|{row.get('lastName', '')}|{phones}|"
        f"{','.join(one['emailAddress'].lower() for one in emails)}|{born}|{state}|{int(row['marketingAllowed'])}|"
        f"{about.get('businessName', '')}"
    )


def test_totals_follow_the_rule(read):
    for row in read["orders"].values():
        net, tax = order_total(row)
        assert row.get("total", net + tax) == net + tax, row


def test_one_line_a_unit_and_signs(read):
    for row in read["orders"].values():
        for line in inner(row, "lineItems"):
            assert "quantity" not in line and line["price"] >= 0
            for one in inner(line, "discounts"):
                assert one["name"] and ("amount" in one) != ("percentage" in one or "percentageDecimal" in one)
        for one in inner(row, "discounts"):
            assert one.get("amount", -1) < 0 <= one.get("percentage", 0) <= 100
    assert all(row["amount"] > 0 and "modifiedTime" not in row for row in read["refunds"].values())


def test_the_seed_has_every_behaviour(read, running):
    seen, orders = Counter(), list(read["orders"].values())
    by_order = {}
    for row in read["payments"].values():
        by_order.setdefault(row["order"]["id"], []).append(row)
        seen[row["result"]] += 1
        seen["tip"] += "tipAmount" in row
    for row in orders:
        lines, payments = inner(row, "lineItems"), by_order.get(row["id"], [])
        counted = sum(one["amount"] for one in payments if one["result"] == "SUCCESS")
        discounts = [one for owner in (row, *lines) for one in inner(owner, "discounts")]
        seen[row["paymentState"]] += 1
        seen.update(
            anonymous=not inner(row, "customers"),
            named=bool(inner(row, "customers")),
            open=row["state"] == "open",
            manual=row["manualTransaction"],
            test=row["testMode"],
            untaxed=row["taxRemoved"],
            over_api="employee" not in row and "total" not in row and "device" not in row,
            preset=any("discount" in one for one in discounts),
            typed=any("discount" not in one and "amount" in one for one in discounts),
            percent=any("percentage" in one for one in discounts),
            twelve_and_a_half=any("percentageDecimal" in one for one in discounts),
            on_line=any(inner(line, "discounts") for line in lines),
            on_order=bool(inner(row, "discounts")),
            cent_off=abs(counted - row.get("total", counted)) == 1,
            split=len({one["tender"]["id"] for one in payments if one["result"] == "SUCCESS"}) > 1,
            by_unit=any("unitQty" in line for line in lines),
            modified=any(inner(line, "modifications") for line in lines),
            custom=any("item" not in line for line in lines),
            no_revenue=any(not line["isRevenue"] for line in lines),
            fee=any(line.get("isOrderFee") for line in lines),
            several_of_one=max(
                Counter(line.get("item", {}).get("id", line["id"]) for line in lines).values(), default=0
            )
            > 1,
            refunded_line=any(line["refunded"] for line in lines),
            pickup=row.get("orderType", {}).get("label") == "Pickup",
            delivery=row.get("orderType", {}).get("label") == "Delivery",
            no_type="orderType" not in row,
            voids=bool(inner(row, "voids")),
        )
    states = ("PAID", "OPEN", "PARTIALLY_PAID", "REFUNDED", "PARTIALLY_REFUNDED", "CREDITED")
    results = ("SUCCESS", "FAIL", "VOIDED", "tip")
    missing = {name for name in (*states, *results) if not seen[name]} | {
        name for name, count in seen.items() if not count
    }
    assert not missing
    assert len({row["tender"]["id"] for row in read["payments"].values()}) >= 4
    assert len({row["employee"]["id"] for row in orders if "employee" in row}) == 5
    span = max(row["createdTime"] for row in orders) - min(row["createdTime"] for row in orders)
    assert span > 175 * DAY_MS
    merchant = running.vendor.merchants[read["merchant"]["id"]]
    hidden = [row for row in merchant.orders.rows if "state" not in row.fields]
    deleted = [row for row in merchant.orders.rows if row.deleted]
    assert hidden and deleted and not {row.id for row in (*hidden, *deleted)} & set(read["orders"])


def test_nobody_buys_before_being_a_customer(read):
    for row in read["orders"].values():
        for one in inner(row, "customers"):
            assert one.get("customerSince", 0) <= row["createdTime"]


def test_hidden_and_deleted_orders(read, running):
    client = Client(running.url)
    merchant = running.vendor.merchants[client.mid]
    hidden = next(row for row in merchant.orders.rows if "state" not in row.fields)
    assert "state" not in client.get(f"/orders/{hidden.id}")
    assert client.rows("/orders", f"filter=id in ('{hidden.id}')") == []
    deleted = [row for row in merchant.orders.rows if row.deleted and row.created > now_ms() - 89 * DAY_MS]
    assert client.call("GET", f"/orders/{deleted[0].id}")[0] == 404
    found = client.all("/orders", f"filter=deletedTime>={now_ms() - 89 * DAY_MS}")
    assert {row["id"] for row in found} >= {row.id for row in deleted}
    assert all(row["deletedTimestamp"] for row in found)


def test_same_arguments_same_data(running):
    vendor = running.vendor
    with server.start("clover", customers=400, sales=1500, seed=7, days=180) as other:
        assert other.vendor.state(rows=False) == vendor.state(rows=False)
        assert other.vendor.credentials() == vendor.credentials()
        before = other.vendor.state(rows=False)
        other.vendor.seed(customers=400, sales=1500, seed=8, days=180)
        assert other.vendor.state(rows=False)["sales"]["sha256"] != before["sales"]["sha256"]


def test_tax_inside_the_prices():
    with server.start("clover", customers=10, sales=60, seed=7, days=20, rate=0, vat=True) as one:
        client = Client(one.url)
        assert client.get("/properties")["vat"] is True
        sale = client.control("sell", lines=[{**TEA, "price_cents": 1088}])
        order = client.get(f"/orders/{sale['id']}", "expand=payments,payments.taxRates")
        assert order["isVat"] is True and order["total"] == 1088
        assert (
            order["payments"]["elements"][0]["taxAmount"] == half_up(Fraction(1088 * 881, 10_881)) == sale["tax_cents"]
        )


def test_the_order_of_the_reference(fresh):
    """Two at 35.00, one with 5.00 off, 2.5 oz at 12.00, then 10 % off the order, 8 % tax: 92.34."""
    merchant = next(iter(fresh.sandbox.vendor.merchants.values()))
    merchant.default_rate.set(rate=800_000)
    bottle = {"sku": "GB-01", "price_cents": 3500}
    lines = [
        bottle,
        {**bottle, "discount": {"name": "5 off", "cents": 500}},
        {"sku": "LT-10", "price_cents": 1200, "unit_qty": 2500},
    ]
    sale = fresh.control("sell", lines=lines, discount={"name": "Loyalty 10%", "percent": 10}, tender="cash")
    row = fresh.get(f"/orders/{sale['id']}", "expand=lineItems,lineItems.discounts,discounts,payments")
    assert (row["total"], row["paymentState"], row["state"], row["payType"]) == (9234, "PAID", "locked", "FULL")
    assert [line["price"] for line in inner(row, "lineItems")] == [3500, 3500, 1200]
    assert inner(inner(row, "lineItems")[1], "discounts")[0]["amount"] == -500
    third = inner(row, "lineItems")[2]
    assert (third["unitQty"], third["unitName"], third["itemCode"]) == (2500, "oz", "LT-10")
    assert inner(row, "discounts")[0] | {"id": ""} == {
        "id": "", "orderRef": {"id": sale["id"]}, "name": "Loyalty 10%", "percentage": 10
    }  # fmt: skip
    payment = inner(row, "payments")[0]
    assert (payment["amount"], payment["taxAmount"], payment["cashTendered"]) == (9234, 684, 9500)
    assert fresh.rows(f"/orders/{sale['id']}/discounts") == inner(row, "discounts")
    assert fresh.rows(f"/orders/{sale['id']}/payments") == inner(row, "payments")


def test_selling_by_control(fresh):
    made = fresh.control("edit", first_name="Ada", phone="(415) 555-0142", email="Ada@Example.com")
    sale = fresh.control("sell", phone="14155550142", lines=[{**TEA, "quantity": 3}], transaction="118", tip_cents=200)
    assert sale["customer_id"] == made["customer_id"] and sale["number"] == "118" and sale["state"] == "PAID"
    row = fresh.get(f"/orders/{sale['id']}", "expand=lineItems,payments,customers")
    assert row["title"] == "118" and len(inner(row, "lineItems")) == 3
    assert inner(row, "customers")[0]["firstName"] == "Ada"
    payment = inner(row, "payments")[0]
    assert payment["amount"] == row["total"] == sale["total_cents"] and payment["tipAmount"] == 200
    assert fresh.rows("/orders", "limit=1")[0]["id"] == sale["id"]
    unpaid = fresh.control("sell", state="open", lines=[TEA])
    assert fresh.get(f"/orders/{unpaid['id']}")["paymentState"] == "OPEN"
    short = fresh.control("sell", lines=[TEA], mismatch_cents=-1)
    assert short["state"] == "PARTIALLY_PAID" and short["paid_cents"] == short["total_cents"] - 1
    assert fresh.control("sell", lines=[TEA], mismatch_cents=1)["state"] == "PAID"
    typed = fresh.control("sell", lines=[TEA], discount_cents=250)
    assert typed["lines_cents"] == 750
    custom = fresh.control("sell", lines=[{"name": "By hand", "price_cents": 700, "custom": True}], untaxed=True)
    row = fresh.get(f"/orders/{custom['id']}", "expand=lineItems")
    assert "item" not in inner(row, "lineItems")[0] and row["total"] == 700 and row["taxRemoved"] is True
    pickup = fresh.control(
        "sell", lines=[TEA], order_type="Pickup", at=(datetime.now(UTC) - timedelta(hours=5)).isoformat()
    )
    assert fresh.get(f"/orders/{pickup['id']}", "expand=orderType")["orderType"]["systemOrderTypeId"] == "TAKE-OUT-TYPE"
    late = fresh.control("late", minutes_ago=300, lines=[TEA])
    assert datetime.fromisoformat(late["at"]) < datetime.now(UTC) - timedelta(hours=4)
    assert len(fresh.control("trade", count=8)) == 8
    before = now_ms() + 1000
    assert all(row["createdTime"] <= before for row in fresh.all("/orders"))
    for bad, status in (
        ({"phone": "4155550999"}, 404),
        ({"customer_id": "X"}, 404),
        ({"location": "X"}, 404),
        ({"employee_id": "X"}, 404),
        ({"order_type": "X"}, 404),
        ({"tender": "beads"}, 404),
        ({"nonsense": 1}, 400),
        ({"lines": [{**TEA, "quantity": 1.5}]}, 400),
        ({"lines": [TEA], "discount": {"cents": 5, "after_tax": True}}, 400),
        ({"at": "2999-01-01T00:00:00Z"}, 400),
    ):
        assert fresh.refused("sell", **bad) == status, bad


def test_refunds(fresh):
    at = (datetime.now(UTC) - timedelta(hours=2)).isoformat()
    sale = fresh.control("sell", lines=[{**TEA, "quantity": 3}], tip_cents=100, at=at)
    base = f"/orders/{sale['id']}"
    before = fresh.get(base)["modifiedTime"]
    part = fresh.control("refund", id=sale["id"], lines=[{"line": 2}])
    row = fresh.get(base, "expand=lineItems,refunds")
    assert (row["paymentState"], part["state"]) == ("PARTIALLY_REFUNDED", "PARTIALLY_REFUNDED")
    assert [line["refunded"] for line in inner(row, "lineItems")] == [False, True, False]
    refund = fresh.get(f"/refunds/{part['id']}", "expand=lineItems,payment")
    assert refund["amount"] == -part["total_cents"] > 0 and refund["orderRef"] == {"id": sale["id"]}
    assert inner(refund, "lineItems") == [{"id": inner(row, "lineItems")[1]["id"]}]
    assert refund["payment"]["amount"] == sale["total_cents"] and "modifiedTime" not in refund
    assert row["modifiedTime"] > before + 3_600_000, "a refund moves the order's time"
    assert inner(row, "refunds")[0]["id"] == part["id"]
    amount = fresh.control("refund", id=sale["id"], amount_cents=100)
    rest = fresh.control("refund", id=sale["id"])
    assert part["total_cents"] + amount["total_cents"] + rest["total_cents"] in (
        -sale["total_cents"],
        -sale["total_cents"] - 100,
    )
    assert part["tax_cents"] + amount["tax_cents"] + rest["tax_cents"] == -sale["tax_cents"]
    assert fresh.get(base)["paymentState"] == "REFUNDED"
    assert fresh.refused("refund", id=sale["id"]) == 409
    whole = fresh.control("sell", lines=[TEA], tip_cents=100)
    back = fresh.control("refund", id=whole["id"])
    refund = fresh.get(f"/refunds/{back['id']}")
    assert (refund["amount"], refund["tipAmount"]) == (whole["total_cents"] + 100, 100), "a refund includes the tip"
    for bad, status in (
        ({"id": "X"}, 404),
        ({"id": sale["id"], "lines": [{"line": 9}]}, 404),
        ({"id": sale["id"], "lines": [{"line": 2}]}, 409),
    ):
        assert fresh.refused("refund", **bad) == status
    assert fresh.rows("/refunds", f"filter=payment.id={refund['payment']['id']}")[0]["id"] == back["id"]


def test_a_voided_payment(fresh):
    sale = fresh.control("sell", lines=[TEA])
    payment = sale["payment_ids"][0]
    assert fresh.control("edit", payment_id=payment, void=True)["state"] == "OPEN"
    row = fresh.get(f"/payments/{payment}")
    assert row["result"] == "VOIDED" and row["voidReason"]
    order = fresh.get(f"/orders/{sale['id']}", "expand=voids,payments")
    assert order["state"] == "open" and [one["id"] for one in inner(order, "voids")] == [payment]
    assert payment in {one["id"] for one in fresh.rows("/payments", "filter=voided=true")}
    assert fresh.refused("edit", payment_id=payment, void=True) == 409


def test_orders_are_edited_and_deleted(fresh):
    sale = fresh.control("sell", lines=[TEA], state="open")
    fresh.control("edit", order_id=sale["id"], title="A-7", note="gift")
    row = fresh.get(f"/orders/{sale['id']}")
    assert (row["title"], row["note"]) == ("A-7", "gift")
    fresh.control("edit", order_id=sale["id"], deleted=True)
    assert fresh.call("GET", f"/orders/{sale['id']}")[0] == 404
    assert sale["id"] not in {row["id"] for row in fresh.rows("/orders")}
    assert sale["id"] in {row["id"] for row in fresh.rows("/orders", f"filter=deletedTime>={now_ms() - 60_000}")}


def test_voided_lines(running):
    client = Client(running.url)
    rows = client.all("/voided_line_items")
    assert rows and all(row["lineItem"]["name"] and row["reason"] and row["deletedTime"] for row in rows)


def test_stock_and_its_switch(fresh):
    item = next(row for row in fresh.rows("/items", "expand=itemStock") if row.get("sku") == "GB-01")
    assert item["itemStock"]["quantity"] == 17.5 and item["itemStock"]["stockCount"] == 18
    bottle = [{"sku": "GB-01", "quantity": 2}]
    sale = fresh.control("sell", lines=bottle)
    stock = fresh.get(f"/item_stocks/{item['id']}")
    assert stock["quantity"] == 15.5 and stock["modifiedTime"] > item["modifiedTime"]
    assert fresh.get(f"/items/{item['id']}")["modifiedTime"] == item["modifiedTime"], "stock has a time of its own"
    fresh.control("refund", id=sale["id"])
    assert fresh.get(f"/item_stocks/{item['id']}")["quantity"] == 17.5
    fresh.control("edit", item_id=item["id"], quantity=1)
    fresh.control("sell", lines=bottle[:1])
    row = fresh.get(f"/items/{item['id']}", "expand=itemStock")
    assert row["itemStock"]["quantity"] == -1 and row["available"] is False
    never = next(row for row in fresh.rows("/items") if row["name"] == "Cold Brew")
    assert fresh.get(f"/item_stocks/{never['id']}") == {"item": {"id": never["id"]}}
    fresh.control("edit", properties={"trackStock": False})
    assert fresh.get("/properties")["trackStock"] is False
    fresh.control("sell", lines=bottle)
    assert fresh.get(f"/item_stocks/{item['id']}")["quantity"] == -1


def test_items_categories_and_tags(fresh):
    items = fresh.rows("/items", "expand=categories,tags,taxRates,itemStock", "limit=1000")
    kinds = Counter(row["priceType"] for row in items)
    assert set(kinds) == {"FIXED", "PER_UNIT", "VARIABLE"}
    counts = {len(row["categories"]["elements"]) for row in items}
    assert counts == {0, 1, 2}
    glass = next(row for row in fresh.rows("/categories") if row["name"] == "Glass")
    inside = {row["id"] for row in items if "Glass" in {one["name"] for one in row["categories"]["elements"]}}
    assert {row["id"] for row in fresh.rows(f"/categories/{glass['id']}/items")} == inside
    assert {row["id"] for row in fresh.rows("/items", f"filter=categoryId={glass['id']}")} == inside
    gone = fresh.rows("/items", "filter=deleted=true")
    assert [row["name"] for row in gone] == ["Winter Candle 2023"] and gone[0]["deletedTime"]
    assert fresh.call("GET", f"/items/{gone[0]['id']}")[0] == 404
    tagged = next(row for row in items if row["tags"]["elements"])
    assert fresh.rows(f"/items/{tagged['id']}/tags")[0]["name"] == tagged["tags"]["elements"][0]["name"]
    fresh.control("edit", item_id=tagged["id"], price=1, deleted=True)
    assert tagged["id"] in {row["id"] for row in fresh.rows("/items", "filter=deleted=true")}
    assert {row["name"] for row in fresh.rows("/tax_rates")} == {"NO_TAX_APPLIED", "Sales tax"}
    assert all(row.get("amount", -1) < 0 for row in fresh.rows("/discounts"))


def test_the_merchant_and_its_people(fresh):
    record = fresh.get("")
    assert not {"timezone", "defaultCurrency", "properties"} & set(record)
    assert list(record["address"]) == ["href"] and record["gateway"] == {} and "opening_hours" in record
    properties = fresh.get("/properties")
    assert (properties["timezone"], properties["defaultCurrency"]) == ("America/Denver", "USD")
    assert properties["trackStock"] is True and properties["merchantRef"] == {"id": fresh.mid}
    assert fresh.get("", "expand=properties,address")["address"] == fresh.get("/address")
    staff = fresh.rows("/employees")
    assert len(staff) == 5 and all("pin" in row and row["orders"]["href"] for row in staff)
    left = fresh.rows("/employees", "filter=deletedTime>0")
    assert len(left) == 1 and fresh.call("GET", f"/employees/{left[0]['id']}")[0] == 404
    assert fresh.get(f"/employees/{staff[0]['id']}")["name"] == staff[0]["name"]
    fresh.control("edit", employee_id=staff[0]["id"], name="Ines Holm-Vale")
    assert fresh.get(f"/employees/{staff[0]['id']}")["name"] == "Ines Holm-Vale"
    tenders = fresh.rows("/tenders")
    assert len(tenders) == 14 and any("labelKey" not in row for row in tenders)
    types = fresh.rows("/order_types")
    assert any("label" not in row for row in types) and any(row["isDeleted"] for row in types)
    assert {row["id"] for row in fresh.rows("/system_order_types")} >= {"TAKE-OUT-TYPE"}
    assert fresh.get("/default_service_charge")["percentageDecimal"] == 180_000
    assert fresh.rows("/credit_refunds") == []


def test_the_till_is_a_pair_of_hands(fresh):
    fresh.control("edit", first_name="Ada", phone="4155550142")
    for action in ("setup", "wallet", "readd"):
        status = fresh.refused("till", action=action, phone="4155550142", url="http://127.0.0.1:9", key="k")
        assert status == 409 and "no till integration" in fresh.text
    opened = fresh.control("till", action="open", phone="4155550142", lines=[{**TEA, "quantity": 2}])
    order = opened["cart"]["order_id"]
    assert opened["sent"] == [] and fresh.get(f"/orders/{order}")["paymentState"] == "OPEN"
    assert fresh.refused("till", action="apply", phone="4155550142", name="Loyalty") == 400
    typed = fresh.control("till", action="apply", phone="4155550142", name="Loyalty 10.00", cents=1000)
    row = fresh.get(f"/orders/{order}", "expand=discounts,customers")
    assert row["total"] == typed["cart"]["total_cents"] < opened["cart"]["total_cents"]
    assert [(one["name"], one["amount"]) for one in inner(row, "discounts")] == [("Loyalty 10.00", -1000)]
    assert fresh.refused("till", action="apply", phone="4155550142", name="Again", cents=1) == 409
    fresh.control("till", action="remove", phone="4155550142")
    assert fresh.get(f"/orders/{order}")["total"] == opened["cart"]["total_cents"]
    fresh.control("till", action="apply", phone="4155550142", name="Ten", percent=10)
    done = fresh.control("till", action="complete", phone="4155550142", tender="cash")
    assert done["sale"]["id"] == order and done["sale"]["state"] == "PAID"
    row = fresh.get(f"/orders/{order}", "expand=discounts,payments")
    assert row["state"] == "locked" and inner(row, "payments")[0]["amount"] == row["total"]
    assert fresh.get(f"/payments/{inner(row, 'payments')[0]['id']}")["order"] == {"id": order}
    other = fresh.control("till", action="open", phone="4155550142", lines=[TEA])["cart"]["order_id"]
    fresh.control("till", action="cancel", phone="4155550142")
    assert fresh.call("GET", f"/orders/{other}")[0] == 404
    assert fresh.refused("till", action="remove", phone="4155550142") == 404


def test_wiping_keeps_the_shop(fresh):
    items, counts = fresh.rows("/items"), fresh.control("wipe")
    assert (counts["customers"], counts["sales"], counts["locations"]) == (0, 0, 1)
    assert fresh.rows("/customers") == fresh.rows("/orders") == fresh.rows("/payments") == []
    assert fresh.rows("/items") == items
    assert fresh.control("sell", lines=[TEA])["total_cents"] > 1000


def test_every_control_route_that_design_names(fresh):
    for route in ("state", "credentials", "faults", "calls"):
        with urllib.request.urlopen(f"{fresh.sandbox.url}/_sandbox/{route}", timeout=10) as answer:
            assert answer.status == 200
    counts = fresh.control("seed", customers=12, sales=30, locations=3, seed=9, days=20)
    assert (counts["customers"], counts["sales"], counts["locations"]) == (12, 30, 3)
    told = fresh.raw("GET", "/_sandbox/credentials")[1]
    assert [row["merchant_id"] for row in told["merchants"]] == counts["location_ids"]
    assert told["merchant_id"] == counts["location_ids"][0] and told["api_token"] == told["merchants"][0]["api_token"]
    other = fresh.control("sell", location=counts["location_ids"][2], lines=[TEA])
    assert other["location_id"] == counts["location_ids"][2]
    for bad in (
        {"customers": -1},
        {"locations": 0},
        {"permissions": ["ALL"]},
        {"region": "mars"},
        {"limits": {"x": 1}},
    ):
        assert fresh.refused("seed", **bad) == 400
    assert fresh.refused("seed", blank_payments=0.5) == 400, "a switch of another vendor"
