"""What connecting checks and says, against a scripted Cova."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

import integrations.cova
from integrations import registry
from integrations.cova.card import CARD, LIVE, make_client, no_permission, refused_login
from integrations.kit.errors import BadCredentials, TryLater

SAMPLES = Path(integrations.cova.__file__).parent / "samples"
ADA = "6d2f0b6e-53a4-4a5c-9f0e-3c1c9f7a1b20"
VALUES = {
    "company_id": "501200",
    "client_id": "HARBOUR.AIQSYNC",
    "client_secret": "very-secret",
    "username": "AIQSYNC.COVA.APIUser.HARBOUR",
    "password": "hunter2-hunter2",
}


def sample(name):
    return json.loads((SAMPLES / f"{name}.json").read_text())


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def answer(self):
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0)).decode()
        path = urlsplit(self.path).path
        self.server.seen.append((path, parse_qs(body), parse_qs(urlsplit(self.path).query)))
        status, reply = next((r for start, r in self.server.replies.items() if path.startswith(start)), (404, {}))
        found = json.dumps(reply).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(found)))
        self.end_headers()
        self.wfile.write(found)

    do_GET = do_POST = answer

    def log_message(self, *args):
        pass


@pytest.fixture
def cova():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.seen = []
    server.replies = {
        "/v1/oauth2/token": (200, {"access_token": "t", "expires_in": 43200, "refresh_token": "r"}),
        "/entitymanager/": (200, sample("locations__plain") + sample("locations__closed")),
        "/crm/": (200, [sample("customer_full__plain")]),
        "/posreports/": (200, []),
        "/pricing/": (200, sample("pricing_groups__plain")),
        "/iqloyalty/": (200, {"PointsBalance": 0, "LifetimePointsBalance": 0}),
    }
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    server.url = f"http://127.0.0.1:{server.server_port}"
    yield server
    server.shutdown()
    server.server_close()


def connect(cova, **kwargs):
    with CARD.client(values=VALUES, base_url=cova.url, **kwargs) as client:
        return CARD.connect(client)


def test_connecting_learns_whose_account_it_is(cova):
    saved = []
    found = connect(cova, save_token=saved.append)
    assert (found.identity, found.title, found.notes) == ("501200", "Cova company 501200", ())
    assert [x.name for x in found.locations] == ["Harbour Cannabis", "Old Mill"]
    assert saved[0]["access_token"] == "t"
    paths = [path for path, _, _ in cova.seen]
    assert paths == [
        "/v1/oauth2/token",
        "/entitymanager/v1/Companies(501200)/Locations",
        "/crm/v1/Companies(501200)/CustomerFull",
        "/posreports/v1/Companies(501200)/Entities(501210)/ByInvoiceWithProducts",
        "/pricing/v1/Companies(501200)/PricingGroups",
        f"/iqloyalty/v1/Companies(501200)/Entities(501210)/customers({ADA})/summary",
    ]
    form = cova.seen[0][1]
    assert form["grant_type"] == ["password"] and form["client_id"] == ["HARBOUR.AIQSYNC"]


@pytest.mark.parametrize(
    ("where", "reply", "setting", "words"),
    [
        ("/v1/oauth2/token", (400, {"error": "invalid_client"}), "client_id", "client_id and client_secret"),
        ("/v1/oauth2/token", (400, {"error": "invalid_grant"}), "password", "username and password"),
        (
            "/v1/oauth2/token",
            (400, sample("token__refused_temporary")),
            "password",
            "temporary: log in at hub.covasoft",
        ),
        ("/v1/oauth2/token", (401, {}), "username", "refuses the log-in"),
        ("/entitymanager/", (404, {"Message": "Entity Not Found"}), "company_id", "does not know company 501200"),
        ("/entitymanager/", (403, {}), "company_id", 'or permission "Manage Dispensary Specific Elements" is missing'),
        ("/crm/", (403, {}), "username", 'customers: permission "Manage Dispensary Specific Elements"'),
        ("/posreports/", (403, {}), "username", 'sales: permission "Manage Dispensary Specific Elements"'),
        ("/pricing/", (403, {}), "username", 'pricing groups: permission "Manage Dispensary Specific Elements"'),
    ],
)
def test_each_refusal_says_what_to_do(cova, where, reply, setting, words):
    connect(cova)  # without the fault it connects
    cova.replies[where] = reply
    with pytest.raises(BadCredentials) as raised:
        connect(cova)
    assert words in raised.value.message
    assert raised.value.setting == setting
    for secret in ("very-secret", "hunter2"):
        assert secret not in f"{raised.value!r} {raised.value.detail}"


def test_without_loyalty_permission_it_connects_with_a_note(cova):
    cova.replies["/iqloyalty/"] = (403, {})
    (note,) = connect(cova).notes
    assert '"View Loyalty Program"' in note and "apisupport@covasoftware.com" in note


def test_a_company_without_customers_or_locations(cova):
    cova.replies["/crm/"] = (200, [])
    assert connect(cova).notes == ()
    assert cova.seen[-1][0].endswith("/Rewards")
    cova.replies["/entitymanager/"] = (200, [])
    assert "no location" in connect(cova).notes[0]


def test_a_cova_that_is_down_is_no_fault_of_the_merchant(cova):
    cova.replies["/entitymanager/"] = (500, {})
    with pytest.raises(TryLater):
        connect(cova)


def test_a_kept_token_is_used(cova):
    with CARD.client(values=VALUES, base_url=cova.url, token={"access_token": "k", "expires_at": 2**33}) as client:
        client.get_json("/pricing/v1/x")
    assert [path for path, _, _ in cova.seen] == ["/pricing/v1/x"]


def test_only_the_live_base_asks_the_live_token_host():
    assert make_client(values=VALUES)._auth._url == "https://accounts.iqmetrix.net/v1/oauth2/token"
    assert make_client(values=VALUES, base_url="http://127.0.0.1:1/")._auth._url == "http://127.0.0.1:1/v1/oauth2/token"
    assert make_client(values=VALUES, base_url="").base_url == LIVE


def test_the_declaration():
    assert registry.get("cova") is CARD
    assert CARD.secret_names == {"client_secret", "password"}
    assert [stream.name for stream in CARD.streams] == ["locations", "pricing_groups", "customers", "sales", "points"]
    assert [stream.name for stream in CARD.streams if stream.on_demand] == ["points"]
    assert CARD.stream("sales").after == ("locations", "customers")
    assert CARD.credentials[0].problem("50 12") and not CARD.credentials[0].problem("501200")
    assert all(field.help for field in (*CARD.credentials, *CARD.settings))
    assert CARD.fee_cents_per_location == 1500 and "15 USD" in CARD.fee
    assert all(words == "yes" or words.endswith(".") for words in CARD.capabilities.values())


def test_sentences_end_like_sentences():
    for service in ("crm", "posreports", "pricing", "iqloyalty", "somewhere"):
        assert no_permission(service)[0].endswith(".")
    for error in ("invalid_grant", "invalid_client", "unsupported_grant_type", ""):
        assert refused_login(error, "")[0].endswith(".")
