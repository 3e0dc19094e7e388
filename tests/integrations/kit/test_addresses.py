"""Where a merchant's address may lead: a table of hostile ones, and the pin that holds."""

import socket
import ssl
import threading
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from integrations.kit.addresses import Address, Pinned, PinnedAdapter, guard
from integrations.kit.client import Client
from integrations.kit.errors import BadCredentials, TryLater, UnexpectedAnswer


def public(host, port):
    return ["93.184.216.34"]


HOSTILE = [
    # this machine
    "https://localhost", "https://localhost/v1", "https://LOCALHOST./", "https://api.localhost", "https://127.0.0.1",
    "https://127.1.2.3:443/x", "https://[::1]", "https://0.0.0.0", "https://[::]",
    # written as numbers
    "https://2130706433", "https://0x7f000001", "https://0x7f.0.0.1", "https://0177.0.0.1", "https://017700000001",
    "https://127.1", "https://127.0.1", "https://0", "https://127.0.0.1.", "https://1.1.1.1.",
    # inner networks
    "https://10.0.0.1", "https://10.255.255.254/v1", "https://172.16.0.1", "https://172.31.9.9", "https://192.168.1.1",
    "https://100.64.0.1", "https://198.18.0.1", "https://192.0.0.8", "https://192.0.2.1", "https://[fc00::1]",
    "https://[fd12:3456::1]", "https://[fec0::1]", "https://[2001:db8::1]",
    # link-local, and the cloud's metadata
    "https://169.254.169.254", "https://169.254.169.254/latest/meta-data", "https://[fe80::1]", "https://[fe80::1%25eth0]",
    "https://[fd00:ec2::254]",
    # multicast, reserved, broadcast
    "https://224.0.0.1", "https://239.1.1.1", "https://[ff02::1]", "https://240.0.0.1", "https://255.255.255.255",
    # IPv4 in IPv6's clothes
    "https://[::ffff:127.0.0.1]", "https://[::ffff:10.0.0.1]", "https://[::ffff:7f00:1]", "https://[::127.0.0.1]",
    "https://[64:ff9b::7f00:1]", "https://[2002:7f00:1::]", "https://[2002:a00:1::1]", "https://[::ffff:93.184.216.34]",
    # schemes, ports, users, tails
    "http://api.pos.com", "ftp://api.pos.com", "file:///etc/passwd", "gopher://api.pos.com", "javascript:alert(1)",
    "https://api.pos.com:22", "https://api.pos.com:80", "https://api.pos.com:6379", "https://api.pos.com:0",
    "https://api.pos.com:99999", "https://api.pos.com:x", "https://me@api.pos.com", "https://me:pw@api.pos.com",
    "https://api.pos.com@127.0.0.1", "https://127.0.0.1#@api.pos.com", "https://api.pos.com?x=1", "https://api.pos.com/#",
    "https://api.pos.com/?", "https://api.pos.com/../x", "https://api.pos.com/a/%2e%2e/b", "https://api.pos.com//x",
    "https://api.pos.com\\@127.0.0.1", "https://api.pos.com\\.evil.com",
    "https://api.pos.com /x", "https://api.pos.com\n.x",
    "https://\t127.0.0.1", "https://api.pos.com\x00.evil.com",
    "https://ａpi.pos.com", "https://①②⑦.0.0.1", "//api.pos.com",
    # no host of the internet
    "https://intranet", "https://printer", "https://pos.local", "https://db.internal", "https://x.lan", "https://-a.com",
    "https://a..com", "https://.com", "https://", "https:///x", "api.pos.com", "", "https://[", "https://[zz]",
    "https://metadata.google.internal", "https://" + "a" * 400 + ".com",
]  # fmt: skip


@pytest.mark.parametrize("url", HOSTILE)
def test_hostile_addresses_are_refused_with_a_sentence(url):
    with pytest.raises(BadCredentials) as refusal:
        guard(url, resolve=public)
    assert refusal.value.message.endswith(".") and refusal.value.setting == "base_url"


HERE = ("https://localhost", "https://localhost/v1", "https://127.0.0.1", "https://127.1.2.3:443/x", "https://[::1]")


@pytest.mark.parametrize("url", [url for url in HOSTILE if url not in HERE])
def test_the_loopback_switch_opens_this_machine_alone(url):
    if url.startswith("https://LOCALHOST"):
        pytest.skip("the same machine, with a dot")
    with pytest.raises(BadCredentials):
        guard(url, allow_loopback=True, resolve=public)


@pytest.mark.parametrize(
    ("url", "pinned"),
    [
        ("https://api.pos.com/v1/", Pinned("https://api.pos.com/v1", "api.pos.com", "93.184.216.34", 443)),
        ("https://API.pos.com", Pinned("https://api.pos.com", "api.pos.com", "93.184.216.34", 443)),
        ("https://api.pos.com:8443/a-b", Pinned("https://api.pos.com:8443/a-b", "api.pos.com", "93.184.216.34", 8443)),
        ("https://93.184.216.34", Pinned("https://93.184.216.34", "93.184.216.34", "93.184.216.34", 443)),
        ("https://[2606:2800::1]", Pinned("https://[2606:2800::1]", "2606:2800::1", "2606:2800::1", 443)),
    ],
)
def test_good_addresses(url, pinned):
    assert guard(url, resolve=public) == pinned


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:8123/v1", "http://localhost:8123/v1", "https://localhost:9", "http://[::1]:80"]
)
def test_the_switch_lets_this_machine_through_plain(url):
    assert guard(url, allow_loopback=True).ip in ("127.0.0.1", "::1")
    with pytest.raises(BadCredentials):
        guard(url)


@pytest.mark.parametrize(
    "found",
    [["127.0.0.1"], ["10.1.2.3"], ["93.184.216.34", "192.168.0.5"], ["169.254.169.254"], ["::1"], ["::ffff:10.0.0.1"],
     ["fe80::1%eth0"], ["0.0.0.0"]],
)  # fmt: skip
def test_a_name_that_leads_inside_is_refused(found):
    with pytest.raises(BadCredentials):
        guard("https://api.pos.com", resolve=lambda host, port: found)
    with pytest.raises(BadCredentials):  # the switch is for what is written plainly
        guard("https://api.pos.com", allow_loopback=True, resolve=lambda host, port: found)


def test_a_name_that_nobody_knows_is_tried_later():
    def unknown(host, port):
        raise socket.gaierror

    with pytest.raises(TryLater, match="api.pos.com is not known"):
        guard("https://api.pos.com", resolve=unknown)
    with pytest.raises(TryLater):
        guard("https://api.pos.com", resolve=lambda host, port: [])


def test_ipv4_is_taken_where_there_is_one():
    assert guard("https://a.pos.com", resolve=lambda h, p: ["2606:2800:220:1::", "93.184.216.34"]).ip == "93.184.216.34"


def test_the_field_says_at_once_what_can_be_said_without_looking_the_name_up():
    field = Address("base_url", label="Base URL")
    assert field.problem(field.clean(" https://api.pos.com/v1/ ")) == ""
    assert "user name" in field.problem("https://me:pw@api.pos.com")
    assert field.problem("") == "Base URL is needed."
    assert field.problem("nonsense").startswith("That is not an address")


class Nobody:
    def headers(self, send):
        return {"X-APIKEY": "k"}

    def refused(self):
        return False


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        self.server.seen.append((self.headers["Host"], self.path))
        if self.path.startswith("/away"):
            self.send_response(302)
            self.send_header("Location", "http://169.254.169.254/latest/meta-data")
            self.end_headers()
            return
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"[1]")

    def log_message(self, *_):
        pass


@pytest.fixture
def served():
    made = []

    def start(context=None):
        server = HTTPServer(("127.0.0.1", 0), _Handler)
        server.seen = []
        if context:
            server.socket = context.wrap_socket(server.socket, server_side=True)
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        made.append(server)
        return server

    yield start
    for server in made:
        server.shutdown()
        server.server_close()


def client_of(pinned, **more):
    return Client(pinned.url, Nobody(), transport=PinnedAdapter(pinned), tries=1, **more)


def test_the_connection_goes_to_the_pinned_address_whatever_the_name_says(served, monkeypatch):
    server = served()
    port = server.server_address[1]
    pinned = Pinned(f"http://api.pos.com:{port}/v1", "api.pos.com", "127.0.0.1", port)
    looked_up = []
    real = socket.getaddrinfo

    def rebound(host, *rest, **more):
        looked_up.append(host)
        return real("127.0.0.9" if host == "api.pos.com" else host, *rest, **more)

    monkeypatch.setattr(socket, "getaddrinfo", rebound)
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")  # it would look the name up by itself
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    with client_of(pinned) as client:
        assert client.get_json("/sales", {"start": 0}) == [1]
    assert server.seen == [(f"api.pos.com:{port}", "/v1/sales?start=0")]
    assert "api.pos.com" not in looked_up


def test_it_serves_no_other_address(served):
    port = served().server_address[1]
    adapter = PinnedAdapter(Pinned(f"http://api.pos.com:{port}", "api.pos.com", "127.0.0.1", port))
    for url in (f"http://other.com:{port}", "http://api.pos.com:1", "https://api.pos.com"):
        with Client(url, Nobody(), transport=adapter, tries=1) as client, pytest.raises(ValueError):
            client.get_json("/x")


def test_redirects_are_not_followed(served):
    server = served()
    port = server.server_address[1]
    pinned = Pinned(f"http://a.pos.com:{port}", "a.pos.com", "127.0.0.1", port)
    with client_of(pinned) as client, pytest.raises(UnexpectedAnswer, match="169.254.169.254"):
        client.get_json("/away")
    assert len(server.seen) == 1


def certificate(tmp_path, name):
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder().subject_name(subject).issuer_name(subject).public_key(key.public_key())
        .serial_number(x509.random_serial_number()).not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )  # fmt: skip
    path = tmp_path / f"{name}.pem"
    plain = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path.write_bytes(made.public_bytes(serialization.Encoding.PEM) + plain)
    return path


@pytest.mark.parametrize(("name", "let_in"), [("api.pos.com", True), ("evil.com", False)])
def test_tls_goes_on_verifying_the_hosts_name(served, tmp_path, monkeypatch, name, let_in):
    path = certificate(tmp_path, name)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(path)
    port = served(context).server_address[1]
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(path))
    with client_of(Pinned(f"https://api.pos.com:{port}", "api.pos.com", "127.0.0.1", port)) as client:
        if let_in:
            assert client.get_json("/x") == [1]
        else:
            with pytest.raises(TryLater):
                client.get_json("/x")
