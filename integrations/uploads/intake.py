"""Files come in: uploaded on a page, or in pieces from a folder or bucket. Then it is seen what they are."""

import hashlib
import re
import unicodedata
import zipfile
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

from django.conf import settings
from django.db import transaction
from django.utils import timezone

from aiqsync.accounts.models import Account, User
from integrations.files import cells, columns, tables
from integrations.kit.records import FilePiece
from integrations.models import ColumnMapping, Origin, Upload, UploadFrom, UploadState
from integrations.refusals import Refused

from . import bodies

PLATFORM = "files"
SAMPLE = 200  # rows looked at for the order of day and month


def most_bytes() -> int:
    return settings.FILES_MAX_MB * 2**20


def _is_word(character: str) -> bool:
    """A letter, a digit or a mark that belongs to a letter."""
    return character.isalnum() or unicodedata.category(character).startswith("M")


def source(*, account_id: int, name: str) -> Origin:
    """The source that a merchant's files belong to, by its name; made when it is new. Raises `Refused`."""
    name = unicodedata.normalize("NFKC", name)
    title = " ".join("".join(c if _is_word(c) or c in "_.&'-" else " " for c in name).split())[:60]
    # Letters of any script: two shops' names are two sources.
    identity = "-".join("".join(c if _is_word(c) else " " for c in title.casefold()).split())
    if not identity:
        raise Refused("Give the source a name: what these files come from.", field="source")
    found, _ = Origin.unscoped.get_or_create(
        account_id=account_id, platform=PLATFORM, identity=identity[:100], defaults={"title": title}
    )
    return found


def accept(
    *, account_id: int, origin: Origin, name: str, pieces: Iterable[bytes], user: User | None, now: datetime,
    kind: str = "",
) -> Upload:  # fmt: skip
    """Keep a file and look at it. Raises `Refused`, and then nothing is kept."""
    if Origin.unscoped.filter(pk=origin.pk).exclude(erasing_at=None).exists():
        raise Refused(f"What {origin.title} brought is being erased. Send the file when that is done.", field="source")
    with transaction.atomic():
        Origin.unscoped.filter(pk=origin.pk).exclude(erased_at=None).update(erased_at=None)  # it brings something again
        upload = Upload.unscoped.create(
            account_id=account_id, origin=origin, name=_file_name(name), kind=kind, made_by=user, created_at=now
        )

        def counted() -> Iterable[bytes]:
            size = 0
            for piece in pieces:
                size += len(piece)
                if size > most_bytes():
                    raise Refused(
                        f"The file is larger than {settings.FILES_MAX_MB} MB. Send it in parts.", field="file"
                    )
                yield piece

        upload.size = bodies.write(upload=upload, pieces=counted())
        try:
            settle(upload, now=now)
        except tables.NotATable as error:
            raise Refused(str(error), field="file") from None
    return upload


def _file_name(name: str) -> str:
    name = re.split(r"[\\/]", name)[-1].replace("\x00", "").strip()
    return "".join(c for c in name if c.isprintable())[:200] or "file"


def keep(*, account_id: int, origin_id: int, pieces: Sequence[FilePiece]) -> list[int]:
    """Pieces from a drop place. Returns the uploads that are whole now."""
    now, whole = timezone.now(), []
    for piece in pieces:
        upload, _ = Upload.unscoped.get_or_create(
            account_id=account_id,
            origin_id=origin_id,
            place=_place_key(piece.external_id),
            defaults={"name": _file_name(piece.path), "came": piece.came, "size": piece.size, "created_at": now},
        )
        if upload.state != UploadState.RECEIVING:
            continue  # a repeated piece of a file that is here already
        if piece.problem:
            _turn_away(upload, piece.problem, now)
            continue
        bodies.write(upload=upload, pieces=[piece.data], start=piece.start)
        if piece.last:
            upload.size = piece.start + len(piece.data)
            try:
                settle(upload, now=now)
            except (tables.NotATable, bodies.Gone) as error:
                _turn_away(upload, str(error), now)
            whole.append(upload.pk)
    return whole


def _place_key(name: str) -> str:
    """Path and version as the column holds them. Cut, two long ones would be one file: the digest tells them apart."""
    longest = Upload._meta.get_field("place").max_length
    if len(name) <= longest:
        return name
    digest = hashlib.sha256(name.encode("utf-8", "surrogateescape")).hexdigest()
    return f"{name[: longest - len(digest) - 1]}#{digest}"


def _turn_away(upload: Upload, message: str, now: datetime) -> None:
    upload.state, upload.message, upload.finished_at = UploadState.FAILED, message, now
    upload.save()


def settle(upload: Upload, *, now: datetime) -> None:
    """See what the file is. One whose columns are known goes on by itself when it was dropped, or has one form only."""
    with bodies.opened(upload) as body:
        shape = tables.look(body)
        upload.sha256 = _digest(body)
        first = sample(body, shape)
    upload.shape = shape.as_json()
    upload.kind = upload.kind or columns.guess_kind(shape.header, upload.name)
    propose(upload, first)
    upload.state = UploadState.CHOOSING
    if upload.kind and not columns.problems(shape.header, columns.KINDS[upload.kind], upload.mapping):
        if columns.KINDS[upload.kind].fixed:
            upload.state, upload.counting, upload.queued_at = UploadState.QUEUED, True, now
        elif upload.came != UploadFrom.PAGE and _known(upload):
            upload.state, upload.queued_at = UploadState.QUEUED, now
    upload.save()


def propose(upload: Upload, rows: Sequence[tables.Row]) -> None:
    """Fill in the mapping and the order of days as they were last time, else as they probably are."""
    if not upload.kind:
        upload.mapping, upload.day_order = {}, ""
        return
    kind, header = columns.KINDS[upload.kind], tuple(upload.shape["header"])
    known = ColumnMapping.unscoped.filter(origin_id=upload.origin_id, kind=upload.kind).first()
    upload.mapping = columns.guess(header, kind, known.columns if known and not kind.fixed else None)
    upload.day_order = (known and known.day_order) or _order(upload, kind, header, rows)


def _order(upload: Upload, kind: columns.Kind, header: Sequence[str], rows: Sequence[tables.Row]) -> str:
    days = [at for at, one in enumerate(header) if upload.mapping.get(one) in kind.days]
    texts = (row.cells[at] for row in rows for at in days if at < len(row.cells))
    country = Account.objects.values_list("country", flat=True).get(pk=upload.account_id)
    return cells.guess_order(texts, country=country)


def _known(upload: Upload) -> bool:
    """Somebody has said how such files are read, and this one has every column that was used then."""
    known = ColumnMapping.unscoped.filter(origin_id=upload.origin_id, kind=upload.kind).first()
    used = {one for one, name in known.columns.items() if name} if known else None
    return used is not None and used <= set(upload.shape["header"])


def _digest(body: Any) -> str:
    found = hashlib.sha256()
    body.seek(0)
    while piece := body.read(2**20):
        found.update(piece)
    return found.hexdigest()


def sample(body: Any, shape: tables.Shape) -> list[tables.Row]:
    """The first rows, good and bad. Raises `NotATable`."""
    found = []
    try:
        for row in tables.rows(body, shape):
            found.append(row)
            if len(found) == SAMPLE:
                break
    except zipfile.BadZipFile:
        raise tables.NotATable("The workbook is damaged. Save it again, or send CSV.") from None
    return found
