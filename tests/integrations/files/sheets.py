"""Real files for tests, and reading them to their end."""

import csv
import io

from django.utils import timezone
from openpyxl import Workbook

from integrations.models import Upload
from integrations.uploads import intake, running, services

NOBODY = lambda upload_id: None  # noqa: E731 (tests run the slices themselves)

CUSTOMERS = """Customer ID,First Name,Last Name,Mobile Phone,Email,DOB,Province
C-1,Ada,Moss,(604) 555-0142,ADA@example.test,1990-05-04,BC
C-2,Bo,Fern,6045550143,bo@example.test,1985-11-30,BC
C-3,Cy,Reed,,cy@example.test,,AB
"""


def as_csv(rows, *, separator=",", encoding="utf-8", bom=False) -> bytes:
    out = io.StringIO()
    csv.writer(out, delimiter=separator).writerows(rows)
    return (b"\xef\xbb\xbf" if bom else b"") + out.getvalue().encode(encoding)


def as_xlsx(rows) -> bytes:
    book = Workbook()
    for row in rows:
        book.active.append(row)
    out = io.BytesIO()
    book.save(out)
    return out.getvalue()


def pieces(data: bytes, size: int = 1000):
    for at in range(0, len(data), size):
        yield data[at : at + size]


def send(account, data, *, name="customers.csv", kind="", source="Old till") -> Upload:
    data = data.encode() if isinstance(data, str) else data
    origin = intake.source(account_id=account.pk, name=source)
    return intake.accept(
        account_id=account.pk, origin=origin, name=name, pieces=pieces(data), user=None, now=timezone.now(), kind=kind
    )


def read(upload: Upload, *, slice_s: float | None = None) -> Upload:
    while running.run_slice(upload.pk, slice_s=slice_s):
        pass
    upload.refresh_from_db()
    return upload


def sent_and_read(account, data, **options) -> Upload:
    upload = send(account, data, **options)
    services.begin(upload=upload, now=timezone.now(), enqueue=NOBODY)
    return read(upload)
