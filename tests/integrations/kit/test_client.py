import threading
from decimal import Decimal
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from integrations.kit import client as module
from integrations.kit.client import Client, ServerFault, TooLarge, retry_after_s
from integrations.kit.errors import BadCredentials, NotFound, TryLater, UnexpectedAnswer
from integrations.kit.limits import Limiter

TOKEN = "s3cret-token"


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def answer(self):
        length = int(self.headers.get("Content-Length") or 0)
        sent = self.rfile.read(length)
        self.server.seen.append((self.command, self.path, dict(self.headers), sent))
        script = self.server.script
        reply = script.pop(0) if len(script) > 1 else script[0]
        if callable(reply):
            reply(self)
            return
        status, headers, body = reply
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        if "Content-Length" not in headers:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
        if headers.get("Content-Length", str(len(body))) != str(len(body)):
            self.close_connection = True

    do_GET = do_POST = do_PUT = answer

    def log_message(self, *args):
        pass


class FakeAuth:
    def __init__(self):
        self.tokens = 0
        self.dropped = 0

    def headers(self, send):
        self.tokens += 1
        return {"Authorization": f"Bearer {TOKEN}{self.dropped}"}

    def refused(self):
        self.dropped += 1
        return True


@pytest.fixture
def server():
    running = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    running.script, running.seen = [(200, {}, b"[]")], []
    thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    running.url = f"http://127.0.0.1:{running.server_port}"
    yield running
    running.shutdown()
    running.server_close()


@pytest.fixture
def client(server):
    naps = []
    with Client(server.url, FakeAuth(), vendor="Cova", sleep=naps.append) as made:
        made.naps = naps
        yield made


def json_reply(body: bytes):
    return 200, {"Content-Type": "application/json"}, body


def hang_up(handler):
    handler.close_connection = True
    handler.connection.close()


def test_numbers_are_exact(server, client):
    server.script = [json_reply(b'[{"Amount": 0.1, "Big": 12345678901234567.89, "Id": 7}]')]
    assert client.get_json("/crm/x") == [{"Amount": Decimal("0.1"), "Big": Decimal("12345678901234567.89"), "Id": 7}]
    assert (client.calls, client.seconds > 0, client.server_time is not None) == (1, True, True)


def test_the_question_as_cova_wants_it(server, client):
    client.get_json("/crm/v1/Companies(7)/CustomerFull", {"$filter": "A ge datetime'2026-03-01T00:00:00Z'", "$top": 1})
    method, path, headers, _ = server.seen[0]
    assert method == "GET"
    assert path == ("/crm/v1/Companies(7)/CustomerFull?$filter=A%20ge%20datetime%272026-03-01T00%3A00%3A00Z%27&$top=1")
    assert headers["Accept"] == "application/json"
    assert headers["Authorization"] == f"Bearer {TOKEN}0"


def test_bodies_are_sent_as_json(server, client):
    assert client.post_json("/crm/x", {"a": 1}) == []
    assert client.put_json("/crm/x", {"a": 2}) == []
    assert [(m, b, h["Content-Type"]) for m, _, h, b in server.seen] == [
        ("POST", b'{"a": 1}', "application/json"),
        ("PUT", b'{"a": 2}', "application/json"),
    ]


@pytest.mark.parametrize(
    ("reply", "error", "words"),
    [
        ((302, {"Location": "http://evil.test/x?token=1"}, b""), UnexpectedAnswer, "another address (evil.test)"),
        ((200, {"Content-Type": "text/html"}, b"<html>log in</html>"), UnexpectedAnswer, "web page"),
        ((200, {}, b"{cut"), UnexpectedAnswer, "cannot be read"),
        ((200, {}, b'{"a": NaN}'), UnexpectedAnswer, "cannot be read"),
        ((200, {}, b"[" * 100_000), UnexpectedAnswer, "cannot be read"),
        ((200, {}, b"\xff\xfe\x00"), UnexpectedAnswer, "cannot be read"),
        ((200, {"Content-Length": "5000"}, b"[1, 2"), TryLater, "broke off"),
        (hang_up, TryLater, "broke off"),
        ((400, {}, b'{"Message": "secret body"}'), UnexpectedAnswer, "HTTP 400"),
        ((401, {}, b""), BadCredentials, "refuses the log-in"),
        ((403, {}, b""), BadCredentials, "no permission for crm"),
        ((404, {}, b""), NotFound, "no such record"),
        ((429, {}, b"rate limit exceeded"), TryLater, "slow down"),
        ((500, {}, b"secret body"), ServerFault, "HTTP 500"),
        ((503, {}, b""), ServerFault, "HTTP 503"),
    ],
)
def test_each_failure_has_its_name(server, client, reply, error, words):
    server.script = [reply]
    with pytest.raises(error) as raised:
        client.get_json("/crm/x", {"secret": "query"})
    said = f"{raised.value} {raised.value.detail} {raised.value!r}"
    assert words in said
    assert TOKEN not in said and "secret" not in said
    assert raised.value.__cause__ is None


def test_a_redirect_is_not_followed(server, client):
    server.script = [(307, {"Location": server.url + "/other"}, b"")]
    with pytest.raises(UnexpectedAnswer):
        client.get_json("/crm/x")
    assert len(server.seen) == 1


def test_a_huge_answer_is_not_read(server, client, monkeypatch):
    monkeypatch.setattr(module, "BIGGEST_BODY", 1000)
    server.script = [json_reply(b" " * 5000)]
    with pytest.raises(TooLarge):
        client.get_json("/crm/x")


def test_a_slow_vendor(server, client, monkeypatch):
    monkeypatch.setattr(module, "TIMEOUTS_S", (0.2, 0.2))
    gate = threading.Event()
    server.script = [lambda handler: (gate.wait(60), hang_up(handler))]
    with pytest.raises(ServerFault, match="in time"):
        client.get_json("/crm/x")
    gate.set()


def test_nobody_there():
    with Client("http://127.0.0.1:9", FakeAuth(), sleep=lambda s: None) as client, pytest.raises(TryLater):
        client.get_json("/crm/x")
    assert client.calls == 3


def test_reading_is_tried_again_in_place(server, client):
    server.script = [(503, {}, b""), hang_up, json_reply(b"[1]")]
    assert client.get_json("/crm/x") == [1]
    assert len(client.naps) == 2


def test_writing_is_not(server, client):
    server.script = [(503, {}, b""), json_reply(b"[1]")]
    with pytest.raises(ServerFault):
        client.post_json("/crm/x", {})
    assert len(server.seen) == 1


def test_a_401_costs_one_new_token(server, client):
    server.script = [(401, {}, b""), json_reply(b"[1]")]
    assert client.get_json("/crm/x") == [1]
    assert [h["Authorization"] for _, _, h, _ in server.seen] == [f"Bearer {TOKEN}0", f"Bearer {TOKEN}1"]


def test_a_second_401_is_the_end(server, client):
    server.script = [(401, {}, b"")]
    with pytest.raises(BadCredentials):
        client.get_json("/crm/x")
    assert len(server.seen) == 2


def test_a_429_closes_the_service(server):
    with Client(server.url, FakeAuth(), limiter=Limiter(1000)) as client:
        server.script = [(429, {"Retry-After": "37"}, b"")]
        for _ in range(2):
            with pytest.raises(TryLater) as raised:
                client.get_json("/crm/x")
            assert raised.value.after_s == pytest.approx(37, abs=1)
        assert len(server.seen) == 1
        server.script = [json_reply(b"[]")]
        client.get_json("/pricing/x")


def test_netrc_does_not_sign_for_us(server, client, tmp_path, monkeypatch):
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login me password mine")
    monkeypatch.setenv("NETRC", str(netrc))
    client.get_json("/crm/x")
    assert server.seen[0][2]["Authorization"].startswith("Bearer ")


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({"Retry-After": "12"}, 12),
        ({"Retry-After": "Mon, 01 Jan 2001 00:00:00 GMT"}, 0),
        ({"Retry-After": "nan"}, None),
        ({"Retry-After": "999999"}, 3600),
        ({"X-RateLimit-ResetSeconds": "8"}, 8),
        ({}, None),
    ],
)
def test_how_long_to_wait(headers, expected):
    assert retry_after_s(headers) == expected
