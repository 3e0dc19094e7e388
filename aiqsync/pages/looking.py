"""Marketing, Redemptions to look at: what till and books do not agree on, each with the one act that helps."""

from collections.abc import Callable
from typing import Any

from django.contrib import admin, messages
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.http import require_POST, require_safe

from aiqsync.accounts import audit
from aiqsync.accounts.roles import Role, may
from aiqsync.accounts.templatetags import iq
from aiqsync.accounts.tenancy import current_account_id
from aiqsync.accounts.typed import whole_number
from loyalty import ledger, looking, refusals
from stores.models import StoreStaff


def stores_of(request: HttpRequest) -> list[int] | None:
    """Staff see the cases of their stores only."""
    if request.membership.role != Role.STAFF:
        return None
    return list(StoreStaff.objects.filter(membership=request.membership).values_list("store_id", flat=True))


@require_safe
def show(request: HttpRequest) -> HttpResponse:
    sections = looking.sections(account_id=current_account_id(), now=timezone.now(), stores=stores_of(request))
    role = request.membership.role
    context = {
        **admin.site.each_context(request),
        "title": "Redemptions to look at",
        "sections": sections,
        "quiet": not any(section.cases for section in sections),
        "may_act": may(role, "redemptions.look"),
    }
    return TemplateResponse(request, "aiqsync/looking/page.html", context)


def _number(request: HttpRequest, name: str) -> int | None:
    return whole_number(request.POST.get(name, ""))


@require_POST
def act(request: HttpRequest, verb: str) -> HttpResponse:
    """Each may be sent twice: the second finds it done."""
    asked: dict[str, Any] = {"account_id": current_account_id(), "user": request.user, "now": timezone.now()}
    redemption, sale, kind = _number(request, "redemption"), _number(request, "sale"), request.POST.get("kind", "")
    note = request.POST.get("note", "").strip()
    shortfall, by = _number(request, "shortfall") or 0, {"user_id": request.user.pk}
    plain = {name: asked[name] for name in ("account_id", "now")}
    acts: dict[str, Callable[[], str]] = {
        "dismiss": lambda: (
            looking.dismiss(**asked, kind=kind, redemption_id=redemption, sale_id=sale, note=note) or "Closed as it is."
        ),
        "give-back": lambda: _points(
            looking.give_back(**asked, kind=kind, redemption_id=redemption or 0, sale_id=sale), "back with the shopper"
        ),
        "settle": lambda: (
            looking.settle(**asked, redemption_id=redemption or 0, sale_id=sale or 0) or "Settled with that sale."
        ),
        "take-again": lambda: looking.take_again(**asked, redemption_id=redemption or 0) or "The points are taken.",
        "take": lambda: _points(
            looking.take_for_sale(**asked, sale_id=sale or 0, discount_id=_number(request, "discount") or 0), "taken"
        ),
        "take-back": lambda: _taken_back(looking.take_back(**asked, sale_id=sale or 0)),
        "collect": lambda: _points(
            ledger.collect(**plain, **by, shortfall_id=shortfall, note=note or "Collected").points, "collected"
        ),
        "waive": lambda: ledger.waive(**plain, **by, shortfall_id=shortfall, note=note or "Waived") and "Waived.",
    }
    stores = stores_of(request)
    if stores is not None and not looking.belongs(
        account_id=asked["account_id"], stores=stores, redemption_id=redemption, sale_id=sale,
        shortfall_id=shortfall or None,
    ):  # fmt: skip
        messages.error(request, "This case is not one of your stores'.")
        return HttpResponseRedirect(reverse("admin:redemptions-to-look-at"))
    if verb not in acts:
        messages.error(request, "There is no such act.")
        return HttpResponseRedirect(reverse("admin:redemptions-to-look-at"))
    try:
        said = acts[verb]()
    except looking.CannotDo as error:
        messages.error(request, str(error))
    except refusals.Refusal as error:
        messages.error(request, f"{refusals.sentence(error)} Nothing was taken.")
    except ledger.NothingToCollect:
        messages.error(request, "The shopper has no points now; nothing was taken.")
    except LookupError:
        messages.error(request, "This case is not there any more.")
    else:
        detail = {"redemption": redemption, "sale": sale, "shortfall": shortfall or None, "kind": kind, "note": note}
        audit.record(
            act=f"looking.{verb}", user=request.user, detail={name: value for name, value in detail.items() if value}
        )
        messages.success(request, said)
    return HttpResponseRedirect(reverse("admin:redemptions-to-look-at") + (f"#{kind}" if kind else ""))


def _taken_back(done: looking.TakenBack) -> str:
    if not done.missing:
        return _points(done.points, "taken back")
    missing = f'{iq.points(done.missing)} points are not there any more: see "Could not be taken back".'
    return f"{iq.points(done.points)} points taken back. {missing}" if done.points else missing


def _points(points, what: str) -> str:
    return f"{iq.points(points)} points {what}." if points else "That was done before; nothing changed."
