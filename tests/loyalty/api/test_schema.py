"""The OpenAPI document: whole, valid, and what each call has in common said of each."""

import pytest
from drf_spectacular.validation import validate_schema

from loyalty.api.evidence import EVIDENCE, OLDER, SAID
from loyalty.api.schema import CODES

from . import openapi

# By POST.
READING = {
    "/api/v2/wallet",
    "/api/v2/view/wallet",
    "/api/v2/view/contact/wallet",
    "/api/v1.1/contact/referral/{uid}",
}
OPERATIONS = [pytest.param(*key, id=" ".join(key)) for key in openapi.operations()]


def test_it_is_valid():
    validate_schema(openapi.document())


def test_names_are_given_once():
    names = [one["operationId"] for one in openapi.operations().values()]
    assert len(names) == len(set(names)) and not any(name[-1].isdigit() and "_2" in name[-2:] for name in names)


@pytest.mark.parametrize(("method", "path"), OPERATIONS)
class TestEach:
    def test_what_it_may_answer(self, method, path):
        one = openapi.operations()[method, path]
        codes = set(one["responses"])
        assert {"400", "403", "404", "429", "503"} <= codes
        assert ("413" in codes) == ("requestBody" in one)
        assert all(code.startswith("2") or int(code) in CODES for code in codes)

    def test_what_it_says_of_itself(self, method, path):
        one = openapi.operations()[method, path]
        assert one["summary"] and one["tags"] and one["security"] == [{"key": []}]

    def test_the_idempotency_key(self, method, path):
        one = openapi.operations()[method, path]
        named = {p["name"] for p in one.get("parameters", [])}
        reads = method == "GET" or path in READING
        assert ("Idempotency-Key" in named) == (not reads) == ("409" in one["responses"])

    def test_the_envelope(self, method, path):
        for code, told in openapi.operations()[method, path]["responses"].items():
            schema = openapi._strict(told["content"]["application/json"]["schema"])
            assert {"code", "success"} <= set(schema["properties"])
            assert ("data" if code.startswith("2") else "errors") in schema["properties"]


def test_each_path_says_how_it_is_known():
    """A new one is put into its list."""
    paths = openapi.document()["paths"]
    assert set(paths) == set(EVIDENCE) and set(paths) >= OLDER
    for path, methods in paths.items():
        for one in methods.values():
            assert one["x-evidence"] == EVIDENCE[path] and SAID[EVIDENCE[path]] in one["description"]
            assert one.get("deprecated", False) == (path in OLDER)


def test_the_page_lists_calls_and_codes(client):
    html = client.get("/api/docs/").content.decode()
    assert all(str(code) in html for code in CODES)
    assert all(path in html for _, path in openapi.operations())
    assert "http://" not in html and "https://" not in html and "<script" not in html
