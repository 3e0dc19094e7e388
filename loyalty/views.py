"""Pages that are open to anybody. There is one: the picture of a discount, at an address nobody can guess."""

from django.http import HttpRequest, HttpResponse
from django.utils.cache import get_conditional_response
from django.views.decorators.http import require_safe

from . import pictures

FOR_EVER = "public, max-age=31536000, immutable"  # another picture has another address


@require_safe
def discount_image(request: HttpRequest, digest: str) -> HttpResponse:
    found = pictures.find(digest)
    if found is None:
        return HttpResponse("There is no picture here.", status=404, content_type="text/plain; charset=utf-8")
    request.META.pop("HTTP_ACCEPT_ENCODING", None)  # it is compressed as it is: no gzip around it
    answer = HttpResponse(bytes(found.data), content_type=found.content_type)
    answer["Cache-Control"] = FOR_EVER
    answer["ETag"] = f'"{digest}"'
    answer["X-Content-Type-Options"] = "nosniff"
    answer["Content-Security-Policy"] = "default-src 'none'; sandbox"
    answer["Cross-Origin-Resource-Policy"] = "cross-origin"  # wallets on other hosts show it
    return get_conditional_response(request, etag=answer["ETag"], response=answer)
