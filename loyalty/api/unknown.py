"""Whatever else is called below the two versions: the same 404 for everybody, and kept when a key made it.

The first real till thereby shows which calls it makes that we do not have.
"""

from django.utils import timezone
from rest_framework.request import Request
from rest_framework.response import Response

from aiqsync.accounts.client_ip import client_ip

from .authentication import caller_of
from .base import TillView, keep_unmatched
from .envelope import failure


class Unknown(TillView):
    schema = None
    authentication_classes = ()
    permission_classes = ()
    throttle_classes = ()

    def initial(self, request: Request, *args, **kwargs) -> None:
        pass

    def http_method_not_allowed(self, request: Request, *args, **kwargs) -> Response:
        response = failure("Not Found", 404)
        key = request.META.get("HTTP_X_APIKEY", "").strip()
        if key and (caller := caller_of(key, now=timezone.now(), ip=client_ip(request))):
            keep_unmatched(request, caller, response)
        return response

    get = post = put = patch = delete = options = http_method_not_allowed
