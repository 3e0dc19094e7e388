"""The calls as a Postman collection (format 2.1.0), made from the OpenAPI document: each with its example.

Variables of the collection: `base` (scheme and host), `uid`, `key`. What else a path names is a variable of its call.
"""

import json
import re
from typing import Any

from drf_spectacular.generators import SchemaGenerator

SCHEMA = "https://schema.getpostman.com/json/collection/v2.1.0/collection.json"


def collection() -> dict[str, Any]:
    """A folder a tag, in the document's order."""
    document = SchemaGenerator().get_schema(request=None, public=True)
    folders: dict[str, list[dict[str, Any]]] = {}
    for path, methods in document["paths"].items():
        for method, call in methods.items():
            folders.setdefault(call["tags"][0], []).append(_item(method.upper(), path, call))
    return {
        "info": {"name": document["info"]["title"], "schema": SCHEMA, "description": document["info"]["description"]},
        "auth": {
            "type": "apikey",
            "apikey": [
                {"key": "key", "value": "X-APIKEY", "type": "string"},
                {"key": "value", "value": "{{key}}", "type": "string"},
                {"key": "in", "value": "header", "type": "string"},
            ],
        },
        "variable": [
            {"key": "base", "value": "https://loyalty.example.org"},
            {"key": "uid", "value": ""},
            {"key": "key", "value": ""},
        ],
        "item": [{"name": name.capitalize(), "item": items} for name, items in folders.items()],
    }


def _item(method: str, path: str, call: dict[str, Any]) -> dict[str, Any]:
    queries = [one for one in call.get("parameters", []) if one["in"] == "query"]
    paths = [one for one in call.get("parameters", []) if one["in"] == "path" and one["name"] != "uid"]
    # The account is the collection's variable; the others are the call's own.
    raw = re.sub(r"{(\w+)}", r":\1", path.replace("{uid}", "{{uid}}").replace("{{uid}}", "\0")).replace("\0", "{{uid}}")
    url: dict[str, Any] = {
        "raw": "{{base}}" + raw,
        "host": ["{{base}}"],
        "path": raw.strip("/").split("/"),
        "variable": [{"key": one["name"], "value": "", "description": one.get("description", "")} for one in paths],
        "query": [
            {"key": one["name"], "value": "", "description": one.get("description", ""), "disabled": True}
            for one in queries
        ],
    }
    request: dict[str, Any] = {
        "method": method,
        "header": [{"key": "Content-Type", "value": "application/json"}],
        "url": url,
        "description": call.get("description", ""),
    }
    body = call.get("requestBody", {}).get("content", {}).get("application/json", {}).get("example")
    if body is not None:
        request["body"] = {"mode": "raw", "raw": _text(body), "options": {"raw": {"language": "json"}}}
    shown = call["responses"]["200"]["content"]["application/json"].get("example")
    answers = []
    if shown is not None:
        answers.append({"name": "Done", "originalRequest": request, "status": "OK", "code": 200,
                        "_postman_previewlanguage": "json", "body": _text(shown)})  # fmt: skip
    return {"name": call["summary"], "request": request, "response": answers}


def _text(value: Any) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False)
