"""API & Tracking: the keys of the till's API, and the calls that matched nothing."""

from datetime import datetime, time, timedelta
from zoneinfo import ZoneInfo

from django import forms
from django.conf import settings
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponseRedirect, StreamingHttpResponse
from django.template.response import TemplateResponse
from django.urls import path, reverse
from django.utils import timezone
from django.utils.html import format_html
from django.views.decorators.http import require_POST
from unfold.decorators import display
from unfold.widgets import UnfoldAdminDateWidget, UnfoldAdminSelectWidget, UnfoldAdminTextareaWidget

from aiqsync.accounts import audit, sheets
from aiqsync.accounts.base_admin import ReadOnlyAdmin, TenantAdmin
from aiqsync.accounts.client_ip import client_ip, networks
from aiqsync.accounts.models import Account, ApiKey
from aiqsync.accounts.paging import CappedPaginator
from aiqsync.accounts.templatetags.iq import pill, when
from aiqsync.accounts.tenancy import current_account_id
from stores import keys
from stores.models import Store

from .models import UnmatchedCall

MOST_PER_MINUTE = 1_000_000


class KeyForm(forms.ModelForm):
    store = forms.ModelChoiceField(
        None,  # the account's own, once there is one
        required=False,
        empty_label="No single store",
        widget=UnfoldAdminSelectWidget,
        help_text="Whose tills use it: what is redeemed with it happened there, and the POS's card says when they have "
        "called. A web shop's key has none.",
    )
    last_day = forms.DateField(
        label="Last day",
        required=False,
        widget=UnfoldAdminDateWidget,
        help_text="Leave it empty for a key that holds until you revoke or replace it.",
    )
    addresses = forms.CharField(
        label="May call from",
        required=False,
        widget=UnfoldAdminTextareaWidget(attrs={"rows": 3}),
        help_text="Internet addresses (203.0.113.7) or networks (203.0.113.0/24), one a line. Empty: from anywhere. "
        "From elsewhere the key is refused like a wrong one, and its page says so.",
    )

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        if "store" in self.fields:
            self.fields["store"].queryset = Store.objects.order_by("name", "number")
        if self.instance.pk:
            self.initial["addresses"] = "\n".join(self.instance.addresses)

    def clean_addresses(self) -> list[str]:
        try:
            return networks(self.cleaned_data["addresses"])
        except ValueError as error:
            raise forms.ValidationError(str(error)) from None

    def clean_last_day(self) -> datetime | None:
        """The end of that day, as the account counts days."""
        day = self.cleaned_data["last_day"]
        if day is None:
            return None
        zone = ZoneInfo(Account.objects.values_list("timezone", flat=True).get(pk=current_account_id()))
        if day < timezone.now().astimezone(zone).date():
            raise forms.ValidationError("This day has passed: the key would open nothing.")
        if day.year >= 9999:
            raise forms.ValidationError("Leave it empty for a key that holds until you revoke it.")
        return datetime.combine(day + timedelta(days=1), time.min, tzinfo=zone)


@admin.register(ApiKey)
class ApiKeyAdmin(TenantAdmin):
    subject = "keys"
    form = KeyForm
    list_display = ["name", "scope", "of_store", "prefix_shown", "state", "last_used", "created"]
    list_before_template = "aiqsync/home/api_address.html"
    change_form_outer_after_template = "aiqsync/home/end_key.html"
    ordering = ["revoked_at", "-id"]
    actions = None

    def get_queryset(self, request):
        return super().get_queryset(request).prefetch_related("store_keys__store")

    def get_fieldsets(self, request, obj=None):
        if obj is None:
            return [(None, {"fields": ["name", "scope", "store", "addresses", "last_day"]})]
        told = ["scope", "of_store", "prefix_shown", "state", "last_used", "refused", "created"]
        return [(None, {"fields": ["name", "addresses", *told]})]

    def get_readonly_fields(self, request, obj=None):
        return ["scope", "of_store", "prefix_shown", "state", "last_used", "refused", "created"] if obj else []

    def get_urls(self):
        wrap = self.admin_site.admin_view
        return [
            path("<int:pk>/revoke/", wrap(self.revoke), name="accounts_apikey_revoke"),
            path("<int:pk>/replace/", wrap(self.replace), name="accounts_apikey_replace"),
            path("limit/", wrap(self.limit), name="accounts_apikey_limit"),
            *super().get_urls(),
        ]

    def changelist_view(self, request, extra_context=None):
        if not self._may(request, "view"):
            raise PermissionDenied
        day = timezone.now() - timedelta(days=1)
        account = request.membership.account
        more = {
            "membership": request.membership,
            "may_limit": self._may(request, "change"),
            "limit": account.api_per_minute,
            "usual_limit": settings.API_RATE_PER_MINUTE,
            "limit_error": getattr(request, "limit_error", ""),
            "unmatched_today": UnmatchedCall.objects.filter(at__gt=day)[:1000].count(),
            "calls_from": client_ip(request),
        }
        return super().changelist_view(request, (extra_context or {}) | more)

    def change_view(self, request, object_id, form_url="", extra_context=None):
        key = self.get_object(request, object_id)
        more = {"may_end": self._may(request, "change"), "overlaps": keys.OVERLAPS.items()}
        if key:
            more["ended"] = key.ended_at(timezone.now()) is not None
            more["newer"] = ApiKey.objects.filter(replaces=key).first()
        return super().change_view(request, object_id, form_url, (extra_context or {}) | more)

    def save_model(self, request, obj, form, change):
        said = form.cleaned_data
        if change:
            obj.addresses = said["addresses"]
            obj.save(update_fields=["name", "addresses"])
            if form.changed_data:
                audit.record(act="key.changed", target=str(obj), user=request.user,
                             detail={"addresses": ", ".join(obj.addresses) or "anywhere"})  # fmt: skip
            return
        made, request.new_key = keys.make(
            account=request.membership.account, name=obj.name, scope=obj.scope, store=said["store"],
            addresses=said["addresses"], expires_at=said["last_day"], user=request.user,
        )  # fmt: skip
        obj.__dict__.update(made.__dict__)

    def response_add(self, request, obj, post_url_continue=None):
        return self._shown_once(request, obj, request.new_key, "New key")

    def _shown_once(self, request, made: ApiKey, text: str, title: str):
        """The key is on this answer and nowhere else: not in the session, not in the database."""
        context = {
            **self.admin_site.each_context(request),
            "title": title,
            "key": text,
            "made": made,
            "old": made.replaces,
            "uid": request.membership.account.uid,
        }
        response = TemplateResponse(request, "aiqsync/home/new_key.html", context)
        response.headers["Cache-Control"] = "no-store"
        return response

    def _asked_for(self, request: HttpRequest, pk: int) -> ApiKey | None:
        if not self._may(request, "change"):
            raise PermissionDenied
        return self.get_object(request, str(pk))

    def revoke(self, request: HttpRequest, pk: int):
        return require_POST(self._revoke)(request, pk)

    def _revoke(self, request: HttpRequest, pk: int):
        key = self._asked_for(request, pk)
        if key is None:
            return self._get_obj_does_not_exist_redirect(request, self.opts, str(pk))
        keys.revoke(key=key, user=request.user, now=timezone.now())
        messages.success(request, f"{key.name} is revoked: calls with it are refused from now on.")
        return HttpResponseRedirect(reverse("admin:accounts_apikey_changelist"))

    def replace(self, request: HttpRequest, pk: int):
        return require_POST(self._replace)(request, pk)

    def _replace(self, request: HttpRequest, pk: int):
        key = self._asked_for(request, pk)
        if key is None:
            return self._get_obj_does_not_exist_redirect(request, self.opts, str(pk))
        hours = request.POST.get("hours", "")
        if hours not in {str(one) for one in keys.OVERLAPS}:
            messages.error(request, "Choose when the old key ends. Nothing was changed.")
            return HttpResponseRedirect(reverse("admin:accounts_apikey_change", args=[pk]))
        try:
            made, text = keys.rotate(
                key=key, overlap=timedelta(hours=int(hours)), user=request.user, now=timezone.now()
            )
        except keys.CannotRotate as error:
            messages.error(request, error.message)
            return HttpResponseRedirect(reverse("admin:accounts_apikey_change", args=[pk]))
        return self._shown_once(request, made, text, "New key")

    def limit(self, request: HttpRequest):
        return require_POST(self._limit)(request)

    def _limit(self, request: HttpRequest):
        if not self._may(request, "change"):
            raise PermissionDenied
        typed = request.POST.get("per_minute", "").strip()
        asked = int(typed) if typed.isascii() and typed.isdigit() and len(typed) <= 9 else None
        if typed and (asked is None or not 1 <= asked <= MOST_PER_MINUTE):
            messages.error(request, f"Calls a minute: a whole number from 1 to {MOST_PER_MINUTE:,}, or nothing.")
        else:
            keys.limit(account=request.membership.account, per_minute=asked, user=request.user)
            messages.success(request, f"Each key may make {asked:,} calls a minute." if asked else
                             "Each key may make as many calls as this installation allows.")  # fmt: skip
        return HttpResponseRedirect(reverse("admin:accounts_apikey_changelist"))

    @display(description="Store")
    def of_store(self, key: ApiKey) -> str:
        return ", ".join(str(one.store) for one in key.store_keys.all()) or "–"

    @display(description="Begins with")
    def prefix_shown(self, key: ApiKey) -> str:
        return format_html('<span class="iq-mono">{}…</span>', key.prefix)

    @display(description="State", ordering="revoked_at")
    def state(self, key: ApiKey) -> str:
        now = timezone.now()
        if key.revoked_at:
            return pill("Revoked")
        if key.ended_at(now):
            return pill("Ended")
        if key.expires_at:
            return format_html("{} {}", pill("Active", "good"), format_html("until {}", when(key.expires_at)))
        return pill("Active", "good")

    @display(description="Last used", ordering="last_used_at")
    def last_used(self, key: ApiKey) -> str:
        if key.last_used_at and key.last_used_from:
            return format_html('{} <span class="iq-muted">from {}</span>', when(key.last_used_at), key.last_used_from)
        return when(key.last_used_at)

    @display(description="Refused")
    def refused(self, key: ApiKey) -> str:
        if not key.refused_at:
            return "Never for its address"
        return format_html("{} from {}, which is not on its list", when(key.refused_at), key.refused_from or "?")

    @display(description="Created", ordering="created_at")
    def created(self, key: ApiKey) -> str:
        return when(key.created_at)


@admin.register(UnmatchedCall)
class UnmatchedCallAdmin(ReadOnlyAdmin):
    """What tills and shops asked for that we do not have, or could not read."""

    subject = "keys"
    paginator = CappedPaginator
    list_display = ["moment", "call", "status", "reason", "of_key"]
    list_display_links = ["moment"]
    list_select_related = ["key"]
    list_filter = ["status", "method"]
    search_fields = ["path", "reason"]
    search_help_text = "Part of the address or of the reason"
    ordering = ["-at", "-id"]
    list_before_template = "aiqsync/home/unmatched_head.html"
    fields = ["moment", "of_key", "call", "status", "reason", "said"]
    readonly_fields = fields

    def get_urls(self):
        download = self.admin_site.admin_view(self.download)
        return [path("download/", download, name="loyalty_unmatchedcall_download"), *super().get_urls()]

    def download(self, request: HttpRequest):
        """All that is kept, as CSV; what tells of people was taken out before it was kept."""
        if not self._may(request, "view"):
            raise PermissionDenied
        found = UnmatchedCall.objects.select_related("key").order_by("-at", "-id")
        rows = ([one.at.isoformat(), str(one.key), one.method, one.path, one.status, one.reason, one.body]
                for one in found.iterator(chunk_size=500))  # fmt: skip
        head = ["at", "key", "method", "path", "status", "reason", "body"]
        response = StreamingHttpResponse(sheets.lines(head, rows), content_type="text/csv; charset=utf-8")
        response.headers["Content-Disposition"] = 'attachment; filename="calls-that-matched-nothing.csv"'
        return response

    @display(description="When", ordering="at")
    def moment(self, call: UnmatchedCall) -> str:
        return when(call.at)

    @display(description="Call")
    def call(self, call: UnmatchedCall) -> str:
        return format_html('<span class="iq-mono">{} {}</span>', call.method, call.path)

    @display(description="Key")
    def of_key(self, call: UnmatchedCall) -> str:
        return str(call.key)

    @display(description="Body")
    def said(self, call: UnmatchedCall) -> str:
        if not call.body:
            return "–"
        return format_html('<pre class="iq-mono" style="white-space: pre-wrap">{}</pre>', call.body)
