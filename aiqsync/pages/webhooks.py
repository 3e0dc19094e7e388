"""Settings, Webhooks: who is told what happens, with the log of each call, a test and replays."""

from datetime import timedelta
from typing import Any

from django.contrib import admin, messages
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.http import require_POST, require_safe

from aiqsync.accounts.roles import may
from loyalty.models import DeliveryState, EndpointState, WebhookDelivery, WebhookEndpoint
from loyalty.webhooks import endpoints, kinds, sending

LOOKS = {"on": "good", "failing": "bad", "paused": "warn", "off": ""}
DELIVERY_LOOKS = {"delivered": "good", "failed": "bad", "waiting": "warn", "sending": "info", "dropped": ""}
FILTERS = {"": "All", "delivered": "Delivered", "waiting": "Waiting", "failed": "Failed", "dropped": "Not told"}
SINCE = {"1": "the last hour", "24": "the last day", "72": "the last three days", "720": "the last 30 days"}


@require_safe
def index(request: HttpRequest) -> HttpResponse:
    found = endpoints.of(request.membership.account_id)
    return _answer(request, "index.html", title="Webhooks", endpoints=[(one, LOOKS[one.state]) for one in found],
                   room=len(found) < endpoints.MOST, most=endpoints.MOST, kinds=kinds.KINDS)  # fmt: skip


def new(request: HttpRequest) -> HttpResponse:
    if request.method != "POST":
        return _form(request, None, {"url": "", "description": "", "events": list(kinds.KINDS)})
    given = _given(request)
    try:
        made, secret = endpoints.make(
            account_id=request.membership.account_id, user=request.user, now=timezone.now(), **given
        )
    except endpoints.Refused as refusal:
        return _form(request, None, given, refusal)
    return _secret(request, made, secret, rotated=False)


def edit(request: HttpRequest, pk: int) -> HttpResponse:
    endpoint = _found(request, pk)
    if request.method != "POST":
        return _form(request, endpoint, {"url": endpoint.url, "description": endpoint.description,
                                         "events": endpoint.events})  # fmt: skip
    given = _given(request)
    try:
        endpoints.change(account_id=endpoint.account_id, pk=pk, user=request.user, **given)
    except endpoints.Refused as refusal:
        return _form(request, endpoint, given, refusal)
    messages.success(request, "Saved: the next event goes there.")
    return HttpResponseRedirect(reverse("admin:webhook", args=[pk]))


@require_safe
def show(request: HttpRequest, pk: int) -> HttpResponse:
    endpoint = _found(request, pk)
    state = request.GET.get("state", "")
    state = state if state in FILTERS else ""
    before = request.GET.get("before", "")
    limit = 50
    upto = int(before) if before.isascii() and before.isdigit() and len(before) < 19 else None
    rows = endpoints.log(endpoint=endpoint, state=state, limit=limit, before=upto)
    more = rows[limit - 1].pk if len(rows) > limit else None
    return _answer(
        request, "endpoint.html", title=str(endpoint), endpoint=endpoint, look=LOOKS[endpoint.state], state=state,
        rows=[(one, DELIVERY_LOOKS[one.state]) for one in rows[:limit]], more=more, filters=FILTERS, since=SINCE,
        kinds=kinds.KINDS, overlap=endpoint.before_until if _overlaps(endpoint) else None, first=not before,
        live=endpoint.state in (EndpointState.ON, EndpointState.FAILING),
        pausable=endpoint.state in (EndpointState.ON, EndpointState.FAILING),
    )  # fmt: skip


@require_safe
def delivery(request: HttpRequest, pk: int) -> HttpResponse:
    found = endpoints.delivery(account_id=request.membership.account_id, pk=pk)
    if found is None:
        raise Http404
    return _answer(
        request, "delivery.html", title=found.event.kind, delivery=found, look=DELIVERY_LOOKS[found.state],
        sent=endpoints.shown(found), tries=endpoints.tries(found), told=kinds.KINDS.get(found.event.kind, ""),
        under_way=_under_way(found), again=_can_again(found), most=len(sending.SCHEDULE) + 1,
    )  # fmt: skip


@require_POST
def act(request: HttpRequest, pk: int, verb: str) -> HttpResponse:
    endpoint = _found(request, pk)
    given = {"account_id": endpoint.account_id, "pk": pk, "user": request.user}
    now = timezone.now()
    page = HttpResponseRedirect(reverse("admin:webhook", args=[pk]))
    try:
        match verb:
            case "pause":
                endpoints.pause(**given)
                messages.success(request, "Paused: what happens meanwhile waits, for up to 30 days.")
            case "resume":
                endpoints.resume(**given, now=now)
                messages.success(request, "On again: what waited is sent now.")
            case "secret":
                return _secret(request, endpoint, endpoints.rotate(**given, now=now), rotated=True)
            case "delete":
                endpoints.remove(**given)
                messages.success(request, "Deleted, with its log.")
                return HttpResponseRedirect(reverse("admin:webhooks"))
            case "test":
                made = endpoints.test(account_id=endpoint.account_id, pk=pk, now=now)
                return HttpResponseRedirect(reverse("admin:webhook-delivery", args=[made.pk]))
            case "again":
                hours = request.POST.get("since", "")
                if hours not in SINCE:
                    raise endpoints.Refused("Since when? Choose one of the times.")
                count = endpoints.again_since(**given, since=now - timedelta(hours=int(hours)), now=now)
                messages.success(
                    request, f"{count:,} {'is' if count == 1 else 'are'} sent again now." if count else
                    f"Nothing of {SINCE[hours]} has failed."
                )  # fmt: skip
            case _:
                raise Http404
    except endpoints.Refused as refusal:
        messages.error(request, refusal.message)
    return page


@require_POST
def again(request: HttpRequest, pk: int) -> HttpResponse:
    try:
        endpoints.again(account_id=request.membership.account_id, delivery=pk, user=request.user, now=timezone.now())
    except endpoints.Refused as refusal:
        messages.error(request, refusal.message)
    if endpoints.delivery(account_id=request.membership.account_id, pk=pk) is None:
        return HttpResponseRedirect(reverse("admin:webhooks"))
    return HttpResponseRedirect(reverse("admin:webhook-delivery", args=[pk]))


def _found(request: HttpRequest, pk: int) -> WebhookEndpoint:
    found = endpoints.find(account_id=request.membership.account_id, pk=pk)
    if found is None:
        raise Http404
    return found


def _given(request: HttpRequest) -> dict[str, Any]:
    return {
        "url": request.POST.get("url", "").replace("\x00", "")[:1000],
        "description": request.POST.get("description", "").replace("\x00", "").strip()[:200],
        "events": request.POST.getlist("events"),
    }


def _form(request: HttpRequest, endpoint: WebhookEndpoint | None, given: dict, refusal=None) -> HttpResponse:
    return _answer(
        request, "form.html", status=422 if refusal else 200, title="Edit webhook" if endpoint else "New webhook",
        endpoint=endpoint, given=given, kinds=kinds.KINDS, refusal=refusal,
    )  # fmt: skip


def _secret(request: HttpRequest, endpoint: WebhookEndpoint, secret: str, *, rotated: bool) -> HttpResponse:
    """On this answer and nowhere else: not in the session, and sealed in the database."""
    answer = _answer(request, "secret.html", title="Signing secret", endpoint=endpoint, secret=secret, rotated=rotated)
    answer.headers["Cache-Control"] = "no-store"
    return answer


def _overlaps(endpoint: WebhookEndpoint) -> bool:
    return bool(endpoint.before_until and endpoint.before_until > timezone.now())


def _under_way(found: WebhookDelivery) -> bool:
    """It will be known in a moment: the page asks again."""
    soon = timezone.now() + timedelta(seconds=30)
    return found.state == DeliveryState.SENDING or (
        found.state == DeliveryState.WAITING and found.next_at < soon
        and found.endpoint.state in (EndpointState.ON, EndpointState.FAILING)
    )  # fmt: skip


def _can_again(found: WebhookDelivery) -> bool:
    return found.state in (DeliveryState.DELIVERED, DeliveryState.FAILED, DeliveryState.WAITING) and (
        found.endpoint.state != EndpointState.OFF
    )


def _answer(request: HttpRequest, template: str, *, status: int = 200, **context: Any) -> TemplateResponse:
    context |= {**admin.site.each_context(request), "title": context["title"],
                "may_change": may(request.membership.role, "webhooks.change")}  # fmt: skip
    return TemplateResponse(request, f"aiqsync/webhooks/{template}", context, status=status)
