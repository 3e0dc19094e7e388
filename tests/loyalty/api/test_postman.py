"""The Postman collection: every call of the document, ready to be sent."""

import json
from io import StringIO

from django.core.management import call_command

from loyalty.api import postman

from . import openapi


def items() -> list[dict]:
    return [item for folder in postman.collection()["item"] for item in folder["item"]]


def test_every_call_is_in_it():
    told = {(one["request"]["method"], len(one["request"]["url"]["path"])) for one in items()}
    assert len(items()) == len(openapi.operations())
    assert told == {(method, len(path.strip("/").split("/"))) for method, path in openapi.operations()}


def test_the_account_is_a_variable_and_the_rest_the_calls_own():
    one = next(item for item in items() if item["request"]["url"]["raw"].endswith("/piis/{{uid}}/:cid"))
    url = one["request"]["url"]
    assert url["raw"] == "{{base}}/api/v1.1/piis/{{uid}}/:cid" and [v["key"] for v in url["variable"]] == ["cid"]
    assert one["response"][0]["code"] == 200 and json.loads(one["response"][0]["body"])["success"] is True


def test_bodies_are_the_examples():
    sale = next(item for item in items() if item["name"] == "Add or update a sale or refund")
    assert json.loads(sale["request"]["body"]["raw"])["visit"]["pos_id"]


def test_as_a_command(tmp_path):
    out = StringIO()
    call_command("postman", stdout=out)
    assert json.loads(out.getvalue())["auth"]["type"] == "apikey"
    call_command("postman", out=tmp_path / "api.json", stdout=out)
    assert json.loads((tmp_path / "api.json").read_text())["info"]["schema"] == postman.SCHEMA
