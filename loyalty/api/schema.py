"""How a call stands in the OpenAPI document: what every call has is said here, once.

The envelope around what a view declares as its data, the refusals each call may answer with, `Idempotency-Key` where a
call changes something, and what is left of the allowance.
"""

import re
from typing import Any

from drf_spectacular.openapi import AutoSchema
from drf_spectacular.utils import OpenApiParameter, OpenApiTypes

from loyalty.idempotency import LONGEST_KEY

from .evidence import DOCUMENTED, EVIDENCE, OLDER, SAID
from .examples import EXAMPLES

# When each of them is answered; the documentation page lists them too.
CODES = {
    400: "A field is wrong, or the call is refused; the sentence says why.",
    403: "The key: missing, wrong, ended, from an address not on its list, of another account, or of too low a scope.",
    404: "An unknown path, contact or redemption, or an address we did not sign.",
    405: "The method.",
    409: "The call with this Idempotency-Key is still under way. Send it again in a moment.",
    413: "The body is over 10 MB.",
    422: "The Idempotency-Key was used for another call.",
    429: "Too many calls. `Retry-After` says how many seconds to wait.",
    503: "Busy or restarting. Nothing was done; send it again after `Retry-After` seconds.",
}
_ALWAYS, _WITH_BODY, _CHANGING = (400, 403, 404, 429, 503), (413,), (409, 422)

FAILURE = {
    "type": "object",
    "required": ["errors", "code", "success"],
    "properties": {
        "errors": {
            "type": "array",
            "minItems": 1,
            "items": {
                "type": "object",
                "required": ["message"],
                "properties": {
                    "message": {"type": "string"},
                    "index": {"type": "integer", "description": "Of arrays: which item, from 0."},
                },
            },
        },
        "code": {"type": "integer"},
        "success": {"type": "boolean", "enum": [False]},
    },
    "example": {"errors": [{"message": "phone: must be text."}], "code": 400, "success": False},
}
HEADERS = {
    "X-RateLimit-Limit": "Calls a minute that this key may make of the process that answered.",
    "X-RateLimit-Remaining": "How many are left now.",
    "X-RateLimit-Reset": "Seconds until all are there again.",
}
COMPONENTS = {
    "schemas": {"Failure": FAILURE},
    "headers": {name: {"description": said, "schema": {"type": "integer"}} for name, said in HEADERS.items()},
}
_LEFT = {name: {"$ref": f"#/components/headers/{name}"} for name in HEADERS}
_RETRY = {"Retry-After": {"description": "Seconds to wait.", "schema": {"type": "integer", "minimum": 1}}}
_REPLAYED = {
    "Idempotent-Replayed": {
        "description": "`true` when this call was made before and this is its answer of then.",
        "schema": {"type": "string", "enum": ["true"]},
    }
}


def complete(result: dict[str, Any], generator: Any, request: Any, public: bool) -> dict[str, Any]:
    """The parts that calls refer to."""
    for kind, parts in COMPONENTS.items():
        result["components"].setdefault(kind, {}).update(parts)
    return result


class TillSchema(AutoSchema):
    """A view says what its `data` is; everything around it is added here."""

    def get_operation_id(self) -> str:
        """The method and the path: `get_v1_1_piis_uid_cid`."""
        words = re.sub(r"[^a-zA-Z0-9]+", "_", self.path.removeprefix("/api")).strip("_")
        return f"{self.method.lower()}_{words}"

    def is_deprecated(self) -> bool:
        return self.path in OLDER

    @property
    def changes_something(self) -> bool:
        return self.method not in ("GET", "HEAD", *getattr(self.view, "reads", ()))

    def get_override_parameters(self) -> list[Any]:
        given = list(super().get_override_parameters())
        if self.changes_something:
            given.append(
                OpenApiParameter(
                    "Idempotency-Key", OpenApiTypes.STR, OpenApiParameter.HEADER,
                    description=f"1 to {LONGEST_KEY} plain ASCII characters: the call has its effect once, and a "
                    "repeat answers the same bytes, for 30 days.",
                )
            )  # fmt: skip
        return given

    def get_operation(self, *given: Any, **named: Any) -> dict[str, Any] | None:
        operation = super().get_operation(*given, **named)
        if not operation:
            return operation
        kind = EVIDENCE.get(self.path, DOCUMENTED)
        operation["x-evidence"] = kind
        operation["description"] = f"{operation.get('description', '')}\n\n{SAID[kind]}".strip()
        shown = EXAMPLES.get(f"{self.method} {self.path}")
        if body := operation.get("requestBody"):
            # Whatever type a caller names, it is read as JSON.
            body["content"] = {"application/json": next(iter(body["content"].values()))}
            if shown and shown["request"] is not None:
                body["content"]["application/json"]["example"] = shown["request"]
        # Success is 200, also for something new and for something that went.
        operation["responses"] = {
            "200" if code.startswith("2") else code: told for code, told in operation["responses"].items()
        }
        for code, told in operation["responses"].items():
            if code == "200":
                held = told.get("content", {}).get("application/json", {})
                told["content"] = {"application/json": held | {"schema": self._enveloped(held.get("schema"))}}
                if shown:
                    told["content"]["application/json"]["example"] = shown["answer"]
                told["headers"] = _LEFT | (_REPLAYED if self.changes_something else {})
                told["description"] = told.get("description") or "Done."
        codes = [*_ALWAYS, *(_WITH_BODY if "requestBody" in operation else ())]
        for code in sorted([*codes, *(_CHANGING if self.changes_something else ())]):
            operation["responses"].setdefault(str(code), self._refusal(code))
        return operation

    def _refusal(self, code: int) -> dict[str, Any]:
        return {
            "description": CODES[code],
            "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Failure"}}},
            "headers": _LEFT | (_RETRY if code in (409, 429, 503) else {}),
        }

    def _enveloped(self, schema: dict[str, Any] | None) -> dict[str, Any]:
        """`data`, `code` and `success` around a view's data, unless the view has said so itself."""
        whole = schema or {}
        if reference := whole.get("$ref"):
            name = reference.rsplit("/", 1)[1]
            found = next((one for (key, _), one in self.registry._components.items() if key == name), None)
            whole = found.schema if found is not None else {}
        if {"data", "code", "success"} <= set(whole.get("properties", {})):
            return schema or {}
        return {
            "type": "object",
            "required": ["data", "code", "success"],
            "properties": {
                "data": schema if schema is not None else {"nullable": True, "description": "null"},
                "code": {"type": "integer", "enum": [200]},
                "success": {"type": "boolean", "enum": [True]},
            },
        }
