"""Bodies of files in the database: written in pieces, read as a seekable file, dropped when their time is over.

Web and worker machines share the database and nothing else, so whoever goes on with a file finds it there.
"""

import io
from collections import OrderedDict
from collections.abc import Iterable
from datetime import datetime, timedelta

from django.db import connection

from integrations.models import Upload, UploadChunk

PIECE = 256 * 1024
KEEP_DAYS = 30
_AT_HAND = 6  # pieces kept in memory while a body is read


class Gone(Exception):
    """The body is no longer kept; the message is a sentence."""


def write(*, upload: Upload, pieces: Iterable[bytes], start: int = 0) -> int:
    """Add pieces to the body, each once. Returns where it ends now."""
    with connection.cursor() as cursor:
        for piece in pieces:
            cursor.execute(
                "INSERT INTO integrations_uploadchunk (account_id, upload_id, start, data) VALUES (%s, %s, %s, %s)"
                " ON CONFLICT (upload_id, start) DO NOTHING",
                [upload.account_id, upload.pk, start, piece],
            )
            start += len(piece)
    return start


class _Body(io.RawIOBase):
    def __init__(self, upload: Upload) -> None:
        self._upload, self._size, self._at = upload.pk, upload.size, 0
        self._held: OrderedDict[int, bytes] = OrderedDict()

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        self._at = max(0, base + offset)
        return self._at

    def readinto(self, buffer) -> int:
        if self._at >= self._size:
            return 0
        start, data = self._piece()
        found = data[self._at - start : self._at - start + len(buffer)]
        buffer[: len(found)] = found
        self._at += len(found)
        return len(found)

    def _piece(self) -> tuple[int, bytes]:
        for start, data in self._held.items():
            if start <= self._at < start + len(data):
                self._held.move_to_end(start)
                return start, data
        row = (
            UploadChunk.unscoped.filter(upload=self._upload, start__lte=self._at)
            .order_by("-start")
            .values_list("start", "data")
            .first()
        )
        if row is None or row[0] + len(row[1]) <= self._at:
            raise Gone("The file is no longer kept here. Send it again: rows that came in already change nothing.")
        self._held[row[0]] = bytes(row[1])
        while len(self._held) > _AT_HAND:
            self._held.popitem(last=False)
        return row[0], self._held[row[0]]


def opened(upload: Upload) -> io.BufferedReader:
    """The body as a file. Reading raises `Gone` when it is not kept any more."""
    return io.BufferedReader(_Body(upload), 128 * 1024)


def drop(
    *, now: datetime, upload_id: int | None = None, account_id: int | None = None, before: datetime | None = None
) -> int:
    """Forget bodies: one, an account's, or those that came before a moment. The uploads' rows and figures stay."""
    found = Upload.unscoped.filter(body_gone_at=None)
    if upload_id is not None:
        found = found.filter(pk=upload_id)
    if account_id is not None:
        found = found.filter(account_id=account_id)
    if before is not None:
        found = found.filter(created_at__lt=before)
    ids = list(found.values_list("pk", flat=True))
    if ids:
        with connection.cursor() as cursor:
            cursor.execute("DELETE FROM integrations_uploadchunk WHERE upload_id = ANY(%s)", [ids])
        Upload.unscoped.filter(pk__in=ids).update(body_gone_at=now)
    return len(ids)


def drop_old(*, now: datetime) -> int:
    return drop(before=now - timedelta(days=KEEP_DAYS), now=now)
