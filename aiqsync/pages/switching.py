"""Entering and leaving an account: two buttons."""

from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import path, reverse
from django.views.decorators.http import require_POST

from aiqsync.accounts import switching
from aiqsync.accounts.models import Account


def patterns(site) -> list:
    return [
        path("account/enter/<str:uid>/", site.admin_view(enter), name="account-enter"),
        path("account/leave/", site.admin_view(leave), name="account-leave"),
    ]


@require_POST
def enter(request: HttpRequest, uid: str) -> HttpResponse:
    account = Account.objects.filter(uid=uid).first()
    try:
        if account is None:
            raise switching.NotAMember(uid)
        switching.enter(request, account)
    except switching.NotAMember:
        raise Http404("There is no such account.") from None
    messages.success(request, f"You are now working in {account.name}.")
    return HttpResponseRedirect(reverse("admin:index"))


@require_POST
def leave(request: HttpRequest) -> HttpResponse:
    switching.leave(request)
    return HttpResponseRedirect(reverse("admin:index"))
