"""Which account a request is about: the one chosen in the session, else the user's first."""

from collections.abc import Callable

from django.http import HttpRequest, HttpResponse

from .models import Membership
from .tenancy import set_current_account

SESSION_KEY = "account_id"


class CurrentAccountMiddleware:
    """Sets `request.membership` and the current account, and clears it when the request ends.

    A superuser has no account until he enters one (audited), then he works with an operator's rights.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        set_current_account(None)
        request.membership = None
        if request.path.startswith("/admin") and request.user.is_authenticated:
            request.membership = membership_of(request)
            if request.membership:
                set_current_account(request.membership.account_id)
        try:
            return self.get_response(request)
        finally:
            set_current_account(None)


def membership_of(request: HttpRequest) -> Membership | None:
    chosen = request.session.get(SESSION_KEY)
    if request.user.is_superuser:
        if chosen is None:
            return None
        # Not saved: the operator of the installation is a guest with an owner's view.
        return Membership(account_id=chosen, user=request.user, role="owner")
    found = list(Membership.unscoped.filter(user=request.user).select_related("account").order_by("id")[:50])
    return next((m for m in found if m.account_id == chosen), found[0] if found else None)
