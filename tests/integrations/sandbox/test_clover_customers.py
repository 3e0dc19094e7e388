"""Writing customers in the stand-in for Clover: partial, never wiping, strict about what it is sent."""

import json

import pytest

from integrations.sandbox import server
from integrations.sandbox.clover.access import USUAL

from .clover_client import Client, now_ms

EVERYTHING = "expand=emailAddresses,phoneNumbers,addresses,metadata,cards"
HOME = {"address1": "1 Pine Rd", "city": "Denver", "state": "CO", "zip": "80205", "country": "US"}


@pytest.fixture(scope="module")
def running():
    with server.start("clover", customers=30, sales=40, seed=3, days=30, rate=0) as one:
        yield one


@pytest.fixture
def client(running):
    return Client(running.url)


def values(row, name, field):
    return [one[field] for one in row[name]["elements"]]


def test_create_answers_200_and_shows_what_is_expanded(client):
    body = {
        "firstName": "Tomas",
        "lastName": "Reyes",
        "emailAddresses": [{"emailAddress": "tomas@example.com"}, {"emailAddress": "t2@example.com"}],
        "phoneNumbers": [{"phoneNumber": "7205550199"}],
        "addresses": [HOME],
        "metadata": {"note": "prefers texts", "dobMonth": 6, "dobDay": 14},
    }
    before = now_ms()
    plain = client.post("/customers", body)
    assert list(plain) == ["href", "id", "firstName", "lastName", "marketingAllowed", "customerSince"]
    assert before // 1000 * 1000 <= plain["customerSince"] <= now_ms() and plain["marketingAllowed"] is False
    row = client.get(f"/customers/{plain['id']}", EVERYTHING)
    assert values(row, "emailAddresses", "emailAddress") == ["tomas@example.com", "t2@example.com"]
    assert [one.get("primaryEmail") for one in row["emailAddresses"]["elements"]] == [True, None]
    assert values(row, "phoneNumbers", "phoneNumber") == ["7205550199"]
    assert {name: row["addresses"]["elements"][0][name] for name in HOME} == HOME
    assert (row["metadata"]["note"], row["metadata"]["dobMonth"]) == ("prefers texts", 6)
    assert row["metadata"]["customer"] == {"id": row["id"]} and row["cards"] == {"elements": []}
    for name in ("emailAddresses", "phoneNumbers", "addresses"):
        assert all(one["customer"] == {"id": row["id"]} and len(one["id"]) == 13 for one in row[name]["elements"])
    assert client.rows("/customers", "limit=1")[0]["id"] == plain["id"], "the newest customer comes first"


def test_create_shows_the_contacts_it_is_asked_to_expand(client):
    body = {"emailAddresses": {"elements": [{"emailAddress": "a@example.com"}]}}
    row = client.post("/customers", body, "expand=emailAddresses,phoneNumbers")
    assert values(row, "emailAddresses", "emailAddress") == ["a@example.com"]
    assert row["phoneNumbers"] == {"elements": []} and "firstName" not in row and "metadata" not in row


def test_the_same_person_can_be_made_twice(client):
    body = {"emailAddresses": [{"emailAddress": "twin@example.com"}]}
    first, second = client.post("/customers", body), client.post("/customers", body)
    assert first["id"] != second["id"]
    assert len(client.rows("/customers", "filter=emailAddress=twin@example.com")) == 2


@pytest.mark.parametrize(
    "body",
    [
        {"email": "flat@example.com", "phone": "3035550101"},  # flat contacts
        {"customerSince": 1},
        {"marketingAllowed": True},
        {"id": "AAAAAAAAAAAAA", "cards": [{"token": "1"}], "unheard": {"of": 1}},
    ],
)
def test_ignored_without_a_word(client, body):
    row = client.post("/customers", body, EVERYTHING)
    assert row["id"] != "AAAAAAAAAAAAA" and row["customerSince"] > 1 and row["marketingAllowed"] is False
    assert all(row[name] == {"elements": []} for name in ("emailAddresses", "phoneNumbers", "cards"))
    changed = client.post(f"/customers/{row['id']}", body, EVERYTHING)
    assert changed == row


BAD = [
    ("", {"firstName": "x" * 65}),
    ("", {"lastName": 5}),
    ("", {"emailAddresses": "a@example.com"}),
    ("", {"emailAddresses": ["a@example.com"]}),
    ("", {"emailAddresses": [{"email": "a@example.com"}]}),
    ("", {"phoneNumbers": [{"phoneNumber": " "}]}),
    ("", {"addresses": [{"address1": "1 Pine Rd"}]}),
    ("", {"addresses": [{**HOME, "country": "USA"}]}),
    ("", {"addresses": [{**HOME, "zip": "12345678901"}]}),
    ("", {"metadata": {"dobMonth": 13}}),
    ("", {"metadata": {"dobDay": "4"}}),
    ("", {"metadata": {"note": "x" * 2001}}),
    ("", {"metadata": []}),
    ("", {"marketingAllowed": "yes"}),
    ("", []),
    ("", None),
    ("/{}", {"firstName": "x" * 65}),
    ("/{}", {"metadata": {"dobYear": True}}),
    ("/{}/email_addresses", {}),
    ("/{}/email_addresses", {"emailAddress": "a@example.com", "primaryEmail": "yes"}),
    ("/{}/phone_numbers", {"phoneNumber": ""}),
    ("/{}/addresses", {"city": "Denver"}),
    ("/{}/metadata", {"dobDay": 0}),
]


@pytest.mark.parametrize("path, body", BAD)
def test_what_cannot_be_written_is_400_and_changes_nothing(client, path, body):
    row = client.rows("/customers", EVERYTHING, "limit=1")[0]
    before = client.rows("/customers", EVERYTHING, "limit=1000")
    target = f"/v3/merchants/{client.mid}/customers{path.format(row['id'])}"
    headers = {"Authorization": f"Bearer {client.token}", "Content-Type": "application/json"}
    text = json.dumps(body)
    status, document = client.raw("POST", target, body=text, headers=headers)
    assert status == 400 and document["message"] == "Bad Request" and document["details"]
    assert client.rows("/customers", EVERYTHING, "limit=1000") == before


def test_a_body_must_be_json(client):
    target, auth = f"/v3/merchants/{client.mid}/customers", {"Authorization": f"Bearer {client.token}"}
    assert client.raw("POST", target, body="{", headers={**auth, "Content-Type": "application/json"})[0] == 400
    assert client.raw("POST", target, body="", headers={**auth, "Content-Type": "application/json"})[0] == 400
    assert client.raw("POST", target, body="a=1", headers={**auth, "Content-Type": "text/plain"})[0] == 415


def test_update_changes_only_what_was_sent(client):
    made = client.post(
        "/customers",
        {"firstName": "Ada", "lastName": "Moss", "phoneNumbers": [{"phoneNumber": "1"}], "metadata": {"note": "n"}},
    )
    client.post(f"/customers/{made['id']}", {"lastName": "Reed"})
    row = client.get(f"/customers/{made['id']}", EVERYTHING)
    assert (row["firstName"], row["lastName"], row["metadata"]["note"]) == ("Ada", "Reed", "n")
    assert values(row, "phoneNumbers", "phoneNumber") == ["1"]
    client.post(f"/customers/{made['id']}", {"metadata": {"businessName": "Moss Studio"}})
    assert client.get(f"/customers/{made['id']}", EVERYTHING)["metadata"]["note"] == "n", "metadata is merged"
    for empty in (None, ""):
        client.post(f"/customers/{made['id']}", {"firstName": empty})
        assert "firstName" not in client.get(f"/customers/{made['id']}"), "an empty value takes the field away"
        client.post(f"/customers/{made['id']}", {"firstName": "Ada"})
    assert list(client.get(f"/customers/{made['id']}")) == list(made)


def test_contacts_in_an_update_are_ignored(client):
    made = client.post("/customers", {"phoneNumbers": [{"phoneNumber": "1"}], "addresses": [HOME]})
    body = {
        "phoneNumbers": [{"phoneNumber": "2"}],
        "addresses": [],
        "emailAddresses": [{"emailAddress": "a@b.example"}],
    }
    row = client.post(f"/customers/{made['id']}", body, EVERYTHING)
    assert values(row, "phoneNumbers", "phoneNumber") == ["1"]
    assert row["emailAddresses"] == {"elements": []} and len(row["addresses"]["elements"]) == 1


def test_contacts_in_an_update_where_that_is_switched_on():
    with server.start("clover", customers=1, sales=0, days=5, rate=0, nested_updates=True) as one:
        client = Client(one.url)
        made = client.post("/customers", {"phoneNumbers": [{"phoneNumber": "1"}]}, EVERYTHING)
        old = made["phoneNumbers"]["elements"][0]["id"]
        body = {"phoneNumbers": [{"id": old, "phoneNumber": "9"}, {"phoneNumber": "2"}]}
        row = client.post(f"/customers/{made['id']}", body, EVERYTHING)
        assert values(row, "phoneNumbers", "phoneNumber") == ["9", "2"]
        row = client.post(f"/customers/{made['id']}", {"phoneNumbers": []}, EVERYTHING)
        assert values(row, "phoneNumbers", "phoneNumber") == ["9", "2"], "nothing is ever removed"


def test_marketing_where_it_is_honoured():
    with server.start("clover", customers=1, sales=0, days=5, rate=0, marketing_honoured=True) as one:
        client = Client(one.url)
        made = client.post("/customers", {"marketingAllowed": True})
        assert made["marketingAllowed"] is True
        assert client.post(f"/customers/{made['id']}", {"marketingAllowed": False})["marketingAllowed"] is False


CONTACTS = [
    ("email_addresses", "emailAddresses", {"emailAddress": "a@example.com"}, {"emailAddress": "b@example.com"}),
    ("phone_numbers", "phoneNumbers", {"phoneNumber": "3035550101"}, {"phoneNumber": "3035550102"}),
    ("addresses", "addresses", HOME, {"city": "Boulder", "address2": "Flat 3"}),
]


@pytest.mark.parametrize("path, name, first, change", CONTACTS)
def test_contacts_are_added_changed_and_removed_by_their_own_paths(client, path, name, first, change):
    base = f"/customers/{client.post('/customers', {'firstName': 'Ada'})['id']}"
    made = client.post(f"{base}/{path}", first)
    assert len(made["id"]) == 13 and first.items() <= made.items() and made["customer"] == {"id": base[11:]}
    other = client.post(f"{base}/{path}", first)
    changed = client.post(f"{base}/{path}/{made['id']}", change)
    assert changed["id"] == made["id"] and {**first, **change}.items() <= changed.items()
    rows = client.get(base, f"expand={name}")[name]["elements"]
    assert [row["id"] for row in rows] == [made["id"], other["id"]] and rows[0] == changed
    assert client.call("DELETE", f"{base}/{path}/{made['id']}") == (200, {})
    assert client.call("DELETE", f"{base}/{path}/{made['id']}")[0] == 404
    assert client.call("POST", f"{base}/{path}/{made['id']}", body=change)[0] == 404
    assert [row["id"] for row in client.get(base, f"expand={name}")[name]["elements"]] == [other["id"]]
    assert client.get(base)["firstName"] == "Ada"


def test_one_email_is_the_primary_one(client):
    base = f"/customers/{client.post('/customers', {})['id']}"
    first = client.post(f"{base}/email_addresses", {"emailAddress": "a@example.com"})
    second = client.post(f"{base}/email_addresses", {"emailAddress": "b@example.com", "primaryEmail": True})
    assert first["primaryEmail"] is True and second["primaryEmail"] is True
    rows = client.get(base, "expand=emailAddresses")["emailAddresses"]["elements"]
    assert [row.get("primaryEmail") for row in rows] == [None, True]
    client.post(f"{base}/email_addresses/{first['id']}", {"primaryEmail": True})
    rows = client.get(base, "expand=emailAddresses")["emailAddresses"]["elements"]
    assert [(row["emailAddress"], row.get("primaryEmail")) for row in rows] == [
        ("a@example.com", True),
        ("b@example.com", None),
    ]


def test_metadata_is_made_and_changed_by_one_call(client):
    base = f"/customers/{client.post('/customers', {'firstName': 'Ada'})['id']}"
    assert "metadata" not in client.get(base, "expand=metadata")
    client.post(f"{base}/phone_numbers", {"phoneNumber": "1"})
    assert "metadata" not in client.get(base, "expand=metadata"), "a change alone makes none"
    made = client.post(f"{base}/metadata", {"note": "hello", "dobYear": 1990, "dobMonth": 2, "dobDay": 3})
    assert made["note"] == "hello" and made["modifiedTime"] % 1000 == 0 and made["customer"] == {"id": base[11:]}
    changed = client.post(f"{base}/metadata", {"note": None, "businessName": "Moss Studio"})
    assert "note" not in changed and (changed["dobYear"], changed["businessName"]) == (1990, "Moss Studio")
    assert client.get(base, "expand=metadata")["metadata"] == changed


def test_any_change_moves_the_only_stamp(client, running):
    made = client.post("/customers", {"metadata": {"note": "n"}})
    row = running.vendor.merchants[client.mid].customers.by_id[made["id"]]
    base = f"/customers/{made['id']}"
    for act in (
        lambda: client.post(base, {"firstName": "Ada"}),
        lambda: client.post(f"{base}/email_addresses", {"emailAddress": "a@example.com"}),
        lambda: client.post(f"{base}/metadata", {"note": "m"}),
        lambda: client.control("edit", customer_id=made["id"], last_name="Moss"),
    ):
        row.metadata["modifiedTime"] = 1000
        act()
        assert client.get(base, "expand=metadata")["metadata"]["modifiedTime"] > 1000


def test_a_deleted_customer(client):
    made = client.post("/customers", {"firstName": "Gone", "phoneNumbers": [{"phoneNumber": "3035550199"}]})
    sale = client.control("sell", customer_id=made["id"])
    before = now_ms() - 1000
    assert client.call("DELETE", f"/customers/{made['id']}") == (200, {})
    assert client.call("GET", f"/customers/{made['id']}")[0] == 404
    assert client.call("POST", f"/customers/{made['id']}", body={"firstName": "Back"})[0] == 404
    assert client.call("POST", f"/customers/{made['id']}/metadata", body={"note": "n"})[0] == 404
    assert made["id"] not in {row["id"] for row in client.rows("/customers", "limit=1000")}
    assert client.rows("/customers", "filter=phoneNumber=3035550199") == []
    gone = client.rows("/customers", f"filter=deletedTime>={before}", "expand=phoneNumbers")
    assert {"href": made["href"], "id": made["id"], "customerSince": made["customerSince"]} in gone
    linked = client.get(f"/orders/{sale['id']}", "expand=customers")["customers"]["elements"]
    assert linked == [{"id": made["id"]}]


def test_european_fields_need_permissions_of_their_own():
    fields = {
        "CUSTOMERS_EMAIL_R": "emailAddresses",
        "CUSTOMERS_PHONE_R": "phoneNumbers",
        "CUSTOMERS_ADDRESS_R": "addresses",
        "CUSTOMERS_CARDS_R": "cards",
        "CUSTOMERS_MARKETING_R": "marketingAllowed",
    }
    inner = {"CUSTOMERS_BUSINESSNAME_R": "businessName", "CUSTOMERS_NOTE_R": "note", "CUSTOMERS_BIRTHDATE_R": "dobDay"}
    with server.start("clover", customers=3, sales=0, days=5, rate=0, region="eu") as one:
        client = Client(one.url)
        body = {"firstName": "Mia", "metadata": {"businessName": "B", "note": "n", "dobDay": 4, "dobMonth": 2}}
        made = client.post("/customers", body)["id"]
        whole = client.get(f"/customers/{made}", EVERYTHING)
        assert {*fields.values(), "metadata"} <= set(whole) and set(inner.values()) <= set(whole["metadata"])
        for permission, name in fields.items():
            client.control("edit", permissions=sorted(USUAL - {permission}))
            assert set(whole) - set(client.get(f"/customers/{made}", EVERYTHING)) == {name}
        for permission, name in inner.items():
            client.control("edit", permissions=sorted(USUAL - {permission}))
            assert name not in client.get(f"/customers/{made}", EVERYTHING)["metadata"]
        client.control("edit", permissions=["CUSTOMERS_R"])
        assert set(client.rows("/customers", EVERYTHING)[0]) - {"metadata"} <= {
            *("href", "id", "firstName", "lastName", "customerSince")
        }


def test_the_csv(client):
    target = f"/v3/merchants/{client.mid}/customers.csv"
    status, text = client.raw("GET", target, headers={"Authorization": f"Bearer {client.token}"})
    assert status == 200 and client.headers["Content-Type"] == "text/csv; charset=utf-8"
    assert len(text.strip().splitlines()) == 1 + len(client.rows("/customers", "limit=1000"))


# what published clients send, as the reference's survey tells


def test_a_client_that_takes_the_first_key_blindly(client):
    document = client.get("/customers", "limit=3")
    assert document[next(iter(document))][0]["id"]


def test_a_client_that_slashes_and_shouts(client):
    auth = {"Authorization": f"Bearer {client.token}", "Content-Type": "Application/JSON"}
    base = f"/v3/merchants/{client.mid}"
    status, made = client.raw("POST", f"{base}/customers/", body='{"firstName": "Slash"}', headers=auth)
    assert status == 200
    status, document = client.raw("GET", f"{base}/customers/?limit=1", body="{}", headers=auth)
    assert (status, document["elements"][0]["id"]) == (200, made["id"])
    assert document["href"].endswith(f"{base}/customers?limit=1")
    assert client.raw("GET", f"{base}/orders/?expand=lineItems&limit=2", headers=auth)[0] == 200
    assert client.raw("DELETE", f"{base}/customers/{made['id']}", body="{}", headers=auth) == (200, {})


def test_a_client_that_looks_before_it_creates(client):
    def find(email, phone):
        for query in (f"filter=emailAddress={email}", f"filter=phoneNumber={phone}"):
            rows = client.rows("/customers", query, "limit=1")
            if rows:
                return rows[0]["id"]
        return None

    email, phone = "careful@example.com", "3035550177"
    assert find(email, phone) is None
    body = {"firstName": "Care", "emailAddresses": [{"emailAddress": email}], "phoneNumbers": [{"phoneNumber": phone}]}
    made = client.post("/customers", body)["id"]
    assert find(email, "0") == find("nobody@example.com", phone) == made
    row = client.post(f"/customers/{made}", {"lastName": "Full"}, "expand=phoneNumbers")
    old = row["phoneNumbers"]["elements"][0]["id"]
    client.post(f"/customers/{made}/phone_numbers/{old}", {"phoneNumber": "3035550178"})
    client.post(f"/customers/{made}/metadata", {"dobMonth": 5, "dobDay": 6})
    row = client.get(f"/customers/{made}", EVERYTHING)
    assert (row["firstName"], row["lastName"], row["metadata"]["dobDay"]) == ("Care", "Full", 6)
    assert values(row, "phoneNumbers", "phoneNumber") == ["3035550178"]
    assert values(row, "emailAddresses", "emailAddress") == [email]


def test_a_client_that_scans_for_changes(client):
    def scan():
        rows = client.all("/customers", "expand=emailAddresses,phoneNumbers,metadata", limit=7)
        return {row["id"]: row for row in rows}

    before = scan()
    changed = next(iter(before))
    client.control("edit", customer_id=changed, email="moved@example.org")
    gone = list(before)[3]
    client.control("edit", customer_id=gone, deleted=True)
    after = scan()
    assert {key for key in after if after[key] != before.get(key)} == {changed} and set(before) - set(after) == {gone}
