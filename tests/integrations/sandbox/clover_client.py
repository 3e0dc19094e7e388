"""A plain client for the Clover stand-in: one keep-alive connection, a token, nothing clever."""

import http.client
import json
import time
import urllib.parse

DAY_MS = 86_400_000


def now_ms():
    return int(time.time() * 1000)


class Client:
    def __init__(self, url, merchant=0):
        self.address = urllib.parse.urlsplit(url)
        self.connection = http.client.HTTPConnection(self.address.hostname, self.address.port, timeout=30)
        told = self.raw("GET", "/_sandbox/credentials")[1]["merchants"][merchant]
        self.mid, self.token = told["merchant_id"], told["api_token"]

    def raw(self, method, target, *, body=None, headers=()):
        """Status, JSON (or text) of a call with exactly these headers."""
        self.connection.request(method, target, body=body, headers=dict(headers))
        answer = self.connection.getresponse()
        self.text = answer.read().decode()
        self.headers = answer.headers
        try:
            return answer.status, json.loads(self.text)
        except ValueError:
            return answer.status, self.text

    def call(self, method, path, *query, body=None, **headers):
        """A call below the merchant. `query` are parts as `name=value`, percent-encoded here."""
        parts = [f"{name}={urllib.parse.quote(value)}" for name, _, value in (part.partition("=") for part in query)]
        sent = {"Authorization": f"Bearer {self.token}", **headers}
        if body is not None:
            sent["Content-Type"] = "application/json"
            body = json.dumps(body)
        target = f"/v3/merchants/{self.mid}{path}" + ("?" + "&".join(parts) if parts else "")
        return self.raw(method, target, body=body, headers=sent)

    def get(self, path, *query):
        status, document = self.call("GET", path, *query)
        assert status == 200, document
        return document

    def rows(self, path, *query):
        return self.get(path, *query)["elements"]

    def post(self, path, body, *query):
        status, document = self.call("POST", path, *query, body=body)
        assert status == 200, document
        return document

    def all(self, path, *query, limit=500):
        """Every page of a list, until one is not full."""
        rows = []
        while True:
            page = self.rows(path, *query, f"limit={limit}", f"offset={len(rows)}")
            rows += page
            if len(page) < limit:
                return rows

    def through_time(self, path, field, *query, days=200):
        """A list in slices of 30 days, as a careful client walks a history."""
        end, rows = now_ms() + 1000, {}
        for back in range(0, days, 30):
            bounds = (f"filter={field}>={end - (back + 30) * DAY_MS}", f"filter={field}<={end - back * DAY_MS}")
            rows |= {row["id"]: row for row in self.all(path, *bounds, f"orderBy={field} ASC", *query)}
        return rows

    def control(self, route, /, **body):
        status, document = self.raw("POST", f"/_sandbox/{route}", body=json.dumps(body))
        assert status == 200, document
        return document

    def refused(self, route, /, **body):
        """The status of a control call that must not be done."""
        return self.raw("POST", f"/_sandbox/{route}", body=json.dumps(body))[0]

    def state(self, name):
        return self.raw("GET", "/_sandbox/state?rows=1")[1][name]["rows"]
