"""Marketing, Discounts: AIQ's labels, money typed in dollars, archived instead of deleted."""

from zoneinfo import ZoneInfo

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.db.models import Count, Q
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect, StreamingHttpResponse
from django.urls import path, reverse
from django.utils import timezone
from django.views.decorators.http import require_POST, require_safe
from unfold.decorators import display

from aiqsync.accounts import audit, sheets
from aiqsync.accounts.base_admin import TenantAdmin
from aiqsync.accounts.roles import may
from aiqsync.accounts.templatetags import iq
from aiqsync.accounts.tenancy import current_account_id

from . import codes, discounts, pictures, usage
from .discount_form import DiscountForm
from .models import CodeKind, Discount, ImageKind


class DiscountStateFilter(admin.SimpleListFilter):
    title = "state"
    parameter_name = "state"

    def lookups(self, request, model_admin):
        return [("wrong", "To look at"), ("archived", "Archived"), ("all", "All")]

    def choices(self, changelist):
        for choice in super().choices(changelist):
            yield choice | (
                {"display": "In use"}
                if choice["query_string"] and choice["display"] == "All" and not self.value()
                else {}
            )

    def queryset(self, request, queryset):
        if self.value() == "all":
            return queryset
        if self.value() == "wrong":
            return queryset.filter(archived_at=None).exclude(problem="")
        return queryset.filter(archived_at__isnull=self.value() != "archived")


@admin.register(Discount)
class DiscountAdmin(TenantAdmin):
    subject = "discounts"
    form = DiscountForm
    list_display = ["named", "state", "off", "points_shown", "redeemed", "uses", "starts", "ends", "number"]
    list_display_links = ["named"]
    list_filter = [DiscountStateFilter]
    ordering = ["rank", "points", "number"]
    search_fields = ["name", "internal_name"]
    search_help_text = "Name, as shoppers or staff see it"
    change_form_before_template = "aiqsync/home/discount_preview.html"
    change_form_outer_after_template = "aiqsync/home/discount_usage.html"
    conditional_fields = {
        "amount": "kind == 'flat'",
        "percent": "kind == 'percent'",
        "cooldown": "reusable == true",
        "static_code": "code_kind == 'static'",
        "new_codes": "code_kind == 'unique'",
        "make_codes": "code_kind == 'unique'",
    }
    actions = None
    fieldsets = [
        (None, {"fields": ["internal_name", "tags", "reward", "name", "description", "logo", "cover"]}),
        ("What it takes off", {"fields": ["kind", "amount", "percent", "points", "min_spend", "stackable"]}),
        ("Who and where", {"fields": ["for_stores", "for_audiences"]}),
        ("How often and when", {
            "fields": ["reusable", "cooldown", "hide_redeem", "starts_at", "ends_at", "valid_for", "rank"]}),
        ("At the till and online", {
            "fields": ["code_kind", "static_code", "new_codes", "make_codes", "pos_discount_id", "in_store_only"]}),
    ]  # fmt: skip

    def get_queryset(self, request):
        live = Count("redemptions", filter=Q(redemptions__state__in=["applied", "settled"]))
        return super().get_queryset(request).annotate(redeemed=live)

    def get_urls(self):
        def page(route: str, does, name: str):
            return path(f"<int:pk>/{route}/", self.admin_site.admin_view(does), name=f"loyalty_discount_{name}")

        return [
            page("archive", require_POST(self.archive), "archive"),
            page("duplicate", require_POST(self.duplicate), "duplicate"),
            page("redemptions", require_safe(self.export), "redemptions"),
            *super().get_urls(),
        ]

    def add_view(self, request, form_url="", extra_context=None):
        return super().add_view(request, form_url, (extra_context or {}) | _shown(None))

    def change_view(self, request, object_id, form_url="", extra_context=None):
        extra = {"may_change": self._may(request, "change"), "may_export": self._may_export(request)}
        discount = self.get_object(request, object_id)
        if discount is not None and self._may(request, "view"):
            zone = ZoneInfo(request.membership.account.timezone)
            extra |= {"usage": usage.of(discount=discount, now=timezone.now(), zone=zone)} | _shown(discount)
        return super().change_view(request, object_id, form_url, (extra_context or {}) | extra)

    def save_model(self, request, obj, form, change):
        with transaction.atomic():
            if not change:
                obj.account_id = current_account_id()
                obj.number = discounts.next_number(obj.account_id)
            stores, groups = form.cleaned_data.get("for_stores"), form.cleaned_data.get("for_audiences")
            obj.limited_stores, obj.limited_audiences = bool(stores), bool(groups)
            super().save_model(request, obj, form, change)
            discounts.limit(discount=obj, stores=stores or [], audiences=groups or [])
            self._keep_pictures(obj, form)
            self._add_codes(request, obj, form)
            discounts.check(account_id=obj.account_id, now=timezone.now(), discount_ids=[obj.pk])
            audit.record(
                act="discount.changed" if change else "discount.created",
                target=obj.internal_name,
                user=request.user,
                detail={
                    name: _said(name, form.cleaned_data.get(name, ""))
                    for name in form.changed_data
                    if name != "new_codes"
                },
            )
        for text in discounts.remarks(obj):
            messages.warning(request, text)

    def _add_codes(self, request, obj: Discount, form: DiscountForm) -> None:
        if obj.code_kind != CodeKind.UNIQUE:
            return
        now, ids = timezone.now(), {"account_id": obj.account_id, "discount_id": obj.pk}
        if typed := form.cleaned_data.get("new_codes"):
            done = codes.enter(**ids, codes=typed.splitlines(), now=now)
            messages.info(request, f"{done.added:,} code{'' if done.added == 1 else 's'} added.")
            if done.refused:
                shown = "; ".join(f"{code} {why}" for code, why in done.refused[:5])
                more = f"; and {len(done.refused) - 5:,} more" if len(done.refused) > 5 else ""
                messages.warning(request, f"{len(done.refused):,} not taken: {shown}{more}.")
        if count := form.cleaned_data.get("make_codes"):
            messages.info(request, f"{codes.generate(**ids, count=count, now=now):,} codes made.")

    def _keep_pictures(self, obj: Discount, form: DiscountForm) -> None:
        for kind in ImageKind.values:
            given = form.cleaned_data.get(kind)
            if given is False:
                pictures.remove(discount=obj, kind=kind)
            elif given:
                pictures.put(discount=obj, kind=kind, picture=given, now=timezone.now())

    def _mine(self, request: HttpRequest, pk: int) -> Discount | None:
        """A discount this person may change; None when the account has no such one."""
        if not self._may(request, "change"):
            raise PermissionDenied
        return self.get_object(request, str(pk))

    def archive(self, request: HttpRequest, pk: int) -> HttpResponse:
        """Archived: nobody can redeem it; what was redeemed stays. The same button takes it back."""
        discount = self._mine(request, pk)
        if discount is None:
            return self._get_obj_does_not_exist_redirect(request, self.opts, str(pk))
        with transaction.atomic():
            discount.archived_at = None if discount.archived_at else timezone.now()
            discount.save(update_fields=["archived_at"])
            if not discount.archived_at:
                discounts.check(account_id=discount.account_id, now=timezone.now(), discount_ids=[discount.pk])
            act = "discount.archived" if discount.archived_at else "discount.restored"
            audit.record(act=act, target=discount.internal_name, user=request.user)
        said = "is archived: it can no longer be redeemed" if discount.archived_at else "is in use again"
        messages.success(request, f"{discount.internal_name} {said}.")
        return HttpResponseRedirect(reverse("admin:loyalty_discount_changelist"))

    def duplicate(self, request: HttpRequest, pk: int) -> HttpResponse:
        discount = self._mine(request, pk)
        if discount is None:
            return self._get_obj_does_not_exist_redirect(request, self.opts, str(pk))
        with transaction.atomic():
            made = discounts.duplicate(discount=discount, now=timezone.now())
            detail = {"of": discount.internal_name}
            audit.record(act="discount.created", target=made.internal_name, user=request.user, detail=detail)
        messages.success(request, f"{made.name} is made, and shoppers see it from now on: change what differs.")
        if made.code_kind == CodeKind.UNIQUE:
            messages.warning(request, "Its codes were not copied: nobody can redeem it before you add some.")
        return HttpResponseRedirect(reverse("admin:loyalty_discount_change", args=[made.pk]))

    def _may_export(self, request: HttpRequest) -> bool:
        membership = getattr(request, "membership", None)
        return self._may(request, "view") and may(membership.role, "redemptions.view")

    def export(self, request: HttpRequest, pk: int) -> HttpResponse:
        """Every redemption as a line; the columns are explained in docs/export.md."""
        if not self._may_export(request):
            raise PermissionDenied
        discount = self.get_object(request, str(pk))
        if discount is None:
            return self._get_obj_does_not_exist_redirect(request, self.opts, str(pk))
        audit.record(act="redemptions.exported", target=discount.internal_name, user=request.user)
        sent = sheets.lines(usage.COLUMNS, usage.lines(discount=discount))
        answer = StreamingHttpResponse(sent, content_type="text/csv; charset=utf-8")
        answer["Content-Disposition"] = f'attachment; filename="redemptions-{discount.number}.csv"'
        return answer

    @display(description="Name", header=True, ordering="name")
    def named(self, discount: Discount):
        return [discount.name, discount.internal_name if discount.internal_name != discount.name else ""]

    @display(description="Off")
    def off(self, discount: Discount) -> str:
        if discount.kind == Discount.Kind.FLAT:
            return iq.money(discount.amount_cents)
        return f"{discount.percent.normalize():f}%"

    @display(description="Points", ordering="points")
    def points_shown(self, discount: Discount) -> str:
        return iq.number(iq.points(discount.points))

    @display(description="Redemptions")
    def redeemed(self, discount: Discount) -> str:
        return iq.number(f"{discount.redeemed:,}")

    @display(description="Use")
    def uses(self, discount: Discount) -> str:
        return "Again and again" if discount.reusable else "Once each"

    @display(description="Start", ordering="starts_at")
    def starts(self, discount: Discount) -> str:
        return iq.when(discount.starts_at, "–")

    @display(description="End", ordering="ends_at")
    def ends(self, discount: Discount) -> str:
        return iq.when(discount.ends_at, "–")

    @display(description="State")
    def state(self, discount: Discount) -> str:
        now = timezone.now()
        if discount.archived_at:
            return iq.pill("Archived")
        if discount.starts_at and discount.starts_at > now:
            return iq.pill("Not started", "info")
        if discount.ends_at and discount.ends_at <= now:
            return iq.pill("Ended")
        if discount.problem:
            return iq.pill("Look at it", "warn", discount.problem)
        return iq.pill("Active", "good")


def _shown(discount: Discount | None) -> dict:
    """The pictures of the preview; without one of its own the logo is the default."""
    found = pictures.digests(discount=discount) if discount else {}
    cover = found.get(ImageKind.COVER)
    return {
        "preview_logo": pictures.address(found.get(ImageKind.LOGO, "")),
        "preview_none": pictures.address(""),
        "preview_cover": pictures.address(cover) if cover else "",
    }


def _said(name: str, value) -> str:
    """A field's new value for the activity log; of a picture only what was done."""
    if name in ImageKind.values:
        return "another" if value else "removed"
    return str(value)[:200]
