"""Answers other than success.

Known: the shape of 400 (`message`, `details`) [D S16, for orders; elsewhere I], the bodies of 401 [I-rec S25] and of
404 for orders and customers [I-rec S23, S25; I-field S24] and for inventory [I-field S24], the plain text of a path
that does not exist [I-rec S23]. Inferred [I]: the bodies of 405, 415, 500 and 503, and that 415 exists.
"""

import json

from integrations.sandbox.wire import Response

FRAME = ("X-Frame-Options", "SAMEORIGIN")


class Fail(Exception):
    """An answer other than success; `details` stands beside the message when there are any."""

    def __init__(self, status: int, message: str, details: str | None = None) -> None:
        super().__init__(f"{message}: {details}" if details else message)
        self.status = status
        self.message = message
        self.details = details

    def response(self) -> Response:
        body = {"message": self.message} if self.details is None else {"details": self.details, "message": self.message}
        return Response(self.status, json.dumps(body).encode(), headers=[FRAME])


def unauthorized() -> Fail:
    return Fail(401, "401 Unauthorized")


def not_found(what: str) -> Fail:
    return Fail(404, "Not Found", f"{what} not found")


def invalid_id() -> Fail:
    return Fail(404, "invalid ID")


def no_route() -> Response:
    return Response(404, b"404 Not Found", "")
