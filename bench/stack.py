"""What a redemption is measured beside: the same stack (server, middleware, key look-up, scope, envelope), less work.

`Read` answers one row. `Bare` does what the plainest till would do, one UPDATE and one INSERT, in one round trip and
without a single guard. Their tables are the bench's own, so that the ledger stays whole.
"""

from django.db import connection
from rest_framework.request import Request
from rest_framework.response import Response

from aiqsync.accounts.models import Scope
from aiqsync.urls import urlpatterns as product
from loyalty.api.base import TillView, route
from loyalty.api.envelope import NotThere, answer

TABLES = """
CREATE TABLE bench_wallet (id bigint PRIMARY KEY, account_id bigint NOT NULL, balance numeric(14, 2) NOT NULL);
CREATE TABLE bench_entry (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, wallet_id bigint NOT NULL,
                          points numeric(14, 2) NOT NULL, at timestamptz NOT NULL DEFAULT now());
CREATE INDEX ON bench_entry (wallet_id);
"""


class Read(TillView):
    def get(self, request: Request, wallet: str) -> Response:
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT id, balance FROM bench_wallet WHERE id = %s AND account_id = %s",
                [int(wallet), self.caller.account_id],
            )
            row = cursor.fetchone()
        if row is None:
            raise NotThere("Wallet not found")
        return answer({"wallet": row[0], "loyaltyPoints": row[1]})


class Bare(TillView):
    scopes = {"PUT": Scope.POS}

    def put(self, request: Request, wallet: str) -> Response:
        with connection.cursor() as cursor:
            cursor.execute(
                """WITH paid AS (
                       UPDATE bench_wallet SET balance = balance - 10 WHERE id = %s AND account_id = %s
                       RETURNING id, balance)
                   INSERT INTO bench_entry (wallet_id, points) SELECT id, -10 FROM paid
                   RETURNING id, (SELECT balance FROM paid)""",
                [int(wallet), self.caller.account_id],
            )
            entry, balance = cursor.fetchone()
        return answer({"entry": entry, "loyaltyPoints": balance})


urlpatterns = [*route("bench/read/<wallet>", Read), *route("bench/bare/<wallet>", Bare), *product]
