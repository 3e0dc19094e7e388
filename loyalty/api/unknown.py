"""Whatever else is called below the two versions: the same 404 for everybody, and a line in the log when a key made it.

The first real till thereby shows which calls it makes that we do not have.
"""

import logging

from django.utils import timezone
from rest_framework.request import Request
from rest_framework.response import Response

from .authentication import caller_of
from .base import TillView
from .envelope import failure

logger = logging.getLogger("loyalty.api")


class Unknown(TillView):
    schema = None
    authentication_classes = ()
    permission_classes = ()
    throttle_classes = ()

    def initial(self, request: Request, *args, **kwargs) -> None:
        pass

    def http_method_not_allowed(self, request: Request, *args, **kwargs) -> Response:
        key = request.META.get("HTTP_X_APIKEY", "").strip()
        if key and (caller := caller_of(key, now=timezone.now())):
            # Shape only: a path may hold a phone number or an e-mail.
            shape = "/".join(part if part.isalpha() or "." in part and "@" not in part else "*"
                             for part in request.path.split("/")[:12])  # fmt: skip
            logger.warning("No such call: account %s, %s %s", caller.uid, request.method, shape[:200])
        return failure("Not Found", 404)

    get = post = put = patch = delete = options = http_method_not_allowed
