"""Reports: staff, points liability with its closed months, margin, data quality, and the ledger's own check."""

from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from zoneinfo import ZoneInfo

from django.contrib import admin, messages
from django.core.cache import cache
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect, StreamingHttpResponse
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils import timezone
from django.utils.dateparse import parse_date
from django.utils.timezone import localdate
from django.views.decorators.http import require_POST, require_safe

from aiqsync.accounts import audit, sheets
from aiqsync.accounts.roles import Role, may
from aiqsync.accounts.tenancy import current_account_id
from loyalty import checks, closes, expiry, exports, reports

LONGEST = timedelta(days=366)
SOON = 30  # days
EXPIRING_SHOWN = 20
KEPT_S = 30


@dataclass(frozen=True, slots=True)
class Period:
    """Days of the account, the last one included."""

    first: date
    last: date
    start: datetime
    end: datetime


def period(request: HttpRequest) -> Period:
    """The days asked for, else this month; a period the wrong way round or over a year is put right."""
    zone = ZoneInfo(request.membership.account.timezone)
    today = timezone.now().astimezone(zone).date()
    first, last = _day(request.GET.get("from")) or today.replace(day=1), _day(request.GET.get("to")) or today
    if last < first:
        first, last = last, first
    first = max(first, last - LONGEST)
    edges = [datetime.combine(day, time.min, zone) for day in (first, last + timedelta(days=1))]
    return Period(first, last, *edges)


def _day(text: str | None) -> date | None:
    try:
        found = parse_date(text or "")
    except ValueError:
        return None
    return found if found and 2000 <= found.year <= 2100 else None


def _page(request: HttpRequest, template: str, title: str, **context) -> HttpResponse:
    return TemplateResponse(
        request,
        f"aiqsync/reports/{template}.html",
        {
            **admin.site.each_context(request),
            "title": title,
            "currency": request.membership.account.currency,
            **context,
        },
    )


@require_safe
def staff(request: HttpRequest) -> HttpResponse:
    asked = period(request)
    lines = reports.staff(account_id=current_account_id(), start=asked.start, end=asked.end)
    if request.GET.get("as") == "csv":
        head = ("name", "role", "adjustments", "points added", "points taken", "redemptions by hand", "points redeemed",
                "given back", "enrolments", "merges", "receipts attached")  # fmt: skip
        rows = [
            (one.name, one.role, one.adjustments, one.added, one.taken, one.redemptions, one.redeemed, one.given_back,
             one.enrolments, one.merges, one.receipts)
            for one in lines
        ]  # fmt: skip
        return _csv(f"staff-{asked.first}-{asked.last}", head, rows)
    roles = dict(Role.choices)
    named = [(one, roles.get(one.role, "no longer a member")) for one in lines]
    return _page(
        request, "staff", "Staff", period=asked, lines=named,
        quiet=not any(one.adjustments or one.redemptions or one.enrolments for one in lines),
    )  # fmt: skip


@require_safe
def liability(request: HttpRequest) -> HttpResponse:
    now, account_id = timezone.now(), current_account_id()
    if request.GET.get("as") == "expiring":
        people = reports.expiring(account_id=account_id, now=now, days=SOON)
        head = ("contact id", "name", f"points that expire within {SOON} days", "the first on")
        rows = [(one.contact_id, one.name, one.points, localdate(one.first_at)) for one in people]
        return _csv("expiring-points", head, rows)
    months = closes.closed(account_id=account_id)
    if request.GET.get("as") == "csv":
        rows = [
            (one.close.month.strftime("%Y-%m"), store or "none", kind, points)
            for one in months
            for store, kinds in [("all", one.kinds | {"opening": one.opening, "closing": one.closing}), *one.stores]
            for kind, points in sorted(kinds.items())
        ]
        return _csv("points-by-month", ("month", "store", "kind", "points"), rows)
    following = closes.next_month(account_id=account_id)
    # It reads every lot there is: kept for a moment, and shown with its own time.
    as_of, owed = cache.get_or_set(
        f"liability:{account_id}", lambda: (now, reports.liability(account_id=account_id, now=now)), KEPT_S
    )
    return _page(
        request,
        "liability",
        "Points liability",
        now=as_of,
        owed=owed,
        money=owed.cents(owed.points),
        parts=[
            (title, [(name, points, owed.cents(points), _share(points, owed.points)) for name, points in rows])
            for title, rows in (
                ("By store that gave them", owed.by_store),
                ("By expiry", owed.by_expiry),
                ("By kind", owed.by_kind),
            )
        ],
        soon=SOON,
        upcoming=expiry.upcoming(account_id, now),
        people=reports.expiring(account_id=account_id, now=now, days=SOON, limit=EXPIRING_SHOWN),
        months=months,
        following=following,
        ripe=bool(following and now >= following.ends_at + closes.RIPE_AFTER),
        may_close=may(request.membership.role, "reports.close"),
    )


def _share(part, whole) -> int:
    return round(100 * part / whole) if whole else 0


@require_POST
def close_month(request: HttpRequest) -> HttpResponse:
    try:
        made = closes.close(account_id=current_account_id(), now=timezone.now(), user=request.user)
    except closes.NotYet as error:
        messages.error(request, str(error))
    else:
        audit.record(act="month.closed", target=f"{made.month:%B %Y}", user=request.user)
        messages.success(request, f"{made.month:%B %Y} is closed. Its figures do not move any more.")
    return HttpResponseRedirect(reverse("admin:report-liability"))


@require_safe
def margin(request: HttpRequest) -> HttpResponse:
    asked = period(request)
    lines = reports.margin(account_id=current_account_id(), start=asked.start, end=asked.end)
    total = reports.MarginLine(
        "", *(sum(getattr(one, name) for one in lines) for name in
              ("sales", "revenue", "known", "cost", "discounts", "points")),
    )  # fmt: skip
    if request.GET.get("as") == "csv":
        rows = [
            (one.store or "no store", one.sales, one.revenue / 100, one.known / 100, one.cost / 100, one.margin / 100,
             one.discounts / 100, one.points)
            for one in lines
        ]  # fmt: skip
        head = ("store", "sales", "revenue", "revenue with a cost", "cost", "margin", "discounts", "points earned")
        return _csv(f"margin-{asked.first}-{asked.last}", head, rows)
    return _page(request, "margin", "Margin", period=asked, lines=lines, total=total)


@require_safe
def quality(request: HttpRequest) -> HttpResponse:
    gaps = reports.quality(account_id=current_account_id(), now=timezone.now())
    links = {
        "no_store": (reverse("admin:stores_store_changelist"), "Map stores", "stores.view"),
        "no_phone": (reverse("admin:loyalty_persona_changelist"), "Personas", "personas.view"),
    }
    role = request.membership.role
    return _page(
        request, "quality", "Data quality", days=reports.QUALITY_DAYS,
        gaps=[(gap, round(gap.share * 100, 1),
               links[gap.name][:2] if gap.name in links and may(role, links[gap.name][2]) else None) for gap in gaps],
    )  # fmt: skip


@require_safe
def ledger(request: HttpRequest) -> HttpResponse:
    return _page(
        request, "ledger", "Ledger check", last=checks.last(account_id=current_account_id()),
        may_check=may(request.membership.role, "reports.close"),
        files=[(name, file.title) for name, file in exports.FILES.items()]
        if may(request.membership.role, "reports.export") else [],
    )  # fmt: skip


@require_safe
def export(request: HttpRequest, name: str) -> StreamingHttpResponse:
    """One file of the ledger, streamed. All of one moment: `manage.py export_ledger`."""
    if name not in exports.FILES:
        raise Http404("There is no such file")
    audit.record(act="ledger.exported", target=f"{name}.csv", user=request.user)
    answer = StreamingHttpResponse(
        exports.stream(account_id=current_account_id(), name=name), content_type="text/csv; charset=utf-8"
    )
    answer["Content-Disposition"] = f'attachment; filename="{name}.csv"'
    return answer


@require_POST
def check_ledger(request: HttpRequest) -> HttpResponse:
    found = checks.check(account_id=current_account_id(), now=timezone.now(), user=request.user)
    if found.violations:
        messages.error(request, f"{found.violations} lines do not agree. They are listed below.")
    else:
        messages.success(request, f"{found.entries:,} entries checked against {found.rules} rules: everything agrees.")
    return HttpResponseRedirect(reverse("admin:report-ledger"))


def _csv(name: str, head: tuple[str, ...], rows: list[tuple]) -> HttpResponse:
    answer = HttpResponse(content_type="text/csv; charset=utf-8")
    answer["Content-Disposition"] = f'attachment; filename="{name}.csv"'
    answer.writelines(sheets.lines(head, rows))
    return answer
