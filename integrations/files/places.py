"""Where dropped files lie: a folder that the installation allows, or a bucket. Both are only read.

Neither follows where it was not sent: a folder's path stays below the installation's root for this account, whatever
links it holds, and a bucket's address is looked up once, checked and pinned.
"""

import os
import stat
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, Protocol

import certifi
import urllib3
from minio import Minio
from minio.error import InvalidResponseError, MinioException, S3Error, ServerError

from ..kit.addresses import PinnedAdapter, guard
from ..kit.errors import BadCredentials, TryLater, UnexpectedAnswer

ENDINGS = (".csv", ".xlsx", ".tsv", ".txt")
MOST_FILES = 5_000
SETTLED_S = 10  # a file that was written a moment ago may not be whole yet
TIMEOUTS_S = (5, 25)
REGION = "us-east-1"


class Dropped(NamedTuple):
    path: str
    mark: str  # another one is another file
    size: int


class Place(Protocol):
    came: str

    def files(self) -> list[Dropped]:
        """What lies there, oldest first. Raises what a vendor's client raises."""
        ...

    def read(self, file: Dropped, start: int) -> Iterator[bytes]:
        """The file's bytes from `start`. Raises `FileNotFoundError` when it is another file by now."""
        ...


def _told(found: list[tuple[float, Dropped]]) -> list[Dropped]:
    if len(found) > MOST_FILES:
        raise UnexpectedAnswer(f"More than {MOST_FILES:,} files lie there. Move the old ones away.")
    return [file for _, file in sorted(found, key=lambda one: (one[0], one[1].path))]


def wanted(path: str) -> bool:
    name = path.rsplit("/", 1)[-1]
    return name.lower().endswith(ENDINGS) and not name.startswith((".", "~$"))


class Folder:
    came = "folder"

    def __init__(self, root: str, folder: str) -> None:
        if not root:
            raise BadCredentials(
                "This installation watches no folder: its operator has to name one (FILES_ROOT).", setting="folder"
            )
        self.root = Path(root)
        parts = Path(folder).parts
        if Path(folder).is_absolute() or ".." in parts or "\x00" in folder or "~" in folder:
            raise BadCredentials("Folder is a name below your own, without .. and without a slash in front.",
                                 setting="folder")  # fmt: skip
        self.base = self.root.joinpath(*parts)

    def _inside(self, path: Path) -> bool:
        """Where it really is: links out of the root lead nowhere."""
        return path.resolve().is_relative_to(self.root.resolve())

    def files(self) -> list[Dropped]:
        if not self.base.is_dir() or not self._inside(self.base):
            raise BadCredentials(f"There is no folder “{self.base.name}” of yours here.", setting="folder")
        found: list[tuple[float, Dropped]] = []
        try:
            for entry in os.scandir(self.base):
                if not wanted(entry.name) or not entry.is_file(follow_symlinks=False):
                    continue
                about = entry.stat(follow_symlinks=False)
                if time.time() - about.st_mtime >= SETTLED_S:
                    found.append((about.st_mtime, Dropped(entry.name, _mark(about), about.st_size)))
        except OSError as error:
            raise TryLater("The folder could not be read.", detail=type(error).__name__) from None
        return _told(found)

    def read(self, file: Dropped, start: int) -> Iterator[bytes]:
        try:
            handle = os.open(self.base / file.path, os.O_RDONLY | os.O_NOFOLLOW)
        except FileNotFoundError:
            raise
        except OSError as error:
            raise TryLater(f"{file.path} could not be read.", detail=type(error).__name__) from None
        with os.fdopen(handle, "rb") as opened:
            about = os.fstat(opened.fileno())
            if not stat.S_ISREG(about.st_mode) or _mark(about) != file.mark:
                raise FileNotFoundError(file.path)
            yield from _pieces(opened, start)


def _mark(about: os.stat_result) -> str:
    return f"{about.st_mtime_ns}-{about.st_size}"


def _pieces(opened: BinaryIO, start: int, size: int = 64 * 1024) -> Iterator[bytes]:
    opened.seek(start)
    while piece := opened.read(size):
        yield piece


class Bucket:
    came = "bucket"

    def __init__(
        self, *, endpoint: str, bucket: str, prefix: str, region: str, access_key: str, secret_key: str,
        allow_loopback: bool = False,
    ) -> None:  # fmt: skip
        url = endpoint if "://" in endpoint else f"https://{endpoint}"
        pinned = guard(url, allow_loopback, setting="endpoint")
        parts = urllib3.util.parse_url(pinned.url)
        if parts.path and parts.path.strip("/"):
            raise BadCredentials("Endpoint is an address without a path; the bucket has its own field.",
                                 setting="endpoint")  # fmt: skip
        # The library asks through a pool that dials the checked address only; it follows nothing elsewhere.
        pool = PinnedAdapter(pinned).poolmanager
        pool.connection_pool_kw |= {
            "timeout": urllib3.Timeout(*TIMEOUTS_S), "ca_certs": certifi.where(), "cert_reqs": "CERT_REQUIRED",
            "retries": urllib3.Retry(0, redirect=0, raise_on_redirect=False),
        }  # fmt: skip
        self.bucket, self.prefix = bucket, prefix.lstrip("/")
        host = parts.host if parts.port is None else f"{parts.host}:{parts.port}"
        try:
            self._client = Minio(
                endpoint=host, access_key=access_key, secret_key=secret_key, region=region or REGION,
                secure=parts.scheme == "https", http_client=pool,
            )  # fmt: skip
        except ValueError:
            raise BadCredentials("The endpoint is no address of a bucket store.", setting="endpoint") from None
        self._client.disable_virtual_style_endpoint()  # a bucket's own host name would be another address

    def files(self) -> list[Dropped]:
        found: list[tuple[float, Dropped]] = []
        with _named(self.bucket):
            for one in self._client.list_objects(self.bucket, prefix=self.prefix, recursive=True):
                if one.is_dir or not one.object_name or not wanted(one.object_name):
                    continue
                at = one.last_modified.timestamp() if one.last_modified else 0.0
                mark = f"{(one.etag or '').strip(chr(34))}-{one.size}"
                found.append((at, Dropped(one.object_name, mark, one.size or 0)))
                if len(found) > MOST_FILES:
                    break
        return _told(found)

    def read(self, file: Dropped, start: int) -> Iterator[bytes]:
        if start >= file.size:
            return
        with _named(self.bucket):
            answer = self._client.get_object(
                self.bucket, file.path, offset=start, request_headers={"If-Match": file.mark.rpartition("-")[0]}
            )
            try:
                yield from answer.stream(64 * 1024, decode_content=False)
            finally:
                answer.close()
                answer.release_conn()


_REFUSED = {
    "InvalidAccessKeyId": ("The bucket's store does not know this access key.", "access_key"),
    "SignatureDoesNotMatch": ("The secret key does not fit the access key.", "secret_key"),
    "AccessDenied": ("The access key may not read this bucket. It needs to list it and to get its objects.",
                     "access_key"),
    "NoSuchBucket": ("There is no bucket of this name.", "bucket"),
    "InvalidBucketName": ("There is no bucket of this name.", "bucket"),
    "AuthorizationHeaderMalformed": ("The region is not the bucket's.", "region"),
    "PermanentRedirect": ("The bucket is in another region: enter its endpoint.", "endpoint"),
}  # fmt: skip


class _named:
    """What each way of failing is called."""

    def __init__(self, bucket: str) -> None:
        self.bucket = bucket

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: Any, error: BaseException | None, _: Any) -> None:
        match error:
            case None:
                return
            case S3Error() if error.code in ("PreconditionFailed", "NoSuchKey"):
                raise FileNotFoundError(error.code) from None
            case S3Error() if error.code in _REFUSED:
                message, setting = _REFUSED[error.code]
                raise BadCredentials(message, setting=setting) from None
            case S3Error() if error.code in ("SlowDown", "InternalError", "ServiceUnavailable", "RequestTimeout"):
                raise TryLater("The bucket's store asks us to come again later.", detail=str(error.code)) from None
            case S3Error():
                raise UnexpectedAnswer("The bucket's store answered something unexpected.",
                                       detail=str(error.code)) from None  # fmt: skip
            case ServerError() | urllib3.exceptions.HTTPError() | OSError():
                raise TryLater("The bucket's store does not answer.", detail=type(error).__name__) from None
            case InvalidResponseError() | MinioException():
                raise UnexpectedAnswer("What answers there is no bucket store.",
                                       detail=type(error).__name__, ) from None  # fmt: skip
            case ValueError():
                raise BadCredentials("There is no bucket of this name.", setting="bucket") from None


class Client:
    """One look at a place, for whoever pulls: `before_call` keeps his lease, `calls` counts."""

    def __init__(self, *, name: str, open_place: Callable[[], Place], most_mb: int = 50) -> None:
        self.most = most_mb * 2**20
        self.name = name
        self._open = open_place
        self._place: Place | None = None
        self.calls = 0
        self.before_call: Callable[[], None] | None = None

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *_: object) -> None:
        return None

    @property
    def place(self) -> Place:
        if self._place is None:
            self._place = self._open()
        return self._place

    def call(self) -> None:
        self.calls += 1
        self.alive()

    def alive(self) -> None:
        if self.before_call:
            self.before_call()
