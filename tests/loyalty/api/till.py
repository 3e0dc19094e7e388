"""A till for tests: one account, one key, the API over Django's client."""

import json
import uuid
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from urllib.parse import urlsplit

from django.db import connections
from django.test import Client
from django.utils import timezone

from loyalty import ledger
from loyalty.models import Entry, Wallet
from tests.factories import make_account, make_key, make_persona

PHONE = "+16045550142"


class Till:
    """The shopper has `points` and the phone PHONE; `call` returns Django's response."""

    def __init__(self, *, scope: str = "pos", points: int = 1000, account=None) -> None:
        self.account = account or make_account()
        self.key = make_key(self.account, scope)
        self.client = Client(raise_request_exception=False)
        self.persona = None
        if points is not None:
            self.persona = make_persona(self.account, phone=PHONE, email="ada@example.test")
            self.give(points)

    def give(self, points, *, expires_at=None, at=None):
        if points:
            ledger.adjust(
                account_id=self.account.pk,
                persona_id=self.persona.pk,
                points=Decimal(points),
                key=f"give:{uuid.uuid4()}",
                now=at or timezone.now(),
                expires_at=expires_at,
            )

    def call(self, method: str, address: str, body=None, *, raw: bytes | None = None, key="", **options):
        """`key` None sends no key. `raw` goes out as it is; `body` as JSON. A URL is cut to its path."""
        parts = urlsplit(address)
        address = parts._replace(scheme="", netloc="").geturl()
        data = raw if raw is not None else b"" if body is None else json.dumps(body).encode()
        headers = {} if key is None else {"X-APIKEY": key or self.key}
        options.setdefault("content_type", "application/json")
        return self.client.generic(method, address, data, headers=headers | options.pop("headers", {}), **options)

    def data(self, method: str, address: str, body=None, **options):
        """The `data` of a success."""
        response = self.call(method, address, body, **options)
        told = response.json()
        assert response.status_code == 200, told
        assert told["code"] == 200 and told["success"] is True and set(told) == {"data", "code", "success"}
        return told["data"]

    def refused(self, code: int, method: str, address: str, body=None, **options) -> str:
        """The sentence of a refusal with that code."""
        response = self.call(method, address, body, **options)
        return sentence(response, code)

    def wallet(self):
        return self.data("POST", "/api/v2/wallet", {"phone": PHONE})

    def url(self, discount) -> str:
        """The redemption address of a discount, as the wallet has it now."""
        templates = self.wallet()["discountTemplates"]
        return next(t["redemptionURL"] for t in templates if t["id"] == str(discount.number))

    @property
    def balance(self):
        return Wallet.unscoped.get(persona=self.persona).balance

    @property
    def redeem_entries(self) -> int:
        return Entry.unscoped.filter(persona=self.persona, kind="redeem").count()


def sentence(response, code: int) -> str:
    told = response.json()
    assert response.status_code == code, told
    assert told["code"] == code and told["success"] is False and set(told) == {"errors", "code", "success"}
    assert response["Content-Type"] == "application/json"
    assert told["errors"][0]["message"]
    return told["errors"][0]["message"]


def at_once(jobs, workers: int = 10) -> list:
    """Run the jobs in threads, each with its own database connection; their results in order."""

    def run(job):
        try:
            return job()
        finally:
            connections.close_all()

    with ThreadPoolExecutor(workers) as pool:
        return list(pool.map(run, jobs))
