"""Settings, Alerts: what is wrong now, what was, who is told."""

from django.conf import settings
from django.contrib import admin, messages
from django.core.exceptions import ValidationError
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.http import require_POST, require_safe

from aiqsync.accounts import alerts
from aiqsync.accounts.roles import may

from .standing import span


@require_safe
def show(request: HttpRequest) -> HttpResponse:
    return _page(request)


def _page(request: HttpRequest, *, typed: str | None = None, problem: str = "", status: int = 200) -> HttpResponse:
    account = request.membership.account
    role = request.membership.role
    # A remedy is linked for those who may open it; the page itself checks again.
    context = {
        **admin.site.each_context(request),
        "title": "Alerts",
        "open": [(one, alerts.KINDS.get(one.kind)) for one in alerts.open_alerts(account.pk)],
        "over": [
            (one, alerts.KINDS.get(one.kind), span((one.closed_at - one.since).total_seconds()))
            for one in alerts.over_lately(account.pk)
        ],
        "kinds": list(alerts.KINDS.values()),
        "may_change": may(role, "alerts.change"),
        "may_mend": may(role, "integrations.change"),
        "can_mail": alerts.can_mail(),
        "sender": settings.DEFAULT_FROM_EMAIL,
        "mail_trouble": alerts.trouble(account.pk),
        "by_default": alerts.run_by(account.pk),
        "addresses": typed if typed is not None else "\n".join(account.alert_emails),
        "by_email": account.alerts_by_email if typed is None else "by_email" in request.POST,
        "problem": problem,
    }
    return TemplateResponse(request, "aiqsync/alerts/page.html", context, status=status)


@require_POST
def recipients(request: HttpRequest) -> HttpResponse:
    typed = request.POST.get("addresses", "")
    try:
        changed = alerts.set_recipients(
            account=request.membership.account,
            typed=typed[:10_000].replace("\x00", ""),
            by_email="by_email" in request.POST,
            user=request.user,
        )
    except ValidationError as error:
        return _page(request, typed=typed, problem=error.messages[0], status=422)
    messages.success(request, "Saved: the next alert goes there." if changed else "Nothing was changed.")
    return HttpResponseRedirect(reverse("admin:alerts"))


@require_POST
def retry(request: HttpRequest) -> HttpResponse:
    """Send again what was given up on."""
    count = alerts.retry_failed(account_id=request.membership.account_id, now=timezone.now())
    messages.success(request, "They are sent again within a minute." if count else "Nothing waits to be sent again.")
    return HttpResponseRedirect(reverse("admin:alerts"))
