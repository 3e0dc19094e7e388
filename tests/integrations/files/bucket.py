"""A stand-in for an S3-compatible store over real HTTP: lists and gives objects to whoever signs as AWS documents it.

Its signature check is written from the description of Signature Version 4, not with the library we use.
"""

import hashlib
import hmac
import threading
from datetime import UTC, datetime
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qsl, quote, unquote, urlsplit
from xml.sax.saxutils import escape


class Store:
    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}
        self.at = datetime(2026, 11, 1, tzinfo=UTC)
        self.key, self.secret, self.bucket = "AKIATEST", "very-secret", "drops"
        self.fail = ""
        self.calls: list[tuple[str, str]] = []
        store = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_):
                return None

            def do_GET(self):  # noqa: N802
                store.answer(self)

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.server_address[1]}"

    def stop(self) -> None:
        self.server.shutdown()
        self.server.server_close()

    def _signed(self, request, parts) -> str:
        given = request.headers.get("Authorization", "")
        if not given.startswith("AWS4-HMAC-SHA256 "):
            return "AccessDenied"
        fields = dict(one.strip().split("=", 1) for one in given[17:].split(","))
        key, day, region, service, _ = fields["Credential"].split("/")
        if key != self.key:
            return "InvalidAccessKeyId"
        names = fields["SignedHeaders"].split(";")
        query = "&".join(
            f"{quote(k, safe='-_.~')}={quote(v, safe='-_.~')}"
            for k, v in sorted(parse_qsl(parts.query, keep_blank_values=True))
        )
        headers = "".join(f"{name}:{' '.join(request.headers[name].split())}\n" for name in names)
        whole = "\n".join(("GET", parts.path, query, headers, ";".join(names), request.headers["x-amz-content-sha256"]))
        scope = f"{day}/{region}/{service}/aws4_request"
        text = "\n".join(
            ("AWS4-HMAC-SHA256", request.headers["x-amz-date"], scope, hashlib.sha256(whole.encode()).hexdigest())
        )
        sign = b"AWS4" + self.secret.encode()
        for part in (day, region, service, "aws4_request"):
            sign = hmac.digest(sign, part.encode(), "sha256")
        return (
            "" if hmac.digest(sign, text.encode(), "sha256").hex() == fields["Signature"] else "SignatureDoesNotMatch"
        )

    def answer(self, request) -> None:
        parts = urlsplit(request.path)
        self.calls.append((parts.path, parts.query))
        _, bucket, *rest = parts.path.split("/", 2)
        name = unquote(rest[0]) if rest else ""
        if self.fail == "redirect":
            request.send_response(302)
            request.send_header("Location", "http://127.0.0.1:9/elsewhere")
            request.send_header("Content-Length", "0")
            request.end_headers()
        elif code := self.fail or self._signed(request, parts) or ("" if bucket == self.bucket else "NoSuchBucket"):
            status = {"SlowDown": 503, "InternalError": 500, "NoSuchBucket": 404}.get(code, 403)
            self._send(request, status, f"<Error><Code>{code}</Code><Message>no</Message></Error>".encode())
        elif name:
            self._object(request, name)
        else:
            self._list(request, dict(parse_qsl(parts.query)))

    def _list(self, request, asked) -> None:
        names = sorted(n for n in self.objects if n.startswith(asked.get("prefix", "")))
        after = asked.get("continuation-token") or asked.get("start-after") or ""
        left = [n for n in names if n > after]
        page = left[:2]  # small pages: the client must ask on
        more = len(left) > 2
        items = "".join(
            f"<Contents><Key>{escape(n)}</Key><LastModified>{self.at:%Y-%m-%dT%H:%M:%S.000Z}</LastModified>"
            f"<ETag>&quot;{hashlib.md5(self.objects[n]).hexdigest()}&quot;</ETag><Size>{len(self.objects[n])}</Size>"
            "</Contents>"
            for n in page
        )
        token = f"<NextContinuationToken>{escape(page[-1])}</NextContinuationToken>" if more else ""
        body = (
            '<?xml version="1.0"?><ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'
            f"<Name>{self.bucket}</Name><IsTruncated>{str(more).lower()}</IsTruncated>{token}{items}</ListBucketResult>"
        )
        self._send(request, 200, body.encode())

    def _object(self, request, name) -> None:
        data = self.objects.get(name)
        if data is None:
            return self._send(request, 404, b"<Error><Code>NoSuchKey</Code><Message>no</Message></Error>")
        etag = hashlib.md5(data).hexdigest()
        if request.headers.get("If-Match", etag).strip('"') != etag:
            return self._send(request, 412, b"<Error><Code>PreconditionFailed</Code><Message>no</Message></Error>")
        start = int(request.headers.get("Range", "bytes=0-")[6:].split("-")[0])
        return self._send(request, 206 if start else 200, data[start:], etag)

    def _send(self, request, status, body, etag="") -> None:
        request.send_response(status)
        request.send_header("Content-Type", "application/xml")
        request.send_header("Content-Length", str(len(body)))
        request.send_header("Last-Modified", format_datetime(self.at, usegmt=True))
        if etag:
            request.send_header("ETag", f'"{etag}"')
        request.end_headers()
        request.wfile.write(body)
