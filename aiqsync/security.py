"""The content policy: everything from our own host.

Eval is Alpine's (Unfold's menus need it); inline script is nobody's.
"""

from collections.abc import Callable

from django.conf import settings
from django.core.files.uploadhandler import FileUploadHandler, StopUpload
from django.http import HttpRequest, HttpResponse

ADMIN = (
    "default-src 'self'; script-src 'self' 'unsafe-eval'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
    "frame-ancestors 'none'; base-uri 'self'; form-action 'self'"
)
STRICT = "default-src 'none'; frame-ancestors 'none'"


class ContentPolicyMiddleware:
    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        response = self.get_response(request)
        policy = STRICT if request.path.startswith("/api/v") else ADMIN
        response.headers.setdefault("Content-Security-Policy", policy)
        return response


class BoundedUpload(FileUploadHandler):
    """Stops taking a body that is larger than any file may be, before it fills a disk. The page then says so.

    The page finds `request.too_large` set, and no file.
    """

    SLACK = 2 * 2**20  # the form around the file

    def _over(self) -> StopUpload:
        self.request.too_large = True
        return StopUpload(connection_reset=False)

    def handle_raw_input(self, input_data, META, content_length, boundary, encoding=None):  # noqa: N803
        self.left = settings.FILES_MAX_MB * 2**20 + self.SLACK
        self.announced = content_length or 0
        return None

    def new_file(self, *args, **kwargs):
        super().new_file(*args, **kwargs)
        if self.announced > self.left:
            raise self._over()

    def receive_data_chunk(self, raw_data, start):
        self.left -= len(raw_data)
        if self.left < 0:
            raise self._over()
        return raw_data

    def file_complete(self, file_size):
        return None
