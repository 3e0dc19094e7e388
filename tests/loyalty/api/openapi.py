"""Answers held against the document we publish."""

from functools import cache
from typing import Any

import jsonschema
from drf_spectacular.generators import SchemaGenerator


@cache
def document() -> dict[str, Any]:
    return SchemaGenerator().get_schema(request=None, public=True)


def operations() -> dict[tuple[str, str], dict[str, Any]]:
    """(method, path) to the operation."""
    paths = document()["paths"].items()
    return {(method.upper(), path): one for path, methods in paths for method, one in methods.items()}


def conforms(method: str, path: str, response: Any) -> None:
    """The status is declared and the body is of its schema. `path` is as in the document."""
    declared = operations()[method, path]["responses"]
    assert str(response.status_code) in declared, f"{method} {path}: {response.status_code} is not declared"
    schema = declared[str(response.status_code)]["content"]["application/json"]["schema"]
    try:
        jsonschema.validate(response.json(), _strict(schema))
    except jsonschema.ValidationError as error:
        where = "/".join(str(part) for part in error.absolute_path)
        raise AssertionError(f"{method} {path}, {where}: {error.message[:300]}") from None


def _strict(schema: Any, *, closed: bool = True) -> Any:
    """OpenAPI 3.0 as JSON Schema: references followed, `nullable` as a type beside, no field that is not declared.

    `closed` False: other fields may be there, as callers may send what we do not read.
    """
    if isinstance(schema, list):
        return [_strict(one, closed=closed) for one in schema]
    if not isinstance(schema, dict):
        return schema
    if reference := schema.get("$ref"):
        return _strict(document()["components"]["schemas"][reference.rsplit("/", 1)[1]], closed=closed)
    left_out = ("nullable", "example", "properties")
    made = {name: _strict(one, closed=closed) for name, one in schema.items() if name not in left_out}
    if "properties" in schema:
        made["properties"] = {name: _strict(one, closed=closed) for name, one in schema["properties"].items()}
        if closed:
            made.setdefault("additionalProperties", False)
    if schema.get("nullable"):
        return {"anyOf": [made, {"type": "null"}]} if made else {}
    return made
